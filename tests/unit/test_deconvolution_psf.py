"""Point spread functions: widths, sums, sizes, refusals."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import integrate, special

from clgkit.deconvolution import (
    Blur,
    airy_psf,
    check_psf,
    gaussian_psf,
    original_half_width,
    original_psf,
    psf_from_image,
    two_photon_fwhm_um,
)
from clgkit.deconvolution.response import width_at_half

PSF = npt.NDArray[np.float64]
OPTICS: dict[str, Any] = {"wavelength_um": 0.6, "na": 0.8}
RESOLVED_UM = 0.02


def fwhm_um(psf: PSF, pixel_um: float) -> float:
    return pixel_um * width_at_half(psf[psf.shape[0] // 2])


def every_psf() -> list[PSF]:
    return [
        gaussian_psf(0.9, pixel_um=0.4),
        airy_psf(**OPTICS, pixel_um=0.1),
        original_psf(**OPTICS, pixel_um=0.1, half_width_px=32),
        gaussian_psf(two_photon_fwhm_um(wavelength_um=0.93, na=0.8), pixel_um=0.2),
    ]


@pytest.mark.parametrize("psf", every_psf())
def test_light_is_kept_and_the_middle_is_the_peak(psf: PSF) -> None:
    assert psf.sum() == pytest.approx(1, abs=1e-12)
    assert psf.shape[0] % 2 == psf.shape[1] % 2 == 1
    assert np.argmax(psf) == psf.size // 2
    np.testing.assert_allclose(psf, psf[::-1, ::-1], atol=1e-15)
    np.testing.assert_allclose(psf, psf.T, atol=1e-15)


def test_the_airy_pattern_has_its_width() -> None:
    made = fwhm_um(airy_psf(**OPTICS, pixel_um=RESOLVED_UM), RESOLVED_UM)

    assert made == pytest.approx(0.515 * 0.6 / 0.8, rel=2e-3)  # linear interpolation


def test_the_original_is_a_quarter_wider() -> None:
    psf = original_psf(**OPTICS, pixel_um=RESOLVED_UM, half_width_px=64)

    assert fwhm_um(psf, RESOLVED_UM) == pytest.approx(0.644 * 0.6 / 0.8, rel=2e-3)


def test_the_original_lacks_the_radius_in_the_pupil_integral() -> None:
    psf = original_psf(**OPTICS, pixel_um=0.1, half_width_px=8)
    a = 2 * math.pi * 0.3 * 0.8 / 0.6

    at_three = integrate.quad(lambda p: 2 * special.j0(a * p), 0, 1)[0] ** 2

    assert psf[8, 11] / psf[8, 8] == pytest.approx(at_three / 4, abs=1e-9)


@pytest.mark.parametrize(("na", "factor"), [(0.5, 0.320 / 0.5), (0.95, 0.325 / 0.95**0.91)])
def test_two_photons_see_their_excitation(na: float, factor: float) -> None:
    made = two_photon_fwhm_um(wavelength_um=0.93, na=na)

    assert made == pytest.approx(1.665 * factor * 0.93 / math.sqrt(2), rel=1e-4)


def test_a_gaussian_has_the_width_asked_for() -> None:
    psf = gaussian_psf(0.5, pixel_um=RESOLVED_UM)

    assert fwhm_um(psf, RESOLVED_UM) == pytest.approx(0.5, rel=1e-3)


def test_pixels_may_be_oblong() -> None:
    psf = gaussian_psf(2.0, pixel_um=(0.5, 0.25))

    assert width_at_half(psf[psf.shape[0] // 2]) == pytest.approx(8, abs=0.1)
    assert width_at_half(psf[:, psf.shape[1] // 2]) == pytest.approx(4, abs=0.1)


def test_computed_kernels_end_where_the_light_ends() -> None:
    assert gaussian_psf(3.0, pixel_um=1.0).shape == (11, 11)
    assert gaussian_psf(0.1, pixel_um=1.0).shape == (1, 1)
    assert airy_psf(**OPTICS, pixel_um=0.1, half_width_px=20).shape == (41, 41)


SIDES = {10: 64, 17: 64, 18: 8, 32: 8, 33: 64, 34: 16, 64: 16, 65: 64, 66: 32, 128: 32, 129: 64}


@pytest.mark.parametrize(("n", "half"), SIDES.items())
def test_the_original_chooses_its_kernel_by_the_plane(n: int, half: int) -> None:
    assert original_half_width((n, 2000)) == half
    assert original_half_width((2000, n)) == half


@pytest.mark.parametrize(
    ("psf", "sentence"),
    [
        (np.full((5, 5), np.nan), "25 NaN or infinite of 25"),
        (np.zeros((5, 5)), "sums to 0"),
        (np.ones((4, 5)), "odd sides"),
        (np.ones((5, 5, 5)), "slice in focus"),
        (np.ones((0, 5)), "slice in focus"),
        (np.array([[-1.0, 2.0, 1.0]]), "negative"),
        (np.array([[1.0, np.inf, 1.0]]), "1 NaN or infinite of 3"),
        (np.ones((11, 3)), "cut it to their size"),
    ],
)
def test_a_measured_psf_that_is_none_is_refused(
    psf: npt.NDArray[np.float64], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        check_psf(psf, plane_shape=(9, 9))


def test_a_measured_psf_is_scaled() -> None:
    np.testing.assert_allclose(check_psf(np.ones((3, 5), np.uint16)), 1 / 15)


def test_a_kernel_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="cut it"):
        Blur(np.ones((15, 15)), (10, 10))


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_lengths_are_positive(value: float) -> None:
    with pytest.raises(ValueError, match="positive number"):
        gaussian_psf(value, pixel_um=1.0)
    with pytest.raises(ValueError, match="positive number"):
        gaussian_psf(1.0, pixel_um=value)
    with pytest.raises(ValueError, match="positive number"):
        airy_psf(wavelength_um=value, na=1.0, pixel_um=1.0)
    with pytest.raises(ValueError, match="positive number"):
        two_photon_fwhm_um(wavelength_um=0.9, na=value)


def bead(
    fwhm_px: float = 4.0, *, shape: tuple[int, int] = (61, 71), at: tuple[float, float] = (28, 33)
) -> PSF:
    """Return a noisy bead on a background of 100."""
    y, x = (np.arange(n) - place for n, place in zip(shape, at, strict=True))
    light = np.exp(-4 * math.log(2) * (y[:, None] ** 2 + x**2) / fwhm_px**2)
    return np.asarray(100 + 1000 * light + np.random.default_rng(0).normal(0, 2, shape))


def test_a_kernel_of_an_image_is_the_bead_without_its_background() -> None:
    stack = np.stack([100 + 0.5 * (bead() - 100), bead(), 100 + 0.3 * (bead() - 100)])

    kernel = psf_from_image(stack)

    assert kernel.sum() == pytest.approx(1)
    assert all(n % 2 for n in kernel.shape)
    assert kernel.shape < (15, 15)  # the margin, where there is noise only, is cut
    middle = np.unravel_index(np.argmax(kernel), kernel.shape)
    assert middle == tuple(n // 2 for n in kernel.shape)
    expected = gaussian_psf(4.0, pixel_um=1.0)
    np.testing.assert_array_equal(kernel, psf_from_image(bead()))  # the slice in focus
    half = kernel.shape[0] // 2
    wanted = expected.shape[0] // 2
    inside = expected[wanted - half : wanted + half + 1, wanted - half : wanted + half + 1]
    # A hundredth of the light is cut off, which lifts the rest; noise is 2 in a peak of 1000.
    np.testing.assert_allclose(kernel, inside, atol=0.02 * expected.max())


@pytest.mark.parametrize("step", [0.5, 1.0, 1.6])
def test_a_kernel_is_resampled_to_the_pixels_of_the_stack(step: float) -> None:
    kernel = psf_from_image(bead(8.0, at=(28.4, 33.7)), step_px=(step, step))

    middle = tuple(n // 2 for n in kernel.shape)
    assert kernel[middle] > 0.99 * kernel.max()  # noise may lift a neighbour
    # A pixel averages over its width: 8 becomes at most 8.2.
    assert step * width_at_half(kernel[middle[0]]) == pytest.approx(8.0, abs=0.25)
    assert step * width_at_half(kernel[:, middle[1]]) == pytest.approx(8.0, abs=0.25)


def test_pixels_that_are_not_square_are_resampled_along_each_axis() -> None:
    kernel = psf_from_image(bead(8.0), step_px=(0.5, 1.0))

    middle = tuple(n // 2 for n in kernel.shape)
    along_y, along_x = width_at_half(kernel[:, middle[1]]), width_at_half(kernel[middle[0]])
    assert along_y == pytest.approx(2 * along_x, rel=0.05)


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (np.full((3, 9, 9), np.nan), "holds 243 NaN or infinite of 243 values"),
        (np.full((9, 9), 5.0), "no light"),
        (np.zeros(9), "axes"),
        (bead() + np.roll(bead(), 20, 1), "shows 2 separate bright spots"),
    ],
)
def test_an_image_that_shows_no_kernel_is_refused(image: PSF, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        psf_from_image(image)


def test_a_step_is_positive() -> None:
    with pytest.raises(ValueError, match="positive number"):
        psf_from_image(bead(), step_px=(0.0, 1.0))
