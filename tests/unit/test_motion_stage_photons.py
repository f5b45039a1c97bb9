"""Gain and offset of a movie from its noise, and movies whose noise is not that of photons."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from clgkit.stages._motion_photons import SENTENCES, PhotonModel, Unlike, fit_photons

SHAPE = (96, 112)
GAIN, OFFSET, READ_NOISE = 12.0, 150.0, 9.0
Movie = npt.NDArray[np.float64]


def photons(mean: float, n_frames: int = 40, step_px: float = 0.0) -> Movie:
    """A movie of `mean` photons a pixel, that moves by `step_px` from frame to frame."""
    rng = np.random.default_rng(4)
    rows, columns = SHAPE
    wide = ndimage.gaussian_filter(rng.normal(size=(rows, columns + 40)), 4)
    scene = mean * (1 + 0.8 * np.sin(1.5 * wide / wide.std()))
    moved = [
        ndimage.shift(scene, (0, -step_px * (t % 10)), order=1, mode="nearest")[:, :columns]
        for t in range(n_frames)
    ]
    counts = rng.poisson(np.array(moved))
    return GAIN * counts + OFFSET + rng.normal(0, READ_NOISE, counts.shape)


def triples(movie: Movie) -> Iterator[tuple[Movie, Movie, Movie]]:
    for t in range(1, len(movie) - 2, 7):
        yield movie[t], movie[t + 1], movie[t + 2]


def fit(movie: Movie, bad: npt.NDArray[np.bool_] | None = None) -> PhotonModel:
    bad = np.zeros(movie.shape[1:], np.bool_) if bad is None else bad
    return fit_photons(triples(movie), movie[::7].mean(axis=0), bad)


@pytest.mark.parametrize("mean", [1.0, 8.0, 60.0])
@pytest.mark.parametrize("step_px", [0.0, 0.3])
def test_gain_and_offset_are_found_in_dim_and_bright_moving_movies(
    mean: float, step_px: float
) -> None:
    found = fit(photons(mean, step_px=step_px))

    assert found.unlike == Unlike.PHOTONS
    # Six pairs of frames of 10 000 pixels tell a variance to 1 %, its slope to a few.
    assert found.gain == pytest.approx(GAIN, rel=0.12)
    # Read noise counts as light: the offset lies lower by its variance over the gain.
    effective = OFFSET - READ_NOISE**2 / GAIN
    assert found.offset == pytest.approx(effective, abs=0.12 * GAIN * max(mean, 1.0))


def test_a_photon_still_counts_the_same_beside_bad_and_missing_pixels() -> None:
    movie = photons(8.0)
    bad = np.zeros(SHAPE, np.bool_)
    bad[10, 10:60] = True
    broken = movie.copy()
    broken[:, bad] = 60000
    broken[3, 40, 40] = np.nan

    assert fit(broken, bad).gain == pytest.approx(fit(movie).gain, rel=0.05)


def smoothed(movie: Movie) -> Movie:
    return ndimage.gaussian_filter(movie, (0, 0.7, 0.7))


def averaged(movie: Movie) -> Movie:
    return ndimage.uniform_filter1d(movie, 4, axis=0)


def of_constant_noise(movie: Movie) -> Movie:
    still = movie.mean(axis=0)
    return still + np.random.default_rng(1).normal(0, 30, movie.shape)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (smoothed, Unlike.SMOOTH),
        (averaged, Unlike.SHARED),
        (of_constant_noise, Unlike.NOT_LINEAR),
        (np.zeros_like, Unlike.FEW),
        (lambda movie: movie[:2], Unlike.FEW),
        (lambda movie: movie[:, :20, :20], Unlike.FEW),
        (lambda movie: movie * np.nan, Unlike.FEW),
    ],
)
def test_what_speaks_against_photons_is_told(change: object, why: Unlike) -> None:
    assert callable(change)
    found = fit(change(photons(8.0)))

    assert found.unlike == why
    assert SENTENCES[why]


def test_photons_need_no_excuse() -> None:
    assert set(SENTENCES) == set(Unlike) - {Unlike.PHOTONS}
