"""What a slice explains of a plane: written out plainly, and its laws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from clgkit.registration.filters import difference_of_gaussians, smooth
from clgkit.registration.response import (
    AROUND,
    BODY,
    FINE,
    RIDGE,
    WIDE,
    Blocks,
    Finder,
    explain,
    fit_blocks,
    plan_blocks,
    plan_finder,
    prepare_slice,
    prepare_target,
)

NUCLEUS_PX = 6.0
SHAPE = (100, 110)


@pytest.fixture(scope="module")
def disks() -> np.ndarray:
    """Filled cells on a field with a margin of 20 px."""
    rng = np.random.default_rng(2)
    points = np.zeros((SHAPE[0] + 40, SHAPE[1] + 40))
    points[tuple(rng.integers(0, points.shape, (260, 2)).T)] = 1
    return ndimage.gaussian_filter(points, 2) * 100


def window(image: np.ndarray, shift: tuple[int, int] = (0, 0)) -> np.ndarray:
    y, x = 20 - shift[0], 20 - shift[1]
    return image[y : y + SHAPE[0], x : x + SHAPE[1]]


def hollow(image: np.ndarray) -> np.ndarray:
    """Turn filled cells into rings."""
    return ndimage.gaussian_filter(image, 1.5) - 0.7 * image


def finder(**options: float) -> Finder:
    settings = {"max_shift_px": 6, "nucleus_px": NUCLEUS_PX, **options}
    return plan_finder(SHAPE, **settings)  # type: ignore[arg-type]


def band(image: np.ndarray, sigma: float) -> np.ndarray:
    plain = difference_of_gaussians(image, band_px=(sigma * NUCLEUS_PX, WIDE * NUCLEUS_PX))
    square = plain.astype(float) ** 2
    local = smooth(square.astype(np.float32), sigma_px=AROUND * NUCLEUS_PX)
    return plain / np.sqrt(local + 1e-6 * square.mean())


def test_energy_is_that_of_least_squares(disks: np.ndarray) -> None:
    plane, slice_image = window(hollow(disks), (2, -1)), window(disks)
    plan = finder()
    target = prepare_target(plane, plan)
    energy = explain(prepare_slice(slice_image, plan), target, plan)

    # Plainly: regress one block of the plane on the two bands of the slice, in place.
    b, (height, width) = 3, plan.blocks.window.shape
    y, x = plan.blocks.corner[b]
    cut = np.s_[y : y + height, x : x + width]
    weight = plan.blocks.window.astype(float)
    wanted = band(plane, FINE)[cut]
    wanted = wanted - np.average(wanted, weights=weight)
    bands = np.stack([band(slice_image, s)[cut] for s in (FINE, BODY)])
    bands = (
        bands
        - np.average(bands, axis=(1, 2), weights=np.broadcast_to(weight, bands.shape))[
            :, np.newaxis, np.newaxis
        ]
    )
    gram = np.einsum("kyx,lyx,yx->kl", bands, bands, weight)
    gram += RIDGE * np.trace(gram) / 2 * np.eye(2)
    right = np.einsum("kyx,yx,yx->k", bands, wanted, weight)
    expected = right @ np.linalg.solve(gram, right)

    middle = energy.shape[1] // 2
    # float32 spectra; the plane's own weight takes part of the mean of the slice.
    np.testing.assert_allclose(energy[b, middle, middle], expected, rtol=2e-3)
    np.testing.assert_allclose(target.energy[b], np.sum(weight * wanted**2), rtol=1e-5)


@pytest.mark.parametrize("shift", [(0, 0), (3, -5), (-6, 6)])
def test_the_shift_of_rings_is_found_without_bias(
    disks: np.ndarray, shift: tuple[int, int]
) -> None:
    plan = finder()
    target = prepare_target(window(hollow(disks), shift), plan)
    fit = fit_blocks(explain(prepare_slice(window(disks), plan), target, plan), target, plan)

    np.testing.assert_allclose(fit.common_px, shift, atol=0.1)
    np.testing.assert_allclose(fit.shift_px, np.broadcast_to(shift, fit.shift_px.shape), atol=0.4)
    assert fit.score > 0.8


def test_half_pixels_are_found(disks: np.ndarray) -> None:
    moved = ndimage.shift(hollow(disks), (1.5, -0.5), order=3, mode="nearest")
    plan = finder()
    target = prepare_target(window(moved), plan)
    fit = fit_blocks(explain(prepare_slice(window(disks), plan), target, plan), target, plan)

    np.testing.assert_allclose(fit.common_px, [1.5, -0.5], atol=0.15)


def test_no_slice_explains_more_than_all(disks: np.ndarray) -> None:
    plan = finder()
    target = prepare_target(window(disks), plan)
    fit = fit_blocks(explain(prepare_slice(window(disks), plan), target, plan), target, plan)

    assert 0.99 < fit.score <= 1
    assert ((fit.explained > 0.98) & (fit.explained <= 1)).all()
    assert fit.in_place == pytest.approx(fit.score**2, abs=1e-3)


def test_unlike_images_explain_little(disks: np.ndarray) -> None:
    plan = finder()
    target = prepare_target(window(hollow(disks)), plan)
    wrong = prepare_slice(window(disks[::-1, ::-1]), plan)
    fit = fit_blocks(explain(wrong, target, plan), target, plan)

    assert fit.score < 0.5
    assert fit.in_place < 0.1


def test_blocks_may_move_by_themselves(disks: np.ndarray) -> None:
    plane = window(hollow(disks)).copy()
    plane[:, 55:] = window(hollow(disks), (0, 2))[:, 55:]
    plan = finder(max_shift_px=0, slack_px=3)
    target = prepare_target(plane, plan)
    fit = fit_blocks(explain(prepare_slice(window(disks), plan), target, plan), target, plan)
    right = plan.blocks.center[:, 1] > 80
    left = plan.blocks.center[:, 1] < 30

    np.testing.assert_allclose(fit.shift_px[left, 1], 0, atol=0.4)
    np.testing.assert_allclose(fit.shift_px[right, 1], 2, atol=0.4)


def test_a_blank_block_counts_nothing(disks: np.ndarray) -> None:
    plane = window(hollow(disks)).copy()
    plane[:, :70] = np.nan
    plan = finder()
    target = prepare_target(plane, plan)
    fit = fit_blocks(explain(prepare_slice(window(disks), plan), target, plan), target, plan)
    blank = plan.blocks.corner[:, 1] + plan.blocks.window.shape[1] <= 70

    assert np.isfinite(fit.explained).all()
    assert (target.energy[blank] == 0).all()
    np.testing.assert_allclose(fit.common_px, 0, atol=0.2)


def test_a_blank_slice_explains_nothing(disks: np.ndarray) -> None:
    plan = finder()
    target = prepare_target(window(disks), plan)
    fit = fit_blocks(
        explain(prepare_slice(np.full(SHAPE, np.nan), plan), target, plan), target, plan
    )

    assert fit.score == 0
    assert not fit.explained.any()


@pytest.mark.parametrize(("max_shift_px", "reach"), [(0, 0), (4.9, 4), (500, 49)])
def test_the_window_is_whole_pixels_within_half_the_field(max_shift_px: float, reach: int) -> None:
    assert finder(max_shift_px=max_shift_px).reach_px == reach


def test_transforms_do_not_wrap() -> None:
    plan = finder(max_shift_px=9)
    height, width = plan.blocks.window.shape

    assert plan.size[0] >= height + 2 * (plan.reach_px + plan.slack_px)
    assert plan.size[1] >= width + 2 * (plan.reach_px + plan.slack_px)


def test_blocks_of_ones_own_are_taken() -> None:
    own = Blocks(np.array([[3, 4]]), np.array([[7.5, 8.5]]), (1, 1), np.ones((10, 10), np.float32))
    assert plan_finder(SHAPE, max_shift_px=2, nucleus_px=6, blocks=own).blocks is own


@pytest.mark.parametrize("cell_px", [5, 30, 55, 1000])
def test_windows_never_vanish(cell_px: float) -> None:
    blocks = plan_blocks(SHAPE, cell_px)

    assert blocks.window.min() > 0
    assert (blocks.corner >= 0).all()
    assert (blocks.corner + blocks.window.shape <= SHAPE).all()
    np.testing.assert_allclose(
        blocks.center - blocks.corner,
        np.broadcast_to((np.array(blocks.window.shape) - 1) / 2, blocks.center.shape),
    )


@pytest.mark.parametrize("value", [-1, np.nan, np.inf])
def test_a_shift_that_is_no_length_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="max_shift_px must be finite"):
        finder(max_shift_px=value)


@pytest.mark.parametrize("value", [0, -3, np.nan])
def test_a_nucleus_without_size_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="nucleus_px must be a positive"):
        finder(nucleus_px=value)
