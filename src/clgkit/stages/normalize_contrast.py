"""Structural stack with even brightness and contrast."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from clgkit import contrast
from clgkit.blocks import output
from clgkit.data import VOLUME, Volume, voxel_um
from clgkit.errors import DataError, as_data_error
from clgkit.params import Params
from clgkit.workspace import Workspace

if TYPE_CHECKING:
    import xarray as xr

Percent = Annotated[float, Field(ge=0, le=100)]
Radius = tuple[int, int, int]


class NormalizeContrast(Params):
    """Settings of :func:`normalize_contrast`."""

    window: Literal["slice", "volume"] = "slice"
    """The neighbourhood: a square within the slice, or a box that reaches into other slices."""
    radius_px: PositiveInt = 10
    """Window "slice": a square of side 2 * radius_px + 1 pixels."""
    radius_um: PositiveFloat = 4.0
    """Window "volume": how far the box reaches along y and x, in micrometres."""
    radius_z_um: NonNegativeFloat = 4.0
    """Window "volume": how far the box reaches along z, in micrometres."""
    floor: PositiveFloat = 5e-4
    """Added to the local variance of the image scaled to [0, 1]."""
    noise_sd: NonNegativeFloat = 0.0
    """Above 0: noise of the raw stack, in its units; its square replaces the floor."""
    scale: Literal["stack", "plane", "given"] = "stack"
    """Scale by two percentiles of the whole stack, each slice by its extremes, or as given."""
    low_percentile: Percent = 0.2
    """Scale "stack": percentile that becomes 0."""
    high_percentile: Percent = 99.8
    """Scale "stack": percentile that becomes 1."""
    low_intensity: float = 0.0
    """Scale "given": intensity that becomes 0."""
    high_intensity: float = 65535.0
    """Scale "given": intensity that becomes 1."""
    dtype: Literal["float32", "uint16"] = "float32"
    """Numbers of the result; uint16 by one recorded map for the whole stack, rounded."""
    compat: Literal["none", "clg"] = "none"
    """"clg" gives the original script: slices by their own extremes, rescaled to uint16."""

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if self.low_percentile >= self.high_percentile:
            raise ValueError("low_percentile must be below high_percentile")
        if self.low_intensity >= self.high_intensity:
            raise ValueError("low_intensity must be below high_intensity")
        if self.window == "volume" and self.scale == "plane":
            raise ValueError('window "volume" needs one scale for all slices, not "plane"')
        if self.compat == "clg" and (self.window == "volume" or self.noise_sd):
            raise ValueError('compat "clg" knows neither window "volume" nor noise_sd')
        return self


class ContrastNormalized(NamedTuple):
    """What :func:`normalize_contrast` gives."""

    normalized: Volume
    summary: dict[str, Any]


def normalize_contrast(
    structure: Volume,
    params: NormalizeContrast = NormalizeContrast(),  # noqa: B008  (frozen)
    *,
    workspace: Workspace | None = None,
) -> ContrastNormalized:
    """Subtract the local mean at every pixel and divide by the local standard deviation.

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
        ``normalized``: float32, dimensionless.  As uint16, an integer n stands for ``offset +
        gain * n``; both are in ``summary``, and in the attributes under their usual names
        ``add_offset`` and ``scale_factor``.  (With ``compat="clg"`` every slice has a map of its
        own, which nobody knows.)  ``summary``: ``low`` and ``high``, the intensities that became
        0 and 1, ``window_px`` along z, y, x, ``offset`` and ``gain``; None where there are none.

    Raises
    ------
    DataError
        If `structure` is no volume, or holds NaN or infinity, or a pixel is larger than the
        window's radius.
    """
    VOLUME.check(structure)
    workspace = workspace or Workspace()
    radius_px = _radius_px(structure, params)
    limits = _limits(structure, params)
    stored = contrast.affine_map(radius_px) if _has_map(params) else None
    made = output(
        "normalized",
        ("z", "y", "x"),
        structure,
        np.uint16 if params.compat == "clg" else np.dtype(params.dtype),
    )
    if stored is not None:
        made = replace(made, attrs={"add_offset": stored.offset, "scale_factor": stored.gain})
    (normalized,) = workspace.map_blocks(
        partial(
            _normalize,
            params=params,
            limits=limits,
            radius_px=radius_px,
            stored=stored,
            device=workspace.device,
        ),
        structure,
        [made],
        split={"z": None},
        halo={"z": radius_px[0]},
    )
    summary = {
        "low": None if limits is None else limits.low,
        "high": None if limits is None else limits.high,
        "window_px": [2 * radius + 1 for radius in radius_px],
        "offset": None if stored is None else stored.offset,
        "gain": None if stored is None else stored.gain,
    }
    return ContrastNormalized(normalized, summary)


def _has_map(params: NormalizeContrast) -> bool:
    return params.dtype == "uint16" and params.compat == "none"


def _radius_px(structure: Volume, params: NormalizeContrast) -> Radius:
    if params.window == "slice":
        return 0, params.radius_px, params.radius_px
    steps = voxel_um(structure)
    wanted = (params.radius_z_um, params.radius_um, params.radius_um)
    z, y, x = (round(um / abs(step)) for um, step in zip(wanted, steps, strict=True))
    if min(y, x) < 1:
        raise DataError(
            f"radius_um is {params.radius_um:g}, but the pixels of the structure are "
            f"{steps[1]:g} x {steps[2]:g} um; the radius must be at least one pixel."
        )
    return z, y, x


def _limits(structure: Volume, params: NormalizeContrast) -> contrast.Limits | None:
    """Return the intensities that become 0 and 1, or None if every slice has its own."""
    if params.scale == "plane" or params.compat == "clg":
        return None
    if params.scale == "given":
        return contrast.Limits(params.low_intensity, params.high_intensity)
    counted = contrast.StackLimits()
    with as_data_error("structure"):
        for z in range(structure.sizes["z"]):
            counted.add(structure.isel(z=z).values)
        limits = counted.limits(low=params.low_percentile, high=params.high_percentile)
        darkest, brightest = counted.limits(low=0, high=100)
    if limits.low == limits.high and darkest < brightest:
        warnings.warn(
            f"Both percentiles of the structure are {limits.low:g}, though its intensities go from "
            f"{darkest:g} to {brightest:g}: the result is zero everywhere. Move low_percentile and "
            "high_percentile apart.",
            stacklevel=3,
        )
    return limits


def _normalize(
    block: xr.DataArray,
    *,
    params: NormalizeContrast,
    limits: contrast.Limits | None,
    radius_px: Radius,
    stored: contrast.AffineMap | None,
    device: str,
) -> np.ndarray[Any, np.dtype[Any]]:
    if params.compat == "clg":
        script = partial(contrast.normalize_to_uint16, radius_px=radius_px[1], floor=params.floor)
        return np.stack([script(plane) for plane in block.values])
    options: dict[str, Any] = {
        "limits": limits,
        "floor": params.floor,
        "noise_sd": params.noise_sd or None,
        "device": device,
    }
    if params.window == "volume":
        made = contrast.normalize_volume(block.values, radius_px=radius_px, **options)
    else:
        options["radius_px"] = radius_px[1]
        made = np.stack([contrast.normalize_contrast(p, **options) for p in block.values])
    return made if stored is None else stored.encode(made)
