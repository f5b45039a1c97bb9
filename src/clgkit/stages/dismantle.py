"""Order of removals that breaks the network, and how fast it breaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
import xarray as xr
from pydantic import Field

from clgkit import dismantling
from clgkit.errors import as_data_error
from clgkit.params import Params

if TYPE_CHECKING:
    from clgkit.data import Network
    from clgkit.workspace import Workspace

METHODS = {
    "degree": dismantling.attack_by_degree,
    "betweenness": dismantling.attack_by_betweenness,
}


class Dismantle(Params):
    """Settings of :func:`dismantle`."""

    method: Literal["degree", "betweenness"] = "degree"
    """Which nodes are removed first."""
    adaptive: bool = True
    """Score the nodes again after every removal, instead of once on the whole network."""
    target: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Stop when the largest component has shrunk to this share of the nodes."""
    relative_to: Literal["nodes", "lcc"] = "nodes"
    """The target is a share of all nodes, or of the largest component at the start."""


class Dismantled(NamedTuple):
    """What :func:`dismantle` gives."""

    order: xr.DataArray
    curve: xr.DataArray
    summary: dict[str, Any]


def dismantle(
    network: Network,
    params: Dismantle = Dismantle(),  # noqa: B008  (frozen)
    *,
    workspace: Workspace | None = None,  # noqa: ARG001  (the graph is worked on whole)
) -> Dismantled:
    """Remove nodes, the most important first, and follow the largest component (LCC).

    Parameters
    ----------
    network
        An undirected graph.
    params
        Settings.
    workspace
        Not used.

    Returns
    -------
    Dismantled
        ``order``: (step,) int64 removed nodes by row, with the coordinate ``nucleus``.
        ``curve``: (removed,) int64, size of the LCC after 0, 1, 2, … removals.
        ``summary``: ``removals`` to the target (None if it was not reached) and ``auc``, the
        sum of the curve after each removal over the number of nodes.

    Raises
    ------
    DataError
        If the network is malformed.
    """
    network.check()
    with as_data_error("dismantle"):
        attack = METHODS[params.method](
            network.indptr,
            network.indices,
            target=params.target,
            adaptive=params.adaptive,
            relative_to=params.relative_to,
        )
    nucleus = network.node_ids[attack.order]
    order = xr.DataArray(
        attack.order, dims=("step",), coords={"nucleus": ("step", nucleus)}, name="order"
    )
    curve = xr.DataArray(np.asarray(attack.curve), dims=("removed",), name="curve")
    summary = {
        "method": params.method,
        "adaptive": params.adaptive,
        "target": params.target,
        "n_nodes": network.n_nodes,
        "removals": attack.removals,
        "auc": attack.auc,
    }
    return Dismantled(order, curve, summary)
