"""``clg init``: write the settings file of a new run folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from clgkit.cli.options import run_folder

EPILOG = """\b
Examples:
    clg init fish1
    clg init fish1 --structure raw/red.tif --structure-axes zyx \\
        --function raw/green --rate-hz 2 --structure-voxel-um 1,0.39,0.39
"""


class Spacing(click.ParamType[tuple[float, ...]]):
    """Three numbers, such as ``1,0.4,0.4``."""

    name = "Z,Y,X"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[float, ...]:
        """Return the numbers."""
        try:
            numbers = tuple(float(part) for part in str(value).split(","))
        except ValueError:
            numbers = ()
        if len(numbers) != 3:
            self.fail(f"{value!r} is not three numbers such as 1,0.4,0.4", param, ctx)
        return numbers


@click.command("init", epilog=EPILOG)
@run_folder(exists=False)
@click.option("--structure", type=click.Path(path_type=Path), help="Structural stack.")
@click.option("--structure-axes", help='Its axes, such as "zyx".')
@click.option("--structure-voxel-um", type=Spacing(), help="Its voxel size in micrometres.")
@click.option("--function", type=click.Path(path_type=Path), help="Functional movie.")
@click.option("--function-axes", help='Its axes, such as "tzyx".')
@click.option("--function-voxel-um", type=Spacing(), help="Its voxel size in micrometres.")
@click.option("--rate-hz", type=float, help="Volumes per second.")
@click.option("--plane-map", type=click.Path(path_type=Path), help="Lines such as 2-85.")
@click.option("--time-average", is_flag=True, help="The movie's time average is the structure.")
@click.option("--overwrite", is_flag=True, help="Replace a settings file that is there.")
def command(run: Path, *, overwrite: bool, **given: Any) -> None:
    """Write RUN/run.toml, complete and commented, and fill in what is given.

    RUN is the folder that will hold the settings and all results.  Paths in the file are
    relative to it.
    """
    from clgkit.errors import SettingsError
    from clgkit.pipeline import settings

    if (run / settings.FILE).exists() and not overwrite:
        raise SettingsError(
            f"{run / settings.FILE} is there already. Edit it, or replace it with --overwrite."
        )
    values: dict[str, dict[str, Any]] = {"structure": {}, "function": {}, "plane_map": {}}
    for section in ("structure", "function", "plane_map"):
        if given[section] is not None:
            values[section]["path"] = os.path.relpath(given[section].resolve(), run.resolve())
    for section in ("structure", "function"):
        for key in ("axes", "voxel_um"):
            if given[f"{section}_{key}"] is not None:
                values[section][key] = given[f"{section}_{key}"]
    if given["rate_hz"] is not None:
        values["function"]["rate_hz"] = given["rate_hz"]
    values["structure"]["time_average"] = given["time_average"]
    path = settings.write(run, values)
    click.echo(f"Wrote {path}. Look through it, then: clg run {run}")
