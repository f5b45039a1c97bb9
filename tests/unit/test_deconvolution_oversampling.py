"""Pixels half as large: planes, the stage, its command, and what the summary says of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
import xarray as xr

from clgkit.data import volume, voxel_um
from clgkit.deconvolution import (
    Deblur,
    Oversampling,
    SparseHessian,
    amplitude_response,
    at_samples,
    check_on_noise,
    deconvolve_original,
    denoise_sparse,
    fill,
    first_pixel,
    gaussian_psf,
    oversample,
)
from clgkit.deconvolution.oversampling import median_2x2
from clgkit.errors import ResourceError, SettingsError
from clgkit.stages import deconvolve as module
from clgkit.stages.deconvolve import Deconvolve, Deconvolved, deconvolve
from clgkit.workspace import Workspace
from tests.unit.deconvolution_scene import nuclei

VOXEL_UM = (1.0, 0.5, 0.5)
FINE: dict[str, Any] = {"oversampling": "fourier", "iterations": 10}
SHARP = Deconvolve(**FINE, method="richardson_lucy", deconvolution_iterations=2, fwhm_um=1.0)
KINDS: tuple[Oversampling, ...] = ("none", "zeros", "fourier")

Clg = Callable[..., tuple[int, str, str]]

pytestmark = [
    pytest.mark.filterwarnings("ignore:the dimmest tenth"),
    pytest.mark.filterwarnings("ignore:these settings make"),
]


@pytest.fixture(scope="module")
def stack() -> xr.DataArray:
    return volume((200 + 20 * nuclei((5, 40, 32))).astype(np.uint16), voxel_um=VOXEL_UM)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the summary, which takes longer than small stacks do."""
    monkeypatch.setattr(module, "summarize", lambda *_: {})
    monkeypatch.setattr(module, "complaints", lambda _: ())


def original(kind: Oversampling) -> Deconvolve:
    """Return the settings of the authors' procedure, with fewer rounds."""
    values = {"iterations": 10, "deconvolution_iterations": 2, "fwhm_um": 1.0, "offset": 190}
    return Deconvolve.parse(values | {"compat": "original", "oversampling": kind}, section="")


def middle(image: npt.NDArray[Any], places: npt.NDArray[Any]) -> float:
    """Return where the light of a spot lies along x."""
    line = image.sum(axis=tuple(range(image.ndim - 1)))
    return float(np.sum(line * places) / np.sum(line))


def test_zeros_stand_before_every_sample() -> None:
    made = oversample(np.array([[1, 2], [3, 4]]), "zeros")

    assert made.tolist() == [[0, 0, 0, 0], [0, 1, 0, 2], [0, 0, 0, 0], [0, 3, 0, 4]]


@pytest.mark.parametrize("shape", [(16, 16), (15, 17), (1, 8), (200, 3)])
def test_fourier_interpolation_keeps_the_samples(shape: tuple[int, int]) -> None:
    plane = 2 + np.random.default_rng(0).random(shape)

    made = oversample(plane, "fourier")

    assert made.shape == (2 * shape[0], 2 * shape[1])
    np.testing.assert_allclose(made[::2, ::2], plane, atol=1e-5)  # float32


def test_fourier_interpolation_finds_a_wave_between_the_samples() -> None:
    x = np.arange(32)

    made = oversample(np.tile(2 + np.cos(np.pi * (x + 0.5) / 8), (4, 1)), "fourier")

    expected = 2 + np.cos(np.pi * (np.arange(64) / 2 + 0.5) / 8)
    np.testing.assert_allclose(
        made[0, :62], expected[:62], atol=1e-4
    )  # the last lies between mirrors


