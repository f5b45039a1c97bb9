"""Removal orders: the curve of the largest component, its area, and a given order."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.integrate import simpson

from clgkit.dismantling import engine
from clgkit.dismantling.adjacency import Int32, Int64, check_graph, check_order, check_rows

RelativeTo: TypeAlias = Literal["nodes", "lcc"]


class Attack(NamedTuple):
    """A removal order and what it does to the largest component."""

    order: Int64
    """(R,) removed nodes, first to last."""
    curve: Int64
    """(R + 1,) nodes of the largest component after 0 to R removals."""
    n_nodes: int
    """The whole that the target is a share of: all nodes, or the first largest component."""
    target: float
    """Share of the whole at which the attack ends."""
    removals: int | None
    """Removals to the target; None if the order ended before."""
    auc: float | None
    """Sum of the curve without its first value, over `n_nodes`; None without the target."""


def lcc_curve(indptr: npt.ArrayLike, indices: npt.ArrayLike, order: npt.ArrayLike) -> Int64:
    """Return the size of the largest component after every removal of a fixed order.

    Parameters
    ----------
    indptr, indices
        Symmetric compressed sparse rows without self-loops.
    order : (R,)
        Nodes to remove, first to last; it may leave nodes out.

    Returns
    -------
    (R + 1,) int64
        Nodes of the largest connected component (LCC) after 0 to R removals.

    Raises
    ------
    TypeError, ValueError
        If the arrays are no compressed sparse rows, or a node is listed twice or missing.

    Notes
    -----
    The nodes are put back in reverse order with union by size: nearly linear in edges.
    """
    starts, ends = check_rows(indptr, indices)
    return _curve(starts, ends, check_order(order, starts.size - 1))


def _curve(indptr: Int64, indices: Int32, order: Int64) -> Int64:
    curve: Int64 = engine.curve_of(indptr, indices, order)[0]
    return curve


def stop_size(n_nodes: int, target: float) -> int:
    """Return the size of the largest component at which an attack ends, rounded up.

    Raises
    ------
    ValueError
        If `target` is not strictly between 0 and 1.
    """
    if not 0.0 < target < 1.0:
        raise ValueError(f"target is {target}; wanted a share of the network between 0 and 1.")
    # A product such as 0.07 * 100 is a little above the whole number it stands for.
    return math.ceil(target * n_nodes * (1.0 - 1e-12))


def stop_index(curve: npt.ArrayLike, n_nodes: int, target: float) -> int | None:
    """Return how many removals bring the largest component down to the target.

    Parameters
    ----------
    curve : (R + 1,)
        From :func:`lcc_curve`.
    n_nodes
        The whole that the target is a share of.
    target
        Share in (0, 1); ``target * n_nodes`` is rounded up.

    Returns
    -------
    int or None
        The first index at or below the target; None if the curve stays above.

    Raises
    ------
    ValueError
        If `target` is not strictly between 0 and 1.
    """
    reached = np.flatnonzero(np.asarray(curve) <= stop_size(n_nodes, target))
    return int(reached[0]) if reached.size else None


def auc(curve: npt.ArrayLike, n_nodes: int) -> float:
    """Return the sum of the curve after the first removal, over the number of nodes."""
    total = np.asarray(curve)[1:].sum()
    return float(total / n_nodes) if n_nodes else 0.0


def auc_simpson(curve: npt.ArrayLike, n_nodes: int) -> float:
    """Return the area by Simpson's rule, step 1, over the R values after a removal.

    It is what GDM (Grassia et al., Nat. Commun. 12 (2021) 5190) calls AUC; about half the
    first and half the last value lower than :func:`auc`.
    """
    heights = np.asarray(curve, np.float64)[1:] / max(n_nodes, 1)
    if heights.size < 2:
        return float(heights.sum())
    return float(simpson(heights, dx=1.0))


def robustness(curve: npt.ArrayLike, n_nodes: int) -> float:
    """Return Schneider's R: the mean share of the largest component over a complete order.

    Raises
    ------
    ValueError
        If the curve is not that of the removal of all nodes.
    """
    values = np.asarray(curve)
    if values.size != n_nodes + 1:
        raise ValueError(
            f"the curve has {values.size} values; robustness needs the removal of all "
            f"{n_nodes} nodes, {n_nodes + 1} values."
        )
    return auc(values, n_nodes) / n_nodes if n_nodes else 0.0


def attack_in_order(
    indptr: npt.ArrayLike,
    indices: npt.ArrayLike,
    order: npt.ArrayLike,
    *,
    target: float,
    relative_to: RelativeTo = "nodes",
    lcc_only: bool = True,
) -> Attack:
    """Remove listed nodes until the largest component has shrunk to the target.

    Parameters
    ----------
    indptr, indices
        Symmetric compressed sparse rows without self-loops.
    order : (R,)
        Nodes, the most important first; it may leave nodes out.
    target
        Share in (0, 1) of the whole, rounded up to nodes.
    relative_to
        The whole: ``"nodes"`` for all of them, ``"lcc"`` for the first largest component.
    lcc_only
        Always remove the first listed node that lies in the largest component (the rule of
        GDM), instead of every node in its turn.

    Returns
    -------
    Attack
        Without any removal where the target is reached already.

    Raises
    ------
    TypeError, ValueError
        If the graph, the order or the target is not what it should be.
    """
    starts, ends = check_graph(indptr, indices)
    nodes = check_order(order, starts.size - 1)
    whole = whole_of(starts, ends, relative_to)
    stop = stop_size(whole, target)
    if lcc_only:
        state = engine.start_state(starts, ends)
        removed, curve = engine.attack_list(state, nodes, stop)
        return finish(removed, curve, whole, target)
    return finish(nodes, _curve(starts, ends, nodes), whole, target)


def whole_of(indptr: Int64, indices: Int32, relative_to: RelativeTo) -> int:
    """Return the number of nodes that a target is a share of."""
    if relative_to not in {"nodes", "lcc"}:
        raise ValueError(f"relative_to is {relative_to!r}; wanted 'nodes' or 'lcc'.")
    if relative_to == "nodes":
        return indptr.size - 1
    return int(_curve(indptr, indices, np.empty(0, np.int64))[0])


def finish(order: Int64, curve: Int64, n_nodes: int, target: float) -> Attack:
    """Cut an order at its target and add up the area."""
    removals = stop_index(curve, n_nodes, target)
    if removals is None:
        return Attack(order, curve, n_nodes, target, None, None)
    kept = curve[: removals + 1].copy()
    return Attack(order[:removals].copy(), kept, n_nodes, target, removals, auc(kept, n_nodes))
