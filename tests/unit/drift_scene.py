"""Fields of nuclei that drift, jump or wander by known displacements."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from tests.unit.registration_scene import MARGIN, make_field, move

Floats = npt.NDArray[np.float64]
Frames = npt.NDArray[np.float32]
SIDE = 96
BRIGHT, DIM = 20.0, 2.0
"""Photons per unit of brightness: 8.8 and 0.88 a pixel."""


def drift(reach_px: float, n_frames: int = 40) -> Floats:
    """Return a straight way from one side to the other, (T, 2) px."""
    return np.linspace(-reach_px, reach_px, n_frames)[:, np.newaxis] * [1.0, -0.5]


def step(size_px: float, n_before: int = 20, n_frames: int = 40) -> Floats:
    """Return a jump along x, (T, 2) px."""
    made = np.zeros((n_frames, 2))
    made[:n_before, 1], made[n_before:, 1] = -size_px / 2, size_px / 2
    return made


def walk(reach_px: float, n_frames: int = 40, seed: int = 1) -> Floats:
    """Return a random walk, (T, 2) px."""
    made = np.random.default_rng(seed).normal(size=(n_frames, 2)).cumsum(axis=0)
    made -= made.mean(axis=0)
    return np.asarray(made * reach_px / np.abs(made).max())


def scattered(reach_px: float, n_frames: int = 40, seed: int = 2) -> Floats:
    """Return places without any order, (T, 2) px: a long movie, sampled."""
    return np.random.default_rng(seed).uniform(-reach_px, reach_px, (n_frames, 2))


@cache
def still(seed: int = 0) -> Floats:
    """Return a field with margins, brightness about 0.4."""
    return make_field((SIDE, SIDE), np.random.default_rng(seed))[0]


def film(displacement_px: Floats, photons: float = BRIGHT, seed: int = 0) -> Frames:
    """Return a movie, (T, Y, X): photons times 20 plus read noise."""
    assert np.abs(displacement_px).max() < MARGIN
    return _film(tuple(map(tuple, displacement_px.tolist())), photons, seed).copy()


@cache
def _film(places: tuple[tuple[float, ...], ...], photons: float, seed: int) -> Frames:
    rng = np.random.default_rng(seed + 100)
    frames = [move(still(seed), place).clip(0) for place in places]
    counts = 20 * rng.poisson(photons * np.stack(frames)) + 3.0
    return (counts + rng.normal(0, 15, counts.shape)).astype(np.float32)


def errors_px(shift_px: npt.ArrayLike, displacement_px: Floats) -> Floats:
    """Return the distance of every frame from where most of them lie, (T,) px."""
    error = np.asarray(shift_px, dtype=float) + displacement_px
    return np.asarray(np.linalg.norm(error - np.median(error, axis=0), axis=1))
