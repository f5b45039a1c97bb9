"""Every command answers, with the exit code that says what happened."""

import errno
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from clgkit import io
from clgkit.cli import doctor, entry
from clgkit.cli.console import Progress, duration
from clgkit.cli.entry import Stopped, as_clg_error
from clgkit.errors import DataError, LockedError, ResourceError
from clgkit.pipeline.lock import locked
from clgkit.stages import STAGES
from tests.pipeline.tiny import CHAIN

Clg = Callable[..., tuple[int, str, str]]
SMALL = ("--preset", "tiny", "--change", "shape_px=[24,48,48]", "--change", "n_neurons=10",
         "--change", "n_planes=2", "--change", "n_frames=6")  # fmt: skip


def answers(error: BaseException, clg: Clg, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """Return exit code and standard error of a command that raises `error`."""

    def command() -> None:
        raise error

    monkeypatch.setattr(entry, "load", lambda _: click.Command("stages", callback=command))
    code, _, err = clg("stages")
    return code, err


def test_help_lists_every_command(clg: Clg) -> None:
    code, told, _ = clg("--help")

    assert code == 0
    for name in (*entry.COMMANDS, *(stage.replace("_", "-") for stage in STAGES)):
        assert f"  {name}  " in told


@pytest.mark.parametrize("name", [*entry.COMMANDS, *(s.replace("_", "-") for s in STAGES)])
def test_every_command_has_help(clg: Clg, name: str) -> None:
    code, told, _ = clg(name, "--help")

    assert code == 0
    assert f"clg {name}" in told


@pytest.mark.parametrize(
    ("word", "hint"), [("rum", "run"), ("verfy", "verify"), ("correct_motoin", "correct-motion")]
)
def test_an_unknown_command_suggests_a_close_one(clg: Clg, word: str, hint: str) -> None:
    code, _, err = clg(word, "x")

    assert code == 2
    assert f"Did you mean {hint}?" in err


def test_stages_are_found_with_underscores_too(clg: Clg) -> None:
    assert clg("correct_motion", "--help")[0] == 0


@pytest.mark.parametrize("words", [("xyzzy",), ("run",), ("run", "nowhere"), ("stages", "--what")])
def test_wrong_usage_is_exit_2(clg: Clg, words: tuple[str, ...]) -> None:
    code, _, err = clg(*words)

    assert code == 2
    assert "Traceback" not in err


def test_init_writes_paths_relative_to_the_run(clg: Clg, tmp_path: Path) -> None:
    code, told, _ = clg("init", tmp_path / "a b ü", "--structure", tmp_path / "raw.tif",
                        "--structure-voxel-um", "1,0.4,0.4", "--rate-hz", "2")  # fmt: skip

    assert code == 0
    assert "run.toml" in told
    read = tomllib.loads((tmp_path / "a b ü/run.toml").read_text())
    assert read["structure"]["path"] == "../raw.tif"
    assert read["structure"]["voxel_um"] == [1.0, 0.4, 0.4]
    assert clg("init", tmp_path / "a b ü")[0] == 2
    assert clg("init", tmp_path / "a b ü", "--overwrite")[0] == 0
    assert clg("init", tmp_path / "c", "--structure-voxel-um", "1,2")[0] == 2


def test_settings_show_all_or_one_section(clg: Clg) -> None:
    _, whole, _ = clg("settings")
    code, one, _ = clg("settings", "correct-motion")

    assert code == 0
    assert one.strip() in whole
    assert tomllib.loads(one)["correct_motion"]["max_shift_px"] == 15
    in_every_run = {name for name, stage in STAGES.items() if not stage.optional}
    assert in_every_run < set(tomllib.loads(whole))
    code, _, err = clg("settings", "corect_motion")
    assert (code, "Did you mean correct_motion?" in err) == (2, True)


def test_the_schema_is_valid_json(clg: Clg) -> None:
    _, told, _ = clg("settings", "--schema")

    schema = json.loads(told)

    assert set(STAGES) < set(schema["properties"])
    motion = schema["$defs"]["CorrectMotion"]["properties"]["max_shift_px"]
    assert motion["description"].startswith("Larger displacements")


def test_stages_are_listed(clg: Clg) -> None:
    _, told, _ = clg("stages")

    assert all(name in told for name in STAGES)


def test_the_doctor_runs_a_kernel(clg: Clg, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LEAST_FREE_MB", 1)
    code, told, _ = clg("doctor")
    assert (code, "All is well." in told) == (0, True)

    monkeypatch.setattr(doctor, "LEAST_FREE_MB", 10**12)
    code, _, err = clg("doctor")
    assert (code, "close other programs" in err) == (4, True)


def test_the_same_seed_gives_the_same_bytes_and_nothing_is_written_twice(
    clg: Clg, tmp_path: Path
) -> None:
    assert clg("simulate", tmp_path / "a", *SMALL)[0] == 0
    assert clg("simulate", tmp_path / "b", *SMALL)[0] == 0
    files = [p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file()]
    assert len(files) > 5
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "a").rglob("*")}

    code, told, _ = clg("simulate", tmp_path / "a", *SMALL)

    assert (code, "holds this fish already" in told) == (0, True)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "a").rglob("*")} == before


@pytest.mark.parametrize("change", ["n_frames=0", "n_frames", "frames=3"])
def test_settings_that_make_no_fish_are_refused(clg: Clg, tmp_path: Path, change: str) -> None:
    code, _, err = clg("simulate", tmp_path / "a", "--change", change)

    assert (code, "Traceback" in err) == (2, False)


