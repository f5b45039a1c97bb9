import numpy as np
import pytest

from clgkit.dismantling import (
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
from clgkit.dismantling.targeted import descending
from clgkit.graph import Adjacency, from_pairs


def rows(n_nodes: int, pairs: list[tuple[int, int]]) -> Adjacency:
    ends = np.array(pairs, np.int64).reshape(-1, 2)
    return from_pairs(n_nodes, ends[:, 0], ends[:, 1])


PATH = rows(10, [(k, k + 1) for k in range(9)])
STAR = rows(10, [(0, k) for k in range(1, 10)])
CLIQUE = [(a, b) for a in range(5) for b in range(a)]
CLIQUES = rows(10, [*CLIQUE, *((a + 5, b + 5) for a, b in CLIQUE), (4, 5)])
JOINED = rows(11, [*CLIQUE, *((a + 6, b + 6) for a, b in CLIQUE), (4, 5), (5, 6)])


def test_a_path_falls_apart_in_the_known_order() -> None:
    degree = attack_by_degree(PATH.indptr, PATH.indices, target=0.1, adaptive=True)
    assert degree.order.tolist() == [1, 3, 5, 7, 8]
    assert degree.curve.tolist() == [10, 8, 6, 4, 2, 1]

    paths = attack_by_betweenness(PATH.indptr, PATH.indices, target=0.1, adaptive=True)
    assert paths.order.tolist() == [4, 7, 1, 2, 5, 8]
    assert paths.curve.tolist() == [10, 5, 4, 2, 2, 2, 1]


def test_a_star_falls_with_its_centre() -> None:
    for attack in (attack_by_degree, attack_by_betweenness):
        for adaptive in (True, False):
            made = attack(STAR.indptr, STAR.indices, target=0.1, adaptive=adaptive)
            assert (made.order.tolist(), made.curve.tolist()) == ([0], [10, 1])
            assert (made.removals, made.auc, made.n_nodes) == (1, 0.1, 10)


@pytest.mark.parametrize("attack", [attack_by_degree, attack_by_betweenness])
def test_two_cliques_joined_by_an_edge(attack: object) -> None:
    assert callable(attack)
    made = attack(CLIQUES.indptr, CLIQUES.indices, target=0.1, adaptive=True)
    assert made.order.tolist() == [4, 5, 0, 6, 1, 7, 2, 8]
    assert made.curve.tolist() == [10, 5, 4, 4, 3, 3, 2, 2, 1]
    half = attack(CLIQUES.indptr, CLIQUES.indices, target=0.5, adaptive=True)
    assert half.removals == 1


def test_betweenness_finds_the_bridge_that_degree_misses() -> None:
    # 5 of 11 nodes: 0.45 is rounded up to five.
    degree = attack_by_degree(JOINED.indptr, JOINED.indices, target=0.45, adaptive=True)
    paths = attack_by_betweenness(JOINED.indptr, JOINED.indices, target=0.45, adaptive=True)

    assert (degree.order.tolist(), degree.curve.tolist()) == ([4, 6], [11, 6, 4])
    assert (paths.order.tolist(), paths.curve.tolist()) == ([5], [11, 5])


def test_the_curve_of_a_partial_order_ends_with_it() -> None:
    assert lcc_curve(PATH.indptr, PATH.indices, [4, 7]).tolist() == [10, 5, 4]
    assert lcc_curve(PATH.indptr, PATH.indices, []).tolist() == [10]
    whole = lcc_curve(PATH.indptr, PATH.indices, range(10))
    assert whole.tolist() == [10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]


def test_the_target_is_rounded_up() -> None:
    assert stop_size(309, 0.10) == 31
    assert stop_size(100, 0.07) == 7  # 0.07 * 100 is 7.000000000000001
    assert stop_size(3, 0.01) == 1
    assert stop_index([10, 8, 5, 5, 1], 10, 0.45) == 2
    assert stop_index([10, 8], 10, 0.5) is None


@pytest.mark.parametrize("target", [0.0, 1.0, -0.1, float("nan")])
def test_a_target_outside_its_range_is_refused(target: float) -> None:
    with pytest.raises(ValueError, match="wanted a share of the network between 0 and 1"):
        attack_by_degree(PATH.indptr, PATH.indices, target=target, adaptive=True)


def test_three_areas_under_one_curve() -> None:
    curve = [4, 3, 2, 1, 0]

    assert auc(curve, 4) == 6 / 4
    assert auc_simpson(curve, 4) == pytest.approx(4.5 / 4)  # a straight line from 3 to 0
    assert auc_simpson([4, 3], 4) == 3 / 4
    assert auc_simpson([4], 4) == 0
    assert robustness(curve, 4) == 6 / 16
    with pytest.raises(ValueError, match="removal of all 10 nodes"):
        robustness(curve, 10)


def test_a_listed_node_waits_until_it_is_in_the_largest_component() -> None:
    # Two paths of 4 and 3: node 4 is listed first, but lies in the smaller one at first.
    made = rows(7, [(0, 1), (1, 2), (2, 3), (4, 5), (5, 6)])

    attack = attack_in_order(made.indptr, made.indices, [5, 0, 1, 2], target=0.2)
    assert attack.order.tolist() == [0, 1, 5]
    assert attack.curve.tolist() == [4, 3, 3, 2]

    plain = attack_in_order(made.indptr, made.indices, [5, 0, 1, 2], target=0.2, lcc_only=False)
    assert plain.order.tolist() == [5, 0, 1]


def test_an_order_that_ends_too_early_says_so() -> None:
    for lcc_only in (True, False):
        made = attack_in_order(PATH.indptr, PATH.indices, [9], target=0.1, lcc_only=lcc_only)
        assert (made.removals, made.auc) == (None, None)
        assert made.curve.tolist() == [10, 9]


def test_the_whole_is_all_nodes_or_the_first_largest_component() -> None:
    made = rows(40, [(k, k + 1) for k in range(9)])

    nodes = attack_by_degree(made.indptr, made.indices, target=0.25, adaptive=True)
    lcc = attack_by_degree(made.indptr, made.indices, target=0.25, adaptive=True, relative_to="lcc")

    assert (nodes.n_nodes, nodes.removals, nodes.auc) == (40, 0, 0.0)
    assert (lcc.n_nodes, lcc.removals) == (10, 4)  # 2.5 of 10 nodes are rounded up to 3
    with pytest.raises(ValueError, match="relative_to is 'all'"):
        attack_in_order(made.indptr, made.indices, [], target=0.1, relative_to="all")  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [0, 1, 10])
