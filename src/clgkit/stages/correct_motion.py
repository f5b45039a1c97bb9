"""Functional movie with the motion of every frame undone."""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
from pydantic import PositiveInt

from clgkit import registration
from clgkit.blocks import output
from clgkit.data import MOVIE, Movie, Volume
from clgkit.errors import DataError
from clgkit.params import Params
from clgkit.registration import FrameStatistics
from clgkit.workspace import FAILED, Workspace, failed_planes

if TYPE_CHECKING:
    import numpy.typing as npt

STATISTICS = FrameStatistics._fields


class CorrectMotion(Params):
    """Settings of :func:`correct_motion`."""

    max_shift_px: PositiveInt = 15
    """Larger displacements are not looked for, in pixels."""
    upsampling: PositiveInt = 50
    """Shifts are found to 1 / upsampling of a pixel."""
    template_frames: PositiveInt = 100
    """About so many frames, spread over the movie, make the template of a plane."""
    iterations: PositiveInt = 2
    """How often the template is sharpened by registering its own frames."""


class MotionCorrected(NamedTuple):
    """What :func:`correct_motion` gives."""

    corrected: Movie
    shifts: xr.DataArray
    template: Volume
    agreement: xr.DataArray
    bad_frames: xr.DataArray
    statistics: xr.DataArray


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
        The functional movie.
    params
        Settings.
    workspace
        Where blocks run and results go.

    Returns
    -------
    MotionCorrected
        ``corrected``: float32, NaN where a frame shows nothing after the shift, and where a
        raw pixel is not finite.  ``shifts``: (time, z, axis) float32, pixels to move the
        content (+y down, +x right).  ``template``: (z, y, x).  ``agreement``: (time, z)
        correlation of each corrected frame with its template.  ``bad_frames``: (time, z) uint8
        codes of `clgkit.registration.FrameCode`, 0 is good.  ``statistics``: (time, z,
        statistic) of the raw frames.

    Raises
    ------
    DataError
        If `function` is no movie, or none of its planes shows anything.

    Notes
    -----
    A bad frame (blank, saturated, dark, flash, mostly not finite) takes no part in the
    template; it is not moved, keeps its pixels, and its agreement is NaN.
    """
    MOVIE.check(function)
    workspace = workspace or Workspace()
    (statistics,) = workspace.map_blocks(
        _statistics,
        function,
        [output("statistics", ("time", "z", "statistic"), function, np.float64, statistic=8)],
        split={"z": 1, "time": None},
    )
    bad = _bad_frames(statistics)
    step = -(-function.sizes["time"] // params.template_frames)
    sample = function.isel(time=slice(step // 2 if step > 1 else 0, None, step))
    (template,) = workspace.map_blocks(
        partial(_template, params=params),
        sample,
        [output("template", ("z", "y", "x"), sample)],
        split={"z": 1},
        isolate="z",
    )
    made = workspace.map_blocks(
        partial(_align, params=params),
        (function, template, bad),
        [
            output("corrected", ("time", "z", "y", "x"), function),
            output("shifts", ("time", "z", "axis"), function, axis=2),
            output("agreement", ("time", "z"), function),
        ],
        split={"z": 1, "time": None},
        isolate="z",
    )
    corrected, shifts, agreement = made
    lost = failed_planes(corrected) | failed_planes(template)
    if len(lost) == function.sizes["z"]:
        raise DataError(f"No plane of the movie can be used: {next(iter(lost.values()))}")
    found = MotionCorrected(corrected, shifts, template, agreement, bad, statistics)
    if lost:
        for array in found:
            array.attrs[FAILED] = {str(plane): why for plane, why in sorted(lost.items())}
    return found


def _statistics(block: xr.DataArray) -> npt.NDArray[np.float64]:
    columns = registration.frame_statistics(block.values[:, 0])
    return np.column_stack(columns).astype(np.float64)[:, None]


def _template(sample: xr.DataArray, *, params: CorrectMotion) -> npt.NDArray[np.float32]:
    frames = sample.values[:, 0]
    template = registration.make_template(
        frames, max_shift_px=params.max_shift_px, iterations=params.iterations
    )
    return np.asarray(template[None], np.float32)


def _align(
    block: xr.DataArray, template: xr.DataArray, bad: xr.DataArray, *, params: CorrectMotion
) -> tuple[npt.NDArray[Any], ...]:
    frames, reference = _finite(block.values[:, 0]), template.values[0]
    if not np.isfinite(reference).any():
        raise ValueError("its template could not be made")
    good = bad.values[:, 0] == registration.FrameCode.OK
    shift_px = np.zeros((len(frames), 2), np.float32)
    shift_px[good] = registration.estimate_rigid(
        frames[good], reference, max_shift_px=params.max_shift_px, upsampling=params.upsampling
    ).shift_px
    corrected = registration.shift_frames(frames, shift_px)
    agreement = registration.correlation_to_template(corrected, reference)
    agreement[~good] = np.nan
    return corrected[:, None], shift_px[:, None], agreement[:, None]


def _finite(frames: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the frames with NaN in place of infinity."""
    infinite = np.isinf(frames)
    return np.where(infinite, np.nan, frames).astype(frames.dtype) if infinite.any() else frames


def _bad_frames(statistics: xr.DataArray) -> xr.DataArray:
    """Judge every frame by the statistics of its whole plane, and warn of the bad ones."""
    values = statistics.values
    codes = np.zeros((values.shape[0], values.shape[1]), np.uint8)
    for plane in range(values.shape[1]):
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
