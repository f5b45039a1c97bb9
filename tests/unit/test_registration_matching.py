"""Newton steps of patches: sums, steps and the errors they claim."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from clgkit.registration import difference_of_gaussians
from clgkit.registration.filters import MOTION_BAND_PX
from clgkit.registration.matching import (
    LONGEST_STEP_PX,
    PatchTemplate,
    fit_patches,
    prepare_patches,
    search_patches,
    window_sums,
)
from clgkit.registration.patches import plan_patches
from tests.unit.registration_scene import make_field, move

SHAPE = (96, 112)
FIELD, _ = make_field(SHAPE, np.random.default_rng(1))
GRID = plan_patches(SHAPE, grid_px=32, overlap_px=16)
STILL = tuple(np.zeros((2, *SHAPE), np.float32))


def filtered(frame: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    return difference_of_gaussians(frame.astype(np.float32), band_px=MOTION_BAND_PX)


@pytest.fixture(scope="module")
def template() -> PatchTemplate:
    image = filtered(move(FIELD, (0, 0)))
    return prepare_patches(image, GRID, valid=None, max_deviation_px=5, band_px=MOTION_BAND_PX)


def test_windows_weigh_what_lies_under_them() -> None:
    image = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    made = window_sums(image, GRID)

    for i, j in np.ndindex(*GRID.shape):
        rows, columns = (slice(a.start[k], a.stop[k]) for a, k in ((GRID.y, i), (GRID.x, j)))
        sides = [np.hanning(s.stop - s.start + 2)[1:-1] for s in (rows, columns)]
        # Single precision, 4000 products.
        assert made[i, j] == pytest.approx(
            (np.outer(*sides) * image[rows, columns]).sum(), abs=1e-3
        )


def test_slopes_are_derivatives(template: PatchTemplate) -> None:
    exact = np.stack(
        [
            filtered(move(FIELD, step)) - filtered(move(FIELD, [-s for s in step]))
            for step in ((-0.05, 0.0), (0.0, -0.05))
        ]
    )
    for slope, wanted in zip((template.slope_y, template.slope_x), exact / 0.1, strict=True):
        inner = (slice(24, -24), slice(24, -24))  # the filter mirrors at the faces
        # Fourth order; the finest grain of the field is blurred by 0.8 px only.
        assert np.abs(slope - wanted)[inner].max() < 0.03 * np.abs(wanted).max()


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.3, -0.2), (-0.4, 0.4), (0.0, 0.45)])
@pytest.mark.parametrize("brightness", [0.5, 1.0, 8.0])
def test_one_step_comes_near_whatever_the_brightness(
    template: PatchTemplate, shift: tuple[float, float], brightness: float
) -> None:
    frame = filtered(brightness * move(FIELD, shift))
    fit = fit_patches(frame, template, STILL, brightness)

    # Linear in the displacement: what is left after one step is of second order.
    np.testing.assert_allclose(fit.step_px, np.broadcast_to(-np.array(shift), (3, 4, 2)), atol=0.1)
    assert fit.gain == pytest.approx(brightness, rel=0.1)
    assert fit.peak.min() > 0.9


def test_reading_through_the_field_leaves_nothing_to_do(template: PatchTemplate) -> None:
    shift = np.array([1.25, -2.5])
    frame = filtered(move(FIELD, shift))
    sampling = tuple(np.full(SHAPE, s, np.float32) for s in shift)
    fit = fit_patches(frame, template, sampling, 1.0)

    # Patches at the faces also see that the filter mirrors what the frame has lost.
    assert np.median(np.abs(fit.step_px)) < 0.01
    assert np.abs(fit.step_px).max() < 0.05
    assert fit.peak.min() > 0.998


def test_steps_are_short_however_far_off(template: PatchTemplate) -> None:
    fit = fit_patches(filtered(move(FIELD, (6, -6))), template, STILL, 1.0)

    assert np.abs(fit.step_px).max() <= LONGEST_STEP_PX


def test_the_error_told_is_the_error_made(template: PatchTemplate) -> None:
    """White noise, so that the formula applies: told variance against scatter of 40 frames."""
    rng = np.random.default_rng(0)
    clean = move(FIELD, (0, 0))
    fits = [
        fit_patches(filtered(clean + rng.normal(0, 0.05, SHAPE)), template, STILL, 1.0)
        for _ in range(40)
    ]
    made = np.var([fit.step_px for fit in fits], axis=0)
    told = np.mean([fit.variance_px2 for fit in fits], axis=0)

    # Single variances scatter by 22 %; the median over 24 numbers by a few per cent.
    assert 0.8 < np.median(told / made) < 1.4
    assert np.corrcoef(np.log(told.ravel()), np.log(made.ravel()))[0, 1] > 0.5


def test_a_blank_patch_makes_no_number_endless() -> None:
    image = filtered(move(FIELD, (0, 0)))
    image[:40, :40] = 0
    blank = prepare_patches(image, GRID, valid=None, max_deviation_px=5, band_px=MOTION_BAND_PX)
    fit = fit_patches(image, blank, STILL, 1.0)

    assert all(np.isfinite(part).all() for part in fit)
    assert np.isfinite(search_patches(image, blank, np.zeros(2))).all()


def test_what_is_missing_in_the_template_has_no_slope() -> None:
    image = filtered(move(FIELD, (0, 0)))
    valid = np.ones(SHAPE, bool)
    valid[30:50, 60:80] = False
    made = prepare_patches(
        np.where(valid, image, 0).astype(np.float32),
        GRID,
        valid=valid,
        max_deviation_px=5,
        band_px=MOTION_BAND_PX,
    )

    # The edge of a hole is no feature of the sample: slopes reach over two pixels.
    beside = ndimage.binary_dilation(~valid, iterations=2)
    assert not made.slope_y[beside].any()
    assert not made.slope_x[beside].any()
    assert made.slope_y[~beside].any()


@pytest.mark.parametrize("shift", [(4, -2), (-4, 4), (1.2, 2.8)])
@pytest.mark.parametrize("rigid", [(0, 0), (7.0, -9.0)])
def test_the_search_finds_patches_to_half_a_pixel(
    template: PatchTemplate, shift: tuple[float, float], rigid: tuple[float, float]
) -> None:
    wanted = np.add(shift, rigid)
    found = search_patches(filtered(move(FIELD, -wanted)), template, np.array(rigid))

    # The outermost patches lose up to 13 of their 48 pixels.
    assert np.median(np.abs(found - wanted)) < 0.5
    assert np.abs(found - wanted).max() < 1.5


def test_without_reach_the_search_repeats_the_rigid_shift() -> None:
    image = filtered(move(FIELD, (0, 0)))
    fixed = prepare_patches(image, GRID, valid=None, max_deviation_px=0, band_px=MOTION_BAND_PX)
    found = search_patches(image, fixed, np.array([1.5, -3.25]))

    np.testing.assert_array_equal(found, np.broadcast_to([1.5, -3.25], (3, 4, 2)))
