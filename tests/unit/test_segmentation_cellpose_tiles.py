"""Normalizing, resizing, cutting and blending."""

from typing import Any

import numpy as np
import pytest

from clgkit.segmentation.cellpose_tiles import (
    Tiling,
    image_percentiles,
    normalize_channels,
    resize_bilinear,
    resize_nearest,
    run_tiled,
    scaled_shape,
    stack_percentiles,
    taper,
)

EXACT = 1e-5  # float32


def noise(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).random(shape, np.float32)


def first_channel_thrice(tiles: Any) -> Any:
    """A network that only looks at its own pixel."""
    return np.repeat(tiles[:, :1], 3, axis=1)


def test_percentiles_become_0_and_1_and_nothing_is_clipped() -> None:
    image = np.arange(10_000, dtype=np.uint16).reshape(1, 100, 100)

    normal = normalize_channels(image, image_percentiles(image))

    assert np.percentile(normal, 1) == pytest.approx(0, abs=EXACT)
    assert np.percentile(normal, 99) == pytest.approx(1, abs=EXACT)
    assert normal.min() < 0
    assert normal.max() > 1
    assert normal.dtype == np.float32


def test_each_channel_has_its_own_percentiles() -> None:
    channels = np.stack([noise(40, 40), 100 * noise(40, 40, seed=1)])

    normal = normalize_channels(channels, image_percentiles(channels))

    np.testing.assert_allclose(np.percentile(normal, 99, axis=(1, 2)), 1, atol=EXACT)


def test_other_percentiles_can_be_asked_for() -> None:
    limits = image_percentiles(noise(1, 50, 50), percentile=(10, 50))

    np.testing.assert_allclose(limits[0], [0.1, 0.5], atol=0.05)  # a random sample


def test_the_input_is_left_alone() -> None:
    image = noise(1, 20, 20)
    before = image.copy()

    normalize_channels(image, image_percentiles(image))

    np.testing.assert_array_equal(image, before)


def test_a_constant_channel_stays_in_cellpose_3_and_vanishes_in_2() -> None:
    image = np.full((1, 20, 20), 7, np.uint8)
    limits = image_percentiles(image)

    assert (normalize_channels(image, limits) == 7).all()
    assert not normalize_channels(image, limits, keep_constant=False).any()


def test_a_channel_of_one_bright_pixel_is_zero() -> None:
    image = np.zeros((1, 50, 50), np.float32)
    image[0, 3, 3] = 1

    assert not normalize_channels(image, image_percentiles(image)).any()


def test_percentiles_of_a_streamed_stack_are_those_of_the_whole() -> None:
    stack = noise(2, 7, 30, 20)

    streamed = stack_percentiles((stack[:, z] for z in range(7)), (7, 30, 20))

    np.testing.assert_array_equal(streamed, image_percentiles(stack))


def test_a_large_stack_is_thinned_out_alike_in_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    from clgkit.segmentation import cellpose_tiles

    monkeypatch.setattr(cellpose_tiles, "LARGE", 1000)
    monkeypatch.setattr(cellpose_tiles, "SAMPLED", (3, 10, 8))
    stack = noise(1, 7, 30, 20)

    whole = image_percentiles(stack)
    streamed = stack_percentiles((stack[:, z] for z in range(7)), (7, 30, 20))

    thinned = stack[:, ::2, ::3, ::2]
    np.testing.assert_array_equal(whole, streamed)
    np.testing.assert_array_equal(whole[0], np.percentile(thinned, (1, 99)))


@pytest.mark.parametrize("n", [2, 4])
def test_a_wrong_number_of_slices_is_told(n: int) -> None:
    with pytest.raises(ValueError, match=f"has 3 slices, but {n} were given"):
        stack_percentiles((noise(1, 8, 8) for _ in range(n)), (3, 8, 8))


def test_sizes_are_truncated() -> None:
    assert scaled_shape((168, 203), np.float32(1.25)) == (210, 253)
    assert scaled_shape((10, 11), np.float32(1)) == (10, 11)


def test_resizing_to_the_same_size_changes_nothing() -> None:
    image = noise(3, 17, 19)

    assert resize_bilinear(image, (17, 19)) is image


