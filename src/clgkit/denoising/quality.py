"""What a denoiser does to a movie whose truth nobody knows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from clgkit.denoising.edge import draw_noise
from clgkit.denoising.noise import SPAN, Float64, Noise

Float32: TypeAlias = npt.NDArray[np.float32]
Denoiser: TypeAlias = Callable[[Float32], Float32]

ROI_PX = 8
CHECK_PX = 2
RELIABLE = 0.3
TOP = 0.9
RADIUS_PX = 4
SPACING_PX = 16
HEIGHT_SIGMA = 3.0
DECAY_FRAMES = 4.0
EVERY_FRAMES = 40
LEAST_ROIS = 3
LEAST_PAIRS = 2  # of frames: the mean of 1 / sigma^2 does not exist below
STAGGER = 7


class DenoisingQuality(NamedTuple):
    """Measures of a denoised movie, each over a sample of it; NaN where there is none.

    Parameters
    ----------
    heldout_excess
        Mean squared error of the denoised movie after a second dose of noise, in units of the
        noise variance: 2 for the raw movie, 0 is perfect.
    correlation_bias, correlation_rms
        Mean and rms, over pairs of rois, of the correlation of denoised traces less that of raw
        traces corrected for noise.
    crossing
        Share of the strongest tenth of pairs that is there because of the denoising.
    residual_in_time, residual_in_space
        Correlation of what was removed with itself, one frame later, and between neighbours
        beyond that of the noise.
    residual_with_result
        Correlation over time of what was removed with what was left, averaged over pixels.
    residual_variance
        Of what was removed, over that of the noise: 1 if all noise went, and nothing else.
    peak
        Height of injected transients after over before.
    n_roi_pairs
        Pairs of rois.
    """

    heldout_excess: float
    correlation_bias: float
    correlation_rms: float
    crossing: float
    residual_in_time: float
    residual_in_space: float
    residual_with_result: float
    residual_variance: float
    peak: float
    n_roi_pairs: float


def judge(
    frames: Float32,
    noise: Noise,
    denoise: Denoiser,
    *,
    reference: Denoiser | None = None,
    seed: int = 0,
) -> DenoisingQuality:
    r"""Return how well a denoiser does on a movie, without a truth.

    Parameters
    ----------
    frames : (T, Y, X)
        A sample: part of a plane, good frames only, NaN where nothing is known.
    noise
        Of that part (see :func:`~clgkit.denoising.measure_noise`).
    denoise
        Frames → denoised frames.  It is called three times.
    reference
        A denoiser that keeps transients, for the share of the signal in the measured noise; if it
        is not given, that is `denoise`.
    seed
        Of the noise that is added.

    Returns
    -------
    DenoisingQuality

    Notes
    -----
    *Held-out error.*  With noise :math:`n` of the measured :math:`\sigma` and autocorrelation, the
    noises of :math:`y_1 = y + n` and :math:`y_2 = y - n` are independent if the movie has such
    noise, so :math:`\langle ((D(y_1) - y_2) / \sigma)^2 \rangle - 2` is the error of
    :math:`D(y_1)`.  (With white noise instead, filters in space look too good wherever neighbours
    share noise.)  Instead of 2, what is known of the noise is taken away: :math:`n` itself, its
    product with :math:`y - D(y)`, and the noise of :math:`y`.  The latter is not quite 1:
    :math:`\sigma` has an uncertainty, and the differences of frames that it comes from hold some
    signal, whose square is that of the differences of :math:`D(y_1)` times those of :math:`y_2`.

    *Correlations.*  Rois are squares of 8 pixels; their raw correlations are divided by the
    covariance of two halves (checkers of 2 pixels), whose noises are independent.  Rois that touch
    are no pair, and rois whose halves agree by less than 0.3 are left out.

    *Peaks.*  Disks of radius 4 pixels light up every 40 frames by 3 :math:`\sigma` and decay over
    4 frames; they are added to the movie, and what they change in the result is compared.
    """
    shown = np.isfinite(frames).any(axis=(1, 2))
    frames = frames[shown]
    rng = np.random.default_rng(seed)
    added = _noise_like(noise, frames, rng) * noise.sigma
    result = denoise(frames)
    noisier = denoise(frames + added)
    kept = noisier if reference is None else reference(frames + added)
    own = _share_of_noise(frames - added, kept, noise)
    excess = _heldout((frames, result, noisier, added), noise) - own
    bias, rms, crossing, n_pairs = _correlations(frames, result, noise)
    peak = _peak(frames, result, noise, denoise)
    return DenoisingQuality(
        excess, bias, rms, crossing, *_leak(frames, result, noise), peak, n_pairs
    )


def _noise_like(noise: Noise, frames: Float32, rng: np.random.Generator) -> Float32:
    """Return noise of variance 1 that is correlated as that of the movie is."""
    n_frames, height, width = frames.shape
    if not noise.is_correlated:
        return rng.standard_normal(frames.shape, np.float32)
    return draw_noise(noise.correlation, (n_frames, height, width), rng)


def _heldout(movies: tuple[Float32, ...], noise: Noise) -> float:
    """Return the mean squared error of what was made of noisier frames, the noise of `y` in it."""
    known = noise.sigma > 0
    total, n = 0.0, 0
    for start in range(0, len(movies[0]), SPAN):  # a few at a time: four movies are compared
        part = slice(start, start + SPAN)
        y, d, d1, added = (
            movie[part][:, known].astype(np.float64) / noise.sigma[known] for movie in movies
        )
        errors = (d1 - y + added) ** 2 - added**2 + 2 * (y - d) * added
        finite = np.isfinite(errors)
        total += float(errors[finite].sum())
        n += int(finite.sum())
    return total / n if n else math.nan


def _share_of_noise(other: Float32, kept: Float32, noise: Noise) -> float:
    """Return the mean of the noise of the movie over what was measured, both squared."""
    known = noise.sigma > 0
    if noise.n_pairs <= LEAST_PAIRS:
        return 1.0
    even = len(other) // 2 * 2
    products = (other[1:even:2] - other[:even:2]) * (kept[1:even:2] - kept[:even:2])
    scaled = products[:, known] / noise.sigma[known] ** 2 / 2
    signal = float(np.nanmean(scaled, dtype=np.float64)) if np.isfinite(scaled).any() else 0.0
    return (1 - signal) * (1 + 1 / (noise.n_pairs - LEAST_PAIRS))


def _correlations(
    frames: Float32, result: Float32, noise: Noise
) -> tuple[float, float, float, float]:
    """Return mean and rms difference of correlations, share of pairs that cross, their number."""
    whole = (noise.sigma > 0) & np.isfinite(frames).all(axis=0)
    rois, corners = _squares(whole)
    nothing = (math.nan, math.nan, math.nan, 0.0)
    if len(rois) < LEAST_ROIS:
        return nothing
    y, x = np.indices(whole.shape)
    even = (y // CHECK_PX + x // CHECK_PX) % 2 == 0
    halves = [_centred(_traces(frames, rois & half)) for half in (even, ~even)]
    raw, made = _centred(_traces(frames, rois)), _centred(_traces(result, rois))
    shared = (halves[0] * halves[1]).mean(axis=1)
    reliable = shared > RELIABLE * (raw**2).mean(axis=1)
    first, second = np.triu_indices(len(rois), 1)
    apart = np.abs(corners[first] - corners[second]).max(axis=1) > ROI_PX
    used = apart & reliable[first] & reliable[second]
    first, second = first[used], second[used]
    if not len(first):
        return nothing
    wanted = (raw @ raw.T / raw.shape[1])[first, second] / np.sqrt(shared[first] * shared[second])
    length = np.sqrt((made**2).mean(axis=1))
    product = (made @ made.T / made.shape[1])[first, second]
    scale = length[first] * length[second]
    found = np.divide(product, scale, out=np.zeros_like(product), where=scale > 0)
    change = found - wanted
    n_top = max(1, round((1 - TOP) * len(change)))
    top, true = (set(np.argsort(r)[-n_top:].tolist()) for r in (found, wanted))
    return (
        float(change.mean()),
        math.sqrt(float((change**2).mean())),
        len(top - true) / n_top,
        float(len(change)),
    )


def _squares(whole: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Return rois (R, Y, X), squares of which at least half is known, and their corners."""
    corners = [
        (y, x)
        for y in range(0, whole.shape[0] - ROI_PX + 1, ROI_PX)
        for x in range(0, whole.shape[1] - ROI_PX + 1, ROI_PX)
        if 2 * whole[y : y + ROI_PX, x : x + ROI_PX].sum() >= ROI_PX**2
    ]
    rois = np.zeros((len(corners), *whole.shape), bool)
    for roi, (y, x) in zip(rois, corners, strict=True):
        roi[y : y + ROI_PX, x : x + ROI_PX] = whole[y : y + ROI_PX, x : x + ROI_PX]
    return rois, np.array(corners, np.int64).reshape(-1, 2)


