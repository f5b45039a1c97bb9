"""Triangles: how often two neighbours of a node are neighbours of each other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from clgkit.graph.csr import Float64, Int32, Int64, check_rows


def clustering(indptr: npt.ArrayLike, indices: npt.ArrayLike) -> Float64:
    r"""Return the local clustering coefficient of every node.

    Parameters
    ----------
    indptr, indices
        Symmetric compressed sparse rows.

    Returns
    -------
    (N,) float64
        :math:`2 t / (k (k - 1))` with :math:`t` triangles at a node of degree :math:`k`;
        0 where :math:`k < 2`, as in networkx (igraph gives NaN there).

    Raises
    ------
    TypeError, ValueError
        If the arrays are no compressed sparse rows.
    """
    rows = check_rows(indptr, indices)
    triples = _triples(rows.indptr)
    return _triangles(rows.indptr, rows.indices) / np.maximum(triples, 1)


def transitivity(indptr: npt.ArrayLike, indices: npt.ArrayLike) -> float:
    """Return the share of connected triples that are closed.

    Parameters
    ----------
    indptr, indices
        Symmetric compressed sparse rows.

    Returns
    -------
    float
        3 triangles / triples; 0 in a graph without triples.

    Raises
    ------
    TypeError, ValueError
        If the arrays are no compressed sparse rows.
    """
    rows = check_rows(indptr, indices)
    n_triples = int(_triples(rows.indptr).sum())
    return int(_triangles(rows.indptr, rows.indices).sum()) / max(n_triples, 1)


def _triples(indptr: Int64) -> Int64:
    """Return the number of pairs of neighbours of every node."""
    degrees = np.diff(indptr)
    triples: Int64 = degrees * (degrees - 1) // 2
    return triples


@njit(cache=True, nogil=True)
def _triangles(indptr: Int64, indices: Int32) -> Int64:
    """Count the triangles at every node, each found once from its lowest-ranked corner.

    Nodes are ranked by degree, so that no node has many higher-ranked neighbours.
    """
    n_nodes = indptr.size - 1
    degrees = np.diff(indptr)
    start = np.zeros(n_nodes + 1, np.int64)
    higher = np.empty(indices.size, np.int32)  # half would do, were symmetry not a promise
    filled = 0
    for u in range(n_nodes):
        for place in range(indptr[u], indptr[u + 1]):
            v = indices[place]
            if degrees[v] > degrees[u] or (degrees[v] == degrees[u] and v > u):
                higher[filled] = v
                filled += 1
        start[u + 1] = filled
    triangles = np.zeros(n_nodes, np.int64)
    seen_from = np.full(n_nodes, -1, np.int32)
    for u in range(n_nodes):
        for place in range(start[u], start[u + 1]):
            seen_from[higher[place]] = u
        for place in range(start[u], start[u + 1]):
            v = higher[place]
            for other in range(start[v], start[v + 1]):
                w = higher[other]
                if seen_from[w] == u:
                    triangles[u] += 1
                    triangles[v] += 1
                    triangles[w] += 1
    return triangles
