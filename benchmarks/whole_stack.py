"""A structural stack of full size, from the file to its nuclei, by the commands a user would type.

The stack is that of `clg simulate --preset whole`: 301 x 1024 x 1024 voxels, 67,000 nuclei.  Its
optics are not those of the stacks that the network was trained on.  Two workers; numbers are those
of the receipt of the stage.
"""

import json
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.harness import Figure, Size

CLG = (sys.executable, "-m", "clgkit")
MOVIE = ("--change", "n_planes=2", "--change", "n_frames=2")
"""The functional movie is not looked at."""


class Segmented(NamedTuple):
    """What the stage cost, and how good it is."""

    cpu_min: float
    peak_mb: float
    score: dict[str, Any]


@cache
def segmented(size: Size) -> Segmented:
    """Return cost and score of `clg run --until segment_nuclei`."""
    preset = ("whole", *MOVIE) if size == "full" else ("tiny",)
    with tempfile.TemporaryDirectory() as place:
        folder, scores = Path(place) / "fish", Path(place) / "scores.json"
        _clg("simulate", folder, "--preset", *preset)
        _clg("run", folder, "--until", "segment_nuclei", "--no-report", "--workers", "2")
        stage = folder / "segment_nuclei"
        found = stage / "labels.zarr"
        _clg("score-labels", folder / "truth" / "labels.tif", found, "--json", scores)
        cost = json.loads((stage / "MANIFEST.json").read_text())["cost"]
        score = json.loads(scores.read_text())
    return Segmented(cost["cpu_seconds"] / 60, cost["peak_mb"], score)


def _clg(*words: str | Path) -> None:
    subprocess.run([*CLG, *words], check=True, capture_output=True)


def figure_cpu(size: Size) -> Figure:
    """Processor time from the file to the labels, with nothing scaled."""
    return Figure("whole stack to nuclei", "CPU min", segmented(size).cpu_min, target=15.0)


def figure_memory(size: Size) -> Figure:
    """Peak of the process."""
    return Figure("whole stack to nuclei, peak", "MB", segmented(size).peak_mb, target=1500.0)


def figure_ap(size: Size) -> Figure:
    """AP at IoU 0.5 over all nuclei."""
    ap = segmented(size).score["at_iou"]["0.5"]["ap"]
    return Figure("whole stack: AP@0.5", "1", ap, target=0.94, better="higher")


def figure_count(size: Size) -> Figure:
    """Too many or too few nuclei."""
    error = abs(segmented(size).score["at_iou"]["0.5"]["count_error"])
    return Figure("whole stack: count error", "1", error, target=0.03)
