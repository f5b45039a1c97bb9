"""Measure a figure beside its peer, and write it as a printed row and a JSON line.

A module ``benchmarks/<package>.py`` holds one function per figure::

    def figure_speed(size: Size) -> Figure:
        plane = make_plane(4096 if size == "full" else 64)
        ours, peer = measure(lambda: ours_on(plane), lambda: peer_on(plane))
        return Figure("speed", "CPU s", ours, peer="scipy 1.17", peer_value=peer, target=10)

It must also run, quickly, at size "toy": the tests do that.
"""

import importlib
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path
from typing import Literal, TypeAlias

from clgkit import fsio

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"
MIN_SAMPLE_S = 0.02

Size: TypeAlias = Literal["toy", "full"]
Row: TypeAlias = dict[str, str | float | bool | None]


@dataclass(frozen=True)
class Figure:
    """One measured number, its peer's, and what it must reach.

    Parameters
    ----------
    name, unit
        As printed.
    ours
        The measured value; NaN where it could not be measured.
    peer
        Name and version of what it is compared with; None if there is no peer.
    peer_value
        The same measurement of the peer; None if the peer is not installed.
    target
        With a peer the least `ratio`, how many times better ours must be; without one
        the value that `ours` must reach.
    better
        Whether a lower or a higher value is the better one.
    """

    name: str
    unit: str
    ours: float
    peer: str | None = None
    peer_value: float | None = None
    target: float = 1.0
    better: Literal["lower", "higher"] = "lower"

    @property
    def ratio(self) -> float | None:
        """How many times better ours is than the peer; None without a value of the peer."""
        if self.peer_value is None:
            return None
        better, worse = (
            (self.peer_value, self.ours) if self.better == "lower" else (self.ours, self.peer_value)
        )
        return better / worse if worse else math.inf

    @property
    def met(self) -> bool:
        """Whether the target is reached; never without the peer that was named."""
        if math.isnan(self.ours):
            return False
        if self.peer is not None:
            return self.ratio is not None and self.ratio >= self.target
        return self.ours <= self.target if self.better == "lower" else self.ours >= self.target

    def row(self) -> Row:
        """Return what is written to the results, without machine and date."""
        values: Row = {
            "figure": self.name,
            "unit": self.unit,
            "ours": self.ours,
            "peer": self.peer,
            "peer_value": self.peer_value,
            "ratio": self.ratio,
            "target": self.target,
            "met": self.met,
        }
        # JSON knows neither NaN nor infinity.
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in values.items()
        }


def measure(*functions: Callable[[], object], repeat: int = 3, warm_up: bool = True) -> list[float]:
    """Return the median CPU seconds of each function.

    The functions run alternately, so a busy neighbour disturbs all of them alike.  Child
    processes count once they have ended.  A short function runs often enough for the clock.

    Parameters
    ----------
    functions
        To be called without arguments.
    repeat
        Measurements of each.
    warm_up
        Call each once before, so that compilation and imports are not measured.
    """
    if warm_up:
        for function in functions:
            function()
    samples: list[list[float]] = [[] for _ in functions]
    for _ in range(repeat):
        for taken, function in zip(samples, functions, strict=True):
            taken.append(_sample(function))
    return [statistics.median(taken) for taken in samples]


def peak_mb(function: Callable[[], object]) -> float:
    """Return the peak memory, in MB, of a fresh process that calls `function` once.

    `function` is importable (a module's function, or a `functools.partial` of one).  The
    interpreter and the imports of its module are part of the figure.
    """
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_peak_mb_of_this_process, function).result()


def peer_version(distribution: str) -> str | None:
    """Return name and version of an installed package, or None if it is missing."""
    try:
        return f"{distribution} {metadata.version(distribution)}"
    except metadata.PackageNotFoundError:
        return None


def packages() -> list[str]:
    """Return the names of the modules that hold figures."""
    found = {path.stem for path in FOLDER.glob("*.py")} - {"harness"}
    return sorted(name for name in found if not name.startswith("_"))


def figures_of(package: str) -> Iterator[tuple[str, Callable[[Size], Figure]]]:
    """Yield name and function of each figure of a package, in order of the file."""
    module = importlib.import_module(f"benchmarks.{package}")
    for name, function in list(vars(module).items()):  # warnings leave a register there
        if name.startswith("figure_"):
            yield name, function


def run(package: str, size: Size) -> list[Row]:
    """Measure the figures of a package and write them to ``results/<package>.jsonl``."""
    machine = {"size": size, "processor": processor(), "cores": os.cpu_count()}
    rows: list[Row] = []
    for name, function in figures_of(package):
        row = _figure(name, function, size).row()
        rows.append(row | machine | {"date": datetime.now(UTC).isoformat(timespec="seconds")})
    RESULTS.mkdir(exist_ok=True)
    lines = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
    fsio.write_text(RESULTS / f"{package}.jsonl", lines)
    return rows


def processor() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _figure(name: str, function: Callable[[Size], Figure], size: Size) -> Figure:
    try:
        return function(size)
    except ImportError as error:
        peer = f"{error.name or error} (not installed)"
        return Figure(name.removeprefix("figure_"), "", math.nan, peer=peer)


def _sample(function: Callable[[], object]) -> float:
    """Return CPU seconds per call; calls are repeated until the clock can tell."""
    calls, start = 0, _cpu_s()
    while True:
        function()
        calls += 1
        taken = _cpu_s() - start
        if taken >= MIN_SAMPLE_S:
            return taken / calls


def _cpu_s() -> float:
    children = os.times()
    return time.process_time() + children.children_user + children.children_system


def _peak_mb_of_this_process(function: Callable[[], object]) -> float:
    function()
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return _peak_mb_by_resource()
    peaks = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return int(peaks[0]) / 1024 if peaks else _peak_mb_by_resource()


def _peak_mb_by_resource() -> float:
    """Return the peak where there is no /proc; a child may inherit its parent's peak there."""
    import resource  # noqa: PLC0415  (not on Windows)

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if platform.system() == "Darwin" else peak / 2**10
