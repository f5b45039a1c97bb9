"""Motion that bends: accuracy against a known truth, and fields that are not as they should be."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks._moving_field import MovingField, make_movie, rms_error_px
from clgkit.registration import (
    PiecewiseShifts,
    apply_shifts,
    correlation_to_template,
    field_at,
    find_bad_pixels,
    make_template,
    prepare_piecewise,
    register_piecewise,
    register_rigid,
)
from tests.unit.registration_scene import make_scene
from tests.unit.registration_scene import rms_error_px as rms_scene_px

SIDE, N_FRAMES = 256, 24


def error_px(shifts: PiecewiseShifts, scene: MovingField) -> float:
    points = scene.points_px.astype(int)
    side = scene.movie.shape[1:]
    found = field_at(shifts.patch_shift, shifts.centers, (side[0], side[1]))
    return rms_error_px(-found[:, points][:, :, points], scene.shift_px)


@pytest.fixture(scope="module")
def bent() -> MovingField:
    return make_movie(side=SIDE, n_frames=N_FRAMES)


@pytest.fixture(scope="module")
def template(bent: MovingField) -> np.ndarray:
    return make_template(bent.movie)


@pytest.fixture(scope="module")
def shifts(bent: MovingField, template: np.ndarray) -> PiecewiseShifts:
    return register_piecewise(bent.movie, prepare_piecewise(template))


def test_motion_that_bends_is_found(bent: MovingField, shifts: PiecewiseShifts) -> None:
    rigid = np.broadcast_to(-shifts.rigid[:, np.newaxis, np.newaxis], bent.shift_px.shape)

    # 8.8 photons per pixel.  The modes of 512 px are squeezed into 256, so that the field
    # bends twice as sharply; benchmarks/registration.py measures 0.09 px at full size.
    assert error_px(shifts, bent) < 0.4
    assert rms_error_px(rigid, bent.shift_px) > 1
    assert shifts.registered.all()
    assert shifts.confident.all()


def test_bending_is_found_at_a_tenth_of_the_photons() -> None:
    scene = make_movie(side=SIDE, n_frames=N_FRAMES, photons=2)
    shifts = register_piecewise(scene.movie, prepare_piecewise(make_template(scene.movie)))

    assert error_px(shifts, scene) < 0.65  # 0.88 photons per pixel; else as above


@pytest.mark.parametrize("photons", [20, 2])
def test_rigid_motion_stays_nearly_rigid(photons: float) -> None:
    scene = make_movie(side=SIDE, n_frames=12, photons=photons, rigid=True)
    prepared = prepare_piecewise(make_template(scene.movie))
    shifts = register_piecewise(scene.movie, prepared)
    rigid = np.broadcast_to(-shifts.rigid[:, np.newaxis, np.newaxis], scene.shift_px.shape)

    # Patches weigh what they see against its noise, so that they cost little here.
    assert error_px(shifts, scene) < rms_error_px(rigid, scene.shift_px) + 0.04


def test_the_rigid_part_is_the_rigid_shift(
    bent: MovingField, template: np.ndarray, shifts: PiecewiseShifts
) -> None:
    rigid = register_rigid(bent.movie[:4], prepare_piecewise(template).rigid)

    np.testing.assert_array_equal(shifts.rigid[:4], rigid.shift_px)
    np.testing.assert_array_equal(shifts.peak[:4], rigid.peak)


def test_patches_stay_within_their_window(bent: MovingField, template: np.ndarray) -> None:
    found = register_piecewise(bent.movie[:6], prepare_piecewise(template, max_deviation_px=0.5))
    deviation = np.abs(found.patch_shift - found.rigid[:, np.newaxis, np.newaxis])

    assert deviation.max() <= 0.5 + 1e-6
    none = register_piecewise(bent.movie[:1], prepare_piecewise(template, max_deviation_px=0))
    np.testing.assert_array_equal(none.patch_shift[0], np.broadcast_to(none.rigid[0], (4, 4, 2)))


def test_corrected_frames_are_more_alike(bent: MovingField, shifts: PiecewiseShifts) -> None:
    piecewise = apply_shifts(bent.movie, shifts.patch_shift, centers=shifts.centers).frames
    rigid = apply_shifts(bent.movie, shifts.rigid).frames
    common = np.isfinite(piecewise).all(axis=0) & np.isfinite(rigid).all(axis=0)

    def agreement(frames: np.ndarray) -> float:
        shown = np.where(common, frames, np.nan)
        return float(correlation_to_template(shown, shown.mean(axis=0)).mean())

    assert agreement(piecewise) > agreement(rigid) + 0.02


def test_blocks_do_not_change_a_bit(bent: MovingField, template: np.ndarray) -> None:
    prepared = prepare_piecewise(template)
    whole = register_piecewise(bent.movie[:5], prepared)
    parts = [register_piecewise(bent.movie[i : i + 2], prepared) for i in (0, 2)]

    for field in ("rigid", "patch_shift", "peak", "patch_peak", "patch_error_px"):
        joined = np.concatenate([getattr(part, field) for part in parts])
        np.testing.assert_array_equal(joined, getattr(whole, field)[:4])


def test_a_frame_fits_itself_without_a_shift(bent: MovingField) -> None:
    found = register_piecewise(bent.movie[:1], prepare_piecewise(bent.movie[0]))

    np.testing.assert_allclose(found.patch_shift, 0, atol=1e-3)  # slopes of the template
    np.testing.assert_allclose(found.patch_peak, 1, atol=1e-5)


@pytest.mark.parametrize("shape", [(40, 40), (63, 131), (97, 71), (30, 200), (8, 8), (1, 40)])
def test_fields_of_any_size_work(shape: tuple[int, int]) -> None:
    scene = make_scene(shape=shape, n_frames=3, seed=1)
    found = register_piecewise(scene.movie, prepare_piecewise(scene.clean))

    assert found.patch_shift.shape == (3, len(found.centers.y), len(found.centers.x), 2)
    assert np.isfinite(found.patch_shift).all()
    moved = apply_shifts(scene.movie, found.patch_shift, centers=found.centers)
    assert moved.frames.shape == scene.movie.shape


def test_a_shift_larger_than_a_cell_is_found() -> None:
    scene = make_scene(shape=(128, 128), displacement_px=np.array([[14.0, -13.0]]))
    prepared = prepare_piecewise(scene.clean, grid_px=12, overlap_px=6)
    found = register_piecewise(scene.movie, prepared)
    middle = found.patch_shift[0, 3:-3, 3:-3]

    # Content that left the field tells nothing: only the middle is exact.
    np.testing.assert_allclose(middle.mean(axis=(0, 1)), [-14, 13], atol=0.3)


def test_missing_pixels_have_no_weight(bent: MovingField, template: np.ndarray) -> None:
    frames = bent.movie[:6].astype(np.float32)
    prepared = prepare_piecewise(template)
    expected = register_piecewise(frames, prepared).patch_shift
    frames[:, :14] = np.nan
    frames[:, 100:116, 50:80] = np.nan
    found = register_piecewise(frames, prepared).patch_shift

    # A fifteenth of the pixels is gone, a third of some border patches.
    assert np.abs(found - expected)[:, 1:].max() < 0.3
    assert np.abs(found - expected).max() < 0.8


def test_bad_pixels_do_not_hold_the_sample_still(bent: MovingField, template: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    bad = rng.random((SIDE, SIDE)) < 0.01
    frames = bent.movie[:6].astype(np.float32)
    frames[:, bad] += 3000
    dirty = np.where(bad, template + 3000, template)
    expected = register_piecewise(bent.movie[:6], prepare_piecewise(template)).patch_shift
    held = register_piecewise(frames, prepare_piecewise(dirty)).patch_shift
    found = register_piecewise(frames, prepare_piecewise(dirty, bad_pixels=bad)).patch_shift

    assert np.abs(found - expected).mean() < 0.05
    assert np.abs(held - expected).mean() > 10 * np.abs(found - expected).mean()


def test_a_hot_column_does_not_hold_patches_still() -> None:
    scene = make_scene(shape=(128, 128), n_frames=16)
    frames = scene.movie.clip(0).astype(np.float32)
    frames[:, :, 60] += 4000
    bad = find_bad_pixels(frames)
    prepared = prepare_piecewise(
        make_template(frames, bad_pixels=bad), grid_px=32, overlap_px=16, bad_pixels=bad
    )
    found = register_piecewise(frames, prepared)
    mean = found.patch_shift.mean(axis=(1, 2))

    assert rms_scene_px(mean, scene.displacement_px) < 0.08  # 0.05 without the column
    assert np.abs(found.patch_shift - found.rigid[:, np.newaxis, np.newaxis]).max() < 0.5


def test_a_shift_beyond_the_window_is_flagged() -> None:
    scene = make_scene(shape=(96, 96), displacement_px=np.array([[0.0, 0], [9, 0], [0, 10.5]]))
    found = register_piecewise(
        scene.movie, prepare_piecewise(scene.clean - 300, grid_px=48, max_shift_px=10)
    )
    np.testing.assert_array_equal(found.confident, [True, True, False])
    np.testing.assert_array_equal(found.at_edge, [False, False, True])


@pytest.mark.parametrize("n_frames", [1, 2])
def test_movies_of_one_and_two_frames_work(bent: MovingField, n_frames: int) -> None:
    frames = bent.movie[:n_frames]
    found = register_piecewise(frames, prepare_piecewise(make_template(frames)))

    # A single frame is its own template; two are each half of it.
    assert np.abs(found.patch_shift).max() < (1e-3 if n_frames == 1 else 3)
    assert found.registered.all()


def test_frames_without_content_are_flagged(bent: MovingField, template: np.ndarray) -> None:
    frames = bent.movie[:3].astype(np.float32)
    frames[0] = 7
    frames[2] = np.nan
    found = register_piecewise(frames, prepare_piecewise(template))

    np.testing.assert_array_equal(found.registered, [False, True, False])
    np.testing.assert_array_equal(found.confident, [False, True, False])
    np.testing.assert_array_equal(found.patch_shift[[0, 2]], 0)
    assert np.isinf(found.patch_error_px[[0, 2]]).all()


def test_noise_is_not_trusted(template: np.ndarray) -> None:
    noise = np.random.default_rng(0).poisson(3, (4, SIDE, SIDE))
    found = register_piecewise(noise, prepare_piecewise(template))

    assert found.registered.all()
    assert not found.confident.any()


def test_no_frames_give_no_shifts(template: np.ndarray) -> None:
    found = register_piecewise(np.zeros((0, SIDE, SIDE)), prepare_piecewise(template))
    assert found.patch_shift.shape == (0, 4, 4, 2)


def test_nonsense_is_refused(template: np.ndarray) -> None:
    with pytest.raises(ValueError, match="max_deviation_px"):
        prepare_piecewise(template, max_deviation_px=-1)
    with pytest.raises(ValueError, match="nothing to register to"):
        prepare_piecewise(np.ones((32, 32)))
    with pytest.raises(ValueError, match="do not fit the template"):
        register_piecewise(np.zeros((2, 16, 16)), prepare_piecewise(template))
