"""The tilt that all planes of a recording share."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from clgkit.registration.axial import to_functional_pixels, vertex
from clgkit.registration.response import (
    NUCLEUS_PX,
    Finder,
    explain,
    fit_blocks,
    plan_finder,
    prepare_slice,
    prepare_target,
)
from clgkit.registration.rigid import has_structure
from clgkit.registration.tilt import OFFSET_STEP, SPAN_STEP, best_depth, between_slices

Float64 = npt.NDArray[np.float64]

SURE = 0.3
"""A tilt counts if it explains more by this share over the number of blocks of all planes.
Level planes of the simulated fish reached 0.19 over that number at most (one to nine planes of
nine blocks), nine planes tilted by two slices 0.56 at least."""
ROWS_PER_SLICE = 1 / OFFSET_STEP


class CommonTilt(NamedTuple):
    """How the planes of a recording lie in the stack."""

    span_y: float
    """Slices by which the last row lies deeper than the first; 0 if there is no sure tilt."""
    span_x: float
    """Slices by which the last column lies deeper than the first."""
    position: Float64
    """(P,) slice, with a fraction, at the middle of the field, counted from the first of the
    slices given for the plane; NaN for a plane without structure."""
    gain: float
    """What the best tilt explains more than no tilt does, as a share."""
    sure: bool
    """Whether the gain is more than level planes reach by chance."""


def match_common_tilt(
    planes: npt.NDArray[np.generic],
    stacks: Iterable[npt.NDArray[np.generic]],
    *,
    pixel_ratio: tuple[float, float] = (1.0, 1.0),
    max_shift_px: float = 15,
    max_span: float = 6.0,
    nucleus_px: float = NUCLEUS_PX,
) -> CommonTilt:
    """Find the tilt at which all planes together fit their part of the stack best.

    Parameters
    ----------
    planes : (P, y, x)
        Mean image of each plane.
    stacks : P arrays (Z, Y, X)
        The slices about the one each plane was found in; as many on either side as half the
        tilt may need, and one more.  Read once, one after another.
    pixel_ratio, max_shift_px, nucleus_px
        As in :func:`~clgkit.registration.axial.match_planes`.
    max_span
        Largest difference of depth across the field that is looked for, slices.

    Returns
    -------
    CommonTilt

    Raises
    ------
    ValueError
        If shapes or settings do not fit.

    Notes
    -----
    As the first step of :func:`~clgkit.registration.tilt.match_tilt`, but one tilt for all
    planes, each at its own depth: the planes of a recording are parallel, since it is the
    animal that lies askew.  Of a plane of nine blocks the tilt is known to about one slice
    across the field, of nine such planes to a third.
    """
    if planes.ndim != 3 or not len(planes):
        raise ValueError(f"expected planes (P, y, x), found an array of shape {planes.shape}.")
    if not (math.isfinite(max_span) and max_span >= 0):
        raise ValueError(f"max_span must be a number of slices from 0, found {max_span}.")
    shape = (planes.shape[1], planes.shape[2])
    finder = plan_finder(shape, max_shift_px=max_shift_px, nucleus_px=nucleus_px)
    curves = [
        _explained(plane, stack, finder, pixel_ratio)
        for plane, stack in zip(planes, stacks, strict=True)
    ]
    seen = [between_slices(curve) for curve in curves if curve is not None]
    spans = np.arange(-math.floor(max_span / SPAN_STEP), math.floor(max_span / SPAN_STEP) + 1)
    tried: list[Float64] = [
        np.asarray(spans * SPAN_STEP) if n > 1 else np.zeros(1) for n in finder.blocks.grid
    ]
    total = np.array(
        [[_total(seen, finder, (span_y, span_x)) for span_x in tried[1]] for span_y in tried[0]]
    )
    row, column = np.unravel_index(total.argmax(), total.shape)
    level = float(total[len(tried[0]) // 2, len(tried[1]) // 2])
    gain = float(total.max()) / level - 1 if level > 0 else 0.0
    sure = gain * len(finder.blocks.center) * len(seen) > SURE
    found = (
        (_between(tried[0], total[:, column], row), _between(tried[1], total[row], column))
        if sure
        else (0.0, 0.0)
    )
    position = [math.nan if curve is None else _depth(curve, finder, found) for curve in curves]
    return CommonTilt(*found, np.array(position), gain, sure)


def _explained(
    plane: npt.NDArray[np.generic],
    stack: npt.NDArray[np.generic],
    finder: Finder,
    pixel_ratio: tuple[float, float],
) -> Float64 | None:
    """Return the share of the variance of a plane (Z, B) that each slice explains by block."""
    if stack.ndim != 3 or len(stack) < 3:
        raise ValueError(
            f"expected three slices (Z, Y, X) or more for a plane, found {stack.shape}."
        )
    if not has_structure(plane):
        return None
    target = prepare_target(plane, finder)
    reduced = (to_functional_pixels(image, finder.shape, pixel_ratio) for image in stack)
    energy = [
        fit_blocks(explain(prepare_slice(image, finder), target, finder), target, finder).energy
        for image in reduced
    ]
    return np.asarray(energy) / max(float(target.energy.sum()), 1e-30)


def _ahead(finder: Finder, spans: tuple[float, float]) -> Float64:
    """Return by how many slices each block lies deeper than the middle of the field."""
    place = finder.blocks.center / (np.array(finder.shape) - 1) - 0.5
    return np.asarray(place @ spans)


def _total(seen: list[Float64], finder: Finder, spans: tuple[float, float]) -> float:
    ahead = _ahead(finder, spans)
    return sum(best_depth(fine, ahead * ROWS_PER_SLICE)[0] for fine in seen)


def _depth(curve: Float64, finder: Finder, spans: tuple[float, float]) -> float:
    ahead = _ahead(finder, spans) * ROWS_PER_SLICE
    return best_depth(between_slices(curve), ahead)[1] / ROWS_PER_SLICE


def _between(spans: Float64, values: Float64, best: np.intp) -> float:
    """Return the span at the vertex of the parabola through three."""
    return float(spans[0]) + SPAN_STEP * vertex(values, int(best)) if len(spans) > 1 else 0.0
