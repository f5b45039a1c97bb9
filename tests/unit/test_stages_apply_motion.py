"""Stored shifts move another movie exactly as they moved their own."""

import warnings
from typing import Any

import numpy as np
import pytest
import xarray as xr

from clgkit import data
from clgkit.errors import DataError
from clgkit.simulate import Fish, preset
from clgkit.stages.apply_motion import ApplyMotion, MotionApplied, apply_motion
from clgkit.stages.correct_motion import CorrectMotion, MotionCorrected, correct_motion
from clgkit.workspace import FAILED, Workspace, failed_planes

SERIAL = Workspace(executor="serial")
PIXEL = (6.0, 1.0, 1.0)


@pytest.fixture(scope="module")
def fish() -> Fish:
    return Fish(
        preset("tiny", seed=4, n_frames=30, n_planes=2, bidirectional_px=0.8, plane_offset_px=0.0)
    )


def movie_of(pixels: np.ndarray) -> data.Movie:
    return data.movie(pixels, rate_hz=2.0, voxel_um=PIXEL)


def pixels_of(fish: Fish, block: Any) -> np.ndarray:
    settings = fish.settings
    return np.stack([block(plane, 0, settings.n_frames) for plane in range(settings.n_planes)], 1)


@pytest.fixture(scope="module")
def green(fish: Fish) -> data.Movie:
    return movie_of(pixels_of(fish, fish.movie_block))


@pytest.fixture(scope="module")
def red(fish: Fish) -> data.Movie:
    return movie_of(pixels_of(fish, fish.nuclear_block))


def corrected(movie: data.Movie, **settings: Any) -> MotionCorrected:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        params = CorrectMotion(max_shift_px=8, **settings)
        return correct_motion(movie, params=params, workspace=SERIAL)


@pytest.fixture(scope="module")
def motion(green: data.Movie) -> MotionCorrected:
    return corrected(green)


def applied(movie: data.Movie, motion: MotionCorrected, **changes: Any) -> MotionApplied:
    given = {name: getattr(motion, name) for name in ("patch_shifts", "summary", "bad_frames")}
    return apply_motion(movie, **(given | changes), workspace=SERIAL)


def likeness(image: np.ndarray, still: np.ndarray) -> float:
    """Best correlation of the inner part with that of an image displaced by a few pixels."""
    reach = range(-3, 4)  # where a movie lies as a whole is a matter of its template
    return max(
        float(
            np.corrcoef(
                image[8:-8, 8:-8].ravel(), np.roll(still, (y, x), (0, 1))[8:-8, 8:-8].ravel()
            )[0, 1]
        )
        for y in reach
        for x in reach
    )


@pytest.mark.parametrize("method", ["piecewise", "rigid"])
def test_applied_to_their_own_movie_they_give_the_corrected_movie(
    green: data.Movie, method: str
) -> None:
    motion = corrected(green, method=method)
    assert method == "rigid" or abs(motion.summary["line_offset_px"]) > 0.5

    again = applied(green, motion)

    np.testing.assert_array_equal(again.corrected.values, motion.corrected.values)
    assert again.corrected.dtype == np.float32
    np.testing.assert_array_equal(again.corrected.coords["time"], green.coords["time"])


def test_the_second_channel_lies_still(
    fish: Fish, red: data.Movie, motion: MotionCorrected
) -> None:
    made = applied(red, motion)

    for plane in range(2):
        still = fish.clean_nuclei(plane)
        sharp = likeness(made.template.values[plane], still)
        blurred = likeness(red.values[:, plane].mean(axis=0), still)
        assert sharp > 0.95
        assert sharp > blurred + 0.03
    agreement = made.agreement.values
    # One frame of 8 photons a nucleus against the mean of 30.
    assert np.nanmedian(agreement) > 0.6


def test_the_second_channel_scores_the_shifts(red: data.Movie, motion: MotionCorrected) -> None:
    right = applied(red, motion).quality
    unmoved = motion.patch_shifts * np.float32(0)
    none = applied(red, motion, patch_shifts=unmoved, summary={"line_offset_px": 0.0}).quality
    wrong = applied(red, motion, patch_shifts=-motion.patch_shifts).quality

    before, after = right.values.T
    # From 0.56 and 0.59 to 0.91 was measured.
    assert (after > before + 0.2).all()
    np.testing.assert_array_equal(none.values[:, 0], none.values[:, 1])
    assert (wrong.values[:, 1] < wrong.values[:, 0]).all()


def test_one_frame_scores_nothing(red: data.Movie, motion: MotionCorrected) -> None:
    bad = motion.bad_frames.copy()
    bad[1:, 0] = 2
    made = applied(red, motion, bad_frames=bad)

    assert np.isnan(made.quality.values[0]).all()
    assert np.isfinite(made.quality.values[1]).all()


