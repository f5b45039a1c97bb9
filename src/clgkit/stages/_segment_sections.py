"""Nuclei from sections, which a Cellpose network finds slice by slice, or which were given."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.special import expit

from clgkit.blocks import output
from clgkit.data import voxel_um
from clgkit.errors import MissingDependency, as_data_error
from clgkit.segmentation.cellpose import (
    CellposeOptions,
    section_channels,
    section_scale,
    segment_section,
)
from clgkit.segmentation.cellpose_tiles import stack_percentiles
from clgkit.segmentation.chains import ChainRule, Chains, SectionTable, find_chains
from clgkit.segmentation.network_objects import FOREGROUND_LEVELS
from clgkit.segmentation.stitch import iterate_like_cellpose
from clgkit.stages._segment_found import Found
from clgkit.stages._segment_network import numbered_slices, read_slices

if TYPE_CHECKING:
    import numpy.typing as npt
    import xarray as xr

    from clgkit.data import Labels, Volume
    from clgkit.segmentation.cellpose_network import CellposeNetwork
    from clgkit.workspace import Workspace

    UInt32 = npt.NDArray[np.uint32]

DIMS = ("z", "y", "x")


class SectionNumbers(NamedTuple):
    """What decides on sections and on how they are joined."""

    options: CellposeOptions
    diameter_um: float | None
    """Of sections; None: that of the training."""
    overlap: float | None
    """Least overlap of two sections of a nucleus by Cellpose's rule; None: chains."""
    min_voxels: int
    """Smaller nuclei are dropped by Cellpose's rule."""
    rule: ChainRule
    whole_stack: bool
    """Brightness is normalized over all slices together, not slice by slice."""


def find_by_cellpose(
    structure: Volume, network: CellposeNetwork, numbers: SectionNumbers, *, workspace: Workspace
) -> Found:
    """Return labels, and the probability of the foreground.

    Parameters
    ----------
    structure
        The stack.
    network
        Trained weights.
    numbers
        Settings.
    workspace
        Where slices run and results go.
    """
    diameter_px = None
    if numbers.diameter_um is not None:
        diameter_px = numbers.diameter_um / math.sqrt(math.prod(voxel_um(structure)[1:]))
    with as_data_error("structure"):
        first = structure.isel(z=0).values
        scale = section_scale(network, diameter_px, section_channels(first, network).shape[1:])
        limits = _limits(structure, numbers) if numbers.whole_stack else None
    sections, foreground = workspace.map_blocks(
        partial(
            _sections,
            network=network,
            diameter_px=diameter_px,
            limits=limits,
            options=numbers.options,
            device=workspace.device,
        ),
        structure,
        [
            output("sections", DIMS, structure, np.uint32),
            output("foreground", DIMS, structure, np.uint8),
        ],
        split={"z": 1},
    )
    labels, summary = join_sections(sections, numbers, workspace=workspace)
    summary["section_diameter_px"] = float(network.diam_mean_px / scale)
    return Found(labels, foreground=foreground, summary=summary)


def _limits(structure: Volume, numbers: SectionNumbers) -> npt.NDArray[np.floating[Any]]:
    n_z, n_y, n_x = structure.shape
    slices = (structure.isel(z=z).values[np.newaxis] for z in range(n_z))
    return stack_percentiles(slices, (n_z, n_y, n_x), percentile=numbers.options.percentile)


def _sections(
    block: xr.DataArray,
    *,
    network: CellposeNetwork,
    diameter_px: float | None,
    limits: npt.NDArray[np.floating[Any]] | None,
    options: CellposeOptions,
    device: str,
) -> tuple[UInt32, npt.NDArray[np.uint8]]:
    plane = block.values[0]
    if np.ptp(plane) == 0 and np.isfinite(plane).all():
        empty = np.zeros(block.shape, np.uint32)
        return empty, empty.astype(np.uint8)
    try:
        found = segment_section(
            plane, network, diameter_px=diameter_px, limits=limits, options=options, device=device
        )
    except ImportError as error:
        raise MissingDependency(
            "Networks of Cellpose need torch: pip install 'clgkit[deep]'."
        ) from error
    sure = np.rint(FOREGROUND_LEVELS * expit(found.log_odds)).astype(np.uint8)
    return found.labels[np.newaxis], sure[np.newaxis]


