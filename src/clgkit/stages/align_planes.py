"""Structural slice and offset of every functional plane."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
import xarray as xr
from pydantic import Field, PositiveInt

from clgkit import registration
from clgkit.data import VOLUME, Volume, voxel_um
from clgkit.errors import DataError, as_data_error
from clgkit.params import Params
from clgkit.stages._field_of_view import check_field_of_view
from clgkit.workspace import Workspace, failed_planes

if TYPE_CHECKING:
    import numpy.typing as npt


class AlignPlanes(Params):
    """Settings of :func:`align_planes`."""

    max_shift_px: PositiveInt = 10
    """Larger offsets within a plane are not looked for, in functional pixels."""
    order: Literal["rising", "falling", "free"] = "rising"
    """Planes follow the order of the slices, the opposite order, or none."""
    use_spacing: bool = True
    """Expect neighbouring planes as far apart as their voxel size along z says."""
    min_score: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Planes whose best slice correlates less are reported as doubtful."""


class PlanesAligned(NamedTuple):
    """What :func:`align_planes` gives."""

    planes: xr.DataArray
    scores: xr.DataArray


def align_planes(
    template: Volume,
    structure: Volume,
    plane_map: xr.DataArray | None = None,
    params: AlignPlanes = AlignPlanes(),  # noqa: B008  (frozen)
    *,
    workspace: Workspace | None = None,  # noqa: ARG001  (one pass over the stack, not blocks)
) -> PlanesAligned:
    """Find the slice of the structural stack that each functional plane shows.

    Parameters
    ----------
    template
        Mean image of each functional plane.
    structure
        The structural stack.
    plane_map
        (z,) slice of each plane where it is known, -1 where it is not.
    params
        Settings.
    workspace
        Not used: the stack is read once, slice by slice.

    Returns
    -------
    PlanesAligned
        ``planes``: (z,) int32 slice of each plane (from 0, -1 for a plane without one), with
        the coordinates ``score`` (correlation), ``confidence`` (what the whole assignment
        loses if the plane had to lie elsewhere, in standard deviations; NaN where it could
        not), ``shift_y_px`` and ``shift_x_px`` (that lay the slice on the plane, in functional
        pixels) and ``given`` (1 where `plane_map` says it).  ``scores``: (z, slice) correlation
        of every plane with every slice.

    Raises
    ------
    DataError
        If an argument is no volume, their fields of view differ, or the map names a slice or
        has a number of planes that is not there.
    """
    VOLUME.check(template)
    VOLUME.check(structure)
    check_field_of_view(template, structure)
    lost = failed_planes(template)
    usable = np.array([p for p in range(template.sizes["z"]) if p not in lost], np.int64)
    given = _given(plane_map, template, structure)
    with as_data_error("align_planes"):
        match = registration.match_planes(
            template.values[usable],
            (structure.isel(z=z).values for z in range(structure.sizes["z"])),
            pixel_ratio=_ratio(template, structure),
            max_shift_px=params.max_shift_px,
            order=params.order,
            slices_per_plane=_spacing(template, structure, usable) if params.use_spacing else None,
        )
        match = _obey(match, template.isel(z=usable), structure, given[usable], params)
    _warn(match, usable, given, params)
    return _labelled(match, template, usable, given)


def _spacing(template: Volume, structure: Volume, usable: npt.NDArray[np.int64]) -> float | None:
    """Return slices per plane, or None if planes are missing in between."""
    numbers = usable
    if "plane" in template.coords:
        numbers = template.coords["plane"].values[usable]
    if len(usable) < 2 or np.any(np.diff(numbers) != 1):
        return None
    return voxel_um(template)[0] / voxel_um(structure)[0]


