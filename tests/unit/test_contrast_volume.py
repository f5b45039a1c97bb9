"""Contrast in a window with depth: brute force, streaming, parts of a stack."""

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clgkit.contrast import normalize_contrast, normalize_slices, normalize_volume

FLOOR = 5e-4
LIMITS = (100.0, 700.0)

Stack = npt.NDArray[np.generic]
Radius = tuple[int, int, int]


def make_stack(
    shape: tuple[int, int, int] = (9, 21, 24), seed: int = 3, dtype: str = "u2"
) -> Stack:
    rng = np.random.default_rng(seed)
    return (200 + rng.gamma(2.0, 150.0, shape)).astype(dtype)


def normalize_slowly(
    stack: Stack,
    radius_px: Radius,
    limits: tuple[float, float] = LIMITS,
    noise_sd: float | None = None,
) -> npt.NDArray[np.float64]:
    """Look at every window of a mirrored stack, one after another."""
    low, high = limits
    scaled = (stack.astype(np.float64) - low) / (high - low)
    padded = np.pad(scaled, [(r, r) for r in radius_px], mode="symmetric")
    sides = tuple(2 * r + 1 for r in radius_px)
    windows = np.lib.stride_tricks.sliding_window_view(padded, sides)
    added = FLOOR if noise_sd is None else (noise_sd / (high - low)) ** 2
    mean, variance = windows.mean(axis=(3, 4, 5)), windows.var(axis=(3, 4, 5))
    return np.asarray((scaled - mean) / np.sqrt(variance + added))


@pytest.mark.parametrize("radius_px", [(1, 1, 1), (3, 2, 5), (0, 4, 2), (8, 10, 10), (20, 1, 30)])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "f4", "f8"])
def test_every_voxel_is_compared_with_its_mirrored_box(radius_px: Radius, dtype: str) -> None:
    stack = make_stack(dtype=dtype)

    ours = normalize_volume(stack, radius_px=radius_px, limits=LIMITS)

    assert ours.dtype == np.float32
    # float32 output of values up to 8, and another order of summation.
    np.testing.assert_allclose(ours, normalize_slowly(stack, radius_px), atol=1e-6, rtol=0)


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 2**32 - 1),
    st.tuples(*[st.integers(1, 7)] * 3),
    st.tuples(st.integers(0, 9), st.integers(1, 9), st.integers(1, 9)),
)
def test_stacks_smaller_than_the_window_are_mirrored_again(
    seed: int, shape: tuple[int, int, int], radius_px: Radius
) -> None:
    stack = np.random.default_rng(seed).integers(0, 900, shape).astype(np.uint16)
    if stack.min() == stack.max():
        return

    ours = normalize_volume(stack, radius_px=radius_px, limits=LIMITS)

    wanted = normalize_slowly(stack, radius_px)
    np.testing.assert_allclose(ours, wanted, atol=1e-6, rtol=1e-6)  # as above


def test_without_depth_it_is_the_contrast_of_the_planes() -> None:
    stack = make_stack()

    ours = normalize_volume(stack, radius_px=(0, 10, 10), limits=LIMITS)

    planes = [normalize_contrast(plane, limits=LIMITS) for plane in stack]
    np.testing.assert_array_equal(ours, planes)


def test_limits_not_given_are_the_extremes_of_the_stack() -> None:
    stack = make_stack()
    ends = float(stack.min()), float(stack.max())

    np.testing.assert_array_equal(
        normalize_volume(stack, radius_px=(1, 2, 2)),
        normalize_volume(stack, radius_px=(1, 2, 2), limits=ends),
    )


@pytest.mark.parametrize("dtype", ["u2", "f4"])
@pytest.mark.parametrize("core", [1, 4, 7])
def test_parts_with_a_halo_give_the_whole(dtype: str, core: int) -> None:
    stack, radius_px = make_stack((20, 15, 16), dtype=dtype), (3, 4, 4)
    whole = normalize_volume(stack, radius_px=radius_px, limits=LIMITS)

    for start in range(0, len(stack), core):
        first, last = max(0, start - 3), min(len(stack), start + core + 3)
        part = normalize_volume(stack[first:last], radius_px=radius_px, limits=LIMITS)[
            start - first :
        ][:core]
        # Sums that began elsewhere; those of integers are exact.
        np.testing.assert_allclose(part, whole[start : start + core], atol=1e-6, rtol=0)


def test_slices_are_read_as_they_are_needed_and_few_are_kept() -> None:
    stack, read = make_stack((30, 8, 8)), []

    def reading() -> Iterator[Stack]:
        for z, plane in enumerate(stack):
            read.append(z)
            yield plane

    made = normalize_slices(reading(), radius_px=(4, 2, 2), limits=LIMITS)

    assert read == []
    ahead = []
    for z, _ in enumerate(made):
        ahead.append(read[-1] - z)
        frame = made.gi_frame  # type: ignore[attr-defined]
        if frame is not None:
            assert len(frame.f_locals["self"]._kept) <= 2 * 4 + 1
    assert ahead[:26] == [4] * 26
    assert read == list(range(30))


