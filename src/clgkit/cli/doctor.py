"""``clg doctor``: check this installation and machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import tempfile
from pathlib import Path

import click

EXTRAS = {"torch": "deep", "starlette": "app", "pynwb": "nwb", "anndata": "anndata"}
LEAST_FREE_MB = 2000
EPILOG = """\b
Example:
    clg doctor
"""


@click.command("doctor", epilog=EPILOG)
def command() -> None:
    """Check versions, kernels, memory, disk and threads, and say how to mend what is wrong.

    Exit code 4 if something needs mending.
    """
    from clgkit.errors import ResourceError

    click.echo(f"Python {platform.python_version()} on {platform.system()} {platform.machine()}")
    problems = [*_packages(), *_kernel(), *_machine()]
    if problems:
        raise ResourceError("".join(f"\n  - {problem}" for problem in problems))
    click.echo("All is well.")


def _packages() -> list[str]:
    from clgkit.pipeline.runner import PACKAGES

    problems = []
    for name in PACKAGES:
        try:
            click.echo(f"  {name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            problems.append(f"{name} is not installed: pip install --upgrade clgkit")
    for name, extra in EXTRAS.items():
        try:
            click.echo(f"  {name} {importlib.metadata.version(name)} (extra {extra})")
        except importlib.metadata.PackageNotFoundError:
            click.echo(f"  {name} is not there; pip install 'clgkit[{extra}]' brings it")
    return problems


def _kernel() -> list[str]:
    """Compile and run a real kernel, and compare its answer."""
    import numpy as np

    from clgkit.traces import extract, find_rois

    try:
        labels = np.array([[0, 1], [1, 1]], np.uint32)
        means = extract(np.arange(8, dtype=np.float32).reshape(2, 2, 2), find_rois(labels))
        fine = np.allclose(means, [[2.0, 6.0]])
    except Exception as error:  # noqa: BLE001  (whatever it is, it is the finding)
        return [f"compiled kernels do not run ({error}): reinstall numba and llvmlite"]
    return [] if fine else ["compiled kernels give wrong numbers: reinstall numba and llvmlite"]


def _machine() -> list[str]:
    import psutil

    from clgkit.workspace import processors

    memory = psutil.virtual_memory().available / 1e6
    folder = Path(tempfile.gettempdir())
    disk = shutil.disk_usage(Path.cwd()).free / 1e6
    click.echo(f"  {processors()} processors, {memory:,.0f} MB of memory and")
    click.echo(f"  {disk:,.0f} MB of disk are free here")
    problems = []
    if memory < LEAST_FREE_MB:
        problems.append(f"only {memory:.0f} MB of memory are free: close other programs")
    if disk < LEAST_FREE_MB:
        problems.append(f"only {disk:.0f} MB of disk are free here: make room")
    if not os.access(folder, os.W_OK):
        problems.append(f"{folder} cannot be written: set TMPDIR to a folder that can")
    return problems
