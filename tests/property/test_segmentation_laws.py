import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from clgkit.segmentation import match_labels, relabel, score_labels, segment_classical
from tests.unit.segmentation_scene import VOXEL_UM, make_scene

SCENE = make_scene((20, 44, 48), n_nuclei=50, seed=9)
IDS = st.sampled_from([0, 1, 2, 3, 900, 2**24 + 1, 2**32 - 1])
LABELS = hnp.arrays(np.uint32, (2, 4, 5), elements=IDS, fill=st.nothing())


def dense_iou(truth: np.ndarray, prediction: np.ndarray) -> tuple[list[int], list[int], np.ndarray]:
    rows = [int(k) for k in np.unique(truth) if k]
    columns = [int(k) for k in np.unique(prediction) if k]
    iou = np.zeros((len(rows), len(columns)))
    for i, a in enumerate(rows):
        for j, b in enumerate(columns):
            both = np.sum((truth == a) & (prediction == b))
            iou[i, j] = both / np.sum((truth == a) | (prediction == b))
    return rows, columns, iou


def most_pairs(good: np.ndarray) -> int:
    """Size of the largest one-to-one choice, by trying all."""
    if not good.size:
        return 0
    rest = most_pairs(good[1:])
    for column in np.flatnonzero(good[0]):
        rest = max(rest, 1 + most_pairs(np.delete(good[1:], column, axis=1)))
    return rest


@settings(max_examples=200)
@given(truth=LABELS, prediction=LABELS, iou=st.sampled_from([0.1, 0.2, 0.3, 0.5, 0.6, 0.9]))
def test_scores_equal_a_dense_computation(
    truth: np.ndarray, prediction: np.ndarray, iou: float
) -> None:
    rows, columns, table = dense_iou(truth, prediction)
    hits = most_pairs(table >= iou)
    sections = [int(np.sum(truth == a)) for a in rows]
    shares = [[np.sum((truth == a) & (prediction == b)) / n for b in columns]
              for a, n in zip(rows, sections, strict=True)]  # fmt: skip
    shares = np.array(shares).reshape(len(rows), len(columns))

    score = score_labels(truth, prediction, iou=iou)

    assert (score.n_truth, score.n_predicted) == (len(rows), len(columns))
    assert score.true_positives == hits
    wrong = len(rows) + len(columns) - 2 * hits
    assert score.ap == (hits / (hits + wrong) if hits + wrong else 1)
    assert score.over == np.mean((shares > 0.15).sum(1) >= 2) if rows else score.over == 0
    assert score.under == np.mean((shares > 0.5).sum(0) >= 2) if columns else score.under == 0
    if iou > 0.5:
        assert score.pq * (len(rows) + len(columns)) == pytest.approx(
            2 * table[table >= iou].sum() if rows or columns else 0
        )


@given(truth=LABELS, prediction=LABELS, iou=st.floats(0.05, 1.0))
def test_matches_are_one_to_one_and_good_enough(
    truth: np.ndarray, prediction: np.ndarray, iou: float
) -> None:
    rows, columns, table = dense_iou(truth, prediction)

    matches = match_labels(truth, prediction, iou=iou)

    assert np.unique(matches.truth_ids).size == matches.truth_ids.size
    assert np.unique(matches.predicted_ids).size == matches.predicted_ids.size
    for a, b, value in zip(*(column.tolist() for column in matches), strict=True):
        assert value == table[rows.index(a), columns.index(b)] >= iou


@given(truth=LABELS, prediction=LABELS)
def test_a_score_does_not_change_with_the_names_of_objects(
    truth: np.ndarray, prediction: np.ndarray
) -> None:
    assert score_labels(relabel(truth).labels, relabel(prediction).labels) == score_labels(
        truth, prediction
    )


@given(labels=LABELS)
def test_relabelling_keeps_the_objects(labels: np.ndarray) -> None:
    compact, old_ids = relabel(labels)

    np.testing.assert_array_equal(old_ids[compact], labels)
    np.testing.assert_array_equal(np.unique(compact[compact > 0]), np.arange(1, old_ids.size))


@settings(max_examples=8)
@given(core=st.tuples(st.integers(5, 20), st.integers(15, 44), st.integers(15, 48)))
def test_labels_do_not_depend_on_the_tiles(core: tuple[int, int, int]) -> None:
    options = {"voxel_um": VOXEL_UM, "diameter_um": (7.0, 6.0, 5.0)}
    whole = segment_classical(SCENE.image, core_px=SCENE.image.shape, **options)

    np.testing.assert_array_equal(segment_classical(SCENE.image, core_px=core, **options), whole)


@settings(max_examples=10)
@given(
    level=st.sampled_from([0.0, -3.0, 7.0]),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 20), st.integers(1, 20)),
)
def test_any_small_volume_is_legal(level: float, shape: tuple[int, int, int]) -> None:
    noise = np.random.default_rng(0).normal(level, 1, shape)

    labels = segment_classical(noise, voxel_um=VOXEL_UM, diameter_um=6.0)

    assert labels.shape == shape
