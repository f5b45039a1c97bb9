"""Correlation graphs and their measures, beside numpy and networkx."""

from __future__ import annotations

from functools import cache

import networkx as nx
import numpy as np
import numpy.typing as npt

from benchmarks.harness import Figure, Size, measure
from clgkit.connectivity import UnitRows, percentiles, threshold_graph, unit_rows
from clgkit.graph import Adjacency, clustering, connected_components, from_pairs

NUMPY = f"numpy {np.__version__} corrcoef, same size"
NETWORKX = f"networkx {nx.__version__}"
N_FRAMES = 599


@cache
def _traces(n_cells: int) -> npt.NDArray[np.float32]:
    """Return cells that follow three hidden signals, with noise."""
    rng = np.random.default_rng(0)
    signals = rng.normal(size=(3, N_FRAMES))
    shares = rng.normal(size=(n_cells, 3)) ** 3
    noise = 0.2 * rng.normal(size=(n_cells, N_FRAMES))
    return (shares @ signals + noise).astype(np.float32)


def _graph(traces: npt.NDArray[np.float32]) -> object:
    return threshold_graph(unit_rows(traces), threshold=0.95)


def _dense_graph(traces: npt.NDArray[np.float32]) -> object:
    matrix = np.abs(np.corrcoef(traces))
    return np.argwhere(np.triu(matrix > 0.95, 1))


def _dense_percentiles(traces: npt.NDArray[np.float32]) -> object:
    matrix = np.corrcoef(traces)
    return np.percentile(matrix[np.triu_indices(len(matrix), 1)], [80, 85, 90, 95])


def _percentiles(traces: npt.NDArray[np.float32]) -> object:
    unit: UnitRows = unit_rows(traces)
    return percentiles(unit, [80, 85, 90, 95])


def figure_threshold_graph(size: Size) -> Figure:
    """Time the graph abs(r) > 0.95 of 5,000 cells beside the dense matrix."""
    traces = _traces(5000 if size == "full" else 300)
    ours, peer = measure(lambda: _graph(traces), lambda: _dense_graph(traces))
    return Figure("threshold graph, 5k x 599", "CPU s", ours, NUMPY, peer)


def figure_threshold_graph_large(size: Size) -> Figure:
    """Time the same graph at 10,000 cells; the target was measured with a prototype."""
    traces = _traces(10_000 if size == "full" else 300)
    (ours,) = measure(lambda: _graph(traces))
    return Figure("threshold graph, 10k x 599", "CPU s", ours, target=3.3)


def figure_percentiles(size: Size) -> Figure:
    """Time four exact percentiles of the correlations of 5,000 cells."""
    traces = _traces(5000 if size == "full" else 300)
    ours, peer = measure(lambda: _percentiles(traces), lambda: _dense_percentiles(traces))
    return Figure("exact percentiles, 5k x 599", "CPU s", ours, NUMPY, peer)


@cache
def _random(size: Size) -> tuple[Adjacency, nx.Graph]:
    """Return a random graph of 20,000 nodes and 495,000 edges in both forms."""
    n_nodes, n_edges = (20_000, 495_000) if size == "full" else (200, 600)
    peer = nx.gnm_random_graph(n_nodes, n_edges, seed=0)
    ends = np.array(peer.edges)
    return from_pairs(n_nodes, ends[:, 0], ends[:, 1]), peer


def figure_clustering(size: Size) -> Figure:
    """Time the clustering of every node."""
    made, graph = _random(size)
    ours, peer = measure(
        lambda: clustering(made.indptr, made.indices), lambda: nx.clustering(graph)
    )
    return Figure("clustering, 20k / 495k", "CPU s", ours, NETWORKX, peer)


def figure_components(size: Size) -> Figure:
    """Time the connected components."""
    made, graph = _random(size)
    ours, peer = measure(
        lambda: connected_components(made.indptr, made.indices),
        lambda: list(nx.connected_components(graph)),
    )
    return Figure("components, 20k / 495k", "CPU s", ours, NETWORKX, peer)
