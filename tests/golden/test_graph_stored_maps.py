"""Measures that graph-tool stored in the public networks, beside ours.

The maps `degree`, `chi_degree` and `clustering_coefficient` are functions of degree and local
clustering alone; they were stored as float64 and are met to the last bit.
"""

from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from clgkit.graph import (
    Adjacency,
    betweenness,
    clustering,
    connected_components,
    degree,
    eigenvector_centrality,
    from_pairs,
    transitivity,
)
from clgkit.io.gtfile import GtGraph, read_gt

FULL = ["corruption", "opsahl-openflights", "dimacs10-celegansneural", "inf-USAir97"]
LOOPS = {
    "advogato": 3992, "power-eris1176": 1176, "linux": 530, "econ-wm1": 165,
    "maayan-Stelzl": 36, "maayan-foodweb": 18,
}  # fmt: skip


def load(shared: Path, name: str) -> tuple[GtGraph, Adjacency]:
    path = shared / "data" / "networks" / f"{name}.gt"
    if not path.exists():
        pytest.skip(f"{name}.gt is not at hand in ../shared/data/networks")
    file = read_gt(path)
    return file, from_pairs(file.n_nodes, file.source, file.target)


@pytest.mark.parametrize("name", FULL)
def test_degree_and_clustering_are_the_stored_ones_to_the_last_bit(shared: Path, name: str) -> None:
    file, made = load(shared, name)

    scaled = degree(made.indptr, made.indices) / degree(made.indptr, made.indices).max()

    assert (made.n_self_loops, made.n_duplicates) == (0, 0)
    np.testing.assert_array_equal(scaled, file.nodes["degree"])
    mean = scaled.mean()
    np.testing.assert_array_equal((scaled - mean) ** 2 / mean, file.nodes["chi_degree"])
    np.testing.assert_array_equal(
        clustering(made.indptr, made.indices), file.nodes["clustering_coefficient"]
    )


@pytest.mark.parametrize("name", FULL)
def test_betweenness_is_the_stored_one(shared: Path, name: str) -> None:
    file, made = load(shared, name)

    ours = betweenness(made.indptr, made.indices, normalized=True)

    # Sums of float64 in another order: 3e-16 was measured.
    np.testing.assert_allclose(ours, file.nodes["vertex_betweenness_out"], atol=2e-15, rtol=0)


@pytest.mark.parametrize("name", FULL)
def test_the_eigenvector_is_the_stored_one(shared: Path, name: str) -> None:
    file, made = load(shared, name)

    ours = eigenvector_centrality(made.indptr, made.indices)

    # graph-tool iterates until its vector changes by less than 1e-6.
    np.testing.assert_allclose(ours, file.nodes["eigenvectors"], atol=5e-7, rtol=0)


@pytest.mark.parametrize("name", sorted(LOOPS))
def test_self_loops_are_dropped_and_counted(shared: Path, name: str) -> None:
    file, made = load(shared, name)

    assert made.n_self_loops == LOOPS[name]
    assert made.n_duplicates == 0
    assert made.indices.size == 2 * (file.source.size - LOOPS[name])
    rows = np.repeat(np.arange(file.n_nodes), np.diff(made.indptr))
    assert not (rows == made.indices).any()


@pytest.mark.parametrize(
    ("name", "largest"),
    [("advogato", 5042), ("petster-hamster", 2000), ("ego-twitter", 22322), ("linux", 30817),
     ("opsahl-openflights", 2905), ("maayan-figeys", 2217), ("maayan-Stelzl", 1615),
     ("econ-wm1", 258), ("power-eris1176", 1174), ("opsahl-powergrid", 4941)],
)  # fmt: skip
def test_the_largest_component_has_its_published_size(
    shared: Path, name: str, largest: int
) -> None:
    _, made = load(shared, name)

    label, size = connected_components(made.indptr, made.indices)

    assert size[0] == largest == np.count_nonzero(label == 0)
    assert size.sum() == label.size


def test_triangles_of_a_large_hub_network_are_those_of_networkx(shared: Path) -> None:
    file, made = load(shared, "oregon2_010526")
    peer = nx.Graph(zip(file.source.tolist(), file.target.tolist(), strict=True))
    peer.add_nodes_from(range(file.n_nodes))

    stored = clustering(made.indptr, made.indices)

    np.testing.assert_array_equal(stored, file.nodes["clustering_coefficient"])
    assert transitivity(made.indptr, made.indices) == pytest.approx(
        nx.transitivity(peer), rel=1e-12
    )
