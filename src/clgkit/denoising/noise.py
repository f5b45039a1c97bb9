"""Noise of a movie, from pairs of neighbouring frames."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import fft

Float32: TypeAlias = npt.NDArray[np.float32]
Float64: TypeAlias = npt.NDArray[np.float64]

LEAST_FRAMES = 8
MOST_FRAMES = 4000
QUAD = 4
SPAN = 64  # frames read together; even, and a multiple of a quad
SAMPLED_PAIRS = 64
LAGS = 5
FLOOR = 1e-3
CORRELATED = 0.1
AVERAGED = 0.2
HALF = 0.5  # of a product: less is rounding


class Frames(Protocol):
    """One plane over time, to be sliced: an array, or something that lies on the disk."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(T, Y, X)."""

    def __getitem__(self, key: Any, /) -> npt.NDArray[Any]: ...


class Noise(NamedTuple):
    """What a plane is without its noise, and what its noise is.

    Parameters
    ----------
    mean : (Y, X) float32
        Over the frames of the fit; NaN where a pixel is never finite.
    sigma : (Y, X) float32
        Standard deviation of the noise, at least a thousandth of its median; 0 for a pixel that
        takes no part (it is missing in more than half of the frames).
    correlation : (2 * LAGS + 1, 2 * LAGS + 1) float64
        Spatial autocorrelation of the noise, 1 in the middle.
    in_time
        0 for noise that is independent from frame to frame; towards 0.5 for a movie that was
        averaged over time.  Slow signals much stronger than the noise raise it too.
    n_pairs, n_constant
        Pairs of frames that were looked at, and pixels that never change.
    frames : (n,) int64
        The frames of the fit, rising.
    """

    mean: Float32
    sigma: Float32
    correlation: Float64
    in_time: float
    n_pairs: int
    n_constant: int
    frames: npt.NDArray[np.int64]

    @property
    def neighbours(self) -> tuple[float, float]:
        """Correlation of the noise of neighbouring pixels, along y and along x."""
        return float(self.correlation[LAGS + 1, LAGS]), float(self.correlation[LAGS, LAGS + 1])

    @property
    def is_correlated(self) -> bool:
        """Whether neighbouring pixels share so much noise that the edge must be measured."""
        return max(self.neighbours) > CORRELATED

    @property
    def is_flat(self) -> bool:
        """Whether there is no noise to remove: most pixels never differ within a pair."""
        return not bool((self.sigma > 0).any())


def choose_frames(
    usable: npt.NDArray[np.bool_], *, limit: int = MOST_FRAMES
) -> npt.NDArray[np.int64]:
    """Return the numbers of the frames that a fit looks at.

    Parameters
    ----------
    usable : (T,)
        False for frames to be left out.
    limit
        If there are more, four neighbours at a time are taken, spread over the recording.

    Returns
    -------
    (n,) int64
        Rising.

    Raises
    ------
    ValueError
        If there are fewer than 8 frames, or fewer than 4 pairs of neighbours.
    """
    n_usable = int(usable.sum())
    if n_usable < LEAST_FRAMES:
        raise ValueError(
            f"there are {n_usable} good frames; denoising needs at least {LEAST_FRAMES} frames. "
            'Take method "none" for so short a movie.'
        )
    frames = np.flatnonzero(usable)
    if n_usable <= limit:
        return frames
    whole = len(usable) // QUAD
    quads = np.flatnonzero(usable[: whole * QUAD].reshape(whole, QUAD).all(axis=1))
    n_wanted = limit // QUAD
    if len(quads) < n_wanted:  # bad frames everywhere: what is good in the beginning must do
        return frames[:limit]
    spread = quads[((np.arange(n_wanted) + 0.5) * len(quads) / n_wanted).astype(np.int64)]
    return np.asarray(spread[:, None] * QUAD + np.arange(QUAD)).ravel()


def measure_noise(
    frames: Frames, *, usable: npt.NDArray[np.bool_] | None = None, limit: int = MOST_FRAMES
) -> Noise:
    r"""Return mean and noise of every pixel, and how the noise is correlated.

    Parameters
    ----------
    frames : (T, Y, X)
        Any real dtype, NaN where nothing is known; read 64 frames at a time.
    usable : (T,)
        False for frames (blank, flash) that take no part.
    limit
        Of the frames that are looked at, spread over the recording.

    Returns
    -------
    Noise

    Raises
    ------
    ValueError
        If `frames` is not 3-D, or fewer than 8 frames or 4 pairs of neighbours are good.

    Notes
    -----
    The difference :math:`d_k = (y_{2k+1} - y_{2k}) / \sqrt{2}` of two neighbouring frames holds the
    noise of one frame and hardly any signal.  Its rms over all pairs is the noise of a pixel, its
    spatial autocorrelation that of the noise (64 pairs, spread over the recording).
    """
    if len(frames.shape) != 3:
        raise ValueError(f"a plane over time has three axes (T, Y, X), not shape {frames.shape}.")
    n_frames = frames.shape[0]
    good = np.ones(n_frames, bool) if usable is None else np.asarray(usable, bool)
    if good.shape != (n_frames,):
        raise ValueError(f"there are marks for {good.shape} frames, but {n_frames} frames.")
    chosen = choose_frames(good, limit=limit)
    sums = _Sums(frames.shape[1:])
    for numbers, pixels in read_frames(frames, chosen):
        sums.add(numbers, pixels)
    if sums.n_pairs < QUAD:
        raise ValueError(
            f"only {sums.n_pairs} pairs of neighbouring frames are good; the noise needs at least "
            f'{QUAD}. Take method "none", or look at why so many frames are bad.'
        )
    mean, sigma, n_constant = sums.finish()
    pairs = _spread_pairs(chosen)
    correlation = _autocorrelation(frames, pairs, mean, sigma)
    return Noise(mean, sigma, correlation, sums.in_time(sigma), sums.n_pairs, n_constant, chosen)


