"""The fixed template: sharp, finite, and made of good frames only."""

from __future__ import annotations

import numpy as np
import pytest

from clgkit.registration import choose_frames, crispness, make_template
from tests.unit.registration_scene import Scene, make_scene


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(shape=(96, 96), n_frames=30)


def test_frames_are_spread_evenly() -> None:
    np.testing.assert_array_equal(choose_frames(10, n=5), [1, 3, 5, 7, 9])
    np.testing.assert_array_equal(choose_frames(3, n=5), [0, 1, 2])
    assert len(np.unique(choose_frames(1001, n=200))) == 200


@pytest.mark.parametrize(("n_frames", "n"), [(0, 5), (5, 0)])
def test_nothing_cannot_be_chosen(n_frames: int, n: int) -> None:
    with pytest.raises(ValueError, match="both must be at least 1"):
        choose_frames(n_frames, n=n)


def test_template_is_sharper_than_the_mean(scene: Scene) -> None:
    template = make_template(scene.movie)

    assert template.dtype == np.float32
    assert crispness(template[8:-8, 8:-8]) > 1.1 * crispness(scene.movie.mean(axis=0)[8:-8, 8:-8])


def test_one_frame_is_its_own_template(scene: Scene) -> None:
    np.testing.assert_array_equal(make_template(scene.movie[:1]), scene.movie[0])


def test_bad_frames_are_left_out(scene: Scene) -> None:
    frames = scene.movie.astype(np.float32)
    bad = np.stack([np.full((96, 96), np.nan), np.zeros((96, 96))]).astype(np.float32)

    np.testing.assert_array_equal(
        make_template(np.concatenate([bad, frames])), make_template(frames)
    )


def test_a_template_is_never_nan(scene: Scene) -> None:
    frames = scene.movie.astype(np.float32)
    frames[:, :9] = np.nan
    frames[3, 40:50] = np.inf
    frames[:, 60, 60] = np.nan
    template = make_template(frames)

    assert np.isfinite(template).all()
    assert template.min() >= frames[np.isfinite(frames)].min()


def test_two_frames_with_large_shift_cover_the_field(scene: Scene) -> None:
    frames = np.stack([scene.movie[0], np.roll(scene.movie[0], 12, axis=0)])

    assert np.isfinite(make_template(frames)).all()


def test_no_iteration_gives_the_median(scene: Scene) -> None:
    np.testing.assert_array_equal(
        make_template(scene.movie, iterations=0), np.median(scene.movie, axis=0)
    )


@pytest.mark.parametrize("value", [0, np.nan])
def test_only_bad_frames_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="none of 4 frames can make a template"):
        make_template(np.full((4, 16, 16), value))
