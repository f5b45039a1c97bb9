"""Networks in every format: what is kept, what is dropped and told, what is refused."""

import gzip
import itertools
import lzma
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import scipy.io

from clgkit.data import Network
from clgkit.errors import DataError, StoreError
from clgkit.io import graphfile, gtfile, read_network, write_network
from clgkit.io.gtfile import GtGraph, encode_gt, read_gt, write_gt

FORMATS = [".gt", ".graphml", ".npz", ".csv", ".csv.gz"]
WHOLE = [".gt", ".graphml", ".npz"]
"""Formats that keep isolated nodes, positions and the order of nodes."""


def network(
    edges: list[tuple[int, int]], n: int, *, weights: Any = None, position: bool = False
) -> Network:
    """Make a network of edges (low, high), with ids that are not in order."""
    ends = np.array(edges, dtype=np.int64).reshape(-1, 2)
    rows, columns = np.concatenate([ends, ends[:, ::-1]]).T
    order = np.lexsort((columns, rows))
    both = None if weights is None else np.tile(np.asarray(weights, np.float32), 2)[order]
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n)[:n])])
    ids = (np.arange(n, dtype=np.uint32)[::-1] * 7 + 4_000_000_000 - 7 * n).astype(np.uint32)
    places = np.random.default_rng(0).normal(size=(n, 3)) if position else None
    return Network(indptr.astype(np.int64), columns[order].astype(np.int32), ids, both, places)


CASES: dict[str, Network] = {
    "empty": network([], 0),
    "one node": network([], 1, position=True),
    "isolated nodes": network([(1, 3)], 6, weights=[0.25], position=True),
    "no edge but weights": network([], 4, weights=[]),
    "a triangle": network([(0, 1), (0, 2), (1, 2)], 3, weights=[0.1, -2, 1e-30]),
    "odd weights": network([(0, 1), (1, 2)], 3, weights=[np.nan, np.inf]),
    "complete": network(list(itertools.combinations(range(9), 2)), 9, position=True),
}


@pytest.mark.parametrize("suffix", WHOLE)
@pytest.mark.parametrize("case", CASES)
def test_whole_networks_read_back_in_all_their_parts(
    tmp_path: Path, case: str, suffix: str
) -> None:
    path, made = tmp_path / f"a{suffix}", CASES[case]
    write_network(path, made)

    again, notes, _ = read_network(path)

    assert notes == ()
    assert (again.n_nodes, again.n_edges) == (made.n_nodes, made.n_edges)
    for name in ("indptr", "indices", "node_ids"):
        np.testing.assert_array_equal(getattr(again, name), getattr(made, name))
        assert getattr(again, name).dtype == getattr(made, name).dtype
    if made.n_edges:
        assert (again.weights is None) == (made.weights is None)
    if made.weights is not None and made.n_edges:
        np.testing.assert_array_equal(again.weights, made.weights)
        assert again.weights is not None
        assert again.weights.dtype == np.float32
    if made.position_um is not None and made.n_nodes:
        np.testing.assert_array_equal(again.position_um, made.position_um)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
@pytest.mark.parametrize("case", CASES)
def test_lists_of_edges_keep_the_edges_between_their_ids(
    tmp_path: Path, case: str, suffix: str
) -> None:
    path, made = tmp_path / f"a{suffix}", CASES[case]
    write_network(path, made)
    again = read_network(path).network

    def edges(of: Network) -> dict[frozenset[int], float]:
        source, target, weights = graphfile.once(of)
        ends = of.node_ids[np.stack([source, target], axis=1)].tolist()
        values = [0.0] * len(ends) if weights is None else weights.tolist()
        return {frozenset(pair): value for pair, value in zip(ends, values, strict=True)}

    ours, theirs = edges(again), edges(made)
    assert ours.keys() == theirs.keys()
    np.testing.assert_array_equal([ours[k] for k in theirs], list(theirs.values()))
    assert np.all(np.diff(again.node_ids.astype(np.int64)) > 0)


