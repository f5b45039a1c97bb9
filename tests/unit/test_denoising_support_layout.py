"""Sizes of a SUPPORT network, read from numbers and from shapes; presets; the blind spot."""

import math
from typing import Any

import numpy as np
import pytest

from clgkit.denoising.noise import LAGS, measure_noise
from clgkit.denoising.support_layout import SupportLayout, check_state, layout_of, shapes_of
from clgkit.denoising.support_recipe import SupportRecipe, support_recipe
from clgkit.denoising.support_spot import choose_blind_spot
from tests.unit.denoiser_scene import make_movie, tiny_layout, tiny_recipe


def correlation(along_y: tuple[float, ...], along_x: tuple[float, ...]) -> np.ndarray[Any, Any]:
    made = np.zeros((2 * LAGS + 1, 2 * LAGS + 1))
    made[LAGS, LAGS] = 1
    for lag, (y, x) in enumerate(zip(along_y, along_x, strict=True), start=1):
        made[LAGS + lag, LAGS] = made[LAGS - lag, LAGS] = y
        made[LAGS, LAGS + lag] = made[LAGS, LAGS - lag] = x
    return made


@pytest.mark.parametrize(
    ("layout", "millions"),
    [
        (SupportLayout(blind_spot=(3, 3)), 1.36),
        (SupportLayout(), 1.38),
        (SupportLayout(widths=(64, 128, 256, 512, 1024), blind_spot=(3, 3)), 16.1),
        (support_recipe("small").layout, 0.11),
    ],
)
def test_published_sizes_have_the_published_number_of_parameters(
    layout: SupportLayout, millions: float
) -> None:
    # Half of the last printed digit.
    digits = 1 if millions > 10 else 2
    assert round(layout.n_parameters / 1e6, digits) == millions


def test_the_dilation_grows_in_the_last_layer_only() -> None:
    layout = SupportLayout(blind_spot=(1, 5))

    assert [layout.dilation(3, d) for d in range(5)] == [(1, 1), (2, 2), (4, 4), (8, 8), (16, 18)]
    assert [layout.dilation(5, d) for d in range(3)] == [(1, 1), (3, 3), (9, 11)]


def test_the_halo_is_whole_cells() -> None:
    layout = SupportLayout()

    assert layout.step_px == 16
    assert layout.halo_px == 96  # 31 + 15 + 15 of the branch in time, 31 of the other, rounded up
    assert SupportLayout(n_frames=1, widths=()).halo_px == 31
    assert SupportLayout(channels=0).halo_px == 64


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_frames": 4}, "odd and above 0, not 4"),
        ({"n_frames": -1}, "odd and above 0"),
        ({"blind_spot": (2, 3)}, "two odd sides"),
        ({"blind_spot": (0, 1)}, "two odd sides"),
        ({"blind_spot": (101, 1)}, "two odd sides"),
        ({"widths": ()}, "no other frames"),
        ({"n_frames": 1}, "no other frames"),
        ({"n_frames": 1, "widths": (), "channels": 0}, "the middle frame, the others, or both"),
        ({"depths": (0, 2)}, "at least one layer"),
        ({"channels": -1}, "at least one channel"),
    ],
)
def test_impossible_sizes_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tiny_layout(**changes)


def test_sizes_survive_json() -> None:
    import json

    layout = tiny_layout(blind_spot=(3, 1))

    assert SupportLayout.from_dict(json.loads(json.dumps(layout.as_dict()))) == layout
    with pytest.raises(ValueError, match="no sizes of a SUPPORT network"):
        SupportLayout.from_dict({"n_layers": 3})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"blind_spot": (3, 3)},
        {"blind_spot": (1, 19)},
        {"channels": 0, "depths": (5, 3), "blind_out": (32, 16)},
        {"n_frames": 1, "widths": (), "unet_out": (32, 16)},
        {"widths": (3, 4, 5, 6), "depths": (4, 1)},
        {"head": (7,)},
    ],
    ids=str,
)
def test_shapes_give_the_sizes_back(changes: dict[str, Any]) -> None:
    layout = tiny_layout(**changes)

    assert layout_of(shapes_of(layout), blind_spot=layout.blind_spot) == layout


def test_shapes_of_another_network_are_refused() -> None:
    shapes = shapes_of(tiny_layout())
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "not the weights of a SUPPORT network"),
        ({"conv1.weight": (3, 3, 3, 3)}, "not the weights of a SUPPORT network"),
        (
            shapes | {"extra.weight": (1,)},
            "extra.weight has the shape .1,., wanted is no such layer",
        ),
        (shapes | {"enc_layers.1.bias": (9,)}, "enc_layers.1.bias has the shape .9,."),
        (
            {k: v for k, v in shapes.items() if k != "unet_1_convs.1.bias"},
            "unet_1_convs.1.bias has the shape of nothing",
        ),
        (shapes | {"enc_layers.0.weight": (4, 5, 3, 3)}, "odd and above 0, not 6"),
    ]

    for case, words in cases:
        with pytest.raises(ValueError, match=words):
            layout_of(case)


