"""Fluorescence of every nucleus on every plane that cuts it."""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from clgkit import registration, traces
from clgkit.data import LABELS, MOVIE, Labels, Movie, voxel_um
from clgkit.params import Params
from clgkit.workspace import Output, Workspace, failed_planes, output

if TYPE_CHECKING:
    import numpy.typing as npt
    import xarray as xr


class ExtractTraces(Params):
    """Settings of :func:`extract_traces`."""

    use_offset: bool = True
    """Move the labels by the offset found for each plane before they are laid on it."""


class TracesExtracted(NamedTuple):
    """What :func:`extract_traces` gives."""

    rois: xr.DataArray
    plane_labels: Labels


def extract_traces(
    corrected: Movie,
    labels: Labels,
    planes: xr.DataArray,
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
    params
        Settings.
    workspace
        Where blocks run and results go.

    Returns
    -------
    TracesExtracted
        ``rois``: (roi, time) float32, one row per nucleus and plane, NaN where a frame
        shows less than half of the roi; coordinates ``nucleus``, ``plane`` (index along
        z), ``slice``, ``area_px`` (functional pixels), ``y_px``, ``x_px``.
        ``plane_labels``: (z, y, x) uint32, the labels as they lie on each plane.

    Raises
    ------
    DataError
        If `corrected` is no movie or `labels` are no labels.
    """
    MOVIE.check(corrected)
    LABELS.check(labels)
    workspace = workspace or Workspace()
    (plane_labels,) = workspace.map_blocks(
        partial(_plane_labels, labels=labels, ratio=_ratio(corrected, labels), params=params),
        (planes, corrected.isel(time=0, drop=True)),
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
        partial(_extract, found=found),
        corrected,
        [_roi_table(found, planes, corrected)],
        split={"time": None},
    )
    return TracesExtracted(made[0], plane_labels)


def _ratio(movie: Movie, labels: Labels) -> tuple[float, float]:
    """Return structural pixels per functional pixel, along y and x."""
    y, x = (m / s for m, s in zip(voxel_um(movie)[1:], voxel_um(labels)[1:], strict=True))
    return y, x


def _plane_labels(
    planes: xr.DataArray,
    frame: xr.DataArray,
    *,
    labels: Labels,
    ratio: tuple[float, float],
    params: ExtractTraces,
) -> npt.NDArray[np.uint32]:
    chosen = int(planes.values[0])
    shape = (frame.sizes["y"], frame.sizes["x"])
    if chosen < 0:
        return np.zeros((1, *shape), np.uint32)
    offset = np.zeros(2)
    if params.use_offset and "shift_y_px" in planes.coords:
        offset = np.array([planes.coords[f"shift_{axis}_px"].values[0] for axis in "yx"])
    mapping = registration.plane_to_slice(offset, pixel_ratio=ratio)
    warped = registration.warp_labels(labels.isel(z=chosen).values, mapping, shape=shape)
    return np.asarray(warped[None], np.uint32)


def _roi_table(found: list[traces.Rois], planes: xr.DataArray, movie: Movie) -> Output:
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
    }
    table: dict[str, Any] = {name: (("roi",), values, {}) for name, values in columns.items()}
    time = movie.coords["time"]
    coords = {**table, "time": (("time",), time.values, dict(time.attrs))}
    shape = (len(plane), movie.sizes["time"])
    return Output("rois", ("roi", "time"), shape, np.dtype(np.float32), coords)


def _extract(block: xr.DataArray, *, found: list[traces.Rois]) -> npt.NDArray[np.float32]:
    pixels = block.values
    rows = [traces.extract(pixels[:, plane], rois) for plane, rois in enumerate(found)]
    return np.concatenate(rows).astype(np.float32, copy=False)


def _warn_of_empty(found: list[traces.Rois], planes: xr.DataArray, lost: dict[int, str]) -> None:
    for plane, rois in enumerate(found):
        if plane not in lost and len(rois.nucleus) == 0:
            slice_index = int(planes.values[plane])
            where = f"slice {slice_index}" if slice_index >= 0 else "no slice"
            warnings.warn(f"plane {plane} ({where}) has no nuclei", stacklevel=3)
