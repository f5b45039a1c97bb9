"""Edges as files list them, and the network that they make."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from clgkit.data import Network, as_uint32
from clgkit.errors import DataError


class ReadNetwork(NamedTuple):
    """A network, what was changed to make it one, and the properties of its nodes."""

    network: Network
    notes: tuple[str, ...]
    nodes: dict[str, npt.NDArray[Any]]


@dataclass
class Edges:
    """Edges as a file lists them, by the numbers of their nodes.

    Parameters
    ----------
    n_nodes
        Isolated nodes included.
    source, target
        (E,) 0-based.
    weights
        (E,), or None.
    directed, both_ways
        The file calls them directed; it is a matrix, with both directions of each edge.
    nodes
        Property → (N, …); ``nucleus`` becomes the ids, ``position_um`` the places.
    notes, attributes
        Of the network.
    """

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

    def at(self, chosen: npt.NDArray[Any]) -> Edges:
        """Return the chosen edges."""
        weights = None if self.weights is None else self.weights[chosen]
        ends = {"source": self.source[chosen], "target": self.target[chosen]}
        return replace(self, **ends, weights=weights)


def settle(path: Path, edges: Edges, *, symmetrize: bool) -> ReadNetwork:
    """Make a network of edges: no loops, each edge once, both directions.

    Raises
    ------
    DataError
        ``E_SHAPE``: directed edges without `symmetrize`, or node ids that are none.
    """
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
    ids = _node_ids(path, edges, notes)
    network = _symmetric(edges.at(first), ids, notes)
    network.check()
    return ReadNetwork(network, tuple(notes), edges.nodes)


def _check_both_ways(path: Path, edges: Edges, *, symmetrize: bool) -> list[str]:
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


def _node_ids(path: Path, edges: Edges, notes: list[str]) -> npt.NDArray[np.uint32]:
    """Return the nuclei if the file names them, else the numbers of the nodes."""
    given = edges.nodes.get("nucleus")
    if given is not None and (given.dtype.kind not in "biuf" or given.ndim != 1):
        notes.append("the node property 'nucleus' holds no numbers; nodes are numbered from 0")
        given = None
    if given is None:
        return np.arange(edges.n_nodes, dtype=np.uint32)
    try:
        return as_uint32(given)
    except DataError as error:
        raise DataError(f"{path}: the node property 'nucleus': {error}", code=error.code) from error


def _symmetric(edges: Edges, ids: npt.NDArray[np.uint32], notes: list[str]) -> Network:
    n = edges.n_nodes
    rows = np.concatenate([edges.source, edges.target])
    columns = np.concatenate([edges.target, edges.source])
    order = np.lexsort((columns, rows))
    indptr = np.zeros(n + 1, dtype=np.int64)
    np.cumsum(np.bincount(rows, minlength=n)[:n], out=indptr[1:])
    weights = edges.weights
    both = None if weights is None else np.concatenate([weights, weights])[order]
    position = edges.nodes.get("position_um")
    if position is not None and (position.shape != (n, 3) or position.dtype.kind not in "biuf"):
        position = None
    attributes = {**edges.attributes, **({"notes": "; ".join(notes)} if notes else {})}
    return Network(
        indptr,
        columns[order].astype(np.int32),
        ids,
        None if both is None else both.astype(np.float32),
        None if position is None else position.astype(np.float64),
        attributes,
    )
