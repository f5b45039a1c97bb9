"""graph-tool's binary format (.gt, version 1), read to its last byte and written."""

from __future__ import annotations

import gzip
import lzma
import struct
import zlib
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from clgkit import fsio
from clgkit.errors import DataError, StoreError
from clgkit.io.pixels import existing_file, writable
from clgkit.io.sniff import describe, kind_of

MAGIC: Final = b"\xe2\x9b\xbe gt"
_SCALARS: Final = {0: "u1", 1: "i2", 2: "i4", 3: "i8", 4: "f8"}
_WIDTHS: Final = {0: 1, 1: 2, 2: 4, 3: 8, 4: 8, 5: 16}
_LONG_DOUBLE, _STRING, _STRINGS, _OBJECT = 5, 6, 13, 14


class GtGraph(NamedTuple):
    """A graph as the file holds it: every edge once, in the order of the file.

    Parameters
    ----------
    n_nodes, directed
        As declared.
    source, target
        (E,) int64.
    nodes, edges
        Property maps with one number or text each; vectors of numbers become (N, k) if all
        have the same length.  Objects, long doubles and ragged vectors are left out.
    notes
        What was left out.
    """

    n_nodes: int
    directed: bool
    source: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]
    nodes: dict[str, npt.NDArray[Any]]
    edges: dict[str, npt.NDArray[Any]]
    notes: tuple[str, ...] = ()


def read_gt(path: Path | str) -> GtGraph:
    """Return the graph of a ``.gt`` file, also one packed with gzip or xz.

    Raises
    ------
    DataError
        ``E_NOT_IMAGE``: another format; ``E_TRUNCATED``: it ends too early;
        ``E_DATA``: it contradicts itself.
    """
    path = existing_file(path)
    data = _unpacked(path)
    if not data.startswith(MAGIC):
        raise DataError(f"{path} is no .gt file: it is {describe(path)}.", code="E_NOT_IMAGE")
    try:
        return _Reader(path, data).run()
    except (struct.error, IndexError, OverflowError) as error:
        raise DataError(
            f"{path} is truncated: it ends after {len(data)} bytes in the middle of its "
            "contents. Copy it again.",
            code="E_TRUNCATED",
        ) from error


def _unpacked(path: Path) -> bytes:
    kind = kind_of(path)
    if kind == "zstd":
        raise DataError(f"{path} is packed with zstd; unpack it first: zstd -d {path.name}.")
    try:
        if kind == "gzip":
            return gzip.decompress(path.read_bytes())
        if kind == "xz":
            return lzma.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{path} is truncated ({error}).", code="E_TRUNCATED") from error
    return path.read_bytes()


