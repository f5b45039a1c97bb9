"""What the network is shown: locally scaled slices, and one slice scaled as a whole."""

import math
from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy import ndimage

from clgkit.segmentation.blobs import check_tile
from clgkit.segmentation.network_grid import (
    CONTEXT,
    NODES,
    NetworkGrid,
    combine_slices,
    resample_plane,
)

__all__ = [
    "SliceScaling",
    "SliceStatistics",
    "join_statistics",
    "network_slices",
    "network_statistics",
]

Float32: TypeAlias = npt.NDArray[np.float32]
Float64: TypeAlias = npt.NDArray[np.float64]

POOL = 4  # nodes: the local mean and deviation are kept on so much coarser a grid
SAMPLES = 65_536  # nodes of a slice that its percentiles are taken from, at least
FLOOR_SHARE = 0.4  # of the slice's 90th percentile of the local deviation
DARK, BRIGHT, LIVELY = 5.0, 99.8, 90.0  # percentiles
LOWEST, HIGHEST = -1.0, 3.0  # of the slice scaled as a whole


class SliceStatistics(NamedTuple):
    """What one block of slices adds to the scaling of a stack."""

    first: int
    """First slice of the network's grid."""
    values: Float64
    """(n, 3): dark level, bright level and lively local deviation of each slice."""


class SliceScaling(NamedTuple):
    """How every slice of the network's grid is scaled."""

    dark: Float64
    """(n,): the level shown as -1."""
    bright: Float64
    """(n,): the level shown as +1."""
    floor: Float64
    """(n,): least local deviation that is divided by."""


class ShownSlices(NamedTuple):
    """Slices of the network's grid as the network sees them."""

    first: int
    """Index of the first slice."""
    local: Float32
    """(n, H, W): less the local mean, over the local deviation."""
    whole: Float32
    """(n, H, W): the dark level at -1, the bright level at 1."""

    def stack(self, node: int) -> Float32:
        """Return the 8 channels (8, H, W) of one slice; slices beyond the ends repeat."""
        last = self.first + len(self.local) - 1
        around = np.clip(np.arange(node - CONTEXT, node + CONTEXT + 1), self.first, last)
        return np.concatenate(
            [self.local[around - self.first], self.whole[node - self.first][None]]
        )


