"""Whether the noise of a movie is that of photons, and what one photon counts."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Float64 = npt.NDArray[np.float64]
Frame = npt.NDArray[np.generic]

N_BINS = 16
WHITE = -2 / 3
"""Correlation of neighbours after the filter (-1/2, 1, -1/2), if the noise is white."""
WHITE_TOLERANCE = 0.1
LARGEST_LAG_RATIO = 1.2
"""Noise of frames two apart over that of neighbours; 1 if frames do not share noise."""
LEAST_LINEARITY = 0.85
LEAST_PIXELS = 1024


class Unlike(IntEnum):
    """Why photons cannot be counted; 0: they can."""

    PHOTONS = 0
    FEW = 1
    """Too few good frames or pixels to tell."""
    SMOOTH = 2
    """The noise of neighbouring pixels is not independent."""
    SHARED = 3
    """The noise of successive frames is not independent."""
    NOT_LINEAR = 4
    """The noise does not grow in proportion to the brightness."""


SENTENCES = {
    Unlike.FEW: "there are too few good frames or pixels to tell the noise",
    Unlike.SMOOTH: "neighbouring pixels share their noise, as where it was denoised or resized",
    Unlike.SHARED: "successive frames share their noise, as where a movie was denoised or averaged",
    Unlike.NOT_LINEAR: "the noise does not grow with the brightness as that of photons does",
}


class PhotonModel(NamedTuple):
    """Noise of a movie as that of photons: variance = gain * (value - offset)."""

    gain: float
    """Data units for each photon; NaN if it cannot be told."""
    offset: float
    """Value without light, lowered by what read noise adds to the variance over the gain."""
    unlike: Unlike
    """Why the noise is not that of photons."""


class _Sums(NamedTuple):
    """What is added up over pairs of frames, for each bin of brightness."""

    pixels: Float64
    value: Float64
    square: Float64
    fourth: Float64


def fit_photons(
    triples: Iterable[tuple[Frame, Frame, Frame]],
    level: npt.NDArray[np.floating],
    bad_pixels: npt.NDArray[np.bool_],
) -> PhotonModel:
    """Fit gain and offset to a movie, and judge whether its noise is that of photons.

    Parameters
    ----------
    triples
        (Y, X) frames that follow each other, as recorded; read once, three at a time.
    level : (Y, X)
        Mean of other frames: sorts the pixels by brightness.  Sorted by their own values, dim
        pixels would be those whose noise is negative, and the gain too small.
    bad_pixels : (Y, X) bool
        Left out, as pixels that are not finite.

    Returns
    -------
    PhotonModel

    Notes
    -----
    What two frames differ by is filtered along the rows with (-1/2, 1, -1/2): motion and
    activity are smooth and mostly cancel, white noise stays, with 3/2 of its variance.  Mean and
    variance are taken in 16 bins of brightness, and a line laid through them, each weighted by
    the precision of its variance: the photon transfer curve of a camera test, on the sample.
    """
    usable = ~ndimage.binary_dilation(bad_pixels | ~np.isfinite(level), np.ones((3, 3), np.bool_))
    inside, bright = usable[:, 1:-1], np.asarray(level[:, 1:-1], dtype=np.float64)
    if inside.sum() < LEAST_PIXELS:
        return PhotonModel(np.nan, np.nan, Unlike.FEW)
    edges = np.quantile(bright[inside], np.arange(1, N_BINS) / N_BINS)
    total, beside, own, apart = _Sums(*(np.zeros(N_BINS) for _ in range(4))), 0.0, 0.0, 0.0
    for first, second, third in triples:
        noise = np.where(inside, _noise(first, second), np.nan)
        beside += float(np.nansum(noise[:, 1:] * noise[:, :-1]))
        own += float(np.nansum(np.square(noise)))
        apart += float(np.nansum(np.square(np.where(inside, _noise(first, third), np.nan))))
        finite = np.isfinite(noise)
        seen = np.asarray(first, np.float64)[:, 1:-1][finite]
        which = np.digitize(bright[finite], edges)
        total = _added(total, which, seen, np.square(noise[finite]) / 1.5)
    if not own > 0:
        return PhotonModel(np.nan, np.nan, Unlike.FEW)
    return _judged(total, beside / own, apart / own)


def _noise(first: Frame, second: Frame) -> Float64:
    """Return what two frames differ by without what is smooth, (Y, X - 2)."""
    difference = (np.asarray(second, np.float64) - np.asarray(first, np.float64)) / np.sqrt(2)
    with np.errstate(invalid="ignore"):  # infinity minus infinity is left out
        return np.asarray(
            difference[:, 1:-1] - (difference[:, :-2] + difference[:, 2:]) / 2, np.float64
        )


def _added(total: _Sums, which: npt.NDArray[np.intp], values: Float64, squares: Float64) -> _Sums:
    terms = (np.ones_like(values), values, squares, np.square(squares))
    return _Sums(
        *(
            old + np.bincount(which, term, minlength=N_BINS)
            for old, term in zip(total, terms, strict=True)
        )
    )


def _judged(total: _Sums, neighbours: float, lag_ratio: float) -> PhotonModel:
    """Lay the line, and say what speaks against photons."""
    filled = total.pixels >= total.pixels.sum() / N_BINS / 4
    count, value, variance, fourth = (part[filled] for part in total)
    value, variance, fourth = value / count, variance / count, fourth / count
    weight = count / np.maximum(fourth - variance**2, np.finfo(np.float64).tiny)
    weight /= weight.sum()
    about, mean = weight @ value, weight @ variance
    spread = weight @ (value - about) ** 2
    gain = float(weight @ ((value - about) * (variance - mean)) / spread) if spread > 0 else 0.0
    unexplained = weight @ (variance - mean - gain * (value - about)) ** 2
    linear = gain > 0 and unexplained <= (1 - LEAST_LINEARITY) * (weight @ (variance - mean) ** 2)
    if abs(neighbours - WHITE) > WHITE_TOLERANCE:
        unlike = Unlike.SMOOTH
    elif lag_ratio > LARGEST_LAG_RATIO:
        unlike = Unlike.SHARED
    else:
        unlike = Unlike.PHOTONS if linear else Unlike.NOT_LINEAR
    offset = float(about - mean / gain) if gain > 0 else np.nan
    return PhotonModel(gain if gain > 0 else np.nan, offset, unlike)
