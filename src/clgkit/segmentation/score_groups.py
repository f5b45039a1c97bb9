"""Scores by brightness and depth, errors along z, and centres instead of voxels."""

from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.spatial import cKDTree

from clgkit.segmentation.overlap import OverlapTable
from clgkit.segmentation.score import large_parts, main_parts, matching_pairs

__all__ = [
    "AxialErrors",
    "CenterScore",
    "GroupScore",
    "axial_errors",
    "score_by_brightness",
    "score_by_depth",
    "score_centers",
]

Bool: TypeAlias = npt.NDArray[np.bool_]
Float64: TypeAlias = npt.NDArray[np.float64]
Int64: TypeAlias = npt.NDArray[np.int64]
Voxel: TypeAlias = tuple[float, float, float]


class GroupScore(NamedTuple):
    """How well the objects of one group were found."""

    low: float
    """Where the group begins: brightness, or slice."""
    high: float
    """Where it ends; the last group holds its end."""
    n_truth: int
    n_predicted: int
    recall: float
    """Share of the true objects of the group that are matched; NaN without any."""
    precision: float
    """Share of the predicted objects of the group that are matched; NaN without any."""
    mean_matched_iou: float
    """Over the matched true objects of the group; NaN without any."""


class AxialErrors(NamedTuple):
    """Splits and merges along z, as shares of all objects."""

    over: float
    """True objects whose parts lie above each other, over all true ones."""
    under: float
    """Predicted objects that hold true ones above each other, over all predicted ones."""


class CenterScore(NamedTuple):
    """How well centres agree, for truth that is points."""

    true_positives: int
    precision: float
    recall: float
    f1: float


def score_by_depth(
    table: OverlapTable, *, iou: float = 0.5, n_groups: int = 5
) -> tuple[GroupScore, ...]:
    """Score layers of equal thickness; an object belongs where its centre lies.

    Parameters
    ----------
    table
        From :func:`~clgkit.segmentation.overlap.overlap_table`.
    iou
        Smallest overlap of a match.
    n_groups
        How many layers between the first and the last centre.
    """
    depth, predicted = table.truth_centers[:, 0], table.predicted_centers[:, 0]
    everything = np.concatenate([depth, predicted])
    if everything.size == 0:
        return ()
    edges = np.linspace(everything.min(), everything.max(), n_groups + 1)
    return _by_groups(table, depth, predicted, edges=edges, iou=iou)


def score_by_brightness(
    table: OverlapTable, *, iou: float = 0.5, n_groups: int = 5
) -> tuple[GroupScore, ...]:
    """Score groups of equally many true objects, from the dimmest to the brightest.

    A prediction belongs to the group of its own mean brightness.  Parameters as in
    :func:`score_by_depth`.

    Raises
    ------
    ValueError
        If the table was made without an image.
    """
    truth, predicted = table.truth_brightness, table.predicted_brightness
    if truth is None or predicted is None:
        raise ValueError("the table knows no brightness; give overlap_table the image as well")
    if truth.size == 0:
        return ()
    edges = np.quantile(truth, np.linspace(0, 1, n_groups + 1))
    return _by_groups(table, truth, predicted, edges=edges, iou=iou)


def axial_errors(table: OverlapTable, *, voxel_um: Voxel) -> AxialErrors:
    """Count the splits and merges that happen along z rather than in the plane.

    The two largest parts of a split object, or the two true objects that a prediction holds most
    of, are compared: their centres lie farther apart along z than in the plane, in um.
    """
    size = np.asarray(voxel_um, np.float64)
    centers, predicted = table.truth_centers * size, table.predicted_centers * size
    large, main = large_parts(table), main_parts(table)
    whole, part, voxels = table.truth_index, table.predicted_index, table.voxels
    split = _two_largest(whole[large], part[large], voxels[large])
    merged = _two_largest(part[main], whole[main], voxels[main])
    n, m = table.truth_ids.size, table.predicted_ids.size
    return AxialErrors(
        _mostly_axial(split, predicted) / n if n else 0.0,
        _mostly_axial(merged, centers) / m if m else 0.0,
    )


def score_centers(truth_um: Float64, predicted_um: Float64, *, radius_um: float) -> CenterScore:
    """Match centres one to one, as many as possible, within a radius.

    Parameters
    ----------
    truth_um, predicted_um : (n, 3), (m, 3)
        Centres along z, y, x, in um.
    radius_um
        Largest distance of a match; a quarter of the diameter of a nucleus is usual.

    Raises
    ------
    ValueError
        If the radius is not positive.
    """
    if not radius_um > 0:
        raise ValueError(f"the radius of a match is positive; found {radius_um}")
    n, m = len(truth_um), len(predicted_um)
    hits = _most_pairs(truth_um, predicted_um, radius_um) if n and m else 0
    nothing = 1.0 if n == m == 0 else 0.0
    return CenterScore(
        hits,
        hits / m if m else nothing,
        hits / n if n else nothing,
        2 * hits / (n + m) if n + m else 1.0,
    )


def _most_pairs(first: Float64, second: Float64, radius: float) -> int:
    near: Any = cKDTree(first).query_ball_point(second, radius)
    rows = np.repeat(np.arange(len(second)), [len(found) for found in near])
    columns = np.array([k for found in near for k in found], np.int64)
    graph = sparse.csr_array(
        (np.ones(rows.size, np.int8), (rows, columns)), shape=(len(second), len(first))
    )
    pairs = sparse.csgraph.maximum_bipartite_matching(graph, perm_type="column")
    return int((pairs >= 0).sum())


def _by_groups(
    table: OverlapTable, truth: Float64, predicted: Float64, *, edges: Float64, iou: float
) -> tuple[GroupScore, ...]:
    pairs = matching_pairs(table, iou=iou)
    overlap = np.full(truth.size, np.nan)
    overlap[table.truth_index[pairs]] = table.iou[pairs]
    hit = np.zeros(predicted.size, np.bool_)
    hit[table.predicted_index[pairs]] = True
    inner = edges[1:-1]
    groups, groups_p = (np.searchsorted(inner, x, side="right") for x in (truth, predicted))
    found = []
    for k, (low, high) in enumerate(pairwise(edges.tolist())):
        own, own_p = overlap[groups == k], hit[groups_p == k]
        matched = own[~np.isnan(own)]
        n, m, hits = own.size, own_p.size, matched.size
        recall = hits / n if n else np.nan
        precision = float(own_p.mean()) if m else np.nan
        mean = float(matched.mean()) if hits else np.nan
        found.append(GroupScore(low, high, n, m, recall, precision, mean))
    return tuple(found)


def _two_largest(whole: Int64, part: Int64, voxels: Int64) -> Int64:
    """Return (k, 2): the two largest parts of every object that has as many."""
    order = np.lexsort((part, -voxels, whole))
    whole, part = whole[order], part[order]
    first = np.flatnonzero(np.diff(whole, prepend=-1) != 0)
    first = first[np.diff(first, append=whole.size) >= 2]
    return np.stack([part[first], part[first + 1]], axis=1)


def _mostly_axial(pairs: Int64, centers_um: Float64) -> int:
    offset = np.abs(centers_um[pairs[:, 0]] - centers_um[pairs[:, 1]])
    return int((offset[:, 0] > np.hypot(offset[:, 1], offset[:, 2])).sum())
