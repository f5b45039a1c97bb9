"""Push overlapping spheres apart inside a region of any shape."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy.spatial import cKDTree

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

ROUNDS_PER_LIST = 8
ROUNDS_PER_JUMP = 48
CLOSE_ENOUGH = 0.005
"""Overlap over contact distance that is left to shrinking."""


class Packed(NamedTuple):
    """Spheres that do not overlap."""

    centers: Float64
    """(N, 3)."""
    scale: Float64
    """(N,): factor in (0, 1] by which a radius had to shrink, mostly above 0.99."""


def pack_spheres(
    radii: Float64,
    *,
    allowed: Bool,
    cell: tuple[float, ...],
    rng: np.random.Generator,
    gap: float = 0.0,
    max_rounds: int = 800,
) -> Packed:
    """Find places in a region for spheres, none overlapping another.

    Parameters
    ----------
    radii : (N,)
        Any length unit.
    allowed : (A, B, C)
        Where centres may lie; element (i, j, k) covers ``[i, i + 1) * cell[0]`` and so on.
    cell
        Size of an element of `allowed` along each axis.
    rng
        Chooses the places.
    gap
        Distance kept between surfaces.
    max_rounds
        What still overlaps after so many rounds shrinks.

    Returns
    -------
    Packed

    Raises
    ------
    ValueError
        If `allowed` is False everywhere.

    Notes
    -----
    From random places, every overlapping pair is pushed apart by half its overlap, one pair
    after another, round by round.  A step out of the region is not taken.  What is stuck jumps
    to a new place now and then.  Up to a filling of about 0.5 this ends without overlap;
    random sequential addition saturates at 0.38.
    """
    homes = np.argwhere(allowed)
    if len(homes) == 0:
        raise ValueError("no place is allowed for any sphere; allow at least one element")
    size = np.asarray(cell, dtype=np.float64)
    grown = np.asarray(radii, dtype=np.float64) + gap / 2
    widest = 2 * float(grown.max(initial=0.0))
    centers = _random_places(homes, size, len(grown), rng)
    for done in range(ROUNDS_PER_LIST, max_rounds + 1, ROUNDS_PER_LIST):
        pairs = _pairs(centers, 1.25 * widest)
        for _ in range(ROUNDS_PER_LIST):
            _push(centers, grown, pairs, allowed, size)
        pairs = _pairs(centers, widest)
        overlaps = _overlaps(centers, grown, pairs)
        if overlaps.max(initial=0.0) < CLOSE_ENOUGH:
            break
        if done % ROUNDS_PER_JUMP == 0:
            jumping = np.unique(pairs[overlaps > CLOSE_ENOUGH, 0])
            centers[jumping] = _random_places(homes, size, len(jumping), rng)
    scale = np.ones(len(centers))
    _shrink(centers, grown, _pairs(centers, widest), scale)
    return Packed(centers, scale)


def _random_places(homes: Int64, size: Float64, n: int, rng: np.random.Generator) -> Float64:
    chosen = homes[rng.integers(0, len(homes), n)]
    return np.asarray((chosen + rng.random((n, 3))) * size)


def _overlaps(centers: Float64, radii: Float64, pairs: Int64) -> Float64:
    """Measure the overlap of each pair over its contact distance; negative if apart."""
    contact = radii[pairs].sum(axis=1)
    distance = np.linalg.norm(centers[pairs[:, 0]] - centers[pairs[:, 1]], axis=1)
    return np.asarray(1 - distance / contact)


def _pairs(centers: Float64, distance: float) -> Int64:
    found = cKDTree(centers).query_pairs(distance, output_type="ndarray").astype(np.int64)
    return np.asarray(found[np.lexsort((found[:, 1], found[:, 0]))])


@njit(cache=True, nogil=True)
def _fits(z: float, y: float, x: float, allowed: Bool, size: Float64) -> bool:
    if z < 0.0 or y < 0.0 or x < 0.0:
        return False
    i, j, k = int(z / size[0]), int(y / size[1]), int(x / size[2])
    if i >= allowed.shape[0] or j >= allowed.shape[1] or k >= allowed.shape[2]:
        return False
    return bool(allowed[i, j, k])


@njit(cache=True, nogil=True)
def _push(centers: Float64, radii: Float64, pairs: Int64, allowed: Bool, size: Float64) -> None:
    """Push each overlapping pair apart, in place."""
    for a, b in pairs:
        contact = radii[a] + radii[b]
        dz = centers[b, 0] - centers[a, 0]
        dy = centers[b, 1] - centers[a, 1]
        dx = centers[b, 2] - centers[a, 2]
        square = dz * dz + dy * dy + dx * dx
        if square >= contact * contact:
            continue
        distance = max(np.sqrt(square), 1e-6)
        step = 0.5 * (contact * 1.0005 - distance) / distance
        for n, sign in ((a, -step), (b, step)):
            z = centers[n, 0] + sign * dz
            y = centers[n, 1] + sign * dy
            x = centers[n, 2] + sign * dx
            if _fits(z, y, x, allowed, size):
                centers[n, 0], centers[n, 1], centers[n, 2] = z, y, x


@njit(cache=True, nogil=True)
def _shrink(centers: Float64, radii: Float64, pairs: Int64, scale: Float64) -> None:
    for a, b in pairs:
        distance = np.sqrt(np.sum((centers[a] - centers[b]) ** 2))
        contact = radii[a] * scale[a] + radii[b] * scale[b]
        if distance < contact:
            # Scaling both keeps earlier contacts free: a scale never grows.
            factor = distance / contact
            scale[a] *= factor
            scale[b] *= factor
