"""Attacks on awkward graphs: ties everywhere, many components, rows that are none."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from clgkit.dismantling import (
    Attack,
    attack_by_betweenness,
    attack_by_degree,
    attack_in_order,
    auc,
    auc_simpson,
    lcc_curve,
    robustness,
    stop_index,
    stop_size,
)
from clgkit.graph import betweenness, connected_components, from_pairs

Rows = tuple[np.ndarray, np.ndarray]  # type: ignore[type-arg]
few = settings(deadline=None, max_examples=25)
SEEDS = st.integers(0, 2**32 - 1)
ATTACKS = [attack_by_degree, attack_by_betweenness]


def rows_of(peer: nx.Graph) -> Rows:
    ends = np.array(peer.edges, np.int64).reshape(-1, 2)
    made = from_pairs(peer.number_of_nodes(), ends[:, 0], ends[:, 1])
    return made.indptr, made.indices


def awkward(seed: int) -> nx.Graph:
    """Return one of nine kinds of graph full of ties, under shuffled names."""
    rng = np.random.default_rng(seed)
    a = int(rng.integers(2, 7))
    kinds = (
        lambda: nx.disjoint_union_all([nx.star_graph(a)] * 5),
        lambda: nx.disjoint_union_all([nx.cycle_graph(a + 1)] * 6),
        lambda: nx.disjoint_union_all([nx.complete_graph(a)] * 6),
        lambda: nx.complete_bipartite_graph(a, a + 3),
        lambda: nx.barbell_graph(a + 1, a),
        lambda: nx.random_labeled_tree(25, seed=seed),
        lambda: nx.convert_node_labels_to_integers(nx.grid_2d_graph(a, a + 1)),
        lambda: nx.random_regular_graph(3, 20, seed=seed),
        lambda: nx.windmill_graph(5, a),
    )
    peer = kinds[seed % len(kinds)]()
    names = rng.permutation(peer.number_of_nodes()).tolist()
    peer = nx.relabel_nodes(peer, dict(enumerate(names)))
    ends = rng.integers(0, len(names), (rng.integers(0, 4), 2))
    peer.add_edges_from((u, v) for u, v in ends.tolist() if u != v)
    return peer


def lcc(peer: nx.Graph) -> set[int]:
    return min(nx.connected_components(peer), key=lambda c: (-len(c), min(c)), default=set())


def check_by_hand(attack: Attack, peer: nx.Graph, stop: int, score: object, lcc_only: bool) -> None:  # noqa: FBT001  (a helper)
    """Follow an attack step by step, on networkx's graph."""
    assert callable(score)
    left = peer.copy()
    for node, size in zip(attack.order.tolist(), attack.curve.tolist(), strict=False):
        core = lcc(left)
        assert len(core) == size > stop
        values = score(left.subgraph(core) if lcc_only else left)
        # Sums of path shares differ in their last digits: the lowest of near ties wins.
        top = max(values.values())
        assert node == min(v for v, value in values.items() if value >= top * (1 - 1e-9))
        left.remove_node(node)
    assert len(lcc(left)) == attack.curve[-1] <= stop


@settings(deadline=None, max_examples=60)
@given(SEEDS, st.sampled_from([0.02, 0.1, 0.3]), st.sampled_from(["nodes", "lcc"]), st.booleans())
def test_every_step_of_an_attack_is_the_right_one(
    seed: int,
    target: float,
    relative_to: str,
    lcc_only: bool,  # noqa: FBT001  (hypothesis passes by name)
) -> None:
    peer = awkward(seed)
    whole = peer.number_of_nodes() if relative_to == "nodes" else len(lcc(peer))
    options = {"target": target, "adaptive": True, "lcc_only": lcc_only, "relative_to": relative_to}

    by_degree = attack_by_degree(*rows_of(peer), **options)  # type: ignore[arg-type]
    by_paths = attack_by_betweenness(*rows_of(peer), **options)  # type: ignore[arg-type]

    stop = stop_size(whole, target)
    check_by_hand(by_degree, peer, stop, lambda g: dict(g.degree), lcc_only)
    check_by_hand(
        by_paths, peer, stop, lambda g: nx.betweenness_centrality(g, normalized=False), lcc_only
    )


@few
@given(SEEDS, st.integers(1, 40))
def test_a_listed_attack_takes_the_first_node_of_the_largest_component(seed: int, n: int) -> None:
    peer = awkward(seed)
    order = np.random.default_rng(seed).permutation(peer.number_of_nodes())[:n]

    attack = attack_in_order(*rows_of(peer), order, target=0.05)

    left = peer.copy()
    for node, size in zip(attack.order.tolist(), attack.curve.tolist(), strict=False):
        core = lcc(left)
        assert len(core) == size
        assert node == next(v for v in order.tolist() if v in core)
        left.remove_node(node)
    assert len(lcc(left)) == attack.curve[-1]
    if attack.removals is None:  # then nothing of the list lies in it any more
        assert not lcc(left) & set(order.tolist())


