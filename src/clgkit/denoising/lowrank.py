"""Local low rank: blocks of a plane on the components that are more than noise.

After Buchanan et al. 2018 (penalized matrix decomposition), with the edge of noise in the place
of penalties, so that there is nothing to tune.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import linalg

from clgkit.denoising import kernels
from clgkit.denoising.edge import Edge, measure_edge, moran
from clgkit.denoising.grid import Grid, grid_of
from clgkit.denoising.noise import (
    MOST_FRAMES,
    Frames,
    Noise,
    as_float,
    measure_noise,
    read_frames,
)
from clgkit.denoising.smoothing import smooth_courses

Float32: TypeAlias = npt.NDArray[np.float32]
Float64: TypeAlias = npt.NDArray[np.float64]
Int64: TypeAlias = npt.NDArray[np.int64]

MOST_COMPONENTS = 32
MISSES = 8
FEW_FRAMES = 300
WEAK = 2.0
BATCH = 64  # frames that are projected together
ON_DEVICE = 128  # blocks that a device decomposes together

Decomposer: TypeAlias = Callable[[Float32], tuple[Float64, Float64]]


class Components(NamedTuple):
    """What was found in the blocks of a tile.

    Parameters
    ----------
    footprints : (B, K, rows, columns) float32
        Of each block, in units of the movie, with the weight of the block; zero beyond the rank.
    n_components : (B,) int32
        Rank of each block.
    eigenvalues : (B, K + 8) float32
        The largest ones over the edge of noise, falling: 1 is the edge.
    """

    footprints: Float32
    n_components: npt.NDArray[np.int32]
    eigenvalues: Float32


class Basis(NamedTuple):
    """Components of a plane, without padding.

    Parameters
    ----------
    mean, sigma : (Y, X) float32
        Of :class:`~clgkit.denoising.Noise`.
    footprints : (C, rows, columns) float32
        The movie is the mean and the sum of footprints times time courses.
    vectors : (C, rows, columns) float32
        The same for pixels in units of their noise, orthonormal within a block.
    first : (B + 1,) int64
        Where the components of each block begin.
    starts : (B, 2) int64
        Corners of the blocks.
    """

    mean: Float32
    sigma: Float32
    footprints: Float32
    vectors: Float32
    first: Int64
    starts: Int64


class LowRank(NamedTuple):
    """What :func:`denoise_lowrank` gives.

    Parameters
    ----------
    denoised : (T, Y, X) float32
        NaN where the movie is.
    courses : (T, C) float32
        Time course of every component, in units of the noise.
    basis
        The components.
    components
        By block, with eigenvalues.
    noise, edge
        As measured.
    """

    denoised: Float32
    courses: Float32
    basis: Basis
    components: Components
    noise: Noise
    edge: Edge


def denoise_lowrank(
    frames: Frames,
    *,
    usable: npt.NDArray[np.bool_] | None = None,
    smooth: bool = False,
    weak: bool = True,
    limit: int = MOST_FRAMES,
    device: str = "cpu",
) -> LowRank:
    r"""Return a plane over time without what is noise in every block of 16 x 16 pixels.

    Parameters
    ----------
    frames : (T, Y, X)
        Any real dtype; NaN where nothing is known.
    usable : (T,)
        False for frames that the fit leaves out; they are projected like the others.
    smooth
        Filter the time courses too (Wiener); for pictures, as it flattens transients.
    weak
        Keep components below the edge that are smooth in time and space.
    limit
        Frames of the fit, spread over the recording; all frames are projected.
    device
        Where eigenvalues are computed, as torch names it; ``"cpu"`` needs no torch.

    Returns
    -------
    LowRank

    Raises
    ------
    ValueError
        If there are fewer than 8 good frames.

    Notes
    -----
    Pixels less their mean, over their noise :math:`\sigma`, have noise of variance 1.  A component
    whose eigenvalue exceeds :math:`1.05 (\sqrt{T} + \sqrt{P})^2`, for noise that is correlated
    between neighbours the edge of drawn noise, is kept unchanged; everything else is dropped.
    Blocks are added with tent-shaped weights.  A value that is missing takes part with the mean of
    its pixel; where a block is shown in part, coefficients are fitted to what is known.
    """
    noise = measure_noise(frames, usable=usable, limit=limit)
    n_frames, *plane = frames.shape
    grid = grid_of((plane[0], plane[1]))
    edge = edge_of(noise, grid)
    components = find_components(frames, noise, edge, grid, weak=weak, device=device)
    basis = basis_of(components, noise.mean, noise.sigma)
    courses = np.zeros((n_frames, len(basis.footprints)), np.float32)
    batches = [slice(t, min(t + BATCH, n_frames)) for t in range(0, n_frames, BATCH)]
    for part in batches:
        courses[part] = project_frames(as_float(np.asarray(frames[part])), basis)
    if smooth:
        courses = smooth_courses(courses, usable)
    denoised = np.empty(frames.shape, np.float32)
    for part in batches:
        pixels = as_float(np.asarray(frames[part]))
        denoised[part] = pixels if noise.is_flat else rebuild_frames(courses[part], basis, pixels)
    return LowRank(denoised, courses, basis, components, noise, edge)


def edge_of(noise: Noise, grid: Grid) -> Edge:
    """Return the edge of a plane, measured if neighbours share noise or frames are few.

    Parameters
    ----------
    noise
        Of the plane.
    grid
        Its blocks.
    """
    n_frames = len(noise.frames)
    if noise.is_flat or (n_frames >= FEW_FRAMES and not noise.is_correlated):
        return Edge()
    measured = measure_edge(noise.correlation, n_frames=n_frames, shape=grid.shape)
    return measured if noise.is_correlated else measured._replace(smoothness=0.0)


def find_components(
    frames: Frames,
    noise: Noise,
    edge: Edge,
    grid: Grid,
    *,
    rows: slice = slice(None),
    columns: slice = slice(None),
    weak: bool = True,
    device: str = "cpu",
) -> Components:
    """Return the components of a rectangle of blocks; they depend on nothing outside.

    Parameters
    ----------
    frames : (T, Y, X)
        The plane, of which the rectangle is read.
    noise, edge, grid
        Of the plane.
    rows, columns
        Which blocks.
    weak, device
        As in :func:`denoise_lowrank`.
    """
    y, x = grid.y[rows], grid.x[columns]
    down, right = (
        slice(int(starts[0]), int(starts[-1]) + side)
        for starts, side in zip((y, x), grid.shape, strict=True)
    )
    weights = grid.weights((noise.mean.shape[0], noise.mean.shape[1]))[rows, columns]
    n_blocks, (n_rows, n_columns) = len(y) * len(x), grid.shape
    made = Components(
        np.zeros((n_blocks, MOST_COMPONENTS, n_rows, n_columns), np.float32),
        np.zeros(n_blocks, np.int32),
        np.zeros((n_blocks, MOST_COMPONENTS + MISSES), np.float32),
    )
    if noise.is_flat:
        return made
    scaled = _scaled_tile(frames, noise, (down, right))
    sigma, runs = noise.sigma[down, right], np.diff(noise.frames) == 1
    decompose = decompose_blocks if device == "cpu" else _decomposer(device)
    n_together = 1 if device == "cpu" else ON_DEVICE
    corners = Grid(y, x, grid.shape).starts - (down.start, right.start)
    places = [(slice(top, top + n_rows), slice(left, left + n_columns)) for top, left in corners]
    weights = weights.reshape(-1, n_rows, n_columns)
    for start in range(0, n_blocks, n_together):
        batch = range(start, min(start + n_together, n_blocks))
        pixels = np.stack([scaled[:, *places[b]].reshape(len(scaled), -1) for b in batch])
        for block, values, vectors, own in zip(batch, *decompose(pixels), pixels, strict=True):
            unit = sigma[places[block]]
            limit = edge.at(len(own), max(int((unit > 0).sum()), 1))
            footprints = upright(vectors).reshape(-1, n_rows, n_columns)
            kept = np.flatnonzero(values > limit)
            if weak:
                below = range(len(kept), len(values))
                found = weak_ones(own, footprints, below, edge.smoothness, runs)
                kept = np.append(kept, found).astype(np.int64)
            kept = kept[:MOST_COMPONENTS]
            made.footprints[block, : len(kept)] = footprints[kept] * unit * weights[block]
            made.n_components[block] = len(kept)
            made.eigenvalues[block, : len(values)] = values / limit
    return made


def _scaled_tile(frames: Frames, noise: Noise, region: tuple[slice, slice]) -> Float32:
    """Return the frames of the fit less their mean over the noise; 0 where nothing is known."""
    sigma, mean = noise.sigma[region], noise.mean[region]
    inverse = np.divide(1, sigma, out=np.zeros_like(sigma), where=sigma > 0)
    scaled = np.empty((len(noise.frames), *sigma.shape), np.float32)
    at = 0
    for numbers, pixels in read_frames(frames, noise.frames, region):
        scaled[at : at + len(numbers)] = (pixels - mean) * inverse
        at += len(numbers)
    np.nan_to_num(scaled, copy=False)
    return scaled


def _decomposer(device: str) -> Decomposer:
    from clgkit.denoising.accelerated import decompose_on  # noqa: PLC0415  (needs torch)

    return partial(decompose_on, device=device, n=MOST_COMPONENTS + MISSES)


def decompose_blocks(blocks: Float32) -> tuple[Float64, Float64]:
    """Return the largest eigenvalues and the eigenvectors of blocks (B, T, P).

    Of the two products of a block with itself the smaller one is decomposed, in float64.

    Returns
    -------
    (B, n), (B, n, P) float64
        Eigenvalues, falling, and eigenvectors of length 1 (0 where there is none).
    """
    made = [_decompose(pixels.astype(np.float64)) for pixels in blocks]
    return np.stack([values for values, _ in made]), np.stack([vectors for _, vectors in made])


def _decompose(pixels: Float64) -> tuple[Float64, Float64]:
    is_tall = pixels.shape[1] <= pixels.shape[0]
    gram = pixels.T @ pixels if is_tall else pixels @ pixels.T
    n = len(gram)
    least = max(n - MOST_COMPONENTS - MISSES, 0)
    values, found = linalg.eigh(gram, subset_by_index=[least, n - 1], check_finite=False)
    values, found = values[::-1].clip(min=0), found[:, ::-1].T
    if not is_tall:
        found = found @ pixels
        length = np.linalg.norm(found, axis=1, keepdims=True)
        found = np.divide(found, length, out=np.zeros_like(found), where=length > 0)
    return values, found


def upright(vectors: Float64) -> Float64:
    """Return vectors (n, P) whose sums are not negative."""
    return np.where(vectors.sum(axis=1, keepdims=True) < 0, -vectors, vectors)


def weak_ones(
    pixels: Float32,
    footprints: Float64,
    below: range,
    smoothness: float,
    runs: npt.NDArray[np.bool_],
) -> list[int]:
    r"""Return the components below the edge that are smooth in time and space.

    Parameters
    ----------
    pixels : (T, P)
        Of the block, in units of the noise.
    footprints : (n, rows, columns)
        Of its components, the strongest first.
    below
        Those to look at; after 8 in a row that fail, the others are not.
    smoothness
        Moran's I of the smoothest footprint of noise alone.
    runs : (T - 1,)
        Which frames are followed by their neighbour.

    Notes
    -----
    The autocorrelation of the time course and Moran's I of the footprint must both exceed twice
    their standard deviation in white noise, :math:`1/\sqrt{T}` and :math:`1/\sqrt{2 \cdot 16
    \cdot 15}`; Moran's I with what noise of the measured correlation reaches added to it.
    """
    kept: list[int] = []
    rows, columns = footprints.shape[1:]
    least = smoothness + WEAK / math.sqrt(max((rows - 1) * columns + rows * (columns - 1), 1))
    misses = 0
    for number in below:
        if misses == MISSES:
            break
        passes = moran(footprints[number]) > least and _is_smooth(
            pixels @ footprints[number].ravel(), runs
        )
        misses = 0 if passes else misses + 1
        if passes:
            kept.append(number)
    return kept


def _is_smooth(course: Float64, runs: npt.NDArray[np.bool_]) -> bool:
    """Return whether a time course resembles itself one frame later."""
    square = float((course**2).mean())
    n = int(runs.sum())
    if square == 0 or n == 0:
        return False
    products = float((course[:-1] * course[1:])[runs].mean())
    return products / square * math.sqrt(n) > WEAK


def basis_of(components: Components, mean: Float32, sigma: Float32) -> Basis:
    """Return the components of a plane without padding.

    Parameters
    ----------
    components
        Of all its blocks, in order.
    mean, sigma : (Y, X)
        Of its :class:`~clgkit.denoising.Noise`.
    """
    plane = (sigma.shape[0], sigma.shape[1])
    grid = grid_of(plane)
    rank = components.n_components
    kept = np.arange(components.footprints.shape[1]) < rank[:, None]
    footprints = components.footprints[kept]
    starts = grid.starts
    weights = grid.weights(plane).reshape(-1, *grid.shape)
    rows, columns = (np.arange(side) for side in grid.shape)
    block = np.nonzero(kept)[0]
    y, x = starts[block, 0, None] + rows, starts[block, 1, None] + columns
    unit = sigma[y[:, :, None], x[:, None, :]] * weights[block]
    vectors = np.divide(footprints, unit, out=np.zeros(footprints.shape), where=unit > 0)
    first = np.concatenate([[0], np.cumsum(rank)]).astype(np.int64)
    return Basis(mean, sigma, footprints, vectors.astype(np.float32), first, starts)


def project_frames(pixels: Float32, basis: Basis) -> Float32:
    """Return the time courses (n, C) of frames (n, Y, X), whatever frames come with them."""
    part = basis.sigma > 0
    inverse = np.divide(1, basis.sigma, out=np.zeros_like(basis.sigma), where=part)
    scaled = np.where(part, (pixels - basis.mean) * inverse, np.float32(0))
    courses = np.zeros((len(pixels), len(basis.vectors)), np.float32)
    kernels.project(scaled, basis.vectors, basis.first, basis.starts, courses)
    return courses


def rebuild_frames(courses: Float32, basis: Basis, pixels: Float32 | None = None) -> Float32:
    """Return the frames (n, Y, X) of time courses (n, C); NaN where `pixels` are."""
    frames = np.repeat(basis.mean[None], len(courses), axis=0)
    kernels.add_blocks(courses, basis.footprints, basis.first, basis.starts, frames)
    if pixels is not None:
        frames[np.isnan(pixels)] = np.nan
    return frames


def traces_of(masks: npt.NDArray[np.bool_] | Float32, courses: Float32, basis: Basis) -> Float32:
    """Return the mean of the denoised movie over rois, without making the movie.

    Parameters
    ----------
    masks : (R, Y, X)
        True, or a weight, inside each roi.
    courses : (T, C)
        Time courses of the components.
    basis
        The components.

    Returns
    -------
    (R, T) float32
        NaN for an empty roi, and for one with a pixel whose mean is not known.
    """
    rows, columns = basis.footprints.shape[1:]
    weights = np.asarray(masks, np.float64).reshape(len(masks), *basis.mean.shape)
    loads = np.zeros((len(weights), len(basis.footprints)))
    for block, (y, x) in enumerate(basis.starts):
        mine = slice(basis.first[block], basis.first[block + 1])
        seen = weights[:, y : y + rows, x : x + columns].reshape(len(weights), -1)
        loads[:, mine] = seen @ basis.footprints[mine].reshape(-1, rows * columns).T
    mean = np.where(weights > 0, basis.mean, 0) * weights
    total = mean.sum(axis=(1, 2))[:, None] + loads @ courses.T.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):  # empty rois become NaN
        return np.asarray(total / weights.sum(axis=(1, 2))[:, None], np.float32)