def test_a_spot_that_contradicts_the_weights_is_refused() -> None:
    with pytest.raises(ValueError, match="this network is one pixel, which"):
        layout_of(shapes_of(tiny_layout()), blind_spot=(3, 3))
    with pytest.raises(ValueError, match="do not say how large"):
        layout_of(shapes_of(tiny_layout(blind_spot=(3, 3))))


def test_weights_that_see_or_are_no_numbers_are_refused() -> None:
    layout = tiny_layout()
    state = {name: np.zeros(shape, np.float32) for name, shape in shapes_of(layout).items()}
    check_state(state, layout)

    seeing = state | {"blind_convs3x3.0._spot": np.ones((4, 1, 1), np.float32)}
    broken = state | {"enc_layers.0.bias": np.full(4, np.nan, np.float32)}

    with pytest.raises(ValueError, match=r"not blind: blind_convs3x3\.0\._spot"):
        check_state(seeing, layout)
    with pytest.raises(ValueError, match=r"no numbers \(enc_layers\.0\.bias\)"):
        check_state(broken, layout)


@pytest.mark.parametrize(
    ("along_y", "along_x", "size"),
    [
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (1, 1)),
        ((0.05, 0.0, 0.0), (0.04, 0.0, 0.0), (1, 1)),
        ((0.01, 0.0, 0.0), (0.24, 0.01, 0.0), (1, 3)),
        ((0.4, 0.03, 0.0), (0.4, 0.1, 0.0), (3, 5)),
        ((0.0, 0.2, 0.0), (0.0, 0.0, 0.0), (5, 1)),
    ],
)
def test_the_spot_follows_the_noise(
    along_y: tuple[float, ...], along_x: tuple[float, ...], size: tuple[int, int]
) -> None:
    found = choose_blind_spot(correlation(along_y, along_x))

    assert found.size == size
    assert found.is_enough
    assert f"blind spot of {size[0]} x {size[1]} pixels" in found.sentence()


def test_noise_that_reaches_beyond_the_largest_spot_is_told() -> None:
    found = choose_blind_spot(correlation((0.6, 0.4, 0.2), (0.0, 0.0, 0.0)))

    assert found.size == (5, 1)
    assert not found.is_enough
    assert "what is shared will stay" in found.sentence()


def test_the_spot_of_measured_noise() -> None:
    white = measure_noise(make_movie(n_frames=60, side=48, noise=3))
    blurred = measure_noise(make_movie(n_frames=60, side=48, noise=3, blur_px=0.6))

    assert choose_blind_spot(white.correlation).size == (1, 1)
    assert choose_blind_spot(blurred.correlation).size in {(3, 3), (5, 5)}
    with pytest.raises(ValueError, match="odd square shape"):
        choose_blind_spot(np.eye(4))


def test_presets_grow() -> None:
    small, standard, published = (
        support_recipe(name).layout  # type: ignore[arg-type]
        for name in ("small", "standard", "published")
    )

    assert small.n_frames < standard.n_frames < published.n_frames == 61
    assert small.n_parameters < standard.n_parameters < published.n_parameters
    assert published.widths == (16, 32, 64, 128, 256)
    assert (small.n_frames, small.channels, small.depths) == (15, 24, (4, 2))


def test_a_preset_can_be_changed_but_not_invented() -> None:
    assert support_recipe("published", n_steps=7).n_steps == 7
    with pytest.raises(ValueError, match="presets are small, standard, published"):
        support_recipe("huge")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_steps": 0}, "at least 1"),
        ({"batch_size": 0}, "at least 1"),
        ({"patience": 0}, "patience is at least 1"),
        ({"patch_px": 8}, "patch_px is at least 16"),
        ({"learning_rate": 0.0}, "above 0"),
        ({"schedule": "steps"}, "constant or cosine"),
        ({"seed": -1}, "seed is at least 0"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tiny_recipe(**changes)


def test_the_rate_falls_to_nothing_or_stays() -> None:
    falling, constant = SupportRecipe(n_steps=100), SupportRecipe(n_steps=100, schedule="constant")

    assert falling.rate(0) == falling.learning_rate
    assert math.isclose(falling.rate(50), falling.learning_rate / 2)
    assert falling.rate(99) < falling.learning_rate / 1000
    assert {constant.rate(step) for step in range(100)} == {constant.learning_rate}
