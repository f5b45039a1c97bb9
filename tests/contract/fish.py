"""A very small fish, its way through all stages, and how two results are compared."""

import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import xarray as xr

from clgkit import data
from clgkit.data import Network
from clgkit.params import Params
from clgkit.simulate import Fish, preset
from clgkit.stages import STAGES, function_of, params_of
from clgkit.workspace import Workspace

NETWORK_PARTS = ("indptr", "indices", "node_ids", "weights", "position_um")
SETTINGS: dict[str, dict[str, Any]] = {
    "deconvolve": {"iterations": 8},
    "segment_nuclei": {"diameter_um": 5.2, "elongation": 2.2},
    "correct_motion": {"max_shift_px": 8, "template_frames": 12},
    "align_planes": {"drift_bin_s": 4.0},
    "compute_dff": {"long_window_s": 8.0},
    "build_network": {"percentile": 90.0, "weighted": True},
}


@cache
def fish() -> Fish:
    """A fish of 60 neurons: structure 32 x 96 x 96, three planes of 48 x 48, 24 frames."""
    return Fish(preset("tiny", shape_px=(32, 96, 96), n_neurons=60, n_frames=24))


@cache
def raw() -> dict[str, xr.DataArray]:
    """The raw inputs of a run on the fish."""
    made = fish()
    settings = made.settings
    movie, nuclear = (
        np.stack([block(plane, 0, settings.n_frames) for plane in range(settings.n_planes)], 1)
        for block in (made.movie_block, made.nuclear_block)
    )
    step, y, x = settings.voxel_um
    spacing = float(np.diff(made.slice_of_plane).mean()) * step
    plane_map = np.array([made.slice_of_plane[0], -1, -1], np.int32)
    rate, pixel = settings.rate_hz, (spacing, 2 * y, 2 * x)
    return {
        "function": data.movie(movie, rate_hz=rate, voxel_um=pixel),
        "nuclear": data.movie(nuclear, rate_hz=rate, voxel_um=pixel, name="nuclear"),
        "structure": data.volume(
            made.structure_block(0, settings.shape_px[0]), voxel_um=settings.voxel_um
        ),
        "plane_map": xr.DataArray(plane_map, dims=("z",), name="plane_map"),
    }


def true_labels() -> xr.DataArray:
    """The nuclei as they are."""
    settings = fish().settings
    return data.labels(fish().labels_block(0, settings.shape_px[0]), voxel_um=settings.voxel_um)


def params_for(name: str, **changes: Any) -> Params:
    """The settings of a stage that suit the fish."""
    return params_of(name).parse(SETTINGS.get(name, {}) | changes, section=name)


def run(name: str, inputs: Mapping[str, Any], *, workspace: Workspace, **changes: Any) -> Any:
    """Run one stage; what it warns of is not looked at."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return function_of(name)(**inputs, params=params_for(name, **changes), workspace=workspace)


def inputs_of(name: str, results: Mapping[str, Any]) -> dict[str, Any]:
    """What a stage reads, out of the raw inputs and the results of earlier stages."""
    found = {}
    stage = STAGES[name]
    for argument in stage.inputs:
        there = [source for source in stage.sources(argument) if source.origin in results]
        if there:
            origin, field = there[0]
            found[argument] = getattr(results[origin], field) if field else results[origin]
    return found


@cache
def chain() -> dict[str, Any]:
    """Raw inputs and the result of every stage, made in memory in one block after another."""
    results: dict[str, Any] = dict(raw())
    for name in STAGES:
        made = run(name, inputs_of(name, results), workspace=Workspace(executor="serial"))
        results[name] = made
    return results


def assert_same(ours: Any, wanted: Any, tolerances: Mapping[str, float] | None = None) -> None:
    """Compare two results of one stage, bit by bit unless a tolerance is given for a field."""
    for field, value in wanted._asdict().items():
        found = getattr(ours, field)
        if isinstance(value, xr.DataArray):
            _assert_same_array(found, value, (tolerances or {}).get(field, 0.0), field)
        elif isinstance(value, Network):
            for part in NETWORK_PARTS:
                np.testing.assert_array_equal(getattr(found, part), getattr(value, part), part)
            assert dict(found.attributes) == dict(value.attributes)
        else:
            assert found == value, field


def _assert_same_array(
    found: xr.DataArray, value: xr.DataArray, tolerance: float, field: str
) -> None:
    assert found.dims == value.dims
    assert found.dtype == value.dtype
    assert set(found.coords) == set(value.coords)
    for name, coordinate in value.coords.items():
        np.testing.assert_array_equal(found.coords[name].values, coordinate.values, str(name))
        assert found.coords[name].attrs == coordinate.attrs
    if tolerance:
        np.testing.assert_allclose(found.values, value.values, rtol=0, atol=tolerance)
    else:
        np.testing.assert_array_equal(found.values, value.values, field)
