"""Frames and stacks that show nothing, or nonsense: I9 to I11."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

from clgkit import data, io
from clgkit.errors import DataError
from clgkit.pipeline import settings
from clgkit.pipeline.runner import Run
from clgkit.registration import FrameCode
from tests.faults.scene import (
    RATE,
    SERIAL,
    VOXEL,
    labels_of,
    movie_of,
    planes_of,
    run_of,
    stage,
    textured,
)

BAD = Path(__file__).parents[2].parent / "shared" / "data" / "badinputs"
N_FRAMES = 30
SIDE = 48
Pixels = npt.NDArray[np.float32]


def moving(n_frames: int = N_FRAMES, n_planes: int = 2) -> tuple[Pixels, npt.NDArray[np.int64]]:
    """A movie that moves by whole pixels, and the shifts (T, 2) that undo it."""
    rng = np.random.default_rng(3)
    wide = textured(n_frames, n_planes, SIDE + 16).astype(np.float32)
    moves = rng.integers(-3, 4, (n_frames, 2))
    moves[0] = 0
    frames = [
        frame[:, 8 - y : 8 - y + SIDE, 8 - x : 8 - x + SIDE]
        for frame, (y, x) in zip(wide, moves, strict=True)
    ]
    return np.stack(frames), -moves


def noise(depth: int, side: int = SIDE) -> npt.NDArray[np.uint16]:
    return np.random.default_rng(1).integers(0, 4000, (depth, side, side)).astype(np.uint16)


def smooth_stack() -> npt.NDArray[np.uint16]:
    return np.concatenate(list(textured(1, 8, SIDE)))


@pytest.mark.parametrize("number", [1137, 1139, 1170])
def test_i9_public_stacks_with_wrapped_values_are_refused(number: int, tmp_path: Path) -> None:
    path = BAD / f"gonuclear_{number}_uint8_wraparound.h5"
    if not path.exists():
        pytest.skip("the public bad inputs are not at hand in ../shared/data/badinputs")
    io.write_tiff(tmp_path / "movie.tif", textured(4, 1, 100), axes="tzyx", voxel_um=VOXEL,
                  rate_hz=RATE)  # fmt: skip
    stack = {"path": str(path), "dataset": "raw", "axes": "zyx", "voxel_um": VOXEL}
    settings.write(tmp_path, {"function": {"path": "movie.tif"}, "structure": stack})

    with pytest.raises(DataError, match="structure looks like noise") as caught:
        Run(settings.load(tmp_path)).raw.check()

    assert caught.value.code == "E_NOISE"
    assert "ignore_noise = true" in caught.value.message
    assert not (tmp_path / "segment_nuclei").exists()
    Run(settings.load(tmp_path, ("structure.ignore_noise=true",))).raw.check()


def test_i9_a_movie_of_white_noise_is_refused_before_the_first_frame(tmp_path: Path) -> None:
    run = run_of(tmp_path, np.stack([noise(1)] * 3), smooth_stack())

    with pytest.raises(DataError, match="function looks like noise") as caught:
        run.execute(SERIAL)

    assert caught.value.code == "E_NOISE"
    assert not list(tmp_path.glob("*.partial"))


def test_i9_a_stack_of_white_noise_is_refused(tmp_path: Path) -> None:
    run = run_of(tmp_path, textured(3, 1, SIDE), noise(8))

    with pytest.raises(DataError, match="structure looks like noise"):
        run.raw.check()


def test_i9_noisy_frames_of_a_real_field_are_no_noise(tmp_path: Path) -> None:
    run = run_of(tmp_path, textured(20, 1, SIDE), smooth_stack())

    assert run.raw.check() == []


def test_i10_single_pixels_without_a_value_spoil_their_neighbours_only() -> None:
    movie, _ = moving()
    whole = stage("correct_motion", movie_of(movie)).result
    broken = movie.copy()
    broken[4, 0, 20, 20], broken[5, 1, 30, 11] = np.nan, np.inf

    made, warnings = stage("correct_motion", movie_of(broken))

    assert warnings == []
    assert not np.isinf(made.corrected.values).any()
    lost = np.isnan(made.corrected.values) & ~np.isnan(whole.corrected.values)
    assert 1 <= lost[4, 0].sum() <= 16  # the cubic kernel is 4 pixels wide
    assert 1 <= lost[5, 1].sum() <= 16
    assert lost[4, 0].sum() + lost[5, 1].sum() == lost.sum()
    np.testing.assert_array_equal(made.bad_frames.values, 0)
    # A pixel without weight moves the peak by less than the noise does.
    np.testing.assert_allclose(made.shifts.values, whole.shifts.values, atol=0.1)
    assert np.isfinite(made.template.values).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_i10_frames_without_a_value_are_listed_and_left_out(value: float) -> None:
    movie, shifts = moving()
    movie[[3, 17], 1] = value

    made, warnings = stage("correct_motion", movie_of(movie))

    assert warnings == ["2 of 30 frames are bad (not finite) on 1 of 2 planes: 3, 17"]
    bad = made.bad_frames.values == FrameCode.NOT_FINITE
    assert np.argwhere(bad).tolist() == [[3, 1], [17, 1]]
    assert np.isnan(made.corrected.values[bad]).all()
    assert np.isnan(made.agreement.values[bad]).all()
    assert not made.shifts.values[bad].any()
    assert np.isfinite(made.template.values).all()
    _assert_registered(made, shifts, ~bad)


def test_i10_a_border_without_values_stays_one_and_the_template_has_none() -> None:
    movie, shifts = moving()
    movie[..., :5] = np.nan
    movie[..., :3, :] = np.nan

    made, warnings = stage("correct_motion", movie_of(movie))

    assert warnings == []
    assert np.isfinite(made.template.values).all()
    assert np.isfinite(made.corrected.values[:, :, 14:-9, 14:-9]).all()
    _assert_registered(made, shifts, np.ones((N_FRAMES, 2), bool))


def test_i10_a_plane_without_any_value_is_left_out_with_its_reason() -> None:
    movie, _ = moving()
    movie[:, 0] = np.nan

    made, warnings = stage("correct_motion", movie_of(movie))

    assert "30 of 30 frames are bad (not finite) on 1 of 2 planes" in warnings[0]
    failed = made.corrected.attrs["failed_planes"]
    assert list(failed) == ["0"]
    assert "none of 30 frames can make a template" in failed["0"]
    assert np.isnan(made.corrected.values[:, 0]).all()
    assert np.isfinite(made.template.values[1]).all()


def test_i10_a_movie_without_any_value_is_refused() -> None:
    movie = np.full((5, 2, SIDE, SIDE), np.nan, np.float32)

    with pytest.raises(DataError, match=r"No plane of the movie can be used.*template"):
        stage("correct_motion", movie_of(movie))


def test_i10_stacks_with_nan_are_refused() -> None:
    stack = smooth_stack().astype(np.float32)
    stack[2, 5, 5] = np.nan
    for name in ("normalize_contrast", "segment_nuclei"):
        with pytest.raises(DataError, match="NaN"):
            stage(name, data.volume(stack, voxel_um=VOXEL))


def spoilt() -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.int64]]:
    """A movie with blank, saturated, dark and flashed frames, and the shifts of the others."""
    movie, shifts = moving()
    made = movie.astype(np.uint16)
    rng = np.random.default_rng(5)
    made[4] = 0
    made[9, 0] = 65535
    made[14] = rng.normal(100, 5, made[14].shape).astype(np.uint16)
    made[20] = made[20] + 3000
    return made, shifts


EXPECTED = {
    4: (FrameCode.BLANK, (0, 1)),
    9: (FrameCode.SATURATED, (0,)),
    14: (FrameCode.DARK, (0, 1)),
    20: (FrameCode.FLASH, (0, 1)),
}


def test_i11_bad_frames_are_marked_and_counted_by_reason() -> None:
    movie, _ = spoilt()

    made, warnings = stage("correct_motion", movie_of(movie))

    wanted = np.zeros((N_FRAMES, 2), np.uint8)
    for frame, (code, planes) in EXPECTED.items():
        wanted[frame, list(planes)] = code
    np.testing.assert_array_equal(made.bad_frames.values, wanted)
    assert warnings == [
        "1 of 30 frames are bad (blank) on 2 of 2 planes: 4",
        "1 of 30 frames are bad (saturated) on 1 of 2 planes: 9",
        "1 of 30 frames are bad (dark) on 2 of 2 planes: 14",
        "1 of 30 frames are bad (flash) on 2 of 2 planes: 20",
    ]


def test_i11_bad_frames_take_no_part_in_template_and_metrics() -> None:
    movie, shifts = spoilt()
    without = np.delete(movie, list(EXPECTED), axis=0)

    made = stage("correct_motion", movie_of(movie)).result
    clean = stage("correct_motion", movie_of(without)).result

    bad = made.bad_frames.values > 0
    np.testing.assert_array_equal(made.template.values[0], clean.template.values[0])
    np.testing.assert_array_equal(np.isnan(made.agreement.values), bad)
    _assert_registered(made, shifts, ~bad)


def test_i11_bad_frames_keep_their_place_and_their_pixels() -> None:
    movie, _ = spoilt()

    made = stage("correct_motion", movie_of(movie)).result

    bad = made.bad_frames.values > 0
    assert not made.shifts.values[bad].any()
    np.testing.assert_array_equal(made.corrected.values[bad], movie[bad].astype(np.float32))


def test_i11_traces_leave_bad_frames_out_on_request_only() -> None:
    movie, _ = spoilt()
    corrected, bad = (
        getattr(stage("correct_motion", movie_of(movie)).result, name)
        for name in ("corrected", "bad_frames")
    )
    labels = np.zeros((2, SIDE, SIDE), np.uint32)
    labels[:, 20:26, 20:26] = 1

    given = (corrected, labels_of(labels), planes_of(0, 1), None, None, bad)
    kept, silent = stage("extract_traces", *given)
    skipped, warnings = stage("extract_traces", *given, skip_bad_frames=True)

    assert silent == []
    assert np.isfinite(kept.rois.values).all()
    assert warnings == ["4 of 30 frames are bad on one plane or more and were skipped there"]
    np.testing.assert_array_equal(np.isnan(skipped.rois.values), bad.values.T > 0)
    good = np.isfinite(skipped.rois.values)
    np.testing.assert_array_equal(skipped.rois.values[good], kept.rois.values[good])


def test_i11_a_neuron_seen_on_another_plane_keeps_the_frame() -> None:
    labels = labels_of(np.ones((2, 8, 8), np.uint32))
    bad = xr.DataArray(np.array([[0, 0], [5, 0], [5, 5]], np.uint8), dims=("time", "z"))
    movie = np.ones((3, 2, 8, 8), np.float32)
    movie[1, 0] = 90

    rois = stage(
        "extract_traces",
        movie_of(movie),
        labels,
        planes_of(0, 1),
        None,
        None,
        bad,
        skip_bad_frames=True,
    ).result.rois
    merged = stage("merge_planes", rois, labels).result.fluorescence

    np.testing.assert_array_equal(merged.values, [[1, 1, np.nan]])


@pytest.mark.parametrize("n_frames", [1, 2])
def test_i11_movies_of_one_and_two_frames_are_corrected(n_frames: int) -> None:
    movie, _ = moving(n_frames)

    made, warnings = stage("correct_motion", movie_of(movie))

    assert warnings == []
    assert made.corrected.shape == movie.shape
    assert np.isfinite(made.template.values).all()
    assert (made.agreement.values > 0.9).all()


def test_i11_of_two_frames_one_may_be_blank() -> None:
    movie, _ = moving(2)
    movie[1] = 0

    made = stage("correct_motion", movie_of(movie)).result

    assert made.bad_frames.values.tolist() == [[0, 0], [FrameCode.BLANK, FrameCode.BLANK]]
    np.testing.assert_allclose(made.template.values, movie[0], rtol=1e-6)  # one cubic copy


def test_i11_a_single_blank_frame_is_refused() -> None:
    with pytest.raises(DataError, match="No plane of the movie can be used"):
        stage("correct_motion", movie_of(np.zeros((1, 2, SIDE, SIDE), np.uint16)))


def _assert_registered(
    made: object, shifts: npt.NDArray[np.int64], good: npt.NDArray[np.bool_]
) -> None:
    """Compare shifts with the truth, up to the place of the template."""
    found = made.shifts.values  # type: ignore[attr-defined]
    for plane in range(found.shape[1]):
        frames = good[:, plane]
        error = found[frames, plane] - shifts[frames]
        error -= np.median(error, axis=0)
        assert np.abs(error).max() < 0.3  # pixels; noise of 12 on blobs of 900
