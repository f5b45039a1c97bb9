"""Masks put in order: size, holes, poor flows, numbers."""

from typing import Any

import numpy as np
import pytest

from clgkit.segmentation.cellpose_masks import (
    drop_poor,
    drop_too_large,
    fill_and_drop_small,
    renumber_by_raster,
)
from tests.unit.cellpose_scene import disks, perfect_maps

RULES = pytest.mark.parametrize("rule", ["cellpose3", "cellpose2"])


def squares(*sizes: int, gap: int = 2) -> Any:
    """Return squares in a row, ids 1, 2, ... ."""
    labels = np.zeros((max(sizes) + 2, sum(sizes) + gap * (len(sizes) + 1)), np.int32)
    x = gap
    for number, side in enumerate(sizes, start=1):
        labels[1 : 1 + side, x : x + side] = number
        x += side + gap
    return labels


def areas(labels: Any) -> list[int]:
    return np.bincount(labels.ravel())[1:].tolist()


def test_ids_follow_the_reader() -> None:
    labels = np.array([[0, 9, 9], [4, 0, 9], [4, 2, 2]])

    np.testing.assert_array_equal(renumber_by_raster(labels), [[0, 1, 1], [2, 0, 1], [2, 3, 3]])


def test_no_ids_need_no_order() -> None:
    assert not renumber_by_raster(np.zeros((3, 3), int)).any()
    np.testing.assert_array_equal(renumber_by_raster(np.full((2, 2), 5)), 1)


def test_a_mask_over_its_share_of_the_image_is_dropped() -> None:
    labels = np.zeros((10, 10), np.int32)
    labels[:4], labels[5:9, :5] = 1, 2

    np.testing.assert_array_equal(drop_too_large(labels, max_share=0.4), labels)  # 40 is not more
    kept = drop_too_large(labels, max_share=0.39)
    assert set(np.unique(kept)) == {0, 2}


def test_masks_with_poor_flows_go_and_the_ids_of_others_stay() -> None:
    labels = disks().labels
    flows = perfect_maps(labels)[:2]
    flows[:, labels == 3] *= -1

    kept = drop_poor(labels, flows, threshold=0.4, rule="cellpose3")

    assert set(np.unique(labels)) - set(np.unique(kept)) == {3}
    np.testing.assert_array_equal(kept[labels != 3], labels[labels != 3])


def test_a_threshold_of_zero_keeps_all() -> None:
    labels = disks().labels

    kept = drop_poor(labels, np.zeros((2, 64, 64)), threshold=0, rule="cellpose3")

    np.testing.assert_array_equal(kept, labels)


def test_without_masks_nothing_is_poor() -> None:
    empty = np.zeros((8, 8), np.int32)

    assert not drop_poor(empty, np.ones((2, 8, 8)), threshold=0.4, rule="cellpose3").any()


@RULES
def test_small_masks_go_and_the_rest_is_compact(rule: Any) -> None:
    kept = fill_and_drop_small(squares(5, 3, 4, 2), min_size_px=10, rule=rule)

    assert areas(kept) == [25, 16]


@RULES
@pytest.mark.parametrize("min_size", [-1, 0])
def test_no_least_size_keeps_every_mask(rule: Any, min_size: int) -> None:
    assert areas(fill_and_drop_small(squares(3, 1, 2), min_size_px=min_size, rule=rule)) == [
        9,
        1,
        4,
    ]


@RULES
def test_exactly_the_least_size_is_kept(rule: Any) -> None:
    assert areas(fill_and_drop_small(squares(4, 3), min_size_px=16, rule=rule)) == [16]


@RULES
def test_holes_are_filled_also_over_what_lies_in_them(rule: Any) -> None:
    labels = np.zeros((12, 12), np.int32)
    labels[1:11, 1:11] = 1
    labels[4:8, 4:8] = 0
    labels[5, 5] = 2

    filled = fill_and_drop_small(labels, min_size_px=-1, rule=rule)

    assert (filled[1:11, 1:11] == 1).all()


@RULES
def test_an_open_bay_is_no_hole(rule: Any) -> None:
    labels = np.zeros((8, 8), np.int32)
    labels[1:7, 1:7] = 1
    labels[3, 3:7] = 0

    filled = fill_and_drop_small(labels, min_size_px=-1, rule=rule)

    np.testing.assert_array_equal(filled, labels)


def test_a_hole_of_a_stack_is_three_dimensional_in_cellpose_3_and_flat_in_2() -> None:
    labels = np.zeros((5, 9, 9), np.int32)
    labels[1:4, 1:8, 1:8] = 1
    labels[2, 4, 4] = 0  # closed on all sides
    labels[3, 2, 2] = 0  # open below, closed in its slice

    solid, flat = (
        fill_and_drop_small(labels, min_size_px=-1, rule=r) for r in ("cellpose3", "cellpose2")
    )

    assert solid[2, 4, 4] == flat[2, 4, 4] == flat[3, 2, 2] == 1
    assert solid[3, 2, 2] == 0


def test_sizes_of_a_stack_are_in_voxels() -> None:
    labels = np.zeros((4, 6, 6), np.int32)
    labels[:, 1:3, 1:3] = 1
    labels[0, 4:6, 4:6] = 2

    assert areas(fill_and_drop_small(labels, min_size_px=15)) == [16]


def test_ranks_are_taken_for_ids_only_where_that_is_asked_for() -> None:
    """Id 2 is missing, so the small mask is the third of the list, and its id is 4."""
    labels = squares(5, 5, 5, 2)
    labels[labels == 2] = 0

    ours = fill_and_drop_small(labels, min_size_px=10)
    theirs = fill_and_drop_small(labels, min_size_px=10, repeat_rank_bug=True)

    assert areas(ours) == [25, 25]
    assert areas(theirs) == [25]  # id 3 went in its place, then the small one after renumbering


@RULES
def test_the_input_is_left_alone(rule: Any) -> None:
    labels = squares(5, 2)
    before = labels.copy()

    fill_and_drop_small(labels, min_size_px=10, rule=rule)

    np.testing.assert_array_equal(labels, before)


@RULES
def test_gaps_between_ids_are_legal(rule: Any) -> None:
    labels = squares(4, 5, 3) * 100

    assert areas(fill_and_drop_small(labels, min_size_px=10, rule=rule)) == [16, 25]


@RULES
def test_an_empty_image_stays_empty(rule: Any) -> None:
    assert not fill_and_drop_small(np.zeros((6, 6), int), min_size_px=15, rule=rule).any()
