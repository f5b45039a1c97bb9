"""Overlapping patches of a field, and where each of them really is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class PatchAxis(NamedTuple):
    """The patches along one axis."""

    start: Integers
    """(n,) first pixel of each patch."""
    stop: Integers
    """(n,) one past its last pixel."""
    centers_px: Float64
    """(n,) centre of the patch as it is, clipped to the field."""
    window: Float32
    """(n, length) Hann window of each patch, 0 outside it and never 0 inside."""


class PatchGrid(NamedTuple):
    """Patches that tile a field: every row of patches meets every column of patches."""

    y: PatchAxis
    x: PatchAxis

    @property
    def shape(self) -> tuple[int, int]:
        """Number of patches along y and x."""
        return len(self.y.start), len(self.x.start)


def plan_patches(shape: tuple[int, int], *, grid_px: int = 64, overlap_px: int = 32) -> PatchGrid:
    """Cut a field into cells, and extend each cell on all sides to a patch.

    Parameters
    ----------
    shape
        (Y, X) of the field.
    grid_px
        Side of a cell.  A last cell shorter than half of it joins the one before.
    overlap_px
        A patch reaches this far beyond its cell, but not beyond the field; of patches that
        are equal, because they fill it, one is kept.

    Returns
    -------
    PatchGrid

    Raises
    ------
    ValueError
        If the field is empty, `grid_px` is below 1 or `overlap_px` negative.
    """
    if min(shape) < 1:
        raise ValueError(f"a field must have at least one pixel, found shape {shape}.")
    if grid_px < 1 or overlap_px < 0:
        raise ValueError(
            f"found grid_px {grid_px} and overlap_px {overlap_px}; "
            "expected at least 1 and at least 0."
        )
    return PatchGrid(*(_plan_axis(n, grid_px, overlap_px) for n in shape))


def _plan_axis(n: int, grid_px: int, overlap_px: int) -> PatchAxis:
    edges = np.arange(0, n, grid_px)
    if len(edges) > 1 and 2 * (n - edges[-1]) < grid_px:
        edges = edges[:-1]
    start = np.maximum(edges - overlap_px, 0)
    stop = np.minimum(np.append(edges[1:], n) + overlap_px, n)
    # Cells whose patches both fill the field would be one patch twice, at one centre.
    new = np.diff(start + stop, prepend=-1) > 0
    start, stop = start[new], stop[new]
    window = np.zeros((len(start), n), dtype=np.float32)
    for row, first, last in zip(window, start, stop, strict=True):
        row[first:last] = np.hanning(last - first + 2)[1:-1]
    return PatchAxis(start, stop, (start + stop - 1) / 2, window)
