"""Stacks at the ends of what is legal: almost black, one bright voxel, huge and tiny numbers."""

import json
import warnings
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

from clgkit import data
from clgkit.errors import DataError
from clgkit.stages.deconvolve import Deconvolve, Deconvolved, deconvolve
from clgkit.stages.normalize_contrast import NormalizeContrast, normalize_contrast
from clgkit.workspace import Workspace

SERIAL = Workspace(executor="serial")
STEPS: dict[str, dict[str, Any]] = {
    "default": {},
    "per plane": {"scale": "per-plane"},
    "a number": {"scale": 500},
    "background": {"background": "weak-low"},
    "sharpened": {"method": "richardson_lucy", "fwhm_um": 1.0},
}
EVERY_STEP = pytest.mark.parametrize("settings", STEPS.values(), ids=STEPS)
CONTRASTS: dict[str, dict[str, Any]] = {
    "stack": {},
    "volume": {"window": "volume", "radius_z_um": 2},
    "plane": {"scale": "plane"},
    "given": {"scale": "given", "high_intensity": 100.0},
    "integers": {"dtype": "uint16"},
    "noise": {"noise_sd": 5.0},
    "clg": {"compat": "clg"},
}
EVERY_CONTRAST = pytest.mark.parametrize("settings", CONTRASTS.values(), ids=CONTRASTS)


def stack_of(pixels: npt.NDArray[Any]) -> xr.DataArray:
    return data.volume(pixels, voxel_um=(2.0, 0.5, 0.5))


def photons(shape: tuple[int, int, int] = (4, 20, 20)) -> npt.NDArray[np.uint16]:
    return np.random.default_rng(0).poisson(30, shape).astype(np.uint16)


