"""Functional movie with its noise taken out, as pixels or as factors."""

from __future__ import annotations

import math
import warnings
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
import xarray as xr
from pydantic import Field

from clgkit import denoising
from clgkit.blocks import output
from clgkit.data import MOVIE, Movie
from clgkit.denoising.lowrank import MOST_COMPONENTS
from clgkit.denoising.noise import AVERAGED, LEAST_FRAMES, MOST_FRAMES, as_float
from clgkit.denoising.smoothing import REACH_FRAMES
from clgkit.errors import DataError, SettingsError
from clgkit.params import Params
from clgkit.schema import Schema
from clgkit.stages._denoise_planes import (
    Bases,
    Factors,
    Found,
    Looked,
    PlaneNumbers,
    Recipe,
    courses_without_padding,
    find,
    look,
    project,
    rebuild,
)
from clgkit.stages._denoise_quality import MEASURES, Compared, compare_methods, judge_planes
from clgkit.stages._denoise_residual import map_residual
from clgkit.stages._denoise_support import (
    blind_spots,
    check_network,
    filter_by_network,
    told_of_spot,
)
from clgkit.stages._time_means import numbered
from clgkit.workspace import FAILED, Workspace

if TYPE_CHECKING:
    import numpy.typing as npt

    from clgkit.data import Volume
    from clgkit.denoising.support_net import SupportNet

BAD_FRAMES = Schema("table of bad frames", ("time", "z"), "iub")
N_FRAMES = PlaneNumbers._fields.index("n_frames")
WRONG_NOISE = -0.05  # a held-out error below it cannot be: the measured noise is too large


class Denoise(Params):
    """Settings of :func:`denoise`."""

    method: Literal["lowrank", "support", "gaussian", "none"] = "lowrank"
    """Local low rank, a trained blind-spot network, a Gaussian filter in time and space, or
    nothing."""
    smooth: bool = False
    """Filter the time courses of the low rank too: better pictures, flatter transients."""
    weak_components: bool = True
    """Keep components below the edge of noise that are smooth in time and in space."""
    bad_frames: Literal["project", "blank"] = "project"
    """Bad frames take no part in the fit; they become what the fit says, or NaN (blank)."""
    store: Literal["pixels", "factors"] = "pixels"
    """Keep the denoised movie, or only the footprints and time courses of the low rank."""
    ends: Literal["repeat", "mirror"] = "repeat"
    """What a network sees before the first and after the last frame: that frame again, or the
    movie in reverse, in which calcium rises slowly and falls fast."""
    fit_frames: Annotated[int, Field(ge=LEAST_FRAMES)] = MOST_FRAMES
    """Noise and components are found on at most so many frames, spread over the recording."""


class Denoised(NamedTuple):
    """What :func:`denoise` gives."""

    denoised: Movie | None
    mean: Volume
    sigma: Volume
    residual_variance: Volume
    noise: xr.DataArray
    quality: xr.DataArray
    footprints: xr.DataArray | None
    time_courses: xr.DataArray | None
    n_components: xr.DataArray | None
    eigenvalues: xr.DataArray | None
    summary: dict[str, Any]


