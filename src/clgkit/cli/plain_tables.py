"""Stages on trace files: ``merge-planes``, ``compute-dff``, ``denoise-traces``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import xarray as xr

from clgkit import io
from clgkit.cli.plain import FILES, stage_command
from clgkit.cli.plain_images import image_options, labels_of
from clgkit.errors import DataError

if TYPE_CHECKING:
    from clgkit.workspace import Workspace


def trace_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where the traces lie in a file."""
    options = [
        click.option("--key", help='Variable that holds the traces; "trace" if not given.'),
        click.option("--position-key", help='Variable that holds positions; "pos" if not given.'),
        click.option("--transpose", is_flag=True, help="The file has one column per neuron."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def read(path: Path, given: dict[str, Any]) -> io.TraceBundle:
    """Read a trace file with the options of `trace_options`."""
    return io.read_traces(
        path,
        key=given["key"],
        position_key=given["position_key"],
        transpose=given["transpose"],
    )


def labelled(bundle: io.TraceBundle, rate_hz: float = 1.0) -> xr.DataArray:
    """Return the traces of a bundle as (neuron, time)."""
    n_neurons, n_frames = bundle.trace.shape
    ids = np.arange(1, n_neurons + 1) if bundle.nucleus is None else bundle.nucleus
    coords: dict[str, Any] = {
        "nucleus": ("neuron", np.asarray(ids)),
        "time": ("time", np.arange(n_frames) / rate_hz, {"units": "s"}),
    }
    if bundle.position is not None and bundle.position.shape[1] == 3:
        for axis, dim in enumerate("zyx"):
            coords[dim] = ("neuron", bundle.position[:, axis])
    return xr.DataArray(bundle.trace, dims=("neuron", "time"), coords=coords)


def write(path: Path, made: xr.DataArray, bundle: io.TraceBundle) -> None:
    """Write traces with the positions and nuclei they came with."""
    io.write_traces(path, bundle._replace(trace=made.values))
    click.echo(f"Wrote {path}: {made.shape[0]} traces of {made.shape[1]} frames.")


@stage_command(
    "merge_planes",
    """
clg merge-planes CellTrace_before_calibration.h5 labels.tif CellTrace_after_calibration.h5
clg merge-planes before.mat labels.tif after.mat --weights mean --labels-voxel-um 1,0.4,0.4
""",
)
@click.argument("rois", type=FILES)
@click.argument("labels", type=FILES)
@click.argument("output", type=FILES)
@image_options("labels")
def merge_planes(
    rois: Path, labels: Path, output: Path, *, params: Any, workspace: Workspace, **given: Any
) -> None:
    """Merge the traces of all planes that cut the same nucleus.

    ROIS is a file of extract-traces, LABELS the labels it was made with.  OUTPUT holds one
    row per neuron; pos is the centroid (z, y, x) in um.
    """
    from clgkit.stages.merge_planes import merge_planes as stage

    bundle = io.read_traces(rois)
    if bundle.nucleus is None or bundle.area is None:
        raise DataError(
            f"{rois} does not say which nucleus each row belongs to and how many pixels it has "
            "(nucIndex, nucArea). Make it with `clg extract-traces`.",
            code="E_SHAPE",
        )
    n_frames = bundle.trace.shape[1]
    table = xr.DataArray(
        bundle.trace,
        dims=("roi", "time"),
        coords={
            "nucleus": ("roi", bundle.nucleus),
            "area_px": ("roi", bundle.area),
            "time": ("time", np.arange(n_frames, dtype=float), {"units": "s"}),
        },
    )
    made = stage(table, labels_of(labels, given), params=params, workspace=workspace)
    io.write_traces(output, neuron_bundle(made.fluorescence))
    summary = made.summary
    click.echo(
        f"Wrote {output}: {summary['n_rois_before']} rois were {summary['n_neurons']} neurons."
    )


def neuron_bundle(neurons: xr.DataArray) -> io.TraceBundle:
    """Return the traces of all neurons with the centroid (um) of each."""
    position = np.column_stack([neurons.coords[dim].values for dim in "zyx"]).astype(np.float64)
    return io.TraceBundle(
        neurons.values,
        position,
        neurons.coords["nucleus"].values,
        neurons.coords["area_px"].values,
    )


@stage_command(
    "compute_dff",
    """
clg compute-dff CellTrace_after_calibration.h5 dff.npz --rate-hz 2
clg compute-dff traces.mat dff.mat --key activity_matrix --rate-hz 2.16
clg compute-dff after.h5 dff.h5 --rate-hz 1 --edges zero
""",
)
@click.argument("traces", type=FILES)
@click.argument("output", type=FILES)
@click.option("--rate-hz", type=click.FloatRange(0, min_open=True), required=True,
              help="Frames per second.")  # fmt: skip
@trace_options
def compute_dff(
    traces: Path,
    output: Path,
    *,
    rate_hz: float,
    params: Any,
    workspace: Workspace,
    **given: Any,
) -> None:
    """Divide the change of every trace in TRACES by its baseline and write OUTPUT."""
    from clgkit.stages.compute_dff import compute_dff as stage

    bundle = read(traces, given)
    write(output, stage(labelled(bundle, rate_hz), params=params, workspace=workspace).dff, bundle)


@stage_command(
    "denoise_traces",
    """
clg denoise-traces dff.npz denoised.npz
clg denoise-traces traces.mat denoised.h5 --key activity_matrix --variance 0.9
""",
)
@click.argument("traces", type=FILES)
@click.argument("output", type=FILES)
@trace_options
def denoise_traces(
    traces: Path, output: Path, *, params: Any, workspace: Workspace, **given: Any
) -> None:
    """Keep of every trace in TRACES what the strongest principal components hold.

    OUTPUT is a file of traces again.
    """
    from clgkit.stages.denoise_traces import denoise_traces as stage

    bundle = read(traces, given)
    made = stage(labelled(bundle), params=params, workspace=workspace)
    write(output, made.denoised, bundle)
    click.echo(f"{made.summary['n_components']} components.")
