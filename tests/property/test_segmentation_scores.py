"""Scores and tidying beside dense computations, and the laws they obey."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from skimage.segmentation import relabel_sequential

from clgkit.segmentation import (
    match_labels,
    overlap_table,
    relabel,
    remove_small,
    scattered_ids,
    score_labels,
)

Labels = npt.NDArray[np.int64]
SEEDS = st.integers(0, 2**32 - 1)
few = settings(deadline=None, max_examples=25)


def blobs(seed: int, shape: tuple[int, int, int] = (5, 24, 28), share: float = 0.6) -> Labels:
    """Return touching objects of random sizes, ids with gaps, on some background."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 40))
    points = rng.uniform(0, shape, (n, 3))
    grid = np.moveaxis(np.indices(shape), 0, -1)
    nearest = ((grid[..., None, :] - points) ** 2).sum(-1).argmin(-1)
    ids = rng.choice(2**32 - 1, n, replace=False) + 1
    made: Labels = np.where(ndimage.gaussian_filter(rng.random(shape), 1) < share, ids[nearest], 0)
    return made


def nudged(seed: int, labels: Labels) -> Labels:
    """Return labels moved, eroded, partly merged and partly lost."""
    rng = np.random.default_rng(seed)
    moved = np.roll(labels, rng.integers(-2, 3, 3), (0, 1, 2))
    ids = np.unique(moved)
    new = rng.permutation(ids)
    new[rng.random(ids.size) < 0.2] = rng.choice(new)
    made: Labels = new[np.searchsorted(ids, moved)]
    made[rng.random(made.shape) < 0.1] = 0
    return made


def dense_iou(truth: Labels, prediction: Labels) -> tuple[Labels, Labels, npt.NDArray[np.float64]]:
    rows, i = np.unique(truth, return_inverse=True)
    columns, j = np.unique(prediction, return_inverse=True)
    both = np.zeros((rows.size, columns.size))
    np.add.at(both, (i.ravel(), j.ravel()), 1)
    union = both.sum(1)[:, None] + both.sum(0) - both
    return rows[rows > 0], columns[columns > 0], (both / union)[rows > 0][:, columns > 0]


@settings(deadline=None, max_examples=60)
@given(SEEDS, st.sampled_from([0.05, 0.2, 0.4, 0.5, 0.6, 0.75, 0.9, 1.0]))
def test_matches_are_a_best_assignment_of_the_dense_table(seed: int, iou: float) -> None:
    truth = blobs(seed)
    prediction = nudged(seed + 1, truth)
    rows, columns, table = dense_iou(truth, prediction)
    good = table >= iou

    matches = match_labels(truth, prediction, iou=iou)

    # First as many pairs as there can be, then as much overlap as these can have.
    value = np.where(good, table + min(table.shape, default=0) + 1, 0.0)
    chosen = linear_sum_assignment(value, maximize=True)
    kept = good[chosen]
    assert matches.iou.size == np.count_nonzero(kept)
    np.testing.assert_allclose(matches.iou.sum(), table[chosen][kept].sum(), rtol=1e-12)
    assert (np.diff(matches.truth_ids.astype(np.int64)) > 0).all()
    for a, b, value_of_pair in zip(*(m.tolist() for m in matches), strict=True):
        at = np.searchsorted(rows, a), np.searchsorted(columns, b)
        assert value_of_pair == table[at]


@few
@given(SEEDS)
def test_changing_sides_changes_precision_for_recall(seed: int) -> None:
    truth = blobs(seed)
    prediction = nudged(seed + 1, truth)

    ours, swapped = score_labels(truth, prediction), score_labels(prediction, truth)

    assert (ours.precision, ours.recall) == (swapped.recall, swapped.precision)
    assert (ours.f1, ours.ap, ours.true_positives) == (
        swapped.f1, swapped.ap, swapped.true_positives,
    )  # fmt: skip
    assert ours.pq == pytest.approx(swapped.pq)
    assert (ours.n_truth, ours.n_predicted) == (swapped.n_predicted, swapped.n_truth)


@few
@given(SEEDS)
def test_scores_know_only_which_voxels_belong_together(seed: int) -> None:
    truth = blobs(seed)
    prediction = nudged(seed + 1, truth)
    order = np.random.default_rng(seed).permutation(truth.size)

    ours = score_labels(truth, prediction)

    assert score_labels(truth.ravel()[order], prediction.ravel()[order]) == ours
    assert score_labels(truth.transpose(2, 0, 1), prediction.transpose(2, 0, 1)) == ours
    assert (
        score_labels(overlap_table([(truth[:2], prediction[:2]), (truth[2:], prediction[2:])]))
        == ours
    )
    twice = [np.repeat(labels, 2, axis=1) for labels in (truth, prediction)]
    assert score_labels(*twice) == ours


