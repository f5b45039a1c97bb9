import numpy as np
import numpy.typing as npt
import pytest

from clgkit.graph import (
    Adjacency,
    betweenness,
    clustering,
    connected_components,
    degree,
    degree_distribution,
    eigenvector_centrality,
    from_pairs,
    transitivity,
)


def graph(n_nodes: int, pairs: list[tuple[int, int]]) -> Adjacency:
    ends = np.array(pairs, np.int64).reshape(-1, 2)
    return from_pairs(n_nodes, ends[:, 0], ends[:, 1])


@pytest.fixture
def toy() -> Adjacency:
    """A triangle with two pendant nodes, a pair, and an isolated node."""
    return graph(8, [(0, 1), (1, 2), (2, 3), (1, 4), (2, 4), (5, 6)])


NOTHING = [graph(0, []), graph(1, []), graph(5, [])]


def test_pairs_become_sorted_symmetric_rows_and_losses_are_counted() -> None:
    made = from_pairs(4, [2, 0, 2, 1, 3], [0, 2, 1, 1, 2], [5.0, 6.0, 7.0, 8.0, 9.0])

    assert made.indptr.tolist() == [0, 1, 2, 5, 6]
    assert made.indices.tolist() == [2, 2, 0, 1, 3, 2]
    assert made.weights is not None
    assert made.weights.tolist() == [5.0, 7.0, 5.0, 7.0, 9.0, 9.0]  # the first of equals counts
    assert (made.n_self_loops, made.n_duplicates) == (1, 1)


def test_pairs_of_no_node_are_refused() -> None:
    with pytest.raises(ValueError, match="outside 0 to 2"):
        from_pairs(3, [0], [3])
    with pytest.raises(ValueError, match="two lists of one length"):
        from_pairs(3, [0, 1], [1])
    with pytest.raises(ValueError, match="one per pair"):
        from_pairs(3, [0], [1], [1.0, 2.0])
    with pytest.raises(TypeError, match="wanted integers"):
        from_pairs(3, [0.5], [1.0])


def test_components_are_ordered_by_size_then_lowest_node(toy: Adjacency) -> None:
    label, size = connected_components(toy.indptr, toy.indices)
    assert label.tolist() == [0, 0, 0, 0, 0, 1, 1, 2]
    assert size.tolist() == [5, 2, 1]

    tied = graph(7, [(1, 6), (2, 4), (4, 5)])
    assert connected_components(tied.indptr, tied.indices).label.tolist() == [2, 1, 0, 3, 0, 0, 1]


def test_degrees_are_counted(toy: Adjacency) -> None:
    assert degree(toy.indptr, toy.indices).tolist() == [1, 3, 3, 1, 2, 1, 1, 0]


def test_the_degree_density_leaves_out_what_the_figures_leave_out() -> None:
    edges, counts, density, n_outside = degree_distribution([0, 1, 1, 2, 3, 4, 16383, 16384])

    assert edges[[0, 1, -1]].tolist() == [0.5, 1.5, 16383.5]
    assert counts[[0, 1, 2, 13]].tolist() == [2, 2, 1, 1]
    assert n_outside == 2
    assert (density * np.diff(edges)).sum() == pytest.approx(1)
    assert density[1] == pytest.approx(2 / 6 / 2)  # two of six nodes in a bin of width 2
    assert not degree_distribution([0, 0]).density.any()


def test_triangles_of_the_toy_graph(toy: Adjacency) -> None:
    np.testing.assert_allclose(
        clustering(toy.indptr, toy.indices), [0, 1 / 3, 1 / 3, 0, 1, 0, 0, 0], rtol=1e-15
    )
    assert transitivity(toy.indptr, toy.indices) == pytest.approx(3 / 7)


def test_betweenness_of_the_toy_graph(toy: Adjacency) -> None:
    raw = betweenness(toy.indptr, toy.indices)
    assert raw.tolist() == [0, 3, 3, 0, 0, 0, 0, 0]

    normalized = betweenness(toy.indptr, toy.indices, normalized=True)
    np.testing.assert_allclose(normalized, raw * 2 / (7 * 6))


def test_betweenness_of_a_path_and_a_star() -> None:
    path = graph(10, [(k, k + 1) for k in range(9)])
    star = graph(10, [(0, k) for k in range(1, 10)])

    wanted = [0, 8, 14, 18, 20, 20, 18, 14, 8, 0]
    assert betweenness(path.indptr, path.indices).tolist() == wanted
    assert betweenness(star.indptr, star.indices).tolist() == [36] + [0] * 9


