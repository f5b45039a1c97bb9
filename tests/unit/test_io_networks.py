"""Networks in .gt, .graphml, .csv, .npz and as matrices."""

import gzip
import lzma
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import scipy.io

from clgkit.data import Network
from clgkit.errors import DataError
from clgkit.io import read_network, write_network
from clgkit.io.gtfile import GtGraph, encode_gt, id_width, read_gt, write_gt

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "networks"
PUBLIC = sorted(DATA.glob("*.gt")) or [Path("absent.gt")]
LOOPS = {"advogato": 3992, "power-eris1176": 1176, "linux": 530, "econ-wm1": 165,
         "maayan-Stelzl": 36, "maayan-foodweb": 18}  # fmt: skip


def ring(n: int, *, weighted: bool = True) -> Network:
    low, high = np.arange(n), (np.arange(n) + 1) % n
    rows, columns = np.concatenate([low, high]), np.concatenate([high, low])
    order = np.lexsort((columns, rows))
    weights = np.concatenate([low, low])[order] / 7 + 0.1
    return Network(
        np.arange(0, 2 * n + 1, 2, dtype=np.int64),
        columns[order].astype(np.int32),
        np.arange(70_000, 70_000 + n, dtype=np.uint32),
        weights.astype(np.float32) if weighted else None,
        np.random.default_rng(0).normal(size=(n, 3)),
        {"rule": "percentile", "threshold": 0.25, "n": 7, "flag": True},
    )


@pytest.mark.parametrize("path", PUBLIC, ids=lambda path: path.stem)
def test_public_networks_are_walked_to_the_last_byte(path: Path) -> None:
    if not path.exists():
        pytest.skip("the public networks are not at hand in ../shared/data")
    network, notes, nodes = read_network(path)
    graph = read_gt(path)
    loops = LOOPS.get(path.stem, 0)
    assert not graph.directed
    assert network.n_edges == len(graph.source) - loops
    assert any(f"{loops} self-loops" in note for note in notes) == bool(loops)
    assert {"chi_degree", "clustering_coefficient", "degree", "kcore"} <= set(nodes)
    assert all(len(values) == network.n_nodes for values in nodes.values())


def test_the_stored_degrees_of_a_public_network_agree() -> None:
    path = DATA / "corruption.gt"
    if not path.exists():
        pytest.skip("the public networks are not at hand in ../shared/data")
    network, _, nodes = read_network(path)
    degree = np.diff(network.indptr)
    np.testing.assert_array_equal(nodes["degree"], degree / degree.max())


@pytest.mark.parametrize("suffix", [".gt", ".graphml", ".npz", ".csv", ".csv.gz"])
@pytest.mark.parametrize("weighted", [True, False])
def test_a_network_reads_back_as_written(tmp_path: Path, suffix: str, weighted: bool) -> None:  # noqa: FBT001  (parametrized)
    path, network = tmp_path / f"a{suffix}", ring(12, weighted=weighted)

    write_network(path, network)
    again, notes, _ = read_network(path)

    again.check()
    assert notes == ()
    for name in ("indptr", "indices", "node_ids", "weights"):
        np.testing.assert_array_equal(getattr(again, name), getattr(network, name))
    if "csv" not in suffix:
        np.testing.assert_array_equal(again.position_um, network.position_um)
    if suffix in {".npz", ".graphml"}:
        assert dict(again.attributes) == dict(network.attributes)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_graphml_is_read_by_networkx(tmp_path: Path) -> None:
    write_network(tmp_path / "a.graphml", ring(5))
    graph = nx.read_graphml(tmp_path / "a.graphml", node_type=int)
    assert graph.number_of_edges() == 5
    assert graph.nodes[2]["nucleus"] == 70_002


