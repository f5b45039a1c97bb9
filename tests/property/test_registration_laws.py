"""Laws of shifting, estimating and ordering."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clgkit.registration import (
    Centers,
    apply_shifts,
    assign_in_order,
    choose_frames,
    difference_of_gaussians,
    estimate_rigid,
    prepare_piecewise,
    register_piecewise,
    shift_frames,
    valid_mask,
    warp_labels,
)
from clgkit.registration.patches import plan_patches
from tests.unit.registration_scene import make_field, move

few = settings(deadline=None, max_examples=25)
shifts_px = st.tuples(*2 * [st.floats(-6, 6, allow_nan=False, width=32)])
FIELD, _ = make_field((80, 81), np.random.default_rng(0))
FRAME = move(FIELD, (0, 0))


@few
@given(shift=shifts_px)
def test_a_shifted_frame_gets_the_opposite_shift(shift: tuple[float, float]) -> None:
    found = estimate_rigid(move(FIELD, shift)[np.newaxis], FRAME).shift_px[0]

    # 0.02 px steps, and content that enters at the edges.
    np.testing.assert_allclose(found, -np.array(shift), atol=0.2)


@few
@given(whole=st.tuples(*2 * [st.integers(-5, 5)]))
def test_patches_of_a_shifted_frame_get_the_opposite_shift(whole: tuple[int, int]) -> None:
    frames = move(FIELD, whole)[np.newaxis]
    found = register_piecewise(frames, prepare_piecewise(FRAME, grid_px=32, overlap_px=16))

    # Content that enters at the edges; patches of 48 px.
    np.testing.assert_allclose(found.patch_shift[0], np.tile(-np.array(whole), (3, 3, 1)), atol=0.3)


@few
@given(shift=shifts_px, seed=st.integers(0, 99))
def test_saved_shifts_give_the_same_again(shift: tuple[float, float], seed: int) -> None:
    grid = plan_patches(FRAME.shape, grid_px=32, overlap_px=16)
    bent = np.random.default_rng(seed).normal(0, 0.5, (2, *grid.shape, 2)) + shift
    centers = Centers(grid.y.centers_px, grid.x.centers_px)
    frames = np.stack([FRAME, 2 * FRAME]).astype(np.float32)
    both = apply_shifts(frames, bent, centers=centers)
    second = apply_shifts(frames[1:], bent[1:].astype(np.float32), centers=centers)

    np.testing.assert_array_equal(np.isfinite(both.frames), both.valid)
    # Shifts are stored in single precision: 1e-6 px of 10 px, times the slope.
    common = both.valid[1] & second.valid[0]
    np.testing.assert_allclose(second.frames[0][common], both.frames[1][common], atol=2e-5)
    assert (both.valid[1] != second.valid[0]).mean() < 0.01  # a kernel that just touches the edge


@few
@given(whole=st.tuples(*2 * [st.integers(-9, 9)]))
def test_whole_shifts_only_move(whole: tuple[int, int]) -> None:
    shift = np.array([whole], dtype=float)
    moved = shift_frames(FRAME[np.newaxis], shift)[0]
    rolled = np.roll(FRAME.astype(np.float32), whole, axis=(0, 1))

    np.testing.assert_array_equal(
        moved, np.where(valid_mask(shift[0], FRAME.shape), rolled, np.nan)
    )


@few
@given(
    shift=st.tuples(*2 * [st.floats(-40, 40, width=32)]),
    ny=st.integers(1, 12),
    nx=st.integers(1, 12),
)
def test_the_mask_tells_what_is_filled(shift: tuple[float, float], ny: int, nx: int) -> None:
    moved = shift_frames(np.full((1, ny, nx), 7.0), np.array([shift]))[0]
    mask = valid_mask(np.array(shift), (ny, nx))

    np.testing.assert_array_equal(np.isfinite(moved), mask)
    np.testing.assert_allclose(moved[mask], 7, rtol=3e-7)  # weights sum to 1 in float32


@few
@given(shift=shifts_px)
def test_there_and_back_is_where_it_was(shift: tuple[float, float]) -> None:
    there = shift_frames(FRAME[np.newaxis], np.array([shift]))
    back = shift_frames(there, -np.array([shift]))[0]
    valid = np.isfinite(back)

    # Twice the interpolation error of half a percent.
    assert np.std((back - FRAME)[valid]) < 0.012 * FRAME.std()


@few
@given(value=st.floats(0.1, 1e4), offset=st.floats(-1e3, 1e3))
def test_filter_is_linear_and_blind_to_offsets(value: float, offset: float) -> None:
    plain = difference_of_gaussians(FRAME)
    scaled = difference_of_gaussians(FRAME * value + offset)

    tolerance = 1e-5 * value + 1e-6 * abs(offset)  # float32 of the scaled and raised image
    np.testing.assert_allclose(scaled, plain * value, atol=tolerance)


@few
@given(n_frames=st.integers(1, 3000), n=st.integers(1, 500))
def test_chosen_frames_rise_within_the_movie(n_frames: int, n: int) -> None:
    chosen = choose_frames(n_frames, n=n)

    assert len(chosen) == min(n, n_frames)
    assert (np.diff(chosen) > 0).all()
    assert 0 <= chosen[0] <= chosen[-1] < n_frames
    assert chosen[0] + chosen[-1] == pytest.approx(n_frames - 1, abs=1)


@few
@given(seed=st.integers(0, 999), shift=shifts_px)
def test_no_label_is_invented(seed: int, shift: tuple[float, float]) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2**32, (11, 9), dtype=np.uint32)
    matrix = np.column_stack([np.eye(2) + rng.normal(0, 0.2, (2, 2)), shift])

    assert np.isin(warp_labels(labels, matrix), np.append(labels, np.uint32(0))).all()


@few
@given(
    seed=st.integers(0, 999),
    n_planes=st.integers(1, 4),
    extra=st.integers(0, 3),
    known=st.booleans(),
)
def test_order_is_the_best_of_all(seed: int, n_planes: int, extra: int, known: bool) -> None:  # noqa: FBT001  (hypothesis passes by name)
    scores = np.random.default_rng(seed).normal(size=(n_planes, n_planes + extra))
    step = 1.5 if known else None

    def total(path: tuple[int, ...]) -> float:
        gain = scores[np.arange(n_planes), path].sum()
        return gain - (np.abs(np.diff(path) - step).sum() if step else 0)

    paths = list(itertools.combinations(range(n_planes + extra), n_planes))
    found = assign_in_order(scores, step=step)
    best = max(paths, key=total)

    assert tuple(found.slice_index) == best
    for p in range(n_planes):
        for z in range(n_planes + extra):
            rivals = [total(path) for path in paths if path[p] == z]
            assert found.through[p, z] == pytest.approx(max(rivals, default=-np.inf))
