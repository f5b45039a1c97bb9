"""Compiled loops of the classical method: ascent to peaks, and the cutting out of objects.

Every rule here looks no further than a stated distance, so that a tile with enough halo gives the
labels of the whole volume, bit for bit.  Equal values are ordered by raster position, the earlier
one counting as higher, which makes every comparison strict.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit

__all__ = [
    "ascent_parents",
    "background_levels",
    "bump_response",
    "drop_dim",
    "keep_pieces",
    "label_basins",
    "summits",
]

Float32: TypeAlias = npt.NDArray[np.float32]
Float64: TypeAlias = npt.NDArray[np.float64]
Int32: TypeAlias = npt.NDArray[np.int32]
Int64: TypeAlias = npt.NDArray[np.int64]
UInt32: TypeAlias = npt.NDArray[np.uint32]

NOT_TISSUE = -1
"""Parent of a voxel where the response is not positive."""


@njit(cache=True, nogil=True)
def bump_response(smooth: Float32, weights: Float32) -> Float32:
    """Return the weighted sum of the negative second differences; edges repeat themselves."""
    nz, ny, nx = smooth.shape
    response = np.empty((nz, ny, nx), np.float32)
    wz, wy, wx = weights[0], weights[1], weights[2]
    two = np.float32(2)
    for z in range(nz):
        above, below = max(z - 1, 0), min(z + 1, nz - 1)
        for y in range(ny):
            back, ahead = max(y - 1, 0), min(y + 1, ny - 1)
            for x in range(nx):
                twice = two * smooth[z, y, x]
                left, right = max(x - 1, 0), min(x + 1, nx - 1)
                response[z, y, x] = (
                    wz * (twice - smooth[above, y, x] - smooth[below, y, x])
                    + wy * (twice - smooth[z, back, x] - smooth[z, ahead, x])
                    + wx * (twice - smooth[z, y, left] - smooth[z, y, right])
                )
    return response


@njit(cache=True, nogil=True)
def _highest(response: Float32, at: tuple[int, int, int], reach: Int64) -> int:
    """Return the flat index of the highest voxel in the box around `at`."""
    nz, ny, nx = response.shape
    z, y, x = at
    best = response[z, y, x]
    best_index: int = (z * ny + y) * nx + x
    for k in range(max(z - reach[0], 0), min(z + reach[0] + 1, nz)):
        for j in range(max(y - reach[1], 0), min(y + reach[1] + 1, ny)):
            row = (k * ny + j) * nx
            for i in range(max(x - reach[2], 0), min(x + reach[2] + 1, nx)):
                value = response[k, j, i]
                if value > best or (value == best and row + i < best_index):
                    best = value
                    best_index = row + i
    return best_index


@njit(cache=True, nogil=True)
def ascent_parents(response: Float32, reach: Int64) -> Int32:
    """Return, for every voxel, the flat index of the next voxel on its way up to a peak.

    That is the highest of its 27 neighbours; from a small summit, the highest voxel within
    `reach`.  A peak is its own parent; where the response is not positive it is `NOT_TISSUE`.
    """
    nz, ny, nx = response.shape
    step = np.ones(3, np.int64)
    parents = np.empty(response.size, np.int32)
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                index = (z * ny + y) * nx + x
                if response[z, y, x] <= 0:
                    parents[index] = NOT_TISSUE
                    continue
                parent = _highest(response, (z, y, x), step)
                if parent == index:
                    parent = _highest(response, (z, y, x), reach)
                parents[index] = parent
    return parents


@njit(cache=True, nogil=True)
def _stays_near(
    start: int, parents: Int32, root: int, shape: tuple[int, int, int], radius: Float32
) -> bool:
    """Tell whether the ascent from `start` to `root` stays in the ellipsoid around `root`."""
    _, ny, nx = shape
    z, y, x = root // (ny * nx), root // nx % ny, root % nx
    index = start
    while index != root:
        dz = np.float32(index // (ny * nx) - z) / radius[0]
        dy = np.float32(index // nx % ny - y) / radius[1]
        dx = np.float32(index % nx - x) / radius[2]
        if dz * dz + dy * dy + dx * dx > np.float32(1):
            return False
        index = parents[index]
    return True


@njit(cache=True, nogil=True)
def label_basins(
    parents: Int32, seeds: Int64, shape: tuple[int, int, int], radius: Float32
) -> Int32:
    """Return for every voxel the 1-based number of the seed at the end of its ascent, or 0.

    A voxel whose ascent leaves the ellipsoid of half-axes `radius` around that seed is 0.
    `parents` is changed: a seed points to itself through a negative code.
    """
    for number in range(seeds.size):
        parents[seeds[number]] = -(number + 2)
    labels = np.zeros(parents.size, np.int32)
    for start in range(parents.size):
        if parents[start] == NOT_TISSUE:
            continue
        root = start
        while parents[root] >= 0 and parents[root] != root:
            root = parents[root]
        if parents[root] < NOT_TISSUE and _stays_near(start, parents, root, shape, radius):
            labels[start] = -parents[root] - 1
    return labels


@njit(cache=True, nogil=True)
def background_levels(smooth: Float32, seeds: Int64, reach: Int64, rank: float) -> Float32:
    """Return a low quantile of every second voxel of the box around each seed."""
    nz, ny, nx = smooth.shape
    around = np.empty((reach[0] + 1) * (reach[1] + 1) * (reach[2] + 1), np.float32)
    levels = np.empty(seeds.size, np.float32)
    for number in range(seeds.size):
        z, rest = divmod(seeds[number], ny * nx)
        y, x = divmod(rest, nx)
        count = 0
        for k in range(_first(z, reach[0]), min(z + reach[0] + 1, nz), 2):
            for j in range(_first(y, reach[1]), min(y + reach[1] + 1, ny), 2):
                for i in range(_first(x, reach[2]), min(x + reach[2] + 1, nx), 2):
                    around[count] = smooth[k, j, i]
                    count += 1
        at = int(rank * (count - 1))
        levels[number] = np.partition(around[:count], at)[at]
    return levels


@njit(cache=True, nogil=True)
def _first(centre: int, reach: int) -> int:
    """Return the first of the places centre - reach, + 2, + 4, ... that is not negative."""
    low = centre - reach
    return low if low >= 0 else low & 1


@njit(cache=True, nogil=True)
def summits(labels: Int32, smooth: Float32, n_seeds: int) -> Int64:
    """Return the flat index of the brightest voxel of every basin, -1 where there is none."""
    flat = smooth.ravel()
    brightest = np.full(n_seeds, -1, np.int64)
    for index in range(labels.size):
        number = labels[index] - 1
        if number >= 0 and (brightest[number] < 0 or flat[index] > flat[brightest[number]]):
            brightest[number] = index
    return brightest


@njit(cache=True, nogil=True)
def drop_dim(labels: Int32, smooth: Float32, floors: Float32) -> None:
    """Set to 0 the voxels of every basin that are darker than the basin's floor."""
    flat = smooth.ravel()
    for index in range(labels.size):
        number = labels[index] - 1
        if number >= 0 and flat[index] < floors[number]:
            labels[index] = 0


