"""Nuclei by the small network: two maps, slice by slice, then ascent on them, tile by tile."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from clgkit.blocks import Output, output
from clgkit.errors import MissingDependency, as_data_error
from clgkit.segmentation.network import NucleusNetwork, predict_nuclei
from clgkit.segmentation.network_grid import NetworkGrid, network_grid
from clgkit.segmentation.network_input import (
    SliceScaling,
    SliceStatistics,
    join_statistics,
    network_statistics,
)
from clgkit.segmentation.network_objects import (
    find_network_seeds,
    grow_network_nuclei,
    network_halo_voxels,
)
from clgkit.stages._segment_found import Found, Seeded, seeded, tile_halo

if TYPE_CHECKING:
    import numpy.typing as npt

    from clgkit.data import Volume
    from clgkit.workspace import Workspace

    UInt8 = npt.NDArray[np.uint8]

N_LEVELS = 3
BYTES_PER_VOXEL = 12  # of a slab and its margin at work, copies included


class NetworkNumbers(NamedTuple):
    """The settings of the method."""

    min_probability: float
    min_peak: float
    min_volume_share: float


def find_by_network(
    structure: Volume,
    network: NucleusNetwork,
    numbers: NetworkNumbers,
    *,
    size: dict[str, Any],
    core: dict[str, int],
    slab_px: int,
    workspace: Workspace,
) -> Found:
    """Return labels, seeds and the network's maps.

    Parameters
    ----------
    structure
        The stack.
    network
        Trained weights.
    numbers
        Settings.
    size
        ``voxel_um`` and ``diameter_um``.
    core
        Size of the tiles by dimension.
    slab_px
        Most slices that are predicted together; they are whole.
    workspace
        Where blocks run and results go.
    """
    with as_data_error("structure"):
        n_z, n_y, n_x = structure.shape
        grid = network_grid((n_z, n_y, n_x), **size)
        halo = network_halo_voxels(**size)
        network = _on_device(network, workspace.device)
        slab_px = min(slab_px, _slab_that_fits(grid, workspace))
        foreground, distance = _maps(structure, network, grid, slab_px, workspace)
    maps = (foreground, distance)
    split: dict[str, int | None] = dict(core)
    (seeds,) = workspace.map_blocks(
        partial(_seeds, size=size, numbers=numbers),
        maps,
        [output("seeds", ("z", "y", "x"), structure, np.uint8)],
        split=split,
        halo=tile_halo(halo),
    )
    known = seeded(seeds)
    (labels,) = workspace.map_blocks(
        partial(_grow, known=known, size=size, numbers=numbers),
        maps,
        [output("labels", ("z", "y", "x"), structure, np.uint32)],
        split=split,
        halo=tile_halo(halo),
    )
    return Found(labels, seeds, foreground, distance, {"n_seeds": len(known.places)})


def _on_device(network: NucleusNetwork, device: str) -> NucleusNetwork:
    """Return the network as it runs on a device; what torch cannot read is told now."""
    if device == network.device:
        return network
    moved = replace(network, device=device)
    try:
        _ = moved.module
    except ImportError as error:
        raise MissingDependency(
            f"The network needs torch and onnx on the device {device!r}: pip install "
            "'clgkit[deep]', or take the cpu."
        ) from error
    return moved


def _maps(
    structure: Volume,
    network: NucleusNetwork,
    grid: NetworkGrid,
    slab_px: int,
    workspace: Workspace,
) -> tuple[Volume, Volume]:
    """Return foreground and distance.

    Blocks are of whole slices.  Each reads its margin itself: only the core of a block tells which
    slices are asked of the network, and a block that is cut at the stack's end knows its margin,
    not its core.
    """
    slices = numbered_slices(structure)
    n_nodes = max(
        stop - start for start, stop in (grid.slices_at(z, z + 1) for z in range(len(slices)))
    )
    levels = Output(
        "levels", ("z", "node", "level"), (len(slices), n_nodes, N_LEVELS), np.dtype(np.float64)
    )
    split: dict[str, int | None] = {"z": slab_px}
    (measured,) = workspace.map_blocks(
        partial(_levels, stack=structure, grid=grid, n_nodes=n_nodes), slices, [levels], split=split
    )
    scaling = join_statistics(_statistics(measured.values, grid), grid=grid)
    shown = ("z", "y", "x")
    foreground, distance = workspace.map_blocks(
        partial(_predict, stack=structure, network=network, grid=grid, scaling=scaling),
        slices,
        [output(name, shown, structure, np.uint8) for name in ("foreground", "distance")],
        split=split,
    )
    return foreground, distance


def _slab_that_fits(grid: NetworkGrid, workspace: Workspace) -> int:
    """Return how many slices the memory lets a worker predict together."""
    of_a_slice = BYTES_PER_VOXEL * math.prod(grid.shape_px[1:])
    room = workspace.budget_mb * 1e6 / workspace.n_workers / of_a_slice
    return max(1, int(room) - 2 * grid.halo_slices)


def numbered_slices(stack: Volume) -> xr.DataArray:
    """Return the number of every slice, as the source of blocks that read the stack themselves."""
    return xr.DataArray(np.arange(stack.sizes["z"]), dims=("z",))


class Cut(NamedTuple):
    """A block of whole slices with its margin."""

    first: int
    """Slice of the stack at which the margin begins."""
    core: slice
    """The slices that are asked for, counted from there."""
    values: npt.NDArray[np.generic]
    """(Z, Y, X)"""


def read_slices(numbers: xr.DataArray, stack: Volume, margin: int) -> Cut:
    """Read the slices `numbers`, which follow each other, and `margin` more on each side."""
    start, stop = int(numbers.values[0]), int(numbers.values[-1]) + 1
    low, high = max(0, start - margin), min(stack.sizes["z"], stop + margin)
    return Cut(low, slice(start - low, stop - low), stack.isel(z=slice(low, high)).values)


def _levels(
    numbers: xr.DataArray, *, stack: Volume, grid: NetworkGrid, n_nodes: int
) -> npt.NDArray[np.float64]:
    """Return (z, node, level): the brightness at the nodes that lie in each slice, then NaN."""
    cut = read_slices(numbers, stack, grid.halo_slices)
    low, found = network_statistics(cut.values, grid=grid, first_slice=cut.first, core=cut.core)
    made = np.full((numbers.size, n_nodes, N_LEVELS), math.nan)
    for row, z in enumerate(numbers.values.tolist()):
        start, stop = grid.slices_at(z, z + 1)
        made[row, : stop - start] = found[start - low : stop - low]
    return made


def _statistics(levels: npt.NDArray[np.float64], grid: NetworkGrid) -> list[SliceStatistics]:
    found = []
    for z, rows in enumerate(levels):
        start, stop = grid.slices_at(z, z + 1)
        found.append(SliceStatistics(start, rows[: stop - start]))
    return found


def _predict(
    numbers: xr.DataArray,
    *,
    stack: Volume,
    network: NucleusNetwork,
    grid: NetworkGrid,
    scaling: SliceScaling,
) -> tuple[UInt8, UInt8]:
    cut = read_slices(numbers, stack, grid.halo_slices)
    made = predict_nuclei(
        cut.values,
        network=network,
        grid=grid,
        scaling=scaling,
        first_slice=cut.first,
        core=cut.core,
    )
    return made.foreground[cut.core], made.distance[cut.core]


def _seeds(
    foreground: xr.DataArray,
    distance: xr.DataArray,
    *,
    size: dict[str, Any],
    numbers: NetworkNumbers,
) -> UInt8:
    found = find_network_seeds(
        foreground.values,
        distance.values,
        threshold=numbers.min_probability,
        peak=numbers.min_peak,
        **size,
    )
    flags = np.zeros(foreground.shape, np.uint8)
    flags[tuple(found.places.T)] = 1
    return flags


def _grow(
    foreground: xr.DataArray,
    distance: xr.DataArray,
    *,
    known: Seeded,
    size: dict[str, Any],
    numbers: NetworkNumbers,
) -> npt.NDArray[np.uint32]:
    places, ids = known.inside(foreground)
    return grow_network_nuclei(
        foreground.values,
        distance.values,
        places,
        ids,
        threshold=numbers.min_probability,
        min_volume_share=numbers.min_volume_share,
        **size,
    )
