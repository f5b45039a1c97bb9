"""Flows of masks: in every mask, the direction from each pixel to the mask's centre."""

from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy import ndimage

__all__ = ["Rule", "flow_errors", "flows_of_masks", "mask_diameter_px"]

Float64: TypeAlias = npt.NDArray[np.float64]
Int32: TypeAlias = npt.NDArray[np.int32]
Rule: TypeAlias = Literal["cellpose3", "cellpose2"]

NETWORK_SCALE: Final = 5.0  # the network gives flows times this
TINY = 1e-60


def flows_of_masks(labels: npt.NDArray[np.integer], *, rule: Rule = "cellpose3") -> Float64:
    """Return unit vectors that lead from each pixel of a mask to the mask's centre.

    Parameters
    ----------
    labels : (Y, X)
        0 is background; ids may have gaps.
    rule
        Cellpose 3 takes the pixel nearest to the mean as the centre; Cellpose 2 that nearest to
        the median, and the logarithm of the heat at some pixels.

    Returns
    -------
    (2, Y, X) float64
        Along y and x; zero outside of masks, and where no heat arrives.

    Notes
    -----
    Heat is fed in at the centre and spreads inside the mask by means of 3 x 3 pixels; the flow is
    its normalized gradient (Stringer et al. 2021).  Cellpose 2 takes the logarithm on the
    processor only at pixels whose upper left neighbour lies in the mask; that is repeated here.
    """
    flows = np.zeros((2, *labels.shape), np.float64)
    compact = compact_ids(labels)
    for number, box in enumerate(ndimage.find_objects(compact), start=1):
        rows, columns = box
        inside = np.pad(compact[box] == number, 1)
        _flow_of_mask(inside, flows[:, rows, columns], rule == "cellpose2")
    return flows


def flow_errors(
    labels: npt.NDArray[np.integer], flows: npt.NDArray[np.floating], *, rule: Rule = "cellpose3"
) -> Float64:
    """Return how far the network's flows are from those of each mask.

    Parameters
    ----------
    labels : (Y, X)
        Masks, ids 1 to n.
    flows : (2, Y, X)
        As the network gives them, five times a unit vector.
    rule
        See :func:`flows_of_masks`.

    Returns
    -------
    (n,) float64
        Mean squared distance within each mask; 0 for an id without pixels.
    """
    wanted = flows_of_masks(labels, rule=rule)
    squares = ((wanted - flows.astype(np.float32) / np.float32(NETWORK_SCALE)) ** 2).sum(axis=0)
    sums = np.bincount(labels.ravel(), weights=squares.ravel())
    counts = np.bincount(labels.ravel())
    result: Float64 = (sums / np.maximum(counts, 1))[1:]
    return result


def mask_diameter_px(labels: npt.NDArray[np.integer]) -> float:
    """Return the diameter of a disk with the area of the typical mask; 0 without masks."""
    counts = np.unique(labels[labels != 0], return_counts=True)[1]
    if counts.size == 0:
        return 0.0
    return float(2 / np.sqrt(np.pi) * np.median(np.sqrt(counts)))


def compact_ids(labels: npt.NDArray[np.integer]) -> Int32:
    """Return the labels with ids 1, 2, ... in the order of the given ones."""
    ids, inverse = np.unique(labels, return_inverse=True)
    first = 0 if ids.size and ids[0] == 0 else 1
    result: Int32 = (inverse.reshape(labels.shape) + first).astype(np.int32)
    return result


@njit(cache=True, nogil=True)
def _flow_of_mask(inside: npt.NDArray[np.bool_], out: Float64, median: bool) -> None:  # noqa: FBT001  (numba)
    """Write the flow of one mask, given with a border of one pixel, into its box."""
    height, width = inside.shape
    rows, columns = np.nonzero(inside)
    centre = _centre(rows, columns, median)
    if median:
        n_steps = 2 * (rows.max() - rows.min() + columns.max() - columns.min())
    else:
        n_steps = 2 * (height + width)
    heat = np.zeros((height, width))
    fresh = np.zeros(len(rows))
    for _ in range(n_steps):
        heat[rows[centre], columns[centre]] += 1
        for k in range(len(rows)):
            y, x = rows[k], columns[k]
            total = heat[y, x] + heat[y - 1, x] + heat[y + 1, x] + heat[y, x - 1] + heat[y, x + 1]
            total += heat[y - 1, x - 1] + heat[y - 1, x + 1]
            total += heat[y + 1, x - 1] + heat[y + 1, x + 1]
            fresh[k] = total / 9
        for k in range(len(rows)):
            heat[rows[k], columns[k]] = fresh[k]
    if median:
        for k in range(len(rows)):
            y, x = rows[k] + 1, columns[k] + 1
            heat[y, x] = np.log(1 + heat[y, x])
    for k in range(len(rows)):
        y, x = rows[k], columns[k]
        dy = heat[y + 1, x] - heat[y - 1, x]
        dx = heat[y, x + 1] - heat[y, x - 1]
        length = np.sqrt(dy * dy + dx * dx) + TINY
        out[0, y - 1, x - 1] = dy / length
        out[1, y - 1, x - 1] = dx / length


@njit(cache=True, nogil=True)
def _centre(rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64], median: bool) -> int:  # noqa: FBT001  (numba)
    """Return which pixel is nearest to the mean or median place; the first of several."""
    if median:
        y, x = np.median(rows), np.median(columns)
    else:
        y, x = rows.mean(), columns.mean()
    best, nearest = 0, np.inf
    for k in range(len(rows)):
        distance = (rows[k] - y) ** 2 + (columns[k] - x) ** 2
        if distance < nearest:
            best, nearest = k, distance
    return best
