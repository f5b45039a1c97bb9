"""Objects one by one, in their bounding boxes and in place: pieces that do not touch.

Volumes have compact ids here (1, 2, ... without large gaps), as `tidy.relabel` makes them.
"""

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

__all__ = ["Box", "drop_pieces", "object_boxes", "part_pieces"]

Bool: TypeAlias = npt.NDArray[np.bool_]
Int32: TypeAlias = npt.NDArray[np.int32]
Int64: TypeAlias = npt.NDArray[np.int64]
UInt32: TypeAlias = npt.NDArray[np.uint32]
Box: TypeAlias = tuple[int, tuple[slice, ...]]


def object_boxes(compact: UInt32) -> list[Box]:
    """Return number and bounding box of every object, found in one pass."""
    if compact.size == 0:
        return []
    found: list[tuple[slice, ...] | None] = list(ndimage.find_objects(compact))
    return [(number, box) for number, box in enumerate(found, start=1) if box is not None]


def drop_pieces(compact: UInt32, boxes: Iterable[Box]) -> int:
    """Leave of every object its largest face-connected piece; return the voxels that went."""
    dropped = 0
    for number, box in boxes:
        pieces, sizes = _pieces(compact[box] == number)
        if sizes.size > 1:
            compact[box][(pieces > 0) & (pieces != np.argmax(sizes) + 1)] = 0
            dropped += int(sizes.sum() - sizes.max())
    return dropped


def part_pieces(compact: UInt32, boxes: Iterable[Box], *, highest: int) -> UInt32:
    """Give every face-connected piece a number of its own.

    Parameters
    ----------
    compact
        Labels, changed in place.  The largest piece of an object keeps its number (of equal ones
        the first in raster order); the others, from the largest down, get the next ones above
        `highest`.
    boxes
        Of the objects to look at.
    highest
        Number of objects so far.

    Returns
    -------
    (n,) uint32
        The object that each new number was a piece of.
    """
    parents: list[int] = []
    for number, box in boxes:
        pieces, sizes = _pieces(compact[box] == number)
        for piece in np.argsort(-sizes, kind="stable")[1:] + 1:
            parents.append(number)
            compact[box][pieces == piece] = highest + len(parents)
    return np.array(parents, np.uint32)


def _pieces(mask: Bool) -> tuple[Int32, Int64]:
    """Return the face-connected pieces of a mask, and their sizes."""
    pieces = np.zeros(mask.shape, np.int32)
    ndimage.label(mask, output=pieces)
    return pieces, np.bincount(pieces.ravel())[1:].astype(np.int64)
