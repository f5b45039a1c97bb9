"""The fish of `clg demo`, stage by stage: its nuclei, and the traces of its neurons.

*Nuclei* are found in structural stacks, by the network of the package and by its classical
method, in raw and in denoised stacks.  *Traces* are those of the true nuclei on planes that the
program corrected and aligned itself, so that only the way from movie to trace is judged.
"""

import time
import warnings
from functools import cache
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import xarray as xr

from benchmarks._fish_planes import fish_settings
from benchmarks.harness import Figure, Size
from clgkit import data
from clgkit.data import Labels, Movie, Volume
from clgkit.segmentation import Score, score_labels
from clgkit.segmentation.network_scale import estimate_diameter
from clgkit.simulate import Fish, FishSettings, preset
from clgkit.stages.align_planes import AlignPlanes, PlanesAligned, align_planes
from clgkit.stages.correct_motion import CorrectMotion, correct_motion
from clgkit.stages.deconvolve import Deconvolve, deconvolve
from clgkit.stages.extract_traces import ExtractTraces, extract_traces
from clgkit.stages.merge_planes import MergePlanes, merge_planes
from clgkit.stages.segment_nuclei import SegmentNuclei, segment_nuclei
from clgkit.workspace import Workspace

Floats: TypeAlias = npt.NDArray[np.float64]
Method: TypeAlias = Literal["network", "classical"]
Direction: TypeAlias = Literal["labels", "movie"]

SERIAL = Workspace(executor="serial")
FEW = {"shape_px": (66, 160, 160), "n_neurons": 280, "n_planes": 1, "n_frames": 2}
FEWEST = {"shape_px": (32, 96, 96), "n_neurons": 60, "n_planes": 1, "n_frames": 2}
SEEDS = (0, 1, 2)
EVEN, UNEVEN = 0.44, 0.8
"""Deviation of the logarithm of brightness between nuclei: that of the demo, and much more."""
SMALL_SHARE = 1 / 3
"""The plain mean of two planes is noisier than the larger roi alone below this share."""
MIN_AREA_PX = 4


class Found(NamedTuple):
    """What a method made of a stack."""

    score: Score
    cpu_s: float


class Pair(NamedTuple):
    """What the network finds in a stack."""

    raw: Score
    denoised: Score


class Followed(NamedTuple):
    """A movie with its motion undone, and where its planes lie."""

    fish: Fish
    corrected: Movie
    labels: Labels
    aligned: PlanesAligned


class Traced(NamedTuple):
    """Rois of the true nuclei, and what they cost."""

    rois: xr.DataArray
    cpu_s: float


def stack_of(fish: Fish) -> Volume:
    """Return the raw structural stack."""
    settings = fish.settings
    return data.volume(fish.structure_block(0, settings.shape_px[0]), voxel_um=settings.voxel_um)


def labels_of(fish: Fish) -> Labels:
    """Return the true nuclei."""
    settings = fish.settings
    return data.labels(fish.labels_block(0, settings.shape_px[0]), voxel_um=settings.voxel_um)


def segmented(stack: Volume, fish: Fish, method: Method) -> Found:
    """Find the nuclei of a stack with the diameter that the demo gives, and score them."""
    settings = fish.settings
    params = SegmentNuclei(
        method=method,
        diameter_um=settings.nucleus_diameter_um,
        elongation=settings.axial_stretch,
    )
    start = time.process_time()
    found = segment_nuclei(stack, params=params, workspace=SERIAL).labels
    cpu_s = time.process_time() - start
    return Found(score_labels(labels_of(fish).values, found.values), cpu_s)


@cache
def demo_nuclei(size: Size, method: Method) -> Found:
    """Find the nuclei of the fish of `clg demo`."""
    if size == "full":
        demo_nuclei("toy", method)  # kernels are compiled before
    fish = Fish(fish_settings(size, seed=0))
    return segmented(stack_of(fish), fish, method)


def figure_nuclei(size: Size) -> Figure:
    """F1 at half overlap, of the network and of the classical method."""
    ours, peer = (demo_nuclei(size, method).score for method in ("network", "classical"))
    name = f"demo fish: F1, {ours.n_predicted:,} of {ours.n_truth:,} nuclei"
    classical = f"classical method, {peer.n_predicted:,} nuclei"
    return Figure(name, "1", ours.f1, peer=classical, peer_value=peer.f1, better="higher")


