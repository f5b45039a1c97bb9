"""Sub-pixel shifts from the correlation spectrum, looked for inside a window only.

The correlation of a template with a frame is a trigonometric polynomial of the shift.
It is evaluated by two matrix products on a half-pixel grid inside the window, then on
finer grids about the maximum (matrix DFT, Guizar-Sicairos et al., Opt Lett 33:156, 2008;
the window replaces the zero-padded transform of the whole field).

A **shift** is the displacement to apply to the content of a frame, +y down, +x right.
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

import numba
import numpy as np
import numpy.typing as npt
from scipy import fft

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Complex64 = npt.NDArray[np.complex64]
Integers = npt.NDArray[np.int64]
Band: TypeAlias = tuple[Integers, int]

COARSE_FACTOR = 5  # the first refinement steps this many final steps at a time
FINE_REACH = 7  # final steps looked at on each side
MAX_RECENTERINGS = 8
LEAST_WEIGHT = 1e-4
"""Columns of the weight's spectrum that hold less than this of the largest are left out."""
RIVAL_PX = 4.0
"""A second maximum lies at least this far from the first, along one axis or the other."""


class Refinement(NamedTuple):
    """A small grid about a centre, in steps of ``1 / upsampling`` px."""

    offsets: Integers
    row_matrix: Complex64
    column_matrix: Complex64


class Match(NamedTuple):
    """Where one image fits another, and how surely."""

    shift_px: Float64
    """(2,) displacement (y, x) to apply, pixels."""
    peak: float
    """Normalised correlation at that shift, in [-1, 1]; NaN if an image is zero everywhere."""
    second_peak: float
    """The largest one at least `RIVAL_PX` away; -1 if the window holds none."""
    background: float
    """Standard deviation of the normalised correlation at least `RIVAL_PX` away."""
    gain: float
    """Brightness of the image in units of the template: the least-squares factor at the shift."""
    at_edge: bool
    """Whether the shift lies on the rim of the window, so that a better one may lie beyond."""


class Search(NamedTuple):
    """Where to look for the peak of correlations of one shape: grids and DFT matrices."""

    shape: tuple[int, int]
    band: Band
    """Rows of the half spectrum that count, and how many columns from the first on."""
    limit_px: tuple[float, float]
    """Largest shift per axis: the one asked for, or just under half the field."""
    upsampling: int
    rows_px: Float64
    columns_px: Float64
    row_matrix: Complex64
    column_matrix: Complex64
    refinements: tuple[Refinement, ...]
    """One or two, the finest last."""


class Correlator(NamedTuple):
    """A template ready to be compared with many frames."""

    search: Search
    spectrum: Complex64
    weight: Float32
    """(Y, X) how much each pixel of the template counts."""
    weight_spectrum: Complex64
    """Up to the last column that holds anything."""
    energy_spectrum: Complex64
    """Of the weighted square of the template."""
    energy: float
    """The sum of that square."""


def plan_search(
    shape: tuple[int, int],
    *,
    max_shift_px: float,
    upsampling: int,
    highest_frequency: float = 0.5,
) -> Search:
    """Prepare the half-pixel grid and its DFT matrices for images of one shape.

    Parameters
    ----------
    shape
        (Y, X) of the images.
    max_shift_px
        Half the side of the square window.  An axis shorter than twice that is searched
        to just under half its length; an axis of length 1 has shift 0.
    upsampling
        Shifts are multiples of ``1 / upsampling`` px.
    highest_frequency
        Of the spectrum, higher frequencies along an axis are left out, in cycles per pixel:
        those that a filter has removed cost time and tell nothing.

    Returns
    -------
    Search

    Raises
    ------
    ValueError
        If an axis is empty, `max_shift_px` negative or not finite, `upsampling` below 1.
    """
    if min(shape) < 1:
        raise ValueError(f"images must have at least one pixel, found shape {shape}.")
    if not (math.isfinite(max_shift_px) and max_shift_px >= 0):
        raise ValueError(f"max_shift_px must be finite and not negative, found {max_shift_px}.")
    if upsampling < 1:
        raise ValueError(f"upsampling must be at least 1, found {upsampling}.")
    limit_y, limit_x = (min(float(max_shift_px), (n - 1) / 2) for n in shape)
    rows_px, columns_px = (
        np.arange(-math.floor(2 * limit), math.floor(2 * limit) + 1) / 2
        for limit in (limit_y, limit_x)
    )
    band = (
        np.flatnonzero(np.abs(np.fft.fftfreq(shape[0])) <= highest_frequency),
        int((np.fft.rfftfreq(shape[1]) <= highest_frequency).sum()),
    )
    row_matrix = _waves(rows_px, _row_frequencies(shape, band))
    column_matrix = _waves(columns_px, _column_frequencies(shape, band))
    column_matrix *= _column_weights(shape, band)
    return Search(
        shape=shape,
        band=band,
        limit_px=(limit_y, limit_x),
        upsampling=upsampling,
        rows_px=rows_px,
        columns_px=columns_px,
        row_matrix=row_matrix,
        column_matrix=np.ascontiguousarray(column_matrix.T.astype(np.complex64)),
        refinements=_plan_refinements(shape, upsampling, band),
    )