class _Reader:
    def __init__(self, path: Path, data: bytes) -> None:
        self.path, self.data, self.at = path, data, len(MAGIC)
        self.order = "<"
        self.notes: list[str] = []

    def run(self) -> GtGraph:
        version, flag = self.bytes(2)
        if version != 1 or flag > 1:
            raise DataError(
                f"{self.path} is a .gt file of version {version} (byte order {flag}); "
                "version 1 (byte order 0 or 1) is wanted. Save it again with graph-tool."
            )
        self.order = "<>"[flag]
        self.bytes(self.count())
        directed = bool(self.bytes(1)[0])
        n = self.count()
        source, target = self.adjacency(n)
        nodes: dict[str, npt.NDArray[Any]] = {}
        edges: dict[str, npt.NDArray[Any]] = {}
        for _ in range(self.count()):
            key = self.bytes(1)[0]
            name = self.text()
            if key > 2:
                raise DataError(f"{self.path}: the map {name!r} is of unknown kind {key}.")
            values = self.values(name, self.bytes(1)[0], (1, n, len(source))[key])
            if values is not None and key:
                (nodes, edges)[key - 1][name] = values
        if self.at != len(self.data):
            raise DataError(
                f"{self.path} has {len(self.data) - self.at} bytes after its end. "
                "It is damaged; copy it again."
            )
        return GtGraph(n, directed, source, target, nodes, edges, tuple(self.notes))

    def bytes(self, count: int) -> bytes:
        start, self.at = self.at, self.at + count
        if self.at > len(self.data):
            raise IndexError(count)
        return self.data[start : self.at]

    def count(self) -> int:
        return int(struct.unpack(self.order + "Q", self.bytes(8))[0])

    def text(self) -> str:
        return self.bytes(self.count()).decode("utf-8", "replace")

    def adjacency(self, n: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        width = id_width(n)
        if n * 8 > len(self.data) - self.at:
            raise IndexError(n)
        counts = np.empty(n, dtype=np.int64)
        parts = []
        unpack, data, at = struct.Struct(self.order + "Q").unpack_from, self.data, self.at
        for node in range(n):
            counts[node] = unpack(data, at)[0]
            start = at + 8
            at = start + int(counts[node]) * width
            if at > len(data):
                raise IndexError(node)
            parts.append(data[start:at])
        self.at = at
        target = np.frombuffer(b"".join(parts), f"{self.order}u{width}").astype(np.int64)
        if len(target) and target.max() >= n:
            raise DataError(
                f"{self.path} names node {target.max()}, but has {n} nodes (0 … {n - 1}). "
                "It is damaged; copy it again."
            )
        return np.repeat(np.arange(n, dtype=np.int64), counts), target

    def values(self, name: str, kind: int, count: int) -> npt.NDArray[Any] | None:
        if kind in _SCALARS:
            raw = self.bytes(count * _WIDTHS[kind])
            values = np.frombuffer(raw, self.order + _SCALARS[kind])
            return (
                values.astype(bool) if kind == 0 else values.astype(values.dtype.newbyteorder("="))
            )
        if kind == _LONG_DOUBLE:
            self.bytes(count * _WIDTHS[kind])
        elif kind == _STRING:
            return np.array([self.text() for _ in range(count)], dtype=np.str_)
        elif kind in range(7, 13):
            return self.vectors(name, kind - 7, count)
        elif kind == _STRINGS:
            for _ in range(count):
                for _ in range(self.count()):
                    self.text()
        elif kind == _OBJECT:
            for _ in range(count):
                self.bytes(self.count())
            self.notes.append(f"the map {name!r} holds Python objects and was left out")
            return None
        else:
            raise DataError(f"{self.path}: the map {name!r} has the unknown type {kind}.")
        self.notes.append(f"the map {name!r} (type {kind}) was left out")
        return None

    def vectors(self, name: str, kind: int, count: int) -> npt.NDArray[Any] | None:
        raw = [self.bytes(self.count() * _WIDTHS[kind]) for _ in range(count)]
        if kind not in _SCALARS or len({len(item) for item in raw}) != 1:
            self.notes.append(f"the map {name!r} holds uneven vectors and was left out")
            return None
        values = np.frombuffer(b"".join(raw), self.order + _SCALARS[kind]).reshape(count, -1)
        return values.astype(bool) if kind == 0 else values.astype(values.dtype.newbyteorder("="))


def id_width(n_nodes: int) -> int:
    """Return the bytes of one node id in a file of so many nodes."""
    return next((w for w in (1, 2, 4) if n_nodes < 1 << (8 * w)), 8)


def encode_gt(
    graph: GtGraph, *, comment: str = "written by clgkit", big_endian: bool = False
) -> bytes:
    """Return the bytes of a ``.gt`` file; edges are stored in the order of their source."""
    order = ">" if big_endian else "<"

    def count(number: int) -> bytes:
        return struct.pack(order + "Q", number)

    def text(value: str) -> bytes:
        return count(len(value.encode())) + value.encode()

    by_source = np.argsort(graph.source, kind="stable")
    n, width = graph.n_nodes, id_width(graph.n_nodes)
    ids = graph.target[by_source].astype(f"{order}u{width}").tobytes()
    counts = np.bincount(graph.source, minlength=n).tolist() if n else []
    parts = [MAGIC, bytes([1, big_endian]), text(comment), bytes([graph.directed]), count(n)]
    at = 0
    for number in counts:
        parts += [count(number), ids[at : at + number * width]]
        at += number * width
    maps = [(1, k, v) for k, v in graph.nodes.items()]
    maps += [(2, k, v[by_source]) for k, v in graph.edges.items()]
    parts.append(count(len(maps)))
    for key, name, values in maps:
        parts += [bytes([key]), text(name), _encode_map(values, order)]
    return b"".join(parts)


def _encode_map(values: npt.NDArray[Any], order: str) -> bytes:
    if values.dtype.kind == "U":
        texts = [str(value).encode() for value in values.tolist()]
        packed = b"".join(struct.pack(order + "Q", len(t)) + t for t in texts)
        return bytes([_STRING]) + packed
    kind = {"b": 0, "i": 3, "u": 3, "f": 4}[values.dtype.kind]
    raw = values.astype(order + _SCALARS[kind])
    if values.ndim == 1:
        return bytes([kind]) + raw.tobytes()
    head = struct.pack(order + "Q", values.shape[1])
    return bytes([kind + 7]) + b"".join(head + row.tobytes() for row in raw)


def write_gt(path: Path | str, graph: GtGraph) -> None:
    """Write a ``.gt`` file, read it back and rename it."""
    data = encode_gt(graph)

    def check(temporary: Path) -> None:
        if not _same(graph, read_gt(temporary)):
            raise StoreError(f"{path} did not read back as it was written. Is the disk failing?")

    fsio.publish(writable(path), lambda temporary: temporary.write_bytes(data), check)


def _same(written: GtGraph, again: GtGraph) -> bool:
    order = np.argsort(written.source, kind="stable")
    pairs = [
        (written.n_nodes, again.n_nodes),
        (written.directed, again.directed),
        (written.source[order], again.source),
        (written.target[order], again.target),
        *((values, again.nodes.get(name)) for name, values in written.nodes.items()),
        *((values[order], again.edges.get(name)) for name, values in written.edges.items()),
    ]
    return all(_equal(there, here) for there, here in pairs)


def _equal(written: Any, again: Any) -> bool:
    if again is None:
        return False
    floats = np.asarray(written).dtype.kind == "f"
    return bool(np.array_equal(written, again, equal_nan=floats))
