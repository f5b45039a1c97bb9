"""From displacements of blocks to a map of the field: affine, or smooth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from clgkit.registration.filters import smooth

if TYPE_CHECKING:
    from clgkit.registration.response import Blocks

Float64 = npt.NDArray[np.float64]

TRIMMING_ROUNDS = 3
MIN_LIMIT_PX = 0.3
MIN_BLOCKS = 4
"""Fewer blocks, or all in one row, give a common shift only."""
SMOOTH_CELLS = 0.4


def fit_affine(center_px: Float64, shift_px: Float64, weight: Float64) -> Float64:
    """Fit an affine displacement to those of blocks, leaving out the ones far off.

    Parameters
    ----------
    center_px : (B, 2)
        Where the blocks are.
    shift_px : (B, 2)
        How far they move.
    weight : (B,)
        How much they count.

    Returns
    -------
    (2, 3) float64
        From (y, x, 1) to the displacement; a common shift where the blocks allow no more.

    Notes
    -----
    Three rounds keep the blocks whose residual is at most the larger of twice the median
    and 0.3 px.
    """
    keep = weight > 0
    step = np.zeros((2, 3))
    if not keep.any():
        return step
    spans = all(len(np.unique(center_px[:, axis])) > 1 for axis in (0, 1))
    for _ in range(TRIMMING_ROUNDS):
        if spans and keep.sum() >= MIN_BLOCKS:
            ones = np.column_stack([center_px, np.ones(len(center_px))])
            root = np.sqrt(weight[keep])[:, np.newaxis]
            step = np.linalg.lstsq(ones[keep] * root, shift_px[keep] * root, rcond=None)[0].T
        else:
            step = np.zeros((2, 3))
            step[:, 2] = np.average(shift_px[keep], axis=0, weights=weight[keep])
        off = np.linalg.norm(shift_px - center_px @ step[:, :2].T - step[:, 2], axis=1)
        limit = max(2 * float(np.median(off[keep])), MIN_LIMIT_PX)
        keep = (weight > 0) & (off <= limit)
    return np.asarray(step, dtype=np.float64)


def spread_blocks(
    shift_px: Float64, weight: Float64, blocks: Blocks, shape: tuple[int, ...]
) -> Float64:
    """Make a smooth displacement of every pixel out of those of blocks.

    Parameters
    ----------
    shift_px : (B, 2)
        How far the blocks move.
    weight : (B,)
        How much they count against their neighbours.
    blocks
        Where they are.
    shape
        (Y, X) of the field.

    Returns
    -------
    (Y, X, 2) float64

    Notes
    -----
    Median of 3 x 3 blocks, weighted Gaussian of 0.4 cells, linear between the true centres
    and constant outside, then a Gaussian of a quarter cell.
    """
    grid = shift_px.reshape(*blocks.grid, 2)
    known = weight.reshape(blocks.grid) + 1e-9 * max(float(weight.max()), 1e-30)
    axes = [np.unique(blocks.center[:, axis]) for axis in (0, 1)]
    sides = [_between(centers, n) for centers, n in zip(axes, shape, strict=True)]
    cells = [float(np.diff(centers).mean()) for centers in axes if len(centers) > 1]
    out = np.empty((*shape, 2))
    for k in (0, 1):
        median = ndimage.median_filter(grid[..., k], size=3, mode="nearest")
        total = ndimage.gaussian_filter(median * known, SMOOTH_CELLS, mode="nearest")
        level = total / ndimage.gaussian_filter(known, SMOOTH_CELLS, mode="nearest")
        dense = (sides[0] @ level @ sides[1].T).astype(np.float32)
        out[..., k] = smooth(dense, sigma_px=min(cells) / 4) if cells else dense
    return out


def _between(centers: Float64, n: int) -> Float64:
    """Return the weights (n, centres) of linear interpolation, constant outside."""
    unit = np.eye(len(centers))
    return np.stack([np.interp(np.arange(n), centers, row) for row in unit], axis=1)
