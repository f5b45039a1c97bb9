"""Rigid motion: accuracy against a known truth, and frames that are not as they should be."""

from __future__ import annotations

import numpy as np
import pytest

from clgkit.registration import (
    correlation_to_template,
    estimate_rigid,
    find_bad_pixels,
    make_template,
    prepare_rigid,
    register_rigid,
    shift_frames,
    valid_mask,
)
from tests.unit.registration_scene import (
    Scene,
    make_field,
    make_motion,
    make_scene,
    move,
    rms_error_px,
)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(n_frames=60)


@pytest.fixture(scope="module")
def template(scene: Scene) -> np.ndarray:
    return make_template(scene.movie)


def test_motion_is_found_to_a_twentieth_of_a_pixel(scene: Scene, template: np.ndarray) -> None:
    shifts = estimate_rigid(scene.movie, template)

    assert rms_error_px(shifts.shift_px, scene.displacement_px) < 0.05  # 8.8 photons per pixel
    assert shifts.registered.all()


def test_motion_is_found_at_a_tenth_of_the_photons() -> None:
    scene = make_scene(n_frames=60, photons=2)
    shifts = estimate_rigid(scene.movie, make_template(scene.movie))

    assert rms_error_px(shifts.shift_px, scene.displacement_px) < 0.12  # 0.88 photons per pixel


def test_a_slow_drift_is_followed() -> None:
    drift = np.linspace(-4, 4, 40)[:, np.newaxis] * [1, -0.6]
    scene = make_scene(displacement_px=drift, seed=5)
    shifts = estimate_rigid(scene.movie, make_template(scene.movie))

    assert rms_error_px(shifts.shift_px, drift) < 0.1


def test_corrected_frames_are_more_alike(scene: Scene, template: np.ndarray) -> None:
    shifts = estimate_rigid(scene.movie, template).shift_px
    corrected = shift_frames(scene.movie, shifts)
    common = valid_mask(shifts, template.shape).all(axis=0)
    before = np.where(common, scene.movie, np.nan)
    after = np.where(common, corrected, np.nan)

    r_before = correlation_to_template(before, before.mean(axis=0))
    r_after = correlation_to_template(after, after.mean(axis=0))
    assert r_after.mean() > r_before.mean() + 0.1


@pytest.mark.parametrize("shape", [(64, 64), (63, 65), (97, 71), (40, 128)])
def test_small_and_odd_fields_work(shape: tuple[int, int]) -> None:
    motion = make_motion(20, np.random.default_rng(1))
    scene = make_scene(shape=shape, displacement_px=motion, seed=2)
    shifts = estimate_rigid(scene.movie, scene.clean)

    # A ninth of the pixels of the large field: three times its error of 0.04 px.  Motion of
    # 3 px also exchanges a twelfth of the rows of the lowest field; measured 0.22 px there.
    assert rms_error_px(shifts.shift_px, motion) < 0.25


@pytest.mark.parametrize("n_frames", [1, 2])
def test_movies_of_one_and_two_frames_work(scene: Scene, n_frames: int) -> None:
    frames = scene.movie[:n_frames]
    shifts = estimate_rigid(frames, make_template(frames))

    assert shifts.shift_px.shape == (n_frames, 2)
    assert shifts.peak.shape == (n_frames,)
    # A single frame is its own template; two are each half of it.
    assert np.abs(shifts.shift_px).max() < 1


def test_a_frame_fits_itself_without_a_shift() -> None:
    for seed in range(4):
        movie = make_scene(shape=(64, 64), n_frames=1, seed=seed).movie
        np.testing.assert_array_equal(estimate_rigid(movie, movie[0]).shift_px, [[0, 0]])


def test_no_frames_give_no_shifts(template: np.ndarray) -> None:
    assert estimate_rigid(np.zeros((0, 192, 192)), template).shift_px.shape == (0, 2)


def test_blocks_do_not_change_a_bit(scene: Scene, template: np.ndarray) -> None:
    prepared = prepare_rigid(template)
    whole = register_rigid(scene.movie[:12], prepared)
    for size in (1, 5):
        blocks = [
            register_rigid(scene.movie[i : min(i + size, 12)], prepared) for i in range(0, 12, size)
        ]
        np.testing.assert_array_equal(whole.shift_px, np.concatenate([b.shift_px for b in blocks]))
        np.testing.assert_array_equal(whole.peak, np.concatenate([b.peak for b in blocks]))


