"""From functional planes to structural slices, on simulated fish and on cells drawn alike.

*Fish* are the package's own (nine planes of 192 x 192 px in 66 slices); templates come from 60
raw frames.  *Rings* and *disks* are pairs of 512 x 512 px with a known map between them
(`_disks_and_rings.make_pair`): 1 degree, 1 %, a shift, and bending by 2 px.  Errors are
distances between where a cell is put and where it is.

Other programs run in an environment of their own (`peers/alignment.txt`).
"""

import os
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from benchmarks._disks_and_rings import Pair, make_pair, target_errors_px
from benchmarks.harness import Figure, Size, measure
from clgkit.registration import (
    PlaneMatch,
    choose_frames,
    make_template,
    match_planes,
    match_tilt,
    register_plane,
    shifted_control,
    z_drift,
)
from clgkit.simulate import Fish, preset

Float32: TypeAlias = npt.NDArray[np.float32]
Floats: TypeAlias = npt.NDArray[np.float64]

FOLDER = Path(__file__).parent
SEEDS = (0, 1, 2)
FULL_PHOTONS, DIM_PHOTONS = 14.0, 2.0
RATIO = (2.0, 2.0)
BIN = 40


class Recording(NamedTuple):
    """What the search for slices is given, and the truth."""

    planes: Float32
    stack: npt.NDArray[np.uint16]
    slices: npt.NDArray[np.int64]
    nucleus_px: float


class PeerRun(NamedTuple):
    """What another program made of a pair."""

    field: Floats
    cpu_s: float
    version: str


@lru_cache(maxsize=8)
def recording(size: Size, seed: int, photons: float) -> Recording:
    """Simulate a fish, and average 60 frames of every plane."""
    fish = Fish(preset("demo" if size == "full" else "tiny", seed=seed, photons=photons))
    settings = fish.settings
    chosen = choose_frames(settings.n_frames, n=60 if size == "full" else 20)
    planes = np.array(
        [
            make_template(np.concatenate([fish.movie_block(p, t, t + 1) for t in chosen.tolist()]))
            for p in range(settings.n_planes)
        ]
    )
    nucleus_px = settings.nucleus_diameter_um / (2 * settings.voxel_um[1])
    stack = fish.structure_block(0, settings.shape_px[0])
    return Recording(planes, stack, fish.slice_of_plane, nucleus_px)


@lru_cache(maxsize=16)
def match(size: Size, planes_of: int, stack_of: int, photons: float) -> PlaneMatch:
    """Look for the planes of one fish in the stack of another, or of the same."""
    shown, searched = recording(size, planes_of, photons), recording(size, stack_of, photons)
    return match_planes(
        shown.planes,
        searched.stack,
        pixel_ratio=RATIO,
        max_shift_px=10,
        slices_per_plane=6.0,
        nucleus_px=shown.nucleus_px,
    )


def share_within(size: Size, photons: float, slices: int) -> float:
    """Return the share of planes that are at most so many slices off."""
    seeds = SEEDS if size == "full" else SEEDS[:1]
    off = [
        np.abs(match(size, seed, seed, photons).slice_index - recording(size, seed, photons).slices)
        for seed in seeds
    ]
    return float(np.mean(np.concatenate(off) <= slices))


def figure_slice(size: Size) -> Figure:
    """Find the slice, or one beside it."""
    share = share_within(size, FULL_PHOTONS, 1)
    return Figure("planes within 1 slice", "share", share, target=0.95, better="higher")


def figure_slice_dim(size: Size) -> Figure:
    """Measure the same at a seventh of the photons."""
    share = share_within(size, DIM_PHOTONS, 1)
    return Figure("the same, 2 photons", "share", share, target=0.95, better="higher")


def figure_slice_exact(size: Size) -> Figure:
    """Find the slice itself."""
    share = share_within(size, FULL_PHOTONS, 0)
    return Figure("planes in their slice", "share", share, target=0.9, better="higher")


def figure_own_found(size: Size) -> Figure:
    """Say of a plane's own stack that it shows the plane."""
    found = [match(size, seed, seed, FULL_PHOTONS).found for seed in SEEDS]
    return Figure("own planes found", "share", float(np.mean(found)), target=0.95, better="higher")


def figure_foreign_found(size: Size) -> Figure:
    """Say of another fish's stack that it does."""
    found = [match(size, seed, (seed + 1) % 3, FULL_PHOTONS).found for seed in SEEDS]
    return Figure("planes of another fish found", "share", float(np.mean(found)), target=0.02)


