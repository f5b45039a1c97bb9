from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from typing import Any

import numpy as np
import pytest

from clgkit.simulate import FishSettings, preset
from clgkit.simulate.settings import plane_gaps


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


NAMES = [field.name for field in fields(FishSettings)]
WHOLE = [
    "seed",
    "shape_px",
    "n_neurons",
    "n_planes",
    "gaps_px",
    "n_frames",
    "n_modules",
    "n_bursts",
]
SEVERAL = {"shape_px": 3, "voxel_um": 3, "diameter_range_um": 2, "psf_sigma_um": 2}


def refusal(**changes: Any) -> str:
    with pytest.raises(ValueError, match="settings of the simulated fish: ") as caught:
        preset("tiny", **changes)
    return str(caught.value)


def spoiled(name: str, bad: Any) -> Any:
    """Give the setting of the tiny fish with its first number replaced."""
    value = getattr(preset("tiny"), name)
    return (bad, *value[1:]) if isinstance(value, tuple) else bad


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", ["2", None, True, float("nan"), float("inf"), 1j])
def test_every_setting_refuses_what_is_no_finite_number(name: str, bad: Any) -> None:
    message = refusal(**{name: spoiled(name, bad)})

    assert message.count(";") == 0
    assert f"{name} = " in message


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_counted_is_whole(name: str) -> None:
    assert f"{name} = " in refusal(**{name: spoiled(name, 20.5)})
    assert refusal(**{name: spoiled(name, 20.5)}).endswith("must be whole")


@pytest.mark.parametrize(("name", "length"), SEVERAL.items())
def test_settings_of_several_numbers_have_as_many(name: str, length: int) -> None:
    whole = getattr(preset("tiny"), name)

    assert f"{name} = {whole[:-1]} must be {length} numbers" in refusal(**{name: whole[:-1]})
    assert f"must be {length} numbers" in refusal(**{name: (*whole, whole[-1])})
    assert f"{name} = 20 must be {length} numbers" in refusal(**{name: 20})
    assert "gaps_px = 7 must be numbers" in refusal(gaps_px=7)
    assert "rate_hz = (2.0, 2.0) must be one number" in refusal(rate_hz=(2.0, 2.0))


@pytest.mark.parametrize(
    "name",
    ["seed", "structure_background", "read_noise", "nuclear_leak", "neuropil", "module_rate_hz",
     "private_rate_hz", "dff_max", "drift_px", "jitter_px", "plane_jitter_px", "n_bursts",
     "burst_px", "nonrigid_px", "plane_offset_px", "brightness_log_sd", "diameter_cv"],
)  # fmt: skip
def test_these_may_be_zero_but_not_below(name: str) -> None:
    kind = type(getattr(preset("tiny"), name))

    assert getattr(preset("tiny", **{name: kind(0)}), name) == 0
    assert f"{name} = {kind(-1)} must not be negative" in refusal(**{name: kind(-1)})


@pytest.mark.parametrize(
    "name",
    ["n_neurons", "nucleus_photons", "attenuation_um", "n_planes", "n_frames", "rate_hz",
     "photons", "nuclear_photons", "gain", "cytosol_um", "n_modules", "rise_s"],
)  # fmt: skip
def test_these_must_be_above_zero(name: str) -> None:
    kind = type(getattr(preset("tiny"), name))

    assert f"{name} = {kind(0)} must be positive" in refusal(**{name: kind(0)})


@pytest.mark.parametrize(
    "name",
    ["drift_px", "jitter_px", "plane_jitter_px", "burst_px", "nonrigid_px", "bidirectional_px",
     "plane_offset_px"],
)  # fmt: skip
def test_motion_beyond_the_field_is_refused_and_not_given_memory(name: str) -> None:
    assert f"{name} = 1000000.0 must not exceed the field of 64" in refusal(**{name: 1e6})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cytosol_um": 6.0}, "cytosol_um = 6.0 must not exceed nucleus_diameter_um"),
        ({"module_rate_hz": 3.0}, "module_rate_hz = 3.0 must not exceed rate_hz = 2.0"),
        ({"bidirectional_px": -65.0}, "bidirectional_px = -65.0 must not exceed the field"),
        ({"diameter_range_um": (6.0, 5.5)}, "must be in diameter_range_um"),
        ({"diameter_range_um": (0.0, 7.0)}, "must be in diameter_range_um"),
        ({"psf_sigma_um": (1.0, -0.1)}, "psf_sigma_um = (1.0, -0.1) must not be negative"),
        ({"shading": -0.1}, "shading = -0.1 must be in [0, 1)"),
        ({"filled_fraction": 0.0}, "filled_fraction = 0.0 must be in (0, 0.45]"),
        ({"gaps_px": (7, 0)}, "gaps_px = (7, 0) must be at least 1"),
        ({"decay_s": 0.2}, "decay_s = 0.2 must exceed rise_s = 0.2"),
        ({"read_noise": 50.0}, "offset must be at least five times read_noise"),
    ],
)
def test_every_rule_says_what_was_found_and_what_is_wanted(
    changes: dict[str, Any], words: str
) -> None:
    assert words in refusal(**changes)


def test_numbers_of_numpy_and_whole_floats_of_lengths_are_numbers() -> None:
    settings = preset(
        "tiny", n_frames=np.int64(30), rate_hz=np.float32(2), photons=5, seed=np.uint8(3)
    )

    assert settings.n_frames == 30
    assert preset("tiny", voxel_um=[1, 1, 1]).voxel_um == [1, 1, 1]


def test_the_largest_preset_fits_its_own_stack() -> None:
    whole = preset("whole")

    assert whole.n_neurons == 67_000
    assert whole.plane_shape_px == (512, 512)
    assert sum(plane_gaps(whole)) < whole.shape_px[0]


def test_planes_may_fill_the_stack_to_its_last_slice() -> None:
    four = {"gaps_px": (8,), "n_planes": 4}

    assert preset("tiny", shape_px=(25, 128, 128), **four).n_planes == 4
    with pytest.raises(ValueError, match="the planes span 25 slices and the stack has 24"):
        preset("tiny", shape_px=(24, 128, 128), **four)
