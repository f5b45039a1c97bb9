from __future__ import annotations

import numpy as np
import pytest

from clgkit.simulate import Fish, preset
from clgkit.simulate.motion import Pose, cosines, displacement, make_motion, warp


def _pose(shift: tuple[float, float], modes: np.ndarray | None = None) -> Pose:
    return Pose(np.array(shift), np.zeros((2, 4, 4)) if modes is None else modes, 0.0)


def test_the_shift_is_minus_the_mean_of_the_field() -> None:
    fish = Fish(preset("tiny", nonrigid_px=1.0))
    for plane, t in ((0, 0), (2, 17)):
        mean = fish.field(plane, t).mean(axis=(0, 1))
        np.testing.assert_allclose(mean, -fish.shifts_px[t, plane], atol=1e-6)  # float32


def test_bending_has_the_wanted_size() -> None:
    motion = make_motion(preset("tiny", n_frames=600, nonrigid_px=0.5))
    bends = []
    for t in range(0, 600, 10):
        d = displacement(motion, 1, t, (32, 48))
        bends.append(((d - d.mean(axis=(0, 1))) ** 2).sum(axis=-1).mean())

    # 60 frames of 18 amplitudes, the first ones dominate: about 5 % of scatter.
    assert np.sqrt(np.mean(bends)) == pytest.approx(0.5, rel=0.15)


def test_planes_move_together_but_for_their_own_jitter() -> None:
    motion = make_motion(preset("tiny", n_frames=3_000, plane_jitter_px=0.1))
    apart = motion.rigid[:, 0] - motion.rigid[:, 1]

    # Two planes: the square root of two; 3,000 frames that remember one another: 3 %.
    assert apart.std() == pytest.approx(0.1 * np.sqrt(2), rel=0.1)
    assert motion.rigid.std() > 0.5


def test_whole_pixel_motion_moves_pixels_exactly() -> None:
    canvas = np.random.default_rng(0).random((20, 24)).astype(np.float32)
    out = np.empty((10, 12), dtype=np.float32)

    warp(canvas, _pose((3.0, 5.0)), cosines(10), cosines(12), out)

    np.testing.assert_array_equal(out, canvas[3:13, 5:17])


def test_warping_a_smooth_scene_agrees_with_the_formula() -> None:
    def scene(y: np.ndarray, x: np.ndarray) -> np.ndarray:
        return np.sin(y / 3.0) + np.cos(x / 4.0)

    modes = np.zeros((2, 4, 4))
    modes[0, 1, 0], modes[1, 0, 2] = 0.7, -0.4
    grid = np.indices((40, 44)).astype(float)
    canvas = scene(grid[0], grid[1]).astype(np.float32)
    out = np.empty((20, 24), dtype=np.float32)

    warp(canvas, _pose((9.3, 8.6), modes), cosines(20), cosines(24), out)

    i, j = np.indices((20, 24)).astype(float)
    y = i + 9.3 - 0.7 * cosines(20)[1][:, None]
    x = j + 8.6 + 0.4 * cosines(24)[2][None, :]
    # Cubic interpolation of waves of 19 and 25 px errs by less than a thousandth.
    np.testing.assert_allclose(out, scene(y, x), atol=2e-3)


def test_places_beyond_the_canvas_take_its_edge() -> None:
    canvas = np.full((8, 8), 3.0, dtype=np.float32)
    out = np.empty((8, 8), dtype=np.float32)

    warp(canvas, _pose((-40.0, 50.0)), cosines(8), cosines(8), out)

    np.testing.assert_allclose(out, 3.0, rtol=1e-6)  # float32


def test_drift_and_bursts_stay_within_their_limits() -> None:
    quiet = {"jitter_px": 0.0, "plane_jitter_px": 0.0}
    drift = make_motion(preset("tiny", n_frames=300, n_bursts=0, drift_px=3.0, **quiet))
    burst = make_motion(preset("tiny", n_frames=300, n_bursts=1, drift_px=0.0, **quiet))

    assert np.abs(drift.rigid).max() == pytest.approx(3.0)
    assert 0 < np.abs(burst.rigid).max() <= 3.0
    assert (np.abs(burst.rigid[:, 0]).sum(axis=1) > 0).sum() <= 5


def test_jitter_and_bending_have_the_size_of_their_settings() -> None:
    quiet = {"drift_px": 0.0, "n_bursts": 0, "plane_jitter_px": 0.1}
    motion = make_motion(preset("tiny", n_frames=3_000, jitter_px=0.6, **quiet))

    # Jitter and the part of each plane add to jitter_px; frames remember their neighbours.
    assert motion.rigid.std() == pytest.approx(0.6, rel=0.1)
    assert np.abs(motion.rigid.mean(axis=0)).max() < 0.1


def test_planes_bend_each_in_its_own_way() -> None:
    motion = make_motion(preset("tiny", n_frames=800, nonrigid_px=0.5))
    first, second = (motion.bending[:, p, 0, 1, 0] for p in (0, 1))

    # Smoothed over three frames: about 75 independent values.
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.4
    assert (motion.bending[..., 0, 0] == 0).all()
    ky, kx = np.indices((4, 4))
    assert (motion.bending[..., ky + kx > 3] == 0).all()


def test_offsets_of_planes_stay_within_their_limit_and_differ() -> None:
    offset = make_motion(preset("tiny", plane_offset_px=2.0)).offset

    assert np.abs(offset).max() <= 2.0
    assert len(np.unique(offset)) == offset.size


def test_no_motion_at_all_is_exactly_none() -> None:
    still = {"drift_px": 0.0, "jitter_px": 0.0, "plane_jitter_px": 0.0, "n_bursts": 0}
    motion = make_motion(preset("tiny", nonrigid_px=0.0, plane_offset_px=0.0, **still))

    assert not motion.rigid.any()
    assert not motion.bending.any()
    assert not motion.offset.any()


@pytest.mark.parametrize("n_frames", [1, 2, 5])
def test_recordings_shorter_than_a_twitch_are_legal(n_frames: int) -> None:
    motion = make_motion(preset("tiny", n_frames=n_frames, n_bursts=3))

    assert motion.rigid.shape == (n_frames, 3, 2)
    assert np.isfinite(motion.rigid).all()


def test_modes_have_zero_mean_over_the_field() -> None:
    for n in (16, 31):
        np.testing.assert_allclose(cosines(n)[1:].mean(axis=1), 0.0, atol=1e-12)
        np.testing.assert_array_equal(cosines(n)[0], 1.0)


def test_a_constant_scene_stays_constant_however_it_is_warped() -> None:
    modes = np.random.default_rng(2).normal(0, 0.5, (2, 4, 4))
    canvas, out = np.full((30, 30), 7.5, np.float32), np.empty((12, 12), np.float32)

    warp(canvas, Pose(np.array([8.37, 9.91]), modes, 0.7), cosines(12), cosines(12), out)

    np.testing.assert_allclose(out, 7.5, rtol=1e-6)  # the cubic weights sum to 1 in float64
