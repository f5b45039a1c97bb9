import re

import numpy as np
import numpy.typing as npt
import pytest

from clgkit.connectivity import (
    Edges,
    UnitRows,
    density_threshold,
    eigenvector_of_correlation,
    threshold_graph,
    unit_rows,
)


@pytest.fixture
def unit() -> UnitRows:
    rng = np.random.default_rng(1)
    traces = rng.normal(size=(60, 30)) + rng.normal(size=(60, 1)) * rng.normal(size=30)
    traces[[4, 59]] = 7.0
    return unit_rows(traces)


@pytest.fixture
def signs() -> UnitRows:
    """Rows of 16 signs: every correlation is a multiple of 1/8, exact in float32."""
    rng = np.random.default_rng(2)
    half = rng.permuted(np.tile([1.0] * 8 + [-1.0] * 8, (40, 1)), axis=1)
    return unit_rows(half)


def dense(edges: Edges) -> npt.NDArray[np.bool_]:
    n = edges.indptr.size - 1
    matrix = np.zeros((n, n), np.bool_)
    matrix[np.repeat(np.arange(n), np.diff(edges.indptr)), edges.indices] = True
    return matrix


def exact(unit: UnitRows) -> npt.NDArray[np.float64]:
    matrix = unit.rows @ unit.rows.copy().T
    np.fill_diagonal(matrix, 0.0)
    return np.asarray(matrix, np.float64)


def test_the_graph_holds_the_pairs_above_the_threshold(unit: UnitRows) -> None:
    both = threshold_graph(unit, threshold=0.4)
    positive = threshold_graph(unit, threshold=0.4, quantity="signed")

    np.testing.assert_array_equal(dense(both), np.abs(exact(unit)) > 0.4)
    np.testing.assert_array_equal(dense(positive), exact(unit) > 0.4)
    assert both.weights is None
    assert (both.indptr.dtype, both.indices.dtype) == (np.int64, np.int32)


def test_dead_rows_are_isolated_nodes(unit: UnitRows) -> None:
    edges = threshold_graph(unit, threshold=-1.0)

    degrees = np.diff(edges.indptr)
    assert degrees[[4, 59]].tolist() == [0, 0]
    assert set(degrees[unit.live]) == {57}


@pytest.mark.parametrize("block", [1, 7, 64, 4096])
def test_neighbours_are_sorted_and_the_same_for_every_block_size(
    unit: UnitRows, block: int
) -> None:
    ours = threshold_graph(unit, threshold=0.3, weighted=True, block=block)
    whole = threshold_graph(unit, threshold=0.3, weighted=True)

    for one, other in zip(ours, whole, strict=True):
        np.testing.assert_array_equal(one, other)
    for start, stop in zip(ours.indptr[:-1], ours.indptr[1:], strict=True):
        assert (np.diff(ours.indices[start:stop]) > 0).all()


@pytest.mark.parametrize("threshold", [0.25, 0.5, -0.25])
def test_a_pair_at_the_threshold_is_kept_only_when_inclusive(
    signs: UnitRows, threshold: float
) -> None:
    matrix = exact(signs)
    assert (matrix == threshold).any()

    strict = threshold_graph(signs, threshold=threshold, quantity="signed")
    inclusive = threshold_graph(signs, threshold=threshold, quantity="signed", inclusive=True)

    off = ~np.eye(40, dtype=np.bool_)
    np.testing.assert_array_equal(dense(strict), (matrix > threshold) & off)
    np.testing.assert_array_equal(dense(inclusive), (matrix >= threshold) & off)


def test_weights_are_the_quantity(unit: UnitRows) -> None:
    for quantity in ("absolute", "signed"):
        edges = threshold_graph(unit, threshold=-0.2, quantity=quantity, weighted=True)  # type: ignore[arg-type]
        rows = np.repeat(np.arange(60), np.diff(edges.indptr))
        values = exact(unit)[rows, edges.indices]
        wanted = np.abs(values) if quantity == "absolute" else values
        assert edges.weights is not None
        assert edges.weights.dtype == np.float32
        # Half a unit of float32 below 1.
        np.testing.assert_allclose(edges.weights, wanted, atol=3e-8, rtol=0)


