"""Where the nuclei lie and what shape they have: brain, ventricle, neuropil, cell layers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from clgkit.simulate.packing import pack_spheres
from clgkit.simulate.streams import Purpose, stream

if TYPE_CHECKING:
    from clgkit.simulate.settings import FishSettings

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Int64 = npt.NDArray[np.int64]

GAP_UM = 0.05
"""Nuclei keep this distance; membranes lie between them."""
ROUNDNESS = (0.92, 1.0)
"""Minor over major lateral axis."""
BULGE = 0.15
"""Share of the nuclei's volume that sticks out of the cell layers, where their centres lie."""


@dataclass(frozen=True)
class Regions:
    """The parts of the brain on a coarse grid."""

    cell_um: tuple[float, float, float]
    """Size of a grid cell (z, y, x); the grid fills the stack exactly."""
    corner_um: tuple[float, float, float]
    """Where the grid begins: half a voxel before the centre of voxel (0, 0, 0)."""
    cells: Bool
    """(A, B, C): cell layers, where centres of nuclei may lie."""
    tissue: Float32
    """(A, B, C): 1 inside the brain, 0 outside and in the ventricle, smooth."""
    neuropil: Float32
    """(A, B, C): 1 in neuropil, 0 elsewhere, smooth."""


@dataclass(frozen=True)
class Nuclei:
    """Ellipsoids with one axis along z; row k belongs to the label k + 1."""

    centers_um: Float64
    """(N, 3): z, y, x; the centre of voxel 0 is at 0."""
    radii_um: Float64
    """(N, 3): half lengths along z, along the major and along the minor lateral axis."""
    angle: Float64
    """(N,): from the x axis to the major axis, towards +y, radians."""

    def volumes_um3(self) -> Float64:
        """Volume of each nucleus as it appears, µm³."""
        return np.asarray(4 / 3 * np.pi * self.radii_um.prod(axis=1))

    def table(self) -> Float64:
        """(N, 7): centre, half lengths and angle in one array, for the painting kernels."""
        return np.column_stack([self.centers_um, self.radii_um, self.angle])

    def near(self, start_um: float, stop_um: float) -> Int64:
        """Rows of the nuclei that reach between two depths."""
        depth, half = self.centers_um[:, 0], self.radii_um[:, 0]
        return np.flatnonzero((depth + half >= start_um) & (depth - half <= stop_um))


def build_regions(settings: FishSettings) -> Regions:
    """Lay out brain, ventricle, neuropil and cell layers, sized for the nuclei.

    Returns
    -------
    Regions

    Raises
    ------
    ValueError
        If the brain is too small for the nuclei at the wanted filling.

    Notes
    -----
    The brain is a superellipsoid, longer than the stack along z, so the stack cuts it.  The
    ventricle is a slit on the midline.  A smooth random field, equal on both sides of the
    midline and higher near the ventricle, ranks the rest; its highest part, as large as
    ``n_neurons * volume / filled_fraction``, becomes cell layers.  The rest is neuropil.
    """
    extent = np.array(settings.shape_px) * settings.voxel_um
    shape = tuple(np.maximum(np.round(extent / 2.0), 4).astype(int).tolist())
    cell = tuple((extent / shape).tolist())
    w, v, u = np.meshgrid(
        *(np.linspace(-1, 1, n) * (1 - 1 / n) for n in shape), indexing="ij", sparse=True
    )
    bumps = _smooth_noise(shape, cell, 35.0, stream(settings.seed, Purpose.REGIONS, 0))
    outline = (np.abs(u / 0.93) ** 2.6 + np.abs(v / 0.93) ** 2.6 + np.abs(w / 1.4) ** 2.6) ** (
        1 / 2.6
    )
    outline = outline + 0.02 * (bumps + bumps[:, :, ::-1]) + 0.03
    slit = np.sqrt((u / 0.1) ** 2 + ((v - 0.15) / 0.5) ** 2 + (w / 1.1) ** 2)
    brain = (outline < 1) & (slit > 1)
    rank = _smooth_noise(
        shape, cell, min(28.0, extent[1] / 4), stream(settings.seed, Purpose.REGIONS, 1)
    )
    rank = rank + rank[:, :, ::-1] + 1.5 * np.exp(-(((slit - 1.0) / 0.8) ** 2))
    cells = _highest(rank, brain & (outline < 0.97), _needed_cells(settings, cell), settings, cell)
    corner = tuple((-np.array(settings.voxel_um) / 2).tolist())
    tissue = ndimage.gaussian_filter(brain.astype(np.float32), 0.8)
    neuropil = ndimage.gaussian_filter((brain & ~cells).astype(np.float32), 1.0)
    return Regions(cell, corner, cells, tissue, neuropil)


