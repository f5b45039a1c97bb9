"""Motion correction on a device gives what it gives on the CPU; here the device is the CPU."""

from __future__ import annotations

import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest

from benchmarks._moving_field import make_movie
from clgkit.registration import (
    PreparedPiecewise,
    apply_shifts,
    make_template,
    prepare_piecewise,
    prepare_rigid,
    register_piecewise,
    register_rigid,
)
from tests.unit.registration_scene import make_scene

torch = pytest.importorskip("torch", reason="the extra clgkit[deep] is not installed")

DEVICE = "cpu:0"  # the CPU as a device of torch; plain "cpu" means without torch
STEP_PX = 0.02
SIDE, N_FRAMES = 128, 8
# Single precision sums in another order: 1e-6 px is left of it, where no step is at stake.
SHIFT_TOLERANCE_PX = 1e-4
# Correlations are sums of 1e4 products of single precision.
PEAK_TOLERANCE = 1e-5
VALUE_TOLERANCE = 1e-5  # of the range: sums of 16 products of single precision


class Case(NamedTuple):
    movie: np.ndarray
    prepared: PreparedPiecewise
    line_offset_px: float


def scene(name: str) -> Case:
    photons = 2 if name == "dim" else 20
    made = make_movie(side=SIDE, n_frames=N_FRAMES, photons=photons, rigid=name == "rigid", seed=3)
    movie = made.movie
    template = make_template(movie)
    options: dict = {"grid_px": 32, "overlap_px": 16}
    offset = 0.0
    if name == "missing":
        movie = movie.astype(np.float32)
        movie[:, :9] = np.nan
        movie[2, 40:60, 20:50] = np.inf
        movie[4] = 7
        movie[5] = np.nan
    if name == "bad pixels":
        options["bad_pixels"] = np.random.default_rng(0).random((SIDE, SIDE)) < 0.01
    if name == "line offset":
        offset = 1.37
    if name == "uneven":
        movie, template = movie[:, :121, :119], template[:121, :119]
    return Case(movie, prepare_piecewise(template, **options), offset)


NAMES = ["bent", "rigid", "dim", "missing", "bad pixels", "line offset", "uneven"]


@pytest.fixture(scope="module", params=NAMES)
def case(request: pytest.FixtureRequest) -> Case:
    return scene(request.param)


def expect_close(found: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, atol=tolerance, rtol=0)


def test_rigid_shifts_are_those_of_the_cpu(case: Case) -> None:
    template, offset = case.prepared.rigid, case.line_offset_px
    expected = register_rigid(case.movie, template, line_offset_px=offset)
    found = register_rigid(case.movie, template, line_offset_px=offset, device=DEVICE)

    difference = np.abs(found.shift_px - expected.shift_px)
    # Three of a thousand maxima lie so midway between two steps that rounding decides.
    assert difference.max() < 1.01 * STEP_PX
    assert (difference > SHIFT_TOLERANCE_PX).sum() <= 1
    expect_close(found.peak, expected.peak, PEAK_TOLERANCE)
    expect_close(found.second_peak, expected.second_peak, PEAK_TOLERANCE)
    for name in ("registered", "confident", "at_edge"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_patches_move_as_on_the_cpu(case: Case) -> None:
    offset = case.line_offset_px
    expected = register_piecewise(case.movie, case.prepared, line_offset_px=offset)
    found = register_piecewise(case.movie, case.prepared, line_offset_px=offset, device=DEVICE)

    alike = (np.abs(found.rigid - expected.rigid) < SHIFT_TOLERANCE_PX).all(axis=1)
    assert alike.sum() >= N_FRAMES - 1  # see above
    for name in ("patch_shift", "patch_error_px", "patch_residual_px"):
        ours, theirs = getattr(found, name)[alike], getattr(expected, name)[alike]
        expect_close(ours, theirs, SHIFT_TOLERANCE_PX)
    expect_close(found.patch_peak[alike], expected.patch_peak[alike], PEAK_TOLERANCE)
    for name in ("registered", "confident", "at_edge"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_corrected_pixels_are_those_of_the_cpu(case: Case) -> None:
    shifts = register_piecewise(case.movie, case.prepared)
    span = np.ptp(case.movie[np.isfinite(case.movie)])
    for shift_px, centers in ((shifts.rigid, None), (shifts.patch_shift, shifts.centers)):
        options = {"centers": centers, "line_offset_px": case.line_offset_px}
        expected = apply_shifts(case.movie, shift_px, **options)
        found = apply_shifts(case.movie, shift_px, device=DEVICE, **options)

        np.testing.assert_array_equal(found.valid, expected.valid)
        inside = np.isfinite(expected.frames)
        np.testing.assert_array_equal(np.isfinite(found.frames), inside)
        expect_close(found.frames[inside], expected.frames[inside], VALUE_TOLERANCE * span)


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float64])
def test_corrected_movies_are_of_the_dtype_asked_for(dtype: type) -> None:
    case = scene("bent")
    shifts = register_piecewise(case.movie, case.prepared)
    options = {"centers": shifts.centers, "dtype": dtype}
    expected = apply_shifts(case.movie, shifts.patch_shift, **options)
    found = apply_shifts(case.movie, shifts.patch_shift, device=DEVICE, **options)

    # Integers: halves may be rounded to the other side.
    tolerance = VALUE_TOLERANCE * np.ptp(case.movie) if dtype is np.float64 else 1
    np.testing.assert_array_equal(found.valid, expected.valid)
    difference = found.frames.astype(float) - expected.frames
    assert np.nanmax(np.abs(difference)) <= tolerance
    assert np.nanmean(difference != 0) < 0.01 or dtype is np.float64


