"""A plane that cannot be used is carried from stage to stage, and costs the others nothing."""

import json
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

from clgkit import data
from clgkit.errors import DataError
from clgkit.stages.align_planes import AlignPlanes, PlanesAligned, align_planes
from clgkit.stages.apply_motion import MotionApplied, apply_motion
from clgkit.stages.correct_motion import CorrectMotion, MotionCorrected, correct_motion
from clgkit.stages.extract_traces import ExtractTraces, TracesExtracted, extract_traces
from clgkit.stages.merge_planes import MergePlanes, merge_planes
from clgkit.workspace import FAILED, Workspace, failed_planes
from tests.unit.motion_scene import SIDE, error_px, moving

SERIAL = Workspace(executor="serial")
PITCH, N_FRAMES = 5, 14


class Chain(NamedTuple):
    motion: MotionCorrected
    nuclear: MotionApplied
    planes: PlanesAligned
    traces: TracesExtracted


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What stages warn of is told in other tests; anything else is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def movie_of(pixels: npt.NDArray[Any]) -> xr.DataArray:
    return data.movie(pixels, rate_hz=2.0, voxel_um=(float(PITCH), 1.0, 1.0))


def three_planes() -> npt.NDArray[np.float32]:
    return moving(N_FRAMES, n_planes=3).movie.values.astype(np.float32)


def structure() -> xr.DataArray:
    """A stack whose slices 0, 5 and 10 are the planes as they are at rest."""
    still = moving(N_FRAMES, n_planes=3).movie.values[0]
    slices = np.repeat(still, PITCH, axis=0)[: 2 * PITCH + 1]
    return data.volume(slices, voxel_um=(1.0, 1.0, 1.0))


def labels() -> xr.DataArray:
    """Squares of 6 px through all slices."""
    image = np.zeros((SIDE, SIDE), np.uint32)
    for nucleus, (row, column) in enumerate(np.ndindex(4, 4), 1):
        image[16 * row + 5 : 16 * row + 11, 16 * column + 5 : 16 * column + 11] = nucleus
    return data.labels(np.broadcast_to(image, (11, SIDE, SIDE)).copy(), voxel_um=(1.0, 1.0, 1.0))


MAP = xr.DataArray(np.array([0, 5, 10], np.int32), dims=("z",))


def chain(pixels: npt.NDArray[Any], *, direction: Any = "labels", **how: Any) -> Chain:
    """Run everything from the movie to the rois."""
    params = CorrectMotion(max_shift_px=6, line_offset="none", **how)
    motion = correct_motion(movie_of(pixels), params=params, workspace=SERIAL)
    nuclear = apply_motion(
        movie_of(three_planes() + 50), motion.patch_shifts, motion.summary, motion.bad_frames,
        motion.template, workspace=SERIAL,
    )  # fmt: skip
    planes = align_planes(
        motion.template, structure(), MAP, nuclear.template, nuclear.corrected,
        motion.bad_frames, params=AlignPlanes(in_plane="offset", drift_bin_s=3.5, tilt="none"),
        workspace=SERIAL,
    )  # fmt: skip
    traces = extract_traces(
        motion.corrected, labels(), planes.planes, planes.maps, planes.residual,
        motion.bad_frames, ExtractTraces(direction=direction), workspace=SERIAL,
    )  # fmt: skip
    return Chain(motion, nuclear, planes, traces)


@pytest.fixture(scope="module")
def whole() -> Chain:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return chain(three_planes())


@pytest.fixture(scope="module", params=["blank", "not finite"])
def broken(request: pytest.FixtureRequest) -> Chain:
    """The same, but the plane in the middle shows nothing."""
    pixels = three_planes()
    pixels[:, 1] = 7 if request.param == "blank" else np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return chain(pixels)


def test_the_reason_is_carried_along(broken: Chain) -> None:
    for array in (*broken.motion[:-1], *broken.nuclear):
        (plane,) = failed_planes(array)
        assert plane == 1
        assert "none of 14 frames" in failed_planes(array)[1]


def test_what_a_lost_plane_holds_is_empty(broken: Chain) -> None:
    assert np.isnan(broken.motion.corrected.values[:, 1]).all()
    assert np.isnan(broken.motion.template.values[1]).all()
    assert np.isnan(broken.motion.agreement.values[:, 1]).all()
    assert np.isnan(broken.motion.residual_flow.values[1]).all()
    assert np.isnan(broken.nuclear.corrected.values[:, 1]).all()
    assert np.isnan(broken.nuclear.template.values[1]).all()
    planes, traces = broken.planes, broken.traces
    assert planes.planes.values.tolist() == [0, -1, 10]
    assert planes.planes.coords["given"].values.tolist() == [1, 1, 1]
    assert np.isnan(planes.scores.values[1]).all()
    assert planes.z_drift is not None
    assert np.isnan(planes.z_drift.values[:, 1]).all()
    assert not planes.z_drift.coords["exceeds"].values[:, 1].any()
    assert not traces.plane_labels.values[1].any()
    assert np.isnan(traces.control.values[1]).all()
    assert set(traces.rois.coords["plane"].values.tolist()) == {0, 2}


