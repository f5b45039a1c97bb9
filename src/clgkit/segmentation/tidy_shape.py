"""Mend the shape of labelled objects: holes, rough surfaces, two nuclei under one id.

An object gains background only, so no other object ever loses a voxel.
"""

from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy import ndimage

from clgkit.segmentation.overlap import as_ids
from clgkit.segmentation.tidy import relabel
from clgkit.segmentation.tidy_objects import Box, object_boxes

__all__ = [
    "fill_holes",
    "fill_objects",
    "fill_sections",
    "smooth_in_place",
    "smooth_labels",
    "split_label",
    "split_mask",
]

Bool: TypeAlias = npt.NDArray[np.bool_]
Float64: TypeAlias = npt.NDArray[np.float64]
Int32: TypeAlias = npt.NDArray[np.int32]
Int64: TypeAlias = npt.NDArray[np.int64]
UInt32: TypeAlias = npt.NDArray[np.uint32]
Labels: TypeAlias = npt.NDArray[np.integer[Any]]
Smoothing: TypeAlias = Literal["majority", "opening"]

SLAB = 1 << 22  # voxels smoothed at once


def fill_holes(labels: Labels, *, per_slice: bool = True, volume: bool = True) -> UInt32:
    """Return labels whose holes belong to the object around them.

    A hole is background that is connected by faces, does not reach the edge of the image, and
    touches one object only.

    Parameters
    ----------
    labels : (z, y, x)
        0 is background.
    per_slice
        Look for holes of sections.  Slices are independent, so blocks of slices can be streamed.
    volume
        Then look for holes in three dimensions, object by object.  This needs the volume at once.
    """
    compact, old = relabel(_volume(labels))
    if per_slice:
        fill_sections(compact)
    if volume:
        fill_objects(compact, object_boxes(compact))
    return old[compact]


def fill_sections(ids: UInt32) -> int:
    """Fill the holes of sections (z, y, x) in place; return how many voxels were filled."""
    return sum(_fill(plane[None], flat=True) for plane in ids)


def fill_objects(compact: UInt32, boxes: Iterable[Box]) -> int:
    """Fill the holes of a volume in place; return how many voxels were filled.

    Parameters
    ----------
    compact : (z, y, x)
        Compact ids.
    boxes
        Of `tidy_objects.object_boxes`.  A hole lies in the box of the object around it, so what
        is needed beside the volume is small.
    """
    return sum(_fill(compact[box], flat=len(compact) == 1) for _, box in boxes)


def smooth_labels(labels: Labels, *, iterations: int = 1, method: Smoothing = "majority") -> UInt32:
    """Return labels with even surfaces.

    Parameters
    ----------
    labels : (z, y, x)
        0 is background.
    iterations
        How often; blocks can be streamed with a halo of as many voxels (twice as many for
        openings).
    method
        "majority": a voxel stays if most of its 3 x 3 x 3 neighbourhood is of its object, and
        background goes to the object that has most of its neighbourhood.  "opening": an object
        keeps what a cross of 7 voxels can reach from within; it gains nothing.

    Notes
    -----
    Beyond the border of the volume the outermost voxels go on.

    Raises
    ------
    ValueError
        If the labels are not three-dimensional or `iterations` is negative.
    """
    if iterations < 0:
        raise ValueError(f"smoothing is done 0 times or more; found {iterations}")
    made = _volume(labels).copy()
    for _ in range(iterations):
        smooth_in_place(made, method=method)
    return made