def deconvolved(pixels: npt.NDArray[Any], **settings: Any) -> Deconvolved:
    """What the stage may warn of is not looked at; anything else is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", UserWarning)
        params = Deconvolve(**{"iterations": 3} | settings)
        return deconvolve(stack_of(pixels), params=params, workspace=SERIAL)


@EVERY_STEP
def test_one_bright_voxel_in_the_dark_gives_finite_light(settings: dict[str, Any]) -> None:
    pixels = np.zeros((4, 20, 20), np.uint16)
    pixels[2, 10, 10] = 500

    made = deconvolved(pixels, **settings)

    light = made.deconvolved.values
    assert np.isfinite(light).all()
    assert light.min() >= 0
    json.dumps(made.summary, allow_nan=False)


def test_where_the_percentile_is_dark_the_maximum_is_bright() -> None:
    pixels = np.zeros((4, 20, 20), np.uint16)
    pixels[2, 10, 10] = 500

    assert deconvolved(pixels, scale="percentile", headroom=1).summary["scale"] == 500
    # 99.9 percent of 400 voxels is between the brightest and the next; dark slices have none.
    of_slices = deconvolved(pixels, scale="per-plane", headroom=1).summary["scale"]
    assert of_slices == [500, 500, 300.5, 500]


@EVERY_STEP
@pytest.mark.parametrize(
    "shape", [(1, 1, 9), (1, 9, 1), (4, 3, 2), (2, 7, 11)], ids=["row", "column", "narrow", "odd"]
)
def test_small_and_odd_stacks_are_legal(
    settings: dict[str, Any], shape: tuple[int, int, int]
) -> None:
    made = deconvolved(photons(shape), **settings)

    assert made.deconvolved.shape == shape
    assert np.isfinite(made.deconvolved.values).all()
    json.dumps(made.summary, allow_nan=False)


@EVERY_STEP
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200], ids=["NaN", "infinity", "too large"])
def test_what_is_no_number_is_refused_by_slice(settings: dict[str, Any], value: float) -> None:
    pixels = photons().astype(np.float64)
    pixels[2, 3, 4] = value

    with pytest.raises(DataError, match="Slice 2 holds NaN or infinity; replace them") as caught:
        deconvolved(pixels, **settings)

    assert "\n" not in caught.value.message


@pytest.mark.parametrize("factor", [2.0**-60, 2.0**20], ids=["tiny", "huge"])
def test_units_do_not_matter(factor: float) -> None:
    pixels = photons().astype(np.float32)
    wanted = deconvolved(pixels, iterations=10).deconvolved.values

    ours = deconvolved(pixels * np.float32(factor), iterations=10).deconvolved.values

    # The scale comes from a bin 2 ** -15 wide; a power of two moves all bins alike.
    np.testing.assert_allclose(ours / np.float32(factor), wanted, rtol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2], ids="zyx")
def test_a_mirrored_stack_gives_the_mirrored_result(axis: int) -> None:
    pixels = photons().astype(np.float32)
    wanted = np.flip(deconvolved(pixels, iterations=4).deconvolved.values, axis)

    ours = deconvolved(np.flip(pixels, axis), iterations=4).deconvolved.values

    # The scheme of published forward and backward differences is not symmetric; a few
    # iterations leave a part of the difference: below 2 percent of the brightness.
    inside = (slice(None), slice(6, -6), slice(6, -6))
    difference = np.abs(ours - wanted)[inside].mean()
    assert difference < 0.02 * wanted[inside].mean()


def test_the_dark_counts_make_no_difference_once_they_are_named() -> None:
    pixels = photons().astype(np.float32)
    wanted = deconvolved(pixels, iterations=5)

    ours = deconvolved(pixels + 128, iterations=5, offset=128.0)

    np.testing.assert_array_equal(ours.deconvolved.values, wanted.deconvolved.values)
    assert ours.summary == wanted.summary


@EVERY_CONTRAST
@pytest.mark.parametrize("value", [np.nan, np.inf], ids=["NaN", "infinity"])
def test_contrast_refuses_what_is_no_number(settings: dict[str, Any], value: float) -> None:
    pixels = photons().astype(np.float32)
    pixels[1, 2, 3] = value

    with pytest.raises(DataError, match="holds NaN"):
        normalize_contrast(stack_of(pixels), NormalizeContrast(**settings), workspace=SERIAL)


@EVERY_CONTRAST
def test_a_stack_without_slices_or_pixels_is_refused(settings: dict[str, Any]) -> None:
    for shape in ((2, 0, 5), (2, 5, 0)):
        with pytest.raises(DataError) as caught:
            normalize_contrast(
                stack_of(np.zeros(shape, np.uint16)), NormalizeContrast(**settings),
                workspace=SERIAL,
            )  # fmt: skip
        assert "\n" not in caught.value.message


@EVERY_CONTRAST
@pytest.mark.parametrize("axis", [0, 1, 2], ids="zyx")
def test_contrast_is_the_same_in_a_mirror(settings: dict[str, Any], axis: int) -> None:
    pixels = photons((5, 24, 26))
    params = NormalizeContrast(**settings | ({} if "window" in settings else {"radius_px": 4}))

    def made(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        found = normalize_contrast(stack_of(values), params, workspace=SERIAL).normalized
        return np.asarray(found.values, np.float64)

    ours, wanted = made(np.flip(pixels, axis)), np.flip(made(pixels), axis)

    # Running sums from the other end: a unit of float32, one step of an integer.
    tolerance = 1.0 if params.dtype == "uint16" or params.compat == "clg" else 2e-5
    np.testing.assert_allclose(ours, wanted, atol=tolerance)


@pytest.mark.parametrize("window", ["slice", "volume"])
def test_contrast_does_not_know_gain_and_offset(window: Literal["slice", "volume"]) -> None:
    pixels = photons((4, 24, 24)).astype(np.float32)
    params = NormalizeContrast(window=window, radius_px=4, radius_um=2, radius_z_um=2)
    wanted = normalize_contrast(stack_of(pixels), params, workspace=SERIAL)
    ours = normalize_contrast(stack_of(8 * pixels + 64), params, workspace=SERIAL)

    # The percentiles are those of bins that are 2 ** -15 of the brightness wide.
    np.testing.assert_allclose(ours.normalized, wanted.normalized, atol=1e-3)
    assert ours.summary["low"] == pytest.approx(8 * wanted.summary["low"] + 64, rel=1e-3)
    assert ours.summary["high"] == pytest.approx(8 * wanted.summary["high"] + 64, rel=1e-3)


@EVERY_CONTRAST
def test_the_summary_of_the_contrast_is_plain(settings: dict[str, Any]) -> None:
    made = normalize_contrast(stack_of(photons()), NormalizeContrast(**settings), workspace=SERIAL)

    assert json.loads(json.dumps(made.summary, allow_nan=False)) == made.summary
    assert (made.summary["gain"] is not None) == ("add_offset" in made.normalized.attrs)
