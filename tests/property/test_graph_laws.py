"""Laws that every graph obeys, and graphs whose measures are known by formula."""

import itertools

import networkx as nx
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

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

Int64 = npt.NDArray[np.int64]
few = settings(deadline=None, max_examples=25)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[int, Int64]:
    """Draw a number of nodes and (M, 2) pairs, with loops, repetitions and isolates."""
    n = draw(st.integers(1, 25))
    end = st.integers(0, n - 1)
    listed = draw(st.lists(st.tuples(end, end), max_size=3 * n))
    return n, np.array(listed, np.int64).reshape(-1, 2)


def graph(n: int, ends: Int64) -> Adjacency:
    return from_pairs(n, ends[:, 0], ends[:, 1])


def matrix(made: Adjacency) -> npt.NDArray[np.float64]:
    n = made.indptr.size - 1
    ones = np.ones(made.indices.size)
    dense: npt.NDArray[np.float64] = sparse.csr_array(
        (ones, made.indices, made.indptr), shape=(n, n)
    ).toarray()
    return dense


@few
@given(pairs(), st.integers(0, 2**32 - 1))
def test_pairs_may_come_in_any_order_direction_and_number(
    drawn: tuple[int, Int64], seed: int
) -> None:
    n, ends = drawn
    rng = np.random.default_rng(seed)
    turned = np.where(rng.random((len(ends), 1)) < 0.5, ends, ends[:, ::-1])
    again = rng.permutation(np.concatenate([turned, ends]))

    made, other = graph(n, ends), graph(n, again)

    np.testing.assert_array_equal(other.indptr, made.indptr)
    np.testing.assert_array_equal(other.indices, made.indices)
    assert other.n_self_loops == 2 * made.n_self_loops
    assert made.n_self_loops + made.n_duplicates + made.indices.size // 2 == len(ends)
    dense = matrix(made)
    assert (dense == dense.T).all()
    assert not dense.diagonal().any()
    assert dense.max(initial=0) <= 1


@few
@given(pairs(), st.integers(0, 2**32 - 1), st.integers(0, 3))
def test_renaming_nodes_and_adding_lonely_ones_moves_every_measure(
    drawn: tuple[int, Int64], seed: int, n_lonely: int
) -> None:
    n, ends = drawn
    name = np.random.default_rng(seed).permutation(n + n_lonely)[:n]
    made, other = graph(n, ends), graph(n + n_lonely, name[ends])
    lonely = np.setdiff1d(np.arange(n + n_lonely), name)

    for measure in (degree, clustering, betweenness):
        moved = measure(other.indptr, other.indices)
        # Betweenness adds its shares in another order.
        np.testing.assert_allclose(moved[name], measure(made.indptr, made.indices), rtol=1e-12)
        assert not moved[lonely].any()
    assert transitivity(other.indptr, other.indices) == transitivity(made.indptr, made.indices)
    assert (
        connected_components(other.indptr, other.indices).size.tolist()
        == connected_components(made.indptr, made.indices).size.tolist() + [1] * n_lonely
    )


@few
@given(pairs())
def test_measures_are_those_of_the_dense_matrix(drawn: tuple[int, Int64]) -> None:
    made = graph(*drawn)
    rows, dense = (made.indptr, made.indices), matrix(made)
    k = dense.sum(axis=0)
    closed = np.diag(dense @ dense @ dense)

    np.testing.assert_array_equal(degree(*rows), k)
    np.testing.assert_allclose(clustering(*rows), closed / np.maximum(k * (k - 1), 1), rtol=1e-14)
    assert transitivity(*rows) == closed.sum() / max((k * (k - 1)).sum(), 1)
    n_found, label = sparse.csgraph.connected_components(sparse.csr_array(dense), directed=False)
    ours = connected_components(*rows)
    assert ours.size.size == n_found
    assert len(set(zip(ours.label.tolist(), label.tolist(), strict=True))) == n_found
    assert ours.size.tolist() == np.bincount(ours.label).tolist()


@few
@given(pairs())
def test_betweenness_adds_up_to_the_steps_between_all_pairs(drawn: tuple[int, Int64]) -> None:
    made = graph(*drawn)

    steps = sparse.csgraph.shortest_path(sparse.csr_array(matrix(made)), unweighted=True)

    between = np.triu(np.where(np.isfinite(steps), steps, 1) - 1, 1)  # nodes on the way
    total = betweenness(made.indptr, made.indices).sum()
    assert total == pytest.approx(between.sum(), rel=1e-12, abs=1e-12)