@few
@given(SEEDS, st.integers(0, 4))
def test_a_curve_is_labelled_anew_after_every_removal(seed: int, n_lonely: int) -> None:
    peer = awkward(seed)
    peer.add_nodes_from(range(peer.number_of_nodes(), peer.number_of_nodes() + n_lonely))
    order = np.random.default_rng(seed).permutation(peer.number_of_nodes())

    curve = lcc_curve(*rows_of(peer), order)

    sizes = [len(lcc(peer.subgraph(order[k:].tolist()))) for k in range(order.size + 1)]
    assert curve.tolist() == sizes


@few
@given(SEEDS, st.sampled_from([0.05, 0.2]))
def test_lonely_nodes_change_only_the_whole(seed: int, target: float) -> None:
    peer = awkward(seed)
    more = peer.copy()
    more.add_nodes_from(range(len(peer), len(peer) + 7))

    for attack in ATTACKS:
        options = {"target": target, "adaptive": True, "relative_to": "lcc"}
        made = attack(*rows_of(peer), **options)
        same = attack(*rows_of(more), **options)
        assert same.order.tolist() == made.order.tolist()
        assert same.curve.tolist() == made.curve.tolist()
        assert same[2:] == made[2:]


@few
@given(SEEDS, st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_a_lower_target_goes_on_where_the_higher_one_stopped(
    seed: int, first: float, second: float
) -> None:
    rows = rows_of(awkward(seed))
    low, high = sorted((first, second))

    for attack in ATTACKS:
        far, near = (attack(*rows, target=t, adaptive=True) for t in (low, high))
        assert far.order[: near.order.size].tolist() == near.order.tolist()
        assert far.curve[: near.curve.size].tolist() == near.curve.tolist()


@few
@given(SEEDS)
def test_rows_need_not_be_sorted(seed: int) -> None:
    indptr, indices = rows_of(awkward(seed))
    rng = np.random.default_rng(seed)
    parts = np.split(indices, indptr[1:-1])
    shuffled = np.concatenate([rng.permutation(part) for part in parts])

    for attack in ATTACKS:
        sorted_rows = attack(indptr, indices, target=0.1, adaptive=True)
        assert attack(indptr, shuffled, target=0.1, adaptive=True).order.tolist() == (
            sorted_rows.order.tolist()
        )


def test_two_dense_halves_of_a_bridge_are_followed_across_it() -> None:
    # The cheap order ends where a piece holds busier nodes than the largest component.
    rng = np.random.default_rng(3)
    peer = nx.disjoint_union(nx.gnp_random_graph(60, 0.3, seed=1), nx.complete_graph(40))
    peer.add_edge(int(rng.integers(60)), 99)
    peer.add_edges_from((100 + k, 101 + k) for k in range(50))
    peer.add_edge(0, 100)

    attack = attack_by_degree(*rows_of(peer), target=0.01, adaptive=True)

    check_by_hand(attack, peer, stop_size(len(peer), 0.01), lambda g: dict(g.degree), lcc_only=True)


def test_static_scores_are_those_of_the_intact_graph() -> None:
    peer = nx.barabasi_albert_graph(150, 2, seed=5)
    rows = rows_of(peer)

    by_degree = attack_by_degree(*rows, target=0.05, adaptive=False, lcc_only=False)
    by_paths = attack_by_betweenness(*rows, target=0.05, adaptive=False, lcc_only=False)

    ranked = np.argsort(-np.diff(rows[0]), kind="stable")
    assert by_degree.order.tolist() == ranked[: by_degree.removals].tolist()
    load = betweenness(*rows).round(6)
    ranked = np.argsort(-load, kind="stable")
    assert by_paths.order.tolist() == ranked[: by_paths.removals].tolist()


ROWS = {
    "one way": ([0, 1, 1], [1]),
    "upper triangle": ([0, 2, 3, 3], [1, 2, 2]),
    "lower triangle": ([0, 0, 1, 3], [0, 0, 1]),
    "twice": ([0, 2, 4], [1, 1, 0, 0]),
    "twice in one direction": ([0, 2, 3], [1, 1, 0]),
    "a self-loop": ([0, 2, 3], [0, 1, 0]),
    "a ring one way round": ([0, 1, 2, 3], [1, 2, 0]),
}


ANY_ATTACK = {
    "adaptive degree": lambda *rows: attack_by_degree(*rows, target=0.1, adaptive=True),
    "static degree": lambda *rows: attack_by_degree(*rows, target=0.1, adaptive=False),
    "betweenness": lambda *rows: attack_by_betweenness(*rows, target=0.1, adaptive=True),
    "a list": lambda *rows: attack_in_order(*rows, [0], target=0.1),
}


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("attack", ANY_ATTACK)
def test_rows_that_are_no_simple_graph_are_refused(name: str, attack: str) -> None:
    # Following components on them wrote outside of the arrays.
    with pytest.raises(ValueError, match="listed once in either direction"):
        ANY_ATTACK[attack](*ROWS[name])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=20))
