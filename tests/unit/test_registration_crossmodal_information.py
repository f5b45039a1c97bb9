"""Mutual information: what it is, that its gradient is right, that it finds the field."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage, optimize

from clgkit.registration import bspline
from clgkit.registration.mutual_information import (
    BINS,
    PADDING,
    mutual_information,
    refine_field,
    to_bins,
)

IDENTITY = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=(70, 80))
    return ndimage.gaussian_filter(noise, 2).astype(np.float32)


def grid(shape: tuple[int, int]) -> np.ndarray:
    return np.indices(shape, dtype=float).transpose(1, 2, 0)


def test_bins_span_the_image() -> None:
    bins = to_bins(np.array([[0.0, 1.0, 2.0, np.nan]])).position

    np.testing.assert_allclose(bins[0, :3], [PADDING, (BINS - 1) / 2, BINS - PADDING - 1])
    assert np.isnan(bins[0, 3])


@pytest.mark.parametrize("value", [3.0, np.nan])
def test_an_image_without_contrast_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="nothing to register"):
        to_bins(np.full((4, 4), value))


def test_one_bright_pixel_is_contrast() -> None:
    dark = np.zeros((50, 50))
    dark[3, 4] = 1
    assert np.ptp(to_bins(dark).position) == BINS - 2 * PADDING - 1


def test_information_is_that_of_a_plain_histogram(image: np.ndarray) -> None:
    bins = to_bins(image)
    where = grid(image.shape)
    found = mutual_information(bins, bins, where).value

    # The last row and column are not read; the spline is summed by its definition.
    fixed, moving = bins.position[:-1, :-1].ravel(), bins.position[:-1, :-1].ravel()
    joint = np.zeros((BINS, BINS))
    for f, m in zip(fixed, moving, strict=True):
        t = np.abs(np.arange(BINS) - float(m))
        inner, outer = 2 / 3 - t**2 + t**3 / 2, np.maximum(2 - t, 0) ** 3 / 6
        joint[int(f + 0.5)] += np.where(t < 1, inner, outer)
    joint /= joint.sum()
    product = np.outer(joint.sum(axis=1), joint.sum(axis=0))
    full = joint > 0
    expected = np.sum(joint[full] * np.log(joint[full] / product[full]))

    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_information_does_not_ask_for_likeness(image: np.ndarray) -> None:
    where = grid(image.shape)
    own = to_bins(image)
    same = mutual_information(own, own, where).value
    inverted = mutual_information(own, to_bins(-image), where).value
    other = mutual_information(own, to_bins(image[::-1]), where).value

    np.testing.assert_allclose(inverted, same, rtol=0.02)  # bins are mirrored by half a bin
    assert other < 0.5 * same


def test_images_that_never_meet_share_nothing(image: np.ndarray) -> None:
    found = mutual_information(to_bins(image), to_bins(image), grid(image.shape) + 500)

    assert found.value == 0
    assert not found.gradient.any()


def test_the_gradient_is_the_derivative(image: np.ndarray) -> None:
    fixed, moving = to_bins(image), to_bins(np.abs(image))
    mesh = bspline.plan_mesh(image.shape, 20)
    rng = np.random.default_rng(1)
    shape = (mesh.rows.shape[1], mesh.columns.shape[1], 2)
    # Inside, so that no pixel leaves or enters, and off the pixel grid, where slopes jump.
    base = 5.3 + 0.85 * grid(image.shape)

    def value(flat: np.ndarray) -> float:
        field = bspline.evaluate(mesh, flat.reshape(shape))
        return mutual_information(fixed, moving, base + field).value

    start = rng.normal(size=shape).ravel() * 0.2
    found = mutual_information(
        fixed, moving, base + bspline.evaluate(mesh, start.reshape(shape))
    ).gradient
    analytic = bspline.gather(mesh, found).ravel()
    numeric = optimize.approx_fprime(start, value, 1e-4)

    # A few of 5600 pixels cross a pixel edge within the step.
    np.testing.assert_allclose(analytic, numeric, atol=0.03 * np.abs(numeric).max())


def test_the_bending_gradient_is_the_derivative() -> None:
    start = np.random.default_rng(0).normal(size=(5, 6, 2))
    _, gradient = bspline.bending(start)
    numeric = optimize.approx_fprime(
        start.ravel(), lambda flat: bspline.bending(flat.reshape(start.shape))[0], 1e-6
    )

    np.testing.assert_allclose(gradient.ravel(), numeric, atol=1e-5)


def test_splines_add_up_to_one_and_reproduce_a_slope() -> None:
    mesh = bspline.plan_mesh((31, 47), 10)
    np.testing.assert_allclose(mesh.rows.sum(axis=1), 1, atol=1e-12)
    field = 0.1 * grid((31, 47)) - 2

    back = bspline.evaluate(mesh, bspline.project(mesh, field))
    np.testing.assert_allclose(back, field, atol=1e-9)
    assert bspline.bending(bspline.project(mesh, field))[0] < 1e-12


def test_a_field_is_found_across_contrasts(image: np.ndarray) -> None:
    truth = np.stack(
        [np.sin(np.arange(80) / 80 * np.pi) * np.ones((70, 1)), np.full((70, 80), -0.6)], axis=-1
    )
    fixed = ndimage.map_coordinates(image, (grid(image.shape) + truth).transpose(2, 0, 1), order=3)
    found = refine_field(
        np.exp(-2 * fixed), image, IDENTITY, np.zeros_like(truth), knot_px=30, smoothing_px=(1.0,)
    )
    inner = np.s_[6:-6, 6:-6]

    assert np.abs(found - truth)[inner].mean() < 0.1


def test_missing_pixels_are_left_out(image: np.ndarray) -> None:
    broken = image.copy()
    broken[:10] = np.nan
    found = refine_field(broken, image, IDENTITY, np.zeros((70, 80, 2)), knot_px=40)

    assert np.isfinite(found).all()
    assert np.abs(found[20:]).max() < 0.2  # the image lies on itself already