def figure_slice_time(size: Size) -> Figure:
    """Search for nine planes in 66 slices."""
    made = recording(size, 0, FULL_PHOTONS)
    (taken,) = measure(
        lambda: match_planes(made.planes, made.stack, pixel_ratio=RATIO, max_shift_px=10)
    )
    return Figure("slice search, 9 planes, 66 slices", "CPU s", taken, target=2.0)


@lru_cache(maxsize=4)
def pair(size: Size, *, rings: bool, seed: int) -> Pair:
    """Return a plane and its slice, small at toy size."""
    return make_pair(side=512 if size == "full" else 128, rings=rings, seed=seed)


@lru_cache(maxsize=8)
def errors_px(size: Size, *, rings: bool, refine: bool) -> Floats:
    """Return the errors of all cells of two pairs."""
    found = []
    for seed in (0, 1):
        made = pair(size, rings=rings, seed=seed)
        mapped = register_plane(made.plane, made.slice_image, refine=refine)
        found.append(target_errors_px(mapped.field, made))
    return np.concatenate(found)


def figure_blocks_rings(size: Size) -> Figure:
    """Lay disks on rings by affine map and blocks."""
    error = float(np.median(errors_px(size, rings=True, refine=False)))
    return Figure("rings, affine and blocks", "px median", error, target=1.2)


def figure_blocks_time(size: Size) -> Figure:
    """Measure its CPU time."""
    made = pair(size, rings=True, seed=0)
    (taken,) = measure(lambda: register_plane(made.plane, made.slice_image, refine=False))
    return Figure("affine and blocks, 512²", "CPU s", taken, target=1.0)


def figure_rings(size: Size) -> Figure:
    """Then refine by mutual information."""
    error = float(np.median(errors_px(size, rings=True, refine=True)))
    return Figure("rings, refined", "px median", error, target=0.30)


def figure_rings_near(size: Size) -> Figure:
    """Count the cells that lie on their own nucleus."""
    share = float(np.mean(errors_px(size, rings=True, refine=True) < 2))
    return Figure("rings within 2 px", "share", share, target=0.99, better="higher")


def figure_disks(size: Size) -> Figure:
    """Lay disks on disks, as red on red."""
    error = float(np.median(errors_px(size, rings=False, refine=True)))
    return Figure("disks, refined", "px median", error, target=0.30)


def peer_python() -> Path | None:
    """Return the interpreter of the other programs' environment, if there is one."""
    root = Path(os.environ.get("CLGKIT_PEERS", FOLDER.parent / ".venv-peers"))
    found = [root / "alignment" / part for part in ("bin/python", "Scripts/python.exe")]
    return next((path for path in found if path.exists()), None)


@lru_cache(maxsize=8)
def run_peer(size: Size, name: str, *, rings: bool) -> PeerRun | None:
    """Align the first pair with another program; None if it is not installed or fails."""
    python = peer_python()
    if python is None or size == "toy":
        return None
    made = pair(size, rings=rings, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "pair.npz"), Path(folder, "field.npz")
        np.savez(source, plane=made.plane, slice_image=made.slice_image)
        command = [str(python), str(FOLDER / "peers" / "align.py"), name, source, target]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{name} failed: {done.stderr.strip().splitlines()[-1:]}")
            return None
        with np.load(target) as out:
            return PeerRun(out["field"], float(out["cpu_s"]), str(out["version"]))


def beside(size: Size, name: str, *, rings: bool) -> Figure:
    """Compare errors on one pair; the ratio says how many times smaller ours is."""
    made = pair(size, rings=rings, seed=0)
    ours = target_errors_px(register_plane(made.plane, made.slice_image).field, made)
    run = run_peer(size, name, rings=rings)
    value = None if run is None else float(np.median(target_errors_px(run.field, made)))
    peer = f"{name} {'(not installed)' if run is None else run.version}"
    figure = f"{'rings' if rings else 'disks'}, refined"
    return Figure(figure, "px median", float(np.median(ours)), peer, value)


def figure_rings_simpleitk(size: Size) -> Figure:
    """Compare with mutual information and B-splines."""
    return beside(size, "SimpleITK", rings=True)


def figure_disks_simpleitk(size: Size) -> Figure:
    """Compare the same on disks."""
    return beside(size, "SimpleITK", rings=False)


def figure_rings_skimage(size: Size) -> Figure:
    """Compare with variational flow."""
    return beside(size, "scikit-image", rings=True)


