"""Bad frames are found and named; ordinary movies are left alone."""

from __future__ import annotations

import numpy as np
import pytest

from clgkit.registration import FrameCode, find_bad_frames, frame_statistics, join_statistics
from tests.unit.registration_scene import make_scene


@pytest.fixture(scope="module")
def movie() -> np.ndarray:
    return make_scene(shape=(96, 96), n_frames=80, seed=4).movie


def codes_of(frames: np.ndarray, **options: float) -> np.ndarray:
    return find_bad_frames(frame_statistics(frames), **options)


def test_every_kind_is_found_and_named(movie: np.ndarray) -> None:
    frames = movie.astype(np.float32)
    rng = np.random.default_rng(0)
    frames[5] = np.nan
    frames[10] = 0
    frames[20:23] = rng.normal(0, 15, (3, 96, 96))
    frames[30] += 400
    frames[40:42, 20:80] += 900
    frames[50, :40] = 32767
    expected = np.zeros(80, int)
    expected[5], expected[10], expected[50] = (
        FrameCode.NOT_FINITE,
        FrameCode.BLANK,
        FrameCode.SATURATED,
    )
    expected[20:23], expected[[30, 40, 41]] = FrameCode.DARK, FrameCode.FLASH
    found = find_bad_frames(frame_statistics(frames, saturation=32767))

    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.uint8


@pytest.mark.parametrize("photons", [2, 20])
def test_an_ordinary_movie_is_left_alone(photons: float) -> None:
    scene = make_scene(shape=(96, 96), n_frames=60, photons=photons)
    assert not codes_of(scene.movie).any()


@pytest.mark.parametrize("decay", [0.8, 0.93, 0.98])
def test_bursts_of_the_whole_field_are_activity(movie: np.ndarray, decay: float) -> None:
    dff = np.zeros(len(movie))
    for onset in (10, 35, 62):
        dff[onset:] += 1.0 * decay ** np.arange(len(movie) - onset)
    active = movie * (1 + dff[:, np.newaxis, np.newaxis])

    assert not codes_of(active).any()


def test_bleaching_is_no_darkness(movie: np.ndarray) -> None:
    left = np.exp(-np.arange(len(movie)) / 45)  # down to 17 %
    bleached = movie * left[:, np.newaxis, np.newaxis]

    assert not codes_of(bleached).any()


def test_a_long_pause_of_the_laser_is_darkness(movie: np.ndarray) -> None:
    frames = movie.copy()
    frames[:50] = np.random.default_rng(1).normal(0, 15, (50, 96, 96))

    np.testing.assert_array_equal(codes_of(frames)[:50], FrameCode.DARK)
    assert not codes_of(frames)[50:].any()


def test_flash_at_either_end_is_found(movie: np.ndarray) -> None:
    frames = movie.astype(float)
    frames[[0, -1]] += 500

    assert np.flatnonzero(codes_of(frames)).tolist() == [0, 79]


def test_a_missing_border_is_no_fault(movie: np.ndarray) -> None:
    frames = movie.astype(np.float32)
    frames[:, :10] = np.nan

    assert not codes_of(frames).any()


@pytest.mark.parametrize("n_frames", [1, 2])
def test_short_movies_are_judged_too(movie: np.ndarray, n_frames: int) -> None:
    assert not codes_of(movie[:n_frames]).any()
    assert (codes_of(np.zeros((n_frames, 8, 8))) == FrameCode.BLANK).all()
    assert (codes_of(np.full((n_frames, 8, 8), np.nan)) == FrameCode.NOT_FINITE).all()
    full = np.full((n_frames, 8, 8), 255, np.uint8)
    assert (codes_of(full) == FrameCode.SATURATED).all()


def test_of_two_frames_one_may_be_dark(movie: np.ndarray) -> None:
    dark = np.random.default_rng(2).normal(0, 15, (96, 96))
    assert codes_of(np.stack([movie[0], dark])).tolist() == [FrameCode.OK, FrameCode.DARK]


def test_no_frames_have_no_codes() -> None:
    assert codes_of(np.zeros((0, 8, 8))).shape == (0,)


def test_a_movie_clipped_throughout_is_usable(movie: np.ndarray) -> None:
    clipped = np.clip(movie, 0, 255).astype(np.uint8)
    assert 0.1 < frame_statistics(clipped).saturated.mean() < 0.5
    assert not codes_of(clipped).any()


def test_statistics_are_those_of_numpy_and_join_over_blocks(movie: np.ndarray) -> None:
    frames = movie[:7].astype(np.float32)
    frames[2, 3, 4:6] = [np.nan, np.inf]
    whole = frame_statistics(frames, saturation=300)
    blocks = [frame_statistics(frames[i : i + 3], saturation=300) for i in (0, 3, 6)]

    for ours, joined in zip(whole, join_statistics(blocks), strict=True):
        np.testing.assert_array_equal(ours, joined)
    np.testing.assert_allclose(whole.mean[0], frames[0].mean(dtype=float))
    np.testing.assert_allclose(whole.spread[0], frames[0].std(dtype=float))
    assert whole.minimum[0] == frames[0].min()
    assert whole.maximum[0] == frames[0].max()
    assert whole.saturated[0] == (frames[0] >= 300).mean()
    assert whole.n_not_finite.tolist() == [0, 0, 2, 0, 0, 0, 0]


def test_one_image_is_refused() -> None:
    with pytest.raises(ValueError, match="expected frames"):
        frame_statistics(np.zeros((8, 8)))
