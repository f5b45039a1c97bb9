"""Stored motion on image files: ``apply-motion``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clgkit.cli.plain import FILES, stage_command
from clgkit.cli.plain_images import (
    check_endings,
    image_options,
    movie_of,
    report_lost,
    write_image,
)
from clgkit.cli.shiftfile import motion_of_run, read_shifts
from clgkit.errors import SettingsError

if TYPE_CHECKING:
    from clgkit.workspace import Workspace


@stage_command(
    "apply_motion",
    """
clg apply-motion red.tif red_out.tif --shifts out_shifts.npz
clg apply-motion red.tif red_out.tif --run fish1
""",
)
@click.argument("movie", type=FILES)
@click.argument("output", type=FILES)
@click.option("--shifts", type=FILES, help="File that clg correct-motion left beside its movie.")
@click.option("--run", type=FILES, help="Run folder whose motion correction is finished.")
@click.option("--template-file", type=FILES, help="Write the mean image to this image file.")
@click.option("--rate-hz", type=float, help="Volumes per second.")
@image_options()
def apply_motion(
    movie: Path,
    output: Path,
    *,
    shifts: Path | None,
    run: Path | None,
    template_file: Path | None,
    params: Any,
    workspace: Workspace,
    **given: Any,
) -> None:
    """Move the frames of MOVIE as those of another movie were moved, and write them to OUTPUT.

    MOVIE is a second channel of that movie, or the movie before or after another treatment,
    with the same frames, planes and pixels.
    """
    from clgkit.stages.apply_motion import apply_motion as stage
    from clgkit.stages.apply_motion import check_size

    if (shifts is None) == (run is None):
        raise SettingsError("Say whose motion it is: with --shifts FILE or with --run FOLDER.")
    check_endings(output, template_file)
    frames = movie_of(movie, given, needed=False)
    found = read_shifts(shifts) if shifts else motion_of_run(run or Path())
    check_size(frames, found.shape_px)
    made = stage(frames, *found[:3], params=params, workspace=workspace)
    report_lost(made.corrected)
    write_image(output, made.corrected)
    if template_file is not None:
        write_image(template_file, made.template)
    click.echo(f"Wrote {output}.")
