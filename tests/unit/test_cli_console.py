"""What the user sees: progress, tables, the log, settings, the doctor, simulate, init."""

import importlib.metadata
import json
import logging
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

from clgkit.cli import console, doctor, entry, options
from clgkit.cli.init import Spacing
from clgkit.cli.run import workspace_of
from clgkit.cli.simulate import fish_settings
from clgkit.errors import DataError, SettingsError
from clgkit.pipeline import settings
from clgkit.pipeline.settings import settings_model
from clgkit.simulate import preset
from clgkit.stages import STAGES

Clg = Callable[..., tuple[int, str, str]]


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(console.time, "monotonic", made.monotonic)
    return made


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console.sys.stderr, "isatty", lambda: True, raising=False)


def test_a_terminal_has_one_moving_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    on_terminal(monkeypatch)
    progress = console.Progress()
    for done in range(3):
        progress("traces", done, 2)
        clock.now += 30

    told = capsys.readouterr().err
    assert told == (
        "\x1b[2K  traces: 0 of 2 blocks\r"
        "\x1b[2K  traces: 1 of 2 blocks, 30 s left\r"
        "\x1b[2K  traces: 2 of 2 blocks\n"
    )


def test_a_log_file_gets_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], clock: Clock
) -> None:
    progress = console.Progress()
    for done in range(13):
        progress("traces", done, 12)
        clock.now += 4

    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "  traces: 3 of 12 blocks, 36 s left",
        "  traces: 6 of 12 blocks, 24 s left",
        "  traces: 9 of 12 blocks, 12 s left",
    ]


def test_time_left_knows_only_the_blocks_of_this_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    on_terminal(monkeypatch)
    progress = console.Progress()
    progress("resumed", 90, 100)
    clock.now += 10
    progress("resumed", 91, 100)

    assert "91 of 100 blocks, 90 s left" in capsys.readouterr().err


def test_the_next_array_starts_a_new_clock(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    on_terminal(monkeypatch)
    progress = console.Progress()
    progress("slow", 0, 2)
    clock.now += 1000
    progress("fast", 0, 4)
    clock.now += 2
    progress("fast", 1, 4)

    assert "fast: 1 of 4 blocks, 6 s left" in capsys.readouterr().err


def test_a_single_block_is_not_worth_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_terminal(monkeypatch)
    console.Progress()("one", 1, 1)

    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (98, "98 s"), (99, "2 min"), (3599, "60 min"), (3600, "1.0 h")],
)
def test_units_of_time_change_where_numbers_get_long(seconds: float, text: str) -> None:
    assert console.duration(seconds) == text


def entries(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / console.LOG).read_text().splitlines()]


def test_the_log_keeps_level_message_and_trace(tmp_path: Path) -> None:
    logger = logging.getLogger("clgkit.tests")
    before = (logging.getLogger("clgkit").level, list(logging.getLogger("clgkit").handlers))

    with console.logging_to(tmp_path) as note:
        logger.debug("block %d", 3)
        logger.error("it broke", exc_info=ZeroDivisionError("by nothing"))
        note(DataError("the stack is blank", code="E_DATA"))

    quiet, loud, noted = entries(tmp_path)
    assert (quiet["level"], quiet["message"]) == ("debug", "block 3")
    assert "code" not in quiet
    assert loud["trace"].endswith("ZeroDivisionError: by nothing")
    assert (noted["level"], noted["code"]) == ("error", "E_DATA")
    after = logging.getLogger("clgkit")
    assert (after.level, after.handlers) == before


def test_the_console_shows_no_details_and_no_error_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with console.logging_to(tmp_path) as note:
        logging.getLogger("clgkit.tests").debug("detail")
        logging.getLogger("clgkit.tests").info("news")
        note(DataError("bad"))

    told = capsys.readouterr().err
    assert "news" in told
    assert "detail" not in told
    assert "bad" not in told


def test_a_log_that_cannot_be_written_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / console.LOG).mkdir()
    with console.logging_to(tmp_path):
        logging.getLogger("clgkit.tests").debug("x")

    assert "the log could not be written" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["[bold]x", "fish[/b]", "a [1, 0.4] -> b", ":smile:"])
def test_a_table_shows_texts_as_they_are(capsys: pytest.CaptureFixture[str], text: str) -> None:
    console.show_table(text, [text], [[text]])

    assert capsys.readouterr().out.count(text) == 3


def test_a_table_in_a_file_is_wide_enough(capsys: pytest.CaptureFixture[str]) -> None:
    console.show_table("t", ["a", "b"], [["x" * 50, "y" * 50]])

    assert "y" * 50 in capsys.readouterr().out


@pytest.mark.parametrize("section", list(settings_model().model_fields))
def test_every_section_can_be_shown_alone(clg: Clg, section: str) -> None:
    code, told, _ = clg("settings", section)

    defaults = settings_model().model_fields[section].get_default(call_default_factory=True)
    known = {k: v for k, v in defaults.model_dump(mode="json").items() if v is not None}
    assert code == 0
    assert tomllib.loads(told) == {section: known}


def test_a_section_like_no_other_lists_all(clg: Clg) -> None:
    code, _, err = clg("settings", "xyzzy")

    assert (code, "There are: structure, function" in err) == (2, True)


