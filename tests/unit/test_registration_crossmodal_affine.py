"""Known affine maps between a plane and its slice are recovered, and the tools that find them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from benchmarks._disks_and_rings import _draw, _place
from clgkit.registration import PlaneMap, cell_errors, match_tilt, register_plane, sample_oblique
from clgkit.registration.bspline import bending, evaluate, plan_mesh, project
from clgkit.registration.inverse import invert_map, round_trip_px
from clgkit.registration.mutual_information import (
    entropy,
    mutual_information,
    refine_field,
    to_bins,
)
from clgkit.registration.order import assign_in_order
from clgkit.registration.response import plan_blocks
from clgkit.registration.smoothfield import fit_affine, spread_blocks

SIDE = 224
MIDDLE = (SIDE - 1) / 2
Floats = npt.NDArray[np.float64]


def affine(degrees: float, scale: float, shift: tuple[float, float]) -> Floats:
    """Return the map from the plane to the slice about the middle, (2, 3)."""
    a = math.radians(degrees)
    turn = scale * np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
    middle = np.full(2, MIDDLE)
    return np.column_stack([turn, middle - turn @ middle + shift])


def moved(matrix: Floats, points: Floats) -> Floats:
    return points @ matrix[:, :2].T + matrix[:, 2]


def make_pair(matrix: Floats, *, rings: bool) -> tuple[npt.NDArray[np.float32], ...]:
    """Return plane, slice and the cells in the plane; the slice has hidden cells, too."""
    rng = np.random.default_rng(5)
    there = _place(SIDE, rng)
    back = np.linalg.inv(matrix[:, :2])
    here = (there - matrix[:, 2]) @ back.T
    radius, light = rng.uniform(2.8, 3.6, len(there)), rng.lognormal(0, 0.3, (2, len(there)))
    hollow = 1.8 if rings else 0.0
    clean = (_draw(SIDE, here, radius, light[0], hollow), _draw(SIDE, there, radius, light[1], 0.0))
    plane, slice_image = (rng.poisson(60 * image + 3).astype(np.float32) for image in clean)
    inside = ((here > 20) & (here < SIDE - 20) & (there > 20) & (there < SIDE - 20)).all(axis=1)
    return plane, slice_image, here[inside]


def registered(
    degrees: float, scale: float, shift: tuple[float, float], *, rings: bool
) -> tuple[Floats, PlaneMap, tuple[npt.NDArray[np.float32], ...]]:
    matrix = affine(degrees, scale, shift)
    pair = make_pair(matrix, rings=rings)
    return matrix, register_plane(pair[0], pair[1], max_shift_px=10), pair


@pytest.mark.parametrize("rings", [True, False], ids=["rings", "disks"])
@pytest.mark.parametrize(
    ("degrees", "scale", "shift"),
    [(0, 1, (0, 0)), (2, 1, (0, 0)), (0, 0.98, (0, 0)), (-1.5, 1.02, (5, -7))],
    ids=["same place", "turned", "smaller", "all"],
)
def test_turn_scale_and_shift_are_recovered(
    degrees: float, scale: float, shift: tuple[float, float], *, rings: bool
) -> None:
    matrix, found, pair = registered(degrees, scale, shift, rings=rings)
    cells = pair[2]
    places = np.rint(cells).astype(int)
    error = np.linalg.norm(
        places + found.field[tuple(places.T)] - moved(matrix, places.astype(float)), axis=1
    )

    # Photon noise of 60 a pixel leaves a few tenths of a pixel.
    assert np.median(error) < 0.3
    assert np.quantile(error, 0.95) < 1
    assert found.inverse_consistency_px < 0.1
    turn = found.affine[:, :2] @ np.linalg.inv(matrix[:, :2])
    np.testing.assert_allclose(turn, np.eye(2), atol=0.01)


def test_the_true_map_leaves_small_errors_and_a_wrong_one_tells_how_wrong() -> None:
    matrix = affine(1, 1.01, (2, -1))
    plane, slice_image, cells = make_pair(matrix, rings=True)
    grid = np.indices((SIDE, SIDE)).transpose(1, 2, 0).astype(float)
    field = moved(matrix, grid) - grid
    right, wrong = (
        cell_errors(plane, slice_image, field + off, cells) for off in ([0, 0], [2, -1])
    )

    assert np.nanmedian(right.error_px) < 0.3
    assert np.nanmedian(wrong.error_px) == pytest.approx(math.hypot(2, 1), abs=0.3)
    assert np.median(right.explained) > 0.5


def test_tilts_change_sign_with_the_axis_that_is_turned_over() -> None:
    rng = np.random.default_rng(2)
    points = np.zeros((17, 160, 160))
    points[tuple(rng.integers(0, [[17], [160], [160]], (3, 2400)))] = 1
    stack = ndimage.gaussian_filter(points, (1.8, 1.6, 1.6))[3:-3] * 800
    stack += 0.05 * rng.normal(size=stack.shape)
    plane = sample_oblique(stack, position=5, span_y=2, span_x=-1)
    one = match_tilt(plane, stack, max_shift_px=2)
    over = match_tilt(plane[::-1], stack[:, ::-1], max_shift_px=2)
    deep = match_tilt(plane, stack[::-1], max_shift_px=2)

    # Climbing stops within a tenth of a slice or so.
    assert one.span_y > 1
    np.testing.assert_allclose([over.span_y, over.span_x], [-one.span_y, one.span_x], atol=0.4)
    np.testing.assert_allclose([deep.span_y, deep.span_x], [-one.span_y, -one.span_x], atol=0.4)
    assert deep.position == pytest.approx(len(stack) - 1 - one.position, abs=0.3)


@pytest.mark.parametrize("step", [None, 2.0])
def test_without_opinions_only_the_step_and_the_order_count(step: float | None) -> None:
    found = assign_in_order(np.full((3, 9), np.nan), step=step)

    ahead = np.diff(found.slice_index)
    assert (ahead == 2).all() if step else (ahead > 0).all()
    # The first plane leaves room for two, the last has two before it.
    impossible = np.zeros((3, 9), bool)
    impossible[0, -2:] = impossible[1, [0, -1]] = impossible[2, :2] = True
    np.testing.assert_array_equal(np.isneginf(found.through), impossible)


@pytest.mark.parametrize("step", [None, 1.5, 7.0])
@pytest.mark.parametrize("seed", range(4))
def test_through_every_slice_leads_its_best_sequence(seed: int, step: float | None) -> None:
    scores = np.random.default_rng(seed).normal(size=(3, 6))
    found = assign_in_order(scores, step=step, step_weight=0.3)
    best = np.full(scores.shape, -np.inf)
    for chosen in itertools.combinations(range(6), 3):
        total = scores[range(3), chosen].sum()
        total -= 0.3 * np.abs(np.diff(chosen) - step).sum() if step else 0.0
        best[range(3), chosen] = np.maximum(best[range(3), chosen], total)

    np.testing.assert_allclose(found.through, best, atol=1e-12)


def test_as_many_planes_as_slices_leave_no_choice() -> None:
    scores = np.random.default_rng(0).normal(size=(7, 7))

    np.testing.assert_array_equal(assign_in_order(scores).slice_index, np.arange(7))
    for shape in ((8, 7), (0, 7)):
        with pytest.raises(ValueError, match="different slices in order"):
            assign_in_order(np.zeros(shape))


@pytest.mark.parametrize("outliers", [0, 3])
def test_an_affine_displacement_of_blocks_comes_back(outliers: int) -> None:
    rng = np.random.default_rng(1)
    centers = np.stack(np.meshgrid(*2 * [np.arange(5) * 40.0], indexing="ij"), -1).reshape(-1, 2)
    wanted = np.array([[0.02, -0.01, 3.0], [0.005, -0.03, -2.0]])
    shifts = moved(wanted, centers)
    shifts[rng.choice(25, outliers, replace=False)] += 9
    found = fit_affine(centers, shifts, rng.uniform(0.5, 2, 25))

    np.testing.assert_allclose(found, wanted, atol=1e-9)


def test_blocks_in_one_row_give_a_common_shift() -> None:
    centers = np.column_stack([np.full(6, 20.0), np.arange(6) * 30.0])
    found = fit_affine(centers, np.tile([1.5, -2.0], (6, 1)), np.ones(6))

    np.testing.assert_allclose(found, [[0, 0, 1.5], [0, 0, -2.0]])


def test_a_slope_of_blocks_is_a_slope_of_pixels() -> None:
    blocks = plan_blocks((200, 260), 50)
    shifts = 0.05 * blocks.center
    made = spread_blocks(shifts, np.ones(len(shifts)), blocks, (200, 260))
    y, x = np.indices((200, 260))

    # Medians and Gaussians keep straight lines but at the outermost blocks.
    inner = (slice(80, 120), slice(90, 170))
    np.testing.assert_allclose(made[..., 0][inner], 0.05 * y[inner], atol=0.05)
    np.testing.assert_allclose(made[..., 1][inner], 0.05 * x[inner], atol=0.05)


@pytest.mark.parametrize("size_px", [0.0, 1.0, 3.0])
def test_bent_maps_are_inverted(size_px: float) -> None:
    rng = np.random.default_rng(0)
    bend = np.stack([ndimage.gaussian_filter(rng.normal(size=(70, 90)), 12) for _ in "yx"], axis=-1)
    bend *= size_px / np.abs(bend).max()
    matrix = np.array([[1.5, 0.02, 4.0], [-0.03, 1.4, 6.0]])
    grid = np.indices((70, 90)).transpose(1, 2, 0)
    field = (moved(matrix, grid + bend) - grid).astype(np.float32)
    inverse = invert_map(matrix, bend, (130, 150))

    # Both ways are read between pixels; the fixed point stops at 0.001 px.
    assert round_trip_px(field, inverse) < 0.02
    assert np.isnan(inverse[0, 0]).all()
    inside = np.isfinite(inverse[..., 0])
    back = (np.indices(inside.shape).transpose(1, 2, 0) + inverse)[inside]
    assert ((back >= -0.5) & (back <= [69.5, 89.5])).all()


@pytest.fixture(scope="module")
def textured() -> Floats:
    return ndimage.gaussian_filter(np.random.default_rng(4).normal(size=(60, 70)), 3)


def still(shape: tuple[int, ...]) -> Floats:
    return np.indices(shape).transpose(1, 2, 0).astype(np.float64)


@pytest.mark.parametrize("order", ["turned over", "shuffled"])
def test_names_of_the_fixed_bins_do_not_matter(textured: Floats, order: str) -> None:
    fixed, moving = to_bins(textured), to_bins(np.abs(textured))
    whole = np.rint(fixed.position).astype(int)
    names = np.arange(48)[::-1]
    if order == "shuffled":
        names = np.random.default_rng(0).permutation(48)
    renamed = fixed._replace(position=names[whole].astype(np.float32))
    one, other = (
        mutual_information(f, moving, still(textured.shape) + 0.25) for f in (fixed, renamed)
    )

    assert other.value == pytest.approx(one.value, rel=1e-9)
    np.testing.assert_allclose(other.gradient, one.gradient, atol=1e-9)


def test_an_image_tells_most_about_itself(textured: Floats) -> None:
    bins = to_bins(textured)
    own, off = (mutual_information(bins, bins, still(textured.shape) + d).value for d in (0, 3))
    noise = to_bins(np.random.default_rng(0).permutation(textured.ravel()).reshape(60, 70))

    assert mutual_information(bins, noise, still(textured.shape)).value < off < own
    # The spline spreads each value over neighbouring bins, which hides some of it.
    assert 0.5 * entropy(bins) < own < entropy(bins)


def test_stiffness_forbids_bending_and_not_moving() -> None:
    wide = ndimage.gaussian_filter(np.random.default_rng(4).normal(size=(90, 100)), 3)
    y, x = np.indices((60, 70))
    wave = 1 + 1.2 * np.sin(2 * np.pi * x / 70)
    fixed = ndimage.map_coordinates(wide, [y + 15 + wave, x + 15.0], order=3)
    matrix = np.array([[1.0, 0, 15], [0, 1, 15]])
    start = np.zeros((60, 70, 2))
    free, stiff = (
        refine_field(fixed, -wide, matrix, start, knot_px=20, stiffness=stiffness)
        for stiffness in (0.0, 100.0)
    )
    mesh = plan_mesh((60, 70), 20)

    assert np.sqrt(np.square(free[..., 0] - wave).mean()) < 0.15
    for field in (free, stiff):
        assert field[..., 0].mean() == pytest.approx(1, abs=0.1)
    assert bending(project(mesh, stiff))[0] < 0.02 * bending(project(mesh, free))[0]


@pytest.mark.parametrize("shape", [(30, 41), (9, 64)])
def test_straight_fields_cost_no_bending_and_are_kept_by_projection(shape: tuple[int, int]) -> None:
    mesh = plan_mesh(shape, 12)
    y, x = np.indices(shape)
    field = np.stack([0.1 * y - 0.3 * x + 2, 0.05 * x - 1.0], axis=-1)
    coefficients = project(mesh, field)

    np.testing.assert_allclose(evaluate(mesh, coefficients), field, atol=1e-9)
    energy, force = bending(coefficients)
    assert energy == pytest.approx(0, abs=1e-16)
    np.testing.assert_allclose(force, 0, atol=1e-8)
    bent = coefficients + np.random.default_rng(0).normal(size=coefficients.shape)
    assert bending(2 * bent)[0] == pytest.approx(4 * bending(bent)[0])
