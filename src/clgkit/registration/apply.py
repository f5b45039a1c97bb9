"""Corrected frames from stored shifts: one interpolation for everything that moved."""

from __future__ import annotations

import math
from importlib import import_module
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from clgkit.registration.cubic import sample_row
from clgkit.registration.field import Centers, spline_matrix
from clgkit.registration.warp import shift_frames

Float32 = npt.NDArray[np.float32]


class Corrected(NamedTuple):
    """Frames with their motion undone."""

    frames: npt.NDArray[np.generic]
    """(T, Y, X)"""
    valid: npt.NDArray[np.bool_]
    """(T, Y, X) false where the frame shows nothing: there floats are NaN, and integers
    repeat the nearest pixel of the frame.  Only this mask tells those from what was seen."""


def apply_shifts(
    frames: npt.NDArray[np.generic],
    shift_px: npt.NDArray[np.floating],
    *,
    centers: Centers | None = None,
    line_offset_px: float = 0.0,
    dtype: npt.DTypeLike = np.float32,
    device: str = "cpu",
) -> Corrected:
    r"""Move the content of every frame by its stored shifts, with one cubic interpolation.

    Parameters
    ----------
    frames : (T, Y, X)
        Any real dtype: the movie of which the shifts were estimated, or any other with as
        many frames of the same shape, such as the raw movie or another channel.
    shift_px : (T, 2) or (T, ny, nx, 2)
        One shift (y, x) for each frame, or one for each patch.
    centers
        Of the patches; compulsory for shifts of patches.
    line_offset_px
        From :func:`~clgkit.registration.bidirectional.estimate_line_offset`.
    dtype
        Of the result: a float, or an integer, to which values are rounded and clipped.  The
        stages of the pipeline take float32; integers are for arrays of your own.
    device
        Anything but "cpu" is a device of torch, such as "cuda"; there values are the same to
        rounding.

    Returns
    -------
    Corrected

    Raises
    ------
    ValueError
        If the shapes do not fit, a shift is not finite, or centres are missing.
    TypeError
        If `dtype` is neither float nor integer.
    ImportError
        If a device of torch is named, but torch is not installed.

    Notes
    -----
    With s the field of shifts (:func:`~clgkit.registration.field.field_at`) and o the offset
    of odd rows, :math:`\mathrm{out}(y, x) = \mathrm{frame}(y - s_y, x - s_x + o)`, o counting
    in the odd ones of the four rows that a kernel reads.  Cubic convolution with a = -1/2, as
    in :func:`~clgkit.registration.warp.shift_frames`, in float32.  A frame whose field is zero
    comes back bit by bit, if the dtype stays.
    """
    shifts = np.asarray(shift_px, dtype=np.float64)
    target = np.dtype(dtype)
    _check(frames, shifts, centers, line_offset_px, target)
    out = np.empty(frames.shape, dtype=target)
    valid = np.empty(frames.shape, dtype=np.bool_)
    height, width = frames.shape[1:]
    if centers is None:
        shifts = shifts[:, np.newaxis, np.newaxis]
        rows, columns = (np.ones((n, 1), dtype=np.float32) for n in (height, width))
    else:
        rows, columns = (
            spline_matrix(at, np.arange(n)).astype(np.float32)
            for at, n in zip(centers, (height, width), strict=True)
        )
    if device != "cpu":
        made = Corrected(out, valid)
        on_device = import_module("clgkit.registration.accelerated_motion")
        on_device.fill_corrected(
            frames, shifts, (rows, columns), line_offset_px, made, device=device
        )
        return made
    for t, frame in enumerate(frames):
        if not shifts[t].any() and not line_offset_px:
            valid[t] = np.isfinite(frame)
            out[t] = _cast(frame, valid[t], target)
            continue
        source = np.ascontiguousarray(frame, dtype=np.float32)
        if centers is None and not line_offset_px:
            moved = shift_frames(source[np.newaxis], shifts[t, 0, 0][np.newaxis])[0]
        else:
            moved = np.empty(source.shape, dtype=np.float32)
            _move(source, *_sampling(shifts[t], rows, columns), np.float32(line_offset_px), moved)
        valid[t] = np.isfinite(moved)
        if target.kind in "iu" and not valid[t].all():
            missing = np.divmod(np.flatnonzero(~valid[t]), width)
            moved[missing] = _nearest(source, missing, _sampling(shifts[t], rows, columns))
        out[t] = _cast(moved, valid[t], target)
    return Corrected(out, valid)