@pytest.mark.parametrize("text", ["", "1", "1,2", "1,2,3,4", "1;2;3", "1,2,x"])
def test_three_numbers_are_wanted(text: str) -> None:
    with pytest.raises(click.BadParameter, match="three numbers such as"):
        Spacing().convert(text, None, None)


def test_three_numbers_are_taken_with_spaces_and_exponents() -> None:
    assert Spacing().convert("1, 4e-1,.4", None, None) == (1.0, 0.4, 0.4)


@pytest.mark.parametrize(
    ("words", "section", "key", "value"),
    [
        (("--structure-axes", "zyx"), "structure", "axes", "zyx"),
        (("--function-axes", "tzyx"), "function", "axes", "tzyx"),
        (("--function-voxel-um", "6,.8,.8"), "function", "voxel_um", [6.0, 0.8, 0.8]),
        (("--rate-hz", "2.5"), "function", "rate_hz", 2.5),
        (("--time-average",), "structure", "time_average", True),
        (("--plane-map", "p.txt"), "plane_map", "path", "../p.txt"),
        (("--function", "a/b.tif"), "function", "path", "../a/b.tif"),
    ],
)
def test_what_init_is_given_stands_in_the_file(
    clg: Clg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *,
    words: tuple[str, ...], section: str, key: str, value: Any,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert clg("init", "run", *words)[0] == 0

    written = tomllib.loads((tmp_path / "run/run.toml").read_text())
    plain = tomllib.loads(settings.as_toml(settings.parse({}, "defaults")))
    assert written[section].pop(key) == value
    plain[section].pop(key, None)
    for name, stage in STAGES.items():
        if stage.optional:
            del plain[name]
    assert written == plain  # and nothing else has changed


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [("--structure-voxel-um", "0,1,1", "structure.voxel_um"), ("--rate-hz", "-2", "rate_hz"),
     ("--function-voxel-um", "1,nan,1", "function.voxel_um")],
)  # fmt: skip
def test_init_writes_nothing_that_a_run_would_refuse(
    clg: Clg, tmp_path: Path, option: str, value: str, named: str
) -> None:
    code, _, err = clg("init", tmp_path / "run", option, value)

    assert (code, named in err) == (2, True)
    assert not (tmp_path / "run/run.toml").exists()


def test_the_command_line_wins_over_the_resources_of_the_file() -> None:
    loaded = settings.parse({"resources": {"workers": 3, "executor": "serial"}}, "test")
    asked: Any = {"resources": loaded.resources}

    kept = workspace_of(asked, {"workers": None, "executor": None})
    changed = workspace_of(asked, {"workers": 1, "executor": "threads"})

    assert (kept.workers, kept.executor) == (3, "serial")
    assert (changed.workers, changed.executor) == (1, "threads")
    assert isinstance(options.workspace().progress, console.Progress)


def test_a_kernel_that_counts_wrong_is_found(clg: Clg, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clgkit.traces.extract", lambda *_: [[2.0, 5.0]])

    code, _, err = clg("doctor")

    assert (code, "compiled kernels give wrong numbers" in err) == (4, True)


def test_a_kernel_that_does_not_run_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise OSError("no llvm")

    monkeypatch.setattr("clgkit.traces.extract", broken)

    assert doctor._kernel() == [
        "compiled kernels do not run (no llvm): reinstall numba and llvmlite"
    ]


def test_all_that_is_wrong_with_a_machine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=3e8))
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=4e8))
    monkeypatch.setattr(os, "access", lambda *_: False)

    memory, disk, folder = doctor._machine()

    assert memory.startswith("only 300 MB of memory")
    assert disk.startswith("only 400 MB of disk")
    assert "set TMPDIR" in folder


def test_a_missing_package_is_a_problem_and_a_missing_extra_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def version(name: str) -> str:
        if name in {"numba", "torch"}:
            raise importlib.metadata.PackageNotFoundError
        return "9.9"

    monkeypatch.setattr(importlib.metadata, "version", version)

    assert doctor._packages() == ["numba is not installed: pip install --upgrade clgkit"]
    assert "pip install 'clgkit[deep]' brings it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "named"),
    [("n_frames=0", "n_frames = 0"), ('n_frames="many"', "n_frames = 'many'"),
     ("shape_px=[24]", "shape_px = (24,)"), ("gaps_px=[]", "gaps_px = ()"), ("frames=3", "frames")],
)  # fmt: skip
def test_a_change_that_makes_no_fish_is_named(change: str, named: str) -> None:
    with pytest.raises(SettingsError) as caught:
        fish_settings("tiny", 0, (change,))

    assert caught.value.message.startswith("These settings make no fish")
    assert named in caught.value.message


def test_changes_add_up_and_the_last_one_counts() -> None:
    made = fish_settings("tiny", 7, ("n_frames=5", "gaps_px=[2, 3]", "n_frames=6"))

    assert made == preset("tiny", seed=7, n_frames=6, gaps_px=(2, 3))


@pytest.mark.parametrize("word", ["", "zzzzzz"])
def test_nothing_is_suggested_for_what_looks_like_nothing(word: str) -> None:
    assert entry.closest(word, list(entry.COMMANDS)) is None
