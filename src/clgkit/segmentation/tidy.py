"""Put label ids in order: compact numbers, no specks, no scattered pieces, a rule for borders.

Everything here is a table of old and new ids, so a stack can be streamed: `label_sizes` reads it
slice by slice, a rule makes a :class:`Renumbering`, and that is applied block by block.  Only
what looks at the shape of an object (pieces, and `tidy_shape`) needs the volume at once.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from clgkit.segmentation.overlap import as_ids, overlap_table
from clgkit.segmentation.tidy_objects import drop_pieces, object_boxes, part_pieces

__all__ = [
    "LabelSizes",
    "Relabelled",
    "Renumbering",
    "border_ids",
    "compact_ids",
    "keep_largest_pieces",
    "keep_rule",
    "label_sizes",
    "merge_labels",
    "relabel",
    "remove_small",
    "scattered_ids",
    "separate_pieces",
]

Bool: TypeAlias = npt.NDArray[np.bool_]
Float64: TypeAlias = npt.NDArray[np.float64]
Int64: TypeAlias = npt.NDArray[np.int64]
UInt32: TypeAlias = npt.NDArray[np.uint32]
Labels: TypeAlias = npt.NDArray[np.integer[Any]]

CHUNK = 1 << 22  # voxels looked up at once
SPECK, GIANT = 0.12, 5.0  # shares of the median volume


class Relabelled(NamedTuple):
    """Labels with compact ids, and where each came from."""

    labels: UInt32
    """Same shape as the input; ids are 1, 2, ... without gaps, 0 is background."""
    old_ids: UInt32
    """(n + 1,) the former id of id k is ``old_ids[k]``; the first is 0."""


class LabelSizes(NamedTuple):
    """Size and place of every object of a label volume."""

    ids: UInt32
    """(n,) sorted, without 0."""
    voxels: Int64
    """(n,)"""
    centers: Float64
    """(n, 3) mean index along z, y, x."""
    on_border: Bool
    """(n,) whether it touches a face of the volume."""


class Renumbering(NamedTuple):
    """A table of ids: what is not in it becomes background."""

    old: UInt32
    """(n,) sorted, without 0."""
    new: UInt32
    """(n,)"""

    def apply(self, labels: Labels) -> UInt32:
        """Return labels of any shape, or a block of them, with the new ids."""
        ids = as_ids(labels)
        flat, made = ids.ravel(), np.empty(ids.size, np.uint32)
        old = np.append(np.uint32(0), self.old)
        new = np.append(np.uint32(0), self.new)
        for start in range(0, flat.size, CHUNK):
            part = flat[start : start + CHUNK]
            place = np.minimum(np.searchsorted(old, part), old.size - 1)
            made[start : start + CHUNK] = np.where(old[place] == part, new[place], 0)
        return made.reshape(ids.shape)


def relabel(labels: Labels) -> Relabelled:
    """Return the same objects, numbered 1, 2, ... in the order of their ids.

    Parameters
    ----------
    labels
        Any shape, whole non-negative numbers up to 2**32 - 1; 0 is background.

    Raises
    ------
    TypeError
        If `labels` are not whole numbers.
    ValueError
        If an id is negative or above 2**32 - 1.
    """
    numbering = compact_ids(_counts(labels)[0])
    return Relabelled(numbering.apply(labels), np.append(np.uint32(0), numbering.old))


def remove_small(labels: Labels, *, min_voxels: int) -> UInt32:
    """Return labels without the objects of fewer voxels; the other ids stay."""
    ids, voxels = _counts(labels)
    kept = ids[voxels >= min_voxels]
    return Renumbering(kept, kept).apply(labels)


def scattered_ids(labels: Labels) -> UInt32:
    """Return the ids that are more than one face-connected piece, sorted."""
    compact, old = relabel(labels)
    scattered = [
        old[number]
        for number, inside in object_boxes(compact)
        if ndimage.label(compact[inside] == number)[1] > 1
    ]
    return np.array(scattered, np.uint32)


def label_sizes(slices: Iterable[Labels]) -> LabelSizes:
    """Return size, centre and border of every object, read slice by slice.

    Parameters
    ----------
    slices
        The slices (Y, X) of a volume in order, or once the whole volume.

    Raises
    ------
    TypeError, ValueError
        If ids are no whole numbers from 0 to 2**32 - 1.
    """
    table = overlap_table((part, np.zeros(part.shape, np.uint8)) for part in slices)
    return LabelSizes(
        table.truth_ids, table.truth_sizes, table.truth_centers, table.truth_on_border
    )


def compact_ids(ids: UInt32) -> Renumbering:
    """Return the table that numbers some ids 1, 2, ... in their order."""
    return Renumbering(ids, np.arange(1, ids.size + 1, dtype=np.uint32))


def keep_rule(
    sizes: LabelSizes,
    *,
    voxel_um: tuple[float, float, float],
    min_um3: float = 0.0,
    of_median: tuple[float, float] = (SPECK, GIANT),
    border: Literal["keep", "drop"] = "keep",
) -> Renumbering:
    """Return the table that keeps objects of plausible size; ids stay as they are.

    Parameters
    ----------
    sizes
        Of all objects.
    voxel_um
        Size of a voxel along z, y, x, in um.
    min_um3
        Smaller objects go, in um^3.
    of_median
        Objects below the first or above the second share of the median volume go.  The median is
        taken over the objects that are large enough and, if those on the border go, over the rest.
    border
        Whether objects that touch a face of the volume are kept.  To flag them only, keep them
        and read ``sizes.on_border``.

    Raises
    ------
    ValueError
        If voxel size or limits are not positive, finite and in order.
    """
    step = float(np.prod(voxel_um))
    if not (min(voxel_um) > 0 and np.isfinite(step)):
        raise ValueError(f"a voxel has a positive size along z, y and x; found {voxel_um}")
    if min_um3 < 0 or not 0 <= of_median[0] < of_median[1]:
        raise ValueError(
            f"volumes are limited from below and above; found at least {min_um3} um^3 and "
            f"{of_median} of the median"
        )
    volume = sizes.voxels * step
    kept = volume >= min_um3
    if border == "drop":
        kept &= ~sizes.on_border
    if kept.any():
        median = np.median(volume[kept])
        kept &= (volume >= of_median[0] * median) & (volume <= of_median[1] * median)
    return Renumbering(sizes.ids[kept], sizes.ids[kept])


def border_ids(labels: Labels, *, axes: Sequence[int] | None = None) -> UInt32:
    """Return the ids that touch a face of the array, sorted.

    Parameters
    ----------
    labels
        Any shape.
    axes
        Faces at the ends of these axes alone, such as ``(1, 2)`` to let z alone; default all.
    """
    ids = as_ids(labels)
    if ids.size == 0:
        return np.empty(0, np.uint32)
    chosen = range(ids.ndim) if axes is None else axes
    faces = [ids.take(end, axis).ravel() for axis in chosen for end in (0, -1)]
    found = np.unique(np.concatenate([ids.ravel()[:0], *faces]))
    return found[found > 0]


def merge_labels(ids: UInt32, groups: Iterable[Iterable[int]]) -> Renumbering:
    """Return the table that gives the objects of each group the lowest of their ids.

    Parameters
    ----------
    ids
        All ids there are, such as ``label_sizes(...).ids``.
    groups
        Ids that are one object; groups with a common id are one group.

    Raises
    ------
    ValueError
        If a group names an id that is not there.
    """
    old = np.unique(ids[ids > 0])
    leader = {k: k for k in old.tolist()}
    for group in groups:
        members = [int(k) for k in group]
        absent = sorted(set(members) - leader.keys())
        if absent:
            raise ValueError(f"there are no objects {absent[:10]}; merge ids that are there")
        roots = {_root(leader, k) for k in members}
        leader |= dict.fromkeys(roots, min(roots, default=0))
    new = np.array([_root(leader, k) for k in old.tolist()], np.uint32)
    return Renumbering(old, new)


def separate_pieces(labels: Labels) -> Relabelled:
    """Return every face-connected piece of an object as an object of its own.

    The largest piece of an object comes first (of equal ones the first in raster order), objects
    in the order of their ids; ids are compact, and `old_ids` names the former id of each piece.
    """
    compact, old = relabel(labels)
    parents = part_pieces(compact, object_boxes(compact), highest=old.size - 1)
    numbers = np.append(np.arange(old.size, dtype=np.uint32), parents)
    order = np.argsort(numbers, kind="stable")
    new = np.empty(order.size, np.uint32)
    new[order] = np.arange(order.size, dtype=np.uint32)
    return Relabelled(new[compact], old[numbers[order]])


def keep_largest_pieces(labels: Labels) -> UInt32:
    """Return every object without all but its largest face-connected piece; ids stay."""
    compact, old = relabel(labels)
    drop_pieces(compact, object_boxes(compact))
    return old[compact]


def _root(leader: dict[int, int], k: int) -> int:
    while leader[k] != k:
        k = leader[k]
    return k


def _counts(labels: Labels) -> tuple[UInt32, Int64]:
    """Return all ids but 0, sorted, and their voxels, counted part by part."""
    flat = as_ids(labels).ravel()
    ids, voxels = np.empty(0, np.uint32), np.empty(0, np.int64)
    for start in range(0, flat.size, CHUNK):
        own, counts = np.unique(flat[start : start + CHUNK], return_counts=True)
        ids, place = np.unique(np.append(ids, own), return_inverse=True)
        voxels = np.bincount(place, np.append(voxels, counts), ids.size).astype(np.int64)
    return ids[ids > 0], voxels[ids > 0]
