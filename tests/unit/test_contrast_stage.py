"""The stage: windows in micrometres, scales, floors, integers, what is noted."""

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest

from clgkit import contrast, data, io, workspace
from clgkit.errors import DataError, SettingsError
from clgkit.report import images
from clgkit.stages.normalize_contrast import ContrastNormalized, NormalizeContrast
from clgkit.stages.normalize_contrast import normalize_contrast as stage
from clgkit.workspace import Workspace

VOXEL = (1.0, 0.4, 0.4)
SERIAL = Workspace(executor="serial")

Clg = Callable[..., tuple[int, str, str]]
Stack = npt.NDArray[Any]


def make_stack(
    shape: tuple[int, int, int] = (12, 40, 44), seed: int = 2, dtype: str = "u2"
) -> Stack:
    made: Stack = np.random.default_rng(seed).poisson(200, shape).astype(dtype)
    return made


def run(stack: Stack, **settings: Any) -> ContrastNormalized:
    params = NormalizeContrast.parse(settings, section="normalize_contrast")
    return stage(data.volume(stack, voxel_um=VOXEL), params, workspace=SERIAL)


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_a_window_with_depth_is_given_in_micrometres(dtype: str) -> None:
    stack = make_stack(dtype=dtype)

    made = run(stack, window="volume", radius_um=1.3, radius_z_um=2.2)

    low, high = contrast.percentile_limits(stack)
    wanted = contrast.normalize_volume(stack, radius_px=(2, 3, 3), limits=(low, high))
    np.testing.assert_array_equal(made.normalized.values, wanted)
    assert made.summary == {
        "low": low, "high": high, "window_px": [5, 7, 7], "offset": None, "gain": None,
    }  # fmt: skip
    assert made.normalized.attrs == {}


