"""``clg simulate``: make a fish with known answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

EPILOG = """\b
Examples:
    clg simulate fish
    clg simulate fish --preset tiny --seed 7
    clg simulate big --preset whole
    clg simulate fish --nuclear
    clg simulate fish --change n_frames=1600 --change photons=4
"""


@click.command("simulate", epilog=EPILOG)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--preset",
    "name",
    type=click.Choice(["demo", "tiny", "whole"]),
    default="demo",
    show_default=True,
    help="Size of the fish.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Which fish.")
@click.option(
    "--change", "changes", multiple=True, metavar="NAME=VALUE", help="Another value of a setting."
)
@click.option("--nuclear", is_flag=True, help="Write the nuclear channel of the movie, too.")
def command(folder: Path, name: str, seed: int, changes: tuple[str, ...], *, nuclear: bool) -> None:
    """Write raw data and the truth of a simulated fish into FOLDER.

    FOLDER/raw holds what a microscope would leave, FOLDER/truth what no microscope tells:
    labels, plane map, shifts, spikes and noise-free traces.  The same settings give the
    same bytes.  FOLDER becomes a run folder: its run.toml is written if it has none.
    """
    from clgkit.cli.console import Progress
    from clgkit.cli.fishfiles import NUCLEAR, run_values, write_fish
    from clgkit.pipeline import settings

    fish = fish_settings(name, seed, changes)
    fresh = write_fish(folder, fish, Progress(), nuclear=nuclear)
    click.echo(f"Wrote {folder}." if fresh else f"{folder} holds this fish already.")
    if not (folder / settings.FILE).exists():
        settings.write(folder, run_values(fish, nuclear=nuclear))
    elif nuclear and settings.load(folder).path("nuclear") is None:
        click.echo(
            f'{folder / settings.FILE} was left as it is; under [nuclear] it has to say path = "'
            f'{NUCLEAR.as_posix()}" for a run to use the nuclear channel.'
        )


def fish_settings(name: str, seed: int, changes: tuple[str, ...] = ()) -> Any:
    """Return the settings of a fish from what the command line says."""
    import tomllib

    from clgkit.errors import SettingsError
    from clgkit.simulate import preset

    given: dict[str, Any] = {"seed": seed}
    try:
        for change in changes:
            given |= tomllib.loads(change)
        lists = {key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}
        return preset(name, **lists)
    except (ValueError, TypeError) as error:
        raise SettingsError(f"These settings make no fish: {error}") from None
