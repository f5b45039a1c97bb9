"""Laws of motion that bends: nothing depends on orientation, brightness or the other frames."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clgkit.registration import (
    Centers,
    PiecewiseShifts,
    apply_shifts,
    field_at,
    pool_frames,
    prepare_piecewise,
    register_piecewise,
    settle_shifts,
    spread_shifts,
)
from clgkit.registration.field import covariance, most_likely_field, spline_matrix
from clgkit.registration.patches import plan_patches
from tests.unit.registration_scene import make_field, move

few = settings(deadline=None, max_examples=15, derandomize=True)
SHAPE = (82, 96)
FIELD, _ = make_field(SHAPE, np.random.default_rng(3))
TEMPLATE = move(FIELD, (0, 0))
OPTIONS = {"grid_px": 32, "overlap_px": 16, "max_shift_px": 8, "max_deviation_px": 3}
PREPARED = prepare_piecewise(TEMPLATE, **OPTIONS)
STEP_PX = 0.02  # of the rigid search


def bent(seed: int) -> npt.NDArray[np.float64]:
    """Return one frame with noise, moved by a field that bends by a pixel or so."""
    rng = np.random.default_rng(seed)
    whole = move(FIELD, rng.uniform(-4, 4, 2))
    patch_shift = rng.normal(0, 0.7, (1, *PREPARED.patches.grid.shape, 2))
    frame = apply_shifts(whole[np.newaxis], patch_shift, centers=PREPARED.centers).frames[0]
    return np.where(np.isfinite(frame), frame, whole) + rng.normal(0, 0.02, SHAPE)


FRAMES = np.stack([bent(seed) for seed in range(4)])
FOUND = register_piecewise(FRAMES, PREPARED)
HOLES = np.zeros(SHAPE, dtype=np.bool_)
HOLES[:, :7] = HOLES[40:48, 30:44] = True


def test_swapping_the_axes_swaps_the_shifts() -> None:
    found = register_piecewise(
        FRAMES.swapaxes(1, 2), prepare_piecewise(TEMPLATE.T.copy(), **OPTIONS)
    )
    back = found.patch_shift.swapaxes(1, 2)[..., ::-1]

    np.testing.assert_allclose(found.rigid[:, ::-1], FOUND.rigid, atol=STEP_PX)
    # Sums run in another order, and the parabola's fraction may start elsewhere.
    np.testing.assert_allclose(back, FOUND.patch_shift, atol=STEP_PX)


def test_mirroring_mirrors_the_shifts() -> None:
    """Cells are cut from the left, so only a field of whole cells has mirrored patches."""
    frames, template, cells = FRAMES[:, :80], TEMPLATE[:80], OPTIONS | {"grid_px": 40}
    one = register_piecewise(frames, prepare_piecewise(template, **cells))
    other = register_piecewise(frames[:, ::-1], prepare_piecewise(template[::-1].copy(), **cells))
    back = np.flip(other.patch_shift, 1) * [-1, 1]

    np.testing.assert_allclose(back, one.patch_shift, atol=2 * STEP_PX)


@few
@given(gain=st.floats(-3, 4).map(lambda e: 10.0**e), level=st.floats(-20, 20), holed=st.booleans())
def test_brightness_does_not_matter(gain: float, level: float, holed: bool) -> None:  # noqa: FBT001  (hypothesis passes by name)
    frames = np.where(HOLES & holed, np.nan, FRAMES)
    plain = register_piecewise(frames, PREPARED) if holed else FOUND
    found = register_piecewise(gain * (frames + level), PREPARED)

    # The frame and what stands in where it has nothing scale alike; single precision is left.
    # Shifts of frames are whole steps, and a tie of two might fall the other way.
    np.testing.assert_allclose(found.rigid, plain.rigid, atol=1e-3)
    np.testing.assert_allclose(found.patch_shift, plain.patch_shift, atol=1e-3)
    np.testing.assert_allclose(found.patch_error_px, plain.patch_error_px, rtol=1e-3)
    np.testing.assert_array_equal(found.confident, plain.confident)


@few
@given(order=st.permutations(range(4)), n=st.integers(1, 4))
def test_a_frame_does_not_know_the_others(order: list[int], n: int) -> None:
    chosen = order[:n]
    found = register_piecewise(FRAMES[chosen], PREPARED)

    for name in set(PiecewiseShifts._fields) - {"centers"}:
        np.testing.assert_array_equal(getattr(found, name), getattr(FOUND, name)[chosen])


@few
@given(whole=st.tuples(*2 * [st.integers(-3, 3)]))
def test_moving_frame_and_template_together_changes_little(whole: tuple[int, int]) -> None:
    """Where the field lies on the sensor matters only at its borders."""
    inside = tuple(slice(8 + s, n - 8 + s) for s, n in zip(whole, (81, 97), strict=True))
    image, frame = move(FIELD, (0, 0)), move(FIELD, (0.6, -1.3))
    prepared = prepare_piecewise(image[inside], **OPTIONS)
    found = register_piecewise(frame[inside][np.newaxis], prepared)

    np.testing.assert_allclose(found.rigid[0], [-0.6, 1.3], atol=2 * STEP_PX)
    # A rigid movie gets one shift, within what the borders take from its outer patches.
    assert np.abs(found.patch_shift - found.rigid[0]).max() < 0.1


def test_patches_know_how_bright_they_are() -> None:
    """Noise that grows fourfold makes the told errors grow fourfold."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.05, SHAPE)
    small, large = (
        register_piecewise((TEMPLATE + gain * noise)[np.newaxis], PREPARED).patch_error_px
        for gain in (1, 4)
    )
    assert np.median(large / small) == pytest.approx(4, rel=0.15)


