"""How much of an image a slice predicts, block by block, whatever the contrast of either.

Cytosol is a ring where the structural channel shows a disk, a red channel shows a disk too.
Each block of the plane is therefore *predicted* from the slice: two band-passed images of the
slice, one of outlines and one of bodies, are mixed by least squares.  The share of variance
that the mixture explains is the squared multiple correlation; it knows no sign.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt
from scipy import fft

from clgkit.registration.filters import difference_of_gaussians, smooth

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Complex64 = npt.NDArray[np.complex64]
Integers = npt.NDArray[np.int64]

NUCLEUS_PX = 6.5
"""Diameter of a nucleus of 5.2 um at 0.8 um per pixel."""
FINE, BODY, WIDE, AROUND = 0.11, 0.31, 0.46, 1.85
"""Sigmas of outlines, of bodies, of what is taken off both, and of the local contrast, in
diameters of a nucleus."""
CELL = 10.0
"""Distance of neighbouring blocks, in diameters of a nucleus; a block is twice as long."""
SLACK_PX = 2
RIDGE = 1e-3


class Blocks(NamedTuple):
    """Overlapping blocks that cover a field, and the window laid over each."""

    corner: Integers
    """(B, 2) first pixel (y, x)."""
    center: Float64
    """(B, 2) centre, pixels."""
    grid: tuple[int, int]
    """Number of blocks along y and x; their product is B."""
    window: Float32
    """(h, w) never 0."""


class Finder(NamedTuple):
    """What is common to all comparisons of one shape."""

    shape: tuple[int, int]
    nucleus_px: float
    blocks: Blocks
    reach_px: int
    """Whole pixels the common shift may take."""
    slack_px: int
    """Whole pixels a block may move beyond it, along each axis."""
    size: tuple[int, int]
    """Of the transforms."""


class Target(NamedTuple):
    """A plane, ready to be compared with many slices."""

    spectrum: Complex64
    """(B, fy, fx // 2 + 1)."""
    energy: Float64
    """(B,) what there is to explain."""


class Fit(NamedTuple):
    """How well a slice predicts a plane, and where it has to lie."""

    explained: Float64
    """(B,) share of the variance of each block, in [0, 1]."""
    shift_px: Float64
    """(B, 2) that lays the slice on the plane."""
    energy: Float64
    """(B,) variance explained in each block, which is how much the block counts."""
    in_place: float
    """Share of all variance that is explained without any shift, in [0, 1]."""
    score: float
    """Root of the share of all variance that is explained, in [0, 1]."""
    common_px: Float64
    """(2,) mean shift, weighted by what is explained."""


def plan_blocks(shape: tuple[int, int], cell_px: float) -> Blocks:
    """Cover a field with blocks of twice the cell, half overlapping, under raised cosines."""
    starts, windows = [], []
    for n in shape:
        count = max(1, round(n / cell_px))
        length = n if count == 1 else math.ceil(2 * n / (count + 1))
        starts.append(np.rint(np.linspace(0, n - length, count)).astype(np.int64))
        windows.append(np.hanning(length + 2)[1:-1])
    corner = np.stack(np.meshgrid(*starts, indexing="ij"), axis=-1).reshape(-1, 2)
    window = np.outer(*windows).astype(np.float32)
    grid = (len(starts[0]), len(starts[1]))
    return Blocks(corner, corner + (np.array(window.shape) - 1) / 2, grid, window)


def plan_finder(
    shape: tuple[int, int],
    *,
    max_shift_px: float,
    nucleus_px: float,
    slack_px: int = SLACK_PX,
    blocks: Blocks | None = None,
) -> Finder:
    """Prepare the comparison of images of one shape.

    Parameters
    ----------
    shape
        (y, x) of the plane, and of the slice in functional pixels.
    max_shift_px
        Largest common shift, functional pixels.
    nucleus_px
        Lateral diameter of a nucleus, functional pixels; sets the bands and the blocks.
    slack_px
        Blocks may move so far from the common shift, along each axis.
    blocks
        Where to look; the whole field, blocks ten nuclei apart, if not given.

    Returns
    -------
    Finder

    Raises
    ------
    ValueError
        If `max_shift_px` or `nucleus_px` is no length.
    """
    if not (math.isfinite(max_shift_px) and max_shift_px >= 0):
        raise ValueError(f"max_shift_px must be finite and not negative, found {max_shift_px}.")
    if not (math.isfinite(nucleus_px) and nucleus_px > 0):
        raise ValueError(f"nucleus_px must be a positive number of pixels, found {nucleus_px}.")
    blocks = blocks or plan_blocks(shape, CELL * nucleus_px)
    reach = min(math.floor(max_shift_px), (min(shape) - 1) // 2)
    extra = 2 * (reach + slack_px)
    height, width = (int(fft.next_fast_len(n + extra, real=True)) for n in blocks.window.shape)
    return Finder(shape, nucleus_px, blocks, reach, slack_px, (height, width))


def prepare_target(plane: npt.NDArray[np.generic], finder: Finder) -> Target:
    """Filter, cut and transform a plane.  Pixels that are not finite do not count."""
    image = _bands(plane, finder.nucleus_px, (FINE,))[0]
    weight = np.isfinite(plane).astype(np.float32)
    values = _cut(image, finder.blocks, 0)
    weights = _cut(weight, finder.blocks, 0) * finder.blocks.window
    total = np.maximum(weights.sum(axis=(1, 2), keepdims=True), 1e-12)
    values = values - (weights * values).sum(axis=(1, 2), keepdims=True) / total
    energy = (weights * values**2).sum(axis=(1, 2), dtype=np.float64)
    spectrum = np.conjugate(fft.rfft2(weights * values, s=finder.size))
    return Target(np.asarray(spectrum, np.complex64), energy)


def prepare_slice(image: npt.NDArray[np.generic], finder: Finder) -> Complex64:
    """Filter, cut, decorrelate and transform a slice brought to functional pixels.

    Returns
    -------
    (B, 2, fy, fx // 2 + 1) complex64
        The two images of every block are uncorrelated and of unit energy under the window,
        so the squares of their correlations with a plane add up.
    """
    margin = finder.reach_px + finder.slack_px
    bands = _bands(image, finder.nucleus_px, (FINE, BODY))
    patches = np.stack([_cut(band, finder.blocks, margin) for band in bands], axis=1)
    window = finder.blocks.window
    height, width = window.shape
    inner = patches[:, :, margin : margin + height, margin : margin + width]
    mean = (window * inner).sum(axis=(2, 3), keepdims=True) / window.sum()
    centered = inner - mean
    gram = np.einsum("bkyx,blyx->bkl", window * centered, centered).astype(np.float64)
    level = np.trace(gram, axis1=1, axis2=2) / 2
    gram += np.where(level > 0, RIDGE * level, 1.0)[:, np.newaxis, np.newaxis] * np.eye(2)
    mix = np.linalg.inv(np.linalg.cholesky(gram)).astype(np.float32)
    mixed = np.einsum("bkl,blyx->bkyx", mix, patches - mean)
    return np.asarray(fft.rfft2(mixed, s=finder.size), np.complex64)


def explain(prepared: Complex64, target: Target, finder: Finder) -> Float32:
    """Give the energy that a slice explains in every block of a plane, at every shift.

    Returns
    -------
    (B, n, n) float32
        Entry (i, j) belongs to the shift ``n // 2 - i``, ``n // 2 - j`` of the slice.
    """
    n = 2 * (finder.reach_px + finder.slack_px) + 1
    cross = prepared * target.spectrum[:, np.newaxis]
    rows = fft.ifft(cross, axis=2)[:, :, :n]  # the transforms are long enough for no more
    correlation = fft.irfft(rows, n=finder.size[1], axis=3)[..., :n]
    return np.asarray(np.square(correlation).sum(axis=1), np.float32)


def fit_blocks(energy: Float32, target: Target, finder: Finder) -> Fit:
    """Choose the common shift that explains most, and refine it block by block.

    Parameters
    ----------
    energy : (B, n, n) float32
        From :func:`explain`.
    target, finder
        The same.
    """
    where, value = _best(energy, finder.reach_px, finder.slack_px)
    total = max(float(target.energy.sum()), 1e-30)
    middle = energy.shape[1] // 2
    return Fit(
        explained=np.minimum(value / np.maximum(target.energy, 1e-30), 1.0),
        shift_px=where,
        energy=value,
        in_place=float(energy[:, middle, middle].sum()) / total,
        score=math.sqrt(min(float(value.sum()) / total, 1.0)),
        common_px=np.average(where, axis=0, weights=value + 1e-30),
    )


def _bands(
    image: npt.NDArray[np.generic], nucleus_px: float, sigmas: tuple[float, ...]
) -> list[Float32]:
    """Return band-passed images of equal local contrast; 0 where the image has no value."""
    bands = []
    for sigma in sigmas:
        band = difference_of_gaussians(image, band_px=(sigma * nucleus_px, WIDE * nucleus_px))
        square = band**2
        local = smooth(square, sigma_px=AROUND * nucleus_px)
        bands.append(band / np.sqrt(local + np.float32(1e-6) * square.mean() + np.float32(1e-30)))
    return bands


def _cut(image: Float32, blocks: Blocks, margin: int) -> Float32:
    """Return (B, h + 2 margin, w + 2 margin) patches; 0 outside the field."""
    height, width = (n + 2 * margin for n in blocks.window.shape)
    padded = np.pad(image, margin)
    return np.stack([padded[y : y + height, x : x + width] for y, x in blocks.corner])


@numba.njit(cache=True, nogil=True)
def _best(energy: Float32, reach: int, slack: int) -> tuple[Float64, Float64]:
    """Return shift (B, 2) and energy (B,) of the blocks about the best common shift."""
    n_blocks, n, _ = energy.shape
    total, row, column = -1.0, slack, slack
    for i in range(slack, slack + 2 * reach + 1):
        for j in range(slack, slack + 2 * reach + 1):
            value = 0.0
            for b in range(n_blocks):
                value += energy[b, i - slack : i + slack + 1, j - slack : j + slack + 1].max()
            if value > total:
                total, row, column = value, i, j
    where, best = np.empty((n_blocks, 2)), np.empty(n_blocks)
    for b in range(n_blocks):
        y, x = row, column
        for i in range(row - slack, row + slack + 1):
            for j in range(column - slack, column + slack + 1):
                if energy[b, i, j] > energy[b, y, x]:
                    y, x = i, j
        dy, rise_y = _peak(energy[b, y - 1 : y + 2, x]) if 0 < y < n - 1 else (0.0, 0.0)
        dx, rise_x = _peak(energy[b, y, x - 1 : x + 2]) if 0 < x < n - 1 else (0.0, 0.0)
        where[b] = n // 2 - y - dy, n // 2 - x - dx
        best[b] = energy[b, y, x] + rise_y + rise_x
    return where, best


@numba.njit(cache=True, nogil=True)
def _peak(three: Float32) -> tuple[float, float]:
    """Return where, and how far above the middle, the parabola through three values peaks."""
    before, here, after = np.float64(three[0]), np.float64(three[1]), np.float64(three[2])
    bend = before - 2 * here + after
    if bend >= 0 or here < before or here < after:
        return 0.0, 0.0
    half = 0.5 * (before - after)
    return half / bend, -0.5 * half * half / bend
