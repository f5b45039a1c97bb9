"""Degrees and their distribution."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from clgkit.graph.csr import Float64, Int64, check_rows

N_OCTAVES = 14


class DegreeDistribution(NamedTuple):
    """Density of the degrees in bins that double in width."""

    edges: Float64
    """(15,) 2**k - 0.5 for k = 0 to 14."""
    counts: Int64
    """(14,) nodes in each bin."""
    density: Float64
    """(14,) share of the binned nodes per unit of degree; all zero if there are none."""
    n_outside: int
    """Nodes of degree 0 or above 16,383: in no bin, and not in the density."""


def degree(indptr: npt.ArrayLike, indices: npt.ArrayLike) -> Int64:
    """Return the number of neighbours of every node.

    Parameters
    ----------
    indptr, indices
        Symmetric compressed sparse rows.

    Returns
    -------
    (N,) int64

    Raises
    ------
    TypeError, ValueError
        If the arrays are no compressed sparse rows.
    """
    return np.diff(check_rows(indptr, indices).indptr)


def degree_distribution(degrees: npt.ArrayLike) -> DegreeDistribution:
    """Return the density of the degrees in logarithmic bins.

    Parameters
    ----------
    degrees : (N,) integers
        From :func:`degree`.

    Returns
    -------
    DegreeDistribution
        The bins and the density of the published figures (step 3 of the CLG framework):
        nodes outside the bins do not count.
    """
    values = np.asarray(degrees, np.int64)
    edges = np.exp2(np.arange(N_OCTAVES + 1, dtype=np.float64)) - 0.5
    counts = np.histogram(values, edges)[0].astype(np.int64)
    n_binned = int(counts.sum())
    density = counts / (max(n_binned, 1) * np.diff(edges))
    return DegreeDistribution(edges, counts, density, values.size - n_binned)
