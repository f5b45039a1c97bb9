"""Fluorescence of every nucleus on every plane that cuts it."""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from clgkit import registration, traces
from clgkit.blocks import Output, output
from clgkit.data import LABELS, MOVIE, Labels, Movie, Volume, voxel_um
from clgkit.errors import DataError
from clgkit.params import Params
from clgkit.schema import Schema
from clgkit.stages._field_of_view import check_field_of_view
from clgkit.workspace import Workspace, failed_planes

if TYPE_CHECKING:
    import numpy.typing as npt
    import xarray as xr

PLANES = Schema("list of the slices of the planes", ("z",), "iu")
MAPS = Schema("map of planes onto slices", ("z", "y", "x", "axis"), "f")
RESIDUAL = Schema("residual of the registration", ("z", "y", "x"), "f")
BAD_FRAMES = Schema("table of bad frames", ("time", "z"), "iub")


class ExtractTraces(Params):
    """Settings of :func:`extract_traces`."""

    use_offset: bool = True
    """Lay the labels where the registration of each plane says, instead of as they are."""
    skip_bad_frames: bool = False
    """Give NaN for the bad frames of a plane; set compute_dff.interpolate_gaps along with it."""
    compat: Literal["none", "clg"] = "none"
    """"clg" is the original's arithmetic: all pixels, no offset, sums in float32."""


class TracesExtracted(NamedTuple):
    """What :func:`extract_traces` gives."""

    rois: xr.DataArray
    plane_labels: Labels


def extract_traces(  # noqa: PLR0917  (the inputs of a stage, in the order of the table)
    corrected: Movie,
    labels: Labels,
    planes: xr.DataArray,
    maps: xr.DataArray | None = None,
    residual: Volume | None = None,
    bad_frames: xr.DataArray | None = None,
    params: ExtractTraces = ExtractTraces(),  # noqa: B008  (frozen)
    *,
    workspace: Workspace | None = None,
) -> TracesExtracted:
    """Average the pixels of each nucleus on each plane, frame by frame.

    The labels come to the data: each plane's structural slice is brought to the pixels of
    the movie by the nearest pixel, so that the movie is interpolated no further.

    Parameters
    ----------
    corrected
        The functional movie.
    labels
        Nuclei of the structural stack.
    planes
        Slice and offset of each plane, of :func:`clgkit.stages.align_planes`.
    maps
        (z, y, x, axis) offset from every pixel of a plane to its position in its slice; without
        it the offset of `planes` is used.
    residual
        (z, y, x) what the registration left over there, in functional pixels.
    bad_frames
        (time, z) codes of :func:`clgkit.stages.correct_motion`; above 0 is bad.
    params
        Settings.
    workspace
        Where blocks run and results go.

    Returns
    -------
    TracesExtracted
        ``rois``: (roi, time) float32, one row per nucleus and plane, NaN where a frame
        shows less than half of the roi, or is skipped; coordinates ``nucleus``, ``plane``
        (index along z), ``slice``, ``area_px`` (functional pixels), ``y_px``, ``x_px`` and
        ``registration_error_px`` (`residual` at the centre of the roi; NaN if not known).
        ``plane_labels``: (z, y, x) uint32, the labels as they lie on each plane.

    Raises
    ------
    DataError
        If `corrected` is no movie or `labels` are no labels, their fields of view differ, or
        `planes` or `bad_frames` are of another recording.
    """
    MOVIE.check(corrected)
    LABELS.check(labels)
    check_field_of_view(corrected, labels)
    _check_planes(planes, corrected, labels)
    for given, schema in ((maps, MAPS), (residual, RESIDUAL)):
        if given is not None:
            schema.check(given)
    skipped = _skipped(bad_frames, corrected, params)
    workspace = workspace or Workspace()
    (plane_labels,) = workspace.map_blocks(
        partial(_plane_labels, labels=labels, ratio=_ratio(corrected, labels), params=params),
        (planes, corrected.isel(time=0, drop=True), *(() if maps is None else (maps,))),
        [output("plane_labels", ("z", "y", "x"), corrected, np.uint32)],
        split={"z": 1},
    )
    lost = failed_planes(corrected)
    found = [
        traces.find_rois(
            plane_labels.isel(z=plane).values * np.uint32(plane not in lost)  # lost: none
        )
        for plane in range(corrected.sizes["z"])
    ]
    _warn_of_empty(found, planes, lost)
    made = workspace.map_blocks(
        partial(_extract, found=found, compat=params.compat == "clg"),
        (corrected, *skipped),
        [_roi_table(found, planes, corrected, residual)],
        split={"time": None},
    )
    return TracesExtracted(made[0], plane_labels)


def _check_planes(planes: xr.DataArray, movie: Movie, labels: Labels) -> None:
    PLANES.check(planes)
    if len(planes) != movie.sizes["z"]:
        raise DataError(
            f"There are slices for {len(planes)} planes, but the movie has {movie.sizes['z']}. "
            "Take the planes of the same recording.",
            code="E_SHAPE",
        )
    highest = int(planes.values.max(initial=-1))
    if highest >= labels.sizes["z"]:
        raise DataError(
            f"Plane {int(planes.values.argmax())} is slice {highest}, but the labels have "
            f"{labels.sizes['z']} slices (from 0). Take the labels of the same stack.",
            code="E_SHAPE",
        )


