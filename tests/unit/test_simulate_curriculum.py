from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from clgkit.simulate.curriculum import (
    FULL_SCALE,
    SMALLEST_BLOTCH,
    Recipe,
    draw_recipe,
    make_stack,
)

SMALL = Recipe(shape_px=(18, 72, 72))


def test_every_stack_is_drawn_apart_and_again() -> None:
    recipes = [draw_recipe(seed=1, number=k) for k in range(60)]

    assert recipes[7] == draw_recipe(seed=1, number=7)
    assert recipes[7] != draw_recipe(seed=2, number=7)
    assert len({r.photons for r in recipes}) == 60
    assert any(r.filling == 0 for r in recipes)
    assert max(r.filling for r in recipes) >= 0.4
    assert any(r.diameter_um[0] > 6 for r in recipes)
    assert any(r.layers < 1 for r in recipes)


def test_recipes_stay_in_the_range_of_the_curriculum() -> None:
    for recipe in (draw_recipe(seed=3, number=k) for k in range(200)):
        assert 0.65 <= recipe.size <= 1.3
        assert 4 <= recipe.photons <= 80
        assert 0.03 <= recipe.background <= 0.45
        assert recipe.blotch_share >= SMALLEST_BLOTCH
        nodes = np.array(recipe.diameter_um) / recipe.voxel_um
        assert 4 <= nodes[0] <= 12
        assert (nodes[1:] >= 10).all()
        assert (nodes[1:] <= 17).all()


def test_no_stack_of_the_curriculum_clips() -> None:
    small = (1.5, 5.0, 5.0)
    for number in range(25):
        recipe = draw_recipe(seed=4, number=number, shape=small)
        stack = make_stack(recipe, seed=4, number=number)

        assert stack.image.max() < FULL_SCALE + 1000
        assert stack.image.min() > 0


def test_the_brightest_light_is_scaled_down_not_cut() -> None:
    stack = make_stack(replace(SMALL, photons=20_000.0, brightness_cv=1.5), seed=0)

    assert stack.image.max() <= FULL_SCALE + 1000
    assert (stack.image == stack.image.max()).sum() < 4


def test_a_stack_is_a_function_of_its_seed() -> None:
    one, same, other = (make_stack(SMALL, seed=seed) for seed in (1, 1, 2))

    np.testing.assert_array_equal(one.image, same.image)
    np.testing.assert_array_equal(one.labels, same.labels)
    assert not np.array_equal(one.image, other.image)


def test_nuclei_fill_what_was_asked_for() -> None:
    stack = make_stack(Recipe(shape_px=(36, 128, 128)), seed=1)

    # Nuclei round the stack cut its faces, so their share inside is a little lower.
    assert (stack.labels > 0).mean() == pytest.approx(0.39, abs=0.03)
    ids, voxels = np.unique(stack.labels, return_counts=True)
    assert np.median(voxels[1:]) == pytest.approx(np.pi / 6 * 6 * 12 * 12, rel=0.15)
    assert ids.size > 400


def test_an_empty_stack_has_light_and_no_nuclei() -> None:
    stack = make_stack(replace(SMALL, filling=0.0), seed=0)

    assert not stack.labels.any()
    assert stack.image.std() > 0


@pytest.mark.parametrize("stretch", [1.0, 2.2])
def test_nuclei_are_as_long_as_the_optics_make_them(stretch: float) -> None:
    recipe = replace(
        SMALL, shape_px=(40, 72, 72), diameter_um=(6 * stretch, 6.0, 6.0), filling=0.15
    )

    labels = make_stack(recipe, seed=2).labels

    boxes = ndimage.find_objects(labels)
    whole = [
        box for box in boxes
        if box and all(s.start > 0 and s.stop < n for s, n in zip(box, labels.shape, strict=True))
    ]  # fmt: skip
    length = np.median([box[0].stop - box[0].start for box in whole])
    assert length == pytest.approx(6 * stretch, abs=1.0)


def test_layers_leave_the_rest_empty() -> None:
    everywhere, layered = (
        make_stack(replace(SMALL, shape_px=(24, 120, 120), layers=share), seed=3).labels > 0
        for share in (1.0, 0.3)
    )

    assert layered.mean() < 0.5 * everywhere.mean()
    blocks = layered.reshape(4, 6, 6, 20, 6, 20).mean(axis=(1, 3, 5))
    assert blocks.max() > 0.25  # as dense as elsewhere
    assert blocks.min() < 0.02


@pytest.mark.parametrize(
    ("change", "measure"),
    [
        ({"photons": 80.0}, lambda image, _: image.mean()),
        ({"background": 0.5}, lambda image, inside: image[~inside].mean()),
        ({"gain_sd": 0.8}, lambda image, _: ndimage.uniform_filter(image, 20).std()),
        ({"smoothing_px": 1.0}, lambda image, _: -np.abs(np.diff(image)).mean()),
        ({"rim": 0.5}, lambda image, inside: image[inside].mean()),
        ({"decay": 1.0}, lambda image, _: image[:4].mean() / image[-4:].mean()),
        ({"brightness_cv": 1.2}, lambda image, inside: image[inside].std()),
    ],
)
def test_every_ingredient_is_tasted(change: dict[str, float], measure: object) -> None:
    plain = make_stack(SMALL, seed=5)
    changed = make_stack(replace(SMALL, **change), seed=5)

    before, after = (
        measure(stack.image.astype(float), stack.labels > 0)  # type: ignore[operator]
        for stack in (plain, changed)
    )

    assert after > before + 0.02 * abs(before)


def test_background_as_fine_as_nuclei_is_refused() -> None:
    with pytest.raises(ValueError, match="look like nuclei"):
        make_stack(replace(SMALL, blotch_share=0.4), seed=0)
