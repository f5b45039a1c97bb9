"""One interpolation for everything, honest borders, every dtype."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from clgkit.registration import Centers, apply_shifts, field_at, shift_frames
from clgkit.registration.patches import plan_patches
from tests.unit.registration_scene import make_field, move

CANVAS, _ = make_field((120, 130), np.random.default_rng(0))
FRAME = move(CANVAS, (0, 0)).astype(np.float32)
GRID = plan_patches(FRAME.shape, grid_px=32, overlap_px=16)
CENTERS = Centers(GRID.y.centers_px, GRID.x.centers_px)


def bending(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return ndimage.gaussian_filter(rng.normal(0, 6, (1, *GRID.shape, 2)), (0, 1, 1, 0))


@pytest.mark.parametrize(
    "dtype", ["uint8", "int16", "uint16", "int32", "int64", "uint64", "float32", "float64", ">i2"]
)
def test_no_shift_is_the_identity_bit_by_bit(dtype: str) -> None:
    kind = np.dtype(dtype)
    rng = np.random.default_rng(0)
    if kind.kind == "f":
        frames = rng.normal(0, 1e6, (2, 9, 7)).astype(kind)
    else:
        limits = np.iinfo(kind)
        frames = rng.integers(limits.min, limits.max, (2, 9, 7), dtype=kind.newbyteorder("="))
    moved = apply_shifts(frames, np.zeros((2, 2)), dtype=kind)

    np.testing.assert_array_equal(moved.frames, frames)
    assert moved.frames.dtype == kind
    assert moved.valid.all()


def test_a_field_of_one_shift_moves_like_that_shift() -> None:
    for shift in ([2.3, -4.7], [3.0, -2.0], [0.0, 1.5], [-0.25, 0.0]):
        expected = shift_frames(FRAME[np.newaxis], np.array([shift]))
        moved = apply_shifts(FRAME[np.newaxis], np.array([shift]))
        field = np.tile(shift, (1, *GRID.shape, 1))
        bent = apply_shifts(FRAME[np.newaxis], field, centers=CENTERS)

        np.testing.assert_array_equal(moved.valid, np.isfinite(expected))
        # Weights in float32 rather than float64.
        np.testing.assert_allclose(moved.frames, expected, atol=3e-6)
        inner = (slice(None), slice(8, -8), slice(8, -8))
        # Splines of equal values are equal to 1e-7 only.
        np.testing.assert_allclose(bent.frames[inner], expected[inner], atol=1e-5)


def test_every_pixel_is_read_where_the_field_says() -> None:
    shifts = bending()
    moved = apply_shifts(FRAME[np.newaxis], shifts, centers=CENTERS)
    field = field_at(shifts, CENTERS, FRAME.shape)[0]
    y, x = np.indices(FRAME.shape) - np.moveaxis(field, -1, 0)
    wide = np.pad(FRAME, 40, mode="edge").astype(np.float64)
    spline = ndimage.map_coordinates(wide, [y + 40, x + 40], order=3)
    valid = moved.valid[0]

    # Another cubic: the two differ by about their interpolation error, half a percent.
    assert np.std(moved.frames[0][valid] - spline[valid]) < 0.01 * FRAME.std()
    inside = (y >= 1) & (y < FRAME.shape[0] - 2) & (x >= 1) & (x < FRAME.shape[1] - 2)
    assert valid[inside].all()
    outside = (y < 0) | (y > FRAME.shape[0] - 1) | (x < 0) | (x > FRAME.shape[1] - 1)
    assert not valid[outside].any()


def test_a_uniform_movie_stays_uniform() -> None:
    shifts = np.concatenate([bending(seed) for seed in range(4)])
    frames = np.full((4, *FRAME.shape), 1000, np.uint16)
    floats = apply_shifts(frames, shifts, centers=CENTERS)
    whole = apply_shifts(frames, shifts, centers=CENTERS, dtype=np.uint16)

    np.testing.assert_allclose(floats.frames[floats.valid], 1000, rtol=1e-6)
    assert np.isnan(floats.frames[~floats.valid]).all()
    assert floats.valid[:, 20:-20, 20:-20].all()
    np.testing.assert_array_equal(whole.frames, 1000)  # no dark border, and none inside
    np.testing.assert_array_equal(whole.valid, floats.valid)


def test_integers_are_rounded_and_clipped() -> None:
    frames = np.array([[[0, 0, 65535, 65535, 0, 0, 3, 4]] * 5], np.uint16)
    floats = apply_shifts(frames, np.array([[0, 0.5]])).frames
    whole = apply_shifts(frames, np.array([[0, 0.5]]), dtype=np.uint16)
    shown = whole.valid

    assert floats[shown].max() > 65535  # the cubic overshoots
    np.testing.assert_array_equal(whole.frames[shown], np.rint(floats[shown]).clip(0, 65535))
    np.testing.assert_array_equal(whole.frames[0, :, 0], 0)  # the nearest pixel
    assert not shown[0, :, 0].any()


def test_negative_values_survive() -> None:
    frames = np.full((1, 12, 12), -700, np.int16)
    moved = apply_shifts(frames, np.array([[0.3, -0.4]]), dtype=np.int16)
    np.testing.assert_array_equal(moved.frames, -700)


def test_a_missing_pixel_spoils_its_neighbours_only() -> None:
    frames = FRAME[np.newaxis].copy()
    frames[0, 50, 60] = np.nan
    moved = apply_shifts(frames, np.array([[0.5, 0.5]]))
    expected = apply_shifts(FRAME[np.newaxis], np.array([[0.5, 0.5]]))

    assert (~moved.valid & expected.valid).sum() == 16
    kept = moved.valid
    np.testing.assert_array_equal(moved.frames[kept], expected.frames[kept])
    whole = apply_shifts(frames, np.array([[0.5, 0.5]]), dtype=np.int16)
    np.testing.assert_array_equal(whole.valid, kept)


def test_the_line_offset_is_undone_in_the_same_interpolation() -> None:
    offset, shift = 1.4, np.array([[1.3, -0.7]])
    scanned = FRAME.copy()
    scanned[1::2] = move(CANVAS, (0, offset))[1::2]
    clean = apply_shifts(FRAME[np.newaxis], shift)
    moved = apply_shifts(scanned[np.newaxis], shift, line_offset_px=offset)
    careless = apply_shifts(scanned[np.newaxis], shift)
    valid = clean.valid & moved.valid

    def error(frames: np.ndarray) -> float:
        return float(np.std((frames - clean.frames)[valid]))

    assert error(moved.frames) < 0.02 * FRAME.std()  # twice the interpolation error
    assert error(moved.frames) < 0.1 * error(careless.frames)
    assert moved.valid[:, 6:-6, 6:-6].all()


def test_rows_of_whole_shifts_keep_their_parity() -> None:
    frames = np.tile(np.arange(20.0), (1, 10, 1))
    frames[0, 1::2] -= 3  # content of odd rows lies 3 px to the right
    moved = apply_shifts(frames, np.array([[1.0, 0.0]]), line_offset_px=3.0)

    assert not moved.valid[0, 0].any()
    np.testing.assert_array_equal(moved.frames[0, 1:, :17], np.tile(np.arange(17.0), (9, 1)))


@pytest.mark.parametrize(
    ("shifts", "options", "error", "match"),
    [
        (np.zeros((3, 2)), {}, ValueError, "do not fit"),
        (np.zeros((1, 4, 4, 2)), {}, ValueError, "need the centers"),
        (np.zeros((1, 2, 2, 2)), {"centers": CENTERS}, ValueError, "do not fit"),
        (np.full((1, 2), np.nan), {}, ValueError, "must be finite"),
        (np.zeros((1, 2)), {"line_offset_px": np.inf}, ValueError, "must be finite"),
        (np.zeros((1, 2)), {"dtype": bool}, TypeError, "float or integer"),
    ],
)
def test_nonsense_is_refused(
    shifts: np.ndarray, options: dict, error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        apply_shifts(FRAME[np.newaxis], shifts, **options)