@njit(cache=True, nogil=True)
def _flood(
    labels: Int32, start: int, number: int, shape: tuple[int, int, int], found: Int64
) -> int:
    """Collect in `found` the 6-connected voxels of `number` around `start`; negate their label."""
    nz, ny, nx = shape
    steps = (-ny * nx, ny * nx, -nx, nx, -1, 1)
    found[0] = start
    labels[start] = -number
    count = 1
    done = 0
    while done < count:
        index = found[done]
        done += 1
        z, rest = divmod(index, ny * nx)
        y, x = divmod(rest, nx)
        inside = (z > 0, z < nz - 1, y > 0, y < ny - 1, x > 0, x < nx - 1)
        for side in range(6):
            if inside[side] and labels[index + steps[side]] == number:
                labels[index + steps[side]] = -number
                found[count] = index + steps[side]
                count += 1
    return count


@njit(cache=True, nogil=True)
def keep_pieces(
    labels: Int32, starts: Int64, ids: UInt32, shape: tuple[int, int, int], min_voxels: Float64
) -> UInt32:
    """Return, with its id, the 6-connected piece of every object that holds its start.

    Objects without a start (-1), and pieces of fewer voxels than each one's `min_voxels`, are left
    out.  `labels` is used up.
    """
    result = np.zeros(labels.size, np.uint32)
    found = np.empty(labels.size, np.int64)
    for number in range(starts.size):
        if starts[number] < 0 or labels[starts[number]] != number + 1:
            continue
        count = _flood(labels, starts[number], number + 1, shape, found)
        if count >= min_voxels[number]:
            for k in range(count):
                result[found[k]] = ids[number]
    return result.reshape(shape)
