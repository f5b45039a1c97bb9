"""Relative change of fluorescence, dF/F."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from clgkit.traces.baseline import (
    BLOCK_ROWS,
    NOISE_FRAMES,
    Edges,
    as_traces,
    check_edges,
    check_window,
    filter_rows,
    residual_noise,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    from clgkit.traces.baseline import Traces


class Reason(IntEnum):
    """Why the dF/F of a trace is what it is."""

    OK = 0
    """Numbers."""
    CONSTANT = 1
    """The trace never changes; NaN."""
    NOT_FINITE = 2
    """The trace holds NaN or infinity; NaN."""
    NEGATIVE_BASELINE = 3
    """The baseline is zero or less in half of the frames or more."""
    NO_NOISE = 4
    """The trace is so smooth or so short that its noise cannot be told; NaN."""


class Dff(NamedTuple):
    """dF/F of N traces with what it was made from; floats in the dtype of the traces."""

    dff: Traces
    """(N, T) relative change, dimensionless."""
    baseline: Traces
    """(N, T) F0, in the units of the fluorescence."""
    noise: Traces
    """(N,) standard deviation of the noise of the fluorescence."""
    dff_noise: Traces
    """(N,) standard deviation of the noise of dF/F, before the short window."""
    n_floored: npt.NDArray[np.int64]
    """(N,) frames with F0 at or below the noise, where the noise divides."""
    reason: npt.NDArray[np.uint8]
    """(N,) a `Reason` for each trace."""
    long_frames: int
    """The window of the baseline that was used."""
    short_frames: int
    """The window of the short trend that was used."""


def compute_dff(
    fluorescence: npt.NDArray[Any],
    *,
    rate_hz: float,
    long_window_s: float = 300.0,
    short_window_s: float = 10 / 3,
    edges: Edges = "mirror",
) -> Dff:
    """Turn fluorescence into dF/F with a running-median baseline.

    Parameters
    ----------
    fluorescence : (N, T)
        Arbitrary units; float32 and float64 are kept, other types become float64.
    rate_hz
        Frames of each trace per second.
    long_window_s, short_window_s
        Windows of the baseline and of the short trend that is taken off afterwards.
    edges
        What lies outside the trace.  ``mirror`` (default) is a deviation from the
        original: its zeros (``zero``) pull the baseline of every trace to about 0.86
        of the truth at both ends, a transient that all neurons share.

    Returns
    -------
    Dff
        The dF/F of a row whose `Reason` is not OK is NaN throughout.  With ``zero``, the
        parity setting, a NEGATIVE_BASELINE row keeps the original's numbers.
        Windows that do not fit shrink to the largest odd number below T: compare
        ``long_frames`` and ``short_frames`` with `window_frames` to warn about it.

    Raises
    ------
    TypeError
        If `fluorescence` is not real.
    ValueError
        If T < 3, or if a rate or window is not above zero.

    Notes
    -----
    As `windowed_median_dff`.  Frames of a window are counted as the CLG notebook
    does: 300 s at 1 Hz are 301 frames, 10/3 s are 3.  Below 0.6 Hz the short window
    is one frame: then every dF/F below 2.5 standard deviations becomes zero.
    """
    rows = as_traces(fluorescence)
    n_frames = rows.shape[1]
    if n_frames < 3:
        raise ValueError(f"The traces have {n_frames} frames, but dF/F needs 3 or more.")
    fitting = n_frames - 1 if n_frames % 2 == 0 else n_frames - 2
    found = windowed_median_dff(
        rows,
        long_frames=min(window_frames(long_window_s, rate_hz=rate_hz), fitting),
        short_frames=min(window_frames(short_window_s, rate_hz=rate_hz), fitting),
        noise_frames=min(NOISE_FRAMES, fitting),
        edges=edges,
    )
    if edges == "mirror":
        found.dff[found.reason == Reason.NEGATIVE_BASELINE] = np.nan
    return found


def window_frames(window_s: float, *, rate_hz: float) -> int:
    """Return the odd number of frames that the original takes for `window_s`.

    Raises
    ------
    ValueError
        If the window or the rate is not a finite number above zero.
    """
    if not (0 < rate_hz < np.inf and 0 < window_s < np.inf):
        raise ValueError(
            f"The window is {window_s} s and the rate {rate_hz} Hz: both must be above zero."
        )
    return int(window_s * rate_hz // 2 * 2 + 1)


def windowed_median_dff(
    traces: npt.NDArray[Any],
    *,
    long_frames: int,
    short_frames: int,
    noise_frames: int = NOISE_FRAMES,
    edges: Edges = "mirror",
) -> Dff:
    r"""Turn fluorescence into dF/F, with windows in frames.

    Parameters
    ----------
    traces : (N, T)
        As in `compute_dff`.
    long_frames, short_frames, noise_frames
        Windows of the baseline, of the short trend and of the noise; odd and below T.
    edges
        ``zero`` equals the dF/F of AllenSDK (2018) bit for bit, in float64 and, with
        numpy 2, in float32.

    Returns
    -------
    Dff
        NaN where a row is constant, not finite or without noise; a row with a
        negative baseline keeps its numbers and is marked.

    Raises
    ------
    TypeError
        If `traces` are not real.
    ValueError
        If `traces` is not 2-D, or a window is even or not below T.

    Notes
    -----
    With :math:`F_0` the long running median and :math:`\sigma_0` the noise of the
    trace, :math:`d = (F - F_0) / \max(F_0, \sigma_0)`; :math:`\sigma_1` is the noise of
    :math:`d`, and the result is :math:`d - \min(\mathrm{med}_S(d), 2.5\,\sigma_1)`.
    The denominator is above zero: a row in which both are zero is marked NO_NOISE.
    The last step eats slow signals: a plateau of 10 s and 0.1 keeps a tenth at 1 Hz.
    """
    rows = as_traces(traces)
    check_edges(edges)
    windows = {"long": long_frames, "short": short_frames, "noise": noise_frames}
    for name, frames in windows.items():
        check_window(f"{name}_frames", frames, rows.shape[1])
    reason = _find_reasons(rows)
    made = Dff(
        np.full_like(rows, np.nan),
        np.full_like(rows, np.nan),
        np.full(len(rows), np.nan, rows.dtype),
        np.full(len(rows), np.nan, rows.dtype),
        np.zeros(len(rows), np.int64),
        reason,
        long_frames,
        short_frames,
    )
    live = np.flatnonzero(reason == Reason.OK)
    for start in range(0, live.size, BLOCK_ROWS):
        _fill_block(made, rows, live[start : start + BLOCK_ROWS], noise_frames, edges)
    return made


def _find_reasons(rows: Traces) -> npt.NDArray[np.uint8]:
    """Tell the rows that cannot be computed from the others."""
    lowest, highest = rows.min(axis=1), rows.max(axis=1)
    reason = np.full(len(rows), Reason.OK, np.uint8)
    reason[lowest == highest] = Reason.CONSTANT
    reason[~(np.isfinite(lowest) & np.isfinite(highest))] = Reason.NOT_FINITE
    return reason


def _fill_block(
    made: Dff, rows: Traces, chosen: npt.NDArray[np.intp], noise_frames: int, edges: Edges
) -> None:
    """Compute the rows `chosen` into `made`; all of them finite and not constant."""
    x = rows[chosen]
    order = np.argsort(x, axis=1)
    noise = residual_noise(x - filter_rows(x, order, window=noise_frames, edges=edges))
    baseline = filter_rows(x, order, window=made.long_frames, edges=edges)
    made.noise[chosen], made.baseline[chosen] = noise, baseline
    made.n_floored[chosen] = (baseline <= noise[:, None]).sum(axis=1)
    made.reason[chosen[np.median(baseline, axis=1) <= 0]] = Reason.NEGATIVE_BASELINE
    # No residual is left, or max(F0, noise) would be zero.
    silent = np.isnan(noise) | ((noise == 0) & (baseline.min(axis=1) <= 0))
    made.reason[chosen[silent]] = Reason.NO_NOISE
    x, baseline, noise, chosen = x[~silent], baseline[~silent], noise[~silent], chosen[~silent]
    d = (x - baseline) / np.maximum(baseline, noise[:, None])
    order = np.argsort(d, axis=1)
    d_noise = residual_noise(d - filter_rows(d, order, window=noise_frames, edges=edges))
    trend = filter_rows(d, order, window=made.short_frames, edges=edges)
    made.dff_noise[chosen] = d_noise
    made.dff[chosen] = d - np.minimum(trend, x.dtype.type(2.5) * d_noise[:, None])
    made.reason[chosen[np.isnan(d_noise)]] = Reason.NO_NOISE
