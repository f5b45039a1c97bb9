"""``clg run``: compute whatever of a run is not there yet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clgkit.cli.options import overrides, resources, run_folder
from clgkit.errors import ClgError

if TYPE_CHECKING:
    from clgkit.pipeline.runner import Outcome, Run, Selection
    from clgkit.pipeline.settings import RunSettings
    from clgkit.workspace import Workspace

EPILOG = """\b
Examples:
    clg run fish1
    clg run fish1 --dry-run
    clg run fish1 --check
    clg run fish1 --until merge_planes --workers 4
    clg run fish1 --force segment_nuclei --set segment_nuclei.diameter_um=5.5
"""


@click.command("run", epilog=EPILOG)
@run_folder()
@click.option("--until", metavar="STAGE", help="Stop after this stage.")
@click.option("--force", metavar="STAGE", multiple=True, help="Compute this stage again.")
@click.option("--check", is_flag=True, help="Compare all checksums first, mend what has changed.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and what it would take.")
@click.option("--no-report", is_flag=True, help="Do not write report.html.")
@overrides
@resources
def command(
    run: Path,
    until: str | None,
    force: tuple[str, ...],
    *,
    check: bool,
    dry_run: bool,
    no_report: bool,
    overrides: tuple[str, ...],
    **given: Any,
) -> None:
    """Compute the stages of RUN that are missing or not current.

    Finished stages are kept; an interrupted stage goes on where it stopped, and of a damaged
    one only what is damaged is computed.  At the end RUN/report.html is written.
    """
    from clgkit.pipeline import settings
    from clgkit.pipeline.runner import Run, Selection

    loaded = settings.load(run, overrides)
    work = Run(loaded)
    until = until and until.replace("-", "_")
    selection = Selection(until, tuple(name.replace("-", "_") for name in force), check)
    if dry_run:
        show_plan(work, selection)
        return
    outcome = execute(work, workspace_of(loaded, given), selection)
    if not no_report and until is None and not outcome.failed:
        from clgkit.cli.report import write_report

        path, fresh = write_report(work)
        click.echo(f"Report: {path}" + ("" if fresh else " (unchanged)"))
    finish(outcome)


def workspace_of(loaded: RunSettings, given: dict[str, Any]) -> Workspace:
    """Return the workspace of the settings file, with what the command line changes."""
    from clgkit.cli.options import workspace

    chosen = loaded["resources"].model_dump()
    return workspace(**(chosen | {key: value for key, value in given.items() if value is not None}))


def execute(work: Run, workspace: Workspace, selection: Selection | None = None) -> Outcome:
    """Compute, with a log on the console and in the run folder."""
    from clgkit.cli.console import logging_to

    with logging_to(work.settings.folder) as note:
        try:
            outcome = work.execute(workspace, selection)
        except ClgError as error:
            note(error)
            raise
    for warning in outcome.warnings:
        click.echo(f"warning: {warning}", err=True)
    if outcome.kept and not outcome.computed:
        click.echo(f"All {len(outcome.kept)} stages are current; nothing was computed again.")
    elif outcome.kept:
        click.echo(f"Kept {len(outcome.kept)} stages, computed {len(outcome.computed)}.")
    return outcome


def finish(outcome: Outcome) -> None:
    """Raise the error that decides the exit code, if a stage failed."""
    from clgkit.pipeline.runner import first_error

    for name, blocker in outcome.blocked.items():
        click.echo(f"{name} is blocked by {blocker}", err=True)
    error = first_error(outcome)
    if error is not None:
        raise error


def show_plan(work: Run, selection: Selection) -> None:
    """Print the plan with what each step takes."""
    from clgkit.cli.console import show_table

    steps = work.plan(selection)
    estimates = work.estimates(steps)
    rows = [
        [
            step.name,
            step.state,
            step.why,
            "" if step.state == "current" else f"{estimates[step.name].disk_mb:,.0f}",
            "" if step.state == "current" else f"{estimates[step.name].memory_mb:,.0f}",
        ]
        for step in steps
    ]
    show_table(
        "Dry run: nothing is computed",
        ["stage", "state", "why", "disk MB (at most)", "memory MB (at most)"],
        rows,
    )
