"""Eigenvector centrality of the dense correlation matrix, which is never made."""

from __future__ import annotations

import numpy as np

from clgkit.connectivity import kernels
from clgkit.connectivity.correlation import BLOCK, Float64, UnitRows, blocks, prepare


def eigenvector_of_correlation(
    unit: UnitRows, *, tolerance: float = 1e-8, max_iterations: int = 1000, block: int = BLOCK
) -> Float64:
    """Return the leading eigenvector of the absolute correlations of all pairs of rows.

    Parameters
    ----------
    unit
        From :func:`clgkit.connectivity.unit_rows`.
    tolerance
        Iterate until the vector, of Euclidean length 1, changes by less.
    max_iterations
        Give up after as many products.
    block
        Rows per block; a matter of speed.

    Returns
    -------
    (N,) float64
        Non-negative, sum 1; 0 for dead rows.

    Raises
    ------
    ValueError
        If the vector has not settled after `max_iterations` products, of which there must
        be one.

    Notes
    -----
    Power iteration from a constant vector.  The diagonal (1) does not change the vector and
    keeps the iteration from swinging.  Blocks are float32, sums float64: compare at 1e-5.
    """
    if max_iterations < 1:
        raise ValueError(f"max_iterations is {max_iterations}; wanted at least 1.")
    rows = prepare(unit)
    out = np.zeros(len(unit.live), np.float64)
    n_live = len(rows.nodes)
    if n_live == 0:
        return out
    vector = np.full(n_live, 1.0 / np.sqrt(n_live))
    for _ in range(max_iterations):
        image = vector.copy()
        for corner, product in blocks(rows.rough, block):
            kernels.add_absolute_product(product, corner, vector, image)
        image /= np.linalg.norm(image)
        change = float(np.linalg.norm(image - vector))
        vector = image
        if change < tolerance:
            break
    else:
        raise ValueError(
            f"the eigenvector still changed by {change:.1e} after {max_iterations} products; "
            f"wanted {tolerance:g}: raise max_iterations or tolerance."
        )
    out[rows.nodes] = vector / vector.sum()
    return out
