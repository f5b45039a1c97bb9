"""Compare labels with the truth, object by object, from one sparse table of overlaps."""

from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import linear_sum_assignment

__all__ = ["Matches", "OverlapTable", "Score", "match_labels", "overlap_table", "score_labels"]

Float64: TypeAlias = npt.NDArray[np.float64]
Int64: TypeAlias = npt.NDArray[np.int64]
UInt32: TypeAlias = npt.NDArray[np.uint32]
UInt64: TypeAlias = npt.NDArray[np.uint64]
Labels: TypeAlias = npt.NDArray[np.integer]

PENDING = 4_000_000  # rows of the running table before they are summed up
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

    @property
    def iou(self) -> Float64:
        """(k,) intersection over union of each overlapping pair."""
        union = (
            self.truth_sizes[self.truth_index]
            + self.predicted_sizes[self.predicted_index]
            - self.voxels
        )
        return self.voxels / union


class Matches(NamedTuple):
    """Pairs of a true and a predicted object, each used once; sorted by true id."""

    truth_ids: UInt32
    predicted_ids: UInt32
    iou: Float64


class Score(NamedTuple):
    """How well labels agree with the truth."""

    n_truth: int
    n_predicted: int
    true_positives: int
    """Pairs with enough overlap, one to one."""
    precision: float
    recall: float
    f1: float
    ap: float
    """TP / (TP + FP + FN), as Cellpose and StarDist use the word."""
    pq: float
    """Panoptic quality: the sum of matched IoU over TP + FP/2 + FN/2."""
    mean_matched_iou: float
    count_error: float
    """Predicted over true number of objects, minus 1."""
    over: float
    """Share of true objects that two or more predicted ones cover by more than 15 % each."""
    under: float
    """Share of predicted objects that hold more than half of two or more true ones."""


def overlap_table(slices: Iterable[tuple[Labels, Labels]]) -> OverlapTable:
    """Count the common voxels of true and predicted objects.

    Parameters
    ----------
    slices
        Pairs (truth, prediction) of equal shape: the slices of two volumes, one after the other,
        or once the two whole volumes.  Whole non-negative numbers up to 2**32 - 1.

    Raises
    ------
    TypeError
        If labels are not whole numbers.
    ValueError
        If two shapes differ, or an id is negative or above 2**32 - 1.
    """
    keys: list[UInt64] = []
    counts: list[Int64] = []
    pending = 0
    for truth, prediction in slices:
        key, count = _count_pairs(truth, prediction)
        keys.append(key)
        counts.append(count)
        pending += key.size
        if pending > PENDING:
            key, count = _sum_up(np.concatenate(keys), np.concatenate(counts))
            keys, counts, pending = [key], [count], 0
    if not keys:
        keys, counts = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    return _table(*_sum_up(np.concatenate(keys), np.concatenate(counts)))


def match_labels(
    truth: Labels | OverlapTable, prediction: Labels | None = None, *, iou: float = 0.5
) -> Matches:
    """Pair true with predicted objects, one to one, by intersection over union.

    Parameters
    ----------
    truth, prediction
        Two label arrays of equal shape, or an :func:`overlap_table` alone.
    iou
        Smallest overlap of a pair, above 0, up to 1.

    Notes
    -----
    From 0.5 on a pair is the best choice of both; at 0.5 exactly, two halves of one object tie and
    the lower id is taken.  Below 0.5 the largest number of pairs is looked for, then the largest
    sum of IoU, by an assignment within each group of touching pairs.
    """
    if not 0 < iou <= 1:
        raise ValueError(f"the IoU of a match lies above 0 and up to 1; found {iou}")
    table = _as_table(truth, prediction)
    good = np.flatnonzero(table.iou >= iou)
    rows, columns, values = table.truth_index[good], table.predicted_index[good], table.iou[good]
    kept = _greedy(rows, columns, values) if iou >= 0.5 else _assign(rows, columns, values)
    kept = kept[np.argsort(rows[kept], kind="stable")]
    return Matches(table.truth_ids[rows[kept]], table.predicted_ids[columns[kept]], values[kept])


def score_labels(
    truth: Labels | OverlapTable, prediction: Labels | None = None, *, iou: float = 0.5
) -> Score:
    """Score predicted objects against the true ones.

    Parameters
    ----------
    truth, prediction, iou
        As in :func:`match_labels`.

    Notes
    -----
    With no objects in both every quality is 1; with none in one of them every quality is 0, and
    `count_error` is -1 or infinite.
    """
    table = _as_table(truth, prediction)
    matched = match_labels(table, iou=iou).iou
    n, m, hits = table.truth_ids.size, table.predicted_ids.size, matched.size
    nothing = 1.0 if n == m == 0 else 0.0
    total = float(matched.sum())
    over = np.bincount(
        table.truth_index[table.voxels > 0.15 * table.truth_sizes[table.truth_index]], minlength=n
    )
    under = np.bincount(
        table.predicted_index[table.voxels > 0.5 * table.truth_sizes[table.truth_index]],
        minlength=m,
    )
    return Score(
        n_truth=n,
        n_predicted=m,
        true_positives=hits,
        precision=hits / m if m else nothing,
        recall=hits / n if n else nothing,
        f1=2 * hits / (n + m) if n + m else 1.0,
        ap=hits / (n + m - hits) if n + m else 1.0,
        pq=2 * total / (n + m) if n + m else 1.0,
        mean_matched_iou=total / hits if hits else nothing,
        count_error=m / n - 1 if n else (float("inf") if m else 0.0),
        over=float((over >= 2).sum()) / n if n else 0.0,
        under=float((under >= 2).sum()) / m if m else 0.0,
    )


