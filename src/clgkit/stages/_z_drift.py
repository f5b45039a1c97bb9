"""How far every functional plane drifts along z in the course of the recording."""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from clgkit import registration
from clgkit.blocks import output
from clgkit.data import rate_hz, voxel_um
from clgkit.schema import Schema
from clgkit.stages._time_means import mean_over_time, numbered
from clgkit.workspace import Workspace, failed_planes

if TYPE_CHECKING:
    import numpy.typing as npt

    from clgkit.data import Movie, Volume

BAD_FRAMES = Schema("table of bad frames", ("time", "z"), "iub")
REACH_UM = 6.0
"""Slices so far above and below a plane are compared with it."""
LEAST_SLICES = 2
"""At least so many of them on either side."""
TOGETHER = 16
"""Means that are held in memory at a time."""


def measure_z_drift(
    corrected: Movie,
    planes: xr.DataArray,
    structure: Volume,
    *,
    bin_s: float,
    bad_frames: xr.DataArray | None = None,
    max_shift_px: float = 10,
    nucleus_um: float = 6.0,
    workspace: Workspace | None = None,
) -> xr.DataArray:
    """Follow the depth of every plane through the means of bins of frames.

    Parameters
    ----------
    corrected
        The functional movie with its motion undone, or better its nuclear channel.
    planes
        (z,) slice of each plane, -1 for one without a slice.
    structure
        The structural stack.
    bin_s
        Length of a bin, seconds; a rest shorter than half a bin belongs to the one before.
    bad_frames
        (time, z) codes; above 0 is bad and takes no part.
    max_shift_px
        Largest offset of a plane on its slice, functional pixels.
    nucleus_um
        Lateral diameter of a nucleus, micrometres.
    workspace
        Where blocks run and results go.

    Returns
    -------
    (bin, z) float32
        ``z_drift``, micrometres from the median depth of the plane, + in the direction of rising
        slices; NaN where a plane has no slice or shows nothing.  Coordinates: ``time`` [s], the
        middle of each bin, and ``exceeds``, 1 where the drift is more than half a slice step.

    Notes
    -----
    Differences of depth are better known than depth
    (:func:`clgkit.registration.z_drift`), so only they are given.  The slices that are compared
    reach `REACH_UM` to either side of the plane's own; a plane that drifts farther stays at
    their end.  More than half a slice of drift looks like activity.
    """
    edges = _edges(corrected.sizes["time"], max(1, round(bin_s * rate_hz(corrected))))
    frame, plane = (voxel_um(array)[1] for array in (corrected, structure))
    other, wide = (voxel_um(array)[2] for array in (corrected, structure))
    (depth,) = (workspace or Workspace()).map_blocks(
        partial(
            _depth_um,
            corrected=corrected,
            bad_frames=bad_frames,
            structure=structure,
            edges=edges,
            pixel_ratio=(frame / plane, other / wide),
            max_shift_px=max_shift_px,
            nucleus_px=nucleus_um / frame,
        ),
        (planes, numbered(corrected)),
        [output("found_depth_um", ("bin", "z"), corrected, bin=len(edges) - 1)],
        split={"z": 1},
    )
    return _labelled(depth, corrected, edges, voxel_um(structure)[0])


def _edges(n_frames: int, length: int) -> list[int]:
    """Return where bins of `length` frames begin, and the end."""
    n_bins = max(1, math.floor(n_frames / length + 0.5))
    return [*range(0, n_bins * length, length), n_frames]


def _depth_um(
    planes: xr.DataArray,
    number: xr.DataArray,
    *,
    corrected: Movie,
    bad_frames: xr.DataArray | None,
    structure: Volume,
    edges: list[int],
    **settings: Any,
) -> npt.NDArray[np.float32]:
    """Return the depth of one plane in every bin, from the first slice of the stack."""
    step = voxel_um(structure)[0]
    plane, chosen = int(number.values[0]), int(planes.values[0])
    depth = np.full((len(edges) - 1, 1), np.nan, np.float32)
    reach = max(LEAST_SLICES, math.ceil(REACH_UM / step))
    first, stop = max(0, chosen - reach), min(structure.sizes["z"], chosen + reach + 1)
    if chosen < 0 or plane in failed_planes(corrected) or stop - first < 3:
        return depth
    slices = structure.isel(z=slice(first, stop)).values
    frames = np.arange(corrected.sizes["time"])
    if bad_frames is not None:
        frames = frames[bad_frames.isel(z=plane).values == 0]
    shown = corrected.isel(z=plane)
    for start in range(0, len(depth), TOGETHER):
        bins = range(start, min(start + TOGETHER, len(depth)))
        inside = [frames[(frames >= edges[b]) & (frames < edges[b + 1])] for b in bins]
        means = np.stack([mean_over_time(shown, chosen_frames) for chosen_frames in inside])
        found = registration.z_drift(means, slices, **settings)
        depth[bins, 0] = (first + found.position) * step
    return depth


def _labelled(
    depth: xr.DataArray, corrected: Movie, edges: list[int], step_um: float
) -> xr.DataArray:
    values = np.asarray(depth.values, np.float64)
    middle = np.full(values.shape[1], np.nan)
    seen = np.isfinite(values).any(axis=0)
    middle[seen] = np.nanmedian(values[:, seen], axis=0)
    drift = values - middle
    time = corrected.coords["time"]
    halfway = [time.values[a:b].mean() for a, b in pairwise(edges)]
    coords: dict[str, Any] = {
        "time": ("bin", np.array(halfway), dict(time.attrs)),
        "exceeds": (("bin", "z"), (np.abs(drift) > step_um / 2).astype(np.uint8)),
    }
    coords |= {name: depth.coords[name] for name in ("z", "plane") if name in depth.coords}
    return xr.DataArray(
        drift.astype(np.float32),
        dims=("bin", "z"),
        coords=coords,
        name="z_drift",
        attrs={"units": "um"},
    )
