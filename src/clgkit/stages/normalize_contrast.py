"""Structural stack with even brightness and contrast."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from clgkit import contrast
from clgkit.blocks import output
from clgkit.data import VOLUME, Volume
from clgkit.errors import as_data_error
from clgkit.params import Params
from clgkit.workspace import Workspace

if TYPE_CHECKING:
    import xarray as xr

Percent = Annotated[float, Field(ge=0, le=100)]


class NormalizeContrast(Params):
    """Settings of :func:`normalize_contrast`."""

    radius_px: PositiveInt = 10
    """The neighbourhood is a square of side 2 * radius_px + 1 pixels."""
    floor: PositiveFloat = 5e-4
    """Added to the local variance of the image scaled to [0, 1]."""
    scale: Literal["stack", "plane"] = "stack"
    """Scale by two percentiles of the whole stack, or each slice by its own extremes."""
    low_percentile: Percent = 0.2
    """Percentile of the stack that becomes 0."""
    high_percentile: Percent = 99.8
    """Percentile of the stack that becomes 1."""
    compat: Literal["none", "clg"] = "none"
    """"clg" gives the original script: slices by their own extremes, rescaled to uint16."""

    @model_validator(mode="after")
    def _rise(self) -> Self:
        if self.low_percentile >= self.high_percentile:
            raise ValueError("low_percentile must be below high_percentile")
        return self


class ContrastNormalized(NamedTuple):
    """What :func:`normalize_contrast` gives."""

    normalized: Volume


def normalize_contrast(
    structure: Volume,
    params: NormalizeContrast = NormalizeContrast(),  # noqa: B008  (frozen)
    *,
    workspace: Workspace | None = None,
) -> ContrastNormalized:
    """Subtract the local mean of every slice and divide by the local standard deviation.

    Parameters
    ----------
    structure
        The structural stack.
    params
        Settings.
    workspace
        Where blocks run and results go.

    Returns
    -------
    ContrastNormalized
        ``normalized``: float32, dimensionless (uint16 with ``compat="clg"``).

    Raises
    ------
    DataError
        If `structure` is no volume, or holds NaN or infinity.
    """
    VOLUME.check(structure)
    workspace = workspace or Workspace()
    limits = None
    if params.scale == "stack" and params.compat == "none":
        with as_data_error("structure"):
            limits = contrast.percentile_limits(
                (structure.isel(z=z).values for z in range(structure.sizes["z"])),
                low=params.low_percentile,
                high=params.high_percentile,
            )
    dtype = np.uint16 if params.compat == "clg" else np.float32
    made = workspace.map_blocks(
        partial(_normalize, params=params, limits=limits),
        structure,
        [output("normalized", ("z", "y", "x"), structure, dtype)],
        split={"z": None},
    )
    return ContrastNormalized(*made)


def _normalize(
    block: xr.DataArray, *, params: NormalizeContrast, limits: contrast.Limits | None
) -> np.ndarray[Any, np.dtype[Any]]:
    radius_px, floor = params.radius_px, params.floor
    made: list[np.ndarray[Any, np.dtype[Any]]]
    if params.compat == "clg":
        made = [
            contrast.normalize_to_uint16(plane, radius_px=radius_px, floor=floor)
            for plane in block.values
        ]
    else:
        made = [
            contrast.normalize_contrast(plane, radius_px=radius_px, floor=floor, limits=limits)
            for plane in block.values
        ]
    return np.stack(made)
