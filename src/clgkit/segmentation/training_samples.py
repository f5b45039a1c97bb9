"""What the network learns from: targets of labelled stacks, and crops of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from clgkit.segmentation.blobs import Size
from clgkit.segmentation.network_grid import CONTEXT, NODES, NetworkGrid, network_grid
from clgkit.segmentation.network_input import join_statistics, network_slices, network_statistics

__all__ = [
    "Batch",
    "LabelledStack",
    "distance_target",
    "draw_batch",
    "label_stack",
    "section_distance",
]

Float16: TypeAlias = npt.NDArray[np.float16]
Float32: TypeAlias = npt.NDArray[np.float32]
UInt8: TypeAlias = npt.NDArray[np.uint8]
UInt32: TypeAlias = npt.NDArray[np.uint32]
Bool: TypeAlias = npt.NDArray[np.bool_]

GAIN = (0.8, 1.25)
NOISE = 0.05
FULL = 255


@dataclass(frozen=True)
class LabelledStack:
    """A stack on the network's grid, as it is shown and as it should be answered."""

    local: Float16
    """(Z, Y, X): see `ShownSlices`."""
    whole: Float16
    """(Z, Y, X)"""
    foreground: Bool
    """(Z, Y, X)"""
    distance: UInt8
    """(Z, Y, X): distance to the surface over its maximum, times 255."""
    nodes: npt.NDArray[np.int64]
    """(n,): slices with an answer."""
    solid: bool
    """Whether the distance is that in space; of single slices it is that in the plane."""


class Batch(NamedTuple):
    """Crops for one step."""

    channels: Float32
    """(n, 8, side, side)"""
    foreground: Float32
    """(n, side, side)"""
    distance: Float32
    """(n, side, side)"""


def label_stack(
    image: npt.NDArray[np.generic],
    labels: npt.NDArray[np.integer],
    *,
    voxel_um: tuple[float, float, float],
    diameter_um: Size,
    slices: Sequence[int] | None = None,
) -> LabelledStack:
    """Bring a stack and its labels to the network's grid.

    Parameters
    ----------
    image, labels : (Z, Y, X)
        Fluorescence and ids; 0 is background.
    voxel_um, diameter_um
        As in `segment_network`.
    slices
        The slices that are labelled; None: all, and then the distance is that in space.

    Raises
    ------
    ValueError
        If the shapes differ, a slice does not exist or a stack is smaller than 16 nodes across.
    """
    if image.ndim != 3 or image.shape != labels.shape:
        raise ValueError(
            "image and labels have the axes z, y, x and one shape; "
            f"found {image.shape} and {labels.shape}"
        )
    z, y, x = image.shape
    chosen = range(z) if slices is None else slices
    if len(chosen) == 0 or min(chosen) < 0 or max(chosen) >= z:
        raise ValueError(f"labelled slices lie in 0 to {z - 1}; found {list(chosen)}")
    grid = network_grid((z, y, x), voxel_um=voxel_um, diameter_um=diameter_um)
    scaling = join_statistics([network_statistics(image, grid=grid)], grid=grid)
    shown = network_slices(image, grid=grid, scaling=scaling, nodes=(0, grid.shape[0]))
    near = np.ix_(*(_nearest(grid, axis) for axis in range(3)))
    ids = labels[near]
    if slices is None:
        nodes = np.arange(grid.shape[0])
        distance = distance_target(ids)
    else:
        at = (np.asarray(slices) + 0.5) / grid.step_px[0] - 0.5
        nodes = np.clip(np.rint(at), 0, grid.shape[0] - 1).astype(np.int64)
        ids = np.zeros_like(ids)
        plane = np.ix_(_nearest(grid, 1), _nearest(grid, 2))
        for node, k in zip(nodes, slices, strict=True):
            ids[node] = labels[k][plane]
        distance = np.zeros(ids.shape, np.float32)
        for node in nodes:
            distance[node] = section_distance(ids[node])
    return LabelledStack(
        shown.local.clip(-100, 100).astype(np.float16),
        shown.whole.astype(np.float16),
        ids > 0,
        np.rint(distance * FULL).astype(np.uint8),
        nodes,
        slices is None,
    )


def _nearest(grid: NetworkGrid, axis: int) -> npt.NDArray[np.int64]:
    at = np.rint((np.arange(grid.shape[axis]) + 0.5) * grid.step_px[axis] - 0.5)
    clipped: npt.NDArray[np.int64] = np.clip(at, 0, grid.shape_px[axis] - 1).astype(np.int64)
    return clipped


