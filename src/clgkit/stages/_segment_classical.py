"""Nuclei without any training: peaks of a blob filter, grown to their half-height."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from clgkit import segmentation
from clgkit.blocks import output
from clgkit.errors import as_data_error
from clgkit.stages._segment_found import Found, Seeded, plan_of, seeded, tile_halo

if TYPE_CHECKING:
    import numpy.typing as npt
    import xarray as xr

    from clgkit.data import Volume
    from clgkit.workspace import Workspace


class ClassicalNumbers(NamedTuple):
    """The settings of the method."""

    noise_factor: float
    peak_share: float
    height_share: float
    min_volume_share: float


def find_classical(
    structure: Volume,
    raw: Volume | None,
    numbers: ClassicalNumbers,
    *,
    size: dict[str, Any],
    core: dict[str, int],
    workspace: Workspace,
) -> Found:
    """Return labels and seeds.

    Parameters
    ----------
    structure, raw
        The stack, and the same before it was denoised.
    numbers
        Settings.
    size
        ``voxel_um`` and ``diameter_um``.
    core
        Size of the tiles by dimension.
    workspace
        Where tiles run and results go.
    """
    with as_data_error("structure"):
        halo = segmentation.halo_voxels(**size)
        threshold = _threshold(structure, numbers, size, core)
        if raw is not None and raw is not structure:
            of_noise = numbers._replace(peak_share=0.0)
            threshold = max(threshold, _threshold(raw, of_noise, size, core))
    split: dict[str, int | None] = dict(core)
    (seeds,) = workspace.map_blocks(
        partial(_seeds, size=size, threshold=threshold),
        structure,
        [output("seeds", ("z", "y", "x"), structure, np.uint8)],
        split=split,
        halo=tile_halo(halo),
    )
    known = seeded(seeds)
    (labels,) = workspace.map_blocks(
        partial(_grow, known=known, size=size, numbers=numbers),
        structure,
        [output("labels", ("z", "y", "x"), structure, np.uint32)],
        split=split,
        halo=tile_halo(halo),
    )
    summary = {"n_seeds": len(known.places), "seed_threshold": float(threshold)}
    return Found(labels, seeds, summary=summary)


def _threshold(
    structure: Volume, numbers: ClassicalNumbers, size: dict[str, Any], core: dict[str, int]
) -> float:
    n_z, n_y, n_x = structure.shape
    shape = (n_z, n_y, n_x)
    stride = segmentation.sample_stride(shape)
    sampled = (
        segmentation.seed_statistics(
            structure[tile.padded].values, stride=stride, where=tile, **size
        )
        for tile in plan_of(shape, core, segmentation.halo_voxels(**size))
    )
    return segmentation.seed_threshold(
        sampled,
        shape=shape,
        noise_factor=numbers.noise_factor,
        peak_share=numbers.peak_share,
        **size,
    )


def _seeds(block: xr.DataArray, *, size: dict[str, Any], threshold: float) -> npt.NDArray[np.uint8]:
    found = segmentation.find_seeds(block.values, threshold=threshold, **size)
    flags = np.zeros(block.shape, np.uint8)
    flags[tuple(found.places.T)] = 1
    return flags


def _grow(
    block: xr.DataArray, *, known: Seeded, size: dict[str, Any], numbers: ClassicalNumbers
) -> npt.NDArray[np.uint32]:
    places, ids = known.inside(block)
    return segmentation.grow_nuclei(
        block.values,
        places,
        ids,
        height_share=numbers.height_share,
        min_volume_share=numbers.min_volume_share,
        **size,
    )
