"""Classical segmentation of nuclei: blob seeds, ascent to the seeds, a half-height cut.

The steps are separate so that a large stack can be streamed:

1. :func:`seed_statistics` of every tile, joined by :func:`seed_threshold`;
2. :func:`find_seeds` of every tile; keep the seeds in the tile's core, number them all;
3. :func:`grow_nuclei` of every tile; keep the labels in the tile's core.

:func:`segment_classical` does just that.  With tiles that carry :func:`halo_voxels` the result does
not depend on the tiling, bit for bit: every rule looks no further than that.
"""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from clgkit.segmentation.basins import (
    ascent_parents,
    background_levels,
    bump_response,
    drop_dim,
    keep_pieces,
    label_basins,
    summits,
)
from clgkit.segmentation.blobs import (
    SEED_SIGMA,
    Float32,
    Int64,
    Size,
    as_tile,
    blob_response,
    blurred,
    centre_of,
    flat_index,
    kernel_radius,
    least_bend,
    noise_gain,
    noise_level,
    peak_box,
    size_px,
)
from clgkit.segmentation.tidy import relabel
from clgkit.segmentation.tiles import Tile, plan_tiles

__all__ = [
    "SeedStatistics",
    "Seeds",
    "find_seeds",
    "grow_nuclei",
    "halo_voxels",
    "sample_stride",
    "seed_statistics",
    "seed_threshold",
    "segment_classical",
]

UInt32: TypeAlias = npt.NDArray[np.uint32]

SHAPE_SIGMA = 0.12  # of the diameter: the smoothing under the half-height cut
LEAST_BEND = 0.05  # share of the response that each axis must give at a seed
REACH = 0.6  # of the diameter: how far from its seed a nucleus may extend
BACKGROUND_REACH = 1.0  # of the diameter: half the box that gives the local background
BACKGROUND_RANK = 0.05  # quantile of that box
SAMPLES = 4_000_000  # voxels that the global statistics are taken from, at most


class SeedStatistics(NamedTuple):
    """What one tile adds to the global seed threshold."""

    steps: Float32
    """(m,) absolute differences of x-neighbours, on the sampling lattice; m <= n."""
    responses: Float32
    """(n,) blob response on the sampling lattice."""


class Seeds(NamedTuple):
    """Places where a nucleus is."""

    places: Int64
    """(n, 3) z, y, x in voxels, sorted in this order."""
    responses: Float32
    """(n,) blob response, in units of the input."""


def halo_voxels(*, voxel_um: tuple[float, float, float], diameter_um: Size) -> tuple[int, int, int]:
    """Return the margin (z, y, x) in voxels that a tile needs for every step (2.2 diameters)."""
    size = size_px(voxel_um, diameter_um)
    blur = np.array([kernel_radius(SEED_SIGMA * s) for s in size]) + 1
    shape = np.array([kernel_radius(SHAPE_SIGMA * s) for s in size])
    ball = np.ceil(REACH * size).astype(int)
    margin = np.maximum(
        2 * ball + blur + peak_box(size) + 1,
        ball + np.ceil(BACKGROUND_REACH * size).astype(int) + shape + 1,
    )
    z, y, x = (int(m) for m in margin)
    return z, y, x


def sample_stride(shape: tuple[int, int, int]) -> int:
    """Return the lattice constant that keeps the global statistics of a volume small."""
    return max(1, math.ceil(math.cbrt(math.prod(shape) / SAMPLES)))


def seed_statistics(
    tile: npt.NDArray[np.generic],
    *,
    voxel_um: tuple[float, float, float],
    diameter_um: Size,
    stride: int = 1,
    where: Tile | None = None,
) -> SeedStatistics:
    """Sample noise and blob response of a tile for the global threshold.

    Parameters
    ----------
    tile : (Z, Y, X)
        Fluorescence with its halo, any real dtype.
    voxel_um, diameter_um
        As in :func:`segment_classical`.
    stride
        Only voxels whose coordinates *in the volume* are multiples of it are sampled.
    where
        The tile's place; None: the tile is the whole volume.
    """
    tile = as_tile(tile)
    size = size_px(voxel_um, diameter_um)
    inner = where.inner if where else tuple(slice(0, n) for n in tile.shape)
    origin = where.origin if where else (0, 0, 0)
    lattice = tuple(
        slice(part.start + -(first + part.start) % stride, part.stop, stride)
        for part, first in zip(inner, origin, strict=True)
    )
    z, y, x = lattice
    columns = np.arange(x.start, x.stop, stride)
    partners = np.where(columns + 1 < tile.shape[2], columns + 1, columns - 1)
    responses = blob_response(tile, size)[lattice]
    steps = np.abs(tile[z, y][..., partners] - tile[lattice])
    # Where nothing at all changes, as in blank slices, there is no noise to measure.
    return SeedStatistics(steps[responses != 0], responses.ravel())


