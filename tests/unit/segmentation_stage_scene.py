"""A small stack with nuclei at known places, networks of its own, and how the stage is called."""

from __future__ import annotations

import warnings
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from clgkit import data
from clgkit.simulate import Fish, preset
from clgkit.stages.segment_nuclei import NucleiSegmented, SegmentNuclei, segment_nuclei
from clgkit.workspace import Workspace

if TYPE_CHECKING:
    import xarray as xr

FITS: dict[str, Any] = {"diameter_um": 5.2, "elongation": 2.2}
SERIAL = Workspace(executor="serial")


@cache
def fish() -> Fish:
    """A fish of 40 neurons in 24 x 80 x 80 voxels."""
    return Fish(preset("tiny", shape_px=(24, 80, 80), n_neurons=40, n_frames=4))


def stack() -> xr.DataArray:
    """Its structural stack."""
    settings = fish().settings
    return data.volume(fish().structure_block(0, 24), voxel_um=settings.voxel_um)


def truth() -> npt.NDArray[np.uint32]:
    """Its nuclei."""
    made: npt.NDArray[np.uint32] = fish().labels_block(0, 24)
    return made


def labels_of(values: Any, *, separate: bool = False) -> xr.DataArray:
    """Label whole numbers on the voxels of the stack."""
    made = data.labels(np.asarray(values, np.uint32), voxel_um=fish().settings.voxel_um)
    made.attrs["separate"] = separate
    return made


def sections_of(labels: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Give every section an id at random that says nothing about other slices."""
    rng = np.random.default_rng(0)
    made = np.zeros_like(labels)
    for z, plane in enumerate(labels):
        ids = np.unique(plane[plane > 0])
        table = np.zeros(int(labels.max()) + 1, np.uint32)
        table[ids] = rng.permutation(ids.size) + 1
        made[z] = table[plane]
    return made


def segmented(*inputs: Any, workspace: Workspace = SERIAL, **settings: Any) -> NucleiSegmented:
    """Run the stage, whatever it warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return segment_nuclei(*inputs, params=SegmentNuclei(**settings), workspace=workspace)


def same_partition(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> bool:
    """Tell whether two label volumes differ in their numbers only."""
    pairs = np.unique(np.stack([first.ravel(), second.ravel()]), axis=1)
    return bool(
        np.array_equal(first > 0, second > 0)
        and np.unique(pairs[0]).size == pairs.shape[1] == np.unique(pairs[1]).size
    )
