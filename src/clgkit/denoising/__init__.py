"""Noise out of functional movies, one plane (T, Y, X) at a time."""

from clgkit.denoising.edge import Edge, measure_edge
from clgkit.denoising.grid import Grid, grid_of
from clgkit.denoising.lowrank import (
    Basis,
    Components,
    LowRank,
    basis_of,
    denoise_lowrank,
    edge_of,
    find_components,
    project_frames,
    rebuild_frames,
    traces_of,
)
from clgkit.denoising.noise import Noise, measure_noise
from clgkit.denoising.quality import DenoisingQuality, judge
from clgkit.denoising.smoothing import denoise_gaussian, smooth_courses

__all__ = [
    "Basis",
    "Components",
    "DenoisingQuality",
    "Edge",
    "Grid",
    "LowRank",
    "Noise",
    "basis_of",
    "denoise_gaussian",
    "denoise_lowrank",
    "edge_of",
    "find_components",
    "grid_of",
    "judge",
    "measure_edge",
    "measure_noise",
    "project_frames",
    "rebuild_frames",
    "smooth_courses",
    "traces_of",
]
