"""What a method of segmentation hands over, and the table of nuclei that is made of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from clgkit import segmentation
from clgkit.data import voxel_um
from clgkit.segmentation.network_objects import Confidence, join_confidence, measure_confidence
from clgkit.segmentation.tidy import GIANT, SPECK, label_sizes

if TYPE_CHECKING:
    import numpy.typing as npt

    from clgkit.data import Labels, Volume

MEASURES = (
    "voxels", "volume_um3", "probability", "peak", "on_border", "small", "large", "unsure",
)  # fmt: skip
"""Columns of the table of nuclei."""
FLAGS = ("on_border", "small", "large", "unsure")
SUSPECT = FLAGS[1:]
UNSURE_PROBABILITY = 0.75
"""A nucleus whose voxels are foreground with a lower mean probability is flagged."""
UNSURE_PEAK = 0.6
"""A nucleus in which no voxel is deeper than this share of a whole nucleus is flagged."""
DENSITY_UM3 = 1e6


class Found(NamedTuple):
    """Labels, and what else the method knows."""

    labels: Labels
    seeds: Volume | None = None
    foreground: Volume | None = None
    """uint8: probability of a nucleus, times 255."""
    distance: Volume | None = None
    """uint8: distance to the surface over its maximum, times 200."""
    summary: dict[str, Any] = {}  # noqa: RUF012  (never changed)


def table_of(found: Found) -> xr.DataArray:
    """Return size, confidence and flags of every nucleus, (nucleus, measure) float64.

    The columns are `MEASURES`; what a method does not know is NaN.  Coordinates: ``nucleus``, the
    label, and its centre ``z``, ``y``, ``x`` in um.
    """
    sizes = label_sizes(_slices(found.labels))
    volume = sizes.voxels * math.prod(voxel_um(found.labels))
    sure = _confidence(found, sizes.ids)
    usual = float(np.median(sizes.voxels)) if sizes.ids.size else 0.0
    with np.errstate(invalid="ignore"):  # NaN: not known
        unsure = (sure.probability < UNSURE_PROBABILITY) | (sure.peak < UNSURE_PEAK)
    columns = [
        sizes.voxels, volume, sure.probability, sure.peak, sizes.on_border,
        sizes.voxels < SPECK * usual, sizes.voxels > GIANT * usual, unsure,
    ]  # fmt: skip
    coords: dict[str, Any] = {"nucleus": ("nucleus", sizes.ids)}
    for axis, (dim, step) in enumerate(zip("zyx", voxel_um(found.labels), strict=True)):
        first = float(found.labels.coords[dim].values[0])
        coords[dim] = ("nucleus", first + step * sizes.centers[:, axis], {"units": "um"})
    values = np.column_stack([np.asarray(column, np.float64) for column in columns])
    return xr.DataArray(values, dims=("nucleus", "measure"), coords=coords, name="nuclei")


def summary_of(found: Found, table: xr.DataArray) -> dict[str, Any]:
    """Return counts, the density, and the median size."""
    column = dict(zip(MEASURES, table.values.T, strict=True))
    n = table.sizes["nucleus"]
    stack_um3 = math.prod(found.labels.shape) * math.prod(voxel_um(found.labels))
    filled = float(column["volume_um3"].sum())
    return {
        "n_nuclei": n,
        "measures": list(MEASURES),
        "density_per_1e6_um3": DENSITY_UM3 * n / stack_um3 if stack_um3 else None,
        "filled_share": filled / stack_um3 if stack_um3 else None,
        "median_volume_um3": float(np.median(column["volume_um3"])) if n else None,
        "flagged": {name: int(column[name].sum()) for name in FLAGS},
        "n_suspect": int(np.any([column[name] > 0 for name in SUSPECT], axis=0).sum()),
        **found.summary,
    }


def _slices(array: xr.DataArray) -> Iterator[npt.NDArray[Any]]:
    return (array.isel(z=z).values for z in range(array.sizes["z"]))


def _confidence(found: Found, ids: npt.NDArray[np.uint32]) -> Confidence:
    """Return the confidence of the nuclei `ids`, NaN where the method has none."""
    unknown = np.full(ids.size, np.nan)
    if found.foreground is None or ids.size == 0:
        return Confidence(np.zeros(ids.size, np.int64), unknown, unknown)
    n_nuclei = int(ids[-1])
    depths = found.foreground if found.distance is None else found.distance
    slices = zip(*map(_slices, (found.labels, found.foreground, depths)), strict=True)
    parts = (measure_confidence(*of_slice, n_nuclei=n_nuclei) for of_slice in slices)
    total = reduce(lambda so_far, part: join_confidence([so_far, part]), parts)
    peak = unknown if found.distance is None else total.peak[ids]
    return Confidence(total.voxels[ids], total.probability[ids], peak)


def places_of(seeds: Volume) -> npt.NDArray[np.int64]:
    """Return the seeds (n, 3) in raster order, read slice by slice."""
    found = [np.empty((0, 3), np.int64)]
    for z, plane in enumerate(_slices(seeds)):
        y, x = np.nonzero(plane)
        found.append(np.column_stack([np.full(len(y), z), y, x]))
    return np.concatenate(found).astype(np.int64)


class Seeded(NamedTuple):
    """The seeds of a stack, and how to find those of a block."""

    places: npt.NDArray[np.int64]
    """(n, 3), in voxels of the stack, raster order."""
    start_um: tuple[float, float, float]
    """Coordinates of the stack's first voxel."""
    voxel_um: tuple[float, float, float]

    def inside(self, block: xr.DataArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32]]:
        """Return the seeds of a block, in its own voxels, and their ids."""
        starts = [float(block.coords[dim].values[0]) for dim in "zyx"]
        away = (np.array(starts) - np.array(self.start_um)) / np.array(self.voxel_um)
        origin = np.rint(away).astype(np.int64)
        there = (self.places >= origin) & (self.places < origin + block.shape)
        rows = np.flatnonzero(there.all(axis=1))
        return self.places[rows] - origin, (rows + 1).astype(np.uint32)


def seeded(seeds: Volume) -> Seeded:
    """Return the seeds of a stack."""
    z, y, x = (float(seeds.coords[dim].values[0]) for dim in "zyx")
    return Seeded(places_of(seeds), (z, y, x), voxel_um(seeds))


def tile_halo(halo: tuple[int, int, int]) -> dict[str, int]:
    """Return the margin of a tile by dimension."""
    return dict(zip("zyx", halo, strict=True))


def plan_of(
    shape: tuple[int, ...], core: dict[str, int], halo: tuple[int, int, int]
) -> Iterator[segmentation.Tile]:
    """Return the tiles of a stack."""
    z, y, x = shape
    return segmentation.plan_tiles((z, y, x), core=(core["z"], core["y"], core["x"]), halo=halo)
