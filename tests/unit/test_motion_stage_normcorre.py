"""NoRMCorre's way with settings of one's own, and its shifts undone in another movie."""

import tomllib
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from clgkit import registration
from clgkit.cli import shiftfile
from clgkit.errors import DataError, SettingsError
from clgkit.pipeline.store import Partial
from clgkit.registration import NormcorreSettings
from clgkit.stages.apply_motion import ApplyMotion, MotionApplied, apply_motion
from clgkit.stages.correct_motion import CorrectMotion, MotionCorrected
from tests.unit.motion_scene import SERIAL, corrected, movie_of, moving, volume_of

PAGE = Path(__file__).parents[2] / "docs" / "methods" / "correct_motion.md"
SMALL: dict[str, Any] = {
    "compat": "normcorre", "bin_frames": 5, "max_shift_px": 6, "grid_px": 32, "overlap_px": 12,
}  # fmt: skip
MODES: list[dict[str, Any]] = [
    SMALL,
    SMALL | {"boundary": "minimum"},
    SMALL | {"method": "rigid"},
    {"compat": "normcorre", "bin_frames": 5, "max_shift_px": 6},
]
NAMES = ["patches", "minimum", "rigid", "defaults"]


def settings_of(shape: tuple[int, int] = (64, 64), **given: Any) -> NormcorreSettings:
    """Run two frames of a size; return the settings the result tells."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 9, (2, 1, *shape)).astype(np.uint16)
    how: dict[str, Any] = {"compat": "normcorre", "iterations": 1} | given
    made, _ = corrected(movie_of(frames), **how)
    return NormcorreSettings(**made.summary["normcorre"])


def test_without_settings_the_numbers_are_those_of_normcorre() -> None:
    # One pass is all that was asked for.
    assert settings_of() == NormcorreSettings(iterations=1)
    assert settings_of((780, 40)) == NormcorreSettings(iterations=1, grid_px=256, overlap_px=64)


@pytest.mark.parametrize(
    "given",
    [
        {"grid_px": 20},
        {"overlap_px": 7},
        {"max_deviation_px": 8},
        {"grid_px": 16, "overlap_px": 4, "max_deviation_px": 1, "max_shift_px": 9},
        {"upsampling": 20, "bin_frames": 7, "buffer_bins": 3, "iterations": 3},
    ],
)
def test_settings_that_are_given_count(given: dict[str, Any]) -> None:
    assert settings_of(**given) == NormcorreSettings(iterations=1)._replace(**given)


def test_settings_files_that_name_every_default_change_nothing() -> None:
    everything = CorrectMotion().model_dump() | {"compat": "normcorre", "iterations": 1}

    assert settings_of(**everything) == settings_of()


def test_frames_moved_as_a_whole_have_no_patches() -> None:
    found = settings_of(method="rigid", grid_px=20, overlap_px=3, max_deviation_px=9)

    assert found == NormcorreSettings(iterations=1, grid_px=64, finer=1)


def test_the_settings_of_the_original_script_are_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    blocks = [part.split("```")[0] for part in text.split("```toml\n")[1:]]
    (block,) = [part for part in blocks if "normcorre" in part]

    given = tomllib.loads(block)["correct_motion"]

    # All it sets; the least value of a patch is what its "zero" boundary does.
    wanted = NormcorreSettings(
        grid_px=256, overlap_px=64, apply_overlap_px=32, least_cell_px=32, finer=4,
        max_shift_px=30, max_deviation_px=8, upsampling=50, iterations=2, bin_frames=200,
        buffer_bins=50, fill="minimum",
    )  # fmt: skip
    assert settings_of(**(given | {"iterations": 2})) == wanted
    assert CorrectMotion(**given).iterations == 2


def test_cells_that_cannot_be_cut_are_refused_in_words() -> None:
    with pytest.raises(SettingsError, match="grid_px must be at least 4"):
        CorrectMotion.parse({"compat": "normcorre", "grid_px": 3}, section="correct_motion")
    assert CorrectMotion(compat="normcorre", method="rigid", grid_px=3).grid_px == 3
    assert CorrectMotion(grid_px=3).grid_px == 3


def test_given_patches_are_those_of_the_registration_package() -> None:
    scene = moving()
    settings = NormcorreSettings(
        grid_px=32, overlap_px=12, max_shift_px=6, max_deviation_px=2, bin_frames=8, fill="minimum"
    )

    made, _ = corrected(
        scene.movie, **(SMALL | {"max_deviation_px": 2, "bin_frames": 8, "boundary": "minimum"})
    )

    frames = scene.movie.values[:, 1].astype(np.float64)
    wanted = registration.register_like_normcorre(frames - frames.min(), settings)
    np.testing.assert_array_equal(made.patch_shifts.values[:, 1], wanted.patch_shift)
    np.testing.assert_array_equal(made.patch_shifts.coords["phase_rad"][:, 1], wanted.patch_phase)
    assert made.patch_shifts.shape[2:4] == (2, 2)
    # The frames are moved without the subtraction: in single precision not the same bits.
    np.testing.assert_allclose(made.corrected.values[:, 1], wanted.frames + frames.min(), rtol=1e-5)


def poor_movie() -> xr.DataArray:
    """Two planes with a blank frame, one without values, and a missing pixel."""
    pixels = moving(14).movie.values.astype(np.float32)
    pixels[5] = 0
    pixels[8, 1] = np.nan
    pixels[10, 0, 30, 31] = np.inf
    return movie_of(pixels)


@cache
def small() -> tuple[xr.DataArray, MotionCorrected]:
    """A short movie and its motion."""
    movie = moving(14).movie
    return movie, corrected(movie, **SMALL)[0]


def applied(movie: xr.DataArray, motion: MotionCorrected, **changes: Any) -> MotionApplied:
    given = {name: getattr(motion, name) for name in ("patch_shifts", "summary", "bad_frames")}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return apply_motion(movie, **(given | changes), workspace=SERIAL)


@pytest.mark.parametrize("mode", MODES, ids=NAMES)
def test_applied_to_their_own_movie_the_shifts_give_it_again_to_the_bit(
    mode: dict[str, Any],
) -> None:
    movie = poor_movie()
    motion, _ = corrected(movie, **mode)

    again = applied(movie, motion)

    assert motion.bad_frames.values[5].all()
    np.testing.assert_array_equal(again.corrected.values, motion.corrected.values)
    np.testing.assert_array_equal(again.corrected.values[5], movie.values[5])


def test_the_offset_of_rows_is_undone_first_and_may_be_left_out() -> None:
    movie, motion = small()
    skewed = motion.summary | {"line_offset_px": 1.0}

    offset = applied(movie, motion, summary=skewed)
    without = applied(movie, motion, summary=skewed, params=ApplyMotion(line_offset="none"))

    np.testing.assert_array_equal(without.corrected.values, motion.corrected.values)
    assert (offset.corrected.values != motion.corrected.values).any()


def test_a_reference_is_followed_to_the_bit_too() -> None:
    movie = poor_movie()
    image = volume_of(moving(14).movie.values[0].astype(np.float32))

    motion, _ = corrected(movie, image, **SMALL)

    np.testing.assert_array_equal(applied(movie, motion).corrected, motion.corrected)


def test_a_stored_result_holds_all_that_is_needed(tmp_path: Path) -> None:
    movie = poor_movie()
    partial = Partial(tmp_path, "correct_motion", "key")
    motion, _ = corrected(movie, workspace=replace(SERIAL, shelf=partial), **SMALL)
    partial.save("patch_shifts", motion.patch_shifts)
    folder = next(tmp_path.rglob("patch_shifts.zarr"))

    from clgkit.pipeline import arrays

    stored = arrays.load(folder)

    assert stored.coords["phase_rad"].dims == ("time", "z", "patch_y", "patch_x")
    np.testing.assert_array_equal(
        applied(movie, motion, patch_shifts=stored).corrected, motion.corrected
    )


def test_a_file_of_shifts_holds_all_that_is_needed(tmp_path: Path) -> None:
    movie, motion = small()
    shiftfile.write_shifts(tmp_path / "shifts.npz", motion)

    found = shiftfile.read_shifts(tmp_path / "shifts.npz")

    again = applied(movie, motion, patch_shifts=found.patch_shifts, summary=found.summary)
    np.testing.assert_array_equal(again.corrected, motion.corrected)


@pytest.mark.parametrize("missing", ["settings", "phases of its patches"])
def test_what_is_missing_is_told_and_the_shifts_are_undone_by_interpolation(missing: str) -> None:
    movie, motion = small()
    plain = {"line_offset_px": motion.summary["line_offset_px"]}
    shifts = motion.patch_shifts.drop_vars("phase_rad")
    given = {"summary": plain} if missing == "settings" else {"patch_shifts": shifts}

    with pytest.warns(UserWarning, match=f"the {missing} are not at hand"):
        made = apply_motion(
            movie,
            **({"patch_shifts": motion.patch_shifts, "summary": motion.summary} | given),
            bad_frames=motion.bad_frames,
            workspace=SERIAL,
        )

    wanted = applied(movie, motion, patch_shifts=shifts, summary=plain)
    np.testing.assert_array_equal(made.corrected.values, wanted.corrected.values)


def test_settings_of_another_program_are_refused() -> None:
    movie, motion = small()

    with pytest.raises(DataError, match="the settings that correct_motion leaves there") as caught:
        applied(movie, motion, summary=motion.summary | {"normcorre": {"grid": 3}})

    assert caught.value.code == "E_SHAPE"


def test_other_ways_leave_neither_phases_nor_settings() -> None:
    made, _ = corrected(moving(14).movie)

    assert "phase_rad" not in made.patch_shifts.coords
    assert "normcorre" not in made.summary