def figure_nuclei_time(size: Size) -> Figure:
    """CPU time of the stage; the network may take twice that of the classical method."""
    ours, peer = (demo_nuclei(size, method).cpu_s for method in ("network", "classical"))
    name = "nuclei of the demo fish, 66 x 384²"
    return Figure(name, "CPU s", ours, peer="classical method", peer_value=peer, target=0.5)


@cache
def light_of(size: Size, seed: int, photons: float, brightness_log_sd: float) -> Pair:
    """Score what the network finds in a raw stack, and in the same stack denoised."""
    changes = {"nucleus_photons": photons, "brightness_log_sd": brightness_log_sd}
    settings: FishSettings = (
        preset("demo", seed=seed, **FEW, **changes)
        if size == "full"
        else preset("tiny", seed=seed, **FEWEST, **changes)
    )
    fish = Fish(settings)
    raw = stack_of(fish)
    params = Deconvolve(offset=settings.offset, iterations=120 if size == "full" else 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what the denoising thinks of dim stacks
        denoised = deconvolve(raw, params=params, workspace=SERIAL).deconvolved
    return Pair(*(segmented(stack, fish, "network").score for stack in (raw, denoised)))


def _raw(size: Size, photons: float, brightness_log_sd: float, target: float) -> Figure:
    seeds = SEEDS if size == "full" else SEEDS[:1]
    made = [light_of(size, seed, photons, brightness_log_sd) for seed in seeds]
    n_truth = sum(pair.raw.n_truth for pair in made)
    n_raw = sum(pair.raw.n_predicted for pair in made)
    n_denoised = sum(pair.denoised.n_predicted for pair in made)
    uneven = "" if brightness_log_sd == EVEN else f", brightness {brightness_log_sd}"
    name = f"raw stacks, {photons:g} photons{uneven}: F1, {n_raw} of {n_truth} nuclei"
    ours, peer = (
        float(np.mean([score.f1 for score in scores])) for scores in zip(*made, strict=True)
    )
    denoised = f"denoised stacks, {n_denoised} nuclei"
    return Figure(name, "1", ours, denoised, peer, target=target, better="higher")


def figure_raw_bright(size: Size) -> Figure:
    """Read the raw stack or the denoised one, at the demo's 60 photons in a nucleus."""
    return _raw(size, 60.0, EVEN, 0.99)


def figure_raw(size: Size) -> Figure:
    """Compare them at twelve photons."""
    return _raw(size, 12.0, EVEN, 0.99)


def figure_raw_dim(size: Size) -> Figure:
    """Compare them at three."""
    return _raw(size, 3.0, EVEN, 1.0)


def figure_raw_uneven(size: Size) -> Figure:
    """Compare them at six, where nuclei are of very different brightness."""
    return _raw(size, 6.0, UNEVEN, 0.98)


def figure_diameter(size: Size) -> Figure:
    """Estimate the diameter of nuclei of 5.2 um, three fish; the one that is most wrong."""
    found = []
    for seed in SEEDS if size == "full" else SEEDS[:1]:
        fish = Fish(fish_settings(size, seed=seed))
        settings = fish.settings
        middle = stack_of(fish).values
        made = estimate_diameter(
            middle, voxel_um=settings.voxel_um, elongation=settings.axial_stretch
        )
        found.append(made.diameter_um[1] - settings.nucleus_diameter_um)
    said = f"{5.2 + min(found):.1f} to {5.2 + max(found):.1f}"
    error = max(abs(one) for one in found)
    return Figure(f"diameter of nuclei of 5.2 um, {said}", "um off", error, target=0.8)


@cache
def followed(size: Size) -> Followed:
    """Undo the motion of the demo's movie, and find its planes."""
    fish = Fish(fish_settings(size, seed=0))
    settings = fish.settings
    frames = [fish.movie_block(p, 0, settings.n_frames) for p in range(settings.n_planes)]
    z, y, x = settings.voxel_um
    pitch = float(np.diff(fish.slice_of_plane).mean()) * z
    movie = data.movie(
        np.stack(frames, axis=1), rate_hz=settings.rate_hz, voxel_um=(pitch, 2 * y, 2 * x)
    )
    moved = correct_motion(
        movie,
        params=CorrectMotion(template_frames=min(100, settings.n_frames)),
        workspace=SERIAL,
    )
    aligned = align_planes(
        moved.template,
        stack_of(fish),
        params=AlignPlanes(nucleus_um=settings.nucleus_diameter_um),
        workspace=SERIAL,
    )
    return Followed(fish, moved.corrected, labels_of(fish), aligned)


@cache
def traced(size: Size, direction: Direction) -> Traced:
    """Extract the rois: labels come to the movie, or the movie comes to the labels."""
    if size == "full":
        traced("toy", direction)  # kernels are compiled before
    seen = followed(size)
    start = time.process_time()
    made = extract_traces(
        seen.corrected,
        seen.labels,
        seen.aligned.planes,
        seen.aligned.maps,
        seen.aligned.residual,
        params=ExtractTraces(direction=direction),
        workspace=SERIAL,
    )
    return Traced(made.rois, time.process_time() - start)


def unlike(size: Size, rois: xr.DataArray, weights: Literal["area", "mean"]) -> xr.DataArray:
    """Return by how much the correlation of every neuron with its true trace falls short of 1."""
    seen = followed(size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of small rois
        params = MergePlanes(weights=weights, min_area_px=MIN_AREA_PX)
        merged = merge_planes(rois, seen.labels, params, workspace=SERIAL).fluorescence
    nuclei = merged.coords["nucleus"].values
    true = seen.fish.fluorescence[nuclei - 1]
    short = np.full(len(nuclei), np.nan)
    for row, (ours, wanted) in enumerate(zip(merged.values, true, strict=True)):
        good = np.isfinite(ours)
        if good.sum() > 2 and np.ptp(wanted[good]) > 0:
            short[row] = 1 - np.corrcoef(ours[good], wanted[good])[0, 1]
    return xr.DataArray(short, dims=("neuron",), coords={"nucleus": ("neuron", nuclei)})


def figure_traces(size: Size) -> Figure:
    """Correlation of traces with the truth, by labels and by the movie brought to the stack."""
    ours, peer = (
        1 - float(np.nanmedian(unlike(size, traced(size, direction).rois, "area")))
        for direction in ("labels", "movie")
    )
    name = "labels come to the movie: median r with the truth"
    other = "movie comes to the labels"
    return Figure(name, "1", ours, peer=other, peer_value=peer, target=0.99, better="higher")


def figure_traces_time(size: Size) -> Figure:
    """CPU time of both ways."""
    ours, peer = (traced(size, direction).cpu_s for direction in ("labels", "movie"))
    name = "labels come to the movie, 9 planes of 192², 400 frames"
    other = "movie comes to the labels"
    return Figure(name, "CPU s", ours, peer=other, peer_value=peer, target=2)


def figure_merge(size: Size) -> Figure:
    """Pool pixels, or average planes, where the smallest roi has less than a third of the largest.

    The measure is 1 - r, most of which is noise: half as much is half the variance of the noise.
    """
    rois = traced(size, "labels").rois
    area, nucleus = rois.coords["area_px"].values, rois.coords["nucleus"].values
    kept = area > MIN_AREA_PX
    largest, smallest = ({}, {})  # type: tuple[dict[int, int], dict[int, int]]
    for name, pixels in zip(nucleus[kept].tolist(), area[kept].tolist(), strict=True):
        largest[name] = max(largest.get(name, 0), pixels)
        smallest[name] = min(smallest.get(name, pixels), pixels)
    uneven = [name for name in largest if smallest[name] < SMALL_SHARE * largest[name]]
    ours, peer = (
        float(np.nanmedian(short.values[np.isin(short.coords["nucleus"].values, uneven)]))
        for short in (unlike(size, rois, weights) for weights in ("area", "mean"))
    )
    name = f"pooled pixels, {len(uneven)} neurons with a small roi: 1 - r"
    return Figure(name, "1", ours, peer="mean of the planes", peer_value=peer)
