"""Peak memory of every stage, for a movie and for one that is four times as long."""

import json
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from benchmarks.harness import Figure, Size
from clgkit.stages import STAGES

CLG = (sys.executable, "-m", "clgkit")
FRAMES = {"toy": 16, "full": 400}
LONGER = 4
FLAT = 1.25
"""Ratio that still counts as flat: traces of all neurons grow with the movie, pixels must not."""


@cache
def _peaks(size: Size, n_frames: int) -> dict[str, float]:
    """Return stage → peak memory in MB, each stage in a process of its own."""
    from clgkit.cli.demo import write_settings  # noqa: PLC0415  (loads the arrays)
    from clgkit.simulate import preset  # noqa: PLC0415

    name = "demo" if size == "full" else "tiny"
    stages = list(STAGES) if size == "full" else ["correct_motion"]
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        change = f"n_frames={n_frames}"
        _clg("simulate", folder, "--preset", name, "--change", change)
        write_settings(Path(folder), preset(name, n_frames=n_frames))
        for stage in stages:
            _clg("run", folder, "--until", stage, "--no-report", "--workers", "1")
            receipt = json.loads((Path(folder) / stage / "MANIFEST.json").read_text())
            peaks[stage] = float(receipt["cost"]["peak_mb"])
    return peaks


def _clg(*words: str) -> None:
    subprocess.run([*CLG, *words], check=True, capture_output=True)


def figure_growth(size: Size) -> Figure:
    """Compare every stage's peak memory with that for four times the frames; the worst counts."""
    short, long = _peaks(size, FRAMES[size]), _peaks(size, FRAMES[size] * LONGER)
    worst = max(short, key=lambda name: long[name] / short[name])
    name = f"peak memory, {LONGER} times the frames ({worst} {short[worst]:.0f} MB)"
    return Figure(name, "times", long[worst] / short[worst], target=FLAT)


def figure_peak_of_all(size: Size) -> Figure:
    """Measure the largest peak of all stages, in MB."""
    peaks = _peaks(size, FRAMES[size])
    return Figure("largest peak of the demo", "MB", max(peaks.values()), target=1000.0)
