"""What a stage is going to take of disk and memory, from the sizes of the raw data."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from clgkit.data import voxel_um
from clgkit.workspace import BLOCK_MB, COPIES, processors

if TYPE_CHECKING:
    from clgkit.pipeline.inputs import RawInputs

BASE_MB = 250
NUCLEUS_UM3 = 6.0**2 * 10 * math.pi / 6
FILLED = 0.4
PLANES_PER_NEURON = 2
EDGE_DENSITY = 0.01
DENOISED = 32_000_000  # values of the largest tile, one per worker
DECONVOLVED = 13_500_000  # voxels of the largest tile, one per worker


class Estimate(NamedTuple):
    """Megabytes on the disk (uncompressed) and in memory (at the peak)."""

    disk_mb: float
    memory_mb: float


def estimate(stage: str, raw: RawInputs) -> Estimate:
    """Return what a stage will take at most; counts of neurons are guessed from the volume."""
    movie, stack = raw.function, raw.structure
    voxels = stack.sizes["z"] * stack.sizes["y"] * stack.sizes["x"]
    pixels = math.prod(movie.sizes.values())
    n_frames = movie.sizes["time"]
    n_neurons = int(FILLED * voxels * math.prod(voxel_um(stack)) / NUCLEUS_UM3) + 1
    traces = 4 * n_neurons * n_frames
    edges = EDGE_DENSITY * n_neurons**2 * 8
    plane = 4 * stack.sizes["y"] * stack.sizes["x"]
    frame = 4 * movie.sizes["z"] * movie.sizes["y"] * movie.sizes["x"]
    blocks = min(BLOCK_MB, 1e9) * 1e6 * COPIES * processors()
    disk, memory = {
        "deconvolve": (8 * voxels, 64 * min(voxels, DECONVOLVED) * processors()),
        "normalize_contrast": (4 * voxels, 32 * plane),
        "segment_nuclei": (7 * voxels, 170 * plane * processors()),
        "correct_motion": (4 * pixels, 8 * frame),
        "denoise": (5 * pixels, 8 * min(pixels, DENOISED) * processors()),
        "apply_motion": (4 * pixels, 8 * frame),
        "align_planes": (4 * frame, 4 * frame + 16 * 4 * plane),
        "extract_traces": (PLANES_PER_NEURON * traces + frame, 4 * frame),
        "merge_planes": (traces, PLANES_PER_NEURON * traces / max(1, n_frames) * 64),
        "compute_dff": (2 * traces, 0),
        "denoise_traces": (2 * traces, 16 * n_frames**2),
        "build_network": (edges, edges + 64 * 8 * n_neurons),
        "measure_network": (64 * n_neurons, edges),
        "dismantle": (16 * n_neurons, edges),
    }[stage]
    return Estimate(disk / 1e6, BASE_MB + min(blocks, 4 * pixels + 4 * voxels) / 1e6 + memory / 1e6)
