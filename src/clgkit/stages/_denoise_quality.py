"""How well a method does on a sample of every plane, without a truth."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from clgkit import denoising
from clgkit.blocks import output
from clgkit.denoising.noise import choose_frames, read_frames
from clgkit.stages._denoise_planes import Looked, PlaneFrames, Recipe, noise_of
from clgkit.stages._denoise_support import network_on_sample
from clgkit.stages._time_means import numbered

if TYPE_CHECKING:
    import numpy.typing as npt
    import xarray as xr

    from clgkit.data import Movie
    from clgkit.workspace import Workspace

Float32: TypeAlias = "npt.NDArray[np.float32]"
SHARE = 0.03  # of a plane: its denoising is repeated three times on the sample
LEAST_PX = 32
STEP_PX = 8
MEASURES = (*denoising.DenoisingQuality._fields, "first_y", "first_x", "side_y", "side_x")


class Sample(NamedTuple):
    """Part of a plane, frames of the fit only."""

    frames: Float32
    noise: denoising.Noise
    corner: tuple[int, int]


def judge_planes(
    movie: Movie,
    bad_frames: xr.DataArray,
    looked: Looked,
    n_components: xr.DataArray | None,
    *,
    recipe: Recipe,
    workspace: Workspace,
) -> xr.DataArray:
    """Return the measures of :class:`clgkit.denoising.DenoisingQuality` of every plane."""
    (made,) = workspace.map_blocks(
        partial(_judge, movie=movie, looked=looked, n_components=n_components, recipe=recipe),
        (numbered(movie), bad_frames),
        [output("quality", ("z", "measure"), movie, np.float64, measure=len(MEASURES))],
        split={"z": 1},
    )
    return made


def _judge(
    number: xr.DataArray,
    bad: xr.DataArray,
    *,
    movie: Movie,
    looked: Looked,
    n_components: xr.DataArray | None,
    recipe: Recipe,
) -> npt.NDArray[np.float64]:
    plane = int(number.values[0])
    nothing = np.full((1, len(MEASURES)), np.nan)
    if plane in looked.lost or not looked.sigma.isel(z=plane).values.any():
        return nothing
    ranks = None if n_components is None else n_components.isel(z=plane).values
    sample = take_sample(
        movie, plane, usable=bad.values[:, 0] == 0, looked=looked, ranks=ranks, limit=recipe.limit
    )
    judged = judge_sample(sample, recipe)
    return np.array([[*judged, *sample.corner, *sample.frames.shape[1:]]], np.float64)


def take_sample(
    movie: Movie,
    plane: int,
    *,
    usable: npt.NDArray[np.bool_],
    looked: Looked,
    ranks: npt.NDArray[np.int32] | None = None,
    limit: int,
) -> Sample:
    """Read the part of a plane that has most components, or its middle; good frames only."""
    frames = PlaneFrames(movie, plane)
    size = frames.shape[1:]
    side = max(LEAST_PX, int(math.sqrt(SHARE * size[0] * size[1])) // STEP_PX * STEP_PX)
    sides = (min(side, size[0]), min(side, size[1]))
    corner = _corner((size[0], size[1]), sides, ranks)
    region = (slice(corner[0], corner[0] + sides[0]), slice(corner[1], corner[1] + sides[1]))
    chosen = choose_frames(usable, limit=limit)
    pixels = np.concatenate([read for _, read in read_frames(frames, chosen, region)])
    noise = noise_of(looked, plane, chosen)
    noise = noise._replace(mean=noise.mean[region], sigma=noise.sigma[region])
    return Sample(pixels, noise, corner)


def _corner(
    size: tuple[int, int], sides: tuple[int, int], ranks: npt.NDArray[np.int32] | None
) -> tuple[int, int]:
    """Return the corner of the richest rectangle of blocks, the first of equals."""
    if ranks is None:
        return (size[0] - sides[0]) // 2, (size[1] - sides[1]) // 2
    grid = denoising.grid_of(size)
    n_y, n_x = (
        min(max(1, side // STEP_PX - 1), n) for side, n in zip(sides, ranks.shape, strict=True)
    )
    running = np.pad(ranks.astype(np.int64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    sums = running[n_y:, n_x:] - running[:-n_y, n_x:] - running[n_y:, :-n_x] + running[:-n_y, :-n_x]
    row, column = np.unravel_index(int(sums.argmax()), sums.shape)
    return min(int(grid.y[row]), size[0] - sides[0]), min(int(grid.x[column]), size[1] - sides[1])


def judge_sample(sample: Sample, recipe: Recipe) -> denoising.DenoisingQuality:
    """Return the measures of a method on a sample."""
    reference = None if recipe.method == "lowrank" else _lowrank
    return denoising.judge(sample.frames, sample.noise, denoiser_of(recipe), reference=reference)


def denoiser_of(recipe: Recipe) -> Callable[[Float32], Float32]:
    """Return the method as a function of frames."""
    made: dict[str, Callable[[Float32], Float32]] = {
        "none": np.copy,
        "mean image": _mean_image,
        "gaussian": denoising.denoise_gaussian,
        "lowrank": partial(_lowrank, smooth=recipe.smooth, weak=recipe.weak, device=recipe.device),
        "support": partial(network_on_sample, network=recipe.network, ends=recipe.ends),
    }
    return made[recipe.method]


def _lowrank(frames: Float32, **options: Any) -> Float32:
    return denoising.denoise_lowrank(frames, **options).denoised


def _mean_image(frames: Float32) -> Float32:
    with np.errstate(invalid="ignore"):
        known = np.isfinite(frames)
        mean = np.where(known, frames, 0).sum(axis=0) / known.sum(axis=0)
    return np.where(known, mean, np.nan).astype(np.float32)


class Compared(NamedTuple):
    """What a method does to the movie, averaged over planes, and its place among the methods."""

    method: str
    rank: int
    heldout_excess: float
    correlation_bias: float
    correlation_rms: float
    peak: float


def compare_methods(
    movie: Movie, bad_frames: xr.DataArray, looked: Looked, recipes: dict[str, Recipe]
) -> list[Compared]:
    """Return the methods, best first: by held-out error and correlation error together.

    Parameters
    ----------
    movie, bad_frames, looked
        The movie, of which a sample of up to three planes is read, and its noise.
    recipes
        Name → method.
    """
    planes = [p for p in range(movie.sizes["z"]) if looked.sigma.isel(z=p).values.any()]
    chosen = sorted({planes[len(planes) * k // 4] for k in (1, 2, 3)}) if planes else []
    made: dict[str, list[denoising.DenoisingQuality]] = {name: [] for name in recipes}
    for plane in chosen:
        good = bad_frames.values[:, plane] == 0
        limit = next(iter(recipes.values())).limit
        sample = take_sample(movie, plane, usable=good, looked=looked, limit=limit)
        for name, recipe in recipes.items():
            made[name].append(judge_sample(sample, recipe))
    table = {
        name: np.array([_row(found) for found in judged]).reshape(-1, 4)
        for name, judged in made.items()
    }
    means = {name: _known_mean(rows) for name, rows in table.items()}
    places = [_places({name: row[column] for name, row in means.items()}) for column in (0, 2)]
    total = {name: sum(place[name] for place in places) for name in means}
    order = sorted(means, key=lambda name: (total[name], _last_if_nan(means[name][0])))
    return [Compared(name, at, *means[name].tolist()) for at, name in enumerate(order, 1)]


def _row(found: denoising.DenoisingQuality) -> list[float]:
    return [found.heldout_excess, found.correlation_bias, found.correlation_rms, found.peak]


def _known_mean(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    known = np.isfinite(rows)
    with np.errstate(invalid="ignore"):  # nothing is known of any plane
        return np.asarray(np.where(known, rows, 0).sum(axis=0) / known.sum(axis=0))


def _places(values: dict[str, float]) -> dict[str, int]:
    order = sorted(values, key=lambda name: _last_if_nan(values[name]))
    return {name: place for place, name in enumerate(order)}


def _last_if_nan(value: float) -> float:
    return value if math.isfinite(value) else math.inf
