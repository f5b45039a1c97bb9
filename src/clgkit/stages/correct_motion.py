"""Functional movie with the motion of every frame undone."""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import xarray as xr
from pydantic import NonNegativeInt, PositiveInt

from clgkit import registration
from clgkit.blocks import output
from clgkit.data import MOVIE, Movie, Volume
from clgkit.errors import DataError
from clgkit.params import Params
from clgkit.registration import FrameStatistics
from clgkit.registration.patches import plan_patches
from clgkit.workspace import FAILED, Workspace, failed_planes

if TYPE_CHECKING:
    import numpy.typing as npt

STATISTICS = FrameStatistics._fields
PATCH_DIMS = ("time", "z", "patch_y", "patch_x", "axis")
LEAST_ROWS = 16
SURE_PEAK = 0.4
"""A correlation that noise does not reach: a small field of like cells has rivals, but fits."""


class CorrectMotion(Params):
    """Settings of :func:`correct_motion`."""

    method: Literal["piecewise", "rigid"] = "piecewise"
    """Undo motion that bends the field, patch by patch, or shifts of whole frames only."""
    max_shift_px: PositiveInt = 15
    """Larger displacements are not looked for, in pixels."""
    max_deviation_px: PositiveInt = 5
    """A patch may move this far from its frame as a whole, per axis, in pixels."""
    grid_px: PositiveInt = 64
    """Side of the cells that have a shift of their own, in pixels."""
    overlap_px: NonNegativeInt = 32
    """A patch reaches this far beyond its cell, in pixels."""
    upsampling: PositiveInt = 50
    """Shifts of frames are found to 1 / upsampling of a pixel."""
    template_frames: PositiveInt = 100
    """About so many frames, spread over the movie, make the template of a plane."""
    iterations: PositiveInt = 2
    """How often the template is sharpened by registering its own frames."""
    line_offset: Literal["auto", "none"] = "auto"
    """Undo the offset between rows scanned there and back, where it can be measured for sure."""


class MotionCorrected(NamedTuple):
    """What :func:`correct_motion` gives."""

    corrected: Movie
    shifts: xr.DataArray
    patch_shifts: xr.DataArray
    template: Volume
    agreement: xr.DataArray
    bad_frames: xr.DataArray
    statistics: xr.DataArray
    summary: dict[str, Any]


