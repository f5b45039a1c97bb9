"""What the stage says of motion that leaves the window, and what the mask of a plane holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest

from clgkit.cli import shiftfile
from clgkit.registration import Centers, FrameCode, apply_shifts
from clgkit.report import motion_quality
from clgkit.stages.correct_motion import FrameFit, OutlierCode
from tests.unit.drift_scene import DIM, SIDE, drift, errors_px, film, step
from tests.unit.motion_scene import corrected, movie_of, moving
from tests.unit.report_known import Known

if TYPE_CHECKING:
    from collections.abc import Callable

    from clgkit.stages.correct_motion import MotionCorrected

Floats = npt.NDArray[np.float64]
WAYS: list[dict[str, Any]] = [{}, {"method": "rigid"}, {"template": "running", "bin_frames": 10}]
NAMES = ["fixed", "rigid", "running"]


def one_plane(displacement_px: Floats, photons: float = 20.0) -> Any:
    return movie_of(film(displacement_px, photons)[:, np.newaxis])


def error_px(made: MotionCorrected, displacement_px: Floats) -> float:
    """Return the largest error of the frames that are no outliers."""
    fine = made.outliers.values[:, 0] == OutlierCode.FINE
    return float(errors_px(made.shifts.values[fine, 0], displacement_px[fine]).max())


@pytest.mark.parametrize("way", WAYS, ids=NAMES)
@pytest.mark.parametrize("make", [lambda: drift(12), lambda: step(22), lambda: step(22, 24)])
def test_a_drift_or_step_inside_the_window_is_undone_without_a_word(
    make: Callable[[], Floats], way: dict[str, Any]
) -> None:
    displacement = make()
    made, warnings = corrected(one_plane(displacement), **way)

    assert warnings == []
    assert not made.outliers.values.any()
    assert error_px(made, displacement) < 0.3  # pixels; before, 10 to 22
    assert made.summary["farthest_px"] is None
    assert float(made.agreement.min()) > 0.75  # of single frames, raw


def test_a_larger_window_finds_the_same() -> None:
    made, warnings = corrected(one_plane(step(22, 24), DIM), max_shift_px=30)

    assert warnings == []
    assert error_px(made, step(22, 24)) < 0.8  # pixels, the worst of 40 at 0.9 photons


@pytest.mark.parametrize("way", WAYS, ids=NAMES)
def test_frames_beyond_the_window_are_told_apart_from_dim_ones(way: dict[str, Any]) -> None:
    displacement = step(22, 24)
    made, (said,) = corrected(one_plane(displacement), max_shift_px=8, **way)

    codes = made.outliers.values[:, 0]
    assert (codes == OutlierCode.LIMIT).tolist() == [False] * 24 + [True] * 16
    assert said == (
        "16 of 40 frames lie at or beyond the limit of 8 px on some plane, the farthest 22 px from "
        "its template; raise max_shift_px to 24"
    )
    assert (made.summary["n_at_limit"], made.summary["n_unsure"]) == (16, 0)
    assert made.summary["farthest_px"] == pytest.approx(22, abs=0.3)
    assert np.abs(made.shifts.values).max() < 8  # those of the frames around them
    assert error_px(made, displacement) < 0.3


def test_a_plane_that_mostly_lies_beyond_is_named() -> None:
    _, (said,) = corrected(one_plane(drift(20)), max_shift_px=4)
    _, (some,) = corrected(one_plane(drift(20)))

    assert said.endswith("(half of the frames or more on plane 0: not corrected)")
    assert some.startswith("11 of 40 frames lie at or beyond the limit of 15 px")
    assert "half of the frames" not in some


def test_dim_frames_are_still_told_as_dim() -> None:
    pixels = film(drift(4), DIM)[:, np.newaxis]
    rng = np.random.default_rng(0)
    pixels[[7, 20]] = 3 + 20 * rng.poisson(1.2, (2, 1, SIDE, SIDE))

    made, (said,) = corrected(movie_of(pixels))

    assert np.flatnonzero(made.outliers.values[:, 0]).tolist() == [7, 20]
    assert said.startswith("2 of 40 frames show too little")
    assert made.summary["farthest_px"] is None


def test_a_window_the_field_has_no_room_for_is_told() -> None:
    made, warned = corrected(one_plane(drift(3, 10)), max_shift_px=200)
    same, nothing = corrected(one_plane(drift(3, 10)), max_shift_px=47)

    (said,) = warned
    assert said == (
        "max_shift_px = 200 is more than half of frames of 96 x 96 px; shifts are looked for up to "
        "47 px along their shorter side"
    )
    assert nothing == []
    np.testing.assert_array_equal(made.shifts.values, same.shifts.values)


def spoilt() -> Any:
    """Two planes with gaps, a bad frame and motion."""
    pixels = moving(24).movie.values.astype(np.float32)
    pixels[5] = 0
    pixels[8, 0, 30:33, 20:40] = np.nan
    return movie_of(pixels)


@pytest.mark.parametrize("way", [*WAYS, {"compat": "normcorre"}], ids=[*NAMES, "normcorre"])
def test_the_mask_counts_the_good_frames_that_show_a_pixel(way: dict[str, Any]) -> None:
    movie = spoilt()
    made, _ = corrected(movie, **way)

    good = made.bad_frames.values == FrameCode.OK
    assert good.sum(axis=0).tolist() == [23, 23]
    assert made.n_valid.dims == ("z", "y", "x")
    assert made.n_valid.dtype == np.uint32
    for plane in range(2):
        shown = np.isfinite(made.corrected.values[good[:, plane], plane])
        np.testing.assert_array_equal(made.n_valid.values[plane], shown.sum(axis=0))
        share = made.summary["planes"][plane]["seen_in_all"]
        assert share == pytest.approx(shown.all(axis=0).mean())
    if "compat" not in way:
        inside = made.n_valid.values[1] == 23
        assert not inside[0].any()  # moved by up to 3 px
        assert inside[5:-5, 5:-5].all()


def test_the_mask_follows_from_the_shifts() -> None:
    made, _ = corrected(spoilt())
    patches = made.patch_shifts
    centers = Centers(patches.coords["patch_y"].values, patches.coords["patch_x"].values)
    good = made.bad_frames.values[:, 1] == FrameCode.OK
    blank = np.ones((24, 64, 64), np.uint8)

    moved = apply_shifts(blank, patches.values[:, 1], centers=centers, dtype=np.uint8)

    np.testing.assert_array_equal(moved.valid[good].sum(axis=0), made.n_valid.values[1])


def test_a_lost_plane_shows_nothing() -> None:
    pixels = moving(12).movie.values.astype(np.float32)
    pixels[:, 1] = np.nan

    made, _ = corrected(movie_of(pixels))

    assert list(made.n_valid.attrs["failed_planes"]) == ["1"]
    assert not made.n_valid.values[1].any()
    assert made.summary["planes"][1]["seen_in_all"] is None
    assert np.isnan(made.fit.values[:, 1]).all()


@pytest.mark.parametrize("way", [*WAYS, {"compat": "normcorre"}], ids=[*NAMES, "normcorre"])
def test_the_fit_of_every_frame_is_kept(way: dict[str, Any]) -> None:
    made, _ = corrected(one_plane(drift(4, 20)), **way)

    assert made.fit.dims == ("time", "z", "measure")
    fit = FrameFit(*made.fit.values[:, 0].T)
    if "compat" in way:
        assert np.isnan(made.fit.values).all()
        return
    assert (np.array(fit.peak) > 0.9).all()
    assert (np.array(fit.second_peak) < 0.6).all()
    residual = np.array(fit.residual_px)
    assert np.isnan(residual).all() if "method" in way else (residual < 0.5).all()


def test_the_file_of_shifts_holds_the_mask(tmp_path: Path) -> None:
    made, _ = corrected(spoilt())
    path = tmp_path / "out_shifts.npz"

    shiftfile.write_shifts(path, made)

    with np.load(path) as held:
        np.testing.assert_array_equal(held["n_valid"], made.n_valid.values)
    assert shiftfile.read_shifts(path).shape_px == (64, 64)


def test_the_report_tells_the_window_and_what_all_frames_show() -> None:
    made, _ = corrected(one_plane(step(22, 24)), max_shift_px=8)
    known = Known(
        values={"correct_motion.summary": made.summary},
        settings={"correct_motion.max_shift_px": 8},
    )

    text = motion_quality.scanning(known)

    assert "16 frames lay at the limit of 8 px or beyond, up to 22" in text
    assert "All good frames show 92 % of the field of their plane" in text
