"""The fixed template: sharp, finite, and made of good frames only."""

from __future__ import annotations

import numpy as np
import pytest

from clgkit.registration import (
    RunningTemplate,
    choose_frames,
    crispness,
    find_bad_pixels,
    frames_alike,
    make_template,
    plan_bins,
    prepare_rigid,
    register_rigid,
    shift_frames,
)
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


def test_no_iteration_gives_the_mean_of_frames_that_are_alike(scene: Scene) -> None:
    chosen = frames_alike(scene.movie)

    np.testing.assert_allclose(
        make_template(scene.movie, iterations=0), scene.movie[chosen].mean(axis=0), rtol=1e-5
    )


@pytest.mark.parametrize("value", [0, np.nan])
def test_only_bad_frames_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="none of 4 frames can make a template"):
        make_template(np.full((4, 16, 16), value))


@pytest.mark.parametrize("seed", range(4))
def test_the_template_lies_in_the_middle_of_the_motion(seed: int) -> None:
    movie = make_scene(shape=(96, 96), n_frames=25, seed=seed).movie
    shifts = register_rigid(movie, prepare_rigid(make_template(movie))).shift_px

    # What one more round would move, 0.02 px steps; uncentred 0.2 to 1 px.
    np.testing.assert_allclose(np.median(shifts, axis=0), 0, atol=0.065)


def test_lone_pixels_and_lines_that_do_not_belong_are_found(scene: Scene) -> None:
    frames = scene.movie.clip(0).astype(np.uint16)
    dead = np.unravel_index(frames.mean(axis=0)[8:-8, 8:50].argmax(), (80, 42))
    dead = (dead[0] + 8, dead[1] + 8)
    frames[:, 70, 20] = 65535
    frames[(slice(None), *dead)] = 0
    frames[:, 20:, 60] += 3000
    frames[:, 85] += 3000
    found = find_bad_pixels(frames)

    assert not find_bad_pixels(scene.movie).any()
    assert found[70, 20]
    assert found[dead]
    assert found[20:, 60].all()
    assert found[85].all()
    assert found.sum() == 76 + 96 - 1 + 2


def test_pixels_that_are_never_finite_are_bad() -> None:
    frames = np.random.default_rng(0).normal(size=(1, 20, 20))
    frames[:, 3, 4] = np.nan
    assert find_bad_pixels(frames)[3, 4]
    assert find_bad_pixels(np.full((2, 20, 20), np.nan)).all()
    assert not find_bad_pixels(np.full((2, 20, 20), 3.0)).any()
    with pytest.raises(ValueError, match="expected frames"):
        find_bad_pixels(np.zeros((20, 20)))


@pytest.mark.parametrize(
    ("n_frames", "bin_frames", "widths"),
    [(1, 200, [1]), (2, 1, [1, 1]), (9, 4, [5, 4]), (10, 4, [4, 4, 2]), (400, 200, [200, 200])],
)
def test_bins_hold_all_frames_and_never_a_last_one_alone(
    n_frames: int, bin_frames: int, widths: list[int]
) -> None:
    bins = plan_bins(n_frames, bin_frames=bin_frames)

    assert [place.stop - place.start for place in bins] == widths
    assert np.concatenate([np.arange(n_frames)[place] for place in bins]).tolist() == list(
        range(n_frames)
    )
    with pytest.raises(ValueError, match="both must be at least 1"):
        plan_bins(n_frames, bin_frames=0)


@pytest.mark.parametrize("keep_first", [True, False])
def test_the_running_template_is_the_median_over_bins(*, keep_first: bool) -> None:
    rng = np.random.default_rng(0)
    first = rng.normal(size=(6, 7)).astype(np.float32)
    movie = rng.normal(size=(12, 6, 7)).astype(np.float32)
    running = RunningTemplate(first, buffer_bins=2, keep_first=keep_first)
    np.testing.assert_array_equal(running.image, first)
    means = []
    for place in plan_bins(12, bin_frames=3):
        running.add(movie[place][:2])
        running.add(movie[place][2:])
        means = [*means, movie[place].mean(axis=0, dtype=np.float64).astype(np.float32)][-2:]
        expected = np.median([first, *means] if keep_first else means, axis=0)

        np.testing.assert_array_equal(running.finish_bin(), expected)
    np.testing.assert_array_equal(running.bins, means)
    # What is stored is enough to go on.
    again = RunningTemplate(first, bins=running.bins, buffer_bins=2, keep_first=keep_first)
    np.testing.assert_array_equal(again.image, running.image)


def test_what_a_bin_does_not_show_stays_as_it_was() -> None:
    first = np.arange(20, dtype=np.float32).reshape(4, 5)
    first[0] = np.nan
    running = RunningTemplate(first, keep_first=False)
    frames = np.full((3, 4, 5), 50.0)
    frames[:, 2] = np.nan
    frames[0, 3] = np.inf
    frames[:, 0, :2] = np.nan
    running.add(frames)
    made = running.finish_bin()

    np.testing.assert_array_equal(made[2], first[2])
    np.testing.assert_array_equal(made[[1, 3]], 50)
    np.testing.assert_array_equal(np.isnan(made[0]), [True, True, False, False, False])
    running.add(np.full((2, 4, 5), np.nan))
    np.testing.assert_array_equal(running.finish_bin(), made)
    assert len(running.bins) == 1


def test_running_templates_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="the same for all"):
        RunningTemplate(np.zeros((4, 5)), bins=np.zeros((2, 5, 4)))
    with pytest.raises(ValueError, match="buffer_bins"):
        RunningTemplate(np.zeros((4, 5)), buffer_bins=0)
    with pytest.raises(ValueError, match="do not fit the template"):
        RunningTemplate(np.zeros((4, 5))).add(np.zeros((2, 5, 4)))
    # With nothing in it, it is what it was.
    assert not RunningTemplate(np.zeros((4, 5))).bins.size


def test_a_running_template_follows_a_slow_change() -> None:
    """The sample turns into another: a fixed template loses it, a running one does not."""
    one, other = (make_scene(shape=(96, 96), n_frames=1, seed=s).clean for s in (1, 2))
    one, other = one.clip(0), other.clip(0)
    rng = np.random.default_rng(0)
    share = np.linspace(0, 1, 60)[:, np.newaxis, np.newaxis]
    movie = rng.poisson((1 - share) * one + share * other).astype(np.float32)
    running = RunningTemplate(movie[:3].mean(axis=0), buffer_bins=3, keep_first=False)
    for place in plan_bins(60, bin_frames=6):
        found = register_rigid(movie[place], prepare_rigid(running.image))
        assert np.abs(found.shift_px).max() < 0.5
        running.add(shift_frames(movie[place], found.shift_px))
        running.finish_bin()
    lost = register_rigid(movie[-6:], prepare_rigid(movie[:3].mean(axis=0)))

    assert np.abs(lost.shift_px).max() > 2