def test_the_eigenvector_lives_in_the_leading_component(toy: Adjacency) -> None:
    ours = eigenvector_centrality(toy.indptr, toy.indices)

    assert ours[5:].tolist() == [0, 0, 0]
    assert np.linalg.norm(ours) == pytest.approx(1)
    assert eigenvector_centrality(toy.indptr, toy.indices, norm="l1").sum() == pytest.approx(1)
    assert (ours[:5] > 0).all()


def test_the_leading_component_need_not_be_the_largest() -> None:
    clique = [(a, b) for a in range(4) for b in range(a)]
    long = graph(12, clique + [(k, k + 1) for k in range(4, 11)])

    np.testing.assert_allclose(
        eigenvector_centrality(long.indptr, long.indices), [0.5] * 4 + [0] * 8, atol=1e-12
    )


def test_of_equal_components_the_one_with_the_lowest_node_leads() -> None:
    pairs = graph(6, [(4, 5), (1, 2), (0, 3)])

    ours = eigenvector_centrality(pairs.indptr, pairs.indices, norm="l1")

    np.testing.assert_allclose(ours, [0.5, 0, 0, 0.5, 0, 0], atol=1e-15)


def test_weights_decide_which_component_leads() -> None:
    made = from_pairs(4, [0, 2], [1, 3], [1.0, 2.0])

    ours = eigenvector_centrality(made.indptr, made.indices, made.weights, norm="l1")

    np.testing.assert_allclose(ours, [0, 0, 0.5, 0.5], atol=1e-15)


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_a_weight_that_is_none_is_refused(toy: Adjacency, value: float) -> None:
    weights = np.ones(12)
    weights[3] = value

    with pytest.raises(ValueError, match="entry 3 is negative or not finite"):
        eigenvector_centrality(toy.indptr, toy.indices, weights)


def test_options_of_the_eigenvector_are_checked(toy: Adjacency) -> None:
    with pytest.raises(ValueError, match="norm is 'max'"):
        eigenvector_centrality(toy.indptr, toy.indices, norm="max")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one per entry"):
        eigenvector_centrality(toy.indptr, toy.indices, [1.0])


def test_a_long_path_and_a_large_ring_have_an_eigenvector() -> None:
    n = 1000
    path = graph(n, [(k, k + 1) for k in range(n - 1)])
    ring = graph(n, [(k, (k + 1) % n) for k in range(n)])

    ours = eigenvector_centrality(path.indptr, path.indices)

    wanted = np.sin(np.pi * np.arange(1, n + 1) / (n + 1)) * np.sqrt(2 / (n + 1))
    # A residual of 1e-10 over the gap of 3e-5 between the first two eigenvalues.
    np.testing.assert_allclose(ours, wanted, atol=1e-5)
    np.testing.assert_allclose(
        eigenvector_centrality(ring.indptr, ring.indices, norm="l1"), 1 / n, rtol=1e-6
    )


@pytest.mark.parametrize("made", NOTHING, ids=["no nodes", "one node", "no edges"])
def test_graphs_without_edges_are_legal(made: Adjacency) -> None:
    rows, n = (made.indptr, made.indices), made.indptr.size - 1
    zeros: npt.NDArray[np.float64] = np.zeros(n)

    for measured in (
        clustering(*rows),
        betweenness(*rows),
        betweenness(*rows, normalized=True),
        eigenvector_centrality(*rows),
        eigenvector_centrality(*rows, norm="l1"),
        degree(*rows),
    ):
        np.testing.assert_array_equal(measured, zeros)
    assert transitivity(*rows) == 0
    label, size = connected_components(*rows)
    assert label.tolist() == list(range(n))
    assert size.tolist() == [1] * n
    assert degree_distribution(degree(*rows)).n_outside == n


def test_arrays_that_are_no_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="indptr must rise"):
        clustering([0, 2, 1], [1])
    with pytest.raises(ValueError, match="indptr must rise"):
        clustering([], [])
    with pytest.raises(ValueError, match="indices run from 0 to 7; wanted 0 to 1"):
        betweenness([0, 1, 2], [7, 0])
    with pytest.raises(TypeError, match="indices is float64"):
        degree([0, 1, 2], [1.0, 0.0])
    with pytest.raises(ValueError, match="wanted one dimension"):
        connected_components([[0, 1]], [0])
