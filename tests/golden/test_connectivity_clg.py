"""Step 3 of the CLG framework and its scripts, on the shared golden traces."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from clgkit.connectivity import (
    Edges,
    eigenvector_of_correlation,
    percentiles,
    threshold_graph,
    unit_rows,
)

Golden = Callable[[str], Any]


def upper_pairs(edges: Edges) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    rows = np.repeat(np.arange(edges.indptr.size - 1), np.diff(edges.indptr))
    upper = rows < edges.indices
    return np.stack([rows[upper], edges.indices[upper]], axis=1), upper


@pytest.mark.parametrize("block", [50, 2048])
def test_edges_above_095_after_pca_are_the_published_ones(golden: Golden, block: int) -> None:
    wanted = golden("traces_network")

    edges = threshold_graph(unit_rows(wanted["pca95"]), threshold=0.95, block=block)

    np.testing.assert_array_equal(upper_pairs(edges)[0], wanted["edges_abs095"])
    np.testing.assert_array_equal(np.diff(edges.indptr), wanted["degree"])


def test_edges_from_08_up_and_their_weights_are_the_published_ones(golden: Golden) -> None:
    wanted = golden("traces_network")
    unit = unit_rows(wanted["dff_fs1"])

    edges = threshold_graph(unit, threshold=0.8, inclusive=True, weighted=True)

    pairs, upper = upper_pairs(edges)
    np.testing.assert_array_equal(pairs, wanted["edges_abs08"])
    assert edges.weights is not None
    # Weights are stored as float32, half a unit of which is 3e-8 below 1.
    np.testing.assert_allclose(edges.weights[upper], wanted["weights_abs08"], atol=3e-8, rtol=0)


def test_percentiles_of_the_signed_correlation_are_the_published_ones(golden: Golden) -> None:
    wanted = golden("traces_network")

    ours = percentiles(unit_rows(wanted["dff_fs1"]), [80, 85, 90, 95])

    # Both are float64; only the order of summation differs.
    np.testing.assert_allclose(ours, wanted["percentiles_80_85_90_95"], atol=1e-14, rtol=0)


def test_eigenvector_of_the_dense_matrix_is_the_published_one(golden: Golden) -> None:
    wanted = golden("traces_network")

    ours = eigenvector_of_correlation(unit_rows(wanted["pca95"]))

    assert ours.sum() == pytest.approx(1)
    # The original is float32 from a random start of ARPACK.
    np.testing.assert_allclose(ours, wanted["eigenvector_abs_corr"], rtol=1e-5)


def test_the_golden_correlation_is_the_product_of_unit_rows(golden: Golden) -> None:
    wanted = golden("traces_network")
    rows = unit_rows(wanted["pca95"]).rows

    ours = rows @ rows.copy().T
    np.fill_diagonal(ours, 0.0)

    np.testing.assert_allclose(ours, wanted["corr"], atol=1e-12)  # float64 on both sides
