"""The fixed template: one image per plane that every frame is laid on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

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
        pixels never finite from their surroundings.  It lies in the middle of the motion: the
        median of the shifts of its frames is 0, so that both directions have the same reach.

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
        centered = settled - np.median(settled, axis=0).astype(np.float32)
        kept = _fits(shifts.peak)
        template = _mean_shifted(sample[kept], centered[kept], median)
    return template


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
