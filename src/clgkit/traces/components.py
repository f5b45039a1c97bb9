"""Principal components of traces, and denoising with them."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from scipy import linalg

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Float64: TypeAlias = npt.NDArray[np.float64]
Float32: TypeAlias = npt.NDArray[np.float32]
Mean: TypeAlias = Literal["project", "keep"]

PORTION_ROWS = 1024  # sums are made of portions of this size, however the rows arrive
EPSILON = float(np.finfo(np.float64).eps)


class Components(NamedTuple):
    """Principal components of n traces of T frames, the largest first."""

    mean: Float64
    """(T,) mean trace over cells, which was subtracted before."""
    vectors: Float64
    """(T, K) orthonormal columns; of each the largest entry is positive."""
    explained: Float64
    """(K,) share of the variance that each one explains."""
    n: int
    """Traces that were fitted."""


def fit_components(blocks: Iterable[npt.NDArray[Any]], *, variance: float = 0.95) -> Components:
    """Find the components that explain more than a share of the variance.

    Parameters
    ----------
    blocks
        Traces (n, T), block after block, read once; real numbers, all of one T.
        Dead traces (constant, NaN) are for the caller to leave out: a constant trace
        would take part like any other.
    variance
        K is the smallest number of components that explain strictly more than this
        share, as in scikit-learn; between 0 and 1.

    Returns
    -------
    Components
        K = 0 where all traces are equal.

    Raises
    ------
    ValueError
        If there is no trace, a block is not (n, T) with the T of the others or holds
        NaN or infinity, or `variance` is not between 0 and 1.

    Notes
    -----
    Cells are samples and frames are features, so the mean trace over cells is
    subtracted.  Traces are not standardised.  Sums are float64, of portions of fixed
    size in the order of the rows: cutting the rows into other blocks cannot change a
    bit.  Memory is one T x T matrix and its eigenvectors; with fewer than T traces, n x n.
    """
    if not 0 < variance < 1:
        raise ValueError(f"variance is {variance}, but a share between 0 and 1 is wanted.")
    portions = _portions(blocks)
    early: list[Float64] = []
    n = 0
    for portion in portions:
        early.append(portion)
        n += len(portion)
        if n >= portion.shape[1]:
            break
    if not n:
        raise ValueError("There is no trace: components need at least one.")
    if n < early[0].shape[1]:
        rows = np.concatenate(early)
        early.clear()
        return _fit_few(rows, variance)
    return _fit_many(chain(early, portions), early[0].mean(axis=0), variance)


def denoise(traces: npt.NDArray[Any], components: Components, *, mean: Mean = "project") -> Float32:
    """Keep of every trace what the components hold.

    Parameters
    ----------
    traces : (n, T)
        Any of the traces that were fitted, or others.
    components
        From `fit_components`.
    mean
        ``project`` (default) projects the trace as it is.  ``keep`` subtracts the mean
        over cells before and adds it back whole afterwards, as the original does:
        quiet neurons then share a residue of the mean and seem to correlate.

    Returns
    -------
    (n, T) float32
        In the units of the traces; computed in float64.

    Raises
    ------
    ValueError
        If `traces` is not (n, T) with the T of the components, or `mean` is unknown.
    """
    rows = _checked(traces, components, mean)
    if mean == "keep":
        kept = ((rows - components.mean) @ components.vectors) @ components.vectors.T
        return (kept + components.mean).astype(np.float32)
    return ((rows @ components.vectors) @ components.vectors.T).astype(np.float32)


def low_rank(
    traces: npt.NDArray[Any], components: Components, *, mean: Mean = "project"
) -> Float64:
    """Give every trace short coordinates in which correlations are those after denoising.

    Parameters
    ----------
    traces : (n, T)
        As in `denoise`.
    components, mean
        As in `denoise`.

    Returns
    -------
    (n, K) float64
        With ``keep`` (n, K + 1).  Not normalised, so that rows can be added up; divide
        each row by its norm, and ``Y @ Y.T`` is the Pearson correlation of the
        denoised traces.  A row of zeros is a trace of which nothing is left.

    Raises
    ------
    ValueError
        As `denoise`.
    """
    rows = _checked(traces, components, mean)
    vectors = components.vectors
    if mean == "keep":
        scores = (rows - components.mean) @ vectors
        scores = np.concatenate([scores, np.ones((len(rows), 1))], axis=1)
        basis = np.concatenate([vectors, components.mean[:, None]], axis=1)
    else:
        scores, basis = rows @ vectors, vectors
    triangle = np.linalg.qr(basis - basis.mean(axis=0)).R
    made: Float64 = scores @ triangle.T
    return made


def _checked(traces: npt.NDArray[Any], components: Components, mean: Mean) -> Float64:
    if mean not in get_args(Mean):
        raise ValueError(f"mean is {mean!r}, but project or keep is wanted.")
    rows = np.asarray(traces, np.float64, order="C")
    if rows.ndim != 2 or rows.shape[1] != components.mean.size:
        raise ValueError(
            f"The traces have shape {rows.shape}, but (n, {components.mean.size}) is wanted."
        )
    return rows


def _portions(blocks: Iterable[npt.NDArray[Any]]) -> Iterator[Float64]:
    """Cut the rows anew, into portions of fixed size; the last one may be smaller."""
    buffer: Float64 | None = None
    filled = n_seen = 0
    for block in blocks:
        rows = np.asarray(block, np.float64)
        if rows.ndim != 2 or rows.shape[1] == 0:
            raise ValueError(f"A block has shape {rows.shape}, but (n, T) is wanted.")
        if buffer is None:
            buffer = np.empty((PORTION_ROWS, rows.shape[1]))
        if rows.shape[1] != buffer.shape[1]:
            raise ValueError(f"A block has {rows.shape[1]} frames, the first {buffer.shape[1]}.")
        bad = ~np.isfinite(rows).all(axis=1)
        if bad.any():
            row = n_seen + int(np.argmax(bad))
            raise ValueError(f"Trace {row} holds NaN or infinity: leave dead traces out.")
        n_seen += len(rows)
        while len(rows):
            taken = rows[: PORTION_ROWS - filled]
            buffer[filled : filled + len(taken)] = taken
            filled += len(taken)
            rows = rows[len(taken) :]
            if filled == PORTION_ROWS:
                yield buffer.copy()
                filled = 0
    if buffer is not None and filled:
        yield buffer[:filled].copy()


def _fit_few(rows: Float64, variance: float) -> Components:
    """Fit fewer traces than frames, by their products with each other; changes `rows`."""
    mean = rows.mean(axis=0)
    rows -= mean
    products = np.empty((len(rows), len(rows)))
    for start in range(0, len(rows), PORTION_ROWS):
        part = slice(start, start + PORTION_ROWS)
        products[part] = rows[part] @ rows.T
    sizes, weights = _eigen(products)
    kept = _count(sizes, mean, len(rows), variance)
    vectors = rows.T @ weights[:, :kept]
    vectors /= np.linalg.norm(vectors, axis=0)
    return _select(mean, sizes, vectors, len(rows), kept)


def _fit_many(portions: Iterable[Float64], origin: Float64, variance: float) -> Components:
    """Fit by the scatter matrix; `origin` lies near the mean, so that little cancels."""
    n_frames = origin.size
    scatter, total, n = np.zeros((n_frames, n_frames)), np.zeros(n_frames), 0
    for portion in portions:
        shifted = portion - origin
        # The copy keeps BLAS from its rank-k update, which crashes on large inputs.
        scatter += shifted.T @ shifted.copy()
        total += shifted.sum(axis=0)
        n += len(portion)
    shift = total / n
    scatter -= n * np.outer(shift, shift)
    sizes, vectors = _eigen(scatter)
    mean = origin + shift
    return _select(mean, sizes, vectors, n, _count(sizes, mean, n, variance))


def _eigen(matrix: Float64) -> tuple[Float64, Float64]:
    """Return eigenvalues, the largest first, and vectors of a symmetric matrix; uses it up."""
    sizes, vectors = linalg.eigh(matrix, overwrite_a=True, driver="evr", check_finite=False)
    return np.asarray(sizes[::-1].clip(min=0)), np.asarray(vectors[:, ::-1])


def _count(sizes: Float64, mean: Float64, n: int, variance: float) -> int:
    """Return how many components to keep, by the rule for K; none of equal traces."""
    total = float(sizes.sum())
    if total <= (16 * EPSILON) ** 2 * n * float(mean @ mean):  # rounding of equal traces
        return 0
    return min(1 + int((np.cumsum(sizes / total) <= variance).sum()), sizes.size)


def _select(mean: Float64, sizes: Float64, vectors: Float64, n: int, kept: int) -> Components:
    """Keep the first components, the largest entry of each positive."""
    if kept == 0:
        return Components(mean, np.zeros((mean.size, 0)), np.zeros(0), n)
    chosen = vectors[:, :kept].copy()
    largest = np.abs(chosen).argmax(axis=0)
    chosen *= np.where(chosen[largest, np.arange(kept)] < 0, -1.0, 1.0)
    return Components(mean, chosen, sizes[:kept] / sizes.sum(), n)
