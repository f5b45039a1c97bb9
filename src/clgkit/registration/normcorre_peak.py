"""Where the correlation of two images is largest, as NoRMCorre looks for it.

Images are compared as they are: their means, which a band-pass would take away, are most of the
correlation.  They are kept apart and added in double precision, so that single precision is
enough for the rest.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import fft

Float64 = npt.NDArray[np.float64]
Complex64 = npt.NDArray[np.complex64]
Complex128 = npt.NDArray[np.complex128]

NODES = 14
"""So many samples an axis tell a correlation over 2 px to 1e-8 of its largest term."""


class Spectra(NamedTuple):
    """Transforms of images of one shape."""

    shape: tuple[int, int]
    """(Y, X) of the images."""
    waves: Complex64
    """(n, Y, X // 2 + 1), without the frequency 0."""
    level: Float64
    """(n,) the frequency 0: the sum of each image."""


class Peaks(NamedTuple):
    """The largest modulus of each correlation."""

    shift: Float64
    """(n, 2) where it lies: y and x, pixels."""
    phase: Float64
    """(n,) of the correlation there, radians."""


def transform(images: npt.NDArray[np.generic]) -> Spectra:
    """Transform images (n, Y, X) of any real dtype."""
    mean = images.mean(axis=(1, 2), dtype=np.float64)
    rest = (images - mean[:, np.newaxis, np.newaxis]).astype(np.float32)
    waves = np.asarray(fft.rfft2(rest), np.complex64)
    _, ny, nx = images.shape
    level = mean * (ny * nx) + waves[:, 0, 0].real
    waves[:, 0, 0] = 0
    return Spectra((ny, nx), waves, level)


def find_peaks(
    still: Spectra,
    moving: Spectra,
    rows: tuple[float, float],
    columns: tuple[float, float],
    *,
    upsampling: int,
) -> Peaks:
    """Find the shifts that lay images on others.

    Parameters
    ----------
    still, moving
        Of as many images of one shape.
    rows, columns
        Least and largest shift that is looked for, pixels.
    upsampling
        Shifts are multiples of ``1 / upsampling`` px.

    Returns
    -------
    Peaks
        Of the half pixels within the window the one with the largest modulus is taken, the first
        in columns; then the largest on the finer grid within three quarters of a pixel about it.

    Notes
    -----
    The finer grid is interpolated between Chebyshev nodes.
    """
    product = still.waves * np.conjugate(moving.waves)
    level = still.level * moving.level
    windows = zip(still.shape, (rows, columns), strict=True)
    (first_y, n_y), (first_x, n_x) = (_half_pixels(n, *window) for n, window in windows)
    y, x = ((first + np.arange(n)) / 2 for first, n in ((first_y, n_y), (first_x, n_x)))
    rough = _correlations(product, still.shape, y[np.newaxis], x[np.newaxis])
    at = _largest(rough, level)
    centers = np.stack([y[at[0]], x[at[1]]], axis=-1)
    centers = np.round(centers * upsampling) / upsampling
    nodes, between = _fine(upsampling)
    axes = [
        centers[:, i, np.newaxis] + (nodes if n > 1 else np.zeros(1))
        for i, n in enumerate(still.shape)
    ]
    sampled = _correlations(product, still.shape, *axes)
    down, across = (between if n > 1 else np.ones((1, 1)) for n in still.shape)
    sampled = down @ sampled.real @ across.T + 1j * (down @ sampled.imag @ across.T)
    row, column = _largest(sampled, level)
    found = sampled[np.arange(len(level)), row, column] + level
    grid = _fine_grid(upsampling)
    steps = [
        grid[k] if n > 1 else 0 * grid[k] for k, n in zip((row, column), still.shape, strict=True)
    ]
    return Peaks(centers + np.stack(steps, axis=-1), np.angle(found))


def _half_pixels(n: int, low: float, high: float) -> tuple[int, int]:
    """Return the first of the half pixels within a window, in halves, and their number."""
    if n == 1:
        return 0, 1
    first, last = max(math.ceil(2 * low), -n), min(math.floor(2 * high), n)
    if first > last:  # none lies there: the one next to its middle
        return min(max(round(low + high), -n), n), 1
    return first, last - first + 1


def _correlations(
    product: Complex64, shape: tuple[int, int], rows: Float64, columns: Float64
) -> Complex128:
    """Evaluate correlations, without their level, at all pairs of row and column shifts.

    Parameters
    ----------
    product : (n, Y, X // 2 + 1)
    shape
        (Y, X)
    rows : (n or 1, R), columns : (n or 1, C)
        Shifts, pixels.

    Returns
    -------
    (n, R, C) complex128
        They are real but for the highest frequency of an even axis, which counts once, as the
        negative one.
    """
    ny, nx = shape
    down = np.stack([_waves(ny, ny, tuple(r)) for r in rows.tolist()])
    across = np.stack([_waves(nx, nx // 2 + 1, tuple(c)) for c in columns.tolist()])
    across = across.transpose(0, 2, 1)
    half = down @ product
    alone = slice(0, None, nx // 2) if nx % 2 == 0 else slice(0, 1)
    paired = slice(1, (nx + 1) // 2)
    values = np.asarray(2 * (half[..., paired] @ across[:, paired]).real, np.complex128)
    values += half[..., alone] @ across[:, alone]
    if ny % 2 == 0:
        highest = product[:, ny // 2, np.newaxis, paired] @ across[:, paired]
        values -= 2j * np.sin(np.pi * rows)[..., np.newaxis] * np.conjugate(highest)
    return values


@lru_cache(maxsize=512)
def _waves(n: int, n_frequencies: int, shifts: tuple[float, ...]) -> Complex64:
    """Return exp(2 pi i f s), shifts by frequencies of an axis of length n."""
    frequencies = np.fft.fftfreq(n)[:n_frequencies]
    waves = np.exp(2j * np.pi * np.multiply.outer(shifts, frequencies))
    return np.asarray(waves, np.complex64)


def _fine_grid(upsampling: int) -> Float64:
    """Return the finer grid about 0, pixels."""
    n = math.ceil(1.5 * upsampling)
    return (np.arange(n) - n // 2) / upsampling


@lru_cache(maxsize=16)
def _fine(upsampling: int) -> tuple[Float64, Float64]:
    """Return nodes about 0 and the matrix (grid, nodes) that interpolates between them."""
    grid = _fine_grid(upsampling)
    if len(grid) <= NODES:
        return grid, np.eye(len(grid))
    angle = np.pi * (np.arange(NODES) + 0.5) / NODES
    middle, reach = (grid[0] + grid[-1]) / 2, (grid[-1] - grid[0]) / 2
    orders = np.arange(NODES)
    polynomials = np.cos(np.multiply.outer(angle, orders))  # at the nodes
    wanted = np.cos(np.multiply.outer(np.arccos((grid - middle) / reach), orders))
    return middle + reach * np.cos(angle), np.asarray(wanted @ np.linalg.inv(polynomials))


def _largest(values: Complex128, level: Float64) -> tuple[npt.NDArray[np.intp], ...]:
    """Return the places (row, column) of the largest moduli, the first ones column by column."""
    square = np.square(values.real + level[:, np.newaxis, np.newaxis]) + np.square(values.imag)
    flat = square.transpose(0, 2, 1).reshape(len(level), -1).argmax(axis=1)
    column, row = np.divmod(flat, values.shape[1])
    return row, column