@pytest.mark.parametrize("attack", [attack_by_degree, attack_by_betweenness])
def test_networks_without_edges_need_no_removal(attack: object, n: int) -> None:
    empty = rows(n, [])
    assert callable(attack)

    for adaptive in (True, False):
        for lcc_only in (True, False):
            made = attack(
                empty.indptr, empty.indices, target=0.1, adaptive=adaptive, lcc_only=lcc_only
            )
            assert made.order.size == made.removals == made.auc == 0
            assert made.curve.tolist() == [min(n, 1)]
    assert lcc_curve(empty.indptr, empty.indices, range(n))[-1] == 0
    assert robustness(lcc_curve(empty.indptr, empty.indices, range(n)), n) <= 1


def test_nearly_equal_scores_are_ties() -> None:
    score = np.array([1.0, 2.0, 2.0 + 1e-12, 0.0, 0.0, 3.0])

    assert descending(score).tolist() == [5, 1, 2, 0, 3, 4]
    assert descending(np.empty(0)).tolist() == []


def test_wrong_orders_are_refused_with_the_node() -> None:
    graph = (PATH.indptr, PATH.indices)
    with pytest.raises(ValueError, match="node 10 in the order does not exist"):
        lcc_curve(*graph, [1, 10])
    with pytest.raises(ValueError, match="node 3 is listed twice"):
        attack_in_order(*graph, [3, 1, 3], target=0.1)
    with pytest.raises(TypeError, match="wanted integer node numbers"):
        lcc_curve(*graph, [0.5])
    with pytest.raises(ValueError, match="wanted a list of nodes"):
        lcc_curve(*graph, [[1, 2]])


def test_arrays_that_are_no_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="wanted N \\+ 1 that rise"):
        lcc_curve([0, 2, 1], [1], [])
    with pytest.raises(ValueError, match="indices run from 0 to 7; wanted 0 to 1"):
        lcc_curve([0, 1, 2], [7, 0], [])
    with pytest.raises(TypeError, match="indices is float64"):
        lcc_curve([0, 1, 2], [1.0, 0.0], [])
    with pytest.raises(ValueError, match="indptr has 2 dimensions"):
        lcc_curve([[0, 1]], [0], [])