def network_statistics(
    block: npt.NDArray[np.generic],
    *,
    grid: NetworkGrid,
    first_slice: int = 0,
    core: slice | None = None,
) -> SliceStatistics:
    """Measure the brightness of the slices of a block.

    Parameters
    ----------
    block : (Z, Y, X)
        Fluorescence: whole slices with a halo of ``grid.halo_slices``, any real dtype.
    grid
        Of the whole stack.
    first_slice
        Where the block begins in the stack.
    core
        The slices of the block that are asked for; None: all that have their halo.
    """
    check_tile(block)
    start, stop, _ = (core or grid.core_of(first_slice, len(block))).indices(len(block))
    low, high = grid.slices_at(first_slice + start, first_slice + stop)
    rows = []
    for plane in _planes(block, grid, low, high, first_slice):
        _, deviation = _local_levels(plane)
        stride = max(1, math.isqrt(plane.size // SAMPLES))
        dark, bright = np.percentile(plane[::stride, ::stride], [DARK, BRIGHT])
        rows.append((dark, bright, np.percentile(deviation, LIVELY)))
    return SliceStatistics(low, np.array(rows, np.float64).reshape(-1, 3))


def join_statistics(statistics: Iterable[SliceStatistics], *, grid: NetworkGrid) -> SliceScaling:
    """Return the scaling of a stack from the statistics of all of its blocks.

    Levels are smoothed along z over one diameter: depth dims slowly, and a slice without a
    nucleus is shown at the scale of its neighbours.

    Raises
    ------
    ValueError
        If the blocks do not cover the stack once.
    """
    table = np.full((grid.shape[0], 3), np.nan)
    for first, values in statistics:
        table[first : first + len(values)] = values
    if np.isnan(table).any():
        missing = int(np.flatnonzero(np.isnan(table).any(axis=1))[0])
        raise ValueError(
            f"no block gave the statistics of slice {missing} of the network's grid; "
            "give the statistics of every block"
        )
    table = ndimage.gaussian_filter1d(table, NODES[0], axis=0, mode="nearest", truncate=2.0)
    return SliceScaling(table[:, 0], table[:, 1], FLOOR_SHARE * table[:, 2])


def network_slices(
    block: npt.NDArray[np.generic],
    *,
    grid: NetworkGrid,
    scaling: SliceScaling,
    nodes: tuple[int, int],
    first_slice: int = 0,
) -> ShownSlices:
    """Return the slices `nodes` of the network's grid and those it needs around them.

    Parameters
    ----------
    block : (Z, Y, X)
        Fluorescence: whole slices, with enough of a halo.
    grid, scaling
        Of the whole stack.
    nodes
        First slice of the grid, and the one after the last.
    first_slice
        Where the block begins in the stack.
    """
    check_tile(block)
    low, high = max(nodes[0] - CONTEXT, 0), min(nodes[1] + CONTEXT, grid.shape[0])
    local = np.empty((high - low, *grid.shape[1:]), np.float32)
    whole = np.empty_like(local)
    planes = _planes(block, grid, low, high, first_slice)
    for k, plane in enumerate(planes):
        mean, deviation = _local_levels(plane)
        floor = scaling.floor[low + k]
        divisor = (
            np.maximum(deviation, floor) if floor > 0 else np.where(deviation > 0, deviation, 1)
        )
        _scale_locally(plane, mean.astype(np.float32), (1 / divisor).astype(np.float32), local[k])
        dark, bright = scaling.dark[low + k], scaling.bright[low + k]
        gain = np.float32(2 / (bright - dark) if bright > dark else 0.0)
        np.clip((plane - np.float32(dark)) * gain - 1, LOWEST, HIGHEST, out=whole[k])
    return ShownSlices(low, local, whole)


def _planes(
    block: npt.NDArray[np.generic], grid: NetworkGrid, low: int, high: int, first_slice: int
) -> Iterable[Float32]:
    """Yield the slices `low` to `high` - 1 of the grid."""
    along = grid.forth(0)
    rows, columns = grid.forth(1), grid.forth(2)
    needed = along.sources[low:high][along.weights[low:high] > 0] - first_slice
    if needed.size and (needed.min() < 0 or needed.max() >= len(block)):
        raise ValueError(
            f"the block begins at slice {first_slice} and has {len(block)} slices, wanted "
            f"{first_slice + needed.min()} to {first_slice + needed.max()}; "
            f"give a halo of {grid.halo_slices} slices"
        )
    for node in range(low, high):
        yield resample_plane(combine_slices(block, along, node, first_slice), rows, columns)


def _local_levels(plane: Float32) -> tuple[Float64, Float64]:
    """Return mean and deviation under a Gaussian of one diameter, on the coarse grid."""
    shift = float(plane[0, 0])  # large offsets would cost digits
    mean, square = _pool(plane, shift)
    sigma = NODES[1] / POOL
    mean = ndimage.gaussian_filter(mean, sigma, mode="nearest", truncate=3.0)
    square = ndimage.gaussian_filter(square, sigma, mode="nearest", truncate=3.0)
    variance = np.maximum(square - mean**2, 0)
    return mean + shift, np.sqrt(np.where(variance > 1e-9 * square, variance, 0))


@njit(cache=True, nogil=True)
def _pool(plane: Float32, shift: float) -> tuple[Float64, Float64]:
    """Return the means of value and square over squares of `POOL` nodes."""
    height, width = plane.shape
    shape = (-(-height // POOL), -(-width // POOL))
    mean, square = np.zeros(shape), np.zeros(shape)
    for i in range(height):
        for j in range(width):
            value = plane[i, j] - shift
            mean[i // POOL, j // POOL] += value
            square[i // POOL, j // POOL] += value * value
    for i in range(shape[0]):
        for j in range(shape[1]):
            n = min(POOL, height - i * POOL) * min(POOL, width - j * POOL)
            mean[i, j] /= n
            square[i, j] /= n
    return mean, square


@njit(cache=True, nogil=True)
def _scale_locally(plane: Float32, mean: Float32, inverse: Float32, out: Float32) -> None:
    """Set ``(plane - mean) * inverse``, both linear between the knots of the coarse grid."""
    height, width = plane.shape
    rows, columns = mean.shape
    for i in range(height):
        y = min(max((i + 0.5) / POOL - 0.5, 0.0), rows - 1.0)
        top = min(int(y), max(rows - 2, 0))
        low = min(top + 1, rows - 1)
        v = np.float32(y - top)
        for j in range(width):
            x = min(max((j + 0.5) / POOL - 0.5, 0.0), columns - 1.0)
            left = min(int(x), max(columns - 2, 0))
            right = min(left + 1, columns - 1)
            u = np.float32(x - left)
            m0 = mean[top, left] + u * (mean[top, right] - mean[top, left])
            m1 = mean[low, left] + u * (mean[low, right] - mean[low, left])
            s0 = inverse[top, left] + u * (inverse[top, right] - inverse[top, left])
            s1 = inverse[low, left] + u * (inverse[low, right] - inverse[low, left])
            out[i, j] = (plane[i, j] - (m0 + v * (m1 - m0))) * (s0 + v * (s1 - s0))
