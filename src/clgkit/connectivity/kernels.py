# ruff: noqa: FBT001, PLR0917  (compiled functions take no keyword-only arguments)
"""Compiled loops over one block of the correlation matrix.

All of them live in one file: numba's cache notices a change of the file a function
stands in, not of the files it calls.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit

Float32: TypeAlias = npt.NDArray[np.float32]
Float64: TypeAlias = npt.NDArray[np.float64]
Int32: TypeAlias = npt.NDArray[np.int32]
Int64: TypeAlias = npt.NDArray[np.int64]
Bool: TypeAlias = npt.NDArray[np.bool_]
Corner: TypeAlias = tuple[int, int]
"""Row and column of the first value of a block."""
Place: TypeAlias = tuple[int, int, int]
"""A corner and the number of columns of the block."""

GROUP = 64


@njit(cache=True, nogil=True)
def exact_product(a: Float64, b: Float64) -> float:
    """Return the scalar product of two float64 rows, summed in one fixed order."""
    n = a.size
    s0 = s1 = s2 = s3 = 0.0
    whole = n - n % 4
    for k in range(0, whole, 4):
        s0 += a[k] * b[k]
        s1 += a[k + 1] * b[k + 1]
        s2 += a[k + 2] * b[k + 2]
        s3 += a[k + 3] * b[k + 3]
    for k in range(whole, n):
        s0 += a[k] * b[k]
    return (s0 + s1) + (s2 + s3)


@njit(cache=True, nogil=True)
def bin_of(r: float, absolute: bool, n_bins: int) -> int:
    """Return the bin of [-1, 1] that holds `r`, or its absolute value; ends are clipped."""
    value = abs(r) if absolute else r
    place = int((np.float64(value) + 1.0) * (0.5 * n_bins))
    return min(max(place, 0), n_bins - 1)


@njit(cache=True, nogil=True)
def count_bins(product: Float32, diagonal: bool, absolute: bool, counts: Int64) -> None:
    """Add one block to the histogram; of a diagonal block the strict upper triangle."""
    n_rows, n_columns = product.shape
    for a in range(n_rows):
        for b in range(a + 1 if diagonal else 0, n_columns):
            counts[bin_of(product[a, b], absolute, counts.size)] += 1


@njit(cache=True, nogil=True)
def collect_marked(
    product: Float32,
    exact: Float64,
    corner: Corner,
    absolute: bool,
    marked: Bool,
    values: Float64,
    n_values: int,
) -> int:
    """Append the float64 value of every pair whose bin is marked; return the new count."""
    n_rows, n_columns = product.shape
    i, j = corner
    for a in range(n_rows):
        for b in range(a + 1 if i == j else 0, n_columns):
            if marked[bin_of(product[a, b], absolute, marked.size)]:
                r = exact_product(exact[i + a], exact[j + b])
                values[n_values] = abs(r) if absolute else r
                n_values += 1
    return n_values


@njit(cache=True, nogil=True)
def count_between(
    product: Float32,
    exact: Float64,
    corner: Corner,
    absolute: bool,
    margin: float,
    low: float,
    high: float,
    counts: Int64,
) -> int:
    """Histogram of the float64 values in [low, high); return how many lie below `low`."""
    n_rows, n_columns = product.shape
    i, j = corner
    scale = counts.size / (high - low)
    below = 0
    for a in range(n_rows):
        for b in range(a + 1 if i == j else 0, n_columns):
            rough = np.float64(abs(product[a, b]) if absolute else product[a, b])
            if rough < low - margin:
                below += 1
            elif rough <= high + margin:
                r = exact_product(exact[i + a], exact[j + b])
                value = abs(r) if absolute else r
                if value < low:
                    below += 1
                elif value < high:
                    counts[min(int((value - low) * scale), counts.size - 1)] += 1
    return below


@njit(cache=True, nogil=True)
def any_above(values: Float32, absolute: bool, bound: np.float32) -> bool:
    """Say whether a value exceeds the bound; an integer count vectorizes, a maximum not."""
    hits = 0
    if absolute:
        for value in values:
            hits += abs(value) > bound
    else:
        for value in values:
            hits += value > bound
    return hits > 0


@njit(cache=True, nogil=True)
def decide(a: Float64, b: Float64, absolute: bool, inclusive: bool, threshold: float) -> bool:
    """Say whether a pair is an edge, from its float64 product."""
    r = exact_product(a, b)
    q = abs(r) if absolute else r
    return q > threshold or (inclusive and q == threshold)


@njit(cache=True, nogil=True)
def find_edges(
    product: Float32,
    exact: Float64,
    corner: Corner,
    absolute: bool,
    inclusive: bool,
    threshold: float,
    margin: float,
    found: Int32,
) -> int:
    """Write the flat positions of all edges of one block to `found`; return their number.

    Groups of 64 are scanned with an integer count, and opened only where it is not zero.
    A float32 value within `margin` of the threshold is computed again in float64.
    """
    n_rows, n_columns = product.shape
    i, j = corner
    low, high = threshold - margin, threshold + margin
    rough = np.float32(low - 1e-6 * abs(low) - 1e-9)  # rounding to float32 must not exclude
    n_found = 0
    for a in range(n_rows):
        for start in range(a + 1 if i == j else 0, n_columns, GROUP):
            stop = min(start + GROUP, n_columns)
            if not any_above(product[a, start:stop], absolute, rough):
                continue
            for b in range(start, stop):
                q = abs(product[a, b]) if absolute else product[a, b]
                if q < low:
                    continue
                if q > high or decide(exact[i + a], exact[j + b], absolute, inclusive, threshold):
                    found[n_found] = a * n_columns + b
                    n_found += 1
    return n_found


@njit(cache=True, nogil=True)
def count_degrees(flat: Int32, place: Place, nodes: Int32, degrees: Int64) -> None:
    """Add the edges of one block to the degrees of both ends."""
    i, j, n_columns = place
    for position in flat:
        degrees[nodes[i + position // n_columns]] += 1
        degrees[nodes[j + position % n_columns]] += 1


@njit(cache=True, nogil=True)
def fill_rows(
    flat: Int32,
    place: Place,
    nodes: Int32,
    exact: Float64,
    absolute: bool,
    cursor: Int64,
    indices: Int32,
    weights: Float32,
) -> None:
    """Write the edges of one block into both rows; `weights` may be empty.

    Blocks must come row by row.  Then every row receives first its lower and after them
    its higher neighbours, both ascending, and needs no sorting.
    """
    i, j, n_columns = place
    for position in flat:
        a = i + position // n_columns
        b = j + position % n_columns
        u, v = nodes[a], nodes[b]
        indices[cursor[u]] = v
        indices[cursor[v]] = u
        if weights.size:
            r = exact_product(exact[a], exact[b])
            weights[cursor[u]] = weights[cursor[v]] = abs(r) if absolute else r
        cursor[u] += 1
        cursor[v] += 1


@njit(cache=True, nogil=True)
def add_absolute_product(product: Float32, corner: Corner, x: Float64, y: Float64) -> None:
    """Add one block of ``abs(corr) @ x``, used for both of its sides, to `y`."""
    n_rows, n_columns = product.shape
    i, j = corner
    for a in range(n_rows):
        first = a + 1 if i == j else 0
        own = 0.0
        given = x[i + a]
        for b in range(first, n_columns):
            r = np.float64(abs(product[a, b]))
            own += r * x[j + b]
            y[j + b] += r * given
        y[i + a] += own
