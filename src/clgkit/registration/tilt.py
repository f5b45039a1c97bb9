"""Planes that do not lie in one slice: tilted ones, and ones that drift along z."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import interpolate, ndimage, optimize

from clgkit.registration.axial import to_functional_pixels, vertex
from clgkit.registration.response import (
    NUCLEUS_PX,
    Finder,
    Fit,
    Target,
    explain,
    fit_blocks,
    plan_finder,
    prepare_slice,
    prepare_target,
)
from clgkit.registration.rigid import has_structure

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

SPAN_STEP, OFFSET_STEP = 0.5, 0.25
"""Slices between the tilts, and between the depths, that are tried."""
SIMPLEX = np.array([0.5, 1.0, 1.0])
"""First steps of the climb in depth and tilts, slices."""
MAX_TRIALS = 90


class Tilt(NamedTuple):
    """The plane through the stack that a functional plane shows."""

    position: float
    """Slice, with a fraction, at the middle of the field."""
    span_y: float
    """Slices by which the last row lies deeper than the first."""
    span_x: float
    """Slices by which the last column lies deeper than the first."""
    score: float
    """Multiple correlation of the blocks, each at its own depth, in [0, 1]."""
    flat_score: float
    """The same without tilt."""
    shift_px: Float64
    """(2,) displacement (y, x) that lays the stack on the plane, functional pixels."""


class Drift(NamedTuple):
    """Depth of a plane in the course of time."""

    position: Float64
    """(T,) slice, with a fraction, counted from the first of those given; NaN where a mean
    is blank."""
    score: Float32
    """(T, Z) multiple correlations, in [0, 1]."""


def match_tilt(
    plane: npt.NDArray[np.generic],
    slices: Iterable[npt.NDArray[np.generic]],
    *,
    pixel_ratio: tuple[float, float] = (1.0, 1.0),
    max_shift_px: float = 15,
    max_span: float = 6.0,
    nucleus_px: float = NUCLEUS_PX,
) -> Tilt:
    """Find depth and tilt of a plane within a stack.

    Parameters
    ----------
    plane : (y, x)
        Mean image of the plane.
    slices : (Z, Y, X) or iterable of (Y, X)
        The slices about the one :func:`~clgkit.registration.axial.match_planes` found; as
        many on either side as half the tilt may need, and one more.
    pixel_ratio, max_shift_px, nucleus_px
        As in :func:`~clgkit.registration.axial.match_planes`.
    max_span
        Largest difference of depth across the field that is looked for, slices.

    Returns
    -------
    Tilt
        ``position`` counts from the first of the slices given.

    Raises
    ------
    ValueError
        If the plane is blank, or a shape or setting does not fit.

    Notes
    -----
    Every block of the plane scores every slice; depth is an affine function of the centre of
    the block.  All tilts within the span, in steps of half a slice, and all depths, in steps
    of a quarter, are tried on the variance that the blocks explain, smoothed along z and
    interpolated by cubic splines.  From the best one a simplex (Nelder and Mead) climbs on
    the score of the stack cut obliquely.  A field of fewer than two blocks along an axis
    shows no tilt along it.
    """
    if plane.ndim != 2 or not has_structure(plane):
        raise ValueError(
            f"the plane, an array of shape {plane.shape}, must be an image (y, x) that shows "
            "something."
        )
    if not (math.isfinite(max_span) and max_span >= 0):
        raise ValueError(f"max_span must be a number of slices from 0, found {max_span}.")
    shape = (plane.shape[0], plane.shape[1])
    finder = plan_finder(shape, max_shift_px=max_shift_px, nucleus_px=nucleus_px)
    target = prepare_target(plane, finder)
    stack = [to_functional_pixels(np.asarray(image), shape, pixel_ratio) for image in slices]
    if not stack:
        raise ValueError("there are no slices; expected at least one.")
    reduced = np.stack(stack)
    energies = np.array([_fit(image, target, finder).energy for image in reduced])
    start = _coarse(energies, finder, max_span)
    free = np.array([True, *(n > 1 for n in finder.blocks.grid)]) & (len(reduced) > 1)
    best = _climb(reduced, start, free, target, finder)
    flat = _fit(_cut(reduced, np.array([best[0], 0, 0])), target, finder)
    tilted = _fit(_cut(reduced, best), target, finder)
    return Tilt(
        position=float(best[0]),
        span_y=float(best[1]),
        span_x=float(best[2]),
        score=tilted.score,
        flat_score=flat.score,
        shift_px=tilted.common_px,
    )


def sample_oblique(
    stack: npt.NDArray[np.generic], *, position: float, span_y: float, span_x: float
) -> Float32:
    """Cut a stack along a tilted plane, linearly between slices.

    Parameters
    ----------
    stack : (Z, Y, X)
        Any real dtype.
    position, span_y, span_x
        As in :class:`Tilt`.

    Returns
    -------
    (Y, X) float32
        NaN where the plane leaves the stack.

    Raises
    ------
    ValueError
        If `stack` is not 3-D.
    """
    depth = _depths(stack, position, span_y, span_x)
    rows, columns = np.indices(depth.shape)
    out = ndimage.map_coordinates(
        np.asarray(stack, np.float32), [depth, rows, columns], order=1, cval=np.nan
    )
    return np.asarray(out, dtype=np.float32)


def cut_labels(
    labels: npt.NDArray[np.integer], *, position: float, span_y: float, span_x: float
) -> npt.NDArray[np.integer]:
    """Cut labels along a tilted plane, each pixel from the nearest slice.

    Parameters
    ----------
    labels : (Z, Y, X) integer
        0 is background.
    position, span_y, span_x
        As in :class:`Tilt`.

    Returns
    -------
    (Y, X), dtype of `labels`
        0 where the plane leaves the stack.

    Raises
    ------
    TypeError
        If the labels are not integers.
    ValueError
        If `labels` is not 3-D.
    """
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers, found {labels.dtype}.")
    nearest = np.floor(_depths(labels, position, span_y, span_x) + 0.5)
    inside = (nearest >= 0) & (nearest < len(labels))
    index = np.where(inside, nearest, 0).astype(np.int64)
    cut = np.take_along_axis(labels, index[np.newaxis], axis=0)[0]
    return np.where(inside, cut, labels.dtype.type(0))


def _depths(
    stack: npt.NDArray[np.generic], position: float, span_y: float, span_x: float
) -> Float64:
    """Return the slice, with a fraction, of every pixel of the tilted plane."""
    if stack.ndim != 3:
        raise ValueError(f"expected a stack (Z, Y, X), found an array of shape {stack.shape}.")
    y, x = (np.arange(n) / max(n - 1, 1) - 0.5 for n in stack.shape[1:])
    return np.asarray(position + span_y * y[:, np.newaxis] + span_x * x)


def z_drift(
    bin_means: npt.NDArray[np.generic],
    slices: npt.NDArray[np.generic],
    *,
    pixel_ratio: tuple[float, float] = (1.0, 1.0),
    max_shift_px: float = 5,
    nucleus_px: float = NUCLEUS_PX,
) -> Drift:
    """Follow the depth of a plane through the means of bins of frames.

    Parameters
    ----------
    bin_means : (T, y, x)
        Mean images of successive bins of motion-corrected frames.
    slices : (Z, Y, X)
        The slices about the one the plane lies in, at least three.
    pixel_ratio, max_shift_px, nucleus_px
        As in :func:`~clgkit.registration.axial.match_planes`.

    Returns
    -------
    Drift
        Times the slice step, ``position`` is z(t) in um.  More than half a slice of drift
        looks like activity.

    Raises
    ------
    ValueError
        If shapes or settings do not fit.

    Notes
    -----
    The vertex of the parabola through the best score of a bin and its two neighbours.
    Scores of two slices of one stack rise and fall with noise alike, so differences of
    depth are better known than depth.
    """
    if bin_means.ndim != 3 or slices.ndim != 3 or len(slices) < 3:
        raise ValueError(
            f"expected means (T, y, x) and at least three slices (Z, Y, X), found "
            f"{bin_means.shape} and {slices.shape}."
        )
    shape = (bin_means.shape[1], bin_means.shape[2])
    finder = plan_finder(shape, max_shift_px=max_shift_px, nucleus_px=nucleus_px)
    prepared = [
        prepare_slice(to_functional_pixels(image, shape, pixel_ratio), finder) for image in slices
    ]
    score = np.full((len(bin_means), len(slices)), np.nan, dtype=np.float32)
    for t, mean in enumerate(bin_means):
        if has_structure(mean):
            target = prepare_target(mean, finder)
            score[t] = [
                fit_blocks(explain(image, target, finder), target, finder).score
                for image in prepared
            ]
    position = [
        vertex(row, int(row.argmax())) if np.isfinite(row).all() else math.nan for row in score
    ]
    return Drift(np.array(position), score)


def _fit(image: Float32, target: Target, finder: Finder) -> Fit:
    return fit_blocks(explain(prepare_slice(image, finder), target, finder), target, finder)


def _cut(reduced: Float32, tilt: Float64) -> Float32:
    position, span_y, span_x = (float(value) for value in tilt)
    return sample_oblique(reduced, position=position, span_y=span_y, span_x=span_x)


def _climb(
    reduced: Float32,
    start: Float64,
    free: npt.NDArray[np.bool_],
    target: Target,
    finder: Finder,
) -> Float64:
    """Climb from a rough tilt to the best one: position, span along y, span along x."""
    if not free.any():
        return start

    def loss(values: Float64) -> float:
        tilt = start.copy()
        tilt[free] = values
        return -_fit(_cut(reduced, tilt), target, finder).score

    simplex = np.vstack([start[free], start[free] + np.diag(SIMPLEX[free])])
    options: Any = {"initial_simplex": simplex, "xatol": 0.05, "fatol": 1e-5, "maxfev": MAX_TRIALS}
    found = optimize.minimize(loss, start[free], method="Nelder-Mead", options=options)
    best = start.copy()
    best[free] = found.x
    return best


def _coarse(energies: Float64, finder: Finder, max_span: float) -> Float64:
    """Return position and spans that explain most, block by block, on a grid."""
    fine = between_slices(energies)
    rows_per_slice = (len(fine) - 1) / max(len(energies) - 1, 1)
    place = finder.blocks.center / (np.array(finder.shape) - 1) - 0.5
    steps = math.floor(max_span / SPAN_STEP)
    spans = np.arange(-steps, steps + 1) * SPAN_STEP
    deep = len(energies) > 1
    tried = [spans if n > 1 and deep else np.zeros(1) for n in finder.blocks.grid]
    best, found = -1.0, np.zeros(3)
    for span_y in tried[0]:
        for span_x in tried[1]:
            value, row = best_depth(fine, place @ [span_y, span_x] * rows_per_slice)
            if value > best:
                best, found = value, np.array([row / max(rows_per_slice, 1.0), span_y, span_x])
    return found


def between_slices(energies: Float64) -> Float64:
    """Return the energies (Z', B) in steps of a quarter slice, by a cubic spline.

    Smoothed by (1, 2, 1) along z before: where plane and slice share a depth to the voxel the
    curve has a spike, and a block halfway between two slices would seem to fit neither.
    """
    if len(energies) < 3:
        return energies
    even = ndimage.correlate1d(energies, [0.25, 0.5, 0.25], axis=0, mode="nearest")
    steps = np.arange(0, len(energies) - 1 + OFFSET_STEP / 2, OFFSET_STEP)
    return np.asarray(interpolate.CubicSpline(np.arange(len(energies)), even)(steps))


def best_depth(energies: Float64, ahead: Float64) -> tuple[float, float]:
    """Return the largest energy of blocks `ahead` of a common depth, and that depth, in rows."""
    last = len(energies) - 1
    where = np.clip(np.arange(last + 1)[:, np.newaxis] + ahead, 0, last)
    low = np.minimum(where.astype(np.int64), max(last - 1, 0))
    part = where - low
    block = np.arange(energies.shape[1])
    high = np.minimum(low + 1, last)
    value = ((1 - part) * energies[low, block] + part * energies[high, block]).sum(axis=1)
    best = int(value.argmax())
    return float(value[best]), vertex(value, best)