@pytest.mark.parametrize("dtype", ["u2", "f4"])
@pytest.mark.parametrize("workers", [1, 3])
def test_blocks_and_workers_do_not_matter_to_a_window_with_depth(
    dtype: str, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = data.volume(make_stack(dtype=dtype), voxel_um=VOXEL)
    params = NormalizeContrast(window="volume", radius_um=2, radius_z_um=3)
    whole = stage(stack, params, workspace=SERIAL).normalized
    monkeypatch.setattr(workspace, "BLOCK_MB", 0.02)
    counts: list[int] = []
    many = Workspace(workers=workers, progress=lambda *seen: counts.append(seen[2]))

    blocks = stage(stack, params, workspace=many).normalized

    assert counts[0] > 5
    # Running sums of floats that began elsewhere; those of integers are exact.
    np.testing.assert_allclose(
        blocks.values, whole.values, atol=0 if dtype == "u2" else 1e-6, rtol=0
    )


def test_a_radius_below_a_pixel_is_refused_and_below_a_slice_is_none() -> None:
    made = run(make_stack(), window="volume", radius_um=4, radius_z_um=0)

    wanted = run(make_stack())
    np.testing.assert_array_equal(made.normalized.values, wanted.normalized.values)
    with pytest.raises(DataError, match=r"radius_um is 0.1, but the pixels .* 0.4 x 0.4 um"):
        run(make_stack(), window="volume", radius_um=0.1)


def test_a_scale_can_be_given() -> None:
    stack = make_stack()

    made = run(stack, scale="given", low_intensity=100, high_intensity=300)

    wanted = [contrast.normalize_contrast(plane, limits=(100, 300)) for plane in stack]
    np.testing.assert_array_equal(made.normalized.values, wanted)
    assert (made.summary["low"], made.summary["high"]) == (100, 300)


def test_slices_by_their_own_extremes_have_no_common_limits() -> None:
    made = run(make_stack(), scale="plane")

    assert made.summary["low"] is made.summary["high"] is None
    np.testing.assert_array_equal(
        made.normalized.values, [contrast.normalize_contrast(plane) for plane in make_stack()]
    )


@pytest.mark.parametrize("scale", ["stack", "plane", "given"])
def test_an_absolute_floor_makes_scales_equal(scale: str) -> None:
    made = run(make_stack(), noise_sd=14.0, scale=scale)

    wanted = run(make_stack(), noise_sd=14.0)
    # float32 output of values up to 8.
    np.testing.assert_allclose(made.normalized.values, wanted.normalized.values, atol=2e-6, rtol=0)


@pytest.mark.parametrize("window", ["slice", "volume"])
@pytest.mark.parametrize("scale", ["stack", "given"])
def test_integers_are_turned_back_by_the_recorded_map(window: str, scale: str) -> None:
    settings = {"window": window, "scale": scale, "radius_um": 2, "radius_z_um": 2}
    wanted = run(make_stack(), **settings).normalized

    made = run(make_stack(), dtype="uint16", **settings)

    offset, gain = made.summary["offset"], made.summary["gain"]
    assert made.normalized.dtype == np.uint16
    assert made.normalized.attrs == {"add_offset": offset, "scale_factor": gain}
    restored = offset + gain * made.normalized.values.astype(np.float64)
    # Rounded: half a step, and the last digit of float32.
    np.testing.assert_allclose(restored, wanted.values, atol=0.501 * gain, rtol=0)
    json.dumps(made.summary, allow_nan=False)


def test_slices_of_other_scales_have_integers_of_one_map() -> None:
    floats, integers = (run(make_stack(), scale="plane", dtype=d) for d in ("float32", "uint16"))

    gain = integers.summary["gain"]
    restored = integers.summary["offset"] + gain * integers.normalized.values.astype(np.float64)
    np.testing.assert_allclose(restored, floats.normalized.values, atol=0.501 * gain, rtol=0)


@pytest.mark.parametrize("dtype", ["float32", "uint16"])
def test_the_original_is_not_touched_by_other_settings(dtype: str) -> None:
    made = run(make_stack(), compat="clg", dtype=dtype, scale="given", low_intensity=3)

    wanted = [contrast.normalize_to_uint16(plane) for plane in make_stack()]
    np.testing.assert_array_equal(made.normalized.values, wanted)
    assert made.normalized.attrs == {}
    assert set(map(type, (made.summary["low"], made.summary["gain"]))) == {type(None)}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"low_intensity": 5, "high_intensity": 5}, "low_intensity must be below"),
        ({"window": "volume", "scale": "plane"}, "one scale for all slices"),
        ({"window": "volume", "compat": "clg"}, "knows neither"),
        ({"noise_sd": 3, "compat": "clg"}, "knows neither"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(SettingsError, match=words):
        run(make_stack(), **settings)


def test_a_hot_pixel_is_felt_in_its_window_only() -> None:
    hot = make_stack()
    hot[3, 20, 20] = 65535

    one, other = (run(s).normalized.values for s in (make_stack(), hot))

    changed = np.abs(one - other)
    changed[3, 10:31, 10:31] = 0
    assert changed.max() < 1e-3 * np.abs(one).max()
    plain, wide = (run(s, scale="plane").normalized.values[3] for s in (make_stack(), hot))
    assert np.abs(plain - wide).mean() > 0.1  # the original's scale spreads it over the slice


def test_a_nucleus_keeps_its_brightness_order_from_slice_to_slice() -> None:
    stack = make_stack((4, 60, 60), dtype="f4")
    for z, height in enumerate((100, 75, 50, 25)):
        stack[z, 20:24, 20:24] += height
    stack[3, 50, 50] += 5000  # the dimmest slice has the widest range

    nucleus = run(stack, floor=1.0).normalized.values[:, 20:24, 20:24].mean(axis=(1, 2))

    assert (np.diff(nucleus) < 0).all()


@pytest.mark.parametrize("settings", [{}, {"window": "volume"}, {"scale": "plane"},
                                      {"compat": "clg"}])  # fmt: skip
def test_flat_stacks_are_zero_without_a_warning(settings: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = run(np.full((5, 12, 13), 7, np.uint16), **settings)

    assert not made.normalized.values.any()


def test_some_flat_slices_are_zero_and_change_no_other() -> None:
    stack = make_stack()
    stack[[2, 9]] = 200

    made = run(stack).normalized.values

    assert [z for z, plane in enumerate(made) if not plane.any()] == [2, 9]


def test_a_stack_whose_percentiles_coincide_is_told() -> None:
    stack = np.zeros((5, 40, 40), np.uint16)
    stack[2, 3:5, 3:5] = 900

    with pytest.warns(UserWarning, match="percentiles of the structure are 0, though .* 0 to 900"):
        made = run(stack)

    assert not made.normalized.values.any()
    assert run(stack, high_percentile=100).normalized.values.any()


@pytest.mark.parametrize("window", ["slice", "volume"])
def test_the_device_of_the_workspace_is_used(window: Literal["slice", "volume"]) -> None:
    pytest.importorskip("torch", reason="the extra `deep` is not installed")
    stack = data.volume(make_stack(), voxel_um=VOXEL)
    params = NormalizeContrast(window=window, radius_um=2)
    elsewhere = replace(SERIAL)
    object.__setattr__(elsewhere, "device", "cpu:0")  # a device of torch that is always there

    made = stage(stack, params, workspace=elsewhere).normalized

    wanted = stage(stack, params, workspace=SERIAL).normalized
    np.testing.assert_allclose(made.values, wanted.values, atol=1e-6, rtol=0)  # orders of sums


def test_the_plain_command_knows_every_setting(clg: Clg, tmp_path: Path) -> None:
    source, target = tmp_path / "in.tif", tmp_path / "out.tif"
    io.write_tiff(source, make_stack(), axes="zyx")

    code, out, err = clg(
        "normalize-contrast", str(source), str(target), "--window", "volume", "--radius-um", "2",
        "--radius-z-um", "1", "--noise-sd", "14", "--dtype", "uint16", "--voxel-um", "1,0.4,0.4",
    )  # fmt: skip

    assert (code, err) == (0, "")
    wanted = run(
        make_stack(), window="volume", radius_um=2, radius_z_um=1, noise_sd=14, dtype="uint16"
    )
    assert f"stands for {wanted.summary['offset']!r} + {wanted.summary['gain']!r} * n" in out
    image = io.open_image(target)
    np.testing.assert_array_equal(np.squeeze(image.pixels[...]), wanted.normalized.values)


def test_the_report_says_what_was_recorded() -> None:
    said = images._scaled(
        {"low": 96.0, "high": 812.5, "window_px": [5, 21, 21], "offset": -20.9, "gain": 6.4e-4}
    )

    assert "5 × 21 × 21 voxels" in said  # noqa: RUF001  (the sign of the page)
    assert "Raw intensities 96 and 812 became 0 and 1" in said
    assert "n, which stand for −20.9 + 0.00064 n" in said  # noqa: RUF001  (the page's minus)
    assert images._scaled({"low": None, "window_px": [1, 21, 21], "gain": None}).count(".") == 1
    assert images._scaled({}) == ""
