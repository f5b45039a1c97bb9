"""Shortest paths through what is left of a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from clgkit.dismantling.adjacency import Float64, Int32, Int64


@njit(cache=True, nogil=True)
def compact(indptr: Int64, indices: Int32, nodes: Int64) -> tuple[Int64, Int32]:
    """Return the rows of some nodes among themselves, numbered in their order."""
    place_of = np.full(indptr.size - 1, -1, np.int32)
    for place in range(nodes.size):
        place_of[nodes[place]] = place
    starts = np.zeros(nodes.size + 1, np.int64)
    ends = np.empty(indices.size, np.int32)
    filled = 0
    for place in range(nodes.size):
        for entry in range(indptr[nodes[place]], indptr[nodes[place] + 1]):
            if place_of[indices[entry]] >= 0:
                ends[filled] = place_of[indices[entry]]
                filled += 1
        starts[place + 1] = filled
    return starts, ends[:filled].copy()


@njit(cache=True, nogil=True)
def path_load(indptr: Int64, indices: Int32, sources: Int64) -> Float64:
    """Return how many shortest paths from the sources pass through every node.

    With all nodes as sources it is twice the betweenness; NaN where float64 cannot count the
    paths.  Brandes, J. Math. Sociol. 25
    (2001) 163.
    """
    n = indptr.size - 1
    load = np.zeros(n, np.float64)
    depth = np.full(n, -1, np.int32)
    n_paths = np.zeros(n, np.float64)
    passed = np.zeros(n, np.float64)
    queue = np.empty(n, np.int32)
    for source in sources:
        depth[source] = 0
        n_paths[source] = 1.0
        queue[0] = source
        first, last = 0, 1
        while first < last:
            v = queue[first]
            first += 1
            for place in range(indptr[v], indptr[v + 1]):
                w = indices[place]
                if depth[w] < 0:
                    depth[w] = depth[v] + 1
                    queue[last] = w
                    last += 1
                if depth[w] == depth[v] + 1:
                    n_paths[w] += n_paths[v]
        for position in range(last - 1, 0, -1):
            w = queue[position]
            for place in range(indptr[w], indptr[w + 1]):
                v = indices[place]
                if depth[v] == depth[w] + 1:
                    passed[w] += n_paths[w] / n_paths[v] * (1.0 + passed[v])
            load[w] += passed[w] if n_paths[w] < np.inf else np.nan
        for position in range(last):
            depth[queue[position]] = -1
            n_paths[queue[position]] = passed[queue[position]] = 0.0
    return load
