import itertools
import math

import numpy as np
import pytest

from clgkit.segmentation import match_labels, overlap_table, score_labels


def row(*ids: int) -> np.ndarray:
    return np.array([[ids]], np.uint32)


def test_a_perfect_prediction_scores_one_whatever_its_ids() -> None:
    truth = row(1, 1, 0, 7, 7, 7, 2**32 - 1)
    prediction = row(2**32 - 1, 2**32 - 1, 0, 16_777_217, 16_777_217, 16_777_217, 3)

    score = score_labels(truth, prediction)

    assert (score.n_truth, score.n_predicted, score.true_positives) == (3, 3, 3)
    assert score[3:9] == (1, 1, 1, 1, 1, 1)
    assert (score.count_error, score.over, score.under) == (0, 0, 0)
    assert match_labels(truth, prediction).predicted_ids.tolist() == [2**32 - 1, 16_777_217, 3]


def test_every_number_of_a_small_example() -> None:
    truth = row(1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 0, 0)
    prediction = row(5, 5, 5, 0, 0, 0, 0, 6, 8, 8, 8, 9)

    score = score_labels(truth, prediction)

    # 1-5: 3 of 4; 2-6: 1 of 4; 3-8: 2 of 3; 9 lies on background
    assert (score.n_truth, score.n_predicted, score.true_positives) == (3, 4, 2)
    assert score.precision == 2 / 4
    assert score.recall == 2 / 3
    assert score.f1 == 4 / 7
    assert score.ap == 2 / 5
    assert score.pq == pytest.approx((3 / 4 + 2 / 3) / (2 + 1 + 0.5))
    assert score.mean_matched_iou == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert score.count_error == pytest.approx(1 / 3)


def test_splits_and_mergers_are_told_apart() -> None:
    split = score_labels(row(1, 1, 1, 1, 2, 2), row(1, 1, 3, 3, 2, 2))
    merged = score_labels(row(1, 1, 3, 3, 2, 2), row(1, 1, 1, 1, 2, 2))

    assert (split.over, split.under) == (1 / 2, 0)
    assert (merged.over, merged.under) == (0, 1 / 2)


def test_two_halves_of_one_nucleus_are_one_match() -> None:
    matches = match_labels(row(4, 4, 4, 4), row(2, 2, 1, 1), iou=0.5)

    assert (matches.truth_ids.tolist(), matches.predicted_ids.tolist()) == ([4], [1])
    assert score_labels(row(2, 2, 1, 1), row(4, 4, 4, 4)).true_positives == 1


def test_below_one_half_as_many_pairs_as_possible_are_made() -> None:
    # Taking the best pair (1, 5) first would leave 6 and 2 alone.
    truth = row(1, 1, 1, 1, 1, 2, 2, 2, 2)
    prediction = row(6, 6, 5, 5, 5, 5, 5, 0, 0)

    matches = match_labels(truth, prediction, iou=0.25)

    assert matches.truth_ids.tolist() == [1, 2]
    assert matches.predicted_ids.tolist() == [6, 5]
    assert matches.iou == pytest.approx([2 / 5, 2 / 7])


def test_nothing_found_where_nothing_is_scores_one() -> None:
    score = score_labels(row(0, 0), row(0, 0))

    assert score[3:9] == (1, 1, 1, 1, 1, 1)
    assert score.count_error == 0


@pytest.mark.parametrize(
    ("truth", "prediction", "count_error"),
    [(row(1, 1), row(0, 0), -1), (row(0, 0), row(1, 1), math.inf)],
)
def test_all_missed_or_all_invented_scores_zero(
    truth: np.ndarray, prediction: np.ndarray, count_error: float
) -> None:
    score = score_labels(truth, prediction)

    assert score[3:9] == (0, 0, 0, 0, 0, 0)
    assert score.count_error == count_error


def test_slices_one_by_one_give_the_table_of_the_volume() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 5, (6, 7, 8)).astype(np.uint32)
    prediction = rng.integers(0, 5, (6, 7, 8)).astype(np.int64)

    whole = overlap_table([(truth, prediction)])
    streamed = overlap_table(zip(truth, prediction, strict=True))

    for a, b in itertools.zip_longest(whole, streamed):
        np.testing.assert_array_equal(a, b)
    assert score_labels(streamed) == score_labels(truth, prediction)


def test_a_long_stack_is_summed_up_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clgkit.segmentation.overlap.PENDING", 3)
    pairs = [(row(k % 2, 1), row(1, k % 3)) for k in range(12)]

    table = overlap_table(pairs)

    assert table.truth_sizes.tolist() == [18]
    assert table.predicted_sizes.tolist() == [16, 4]
    assert table.voxels.tolist() == [6 + 4, 4]


def test_seventy_thousand_objects_keep_their_ids() -> None:
    truth = np.arange(70_001, dtype=np.uint32).reshape(1, 1, -1)

    score = score_labels(truth, truth + np.uint32(16_777_217))

    # Background became an object there: one false positive.
    assert (score.n_truth, score.true_positives, score.n_predicted) == (70_000, 70_000, 70_001)


def test_empty_arrays_are_legal() -> None:
    assert score_labels(np.zeros((0, 4, 4), np.uint8), np.zeros((0, 4, 4), np.uint8)).f1 == 1
    assert score_labels(np.zeros((2, 0, 4), np.uint8), np.zeros((2, 0, 4), np.uint8)).f1 == 1
    assert overlap_table([]).truth_ids.size == 0


def test_labels_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        score_labels(row(1, 2), row(1, 2, 3))
    with pytest.raises(ValueError, match="differ in shape"):
        overlap_table([(row(1), row(1, 2))])
    with pytest.raises(TypeError, match="whole numbers"):
        score_labels(row(1).astype(float), row(1))
    with pytest.raises(ValueError, match="found -1 to 3"):
        score_labels(np.array([[[-1, 3]]]), row(1, 2))
    with pytest.raises(ValueError, match="above 0 and up to 1"):
        match_labels(row(1), row(1), iou=0.0)
    with pytest.raises(TypeError, match="two label arrays"):
        score_labels(row(1))