def seed_threshold(
    statistics: Iterable[SeedStatistics],
    *,
    shape: tuple[int, int, int],
    voxel_um: tuple[float, float, float],
    diameter_um: Size,
    noise_factor: float = 5.5,
    peak_share: float = 0.1,
) -> float:
    """Return the blob response above which a peak is a nucleus.

    Parameters
    ----------
    statistics
        One per tile, in any order: the result is the same.
    shape
        Size of the whole volume.
    voxel_um, diameter_um
        As in :func:`segment_classical`.
    noise_factor
        Multiple of the response's standard deviation on this volume's pixel noise.
    peak_share
        Share of the 99.5th percentile of the response.

    Notes
    -----
    The pixel noise is taken from the mean of the smallest three quarters of the differences between
    x-neighbours: edges do not count, and few photons (whole numbers, where a median jumps) do no
    harm.  It is right for noise that is independent from pixel to pixel; smoothed noise is
    underestimated.
    """
    parts = list(statistics)
    steps = np.concatenate([part.steps for part in parts] or [np.empty(0, np.float32)])
    responses = np.concatenate([part.responses for part in parts] or [np.empty(0, np.float32)])
    noise = noise_level(steps)
    peak = float(np.percentile(responses, 99.5)) if responses.size else 0.0
    gain = float(noise_gain(centre_of(shape), shape, size_px(voxel_um, diameter_um))[0])
    return max(noise_factor * noise * gain, peak_share * peak, 0.0)


def find_seeds(
    tile: npt.NDArray[np.generic],
    *,
    voxel_um: tuple[float, float, float],
    diameter_um: Size,
    threshold: float,
) -> Seeds:
    """Find the peaks of the blob response, one per nucleus.

    A peak is the highest voxel within a quarter diameter; of equals the first in raster order.

    Parameters
    ----------
    tile : (Z, Y, X)
        Fluorescence with its halo, any real dtype.
    voxel_um, diameter_um
        As in :func:`segment_classical`.
    threshold
        Smallest response, from :func:`seed_threshold`.

    Notes
    -----
    Seeds in the halo depend on where the tile ends; keep those in the core.
    """
    tile = as_tile(tile)
    size = size_px(voxel_um, diameter_um)
    smooth = blurred(tile, SEED_SIGMA * size)
    weights = ((SEED_SIGMA * size) ** 2).astype(np.float32)
    response = bump_response(smooth, weights)
    parents = ascent_parents(response, peak_box(size)).reshape(tile.shape)
    own = np.arange(parents.size, dtype=np.int32).reshape(parents.shape)
    places = np.argwhere((parents == own) & (response > threshold)).astype(np.int64)
    values = response[tuple(places.T)]
    gain = noise_gain(places, tile.shape, size) / noise_gain(
        centre_of(tile.shape), tile.shape, size
    )
    good = (values > threshold * gain) & (least_bend(smooth, places, weights) > LEAST_BEND * values)
    return Seeds(places[good], values[good])


def grow_nuclei(
    tile: npt.NDArray[np.generic],
    seeds: Int64,
    seed_ids: UInt32,
    *,
    voxel_um: tuple[float, float, float],
    diameter_um: Size,
    height_share: float = 0.3,
    min_volume_share: float = 0.12,
) -> UInt32:
    """Give every voxel of a nucleus the id of its seed.

    Parameters
    ----------
    tile : (Z, Y, X)
        Fluorescence with its halo, any real dtype.
    seeds : (n, 3)
        All seeds of the volume that lie in the tile or its halo, in the coordinates of the tile.
    seed_ids : (n,)
        Their ids, positive.
    voxel_um, diameter_um
        As in :func:`segment_classical`.
    height_share
        A voxel belongs to its nucleus if it has this share of the nucleus' largest contrast to
        the local background.
    min_volume_share
        Nuclei smaller than this share of an ellipsoid of the diameter are left out.

    Returns
    -------
    (Z, Y, X) uint32
        Every id is one 6-connected piece.  Right in the core; in the halo labels are incomplete.
    """
    tile = as_tile(tile)
    size = size_px(voxel_um, diameter_um)
    places = np.asarray(seeds, np.int64).reshape(-1, 3)
    ids = np.asarray(seed_ids, np.uint32)
    if len(ids) != len(places):
        raise ValueError(f"{len(places)} seeds need as many ids; found {len(ids)}")
    if len(places) and ((places < 0).any() or (places >= tile.shape).any()):
        raise ValueError(f"a seed lies outside of the tile of shape {tile.shape}; drop it")
    flat = flat_index(places, tile.shape)
    parents = ascent_parents(blob_response(tile, size), peak_box(size))
    basins = label_basins(parents, flat, tile.shape, (REACH * size).astype(np.float32))
    smooth = blurred(tile, SHAPE_SIGMA * size)
    reach = np.ceil(BACKGROUND_REACH * size).astype(np.int64)
    low = background_levels(smooth, flat, reach, BACKGROUND_RANK)
    starts = summits(basins, smooth, len(ids))
    drop_dim(basins, smooth, low + np.float32(height_share) * (smooth.ravel()[starts] - low))
    # Where the whole volume is thinner than a nucleus, only sections of nuclei can be seen.
    smallest = min_volume_share * math.pi / 6 * math.prod(np.minimum(size, tile.shape))
    labels: UInt32 = keep_pieces(basins, starts, ids, tile.shape, np.full(len(ids), smallest))
    return labels