@pytest.mark.parametrize("suffix", FORMATS)
def test_weights_that_read_back_otherwise_are_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    path, writers = tmp_path / f"a{suffix}", {".npz": "_save_npz", ".graphml": "_save_graphml"}
    path.write_bytes(b"old")

    def heavier(of: Any) -> Any:
        if isinstance(of, GtGraph):
            return of._replace(edges={"weight": of.edges["weight"] + 1})
        return replace(of, weights=of.weights + 1)

    module: Any = gtfile if suffix == ".gt" else graphfile
    name = "encode_gt" if suffix == ".gt" else writers.get(suffix, "_csv_text")
    original = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *given: original(*given[:-1], heavier(given[-1])))
    with pytest.raises(StoreError, match="did not read back as it was written"):
        write_network(path, CASES["a triangle"])
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_ids_that_stand_twice_cannot_be_told_apart_in_a_list_of_edges(tmp_path: Path) -> None:
    made = network([(0, 1), (1, 2)], 3)
    doubled = Network(made.indptr, made.indices, np.array([5, 6, 5], np.uint32))
    write_network(tmp_path / "a.npz", doubled)
    with pytest.raises(StoreError, match="did not read back"):
        write_network(tmp_path / "a.csv", doubled)


@pytest.mark.parametrize("suffix", [".npz", ".graphml"])
def test_attributes_keep_their_type_numpys_included(tmp_path: Path, suffix: str) -> None:
    given = {"rule": "r > t", "t": np.float64(0.25), "n": np.int64(3), "b": np.ones(1, bool)[0],
             "i": 2, "f": 0.5, "no": False, "text": "1 < 2 & 'ü'"}  # fmt: skip
    made = network([(0, 1)], 2)
    path = tmp_path / f"a{suffix}"
    write_network(path, Network(made.indptr, made.indices, made.node_ids, attributes=given))
    again = read_network(path).network.attributes
    assert dict(again) == {k: getattr(v, "item", lambda v=v: v)() for k, v in given.items()}
    assert [type(v) for v in again.values()] == [str, float, int, bool, int, float, bool, str]


def test_a_network_that_is_none_is_not_written(tmp_path: Path) -> None:
    made = network([(0, 1)], 2)
    for wrong, words in (
        (Network(made.indptr, np.array([0, 0], np.int32), made.node_ids), "it has self-loops"),
        (Network(made.indptr, made.indices, made.node_ids[:1]), "1 node ids for 2 nodes"),
    ):
        with pytest.raises(DataError, match=words):
            write_network(tmp_path / "a.npz", wrong)
    assert list(tmp_path.iterdir()) == []


def graphml(path: Path, *, directed: bool = False, nodes: Any = None, edges: Any = None) -> Path:
    """Write what networkx makes of nodes {name: data} and edges [(u, v, data)]."""
    graph = (nx.MultiDiGraph if directed else nx.MultiGraph)()
    graph.add_nodes_from((nodes or {"a": {}, "b": {}, "c": {}}).items())
    graph.add_edges_from(edges or [("a", "b", {})])
    nx.write_graphml_xml(graph, path)
    return path


@pytest.mark.parametrize(
    ("nucleus", "expected", "words"),
    [
        ([7, 3, 5], [7, 3, 5], None),
        ([7.0, 3.0, 4_294_967_295.0], [7, 3, 4_294_967_295], None),
        (["x", "y", "z"], [0, 1, 2], "holds no numbers; nodes are numbered"),
        ([-1, 3, 5], None, "'nucleus': Labels must lie between 0"),
        ([1.5, 3.0, 5.0], None, "'nucleus': Labels must be whole numbers"),
        ([2**32, 3, 5], None, "'nucleus': Labels must lie between 0"),
    ],
)
def test_m2_ids_of_nodes_are_whole_or_refused_and_never_wrap(
    tmp_path: Path, nucleus: list[Any], expected: list[int] | None, words: str | None
) -> None:
    nodes = {name: {"nucleus": v} for name, v in zip("abc", nucleus, strict=True)}
    path = graphml(tmp_path / "a.graphml", nodes=nodes)
    if expected is None:
        with pytest.raises(DataError) as caught:
            read_network(path)
        assert str(path) in caught.value.message
        assert words is not None
        assert words in caught.value.message
        return
    found, notes, _ = read_network(path)
    assert found.node_ids.tolist() == expected
    assert (words is None) == (notes == ())
    assert words is None or words in notes[0]


