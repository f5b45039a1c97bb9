"""A slice from pixels to masks, with networks that are small or know the answer."""

import warnings
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from clgkit.segmentation.cellpose import (
    CellposeOptions,
    finish_stack,
    masks_of_maps,
    options_like,
    predict_maps,
    section_channels,
    section_scale,
    segment_section,
)
from clgkit.segmentation.cellpose_tiles import Tiling, image_percentiles
from clgkit.segmentation.cellpose_volume import (
    masks_of_volume,
    predict_volume,
    segment_volume_in_3d,
)
from tests.unit.cellpose_scene import disks, perfect_maps, tiny_network

pytest.importorskip("torch", reason="a Cellpose network needs torch")

PRESETS = pytest.mark.parametrize("preset", ["default", "cellpose3", "cellpose2"])
ONE = np.float32(1)


@PRESETS
def test_masks_of_perfect_flows_are_the_masks(preset: Any) -> None:
    labels = disks().labels

    found = masks_of_maps(perfect_maps(labels), (64, 64), scale=ONE, options=options_like(preset))

    assert found.dtype == np.uint32
    assert found.max() == labels.max()
    assert np.mean((found > 0) == (labels > 0)) > 0.99


@PRESETS
def test_no_pixel_above_the_threshold_gives_no_mask(preset: Any) -> None:
    maps = perfect_maps(np.zeros((32, 40), int))

    found = masks_of_maps(maps, (32, 40), scale=ONE, options=options_like(preset))

    assert found.shape == (32, 40)
    assert not found.any()


def test_a_lower_threshold_takes_more_pixels() -> None:
    maps = perfect_maps(disks().labels)
    maps[2] = np.where(maps[2] > 0, maps[2], -1)
    some = masks_of_maps(maps, (64, 64), scale=ONE)
    more = masks_of_maps(maps, (64, 64), scale=ONE, options=CellposeOptions(cellprob_threshold=-2))

    assert np.count_nonzero(more) >= np.count_nonzero(some)


def test_masks_found_at_the_networks_scale_come_back_to_the_images() -> None:
    labels = disks().labels

    found = masks_of_maps(
        perfect_maps(labels),
        (128, 96),
        scale=np.float32(0.5),
        options=CellposeOptions(resample=False),
    )

    assert found.shape == (128, 96)
    assert found.max() == labels.max()


def test_steps_grow_with_the_enlargement_of_small_scales(monkeypatch: pytest.MonkeyPatch) -> None:
    from clgkit.segmentation import cellpose

    seen = []

    def note(_: Any, on: Any, **given: Any) -> Any:
        seen.append(given["n_steps"])
        return np.indices(on.shape, dtype=np.int32)

    monkeypatch.setattr(cellpose, "follow_flows", note)
    maps = perfect_maps(disks().labels)
    for scale, options in (
        (1.25, CellposeOptions()),
        (0.75, CellposeOptions()),
        (0.75, CellposeOptions(resample=False)),
        (0.75, CellposeOptions(n_steps=7)),
    ):
        masks_of_maps(maps, (64, 64), scale=np.float32(scale), options=options)

    assert seen == [160, 266, 200, 7]


def test_a_slice_gives_masks_flows_and_log_odds_of_its_size() -> None:
    found = segment_section(disks().image, tiny_network())

    assert found.labels.shape == (64, 64)
    assert found.labels.dtype == np.uint32
    assert found.flows.shape == (2, 64, 64)
    assert found.log_odds.shape == (64, 64)


def test_without_resampling_the_maps_have_the_networks_scale() -> None:
    found = segment_section(
        disks().image, tiny_network(), diameter_px=24, options=CellposeOptions(resample=False)
    )

    assert found.flows.shape == (2, 32, 32)
    assert found.labels.shape == (64, 64)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64])
