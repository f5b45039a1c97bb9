"""Stages on networks: ``build-network``, ``measure-network``, ``dismantle``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from clgkit import io
from clgkit.cli.plain import FILES, stage_command
from clgkit.cli.plain_tables import labelled, read, trace_options

if TYPE_CHECKING:
    import xarray as xr

    from clgkit.data import Network
    from clgkit.workspace import Workspace


@stage_command(
    "build_network",
    """
clg build-network denoised.npz net.gt
clg build-network traces.mat net.graphml --key activity_matrix --rule fixed --threshold 0.5
clg build-network denoised.h5 net.npz --rule density --density 0.003
""",
)
@click.argument("traces", type=FILES)
@click.argument("output", type=FILES)
@trace_options
def build_network(
    traces: Path, output: Path, *, params: Any, workspace: Workspace, **given: Any
) -> None:
    """Join neurons of TRACES that are strongly correlated.

    OUTPUT ends in .gt, .graphml, .npz or .csv.
    """
    from clgkit.stages.build_network import build_network as stage

    made = stage(labelled(read(traces, given)), params=params, workspace=workspace)
    io.write_network(output, made.network)
    click.echo(
        f"Wrote {output}: {made.network.n_nodes} neurons, {made.network.n_edges} edges, "
        f"threshold {made.summary['threshold']:.4f}."
    )


def network_of(path: Path, *, symmetrize: bool) -> Network:
    """Read a network and print what the reader noticed."""
    found = io.read_network(path, symmetrize=symmetrize)
    for note in found.notes:
        click.echo(f"note: {note}", err=True)
    network: Network = found.network
    return network


SYMMETRIZE = click.option(
    "--symmetrize", is_flag=True, help="Read a directed network as an undirected one."
)


@stage_command(
    "measure_network",
    """
clg measure-network net.gt nodes.csv
""",
)
@click.argument("network", type=FILES)
@click.argument("output", type=FILES)
@SYMMETRIZE
def measure_network(
    network: Path, output: Path, *, symmetrize: bool, params: Any, workspace: Workspace
) -> None:
    """Write degree, clustering, component and centrality of every node of NETWORK.

    OUTPUT is a CSV file.
    """
    from clgkit.stages.measure_network import measure_network as stage

    made = stage(network_of(network, symmetrize=symmetrize), params=params, workspace=workspace)
    degree = made.degree
    names = ("clustering", "component", "eigenvector_centrality")
    columns = {"node": degree.coords["nucleus"].values, "degree": degree.values}
    io.write_csv(output, columns | {name: degree.coords[name].values for name in names})
    for name in ("n_nodes", "n_edges", "n_isolated", "n_components", "largest_component"):
        click.echo(f"{name} {made.summary[name]}")
    for name in ("density", "mean_degree", "mean_clustering", "transitivity"):
        value = made.summary[name]
        click.echo(f"{name} {value:.6g}" if value is not None else f"{name} undefined")
    click.echo(f"Wrote {output}.")


@stage_command(
    "dismantle",
    """
clg dismantle net.gt out
clg dismantle net.gt --method degree --target 0.2 out/
clg dismantle net.graphml out --method betweenness --no-adaptive
""",
)
@click.argument("network", type=FILES)
@click.argument("output", type=FILES)
@SYMMETRIZE
def dismantle(
    network: Path, output: Path, *, symmetrize: bool, params: Any, workspace: Workspace
) -> None:
    """Break NETWORK by removing nodes; write lcc_curve.csv and removed_nodes.csv to OUTPUT."""
    from clgkit.stages.dismantle import dismantle as stage

    read_in = network_of(network, symmetrize=symmetrize)
    made = stage(read_in, params=params, workspace=workspace)
    output.mkdir(exist_ok=True)
    tables = removal_tables(made.order, made.curve, read_in.n_nodes)
    for name, columns in tables.items():
        io.write_csv(output / name, columns)
    summary = made.summary
    reached = (
        "target not reached" if summary["removals"] is None else f"{summary['removals']} removals"
    )
    area = "" if summary["auc"] is None else f", AUC {summary['auc']:.4f}"
    click.echo(f"Wrote {output}: {reached}{area}.")


def removal_tables(
    order: xr.DataArray, curve: xr.DataArray, n_nodes: int
) -> dict[str, dict[str, Any]]:
    """Return file name → columns: the size of the LCC after each removal, and the removed nodes."""
    removed = np.arange(len(curve))
    share = curve.values / max(1, n_nodes)
    return {
        "lcc_curve.csv": {"removed": removed, "lcc": curve.values, "share": share},
        "removed_nodes.csv": {"step": removed[1:], "node": order.coords["nucleus"].values},
    }