def test_parallel_edges_and_loops_of_graphml_are_dropped_and_counted(tmp_path: Path) -> None:
    edges = [("a", "b", {"weight": 0.5}), ("b", "a", {"weight": 9.0}), ("c", "c", {"weight": 1.0})]
    found, notes, nodes = read_network(graphml(tmp_path / "a.graphml", edges=edges))
    assert (found.n_nodes, found.n_edges) == (3, 1)
    assert found.weights is not None
    assert found.weights.tolist() == [0.5, 0.5]
    assert notes == ("1 self-loops were dropped",
                     "1 repeated edges were dropped, the first of each was kept")  # fmt: skip
    assert found.attributes["notes"] == "; ".join(notes)
    assert nodes == {}


def test_weights_that_some_edges_lack_are_left_out_and_told(tmp_path: Path) -> None:
    edges = [("a", "b", {"weight": 0.5}), ("b", "c", {}), ("a", "c", {"cost": 2})]
    path = graphml(tmp_path / "a.graphml", edges=edges)
    found, notes, _ = read_network(path)
    assert found.weights is None
    assert notes == ("2 of 3 edges have no 'weight': the network is unweighted",)
    assert read_network(path, weight=None).notes == ()
    assert read_network(path, weight="absent").notes == ()
    texts = graphml(tmp_path / "b.graphml", edges=[("a", "b", {"weight": "heavy"})])
    with pytest.raises(DataError, match=r"'weight' holds no numbers .*heavy.*weight = None"):
        read_network(texts)
    assert read_network(texts, weight=None).network.n_edges == 1


@pytest.mark.parametrize("suffix", FORMATS)
def test_weights_are_left_out_on_request(tmp_path: Path, suffix: str) -> None:
    write_network(tmp_path / f"a{suffix}", CASES["a triangle"])
    found = read_network(tmp_path / f"a{suffix}", weight=None).network
    assert found.weights is None
    assert found.n_edges == 3


def test_the_property_that_becomes_the_weight_is_chosen_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("source,target,distance,r\n1,2,30,0.5\n2,4,40,0.25\n")
    edges = [("a", "b", {"weight": 0.5, "r": 3}), ("b", "c", {"weight": 0.5, "r": 4})]
    graphml(tmp_path / "a.graphml", edges=edges)
    ends = np.array([0, 1]), np.array([1, 2])
    write_gt(tmp_path / "a.gt", GtGraph(3, False, *ends, {}, {"r": np.array([3, 4])}))  # noqa: FBT003  (undirected)
    for name, expected in (("a.csv", [0.5, 0.25]), ("a.graphml", [3, 4]), ("a.gt", [3, 4])):
        weights = graphfile.once(read_network(tmp_path / name, weight="r").network)[2]
        assert weights.tolist() == expected, name
    assert read_network(tmp_path / "a.csv").network.weights is None
    assert read_network(tmp_path / "a.gt").network.weights is None


DIRECTED: dict[str, tuple[list[tuple[int, int, float]], str | None]] = {
    "both ways": ([(0, 1, 0.5), (1, 0, 0.5), (1, 2, 2), (2, 1, 2)], None),
    "one way": ([(0, 1, 0.5), (1, 0, 0.5), (1, 2, 2)], "1 edges without their reverse"),
    "other weights": ([(0, 1, 0.5), (1, 0, 0.75)], "2 unequal weights"),
}