def denoise(
    corrected: Movie,
    bad_frames: xr.DataArray | None = None,
    network: SupportNet | None = None,
    params: Denoise = Denoise(),  # noqa: B008  (frozen)
    *,
    workspace: Workspace | None = None,
) -> Denoised:
    """Take the noise out of every plane of a movie that does not move.

    Parameters
    ----------
    corrected
        The functional movie with its motion undone.
    bad_frames
        (time, z) codes of :func:`clgkit.stages.correct_motion`; 0 is good.
    network
        For method support: what `clgkit.denoising.support_net.build_network` gives.
    params
        Settings.
    workspace
        Where blocks run and results go.

    Returns
    -------
    Denoised
        ``denoised``: float32, NaN where the movie is; None with ``store="factors"``.  ``mean`` and
        ``sigma``: (z, y, x) of the frames of the fit, and the noise of a frame.
        ``residual_variance``: (z, y, x), what was removed, squared and over that of the noise: 1 is
        noise, more is signal that was lost.  ``noise``: (z, measure) float64, in the order of
        ``summary["noise"]``.  ``quality``: (z, measure), in the order of ``summary["quality"]``,
        from a sample of every plane.  With the low rank, ``footprints``: (z, block_y, block_x,
        component, row, column), ``n_components`` of each block, and ``eigenvalues`` over the edge
        of noise; ``time_courses``: (time, z, block_y, block_x, component), if factors are kept or
        filtered.  The movie is the mean and the sum of footprints times time courses.
        ``summary``: the method and the numbers of every plane.

    Raises
    ------
    DataError
        If `corrected` is no movie, no plane has 8 good frames, or a network takes more frames than
        there are.
    SettingsError
        If factors are asked of a method that has none.

    Warns
    -----
    UserWarning
        If the movie seems averaged or denoised already, if a plane has no noise, if a block needs
        more components than are kept, or if pixels share noise beyond the blind spot of a network.

    Notes
    -----
    Noise and components come from at most ``fit_frames`` frames, in groups of four neighbours
    spread over the recording; all frames are projected.  A pixel that is missing in some frames
    is NaN there, and has the value of the factors when a trace is made of them.
    """
    MOVIE.check(corrected)
    bad = _bad_frames(corrected, bad_frames)
    workspace = workspace or Workspace()
    recipe = recipe_of(params, workspace.device, network)
    if params.method == "none" and corrected.sizes["time"] < LEAST_FRAMES:
        return _short(corrected, bad, recipe, workspace)
    check_network(corrected, recipe.network)
    looked = look(corrected, bad, recipe, workspace)
    if len(looked.lost) == corrected.sizes["z"]:
        raise DataError(f"No plane of the movie can be used: {next(iter(looked.lost.values()))}")
    kept: Movie | Factors
    found, courses = None, None
    if params.method == "lowrank":
        found = find(corrected, bad, looked, recipe, workspace)
        bases = Bases(looked.mean, looked.sigma, found)
        kept, courses = _low_rank(corrected, bad, bases, recipe, workspace)
    elif params.method == "support":
        kept = filter_by_network(corrected, bad, looked, recipe, workspace)
    else:
        kept = _filtered(corrected, bad, looked.lost, recipe, workspace)
    ranks = None if found is None else found.n_components
    quality = judge_planes(corrected, bad, looked, ranks, recipe=recipe, workspace=workspace)
    residual = map_residual(corrected, bad, kept, looked, workspace)
    summary = _summary(looked, quality, found, params)
    summary["blind_spot"] = blind_spots(looked, recipe.network)
    parts = (None, None, None) if found is None else found
    made = None if isinstance(kept, Factors) else kept
    result = Denoised(
        made, looked.mean, looked.sigma, residual, looked.numbers, quality,
        parts[0], courses, parts[1], parts[2], summary,
    )  # fmt: skip
    _mark(result, looked.lost)
    _warn(summary)
    return result


def recipe_of(params: Denoise, device: str, network: Any = None) -> Recipe:
    """Return what the functions of blocks need of the settings."""
    if params.method != "lowrank" and params.store == "factors":
        raise SettingsError(
            f'Method "{params.method}" has no factors; set store = "pixels", or take the method '
            '"lowrank".'
        )
    if params.method == "support" and network is None:
        raise SettingsError(
            'Method "support" needs a trained network; train one with clg train-denoiser, and give '
            "its file (clg denoise --weights)."
        )
    return Recipe(
        method=params.method,
        smooth=params.smooth,
        weak=params.weak_components,
        limit=params.fit_frames,
        blank=params.bad_frames == "blank",
        as_factors=params.store == "factors",
        device=device,
        network=network.to(device).eval() if params.method == "support" else None,
        ends=params.ends,
    )


def _bad_frames(movie: Movie, bad_frames: xr.DataArray | None) -> xr.DataArray:
    """Return the marks of bad frames, none where there are none."""
    if bad_frames is None:
        shape = (movie.sizes["time"], movie.sizes["z"])
        return xr.DataArray(np.zeros(shape, np.uint8), dims=("time", "z"))
    BAD_FRAMES.check(bad_frames)
    for dim in ("time", "z"):
        if bad_frames.sizes[dim] != movie.sizes[dim]:
            raise DataError(
                f"The movie has {movie.sizes[dim]} along {dim}, the marks of bad frames "
                f"{bad_frames.sizes[dim]}. Give the marks of this very movie.",
                code="E_SHAPE",
            )
    return bad_frames


