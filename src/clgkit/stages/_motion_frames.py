"""How `correct_motion` finds the shifts of some frames of one plane, and undoes them."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from clgkit import registration
from clgkit.registration.bidirectional import undo_line_offset
from clgkit.registration.patches import plan_patches

if TYPE_CHECKING:
    import xarray as xr

Float32 = npt.NDArray[np.float32]
Frames = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
Prepared: TypeAlias = registration.RigidTemplate | registration.PreparedPiecewise | Float32
"""A template made ready; NoRMCorre takes it as it is."""

PHASE = "phase_rad"
"""Coordinate of the shifts of NoRMCorre's patches: phase of the correlation there."""
RIM_PX = 0.5
"""A frame this near the limit that was not found inside lies at the limit, or beyond."""
LARGE_FIELD_PX = 768
"""From here on NoRMCorre's patches are those recommended for 1024 px, below those for 512 px."""


class OutlierCode(IntEnum):
    """Why a frame that shows the sample may not lie where it should; 0 is a frame that does."""

    FINE = 0
    MISFIT = 1
    """It agrees with its template far less than the other frames of its plane."""
    LIMIT = 2
    """Its shift is the largest that was looked for, or it fits the template beyond that."""
    UNSURE = 3
    """It shows too little to be registered: its shift is that of the frames around it."""


class Search(NamedTuple):
    """How shifts are looked for."""

    normcorre: registration.NormcorreSettings | None
    """Given: all is done as there."""
    rigid: bool
    grid_px: int
    overlap_px: int
    max_shift_px: int
    max_deviation_px: int
    upsampling: int
    iterations: int
    """Of sharpening the template."""
    running: bool
    """Whether the template follows the movie, and two settings of that."""
    bin_frames: int
    buffer_bins: int
    weigh: bool
    """Whether bad pixels are looked for."""
    line_offset_px: float
    device: str


class Found(NamedTuple):
    """Shifts of some frames."""

    shift_px: Float32
    """(T, 2) of the whole frame."""
    patch_px: Float32
    """(T, ny, nx, 2) of the patches, the shift of the frame included."""
    phase: Float32
    """(T, ny, nx) of NoRMCorre's patches; 0 otherwise."""
    outlier: npt.NDArray[np.uint8]
    """(T,) `OutlierCode`: FINE, LIMIT or UNSURE."""
    fit: Float32
    """(T, 3) what `FrameFit` lists."""


class FrameFit(NamedTuple):
    """How well the filtered frame fits the filtered template; NaN where it was not measured."""

    peak: float
    """Their correlation at the shift of the whole frame."""
    second_peak: float
    """The largest one elsewhere, 4 px or more away."""
    residual_px: float
    """What patches measured less the smooth field, rms over the patches, in pixels."""


def like_normcorre(shape: tuple[int, int], *, rigid: bool) -> registration.NormcorreSettings:
    """Return NoRMCorre's own settings for the size of a field."""
    plain = registration.NormcorreSettings()
    if rigid:
        return plain._replace(grid_px=max(shape), finer=1)
    if max(shape) >= LARGE_FIELD_PX:
        return plain._replace(grid_px=256, overlap_px=64)
    return plain


def centers_of(shape: tuple[int, int], search: Search) -> registration.Centers:
    """Return where the shifts of patches belong; the middle of the field for whole frames."""
    if search.normcorre is not None:
        return registration.Centers(*(_cells(n, search.normcorre) for n in shape))
    if search.rigid:
        return registration.Centers(*(np.array([(n - 1) / 2]) for n in shape))
    grid = plan_patches(shape, grid_px=search.grid_px, overlap_px=search.overlap_px)
    return registration.Centers(grid.y.centers_px, grid.x.centers_px)