def test_frames_that_did_not_move_come_back_bit_by_bit() -> None:
    frames = np.random.default_rng(0).integers(0, 2**31, (2, 20, 30))
    made = apply_shifts(frames, np.array([[0, 0], [1, 0]]), dtype=np.int64, device=DEVICE)

    np.testing.assert_array_equal(made.frames[0], frames[0])
    assert made.valid[0].all()


def test_whole_shifts_are_copies_and_spare_what_lies_beside_a_missing_pixel() -> None:
    frames = np.random.default_rng(0).normal(size=(1, 20, 30)).astype(np.float32)
    frames[0, 5, 7] = np.nan
    made = apply_shifts(frames, np.array([[2.0, -3.0]]), device=DEVICE)

    np.testing.assert_array_equal(made.frames[0, 2:, :-3], frames[0, :-2, 3:])
    assert (~made.valid).sum() == 20 * 30 - 18 * 27 + 1


@pytest.mark.parametrize("shape", [(40, 40), (30, 97), (8, 8), (2, 40), (1, 40)])
def test_fields_of_any_size_work(shape: tuple[int, int]) -> None:
    made = make_scene(shape=shape, n_frames=3, seed=1)
    prepared = prepare_piecewise(made.clean)
    expected = register_piecewise(made.movie, prepared)
    found = register_piecewise(made.movie, prepared, device=DEVICE)

    # On a few pixels the gain of a step is ill-conditioned.
    expect_close(found.patch_shift, expected.patch_shift, 1e-3)
    np.testing.assert_array_equal(found.confident, expected.confident)


def test_a_shift_beyond_the_window_is_flagged() -> None:
    made = make_scene(shape=(96, 96), displacement_px=np.array([[0.0, 0.0], [7.0, 0.0]]))
    template = prepare_rigid(made.clean, max_shift_px=4)
    found = register_rigid(made.movie, template, device=DEVICE)

    np.testing.assert_array_equal(found.at_edge, [False, True])
    np.testing.assert_array_equal(found.confident, [True, False])


def test_a_bright_or_dim_frame_gets_the_shifts_of_the_cpu() -> None:
    case = scene("missing")
    for factor in (0.01, 300):
        movie = case.movie * np.float32(factor)
        expected = register_piecewise(movie, case.prepared).patch_shift
        found = register_piecewise(movie, case.prepared, device=DEVICE).patch_shift
        expect_close(found, expected, SHIFT_TOLERANCE_PX)


def test_no_frames_give_no_shifts() -> None:
    case = scene("bent")
    found = register_piecewise(case.movie[:0], case.prepared, device=DEVICE)

    assert found.patch_shift.shape == (0, *case.prepared.patches.grid.shape, 2)
    moved = apply_shifts(case.movie[:0], found.patch_shift, centers=found.centers, device=DEVICE)
    assert moved.frames.shape == (0, SIDE, SIDE)


def test_blocks_of_any_size_give_the_same_shifts(monkeypatch: pytest.MonkeyPatch) -> None:
    case = scene("missing")
    whole = register_piecewise(case.movie, case.prepared, device=DEVICE)
    monkeypatch.setattr("clgkit.registration.accelerated.BATCH_PIXELS", 3 * SIDE**2)
    parts = register_piecewise(case.movie, case.prepared, device=DEVICE)

    # Products with matrices sum in an order that depends on their size.
    expect_close(parts.patch_shift, whole.patch_shift, SHIFT_TOLERANCE_PX)
    np.testing.assert_array_equal(parts.registered, whole.registered)


def test_nonsense_is_refused_before_torch_is_loaded() -> None:
    case = scene("bent")
    with pytest.raises(ValueError, match="do not fit the template"):
        register_rigid(case.movie[:, 1:], case.prepared.rigid, device=DEVICE)
    with pytest.raises(ValueError, match="do not fit"):
        apply_shifts(case.movie, np.zeros((1, 2)), device=DEVICE)


def test_torch_is_loaded_for_a_device_only_and_missed_in_one_sentence() -> None:
    code = """
import sys
import numpy as np
from clgkit.registration import apply_shifts
frames, shifts = np.ones((1, 8, 8), np.float32), np.ones((1, 2))
apply_shifts(frames, shifts)
assert "torch" not in sys.modules
sys.modules["torch"] = None
try:
    apply_shifts(frames, shifts, device="cuda")
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "pip install clgkit[deep]" in done.stdout
