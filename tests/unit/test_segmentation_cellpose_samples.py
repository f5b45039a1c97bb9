"""Annotated slices, crops of them, and recipes."""

import math
from typing import Any

import numpy as np
import pytest

from clgkit.segmentation.cellpose_flows import flows_of_masks
from clgkit.segmentation.cellpose_recipe import (
    FULL,
    NARROW,
    CellposeRecipe,
    learning_rates,
    recipe_like,
)
from clgkit.segmentation.cellpose_samples import (
    AnnotatedSlice,
    Draws,
    annotate_slice,
    check_masks,
    draw,
    draw_crop,
    mean_diameter_px,
    pixel_weights,
)
from tests.unit.cellpose_scene import disks

STILL = Draws(0, 0, 0.5, 0.5, 0.5)
EXACT = 1e-5  # float32


def part(side: int = 64, seed: int = 0) -> AnnotatedSlice:
    image, labels = disks(seed, side)
    return annotate_slice(image, labels)


def test_a_slice_is_normalized_and_has_its_flows() -> None:
    image, labels = disks()

    made = annotate_slice(image, labels)

    assert made.image.shape == (2, 64, 64)
    assert not made.image[1].any()
    assert np.percentile(made.image[0], 99) == pytest.approx(1, abs=EXACT)
    np.testing.assert_array_equal(made.target[0] > 0, labels > 0)
    np.testing.assert_allclose(made.target[1:], flows_of_masks(labels), atol=EXACT)
    assert made.n_masks == labels.max()
    assert 7 < made.diameter_px < 13


def test_large_ids_are_made_compact() -> None:
    image, labels = disks()

    made = annotate_slice(image, labels.astype(np.uint32) * 300_000_000)

    assert made.target[0].max() == labels.max()  # float32 could not hold them


def test_two_channels_are_normalized_apart() -> None:
    image, labels = disks()

    made = annotate_slice(np.stack([image, 9 * image]), labels)

    np.testing.assert_allclose(made.image[0], made.image[1], atol=EXACT)


@pytest.mark.parametrize(
    ("image", "labels", "words"),
    [
        (np.zeros((20, 20)), np.zeros((20, 21), int), r"\(20, 21\) for an image of \(20, 20\)"),
        (np.zeros((3, 20, 20)), np.zeros((20, 20), int), "takes 2"),
        (np.zeros((20, 20)), np.zeros((20, 20)), "whole numbers"),
        (np.zeros((20, 20)), np.full((20, 20), -1), "between 0 and"),
        (np.zeros((20, 20)), np.full((20, 20), 2**33), "between 0 and"),
    ],
)
def test_masks_that_do_not_fit_are_refused(image: Any, labels: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        annotate_slice(image, labels)


def test_an_image_is_not_taken_for_masks() -> None:
    noise = np.random.default_rng(0).integers(0, 60_000, (50, 50))

    with pytest.raises(ValueError, match="as an image does"):
        check_masks(noise)
    check_masks(disks().labels)
    check_masks(np.array([[0, 1], [1, 0]]))


def test_masks_without_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match="no pixels"):
        check_masks(np.zeros((0, 5), int))


def test_the_mean_diameter_counts_small_ones_as_5_or_leaves_out_empty_slices() -> None:
    image = np.zeros((2, 8, 8), np.float32)
    slices = [AnnotatedSlice(image, image, d, 1) for d in (0.0, 3.0, 12.0)]

    assert mean_diameter_px(slices) == pytest.approx((5 + 5 + 12) / 3)
    assert mean_diameter_px(slices, rule="cellpose2") == pytest.approx(7.5)


def test_a_crop_that_is_not_moved_is_the_middle() -> None:
    made = part()

    image, target = draw_crop(made, STILL, rescale=1, crop_px=32)

    np.testing.assert_allclose(image, made.image[:, 16:48, 16:48], atol=EXACT)
    np.testing.assert_allclose(target, made.target[:, 16:48, 16:48], atol=EXACT)


