"""Wavelet background against a recursion written down line by line."""

import math
from collections.abc import Callable
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest

from clgkit.deconvolution import (
    BACKGROUNDS,
    Background,
    background_coefficients,
    clip_level,
    estimate_background,
    expand_background,
)
from clgkit.deconvolution.wavelet import coarse_matrices, daubechies_filter

Float64 = npt.NDArray[np.float64]

TOLERANCE = 1e-12  # float64 sums in another order; values up to 1
TAPS = np.array(daubechies_filter(6))


def down(line: Float64) -> Float64:
    """Mirror, filter, keep every second sample."""
    wide = np.pad(line, 11, mode="symmetric")
    return np.convolve(wide, TAPS[::-1], mode="valid")[1::2]


def up(line: Float64, n: int) -> Float64:
    """Put zeros between, filter, keep the middle."""
    spread = np.zeros(2 * len(line) - 1)
    spread[::2] = line
    return np.convolve(spread, TAPS)[10 : 10 + n]


def along(function: Callable[[Float64], Float64], plane: Float64, axis: int) -> Float64:
    return np.asarray(np.apply_along_axis(function, axis, plane))


def coarse(plane: Float64, levels: int = 7) -> Float64:
    """Keep the approximation only."""
    sizes, made = [], plane
    for _ in range(levels):
        sizes.append(made.shape)
        made = along(down, along(down, made, 0), 1)
    for ny, nx in reversed(sizes):
        made = along(lambda line, n=ny: up(line, n), made, 0)  # type: ignore[misc]
        made = along(lambda line, n=nx: up(line, n), made, 1)  # type: ignore[misc]
    return made


def estimate_slowly(plane: Float64, background: Background, stack_mean: float) -> Float64:
    starts = {
        "strong-high": plane / 2,
        "weak-high": plane / 2.5,
        "strong-low": np.minimum(plane, stack_mean),
        "medium-low": np.minimum(plane, stack_mean / 2),
        "weak-low": np.minimum(plane, stack_mean / 2.5),
    }
    entered = res = starts[background]
    found = res
    for _ in range(3):
        found = coarse(res)
        allowed = np.sqrt(np.abs(res)) / 2
        above = entered > found + allowed
        res = np.where(above, found + allowed, res)
        found = coarse(res)
    return found


def scene(shape: tuple[int, int]) -> Float64:
    rng = np.random.default_rng(0)
    y, x = np.ogrid[: shape[0], : shape[1]]
    haze = 0.2 + 0.1 * np.sin(y / 20) * np.cos(x / 25)
    return np.asarray(haze + (rng.random(shape) < 0.05) * rng.random(shape))


@pytest.mark.parametrize("shape", [(40, 40), (33, 20), (20, 51), (7, 9), (1, 30)])
@pytest.mark.parametrize("background", BACKGROUNDS[:5])
def test_every_option_is_that_of_the_recursion(
    shape: tuple[int, int], background: Background
) -> None:
    plane = scene(shape)
    before = plane.copy()
    clip = clip_level([plane], background)

    made = estimate_background(plane, background, clip=clip)

    expected = estimate_slowly(plane, background, float(plane.mean()))
    np.testing.assert_allclose(made, expected, atol=TOLERANCE)
    np.testing.assert_array_equal(plane, before)  # clipping works on a copy


def test_the_last_option_is_no_background() -> None:
    assert get_args(Background) == BACKGROUNDS
    assert not estimate_background(scene((8, 9)), "none").any()


def test_the_filter_is_the_one_with_six_vanishing_moments() -> None:
    assert TAPS.sum() == pytest.approx(math.sqrt(2), abs=1e-12)
    for shift in range(6):
        product = float(TAPS[2 * shift :] @ TAPS[: len(TAPS) - 2 * shift])
        assert product == pytest.approx(float(shift == 0), abs=1e-12)
    wavelet = TAPS[::-1] * (-1.0) ** np.arange(12)
    for moment in range(6):
        assert wavelet @ np.linspace(-1, 1, 12) ** moment == pytest.approx(0, abs=1e-9)
    # Daubechies, Ten Lectures on Wavelets, table 6.1, N = 6.
    assert TAPS[:3].round(6).tolist() == [0.111541, 0.494624, 0.751134]


def test_the_shortest_filter_is_that_of_haar() -> None:
    np.testing.assert_allclose(daubechies_filter(1), [math.sqrt(0.5)] * 2, atol=1e-15)


@pytest.mark.parametrize("n", [1, 2, 13, 64, 129])
def test_a_constant_line_is_coarse(n: int) -> None:
    made = coarse_matrices(n)

    np.testing.assert_allclose(made.synthesis @ made.analysis @ np.ones(n), 1, atol=1e-10)


def test_a_window_of_the_background_is_a_part_of_it() -> None:
    plane = scene((50, 70))
    found = background_coefficients(plane, "weak-high")

    part = expand_background(found, (50, 70), window=(slice(5, 20), slice(40, 70)))

    whole = expand_background(found, (50, 70))
    np.testing.assert_allclose(part, whole[5:20, 40:70], atol=TOLERANCE)
    assert found.size < plane.size / 10


def test_haze_is_found_and_spots_are_not() -> None:
    plane = scene((128, 128))

    made = estimate_background(plane, "weak-low", clip=clip_level([plane], "weak-low"))

    assert 0.03 < made.mean() < 0.25
    assert made.max() < 0.35
    assert np.std(made) < np.std(plane) / 3


def test_the_clip_level_is_that_of_the_stack() -> None:
    planes = np.stack([np.zeros((4, 5)), np.ones((4, 5))])

    assert clip_level(planes, "strong-low") == 0.5
    assert clip_level(planes, "medium-low") == 0.25
    assert clip_level(planes, "weak-low") == 0.2
    assert clip_level(planes, "strong-high") is None
    assert clip_level(planes, "none") is None


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="clip level"):
        background_coefficients(np.ones((4, 4)), "weak-low")
    with pytest.raises(ValueError, match="no background"):
        background_coefficients(np.ones((4, 4)), "none")
