"""Moving pixels: identity, borders, NaN, labels."""

from __future__ import annotations

import numpy as np
import pytest

from clgkit.registration import shift_frames, valid_mask, warp_image, warp_labels
from tests.unit.registration_scene import make_field, move


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32"])
def test_no_shift_is_the_identity(dtype: str) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (2, 7, 9)).astype(dtype)
    np.testing.assert_array_equal(shift_frames(frames, np.zeros((2, 2))), frames)


def test_content_moves_down_and_right() -> None:
    frame = np.zeros((1, 9, 9))
    frame[0, 3, 4] = 1
    moved = shift_frames(frame, np.array([[2.0, -1.0]]))

    assert np.argwhere(moved[0] == 1).tolist() == [[5, 3]]


def test_a_fraction_of_a_pixel_is_interpolated_to_half_a_percent() -> None:
    field, _ = make_field((96, 96), np.random.default_rng(0))
    frame = move(field, (0, 0))[np.newaxis]
    for shift in ((0.5, 0.5), (-0.3, 1.75)):
        expected = move(field, shift)
        error = shift_frames(frame, np.array([shift]))[0] - expected
        # Measured 0.45 % of the standard deviation at half a pixel, the worst place.
        assert np.nanstd(error) < 0.006 * expected.std()


def test_a_uniform_movie_stays_uniform() -> None:
    frames = np.full((4, 20, 24), 1000, dtype=np.uint16)
    shifts = np.array([[3.3, -2.6], [-10.4, 7.7], [0.0, 0.5], [40.0, 0.0]])
    moved = shift_frames(frames, shifts)
    mask = valid_mask(shifts, (20, 24))

    np.testing.assert_array_equal(np.isfinite(moved), mask)
    np.testing.assert_allclose(moved[mask], 1000, rtol=3e-7)  # weights sum to 1 in float32
    assert not mask[3].any()


def test_the_border_is_the_reach_of_the_kernel() -> None:
    mask = valid_mask(np.array([3.3, -2.0]), (20, 24))

    # 3.3 px down: the first valid row reads source rows 0 to 3, for a position 1.7 - 1 to 1.7 + 2.
    assert np.flatnonzero(mask.any(axis=1)).tolist() == list(range(5, 20))
    assert np.flatnonzero(mask.any(axis=0)).tolist() == list(range(22))


def test_a_missing_pixel_spoils_its_neighbours_only() -> None:
    frame = np.ones((1, 16, 16), dtype=np.float32)
    frame[0, 8, 8] = np.nan
    moved = shift_frames(frame, np.array([[0.4, 0.0]]))
    bad = np.argwhere(np.isnan(moved[0, 2:-2]))

    assert bad.tolist() == [[5, 8], [6, 8], [7, 8], [8, 8]]  # rows 7 to 10 of the whole


def test_another_fill_may_be_asked_for() -> None:
    moved = shift_frames(np.ones((1, 8, 8)), np.array([[2.0, 0.0]]), fill=-1)
    np.testing.assert_array_equal(moved[0, :2], -1)


def test_a_shift_of_rounding_size_costs_no_border() -> None:
    assert valid_mask(np.array([1e-9, -1e-9]), (8, 8)).all()


def test_shifts_must_be_finite_and_fit() -> None:
    with pytest.raises(ValueError, match="must be finite"):
        shift_frames(np.ones((1, 8, 8)), np.array([[np.nan, 0]]))
    with pytest.raises(ValueError, match="do not fit"):
        shift_frames(np.ones((2, 8, 8)), np.zeros((3, 2)))


def test_image_and_labels_follow_a_matrix() -> None:
    labels = np.arange(1, 17, dtype=np.uint32).reshape(4, 4) + 2**24
    doubled = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25]])
    big = warp_labels(labels, doubled, shape=(8, 8))

    np.testing.assert_array_equal(big, np.kron(labels, np.ones((2, 2), np.uint32)))
    assert big.dtype == np.uint32


def test_labels_from_outside_are_background() -> None:
    offset = np.zeros((4, 4, 2))
    offset[..., 1] = 2
    offset[0, 0] = np.nan
    moved = warp_labels(np.full((4, 4), 5, dtype=np.int32), offset)

    np.testing.assert_array_equal(moved, [[0, 5, 0, 0]] + 3 * [[5, 5, 0, 0]])


def test_images_are_read_linearly() -> None:
    image = np.add.outer(10.0 * np.arange(6), np.arange(5.0))
    matrix = np.array([[1, 0, 0.5], [0, 1, 0.25]])
    warped = warp_image(image, matrix)

    np.testing.assert_allclose(warped[:5, :4], image[:5, :4] + 5.25, rtol=1e-6)
    assert np.isnan(warped[5]).all()
    assert np.isnan(warped[:, 4]).all()


def test_zero_offsets_are_the_identity() -> None:
    image = np.random.default_rng(1).normal(size=(6, 5)).astype(np.float32)
    image[2, 2] = np.nan
    np.testing.assert_array_equal(warp_image(image, np.zeros((6, 5, 2))), image)


def test_maps_and_labels_of_the_wrong_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        warp_image(np.ones((4, 4)), np.zeros((3, 3)))
    with pytest.raises(ValueError, match="do not fit the result"):
        warp_image(np.ones((4, 4)), np.zeros((4, 4, 2)), shape=(5, 5))
    with pytest.raises(TypeError, match="labels must be integers"):
        warp_labels(np.ones((4, 4)), np.zeros((4, 4, 2)))  # type: ignore[arg-type]
