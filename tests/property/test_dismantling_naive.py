"""Fast attacks equal naive ones on fifty random graphs with isolates and components."""

from collections.abc import Callable

import networkx as nx
import numpy as np
import pytest

from clgkit.dismantling import (
    Attack,
    attack_by_betweenness,
    attack_by_degree,
    attack_in_order,
    lcc_curve,
    stop_size,
)
from clgkit.graph import from_pairs

Rows = tuple[np.ndarray, np.ndarray]  # type: ignore[type-arg]
Choice = Callable[[nx.Graph, set[int]], int | None]


def random_graph(seed: int) -> tuple[Rows, nx.Graph, np.random.Generator]:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 50))
    pairs = rng.integers(0, n, (int(rng.integers(1, 2 * n)), 2))
    made = from_pairs(n, pairs[:, 0], pairs[:, 1])
    peer = nx.Graph()
    peer.add_nodes_from(range(n))
    peer.add_edges_from((a, b) for a, b in pairs.tolist() if a != b)
    return (made.indptr, made.indices), peer, rng


def lcc(peer: nx.Graph) -> set[int]:
    return min(nx.connected_components(peer), key=lambda c: (-len(c), min(c)), default=set())


def naive(peer: nx.Graph, choose: Choice, stop: int) -> tuple[list[int], list[int]]:
    peer = peer.copy()
    order: list[int] = []
    curve = [len(lcc(peer))]
    while curve[-1] > stop:
        node = choose(peer, lcc(peer))
        if node is None:
            break
        peer.remove_node(node)
        order.append(node)
        curve.append(len(lcc(peer)))
    return order, curve


def same(attack: Attack, wanted: tuple[list[int], list[int]]) -> None:
    assert attack.order.tolist() == wanted[0]
    assert attack.curve.tolist() == wanted[1]


@pytest.mark.parametrize("seed", range(50))
def test_fast_attacks_equal_naive_ones(seed: int) -> None:
    rows, peer, rng = random_graph(seed)
    n = peer.number_of_nodes()
    target = float(rng.choice([0.05, 0.1, 0.3]))
    stop = stop_size(n, target)
    order = rng.permutation(n)[: rng.integers(1, n + 1)].tolist()

    plain = iter(order)
    everything = naive(peer, lambda _g, _c: next(plain, None), -1)
    assert lcc_curve(*rows, order).tolist() == everything[1]

    def listed(g: nx.Graph, core: set[int]) -> int | None:
        return next((v for v in order if v in core and v in g), None)

    same(attack_in_order(*rows, order, target=target), naive(peer, listed, stop))

    for lcc_only in (True, False):

        def busiest(g: nx.Graph, core: set[int], lcc_only: bool = lcc_only) -> int:  # noqa: FBT001  (binds the loop variable)
            return min(core if lcc_only else g, key=lambda v: (-g.degree[v], v))

        same(
            attack_by_degree(*rows, target=target, adaptive=True, lcc_only=lcc_only),
            naive(peer, busiest, stop),
        )

        def central(g: nx.Graph, core: set[int], lcc_only: bool = lcc_only) -> int:  # noqa: FBT001  (binds the loop variable)
            part = g.subgraph(core) if lcc_only else g
            load = nx.betweenness_centrality(part, normalized=False)
            return min(load, key=lambda v: (-round(load[v], 8), v))

        same(
            attack_by_betweenness(*rows, target=target, adaptive=True, lcc_only=lcc_only),
            naive(peer, central, stop),
        )
