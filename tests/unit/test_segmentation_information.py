import numpy as np

from clgkit.segmentation.score import score_labels


def test_a_split_and_a_merger_are_told_apart_by_information_too() -> None:
    whole, halves = np.array([[1, 1, 1, 1]]), np.array([[1, 1, 2, 2]])

    split, merged = score_labels(whole, halves), score_labels(halves, whole)

    assert (split.vi_split, split.vi_merge) == (1, 0)
    assert (merged.vi_split, merged.vi_merge) == (0, 1)
    # 8 pairs of 16 are together in both: precision and recall 1 and 1/2.
    assert split.rand_error == merged.rand_error == 1 - 2 * 8 / (16 + 8)


def test_nothing_is_known_without_true_objects() -> None:
    nothing, something = np.zeros((2, 3), int), np.ones((2, 3), int)

    assert score_labels(nothing, nothing)[-4:] == (1, 0, 0, 0)
    assert score_labels(nothing, something)[-4:] == (0, 0, 0, 1)
    assert score_labels(something, nothing)[-4:] == (0, 0, 0, 0)
