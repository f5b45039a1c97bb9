"""Laws of places: there and back, pixels that stay, labels and cells against a count by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from clgkit.registration import (
    apply_shifts,
    cell_errors,
    estimate_line_offset,
    invert_field,
    match_common_tilt,
    shifted_control,
    warp_frames,
)
from clgkit.registration.bidirectional import undo_line_offset
from clgkit.registration.inverse import read_field, round_trip_px

seeds = st.integers(0, 2**16)
sides = st.tuples(st.integers(12, 40), st.integers(12, 40))


def field_of(shape: tuple[int, int], seed: int, bend_px: float) -> np.ndarray:
    """Return offsets of an affine map with a smooth bending, (y, x, 2)."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape, dtype=float)
    matrix = 2 * np.eye(2) + rng.uniform(-0.1, 0.1, (2, 2))
    there = np.stack([y, x], -1) @ matrix.T + rng.uniform(-3, 3, 2)
    phase = rng.uniform(0, 6, 2)
    bend = np.stack([np.sin(x / 6 + phase[0]), np.cos(y / 6 + phase[1])], -1)
    return np.asarray(there + bend_px * bend - np.stack([y, x], -1))


@settings(max_examples=12)
@given(shape=sides, seed=seeds, bend_px=st.floats(0, 2))
def test_there_and_back_is_the_same_place(
    shape: tuple[int, int], seed: int, bend_px: float
) -> None:
    field = field_of(shape, seed, bend_px)
    size = (2 * shape[0] + 6, 2 * shape[1] + 6)

    inverse = invert_field(field, size)

    grid = np.indices(size).transpose(1, 2, 0)
    back = grid + inverse.astype(float)
    known = np.isfinite(back).all(axis=2)
    inner = known & (back >= 0).all(axis=2) & (back <= np.array(shape) - 1).all(axis=2)
    assert inner.sum() > shape[0] * shape[1]  # twice as many pixels along each axis
    again = back[inner] + read_field(field, back[inner])
    # A thousandth of a pixel of the plane is twice that of the slice; the bending adds to it.
    assert np.abs(again - grid[inner]).max() < 0.01
    # Between pixels of the slice the way back is read linearly, of a bending of six pixels.
    assert round_trip_px(field.astype(np.float32), inverse) < 0.05


@settings(max_examples=12)
@given(shape=sides, seed=seeds)
def test_a_pixel_of_the_slice_has_a_place_just_where_the_plane_is(
    shape: tuple[int, int], seed: int
) -> None:
    move = np.random.default_rng(seed).integers(-5, 6, 2)
    field = np.broadcast_to(move.astype(float), (*shape, 2))

    inverse = invert_field(field, (50, 50))

    y, x = np.indices((50, 50))
    inside = (
        (y - move[0] >= 0)
        & (y - move[0] < shape[0])
        & (x - move[1] >= 0)
        & (x - move[1] < shape[1])
    )
    np.testing.assert_array_equal(np.isfinite(inverse).all(axis=2), inside)
    np.testing.assert_allclose(inverse[inside] + move, 0, atol=1e-5)  # single precision


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_field_with_holes_has_no_inverse(value: float) -> None:
    field = field_of((12, 14), 0, 0)
    field[3, 4] = value

    with pytest.raises(ValueError, match="not finite"):
        invert_field(field, (30, 30))


@settings(max_examples=10)
@given(shape=sides, seed=seeds, dtype=st.sampled_from(["u2", "i2", "f4", "u1"]))
def test_no_offset_is_bit_by_bit_the_same(shape: tuple[int, int], seed: int, dtype: str) -> None:
    frames = np.random.default_rng(seed).uniform(0, 99, (2, *shape)).astype(dtype)

    made = warp_frames(frames, np.zeros((*shape, 2)))

    np.testing.assert_array_equal(made, frames.astype(np.float32))


@settings(max_examples=10)
@given(shape=sides, seed=seeds, move=st.tuples(st.floats(-4, 4), st.floats(-4, 4)))
def test_one_offset_for_all_is_a_shift(
    shape: tuple[int, int], seed: int, move: tuple[float, float]
) -> None:
    frames = np.random.default_rng(seed).uniform(0, 99, (2, *shape)).astype(np.float32)

    made = warp_frames(frames, np.broadcast_to(-np.array(move), (*shape, 2)))

    expected: Any = apply_shifts(frames, np.array([move, move])).frames
    # The position is a number of single precision in one, of double precision in the other.
    np.testing.assert_allclose(made, expected, atol=1e-3)


