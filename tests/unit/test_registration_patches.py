"""Patches tile a field of any size, and know where they are."""

from __future__ import annotations

import numpy as np
import pytest

from clgkit.registration.patches import plan_patches


@pytest.mark.parametrize("overlap_px", [0, 32, 48])
def test_patches_of_512_pixels_are_where_they_are(overlap_px: int) -> None:
    axis = plan_patches((512, 512), grid_px=64, overlap_px=overlap_px).y
    inner = np.arange(95.5, 456, 64)
    border = (64 + overlap_px - 1) / 2

    np.testing.assert_array_equal(axis.centers_px, [border, *inner, 511 - border])


@pytest.mark.parametrize("n", [1, 5, 63, 64, 65, 95, 96, 97, 130, 511, 599])
def test_every_pixel_lies_in_a_patch(n: int) -> None:
    axis = plan_patches((n, 7), grid_px=64, overlap_px=16).y

    assert (axis.window.sum(axis=0) > 0).all()
    assert (np.diff(axis.centers_px) > 0).all()
    for row, start, stop in zip(axis.window, axis.start, axis.stop, strict=True):
        assert (row[start:stop] > 0).all()
        assert not row[:start].any()
        assert not row[stop:].any()
        # The window belongs to the centre: so does what is measured under it.
        center = (row * np.arange(n)).sum() / row.sum()
        assert center == pytest.approx((start + stop - 1) / 2, abs=1e-4)


@pytest.mark.parametrize(("n", "cells"), [(30, 1), (90, 1), (96, 2), (158, 2), (160, 3)])
def test_a_short_last_cell_joins_the_one_before(n: int, cells: int) -> None:
    assert plan_patches((n, n), grid_px=64, overlap_px=8).shape == (cells, cells)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one pixel"):
        plan_patches((0, 5))
    with pytest.raises(ValueError, match="grid_px 0"):
        plan_patches((5, 5), grid_px=0)
    with pytest.raises(ValueError, match="overlap_px -1"):
        plan_patches((5, 5), overlap_px=-1)
