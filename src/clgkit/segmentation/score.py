"""Compare labels with the truth, object by object, from one sparse table of overlaps."""

from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import linear_sum_assignment

from clgkit.segmentation.overlap import OverlapTable, overlap_table

__all__ = [
    "Matches",
    "OverlapTable",
    "Score",
    "ignore_border",
    "match_labels",
    "overlap_table",
    "score_labels",
]

Bool: TypeAlias = npt.NDArray[np.bool_]
Float64: TypeAlias = npt.NDArray[np.float64]
Int64: TypeAlias = npt.NDArray[np.int64]
UInt32: TypeAlias = npt.NDArray[np.uint32]
Labels: TypeAlias = npt.NDArray[np.integer[Any]]

COVERS = 0.15
HOLDS = 0.5


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
    seg: float
    """Mean over the true objects of the IoU with the prediction that covers more than half."""
    vi_split: float
    """Variation of information, in bits: what the truth leaves open about the prediction."""
    vi_merge: float
    """The same the other way round; the sum of both is the distance."""
    rand_error: float
    """Adapted Rand error: 1 minus the F1 of pairs of voxels that belong together."""


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
    table = _as_table(truth, prediction)
    kept = matching_pairs(table, iou=iou)
    rows, columns = table.truth_index[kept], table.predicted_index[kept]
    return Matches(table.truth_ids[rows], table.predicted_ids[columns], table.iou[kept])


def matching_pairs(table: OverlapTable, *, iou: float) -> Int64:
    """Return which of the overlapping pairs of a table are matches, sorted by true object."""
    if not 0 < iou <= 1:
        raise ValueError(f"the IoU of a match lies above 0 and up to 1; found {iou}")
    good = np.flatnonzero(table.iou >= iou)
    rows, columns, values = table.truth_index[good], table.predicted_index[good], table.iou[good]
    kept = _greedy(rows, columns, values) if iou >= 0.5 else _assign(rows, columns, values)
    return good[kept[np.argsort(rows[kept], kind="stable")]]


def score_labels(
    truth: Labels | OverlapTable,
    prediction: Labels | None = None,
    *,
    iou: float = 0.5,
    border: Literal["keep", "ignore"] = "keep",
) -> Score:
    """Score predicted objects against the true ones.

    Parameters
    ----------
    truth, prediction, iou
        As in :func:`match_labels`.
    border
        Whether objects on the border of the volume count; see :func:`ignore_border`.

    Notes
    -----
    With no objects in both every quality is 1; with none in one of them every quality is 0, and
    `count_error` is -1 or infinite.  Variation of information and adapted Rand error look at the
    voxels of true objects; the background of the prediction counts there as one object, as in
    scikit-image.  The Rand error follows Arganda-Carreras et al. (2015) without the small-sample
    term of scikit-image (pairs of a voxel with itself count).
    """
    table = _as_table(truth, prediction)
    if border == "ignore":
        table = ignore_border(table, iou=iou)
    matched = table.iou[matching_pairs(table, iou=iou)]
    n, m, hits = table.truth_ids.size, table.predicted_ids.size, matched.size
    nothing = 1.0 if n == m == 0 else 0.0
    total = float(matched.sum())
    main = main_parts(table)
    split = np.bincount(table.truth_index[large_parts(table)], minlength=n) >= 2
    merged = np.bincount(table.predicted_index[main], minlength=m) >= 2
    vi_split, vi_merge, rand_error = _information(table)
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
        over=float(split.sum()) / n if n else 0.0,
        under=float(merged.sum()) / m if m else 0.0,
        seg=float(table.iou[main].sum()) / n if n else nothing,
        vi_split=vi_split,
        vi_merge=vi_merge,
        rand_error=rand_error,
    )


def ignore_border(table: OverlapTable, *, iou: float = 0.5) -> OverlapTable:
    """Return the table without true objects on the border and what was found of them.

    A prediction stays if it matches a true object that stays, whatever it touches; it goes if it
    matches one that goes, or if it matches none and touches the border itself.
    """
    matched = matching_pairs(table, iou=iou)
    truth = ~table.truth_on_border
    predicted = ~table.predicted_on_border
    predicted[table.predicted_index[matched]] = truth[table.truth_index[matched]]
    return table.keep(truth, predicted)


def large_parts(table: OverlapTable) -> Bool:
    """Tell of each overlapping pair whether it is more than 15 % of the true object."""
    return np.asarray(table.voxels > COVERS * table.truth_sizes[table.truth_index])


def main_parts(table: OverlapTable) -> Bool:
    """Tell of each overlapping pair whether it is more than half of the true object."""
    return np.asarray(table.voxels > HOLDS * table.truth_sizes[table.truth_index])


def _information(table: OverlapTable) -> tuple[float, float, float]:
    """Return both halves of the variation of information and the adapted Rand error."""
    n, m = table.truth_ids.size, table.predicted_ids.size
    covered = np.bincount(table.truth_index, table.voxels, n)
    missed = table.truth_sizes - covered
    held = np.append(np.bincount(table.predicted_index, table.voxels, m), missed.sum())
    total = float(table.truth_sizes.sum())
    if total == 0:
        return 0.0, 0.0, 1.0 if m else 0.0
    joint, alone, found = (x[x > 0] / total for x in (
        np.append(table.voxels, missed), table.truth_sizes, held,
    ))  # fmt: skip
    together = float((joint * np.log2(joint)).sum())
    split = float((alone * np.log2(alone)).sum()) - together
    merge = float((found * np.log2(found)).sum()) - together
    rand = 1 - 2 * float((joint**2).sum()) / float((alone**2).sum() + (found**2).sum())
    return max(split, 0.0), max(merge, 0.0), rand


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
