"""``clg status``: what is there, what is missing and why."""

from __future__ import annotations

from pathlib import Path

import click

from clgkit.cli.options import overrides, run_folder

EPILOG = """\b
Examples:
    clg status fish1
    clg status fish1 --set correct_motion.max_shift_px=4
"""


@click.command("status", epilog=EPILOG)
@run_folder()
@overrides
def command(run: Path, overrides: tuple[str, ...]) -> None:
    """Show every stage of RUN: current, stale (and why), interrupted or missing."""
    from clgkit.cli.console import duration, show_table
    from clgkit.pipeline import settings
    from clgkit.pipeline.runner import Run

    work = Run(settings.load(run, overrides))
    rows = []
    for step in work.plan():
        manifest = work.store.manifest(step.name)
        cost = manifest.cost if manifest else {}
        lost = ", ".join(manifest.failed_planes) if manifest else ""
        rows.append(
            [
                step.name,
                step.state,
                step.why + (f" planes left out: {lost}" if lost else ""),
                duration(cost["seconds"]) if cost else "",
                f"{cost['peak_mb']:,.0f}" if cost else "",
            ]
        )
    show_table(str(run), ["stage", "state", "why", "time", "peak MB"], rows)
