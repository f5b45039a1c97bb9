"""Traces of the rois of one plane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numba
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from clgkit.traces.rois import Rois

Traces: TypeAlias = npt.NDArray[np.floating[Any]]


def extract(
    frames: npt.NDArray[Any],
    rois: Rois,
    *,
    valid: npt.NDArray[np.bool_] | None = None,
    compat: bool = False,
) -> Traces:
    """Average the pixels of every roi in every frame.

    Parameters
    ----------
    frames : (T, Y, X)
        Frames of one plane, arbitrary units, any real dtype; a memory map is read
        page by page.
    rois
        From `find_rois` on the labels of the same plane.
    valid : (Y, X) or (T, Y, X) bool
        Pixels that may be used, for example those a registered frame really covers.
        None: all.
    compat
        Add up as the CLG notebook did: pixel after pixel in raster order, in float32
        for float32 frames, in float64 otherwise.  All pixels are used, NaN spreads.

    Returns
    -------
    (R, T)
        float32; with `compat` float32 for float32 frames and float64 otherwise.
        NaN pixels and pixels that are not valid are left out; NaN where fewer than
        half of the pixels of a roi are left.

    Raises
    ------
    TypeError
        If `frames` are not real or `valid` is not bool.
    ValueError
        If `frames` and the labels differ in (Y, X), `valid` fits neither a plane nor
        the frames, or `valid` is given together with `compat`.

    Notes
    -----
    Every frame is summed by itself in float64, run by run: cutting the frames into
    blocks cannot change a bit.  `compat` follows step 2 of the CLG notebooks bit for
    bit, except for a movie of a single frame, which numpy sums in another order.
    """
    movie = _checked(frames, rois)
    if compat:
        if valid is not None:
            raise ValueError("compat takes all pixels: leave out either valid or compat.")
        dtype = np.float32 if movie.dtype == np.float32 else np.float64
        out = np.empty((rois.nucleus.size, len(movie)), dtype)
        _mean_by_pixel(movie, rois.starts, rois.stops, rois.roi, out)
        out /= rois.area_px.astype(dtype)[:, None]
        return out
    mask = _checked_mask(valid, movie, rois)
    means = np.empty((rois.nucleus.size, len(movie)), np.float32)
    _mean_by_run(movie, mask, (rois.starts, rois.stops, rois.roi), rois.area_px, means)
    return means


def _checked(frames: npt.NDArray[Any], rois: Rois) -> npt.NDArray[Any]:
    """Return the frames as (T, pixels), native and contiguous."""
    movie = np.asarray(frames)
    if movie.dtype.kind not in "biuf":
        raise TypeError(f"The frames are of type {movie.dtype}, but real numbers are wanted.")
    if movie.ndim != 3:
        raise ValueError(f"The frames have shape {movie.shape}, but (T, Y, X) is wanted.")
    if movie.shape[1:] != rois.shape:
        raise ValueError(
            f"The frames have shape {movie.shape[1:]} and the labels {rois.shape}:"
            " take the labels of this plane."
        )
    dtype = np.dtype(np.uint8) if movie.dtype.kind == "b" else movie.dtype.newbyteorder("=")
    if dtype.kind == "f" and dtype.itemsize not in {4, 8}:
        dtype = np.dtype(np.float32 if dtype.itemsize == 2 else np.float64)
    return np.ascontiguousarray(movie, dtype).reshape(len(movie), rois.shape[0] * rois.shape[1])


def _checked_mask(
    valid: npt.NDArray[np.bool_] | None, movie: npt.NDArray[Any], rois: Rois
) -> npt.NDArray[np.bool_]:
    """Return the mask as (0, 0), (1, pixels) or (T, pixels)."""
    if valid is None:
        return np.zeros((0, 0), np.bool_)
    mask = np.asarray(valid)
    if mask.dtype != np.bool_:
        raise TypeError(f"valid is of type {mask.dtype}, but bool is wanted.")
    whole = (len(movie), *rois.shape)
    if mask.shape not in {rois.shape, whole}:
        raise ValueError(f"valid has shape {mask.shape}, but {rois.shape} or {whole} is wanted.")
    n_frames = 1 if mask.ndim == 2 else len(movie)
    return np.ascontiguousarray(mask).reshape(n_frames, movie.shape[1])


@numba.njit(cache=True, nogil=True)
def _mean_by_run(
    movie: npt.NDArray[Any],
    mask: npt.NDArray[np.bool_],
    runs: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]],
    area: npt.NDArray[np.int64],
    out: npt.NDArray[np.float32],
) -> None:
    """Sum each run in float64, then add it to its roi."""
    starts, stops, roi = runs
    sums = np.empty(area.size)
    used = np.empty(area.size, np.int64)
    for t in range(movie.shape[0]):
        frame = movie[t]
        sums[:] = 0.0
        used[:] = 0
        for run in range(starts.size):
            total = 0.0
            count = stops[run] - starts[run]
            for pixel in range(starts[run], stops[run]):
                total += frame[pixel]
            if mask.size or total != total:  # noqa: PLR0124  (only NaN differs from itself)
                row = mask[min(t, mask.shape[0] - 1)] if mask.size else mask.ravel()
                total, count = _sum_valid(frame, row, starts[run], stops[run])
            sums[roi[run]] += total
            used[roi[run]] += count
        for r in range(area.size):
            enough = used[r] > 0 and 2 * used[r] >= area[r]
            out[r, t] = sums[r] / used[r] if enough else np.nan


@numba.njit(cache=True, nogil=True)
def _sum_valid(
    frame: npt.NDArray[Any], mask: npt.NDArray[np.bool_], start: int, stop: int
) -> tuple[float, int]:
    """Sum and count the pixels of a run that are valid numbers; an empty mask is all."""
    total = 0.0
    count = 0
    for pixel in range(start, stop):
        value = float(frame[pixel])
        if value == value and (mask.size == 0 or mask[pixel]):  # noqa: PLR0124  (not NaN)
            total += value
            count += 1
    return total, count


@numba.njit(cache=True, nogil=True)
def _mean_by_pixel(
    movie: npt.NDArray[Any],
    starts: npt.NDArray[np.int64],
    stops: npt.NDArray[np.int64],
    roi: npt.NDArray[np.int64],
    out: npt.NDArray[Any],
) -> None:
    """Add pixel after pixel to its roi, in the dtype of `out`."""
    sums = np.empty(out.shape[0], out.dtype)
    for t in range(movie.shape[0]):
        frame = movie[t]
        sums[:] = 0
        for run in range(starts.size):
            for pixel in range(starts[run], stops[run]):
                sums[roi[run]] += frame[pixel]
        out[:, t] = sums