@pytest.mark.parametrize("value", [7, 0.1])
@pytest.mark.parametrize("limits", [None, LIMITS])
def test_a_constant_stack_is_zero(value: float, limits: tuple[float, float] | None) -> None:
    stack = np.full((5, 8, 9), value)

    assert not normalize_volume(stack, radius_px=(1, 2, 2), limits=limits).any()


def test_flat_slices_beside_others_are_compared_with_them() -> None:
    stack = make_stack()
    stack[4] = 480

    ours = normalize_volume(stack, radius_px=(1, 3, 3), limits=LIMITS)

    np.testing.assert_allclose(ours, normalize_slowly(stack, (1, 3, 3)), atol=1e-6, rtol=0)
    assert ours[4].any()


@pytest.mark.parametrize(("dtype", "hot"), [("u2", 65535), ("f4", 1e10), ("f8", -1e200)])
def test_a_corrupted_voxel_is_felt_in_its_box_only(dtype: str, hot: float) -> None:
    stack = make_stack((14, 20, 20), dtype=dtype)
    spoiled = stack.copy()
    spoiled[5, 9, 9] = hot

    one, other = (normalize_volume(s, radius_px=(2, 3, 3), limits=LIMITS) for s in (stack, spoiled))

    changed = np.abs(other - one)
    assert np.isfinite(other).all()
    assert changed[3:8, 6:13, 6:13].min() > 0
    changed[3:8, 6:13, 6:13] = 0
    assert changed.max() < 1e-5  # what the running sums keep of it


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_turning_the_stack_turns_the_result(axis: int) -> None:
    stack, radius_px = make_stack((12, 12, 12)), (1, 2, 4)
    order = np.roll([0, 1, 2], axis)
    turned = tuple(radius_px[i] for i in order)

    ours = normalize_volume(
        stack.transpose(order), radius_px=(turned[0], turned[1], turned[2]), limits=LIMITS
    )

    wanted = normalize_volume(stack, radius_px=radius_px, limits=LIMITS).transpose(order)
    np.testing.assert_allclose(ours, wanted, atol=1e-6, rtol=0)  # the last rounding


@pytest.mark.parametrize("sd", [0.5, 30.0])
@pytest.mark.parametrize("limits", [LIMITS, (0.0, 5.0)])
def test_an_absolute_noise_floor_does_not_care_for_limits(
    sd: float, limits: tuple[float, float]
) -> None:
    stack = make_stack(dtype="f4")
    wanted = normalize_slowly(stack, (0, 3, 3), noise_sd=sd)

    volume = normalize_volume(stack, radius_px=(0, 3, 3), limits=limits, noise_sd=sd)
    planes = [
        normalize_contrast(p, radius_px=3, noise_sd=sd, limits=given)
        for p, given in zip(stack, itertools.cycle([limits, None]), strict=False)
    ]

    # float32 output of values up to 8.
    np.testing.assert_allclose(volume, wanted, atol=2e-6, rtol=0)
    np.testing.assert_allclose(planes, wanted, atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"radius_px": (-1, 2, 2)}, r"radius_px is \(-1, 2, 2\)"),
        ({"radius_px": (2, 0, 2)}, r"radius_px is \(2, 0, 2\)"),
        ({"floor": -1.0}, "floor is -1.0"),
        ({"noise_sd": 0.0}, "noise_sd is 0.0"),
        ({"limits": (5.0, 4.0)}, "ascending"),
    ],
)
def test_an_option_out_of_range_is_named_before_anything_is_read(
    options: dict[str, float], words: str
) -> None:
    given = {"radius_px": (1, 2, 2), "limits": LIMITS} | options

    with pytest.raises(ValueError, match=words):
        normalize_slices(iter(()), **given)  # type: ignore[arg-type]


def test_stacks_that_are_none_are_refused() -> None:
    for shape in ((4, 5), (0, 4, 5)):
        with pytest.raises(ValueError, match="is wanted, not empty"):
            normalize_volume(np.ones(shape), radius_px=(1, 1, 1))
    with pytest.raises(ValueError, match="Slice 1 is uint16 of shape"):
        list(
            normalize_slices(
                [np.eye(3, dtype="u2"), np.eye(4, dtype="u2")], radius_px=(1, 1, 1), limits=LIMITS
            )
        )
    spoiled = make_stack(dtype="f4")
    spoiled[3, 1, 1] = np.nan
    with pytest.raises(ValueError, match="NaN or infinity"):
        normalize_volume(spoiled, radius_px=(1, 1, 1), limits=LIMITS)


def test_no_slices_give_no_slices() -> None:
    assert list(normalize_slices([], radius_px=(1, 1, 1), limits=LIMITS)) == []
