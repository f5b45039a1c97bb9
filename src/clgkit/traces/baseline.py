"""Running order statistics of traces, and the noise that they leave."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

import numba
import numpy as np
import numpy.typing as npt
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

Traces: TypeAlias = npt.NDArray[np.floating[Any]]
Edges: TypeAlias = Literal["mirror", "zero"]

NOISE_FRAMES = 31
BLOCK_ROWS = 256
ALL_BITS = np.uint64(0xFFFFFFFFFFFFFFFF)


def sliding_rank(
    traces: npt.NDArray[Any], *, window: int, element: int, edges: Edges = "mirror"
) -> Traces:
    """Take the same element of the sorted window round every sample.

    Parameters
    ----------
    traces : (N, T)
        Finite numbers; float32 and float64 are kept, other types become float64.
    window
        Frames, odd and below T, centred.
    element
        Which element of the sorted window, 0 (running minimum) to ``window - 1``.
    edges
        What lies outside the trace: ``mirror`` repeats it backwards, the end sample
        twice; ``zero`` takes zeros, as AllenSDK does.

    Returns
    -------
    (N, T)
        Exact elements of the traces (or zero), never interpolated.

    Raises
    ------
    TypeError
        If `traces` are not real.
    ValueError
        If `traces` is not 2-D or not finite, or an option is out of range.

    Notes
    -----
    The samples are sorted once; a pointer then walks over the ranks that are in the
    window, so the time hardly depends on the window.
    """
    rows = as_traces(traces)
    check_window("window", window, rows.shape[1])
    check_edges(edges)
    if not 0 <= element < window:
        raise ValueError(f"element is {element}, but 0 … {window - 1} is wanted.")
    if not np.isfinite(rows).all():
        raise ValueError("The traces hold NaN or infinity: leave these rows out.")
    out = np.empty_like(rows)
    for start in range(0, len(rows), BLOCK_ROWS):
        part = slice(start, start + BLOCK_ROWS)
        order = np.argsort(rows[part], axis=1)
        _filter_rows(rows[part], order, (window, element, edges == "mirror"), out[part])
    return out


def sliding_median(traces: npt.NDArray[Any], *, window: int, edges: Edges = "mirror") -> Traces:
    """Take the running median; arguments and errors as in `sliding_rank`."""
    return sliding_rank(traces, window=window, element=window // 2, edges=edges)


def noise_std(
    traces: npt.NDArray[Any], *, window: int = NOISE_FRAMES, edges: Edges = "mirror"
) -> Traces:
    """Estimate the noise of every trace, activity left out.

    Parameters
    ----------
    traces : (N, T)
        As in `sliding_rank`, but rows with NaN or infinity are allowed.
    window
        Frames, odd and below T.  White noise of sd 1 gives 0.94 with 31 frames and
        only 0.20 with 3: compare values of one window only.
    edges
        As in `sliding_rank`; ``zero`` is AllenSDK's.

    Returns
    -------
    (N,)
        Standard deviation, in the dtype of the traces.  NaN where a row is not finite
        or so smooth that no residual is left, as in a constant row.

    Raises
    ------
    TypeError, ValueError
        As `sliding_rank`.

    Notes
    -----
    The residual r to the running median is cut at 1.5 abs(min r), then at 2.5 robust
    standard deviations; the result is the robust standard deviation of the rest,
    1.4826 times the median absolute deviation.  Described after the dF/F of AllenSDK.
    """
    rows = as_traces(traces)
    check_window("window", window, rows.shape[1])
    check_edges(edges)
    out = np.full(len(rows), np.nan, rows.dtype)
    finite = np.all(np.isfinite(rows), axis=1)
    for start in range(0, len(rows), BLOCK_ROWS):
        chosen = np.flatnonzero(finite[start : start + BLOCK_ROWS]) + start
        block = rows[chosen]
        smooth = np.empty_like(block)
        order = np.argsort(block, axis=1)
        _filter_rows(block, order, (window, window // 2, edges == "mirror"), smooth)
        out[chosen] = residual_noise(block - smooth)
    return out


def as_traces(traces: npt.NDArray[Any]) -> Traces:
    """Return (N, T) float32 or float64, native and contiguous, or raise."""
    rows = np.asarray(traces)
    if rows.dtype.kind not in "biuf":
        raise TypeError(f"The traces are of type {rows.dtype}, but real numbers are wanted.")
    if rows.ndim != 2:
        raise ValueError(f"The traces have shape {rows.shape}, but (N, T) is wanted.")
    single = rows.dtype.kind == "f" and rows.dtype.itemsize == 4
    return np.ascontiguousarray(rows, np.float32 if single else np.float64)


def check_window(name: str, window: int, n_frames: int) -> None:
    """Raise unless `window` is odd, positive and below `n_frames`."""
    if not (0 < window < n_frames and window % 2):
        raise ValueError(
            f"{name} is {window}, but an odd number of frames from 1 to below the"
            f" {n_frames} of the traces is wanted."
        )


def check_edges(edges: str) -> None:
    """Raise unless `edges` is known."""
    if edges not in get_args(Edges):
        raise ValueError(f"edges is {edges!r}, but mirror or zero is wanted.")


def residual_noise(residual: Traces) -> Traces:
    """Return the noise (N,) of residuals (N, T) to a running median, as `noise_std`."""
    # In the precision of the traces, as numpy 2 does.
    constants = np.array([1.5, 2.5, 1.4826, 2.0, 0.0, np.nan], residual.dtype)
    return np.asarray(_noise_of_rows(np.sort(residual, axis=1), constants))


def filter_rows(rows: Traces, order: npt.NDArray[np.intp], *, window: int, edges: Edges) -> Traces:
    """Return the running median of finite rows whose ``argsort`` is at hand."""
    out = np.empty_like(rows)
    _filter_rows(rows, order, (window, window // 2, edges == "mirror"), out)
    return out


def _count_trailing(_typing: Any, word: Any) -> Any:
    """Build the instruction that counts the zero bits below the lowest set bit."""

    def build(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], cgutils.true_bit)

    return types.int64(word), build


def _count_leading(_typing: Any, word: Any) -> Any:
    """Build the instruction that counts the zero bits above the highest set bit."""

    def build(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctlz(arguments[0], cgutils.true_bit)

    return types.int64(word), build


_trailing_zeros: Any = intrinsic(_count_trailing)
_leading_zeros: Any = intrinsic(_count_leading)


@numba.njit(cache=True, nogil=True)
def _filter_rows(
    rows: Traces, order: npt.NDArray[np.intp], rule: tuple[int, int, bool], out: Traces
) -> None:
    """Filter every row; `rule` is the window, the element and whether edges are mirrored."""
    window, element, mirror = rule
    n_frames = rows.shape[1]
    half = window // 2
    ranks = np.empty(n_frames + 2 * half, np.int64)
    values = np.empty(n_frames + 1, rows.dtype)
    count = np.empty(n_frames + 1, np.int64)
    members = np.empty((n_frames + 64) // 64, np.uint64)
    for n in range(rows.shape[0]):
        zero = _sort_with_zero(rows[n], order[n], values, ranks[half : half + n_frames])
        for i in range(half):
            ranks[i] = ranks[2 * half - 1 - i] if mirror else zero
            ranks[half + n_frames + i] = ranks[half + n_frames - 1 - i] if mirror else zero
        count[:] = 0
        members[:] = 0
        _walk(ranks, (window, element), values, (count, members), out[n])


@numba.njit(cache=True, nogil=True)
def _sort_with_zero(
    row: Traces, order: npt.NDArray[np.intp], values: Traces, ranks: npt.NDArray[np.int64]
) -> int:
    """Sort a row together with one zero; return the rank of the zero."""
    zero = 0
    for rank in range(row.size):
        sample = order[rank]
        if row[sample] < 0:
            zero = rank + 1
            values[rank] = row[sample]
            ranks[sample] = rank
        else:
            values[rank + 1] = row[sample]
            ranks[sample] = rank + 1
    values[zero] = 0
    return zero


@numba.njit(cache=True, nogil=True)
def _walk(
    ranks: npt.NDArray[np.int64],
    rule: tuple[int, int],
    values: Traces,
    state: tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]],
    out: Traces,
) -> None:
    """Keep a pointer on the wanted element of the window while it slides.

    The window is a multiset of ranks: `count` holds the members of each rank and
    `members` a bit for every rank that has any; `below` members rank below the pointer.
    """
    window, element = rule
    count, members = state
    pointer = ranks[0]
    below = 0
    for i in range(window - 1):
        rank = ranks[i]
        count[rank] += 1
        members[rank >> 6] |= np.uint64(1) << np.uint64(rank & 63)
        below += rank < pointer
    for t in range(out.size):
        rank = ranks[t + window - 1]
        count[rank] += 1
        members[rank >> 6] |= np.uint64(1) << np.uint64(rank & 63)
        below += rank < pointer
        while below > element:
            pointer = _previous(members, pointer)
            below -= count[pointer]
        while below + count[pointer] <= element:
            below += count[pointer]
            pointer = _next(members, pointer)
        out[t] = values[pointer]
        rank = ranks[t]
        count[rank] -= 1
        if count[rank] == 0:
            members[rank >> 6] &= ~(np.uint64(1) << np.uint64(rank & 63))
        below -= rank < pointer


@numba.njit(cache=True, nogil=True)
def _next(members: npt.NDArray[np.uint64], rank: int) -> int:
    """Return the lowest rank of the window above `rank`; there is one."""
    rank += 1
    place = rank >> 6
    word = members[place] & (ALL_BITS << np.uint64(rank & 63))
    while word == 0:
        place += 1
        word = members[place]
    found: int = (place << 6) + _trailing_zeros(word)
    return found


@numba.njit(cache=True, nogil=True)
def _previous(members: npt.NDArray[np.uint64], rank: int) -> int:
    """Return the highest rank of the window below `rank`; there is one."""
    rank -= 1
    place = rank >> 6
    word = members[place] & (ALL_BITS >> np.uint64(63 - (rank & 63)))
    while word == 0:
        place -= 1
        word = members[place]
    found: int = (place << 6) + 63 - _leading_zeros(word)
    return found


@numba.njit(cache=True, nogil=True)
def _noise_of_rows(residuals: Traces, constants: Traces) -> Traces:
    """Return the robust standard deviation of every *sorted* row without its large values."""
    out = np.empty(residuals.shape[0], residuals.dtype)
    for n in range(residuals.shape[0]):
        row = residuals[n]
        kept = row[: np.searchsorted(row, constants[0] * abs(row[0]))]
        limit = constants[1] * _robust_std(kept, constants)
        first = np.searchsorted(kept, -limit, side="right")
        last = max(np.searchsorted(kept, limit), first)
        out[n] = _robust_std(kept[first:last], constants)
    return out


@numba.njit(cache=True, nogil=True)
def _robust_std(values: Traces, constants: Traces) -> Any:
    """Return 1.4826 times the median absolute deviation of sorted values, NaN of none."""
    size = values.size
    if size == 0:
        return constants[5]
    middle = values[size // 2]
    if size % 2 == 0:
        middle = (values[size // 2 - 1] + middle) / constants[3]
    right = np.searchsorted(values, middle)
    left = right - 1
    lower = upper = constants[4]
    for _ in range(size // 2 + 1):  # deviations in ascending order, from the middle outwards
        lower = upper
        if right == size or (left >= 0 and middle - values[left] < values[right] - middle):
            upper = middle - values[left]
            left -= 1
        else:
            upper = values[right] - middle
            right += 1
    if size % 2 == 0:
        upper = (lower + upper) / constants[3]
    return constants[2] * upper
