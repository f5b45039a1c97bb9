"""One brightness scale for a stack."""

import numpy as np
import pytest

from clgkit.contrast import Limits, StackLimits, normalize_contrast, percentile_limits


def test_all_planes_are_counted_together() -> None:
    planes = [np.full((10, 10), value, np.uint16) for value in range(11)]

    assert percentile_limits(planes, low=0, high=100) == Limits(0.0, 10.0)
    assert percentile_limits(iter(planes), low=10, high=90) == Limits(1.0, 9.0)


@pytest.mark.parametrize("dtype", ["bool", "u1", "i1", "<u2", ">u2", "i2"])
def test_small_integers_are_exact(dtype: str) -> None:
    rng = np.random.default_rng(5)
    stack = rng.integers(-40000, 40000, (4, 30, 31)).astype(dtype)

    low, high = percentile_limits(stack, low=0.2, high=99.8)

    assert (low, high) == tuple(np.percentile(stack.astype(float), [0.2, 99.8]))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i4", "u4"])
def test_other_numbers_are_close(dtype: str) -> None:
    rng = np.random.default_rng(6)
    stack = rng.gamma(2, 150, (4, 50, 51)).astype(dtype)

    found = percentile_limits(stack, low=1, high=99)

    # 2**-13 is the width of a bin relative to its numbers.
    np.testing.assert_allclose(found, np.percentile(stack, [1, 99]), rtol=2**-13)


def test_negative_floats_are_ordered() -> None:
    stack = np.linspace(-5, 3, 801, dtype=np.float32).reshape(1, 1, -1)

    found = percentile_limits(stack, low=25, high=75)

    np.testing.assert_allclose(found, [-3, 1], rtol=2**-13)  # the width of a bin


def test_workers_may_count_apart() -> None:
    stack = np.random.default_rng(7).normal(size=(4, 20, 20)).astype(np.float32)
    first, second, empty = StackLimits(), StackLimits(), StackLimits()
    for plane in stack[:1]:
        first.add(plane)
    for plane in stack[1:]:
        second.add(plane)

    first.merge(second)
    first.merge(empty)
    empty.merge(first)

    assert first.limits() == empty.limits() == percentile_limits(stack)
    assert first.n_pixels == stack.size


def test_a_nucleus_keeps_its_brightness_order_under_one_scale() -> None:
    rng = np.random.default_rng(8)
    first = rng.normal(100, 2, (60, 60))
    first[20:24, 20:24] += 40
    second = rng.normal(100, 2, (60, 60))
    second[20:24, 20:24] += 20
    second[50, 50] += 400  # makes the second plane's own range wide

    limits = percentile_limits([first, second])
    bright, dim = (
        normalize_contrast(p, limits=limits, floor=1.0)[20:24, 20:24].mean()
        for p in (first, second)
    )

    assert bright == pytest.approx(2 * dim, rel=0.2)  # the floor compresses a little


def test_a_flat_stack_has_equal_limits_and_becomes_zeros() -> None:
    stack = np.full((3, 20, 20), 7, np.uint16)
    limits = percentile_limits(stack)

    assert tuple(limits) == (7.0, 7.0)
    assert not normalize_contrast(stack[0], limits=limits).any()


def test_nothing_to_count_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one plane"):
        percentile_limits([])
    with pytest.raises(ValueError, match="at least one plane"):
        percentile_limits([np.zeros((0, 4), np.uint8)])


def test_percentiles_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="low and high are 0 and 101"):
        percentile_limits([np.ones((3, 3))], low=0, high=101)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_numbers_without_a_bin_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="NaN, infinity"):
        percentile_limits([np.array([[1.0, bad]])])


def test_kinds_of_numbers_do_not_mix() -> None:
    whole, real = np.ones((2, 2), np.uint8), np.ones((2, 2), np.float32)

    with pytest.raises(TypeError, match="float32 cannot join"):
        percentile_limits([whole, real])
    with pytest.raises(TypeError, match="complex"):
        percentile_limits([real.astype(complex)])
    first, second = StackLimits(), StackLimits()
    first.add(whole)
    second.add(real)
    with pytest.raises(TypeError, match="share"):
        first.merge(second)
