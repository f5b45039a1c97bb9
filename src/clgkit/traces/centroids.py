"""Size and place of every nucleus in a labelled volume, slice by slice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from clgkit.traces.rois import sum_runs

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from clgkit.traces.rois import Float64, Int64, UInt32

PENDING_ROWS = 1 << 18  # rows of 56 bytes that wait before they are added up
COLUMNS = 6  # voxels, sums of z, y, x, first and last slice


class Geometry(NamedTuple):
    """What was measured of N nuclei, ids ascending."""

    nucleus: UInt32
    """(N,) label ids."""
    voxels: Int64
    """(N,) size."""
    z: Float64
    """(N,) centroid, in slices."""
    y: Float64
    """(N,) centroid, in pixels."""
    x: Float64
    """(N,) centroid, in pixels."""
    z_min: Int64
    """(N,) first slice that holds the nucleus."""
    z_max: Int64
    """(N,) last slice that holds the nucleus."""


class LabelGeometry:
    """Measures the nuclei of a volume that is shown slice by slice, in any order.

    Sums are integers, so the result is exact to the last division and does not
    depend on the order.  Memory grows with the number of nuclei, not of slices.
    """

    def __init__(self) -> None:
        self._ids: UInt32 = np.zeros(0, np.uint32)
        self._table: Int64 = np.zeros((0, COLUMNS), np.int64)
        self._pending: list[tuple[UInt32, Int64]] = []
        self._n_pending = 0
        self._seen: set[int] = set()
        self._shape: tuple[int, ...] | None = None

    def add(self, z: int, labels: npt.NDArray[Any]) -> None:
        """Measure slice number `z`.

        Raises
        ------
        TypeError
            If `labels` are not integers.
        ValueError
            If `labels` is not (Y, X) as the slices before, an id is negative or does
            not fit uint32, or slice `z` was measured already.
        """
        if z in self._seen:
            raise ValueError(f"Slice {z} was measured already: show every slice once.")
        shape = np.shape(labels)
        if self._shape is not None and shape != self._shape:
            raise ValueError(f"Slice {z} has shape {shape}, but those before {self._shape}.")
        sums = sum_runs(labels)
        self._shape = shape
        self._seen.add(z)
        level = np.full(sums.nucleus.size, z, np.int64)
        rows = np.stack([sums.pixels, level * sums.pixels, sums.y, sums.x, level, level], axis=1)
        self._pending.append((sums.nucleus, rows))
        self._n_pending += len(rows)
        if self._n_pending > max(PENDING_ROWS, 4 * self._ids.size):
            self._add_up()

    def finish(self) -> Geometry:
        """Return what was measured so far."""
        self._add_up()
        voxels, sum_z, sum_y, sum_x, z_min, z_max = self._table.T
        return Geometry(
            self._ids, voxels, sum_z / voxels, sum_y / voxels, sum_x / voxels, z_min, z_max
        )

    def _add_up(self) -> None:
        if not self._pending:
            return
        ids = np.concatenate([self._ids, *(ids for ids, _ in self._pending)])
        rows = np.concatenate([self._table, *(rows for _, rows in self._pending)])
        order = np.argsort(ids, kind="stable")
        ids, rows = ids[order], rows[order]
        starts = np.flatnonzero(np.append(True, ids[1:] != ids[:-1])[: ids.size])
        self._table = np.zeros((starts.size, COLUMNS), np.int64)
        if starts.size:
            self._table[:, :4] = np.add.reduceat(rows[:, :4], starts)
            self._table[:, 4] = np.minimum.reduceat(rows[:, 4], starts)
            self._table[:, 5] = np.maximum.reduceat(rows[:, 5], starts)
        self._ids = ids[starts]
        self._pending, self._n_pending = [], 0


def measure_labels(slices: Iterable[tuple[int, npt.NDArray[Any]]]) -> Geometry:
    """Measure size, centroid and axial extent of every nucleus of a volume.

    Parameters
    ----------
    slices
        Pairs of slice number and labels (Y, X), read one at a time, in any order; any
        integer dtype, ids up to 2^32 - 1 and with gaps, 0 is background.

    Returns
    -------
    Geometry
        Ids ascending; centroids in slices and pixels, float64, equal to the mean of
        the voxel indices of the *whole* 3-D label.  Empty where there is no label.

    Raises
    ------
    TypeError, ValueError
        As `LabelGeometry.add`.
    """
    measured = LabelGeometry()
    for z, labels in slices:
        measured.add(z, labels)
    return measured.finish()
