"""One trace per neuron, from all planes that cut its nucleus."""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import xarray as xr
from pydantic import NonNegativeInt

from clgkit import traces
from clgkit.blocks import Output
from clgkit.data import LABELS, Labels
from clgkit.errors import DataError, as_data_error
from clgkit.params import Params
from clgkit.schema import Schema
from clgkit.workspace import Workspace

if TYPE_CHECKING:
    import numpy.typing as npt

ROIS = Schema("table of rois", ("roi", "time"), "fiu", {"time": "s"})
FRAMES = 256
SMALL, WITHOUT_TRACE = 1, 2


class MergePlanes(Params):
    """Settings of :func:`merge_planes`."""

    weights: Literal["area", "mean", "largest"] = "area"
    """Pool all pixels ("area"), average the planes ("mean", the original), or take the largest."""
    min_area_px: NonNegativeInt = 4
    """Rois must have more pixels than this on their plane."""


class PlanesMerged(NamedTuple):
    """What :func:`merge_planes` gives."""

    fluorescence: xr.DataArray
    dropped: xr.DataArray
    summary: dict[str, Any]


def merge_planes(
    rois: xr.DataArray,
    labels: Labels,
    params: MergePlanes = MergePlanes(),  # noqa: B008  (frozen)
    *,
    workspace: Workspace | None = None,
) -> PlanesMerged:
    """Merge the traces of all planes that cut the same nucleus (3-D calibration).

    Parameters
    ----------
    rois
        (roi, time) traces with the coordinates ``nucleus`` and ``area_px``.
    labels
        Nuclei of the structural stack; they give the positions.
    params
        Settings.
    workspace
        Where blocks run and results go.

    Returns
    -------
    PlanesMerged
        ``fluorescence``: (neuron, time) float32, neurons in the order of their nucleus ids,
        with the coordinates ``nucleus``, ``z``, ``y``, ``x`` (centroid of the whole nucleus,
        um), ``n_planes`` and ``area_px``.  ``dropped``: (roi,) uint8, why a roi is part of no
        neuron: 1 too small, 2 not one frame with a value, 0 it is part of one.  ``summary``:
        ``n_rois_before`` (all rois), ``n_rois`` (those merged), ``n_without_trace``,
        ``n_neurons``, ``naive_ratio`` and ``fair_ratio`` (rois before and merged per neuron),
        and ``planes_per_neuron`` (number of neurons seen on 1, 2, … planes).

    Raises
    ------
    DataError
        If `labels` are no labels, `rois` no rois, or one names a nucleus that the labels do
        not hold.
    """
    ROIS.check(rois)
    LABELS.check(labels)
    _check_columns(rois)
    workspace = workspace or Workspace()
    ids, area = rois.coords["nucleus"].values, rois.coords["area_px"].values
    dropped = np.where(area <= params.min_area_px, SMALL, 0).astype(np.uint8)
    seen = _seen(rois)
    dropped[~seen & (dropped == 0)] = WITHOUT_TRACE
    with as_data_error("merge_planes"):
        plan = traces.plan_merge(
            ids[seen], area[seen], weights=params.weights, min_area_px=params.min_area_px
        )
    coords = _neuron_table(plan, labels)
    time = rois.coords["time"]
    coords["time"] = (("time",), time.values, dict(time.attrs))
    shape = (len(plan.nucleus), rois.sizes["time"])
    (fluorescence,) = workspace.map_blocks(
        partial(_merge, plan=plan, seen=seen),
        rois,
        [Output("fluorescence", ("neuron", "time"), shape, np.dtype(np.float32), coords)],
        split={"time": None},
    )
    _warn(dropped, params)
    table = {name: ("roi", rois.coords[name].values) for name in ("nucleus", "plane", "area_px")
             if name in rois.coords}  # fmt: skip
    listed = xr.DataArray(dropped, dims=("roi",), coords=table, name="dropped")
    return PlanesMerged(fluorescence, listed, _summary(plan, dropped))


def _check_columns(rois: xr.DataArray) -> None:
    missing = [name for name in ("nucleus", "area_px") if name not in rois.coords]
    if missing:
        raise DataError(
            f"The table of rois has no coordinate {' and no '.join(missing)}. Make it with "
            "extract_traces.",
            code="E_SHAPE",
        )


def _seen(rois: xr.DataArray) -> npt.NDArray[np.bool_]:
    """Tell which rois have a value in one frame at least, reading some frames at a time."""
    seen = np.zeros(rois.sizes["roi"], np.bool_)
    for start in range(0, rois.sizes["time"], FRAMES):
        part = rois.isel(time=slice(start, start + FRAMES)).values
        seen |= np.isfinite(part).any(axis=1)
    return seen


def _merge(
    block: xr.DataArray, *, plan: traces.MergePlan, seen: npt.NDArray[np.bool_]
) -> npt.NDArray[np.floating[Any]]:
    rows = block.values[seen]
    return traces.merge(rows if rows.dtype.kind == "f" else rows.astype(np.float64), plan)


def _warn(dropped: npt.NDArray[np.uint8], params: MergePlanes) -> None:
    reasons = {
        SMALL: f"have {params.min_area_px} pixels or fewer",
        WITHOUT_TRACE: "lie where the movie shows nothing (no frame has a value)",
    }
    for code, reason in reasons.items():
        count = int((dropped == code).sum())
        if count:
            warnings.warn(
                f"{count} of {len(dropped)} rois {reason} and were left out", stacklevel=3
            )


def _neuron_table(plan: traces.MergePlan, labels: Labels) -> dict[str, Any]:
    """Return the coordinates of the neurons: where their nuclei lie, and how they were seen."""
    geometry = traces.measure_labels((z, labels.isel(z=z).values) for z in range(labels.sizes["z"]))
    rows = np.searchsorted(geometry.nucleus, plan.nucleus)
    known = rows < len(geometry.nucleus)
    if not known.all() or not np.array_equal(geometry.nucleus[rows], plan.nucleus):
        raise DataError(
            "The rois name nuclei that the labels do not hold: the labels are of another stack. "
            "Take those the rois were made with.",
            code="E_SHAPE",
        )
    table: dict[str, Any] = {
        "nucleus": (("neuron",), plan.nucleus, {}),
        "n_planes": (("neuron",), plan.n_planes.astype(np.int32), {}),
        "area_px": (("neuron",), plan.area_px.astype(np.int64), {}),
    }
    for dim, index in zip("zyx", (geometry.z, geometry.y, geometry.x), strict=True):
        grid = labels.coords[dim].values
        position = np.interp(index[rows], np.arange(len(grid)), grid)
        table[dim] = (("neuron",), position, {"units": "um"})
    return table


def _summary(plan: traces.MergePlan, dropped: npt.NDArray[np.uint8]) -> dict[str, Any]:
    histogram = np.bincount(plan.n_planes)[1:] if len(plan.n_planes) else np.zeros(0, np.int64)
    return {
        "n_rois_before": len(dropped),
        "n_rois": len(plan.rois),
        "n_without_trace": int((dropped == WITHOUT_TRACE).sum()),
        "n_neurons": len(plan.nucleus),
        "naive_ratio": _finite(len(dropped) / len(plan.nucleus) if len(plan.nucleus) else np.nan),
        "fair_ratio": _finite(plan.fair_ratio),
        "planes_per_neuron": [int(count) for count in histogram],
    }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
