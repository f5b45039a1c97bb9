"""Whole commands, from file to file: what a user waits for, imports and writing included.

Motion correction is that of a movie of 512 x 512 pixels and 200 frames that bends
(`_moving_field.make_movie`): reading, template, piecewise shifts, the numbers of its quality,
writing, and reading back what was written.  The other program is the script of
`peers/register.py`, from process start to end: it makes its own reference, too, measures no
quality and writes no movie.
"""

import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np

from benchmarks._moving_field import MovingField, make_movie
from benchmarks._peers import ask
from benchmarks.harness import Figure, Size, measure
from clgkit import io

MAX_SHIFT_PX = 15
CLG = (sys.executable, "-m", "clgkit")
REPEAT = 3


@lru_cache(maxsize=1)
def scene(size: Size) -> MovingField:
    """Return the movie, small at toy size."""
    side, n_frames = (512, 200) if size == "full" else (64, 8)
    return make_movie(side=side, n_frames=n_frames, photons=20.0, rigid=False)


def correct(movie: Path) -> None:
    """Run ``clg correct-motion`` with its defaults."""
    words = ("correct-motion", movie, movie.with_name("corrected.tif"), "--axes", "tyx")
    subprocess.run([*CLG, *map(str, words)], check=True, capture_output=True)


@lru_cache(maxsize=2)
def command_cpu_s(size: Size) -> float:
    """Return the CPU time of the command, a median."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "movie.tif")
        io.write_tiff(path, scene(size).movie, axes="tyx")
        (taken,) = measure(
            lambda: correct(path), repeat=REPEAT if size == "full" else 1, warm_up=size == "full"
        )
    return taken


def peer_cpu_s(size: Size, name: str) -> tuple[str, float | None]:
    """Return name and version of another program, and its CPU time."""
    if size == "toy":
        return name, None
    made, versions = scene(size), []

    def run() -> None:
        given = {
            "movie": made.movie,
            "points": made.points_px.astype(int),
            "rigid": np.zeros((), np.bool_),
            "max_shift_px": np.array(MAX_SHIFT_PX),
            "reference": np.zeros(0),
        }
        answer = ask("registration", "register.py", name, given=given)
        versions.extend([] if answer is None else [str(answer["version"])])

    (taken,) = measure(run, repeat=1, warm_up=False)
    return (f"{name} {versions[0]}", taken) if versions else (f"{name} (not installed)", None)


def figure_correct_motion(size: Size) -> Figure:
    """Correct a movie from file to file."""
    rate = len(scene(size).movie) / command_cpu_s(size)
    return Figure(
        "clg correct-motion, 512², 200 frames", "frames / CPU s", rate, target=15, better="higher"
    )


def figure_correct_motion_suite2p(size: Size) -> Figure:
    """Compare with suite2p, its reference included."""
    return beside(size, "suite2p")


def figure_correct_motion_jnormcorre(size: Size) -> Figure:
    """Compare with jnormcorre, its template and its compilation included."""
    return beside(size, "jnormcorre")


def beside(size: Size, name: str) -> Figure:
    """Compare CPU times; the ratio says how many times less ours is."""
    peer, value = peer_cpu_s(size, name)
    return Figure("motion of a file, start to end", "CPU s", command_cpu_s(size), peer, value)
