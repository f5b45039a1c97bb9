"""Contrast against the outputs of the CLG script ``local_normalization.py``."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.lib.npyio import NpzFile

from clgkit.contrast import normalize_contrast, normalize_to_uint16, to_uint16

TOLERANCE = 3e-7  # the original is float64, ours is rounded to float32 (values up to 5)

Golden = Callable[[str], NpzFile]


@pytest.mark.parametrize(
    ("key", "radius_px", "floor"),
    [
        ("local_h10_b30", 10, 30.0),
        ("local_h10_b0005", 10, 5e-4),
        ("local_h30_b001", 30, 1e-3),
    ],
)
def test_matches_the_original_window(
    golden: Golden, key: str, radius_px: int, floor: float
) -> None:
    file = golden("localnorm")
    for plane, expected in zip(file["image"], file[key], strict=True):
        ours = normalize_contrast(plane, radius_px=radius_px, floor=floor)

        np.testing.assert_allclose(ours, expected, atol=TOLERANCE, rtol=0)


def test_matches_the_original_program_whose_radius_is_only_a_padding(golden: Golden) -> None:
    file = golden("localnorm")
    for plane, expected in zip(file["image"], file["process_r30"], strict=True):
        # One unit in the last place of float32: the original sums in another order.
        np.testing.assert_array_max_ulp(normalize_contrast(plane), expected, maxulp=1)


@pytest.mark.parametrize(
    ("key", "floor"), [("process_r30_rescaled", 5e-4), ("process_r31_b001_rescaled", 1e-3)]
)
def test_rescaled_planes_are_the_originals_bit_for_bit(
    golden: Golden, key: str, floor: float
) -> None:
    file = golden("localnorm")
    for plane, expected in zip(file["image"], file[key], strict=True):
        np.testing.assert_array_equal(normalize_to_uint16(plane, floor=floor), expected)


def test_rescaling_a_float32_plane_moves_few_pixels_by_one_count(golden: Golden) -> None:
    file = golden("localnorm")
    for plane, expected in zip(file["process_r30"], file["process_r30_rescaled"], strict=True):
        moved = np.abs(to_uint16(plane).astype(int) - expected)

        assert moved.max() <= 1  # truncation of a float32 that was rounded before
        assert np.count_nonzero(moved) < 0.005 * moved.size


def test_a_constant_plane_becomes_zeros(golden: Golden) -> None:
    file = golden("localnorm")

    np.testing.assert_array_equal(normalize_contrast(file["constant_in"]), file["constant_out"])