@few
@given(pairs(), st.sampled_from(["l2", "l1"]), st.integers(0, 2**32 - 1))
def test_the_eigenvector_belongs_to_the_largest_eigenvalue(
    drawn: tuple[int, Int64], norm: str, seed: int
) -> None:
    n, ends = drawn
    strength = np.random.default_rng(seed).choice([0.0, 0.25, 1.0, 3.0], len(ends))
    made = from_pairs(n, ends[:, 0], ends[:, 1], strength)
    assert made.weights is not None

    ours = eigenvector_centrality(made.indptr, made.indices, made.weights, norm=norm)  # type: ignore[arg-type]

    dense = np.zeros((n, n))
    dense[np.repeat(np.arange(n), np.diff(made.indptr)), made.indices] = made.weights
    largest = np.linalg.eigvalsh(dense)[-1]
    np.testing.assert_allclose(dense @ ours, largest * ours, atol=1e-12)
    assert ours.min() >= 0
    assert (np.linalg.norm(ours) if norm == "l2" else ours.sum()) == pytest.approx(
        float(dense.any())
    )
    # Nodes that only zero weights join do not share an eigenvector.
    label = sparse.csgraph.connected_components(sparse.csr_array(dense), directed=False)[1]
    assert np.unique(label[ours > 1e-12]).size == int(dense.any())


@pytest.mark.parametrize("join", [1e-3, 0.0])
@pytest.mark.parametrize("half", [2, 150])
def test_a_weight_of_zero_joins_nothing(join: float, half: int) -> None:
    steps = np.arange(2 * half - 1)
    weights = np.where(steps == half - 1, join, 1.0)
    made = from_pairs(2 * half, steps, steps + 1, weights)

    ours = eigenvector_centrality(made.indptr, made.indices, made.weights)

    assert (ours[:half] > 0).all()
    assert (ours[half:] > 0).all() == (join > 0)  # of equal halves the first one leads


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 40])
def test_cliques_stars_and_rings_have_their_formulas(n: int) -> None:
    clique = graph(n, np.array([*itertools.combinations(range(n), 2)], np.int64).reshape(-1, 2))
    star = graph(n, np.array([(0, k) for k in range(1, n)], np.int64).reshape(-1, 2))
    ring = graph(n, np.array([(k, (k + 1) % n) for k in range(n)], np.int64))

    assert degree(clique.indptr, clique.indices).tolist() == [n - 1] * n
    assert clustering(clique.indptr, clique.indices).tolist() == [float(n > 2)] * n
    assert not betweenness(clique.indptr, clique.indices).any()
    assert not clustering(star.indptr, star.indices).any()
    centre = betweenness(star.indptr, star.indices, normalized=True)[0]
    assert centre == pytest.approx(float(n > 2))
    far = eigenvector_centrality(star.indptr, star.indices)
    if n > 1:
        np.testing.assert_allclose(far, [0.5**0.5] + [(2 * (n - 1)) ** -0.5] * (n - 1), rtol=1e-9)
    steps = [min(k, n - k) for k in range(1, n)]
    np.testing.assert_allclose(
        betweenness(ring.indptr, ring.indices), sum(max(d - 1, 0) for d in steps) / 2, atol=1e-12
    )


@pytest.mark.parametrize(
    "peer",
    [
        nx.complete_bipartite_graph(4, 9),
        nx.barbell_graph(6, 3),
        nx.hypercube_graph(4),
        nx.grid_2d_graph(7, 5),
        nx.windmill_graph(5, 4),
        nx.disjoint_union(nx.cycle_graph(9), nx.complete_graph(5)),
        nx.random_labeled_tree(40, seed=3),
        nx.barabasi_albert_graph(80, 3, seed=4),
    ],
    ids=str,
)
def test_famous_graphs_are_measured_as_networkx_does(peer: nx.Graph) -> None:
    peer = nx.convert_node_labels_to_integers(peer)
    n = peer.number_of_nodes()
    made = graph(n, np.array(peer.edges, np.int64))
    rows = made.indptr, made.indices

    # Sums of float64 in another order.
    np.testing.assert_allclose(
        betweenness(*rows),
        [x for _, x in sorted(nx.betweenness_centrality(peer, normalized=False).items())],
        rtol=1e-12,
        atol=1e-12,
    )
    np.testing.assert_allclose(
        clustering(*rows), [x for _, x in sorted(nx.clustering(peer).items())], rtol=1e-14
    )
    wanted = np.abs(np.linalg.eigh(nx.to_numpy_array(peer, range(n)))[1][:, -1])
    np.testing.assert_allclose(eigenvector_centrality(*rows), wanted, atol=1e-9)