def test_an_offset_changes_nothing(scene: Scene, template: np.ndarray) -> None:
    frames = scene.movie[:6]
    shifts = estimate_rigid(frames, template)
    lowered = estimate_rigid((frames - 20_000).astype(np.int16), template)

    # The mean is subtracted first, so only float32 rounding remains: at most one step.
    np.testing.assert_allclose(lowered.shift_px, shifts.shift_px, atol=0.021)


@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32", "float64", ">u2"])
def test_the_dtype_changes_nothing(scene: Scene, template: np.ndarray, dtype: str) -> None:
    frames = scene.movie[:3].clip(0)
    expected = estimate_rigid(frames, template).shift_px

    np.testing.assert_array_equal(estimate_rigid(frames.astype(dtype), template).shift_px, expected)


def test_frames_without_content_stay_where_they_are(scene: Scene, template: np.ndarray) -> None:
    frames = scene.movie[:5].astype(np.float32)
    frames[1] = 7
    frames[2] = np.nan
    frames[3] = np.inf
    shifts = estimate_rigid(frames, template)

    np.testing.assert_array_equal(shifts.registered, [True, False, False, False, True])
    np.testing.assert_array_equal(shifts.shift_px[1:4], 0)
    np.testing.assert_array_equal(shifts.peak[1:4], 0)
    assert np.isfinite(shifts.shift_px).all()


def test_missing_pixels_have_no_weight(scene: Scene, template: np.ndarray) -> None:
    frames = scene.movie[:10].astype(np.float32)
    expected = estimate_rigid(frames, template).shift_px
    frames[:, :14] = np.nan
    frames[:, 100:110, 50:80] = np.nan
    frames[:, 150, 7] = np.inf

    found = estimate_rigid(frames, template).shift_px
    # A tenth of the pixels is gone; the error of a frame is about 0.04 px before and after.
    assert np.abs(found - expected).max() < 0.15


def test_a_template_with_missing_border_works(scene: Scene, template: np.ndarray) -> None:
    framed = template.copy()
    framed[:6] = np.nan
    framed[:, -6:] = np.nan
    shifts = estimate_rigid(scene.movie, framed)

    assert rms_error_px(shifts.shift_px, scene.displacement_px) < 0.06


def test_a_given_template_may_have_another_brightness_and_be_negative(
    scene: Scene, template: np.ndarray
) -> None:
    given = template / 37 - 500
    given[:6] = np.nan
    given[:, -6:] = np.nan
    shifts = estimate_rigid(scene.movie, given)

    assert rms_error_px(shifts.shift_px, scene.displacement_px) < 0.06
    assert shifts.confident.all()


def test_a_shift_beyond_the_window_is_flagged(scene: Scene, template: np.ndarray) -> None:
    """On the flank of a peak that lies outside, correlation is high and the shift is wrong."""
    canvas, _ = make_field((128, 128), np.random.default_rng(0))
    image = move(canvas, (0, 0))
    away = [(0.0, 0.0), (9.0, 0.0), (10.4, 0.0), (0.0, -11.0), (15.0, 14.0)]
    frames = np.stack([move(canvas, shift) for shift in away])
    found = register_rigid(frames, prepare_rigid(image, max_shift_px=10))

    np.testing.assert_array_equal(found.confident, [True, True, False, False, False])
    assert found.at_edge[2:4].all()
    assert not found.at_edge[:2].any()
    np.testing.assert_allclose(found.shift_px[:2], np.negative(away[:2]), atol=0.1)
    none = register_rigid(scene.movie[:3], prepare_rigid(template, max_shift_px=0))
    assert none.confident.all()
    assert not none.at_edge.any()  # nothing was searched


def test_a_hot_column_does_not_hold_the_sample_still(scene: Scene) -> None:
    frames = scene.movie.clip(0).astype(np.uint16)
    frames[:, :, 90] += 5000
    frames[:, 40, 30] = 65535
    bad = find_bad_pixels(frames)
    held, free = (
        register_rigid(
            frames, prepare_rigid(make_template(frames, bad_pixels=b), bad_pixels=b)
        ).shift_px
        for b in (None, bad)
    )
    assert bad[:, 90].all()
    assert bad[40, 30]
    assert rms_error_px(free, scene.displacement_px) < 0.06
    assert rms_error_px(held, scene.displacement_px) > 1


def test_a_template_without_structure_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to register to"):
        estimate_rigid(np.zeros((1, 16, 16)), np.full((16, 16), 3.0))


def test_frames_of_another_shape_are_refused(template: np.ndarray) -> None:
    with pytest.raises(ValueError, match="do not fit the template"):
        estimate_rigid(np.zeros((2, 16, 16)), template)
