"""What the stage says of its own result: numbers, outliers, motion that is left."""

import json

import numpy as np
import pytest
from scipy import ndimage

from clgkit.stages._motion_photons import Unlike
from clgkit.stages.correct_motion import OutlierCode, PlaneQuality
from tests.unit.motion_scene import GAIN, OFFSET, corrected, movie_of, moving

NUMBERS = list(PlaneQuality._fields)


def test_correction_raises_agreement_crispness_and_the_held_out_score() -> None:
    made, _ = corrected(moving().movie)

    for plane in made.summary["planes"]:
        assert plane["r_after"] > plane["r_before"] + 0.1
        assert plane["crispness_after"] > 1.2 * plane["crispness_before"]
        assert plane["heldout_after"] > plane["heldout_before"] + 0.1
        assert plane["heldout_skipped"] is None
        # 4000 pixels in six pairs of frames: the slope of the variance to a tenth.
        assert plane["gain"] == pytest.approx(GAIN, rel=0.2)
        assert plane["offset"] == pytest.approx(OFFSET, abs=4 * GAIN)
        assert plane["residual_px"] < 0.1


def test_a_still_movie_gains_nothing() -> None:
    made, _ = corrected(moving(largest=0).movie)

    for plane in made.summary["planes"]:
        assert plane["r_after"] == pytest.approx(plane["r_before"], abs=0.03)
        assert plane["heldout_after"] == pytest.approx(plane["heldout_before"], abs=0.03)


def test_bending_that_was_not_followed_is_left_over_and_shown_where_it_is() -> None:
    pixels = moving(24, largest=0).movie.values[:, :1]
    wide = np.concatenate([pixels, np.flip(pixels, 3)], axis=3)
    wide = np.concatenate([wide, np.flip(wide, 2)], axis=2).astype(np.float32)
    for t in range(24):
        wide[t, 0, :, 64:] = np.roll(wide[t, 0, :, 64:], 2 * (t // 12), axis=0)

    rigid, _ = corrected(movie_of(wide), method="rigid")
    bent, _ = corrected(movie_of(wide), grid_px=32, overlap_px=24)

    flow = rigid.residual_flow
    assert flow.dims == ("z", "flow_y", "flow_x")
    assert flow.coords["flow_x"].values.max() < 128
    assert rigid.patch_shifts.shape[2:4] == (1, 1)
    left, followed = (m.summary["planes"][0]["residual_px"] for m in (rigid, bent))
    assert left > 0.3
    assert followed < left / 3


def test_the_numbers_are_stored_per_plane_and_are_plain_in_the_summary() -> None:
    made, _ = corrected(moving().movie)

    assert made.quality.shape == (2, len(NUMBERS))
    json.dumps(made.summary, allow_nan=False)
    for plane, row in zip(made.summary["planes"], made.quality.values, strict=True):
        assert plane["r_after"] == row[NUMBERS.index("r_after")]
        assert row[NUMBERS.index("unlike")] == Unlike.PHOTONS


def test_a_movie_that_was_smoothed_has_no_held_out_score_and_says_why() -> None:
    smooth = ndimage.gaussian_filter(moving().movie.values.astype(np.float32), (0, 0, 0.8, 0.8))

    made, _ = corrected(movie_of(smooth))

    for plane in made.summary["planes"]:
        assert "neighbouring pixels share their noise" in plane["heldout_skipped"]
        assert plane["heldout_before"] is None
        assert plane["heldout_after"] is None
        assert plane["r_after"] > plane["r_before"]


def test_one_frame_is_too_little_to_say_anything() -> None:
    made, _ = corrected(movie_of(moving().movie.values[:1]))

    plane = made.summary["planes"][0]
    assert "too few good frames" in plane["heldout_skipped"]
    assert (plane["r_before"], plane["residual_px"], plane["gain"]) == (None, None, None)
    assert np.isnan(made.residual_flow.values).all()


def test_a_lost_plane_has_no_numbers() -> None:
    pixels = moving().movie.values.astype(np.float32)
    pixels[:, 1] = np.nan

    made, _ = corrected(movie_of(pixels))

    assert list(made.quality.attrs["failed_planes"]) == ["1"]
    assert made.summary["planes"][1]["r_after"] is None
    assert made.summary["planes"][0]["r_after"] is not None


def test_frames_that_fit_badly_are_marked_and_no_others() -> None:
    pixels = moving().movie.values.copy()
    other = moving(2, seed=5).movie.values[0]
    pixels[9] = (pixels[9] + other) // 2

    made, _ = corrected(movie_of(pixels))

    assert np.argwhere(made.outliers.values == OutlierCode.MISFIT).tolist() == [[9, 0], [9, 1]]
    assert [plane["n_outliers"] for plane in made.summary["planes"]] == [1, 1]
    assert not made.bad_frames.values.any()


def test_bad_frames_are_no_outliers() -> None:
    pixels = moving().movie.values.copy()
    pixels[4] = 0

    made, _ = corrected(movie_of(pixels))

    assert made.bad_frames.values[4].all()
    assert not made.outliers.values[4].any()
    assert [plane["n_bad_frames"] for plane in made.summary["planes"]] == [1, 1]


def test_compat_is_scored_in_the_same_way() -> None:
    made, _ = corrected(moving(24).movie, compat="normcorre", max_shift_px=6)

    for plane in made.summary["planes"]:
        assert plane["heldout_after"] > plane["heldout_before"]
        assert plane["residual_px"] < 0.3
