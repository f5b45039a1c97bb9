"""A reference on the command line and in a run folder."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clgkit.cli import entry
from clgkit.pipeline import settings
from clgkit.pipeline.runner import Run, Selection
from tests.unit.motion_scene import SERIAL, corrected, moving

Clg = Callable[..., tuple[int, str, str]]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    movie = moving(12).movie
    np.save(tmp_path / "movie.npy", movie.values)
    first, _ = corrected(movie)
    np.save(tmp_path / "image.npy", np.roll(first.template.values, 2, axis=1))
    return tmp_path


def test_the_command_lays_frames_on_a_reference(clg: Clg, files: Path) -> None:
    code, _, err = clg(
        "correct-motion", files / "movie.npy", files / "out.npy", "--axes", "tzyx",
        "--reference", files / "image.npy", "--template-file", files / "same.npy",
    )  # fmt: skip

    assert (code, err) == (0, "")
    np.testing.assert_array_equal(np.load(files / "same.npy"), np.load(files / "image.npy"))


def test_the_command_has_the_policies_of_the_template() -> None:
    shown = {str(p.name): getattr(p, "metavar", "") for p in entry.load("correct-motion").params}

    assert shown["template"] == "[fixed|running]"
    assert shown["compat"] == "[none|normcorre]"


def test_a_run_takes_its_reference(files: Path) -> None:
    stack = np.random.default_rng(0).integers(0, 900, (8, 128, 128), np.uint16)
    np.save(files / "stack.npy", np.sort(stack, axis=1))
    facts = {"voxel_um": [5, 1, 1]}
    settings.write(
        files,
        {
            "function": {"path": "movie.npy", "axes": "tzyx", "rate_hz": 2.0, **facts},
            "structure": {"path": "stack.npy", "axes": "zyx", "voxel_um": [1, 0.5, 0.5]},
            "reference": {"path": "image.npy", "axes": "zyx"},
        },
    )
    run = Run(settings.load(files))

    run.execute(SERIAL, Selection(until="correct_motion"))

    result = run.store.result("correct_motion")
    assert result.manifest.values["summary"]["template"] == "reference"
    np.testing.assert_array_equal(result.array("template").values, np.load(files / "image.npy"))
    assert result.array("residual_flow").coords["flow_y"].size == 1
