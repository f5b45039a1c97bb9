"""The coarse part of a plane: Daubechies wavelets, approximation only."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Coarse", "coarse_matrices", "daubechies_filter"]

Float64: TypeAlias = npt.NDArray[np.float64]


class Coarse(NamedTuple):
    """A line's way to its coarse approximation and back, as two matrices."""

    analysis: Float64
    """(K, N)"""
    synthesis: Float64
    """(N, K)"""


@lru_cache(maxsize=8)
def daubechies_filter(n_moments: int) -> tuple[float, ...]:
    """Return the 2 n scaling coefficients of the Daubechies wavelet with n vanishing moments.

    They are the minimum-phase square root of the half-band filter: sum sqrt(2), orthogonal to
    their own even shifts.  The order is that of reconstruction.

    Notes
    -----
    The half-band polynomial sum_k C(n - 1 + k, k) y^k is factored with y = (2 - z - 1/z) / 4, and
    the roots inside the unit circle are kept.
    """
    half_band = [math.comb(n_moments - 1 + k, k) for k in range(n_moments)]
    kept = []
    for y in np.roots(half_band[::-1]):
        pair = np.roots([1, 4 * y - 2, 1])
        kept.append(pair[np.argmin(np.abs(pair))])
    found = np.real(np.poly([-1.0] * n_moments + kept))
    scaled: Float64 = found * (math.sqrt(2) / found.sum())
    return tuple(scaled.tolist())


@lru_cache(maxsize=16)
def coarse_matrices(n: int, *, n_moments: int = 6, levels: int = 7) -> Coarse:
    """Return the matrices of `levels` wavelet levels for lines of n samples.

    Lines are continued by mirroring, edge sample repeated, at every level.  A plane's coarse
    coefficients are ``rows.analysis @ plane @ columns.analysis.T``, and what they alone
    reconstruct is ``rows.synthesis @ coefficients @ columns.synthesis.T``.
    """
    analysis, synthesis = np.eye(n), np.eye(n)
    for _ in range(levels):
        down, up = _level(len(analysis), np.array(daubechies_filter(n_moments)))
        analysis, synthesis = down @ analysis, synthesis @ up
    return Coarse(analysis, synthesis)


def _level(n: int, taps: Float64) -> Coarse:
    """Return one level: every second sample of the filtered line, and back."""
    k = (n + len(taps) - 1) // 2
    down, up = np.zeros((k, n)), np.zeros((n, k))
    j, m = np.meshgrid(np.arange(k), np.arange(len(taps)), indexing="ij")
    at = (2 * j + 1 - m) % (2 * n)
    np.add.at(down, (j, np.minimum(at, 2 * n - 1 - at)), taps[::-1][m])
    i, j = np.meshgrid(np.arange(n), np.arange(k), indexing="ij")
    tap = i + len(taps) - 2 - 2 * j
    legal = (tap >= 0) & (tap < len(taps))
    up[i[legal], j[legal]] = taps[tap[legal]]
    return Coarse(down, up)
