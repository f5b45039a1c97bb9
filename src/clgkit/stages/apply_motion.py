"""Second channel of the functional movie with the same motion undone."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from clgkit import registration
from clgkit.blocks import output
from clgkit.data import MOVIE, VOLUME, Movie, Volume
from clgkit.errors import DataError
from clgkit.params import Params
from clgkit.schema import Schema
from clgkit.stages._motion_frames import PHASE, finite, move_like_normcorre, phases_of
from clgkit.stages._motion_quality import compare
from clgkit.stages._time_means import mean_over_time, numbered
from clgkit.workspace import FAILED, Workspace, failed_planes

if TYPE_CHECKING:
    import numpy.typing as npt
    import xarray as xr

PATCH_SHIFTS = Schema("table of shifts", ("time", "z", "patch_y", "patch_x", "axis"), "f")
BAD_FRAMES = Schema("table of bad frames", ("time", "z"), "iub")
MEASURES = ("r_before", "r_after")
"""Columns of the quality."""


class ApplyMotion(Params):
    """Settings of :func:`apply_motion`."""

    line_offset: Literal["measured", "none"] = "measured"
    """Undo the offset between rows scanned there and back that was measured on the functional
    movie, or none, for a movie that was made without one."""


class MotionApplied(NamedTuple):
    """What :func:`apply_motion` gives."""

    corrected: Movie
    template: Volume
    agreement: xr.DataArray
    quality: xr.DataArray


def apply_motion(  # noqa: PLR0917  (the inputs of a stage, in the order of the table)
    movie: Movie,
    patch_shifts: xr.DataArray,
    summary: Mapping[str, Any],
    bad_frames: xr.DataArray,
    template: Volume | None = None,
    params: ApplyMotion = ApplyMotion(),  # noqa: B008  (frozen)
    *,
    workspace: Workspace | None = None,
) -> MotionApplied:
    """Move the frames of another movie as those of the functional movie were moved.

    Parameters
    ----------
    movie
        Any movie with the frames, planes and pixels of the functional one: its nuclear channel,
        the raw or a denoised movie.
    patch_shifts, summary, bad_frames
        Of :func:`clgkit.stages.correct_motion`: where the patches went, the offset between rows
        (``line_offset_px``), and which frames are bad.
    template
        The template of the functional movie, where it is at hand: `movie` must be of its size.
    params
        Settings.
    workspace
        Where blocks run and results go.

    Returns
    -------
    MotionApplied
        ``corrected``: float32, NaN where a frame shows nothing after the shift, and where a
        raw pixel is not finite.  ``template``: (z, y, x) float32 mean over the good frames that
        show a pixel; NaN where none does.  ``agreement``: (time, z) correlation of each corrected
        frame with that template, NaN for bad frames.  ``quality``: (z, measure) float64, mean
        correlation of a good frame with the mean of the others, before and after, over the same
        pixels: a score of the shifts by data on which they were not estimated.

    Raises
    ------
    DataError
        If `movie` is no movie, the shifts are those of another one, or no plane can be used.

    Notes
    -----
    Offset between rows and shifts of the patches are undone by one cubic interpolation, as in
    :func:`~clgkit.stages.correct_motion`: applied to the functional movie itself, they give its
    corrected movie bit by bit.  A frame that is bad in the functional movie was not moved there,
    is not moved here, and takes no part in the template.  A plane that was lost there is lost.
    Where the shifts were found with ``compat="normcorre"`` patches are moved and blended as there,
    with the same result.  That needs the coordinate ``phase_rad`` of the shifts, and in `summary`
    the settings under ``normcorre``; where one of them is missing, a warning says that the
    shifts are undone by the interpolation.
    """
    MOVIE.check(movie)
    _check_shifts(movie, patch_shifts, bad_frames)
    offset = _line_offset(summary)
    settings = _normcorre(summary, patch_shifts)
    if template is not None:
        VOLUME.check(template)
        check_size(movie, (template.sizes["y"], template.sizes["x"]))
    workspace = workspace or Workspace()
    lost = failed_planes(movie) | failed_planes(patch_shifts)
    (corrected,) = workspace.map_blocks(
        partial(
            _apply,
            lost=lost,
            line_offset_px=offset if params.line_offset == "measured" else 0.0,
            device=workspace.device,
            settings=settings,
        ),
        (movie, patch_shifts, numbered(movie), bad_frames),
        [output("corrected", ("time", "z", "y", "x"), movie)],
        split={"z": 1, "time": None},
        isolate="z",
    )
    lost = failed_planes(corrected)
    if len(lost) == movie.sizes["z"]:
        raise DataError(f"No plane of the movie can be used: {next(iter(lost.values()))}")
    (average,) = workspace.map_blocks(
        partial(_average, corrected=corrected),
        (bad_frames, numbered(movie)),
        [output("template", ("z", "y", "x"), movie)],
        split={"z": 1},
    )
    (agreement,) = workspace.map_blocks(
        _agree,
        (corrected, average, bad_frames),
        [output("agreement", ("time", "z"), movie)],
        split={"z": 1, "time": None},
    )
    (quality,) = workspace.map_blocks(
        partial(_score, raw=movie, corrected=corrected),
        (bad_frames, numbered(movie)),
        [output("quality", ("z", "measure"), movie, np.float64, measure=len(MEASURES))],
        split={"z": 1},
    )
    made = MotionApplied(corrected, average, agreement, quality)
    if lost:
        for array in made:
            array.attrs[FAILED] = {str(plane): why for plane, why in sorted(lost.items())}
    return made


def _check_shifts(movie: Movie, patch_shifts: xr.DataArray, bad_frames: xr.DataArray) -> None:
    PATCH_SHIFTS.check(patch_shifts)
    BAD_FRAMES.check(bad_frames)
    missing = [name for name in ("patch_y", "patch_x") if name not in patch_shifts.coords]
    if missing or patch_shifts.sizes["axis"] != 2:
        raise DataError(
            f"The shifts have {patch_shifts.sizes['axis']} axes and the coordinates "
            f"{', '.join(map(str, patch_shifts.coords)) or 'none'}; wanted are 2 (y, x) and the "
            "centres patch_y and patch_x in pixels, as correct_motion leaves them.",
            code="E_SHAPE",
        )
    for dim, word in (("time", "frames"), ("z", "planes")):
        for array, what in ((patch_shifts, "shifts"), (bad_frames, "marks of bad frames")):
            if array.sizes[dim] != movie.sizes[dim]:
                raise DataError(
                    f"The movie has {movie.sizes[dim]} {word}, but there are {what} for "
                    f"{array.sizes[dim]}. Take the second channel of the very movie whose motion "
                    "was corrected.",
                    code="E_SHAPE",
                )


def check_size(movie: Movie, wanted: tuple[int, int]) -> None:
    """Raise `DataError` if the frames of a movie are not of the size (y, x) in pixels."""
    found = (movie.sizes["y"], movie.sizes["x"])
    if found != wanted:
        raise DataError(
            f"The frames of the movie have {found[0]} x {found[1]} pixels, those whose motion was "
            f"corrected {wanted[0]} x {wanted[1]}. Shifts in pixels fit frames of the same size "
            "only; take the movie at the resolution of the other one.",
            code="E_SHAPE",
        )


def _line_offset(summary: Any) -> float:
    """Return the offset between rows that a summary of correct_motion holds."""
    if not isinstance(summary, Mapping):
        kind = type(summary).__name__
        look = f" of {summary.dtype} {summary.shape}" if hasattr(summary, "dtype") else ""
        raise DataError(
            f"The summary is a {kind}{look}; wanted are the plain values that correct_motion "
            "gives, among them line_offset_px.",
            code="E_SHAPE",
        )
    found = summary.get("line_offset_px")
    if not isinstance(found, float | int) or not math.isfinite(found):
        raise DataError(
            f"The summary says line_offset_px = {found!r}; wanted is a number of pixels, 0 where "
            "there is no offset.",
            code="E_SHAPE",
        )
    return float(found)


def _normcorre(
    summary: Mapping[str, Any], patch_shifts: xr.DataArray
) -> registration.NormcorreSettings | None:
    """Return how patches were moved where the shifts were found; None is by interpolation."""
    stored = summary.get("normcorre")
    phases = patch_shifts.coords.get(PHASE)
    if stored is None and phases is None:
        return None
    if stored is None or phases is None:
        missing = "settings" if stored is None else "phases of its patches"
        warnings.warn(
            f"The shifts were found as NoRMCorre finds them, and the {missing} are not at hand: "
            "the shifts are undone by one interpolation, not patch by patch",
            stacklevel=3,
        )
        return None
    try:
        return registration.NormcorreSettings(**stored)
    except TypeError as error:
        raise DataError(
            f"The summary says normcorre = {stored!r}; wanted are the settings that correct_motion "
            "leaves there.",
            code="E_SHAPE",
        ) from error


def _apply(
    block: xr.DataArray,
    patch_shifts: xr.DataArray,
    number: xr.DataArray,
    bad_frames: xr.DataArray,
    *,
    lost: Mapping[int, str],
    line_offset_px: float,
    device: str,
    settings: registration.NormcorreSettings | None,
) -> npt.NDArray[Any]:
    plane = int(number.values[0])
    if plane in lost:
        raise DataError(lost[plane])
    frames, shift_px = finite(block.values[:, 0]), patch_shifts.values[:, 0]
    centers = registration.Centers(
        patch_shifts.coords["patch_y"].values, patch_shifts.coords["patch_x"].values
    )
    phase = phases_of(patch_shifts)
    if settings is not None and phase is not None:
        corrected = move_like_normcorre(
            frames, shift_px, phase, centers, settings=settings, line_offset_px=line_offset_px
        )
        bad = bad_frames.values[:, 0] != 0
        corrected[bad] = frames[bad]
        return corrected[:, None]
    return registration.apply_shifts(
        frames, shift_px, centers=centers, line_offset_px=line_offset_px, device=device
    ).frames[:, None]


def _average(
    bad_frames: xr.DataArray, number: xr.DataArray, *, corrected: Movie
) -> npt.NDArray[np.float32]:
    good = np.flatnonzero(bad_frames.values[:, 0] == 0)
    return mean_over_time(corrected.isel(z=int(number.values[0])), good)[None]


def _score(
    bad_frames: xr.DataArray, number: xr.DataArray, *, raw: Movie, corrected: Movie
) -> npt.NDArray[np.float64]:
    plane = int(number.values[0])
    good = np.flatnonzero(bad_frames.values[:, 0] == 0)
    if len(good) < 2 or plane in failed_planes(corrected):
        return np.full((1, len(MEASURES)), np.nan)
    nowhere = np.zeros((raw.sizes["y"], raw.sizes["x"]), np.bool_)
    numbers, _ = compare(raw.isel(z=plane), corrected.isel(z=plane), good, nowhere)
    return np.array([[numbers[name] for name in MEASURES]])


def _agree(
    block: xr.DataArray, template: xr.DataArray, bad_frames: xr.DataArray
) -> npt.NDArray[np.float32]:
    agreement = registration.correlation_to_template(block.values[:, 0], template.values[0])
    agreement[bad_frames.values[:, 0] != 0] = np.nan
    return agreement[:, None]
