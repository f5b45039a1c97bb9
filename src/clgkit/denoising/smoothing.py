"""Filters: a Wiener filter for time courses, and the Gaussian everybody knows."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, uniform_filter1d

from clgkit.denoising.noise import as_float

Float32: TypeAlias = npt.NDArray[np.float32]

BINS = 15
SIGMA_TYX = (0.7, 1.0, 1.0)
TRUNCATE = 4.0
LEAST_WEIGHT = 1e-9
REACH_FRAMES = 3  # of the Gaussian in time: 4 sigma, rounded


def smooth_courses(courses: Float32, usable: npt.NDArray[np.bool_] | None = None) -> Float32:
    """Return time courses without the frequencies that hold noise only (Wiener).

    Parameters
    ----------
    courses : (T, C)
        In units of the noise: its power is 1 at all frequencies.
    usable : (T,)
        False for frames that are left as they are; the others are filtered as if those were not.

    Returns
    -------
    (T, C) float32
        The gain at a frequency is max(0, 1 - 1 / power), with the power of the periodogram
        averaged over 15 bins, mirrored at its ends.
    """
    good = np.ones(len(courses), bool) if usable is None else usable
    made = courses.copy()
    n = int(good.sum())
    if not n or not courses.shape[1]:
        return made
    spectrum = np.fft.rfft(courses[good].astype(np.float64), axis=0)
    power = uniform_filter1d(np.abs(spectrum) ** 2 / n, BINS, axis=0, mode="mirror")
    gain = 1 - 1 / np.maximum(power, 1)
    made[good] = np.fft.irfft(spectrum * gain, n, axis=0)
    return made


def denoise_gaussian(
    frames: npt.NDArray[Any],
    *,
    usable: npt.NDArray[np.bool_] | None = None,
    sigma_tyx: tuple[float, float, float] = SIGMA_TYX,
) -> Float32:
    """Return a plane over time, smoothed in time and space.

    Parameters
    ----------
    frames : (T, Y, X)
        Any real dtype; NaN where nothing is known.
    usable : (T,)
        False for frames that add nothing to others; they become what their neighbours say.
    sigma_tyx
        Standard deviations along time [frames], y and x [pixels].

    Returns
    -------
    (T, Y, X) float32
        NaN where `frames` are, and where no neighbour is known.  The ends are continued with
        their last value.
    """
    pixels = as_float(frames)
    shown = np.isfinite(pixels)
    known = shown if usable is None else shown & usable[:, None, None]
    filled = np.where(known, pixels, 0).astype(np.float64)
    total = gaussian_filter(filled, sigma_tyx, mode="nearest", truncate=TRUNCATE)
    if known.all():
        return np.asarray(total, np.float32)
    weight = gaussian_filter(known.astype(np.float64), sigma_tyx, mode="nearest", truncate=TRUNCATE)
    there = shown & (weight > LEAST_WEIGHT)
    return np.where(there, total / np.where(there, weight, 1), np.nan).astype(np.float32)
