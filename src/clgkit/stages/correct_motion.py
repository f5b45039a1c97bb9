"""Functional movie with the motion of every frame undone."""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import NonNegativeInt, PositiveInt, model_validator

from clgkit import registration
from clgkit.blocks import output
from clgkit.data import MOVIE, VOLUME, Movie, Volume
from clgkit.errors import DataError
from clgkit.params import Params
from clgkit.stages._motion_doubts import (
    DOUBTS,
    check_window,
    count_frames,
    farthest_px,
    warn_of_doubts,
)
from clgkit.stages._motion_find import Fields, find_fields
from clgkit.stages._motion_frames import (
    FrameFit,
    OutlierCode,
    Search,
    centers_of,
    finite,
    like_normcorre,
    move,
    phases_of,
)
from clgkit.stages._motion_mask import count_valid, pack_shown, packed_output, seen_in_all
from clgkit.stages._motion_quality import PlaneQuality, described, measure_planes
from clgkit.workspace import FAILED, Workspace, failed_planes

if TYPE_CHECKING:
    import numpy.typing as npt
    import xarray as xr

__all__ = [
    "CorrectMotion", "FrameFit", "MotionCorrected", "OutlierCode", "PlaneQuality",
    "correct_motion",
]  # fmt: skip
LEAST_ROWS = 16
MISFIT_SIGMAS = 5.0
MISFIT_LEAST = 0.05
"""A frame is no misfit if its agreement lies less than this below the median of its plane."""
FINER = registration.NormcorreSettings().finer
LIKE_NORMCORRE = (
    "max_shift_px", "upsampling", "iterations", "bin_frames", "buffer_bins",
)  # fmt: skip
PATCHES_OF_NORMCORRE = ("grid_px", "overlap_px", "max_deviation_px")
"""Settings that count with compat too, the latter unless frames are moved as a whole."""


class CorrectMotion(Params):
    """Settings of :func:`correct_motion`."""

    method: Literal["piecewise", "rigid"] = "piecewise"
    """Undo motion that bends the field, patch by patch, or shifts of whole frames only."""
    compat: Literal["none", "normcorre"] = "none"
    """Do as NoRMCorre does, with its own numbers in the place of defaults; template,
    template_frames and bad_pixels do not count then."""
    template: Literal["fixed", "running"] = "fixed"
    """Lay all frames of a plane on one template, or renew it after every bin of frames."""
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
    """How often the template is sharpened by registering its own frames; with compat, how often
    the movie is gone through."""
    bin_frames: PositiveInt = 200
    """A running template is renewed after so many frames."""
    buffer_bins: PositiveInt = 50
    """A running template is the median over the means of so many bins."""
    boundary: Literal["copy", "minimum"] = "copy"
    """With compat: what enters at the border of a patch, its next row or its least value."""
    bad_pixels: Literal["auto", "none"] = "auto"
    """Give pixels that always stand out from their neighbours, hot or dead ones, no weight."""
    line_offset: Literal["auto", "none"] = "auto"
    """Undo the offset between rows scanned there and back, where it can be measured for sure."""

    @model_validator(mode="after")
    def _cells(self) -> Self:
        if self.compat == "normcorre" and self.method != "rigid" and self.grid_px < FINER:
            raise ValueError(
                f"compat cuts each side of a cell into {FINER} for applying; grid_px must be at "
                f"least {FINER}"
            )
        return self


class MotionCorrected(NamedTuple):
    """What :func:`correct_motion` gives."""

    corrected: Movie
    shifts: xr.DataArray
    patch_shifts: xr.DataArray
    template: Volume
    agreement: xr.DataArray
    bad_frames: xr.DataArray
    statistics: xr.DataArray
    bad_pixels: Volume
    outliers: xr.DataArray
    quality: xr.DataArray
    residual_flow: xr.DataArray
    n_valid: Volume
    fit: xr.DataArray
    summary: dict[str, Any]


