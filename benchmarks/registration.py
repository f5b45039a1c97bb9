"""Motion correction beside other programs, on a movie whose motion is known.

The movie is `_moving_field.make_movie`: 512 x 512 pixels, 200 frames, at 8.8 and 0.88
photons a pixel.  Errors are rms endpoint errors at points 16 px apart, after the time mean of
each point has been removed.  Rates are of estimating and applying on one thread, from a
template that is given; templates come from the frames themselves and are not timed.

Other programs run in an environment of their own (`peers/registration.txt`).
"""

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias
from unittest import mock

import numpy as np
import numpy.typing as npt

import clgkit.stages.correct_motion as stage
from benchmarks._moving_field import MovingField, make_movie, rms_error_px
from benchmarks.harness import Figure, Size, measure, peak_mb
from clgkit import data, registration
from clgkit.registration import apply_shifts, make_template, prepare_piecewise, prepare_rigid
from clgkit.stages._motion_quality import measure_planes
from clgkit.workspace import Workspace

Float32: TypeAlias = npt.NDArray[np.float32]
Frames: TypeAlias = npt.NDArray[np.int16]
Motion: TypeAlias = Literal["rigid", "bent"]

MAX_SHIFT_PX = 15
PHOTONS = {"8.8": 20.0, "0.88": 2.0}
FOLDER = Path(__file__).parent


class PeerRun(NamedTuple):
    """What another program made of a movie."""

    field_px: npt.NDArray[np.float64]
    cpu_s: float
    version: str


@lru_cache(maxsize=4)
def scene(size: Size, motion: Motion, photons: str) -> MovingField:
    """Return the movie, small at toy size."""
    side, n_frames = (512, 200) if size == "full" else (96, 8)
    return make_movie(
        side=side, n_frames=n_frames, photons=PHOTONS[photons], rigid=motion == "rigid"
    )


@lru_cache(maxsize=4)
def template(size: Size, motion: Motion, photons: str) -> Float32:
    """Return the template of the movie, from its own frames."""
    movie = scene(size, motion, photons).movie
    return make_template(movie, max_shift_px=MAX_SHIFT_PX)


def rigid_error_px(size: Size, photons: str) -> float:
    """Return the error of one shift for each frame."""
    made, reference = scene(size, "rigid", photons), template(size, "rigid", photons)
    prepared = prepare_rigid(reference, max_shift_px=MAX_SHIFT_PX)
    shifts = registration.register_rigid(made.movie, prepared).shift_px
    return rms_error_px(-shifts[:, np.newaxis, np.newaxis], made.shift_px)


@lru_cache(maxsize=4)
def piecewise_error_px(size: Size, motion: Motion, photons: str) -> float:
    """Return the error of the field through the shifts of patches."""
    made, reference = scene(size, motion, photons), template(size, motion, photons)
    prepared = prepare_piecewise(reference, max_shift_px=MAX_SHIFT_PX)
    shifts = registration.register_piecewise(made.movie, prepared)
    points = made.points_px.astype(int)
    found = np.stack(
        [
            registration.field_at(patches, shifts.centers, reference.shape)[np.ix_(points, points)]
            for patches in shifts.patch_shift
        ]
    )
    return rms_error_px(-found, made.shift_px)


def peer_python() -> Path | None:
    """Return the interpreter of the other programs' environment, if there is one."""
    root = Path(os.environ.get("CLGKIT_PEERS", FOLDER.parent / ".venv-peers"))
    found = [root / "registration" / part for part in ("bin/python", "Scripts/python.exe")]
    return next((path for path in found if path.exists()), None)