def _skipped(
    bad_frames: xr.DataArray | None, movie: Movie, params: ExtractTraces
) -> tuple[xr.DataArray, ...]:
    """Return the frames that are to be NaN, or nothing if none are."""
    if bad_frames is None:
        return ()
    BAD_FRAMES.check(bad_frames)
    wanted = (movie.sizes["time"], movie.sizes["z"])
    if bad_frames.shape != wanted:
        raise DataError(
            f"The table of bad frames has shape {bad_frames.shape}, the movie has {wanted} "
            "(time, z). Take the table of the same recording.",
            code="E_SHAPE",
        )
    bad = bad_frames > 0
    count = int(bad.any("z").sum()) if params.skip_bad_frames else 0
    if count:
        warnings.warn(
            f"{count} of {wanted[0]} frames are bad on one plane or more and were skipped there",
            stacklevel=3,
        )
    return (bad,) if count else ()


def _ratio(movie: Movie, labels: Labels) -> tuple[float, float]:
    """Return structural pixels per functional pixel, along y and x."""
    y, x = (m / s for m, s in zip(voxel_um(movie)[1:], voxel_um(labels)[1:], strict=True))
    return y, x


def _plane_labels(
    planes: xr.DataArray,
    frame: xr.DataArray,
    maps: xr.DataArray | None = None,
    *,
    labels: Labels,
    ratio: tuple[float, float],
    params: ExtractTraces,
) -> npt.NDArray[np.uint32]:
    chosen = int(planes.values[0])
    shape = (frame.sizes["y"], frame.sizes["x"])
    if chosen < 0:
        return np.zeros((1, *shape), np.uint32)
    mapping = registration.plane_to_slice(np.zeros(2), pixel_ratio=ratio)
    if params.use_offset and params.compat == "none" and maps is not None:
        mapping = maps.values[0]
    elif params.use_offset and params.compat == "none" and "shift_y_px" in planes.coords:
        offset = np.array([planes.coords[f"shift_{axis}_px"].values[0] for axis in "yx"])
        mapping = registration.plane_to_slice(offset, pixel_ratio=ratio)
    warped = registration.warp_labels(labels.isel(z=chosen).values, mapping, shape=shape)
    return np.asarray(warped[None], np.uint32)


def _roi_table(
    found: list[traces.Rois], planes: xr.DataArray, movie: Movie, residual: Volume | None
) -> Output:
    """Return the output that holds the rois of all planes, one plane after another."""
    count = [len(rois.nucleus) for rois in found]
    plane = np.repeat(np.arange(len(found), dtype=np.int32), count)
    columns: dict[str, npt.NDArray[Any]] = {
        "nucleus": np.concatenate([rois.nucleus for rois in found]),
        "plane": plane,
        "slice": np.asarray(planes.values, np.int32)[plane],
        "area_px": np.concatenate([rois.area_px for rois in found]),
        "y_px": np.concatenate([rois.y for rois in found]),
        "x_px": np.concatenate([rois.x for rois in found]),
        "registration_error_px": np.concatenate(
            [_error(rois, plane, residual) for plane, rois in enumerate(found)]
        ),
    }
    table: dict[str, Any] = {name: (("roi",), values, {}) for name, values in columns.items()}
    time = movie.coords["time"]
    coords = {**table, "time": (("time",), time.values, dict(time.attrs))}
    shape = (len(plane), movie.sizes["time"])
    return Output("rois", ("roi", "time"), shape, np.dtype(np.float32), coords)


def _error(rois: traces.Rois, plane: int, residual: Volume | None) -> npt.NDArray[np.float32]:
    """Return what the registration left over at the centre of each roi."""
    if residual is None:
        return np.full(len(rois.nucleus), np.nan, np.float32)
    y, x = np.rint(rois.y).astype(np.intp), np.rint(rois.x).astype(np.intp)
    return np.asarray(residual.isel(z=plane).values[y, x], np.float32)


def _extract(
    block: xr.DataArray,
    skipped: xr.DataArray | None = None,
    *,
    found: list[traces.Rois],
    compat: bool,
) -> npt.NDArray[np.float32]:
    pixels = block.values
    rows = [
        traces.extract(pixels[:, plane], rois, compat=compat).astype(np.float32, copy=False)
        for plane, rois in enumerate(found)
    ]
    if skipped is not None:
        for plane, of_plane in enumerate(rows):
            of_plane[:, skipped.values[:, plane]] = np.nan
    return np.concatenate(rows)


def _warn_of_empty(found: list[traces.Rois], planes: xr.DataArray, lost: dict[int, str]) -> None:
    for plane, rois in enumerate(found):
        if plane not in lost and len(rois.nucleus) == 0:
            slice_index = int(planes.values[plane])
            where = f"slice {slice_index}" if slice_index >= 0 else "no slice"
            warnings.warn(f"plane {plane} ({where}) has no nuclei", stacklevel=3)
