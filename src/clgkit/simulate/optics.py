"""The light that reaches the detector: diffuse light, shading, depth, the structural stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy.ndimage import correlate1d, map_coordinates

from clgkit.simulate.noise import lattice_noise
from clgkit.simulate.paint import Grid, paint_labels, paint_light
from clgkit.simulate.streams import Purpose, key

if TYPE_CHECKING:
    from clgkit.simulate.anatomy import Nuclei, Regions
    from clgkit.simulate.settings import FishSettings

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
UInt32 = npt.NDArray[np.uint32]

BLOTCH = 0.35
BLOTCH_UM = 9.0
OUTSIDE = 0.15
"""Diffuse light outside the brain over that inside."""


def attenuation(settings: FishSettings, z: npt.ArrayLike) -> Float64:
    """Give the light left at slice `z`, 1 at slice 0."""
    return np.asarray(np.exp(-np.asarray(z) * settings.voxel_um[0] / settings.attenuation_um))


def shading(settings: FishSettings, shape: tuple[int, int]) -> Float32:
    """Give the light (Y, X) over the field: 1 beside the middle, less towards the corners."""
    y = (np.arange(shape[0]) + 0.5) / shape[0] - 0.47
    x = (np.arange(shape[1]) + 0.5) / shape[1] - 0.54
    distance = (y[:, None] ** 2 + x[None, :] ** 2) / (0.53**2 + 0.54**2)
    return np.asarray(1 - settings.shading * distance, dtype=np.float32)


def region_slice(
    field: Float32, regions: Regions, z_um: float, y_um: Float64, x_um: Float64
) -> Float32:
    """Sample a field of `Regions` at one depth, (Y, X); linear between the grid's cells."""
    (cz, cy, cx), (z0, y0, x0) = regions.cell_um, regions.corner_um
    depth = np.full((len(y_um), len(x_um)), (z_um - z0) / cz - 0.5)
    rows = np.broadcast_to(((y_um - y0) / cy - 0.5)[:, None], depth.shape)
    columns = np.broadcast_to(((x_um - x0) / cx - 0.5)[None, :], depth.shape)
    return np.asarray(
        map_coordinates(field, [depth, rows, columns], np.float32, order=1, mode="nearest")
    )


@njit(cache=True, nogil=True)
def blotches(out: Float32, z: float, y: Float64, x: Float64, key: np.uint64) -> None:
    """Fill (Y, X) with smooth noise in [-1, 1] at the places (z, y, x), one unit between knots."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = lattice_noise(z, y[i], x[j], key)


def blur_kernel(sigma: float) -> Float64:
    """Give a Gaussian that ends at three sigma; its sum is 1."""
    length = int(np.ceil(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(-length, length + 1) / max(sigma, 1e-6)) ** 2)
    return np.asarray(weights / weights.sum())


def structure_photons(
    settings: FishSettings,
    nuclei: Nuclei,
    regions: Regions,
    brightness: Float64,
    *,
    start: int,
    stop: int,
) -> Float32:
    """Give the expected photons of the structural slices `start` to `stop` - 1.

    Returns
    -------
    (stop - start, Y, X) float32
        No value depends on the block it is made in.
    """
    voxel = np.array(settings.voxel_um)
    axial = blur_kernel(settings.psf_sigma_um[0] / voxel[0])
    halo = len(axial) // 2
    light = np.zeros((stop - start + 2 * halo, *settings.shape_px[1:]), dtype=np.float32)
    labels = np.zeros(light.shape, dtype=np.uint32)
    grid = Grid(np.array([(start - halo) * voxel[0], 0.0, 0.0]), voxel)
    rows = nuclei.near(grid.origin_um[0], grid.origin_um[0] + len(light) * voxel[0])
    paint_labels(labels, rows, nuclei.table(), grid)
    texture = key(settings.seed, Purpose.TEXTURE, 0)
    paint_light(light, labels, brightness, texture, grid)
    del labels
    seen = correlate1d(light, axial, axis=0, mode="constant")[halo : halo + stop - start]
    for axis in (1, 2):
        lateral = blur_kernel(settings.psf_sigma_um[1] / voxel[axis])
        seen = correlate1d(seen, lateral, axis=axis, mode="nearest")
    field = shading(settings, settings.shape_px[1:])
    y, x = (
        np.arange(n, dtype=np.float64) * size
        for n, size in zip(settings.shape_px[1:], voxel[1:], strict=True)
    )
    for k, z in enumerate(range(start, stop)):
        seen[k] += settings.structure_background * diffuse(settings, regions, z, y, x)
        seen[k] *= np.float32(settings.nucleus_photons * attenuation(settings, z)) * field
    return np.asarray(seen)


def diffuse(settings: FishSettings, regions: Regions, z: int, y: Float64, x: Float64) -> Float32:
    """Give the diffuse light (Y, X) at slice `z`, 1 on average inside the brain; y and x in µm."""
    depth = z * settings.voxel_um[0]
    level = region_slice(regions.tissue, regions, depth, y, x)
    bumps = np.empty(level.shape, dtype=np.float32)
    texture = key(settings.seed, Purpose.TEXTURE, 1)
    blotches(bumps, depth / BLOTCH_UM, y / BLOTCH_UM, x / BLOTCH_UM, texture)
    return np.asarray((OUTSIDE + (1 - OUTSIDE) * level) * (1 + BLOTCH * bumps), dtype=np.float32)
