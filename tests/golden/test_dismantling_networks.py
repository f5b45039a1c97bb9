"""The 22 public networks: sizes of the bar, and attacks that check themselves."""

import csv
from pathlib import Path
from typing import NamedTuple

import networkx as nx
import numpy as np
import numpy.typing as npt
import pytest

from clgkit.dismantling import (
    attack_by_degree,
    attack_in_order,
    auc,
    auc_simpson,
    lcc_curve,
    robustness,
    stop_size,
)
from clgkit.graph import degree, from_pairs
from clgkit.io.gtfile import read_gt

NAMES = [
    "advogato", "corruption", "dimacs10-celegansneural", "econ-wm1", "ego-twitter",
    "foodweb-baydry", "inf-USAir97", "internet-topology", "linux",
    "london_transport_multiplex_aggr", "maayan-Stelzl", "maayan-figeys", "maayan-foodweb",
    "moreno_crime_projected", "opsahl-openflights", "opsahl-powergrid", "oregon2_010526",
    "pajek-erdos", "petster-hamster", "power-eris1176", "roads-california", "web-webbase-2001",
]  # fmt: skip


class Rows(NamedTuple):
    indptr: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int32]


@pytest.fixture
def rows(shared: Path, request: pytest.FixtureRequest) -> Rows:
    path = shared / "data" / "networks" / f"{request.param}.gt"
    if not path.exists():
        pytest.skip(f"{path.name} is not at hand in ../shared/data/networks")
    file = read_gt(path)
    return Rows(*from_pairs(file.n_nodes, file.source, file.target)[:2])


@pytest.fixture(scope="module")
def bar(shared: Path) -> dict[str, dict[str, str]]:
    with (shared / "golden" / "dismantling_gdm_bar.csv").open() as file:
        return {row["network"]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize(("rows", "name"), [(n, n) for n in NAMES], indirect=["rows"])
def test_adaptive_degree_is_what_it_says_on_a_real_network(
    rows: Rows, name: str, bar: dict[str, dict[str, str]]
) -> None:
    n = rows.indptr.size - 1
    stop = stop_size(n, 0.1)

    attack = attack_by_degree(*rows, target=0.1, adaptive=True)

    assert (n, rows.indices.size // 2) == (int(bar[name]["N"]), int(bar[name]["M"]))
    assert attack.removals is not None
    # The curve of the order alone, and the same rule with every node in its turn.
    np.testing.assert_array_equal(attack.curve, lcc_curve(*rows, attack.order))
    again = attack_in_order(*rows, attack.order, target=0.1)
    np.testing.assert_array_equal(again.order, attack.order)
    assert attack.curve[-1] <= stop < attack.curve[-2]
    assert attack.auc == pytest.approx(auc(attack.curve, n)) == pytest.approx(again.auc)
    # A published learned attack is of the same kind: neither is ever far ahead.
    assert 0.6 < attack.removals / int(bar[name]["GDM_rem"]) < 4


@pytest.mark.parametrize(
    ("rows", "adaptive", "removals", "simpson"),
    [
        ("opsahl-powergrid", False, 310, 201.4),
        ("corruption", False, 27, 14.00),
        ("corruption", True, 27, 14.02),
    ],
    indirect=["rows"],
)
def test_attacks_by_degree_have_their_stated_areas(
    rows: Rows,
    adaptive: bool,  # noqa: FBT001  (pytest passes by name)
    removals: int,
    simpson: float,
) -> None:
    attack = attack_by_degree(*rows, target=0.1, adaptive=adaptive)

    assert attack.removals == removals
    area = auc_simpson(attack.curve, attack.n_nodes)
    assert area == pytest.approx(simpson, abs=0.05 if simpson > 100 else 0.005)  # as stated


@pytest.mark.parametrize("rows", ["maayan-figeys", "petster-hamster"], indirect=True)
def test_every_step_takes_the_busiest_node_of_the_largest_component(rows: Rows) -> None:
    attack = attack_by_degree(*rows, target=0.1, adaptive=True)
    n = rows.indptr.size - 1
    sample = np.linspace(0, attack.order.size - 1, 9).astype(int)

    for k in sample:
        left = np.ones(n, np.bool_)
        left[attack.order[:k]] = False
        kept = left[rows.indices] & np.repeat(left, np.diff(rows.indptr))
        ends = np.repeat(np.arange(n), np.diff(rows.indptr))[kept]
        peer = nx.Graph(zip(ends.tolist(), rows.indices[kept].tolist(), strict=True))
        core = max(nx.connected_components(peer), key=lambda c: (len(c), -min(c)))
        assert attack.order[k] == min(core, key=lambda v: (-peer.degree[v], v))


@pytest.mark.parametrize("rows", ["roads-california", "internet-topology"], indirect=True)
def test_a_complete_order_ends_with_nothing(rows: Rows) -> None:
    n = rows.indptr.size - 1
    by_degree = np.argsort(-degree(*rows), kind="stable")
    at_random = np.random.default_rng(0).permutation(n)

    planned, chance = (lcc_curve(*rows, order) for order in (by_degree, at_random))

    for curve in (planned, chance):
        assert (curve[-1], curve.size) == (0, n + 1)
        steps = np.diff(curve)
        assert steps.max() <= 0
    assert robustness(planned, n) < robustness(chance, n) <= 0.5
    assert robustness(chance, n) == pytest.approx(auc(chance, n) / n)
