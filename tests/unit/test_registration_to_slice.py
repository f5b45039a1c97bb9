"""A field and its inverse, and frames that are read through it."""

import numpy as np
import pytest
from scipy import ndimage

from clgkit.registration import invert_field, plane_to_slice, warp_frames
from clgkit.registration.inverse import round_trip_px

SHAPE, SIZE = (40, 50), (80, 100)


def bent_field(seed: int = 0) -> np.ndarray:
    """Twice the sampling, a shift, and a smooth bending of about a pixel."""
    rng = np.random.default_rng(seed)
    grid = np.indices(SHAPE).transpose(1, 2, 0)
    matrix = plane_to_slice(np.array([1.5, -2.0]), pixel_ratio=(2, 2))
    bend = ndimage.gaussian_filter(rng.normal(size=(*SHAPE, 2)), (8, 8, 0))
    bend /= bend.std()
    return grid @ matrix[:, :2].T + matrix[:, 2] + bend - grid


def test_there_and_back_is_the_same_pixel() -> None:
    field = bent_field()
    inverse = invert_field(field, SIZE)

    assert inverse.shape == (*SIZE, 2)
    # A thousandth of a pixel is where the fixed point stops; between pixels the field is linear.
    assert round_trip_px(field.astype(np.float32), inverse) < 0.02


def test_pixels_that_the_plane_does_not_show_have_no_place() -> None:
    field = bent_field() + np.array([20.0, 0])  # the plane begins 20 structural rows lower
    inverse = invert_field(field, SIZE)

    assert np.isnan(inverse[:10]).all()
    assert np.isfinite(inverse[30:70, 10:90]).all()


def test_a_flat_field_has_no_inverse() -> None:
    grid = np.indices(SHAPE).transpose(1, 2, 0)
    with pytest.raises(ValueError, match="no inverse"):
        invert_field(-grid, SIZE)
    with pytest.raises(ValueError, match="expected offsets"):
        invert_field(grid[..., 0], SIZE)


def test_no_offset_copies_every_bit() -> None:
    frames = np.random.default_rng(0).normal(size=(3, *SHAPE)).astype(np.float32)
    np.testing.assert_array_equal(warp_frames(frames, np.zeros((*SHAPE, 2))), frames)


def test_a_smooth_image_is_read_between_its_pixels() -> None:
    def image(y: np.ndarray, x: np.ndarray) -> np.ndarray:
        return np.sin(y / 5) + np.cos(x / 7)

    frames = image(*np.indices(SHAPE))[np.newaxis] * np.array([1, 2, 3])[:, None, None]
    inverse = invert_field(bent_field(), SIZE)
    where = np.indices(SIZE).transpose(1, 2, 0) + inverse
    made = warp_frames(frames, inverse)

    seen = np.isfinite(made[0])
    assert seen.mean() > 0.7
    # Cubic convolution of a wave of thirty pixels.
    expected = image(where[..., 0], where[..., 1])
    for factor, frame in enumerate(made, 1):
        np.testing.assert_allclose(frame[seen], factor * expected[seen], atol=0.01)
    assert np.isnan(made[:, np.isnan(inverse[..., 0])]).all()


def test_the_result_has_the_shape_of_the_offsets() -> None:
    made = warp_frames(np.ones((2, *SHAPE), np.uint16), np.zeros((7, 9, 2)))

    assert made.shape == (2, 7, 9)
    assert made.dtype == np.float32
    with pytest.raises(ValueError, match="do not fit"):
        warp_frames(np.ones(SHAPE), np.zeros((7, 9, 2)))
