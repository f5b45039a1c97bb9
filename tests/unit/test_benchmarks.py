"""Every figure runs at toy size; the harness measures what it says."""

import functools
import json
import math
import operator
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import harness
from benchmarks.harness import Figure, Size, figures_of, measure, packages, peak_mb, run

FIGURES = [
    pytest.param(function, id=f"{package}-{name}")
    for package in packages()
    for name, function in figures_of(package)
]


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


@pytest.mark.parametrize("figure", FIGURES)
def test_a_figure_runs_at_toy_size(figure: Callable[[Size], Figure]) -> None:
    made = figure("toy")

    assert isinstance(made, Figure)
    assert made.name
    assert made.unit
    assert math.isfinite(made.ours)


def test_cpu_seconds_are_measured_not_wall_seconds() -> None:
    busy, idle = measure(lambda: burn(0.05), lambda: (time.sleep(0.03), burn(0.005)), repeat=3)

    assert busy == pytest.approx(0.05, rel=0.3)  # the clock and the loop cost a few ms
    assert idle < 0.02


def test_functions_run_alternately() -> None:
    order: list[str] = []

    def first() -> None:
        order.append("a")
        burn(0.03)

    def second() -> None:
        order.append("b")
        burn(0.03)

    measure(first, second, repeat=3, warm_up=False)

    assert order == ["a", "b"] * 3


def test_peak_memory_is_that_of_the_child() -> None:
    small, large = (peak_mb(functools.partial(operator.mul, b"x", n * 2**20)) for n in (1, 201))

    assert large - small == pytest.approx(200, abs=20)  # allocators round up


@pytest.mark.parametrize(
    ("ours", "peer_value", "better", "ratio"),
    [(2.0, 8.0, "lower", 4.0), (8.0, 2.0, "higher", 4.0), (0.0, 2.0, "lower", math.inf)],
)
def test_the_ratio_says_how_many_times_better_ours_is(
    ours: float, peer_value: float, better: str, ratio: float
) -> None:
    figure = Figure("f", "s", ours, "peer 1.0", peer_value, target=4, better=better)  # type: ignore[arg-type]

    assert figure.ratio == ratio
    assert figure.met


def test_a_missing_peer_is_a_row_that_is_not_met() -> None:
    row = Figure("f", "s", 1.0, peer="suite2p 1.1", peer_value=None, target=0.0).row()

    assert row["met"] is False
    assert row["ratio"] is None


def test_without_a_peer_the_target_is_for_ours() -> None:
    assert Figure("f", "px", 0.05, target=0.1).met
    assert not Figure("f", "px", 0.2, target=0.1).met
    assert Figure("f", "frames", 50, target=40, better="higher").met
    assert not Figure("f", "px", math.nan, target=0.1).met


def test_rows_are_written_as_json_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def figure_missing(size: Size) -> Figure:
        raise ModuleNotFoundError(f"no peer at size {size}", name="peer")

    figures = [
        ("figure_good", lambda _: Figure("good", "s", 1.0, target=2.0)),
        ("figure_missing", figure_missing),
    ]
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    monkeypatch.setattr(harness, "figures_of", lambda _: iter(figures))

    rows = run("toys", "toy")

    written = [json.loads(line) for line in (tmp_path / "toys.jsonl").read_text().splitlines()]
    assert written == rows
    assert [row["met"] for row in rows] == [True, False]
    assert written[1]["peer"] == "peer (not installed)"
    assert {"figure", "unit", "ours", "peer", "peer_value", "ratio", "target", "met"} <= set(
        rows[0]
    )
    assert {"processor", "cores", "date"} <= set(rows[0])
