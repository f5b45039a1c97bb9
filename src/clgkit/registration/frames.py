"""Which frames of a movie show the sample, and why the others do not."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt
from scipy import ndimage

Float64 = npt.NDArray[np.float64]


class FrameCode(IntEnum):
    """Why a frame is left out of template and metrics; 0 is a good frame."""

    OK = 0
    NOT_FINITE = 1
    """Most pixels are NaN or infinite."""
    BLANK = 2
    """All pixels have one value."""
    SATURATED = 3
    """Many pixels are at the top of the range."""
    DARK = 4
    """Laser or shutter off: the movie's structure is absent and the frame is dim."""
    FLASH = 5
    """A short, sudden rise of the whole frame."""


class FrameStatistics(NamedTuple):
    """Numbers of each frame, over its finite pixels; joined over blocks they judge a movie."""

    mean: Float64
    """(T,) NaN if no pixel is finite, as the three below."""
    spread: Float64
    """(T,) standard deviation over pixels."""
    minimum: Float64
    maximum: Float64
    structure: Float64
    """(T,) covariance of horizontal neighbours: variance without pixel noise; may be negative."""
    saturated: Float64
    """(T,) fraction of pixels at or above the saturation level."""
    n_not_finite: npt.NDArray[np.int64]
    """(T,) pixels that are NaN or infinite."""
    n_pixels: npt.NDArray[np.int64]
    """(T,) pixels of a frame."""


def frame_statistics(
    frames: npt.NDArray[np.generic], *, saturation: float | None = None
) -> FrameStatistics:
    """Summarise every frame by itself.

    Parameters
    ----------
    frames : (T, Y, X)
        Any real dtype.
    saturation
        Level at which a pixel is saturated.  Not given: the largest value of an integer
        dtype, none for floats.  State it for 12-bit data in 16-bit files.

    Returns
    -------
    FrameStatistics
        All fields (T,).

    Raises
    ------
    ValueError
        If `frames` is not (T, Y, X) with at least one pixel.
    """
    if frames.ndim != 3 or 0 in frames.shape[1:]:
        raise ValueError(f"expected frames (T, Y, X), found an array of shape {frames.shape}.")
    if saturation is None:
        saturation = _top(frames.dtype)
    rows = np.empty((len(frames), 7))
    for t, frame in enumerate(frames):
        _summarise(np.ascontiguousarray(frame, dtype=np.float64), saturation, rows[t])
    mean, spread, minimum, maximum, structure, saturated, n_not_finite = rows.T.copy()
    n_pixels = np.full(len(frames), frames[0].size if len(frames) else 0, dtype=np.int64)
    return FrameStatistics(
        mean,
        spread,
        minimum,
        maximum,
        structure,
        saturated / np.maximum(n_pixels, 1),
        n_not_finite.astype(np.int64),
        n_pixels,
    )


def join_statistics(blocks: list[FrameStatistics]) -> FrameStatistics:
    """Put the statistics of consecutive blocks of frames together.

    Parameters
    ----------
    blocks
        At least one, in the order of the movie.

    Returns
    -------
    FrameStatistics
    """
    return FrameStatistics(*(np.concatenate(field) for field in zip(*blocks, strict=True)))


