"""Moving pixels: whole frames by a shift, images and labels by a map.  One interpolation."""

from __future__ import annotations

import math

import numba
import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

SNAP_PX = 1e-6  # a fraction of a pixel below this is rounding, not motion


def shift_frames(
    frames: npt.NDArray[np.generic], shift_px: npt.NDArray[np.floating], *, fill: float = math.nan
) -> Float32:
    r"""Move the content of every frame by its shift, with one cubic interpolation.

    Parameters
    ----------
    frames : (T, Y, X)
        Any real dtype; computed in float32.
    shift_px : (T, 2)
        Displacement (y, x) of the content, +y down, +x right.
    fill
        Value of pixels whose kernel reaches outside the frame.

    Returns
    -------
    (T, Y, X) float32
        :math:`\mathrm{out}(x) = \mathrm{frame}(x - s)`.

    Raises
    ------
    ValueError
        If the shapes do not fit or a shift is not finite.

    Notes
    -----
    Cubic convolution with a = -1/2 (Keys, IEEE Trans ASSP 29:1153, 1981).  Its kernel is
    4 pixels wide, so a bad pixel spoils its neighbours only; the cubic B-spline is more
    exact on noise-free images but its prefilter spreads a bad pixel over the field.
    An axis with a whole-pixel shift is copied, so shift 0 returns the frame bit by bit.
    """
    shifts = np.asarray(shift_px, dtype=np.float64)
    if frames.ndim != 3 or shifts.shape != (len(frames), 2):
        raise ValueError(
            f"frames {frames.shape} and shifts {shifts.shape} do not fit: "
            "expected (T, Y, X) and (T, 2)."
        )
    _check_finite(shifts)
    out = np.empty(frames.shape, dtype=np.float32)
    for t, frame in enumerate(frames):
        (ky, wy, y0, y1), (kx, wx, x0, x1) = (
            _taps(-s, n) for s, n in zip(shifts[t], frame.shape, strict=True)
        )
        source = np.ascontiguousarray(frame, dtype=np.float32)
        out[t] = fill
        if y1 > y0 and x1 > x0:
            _shift_frame(source, ky, wy, kx, wx, out[t, y0:y1, x0:x1], y0, x0)
    return out


def valid_mask(shift_px: npt.NDArray[np.floating], shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Tell which pixels of a shifted frame come from inside the frame.

    Parameters
    ----------
    shift_px : (2,) or (T, 2)
        As given to :func:`shift_frames`.
    shape
        (Y, X) of a frame.

    Returns
    -------
    (Y, X) or (T, Y, X) bool
        False where :func:`shift_frames` writes its fill value.

    Raises
    ------
    ValueError
        If a shift is not finite.
    """
    shifts = np.asarray(shift_px, dtype=np.float64)
    _check_finite(shifts)
    flat = shifts.reshape(-1, 2)
    mask = np.zeros((len(flat), *shape), dtype=np.bool_)
    for t, shift in enumerate(flat):
        _, _, y0, y1 = _taps(-shift[0], shape[0])
        _, _, x0, x1 = _taps(-shift[1], shape[1])
        mask[t, y0:y1, x0:x1] = True
    return mask.reshape(*shifts.shape[:-1], *shape)


def warp_image(
    image: npt.NDArray[np.generic],
    mapping: npt.NDArray[np.floating],
    *,
    shape: tuple[int, int] | None = None,
    fill: float = math.nan,
) -> Float32:
    """Resample an image through a map, linearly.

    Parameters
    ----------
    image : (Y, X)
        Any real dtype.
    mapping : (2, 3) or (Y', X', 2)
        Where to read: a matrix from the pixel (y, x, 1) of the result to the position in
        `image`, or for every pixel of the result the offset (y, x) from it to there.
    shape
        Shape of the result; that of the offsets, or of the image, if not given.
    fill
        Value of pixels that read from outside.

    Returns
    -------
    (Y', X') float32

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    where = _positions(image, mapping, shape)
    out = np.empty(where.shape[:2], dtype=np.float32)
    _warp_linear(np.ascontiguousarray(image, dtype=np.float32), where, np.float32(fill), out)
    return out


def warp_labels(
    labels: npt.NDArray[np.integer],
    mapping: npt.NDArray[np.floating],
    *,
    shape: tuple[int, int] | None = None,
) -> npt.NDArray[np.integer]:
    """Resample labels through a map by the nearest pixel; no label is invented.

    Parameters
    ----------
    labels : (Y, X) integer
        0 is background.
    mapping, shape
        As in :func:`warp_image`.

    Returns
    -------
    (Y', X'), dtype of `labels`
        0 where the map reads from outside.

    Raises
    ------
    TypeError
        If the labels are not integers.
    ValueError
        If the shapes do not fit.
    """
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers, found {labels.dtype}.")
    where = np.floor(_positions(labels, mapping, shape) + 0.5)
    inside = np.ones(where.shape[:2], dtype=np.bool_)
    for axis, n in enumerate(labels.shape):
        inside &= (where[..., axis] >= 0) & (where[..., axis] < n)
    y, x = np.where(inside[..., np.newaxis], where, 0).astype(np.int64).transpose(2, 0, 1)
    return np.where(inside, labels[y, x], labels.dtype.type(0))


def _positions(
    image: npt.NDArray[np.generic],
    mapping: npt.NDArray[np.floating],
    shape: tuple[int, int] | None,
) -> Float64:
    """Return for every pixel of the result the position to read, (Y', X', 2) float64."""
    mapping = np.asarray(mapping, dtype=np.float64)
    affine = mapping.shape == (2, 3)
    if image.ndim != 2 or not (affine or (mapping.ndim == 3 and mapping.shape[2] == 2)):
        raise ValueError(
            f"image {image.shape} and mapping {mapping.shape} do not fit: expected (Y, X) "
            "and a (2, 3) matrix or offsets (Y, X, 2)."
        )
    target = shape or (image.shape if affine else mapping.shape[:2])
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in target), indexing="ij"), axis=-1)
    if affine:
        return np.asarray(grid @ mapping[:, :2].T + mapping[:, 2], dtype=np.float64)
    if mapping.shape[:2] != tuple(target):
        raise ValueError(f"offsets {mapping.shape[:2]} do not fit the result {tuple(target)}.")
    return np.asarray(grid + mapping, dtype=np.float64)


