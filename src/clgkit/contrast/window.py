"""What a neighbourhood is: how far it reaches, and on which scale it is summed."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

BOUND = 1e5  # of a scaled pixel: brighter ones would wipe out their neighbours in the sums
EXACT = ("uint8", "uint16", "int16")
COMPILED = (*EXACT, "float32", "float64")  # other types travel as float64
WIDENED = {"int8": "int16", "float16": "float32"}


class Window(NamedTuple):
    """What the kernels must know: they sum ``(pixel - low) * gain`` over a box."""

    radius: tuple[int, int, int]
    """Along z, y, x, in pixels; 0 along z for a plane."""
    low: float
    gain: float
    floor: float
    bound: float
    """Larger magnitudes are cut."""


def make_window(
    dtype: np.dtype[Any],
    radius_px: tuple[int, int, int],
    limits: tuple[float, float],
    floor: float,
    noise_sd: float | None,
) -> Window | None:
    """Check the options and return what the kernels must know, or None if all is zero.

    Parameters
    ----------
    dtype
        Of pixels that `check_plane` has seen.
    radius_px, limits, floor, noise_sd
        Of `normalize_contrast`, the radius along z, y, x.

    Raises
    ------
    ValueError
        If an option is out of range.
    """
    if min(radius_px[1:]) < 1 or radius_px[0] < 0:
        wanted = "1 or more" if radius_px[0] == 0 else "0 or more along z, 1 or more along y and x"
        shown = radius_px if radius_px[0] else radius_px[1]
        raise ValueError(f"radius_px is {shown}, but a neighbourhood needs {wanted}.")
    name, added = ("floor", floor) if noise_sd is None else ("noise_sd", noise_sd)
    if not 0 < added < math.inf:
        raise ValueError(f"{name} is {added}, but it must be finite and above zero.")
    low, high = map(float, limits)
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"limits are ({low}, {high}), but must be finite and ascending.")
    if low == high:
        return None
    # Small integers are summed unscaled: the sums are then exact.
    exact = dtype.name in EXACT
    gain = 1.0 if exact else 1.0 / (high - low)
    if not 0 < gain < math.inf:
        raise ValueError(f"limits ({low}, {high}) are too close or too far apart to scale by.")
    bound = math.inf if exact else BOUND
    variance = floor * ((high - low) * gain) ** 2 if noise_sd is None else (noise_sd * gain) ** 2
    z, y, x = map(int, radius_px)
    return Window((z, y, x), low, gain, variance, bound)


def extremes(pixels: npt.NDArray[Any]) -> tuple[float, float]:
    """Return the darkest and the brightest pixel.

    Raises
    ------
    ValueError
        If there are NaN or infinity.
    """
    darkest, brightest = float(pixels.min()), float(pixels.max())
    if not (math.isfinite(darkest) and math.isfinite(brightest)):
        raise ValueError("The plane holds NaN or infinity: replace these pixels first.")
    return darkest, brightest


def check_plane(plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the plane as a native array of a dtype that the kernels are compiled for.

    Raises
    ------
    ValueError, TypeError
        Unless it is a plane of real numbers, not empty.
    """
    pixels = np.asarray(plane)
    if pixels.dtype.kind not in "biuf":
        raise TypeError(f"The plane is of type {pixels.dtype}, but real numbers are wanted.")
    if pixels.ndim != 2 or pixels.size == 0:
        raise ValueError(f"The plane has shape {pixels.shape}, but (Y, X) is wanted, not empty.")
    name = "uint8" if pixels.dtype.kind == "b" else pixels.dtype.name
    dtype = WIDENED.get(name, name if name in COMPILED else "float64")
    return np.ascontiguousarray(pixels, dtype=dtype)
