"""Options that several commands share, and the workspace they describe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from clgkit.workspace import Workspace

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def run_folder(*, exists: bool = True) -> Decorator:
    """Add the argument RUN, a run folder."""
    kind = click.Path(file_okay=False, exists=exists, path_type=Path)
    return click.argument("run", type=kind)


RESOURCES = ("workers", "memory_mb", "executor", "device")


def resources(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say what a command may use."""
    for option in reversed(
        [
            click.option("--workers", type=click.IntRange(1), help="Blocks at the same time."),
            click.option(
                "--memory-mb", type=click.FloatRange(1), help="Memory for all blocks in flight."
            ),
            click.option(
                "--executor",
                type=click.Choice(["serial", "threads", "processes"]),
                help="How blocks run.",
            ),
            click.option("--device", help='"cpu", "cuda" or "cuda:1", where a stage can use it.'),
        ]
    ):
        command = option(command)
    return command


def overrides(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option that changes single settings."""
    return click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="SECTION.KEY=VALUE",
        help="Change a setting for this call; may be repeated.",
    )(command)


def workspace(
    workers: int | None = None,
    memory_mb: float | None = None,
    executor: str | None = None,
    device: str | None = None,
) -> Workspace:
    """Return the workspace that the resource options describe."""
    from clgkit.cli.console import Progress
    from clgkit.workspace import Workspace

    options: dict[str, Any] = {"workers": workers, "memory_mb": memory_mb, "progress": Progress()}
    chosen = {"executor": executor, "device": device}
    options |= {key: value for key, value in chosen.items() if value is not None}
    return Workspace(**options)