def test_status_and_verify_of_a_finished_run(clg: Clg, finished: Path) -> None:
    code, told, _ = clg("status", finished)
    assert code == 0
    assert told.count("current") == len(CHAIN)
    code, told, _ = clg("verify", finished, "--quick")
    assert (code, told.count("intact")) == (0, len(CHAIN))


def test_verify_of_an_incomplete_run_is_exit_6(clg: Clg, finished: Path) -> None:
    (finished / "dismantle/MANIFEST.json").unlink()

    code, _, err = clg("verify", finished)

    assert (code, "dismantle: incomplete" in err) == (6, True)


def test_a_locked_run_is_exit_5(clg: Clg, finished: Path) -> None:
    with locked(finished):
        code, _, err = clg("run", finished)

    assert (code, "is locked by process" in err) == (5, True)


def test_bad_settings_are_exit_2_and_bad_data_exit_3(clg: Clg, fish: Path) -> None:
    assert clg("run", fish, "--set", "correct_motion.max_shift=3")[0] == 2
    (fish / "raw/structure.tif").unlink()
    assert clg("run", fish)[0] == 3
    assert clg("status", fish)[0] == 3


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (OSError(errno.ENOSPC, "No space left"), 4, "Make room"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), 3, "cannot be used"),
        (MemoryError(), 4, "--workers 1"),
        (KeyboardInterrupt(), 130, "run the same command again"),
        (Stopped(15), 143, "run the same command again"),
        (Stopped(1), 129, "run the same command again"),
        (LockedError("held"), 5, "error: held"),
        (ZeroDivisionError("ours"), 1, "This is a bug of clgkit"),
    ],
)
def test_what_is_raised_decides_the_exit_code(
    clg: Clg, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, told: str
) -> None:
    found, err = answers(error, clg, monkeypatch)

    assert found == code
    assert told in err
    assert ("Traceback" in err) == (code == 1)


def test_what_the_system_refuses_gets_a_code() -> None:
    assert as_clg_error(OSError(errno.EDQUOT, "x")).code == "E_DISK"
    assert as_clg_error(FileNotFoundError(errno.ENOENT, "x")).code == "E_PATH"
    assert isinstance(as_clg_error(MemoryError()), ResourceError)
    assert as_clg_error(DataError("x", code="E_AXES")).code == "E_AXES"


def test_export_writes_all_files_of_the_original(clg: Clg, finished: Path) -> None:
    code, told, _ = clg("export", finished)

    assert (code, told.count("Wrote")) == (0, 17)  # two fields for each of two planes found
    folder = finished / "export"
    n_neurons = len((folder / "neurons.csv").read_text().splitlines()) - 1
    for suffix in ("h5", "mat", "npz"):
        before = io.read_traces(folder / f"CellTrace_before_calibration.{suffix}")
        after = io.read_traces(folder / f"CellTrace_after_calibration.{suffix}")
        assert len(before.trace) >= len(after.trace) == n_neurons
        assert before.area is not None
        assert after.position is not None
    for suffix in ("gt", "graphml", "npz"):
        assert io.read_network(folder / f"network.{suffix}").network.n_nodes == n_neurons


def test_export_of_chosen_formats_elsewhere(clg: Clg, finished: Path, tmp_path: Path) -> None:
    code, _, err = clg("export", finished, "--to", tmp_path / "out", "--format", "csv")

    assert (code, err) == (0, "")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["lcc_curve.csv", "neurons.csv", "removed_nodes.csv"]


def test_export_says_what_is_missing_or_stale(clg: Clg, finished: Path) -> None:
    (finished / "dismantle/MANIFEST.json").unlink()
    text = (finished / "run.toml").read_text()
    (finished / "run.toml").write_text(text.replace("max_shift_px = 15", "max_shift_px = 4"))

    code, told, err = clg("export", finished)

    assert (code, told.count("Wrote")) == (6, 15)
    assert "Stage dismantle has no finished result" in err
    assert "correct_motion is stale (max_shift_px 15 -> 4)" in err


@pytest.mark.parametrize(("seconds", "text"), [(3, "3 s"), (600, "10 min"), (9000, "2.5 h")])
def test_time_spans_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_progress_tells_the_time_left(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    progress = Progress()
    monkeypatch.setattr("clgkit.cli.console.QUIET_S", -1.0)
    progress("corrected", 0, 4)
    progress.started -= 10
    progress("corrected", 2, 4)

    assert "corrected: 2 of 4 blocks, 10 s left" in capsys.readouterr().err


def test_settings_of_a_stage_are_options_of_its_command(clg: Clg, tmp_path: Path) -> None:
    volume = np.random.default_rng(0).normal(100, 20, (3, 40, 40)).astype(np.float32)
    io.write_tiff(tmp_path / "v.tif", volume, axes="zyx", voxel_um=(1.0, 0.4, 0.4))

    first = clg("normalize-contrast", tmp_path / "v.tif", tmp_path / "a.tif", "--radius-px", "5")
    wrong = clg("normalize-contrast", tmp_path / "v.tif", tmp_path / "b.tif", "--radius-px", "0")
    nowhere = clg("normalize-contrast", tmp_path / "v.tif", tmp_path / "no/where.tif")
    ending = clg("normalize-contrast", tmp_path / "v.tif", tmp_path / "b.png")

    assert [made[0] for made in (first, wrong, nowhere, ending)] == [0, 2, 3, 3]
    assert "radius_px = 0" in wrong[2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tif", "v.tif"]
