"""One sparse table of overlaps between two label volumes, filled slice by slice."""

from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit

__all__ = ["OverlapTable", "as_ids", "overlap_table", "pair_counts"]

Bool: TypeAlias = npt.NDArray[np.bool_]
Float64: TypeAlias = npt.NDArray[np.float64]
Int64: TypeAlias = npt.NDArray[np.int64]
UInt32: TypeAlias = npt.NDArray[np.uint32]
UInt64: TypeAlias = npt.NDArray[np.uint64]
Labels: TypeAlias = npt.NDArray[np.integer[Any]]
Brightness: TypeAlias = npt.NDArray[np.generic]

PENDING = 1_000_000  # rows of the running table before they are summed up
SHIFT = np.uint64(32)
LOW = np.uint64(2**32 - 1)


class OverlapTable(NamedTuple):
    """Sizes of all objects and of all their overlaps, in voxels."""

    truth_ids: UInt32
    """(n,) sorted, without 0."""
    truth_sizes: Int64
    """(n,)"""
    predicted_ids: UInt32
    """(m,) sorted, without 0."""
    predicted_sizes: Int64
    """(m,)"""
    truth_index: Int64
    """(k,) row of `truth_ids`, for each overlapping pair."""
    predicted_index: Int64
    """(k,) row of `predicted_ids`."""
    voxels: Int64
    """(k,) common voxels, positive."""
    truth_centers: Float64
    """(n, 3) mean index along z, y, x; z counts the slices as they came."""
    predicted_centers: Float64
    """(m, 3)"""
    truth_on_border: Bool
    """(n,) whether it touches a face of the volume."""
    predicted_on_border: Bool
    """(m,)"""
    truth_brightness: Float64 | None = None
    """(n,) mean of the image inside, if there was one."""
    predicted_brightness: Float64 | None = None
    """(m,)"""

    @property
    def iou(self) -> Float64:
        """(k,) intersection over union of each overlapping pair."""
        union = (
            self.truth_sizes[self.truth_index]
            + self.predicted_sizes[self.predicted_index]
            - self.voxels
        )
        return self.voxels / union

    def keep(self, truth: Bool, predicted: Bool) -> "OverlapTable":
        """Return the table of some objects; sizes stay those of whole objects.

        Parameters
        ----------
        truth, predicted : (n,), (m,)
            Which to keep.
        """
        pairs = truth[self.truth_index] & predicted[self.predicted_index]
        bright = (self.truth_brightness, self.predicted_brightness)
        return OverlapTable(
            self.truth_ids[truth],
            self.truth_sizes[truth],
            self.predicted_ids[predicted],
            self.predicted_sizes[predicted],
            (np.cumsum(truth) - 1)[self.truth_index[pairs]],
            (np.cumsum(predicted) - 1)[self.predicted_index[pairs]],
            self.voxels[pairs],
            self.truth_centers[truth],
            self.predicted_centers[predicted],
            self.truth_on_border[truth],
            self.predicted_on_border[predicted],
            None if bright[0] is None else bright[0][truth],
            None if bright[1] is None else bright[1][predicted],
        )


class _Rows(NamedTuple):
    """Sums over the voxels of each pair of ids; the pair is one number, truth in the high half."""

    keys: UInt64
    sums: Int64
    """(k, 5) voxels, z, y, x, voxels on the border."""
    light: Float64


def as_ids(labels: Labels) -> UInt32:
    """Return label ids as contiguous uint32.

    Raises
    ------
    TypeError
        If `labels` are not whole numbers.
    ValueError
        If an id is negative or above 2**32 - 1.
    """
    if labels.dtype.kind not in "ui":
        raise TypeError(f"labels are whole numbers; found dtype {labels.dtype}")
    wide = labels.dtype.kind == "i" or labels.dtype.itemsize > 4
    if wide and labels.size and (int(labels.min()) < 0 or int(labels.max()) > int(LOW)):
        raise ValueError(
            f"label ids lie between 0 and 2**32 - 1; found {labels.min()} to {labels.max()}"
        )
    return np.ascontiguousarray(labels, np.uint32).reshape(labels.shape)


def overlap_table(
    slices: Iterable[tuple[Labels, Labels]], *, image: Iterable[Brightness] | None = None
) -> OverlapTable:
    """Count the common voxels of true and predicted objects.

    Parameters
    ----------
    slices
        Pairs (truth, prediction) of equal shape: the slices of two volumes, one after the other,
        or once the two whole volumes.  Whole non-negative numbers up to 2**32 - 1.
    image
        The same slices of an image; the mean brightness of every object is taken from it.

    Raises
    ------
    TypeError
        If labels are not whole numbers.
    ValueError
        If two shapes differ, an id is negative or above 2**32 - 1, or there are fewer slices of
        the image than of the labels.
    """
    parts: list[_Rows] = [_NOTHING]
    pending, z = 0, 0
    last: tuple[UInt32, UInt32] | None = None
    images: Iterator[Brightness | None] = repeat(None) if image is None else iter(image)
    for truth, prediction in slices:
        for a, b, light in _planes(truth, prediction, images, wanted=image is not None):
            rows = _rows_of_slice(a, b, light, z=z)
            parts.append(rows)
            last, pending, z = (a, b), pending + rows.keys.size, z + 1
        if pending > PENDING:
            parts, pending = [_sum_up(*map(np.concatenate, zip(*parts, strict=True)))], 0
    rows = _sum_up(*map(np.concatenate, zip(*parts, strict=True)))
    nothing = np.empty(0, np.uint32)
    faces = (nothing, nothing) if last is None else (np.unique(last[0]), np.unique(last[1]))
    return _table(rows, faces, with_light=image is not None)


