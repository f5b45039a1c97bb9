"""Planes of a simulated fish, in motion or still, level or tilted, with the truth about them."""

import warnings
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from benchmarks.harness import Size
from clgkit import data
from clgkit.registration import choose_frames, make_template, sample_oblique
from clgkit.simulate import Fish, FishSettings, preset
from clgkit.stages.align_planes import AlignPlanes, align_planes
from clgkit.workspace import Workspace

Float32: TypeAlias = npt.NDArray[np.float32]
Floats: TypeAlias = npt.NDArray[np.float64]
Channel: TypeAlias = Literal["calcium", "nuclear"]

RATIO = (2.0, 2.0)
"""Structural pixels per functional pixel."""
BIN = 40
TILTED_FRAMES = 10
"""Frames of activity in the mean of a tilted plane; its noise is that of `BIN` frames."""
HARD = ((1.0, 0.0), (0.1, 0.0), (0.02, 0.0), (0.005, 0.0), (1.0, 1.5), (1.0, 2.5))
"""Share of the light, and blur (sigma, functional pixels), of planes that are hard to place."""
HARD_SEEDS = (3, 4, 5)
REACH = 5
"""Slices on either side of its own that are searched for a tilted plane."""
EDGE_PX = 12


class Recording(NamedTuple):
    """What the search for slices is given, and the truth."""

    planes: Float32
    stack: npt.NDArray[np.uint16]
    slices: npt.NDArray[np.int64]
    nucleus_px: float


class Still(NamedTuple):
    """A recording without motion, and where its planes lie."""

    seen: Recording
    offset_px: Floats
    """(P, 2) shift that lays a plane on the structure, functional pixels."""


class Doubted(NamedTuple):
    """Planes of all `HARD` kinds, and what is said of each, (H, P)."""

    off: npt.NDArray[np.int64]
    """Slices between the slice found and the true one."""
    doubtful: npt.NDArray[np.bool_]


class Tilted(NamedTuple):
    """Parallel planes that lie askew."""

    planes: Float32
    stacks: list[npt.NDArray[np.uint16]]
    """The slices about each plane."""
    position: Floats
    """(P,) true depth of the middle of the field, counted from the first slice of its stack."""
    nucleus_px: float


def fish_settings(size: Size, *, seed: int, **changes: float) -> FishSettings:
    """Return the settings of the demo's fish, or of a tiny one."""
    return preset("demo" if size == "full" else "tiny", seed=seed, **changes)


@lru_cache(maxsize=8)
def recording(size: Size, seed: int, photons: float) -> Recording:
    """Simulate a fish, and average 60 frames of every plane."""
    fish = Fish(fish_settings(size, seed=seed, photons=photons))
    chosen = choose_frames(fish.settings.n_frames, n=60 if size == "full" else 20)
    planes = [
        make_template(np.concatenate([fish.movie_block(p, t, t + 1) for t in chosen.tolist()]))
        for p in range(fish.settings.n_planes)
    ]
    return _recording(fish, planes)


def still_fish(size: Size, seed: int, n_frames: int) -> Fish:
    """Simulate a fish whose movie does not move; its planes lie aside all the same."""
    quiet = {"drift_px": 0.0, "jitter_px": 0.0, "plane_jitter_px": 0.0, "nonrigid_px": 0.0}
    return Fish(fish_settings(size, seed=seed, n_bursts=0, n_frames=n_frames, **quiet))


@lru_cache(maxsize=8)
def still(size: Size, seed: int, channel: Channel, n_frames: int) -> Still:
    """Average all frames of a channel of a still fish.

    Where a mean image lies is known then, so that what is left is the error of the map.
    """
    fish = still_fish(size, seed, n_frames)
    block = fish.movie_block if channel == "calcium" else fish.nuclear_block
    planes = [
        block(p, 0, n_frames).mean(axis=0, dtype=np.float32) for p in range(fish.settings.n_planes)
    ]
    return Still(_recording(fish, planes), fish.plane_offset_px)


