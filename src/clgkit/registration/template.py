"""The fixed template: one image per plane that every frame is laid on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from clgkit.registration.bidirectional import undo_line_offset
from clgkit.registration.filters import smooth_valid
from clgkit.registration.frames import FrameCode, find_bad_frames, frame_statistics
from clgkit.registration.rigid import estimate_rigid, has_structure
from clgkit.registration.settle import settle_shifts
from clgkit.registration.warp import shift_frames

Float32 = npt.NDArray[np.float32]
FILL_SIGMA_PX = 8.0


def choose_frames(n_frames: int, *, n: int = 200) -> npt.NDArray[np.int64]:
    """Spread `n` frames evenly over a movie.

    Parameters
    ----------
    n_frames
        Length of the movie.
    n
        How many to choose; all of a shorter movie.

    Returns
    -------
    (min(n, n_frames),) int64
        Rising, without repetition: the middles of equal stretches.

    Raises
    ------
    ValueError
        If one of the numbers is below 1.
    """
    if n_frames < 1 or n < 1:
        raise ValueError(f"cannot choose {n} of {n_frames} frames; both must be at least 1.")
    n = min(n, n_frames)
    return (2 * np.arange(n, dtype=np.int64) + 1) * n_frames // (2 * n)


def make_template(
    frames: npt.NDArray[np.generic],
    *,
    max_shift_px: float = 15,
    iterations: int = 2,
    bad_pixels: npt.NDArray[np.bool_] | None = None,
    line_offset_px: float = 0.0,
) -> Float32:
    """Make a sharp, quiet mean image out of a sample of frames.

    Parameters
    ----------
    frames : (n, Y, X)
        Spread over the movie (:func:`choose_frames`); any real dtype.  One is enough.
    max_shift_px
        Larger displacements are not looked for.
    iterations
        How often the frames are registered to the template and averaged again.
    bad_pixels : (Y, X) bool
        Pixels that show no sample (:func:`find_bad_pixels`): no weight, and filled from
        frames that moved, or from their surroundings.
    line_offset_px
        From :func:`~clgkit.registration.bidirectional.estimate_line_offset`; undone first.

    Returns
    -------
    (Y, X) float32
        Always finite.  Pixels no shifted frame covers come from the median of the frames,
        pixels never finite from their surroundings.

    Raises
    ------
    ValueError
        If no frame of the sample shows the sample.

    Notes
    -----
    The median of the good frames; then, `iterations` times, all good frames are
    registered rigidly to it and the mean of the shifted frames takes its place.  Frames
    whose shift may be noise take one from the sure frames around them: laid where they look
    most like the template, frames of noise make a template of noise that later ones agree
    with.  Frames that fit worst (three robust standard deviations below the median) are left
    out of the mean.
    """
    codes = find_bad_frames(frame_statistics(frames))
    good = [frame for frame, code in zip(frames, codes, strict=True) if code == FrameCode.OK]
    if not good:
        raise ValueError(
            f"none of {len(frames)} frames can make a template: all are blank, saturated, dark "
            "or not finite; choose other frames."
        )
    sample = np.array(good, dtype=np.float32)
    sample[~np.isfinite(sample)] = np.nan
    if bad_pixels is not None:
        sample[:, bad_pixels] = np.nan
    if line_offset_px:
        sample = np.stack([undo_line_offset(frame, line_offset_px) for frame in sample])
    median = _fill(_median(sample))
    template = median
    for _ in range(iterations):
        if not has_structure(template):
            break
        shifts = estimate_rigid(sample, template, max_shift_px=max_shift_px)
        settled = settle_shifts(shifts.shift_px, shifts.confident)
        kept = _fits(shifts.peak)
        template = _mean_shifted(sample[kept], settled[kept], median)
    return template


def find_bad_pixels(
    frames: npt.NDArray[np.generic], *, sigmas: float = 8.0
) -> npt.NDArray[np.bool_]:
    """Find pixels that always differ from their neighbours: hot, dead or stuck ones.

    Parameters
    ----------
    frames : (T, Y, X)
        A sample of the movie as recorded, any real dtype.
    sigmas
        By how many robust standard deviations the temporal median of a pixel must lie above
        all but one of the eight pixels around it, or below.

    Returns
    -------
    (Y, X) bool
        True also for pixels that are never finite.

    Raises
    ------
    ValueError
        If `frames` is not (T, Y, X) with at least one frame.

    Notes
    -----
    The structure of a sample is blurred over several pixels; one or two that stand out alone
    are the detector's.  The scale is that of all differences to the median of the neighbours.
    """
    if frames.ndim != 3 or not len(frames):
        raise ValueError(f"expected frames (T, Y, X), found an array of shape {frames.shape}.")
    sample = np.array(frames, dtype=np.float32)
    sample[~np.isfinite(sample)] = np.nan
    median = _median(sample)
    missing = ~np.isfinite(median)
    image = _fill(median)
    around = np.ones((3, 3), dtype=np.bool_)
    around[1, 1] = False
    low, middle, high = (
        ndimage.rank_filter(image, rank, footprint=around, mode="mirror") for rank in (1, 4, -2)
    )
    scale = 1.4826 * float(np.median(np.abs(image - middle)))
    excess = np.maximum(image - high, low - image)
    return np.asarray(missing | (excess > sigmas * scale) & (scale > 0))


def _fits(peak: Float32) -> npt.NDArray[np.bool_]:
    """Tell which frames look like the template, compared with the others."""
    middle = np.median(peak)
    scale = 1.4826 * np.median(np.abs(peak - middle))
    return np.asarray(peak >= middle - 3 * scale, dtype=np.bool_)


def _median(sample: Float32) -> Float32:
    """Return the median of finite values, NaN where there are none."""
    ordered = np.sort(sample, axis=0)  # NaN last
    count = np.isfinite(sample).sum(axis=0)
    low, high = np.maximum(count - 1, 0) // 2, count // 2
    low_high = [np.take_along_axis(ordered, i[np.newaxis], axis=0)[0] for i in (low, high)]
    middle = np.asarray((low_high[0] + low_high[1]) / 2, dtype=np.float32)
    return np.where(count > 0, middle, np.float32(np.nan))


def _mean_shifted(sample: Float32, shift_px: Float32, instead: Float32) -> Float32:
    total = np.zeros(instead.shape, dtype=np.float64)
    count = np.zeros(instead.shape, dtype=np.int64)
    for t in range(len(sample)):
        moved = shift_frames(sample[t : t + 1], shift_px[t : t + 1])[0]
        valid = np.isfinite(moved)
        np.add(total, moved, out=total, where=valid)
        count += valid
    return np.where(count > 0, total / np.maximum(count, 1), instead).astype(np.float32)


def _fill(image: Float32) -> Float32:
    valid = np.isfinite(image)
    if valid.all():
        return image
    around = smooth_valid(np.where(valid, image, np.float32(0)), valid, sigma_px=FILL_SIGMA_PX)
    return np.where(valid, image, around)