@settings(max_examples=8)
@given(shape=sides, seed=seeds)
def test_frames_are_warped_one_by_one(shape: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames = rng.uniform(0, 99, (3, *shape)).astype(np.float32)
    frames[1, 4, 5] = np.nan
    offset = rng.normal(0, 2, (9, 11, 2))
    offset[0] = np.nan

    whole = warp_frames(frames, offset)

    assert np.isnan(whole[:, 0]).all()
    for t, frame in enumerate(frames):
        np.testing.assert_array_equal(warp_frames(frame[None], offset)[0], whole[t])


def control_by_hand(image: np.ndarray, labels: np.ndarray, steps: np.ndarray) -> dict[int, float]:
    """Return label → core minus rim less the median of its moved copies; pixel by pixel."""
    found = {}
    for label in np.unique(labels[labels > 0]):
        inside = np.argwhere(labels == label)
        cross = [(0, 1), (1, 0), (0, -1), (-1, 0)]

        def own(pixel: tuple[int, int], label: int = label) -> bool:
            y, x = pixel
            there = 0 <= y < labels.shape[0] and 0 <= x < labels.shape[1]
            return bool(there and labels[y, x] == label)

        near = {(int(y) + a, int(x) + b) for y, x in inside for a, b in cross}
        edge = {(int(y), int(x)) for y, x in inside
                if not all(own((int(y) + a, int(x) + b)) for a, b in cross)}  # fmt: skip
        core = {(int(y), int(x)) for y, x in inside} - edge
        rim = edge | {pixel for pixel in near if not own(pixel)}
        means = []
        for dy, dx in steps:
            parts = []
            for pixels in (core, rim):
                values = [
                    image[y + dy, x + dx]
                    if 0 <= y + dy < image.shape[0] and 0 <= x + dx < image.shape[1]
                    else np.nan
                    for y, x in pixels
                ]
                parts.append(np.mean(values) if values else np.nan)
            means.append(parts[0] - parts[1])
        if np.isfinite(means).all():
            found[int(label)] = means[0] - float(np.median(means[1:]))
    return found


@settings(max_examples=10)
@given(seed=seeds, holes=st.booleans())
def test_labels_are_compared_with_their_copies_as_by_hand(seed: int, *, holes: bool) -> None:
    rng = np.random.default_rng(seed)
    image = rng.normal(100, 10, (40, 44))
    labels = np.zeros(image.shape, np.uint16)
    for label, (y, x) in enumerate(rng.integers(0, 38, (9, 2)), 3):
        labels[y : y + rng.integers(1, 7), x : x + rng.integers(1, 7)] = label
    if holes:
        image[rng.integers(0, 40, 5), rng.integers(0, 44, 5)] = np.nan
    steps = np.array(
        [(0, 0), (0, 5), (4, 4), (5, 0), (4, -4), (0, -5), (-4, -4), (-5, 0), (-4, 4)]
    )  # five pixels in eight directions, to whole ones

    made = shifted_control(image, labels, permutations=20)

    expected = control_by_hand(image, labels, steps)
    assert made.label.tolist() == list(expected)
    np.testing.assert_allclose(made.contrast, list(expected.values()), rtol=1e-9)
    if expected:
        above = float(np.mean(np.array(list(expected.values())) > 0))
        assert made.fraction == max(above, 1 - above)
        assert made.bright == (above >= 0.5)
        assert 1 / 21 <= made.p_value <= 1


@settings(max_examples=6)
@given(seed=seeds, move=st.tuples(st.integers(-2, 2), st.integers(-2, 2)))
def test_the_error_of_a_cell_is_how_far_its_image_lies(seed: int, move: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    wide = ndimage.gaussian_filter(rng.normal(size=(76, 76)), 2)
    plane = wide[6:-6, 6:-6]
    shifted = wide[6 + move[0] : 70 + move[0], 6 + move[1] : 70 + move[1]]
    centers = rng.uniform(16, 48, (5, 2))

    made = cell_errors(plane, shifted, np.zeros((64, 64, 2)), centers, nucleus_px=4)

    np.testing.assert_allclose(made.error_px, np.hypot(*move), atol=0.35)  # "a few tenths"
    assert (made.explained > 0.5).all()


@settings(max_examples=4)
@given(seed=seeds)
def test_the_error_of_a_cell_does_not_depend_on_the_other_cells(seed: int) -> None:
    rng = np.random.default_rng(seed)
    plane, other = (ndimage.gaussian_filter(rng.normal(size=(48, 52)), 2) for _ in range(2))
    field, centers = np.zeros((48, 52, 2)), rng.uniform(0, 48, (4, 2))

    whole = cell_errors(plane, other, field, centers, nucleus_px=4)
    alone = [cell_errors(plane, other, field, centers[[i]], nucleus_px=4) for i in range(4)]

    # Transforms of several windows at once are rounded in another order.
    np.testing.assert_allclose(whole.error_px, [part.error_px[0] for part in alone], atol=1e-3)


@settings(max_examples=10)
@given(seed=seeds, offset_px=st.floats(-3, 3), width=st.integers(48, 90))
def test_an_offset_between_rows_is_found_and_undone(
    seed: int, offset_px: float, width: int
) -> None:
    wide = np.random.default_rng(seed).normal(size=(64, width + 20))
    smooth = ndimage.gaussian_filter(wide, (2, 2))
    rows = smooth.copy()
    for y in range(1, 64, 2):
        rows[y] = ndimage.shift(smooth[y], offset_px, order=3, mode="nearest")
    frame = rows[:, 10:-10]

    found = estimate_line_offset(frame[None])

    assert found.measured_px == pytest.approx(offset_px, abs=0.1)
    assert found.offset_px in {0.0, found.measured_px}
    flipped = estimate_line_offset(frame[None, ::-1])
    assert flipped.measured_px == pytest.approx(-found.measured_px, abs=0.02)
    undone = estimate_line_offset(undo_line_offset(frame, found.measured_px)[None])
    assert abs(undone.measured_px) < 0.1


@settings(max_examples=8)
@given(seed=seeds, n=st.integers(1, 7))
def test_the_offset_does_not_depend_on_gain_and_offset_of_the_detector(seed: int, n: int) -> None:
    frames = np.random.default_rng(seed).poisson(9, (n, 40, 50)).astype(float)

    one, other = estimate_line_offset(frames), estimate_line_offset(8 * frames + 100)

    np.testing.assert_array_equal(one.samples_px, other.samples_px)
    assert one.sure == other.sure


def planes_at(
    stack: np.ndarray, spans: tuple[float, float], middles: list[int], noise: float
) -> np.ndarray:
    """Cut planes out of a stack, (y, x) as in the stack; deeper along y and x by spans."""
    height, width = stack.shape[1:]
    y, x = np.indices((height, width), dtype=float)
    rng = np.random.default_rng(0)
    depth = spans[0] * (y / (height - 1) - 0.5) + spans[1] * (x / (width - 1) - 0.5)
    return np.stack([
        ndimage.map_coordinates(stack, [depth + middle, y, x], order=1)
        + noise * rng.normal(size=(height, width))
        for middle in middles
    ])  # fmt: skip


@pytest.fixture(scope="module")
def stack() -> np.ndarray:
    rng = np.random.default_rng(5)
    made = ndimage.gaussian_filter(rng.normal(size=(24, 120, 120)), (1.2, 2, 2))
    return np.asarray(made / made.std())


@pytest.mark.parametrize("spans", [(3.0, 0.0), (0.0, -3.0), (2.0, 2.0)])
def test_turning_the_recording_turns_its_tilt(
    stack: np.ndarray, spans: tuple[float, float]
) -> None:
    middles = [7, 12, 16]

    def found(turned: np.ndarray) -> tuple[float, float, np.ndarray]:
        made = match_common_tilt(
            planes, (turned[m - 5 : m + 6] for m in middles), nucleus_px=5, max_shift_px=4
        )
        assert made.sure
        return made.span_y, made.span_x, made.position

    planes = planes_at(stack, spans, middles, 0.2)
    span_y, span_x, position = found(stack)
    planes = planes.transpose(0, 2, 1)
    turned = found(stack.transpose(0, 2, 1))

    # Of three planes of nine blocks the tilt is known to about half a slice.
    assert (span_y, span_x) == pytest.approx(spans, abs=0.6)
    assert turned[:2] == pytest.approx((span_x, span_y), abs=0.02)
    np.testing.assert_allclose(position, 5, atol=0.3)
    np.testing.assert_allclose(turned[2], position, atol=0.02)


@pytest.mark.parametrize("noise", [0.1, 1.0, 3.0])
def test_no_tilt_is_made_up_of_noise(stack: np.ndarray, noise: float) -> None:
    middles = [7, 12, 16]
    planes = planes_at(stack, (0, 0), middles, noise)

    made = match_common_tilt(
        planes, (stack[m - 5 : m + 6] for m in middles), nucleus_px=5, max_shift_px=4
    )

    assert (made.sure, made.span_y, made.span_x) == (False, 0.0, 0.0)
    assert made.gain >= 0
    np.testing.assert_allclose(made.position, 5, atol=0.5)


def test_the_order_of_planes_does_not_matter(stack: np.ndarray) -> None:
    middles = [7, 12, 16]
    planes = planes_at(stack, (3, 0), middles, 0.2)
    order = [2, 0, 1]
    near = [stack[m - 5 : m + 6] for m in middles]

    straight = match_common_tilt(planes, near, nucleus_px=5)
    mixed = match_common_tilt(planes[order], [near[i] for i in order], nucleus_px=5)

    assert straight.sure
    assert mixed.span_y == pytest.approx(straight.span_y, abs=1e-9)
    np.testing.assert_allclose(mixed.position, straight.position[order], atol=1e-9)