def correct_motion(
    function: Movie,
    reference: Volume | None = None,
    params: CorrectMotion = CorrectMotion(),  # noqa: B008  (frozen)
    *,
    workspace: Workspace | None = None,
) -> MotionCorrected:
    """Align every frame of every plane to that plane's own template.

    Parameters
    ----------
    function
        The functional movie, on its native rows.
    reference
        One image per plane, of the size of a frame: the template, taken as it is.
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
        rigid method).  With compat the coordinate ``phase_rad`` (time, z, patch_y, patch_x) goes
        with them.  ``template``: (z, y, x), the last one if it was renewed.
        ``agreement``: (time, z) correlation of each corrected frame with its template.
        ``bad_frames``: (time, z) uint8 codes of `clgkit.registration.FrameCode`, 0 is good.
        ``statistics``: (time, z, statistic) of the raw frames.  ``bad_pixels``: (z, y, x)
        uint8, 1 for pixels without weight: hot, dead, or never finite.  ``outliers``: (time, z)
        uint8 codes of `OutlierCode`, 0 for frames that lie where they should.  ``quality``:
        (z, measure) float64, the numbers of `PlaneQuality`.  ``residual_flow``: (z, flow_y,
        flow_x) float32, rms motion that is left, in pixels; centres as coordinates.
        ``n_valid``: (z, y, x) uint32, how many good frames show a pixel after their shift; those
        that all of them show are the mask of the plane.  ``fit``: (time, z, measure) float32,
        the numbers of `FrameFit`, NaN with compat.
        ``summary``: ``line_offset_px`` that was undone, its spread, ``n_unsure`` (frames whose
        shift was taken from their neighbours), ``n_at_limit``, ``farthest_px`` (how far a frame
        beyond the limit lies from its template; None without such), what the template was, with
        compat under ``normcorre`` the settings of :class:`clgkit.registration.NormcorreSettings`,
        and under ``planes`` the numbers of every plane.

    Raises
    ------
    DataError
        If `function` is no movie or has no frames, none of its planes shows anything, or
        `reference` is no volume of its size.

    Notes
    -----
    Shifts are found in one pass and applied in another, so that everything that moved is
    undone by one interpolation, and the stored shifts can be applied to another channel
    (:func:`clgkit.registration.apply_shifts`).  A frame whose shift may be noise, or lies at
    the limit or beyond, gets one interpolated between its sure neighbours.  A bad frame (blank,
    saturated, dark, flash, mostly not finite) takes no part in the template; it is not moved,
    keeps its pixels, and its agreement is NaN.

    A running template, and everything with ``compat="normcorre"``, depends on the frames
    before: a plane is gone through in order, and is the unit of resuming.  There the shifts of
    all frames stand as found, the borders repeat the nearest row or column, and bad pixels have
    their weight; bad frames are left out as always.
    """
    MOVIE.check(function)
    _check(function, reference)
    check_window(function, params.max_shift_px, given="max_shift_px" in params.model_fields_set)
    workspace = workspace or Workspace()
    step = -(-function.sizes["time"] // params.template_frames)
    sample = function.isel(time=slice(step // 2 if step > 1 else 0, None, step))
    line = _line_offset(sample, params)
    search = _search(function, params, line["line_offset_px"], workspace.device)
    found = find_fields(function, reference, sample, search, workspace)
    shifts, patch_shifts, outliers = _settled(found, search)
    corrected, agreement, shown = _apply_all(function, found, patch_shifts, search, workspace)
    farthest = farthest_px(found, outliers, search)
    warn_of_doubts(outliers, found, search, farthest)
    _mark_misfits(outliers, agreement)
    lost = failed_planes(corrected)
    for array in (found.shifts, found.template, found.bad_pixels):  # the first reason is the last
        lost |= failed_planes(array)
    if len(lost) == function.sizes["z"]:
        raise DataError(f"No plane of the movie can be used: {next(iter(lost.values()))}")
    quality, flow = measure_planes(function, corrected, found, shifts, search, workspace)
    n_valid = count_valid(function, shown, workspace)
    made = MotionCorrected(
        corrected,
        shifts,
        patch_shifts,
        found.template,
        agreement,
        found.bad_frames,
        found.statistics,
        found.bad_pixels,
        outliers,
        quality,
        flow,
        n_valid,
        found.fit,
        {**line, "farthest_px": farthest, "template": _policy(params, reference)},
    )
    if search.normcorre is not None:
        made.summary["normcorre"] = search.normcorre._asdict()
    if lost:
        for array in made[:-1]:
            array.attrs[FAILED] = {str(plane): why for plane, why in sorted(lost.items())}
    made.summary.update(_summary(made))
    return made


def _check(function: Movie, reference: Volume | None) -> None:
    if 0 in function.shape:
        sizes = " x ".join(map(str, function.shape))
        raise DataError(
            f"The movie is empty: {sizes} (time x z x y x x). Give one with frames, planes and "
            "pixels.",
            code="E_SHAPE",
        )
    if reference is None:
        return
    VOLUME.check(reference)
    found, wanted = (tuple(a.sizes[dim] for dim in "zyx") for a in (reference, function))
    if found != wanted:
        raise DataError(
            f"The reference has {found[0]} planes of {found[1]} x {found[2]} px, the movie "
            f"{wanted[0]} of {wanted[1]} x {wanted[2]} px. Give one image for each plane, of the "
            "size of its frames.",
            code="E_SHAPE",
        )


def _policy(params: CorrectMotion, reference: Volume | None) -> str:
    if reference is not None:
        return "reference"
    return params.compat if params.compat != "none" else params.template


def _line_offset(sample: Movie, params: CorrectMotion) -> dict[str, Any]:
    """Measure the offset of bidirectional scanning once, on the plane in the middle."""
    if params.line_offset == "none" or sample.sizes["y"] < LEAST_ROWS:
        return {"line_offset_px": 0.0, "line_offset_spread_px": None}
    frames = sample.isel(z=sample.sizes["z"] // 2).values
    measured = registration.estimate_line_offset(finite(frames))
    if measured.resized_rows is not None:
        warnings.warn(
            f"rows lie aside from each other and repeat after {measured.resized_rows:.1f} rows, "
            "not 2: the movie was resized, and the offset of scanning there and back cannot be "
            "undone. Give it as it was recorded",
            stacklevel=3,
        )
    spread = measured.spread_px
    return {
        "line_offset_px": float(measured.offset_px),
        "line_offset_spread_px": float(spread) if np.isfinite(spread) else None,
    }


def _search(function: Movie, params: CorrectMotion, line_offset_px: float, device: str) -> Search:
    rigid, normcorre = params.method == "rigid", None
    if params.compat == "normcorre":
        shape = (function.sizes["y"], function.sizes["x"])
        counting = LIKE_NORMCORRE if rigid else LIKE_NORMCORRE + PATCHES_OF_NORMCORRE
        given = params.model_dump(include=set(counting), exclude_defaults=True)
        normcorre = like_normcorre(shape, rigid=rigid)._replace(fill=params.boundary, **given)
    return Search(
        normcorre=normcorre,
        rigid=rigid,
        grid_px=params.grid_px,
        overlap_px=params.overlap_px,
        max_shift_px=params.max_shift_px,
        max_deviation_px=params.max_deviation_px,
        upsampling=params.upsampling,
        iterations=params.iterations,
        running=params.template == "running",
        bin_frames=params.bin_frames,
        buffer_bins=params.buffer_bins,
        weigh=params.bad_pixels == "auto",
        line_offset_px=line_offset_px,
        device=device,
    )


def _settled(found: Fields, search: Search) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Give frames without a sure shift one from their neighbours; bad frames do not move."""
    shifts, patches = found.shifts.values.copy(), found.patch_shifts.values.copy()
    outliers = found.outliers.values.copy()
    good = found.bad_frames.values == registration.FrameCode.OK
    outliers[~good] = OutlierCode.FINE
    for plane in range(shifts.shape[1]):
        trusted = good[:, plane] & (outliers[:, plane] == OutlierCode.FINE)
        for values in (shifts, patches):
            if search.normcorre is None:
                values[:, plane] = registration.settle_shifts(values[:, plane], trusted)
            values[~good[:, plane], plane] = 0
    return (
        found.shifts.copy(data=shifts).rename("shifts"),
        found.patch_shifts.copy(data=patches).rename("patch_shifts"),
        found.outliers.copy(data=outliers).rename("outliers"),
    )


def _apply_all(
    function: Movie,
    found: Fields,
    patch_shifts: xr.DataArray,
    search: Search,
    workspace: Workspace,
) -> tuple[xr.DataArray, ...]:
    return workspace.map_blocks(
        partial(_apply, search=search),
        (function, found.template, found.bad_frames, patch_shifts),
        [
            output("corrected", ("time", "z", "y", "x"), function),
            output("agreement", ("time", "z"), function),
            packed_output(function),
        ],
        split={"z": 1, "time": None},
        isolate="z",
    )


def _apply(
    block: xr.DataArray,
    template: xr.DataArray,
    bad: xr.DataArray,
    patch_shifts: xr.DataArray,
    *,
    search: Search,
) -> tuple[npt.NDArray[Any], ...]:
    if not np.isfinite(template.values).any():
        raise ValueError("its template could not be made")
    frames = finite(block.values[:, 0])
    corrected = move(
        frames,
        patch_shifts.values[:, 0],
        phases_of(patch_shifts),
        centers_of((block.sizes["y"], block.sizes["x"]), search),
        search,
    )
    is_bad = bad.values[:, 0] != registration.FrameCode.OK
    if search.normcorre is not None:
        corrected[is_bad] = frames[is_bad]
    agreement = registration.correlation_to_template(corrected, template.values[0])
    agreement[is_bad] = np.nan
    return corrected[:, None], agreement[:, None], pack_shown(corrected, ~is_bad)[:, None]


def _mark_misfits(outliers: xr.DataArray, agreement: xr.DataArray) -> None:
    """Mark the frames that agree with their template far less than others of their plane."""
    for plane, column in enumerate(agreement.values.T):
        known = column[np.isfinite(column)]
        if not known.size:
            continue
        middle = np.median(known)
        scatter = 1.4826 * np.median(np.abs(known - middle))
        low = column < middle - max(MISFIT_SIGMAS * scatter, MISFIT_LEAST)
        codes = outliers.values[:, plane]
        codes[low & (codes == OutlierCode.FINE)] = OutlierCode.MISFIT


def _summary(made: MotionCorrected) -> dict[str, Any]:
    """Return counts, and the numbers of every plane."""
    n_unsure, n_at_limit = (count_frames(made.outliers, code) for code in DOUBTS)
    planes = [
        {
            "plane": plane,
            "n_bad_pixels": int(made.bad_pixels.values[plane].sum()),
            "n_bad_frames": int((made.bad_frames.values[:, plane] > 0).sum()),
            "n_outliers": int((made.outliers.values[:, plane] > 0).sum()),
            "seen_in_all": seen_in_all(made.n_valid, made.bad_frames, plane),
            **described(numbers),
        }
        for plane, numbers in enumerate(made.quality.values)
    ]
    return {"n_unsure": n_unsure, "n_at_limit": n_at_limit, "planes": planes}