def distance_target(labels: npt.NDArray[np.integer]) -> Float32:
    """Return each voxel's distance to the surface of its nucleus over the nucleus' largest one.

    Parameters
    ----------
    labels : (Z, Y, X)
        On the network's grid.

    Notes
    -----
    Lengths are in diameters per axis, so a nucleus that the optics stretch counts as a ball.
    Faces of the stack are no surface.
    """
    distance = np.zeros(labels.shape, np.float32)
    ids, compact = np.unique(labels, return_inverse=True)
    compact = compact.reshape(labels.shape) + (0 if ids[0] == 0 else 1)
    for number, box in enumerate(ndimage.find_objects(compact), 1):
        wide = tuple(
            slice(max(part.start - 1, 0), min(part.stop + 1, n))
            for part, n in zip(box, labels.shape, strict=True)
        )
        own = compact[wide] == number
        if own.all():
            distance[wide] = 1
            continue
        depth = ndimage.distance_transform_edt(own, sampling=1 / np.array(NODES))
        distance[wide][own] = (depth / depth.max())[own]
    return distance


def section_distance(labels: npt.NDArray[np.integer]) -> Float32:
    """Return each pixel's distance to the outline of its section over half a diameter, up to 1.

    Parameters
    ----------
    labels : (Y, X)
        One slice on the network's grid.

    Notes
    -----
    It stands in for the distance in space, which one slice does not tell: the same at the middle
    of a nucleus, too large towards its poles.
    """
    distance = np.zeros(labels.shape, np.float32)
    for label in np.unique(labels[labels > 0]):
        own = labels == label
        box = ndimage.find_objects(own.astype(np.uint8))[0]
        wide = tuple(slice(max(part.start - 1, 0), part.stop + 1) for part in box)
        depth = ndimage.distance_transform_edt(own[wide], sampling=1 / np.array(NODES[1:]))
        distance[wide] = np.maximum(distance[wide], np.minimum(2 * depth, 1))
    return distance


def draw_batch(
    stacks: Sequence[LabelledStack],
    rng: np.random.Generator,
    *,
    n_crops: int = 8,
    side: int = 96,
    augment: bool = True,
) -> Batch:
    """Draw crops of stacks at random.

    Parameters
    ----------
    stacks
        At least one; a stack narrower than `side` is repeated beyond its edge.
    rng
        Chooses the crops.
    n_crops, side
        Size of the batch; `side` is a multiple of 4.
    augment
        Flips along z, y and x, quarter turns, gain and noise.
    """
    channels = np.empty((n_crops, 2 * CONTEXT + 2, side, side), np.float32)
    answers = np.empty((n_crops, 2, side, side), np.float32)
    for k in range(n_crops):
        stack = stacks[int(rng.integers(len(stacks)))]
        node = int(stack.nodes[int(rng.integers(len(stack.nodes)))])
        window = tuple(_window(n, side, rng) for n in stack.local.shape[1:])
        channels[k], answers[k] = _crop(stack, node, window)
        if augment:
            channels[k], answers[k] = _augment(channels[k], answers[k], rng)
    return Batch(channels, answers[:, 0], answers[:, 1])


def _window(length: int, side: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    start = int(rng.integers(max(length - side, 0) + 1))
    return np.minimum(np.arange(start, start + side), length - 1)


def _crop(
    stack: LabelledStack, node: int, window: tuple[npt.NDArray[np.int64], ...]
) -> tuple[Float32, Float32]:
    rows, columns = window[0][:, None], window[1][None, :]
    around = np.clip(np.arange(node - CONTEXT, node + CONTEXT + 1), 0, len(stack.local) - 1)
    seen = stack.local[around[:, None, None], rows, columns]
    whole = stack.whole[node, rows, columns]
    answers = [stack.foreground[node, rows, columns], stack.distance[node, rows, columns] / FULL]
    channels = np.concatenate([seen, whole[None]]).astype(np.float32)
    return channels, np.stack(answers).astype(np.float32)


def _augment(
    channels: Float32, answers: Float32, rng: np.random.Generator
) -> tuple[Float32, Float32]:
    upside_down, flip_y, flip_x = rng.random(3) < 0.5
    turns = int(rng.integers(4))
    if upside_down:
        channels = np.concatenate([channels[-2::-1], channels[-1:]])
    flips = tuple(axis for axis, on in ((-2, flip_y), (-1, flip_x)) if on)
    channels, answers = (
        np.rot90(np.flip(part, flips), turns, axes=(-2, -1)) for part in (channels, answers)
    )
    channels = channels * np.float32(rng.uniform(*GAIN))
    return channels + NOISE * rng.standard_normal(channels.shape, np.float32), answers
