"""From functional planes to structural slices, on simulated fish and on cells drawn alike.

*Fish* are the package's own (nine planes of 192 x 192 px in 66 slices); templates come from 60
raw frames.  The gain of the nuclear channel is measured on movies that do not move, so that the
place of a template is known; that of the common tilt on planes cut askew (`_fish_planes`).

*Rings* and *disks* are pairs of 512 x 512 px with a known map between them
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
from benchmarks._fish_planes import (
    BIN,
    HARD,
    RATIO,
    Channel,
    Recording,
    all_doubted,
    depth_errors,
    field_errors_px,
    recording,
    still,
    tilted,
    with_noise,
)
from benchmarks.harness import Figure, Size, measure
from clgkit.registration import (
    CommonTilt,
    PlaneMatch,
    match_common_tilt,
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
STILL_FRAMES, FEW_FRAMES = 60, 5
LEAST_LIGHT = 0.02
"""Planes in focus with so much of the light can be placed."""
LEVEL = (0.0, 0.0)
TILTS = ((2.0, 0.0), (0.0, -2.0))
"""Slices across the field, along y and x; each with a fish of its own."""


class PeerRun(NamedTuple):
    """What another program made of a pair."""

    field: Floats
    cpu_s: float
    version: str


@lru_cache(maxsize=16)
def match(size: Size, planes_of: int, stack_of: int, photons: float) -> PlaneMatch:
    """Look for the planes of one fish in the stack of another, or of the same."""
    shown, searched = recording(size, planes_of, photons), recording(size, stack_of, photons)
    return search(shown, searched.stack)


def search(shown: Recording, stack: npt.NDArray[np.generic]) -> PlaneMatch:
    """Look for planes in a stack."""
    return match_planes(
        shown.planes,
        stack,
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


def figure_own_margin(size: Size) -> Figure:
    """Tell how far the worst of the planes lies above chance; 1.5 times is found."""
    matches = [match(size, seed, seed, FULL_PHOTONS) for seed in SEEDS]
    least = min(float((made.score / made.chance).min()) for made in matches)
    name = "score of own planes over chance, least"
    return Figure(name, "times", least, target=2.0, better="higher")


def figure_mirrored_margin(size: Size) -> Figure:
    """Tell the same of planes that are nowhere: the best of the fish's own, mirrored."""
    above = []
    for seed in SEEDS if size == "full" else SEEDS[:1]:
        made = recording(size, seed, FULL_PHOTONS)
        found = search(made._replace(planes=made.planes[:, ::-1]), made.stack)
        above.append(found.score / found.chance)
    most = float(np.max(above))
    return Figure("score of mirrored planes over chance, most", "times", most, target=1.5)


def figure_doubted_wrong(size: Size) -> Figure:
    """Doubt the planes, dim or blurred, that are put more than one slice aside."""
    made = all_doubted(size)
    wrong = made.off > 1
    share = float(made.doubtful[wrong].mean()) if wrong.any() else float("nan")
    name = "dim or blurred planes, wrong ones doubted"
    return Figure(name, "share", share, target=0.95, better="higher")


def figure_doubted_right(size: Size) -> Figure:
    """Do not doubt the planes in their slice or beside it, where there is light and focus."""
    made = all_doubted(size)
    clear = np.array([light >= LEAST_LIGHT and not blur_px for light, blur_px in HARD])
    right = (made.off <= 1) & clear[:, np.newaxis]
    share = float(made.doubtful[right].mean()) if right.any() else float("nan")
    return Figure("planes in focus, right ones doubted", "share", share, target=0.05)


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
    found: list[Floats] = []
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
        command: list[str | Path] = [python, FOLDER / "peers" / "align.py", name, source, target]
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
    ours: list[float] = []
    theirs: list[float] = []
    version = "(not installed)"
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
    rng = np.random.default_rng(z)
    return with_noise(mean, fish.settings, n_frames=n_frames, rng=rng)


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


@lru_cache(maxsize=8)
def placed(size: Size, channel: Channel, n_frames: int) -> tuple[Floats, Floats]:
    """Return how far maps are off (px), and scores over chance, of two fish that do not move."""
    errors, above = [], []
    for seed in SEEDS[:2] if size == "full" else SEEDS[:1]:
        made = still(size, seed, channel, n_frames)
        seen = made.seen
        found = search(seen, seen.stack)
        above.append(found.score / found.chance)
        for plane, z, shift, offset in zip(
            seen.planes, found.slice_index, found.shift_px, made.offset_px, strict=True
        ):
            mapped = register_plane(
                plane,
                seen.stack[z],
                pixel_ratio=RATIO,
                max_shift_px=10,
                start_px=(float(shift[0]), float(shift[1])),
                nucleus_px=seen.nucleus_px,
            )
            errors.append(field_errors_px(mapped.field, offset))
    return np.array(errors), np.concatenate(above)


