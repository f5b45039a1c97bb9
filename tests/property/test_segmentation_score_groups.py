"""Every score beside a brute-force computation, and beside the definitions of StarDist."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from skimage.metrics import variation_of_information

from clgkit.segmentation.overlap import overlap_table
from clgkit.segmentation.score import ignore_border, match_labels, score_labels
from clgkit.segmentation.score_groups import (
    axial_errors,
    score_by_brightness,
    score_by_depth,
    score_centers,
)

Labels = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]
N_PAIRS = 200
EXACT = 1e-12  # sums in another order


def pair(seed: int) -> tuple[Labels, Labels]:
    """Random touching objects, and the same ones moved, merged, split and lost."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(3, 12, 3))
    points = rng.uniform(0, shape, (int(rng.integers(1, 15)), 3))
    grid = np.moveaxis(np.indices(shape), 0, -1)
    nearest = ((grid[..., None, :] - points) ** 2).sum(-1).argmin(-1)
    solid = ndimage.gaussian_filter(rng.random(shape), 1) < rng.uniform(0.4, 0.7)
    truth = np.where(solid, rng.choice(1000, len(points), replace=False)[nearest] + 1, 0)
    other = np.roll(truth, rng.integers(-1, 2, 3), (0, 1, 2))
    ids = np.unique(other)
    new = rng.permutation(ids)
    new[rng.random(ids.size) < 0.3] = rng.choice(new)
    other = new[np.searchsorted(ids, other)]
    if rng.random() < 0.5:
        other[:, : shape[1] // 2][other[:, : shape[1] // 2] > 0] += 2000
    return truth, other


def dense(truth: Labels, other: Labels) -> tuple[Float64, Float64, Float64]:
    """Return common voxels of all pairs, and sizes."""
    rows, columns = (np.unique(x[x > 0]) for x in (truth, other))
    common = np.array([[((truth == a) & (other == b)).sum() for b in columns] for a in rows])
    sizes = (
        np.array([(x == k).sum() for k in ids]) for x, ids in ((truth, rows), (other, columns))
    )
    one, two = sizes
    return common.reshape(rows.size, columns.size).astype(float), one, two


def best_pairs(iou: Float64, threshold: float) -> tuple[int, float]:
    good = iou >= threshold
    value = np.where(good, iou + min(iou.shape, default=0) + 1, 0.0)
    chosen = linear_sum_assignment(value, maximize=True)
    return int(good[chosen].sum()), float(iou[chosen][good[chosen]].sum())


@pytest.mark.parametrize("part", range(4))
def test_scores_of_200_pairs_are_those_of_dense_tables(part: int) -> None:
    for seed in range(part * N_PAIRS // 4, (part + 1) * N_PAIRS // 4):
        truth, other = pair(seed)
        threshold = float(np.random.default_rng(seed).choice([0.1, 0.3, 0.5, 0.7, 0.9]))
        common, one, two = dense(truth, other)
        n, m = common.shape
        iou = common / (one[:, None] + two - common)
        hits, total = best_pairs(iou, threshold)
        share = common / one[:, None]

        score = score_labels(truth, other, iou=threshold)

        assert (score.n_truth, score.n_predicted, score.true_positives) == (n, m, hits)
        if not n or not m:
            continue
        assert score.ap == pytest.approx(hits / (n + m - hits), abs=EXACT)
        assert score.pq == pytest.approx(total / (hits + (n + m - 2 * hits) / 2), abs=EXACT)
        assert score.seg == pytest.approx(iou[share > 0.5].sum() / n, abs=EXACT)
        assert score.over == pytest.approx(((share > 0.15).sum(1) >= 2).mean(), abs=EXACT)
        assert score.under == pytest.approx(((share > 0.5).sum(0) >= 2).mean(), abs=EXACT)
        assert score.rand_error == pytest.approx(rand_error(truth, other), abs=1e-9)
        split, merge = information(truth, other)
        assert (score.vi_split, score.vi_merge) == pytest.approx((split, merge), abs=1e-9)


def rand_error(truth: Labels, other: Labels) -> float:
    """Count pairs of voxels of true objects, each voxel with itself too."""
    a, b = truth[truth > 0], other[truth > 0]
    same_truth, same = a[:, None] == a, b[:, None] == b
    both = (same_truth & same).sum()
    return float(1 - 2 * both / (same_truth.sum() + same.sum()))


def information(truth: Labels, other: Labels) -> tuple[float, float]:
    inside = truth > 0
    split, merge = variation_of_information(truth[inside], other[inside])
    return float(split), float(merge)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.75, 0.9])
