"""Structural slice and offset of every functional plane."""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
import xarray as xr
from pydantic import Field, PositiveFloat, PositiveInt

from clgkit.blocks import output
from clgkit.data import MOVIE, VOLUME, Movie, Volume, voxel_um
from clgkit.errors import DataError, as_data_error
from clgkit.params import Params
from clgkit.stages import _planes_match as matching
from clgkit.stages._field_of_view import check_field_of_view
from clgkit.stages._planes_place import FACTS, place_plane
from clgkit.stages._z_drift import BAD_FRAMES, measure_z_drift
from clgkit.workspace import Workspace, failed_planes

if TYPE_CHECKING:
    import numpy.typing as npt

    from clgkit.registration import PlaneMatch


class AlignPlanes(Params):
    """Settings of :func:`align_planes`."""

    max_shift_px: PositiveInt = 10
    """Larger offsets within a plane are not looked for, in functional pixels."""
    order: Literal["rising", "falling", "free"] = "rising"
    """Planes follow the order of the slices, the opposite order, or none: then several planes may
    show one slice, in a plane map, too."""
    use_spacing: bool = True
    """Expect neighbouring planes as far apart as their voxel size along z says."""
    nucleus_um: PositiveFloat = 6.0
    """Lateral diameter of a nucleus in micrometres; the filters fit it."""
    tilt: Literal["auto", "none"] = "auto"
    """Whether all planes together may lie askew in the stack; no sure tilt is no tilt."""
    max_tilt_um: PositiveFloat = 6.0
    """Largest difference of depth across the field that is looked for, in micrometres."""
    in_plane: Literal["bent", "offset"] = "bent"
    """Lay each slice on its plane by an affine map and a smooth bending, or by an offset alone."""
    not_found: Literal["leave_out", "keep"] = "leave_out"
    """A plane that the stack does not seem to show has no slice, or keeps its best one."""
    drift_bin_s: PositiveFloat | None = None
    """Follow the depth of every plane by the means of so many seconds; not if not given."""
    min_score: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Planes whose best slice correlates less are reported as doubtful."""
    min_confidence: Annotated[float, Field(ge=0)] = 4.0
    """Planes that might as well lie elsewhere, their confidence being lower, are doubtful, too."""


class PlanesAligned(NamedTuple):
    """What :func:`align_planes` gives."""

    planes: xr.DataArray
    scores: xr.DataArray
    maps: xr.DataArray
    residual: Volume
    z_drift: xr.DataArray | None


def align_planes(  # noqa: PLR0917  (the inputs of a stage, in the order of the table)
    template: Volume,
    structure: Volume,
    plane_map: xr.DataArray | None = None,
    nuclear: Volume | None = None,
    corrected: Movie | None = None,
    bad_frames: xr.DataArray | None = None,
    params: AlignPlanes = AlignPlanes(),  # noqa: B008  (frozen)
    *,
    workspace: Workspace | None = None,
) -> PlanesAligned:
    """Find where in the structural stack each functional plane lies.

    Parameters
    ----------
    template
        Mean image of each functional plane.
    structure
        The structural stack.
    plane_map
        (z,) slice of each plane where it is known, -1 where it is not.
    nuclear
        Mean image of each plane in the channel of the nuclei, if the movie has one: it is
        registered instead of `template`, nuclei to nuclei.
    corrected
        Movie with its motion undone, better of the nuclei; it is read only if ``drift_bin_s``
        is given.
    bad_frames
        (time, z) codes of frames; those above 0 take no part in the drift.
    params
        Settings.
    workspace
        Where blocks run and results go.

    Returns
    -------
    PlanesAligned
        ``planes``: (z,) int32 slice of each plane (from 0, -1 for a plane without one), with
        the coordinates ``score`` (correlation), ``chance`` (what the plane reaches upside down),
        ``found`` (1 the stack shows the plane, 0 it does not, -1 the field is too small to
        tell), ``confidence`` (what the whole assignment loses if the plane had to lie
        elsewhere, in standard deviations; NaN where it could not), ``doubtful`` (1 if one of
        these numbers speaks against the slice), ``position`` (slice with a
        fraction, at the middle of the field), ``tilt_y_slices`` and ``tilt_x_slices`` (by how
        much the last row and column lie deeper than the first), ``shift_y_px`` and
        ``shift_x_px`` (that lay the slice on the plane, in functional pixels), ``residual_px``
        (median of what blocks are off after registration), ``inverse_consistency_px`` (95th
        percentile of the way to the slice and back) and ``given`` (1 where `plane_map` says
        the slice).  ``scores``: (z, slice) correlation of every plane with every slice.
        ``maps``: (z, y, x, axis) float32, offset from every pixel of a plane to its position in
        the stack: slices below its slice, rows and columns (structural pixels).  ``residual``:
        (z, y, x) float32, how far the slice would still have to move there, in functional
        pixels, by the nearest block that was registered; NaN where it is not known.
        ``z_drift``: (bin, z) float32, how far the plane lies from its median depth in the course
        of time, um; None if it was not asked for.

    Raises
    ------
    DataError
        If an argument is no volume, their fields of view differ, the map names a slice or
        has a number of planes that is not there, or leaves other planes no slice of their own
        unless they may lie in any order.
    """
    VOLUME.check(template)
    VOLUME.check(structure)
    check_field_of_view(template, structure)
    given = _given(plane_map, template, structure)
    images, usable = _images(template, nuclear)
    seen = matching.Seen(
        images.isel(z=usable), structure, given[usable], params.max_shift_px,
        params.nucleus_um / voxel_um(template)[1],
    )  # fmt: skip
    numbers = template.coords["plane"].values[usable] if "plane" in template.coords else usable
    with as_data_error("align_planes"):
        found = _search(seen, numbers, params)
    _warn(found, seen, usable, params)
    planes, scores = _labelled(found, template, usable, given)
    drift = _drift(corrected, bad_frames, planes, structure, params=params, workspace=workspace)
    maps, residual, facts = (workspace or Workspace()).map_blocks(
        partial(
            place_plane,
            structure=structure,
            is_bent=params.in_plane == "bent",
            max_shift_px=params.max_shift_px,
            nucleus_px=seen.nucleus_px,
        ),
        (images, planes),
        [
            output("maps", ("z", "y", "x", "axis"), template, axis=3),
            output("residual", ("z", "y", "x"), template),
            output("placement", ("z", "fact"), template, np.float64, fact=len(FACTS)),
        ],
        split={"z": 1},
    )
    known = {name: ("z", facts.values[:, k]) for k, name in enumerate(FACTS)}
    return PlanesAligned(planes.assign_coords(known), scores, maps, residual, drift)


class _Found(NamedTuple):
    """All that is known before the planes are laid on their slices."""

    match: PlaneMatch
    verdict: npt.NDArray[np.int8]
    doubt: matching.Doubt
    tilt: matching.Tilted


def _search(seen: matching.Seen, numbers: npt.NDArray[np.int64], params: AlignPlanes) -> _Found:
    """Find slices and tilt; planes that are not found lose their slice, unless it was given."""
    step = matching.spacing(seen, numbers) if params.use_spacing else None
    match = matching.match(seen, order=params.order, slices_per_plane=step)
    verdict = matching.verdict(match, seen)
    doubt = matching.doubt(
        match, seen, min_score=params.min_score, min_confidence=params.min_confidence
    )
    if params.not_found == "leave_out":
        left_out = (verdict == matching.NOT_FOUND) & (seen.given < 0)
        match = match._replace(slice_index=np.where(left_out, matching.BLANK, match.slice_index))
    max_span = params.max_tilt_um / voxel_um(seen.structure)[0] if params.tilt == "auto" else 0.0
    return _Found(match, verdict, doubt, matching.find_tilt(match, seen, max_span=max_span))


def _drift(
    corrected: Movie | None,
    bad_frames: xr.DataArray | None,
    planes: xr.DataArray,
    structure: Volume,
    *,
    params: AlignPlanes,
    workspace: Workspace | None,
) -> xr.DataArray | None:
    """Follow the planes along z if that was asked for, and say which go too far."""
    if corrected is not None:
        MOVIE.check(corrected)
        check_field_of_view(corrected, structure)
        if corrected.sizes["z"] != len(planes):
            raise DataError(
                f"The movie has {corrected.sizes['z']} planes, the template {len(planes)}. Take "
                "both of the same recording.",
                code="E_SHAPE",
            )
    if bad_frames is not None:
        BAD_FRAMES.check(bad_frames)
    if params.drift_bin_s is None:
        return None
    if corrected is None:
        warnings.warn("drift along z was not measured: there is no movie", stacklevel=3)
        return None
    drift = measure_z_drift(
        corrected,
        planes,
        structure,
        bin_s=params.drift_bin_s,
        bad_frames=bad_frames,
        max_shift_px=params.max_shift_px,
        nucleus_um=params.nucleus_um,
        workspace=workspace,
    )
    for plane in np.flatnonzero(drift.coords["exceeds"].values.any(axis=0)):
        farthest = float(np.nanmax(np.abs(drift.values[:, plane])))
        warnings.warn(
            f"plane {plane} drifts by {farthest:.1f} um along z, more than half a slice: its "
            "traces may show the drift and not activity",
            stacklevel=3,
        )
    return drift


def _images(template: Volume, nuclear: Volume | None) -> tuple[Volume, npt.NDArray[np.int64]]:
    """Return what is registered: nuclei where there are any, and the planes that are not lost."""
    lost = set(failed_planes(template))
    images = template
    if nuclear is not None:
        VOLUME.check(nuclear)
        if nuclear.shape != template.shape:
            raise DataError(
                f"The mean image of the nuclei has shape {nuclear.shape}, that of the movie "
                f"{template.shape} (z, y, x). Take both channels of the same recording.",
                code="E_SHAPE",
            )
        values = np.array(nuclear.values, np.float32)
        for plane in failed_planes(nuclear):
            values[plane] = template.values[plane]
        images = template.copy(data=values)
    return images, np.array([p for p in range(template.sizes["z"]) if p not in lost], np.int64)


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
    found: _Found, seen: matching.Seen, usable: npt.NDArray[np.int64], params: AlignPlanes
) -> None:
    """Say of which planes the slice is not sure, and why."""
    match, given = found.match, seen.given
    blank = np.asarray(~np.isfinite(match.scores).any(axis=1))
    lost = ~blank & (found.verdict == matching.NOT_FOUND)
    none = bool(lost.any() and (lost | blank).all())
    if none:
        _warn_of_none(match, seen, params, lost)
    for row, plane in enumerate(usable):
        if blank[row]:
            warnings.warn(
                f"plane {plane} resembles no slice at all: it or the whole stack is blank",
                stacklevel=3,
            )
            continue
        if lost[row] and not none:
            kept = given[row] >= 0 or params.not_found == "keep"
            warnings.warn(
                f"plane {plane} was not found in the stack: its best correlation is "
                f"{match.score[row]:.2f}, by chance it would be {match.chance[row]:.2f}; it "
                + (f"keeps slice {match.slice_index[row]}" if kept else "is left out"),
                stacklevel=3,
            )
        elif found.doubt.by_score[row] and not lost[row]:
            warnings.warn(
                f"plane {plane} fits no slice well (best correlation {match.score[row]:.2f})",
                stacklevel=3,
            )
        best = int(np.nanargmax(match.scores[row]))
        if given[row] >= 0 and abs(best - int(given[row])) > 1:
            warnings.warn(
                f"plane {plane} is mapped to slice {given[row]}, but slice {best} fits better",
                stacklevel=3,
            )
    unsure = usable[found.doubt.by_confidence & ~found.doubt.by_score & ~lost]
    if len(unsure):
        warnings.warn(
            f"plane(s) {', '.join(map(str, unsure))} might lie in other slices as well: the "
            f"confidence is below {params.min_confidence:g}. Planes that are blurred may match a "
            "slice above or below their own",
            stacklevel=3,
        )


def _warn_of_none(
    match: PlaneMatch, seen: matching.Seen, params: AlignPlanes, lost: npt.NDArray[np.bool_]
) -> None:
    """Say that no plane was found, and the most likely reason."""
    sizes = [
        " x ".join(f"{um:g}" for um in voxel_um(image)[1:])
        for image in (seen.images, seen.structure)
    ]
    kept = params.not_found == "keep" or bool((seen.given >= 0).all())
    warnings.warn(
        f"no plane was found in the stack: the best correlation is {match.score[lost].max():.2f}, "
        f"by chance it would be {match.chance[lost].max():.2f}; "
        + ("planes keep their slices" if kept else "planes are left out")
        + f". If the stack is of this animal, look at voxel_um: pixels of {sizes[0]} um were laid "
        f"on pixels of {sizes[1]} um, and planes do not fit at another size",
        stacklevel=4,
    )


def _labelled(
    found: _Found,
    template: Volume,
    usable: npt.NDArray[np.int64],
    given: npt.NDArray[np.int32],
) -> tuple[xr.DataArray, xr.DataArray]:
    def spread(
        values: npt.NDArray[Any], fill: float = np.nan, dtype: npt.DTypeLike = np.float64
    ) -> npt.NDArray[Any]:
        whole = np.full((template.sizes["z"], *values.shape[1:]), fill, dtype)
        whole[usable] = values
        return whole

    match, tilt = found.match, found.tilt
    n_planes = template.sizes["z"]
    finite = np.where(np.isfinite(match.confidence), match.confidence, np.nan)
    shows_any = np.isfinite(match.scores).any(axis=1)
    per_plane = {
        "score": spread(match.score),
        "chance": spread(match.chance),
        "found": spread(found.verdict, matching.NOT_FOUND, np.int8),
        "confidence": spread(finite),
        "doubtful": spread(
            found.doubt.any | (found.verdict == matching.NOT_FOUND), fill=1, dtype=np.uint8
        ),
        "position": spread(np.where(shows_any, tilt.position, np.nan)),
        "tilt_y_slices": np.full(n_planes, tilt.span_y),
        "tilt_x_slices": np.full(n_planes, tilt.span_x),
        "shift_y_px": spread(match.shift_px[:, 0]),
        "shift_x_px": spread(match.shift_px[:, 1]),
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