def correct_motion(
    function: Movie,
    params: CorrectMotion = CorrectMotion(),  # noqa: B008  (frozen)
    *,
    workspace: Workspace | None = None,
) -> MotionCorrected:
    """Align every frame of every plane to that plane's own template.

    Parameters
    ----------
    function
        The functional movie, on its native rows.
    params
        Settings.
    workspace
        Where blocks run and results go.

    Returns
    -------
    MotionCorrected
        ``corrected``: float32, NaN where a frame shows nothing after the shift, and where a
        raw pixel is not finite.  ``shifts``: (time, z, axis) float32, pixels to move the
        content of the whole frame (+y down, +x right).  ``patch_shifts``: (time, z, patch_y,
        patch_x, axis) float32, those of the patches, the shift of the frame included; their
        centres are the coordinates ``patch_y`` and ``patch_x`` in pixels (one patch with the
        rigid method).  ``template``: (z, y, x).  ``agreement``: (time, z) correlation of each
        corrected frame with its template.  ``bad_frames``: (time, z) uint8 codes of
        `clgkit.registration.FrameCode`, 0 is good.  ``statistics``: (time, z, statistic) of
        the raw frames.  ``summary``: ``line_offset_px`` that was undone, its spread, and
        ``n_unsure``, frames whose shift was taken from their neighbours in time.

    Raises
    ------
    DataError
        If `function` is no movie, or none of its planes shows anything.

    Notes
    -----
    Shifts are found in one pass and applied in another, so that everything that moved is
    undone by one interpolation, and the stored shifts can be applied to another channel
    (:func:`clgkit.registration.apply_shifts`).  A frame whose shift may be noise gets one
    interpolated between its sure neighbours.  A bad frame (blank, saturated, dark, flash,
    mostly not finite) takes no part in the template; it is not moved, keeps its pixels, and
    its agreement is NaN.
    """
    MOVIE.check(function)
    workspace = workspace or Workspace()
    step = -(-function.sizes["time"] // params.template_frames)
    sample = function.isel(time=slice(step // 2 if step > 1 else 0, None, step))
    line = _line_offset(sample, params)
    (template,) = workspace.map_blocks(
        partial(_template, params=params, line_offset_px=line["line_offset_px"]),
        sample,
        [output("template", ("z", "y", "x"), sample)],
        split={"z": 1},
        isolate="z",
    )
    statistics, found, patch_found, sure = _found(function, template, params, workspace, line)
    bad = _bad_frames(statistics)
    shifts, patch_shifts, n_unsure = _settled(found, patch_found, sure, bad)
    corrected, agreement = workspace.map_blocks(
        partial(_apply, line_offset_px=line["line_offset_px"]),
        (function, template, bad, patch_shifts),
        [
            output("corrected", ("time", "z", "y", "x"), function),
            output("agreement", ("time", "z"), function),
        ],
        split={"z": 1, "time": None},
        isolate="z",
    )
    lost = failed_planes(corrected) | failed_planes(found) | failed_planes(template)
    if len(lost) == function.sizes["z"]:
        raise DataError(f"No plane of the movie can be used: {next(iter(lost.values()))}")
    made = MotionCorrected(
        corrected,
        shifts,
        patch_shifts,
        template,
        agreement,
        bad,
        statistics,
        {**line, "n_unsure": n_unsure},
    )
    if lost:
        for array in made[:-1]:
            array.attrs[FAILED] = {str(plane): why for plane, why in sorted(lost.items())}
    return made


def _line_offset(sample: Movie, params: CorrectMotion) -> dict[str, Any]:
    """Measure the offset of bidirectional scanning once, on the plane in the middle."""
    if params.line_offset == "none" or sample.sizes["y"] < LEAST_ROWS:
        return {"line_offset_px": 0.0, "line_offset_spread_px": None}
    frames = sample.isel(z=sample.sizes["z"] // 2).values
    measured = registration.estimate_line_offset(_finite(frames))
    spread = measured.spread_px
    return {
        "line_offset_px": float(measured.offset_px),
        "line_offset_spread_px": float(spread) if np.isfinite(spread) else None,
    }


def _found(
    function: Movie,
    template: Volume,
    params: CorrectMotion,
    workspace: Workspace,
    line: dict[str, Any],
) -> tuple[xr.DataArray, ...]:
    """Return statistics, shifts of frames and of patches as found, and which are sure."""
    centers = _centers(function, params)
    n_y, n_x = len(centers.y), len(centers.x)
    made = workspace.map_blocks(
        partial(_register, params=params, line_offset_px=line["line_offset_px"]),
        (function, template),
        [
            output("statistics", ("time", "z", "statistic"), function, np.float64, statistic=8),
            output("found_shifts", ("time", "z", "axis"), function, axis=2),
            output("found_patch_shifts", PATCH_DIMS, function, axis=2, patch_y=n_y, patch_x=n_x),
            output("sure", ("time", "z"), function, np.uint8),
        ],
        split={"z": 1, "time": None},
        isolate="z",
    )
    made[2].coords["patch_y"] = ("patch_y", centers.y)
    made[2].coords["patch_x"] = ("patch_x", centers.x)
    return made


def _centers(function: Movie, params: CorrectMotion) -> registration.Centers:
    """Return where the shifts of patches belong; the middle of the field for whole frames."""
    shape = (function.sizes["y"], function.sizes["x"])
    if params.method == "rigid":
        return registration.Centers(*(np.array([(n - 1) / 2]) for n in shape))
    grid = plan_patches(shape, grid_px=params.grid_px, overlap_px=params.overlap_px)
    return registration.Centers(grid.y.centers_px, grid.x.centers_px)


def _template(
    sample: xr.DataArray, *, params: CorrectMotion, line_offset_px: float
) -> npt.NDArray[np.float32]:
    template = registration.make_template(
        sample.values[:, 0],
        max_shift_px=params.max_shift_px,
        iterations=params.iterations,
        line_offset_px=line_offset_px,
    )
    return np.asarray(template[None], np.float32)


def _register(
    block: xr.DataArray, template: xr.DataArray, *, params: CorrectMotion, line_offset_px: float
) -> tuple[npt.NDArray[Any], ...]:
    raw, reference = block.values[:, 0], template.values[0]
    statistics = np.column_stack(registration.frame_statistics(raw)).astype(np.float64)
    frames = _finite(raw)
    if not np.isfinite(reference).any():
        centers = _centers(block, params)
        shift_px, sure = np.zeros((len(raw), 2), np.float32), np.ones(len(raw), np.bool_)
        patch_px = np.zeros((len(raw), len(centers.y), len(centers.x), 2), np.float32)
    elif params.method == "rigid":
        prepared = registration.prepare_rigid(
            reference, max_shift_px=params.max_shift_px, upsampling=params.upsampling
        )
        rigid = registration.register_rigid(frames, prepared, line_offset_px=line_offset_px)
        shift_px, sure = rigid.shift_px, rigid.confident | (rigid.peak > SURE_PEAK)
        patch_px = shift_px[:, None, None, :]
    else:
        pieces = registration.prepare_piecewise(
            reference,
            grid_px=params.grid_px,
            overlap_px=params.overlap_px,
            max_shift_px=params.max_shift_px,
            max_deviation_px=params.max_deviation_px,
            upsampling=params.upsampling,
        )
        bent = registration.register_piecewise(frames, pieces, line_offset_px=line_offset_px)
        shift_px, patch_px = bent.rigid, bent.patch_shift
        sure = bent.confident | (bent.peak > SURE_PEAK)
    return statistics[:, None], shift_px[:, None], patch_px[:, None], sure[:, None]


def _settled(
    found: xr.DataArray, patch_found: xr.DataArray, sure: xr.DataArray, bad: xr.DataArray
) -> tuple[xr.DataArray, xr.DataArray, int]:
    """Give frames without a sure shift one from their neighbours; bad frames do not move."""
    shifts, patches = found.values.copy(), patch_found.values.copy()
    good = bad.values == registration.FrameCode.OK
    unsure = good & (sure.values == 0)
    for plane in range(shifts.shape[1]):
        trusted = good[:, plane] & ~unsure[:, plane]
        for values in (shifts, patches):
            values[:, plane] = registration.settle_shifts(values[:, plane], trusted)
            values[~good[:, plane], plane] = 0
    n_unsure = int(unsure.any(axis=1).sum())
    if n_unsure:
        warnings.warn(
            f"{n_unsure} of {len(shifts)} frames show too little to be registered on some plane; "
            "their shift was taken from the frames around them",
            stacklevel=3,
        )
    return (
        found.copy(data=shifts).rename("shifts"),
        patch_found.copy(data=patches).rename("patch_shifts"),
        n_unsure,
    )


def _apply(
    block: xr.DataArray,
    template: xr.DataArray,
    bad: xr.DataArray,
    patch_shifts: xr.DataArray,
    *,
    line_offset_px: float,
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    if not np.isfinite(template.values).any():
        raise ValueError("its template could not be made")
    frames, shift_px = _finite(block.values[:, 0]), patch_shifts.values[:, 0]
    centers = registration.Centers(
        patch_shifts.coords["patch_y"].values, patch_shifts.coords["patch_x"].values
    )
    corrected = registration.apply_shifts(
        frames, shift_px, centers=centers, line_offset_px=line_offset_px
    ).frames
    agreement = registration.correlation_to_template(corrected, template.values[0])
    agreement[bad.values[:, 0] != registration.FrameCode.OK] = np.nan
    return corrected[:, None], agreement[:, None]


def _finite(frames: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the frames with NaN in place of infinity."""
    infinite = np.isinf(frames)
    return np.where(infinite, np.nan, frames).astype(frames.dtype) if infinite.any() else frames


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
                stacklevel=3,
            )
    coords = {name: statistics.coords[name] for name in ("time", "z")}
    return xr.DataArray(codes, dims=("time", "z"), coords=coords, name="bad_frames")
