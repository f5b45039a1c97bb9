"""One trace per nucleus from the rois of all planes: the 3-D calibration."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, get_args

import numba
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from clgkit.traces.rois import Float64, Int64, UInt32

Traces: TypeAlias = npt.NDArray[np.floating[Any]]
Weights: TypeAlias = Literal["area", "mean", "largest"]


class MergePlan(NamedTuple):
    """Which rois make which neuron, and with what weight."""

    nucleus: UInt32
    """(N,) label id of each neuron, ascending."""
    rois: Int64
    """(kept,) row numbers of the rois, neuron after neuron, planes in order."""
    starts: Int64
    """(N + 1,) neuron ``i`` is made of ``rois[starts[i]:starts[i + 1]]``."""
    weight: Float64
    """(kept,) weight of each roi; those of one neuron need not add up to 1."""
    n_planes: Int64
    """(N,) rois, that is planes, of each neuron."""
    area_px: Int64
    """(N,) pixels of these rois together."""
    dropped: Int64
    """Row numbers of the rois that are too small, ascending."""
    weights: str
    """The rule: ``area``, ``mean`` or ``largest``."""

    @property
    def naive_ratio(self) -> float:
        """All rois per neuron: mixes double counting with small-roi removal; NaN if N = 0."""
        return _ratio(self.rois.size + self.dropped.size, self.nucleus.size)

    @property
    def fair_ratio(self) -> float:
        """Rois above the minimum area per neuron: how often one is counted; NaN if N = 0."""
        return _ratio(self.rois.size, self.nucleus.size)


def plan_merge(
    nucleus: npt.NDArray[Any],
    area_px: npt.NDArray[Any],
    *,
    weights: Weights = "area",
    min_area_px: int = 4,
) -> MergePlan:
    """Decide which rois make which neuron.

    Parameters
    ----------
    nucleus : (R,)
        Label id of every roi of every plane, the planes one after another.
    area_px : (R,)
        Pixels of every roi.
    weights
        ``area`` weighs by pixels, so that the neuron is the mean of the pooled pixels;
        ``mean`` weighs all planes alike, as the original does; ``largest`` takes the
        largest roi alone, of equal ones that of the earlier plane.
    min_area_px
        Rois must have *more* pixels than this, on their own plane.

    Returns
    -------
    MergePlan
        For `merge`; valid with no roi at all.

    Raises
    ------
    ValueError
        If the arrays differ in length, an id is not in 1 … 2^32 - 1, an area is not
        positive, or `weights` is unknown.
    """
    ids, areas = np.asarray(nucleus), np.asarray(area_px)
    _check_rois(ids, areas)
    if weights not in get_args(Weights):
        raise ValueError(f"weights is {weights!r}, but area, mean or largest is wanted.")
    kept = np.flatnonzero(areas > min_area_px)
    rois = kept[np.argsort(ids[kept], kind="stable")]
    names, first = np.unique(ids[rois], return_index=True)
    starts = np.append(first, rois.size).astype(np.int64)
    area = areas[rois].astype(np.int64)
    n_planes = np.diff(starts)
    owner = np.repeat(np.arange(names.size), n_planes)
    total = np.zeros(names.size, np.int64)
    np.add.at(total, owner, area)
    return MergePlan(
        nucleus=names.astype(np.uint32),
        rois=rois,
        starts=starts,
        weight=_weigh(weights, area, owner),
        n_planes=n_planes,
        area_px=total,
        dropped=np.flatnonzero(areas <= min_area_px),
        weights=weights,
    )


def merge(traces: Traces, plan: MergePlan) -> Traces:
    """Merge the traces of rois into traces of neurons.

    Parameters
    ----------
    traces : (R, T)
        Trace of every roi, in the order that `plan_merge` was told; float32 or float64.
        NaN frames of a roi are left out of that frame's mean.
    plan
        From `plan_merge`.

    Returns
    -------
    (N, T)
        Of the dtype of `traces`; NaN where no roi with a weight has a number.

    Raises
    ------
    TypeError
        If `traces` are not float32 or float64.
    ValueError
        If `traces` is not (R, T) with the R of the plan.

    Notes
    -----
    Sums are float64.  Only ``mean`` adds in the dtype of `traces`, plane after plane:
    that is the arithmetic of the CLG notebook, bit for bit.
    """
    rows = np.asarray(traces)
    if rows.dtype.newbyteorder("=") not in (np.float32, np.float64):
        raise TypeError(f"The traces are of type {rows.dtype}, but float32 or 64 is wanted.")
    n_rois = plan.rois.size + plan.dropped.size
    if rows.ndim != 2 or len(rows) != n_rois:
        raise ValueError(f"The traces have shape {rows.shape}, but the plan has {n_rois} rois.")
    rows = np.ascontiguousarray(rows, rows.dtype.newbyteorder("="))
    out = np.empty((plan.nucleus.size, rows.shape[1]), rows.dtype)
    sums = np.empty(rows.shape[1], rows.dtype if plan.weights == "mean" else np.float64)
    _merge(rows, (plan.rois, plan.starts), plan.weight, sums, out)
    return out


def _check_rois(ids: npt.NDArray[Any], areas: npt.NDArray[Any]) -> None:
    if ids.ndim != 1 or ids.shape != areas.shape:
        raise ValueError(f"nucleus has shape {ids.shape} and area_px {areas.shape}: both are (R,).")
    if ids.size and not {ids.dtype.kind, areas.dtype.kind} <= {"i", "u"}:
        raise ValueError(f"nucleus and area_px are {ids.dtype} and {areas.dtype}, not integers.")
    if ids.size and not (ids.min() > 0 and ids.max() < 1 << 32):
        raise ValueError(f"Ids lie in {ids.min()} … {ids.max()}, but 1 … 2^32 - 1 is wanted.")
    if areas.size and areas.min() < 1:
        raise ValueError(f"A roi has {areas.min()} pixels: leave out rois without pixels.")


def _weigh(weights: Weights, area: Int64, owner: Int64) -> Float64:
    if weights == "area":
        return area.astype(np.float64)
    if weights == "mean":
        return np.ones(area.size)
    order = np.lexsort((np.arange(area.size), -area, owner))
    chosen = np.zeros(area.size)
    chosen[order[np.append(True, np.diff(owner) != 0)[: area.size]]] = 1.0
    return chosen


def _ratio(rois: int, neurons: int) -> float:
    return rois / neurons if neurons else math.nan


@numba.njit(cache=True, nogil=True)
def _merge(
    rows: npt.NDArray[Any],
    plan: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
    weight: npt.NDArray[np.float64],
    sums: npt.NDArray[Any],
    out: npt.NDArray[Any],
) -> None:
    """Average segments of rows; a float32 `sums` rounds after every addition."""
    rois, starts = plan
    weights = np.empty(sums.size)
    for neuron in range(out.shape[0]):
        if starts[neuron + 1] - starts[neuron] == 1:
            out[neuron] = rows[rois[starts[neuron]]]
            continue
        sums[:] = 0
        weights[:] = 0.0
        for i in range(starts[neuron], starts[neuron + 1]):
            if weight[i] > 0:
                _add_row(rows[rois[i]], weight[i], sums, weights)
        for t in range(sums.size):
            out[neuron, t] = sums[t] / weights[t] if weights[t] > 0 else np.nan


@numba.njit(cache=True, nogil=True)
def _add_row(
    row: npt.NDArray[Any], share: float, sums: npt.NDArray[Any], weights: npt.NDArray[np.float64]
) -> None:
    """Add the finite part of a row to a weighted sum."""
    for t in range(sums.size):
        if row[t] == row[t]:  # not NaN
            sums[t] += share * row[t]
            weights[t] += share