def test_the_type_of_pixels_does_not_matter(dtype: Any) -> None:
    image = (disks().image // 4).clip(0, 255)
    network = tiny_network()

    found = segment_section(image.astype(dtype), network)

    np.testing.assert_array_equal(found.log_odds, segment_section(image, network).log_odds)


def test_a_slice_of_truth_values_is_legal() -> None:
    image, network = disks().image > 200, tiny_network()

    found = segment_section(image, network)

    wanted = segment_section(image.astype(np.uint8), network)
    np.testing.assert_array_equal(found.log_odds, wanted.log_odds)


def test_brightness_and_gain_do_not_matter() -> None:
    image, network = disks().image.astype(np.float64), tiny_network()

    first, second = (segment_section(each, network).log_odds for each in (image, 3 * image + 50))

    np.testing.assert_allclose(first, second, atol=1e-4)  # float32 of larger numbers


def test_given_limits_stand_for_those_of_the_slice() -> None:
    image, network = disks().image, tiny_network()
    limits = image_percentiles(image[np.newaxis])

    same = segment_section(image, network, limits=limits).log_odds
    other = segment_section(image, network, limits=limits * 2).log_odds

    np.testing.assert_array_equal(same, segment_section(image, network).log_odds)
    assert np.abs(other - same).max() > 1e-3


def test_a_second_channel_is_seen() -> None:
    image, network = disks().image, tiny_network()

    alone = segment_section(image, network).log_odds
    zeros = segment_section(np.stack([image, 0 * image]), network).log_odds
    both = segment_section(np.stack([image, image]), network).log_odds

    np.testing.assert_array_equal(alone, zeros)
    assert np.abs(both - alone).max() > 1e-3


@PRESETS
def test_a_constant_slice_has_no_nuclei_and_says_so(preset: Any) -> None:
    with pytest.warns(UserWarning, match="all pixels are equal"):
        found = segment_section(
            np.full((40, 40), 9, np.uint8), tiny_network(), options=options_like(preset)
        )

    assert not found.labels.any()


def test_a_constant_slice_of_a_stack_is_run_like_the_others() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = segment_section(
            np.zeros((40, 40), np.uint16), tiny_network(), limits=np.array([[10.0, 500.0]])
        )

    assert found.labels.shape == (40, 40)


@pytest.mark.parametrize(
    ("image", "kind", "words"),
    [
        (np.zeros((40, 40), complex), TypeError, "real numbers"),
        (np.zeros((40, 40), "U3"), TypeError, "real numbers"),
        (np.zeros(40), ValueError, "axes y, x"),
        (np.zeros((2, 2, 40, 40)), ValueError, "axes y, x"),
        (np.zeros((40, 40, 3)), ValueError, "colour picture"),
        (np.zeros((3, 40, 40)), ValueError, "takes 2 channels"),
        (np.zeros((15, 40)), ValueError, "at least 16 pixels"),
        (np.full((40, 40), np.nan), ValueError, "NaN or infinity"),
        (np.full((40, 40), np.inf), ValueError, "NaN or infinity"),
        (np.full((40, 40), 1e38), ValueError, "beyond those of float32"),
    ],
)
def test_what_is_no_slice_is_refused(image: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        section_channels(image, tiny_network())


@pytest.mark.parametrize("diameter", [0, -3, 65, np.nan])
def test_an_impossible_diameter_is_refused(diameter: float) -> None:
    with pytest.raises(ValueError, match="diameter of sections"):
        segment_section(disks().image, tiny_network(), diameter_px=diameter)


def test_without_a_diameter_that_of_the_training_is_taken() -> None:
    network = tiny_network()

    assert section_scale(network, None, (64, 64)) == ONE
    assert section_scale(network, 6, (64, 64)) == np.float32(2)


@pytest.mark.parametrize(
    "changes",
    [
        {"rule": "cellpose4"},
        {"cellprob_threshold": 50},
        {"flow_threshold": -0.1},
        {"min_size_px": -2},
        {"max_size_share": 0},
        {"n_steps": 0},
        {"percentile": (99, 1)},
        {"percentile": (0, 101)},
    ],
)
def test_a_setting_outside_of_its_range_is_named(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        options_like("default", **changes)


def test_all_settings_outside_of_their_ranges_are_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"flow_threshold.*min_size_px"):
        CellposeOptions(flow_threshold=-1, min_size_px=-5)


def test_an_impossible_tiling_is_refused_before_the_network_runs() -> None:
    with pytest.raises(ValueError, match="multiple of 16"):
        CellposeOptions(tiling=Tiling(100))


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(ValueError, match="presets are default, cellpose3, cellpose2"):
        options_like("cellpose4")  # type: ignore[arg-type]


def test_presets_differ_from_the_default_in_what_they_repeat() -> None:
    default = options_like("default")

    changed = {
        name: {f.name for f in fields(default) if getattr(made, f.name) != getattr(default, f.name)}
        for name in ("cellpose3", "cellpose2")
        for made in [options_like(name)]  # type: ignore[arg-type]
    }

    assert changed == {"cellpose3": {"repeat_rank_bug"}, "cellpose2": {"rule"}}


def test_options_are_frozen() -> None:
    with pytest.raises(AttributeError):
        CellposeOptions().min_size_px = 3  # type: ignore[misc]


def test_a_stack_is_finished_like_a_slice() -> None:
    labels = np.zeros((3, 20, 20), np.int64)
    labels[:, 2:8, 2:8] = 70_000
    labels[0, 12:14, 12:14] = 3

    finished = finish_stack(labels)

    assert finished.dtype == np.uint32
    assert finished.max() == 1
    assert np.count_nonzero(finished) == 3 * 36


def test_maps_of_a_slice_are_those_that_masks_are_made_of() -> None:
    image, network = disks().image, tiny_network()
    found = segment_section(image, network)

    maps = predict_maps(section_channels(image, network), network, scale=ONE)

    np.testing.assert_array_equal(maps, np.concatenate([found.flows, found.log_odds[np.newaxis]]))


def volume_maps() -> Any:
    """Return flows to the middle of two balls and their log-odds (4, Z, Y, X)."""
    z, y, x = np.mgrid[:16, :20, :40].astype(np.float32)
    maps = np.zeros((4, 16, 20, 40), np.float32)
    maps[3] = -5
    for centre in ((8, 10, 10), (8, 10, 28)):
        away = np.stack([part - c for part, c in zip((z, y, x), centre, strict=True)])
        distance = np.sqrt((away**2).sum(axis=0))
        inside = distance < 6
        maps[:3, inside] = (-5 * away / np.maximum(distance, 1))[:, inside]
        maps[3, inside] = 5
    return maps


def test_two_balls_are_two_nuclei() -> None:
    maps = volume_maps()

    found = masks_of_volume(maps, scale=ONE)

    assert found.max() == 2
    assert np.mean((found > 0) == (maps[3] > 0)) > 0.99
    assert found[8, 10, 10] != found[8, 10, 28]


def test_nothing_in_a_volume_is_no_nucleus() -> None:
    maps = volume_maps()
    maps[3] = -1

    assert not masks_of_volume(maps, scale=ONE).any()


def test_a_volume_is_seen_from_three_sides() -> None:
    volume = np.stack([disks(k, 32, 4).image for k in range(18)])

    maps = predict_volume(volume, tiny_network(), anisotropy=1)
    turned = predict_volume(volume.transpose(0, 2, 1), tiny_network(), anisotropy=1)

    assert maps.shape == (4, 18, 32, 32)
    assert np.isfinite(maps).all()
    assert np.abs(maps - turned.transpose(0, 1, 3, 2)).max() > 0  # y and x are not alike


@pytest.mark.parametrize(
    ("volume", "changes", "words"),
    [
        (np.zeros((20, 20)), {}, "axes z, y, x"),
        (np.zeros((4, 10, 20)), {}, "at least 16 pixels"),
        (np.full((4, 20, 20), np.nan), {}, "NaN or infinity"),
        (np.zeros((4, 20, 20)), {"anisotropy": 0}, "anisotropy"),
        (np.zeros((4, 20, 20)), {"diameter_px": -1}, "diameter"),
    ],
)
def test_what_is_no_volume_is_refused(volume: Any, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        segment_volume_in_3d(volume, tiny_network(), **changes)


def test_options_can_be_changed_for_stitching() -> None:
    assert replace(options_like("cellpose3"), min_size_px=-1).min_size_px == -1
