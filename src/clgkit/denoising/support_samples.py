"""Frames on one scale, and the patches that a SUPPORT network learns from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from clgkit.denoising.noise import Frames, Noise, as_float, measure_noise

__all__ = ["Ends", "Patches", "Scale", "measure_scale", "neighbours_of", "turn"]

Float32: TypeAlias = npt.NDArray[np.float32]
Int64: TypeAlias = npt.NDArray[np.int64]
Ends: TypeAlias = Literal["repeat", "mirror"]

SPAN = 64  # frames read together
EVERY = 10  # which frames are held out
OFFSET = 5


class Scale(NamedTuple):
    """What a plane is normalised by."""

    mean: float
    sd: float
    """Unbiased; 0 for a constant plane, NaN for one without a finite value."""


def measure_scale(frames: Frames) -> Scale:
    """Return mean and standard deviation over all finite values of a plane (T, Y, X).

    They are summed up 64 frames at a time, in float64.
    """
    n, mean, square = 0, 0.0, 0.0
    for start in range(0, frames.shape[0], SPAN):
        values = as_float(np.asarray(frames[start : start + SPAN])).astype(np.float64)
        values = values[np.isfinite(values)]
        if not values.size:
            continue
        off = float(values.mean()) - mean
        total = n + values.size
        square += float(((values - values.mean()) ** 2).sum()) + off**2 * n * values.size / total
        mean += off * values.size / total
        n = total
    if n == 0:
        return Scale(math.nan, math.nan)
    return Scale(mean, math.sqrt(square / (n - 1)) if n > 1 else 0.0)


def neighbours_of(first: int, stop: int, n_frames: int, *, ends: Ends = "repeat") -> Int64:
    """Return the number of the frame that stands at each place from `first` to `stop`.

    Places before the first and after the last frame of `n_frames` are taken by the end frame, or
    by the frames before it in reverse (``"mirror"``).
    """
    places = np.arange(first, stop)
    if ends == "mirror" and n_frames > 1:
        period = 2 * (n_frames - 1)
        folded = places % period
        return np.minimum(folded, period - folded)
    return places.clip(0, n_frames - 1)


def turn(patches: Float32, *, quarters: int, flip: bool) -> Float32:
    """Return patches (…, Y, X) turned by quarters, and flipped along y."""
    turned = np.rot90(patches, quarters, axes=(-2, -1))
    return np.ascontiguousarray(turned[..., ::-1, :] if flip else turned)


class Patches:
    """Patches of the planes of a movie, in units of the standard deviation of their plane.

    Parameters
    ----------
    planes
        Each (T, Y, X), of any real dtype; NaN where nothing is known.
    n_frames
        Of a patch.
    side_px
        Of a patch; a smaller plane is taken whole.

    Raises
    ------
    ValueError
        If the movie is shorter than a patch and the frame to hold out, or nothing changes in it.

    Notes
    -----
    Every tenth frame that can stand in the middle of a patch is held out: it is never what a
    training predicts, but it may be a neighbour of what it predicts.
    """

    def __init__(self, planes: Sequence[Frames], *, n_frames: int, side_px: int) -> None:
        lengths = sorted({plane.shape[0] for plane in planes})
        if not planes or lengths[0] <= n_frames:
            raise ValueError(
                f"the movie has {lengths[0] if lengths else 0} frames, the network takes "
                f"{n_frames} at a time and needs one more to be judged; take a network of fewer "
                "frames, or a longer movie"
            )
        noises = [(plane, measure_noise(plane)) for plane in planes]
        kept = [
            (plane, measure_scale(plane), noise) for plane, noise in noises if not noise.is_flat
        ]
        if not kept:
            raise ValueError("most pixels of the movie never change; there is no noise to learn")
        self.planes: list[Frames] = [plane for plane, _, _ in kept]
        self.scales: list[Scale] = [scale for _, scale, _ in kept]
        self.noises: list[Noise] = [noise for _, _, noise in kept]
        self.n_frames = n_frames
        self.side_px = side_px
        sides = [max(plane.shape[axis] for plane in self.planes) for axis in (1, 2)]
        self._shape = min(sides[0], side_px), min(sides[1], side_px)

    @property
    def correlation(self) -> npt.NDArray[np.float64]:
        """Spatial autocorrelation of the noise, the mean over planes."""
        return np.asarray(np.mean([noise.correlation for noise in self.noises], axis=0))

    @property
    def noise_variance(self) -> float:
        """Variance of the noise in units of the patches, the mean over planes."""
        parts = [
            float((noise.sigma[noise.sigma > 0].astype(np.float64) ** 2).mean()) / scale.sd**2
            for noise, scale in zip(self.noises, self.scales, strict=True)
        ]
        return float(np.mean(parts))

    def draw(self, rng: np.random.Generator, n: int, *, held_out: bool = False) -> Float32:
        """Return `n` patches (n, C, Y, X) at random; NaN where nothing is known."""
        half = self.n_frames // 2
        made = []
        for plane in rng.integers(len(self.planes), size=n):
            centers = self._centers(plane, held_out=held_out)
            t = int(centers[rng.integers(len(centers))])
            made.append(self._cut(plane, slice(t - half, t + half + 1), self._place(rng, plane)))
        return self._stacked(made)

    def draw_noise(self, rng: np.random.Generator, n: int) -> Float32:
        """Return `n` patches (n, Y, X) of noise at random, from pairs of neighbouring frames."""
        made = []
        for plane in rng.integers(len(self.planes), size=n):
            t = int(rng.integers(self.planes[plane].shape[0] - 1))
            pair = self._cut(plane, slice(t, t + 2), self._place(rng, plane))
            made.append((pair[1] - pair[0])[None] / np.float32(math.sqrt(2)))
        return np.nan_to_num(self._stacked(made)[:, 0])

    def _centers(self, plane: int, *, held_out: bool) -> Int64:
        half = self.n_frames // 2
        centers = np.arange(half, self.planes[plane].shape[0] - half)
        every = min(EVERY, len(centers))
        is_held = np.arange(len(centers)) % every == OFFSET % every
        chosen: Int64 = centers[is_held == held_out]
        return chosen

    def _place(self, rng: np.random.Generator, plane: int) -> tuple[slice, slice]:
        _, height, width = self.planes[plane].shape
        y = int(rng.integers(max(height - self.side_px, 0) + 1))
        x = int(rng.integers(max(width - self.side_px, 0) + 1))
        return slice(y, y + self.side_px), slice(x, x + self.side_px)

    def _cut(self, plane: int, frames: slice, place: tuple[slice, slice]) -> Float32:
        mean, sd = self.scales[plane]
        pixels = as_float(np.asarray(self.planes[plane][(frames, *place)]))
        return (pixels - np.float32(mean)) / np.float32(sd)

    def _stacked(self, patches: list[Float32]) -> Float32:
        """Stack patches; those of a small plane are bordered by what is not known."""
        made = np.full((len(patches), len(patches[0]), *self._shape), np.nan, np.float32)
        for patch, place in zip(patches, made, strict=True):
            place[:, : patch.shape[-2], : patch.shape[-1]] = patch
        return made