def _low_rank(
    movie: Movie, bad: xr.DataArray, bases: Bases, recipe: Recipe, workspace: Workspace
) -> tuple[Movie | Factors, xr.DataArray | None]:
    """Return the movie, unless factors are kept, and the time courses, if they are needed."""
    courses = None
    if recipe.smooth or recipe.as_factors:
        courses = project(movie, bad, bases, recipe, workspace)
        if recipe.as_factors:
            return Factors(bases, courses), courses
    made = rebuild(movie, bad, bases, courses, blank=recipe.blank, workspace=workspace)
    return made, courses


def _filtered(
    movie: Movie,
    bad: xr.DataArray,
    lost: Any,
    recipe: Recipe,
    workspace: Workspace,
) -> Movie:
    """Return the movie of a method that looks at a few frames at a time."""
    reach = REACH_FRAMES if recipe.method == "gaussian" else 0
    (made,) = workspace.map_blocks(
        partial(_filter, recipe=recipe, lost=frozenset(lost)),
        (movie, bad, numbered(movie)),
        [output("denoised", ("time", "z", "y", "x"), movie)],
        split={"z": 1, "time": None},
        halo={"time": reach},
    )
    return made


def _filter(
    block: xr.DataArray,
    bad: xr.DataArray,
    number: xr.DataArray,
    *,
    recipe: Recipe,
    lost: frozenset[int],
) -> npt.NDArray[np.float32]:
    pixels = as_float(block.values[:, 0])
    good = bad.values[:, 0] == 0
    if recipe.method == "gaussian" and int(number.values[0]) not in lost:
        pixels = denoising.denoise_gaussian(pixels, usable=good)
    if recipe.blank:
        pixels[~good] = np.nan
    return pixels[:, None]


def _short(movie: Movie, bad: xr.DataArray, recipe: Recipe, workspace: Workspace) -> Denoised:
    """Return a movie that is too short to know its noise as it is."""
    shape = tuple(movie.sizes[dim] for dim in "zyx")
    unknown = xr.DataArray(np.full(shape, np.nan, np.float32), dims=("z", "y", "x"),
                           coords={dim: movie.coords[dim] for dim in "zyx"})  # fmt: skip
    made = _filtered(movie, bad, (), recipe, workspace)
    noise, quality = (
        xr.DataArray(np.full((shape[0], len(names)), np.nan), dims=("z", "measure"),
                     coords={"z": movie.coords["z"]})
        for names in (PlaneNumbers._fields, MEASURES)
    )  # fmt: skip
    return Denoised(made, unknown, unknown.copy(), unknown.copy(), noise, quality,
                    None, None, None, None, {"method": "none", "planes": []})  # fmt: skip


def _summary(
    looked: Looked, quality: xr.DataArray, found: Found | None, params: Denoise
) -> dict[str, Any]:
    """Return the method, and the numbers of every plane by name."""
    planes = []
    for plane in range(len(quality)):
        numbers = _named(PlaneNumbers._fields, looked.numbers.values[plane])
        measures = _named(MEASURES, quality.values[plane])
        ranks: dict[str, Any] = {}
        if found is not None:
            counts = found.n_components.isel(z=plane).values
            ranks = {
                "n_components": int(counts.sum()),
                "n_blocks": int(counts.size),
                "n_empty_blocks": int((counts == 0).sum()),
                "n_full_blocks": int((counts == MOST_COMPONENTS).sum()),
            }
        has_noise = bool(looked.sigma.isel(z=plane).values.any())
        planes.append({"plane": plane, "has_noise": has_noise, **ranks, **numbers, **measures})
    return {
        "method": params.method,
        "noise": list(PlaneNumbers._fields),
        "quality": list(MEASURES),
        "n_fit_frames": [_whole(row) for row in looked.numbers.values[:, N_FRAMES].tolist()],
        "planes": planes,
        "lost": sorted(looked.lost),
    }


def _whole(value: float) -> int | None:
    return int(value) if math.isfinite(value) else None


def _named(names: tuple[str, ...], values: npt.NDArray[np.float64]) -> dict[str, float | None]:
    """Return names and values; None where a value is not known."""
    return {
        name: value if math.isfinite(value) else None
        for name, value in zip(names, values.tolist(), strict=True)
    }


