"""``clg export``: traces, network and tables of a run as files for other programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clgkit.cli.options import run_folder

if TYPE_CHECKING:
    from clgkit.pipeline.store import Store

FORMATS = ("h5", "mat", "npz", "graphml", "gt", "csv", "mha")
EPILOG = """\b
Examples:
    clg export fish1
    clg export fish1 --to for_matlab --format mat --format graphml
"""
Writer = Callable[[Path], None]


@click.command("export", epilog=EPILOG)
@run_folder()
@click.option(
    "--to",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder; RUN/export if not given.",
)
@click.option(
    "--format", "formats", multiple=True, type=click.Choice(FORMATS),
    help="Ending of the files to write; may be repeated; all if not given.",
)  # fmt: skip
def command(run: Path, to: Path | None, formats: tuple[str, ...]) -> None:
    """Write the results of RUN as files for other programs.

    \b
    CellTrace_before_calibration  .h5 .mat .npz        one row per nucleus and plane
    CellTrace_after_calibration   .h5 .mat .npz        one row per neuron
    network                       .graphml .gt .npz    the graph
    plane_maps                    .npz                 where every pixel of a plane lies
    plane_NN_to_slice_NNN, and back   .mha             the same for ITK and ANTs
    lcc_curve, removed_nodes      .csv                 how the network breaks
    neurons                       .csv                 all that is known of each neuron

    Every file is read back and compared before it gets its name.
    """  # noqa: D301  (click reads the backspace)
    from clgkit.errors import StoreError
    from clgkit.pipeline.store import Store

    store = Store(run)
    folder = to or run / "export"
    folder.mkdir(parents=True, exist_ok=True)
    for warning in _not_current(run):
        click.echo(f"warning: {warning}", err=True)
    missing = []
    for product in (maps, traces_before, traces_after, network, dismantling, neurons):
        try:
            writers = dict(product(store))
        except StoreError as error:
            missing.append(error.message)
            continue
        for name, write in writers.items():
            if not formats or name.rpartition(".")[2] in formats:
                write(folder / name)
                click.echo(f"Wrote {folder / name}.")
    if missing:
        raise StoreError("".join(f"\n  - {sentence}" for sentence in missing))


def _not_current(run: Path) -> list[str]:
    """Return a line for every stored result that is not what the settings ask for."""
    from clgkit.errors import ClgError
    from clgkit.pipeline import settings
    from clgkit.pipeline.runner import Run

    try:
        steps = Run(settings.load(run)).plan()
    except ClgError as error:
        return [f"whether the results are current is not known: {error.message}"]
    return [f"{s.name} is {s.state} ({s.why}); it is exported as stored"
            for s in steps if s.state in {"stale", "damaged"}]  # fmt: skip


def maps(store: Store) -> Iterator[tuple[str, Writer]]:
    """Yield the files of the registration of planes and slices."""
    import numpy as np

    from clgkit.cli import mapfile
    from clgkit.pipeline import nouns

    result = store.result("align_planes")
    planes, found, residual = (nouns.load(result, k) for k in ("planes", "maps", "residual"))
    numbers = planes.coords["plane"].values if "plane" in planes.coords else np.arange(len(planes))
    labels = nouns.load(store.result("segment_nuclei"), "labels")
    yield (
        "plane_maps.npz",
        lambda path: mapfile.write_maps(
            path, planes=planes, maps=found, residual=residual, numbers=numbers
        ),
    )
    yield from mapfile.displacements(planes, found, labels, numbers)


def traces_before(store: Store) -> Iterator[tuple[str, Writer]]:
    """Yield the files of the traces before the planes are merged."""
    from clgkit.cli.plain_images import roi_bundle
    from clgkit.pipeline import nouns

    bundle = roi_bundle(nouns.load(store.result("extract_traces"), "rois"))
    yield from _trace_files("CellTrace_before_calibration", bundle)


def traces_after(store: Store) -> Iterator[tuple[str, Writer]]:
    """Yield the files of the traces after the planes are merged."""
    from clgkit.cli.plain_tables import neuron_bundle
    from clgkit.pipeline import nouns

    bundle = neuron_bundle(nouns.load(store.result("merge_planes"), "fluorescence"))
    yield from _trace_files("CellTrace_after_calibration", bundle)


def _trace_files(stem: str, bundle: Any) -> Iterator[tuple[str, Writer]]:
    from clgkit import io

    for suffix in ("h5", "mat", "npz"):
        yield f"{stem}.{suffix}", lambda path: io.write_traces(path, bundle)


def network(store: Store) -> Iterator[tuple[str, Writer]]:
    """Yield the files of the graph."""
    from clgkit import io
    from clgkit.pipeline import nouns

    made = nouns.load(store.result("build_network"), "network")
    for suffix in ("graphml", "gt", "npz"):
        yield f"network.{suffix}", lambda path: io.write_network(path, made)


def dismantling(store: Store) -> Iterator[tuple[str, Writer]]:
    """Yield the tables of the removals."""
    from clgkit import io
    from clgkit.cli.plain_networks import removal_tables
    from clgkit.pipeline import nouns

    result = store.result("dismantle")
    order, curve = (nouns.load(result, name) for name in ("order", "curve"))
    n_nodes = nouns.load(result, "summary")["n_nodes"]
    for name, columns in removal_tables(order, curve, n_nodes).items():
        yield name, lambda path, columns=columns: io.write_csv(path, columns)  # type: ignore[misc]


def neurons(store: Store) -> Iterator[tuple[str, Writer]]:
    """Yield the table of the neurons."""
    import numpy as np

    from clgkit import io
    from clgkit.pipeline import nouns
    from clgkit.traces import Reason

    merged = nouns.load(store.result("merge_planes"), "fluorescence")
    degree = nouns.load(store.result("measure_network"), "degree")
    reason = nouns.load(store.result("compute_dff"), "reason").values
    words = np.array([Reason(code).name.lower() for code in reason.tolist()], dtype=str)
    columns: dict[str, Any] = {"nucleus": merged.coords["nucleus"].values}
    columns |= {f"{dim}_um": merged.coords[dim].values for dim in "zyx"}
    columns |= {name: merged.coords[name].values for name in ("n_planes", "area_px")}
    columns["degree"] = degree.values
    for name in ("clustering", "component", "eigenvector_centrality"):
        columns[name] = degree.coords[name].values
    columns["dff"] = words
    yield "neurons.csv", lambda path: io.write_csv(path, columns)