def figure_time_simpleitk(size: Size) -> Figure:
    """Compare CPU time of the whole registration; the peer's is its median of three runs."""
    made = pair(size, rings=True, seed=0)
    ours, theirs, version = [], [], "(not installed)"
    for _ in range(3):
        ours += measure(
            lambda: register_plane(made.plane, made.slice_image), repeat=1, warm_up=not ours
        )
        run_peer.cache_clear()
        run = run_peer(size, "SimpleITK", rings=True)
        if run is not None:
            theirs.append(run.cpu_s)
            version = run.version
    value = float(np.median(theirs)) if theirs else None
    return Figure("rings, 512²", "CPU s", float(np.median(ours)), f"SimpleITK {version}", value)


class Depths(NamedTuple):
    """A fish whose plane can be put at any depth."""

    fish: Fish
    stack: npt.NDArray[np.uint16]
    middle: int
    nucleus_px: float


@lru_cache(maxsize=2)
def depths(size: Size) -> Depths:
    """Return the fish of the first seed with its stack."""
    made = recording(size, 0, FULL_PHOTONS)
    fish = Fish(preset("demo" if size == "full" else "tiny", seed=0))
    return Depths(fish, made.stack, len(made.stack) // 2, made.nucleus_px)


@lru_cache(maxsize=64)
def mean_at(size: Size, z: int, first: int) -> Float32:
    """Return the mean of some frames of a plane at slice z, without motion, with their noise."""
    fish = depths(size).fish
    deep = Fish(fish.settings)
    deep.slice_of_plane = np.full(fish.settings.n_planes, z)
    n_frames = min(BIN, fish.settings.n_frames)
    first = min(first, fish.settings.n_frames - n_frames)
    mean = deep.clean_block(0, first, first + n_frames).mean(axis=0)
    light = np.maximum(mean - fish.settings.offset, 0)
    noise = np.sqrt((fish.settings.gain * light + fish.settings.read_noise**2) / n_frames)
    rng = np.random.default_rng(z)
    return np.asarray(mean + rng.normal(size=mean.shape) * noise, dtype=np.float32)


def figure_tilt(size: Size) -> Figure:
    """Find a tilt of two slices across the field, along either axis."""
    made = depths(size)
    reach = 7
    around = range(made.middle - 3, made.middle + 4)
    images = np.array([mean_at(size, z, 0) for z in around])
    y, x = (np.arange(n) / (n - 1) - 0.5 for n in images.shape[1:])
    off = []
    for span_y, span_x in ((0.0, 2.0), (2.0, 0.0), (0.0, -2.0), (-2.0, 0.0)):
        depth = 3 + span_y * y[:, np.newaxis] + span_x * x
        rows, columns = np.indices(depth.shape)
        plane = ndimage.map_coordinates(images, [depth, rows, columns], order=1)
        slices = made.stack[made.middle - reach : made.middle + reach + 1]
        found = match_tilt(
            plane, slices, pixel_ratio=RATIO, max_shift_px=5, nucleus_px=made.nucleus_px
        )
        off += [found.span_y - span_y, found.span_x - span_x]
    error = float(np.sqrt(np.mean(np.square(off))))
    return Figure("tilt of 2 slices across the field", "slices rms", error, target=1.0)


def figure_drift(size: Size) -> Figure:
    """Follow a plane that drifts by half slices."""
    made = depths(size)
    track = made.middle + np.array([0, 0.5, 1, 1.5, 1, 0, -1, -0.5])
    bins = []
    for n, z in enumerate(track):
        low = int(np.floor(z))
        part = z - low
        bins.append(
            (1 - part) * mean_at(size, low, n * BIN) + part * mean_at(size, low + 1, n * BIN)
        )
    first = made.middle - 5
    slices = made.stack[first : made.middle + 6]
    found = z_drift(np.array(bins), slices, pixel_ratio=RATIO, nucleus_px=made.nucleus_px).position
    moved, truth = found - found.mean(), track - track.mean()
    error = float(np.sqrt(np.mean(np.square(moved - truth))))
    return Figure("drift along z, bins of 40 frames", "slices rms", error, target=0.25)


def control(size: Size, aside_px: int) -> float:
    """Return the share of labels that stand out, in place or moved aside."""
    made = depths(size)
    deep = Fish(made.fish.settings)
    labels = np.roll(deep.labels_at_plane(1), aside_px, axis=0)
    n_frames = min(BIN, deep.settings.n_frames)
    return shifted_control(deep.clean_block(1, 0, n_frames).mean(axis=0), labels).fraction


def figure_control(size: Size) -> Figure:
    """Recognise labels that lie right."""
    share = control(size, 0)
    return Figure("shifted control, labels in place", "share", share, target=0.95, better="higher")


def figure_control_aside(size: Size) -> Figure:
    """Recognise labels that lie a nucleus aside; 0.5 is chance."""
    return Figure("shifted control, a nucleus aside", "share", control(size, 6), target=0.65)
