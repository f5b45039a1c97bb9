"""Contrast normalization of corrupted pixels, extreme units, and stacks with flat planes."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clgkit.contrast import (
    normalize_contrast,
    normalize_to_uint16,
    percentile_limits,
    to_uint16,
)

Plane = npt.NDArray[np.float64]


def make_plane(shape: tuple[int, int] = (70, 80), seed: int = 1) -> Plane:
    made: Plane = np.random.default_rng(seed).normal(500, 60, shape)
    return made


def normalize_slowly(
    plane: npt.NDArray[np.generic], radius_px: int, floor: float, limits: tuple[float, float]
) -> Plane:
    scaled = (plane.astype(np.float64) - limits[0]) / (limits[1] - limits[0])
    out = np.empty(scaled.shape)
    rows, columns = (np.pad(np.arange(n), radius_px, mode="symmetric") for n in scaled.shape)
    for y, x in np.ndindex(scaled.shape):
        window = scaled[rows[y : y + 2 * radius_px + 1]][:, columns[x : x + 2 * radius_px + 1]]
        out[y, x] = (scaled[y, x] - window.mean()) / np.sqrt(window.var() + floor)
    return out


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(1, 14), st.integers(1, 14)),
    st.integers(1, 20),
    st.sampled_from(["u1", "i1", "u2", "i2", "i4", "u8", "f4", "f8"]),
    st.sampled_from([1e-5, 5e-4, 0.1]),
)
def test_every_pixel_is_compared_with_its_mirrored_window(
    seed: int, shape: tuple[int, int], radius_px: int, dtype: str, floor: float
) -> None:
    rng = np.random.default_rng(seed)
    plane = rng.integers(0 if "u" in dtype else -90, 90, shape).astype(dtype)
    low, high = sorted(rng.choice(np.arange(-100, 200), 2, replace=False).tolist())
    if plane.min() == plane.max():
        return

    ours = normalize_contrast(plane, radius_px=radius_px, floor=floor, limits=(low, high))

    # One rounding to float32; the variance of nearly equal pixels cancels to 1e-12.
    wanted = normalize_slowly(plane, radius_px, floor, (low, high))
    np.testing.assert_allclose(ours, wanted, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize(
    ("dtype", "hot"),
    [("f4", 1e4), ("f4", 1e10), ("f4", -1e30), ("f4", 3e38), ("f8", 1e6), ("f8", 1e10),
     ("f8", -1e30), ("f8", 1e200), ("f8", -1e308)],
)  # fmt: skip
def test_a_corrupted_pixel_is_felt_in_its_window_only(dtype: str, hot: float) -> None:
    plane = make_plane().astype(dtype)
    spoiled = plane.copy()
    spoiled[20, 30] = hot
    limits = (300.0, 700.0)
    plain = normalize_contrast(plane, limits=limits)

    changed = np.abs(normalize_contrast(spoiled, limits=limits) - plain)

    window = changed[10:31, 20:41].copy()
    changed[10:31, 20:41] = 0
    assert np.isfinite(window).all()
    # It was NaN from 1e155 on, and wrong by 14 at 1e10: what the running sums had lost.
    assert changed.max() < 1e-5
    wanted = (441 - 1) / 440**0.5 * np.sign(hot)  # of one pixel among 441 equal ones
    assert normalize_contrast(spoiled, limits=limits)[20, 30] == pytest.approx(wanted, rel=0.05)


@pytest.mark.parametrize("dtype", ["i4", "i8", "u8"])
def test_a_corrupted_pixel_of_wide_integers_is_felt_in_its_window_only(dtype: str) -> None:
    plane = make_plane().astype(dtype)
    spoiled = plane.copy()
    spoiled[20, 30] = np.iinfo(dtype).max

    changed = np.abs(
        normalize_contrast(spoiled, limits=(300, 700))
        - normalize_contrast(plane, limits=(300, 700))
    )

    changed[10:31, 20:41] = 0
    assert changed.max() < 1e-5


@pytest.mark.parametrize(
    ("dtype", "scale"), [("f8", 1e300), ("f8", 1e-300), ("f4", 1e35), ("f4", 1e-35)]
)
def test_units_do_not_matter(dtype: str, scale: float) -> None:
    plane = make_plane()

    ours = normalize_contrast((plane * scale).astype(dtype))

    # float32 holds seven digits of a plane of which the contrast is a tenth.
    np.testing.assert_allclose(
        ours, normalize_contrast(plane), atol=1e-6 if dtype == "f8" else 2e-5, rtol=0
    )


@pytest.mark.parametrize("ends", [(-1.7e308, 1.7e308), (0.0, 4e-310)])
def test_ranges_that_a_double_cannot_hold_are_refused(ends: tuple[float, float]) -> None:
    plane = np.linspace(*(end / 2 for end in ends), 60).reshape(6, 10) * 2

    with pytest.raises(ValueError, match="too close or too far apart"):
        normalize_contrast(plane)
    with pytest.raises(ValueError, match="too close or too far apart"):
        normalize_contrast(make_plane(), limits=ends)


def test_flat_planes_of_a_stack_become_zeros_and_change_no_other() -> None:
    stack = np.stack([make_plane(seed=k) for k in range(5)]).astype(np.uint16)
    stack[[1, 4]] = 480
    limits = percentile_limits(stack)

    normalized = [normalize_contrast(plane, limits=limits) for plane in stack]

    assert [bool(plane.any()) for plane in normalized] == [True, False, True, True, False]
    lone = normalize_contrast(stack[2], limits=limits)
    np.testing.assert_array_equal(normalized[2], lone)


def test_with_one_scale_for_the_stack_a_hot_pixel_leaves_other_planes_alone() -> None:
    stack = np.stack([make_plane(seed=k) for k in range(12)]).astype(np.uint16)
    hot = stack.copy()
    hot[3, 40, 40] = 65535

    found, wanted = percentile_limits(hot), percentile_limits(stack)

    # One pixel among 67,200 moves a percentile by one neighbour at most.
    np.testing.assert_allclose(found, wanted, rtol=1e-3)
    one, other = (normalize_contrast(stack[7], limits=limits) for limits in (found, wanted))
    assert np.abs(one - other).max() < 1e-3 * np.abs(other).max()


@pytest.mark.parametrize("layout", ["fortran", "strided", "big-endian"])
@pytest.mark.parametrize("dtype", ["u2", "i2", "f4", "f8"])
def test_the_layout_of_a_plane_changes_no_bit_and_inputs_stay(layout: str, dtype: str) -> None:
    plane = make_plane().astype(dtype)
    given = {
        "fortran": np.asfortranarray(plane),
        "strided": np.repeat(plane, 3, axis=1)[:, 1::3],
        "big-endian": plane.astype(plane.dtype.newbyteorder(">")),
    }[layout]
    before = given.copy()

    for use in (normalize_contrast, normalize_to_uint16, to_uint16):
        np.testing.assert_array_equal(use(given), use(plane))
    assert percentile_limits([given]) == percentile_limits([plane])
    np.testing.assert_array_equal(given, before)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.floats(0, 40), st.floats(60, 100))
def test_stretching_is_linear_between_two_percentiles(seed: int, low: float, high: float) -> None:
    plane = np.random.default_rng(seed).normal(size=(20, 21))
    dark, bright = np.percentile(plane, [low, high])

    ours = to_uint16(plane, low=low, high=high)

    exact = np.clip((plane - dark) / (bright - dark), 0, 1) * 65535
    # Truncated; rounding may lift a value over a whole number or keep it below.
    assert ((exact - ours > -1e-6) & (exact - ours < 1 + 1e-6)).all()
    order = np.argsort(plane, axis=None)
    assert (np.diff(ours.ravel()[order].astype(int)) >= 0).all()


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2"])
@pytest.mark.parametrize("low", [0.0, 0.2, 12.5, 49.9])
def test_limits_of_few_heavily_tied_values_are_exact(dtype: str, low: float) -> None:
    info = np.iinfo(dtype)
    values = np.array([info.min, info.min, -0 if info.min == 0 else -1, 1, info.max], dtype)
    stack = np.random.default_rng(3).choice(values, (5, 9, 11))

    found = percentile_limits(iter(stack), low=low, high=100 - low)

    wanted = np.percentile(stack.astype(float), [low, 100 - low])
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-9)  # another interpolation


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1)])
def test_one_or_two_pixels_are_legal(shape: tuple[int, int]) -> None:
    plane = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape)

    ours = normalize_contrast(plane, radius_px=3)

    # Of two mirrored pixels seven stand in a window: three or four of each.
    assert ours.shape == shape
    assert ours.sum() == pytest.approx(0, abs=1e-6)
