"""The offset between rows scanned there and rows scanned back."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage, special

from clgkit.registration.cubic import sample_row
from clgkit.registration.zigzag import find_zigzag

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

BAND_PX = (1.0, 8.0)
STEP_PX = 0.01
N_BANDS = 4
LEAST_ROWS = 8
MARGIN_PX = 16
"""Width over which rows are faded in at their ends, at most half of them."""
LARGEST_SPREAD_PX = 0.25
SMALLEST_OFFSET_PX = 0.05
ROUNDING = 1e-12
"""Of the largest value: what is left of a constant row when its mean is taken away."""


class LineOffset(NamedTuple):
    """How far the odd rows lie to the right of the even ones."""

    offset_px: float
    """To be undone; 0 if it is unsure, or too small to matter."""
    measured_px: float
    """Median of the samples; NaN if there is none."""
    spread_px: float
    """1.4826 times their median absolute deviation; NaN if there are fewer than two."""
    sure: bool
    """Whether the samples agree."""
    samples_px: Float64
    """(n,) one for each group of frames and band of rows."""
    resized_rows: float | None = None
    """Rows after which an offset repeats that is not that of native rows; None if there is none."""


def estimate_line_offset(
    frames: npt.NDArray[np.generic], *, max_offset_px: float = 5, n_groups: int = 5
) -> LineOffset:
    """Measure the offset of bidirectional scanning from rows and the rows between them.

    Parameters
    ----------
    frames : (T, Y, X)
        A sample of the movie on its native rows: in a resized movie the offset cannot be
        undone, and ``resized_rows`` tells that there was one.  Any real dtype; pixels that are
        not finite are left out.
    max_offset_px
        Larger offsets are not looked for.
    n_groups
        The frames are averaged in so many groups of consecutive ones.

    Returns
    -------
    LineOffset
        Counted from 0: rows 1, 3, 5 … are the odd ones.

    Raises
    ------
    ValueError
        If `frames` is not (T, Y, X) with at least one frame, or a setting is out of range.

    Notes
    -----
    Each row is correlated with the mean of the rows above and below it, which has no offset
    of its own, after a difference of Gaussians along the row (1 and 8 px).  One of the two is
    faded in over 16 px at its ends, then the other: fading in both at once pulls offsets
    towards 0, on rows of 90 px by 3 to 5 %.  Correlations are summed over the rows of one of
    four bands of the field, and their maximum found to 0.01 px.  The offset is the median over
    groups and bands.  It is unsure, and 0, if the samples scatter by more than 0.25 px or lie
    at the end of the range; values below 0.05 px, or not beyond chance (95 %), are 0 as well,
    since an interpolation costs more than they do.
    """
    if frames.ndim != 3 or not len(frames):
        raise ValueError(f"expected frames (T, Y, X), found an array of shape {frames.shape}.")
    if not max_offset_px > 0 or n_groups < 1:
        raise ValueError(
            f"found max_offset_px {max_offset_px} and n_groups {n_groups}; both must be positive."
        )
    means = [
        _mean(frames[group[0] : group[-1] + 1])
        for group in np.array_split(np.arange(len(frames)), min(n_groups, len(frames)))
    ]
    found = [offset for mean in means for offset in _sample_offsets(mean, max_offset_px)]
    samples = np.array(found, dtype=np.float64)
    resized = find_zigzag(np.mean(means, axis=0))
    if len(samples) < 2:
        alone = float(samples[0]) if samples.size else np.nan
        return LineOffset(0.0, alone, np.nan, False, samples, resized)  # noqa: FBT003  (its order)
    middle = float(np.median(samples))
    spread = float(1.4826 * np.median(np.abs(samples - middle)))
    sure = spread <= LARGEST_SPREAD_PX and abs(middle) < max_offset_px - STEP_PX
    # Of a median, and 95 % of chance: few samples tell their own spread badly.
    chance = 1.25 * special.stdtrit(len(samples) - 1, 0.975) / np.sqrt(len(samples))
    matters = abs(middle) >= max(SMALLEST_OFFSET_PX, chance * spread)
    offset_px = middle if sure and matters else 0.0
    return LineOffset(offset_px, middle, spread, sure, samples, None if offset_px else resized)


def undo_line_offset(image: npt.NDArray[np.generic], offset_px: float) -> Float32:
    """Move the odd rows of one image back by the offset.

    Parameters
    ----------
    image : (Y, X)
        Any real dtype.
    offset_px
        How far the odd rows lie to the right.

    Returns
    -------
    (Y, X) float32
        Even rows as they were.  Pixels that come from outside repeat the end of the row.
        To keep images, use :func:`~clgkit.registration.apply.apply_shifts`, which
        interpolates once for all corrections.
    """
    out = np.array(image, dtype=np.float32)
    width = out.shape[1]
    still, moved = np.zeros(width, np.float32), np.full(width, offset_px, np.float32)
    inside = np.clip(np.rint(np.arange(width) + offset_px), 0, width - 1).astype(np.int64)
    for y in range(1, len(out), 2):
        row = out[y].copy()
        sample_row(row[np.newaxis], 0, still, moved, row[inside], out[y])
    return out


def _mean(frames: npt.NDArray[np.generic]) -> Float64:
    """Return the mean over frames, 0 and no more where no frame is finite."""
    total, count = np.zeros(frames.shape[1:]), np.zeros(frames.shape[1:], dtype=np.int64)
    for frame in frames:
        finite = np.isfinite(frame)
        np.add(total, frame, out=total, where=finite)
        count += finite
    valid = count > 0
    mean = total / np.maximum(count, 1)
    return np.where(valid, mean, mean[valid].mean() if valid.any() else 0.0)


def _sample_offsets(image: Float64, max_offset_px: float) -> list[float]:
    """Return the offset of each band of rows that shows anything."""
    height, width = image.shape
    if height < 3 or width < 4:
        return []
    plain = image - image.mean(axis=1, keepdims=True)
    plain[np.abs(plain) < ROUNDING * np.abs(image).max()] = 0
    inner, outer = (ndimage.gaussian_filter1d(plain, sigma, axis=1) for sigma in BAND_PX)
    rows = inner - outer
    ramp = (np.minimum(np.arange(width), np.arange(width)[::-1]) + 0.5) / min(MARGIN_PX, width / 2)
    window = 0.5 - 0.5 * np.cos(np.pi * np.minimum(ramp, 1))
    between, middle = (rows[:-2] + rows[2:]) / 2, rows[1:-1]
    cross = _cross_spectrum(between * window, middle) + _cross_spectrum(between, middle * window)
    # The middle row of every other triple is even: there the offset is the other way.
    cross[1::2] = np.conjugate(cross[1::2])
    limit = min(max_offset_px, (width - 1) / 2)
    offsets = np.arange(-round(limit / STEP_PX), round(limit / STEP_PX) + 1) * STEP_PX
    waves = np.exp(-2j * np.pi * np.multiply.outer(offsets, np.fft.rfftfreq(width)))
    n_bands = max(1, min(N_BANDS, (height - 2) // LEAST_ROWS))
    bands = [band.sum(axis=0) for band in np.array_split(cross, n_bands)]
    return [float(offsets[(waves @ band).real.argmax()]) for band in bands if np.abs(band).any()]


def _cross_spectrum(one: Float64, other: Float64) -> npt.NDArray[np.complex128]:
    return np.asarray(fft.rfft(one, axis=1) * np.conjugate(fft.rfft(other, axis=1)))
