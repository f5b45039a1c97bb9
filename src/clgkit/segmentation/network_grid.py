"""The grid on which the network sees a stack, and the ways there and back.

A nucleus is 6 x 12 x 12 nodes of that grid.  Where a node lies depends on its index in the whole
stack alone, so blocks of a stack see the same values.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit

from clgkit.segmentation.blobs import Size, as_finite, size_px

__all__ = ["NODES", "NetworkGrid", "Taps", "combine_slices", "network_grid", "resample_plane"]

Float32: TypeAlias = npt.NDArray[np.float32]
Int64: TypeAlias = npt.NDArray[np.int64]

NODES = (6.0, 12.0, 12.0)  # of the grid (z, y, x) across a nucleus
CLOSE_ENOUGH = 0.1  # scales this near to the network's are left as they are
ANTIALIAS = 1.5  # shrinking by more averages over neighbours
CONTEXT = 3  # slices of the grid the network sees on each side


class Taps(NamedTuple):
    """Weights that make every sample of a line from neighbouring samples of another."""

    sources: Int64
    """(n, k): clamped to the line."""
    weights: Float32
    """(n, k): each row adds up to 1."""


@dataclass(frozen=True)
class NetworkGrid:
    """Where the network samples a stack."""

    shape_px: tuple[int, int, int]
    """The stack (z, y, x), voxels."""
    step_px: tuple[float, float, float]
    """Voxels from one node to the next; node g lies at ``(g + 0.5) * step - 0.5``."""

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """Nodes of the grid (z, y, x)."""
        z, y, x = (
            max(1, round(n / step)) for n, step in zip(self.shape_px, self.step_px, strict=True)
        )
        return z, y, x

    @cached_property
    def halo_slices(self) -> int:
        """Slices of the stack that a block needs on each side of its core."""
        step = self.step_px[0]
        return math.ceil((CONTEXT + 1) * step + max(1.0, step)) + 1

    def forth(self, axis: int) -> Taps:
        """From voxels to nodes."""
        return _taps(self.shape[axis], self.shape_px[axis], self.step_px[axis])

    def back(self, axis: int) -> Taps:
        """From nodes to voxels."""
        return _taps(self.shape_px[axis], self.shape[axis], 1 / self.step_px[axis])

    def core_of(self, first_slice: int, n_slices: int) -> slice:
        """Those slices of a block that have their halo, or the stack's end, on both sides."""
        start = 0 if first_slice == 0 else self.halo_slices
        ends = first_slice + n_slices >= self.shape_px[0]
        stop = n_slices if ends else n_slices - self.halo_slices
        return slice(start, max(start, stop))

    def slices_at(self, start: int, stop: int) -> tuple[int, int]:
        """Range of slices of the grid whose centre lies in the slices `start` to `stop` - 1."""
        centers = np.rint((np.arange(self.shape[0]) + 0.5) * self.step_px[0] - 0.5)
        owner = np.clip(centers, 0, self.shape_px[0] - 1)
        low, high = np.searchsorted(owner, [start, stop])
        return int(low), int(high)


def network_grid(
    shape: tuple[int, int, int], *, voxel_um: tuple[float, float, float], diameter_um: Size
) -> NetworkGrid:
    """Plan the network's grid of a stack.

    Parameters
    ----------
    shape
        Size of the stack (z, y, x), voxels.
    voxel_um
        Size of a voxel (z, y, x).
    diameter_um
        Diameter of a nucleus as it looks in the stack; one number, or (z, y, x).

    Raises
    ------
    ValueError
        If a nucleus is less than 4 or more than 40 pixels across, or an axis is empty.
    """
    if min(shape) < 1:
        raise ValueError(f"a stack has at least one voxel along every axis; found {shape}")
    steps = size_px(voxel_um, diameter_um) / NODES
    z, y, x = (1.0 if abs(s - 1) <= CLOSE_ENOUGH else float(s) for s in steps)
    return NetworkGrid(shape, (z, y, x))


def _taps(n_out: int, n_in: int, step: float) -> Taps:
    at = (np.arange(n_out) + 0.5) * step - 0.5
    reach = step if step > ANTIALIAS else 1.0
    first = np.floor(at - reach).astype(np.int64) + 1
    index = first[:, None] + np.arange(math.ceil(2 * reach))
    weights = np.maximum(1 - np.abs(index - at[:, None]) / reach, 0)
    weights /= weights.sum(axis=1, keepdims=True)
    return Taps(np.clip(index, 0, n_in - 1), weights.astype(np.float32))


def combine_slices(block: npt.NDArray[np.generic], taps: Taps, node: int, first: int) -> Float32:
    """Return the plane (Y, X) of one node along z.

    Parameters
    ----------
    block : (Z, Y, X)
        Samples from `first` on, of any real dtype; they become float32 slice by slice.
    taps
        Along z.
    node
        Row of `taps`.
    first
        Index of the block's first plane.
    """
    total: Float32 | None = None
    for index, weight in zip(taps.sources[node] - first, taps.weights[node], strict=True):
        if weight > 0:
            part = as_finite(block[index]) * weight
            total = part if total is None else total + part
    return np.asarray(total, np.float32)


def resample_plane(plane: Float32, rows: Taps, columns: Taps) -> Float32:
    """Return the plane at the nodes of `rows` and `columns`."""
    if rows.weights.shape[1] > 1 and not _is_identity(rows, plane.shape[0]):
        plane = _resample_rows(plane, rows.sources, rows.weights)
    if columns.weights.shape[1] > 1 and not _is_identity(columns, plane.shape[1]):
        plane = _resample_columns(plane, columns.sources, columns.weights)
    return plane


def _is_identity(taps: Taps, length: int) -> bool:
    n = len(taps.sources)
    return n == length and bool((taps.weights.max(axis=1) == 1).all())


@njit(cache=True, nogil=True)
def _resample_rows(plane: Float32, index: Int64, weights: Float32) -> Float32:
    n, k = index.shape
    result = np.zeros((n, plane.shape[1]), np.float32)
    for i in range(n):
        for t in range(k):
            weight = weights[i, t]
            if weight > 0:
                for j in range(plane.shape[1]):
                    result[i, j] += weight * plane[index[i, t], j]
    return result


@njit(cache=True, nogil=True)
def _resample_columns(plane: Float32, index: Int64, weights: Float32) -> Float32:
    n, k = index.shape
    result = np.zeros((plane.shape[0], n), np.float32)
    for i in range(plane.shape[0]):
        for j in range(n):
            total = np.float32(0)
            for t in range(k):
                total += weights[j, t] * plane[i, index[j, t]]
            result[i, j] = total
    return result