@pytest.mark.parametrize("suffix", [".gt", ".graphml", ".npy", ".mat"])
@pytest.mark.parametrize("case", DIRECTED)
def test_directed_networks_are_refused_accepted_or_united_and_told(
    tmp_path: Path, case: str, suffix: str
) -> None:
    edges, trouble = DIRECTED[case]
    path = tmp_path / f"a{suffix}"
    source, target, weights = (np.array(column) for column in zip(*edges, strict=True))
    matrix = np.zeros((3, 3))
    matrix[source, target] = weights
    if suffix == ".gt":
        write_gt(path, GtGraph(3, True, source, target, {}, {"weight": weights}))  # noqa: FBT003  (directed)
    elif suffix == ".graphml":
        named = [("abc"[u], "abc"[v], {"weight": w}) for u, v, w in edges]
        graphml(path, directed=True, edges=named)
    elif suffix == ".npy":
        np.save(path, matrix)
    else:
        scipy.io.savemat(path, {"trace": matrix})
    if trouble is not None:
        with pytest.raises(DataError, match=f"is directed: {trouble}.*symmetrize = true") as caught:
            read_network(path)
        assert caught.value.code == "E_SHAPE"
        assert "union of both directions" in read_network(path, symmetrize=True).notes[-1]
    found = read_network(path, symmetrize=trouble is not None).network
    found.check()
    assert found.n_edges == len({frozenset(edge[:2]) for edge in edges})
    if case == "other weights":
        assert read_network(path, weight=None).network.n_edges == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("source,target\n1,99999999999999999999\n", "an edge is two whole numbers"),
        ("source,target\n1,4294967296\n", "node ids lie between 0 and 4294967295"),
        ("source,target\n1,2.0\n", "an edge is two whole numbers"),
        ("source,target,weight\n1,2\n", "an edge is two whole numbers"),
        ("source,target,weight\n1,2,heavy\n", "an edge is two whole numbers"),
        ("source;target\n1;2\n", "its first line must be source,target"),
        ("Source,Target\n1,2\n", "its first line must be source,target"),
    ],
)
def test_lists_of_edges_that_are_none_get_a_sentence(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        read_network(tmp_path / "a.csv")


@pytest.mark.parametrize(
    "content",
    [
        b"source,target\r\n1,2\r\n",
        b"\xef\xbb\xbfsource,target\n1,2\n",
        "# Gewichte für später\nsource,target\n# ü\n1,2\n".encode(),
        b'"source","target"\n"1","2"\n',
        b"source,target,colour\n\n1,2,red\n",
    ],
    ids=["CRLF", "byte-order mark", "comments in UTF-8", "quotes", "other columns, blank lines"],
)
def test_lists_of_edges_of_spreadsheets_are_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    found = read_network(tmp_path / "a.csv").network
    assert found.node_ids.tolist() == [1, 2]
    assert found.weights is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"indptr": np.array(3)}, "'indptr' holds int64 of shape ()"),
        ({"indptr": np.array(["a"])}, "'indptr' holds <U1 of shape (1,)"),
        ({"indptr": np.array([0, 1, 9])}, "row pointers do not match"),
        ({"indptr": np.array([0, 3, 2])}, "row pointers go backwards"),
        ({"indices": np.array([1.5, 0.5])}, "'indices' holds float64"),
        ({"indices": np.array([2**32 + 1, 0])}, "names a node outside 0 … 1"),
        ({"indices": np.array([-1, 0])}, "names a node outside 0 … 1"),
        ({"indices": np.array([0, 1])}, "it has self-loops"),
        ({"node_ids": np.array([-1, 5])}, "must lie between 0"),
        ({"node_ids": np.array(["a", "b"])}, "must be whole numbers"),
        ({"node_ids": np.array([1])}, "1 node ids for 2 nodes"),
        ({"weights": np.ones((2, 2))}, "'weights' holds float64 of shape (2, 2)"),
        ({"weights": np.ones(3)}, "3 weights for 2 directed edges"),
        ({"position_um": np.ones((2, 2))}, "positions have shape (2, 2), not (2, 3)"),
        ({"position_um": np.array(["here", "there"])}, "could not convert"),
        ({"attribute_names": np.array(["a"])}, "zip()"),
    ],
)
def test_archives_that_hold_no_network_get_a_sentence(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    sound = {"indptr": np.array([0, 1, 2]), "indices": np.array([1, 0])}
    np.savez(tmp_path / "a.npz", **(sound | change))
    with pytest.raises(DataError) as caught:
        read_network(tmp_path / "a.npz")
    assert words in caught.value.message
    assert str(tmp_path / "a.npz") in caught.value.message
    assert caught.value.code == "E_SHAPE"


def test_a_matrix_in_an_archive_is_named_by_its_key(tmp_path: Path) -> None:
    matrix = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
    np.savez(tmp_path / "a.npz", adjacency=matrix, other=np.ones(3))
    with pytest.raises(
        DataError, match=r"name an adjacency matrix with `key`\. It holds:\n  - adj"
    ):
        read_network(tmp_path / "a.npz")
    found = read_network(tmp_path / "a.npz", key="adjacency").network
    assert found.n_edges == 2
    assert found.weights is None


BOMB = (
    '<?xml version="1.0"{encoding}?>{before}<!DOCTYPE g [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'
    '<graphml xmlns="http://graphml.graphdrawing.org/xmlns"><graph edgedefault="undirected">'
    '<node id="&b;"/></graph></graphml>'
)


@pytest.mark.parametrize(
    ("before", "encoding"),
    [
        ("", "utf-8"),
        ("<!--" + "x" * 100_000 + "-->", "utf-8"),
        ("", "utf-16"),
        ("\n" * 70_000, "utf-8"),
    ],
    ids=["at the start", "behind a comment", "in UTF-16", "behind blank lines"],
)
def test_s8_entities_of_graphml_are_refused_wherever_they_hide(
    tmp_path: Path, before: str, encoding: str
) -> None:
    said = "" if encoding == "utf-8" else f' encoding="{encoding}"'
    text = BOMB.format(before=before, encoding=said)
    (tmp_path / "a.graphml").write_bytes(text.encode(encoding))
    with pytest.raises(DataError, match="declares XML entities"):
        read_network(tmp_path / "a.graphml")


@pytest.mark.parametrize(
    "text",
    ["<graphml", "<html><body/></html>", '<?xml version="1.0" encoding="martian"?><a/>', "not xml"],
)
def test_graphml_that_is_none_gets_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.graphml").write_text(text)
    with pytest.raises(DataError, match=r"cannot be read as GraphML|is not a network"):
        read_network(tmp_path / "a.graphml")


@pytest.mark.parametrize("name", ["a.csv.gz", "a.gt.gz", "a.gt.xz"])
def test_every_flipped_byte_of_a_packed_network_is_loud_or_harmless(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    if name == "a.csv.gz":
        write_network(path, CASES["complete"])
    else:
        write_network(tmp_path / "a.gt", CASES["complete"])
        pack = gzip.compress if name.endswith("gz") else lzma.compress
        path.write_bytes(pack((tmp_path / "a.gt").read_bytes()))
    whole, content = read_network(path).network, path.read_bytes()
    for at in range(0, len(content), 3):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :])
        try:
            found = read_network(path).network
        except DataError as error:
            assert error.code.startswith("E_")  # noqa: PT017  (either outcome is right)
        else:
            np.testing.assert_array_equal(found.indices, whole.indices)
    for size in range(0, len(content), 3):
        path.write_bytes(content[:size])
        with pytest.raises(DataError):
            read_network(path)


