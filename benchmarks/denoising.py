"""Local low rank beside a Gaussian filter: error, correlations, peaks, time and memory.

The simulated plane has 128 x 128 pixels, 400 frames, 60 cells, neuropil and five modules, at 2 Hz
with a decay of 2 s and read noise of 0.5 photons.  Real recordings lie in ``../shared/data`` (or
``$CLGKIT_RECORDINGS``); without them their figures are rows that are not met.
"""

import functools
import math
import os
import tempfile
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from benchmarks._dim_plane import make_dim_plane
from benchmarks._dim_scores import TOY, scores
from benchmarks.harness import Figure, Size, measure, peak_mb, peer_version

Float32: TypeAlias = npt.NDArray[np.float32]

PEER = "Gaussian (0.7, 1, 1)"
MEAN = "mean image"
CROP_PX = 128
FMI = "fmi2p_frames0001-0400.tif"
KENYON = "kenyon2p_cycle1.tif"
ALLEN = "allen_movie_100x100x100.h5"
RAW_DB = {6: 26.1, 2: 21.0, 0.7: 15.7}
RAW_PIXEL_R = 0.333


def figure_scene(size: Size) -> Figure:
    """Whether the raw plane is the one that targets were set on, at three levels of light."""
    off = max(abs(scores(p, size)["raw"].psnr_db - wanted) for p, wanted in RAW_DB.items())
    return Figure("PSNR of the raw plane less the reference", "dB", off, target=0.2)


def figure_scene_pixels(size: Size) -> Figure:
    """Whether its pixels change as much beside their noise as those of the reference."""
    off = abs(scores(6, size)["raw"].pixel_r - RAW_PIXEL_R)
    return Figure("pixel r of the raw plane less the reference", "1", off, target=0.01)


def _gain(photons: float, size: Size, target: float) -> Figure:
    made = scores(photons, size)
    gain = made["low rank"].psnr_db - made["gaussian"].psnr_db
    name = f"PSNR above {PEER}, {photons:g} photons"
    return Figure(name, "dB", gain, target=target, better="higher")


def figure_psnr_6(size: Size) -> Figure:
    """Six photons per pixel."""
    return _gain(6, size, 10)


def figure_psnr_2(size: Size) -> Figure:
    """Two photons per pixel."""
    return _gain(2, size, 6)


def figure_psnr_07(size: Size) -> Figure:
    """Seven photons in ten pixels."""
    return _gain(0.7, size, 3)


def figure_bias(size: Size) -> Figure:
    """Mean error of correlations between rois."""
    bias = abs(scores(6, size)["low rank"].bias)
    return Figure("mean correlation error, 6 photons", "1", bias, target=0.005)


def figure_rms(size: Size) -> Figure:
    """Error of correlations between rois."""
    rms = scores(6, size)["low rank"].rms
    return Figure("rms correlation error, 6 photons", "1", rms, target=0.017)


def _beside_raw(photons: float, size: Size) -> Figure:
    made = scores(photons, size)
    name = f"rms correlation error over raw's, {photons:g} photons"
    return Figure(name, "1", made["low rank"].rms / made["raw"].rms, target=1.1)


def figure_rms_6(size: Size) -> Figure:
    """Never much larger than that of the raw movie."""
    return _beside_raw(6, size)


def figure_rms_2(size: Size) -> Figure:
    """Never much larger than that of the raw movie."""
    return _beside_raw(2, size)


def figure_peak_6(size: Size) -> Figure:
    """Height of the largest transients."""
    peak = scores(6, size)["low rank"].peak
    return Figure("peak, 6 photons", "1", peak, target=0.98, better="higher")


def figure_peak_2(size: Size) -> Figure:
    """Height of the largest transients."""
    peak = scores(2, size)["low rank"].peak
    return Figure("peak, 2 photons", "1", peak, target=0.92, better="higher")