def test_matches_are_those_of_stardist(threshold: float) -> None:
    # StarDist: an assignment that costs -(IoU >= t) - IoU / (2 * min(n, m)) over the whole table;
    # the criterion is IoU, AP is its "accuracy", PQ its "panoptic_quality".
    for seed in range(60):
        truth, other = pair(seed)
        common, one, two = dense(truth, other)
        n, m = common.shape
        if not n or not m:
            continue
        iou = common / (one[:, None] + two - common)
        chosen = linear_sum_assignment(-1.0 * (iou >= threshold) - iou / (2 * min(n, m)))
        good = iou[chosen] >= threshold
        tp = int(good.sum())
        matched = float(iou[chosen][good].sum())

        score = score_labels(truth, other, iou=threshold)

        assert score.true_positives == tp
        assert score.ap == pytest.approx(tp / (n + m - tp))
        assert score.f1 == pytest.approx(2 * tp / (n + m))
        if threshold >= 0.5:  # below, the pairs may differ, as unmatched IoU counts there too
            assert score.mean_matched_iou == pytest.approx(matched / max(tp, 1))
            assert score.pq == pytest.approx(matched / ((n + m) / 2))


def test_centres_borders_and_brightness_are_those_of_the_voxels() -> None:
    for seed in range(30):
        truth, other = pair(seed)
        image = np.random.default_rng(seed).random(truth.shape)
        table = overlap_table(zip(truth, other, strict=True), image=image)
        whole = overlap_table([(truth, other)], image=[image])

        np.testing.assert_allclose(table.truth_centers, whole.truth_centers, rtol=EXACT)
        outer = np.ones(truth.shape, np.bool_)
        outer[1:-1, 1:-1, 1:-1] = False
        for ids, centers, light, border, labels in (
            (table.truth_ids, table.truth_centers, table.truth_brightness,
             table.truth_on_border, truth),
            (table.predicted_ids, table.predicted_centers, table.predicted_brightness,
             table.predicted_on_border, other),
        ):  # fmt: skip
            for k, center, mean, touches in zip(ids, centers, light, border, strict=True):
                inside = labels == k
                np.testing.assert_allclose(center, np.argwhere(inside).mean(0), rtol=EXACT)
                assert mean == pytest.approx(image[inside].mean())
                assert touches == (inside & outer).any()


def test_groups_add_up_to_the_whole() -> None:
    for seed in range(30):
        truth, other = pair(seed)
        image = np.random.default_rng(seed).random(truth.shape)
        table = overlap_table(zip(truth, other, strict=True), image=image)
        score = score_labels(table)
        for groups in (score_by_depth(table), score_by_brightness(table, n_groups=3)):
            if not table.truth_ids.size:
                continue
            assert sum(g.n_truth for g in groups) == score.n_truth
            assert sum(g.n_predicted for g in groups) == score.n_predicted
            hits = sum(g.recall * g.n_truth for g in groups if g.n_truth)
            found = sum(g.precision * g.n_predicted for g in groups if g.n_predicted)
            assert (hits, found) == pytest.approx((score.true_positives,) * 2)


def test_as_many_centres_are_matched_as_an_assignment_can() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        one, two = rng.uniform(0, 10, (int(rng.integers(1, 40)), 3)), rng.uniform(0, 10, (25, 3))
        near = cdist(one, two) <= 2.5
        hits = int(near[linear_sum_assignment(near, maximize=True)].sum())

        score = score_centers(one, two, radius_um=2.5)

        assert score.true_positives == hits
        assert score.f1 == pytest.approx(2 * hits / (len(one) + 25))


