"""Whether nuclei are found better after deconvolution, on simulated stacks of 60 and 5 photons.

Two stacks of 300 nuclei go through the stages as in a run: ``deconvolve``, then ``segment_nuclei``,
which has the raw stack too.  The classical method reads the result, and the noise of both.  The
network of a run reads the raw stack whatever there is; the rows of the network hand over the
result alone.  The peer of a row is the raw stack.  A row whose target is 0 times is there to
compare settings.
"""

import warnings
from functools import cache
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from benchmarks.harness import Figure, Size
from clgkit import data
from clgkit.segmentation.score import match_labels, score_labels
from clgkit.simulate import Fish, preset
from clgkit.stages.deconvolve import Deconvolve, deconvolve
from clgkit.stages.segment_nuclei import SegmentNuclei, segment_nuclei

Method: TypeAlias = Literal["classical", "network"]
METHODS: tuple[Method, ...] = ("classical", "network")

BRIGHT, DIM = 60.0, 5.0
"""Photons of a median nucleus, per voxel."""
SEEDS = (3, 4)
SMOOTHING_PX = (0.6, 1.0, 1.0)
WAYS: dict[str, dict[str, Any]] = {
    "default": {},
    "headroom 1": {"headroom": 1.0},
    "headroom 2": {"headroom": 2.0},
    "sparsity 6, headroom 1": {"sparsity": 6.0, "headroom": 1.0},
    "default, then RL 8": {"method": "richardson_lucy", "fwhm_um": 0.94},  # the scene's own blur
}


class Scene(NamedTuple):
    """A stack, its nuclei, and fifths of them by brightness."""

    raw: data.Volume
    truth: npt.NDArray[np.uint32]
    fifths: tuple[npt.NDArray[np.uint32], ...]
    offset: float
    nuclei: dict[str, float]


@cache
def scene(size: Size, seed: int, photons: float) -> Scene:
    """Return 48 x 192 x 192 voxels with 300 nuclei, the same ones for all photons."""
    whole: dict[str, Any] = {"shape_px": (48, 192, 192), "n_neurons": 300, "n_planes": 5}
    small: dict[str, Any] = {"shape_px": (20, 64, 64), "n_neurons": 12, "n_planes": 2}
    name, sizes = ("demo", whole) if size == "full" else ("tiny", small)
    fish = Fish(preset(name, seed=seed, n_frames=4, nucleus_photons=photons, **sizes))
    made = fish.settings
    raw = fish.structure_block(0, made.shape_px[0])
    truth = fish.labels_block(0, made.shape_px[0])
    if photons == BRIGHT:
        ids = np.unique(truth)[1:]
        light = ndimage.mean(raw, truth, ids)
        order = np.asarray(ids[np.argsort(light, kind="stable")], np.uint32)
        fifths = tuple(np.array_split(order, 5))
    else:
        fifths = scene(size, seed, BRIGHT).fifths
    stack = data.volume(raw, voxel_um=made.voxel_um)
    nuclei = {"diameter_um": made.nucleus_diameter_um, "elongation": made.axial_stretch}
    return Scene(stack, truth, fifths, made.offset, nuclei)


def treated(size: Size, seen: Scene, way: str) -> data.Volume:
    """Return the stack as one of the ways leaves it."""
    if way == "raw":
        return seen.raw
    if way == "Gaussian":
        light = seen.raw.values.astype(np.float32)
        return seen.raw.copy(data=ndimage.gaussian_filter(light, SMOOTHING_PX))
    rounds = {} if size == "full" else {"iterations": 5}
    params = Deconvolve.parse({"offset": seen.offset, **WAYS[way], **rounds}, section="")
    return deconvolve(seen.raw, params=params).deconvolved


class Found(NamedTuple):
    """What a method finds in a stack."""

    f1: float
    """Masks overlapping by half or more."""
    shares: tuple[float, ...]
    """Share that is found of each fifth of the nuclei, the dimmest first."""


@cache
def found(size: Size, seed: int, photons: float, way: str) -> dict[Method, Found]:
    """Return what both methods find after one of the ways."""
    seen = scene(size, seed, photons)
    scores: dict[Method, Found] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that dim nuclei are lost, or all
        stack = treated(size, seen, way)
        for method in METHODS:
            params = SegmentNuclei.parse({"method": method, **seen.nuclei}, section="")
            beside = seen.raw if method == "classical" else None
            labels = segment_nuclei(stack, beside, params=params).labels.values
            hits = match_labels(seen.truth, labels).truth_ids
            shares = tuple(float(np.isin(fifth, hits).mean()) for fifth in seen.fifths)
            scores[method] = Found(score_labels(seen.truth, labels).f1, shares)
    return scores


