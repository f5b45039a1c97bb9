"""Nuclei of a small volume from flows in three directions, as Cellpose's `do_3D` finds them."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit

from clgkit.segmentation.cellpose import DEFAULTS, N_STEPS, CellposeOptions, section_scale
from clgkit.segmentation.cellpose_dynamics import group_ends
from clgkit.segmentation.cellpose_flows import NETWORK_SCALE
from clgkit.segmentation.cellpose_masks import (
    drop_too_large,
    fill_and_drop_small,
    renumber_by_raster,
)
from clgkit.segmentation.cellpose_network import CellposeNetwork
from clgkit.segmentation.cellpose_tiles import (
    image_percentiles,
    normalize_channels,
    resize_bilinear,
    run_tiled,
)

__all__ = ["masks_of_volume", "predict_volume", "segment_volume_in_3d"]

Float32: TypeAlias = npt.NDArray[np.float32]
Int32: TypeAlias = npt.NDArray[np.int32]
Int64: TypeAlias = npt.NDArray[np.int64]
UInt32: TypeAlias = npt.NDArray[np.uint32]

# (axis that is walked along, axes of its planes); the first axis of a plane is the network's y.
DIRECTIONS = ((0, (1, 2)), (1, (0, 2)), (2, (0, 1)))
LEAST_PX = 16


def segment_volume_in_3d(
    volume: npt.NDArray[np.generic],
    network: CellposeNetwork,
    *,
    diameter_px: float | None = None,
    anisotropy: float = 1.0,
    options: CellposeOptions = DEFAULTS,
    device: str = "cpu",
) -> UInt32:
    """Return the nuclei (Z, Y, X) of a volume, found in three dimensions at once.

    Parameters
    ----------
    volume : (Z, Y, X)
        Fluorescence, any real dtype.
    network
        Trained weights.
    diameter_px
        Of sections in y and x; None: that of the training.
    anisotropy
        Spacing of slices over that of pixels.
    options
        The flow threshold is not used.
    device
        As torch names it.

    Raises
    ------
    ValueError
        If the volume is not 3-D, holds NaN, or diameter or anisotropy cannot be.

    Notes
    -----
    Three passes of the network and 28 bytes a voxel: for comparison with Cellpose, not for a brain.
    Positions are read up to half a pixel beside themselves, as there.
    """
    maps = predict_volume(
        volume,
        network,
        diameter_px=diameter_px,
        anisotropy=anisotropy,
        options=options,
        device=device,
    )
    scale = section_scale(network, diameter_px, volume.shape[1:])
    return masks_of_volume(maps, scale=scale, options=options)


def masks_of_volume(
    maps: Float32,
    *,
    scale: np.float32,
    options: CellposeOptions = DEFAULTS,
) -> UInt32:
    """Return the nuclei (Z, Y, X) that flows and log-odds describe.

    Parameters
    ----------
    maps : (4, Z, Y, X)
        From :func:`predict_volume`.
    scale
        From `section_scale`.
    options
        As in :func:`segment_volume_in_3d`.
    """
    on = maps[3] > options.cellprob_threshold
    if not on.any():
        return np.zeros(on.shape, np.uint32)
    steps = np.ascontiguousarray((maps[:3] * on / np.float32(NETWORK_SCALE)).astype(np.float32))
    ends = np.indices(on.shape, dtype=np.int32)
    _follow(steps, np.argwhere(on), options.n_steps or int(N_STEPS / scale), ends)
    labels = group_ends(ends, on, rule=options.rule)
    labels = renumber_by_raster(drop_too_large(labels, max_share=options.max_size_share))
    return fill_and_drop_small(
        labels,
        min_size_px=options.min_size_px,
        rule=options.rule,
        repeat_rank_bug=options.repeat_rank_bug,
    ).astype(np.uint32)


def predict_volume(
    volume: npt.NDArray[np.generic],
    network: CellposeNetwork,
    *,
    diameter_px: float | None = None,
    anisotropy: float = 1.0,
    options: CellposeOptions = DEFAULTS,
    device: str = "cpu",
) -> Float32:
    """Return flows along z, y, x and log-odds (4, Z, Y, X): sums over three directions.

    Parameters
    ----------
    volume, network, diameter_px, anisotropy, options, device
        As in :func:`segment_volume_in_3d`.
    """
    if volume.ndim != 3 or min(volume.shape[1:], default=0) < LEAST_PX:
        raise ValueError(
            "a volume has the axes z, y, x and at least 16 pixels across; "
            f"found an array of shape {volume.shape}"
        )
    if not np.isfinite(volume).all():
        raise ValueError("the volume holds NaN or infinity; fill these voxels first")
    if not anisotropy > 0:
        raise ValueError(f"the anisotropy is above 0; found {anisotropy:g}")
    scale = section_scale(network, diameter_px, volume.shape[1:])
    limits = image_percentiles(volume[np.newaxis], percentile=options.percentile)
    normal = normalize_channels(volume[np.newaxis], limits)[0]
    z, y, x = volume.shape
    shape = tuple(int(n * s) for n, s in ((z, anisotropy * scale), (y, scale), (x, scale)))
    scaled = _resize(normal, shape)
    sums = np.zeros((4, *scaled.shape), np.float32)
    beyond = [(0, network.layout.n_channels - 1), (0, 0), (0, 0)]
    for axis, plane in DIRECTIONS:
        for k in range(scaled.shape[axis]):
            at = (slice(None),) * axis + (k,)
            maps = run_tiled(
                np.pad(scaled[at][np.newaxis], beyond),
                lambda tiles: network.run(tiles, device=device)[0],
                tiling=options.tiling,
            )
            for part, total in zip(maps, (*plane, 3), strict=True):
                sums[total][at] += part
    return np.stack([_resize(part, volume.shape) for part in sums])


def _resize(volume: Float32, shape: tuple[int, ...]) -> Float32:
    """Return a volume of another size: slices first, then along z."""
    wide = resize_bilinear(volume, shape[1:])
    along = resize_bilinear(wide.transpose(1, 0, 2), (shape[0], shape[2]))
    return np.ascontiguousarray(along.transpose(1, 0, 2))


@njit(cache=True, nogil=True)
def _follow(steps: Float32, starts: Int64, n_steps: int, ends: Int32) -> None:
    """Move voxels; places run from -1 to 1 between the first voxel and the last."""
    shape = steps.shape[1:]
    one, half, two = np.float32(1), np.float32(0.5), np.float32(2)
    place = np.empty(3, np.float32)
    move = np.empty(3, np.float32)
    last = np.array([shape[0] - 1, shape[1] - 1, shape[2] - 1]).astype(np.float32)
    size = np.array([shape[0], shape[1], shape[2]]).astype(np.float32)
    for k in range(len(starts)):
        for d in range(3):
            place[d] = np.float32(starts[k, d]) / last[d] * two - one
        for _ in range(n_steps):
            _read(steps, ((place + one) * size - one) * half, move)
            for d in range(3):
                there = place[d] + move[d] * two / last[d]
                place[d] = min(max(there, -one), one)
        for d in range(3):
            ends[(d, starts[k, 0], starts[k, 1], starts[k, 2])] = int(
                (place[d] + one) * half * last[d]
            )


@njit(cache=True, nogil=True)
def _read(steps: Float32, at: Float32, move: Float32) -> None:
    """Interpolate linearly between voxels; beyond the faces the flow is zero."""
    move[:] = 0
    low = np.floor(at)
    part = at - low
    for corner in range(8):
        weight = np.float32(1)
        inside = True
        index = (int(low[0]) + corner // 4, int(low[1]) + corner // 2 % 2, int(low[2]) + corner % 2)
        for d in range(3):
            upper = index[d] - int(low[d]) == 1
            weight *= part[d] if upper else np.float32(1) - part[d]
            inside = inside and 0 <= index[d] < steps.shape[d + 1]
        if inside:
            for d in range(3):
                move[d] += weight * steps[d][index]
