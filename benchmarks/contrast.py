"""Local contrast normalization beside the original's way: two whole convolutions."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.signal import convolve2d

from benchmarks.harness import Figure, Size, measure, peer_version
from clgkit.contrast import normalize_contrast

Plane: TypeAlias = npt.NDArray[np.uint16]

RADIUS_PX = 10
FLOOR = 5e-4


def make_plane(size: Size) -> Plane:
    """Return a plane of blurred spots and shot noise, 16 bit."""
    side = 1024 if size == "full" else 64
    rng = np.random.default_rng(0)
    spots = (rng.random((side, side)) < 0.004) * 3000.0
    light = convolve2d(spots, np.ones((5, 5)), mode="same", boundary="symm") + 200
    return np.asarray(rng.poisson(light).clip(0, 65535), np.uint16)


def normalize_by_convolution(plane: Plane) -> npt.NDArray[np.float64]:
    """Follow the formula with the mean and the mean square as float64 convolutions."""
    pixels = plane.astype(np.float64)
    scaled = (pixels - pixels.min()) / (pixels.max() - pixels.min())
    side = 2 * RADIUS_PX + 1
    box = np.full((side, side), 1 / side**2)
    mean = convolve2d(scaled, box, mode="same", boundary="symm")
    square = convolve2d(scaled**2, box, mode="same", boundary="symm")
    variance = np.maximum(square - mean**2, 0)
    normalized: npt.NDArray[np.float64] = (scaled - mean) / np.sqrt(variance + FLOOR)
    return normalized


def figure_speed(size: Size) -> Figure:
    """One plane of 1024 x 1024, radius 10."""
    plane = make_plane(size)
    ours, peer = measure(
        lambda: normalize_contrast(plane, radius_px=RADIUS_PX, floor=FLOOR),
        lambda: normalize_by_convolution(plane),
    )
    name = f"original's convolutions, {peer_version('scipy')}"
    return Figure("normalize 1024²", "CPU s", ours, peer=name, peer_value=peer, target=150)


def figure_difference(size: Size) -> Figure:
    """Largest difference to the convolutions, for the same plane."""
    plane = make_plane(size)
    ours = normalize_contrast(plane, radius_px=RADIUS_PX, floor=FLOOR)
    difference = float(np.abs(ours - normalize_by_convolution(plane)).max())
    return Figure("difference to the original", "1", difference, target=3e-7)


def figure_radius(size: Size) -> Figure:
    """Time at radius 50 over time at radius 10: running sums should not care."""
    plane = make_plane(size)
    small, large = measure(
        lambda: normalize_contrast(plane, radius_px=10),
        lambda: normalize_contrast(plane, radius_px=50),
    )
    return Figure("time at radius 50 / radius 10", "1", large / small, target=1.2)
