"""The loops under the attacks: components after every removal, and the cheap order."""

import networkx as nx
import numpy as np
import numpy.typing as npt
import pytest

from clgkit.dismantling import attack_by_degree, attack_in_order, engine, lcc_curve, stop_size
from clgkit.dismantling.adjacency import check_graph
from clgkit.graph import from_pairs

Rows = tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]


def modular(n_modules: int, n_each: int, seed: int) -> Rows:
    """Return dense modules of log-normal activity, with few edges between them."""
    rng = np.random.default_rng(seed)
    n = n_modules * n_each
    activity = rng.lognormal(size=n)
    first, second = rng.choice(n, (2, 8 * n), p=activity / activity.sum())
    inside = rng.random(first.size) < 0.9
    second[inside] = first[inside] // n_each * n_each + rng.integers(0, n_each, inside.sum())
    made = from_pairs(n, first, second)
    return made.indptr, made.indices


def followed(rows: Rows, stop: int) -> tuple[list[int], list[int]]:
    """Return order and curve by following components from the first removal on."""
    order, curve = engine.attack_degree(engine.start_state(*rows), stop)
    return order.tolist(), curve.tolist()


@pytest.mark.parametrize(("n_modules", "n_each"), [(1, 300), (2, 150), (6, 50), (40, 8)])
@pytest.mark.parametrize("target", [0.01, 0.1])
def test_the_cheap_order_and_followed_components_agree(
    n_modules: int, n_each: int, target: float
) -> None:
    rows = modular(n_modules, n_each, seed=n_modules)

    attack = attack_by_degree(*rows, target=target, adaptive=True)

    stop = stop_size(n_modules * n_each, target)
    assert (attack.order.tolist(), attack.curve.tolist()) == followed(rows, stop)


def test_a_graph_may_be_followed_from_any_removal_on() -> None:
    rows = modular(5, 30, seed=9)
    order, curve = followed(rows, 3)

    for k in (1, 10, len(order) - 1):
        state = engine.start_state(*rows, np.array(order[:k]))
        rest, rest_curve = engine.attack_degree(state, 3)
        assert rest.tolist() == order[k:]
        assert rest_curve.tolist() == curve[k:]


@pytest.mark.parametrize("seed", range(6))
def test_labels_sizes_and_lowest_nodes_are_right_after_every_removal(seed: int) -> None:
    rng = np.random.default_rng(seed)
    peer = nx.gnm_random_graph(40, int(rng.integers(20, 120)), seed=seed)
    ends = np.array(peer.edges)
    made = from_pairs(40, ends[:, 0], ends[:, 1])
    state = engine.start_state(made.indptr, made.indices)

    for node in rng.permutation(40).tolist():
        engine.remove(state, node)
        peer.remove_node(node)

        groups = sorted(nx.connected_components(peer), key=lambda c: (-len(c), min(c)))
        assert state.label[node] == -1
        for group in groups:
            (label,) = set(state.label[list(group)].tolist())
            assert state.size[label] == len(group)
            assert state.lowest[label] <= min(group)
        assert len({state.label[min(group)] for group in groups}) == len(groups)
        largest = engine.largest(state)
        assert largest == (state.label[min(groups[0])] if groups else -1)


@pytest.mark.parametrize(
    ("pairs", "order", "n_inside"),
    [
        ([(0, 1), (1, 2), (2, 3)], [1, 2, 3, 0], 2),  # then 0 and 3 tie
        ([(0, 1), (2, 3), (3, 4)], [3, 0], 2),  # then 0-1 is the largest, and holds it
        ([(0, 1), (2, 3)], [0], 0),  # two of a size from the start
        ([(0, 1), (2, 3), (3, 4)], [0], 0),  # lies in the smaller one
        ([(0, 1), (1, 2)], [1], 1),
        ([], [], 0),
    ],
)
def test_the_curve_tells_how_long_an_order_stays_in_the_one_largest_component(
    pairs: list[tuple[int, int]], order: list[int], n_inside: int
) -> None:
    ends = np.array(pairs, np.int64).reshape(-1, 2)
    made = from_pairs(5, ends[:, 0], ends[:, 1])

    curve, found = engine.curve_of(made.indptr, made.indices, np.array(order, np.int64))

    assert found == n_inside
    assert curve.tolist() == lcc_curve(made.indptr, made.indices, order).tolist()


def test_rows_are_returned_sorted_and_inputs_stay() -> None:
    indptr = np.array([0, 2, 4, 6], np.uint16)
    indices = np.array([2, 1, 0, 2, 1, 0], np.int8)
    before = indices.copy()

    starts, ends = check_graph(indptr, indices)

    assert ends.tolist() == [1, 2, 0, 2, 0, 1]
    assert (starts.dtype, ends.dtype) == (np.int64, np.int32)
    np.testing.assert_array_equal(indices, before)


def test_attacks_leave_the_graph_and_the_list_as_they_were() -> None:
    indptr, indices = modular(3, 20, seed=2)
    order = np.random.default_rng(0).permutation(60)
    given = indptr.copy(), indices.copy(), order.copy()

    attack_by_degree(indptr, indices, target=0.05, adaptive=True)
    attack_in_order(indptr, indices, order, target=0.05)
    lcc_curve(indptr, indices, order)

    for now, before in zip((indptr, indices, order), given, strict=True):
        np.testing.assert_array_equal(now, before)
