"""Scores that the noise of a movie cannot please."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks._moving_field import MovingField, make_movie
from clgkit.registration import (
    apply_shifts,
    crispness,
    estimate_rigid,
    make_template,
    photon_split_score,
    prepare_piecewise,
    register_piecewise,
    residual_flow,
    split_photons,
)


@pytest.fixture(scope="module")
def scene() -> MovingField:
    return make_movie(side=192, n_frames=24, photons=5)


def test_photons_are_dealt_out_and_none_is_lost() -> None:
    rng = np.random.default_rng(0)
    counts = rng.poisson(3, (30, 40, 40))
    first, second = split_photons(counts * 7 + 100, gain=7, offset=100)

    np.testing.assert_array_equal(first + second, counts)
    assert first.mean() == pytest.approx(1.5, rel=0.02)  # five standard errors
    # Independent: a sum of 48000 products, standard error 0.5 %.
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.025


def test_the_same_seed_deals_alike() -> None:
    frames = np.random.default_rng(0).poisson(3, (3, 8, 8))
    one, other = split_photons(frames, gain=1, seed=4), split_photons(frames, gain=1, seed=4)

    np.testing.assert_array_equal(one[0], other[0])
    assert (one[0] != split_photons(frames, gain=1, seed=5)[0]).any()


def test_better_corrections_score_higher(scene: MovingField) -> None:
    def untouched(_: np.ndarray, frames: np.ndarray) -> np.ndarray:
        return frames.astype(np.float32)

    def rigid(seen: np.ndarray, frames: np.ndarray) -> np.ndarray:
        shifts = estimate_rigid(seen, make_template(seen)).shift_px
        return apply_shifts(frames, shifts).frames

    def piecewise(seen: np.ndarray, frames: np.ndarray) -> np.ndarray:
        found = register_piecewise(seen, prepare_piecewise(make_template(seen), grid_px=32))
        return apply_shifts(frames, found.patch_shift, centers=found.centers).frames

    scores = [
        photon_split_score(scene.movie, correct, gain=20)
        for correct in (untouched, rigid, piecewise)
    ]
    means = [score.r_to_mean for score in scores]
    assert means[0] < means[1] < means[2]
    assert scores[0].r_of_halves < scores[2].r_of_halves < 1


def test_fitting_noise_is_not_rewarded(scene: MovingField) -> None:
    rng = np.random.default_rng(0)
    truth = np.zeros((24, 2))
    scattered = rng.normal(0, 1.5, (24, 2))
    still = rng.poisson(2 * scene.movie[0].clip(0) / 20, (24, 192, 192))

    right, wrong = (
        photon_split_score(still, lambda _, b, s=shifts: apply_shifts(b, s).frames, gain=1)
        for shifts in (truth, scattered)
    )
    assert right.r_of_halves > wrong.r_of_halves


def test_a_corrected_movie_flows_less(scene: MovingField) -> None:
    prepared = prepare_piecewise(make_template(scene.movie), grid_px=32)
    found = register_piecewise(scene.movie, prepared)
    corrected = apply_shifts(scene.movie, found.patch_shift, centers=found.centers).frames
    before = residual_flow(scene.movie.astype(np.float32), prepared, bin_frames=4)
    after = residual_flow(corrected, prepared, bin_frames=4)

    assert after.patch_shift.shape == (6, 6, 6, 2)
    assert after.rms_px < 0.3 * before.rms_px
    assert crispness(corrected[:, 16:-16, 16:-16].mean(axis=0)) > 0


def test_nonsense_is_refused(scene: MovingField) -> None:
    with pytest.raises(ValueError, match="gain must be positive"):
        split_photons(scene.movie, gain=0)
    with pytest.raises(ValueError, match="not finite"):
        split_photons(np.full((1, 2, 2), np.nan), gain=1)
    with pytest.raises(ValueError, match="bin_frames"):
        residual_flow(scene.movie, prepare_piecewise(scene.movie[0]), bin_frames=0)