def diamonds(number: int) -> Adjacency:
    """Return a chain of squares joined at corners: 2**number paths from end to end."""
    first = 3 * np.arange(number)
    rows = np.concatenate([first, first, first + 1, first + 2])
    columns = np.concatenate([first + 1, first + 2, first + 3, first + 3])
    return from_pairs(3 * number + 1, rows, columns)


def test_very_many_shortest_paths_are_counted_as_long_as_float64_can() -> None:
    number = 900  # 1e271 paths
    made = diamonds(number)

    ours = betweenness(made.indptr, made.indices)

    cut = np.arange(1, number)
    # All paths from one side to the other, and half of those across each square beside it.
    np.testing.assert_allclose(ours[3 * cut], 9.0 * cut * (number - cut) + 1, rtol=1e-12)


def test_more_paths_than_float64_counts_are_refused() -> None:
    made = diamonds(1100)

    with pytest.raises(ValueError, match="more than 1e308 shortest paths"):
        betweenness(made.indptr, made.indices)


@pytest.mark.parametrize("dtype", ["u1", "u4", "u8", ">u2", ">i8"])
def test_rows_of_any_integer_are_read(dtype: str) -> None:
    made = graph(5, np.array([(0, 1), (1, 2), (0, 2), (3, 4)]))

    rows = made.indptr.astype(dtype), made.indices.astype(dtype)

    assert degree(*rows).tolist() == [2, 2, 2, 1, 1]
    assert clustering(*rows).tolist() == [1, 1, 1, 0, 0]


@pytest.mark.parametrize("dtype", ["u1", "u4", "u8", "i8"])
@pytest.mark.parametrize("indptr", [[0, 5, 1], [0, 1, 0], [1, 1, 1], [0, 0, 2], [0, 2, 1, 1]])
def test_rows_that_fall_are_refused_also_as_unsigned_numbers(dtype: str, indptr: list[int]) -> None:
    # The difference of unsigned numbers is never negative: these were read beyond their end.
    for measure in (degree, clustering, betweenness, connected_components):
        with pytest.raises(ValueError, match="indptr must rise"):
            measure(np.array(indptr, dtype), np.zeros(1, dtype))


def test_ends_may_be_of_two_integer_kinds_but_not_real() -> None:
    made = from_pairs(4, np.array([0, 1], np.uint64), np.array([1, 2], np.int8))

    assert made.indices.tolist() == [1, 0, 2, 1]
    for rows in ([0.0], [True], ["a"]):
        with pytest.raises(TypeError, match="wanted integers"):
            from_pairs(4, np.array(rows), np.array([1]))
    with pytest.raises(ValueError, match="outside 0 to 3"):
        from_pairs(4, np.array([2**63], np.uint64), np.array([1]))


def test_one_way_rows_are_safe_even_if_wrong() -> None:
    # The upper triangle alone: symmetry is a promise, but breaking it must not break memory.
    upper = sparse.csr_array(np.triu(np.ones((30, 30)), 1))

    assert clustering(upper.indptr, upper.indices).shape == (30,)


@few
@given(st.lists(st.integers(0, 20_000), max_size=50))
def test_degrees_are_binned_one_by_one(degrees: list[int]) -> None:
    edges, counts, density, n_outside = degree_distribution(degrees)

    binned = [d for d in degrees if 1 <= d <= 16_383]
    assert counts.tolist() == [sum(2**k <= d < 2 ** (k + 1) for d in binned) for k in range(14)]
    assert n_outside == len(degrees) - len(binned)
    assert (density * np.diff(edges)).sum() == pytest.approx(float(bool(binned)))