@pytest.mark.parametrize("directed", [True, False])
@pytest.mark.parametrize("n", [0, 1, 255, 256, 65_535, 65_536])
def test_gt_files_of_every_id_width_read_back(tmp_path: Path, n: int, directed: bool) -> None:  # noqa: FBT001  (parametrized)
    rng = np.random.default_rng(n)
    source = np.sort(rng.integers(0, n, 300)) if n else np.empty(0, np.int64)
    target = rng.integers(0, n, 300) if n else source
    made = GtGraph(n, directed, source, target, {"k": np.arange(n)}, {"w": source / 3})
    write_gt(tmp_path / "a.gt", made)
    (tmp_path / "b.gt").write_bytes(encode_gt(made, big_endian=True))
    for name in ("a.gt", "b.gt"):
        again = read_gt(tmp_path / name)
        assert (again.n_nodes, again.directed) == (n, directed)
        np.testing.assert_array_equal(again.source, source)
        np.testing.assert_array_equal(again.target, target)
        np.testing.assert_array_equal(again.nodes["k"], made.nodes["k"])
        np.testing.assert_array_equal(again.edges["w"], made.edges["w"])
    assert id_width(n) in {1, 2, 4}


def test_gt_maps_of_every_kind_are_walked_and_objects_skipped(tmp_path: Path) -> None:
    plain = GtGraph(2, False, np.array([0]), np.array([1]), {  # noqa: FBT003  (undirected)
        "text": np.array(["a", "\u26fe long"]), "flag": np.array([True, False]),
        "place": np.arange(6.0).reshape(2, 3),
    }, {})  # fmt: skip
    data = bytearray(encode_gt(plain))
    at = data.index(b"\x01\x04\0\0\0\0\0\0\0text")
    data[at - 8] = 7

    def count(number: int) -> bytes:
        return number.to_bytes(8, "little")

    extra = {5: bytes(32), 13: (count(2) + (count(1) + b"x") * 2) * 2,
             14: (count(6) + b"cos\nx.") * 2, 12: (count(1) + bytes(16)) * 2}  # fmt: skip
    for kind, content in extra.items():
        data += b"\x01" + count(1) + b"m" + bytes([kind]) + content
    path = tmp_path / "a.gt"
    path.write_bytes(data)

    graph = read_gt(path)

    assert graph.nodes["text"].tolist() == ["a", "\u26fe long"]
    assert graph.nodes["flag"].tolist() == [True, False]
    np.testing.assert_array_equal(graph.nodes["place"], plain.nodes["place"])
    assert "m" not in graph.nodes
    assert len(graph.notes) == 4
    assert any("Python objects" in note for note in graph.notes)


def gt(tmp_path: Path, change: Any = None) -> Path:
    graph = GtGraph(3, False, np.array([0, 1]), np.array([1, 2]), {"k": np.arange(3)}, {})  # noqa: FBT003  (undirected)
    data = bytearray(encode_gt(graph, comment=""))
    path = tmp_path / "a.gt"
    path.write_bytes(change(data) if change else data)
    return path


