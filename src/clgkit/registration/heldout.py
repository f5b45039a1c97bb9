"""Scores of a registration by data it has not seen, and by what it leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from clgkit.registration.piecewise import PreparedPiecewise, register_piecewise
from clgkit.registration.quality import correlation_to_template

Float32 = npt.NDArray[np.float32]
Correct = Callable[[npt.NDArray[np.generic], npt.NDArray[np.generic]], npt.NDArray[np.floating]]


class SplitScore(NamedTuple):
    """How well photons that played no part in the estimate fall into place."""

    r_to_mean: float
    """Mean over frames of the correlation with the mean of the corrected frames."""
    r_of_halves: float
    """Correlation of the mean of the even with the mean of the odd corrected frames."""


class ResidualFlow(NamedTuple):
    """Motion that is left in a corrected movie."""

    patch_shift: Float32
    """(bins, ny, nx, 2) shift (y, x) of each patch of each bin's mean, pixels."""
    error_px: Float32
    """(bins, ny, nx) standard error that noise gives it."""
    rms_px: float
    """Over bins and patches, after the mean over bins is removed."""


def split_photons(
    frames: npt.NDArray[np.generic], *, gain: float, offset: float = 0.0, seed: int = 0
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """Deal the photons of a movie out to two movies at random.

    Parameters
    ----------
    frames : (T, Y, X)
        Raw data: counts of photons times gain plus offset.  Not denoised, not averaged.
    gain
        Data units for each photon.
    offset
        Data units without light.
    seed
        Of the dealing.

    Returns
    -------
    Two (T, Y, X) uint32
        If the counts are Poisson, the noise of one is independent of that of the other.

    Raises
    ------
    ValueError
        If `gain` is not positive or the frames hold NaN or infinity.

    Notes
    -----
    Counts are rounded, and 0 where the data lie below the offset; read noise that is not
    small against the gain leaves some dependence.
    """
    if not gain > 0:
        raise ValueError(f"gain must be positive, found {gain}.")
    if not np.isfinite(frames).all():
        raise ValueError("photons cannot be counted in pixels that are not finite; crop them.")
    values = np.asarray(frames, dtype=np.float64)
    counts = np.rint((values - offset) / gain).clip(0).astype(np.int64)
    first = np.random.default_rng(seed).binomial(counts, 0.5)
    return first.astype(np.uint32), (counts - first).astype(np.uint32)


def photon_split_score(
    frames: npt.NDArray[np.generic],
    correct: Correct,
    *,
    gain: float,
    offset: float = 0.0,
    seed: int = 0,
) -> SplitScore:
    """Estimate motion from half of the photons and score the other half.

    Parameters
    ----------
    frames, gain, offset, seed
        As in :func:`split_photons`.
    correct
        Called with the movie to estimate from and the movie to apply to; returns the latter
        corrected, NaN where it shows nothing.

    Returns
    -------
    SplitScore
        Compare registrations of one movie only.  Unlike the correlation or the crispness of
        all photons it does not reward fitting of noise.
    """
    seen, held_out = split_photons(frames, gain=gain, offset=offset, seed=seed)
    corrected = np.asarray(correct(seen, held_out), dtype=np.float32)
    valid = np.isfinite(corrected).all(axis=0)
    shown = np.where(valid, corrected, np.float32(np.nan))
    r_to_mean = correlation_to_template(shown, shown.mean(axis=0, dtype=np.float64))
    if len(shown) < 2:
        return SplitScore(float(np.mean(r_to_mean)), float("nan"))
    halves = [shown[start::2].mean(axis=0, dtype=np.float64) for start in (0, 1)]
    r_of_halves = correlation_to_template(halves[0][np.newaxis], halves[1])[0]
    return SplitScore(float(np.mean(r_to_mean)), float(r_of_halves))


def residual_flow(
    corrected: npt.NDArray[np.floating], prepared: PreparedPiecewise, *, bin_frames: int = 20
) -> ResidualFlow:
    """Register means of corrected frames to the template once more.

    Parameters
    ----------
    corrected : (T, Y, X)
        NaN where a frame shows nothing.
    prepared
        Template, from :func:`~clgkit.registration.piecewise.prepare_piecewise`.
    bin_frames
        Frames of each mean; the last may have fewer.

    Returns
    -------
    ResidualFlow

    Raises
    ------
    ValueError
        If `bin_frames` is below 1 or the frames do not have the shape of the template.
    """
    if bin_frames < 1:
        raise ValueError(f"bin_frames must be at least 1, found {bin_frames}.")
    means = [_mean(corrected[i : i + bin_frames]) for i in range(0, len(corrected), bin_frames)]
    stack = np.array(means, dtype=np.float32).reshape(-1, *corrected.shape[1:])
    found = register_piecewise(stack, prepared)
    left = found.patch_shift - found.patch_shift.mean(axis=0) if means else found.patch_shift
    rms = float(np.sqrt(np.square(left).sum(axis=-1).mean())) if left.size else 0.0
    return ResidualFlow(found.patch_shift, found.patch_error_px, rms)


def _mean(frames: npt.NDArray[np.floating]) -> Float32:
    """Return the mean of finite values, NaN where there are none."""
    valid = np.isfinite(frames)
    count = valid.sum(axis=0)
    total = np.where(valid, frames, 0).sum(axis=0, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
