"""Templates that stay, follow or are given; NoRMCorre's way; pixels without weight."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from clgkit import registration
from clgkit import workspace as workspace_module
from clgkit.errors import DataError
from clgkit.pipeline.store import Partial
from clgkit.registration import FrameCode, NormcorreSettings
from clgkit.stages._motion_frames import like_normcorre
from clgkit.stages.correct_motion import OutlierCode
from tests.unit.motion_scene import SERIAL, corrected, error_px, movie_of, moving, volume_of

MODES: list[dict[str, Any]] = [
    {},
    {"template": "running", "bin_frames": 8},
    {"compat": "normcorre", "bin_frames": 8, "max_shift_px": 6},
    {"compat": "normcorre", "method": "rigid", "bin_frames": 8, "max_shift_px": 6},
]
IN_ORDER = MODES[1:3]
NAMES = ["fixed", "running", "normcorre", "normcorre rigid"]


@pytest.mark.parametrize("mode", MODES, ids=NAMES)
def test_every_way_finds_the_motion(mode: dict[str, Any]) -> None:
    scene = moving()

    made, warnings = corrected(scene.movie, **mode)

    assert warnings == []
    # Pixels; plain correlation (NoRMCorre) is drawn to 0 by the edges of so small a field.
    assert error_px(made, scene.shifts) < (0.7 if "compat" in mode else 0.25)
    assert float(made.agreement.min()) > 0.8
    assert not made.outliers.values.any()


def test_compat_gives_what_the_program_of_the_registration_package_gives() -> None:
    scene = moving()
    settings = NormcorreSettings(bin_frames=8, max_shift_px=6)

    made, _ = corrected(scene.movie, compat="normcorre", bin_frames=8, max_shift_px=6)

    for plane in range(2):
        frames = scene.movie.values[:, plane].astype(np.float64)
        least = frames.min()
        wanted = registration.register_like_normcorre(frames - least, settings)
        np.testing.assert_array_equal(made.shifts.values[:, plane], wanted.rigid)
        np.testing.assert_array_equal(made.patch_shifts.values[:, plane], wanted.patch_shift)
        # The frames are moved without the subtraction: in single precision not the same bits.
        np.testing.assert_allclose(
            made.corrected.values[:, plane], wanted.frames + least, rtol=1e-5
        )
        np.testing.assert_allclose(made.template.values[plane], wanted.template + least, rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "cells", "overlap"),
    [((512, 512), 128, 32), ((512, 700), 128, 32), ((1024, 1024), 256, 64), ((800, 600), 256, 64)],
)
def test_the_patches_of_compat_are_those_recommended_for_the_field(
    shape: tuple[int, int], cells: int, overlap: int
) -> None:
    settings = like_normcorre(shape, rigid=False)

    assert (settings.grid_px, settings.overlap_px, settings.finer) == (cells, overlap, 4)
    assert (settings.iterations, settings.upsampling, settings.max_deviation_px) == (2, 50, 3)
    assert like_normcorre(shape, rigid=True).grid_px == max(shape)


def test_compat_puts_the_shifts_of_patches_at_its_cells() -> None:
    pixels = np.tile(moving().movie.values[:6, :1], (1, 1, 1, 5))[..., :280]

    made, _ = corrected(movie_of(pixels), compat="normcorre", iterations=1)

    # 280 px: cells of 128, 128 and 24 px; the last is too short for itself.
    assert made.patch_shifts.shape == (6, 1, 1, 2, 2)
    np.testing.assert_array_equal(made.patch_shifts.coords["patch_x"], [63.5, 203.5])
    np.testing.assert_array_equal(made.patch_shifts.coords["patch_y"], [31.5])


@pytest.mark.parametrize("mode", IN_ORDER, ids=["running", "normcorre"])
def test_a_template_that_follows_does_not_depend_on_what_is_read_together(
    mode: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = moving(18)
    whole, _ = corrected(scene.movie, **mode)

    monkeypatch.setattr("clgkit.stages._motion_follow.READ_FRAMES", 3)
    monkeypatch.setattr(workspace_module, "BLOCK_MB", 0.05)
    parts, _ = corrected(scene.movie, **mode)

    for name in ("corrected", "shifts", "patch_shifts", "template", "agreement", "quality"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name), name)


@pytest.mark.parametrize("mode", IN_ORDER, ids=["running", "normcorre"])
def test_a_plane_that_was_done_is_not_done_again(mode: dict[str, Any], tmp_path: Path) -> None:
    movie = moving(18).movie
    wanted, _ = corrected(movie, **mode)

    def stop(label: str, n_done: int, _: int) -> None:
        if label.endswith("template") and "found_shifts" in label and n_done == 1:
            raise KeyboardInterrupt

    shelf = Partial(tmp_path, "correct_motion", "key")
    with pytest.raises(KeyboardInterrupt):
        corrected(movie, None, replace(SERIAL, shelf=shelf, progress=stop), **mode)
    partial = Partial(tmp_path, "correct_motion", "key")
    seen: list[tuple[str, int]] = []
    made, _ = corrected(
        movie,
        None,
        replace(SERIAL, shelf=partial, progress=lambda label, n, _: seen.append((label, n))),
        **mode,
    )

    first = next(n for label, n in seen if "found_shifts" in label)
    assert first == 1  # one plane of two was there
    np.testing.assert_array_equal(made.corrected.values, wanted.corrected.values)
    np.testing.assert_array_equal(made.template.values, wanted.template.values)


def test_a_running_template_follows_a_sample_that_changes() -> None:
    scene = moving(32)
    pixels = scene.movie.values.copy()
    fading = np.linspace(1, 0.2, 32)[:, None, None, None]
    pixels = (100 + (pixels - 100.0) * fading).astype(np.float32)

    fixed, _ = corrected(movie_of(pixels), template_frames=4)
    running, _ = corrected(movie_of(pixels), template="running", bin_frames=8, buffer_bins=1)

    assert running.summary["template"] == "running"
    assert fixed.summary["template"] == "fixed"
    assert float(running.template.mean()) < float(fixed.template.mean())
    assert error_px(running, scene.shifts) < 0.5  # px; the last frames are dim


@pytest.mark.parametrize("mode", [{}, {"template": "running"}, MODES[2]], ids=NAMES[:3])
def test_a_reference_stays_as_it_is(mode: dict[str, Any]) -> None:
    scene = moving()
    first, _ = corrected(scene.movie)
    image = np.roll(first.template.values, (2, -1), axis=(1, 2))

    made, warnings = corrected(scene.movie, volume_of(image), **mode)

    assert warnings == []
    assert made.summary["template"] == "reference"
    np.testing.assert_array_equal(made.template.values, image)
    moved = np.median(made.shifts.values - scene.shifts[:, None], axis=(0, 1))
    still = np.median(first.shifts.values - scene.shifts[:, None], axis=(0, 1))
    # Pixels: all frames are laid on the reference, wherever that lies.
    np.testing.assert_allclose(moved - still, [2, -1], atol=0.7 if "compat" in mode else 0.2)


def test_a_reference_may_have_another_brightness_and_gaps() -> None:
    scene = moving()
    first, _ = corrected(scene.movie)
    image = 0.01 * first.template.values - 3
    image[:, :6, :9] = np.nan

    made, _ = corrected(scene.movie, volume_of(image))

    assert error_px(made, scene.shifts) < 0.25  # pixels


@pytest.mark.parametrize("shape", [(1, 64, 64), (2, 64, 60), (2, 32, 64)])
def test_a_reference_of_another_size_is_refused_in_one_sentence(
    shape: tuple[int, int, int],
) -> None:
    with pytest.raises(DataError) as caught:
        corrected(moving().movie, volume_of(np.ones(shape)))

    size = f"{shape[0]} planes of {shape[1]} x {shape[2]} px"
    assert caught.value.code == "E_SHAPE"
    assert caught.value.message == (
        f"The reference has {size}, the movie 2 of 64 x 64 px. Give one image for each plane, of "
        "the size of its frames."
    )


def test_a_reference_without_units_is_refused() -> None:
    image = volume_of(np.ones((2, 64, 64)))
    image.coords["y"].attrs.clear()

    with pytest.raises(DataError, match="coordinate 'y' is in no unit"):
        corrected(moving().movie, image)


@pytest.mark.parametrize("mode", [{}, MODES[2]], ids=["fixed", "normcorre"])
def test_a_plane_whose_reference_shows_nothing_is_left_out(mode: dict[str, Any]) -> None:
    image = np.ones((2, 64, 64), np.float32)
    image[1] = moving().movie.values[0, 1]

    made, _ = corrected(moving().movie, volume_of(image), **mode)

    assert list(made.corrected.attrs["failed_planes"]) == ["0"]
    assert "reference is constant" in made.corrected.attrs["failed_planes"]["0"]
    assert np.isfinite(made.corrected.values[:, 1, 32, 32]).all()


def hot(scene: Any, n: int = 25) -> xr.DataArray:
    rng = np.random.default_rng(8)
    pixels = scene.movie.values.copy()
    for y, x in rng.integers(2, 62, (n, 2)):
        pixels[:, :, y, x] = 30000
    return movie_of(pixels)


def test_hot_pixels_are_found_stored_counted_and_have_no_weight() -> None:
    scene = moving()
    movie = hot(scene)

    made, _ = corrected(movie)
    blind, _ = corrected(movie, bad_pixels="none")

    wanted = (movie.values > 20000).all(axis=0)
    found = made.bad_pixels.values > 0
    assert found[wanted].mean() > 0.9  # two that touch may hide each other
    assert made.bad_pixels.dtype == np.uint8
    assert [plane["n_bad_pixels"] for plane in made.summary["planes"]] == found.sum(
        axis=(1, 2)
    ).tolist()
    assert error_px(made, scene.shifts) < 0.4  # pixels
    assert error_px(blind, scene.shifts) > 1
    assert not blind.bad_pixels.values.any()


@pytest.mark.parametrize("mode", MODES, ids=NAMES)
def test_bad_frames_are_not_moved_and_change_no_template(mode: dict[str, Any]) -> None:
    scene = moving(24)
    pixels = scene.movie.values.astype(np.float32)
    spoilt = np.insert(pixels, [5, 11], [[[[np.nan]]], [[[0.0]]]], axis=0)

    made, warnings = corrected(movie_of(spoilt), **mode)

    codes = made.bad_frames.values
    assert codes[5].tolist() == [FrameCode.NOT_FINITE] * 2
    assert codes[12].tolist() == [FrameCode.BLANK] * 2
    assert len(warnings) == 2
    assert not made.shifts.values[[5, 12]].any()
    np.testing.assert_array_equal(made.corrected.values[[5, 12]], spoilt[[5, 12]])
    assert np.isnan(made.agreement.values[[5, 12]]).all()
    assert np.isfinite(made.template.values).all()
    if "compat" in mode:
        without, _ = corrected(movie_of(pixels), **mode)
        np.testing.assert_array_equal(made.template.values, without.template.values)


def test_a_missing_pixel_costs_compat_no_patch() -> None:
    pixels = moving(12).movie.values.astype(np.float32)
    pixels[4, 0, 30, 30] = np.nan

    made, _ = corrected(movie_of(pixels), compat="normcorre", max_shift_px=6)

    assert 1 <= np.isnan(made.corrected.values[4, 0, 24:40, 24:40]).sum() <= 16
    assert np.isfinite(made.corrected.values[:, 1]).all()


@pytest.mark.parametrize("mode", MODES, ids=NAMES)
@pytest.mark.parametrize("n_frames", [1, 2, 9])
def test_short_movies_work(mode: dict[str, Any], n_frames: int) -> None:
    made, _ = corrected(movie_of(moving().movie.values[:n_frames]), **mode)

    assert made.corrected.shape[0] == n_frames
    assert np.isfinite(made.template.values).all()
    assert made.quality.shape == (2, 11)


@pytest.mark.parametrize("shape", [(0, 2, 16, 16), (4, 0, 16, 16), (4, 2, 0, 16)])
def test_an_empty_movie_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="The movie is empty: ") as caught:
        corrected(movie_of(np.zeros(shape, np.uint16)))

    assert caught.value.code == "E_SHAPE"


@pytest.mark.parametrize("mode", MODES, ids=NAMES)
def test_a_movie_without_any_value_is_refused(mode: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"No plane of the movie can be used.*none of 5 frames"):
        corrected(movie_of(np.full((5, 2, 48, 48), np.nan, np.float32)), **mode)


@pytest.mark.parametrize("mode", MODES[:3], ids=NAMES[:3])
def test_shifts_beyond_the_window_are_counted_and_told(mode: dict[str, Any]) -> None:
    pixels = moving(24, largest=0).movie.values.copy()
    pixels[[7, 15]] = np.roll(pixels[[7, 15]], 4, axis=2)

    made, warnings = corrected(movie_of(pixels), **mode | {"max_shift_px": 3})

    at_limit = (made.outliers.values == OutlierCode.LIMIT).any(axis=1)
    assert np.flatnonzero(at_limit).tolist() == [7, 15]
    assert made.summary["n_at_limit"] == 2
    (said,) = warnings
    if "compat" in mode:  # there nothing is looked for beyond
        assert said == (
            "2 of 24 frames lie at the limit of 3 px on some plane and may have moved farther; "
            "raise max_shift_px"
        )
    else:
        assert said == (
            "2 of 24 frames lie at or beyond the limit of 3 px on some plane, the farthest 4 px "
            "from its template; raise max_shift_px to 6"
        )
        assert np.abs(made.shifts.values).max() < 1
