"""Pearson correlation of all pairs of rows, block by block.

Nothing of size N x N ever exists.  Rows are scaled to unit length once, in float64; a
correlation is then a scalar product.  Blocks are float32 products, and whatever a float32
value cannot decide is computed again in float64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from clgkit.connectivity import kernels

if TYPE_CHECKING:
    from collections.abc import Iterator

Quantity: TypeAlias = Literal["absolute", "signed"]
Float32: TypeAlias = npt.NDArray[np.float32]
Float64: TypeAlias = npt.NDArray[np.float64]
Int64: TypeAlias = npt.NDArray[np.int64]
Bool: TypeAlias = npt.NDArray[np.bool_]

BLOCK = 2048
LARGEST_BLOCK = 4096  # larger products of threaded OpenBLAS have ended in a crash
N_BINS = 20_000
MAX_COLLECTED = 50_000_000  # float64 values sorted at once: 400 MB


class UnitRows(NamedTuple):
    """Rows of unit length, and which of them are live."""

    rows: npt.NDArray[np.floating]
    """(N, D) float32 or float64; dead rows are zero."""
    live: Bool
    """(N,) False where the row was constant or held NaN or infinity."""


class Block(NamedTuple):
    """One block of the correlation matrix."""

    corner: tuple[int, int]
    """Row and column, among the live rows, of the first value."""
    product: Float32
    """(side, side) float32; the buffer is used again for the next block."""


class Prepared(NamedTuple):
    """The live rows in both precisions."""

    rough: Float32
    exact: Float64
    nodes: npt.NDArray[np.int32]
    """Which row of the input each live row is."""
    margin: float
    """No float32 product is further than this from the float64 one."""


def unit_rows(
    rows: npt.ArrayLike, *, center: bool = True, dtype: npt.DTypeLike = np.float64
) -> UnitRows:
    r"""Scale every row to mean 0 and length 1, so that a correlation is a scalar product.

    Parameters
    ----------
    rows : (N, D)
        Traces, any real dtype and unit; NaN and infinity allowed.
    center
        Subtract the mean of each row.  Switch it off for the rows of a low-rank form whose
        columns were centred before, such as PCA scores times a triangular factor.
    dtype
        float64, or float32 for half the memory; then the float32 values *are* the rows,
        and every later decision is exact for them.

    Returns
    -------
    UnitRows
        Dead rows (constant, or not finite) are zero and flagged.

    Raises
    ------
    ValueError
        If `rows` is not a real 2-D array with at least one column, or `dtype` is another.

    Notes
    -----
    Mean and length are taken in float64 before any cast: on counts of about 5,000 a cast
    before centring costs a factor of four in accuracy.  A row is constant when its maximum
    equals its minimum; its variance is no test, because rounding leaves it above zero.
    """
    given = np.asarray(rows)
    if given.ndim != 2 or given.shape[1] == 0 or given.dtype.kind not in "biuf":
        raise ValueError(
            f"rows have shape {given.shape} and dtype {given.dtype}; "
            "wanted a real (N, D) array with at least one column."
        )
    wanted = np.dtype(dtype)
    if wanted not in {np.dtype(np.float32), np.dtype(np.float64)}:
        raise ValueError(f"dtype is {wanted}; wanted float32 or float64.")
    out = np.zeros(given.shape, wanted)
    live = np.zeros(len(given), np.bool_)
    for start in range(0, len(given), BLOCK):
        part = slice(start, start + BLOCK)
        out[part], live[part] = _scale(given[part].astype(np.float64, order="C"), center=center)
    return UnitRows(out, live)


def _scale(rows: Float64, *, center: bool) -> tuple[Float64, Bool]:
    """Return rows of unit length, zero where dead, and which are live."""
    live = np.isfinite(rows).all(axis=1)
    rows[~live] = 0.0
    if center:
        live &= rows.max(axis=1) != rows.min(axis=1)
        # Scaling first keeps squares of huge or tiny values inside float64.
        rows /= np.maximum(np.abs(rows).max(axis=1, keepdims=True), np.finfo(np.float64).tiny)
        rows -= rows.mean(axis=1, keepdims=True)
        # The mean of an offset was rounded at the size of the offset: once more.
        rows -= rows.mean(axis=1, keepdims=True)
    peak = np.abs(rows).max(axis=1, keepdims=True)
    live &= peak[:, 0] > 0
    rows[~live] = 0.0
    rows /= np.where(live[:, None], peak, 1.0)
    length = np.sqrt((rows**2).sum(axis=1, keepdims=True))
    rows /= np.where(live[:, None], length, 1.0)
    return rows, live


def guard(n_columns: int) -> float:
    """Return how far a float32 product of unit rows can lie from the exact value.

    1.01 (D + 2) / 2**24: 3.6e-5 for 599 frames, 1.6e-6 for 25 components.
    """
    return 1.01 * (n_columns + 2) * 2.0**-24


def prepare(unit: UnitRows) -> Prepared:
    """Return the live rows as float32, for speed, and as float64, for decisions."""
    rows, live = unit
    if rows.ndim != 2 or live.shape != rows.shape[:1]:
        raise ValueError(
            f"unit rows have shapes {rows.shape} and {live.shape}; wanted (N, D) and (N,), "
            "as unit_rows returns them."
        )
    kept = rows if live.all() else rows[live]
    return Prepared(
        np.ascontiguousarray(kept, np.float32),
        np.ascontiguousarray(kept, np.float64),
        np.flatnonzero(live).astype(np.int32),
        guard(rows.shape[1]),
    )


def blocks(rough: Float32, side: int) -> Iterator[Block]:
    """Yield the blocks on and above the diagonal, row by row.

    The two operands of a product never share memory: numpy would hand an aliased product
    to a BLAS routine (SYRK) that has crashed on large threaded input.
    """
    if not 1 <= side <= LARGEST_BLOCK:
        raise ValueError(f"block is {side}; wanted 1 to {LARGEST_BLOCK} rows.")
    n_rows = len(rough)
    buffer = np.empty(min(side, n_rows) ** 2, np.float32)
    for i in range(0, n_rows, side):
        left = rough[i : i + side]
        for j in range(i, n_rows, side):
            right = rough[j : j + side]
            product = buffer[: len(left) * len(right)].reshape(len(left), len(right))
            np.matmul(left, (right.copy() if i == j else right).T, out=product)
            yield Block((i, j), product)


def correlation_histogram(unit: UnitRows, *, n_bins: int = N_BINS, block: int = BLOCK) -> Int64:
    """Count the signed correlations of all pairs of live rows in equal bins on [-1, 1].

    Parameters
    ----------
    unit
        From :func:`unit_rows`.
    n_bins
        Number of bins.
    block
        Rows per block; a matter of speed.

    Returns
    -------
    (n_bins,) int64
        The sum is the number of pairs of live rows.

    Raises
    ------
    ValueError
        If `n_bins` or `block` is out of range.

    Notes
    -----
    The values are float32 products: one that lies within :func:`guard` of an edge may be
    counted in the neighbouring bin.  Values beyond 1 by rounding stay in the last bin.
    """
    if n_bins < 1:
        raise ValueError(f"n_bins is {n_bins}; wanted at least 1.")
    return histogram(prepare(unit), n_bins=n_bins, absolute=False, block=block)


def histogram(rows: Prepared, *, n_bins: int, absolute: bool, block: int) -> Int64:
    """Count r, or its absolute value, in `n_bins` bins on [-1, 1]."""
    counts = np.zeros(n_bins, np.int64)
    for corner, product in blocks(rows.rough, block):
        kernels.count_bins(product, corner[0] == corner[1], absolute, counts)
    return counts


def percentiles(
    unit: UnitRows, q: npt.ArrayLike, *, quantity: Quantity = "signed", block: int = BLOCK
) -> Float64:
    """Return exact percentiles of the correlations of all pairs of live rows.

    Parameters
    ----------
    unit
        From :func:`unit_rows`; dead rows take no part.
    q : (K,) or a number
        Percentages in [0, 100].
    quantity
        ``"signed"`` for r, ``"absolute"`` for its absolute value.  Take the one that the
        threshold is applied to.
    block
        Rows per block; a matter of speed.

    Returns
    -------
    float64 of the shape of `q`
        By numpy's linear rule, as ``np.percentile`` of the strict upper triangle.

    Raises
    ------
    ValueError
        If fewer than two rows are live, or a percentage is outside [0, 100].

    Notes
    -----
    Two passes: a histogram finds the bins of the wanted order statistics, a second pass
    collects these bins and their neighbours in float64.
    """
    wanted = np.asarray(q, np.float64)
    if not ((wanted >= 0) & (wanted <= 100)).all():
        raise ValueError(f"percentiles {wanted.tolist()} were asked for; wanted 0 to 100.")
    n_pairs = count_pairs(unit)
    if n_pairs == 0:
        raise ValueError(
            f"{int(unit.live.sum())} of {unit.live.size} rows are live (finite and not "
            "constant); percentiles of correlations need at least two."
        )
    place = (n_pairs - 1) * (wanted.ravel() / 100.0)
    lower = np.floor(place).astype(np.int64)
    upper = np.minimum(lower + 1, n_pairs - 1)
    ranks = np.concatenate([lower, upper])
    found = order_statistics(unit, ranks, quantity=quantity, block=block)
    below, above = found[: lower.size], found[lower.size :]
    share, step = place - lower, above - below
    # Interpolated from the nearer end, as numpy does.
    mixed = np.where(share < 0.5, below + step * share, above - step * (1.0 - share))
    return mixed.reshape(wanted.shape)


def count_pairs(unit: UnitRows) -> int:
    """Return the number of pairs of live rows."""
    n_live = int(np.count_nonzero(unit.live))
    return n_live * (n_live - 1) // 2


def order_statistics(
    unit: UnitRows, ranks: Int64, *, quantity: Quantity, block: int = BLOCK
) -> Float64:
    """Return the values that stand at the given 0-based ranks among all pairs, ascending."""
    absolute = is_absolute(quantity)
    rows = prepare(unit)
    counts = histogram(rows, n_bins=N_BINS, absolute=absolute, block=block)
    home = np.searchsorted(np.cumsum(counts), ranks, side="right")
    # A value and its float32 shadow lie within one margin, so do their order statistics:
    # what is two margins away from the bin is certainly below or above.
    reach = int(np.ceil(2.0 * rows.margin * 0.5 * N_BINS))
    marked = np.zeros(N_BINS, np.bool_)
    for center in np.unique(home):
        marked[max(center - reach, 0) : center + reach + 1] = True
    n_collected = int(counts[marked].sum())
    if n_collected > MAX_COLLECTED:
        return np.array([_narrow(rows, int(k), absolute=absolute, block=block) for k in ranks])
    values = np.empty(n_collected, np.float64)
    n_values = 0
    for corner, product in blocks(rows.rough, block):
        n_values = kernels.collect_marked(
            product, rows.exact, corner, absolute, marked, values, n_values
        )
    values.sort()
    passed = np.concatenate([[0], np.cumsum(np.where(marked, 0, counts))])
    found: Float64 = values[ranks - passed[home]]
    return found


def _narrow(rows: Prepared, rank: int, *, absolute: bool, block: int) -> float:
    """Find one order statistic to 1e-15 by ever finer histograms, in bounded memory.

    For crowds of almost equal correlations that would not fit into memory.
    """
    low, high = -1.0 - 1e-9, 1.0 + 1e-9
    while high - low > 1e-15:
        counts = np.zeros(N_BINS, np.int64)
        below = 0
        for corner, product in blocks(rows.rough, block):
            below += kernels.count_between(
                product, rows.exact, corner, absolute, rows.margin, low, high, counts
            )
        home = int(np.searchsorted(np.cumsum(counts), rank - below, side="right"))
        if home == N_BINS or below > rank:  # rounding of an edge: the value is at the border
            return low if below > rank else high
        width = (high - low) / N_BINS
        low, high = low + home * width, low + (home + 1) * width
        if low + 0.5 * (high - low) in {low, high}:
            break
    return 0.5 * (low + high)


def is_absolute(quantity: Quantity) -> bool:
    """Return whether the quantity is the absolute value; refuse unknown ones."""
    if quantity not in {"absolute", "signed"}:
        raise ValueError(f"quantity is {quantity!r}; wanted 'absolute' or 'signed'.")
    return quantity == "absolute"