def _check_finite(shifts: Float64) -> None:
    if not np.isfinite(shifts).all():
        raise ValueError("shifts must be finite; give a frame without an estimate the shift 0.")


def _taps(offset: float, n: int) -> tuple[int, Float32, int, int]:
    """Return first source index for output 0, weights, and the valid range of outputs.

    Whole offsets have a single weight, so that nothing beside the pixel is read.
    """
    whole = math.floor(offset + SNAP_PX)
    t = offset - whole
    if t < SNAP_PX:
        first, weights = whole, np.ones(1, dtype=np.float32)
    else:
        first = whole - 1
        weights = np.array(
            [
                ((2 - t) * t - 1) * t / 2,
                ((3 * t - 5) * t * t + 2) / 2,
                ((4 - 3 * t) * t + 1) * t / 2,
                (t - 1) * t * t / 2,
            ],
            dtype=np.float32,
        )
    start = min(max(0, -first), n)
    stop = max(min(n, n - first - weights.size + 1), start)
    return first, weights, start, stop


@numba.njit(cache=True, nogil=True)
def _shift_frame(  # noqa: PLR0917  (a kernel takes its numbers one by one)
    frame: Float32,
    ky: int,
    wy: Float32,
    kx: int,
    wx: Float32,
    out: Float32,
    y0: int,
    x0: int,
) -> None:
    """Fill `out`, the valid part of the result that begins at (y0, x0)."""
    ny, nx = out.shape
    width = nx + wx.size - 1
    line = np.empty(width, dtype=np.float32)
    left = x0 + kx
    for y in range(ny):
        top = y0 + y + ky
        if wy.size == 1:
            line[:] = frame[top, left : left + width]
        else:
            a, b = frame[top, left : left + width], frame[top + 1, left : left + width]
            c, d = frame[top + 2, left : left + width], frame[top + 3, left : left + width]
            for x in range(width):
                line[x] = wy[0] * a[x] + wy[1] * b[x] + wy[2] * c[x] + wy[3] * d[x]
        if wx.size == 1:
            out[y, :] = line
        else:
            for x in range(nx):
                out[y, x] = (
                    wx[0] * line[x]
                    + wx[1] * line[x + 1]
                    + wx[2] * line[x + 2]
                    + wx[3] * line[x + 3]
                )


@numba.njit(cache=True, nogil=True)
def _warp_linear(image: Float32, where: Float64, fill: np.float32, out: Float32) -> None:
    ny, nx = image.shape
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            y, x = where[i, j, 0], where[i, j, 1]
            if not (0 <= y <= ny - 1 and 0 <= x <= nx - 1):
                out[i, j] = fill
                continue
            top, left = int(y), int(x)
            ty, tx = y - top, x - left
            value = (1 - ty) * (1 - tx) * image[top, left]
            if tx > 0:
                value += (1 - ty) * tx * image[top, left + 1]
            if ty > 0:
                value += ty * (1 - tx) * image[top + 1, left]
            if tx > 0 and ty > 0:
                value += ty * tx * image[top + 1, left + 1]
            out[i, j] = value
