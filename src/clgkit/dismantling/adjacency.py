"""Checks of a graph and of a removal order before anything is taken apart."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit

Bool: TypeAlias = npt.NDArray[np.bool_]
Float64: TypeAlias = npt.NDArray[np.float64]
Int32: TypeAlias = npt.NDArray[np.int32]
Int64: TypeAlias = npt.NDArray[np.int64]


def check_rows(indptr: npt.ArrayLike, indices: npt.ArrayLike) -> tuple[Int64, Int32]:
    """Return compressed sparse rows as int64 and int32, or say what is wrong with them.

    Symmetry and the absence of self-loops and duplicates are the caller's promise.

    Raises
    ------
    TypeError
        If an array is not of integers.
    ValueError
        If the arrays are no compressed sparse rows.
    """
    starts, ends = np.asarray(indptr), np.asarray(indices)
    for name, array in (("indptr", starts), ("indices", ends)):
        if array.size and array.dtype.kind not in "iu":
            raise TypeError(f"{name} is {array.dtype}; wanted integers.")
        if array.ndim != 1:
            raise ValueError(f"{name} has {array.ndim} dimensions; wanted one.")
    starts = np.ascontiguousarray(starts, np.int64)  # differences of unsigned numbers wrap
    rises = starts.size > 0 and starts[0] == 0 and not (np.diff(starts) < 0).any()
    if not rises or starts[-1] != ends.size:
        raise ValueError(
            f"indptr has {starts.size} values; wanted N + 1 that rise from 0 to the number of "
            f"entries, {ends.size}."
        )
    if ends.size and not 0 <= int(ends.min()) <= int(ends.max()) < starts.size - 1:
        raise ValueError(
            f"indices run from {ends.min()} to {ends.max()}; wanted 0 to {starts.size - 2}."
        )
    return starts, np.ascontiguousarray(ends, np.int32)


def check_graph(indptr: npt.ArrayLike, indices: npt.ArrayLike) -> tuple[Int64, Int32]:
    """Return compressed sparse rows as `check_rows`, sorted, if they are a simple graph.

    The loops that follow components leave their arrays on any other.

    Raises
    ------
    TypeError, ValueError
        As `check_rows`; also if an edge is missing in one direction or listed twice, or a
        node is its own neighbour.
    """
    starts, ends = check_rows(indptr, indices)
    if _first_odd_entry(starts, ends) < 0:
        return starts, ends
    rows = np.repeat(np.arange(starts.size - 1), np.diff(starts))
    ends = ends[np.lexsort((ends, rows))]  # they may only have been unsorted
    place = _first_odd_entry(starts, ends)
    if place >= 0:
        raise ValueError(
            f"node {rows[place]} with neighbour {ends[place]}: every edge must be listed once in "
            "either direction, and a node never as its own neighbour; clgkit.graph.from_pairs "
            "makes such rows."
        )
    return starts, ends


@njit(cache=True, nogil=True)
def _first_odd_entry(indptr: Int64, indices: Int32) -> int:
    """Return the first entry that is out of order or without a counterpart, -1 if none is.

    Where all rows are sorted, the counterparts of row after row come up one by one.
    """
    counterpart = indptr[:-1].copy()
    for u in range(counterpart.size):
        before = -1
        for place in range(indptr[u], indptr[u + 1]):
            v = indices[place]
            if v <= before or v == u or counterpart[v] == indptr[v + 1]:
                return place
            if indices[counterpart[v]] != u:
                return place
            counterpart[v] += 1
            before = v
    return -1


def check_order(order: npt.ArrayLike, n_nodes: int) -> Int64:
    """Return a removal order as int64, or name the node that is wrong in it.

    Raises
    ------
    TypeError
        If the order is not of integers.
    ValueError
        If a node is out of range or listed twice.
    """
    nodes = np.asarray(order)
    if nodes.ndim != 1:
        raise ValueError(f"the order has shape {nodes.shape}; wanted a list of nodes.")
    if nodes.size and nodes.dtype.kind not in "iu":
        raise TypeError(f"the order is {nodes.dtype}; wanted integer node numbers.")
    outside = np.flatnonzero((nodes < 0) | (nodes >= n_nodes))
    if outside.size:
        raise ValueError(
            f"node {nodes[outside[0]]} in the order does not exist; wanted 0 to {n_nodes - 1}."
        )
    listed = np.bincount(nodes.astype(np.int64), minlength=n_nodes)
    if nodes.size and listed.max() > 1:
        raise ValueError(f"node {int(np.argmax(listed > 1))} is listed twice in the order.")
    return nodes.astype(np.int64)