def find_peaks(cross: Complex64, search: Search) -> tuple[Float64, Float32]:
    """Find the shift of the largest correlation inside the window, for a batch of spectra.

    Parameters
    ----------
    cross : (B, rows, columns) complex64
        Half spectra of correlations, rows and columns of the band only: template times
        conjugate of frame, from ``rfft2``.
    search
        From :func:`plan_search` for the same (Y, X).

    Returns
    -------
    shift_px : (B, 2) float64
        Multiples of ``1 / upsampling``, inside the window.
    value : (B,) float32
        The correlation there: the sum over pixels of template times moved frame.

    Notes
    -----
    The real part is maximised, not the modulus, since band-passed images have no mean
    and a negative peak must not win.  Every item is computed by itself, so the result
    does not depend on the batch.  The refinement takes two steps (5 final steps at a
    time, then single ones, moved on while the maximum lies on the rim); on real peaks
    that gives the argmax of the full fine grid at a quarter of the work.
    """
    return _descend(cross, _half_pixel_values(cross, search), search)


def prepare_correlator(
    template: Float32,
    *,
    weight: Float32 | None = None,
    max_shift_px: float = 15,
    upsampling: int = 50,
    highest_frequency: float = 0.5,
) -> Correlator:
    """Transform a filtered template once, for any number of frames.

    Parameters
    ----------
    template : (Y, X) float32
        Filtered and finite.
    weight : (Y, X) float32
        In [0, 1]; small at the edges, where what moves out comes in at the other side.
        All pixels count alike if not given.
    max_shift_px, upsampling, highest_frequency
        As in :func:`plan_search`.

    Returns
    -------
    Correlator

    Notes
    -----
    The weight belongs to the template alone.  Weighting the frames as well pulls shifts
    towards 0 by 1 to 2 %, since bright cells near the edge then gain by moving inward.
    """
    shape = (int(template.shape[0]), int(template.shape[1]))
    if weight is None:
        weight = np.ones(shape, dtype=np.float32)
    search = plan_search(
        shape,
        max_shift_px=max_shift_px,
        upsampling=upsampling,
        highest_frequency=highest_frequency,
    )
    weight_spectrum = _transform(weight, search.band)
    column_peaks = np.abs(weight_spectrum).max(axis=0)
    held = np.flatnonzero(column_peaks > LEAST_WEIGHT * column_peaks.max())
    return Correlator(
        search=search,
        spectrum=_transform(template * weight, search.band),
        weight=weight,
        weight_spectrum=weight_spectrum[:, : held[-1] + 1 if held.size else 1].copy(),
        energy_spectrum=_transform(template**2 * weight, search.band),
        energy=_energy(template, weight),
    )


