"""``segment-nuclei`` on plain files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clgkit import io
from clgkit.cli.plain import FILES, stage_command
from clgkit.cli.plain_images import check_endings, image_options, volume_of, write_image

if TYPE_CHECKING:
    from clgkit.workspace import Workspace


@stage_command(
    "segment_nuclei",
    """
clg segment-nuclei stack.tif labels.tif --axes zyx --voxel-um 1,0.4,0.4
clg segment-nuclei stack.h5 labels.tif --dataset raw --axes zyx
    --voxel-um 0.28,0.13,0.13 --diameter-um 2.6 --elongation 1
clg segment-nuclei stack.tif labels.tif --method cellpose --model cyto2_retrained
clg segment-nuclei stack.tif labels.tif --method import --labels folder_of_masks
""",
)
@click.argument("structure", type=FILES)
@click.argument("output", type=FILES)
@click.option("--model", type=FILES, help="A network of your own (method network or cellpose).")
@click.option("--labels", type=FILES, help="Labels made elsewhere (method import).")
@click.option("--nuclei", type=FILES, help="Write size, confidence and flags to this CSV file.")
@click.option("--ignore-noise", is_flag=True, help="Go on even if the stack looks like noise.")
@image_options()
def segment_nuclei(
    structure: Path,
    output: Path,
    *,
    nuclei: Path | None,
    ignore_noise: bool,
    params: Any,
    workspace: Workspace,
    **given: Any,
) -> None:
    """Give every nucleus of the stack STRUCTURE a number and write the labels to OUTPUT."""
    from clgkit.pipeline.inputs import refuse_noise, some_slices
    from clgkit.pipeline.models import open_model, read_nuclei
    from clgkit.stages.segment_nuclei import segment_nuclei as stage

    check_endings(output)
    volume = volume_of(structure, given, needed=True)
    if not ignore_noise:
        refuse_noise(some_slices(volume), "stack", remedy="add --ignore-noise")
    model = None if given["model"] is None else open_model(given["model"])
    known = None if given["labels"] is None else read_nuclei(given["labels"], like=volume)
    for note in () if known is None else known.attrs["notes"]:
        click.echo(f"warning: {note}", err=True)
    made = stage(volume, None, model, known, params=params, workspace=workspace)
    write_image(output, made.labels)
    if nuclei is not None:
        columns = {name: made.nuclei.coords[name].values for name in ("nucleus", "z", "y", "x")}
        measured = zip(made.summary["measures"], made.nuclei.values.T, strict=True)
        io.write_csv(nuclei, columns | dict(measured))
    n, suspect = made.summary["n_nuclei"], made.summary["n_suspect"]
    click.echo(f"Wrote {output}: {n} nuclei, {suspect} of them suspect.")
