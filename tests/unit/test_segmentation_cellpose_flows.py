"""Flows of masks, and masks of flows."""

from typing import Any

import numpy as np
import pytest

from clgkit.segmentation.cellpose_dynamics import follow_flows, group_ends
from clgkit.segmentation.cellpose_flows import (
    compact_ids,
    flow_errors,
    flows_of_masks,
    mask_diameter_px,
)
from tests.unit.cellpose_scene import disks, perfect_maps

RULES = pytest.mark.parametrize("rule", ["cellpose3", "cellpose2"])


def disk(side: int = 21, radius: float = 7) -> Any:
    y, x = np.mgrid[:side, :side] - side // 2
    return (y**2 + x**2 <= radius**2).astype(np.int32)


@RULES
def test_flows_have_length_one_inside_and_zero_outside(rule: Any) -> None:
    labels = disks().labels

    flows = flows_of_masks(labels, rule=rule)

    length = np.sqrt((flows**2).sum(axis=0))
    assert not length[labels == 0].any()
    np.testing.assert_allclose(length[labels > 0][length[labels > 0] > 0], 1)
    assert np.mean(length[labels > 0] > 0) > 0.97  # a centre may have none


@RULES
def test_flows_of_a_disk_lead_to_its_centre(rule: Any) -> None:
    labels = disk()
    y, x = np.mgrid[:21, :21] - 10

    flows = flows_of_masks(labels, rule=rule)

    inside = (labels > 0) & (y**2 + x**2 > 9) & (y**2 + x**2 < 36)
    towards = -(flows[0] * y + flows[1] * x) / np.sqrt(y**2 + x**2 + 1e-9)
    assert towards[inside].min() > 0.9


def test_a_centre_lies_in_its_mask_though_the_mean_does_not() -> None:
    y, x = np.mgrid[:31, :31] - 15
    ring = ((y**2 + x**2 <= 144) & (y**2 + x**2 >= 64)).astype(np.int32)

    flows = flows_of_masks(ring)

    assert np.isfinite(flows).all()
    assert not flows[:, ring == 0].any()


def test_a_single_pixel_has_no_flow() -> None:
    labels = np.zeros((9, 9), np.int32)
    labels[4, 4] = 1

    assert not flows_of_masks(labels).any()


@RULES
def test_masks_at_the_border_and_no_masks_are_legal(rule: Any) -> None:
    labels = np.ones((6, 7), np.int32)

    assert flows_of_masks(labels, rule=rule).shape == (2, 6, 7)
    assert not flows_of_masks(np.zeros((5, 5), np.int32), rule=rule).any()


def test_neighbours_do_not_feel_each_other() -> None:
    alone = np.zeros((20, 20), np.int32)
    alone[3:10, 3:10] = 5
    both = alone.copy()
    both[10:17, 3:10] = 2

    np.testing.assert_array_equal(
        flows_of_masks(alone)[:, alone == 5], flows_of_masks(both)[:, alone == 5]
    )


def test_ids_do_not_matter() -> None:
    labels = disks().labels
    other = np.where(labels > 0, 1000 - 7 * labels, 0)

    np.testing.assert_array_equal(flows_of_masks(labels), flows_of_masks(other))


def test_the_two_rules_differ() -> None:
    labels = disks().labels

    first, second = (flows_of_masks(labels, rule=r) for r in ("cellpose3", "cellpose2"))

    assert np.abs(first - second).max() > 0.05


def test_perfect_flows_have_no_error_and_turned_ones_do() -> None:
    labels = disks().labels
    flows = perfect_maps(labels)[:2]

    # float32 flows
    np.testing.assert_allclose(flow_errors(labels, flows), 0, atol=1e-10)
    assert (flow_errors(labels, -flows) > 3.5).all()  # |2 mu| squared, without the centre


def test_an_id_without_pixels_has_no_error() -> None:
    labels = np.where(disk() > 0, 3, 0)

    errors = flow_errors(labels, np.zeros((2, 21, 21), np.float32))

    np.testing.assert_array_equal(errors[:2], 0)
    assert errors[2] > 0.9


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        (np.zeros((4, 4), int), 0.0),
        (np.repeat([[1, 2, 2, 2]], 4, axis=0), (2 + 12**0.5) / np.pi**0.5),
        (np.where(np.eye(4) > 0, 9, 0), 4 / np.pi**0.5),
    ],
)
def test_the_diameter_is_that_of_a_disk_of_the_typical_area(labels: Any, wanted: float) -> None:
    assert mask_diameter_px(labels) == pytest.approx(wanted)


def test_compact_ids_keep_their_order() -> None:
    labels = np.array([[0, 7, 7], [100, 3, 0]])

    np.testing.assert_array_equal(compact_ids(labels), [[0, 2, 2], [3, 1, 0]])
    np.testing.assert_array_equal(compact_ids(labels[:, 1:2]), [[2], [1]])


