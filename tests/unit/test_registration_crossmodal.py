"""A slice of filled nuclei is laid on a plane of hollow cells."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks._disks_and_rings import Pair, make_pair, target_errors_px
from clgkit.registration import PlaneMap, register_plane, warp_image, warp_labels
from clgkit.registration.inverse import invert_map, read_field, round_trip_px
from clgkit.registration.response import plan_blocks
from clgkit.registration.smoothfield import fit_affine, spread_blocks

SIDE = 256


@pytest.fixture(scope="module")
def rings() -> Pair:
    return make_pair(side=SIDE, rings=True, seed=3)


@pytest.fixture(scope="module")
def mapped(rings: Pair) -> PlaneMap:
    return register_plane(rings.plane, rings.slice_image)


@pytest.mark.parametrize("hollow", [True, False])
def test_every_cell_is_put_on_its_nucleus(rings: Pair, mapped: PlaneMap, *, hollow: bool) -> None:
    pair = rings if hollow else make_pair(side=SIDE, rings=False, seed=3)
    found = mapped if hollow else register_plane(pair.plane, pair.slice_image)
    error = target_errors_px(found.field, pair)

    assert np.median(error) < 0.30  # 0.1 on 512 px
    assert (error < 2).mean() >= 0.99


def test_affine_map_and_blocks_come_close(rings: Pair) -> None:
    rough = register_plane(rings.plane, rings.slice_image, refine=False)
    error = target_errors_px(rough.field, rings)

    assert np.median(error) < 1.2
    # Bending is not affine, so both fits share it out a little differently.
    ones = np.column_stack([rings.plane_px, np.ones(len(rings.plane_px))])
    best = np.linalg.lstsq(ones, rings.slice_px, rcond=None)[0].T
    np.testing.assert_allclose(rough.affine[:, :2], best[:, :2], atol=0.005)
    np.testing.assert_allclose(rough.affine[:, 2], best[:, 2], atol=1)


def test_the_way_there_and_back_ends_where_it_began(rings: Pair, mapped: PlaneMap) -> None:
    assert mapped.inverse_consistency_px < 0.01  # the fixed point stops at 0.001 px
    back = warp_image(rings.plane, mapped.inverse)
    again = warp_image(back, mapped.field)
    inner = np.s_[20:-20, 20:-20]
    twice = np.corrcoef(again[inner].ravel(), rings.plane[inner].ravel())[0, 1]

    assert twice > 0.85  # two linear readings blur shot noise
    assert mapped.inverse.shape == (SIDE, SIDE, 2)


def test_labels_come_to_the_plane_and_none_is_invented(rings: Pair, mapped: PlaneMap) -> None:
    labels = np.zeros((SIDE, SIDE), np.uint32)
    y, x = np.rint(rings.slice_px).astype(int).T
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            labels[y + dy, x + dx] = np.arange(1, len(y) + 1)
    there = warp_labels(labels, mapped.field)

    assert set(np.unique(there)) <= set(np.unique(labels))
    rounded = np.rint(rings.slice_px) - rings.slice_px  # where the label was painted
    for n, center in enumerate(rings.plane_px + rounded, start=1):
        found = np.argwhere(there == n)
        assert np.linalg.norm(found.mean(axis=0) - center) < 1  # acceptance test 12


def test_a_finer_slice_gives_the_same_map(rings: Pair, mapped: PlaneMap) -> None:
    fine = np.kron(rings.slice_image, np.ones((2, 2), np.float32))
    doubled = register_plane(rings.plane, fine, pixel_ratio=(2, 2))
    grid = np.indices((SIDE, SIDE)).transpose(1, 2, 0)
    halved = (grid + doubled.field + 0.5) / 2 - 0.5 - grid

    # The same pixels are read; float32 of larger offsets.
    np.testing.assert_allclose(halved, mapped.field, atol=1e-3)
    assert doubled.inverse.shape == (2 * SIDE, 2 * SIDE, 2)
    assert doubled.inverse_consistency_px < 0.01


def test_a_start_far_off_is_given_by_hand(rings: Pair, mapped: PlaneMap) -> None:
    aside = np.roll(rings.slice_image, (40, -30), axis=(0, 1))
    found = register_plane(rings.plane, aside, start_px=(-40, 30))
    inner = np.s_[50:-50, 50:-50]

    np.testing.assert_allclose(found.field[inner], mapped.field[inner] + [40, -30], atol=0.5)


def test_quality_tells_right_from_wrong(rings: Pair, mapped: PlaneMap) -> None:
    wrong = register_plane(rings.plane, rings.slice_image[::-1])

    assert mapped.score > 1.5 * wrong.score
    assert np.median(np.linalg.norm(mapped.block_residual_px, axis=1)) < 0.3
    assert np.median(mapped.block_explained) > 2 * np.median(wrong.block_explained)
    assert mapped.block_center_px.shape == mapped.block_residual_px.shape


def test_missing_pixels_do_no_harm(rings: Pair) -> None:
    plane, slice_image = rings.plane.copy(), rings.slice_image.copy()
    plane[:12], slice_image[:, -12:] = np.nan, np.nan
    found = register_plane(plane, slice_image)
    error = target_errors_px(found.field, rings)

    assert np.isfinite(found.field).all()
    assert np.median(error) < 0.3


def test_a_field_of_one_block_gets_a_shift() -> None:
    pair = make_pair(side=72, rings=True, seed=0)
    found = register_plane(pair.plane, pair.slice_image, refine=False)

    np.testing.assert_array_equal(found.affine[:, :2], np.eye(2))
    assert np.median(target_errors_px(found.field, pair)) < 1.5


@pytest.mark.parametrize(
    ("plane", "slice_image", "match"),
    [
        (np.ones((40, 40)), np.eye(40), "must be an image"),
        (np.eye(40)[np.newaxis], np.eye(40), "must be an image"),
        (np.eye(40), np.ones((40, 40)), "the slice shows nothing"),
        (np.eye(40), np.ones(40), "expected a slice"),
    ],
)
def test_nothing_to_register_is_refused(
    plane: np.ndarray, slice_image: np.ndarray, match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        register_plane(plane, slice_image)


def test_a_block_far_off_does_not_turn_the_others() -> None:
    center = np.indices((4, 4)).reshape(2, -1).T * 40.0
    truth = np.array([[0.01, 0.02, 1.0], [-0.02, 0.01, -2.0]])
    shift = center @ truth[:, :2].T + truth[:, 2]
    shift[5] += 20
    found = fit_affine(center, shift, np.ones(16))

    np.testing.assert_allclose(found, truth, atol=1e-9)


def test_blocks_without_weight_say_nothing() -> None:
    center = np.indices((3, 3)).reshape(2, -1).T * 40.0
    shift = np.tile([1.0, -1.0], (9, 1))
    shift[4] = 50
    weight = np.ones(9)
    weight[4] = 0

    np.testing.assert_allclose(fit_affine(center, shift, weight)[:, 2], [1, -1], atol=1e-9)
    np.testing.assert_array_equal(fit_affine(center, shift, np.zeros(9)), np.zeros((2, 3)))


def test_equal_blocks_make_a_constant_field() -> None:
    blocks = plan_blocks((90, 120), 20)
    shift = np.tile([1.25, -0.5], (len(blocks.center), 1))
    field = spread_blocks(shift, np.ones(len(shift)), blocks, (90, 120))

    np.testing.assert_allclose(field, np.broadcast_to([1.25, -0.5], field.shape), atol=1e-6)


def test_blocks_cover_the_field() -> None:
    blocks = plan_blocks((100, 131), 20)
    height, width = blocks.window.shape
    covered = np.zeros((100, 131))
    for y, x in blocks.corner:
        covered[y : y + height, x : x + width] += blocks.window

    assert covered.min() > 0
    assert blocks.corner.min() == 0
    assert (blocks.corner.max(axis=0) + blocks.window.shape).tolist() == [100, 131]
    assert np.prod(blocks.grid) == len(blocks.corner)


def test_an_affine_map_is_inverted_exactly() -> None:
    matrix = np.array([[2.0, 0.1, 3.0], [-0.2, 1.9, -1.0]])
    inverse = invert_map(matrix, np.zeros((30, 40, 2)), (64, 80))
    where = inverse + np.indices((64, 80)).transpose(1, 2, 0)
    there = where @ matrix[:, :2].T + matrix[:, 2]
    inside = np.isfinite(where).all(axis=2)

    assert 0.5 < inside.mean() < 1
    grid = np.indices((64, 80)).transpose(1, 2, 0)
    np.testing.assert_allclose(there[inside], grid[inside], atol=1e-4)  # float32 offsets


def test_a_flat_map_has_no_inverse() -> None:
    with pytest.raises(ValueError, match="has no inverse"):
        invert_map(np.zeros((2, 3)), np.zeros((4, 4, 2)), (4, 4))


def test_fields_are_read_linearly_and_continued_at_the_edge() -> None:
    field = np.stack(np.meshgrid(np.arange(4.0), np.arange(5.0), indexing="ij"), axis=-1)
    where = np.array([[1.25, 3.5], [-7.0, 2.0], [99.0, 99.0]])

    np.testing.assert_allclose(read_field(field, where), [[1.25, 3.5], [0, 2], [3, 4]])


def test_a_round_trip_that_never_comes_back_is_not_a_number() -> None:
    lost = np.full((5, 5, 2), np.nan, np.float32)

    assert np.isnan(round_trip_px(np.zeros((5, 5, 2), np.float32), lost))
