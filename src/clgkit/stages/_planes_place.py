"""One plane laid on its part of the stack: level or tilted, by an offset or a bent map."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.interpolate import NearestNDInterpolator

from clgkit import registration
from clgkit.data import voxel_um

if TYPE_CHECKING:
    import numpy.typing as npt
    import xarray as xr

    from clgkit.data import Volume

FACTS = ("inverse_consistency_px", "residual_px")
"""What is known of a plane after it was laid on its slice."""


class Placed(NamedTuple):
    """A block of one plane, as the outputs of the stage want it."""

    maps: npt.NDArray[np.float32]
    """(1, y, x, 3)"""
    residual: npt.NDArray[np.float32]
    """(1, y, x)"""
    facts: npt.NDArray[np.float64]
    """(1, 2) as `FACTS`."""


class Pose(NamedTuple):
    """Where a plane lies in the stack, in slices."""

    chosen: int
    position: float
    span_y: float
    span_x: float

    @property
    def is_level(self) -> bool:
        """Whether the plane lies in one slice."""
        return self.span_y == 0 and self.span_x == 0


def pixel_ratio(function: xr.DataArray, structure: xr.DataArray) -> tuple[float, float]:
    """Return structural pixels per functional pixel, along y and x."""
    y, x = (f / s for f, s in zip(voxel_um(function)[1:], voxel_um(structure)[1:], strict=True))
    return y, x


def place_plane(
    image: xr.DataArray,
    planes: xr.DataArray,
    *,
    structure: Volume,
    is_bent: bool,
    max_shift_px: float,
    nucleus_px: float,
) -> Placed:
    """Return the map from one plane to the stack, and what is left over.

    Parameters
    ----------
    image : (1, y, x)
        Mean image of the plane.
    planes : (1,)
        Its slice, with coordinates for depth, tilt and shift.
    structure
        The stack.
    is_bent
        Whether more than the shift is looked for.
    max_shift_px, nucleus_px
        As in :func:`clgkit.registration.register_plane`.
    """
    plane, ratio, pose = image.values[0], pixel_ratio(image, structure), _pose(planes)
    shift = np.nan_to_num([float(planes.coords[f"shift_{axis}_px"].values[0]) for axis in "yx"])
    offset: npt.NDArray[np.floating] = offsets(
        registration.plane_to_slice(shift, pixel_ratio=ratio), plane.shape
    )
    residual = np.full(plane.shape, np.nan, np.float32)
    facts = np.full(len(FACTS), np.nan)
    made = None
    if pose.chosen >= 0 and is_bent:
        try:
            made = registration.register_plane(
                plane,
                section(structure, pose),
                pixel_ratio=ratio,
                max_shift_px=max_shift_px,
                start_px=(float(shift[0]), float(shift[1])),
                nucleus_px=nucleus_px,
            )
        except ValueError:  # too little to see for anything but the offset
            made = None
    if made is not None:
        offset = made.field
        off = np.linalg.norm(made.block_residual_px, axis=1)
        residual[:] = NearestNDInterpolator(made.block_center_px, off)(*np.indices(plane.shape))
        facts[:] = made.inverse_consistency_px, np.median(off)
    whole = np.concatenate([_deeper(offset, pose, structure)[..., np.newaxis], offset], axis=2)
    return Placed(whole[np.newaxis].astype(np.float32), residual[np.newaxis], facts[np.newaxis])


def section(structure: Volume, pose: Pose) -> npt.NDArray[np.generic]:
    """Return what the plane cuts out of the stack: its slice, or an oblique section."""
    if pose.is_level:
        return np.asarray(structure.isel(z=pose.chosen).values)
    reach = (abs(pose.span_y) + abs(pose.span_x)) / 2 + 1
    first = max(0, int(np.floor(pose.position - reach)))
    last = min(structure.sizes["z"], int(np.ceil(pose.position + reach)) + 1)
    return registration.sample_oblique(
        structure.isel(z=slice(first, last)).values,
        position=pose.position - first,
        span_y=pose.span_y,
        span_x=pose.span_x,
    )


def _pose(planes: xr.DataArray) -> Pose:
    names = ("position", "tilt_y_slices", "tilt_x_slices")
    return Pose(int(planes.values[0]), *(float(planes.coords[name].values[0]) for name in names))


def offsets(matrix: npt.NDArray[np.float64], shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Return the offset (y, x, 2) of every pixel under a (2, 3) map."""
    here = np.indices(shape).transpose(1, 2, 0)
    return np.asarray(here @ matrix[:, :2].T + matrix[:, 2] - here)


def _deeper(
    offset: npt.NDArray[np.floating], pose: Pose, structure: Volume
) -> npt.NDArray[np.float32]:
    """Return by how many slices every pixel lies deeper than the chosen slice."""
    if pose.chosen < 0 or pose.is_level:
        return np.zeros(offset.shape[:2], np.float32)
    there = np.indices(offset.shape[:2]).transpose(1, 2, 0) + offset
    last = [max(structure.sizes[dim] - 1, 1) for dim in ("y", "x")]
    ahead = (there / last - 0.5) @ [pose.span_y, pose.span_x]
    return np.asarray(pose.position - pose.chosen + ahead, np.float32)
