"""Shifts of patches become a field, and noise shrinks to what is likely."""

from __future__ import annotations

import numpy as np
import pytest

from clgkit.registration.field import (
    Centers,
    covariance,
    field_at,
    most_likely_field,
    spline_matrix,
)
from clgkit.registration.patches import plan_patches


def centers_of(shape: tuple[int, int]) -> Centers:
    grid = plan_patches(shape)
    return Centers(grid.y.centers_px, grid.x.centers_px)


def test_a_linear_field_comes_back() -> None:
    centers = centers_of((512, 400))
    y, x = np.meshgrid(*centers, indexing="ij")
    linear = np.stack([0.01 * y - 0.02 * x + 3, 0.005 * x - 1], axis=-1)
    field = field_at(linear, centers, (512, 400))
    rows, columns = (slice(int(np.ceil(at[0])), int(at[-1]) + 1) for at in centers)
    i, j = np.meshgrid(np.arange(512), np.arange(400), indexing="ij")
    expected = np.stack([0.01 * i - 0.02 * j + 3, 0.005 * j - 1], axis=-1)

    # Uneven centres included; float32 of values up to 8.
    np.testing.assert_allclose(field[rows, columns], expected[rows, columns], atol=2e-6)


def test_a_field_is_constant_beyond_the_outermost_centres() -> None:
    centers = centers_of((256, 256))
    shifts = np.random.default_rng(0).normal(size=(4, 4, 2))
    field = field_at(shifts, centers, (256, 256))

    np.testing.assert_array_equal(field[0, 100], field[47, 100])
    np.testing.assert_array_equal(field[100, 255], field[100, 208])


@pytest.mark.parametrize("n", [1, 2, 3, 4, 9])
def test_a_field_goes_through_its_centres(n: int) -> None:
    centers = np.cumsum(np.random.default_rng(n).uniform(5, 9, n))

    np.testing.assert_allclose(spline_matrix(centers, centers), np.eye(n), atol=1e-12)
    weights = spline_matrix(centers, np.arange(-3, 100))
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-9)


def test_shifts_of_another_grid_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        field_at(np.zeros((3, 3, 2)), Centers(np.arange(2.0), np.arange(3.0)), (8, 8))


def test_noise_of_known_size_shrinks_to_nothing() -> None:
    rng = np.random.default_rng(0)
    likeness = covariance(centers_of((512, 512)), length_px=256)
    noise = rng.normal(0, 0.3, (64, 2))
    found = most_likely_field(noise, np.full((64, 2), 0.09), likeness)

    assert np.abs(found).std() < 0.06


def test_what_exceeds_the_noise_stays() -> None:
    centers = centers_of((512, 512))
    y, x = (axis / 512 for axis in np.meshgrid(*centers, indexing="ij"))
    smooth = 2 * np.stack([np.cos(np.pi * y), np.sin(np.pi * x)], axis=-1).reshape(-1, 2)
    noise = np.random.default_rng(0).normal(0, 0.2, smooth.shape)
    likeness = covariance(centers, length_px=256)
    found = most_likely_field(smooth + noise, np.full((64, 2), 0.04), likeness)

    assert np.sqrt(np.mean((found - smooth) ** 2)) < 0.14  # neighbours share what they know
    exact = most_likely_field(smooth, np.full((64, 2), 1e-9), likeness)
    np.testing.assert_allclose(exact, smooth, atol=1e-5)


def test_a_patch_that_shows_nothing_follows_its_neighbours() -> None:
    likeness = covariance(centers_of((512, 512)), length_px=256)
    found, variance = np.full((64, 2), 1.5), np.full((64, 2), 1e-4)
    found[27], variance[27] = -40, np.inf
    settled = most_likely_field(found, variance, likeness)

    np.testing.assert_allclose(settled[27], 1.5, atol=0.05)