def test_every_truncation_of_a_gt_file_is_loud(tmp_path: Path) -> None:
    whole = gt(tmp_path).read_bytes()
    for size in range(len(whole)):
        path = gt(tmp_path, lambda data, size=size: data[:size])
        with pytest.raises(DataError) as caught:
            read_network(path)
        assert caught.value.code in {"E_TRUNCATED", "E_NOT_IMAGE"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d + b"\0", "1 bytes after its end"),
        (lambda d: d[:6] + b"\x02" + d[7:], "version 2"),
        (lambda d: d.replace(b"\x01\0\0\0\0\0\0\0\x01", b"\x01\0\0\0\0\0\0\0\x09", 1), "node 9"),
        (lambda d: b"junk" + d[4:], "no .gt file|is not a network"),
        (lambda d: d[:-25] + b"\xff" + d[-24:], "unknown type 255"),
    ],
)
def test_damaged_gt_files_get_a_sentence(tmp_path: Path, change: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_network(gt(tmp_path, change))


def test_packed_gt_files_are_read_or_named(tmp_path: Path) -> None:
    content = gt(tmp_path).read_bytes()
    for name, packed in (("b.gt.gz", gzip.compress(content)), ("b.gt.xz", lzma.compress(content))):
        (tmp_path / name).write_bytes(packed)
        assert read_network(tmp_path / name).network.n_edges == 2
    (tmp_path / "b.gt.zst").write_bytes(b"\x28\xb5\x2f\xfd0000")
    with pytest.raises(DataError, match="zstd"):
        read_network(tmp_path / "b.gt.zst")


def test_directed_input_is_never_made_symmetric_silently(tmp_path: Path) -> None:
    path = tmp_path / "a.gt"
    write_gt(path, GtGraph(3, True, np.array([0, 1, 1]), np.array([1, 0, 2]), {}, {}))  # noqa: FBT003  (directed)
    with pytest.raises(DataError, match="is directed: 1 edges without") as caught:
        read_network(path)
    assert caught.value.code == "E_SHAPE"
    network, notes, _ = read_network(path, symmetrize=True)
    assert network.n_edges == 2
    assert "union of both directions" in notes[0]


def test_directed_input_with_all_reverses_is_accepted_and_told(tmp_path: Path) -> None:
    path = tmp_path / "a.gt"
    write_gt(path, GtGraph(2, True, np.array([0, 1]), np.array([1, 0]), {}, {}))  # noqa: FBT003  (directed)
    network, notes, _ = read_network(path)
    assert network.n_edges == 1
    assert "every edge has its reverse" in notes[0]


def test_loops_and_repeats_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("source,target,weight\n5,9,0.5\n9,5,0.5\n5,9,0.5\n7,7,1\n")
    network, notes, _ = read_network(path)
    assert (network.n_nodes, network.n_edges) == (3, 1)
    assert network.node_ids.tolist() == [5, 7, 9]
    assert notes == (
        "1 self-loops were dropped",
        "2 repeated edges were dropped, the first of each was kept",
    )
    assert "self-loops" in str(network.attributes["notes"])


@pytest.mark.parametrize(
    ("text", "words"),
    [("a,b\n1,2\n", "first line"), ("source,target\n1\n", "whole numbers"), ("", "empty"),
     ("source,target\n1,x\n", "whole numbers"), ("source,target\n-1,2\n", "between 0")],
)  # fmt: skip
def test_damaged_tables_of_edges_get_a_sentence(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        read_network(path)


def test_adjacency_matrices_are_read_if_symmetric(tmp_path: Path) -> None:
    matrix = np.array([[0, 0.5, 0], [0.5, 0, -1], [0, -1, 1]])
    np.save(tmp_path / "a.npy", matrix)
    scipy.io.savemat(tmp_path / "a.mat", {"adj": matrix})
    for path, key in ((tmp_path / "a.npy", None), (tmp_path / "a.mat", "adj")):
        network, notes, _ = read_network(path, key=key)
        assert network.n_edges == 2
        assert network.weights is not None
        assert network.weights.tolist() == [0.5, 0.5, -1, -1]
        assert notes == ("1 self-loops were dropped",)
    for wrong, words in (
        (np.triu(matrix), "directed"),
        (matrix + np.eye(3, k=1) * [0, 1, 0], "unequal weights"),
        (matrix[:2], "square"),
        (matrix * np.nan, r"entry \(0, 0\) is nan"),
    ):
        np.save(tmp_path / "b.npy", wrong)
        with pytest.raises(DataError, match=words):
            read_network(tmp_path / "b.npy")


def test_xml_entities_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.graphml"
    path.write_text('<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><graphml/>')
    with pytest.raises(DataError, match="entities"):
        read_network(path)


def test_other_files_suffixes_and_sizes_get_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(50))
    with pytest.raises(DataError, match="is not a network"):
        read_network(tmp_path / "a.bin")
    with pytest.raises(DataError, match=r"\.graphml"):
        write_network(tmp_path / "a.bin", ring(4))
    monkeypatch.setattr("clgkit.io.graphfile.GRAPHML_LIMIT", 3)
    with pytest.raises(DataError, match="too many for GraphML"):
        write_network(tmp_path / "a.graphml", ring(4))