def beside_raw(size: Size, photons: float, way: str, *, method: Method = "classical") -> Figure:
    """Return a row: mean F1 of both stacks, after one of the ways and raw."""
    ours, peer = (
        float(np.mean([found(size, seed, photons, w)[method].f1 for seed in SEEDS]))
        for w in (way, "raw")
    )
    return Figure(
        f"F1, {method}, {photons:.0f} photons: {way}",
        "1",
        ours,
        peer="raw stack",
        peer_value=peer,
        target=1.0 if way == "default" and method == "classical" else 0.0,
        better="higher",
    )


def fifths_beside_raw(size: Size, photons: float, way: str) -> Figure:
    """Return a row: share found of the dimmest fifth of nuclei; of all five in its name."""
    ours, peer = (
        np.mean([found(size, seed, photons, w)["classical"].shares for seed in SEEDS], axis=0)
        for w in (way, "raw")
    )
    told = "; ".join(
        f"{name} {', '.join(f'{share:.3f}' for share in shares)}"
        for name, shares in (("all fifths", ours), ("raw", peer))
    )
    return Figure(
        f"dimmest fifth found, classical, {photons:.0f} photons: {way} ({told})",
        "1",
        float(ours[0]),
        peer="raw stack",
        peer_value=float(peer[0]),
        target=0.0,
        better="higher",
    )


def figure_default_60(size: Size) -> Figure:
    """F1 with the default settings, 60 photons."""
    return beside_raw(size, BRIGHT, "default")


def figure_default_5(size: Size) -> Figure:
    """F1 with the default settings, 5 photons."""
    return beside_raw(size, DIM, "default")


def figure_headroom_1_60(size: Size) -> Figure:
    """F1 with a scale a quarter as large, 60 photons."""
    return beside_raw(size, BRIGHT, "headroom 1")


def figure_headroom_1_5(size: Size) -> Figure:
    """F1 with a scale a quarter as large, 5 photons."""
    return beside_raw(size, DIM, "headroom 1")


def figure_headroom_2_60(size: Size) -> Figure:
    """F1 with a scale half as large, 60 photons."""
    return beside_raw(size, BRIGHT, "headroom 2")


def figure_headroom_2_5(size: Size) -> Figure:
    """F1 with a scale half as large, 5 photons."""
    return beside_raw(size, DIM, "headroom 2")


def figure_sparsity_60(size: Size) -> Figure:
    """F1 with the published weights and no sharpening, 60 photons."""
    return beside_raw(size, BRIGHT, "sparsity 6, headroom 1")


def figure_sparsity_5(size: Size) -> Figure:
    """F1 with the published weights and no sharpening, 5 photons."""
    return beside_raw(size, DIM, "sparsity 6, headroom 1")


def figure_gaussian_60(size: Size) -> Figure:
    """F1 with a Gaussian filter instead, 60 photons."""
    return beside_raw(size, BRIGHT, "Gaussian")


def figure_gaussian_5(size: Size) -> Figure:
    """F1 with a Gaussian filter instead, 5 photons."""
    return beside_raw(size, DIM, "Gaussian")


def figure_sharpened_60(size: Size) -> Figure:
    """F1 with sharpening after the default settings, 60 photons."""
    return beside_raw(size, BRIGHT, "default, then RL 8")


def figure_sharpened_5(size: Size) -> Figure:
    """F1 with sharpening after the default settings, 5 photons."""
    return beside_raw(size, DIM, "default, then RL 8")


def figure_network_default_60(size: Size) -> Figure:
    """F1 of the network on the result of the default settings, 60 photons."""
    return beside_raw(size, BRIGHT, "default", method="network")


def figure_network_default_5(size: Size) -> Figure:
    """F1 of the network on the result of the default settings, 5 photons."""
    return beside_raw(size, DIM, "default", method="network")


def figure_network_sharpened_60(size: Size) -> Figure:
    """F1 of the network on a sharpened result, 60 photons."""
    return beside_raw(size, BRIGHT, "default, then RL 8", method="network")


def figure_network_sharpened_5(size: Size) -> Figure:
    """F1 of the network on a sharpened result, 5 photons."""
    return beside_raw(size, DIM, "default, then RL 8", method="network")


def figure_dimmest_default_60(size: Size) -> Figure:
    """Nuclei found by brightness with the default settings, 60 photons."""
    return fifths_beside_raw(size, BRIGHT, "default")


def figure_dimmest_default_5(size: Size) -> Figure:
    """Nuclei found by brightness with the default settings, 5 photons."""
    return fifths_beside_raw(size, DIM, "default")


def figure_dimmest_sparsity_60(size: Size) -> Figure:
    """Nuclei found by brightness with the published weights, 60 photons."""
    return fifths_beside_raw(size, BRIGHT, "sparsity 6, headroom 1")


def figure_dimmest_sparsity_5(size: Size) -> Figure:
    """Nuclei found by brightness with the published weights, 5 photons."""
    return fifths_beside_raw(size, DIM, "sparsity 6, headroom 1")
