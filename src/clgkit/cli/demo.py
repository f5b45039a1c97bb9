"""``clg demo``: simulate a fish, run everything, and compare with the truth."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clgkit.cli.options import resources

if TYPE_CHECKING:
    from clgkit.pipeline.runner import Run
    from clgkit.simulate import FishSettings

SUMMARY = "summary.json"
EPILOG = """\b
Examples:
    clg demo demo
    clg demo small --preset tiny
"""


@click.command("demo", epilog=EPILOG)
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
@resources
def command(folder: Path, name: str, seed: int, **given: Any) -> None:
    """Simulate a fish in FOLDER, run the whole chain on it, and compare with the truth.

    Leaves FOLDER/report.html and FOLDER/summary.json.  What is there already is not
    computed again.
    """
    from clgkit.cli.console import Progress
    from clgkit.cli.fishfiles import write_fish
    from clgkit.cli.report import write_report
    from clgkit.cli.run import execute, finish, workspace_of
    from clgkit.cli.simulate import fish_settings
    from clgkit.pipeline import settings
    from clgkit.pipeline.runner import Run

    fish = fish_settings(name, seed)
    if write_fish(folder, fish, Progress()):
        click.echo(f"Simulated a fish in {folder / 'raw'}.")
    else:
        click.echo(f"The fish in {folder / 'raw'} is there already.")
    write_settings(folder, fish)
    loaded = settings.load(folder)
    work = Run(loaded)
    outcome = execute(work, workspace_of(loaded, given))
    finish(outcome)
    summary = summarize(work, folder)
    path, fresh = write_report(work, truth=summary)
    show(summary)
    click.echo(f"Report: {path}" + ("" if fresh else " (unchanged)"))


def write_settings(folder: Path, fish: FishSettings) -> None:
    """Write run.toml for the fish, unless it says this already."""
    from clgkit import fsio
    from clgkit.cli.fishfiles import is_written, run_values
    from clgkit.pipeline import settings
    from clgkit.stages import STAGES

    values = run_values(fish, nuclear=is_written(folder, fish, nuclear=True))
    optional = {name for name, stage in STAGES.items() if stage.optional}
    text = settings.as_toml(settings.parse(values, "the settings of the demo"), optional)
    path = folder / settings.FILE
    if not path.is_file() or path.read_text() != text:
        fsio.write_text(path, text)


def summarize(work: Run, folder: Path) -> dict[str, Any]:
    """Return the comparison with the truth, from the file if it is of this very run."""
    from clgkit import fsio
    from clgkit.cli.truth import compare
    from clgkit.pipeline.store import digest

    key = digest([[step.name, step.key] for step in work.plan()])
    path = folder / SUMMARY
    try:
        stored = json.loads(path.read_text())
    except (OSError, ValueError):
        stored = {}
    if isinstance(stored, dict) and stored.get("key") == key:
        return stored
    summary = {"key": key, **compare(work, folder)}
    fsio.write_json(path, summary)
    return summary


def show(summary: dict[str, Any]) -> None:
    """Print what was reached and what it cost."""
    from clgkit.cli.console import show_table
    from clgkit.report.overview import TARGETS

    rows = []
    for target in TARGETS:
        value = summary[target.key]
        if target.is_free:
            rows.append([target.meaning, f"{value:.3f}", "", ""])
            continue
        wanted = f">= {target.low:g}"
        if math.isfinite(target.high):
            wanted = f"{target.low:g} … {target.high:g}"
        reached = "yes" if target.low <= value <= target.high else "NO"
        rows.append([target.meaning, f"{value:.3f}", wanted, reached])
    click.echo(
        f"{summary['n_rois_before']} rois on all planes were {summary['n_neurons']} neurons; "
        f"{summary['n_true_neurons']} were there."
    )
    show_table("Compared with the truth", ["figure", "reached", "wanted", "met"], rows)
    show_table(
        "Cost",
        ["stage", "seconds", "processor s", "peak MB"],
        [
            [name, f"{c['seconds']:.1f}", f"{c['cpu_seconds']:.1f}", f"{c['peak_mb']:.0f}"]
            for name, c in summary["stages"].items()
        ],
    )
