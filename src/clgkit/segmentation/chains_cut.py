"""Cut chains of sections where their area has a waist."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit

__all__ = ["cut_chains"]

Bool: TypeAlias = npt.NDArray[np.bool_]
Float64: TypeAlias = npt.NDArray[np.float64]
Int64: TypeAlias = npt.NDArray[np.int64]

LEAST = 2  # sections of a part


def cut_chains(
    areas: Float64,
    chain: Int64,
    slice_of: Int64,
    *,
    waist: float,
    waist_of_long: float | None = None,
    lengths: tuple[float, float] = (np.inf, np.inf),
) -> Int64:
    """Return the part of each section: its chain, cut at every waist.

    Parameters
    ----------
    areas, chain, slice_of : (n,)
        Of each section; a chain has at most one section in a slice.
    waist
        Area over the smaller of the maxima on both sides, below which a chain is cut.
    waist_of_long
        The same for chains longer than the first of `lengths`.
    lengths
        In sections; a chain longer than the second is cut where the middle third is smallest.

    Returns
    -------
    (n,) int64
        0, 1, ...
    """
    order = np.lexsort((slice_of, chain))
    starts = np.flatnonzero(np.diff(chain[order], prepend=-1, append=-1) != 0)
    begins = np.zeros(areas.size, np.bool_)
    begins[starts[:-1]] = True
    waists = (waist, waist if waist_of_long is None else waist_of_long)
    _cut_all(areas[order], starts, begins, waists, lengths)
    part = np.empty(areas.size, np.int64)
    part[order] = np.cumsum(begins) - 1
    return part


@njit(cache=True, nogil=True)
def _cut_all(
    areas: Float64,
    starts: Int64,
    begins: Bool,
    waists: tuple[float, float],
    lengths: tuple[float, float],
) -> None:
    """Mark the first section of every part."""
    stack = np.empty((areas.size + 1, 2), np.int64)
    for chain in range(starts.size - 1):
        stack[0] = starts[chain], starts[chain + 1]
        depth = 1
        while depth > 0:
            depth -= 1
            low, high = stack[depth]
            place = _place_of_cut(areas, low, high, waists, lengths)
            if place > low:
                begins[place] = True
                stack[depth] = low, place
                stack[depth + 1] = place, high
                depth += 2


@njit(cache=True, nogil=True)
def _place_of_cut(
    areas: Float64, low: int, high: int, waists: tuple[float, float], lengths: tuple[float, float]
) -> int:
    """Return the first section of the right part, or -1."""
    n = high - low
    if n < 2 * LEAST:
        return -1
    right = np.empty(n)
    right[n - 1] = 0.0
    for k in range(n - 2, -1, -1):
        right[k] = max(right[k + 1], areas[low + k + 1])
    left = areas[low]
    deepest = waists[1] if n > lengths[0] else waists[0]
    place = -1
    for k in range(low + 1, high - 1):
        if areas[k] <= areas[k - 1] and areas[k] <= areas[k + 1]:
            depth = areas[k] / min(left, right[k - low])
            cut = _beside(areas, k)
            if depth < deepest and low + LEAST <= cut <= high - LEAST:
                deepest, place = depth, cut
        left = max(left, areas[k])
    if place < 0 and n > lengths[1]:
        third = n // 3
        middle = low + third + int(np.argmin(areas[low + third : high - third]))
        place = min(max(_beside(areas, middle), low + LEAST), high - LEAST)
    return place


@njit(cache=True, nogil=True)
def _beside(areas: Float64, k: int) -> int:
    """Return where to cut so that section `k` joins its larger neighbour."""
    return k + 1 if areas[k - 1] >= areas[k + 1] else k
