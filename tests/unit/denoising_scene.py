"""Small movies with known answers for the tests of denoising."""

from functools import cache

import numpy as np
from scipy.ndimage import gaussian_filter1d

from benchmarks._dim_plane import DimPlane, make_dim_plane
from clgkit import data


@cache
def dim_plane(photons: float = 6.0, draw: int = 0) -> DimPlane:
    """A plane of 64 x 64 pixels and 200 frames with 12 cells."""
    return make_dim_plane(photons=photons, side=64, n_frames=200, n_cells=12, draw=draw)


def white(*shape: int, seed: int = 0, level: float = 100.0) -> np.ndarray:
    """White noise of variance 4."""
    rng = np.random.default_rng(seed)
    return (level + 2 * rng.standard_normal(shape)).astype(np.float32)


def correlated(*shape: int, seed: int = 0) -> np.ndarray:
    """Noise whose neighbours along y and x correlate by 0.4."""
    rng = np.random.default_rng(seed)
    made = rng.standard_normal(shape)
    for axis in (1, 2):
        made = gaussian_filter1d(made, 0.6, axis=axis, mode="wrap")
    return (100 + made / made.std()).astype(np.float32)


def movie_of(*planes: np.ndarray) -> data.Movie:
    """The planes as a movie of 2 Hz."""
    return data.movie(np.stack(planes, 1), rate_hz=2.0, voxel_um=(5.0, 1.0, 1.0))
