"""Fluorescence of every nucleus on every plane that cuts it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import numpy as np
import xarray as xr
from pydantic import PositiveFloat, model_validator

from clgkit import registration, traces
from clgkit.blocks import Output, output
from clgkit.data import LABELS, MOVIE, Labels, Movie, Volume
from clgkit.errors import DataError
from clgkit.params import Params
from clgkit.schema import Schema
from clgkit.stages._field_of_view import check_field_of_view
from clgkit.stages._planes_labels import MEASURES, Direction, field_of, lay_labels
from clgkit.stages._planes_place import pixel_ratio
from clgkit.workspace import Workspace, failed_planes

if TYPE_CHECKING:
    import numpy.typing as npt

PLANES = Schema("list of the slices of the planes", ("z",), "iu")
MAPS = Schema("map of planes onto slices", ("z", "y", "x", "axis"), "f")
RESIDUAL = Schema("residual of the registration", ("z", "y", "x"), "f")
BAD_FRAMES = Schema("table of bad frames", ("time", "z"), "iub")


class ExtractTraces(Params):
    """Settings of :func:`extract_traces`."""

    movie: Literal["corrected", "denoised"] = "corrected"
    """The movie that traces are taken from: after motion correction, or after `[denoise]`, which
    the run then needs with store = "pixels"."""
    use_offset: bool = True
    """Lay the labels where the registration of each plane says, instead of as they are."""
    direction: Direction = "labels"
    """Bring the labels to the pixels of the movie, or the movie to those of the stack, which
    interpolates it a second time."""
    max_registration_error_px: PositiveFloat | None = None
    """Leave out rois that are placed worse than this, in functional pixels; none if not given."""
    skip_bad_frames: bool = False
    """Give NaN for the bad frames of a plane; set compute_dff.interpolate_gaps along with it."""
    compat: Literal["none", "clg"] = "none"
    """"clg" is the original's arithmetic: all pixels, no offset, sums in float32."""

    @model_validator(mode="after")
    def _moves_what_it_may(self) -> Self:
        if self.compat == "clg" and self.direction == "movie":
            raise ValueError('compat = "clg" takes the movie as it is; leave direction at "labels"')
        return self


class TracesExtracted(NamedTuple):
    """What :func:`extract_traces` gives."""

    rois: xr.DataArray
    plane_labels: Labels
    control: xr.DataArray


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

    The labels come to the data: each plane's section of the labels is brought to the pixels
    of the movie by the nearest pixel, so that the movie is interpolated no further than when its
    motion was undone.  The other direction moves every corrected frame to the pixels of the
    structural stack by a cubic interpolation of its own, the movie's second.  Frames move within
    their plane only; where it lies askew, labels are read at the depth of each pixel in either
    direction.

    Parameters
    ----------
    corrected
        The functional movie.
    labels
        Nuclei of the structural stack.
    planes
        Slice and offset of each plane, of :func:`clgkit.stages.align_planes`.
    maps
        (z, y, x, axis) offset from every pixel of a plane to its position in the stack: slices,
        rows, columns; without it the offset of `planes` is used.
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
        ``plane_labels``: (z, y, x) uint32, the labels as they lie on each plane.  Pixels are
        structural ones where the movie came to the stack.  ``control``: (z, measure) float64,
        for each plane the share of labels that stand out from their rims more than when they
        are moved aside by a nucleus (0.5 by chance, 1 at best), and its p value; NaN for a plane
        without labels.

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
    _check_maps(maps, residual, corrected)
    skipped = _skipped(bad_frames, corrected, params)
    workspace = workspace or Workspace()
    follows = params.use_offset and params.compat == "none"
    grid = corrected if params.direction == "labels" else labels
    number = xr.DataArray(np.arange(len(planes)), dims=("z",), name="number")
    plane_labels, control = workspace.map_blocks(
        partial(
            lay_labels,
            movie=corrected,
            labels=labels,
            use_offset=follows,
            direction=params.direction,
        ),
        (planes, number, *(() if maps is None else (maps,))),
        [
            _label_output(corrected, grid),
            output("control", ("z", "measure"), corrected, np.float64, measure=len(MEASURES)),
        ],
        split={"z": 1},
    )
    ratio = pixel_ratio(corrected, grid)
    lost = failed_planes(corrected)
    found = _find(plane_labels, residual, lost, ratio, params)
    _warn_of_empty(found, planes, lost)
    moved = None if params.direction == "labels" else _Way(planes, maps, labels, ratio, follows)
    made = workspace.map_blocks(
        partial(_extract, found=found, compat=params.compat == "clg", way=moved),
        (corrected, *skipped),
        [_roi_table(found, planes, corrected, residual, ratio)],
        split={"time": None},
    )
    return TracesExtracted(made[0], plane_labels, control)