def read_frames(
    frames: Frames, chosen: npt.NDArray[np.int64], region: tuple[slice, ...] = ()
) -> Iterator[tuple[npt.NDArray[np.int64], Float32]]:
    """Yield numbers and pixels of the chosen frames, a few at a time; what is not finite is NaN."""
    groups = chosen // SPAN
    for group in np.unique(groups):
        numbers = chosen[groups == group]
        first = int(numbers[0])
        read = np.asarray(frames[slice(first, int(numbers[-1]) + 1), *region])
        yield numbers, as_float(read[numbers - first])


def as_float(pixels: npt.NDArray[Any]) -> Float32:
    """Return pixels as float32, with NaN for whatever is not finite; never the array itself."""
    made = np.array(pixels, np.float32)
    if pixels.dtype.kind == "f":
        made[~np.isfinite(made)] = np.nan
    return made


class _Sums:
    """Running sums of frames and of their differences."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._total = np.zeros(shape)
        self._count = np.zeros(shape, np.int64)
        self._square = np.zeros((2, *shape))  # of the differences of frames 1 and 2 apart
        self._n = np.zeros((2, *shape), np.int64)
        self._low = np.full(shape, np.inf, np.float32)
        self._high = np.full(shape, -np.inf, np.float32)
        self.n_pairs = 0
        self._n_shown = 0

    def add(self, numbers: npt.NDArray[np.int64], pixels: Float32) -> None:
        """Take some frames into account; a pair never lies in two calls."""
        valid = np.isfinite(pixels)
        self._n_shown += int(valid.any(axis=(1, 2)).sum())
        self._count += valid.sum(axis=0)
        self._total += np.where(valid, pixels, 0).sum(axis=0, dtype=np.float64)
        np.fmin(self._low, np.fmin.reduce(pixels), out=self._low)
        np.fmax(self._high, np.fmax.reduce(pixels), out=self._high)
        place = {int(number): at for at, number in enumerate(numbers)}
        for number, at in place.items():
            for apart in (1, 2):
                other = place.get(number + apart)
                starts = number % 2 == 0 if apart == 1 else number % QUAD < 2
                if other is not None and starts:
                    self._compare(apart - 1, pixels[other] - pixels[at])

    def _compare(self, which: int, change: Float32) -> None:
        known = np.isfinite(change)
        np.add(self._square[which], np.square(change, dtype=np.float64),
               out=self._square[which], where=known)  # fmt: skip
        self._n[which] += known
        self.n_pairs += which == 0 and bool(known.any())

    def finish(self) -> tuple[Float32, Float32, int]:
        """Return mean, noise and the number of constant pixels."""
        with np.errstate(invalid="ignore", divide="ignore"):  # pixels that are never finite
            mean = np.asarray(self._total / self._count, np.float32)
            sigma = np.sqrt(self._square[0] / self._n[0] / 2)
        part = (2 * self._count >= self._n_shown) & (self._n[0] >= QUAD)
        is_constant = part & (self._low == self._high)
        mean[is_constant] = self._low[is_constant]
        middle = float(np.median(sigma[part])) if part.any() else 0.0
        sigma = np.where(part & (middle > 0), np.maximum(sigma, FLOOR * middle), 0)
        return mean, sigma.astype(np.float32), int(is_constant.sum())

    def in_time(self, sigma: Float32) -> float:
        """Return how much more frames two apart differ than neighbours, 0 for not at all."""
        near, far = self._square
        known = (sigma > 0) & (near > 0) & (far > 0) & (self._n[1] >= QUAD)
        if not known.any():
            return 0.0
        ratio = (near / np.maximum(self._n[0], 1))[known] / (far / np.maximum(self._n[1], 1))[known]
        return float(1 - np.median(ratio))


def _spread_pairs(chosen: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return both frames of up to 64 pairs, spread over the frames of the fit."""
    first = chosen[:-1][(chosen[:-1] % 2 == 0) & (np.diff(chosen) == 1)]
    n = min(len(first), SAMPLED_PAIRS)
    some = first[((np.arange(n) + 0.5) * len(first) / n).astype(np.int64)]
    return np.asarray(np.column_stack([some, some + 1]).ravel())


def _autocorrelation(
    frames: Frames, pairs: npt.NDArray[np.int64], mean: Float32, sigma: Float32
) -> Float64:
    """Return the mean spatial autocorrelation of the differences, over the pixels that count."""
    part = sigma > 0
    shape = [fft.next_fast_len(n + LAGS, real=True) for n in mean.shape]
    inverse = np.divide(1, sigma, out=np.zeros_like(sigma), where=part)
    power = np.zeros((shape[0], shape[1] // 2 + 1))
    for _, pixels in read_frames(frames, pairs):
        for change in pixels[1::2] - pixels[::2]:
            scaled = np.nan_to_num(change * inverse / math.sqrt(2), copy=False)
            power += np.abs(fft.rfft2(scaled, shape)) ** 2
    products = _near(fft.irfft2(power, shape))
    n_products = _near(fft.irfft2(np.abs(fft.rfft2(part.astype(np.float64), shape)) ** 2, shape))
    found = np.divide(products, n_products, out=np.zeros_like(products), where=n_products > HALF)
    found = found / found[LAGS, LAGS] if found[LAGS, LAGS] > 0 else np.zeros_like(found)
    found[LAGS, LAGS] = 1
    return np.asarray(found)


def _near(periodic: Float64) -> Float64:
    """Return the lags up to `LAGS` of a periodic function of the lag."""
    lags = np.arange(-LAGS, LAGS + 1)
    return np.asarray(periodic[np.ix_(lags, lags)])
