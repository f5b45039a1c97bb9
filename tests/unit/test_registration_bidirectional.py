"""Rows scanned there and back."""

from __future__ import annotations

import numpy as np
import pytest

from clgkit.registration import (
    apply_shifts,
    estimate_line_offset,
    make_template,
    prepare_piecewise,
    prepare_rigid,
    register_piecewise,
    register_rigid,
)
from clgkit.registration.bidirectional import undo_line_offset
from tests.unit.registration_scene import MARGIN, make_field, make_motion, move


def scan(offset_px: float, *, photons: float = 20, seed: int = 0) -> np.ndarray:
    """Return 20 frames whose odd rows lie to the right."""
    rng = np.random.default_rng(seed)
    field, _ = make_field((128, 140), rng)
    frames = []
    for displacement in make_motion(20, rng):
        even = move(field, displacement)
        odd = move(field, displacement + np.array([0, offset_px]))
        even[1::2] = odd[1::2]
        frames.append(rng.poisson(photons * even.clip(0)))
    return np.array(frames, np.uint16)


@pytest.mark.parametrize("offset_px", [-2.0, -0.6, 0.35, 1.0, 3.4])
def test_the_offset_is_found_to_a_tenth_of_a_pixel(offset_px: float) -> None:
    found = estimate_line_offset(scan(offset_px))

    assert found.sure
    assert found.offset_px == pytest.approx(offset_px, abs=0.1)
    assert found.offset_px == found.measured_px
    assert len(found.samples_px) == 20


@pytest.mark.parametrize("width", [64, 90, 128, 240, 512])
def test_short_rows_do_not_pull_it_to_zero(width: int) -> None:
    ratios = []
    for seed in range(4):
        field, _ = make_field((64, width), np.random.default_rng(seed))
        for offset_px in (-3.0, 3.0):
            frame = move(field, (0, 0))
            frame[1::2] = move(field, (0, offset_px))[1::2]
            ratios.append(estimate_line_offset(frame[np.newaxis]).measured_px / offset_px)

    # Steps of 0.01 px and what mirrored ends do to the filter: 0.8 % at 64 px, 0.02 at 240.
    assert np.mean(ratios) == pytest.approx(1, abs=0.012 if width < 128 else 0.005)


@pytest.mark.parametrize("level", [0.1, 1 / 3, 1e6 / 3])
def test_a_constant_shows_none_whatever_its_rounding(level: float) -> None:
    assert not len(estimate_line_offset(np.full((3, 40, 50), level)).samples_px)


def test_it_is_found_in_dim_frames() -> None:
    assert estimate_line_offset(scan(1.2, photons=1)).offset_px == pytest.approx(1.2, abs=0.1)


@pytest.mark.parametrize("photons", [20, 1])
def test_none_is_found_where_there_is_none(photons: float) -> None:
    found = estimate_line_offset(scan(0, photons=photons))

    assert found.offset_px == 0
    assert abs(found.measured_px) < 0.1


def test_motion_is_found_behind_an_offset() -> None:
    frames = scan(2.0)
    offset_px = estimate_line_offset(frames).offset_px
    template = make_template(frames, line_offset_px=offset_px)
    rigid = register_rigid(frames, prepare_rigid(template), line_offset_px=offset_px)
    bent = register_piecewise(frames, prepare_piecewise(template), line_offset_px=offset_px)
    clean = scan(0)
    expected = register_rigid(clean, prepare_rigid(make_template(clean))).shift_px

    for found in (rigid.shift_px, bent.rigid):
        difference = found - expected
        # Two errors of 0.05 px at 8.8 photons per pixel, and the template's own place.
        assert (difference - difference.mean(axis=0)).std() < 0.1
    moved = apply_shifts(frames, rigid.shift_px, line_offset_px=offset_px).frames
    rows = np.nanmean(moved[:, 8:-8, 8:-8], axis=0)
    assert abs(estimate_line_offset(rows[np.newaxis]).measured_px) < 0.1


def test_noise_is_unsure() -> None:
    noise = np.random.default_rng(0).poisson(5, (20, 64, 64))
    found = estimate_line_offset(noise)

    assert not found.sure
    assert found.offset_px == 0
    assert found.spread_px > 0.25


def test_an_offset_beyond_the_range_is_unsure() -> None:
    assert estimate_line_offset(scan(4), max_offset_px=2).offset_px == 0


def test_undoing_gives_the_field_back() -> None:
    rng = np.random.default_rng(0)
    field, _ = make_field((96, 96), rng)
    still, moved = move(field, (0, 0)), move(field, (0, 1.6))
    scanned = still.copy()
    scanned[1::2] = moved[1::2]
    undone = undo_line_offset(scanned, 1.6)

    np.testing.assert_array_equal(undone[::2], still[::2].astype(np.float32))
    inner = (slice(None), slice(4, -4))
    assert np.std((undone - still)[inner]) < 0.01 * still.std()  # interpolation along x
    assert undone.min() > still.min() - 0.1 * still.std()  # the range of values stays
    assert undone.shape == tuple(n - 2 * MARGIN for n in field.shape)


@pytest.mark.parametrize("shape", [(1, 2, 9), (1, 9, 3), (1, 3, 40), (2, 64, 64)])
def test_little_is_unsure_but_no_error(shape: tuple[int, ...]) -> None:
    found = estimate_line_offset(np.full(shape, 3.0))

    assert not found.sure
    assert found.offset_px == 0


def test_missing_pixels_are_left_out() -> None:
    frames = scan(1.5).astype(np.float32)
    frames[:, 10:14] = np.nan
    frames[0] = np.nan
    assert estimate_line_offset(frames).offset_px == pytest.approx(1.5, abs=0.1)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="expected frames"):
        estimate_line_offset(np.zeros((4, 4)))
    with pytest.raises(ValueError, match="must be positive"):
        estimate_line_offset(np.zeros((1, 4, 4)), max_offset_px=0)
