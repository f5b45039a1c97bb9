"""Scales, neighbours in time, and patches to learn from."""

import math

import numpy as np
import pytest

from clgkit.denoising.support_samples import (
    Patches,
    measure_scale,
    neighbours_of,
    turn,
)
from tests.unit.denoiser_scene import Float32, make_movie


def patches(movie: Float32, *more: Float32, n_frames: int = 5, side_px: int = 16) -> Patches:
    return Patches([movie, *more], n_frames=n_frames, side_px=side_px)


def test_the_scale_is_that_of_all_finite_values() -> None:
    movie = make_movie(n_frames=150)
    movie[3, 4, 5] = np.nan
    movie[70] = np.nan
    values = movie[np.isfinite(movie)].astype(np.float64)

    mean, sd = measure_scale(movie)

    assert math.isclose(mean, values.mean(), rel_tol=1e-12)
    assert math.isclose(sd, values.std(ddof=1), rel_tol=1e-12)


def test_the_scale_of_integers_far_from_zero_is_exact() -> None:
    movie = (60000 + np.arange(100).reshape(100, 1, 1) % 2).astype(np.uint16)

    assert measure_scale(movie) == (60000.5, pytest.approx(math.sqrt(0.25 * 100 / 99)))


def test_the_scale_of_little_is_said() -> None:
    nothing = np.full((3, 2, 2), np.nan, np.float32)
    one = nothing.copy()
    one[0, 0, 0] = 7

    assert all(math.isnan(value) for value in measure_scale(nothing))
    assert measure_scale(one) == (7, 0)
    assert measure_scale(np.full((3, 2, 2), 5)) == (5, 0)


def test_the_ends_are_repeated_or_mirrored() -> None:
    assert neighbours_of(-3, 7, 5).tolist() == [0, 0, 0, 0, 1, 2, 3, 4, 4, 4]
    assert neighbours_of(-3, 7, 5, ends="mirror").tolist() == [3, 2, 1, 0, 1, 2, 3, 4, 3, 2]
    assert neighbours_of(-2, 3, 1, ends="mirror").tolist() == [0] * 5


def test_a_mirror_of_a_short_movie_swings() -> None:
    assert neighbours_of(-4, 5, 3, ends="mirror").tolist() == [0, 1, 2, 1, 0, 1, 2, 1, 0]


def test_patches_are_turned_and_flipped_along_y() -> None:
    patch = np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2)

    assert turn(patch, quarters=0, flip=True)[0, 0].tolist() == [[2, 3], [0, 1]]
    assert turn(patch, quarters=1, flip=False)[0, 0].tolist() == [[1, 3], [0, 2]]
    np.testing.assert_array_equal(turn(patch, quarters=4, flip=False), patch)


def test_patches_are_normalised_by_their_plane() -> None:
    made = patches(make_movie(), 1000 * make_movie(seed=1))

    drawn = made.draw(np.random.default_rng(0), 200)

    assert drawn.shape == (200, 5, 16, 16)
    assert drawn.dtype == np.float32
    assert abs(drawn.mean()) < 0.2  # of planes at 100 and at 100000
    assert 0.8 < drawn.std() < 1.2


def test_held_out_frames_are_never_the_middle_of_what_is_learnt() -> None:
    n_frames = 60
    movie = np.broadcast_to(
        np.arange(n_frames, dtype=np.float32)[:, None, None], (n_frames, 20, 20)
    )
    movie = movie + 1e-3 * np.random.default_rng(0).standard_normal(movie.shape).astype(np.float32)
    made = patches(movie)
    rng = np.random.default_rng(0)

    middles = [
        {
            round(float(value) * made.scales[0].sd + made.scales[0].mean)
            for value in drawn[:, 2, 0, 0]
        }
        for drawn in (made.draw(rng, 600), made.draw(rng, 100, held_out=True))
    ]

    assert not middles[0] & middles[1]
    assert middles[1] == {7, 17, 27, 37, 47, 57}
    assert len(middles[0]) == n_frames - 4 - 6


def test_a_patch_is_a_window_of_the_movie() -> None:
    movie = make_movie()
    made = patches(movie)
    mean, sd = made.scales[0]

    patch = made.draw(np.random.default_rng(4), 1)[0] * sd + mean

    windows = np.lib.stride_tricks.sliding_window_view(movie, (5, 16, 16))
    off = np.abs(windows - patch).max(axis=(3, 4, 5))
    assert off.min() < 1e-3


def test_noise_has_the_size_and_correlation_of_the_noise() -> None:
    white = patches(make_movie(noise=3)).draw_noise(np.random.default_rng(0), 100)
    made = patches(make_movie(noise=3, blur_px=1))
    blurred = made.draw_noise(np.random.default_rng(0), 100)

    assert abs((white[:, :, 1:] * white[:, :, :-1]).mean() / (white**2).mean()) < 0.1
    assert (blurred[:, :, 1:] * blurred[:, :, :-1]).mean() / (blurred**2).mean() > 0.5
    assert (blurred**2).mean() == pytest.approx(made.noise_variance, rel=0.1)


def test_the_variance_of_the_noise_is_in_units_of_the_patches() -> None:
    quiet, loud = patches(make_movie(noise=0.5)), patches(make_movie(noise=5))

    # Signal of variance 4; noise of 0.25 and 25.  The median floor and the slow signal: 10 %.
    assert quiet.noise_variance == pytest.approx(0.25 / 4.25, rel=0.3)
    assert loud.noise_variance == pytest.approx(25 / 29, rel=0.1)
    both = patches(make_movie(noise=0.5), make_movie(noise=5))
    assert both.noise_variance == pytest.approx((quiet.noise_variance + loud.noise_variance) / 2)


def test_what_is_not_known_stays_so_in_patches_but_not_in_noise() -> None:
    movie = make_movie()
    movie[:, :8] = np.nan
    made = patches(movie, side_px=24)

    assert np.isnan(made.draw(np.random.default_rng(0), 4)[:, :, :8]).all()
    assert np.isfinite(made.draw_noise(np.random.default_rng(0), 4)).all()


def test_a_small_plane_is_taken_whole() -> None:
    made = patches(make_movie(side=12), make_movie(side=20), side_px=16)

    drawn = made.draw(np.random.default_rng(1), 20)

    small = np.isnan(drawn[:, 0, 12:]).all(axis=(1, 2))
    assert drawn.shape[2:] == (16, 16)
    assert 0 < small.sum() < 20
    assert np.isfinite(drawn[small][:, :, :12, :12]).all()


def test_a_plane_in_which_nothing_changes_is_left_out() -> None:
    still = np.full((30, 24, 24), 7, np.float32)

    assert len(patches(still, make_movie()).planes) == 1
    with pytest.raises(ValueError, match="no noise to learn"):
        patches(still)


def test_a_movie_shorter_than_a_patch_is_refused_with_both_lengths() -> None:
    with pytest.raises(ValueError, match="has 15 frames, the network takes 15 at a time"):
        patches(make_movie(n_frames=15), n_frames=15)
    with pytest.raises(ValueError, match="has 0 frames"):
        Patches([], n_frames=3, side_px=16)

    shortest = patches(make_movie(n_frames=16), n_frames=15)
    rng = np.random.default_rng(0)
    assert shortest.draw(rng, 2).shape == shortest.draw(rng, 2, held_out=True).shape
