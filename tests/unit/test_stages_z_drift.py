"""Drift along z is seen in the means of bins, to a part of a slice."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import ndimage

from clgkit import data
from clgkit.registration import sample_oblique
from clgkit.stages._time_means import FRAMES, mean_over_time
from clgkit.stages._z_drift import _edges, measure_z_drift
from clgkit.workspace import FAILED, Workspace

N_SLICES, SIDE, BIN, STEP_UM = 15, 96, 6, 1.5
DEPTHS = np.array([7.0, 7.0, 7.5, 8.0, 7.0])


@pytest.fixture(scope="module")
def stack() -> data.Volume:
    """Nuclei that reach over about five slices, with noise of its own in every slice."""
    rng = np.random.default_rng(0)
    points = np.zeros((N_SLICES + 8, SIDE, SIDE))
    at = rng.integers(0, [[N_SLICES + 8], [SIDE], [SIDE]], (3, 1500))
    points[tuple(at)] = 1
    clean = ndimage.gaussian_filter(points, (1.8, 1.6, 1.6))[4:-4] * 800
    noisy = clean + 0.05 * rng.normal(size=clean.shape)
    return data.volume(noisy.astype(np.float32), voxel_um=(STEP_UM, 1.0, 1.0))


@pytest.fixture(scope="module")
def drifting(stack: data.Volume) -> data.Movie:
    """Plane 0 drifts, plane 1 stays, plane 2 is blank."""
    rng = np.random.default_rng(1)
    depth = np.repeat(DEPTHS, BIN)
    frames = np.zeros((len(depth), 3, SIDE, SIDE), np.float32)
    for t, z in enumerate(depth):
        frames[t, 0] = sample_oblique(stack.values, position=z, span_y=0, span_x=0)
        frames[t, 1] = stack.values[4]
    frames[:, :2] += rng.normal(0, 0.2, frames[:, :2].shape).astype(np.float32)
    frames[:, :, :3] = np.nan
    return data.movie(frames, rate_hz=2.0, voxel_um=(4.5, 1.0, 1.0))


def planes_at(*slices: int) -> xr.DataArray:
    return xr.DataArray(np.array(slices, np.int32), dims=("z",), name="planes")


def measured(movie: data.Movie, stack: data.Volume, **changes: Any) -> xr.DataArray:
    settings: dict[str, Any] = {"bin_s": BIN / 2, "max_shift_px": 3, "nucleus_um": 6.0} | changes
    planes = settings.pop("planes", planes_at(7, 4, 10))
    workspace = Workspace(executor="serial")
    return measure_z_drift(movie, planes, stack, workspace=workspace, **settings)


def test_drift_of_half_a_slice_is_told_from_none(drifting: data.Movie, stack: data.Volume) -> None:
    drift = measured(drifting, stack)

    truth = (DEPTHS - np.median(DEPTHS)) * STEP_UM
    # A third of a slice, as for the array function.
    np.testing.assert_allclose(drift.values[:, 0], truth, atol=0.3 * STEP_UM)
    assert np.abs(drift.values[:, 1]).max() < 0.1 * STEP_UM  # the same slice and fresh noise
    assert np.isnan(drift.values[:, 2]).all()
    assert drift.dims == ("bin", "z")
    assert drift.dtype == np.float32
    assert drift.attrs["units"] == "um"


def test_more_than_half_a_slice_is_marked(drifting: data.Movie, stack: data.Volume) -> None:
    exceeds = measured(drifting, stack).coords["exceeds"]

    assert exceeds.dims == ("bin", "z")
    assert exceeds.values[3].tolist() == [1, 0, 0]
    assert exceeds.values[[0, 1, 4]].sum() == 0


def test_bins_have_the_time_of_their_middle(drifting: data.Movie, stack: data.Volume) -> None:
    time = measured(drifting, stack).coords["time"]

    assert time.attrs["units"] == "s"
    np.testing.assert_allclose(time, [1.25 + 3 * k for k in range(5)])


def test_bad_frames_take_no_part(drifting: data.Movie, stack: data.Volume) -> None:
    spoiled = drifting.copy(deep=True)
    spoiled[2:4, 1] = 1e4 * np.random.default_rng(2).normal(size=(2, SIDE, SIDE))
    bad = xr.DataArray(np.zeros(drifting.shape[:2], np.uint8), dims=("time", "z"))
    bad[2:4, 1] = 3

    clean = measured(spoiled, stack, bad_frames=bad)

    assert abs(float(clean[0, 1])) < 0.1 * STEP_UM
    bad[6:12, 1] = 3  # a bin of bad frames alone shows nothing
    assert np.isnan(measured(spoiled, stack, bad_frames=bad).values[1, 1])


def test_a_plane_without_a_slice_or_lost_has_no_drift(
    drifting: data.Movie, stack: data.Volume
) -> None:
    lost = drifting.copy()
    lost.attrs[FAILED] = {"1": "blank"}

    drift = measured(lost, stack, planes=planes_at(-1, 4, 10))

    assert np.isnan(drift.values).all()
    assert drift.coords["exceeds"].values.sum() == 0


def test_slices_at_the_end_of_the_stack_and_too_few_of_them(
    drifting: data.Movie, stack: data.Volume
) -> None:
    first = measured(drifting, stack.isel(z=slice(6, None)), planes=planes_at(1, 0, 0))
    assert np.isfinite(first.values[:, 0]).all()

    few = measured(drifting, stack.isel(z=slice(7, 9)), planes=planes_at(0, 0, 0))
    assert np.isnan(few.values).all()


def test_a_slice_of_other_pixels_is_brought_to_those_of_the_movie(
    drifting: data.Movie, stack: data.Volume
) -> None:
    fine = np.repeat(np.repeat(stack.values, 2, axis=1), 2, axis=2)
    finer = data.volume(fine, voxel_um=(STEP_UM, 0.5, 0.5))

    np.testing.assert_allclose(
        measured(drifting, finer).values[:, :2],
        measured(drifting, stack).values[:, :2],
        atol=0.1 * STEP_UM,  # two repeated pixels are read as one
    )


@pytest.mark.parametrize(("n", "length"), [(1, 5), (4, 5), (12, 5), (13, 5), (10, 5), (7, 1)])
def test_bins_cover_every_frame_once(n: int, length: int) -> None:
    edges = _edges(n, length)
    lengths = [b - a for a, b in pairwise(edges)]

    assert (edges[0], edges[-1]) == (0, n)
    assert len(lengths) == 1 or min(lengths) >= length / 2
    assert max(lengths) < 1.5 * length or len(lengths) == 1


@pytest.mark.parametrize("n", [1, FRAMES - 1, FRAMES, FRAMES + 1, 3 * FRAMES + 5])
def test_a_mean_over_time_leaves_out_what_is_not_there(n: int) -> None:
    rng = np.random.default_rng(n)
    values = rng.normal(size=(n + 2, 3, 4)).astype(np.float32)
    values[rng.random(values.shape) < 0.2] = np.nan
    values[:, 0, 0] = np.nan
    chosen = np.delete(np.arange(n + 2), [0, n // 2 + 1])

    mean = mean_over_time(xr.DataArray(values, dims=("time", "y", "x")), chosen)

    kept = np.ma.masked_invalid(values[chosen].astype(np.float64)).mean(axis=0)
    np.testing.assert_allclose(mean, kept.filled(np.nan), rtol=1e-6)  # float32
    assert np.isnan(mean_over_time(xr.DataArray(values, dims=("time", "y", "x")), chosen[:0])).all()
