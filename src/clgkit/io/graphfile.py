"""Networks of any supported file: .gt, .graphml, .csv, .csv.gz, .npz, .npy and .mat."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import networkx as nx
import numpy as np
import numpy.typing as npt

from clgkit import fsio
from clgkit.data import Network
from clgkit.errors import DataError, StoreError
from clgkit.io import npyfile
from clgkit.io.gtfile import GtGraph, read_gt, write_gt
from clgkit.io.pixels import existing_file
from clgkit.io.sniff import kind_of, not_an_image
from clgkit.io.tables import safe_text
from clgkit.io.tracefile import read_traces

GRAPHML_LIMIT: Final = 1_000_000
_SUFFIXES: Final = ".gt, .graphml, .npz, .csv, .csv.gz"


class ReadNetwork(NamedTuple):
    """A network, what was changed to make it one, and the properties of its nodes."""

    network: Network
    notes: tuple[str, ...]
    nodes: dict[str, npt.NDArray[Any]]


@dataclass
class _Edges:
    """Edges as a file lists them."""

    n_nodes: int
    source: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64] | None = None
    directed: bool = False
    both_ways: bool = False
    nodes: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    attributes: dict[str, str | int | float | bool] = field(default_factory=dict)

    @property
    def base(self) -> np.int64:
        """A pair of nodes is one number to this base."""
        return np.int64(max(self.n_nodes, 1))

    def at(self, chosen: npt.NDArray[Any]) -> _Edges:
        """Return the chosen edges."""
        weights = None if self.weights is None else self.weights[chosen]
        ends = {"source": self.source[chosen], "target": self.target[chosen]}
        return replace(self, **ends, weights=weights)


def read_network(
    path: Path | str,
    *,
    symmetrize: bool = False,
    weight: str | None = "weight",
    key: str | None = None,
) -> ReadNetwork:
    """Return the network of a file; self-loops and repeated edges are dropped and counted.

    Parameters
    ----------
    path
        The format is told by content and suffix.
    symmetrize
        Make an undirected network of directed edges (union of both directions).
    weight
        Edge property that becomes the weights, if the file has it; None for no weights.
    key
        Variable of a ``.mat`` or ``.npz`` with an adjacency matrix.

    Raises
    ------
    DataError
        ``E_SHAPE``: directed edges without `symmetrize`, or what the file contradicts.
    """
    path = existing_file(path)
    kind, name = kind_of(path), path.name.lower()
    if kind == "npz" and key is None:
        return _read_npz(path)
    if kind == "gt" or name.endswith((".gt", ".gt.gz", ".gt.xz", ".gt.zst")):
        edges = _from_gt(path, weight)
    elif kind == "xml" or name.endswith(".graphml"):
        edges = _from_graphml(path, weight)
    elif name.endswith((".csv", ".csv.gz")) and kind in ("text", "gzip", "link"):
        edges = _from_csv(path)
    elif kind in ("npy", "npz", "mat5", "mat73", "hdf5"):
        edges = _from_matrix(path, key)
    else:
        raise not_an_image(path, f"a network ({_SUFFIXES}, .npy, .mat)")
    return _settled(path, edges, symmetrize=symmetrize)


def write_network(path: Path | str, network: Network) -> None:
    """Write a network; the suffix chooses the format, the file is read back and renamed.

    Parameters
    ----------
    path
        Ends in ``.gt``, ``.graphml`` (at most a million edges), ``.npz``, ``.csv`` or
        ``.csv.gz`` (edges only: no isolated nodes, no positions).
    network
        Checked first.

    Raises
    ------
    DataError
        If the network is none, is too large for GraphML, or the suffix is another.
    """
    path = Path(path)
    network.check()
    name = path.name.lower()
    if name.endswith(".npz"):
        fsio.publish(path, lambda p: _save_npz(p, network), lambda p: _same(p, network))
    elif name.endswith(".gt"):
        write_gt(path, _to_gt(network))
    elif name.endswith(".graphml"):
        if network.n_edges > GRAPHML_LIMIT:
            raise DataError(
                f"{path.name}: {network.n_edges} edges are too many for GraphML (at most "
                f"{GRAPHML_LIMIT}). Write .npz or .csv.gz."
            )
        fsio.publish(path, lambda p: _save_graphml(p, network), lambda p: _same(p, network))
    elif name.endswith((".csv", ".csv.gz")):
        text = _csv_text(network).encode()
        packed = gzip.compress(text, mtime=0) if name.endswith(".gz") else text
        fsio.write_bytes(path, packed, durable=True)
    else:
        raise DataError(f"{path.name}: networks are written as {_SUFFIXES}.", code="E_PATH")


def once(network: Network) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Any]:
    """Return source, target and weights of each undirected edge, source < target."""
    source = np.repeat(np.arange(network.n_nodes, dtype=np.int64), np.diff(network.indptr))
    target = network.indices.astype(np.int64)
    upper = source < target
    weights = None if network.weights is None else network.weights[upper]
    return source[upper], target[upper], weights


def _settled(path: Path, edges: _Edges, *, symmetrize: bool) -> ReadNetwork:
    """Make a network of edges: no loops, each edge once, both directions."""
    notes = list(edges.notes)
    loops = edges.source == edges.target
    if loops.any():
        notes.append(f"{int(loops.sum())} self-loops were dropped")
        edges = edges.at(~loops)
    if edges.directed or edges.both_ways:
        notes += _check_both_ways(path, edges, symmetrize=symmetrize)
    low, high = np.minimum(edges.source, edges.target), np.maximum(edges.source, edges.target)
    _, first = np.unique(low * edges.base + high, return_index=True)
    repeated = len(low) - len(first)
    if repeated and not (edges.directed or edges.both_ways):
        notes.append(f"{repeated} repeated edges were dropped, the first of each was kept")
    network = _symmetric(edges.at(first), notes)
    network.check()
    return ReadNetwork(network, tuple(notes), edges.nodes)


def _check_both_ways(path: Path, edges: _Edges, *, symmetrize: bool) -> list[str]:
    """Accept directed edges if each has its reverse of the same weight, or on request."""
    forward = edges.source * edges.base + edges.target
    backward = edges.target * edges.base + edges.source
    alone = int(np.sum(~np.isin(forward, backward)))
    differ = 0
    if not alone and edges.weights is not None:
        weights = edges.weights.astype(np.float32)
        there = weights[np.argsort(forward, kind="stable")]
        differ = int(np.sum(there != weights[np.argsort(backward, kind="stable")]))
    if not alone and not differ:
        return ["declared directed, but every edge has its reverse"] if edges.directed else []
    found = f"{alone} edges without their reverse" if alone else f"{differ} unequal weights"
    if not symmetrize:
        raise DataError(
            f"{path} is directed: {found}. An undirected network is wanted; "
            "take the union of both directions with symmetrize = true.",
            code="E_SHAPE",
        )
    return [f"directed input ({found}) was made undirected: union of both directions"]


def _symmetric(edges: _Edges, notes: list[str]) -> Network:
    n = edges.n_nodes
    rows = np.concatenate([edges.source, edges.target])
    columns = np.concatenate([edges.target, edges.source])
    order = np.lexsort((columns, rows))
    indptr = np.zeros(n + 1, dtype=np.int64)
    np.cumsum(np.bincount(rows, minlength=n)[:n], out=indptr[1:])
    weights = edges.weights
    both = None if weights is None else np.concatenate([weights, weights])[order]
    ids = edges.nodes.get("nucleus")
    position = edges.nodes.get("position_um")
    attributes = {**edges.attributes, **({"notes": "; ".join(notes)} if notes else {})}
    return Network(
        indptr,
        columns[order].astype(np.int32),
        np.arange(n, dtype=np.uint32) if ids is None else ids.astype(np.uint32),
        None if both is None else both.astype(np.float32),
        None if position is None or position.shape != (n, 3) else position.astype(np.float64),
        attributes,
    )


def _from_gt(path: Path, weight: str | None) -> _Edges:
    graph = read_gt(path)
    weights = graph.edges.get(weight) if weight is not None else None
    return _Edges(
        graph.n_nodes,
        graph.source,
        graph.target,
        None if weights is None or weights.dtype.kind not in "biuf" else weights.astype(np.float64),
        directed=graph.directed,
        nodes=graph.nodes,
        notes=graph.notes,
    )


def _to_gt(network: Network) -> GtGraph:
    source, target, weights = once(network)
    nodes: dict[str, npt.NDArray[Any]] = {"nucleus": network.node_ids.astype(np.int64)}
    if network.position_um is not None and network.n_nodes:
        nodes["position_um"] = network.position_um
    edges = {} if weights is None else {"weight": weights.astype(np.float64)}
    return GtGraph(network.n_nodes, False, source, target, nodes, edges)  # noqa: FBT003  (undirected)


def _from_graphml(path: Path, weight: str | None) -> _Edges:
    head = path.read_bytes()[:65536]
    if b"<!DOCTYPE" in head or b"<!ENTITY" in head:
        raise DataError(f"{path} declares XML entities, which clgkit does not read.")
    try:
        graph = nx.read_graphml(path)
    except Exception as error:
        raise DataError(
            f"{path} cannot be read as GraphML ({error}). Copy or export it again.",
            code="E_TRUNCATED",
        ) from error
    index = {node: i for i, node in enumerate(graph.nodes)}
    pairs = [(index[u], index[v]) for u, v in graph.edges()]
    ends = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    values = [data.get(weight) for _, _, data in graph.edges(data=True)]
    weighted = weight is not None and bool(values) and None not in values
    return _Edges(
        len(index),
        ends[:, 0],
        ends[:, 1],
        np.array(values, dtype=np.float64) if weighted else None,
        directed=graph.is_directed(),
        nodes=_graphml_nodes(graph),
        attributes={k: v for k, v in graph.graph.items() if isinstance(v, str | int | float)
                    and k not in ("node_default", "edge_default")},
    )  # fmt: skip


def _graphml_nodes(graph: Any) -> dict[str, npt.NDArray[Any]]:
    found: dict[str, npt.NDArray[Any]] = {}
    records = [data for _, data in graph.nodes(data=True)]
    for name in records[0] if records else ():
        if all(name in record for record in records):
            found[name] = np.array([record[name] for record in records])
    if {"z_um", "y_um", "x_um"} <= set(found):
        found["position_um"] = np.stack([found[f"{k}_um"] for k in "zyx"], axis=1)
    return found


def _save_graphml(temporary: Path, network: Network) -> None:
    graph = nx.Graph()
    graph.graph.update(network.attributes)
    for node, nucleus in enumerate(network.node_ids.tolist()):
        graph.add_node(node, nucleus=nucleus)
    if network.position_um is not None:
        for node, place in enumerate(network.position_um.tolist()):
            graph.nodes[node].update(zip(("z_um", "y_um", "x_um"), place, strict=True))
    source, target, weights = once(network)
    if weights is None:
        graph.add_edges_from(zip(source.tolist(), target.tolist(), strict=True))
    else:
        triples = zip(source.tolist(), target.tolist(), weights.tolist(), strict=True)
        graph.add_weighted_edges_from(triples)
    nx.write_graphml_xml(graph, temporary)


def _from_csv(path: Path) -> _Edges:
    opener: Any = gzip.open if kind_of(path) == "gzip" else Path.open
    rows: list[list[str]] = []
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if row and not row[0].startswith("#")]
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path} cannot be read as a table ({error}).", code="E_TRUNCATED"
        ) from error
    if not rows or rows[0][:2] != ["source", "target"]:
        raise DataError(
            f"{path} is no list of edges: its first line must be source,target or "
            "source,target,weight."
        )
    weighted = rows[0][2:3] == ["weight"]
    try:
        ends = np.array([row[:2] for row in rows[1:]], dtype=np.int64).reshape(-1, 2)
        weights = np.array([row[2] for row in rows[1:]], dtype=np.float64) if weighted else None
    except (ValueError, IndexError) as error:
        raise DataError(f"{path}: an edge is two whole numbers and a weight ({error}).") from error
    ids, flat = np.unique(ends, return_inverse=True)
    if len(ids) and (ids[0] < 0 or ids[-1] > np.iinfo(np.uint32).max):
        raise DataError(f"{path}: node ids lie between 0 and 4294967295, found {ids[0]}.")
    index = flat.reshape(-1, 2).astype(np.int64)
    return _Edges(len(ids), index[:, 0], index[:, 1], weights, nodes={"nucleus": ids})


def _csv_text(network: Network) -> str:
    source, target, weights = once(network)
    ids = network.node_ids.astype(np.int64)
    columns = [ids[source].tolist(), ids[target].tolist()]
    names = ["source", "target"]
    if weights is not None:
        columns.append([str(w) for w in weights])
        names.append("weight")
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([safe_text(name) for name in names])
    writer.writerows(zip(*columns, strict=True))
    return text.getvalue()


def _from_matrix(path: Path, key: str | None) -> _Edges:
    matrix = read_traces(path, key=key).trace
    if matrix.shape[0] != matrix.shape[1]:
        raise DataError(
            f"{path}: an adjacency matrix is square; this has shape {matrix.shape}.",
            code="E_SHAPE",
        )
    values = matrix.astype(np.float64)
    if not np.all(np.isfinite(values)):
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise DataError(f"{path}: entry ({row}, {column}) is {values[row, column]}.")
    source, target = np.nonzero(values)
    weights = values[source, target]
    plain = bool(np.all(weights == 1))
    return _Edges(
        len(values), source.astype(np.int64), target.astype(np.int64), None if plain else weights,
        both_ways=True,
    )  # fmt: skip


def _save_npz(temporary: Path, network: Network) -> None:
    arrays: dict[str, Any] = {
        "indptr": network.indptr,
        "indices": network.indices,
        "node_ids": network.node_ids,
        "weights": network.weights,
        "position_um": network.position_um,
    }
    names = list(network.attributes)
    arrays["attribute_names"] = np.array(names, dtype=np.str_)
    arrays["attribute_values"] = np.array([str(network.attributes[k]) for k in names], np.str_)
    arrays["attribute_types"] = np.array(
        [type(network.attributes[k]).__name__ for k in names], np.str_
    )
    with temporary.open("wb") as file:
        np.savez_compressed(
            file, allow_pickle=False, **{k: v for k, v in arrays.items() if v is not None}
        )


def _read_npz(path: Path) -> ReadNetwork:
    headers = npyfile.npz_headers(path)
    if not {"indptr", "indices"} <= set(headers):
        raise DataError(
            f"{path} holds no network of clgkit (indptr, indices); name an adjacency matrix with "
            f"`key`. It holds:{npyfile.listing(headers)}"
        )
    read = {name: npyfile.read_npz(path, name) for name in headers}
    n = len(read["indptr"]) - 1
    network = Network(
        read["indptr"].astype(np.int64),
        read["indices"].astype(np.int32),
        read.get("node_ids", np.arange(n)).astype(np.uint32),
        read.get("weights"),
        read.get("position_um"),
        _attributes(read),
    )
    network.check()
    return ReadNetwork(network, (), {})


def _attributes(read: Mapping[str, npt.NDArray[Any]]) -> dict[str, str | int | float | bool]:
    types: dict[str, Any] = {"int": int, "float": float, "bool": lambda text: text == "True"}
    columns = [read.get(f"attribute_{part}", np.empty(0)) for part in ("names", "values", "types")]
    return {
        str(name): types.get(str(kind), str)(str(value))
        for name, value, kind in zip(*columns, strict=True)
    }


def _same(path: Path, network: Network) -> None:
    again = read_network(path).network
    if not (
        np.array_equal(again.indptr, network.indptr)
        and np.array_equal(again.indices, network.indices)
        and np.array_equal(again.node_ids, network.node_ids)
    ):
        raise StoreError(f"{path} did not read back as it was written.")
