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
    problems = []
    for name in STAGES:
        if store.manifest(name) is None:
            if STAGES[name].optional:
                continue
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
