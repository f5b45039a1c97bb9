"""Fifty random graphs with isolates and several components, beside networkx."""

import networkx as nx
import numpy as np
import numpy.typing as npt
import pytest

from clgkit.graph import (
    betweenness,
    clustering,
    connected_components,
    degree,
    eigenvector_centrality,
    from_pairs,
    transitivity,
)


def listed(values: dict[int, float]) -> npt.NDArray[np.float64]:
    return np.array([values[k] for k in sorted(values)], np.float64)


@pytest.mark.parametrize("seed", range(50))
def test_every_measure_equals_that_of_networkx(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 60))
    pairs = rng.integers(0, n, (int(rng.integers(1, 3 * n)), 2))
    peer = nx.Graph()
    peer.add_nodes_from(range(n))
    peer.add_edges_from((a, b) for a, b in pairs.tolist() if a != b)

    made = from_pairs(n, pairs[:, 0], pairs[:, 1])
    rows = made.indptr, made.indices

    assert made.n_self_loops == np.count_nonzero(pairs[:, 0] == pairs[:, 1])
    assert made.indices.size == 2 * peer.number_of_edges()
    np.testing.assert_array_equal(degree(*rows), [peer.degree[v] for v in range(n)])
    groups = sorted(nx.connected_components(peer), key=lambda nodes: (-len(nodes), min(nodes)))
    label, size = connected_components(*rows)
    assert size.tolist() == [len(group) for group in groups]
    assert all(set(label[list(group)]) == {k} for k, group in enumerate(groups))
    # Sums of float64 in another order.
    np.testing.assert_allclose(clustering(*rows), listed(nx.clustering(peer)), rtol=1e-12)
    assert transitivity(*rows) == pytest.approx(nx.transitivity(peer), rel=1e-12)
    for normalized in (False, True):
        np.testing.assert_allclose(
            betweenness(*rows, normalized=normalized),
            listed(nx.betweenness_centrality(peer, normalized=normalized)),
            rtol=1e-11,
            atol=1e-12,
        )


@pytest.mark.parametrize("n", [60, 600])
def test_the_eigenvector_equals_that_of_networkx(n: int) -> None:
    peer = nx.gnm_random_graph(n, 4 * n, seed=1)
    peer.add_nodes_from(range(n, n + 5))  # isolates
    rng = np.random.default_rng(0)
    ends = np.array(peer.edges)
    strength = rng.uniform(0.5, 1.0, len(ends))
    for (a, b), weight in zip(ends.tolist(), strength.tolist(), strict=True):
        peer[a][b]["weight"] = weight
    made = from_pairs(n + 5, ends[:, 0], ends[:, 1], strength)

    plain = eigenvector_centrality(made.indptr, made.indices)
    weighted = eigenvector_centrality(made.indptr, made.indices, made.weights)

    # networkx iterates until the vector changes by less than n times its tolerance.
    options = {"max_iter": 1000, "tol": 1e-12}
    wanted = listed(nx.eigenvector_centrality(peer, **options))
    np.testing.assert_allclose(plain, wanted, atol=1e-7)
    wanted = listed(nx.eigenvector_centrality(peer, weight="weight", **options))
    np.testing.assert_allclose(weighted, wanted, atol=1e-7)
