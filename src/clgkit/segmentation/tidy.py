"""Put label ids in order: compact numbers, no specks, no scattered pieces."""

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

__all__ = ["Relabelled", "relabel", "remove_small", "scattered_ids"]

UInt32: TypeAlias = npt.NDArray[np.uint32]
CHUNK = 1 << 22  # voxels looked up at once


class Relabelled(NamedTuple):
    """Labels with compact ids, and where each came from."""

    labels: UInt32
    """Same shape as the input; ids are 1, 2, ... without gaps, 0 is background."""
    old_ids: UInt32
    """(n + 1,) the former id of id k is ``old_ids[k]``; the first is 0."""


def relabel(labels: npt.NDArray[np.integer]) -> Relabelled:
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
    _check_ids(labels)
    flat = labels.ravel()
    parts = [np.unique(flat[k : k + CHUNK]) for k in range(0, flat.size, CHUNK)]
    old = np.union1d(np.zeros(1, labels.dtype), np.concatenate([flat[:0], *parts]))
    return Relabelled(_look_up(labels, old, np.arange(old.size)), old.astype(np.uint32))


def remove_small(labels: npt.NDArray[np.integer], *, min_voxels: int) -> UInt32:
    """Return labels without the objects of fewer voxels; the other ids stay."""
    _check_ids(labels)
    old, counts = np.unique(labels, return_counts=True)
    return _look_up(labels, old, np.where(counts >= min_voxels, old, 0))


def scattered_ids(labels: npt.NDArray[np.integer]) -> UInt32:
    """Return the ids that are more than one face-connected piece, sorted."""
    compact, old = relabel(labels)
    if compact.size == 0:
        return old[:0]
    scattered = [
        old[number]
        for number, box in enumerate(ndimage.find_objects(compact.astype(np.int64)), start=1)
        if ndimage.label(compact[box] == number)[1] > 1
    ]
    return np.array(scattered, np.uint32)


def _check_ids(labels: npt.NDArray[np.integer]) -> None:
    if labels.dtype.kind not in "ui":
        raise TypeError(f"labels are whole numbers; found dtype {labels.dtype}")
    if labels.size and (int(labels.min()) < 0 or int(labels.max()) > np.iinfo(np.uint32).max):
        raise ValueError(
            f"label ids lie between 0 and 2**32 - 1; found {labels.min()} to {labels.max()}"
        )


def _look_up(
    labels: npt.NDArray[np.integer],
    old: npt.NDArray[np.integer],
    new: npt.NDArray[np.integer],
) -> UInt32:
    """Replace every id of the sorted list `old` by its partner in `new`."""
    result = np.empty(labels.size, np.uint32)
    flat = labels.ravel()
    for start in range(0, flat.size, CHUNK):
        part = slice(start, start + CHUNK)
        result[part] = new[np.searchsorted(old, flat[part])]
    return result.reshape(labels.shape)