@few
@given(SEEDS, st.floats(0.05, 0.99), st.floats(0.05, 0.99))
def test_a_stricter_overlap_never_matches_more(seed: int, first: float, second: float) -> None:
    truth = blobs(seed)
    prediction = nudged(seed + 1, truth)
    loose, strict = (score_labels(truth, prediction, iou=t) for t in sorted((first, second)))

    assert strict.true_positives <= loose.true_positives
    assert strict.ap <= loose.ap
    assert (strict.over, strict.under) == (loose.over, loose.under)


@few
@given(SEEDS)
def test_volumes_side_by_side_add_up(seed: int) -> None:
    truth, other = relabel(blobs(seed)).labels, relabel(blobs(seed + 7)).labels
    found, other_found = (relabel(nudged(seed + 1, x)).labels for x in (truth, other))
    offset = np.uint32(1_000_000)

    def joined(a: npt.NDArray[np.uint32], b: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
        return np.concatenate([a, np.where(b > 0, b + offset, 0)])

    parts = [score_labels(truth, found), score_labels(other, other_found)]
    whole = score_labels(joined(truth, other), joined(found, other_found))

    for name in ("n_truth", "n_predicted", "true_positives"):
        assert getattr(whole, name) == sum(getattr(part, name) for part in parts)
    assert whole.over * whole.n_truth == pytest.approx(
        sum(part.over * part.n_truth for part in parts)
    )


@few
@given(SEEDS)
def test_compact_ids_are_those_of_scikit_image(seed: int) -> None:
    labels = blobs(seed) // 5000  # scikit-image makes a table up to the highest id

    compact, old_ids = relabel(labels)

    peer, _, back = relabel_sequential(labels)
    np.testing.assert_array_equal(compact, peer)
    np.testing.assert_array_equal(old_ids[1:], np.asarray(back)[1:])


@few
@given(SEEDS, st.integers(0, 40))
def test_small_objects_go_whole(seed: int, min_voxels: int) -> None:
    labels = blobs(seed)

    kept = remove_small(labels, min_voxels=min_voxels)

    for nucleus in np.unique(labels[labels > 0]):
        size = np.count_nonzero(labels == nucleus)
        assert np.count_nonzero(kept == nucleus) == (size if size >= min_voxels else 0)
    assert set(np.unique(kept)) <= {0, *np.unique(labels)}


@few
@given(SEEDS)
def test_scattered_objects_are_those_that_one_flood_does_not_reach(seed: int) -> None:
    labels = blobs(seed, share=0.5)

    pieces = {k: ndimage.label(labels == k)[1] for k in np.unique(labels[labels > 0]).tolist()}

    assert scattered_ids(labels).tolist() == [k for k, n in sorted(pieces.items()) if n > 1]


@pytest.mark.parametrize("dtype", ["u1", ">u2", "<i4", ">u4", "i8", "u8"])
def test_labels_of_any_integer_and_layout_are_read_and_left_alone(dtype: str) -> None:
    rng = np.random.default_rng(1)
    truth, found = rng.integers(0, 9, (2, 4, 10, 12)).astype(dtype)
    wanted = score_labels(truth.astype(np.int64), found.astype(np.int64))
    before = truth.copy(), found.copy()

    for view in (slice(None), slice(None, None, -1)):
        a, b = truth[:, view], np.asfortranarray(found[:, view])
        a.setflags(write=False)
        assert score_labels(a, b) == wanted
        assert relabel(a).labels.dtype == remove_small(a, min_voxels=3).dtype == np.uint32
        assert scattered_ids(b).size == 8
    np.testing.assert_array_equal(truth, before[0])
    np.testing.assert_array_equal(found, before[1])


@pytest.mark.parametrize("first", [1, 65_500, 2**24 - 5, 2**32 - 70_000])
def test_seventy_thousand_neighbouring_ids_stay_apart(first: int) -> None:
    ids = first + np.arange(70_000, dtype=np.int64)
    volume = np.repeat(ids.reshape(1, 200, 350), 2, axis=0).astype(np.uint32)

    compact, old_ids = relabel(volume)
    score = score_labels(volume, compact)

    assert int(compact.max()) == 70_000
    np.testing.assert_array_equal(old_ids[1:], ids)
    assert (score.true_positives, score.pq) == (70_000, 1)
    np.testing.assert_array_equal(remove_small(volume, min_voxels=2), volume)
    assert not remove_small(volume, min_voxels=3).any()


@pytest.mark.parametrize("kind", [bool, float, complex, object])
def test_labels_that_are_no_numbers_of_objects_are_refused(kind: type) -> None:
    labels = np.ones((2, 3), kind)

    for use in (relabel, scattered_ids, lambda x: remove_small(x, min_voxels=1)):
        with pytest.raises(TypeError, match="labels are whole numbers; found dtype"):
            use(labels)
    with pytest.raises(TypeError, match="labels are whole numbers; found dtype"):
        overlap_table([(labels, labels)])


@pytest.mark.parametrize("iou", [0.0, -0.5, 1.0001, np.nan, np.inf])
def test_an_overlap_that_is_none_is_refused(iou: float) -> None:
    with pytest.raises(ValueError, match="above 0 and up to 1; found"):
        match_labels(np.ones((1, 2), int), np.ones((1, 2), int), iou=iou)
