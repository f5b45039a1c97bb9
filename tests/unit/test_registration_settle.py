"""Frames whose shift may be noise follow the frames around them."""

from __future__ import annotations

import numpy as np
import pytest

from clgkit.registration import (
    estimate_rigid,
    find_bad_pixels,
    make_template,
    pool_frames,
    prepare_rigid,
    register_rigid,
    settle_shifts,
    spread_shifts,
)
from tests.unit.registration_scene import make_scene, rms_error_px


def test_unsure_frames_are_interpolated() -> None:
    shifts = np.array([[9, 9], [1, 0], [9, 9], [9, 9], [4, -3], [9, 9]], np.float32)
    sure = np.array([False, True, False, False, True, False])
    settled = settle_shifts(shifts, sure)

    np.testing.assert_allclose(settled, [[1, 0], [1, 0], [2, -1], [3, -2], [4, -3], [4, -3]])


def test_patches_are_interpolated_too() -> None:
    shifts = np.zeros((3, 2, 2, 2), np.float32)
    shifts[2] = np.arange(8).reshape(2, 2, 2)
    settled = settle_shifts(shifts, np.array([True, False, True]))

    np.testing.assert_allclose(settled[1], shifts[2] / 2)


def test_sure_frames_keep_theirs() -> None:
    shifts = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)

    np.testing.assert_array_equal(settle_shifts(shifts, np.ones(5, bool)), shifts)
    np.testing.assert_array_equal(settle_shifts(shifts, np.zeros(5, bool)), 0)
    assert settle_shifts(shifts[:0], np.ones(0, bool)).shape == (0, 2)


def test_lengths_must_fit() -> None:
    with pytest.raises(ValueError, match="one truth value for each frame"):
        settle_shifts(np.zeros((3, 2)), np.ones(4, bool))


def test_frames_of_noise_are_found_and_bridged() -> None:
    drift = np.linspace(-3, 3, 30)[:, np.newaxis] * [1, -0.5]
    scene = make_scene(displacement_px=drift, photons=2)
    frames = scene.movie.copy()
    rng = np.random.default_rng(0)
    lost = np.array([4, 5, 6, 17])
    frames[lost] = 20 * rng.poisson(0.9, (4, *frames.shape[1:])) + 3
    found = register_rigid(frames, prepare_rigid(scene.clean))
    settled = settle_shifts(found.shift_px, found.confident)

    np.testing.assert_array_equal(np.flatnonzero(~found.confident), lost)
    assert np.abs(found.shift_px + drift)[lost].max() > 1
    assert rms_error_px(settled, drift) < 0.15


def test_a_template_of_noise_is_not_made_sharp() -> None:
    noise = np.random.default_rng(0).poisson(1, (60, 96, 96)).astype(np.int16)
    template = make_template(noise[:40])
    found = estimate_rigid(noise[40:], template)

    # Frames laid where they fit would raise the scatter of their mean: 1 / sqrt(40) = 0.16.
    assert template[8:-8, 8:-8].std() < 0.18
    assert not found.confident.any()


def test_hot_and_dead_pixels_are_found() -> None:
    frames = make_scene(n_frames=20).movie.astype(np.float32)
    bad = [(30, 40), (100, 7), (150, 150)]
    frames[:, 30, 40] += 2000
    frames[:, 100, 7] = -1500
    frames[:, 150, 150] = np.nan
    found = find_bad_pixels(frames)

    assert all(found[pixel] for pixel in bad)
    assert found.sum() < len(bad) + 0.001 * found.size
    with pytest.raises(ValueError, match="expected frames"):
        find_bad_pixels(frames[0])


def test_bad_pixels_are_filled_in_the_template() -> None:
    scene = make_scene(n_frames=20)
    frames = scene.movie.astype(np.float32)
    bad = np.zeros(frames.shape[1:], bool)
    bad[60:62, 80:82] = True
    frames[:, bad] = 30_000
    template = make_template(frames, bad_pixels=bad)

    assert template.max() < 5000


def test_pools_are_means_and_the_last_may_be_short() -> None:
    frames = np.arange(7.0)[:, np.newaxis, np.newaxis] * np.ones((7, 2, 3))
    frames[0, 0, 0] = np.nan
    frames[6, 1, 1] = np.inf
    pooled = pool_frames(frames, size=3)

    np.testing.assert_array_equal(pooled[:, 0, 1], [1, 4, 6])
    assert pooled[0, 0, 0] == 1.5
    assert np.isnan(pooled[2, 1, 1])
    assert pool_frames(np.zeros((0, 2, 3), np.int16), size=3).shape == (0, 2, 3)


def test_shifts_of_pools_are_spread_over_their_frames() -> None:
    spread = spread_shifts(
        np.array([[0, 3], [9, 9], [6, 0]]), np.array([True, False, True]), size=2, n_frames=6
    )
    # Middles of the sure pools: frames 0.5 and 4.5.
    np.testing.assert_allclose(spread[:, 0], [0, 0.75, 2.25, 3.75, 5.25, 6])
    np.testing.assert_array_equal(
        spread_shifts(np.ones((1, 2, 2, 2)), np.zeros(1, bool), size=4, n_frames=3), 0
    )


def test_pools_of_another_movie_are_refused() -> None:
    with pytest.raises(ValueError, match="pools of 2 have 3"):
        spread_shifts(np.zeros((4, 2)), np.ones(4, bool), size=2, n_frames=6)
    with pytest.raises(ValueError, match="size 0"):
        pool_frames(np.zeros((1, 2, 2)), size=0)


def test_frames_too_dim_alone_are_registered_together() -> None:
    drift = np.linspace(-2, 2, 120)[:, np.newaxis] * [1, -0.5]
    scene = make_scene(shape=(96, 96), displacement_px=drift, photons=0.15)
    prepared = prepare_rigid(scene.clean)
    alone = register_rigid(scene.movie, prepared)
    pooled = register_rigid(pool_frames(scene.movie, size=20), prepared)
    spread = spread_shifts(pooled.shift_px, pooled.confident, size=20, n_frames=120)

    assert alone.confident.mean() < 0.5
    assert pooled.confident.all()
    assert rms_error_px(spread, drift) < 0.5
    assert rms_error_px(alone.shift_px, drift) > 2
