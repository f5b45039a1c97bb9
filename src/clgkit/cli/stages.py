"""``clg stages``: what each stage needs and gives."""

from __future__ import annotations

import click

EPILOG = """\b
Example:
    clg stages
"""


@click.command("stages", epilog=EPILOG)
def command() -> None:
    """List the stages in order, with what each needs and gives."""
    from clgkit.cli.console import show_table
    from clgkit.stages import STAGES

    rows = [
        [name, ", ".join(stage.inputs.values()), stage.summary] for name, stage in STAGES.items()
    ]
    show_table("Stages", ["stage", "needs", "gives"], rows)
