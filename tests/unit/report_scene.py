"""A run folder whose results are made up but fit together, of any size, even none."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from clgkit.data import Network
from clgkit.pipeline import nouns, settings
from clgkit.pipeline.runner import Run
from clgkit.stages._segment_found import MEASURES, Found, summary_of, table_of
from clgkit.stages.align_planes import PlanesAligned
from clgkit.stages.apply_motion import MotionApplied
from clgkit.stages.build_network import NetworkBuilt
from clgkit.stages.compute_dff import DffComputed
from clgkit.stages.correct_motion import MotionCorrected
from clgkit.stages.denoise_traces import TracesDenoised
from clgkit.stages.dismantle import Dismantled
from clgkit.stages.extract_traces import TracesExtracted
from clgkit.stages.measure_network import NetworkMeasured
from clgkit.stages.merge_planes import PlanesMerged
from clgkit.stages.normalize_contrast import ContrastNormalized
from clgkit.stages.segment_nuclei import NucleiSegmented

STRUCTURE = (6, 32, 32)
PLANE = (16, 16)


@dataclass(frozen=True)
class Scene:
    """How large a run is, and what went wrong in it."""

    n_neurons: int = 12
    n_planes: int = 3
    n_frames: int = 40
    n_edges: int = 20
    without: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
    weighted: bool = False
    nuclear: bool = False
    function_file: str = "function.npy"


def write_run(folder: Path, scene: Scene = Scene()) -> Run:
    """Write raw data, settings and the result of every stage; return the run."""
    rng = np.random.default_rng(3)
    folder.mkdir(parents=True, exist_ok=True)
    frames = rng.integers(100, 200, (scene.n_frames, scene.n_planes, *PLANE), np.uint16)
    np.save(folder / scene.function_file, frames)
    np.save(folder / "structure.npy", rng.integers(100, 900, STRUCTURE, np.uint16))
    function = {
        "path": scene.function_file, "axes": "tzyx", "voxel_um": [5, 1, 1], "rate_hz": 2.0
    }  # fmt: skip
    structure = {"path": "structure.npy", "axes": "zyx", "voxel_um": [1, 0.5, 0.5]}
    data: dict[str, Any] = {"function": function, "structure": structure}
    if scene.nuclear:
        np.save(folder / "nuclear.npy", frames)
        data["nuclear"] = {"path": "nuclear.npy", "axes": "tzyx"}
    settings.write(folder, data)
    run = Run(settings.load(folder))
    made = results(scene, rng)
    for step in run.plan():
        if step.name not in scene.without:
            _store(run, step, made[step.name], scene)
    return run


def _store(run: Run, step: Any, made: Any, scene: Scene) -> None:
    partial = run.store.partial(step.name, step.key)
    values = nouns.save(made, partial)
    noted = step.name == "correct_motion"
    partial.finish(
        {
            "version": step.stage.version,
            "params": step.params,
            "inputs": step.inputs,
            "values": values,
            "failed_planes": scene.failed if noted else {},
            "warnings": list(scene.warnings) if noted else [],
            "cost": {"seconds": 1.5, "cpu_seconds": 2.5, "peak_mb": 99.0},
            "provenance": {
                "started": "2026-01-02T03:04:05",
                "python": "3.11.2",
                "packages": {"clgkit": "0.1.0", "numpy": "2.4.6"},
            },
        }
    )


def results(scene: Scene, rng: np.random.Generator) -> dict[str, Any]:
    """Return what every stage would have returned."""
    volume = _volume(rng.normal(size=STRUCTURE).astype(np.float32))
    labels = np.zeros(STRUCTURE, np.uint32)
    for nucleus in range(scene.n_neurons):
        row, column = divmod(nucleus, 8)
        labels[1:5, 4 * row : 4 * row + 3, 4 * column : 4 * column + 3] = nucleus + 1
    network = _network(scene, rng)
    return {
        "normalize_contrast": ContrastNormalized(
            volume,
            {"low": 96.0, "high": 812.5, "window_px": [1, 21, 21], "offset": None, "gain": None},
        ),
        "segment_nuclei": _segmented(_volume(labels)),
        "correct_motion": _motion(scene, rng),
        "apply_motion": _second_channel(scene),
        "align_planes": _aligned(scene, rng),
        **_traces(scene, rng),
        "build_network": _built(scene, network, rng),
        "measure_network": _measured(scene, network),
        "dismantle": _dismantled(scene),
    }


def _volume(values: np.ndarray) -> xr.DataArray:
    step = {"z": 1.0, "y": 0.5, "x": 0.5}
    coords = {
        dim: (dim, np.arange(n) * step[dim], {"units": "um"})
        for dim, n in zip("zyx", values.shape, strict=True)
    }
    return xr.DataArray(values, dims=("z", "y", "x"), coords=coords)


def _segmented(labels: xr.DataArray) -> NucleiSegmented:
    found = Found(labels, summary={"n_seeds": int(labels.max())})
    table = table_of(found)
    table.values[:, MEASURES.index("probability")] = np.linspace(0.6, 0.95, len(table))
    table.values[:1, MEASURES.index("unsure")] = 1
    summary = {"method": "network", "diameter_um": [12.0, 6.0, 6.0], "is_estimated": False}
    seeds = (labels > 0).astype(np.uint8)
    return NucleiSegmented(labels, seeds, table, summary | summary_of(found, table))


def _time(scene: Scene) -> tuple[str, np.ndarray, dict[str, str]]:
    return ("time", np.arange(scene.n_frames) / 2.0, {"units": "s"})


def _motion(scene: Scene, rng: np.random.Generator) -> MotionCorrected:
    n = (scene.n_frames, scene.n_planes)
    where = {
        "z": ("z", 5.0 * np.arange(scene.n_planes), {"units": "um"}),
        "y": ("y", 1.0 * np.arange(PLANE[0]), {"units": "um"}),
        "x": ("x", 1.0 * np.arange(PLANE[1]), {"units": "um"}),
    }
    per_frame = {"time": _time(scene), "z": where["z"]}
    bad = np.zeros(n, np.uint8)
    bad[: scene.n_frames // 20] = 2
    corrected = rng.normal(150, 9, (*n, *PLANE)).astype(np.float32)
    corrected[:, :, 0] = np.nan
    return MotionCorrected(
        xr.DataArray(corrected, dims=("time", "z", "y", "x"), coords=per_frame | where),
        xr.DataArray(
            rng.normal(size=(*n, 2)).astype(np.float32),
            dims=("time", "z", "axis"),
            coords=per_frame,
        ),
        xr.DataArray(
            rng.normal(size=(*n, 2, 2, 2)).astype(np.float32),
            dims=("time", "z", "patch_y", "patch_x", "axis"),
            coords=per_frame,
        ),
        xr.DataArray(
            rng.normal(size=(scene.n_planes, *PLANE)).astype(np.float32),
            dims=("z", "y", "x"),
            coords=where,
        ),
        xr.DataArray(
            rng.uniform(0.5, 1, n).astype(np.float32), dims=("time", "z"), coords=per_frame
        ),
        xr.DataArray(bad, dims=("time", "z"), coords=per_frame),
        xr.DataArray(np.zeros((*n, 8)), dims=("time", "z", "statistic"), coords=per_frame),
        xr.DataArray(np.zeros((scene.n_planes, *PLANE), np.uint8), dims=("z", "y", "x")),
        xr.DataArray(np.roll(bad, 5, axis=0), dims=("time", "z"), coords=per_frame),
        xr.DataArray(np.zeros((scene.n_planes, 11)), dims=("z", "measure")),
        xr.DataArray(
            rng.uniform(0, 0.3, (scene.n_planes, 2, 2)).astype(np.float32),
            dims=("z", "flow_y", "flow_x"),
        ),
        xr.DataArray(
            np.full((scene.n_planes, *PLANE), n[0], np.uint32), dims=("z", "y", "x"), coords=where
        ),
        xr.DataArray(np.zeros((*n, 3)), dims=("time", "z", "measure"), coords=per_frame),
        _motion_summary(scene),
    )


def _motion_summary(scene: Scene) -> dict[str, Any]:
    numbers = {
        "n_bad_pixels": 2, "n_bad_frames": 1, "n_outliers": 1, "r_before": 0.61, "r_after": 0.84,
        "crispness_before": 900.0, "crispness_after": 1200.0, "residual_px": 0.04,
        "residual_noise_px": 0.06, "heldout_before": 0.5, "heldout_after": 0.7, "gain": 20.0,
        "offset": 193.0, "heldout_skipped": None,
    }  # fmt: skip
    return {
        "line_offset_px": 0.0,
        "line_offset_spread_px": None,
        "n_unsure": 0,
        "n_at_limit": 0,
        "template": "fixed",
        "planes": [{"plane": plane} | numbers for plane in range(scene.n_planes)],
    }


def _second_channel(scene: Scene) -> MotionApplied:
    made = _motion(scene, np.random.default_rng(9))
    scores = np.tile([0.5, 0.62], (scene.n_planes, 1))
    quality = xr.DataArray(scores, dims=("z", "measure"))
    return MotionApplied(made.corrected, made.template, made.agreement, quality)


def _aligned(scene: Scene, rng: np.random.Generator) -> PlanesAligned:
    n = scene.n_planes
    chosen = np.linspace(1, STRUCTURE[0] - 1, n).astype(np.int32)
    coords = {
        name: ("z", rng.uniform(0.2, 0.9, n))
        for name in (
            "score", "chance", "confidence", "shift_y_px", "shift_x_px", "residual_px",
            "inverse_consistency_px",
        )
    }  # fmt: skip
    coords["position"] = ("z", chosen + 0.25)
    coords["found"] = ("z", np.ones(n, np.int8))
    coords |= {name: ("z", np.full(n, 0.5)) for name in ("tilt_y_slices", "tilt_x_slices")}
    coords["given"] = ("z", np.zeros(n, np.uint8))
    scores = rng.uniform(-0.1, 0.6, (n, STRUCTURE[0])).astype(np.float32)
    return PlanesAligned(
        xr.DataArray(chosen, dims=("z",), coords=coords),
        xr.DataArray(scores, dims=("z", "slice")),
        xr.DataArray(np.zeros((n, *PLANE, 3), np.float32), dims=("z", "y", "x", "axis")),
        xr.DataArray(np.zeros((n, *PLANE), np.float32), dims=("z", "y", "x")),
        _drift(scene, rng),
    )


def _drift(scene: Scene, rng: np.random.Generator) -> xr.DataArray:
    drift = rng.normal(0, 0.3, (4, scene.n_planes)).astype(np.float32)
    coords: dict[str, Any] = {
        "time": ("bin", np.arange(4) * scene.n_frames / 8, {"units": "s"}),
        "exceeds": (("bin", "z"), (np.abs(drift) > 0.5).astype(np.uint8)),
    }
    return xr.DataArray(drift, dims=("bin", "z"), coords=coords)


def _traces(scene: Scene, rng: np.random.Generator) -> dict[str, Any]:
    n, n_frames = scene.n_neurons, scene.n_frames
    drive = np.maximum(rng.normal(size=(3, n_frames)), 0)
    dff = drive[np.arange(n) % 3] + 0.2 * rng.normal(size=(n, n_frames))
    nucleus = np.arange(1, n + 1, dtype=np.uint32)
    plane = np.repeat(np.arange(scene.n_planes, dtype=np.int32), n)
    table = {"nucleus": ("roi", np.tile(nucleus, scene.n_planes)), "plane": ("roi", plane)}
    rois = xr.DataArray(
        np.ones((len(plane), n_frames), np.float32),
        dims=("roi", "time"),
        coords=table | {"time": _time(scene)},
    )
    neurons = {"nucleus": ("neuron", nucleus), "time": _time(scene)}

    def rows(values: np.ndarray) -> xr.DataArray:
        return xr.DataArray(values.astype(np.float32), dims=("neuron", "time"), coords=neurons)

    def column(values: np.ndarray) -> xr.DataArray:
        return xr.DataArray(values, dims=("neuron",), coords={"nucleus": neurons["nucleus"]})

    counts = {
        "n_rois_before": len(plane),
        "n_rois": len(plane),
        "n_neurons": n,
        "naive_ratio": float(scene.n_planes) if n else None,
        "fair_ratio": float(scene.n_planes) if n else None,
        "planes_per_neuron": [0] * (scene.n_planes - 1) + [n] if n else [],
    }
    plane_labels = np.zeros((scene.n_planes, *PLANE), np.uint32)
    plane_labels[:, 2:5, 2:5] = 1
    reason = np.zeros(n, np.uint8)
    dropped = xr.DataArray(np.zeros(len(plane), np.uint8), dims=("roi",))
    return {
        "extract_traces": TracesExtracted(
            rois,
            xr.DataArray(plane_labels, dims=("z", "y", "x")),
            xr.DataArray(np.full((scene.n_planes, 2), [0.9, 0.001]), dims=("z", "measure")),
        ),
        "merge_planes": PlanesMerged(rows(dff + 1), dropped, counts),
        "compute_dff": DffComputed(
            rows(dff), rows(dff), column(np.full(n, 0.2, np.float32)), column(reason)
        ),
        "denoise_traces": TracesDenoised(
            rows(0.9 * dff),
            xr.DataArray(dff[:, :2], dims=("neuron", "component")),
            {"n_components": 2, "explained": 0.96 if n else None, "n_left_out": 0},
        ),
    }


def _network(scene: Scene, rng: np.random.Generator) -> Network:
    n = scene.n_neurons
    pairs = np.column_stack(np.triu_indices(n, 1))[: scene.n_edges] if n > 1 else np.zeros((0, 2))
    adjacency = np.zeros((n, n), bool)
    for i, j in pairs.astype(int):
        adjacency[i, j] = adjacency[j, i] = True
    row, column = np.nonzero(adjacency)
    weights = rng.uniform(0.5, 1, len(row)).astype(np.float32) if scene.weighted else None
    return Network(
        indptr=np.concatenate([[0], np.cumsum(adjacency.sum(axis=1))]).astype(np.int64),
        indices=column.astype(np.int32),
        node_ids=np.arange(1, n + 1, dtype=np.uint32),
        weights=weights,
        position_um=rng.uniform(0, 16, (n, 3)),
        attributes={"rule": "percentile", "threshold": 0.8},
    )


def _built(scene: Scene, network: Network, rng: np.random.Generator) -> NetworkBuilt:
    n_pairs = scene.n_neurons * (scene.n_neurons - 1) // 2
    bins = (np.arange(400) + 0.5) * 2 / 400 - 1
    drawn = rng.normal(0, 0.3, n_pairs).clip(-0.99, 0.99)
    counts = np.histogram(drawn, np.linspace(-1, 1, 401))[0].astype(np.int64)
    percentiles = {"50": 0.2, "90": 0.5, "99": 0.8} if n_pairs else {}
    summary = {
        "threshold": 0.8,
        "n_neurons": scene.n_neurons,
        "n_pairs": n_pairs,
        "n_edges": network.n_edges,
        "percentiles": percentiles,
    }
    histogram = xr.DataArray(counts, dims=("bin",), coords={"r": ("bin", bins)})
    return NetworkBuilt(network, histogram, summary)


def _measured(scene: Scene, network: Network) -> NetworkMeasured:
    degree = np.diff(network.indptr)
    density = [0.3, 0.1] + [0.0] * 12 if network.n_edges else [0.0] * 14
    coords = {"component": ("neuron", np.where(degree > 0, 0, np.arange(len(degree))))}
    summary = {
        "n_nodes": scene.n_neurons,
        "n_edges": network.n_edges,
        "n_isolated": int((degree == 0).sum()),
        "n_components": 1,
        "largest_component": int((degree > 0).sum()),
        "density": 0.1,
        "mean_degree": float(degree.mean()) if len(degree) else 0.0,
        "mean_clustering": 0.2,
        "transitivity": None,
        "degree_bins": [2.0**k - 0.5 for k in range(15)],
        "degree_density": density,
    }
    return NetworkMeasured(xr.DataArray(degree, dims=("neuron",), coords=coords), summary)


def _dismantled(scene: Scene) -> Dismantled:
    n = scene.n_neurons
    start = n if scene.n_edges and n > 1 else min(n, 1)
    curve = np.arange(start, 0, -1) if start > 1 else np.array([start])
    summary = {
        "method": "degree",
        "adaptive": True,
        "target": 0.1,
        "n_nodes": n,
        "removals": len(curve) - 1,
        "auc": 0.4,
    }
    order = xr.DataArray(np.arange(len(curve) - 1), dims=("step",))
    return Dismantled(order, xr.DataArray(curve.astype(np.int64), dims=("removed",)), summary)