def correlate(
    frame: Float32, correlator: Correlator, *, valid: npt.NDArray[np.bool_] | None = None
) -> Match:
    """Find the shift of one filtered frame and the normalised correlation at it.

    Parameters
    ----------
    frame : (Y, X) float32
        Filtered like the template, finite, 0 where not valid.
    correlator
        From :func:`prepare_correlator`.
    valid : (Y, X) bool
        Pixels of the frame that count; all if not given.

    Returns
    -------
    Match
        With shift 0 and NaN if frame or template is zero everywhere.  The frame is
        normalised by its weighted energy before it is moved.

    Notes
    -----
    The largest correlation starts the search; the result is the nearest maximum of
    ``C - E C0 / (2 E0) - M C0 / (2 M0)``.  C, E and M are functions of the shift: the sums
    of weight times template times frame, of weight times frame squared, and of weight
    times template squared over the valid pixels; the zero marks the values at the start.
    To first order this maximises the *normalised* correlation: C alone is pulled by bright
    cells that a shift moves to where the weight is larger, or out of a hole.
    """
    energy = _energy(frame, correlator.weight)
    norm = math.sqrt(energy * correlator.energy)
    if norm == 0:
        return Match(np.zeros(2), math.nan, math.nan, math.nan, math.nan, at_edge=False)
    search = correlator.search
    cross = np.conjugate(_transform(frame, search.band))
    cross *= correlator.spectrum
    values = _half_pixel_values(cross[np.newaxis], search)
    shift_px, value = _descend(cross[np.newaxis], values, search)
    peak = float(value[0])
    if peak > 0:
        weights = correlator.weight_spectrum
        few = (search.band[0], weights.shape[1])
        cross[:, : few[1]] -= _varying(frame**2, weights, peak / (2 * energy), few)
        if valid is not None:
            hole = valid.astype(np.float32)
            factor = peak / (2 * correlator.energy)
            cross -= _varying(hole, correlator.energy_spectrum, factor, search.band)
        steps = np.rint(shift_px * search.upsampling).astype(np.int64)
        steps, _ = _climb(cross[np.newaxis], steps, search)
        shift_px = steps / search.upsampling
    second, background = _rival(values[0] / norm, search)
    return Match(
        shift_px[0],
        max(-1.0, min(1.0, peak / norm)),
        second,
        background,
        gain=peak / correlator.energy,
        at_edge=_on_rim(shift_px[0], search),
    )


def _half_pixel_values(cross: Complex64, search: Search) -> Float32:
    """Return the correlation at every half pixel of the window."""
    return _real_product(search.row_matrix @ cross, search.column_matrix)


def _descend(cross: Complex64, values: Float32, search: Search) -> tuple[Float64, Float32]:
    """Refine the largest of the half-pixel values; return shift and value."""
    best = values.reshape(len(cross), -1).argmax(axis=1)
    row, column = np.unravel_index(best, values.shape[1:])
    center = np.stack([search.rows_px[row], search.columns_px[column]], axis=1)
    steps = np.rint(center * search.upsampling).astype(np.int64)
    if len(search.refinements) > 1:
        steps, _, _ = _refine(cross, steps, search, search.refinements[0])
    steps, peak = _climb(cross, steps, search)
    return steps / search.upsampling, peak


def _rival(values: Float32, search: Search) -> tuple[float, float]:
    """Return the largest value away from the maximum, and the scatter there."""
    row, column = np.unravel_index(values.argmax(), values.shape)
    away = np.logical_or.outer(
        np.abs(search.rows_px - search.rows_px[row]) >= RIVAL_PX,
        np.abs(search.columns_px - search.columns_px[column]) >= RIVAL_PX,
    )
    others = values[away]
    return (float(others.max()), float(others.std())) if others.size else (-1.0, 0.0)


def _on_rim(shift_px: Float64, search: Search) -> bool:
    """Tell whether a shift lies within a step of its limit, along an axis that is searched."""
    step = 1 / search.upsampling
    return any(
        len(grid) > 1 and abs(shift) > limit - step
        for shift, limit, grid in zip(
            shift_px, search.limit_px, (search.rows_px, search.columns_px), strict=True
        )
    )


def _plan_refinements(
    shape: tuple[int, int], upsampling: int, band: Band
) -> tuple[Refinement, ...]:
    """Prepare grids that together reach 0.7 px from the half-pixel maximum."""
    factor = COARSE_FACTOR if upsampling >= 2 * COARSE_FACTOR else 1
    reach = math.ceil(0.7 * upsampling / factor)
    grids = [factor * np.arange(-reach, reach + 1)]
    if factor > 1:
        grids.append(np.arange(-FINE_REACH, FINE_REACH + 1))
    rows, columns = _row_frequencies(shape, band), _column_frequencies(shape, band)
    weights = _column_weights(shape, band)
    return tuple(
        Refinement(
            offsets=offsets,
            row_matrix=_waves(offsets / upsampling, rows),
            column_matrix=_waves(offsets / upsampling, columns) * weights,
        )
        for offsets in grids
    )


