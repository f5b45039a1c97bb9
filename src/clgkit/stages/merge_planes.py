"""One trace per neuron, from all planes that cut its nucleus."""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from pydantic import NonNegativeInt

from clgkit import traces
from clgkit.data import LABELS, Labels
from clgkit.errors import as_data_error
from clgkit.params import Params
from clgkit.workspace import Output, Workspace

if TYPE_CHECKING:
    import numpy.typing as npt
    import xarray as xr


class MergePlanes(Params):
    """Settings of :func:`merge_planes`."""

    weights: Literal["area", "mean", "largest"] = "area"
    """Pool all pixels ("area"), average the planes ("mean", the original), or take the largest."""
    min_area_px: NonNegativeInt = 4
    """Rois must have more pixels than this on their plane."""


class PlanesMerged(NamedTuple):
    """What :func:`merge_planes` gives."""

    fluorescence: xr.DataArray
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
        um), ``n_planes`` and ``area_px``.  ``summary``: ``n_rois_before`` (all rois),
        ``n_rois`` (above the smallest area), ``n_neurons``, ``naive_ratio`` and
        ``fair_ratio`` (rois before and above the smallest area per neuron), and
        ``planes_per_neuron`` (number of neurons seen on 1, 2, … planes).

    Raises
    ------
    DataError
        If `labels` are no labels, or a roi names a nucleus they do not hold.
    """
    LABELS.check(labels)
    workspace = workspace or Workspace()
    with as_data_error("merge_planes"):
        plan = traces.plan_merge(
            rois.coords["nucleus"].values,
            rois.coords["area_px"].values,
            weights=params.weights,
            min_area_px=params.min_area_px,
        )
        coords = _neuron_table(plan, labels)
    time = rois.coords["time"]
    coords["time"] = (("time",), time.values, dict(time.attrs))
    shape = (len(plan.nucleus), rois.sizes["time"])
    (fluorescence,) = workspace.map_blocks(
        partial(_merge, plan=plan),
        rois,
        [Output("fluorescence", ("neuron", "time"), shape, np.dtype(np.float32), coords)],
        split={"time": None},
    )
    if len(plan.dropped):
        warnings.warn(
            f"{len(plan.dropped)} of {rois.sizes['roi']} rois have {params.min_area_px} pixels or "
            "fewer and were left out",
            stacklevel=2,
        )
    return PlanesMerged(fluorescence, _summary(plan, rois.sizes["roi"]))


def _merge(block: xr.DataArray, *, plan: traces.MergePlan) -> npt.NDArray[np.floating[Any]]:
    return traces.merge(block.values, plan)


def _neuron_table(plan: traces.MergePlan, labels: Labels) -> dict[str, Any]:
    """Return the coordinates of the neurons: where their nuclei lie, and how they were seen."""
    geometry = traces.measure_labels((z, labels.isel(z=z).values) for z in range(labels.sizes["z"]))
    rows = np.searchsorted(geometry.nucleus, plan.nucleus)
    known = rows < len(geometry.nucleus)
    if not known.all() or not np.array_equal(geometry.nucleus[rows], plan.nucleus):
        raise ValueError(
            "the rois name nuclei that the labels do not hold; the labels are of another stack"
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


def _summary(plan: traces.MergePlan, n_rois_before: int) -> dict[str, Any]:
    histogram = np.bincount(plan.n_planes)[1:] if len(plan.n_planes) else np.zeros(0, np.int64)
    return {
        "n_rois_before": int(n_rois_before),
        "n_rois": len(plan.rois),
        "n_neurons": len(plan.nucleus),
        "naive_ratio": _finite(plan.naive_ratio),
        "fair_ratio": _finite(plan.fair_ratio),
        "planes_per_neuron": [int(count) for count in histogram],
    }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
