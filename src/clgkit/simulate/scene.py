"""What one functional plane sees: the light of every cell in it, and the neuropil."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy.ndimage import correlate1d

from clgkit.simulate.optics import attenuation, blotches, blur_kernel, diffuse, region_slice
from clgkit.simulate.paint import Grid, Slab, count_rings, paint_cells, paint_labels, paint_light
from clgkit.simulate.streams import Purpose, key

if TYPE_CHECKING:
    from clgkit.simulate.anatomy import Nuclei, Regions
    from clgkit.simulate.settings import FishSettings

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

CELL_LAYER_NEUROPIL = 0.35
"""Neuropil light between the nuclei of a cell layer over that of a neuropil region."""
OUTSIDE = 0.03
GRAIN = 0.2
GRAIN_UM = 1.6
WAVE_CENTERS = ((0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75))
"""Places (y, x) of the slow waves of the neuropil, shares of the field."""
WAVE_WIDTH = 0.25


class Scene(NamedTuple):
    """A plane without motion and noise, in photons at the surface without shading."""

    rows: Int64
    """(n,): cells in the plane, rows of the nuclei."""
    first: Int64
    """(n + 1,): cell k owns the entries ``first[k]`` to ``first[k + 1] - 1``."""
    pixels: Int32
    """Entry's pixel on the canvas, flat."""
    weights: Float32
    """Entry's photons at fluorescence 1."""
    still: Float32
    """(H * W,): photons of the neuropil at rest."""
    waves: Float32
    """(4, H * W): photons of the neuropil for a unit of each wave."""


def build_scene(
    settings: FishSettings, nuclei: Nuclei, regions: Regions, *, z: int, margin: int
) -> Scene:
    """Gather everything that does not change from frame to frame in the plane at slice `z`.

    Parameters
    ----------
    settings, nuclei, regions
        The fish.
    z
        Structural slice.
    margin
        The canvas reaches so many pixels beyond the frame on every side.

    Returns
    -------
    Scene
    """
    rows, first, pixels, weights = _cells(settings, nuclei, z, margin)
    still, waves = _neuropil(settings, regions, z, margin)
    light = np.float32(settings.photons * attenuation(settings, z))
    return Scene(
        rows, first, pixels, weights * light, (still * light).ravel(),
        (waves * light).reshape(len(waves), -1),
    )  # fmt: skip


