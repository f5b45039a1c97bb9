"""Shifts of all frames of all planes, with templates, bad frames and bad pixels."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from clgkit import registration
from clgkit.blocks import Output, output
from clgkit.registration import FrameStatistics
from clgkit.stages._motion_follow import follow_bins, follow_normcorre
from clgkit.stages._motion_frames import (
    PHASE,
    FrameFit,
    Search,
    centers_of,
    finite,
    prepare,
    register,
    still,
)
from clgkit.stages._time_means import numbered
from clgkit.workspace import Workspace, failed_planes

if TYPE_CHECKING:
    import numpy.typing as npt

    from clgkit.data import Movie, Volume

STATISTICS = FrameStatistics._fields
LEAST_FRAMES = 8
"""In fewer frames, which hardly moved, a small bright cell is not told from a hot pixel."""
PATCH_DIMS = ("time", "z", "patch_y", "patch_x", "axis")


class Fields(NamedTuple):
    """What is known of all frames before any is moved."""

    statistics: xr.DataArray
    bad_frames: xr.DataArray
    bad_pixels: xr.DataArray
    template: xr.DataArray
    shifts: xr.DataArray
    patch_shifts: xr.DataArray
    outliers: xr.DataArray
    fit: xr.DataArray


def find_fields(
    function: Movie,
    reference: Volume | None,
    sample: Movie,
    search: Search,
    workspace: Workspace,
) -> Fields:
    """Find template, bad frames, bad pixels and shifts."""
    compat = search.normcorre is not None
    in_order = compat or (search.running and reference is None)
    outputs = [output("bad_pixels", ("z", "y", "x"), function, np.uint8)]
    if not compat or reference is not None:
        name = "first_template" if in_order else "template"
        outputs.append(output(name, ("z", "y", "x"), function))
    looked = workspace.map_blocks(
        partial(_look, search=search, only=len(outputs) < 2),
        (sample,) if reference is None else (sample, reference),
        outputs,
        split={"z": 1},
        isolate="z",
    )
    if in_order:
        return _found_in_order(function, looked, search, workspace)
    bad_pixels, template = looked
    statistics, *found = workspace.map_blocks(
        partial(_register, search=search),
        (function, template, bad_pixels),
        [_statistics_of(function), *_outputs(function, search)],
        split={"z": 1, "time": None},
        isolate="z",
    )
    return _labelled(statistics, bad_pixels, template, found, _bad_frames(statistics), search)


def _found_in_order(
    function: Movie,
    looked: tuple[xr.DataArray, ...],
    search: Search,
    workspace: Workspace,
) -> Fields:
    """Go through every plane frame by frame: the template follows the movie."""
    (statistics,) = workspace.map_blocks(
        _statistics,
        function,
        [_statistics_of(function)],
        split={"z": 1, "time": None},
        isolate="z",
    )
    bad_frames = _bad_frames(statistics)
    bad_pixels, *templates = looked
    if search.normcorre is None:
        follow: Callable[..., Any] = follow_bins
        beside = bad_pixels
    else:
        follow, beside = follow_normcorre, statistics
    *found, template = workspace.map_blocks(
        partial(follow, movie=function, search=search),
        (numbered(function), bad_frames, beside, *templates),
        [*_outputs(function, search), output("template", ("z", "y", "x"), function)],
        split={"z": 1},
        isolate="z",
    )
    return _labelled(statistics, bad_pixels, template, found, bad_frames, search)


def _statistics_of(function: Movie) -> Output:
    return output("statistics", ("time", "z", "statistic"), function, np.float64, statistic=8)


def _outputs(function: Movie, search: Search) -> list[Output]:
    """Return where shifts go: of frames, of patches, phases if any, outliers, their fit."""
    centers = _centers(function, search)
    grid: dict[str, Any] = {"patch_y": len(centers.y), "patch_x": len(centers.x)}
    made = [
        output("found_shifts", ("time", "z", "axis"), function, axis=2),
        output("found_patch_shifts", PATCH_DIMS, function, axis=2, **grid),
    ]
    if search.normcorre is not None:
        made.append(output("found_phases", PATCH_DIMS[:-1], function, **grid))
    outliers = output("found_outliers", ("time", "z"), function, np.uint8)
    n_numbers = len(FrameFit._fields)
    return [*made, outliers, output("fit", ("time", "z", "measure"), function, measure=n_numbers)]


def _centers(function: Movie, search: Search) -> registration.Centers:
    return centers_of((function.sizes["y"], function.sizes["x"]), search)


def _labelled(  # noqa: PLR0917  (the parts of the result)
    statistics: xr.DataArray,
    bad_pixels: xr.DataArray,
    template: xr.DataArray,
    found: list[xr.DataArray],
    bad_frames: xr.DataArray,
    search: Search,
) -> Fields:
    shifts, patch_shifts, *phases, outliers, fit = found
    centers = centers_of((template.sizes["y"], template.sizes["x"]), search)
    patch_shifts.coords["patch_y"] = ("patch_y", centers.y)
    patch_shifts.coords["patch_x"] = ("patch_x", centers.x)
    if phases:
        patch_shifts.coords[PHASE] = (PATCH_DIMS[:-1], phases[0].values)
    return Fields(
        statistics,
        bad_frames,
        bad_pixels,
        template,
        shifts,
        patch_shifts,
        outliers,
        fit,
    )


def _look(
    sample: xr.DataArray,
    reference: xr.DataArray | None = None,
    *,
    search: Search,
    only: bool,
) -> tuple[npt.NDArray[Any], ...]:
    """Return the bad pixels of one plane and, unless they alone are wanted, its template."""
    frames = sample.values[:, 0]
    bad = np.zeros(frames.shape[1:], np.bool_)
    if search.weigh and len(frames) >= LEAST_FRAMES:
        bad = registration.find_bad_pixels(frames)
    if only:
        return (bad[None].astype(np.uint8),)
    if reference is not None:
        template = np.asarray(reference.values[0], np.float32)
        if not registration.rigid.has_structure(template):
            raise ValueError("its reference is constant or not finite: give another image")
    else:
        template = registration.make_template(
            frames,
            max_shift_px=search.max_shift_px,
            iterations=search.iterations,
            bad_pixels=bad if bad.any() else None,
            line_offset_px=search.line_offset_px,
        )
    return bad[None].astype(np.uint8), np.asarray(template[None], np.float32)


def _statistics(block: xr.DataArray) -> npt.NDArray[np.float64]:
    columns = registration.frame_statistics(block.values[:, 0])
    return np.column_stack(columns).astype(np.float64)[:, None]


def _register(
    block: xr.DataArray, template: xr.DataArray, bad_pixels: xr.DataArray, *, search: Search
) -> tuple[npt.NDArray[Any], ...]:
    image = template.values[0]
    if np.isfinite(image).any():
        prepared = prepare(image, bad_pixels.values[0] > 0, search)
        found = register(finite(block.values[:, 0]), prepared, search)
    else:
        found = still(block.sizes["time"], _centers(block, search))
    parts = (found.shift_px, found.patch_px, found.outlier, found.fit)
    return (_statistics(block), *(part[:, None] for part in parts))


def _bad_frames(statistics: xr.DataArray) -> xr.DataArray:
    """Judge every frame by the statistics of its whole plane, and warn of the bad ones."""
    values = statistics.values
    codes = np.zeros((values.shape[0], values.shape[1]), np.uint8)
    lost = failed_planes(statistics)
    for plane in set(range(values.shape[1])) - set(lost):
        columns = dict(zip(STATISTICS, values[:, plane].T, strict=True))
        codes[:, plane] = registration.find_bad_frames(FrameStatistics(**columns))
    for code in registration.FrameCode:
        frames = np.flatnonzero((codes == code).any(axis=1))
        if code and len(frames):
            listed = ", ".join(map(str, frames[:10])) + (" …" if len(frames) > 10 else "")
            why = code.name.lower().replace("_", " ")
            n_planes = int((codes == code).any(axis=0).sum())
            warnings.warn(
                f"{len(frames)} of {len(codes)} frames are bad ({why}) on {n_planes} of "
                f"{codes.shape[1]} planes: {listed}",
                stacklevel=4,
            )
    coords = {name: statistics.coords[name] for name in ("time", "z")}
    return xr.DataArray(codes, dims=("time", "z"), coords=coords, name="bad_frames")