def find_imported(labels: Labels, numbers: SectionNumbers, *, workspace: Workspace) -> Found:
    """Return labels made elsewhere; those of single slices are joined.

    Parameters
    ----------
    labels
        The labels; ``attrs["separate"]`` says that ids of different slices are unrelated.
    numbers
        How they are joined.
    workspace
        Where results go.
    """
    if labels.attrs.get("separate"):
        made, summary = join_sections(labels, numbers, workspace=workspace)
        return Found(made, summary=summary)
    (kept,) = workspace.map_blocks(
        _as_they_are, labels, [output("labels", DIMS, labels, np.uint32)], split={"z": None}
    )
    return Found(kept)


def _as_they_are(block: xr.DataArray) -> UInt32:
    values: UInt32 = block.values
    return values


def join_sections(
    sections: Labels, numbers: SectionNumbers, *, workspace: Workspace
) -> tuple[Labels, dict[str, Any]]:
    """Return nuclei, and how many sections they are made of.

    Parameters
    ----------
    sections
        Ids of different slices are unrelated.
    numbers
        How they are joined.
    workspace
        Where results go.
    """
    summary: dict[str, Any]
    with as_data_error("sections"):
        if numbers.overlap is None:
            table = SectionTable()
            for plane in _planes(sections):
                table.add(plane)
            chains = find_chains(table, numbers.rule)
            apply: Any = partial(_chained, sections=sections, chains=chains)
            n_sections = int(table.areas.size)
            summary = {"n_bridged": len(chains.bridges), "usual_length": chains.usual_length}
        else:
            tables = _ids_like_cellpose(sections, numbers.overlap, numbers.min_voxels)
            apply = partial(_looked_up, sections=sections, tables=tables)
            n_sections = sum(len(own) for own, _ in tables)
            summary = {"n_bridged": 0, "usual_length": None}
    (labels,) = workspace.map_blocks(
        apply,
        numbered_slices(sections),
        [output("labels", DIMS, sections, np.uint32)],
        split={"z": None},
    )
    return labels, {"n_sections": n_sections, **summary}


def _planes(sections: Labels) -> Iterator[UInt32]:
    return (sections.isel(z=z).values for z in range(sections.sizes["z"]))


def _chained(numbers: xr.DataArray, *, sections: Labels, chains: Chains) -> UInt32:
    cut = read_slices(numbers, sections, 1)
    values = cut.values.astype(np.uint32, copy=False)
    core = cut.core
    before = values[0] if core.start else None
    after = values[-1] if core.stop < len(values) else None
    return chains.label_block(
        values[core], first=cut.first + core.start, before=before, after=after
    )


Lookup = tuple["UInt32", "UInt32"]
"""Ids of the sections of a slice, sorted, and the nucleus of each."""


def _ids_like_cellpose(sections: Labels, overlap: float, min_voxels: int) -> list[Lookup]:
    """Return the nucleus of every section; nuclei of too few voxels are left out."""
    joined = iterate_like_cellpose(_planes(sections), threshold=overlap)
    tables: list[Lookup] = []
    counts: list[npt.NDArray[np.int64]] = []
    for plane, nuclei in zip(_planes(sections), joined, strict=True):
        own, first, n = np.unique(plane, return_index=True, return_counts=True)
        there = own > 0
        tables.append((own[there], nuclei.ravel()[first[there]]))
        counts.append(n[there])
    ids = np.concatenate([np.empty(0, np.uint32), *(nucleus for _, nucleus in tables)])
    own_ids, row = np.unique(ids, return_inverse=True)
    voxels = np.bincount(row, np.concatenate([np.empty(0, np.int64), *counts]), own_ids.size)
    new = np.zeros(own_ids.size, np.uint32)
    kept = voxels >= min_voxels
    new[kept] = np.arange(1, int(kept.sum()) + 1)
    parts = np.split(new[row], np.cumsum([len(own) for own, _ in tables])[:-1])
    return [(own, part) for (own, _), part in zip(tables, parts, strict=True)]


def _looked_up(numbers: xr.DataArray, *, sections: Labels, tables: list[Lookup]) -> UInt32:
    made = np.zeros((numbers.size, *sections.shape[1:]), np.uint32)
    for row, z in enumerate(numbers.values.tolist()):
        own, nuclei = tables[z]
        if own.size:
            plane = sections.isel(z=z).values
            place = np.minimum(np.searchsorted(own, plane), own.size - 1)
            made[row] = np.where(own[place] == plane, nuclei[place], 0)
    return made
