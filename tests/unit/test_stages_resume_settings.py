"""Settings other than the defaults: blocks, interruptions and the store change no number."""

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import xarray as xr

from clgkit import data
from clgkit import workspace as workspace_module
from clgkit.pipeline import nouns
from clgkit.pipeline.store import Partial
from clgkit.stages import function_of, params_of
from clgkit.workspace import Workspace
from tests.unit.motion_scene import corrected, moving, volume_of

SERIAL = Workspace(executor="serial")


class Case(NamedTuple):
    stage: str
    inputs: Callable[[], dict[str, Any]]
    settings: dict[str, Any]
    tolerance: float = 0.0


def movie() -> dict[str, Any]:
    return {"function": moving(14).movie}


def with_reference() -> dict[str, Any]:
    image = moving(14).movie.values[0].astype(np.float32)
    return movie() | {"reference": volume_of(image)}


def stack() -> dict[str, Any]:
    pixels = np.random.default_rng(0).poisson(30, (6, 32, 32)).astype(np.uint16)
    return {"structure": data.volume(pixels, voxel_um=(2.0, 0.5, 0.5))}


def second_channel() -> dict[str, Any]:
    made, _ = corrected(moving(14).movie)
    names = ("patch_shifts", "summary", "bad_frames", "template")
    return {"movie": moving(14).movie} | {name: getattr(made, name) for name in names}


def planes() -> dict[str, Any]:
    made, _ = corrected(moving(14).movie)
    slices = np.repeat(moving(14).movie.values[0], 5, axis=0)
    return {
        "template": made.template,
        "structure": data.volume(slices, voxel_um=(1.0, 1.0, 1.0)),
        "corrected": made.corrected,
    }


def rois() -> dict[str, Any]:
    made, _ = corrected(moving(14).movie)
    image = np.zeros((10, 64, 64), np.uint32)
    for nucleus, (row, column) in enumerate(np.ndindex(4, 4), 1):
        image[:, 16 * row + 5 : 16 * row + 11, 16 * column + 5 : 16 * column + 11] = nucleus
    bad = made.bad_frames.copy()
    bad[3, 0] = bad[9, 1] = 1
    shifts = {f"shift_{axis}_px": ("z", [0.75, -1.5]) for axis in "yx"}
    return {
        "corrected": made.corrected,
        "labels": data.labels(image, voxel_um=(1.0, 1.0, 1.0)),
        "planes": xr.DataArray(np.array([0, 5], np.int32), dims=("z",), coords=shifts),
        "bad_frames": bad,
    }


NORMCORRE = {"compat": "normcorre", "bin_frames": 5, "max_shift_px": 6}
CASES = {
    "rigid": Case("correct_motion", movie, {"method": "rigid"}),
    "running": Case("correct_motion", movie, {"template": "running", "bin_frames": 5}),
    "running, rigid": Case(
        "correct_motion", movie, {"template": "running", "bin_frames": 5, "method": "rigid"}
    ),
    "normcorre": Case("correct_motion", movie, NORMCORRE),
    "normcorre, rigid": Case("correct_motion", movie, NORMCORRE | {"method": "rigid"}),
    "reference": Case("correct_motion", with_reference, {}),
    "reference, running": Case("correct_motion", with_reference, {"template": "running"}),
    "reference, normcorre": Case("correct_motion", with_reference, NORMCORRE),
    "as measured": Case("apply_motion", second_channel, {}),
    "rows as they are": Case("apply_motion", second_channel, {"line_offset": "none"}),
    "offset, drift": Case(
        "align_planes", planes, {"in_plane": "offset", "drift_bin_s": 2.0, "tilt": "none"}
    ),
    "bent, drift": Case("align_planes", planes, {"drift_bin_s": 3.0, "not_found": "keep"}),
    "free order": Case("align_planes", planes, {"order": "free", "use_spacing": False}),
    "movie to slice": Case("extract_traces", rois, {"direction": "movie"}),
    "frames skipped": Case("extract_traces", rois, {"skip_bad_frames": True}),
    "original": Case("extract_traces", rois, {"compat": "clg"}),
    "volume": Case("normalize_contrast", stack, {"window": "volume", "radius_um": 2}),
    "volume, uint16": Case(
        "normalize_contrast", stack, {"window": "volume", "radius_z_um": 2, "dtype": "uint16"}
    ),
    "script": Case("normalize_contrast", stack, {"compat": "clg"}),
    # A tile differs from the whole by 2e-7 of the maximum, which is below 60.
    "sharpened": Case(
        "deconvolve", stack, {"iterations": 4, "method": "landweber", "fwhm_um": 1.0}, 1e-4
    ),
    "background": Case(
        "deconvolve", stack, {"iterations": 4, "background": "weak-low", "scale": "per-plane"}, 1e-4
    ),
}
EVERY_CASE = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def run(case: Case, workspace: Workspace) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        params = params_of(case.stage).parse(case.settings, section=case.stage)
        return function_of(case.stage)(**case.inputs(), params=params, workspace=workspace)


def assert_same(ours: Any, wanted: Any, tolerance: float = 0.0) -> None:
    for name, value in wanted._asdict().items():
        found = getattr(ours, name)
        if not isinstance(value, xr.DataArray):
            assert found == value, name
            continue
        assert (found.dims, found.dtype) == (value.dims, value.dtype), name
        assert set(found.coords) == set(value.coords), name
        for key, coordinate in value.coords.items():
            np.testing.assert_array_equal(found.coords[key], coordinate, f"{name}.{key}")
        if tolerance:
            np.testing.assert_allclose(found, value, rtol=0, atol=tolerance, err_msg=name)
        else:
            np.testing.assert_array_equal(found.values, value.values, name)


@pytest.fixture
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace_module, "BLOCK_MB", 0.1)
    monkeypatch.setattr("clgkit.deconvolution.choose_core", lambda *_, **__: (4, 20, 20))


@EVERY_CASE
@pytest.mark.usefixtures("_small_blocks")
def test_interrupted_resumed_and_read_back_it_is_the_result(case: Case, tmp_path: Path) -> None:
    finished = [0]

    def count(_label: str, n_done: int, _total: int) -> None:
        finished[0] += n_done > 0

    wanted = run(case, replace(SERIAL, progress=count))
    stop_after = (finished[0] + 1) // 2

    def stop(_label: str, n_done: int, _total: int) -> None:
        finished[0] += n_done > 0
        if finished[0] == stop_after:
            raise KeyboardInterrupt

    finished[0] = 0
    shelf = Partial(tmp_path, case.stage, "key")
    with pytest.raises(KeyboardInterrupt):
        run(case, replace(SERIAL, shelf=shelf, progress=stop))
    partial = Partial(tmp_path, case.stage, "key")
    assert partial.resumed_blocks

    made = run(case, replace(SERIAL, shelf=partial))

    assert_same(made, wanted)
    values = nouns.save(made, partial)
    json.dumps(values, allow_nan=False)
    result = partial.finish({"version": 1, "params": {}, "inputs": {}, "values": values})
    assert_same(nouns.load_all(result, function_of(case.stage)), wanted)
    assert result.damage("full") == []


@EVERY_CASE
def test_small_blocks_in_threads_give_the_numbers_of_one(
    case: Case, request: pytest.FixtureRequest
) -> None:
    wanted = run(case, SERIAL)
    request.getfixturevalue("_small_blocks")

    made = run(case, Workspace(workers=2, memory_mb=1.0))

    assert_same(made, wanted, case.tolerance)
