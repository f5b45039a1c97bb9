"""The stage: blocks, stores, refusals, what it tells."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

from clgkit.data import volume
from clgkit.deconvolution import Deblur, deconvolve_original, denoise_sparse, gaussian_psf
from clgkit.errors import DataError, SettingsError
from clgkit.stages.deconvolve import Deconvolve, Deconvolved, deconvolve
from clgkit.workspace import Workspace
from tests.unit.deconvolution_scene import nuclei

VOXEL_UM = (1.0, 0.5, 0.5)
QUICK = Deconvolve(iterations=10)
SHARP = Deconvolve(iterations=10, method="richardson_lucy", deconvolution_iterations=2, fwhm_um=1.0)

pytestmark = pytest.mark.filterwarnings("ignore:the dimmest tenth")


def labelled(pixels: npt.NDArray[Any]) -> xr.DataArray:
    return volume(pixels, voxel_um=VOXEL_UM)


@pytest.fixture(scope="module")
def stack() -> xr.DataArray:
    return labelled((200 + 20 * nuclei((10, 80, 64))).astype(np.uint16))


def bytes_of(made: Deconvolved) -> bytes:
    return made.deconvolved.values.tobytes()


def test_the_result_is_a_labelled_stack_in_the_units_of_the_input(stack: xr.DataArray) -> None:
    made = deconvolve(stack, Deconvolve(iterations=10, offset=200))

    assert made.denoised is None
    assert made.deconvolved.dtype == np.float32
    xr.testing.assert_equal(made.deconvolved.coords.to_dataset(), stack.coords.to_dataset())
    light = np.maximum(stack.values.astype(float) - 200, 0)
    assert made.deconvolved.values.mean() == pytest.approx(light.mean(), rel=0.02)


def test_it_does_what_the_functions_do(stack: xr.DataArray) -> None:
    made = deconvolve(stack, SHARP)

    denoised = denoise_sparse(stack.values, SHARP.sparse, headroom=4.0)
    deblur = Deblur(gaussian_psf(1.0, pixel_um=0.5), iterations=2)
    scale = denoised.scale[:, None, None]
    expected = deblur(denoised.image / scale) * scale
    assert made.denoised is not None
    # The stage's percentile comes from a histogram, exact to 1e-4.
    np.testing.assert_allclose(made.denoised.values, denoised.image, rtol=1e-3, atol=0.1)
    np.testing.assert_allclose(made.deconvolved.values, expected, rtol=2e-3, atol=0.5)
    assert made.summary["scale"] == pytest.approx(denoised.scale[0], rel=2e-4)


@pytest.mark.parametrize("params", [QUICK, SHARP, Deconvolve(iterations=10, scale="per-plane",
                                                             background="weak-low")])  # fmt: skip
def test_blocks_and_workers_change_nothing(
    stack: xr.DataArray, params: Deconvolve, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = deconvolve(stack, params, workspace=Workspace(executor="serial"))
    monkeypatch.setattr("clgkit.deconvolution.choose_core", lambda *_, **__: (12, 20, 33))
    other = deconvolve(stack, params, workspace=Workspace(workers=2, memory_mb=1.0))

    difference = np.abs(one.deconvolved.values - other.deconvolved.values).max()
    # Ten rounds reach beyond no halo; sharpening magnifies rounding.
    assert difference <= 2e-6 * one.deconvolved.values.max()


def test_processes_do_the_same(stack: xr.DataArray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clgkit.deconvolution.choose_core", lambda *_, **__: (12, 48, 40))
    small = Deconvolve(iterations=3)

    one, other = (
        deconvolve(stack, small, workspace=Workspace(workers=2, executor=executor))
        for executor in ("threads", "processes")
    )

    assert bytes_of(one) == bytes_of(other)


class KilledError(Exception):
    """Stands for a killed process."""


def test_an_interrupted_run_continues_to_the_same_bytes(
    stack: xr.DataArray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clgkit.pipeline.store import Store

    monkeypatch.setattr("clgkit.deconvolution.choose_core", lambda *_, **__: (12, 24, 24))
    whole = deconvolve(stack, SHARP)
    calls: list[int] = []

    def interrupt(_label: str, done: int, _total: int) -> None:
        calls.append(done)
        if done == 3:
            raise KilledError

    def run(progress: Any) -> Deconvolved:
        partial = Store(tmp_path).partial("deconvolve", "key")
        workspace = Workspace(executor="serial", progress=progress, shelf=partial)
        return deconvolve(stack, SHARP, workspace=workspace)

    with pytest.raises(KilledError):
        run(interrupt)
    calls.clear()
    resumed = run(lambda _label, done, _total: calls.append(done))

    assert calls[0] == 3  # these blocks were kept
    assert bytes_of(resumed) == bytes_of(whole)


def test_the_background_goes_first(stack: xr.DataArray) -> None:
    haze = labelled((stack.values + np.linspace(0, 800, 64)).astype(np.uint16))
    params = Deconvolve(iterations=5, offset=200, background="weak-low")

    kept, removed = (
        deconvolve(haze, params.model_copy(update={"background": b})).deconvolved
        for b in ("none", "weak-low")
    )

    dark = stack.values < 300
    assert removed.values[dark].mean() < 0.75 * kept.values[dark].mean()


def test_the_original_procedure_can_be_had(stack: xr.DataArray) -> None:
    params = SHARP.model_copy(update={"compat": "original", "background": "weak-low"})

    made = deconvolve(stack, params)

    deblur = Deblur(gaussian_psf(1.0, pixel_um=0.5), iterations=2)
    expected = deconvolve_original(stack.values, params.sparse, deblur, background="weak-low")
    np.testing.assert_allclose(made.deconvolved.values, expected, atol=1e-4 * expected.max())
    assert made.denoised is None


def test_scales_are_recorded(stack: xr.DataArray) -> None:
    highest = deconvolve(stack, Deconvolve(iterations=2, scale="max")).summary
    given = deconvolve(stack, Deconvolve(iterations=2, scale=500.0)).summary
    each = deconvolve(stack, Deconvolve(iterations=2, scale="per-plane")).summary

    assert highest["scale"] == stack.values.max()
    assert given["scale"] == 500
    np.testing.assert_allclose(
        each["scale"], [4 * np.percentile(plane, 99.9) for plane in stack.values], rtol=1e-6
    )


def test_the_summary_tells_what_happens_to_dim_things(stack: xr.DataArray) -> None:
    import json

    summary = deconvolve(stack, Deconvolve(iterations=30, sparsity=6)).summary

    assert summary["bead_amplitude"] == [1.0, 0.5, 0.25, 0.1, 0.05]
    assert summary["bead_denoised"][0] > 3 * summary["bead_denoised"][-1]
    assert 0 < summary["gain_of_bright_spots"] < 1.1
    assert summary["n_spots"] >= 20
    json.dumps(summary)


@pytest.mark.filterwarnings("default:the dimmest tenth")
def test_lost_nuclei_are_announced() -> None:
    light = nuclei((8, 64, 64), photons=300)
    light[:, 32:] *= 0.2
    stack = labelled(light)

    with pytest.warns(UserWarning, match="dimmest tenth of the bright spots keeps"):
        deconvolve(stack, Deconvolve(sparsity=15, scale=4.0 * float(light.max())))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        deconvolve(stack, Deconvolve(iterations=40))


@pytest.mark.parametrize(
    ("kernel", "sentence"),
    [
        (((float("0"),) * 3,) * 3, "sums to 0"),
        (((1.0, 1.0),), "odd sides"),
        (((1.0, 1.0, 1.0), (1.0,)), "not equally long"),
        (((1.0,) * 99,) * 99, "cut it to their size"),
    ],
)
def test_a_psf_that_is_none_has_its_code(
    stack: xr.DataArray, kernel: tuple[tuple[float, ...], ...], sentence: str
) -> None:
    params = Deconvolve(method="richardson_lucy", psf="measured", kernel=kernel)

    with pytest.raises(DataError, match=sentence) as caught:
        deconvolve(stack, params)

    assert caught.value.code == "E_PSF"


@pytest.mark.parametrize(
    "given",
    [
        {"psf": "airy", "na": 0.8, "wavelength_nm": 600},
        {"psf": "two-photon", "na": 0.8, "wavelength_nm": 930},
        {"psf": "original", "na": 0.8, "wavelength_nm": 600},
        {"psf": "measured", "kernel": [[1, 2, 1]]},
        {"psf": "gaussian", "fwhm_um": 1.0, "method": "landweber"},
    ],
)
def test_every_psf_can_be_chosen(stack: xr.DataArray, given: dict[str, Any]) -> None:
    values = {"method": "richardson_lucy", "iterations": 2, "deconvolution_iterations": 2, **given}

    made = deconvolve(stack.isel(z=slice(0, 3)), Deconvolve.parse(values, section="deconvolve"))

    assert np.isfinite(made.deconvolved.values).all()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"method": "richardson_lucy"}, "needs fwhm_um"),
        ({"method": "landweber", "psf": "airy"}, "needs na and wavelength_nm"),
        ({"method": "landweber", "psf": "measured"}, "needs kernel"),
        ({"sparcity": 3}, "did you mean sparsity"),
        ({"scale": -2.0}, "scale"),
    ],
)
def test_incomplete_settings_are_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        Deconvolve.parse(given, section="deconvolve")


@pytest.mark.parametrize(
    ("pixels", "sentence"),
    [
        (np.full((3, 8, 8), np.nan), "NaN"),
        (np.full((3, 8, 8), -4.0), "subtract the detector's offset"),
        (np.full((3, 8, 8), 7), "Every voxel is 7"),
        (np.zeros((3, 8, 8)), "Every voxel is 0"),
    ],
)
def test_impossible_stacks_are_refused(pixels: npt.NDArray[Any], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        deconvolve(labelled(pixels), QUICK)


@pytest.mark.parametrize("n_planes", [1, 2, 3])
def test_few_planes_are_legal(n_planes: int) -> None:
    made = deconvolve(labelled(nuclei((n_planes, 30, 30))), QUICK)

    assert made.deconvolved.shape == (n_planes, 30, 30)
    assert np.isfinite(made.deconvolved.values).all()