def test_only_simple_graphs_are_taken_apart(entries: list[tuple[int, int]]) -> None:
    ends = np.array(sorted(entries), np.int64).reshape(-1, 2)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(ends[:, 0], minlength=8))])
    simple = len(set(entries)) == len(entries) and all(
        u != v and (v, u) in entries for u, v in entries
    )

    if simple:
        assert attack_by_degree(indptr, ends[:, 1], target=0.5, adaptive=True).removals is not None
    else:
        with pytest.raises(ValueError, match="listed once in either direction"):
            attack_by_degree(indptr, ends[:, 1], target=0.5, adaptive=True)


@pytest.mark.parametrize("dtype", ["u1", "u8", "i8"])
@pytest.mark.parametrize("indptr", [[0, 5, 1], [0, 1, 0], [1, 1, 1], [0, 2, 1, 1]])
def test_rows_that_fall_are_refused_also_as_unsigned_numbers(dtype: str, indptr: list[int]) -> None:
    # The difference of unsigned numbers is never negative: this ended the process.
    with pytest.raises(ValueError, match="that rise from 0"):
        lcc_curve(np.array(indptr, dtype), np.zeros(1, dtype), [])
    with pytest.raises(ValueError, match="that rise from 0"):
        attack_by_degree(np.array(indptr, dtype), [0], target=0.1, adaptive=True)


@pytest.mark.parametrize("adaptive", [True, False])
def test_more_paths_than_float64_counts_are_refused(adaptive: bool) -> None:  # noqa: FBT001  (pytest passes by name)
    first = 3 * np.arange(1100)  # a chain of squares: 2**1100 paths from end to end
    made = from_pairs(
        3301,
        np.concatenate([first, first, first + 1, first + 2]),
        np.concatenate([first + 1, first + 2, first + 3, first + 3]),
    )

    with pytest.raises(ValueError, match="more than 1e308 shortest paths"):
        attack_by_betweenness(made.indptr, made.indices, target=0.5, adaptive=adaptive)


def test_a_large_sparse_graph_has_the_components_of_scipy() -> None:
    rng = np.random.default_rng(8)
    n = 40_000
    made = from_pairs(n, rng.integers(0, n, 60_000), rng.integers(0, n, 60_000))
    order = rng.permutation(n)

    curve = lcc_curve(made.indptr, made.indices, order)

    ones = np.ones(made.indices.size, np.int8)
    peer = sparse.csr_array((ones, made.indices, made.indptr), shape=(n, n))
    for k in (0, 5_000, 10_000, 20_000, 39_999):
        part = peer[order[k:]][:, order[k:]]
        label = sparse.csgraph.connected_components(part, directed=False)[1]
        assert curve[k] == np.bincount(label).max()
    assert connected_components(made.indptr, made.indices).size[0] == curve[0]


@few
@given(st.lists(st.integers(0, 1000), min_size=1, max_size=30), st.integers(1, 1000))
def test_areas_are_sums_of_what_is_left(sizes: list[int], n_nodes: int) -> None:
    curve = np.sort(sizes)[::-1]

    assert auc(curve, n_nodes) == pytest.approx(sum(curve[1:].tolist()) / n_nodes)
    # A curve of shares is added up as well as one of nodes.
    assert auc(curve / n_nodes, 1) == pytest.approx(auc(curve, n_nodes))
    if curve.size > 2:
        half = (curve[1] + curve[-1]) / 2 / n_nodes
        assert abs(auc_simpson(curve, n_nodes) - auc(curve, n_nodes) + half) <= half + 1e-9
    whole = np.arange(n_nodes, -1, -1)
    assert robustness(whole, n_nodes) == pytest.approx((n_nodes - 1) / (2 * n_nodes))


@few
@given(st.integers(1, 10**6), st.integers(1, 999))
def test_a_target_in_thousandths_is_rounded_up_to_whole_nodes(
    n_nodes: int, thousandths: int
) -> None:
    stop = stop_size(n_nodes, thousandths / 1000)

    assert stop == -(-thousandths * n_nodes // 1000)  # in integers
    curve = (
        np.arange(n_nodes, -1, -(-n_nodes // -50)) if n_nodes > 50 else np.arange(n_nodes, -1, -1)
    )
    found = stop_index(curve, n_nodes, thousandths / 1000)
    assert found is None or (curve[found] <= stop and (curve[:found] > stop).all())