def test_resizing_keeps_a_slope_and_a_constant() -> None:
    slope = np.broadcast_to(np.arange(40, dtype=np.float32), (1, 30, 40))

    wide = resize_bilinear(slope, (60, 80))

    inside = (np.arange(80) + 0.5) / 2 - 0.5
    np.testing.assert_allclose(wide[0, 5, 2:-2], inside[2:-2], atol=EXACT)
    np.testing.assert_array_equal(resize_bilinear(np.ones((1, 9, 9), np.float32), (14, 5)), 1)


def test_halving_takes_the_mean_of_two() -> None:
    image = np.array([[[0, 2, 4, 6]] * 4], np.float32)

    np.testing.assert_allclose(resize_bilinear(image, (2, 2))[0, 0], [1, 5], atol=EXACT)


def test_nearest_takes_the_pixel_at_the_truncated_place() -> None:
    labels = np.arange(12).reshape(3, 4)

    np.testing.assert_array_equal(resize_nearest(labels, (6, 2))[:, 0], [0, 0, 4, 4, 8, 8])
    np.testing.assert_array_equal(resize_nearest(labels, (3, 4)), labels)


def test_the_taper_is_high_in_the_middle_and_symmetric() -> None:
    weights = taper((224, 224))

    assert weights[112, 112] > 0.99
    assert weights[0, 112] < 0.1
    np.testing.assert_allclose(weights, weights[::-1, ::-1], atol=EXACT)
    np.testing.assert_allclose(weights, weights.T, atol=EXACT)


def test_a_small_tile_takes_the_flat_middle() -> None:
    assert taper((48, 64)).min() > 0.99


@pytest.mark.parametrize("shape", [(16, 16), (17, 300), (224, 225), (301, 250), (97, 40)])
@pytest.mark.parametrize("tiling", [Tiling(), Tiling(64, 0.5), Tiling(augment=True)])
def test_tiles_put_together_are_the_image(shape: tuple[int, int], tiling: Tiling) -> None:
    image = noise(2, *shape)

    maps = run_tiled(image, first_channel_thrice, tiling=tiling)

    assert maps.shape == (3, *shape)
    np.testing.assert_allclose(maps[2], image[0], atol=EXACT)
    if not tiling.augment:
        np.testing.assert_allclose(maps[0], image[0], atol=EXACT)


def test_flipped_tiles_have_their_flow_turned_back() -> None:
    """A network that gives the slope along y and x gives it in flipped tiles with another sign."""

    def slopes(tiles: Any) -> Any:
        dy, dx = np.gradient(tiles[:, 0], axis=(1, 2))
        return np.stack([dy, dx, tiles[:, 0]], axis=1)

    y, x = np.mgrid[:100, :90].astype(np.float32)
    image = np.stack([2 * y + 3 * x, 0 * y])

    maps = run_tiled(image, slopes, tiling=Tiling(augment=True))

    np.testing.assert_allclose(maps[0, 2:-2, 2:-2], 2, atol=1e-3)  # float32 of numbers to 470
    np.testing.assert_allclose(maps[1, 2:-2, 2:-2], 3, atol=1e-3)
    np.testing.assert_allclose(maps[2], image[0], atol=1e-3)


def test_tiles_are_multiples_of_16_and_at_most_as_large_as_asked() -> None:
    seen = []

    def note(tiles: Any) -> Any:
        seen.append(tiles.shape)
        return first_channel_thrice(tiles)

    run_tiled(noise(2, 150, 37), note, tiling=Tiling(96))

    assert {shape[2:] for shape in seen} == {(96, 64)}
    assert all(shape[0] <= 8 for shape in seen)


def test_the_margin_is_8_pixels_on_each_side_at_least() -> None:
    seen = []

    def note(tiles: Any) -> Any:
        seen.append(tiles)
        return first_channel_thrice(tiles)

    image = np.ones((2, 30, 32), np.float32)
    run_tiled(image, note)

    (tiles,) = seen
    assert tiles.shape == (1, 2, 48, 48)
    assert tiles[0, 0, 9:39, 8:40].all()
    assert tiles.sum() == image.sum()


@pytest.mark.parametrize(
    ("tiling", "words"),
    [
        (Tiling(100), "multiple of 16"),
        (Tiling(0), "multiple of 16"),
        (Tiling(overlap=0.6), "0.05 to 0.5"),
        (Tiling(overlap=0), "0.05 to 0.5"),
    ],
)
def test_an_impossible_tiling_is_refused(tiling: Tiling, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        run_tiled(noise(2, 32, 32), first_channel_thrice, tiling=tiling)
