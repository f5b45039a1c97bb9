"""Networks of any supported file: .gt, .graphml, .csv, .csv.gz, .npz, .npy and .mat."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from xml.parsers import expat

import networkx as nx
import numpy as np
import numpy.typing as npt

from clgkit import fsio
from clgkit.data import Network, as_uint32
from clgkit.errors import DataError, StoreError
from clgkit.io import npyfile
from clgkit.io.edges import Edges, ReadNetwork, settle
from clgkit.io.gtfile import GtGraph, read_gt, write_gt
from clgkit.io.pixels import existing_file, writable
from clgkit.io.sniff import kind_of, not_an_image
from clgkit.io.tables import safe_text
from clgkit.io.tracefile import read_traces

GRAPHML_LIMIT: Final = 1_000_000
_SUFFIXES: Final = ".gt, .graphml, .npz, .csv, .csv.gz"


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
        Edge property (column of a ``.csv``) that becomes the weights, if the file has it; None
        for no weights.
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
        return _read_npz(path, weighted=weight is not None)
    if kind == "gt" or name.endswith((".gt", ".gt.gz", ".gt.xz", ".gt.zst")):
        edges = _from_gt(path, weight)
    elif kind == "xml" or name.endswith(".graphml"):
        edges = _from_graphml(path, weight)
    elif name.endswith((".csv", ".csv.gz")) and kind in ("text", "gzip", "link"):
        edges = _from_csv(path, weight)
    elif kind in ("npy", "npz", "mat5", "mat73", "hdf5"):
        edges = _from_matrix(path, key)
    else:
        raise not_an_image(path, f"a network ({_SUFFIXES}, .npy, .mat)")
    if weight is None:
        edges = replace(edges, weights=None)
    return settle(path, edges, symmetrize=symmetrize)


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
        If the network is none, is too large for GraphML, or the suffix is another; ``E_PATH``:
        the folder is not there.
    StoreError
        If the file does not read back as it was written.
    """
    path = writable(path)
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
        fsio.publish(path, lambda p: _save_bytes(p, packed), lambda p: _same_edges(p, network))
    else:
        raise DataError(f"{path.name}: networks are written as {_SUFFIXES}.", code="E_PATH")


def once(network: Network) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Any]:
    """Return source, target and weights of each undirected edge, source < target."""
    source = np.repeat(np.arange(network.n_nodes, dtype=np.int64), np.diff(network.indptr))
    target = network.indices.astype(np.int64)
    upper = source < target
    weights = None if network.weights is None else network.weights[upper]
    return source[upper], target[upper], weights


def _from_gt(path: Path, weight: str | None) -> Edges:
    graph = read_gt(path)
    weights = graph.edges.get(weight) if weight is not None else None
    if weights is not None and (weights.dtype.kind not in "biuf" or weights.ndim != 1):
        weights = None
    return Edges(
        graph.n_nodes,
        graph.source,
        graph.target,
        None if weights is None else weights.astype(np.float64),
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


def _from_graphml(path: Path, weight: str | None) -> Edges:
    _refuse_entities(path)
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
    weights, notes = _graphml_weights(path, graph, weight)
    return Edges(
        len(index),
        ends[:, 0],
        ends[:, 1],
        weights,
        directed=graph.is_directed(),
        nodes=_graphml_nodes(graph),
        notes=notes,
        attributes={k: v for k, v in graph.graph.items() if isinstance(v, str | int | float)},
    )


def _refuse_entities(path: Path) -> None:
    """Refuse a document type before anything is expanded; it can only precede the root."""
    started: list[str] = []

    def refuse(*_: object) -> None:
        raise DataError(f"{path} declares XML entities, which clgkit does not read.")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = lambda name, _: started.append(name)
    with path.open("rb") as file, suppress(expat.ExpatError, LookupError, ValueError):
        while not started and (chunk := file.read(1 << 16)):
            parser.Parse(chunk)


def _graphml_weights(
    path: Path, graph: Any, weight: str | None
) -> tuple[npt.NDArray[np.float64] | None, tuple[str, ...]]:
    """Return the weights if every edge has one, else None and a note."""
    values = [data.get(weight) for _, _, data in graph.edges(data=True)]
    absent = values.count(None)
    if weight is None or absent:
        told = weight is not None and absent < len(values)
        note = f"{absent} of {len(values)} edges have no {weight!r}: the network is unweighted"
        return None, ((note,) if told else ())
    try:
        return (np.array(values, dtype=np.float64) if values else None), ()
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{path}: the edge property {weight!r} holds no numbers ({error}). "
            "Name another, or none with weight = None."
        ) from error


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
    graph.graph.update(_plain(network.attributes))
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


