"""The frames of a movie that resemble each other most: a template begins with them."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from clgkit.registration.filters import difference_of_gaussians

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

MOST_FRAMES = 200
BIN_PX = 2
LEAST_SIDE_PX = 64
"""Smaller fields are compared at full resolution."""
BAND_PX = (2.0, 8.0)
CORRELATION_AREA = 4 * math.pi
"""Of filtered noise, in squares of the inner sigma: so many pixels count as one."""
CLEAR_SIGMAS = 4.0
ABOUT = 0.97
"""A group that is nearly as good as the best is taken for it if it is larger."""


def frames_alike(frames: npt.NDArray[np.generic]) -> npt.NDArray[np.intp]:
    """Choose the frames that show the sample at one and the same place.

    Parameters
    ----------
    frames : (n, Y, X)
        Any real dtype; pixels that are not finite have no weight.  Of more than 200, every
        second, third ... takes part.

    Returns
    -------
    (k,) intp
        Rising; all frames of a movie that is still, the largest group of one that stands at
        several places, a few neighbours where it drifts, and a single frame where no two are
        surely alike.

    Notes
    -----
    Frames are halved in size, pass a difference of Gaussians (2 and 8 px) and are correlated
    with each other as they lie.  Round every frame a group of those most like it is tried, of
    every size.  The better group is the one whose mean correlates more with one more frame of
    the kind: with g the mean correlation of the pairs of k frames, g / sqrt((1 + (k - 1) g) / k).
    More frames make the mean quieter, frames that lie elsewhere blur it.  Of groups that are
    equal to three hundredths the largest is taken.
    """
    chosen = np.arange(0, len(frames), -(-len(frames) // MOST_FRAMES))
    if len(chosen) == 1:
        return chosen
    bin_px = BIN_PX if min(frames.shape[1:]) >= LEAST_SIDE_PX else 1
    images = np.stack([_filtered(frames[i], bin_px).ravel() for i in chosen])
    norm = np.linalg.norm(images, axis=1)
    images /= np.where(norm > 0, norm, 1)[:, np.newaxis]
    members, clear = closest_group((images @ images.T).astype(np.float64))
    independent = images.shape[1] / (CORRELATION_AREA * (BAND_PX[0] / bin_px) ** 2)
    if clear <= CLEAR_SIGMAS / math.sqrt(independent):
        members = members[:1]
    return np.sort(chosen[members])


def closest_group(likeness: Float64) -> tuple[npt.NDArray[np.intp], float]:
    """Find the group whose mean would be most like one more frame of the kind.

    Parameters
    ----------
    likeness : (n, n)
        Correlation of each with each, symmetric; the diagonal does not count.

    Returns
    -------
    members : (k,) intp
        The one in the middle first, then by likeness to it; k is at least 2.
    clear : float
        Mean likeness of its pairs, in units of its standard error where nothing is alike and
        the likeness of two scatters by 1.

    Raises
    ------
    ValueError
        If there are fewer than two.
    """
    n = len(likeness)
    if n < 2:
        raise ValueError(f"found {n} x {n} likenesses; a group needs at least two.")
    mean_of_pairs, orders = np.empty((n, n - 1)), np.empty((n, n), dtype=np.intp)
    size = np.arange(2, n + 1)
    n_pairs = size * (size - 1) / 2
    for middle, row in enumerate(likeness):
        orders[middle] = order = _by_likeness(row, middle)
        pairs = np.triu(likeness[np.ix_(order, order)], 1).sum(axis=0).cumsum()[1:]
        mean_of_pairs[middle] = pairs / n_pairs
    energy = np.maximum(1 + (size - 1) * mean_of_pairs, 1 / size) / size
    agreement = mean_of_pairs / np.sqrt(energy)
    enough = agreement >= ABOUT * agreement.max()
    largest = int(np.flatnonzero(enough.any(axis=0)).max(initial=0))
    middle = int(np.where(enough[:, largest], agreement[:, largest], -np.inf).argmax())
    clear = float(mean_of_pairs[middle, largest] * math.sqrt(n_pairs[largest]))
    return orders[middle, : largest + 2], clear


def _by_likeness(row: Float64, middle: int) -> npt.NDArray[np.intp]:
    """Return one frame and all others, those most like it first."""
    others = row.copy()
    others[middle] = np.inf
    return np.argsort(-others, kind="stable")


def _filtered(frame: npt.NDArray[np.generic], bin_px: int) -> Float32:
    """Return a frame of means over squares of pixels, filtered."""
    ny, nx = (n // bin_px for n in frame.shape)
    whole = frame[: ny * bin_px, : nx * bin_px].astype(np.float32)
    small = whole.reshape(ny, bin_px, nx, bin_px).mean(axis=(1, 3)) if bin_px > 1 else whole
    return difference_of_gaussians(small, band_px=(BAND_PX[0] / bin_px, BAND_PX[1] / bin_px))
