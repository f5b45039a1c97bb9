"""A graph from a list of pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from clgkit.graph.csr import Float64, Int32, Int64


class Adjacency(NamedTuple):
    """A symmetric graph without self-loops, and what was dropped to get there."""

    indptr: Int64
    """(N + 1,) row `i` is ``indices[indptr[i]:indptr[i + 1]]``."""
    indices: Int32
    """(2 M,) neighbours, ascending within a row."""
    weights: Float64 | None
    """(2 M,) weight of each entry, if weights were given."""
    n_self_loops: int
    """Pairs of a node with itself, dropped."""
    n_duplicates: int
    """Pairs listed before, in either direction; the first one counts."""


def from_pairs(
    n_nodes: int,
    rows: npt.ArrayLike,
    columns: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
) -> Adjacency:
    """Make symmetric sorted rows of a list of pairs; drop and count loops and duplicates.

    Parameters
    ----------
    n_nodes
        Number of nodes, isolated ones included.
    rows, columns : (M,) integers
        The two ends of every pair, in any order and direction.
    weights : (M,), optional
        Weight of every pair.

    Returns
    -------
    Adjacency

    Raises
    ------
    TypeError
        If the ends are not integers.
    ValueError
        If lengths differ, or an end is no node.
    """
    first, second = np.asarray(rows), np.asarray(columns)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(
            f"rows and columns have shapes {first.shape} and {second.shape}; "
            "wanted two lists of one length."
        )
    if first.size and not {first.dtype.kind, second.dtype.kind} <= {"i", "u"}:
        raise TypeError(f"rows and columns are {first.dtype}, {second.dtype}; wanted integers.")
    ends = np.stack([first.astype(np.int64), second.astype(np.int64)])
    if ends.size and not 0 <= int(ends.min()) <= int(ends.max()) < n_nodes:
        raise ValueError(f"node {ends.min()} or {ends.max()} is outside 0 to {n_nodes - 1}.")
    values = None if weights is None else np.asarray(weights, np.float64)
    if values is not None and values.shape != first.shape:
        raise ValueError(f"weights have shape {values.shape}; wanted {first.shape}, one per pair.")

    proper = first != second
    low, high = np.sort(ends[:, proper], axis=0)
    # The smallest position wins, so the first of several equal pairs counts.
    kept, position = np.unique(low * n_nodes + high, return_index=True)
    low, high = low[position], high[position]
    order = np.argsort(np.concatenate([kept, high * n_nodes + low]), kind="stable")
    starts = np.concatenate([low, high])
    degrees = np.bincount(starts, minlength=n_nodes)
    doubled = None
    if values is not None:
        doubled = np.tile(values[proper][position], 2)[order]
    return Adjacency(
        np.concatenate([np.zeros(1, np.int64), np.cumsum(degrees, dtype=np.int64)]),
        np.concatenate([high, low])[order].astype(np.int32),
        doubled,
        int(first.size - np.count_nonzero(proper)),
        int(np.count_nonzero(proper) - kept.size),
    )
