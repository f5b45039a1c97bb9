"""How patches of a frame lie on those of a template: a coarse search, then Newton steps.

All patches are compared at once.  For one displacement the product of template and moved
frame is formed once, and each patch sums it under its own window; patches that overlap
share the products.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numba
import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from clgkit.registration.cubic import sample_row

if TYPE_CHECKING:
    from clgkit.registration.patches import PatchGrid

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

SEARCH_SMOOTHING = 0.7
"""Patches vote with their neighbours for the whole-lag maximum; sigma in patches."""
LONGEST_STEP_PX = 1.0
LEAST_PEAK = 0.01
"""A frame that correlates less than this with the template is taken to do so."""
RIDGE = 1e-6
"""Added to curvatures, as a fraction of the largest."""
DERIVATIVE = np.array([1, -8, 0, 8, -1], dtype=np.float32) / np.float32(12)


class Coarse(NamedTuple):
    """The template at half size, to search it for whole lags of two pixels."""

    image: Float32
    rows: Float32
    columns: Float32
    start: Integers
    stop: Integers
    reach: int
    """Lags looked at on each side."""


class PatchTemplate(NamedTuple):
    """A filtered template with what is summed of it once."""

    image: Float32
    slope_y: Float32
    slope_x: Float32
    grid: PatchGrid
    energy: Float64
    """(ny, nx) windowed sum of the square."""
    drift: Float64
    """(ny, nx, 2) windowed sum of the image times its slopes."""
    curvature: Float64
    """(ny, nx, 2, 2) windowed sums of products of slopes."""
    noise_gain: Float64
    """(ny, nx, 2) variance of the windowed sum of slope times noise of variance 1."""
    size: Float64
    """(ny, nx) sum of the window."""
    coarse: Coarse


class Fit(NamedTuple):
    """One Newton step of every patch."""

    step_px: Float64
    """(ny, nx, 2) shift (y, x) still to be added."""
    variance_px2: Float64
    """(ny, nx, 2) of the error that noise makes."""
    peak: Float64
    """(ny, nx) normalised correlation before the step."""
    gain: float
    """Brightness of the frame in units of the template."""


def prepare_patches(
    filtered: Float32,
    grid: PatchGrid,
    *,
    valid: npt.NDArray[np.bool_] | None,
    max_deviation_px: float,
    band_px: tuple[float, float],
) -> PatchTemplate:
    """Sum up a filtered template once.

    Parameters
    ----------
    filtered : (Y, X) float32
        0 where not valid.
    grid
        Its patches.
    valid : (Y, X) bool
        Pixels that count; all if not given.
    max_deviation_px
        Reach of the coarse search.
    band_px
        Of the filter: it tells which noise is left in the frames.

    Returns
    -------
    PatchTemplate
    """
    slope_y, slope_x = (
        ndimage.correlate1d(filtered, DERIVATIVE, axis=axis, mode="nearest") for axis in (0, 1)
    )
    if valid is not None:
        inner = ndimage.binary_erosion(valid, iterations=2, border_value=1)
        slope_y, slope_x = slope_y * inner, slope_x * inner
    sums = [
        window_sums(a * b, grid)
        for a, b in (
            (filtered, filtered),
            (filtered, slope_y),
            (filtered, slope_x),
            (slope_y, slope_y),
            (slope_y, slope_x),
            (slope_x, slope_x),
        )
    ]
    curvature = np.stack([sums[3], sums[4], sums[4], sums[5]], axis=-1)
    return PatchTemplate(
        image=filtered,
        slope_y=slope_y,
        slope_x=slope_x,
        grid=grid,
        energy=sums[0],
        drift=np.stack(sums[1:3], axis=-1),
        curvature=curvature.reshape(*grid.shape, 2, 2),
        noise_gain=np.stack([_noise_gain(s, grid, band_px) for s in (slope_y, slope_x)], axis=-1),
        size=np.outer(grid.y.window.sum(axis=1), grid.x.window.sum(axis=1)).astype(np.float64),
        coarse=_halve_template(filtered, grid, max_deviation_px),
    )


def window_sums(image: Float32, grid: PatchGrid) -> Float64:
    """Sum an image under the window of every patch, (ny, nx)."""
    return np.asarray(grid.y.window @ image @ grid.x.window.T, dtype=np.float64)


def search_patches(frame: Float32, template: PatchTemplate, rigid_px: Float64) -> Float64:
    """Find roughly how far each patch is from the rigid shift.

    Parameters
    ----------
    frame : (Y, X) float32
        Filtered.
    template
        From :func:`prepare_patches`.
    rigid_px : (2,)
        Shift (y, x) of the whole frame; its whole part is undone before, without wrapping.

    Returns
    -------
    (ny, nx, 2) float64
        Shift of each patch, to about half a pixel.

    Notes
    -----
    Normalised correlation of images binned by two, over whole lags; each patch listens to
    its neighbours.  The parabola through three values gives the fraction.
    """
    coarse = template.coarse
    whole = np.rint(rigid_px).astype(np.int64)
    shape = template.grid.shape
    if min(coarse.image.shape) < 2 or not coarse.reach:
        return np.broadcast_to(rigid_px, (*shape, 2)).copy()
    reach, n_lags = coarse.reach, 2 * coarse.reach + 1
    height, width = coarse.image.shape
    moved = np.empty((height + 2 * reach, width + 2 * reach), dtype=np.float32)
    _halve(frame, int(-whole[0]) - 2 * reach, int(-whole[1]) - 2 * reach, moved)
    products = np.zeros((2, n_lags, n_lags, shape[0], width), dtype=np.float32)
    _sum_lags(moved, coarse.image, coarse.rows, coarse.start, coarse.stop, products)
    cross, energy = (products @ coarse.columns.T).astype(np.float64)
    floor = max(1e-6 * float(energy.max()), np.finfo(np.float64).tiny)
    score = np.moveaxis(cross / np.sqrt(np.maximum(energy, floor)), (2, 3), (0, 1))
    sigma = (SEARCH_SMOOTHING, SEARCH_SMOOTHING, 0, 0)
    score = ndimage.gaussian_filter(score, sigma, mode="nearest")
    lag = _vertex(score) - reach
    return np.asarray(whole - 2 * lag, dtype=np.float64)


def fit_patches(
    frame: Float32, template: PatchTemplate, sampling_px: tuple[Float32, Float32], gain: float
) -> Fit:
    """Read the frame through a field and tell how far each patch still is from the template.

    Parameters
    ----------
    frame : (Y, X) float32
        Filtered.
    template
        From :func:`prepare_patches`.
    sampling_px
        Two (Y, X) float32: where to read, relative to each pixel.
    gain
        Brightness of the frame in units of the template; stands in where the field reads
        outside the frame.

    Returns
    -------
    Fit

    Notes
    -----
    Least squares of ``frame = a (template + slope · step)`` under the window of each patch
    (Lucas and Kanade, IJCAI 1981; slopes of the template, as Baker and Matthews, IJCV
    56:221, 2004), with one brightness `a` for each patch.
    """
    y = template.grid.y
    products = np.zeros((4, len(y.start), template.image.shape[1]), dtype=np.float32)
    images = (template.image, template.slope_y, template.slope_x)
    _sum_moved(frame, images, sampling_px, np.float32(gain), y.window, y.start, y.stop, products)
    fitted, slope_y, slope_x, square = (products @ template.grid.x.window.T).astype(np.float64)
    energy = np.maximum(template.energy, np.finfo(np.float64).tiny)
    total = float(energy.sum())
    brightest = math.sqrt(float(square.sum()) / total)
    tiny = float(np.finfo(np.float32).tiny)
    common = max(float(fitted.sum()) / total, LEAST_PEAK * brightest, tiny)
    a = np.maximum(fitted / energy, 0.25 * common)
    pull = np.stack([slope_y, slope_x], axis=-1) / a[..., np.newaxis] - template.drift
    inverse = _invert(template.curvature)
    step = (inverse @ pull[..., np.newaxis])[..., 0]
    residual = np.maximum(square - 2 * a * fitted + a**2 * energy, 0) / template.size / a**2
    variance = (inverse**2 @ template.noise_gain[..., np.newaxis])[..., 0]
    norm = np.sqrt(np.maximum(square * energy, np.finfo(np.float64).tiny))
    return Fit(
        step_px=np.clip(step, -LONGEST_STEP_PX, LONGEST_STEP_PX),
        variance_px2=variance * residual[..., np.newaxis],
        peak=np.clip(fitted / norm, -1, 1),
        gain=common,
    )


def _invert(matrix: Float64) -> Float64:
    """Invert 2 x 2 matrices; a ridge keeps those of patches without slopes finite."""
    trace = matrix[..., 0, 0] + matrix[..., 1, 1]
    ridge = max(RIDGE * float(trace.max()), float(np.finfo(np.float32).tiny))
    return np.asarray(np.linalg.inv(matrix + ridge * np.eye(2)), dtype=np.float64)


def _noise_gain(slope: Float32, grid: PatchGrid, band_px: tuple[float, float]) -> Float64:
    """Return the variance of the windowed sum of slope times filtered noise of variance 1."""
    out = np.empty(grid.shape)
    for i in range(grid.shape[0]):
        rows = slice(grid.y.start[i], grid.y.stop[i])
        for j in range(grid.shape[1]):
            columns = slice(grid.x.start[j], grid.x.stop[j])
            window = np.outer(grid.y.window[i, rows], grid.x.window[j, columns])
            spectrum = np.abs(fft.fft2(window * slope[rows, columns])) ** 2
            power = _noise_power(spectrum.shape, band_px)
            out[i, j] = (spectrum * power).sum()
    return out


def _noise_power(shape: tuple[int, ...], band_px: tuple[float, float]) -> Float64:
    """Return the power spectrum of white noise after the filter, of sum 1."""
    f2 = np.add.outer(*(np.fft.fftfreq(n) ** 2 for n in shape))
    inner, outer = (np.exp(-2 * np.pi**2 * sigma**2 * f2) for sigma in band_px)
    power = (inner - outer) ** 2
    total = power.sum()
    return np.asarray(power / total if total else power, dtype=np.float64)


def _halve_template(filtered: Float32, grid: PatchGrid, max_deviation_px: float) -> Coarse:
    half = np.empty((filtered.shape[0] // 2, filtered.shape[1] // 2), dtype=np.float32)
    _halve(filtered, 0, 0, half)
    rows, columns = (
        np.asarray((w[:, : 2 * n : 2] + w[:, 1 : 2 * n : 2]) / 2, dtype=np.float32)
        for w, n in zip((grid.y.window, grid.x.window), half.shape, strict=True)
    )
    stop = np.minimum((grid.y.stop + 1) // 2, half.shape[0])
    return Coarse(half, rows, columns, grid.y.start // 2, stop, math.ceil(max_deviation_px / 2))


def _vertex(score: Float64) -> Float64:
    """Return index and fraction of the largest value of each map, (..., 2)."""
    n = score.shape[-1]
    best = score.reshape(*score.shape[:-2], -1).argmax(axis=-1)
    row, column = np.divmod(best, n)
    lines = (
        np.take_along_axis(score, column[..., np.newaxis, np.newaxis], axis=-1)[..., 0],
        np.take_along_axis(score, row[..., np.newaxis, np.newaxis], axis=-2)[..., 0, :],
    )
    at = [i + _fraction(line, i) for line, i in zip(lines, (row, column), strict=True)]
    return np.stack(at, axis=-1)


def _fraction(line: Float64, index: Integers) -> Float64:
    """Return where the parabola about `index` peaks; 0 at the ends of the line."""
    last = line.shape[-1] - 1
    middle = np.clip(index, 1, max(last - 1, 1))
    before, here, after = (
        np.take_along_axis(line, np.clip(middle + k, 0, last)[..., np.newaxis], axis=-1)[..., 0]
        for k in (-1, 0, 1)
    )
    bend = before - 2 * here + after
    peaked = (bend < 0) & (middle == index)
    return np.where(peaked, np.clip((before - after) / np.where(peaked, 2 * bend, 1), -0.5, 0.5), 0)


@numba.njit(cache=True, nogil=True)
def _halve(image: Float32, top: int, left: int, out: Float32) -> None:
    """Fill `out` with means of 2 x 2 pixels, from (top, left) on; 0 outside the image."""
    quarter = np.float32(0.25)
    height, width = out.shape
    first = min(max((1 - left) // 2, 0), width)
    last = max(min((image.shape[1] - left) // 2, width), first)
    out[:] = 0
    for y in range(height):
        row = top + 2 * y
        if row < 0 or row + 1 >= image.shape[0]:
            continue
        upper, lower = image[row], image[row + 1]
        for x in range(first, last):
            k = left + 2 * x
            out[y, x] = quarter * ((upper[k] + upper[k + 1]) + (lower[k] + lower[k + 1]))


@numba.njit(cache=True, nogil=True)
def _add_products(
    weight: np.float32, line: Float32, still: Float32, cross: Float32, square: Float32
) -> None:
    for x in range(line.size):
        value = weight * line[x]
        cross[x] += value * still[x]
        square[x] += value * line[x]


@numba.njit(cache=True, nogil=True)
def _sum_lags(  # noqa: PLR0917  (a kernel takes its numbers one by one)
    moved: Float32,
    image: Float32,
    rows: Float32,
    start: Integers,
    stop: Integers,
    out: Float32,
) -> None:
    """Add up over y, for every lag: window times moved times image, and times moved."""
    width, n_lags = image.shape[1], out.shape[1]
    for j in range(len(rows)):
        for y in range(start[j], stop[j]):
            weight, still = rows[j, y], image[y]
            for a in range(n_lags):
                for b in range(n_lags):
                    line = moved[y + a, b : b + width]
                    _add_products(weight, line, still, out[0, a, b, j], out[1, a, b, j])


@numba.njit(cache=True, nogil=True)
def _sum_moved(  # noqa: PLR0917  (a kernel takes its numbers one by one)
    frame: Float32,
    images: tuple[Float32, Float32, Float32],
    sampling: tuple[Float32, Float32],
    gain: np.float32,
    window: Float32,
    start: Integers,
    stop: Integers,
    out: Float32,
) -> None:
    """Add up over y: window times moved frame times each image, and times itself."""
    image, slope_y, slope_x = images
    height, width = image.shape
    line, fill = np.empty(width, dtype=np.float32), np.empty(width, dtype=np.float32)
    for y in range(height):
        still, down, right = image[y], slope_y[y], slope_x[y]
        for x in range(width):
            fill[x] = gain * still[x]
        sample_row(frame, y, sampling[0][y], sampling[1][y], fill, line)
        for j in range(len(window)):
            if y < start[j] or y >= stop[j]:
                continue
            weight = window[j, y]
            a, b, c, d = out[0, j], out[1, j], out[2, j], out[3, j]
            for x in range(width):
                value = weight * line[x]
                a[x] += value * still[x]
                b[x] += value * down[x]
                c[x] += value * right[x]
                d[x] += value * line[x]
