"""Masks from flows: every pixel follows the flow, and pixels that meet are one object."""

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy import ndimage

from clgkit.segmentation.cellpose_flows import NETWORK_SCALE, Rule

__all__ = ["follow_flows", "group_ends"]

Float32: TypeAlias = npt.NDArray[np.float32]
Int32: TypeAlias = npt.NDArray[np.int32]
Int64: TypeAlias = npt.NDArray[np.int64]
Bool: TypeAlias = npt.NDArray[np.bool_]

BORDER: Final = 20  # of the histogram of ends
LEAST_SEED = 10  # a seed has more ends than this
LEAST_GROWN = 2  # and grows over pixels with more than this
GROWTH = 5
LEAST_FLOW = 1e-3


def follow_flows(flows: Float32, on: Bool, *, n_steps: int, rule: Rule = "cellpose3") -> Int32:
    """Return where each pixel ends that follows the flow.

    Parameters
    ----------
    flows : (2, Y, X)
        As the network gives them.
    on : (Y, X)
        Pixels of nuclei; the flow is zero elsewhere.
    n_steps
        Euler steps of one fifth of the flow.
    rule
        Cellpose 2 moves pixels with a flow along y only.

    Returns
    -------
    (2, Y, X) int32
        The pixel reached; pixels that are not followed stay at their own place.
    """
    steps = np.ascontiguousarray((flows * on / np.float32(NETWORK_SCALE)).astype(np.float32))
    moved = np.abs(steps[0]) > LEAST_FLOW if rule == "cellpose2" else on
    ends = np.indices(on.shape, dtype=np.int32)
    rows, columns = np.nonzero(moved)
    _follow(steps, rows, columns, n_steps, ends)
    return ends


def group_ends(ends: Int32, members: Bool, *, rule: Rule = "cellpose3") -> Int32:
    """Return masks: pixels whose ends lie in one heap.

    Parameters
    ----------
    ends : (d, ...)
        From :func:`follow_flows`; planes or volumes.
    members : (...)
        Pixels that may belong to a mask.
    rule
        Where heaps touch, the higher one wins; in Cellpose 2 the last one in raster order.

    Returns
    -------
    (...) int32
        Ids 1, 2, ... of the heaps; 0 elsewhere.
    """
    shape = members.shape
    bins = tuple(n + 2 * BORDER for n in shape)
    flat = np.ravel_multi_index(tuple(part[members] + BORDER for part in ends), bins)
    heap = np.bincount(flat, minlength=int(np.prod(bins))).reshape(bins)
    peaks = (heap > LEAST_SEED) & (heap == ndimage.maximum_filter(heap, size=5, mode="constant"))
    seeds = np.argwhere(peaks)
    if rule == "cellpose3":
        seeds = seeds[np.argsort(heap[tuple(seeds.T)], kind="stable")]
    painted = np.zeros(bins, np.int32)
    around = np.ones((3,) * len(shape), bool)
    for number, seed in enumerate(seeds, start=1):
        window = tuple(slice(k - GROWTH, k + GROWTH + 1) for k in seed.tolist())
        _paint(painted[window], heap[window], number, around)
    labels = np.zeros(shape, np.int32)
    labels[members] = painted.ravel()[flat]
    return labels


def _paint(painted: Int32, heap: Int64, number: int, around: Bool) -> None:
    """Grow a seed in the middle of its window over what is high enough."""
    allowed = heap > LEAST_GROWN
    grown = np.zeros(heap.shape, bool)
    grown[(GROWTH,) * heap.ndim] = True
    grown = ndimage.binary_dilation(grown, around, iterations=GROWTH, mask=allowed)
    painted[grown] = number


@njit(cache=True, nogil=True)
def _follow(steps: Float32, rows: Int64, columns: Int64, n_steps: int, ends: Int32) -> None:
    """Move pixels one after the other; one that stands still is done."""
    height, width = steps.shape[1:]
    low, last_y, last_x = np.float32(0), np.float32(height - 1), np.float32(width - 1)
    for k in range(len(rows)):
        y, x = np.float32(rows[k]), np.float32(columns[k])
        for _ in range(n_steps):
            top, left = int(y), int(x)
            below, right = min(top + 1, height - 1), min(left + 1, width - 1)
            b, r = np.float64(y) - top, np.float64(x) - left
            a, q = 1 - b, 1 - r
            dy = np.float32(
                steps[0, top, left] * (a * q)
                + steps[0, top, right] * (a * r)
                + steps[0, below, left] * (b * q)
                + steps[0, below, right] * (b * r)
            )
            dx = np.float32(
                steps[1, top, left] * (a * q)
                + steps[1, top, right] * (a * r)
                + steps[1, below, left] * (b * q)
                + steps[1, below, right] * (b * r)
            )
            to_y = min(max(y + dy, low), last_y)
            to_x = min(max(x + dx, low), last_x)
            if to_y == y and to_x == x:
                break
            y, x = to_y, to_x
        ends[0, rows[k], columns[k]] = int(y)
        ends[1, rows[k], columns[k]] = int(x)
