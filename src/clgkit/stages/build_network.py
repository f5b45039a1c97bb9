"""Graph of the strongest correlations."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
import xarray as xr
from pydantic import Field, PositiveInt

from clgkit import connectivity
from clgkit.data import Network
from clgkit.errors import as_data_error
from clgkit.params import Params
from clgkit.schema import Schema

if TYPE_CHECKING:
    import numpy.typing as npt

    from clgkit.workspace import Workspace

PERCENTILES = (50.0, 80.0, 85.0, 90.0, 95.0, 99.0)
HISTOGRAM_BINS = 400
ABOVE_ALL = 2.0  # where a density is less than one pair: no correlation, however rounded, is there


class BuildNetwork(Params):
    """Settings of :func:`build_network`."""

    rule: Literal["percentile", "density", "fixed"] = "percentile"
    """How the threshold is chosen: from the distribution, from the number of edges, or given."""
    percentile: Annotated[float, Field(gt=0, lt=100)] = 99.0
    """Rule "percentile": pairs above this percentile of all pairs are joined."""
    density: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Rule "density": this share of all pairs is joined, the strongest ones (all that tie)."""
    threshold: Annotated[float, Field(ge=-1, le=1)] = 0.95
    """Rule "fixed": pairs above this correlation are joined."""
    quantity: Literal["absolute", "signed"] = "absolute"
    """What is compared with the threshold: the absolute value of r, or r itself."""
    inclusive: bool = False
    """Join pairs that lie exactly on the threshold too (the rule "density" always does)."""
    weighted: bool = False
    """Keep r as the weight of each edge."""
    max_edges: PositiveInt = 100_000_000
    """More edges than this are refused, with the threshold that would fit."""


class NetworkBuilt(NamedTuple):
    """What :func:`build_network` gives."""

    network: Network
    histogram: xr.DataArray
    summary: dict[str, Any]


def build_network(
    traces: xr.DataArray,
    params: BuildNetwork = BuildNetwork(),  # noqa: B008  (frozen)
    *,
    workspace: Workspace | None = None,  # noqa: ARG001  (pairs are worked off block by block inside)
) -> NetworkBuilt:
    """Join every pair of neurons whose correlation exceeds a threshold.

    Parameters
    ----------
    traces
        (neuron, time) traces, or (neuron, component) scores of
        :func:`clgkit.stages.denoise_traces`.  Rows that are constant or not finite stay
        isolated nodes.
    params
        Settings.
    workspace
        Not used.

    Returns
    -------
    NetworkBuilt
        ``network``.  ``histogram``: (bin,) int64, number of pairs by signed r, 400 equal bins
        from -1 to 1.  ``summary``: threshold, number of pairs and edges, and percentiles of
        the very quantity that is compared.

    Raises
    ------
    DataError
        If `traces` are no traces, or there would be too many edges.
    """
    _check(traces)
    unit = _unit_rows(traces)
    n_live = int(unit.live.sum())
    n_pairs = n_live * (n_live - 1) // 2
    with as_data_error("build_network"):
        threshold = _threshold(unit, params, n_pairs)
        edges = connectivity.threshold_graph(
            unit,
            threshold=threshold,
            quantity=params.quantity,
            inclusive=_is_inclusive(params),
            weighted=params.weighted,
            max_edges=params.max_edges,
        )
    counts = connectivity.correlation_histogram(unit, n_bins=HISTOGRAM_BINS)
    network = _network(traces, edges, params, threshold)
    if network.n_edges == 0:
        warnings.warn("the network has no edge; lower the threshold", stacklevel=2)
    summary = {
        "threshold": float(threshold),
        "n_neurons": network.n_nodes,
        "n_left_out": network.n_nodes - n_live,
        "n_pairs": int(n_pairs),
        "n_edges": network.n_edges,
        "percentiles": _percentiles(unit, params, n_pairs),
    }
    histogram = xr.DataArray(
        counts,
        dims=("bin",),
        coords={"r": ("bin", (np.arange(HISTOGRAM_BINS) + 0.5) * 2 / HISTOGRAM_BINS - 1)},
        name="histogram",
    )
    return NetworkBuilt(network, histogram, summary)


def _check(traces: xr.DataArray) -> None:
    kind = str(traces.dims[1]) if traces.ndim == 2 else "time"
    Schema("table of traces", ("neuron", kind)).check(traces)


def _unit_rows(traces: xr.DataArray) -> connectivity.UnitRows:
    """Return the rows at unit length; without frames or components all are dead."""
    rows = traces.values if traces.shape[1] else np.zeros((len(traces), 1))
    return connectivity.unit_rows(rows, center=traces.dims[1] == "time")


def _is_inclusive(params: BuildNetwork) -> bool:
    return params.inclusive or params.rule == "density"


def _threshold(unit: connectivity.UnitRows, params: BuildNetwork, n_pairs: int) -> float:
    if params.rule == "fixed" or n_pairs == 0:
        return params.threshold
    if params.rule == "density":
        lowest = connectivity.density_threshold(unit, params.density, quantity=params.quantity)
        return min(lowest, ABOVE_ALL)
    found = connectivity.percentiles(unit, [params.percentile], quantity=params.quantity)
    return float(found[0])


def _percentiles(
    unit: connectivity.UnitRows, params: BuildNetwork, n_pairs: int
) -> dict[str, float]:
    if n_pairs == 0:
        return {}
    values = connectivity.percentiles(unit, PERCENTILES, quantity=params.quantity)
    return {f"{q:g}": float(v) for q, v in zip(PERCENTILES, values, strict=True)}


def _network(
    traces: xr.DataArray, edges: connectivity.Edges, params: BuildNetwork, threshold: float
) -> Network:
    n_nodes = traces.sizes["neuron"]
    ids = traces.coords["nucleus"].values if "nucleus" in traces.coords else np.arange(n_nodes)
    position: npt.NDArray[np.float64] | None = None
    if {"z", "y", "x"} <= set(traces.coords):
        position = np.column_stack([traces.coords[dim].values for dim in "zyx"]).astype(np.float64)
    return Network(
        indptr=edges.indptr,
        indices=edges.indices,
        node_ids=np.asarray(ids, np.uint32),
        weights=edges.weights,
        position_um=position,
        attributes={
            "rule": params.rule,
            "quantity": params.quantity,
            "threshold": float(threshold),
            "inclusive": _is_inclusive(params),
        },
    )
