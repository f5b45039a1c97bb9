"""Local contrast normalization beside the original's way: two whole convolutions."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter
from scipy.signal import convolve2d

from benchmarks.harness import Figure, Size, measure, peer_version
from clgkit.contrast import normalize_contrast, normalize_volume

Plane: TypeAlias = npt.NDArray[np.uint16]

RADIUS_PX = 10
RADIUS_ZYX_PX = (3, 10, 10)
FLOOR = 5e-4
LIMITS = (200.0, 3000.0)


def make_plane(size: Size) -> Plane:
    """Return a plane of blurred spots and shot noise, 16 bit."""
    side = 1024 if size == "full" else 64
    rng = np.random.default_rng(0)
    spots = (rng.random((side, side)) < 0.004) * 3000.0
    light = convolve2d(spots, np.ones((5, 5)), mode="same", boundary="symm") + 200
    return np.asarray(rng.poisson(light).clip(0, 65535), np.uint16)


def make_stack(size: Size) -> Plane:
    """Return 24 slices of shot noise, 16 bit."""
    side = 512 if size == "full" else 24
    rng = np.random.default_rng(1)
    return np.asarray(rng.poisson(rng.gamma(2, 300, (24, side, side))), np.uint16)


def normalize_by_box_means(stack: Plane) -> npt.NDArray[np.float64]:
    """Follow the formula with the mean and the mean square of a box, in float64."""
    scaled = (stack - LIMITS[0]) / (LIMITS[1] - LIMITS[0])
    sides = tuple(2 * radius + 1 for radius in RADIUS_ZYX_PX)
    mean = uniform_filter(scaled, sides, mode="reflect")
    variance = np.maximum(uniform_filter(scaled**2, sides, mode="reflect") - mean**2, 0)
    normalized: npt.NDArray[np.float64] = (scaled - mean) / np.sqrt(variance + FLOOR)
    return normalized


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


def figure_volume(size: Size) -> Figure:
    """Window with depth beside scipy's box means, for a stack of 24 slices."""
    stack = make_stack(size)
    ours, peer = measure(
        lambda: normalize_volume(stack, radius_px=RADIUS_ZYX_PX, limits=LIMITS),
        lambda: normalize_by_box_means(stack),
    )
    peer_name = f"uniform_filter twice, {peer_version('scipy')}"
    name = "normalize in a volume, 24 x 512²"
    return Figure(name, "CPU s", ours, peer=peer_name, peer_value=peer, target=3)


def figure_volume_difference(size: Size) -> Figure:
    """Largest difference to the box means."""
    stack = make_stack(size)
    ours = normalize_volume(stack, radius_px=RADIUS_ZYX_PX, limits=LIMITS)
    difference = float(np.abs(ours - normalize_by_box_means(stack)).max())
    return Figure("difference to box means in a volume", "1", difference, target=1e-6)


def figure_volume_radius(size: Size) -> Figure:
    """Time of a box of 21 slices over that of a box of 3."""
    stack = make_stack(size)
    thin, thick = measure(
        lambda: normalize_volume(stack, radius_px=(1, 10, 10), limits=LIMITS),
        lambda: normalize_volume(stack, radius_px=(10, 10, 10), limits=LIMITS),
    )
    return Figure("time at 21 slices / 3 slices", "1", thick / thin, target=1.2)
