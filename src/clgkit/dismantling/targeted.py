"""Attacks on the most important nodes: by degree and by betweenness."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from clgkit.dismantling import engine, paths
from clgkit.dismantling.adjacency import Float64, Int32, Int64, check_graph
from clgkit.dismantling.attack import (
    Attack,
    RelativeTo,
    attack_in_order,
    finish,
    stop_size,
    whole_of,
)

TIE = 1e-9  # relative; symmetric nodes differ in the last bits by the order of summation


def attack_by_degree(
    indptr: npt.ArrayLike,
    indices: npt.ArrayLike,
    *,
    target: float,
    adaptive: bool,
    lcc_only: bool = True,
    relative_to: RelativeTo = "nodes",
) -> Attack:
    """Remove the nodes with most neighbours until the largest component is small.

    Parameters
    ----------
    indptr, indices
        Symmetric compressed sparse rows without self-loops.
    target
        Share in (0, 1) of the whole, rounded up to nodes.
    adaptive
        Count the remaining neighbours anew after every removal, instead of once.
    lcc_only
        Remove only nodes of the current largest component.
    relative_to
        The whole: ``"nodes"`` for all of them, ``"lcc"`` for the first largest component.

    Returns
    -------
    Attack
        Ties go to the lowest node.

    Raises
    ------
    TypeError, ValueError
        If the graph or the target is not what it should be.
    """
    starts, ends = check_graph(indptr, indices)
    if not adaptive:
        order = np.argsort(-np.diff(starts), kind="stable")
        return attack_in_order(
            starts, ends, order, target=target, relative_to=relative_to, lcc_only=lcc_only
        )
    whole = whole_of(starts, ends, relative_to)
    removed, curve = _by_degree(starts, ends, stop_size(whole, target), lcc_only=lcc_only)
    return finish(removed, curve, whole, target)


def _by_degree(indptr: Int64, indices: Int32, stop: int, *, lcc_only: bool) -> tuple[Int64, Int64]:
    """Remove the node with most remaining neighbours, again and again.

    The order that looks at no component is cheap, and right as long as each of its nodes
    lies in the largest one, which the curve tells.  Components are followed from there on.
    """
    state = engine.start_state(indptr, indices)
    largest = engine.largest(state)
    chosen = state.label == largest if lcc_only else state.label >= 0
    order = engine.degree_order(indptr, indices, chosen)
    curve, n_inside = engine.curve_of(indptr, indices, order)
    if not lcc_only or (curve[: n_inside + 1] <= stop).any():
        return order, curve
    state = engine.start_state(indptr, indices, order[:n_inside])
    rest, curve_of_rest = engine.attack_degree(state, stop)
    return (
        np.concatenate([order[:n_inside], rest]),
        np.concatenate([curve[:n_inside], curve_of_rest]),
    )


def attack_by_betweenness(
    indptr: npt.ArrayLike,
    indices: npt.ArrayLike,
    *,
    target: float,
    adaptive: bool,
    lcc_only: bool = True,
    relative_to: RelativeTo = "nodes",
) -> Attack:
    """Remove the nodes that most shortest paths run through until little hangs together.

    Parameters
    ----------
    indptr, indices
        Symmetric compressed sparse rows without self-loops.
    target
        Share in (0, 1) of the whole, rounded up to nodes.
    adaptive
        Compute the betweenness anew after every removal, instead of once.  It is exact,
        and takes N times M for every removal.
    lcc_only
        Remove only nodes of the current largest component.
    relative_to
        The whole: ``"nodes"`` for all of them, ``"lcc"`` for the first largest component.

    Returns
    -------
    Attack
        Values within 1e-9 relative tie; ties go to the lowest node.

    Raises
    ------
    TypeError, ValueError
        If the graph or the target is not what it should be, or there are more shortest paths
        between two nodes than float64 can count (about 1e308).
    """
    starts, ends = check_graph(indptr, indices)
    if not adaptive:
        return attack_in_order(
            starts,
            ends,
            descending(_load(starts, ends)),
            target=target,
            relative_to=relative_to,
            lcc_only=lcc_only,
        )
    whole = whole_of(starts, ends, relative_to)
    removed, curve = _by_betweenness(starts, ends, stop_size(whole, target), lcc_only=lcc_only)
    return finish(removed, curve, whole, target)


def _by_betweenness(
    indptr: Int64, indices: Int32, stop: int, *, lcc_only: bool
) -> tuple[Int64, Int64]:
    """Remove the node of largest betweenness, again and again."""
    state = engine.start_state(indptr, indices)
    largest = engine.largest(state)
    removed: list[int] = []
    curve = [int(state.size[largest]) if largest >= 0 else 0]
    while curve[-1] > stop:
        nodes = np.flatnonzero(state.label == largest if lcc_only else state.label >= 0)
        part = paths.compact(indptr, indices, nodes)
        load = _load(*part)
        node = int(nodes[np.argmax(load >= load.max() * (1.0 - TIE))])
        engine.remove(state, node)
        removed.append(node)
        largest = engine.largest(state)
        curve.append(int(state.size[largest]) if largest >= 0 else 0)
    return np.array(removed, np.int64), np.array(curve, np.int64)


def _load(indptr: Int64, indices: Int32) -> Float64:
    """Return twice the betweenness of every node."""
    load: Float64 = paths.path_load(indptr, indices, np.arange(indptr.size - 1))
    if not np.isfinite(load).all():
        raise ValueError("two nodes are joined by more than 1e308 shortest paths: no betweenness.")
    return load


def descending(score: Float64) -> Int64:
    """Return the nodes by descending score; near ties are ties, lowest node first."""
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    drops = ranked[1:] < ranked[:-1] * (1.0 - TIE)
    group = np.concatenate([np.zeros(min(score.size, 1), np.int64), np.cumsum(drops)])
    return order[np.lexsort((order, group))]
