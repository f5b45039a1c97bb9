"""Kill the demo at random moments: ``python -m benchmarks.kill_demo FOLDER [KILLS]``.

Simulates the demo fish in FOLDER, runs it once undisturbed, then kills (SIGKILL) a second
run again and again, starting it anew each time, and prints how many kills were survived:
``clg verify`` told the truth, finished stages were not done again, and in the end every
file has the bytes of the undisturbed run.
"""

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

from clgkit.pipeline.store import MANIFEST, Store
from clgkit.stages import STAGES

CLG = (sys.executable, "-m", "clgkit")
SEED = 0


def main() -> None:
    """Simulate, run, kill, compare, print."""
    folder = Path(sys.argv[1])
    kills = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    undisturbed, victim = folder / "undisturbed", folder / "victim"
    subprocess.run([*CLG, "simulate", undisturbed], check=True)
    if not (victim / "raw").exists():
        shutil.copytree(undisturbed, victim, ignore=shutil.ignore_patterns(*STAGES))
    for run in (undisturbed, victim):
        _settings(run)
    started = time.monotonic()
    subprocess.run([*CLG, "run", undisturbed, "--no-report"], check=True)
    duration = time.monotonic() - started
    survived = sum(_survives(victim, duration, kill) for kill in range(kills))
    subprocess.run([*CLG, "run", victim, "--no-report"], check=True)
    same = _files(victim) == _files(undisturbed)
    print(f"survived {survived if same else 0} of {kills} kills; same bytes at the end: {same}")


def _settings(run: Path) -> None:
    from clgkit.cli.demo import write_settings  # noqa: PLC0415  (loads the arrays)
    from clgkit.simulate import preset  # noqa: PLC0415

    write_settings(run, preset("demo"))


def _survives(run: Path, duration: float, number: int) -> bool:
    """Kill one run at a random moment and look whether what is left is told truly."""
    draw = random.Random(SEED + number)  # noqa: S311  (a moment, no secret)
    before = _receipts(run)
    if len(before) == len(STAGES):
        for name in STAGES:
            shutil.rmtree(run / name)
        before = {}
    process = subprocess.Popen([*CLG, "run", run, "--no-report"], stderr=subprocess.DEVNULL)
    time.sleep(draw.uniform(1.0, max(2.0, duration / 3)))
    process.kill()
    process.wait()
    after = _receipts(run)
    told = subprocess.run([*CLG, "verify", run], capture_output=True, check=False).returncode
    whole = len(after) == len(STAGES)
    truthful = told == (0 if whole else 6)
    print(f"kill {number + 1}: {len(after)} stages finished, verify says {told}", flush=True)
    return truthful and before.items() <= after.items()


def _receipts(run: Path) -> dict[str, int]:
    paths = {name: run / name / MANIFEST for name in STAGES}
    return {name: path.stat().st_ino for name, path in paths.items() if path.exists()}


def _files(run: Path) -> dict[str, dict[str, tuple[int, int]]]:
    store = Store(run)
    return {name: store.result(name).manifest.files for name in STAGES}


if __name__ == "__main__":
    main()