def _climb(cross: Complex64, steps: Integers, search: Search) -> tuple[Integers, Float32]:
    """Follow the finest grid until the maximum lies inside it."""
    steps = steps.copy()
    peak = np.zeros(len(cross), dtype=np.float32)
    todo = np.arange(len(cross))
    for _ in range(MAX_RECENTERINGS):
        steps[todo], peak[todo], on_rim = _refine(
            cross[todo], steps[todo], search, search.refinements[-1]
        )
        todo = todo[on_rim]
        if not todo.size:
            break
    return steps, peak


def _varying(image: Float32, spectrum: Complex64, factor: float, band: Band) -> Complex64:
    """Return the scaled correlation spectrum without its constant, which float32 would feel."""
    out = np.conjugate(_transform(image, band))
    out *= spectrum
    out *= np.float32(factor)
    out[0, 0] = 0
    return out


def _refine(
    cross: Complex64, steps: Integers, search: Search, grid: Refinement
) -> tuple[Integers, Float32, npt.NDArray[np.bool_]]:
    """Move every centre to the maximum of a small grid; say whether it lies on the rim."""
    up, offsets = search.upsampling, grid.offsets
    row_waves = _waves(steps[:, 0] / up, _row_frequencies(search.shape, search.band))
    column_waves = _waves(steps[:, 1] / up, _column_frequencies(search.shape, search.band))
    rows: Complex64 = grid.row_matrix * row_waves[:, np.newaxis]
    columns: Complex64 = grid.column_matrix * column_waves[:, np.newaxis]
    value = _real_product(np.matmul(rows, cross), columns.swapaxes(1, 2))
    inside = np.abs(steps[:, :, np.newaxis] + offsets) <= np.reshape(search.limit_px, (2, 1)) * up
    value[~(inside[:, 0, :, np.newaxis] & inside[:, 1, np.newaxis, :])] = -np.inf
    flat = value.reshape(len(cross), -1)
    best = flat.argmax(axis=1)
    index = np.stack(np.unravel_index(best, value.shape[1:]), axis=1)
    moved = steps + offsets[index]
    last = len(offsets) - 1
    on_rim = ((index == 0) | (index == last)).any(axis=1)
    return moved, flat[np.arange(len(cross)), best], on_rim


def _real_product(left: Complex64, right: Complex64) -> Float32:
    """Return the real part of a matrix product without computing the imaginary one."""
    real = np.ascontiguousarray(left.real) @ np.ascontiguousarray(right.real)
    real -= np.ascontiguousarray(left.imag) @ np.ascontiguousarray(right.imag)
    return real


def _waves(shift_px: Float64, frequencies: Float64) -> Complex64:
    """Return exp(2 pi i f s), (shifts, frequencies), angles in double precision."""
    return np.exp(2j * np.pi * np.multiply.outer(shift_px, frequencies)).astype(np.complex64)


def _row_frequencies(shape: tuple[int, int], band: Band) -> Float64:
    return np.asarray(np.fft.fftfreq(shape[0])[band[0]], dtype=np.float64)


def _column_frequencies(shape: tuple[int, int], band: Band) -> Float64:
    return np.asarray(np.fft.rfftfreq(shape[1])[: band[1]], dtype=np.float64)


def _column_weights(shape: tuple[int, int], band: Band) -> Float32:
    """Count each half-spectrum column as often as the whole spectrum holds it."""
    weights = np.full(shape[1] // 2 + 1, 2.0)
    weights[0] = 1
    if shape[1] % 2 == 0:
        weights[-1] = 1
    return np.asarray(weights[: band[1]] / (shape[0] * shape[1]), dtype=np.float32)


def _transform(image: Float32, band: Band) -> Complex64:
    """Return the half spectrum of an image, as far as the band goes."""
    columns = fft.rfft(np.asarray(image, dtype=np.float32), axis=1)[:, : band[1]]
    spectrum = fft.fft(columns, axis=0)
    return np.asarray(spectrum[band[0]], dtype=np.complex64)


@numba.njit(cache=True, nogil=True)
def _energy(image: Float32, weight: Float32) -> float:
    columns = np.zeros(image.shape[1])
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            columns[x] += weight[y, x] * image[y, x] * image[y, x]
    return float(columns.sum())
