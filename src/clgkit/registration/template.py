"""The fixed template: one image per plane that every frame is laid on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from clgkit.registration.alike import frames_alike
from clgkit.registration.bidirectional import undo_line_offset
from clgkit.registration.farther import look_farther
from clgkit.registration.filters import smooth_valid
from clgkit.registration.frames import FrameCode, find_bad_frames, frame_statistics
from clgkit.registration.rigid import has_structure, is_sure, prepare_rigid, register_rigid
from clgkit.registration.settle import settle_shifts
from clgkit.registration.warp import shift_frames

Float32 = npt.NDArray[np.float32]
FILL_SIGMA_PX = 8.0
MOST_SEEDS = 3
LEAST_MISFIT = 0.05
"""A frame is no misfit if its correlation lies less than this below the median."""
MOST_WITHIN_REACH = 0.9
"""A template moves from the middle of the motion if fewer frames are within its reach."""
LEAST_LINE_PX = 16
"""Shorter lines of bad pixels are not told from fine structure of the sample."""


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


class Placed(NamedTuple):
    """Where frames lie on a template."""

    shift_px: Float32
    """(n, 2); of frames that were not found, from those around them."""
    peak: Float32
    """(n,) correlation."""
    sure: npt.NDArray[np.bool_]
    """(n,) which frames were found."""


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
        Largest displacement that will be looked for; the template is placed accordingly.
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
        pixels never finite from their surroundings.  It lies in the middle of the motion: the
        median of the shifts of its frames is 0, so that both directions have the same reach,
        unless it reaches more frames elsewhere (:func:`find_middle`).

    Raises
    ------
    ValueError
        If no frame of the sample shows the sample.

    Notes
    -----
    The mean of the good frames that resemble each other most
    (:func:`~clgkit.registration.alike.frames_alike`), or of another group if most frames do not
    fit it; then, `iterations` times, all good frames
    are registered rigidly to it and the mean of the shifted frames takes its place.  Frames not
    found inside the window, or that fit worse than the others, are looked for up to half the
    field away (:func:`~clgkit.registration.farther.look_farther`), so that the template is sharp
    even if the frames move farther than `max_shift_px`.  Frames that are not found at all are
    left out of the mean if most others are.  In a movie too dim for that they take a shift from
    the sure frames around them: laid where they look most like the template, frames of noise
    make a template of noise that later ones agree with.  Frames that fit worst (three robust
    standard deviations and 0.05 below the median) are left out.

    Starting from the median of all frames instead, as is usual, gives a smear where the sample
    drifts, and a double image where it jumps; frames fit both wherever they lie.
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
    template, placed = _begin(sample, max_shift_px)
    for i in range(iterations):
        if not has_structure(template):
            break
        if i:
            placed = _place(sample, template, max_shift_px)
        template = _sharpened(sample, placed, max_shift_px)
    return template


def _begin(sample: Float32, max_shift_px: float) -> tuple[Float32, Placed]:
    """Return the mean of frames that are alike, and where the others lie on it.

    If it places less than half of the frames, others are tried, and the best is taken.
    """
    left = np.arange(len(sample))
    tried: list[tuple[int, Float32, Placed]] = []
    while left.size and len(tried) < MOST_SEEDS:
        alike = left[frames_alike(sample[left])]
        template = _fill(_mean(sample[alike], sample.shape[1:]))
        placed = _place(sample, template, max_shift_px)
        n_placed = int(placed.sure.sum())
        tried.append((n_placed, template, placed))
        if 2 * n_placed >= len(sample):
            break
        left = np.setdiff1d(left[~placed.sure[left]], alike)
    _, template, placed = max(tried, key=lambda one: one[0])
    return template, placed


def _sharpened(sample: Float32, found: Placed, max_shift_px: float) -> Float32:
    """Return the mean of the frames after they are laid on a template."""
    shift_px, peak, placed = found
    counting = placed if 2 * placed.sum() > len(placed) else np.ones_like(placed)
    used = counting & _fits(peak, peak[counting])
    middle = find_middle(shift_px[placed] if placed.any() else shift_px, reach_px=max_shift_px)
    return _mean_shifted(sample, shift_px - middle, used)


def _place(sample: Float32, template: Float32, max_shift_px: float) -> Placed:
    """Find where frames lie on a template, near or far."""
    if not has_structure(template):
        nothing = np.zeros(len(sample), dtype=np.float32)
        return Placed(np.zeros((len(sample), 2), dtype=np.float32), nothing, nothing > 0)
    prepared = prepare_rigid(template, max_shift_px=max_shift_px)
    near = register_rigid(sample, prepared)
    shift_px, peak, placed = near.shift_px.copy(), near.peak.copy(), is_sure(near)
    doubtful = np.flatnonzero(~(placed & _fits(peak, peak)))
    if doubtful.size:
        far = look_farther(sample[doubtful], prepared)
        found = is_sure(far) & ~(placed[doubtful] & (far.peak < peak[doubtful]))
        there = doubtful[found]
        shift_px[there], peak[there], placed[there] = far.shift_px[found], far.peak[found], True
    return Placed(settle_shifts(shift_px, placed), peak, placed)


def find_middle(shift_px: npt.NDArray[np.floating], *, reach_px: float) -> Float32:
    """Find where a template has to lie to have as many frames as possible within reach.

    Parameters
    ----------
    shift_px : (n, 2)
        Shifts that lay frames on one place, at least one.
    reach_px
        Largest shift that will be looked for, per axis; a tenth of it is kept in reserve.

    Returns
    -------
    (2,) float32
        The median, if nine frames of ten are within reach of it.  Otherwise one of the places
        that reach most, as near as can be to the median of the frames it reaches.
    """
    reach = 0.9 * reach_px
    return np.array([_middle(np.sort(column), reach) for column in shift_px.T], dtype=np.float32)


def _middle(ordered: npt.NDArray[np.floating], reach: float) -> float:
    median = float(np.median(ordered))
    if np.mean(np.abs(ordered - median) <= reach) >= MOST_WITHIN_REACH:
        return median
    first = np.arange(len(ordered))
    after = np.searchsorted(ordered, ordered + 2 * reach, side="right")
    centers = [
        np.clip(np.median(ordered[i:j]), ordered[j - 1] - reach, ordered[i] + reach)
        for i, j in zip(first, after, strict=True)
        if j - i == (after - first).max()
    ]
    return float(min(centers, key=lambda center: abs(center - median)))


def plan_bins(n_frames: int, *, bin_frames: int = 200) -> list[slice]:
    """Cut a movie into consecutive bins that see one and the same running template.

    Parameters
    ----------
    n_frames
        Length of the movie.
    bin_frames
        Frames of a bin; one more as long as a single frame would be left over.

    Returns
    -------
    list of slice
        The last bin may be shorter.

    Raises
    ------
    ValueError
        If one of the numbers is below 1.
    """
    if n_frames < 1 or bin_frames < 1:
        raise ValueError(
            f"cannot cut {n_frames} frames into bins of {bin_frames}; both must be at least 1."
        )
    while n_frames > 1 and n_frames % bin_frames == 1:
        bin_frames += 1
    starts = range(0, n_frames, bin_frames)
    return [slice(start, min(start + bin_frames, n_frames)) for start in starts]


class RunningTemplate:
    """A template that follows a movie: the median over the means of its latest bins.

    Register the frames of one bin (:func:`plan_bins`) to `image`, :meth:`add` them as they were
    corrected, in as many blocks as you like, and :meth:`finish_bin`.  The numbers depend on
    where bins end, not on the blocks; frames must come in order.

    Parameters
    ----------
    first : (Y, X)
        The template of the first bin, from :func:`make_template`; NaN where it has no value.
    bins : (n, Y, X)
        Means of bins that are done (:attr:`bins` of another), to go on from there.
    buffer_bins
        So many of the latest bins make the median.
    keep_first
        Whether the first template stays beside them for ever.  It does not in NoRMCorre (section
        2 of Pnevmatikakis and Giovannucci, J Neurosci Methods 291:83, 2017), where a template
        that was given is forgotten after the first bin.

    Raises
    ------
    ValueError
        If `first` is not (Y, X), the bins have another shape, or `buffer_bins` is below 1.
    """

    def __init__(
        self,
        first: npt.NDArray[np.generic],
        *,
        bins: Iterable[npt.NDArray[np.generic]] = (),
        buffer_bins: int = 50,
        keep_first: bool = True,
    ) -> None:
        means = [np.array(mean, dtype=np.float32) for mean in bins]
        if first.ndim != 2 or any(mean.shape != first.shape for mean in means):
            raise ValueError(
                f"found a template {first.shape} and means of bins "
                f"{[mean.shape for mean in means]}; expected (Y, X), the same for all."
            )
        if buffer_bins < 1:
            raise ValueError(f"buffer_bins must be at least 1, found {buffer_bins}.")
        self._first = np.array(first, dtype=np.float32)
        self._kept = [self._first] if keep_first else []
        self._means = deque(means, maxlen=buffer_bins)
        self._total = np.zeros(first.shape)
        self._count = np.zeros(first.shape, dtype=np.int64)
        self.image: Float32 = self._median() if means else self._first
        """(Y, X) float32, what frames are to be laid on now."""

    @property
    def bins(self) -> Float32:
        """(n, Y, X) float32 means of the latest bins, the oldest first: all there is to store."""
        return np.array(self._means, dtype=np.float32).reshape(-1, *self._first.shape)

    def add(self, corrected: npt.NDArray[np.generic]) -> None:
        """Count corrected frames, (n, Y, X), in the bin; pixels that are not finite do not."""
        if corrected.shape[1:] != self._first.shape:
            raise ValueError(
                f"frames {corrected.shape} do not fit the template {self._first.shape}: "
                "expected (T, Y, X) and (Y, X)."
            )
        for frame in corrected:
            finite = np.isfinite(frame)
            np.add(self._total, frame, out=self._total, where=finite)
            self._count += finite

    def finish_bin(self) -> Float32:
        """End the bin and return the next template, (Y, X) float32.

        Pixels that no frame of the bin showed count as the template had them; a bin that
        showed none at all changes nothing.
        """
        if self._count.any():
            mean = (self._total / np.maximum(self._count, 1)).astype(np.float32)
            self._means.append(np.where(self._count > 0, mean, self.image))
            self.image = self._median()
        self._total[:] = 0
        self._count[:] = 0
        return self.image

    def _median(self) -> Float32:
        means = [*self._kept, *self._means]
        return np.stack([_median(np.stack(row)) for row in zip(*means, strict=True)])


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
        all but one of the eight pixels around it, or below.  Pixels of a line, such as a hot
        column, need only lie above both neighbours beside it, or below.

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
    are the detector's, and so are lines along a row or column, one pixel wide and at least 16
    long.  The scale is that of all differences to the median of the neighbours.  Larger
    patches of bad pixels are not told from a sample.
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
    limit = sigmas * scale if scale > 0 else np.inf
    found = missing | (image - high > limit) | (low - image > limit)
    for axis in (0, 1):
        found |= _stands_out_in_lines(image, limit, axis)
    return np.asarray(found, dtype=np.bool_)


def _stands_out_in_lines(image: Float32, limit: float, axis: int) -> npt.NDArray[np.bool_]:
    """Tell which pixels lie in lines along an axis, brighter or darker than both sides."""
    beside = np.zeros((3, 3), dtype=np.bool_)
    run = np.ones((LEAST_LINE_PX, 1), dtype=np.bool_)
    beside[1, ::2] = True
    if axis == 1:
        beside, run = beside.T, run.T
    low, high = (
        ndimage.rank_filter(image, rank, footprint=beside, mode="mirror") for rank in (0, -1)
    )
    lines = np.zeros(image.shape, dtype=np.bool_)
    for stands_out in (image - high > limit, low - image > limit):
        lines |= ndimage.binary_opening(stands_out, run)
    return lines


def _fits(peak: Float32, compared: Float32) -> npt.NDArray[np.bool_]:
    """Tell which frames look like the template, compared with some of them."""
    middle = np.median(compared)
    scale = 1.4826 * np.median(np.abs(compared - middle))
    return np.asarray(peak >= middle - max(3 * scale, LEAST_MISFIT), dtype=np.bool_)


def _median(sample: Float32) -> Float32:
    """Return the median of finite values, NaN where there are none."""
    ordered = np.sort(sample, axis=0)  # NaN last
    count = np.isfinite(sample).sum(axis=0)
    low, high = np.maximum(count - 1, 0) // 2, count // 2
    low_high = [np.take_along_axis(ordered, i[np.newaxis], axis=0)[0] for i in (low, high)]
    middle = np.asarray((low_high[0] + low_high[1]) / 2, dtype=np.float32)
    return np.where(count > 0, middle, np.float32(np.nan))


def _mean(frames: Iterable[Float32], shape: tuple[int, ...]) -> Float32:
    """Return the mean of finite values, NaN where there are none."""
    total, count = np.zeros(shape, dtype=np.float64), np.zeros(shape, dtype=np.int64)
    for frame in frames:
        valid = np.isfinite(frame)
        np.add(total, frame, out=total, where=valid)
        count += valid
    mean = total / np.maximum(count, 1)
    return np.where(count > 0, mean, np.nan).astype(np.float32)


def _mean_shifted(sample: Float32, shift_px: Float32, used: npt.NDArray[np.bool_]) -> Float32:
    """Return the mean of shifted frames; where they show nothing, the median as recorded."""
    frames = np.flatnonzero(used)
    moved = (shift_frames(sample[t : t + 1], shift_px[t : t + 1])[0] for t in frames)
    mean = _mean(moved, sample.shape[1:])
    missing = ~np.isfinite(mean)
    if missing.any():
        mean[missing] = _median(sample[:, missing])
    return _fill(mean)


def _fill(image: Float32) -> Float32:
    valid = np.isfinite(image)
    if valid.all():
        return image
    around = smooth_valid(np.where(valid, image, np.float32(0)), valid, sigma_px=FILL_SIGMA_PX)
    return np.where(valid, image, around)