def _agreement(photons: float, size: Size) -> Figure:
    from clgkit.denoising import denoise_lowrank, judge, measure_noise  # noqa: PLC0415  (numba)

    plane = make_dim_plane(photons=photons, **(TOY if size == "toy" else {}))
    noise = measure_noise(plane.noisy)
    seen: list[Float32] = []

    def denoise(frames: Float32) -> Float32:
        seen.append(denoise_lowrank(frames).denoised)
        return seen[-1]

    told = judge(plane.noisy, noise, denoise).heldout_excess
    true = float(np.mean(((seen[1] - plane.truth) / noise.sigma) ** 2))
    name = f"held-out error over the true error, {photons:g} photons"
    return Figure(name, "1", max(told / true, true / told), target=1.1)


def figure_heldout(size: Size) -> Figure:
    """Held-out error without the truth over the true error, whichever is larger."""
    return _agreement(6, size)


def figure_heldout_2(size: Size) -> Figure:
    """Two photons per pixel."""
    return _agreement(2, size)


def _large(size: Size) -> npt.NDArray[np.uint16]:
    """Return a plane of 16 simulated ones side by side, each with noise of its own."""
    side, n_frames, n_tiles = (128, 599, 4) if size == "full" else (32, 60, 2)
    plane = make_dim_plane(photons=3, side=side, n_frames=n_frames, n_cells=side * side // 300)
    rng = np.random.default_rng(1)
    made = np.empty((n_frames, n_tiles * side, n_tiles * side), np.uint16)
    for frame, truth in zip(made, plane.truth, strict=True):
        frame[:] = rng.poisson(np.tile(truth, (n_tiles, n_tiles)))
    return made


def figure_speed(size: Size) -> Figure:
    """Array to array: noise, components, frames."""
    from clgkit.denoising import denoise_lowrank  # noqa: PLC0415  (numba)

    frames = _large(size)
    (ours,) = measure(lambda: denoise_lowrank(frames), repeat=1, warm_up=size == "toy")
    return Figure("low rank, 512² x 599", "CPU s", ours, target=60)


def _run_stage(folder: str) -> None:
    """Denoise the movie of a folder, from disk to disk."""
    from clgkit import io  # noqa: PLC0415  (belongs to the child)
    from clgkit.pipeline.store import Partial  # noqa: PLC0415
    from clgkit.stages.denoise import denoise  # noqa: PLC0415
    from clgkit.workspace import Workspace  # noqa: PLC0415

    image = io.open_image(Path(folder) / "movie.npy", axes="tyx")
    movie = io.as_movie(image, rate_hz=2.0, voxel_um=(1.0, 1.0, 1.0))
    shelf = Partial(Path(folder), "denoise", "key")
    denoise(movie, workspace=Workspace(executor="serial", memory_mb=400, shelf=shelf))


def figure_memory(size: Size) -> Figure:
    """Peak of a process that denoises a movie on the disk."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "movie.npy", _large(size))
        peak = peak_mb(functools.partial(_run_stage, folder))
    return Figure("low rank, 512² x 599, memory", "MB", peak, target=600)


def figure_quality_cost(size: Size) -> Figure:
    """Share of the stage that the measures of quality take."""
    from clgkit import data  # noqa: PLC0415  (xarray)
    from clgkit.stages import _denoise_planes, _denoise_quality  # noqa: PLC0415
    from clgkit.stages.denoise import Denoise, recipe_of  # noqa: PLC0415
    from clgkit.workspace import Workspace  # noqa: PLC0415

    frames = _large(size)
    n_frames = len(frames)
    movie = data.movie(frames[:, None], rate_hz=2.0, voxel_um=(1.0, 1.0, 1.0))
    bad = movie[:, :, 0, 0].copy(data=np.zeros((n_frames, 1)))
    recipe, serial = recipe_of(Denoise(), "cpu"), Workspace(executor="serial")
    looked = _denoise_planes.look(movie, bad, recipe, serial)
    found = _denoise_planes.find(movie, bad, looked, recipe, serial)
    bases = _denoise_planes.Bases(looked.mean, looked.sigma, found)

    def work() -> None:
        _denoise_planes.look(movie, bad, recipe, serial)
        _denoise_planes.find(movie, bad, looked, recipe, serial)
        _denoise_planes.rebuild(movie, bad, bases, None, blank=False, workspace=serial)

    def judge() -> None:
        _denoise_quality.judge_planes(
            movie, bad, looked, found.n_components, recipe=recipe, workspace=serial
        )

    worked, judged = measure(work, judge, repeat=1)
    return Figure("quality over the rest of the stage", "1", judged / worked, target=0.15)


def _recording(name: str) -> Float32 | None:
    """Return a crop of a recording, registered where it moves; None if it is not at hand."""
    from clgkit import io  # noqa: PLC0415  (loads the readers)

    folder = Path(__file__).parents[2] / "shared" / "data"
    path = Path(os.environ.get("CLGKIT_RECORDINGS", folder)) / "movies" / name
    if not path.exists():
        return None
    image = io.open_image(path, axes="tyx", dataset="data" if path.suffix == ".h5" else None)
    movie = io.as_movie(image, rate_hz=2.0, voxel_um=(1.0, 1.0, 1.0))
    y, x = (max(0, (movie.sizes[dim] - CROP_PX) // 2) for dim in ("y", "x"))
    if name.startswith("kenyon"):
        from clgkit.stages.correct_motion import correct_motion  # noqa: PLC0415

        movie = correct_motion(movie).corrected
    return np.asarray(movie.values[:, 0, y : y + CROP_PX, x : x + CROP_PX])


@functools.cache
def _errors(name: str, size: Size) -> dict[str, float] | None:
    """Return the held-out error of three methods on a recording; None if it is not at hand."""
    from clgkit.denoising import (  # noqa: PLC0415  (numba)
        denoise_gaussian,
        denoise_lowrank,
        judge,
        measure_noise,
    )

    def low_rank(frames: Float32) -> Float32:
        return denoise_lowrank(frames).denoised

    def mean_image(frames: Float32) -> Float32:
        return np.repeat(frames.mean(axis=0, keepdims=True), len(frames), axis=0)

    frames = make_dim_plane(photons=6, **TOY).noisy if size == "toy" else _recording(name)
    if frames is None:
        return None
    noise = measure_noise(frames)
    methods = {"low rank": low_rank, PEER: denoise_gaussian, MEAN: mean_image}
    return {
        method: judge(frames, noise, denoise, reference=low_rank).heldout_excess
        for method, denoise in methods.items()
    }


def _real(name: str, size: Size, peer: str = PEER) -> Figure:
    """Held-out error of the low rank beside that of a peer."""
    errors = _errors(name, size)
    title = f"held-out error, {name.partition('_')[0]}"
    if errors is None:
        return Figure(title, "noise variance", math.nan, peer=peer)
    told = f"{peer}, {peer_version('scipy')}" if peer == PEER else peer
    return Figure(
        title, "noise variance", errors["low rank"], peer=told, peer_value=errors[peer], target=1
    )


def figure_fmi2p(size: Size) -> Figure:
    """Two-photon recording of 400 frames, the middle 128 x 128 pixels."""
    return _real(FMI, size)


def figure_fmi2p_mean(size: Size) -> Figure:
    """Beside the mean image, which has no activity at all."""
    return _real(FMI, size, MEAN)


def figure_kenyon2p(size: Size) -> Figure:
    """Two-photon recording of 53 frames, registered."""
    return _real(KENYON, size)


def figure_kenyon2p_mean(size: Size) -> Figure:
    """Beside the mean image."""
    return _real(KENYON, size, MEAN)


def figure_allen(size: Size) -> Figure:
    """Two-photon recording of 100 frames and 100 x 100 pixels."""
    return _real(ALLEN, size)


def figure_allen_mean(size: Size) -> Figure:
    """Beside the mean image."""
    return _real(ALLEN, size, MEAN)
