"""Traces on the principal components that hold the variance."""

from __future__ import annotations

import warnings
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from clgkit import traces
from clgkit.blocks import output
from clgkit.errors import as_data_error
from clgkit.params import Params
from clgkit.schema import Schema
from clgkit.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt
    import xarray as xr

TRACES = Schema("table of traces", ("neuron", "time"))
ROWS = 1024


class DenoiseTraces(Params):
    """Settings of :func:`denoise_traces`."""

    variance: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """The components that are kept explain more than this share of the variance."""
    mean: Literal["project", "keep"] = "project"
    """Project the mean trace too, or add it back whole as the original does."""


class TracesDenoised(NamedTuple):
    """What :func:`denoise_traces` gives."""

    denoised: xr.DataArray
    scores: xr.DataArray
    summary: dict[str, Any]


def denoise_traces(
    dff: xr.DataArray,
    params: DenoiseTraces = DenoiseTraces(),  # noqa: B008  (frozen)
    *,
    workspace: Workspace | None = None,
) -> TracesDenoised:
    """Keep of every trace what the strongest principal components hold.

    Neurons are the samples, frames the features, as in the original.  Neurons without a
    trace (constant, or with a frame missing) take no part and stay NaN; if no neuron has one,
    there are no components.

    Parameters
    ----------
    dff
        (neuron, time) traces.
    params
        Settings.
    workspace
        Where blocks run and results go.

    Returns
    -------
    TracesDenoised
        ``denoised``: (neuron, time) float32.  ``scores``: (neuron, component) float64, short
        coordinates whose cosines are the correlations of the denoised traces.
        ``summary``: ``n_components``, ``explained`` and ``n_left_out``.

    Raises
    ------
    DataError
        If `dff` are no traces.
    """
    TRACES.check(dff)
    workspace = workspace or Workspace()
    fit = _fit(dff, params)
    n_columns = len(fit.explained) + (params.mean == "keep")
    denoised, scores = workspace.map_blocks(
        partial(_project, fit=fit, params=params, n_columns=n_columns),
        dff,
        [
            output("denoised", ("neuron", "time"), dff),
            output("scores", ("neuron", "component"), dff, np.float64, component=n_columns),
        ],
        split={"neuron": ROWS},
    )
    left_out = dff.sizes["neuron"] - fit.n
    if left_out:
        warnings.warn(f"{left_out} neurons without a trace were left out", stacklevel=2)
    explained = float(np.sum(fit.explained))
    summary = {
        "n_components": len(fit.explained),
        "explained": explained if np.isfinite(explained) else None,
        "n_left_out": int(left_out),
    }
    return TracesDenoised(denoised, scores, summary)


def _fit(dff: xr.DataArray, params: DenoiseTraces) -> traces.Components:
    blocks = (rows for rows in _live_blocks(dff) if len(rows))
    first = next(blocks, None)
    if first is None:
        n_frames = dff.sizes["time"]
        return traces.Components(np.zeros(n_frames), np.zeros((n_frames, 0)), np.zeros(0), 0)
    with as_data_error("denoise_traces"):
        return traces.fit_components(chain([first], blocks), variance=params.variance)


def _live_blocks(dff: xr.DataArray) -> Iterator[npt.NDArray[np.float64]]:
    """Yield the live rows in groups of fixed size, so that sums do not depend on resources."""
    for start in range(0, dff.sizes["neuron"], ROWS):
        rows = np.asarray(dff.isel(neuron=slice(start, start + ROWS)).values, np.float64)
        yield rows[is_live(rows)]


def is_live(rows: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.bool_]:
    """Tell which rows are finite and not constant."""
    with np.errstate(invalid="ignore"):
        varies = rows.max(axis=1, initial=-np.inf) > rows.min(axis=1, initial=np.inf)
    return np.asarray(np.isfinite(rows).all(axis=1) & varies)


def _project(
    block: xr.DataArray, *, fit: traces.Components, params: DenoiseTraces, n_columns: int
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    rows = np.asarray(block.values, np.float64)
    live = is_live(rows)
    denoised = np.full(rows.shape, np.nan, np.float32)
    scores = np.full((len(rows), n_columns), np.nan)
    if live.any():
        denoised[live] = traces.denoise(rows[live], fit, mean=params.mean)
        scores[live] = traces.low_rank(rows[live], fit, mean=params.mean)
    return denoised, scores