def figure_nuclear(size: Size) -> Figure:
    """Lay nuclei on nuclei, and cytosol on nuclei."""
    ours, peer = (
        float(np.median(placed(size, channel, STILL_FRAMES)[0]))
        for channel in ("nuclear", "calcium")
    )
    name = "map error with the nuclear channel"
    without = "without the nuclear channel"
    return Figure(name, "px median", ours, peer=without, peer_value=peer, target=4)


def figure_nuclear_margin(size: Size) -> Figure:
    """Compare how far the worst plane lies above chance."""
    ours, peer = (
        float(placed(size, channel, STILL_FRAMES)[1].min()) for channel in ("nuclear", "calcium")
    )
    name = "score over chance, least, with the nuclear channel"
    without = "without the nuclear channel"
    return Figure(name, "times", ours, peer=without, peer_value=peer, target=1.5, better="higher")


def figure_nuclear_few(size: Size) -> Figure:
    """Do the same with the mean of five frames of eight photons."""
    error = float(np.median(placed(size, "nuclear", FEW_FRAMES)[0]))
    return Figure("the same from five frames, 8 photons", "px median", error, target=0.05)


@lru_cache(maxsize=8)
def common_tilt(size: Size, seed: int, spans: tuple[float, float], max_span: float) -> CommonTilt:
    """Look for the tilt that the planes of a fish share."""
    made = tilted(size, seed, spans)
    return match_common_tilt(
        made.planes,
        made.stacks,
        pixel_ratio=RATIO,
        max_shift_px=5,
        max_span=max_span,
        nucleus_px=made.nucleus_px,
    )


@lru_cache(maxsize=4)
def tilts_alone(size: Size, seed: int, spans: tuple[float, float]) -> Floats:
    """Return depth and tilt (P, 3) that every plane by itself seems to have."""
    made = tilted(size, seed, spans)
    found = [
        match_tilt(plane, stack, pixel_ratio=RATIO, max_shift_px=5, nucleus_px=made.nucleus_px)
        for plane, stack in zip(made.planes, made.stacks, strict=True)
    ]
    return np.array([[one.position, one.span_y, one.span_x] for one in found])


def rms(values: object) -> float:
    """Return the root of the mean square."""
    return float(np.sqrt(np.mean(np.square(np.asarray(values)))))


def figure_common_tilt(size: Size) -> Figure:
    """Find a tilt of two slices by all planes together, and by each plane alone."""
    ours: list[Floats] = []
    peer: list[Floats] = []
    for seed, spans in enumerate(TILTS):
        found = common_tilt(size, seed, spans, 6.0)
        ours.append(np.subtract((found.span_y, found.span_x), spans))
        peer.append(tilts_alone(size, seed, spans)[:, 1:] - spans)
    name, alone = "tilt of 2 slices that all planes share", "each plane by itself"
    return Figure(name, "slices rms", rms(ours), peer=alone, peer_value=rms(peer), target=2)


def figure_level_tilt(size: Size) -> Figure:
    """Leave level planes level."""
    found = [common_tilt(size, seed, LEVEL, 6.0) for seed in SEEDS[:2]]
    most = max(max(abs(one.span_y), abs(one.span_x)) for one in found)
    return Figure("tilt found in level planes, most", "slices", most, target=0.0)


def figure_tilted_depth(size: Size) -> Figure:
    """Say at which depth every part of a plane lies that is tilted by two slices."""
    ours: list[Floats] = []
    peer: list[Floats] = []
    for seed, spans in enumerate(TILTS):
        true = tilted(size, seed, spans).position
        wanted = np.tile(spans, (len(true), 1))
        for errors, max_span in ((ours, 6.0), (peer, 0.0)):
            found = common_tilt(size, seed, spans, max_span)
            seen = np.tile((found.span_y, found.span_x), (len(true), 1))
            errors.append(depth_errors(found.position, true, (seen, wanted)))
    name, level = "depth in planes tilted by 2 slices", "taken as level"
    return Figure(name, "slices rms", rms(ours), peer=level, peer_value=rms(peer), target=1.5)


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
