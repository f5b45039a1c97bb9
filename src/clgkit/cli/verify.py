"""``clg verify``: read every stored result and compare checksums."""

from __future__ import annotations

from pathlib import Path

import click

from clgkit.cli.options import run_folder

EPILOG = """\b
Example:
    clg verify fish1
"""


@click.command("verify", epilog=EPILOG)
@run_folder()
@click.option("--quick", is_flag=True, help="Compare sizes only.")
def command(run: Path, *, quick: bool) -> None:
    """Compare every file of every result of RUN with its receipt.

    Exit code 6 if a result is missing, incomplete or changed.
    """
    from clgkit.errors import StoreError
    from clgkit.pipeline.store import Store
    from clgkit.stages import STAGES

    store = Store(run)
    asked = _asked_for(run)
    problems = []
    for name in STAGES:
        if store.manifest(name) is None:
            if name in asked:
                problems.append(f"{name}: incomplete")
            continue
        result = store.result(name, check=False)
        damage = result.damage("quick" if quick else "full")
        problems += [f"{name}: {sentence}" for sentence in damage]
        if not damage:
            click.echo(f"{name}: {len(result.manifest.files)} files intact")
    if problems:
        listed = "".join(f"\n  - {problem}" for problem in problems)
        raise StoreError(f"{run} is not whole:{listed}\nRun `clg run {run} --check` to mend it.")


def _asked_for(run: Path) -> set[str]:
    """Return the stages of a run; without settings that can be read those of any run."""
    from clgkit.errors import SettingsError
    from clgkit.pipeline import settings
    from clgkit.pipeline.plan import stages_of
    from clgkit.stages import STAGES

    try:
        return set(stages_of(settings.load(run)))
    except SettingsError:
        return {name for name, stage in STAGES.items() if not stage.optional}