def _obey(
    match: registration.PlaneMatch,
    planes: Volume,
    structure: Volume,
    given: npt.NDArray[np.int32],
    params: AlignPlanes,
) -> registration.PlaneMatch:
    """Put the planes whose slice is given on that slice, with its own score and offset.

    A plane that resembles no slice at all, as where one of them is blank, has none: -1.
    """
    slice_index = np.where(np.isfinite(match.scores).any(axis=1), match.slice_index, -1)
    known = np.flatnonzero(given >= 0)
    if len(known) == 0:
        return match._replace(slice_index=slice_index)
    scored = registration.score_planes(
        planes.values[known],
        (structure.isel(z=int(z)).values for z in given[known]),
        pixel_ratio=_ratio(planes, structure),
        max_shift_px=params.max_shift_px,
    )
    score, shift_px = match.score.copy(), match.shift_px.copy()
    slice_index[known] = given[known]
    score[known], shift_px[known] = scored.score, scored.shift_px
    return match._replace(slice_index=slice_index, score=score, shift_px=shift_px)


def _ratio(template: Volume, structure: Volume) -> tuple[float, float]:
    """Return structural pixels per functional pixel, along y and x."""
    y, x = (f / s for f, s in zip(voxel_um(template)[1:], voxel_um(structure)[1:], strict=True))
    return y, x


def _given(
    plane_map: xr.DataArray | None, template: Volume, structure: Volume
) -> npt.NDArray[np.int32]:
    """Return the slice of each plane where it is known, -1 elsewhere."""
    n_planes = template.sizes["z"]
    if plane_map is None:
        return np.full(n_planes, -1, np.int32)
    if plane_map.dims != ("z",) or plane_map.dtype.kind not in "iu" or len(plane_map) != n_planes:
        raise DataError(
            f"The plane map holds {plane_map.dtype} of shape {plane_map.shape}; wanted is one "
            f"whole number for each of the {n_planes} planes.",
            code="E_SHAPE",
        )
    given = np.asarray(plane_map.values, np.int32)
    if given.max(initial=-1) >= structure.sizes["z"]:
        raise DataError(
            f"The plane map names slice {given.max() + 1}, but the structural stack has "
            f"{structure.sizes['z']} slices. Correct the map.",
            code="E_SHAPE",
        )
    return given


def _warn(
    match: registration.PlaneMatch,
    usable: npt.NDArray[np.int64],
    given: npt.NDArray[np.int32],
    params: AlignPlanes,
) -> None:
    for row, plane in enumerate(usable):
        if not np.isfinite(match.scores[row]).any():
            warnings.warn(
                f"plane {plane} resembles no slice at all: it or the whole stack is blank",
                stacklevel=3,
            )
            continue
        if not match.score[row] >= params.min_score:
            warnings.warn(
                f"plane {plane} fits no slice well (best correlation {match.score[row]:.2f})",
                stacklevel=3,
            )
        best = int(np.nanargmax(match.scores[row]))
        if given[plane] >= 0 and abs(best - int(given[plane])) > 1:
            warnings.warn(
                f"plane {plane} is mapped to slice {given[plane]}, but slice {best} fits better",
                stacklevel=3,
            )


def _labelled(
    match: registration.PlaneMatch,
    template: Volume,
    usable: npt.NDArray[np.int64],
    given: npt.NDArray[np.int32],
) -> PlanesAligned:
    def spread(values: npt.NDArray[Any], fill: float, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        whole = np.full((template.sizes["z"], *values.shape[1:]), fill, dtype)
        whole[usable] = values
        return whole

    per_plane = {
        "score": spread(match.score, np.nan, np.float64),
        "confidence": spread(
            np.where(np.isfinite(match.confidence), match.confidence, np.nan), np.nan, np.float64
        ),
        "shift_y_px": spread(match.shift_px[:, 0], np.nan, np.float64),
        "shift_x_px": spread(match.shift_px[:, 1], np.nan, np.float64),
        "given": (given >= 0).astype(np.uint8),
    }
    coords: dict[str, Any] = {"z": template.coords["z"]}
    if "plane" in template.coords:
        coords["plane"] = template.coords["plane"]
    coords |= {name: ("z", values) for name, values in per_plane.items()}
    planes = xr.DataArray(
        spread(match.slice_index, -1, np.int32), dims=("z",), coords=coords, name="planes"
    )
    scores = xr.DataArray(
        spread(match.scores, np.nan, np.float32),
        dims=("z", "slice"),
        coords={"z": template.coords["z"]},
        name="scores",
    )
    return PlanesAligned(planes, scores)
