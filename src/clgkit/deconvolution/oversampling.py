"""Planes with pixels half as large, and the way back to what stood there before."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import fft

__all__ = ["Oversampling", "at_samples", "fill", "first_pixel", "median_2x2", "oversample"]

Float32: TypeAlias = npt.NDArray[np.float32]
Float64: TypeAlias = npt.NDArray[np.float64]
Oversampling: TypeAlias = Literal["none", "zeros", "fourier"]

LINES = 64  # that are transformed together, so that a large plane takes little memory


def oversample(plane: npt.NDArray[np.generic], kind: Oversampling) -> Float32:
    """Return the plane with doubled sides (or as it is for ``"none"``).

    Parameters
    ----------
    plane : (Y, X)
        Not negative.
    kind
        ``"zeros"`` sets a sample to every second pixel, from the second on, and 0 between;
        ``"fourier"`` interpolates, and its samples stay on every second pixel from the first on.

    Raises
    ------
    ValueError
        If the kind is unknown.

    Notes
    -----
    Fourier interpolation mirrors half a line at both ends, adds zeros beyond its spectrum, and
    sets what falls below 0 to 0.
    """
    values = np.asarray(plane, np.float32)
    ny, nx = values.shape
    if kind == "none":
        return values
    if kind == "zeros":
        spread = np.zeros((2 * ny, 2 * nx), np.float32)
        spread[1::2, 1::2] = values
        return spread
    if kind != "fourier":
        raise ValueError(f"The oversampling is {kind!r}, not none, zeros or fourier.")
    tall = _interpolated(values.T.astype(np.float64)).T
    return np.maximum(_interpolated(tall), 0).astype(np.float32)


def first_pixel(kind: Oversampling, *, filtered: bool = False) -> float:
    """Return where the first of the small pixels lies, in large pixels from the first of those.

    Parameters
    ----------
    kind
        As for `oversample`.
    filtered
        Whether `median_2x2` followed, which moves the image by half a small pixel.
    """
    small_px = {"none": 0.0, "zeros": -1.0, "fourier": 0.0}[kind]
    return (small_px + 0.5 * filtered) / 2


def fill(planes: Float32, kind: Oversampling) -> Float32:
    """Return planes without the comb that zeros between the samples leave, as bright as before.

    Parameters
    ----------
    planes : (Z, Y, X)
        Oversampled, and denoised or deconvolved.
    kind
        As for `oversample`; only ``"zeros"`` leave a comb.
    """
    if kind != "zeros":
        return planes
    return 4 * np.stack([median_2x2(plane) for plane in planes])


def at_samples(planes: Float32, kind: Oversampling) -> Float32:
    """Return planes (Z, Y, X) on the pixels that they had before `oversample`.

    With zeros, `fill` must have gone before.
    """
    if kind == "none":
        return planes
    if kind == "fourier":
        return planes[:, ::2, ::2]
    n_z, n_y, n_x = planes.shape
    fours = planes.reshape(n_z, n_y // 2, 2, n_x // 2, 2)
    return np.asarray(fours.mean(axis=(2, 4)), np.float32)


def median_2x2(plane: Float32) -> Float32:
    """Return the medians of 2 x 2 pixels, each put at its upper left one; 0 lies outside."""
    padded = np.pad(plane, ((0, 1), (0, 1)))
    four = np.stack([padded[:-1, :-1], padded[1:, :-1], padded[:-1, 1:], padded[1:, 1:]])
    four.sort(axis=0)
    return np.asarray((four[1] + four[2]) / 2, np.float32)


def _interpolated(values: Float64) -> Float64:
    """Return twice as many samples of each line (the last axis)."""
    n = values.shape[1]
    made = np.empty((len(values), 2 * n))
    for start in range(0, len(values), LINES):
        part = slice(start, start + LINES)
        padded = np.pad(values[part], ((0, 0), (n // 2, n // 2)), mode="symmetric")
        spectrum = fft.rfft(padded)
        if padded.shape[1] % 2 == 0:
            spectrum[:, -1] /= 2  # the highest frequency stands for two
        fine = 2 * fft.irfft(spectrum, 2 * padded.shape[1])
        made[part] = fine[:, 2 * (n // 2) : 2 * (n // 2) + 2 * n]
    return made
