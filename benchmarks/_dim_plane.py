"""A plane of a dim recording with known answers: cells, neuropil, modules, photons.

What the description of the plane leaves open (how much light the neuropil gives and how far it
drifts, how much the brightness of cells differs, how often a cell follows its module) is fixed by
what the *raw* movie was worth where the targets were set, and by nothing else, so that no result
of a method enters: PSNR 26.1, 21.0 and 15.7 dB at 6, 2 and 0.7 photons, correlation of pixels with
their truth 0.333 at 6, correlation of cells 0.980, 0.943 and 0.843, rms error of the correlations
of their pairs 0.018, 0.038 and 0.089.
"""

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

Float32: TypeAlias = npt.NDArray[np.float32]

RATE_HZ = 2.0
TAU_S = 2.0
READ_NOISE = 0.5
MODULES = 5
RADIUS_PX = 4.5
BACKGROUND = 0.58  # light of the neuropil; a resting cell of median brightness has 1 per pixel
DRIFT = 0.138  # of the neuropil, over its level
SPREAD = 0.42  # of the logarithm of the brightness of cells
FOLLOWS = 0.85  # of the events of its module that a cell takes part in


class DimPlane(NamedTuple):
    """A movie with and without noise, and its cells."""

    noisy: Float32
    truth: Float32
    masks: npt.NDArray[np.bool_]


def make_dim_plane(
    *,
    photons: float,
    side: int = 128,
    n_frames: int = 400,
    n_cells: int = 60,
    seed: int = 0,
    draw: int = 0,
) -> DimPlane:
    """Return a plane of so many photons per pixel on average; read noise 0.5 photons.

    Parameters
    ----------
    photons
        Of the mean pixel.
    side, n_frames, n_cells
        Of the plane.
    seed
        Of cells and their activity.
    draw
        Which noise the scene gets.
    """
    rng = np.random.default_rng(seed)
    masks = _disks(rng, side, n_cells)
    soft = np.stack([gaussian_filter(mask.astype(np.float64), 0.5) for mask in masks])
    traces = _traces(rng, n_cells, n_frames)
    neuropil = gaussian_filter(rng.standard_normal((3, side, side)), (0, 12, 12))
    neuropil = 0.15 * neuropil / neuropil.std() + 1 / 3
    drift = 1 + DRIFT * _calcium(rng.standard_normal((3, n_frames)))
    light = BACKGROUND * np.einsum("kt,kyx->tyx", drift, neuropil)
    light += np.einsum("ct,cyx->tyx", traces, soft)
    truth = photons * light / light.mean()
    truth = truth.clip(min=0)
    rng = np.random.default_rng([seed, draw])
    noisy = rng.poisson(truth) + READ_NOISE * rng.standard_normal(truth.shape)
    return DimPlane(noisy.astype(np.float32), truth.astype(np.float32), masks)


def _disks(rng: np.random.Generator, side: int, n_cells: int) -> npt.NDArray[np.bool_]:
    y, x = np.indices((side, side))
    centers: list[npt.NDArray[np.float64]] = []
    while len(centers) < n_cells:
        center = rng.uniform(6, side - 6, 2)
        if all(np.hypot(*(center - other)) > 2 * RADIUS_PX for other in centers):
            centers.append(center)
    return np.stack([np.hypot(y - cy, x - cx) < RADIUS_PX for cy, cx in centers])


def _traces(rng: np.random.Generator, n_cells: int, n_frames: int) -> npt.NDArray[np.float64]:
    """Return brightness over time: a baseline, the events of a module, and own ones."""
    shared = rng.random((MODULES, n_frames)) < 0.03
    follows = rng.random((n_cells, n_frames)) < FOLLOWS
    own = rng.random((n_cells, n_frames)) < 0.02
    module = np.arange(n_cells) % MODULES
    spikes = (shared[module] & follows) * rng.uniform(0.5, 1.5, (n_cells, n_frames)) + own
    baseline = np.exp(SPREAD * rng.standard_normal((n_cells, 1)))
    return baseline * (1 + _calcium(spikes))


def _calcium(spikes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    keep = np.exp(-1 / (RATE_HZ * TAU_S))
    made = np.zeros(spikes.shape)
    level = np.zeros(len(spikes))
    for frame in range(spikes.shape[1]):
        level = keep * level + spikes[:, frame]
        made[:, frame] = level
    return made
