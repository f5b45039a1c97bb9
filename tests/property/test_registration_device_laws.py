"""Laws of the path through torch: what the CPU finds, for fields and frames of any kind.

The device is the CPU as torch names it; plain "cpu" means without torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from clgkit.registration import (
    Centers,
    Corrected,
    RigidShifts,
    apply_shifts,
    prepare_piecewise,
    prepare_rigid,
    register_piecewise,
    register_rigid,
)

torch = pytest.importorskip("torch", reason="the extra clgkit[deep] is not installed")

DEVICE = "cpu:0"
STEP_PX = 0.02
# Where two steps fit equally well but for rounding, either may be found.
SHIFT_TOLERANCE_PX = STEP_PX * 1.01
# Single precision sums of some thousand products, in another order.
PEAK_TOLERANCE = 2e-5
VALUE_TOLERANCE = 1e-5  # of the range: sums of 16 products of single precision

sides = st.tuples(st.integers(33, 61), st.integers(33, 61))
seeds = st.integers(0, 2**16)


def scene(shape: tuple[int, int], seed: int, n_frames: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Return frames with photon noise, moved by whole pixels, and their clean template."""
    rng = np.random.default_rng(seed)
    wide = ndimage.gaussian_filter(rng.random((shape[0] + 8, shape[1] + 8)), 1.5, mode="wrap")
    wide = 5 + 400 * (wide - wide.min())
    moves = rng.integers(0, 9, (n_frames, 2))
    frames = [rng.poisson(wide[y : y + shape[0], x : x + shape[1]]) for y, x in moves]
    return np.array(frames, np.uint16), wide[4:-4, 4:-4].astype(np.float32)


def assert_same_shifts(found: RigidShifts, expected: RigidShifts) -> None:
    for name in ("registered", "at_edge"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)
    np.testing.assert_allclose(found.shift_px, expected.shift_px, atol=SHIFT_TOLERANCE_PX, rtol=0)
    np.testing.assert_allclose(found.peak, expected.peak, atol=PEAK_TOLERANCE, rtol=0)


def assert_same_pixels(found: Corrected, expected: Corrected) -> None:
    assert found.frames.dtype == expected.frames.dtype
    np.testing.assert_array_equal(found.valid, expected.valid)
    seen = expected.frames[expected.valid]
    scale = float(np.abs(seen).max(initial=1))
    rounding = 1 if expected.frames.dtype.kind in "iu" else 0  # a half may go either way
    np.testing.assert_allclose(
        found.frames.astype(float), expected.frames.astype(float),
        atol=VALUE_TOLERANCE * scale + rounding, rtol=0,
    )  # fmt: skip


@settings(max_examples=12)
@given(shape=sides, seed=seeds, data=st.data())
def test_rigid_shifts_are_found_as_on_the_cpu_whatever_is_missing(
    shape: tuple[int, int], seed: int, data: st.DataObject
) -> None:
    frames, template = scene(shape, seed)
    movie = frames.astype(np.float32)
    options: dict[str, Any] = {"max_shift_px": 6}
    rng = np.random.default_rng(seed)
    if data.draw(st.booleans(), label="bad pixels"):
        options["bad_pixels"] = rng.random(shape) < 0.02
    for t in range(len(movie)):
        hole = data.draw(st.sampled_from(["none", "border", "pixels", "all", "constant"]))
        if hole == "border":
            movie[t, :5] = np.nan
        elif hole == "pixels":
            movie[t][rng.random(shape) < 0.1] = rng.choice([np.nan, np.inf, -np.inf])
        elif hole in {"all", "constant"}:
            movie[t] = np.nan if hole == "all" else 7
    offset = data.draw(st.sampled_from([0.0, 0.6, -1.25]), label="line offset")
    prepared = prepare_rigid(template, **options)

    expected = register_rigid(movie, prepared, line_offset_px=offset)
    found = register_rigid(movie, prepared, line_offset_px=offset, device=DEVICE)

    assert_same_shifts(found, expected)


@settings(max_examples=12)
@given(shape=sides, seed=seeds, n=st.integers(1, 3))
def test_a_batch_gives_what_its_frames_give_one_by_one(
    shape: tuple[int, int], seed: int, n: int
) -> None:
    frames, template = scene(shape, seed, n)
    prepared = prepare_rigid(template, max_shift_px=6)

    whole = register_rigid(frames, prepared, device=DEVICE)
    alone = [register_rigid(frames[t : t + 1], prepared, device=DEVICE) for t in range(n)]

    joined: Any = [np.concatenate(parts) for parts in zip(*alone, strict=True)]
    assert_same_shifts(whole, RigidShifts(*joined))


