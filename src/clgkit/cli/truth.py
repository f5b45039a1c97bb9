"""How close the result of a run on a simulated fish is to the truth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from clgkit import io, segmentation
from clgkit.cli.fishfiles import LABELS, TRUTH
from clgkit.pipeline import nouns
from clgkit.stages import STAGES
from clgkit.stages.build_network import build_network
from clgkit.stages.denoise_traces import denoise_traces

if TYPE_CHECKING:
    from clgkit.data import Network
    from clgkit.pipeline.runner import Run

MIN_AREA_PX = 4


def compare(run: Run, fish: Path) -> dict[str, Any]:
    """Return the figures of a run on the simulated fish below `fish`.

    Counts are of neurons that a functional plane cuts with more than 4 pixels.  Edges are
    compared with those that the same settings give on the noise-free traces of these
    neurons; an edge of a neuron that does not exist is wrong, one of a neuron that was not
    found is missed.
    """
    with np.load(fish / TRUTH, allow_pickle=False) as loaded:
        truth = {name: loaded[name] for name in loaded.files}
    there = np.unique(truth["cut_nucleus"][truth["cut_area_px"] > MIN_AREA_PX])
    table = segmentation.overlap_table(_pairs(run, fish))
    matches = segmentation.match_labels(table)
    true_of = dict(zip(matches.predicted_ids.tolist(), matches.truth_ids.tolist(), strict=True))
    merged = run.store.result("merge_planes")
    counts = nouns.load(merged, "summary")
    n_neurons = counts["n_neurons"]
    summary = {
        "n_true_neurons": len(there),
        "n_rois_before": counts["n_rois_before"],
        "n_neurons": n_neurons,
        "overcount": counts["n_rois_before"] / max(1, n_neurons),
        "count_error": n_neurons / len(there) - 1,
        "nucleus_f1": segmentation.score_labels(table).f1,
        "trace_correlation_median": _trace_correlation(
            nouns.load(merged, "fluorescence"), truth, true_of
        ),
        "shift_rms_px": _shift_error(run, truth),
        "plane_error_slices": _plane_error(run, truth),
    }
    found = nouns.load(run.store.result("build_network"), "network")
    precision, recall = _edges(found, _ideal_network(run, truth, there), true_of)
    return summary | {"edge_precision": precision, "edge_recall": recall, "stages": costs(run)}


def costs(run: Run) -> dict[str, dict[str, float]]:
    """Return stage → seconds, cpu_seconds, peak_mb."""
    found = {}
    for name in STAGES:
        manifest = run.store.manifest(name)
        if manifest is not None:
            found[name] = manifest.cost
    return found


def _pairs(run: Run, fish: Path) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    truth = io.read_labels(fish / LABELS)
    found = nouns.load(run.store.result("segment_nuclei"), "labels")
    for z in range(truth.sizes["z"]):
        yield truth.isel(z=z).values, found.isel(z=z).values


def _trace_correlation(
    fluorescence: xr.DataArray, truth: dict[str, npt.NDArray[Any]], true_of: dict[int, int]
) -> float:
    """Return the median correlation of merged traces with the noise-free ones."""
    found = []
    for row, nucleus in zip(
        fluorescence.values, fluorescence.coords["nucleus"].values.tolist(), strict=True
    ):
        if nucleus in true_of:
            ideal = truth["fluorescence"][true_of[nucleus] - 1]
            good = np.isfinite(row)
            if good.sum() > 2 and np.ptp(ideal[good]) > 0 and np.ptp(row[good]) > 0:
                found.append(np.corrcoef(row[good], ideal[good])[0, 1])
    return float(np.median(found)) if found else 0.0


def _shift_error(run: Run, truth: dict[str, npt.NDArray[Any]]) -> float:
    """Return the rms length of the error of all shifts, each plane's mean error taken off."""
    shifts = nouns.load(run.store.result("correct_motion"), "shifts").values
    error = shifts - truth["shifts_px"]
    error -= error.mean(axis=0)
    return float(np.sqrt((error**2).sum(axis=-1).mean()))


def _plane_error(run: Run, truth: dict[str, npt.NDArray[Any]]) -> int:
    planes = nouns.load(run.store.result("align_planes"), "planes").values
    return int(np.abs(planes - truth["slice_of_plane"]).max())


def _ideal_network(
    run: Run, truth: dict[str, npt.NDArray[Any]], there: npt.NDArray[Any]
) -> Network:
    """Return the graph of the noise-free traces, by the settings of the run.

    Their dF/F is exact (the lowest value of a noise-free trace is its baseline): the
    baseline of the stage rests on the noise, and here there is none.
    """
    traces = truth["fluorescence"][there - 1].astype(np.float64)
    ideal = xr.DataArray(
        traces / traces.min(axis=1, keepdims=True) - 1,
        dims=("neuron", "time"),
        coords={"nucleus": ("neuron", there)},
    )
    scores = denoise_traces(ideal, run.settings["denoise_traces"]).scores
    return build_network(scores, run.settings["build_network"]).network


def _edges(found: Network, ideal: Network, true_of: dict[int, int]) -> tuple[float, float]:
    """Return precision and recall of the edges."""
    names = np.array([true_of.get(int(node), 0) for node in found.node_ids], np.int64)
    made, real = _codes(found, names), _codes(ideal, ideal.node_ids.astype(np.int64))
    both = len(np.intersect1d(made, real))
    return both / max(1, found.n_edges), both / max(1, ideal.n_edges)


def _codes(network: Network, names: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return one number per edge, from the names of its ends; edges of unnamed ends drop out."""
    rows = np.repeat(np.arange(network.n_nodes), np.diff(network.indptr))
    ends = np.sort(np.column_stack([names[rows], names[network.indices]]), axis=1)
    known = (ends > 0).all(axis=1) & (ends[:, 0] < ends[:, 1])
    return np.unique(ends[known, 0] * (1 << 32) + ends[known, 1])
