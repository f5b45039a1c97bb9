"""The image of a bead becomes the kernel of the stage, or is refused in one sentence."""

import math
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

from clgkit.data import volume
from clgkit.deconvolution import gaussian_psf, psf_from_image
from clgkit.deconvolution.response import width_at_half
from clgkit.errors import ClgError, DataError, SettingsError
from clgkit.stages._deconvolution_bead import kernel_of_bead
from clgkit.stages.deconvolve import Deconvolve, deconvolve
from tests.unit.deconvolution_scene import nuclei

PLANE = (64, 64)
MEASURED: dict[str, Any] = {
    "iterations": 2, "method": "richardson_lucy", "deconvolution_iterations": 2, "psf": "measured",
}  # fmt: skip


def light(
    sides: tuple[int, int], fwhm_px: float, at: tuple[float, float] | None = None
) -> npt.NDArray[np.float64]:
    """Return a Gaussian bead on a background of 100, in the middle of its image."""
    middle = at or ((sides[0] - 1) / 2, (sides[1] - 1) / 2)
    y, x = (np.arange(n) - place for n, place in zip(sides, middle, strict=True))
    return np.asarray(100 + 1000 * np.exp(-4 * math.log(2) * (y[:, None] ** 2 + x**2) / fwhm_px**2))


def bead(
    sides: tuple[int, int] = (41, 41), fwhm_px: float = 3.0, pixel_um: float = 0.5
) -> xr.DataArray:
    return volume(light(sides, fwhm_px)[None], voxel_um=(1.0, pixel_um, pixel_um), name="psf")


