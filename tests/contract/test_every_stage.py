"""The contract of stages, for every stage: blocks, interruptions, inputs, settings, results."""

import json
import typing
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import xarray as xr
from pydantic import ValidationError

from clgkit import workspace as workspace_module
from clgkit.blocks import Block
from clgkit.data import Network
from clgkit.errors import DataError, SettingsError
from clgkit.pipeline import nouns
from clgkit.pipeline.store import Partial
from clgkit.stages import STAGES, function_of, params_of
from clgkit.workspace import Workspace
from tests.contract.fish import assert_same, params_for, run

EVERY_STAGE = pytest.mark.parametrize("name", STAGES)
IN_BLOCKS = (
    "deconvolve", "normalize_contrast", "segment_nuclei", "correct_motion", "denoise",
    "apply_motion", "align_planes", "extract_traces", "merge_planes", "compute_dff",
    "denoise_traces",
)  # fmt: skip
# A matrix product may add in another order when it has another number of rows: one unit of
# float32 in values up to 8, and of float64 in scores up to 30.
# A tile of the deconvolution differs from the whole by 2e-7 of the maximum, which is 3000.
TOLERANCES = {"denoised": 1e-6, "scores": 1e-12, "deconvolved": 6e-4}

Inputs = Callable[[str], dict[str, Any]]
SERIAL = Workspace(executor="serial")


class Watch:
    """Progress that counts finished blocks, and stops the run after some of them."""

    def __init__(self, stop_after: int = -1) -> None:
        self.stop_after = stop_after
        self.finished = 0
        self._opened: set[str] = set()

    def __call__(self, label: str, done: int, total: int) -> None:
        if label not in self._opened:
            self._opened.add(label)
            return
        assert 0 < done <= total
        self.finished += 1
        if self.finished == self.stop_after:
            raise KeyboardInterrupt


@EVERY_STAGE
@pytest.mark.usefixtures("small_blocks")
def test_the_result_does_not_depend_on_the_block_size(
    name: str, inputs: Inputs, results: dict[str, Any]
) -> None:
    watch = Watch()

    made = run(name, inputs(name), workspace=replace(SERIAL, progress=watch))

    assert_same(made, results[name], TOLERANCES)
    assert (watch.finished >= 4) == (name in IN_BLOCKS)


def test_the_memory_budget_decides_how_many_frames_make_a_block(
    inputs: Inputs, results: dict[str, Any]
) -> None:
    counts = []
    for memory_mb in (0.004, 0.02, 1.0):
        watch = Watch()
        workspace = replace(SERIAL, memory_mb=memory_mb, progress=watch)
        made = run("merge_planes", inputs("merge_planes"), workspace=workspace)
        assert_same(made, results["merge_planes"])
        counts.append(watch.finished)

    assert counts[0] > counts[1] > counts[2] == 1


@EVERY_STAGE
@pytest.mark.usefixtures("small_blocks")
def test_the_result_does_not_depend_on_threads(
    name: str, inputs: Inputs, results: dict[str, Any]
) -> None:
    for workers in (1, 3):
        made = run(name, inputs(name), workspace=Workspace(workers=workers, executor="threads"))

        assert_same(made, results[name], TOLERANCES)


@EVERY_STAGE
@pytest.mark.usefixtures("small_blocks")
def test_the_result_does_not_depend_on_processes(
    name: str, inputs: Inputs, results: dict[str, Any], processes: Executor
) -> None:
    made = run(name, inputs(name), workspace=Workspace(workers=2, executor=processes))

    assert_same(made, results[name], TOLERANCES)


@pytest.mark.parametrize("name", ["compute_dff"])
@pytest.mark.usefixtures("small_blocks")
def test_a_pool_of_processes_is_opened_by_its_name(
    name: str, inputs: Inputs, results: dict[str, Any]
) -> None:
    made = run(name, inputs(name), workspace=Workspace(workers=1, executor="processes"))

    assert_same(made, results[name])