def run_peer(
    name: str, made: MovingField, *, rigid: bool, reference: Float32 | None = None
) -> PeerRun | None:
    """Register a movie with another program; None if it is not installed or fails."""
    python = peer_python()
    if python is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "movie.npz"), Path(folder, "field.npz")
        np.savez(
            source,
            movie=made.movie,
            points=made.points_px.astype(int),
            rigid=rigid,
            max_shift_px=MAX_SHIFT_PX,
            reference=np.zeros(0) if reference is None else reference,
        )
        script = FOLDER / "peers" / "register.py"
        command = [str(part) for part in (python, script, name, source, target)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{name} failed: {done.stderr.strip().splitlines()[-1:]}")
            return None
        with np.load(target) as out:
            return PeerRun(out["field"], float(out["cpu_s"]), str(out["version"]))


@lru_cache(maxsize=8)
def peer_error(size: Size, name: str, motion: Motion, photons: str) -> tuple[str, float | None]:
    """Return name and version of another program, and its error."""
    if size == "toy":
        return name, None
    made = scene(size, motion, photons)
    run = run_peer(name, made, rigid=motion == "rigid")
    if run is None:
        return f"{name} (not installed)", None
    return f"{name} {run.version}", rms_error_px(run.field_px, made.shift_px)


def beside(size: Size, name: str, motion: Motion, photons: str) -> Figure:
    """Compare errors; the ratio says how many times smaller ours is."""
    peer, value = peer_error(size, name, motion, photons)
    ours = (
        rigid_error_px(size, photons)
        if motion == "rigid"
        else piecewise_error_px(size, motion, photons)
    )
    return Figure(f"{motion} motion, {photons} photons/px", "px rms", ours, peer, value)


def figure_rigid_bright(size: Size) -> Figure:
    """Register a movie that moves rigidly."""
    return Figure("rigid, 8.8 photons/px", "px rms", rigid_error_px(size, "8.8"), target=0.035)


def figure_rigid_dim(size: Size) -> Figure:
    """Measure the same at a tenth of the photons."""
    return Figure("rigid, 0.88 photons/px", "px rms", rigid_error_px(size, "0.88"), target=0.05)


def figure_bent_bright(size: Size) -> Figure:
    """Piecewise, on a movie that bends."""
    error = piecewise_error_px(size, "bent", "8.8")
    return Figure("piecewise, 8.8 photons/px", "px rms", error, target=0.135)


def figure_bent_dim(size: Size) -> Figure:
    """Measure the same at a tenth of the photons."""
    error = piecewise_error_px(size, "bent", "0.88")
    return Figure("piecewise, 0.88 photons/px", "px rms", error, target=0.22)


def figure_piecewise_of_rigid_bright(size: Size) -> Figure:
    """Measure what piecewise costs where motion is rigid."""
    error = piecewise_error_px(size, "rigid", "8.8")
    return Figure("piecewise of rigid motion, 8.8 photons/px", "px rms", error, target=0.055)


def figure_piecewise_of_rigid_dim(size: Size) -> Figure:
    """Measure the same at a tenth of the photons."""
    error = piecewise_error_px(size, "rigid", "0.88")
    return Figure("piecewise of rigid motion, 0.88 photons/px", "px rms", error, target=0.16)


def figure_rigid_suite2p(size: Size) -> Figure:
    """Whole frames, against whole-pixel shifts."""
    return beside(size, "suite2p", "rigid", "8.8")


def figure_rigid_jnormcorre(size: Size) -> Figure:
    """Whole frames."""
    return beside(size, "jnormcorre", "rigid", "8.8")


def figure_bent_bright_suite2p(size: Size) -> Figure:
    """Piecewise, each with its own template."""
    return beside(size, "suite2p", "bent", "8.8")


def figure_bent_dim_suite2p(size: Size) -> Figure:
    """Measure the same at a tenth of the photons."""
    return beside(size, "suite2p", "bent", "0.88")


def figure_bent_bright_jnormcorre(size: Size) -> Figure:
    """Piecewise, each with its own template."""
    return beside(size, "jnormcorre", "bent", "8.8")


def figure_bent_dim_jnormcorre(size: Size) -> Figure:
    """Measure the same at a tenth of the photons."""
    return beside(size, "jnormcorre", "bent", "0.88")


def correct_rigidly(frames: Frames, reference: Float32) -> None:
    """Estimate and apply, in blocks as a run does."""
    prepared = prepare_rigid(reference, max_shift_px=MAX_SHIFT_PX)
    for start in range(0, len(frames), 20):
        block = frames[start : start + 20]
        found = registration.register_rigid(block, prepared)
        apply_shifts(block, found.shift_px, dtype=np.int16)


def correct_piecewise(frames: Frames, reference: Float32) -> None:
    """Estimate and apply, in blocks as a run does."""
    prepared = prepare_piecewise(reference, max_shift_px=MAX_SHIFT_PX)
    for start in range(0, len(frames), 20):
        block = frames[start : start + 20]
        found = registration.register_piecewise(block, prepared)
        apply_shifts(block, found.patch_shift, centers=found.centers, dtype=np.int16)


def figure_rigid_rate(size: Size) -> Figure:
    """Frames per CPU second, estimating and applying."""
    frames, reference = scene(size, "bent", "8.8").movie, template(size, "bent", "8.8")
    (taken,) = measure(lambda: correct_rigidly(frames, reference))
    rate = len(frames) / taken
    return Figure("rigid rate, 512²", "frames/CPU s", rate, target=150, better="higher")


def figure_piecewise_rate(size: Size) -> Figure:
    """Frames per CPU second, estimating and applying."""
    frames, reference = scene(size, "bent", "8.8").movie, template(size, "bent", "8.8")
    (taken,) = measure(lambda: correct_piecewise(frames, reference))
    rate = len(frames) / taken
    return Figure("piecewise rate, 512²", "frames/CPU s", rate, target=40, better="higher")


def correct_like_normcorre(frames: Frames, reference: Float32) -> None:
    """Estimate and apply as NoRMCorre does, with a template that stays, cells of 128 px."""
    settings = registration.NormcorreSettings(
        max_shift_px=MAX_SHIFT_PX, max_deviation_px=5, iterations=1, update_template=False
    )
    least = float(frames.min())
    for _ in registration.iterate_like_normcorre(
        frames.astype(np.float32) - least, settings, template=reference - least
    ):
        pass


def rate_beside(
    size: Size,
    name: str,
    correct: Callable[[Frames, Float32], None] = correct_piecewise,
    title: str = "piecewise rate, 512²",
) -> Figure:
    """Compare rates of estimating and applying, from one and the same template."""
    made, reference = scene(size, "bent", "8.8"), template(size, "bent", "8.8")
    part = MovingField(made.movie[:40], made.shift_px[:40], made.points_px)
    correct(part.movie[:2], reference)
    ours, theirs, version = [], [], "(not installed)"
    for _ in range(3):
        start = time.process_time()
        correct(part.movie, reference)
        ours.append(len(part.movie) / (time.process_time() - start))
        run = run_peer(name, part, rigid=False, reference=reference) if size == "full" else None
        if run is not None:
            theirs.append(len(part.movie) / run.cpu_s)
            version = run.version
    return Figure(
        title,
        "frames/CPU s",
        statistics.median(ours),
        f"{name} {version}",
        statistics.median(theirs) if theirs else None,
        target=1.0,
        better="higher",
    )


def figure_piecewise_rate_suite2p(size: Size) -> Figure:
    """Frames per CPU second, estimating and applying."""
    return rate_beside(size, "suite2p")


def figure_piecewise_rate_jnormcorre(size: Size) -> Figure:
    """Frames per CPU second, estimating and applying."""
    return rate_beside(size, "jnormcorre")


def figure_normcorre_rate(size: Size) -> Figure:
    """Frames per CPU second with compat, estimating and applying."""
    return rate_beside(size, "jnormcorre", correct_like_normcorre, "as NoRMCorre, rate, 512²")


def figure_quality_cost(size: Size) -> Figure:
    """CPU seconds of the numbers of quality, per second of the correction itself."""
    movie = data.movie(
        scene(size, "bent", "8.8").movie[:, np.newaxis], rate_hz=1.0, voxel_um=(1.0, 1.0, 1.0)
    )
    spent: list[float] = []

    def timed(*given: Any) -> Any:
        start = time.process_time()
        made = measure_planes(*given)
        spent.append(time.process_time() - start)
        return made

    with mock.patch.object(stage, "measure_planes", timed):
        (taken,) = measure(
            lambda: stage.correct_motion(movie, workspace=Workspace(executor="serial")), repeat=1
        )
    share = spent[-1] / (taken - spent[-1])
    return Figure("numbers of quality, per correction", "1", share, target=0.1)


def correct_noise(side: int, n_frames: int) -> None:
    """Correct a movie that is made frame by frame."""
    rng = np.random.default_rng(0)
    reference = rng.normal(100, 10, (side, side)).astype(np.float32)
    prepared = prepare_piecewise(reference, max_shift_px=MAX_SHIFT_PX)
    for _ in range(0, n_frames, 20):
        block = rng.poisson(100, (20, side, side)).astype(np.uint16)
        found = registration.register_piecewise(block, prepared)
        apply_shifts(block, found.patch_shift, centers=found.centers)


def figure_memory(size: Size) -> Figure:
    """Peak of a fresh process that corrects 1024 x 1024 pixels in blocks of 20 frames."""
    side, n_frames = (1024, 60) if size == "full" else (64, 20)
    peak = peak_mb(partial(correct_noise, side, n_frames))
    return Figure("peak memory, 1024²", "MB", peak, target=1000)


def figure_memory_growth(size: Size) -> Figure:
    """By how much that peak grows with three times the frames."""
    # The allocator needs some blocks to settle.
    side, n_frames = (512, 100) if size == "full" else (64, 20)
    short, long = (peak_mb(partial(correct_noise, side, n)) for n in (n_frames, 3 * n_frames))
    return Figure("memory for three times the frames", "MB more", long - short, target=20)
