"""Structural slice and offset of every functional plane."""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
import xarray as xr
from pydantic import Field, PositiveFloat, PositiveInt
from scipy.interpolate import NearestNDInterpolator

from clgkit import registration
from clgkit.blocks import output
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
    nucleus_um: PositiveFloat = 6.0
    """Lateral diameter of a nucleus in micrometres; the filters fit it."""
    in_plane: Literal["bent", "offset"] = "bent"
    """Lay each slice on its plane by an affine map and a smooth bending, or by an offset alone."""
    min_score: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Planes whose best slice correlates less are reported as doubtful."""


class PlanesAligned(NamedTuple):
    """What :func:`align_planes` gives."""

    planes: xr.DataArray
    scores: xr.DataArray
    maps: xr.DataArray
    residual: Volume


def align_planes(
    template: Volume,
    structure: Volume,
    plane_map: xr.DataArray | None = None,
    params: AlignPlanes = AlignPlanes(),  # noqa: B008  (frozen)
    *,
    workspace: Workspace | None = None,
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
        Where blocks run and results go.

    Returns
    -------
    PlanesAligned
        ``planes``: (z,) int32 slice of each plane (from 0, -1 for a plane without one), with
        the coordinates ``score`` (correlation), ``confidence`` (what the whole assignment
        loses if the plane had to lie elsewhere, in standard deviations; NaN where it could
        not), ``shift_y_px`` and ``shift_x_px`` (that lay the slice on the plane, in functional
        pixels) and ``given`` (1 where `plane_map` says it).  ``scores``: (z, slice) correlation
        of every plane with every slice.  ``maps``: (z, y, x, axis) float32, offset from every
        pixel of a plane to its position in its slice (structural pixels).  ``residual``: (z, y,
        x) float32, how far the slice would still have to move there, in functional pixels, by
        the nearest block that was registered; NaN where it is not known.

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
            nucleus_px=_nucleus_px(template, params),
        )
        match = _obey(match, template.isel(z=usable), structure, given[usable], params)
    _warn(match, usable, given, params)
    planes, scores = _labelled(match, template, usable, given)
    maps, residual = (workspace or Workspace()).map_blocks(
        partial(_map, structure=structure, params=params),
        (template, planes),
        [
            output("maps", ("z", "y", "x", "axis"), template, axis=2),
            output("residual", ("z", "y", "x"), template),
        ],
        split={"z": 1},
    )
    return PlanesAligned(planes, scores, maps, residual)


def _nucleus_px(template: Volume, params: AlignPlanes) -> float:
    return params.nucleus_um / voxel_um(template)[1]


def _map(
    template: xr.DataArray, planes: xr.DataArray, *, structure: Volume, params: AlignPlanes
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the map from one plane to its slice, and what is left over."""
    plane, chosen = template.values[0], int(planes.values[0])
    residual = np.full(plane.shape, np.nan, np.float32)
    ratio = _ratio(template, structure)
    shift = np.array([planes.coords[f"shift_{axis}_px"].values[0] for axis in "yx"])
    shift = np.nan_to_num(shift)
    offset = _offsets(registration.plane_to_slice(shift, pixel_ratio=ratio), plane.shape)
    if chosen < 0 or params.in_plane == "offset":
        return offset[None], residual[None]
    try:
        made = registration.register_plane(
            plane,
            structure.isel(z=chosen).values,
            pixel_ratio=ratio,
            max_shift_px=params.max_shift_px,
            start_px=(float(shift[0]), float(shift[1])),
            nucleus_px=_nucleus_px(template, params),
        )
    except ValueError:  # too little to see for anything but the offset
        return offset[None], residual[None]
    if len(made.block_center_px):
        nearest = NearestNDInterpolator(
            made.block_center_px, np.linalg.norm(made.block_residual_px, axis=1)
        )
        residual[:] = nearest(*np.indices(plane.shape))
    return made.field[None], residual[None]


def _offsets(matrix: npt.NDArray[np.float64], shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Return the offset of every pixel under a (2, 3) map."""
    here = np.indices(shape).transpose(1, 2, 0)
    there = here @ matrix[:, :2].T + matrix[:, 2]
    return np.asarray(there - here, np.float32)


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
        nucleus_px=_nucleus_px(planes, params),
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
) -> tuple[xr.DataArray, xr.DataArray]:
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
    return planes, scores