def test_brightness_groups_hold_equally_many_and_depth_groups_are_equally_thick() -> None:
    truth = np.repeat(np.arange(1, 41).reshape(40, 1), 3, axis=1)[:, None]
    table = overlap_table(zip(truth, truth, strict=True), image=truth.astype(float))

    bright = score_by_brightness(table)
    deep = score_by_depth(table, n_groups=4)

    assert [g.n_truth for g in bright] == [8] * 5
    assert (bright[0].low, bright[-1].high) == (1, 40)
    assert [g.n_truth for g in deep] == [10] * 4
    assert all(g.recall == g.precision == g.mean_matched_iou == 1 for g in (*bright, *deep))


def test_only_the_dim_half_is_lost() -> None:
    truth = np.repeat(np.arange(1, 41).reshape(40, 1), 3, axis=1)[:, None]
    found = np.where(truth <= 20, 0, truth)
    table = overlap_table(zip(truth, found, strict=True), image=truth.astype(float))

    groups = score_by_brightness(table, n_groups=4)

    assert [g.recall for g in groups] == [0, 0, 1, 1]
    assert [g.n_predicted for g in groups] == [0, 0, 10, 10]
    assert np.isnan([groups[0].precision, groups[0].mean_matched_iou]).all()


def test_errors_along_z_are_told_from_those_in_the_plane() -> None:
    truth = np.zeros((4, 4, 8), np.int64)
    truth[:, :, :2], truth[:, :, 2:4] = 1, 2
    found = truth.copy()
    found[2:, :, :2] = 5  # split along z
    found[:, 2:, 2:4] = 6  # split along y
    table = overlap_table(zip(truth, found, strict=True))
    swapped = overlap_table(zip(found, truth, strict=True))

    assert axial_errors(table, voxel_um=(1, 1, 1)) == (0.5, 0)
    assert axial_errors(swapped, voxel_um=(1, 1, 1)) == (0, 0.5)
    assert score_labels(table).over == score_labels(swapped).under == 1


def test_the_shape_of_a_voxel_decides_what_is_axial() -> None:
    truth = np.ones((4, 4, 4), np.int64)
    found = truth.copy()
    found[2:, 2:] = 2
    found[:2, 2:] = found[2:, :2] = 0  # two corners, one 2 slices and 2 rows from the other
    table = overlap_table(zip(truth, found, strict=True))

    assert axial_errors(table, voxel_um=(2, 1, 1)).over == 1
    assert axial_errors(table, voxel_um=(1, 2, 1)).over == 0


def test_objects_on_the_border_can_be_left_out_with_what_was_found_of_them() -> None:
    truth = np.zeros((5, 5, 12), np.int64)
    truth[2, 2, :3], truth[2, 2, 4:7], truth[1:4, 1:4, 8:11] = 1, 2, 3
    found = truth.copy()
    found[2, 2, 0] = 0  # the match of 1 does not touch the border
    found[4, 4, 11] = 9  # an invention on the border
    found[3, 3, 10] = 0

    assert score_labels(truth, found).n_predicted == 4
    score = score_labels(truth, found, border="ignore")
    assert (score.n_truth, score.n_predicted, score.true_positives) == (2, 2, 2)
    assert match_labels(truth, found).truth_ids.tolist() == [1, 2, 3]
    table = ignore_border(overlap_table(zip(truth, found, strict=True)))
    assert table.truth_ids.tolist() == table.predicted_ids.tolist() == [2, 3]


def test_nothing_and_nonsense() -> None:
    empty = overlap_table([])
    assert score_by_depth(empty) == ()
    assert axial_errors(empty, voxel_um=(1, 1, 1)) == (0, 0)
    assert score_centers(np.zeros((0, 3)), np.zeros((0, 3)), radius_um=1) == (0, 1, 1, 1)
    assert score_centers(np.zeros((0, 3)), np.zeros((2, 3)), radius_um=1) == (0, 0, 0, 0)
    plane = np.ones((2, 3), int)
    with pytest.raises(ValueError, match="knows no brightness"):
        score_by_brightness(overlap_table([(plane, plane)]))
    with pytest.raises(ValueError, match="radius of a match is positive; found 0"):
        score_centers(np.zeros((1, 3)), np.zeros((1, 3)), radius_um=0)
    for image in ([], [np.ones((2, 2))]):
        with pytest.raises(ValueError, match="the image has the shape of the labels"):
            overlap_table([(plane, plane)], image=image)
    assert score_by_brightness(overlap_table([], image=[])) == ()
