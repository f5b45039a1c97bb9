"""The labels of one plane, as runs of pixels."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Int64: TypeAlias = npt.NDArray[np.int64]
UInt32: TypeAlias = npt.NDArray[np.uint32]
Float64: TypeAlias = npt.NDArray[np.float64]

LARGEST = (1 << 32) - 1  # of uint32


class Rois(NamedTuple):
    """The rois of one plane: one per label, ids ascending.

    The runs of equal label lie in raster order and never cross a row end:
    ``plane.ravel()[starts[i]:stops[i]]`` belongs to roi number ``roi[i]``.
    """

    nucleus: UInt32
    """(R,) label ids, ascending, without 0."""
    area_px: Int64
    """(R,) pixels of each roi."""
    y: Float64
    """(R,) centroid, in pixels from the centre of the first pixel."""
    x: Float64
    """(R,) as `y`."""
    starts: Int64
    """(runs,) first pixel of each run, as an index into the raveled plane."""
    stops: Int64
    """(runs,) one past the last pixel of each run."""
    roi: Int64
    """(runs,) to which roi each run belongs."""
    shape: tuple[int, int]
    """(Y, X) of the plane."""


class _Sums(NamedTuple):
    """Ids of one plane with the exact sums from which centroids are made."""

    nucleus: UInt32
    pixels: Int64
    y: Int64
    x: Int64
    starts: Int64
    stops: Int64
    roi: Int64


def find_rois(labels: npt.NDArray[Any]) -> Rois:
    """Find the rois of one plane: ids, areas, centroids and runs of pixels.

    Parameters
    ----------
    labels : (Y, X)
        Label of each pixel, 0 is background; any integer dtype, ids up to 2^32 - 1,
        in any order and with gaps.

    Returns
    -------
    Rois
        Empty arrays where the plane has no label.

    Raises
    ------
    TypeError
        If `labels` are not integers: floats lose ids above 2^24.
    ValueError
        If `labels` is not 2-D, or an id is negative or does not fit uint32.
    """
    sums = sum_runs(labels)
    y, x = sums.y / sums.pixels, sums.x / sums.pixels
    n_y, n_x = np.shape(labels)
    return Rois(sums.nucleus, sums.pixels, y, x, sums.starts, sums.stops, sums.roi, (n_y, n_x))


def sum_runs(labels: npt.NDArray[Any]) -> _Sums:
    """Cut a plane into runs, and sum pixels and coordinates of each label in integers."""
    plane = _checked(labels)
    n_y, n_x = plane.shape
    flat = plane.ravel()
    changes = np.ones((n_y, n_x), bool)
    np.not_equal(plane[:, 1:], plane[:, :-1], out=changes[:, 1:])
    starts = np.flatnonzero(changes)
    stops = np.append(starts[1:], flat.size)[: starts.size]
    values = flat[starts]
    kept = values != 0
    starts, stops = starts[kept], stops[kept]
    nucleus, roi = np.unique(values[kept].astype(np.uint32), return_inverse=True)
    length = stops - starts
    row, column = np.divmod(starts, max(n_x, 1))
    sums = np.zeros((3, nucleus.size), np.int64)
    np.add.at(sums[0], roi, length)
    np.add.at(sums[1], roi, length * row)
    np.add.at(sums[2], roi, length * (2 * column + length - 1) // 2)
    return _Sums(nucleus, sums[0], sums[1], sums[2], starts, stops, roi)


def _checked(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    plane = np.ascontiguousarray(labels)
    if plane.dtype.kind not in "iu":
        raise TypeError(f"The labels are of type {plane.dtype}, but integers are wanted.")
    if np.ndim(labels) != 2:
        raise ValueError(f"The labels have shape {np.shape(labels)}, but (Y, X) is wanted.")
    if plane.size and plane.dtype.kind == "i" and plane.min() < 0:
        raise ValueError(f"The label {plane.min()} is negative: ids run from 1, 0 is background.")
    if plane.size and plane.dtype.itemsize > 4 and plane.max() > LARGEST:
        raise ValueError(f"The label {plane.max()} does not fit uint32: renumber the labels.")
    return plane
