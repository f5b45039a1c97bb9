"""Where a denoiser took more than noise: the residual of every pixel over its noise."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from clgkit.blocks import output
from clgkit.denoising.noise import as_float
from clgkit.stages._denoise_planes import Factors, Looked, PlaneFrames, rebuild_part
from clgkit.stages._time_means import numbered

if TYPE_CHECKING:
    import numpy.typing as npt
    import xarray as xr

    from clgkit.data import Movie
    from clgkit.workspace import Workspace

FRAMES = 16
"""Frames that are read together; sums do not depend on it."""


def map_residual(
    movie: Movie,
    bad_frames: xr.DataArray,
    made: Movie | Factors,
    looked: Looked,
    workspace: Workspace,
) -> xr.DataArray:
    r"""Return the mean of :math:`((y - D) / \sigma)^2` of every pixel over the good frames.

    Parameters
    ----------
    movie, bad_frames
        The movie, and which of its frames do not count.
    made
        What the denoising made of it: a movie, or components and time courses.
    looked
        The noise.
    workspace
        Where planes run.

    Returns
    -------
    (z, y, x) float32
        1 where all noise was removed and nothing else, 0 where nothing was, more than 1 where
        signal went; NaN for a pixel without noise, or that no frame shows.
    """
    (found,) = workspace.map_blocks(
        partial(_residual, movie=movie, made=made, looked=looked),
        (numbered(movie), bad_frames),
        [output("residual_variance", ("z", "y", "x"), movie)],
        split={"z": 1},
    )
    return found


def _residual(
    number: xr.DataArray,
    bad: xr.DataArray,
    *,
    movie: Movie,
    made: Movie | Factors,
    looked: Looked,
) -> npt.NDArray[np.float32]:
    plane, good = int(number.values[0]), bad.values[:, 0] == 0
    sigma = looked.sigma.isel(z=plane).values
    total, count = np.zeros(sigma.shape), np.zeros(sigma.shape, np.int64)
    if plane in looked.lost or not sigma.any():
        return np.full((1, *sigma.shape), np.nan, np.float32)
    frames = PlaneFrames(movie, plane)
    for start in range(0, len(good), FRAMES):
        part = slice(start, min(start + FRAMES, len(good)))
        pixels = as_float(frames[part])
        if isinstance(made, Factors):
            denoised = rebuild_part(made, plane, part, pixels)
        else:
            denoised = PlaneFrames(made, plane)[part]
        for before, after in zip(pixels[good[part]], denoised[good[part]], strict=True):
            removed = before - after
            known = np.isfinite(removed)
            np.add(total, np.square(removed, dtype=np.float64), out=total, where=known)
            count += known
    with np.errstate(invalid="ignore", divide="ignore"):  # pixels without noise become NaN
        found = np.where(sigma > 0, total / count / np.square(sigma, dtype=np.float64), np.nan)
    return found.astype(np.float32)[None]
