"""Means over frames of a plane, read a few frames at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

if TYPE_CHECKING:
    import numpy.typing as npt

    from clgkit.data import Movie

FRAMES = 32
"""Frames that are read together; fixed, so that a mean depends on nothing else."""


def mean_over_time(plane: xr.DataArray, frames: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return the mean of some frames over those that show a pixel.

    Parameters
    ----------
    plane : (time, y, x)
        One plane of a movie, to be read on demand.
    frames : (n,)
        Rising frame numbers.

    Returns
    -------
    (y, x) float32
        NaN where none of the frames is finite.
    """
    shape = (plane.sizes["y"], plane.sizes["x"])
    total, count = np.zeros(shape), np.zeros(shape, np.int64)
    for start in range(0, len(frames), FRAMES):
        chosen = frames[start : start + FRAMES]
        read = plane.isel(time=slice(int(chosen[0]), int(chosen[-1]) + 1)).values
        for frame in read[chosen - chosen[0]]:
            good = np.isfinite(frame)
            np.add(total, frame, out=total, where=good)
            count += good
    with np.errstate(invalid="ignore"):  # pixels that no frame shows become NaN
        return np.asarray(total / count, np.float32)


def numbered(movie: Movie) -> xr.DataArray:
    """Return the number (from 0) of each plane, as a source for functions of one plane."""
    return xr.DataArray(np.arange(movie.sizes["z"]), dims=("z",), name="plane_number")
