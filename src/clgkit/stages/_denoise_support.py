"""A trained blind-spot network on a movie, a block of frames at a time."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from clgkit.blocks import output
from clgkit.denoising.noise import as_float
from clgkit.denoising.support_samples import Ends, Scale, measure_scale
from clgkit.denoising.support_spot import choose_blind_spot
from clgkit.errors import DataError
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
    made = denoise_frames(frames, recipe.network, scale=scale, wanted=wanted, ends=recipe.ends)
    if recipe.blank:
        made[bad.values[:, 0] != 0] = np.nan
    return made[:, None]


def network_on_sample(frames: npt.NDArray[np.float32], *, network: Any, ends: Ends) -> Any:
    """Return a sample of a plane as the network sees it."""
    from clgkit.denoising.support import denoise_frames  # noqa: PLC0415  (loads torch)

    return denoise_frames(frames, network, scale=measure_scale(frames), ends=ends)


def check_network(movie: Movie, network: Any) -> None:
    """Raise a DataError if a network takes more frames than the movie has."""
    if network is not None and movie.sizes["time"] < network.layout.n_frames:
        raise DataError(
            f"The movie has {movie.sizes['time']} frames, the network takes "
            f"{network.layout.n_frames} at a time; train one of fewer frames, or take another "
            "method."
        )


def blind_spots(looked: Looked, network: Any) -> dict[str, Any] | None:
    """Return the blind spot of a network beside that which the noise of the movie needs.

    None without a network, and for one that does not see the frame that it denoises.
    """
    planes = looked.correlation.values
    known = planes[np.isfinite(planes).all(axis=(1, 2))]
    if network is None or not network.layout.channels or not len(known):
        return None
    needed = choose_blind_spot(known.mean(axis=0))
    has = network.layout.blind_spot
    return {
        "network": list(has),
        "needed": list(needed.size),
        "sentence": needed.sentence(),
        "is_enough": all(a >= b for a, b in zip(has, needed.size, strict=True)),
    }


def told_of_spot(spots: dict[str, Any] | None) -> str:
    """Return a warning if noise reaches beyond the blind spot of a network, else nothing."""
    if spots is None or spots["is_enough"]:
        return ""
    needed, has = (f"{y} x {x}" for y, x in (spots["needed"], spots["network"]))
    return (
        f"the noise of the movie needs a blind spot of {needed} pixels, that of the network has "
        f"{has}: noise that neighbours share will stay; train one on this movie (clg "
        "train-denoiser), or denoise before resampling"
    )
