"""The band-pass filter against SciPy's, and pixels without a value."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from clgkit.registration import difference_of_gaussians
from clgkit.registration.filters import smooth_valid, soft_window


@pytest.mark.parametrize("shape", [(50, 61), (5, 7), (1, 40)])
def test_filter_is_the_difference_of_two_gaussians(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).normal(100, 10, shape)
    expected = ndimage.gaussian_filter(image, 1) - ndimage.gaussian_filter(image, 8)

    # Float32 sums of 65 terms of size 10.
    np.testing.assert_allclose(difference_of_gaussians(image), expected, atol=2e-5)


@pytest.mark.parametrize("shape", [(64, 96), (4, 8), (512, 60)])
@pytest.mark.parametrize("outer", [6.0, 8.0, 20.0])
def test_the_outer_gaussian_may_be_made_on_every_fourth_pixel(
    shape: tuple[int, int], outer: float
) -> None:
    image = np.random.default_rng(0).normal(100, 10, shape)
    expected = ndimage.gaussian_filter(image, 1) - ndimage.gaussian_filter(image, outer)
    filtered = difference_of_gaussians(image, band_px=(1, outer))

    # The smooth image of white noise of 10 has a scatter of 10 / (2 sqrt(pi) sigma) = 0.35
    # at 8 px; the splines of variance 32 px² fit 6 px worst.
    np.testing.assert_allclose(filtered, expected, atol=0.03 if outer == 6 else 5e-3)


def test_the_filter_does_not_move_anything() -> None:
    image = np.zeros((64, 64))
    image[29, 34] = 1
    smooth = ndimage.gaussian_filter(image, 1) - difference_of_gaussians(image)
    y, x = np.indices(image.shape)

    assert (smooth * y).sum() / smooth.sum() == pytest.approx(29, abs=1e-3)
    assert (smooth * x).sum() / smooth.sum() == pytest.approx(34, abs=1e-3)


def test_a_large_offset_does_not_cost_digits() -> None:
    image = np.random.default_rng(0).normal(0, 1, (32, 32)).round(2)
    plain, raised = (difference_of_gaussians(image + offset) for offset in (0, 30_000))

    np.testing.assert_allclose(raised, plain, atol=2e-3)  # float32 holds 30000 to 0.002


def test_missing_pixels_are_bridged_and_count_nothing() -> None:
    image = np.tile(np.linspace(0, 50, 60), (60, 1))
    image[20:26, 20:26] = np.nan
    image[:4] = np.inf
    filtered = difference_of_gaussians(image)

    assert np.isfinite(filtered).all()
    assert (filtered[20:26, 20:26] == 0).all()
    assert (filtered[:4] == 0).all()
    # A slope has no structure; the hole filled with its local mean makes almost none.
    assert np.abs(filtered[12:34, 12:34]).max() < 2


@pytest.mark.parametrize("value", [0, 12345.678, np.nan])
def test_nothing_gives_zeros(value: float) -> None:
    filtered = difference_of_gaussians(np.full((16, 16), value))
    # Weights sum to 1 in float32 only, but the mean is subtracted first.
    np.testing.assert_allclose(filtered, 0, atol=1e-3)


def test_mean_of_valid_pixels_reaches_everywhere() -> None:
    image = np.zeros((4, 100), np.float32)
    valid = np.zeros((4, 100), bool)
    image[:, 0], valid[:, 0] = 3, True

    np.testing.assert_allclose(smooth_valid(image, valid, sigma_px=2), 3, rtol=1e-4)
    np.testing.assert_array_equal(smooth_valid(image, ~valid & False, sigma_px=2), 0)


def test_window_rises_from_the_edges() -> None:
    window = soft_window((40, 9), margin_px=4)

    assert window.min() > 0
    np.testing.assert_array_equal(window[4:-4, 4], 1)
    np.testing.assert_allclose(window, window[::-1, ::-1])
    np.testing.assert_array_equal(soft_window((5, 5), margin_px=0), 1)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="0 < inner < outer"):
        difference_of_gaussians(np.ones((4, 4)), band_px=(3, 1))
    with pytest.raises(ValueError, match="one image"):
        difference_of_gaussians(np.ones((2, 4, 4)))
