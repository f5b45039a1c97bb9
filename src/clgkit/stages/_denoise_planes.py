"""Low rank of a movie, plane by plane: noise, components of tiles, frames."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import xarray as xr

from clgkit import denoising
from clgkit.blocks import output
from clgkit.denoising.grid import STEP_PX
from clgkit.denoising.lowrank import MISSES, MOST_COMPONENTS
from clgkit.denoising.noise import LAGS, as_float, choose_frames
from clgkit.denoising.support_samples import measure_scale
from clgkit.errors import DataError
from clgkit.stages._time_means import numbered
from clgkit.workspace import failed_planes

if TYPE_CHECKING:
    import numpy.typing as npt

    from clgkit.data import Movie
    from clgkit.workspace import Workspace

TILE_MB = 128
KEPT_PLANES = 2


class Recipe(NamedTuple):
    """What the functions of blocks need to know."""

    method: str
    smooth: bool
    weak: bool
    limit: int
    blank: bool
    as_factors: bool
    device: str
    network: Any = None
    ends: Literal["repeat", "mirror"] = "repeat"


class PlaneNumbers(NamedTuple):
    """What was measured of the noise of a plane."""

    in_time: float
    n_pairs: float
    n_constant: float
    neighbour_y: float
    neighbour_x: float
    edge: float
    smoothness: float
    n_frames: float
    level: float
    spread: float


class Looked(NamedTuple):
    """Noise of all planes."""

    mean: xr.DataArray
    sigma: xr.DataArray
    correlation: xr.DataArray
    numbers: xr.DataArray
    lost: Mapping[int, str]


class Found(NamedTuple):
    """Components of all planes."""

    footprints: xr.DataArray
    n_components: xr.DataArray
    eigenvalues: xr.DataArray | None = None


class PlaneFrames:
    """One plane of a movie as frames that are read when they are sliced."""

    def __init__(self, movie: Movie, plane: int) -> None:
        self._plane = movie.isel(z=plane).variable
        self.shape = tuple(self._plane.shape)

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        return np.asarray(self._plane[key].values)


def look(movie: Movie, bad_frames: xr.DataArray, recipe: Recipe, workspace: Workspace) -> Looked:
    """Measure mean, noise and edge of every plane."""
    n_lags = 2 * LAGS + 1
    made = workspace.map_blocks(
        partial(_look, movie=movie, lost=failed_planes(movie), recipe=recipe),
        (numbered(movie), bad_frames),
        [
            output("mean", ("z", "y", "x"), movie),
            output("sigma", ("z", "y", "x"), movie),
            output("noise_correlation", ("z", "lag_y", "lag_x"), movie, np.float64,
                   lag_y=n_lags, lag_x=n_lags),
            output("noise", ("z", "measure"), movie, np.float64,
                   measure=len(PlaneNumbers._fields)),
        ],
        split={"z": 1},
        isolate="z",
    )  # fmt: skip
    mean, sigma, correlation, numbers = made
    return Looked(mean, sigma, correlation, numbers, failed_planes(mean))


def _look(
    number: xr.DataArray,
    bad: xr.DataArray,
    *,
    movie: Movie,
    lost: Mapping[int, str],
    recipe: Recipe,
) -> tuple[npt.NDArray[Any], ...]:
    plane = int(number.values[0])
    if plane in lost:
        raise DataError(lost[plane])
    frames = PlaneFrames(movie, plane)
    noise = denoising.measure_noise(frames, usable=bad.values[:, 0] == 0, limit=recipe.limit)
    edge = denoising.edge_of(noise, denoising.grid_of((frames.shape[1], frames.shape[2])))
    scale = measure_scale(frames) if recipe.method == "support" else (math.nan, math.nan)
    numbers = PlaneNumbers(
        noise.in_time, noise.n_pairs, noise.n_constant, *noise.neighbours, *edge,
        len(noise.frames), *scale,
    )  # fmt: skip
    return noise.mean[None], noise.sigma[None], noise.correlation[None], np.array([numbers])


def noise_of(looked: Looked, plane: int, frames: npt.NDArray[np.int64]) -> denoising.Noise:
    """Return what was measured of a plane."""
    numbers = PlaneNumbers(*looked.numbers.values[plane].tolist())
    return denoising.Noise(
        looked.mean.isel(z=plane).values,
        looked.sigma.isel(z=plane).values,
        looked.correlation.values[plane],
        numbers.in_time,
        int(numbers.n_pairs),
        int(numbers.n_constant),
        frames,
    )


def edge_of(looked: Looked, plane: int) -> denoising.Edge:
    """Return the edge that was measured on a plane."""
    numbers = PlaneNumbers(*looked.numbers.values[plane].tolist())
    return denoising.Edge(numbers.edge, numbers.smoothness)


def find(
    movie: Movie, bad_frames: xr.DataArray, looked: Looked, recipe: Recipe, workspace: Workspace
) -> Found:
    """Find the components of every block, a tile of blocks at a time."""
    grid = denoising.grid_of((movie.sizes["y"], movie.sizes["x"]))
    sizes = {"block_y": len(grid.y), "block_x": len(grid.x)}
    blocks = ("z", *sizes)
    rows, columns = (
        xr.DataArray(np.arange(n), dims=(dim,), name=f"number_of_{dim}") for dim, n in sizes.items()
    )
    n_frames = min(recipe.limit, movie.sizes["time"])
    row_mb = 4e-6 * n_frames * grid.shape[0] * movie.sizes["x"]
    shape = {"row": grid.shape[0], "column": grid.shape[1]}
    made = workspace.map_blocks(
        partial(_find, movie=movie, bad_frames=bad_frames, looked=looked, recipe=recipe),
        (numbered(movie), rows, columns),
        [
            output("footprints", (*blocks, "component", *shape), movie, np.float32,
                   component=MOST_COMPONENTS, **sizes, **shape),
            output("n_components", blocks, movie, np.int32, **sizes),
            output("eigenvalues", (*blocks, "order"), movie, np.float32,
                   order=MOST_COMPONENTS + MISSES, **sizes),
        ],
        split={
            "z": 1,
            "block_y": max(1, _rows_of_a_tile(n_frames, movie, workspace)),
            "block_x": max(1, int(len(grid.x) * min(1.0, TILE_MB / row_mb))),
        },
    )  # fmt: skip
    return Found(*made)


def _rows_of_a_tile(n_frames: int, movie: Movie, workspace: Workspace) -> int:
    """Return how many rows of blocks fit: their frames are held twice, as read and in float32."""
    row_mb = 2 * 4e-6 * n_frames * STEP_PX * movie.sizes["x"]
    return int(min(TILE_MB, workspace.budget_mb / workspace.n_workers / 2) / row_mb) - 1


def _find(
    number: xr.DataArray,
    rows: xr.DataArray,
    columns: xr.DataArray,
    *,
    movie: Movie,
    bad_frames: xr.DataArray,
    looked: Looked,
    recipe: Recipe,
) -> tuple[npt.NDArray[Any], ...]:
    plane = int(number.values[0])
    frames = PlaneFrames(movie, plane)
    grid = denoising.grid_of((frames.shape[1], frames.shape[2]))
    sizes = (1, len(rows), len(columns))
    if plane in looked.lost:
        return (
            np.zeros((*sizes, MOST_COMPONENTS, *grid.shape), np.float32),
            np.zeros(sizes, np.int32),
            np.zeros((*sizes, MOST_COMPONENTS + MISSES), np.float32),
        )
    chosen = choose_frames(bad_frames.values[:, plane] == 0, limit=recipe.limit)
    made = denoising.find_components(
        frames,
        noise_of(looked, plane, chosen),
        edge_of(looked, plane),
        grid,
        rows=slice(int(rows.values[0]), int(rows.values[-1]) + 1),
        columns=slice(int(columns.values[0]), int(columns.values[-1]) + 1),
        weak=recipe.weak,
        device=recipe.device,
    )
    return tuple(np.reshape(part, (*sizes, *part.shape[1:])) for part in (
        made.footprints, made.n_components, made.eigenvalues
    ))  # fmt: skip


class Bases:
    """The components of each plane without padding, the last few planes kept at hand."""

    def __init__(self, mean: xr.DataArray, sigma: xr.DataArray, found: Found) -> None:
        self._mean, self._sigma, self.found = mean, sigma, found
        self._kept: dict[int, denoising.Basis] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """Travel to a worker process without what was kept."""
        return {"mean": self._mean, "sigma": self._sigma, "found": self.found}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __call__(self, plane: int) -> denoising.Basis:
        """Return the components of a plane."""
        with self._lock:
            if plane not in self._kept:
                while len(self._kept) >= KEPT_PLANES:
                    self._kept.pop(next(iter(self._kept)))
                self._kept[plane] = self._read(plane)
            return self._kept[plane]

    def ranks(self, plane: int) -> npt.NDArray[np.int32]:
        """Return the rank (B,) of every block of a plane."""
        return np.asarray(self.found.n_components.isel(z=plane).values).ravel()

    def _read(self, plane: int) -> denoising.Basis:
        """Read the footprints a row of blocks at a time: most of them are padding."""
        ranks = self.found.n_components.isel(z=plane).values
        most = max(1, int(ranks.max(initial=0)))
        sides = self.found.footprints.shape[-2:]
        padded = np.zeros((*ranks.shape, most, *sides), np.float32)
        for row in range(len(ranks)):
            n = int(ranks[row].max(initial=0))
            part = self.found.footprints.isel(z=plane, block_y=row, component=slice(0, n))
            padded[row, :, :n] = part.values
        components = denoising.Components(
            padded.reshape(-1, most, *sides), ranks.ravel(), np.zeros((0, 0), np.float32)
        )
        mean, sigma = (part.isel(z=plane).values for part in (self._mean, self._sigma))
        return denoising.basis_of(components, mean, sigma)


class Factors(NamedTuple):
    """Components and time courses in the place of a movie."""

    bases: Bases
    courses: xr.DataArray


def padded_courses(
    courses: npt.NDArray[np.float32], ranks: npt.NDArray[np.int32], n_components: int
) -> npt.NDArray[np.float32]:
    """Return time courses (n, C) with a place for every component (n, B, K)."""
    kept = np.arange(n_components) < ranks[:, None]
    made = np.zeros((len(courses), *kept.shape), np.float32)
    made[:, kept] = courses
    return made


def courses_without_padding(
    padded: npt.NDArray[np.float32], ranks: npt.NDArray[np.int32]
) -> npt.NDArray[np.float32]:
    """Return time courses (n, C) of (n, B, K)."""
    return np.ascontiguousarray(padded[:, np.arange(padded.shape[2]) < ranks[:, None]])


def project(
    movie: Movie, bad_frames: xr.DataArray, bases: Bases, recipe: Recipe, workspace: Workspace
) -> xr.DataArray:
    """Return the time courses of all components, filtered if asked for."""
    ranks = bases.found.n_components
    sizes = {dim: ranks.sizes[dim] for dim in ("block_y", "block_x")}
    sizes["component"] = max(1, int(ranks.values.max(initial=0)))
    dims = ("time", "z", *sizes)
    name = "unfiltered" if recipe.smooth else "time_courses"
    (courses,) = workspace.map_blocks(
        partial(_project, bases=bases, n_components=sizes["component"]),
        (movie, numbered(movie)),
        [output(name, dims, movie, np.float32, **sizes)],
        split={"z": 1, "time": None},
    )
    if not recipe.smooth:
        return courses
    (smoothed,) = workspace.map_blocks(
        _smooth, (courses, bad_frames), [output("time_courses", dims, movie, np.float32, **sizes)],
        split={"z": 1, "block_y": 1},
    )  # fmt: skip
    return smoothed


def _project(
    block: xr.DataArray, number: xr.DataArray, *, bases: Bases, n_components: int
) -> npt.NDArray[np.float32]:
    plane = int(number.values[0])
    courses = denoising.project_frames(as_float(block.values[:, 0]), bases(plane))
    ranks = bases.ranks(plane)
    sizes = bases.found.n_components.shape[1:]
    made = padded_courses(courses, ranks, n_components)
    return made.reshape(len(made), 1, *sizes, n_components)


def _smooth(courses: xr.DataArray, bad: xr.DataArray) -> npt.NDArray[np.float32]:
    values = courses.values
    flat = values.reshape(len(values), -1)
    return denoising.smooth_courses(flat, bad.values[:, 0] == 0).reshape(values.shape)


def rebuild(
    movie: Movie,
    bad_frames: xr.DataArray,
    bases: Bases,
    courses: xr.DataArray | None,
    *,
    blank: bool,
    workspace: Workspace,
) -> xr.DataArray:
    """Return the denoised movie, from filtered time courses if there are any."""
    sources = (movie, numbered(movie), bad_frames, *(() if courses is None else (courses,)))
    (made,) = workspace.map_blocks(
        partial(_rebuild, bases=bases, blank=blank),
        sources,
        [output("denoised", ("time", "z", "y", "x"), movie)],
        split={"z": 1, "time": None},
    )
    return made


def _rebuild(
    block: xr.DataArray,
    number: xr.DataArray,
    bad: xr.DataArray,
    courses: xr.DataArray | None = None,
    *,
    bases: Bases,
    blank: bool,
) -> npt.NDArray[np.float32]:
    plane = int(number.values[0])
    pixels, basis = as_float(block.values[:, 0]), bases(plane)
    if blank:
        pixels[bad.values[:, 0] != 0] = np.nan
    if not basis.sigma.any():  # no noise, or a plane that was lost: as it is
        return pixels[:, None]
    if courses is None:
        used = denoising.project_frames(pixels, basis)
    else:
        used = _courses_of(bases, courses.values[:, 0], plane)
    return denoising.rebuild_frames(used, basis, pixels)[:, None]


def rebuild_part(
    factors: Factors, plane: int, part: slice, pixels: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Return some frames of a plane from its factors; NaN where `pixels` are."""
    padded = factors.courses.isel(z=plane, time=part).values
    own = _courses_of(factors.bases, padded, plane)
    return denoising.rebuild_frames(own, factors.bases(plane), pixels)


def _courses_of(
    bases: Bases, padded: npt.NDArray[np.float32], plane: int
) -> npt.NDArray[np.float32]:
    """Return time courses (n, C) of those of a plane by block (n, block_y, block_x, K)."""
    by_block = padded.reshape(len(padded), -1, padded.shape[-1])
    return courses_without_padding(by_block, bases.ranks(plane))
