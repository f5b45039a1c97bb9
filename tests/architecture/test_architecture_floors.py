"""Stairs only go down, siblings do not know each other, names say what is inside."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.architecture.sources import (
    ALGORITHMS,
    MODULES,
    PACKAGE,
    ROOT,
    expect_none,
    imports_of,
    name_of,
)

BANNED_NAMES = {"core", "utils", "tools", "helpers", "common", "misc", "util", "helper"}
NOT_FOR_ALGORITHMS = {
    "xarray", "zarr", "pydantic", "click", "typer", "rich",  # labels, store, settings, command line
    "pathlib", "h5py", "tifffile", "imagecodecs", "shutil", "tempfile",  # files
}  # fmt: skip
NETWORK = {"requests", "httpx", "aiohttp", "urllib.request", "http.client", "ftplib"}


def test_the_import_contracts_hold() -> None:
    # In a process of its own: the linter turns off the loggers of the one it runs in.
    program = Path(sys.executable).with_name("lint-imports")

    done = subprocess.run(
        [program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_contracts_name_every_algorithm_package() -> None:
    text = (ROOT / ".importlinter").read_text()
    listed = text.split("[importlinter:contract:workshops]")[1].split("forbidden_modules")[0]

    present = {f"clgkit.{path.relative_to(PACKAGE).parts[0]}" for path in ALGORITHMS}

    assert present <= set(listed.split())


def imported(paths: list[Path], unwanted: Callable[[str], bool]) -> list[str]:
    """Return a line for every import that is not wanted."""
    return [
        f"{name_of(path)}:{line} imports {name}"
        for path in paths
        for line, name in imports_of(path)
        if unwanted(name)
    ]


def test_algorithms_know_arrays_only() -> None:
    expect_none(imported(ALGORITHMS, lambda name: name.split(".")[0] in NOT_FOR_ALGORITHMS))


def test_imports_are_absolute() -> None:
    expect_none(imported(MODULES, lambda name: name.startswith(".")))


def test_nothing_is_fetched_from_the_network() -> None:
    expect_none(imported(MODULES, lambda name: name in NETWORK))


def test_names_say_what_is_inside() -> None:
    parts = {path: path.relative_to(PACKAGE).with_suffix("").parts for path in MODULES}

    banned = [p for p, words in parts.items() if {w.strip("_") for w in words} & BANNED_NAMES]

    expect_none([name_of(path) for path in banned])


def test_every_folder_is_a_package() -> None:
    folders = {path.parent for path in MODULES}

    expect_none([name_of(folder) for folder in folders if not (folder / "__init__.py").exists()])


def test_the_package_says_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()


def test_no_name_differs_from_another_by_case_only() -> None:
    paths = [os.fspath(path) for path in MODULES]

    assert len({path.lower() for path in paths}) == len(paths)