@pytest.mark.parametrize("shape", [(12, 10), (13, 9)])
def test_interpolation_is_that_of_the_whole_mirrored_plane(shape: tuple[int, int]) -> None:
    plane = 5 + np.random.default_rng(1).random(shape)
    margins = [n // 2 for n in shape]
    wide = np.pad(plane, [(m, m) for m in margins], mode="symmetric")
    # Sinc interpolation of a periodic plane, written as a sum over frequencies.
    spectrum = np.fft.fft2(wide)
    waves = []
    for n, w, m in zip(shape, wide.shape, margins, strict=True):
        k = np.fft.fftfreq(w) * w
        at = m + np.arange(2 * n) / 2
        wave = np.exp(2j * np.pi * np.outer(at, k) / w) / w
        if w % 2 == 0:
            wave[:, w // 2] = wave[:, w // 2].real
        waves.append(wave)
    expected = (waves[0] @ spectrum @ waves[1].T).real

    np.testing.assert_allclose(oversample(plane, "fourier"), expected, atol=1e-5)  # float32


def test_the_median_moves_up_and_left() -> None:
    plane = np.arange(12, dtype=np.float32).reshape(3, 4)

    made = median_2x2(plane)

    assert made[0, 0] == np.median([0, 1, 4, 5])
    assert made[2, 3] == 0  # three of four lie outside
    assert made[1, 3] == np.median([7, 0, 11, 0])


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="not none, zeros or fourier"):
        oversample(np.ones((4, 5)), "linear")  # type: ignore[arg-type]


@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize("kind", ["zeros", "fourier"])
def test_small_pixels_lie_where_they_are_said_to_lie(kind: Oversampling, *, filtered: bool) -> None:
    y, x = np.ogrid[:21, :25]
    spot = np.exp(-((y - 10) ** 2 + (x - 12) ** 2) / 8)

    made = oversample(spot, kind)
    if kind == "zeros":  # a blur that fills the comb
        made = np.stack([np.convolve(line, [1, 2, 1], "same") for line in made])
        made = np.stack([np.convolve(line, [1, 2, 1], "same") for line in made.T]).T
    if filtered:
        made = median_2x2(made.astype(np.float32))

    places = first_pixel(kind, filtered=filtered) + np.arange(made.shape[1]) / 2
    assert middle(made, places) == pytest.approx(12, abs=0.01)  # medians bend a little


def test_a_stack_comes_back_from_its_small_pixels() -> None:
    planes = (3 + np.random.default_rng(2).random((2, 8, 10))).astype(np.float32)
    fine = {kind: np.stack([oversample(plane, kind) for plane in planes]) for kind in KINDS}

    for kind in ("none", "fourier"):
        np.testing.assert_allclose(at_samples(fill(fine[kind], kind), kind), planes, rtol=1e-6)
    # Light that was spread evenly over the four pixels of each sample is the same light.
    even = (planes / 4).repeat(2, axis=1).repeat(2, axis=2).astype(np.float32)
    inside = at_samples(fill(even, "zeros"), "zeros")[:, :-1, :-1]
    assert inside.mean() == pytest.approx(planes.mean(), rel=0.02)


def test_the_result_has_twice_the_rows_and_columns(stack: xr.DataArray) -> None:
    made = deconvolve(stack, params=Deconvolve(**FINE, offset=200))

    fine = made.deconvolved
    assert fine.shape == (5, 80, 64)
    assert fine.dtype == np.float32
    assert voxel_um(fine) == (1.0, 0.25, 0.25)
    np.testing.assert_array_equal(fine.y, np.arange(80) / 4)
    np.testing.assert_array_equal(fine.z, stack.z)
    assert fine.x.attrs == stack.x.attrs == {"units": "um"}
    light = np.maximum(stack.values.astype(float) - 200, 0)
    assert fine.values.mean() == pytest.approx(light.mean(), rel=0.02)


@pytest.mark.usefixtures("plain")
def test_it_does_what_the_functions_do_on_small_pixels(stack: xr.DataArray) -> None:
    made = deconvolve(stack, params=SHARP)

    fine = np.stack([oversample(plane, "fourier") for plane in stack.values])
    denoised = denoise_sparse(fine, SHARP.sparse, headroom=4.0)
    deblur = Deblur(gaussian_psf(1.0, pixel_um=0.25), iterations=2)
    scale = denoised.scale[:, None, None]
    assert made.denoised is not None
    # The stage's percentile comes from a histogram, exact to 1e-4.
    np.testing.assert_allclose(made.denoised.values, denoised.image, rtol=1e-3, atol=0.1)
    np.testing.assert_allclose(
        made.deconvolved.values, deblur(denoised.image / scale) * scale, rtol=2e-3, atol=0.5
    )


def test_the_kernel_is_twice_as_wide_in_pixels(stack: xr.DataArray) -> None:
    def width(params: Deconvolve) -> float:
        deblur = module._deblur(stack, params)
        assert deblur is not None
        line = deblur.psf.sum(axis=0)
        places = np.arange(line.size) - line.size // 2
        return float(np.sqrt(np.sum(line * places**2) / line.sum()))

    fine, coarse = (
        width(SHARP.model_copy(update={"oversampling": k})) for k in ("fourier", "none")
    )
    assert fine / coarse == pytest.approx(2, rel=0.01)  # tails are cut at whole pixels


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize(("kind", "first"), [("zeros", -0.125), ("fourier", 0.125)])
def test_the_original_procedure_oversamples_too(
    stack: xr.DataArray, kind: Oversampling, first: float
) -> None:
    params = original(kind)

    made = deconvolve(stack, params=params).deconvolved

    light = np.maximum(stack.values.astype(np.float32) - 190, 0)
    deblur = Deblur(gaussian_psf(1.0, pixel_um=0.25, half_width_px=8), iterations=2)
    expected = deconvolve_original(light, params.sparse, deblur, oversampling=kind)
    np.testing.assert_array_equal(made.values, expected)
    # Zeros stand before their sample, and the median moves the image by half a pixel.
    np.testing.assert_array_equal(made.x, first + np.arange(64) / 4)
    assert voxel_um(made) == (1.0, 0.25, 0.25)


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("kind", ["zeros", "fourier"])
def test_a_spot_of_the_original_procedure_stays_where_it_was(kind: Oversampling) -> None:
    z, y, x = np.ogrid[:3, :21, :25]
    light = 1000 * np.exp(-((z - 1) ** 2 + (y - 10) ** 2 / 4 + (x - 12) ** 2 / 4) / 2)
    spot = volume(light.astype(np.float32), voxel_um=VOXEL_UM)
    params = original(kind).model_copy(update={"offset": 0.0, "sparsity": 0.0})

    made = deconvolve(spot, params=params).deconvolved

    assert middle(made.values, made.x.values) == pytest.approx(6.0, abs=0.02)  # micrometres


@pytest.mark.usefixtures("plain")
def test_the_background_goes_before_the_small_pixels(stack: xr.DataArray) -> None:
    haze = stack.copy(data=(stack.values + np.linspace(0, 800, 32)).astype(np.uint16))
    params = Deconvolve(**FINE, offset=200, background="weak-low")

    kept, removed = (
        deconvolve(haze, params=params.model_copy(update={"background": b})).deconvolved
        for b in ("none", "weak-low")
    )

    dark = np.repeat(np.repeat(stack.values < 300, 2, axis=1), 2, axis=2)
    assert removed.values[dark].mean() < 0.75 * kept.values[dark].mean()


@pytest.mark.usefixtures("plain")
def test_blocks_and_workers_change_nothing(
    stack: xr.DataArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = deconvolve(stack, params=SHARP, workspace=Workspace(executor="serial"))
    monkeypatch.setattr("clgkit.deconvolution.choose_core", lambda *_, **__: (3, 20, 33))
    monkeypatch.setattr("clgkit.workspace.BLOCK_MB", 0.01)
    other = deconvolve(stack, params=SHARP, workspace=Workspace(workers=2))

    difference = np.abs(one.deconvolved.values - other.deconvolved.values).max()
    # Ten rounds reach beyond no halo; sharpening magnifies rounding.
    assert difference <= 2e-6 * one.deconvolved.values.max()


class KilledError(Exception):
    """Stands for a killed process."""


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("stop_after", [2, 6])
def test_an_interrupted_run_continues_to_the_same_bytes(
    stack: xr.DataArray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int
) -> None:
    from clgkit.pipeline.store import Store

    monkeypatch.setattr("clgkit.deconvolution.choose_core", lambda *_, **__: (5, 40, 40))
    monkeypatch.setattr("clgkit.workspace.BLOCK_MB", 0.01)
    whole = deconvolve(stack, params=SHARP)
    done: list[str] = []

    def watch(label: str, count: int, total: int) -> None:
        done.extend([label] if count else [])
        if len(done) == stop_after and total:
            raise KilledError

    def run(progress: Any) -> Deconvolved:
        partial = Store(tmp_path).partial("deconvolve", "key")
        workspace = Workspace(executor="serial", progress=progress, shelf=partial)
        return deconvolve(stack, params=SHARP, workspace=workspace)

    with pytest.raises(KilledError):
        run(watch)
    kept: dict[str, int] = {}
    resumed = run(lambda label, count, _total: kept.setdefault(label, count))

    assert kept["oversampled"] == min(stop_after, 5)  # slices; those of before were kept
    assert resumed.deconvolved.values.tobytes() == whole.deconvolved.values.tobytes()


def test_the_original_procedure_asks_for_four_times_the_memory(stack: xr.DataArray) -> None:
    with pytest.raises(ResourceError, match="holds the whole stack in memory: about 3 MB"):
        deconvolve(stack, params=original("fourier"), workspace=Workspace(memory_mb=1))


def test_tiles_are_chosen_for_the_larger_stack(
    stack: xr.DataArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def choose(shape: tuple[int, int, int], **_: float) -> tuple[int, int, int]:
        seen.append(shape)
        return shape

    monkeypatch.setattr("clgkit.deconvolution.choose_core", choose)
    deconvolve(stack, params=Deconvolve(**FINE))

    assert seen == [(5, 80, 64)]


@pytest.mark.parametrize("params", [Deconvolve(**FINE), original("zeros")])
def test_a_constant_stack_keeps_its_value_on_small_pixels(params: Deconvolve) -> None:
    flat = volume(np.full((3, 8, 9), 197, np.uint16), voxel_um=VOXEL_UM)

    with pytest.warns(UserWarning, match="every voxel of the stack is 7 above the offset"):
        made = deconvolve(flat, params=params.model_copy(update={"offset": 190.0}))

    np.testing.assert_array_equal(made.deconvolved.values, np.full((3, 16, 18), 7, np.float32))
    assert voxel_um(made.deconvolved) == (1.0, 0.25, 0.25)


def test_the_summary_compares_on_the_pixels_of_the_stack() -> None:
    stack = volume(nuclei((12, 64, 64), photons=300), voxel_um=VOXEL_UM)

    plain, fine = (
        deconvolve(stack, params=Deconvolve(iterations=2, oversampling=kind)).summary
        for kind in ("none", "fourier")
    )

    # Two rounds change next to nothing, so both see the same spots with the same brightness.
    assert fine["n_spots"] == plain["n_spots"] >= 20
    assert fine["gain_of_bright_spots"] == pytest.approx(plain["gain_of_bright_spots"], abs=0.02)
    assert fine["noise_sd"] == plain["noise_sd"]
    assert fine["noise_spots_before"] == plain["noise_spots_before"]
    assert fine["bead_lateral_px"][0] == plain["bead_lateral_px"][0]
    # What the rounds add to a bead is half as wide in these pixels.
    assert 3.0 < fine["bead_lateral_px"][1] < plain["bead_lateral_px"][1]


def test_beads_are_measured_in_the_pixels_of_the_stack() -> None:
    method = SparseHessian(iterations=1)
    deblur = Deblur(gaussian_psf(6.0, pixel_um=1.0))

    made = amplitude_response(method, deblur, amplitudes=(1.0,), oversampling="fourier")
    plain = amplitude_response(method, amplitudes=(1.0,))

    assert made.denoised[0] == pytest.approx(1, abs=1e-4)  # a bead is smoother than a pixel
    # Lines between samples make a bead 0.06 px too wide on large pixels, 0.01 on small ones.
    assert made.lateral_px[1] == pytest.approx(3.0, abs=0.02)
    assert made.axial_px[1] == pytest.approx(plain.axial_px[1], abs=1e-3)
    assert made.lateral_px[2] < 0.6 * made.lateral_px[1]


def test_an_empty_field_is_looked_at_on_its_own_pixels() -> None:
    smooth = SparseHessian(iterations=30, sparsity=0, fidelity=5.0)
    field: dict[str, Any] = {"level": 100.0, "noise": 10.0, "scale": 2000.0, "shape": (4, 24, 24)}

    zeros, fourier = (
        check_on_noise(smooth, oversampling=kind, **field) for kind in ("zeros", "fourier")
    )

    assert zeros.before == fourier.before
    assert zeros.grain[0] == fourier.grain[0] == pytest.approx(0.1, rel=0.05)
    assert zeros.grain[2] < zeros.grain[0]  # the comb is no grain
    assert fourier.grain[2] < fourier.grain[0]


@pytest.mark.parametrize("compat", ["none", "published"])
def test_zeros_are_for_the_original_procedure(compat: str) -> None:
    with pytest.raises(SettingsError, match='a comb, which only compat "original" takes away'):
        Deconvolve.parse({"oversampling": "zeros", "compat": compat, "fwhm_um": 1}, section="")


def test_a_run_hears_why_it_cannot_have_small_pixels() -> None:
    assert Deconvolve().not_in_a_run is None
    sentence = Deconvolve(**FINE).not_in_a_run
    assert sentence is not None
    assert 'oversampling is "fourier"' in sentence
    assert 'set it to "none", or run `clg deconvolve`' in sentence


def test_the_command_writes_the_small_pixels(clg: Clg, tmp_path: Path) -> None:
    path, out = tmp_path / "stack.tif", tmp_path / "fine.tif"
    tifffile.imwrite(path, nuclei((3, 30, 40)).astype(np.uint16), photometric="minisblack")
    options = ("--axes", "zyx", "--voxel-um", "1,0.5,0.5", "--iterations", "2")

    code, told, err = clg("deconvolve", path, out, *options, "--oversampling", "fourier")

    assert code == 0, err
    assert f"Wrote {out}" in told
    assert tifffile.imread(out).shape == (3, 60, 80)
    from clgkit import io

    assert voxel_um(io.read_volume(out)) == pytest.approx((1.0, 0.25, 0.25))


def test_a_bead_is_resampled_to_the_small_pixels(clg: Clg, tmp_path: Path) -> None:
    path, bead = tmp_path / "stack.tif", tmp_path / "bead.tif"
    tifffile.imwrite(path, nuclei((3, 40, 40)).astype(np.uint16), photometric="minisblack")
    y, x = np.ogrid[-9:10, -9:10]
    light = 100 + 1000 * np.exp(-(y**2 + x**2) / 4)
    tifffile.imwrite(bead, light.astype(np.uint16)[None], photometric="minisblack")
    words = (
        "--axes", "zyx", "--iterations", "1", "--method", "richardson_lucy", "--psf", "measured",
        "--psf-file", bead, "--psf-axes", "zyx", "--oversampling", "fourier",
    )  # fmt: skip
    made = []
    for name, sizes in (
        ("unknown", ()),
        ("known", ("--voxel-um", "1,0.5,0.5", "--psf-voxel-um", "1,0.5,0.5")),
        ("coarser", ("--voxel-um", "1,0.5,0.5", "--psf-voxel-um", "1,1,1")),
    ):
        out = tmp_path / f"{name}.tif"
        code, _, err = clg("deconvolve", path, out, *words, *sizes)
        assert code == 0, err
        made.append(tifffile.imread(out))

    np.testing.assert_array_equal(made[0], made[1])
    assert made[2].std() > made[1].std()  # a wider bead sharpens more
