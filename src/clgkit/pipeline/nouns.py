"""How what a stage returns is stored and read back.

A stage returns a NamedTuple whose fields are labelled arrays, networks, or plain
dictionaries.  Arrays made through the workspace are on the disk already.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from clgkit.data import Network

if TYPE_CHECKING:
    from clgkit.pipeline.store import Partial, Result

PARTS = ("indptr", "indices", "node_ids", "weights", "position_um")


def save(made: Any, partial: Partial) -> dict[str, Any]:
    """Store every field of a stage's result that is not on the disk yet.

    Returns
    -------
    dict
        The plain values, for the receipt.
    """
    values: dict[str, Any] = {}
    for name, value in made._asdict().items():
        if isinstance(value, xr.DataArray):
            partial.save(name, value)
        elif isinstance(value, Network):
            values[name] = dict(value.attributes)
            for part in PARTS:
                array = getattr(value, part)
                if array is not None:
                    dims = tuple(f"{part}_{axis}" for axis in range(array.ndim))
                    partial.save(f"{name}.{part}", xr.DataArray(array, dims=dims))
        else:
            values[name] = value
    return values


def load(result: Result, field: str) -> Any:
    """Return one field of a stored result."""
    if f"{field}.indptr" in result.manifest.outputs:
        parts = {
            part: np.asarray(result.array(f"{field}.{part}"))
            for part in PARTS
            if f"{field}.{part}" in result.manifest.outputs
        }
        return Network(**parts, attributes=result.manifest.values[field])
    if field in result.manifest.outputs:
        return result.array(field)
    return result.manifest.values[field]


def load_all(result: Result, function: Any) -> Any:
    """Return everything a stage returned, as the NamedTuple its function promises."""
    kind = getattr(sys.modules[function.__module__], function.__annotations__["return"])
    return kind(*(load(result, field) for field in kind._fields))
