"""Labels as they lie on a plane, or the plane's movie as it lies on its slice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from clgkit import registration
from clgkit.stages._planes_place import offsets, pixel_ratio

if TYPE_CHECKING:
    import numpy.typing as npt
    import xarray as xr

    from clgkit.data import Labels, Movie

Direction = Literal["labels", "movie"]

FRAMES = 32
"""Frames, spread over the movie, whose mean the labels are held against."""
MEASURES = ("fraction", "p_value")
"""Columns of the shifted control."""


class Laid(NamedTuple):
    """A block of one plane, as the outputs of the stage want it."""

    labels: npt.NDArray[np.uint32]
    """(1, y, x), or (1, Y, X) if the movie comes to the slice."""
    control: npt.NDArray[np.float64]
    """(1, 2) as `MEASURES`."""


def field_of(
    planes: xr.DataArray,
    maps: xr.DataArray | None,
    *,
    shape: tuple[int, int],
    ratio: tuple[float, float],
    use_offset: bool,
) -> npt.NDArray[np.floating]:
    """Return (y, x, 3): offset of every pixel of one plane in slices, rows and columns."""
    if use_offset and maps is not None:
        return np.asarray(maps.values[0])
    shift = np.zeros(2)
    if use_offset and "shift_y_px" in planes.coords:
        shift[:] = [planes.coords[f"shift_{axis}_px"].values[0] for axis in "yx"]
    flat = offsets(registration.plane_to_slice(shift, pixel_ratio=ratio), shape)
    return np.concatenate([np.zeros((*shape, 1)), flat], axis=2)


def lay_labels(
    planes: xr.DataArray,
    number: xr.DataArray,
    maps: xr.DataArray | None = None,
    *,
    movie: Movie,
    labels: Labels,
    use_offset: bool,
    direction: Direction,
) -> Laid:
    """Return the labels of one plane, and how they fare against themselves, moved aside.

    Parameters
    ----------
    planes, number, maps
        Slice, number and map of the plane.
    movie, labels
        Whole; frames and slices are read as they are needed.
    use_offset
        Whether the registration is followed.
    direction
        Whether labels come to the plane or the plane to its slice.
    """
    chosen, shape = int(planes.values[0]), (movie.sizes["y"], movie.sizes["x"])
    size = (labels.sizes["y"], labels.sizes["x"])
    if chosen < 0:
        empty = np.zeros((1, *(shape if direction == "labels" else size)), np.uint32)
        return Laid(empty, np.full((1, len(MEASURES)), np.nan))
    ratio = pixel_ratio(movie, labels)
    field = field_of(planes, maps, shape=shape, ratio=ratio, use_offset=use_offset)
    image = _mean_of_some(movie.isel(z=int(number.values[0])))
    depth, mapping = chosen + field[..., 0], field[..., 1:]
    if direction == "movie":
        mapping = registration.invert_field(mapping, size)
        depth = registration.warp_image(depth, mapping)
        image = registration.warp_frames(image[np.newaxis], mapping)[0]
        mapping = np.where(np.isfinite(mapping), 0.0, np.nan)
    laid = _cut(labels, depth, mapping)
    return Laid(laid[np.newaxis], _control(image, laid)[np.newaxis])


def _cut(
    labels: Labels, depth: npt.NDArray[np.floating], mapping: npt.NDArray[np.floating]
) -> npt.NDArray[np.uint32]:
    """Read each pixel from the nearest slice, there at the nearest pixel; 0 outside."""
    with np.errstate(invalid="ignore"):  # where there is no depth there is no label
        nearest = np.where(np.isfinite(depth), np.floor(depth + 0.5), -1)
    laid = np.zeros(nearest.shape, np.uint32)
    for z in np.unique(nearest):
        if 0 <= z < labels.sizes["z"]:
            here = registration.warp_labels(labels.isel(z=int(z)).values, mapping)
            laid = np.where(nearest == z, here, laid)
    return laid


def _control(
    image: npt.NDArray[np.float32], laid: npt.NDArray[np.uint32]
) -> npt.NDArray[np.float64]:
    area = np.bincount(np.unique(laid[laid > 0], return_inverse=True)[1])
    if not len(area):
        return np.full(len(MEASURES), np.nan)
    diameter = 2 * float(np.sqrt(np.median(area) / np.pi))
    made = registration.shifted_control(image, laid, distance_px=max(diameter, 2.0))
    return np.array([made.fraction, made.p_value])


def _mean_of_some(plane: xr.DataArray) -> npt.NDArray[np.float32]:
    """Average frames spread over the movie of one plane, read one at a time."""
    shape = (plane.sizes["y"], plane.sizes["x"])
    total, count = np.zeros(shape), np.zeros(shape, np.int64)
    n_frames = plane.sizes["time"]
    chosen = np.unique(np.linspace(0, n_frames - 1, min(n_frames, FRAMES)).astype(np.int64))
    for frame in chosen if n_frames else []:
        values = plane.isel(time=int(frame)).values
        good = np.isfinite(values)
        np.add(total, values, out=total, where=good)
        count += good
    with np.errstate(invalid="ignore"):  # pixels that no frame shows become NaN
        return np.asarray(total / count, np.float32)
