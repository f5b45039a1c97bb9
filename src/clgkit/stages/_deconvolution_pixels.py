"""Stacks on pixels half as large."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from clgkit import deconvolution
from clgkit.blocks import Output, output
from clgkit.data import voxel_um

if TYPE_CHECKING:
    import xarray as xr

    from clgkit.data import Volume
    from clgkit.stages._deconvolution_facts import Facts
    from clgkit.workspace import Workspace

Float32 = npt.NDArray[np.float32]


def finer(
    name: str, structure: Volume, kind: deconvolution.Oversampling, *, is_filtered: bool = False
) -> Output:
    """Return room for a volume, with the small pixels of an oversampling if there is one."""
    made = output(name, ("z", "y", "x"), structure)
    if kind == "none":
        return made
    first = deconvolution.first_pixel(kind, filtered=is_filtered)
    coords = {key: held for key, held in made.coords.items() if not {"y", "x"} & {*held[0]}}
    for dim, step in zip("yx", voxel_um(structure)[1:], strict=True):
        old = structure.coords[dim]
        places = np.arange(2 * old.size) / 2 + first
        coords[dim] = (dim,), float(old.values[0]) + step * places, dict(old.attrs)
    n_z, n_y, n_x = made.shape
    return replace(made, shape=(n_z, 2 * n_y, 2 * n_x), coords=coords)


def on_small_pixels(
    structure: Volume, facts: Facts, kind: deconvolution.Oversampling, workspace: Workspace
) -> Volume:
    """Return the light of a stack on pixels half as large."""
    (made,) = workspace.map_blocks(
        partial(_oversample, facts=facts, kind=kind),
        structure,
        [finer("oversampled", structure, kind)],
        split={"z": None},
    )
    return made


def _oversample(block: xr.DataArray, *, facts: Facts, kind: deconvolution.Oversampling) -> Float32:
    return np.stack([deconvolution.oversample(plane, kind) for plane in facts.light(block)])
