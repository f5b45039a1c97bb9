"""Connected components."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from clgkit.graph.csr import Int32, Int64, check_rows


class Components(NamedTuple):
    """Which component each node belongs to, the largest first."""

    label: Int32
    """(N,) 0 is the largest component."""
    size: Int64
    """(C,) nodes of each component, descending."""


def connected_components(indptr: npt.ArrayLike, indices: npt.ArrayLike) -> Components:
    """Label the connected components by size.

    Parameters
    ----------
    indptr, indices
        Symmetric compressed sparse rows.

    Returns
    -------
    Components
        Label 0 is the largest component (LCC).  Of equally large ones the one that holds
        the lowest node comes first.  A graph without nodes has no component.

    Raises
    ------
    TypeError, ValueError
        If the arrays are no compressed sparse rows.
    """
    rows = check_rows(indptr, indices)
    found, n_components = _label(rows.indptr, rows.indices)
    size = np.bincount(found, minlength=n_components)
    # They were found in the order of their lowest node, which a stable sort keeps.
    order = np.argsort(-size, kind="stable")
    rank = np.empty(n_components, np.int32)
    rank[order] = np.arange(n_components, dtype=np.int32)
    return Components(rank[found], size[order].astype(np.int64))


@njit(cache=True, nogil=True)
def _label(indptr: Int64, indices: Int32) -> tuple[Int32, int]:
    """Return labels in the order of the lowest nodes, and their number; breadth first."""
    n_nodes = indptr.size - 1
    label = np.full(n_nodes, -1, np.int32)
    queue = np.empty(n_nodes, np.int32)
    n_components = 0
    for start in range(n_nodes):
        if label[start] >= 0:
            continue
        label[start] = n_components
        queue[0] = start
        head, tail = 0, 1
        while head < tail:
            v = queue[head]
            head += 1
            for place in range(indptr[v], indptr[v + 1]):
                w = indices[place]
                if label[w] < 0:
                    label[w] = n_components
                    queue[tail] = w
                    tail += 1
        n_components += 1
    return label, n_components
