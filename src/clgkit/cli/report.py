"""``clg report``: write the HTML report of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clgkit.cli.options import run_folder

if TYPE_CHECKING:
    from clgkit.pipeline.runner import Run

FILE = "report.html"
SUMMARY = "summary.json"
HEAD_BYTES = 2000
EPILOG = """\b
Examples:
    clg report fish1
    clg report fish1 --force
"""


@click.command("report", epilog=EPILOG)
@run_folder()
@click.option("--force", is_flag=True, help="Write it again although it shows these results.")
def command(run: Path, *, force: bool) -> None:
    """Write RUN/report.html: figures, numbers, warnings and settings of all finished stages.

    It is a single file that needs no network.  A report that shows the present results
    already is left as it is.
    """
    from clgkit.pipeline import settings
    from clgkit.pipeline.runner import Run

    path, fresh = write_report(Run(settings.load(run)), force=force)
    click.echo(f"Report: {path}" + ("" if fresh else " (unchanged)"))


def write_report(
    work: Run, truth: Mapping[str, Any] | None = None, *, force: bool = False
) -> tuple[Path, bool]:
    """Write the report of a run, unless the file shows these results already.

    Parameters
    ----------
    work
        The run.
    truth
        Comparison of a simulated fish with its truth; if it is not given, the one that
        ``clg demo`` left in the run folder is taken, provided it is of these results.
    force
        Write in any case.

    Returns
    -------
    path, written
        Where the report is, and whether it was written.
    """
    from clgkit import fsio, report

    if truth is None:
        truth = stored_truth(work)
    path = work.settings.folder / FILE
    if not force and key_in(path) == report.key_of(work, truth=truth):
        return path, False
    fsio.write_text(path, report.build(work, truth=truth))
    return path, True


def key_in(path: Path) -> str | None:
    """Return the key of the results that a report shows, or None if there is no report."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES).decode(errors="replace")
    except OSError:
        return None
    _, found, rest = head.partition('<meta name="clgkit-key" content="')
    return rest.partition('"')[0] if found else None


def stored_truth(work: Run) -> dict[str, Any] | None:
    """Return the comparison that ``clg demo`` left behind, if it is of the present results."""
    import json

    from clgkit.pipeline.store import digest
    from clgkit.stages import STAGES

    try:
        found = json.loads((work.settings.folder / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    receipts = [work.store.manifest(name) for name in STAGES]
    key = digest([[m.stage, m.key] for m in receipts if m is not None])
    return found if isinstance(found, dict) and found.get("key") == key else None