def test_the_other_planes_are_what_they_would_have_been(whole: Chain, broken: Chain) -> None:
    for name in ("corrected", "shifts", "patch_shifts", "agreement", "bad_frames", "outliers"):
        for plane in (0, 2):
            np.testing.assert_array_equal(
                getattr(broken.motion, name).values[:, plane],
                getattr(whole.motion, name).values[:, plane],
                name,
            )
    rows = whole.traces.rois.coords["plane"].values != 1
    np.testing.assert_array_equal(broken.traces.rois.values, whole.traces.rois.values[rows])
    np.testing.assert_array_equal(
        broken.nuclear.corrected.values[:, ::2], whole.nuclear.corrected.values[:, ::2]
    )


def test_the_summary_of_a_lost_plane_is_plain(broken: Chain) -> None:
    summary = broken.motion.summary

    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    lost = summary["planes"][1]
    assert lost["plane"] == 1
    assert lost["r_after"] is lost["residual_px"] is lost["gain"] is None
    assert "too few" in lost["heldout_skipped"]
    assert lost["n_outliers"] == lost["n_bad_pixels"] == 0


def test_neurons_are_made_of_the_planes_that_are_left(whole: Chain, broken: Chain) -> None:
    params = MergePlanes(min_area_px=1)
    all_planes = merge_planes(whole.traces.rois, labels(), params, workspace=SERIAL)
    left = merge_planes(broken.traces.rois, labels(), params, workspace=SERIAL)

    assert len(left.fluorescence) == len(all_planes.fluorescence) == 16
    assert all_planes.summary["n_rois"] == 48
    assert left.summary["n_rois"] == 32
    assert (
        np.isfinite(left.fluorescence.values).all() == np.isfinite(broken.traces.rois.values).all()
    )


@pytest.mark.parametrize(
    "how",
    [{"method": "rigid"}, {"template": "running", "bin_frames": 5}, {"compat": "normcorre"}],
    ids=["rigid", "running", "normcorre"],
)
def test_every_way_of_motion_carries_a_lost_plane(how: dict[str, Any]) -> None:
    pixels = three_planes()
    pixels[:, 0] = 7

    made = chain(pixels, direction="movie", **how)

    assert list(failed_planes(made.motion.corrected)) == [0]
    assert list(failed_planes(made.nuclear.corrected)) == [0]
    assert set(made.traces.rois.coords["plane"].values.tolist()) == {1, 2}
    assert np.isfinite(made.motion.template.values[1:]).all()


def test_a_plane_lost_in_the_nuclei_alone_is_placed_by_its_calcium() -> None:
    pixels = three_planes()
    motion = correct_motion(
        movie_of(pixels), params=CorrectMotion(line_offset="none"), workspace=SERIAL
    )
    red = movie_of(pixels + 50)
    red.attrs[FAILED] = {"2": "its file is gone"}

    nuclear = apply_motion(
        red, motion.patch_shifts, motion.summary, motion.bad_frames, workspace=SERIAL
    )
    made = align_planes(
        motion.template, structure(), MAP, nuclear.template,
        params=AlignPlanes(in_plane="offset", tilt="none"), workspace=SERIAL,
    )  # fmt: skip

    assert failed_planes(nuclear.template) == {2: "its file is gone"}
    assert made.planes.values.tolist() == [0, 5, 10]


def test_a_field_that_is_half_empty_is_still_placed_and_read() -> None:
    pixels = three_planes()
    pixels[:, :, :, 40:] = np.nan

    made = chain(pixels)

    assert failed_planes(made.motion.corrected) == {}
    # Pixels, up to the place of the template.
    assert error_px(made.motion, moving(N_FRAMES, n_planes=3).shifts) < 0.5
    seen = made.traces.rois
    outside = seen.coords["x_px"].values > 46
    assert np.isnan(seen.values[outside]).all()
    inside = seen.coords["x_px"].values < 28
    assert inside.any()
    assert np.isfinite(seen.values[inside]).all()


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 64, 63), (3, 32, 64)])
def test_a_residual_of_another_recording_is_refused(
    whole: Chain, shape: tuple[int, int, int]
) -> None:
    wrong = xr.DataArray(np.zeros(shape, np.float32), dims=("z", "y", "x"))

    with pytest.raises(DataError) as caught:
        extract_traces(
            whole.motion.corrected, labels(), whole.planes.planes, None, wrong, workspace=SERIAL
        )

    assert caught.value.code == "E_SHAPE"
    assert caught.value.message == (
        f"The residual of the registration has shape {shape}; wanted is (3, 64, 64) (z, y, x). "
        "Take that of the same recording."
    )


@pytest.mark.parametrize("n_frames", [1, 2])
def test_a_plane_and_a_few_frames_go_all_the_way(n_frames: int) -> None:
    pixels = three_planes()[:n_frames, :1, :61, :57]
    motion = correct_motion(movie_of(pixels), workspace=SERIAL)
    stack = structure().isel(y=slice(0, 61), x=slice(0, 57))
    planes = align_planes(
        motion.template, stack, None, None, motion.corrected,
        params=AlignPlanes(drift_bin_s=60), workspace=SERIAL,
    )  # fmt: skip
    known = xr.DataArray(np.zeros(1, np.int32), dims=("z",))
    traces = extract_traces(
        motion.corrected, labels().isel(y=slice(0, 61), x=slice(0, 57)), known,
        bad_frames=motion.bad_frames, workspace=SERIAL,
    )  # fmt: skip

    assert planes.planes.shape == (1,)
    assert planes.z_drift is not None
    assert planes.z_drift.shape == (1, 1)
    assert traces.rois.shape == (16, n_frames)
    assert (traces.rois.coords["area_px"] <= 36).all()
