"""Projection on the components of blocks, and back; sums in one order, whatever the frames."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit

Float32: TypeAlias = npt.NDArray[np.float32]
Int64: TypeAlias = npt.NDArray[np.int64]

RIDGE = 0.05  # keeps a component that a frame hardly shows from growing


@njit(cache=True, nogil=True)
def project(
    scaled: Float32, vectors: Float32, first: Int64, starts: Int64, courses: Float32
) -> None:  # pragma: no cover
    """Fill the time courses of some frames.

    Parameters
    ----------
    scaled : (n, Y, X)
        Frames less the mean over the noise; NaN where nothing is known.
    vectors : (C, rows, columns)
        Components of all blocks, one block after another, orthonormal within a block.
    first : (B + 1,)
        Where the components of each block begin.
    starts : (B, 2)
        Row and column of the corner of each block.
    courses : (n, C)
        Result: the coefficients that fit the known pixels best.
    """
    n_frames = scaled.shape[0]
    n_rows, n_columns = vectors.shape[1], vectors.shape[2]
    for t in range(n_frames):
        for b in range(len(starts)):
            begin, end = first[b], first[b + 1]
            if begin == end:
                continue
            y, x = starts[b, 0], starts[b, 1]
            block = scaled[t, y : y + n_rows, x : x + n_columns]
            n_known = 0
            for r in range(n_rows):
                for s in range(n_columns):
                    n_known += not np.isnan(block[r, s])
            if n_known == n_rows * n_columns:
                for c in range(begin, end):
                    courses[t, c] = _dot(block, vectors[c])
            elif n_known == 0:
                courses[t, begin:end] = 0
            else:
                _fit(block, vectors[begin:end], courses[t, begin:end])


@njit(cache=True, nogil=True)
def _dot(block: Float32, vector: Float32) -> Any:  # pragma: no cover
    sums = np.zeros(block.shape[1], np.float32)
    for r in range(block.shape[0]):
        for s in range(block.shape[1]):
            sums[s] += block[r, s] * vector[r, s]
    total = 0.0
    for s in range(len(sums)):
        total += sums[s]
    return total


@njit(cache=True, nogil=True)
def _fit(block: Float32, vectors: Float32, courses: Float32) -> None:  # pragma: no cover
    """Find the coefficients by least squares over the pixels that are known."""
    n = len(vectors)
    gram = np.zeros((n, n))
    right = np.zeros(n)
    for r in range(block.shape[0]):
        for s in range(block.shape[1]):
            value = block[r, s]
            if np.isnan(value):
                continue
            for i in range(n):
                right[i] += value * vectors[i, r, s]
                for j in range(i + 1):
                    gram[i, j] += vectors[i, r, s] * vectors[j, r, s]
    for i in range(n):
        gram[i, i] += RIDGE
        for j in range(i):
            gram[j, i] = gram[i, j]
    found = np.linalg.solve(gram, right)
    for i in range(n):
        courses[i] = found[i] * (1 + RIDGE)


@njit(cache=True, nogil=True)
def add_blocks(
    courses: Float32, footprints: Float32, first: Int64, starts: Int64, frames: Float32
) -> None:  # pragma: no cover
    """Add what the blocks hold to frames (n, Y, X), block after block."""
    n_rows, n_columns = footprints.shape[1], footprints.shape[2]
    for t in range(frames.shape[0]):
        for b in range(len(starts)):
            y, x = starts[b, 0], starts[b, 1]
            for c in range(first[b], first[b + 1]):
                block = frames[t, y : y + n_rows, x : x + n_columns]
                _add(block, courses[t, c], footprints[c])


@njit(cache=True, nogil=True)
def _add(block: Float32, weight: Any, footprint: Float32) -> None:  # pragma: no cover
    for r in range(block.shape[0]):
        for s in range(block.shape[1]):
            block[r, s] += weight * footprint[r, s]