def _traces(frames: Float32, rois: npt.NDArray[np.bool_]) -> Float64:
    used = rois.any(axis=0)
    weights = rois[:, used].astype(np.float64)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1)
    return np.asarray(weights @ frames[:, used].T.astype(np.float64))


def _centred(traces: Float64) -> Float64:
    return np.asarray(traces - traces.mean(axis=1, keepdims=True))


def _leak(frames: Float32, result: Float32, noise: Noise) -> tuple[float, float, float, float]:
    """Return what the residual has that noise has not, and its variance."""
    known = noise.sigma > 0
    if not known.any():
        return math.nan, math.nan, math.nan, math.nan
    inverse = np.divide(1, noise.sigma, out=np.zeros_like(noise.sigma), where=known)
    residual = np.where(known & np.isfinite(frames), (frames - result) * inverse, 0)
    square = float((residual**2).sum(dtype=np.float64))
    n = int((known & np.isfinite(frames)).sum())
    if square == 0:
        return 0.0, 0.0, 0.0, 0.0
    in_time = float((residual[1:] * residual[:-1]).sum(dtype=np.float64)) / square
    near = [
        float((residual[:, 1:] * residual[:, :-1]).sum(dtype=np.float64)) / square,
        float((residual[:, :, 1:] * residual[:, :, :-1]).sum(dtype=np.float64)) / square,
    ]
    in_space = float(np.mean(near) - np.mean(noise.neighbours))
    together = _over_time(residual, np.where(np.isfinite(result), result, noise.mean), known)
    return in_time, in_space, together, square / n


