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
from clgkit.errors import DataError, ResourceError, SettingsError
from clgkit.stages.deconvolve import Deconvolve, Deconvolved, deconvolve
from clgkit.workspace import Workspace
from tests.unit.deconvolution_scene import nuclei

VOXEL_UM = (1.0, 0.5, 0.5)
QUICK = Deconvolve(iterations=10)
SHARP = Deconvolve(iterations=10, method="richardson_lucy", deconvolution_iterations=2, fwhm_um=1.0)

pytestmark = [
    pytest.mark.filterwarnings("ignore:the dimmest tenth"),
    pytest.mark.filterwarnings("ignore:these settings make"),
]


def labelled(pixels: npt.NDArray[Any]) -> xr.DataArray:
    return volume(pixels, voxel_um=VOXEL_UM)


@pytest.fixture(scope="module")
def stack() -> xr.DataArray:
    return labelled((200 + 20 * nuclei((10, 80, 64))).astype(np.uint16))


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the summary, which takes longer than small stacks do."""
    monkeypatch.setattr("clgkit.stages.deconvolve.summarize", lambda *_: {})
    monkeypatch.setattr("clgkit.stages.deconvolve.complaints", lambda _: ())


def bytes_of(made: Deconvolved) -> bytes:
    return made.deconvolved.values.tobytes()


def test_the_result_is_a_labelled_stack_in_the_units_of_the_input(stack: xr.DataArray) -> None:
    made = deconvolve(stack, params=Deconvolve(iterations=10, offset=200))

    assert made.denoised is None
    assert made.deconvolved.dtype == np.float32
    xr.testing.assert_equal(made.deconvolved.coords.to_dataset(), stack.coords.to_dataset())
    light = np.maximum(stack.values.astype(float) - 200, 0)
    assert made.deconvolved.values.mean() == pytest.approx(light.mean(), rel=0.02)


def test_it_does_what_the_functions_do(stack: xr.DataArray) -> None:
    made = deconvolve(stack, params=SHARP)

    denoised = denoise_sparse(stack.values, SHARP.sparse, headroom=4.0)
    deblur = Deblur(gaussian_psf(1.0, pixel_um=0.5), iterations=2)
    scale = denoised.scale[:, None, None]
    expected = deblur(denoised.image / scale) * scale
    assert made.denoised is not None
    # The stage's percentile comes from a histogram, exact to 1e-4.
    np.testing.assert_allclose(made.denoised.values, denoised.image, rtol=1e-3, atol=0.1)
    np.testing.assert_allclose(made.deconvolved.values, expected, rtol=2e-3, atol=0.5)
    assert made.summary["scale"] == pytest.approx(denoised.scale[0], rel=2e-4)


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("params", [QUICK, SHARP, Deconvolve(iterations=10, scale="per-plane",
                                                             background="weak-low")])  # fmt: skip
def test_blocks_and_workers_change_nothing(
    stack: xr.DataArray, params: Deconvolve, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = deconvolve(stack, params=params, workspace=Workspace(executor="serial"))
    monkeypatch.setattr("clgkit.deconvolution.choose_core", lambda *_, **__: (12, 20, 33))
    other = deconvolve(stack, params=params, workspace=Workspace(workers=2, memory_mb=1.0))

    difference = np.abs(one.deconvolved.values - other.deconvolved.values).max()
    # Ten rounds reach beyond no halo; sharpening magnifies rounding.
    assert difference <= 2e-6 * one.deconvolved.values.max()


class KilledError(Exception):
    """Stands for a killed process."""


@pytest.mark.usefixtures("plain")
def test_an_interrupted_run_continues_to_the_same_bytes(
    stack: xr.DataArray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clgkit.pipeline.store import Store

    monkeypatch.setattr("clgkit.deconvolution.choose_core", lambda *_, **__: (12, 24, 24))
    whole = deconvolve(stack, params=SHARP)
    calls: list[int] = []

    def interrupt(_label: str, done: int, _total: int) -> None:
        calls.append(done)
        if done == 3:
            raise KilledError

    def run(progress: Any) -> Deconvolved:
        partial = Store(tmp_path).partial("deconvolve", "key")
        workspace = Workspace(executor="serial", progress=progress, shelf=partial)
        return deconvolve(stack, params=SHARP, workspace=workspace)

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
        deconvolve(haze, params=params.model_copy(update={"background": b})).deconvolved
        for b in ("none", "weak-low")
    )

    dark = stack.values < 300
    assert removed.values[dark].mean() < 0.75 * kept.values[dark].mean()


def test_the_original_procedure_can_be_had(stack: xr.DataArray) -> None:
    params = SHARP.model_copy(update={"compat": "original", "background": "weak-low"})

    made = deconvolve(stack, params=params)

    assert made.summary["scale"] == stack.values.max()
    deblur = Deblur(gaussian_psf(1.0, pixel_um=0.5), iterations=2)
    expected = deconvolve_original(stack.values, params.sparse, deblur, background="weak-low")
    np.testing.assert_allclose(made.deconvolved.values, expected, atol=1e-4 * expected.max())
    assert made.denoised is None


def test_the_original_procedure_asks_for_the_memory_it_needs(stack: xr.DataArray) -> None:
    params = SHARP.model_copy(update={"compat": "original"})

    with pytest.raises(
        ResourceError, match="holds the whole stack in memory: about 5 MB"
    ) as caught:
        deconvolve(stack, params=params, workspace=Workspace(memory_mb=2))

    assert caught.value.code == "E_MEMORY"


@pytest.mark.parametrize("compat", ["published", "original"])
def test_the_published_numbers_take_the_place_of_defaults(compat: Any) -> None:
    published = Deconvolve(compat=compat, fwhm_um=1.0)
    changed = Deconvolve(compat=compat, sparsity=3, deconvolution_iterations=0)
    # A settings file holds every setting, defaults included.
    listed = Deconvolve.parse(
        Deconvolve().model_dump() | {"compat": compat, "fwhm_um": 1.0}, section="deconvolve"
    )

    found = (published.iterations, published.z_continuity, published.fidelity, published.sparsity)
    assert found == (120, 1, 150, 6)
    assert (published.method, published.deconvolution_iterations) == ("richardson_lucy", 8)
    assert (changed.sparsity, changed.sharpens) == (3, False)
    assert listed == published
    assert Deconvolve.parse(published.model_dump(), section="deconvolve") == published


def test_the_default_denoises_and_does_nothing_else() -> None:
    params = Deconvolve()

    assert (params.iterations, params.sparsity, params.headroom) == (120, 0, 4)
    assert not params.sharpens


def energy(image: npt.NDArray[Any], data: npt.NDArray[Any], fidelity: float) -> float:
    """Return what the sparse step minimises, without sparsity, faces mirrored as in the stage."""
    pads = [(5, 5), (12, 12), (12, 12)]
    g, f = (np.pad(a, pads, mode="reflect") for a in (image, data))

    def bend(i: int, j: int) -> float:
        once = np.roll(g, -1, i) - g
        return float(np.abs(np.roll(once, -1, j) - once).sum())

    terms = sum(bend(i, i) for i in range(3)) + 2 * (bend(1, 2) + bend(0, 2) + bend(0, 1))
    return fidelity / 2 * float(((g - f) ** 2).sum()) + terms


@pytest.mark.usefixtures("plain")
def test_the_converged_solver_reaches_the_lowest_energy() -> None:
    stack = labelled(nuclei((6, 24, 24)))

    def reached(**settings: Any) -> float:
        made = deconvolve(stack, params=Deconvolve(scale=150.0, **settings)).deconvolved
        return energy(made.values / 150, stack.values / 150, 150.0)

    converged = reached(solver="converged")
    assert converged < reached(iterations=240) < reached(iterations=60)
    assert converged == reached(solver="converged", iterations=1)  # their count is no parameter


@pytest.mark.usefixtures("plain")
def test_tiles_of_the_converged_solver_do_not_depend_on_memory(
    stack: xr.DataArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clgkit.stages.deconvolve.CONVERGED", 1e-2)  # quick
    params = Deconvolve(solver="converged")
    one, other = (
        deconvolve(stack, params=params, workspace=Workspace(workers=n, memory_mb=mb))
        for n, mb in ((1, 1000.0), (2, 1.0))
    )

    assert bytes_of(one) == bytes_of(other)


def test_spots_made_of_noise_are_counted_and_announced(stack: xr.DataArray) -> None:
    smooth = deconvolve(stack, params=Deconvolve(iterations=60)).summary
    grainy = Deconvolve(
        iterations=1, method="richardson_lucy", deconvolution_iterations=40, fwhm_um=3.0
    )

    with pytest.warns(UserWarning, match="bright spots out of an empty field"):
        worse = deconvolve(stack, params=grainy).summary

    assert smooth["noise_spots_after"] <= smooth["noise_spots_before"]
    assert smooth["noise_spots_believed"] > 10 * (1 + smooth["noise_spots_after"])
    before, denoised, after = smooth["noise_grain"]
    assert denoised == after < 0.5 * before
    assert worse["noise_grain"][2] > worse["noise_grain"][0]
    dark = np.median(stack.values)
    assert smooth["dark_level"] == pytest.approx(dark, rel=0.01)
    # Shot noise of the background, in counts of twenty a photon.
    assert smooth["noise_sd"] == pytest.approx(20 * np.sqrt(0.15 * 30), rel=0.15)


def test_scales_are_recorded(stack: xr.DataArray) -> None:
    highest = deconvolve(stack, params=Deconvolve(iterations=2, scale="max")).summary
    given = deconvolve(stack, params=Deconvolve(iterations=2, scale=500.0)).summary
    each = deconvolve(stack, params=Deconvolve(iterations=2, scale="per-plane")).summary

    assert highest["scale"] == stack.values.max()
    assert given["scale"] == 500
    np.testing.assert_allclose(
        each["scale"], [4 * np.percentile(plane, 99.9) for plane in stack.values], rtol=1e-6
    )


def test_the_summary_tells_what_happens_to_dim_things(stack: xr.DataArray) -> None:
    import json

    summary = deconvolve(stack, params=Deconvolve(iterations=30, sparsity=6)).summary

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
        deconvolve(
            stack, params=Deconvolve(iterations=40, sparsity=15, scale=4.0 * float(light.max()))
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        deconvolve(stack, params=Deconvolve(iterations=40))


@pytest.mark.parametrize(
    ("kernel", "sentence"),
    [
        (((0.0,) * 3,) * 3, "sums to 0"),
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
        deconvolve(stack, params=params)

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
@pytest.mark.usefixtures("plain")
def test_every_psf_can_be_chosen(stack: xr.DataArray, given: dict[str, Any]) -> None:
    values = {"method": "richardson_lucy", "iterations": 2, "deconvolution_iterations": 2, **given}

    made = deconvolve(
        stack.isel(z=slice(0, 3)), params=Deconvolve.parse(values, section="deconvolve")
    )

    assert np.isfinite(made.deconvolved.values).all()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"method": "richardson_lucy"}, "needs fwhm_um"),
        ({"method": "landweber", "psf": "airy"}, "needs na and wavelength_nm"),
        ({"kernel": [[1.0, float("nan"), 1.0]]}, "the kernel, .*, holds NaN"),
        ({"compat": "published"}, "needs fwhm_um"),
        ({"compat": "original", "fwhm_um": 1, "solver": "converged"}, "does not converge"),
        ({"sparcity": 3}, "did you mean sparsity"),
        ({"scale": -2.0}, "scale"),
    ],
)
def test_incomplete_settings_are_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        Deconvolve.parse(given, section="deconvolve")


@pytest.mark.parametrize(
    ("pixels", "offset", "sentence"),
    [
        (np.full((3, 8, 8), np.nan), 0, "structure: Slice 0 holds NaN or infinity"),
        (np.where(np.arange(192) == 190, np.inf, 1.0).reshape(3, 8, 8), 0, "Slice 2 holds NaN"),
        (np.arange(-40.0, 152).reshape(3, 8, 8), 0, "offset = -40 adds 40 to every voxel"),
        (np.arange(-40.0, 152).reshape(3, 8, 8), -30, "down to -10, .* at most -40 "),
        (np.linspace(-0.012345, 1, 192).reshape(3, 8, 8), 0, "at most -0.0124 "),
        (np.zeros((0, 8, 8)), 0, "no voxel"),
    ],
)
def test_impossible_stacks_are_refused(
    pixels: npt.NDArray[Any], offset: float, sentence: str
) -> None:
    with pytest.raises(DataError, match=sentence):
        deconvolve(labelled(pixels), params=QUICK.model_copy(update={"offset": offset}))


def test_a_negative_offset_lifts_a_stack_above_zero(stack: xr.DataArray) -> None:
    low = labelled(stack.values.astype(np.float32) - 230)
    assert low.values.min() == -30

    made = deconvolve(low, params=QUICK.model_copy(update={"offset": -30.0}))

    expected = deconvolve(stack, params=QUICK.model_copy(update={"offset": 200.0})).deconvolved
    np.testing.assert_allclose(made.deconvolved.values, expected.values, atol=1e-3)


@pytest.mark.parametrize("params", [QUICK, SHARP, SHARP.model_copy(update={"compat": "original"})])
@pytest.mark.parametrize("value", [0, 7])
def test_a_constant_stack_is_returned_without_its_offset(value: int, params: Deconvolve) -> None:
    flat = labelled(np.full((3, 8, 8), 100 + value, np.uint16))

    with pytest.warns(UserWarning, match=f"every voxel of the stack is {value} above the offset"):
        made = deconvolve(flat, params=params.model_copy(update={"offset": 100.0}))

    np.testing.assert_array_equal(made.deconvolved.values, np.full((3, 8, 8), value, np.float32))
    assert made.deconvolved.dtype == np.float32
    assert (made.denoised, made.summary) == (None, {})


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("n_planes", [1, 2, 3])
def test_few_planes_are_legal(n_planes: int) -> None:
    made = deconvolve(labelled(nuclei((n_planes, 30, 30))), params=QUICK)

    assert made.deconvolved.shape == (n_planes, 30, 30)
    assert np.isfinite(made.deconvolved.values).all()
