"""Random numbers that depend on their purpose and place, never on the order of the work."""

from __future__ import annotations

from enum import IntEnum, unique

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

Float64 = npt.NDArray[np.float64]


@unique
class Purpose(IntEnum):
    """What a stream of random numbers is for."""

    REGIONS = 1
    PLACES = 2
    SHAPES = 3
    BRIGHTNESS = 4
    MODULES = 5
    DRIVE = 6
    SPIKES = 7
    NEUROPIL = 8
    VOLUME_MOTION = 9
    PLANE_MOTION = 10
    STRUCTURE_NOISE = 11
    MOVIE_NOISE = 12
    TEXTURE = 13
    NUCLEAR_NOISE = 14


def stream(seed: int, purpose: Purpose, *place: int) -> np.random.Generator:
    """Start a generator (Philox) for one purpose at one place, such as a plane or a module."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, purpose, *place])))


def key(seed: int, purpose: Purpose, *place: int) -> np.uint64:
    """Give 64 random bits for one purpose at one place; they start a hashed noise field."""
    return np.uint64(
        np.random.SeedSequence([seed, purpose, *place]).generate_state(1, np.uint64)[0]
    )


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> Float64:
    """Draw noise smoothed along axis 0, of unit variance in expectation."""
    length = int(4 * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-length, length + 1) / sigma) ** 2)
    gain = np.sqrt(np.sum((kernel / kernel.sum()) ** 2))
    long = rng.standard_normal((shape[0] + 2 * length, *shape[1:]))
    smooth = gaussian_filter1d(long, sigma, axis=0)[length : length + shape[0]]
    return np.asarray(smooth / gain)
