"""The published dismantling of corruption.gt, and the exact values found for it."""

import csv
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from clgkit.dismantling import (
    Attack,
    attack_by_betweenness,
    attack_by_degree,
    attack_in_order,
    auc_simpson,
)
from clgkit.graph import from_pairs

SHARED = Path(__file__).parents[2].parent / "shared"
HEADLINE = [149, 50, 60, 277, 45, 2, 92, 1, 256, 21, 187, 199, 139, 81, 181, 177, 41, 241]
PERCENT = [
    93.85, 93.53, 90.94, 90.61, 88.03, 67.64, 61.81, 57.61, 54.69,
    50.49, 47.57, 46.60, 46.28, 36.57, 36.25, 28.16, 27.83, 14.24,
]  # fmt: skip


class Rows(NamedTuple):
    indptr: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int32]


def read_gt(path: Path) -> Rows:
    """Read the adjacency of a little-endian graph-tool file (version 1)."""
    data = path.read_bytes()
    assert data[:8] == b"\xe2\x9b\xbe gt\x01\x00"
    (length,) = struct.unpack_from("<Q", data, 8)
    position = 16 + length + 1  # after the comment and the directed flag
    (n_nodes,) = struct.unpack_from("<Q", data, position)
    position += 8
    kind = next(k for k, limit in (("u1", 2**8), ("<u2", 2**16), ("<u4", 2**32)) if n_nodes < limit)
    lists = []
    for _ in range(n_nodes):
        (count,) = struct.unpack_from("<Q", data, position)
        lists.append(np.frombuffer(data, kind, count, position + 8).astype(np.int64))
        position += 8 + count * np.dtype(kind).itemsize
    rows = np.repeat(np.arange(n_nodes), [len(x) for x in lists])
    return Rows(*from_pairs(n_nodes, rows, np.concatenate(lists))[:2])


@pytest.fixture(scope="module")
def corruption() -> Rows:
    path = SHARED / "data" / "networks" / "corruption.gt"
    if not path.exists():
        pytest.skip("corruption.gt is not at hand in ../shared/data/networks")
    return read_gt(path)


def simpson_of(attack: Attack) -> float:
    return auc_simpson(attack.curve, attack.n_nodes)


def test_the_network_is_the_one_of_the_bar(corruption: Rows) -> None:
    with (SHARED / "golden" / "dismantling_gdm_bar.csv").open() as file:
        bar = next(row for row in csv.DictReader(file) if row["network"] == "corruption")

    assert corruption.indptr.size - 1 == int(bar["N"]) == 309
    assert corruption.indices.size // 2 == int(bar["M"]) == 3281


@pytest.mark.parametrize("lcc_only", [True, False])
def test_the_published_order_is_adaptive_betweenness(corruption: Rows, lcc_only: bool) -> None:  # noqa: FBT001  (pytest passes by name)
    attack = attack_by_betweenness(*corruption, target=0.18, adaptive=True, lcc_only=lcc_only)

    assert attack.order.tolist() == HEADLINE
    percent = 100 * attack.curve[1:] / attack.curve[0]
    np.testing.assert_allclose(percent, PERCENT, atol=0.005, rtol=0)  # published to 0.01 %
    assert attack.removals == 18
    assert attack.auc == pytest.approx(10.32686, abs=5e-6)  # stated to five digits
    assert simpson_of(attack) == pytest.approx(9.7468, abs=5e-5)  # stated to four


def test_adaptive_betweenness_goes_on_to_ten_per_cent(corruption: Rows) -> None:
    attack = attack_by_betweenness(*corruption, target=0.10, adaptive=True)

    assert attack.order[18:].tolist() == [155, 57, 265, 197, 246, 261, 32, 6, 24]
    assert attack.curve[19:].tolist() == [41, 41, 40, 39, 38, 33, 32, 32, 31]
    assert attack.auc == pytest.approx(11.38511, abs=5e-6)
    assert simpson_of(attack) == pytest.approx(10.7929, abs=5e-5)


def test_adaptive_degree_takes_the_lowest_of_equals(corruption: Rows) -> None:
    attack = attack_by_degree(*corruption, target=0.10, adaptive=True)

    assert attack.order[:8].tolist() == [149, 41, 241, 81, 256, 50, 277, 21]
    assert attack.removals == 27
    assert attack.auc == pytest.approx(14.55987, abs=5e-6)
    assert simpson_of(attack) == pytest.approx(14.0183, abs=5e-5)


def test_static_degree_in_the_largest_component_needs_27(corruption: Rows) -> None:
    attack = attack_by_degree(*corruption, target=0.10, adaptive=False)

    assert attack.order[:10].tolist() == [149, 41, 241, 81, 256, 277, 21, 50, 187, 60]
    assert attack.removals == 27
    assert attack.auc == pytest.approx(14.52104, abs=5e-6)
    assert simpson_of(attack) == pytest.approx(14.0011, abs=5e-5)


def test_static_orders_everywhere_need_more(corruption: Rows) -> None:
    attack = attack_by_degree(*corruption, target=0.10, adaptive=False, lcc_only=False)
    assert attack.removals == 93
    assert simpson_of(attack) == pytest.approx(46.8792, abs=5e-5)

    by_degree = attack_by_degree(*corruption, target=0.20, adaptive=False, lcc_only=False)
    by_paths = attack_by_betweenness(*corruption, target=0.20, adaptive=False, lcc_only=False)
    assert (by_degree.removals, by_paths.removals) == (88, 25)


def test_the_published_list_gives_the_published_curve(corruption: Rows) -> None:
    attack = attack_in_order(*corruption, HEADLINE, target=0.18, lcc_only=False)

    assert attack.curve.tolist() == [
        309, 290, 289, 281, 280, 272, 209, 191, 178, 169, 156,
        147, 144, 143, 113, 112, 87, 86, 44,
    ]  # fmt: skip
