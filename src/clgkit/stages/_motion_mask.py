"""Which pixels the corrected frames of a plane show."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from clgkit import registration
from clgkit.blocks import Output, output
from clgkit.stages._time_means import FRAMES, numbered

if TYPE_CHECKING:
    import numpy.typing as npt
    import xarray as xr

    from clgkit.data import Movie, Volume
    from clgkit.workspace import Workspace


def packed_output(function: Movie) -> Output:
    """Return where the masks of all frames go: eight pixels of a row in a byte."""
    return output(
        "shown",
        ("time", "z", "y", "eight"),
        function,
        np.uint8,
        eight=-(-function.sizes["x"] // 8),
    )


def pack_shown(
    corrected: npt.NDArray[np.floating], good: npt.NDArray[np.bool_]
) -> npt.NDArray[np.uint8]:
    """Return the finite pixels of frames (T, Y, X), eight in a byte; none of a bad frame."""
    return np.packbits(np.isfinite(corrected) & good[:, np.newaxis, np.newaxis], axis=-1)


def count_valid(function: Movie, shown: xr.DataArray, workspace: Workspace) -> Volume:
    """Return how many good frames show each pixel of each plane, (z, y, x) uint32.

    Parameters
    ----------
    function
        Gives the size of a frame.
    shown
        As packed by :func:`pack_shown`, of all frames; read a few frames at a time.
    workspace
        As for the stage.
    """
    (made,) = workspace.map_blocks(
        partial(_count, shown=shown, width=function.sizes["x"]),
        numbered(function),
        [output("n_valid", ("z", "y", "x"), function, np.uint32)],
        split={"z": 1},
    )
    return made


def _count(number: xr.DataArray, *, shown: xr.DataArray, width: int) -> npt.NDArray[np.uint32]:
    plane = shown.isel(z=int(number.values[0]))
    count = np.zeros((1, plane.sizes["y"], width), np.uint32)
    for start in range(0, plane.sizes["time"], FRAMES):
        packed = plane.isel(time=slice(start, start + FRAMES)).values
        count[0] += np.unpackbits(packed, axis=-1, count=width).sum(axis=0, dtype=np.uint32)
    return count


def seen_in_all(n_valid: Volume, bad_frames: xr.DataArray, plane: int) -> float | None:
    """Return the share of the field that every good frame shows; None without such frames."""
    n_good = int((bad_frames.values[:, plane] == registration.FrameCode.OK).sum())
    shown = n_valid.values[plane] == n_good
    return float(shown.mean()) if n_good else None