@pytest.mark.parametrize("share", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("name", IN_BLOCKS)
@pytest.mark.usefixtures("small_blocks")
def test_interrupted_then_resumed_equals_uninterrupted(
    name: str, share: float, inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Watch()
    wanted = run(name, inputs(name), workspace=replace(SERIAL, progress=whole))
    stop_after = 1 + int(share * (whole.finished - 2))
    shelf = Partial(tmp_path, name, "key")
    with pytest.raises(KeyboardInterrupt):
        run(name, inputs(name), workspace=replace(SERIAL, progress=Watch(stop_after), shelf=shelf))
    computed: list[str] = []
    original = workspace_module._Task.__call__

    def counting(task: workspace_module._Task, block: Block) -> Any:
        computed.append(block.label())
        return original(task, block)

    monkeypatch.setattr(workspace_module._Task, "__call__", counting)
    partial = Partial(tmp_path, name, "key")
    assert partial.resumed_blocks == stop_after

    made = run(name, inputs(name), workspace=replace(SERIAL, shelf=partial))

    assert_same(made, wanted)
    assert len(computed) == whole.finished - stop_after


@EVERY_STAGE
@pytest.mark.usefixtures("small_blocks")
def test_a_stored_result_is_the_result(name: str, inputs: Inputs, tmp_path: Path) -> None:
    wanted = run(name, inputs(name), workspace=SERIAL)
    partial = Partial(tmp_path, name, "key")
    made = run(name, inputs(name), workspace=replace(SERIAL, shelf=partial))

    result = partial.finish(
        {"version": 1, "params": {}, "inputs": {}, "values": nouns.save(made, partial)}
    )

    assert_same(nouns.load_all(result, function_of(name)), wanted)
    assert result.damage("full") == []


@pytest.mark.parametrize("name", ["compute_dff"])
@pytest.mark.usefixtures("small_blocks")
def test_another_key_discards_what_was_done(name: str, inputs: Inputs, tmp_path: Path) -> None:
    shelf = Partial(tmp_path, name, "key")
    with pytest.raises(KeyboardInterrupt):
        run(name, inputs(name), workspace=replace(SERIAL, progress=Watch(2), shelf=shelf))

    assert Partial(tmp_path, name, "another key").resumed_blocks == 0


def test_a_resumed_run_keeps_the_blocks_it_began_with(
    inputs: Inputs, results: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "merge_planes"
    monkeypatch.setattr(workspace_module, "BLOCK_MB", 0.003)
    shelf = Partial(tmp_path, name, "key")
    with pytest.raises(KeyboardInterrupt):
        run(name, inputs(name), workspace=replace(SERIAL, progress=Watch(2), shelf=shelf))
    monkeypatch.setattr(workspace_module, "BLOCK_MB", 100)  # another machine, with more memory
    partial = Partial(tmp_path, name, "key")

    made = run(name, inputs(name), workspace=replace(SERIAL, shelf=partial))

    assert partial.resumed_blocks == 2
    assert_same(made, results[name])


def wrong_arguments() -> list[tuple[str, str]]:
    return [
        (name, argument)
        for name, stage in STAGES.items()
        for argument in stage.inputs
        if argument != "network"
    ]


@pytest.mark.parametrize(("name", "argument"), wrong_arguments())
def test_a_wrong_input_is_refused_with_all_that_is_wrong(
    name: str, argument: str, inputs: Inputs
) -> None:
    wrong = xr.DataArray(np.zeros((2, 3), complex), dims=("a", "b"))

    with pytest.raises(DataError) as caught:
        run(name, inputs(name) | {argument: wrong}, workspace=SERIAL)

    assert caught.value.code == "E_SHAPE"
    assert "complex128" in caught.value.message
    assert "(a, b)" in caught.value.message or "(2, 3)" in caught.value.message


@pytest.mark.parametrize(
    ("name", "argument", "dims"),
    [
        (name, argument, dims)
        for name, argument, dims in [
            ("deconvolve", "structure", "zyx"),
            ("normalize_contrast", "structure", "zyx"),
            ("segment_nuclei", "structure", "zyx"),
            ("segment_nuclei", "raw", "zyx"),
            ("correct_motion", "function", "zyx"),
            ("denoise", "corrected", "zyx"),
            ("apply_motion", "movie", "zyx"),
            ("apply_motion", "template", "zyx"),
            ("align_planes", "template", "zyx"),
            ("align_planes", "structure", "zyx"),
            ("extract_traces", "corrected", "zyx"),
            ("extract_traces", "labels", "zyx"),
            ("merge_planes", "labels", "zyx"),
        ]
    ],
)
def test_an_image_without_units_is_refused_once_for_all(
    name: str, argument: str, dims: str, inputs: Inputs
) -> None:
    image = inputs(name)[argument].copy()
    for dim in dims:
        image.coords[dim].attrs.clear()

    with pytest.raises(DataError) as caught:
        run(name, inputs(name) | {argument: image}, workspace=SERIAL)

    for dim in dims:
        assert f"coordinate '{dim}' is in no unit, not in um" in caught.value.message


@pytest.mark.parametrize("name", ["merge_planes", "compute_dff"])
def test_traces_without_seconds_are_refused(name: str, inputs: Inputs) -> None:
    argument, traces = next(iter(inputs(name).items()))
    timeless = traces.drop_vars("time")

    with pytest.raises(DataError, match="no coordinate 'time' in s"):
        run(name, inputs(name) | {argument: timeless}, workspace=SERIAL)


@pytest.mark.parametrize("name", ["measure_network", "dismantle"])
def test_a_malformed_network_is_refused(name: str) -> None:
    one_way = Network(
        indptr=np.array([0, 2, 2]),
        indices=np.array([0, 1], np.int32),
        node_ids=np.array([1, 2], np.uint32),
    )

    with pytest.raises(DataError) as caught:
        run(name, {"network": one_way}, workspace=SERIAL)

    assert "self-loops" in caught.value.message
    assert "not symmetric" in caught.value.message


OUT_OF_RANGE: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "deconvolve": {
        "offset": (), "iterations": (0, 1.5), "fidelity": (0, -1), "z_continuity": (-1,),
        "sparsity": (-1,), "scale": (0, -1, "nonsense"), "percentile": (0, 100.5),
        "headroom": (0, -1), "deconvolution_iterations": (-1, 0.5), "fwhm_um": (0, -1),
        "na": (0, -1), "wavelength_nm": (0, -1), "kernel": (1.0, [1.0, 2.0]),
    },
    "normalize_contrast": {
        "radius_px": (0, -1, 1.5), "radius_um": (0, -1), "radius_z_um": (-0.1,),
        "floor": (0, -1e-3), "noise_sd": (-1,), "low_percentile": (-1, 101),
        "high_percentile": (-1, 100.5), "low_intensity": (), "high_intensity": (),
    },
    "segment_nuclei": {
        "diameter_um": (0, -6, "nonsense"), "elongation": (0, -1), "noise_factor": (0, -1),
        "peak_share": (-0.1, 1), "height_share": (0, 1), "min_volume_share": (-0.1, 1),
        "min_probability": (0, 1), "min_peak": (-0.1, 1), "section_diameter_um": (0, -1),
        "cellprob_threshold": (-21, 21), "flow_threshold": (-0.1, 11), "n_steps": (0, 1.5),
        "min_section_px": (-1, 1.5), "stitch_iou": (-0.1, 1), "bridge_iou": (0, -1),
        "bridge_area_share": (-0.1, 1), "waist": (-0.1, 1), "waist_of_long": (-0.1, 1),
        "long_chain": (0, -1), "too_long_chain": (0, -1), "min_chain_share": (-0.1, 1),
    },
    "correct_motion": {
        "max_shift_px": (0, -1, 1.5), "upsampling": (0, 2.5), "template_frames": (0, 0.5),
        "iterations": (0, -2), "max_deviation_px": (0, -1), "grid_px": (0, 1.5),
        "overlap_px": (-1, 0.5), "bin_frames": (0, 0.5), "buffer_bins": (0, -1),
    },
    "denoise": {"fit_frames": (7, 0, 8.5)},
    "apply_motion": {},
    "align_planes": {
        "max_shift_px": (0, 2.5), "min_score": (-0.1, 1.1), "nucleus_um": (0, -1),
        "max_tilt_um": (0, -1), "drift_bin_s": (0, -1), "min_confidence": (-1,),
    },
    "extract_traces": {"max_registration_error_px": (0, -1)},
    "merge_planes": {"min_area_px": (-1, 0.5)},
    "compute_dff": {"long_window_s": (0, -1), "short_window_s": (0, -1)},
    "denoise_traces": {"variance": (0, 1, -0.5)},
    "build_network": {
        "percentile": (0, 100, -1), "density": (0, 1.5), "threshold": (-1.5, 2),
        "max_edges": (0, -1, 0.5),
    },
    "measure_network": {},
    "dismantle": {"target": (0, 1.1)},
}  # fmt: skip


def refused_values(name: str, setting: str) -> tuple[Any, ...]:
    """Return values that a setting must not take."""
    field = params_of(name).model_fields[setting]
    missing = () if field.default is None else (None,)
    if typing.get_origin(field.annotation) is Literal:
        return ("nonsense", 1, *missing)
    if field.annotation is bool:
        return ("maybe", 2, *missing)
    return (*OUT_OF_RANGE[name][setting], "many", float("nan"), float("inf"), *missing)


@pytest.mark.parametrize(
    ("name", "setting"),
    [(name, field) for name in STAGES for field in params_of(name).model_fields],
)
def test_a_setting_out_of_range_is_refused_by_name(name: str, setting: str) -> None:
    for value in refused_values(name, setting):
        with pytest.raises(SettingsError) as caught:
            params_of(name).parse({setting: value}, section=name)

        assert f"{name}.{setting}" in caught.value.message


def test_percentiles_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(SettingsError, match="low_percentile must be below"):
        params_of("normalize_contrast").parse(
            {"low_percentile": 60, "high_percentile": 40}, section="normalize_contrast"
        )


@EVERY_STAGE
def test_an_unknown_setting_is_refused_with_the_likely_one(name: str) -> None:
    setting = next(iter(params_of(name).model_fields))

    with pytest.raises(SettingsError, match=f"unknown; did you mean {setting}") as caught:
        params_of(name).parse({setting[:-1]: 1, "zzz": 2}, section=name)

    assert f"{name}.zzz: unknown" in caught.value.message


@EVERY_STAGE
def test_settings_are_frozen(name: str) -> None:
    params = params_for(name)
    setting = next(iter(type(params).model_fields))

    with pytest.raises(ValidationError, match="frozen"):
        setattr(params, setting, getattr(params, setting))


@EVERY_STAGE
def test_inputs_are_left_alone_and_nothing_is_printed(
    name: str, inputs: Inputs, capfd: pytest.CaptureFixture[str]
) -> None:
    given = inputs(name)
    before = {key: _copied(value) for key, value in given.items()}
    arrays = [value.values for value in given.values() if isinstance(value, xr.DataArray)]
    for array in arrays:
        array.flags.writeable = False

    run(name, given, workspace=SERIAL)

    for array in arrays:
        array.flags.writeable = True
    for key, value in given.items():
        if isinstance(value, xr.DataArray):
            xr.testing.assert_identical(value, before[key])
        elif isinstance(value, dict):
            assert value == before[key]
        else:
            np.testing.assert_array_equal(value.indices, before[key].indices)
    assert capfd.readouterr() == ("", "")


def _copied(value: Any) -> Any:
    if isinstance(value, xr.DataArray | dict):
        return deepcopy(value)
    return replace(value, indices=value.indices.copy())


PROMISED: Mapping[str, Mapping[str, tuple[tuple[str, ...], str, set[str]]]] = {
    "deconvolve": {"deconvolved": (("z", "y", "x"), "float32", {"z", "y", "x"})},
    "normalize_contrast": {"normalized": (("z", "y", "x"), "float32", {"z", "y", "x"})},
    "segment_nuclei": {
        "labels": (("z", "y", "x"), "uint32", {"z", "y", "x"}),
        "seeds": (("z", "y", "x"), "uint8", {"z", "y", "x"}),
        "nuclei": (("nucleus", "measure"), "float64", {"nucleus", "z", "y", "x"}),
    },
    "correct_motion": {
        "corrected": (("time", "z", "y", "x"), "float32", {"time", "z", "y", "x"}),
        "shifts": (("time", "z", "axis"), "float32", {"time", "z"}),
        "patch_shifts": (("time", "z", "patch_y", "patch_x", "axis"), "float32", {
            "time", "z", "patch_y", "patch_x"}),
        "template": (("z", "y", "x"), "float32", {"z", "y", "x"}),
        "agreement": (("time", "z"), "float32", {"time", "z"}),
        "bad_frames": (("time", "z"), "uint8", {"time", "z"}),
        "statistics": (("time", "z", "statistic"), "float64", {"time", "z"}),
        "bad_pixels": (("z", "y", "x"), "uint8", {"z", "y", "x"}),
        "outliers": (("time", "z"), "uint8", {"time", "z"}),
        "quality": (("z", "measure"), "float64", {"z"}),
        "residual_flow": (("z", "flow_y", "flow_x"), "float32", {"z", "flow_y", "flow_x"}),
        "n_valid": (("z", "y", "x"), "uint32", {"z", "y", "x"}),
        "fit": (("time", "z", "measure"), "float32", {"time", "z"}),
    },
    "denoise": {
        "denoised": (("time", "z", "y", "x"), "float32", {"time", "z", "y", "x"}),
        "mean": (("z", "y", "x"), "float32", {"z", "y", "x"}),
        "sigma": (("z", "y", "x"), "float32", {"z", "y", "x"}),
        "residual_variance": (("z", "y", "x"), "float32", {"z", "y", "x"}),
        "noise": (("z", "measure"), "float64", {"z"}),
        "quality": (("z", "measure"), "float64", {"z"}),
        "footprints": (("z", "block_y", "block_x", "component", "row", "column"), "float32", {
            "z"}),
        "n_components": (("z", "block_y", "block_x"), "int32", {"z"}),
        "eigenvalues": (("z", "block_y", "block_x", "order"), "float32", {"z"}),
    },
    "apply_motion": {
        "corrected": (("time", "z", "y", "x"), "float32", {"time", "z", "y", "x"}),
        "template": (("z", "y", "x"), "float32", {"z", "y", "x"}),
        "agreement": (("time", "z"), "float32", {"time", "z"}),
        "quality": (("z", "measure"), "float64", {"z"}),
    },
    "align_planes": {
        "planes": (("z",), "int32", {
            "z", "score", "chance", "found", "confidence", "doubtful", "position",
            "tilt_y_slices", "tilt_x_slices", "shift_y_px", "shift_x_px", "residual_px",
            "inverse_consistency_px", "given"}),
        "scores": (("z", "slice"), "float32", set()),
        "maps": (("z", "y", "x", "axis"), "float32", {"z", "y", "x"}),
        "residual": (("z", "y", "x"), "float32", {"z", "y", "x"}),
        "z_drift": (("bin", "z"), "float32", {"time", "z", "exceeds"}),
    },
    "extract_traces": {
        "rois": (("roi", "time"), "float32", {
            "time", "nucleus", "plane", "slice", "area_px", "y_px", "x_px",
            "registration_error_px"}),
        "plane_labels": (("z", "y", "x"), "uint32", {"z", "y", "x"}),
        "control": (("z", "measure"), "float64", {"z"}),
    },
    "merge_planes": {
        "fluorescence": (("neuron", "time"), "float32", {
            "time", "nucleus", "z", "y", "x", "n_planes", "area_px"}),
        "dropped": (("roi",), "uint8", {"nucleus", "plane", "area_px"}),
    },
    "compute_dff": {
        "dff": (("neuron", "time"), "float32", {"time", "nucleus", "z", "y", "x"}),
        "baseline": (("neuron", "time"), "float32", {"time", "nucleus", "z", "y", "x"}),
        "noise": (("neuron",), "float32", {"nucleus", "z", "y", "x"}),
        "reason": (("neuron",), "uint8", {"nucleus", "z", "y", "x"}),
    },
    "denoise_traces": {
        "denoised": (("neuron", "time"), "float32", {"time", "nucleus", "z", "y", "x"}),
        "scores": (("neuron", "component"), "float64", {"nucleus", "z", "y", "x"}),
    },
    "build_network": {"histogram": (("bin",), "int64", {"r"})},
    "measure_network": {
        "degree": (("neuron",), "int64", {
            "nucleus", "clustering", "component", "eigenvector_centrality", "z", "y", "x"}),
    },
    "dismantle": {
        "order": (("step",), "int64", {"nucleus"}), "curve": (("removed",), "int64", set()),
    },
}  # fmt: skip


@EVERY_STAGE
def test_the_result_looks_as_promised(name: str, results: dict[str, Any]) -> None:
    arrays = {
        field: value
        for field, value in results[name]._asdict().items()
        if isinstance(value, xr.DataArray)
    }

    assert set(arrays) == set(PROMISED[name])
    for field, (dims, dtype, coords) in PROMISED[name].items():
        assert arrays[field].dims == dims, field
        assert arrays[field].dtype == dtype, field
        assert coords <= set(arrays[field].coords), field


@EVERY_STAGE
def test_units_go_along(name: str, results: dict[str, Any]) -> None:
    units = {"time": "s", "z": "um", "y": "um", "x": "um"}
    for field, value in results[name]._asdict().items():
        if isinstance(value, xr.DataArray) and value.ndim > 1:
            for dim in set(units) & set(value.dims):
                assert value.coords[dim].attrs.get("units") == units[dim], (field, dim)


@EVERY_STAGE
def test_no_number_is_infinite(name: str, results: dict[str, Any]) -> None:
    for field, value in results[name]._asdict().items():
        if isinstance(value, xr.DataArray):
            for array in (value, *value.coords.values()):
                assert not np.isinf(array.values).any(), (field, array.name)
        elif isinstance(value, Network):
            value.check()
        else:
            json.dumps(value, allow_nan=False)