def test_the_template_is_the_mean_of_good_frames_that_show_a_pixel(
    red: data.Movie, motion: MotionCorrected
) -> None:
    bad = motion.bad_frames.copy()
    bad[3:9, 0] = 2
    made = applied(red, motion, bad_frames=bad)

    for plane in range(2):
        good = bad.values[:, plane] == 0
        frames = made.corrected.values[good, plane].astype(np.float64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a pixel that no frame shows
            mean = np.nanmean(frames, axis=0)
        # Sums of 30 in another order, rounded to float32.
        np.testing.assert_allclose(made.template.values[plane], mean, rtol=1e-6)
        np.testing.assert_array_equal(np.isnan(made.agreement.values[:, plane]), ~good)


def test_without_a_line_offset_the_rows_stay(red: data.Movie, motion: MotionCorrected) -> None:
    ours = applied(red, motion, params=ApplyMotion(line_offset="none"))
    wanted = applied(red, motion, summary={"line_offset_px": 0})

    np.testing.assert_array_equal(ours.corrected.values, wanted.corrected.values)
    assert not np.array_equal(ours.corrected.values, applied(red, motion).corrected.values)


def test_a_frame_that_did_not_move_comes_back_to_the_bit(red: data.Movie) -> None:
    shifts = table(red, np.zeros((30, 2, 1, 1, 2), np.float32))

    made = apply_motion(
        red, shifts, {"line_offset_px": 0.0}, none_bad(red), workspace=SERIAL
    ).corrected

    np.testing.assert_array_equal(made.values, red.values.astype(np.float32))


def test_infinite_pixels_become_nan_and_no_more_than_their_neighbours(red: data.Movie) -> None:
    pixels = red.values.astype(np.float32)
    pixels[5, 1, 20, 20] = np.inf
    shifts = table(red, np.full((30, 2, 1, 1, 2), 0.5, np.float32))

    made = apply_motion(
        movie_of(pixels), shifts, {"line_offset_px": 0.0}, none_bad(red), workspace=SERIAL
    )

    lost = np.isnan(made.corrected.values[5, 1, 5:40, 5:40])
    assert 1 <= lost.sum() <= 16
    assert not np.isinf(made.corrected.values).any()


def table(movie: data.Movie, values: np.ndarray) -> xr.DataArray:
    middle = [(movie.sizes[axis] - 1) / 2 for axis in "yx"]
    return xr.DataArray(
        values,
        dims=("time", "z", "patch_y", "patch_x", "axis"),
        coords={"patch_y": middle[:1], "patch_x": middle[1:]},
    )


def none_bad(movie: data.Movie) -> xr.DataArray:
    return xr.DataArray(np.zeros(movie.shape[:2], np.uint8), dims=("time", "z"))


def test_a_lost_plane_is_lost_in_both_channels_for_the_same_reason(
    red: data.Movie, motion: MotionCorrected
) -> None:
    shifts = motion.patch_shifts.copy()
    shifts.attrs[FAILED] = {"0": "it shows nothing"}

    made = applied(red, motion, patch_shifts=shifts)

    for array in made:
        assert failed_planes(array) == {0: "it shows nothing"}
    assert np.isnan(made.corrected.values[:, 0]).all()
    assert np.isnan(made.template.values[0]).all()
    assert np.isnan(made.agreement.values[:, 0]).all()
    assert np.isnan(made.quality.values).tolist() == [[True, True], [False, False]]
    np.testing.assert_array_equal(
        made.corrected.values[:, 1], applied(red, motion).corrected.values[:, 1]
    )
    shifts.attrs[FAILED] = {"0": "it shows nothing", "1": "nor this"}
    with pytest.raises(DataError, match="No plane of the movie can be used: it shows nothing"):
        applied(red, motion, patch_shifts=shifts)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"time": slice(0, 20)}, "The movie has 20 frames, but there are shifts for 30."),
        ({"z": slice(0, 1)}, "The movie has 1 planes, but there are shifts for 2."),
        ({"y": slice(0, 60)}, r"have 60 x 64 pixels, those whose motion was corrected 64 x 64\."),
    ],
)
def test_a_movie_of_another_recording_is_refused_in_one_sentence(
    red: data.Movie, motion: MotionCorrected, part: dict[str, slice], words: str
) -> None:
    with pytest.raises(DataError, match=words) as caught:
        applied(red.isel(part), motion, template=motion.template)

    assert caught.value.code == "E_SHAPE"


def test_bad_frames_of_another_recording_are_refused(
    red: data.Movie, motion: MotionCorrected
) -> None:
    with pytest.raises(DataError, match="marks of bad frames for 9"):
        applied(red, motion, bad_frames=motion.bad_frames[:9])


@pytest.mark.parametrize(
    ("summary", "words"),
    [
        ({}, "line_offset_px = None"),
        ({"line_offset_px": "1"}, "line_offset_px = '1'"),
        ({"line_offset_px": float("nan")}, "line_offset_px = nan"),
        ([0.5], "The summary is a list;"),
    ],
)
def test_a_summary_without_the_offset_is_refused(
    red: data.Movie, motion: MotionCorrected, summary: Any, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        applied(red, motion, summary=summary)


def test_shifts_without_their_places_are_refused(red: data.Movie, motion: MotionCorrected) -> None:
    nowhere = motion.patch_shifts.drop_vars("patch_y")
    with pytest.raises(DataError, match=r"wanted are 2 \(y, x\) and the centres patch_y"):
        applied(red, motion, patch_shifts=nowhere)
