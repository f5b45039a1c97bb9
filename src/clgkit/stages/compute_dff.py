"""Relative fluorescence change of every neuron."""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from pydantic import PositiveFloat

from clgkit import traces
from clgkit.blocks import output
from clgkit.data import rate_hz
from clgkit.errors import DataError, as_data_error
from clgkit.params import Params
from clgkit.schema import Schema
from clgkit.workspace import Workspace

if TYPE_CHECKING:
    import numpy.typing as npt
    import xarray as xr

TRACES = Schema("table of traces", ("neuron", "time"), "fiu", {"time": "s"})
ROWS = 256


class ComputeDff(Params):
    """Settings of :func:`compute_dff`."""

    long_window_s: PositiveFloat = 300.0
    """Window of the running median that is the baseline, in seconds."""
    short_window_s: PositiveFloat = 10 / 3
    """Window of the short running median that is taken off afterwards, in seconds."""
    edges: Literal["mirror", "zero"] = "mirror"
    """What lies beyond both ends: the mirrored trace, or zeros as in the original program."""
    interpolate_gaps: bool = False
    """Fill frames without a value (bad or shifted out) by linear interpolation first."""


class DffComputed(NamedTuple):
    """What :func:`compute_dff` gives."""

    dff: xr.DataArray
    baseline: xr.DataArray
    noise: xr.DataArray
    reason: xr.DataArray


def compute_dff(
    fluorescence: xr.DataArray,
    params: ComputeDff = ComputeDff(),  # noqa: B008  (frozen)
    *,
    workspace: Workspace | None = None,
) -> DffComputed:
    """Divide every trace's change by its baseline, a running median.

    Parameters
    ----------
    fluorescence
        (neuron, time), with a time coordinate in seconds.
    params
        Settings.
    workspace
        Where blocks run and results go.

    Returns
    -------
    DffComputed
        ``dff`` and ``baseline``: (neuron, time) float32.  ``noise``: (neuron,) float32, the
        noise of dF/F.  ``reason``: (neuron,) uint8, a code of `clgkit.traces.Reason`: 0 is
        good, others say why a row of ``dff`` is NaN.

    Raises
    ------
    DataError
        If `fluorescence` are no traces, or there are fewer than three frames.
    """
    TRACES.check(fluorescence)
    if fluorescence.sizes["time"] < 3:
        raise DataError(
            f"dF/F needs at least 3 frames; there are {fluorescence.sizes['time']}.",
            code="E_SHORT",
        )
    workspace = workspace or Workspace()
    rate = rate_hz(fluorescence)
    _warn_of_windows(fluorescence, params, rate)
    made = workspace.map_blocks(
        partial(_dff, params=params, rate=rate),
        fluorescence,
        [
            output("dff", ("neuron", "time"), fluorescence),
            output("baseline", ("neuron", "time"), fluorescence),
            output("noise", ("neuron",), fluorescence),
            output("reason", ("neuron",), fluorescence, np.uint8),
        ],
        split={"neuron": ROWS},
    )
    _warn_of_dead(made[3].values, params)
    return DffComputed(*made)


def _dff(block: xr.DataArray, *, params: ComputeDff, rate: float) -> tuple[npt.NDArray[Any], ...]:
    rows = np.asarray(block.values, np.float64)
    if params.interpolate_gaps:
        rows = _interpolated(rows)
    made = traces.compute_dff(
        rows,
        rate_hz=rate,
        long_window_s=params.long_window_s,
        short_window_s=params.short_window_s,
        edges=params.edges,
    )
    return made.dff, made.baseline, made.dff_noise, made.reason


def _interpolated(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    filled = rows.copy()
    time = np.arange(rows.shape[1])
    for row in filled:
        good = np.isfinite(row)
        if good.any() and not good.all():
            row[~good] = np.interp(time[~good], time[good], row[good])
    return filled


def _warn_of_windows(fluorescence: xr.DataArray, params: ComputeDff, rate: float) -> None:
    """Say so if the movie is too short for the windows asked for (they shrink)."""
    n_frames = fluorescence.sizes["time"]
    with as_data_error("compute_dff"):
        frames = traces.window_frames(params.long_window_s, rate_hz=rate)
    if frames >= n_frames:
        used = n_frames - 1 - n_frames % 2
        warnings.warn(
            f"the baseline window of {params.long_window_s:g} s ({frames} frames) is longer than "
            f"the movie ({n_frames} frames); {used} frames were used",
            stacklevel=3,
        )


def _warn_of_dead(reason: npt.NDArray[np.uint8], params: ComputeDff) -> None:
    for code in traces.Reason:
        count = int((reason == code).sum())
        if count and code == traces.Reason.NEGATIVE_BASELINE and params.edges == "zero":
            warnings.warn(
                f"{count} of {len(reason)} neurons have a negative baseline; with edges = "
                '"zero" they keep the numbers of the original program',
                stacklevel=3,
            )
        elif count and code != traces.Reason.OK:
            hint = (
                "; set interpolate_gaps = true to fill single frames"
                if code == traces.Reason.NOT_FINITE
                else ""
            )
            warnings.warn(
                f"{count} of {len(reason)} neurons have no dF/F "
                f"({code.name.lower().replace('_', ' ')}) and are left out of all that "
                f"follows{hint}",
                stacklevel=3,
            )
