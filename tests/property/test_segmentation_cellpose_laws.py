"""Laws of flows, masks and tiles."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from clgkit.segmentation.cellpose import masks_of_maps
from clgkit.segmentation.cellpose_flows import flows_of_masks, mask_diameter_px
from clgkit.segmentation.cellpose_masks import fill_and_drop_small, renumber_by_raster
from clgkit.segmentation.cellpose_samples import Draws, annotate_slice, draw_crop
from clgkit.segmentation.cellpose_tiles import (
    Tiling,
    image_percentiles,
    normalize_channels,
    resize_bilinear,
    run_tiled,
    stack_percentiles,
)
from tests.unit.cellpose_scene import disks, perfect_maps

FEW = settings(max_examples=15, deadline=None)
UNIT = st.floats(0, 1, exclude_max=True)
LABELS = hnp.arrays(
    np.int32, st.tuples(st.integers(3, 14), st.integers(3, 14)), elements=st.integers(0, 4)
)
RULES = st.sampled_from(["cellpose3", "cellpose2"])
ROUNDING = 1e-5  # float32


@FEW
@given(LABELS, RULES)
def test_flows_are_finite_zero_outside_and_at_most_one_long(labels: Any, rule: Any) -> None:
    flows = flows_of_masks(labels, rule=rule)

    assert np.isfinite(flows).all()
    assert not flows[:, labels == 0].any()
    assert np.sqrt((flows**2).sum(axis=0)).max(initial=0) <= 1 + 1e-9


@FEW
@given(LABELS, RULES, st.integers(0, 5), st.integers(0, 5))
def test_flows_move_with_their_masks(labels: Any, rule: Any, y: int, x: int) -> None:
    moved = np.pad(labels, [(y, 5 - y), (x, 5 - x)])

    flows = flows_of_masks(labels, rule=rule)

    height, width = labels.shape
    there = flows_of_masks(moved, rule=rule)[:, y : y + height, x : x + width]
    np.testing.assert_array_equal(there, flows)


@FEW
@given(LABELS)
def test_renumbering_keeps_the_partition_and_is_idempotent(labels: Any) -> None:
    once = renumber_by_raster(labels)

    np.testing.assert_array_equal(renumber_by_raster(once), once)
    np.testing.assert_array_equal(once == 0, labels == 0)
    for number in range(1, once.max() + 1):
        assert len(np.unique(labels[once == number])) == 1
    assert once.max() == len(np.unique(labels[labels > 0]))


@FEW
@given(LABELS, RULES, st.integers(-1, 12))
def test_no_mask_is_left_below_the_least_size_nor_with_a_gap(
    labels: Any, rule: Any, min_size: int
) -> None:
    kept = fill_and_drop_small(labels, min_size_px=min_size, rule=rule)

    counts = np.bincount(kept.ravel())[1:]
    if rule == "cellpose3":
        assert (counts >= max(min_size, 1)).all()
    assert kept.shape == labels.shape


@FEW
@given(st.integers(0, 50), st.sampled_from(["cellpose3", "cellpose2"]))
def test_masks_come_back_from_perfect_maps(seed: int, rule: Any) -> None:
    from clgkit.segmentation.cellpose import CellposeOptions

    labels = disks(seed, 48, 8).labels

    found = masks_of_maps(
        perfect_maps(labels), (48, 48), scale=np.float32(1), options=CellposeOptions(rule=rule)
    )

    sizes = np.bincount(labels.ravel())[1:]
    assert found.max() <= labels.max()
    assert found.max() >= (sizes > 30).sum() - 1  # slivers at the border may be left out
    assert np.mean((found > 0) <= (labels > 0)) > 0.99


@FEW
@given(st.integers(16, 90), st.integers(16, 90), st.sampled_from([32, 64, 224]), st.booleans())
def test_tiling_is_invisible_to_a_pixelwise_network(
    y: int, x: int, tile: int, augment: Any
) -> None:
    image = np.random.default_rng(y).random((2, y, x), np.float32)

    maps = run_tiled(
        image,
        lambda tiles: np.repeat(tiles[:, :1], 3, axis=1),
        tiling=Tiling(tile, augment=augment),
    )

    np.testing.assert_allclose(maps[2], image[0], atol=ROUNDING)


@FEW
@given(st.floats(0.1, 50), st.floats(-100, 100))
def test_normalizing_undoes_gain_and_offset(gain: float, offset: float) -> None:
    image = disks().image[np.newaxis].astype(np.float64)
    moved = gain * image + offset

    first, second = (normalize_channels(each, image_percentiles(each)) for each in (image, moved))

    # float32 holds 7 digits of the offset image
    spread = float(np.ptp(moved)) / max(float(np.abs(moved).max()), 1)
    np.testing.assert_allclose(second, first, atol=1e-5 / max(spread, 1e-3), rtol=1e-4)


@FEW
@given(st.integers(1, 9), st.integers(4, 12))
def test_percentiles_do_not_depend_on_how_a_stack_is_read(n: int, side: int) -> None:
    stack = np.random.default_rng(n).integers(0, 999, (1, n, side, side))

    streamed = stack_percentiles((stack[:, z] for z in range(n)), (n, side, side))

    np.testing.assert_array_equal(streamed, image_percentiles(stack))


@FEW
@given(st.integers(2, 40), st.integers(2, 40), st.integers(1, 60), st.integers(1, 60))
def test_resizing_stays_within_the_range_of_the_image(y: int, x: int, m: int, n: int) -> None:
    image = np.random.default_rng(y).random((2, y, x), np.float32)

    resized = resize_bilinear(image, (m, n))

    assert resized.shape == (2, m, n)
    assert resized.min() >= image.min() - ROUNDING
    assert resized.max() <= image.max() + ROUNDING


@FEW
@given(st.tuples(UNIT, UNIT, UNIT, UNIT, UNIT), st.floats(0.5, 2))
def test_a_crop_invents_nothing(numbers: Any, rescale: float) -> None:
    image, labels = disks(1, 40, 6)
    part = annotate_slice(image, labels)

    seen, target = draw_crop(part, Draws(*numbers), rescale=rescale, crop_px=32)

    assert np.isfinite(seen).all()
    assert set(np.unique(target[0])) <= set(np.unique(part.target[0]))
    assert np.sqrt((target[1:] ** 2).sum(axis=0)).max() <= 1 + ROUNDING
    assert seen.max() <= part.image.max() + ROUNDING


@pytest.mark.parametrize("factor", [2, 3])
def test_the_diameter_grows_with_the_image(factor: int) -> None:
    labels = disks().labels

    grown = labels.repeat(factor, axis=0).repeat(factor, axis=1)

    assert mask_diameter_px(grown) == pytest.approx(factor * mask_diameter_px(labels))