def _cells(n: int, settings: registration.NormcorreSettings) -> npt.NDArray[np.float64]:
    """Return the centres of NoRMCorre's cells along one axis."""
    edges = [*range(0, n, settings.grid_px), n]
    if len(edges) > 2 and edges[-1] - edges[-2] < settings.least_cell_px:
        del edges[-2]
    ends = np.array(edges, np.float64)
    return np.asarray((ends[1:] + ends[:-1] - 1) / 2, np.float64)


def finite(frames: Frames) -> Frames:
    """Return the frames with NaN in place of infinity."""
    infinite = np.isinf(frames)
    return np.where(infinite, np.nan, frames).astype(frames.dtype) if infinite.any() else frames


def filled(frames: Frames, line_offset_px: float) -> Float32:
    """Return frames as NoRMCorre needs them: rows in place, gaps filled with the least value."""
    whole = np.array(frames, np.float32)
    for frame in whole:
        missing = ~np.isfinite(frame)
        if missing.any():
            least = float(frame.min(where=~missing, initial=np.inf))
            frame[missing] = least if np.isfinite(least) else 0
        if line_offset_px:
            frame[:] = undo_line_offset(frame, line_offset_px)
    return whole


def phases_of(patch_shifts: xr.DataArray) -> Float32 | None:
    """Return the phases (T, ny, nx) that go with the shifts of one plane, if any do."""
    phases = patch_shifts.coords.get(PHASE)
    return None if phases is None else np.asarray(phases.values[:, 0], np.float32)


def not_negative(template: Float32) -> Float32:
    """Return a template as NoRMCorre needs it: without gaps, and 0 at least."""
    whole = filled(template[None], 0.0)[0]
    return np.asarray(whole - whole.min(), np.float32)


def prepare(template: Float32, bad_pixels: Mask, search: Search) -> Prepared:
    """Filter a template once for many frames; pixels that are bad have no weight."""
    if search.normcorre is not None:
        return not_negative(template)
    bad = bad_pixels if bad_pixels.any() else None
    if search.rigid:
        return registration.prepare_rigid(
            template,
            max_shift_px=search.max_shift_px,
            upsampling=search.upsampling,
            bad_pixels=bad,
        )
    return registration.prepare_piecewise(
        template,
        grid_px=search.grid_px,
        overlap_px=search.overlap_px,
        max_shift_px=search.max_shift_px,
        max_deviation_px=search.max_deviation_px,
        upsampling=search.upsampling,
        bad_pixels=bad,
    )


def register(frames: Frames, prepared: Prepared, search: Search) -> Found:
    """Find the shifts of frames (T, Y, X), which hold no infinity."""
    how: dict[str, Any] = {"line_offset_px": search.line_offset_px, "device": search.device}
    found: registration.RigidShifts | registration.PiecewiseShifts
    if isinstance(prepared, registration.RigidTemplate):
        found = registration.register_rigid(frames, prepared, **how)
        shift_px, patch_px = found.shift_px, found.shift_px[:, None, None, :]
    elif isinstance(prepared, registration.PreparedPiecewise):
        found = registration.register_piecewise(frames, prepared, **how)
        shift_px, patch_px = found.rigid, found.patch_shift
    else:
        return _register_once(frames, prepared, search)
    sure = registration.is_sure(found)
    outlier = np.where(sure, OutlierCode.FINE, OutlierCode.UNSURE).astype(np.uint8)
    _look_beyond(frames, prepared, shift_px, outlier, search)
    fit = not_fitted(len(frames))
    fit[:, 0], fit[:, 1] = found.peak, found.second_peak
    if isinstance(found, registration.PiecewiseShifts):
        fit[:, 2] = np.sqrt(np.square(found.patch_residual_px).mean(axis=(1, 2)))
    phase = np.zeros(patch_px.shape[:-1], np.float32)
    return Found(shift_px, patch_px, phase, outlier, fit)