class _Way(NamedTuple):
    """What brings a movie to its slices."""

    planes: xr.DataArray
    maps: xr.DataArray | None
    labels: Labels
    ratio: tuple[float, float]
    use_offset: bool

    def move(self, plane: int, frames: xr.DataArray) -> npt.NDArray[np.float32]:
        """Return the frames of a plane (time, y, x) as they lie on the stack."""
        field = field_of(
            self.planes.isel(z=[plane]),
            None if self.maps is None else self.maps.isel(z=[plane]),
            shape=(frames.sizes["y"], frames.sizes["x"]),
            ratio=self.ratio,
            use_offset=self.use_offset,
        )
        size = (self.labels.sizes["y"], self.labels.sizes["x"])
        inverse = registration.invert_field(field[..., 1:], size)
        return registration.warp_frames(frames.values, inverse)


def _label_output(movie: Movie, grid: xr.DataArray) -> Output:
    """Return the output of the labels: planes of the movie on the pixels of `grid`."""
    made = output("plane_labels", ("z", "y", "x"), movie, np.uint32)
    shape = (movie.sizes["z"], grid.sizes["y"], grid.sizes["x"])
    inside = {
        dim: ((dim,), grid.coords[dim].values, dict(grid.coords[dim].attrs)) for dim in ("y", "x")
    }
    return replace(made, shape=shape, coords={**made.coords, **inside})


def _find(
    plane_labels: Labels,
    residual: Volume | None,
    lost: Mapping[int, str],
    ratio: tuple[float, float],
    params: ExtractTraces,
) -> list[traces.Rois]:
    """Return the rois of every plane, without those that are placed badly."""
    limit, n_left_out, found = params.max_registration_error_px, 0, []
    for plane in range(plane_labels.sizes["z"]):
        image = plane_labels.isel(z=plane).values * np.uint32(plane not in lost)  # lost: none
        rois = traces.find_rois(image)
        if limit is not None:
            wrong = _error(rois, plane, residual, ratio) > limit
            n_left_out += int(wrong.sum())
            image = np.where(np.isin(image, rois.nucleus[wrong]), np.uint32(0), image)
            rois = traces.find_rois(image)
        found.append(rois)
    if n_left_out:
        n_left = sum(len(rois.nucleus) for rois in found)
        warnings.warn(
            f"{n_left_out} of {n_left + n_left_out} rois are placed worse than {limit:g} px and "
            "were left out",
            stacklevel=3,
        )
    return found


def _check_maps(maps: xr.DataArray | None, residual: Volume | None, movie: Movie) -> None:
    planes = tuple(movie.sizes[dim] for dim in "zyx")
    wanted = (*planes, 3)
    if maps is not None and maps.shape != wanted:
        raise DataError(
            f"The map of the planes has shape {maps.shape}; wanted is {wanted} (z, y, x, axis). "
            "Take the map of the same recording, made by align_planes of this version.",
            code="E_SHAPE",
        )
    if residual is not None and residual.shape != planes:
        raise DataError(
            f"The residual of the registration has shape {residual.shape}; wanted is {planes} "
            "(z, y, x). Take that of the same recording.",
            code="E_SHAPE",
        )


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


def _roi_table(
    found: list[traces.Rois],
    planes: xr.DataArray,
    movie: Movie,
    residual: Volume | None,
    ratio: tuple[float, float],
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
            [_error(rois, plane, residual, ratio) for plane, rois in enumerate(found)]
        ),
    }
    table: dict[str, Any] = {name: (("roi",), values, {}) for name, values in columns.items()}
    time = movie.coords["time"]
    coords = {**table, "time": (("time",), time.values, dict(time.attrs))}
    shape = (len(plane), movie.sizes["time"])
    return Output("rois", ("roi", "time"), shape, np.dtype(np.float32), coords)


def _error(
    rois: traces.Rois, plane: int, residual: Volume | None, ratio: tuple[float, float]
) -> npt.NDArray[np.float32]:
    """Return what the registration left over at the centre of each roi.

    `ratio`: pixels of the rois per functional pixel; at 1 there is nothing to look up, and
    otherwise the few pixels by which slice and plane are apart do not matter.
    """
    if residual is None:
        return np.full(len(rois.nucleus), np.nan, np.float32)
    image = residual.isel(z=plane).values
    y, x = (
        np.clip(np.rint((at + 0.5) / scale - 0.5), 0, n - 1).astype(np.intp)
        for at, scale, n in zip((rois.y, rois.x), ratio, image.shape, strict=True)
    )
    return np.asarray(image[y, x], np.float32)


def _extract(
    block: xr.DataArray,
    skipped: xr.DataArray | None = None,
    *,
    found: list[traces.Rois],
    compat: bool,
    way: _Way | None,
) -> npt.NDArray[np.float32]:
    rows = []
    for plane, rois in enumerate(found):
        frames = block.isel(z=plane)
        if not len(rois.nucleus):
            rows.append(np.empty((0, block.sizes["time"]), np.float32))
            continue
        pixels = frames.values if way is None else way.move(plane, frames)
        rows.append(traces.extract(pixels, rois, compat=compat).astype(np.float32, copy=False))
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
