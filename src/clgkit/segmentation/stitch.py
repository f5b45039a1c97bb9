"""Give the sections of a nucleus in many slices one id."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from clgkit.segmentation.chains import ChainRule, Chains, SectionTable, find_chains
from clgkit.segmentation.overlap import as_ids, pair_counts

__all__ = [
    "ChainRule",
    "Chains",
    "SectionTable",
    "find_chains",
    "iterate_like_cellpose",
    "stitch_chains",
    "stitch_like_cellpose",
]

Int64: TypeAlias = npt.NDArray[np.int64]
UInt32: TypeAlias = npt.NDArray[np.uint32]
Labels: TypeAlias = npt.NDArray[np.integer[Any]]

HIGHEST = 2**32 - 1


def stitch_chains(
    sections: Labels | Sequence[Labels],
    rule: ChainRule = ChainRule(),  # noqa: B008  (immutable)
) -> UInt32:
    """Return nuclei: sections linked from slice to slice, bridged over gaps, cut at waists.

    Parameters
    ----------
    sections : (z, y, x)
        Ids of the sections in each slice, 0 for background.  Ids of different slices have nothing
        to do with each other.
    rule
        Numbers of the rule.

    Returns
    -------
    (z, y, x) uint32
        Ids 1, 2, ... by first slice, then by the first pixel of the first section.

    Raises
    ------
    TypeError, ValueError
        If the sections are not whole numbers in three dimensions.

    See Also
    --------
    clgkit.segmentation.chains.find_chains : the rule, and how to stream a stack through it.
    """
    stack = _as_stack(sections)
    table = SectionTable()
    for plane in stack:
        table.add(plane)
    return find_chains(table, rule).label_block(stack)


def stitch_like_cellpose(sections: Labels | Sequence[Labels], *, threshold: float = 0.25) -> UInt32:
    """Return nuclei stitched by the rule of Cellpose's `stitch3D`.

    Parameters
    ----------
    sections : (z, y, x)
        As for :func:`stitch_chains`.
    threshold
        Least intersection over union of two sections of one nucleus, from 0 to 1.

    Returns
    -------
    (z, y, x) uint32

    Notes
    -----
    Sections of neighbouring slices whose IoU is below the threshold are no pair.  An earlier
    section keeps its best pair (of equal ones all); a later section takes the id of its best
    remaining one (of equal ones the lowest), else a new id.  There is no look at further slices,
    so stacked nuclei that touch become one.

    Departures from Cellpose 3.1: ids have 32 bits and do not wrap; the counter of ids does not
    restart after an empty slice, so no id is used twice.  As there, a gap in the ids of a slice
    leaves a gap in the result; a slice with an id above its number of pixels is made compact.
    """
    stack = _as_stack(sections)
    made = np.zeros(stack.shape, np.uint32)
    for z, plane in enumerate(iterate_like_cellpose(stack, threshold=threshold)):
        made[z] = plane
    return made


def iterate_like_cellpose(slices: Iterable[Labels], *, threshold: float = 0.25) -> Iterator[UInt32]:
    """Yield the slices of :func:`stitch_like_cellpose` one by one; two are held at a time."""
    if not 0 <= threshold <= 1:
        raise ValueError(f"the threshold of stitching lies from 0 to 1; found {threshold}")
    earlier: UInt32 | None = None
    ids = np.zeros(1, np.int64)
    highest = 0
    for plane in slices:
        numbers, own = _ranked(plane)
        found = np.zeros(own.size, np.int64)
        if earlier is not None:
            if earlier.shape != numbers.shape:
                raise ValueError(
                    f"all slices have one shape; found {earlier.shape} and {numbers.shape}"
                )
            found = _inherited(earlier, numbers, ids, threshold=threshold)
        new = found == 0
        new[0] = False
        found[new] = (highest + own - np.cumsum(~new) + 1)[new]
        highest += int(own[-1]) - int((~new).sum()) + 1
        if highest > HIGHEST:
            raise ValueError("there are more nuclei than 32-bit ids; stitch parts of the stack")
        ids, earlier = found, numbers
        yield ids.astype(np.uint32)[numbers]


def _as_stack(sections: Labels | Sequence[Labels]) -> Labels:
    stack = np.asarray(sections)
    if stack.ndim != 3:
        raise ValueError(f"sections have the axes z, y, x; found shape {stack.shape}")
    return stack


def _ranked(plane: Labels) -> tuple[UInt32, Int64]:
    """Return a slice with its sections numbered in the order of their ids, and these ids."""
    ids = as_ids(plane)
    values, place = np.unique(ids, return_inverse=True)
    numbers = place.reshape(ids.shape).astype(np.uint32)
    if values.size == 0 or values[0] > 0:
        values, numbers = np.append(np.uint32(0), values), numbers + np.uint32(1)
    if int(values[-1]) > ids.size:
        values = np.arange(values.size, dtype=np.uint32)
    return numbers, values.astype(np.int64)


def _inherited(earlier: UInt32, later: UInt32, ids: Int64, *, threshold: float) -> Int64:
    """Return the id that each later section takes over, 0 for none."""
    first, second, pixels = pair_counts(earlier, later)
    areas = np.bincount(earlier.ravel(), minlength=ids.size)
    areas_later = np.bincount(later.ravel(), minlength=1)
    iou = pixels / (areas[first] + areas_later[second] - pixels)
    best = np.zeros(areas.size)
    np.maximum.at(best, first, iou)
    kept = (iou >= threshold) & (iou >= best[first])
    first, second, iou = first[kept], second[kept], iou[kept]
    order = np.lexsort((ids[first], -iou, second))
    order = order[np.diff(second[order], prepend=-1) != 0]
    found = np.zeros(areas_later.size, np.int64)
    found[second[order]] = ids[first[order]]
    return found