@RULES
def test_pixels_of_a_mask_meet_at_its_centre(rule: Any) -> None:
    labels = disk()
    maps = perfect_maps(labels)

    ends = follow_flows(maps[:2], labels > 0, n_steps=200, rule=rule)

    far = np.abs(ends[:, labels > 0] - 10)
    assert np.mean(far.max(axis=0) <= 1) > 0.9


def test_pixels_that_are_off_stay_where_they_are() -> None:
    labels = disk()
    maps = perfect_maps(labels)

    ends = follow_flows(maps[:2], labels > 0, n_steps=50)

    np.testing.assert_array_equal(ends[:, labels == 0], np.indices((21, 21))[:, labels == 0])


def test_no_pixel_leaves_the_image() -> None:
    flows = np.full((2, 12, 15), -50, np.float32)

    ends = follow_flows(flows, np.ones((12, 15), bool), n_steps=30)

    assert not ends.any()
    ends = follow_flows(-flows, np.ones((12, 15), bool), n_steps=30)
    np.testing.assert_array_equal(ends[:, 0, 0], [11, 14])


def test_a_step_is_a_fifth_of_the_flow_read_between_pixels() -> None:
    flows = np.zeros((2, 5, 9), np.float32)
    flows[1] = 5 * np.arange(9) / 8  # dx/dt = x / 8

    ends = follow_flows(flows, np.ones((5, 9), bool), n_steps=3)

    wanted = np.minimum(np.arange(9) * (9 / 8) ** 3, 8).astype(int)
    np.testing.assert_array_equal(ends[1, 2], wanted)


def test_cellpose_2_follows_pixels_with_a_flow_along_y_only() -> None:
    flows = np.zeros((2, 5, 9), np.float32)
    flows[1] = 5

    on = np.ones((5, 9), bool)

    assert (follow_flows(flows, on, n_steps=20)[1] == 8).all()
    np.testing.assert_array_equal(
        follow_flows(flows, on, n_steps=20, rule="cellpose2"), np.indices((5, 9))
    )


@RULES
def test_masks_come_back_from_their_flows(rule: Any) -> None:
    labels = disks().labels
    maps = perfect_maps(labels)
    on = labels > 0

    found = group_ends(follow_flows(maps[:2], on, n_steps=200, rule=rule), on, rule=rule)

    assert len(np.unique(found[on])) == labels.max() + (0 in found[on])
    for number in range(1, labels.max() + 1):
        ids, counts = np.unique(found[labels == number], return_counts=True)
        assert ids[counts.argmax()] > 0
        assert counts.max() > 0.9 * counts.sum()


def test_a_heap_needs_more_than_ten_ends() -> None:
    members = np.zeros((20, 20), bool)
    ends = np.indices((20, 20), dtype=np.int32)
    for n, row in ((10, 4), (11, 14)):
        members[row, :n] = True
        ends[:, row, :n] = np.array([[row], [5]])

    found = group_ends(ends, members)

    assert not found[4].any()
    assert (found[14, :11] == 1).all()


def test_a_heap_takes_what_is_near_and_high_enough() -> None:
    members = np.zeros((30, 30), bool)
    ends = np.indices((30, 30), dtype=np.int32)
    members[0, :20] = members[1, :3] = members[2, :2] = members[3, :3] = True
    ends[:, 0, :20] = np.array([[15], [15]])  # the seed
    ends[:, 1, :3] = np.array([[15], [16]])  # 3 ends beside it: grown
    ends[:, 2, :2] = np.array([[16], [15]])  # 2 ends: not
    ends[:, 3, :3] = np.array([[25], [15]])  # too far

    found = group_ends(ends, members)

    assert (found[0, :20] == 1).all()
    assert (found[1, :3] == 1).all()
    assert not found[2].any()
    assert not found[3].any()


def test_where_heaps_touch_the_higher_one_wins_or_in_cellpose_2_the_later_one() -> None:
    members = np.zeros((30, 60), bool)
    ends = np.indices((30, 60), dtype=np.int32)
    for row, n, column in ((0, 40, 10), (1, 15, 16), (2, 5, 11), (3, 5, 12), (4, 5, 13)):
        members[row, :n] = True
        ends[:, row, :n] = np.array([[15], [column]])
    members[5:7, :5] = True
    ends[:, 5, :5] = np.array([[15], [14]])
    ends[:, 6, :5] = np.array([[15], [15]])

    strong, late = (group_ends(ends, members, rule=r) for r in ("cellpose3", "cellpose2"))

    assert strong[4, 0] == strong[0, 0] != strong[1, 0]
    assert late[4, 0] == late[1, 0] != late[0, 0]


def test_no_members_give_no_masks() -> None:
    found = group_ends(np.indices((8, 8), dtype=np.int32), np.zeros((8, 8), bool))

    assert found.shape == (8, 8)
    assert not found.any()