def test_no_edges_and_no_rows_are_legal(unit: UnitRows) -> None:
    assert threshold_graph(unit, threshold=1.5).indices.size == 0
    assert threshold_graph(unit, threshold=float("inf")).indptr.size == 61
    nothing = threshold_graph(unit_rows(np.empty((0, 5))), threshold=0.5)
    assert nothing.indptr.tolist() == [0]
    dead = threshold_graph(unit_rows(np.ones((3, 5))), threshold=0.5)
    assert dead.indptr.tolist() == [0, 0, 0, 0]


def test_too_many_edges_are_refused_with_a_threshold_that_fits(unit: UnitRows) -> None:
    with pytest.raises(ValueError, match=r"about [\d,]+ edges.*max_edges = 100;") as caught:
        threshold_graph(unit, threshold=0.1, max_edges=100)

    found = re.search(r"threshold of (\S+) would fit", str(caught.value))
    assert found is not None
    edges = threshold_graph(unit, threshold=float(found[1]), max_edges=100)
    assert 150 < edges.indices.size <= 200  # not far below the budget


def test_equal_rows_above_the_budget_fit_nowhere() -> None:
    unit = unit_rows(np.tile([1.0, 2.0, 4.0], (9, 1)))

    with pytest.raises(ValueError, match="no threshold would fit"):
        threshold_graph(unit, threshold=0.5, max_edges=3)


def test_the_density_threshold_keeps_the_strongest_pairs(unit: UnitRows) -> None:
    n_pairs = 58 * 57 // 2
    for quantity in ("absolute", "signed"):
        for density in (1 / n_pairs, 0.05, 0.5, 1.0):
            threshold = density_threshold(unit, density, quantity=quantity)  # type: ignore[arg-type]
            edges = threshold_graph(
                unit,
                threshold=threshold,
                quantity=quantity,  # type: ignore[arg-type]
                inclusive=True,
            )
            assert edges.indices.size // 2 == round(density * n_pairs)


def test_ties_at_the_density_cut_all_stay(signs: UnitRows) -> None:
    threshold = density_threshold(signs, 0.3)
    edges = threshold_graph(signs, threshold=threshold, inclusive=True)

    values = np.abs(exact(signs)[np.triu_indices(40, 1)])
    assert edges.indices.size // 2 == (values >= threshold).sum() > round(0.3 * values.size)


def test_a_density_of_zero_keeps_nothing(unit: UnitRows) -> None:
    assert density_threshold(unit, 0.0) == float("inf")
    for density in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="between 0 and 1"):
            density_threshold(unit, density)


def test_a_nan_threshold_is_refused(unit: UnitRows) -> None:
    with pytest.raises(ValueError, match="threshold is NaN"):
        threshold_graph(unit, threshold=float("nan"))


def test_the_dense_eigenvector_is_that_of_the_live_rows(unit: UnitRows) -> None:
    ours = eigenvector_of_correlation(unit, block=16)

    vector = np.abs(np.linalg.eigh(np.abs(exact(unit)))[1][:, -1])
    # Blocks are float32.
    np.testing.assert_allclose(ours, vector / vector.sum(), rtol=1e-5, atol=1e-12)
    assert ours[[4, 59]].tolist() == [0, 0]


def test_the_dense_eigenvector_of_dead_rows_is_zero() -> None:
    assert eigenvector_of_correlation(unit_rows(np.ones((3, 4)))).tolist() == [0, 0, 0]


def test_an_eigenvector_that_does_not_settle_is_an_error(unit: UnitRows) -> None:
    with pytest.raises(ValueError, match="after 2 products"):
        eigenvector_of_correlation(unit, max_iterations=2)
