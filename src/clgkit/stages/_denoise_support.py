"""A trained blind-spot network on a movie, a block of frames at a time."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from clgkit.blocks import output
from clgkit.denoising.noise import as_float
from clgkit.denoising.support_samples import Scale
from clgkit.stages._denoise_planes import Looked, PlaneFrames, PlaneNumbers, Recipe
from clgkit.stages._time_means import numbered

if TYPE_CHECKING:
    import numpy.typing as npt

    from clgkit.data import Movie
    from clgkit.workspace import Workspace


def filter_by_network(
    movie: Movie, bad: xr.DataArray, looked: Looked, recipe: Recipe, workspace: Workspace
) -> Movie:
    """Return the movie as the network sees it."""
    frames = xr.DataArray(np.arange(movie.sizes["time"]), dims=("time",), name="frame_number")
    (made,) = workspace.map_blocks(
        partial(_filter, movie=movie, looked=looked, recipe=recipe),
        (frames, bad, numbered(movie)),
        [output("denoised", ("time", "z", "y", "x"), movie)],
        split={"z": 1, "time": None},
    )
    return made


def _filter(
    numbers: xr.DataArray,
    bad: xr.DataArray,
    plane: xr.DataArray,
    *,
    movie: Movie,
    looked: Looked,
    recipe: Recipe,
) -> npt.NDArray[np.float32]:
    from clgkit.denoising.support import denoise_frames  # noqa: PLC0415  (loads torch)

    at = int(plane.values[0])
    frames, wanted = PlaneFrames(movie, at), slice(int(numbers[0]), int(numbers[-1]) + 1)
    if at in looked.lost:
        return as_float(frames[wanted])[:, None]
    measured = PlaneNumbers(*looked.numbers.values[at].tolist())
    scale = Scale(measured.level, measured.spread)
    made = denoise_frames(frames, recipe.network, scale=scale, wanted=wanted)
    if recipe.blank:
        made[bad.values[:, 0] != 0] = np.nan
    return made[:, None]


def network_on_sample(frames: npt.NDArray[np.float32], *, network: Any) -> Any:
    """Return a sample of a plane as the network sees it."""
    from clgkit.denoising.support import denoise_support  # noqa: PLC0415  (loads torch)

    return denoise_support(frames, network)
