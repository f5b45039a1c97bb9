"""Which pairs of cells are joined: a threshold on the correlation makes a sparse graph."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from clgkit.connectivity import kernels
from clgkit.connectivity.correlation import (
    BLOCK,
    N_BINS,
    Float32,
    Int64,
    Prepared,
    Quantity,
    UnitRows,
    blocks,
    count_pairs,
    histogram,
    is_absolute,
    order_statistics,
    prepare,
)


class Edges(NamedTuple):
    """A symmetric graph without self-loops, as compressed sparse rows."""

    indptr: Int64
    """(N + 1,) row `i` is ``indices[indptr[i]:indptr[i + 1]]``; dead rows are empty."""
    indices: npt.NDArray[np.int32]
    """(2 M,) neighbours, ascending within a row."""
    weights: Float32 | None
    """(2 M,) the thresholded quantity of each entry, if asked for."""


class _Found(NamedTuple):
    place: kernels.Place
    flat: npt.NDArray[np.int32]


def threshold_graph(
    unit: UnitRows,
    *,
    threshold: float,
    quantity: Quantity = "absolute",
    inclusive: bool = False,
    weighted: bool = False,
    max_edges: int = 100_000_000,
    block: int = BLOCK,
) -> Edges:
    """Join every pair of live rows whose correlation exceeds a threshold.

    Parameters
    ----------
    unit
        From :func:`clgkit.connectivity.unit_rows`.
    threshold
        A pair is joined when the quantity is above it.
    quantity
        ``"absolute"`` for the absolute value of r, ``"signed"`` for r.
    inclusive
        Join pairs exactly at the threshold too.
    weighted
        Return the quantity of every edge, from float64.
    max_edges
        Stop when there are more edges; each takes 8 to 16 bytes.
    block
        Rows per block; a matter of speed.

    Returns
    -------
    Edges
        N rows, dead ones isolated.  No edge at all is a legal result.

    Raises
    ------
    ValueError
        If the threshold is NaN, or there are more than `max_edges` edges; the sentence
        names their number and a threshold that would fit.

    Notes
    -----
    A float32 product within :func:`clgkit.connectivity.correlation.guard` of the threshold
    is computed again in float64 and compared with the unrounded threshold.  The graph is
    the same for every block size.
    """
    absolute = is_absolute(quantity)
    if np.isnan(threshold):
        raise ValueError("threshold is NaN; wanted a number, usually between 0 and 1.")
    rows = prepare(unit)
    scratch = np.empty(min(block, len(rows.nodes)) ** 2, np.int32)
    found: list[_Found] = []
    n_edges = 0
    for corner, product in blocks(rows.rough, block):
        n_found = kernels.find_edges(
            product, rows.exact, corner, absolute, inclusive, threshold, rows.margin, scratch
        )
        n_edges += n_found
        if n_edges > max_edges:
            raise ValueError(_too_many(rows, threshold, max_edges, absolute=absolute, block=block))
        if n_found:
            found.append(_Found((*corner, product.shape[1]), scratch[:n_found].copy()))
    return _assemble(rows, found, len(unit.live), absolute=absolute, weighted=weighted)


def _assemble(
    rows: Prepared, found: list[_Found], n_nodes: int, *, absolute: bool, weighted: bool
) -> Edges:
    """Turn the edges of all blocks into sorted symmetric rows."""
    degrees = np.zeros(n_nodes, np.int64)
    for place, flat in found:
        kernels.count_degrees(flat, place, rows.nodes, degrees)
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(degrees)])
    indices = np.empty(indptr[-1], np.int32)
    weights = np.empty(indptr[-1] if weighted else 0, np.float32)
    cursor = indptr[:-1].copy()
    for place, flat in found:
        kernels.fill_rows(flat, place, rows.nodes, rows.exact, absolute, cursor, indices, weights)
    return Edges(indptr, indices, weights if weighted else None)


def _too_many(
    rows: Prepared, threshold: float, max_edges: int, *, absolute: bool, block: int
) -> str:
    """Return the sentence that names the number of edges and a threshold that fits."""
    counts = histogram(rows, n_bins=N_BINS, absolute=absolute, block=block)
    above = np.cumsum(counts[::-1])[::-1]  # pairs in bin k and higher
    first = min(max(int((threshold + 1.0) * 0.5 * N_BINS), 0), N_BINS - 1)
    fits = np.flatnonzero(above <= max_edges)
    advice = "no threshold would fit, so raise max_edges"
    if fits.size:
        # A true value is at most one margin above its float32 shadow.
        edge = float(fits[0]) * 2.0 / N_BINS - 1.0 + rows.margin
        advice = f"a threshold of {np.ceil(edge * 1e4) / 1e4:.4f} would fit, or raise max_edges"
    return (
        f"the threshold {threshold:g} would make about {int(above[first]):,} edges, "
        f"more than max_edges = {max_edges:,}; {advice}."
    )


def density_threshold(
    unit: UnitRows, density: float, *, quantity: Quantity = "absolute", block: int = BLOCK
) -> float:
    """Return the threshold that keeps a given share of the pairs, the strongest ones.

    Use it with ``threshold_graph(..., inclusive=True)``: pairs that tie at the cut all stay,
    so the density reached can be a little higher.

    Parameters
    ----------
    unit
        From :func:`clgkit.connectivity.unit_rows`.
    density
        Share of the pairs of live rows to keep, 0 to 1; rounded to whole pairs.
    quantity
        ``"absolute"`` or ``"signed"``, as for the graph.
    block
        Rows per block; a matter of speed.

    Returns
    -------
    float
        The value of the weakest pair kept; infinity when no pair is to be kept.

    Raises
    ------
    ValueError
        If `density` is outside [0, 1].
    """
    if not 0.0 <= density <= 1.0:
        raise ValueError(f"density is {density}; wanted a share of pairs between 0 and 1.")
    n_pairs = count_pairs(unit)
    n_kept = round(density * n_pairs)
    is_absolute(quantity)
    if n_kept == 0:
        return float("inf")
    rank = np.array([n_pairs - n_kept], np.int64)
    return float(order_statistics(unit, rank, quantity=quantity, block=block)[0])
