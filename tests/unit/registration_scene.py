"""A small moving field of nuclei with known motion, for the registration tests.

Band-limited, and moved by a phase ramp on a canvas with a margin: the truth is exact.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage, special

Floats = npt.NDArray[np.float64]
MARGIN = 24


class Scene(NamedTuple):
    movie: npt.NDArray[np.int16]
    """(T, Y, X): photons times 20 plus read noise."""
    clean: Floats
    """(Y, X) the field without motion, activity and noise, photons."""
    displacement_px: Floats
    """(T, 2) where the content went; the shift to apply is its negative."""


def make_field(shape: tuple[int, int], rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return the resting canvas (with margins) and the image of spiking cells, (k, Y, X)."""
    canvas = tuple(n + 2 * MARGIN for n in shape)
    coarse = ndimage.gaussian_filter(rng.normal(size=canvas), 14, mode="wrap")
    texture = ndimage.gaussian_filter(rng.normal(size=canvas), 1.5, mode="wrap")
    field = (0.35 + 0.15 * coarse / coarse.std()) * (1 + 0.15 * texture / texture.std())
    spiking = []
    y, x = np.indices(canvas)
    for _ in range(int(900 * canvas[0] * canvas[1] / 560**2)):
        center = rng.uniform(0, canvas)
        radius, light = rng.uniform(2.6, 4.2), rng.lognormal(-0.6, 0.6)
        cell = light * special.expit((radius - np.hypot(y - center[0], x - center[1])) / 0.6)
        field += cell
        if rng.random() < 0.4:
            spiking.append(1.5 * cell)
    return field.clip(0), np.array(spiking)


def make_motion(n_frames: int, rng: np.random.Generator) -> Floats:
    """Return a slow walk of at most 4 px with jitter of 0.8 px, (T, 2)."""
    walk = ndimage.gaussian_filter1d(rng.normal(size=(n_frames, 2)).cumsum(axis=0), 25, axis=0)
    walk -= walk.mean(axis=0)
    walk *= 3 / max(np.abs(walk).max(), 1e-9)
    jitter = ndimage.gaussian_filter1d(rng.normal(size=(n_frames, 2)), 1, axis=0)
    return walk + 0.8 * jitter / max(jitter.std(), 1e-9)


def move(canvas: Floats, displacement_px: npt.ArrayLike, sigma_px: float = 0.8) -> Floats:
    """Blur a periodic canvas and displace its content, exactly; crop the margins."""
    spectrum = np.fft.rfft2(canvas)
    spectrum = ndimage.fourier_gaussian(spectrum, sigma_px, n=canvas.shape[1])
    spectrum = ndimage.fourier_shift(spectrum, displacement_px, n=canvas.shape[1])
    return np.fft.irfft2(spectrum, s=canvas.shape)[MARGIN:-MARGIN, MARGIN:-MARGIN]


def make_scene(
    *,
    shape: tuple[int, int] = (192, 192),
    n_frames: int = 60,
    photons: float = 20,
    seed: int = 0,
    displacement_px: Floats | None = None,
) -> Scene:
    rng = np.random.default_rng(seed)
    field, cells = make_field(shape, rng)
    if displacement_px is None:
        displacement_px = make_motion(n_frames, rng)
    activity = np.zeros(len(cells))
    movie = np.empty((len(displacement_px), *shape), dtype=np.int16)
    for t, displacement in enumerate(displacement_px):
        activity = 0.93 * activity + (rng.random(len(cells)) < 0.01)
        light = move(field + np.tensordot(activity, cells, axes=1), displacement).clip(0)
        counts = 20 * rng.poisson(photons * light) + rng.normal(0, 15, shape)
        movie[t] = np.rint(counts).clip(-32768, 32767)
    return Scene(movie, photons * move(field, (0, 0)), np.asarray(displacement_px))


def rms_error_px(shift_px: npt.ArrayLike, displacement_px: Floats) -> float:
    """Return the rms endpoint error after removing the time mean (gauge-free), pixels."""
    error = np.asarray(shift_px, dtype=float) + displacement_px
    error -= error.mean(axis=0)
    return float(np.sqrt((error**2).sum(axis=1).mean()))