def test_a_crop_larger_than_the_slice_is_zero_beyond_it() -> None:
    made = part()

    image, target = draw_crop(made, STILL, rescale=1, crop_px=96)

    np.testing.assert_allclose(target[:, 16:80, 16:80], made.target, atol=EXACT)
    assert not image[:, :15].any()
    assert not target[:, :, 81:].any()


def test_a_mirrored_crop_has_its_flow_along_x_turned_back() -> None:
    made = part()

    image, target = draw_crop(made, STILL._replace(flip=1), rescale=1, crop_px=64)

    np.testing.assert_allclose(image, made.image[..., ::-1], atol=EXACT)
    np.testing.assert_allclose(target[1], made.target[1, :, ::-1], atol=EXACT)
    np.testing.assert_allclose(target[2], -made.target[2, :, ::-1], atol=EXACT)


def test_half_a_turn_turns_image_and_flows() -> None:
    made = part()

    image, target = draw_crop(made, STILL._replace(turn=0.5), rescale=1, crop_px=64)

    # turned about the corner of four pixels: the grid is shifted by one pixel
    np.testing.assert_allclose(image[0, 1:, 1:], made.image[0, :0:-1, :0:-1], atol=1e-3)
    inside = target[0, 1:, 1:] > 0
    np.testing.assert_allclose(
        target[1:, 1:, 1:][:, inside], -made.target[1:, :0:-1, :0:-1][:, inside], atol=1e-3
    )


@pytest.mark.parametrize("turn", [0.1, 0.25, 0.4, 0.85])
def test_turned_flows_still_lead_to_the_centre(turn: float) -> None:
    y, x = np.mgrid[:64, :64] - 32.0
    labels = (y**2 + x**2 < 100).astype(np.int32)
    made = annotate_slice(labels * 100, labels)

    _, target = draw_crop(made, STILL._replace(turn=turn), rescale=1, crop_px=64)

    ring = (y**2 + x**2 > 16) & (y**2 + x**2 < 64)
    towards = -(target[1] * y + target[2] * x) / np.sqrt(y**2 + x**2 + 1e-9)
    assert towards[ring].min() > 0.8


def test_scales_lie_about_one_over_the_rescaling() -> None:
    y, x = np.mgrid[:128, :128] - 64.0
    labels = (y**2 + x**2 < 400).astype(np.int32)
    made = annotate_slice(labels * 100, labels)
    area = float((labels > 0).sum())

    for drawn, rescale in ((0.0, 1.0), (1.0, 1.0), (0.5, 2.0)):
        _, target = draw_crop(
            made, STILL._replace(scale=drawn), rescale=rescale, crop_px=128, scale_range=0.5
        )
        scale = (0.75 + 0.5 * drawn) / rescale
        assert (target[0] > 0).sum() / area == pytest.approx(scale**2, rel=0.05)  # whole pixels


def test_crops_reach_every_corner() -> None:
    made = part()

    corners = [
        draw_crop(made, STILL._replace(shift_x=x, shift_y=y), rescale=1, crop_px=32)[0]
        for y in (0.0, 1.0)
        for x in (0.0, 1.0)
    ]

    found = {
        (y, x)
        for crop in corners
        for y in (0, 32)
        for x in (0, 32)
        if np.allclose(crop, made.image[:, y : y + 32, x : x + 32], atol=EXACT)
    }
    assert found == {(0, 0), (0, 32), (32, 0), (32, 32)}


def blocks(*sides: int) -> AnnotatedSlice:
    """Return a slice of squares with these sides."""
    labels = np.zeros((20, 20 * len(sides)), np.int32)
    for k, side in enumerate(sides):
        labels[:side, 20 * k : 20 * k + side] = k + 1
    return annotate_slice(labels * 100, labels)


