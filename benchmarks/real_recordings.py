"""Motion correction of recordings that others published, and whether each became steadier.

No one knows how these samples moved, so a figure is the mean correlation of a frame with the
mean of the other frames, after ``clg correct-motion`` over before, on the pixels that all
corrected frames show.  A cubic interpolation takes some noise away and raises it a little on
its own; so both movies are smoothed (2 px) before they are compared.

The recordings lie in ``../shared/data`` (or ``$CLGKIT_RECORDINGS``), and are not part of this
repository.  A recording that is not at hand is a row without a value.
"""

import csv
import math
import os
import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, TypeAlias

import h5py
import numpy as np
import numpy.typing as npt
import tifffile
from scipy.ndimage import gaussian_filter

from benchmarks._moving_field import make_movie
from benchmarks.harness import Figure, Size
from clgkit import registration

Pixels: TypeAlias = npt.NDArray[np.float32]

ROOT = Path(__file__).parents[1]
SMOOTH_PX = 2.0
FRAMES_AT_A_TIME = 50


class Recording(NamedTuple):
    """A file, and how it is read."""

    file: str
    axes: str = "tyx"
    dataset: str | None = None
    channel: int | None = None
    reference: str | None = None
    """Whose template its frames are laid on; its own if None."""


RECORDINGS = {
    "fmi2p": Recording("fmi2p_frames0001-0400.tif"),
    "kenyon2p, cycle 1": Recording("kenyon2p_cycle1.tif"),
    "kenyon2p, cycle 2": Recording("kenyon2p_cycle2.tif"),
    "kenyon2p, cycle 2 on 1": Recording("kenyon2p_cycle2.tif", reference="kenyon2p, cycle 1"),
    "sima example": Recording("sima_example_20x128x256.tif"),
    "allen movie": Recording("allen_movie_100x100x100.h5", dataset="data"),
    "allen 792757260": Recording("allen_792757260_100x100x100.h5", dataset="input_frames"),
    "allen dewarp, input": Recording("allen_sine_dewarp_input.h5", dataset="data"),
    "allen dewarp, output": Recording("allen_sine_dewarp_output.h5", dataset="data"),
    "sima volume": Recording(
        "sima_volume_10x3x64x64x2.h5", axes="tzyxc", dataset="imaging", channel=0
    ),
    "thunder mouse": Recording("thunder_mouse2p_500x64x64.tif"),
    "thunder fish": Recording("thunder_fish_lightsheet_240x2x76x87.tif", axes="tzyx"),
}


class Steadied(NamedTuple):
    """A recording before and after."""

    raw: npt.NDArray[np.generic]
    """(T, Z, Y, X)"""
    corrected: Pixels
    """(T, Z, Y, X), NaN where a frame shows nothing."""
    template: Pixels
    """(Z, Y, X)"""
    shift_px: Pixels
    """(T, Z, 2) of whole frames."""
    warnings: tuple[str, ...]
    """What the command told."""


class Judged(NamedTuple):
    """Numbers of a recording, over the pixels that all its corrected frames show."""

    shape: tuple[int, ...]
    r_before: float
    """Mean correlation of a frame with the mean of the others."""
    r_after: float
    smooth_before: float
    """The same after smoothing."""
    smooth_after: float
    crispness: float
    """Of the mean image, after over before."""
    median_shift_px: float
    largest_shift_px: float
    inside: float
    """Share of the field that all frames show."""
    warnings: tuple[str, ...]


def folder() -> Path:
    """Return where the recordings are expected."""
    return Path(os.environ.get("CLGKIT_RECORDINGS", ROOT.parent / "shared" / "data"))


def read(recording: Recording) -> npt.NDArray[np.generic]:
    """Return the frames, (T, Z, Y, X)."""
    path = folder() / "movies" / recording.file
    if recording.dataset is None:
        frames = tifffile.imread(path)
    else:
        with h5py.File(path) as file:
            frames = np.asarray(file[recording.dataset])
    if recording.channel is not None:
        frames = frames[..., recording.channel]
    return frames if "z" in recording.axes else frames[:, np.newaxis]


@lru_cache(maxsize=1)
def steady(name: str) -> Steadied | None:
    """Run ``clg correct-motion`` on a recording; None if it is not at hand."""
    recording = RECORDINGS[name]
    if not (folder() / "movies" / recording.file).exists():
        return None
    with tempfile.TemporaryDirectory() as scratch:
        template = None
        if recording.reference is not None:
            template = Path(scratch, "reference.tif")
            _correct(RECORDINGS[recording.reference], Path(scratch), template)
        return _correct(recording, Path(scratch), Path(scratch, "template.tif"), reference=template)


