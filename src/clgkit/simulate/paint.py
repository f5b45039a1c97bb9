"""Paint ellipsoids: their labels, their textured light, their cytosol."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from clgkit.simulate.noise import lattice_noise

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
UInt32 = npt.NDArray[np.uint32]
UInt8 = npt.NDArray[np.uint8]
Int32 = npt.NDArray[np.int32]

TEXTURE = 0.25
"""Largest relative change of the light inside a nucleus."""
TEXTURE_UM = 1.2
"""Distance between the knots of the texture inside a nucleus."""
FAINTEST = 1e-3
"""Light below this share of a full cytosol is left out of a footprint."""


class Grid(NamedTuple):
    """Where the voxels of an array lie: voxel (k, i, j) at ``origin + (k, i, j) * step``."""

    origin_um: Float64
    """(3,): z, y, x."""
    step_um: Float64
    """(3,): z, y, x."""


@njit(cache=True, nogil=True)
def square_radius(nucleus: Float64, z: float, y: float, x: float, grow: float) -> float:
    """Give the squared distance from the centre in units of the surface; below 1 is inside.

    Parameters
    ----------
    nucleus : (7,)
        Row of ``Nuclei.table()``.
    z, y, x
        Place, µm.
    grow
        Added to the half lengths across, µm, and in proportion to the one along z.
    """
    dy, dx = y - nucleus[1], x - nucleus[2]
    cosine, sine = np.cos(nucleus[6]), np.sin(nucleus[6])
    along = (dx * cosine + dy * sine) / (nucleus[4] + grow)
    across = (dy * cosine - dx * sine) / (nucleus[5] + grow)
    depth = (z - nucleus[0]) / (nucleus[3] * (1.0 + grow / nucleus[4]))
    return float(depth * depth + along * along + across * across)


@njit(cache=True, nogil=True)
def _span(center: float, half: float, step: float, origin: float, n: int) -> tuple[int, int]:
    """Give the range of indices whose place ``origin + i * step`` may be within `half`."""
    low = int(np.ceil((center - half - origin) / step))
    high = int(np.floor((center + half - origin) / step)) + 1
    return max(low, 0), min(high, n)


@njit(cache=True, nogil=True)
def paint_labels(out: UInt32, rows: Int64, table: Float64, grid: Grid) -> None:
    """Write k + 1 into every voxel of `out` whose centre lies inside nucleus k of `rows`.

    Parameters
    ----------
    out : (Z, Y, X) uint32
        Changed in place.
    rows : (n,)
        Rows of `table` to paint.
    table : (N, 7)
        ``Nuclei.table()``.
    grid
        Places of the voxels of `out`.
    """
    for n in rows:
        _paint_label(out, n + 1, table[n], grid)


@njit(cache=True, nogil=True)
def _paint_label(out: UInt32, label: int, nucleus: Float64, grid: Grid) -> None:
    origin, step = grid.origin_um, grid.step_um
    z0, z1 = _span(nucleus[0], nucleus[3], step[0], origin[0], out.shape[0])
    y0, y1 = _span(nucleus[1], nucleus[4], step[1], origin[1], out.shape[1])
    x0, x1 = _span(nucleus[2], nucleus[4], step[2], origin[2], out.shape[2])
    for k in range(z0, z1):
        z = origin[0] + k * step[0]
        for i in range(y0, y1):
            y = origin[1] + i * step[1]
            for j in range(x0, x1):
                if square_radius(nucleus, z, y, origin[2] + j * step[2], 0.0) < 1.0:
                    out[k, i, j] = label


@njit(cache=True, nogil=True)
def paint_light(
    out: Float32, labels: UInt32, brightness: Float64, key: np.uint64, grid: Grid
) -> None:
    """Add the textured light of every labelled voxel to `out`.

    Parameters
    ----------
    out, labels : (Z, Y, X)
        `out` is changed in place.
    brightness : (N,)
        Light of nucleus k.
    key
        Chooses the texture, which is fixed to the place.
    grid
        Places of the voxels.
    """
    origin_um, step_um = grid.origin_um, grid.step_um
    depth, height, width = out.shape
    scale = 1.0 / TEXTURE_UM
    for k in range(depth):
        z = (origin_um[0] + k * step_um[0]) * scale
        for i in range(height):
            y = (origin_um[1] + i * step_um[1]) * scale
            for j in range(width):
                label = labels[k, i, j]
                if label > 0:
                    x = (origin_um[2] + j * step_um[2]) * scale
                    bump = 1.0 + TEXTURE * lattice_noise(z, y, x, key)
                    out[k, i, j] += brightness[label - 1] * bump


class Slab(NamedTuple):
    """The slices that one functional plane sees."""

    labels: UInt32
    """(Z, Y, X): true labels, structural resolution."""
    shared: UInt8
    """(Z, Y, X): cells whose cytosol reaches the voxel."""
    axial: Float64
    """(Z,): share of each slice."""
    lateral: Float64
    """Odd number of weights of the blur across."""
    grid: Grid
    """Places of the voxels."""
    ring_um: float
    """Thickness of the cytosol."""
    leak: float
    """Light of the nucleus over that of the cytosol."""


@njit(cache=True, nogil=True)
def count_rings(slab: Slab, rows: Int64, table: Float64) -> None:
    """Fill ``slab.shared``: in every unlabelled voxel, the cells whose cytosol reaches it."""
    for n in rows:
        _count_ring(slab, table[n])


@njit(cache=True, nogil=True)
def _count_ring(slab: Slab, nucleus: Float64) -> None:
    labels, ring = slab.labels, slab.ring_um
    origin, step = slab.grid.origin_um, slab.grid.step_um
    tall = nucleus[3] * (1.0 + ring / nucleus[4])
    z0, z1 = _span(nucleus[0], tall, step[0], origin[0], labels.shape[0])
    y0, y1 = _span(nucleus[1], nucleus[4] + ring, step[1], origin[1], labels.shape[1])
    x0, x1 = _span(nucleus[2], nucleus[4] + ring, step[2], origin[2], labels.shape[2])
    for k in range(z0, z1):
        z = origin[0] + k * step[0]
        for i in range(y0, y1):
            y = origin[1] + i * step[1]
            for j in range(x0, x1):
                x = origin[2] + j * step[2]
                if labels[k, i, j] == 0 and square_radius(nucleus, z, y, x, ring) < 1.0:
                    slab.shared[k, i, j] += 1


@njit(cache=True, nogil=True)
def _cell_patch(
    patch: Float64, n: int, nucleus: Float64, corner: tuple[int, int], slab: Slab
) -> None:
    """Set the light of one cell in a window with the given corner (y, x), summed over slices."""
    patch[:] = 0.0
    top, left = corner
    origin, step = slab.grid.origin_um, slab.grid.step_um
    height, width = slab.labels.shape[1], slab.labels.shape[2]
    for k in range(len(slab.axial)):
        z = origin[0] + k * step[0]
        for i in range(max(0, -top), min(patch.shape[0], height - top)):
            y = origin[1] + (top + i) * step[1]
            for j in range(max(0, -left), min(patch.shape[1], width - left)):
                x = origin[2] + (left + j) * step[2]
                label = slab.labels[k, top + i, left + j]
                if label == n + 1:
                    patch[i, j] += slab.axial[k] * slab.leak
                elif label == 0 and square_radius(nucleus, z, y, x, slab.ring_um) < 1.0:
                    patch[i, j] += slab.axial[k] / slab.shared[k, top + i, left + j]


@njit(cache=True, nogil=True)
def _blur(patch: Float64, spare: Float64, weights: Float64) -> None:
    """Blur a window along both axes, dark beyond its edge."""
    half = len(weights) // 2
    height, width = patch.shape
    for i in range(height):
        for j in range(width):
            total = 0.0
            for d in range(max(-half, -i), min(half, height - 1 - i) + 1):
                total += weights[half + d] * patch[i + d, j]
            spare[i, j] = total
    for i in range(height):
        for j in range(width):
            total = 0.0
            for d in range(max(-half, -j), min(half, width - 1 - j) + 1):
                total += weights[half + d] * spare[i, j + d]
            patch[i, j] = total


@njit(cache=True, nogil=True)
def paint_cells(
    rows: Int64, table: Float64, slab: Slab, side: int, margin: int
) -> tuple[Int64, Int32, Float32]:
    """Make the footprints of cells on the functional canvas.

    Parameters
    ----------
    rows : (n,)
        Rows of `table`.
    table : (N, 7)
        ``Nuclei.table()``.
    slab
        What the plane sees.
    side
        Window round a cell, structural pixels, even.
    margin
        Canvas pixels beyond the frame on every side.

    Returns
    -------
    first : (n + 1,) int64
        Cell k owns the entries ``first[k]`` to ``first[k + 1] - 1``.
    pixels, weights
        Flat canvas pixel and light of every entry.
    """
    room = len(rows) * (side // 2) ** 2
    pixels = np.empty(room, dtype=np.int32)
    weights = np.empty(room, dtype=np.float32)
    step = slab.grid.step_um
    first = np.zeros(len(rows) + 1, dtype=np.int64)
    patch, spare = np.empty((side, side)), np.empty((side, side))
    height = slab.labels.shape[1] // 2 + 2 * margin
    width = slab.labels.shape[2] // 2 + 2 * margin
    count = 0
    for index, n in enumerate(rows):
        # An even corner keeps the window on the grid of functional pixels.
        top = 2 * int(np.floor((table[n, 1] / step[1] - side / 2) / 2))
        left = 2 * int(np.floor((table[n, 2] / step[2] - side / 2) / 2))
        _cell_patch(patch, n, table[n], (top, left), slab)
        _blur(patch, spare, slab.lateral)
        for i in range(max(0, -top // 2 - margin), min(side // 2, height - margin - top // 2)):
            for j in range(max(0, -left // 2 - margin), min(side // 2, width - margin - left // 2)):
                light = patch[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].sum() / 4.0
                if light > FAINTEST:
                    pixels[count] = (top // 2 + i + margin) * width + left // 2 + j + margin
                    weights[count] = light
                    count += 1
        first[index + 1] = count
    return first, pixels[:count].copy(), weights[:count].copy()