@pytest.fixture(scope="module")
def stack() -> xr.DataArray:
    return volume(nuclei((3, *PLANE)), voxel_um=(1.0, 0.5, 0.5))


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the summary, which takes longer than small stacks do."""
    monkeypatch.setattr("clgkit.stages.deconvolve.summarize", lambda *_: {})
    monkeypatch.setattr("clgkit.stages.deconvolve.complaints", lambda _: ())


@pytest.mark.usefixtures("plain")
def test_a_bead_and_the_numbers_of_its_kernel_give_the_same(stack: xr.DataArray) -> None:
    rows = tuple(map(tuple, psf_from_image(light((41, 41), 3.0)).tolist()))

    seen = deconvolve(stack, bead(), Deconvolve(**MEASURED)).deconvolved
    typed = deconvolve(stack, params=Deconvolve(**MEASURED, kernel=rows)).deconvolved

    np.testing.assert_array_equal(seen.values, typed.values)


def test_a_bead_on_other_pixels_is_resampled() -> None:
    kernel = kernel_of_bead(bead(fwhm_px=8.0, pixel_um=0.25), pixel_um=(0.5, 1.0), plane=PLANE)

    y, x = (n // 2 for n in kernel.shape)
    # 2 um; a pixel averages over its width, and only so much wider may it be.
    assert 0.5 * width_at_half(kernel[:, x]) == pytest.approx(2.0, rel=0.05)
    assert 1.0 * width_at_half(kernel[y]) == pytest.approx(2.0, rel=0.15)


@pytest.mark.usefixtures("plain")
def test_pixels_half_as_large_take_a_bead_half_as_fine(stack: xr.DataArray) -> None:
    params = Deconvolve(**MEASURED, oversampling="fourier")

    coarse = deconvolve(stack, bead(fwhm_px=4.0), params).deconvolved
    fine = deconvolve(stack, bead((81, 81), 8.0, 0.25), params).deconvolved

    assert coarse.shape == (3, 128, 128)
    # Linear interpolation to half the pixel widens the coarse bead a little.
    assert np.corrcoef(coarse.values.ravel(), fine.values.ravel())[0, 1] > 0.999


@pytest.mark.parametrize("place", [20.0, 20.2, 20.4, 20.5, 20.9])
@pytest.mark.parametrize("fwhm_px", [2.5, 4.0])
def test_a_kernel_lies_in_the_middle_wherever_its_bead_was(place: float, fwhm_px: float) -> None:
    kernel = psf_from_image(light((42, 41), fwhm_px, (place, 41 - place)))

    y, x = (np.arange(n) - n // 2 for n in kernel.shape)
    # A tenth of a pixel: where the ends of so small a kernel are cut decides about half of it.
    assert abs(float(kernel.sum(axis=1) @ y)) < 0.1
    assert abs(float(kernel.sum(axis=0) @ x)) < 0.1
    wanted = gaussian_psf(fwhm_px, pixel_um=1.0).max()
    assert kernel.max() == pytest.approx(wanted, rel=0.03)  # a hundredth of the light is cut off


def test_even_sides_are_centred_and_that_is_said() -> None:
    with pytest.warns(UserWarning, match="even sides, 8 x 8 pixels, .* the 7 x 7 pixels around"):
        kernel = kernel_of_bead(bead((8, 8)), pixel_um=(0.5, 0.5), plane=PLANE)

    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-12)
    assert kernel[3, 3] == kernel.max()


def test_an_image_larger_than_the_planes_is_cut_and_that_is_said() -> None:
    said = "larger than the planes, 199 x 199 of their pixels on 64 x 64; the kernel is the 11 x 11"
    with pytest.warns(UserWarning, match=said):
        large = kernel_of_bead(bead((199, 199), 4.0), pixel_um=(0.5, 0.5), plane=PLANE)

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the same bead with less margin needs no word
        small = kernel_of_bead(bead((41, 41), 4.0), pixel_um=(0.5, 0.5), plane=PLANE)
        kernel_of_bead(bead((199, 199), 4.0, 0.1), pixel_um=(0.5, 0.5), plane=PLANE)
    np.testing.assert_allclose(large, small, atol=1e-12)


@pytest.mark.filterwarnings("ignore:the image of a bead is larger")
@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (light((199, 199), 60.0), r"has shape \(123, 123\) and the planes \(64, 64\)"),
        (light((41, 41), 4.0, (1.0, 20.0)), "47% of its light beyond the largest kernel, 3 x 41"),
        (np.full((9, 9), np.nan), "81 NaN or infinite of 81"),
        (np.zeros((9, 9)), "no light"),
    ],
)
def test_a_bead_that_is_no_kernel_has_its_code(
    stack: xr.DataArray, image: npt.NDArray[np.float64], sentence: str
) -> None:
    shown = volume(image[None], voxel_um=(1.0, 0.5, 0.5)).assign_attrs(source="bead.tif")

    with pytest.raises(DataError, match=f"bead.tif: The PSF .*{sentence}") as caught:
        deconvolve(stack, shown, Deconvolve(**MEASURED))

    assert caught.value.code == "E_PSF"


def test_only_so_much_light_may_be_lost_to_the_edge_on_other_pixels_too() -> None:
    off = volume(light((41, 41), 4.0, (1.0, 20.0))[None], voxel_um=(1.0, 0.25, 0.25))

    with pytest.raises(ValueError, match="beyond the largest kernel"):
        kernel_of_bead(off, pixel_um=(0.5, 0.5), plane=PLANE)


@pytest.mark.parametrize(
    ("given", "with_bead", "sentence"),
    [
        ({"psf": "gaussian", "fwhm_um": 1.0}, True, 'psf = "measured" only, and psf is "gaussian"'),
        ({"kernel": ((1.0, 2.0, 1.0),)}, True, "leave out one of them"),
        ({}, False, r"as kernel, .*: \[psf\] path in a run, --psf-file of clg deconvolve"),
    ],
)
def test_a_bead_and_settings_that_do_not_go_together_are_refused(
    stack: xr.DataArray, given: dict[str, Any], *, with_bead: bool, sentence: str
) -> None:
    params = Deconvolve(**(MEASURED | given))

    with pytest.raises(SettingsError, match=sentence) as caught:
        deconvolve(stack, bead() if with_bead else None, params)

    assert caught.value.code == "E_PSF"


def test_nothing_is_missing_where_nothing_is_sharpened() -> None:
    resting = Deconvolve(psf="measured")

    assert resting.why_not(with_bead=False) is None
    assert resting.why_not(with_bead=True) is None


def test_a_bead_has_units_like_any_image(stack: xr.DataArray) -> None:
    unitless = bead().drop_vars("y")

    with pytest.raises(ClgError, match="no coordinate 'y'"):
        deconvolve(stack, unitless, Deconvolve(**MEASURED))
