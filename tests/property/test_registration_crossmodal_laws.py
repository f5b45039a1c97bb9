"""Laws of the map between a plane and its slice."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from clgkit.registration import (
    assign_in_order,
    bspline,
    match_planes,
    plane_to_slice,
    register_plane,
    sample_oblique,
    shifted_control,
    warp_labels,
)
from clgkit.registration.inverse import invert_map, round_trip_px
from clgkit.registration.mutual_information import mutual_information, to_bins
from clgkit.registration.response import SLACK_PX

few = settings(deadline=None, max_examples=8)
RNG = np.random.default_rng(0)
POINTS = np.zeros((160, 160))
POINTS[tuple(RNG.integers(0, 160, (2, 300)))] = 1
FIELD = ndimage.gaussian_filter(POINTS, 1.6) * 300
SIDE = 96
shifts = st.tuples(*2 * [st.integers(-8, 8)])


def window(shift: tuple[int, int]) -> np.ndarray:
    y, x = 32 - shift[0], 32 - shift[1]
    return FIELD[y : y + SIDE, x : x + SIDE]


@few
@given(shift=shifts)
def test_a_shifted_plane_shifts_the_map(shift: tuple[int, int]) -> None:
    found = register_plane(window(shift), window((0, 0)), refine=False)
    inner = np.s_[12:-12, 12:-12]

    # Content moved by the shift comes from that much before.
    expected = np.broadcast_to(-np.array(shift), found.field[inner].shape)
    np.testing.assert_allclose(found.field[inner], expected, atol=0.3)


@few
@given(gain=st.floats(0.01, 100), sign=st.sampled_from([-1, 1]), offset=st.floats(-100, 100))
def test_brightness_and_contrast_do_not_matter(gain: float, sign: int, offset: float) -> None:
    plain = register_plane(window((2, -3)), window((0, 0)), refine=False)
    scaled = register_plane(window((2, -3)) * gain * sign + offset, window((0, 0)), refine=False)

    # float32 of the scaled and raised image, through six rounds.
    np.testing.assert_allclose(scaled.field, plain.field, atol=0.05)


@few
@given(
    angle=st.floats(-0.3, 0.3),
    scale=st.floats(0.5, 2.5),
    shift=st.tuples(*2 * [st.floats(-5, 5)]),
    bend=st.floats(-2, 2),
)
def test_there_and_back_is_where_it_was(
    angle: float, scale: float, shift: tuple[float, float], bend: float
) -> None:
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = np.column_stack([turn, shift])
    y, x = np.indices((50, 60)) / 60
    field = bend * np.stack([np.sin(3 * x), np.cos(2 * y)], axis=-1)
    grid = np.indices((50, 60)).transpose(1, 2, 0)
    there = (grid + field) @ turn.T + shift - grid
    inverse = invert_map(matrix, field, (170, 190))

    # The bending is linear between pixels on one way, the inverse on the other.
    assert round_trip_px(there.astype(np.float32), inverse) < 0.02


@few
@given(
    ratio=st.tuples(*2 * [st.floats(0.5, 3)]),
    shift=st.tuples(*2 * [st.floats(-6, 6)]),
)
def test_no_label_is_invented(ratio: tuple[float, float], shift: tuple[float, float]) -> None:
    labels = RNG.integers(0, 9, (40, 50)).astype(np.uint32) * 1000
    mapping = plane_to_slice(np.array(shift), pixel_ratio=ratio)

    assert set(np.unique(warp_labels(labels, mapping, shape=(30, 30)))) <= set(np.unique(labels))


@few
@given(
    scores=st.lists(st.lists(st.floats(-3, 3), min_size=7, max_size=7), min_size=1, max_size=4),
    step=st.none() | st.floats(0, 3),
)
def test_the_chosen_sequence_is_the_best_of_all(
    scores: list[list[float]], step: float | None
) -> None:
    table = np.array(scores)
    found = assign_in_order(table, step=step, step_weight=0.5)

    def total(sequence: tuple[int, ...]) -> float:
        gain = sum(table[p, z] for p, z in enumerate(sequence))
        cost = 0.0 if step is None else 0.5 * np.abs(np.diff(sequence) - step).sum()
        return gain - cost

    best = max(total(sequence) for sequence in combinations(range(7), len(table)))
    np.testing.assert_allclose(total(tuple(found.slice_index.tolist())), best, atol=1e-9)
    np.testing.assert_allclose(found.through.max(axis=1), best, atol=1e-9)


@few
@given(
    shape=st.tuples(*2 * [st.integers(5, 40)]),
    knot_px=st.floats(3, 50),
    constant=st.floats(-5, 5),
)
def test_splines_keep_a_constant(shape: tuple[int, int], knot_px: float, constant: float) -> None:
    mesh = bspline.plan_mesh(shape, knot_px)
    field = np.full((*shape, 2), constant)
    coefficients = bspline.project(mesh, field)

    np.testing.assert_allclose(bspline.evaluate(mesh, coefficients), field, atol=1e-9)


@few
@given(shape=st.tuples(*2 * [st.integers(6, 30)]), seed=st.integers(0, 99))
def test_gathering_is_the_adjoint_of_evaluating(shape: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    mesh = bspline.plan_mesh(shape, 8)
    coefficients = rng.normal(size=(mesh.rows.shape[1], mesh.columns.shape[1], 2))
    field = rng.normal(size=(*shape, 2))

    there = np.sum(bspline.evaluate(mesh, coefficients) * field)
    back = np.sum(coefficients * bspline.gather(mesh, field))
    np.testing.assert_allclose(there, back, rtol=1e-9, atol=1e-9)


@few
@given(seed=st.integers(0, 99), gain=st.floats(0.01, 100), offset=st.floats(-50, 50))
def test_information_is_positive_and_knows_no_units(seed: int, gain: float, offset: float) -> None:
    rng = np.random.default_rng(seed)
    fixed, moving = rng.normal(size=(2, 30, 40))
    where = np.indices((30, 40), dtype=float).transpose(1, 2, 0) + rng.uniform(-2, 2, 2)
    plain = mutual_information(to_bins(fixed), to_bins(moving), where)
    scaled = mutual_information(to_bins(fixed), to_bins(gain * moving + offset), where)

    assert plain.value >= 0
    # float32 may put a pixel on the other side of an edge of a bin.
    np.testing.assert_allclose(scaled.value, plain.value, rtol=1e-2)
    np.testing.assert_array_equal(plain.gradient.shape, (30, 40, 2))


@few
@given(
    position=st.floats(0, 5),
    span_y=st.floats(-2, 2),
    span_x=st.floats(-2, 2),
)
def test_an_oblique_cut_of_depths_is_the_depth(
    position: float, span_y: float, span_x: float
) -> None:
    stack = np.arange(6.0)[:, np.newaxis, np.newaxis] * np.ones((6, 7, 9))
    cut = sample_oblique(stack, position=position, span_y=span_y, span_x=span_x)
    y, x = np.linspace(-0.5, 0.5, 7)[:, np.newaxis], np.linspace(-0.5, 0.5, 9)
    depth = position + span_y * y + span_x * x

    inside = (depth >= 0) & (depth <= 5)
    np.testing.assert_allclose(cut[inside], depth[inside], atol=1e-5)
    assert np.isnan(cut[(depth < -1e-6) | (depth > 5 + 1e-6)]).all()


@few
@given(shift=st.tuples(*2 * [st.integers(-5, 5)]), seed=st.integers(0, 99))
def test_the_control_moves_with_image_and_labels(shift: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.zeros((80, 80), np.uint32)
    for n, (y, x) in enumerate(rng.integers(16, 60, (12, 2)), start=1):
        labels[y : y + 5, x : x + 5] = n
    image = rng.normal(size=(80, 80))
    here = shifted_control(image, labels, permutations=5)
    there = shifted_control(
        np.roll(image, shift, (0, 1)), np.roll(labels, shift, (0, 1)), permutations=5
    )

    np.testing.assert_array_equal(there.label, here.label)
    np.testing.assert_allclose(there.contrast, here.contrast, atol=1e-12)
    assert there.fraction == here.fraction
    assert 0.5 <= here.fraction <= 1
    assert 0 < here.p_value <= 1


@few
@given(
    n_planes=st.integers(1, 3),
    n_slices=st.integers(3, 6),
    order=st.sampled_from(["rising", "falling", "free"]),
)
def test_planes_of_noise_get_a_slice_of_the_stack_in_order(
    n_planes: int, n_slices: int, order: str
) -> None:
    planes = RNG.normal(size=(n_planes, 24, 26))
    match = match_planes(planes, RNG.normal(size=(n_slices, 24, 26)), order=order, max_shift_px=3)  # type: ignore[arg-type]

    assert ((match.slice_index >= 0) & (match.slice_index < n_slices)).all()
    assert ((match.scores >= 0) & (match.scores <= 1)).all()
    assert np.abs(match.position - match.slice_index).max() <= 0.5
    assert np.abs(match.shift_px).max() <= 3 + SLACK_PX + 0.5
    if order != "free":
        steps = np.diff(match.slice_index) * (1 if order == "rising" else -1)
        assert (steps > 0).all()