@settings(max_examples=6)
@given(shape=sides, seed=seeds, order=st.permutations(range(4)))
def test_the_order_of_frames_does_not_matter(
    shape: tuple[int, int], seed: int, order: list[int]
) -> None:
    frames, template = scene(shape, seed)
    prepared = prepare_rigid(template, max_shift_px=6)

    straight = register_rigid(frames, prepared, device=DEVICE)
    mixed = register_rigid(frames[order], prepared, device=DEVICE)

    expected: Any = [part[order] for part in straight]
    assert_same_shifts(mixed, RigidShifts(*expected))


@settings(max_examples=6)
@given(shape=sides, seed=seeds, dtype=st.sampled_from(["u1", ">u2", "i2", "u4", ">f4", "f8"]))
def test_the_dtype_of_a_movie_does_not_matter(
    shape: tuple[int, int], seed: int, dtype: str
) -> None:
    frames, template = scene(shape, seed)
    frames = np.minimum(frames, 255)
    prepared = prepare_rigid(template, max_shift_px=6)

    expected = register_rigid(frames.astype(np.float32), prepared, device=DEVICE)
    found = register_rigid(frames.astype(dtype), prepared, device=DEVICE)

    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@settings(max_examples=6)
@given(shape=sides, seed=seeds, missing=st.booleans())
def test_patches_are_found_as_on_the_cpu(
    shape: tuple[int, int], seed: int, *, missing: bool
) -> None:
    frames, template = scene(shape, seed, 2)
    movie = frames.astype(np.float32)
    if missing:
        movie[1, :, :7] = np.nan
    prepared = prepare_piecewise(template, max_shift_px=6, grid_px=16, overlap_px=8)

    expected = register_piecewise(movie, prepared)
    found = register_piecewise(movie, prepared, device=DEVICE)

    assert found.patch_shift.shape == expected.patch_shift.shape
    np.testing.assert_allclose(found.rigid, expected.rigid, atol=SHIFT_TOLERANCE_PX, rtol=0)
    np.testing.assert_allclose(
        found.patch_shift, expected.patch_shift, atol=SHIFT_TOLERANCE_PX, rtol=0
    )


shifts = st.floats(-9, 9, width=32)


@settings(max_examples=15)
@given(
    shape=st.tuples(st.integers(1, 23), st.integers(1, 23)),
    seed=seeds,
    moves=st.lists(st.tuples(shifts, shifts), min_size=1, max_size=3),
    offset=st.sampled_from([0.0, 0.4, -2.0]),
    dtype=st.sampled_from(["f4", "f8", "u2", "i2", "u1"]),
)
def test_pixels_are_moved_as_on_the_cpu_in_fields_of_any_size(
    shape: tuple[int, int],
    seed: int,
    moves: list[tuple[float, float]],
    offset: float,
    dtype: str,
) -> None:
    rng = np.random.default_rng(seed)
    frames = rng.uniform(0, 200, (len(moves), *shape)).astype(np.float32)
    frames[rng.random(frames.shape) < 0.05] = np.nan
    shift_px = np.array(moves)

    expected = apply_shifts(frames, shift_px, line_offset_px=offset, dtype=dtype)
    found = apply_shifts(frames, shift_px, line_offset_px=offset, dtype=dtype, device=DEVICE)

    assert_same_pixels(found, expected)


@settings(max_examples=8)
@given(shape=st.tuples(st.integers(8, 30), st.integers(8, 30)), seed=seeds)
def test_bent_fields_are_undone_as_on_the_cpu(shape: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames = rng.uniform(0, 200, (2, *shape)).astype(np.float32)
    centers = Centers(*(np.linspace(1, n - 2, k) for n, k in zip(shape, (3, 2), strict=True)))
    shift_px = rng.normal(0, 2, (2, 3, 2, 2))

    expected = apply_shifts(frames, shift_px, centers=centers)
    found = apply_shifts(frames, shift_px, centers=centers, device=DEVICE)

    assert_same_pixels(found, expected)


@settings(max_examples=10)
@given(shape=st.tuples(st.integers(1, 20), st.integers(1, 20)), seed=seeds,
       move=st.tuples(st.integers(-6, 6), st.integers(-6, 6)))  # fmt: skip
def test_whole_shifts_are_copies_on_a_device(
    shape: tuple[int, int], seed: int, move: tuple[int, int]
) -> None:
    frame = np.random.default_rng(seed).uniform(0, 9, shape).astype(np.float32)

    made = apply_shifts(frame[None], np.array([move], float), device=DEVICE)

    expected = np.full(shape, np.nan, np.float32)
    for y, x in np.ndindex(shape):
        row, column = y - move[0], x - move[1]
        if 0 <= row < shape[0] and 0 <= column < shape[1]:
            expected[y, x] = frame[row, column]
    np.testing.assert_array_equal(made.frames[0], expected)
    np.testing.assert_array_equal(made.valid[0], np.isfinite(expected))
