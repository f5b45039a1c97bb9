"""Betweenness: the share of shortest paths that run through a node."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from clgkit.graph.csr import Float64, Int32, Int64, check_rows


def betweenness(
    indptr: npt.ArrayLike, indices: npt.ArrayLike, *, normalized: bool = False
) -> Float64:
    """Return the exact betweenness of every node, in unweighted steps.

    Parameters
    ----------
    indptr, indices
        Symmetric compressed sparse rows.
    normalized
        Divide by the number of pairs of other nodes, (N - 1)(N - 2) / 2.

    Returns
    -------
    (N,) float64
        Sum over unordered pairs of other nodes of the share of their shortest paths that
        pass through the node.  Each pair counts once (networkit counts it twice).

    Raises
    ------
    TypeError, ValueError
        If the arrays are no compressed sparse rows, or there are more shortest paths
        between two nodes than float64 can count (about 1e308).

    Notes
    -----
    Brandes, J. Math. Sociol. 25 (2001) 163.  The time is N times M; paths are counted in
    float64.
    """
    rows = check_rows(indptr, indices)
    raw = _brandes(rows.indptr, rows.indices)
    if not np.isfinite(raw).all():
        raise ValueError("two nodes are joined by more than 1e308 shortest paths: no betweenness.")
    n = rows.n_nodes
    return raw * (2.0 / ((n - 1) * (n - 2))) if normalized and n > 2 else raw


@njit(cache=True, nogil=True)
def _brandes(indptr: Int64, indices: Int32) -> Float64:
    """Add up, over all sources, what each node passes on; halve, since pairs come twice."""
    n_nodes = indptr.size - 1
    total = np.zeros(n_nodes, np.float64)
    distance = np.full(n_nodes, -1, np.int32)
    n_paths = np.zeros(n_nodes, np.float64)
    passed = np.zeros(n_nodes, np.float64)
    queue = np.empty(n_nodes, np.int32)
    for source in range(n_nodes):
        distance[source] = 0
        n_paths[source] = 1.0
        queue[0] = source
        head, tail = 0, 1
        while head < tail:
            v = queue[head]
            head += 1
            for place in range(indptr[v], indptr[v + 1]):
                w = indices[place]
                if distance[w] < 0:
                    distance[w] = distance[v] + 1
                    queue[tail] = w
                    tail += 1
                if distance[w] == distance[v] + 1:
                    n_paths[w] += n_paths[v]
        for position in range(tail - 1, 0, -1):
            w = queue[position]
            share = (1.0 + passed[w]) / n_paths[w]
            for place in range(indptr[w], indptr[w + 1]):
                v = indices[place]
                if distance[v] == distance[w] - 1:
                    passed[v] += n_paths[v] * share
            total[w] += passed[w] if n_paths[w] < np.inf else np.nan
        for position in range(tail):
            v = queue[position]
            distance[v] = -1
            n_paths[v] = passed[v] = 0.0
    return 0.5 * total