@few
@given(seed=st.integers(0, 99))
def test_without_noise_the_field_is_what_was_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    centers = Centers(*(np.cumsum(rng.uniform(20, 80, n)) for n in (3, 4)))
    found = rng.normal(size=(12, 2))
    likeness = covariance(centers, length_px=60)

    assert np.linalg.eigvalsh(likeness).min() > 0
    sure, blind = (
        most_likely_field(found, np.full((12, 2), variance), likeness)
        for variance in (1e-12, np.inf)
    )
    np.testing.assert_allclose(sure, found, atol=1e-5)
    np.testing.assert_allclose(blind, 0, atol=1e-7)


@few
@given(variance=st.lists(st.floats(1e-3, 10), min_size=2, max_size=6, unique=True))
def test_the_more_noise_the_less_is_believed(variance: list[float]) -> None:
    centers = Centers(np.arange(3) * 64.0, np.arange(4) * 64.0)
    likeness = covariance(centers, length_px=256)
    found = np.random.default_rng(0).normal(size=(12, 2))
    left = [
        np.linalg.norm(most_likely_field(found, np.full((12, 2), v), likeness))
        for v in sorted(variance)
    ]
    assert (np.diff(left) <= 1e-9).all()


@few
@given(
    n=st.integers(2, 8),
    slope=st.floats(-1, 1),
    level=st.floats(-9, 9),
    seed=st.integers(0, 99),
)
def test_straight_lines_stay_straight_between_uneven_centres(
    n: int, slope: float, level: float, seed: int
) -> None:
    centers = np.cumsum(np.random.default_rng(seed).uniform(3, 40, n))
    places = np.linspace(centers[0] - 30, centers[-1] + 30, 50)
    made = spline_matrix(centers, places) @ (slope * centers + level)

    inside = places.clip(centers[0], centers[-1])
    np.testing.assert_allclose(made, slope * inside + level, atol=1e-8)


@few
@given(
    shape=st.tuples(*2 * [st.integers(1, 40)]),
    grid_px=st.integers(1, 50),
    overlap_px=st.integers(0, 50),
)
def test_equal_patches_make_an_even_field(
    shape: tuple[int, int], grid_px: int, overlap_px: int
) -> None:
    grid = plan_patches(shape, grid_px=grid_px, overlap_px=overlap_px)
    assert all((np.diff(axis.centers_px) > 0).all() for axis in (grid.y, grid.x))
    centers = Centers(grid.y.centers_px, grid.x.centers_px)
    field = field_at(np.full((2, *grid.shape, 2), 1.75), centers, shape)

    assert field.shape == (2, *shape, 2)
    np.testing.assert_allclose(field, 1.75, rtol=1e-6)


@pytest.mark.parametrize("side", [64, 97])
def test_patches_that_fill_the_field_are_one_patch(side: int) -> None:
    """Cells of 32 px whose patches all reach the faces: one shift, and no spline through it."""
    image = TEMPLATE[:side, :side]
    found = register_piecewise(
        image[np.newaxis], prepare_piecewise(image, grid_px=32, overlap_px=side)
    )
    assert found.patch_shift.shape[1:3] == (1, 1)
    np.testing.assert_allclose(found.patch_shift, 0, atol=1e-3)


SURE = st.lists(st.booleans(), min_size=1, max_size=30).map(np.array)


@few
@given(sure=SURE, slope=st.floats(-2, 2), start=st.floats(-9, 9))
def test_steady_motion_is_continued_through_unsure_frames(
    sure: npt.NDArray[np.bool_], slope: float, start: float
) -> None:
    t = np.arange(len(sure))
    line = np.stack([start + slope * t, start - slope * t], axis=1)
    made = settle_shifts(np.where(sure[:, np.newaxis], line, 99.0), sure)

    if sure.any():
        ends = np.flatnonzero(sure)[[0, -1]]
        np.testing.assert_allclose(made, line[t.clip(*ends)], atol=1e-4)
    else:
        assert not made.any()


@few
@given(sure=SURE, seed=st.integers(0, 99))
def test_settling_is_done_once_and_knows_no_direction_of_time(
    sure: npt.NDArray[np.bool_], seed: int
) -> None:
    shifts = np.random.default_rng(seed).normal(size=(len(sure), 2, 3, 2)).astype(np.float32)
    made = settle_shifts(shifts, sure)

    np.testing.assert_array_equal(settle_shifts(made, sure), made)
    np.testing.assert_allclose(settle_shifts(shifts[::-1], sure[::-1])[::-1], made, atol=1e-6)
    assert (np.abs(made) <= np.abs(shifts[sure]).max(initial=0) + 1e-6).all()


@few
@given(n=st.integers(1, 40), size=st.integers(1, 50), slope=st.floats(-1, 1))
def test_pools_of_steady_motion_give_it_back_between_their_middles(
    n: int, size: int, slope: float
) -> None:
    t = np.arange(n, dtype=np.float64)
    pooled = pool_frames((slope * t)[:, np.newaxis, np.newaxis], size=size)[:, 0]
    made = spread_shifts(pooled, np.ones(len(pooled), bool), size=size, n_frames=n)[:, 0]
    middles = [t[i : i + size].mean() for i in range(0, n, size)]

    np.testing.assert_allclose(made, slope * t.clip(middles[0], middles[-1]), atol=1e-4)