def test_small_sections_weigh_as_much_as_the_typical_one() -> None:
    weights = pixel_weights(blocks(5, 10, 10, 15), most=100)

    np.testing.assert_allclose(weights, [1, 4, 1, 1, 1], rtol=EXACT)
    assert weights.dtype == np.float32


def test_no_pixel_weighs_more_than_the_most() -> None:
    assert pixel_weights(blocks(1, 10, 10, 10), most=4).tolist() == [1, 4, 1, 1, 1]


def test_a_slice_without_masks_has_the_weight_of_background() -> None:
    empty = annotate_slice(disks().image, np.zeros((64, 64), int))

    assert pixel_weights(empty, most=4).tolist() == [1]


def test_the_same_generator_draws_the_same() -> None:
    first, second = (draw(np.random.default_rng(3)) for _ in range(2))

    assert first == second
    assert all(0 <= value < 1 for value in first)


def test_recipes_are_known_by_name() -> None:
    fast, original, third = (recipe_like(n) for n in ("fast", "original", "cellpose3"))

    assert (fast.widths, fast.optimizer, fast.learning_rate) == (NARROW, "adamw", 5e-3)
    assert (original.widths, original.optimizer, original.learning_rate) == (FULL, "sgd", 0.1)
    assert (original.n_epochs, original.weight_decay, original.batch_size) == (500, 1e-4, 8)
    assert (third.optimizer, third.weight_decay, third.n_epochs) == ("adamw", 1e-5, 100)
    assert original.patience is None
    assert original.crops_per_epoch is None
    assert fast.most_weight > 1
    assert original.most_weight == third.most_weight == 1


def test_a_recipe_can_be_changed_and_written_as_json() -> None:
    made = recipe_like("fast", n_epochs=3, seed=9)

    assert made.as_dict()["n_epochs"] == 3
    assert made.as_dict()["widths"] == [8, 16, 32, 64]


def test_an_unknown_recipe_is_refused() -> None:
    with pytest.raises(ValueError, match="recipes are fast, original, cellpose3"):
        recipe_like("slow")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"widths": (8, 16, 0, 64)}, "widths"),
        ({"diam_mean_px": 0}, "diam_mean_px"),
        ({"n_epochs": 0}, "n_epochs"),
        ({"crops_per_epoch": 0}, "crops_per_epoch"),
        ({"patience": 0}, "patience"),
        ({"optimizer": "radam"}, "adamw or sgd"),
        ({"learning_rate": 0}, "learning rate"),
        ({"learning_rate": math.nan}, "learning rate"),
        ({"weight_decay": -1}, "weight decay"),
        ({"crop_px": 100}, "multiple of 8"),
        ({"scale_range": 2}, "scale_range"),
        ({"most_weight": 0.5}, "most_weight"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_setting_outside_of_its_range_is_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        CellposeRecipe(**changes)


@pytest.mark.parametrize("rule", ["cellpose3", "cellpose2"])
@pytest.mark.parametrize("n_epochs", [1, 5, 10, 11, 100, 101, 250, 251, 300, 301, 500])
def test_rates_warm_up_and_never_exceed_the_highest(rule: Any, n_epochs: int) -> None:
    rates = learning_rates(n_epochs, 0.2, rule=rule)

    assert len(rates) == n_epochs
    assert rates[0] == 0
    assert rates.max() <= 0.2
    assert (np.diff(rates[10:]) <= 0).all()


@pytest.mark.parametrize(
    ("rule", "n_epochs", "halvings"),
    [
        ("cellpose3", 100, 0),
        ("cellpose3", 101, 10),
        ("cellpose3", 301, 10),
        ("cellpose2", 250, 0),
        ("cellpose2", 251, 9),
    ],
)
def test_rates_are_halved_at_the_end_of_long_trainings(
    rule: Any, n_epochs: int, halvings: int
) -> None:
    rates = learning_rates(n_epochs, 1.0, rule=rule)

    assert rates[-1] == pytest.approx(0.5**halvings)
