"""What a stage cost: wall time, processor time and peak memory, with its workers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

PERIOD_S = 0.05
LOOKS_PER_CENSUS = 20


@contextmanager
def measured() -> Iterator[dict[str, float]]:
    """Fill a dict with ``seconds``, ``cpu_seconds`` and ``peak_mb`` when the block ends.

    Peak memory is the largest resident size of this process and its children, looked at
    twenty times a second; new children are looked for once a second.
    """
    process = psutil.Process()
    cost: dict[str, float] = {}
    peak = [_resident([process])]
    stop = threading.Event()

    def watch() -> None:
        looks = 0
        family = [process]
        while not stop.wait(PERIOD_S):
            if looks % LOOKS_PER_CENSUS == 0:
                family = [process, *process.children(recursive=True)]
            looks += 1
            peak[0] = max(peak[0], _resident(family))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    wall, cpu = time.perf_counter(), _cpu(process)
    try:
        yield cost
    finally:
        stop.set()
        watcher.join()
        cost["seconds"] = round(time.perf_counter() - wall, 3)
        cost["cpu_seconds"] = round(_cpu(process) - cpu, 3)
        cost["peak_mb"] = round(max(peak[0], _resident([process])) / 1e6, 1)


def _resident(family: list[psutil.Process]) -> int:
    total = 0
    for member in family:
        try:
            total += member.memory_info().rss
        except psutil.Error:
            continue
    return total


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)
