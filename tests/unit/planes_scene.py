"""Mean images of the planes of a simulated fish, level or tilted, and their stack."""

from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import ndimage

from clgkit import data
from clgkit.registration import sample_oblique
from clgkit.simulate import Fish, preset

PHOTON_FRAMES = 400
"""Frames that a mean image is made of; only their noise is simulated."""


class Planes(NamedTuple):
    """What `align_planes` reads, and the truth."""

    template: xr.DataArray
    """(z, y, x) cytosol."""
    nuclear: xr.DataArray
    """(z, y, x) nuclei."""
    structure: xr.DataArray
    slices: npt.NDArray[np.int64]
    """(z,) the true slice."""
    offset_px: npt.NDArray[np.float64]
    """(z, 2) shift that lays the plane on the structure, functional pixels."""
    labels: xr.DataArray
    """(z, y, x) true labels of the structure."""


@cache
def planes_of(
    *, seed: int = 0, n_planes: int = 3, spans: tuple[float, float] = (0.0, 0.0)
) -> Planes:
    """Planes of the demo fish; with `spans`, last row and column lie so much deeper."""
    fish = Fish(preset("demo", seed=seed, n_planes=n_planes, n_frames=2))
    z, y, x = fish.settings.voxel_um
    pitch = float(np.diff(fish.slice_of_plane).mean()) * z if n_planes > 1 else z
    offset = fish.plane_offset_px
    rng = np.random.default_rng(seed)
    functional = {"voxel_um": (pitch, 2 * y, 2 * x)}
    calcium = [_noisy(_cut(fish, p, spans), fish, rng) for p in range(n_planes)]
    nuclei = [_noisy(fish.clean_nuclei(p), fish, rng) for p in range(n_planes)]
    return Planes(
        data.volume(_moved(calcium, offset), name="template", **functional),
        data.volume(_moved(nuclei, offset), name="nuclear", **functional),
        data.volume(
            fish.structure_block(0, fish.settings.shape_px[0]), voxel_um=fish.settings.voxel_um
        ),
        fish.slice_of_plane,
        offset,
        data.labels(fish.labels_block(0, fish.settings.shape_px[0]), voxel_um=(z, y, x)),
    )


def target_errors_px(maps: xr.DataArray, planes: Planes) -> npt.NDArray[np.float64]:
    """How far the maps are off within their slices, functional pixels, 12 px from the edges."""
    here = np.indices(maps.shape[1:3]).transpose(1, 2, 0)
    true = 2 * (here + planes.offset_px[:, np.newaxis, np.newaxis]) + 0.5
    off = np.linalg.norm(here + maps.values[..., 1:] - true, axis=3) / 2
    return off[:, 12:-12, 12:-12]


def _cut(fish: Fish, plane: int, spans: tuple[float, float]) -> npt.NDArray[np.float32]:
    """The expected mean image of a plane, cut out of level ones."""
    if not any(spans):
        return fish.clean_block(plane, 0, fish.settings.n_frames).mean(axis=0)
    middle, reach = int(fish.slice_of_plane[plane]), int(np.ceil(sum(map(abs, spans)) / 2))
    level = []
    for z in range(middle - reach, middle + reach + 1):
        fish.slice_of_plane[plane] = z
        fish._scene = None
        level.append(fish.clean_block(plane, 0, fish.settings.n_frames).mean(axis=0))
    fish.slice_of_plane[plane] = middle
    return sample_oblique(np.array(level), position=reach, span_y=spans[0], span_x=spans[1])


def _noisy(
    expected: npt.NDArray[np.float32], fish: Fish, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    s = fish.settings
    photons = np.clip(expected - s.offset, 0, None) / s.gain * PHOTON_FRAMES
    return (rng.poisson(photons) / PHOTON_FRAMES * s.gain + s.offset).astype(np.float32)


def _moved(
    images: list[npt.NDArray[np.float32]], offset_px: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    pairs = zip(images, offset_px, strict=True)
    return np.array([ndimage.shift(image, -by, order=3, mode="nearest") for image, by in pairs])
