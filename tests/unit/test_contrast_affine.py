"""Normalised stacks as 16-bit integers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clgkit.contrast import AffineMap, affine_map, normalize_contrast, normalize_volume


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(0, 3), st.integers(1, 5), st.floats(0.001, 1))
def test_the_map_restores_a_stack_to_half_a_step(
    seed: int, radius_z: int, radius: int, share: float
) -> None:
    rng = np.random.default_rng(seed)
    stack = np.where(rng.random((6, 12, 13)) < share, rng.integers(0, 65536, (6, 12, 13)), 7)
    radius_px = (radius_z, radius, radius)
    normalized = normalize_volume(
        stack.astype(np.uint16), radius_px=radius_px, limits=(0, 9), floor=1e-9
    )
    stored = affine_map(radius_px)

    restored = stored.decode(stored.encode(normalized))

    # Half a step, and the last digit of float32.
    np.testing.assert_allclose(restored, normalized, atol=0.501 * stored.gain, rtol=1e-6)


@pytest.mark.parametrize("hot", [65535, 0])
def test_the_most_extreme_pixel_there_can_be_fits(hot: int) -> None:
    plane = np.full((50, 50), 30000, np.uint16)
    plane[25, 25] = hot
    normalized = normalize_contrast(plane, floor=1e-12, limits=(29999, 30001))
    stored = affine_map((0, 10, 10))

    integers = stored.encode(normalized)

    # One among 441 lies sqrt(440) standard deviations from the mean.
    assert abs(normalized[25, 25]) == pytest.approx(440**0.5)
    assert integers[25, 25] == (65535 if hot else 1)


def test_zero_is_an_integer_of_its_own() -> None:
    stored = affine_map((0, 10, 10))

    assert stored.encode(np.zeros(1, np.float32)) == 32768
    assert stored.decode(np.array([32768], np.uint16)) == 0
    assert stored.gain == pytest.approx(6.4e-4, rel=0.01)


def test_rounding_is_to_the_nearest() -> None:
    stored = AffineMap(-1.0, 0.5)

    np.testing.assert_array_equal(
        stored.encode(np.array([-1.0, -0.8, -0.7, 0.24, 0.26])), [0, 0, 1, 2, 3]
    )


@pytest.mark.parametrize("value", [-1.3, 40000.0, np.nan])
def test_what_does_not_fit_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        AffineMap(-1.0, 0.5).encode(np.array([0.0, value]))
