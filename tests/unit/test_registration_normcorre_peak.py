"""Shifts of the parity mode beside the same in double precision, term by term."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from clgkit.registration.normcorre_peak import find_peaks, transform

Image = npt.NDArray[np.float64]
Window = tuple[tuple[float, float], tuple[float, float]]
WINDOW: Window = ((-6.3, 5.2), (-5, 6))
SHAPES = [(64, 64), (63, 64), (64, 63), (51, 47), (1, 40), (40, 1), (2, 2)]


def pair(shape: tuple[int, int], seed: int = 0, level: float = 0.0) -> tuple[Image, Image]:
    """An image, and the same moved by some pixels with noise."""
    rng = np.random.default_rng(seed)
    wide = ndimage.gaussian_filter(rng.random((shape[0] + 20, shape[1] + 20)), 1.2) + level
    y, x = rng.integers(6, 15, 2)
    ny, nx = shape
    noise = rng.normal(0, 0.02, shape)
    return wide[10 : 10 + ny, 10 : 10 + nx], wide[y : y + ny, x : x + nx] + noise


def correlation(
    still: Image, moving: Image, rows: Image, columns: Image
) -> npt.NDArray[np.complex128]:
    product = np.fft.fft2(still) * np.conjugate(np.fft.fft2(moving))
    y, x = (np.fft.fftfreq(n) for n in still.shape)
    left = np.exp(2j * np.pi * np.outer(rows, y))
    right = np.exp(2j * np.pi * np.outer(x, columns))
    return np.asarray(left @ product @ right)


def dense_peak(still: Image, moving: Image, window: Window, up: int) -> tuple[Image, float]:
    """Look at every half pixel of the window, then at every step about the best."""
    halves = [
        np.zeros(1) if n == 1 else np.arange(math.ceil(2 * low), math.floor(2 * high) + 1) / 2
        for n, (low, high) in zip(still.shape, window, strict=True)
    ]
    halves = [at[np.abs(at) <= n / 2] for at, n in zip(halves, still.shape, strict=True)]
    row, column = largest(correlation(still, moving, *halves))
    fine = (np.arange(math.ceil(1.5 * up)) - math.ceil(1.5 * up) // 2) / up
    rows, columns = (
        at if len(at) == 1 else round(float(at[i]) * up) / up + fine
        for at, i in zip(halves, (row, column), strict=True)
    )
    values = correlation(still, moving, rows, columns)
    row, column = largest(values)
    return np.array([rows[row], columns[column]]), float(np.angle(values[row, column]))


def largest(values: npt.NDArray[np.complex128]) -> tuple[int, int]:
    column, row = np.unravel_index(np.abs(values).T.argmax(), values.T.shape)
    return int(row), int(column)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("up", [50, 25, 7, 1])
@pytest.mark.parametrize("level", [0.0, -0.5, 100.0])
def test_shift_and_phase_are_those_of_double_precision(
    shape: tuple[int, int], up: int, level: float
) -> None:
    still, moving = pair(shape, level=level)

    found = find_peaks(transform(still[None]), transform(moving[None]), *WINDOW, upsampling=up)

    shift, phase = dense_peak(still, moving, WINDOW, up)
    np.testing.assert_allclose(found.shift[0], shift, atol=1e-9)  # the same step
    # Radians; where the correlation is small beside its terms, single precision shows.
    np.testing.assert_allclose(np.exp(1j * found.phase), np.exp(1j * phase), atol=1e-5)


def test_a_negative_peak_can_win_and_its_phase_tells() -> None:
    still, moving = pair((64, 64), seed=3)
    still, moving = still - still.mean(), moving.mean() - moving

    found = find_peaks(transform(still[None]), transform(moving[None]), *WINDOW, upsampling=50)

    shift, phase = dense_peak(still, moving, WINDOW, 50)
    np.testing.assert_array_equal(np.round(found.shift[0], 9), np.round(shift, 9))
    assert abs(phase) > 3
    assert abs(found.phase[0]) == pytest.approx(abs(phase), abs=1e-5)


def test_images_of_a_stack_do_not_know_of_each_other() -> None:
    pairs = [pair((48, 40), seed) for seed in range(5)]
    still, moving = (transform(np.stack(part)) for part in zip(*pairs, strict=True))

    together = find_peaks(still, moving, *WINDOW, upsampling=50)

    for i, (one, other) in enumerate(pairs):
        alone = find_peaks(transform(one[None]), transform(other[None]), *WINDOW, upsampling=50)
        np.testing.assert_array_equal(together.shift[i], alone.shift[0])
    assert len({tuple(shift) for shift in together.shift}) > 1


@pytest.mark.parametrize(
    ("window", "wanted"),
    [
        (((1.02, 1.02), (-2.3, -2.2)), (1.0, -2.0)),  # no half pixel inside: the nearest
        (((30.0, 34.0), (0.0, 0.0)), (12.0, 0.0)),  # beyond half the image
    ],
)
def test_a_window_without_half_pixels_has_one_start(
    window: Window, wanted: tuple[float, float]
) -> None:
    image, _ = pair((24, 24))
    spectra = transform(image[None])

    found = find_peaks(spectra, spectra, *window, upsampling=50)

    assert (np.abs(found.shift[0] - wanted) <= 0.74 + 1e-9).all()


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32, np.float64])
def test_an_image_of_any_type_lies_on_itself(dtype: type) -> None:
    image: npt.NDArray[Any] = (1000 * pair((33, 34))[0]).astype(dtype)
    spectra = transform(image[None])

    found = find_peaks(spectra, spectra, (-4, 4), (-4, 4), upsampling=50)

    np.testing.assert_array_equal(found.shift, 0)
    np.testing.assert_allclose(found.phase, 0, atol=1e-7)
    assert spectra.level[0] == pytest.approx(float(image.sum(dtype=np.float64)), rel=1e-7)


def test_what_all_pixels_have_in_common_does_not_hide_a_shift() -> None:
    """A camera's offset of 60 000 counts and cells of 20: single precision keeps them apart."""
    still, moving = (20 * image for image in pair((96, 96), seed=1))
    dim = find_peaks(transform(still[None]), transform(moving[None]), *WINDOW, upsampling=50)
    one, other = (transform(image[None] + 60000) for image in (still, moving))

    bright = find_peaks(one, other, *WINDOW, upsampling=50)

    np.testing.assert_allclose(bright.shift, dim.shift, atol=0.021)