def smooth_in_place(ids: UInt32, *, method: Smoothing = "majority") -> int:
    """Smooth a volume once, as `smooth_labels`, in place; return how many voxels changed.

    A few slices at a time are held twice.
    """
    if ids.size == 0:
        return 0
    halo = 1 if method == "majority" else 2
    step = max(halo, SLAB // max(ids[0].size, 1))
    changed, before = 0, ids[:0].copy()
    for start in range(0, len(ids), step):
        block = np.concatenate([before, ids[start : start + step + halo]])
        core = slice(len(before), len(before) + len(ids[start : start + step]))
        smooth = _majority(np.pad(block, 1, "edge")) if method == "majority" else _opened(block)
        changed += int(np.count_nonzero(smooth[core] != block[core]))
        ids[start : start + step] = smooth[core]
        before = block[max(core.stop - halo, 0) : core.stop]
    return changed


def split_label(
    labels: Labels,
    label: int,
    *,
    voxel_um: tuple[float, float, float],
    n_parts: int = 2,
) -> UInt32:
    """Return labels in which one object is split at its waists.

    Parameters
    ----------
    labels : (z, y, x)
        0 is background.
    label
        The object.  The largest part keeps this id; the others get the next ids above all.
    voxel_um
        Size of a voxel along z, y, x.
    n_parts
        How many parts.

    Raises
    ------
    ValueError
        If the object is not there, has fewer peaks than parts wanted, or ids run out.

    Notes
    -----
    The distance to the surface, in um, is flooded from its peaks down (a watershed).  Peaks are
    ranked by how far one must go down from each to reach a higher one; the best stay apart.
    """
    ids = _volume(labels).copy()
    if n_parts < 1:
        raise ValueError(f"an object is split into 1 part or more; found {n_parts}")
    places = np.argwhere(ids == label) if label > 0 else np.empty((0, 3), np.int64)
    if len(places) == 0:
        raise ValueError(f"there is no object {label}; name an id that is there")
    low, high = places.min(axis=0), places.max(axis=0) + 1
    inside = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    parts = split_mask(ids[inside] == label, voxel_um=voxel_um, n_parts=n_parts)
    found = int(parts.max())
    if found < n_parts:
        raise ValueError(
            f"object {label} has {found} peaks of distance; it cannot become {n_parts} parts"
        )
    highest = int(ids.max())
    if highest + n_parts - 1 > np.iinfo(np.uint32).max:
        raise ValueError("there are no free ids above the highest; make the ids compact first")
    new = np.array([0, label, *range(highest + 1, highest + n_parts)], np.uint32)
    ids[inside][parts > 0] = new[parts[parts > 0]]
    return ids


def split_mask(mask: Bool, *, voxel_um: tuple[float, float, float], n_parts: int = 2) -> Int64:
    """Return the parts 1, 2, ... of one object, from the largest down; 0 is background.

    There are fewer than `n_parts` if the distance to the surface has fewer peaks.  Parameters and
    method as of :func:`split_label`.
    """
    padded = np.pad(mask, 1)
    distance = np.asarray(ndimage.distance_transform_edt(padded, sampling=voxel_um))
    parts = _flood(distance, n_parts)[1:-1, 1:-1, 1:-1]
    sizes = np.bincount(parts.ravel())[1:]
    rank = np.zeros(sizes.size + 1, np.int64)
    rank[np.argsort(-sizes, kind="stable") + 1] = np.arange(1, sizes.size + 1)
    return rank[parts]


def _volume(labels: Labels) -> UInt32:
    if labels.ndim != 3:
        raise ValueError(f"labels have the axes z, y, x; found shape {labels.shape}")
    return as_ids(labels)


def _fill(ids: UInt32, *, flat: bool) -> int:
    """Fill the holes of a part of a volume in place; return how many voxels were filled.

    A `flat` part is one slice, and what lies above and below does not matter.
    """
    if ids.size == 0:
        return 0
    holes = np.zeros(ids.shape, np.int32)
    n = int(ndimage.label(ids == 0, output=holes))
    owner = _owners(ids, holes, n, flat)
    if not owner.any():
        return 0
    filled = owner[holes] > 0
    ids[filled] = owner[holes[filled]]
    return int(np.count_nonzero(filled))


def _flood(distance: Float64, n_parts: int) -> Int64:
    """Return the parts 1, 2, ... of the voxels above 0; the border of the array is 0."""
    flat = distance.ravel()
    inside = np.flatnonzero(flat > 0)
    order = inside[np.argsort(-flat[inside], kind="stable")]
    steps = np.array([distance.shape[1] * distance.shape[2], distance.shape[2], 1], np.int64)
    steps = np.concatenate([-steps, steps])
    persistence = _persistence(flat, order, steps)
    peaks = order[np.argsort(-persistence[order], kind="stable")][:n_parts]
    seeds = peaks[persistence[peaks] > 0]
    parts: Int64 = _grow(order, steps, np.sort(seeds), flat.size).reshape(distance.shape)
    return parts


def _opened(ids: UInt32) -> UInt32:
    around = np.pad(ids, 1, "edge")
    core = np.where(_all_alike(around), ids, 0)
    reached = core.copy()
    padded = np.pad(core, 1, "edge")
    for near in _neighbours(padded):
        np.copyto(reached, ids, where=(near == ids))
    return reached


def _all_alike(padded: UInt32) -> Bool:
    own = padded[1:-1, 1:-1, 1:-1]
    alike = np.ones(own.shape, np.bool_)
    for near in _neighbours(padded):
        alike &= near == own
    return alike


def _neighbours(padded: UInt32) -> list[UInt32]:
    """Return the six neighbours of every voxel of what was padded by 1."""
    inner, first, last = slice(1, -1), slice(None, -2), slice(2, None)
    found = []
    for axis in range(3):
        for end in (first, last):
            part = [inner, inner, inner]
            part[axis] = end
            found.append(padded[tuple(part)])
    return found


@njit(cache=True, nogil=True)
def _owners(ids: UInt32, holes: Int32, n: int, flat: bool) -> UInt32:  # noqa: FBT001  (a kernel)
    """Return the object around each piece of background, 0 for none, several, or an open one."""
    owner = np.zeros(n + 1, np.uint32)
    is_open = np.zeros(n + 1, np.bool_)
    for place in np.ndindex(ids.shape):
        if holes[place] > 0:
            _look_around(ids, place, flat, owner[holes[place] :], is_open[holes[place] :])
    for hole in range(n + 1):
        if is_open[hole]:
            owner[hole] = 0
    return owner


@njit(cache=True, nogil=True)
def _look_around(
    ids: UInt32,
    place: tuple[int, int, int],
    flat: bool,  # noqa: FBT001  (a kernel)
    owner: UInt32,
    is_open: Bool,
) -> None:
    """Note the objects beside one voxel of a hole; the hole is open at the border."""
    n_z, n_y, n_x = ids.shape
    for axis in range(1 if flat else 0, 3):
        for step in (-1, 1):
            z = place[0] + step if axis == 0 else place[0]
            y = place[1] + step if axis == 1 else place[1]
            x = place[2] + step if axis == 2 else place[2]
            outside = z < 0 or y < 0 or x < 0 or z >= n_z or y >= n_y or x >= n_x
            near = np.uint32(0) if outside else ids[z, y, x]
            differs = near > 0 and owner[0] > 0 and owner[0] != near
            is_open[0] |= outside or differs
            owner[0] = max(owner[0], near)


@njit(cache=True, nogil=True)
def _majority(padded: UInt32) -> UInt32:
    n_z, n_y, n_x = padded.shape
    made = np.zeros((n_z - 2, n_y - 2, n_x - 2), np.uint32)
    for z in range(n_z - 2):
        for y in range(n_y - 2):
            for x in range(n_x - 2):
                around = padded[z : z + 3, y : y + 3, x : x + 3]
                made[z, y, x] = _most(around)
    return made


@njit(cache=True, nogil=True)
def _most(around: UInt32) -> Any:
    """Return the id of the middle of 27 voxels if 14 have it; background goes to whom has 14."""
    own = around[1, 1, 1]
    # A majority survives the pairing off of unlike ids (Boyer and Moore).
    candidate, votes = own, 0
    for value in around.flat:
        if votes == 0:
            candidate = value
        votes += 1 if value == candidate else -1
    count = 0
    for value in around.flat:
        count += value == candidate
    if count < 14 or (own > 0 and own != candidate):
        candidate = np.uint32(0)
    return candidate


@njit(cache=True, nogil=True)
def _find(parent: Int64, k: int) -> int:
    while parent[k] != k:
        parent[k] = parent[parent[k]]
        k = parent[k]
    return k


@njit(cache=True, nogil=True)
def _persistence(flat: Float64, order: Int64, steps: Int64) -> Float64:
    """Return of each peak how far down a higher one is joined; 0 of what is no peak."""
    parent = np.full(flat.size, -1, np.int64)
    found = np.zeros(flat.size)
    for place in order:
        parent[place] = place
        root = place
        for step in steps:
            if parent[place + step] < 0:
                continue
            other = _find(parent, place + step)
            if other == root:
                continue
            # The root of a piece is its highest voxel, of equal ones the one met first.
            lower = root if flat[root] < flat[other] or root == place else other
            higher = other if lower == root else root
            found[lower] = flat[lower] - flat[place]
            parent[lower] = higher
            root = higher
    for place in order:
        if parent[place] == place:
            found[place] = flat[place]
    return found


@njit(cache=True, nogil=True)
def _grow(order: Int64, steps: Int64, seeds: Int64, n: int) -> Int64:
    """Flood from the highest voxel down; pieces with different seeds stay apart."""
    parent = np.full(n, -1, np.int64)
    part = np.zeros(n, np.int64)
    for place in order:
        parent[place] = place
        k = np.searchsorted(seeds, place)
        if k < seeds.size and seeds[k] == place:
            part[place] = k + 1
        for step in steps:
            if parent[place + step] < 0:
                continue
            own, other = _find(parent, place), _find(parent, place + step)
            if own == other or (part[own] > 0 and part[other] > 0):
                continue
            part[other] = max(part[own], part[other])
            parent[own] = other
    made = np.zeros(n, np.int64)
    for place in order:
        made[place] = part[_find(parent, place)]
    return made
