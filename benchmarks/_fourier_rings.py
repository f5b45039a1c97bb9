"""Correlation of two stacks by spatial frequency in the plane: Fourier rings."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import fft, signal

Float64: TypeAlias = npt.NDArray[np.float64]

SEVENTH = 1 / 7
"""What a correlation of two halves must reach for a frequency to count as resolved."""


def ring_correlation(one: npt.ArrayLike, other: npt.ArrayLike) -> Float64:
    """Return the correlation of two stacks at 0, 1, 2, ... cycles a side, up to Nyquist.

    Parameters
    ----------
    one, other : (Z, N, N)
        Rings are of the transform of each plane, its mean taken off and its borders faded out
        (Hann), and gather all planes.

    Returns
    -------
    (N // 2 + 1,) float64
        1 where both are the same but for a factor, 0 where they have nothing to do with each other.
    """
    first, second = (_spectra(np.asarray(stack, np.float64)) for stack in (one, other))
    n = first.shape[1]
    cycles = n * np.hypot(fft.fftfreq(n)[:, None], fft.fftfreq(n))
    ring = np.rint(cycles).astype(int).ravel()

    def rings(values: Float64) -> Float64:
        return np.bincount(ring, values.sum(axis=0).ravel())[: n // 2 + 1]

    common = rings((first * second.conj()).real)
    powers = rings(np.abs(first) ** 2) * rings(np.abs(second) ** 2)
    return np.asarray(common / np.sqrt(np.maximum(powers, np.finfo(float).tiny)))


def _spectra(stack: Float64) -> npt.NDArray[np.complex128]:
    n = stack.shape[1]
    fading = np.outer(*(2 * [signal.windows.hann(n, sym=False)]))
    means = stack.mean(axis=(1, 2), keepdims=True)
    return np.asarray(fft.fft2((stack - means) * fading))


def of_truth(halves: Float64) -> Float64:
    """Return the correlation with the truth that two halves with independent noise speak for."""
    return np.asarray(np.sqrt(np.maximum(halves, 0)))


def mean_to_half_nyquist(rings: Float64) -> float:
    """Return the mean correlation up to a period of four pixels, 0 left out."""
    return float(rings[1 : len(rings) // 2 + 1].mean())


def resolution_px(rings: Float64) -> float:
    """Return the period in pixels at which the correlation first falls below a seventh."""
    n = 2 * (len(rings) - 1)
    below = np.flatnonzero(rings[1:] < SEVENTH)
    return n / float(below[0] + 1) if below.size else 2.0