def find_bad_frames(
    statistics: FrameStatistics,
    *,
    longest_flash: int = 7,
    flash_rise: float = 0.5,
    flash_sigmas: float = 8.0,
    max_saturated: float = 0.1,
) -> npt.NDArray[np.uint8]:
    """Say for every frame of a movie whether it shows the sample, and if not, why.

    Parameters
    ----------
    statistics
        Of the whole movie, from :func:`frame_statistics`.
    longest_flash
        Rises that last longer (in frames) are taken for activity.
    flash_rise
        Least rise of a flash over the frames around it, as a fraction of the usual
        brightness (median of the means minus median of the minima).
    flash_sigmas
        Least rise in robust standard deviations of such rises.
    max_saturated
        A frame is saturated if its fraction of saturated pixels exceeds the median
        fraction of the movie by this much, or is above one half.

    Returns
    -------
    (T,) uint8
        :class:`FrameCode`; the first reason that holds in the order of the codes, but
        SATURATED before BLANK.

    Notes
    -----
    Bleaching and activity are slow or leave structure, and pass.  A dark frame must have
    less than 1 % of the structure (10 % of the contrast) of the brighter quarter of the
    frames, beyond what pixel noise explains, and be dimmer than it.  A flash must begin
    and end within a frame, to less than half its height over the median of its
    surroundings: a calcium transient of the whole field fades instead.  (One that halves
    from frame to frame cannot be told from a flash.)  A movie of one or two frames is
    judged on blank, saturated and not finite, and, if it has two, on dark.
    """
    codes = np.zeros(len(statistics.mean), dtype=np.uint8)
    if not codes.size:
        return codes
    codes[2 * statistics.n_not_finite > statistics.n_pixels] = FrameCode.NOT_FINITE
    finite = codes == FrameCode.OK
    saturated = statistics.saturated
    usual = np.median(saturated[finite]) if finite.any() else 0.0
    too_bright = (saturated > 0.5) | (saturated - usual > max_saturated)
    codes[finite & (statistics.minimum == statistics.maximum)] = FrameCode.BLANK
    codes[finite & too_bright] = FrameCode.SATURATED
    good = np.flatnonzero(codes == FrameCode.OK)
    codes[good[_is_dark(statistics, good)]] = FrameCode.DARK
    good = np.flatnonzero(codes == FrameCode.OK)
    if good.size > 2:
        rise = _rise(statistics.mean[good], longest_flash)
        scale = 1.4826 * np.median(np.abs(rise - np.median(rise)))
        brightness = np.median(statistics.mean[good]) - np.median(statistics.minimum[good])
        high = rise > max(flash_sigmas * scale, flash_rise * brightness)
        codes[good[_is_sudden(rise, high, longest_flash)]] = FrameCode.FLASH
    return codes


def _top(dtype: np.dtype[np.generic]) -> float:
    if dtype.kind not in "iu":
        return np.inf
    return float(np.iinfo(np.dtype(dtype.str)).max)


def _is_dark(statistics: FrameStatistics, good: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """Tell which good frames have lost the structure of the brighter quarter."""
    if not good.size:
        return np.zeros(0, dtype=np.bool_)
    structure, mean = statistics.structure[good], statistics.mean[good]
    n_valid = statistics.n_pixels[good] - statistics.n_not_finite[good]
    noise = 5 * statistics.spread[good] ** 2 / np.sqrt(n_valid)
    usual = np.quantile(structure, 0.75)
    limit = 0.01 * usual + noise
    dim = mean < np.quantile(mean, 0.75)
    return np.asarray(dim & (structure < limit) & (usual > 2 * limit), dtype=np.bool_)


def _rise(mean: Float64, longest_flash: int) -> Float64:
    """Return how far each mean exceeds the median of its surroundings."""
    size = min(4 * longest_flash + 1, 2 * ((mean.size - 1) // 2) + 1)
    around = ndimage.median_filter(mean, size=size, mode="nearest")
    half = size // 2
    # Ends repeat their last value: judge them by the nearest full window instead.
    around[:half], around[mean.size - half :] = around[half], around[mean.size - 1 - half]
    return np.asarray(mean - around, dtype=np.float64)


def _is_sudden(rise: Float64, high: npt.NDArray[np.bool_], longest: int) -> npt.NDArray[np.bool_]:
    """Keep runs of high frames that are short and steep at both ends."""
    out = np.zeros_like(high)
    runs, _ = ndimage.label(high)
    for (run,) in ndimage.find_objects(runs):
        before = rise[run.start - 1] if run.start > 0 else 0.0
        after = rise[run.stop] if run.stop < rise.size else 0.0
        steep = before < rise[run.start] / 2 and after < rise[run.stop - 1] / 2
        out[run] = steep and run.stop - run.start <= longest
    return out


@numba.njit(cache=True, nogil=True)
def _summarise(frame: Float64, saturation: float, out: Float64) -> None:
    ny, nx = frame.shape
    total, count, saturated = 0.0, 0, 0
    low, high = np.inf, -np.inf
    for y in range(ny):
        for x in range(nx):
            value = frame[y, x]
            saturated += value >= saturation
            if np.isfinite(value):
                total += value
                count += 1
                low, high = min(low, value), max(high, value)
    out[5], out[6] = saturated, ny * nx - count
    if count == 0:
        out[:5] = np.nan
        return
    mean = total / count
    square, product, pairs = 0.0, 0.0, 0
    for y in range(ny):
        before = np.nan
        for x in range(nx):
            value = frame[y, x] - mean
            if np.isfinite(value):
                square += value * value
                if np.isfinite(before):
                    product += value * before
                    pairs += 1
            before = value
    out[0], out[1], out[2], out[3] = mean, np.sqrt(square / count), low, high
    out[4] = product / max(pairs, 1)
