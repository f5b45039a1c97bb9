"""Eigenvector centrality that knows about disconnected graphs."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.linalg import eigsh

from clgkit.graph.components import connected_components
from clgkit.graph.csr import Float64, Int64, Rows, check_rows

DENSE = 200  # nodes up to which a dense solver is as fast


def eigenvector_centrality(
    indptr: npt.ArrayLike,
    indices: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    *,
    norm: Literal["l2", "l1"] = "l2",
    tolerance: float = 1e-10,
) -> Float64:
    """Return the leading eigenvector of the adjacency matrix.

    Parameters
    ----------
    indptr, indices
        Symmetric compressed sparse rows.
    weights : (2 M,), optional
        Non-negative weight of every entry, the same in both directions.
    norm
        ``"l2"`` for Euclidean length 1, ``"l1"`` for sum 1.
    tolerance
        Residual of the eigenvector relative to the eigenvalue.

    Returns
    -------
    (N,) float64
        Non-negative.  0 outside the leading component, so for isolated nodes too; all
        zero in a graph without edges.

    Raises
    ------
    TypeError, ValueError
        If the arrays are no compressed sparse rows, or a weight is negative or not finite.

    Notes
    -----
    The leading component is the one with the largest eigenvalue, not necessarily the
    largest one.  Of equal ones the larger leads, then the one with the lowest node.  Small
    components are solved densely, others by Lanczos from a fixed start.
    """
    if norm not in {"l2", "l1"}:
        raise ValueError(f"norm is {norm!r}; wanted 'l2' or 'l1'.")
    rows = check_rows(indptr, indices)
    matrix = _matrix(rows, weights)
    out = np.zeros(rows.n_nodes, np.float64)
    strength = np.asarray(matrix.sum(axis=1)).ravel()
    if not strength.any():
        return out
    label, size = connected_components(matrix.indptr, matrix.indices)
    # No eigenvalue exceeds the largest strength of its component.
    bound = np.zeros(size.size, np.float64)
    np.maximum.at(bound, label, strength)
    best = 0.0
    for component in np.argsort(-bound, kind="stable"):
        if bound[component] <= best * (1.0 + 1e-9):
            break
        nodes = np.flatnonzero(label == component)
        value, vector = _leading(matrix, nodes, tolerance)
        if value > best * (1.0 + 1e-9):
            best = value
            out[:] = 0.0
            out[nodes] = vector
    return out / (np.linalg.norm(out) if norm == "l2" else out.sum())


def _matrix(rows: Rows, weights: npt.ArrayLike | None) -> sparse.csr_array:
    """Return the adjacency matrix, after a look at the weights."""
    values = np.ones(rows.indices.size) if weights is None else np.asarray(weights, np.float64)
    if values.shape != rows.indices.shape:
        raise ValueError(
            f"weights have shape {values.shape}; wanted {rows.indices.shape}, one per entry."
        )
    bad = np.flatnonzero(~np.isfinite(values) | (values < 0))
    if bad.size:
        raise ValueError(
            f"weight {values[bad[0]]} at entry {bad[0]} is negative or not finite; eigenvector "
            "centrality needs non-negative weights, such as absolute correlations."
        )
    # An entry of weight 0 joins nothing: without it, components are those of the matrix.
    kept = values > 0
    starts = np.concatenate([[0], np.cumsum(kept)])[rows.indptr]
    shape = (rows.n_nodes, rows.n_nodes)
    return sparse.csr_array((values[kept], rows.indices[kept], starts), shape=shape)


def _leading(matrix: sparse.csr_array, nodes: Int64, tolerance: float) -> tuple[float, Float64]:
    """Return the largest eigenvalue of one component and its non-negative vector."""
    part = matrix if nodes.size == matrix.shape[0] else matrix[nodes][:, nodes]
    if nodes.size <= DENSE:
        values, vectors = np.linalg.eigh(part.toarray())
    else:
        start = np.ones(nodes.size)
        values, vectors = eigsh(part, k=1, which="LA", v0=start, tol=tolerance, ncv=40)
    return float(values[-1]), np.abs(vectors[:, -1])
