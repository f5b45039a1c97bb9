"""Laws of the motion stages: what a change of the movie must do to shifts, images and numbers."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from clgkit.stages.apply_motion import apply_motion
from clgkit.stages.correct_motion import MotionCorrected
from tests.unit.motion_scene import SERIAL, corrected, movie_of, moving, volume_of

FEW = settings(max_examples=4)
FRAMES = 12
MODES: dict[str, dict[str, Any]] = {
    "fixed": {},
    "rigid": {"method": "rigid"},
    "running": {"template": "running", "bin_frames": 5},
    "normcorre": {"compat": "normcorre", "bin_frames": 5, "max_shift_px": 6},
}
EVERY_MODE = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)


def pixels() -> npt.NDArray[np.float32]:
    return np.array(moving(FRAMES).movie.values, dtype=np.float32)


def reference() -> npt.NDArray[np.float32]:
    """The frame that did not move."""
    return np.array(moving(FRAMES).movie.values[0], dtype=np.float32)


def laid(frames: npt.NDArray[Any], on: npt.NDArray[Any] | None = None, **how: Any) -> Any:
    made, _ = corrected(movie_of(frames), None if on is None else volume_of(on), **how)
    return made


def assert_equal(ours: MotionCorrected, wanted: MotionCorrected, *names: str) -> None:
    for name in names:
        np.testing.assert_array_equal(getattr(ours, name), getattr(wanted, name), name)


@EVERY_MODE
def test_planes_do_not_know_of_each_other(mode: dict[str, Any]) -> None:
    whole = laid(pixels(), line_offset="none", **mode)
    turned = laid(pixels()[:, ::-1], line_offset="none", **mode)

    for name in ("corrected", "shifts", "patch_shifts", "agreement", "bad_frames", "outliers"):
        ours, wanted = getattr(turned, name).values, getattr(whole, name).values
        np.testing.assert_array_equal(ours[:, ::-1], wanted, name)
    for name in ("template", "bad_pixels", "quality", "residual_flow"):
        ours, wanted = getattr(turned, name).values, getattr(whole, name).values
        np.testing.assert_array_equal(ours[::-1], wanted, name)


@FEW
@given(order=st.permutations(range(FRAMES)))
def test_frames_laid_on_a_reference_do_not_know_of_each_other(order: list[int]) -> None:
    how = {"line_offset": "none", "bad_pixels": "none"}
    wanted = laid(pixels(), reference(), **how)
    ours = laid(pixels()[order], reference(), **how)

    for name in ("corrected", "shifts", "patch_shifts", "agreement", "outliers"):
        np.testing.assert_array_equal(
            getattr(ours, name).values, getattr(wanted, name).values[order], name
        )


@EVERY_MODE
def test_brightness_changes_no_shift(mode: dict[str, Any]) -> None:
    # By powers of two, and an offset that keeps float32 whole: nothing is rounded.
    wanted = laid(pixels(), **mode)
    ours = laid(4 * pixels() + 1024, **mode)

    assert_equal(ours, wanted, "bad_frames", "outliers", "bad_pixels")
    # Pixels: the filters round the larger numbers in another place.
    np.testing.assert_allclose(ours.shifts, wanted.shifts, atol=0.021)
    np.testing.assert_allclose(ours.agreement, wanted.agreement, atol=2e-3)
    seen = np.isfinite(wanted.corrected.values)
    np.testing.assert_array_equal(np.isfinite(ours.corrected.values), seen)
    still = (np.abs(ours.patch_shifts - wanted.patch_shifts) < 1e-6).all()
    if bool(still):
        np.testing.assert_allclose(
            ours.corrected.values[seen], 4 * wanted.corrected.values[seen] + 1024, rtol=1e-5
        )


@pytest.mark.parametrize("axis", [2, 3], ids=["rows", "columns"])
@pytest.mark.parametrize("method", ["rigid", "piecewise"])
def test_a_mirrored_movie_moves_the_other_way(axis: int, method: str) -> None:
    how = {"line_offset": "none", "method": method}
    wanted = laid(pixels(), reference(), **how)
    ours = laid(np.flip(pixels(), axis), np.flip(reference(), axis - 1), **how)

    sign = np.where(np.arange(2) == axis - 2, -1, 1)
    # Pixels: shifts are found to 1 / 50, each way of rounding.
    np.testing.assert_allclose(ours.shifts, wanted.shifts * sign, atol=0.041)
    np.testing.assert_array_equal(ours.outliers, wanted.outliers)


def test_a_turned_movie_has_its_axes_changed() -> None:
    wanted = laid(pixels(), reference(), line_offset="none")
    ours = laid(pixels().swapaxes(2, 3), reference().swapaxes(1, 2), line_offset="none")

    # Pixels: shifts are found to 1 / 50.
    np.testing.assert_allclose(ours.shifts, wanted.shifts.values[..., ::-1], atol=0.021)


@FEW
@given(y=st.integers(-4, 4), x=st.integers(-4, 4))
def test_a_displaced_reference_displaces_every_frame_alike(y: int, x: int) -> None:
    still = laid(pixels(), reference(), method="rigid")
    moved = laid(pixels(), np.roll(reference(), (y, x), axis=(1, 2)), method="rigid")

    # Pixels: the rows that were rolled in hold other cells.
    np.testing.assert_allclose(moved.shifts - still.shifts, np.full((12, 2, 2), [y, x]), atol=0.2)


@EVERY_MODE
def test_doubled_frames_move_alike(mode: dict[str, Any]) -> None:
    twice = np.repeat(pixels(), 2, axis=0)

    made = laid(twice, reference(), line_offset="none", **mode)

    assert_pairs(made.shifts)
    assert_pairs(made.patch_shifts)
    assert_pairs(made.corrected)


def assert_pairs(array: xr.DataArray) -> None:
    np.testing.assert_array_equal(array.values[::2], array.values[1::2])


@pytest.mark.parametrize("method", ["rigid", "piecewise"])
def test_a_corrected_movie_has_little_left_to_correct(method: str) -> None:
    first = laid(pixels(), reference(), method=method)
    again = laid(first.corrected.values, reference(), method=method)

    # Pixels: noise moves the second search a little.
    assert float(np.abs(again.shifts).max()) < 0.2
    # An image may be smoothed once more, but what was seen is still seen.
    assert float((again.agreement - first.agreement).min()) > -0.02


@EVERY_MODE
def test_stored_shifts_undo_the_motion_of_any_mode_to_the_bit(mode: dict[str, Any]) -> None:
    made = laid(pixels(), **mode)

    again = apply_motion(
        movie_of(pixels()), made.patch_shifts, made.summary, made.bad_frames, workspace=SERIAL
    )

    np.testing.assert_array_equal(again.corrected, made.corrected)


@FEW
@given(gain=st.sampled_from([0.5, 2.0, 16.0]), seed=st.integers(0, 3))
def test_moving_is_linear(gain: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (4, 1, 16, 17)
    first, second = rng.normal(0, 1, (2, *shape)).astype(np.float32)
    shifts = xr.DataArray(
        rng.uniform(-2, 2, (4, 1, 1, 1, 2)).astype(np.float32),
        dims=("time", "z", "patch_y", "patch_x", "axis"),
        coords={"patch_y": [7.5], "patch_x": [8.0]},
    )

    def moved(frames: npt.NDArray[Any]) -> npt.NDArray[Any]:
        none = xr.DataArray(np.zeros((4, 1), np.uint8), dims=("time", "z"))
        plain = {"line_offset_px": 0.5}
        return apply_motion(
            movie_of(frames), shifts, plain, none, workspace=SERIAL
        ).corrected.values

    # Sums of 16 products, rounded to float32.
    np.testing.assert_allclose(
        moved(first + gain * second), moved(first) + gain * moved(second), atol=1e-5 * gain + 1e-5
    )
