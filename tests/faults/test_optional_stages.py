"""A run with every optional piece at once, stopped anywhere, goes on to the same bytes."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clgkit.cli.demo import write_settings
from clgkit.cli.fishfiles import write_fish
from clgkit.pipeline.runner import Selection
from clgkit.pipeline.store import Store
from clgkit.simulate import preset
from clgkit.workspace import Workspace
from tests.pipeline.tiny import opened

FISH = preset("tiny", shape_px=(32, 96, 96), n_neurons=60, n_planes=2, n_frames=24)
STAGES_OF_IT = (
    "deconvolve", "segment_nuclei", "correct_motion", "apply_motion",
    "align_planes", "extract_traces",
)  # fmt: skip
ASKED = (
    "align_planes.drift_bin_s=4.0", "deconvolve.iterations=3",
    'reference.path="reference.npy"', 'reference.axes="zyx"',
)  # fmt: skip
STOP_AFTER = 3
"""Blocks that are finished before a run is stopped, each time it is begun."""


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fish with two channels, and a reference."""
    folder = tmp_path_factory.mktemp("whole") / "fish"
    write_fish(folder, FISH, lambda *_: None, nuclear=True)
    write_settings(folder, FISH)
    movie = opened(folder).raw.open("function")
    reference = np.asarray(movie.isel(time=slice(0, 8)).mean("time").values, np.float32)
    np.save(folder / "reference.npy", reference)
    return folder


class Stop:
    """Progress that stops the run after some finished blocks."""

    def __init__(self, after: int) -> None:
        self.after, self.finished = after, 0
        self.begun: set[str] = set()

    def __call__(self, label: str, done: int, total: int) -> None:
        del total
        if label in self.begun and done:
            self.finished += 1
            if self.finished == self.after:
                raise KeyboardInterrupt
        self.begun.add(label)


def compute(folder: Path, **how: Any) -> Any:
    workspace = Workspace(executor="serial", **how)
    return opened(folder, *ASKED).execute(workspace, Selection(until="extract_traces"))


def is_finished(folder: Path) -> bool:
    """Go on for a few blocks; return whether the run came to its end."""
    try:
        outcome = compute(folder, progress=Stop(STOP_AFTER))
    except KeyboardInterrupt:
        return False
    assert not outcome.failed
    return True


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Return the chunks of all results; receipts hold times."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for name in STAGES_OF_IT
        for path in sorted((folder / name).rglob("c/*"))
        if path.is_file()
    }


def test_everything_at_once_stopped_and_resumed_gives_the_same_bytes(
    raw: Path, tmp_path: Path
) -> None:
    whole, stopped = (shutil.copytree(raw, tmp_path / name) for name in ("whole", "stopped"))
    outcome = compute(whole)
    assert not outcome.failed
    assert set(STAGES_OF_IT) <= set(outcome.computed)

    n_stops = 0
    while not is_finished(stopped):
        n_stops += 1
        assert n_stops < 50
    assert n_stops >= 4

    wanted, found = bytes_of(whole), bytes_of(stopped)
    assert wanted
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if found[name] != wanted[name]] == []
    stores = [Store(folder) for folder in (stopped, whole)]
    for name in STAGES_OF_IT:
        ours, theirs = (store.result(name).manifest for store in stores)
        assert ours.values == theirs.values
        assert ours.warnings == theirs.warnings
        assert ours.key == theirs.key
    assert Store(stopped).result("correct_motion").manifest.values["summary"]["template"] == (
        "reference"
    )
