"""Laws of contrast normalization."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from clgkit.contrast import StackLimits, normalize_contrast, percentile_limits

SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.floats(0.01, 100), st.floats(-1000, 1000), st.sampled_from(["plane", "stack"]))
def test_gain_and_offset_do_not_matter(seed: int, gain: float, offset: float, scale: str) -> None:
    plane = np.random.default_rng(seed).normal(500, 100, (24, 31))
    changed = gain * plane + offset
    limits = [
        tuple(np.percentile(p, [0.2, 99.8])) if scale == "stack" else None for p in (plane, changed)
    ]

    expected = normalize_contrast(plane, limits=limits[0])

    # Rounding of the offset against a small gain, divided by a noise floor of 0.02.
    np.testing.assert_allclose(
        normalize_contrast(changed, limits=limits[1]), expected, atol=2e-6, rtol=0
    )


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.integers(1, 30))
def test_turning_the_plane_turns_the_result(seed: int, radius_px: int) -> None:
    plane = np.random.default_rng(seed).integers(0, 65536, (25, 33)).astype(np.uint16)

    turned = normalize_contrast(np.rot90(plane), radius_px=radius_px)

    # Integer sums are exact, so only the last rounding could differ.
    np.testing.assert_allclose(
        turned, np.rot90(normalize_contrast(plane, radius_px=radius_px)), atol=1e-6, rtol=0
    )


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.sampled_from(["uint8", "int16", "float32"]), st.integers(1, 5))
def test_limits_depend_neither_on_order_nor_on_portions(seed: int, dtype: str, step: int) -> None:
    rng = np.random.default_rng(seed)
    stack = rng.normal(100, 20, (6, 9, 11)).astype(dtype)
    counted = StackLimits()
    for start in range(0, len(stack), step):
        counted.add(stack[::-1][start : start + step])

    assert counted.limits(low=5, high=95) == percentile_limits(stack, low=5, high=95)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=60), st.floats(0, 50))
def test_integer_limits_are_numpys_percentiles(values: list[int], low: float) -> None:
    stack = np.array(values, np.int16)

    found = percentile_limits([stack], low=low, high=100 - low / 2)

    # numpy interpolates with another rounding.
    np.testing.assert_allclose(
        found, np.percentile(stack.astype(float), [low, 100 - low / 2]), rtol=1e-12, atol=1e-9
    )