def _cells(
    settings: FishSettings, nuclei: Nuclei, z: int, margin: int
) -> tuple[Int64, Int64, Int32, Float32]:
    voxel = np.array(settings.voxel_um)
    axial = blur_kernel(settings.psf_sigma_um[0] / voxel[0])
    lateral = blur_kernel(settings.psf_sigma_um[1] / voxel[1])
    half = len(axial) // 2
    grid = Grid(np.array([(z - half) * voxel[0], 0.0, 0.0]), voxel)
    table = nuclei.table()
    # Cells grow along z in proportion to their growth across.
    taller = 1 + settings.cytosol_um / table[:, 4]
    away = np.abs(table[:, 0] - z * voxel[0]) - half * voxel[0]
    rows = np.flatnonzero(away < table[:, 3] * taller)
    labels = np.zeros((len(axial), *settings.shape_px[1:]), dtype=np.uint32)
    paint_labels(labels, rows, table, grid)
    slab = Slab(
        labels, np.zeros(labels.shape, np.uint8), axial, lateral, grid,
        settings.cytosol_um, settings.nuclear_leak,
    )  # fmt: skip
    count_rings(slab, rows, table)
    reach = float(table[rows, 4].max(initial=0.0)) + settings.cytosol_um
    side = 2 * (math.ceil(reach / float(voxel[1:].min())) + len(lateral) // 2 + 2)
    return rows, *paint_cells(rows, table, slab, side, margin)


def _neuropil(
    settings: FishSettings, regions: Regions, z: int, margin: int
) -> tuple[Float32, Float32]:
    voxel = settings.voxel_um
    depth = z * voxel[0]
    y, x = _places(settings, margin)
    tissue = region_slice(regions.tissue, regions, depth, y, x)
    dense = region_slice(regions.neuropil, regions, depth, y, x)
    level = CELL_LAYER_NEUROPIL + (1 - CELL_LAYER_NEUROPIL) * dense
    still = OUTSIDE + (1 - OUTSIDE) * tissue * level
    grain = np.empty(still.shape, dtype=np.float32)
    texture = key(settings.seed, Purpose.TEXTURE, 2)
    blotches(grain, depth / GRAIN_UM, y / GRAIN_UM, x / GRAIN_UM, texture)
    still *= settings.neuropil * (1 + GRAIN * grain)
    waves = still * wave_shares(settings, y[:, None], x[None, :])
    return still.astype(np.float32, copy=False), waves.astype(np.float32, copy=False)


def _places(settings: FishSettings, margin: int) -> tuple[Float64, Float64]:
    """Give y and x of the canvas, µm.

    Functional pixel i has its centre at structural 2 i + 0.5; the canvas begins earlier.
    """
    y, x = (
        (2.0 * np.arange(-margin, n + margin, dtype=np.float64) + 0.5) * size
        for n, size in zip(settings.plane_shape_px, settings.voxel_um[1:], strict=True)
    )
    return y, x


def nuclear_light(
    settings: FishSettings,
    nuclei: Nuclei,
    regions: Regions,
    brightness: Float64,
    *,
    z: int,
    margin: int,
) -> Float32:
    """Give what the nuclear channel of the functional microscope sees in the plane at slice `z`.

    Parameters
    ----------
    settings, nuclei, regions
        The fish.
    brightness : (N,)
        Light of each nucleus, as in the structural stack.
    z
        Structural slice.
    margin
        The canvas reaches so many pixels beyond the frame on every side.

    Returns
    -------
    (H, W) float32
        Photons without motion, shading and noise.
    """
    voxel = np.array(settings.voxel_um)
    axial = blur_kernel(settings.psf_sigma_um[0] / voxel[0])
    half = len(axial) // 2
    light = np.zeros((len(axial), *settings.shape_px[1:]), dtype=np.float32)
    labels = np.zeros(light.shape, dtype=np.uint32)
    grid = Grid(np.array([(z - half) * voxel[0], 0.0, 0.0]), voxel)
    rows = nuclei.near((z - half) * voxel[0], (z + half) * voxel[0])
    paint_labels(labels, rows, nuclei.table(), grid)
    paint_light(light, labels, brightness, key(settings.seed, Purpose.TEXTURE, 0), grid)
    seen = np.pad(np.tensordot(axial.astype(np.float32), light, axes=1), 2 * margin)
    for axis in (0, 1):
        lateral = blur_kernel(settings.psf_sigma_um[1] / voxel[1 + axis])
        seen = correlate1d(seen, lateral, axis=axis, mode="constant")
    quads = seen.reshape(seen.shape[0] // 2, 2, seen.shape[1] // 2, 2).mean(axis=(1, 3))
    quads += settings.structure_background * diffuse(
        settings, regions, z, *_places(settings, margin)
    )
    return np.asarray(quads * np.float32(settings.nuclear_photons * attenuation(settings, z)))


def wave_shares(settings: FishSettings, y_um: Float64, x_um: Float64) -> Float32:
    """Give how much each wave owns of every place: (4, ...), the sum over waves is 1.

    Parameters
    ----------
    settings
        The fish.
    y_um, x_um
        Places; arrays that broadcast.
    """
    height, width = (
        n * size for n, size in zip(settings.shape_px[1:], settings.voxel_um[1:], strict=True)
    )
    shares = np.stack(
        [
            np.exp(-((y_um / height - fy) ** 2 + (x_um / width - fx) ** 2) / (2 * WAVE_WIDTH**2))
            for fy, fx in WAVE_CENTERS
        ]
    )
    return np.asarray(shares / shares.sum(axis=0), dtype=np.float32)


@njit(cache=True, nogil=True)
def compose(
    scene: Scene, fluorescence: Float32, waves: Float64, frame: int, canvas: Float32
) -> None:
    """Fill the flat canvas with the photons of one frame, before motion.

    Parameters
    ----------
    scene
        The plane.
    fluorescence : (N, T)
        Of all neurons.
    waves : (4, T)
        Of the neuropil.
    frame
        Which.
    canvas : (H * W,)
        Set in place.
    """
    canvas[:] = scene.still
    for w in range(waves.shape[0]):
        amount = np.float32(max(waves[w, frame], -0.2))
        for i in range(len(canvas)):
            canvas[i] += amount * scene.waves[w, i]
    for k in range(len(scene.rows)):
        light = fluorescence[scene.rows[k], frame]
        for e in range(scene.first[k], scene.first[k + 1]):
            canvas[scene.pixels[e]] += light * scene.weights[e]
