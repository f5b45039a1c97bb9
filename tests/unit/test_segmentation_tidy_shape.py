import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from clgkit.segmentation.tidy import (
    LabelSizes,
    Renumbering,
    border_ids,
    compact_ids,
    keep_largest_pieces,
    keep_rule,
    label_sizes,
    merge_labels,
    separate_pieces,
)
from clgkit.segmentation.tidy_shape import fill_holes, smooth_labels, split_label

Labels = npt.NDArray[np.integer]
HUGE = 2**32 - 1


def ball(shape: tuple[int, int, int], center: tuple[float, ...], radius: float) -> np.ndarray:
    grid = np.ogrid[tuple(slice(n) for n in shape)]
    return sum((g - c) ** 2 for g, c in zip(grid, center, strict=True)) <= radius**2


def two_balls(distance: float = 9) -> Labels:
    shape = (15, 17, 34)
    labels = np.zeros(shape, np.uint32)
    labels[ball(shape, (7, 8, 8), 6) | ball(shape, (7, 8, 8 + distance), 5)] = 7
    return labels


def scrambled(seed: int) -> Labels:
    """Ragged objects with holes, pieces and neighbours."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, (7, 14, 16), (12, 3))
    grid = np.moveaxis(np.indices((7, 14, 16)), 0, -1)
    nearest = ((grid[..., None, :] - points) ** 2).sum(-1).argmin(-1)
    return np.where(rng.random(nearest.shape) < 0.8, nearest, 0).astype(np.uint16)


def test_holes_of_sections_and_of_volumes_are_filled() -> None:
    labels = np.zeros((5, 7, 7), np.uint32)
    labels[1:4, 1:6, 1:6] = HUGE
    labels[2, 3, 3] = 0  # a cavity
    tube = labels.copy()
    tube[1:4, 3, 3] = 0  # open above and below

    assert (fill_holes(labels, per_slice=False)[1:4, 1:6, 1:6] == HUGE).all()
    np.testing.assert_array_equal(fill_holes(tube, per_slice=False), tube)
    assert (fill_holes(tube, volume=False)[1:4, 1:6, 1:6] == HUGE).all()
    assert labels[2, 3, 3] == 0  # the input is left alone


def test_a_hole_between_two_objects_or_at_the_edge_is_none() -> None:
    plane = np.array([[1, 1, 1, 2, 2], [1, 0, 1, 2, 0], [1, 1, 0, 2, 2], [1, 1, 1, 2, 2]])

    filled = fill_holes(plane[None])

    assert filled[0].tolist() == [
        [1, 1, 1, 2, 2], [1, 1, 1, 2, 0], [1, 1, 0, 2, 2], [1, 1, 1, 2, 2],
    ]  # fmt: skip


def test_what_lies_in_a_hole_stays() -> None:
    plane = np.full((7, 7), 1)
    plane[2:5, 2:5] = 0
    plane[3, 3] = 9

    assert np.array_equal(fill_holes(plane[None])[0], plane)  # a gap around 9 touches both


@pytest.mark.parametrize("seed", range(4))
def test_holes_of_one_object_are_those_of_scipy(seed: int) -> None:
    labels = (scrambled(seed) > 0).astype(np.uint8)

    whole = fill_holes(labels, per_slice=False)
    planes = fill_holes(labels, volume=False)

    np.testing.assert_array_equal(whole > 0, ndimage.binary_fill_holes(labels))
    for plane, ours in zip(labels, planes, strict=True):
        np.testing.assert_array_equal(ours > 0, ndimage.binary_fill_holes(plane))


@pytest.mark.parametrize("seed", range(3))
def test_no_shape_rule_takes_a_voxel_from_another_object(seed: int) -> None:
    labels = scrambled(seed)

    for made in (
        fill_holes(labels),
        smooth_labels(labels),
        smooth_labels(labels, iterations=2, method="opening"),
        keep_largest_pieces(labels),
    ):
        assert made.dtype == np.uint32
        both = (made > 0) & (labels > 0)
        np.testing.assert_array_equal(made[both], labels[both])


@pytest.mark.parametrize("seed", range(3))
def test_smoothing_is_a_majority_of_27_voxels(seed: int) -> None:
    labels = scrambled(seed)
    padded = np.pad(labels, 1, "edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3, 3)).reshape(*labels.shape, 27)
    expected = np.zeros(labels.shape, np.uint32)
    for place in np.ndindex(labels.shape):
        ids, counts = np.unique(windows[place], return_counts=True)
        best = ids[counts >= 14]
        if best.size and labels[place] in (0, best[0]):
            expected[place] = best[0]

    np.testing.assert_array_equal(smooth_labels(labels), expected)


@pytest.mark.parametrize("seed", range(3))
def test_an_opening_is_scipys_for_each_object(seed: int) -> None:
    labels = np.pad(scrambled(seed) % 3, 2)  # the edge of an array is another matter

    opened = smooth_labels(labels, method="opening")

    for k in (1, 2):
        np.testing.assert_array_equal(opened == k, ndimage.binary_opening(labels == k))


@pytest.mark.parametrize("method", ["majority", "opening"])
def test_smoothing_can_be_done_block_by_block(method: str) -> None:
    labels = scrambled(1)
    whole = smooth_labels(labels, iterations=1, method=method)
    halo = 1 if method == "majority" else 2

    for z in range(len(labels)):
        low = max(z - halo, 0)
        part = smooth_labels(labels[low : z + halo + 1], iterations=1, method=method)
        np.testing.assert_array_equal(part[z - low], whole[z])


def test_two_nuclei_under_one_id_are_split_at_the_waist() -> None:
    labels = two_balls()
    labels[0, 0, 0] = HUGE - 1

    split = split_label(labels, 7, voxel_um=(1, 1, 1))

    assert np.unique(split).tolist() == [0, 7, HUGE - 1, HUGE]
    np.testing.assert_array_equal(split > 0, labels > 0)
    x = [np.argwhere(split == k)[:, 2] for k in (7, HUGE)]
    assert x[0].size > x[1].size  # the larger keeps the id
    assert abs(int(x[0].max()) - int(x[1].min())) <= 2
    assert 10 <= int(x[1].min()) <= 14


def test_the_voxel_size_decides_where_the_waist_is() -> None:
    labels = two_balls().transpose(2, 0, 1)

    split = split_label(labels, 7, voxel_um=(3, 1, 1))

    z = [np.argwhere(split == k)[:, 0] for k in (7, 8)]
    assert 9 <= min(int(part.max()) for part in z) <= 15


def test_splitting_into_one_part_or_by_pieces_is_legal() -> None:
    labels = two_balls(17)
    assert ndimage.label(labels)[1] == 2

    np.testing.assert_array_equal(split_label(labels, 7, voxel_um=(1, 1, 1), n_parts=1), labels)
    pieces = split_label(labels, 7, voxel_um=(1, 1, 1))
    np.testing.assert_array_equal(pieces, separate_pieces(labels).labels + 6 * (labels > 0))


def test_what_cannot_be_split_is_refused() -> None:
    labels = np.zeros((3, 4, 5), np.uint32)
    labels[1, 1, 1:3] = 4

    with pytest.raises(ValueError, match="there is no object 5"):
        split_label(labels, 5, voxel_um=(1, 1, 1))
    with pytest.raises(ValueError, match="there is no object 0"):
        split_label(labels, 0, voxel_um=(1, 1, 1))
    with pytest.raises(ValueError, match="has 1 peaks of distance"):
        split_label(labels, 4, voxel_um=(1, 1, 1))
    with pytest.raises(ValueError, match="1 part or more; found 0"):
        split_label(labels, 4, voxel_um=(1, 1, 1), n_parts=0)
    with pytest.raises(ValueError, match="no free ids"):
        split_label(two_balls() // 7 * np.uint32(HUGE), HUGE, voxel_um=(1, 1, 1))
    for use in (fill_holes, smooth_labels):
        with pytest.raises(ValueError, match="axes z, y, x"):
            use(labels[0])
    with pytest.raises(ValueError, match="0 times or more; found -1"):
        smooth_labels(labels, iterations=-1)


def test_pieces_become_objects_or_go() -> None:
    labels = np.array([[[9, 9, 0, 9], [0, 0, 0, 0], [4, 0, 9, 9], [4, 0, 9, 0]]])

    separate, old = separate_pieces(labels)
    largest = keep_largest_pieces(labels)

    assert separate.tolist() == [[[3, 3, 0, 4], [0, 0, 0, 0], [1, 0, 2, 2], [1, 0, 2, 0]]]
    assert old.tolist() == [0, 4, 9, 9, 9]
    np.testing.assert_array_equal(old[separate], labels)
    assert largest.tolist() == [[[0, 0, 0, 0], [0, 0, 0, 0], [4, 0, 9, 9], [4, 0, 9, 0]]]


def test_sizes_are_read_slice_by_slice_and_the_rule_is_applied_to_blocks() -> None:
    labels = np.zeros((4, 9, 9), np.uint32)
    labels[1:3, 2:4, 2:4] = 5  # 8 voxels
    labels[1:3, 5:7, 5:7] = HUGE  # 8
    labels[1, 2, 6] = 7  # 1
    labels[0, 8, :8] = 6  # 8, on the border

    sizes = label_sizes(labels)
    rule = keep_rule(sizes, voxel_um=(1, 0.5, 0.5), border="drop", of_median=(0.2, 5))
    kept = np.concatenate([rule.apply(labels[:1]), rule.apply(labels[1:])])

    assert sizes.ids.tolist() == [5, 6, 7, HUGE]
    assert sizes.voxels.tolist() == [8, 8, 1, 8]
    assert sizes.on_border.tolist() == [False, True, False, False]
    assert np.unique(kept).tolist() == [0, 5, HUGE]
    for a, b in zip(sizes, label_sizes([labels]), strict=True):
        np.testing.assert_array_equal(a, b)
    numbered = compact_ids(rule.new).apply(kept)
    assert np.unique(numbered).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        ({}, [2, 3, 4]),
        ({"min_um3": 850}, [3, 4]),
        ({"of_median": (0, 100)}, [1, 2, 3, 4, 5]),
        ({"min_um3": 2e9}, []),
    ],
)
def test_specks_and_giants_go_by_the_median(limits: dict[str, object], kept: list[int]) -> None:
    voxels = np.array([11, 100, 110, 120, 601])
    sizes = LabelSizes(
        np.arange(1, 6, dtype=np.uint32), voxels, np.zeros((5, 3)), np.zeros(5, np.bool_)
    )

    rule = keep_rule(sizes, voxel_um=(2, 2, 2), **limits)  # type: ignore[arg-type]

    assert rule.old.tolist() == rule.new.tolist() == kept


def test_limits_that_are_none_are_refused() -> None:
    sizes = label_sizes([np.ones((2, 2), int)])
    with pytest.raises(ValueError, match="positive size"):
        keep_rule(sizes, voxel_um=(0, 1, 1))
    with pytest.raises(ValueError, match="limited from below and above"):
        keep_rule(sizes, voxel_um=(1, 1, 1), of_median=(5, 1))
    with pytest.raises(ValueError, match="limited from below and above"):
        keep_rule(sizes, voxel_um=(1, 1, 1), min_um3=-1)


def test_objects_on_the_border_are_named() -> None:
    labels = np.zeros((3, 4, 5), np.uint32)
    labels[0, 1, 1], labels[1, 0, 2], labels[1, 2, 4], labels[1, 1, 1] = 4, 2, HUGE, 9

    assert border_ids(labels).tolist() == [2, 4, HUGE]
    assert border_ids(labels, axes=(1, 2)).tolist() == [2, HUGE]
    assert border_ids(labels, axes=()).size == 0
    assert border_ids(labels[:0]).size == 0


def test_listed_objects_become_one() -> None:
    labels = np.array([0, 3, 5, 8, 9, HUGE])
    ids = label_sizes([labels[None]]).ids

    merged = merge_labels(ids, [[8, 5], [HUGE, 8], [9]])

    assert merged.apply(labels).tolist() == [0, 3, 5, 5, 9, 5]
    assert merge_labels(ids, []).apply(labels).tolist() == labels.tolist()
    with pytest.raises(ValueError, match=r"no objects \[4\]"):
        merge_labels(ids, [[3, 4]])


def test_what_is_not_in_a_table_becomes_background() -> None:
    table = Renumbering(np.array([4, 7], np.uint32), np.array([HUGE, 1], np.uint32))

    assert table.apply(np.array([[0, 4, 5], [7, 8, 3]])).tolist() == [[0, HUGE, 0], [1, 0, 0]]
    empty = np.empty(0, np.uint32)
    assert Renumbering(empty, empty).apply(np.array([0, 3])).tolist() == [0, 0]
