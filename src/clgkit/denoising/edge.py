"""How large an eigenvalue, and how smooth a footprint, noise alone makes."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import fft

from clgkit.denoising.noise import LAGS, Float32, Float64

MARGIN = 1.05
N_DRAWS = 8
SPREADS = 3.0
N_SMOOTHEST = 16


class Edge(NamedTuple):
    r"""What noise alone does to a block.

    Parameters
    ----------
    ratio
        Its largest eigenvalue over :math:`(\sqrt{T} + \sqrt{P})^2`.
    smoothness
        Neighbour correlation (Moran's I) of its smoothest footprint; 0 for white noise.
    """

    ratio: float = MARGIN
    smoothness: float = 0.0

    def at(self, n_frames: int, n_pixels: int) -> float:
        """Return the eigenvalue above which a component is more than noise."""
        return self.ratio * marchenko_pastur(n_frames, n_pixels)


def marchenko_pastur(n_frames: int, n_pixels: int) -> float:
    """Return the upper edge of the eigenvalues of white noise of variance 1."""
    return float((math.sqrt(n_frames) + math.sqrt(n_pixels)) ** 2)


def measure_edge(
    correlation: Float64, *, n_frames: int, shape: tuple[int, int] = (16, 16), seed: int = 0
) -> Edge:
    """Return the edge of noise with a spatial autocorrelation, from drawn noise.

    Parameters
    ----------
    correlation : (2 * LAGS + 1, 2 * LAGS + 1)
        Of the noise, 1 in the middle.
    n_frames
        Of the fit.
    shape
        Of a block.
    seed
        Of the draws.

    Returns
    -------
    Edge
        From 8 draws: the largest eigenvalue and three times the standard deviation of those of the
        draws, so that a block of noise hardly ever exceeds it.

    Notes
    -----
    The noise is coloured by the root of its covariance over a block, which the autocorrelation
    gives (see :func:`local_part`); lags beyond 5 pixels count as uncorrelated.  Its standard
    deviation is measured as that of a movie is, from pairs of frames: with few frames, pixels whose
    noise is underestimated raise the edge.  At least the margin of white noise (1.05) is kept.
    """
    rng = np.random.default_rng(seed)
    root = _root(local_part(correlation), shape)
    n_pixels = shape[0] * shape[1]
    largest, smoothest = [], 0.0
    for _ in range(N_DRAWS):
        drawn = rng.standard_normal((n_frames, n_pixels)) @ root
        drawn -= drawn.mean(axis=0)
        change = drawn[1::2] - drawn[: n_frames // 2 * 2 : 2]
        drawn /= np.sqrt((change**2).mean(axis=0) / 2)
        values, vectors = np.linalg.eigh(drawn.T @ drawn)
        largest.append(float(values[-1]))
        footprints = vectors[:, -N_SMOOTHEST:].T.reshape(-1, *shape)
        smoothest = max(smoothest, *(moran(footprint) for footprint in footprints))
    top = max(largest) + SPREADS * float(np.std(largest))
    return Edge(max(MARGIN, top / marchenko_pastur(n_frames, n_pixels)), smoothest)


def local_part(correlation: Float64) -> Float64:
    """Return an autocorrelation without what pixels far apart share.

    What is left at lags of 5 pixels is no property of the detector: brightness that flickers as a
    whole, or activity.  Spread over a block it would raise the edge, and hide the weaker cells.
    """
    rim = np.ones(correlation.shape, bool)
    rim[1:-1, 1:-1] = False
    shared = float(correlation[rim].mean())
    if not 0 < shared < 1:
        return correlation
    return np.asarray((correlation - shared) / (1 - shared))


def draw_noise(
    correlation: Float64, shape: tuple[int, int, int], rng: np.random.Generator
) -> Float32:
    """Return noise (T, Y, X) of variance 1, independent in time, with a spatial autocorrelation.

    Parameters
    ----------
    correlation : (2 * LAGS + 1, 2 * LAGS + 1)
        Of the noise; what pixels far apart share is left out.
    shape
        Frames, height, width.
    rng
        Source of the noise.
    """
    drawn = np.empty(shape, np.float32)
    padded = tuple(fft.next_fast_len(n + 2 * LAGS, real=True) for n in shape[1:])
    wrapped = np.zeros(padded)
    lags = np.arange(-LAGS, LAGS + 1)
    wrapped[np.ix_(lags % padded[0], lags % padded[1])] = local_part(correlation)
    power = fft.rfft2(wrapped).real.clip(min=0)
    gain = np.sqrt(power / (fft.irfft2(power, padded)[0, 0]))
    for frame in drawn:
        white = rng.standard_normal(padded)
        made = fft.irfft2(fft.rfft2(white) * gain, padded)
        frame[:] = made[: shape[1], : shape[2]]
    return drawn


def _root(correlation: Float64, shape: tuple[int, int]) -> Float64:
    """Return a matrix that gives white noise the covariance of the noise."""
    y, x = (axis.ravel() for axis in np.indices(shape))
    dy, dx = y[:, None] - y, x[:, None] - x
    near = (np.abs(dy) <= LAGS) & (np.abs(dx) <= LAGS)
    covariance = np.where(near, correlation[dy.clip(-LAGS, LAGS) + LAGS,
                                            dx.clip(-LAGS, LAGS) + LAGS], 0)  # fmt: skip
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    return np.asarray(np.sqrt(values.clip(min=0))[:, None] * vectors.T)


def moran(footprint: Float64) -> float:
    """Return the correlation of neighbouring pixels of a (Y, X) footprint (Moran's I).

    The mean is not removed: a footprint that is the same everywhere is smooth, 1.
    """
    products = (footprint[1:] * footprint[:-1]).sum() + (footprint[:, 1:] * footprint[:, :-1]).sum()
    rows, columns = footprint.shape
    n_products = (rows - 1) * columns + rows * (columns - 1)
    square = float((footprint**2).sum())
    if n_products == 0 or square == 0:
        return 0.0
    return float(products / n_products / (square / footprint.size))