def segment_classical(
    volume: npt.NDArray[np.generic],
    *,
    voxel_um: tuple[float, float, float],
    diameter_um: Size = 6.0,
    noise_factor: float = 5.5,
    peak_share: float = 0.1,
    height_share: float = 0.3,
    min_volume_share: float = 0.12,
    core_px: tuple[int, int, int] = (64, 256, 256),
) -> UInt32:
    """Segment the nuclei of a stack without any trained network.

    Parameters
    ----------
    volume : (Z, Y, X)
        Fluorescence of the nuclear channel, arbitrary units, any real dtype; a single slice and
        negative values are legal.
    voxel_um
        Size of a voxel (z, y, x).
    diameter_um
        Diameter of a nucleus as it looks in the stack; one number, or (z, y, x) where the optics
        stretch it.
    noise_factor, peak_share
        See :func:`seed_threshold`.
    height_share, min_volume_share
        See :func:`grow_nuclei`.
    core_px
        Size of the internal tiles; it bounds the memory and changes nothing else.

    Returns
    -------
    (Z, Y, X) uint32
        0 is background; ids are 1, 2, ... in the raster order of their seeds.

    Raises
    ------
    ValueError
        If the volume is not 3-D, holds NaN or infinity, or a nucleus is less than 4 or more than
        40 pixels across.
    TypeError
        If the volume is not made of real numbers.

    Notes
    -----
    Seeds are peaks of a Laplacian of Gaussian matched to the nucleus (sigma 0.25 diameters per
    axis).  Every voxel climbs the response to a peak, which cuts touching nuclei where a watershed
    would, but looks no further than 0.6 diameters; that is why tiles agree exactly.  Of each
    basin the voxels above a share of its own height stay, so that dim and bright nuclei get the
    same outline.  Noise near a face is averaged less and has to pass a higher threshold; a peak
    that is flat along one axis is the edge of tissue or of blank slices and is left out.

    Feed the plain stack: local contrast normalization raises the noise of empty regions and
    costs precision.  A nucleus shorter than about 4 slices is found badly.
    """
    halo = halo_voxels(voxel_um=voxel_um, diameter_um=diameter_um)
    if volume.ndim != 3:
        raise ValueError(f"a volume has the axes z, y, x; found an array of shape {volume.shape}")
    z, y, x = volume.shape
    if volume.size == 0:
        return np.zeros((z, y, x), np.uint32)
    tiles = list(plan_tiles((z, y, x), core=core_px, halo=halo))
    threshold = seed_threshold(
        _all_statistics(volume, tiles, voxel_um, diameter_um),
        shape=(z, y, x),
        voxel_um=voxel_um,
        diameter_um=diameter_um,
        noise_factor=noise_factor,
        peak_share=peak_share,
    )
    seeds = _all_seeds(volume, tiles, voxel_um, diameter_um, threshold)
    ids = np.arange(1, len(seeds) + 1, dtype=np.uint32)
    labels = np.zeros((z, y, x), np.uint32)
    for tile in tiles:
        here = _inside(seeds, tile.padded)
        labels[tile.core] = grow_nuclei(
            volume[tile.padded],
            seeds[here] - tile.origin,
            ids[here],
            voxel_um=voxel_um,
            diameter_um=diameter_um,
            height_share=height_share,
            min_volume_share=min_volume_share,
        )[tile.inner]
    return relabel(labels).labels


def _all_statistics(
    volume: npt.NDArray[np.generic],
    tiles: list[Tile],
    voxel_um: tuple[float, float, float],
    diameter_um: Size,
) -> Iterator[SeedStatistics]:
    stride = sample_stride((volume.shape[0], volume.shape[1], volume.shape[2]))
    for tile in tiles:
        yield seed_statistics(
            volume[tile.padded],
            voxel_um=voxel_um,
            diameter_um=diameter_um,
            stride=stride,
            where=tile,
        )


def _all_seeds(
    volume: npt.NDArray[np.generic],
    tiles: list[Tile],
    voxel_um: tuple[float, float, float],
    diameter_um: Size,
    threshold: float,
) -> Int64:
    """Return the (n, 3) seeds of the volume in raster order."""
    found = [np.empty((0, 3), np.int64)]
    for tile in tiles:
        places = find_seeds(
            volume[tile.padded], voxel_um=voxel_um, diameter_um=diameter_um, threshold=threshold
        ).places
        places = places + tile.origin
        found.append(places[_inside(places, tile.core)])
    places = np.concatenate(found)
    return places[np.lexsort(places.T[::-1])]


def _inside(places: Int64, box: tuple[slice, slice, slice]) -> npt.NDArray[np.bool_]:
    low, high = np.array([part.start for part in box]), np.array([part.stop for part in box])
    inside: npt.NDArray[np.bool_] = np.all((places >= low) & (places < high), axis=1)
    return inside
