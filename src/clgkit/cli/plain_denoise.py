"""Noise out of movie files: ``denoise``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clgkit import io
from clgkit.cli.npz import write_npz
from clgkit.cli.plain import FILES, stage_command
from clgkit.cli.plain_images import (
    check_endings,
    image_options,
    movie_of,
    report_lost,
    write_image,
)
from clgkit.cli.shiftfile import read_shifts
from clgkit.errors import DataError

if TYPE_CHECKING:
    import xarray as xr

    from clgkit.workspace import Workspace


@stage_command(
    "denoise",
    """
clg denoise corrected.tif out.tif
clg denoise corrected.tif out.tif --shifts corrected_shifts.npz --smooth
clg denoise corrected.tif factors.npz --store factors
clg denoise corrected.tif out.tif --method support --weights denoiser.pth
clg denoise corrected.tif methods.csv --compare
""",
)
@click.argument("movie", type=FILES)
@click.argument("output", type=FILES)
@click.option("--compare", is_flag=True, help="Rank all methods on MOVIE instead; OUTPUT is .csv.")
@click.option("--shifts", type=FILES, help="File of clg correct-motion, for its bad frames.")
@click.option("--weights", type=FILES, help="Trained network, for --method support.")
@click.option("--rate-hz", type=float, help="Volumes per second.")
@image_options()
def denoise(
    movie: Path,
    output: Path,
    *,
    compare: bool,
    shifts: Path | None,
    weights: Path | None,
    params: Any,
    workspace: Workspace,
    **given: Any,
) -> None:
    """Take the noise out of MOVIE, whose motion was corrected, and write it to OUTPUT.

    OUTPUT is an image file, an .npz file with --store factors, or a table with --compare.
    """
    from clgkit.pipeline.models import open_denoiser
    from clgkit.stages.denoise import denoise as stage

    _check_ending(output, "csv" if compare else params.store)
    frames = movie_of(movie, given, needed=False)
    bad = None if shifts is None else read_shifts(shifts).bad_frames
    network = None if weights is None else open_denoiser(weights)
    if compare:
        _compare(output, frames, bad, network, params=params, workspace=workspace)
        return
    made = stage(frames, bad, network, params, workspace=workspace)
    report_lost(made.mean)
    if made.denoised is None:
        write_npz(output, **_factors(made))
    else:
        write_image(output, made.denoised)
    click.echo(f"Wrote {output}.")
    for plane in made.summary["planes"]:
        click.echo(_told(plane))


def _check_ending(output: Path, kind: str) -> None:
    """Refuse a name that the result cannot be written to, before the work and not after."""
    wanted = {"factors": ".npz", "csv": ".csv"}.get(kind)
    if wanted is None:
        check_endings(output)
    elif output.suffix.lower() != wanted:
        what = "factors are" if kind == "factors" else "the comparison is"
        raise DataError(
            f"{output.name}: {what} written as {wanted}; choose this ending.", code="E_PATH"
        )


def _compare(
    output: Path,
    frames: xr.DataArray,
    bad: xr.DataArray | None,
    network: Any,
    *,
    params: Any,
    workspace: Workspace,
) -> None:
    """Write and print the methods, the best first."""
    from clgkit.stages._denoise_quality import Compared
    from clgkit.stages.denoise import compare as compare_all

    table = compare_all(frames, bad, network, params=params, workspace=workspace)
    columns = {name: [getattr(row, name) for row in table] for name in Compared._fields}
    io.write_csv(output, columns)
    click.echo(f"{'method':16}  held-out error  error of correlations  peak")
    for row in table:
        click.echo(
            f"{row.method:16}  {row.heldout_excess:14.4f}  {row.correlation_rms:21.4f}  "
            f"{row.peak:4.2f}"
        )
    click.echo(f"Wrote {output}; {table[0].method} is the best by both errors together.")


def _factors(made: Any) -> dict[str, Any]:
    """Return what the movie can be made of again: mean + sum of footprints * time courses."""
    from clgkit.denoising import grid_of

    grid = grid_of((made.mean.sizes["y"], made.mean.sizes["x"]))
    n = made.time_courses.sizes["component"]
    return {
        "mean": made.mean.values,
        "sigma": made.sigma.values,
        "footprints": made.footprints.isel(component=slice(0, n)).values,
        "time_courses": made.time_courses.values,
        "n_components": made.n_components.values,
        "first_row": grid.y,
        "first_column": grid.x,
    }


def _told(plane: dict[str, Any]) -> str:
    """Return the four numbers of a plane as a line."""
    named = {
        "held-out error": plane["heldout_excess"],
        "correlation error": plane["correlation_rms"],
        "removed signal": plane["residual_with_result"],
        "peak kept": plane["peak"],
    }
    told = (f"{name} {'-' if value is None else f'{value:.3g}'}" for name, value in named.items())
    return f"plane {plane['plane']}: {', '.join(told)}"