def _correct(
    recording: Recording, scratch: Path, template: Path, *, reference: Path | None = None
) -> Steadied:
    output, table = scratch / "corrected.tif", scratch / "shifts.csv"
    words = [folder() / "movies" / recording.file, output, "--axes", recording.axes]
    words += ["--shifts", table, "--template-file", template]
    words += [] if recording.dataset is None else ["--dataset", recording.dataset]
    words += [] if recording.channel is None else ["--channel", str(recording.channel)]
    words += [] if reference is None else ["--reference", reference]
    command = [sys.executable, "-m", "clgkit", "correct-motion", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{recording.file}: {done.stderr.strip()}")
    raw = read(recording)
    corrected = tifffile.imread(output).reshape(raw.shape)
    with table.open(newline="") as file:
        rows = [(row["shift_y_px"], row["shift_x_px"]) for row in csv.DictReader(file)]
    shifts = np.array(rows, dtype=np.float32).reshape(*raw.shape[:2], 2)
    told = tuple(line for line in done.stderr.splitlines() if line.strip())
    plane = tifffile.imread(template).reshape(raw.shape[1:])
    return Steadied(raw, corrected, plane, shifts, told)


def judge(made: Steadied) -> Judged:
    """Compare a movie before and after, plane by plane, and average over the planes."""
    planes = [_judge_plane(made.raw[:, z], made.corrected[:, z]) for z in range(len(made.template))]
    numbers = np.mean(planes, axis=0).tolist()
    length = np.hypot(*np.moveaxis(made.shift_px, -1, 0))
    before, after, smooth_before, smooth_after, crispness, inside = numbers
    return Judged(
        made.raw.shape,
        before,
        after,
        smooth_before,
        smooth_after,
        crispness,
        float(np.median(length)),
        float(length.max()),
        inside,
        made.warnings,
    )


def _judge_plane(raw: npt.NDArray[np.generic], corrected: Pixels) -> list[float]:
    shown = np.asarray(np.isfinite(corrected).all(axis=0))
    rows, columns = _inner(shown)
    before, after = (movie[:, rows, columns].astype(np.float32) for movie in (raw, corrected))
    if not np.isfinite(after).all():
        raise RuntimeError("the corrected frames have holes")
    sharp = [registration.crispness(movie.mean(axis=0)) for movie in (before, after)]
    smooth = [gaussian_filter(movie, (0, SMOOTH_PX, SMOOTH_PX)) for movie in (before, after)]
    agreements = [_r_to_mean(movie) for movie in (before, after, *smooth)]
    return [*agreements, sharp[1] / sharp[0], float(shown.mean())]


def _inner(shown: npt.NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return a rectangle that all frames show: of rows and columns that mostly are shown."""
    cut = []
    for axis in (1, 0):
        full = np.flatnonzero(shown.mean(axis=axis) > 0.5)
        cut.append(slice(full[0], full[-1] + 1))
    while not shown[tuple(cut)].all():
        sides = [(~shown[tuple(cut)]).sum(axis=axis) for axis in (1, 0)]
        worst = [(sides[a][end] / sides[a].size, a, end) for a in (0, 1) for end in (0, -1)]
        _, axis, end = max(worst)
        old = cut[axis]
        cut[axis] = slice(old.start + (end == 0), old.stop - (end == -1))
    return cut[0], cut[1]


def _r_to_mean(movie: Pixels) -> float:
    """Return the mean correlation of a frame with the mean of the other frames."""
    flat = movie.reshape(len(movie), -1).astype(np.float64)
    flat -= flat.mean(axis=1, keepdims=True)
    others = (flat.sum(axis=0) - flat) / (len(flat) - 1)
    norms = np.linalg.norm(flat, axis=1) * np.linalg.norm(others, axis=1)
    return float(((flat * others).sum(axis=1) / norms).mean())


def simulated() -> Steadied:
    """Return a small simulated movie in the place of a recording, to see that all runs."""
    made = make_movie(side=64, n_frames=6, rigid=True)
    template = registration.make_template(made.movie, max_shift_px=5)
    prepared = registration.prepare_rigid(template, max_shift_px=5)
    shifts = registration.register_rigid(made.movie, prepared).shift_px
    corrected = registration.apply_shifts(made.movie, shifts).frames
    still = corrected.astype(np.float32)[:, None]
    return Steadied(made.movie[:, None], still, template[None], shifts[:, None], ())


def steadier(size: Size, name: str) -> Figure:
    """Compare the correlation of smoothed frames with their mean, after and before."""
    made = simulated() if size == "toy" else steady(name)
    if made is None:
        return Figure(f"{name}, r to the mean", "1", math.nan, peer="raw (not at hand)")
    judged = judge(made)
    return Figure(
        f"{name}, r to the mean",
        "1",
        judged.smooth_after,
        peer="raw",
        peer_value=judged.smooth_before,
        better="higher",
    )


def figure_fmi2p(size: Size) -> Figure:
    """Mouse cortex, photon-starved."""
    return steadier(size, "fmi2p")


def figure_kenyon2p_cycle1(size: Size) -> Figure:
    """Kenyon cells of a fly."""
    return steadier(size, "kenyon2p, cycle 1")


def figure_kenyon2p_cycle2(size: Size) -> Figure:
    """Measure the same, a cycle later."""
    return steadier(size, "kenyon2p, cycle 2")


def figure_kenyon2p_on_cycle1(size: Size) -> Figure:
    """Lay the second cycle on the template of the first."""
    return steadier(size, "kenyon2p, cycle 2 on 1")


def figure_sima(size: Size) -> Figure:
    """Twenty frames of a resonant scanner."""
    return steadier(size, "sima example")


def figure_allen_movie(size: Size) -> Figure:
    """Very noisy two-photon frames."""
    return steadier(size, "allen movie")


def figure_allen_792757260(size: Size) -> Figure:
    """Noisier ones."""
    return steadier(size, "allen 792757260")


def figure_allen_dewarp_input(size: Size) -> Figure:
    """Five frames as a resonant scanner wrote them."""
    return steadier(size, "allen dewarp, input")


def figure_allen_dewarp_output(size: Size) -> Figure:
    """Measure the same with the distortion of the sine taken out."""
    return steadier(size, "allen dewarp, output")


def figure_sima_volume(size: Size) -> Figure:
    """Ten volumes of three small planes, the first of two channels."""
    return steadier(size, "sima volume")


def figure_thunder_mouse(size: Size) -> Figure:
    """Mouse somatosensory cortex, 64 x 64 pixels."""
    return steadier(size, "thunder mouse")


def figure_thunder_fish(size: Size) -> Figure:
    """Two planes of a light-sheet recording of a larval zebrafish."""
    return steadier(size, "thunder fish")
