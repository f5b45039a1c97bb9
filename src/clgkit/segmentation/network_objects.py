"""From the network's two maps to nuclei: seeds, ascent to the seeds, how sure each one is.

Every rule looks no further than :func:`network_halo_voxels`, so that tiles of the maps give the
labels of the whole stack, bit for bit.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from clgkit.segmentation.basins import ascent_parents, keep_pieces, label_basins
from clgkit.segmentation.blobs import Size, flat_index, size_px
from clgkit.segmentation.classical import Seeds

__all__ = [
    "DISTANCE_LEVELS",
    "FOREGROUND_LEVELS",
    "MIN_PEAK",
    "MIN_PROBABILITY",
    "MIN_VOLUME_SHARE",
    "Confidence",
    "find_network_seeds",
    "grow_network_nuclei",
    "join_confidence",
    "measure_confidence",
    "network_halo_voxels",
]

Float32: TypeAlias = npt.NDArray[np.float32]
Float64: TypeAlias = npt.NDArray[np.float64]
Int64: TypeAlias = npt.NDArray[np.int64]
UInt32: TypeAlias = npt.NDArray[np.uint32]
UInt8: TypeAlias = npt.NDArray[np.uint8]

FOREGROUND_LEVELS = 255
"""The foreground map is the probability times this."""
DISTANCE_LEVELS = 200
"""The distance map is the distance to the surface over its maximum, times this."""
MIN_PROBABILITY = 0.5
"""Voxels of a lower probability are background, unless a caller says otherwise."""
MIN_PEAK = 0.45
"""Least depth of a seed, where the middle of a whole nucleus has 1."""
MIN_VOLUME_SHARE = 0.12
"""Least volume of a nucleus, as a share of an ellipsoid of the diameter."""
# Of a nucleus that a face of the stack cuts, only a slice may be seen, and a shallow one:
CUT_PEAK = 0.45  # its seed needs this share of the least depth,
CUT_VOLUME = 1 / 6  # it needs this share of the least volume,
CUT_SURE = 0.4  # but a mean probability that far from the threshold to 1.
SMOOTH_SHARE = np.full(3, 1 / 12)  # of the diameter: smoothing of the distance before the ascent
PEAK_SHARE = np.array([1 / 6, 1 / 4, 1 / 4])  # of the diameter: half the box of a maximum
REACH = 0.8  # of the diameter: how far from its seed a nucleus may extend
TRUNCATE = 3.0
LEAST = np.float32(1e-3)  # what is added to the distance inside of nuclei: their edge is 0


class Confidence(NamedTuple):
    """How sure the network is of each nucleus, for every id from 0 on; row 0 is background."""

    voxels: Int64
    """(n + 1,)"""
    probability: Float64
    """(n + 1,): mean foreground probability inside; NaN where there is no voxel."""
    peak: Float64
    """(n + 1,): largest distance to the surface over its maximum; near 1 for a whole nucleus."""


def network_halo_voxels(
    *, voxel_um: tuple[float, float, float], diameter_um: Size
) -> tuple[int, int, int]:
    """Return the margin (z, y, x) in voxels that a tile of the maps needs (2 diameters)."""
    size = size_px(voxel_um, diameter_um)
    smooth = np.array([_radius(s) for s in SMOOTH_SHARE * size])
    z, y, x = (2 * np.ceil(REACH * size).astype(int) + _box(size) + smooth + 2).tolist()
    return z, y, x


def find_network_seeds(
    foreground: UInt8,
    distance: UInt8,
    *,
    voxel_um: tuple[float, float, float],
    diameter_um: Size,
    threshold: float = MIN_PROBABILITY,
    peak: float = MIN_PEAK,
) -> Seeds:
    """Find the peaks of the distance, one per nucleus.

    Parameters
    ----------
    foreground, distance : (Z, Y, X) uint8
        The network's maps of a tile with its halo.
    voxel_um, diameter_um
        Size of a voxel, and of a nucleus as it looks in the stack.
    threshold
        Least probability of the foreground.
    peak
        Least distance, where a whole nucleus has 1; on a face of the stack 0.45 of it, for there
        the middle of a nucleus may lie outside.

    Notes
    -----
    Of equal voxels within a box of half a diameter the first in raster order is the peak.  Seeds
    in the halo depend on where the tile ends; keep those in the core.
    """
    size = size_px(voxel_um, diameter_um)
    response = _response(foreground, distance, size, threshold)
    parents = ascent_parents(response, _box(size)).reshape(response.shape)
    own = np.arange(parents.size, dtype=np.int32).reshape(parents.shape)
    places = np.argwhere((parents == own) & (response > CUT_PEAK * peak)).astype(np.int64)
    values = response[tuple(places.T)]
    good = (values > peak) | _on_face(places, response.shape, size)
    return Seeds(places[good], values[good])


def grow_network_nuclei(
    foreground: UInt8,
    distance: UInt8,
    seeds: Int64,
    seed_ids: UInt32,
    *,
    voxel_um: tuple[float, float, float],
    diameter_um: Size,
    threshold: float = MIN_PROBABILITY,
    min_volume_share: float = MIN_VOLUME_SHARE,
) -> UInt32:
    """Give every voxel of the foreground the id of the seed that its ascent ends at.

    Parameters
    ----------
    foreground, distance : (Z, Y, X) uint8
        The network's maps of a tile with its halo.
    seeds : (n, 3)
        All seeds of the stack that lie in the tile or its halo, in the coordinates of the tile.
    seed_ids : (n,)
        Their ids, positive.
    voxel_um, diameter_um, threshold
        As in :func:`find_network_seeds`.
    min_volume_share
        Nuclei smaller than this share of an ellipsoid of the diameter are left out.

    Returns
    -------
    (Z, Y, X) uint32
        Every id is one 6-connected piece.  Right in the core; in the halo labels are incomplete.

    Notes
    -----
    A nucleus whose seed lies on a face of the stack is cut by it.  A sixth of the volume is enough
    for it, but its mean probability must reach 0.7 (at a threshold of 0.5; two fifths of the way
    from the threshold to 1).
    """
    size = size_px(voxel_um, diameter_um)
    places = np.asarray(seeds, np.int64).reshape(-1, 3)
    ids = np.asarray(seed_ids, np.uint32)
    if len(ids) != len(places):
        raise ValueError(f"{len(places)} seeds need as many ids; found {len(ids)}")
    if len(places) and ((places < 0).any() or (places >= foreground.shape).any()):
        raise ValueError(f"a seed lies outside of the tile of shape {foreground.shape}; drop it")
    response = _response(foreground, distance, size, threshold)
    flat = flat_index(places, response.shape)
    parents = ascent_parents(response, _box(size))
    reach = (REACH * size).astype(np.float32)
    basins = label_basins(parents, flat, response.shape, reach)
    # Where the whole stack is thinner than a nucleus, only sections of nuclei can be seen.
    smallest = min_volume_share * math.pi / 6 * math.prod(np.minimum(size, foreground.shape))
    least = np.full(len(ids), smallest)
    cut = _on_face(places, response.shape, size)
    if cut.any():
        sure = threshold + CUT_SURE * (1 - threshold)
        known = _mean_probability(basins, foreground, len(ids)) >= sure
        least[cut] = np.where(known[cut], CUT_VOLUME * smallest, np.inf)
    labels: UInt32 = keep_pieces(basins, flat, ids, response.shape, least)
    return labels


def measure_confidence(
    labels: UInt32, foreground: UInt8, distance: UInt8, *, n_nuclei: int
) -> Confidence:
    """Measure how sure the network is of the nuclei of a tile's core.

    Parameters
    ----------
    labels, foreground, distance
        Of one shape; ids up to `n_nuclei`.
    n_nuclei
        Largest id of the stack.
    """
    flat = labels.ravel()
    voxels = np.bincount(flat, minlength=n_nuclei + 1)
    # Sums of whole numbers: exact, whatever the order of the tiles.
    total = np.bincount(flat, weights=foreground.ravel(), minlength=n_nuclei + 1)
    peak = np.zeros(n_nuclei + 1)
    inside = np.flatnonzero(flat)
    np.maximum.at(peak, flat[inside], distance.ravel()[inside] / DISTANCE_LEVELS)
    with np.errstate(invalid="ignore"):  # an id without a voxel
        return Confidence(voxels, total / voxels / FOREGROUND_LEVELS, peak)


def join_confidence(parts: Iterable[Confidence]) -> Confidence:
    """Return the confidence of the stack from those of tiles whose cores cover it once."""
    parts = list(parts)
    voxels = np.sum([part.voxels for part in parts], axis=0)
    total = np.sum(
        [np.rint(np.nan_to_num(p.probability) * FOREGROUND_LEVELS * p.voxels) for p in parts],
        axis=0,
    )
    with np.errstate(invalid="ignore"):
        probability = total / voxels / FOREGROUND_LEVELS
    return Confidence(voxels, probability, np.max([part.peak for part in parts], axis=0))


def _on_face(places: Int64, shape: tuple[int, ...], size: Float64) -> npt.NDArray[np.bool_]:
    """Tell which places lie on a face of the tile.

    In the core that is a face of the stack, for all others are a halo away.  Faces of a stack that
    is thinner than a nucleus do not count: they cut all of them.
    """
    thick = np.array(shape) >= size
    at_end = (places == 0) | (places == np.array(shape) - 1)
    on_face: npt.NDArray[np.bool_] = (at_end & thick).any(axis=1)
    return on_face


def _mean_probability(basins: npt.NDArray[np.int32], foreground: UInt8, n_seeds: int) -> Float64:
    """Return (n,) the mean probability in the basin of every seed; NaN where it is empty."""
    counts = np.bincount(basins, minlength=n_seeds + 1)[1:]
    total = np.bincount(basins, weights=foreground.ravel(), minlength=n_seeds + 1)[1:]
    with np.errstate(invalid="ignore"):  # a seed whose basin another id has taken
        mean: Float64 = total / counts / FOREGROUND_LEVELS
    return mean


def _box(size: Float64) -> Int64:
    return np.maximum(np.floor(PEAK_SHARE * size + 1e-6), 1).astype(np.int64)


def _radius(sigma: float) -> int:
    return int(TRUNCATE * sigma + 0.5)


def _response(foreground: UInt8, distance: UInt8, size: Float64, threshold: float) -> Float32:
    """Return the smoothed distance inside of nuclei, and -1 outside."""
    if foreground.ndim != 3 or foreground.shape != distance.shape:
        raise ValueError(
            "the two maps have the axes z, y, x and one shape; "
            f"found {foreground.shape} and {distance.shape}"
        )
    smooth = distance.astype(np.float32) / np.float32(DISTANCE_LEVELS)
    for axis, sigma in enumerate(SMOOTH_SHARE * size):
        if smooth.shape[axis] > 1:
            smooth = ndimage.gaussian_filter1d(
                smooth, sigma, axis=axis, mode="nearest", truncate=TRUNCATE
            )
    inside = foreground > threshold * FOREGROUND_LEVELS
    return np.where(inside, smooth + LEAST, np.float32(-1))