def _sampling(
    shift_px: npt.NDArray[np.float64], rows: Float32, columns: Float32
) -> tuple[Float32, Float32]:
    """Return where to read, relative to each pixel: y and x."""
    sampling = (-shift_px).astype(np.float32)
    if sampling.size == 2:
        shape = (len(rows), len(columns))
        y, x = (np.broadcast_to(value, shape) for value in sampling.ravel())
        return y, x
    y, x = (np.asarray(rows @ sampling[..., i] @ columns.T, dtype=np.float32) for i in (0, 1))
    return y, x


def _check(
    frames: npt.NDArray[np.generic],
    shifts: npt.NDArray[np.float64],
    centers: Centers | None,
    line_offset_px: float,
    target: np.dtype[np.generic],
) -> None:
    if target.kind not in "fiu":
        raise TypeError(f"the result can be of a float or integer dtype, not {target}.")
    wanted: tuple[int, ...] = (len(frames), 2)
    if centers is not None:
        wanted = (len(frames), len(centers.y), len(centers.x), 2)
    elif shifts.ndim == 4:
        raise ValueError("shifts of patches need the centers of the patches; give centers=...")
    if frames.ndim != 3 or shifts.shape != wanted:
        raise ValueError(
            f"frames {frames.shape} and shifts {shifts.shape} do not fit: expected (T, Y, X) "
            f"and {wanted}."
        )
    if not (np.isfinite(shifts).all() and math.isfinite(line_offset_px)):
        raise ValueError("shifts must be finite; give a frame without an estimate the shift 0.")


def _cast(
    image: npt.NDArray[np.generic], valid: npt.NDArray[np.bool_], target: np.dtype[np.generic]
) -> npt.NDArray[np.generic]:
    """Bring values to a dtype: integers are rounded and clipped, and 0 where not finite."""
    if image.dtype == target or target.kind == "f":
        return image.astype(target, copy=False)
    limits = np.iinfo(np.dtype(target.str))
    if image.dtype.kind in "iu":
        return np.asarray(np.clip(image, limits.min, limits.max)).astype(target)
    # Whole numbers of 16 bits fit into single precision.
    plain = image.astype(np.float32 if target.itemsize <= 2 else np.float64)
    if not valid.all():
        plain[~np.isfinite(plain)] = 0
    # The largest values of 64-bit integers are no float64: clipped to the next below.
    high = float(np.nextafter(limits.max, 0)) if target.itemsize == 8 else float(limits.max)
    np.rint(plain, out=plain)
    return np.clip(plain, limits.min, high, out=plain).astype(target)


def _nearest(
    image: Float32, pixels: tuple[npt.NDArray[np.intp], ...], sampling: tuple[Float32, Float32]
) -> Float32:
    """Return the pixel of the frame nearest to where each of some pixels reads."""
    row, column = (
        np.clip(np.rint(place + where[pixels]), 0, n - 1).astype(np.int64)
        for place, where, n in zip(pixels, sampling, image.shape, strict=True)
    )
    nearest: Float32 = image[row, column]
    return nearest


def _move(image: Float32, y: Float32, x: Float32, line_offset: np.float32, out: Float32) -> None:
    if line_offset:
        _move_lines(image, y, x, line_offset, out)
    else:
        _move_rows(image, y, x, out)


@numba.njit(cache=True, nogil=True)
def _move_rows(image: Float32, y: Float32, x: Float32, out: Float32) -> None:
    fill = np.full(out.shape[1], np.float32(np.nan))
    for row in range(out.shape[0]):
        sample_row(image, row, y[row], x[row], fill, out[row])


@numba.njit(cache=True, nogil=True)
def _move_lines(
    image: Float32, y: Float32, x: Float32, line_offset: np.float32, out: Float32
) -> None:
    """Read each source row at its own offset, then interpolate between the rows."""
    height, width = out.shape
    fill = np.full(width, np.float32(np.nan))
    still = np.zeros(width, dtype=np.float32)
    sampling = np.empty(width, dtype=np.float32)
    for row in range(height):
        low, high = int(np.floor(y[row].min())) - 1, int(np.floor(y[row].max())) + 3
        lines = np.full((high - low + 1, width), np.float32(np.nan))
        for k in range(low, high + 1):
            source = row + k
            if 0 <= source < height:
                sampling[:] = x[row]
                if source % 2 == 1:
                    sampling += line_offset
                sample_row(image, source, still, sampling, fill, lines[k - low])
        sample_row(lines, -low, y[row], still, fill, out[row])
