"""Slices of disks with known masks, flows that lead to their centres, and tiny networks."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tifffile
from scipy import ndimage

from clgkit.segmentation.cellpose_flows import flows_of_masks
from clgkit.segmentation.cellpose_network import CellposeNetwork
from clgkit.segmentation.cellpose_state import CellposeLayout, wanted_shapes

TINY = CellposeLayout((2, 3, 4, 4))
NARROW = CellposeLayout((8, 16, 32, 64))


class Slice(NamedTuple):
    """An image and its masks."""

    image: npt.NDArray[np.uint16]
    labels: npt.NDArray[np.int32]


@lru_cache
def disks(seed: int = 0, side: int = 64, n: int = 12) -> Slice:
    """Return a slice with up to `n` disks of 7 to 13 px that do not touch."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((side, side), np.int32)
    bright = np.full((side, side), 100.0)
    y, x = np.mgrid[:side, :side]
    for _ in range(8 * n):
        centre, radius = rng.uniform(0, side, 2), rng.uniform(3.5, 6.5)
        inside = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2
        wide = ndimage.binary_dilation(inside, iterations=2)
        if labels[wide].any() or labels.max() == n:
            continue
        labels[inside] = labels.max() + 1
        bright[inside] += rng.uniform(200, 500)
    image = rng.poisson(ndimage.gaussian_filter(bright, 0.8)).astype(np.uint16)
    return Slice(image, labels)


def perfect_maps(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
    """Return what a network would say that knows the masks."""
    flows = 5 * flows_of_masks(labels)
    log_odds = np.where(labels > 0, 6.0, -6.0)
    return np.concatenate([flows, log_odds[np.newaxis]]).astype(np.float32)


def random_state(layout: CellposeLayout = TINY, seed: int = 0) -> dict[str, npt.NDArray[Any]]:
    """Return a state with all the keys of a network, filled at random."""
    rng = np.random.default_rng(seed)
    state: dict[str, npt.NDArray[Any]] = {}
    for name, shape in wanted_shapes(layout).items():
        if name.endswith("num_batches_tracked"):
            state[name] = np.zeros(shape, np.int64)
        elif name.startswith("diam_"):
            state[name] = np.full(shape, 12, np.float32)
        elif name.endswith(("running_var", ".0.weight")):
            state[name] = np.ones(shape, np.float32)
        elif len(shape) > 1:
            fan_in = np.prod(shape[1:])
            state[name] = rng.normal(0, (1 / fan_in) ** 0.5, shape).astype(np.float32)
        else:
            state[name] = rng.uniform(0, 0.3, shape).astype(np.float32)
    return state


def tiny_network(seed: int = 0) -> CellposeNetwork:
    """Return an untrained network that runs at once."""
    return CellposeNetwork(random_state(seed=seed))


def widened(network: CellposeNetwork, layout: CellposeLayout) -> CellposeNetwork:
    """Return a wider network that computes the same: the new channels are zero."""
    state: dict[str, npt.NDArray[Any]] = {}
    for name, shape in wanted_shapes(layout).items():
        small = network.state[name]
        wide = (
            np.ones(shape, small.dtype) if "running_var" in name else np.zeros(shape, small.dtype)
        )
        wide[tuple(slice(n) for n in small.shape)] = small
        state[name] = wide
    return CellposeNetwork(state)


def write_slices(folder: Path, n: int = 5, *, side: int = 48, n_disks: int = 8) -> Path:
    """Write a training folder by Cellpose's names."""
    folder.mkdir(exist_ok=True)
    for k in range(n):
        image, labels = disks(k, side, n_disks)
        tifffile.imwrite(folder / f"s{k}.tif", image)
        tifffile.imwrite(folder / f"s{k}_masks.tif", labels.astype(np.uint16))
    return folder