@lru_cache(maxsize=8)
def doubted(size: Size, seed: int) -> Doubted:
    """Look for planes of a fish, dim or blurred, in any order, and keep what is doubted."""
    fish = Fish(fish_settings(size, seed=seed))
    s, step = fish.settings, fish.settings.voxel_um
    n_frames = min(TILTED_FRAMES, s.n_frames)
    mean = np.array([fish.clean_block(p, 0, n_frames).mean(axis=0) for p in range(s.n_planes)])
    stack = data.volume(fish.structure_block(0, s.shape_px[0]), voxel_um=step)
    rng = np.random.default_rng(seed)
    params = AlignPlanes(
        order="free", in_plane="offset", tilt="none", not_found="keep",
        nucleus_um=s.nucleus_diameter_um,
    )  # fmt: skip
    off, doubtful = [], []
    for light, blur_px in HARD:
        seen = ndimage.gaussian_filter(mean, (0, blur_px, blur_px)) - s.offset
        dimmed = np.asarray(light * seen + s.offset, np.float32)
        planes = with_noise(dimmed, s, n_frames=BIN, rng=rng)
        pixels = (step[0], RATIO[0] * step[1], RATIO[1] * step[2])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # they are counted instead
            found = align_planes(
                data.volume(planes, voxel_um=pixels), stack, params=params,
                workspace=Workspace(executor="serial"),
            ).planes  # fmt: skip
        off.append(np.abs(found.values - fish.slice_of_plane))
        doubtful.append(found.coords["doubtful"].values > 0)
    return Doubted(np.array(off), np.array(doubtful))


def all_doubted(size: Size) -> Doubted:
    """Return the hard planes of all fish, side by side."""
    found = [doubted(size, seed) for seed in (HARD_SEEDS if size == "full" else HARD_SEEDS[:1])]
    return Doubted(*(np.concatenate(parts, axis=1) for parts in zip(*found, strict=True)))


def _recording(fish: Fish, planes: list[Float32]) -> Recording:
    stack = fish.structure_block(0, fish.settings.shape_px[0])
    return Recording(np.array(planes), stack, fish.slice_of_plane, nucleus_px_of(fish.settings))


def nucleus_px_of(settings: FishSettings) -> float:
    """Return the lateral diameter of a nucleus in functional pixels."""
    return settings.nucleus_diameter_um / (RATIO[1] * settings.voxel_um[1])


def field_errors_px(field: npt.NDArray[np.floating], offset_px: Floats) -> Floats:
    """Return how far a map (y, x, 2) is off away from the edges, functional pixels."""
    here = np.indices(field.shape[:2]).transpose(1, 2, 0)
    true = RATIO[0] * (here + offset_px) + (RATIO[0] - 1) / 2
    off = np.linalg.norm(here + field - true, axis=2) / RATIO[0]
    return np.asarray(off[EDGE_PX:-EDGE_PX, EDGE_PX:-EDGE_PX])


@lru_cache(maxsize=8)
def tilted(size: Size, seed: int, spans: tuple[float, float]) -> Tilted:
    """Cut planes out of a fish; their last row and column lie so many slices (up to 2) deeper."""
    fish = Fish(fish_settings(size, seed=seed))
    rng = np.random.default_rng(seed)
    slices, last = fish.slice_of_plane, fish.settings.shape_px[0]
    first = np.clip(slices - REACH, 0, last - 2 * REACH - 1)
    expected = [
        sample_oblique(_levels(fish, int(z)), position=1, span_y=spans[0], span_x=spans[1])
        for z in slices
    ]
    planes = [with_noise(image, fish.settings, n_frames=BIN, rng=rng) for image in expected]
    stacks = [fish.structure_block(int(z), int(z) + 2 * REACH + 1) for z in first]
    return Tilted(np.array(planes), stacks, slices - first, nucleus_px_of(fish.settings))


def _levels(fish: Fish, z: int) -> Float32:
    """Return the expected mean image of the slices `z` - 1 to `z` + 1."""
    deep = Fish(fish.settings)
    deep.slice_of_plane = z + np.arange(-1, fish.settings.n_planes - 1)
    return np.array([deep.clean_block(p, 0, TILTED_FRAMES).mean(axis=0) for p in range(3)])


def with_noise(
    mean: Float32, settings: FishSettings, *, n_frames: int, rng: np.random.Generator
) -> Float32:
    """Return an expected mean image with the noise that so many frames leave."""
    light = np.maximum(mean - settings.offset, 0)
    noise = np.sqrt((settings.gain * light + settings.read_noise**2) / n_frames)
    return np.asarray(mean + rng.normal(size=mean.shape) * noise, dtype=np.float32)


def depth_errors(found: Floats, true: Floats, spans: tuple[Floats, Floats]) -> Floats:
    """Return how far every node of a grid over the field lies from its true depth, slices.

    Parameters
    ----------
    found, true : (P,)
        Depth of the middle of the field.
    spans : (P, 2) and (P, 2)
        By how much the last row and column lie deeper, found and true.
    """
    place = np.stack(np.meshgrid(*[np.linspace(-0.5, 0.5, 9)] * 2, indexing="ij"), axis=-1)
    ahead = place.reshape(-1, 2) @ (spans[0] - spans[1]).T
    return np.asarray(ahead + (found - true))