def _plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes with numpy's scalars as Python's own numbers."""
    return {k: v.item() if isinstance(v, np.generic) else v for k, v in attributes.items()}


def _save_bytes(temporary: Path, content: bytes) -> None:
    temporary.write_bytes(content)


def _from_csv(path: Path, weight: str | None) -> Edges:
    opener: Any = gzip.open if kind_of(path) == "gzip" else Path.open
    rows: list[list[str]] = []
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if row and not row[0].startswith("#")]
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path} cannot be read as a table ({error}). Copy it again.", code="E_TRUNCATED"
        ) from error
    if not rows or rows[0][:2] != ["source", "target"]:
        raise DataError(
            f"{path} is no list of edges: its first line must be source,target or "
            "source,target,weight."
        )
    at = rows[0].index(weight, 2) if weight in rows[0][2:] else None
    try:
        ends = np.array([row[:2] for row in rows[1:]], dtype=np.int64).reshape(-1, 2)
        values = [row[at] for row in rows[1:]] if at is not None else None
        weights = None if values is None else np.array(values, dtype=np.float64)
    except (ValueError, IndexError, OverflowError) as error:
        raise DataError(f"{path}: an edge is two whole numbers and a weight ({error}).") from error
    ids, flat = np.unique(ends, return_inverse=True)
    if len(ids) and (ids[0] < 0 or ids[-1] > np.iinfo(np.uint32).max):
        raise DataError(f"{path}: node ids lie between 0 and 4294967295, found {ids[0]}.")
    index = flat.reshape(-1, 2).astype(np.int64)
    return Edges(len(ids), index[:, 0], index[:, 1], weights, nodes={"nucleus": ids})


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


def _from_matrix(path: Path, key: str | None) -> Edges:
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
    return Edges(
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
    attributes = _plain(network.attributes)
    columns = {
        "names": list(attributes),
        "values": [str(value) for value in attributes.values()],
        "types": [type(value).__name__ for value in attributes.values()],
    }
    arrays |= {f"attribute_{part}": np.array(column, np.str_) for part, column in columns.items()}
    with temporary.open("wb") as file:
        np.savez_compressed(
            file, allow_pickle=False, **{k: v for k, v in arrays.items() if v is not None}
        )


def _read_npz(path: Path, *, weighted: bool) -> ReadNetwork:
    headers = npyfile.npz_headers(path)
    if not {"indptr", "indices"} <= set(headers):
        raise DataError(
            f"{path} holds no network of clgkit (indptr, indices); name an adjacency matrix with "
            f"`key`. It holds:{npyfile.listing(headers)}"
        )
    read = {name: npyfile.read_npz(path, name) for name in headers}
    if not weighted:
        read.pop("weights", None)
    try:
        network = _npz_network(read)
    except (DataError, TypeError, ValueError) as error:
        raise DataError(f"{path}: {error} Write it again.", code="E_SHAPE") from error
    return ReadNetwork(network, (), {})


def _npz_network(read: Mapping[str, npt.NDArray[Any]]) -> Network:
    for name, kinds in (("indptr", "iu"), ("indices", "iu"), ("weights", "biuf")):
        if name in read and (read[name].dtype.kind not in kinds or read[name].ndim != 1):
            looks = f"{read[name].dtype} of shape {read[name].shape}"
            raise ValueError(f"{name!r} holds {looks}, not a row of numbers.")
    n_nodes, indices = len(read["indptr"]) - 1, read["indices"]
    if indices.size and not (indices.min() >= 0 and indices.max() < n_nodes):
        raise ValueError(f"an edge names a node outside 0 … {n_nodes - 1}.")
    weights, position = read.get("weights"), read.get("position_um")
    network = Network(
        read["indptr"].astype(np.int64),
        indices.astype(np.int32),
        as_uint32(read.get("node_ids", np.arange(n_nodes))),
        None if weights is None else weights.astype(np.float32),
        None if position is None else position.astype(np.float64),
        _attributes(read),
    )
    network.check()
    return network


def _attributes(read: Mapping[str, npt.NDArray[Any]]) -> dict[str, str | int | float | bool]:
    types: dict[str, Any] = {"int": int, "float": float, "bool": lambda text: text == "True"}
    columns = [read.get(f"attribute_{part}", np.empty(0)) for part in ("names", "values", "types")]
    return {
        str(name): types.get(str(kind), str)(str(value))
        for name, value, kind in zip(*columns, strict=True)
    }


def _same(path: Path, network: Network) -> None:
    """Raise `StoreError` unless a file of the whole network holds it."""
    again = read_network(path).network
    names = ("indptr", "indices", "node_ids", "weights", "position_um")
    _check_equal(path, [(getattr(again, name), getattr(network, name)) for name in names])


def _same_edges(path: Path, network: Network) -> None:
    """Raise `StoreError` unless a list of edges holds all edges and weights."""
    again = read_network(path).network
    _check_equal(path, list(zip(_by_id(again), _by_id(network), strict=True)))


def _by_id(network: Network) -> tuple[Any, Any, Any]:
    """Return the ids and the weights of all edges, sorted."""
    source, target, weights = once(network)
    ends = np.sort(network.node_ids[np.stack([source, target])], axis=0)
    order = np.lexsort(ends[::-1])
    return ends[0, order], ends[1, order], None if weights is None else weights[order]


def _check_equal(path: Path, pairs: list[tuple[Any, Any]]) -> None:
    for again, written in pairs:
        empty = [part is None or part.size == 0 for part in (again, written)]
        if not all(empty) and (any(empty) or not np.array_equal(again, written, equal_nan=True)):
            raise StoreError(f"{path} did not read back as it was written. Is the disk failing?")