def _smooth_noise(
    shape: tuple[int, ...], cell: tuple[float, ...], scale_um: float, rng: np.random.Generator
) -> Float32:
    """Draw a smooth field of about unit variance that varies over `scale_um`."""
    knots = [max(int(n * size / scale_um), 1) + 3 for n, size in zip(shape, cell, strict=True)]
    lattice = rng.standard_normal(knots)
    for axis, (n, count) in enumerate(zip(shape, knots, strict=True)):
        spline = ndimage.zoom(
            np.eye(count), (n / count, 1), order=3, mode="nearest", grid_mode=True
        )
        lattice = np.moveaxis(np.tensordot(spline, lattice, axes=(1, axis)), 0, axis)
    return np.asarray(lattice, dtype=np.float32)


def _needed_cells(settings: FishSettings, cell: tuple[float, ...]) -> int:
    low, high = settings.diameter_range_um
    mean, sd = settings.nucleus_diameter_um, settings.diameter_cv * settings.nucleus_diameter_um
    grid = np.linspace(low, high, 201)
    weight = np.exp(-0.5 * ((grid - mean) / max(sd, 1e-6)) ** 2) + 1e-300
    cube = float(np.sum(weight * grid**3) / np.sum(weight))
    volume = settings.n_neurons * math.pi / 6 * cube * settings.axial_stretch
    return math.ceil(volume * (1 - BULGE) / settings.filled_fraction / math.prod(cell))


def _highest(
    rank: Float32, brain: Bool, needed: int, settings: FishSettings, cell: tuple[float, ...]
) -> Bool:
    """Choose the highest-ranked part of the brain, `needed` grid cells large."""
    available = int(brain.sum())
    if needed > available:
        raise ValueError(
            f"{settings.n_neurons} nuclei at a filling of {settings.filled_fraction} need"
            f" {needed * math.prod(cell):.0f} µm³ of cell layers and the brain offers"
            f" {available * math.prod(cell):.0f}; place fewer nuclei or enlarge shape_px"
        )
    values = np.sort(rank[brain])
    return np.asarray(brain & (rank >= values[available - needed]))


def place_nuclei(settings: FishSettings, regions: Regions) -> Nuclei:
    """Place nuclei of many sizes at random in the cell layers, none overlapping another.

    Returns
    -------
    Nuclei
        Sorted by depth.

    Notes
    -----
    Divided by the axial stretch, nuclei are nearly spheres; the spheres that hold them are
    placed by `pack_spheres`, so the ellipsoids do not overlap either.
    """
    n, stretch = settings.n_neurons, settings.axial_stretch
    shapes = stream(settings.seed, Purpose.SHAPES)
    diameter = _diameters(settings, shapes)
    roundness = shapes.uniform(*ROUNDNESS, n)
    angle = shapes.uniform(0, np.pi, n)
    major, minor = diameter / 2 / np.sqrt(roundness), diameter / 2 * np.sqrt(roundness)
    half = diameter / 2 * stretch
    squeeze = np.array([1 / stretch, 1.0, 1.0])
    packed = pack_spheres(
        major,
        allowed=regions.cells,
        cell=tuple((np.array(regions.cell_um) * squeeze).tolist()),
        rng=stream(settings.seed, Purpose.PLACES),
        gap=GAP_UM,
    )
    centers = packed.centers / squeeze + regions.corner_um
    order = np.argsort(centers[:, 0], kind="stable")
    radii = np.stack([half, major, minor], axis=1) * packed.scale[:, None]
    return Nuclei(centers[order], radii[order], angle[order])


def _diameters(settings: FishSettings, rng: np.random.Generator) -> Float64:
    """Draw from a normal distribution; what is outside the range is drawn again.

    In a range below a hundredth of the standard deviation the distribution is flat.
    """
    low, high = settings.diameter_range_um
    sd = settings.diameter_cv * settings.nucleus_diameter_um
    if high - low < 0.01 * sd:
        return rng.uniform(low, high, settings.n_neurons)
    values = rng.normal(settings.nucleus_diameter_um, sd, settings.n_neurons)
    while (outside := (values < low) | (values > high)).any():
        values[outside] = rng.normal(settings.nucleus_diameter_um, sd, int(outside.sum()))
    return values
