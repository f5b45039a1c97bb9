"""Local contrast normalization of one plane."""

import numpy as np
import numpy.typing as npt
import pytest

from clgkit.contrast import normalize_contrast, normalize_to_uint16, to_uint16

FLOOR = 5e-4
TOLERANCE = 1e-6  # float32 output of values up to 8, and another order of summation


def make_plane(shape: tuple[int, int] = (37, 52), seed: int = 3) -> npt.NDArray[np.uint16]:
    rng = np.random.default_rng(seed)
    return (200 + rng.gamma(2.0, 150.0, shape)).astype(np.uint16)


def normalize_slowly(
    plane: npt.NDArray[np.generic],
    radius_px: int = 10,
    limits: tuple[float, float] | None = None,
) -> npt.NDArray[np.float64]:
    """Look at every window of a mirrored plane, one after another."""
    pixels = plane.astype(np.float64)
    low, high = limits or (pixels.min(), pixels.max())
    scaled = (pixels - low) / (high - low)
    side = 2 * radius_px + 1
    padded = np.pad(scaled, radius_px, mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side))
    mean, variance = windows.mean(axis=(2, 3)), windows.var(axis=(2, 3))
    normalized: npt.NDArray[np.float64] = (scaled - mean) / np.sqrt(variance + FLOOR)
    return normalized


@pytest.mark.parametrize("radius_px", [1, 3, 10, 40])
def test_the_radius_is_the_radius(radius_px: int) -> None:
    plane = make_plane()

    ours = normalize_contrast(plane, radius_px=radius_px)

    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, normalize_slowly(plane, radius_px), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (30, 1), (2, 3), (5, 64), (20, 21)])
def test_planes_smaller_than_the_window_are_mirrored_again(shape: tuple[int, int]) -> None:
    plane = make_plane(shape)
    plane[0, 0] += 1
    expected = normalize_slowly(plane) if plane.size > 1 else np.zeros(shape)

    np.testing.assert_allclose(normalize_contrast(plane), expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(
    "dtype", ["u1", "<u2", ">u2", "i4", "u8", "f2", "<f4", ">f4", "<f8", "bool"]
)
def test_any_real_dtype_is_accepted(dtype: str) -> None:
    plane = (make_plane() % 200).astype(dtype)

    np.testing.assert_allclose(
        normalize_contrast(plane), normalize_slowly(plane), atol=TOLERANCE, rtol=0
    )


@pytest.mark.parametrize(
    ("dtype", "low", "high"), [("int16", -30000, 30000), ("uint16", 0, 65535), ("int8", -128, 127)]
)
def test_integers_never_wrap(dtype: str, low: int, high: int) -> None:
    plane = np.random.default_rng(1).integers(low, high + 1, (40, 41)).astype(dtype)
    plane[0, :2] = low, high

    np.testing.assert_allclose(
        normalize_contrast(plane), normalize_slowly(plane), atol=TOLERANCE, rtol=0
    )


@pytest.mark.parametrize("value", [0, 7, 0.1, -3.7])
def test_a_constant_plane_is_zero(value: float) -> None:
    plane = np.full((20, 30), value)

    assert not normalize_contrast(plane).any()
    assert not normalize_contrast(plane, limits=(-5, 10)).any()
    assert not normalize_to_uint16(plane).any()


def test_a_view_is_read_as_its_copy() -> None:
    plane = make_plane((60, 80))[::2, ::-3]

    np.testing.assert_array_equal(normalize_contrast(plane), normalize_contrast(plane.copy()))


def test_limits_scale_and_do_not_clip() -> None:
    plane = make_plane()
    limits = (300.0, 700.0)
    assert plane.min() < limits[0]
    assert plane.max() > limits[1]

    np.testing.assert_allclose(
        normalize_contrast(plane, limits=limits),
        normalize_slowly(plane, limits=limits),
        atol=TOLERANCE,
        rtol=0,
    )


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_with_limits_a_hot_pixel_is_only_felt_in_its_window(dtype: type[np.generic]) -> None:
    plane = make_plane((80, 90)).astype(dtype)
    hot = plane.copy()
    hot[40, 45] = 65535
    limits = (200.0, 1200.0)

    changed = np.abs(
        normalize_contrast(hot, limits=limits) - normalize_contrast(plane, limits=limits)
    )
    window = changed[30:51, 35:56].copy()
    changed[30:51, 35:56] = 0

    assert window.min() > 0
    assert np.median(window) > 0.1
    assert changed.max() <= 1e-6  # what the running sums keep of the pixel
    whole = np.abs(normalize_contrast(hot) - normalize_contrast(plane))
    assert np.median(whole) > 0.1  # the plane's own limits spread it everywhere


def test_equal_limits_give_zeros() -> None:
    assert not normalize_contrast(make_plane(), limits=(300, 300)).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(bad: float) -> None:
    plane = make_plane().astype(np.float32)
    plane[3, 4] = bad

    with pytest.raises(ValueError, match="NaN or infinity"):
        normalize_contrast(plane)
    with pytest.raises(ValueError, match="NaN or infinity"):
        to_uint16(plane)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"radius_px": 0}, "radius_px is 0"),
        ({"radius_px": -2}, "radius_px is -2"),
        ({"floor": 0.0}, "floor is 0.0"),
        ({"floor": np.inf}, "floor is inf"),
        ({"limits": (5.0, 4.0)}, "ascending"),
        ({"limits": (0.0, np.nan)}, "finite"),
    ],
)
def test_an_option_out_of_range_is_named(options: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        normalize_contrast(make_plane(), **options)  # type: ignore[arg-type]


def test_limits_that_a_double_cannot_tell_apart_are_refused() -> None:
    with pytest.raises(ValueError, match="too close"):
        normalize_contrast(make_plane().astype(np.float64), limits=(0.0, 5e-324))


@pytest.mark.parametrize("shape", [(4,), (2, 3, 4), (0, 5)])
def test_only_planes_are_accepted(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(Y, X\) is wanted"):
        normalize_contrast(np.ones(shape))


def test_complex_numbers_are_refused() -> None:
    with pytest.raises(TypeError, match="complex128"):
        normalize_contrast(np.ones((3, 3), complex))


def test_rescaling_clips_and_truncates() -> None:
    plane = np.linspace(-1, 1, 101 * 100).reshape(101, 100)

    rescaled = to_uint16(plane, low=10, high=90)

    low, high = np.percentile(plane, [10, 90])
    inside = (plane > low) & (plane < high)
    assert rescaled.dtype == np.uint16
    assert (rescaled[plane <= low] == 0).all()
    assert (rescaled[plane >= high] >= 65534).all()  # 65535 may be rounded below itself
    exact = (plane[inside] - low) / (high - low) * 65535
    assert ((exact - rescaled[inside] > -1e-9) & (exact - rescaled[inside] < 1)).all()


def test_a_flat_plane_rescales_to_zeros() -> None:
    plane = np.zeros((50, 50), np.float32)
    plane[0, 0] = 9  # beyond the upper percentile

    assert not to_uint16(plane).any()


def test_percentiles_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="low and high are 60 and 40"):
        to_uint16(make_plane(), low=60, high=40)
