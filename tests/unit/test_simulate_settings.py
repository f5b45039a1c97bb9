from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from clgkit.simulate import FishSettings, preset


def test_presets_are_complete_settings() -> None:
    assert preset("demo").plane_shape_px == (192, 192)
    assert preset("whole").shape_px == (301, 1024, 1024)
    assert preset("tiny", seed=9).seed == 9


def test_settings_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        preset("tiny").seed = 1  # type: ignore[misc]


def test_an_unknown_preset_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'huge'; choose one of demo, tiny, whole"):
        preset("huge")


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(TypeError, match="n_neuron"):
        preset("tiny", n_neuron=3)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"n_neurons": 0}, "n_neurons = 0 must be positive"),
        ({"jitter_px": -1.0}, "jitter_px = -1.0 must not be negative"),
        ({"shape_px": (40, 127, 128)}, "must be even"),
        ({"shape_px": (8, 128, 128)}, "at least 16"),
        ({"voxel_um": (1.0, 0.0, 0.5)}, "voxel_um"),
        ({"filled_fraction": 0.6}, "filled_fraction"),
        ({"nucleus_diameter_um": 12.0}, "diameter_range_um"),
        ({"offset": 10.0}, "five times read_noise"),
        ({"decay_s": 0.1}, "must exceed rise_s"),
        ({"n_planes": 9}, "the planes span"),
        ({"gaps_px": ()}, "gaps_px"),
        ({"photons": float("nan")}, "finite"),
        ({"axial_stretch": 0.5}, "axial_stretch"),
        ({"shading": 1.0}, "shading"),
    ],
)
def test_an_impossible_setting_is_named(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        preset("tiny", **changes)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ValueError, match=r"n_frames.*rate_hz"):
        FishSettings(rate_hz=-1.0, n_frames=-2)
