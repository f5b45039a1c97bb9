"""Reading between pixels, and what becomes of values that a dtype cannot hold."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from clgkit.registration import Centers, apply_shifts, field_at
from clgkit.registration.bidirectional import undo_line_offset
from clgkit.registration.cubic import sample_row

SHAPE = (13, 17)
NAN = np.float32(np.nan)
INTEGERS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]


@pytest.fixture(scope="module")
def image() -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).uniform(-50, 200, SHAPE).astype(np.float32)


def keys(distance: float) -> float:
    """Return the kernel of Keys (1981) with a = -1/2, as its paper writes it."""
    d = abs(distance)
    if d <= 1:
        return 1.5 * d**3 - 2.5 * d**2 + 1
    return -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2 if d < 2 else 0.0


def read_slowly(image: npt.NDArray[np.generic], y: float, x: float) -> float:
    """Return the image at one position, NaN if the kernel does not lie inside."""
    taps = []
    for at, n in zip((y, x), image.shape, strict=True):
        first = int(np.floor(at))
        near = [first] if at == first else list(range(first - 1, first + 3))
        if near[0] < 0 or near[-1] >= n:
            return np.nan
        taps.append([(k, keys(at - k)) for k in near])
    return sum(float(image[i, j]) * v * w for i, v in taps[0] for j, w in taps[1])


def read_row(
    image: npt.NDArray[np.float32], y: int, sy: npt.ArrayLike, sx: npt.ArrayLike
) -> npt.NDArray[np.float32]:
    width = image.shape[1]
    out = np.empty(width, np.float32)
    places = [np.broadcast_to(np.float32(s), width).copy() for s in (sy, sx)]
    sample_row(image, y, *places, np.full(width, NAN), out)
    return out


@pytest.mark.parametrize("y", [0, 1, 6, 10, 12])
@pytest.mark.parametrize("size_px", [0.4, 3.0, 40.0])
def test_every_pixel_of_a_row_may_read_where_it_likes(
    image: npt.NDArray[np.float32], y: int, size_px: float
) -> None:
    rng = np.random.default_rng(y)
    # Sixteenths are exact in float32, and a quarter of the positions is whole.
    sy, sx = np.round(rng.uniform(-size_px, size_px, (2, SHAPE[1])) * 16) / 16
    whole = rng.random((2, SHAPE[1])) < 0.25
    sy, sx = np.where(whole[0], np.rint(sy), sy), np.where(whole[1], np.rint(sx), sx)
    expected = [
        read_slowly(image, y + dy, x + dx) for x, (dy, dx) in enumerate(zip(sy, sx, strict=True))
    ]

    # Sixteen products of float32, values up to 200.
    np.testing.assert_allclose(read_row(image, y, sy, sx), expected, atol=1e-4, rtol=0)


def test_what_lies_outside_takes_the_filling(image: npt.NDArray[np.float32]) -> None:
    width = SHAPE[1]
    fill, out = np.arange(width, dtype=np.float32), np.empty(width, np.float32)
    still = np.zeros(width, np.float32)

    sample_row(image, 3, still, still + np.float32(4), fill, out)
    np.testing.assert_array_equal(out[:-4], image[3, 4:])
    np.testing.assert_array_equal(out[-4:], fill[-4:])
    sample_row(image, 3, still - np.float32(3.5), still, fill, out)
    np.testing.assert_array_equal(out, fill)


def test_rounding_of_a_position_is_no_motion(image: npt.NDArray[np.float32]) -> None:
    np.testing.assert_array_equal(read_row(image, 6, 1 - 5e-7, -5e-7), image[7])


@pytest.mark.parametrize("power", [0, 1, 2])
def test_parabolas_are_read_without_error(power: int) -> None:
    y, x = np.indices(SHAPE, dtype=np.float64)
    surface = ((0.5 * y - 0.25 * x) ** power).astype(np.float32)
    made = read_row(surface, 6, 0.3, -0.7)
    expected = (0.5 * 6.3 - 0.25 * (np.arange(SHAPE[1]) - 0.7)) ** power

    # Keys' kernel is exact up to degree two; float32 of values below 20.
    np.testing.assert_allclose(made[2:-1], expected[2:-1], atol=1e-5)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_what_overshoots_an_integer_ends_at_its_limits(dtype: str) -> None:
    limits = np.iinfo(dtype)
    step = np.full((1, 12, 12), float(limits.min))
    step[..., 6:] = float(limits.max)
    made = apply_shifts(step, np.array([[0, 0.5]]), dtype=dtype).frames

    assert made.dtype == dtype
    # The cubic overshoots on both sides of a step by 1/16 of its height, which would wrap.
    # Of 64 bits the largest float below the limit is what there is.
    assert made[0, 5, 5] == limits.min
    assert made[0, 5, 7] == pytest.approx(limits.max, rel=1e-15)
    assert limits.min < made[0, 5, 6] < limits.max


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_outside_the_new_range_are_clipped(dtype: str) -> None:
    frames = np.array([[[-(2**40), -3, 0, 5, 2**40]]])
    limits = np.iinfo(dtype)
    made = apply_shifts(frames, np.zeros((1, 2)), dtype=dtype).frames

    np.testing.assert_array_equal(
        made[0, 0].astype(object), [min(max(v, limits.min), limits.max) for v in frames[0, 0]]
    )


def test_halves_are_rounded_to_even_and_nan_becomes_dark() -> None:
    frame = np.array([[[0.5, 1.5, 2.5, -0.5, np.nan, np.inf]]])
    made = apply_shifts(frame, np.zeros((1, 2)), dtype="uint16")

    assert made.frames.tolist() == [[[0, 2, 2, 0, 0, 0]]]
    assert made.valid.tolist() == [[[True, True, True, True, False, False]]]


def test_integers_repeat_the_nearest_pixel_where_nothing_is_shown() -> None:
    frame = np.arange(12 * 10, dtype=np.uint16).reshape(1, 12, 10)
    made = apply_shifts(frame, np.array([[3, -2]]), dtype="uint16")

    np.testing.assert_array_equal(made.valid[0], np.pad(np.ones((9, 8), bool), ((3, 0), (0, 2))))
    np.testing.assert_array_equal(
        made.frames[0], np.pad(frame[0, :9, 2:], ((3, 0), (0, 2)), mode="edge")
    )


@pytest.mark.parametrize("offset_px", [2, -3])
def test_a_whole_line_offset_moves_odd_rows_only(
    image: npt.NDArray[np.float32], offset_px: int
) -> None:
    made = apply_shifts(image[np.newaxis], np.zeros((1, 2)), line_offset_px=offset_px)
    kept = slice(0, -offset_px) if offset_px > 0 else slice(-offset_px, None)
    source = slice(offset_px, None) if offset_px > 0 else slice(0, offset_px)

    np.testing.assert_array_equal(made.frames[0, ::2], image[::2])
    np.testing.assert_array_equal(made.frames[0, 1::2, kept], image[1::2, source])
    assert made.valid[0, ::2].all()
    assert not made.valid[0, 1::2].all(axis=1).any()
    np.testing.assert_array_equal(
        made.frames[0, :, 4:-4], undo_line_offset(image, offset_px)[:, 4:-4]
    )


def test_patches_and_line_offset_share_one_interpolation(image: npt.NDArray[np.float32]) -> None:
    """Rows are read at the offset of the row that they come from, not of the one they go to."""
    centers = Centers(np.array([2.0, 10.0]), np.array([3.0, 13.0]))
    shifts = np.array([[[[1, 0.25], [1, -0.5]], [[1, 0.75], [1, 1.0]]]])
    made = apply_shifts(image[np.newaxis], shifts, centers=centers, line_offset_px=0.5).frames[0]
    field = field_at(shifts, centers, SHAPE)[0]

    for y in range(1, SHAPE[0]):
        offset = 0.5 * ((y - 1) % 2)
        expected = [
            read_slowly(image, y - 1, x - float(field[y, x, 1]) + offset) for x in range(SHAPE[1])
        ]
        np.testing.assert_allclose(made[y, 3:-3], expected[3:-3], atol=2e-3)  # field in float32


def test_every_frame_has_a_shift_of_its_own(image: npt.NDArray[np.float32]) -> None:
    shifts = np.array([[0, 0], [1.5, 0], [0, -2.25]])
    together = apply_shifts(np.stack([image] * 3), shifts)

    for t, shift in enumerate(shifts):
        alone = apply_shifts(image[np.newaxis], shift[np.newaxis])
        np.testing.assert_array_equal(together.frames[t], alone.frames[0])
        np.testing.assert_array_equal(together.valid[t], alone.valid[0])


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (3, 3)])
def test_small_fields_move_whole_pixels_and_lose_the_rest(shape: tuple[int, int]) -> None:
    frame = np.arange(1.0, 1 + np.prod(shape)).reshape(1, *shape)
    along = np.array([[float(n > 1) for n in shape]])

    assert apply_shifts(frame, along).valid.sum() == np.prod([max(n - 1, 1) for n in shape])
    assert not apply_shifts(frame, along + 0.5).valid[frame.shape[0] - 1].all()
    assert not apply_shifts(frame, np.array([[20.0, 20.0]])).valid.any()
