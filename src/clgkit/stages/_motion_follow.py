"""Templates that follow the movie: one plane, its frames in order, a few at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from clgkit import registration
from clgkit.stages._motion_frames import (
    Found,
    Frames,
    OutlierCode,
    Search,
    at_limit,
    centers_of,
    filled,
    finite,
    move,
    not_fitted,
    not_negative,
    prepare,
    register,
    still,
)

if TYPE_CHECKING:
    import xarray as xr

Float32 = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.intp]
LOWEST = registration.FrameStatistics._fields.index("minimum")
READ_FRAMES = 20
"""Frames in memory at a time; has no part in the result."""


class GoodFrames:
    """The frames of one plane that show the sample, read when asked for by a slice."""

    def __init__(self, plane: xr.DataArray, good: Numbers) -> None:
        self.plane, self.good = plane, good
        self.shape = (len(good), plane.sizes["y"], plane.sizes["x"])

    def __getitem__(self, frames: slice) -> Frames:
        """Read some frames; infinity becomes NaN."""
        chosen = self.good[frames]
        first = int(chosen[0])
        read = self.plane.isel(time=slice(first, int(chosen[-1]) + 1)).values
        return finite(read[chosen - first])


class NormcorreFrames(GoodFrames):
    """The same as NoRMCorre needs them: whole, not negative, rows in place."""

    def __init__(
        self, plane: xr.DataArray, good: Numbers, least: float, line_offset_px: float
    ) -> None:
        super().__init__(plane, good)
        self.least, self.line_offset_px = np.float32(least), line_offset_px

    def __getitem__(self, frames: slice) -> Frames:
        """Read some frames."""
        whole = filled(super().__getitem__(frames), self.line_offset_px)
        return np.asarray(np.maximum(whole - self.least, 0), np.float32)


def follow_bins(
    number: xr.DataArray,
    bad_frames: xr.DataArray,
    bad_pixels: xr.DataArray,
    template: xr.DataArray,
    *,
    movie: xr.DataArray,
    search: Search,
) -> tuple[Frames, ...]:
    """Register one plane to a template that is renewed after every bin of good frames.

    Parameters
    ----------
    number, bad_frames, bad_pixels, template
        One plane of each; the template is that of the first bin, and counts for ever.
    movie
        All planes, lazy.
    search
        As for the stage.

    Returns
    -------
    Shifts (T, 1, 2), those of patches (T, 1, ny, nx, 2), outliers (T, 1), numbers of their fit
    (T, 1, 3), template (1, Y, X).  Bad frames have shift 0.
    """
    first, bad = template.values[0], bad_pixels.values[0] > 0
    centers = centers_of(first.shape, search)
    found = still(len(bad_frames), centers)
    _check(first)
    frames = GoodFrames(movie.isel(z=int(number.values[0])), _good(bad_frames))
    running = registration.RunningTemplate(first, buffer_bins=search.buffer_bins)
    for inside in registration.plan_bins(len(frames.good), bin_frames=search.bin_frames):
        prepared = prepare(running.image, bad, search)
        for start in range(inside.start, inside.stop, READ_FRAMES):
            part = slice(start, min(start + READ_FRAMES, inside.stop))
            read = frames[part]
            new = register(read, prepared, search)
            sure = new.outlier == OutlierCode.FINE
            running.add(move(read[sure], new.patch_px[sure], None, centers, search))
            _put(found, frames.good[part], new)
        running.finish_bin()
    parts = (found.shift_px, found.patch_px, found.outlier, found.fit)
    return (*(part[:, None] for part in parts), running.image[None])


def follow_normcorre(
    number: xr.DataArray,
    bad_frames: xr.DataArray,
    statistics: xr.DataArray,
    template: xr.DataArray | None = None,
    *,
    movie: xr.DataArray,
    search: Search,
) -> tuple[Frames, ...]:
    """Register one plane as NoRMCorre does.

    Parameters
    ----------
    number, bad_frames, statistics
        One plane of each.
    template
        One plane: a template that stays.  Not given: the program's own, renewed bin by bin.
    movie, search
        As for :func:`follow_bins`.

    Returns
    -------
    As of :func:`follow_bins`, and before the outliers the phases (T, 1, ny, nx).
    """
    good = _good(bad_frames)
    settings = search.normcorre or registration.NormcorreSettings()
    plane = movie.isel(z=int(number.values[0]))
    least = float(np.nanmin(statistics.values[good, 0, LOWEST], initial=np.inf))
    given = None
    if template is not None:
        _check(template.values[0])
        settings = settings._replace(update_template=False, iterations=1)
        given = not_negative(template.values[0])
    found = still(len(bad_frames), centers_of((plane.sizes["y"], plane.sizes["x"]), search))
    frames = NormcorreFrames(plane, good, least, search.line_offset_px)
    image = np.zeros(frames.shape[1:], np.float32)
    for made in registration.iterate_like_normcorre(frames, settings, template=given):
        part = good[made.start : made.start + len(made.frames)]
        limit = at_limit(made.rigid, settings)
        fit = not_fitted(len(part))
        _put(found, part, Found(made.rigid, made.patch_shift, made.patch_phase, limit, fit))
        image = made.template + np.float32(least)
    final = image if template is None else template.values[0]
    return (*(part[:, None] for part in found), final[None])


def _good(bad_frames: xr.DataArray) -> Numbers:
    good = np.flatnonzero(bad_frames.values[:, 0] == registration.FrameCode.OK)
    if not len(good):
        raise ValueError(
            f"none of {len(bad_frames)} frames can make a template: all are blank, saturated, "
            "dark or not finite."
        )
    return good


def _check(template: Float32) -> None:
    if not np.isfinite(template).any():
        raise ValueError("its template could not be made")


def _put(found: Found, frames: Numbers, new: Found) -> None:
    pairs: list[tuple[Frames, Frames]] = list(zip(found, new, strict=True))
    for whole, part in pairs:
        whole[frames] = part