def _over_time(residual: Float32, result: Float32, known: npt.NDArray[np.bool_]) -> float:
    """Return the mean, over pixels, of the correlation of residual and result."""
    a = residual[:, known] - residual[:, known].mean(axis=0)
    b = result[:, known] - result[:, known].mean(axis=0)
    scale = np.sqrt((a**2).mean(axis=0) * (b**2).mean(axis=0))
    moves = scale > 0
    return float(((a * b).mean(axis=0)[moves] / scale[moves]).mean()) if moves.any() else 0.0


def _peak(frames: Float32, result: Float32, noise: Noise, denoise: Denoiser) -> float:
    """Return what is left of the height of injected transients."""
    n_frames, *plane = frames.shape
    light, peaks = np.zeros(frames.shape, np.float32), []
    y, x = np.indices(plane)
    centers = [(cy, cx) for cy in _lattice(plane[0]) for cx in _lattice(plane[1])]
    decay = np.exp(-np.arange(n_frames) / DECAY_FRAMES).astype(np.float32)
    for number, (cy, cx) in enumerate(centers):
        disk = ((y - cy) ** 2 + (x - cx) ** 2 <= RADIUS_PX**2) & (noise.sigma > 0)
        if not disk.any():
            continue
        course = np.zeros(n_frames, np.float32)
        begin = (STAGGER * number) % min(EVERY_FRAMES, n_frames)
        for frame in range(begin, n_frames, EVERY_FRAMES):
            course[frame:] += decay[: n_frames - frame]
            peaks.append((frame, disk))
        light += HEIGHT_SIGMA * course[:, None, None] * np.where(disk, noise.sigma, 0)
    gained = denoise(frames + light) - result
    after = [float(np.nansum(gained[frame][disk])) for frame, disk in peaks]
    before = [
        float(light[frame][disk & np.isfinite(gained[frame])].sum(dtype=np.float64))
        for frame, disk in peaks
    ]
    return sum(after) / sum(before) if sum(before) else math.nan


def _lattice(length: int) -> list[int]:
    """Return positions far enough from the border, or the middle."""
    return list(range(SPACING_PX // 2, length - RADIUS_PX, SPACING_PX)) or [length // 2]
