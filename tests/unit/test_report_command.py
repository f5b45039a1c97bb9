"""``clg report`` writes one file, once per result."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from clgkit.cli.report import command, key_in, stored_truth, write_report
from clgkit.pipeline.runner import Run
from clgkit.pipeline.store import digest
from clgkit.stages import STAGES
from tests.unit.report_scene import Scene, write_run

DONE = ("measure_network", "dismantle")
SMALL = Scene(without=tuple(name for name in STAGES if name not in DONE))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return write_run(tmp_path / "fish1", SMALL)


def write_summary(run: Run) -> None:
    keys = [[step.name, step.key] for step in run.plan() if step.name in DONE]
    summary = {"key": digest(keys), "count_error": 0.02, "n_neurons": 4, "n_rois_before": 12}
    (run.settings.folder / "summary.json").write_text(json.dumps(summary))


def test_the_report_is_written_once(run: Run) -> None:
    path, fresh = write_report(run)
    assert fresh
    assert path == run.settings.folder / "report.html"
    before = path.stat()

    assert write_report(run) == (path, False)
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def test_a_changed_result_is_written_again(run: Run) -> None:
    write_report(run)
    (run.settings.folder / "dismantle" / "MANIFEST.json").unlink()

    path, fresh = write_report(run)

    assert fresh
    assert ", dismantle." in path.read_text(encoding="utf-8")


def test_a_truth_makes_another_report(run: Run) -> None:
    write_report(run)

    path, fresh = write_report(run, {"count_error": 0.02})

    assert fresh
    assert "Compared with the truth" in path.read_text(encoding="utf-8")


def test_the_truth_of_the_demo_is_found_again(run: Run) -> None:
    write_summary(run)
    truth = stored_truth(run)
    assert truth is not None
    write_report(run, truth)

    assert write_report(run)[1] is False


def test_the_truth_of_other_results_is_not(run: Run) -> None:
    write_summary(run)
    (run.settings.folder / "dismantle" / "MANIFEST.json").unlink()

    assert stored_truth(run) is None


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"key": 1}'])
def test_a_broken_summary_is_no_truth(run: Run, text: str) -> None:
    (run.settings.folder / "summary.json").write_text(text)

    assert stored_truth(run) is None


def test_another_file_has_no_key(tmp_path: Path) -> None:
    assert key_in(tmp_path / "none.html") is None
    (tmp_path / "some.html").write_bytes(b"\xff\xfe<html>")
    assert key_in(tmp_path / "some.html") is None


def test_the_command_says_where_the_report_is(run: Run) -> None:
    folder = str(run.settings.folder)

    first = CliRunner().invoke(command, [folder])
    second = CliRunner().invoke(command, [folder])
    third = CliRunner().invoke(command, [folder, "--force"])

    assert first.exit_code == 0
    assert first.output == f"Report: {run.settings.folder / 'report.html'}\n"
    assert second.output.endswith("(unchanged)\n")
    assert third.output == first.output


def test_the_help_shows_an_example() -> None:
    shown = CliRunner().invoke(command, ["--help"])

    assert "clg report fish1" in shown.output
