"""3-D identity of every nucleus."""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
from pydantic import Field, PositiveFloat

from clgkit import segmentation
from clgkit.blocks import output
from clgkit.data import VOLUME, Labels, Volume, voxel_um
from clgkit.errors import DataError, as_data_error
from clgkit.params import Params
from clgkit.workspace import Workspace

if TYPE_CHECKING:
    import numpy.typing as npt
    import xarray as xr

CORE_PX = {"z": 64, "y": 256, "x": 256}


class SegmentNuclei(Params):
    """Settings of :func:`segment_nuclei`."""

    diameter_um: PositiveFloat = 6.0
    """Lateral diameter of a nucleus in micrometres."""
    elongation: PositiveFloat = 2.0
    """How many times longer than wide the optics make a nucleus along z."""
    noise_factor: PositiveFloat = 5.5
    """A seed's response must exceed that of pure noise this many times."""
    peak_share: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """A seed's response must exceed this share of the strong ones."""
    height_share: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """A nucleus ends where its brightness falls to this share of its own maximum."""
    min_volume_share: Annotated[float, Field(ge=0, lt=1)] = 0.12
    """Objects smaller than this share of a nucleus of the given diameter are dropped."""


class NucleiSegmented(NamedTuple):
    """What :func:`segment_nuclei` gives."""

    labels: Labels
    seeds: Volume
    summary: dict[str, Any]


def segment_nuclei(
    structure: Volume,
    raw: Volume | None = None,
    params: SegmentNuclei = SegmentNuclei(),  # noqa: B008  (frozen)
    *,
    workspace: Workspace | None = None,
) -> NucleiSegmented:
    """Find every nucleus of a stack and give its voxels one number.

    Seeds are the peaks of a blob filter; a watershed grows each to the half-height of its
    own brightness (see `clgkit.segmentation`).

    Parameters
    ----------
    structure
        The structural stack, raw, denoised or with its contrast normalized.
    raw
        The same stack before it was denoised.  A denoised stack hides its noise from a look at
        neighbouring voxels, so the noise of both is measured, and the larger one counts.
    params
        Settings.
    workspace
        Where blocks run and results go.

    Returns
    -------
    NucleiSegmented
        ``labels``: uint32, 0 is background, numbers may have gaps.  ``seeds``: uint8, 1 at
        the peak of each nucleus.  ``summary``: counts and the threshold used.

    Raises
    ------
    DataError
        If `structure` is no volume, holds NaN, or a nucleus would be less than 4 or more
        than 40 pixels across; if `raw` is no volume or has another shape.
    """
    VOLUME.check(structure)
    if raw is not None:
        _check_raw(raw, structure)
    workspace = workspace or Workspace()
    size = {
        "voxel_um": voxel_um(structure),
        "diameter_um": (
            params.diameter_um * params.elongation,
            params.diameter_um,
            params.diameter_um,
        ),
    }
    with as_data_error("structure"):
        halo = dict(zip("zyx", segmentation.halo_voxels(**size), strict=True))
        threshold = _threshold(structure, params, size, halo)
        if raw is not None and raw is not structure:
            of_noise = params.model_copy(update={"peak_share": 0.0})
            threshold = max(threshold, _threshold(raw, of_noise, size, halo))
    split: dict[str, int | None] = dict(CORE_PX)
    (seeds,) = workspace.map_blocks(
        partial(_seeds, size=size, threshold=threshold),
        structure,
        [output("seeds", ("z", "y", "x"), structure, np.uint8)],
        split=split,
        halo=halo,
    )
    places = _places(seeds)
    (labels,) = workspace.map_blocks(
        partial(_grow, places=places, size=size, params=params, first=_index(structure, size)),
        structure,
        [output("labels", ("z", "y", "x"), structure, np.uint32)],
        split=split,
        halo=halo,
    )
    if len(places) == 0:
        warnings.warn("no nucleus was found; all later results are empty", stacklevel=2)
    summary = {"n_seeds": len(places), "seed_threshold": float(threshold)}
    return NucleiSegmented(labels, seeds, summary)


def _check_raw(raw: Volume, structure: Volume) -> None:
    VOLUME.check(raw)
    if raw.shape != structure.shape:
        raise DataError(
            f"The raw stack has shape {raw.shape} and the denoised one {structure.shape}; give the "
            "stack that the denoised one was made from.",
            code="E_SHAPE",
        )


def _threshold(
    structure: Volume, params: SegmentNuclei, size: dict[str, Any], halo: dict[str, int]
) -> float:
    n_z, n_y, n_x = structure.shape
    shape = (n_z, n_y, n_x)
    core = (CORE_PX["z"], CORE_PX["y"], CORE_PX["x"])
    stride = segmentation.sample_stride(shape)
    tiles = segmentation.plan_tiles(shape, core=core, halo=(halo["z"], halo["y"], halo["x"]))
    sampled = (
        segmentation.seed_statistics(
            structure[tile.padded].values, stride=stride, where=tile, **size
        )
        for tile in tiles
    )
    return segmentation.seed_threshold(
        sampled,
        shape=shape,
        noise_factor=params.noise_factor,
        peak_share=params.peak_share,
        **size,
    )


def _seeds(block: xr.DataArray, *, size: dict[str, Any], threshold: float) -> npt.NDArray[np.uint8]:
    found = segmentation.find_seeds(block.values, threshold=threshold, **size)
    flags = np.zeros(block.shape, np.uint8)
    flags[tuple(found.places.T)] = 1
    return flags


def _places(seeds: Volume) -> npt.NDArray[np.int64]:
    """Return the seeds (n, 3) in raster order, read slice by slice."""
    found = []
    for z in range(seeds.sizes["z"]):
        y, x = np.nonzero(seeds.isel(z=z).values)
        found.append(np.column_stack([np.full(len(y), z), y, x]))
    return np.concatenate(found).astype(np.int64)


def _index(structure: Volume, size: dict[str, Any]) -> npt.NDArray[np.float64]:
    """Return the index that coordinate 0 would have."""
    starts = [float(structure.coords[dim].values[0]) for dim in "zyx"]
    return np.asarray(-np.array(starts) / np.array(size["voxel_um"]), np.float64)


def _grow(
    block: xr.DataArray,
    *,
    places: npt.NDArray[np.int64],
    size: dict[str, Any],
    params: SegmentNuclei,
    first: npt.NDArray[np.float64],
) -> npt.NDArray[np.uint32]:
    starts = np.array([float(block.coords[dim].values[0]) for dim in "zyx"])
    origin = np.rint(starts / np.array(size["voxel_um"]) + first).astype(np.int64)
    inside = np.flatnonzero(((places >= origin) & (places < origin + block.shape)).all(axis=1))
    return segmentation.grow_nuclei(
        block.values,
        places[inside] - origin,
        (inside + 1).astype(np.uint32),
        height_share=params.height_share,
        min_volume_share=params.min_volume_share,
        **size,
    )