def _look_beyond(
    frames: Frames,
    prepared: registration.RigidTemplate | registration.PreparedPiecewise,
    shift_px: Float32,
    outlier: npt.NDArray[np.uint8],
    search: Search,
) -> None:
    """Tell frames that lie outside the window from those that show too little."""
    whole = prepared if isinstance(prepared, registration.RigidTemplate) else prepared.rigid
    lost = np.flatnonzero(outlier != OutlierCode.FINE)
    if not lost.size:
        return
    far = registration.look_farther(frames[lost], whole, line_offset_px=search.line_offset_px)
    limit_px = np.array(whole.correlator.search.limit_px)
    beyond = registration.is_sure(far) & (np.abs(far.shift_px) > limit_px - RIM_PX).any(axis=1)
    outlier[lost[beyond]] = OutlierCode.LIMIT
    shift_px[lost[beyond]] = far.shift_px[beyond]


def not_fitted(n_frames: int) -> Float32:
    """Return the numbers of `FrameFit` of frames that were not measured."""
    return np.full((n_frames, len(FrameFit._fields)), np.nan, np.float32)


def _register_once(frames: Frames, template: Float32, search: Search) -> Found:
    """Do as NoRMCorre does with a template that stays."""
    settings = search.normcorre or registration.NormcorreSettings()
    whole = filled(frames, search.line_offset_px)
    made = registration.register_like_normcorre(
        whole - whole.min(axis=(1, 2), keepdims=True),
        settings._replace(update_template=False, iterations=1),
        template=template,
    )
    limit = at_limit(made.rigid, settings)
    fit = not_fitted(len(frames))
    return Found(made.rigid, made.patch_shift, made.patch_phase, limit, fit)


def at_limit(shift_px: Float32, settings: registration.NormcorreSettings) -> npt.NDArray[np.uint8]:
    """Return LIMIT where a shift lies at the rim of NoRMCorre's window; it knows no other doubt."""
    rim = np.abs(shift_px).max(axis=1) >= settings.max_shift_px - 0.5
    return np.where(rim, OutlierCode.LIMIT, OutlierCode.FINE).astype(np.uint8)


def still(n_frames: int, centers: registration.Centers) -> Found:
    """Return shifts of 0."""
    shape = (n_frames, len(centers.y), len(centers.x))
    return Found(
        np.zeros((n_frames, 2), np.float32),
        np.zeros((*shape, 2), np.float32),
        np.zeros(shape, np.float32),
        np.zeros(n_frames, np.uint8),
        not_fitted(n_frames),
    )


def move(
    frames: Frames,
    patch_px: Float32,
    phase: Float32 | None,
    centers: registration.Centers,
    search: Search,
) -> Float32:
    """Return frames with their shifts undone, NaN where a frame shows nothing.

    NoRMCorre repeats what enters at a border instead; there alone `phase` counts.
    """
    if search.normcorre is None or phase is None:
        return np.asarray(
            registration.apply_shifts(
                frames,
                patch_px,
                centers=centers,
                line_offset_px=search.line_offset_px,
                device=search.device,
            ).frames,
            np.float32,
        )
    return move_like_normcorre(
        frames,
        patch_px,
        phase,
        centers,
        settings=search.normcorre,
        line_offset_px=search.line_offset_px,
    )


def move_like_normcorre(
    frames: Frames,
    patch_px: Float32,
    phase: Float32,
    centers: registration.Centers,
    *,
    settings: registration.NormcorreSettings,
    line_offset_px: float,
) -> Float32:
    """Return frames with their shifts undone patch by patch; pixels without a value stay so."""
    whole = filled(frames, line_offset_px)
    moved = registration.apply_like_normcorre(whole, patch_px, phase, settings)
    gaps = np.flatnonzero(~np.isfinite(frames).all(axis=(1, 2)))
    if gaps.size:
        shown = registration.apply_shifts(frames[gaps], patch_px[gaps], centers=centers).valid
        moved[gaps] = np.where(shown, moved[gaps], np.float32(np.nan))
    return moved
