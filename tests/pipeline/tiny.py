"""A tiny simulated fish, made and run once, and copied for each test that changes it."""

import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clgkit.cli import main
from clgkit.cli.demo import write_settings
from clgkit.cli.fishfiles import write_fish
from clgkit.pipeline import settings
from clgkit.pipeline.runner import Outcome, Run, Selection
from clgkit.pipeline.store import Store
from clgkit.simulate import preset
from clgkit.stages import STAGES
from clgkit.workspace import Workspace

CHAIN = tuple(name for name, stage in STAGES.items() if not stage.optional)
"""The stages of a run that asks for no optional one."""
FISH = preset("tiny", shape_px=(32, 96, 96), n_neurons=70, n_planes=2, n_frames=30)


@cache
def _raw(base: Path) -> Path:
    folder = base / "fish"
    write_fish(folder, FISH, lambda *_: None)
    write_settings(folder, FISH)
    return folder


@cache
def _finished(base: Path) -> Path:
    folder = shutil.copytree(_raw(base), base / "finished")
    assert not compute(folder).failed
    return folder


@pytest.fixture
def fish(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with raw data and settings, and nothing computed."""
    return shutil.copytree(_raw(tmp_path_factory.getbasetemp()), tmp_path / "fish")


@pytest.fixture
def finished(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder in which every stage is finished."""
    return shutil.copytree(_finished(tmp_path_factory.getbasetemp()), tmp_path / "finished")


@pytest.fixture
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All numbers of the undisturbed run."""
    return numbers(_finished(tmp_path_factory.getbasetemp()))


@pytest.fixture
def clg(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Call the command line; returns exit code, standard output and standard error."""

    def call(*words: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main([str(word) for word in words])
        told = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, told.out, told.err

    return call


def opened(folder: Path, *overrides: str) -> Run:
    return Run(settings.load(folder, overrides))


def compute(folder: Path, *overrides: str, **selection: Any) -> Outcome:
    """Run in this process and thread."""
    return opened(folder, *overrides).execute(Workspace(executor="serial"), Selection(**selection))


def states(folder: Path, *overrides: str, **selection: Any) -> dict[str, str]:
    """Return stage → its state and why."""
    steps = opened(folder, *overrides).plan(Selection(**selection))
    return {step.name: f"{step.state} {step.why}".strip() for step in steps}


def numbers(folder: Path) -> dict[str, Any]:
    """Return every number of every result: values, coordinates, plain values."""
    made: dict[str, Any] = {}
    store = Store(folder)
    for name in CHAIN:
        result = store.result(name)
        made[name] = result.manifest.values
        for output in result.manifest.outputs:
            array = result.array(output)
            made[f"{name}.{output}"] = array.values
            for coord in array.coords:
                made[f"{name}.{output}.{coord}"] = array.coords[coord].values
    return made


def assert_same_numbers(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, np.ndarray):
            assert found[name].dtype == value.dtype, name
            np.testing.assert_array_equal(found[name], value, err_msg=name)
        else:
            assert found[name] == value, name


def litter(folder: Path) -> Iterator[Path]:
    """Yield what should not be there after a run has ended."""
    for pattern in (".tmp-*", "*.partial", "*.old", ".lock"):
        yield from folder.rglob(pattern)