def pair_counts(first: UInt32, second: UInt32) -> tuple[Int64, Int64, Int64]:
    """Return the overlapping pairs of two slices (Y, X): first id, second id, common pixels.

    Sorted by first, then by second id; 0 is left out.
    """
    keys, starts = _pair_runs(first, second)
    lengths = np.diff(starts, append=first.size)
    both = (keys >> SHIFT > 0) & (keys & LOW > 0)
    keys, lengths = keys[both], lengths[both]
    order = np.argsort(keys)
    keys = keys[order]
    heads = _heads(keys)
    counts = np.add.reduceat(lengths[order], heads) if heads.size else lengths
    keys = keys[heads]
    return (keys >> SHIFT).astype(np.int64), (keys & LOW).astype(np.int64), counts


def _planes(
    truth: Labels, prediction: Labels, images: Iterator[Brightness | None], *, wanted: bool
) -> Iterator[tuple[UInt32, UInt32, Float64 | None]]:
    """Yield two-dimensional slices of what came, whatever its dimensions."""
    if truth.shape != prediction.shape:
        raise ValueError(
            f"truth and prediction differ in shape: {truth.shape} and {prediction.shape}"
        )
    light = next(images, None)
    if wanted and (light is None or light.shape != truth.shape):
        found = "nothing more" if light is None else light.shape
        raise ValueError(f"the image has the shape of the labels, {truth.shape}; found {found}")
    plane = (1, *truth.shape)[-2:]
    shape = (int(np.prod(truth.shape[:-2], dtype=np.int64)), *plane)
    stacks = (as_ids(truth).reshape(shape), as_ids(prediction).reshape(shape))
    lights = [None] * shape[0] if light is None else light.astype(np.float64).reshape(shape)
    yield from zip(*stacks, lights, strict=True)


def _rows_of_slice(truth: UInt32, prediction: UInt32, light: Float64 | None, *, z: int) -> _Rows:
    if truth.size == 0:
        return _NOTHING
    n_rows, width = truth.shape
    keys, starts = _pair_runs(truth, prediction)
    lengths = np.diff(starts, append=truth.size)
    y, x = np.divmod(starts, width)
    outer = (y == 0) | (y == n_rows - 1) | (x == 0) | (x + lengths == width) | (z == 0)
    sums = [lengths, lengths * z, lengths * y, lengths * x + lengths * (lengths - 1) // 2, outer]
    lit = np.zeros(keys.size) if light is None else np.add.reduceat(light.ravel(), starts)
    inside = keys > 0
    return _sum_up(keys[inside], np.stack(sums, axis=1)[inside].astype(np.int64), lit[inside])


def _sum_up(keys: UInt64, sums: Int64, light: Float64) -> _Rows:
    """Return the different keys, sorted, and what belongs to each."""
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    heads = _heads(keys)
    if heads.size == 0:
        return _NOTHING
    return _Rows(
        keys[heads],
        np.add.reduceat(sums[order], heads, axis=0),
        np.add.reduceat(light[order], heads),
    )


def _heads(keys: UInt64) -> Int64:
    """Return where each different key of a sorted list begins."""
    return np.flatnonzero(np.diff(keys, prepend=~keys[:1]) != 0)


def _table(rows: _Rows, last: tuple[UInt32, UInt32], *, with_light: bool) -> OverlapTable:
    truth, predicted = (rows.keys >> SHIFT).astype(np.uint32), (rows.keys & LOW).astype(np.uint32)
    sides: list[tuple[UInt32, Int64, Float64, Bool, Float64 | None]] = []
    for ids, face in zip((truth, predicted), last, strict=True):
        rows_in = ids > 0
        own, index = np.unique(ids[rows_in], return_inverse=True)
        sums = [np.bincount(index, column, own.size) for column in rows.sums[rows_in].T]
        sizes = np.bincount(index, rows.sums[rows_in, 0], own.size)
        centers = np.stack(sums[1:4], axis=1) / sizes[:, None]
        light = np.bincount(index, rows.light[rows_in], own.size) / sizes
        sides.append((own, sizes.astype(np.int64), centers, (sums[4] > 0) | np.isin(own, face),
                      light if with_light else None))  # fmt: skip
    (own, sizes, centers, outer, lit), (own_p, sizes_p, centers_p, outer_p, lit_p) = sides
    both = (truth > 0) & (predicted > 0)
    return OverlapTable(
        own,
        sizes,
        own_p,
        sizes_p,
        np.searchsorted(own, truth[both]).astype(np.int64),
        np.searchsorted(own_p, predicted[both]).astype(np.int64),
        rows.sums[both, 0],
        centers,
        centers_p,
        outer,
        outer_p,
        lit,
        lit_p,
    )


_NOTHING = _Rows(np.empty(0, np.uint64), np.empty((0, 5), np.int64), np.empty(0))


@njit(cache=True, nogil=True)
def _pair_runs(first: UInt32, second: UInt32) -> tuple[UInt64, Int64]:
    """Return the pairs of ids along rows, equal neighbours taken together, and where each begins.

    Labels are constant along most of a row: to sort runs is ten times less than to sort voxels.
    """
    n_rows, width = first.shape
    n = n_rows if width else 0
    for y in range(n_rows):
        for x in range(1, width):
            n += (first[y, x] != first[y, x - 1]) | (second[y, x] != second[y, x - 1])
    keys, starts = np.empty(n, np.uint64), np.empty(n, np.int64)
    n = 0
    for y in range(n_rows):
        for x in range(width):
            begins = x == 0 or first[y, x] != first[y, x - 1] or second[y, x] != second[y, x - 1]
            if begins:
                keys[n] = (np.uint64(first[y, x]) << np.uint64(32)) | np.uint64(second[y, x])
                starts[n] = y * width + x
                n += 1
    return keys, starts
