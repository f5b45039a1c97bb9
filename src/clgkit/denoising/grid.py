"""Blocks that overlap by half, and the weights with which they are added."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Float32: TypeAlias = npt.NDArray[np.float32]
Float64: TypeAlias = npt.NDArray[np.float64]
Int64: TypeAlias = npt.NDArray[np.int64]

SIDE_PX = 16
STEP_PX = 8
LEAST_WEIGHT = 1e-3


class Grid(NamedTuple):
    """Blocks of a plane.

    Parameters
    ----------
    y, x : (n,) int64
        First rows and first columns; every pair of them is a block.
    shape
        Of a block.
    """

    y: Int64
    x: Int64
    shape: tuple[int, int]

    @property
    def starts(self) -> Int64:
        """(B, 2) corners of all blocks, row by row."""
        return np.stack(np.meshgrid(self.y, self.x, indexing="ij"), axis=-1).reshape(-1, 2)

    def weights(self, plane: tuple[int, int]) -> Float64:
        """Return the weights (n_y, n_x, rows, columns); those of a pixel add up to 1."""
        down, right = (
            _weights(starts, side, length)
            for starts, side, length in zip((self.y, self.x), self.shape, plane, strict=True)
        )
        return down[:, None, :, None] * right[None, :, None, :]


def grid_of(plane: tuple[int, int], *, side_px: int = SIDE_PX, step_px: int = STEP_PX) -> Grid:
    """Return the blocks of a plane; the last ones end with it, a small plane is one block.

    Parameters
    ----------
    plane
        Its height and width.
    side_px, step_px
        Of the blocks.
    """
    return Grid(
        _starts(plane[0], side_px, step_px),
        _starts(plane[1], side_px, step_px),
        (min(side_px, plane[0]), min(side_px, plane[1])),
    )


def _starts(length: int, side: int, step: int) -> Int64:
    if length <= side:
        return np.zeros(1, np.int64)
    starts = np.arange(0, length - side + 1, step)
    if starts[-1] != length - side:
        starts = np.append(starts, length - side)
    return starts.astype(np.int64)


def _weights(starts: Int64, side: int, length: int) -> Float64:
    """Return the weights (n, side) of blocks along one axis."""
    tent = 1 - np.abs(2 * (np.arange(side) + 0.5) / side - 1) + LEAST_WEIGHT
    total = np.zeros(length)
    for start in starts:
        total[start : start + side] += tent
    return np.stack([tent / total[start : start + side] for start in starts])