def rich_gt(*, big_endian: bool) -> bytes:
    """Give a small file with a map of each of the 15 kinds on each of the three places."""
    order = ">" if big_endian else "<"
    graph = GtGraph(2, False, np.array([0]), np.array([1]), {}, {})  # noqa: FBT003  (undirected)
    plain = encode_gt(graph, comment="c", big_endian=big_endian)[:-8]

    def count(n: int) -> bytes:
        return struct.pack(order + "Q", n)

    def scalar(kind: int) -> bytes:
        formats = {0: "?", 1: "h", 2: "i", 3: "q", 4: "d"}
        return bytes(16) if kind == 5 else struct.pack(order + formats[kind], kind)

    def value(kind: int) -> bytes:
        if kind < 6:
            return scalar(kind)
        if kind in {6, 14}:
            return count(2) + b"ab"
        if kind == 13:
            return count(2) + (count(1) + b"x") * 2
        return count(2) + scalar(kind - 7) * 2

    maps = []
    for place, number in ((0, 1), (1, 2), (2, 1)):
        for kind in range(15):
            name = f"m{kind}".encode()
            head = bytes([place]) + count(len(name)) + name + bytes([kind])
            maps.append(head + value(kind) * number)
    return plain + count(len(maps)) + b"".join(maps)