def _as_table(truth: Labels | OverlapTable, prediction: Labels | None) -> OverlapTable:
    if isinstance(truth, OverlapTable):
        return truth
    if prediction is None:
        raise TypeError("two label arrays or one overlap table are wanted; found one array")
    if truth.shape != prediction.shape:
        raise ValueError(
            f"truth and prediction differ in shape: {truth.shape} and {prediction.shape}"
        )
    if truth.ndim < 3:
        return overlap_table([(truth, prediction)])
    return overlap_table(zip(truth, prediction, strict=True))


def _count_pairs(truth: Labels, prediction: Labels) -> tuple[UInt64, Int64]:
    """Return the pairs of ids in one slice as single numbers, and their voxels."""
    if truth.shape != prediction.shape:
        raise ValueError(
            f"truth and prediction differ in shape: {truth.shape} and {prediction.shape}"
        )
    key = (_wide(truth) << SHIFT) | _wide(prediction)
    if key.size == 0:
        return key, np.empty(0, np.int64)
    # Labels are constant along most of a row: sorting runs instead of voxels is ten times less.
    starts = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
    lengths = np.diff(starts, append=key.size).astype(np.int64)
    runs = key[starts]
    return _sum_up(runs[runs > 0], lengths[runs > 0])


def _wide(labels: Labels) -> UInt64:
    if labels.dtype.kind not in "ui":
        raise TypeError(f"labels are whole numbers; found dtype {labels.dtype}")
    if labels.size and (int(labels.min()) < 0 or int(labels.max()) > int(LOW)):
        raise ValueError(
            f"label ids lie between 0 and 2**32 - 1; found {labels.min()} to {labels.max()}"
        )
    return labels.ravel().astype(np.uint64)


def _sum_up(keys: UInt64, counts: Int64) -> tuple[UInt64, Int64]:
    """Return the different keys, sorted, and the sum of the counts of each."""
    if keys.size == 0:
        return keys, counts
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    return keys[starts], np.add.reduceat(counts, starts)


def _table(keys: UInt64, counts: Int64) -> OverlapTable:
    truth, predicted = (keys >> SHIFT).astype(np.uint32), (keys & LOW).astype(np.uint32)
    truth_ids, truth_sizes = _sizes(truth, counts)
    predicted_ids, predicted_sizes = _sizes(predicted, counts)
    both = (truth > 0) & (predicted > 0)
    return OverlapTable(
        truth_ids,
        truth_sizes,
        predicted_ids,
        predicted_sizes,
        np.searchsorted(truth_ids, truth[both]).astype(np.int64),
        np.searchsorted(predicted_ids, predicted[both]).astype(np.int64),
        counts[both],
    )


def _sizes(ids: UInt32, counts: Int64) -> tuple[UInt32, Int64]:
    keys, sizes = _sum_up(ids[ids > 0].astype(np.uint64), counts[ids > 0])
    return keys.astype(np.uint32), sizes


def _greedy(rows: Int64, columns: Int64, values: Float64) -> Int64:
    """Take pairs from the best down.  For IoU >= 0.5 no choice costs another pair."""
    order = np.lexsort((columns, rows, -values))
    used_rows: set[int] = set()
    used_columns: set[int] = set()
    kept = []
    for pair in order:
        row, column = int(rows[pair]), int(columns[pair])
        if row not in used_rows and column not in used_columns:
            used_rows.add(row)
            used_columns.add(column)
            kept.append(pair)
    return np.array(kept, np.int64)


def _assign(rows: Int64, columns: Int64, values: Float64) -> Int64:
    """Take the most pairs, then the largest sum, group by group of the overlap graph."""
    if rows.size == 0:
        return np.empty(0, np.int64)
    n, m = int(rows.max()) + 1, int(columns.max()) + 1
    graph = sparse.coo_array((np.ones(rows.size), (rows, n + columns)), shape=(n + m, n + m))
    group = sparse.csgraph.connected_components(graph, directed=False)[1][rows]
    order = np.argsort(group, kind="stable")
    kept: list[Int64] = []
    for pairs in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        own_rows, i = np.unique(rows[pairs], return_inverse=True)
        own_columns, j = np.unique(columns[pairs], return_inverse=True)
        gain = np.zeros((own_rows.size, own_columns.size))
        # One more pair is worth more than all the IoU of a group.
        gain[i, j] = values[pairs] + min(gain.shape) + 1
        where = np.full(gain.shape, -1)
        where[i, j] = pairs
        chosen = where[linear_sum_assignment(gain, maximize=True)]
        kept.extend(chosen[chosen >= 0])
    return np.array(kept, np.int64)
