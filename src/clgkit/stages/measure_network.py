"""Degree, clustering, component and centrality of every neuron."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import xarray as xr

from clgkit import graph
from clgkit.errors import as_data_error
from clgkit.params import Params

if TYPE_CHECKING:
    from clgkit.data import Network
    from clgkit.workspace import Workspace


class MeasureNetwork(Params):
    """Settings of :func:`measure_network`."""

    centrality_norm: Literal["l2", "l1"] = "l2"
    """Length or sum of the eigenvector centrality that is made 1."""


class NetworkMeasured(NamedTuple):
    """What :func:`measure_network` gives."""

    degree: xr.DataArray
    summary: dict[str, Any]


def measure_network(
    network: Network,
    params: MeasureNetwork = MeasureNetwork(),  # noqa: B008  (frozen)
    *,
    workspace: Workspace | None = None,  # noqa: ARG001  (the graph is worked on whole)
) -> NetworkMeasured:
    """Measure every node of a network, and the network as a whole.

    Parameters
    ----------
    network
        An undirected graph.
    params
        Settings.
    workspace
        Not used.

    Returns
    -------
    NetworkMeasured
        ``degree``: (neuron,) int64 with the coordinates ``nucleus``, ``clustering`` (0 below
        two neighbours), ``component`` (0 is the largest) and ``eigenvector_centrality`` (0
        outside the leading component).  ``summary``: counts of nodes, edges, isolated nodes
        and components, size of the largest, density, mean degree and clustering (zeros
        counted), transitivity, and the degree distribution in logarithmic bins.

    Raises
    ------
    DataError
        If the network is not symmetric or otherwise malformed.
    """
    network.check()
    rows = (network.indptr, network.indices)
    with as_data_error("measure_network"):
        degree = graph.degree(*rows)
        components = graph.connected_components(*rows)
        clustering = graph.clustering(*rows)
        centrality = graph.eigenvector_centrality(
            *rows, weights=network.weights, norm=params.centrality_norm
        )
        transitivity = graph.transitivity(*rows)
    distribution = graph.degree_distribution(degree)
    n = network.n_nodes
    coords = {
        "nucleus": ("neuron", network.node_ids),
        "clustering": ("neuron", clustering),
        "component": ("neuron", components.label),
        "eigenvector_centrality": ("neuron", centrality),
    }
    if network.position_um is not None:
        for axis, dim in enumerate("zyx"):
            coords[dim] = ("neuron", network.position_um[:, axis])
    summary = {
        "n_nodes": n,
        "n_edges": network.n_edges,
        "n_isolated": int((degree == 0).sum()),
        "n_components": len(components.size),
        "largest_component": int(components.size.max(initial=0)),
        "density": 2 * network.n_edges / (n * (n - 1)) if n > 1 else 0.0,
        "mean_degree": float(degree.mean()) if n else 0.0,
        "mean_clustering": float(clustering.mean()) if n else 0.0,
        "transitivity": float(transitivity) if np.isfinite(transitivity) else None,
        "degree_bins": [float(edge) for edge in distribution.edges],
        "degree_density": [
            float(value) if np.isfinite(value) else None for value in distribution.density
        ],
    }
    return NetworkMeasured(
        xr.DataArray(degree, dims=("neuron",), coords=coords, name="degree"), summary
    )