@pytest.mark.parametrize("big_endian", [False, True])
def test_gt_maps_of_all_kinds_are_read_in_both_byte_orders(
    tmp_path: Path,
    big_endian: bool,  # noqa: FBT001  (parametrized)
) -> None:
    path = tmp_path / "a.gt"
    path.write_bytes(rich_gt(big_endian=big_endian))

    graph = read_gt(path)

    for maps, number in ((graph.nodes, 2), (graph.edges, 1)):
        for kind in range(1, 5):
            assert maps[f"m{kind}"].tolist() == [kind] * number
            assert maps[f"m{kind + 7}"].tolist() == [[kind, kind]] * number
            assert maps[f"m{kind}"].dtype.isnative
        assert maps["m0"].dtype == maps["m7"].dtype == bool
        assert maps["m6"].tolist() == ["ab"] * number
        assert {"m5", "m12", "m13", "m14"}.isdisjoint(maps)
    assert len(graph.notes) == 12
    assert graph.target.tolist() == [1]


@pytest.mark.parametrize("big_endian", [False, True])
def test_every_truncation_of_a_gt_file_with_all_kinds_is_loud(
    tmp_path: Path,
    big_endian: bool,  # noqa: FBT001  (parametrized)
) -> None:
    path, whole = tmp_path / "a.gt", rich_gt(big_endian=big_endian)
    for size in range(0, len(whole), 5 if big_endian else 1):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError) as caught:
            read_gt(path)
        assert caught.value.code in {"E_TRUNCATED", "E_NOT_IMAGE"}, size


def test_every_changed_byte_of_a_gt_file_is_loud_or_harmless(tmp_path: Path) -> None:
    path, whole = tmp_path / "a.gt", rich_gt(big_endian=False)
    for at in range(len(whole)):
        flip = 0xFF if at % 2 else 0x01
        path.write_bytes(whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])
        try:
            read_network(path, symmetrize=True)
        except DataError as error:
            assert error.code.startswith("E_")  # noqa: PT017  (either outcome is right)


def test_gt_maps_that_are_no_ids_positions_or_weights_are_not_taken_for_them(
    tmp_path: Path,
) -> None:
    nodes = {"nucleus": np.ones((3, 2)), "position_um": np.array(["a", "b", "c"])}
    edges = {"weight": np.ones((2, 2))}
    ends = np.array([0, 1]), np.array([1, 2])
    write_gt(tmp_path / "a.gt", GtGraph(3, False, *ends, nodes, edges))  # noqa: FBT003  (undirected)
    found, notes, maps = read_network(tmp_path / "a.gt")
    assert found.node_ids.tolist() == [0, 1, 2]
    assert found.position_um is None
    assert found.weights is None
    assert "'nucleus' holds no numbers" in notes[0]
    assert set(maps) == {"nucleus", "position_um"}


@pytest.mark.parametrize("part", ["source", "target", "nodes", "edges", "directed", "n_nodes"])
def test_a_gt_file_that_reads_back_otherwise_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    ends = np.array([0, 0, 1]), np.array([1, 2, 2])
    good = GtGraph(4, False, *ends, {"k": np.arange(4.0)}, {"w": np.arange(3.0)})  # noqa: FBT003  (undirected)
    changed: dict[str, Any] = {
        "source": np.array([0, 1, 1]), "target": np.array([1, 2, 3]), "nodes": {"k": np.ones(4)},
        "edges": {}, "directed": True, "n_nodes": 5,
    }  # fmt: skip
    bad = good._replace(**{part: changed[part]})
    if part == "n_nodes":
        bad = bad._replace(nodes={"k": np.arange(5.0)})
    monkeypatch.setattr(gtfile, "encode_gt", lambda _: encode_gt(bad))
    with pytest.raises(StoreError, match="did not read back"):
        write_gt(tmp_path / "a.gt", good)
    assert list(tmp_path.iterdir()) == []
