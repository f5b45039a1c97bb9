"""Putting masks in order as Cellpose does: too large, too small, holes, poor flows."""

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from clgkit.segmentation.cellpose_flows import Rule, flow_errors

__all__ = ["drop_poor", "drop_too_large", "fill_and_drop_small", "renumber_by_raster"]

Int32: TypeAlias = npt.NDArray[np.int32]


def renumber_by_raster(labels: npt.NDArray[np.integer]) -> Int32:
    """Return the labels with ids 1, 2, ... in the order in which a reader meets them."""
    ids, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    is_object = ids != 0
    new = np.zeros(ids.size, np.int32)
    order = np.argsort(first[is_object], kind="stable")
    ranks = np.empty(order.size, np.int32)
    ranks[order] = np.arange(1, order.size + 1)
    new[is_object] = ranks
    return new[inverse].reshape(labels.shape)


def drop_too_large(labels: Int32, *, max_share: float) -> Int32:
    """Return the labels without those that cover more than a share of the image."""
    counts = np.bincount(labels.ravel())
    kept = np.arange(counts.size)
    kept[counts > labels.size * max_share] = 0
    kept[0] = 0
    return kept.astype(np.int32)[labels]


def drop_poor(
    labels: Int32, flows: npt.NDArray[np.floating], *, threshold: float, rule: Rule
) -> Int32:
    """Return the labels without those whose flows are not what the network said; ids stay.

    Parameters
    ----------
    labels : (Y, X)
        Ids 1 to n.
    flows : (2, Y, X)
        As the network gives them.
    threshold
        Largest `flow_errors` that is kept; 0 keeps all.
    rule
        How the flow of a mask is found.
    """
    if threshold <= 0 or not labels.any():
        return labels
    errors = flow_errors(labels, flows, rule=rule)
    kept = np.arange(errors.size + 1, dtype=np.int32)
    kept[1:][errors > threshold] = 0
    return kept[labels]


def fill_and_drop_small(
    labels: npt.NDArray[np.integer],
    *,
    min_size_px: int,
    rule: Rule = "cellpose3",
    repeat_rank_bug: bool = False,
) -> Int32:
    """Return masks without holes and without specks, numbered anew.

    Parameters
    ----------
    labels : (Y, X) or (Z, Y, X)
        Ids may have gaps.  Sizes of a stack are in voxels.
    min_size_px
        Smaller masks are dropped; 0 or less: none.
    rule
        Cellpose 3 numbers by first pixel, and fills holes that are closed in three dimensions;
        Cellpose 2 numbers in the order of the ids, and fills slice by slice.
    repeat_rank_bug
        Cellpose 3 takes the place of a small mask in the sorted list of ids for its id: where ids
        have gaps it drops another one.  True repeats that.

    Notes
    -----
    What lies in the hole of a mask becomes part of it.
    """
    result = np.array(labels, np.int32)
    if rule == "cellpose3":
        result = _drop_small(result, min_size_px, by_rank=repeat_rank_bug)
        result = renumber_by_raster(result)
        result = _fill_in_turn(result, 0, flat=False)
        return renumber_by_raster(_drop_small(result, min_size_px, by_rank=repeat_rank_bug))
    return _fill_in_turn(result, min_size_px, flat=True)


def _drop_small(labels: Int32, min_size_px: int, *, by_rank: bool) -> Int32:
    if min_size_px <= 0:
        return labels
    counts = np.bincount(labels.ravel())
    counts[0] = 0
    if by_rank:
        small = np.flatnonzero(counts[np.flatnonzero(counts)] < min_size_px) + 1
    else:
        small = np.flatnonzero((counts > 0) & (counts < min_size_px))
    kept = np.arange(counts.size, dtype=np.int32)
    kept[small] = 0
    return kept[labels]


def _fill_in_turn(labels: Int32, min_size_px: int, *, flat: bool) -> Int32:
    """Fill one mask after the other, in the order of their ids, and number them so."""
    number = 0
    for old, box in _boxes(labels):
        mask = labels[box] == old
        if np.count_nonzero(mask) < min_size_px:
            labels[box][mask] = 0
            continue
        number += 1
        for part, out in zip(_parts(mask, flat), _parts(labels[box], flat), strict=True):
            out[ndimage.binary_fill_holes(part)] = number
    return labels


def _boxes(labels: Int32) -> Iterator[tuple[int, tuple[slice, ...]]]:
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None:
            yield number, box


def _parts(values: npt.NDArray[Any], flat: bool) -> npt.NDArray[Any]:  # noqa: FBT001  (private)
    """Return the slices of a stack, or the whole as one part."""
    return values if flat and values.ndim == 3 else values[np.newaxis]
