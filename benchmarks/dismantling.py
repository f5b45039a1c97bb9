"""Taking a large synthetic network apart, beside networkx."""

from __future__ import annotations

from functools import cache

import networkx as nx
import numpy as np

from benchmarks.harness import Figure, Size, measure
from clgkit.dismantling import attack_by_degree, lcc_curve
from clgkit.graph import Adjacency, from_pairs

N_SAMPLE = 3


@cache
def _synthetic(size: Size) -> Adjacency:
    """Return a graph of log-normal activity: half of the edges inside modules.

    About 40,000 nodes and 1.88 million edges at full size.
    """
    n_nodes, n_edges = (40_000, 1_900_000) if size == "full" else (400, 4_000)
    rng = np.random.default_rng(0)
    activity = rng.lognormal(sigma=1.0, size=n_nodes)
    activity /= activity.sum()
    module = rng.integers(0, 60, n_nodes)
    by_module = np.argsort(module, kind="stable")
    start = np.searchsorted(module[by_module], np.arange(61))
    first = rng.choice(n_nodes, n_edges, p=activity)
    second = rng.choice(n_nodes, n_edges, p=activity)
    inside = rng.random(n_edges) < 0.5
    low, high = start[module[first[inside]]], start[module[first[inside]] + 1]
    second[inside] = by_module[rng.integers(low, high)]
    return from_pairs(n_nodes, first, second)


@cache
def _order(size: Size) -> np.ndarray:
    return np.argsort(-np.diff(_synthetic(size).indptr), kind="stable")


def figure_lcc_curve(size: Size) -> Figure:
    """Time the curve of a complete order by degree."""
    made, order = _synthetic(size), _order(size)
    (ours,) = measure(lambda: lcc_curve(made.indptr, made.indices, order))
    return Figure("LCC curve, 40k / 1.88M", "CPU s", ours, target=0.05)


def figure_lcc_curve_per_removal(size: Size) -> Figure:
    """Time one removal: networkx labels anew, on a sample of evenly spread removals."""
    made, order = _synthetic(size), _order(size)
    n_nodes = order.size
    graph = nx.Graph()
    graph.add_nodes_from(range(n_nodes))
    rows = np.repeat(np.arange(n_nodes), np.diff(made.indptr))
    upper = rows < made.indices
    graph.add_edges_from(zip(rows[upper].tolist(), made.indices[upper].tolist(), strict=True))

    def relabel() -> list[int]:
        sizes = []
        for k in range(0, n_nodes, -(-n_nodes // N_SAMPLE)):
            left = graph.subgraph(order[k:].tolist())
            sizes.append(max(len(part) for part in nx.connected_components(left)))
        return sizes

    ours, peer = measure(lambda: lcc_curve(made.indptr, made.indices, order), relabel)
    name = f"networkx {nx.__version__}, {N_SAMPLE} sampled removals"
    return Figure(
        "LCC curve, one removal", "CPU s", ours / n_nodes, name, peer / N_SAMPLE, target=1000
    )


def figure_adaptive_degree(size: Size) -> Figure:
    """Time the adaptive attack by degree down to a tenth of the nodes."""
    made = _synthetic(size)
    (ours,) = measure(
        lambda: attack_by_degree(made.indptr, made.indices, target=0.1, adaptive=True)
    )
    return Figure("adaptive degree, 40k / 1.88M", "CPU s", ours, target=1.5)