def _mark(result: Denoised, lost: Any) -> None:
    """Write on every array which planes were lost, and why."""
    if lost:
        reasons = {str(plane): why for plane, why in sorted(lost.items())}
        for array in result[:-1]:
            if array is not None:
                array.attrs[FAILED] = reasons


def _warn(summary: dict[str, Any]) -> None:
    """Tell of planes whose noise is not what the method takes it for."""
    planes = [plane for plane in summary["planes"] if plane["plane"] not in summary["lost"]]
    said = {
        "have pixels that hardly ever change, so no noise was measured and they are left as they "
        "are": [p for p in planes if not p["has_noise"]],
        "seem to be averaged over time or denoised already, or their signals are far above the "
        "noise; the noise that was measured may be wrong": [
            p for p in planes if (p["in_time"] or 0) > AVERAGED
        ],
        "have less noise than neighbouring frames say (clipped, of few grey levels, or denoised "
        "already); look at the residual before you trust them": [
            p for p in planes if (p["heldout_excess"] or 0) < WRONG_NOISE
        ],
        f"have blocks that need more than {MOST_COMPONENTS} components; the weakest are left out": [
            p for p in planes if p.get("n_full_blocks")
        ],
    }
    for sentence, found in said.items():
        if found:
            listed = ", ".join(str(p["plane"]) for p in found[:10]) + (" …" * (len(found) > 10))
            warnings.warn(f"planes {listed} {sentence}", stacklevel=3)
    told = told_of_spot(summary["blind_spot"])
    if told:
        warnings.warn(told, stacklevel=3)


def factor_traces(
    made: Denoised, plane: int, masks: npt.NDArray[np.bool_] | npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Return the traces of rois of a plane from its factors, without making the movie.

    Parameters
    ----------
    made
        A result with ``time_courses``.
    plane
        Which plane.
    masks : (R, Y, X)
        True, or a weight, inside each roi.

    Returns
    -------
    (R, T) float32
        The mean of the denoised movie over each roi.

    Raises
    ------
    DataError
        If the result holds no factors.
    """
    basis, courses = plane_factors(made, plane)
    return denoising.traces_of(masks, courses, basis)


def plane_factors(made: Denoised, plane: int) -> tuple[denoising.Basis, npt.NDArray[np.float32]]:
    """Return components and time courses (T, C) of a plane; as :func:`factor_traces`."""
    if made.time_courses is None or made.footprints is None or made.n_components is None:
        raise DataError(
            'The result holds no factors; denoise with method = "lowrank" and store = "factors".'
        )
    bases = Bases(made.mean, made.sigma, Found(made.footprints, made.n_components))
    padded = made.time_courses.isel(z=plane).values
    padded = padded.reshape(len(padded), -1, padded.shape[-1])
    return bases(plane), courses_without_padding(padded, bases.ranks(plane))


def compare(
    movie: Movie,
    bad_frames: xr.DataArray | None = None,
    network: Any = None,
    params: Denoise = Denoise(),  # noqa: B008  (frozen)
    *,
    workspace: Workspace | None = None,
) -> list[Compared]:
    """Return all methods, the best first, by what each does to a sample of a movie.

    Parameters
    ----------
    movie, bad_frames, network
        As in :func:`denoise`; a network is compared if there is one.
    params
        ``fit_frames`` and ``weak_components`` count.
    workspace
        Where blocks run.

    Returns
    -------
    list of Compared
        Ranked by the sum of the places in held-out error and in the error of correlations;
        averages over up to three planes.
    """
    MOVIE.check(movie)
    bad = _bad_frames(movie, bad_frames)
    workspace = workspace or Workspace()
    plain = recipe_of(
        Denoise(weak_components=params.weak_components, fit_frames=params.fit_frames),
        workspace.device,
    )
    recipes = {
        "none": plain._replace(method="none"),
        "mean image": plain._replace(method="mean image"),
        "gaussian": plain._replace(method="gaussian"),
        "lowrank": plain,
        "lowrank, smooth": plain._replace(smooth=True),
    }
    if network is not None:
        check_network(movie, network)
        recipes["support"] = recipe_of(Denoise(method="support"), workspace.device, network)
    return compare_methods(movie, bad, look(movie, bad, plain, workspace), recipes)
