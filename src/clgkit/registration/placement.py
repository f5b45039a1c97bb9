"""Whether labels lie where the image shows their cells."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from clgkit.registration.response import (
    NUCLEUS_PX,
    Blocks,
    explain,
    fit_blocks,
    plan_finder,
    prepare_slice,
    prepare_target,
)
from clgkit.registration.warp import warp_image

Float64 = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

DIRECTIONS = 8
NEIGHBOURHOOD = 6.0
"""Side of the window round a cell, in diameters of a nucleus."""
REACH_PX = 4
"""A cell farther off than this along an axis is given this."""


class ShiftedControl(NamedTuple):
    """How labels fare against themselves, moved aside."""

    fraction: float
    """Share of the labels that stand out from their rims more than their moved copies do: 0.5
    by chance, 1 at best; NaN without labels."""
    p_value: float
    """Share of random choices of place that reach as much; NaN without labels."""
    bright: bool
    """Whether labels are brighter than their rims; rings have dark nuclei."""
    label: npt.NDArray[np.int64]
    """(N,) labels that count."""
    contrast: Float64
    """(N,) core minus rim of each label, less the median of its moved copies, unit of the
    image."""


class CellErrors(NamedTuple):
    """How far from its image each cell lies."""

    error_px: Float64
    """(N,) distance by which the surroundings would still have to move, pixels of the plane;
    NaN where they show nothing."""
    explained: Float64
    """(N,) share of the variance of the surroundings that the slice explains, in [0, 1]."""


def shifted_control(
    image: npt.NDArray[np.generic],
    labels: npt.NDArray[np.integer],
    *,
    distance_px: float = 5.0,
    permutations: int = 999,
    seed: int = 0,
) -> ShiftedControl:
    """Compare what every label outlines in an image with what its copies outline, moved aside.

    Parameters
    ----------
    image : (Y, X)
        Mean image, or a map of local correlations; pixels that are not finite do not count.
    labels : (Y, X) integer
        As they lie on the plane; 0 is background.
    distance_px
        How far copies are moved, in eight directions; about a nucleus.
    permutations
        Random choices of one of the nine places of every label, for the p value.
    seed
        Of these choices.

    Returns
    -------
    ShiftedControl

    Raises
    ------
    TypeError
        If the labels are not integers.
    ValueError
        If the shapes differ or a setting is out of range.

    Notes
    -----
    A label is scored by the mean of its core minus that of its rim, which is the edge of the
    label and the pixels that touch it: a nucleus in a ring is dark, but so is the nucleus
    beside it, and only the rim tells them apart.  The copies beat it if their median does.
    Whether cores should be brighter or darker is read from the image: the sign that most
    labels have.  The random choices are allowed the same, so the p value is two-sided.
    """
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers, found {labels.dtype}.")
    if image.ndim != 2 or image.shape != labels.shape:
        raise ValueError(
            f"image {image.shape} and labels {labels.shape} do not fit: expected one (Y, X)."
        )
    if not (math.isfinite(distance_px) and distance_px > 0) or permutations < 1:
        raise ValueError(
            f"distance_px must be positive and permutations at least 1, found {distance_px} "
            f"and {permutations}."
        )
    ids, found = _contrasts_at_places(image, labels, distance_px)
    if not ids.size:
        return ShiftedControl(math.nan, math.nan, bright=True, label=ids, contrast=np.empty(0))
    rng = np.random.default_rng(seed)
    contrast = found - _others(found)
    above = contrast > 0
    fraction = float(above[:, 0].mean())
    row = np.arange(len(ids))
    reached = 1
    for _ in range(permutations):
        chosen = above[row, rng.integers(0, found.shape[1], len(ids))].mean()
        reached += abs(chosen - 0.5) >= abs(fraction - 0.5)
    return ShiftedControl(
        fraction=max(fraction, 1 - fraction),
        p_value=float(reached / (1 + permutations)),
        bright=fraction >= 0.5,
        label=ids,
        contrast=contrast[:, 0],
    )


def cell_errors(
    plane: npt.NDArray[np.generic],
    slice_image: npt.NDArray[np.generic],
    field: npt.NDArray[np.floating],
    center_px: npt.NDArray[np.floating],
    *,
    nucleus_px: float = NUCLEUS_PX,
) -> CellErrors:
    """Measure how far each cell's surroundings are off after registration.

    Parameters
    ----------
    plane : (y, x)
        Mean image of the plane.
    slice_image : (Y, X)
        Its slice.
    field : (y, x, 2)
        Of :class:`~clgkit.registration.crossmodal.PlaneMap`.
    center_px : (N, 2)
        Centres (y, x) of the cells in the plane.
    nucleus_px
        Lateral diameter of a nucleus, functional pixels.

    Returns
    -------
    CellErrors

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Notes
    -----
    A window of six nuclei about each cell is registered to the slice brought to the plane,
    up to 4 px.  The error of neighbours is alike, since their windows overlap; that of the
    measurement is a few tenths of a pixel.
    """
    centers = np.asarray(center_px, dtype=np.float64)
    if plane.ndim != 2 or field.shape != (*plane.shape, 2) or centers.shape[1:] != (2,):
        raise ValueError(
            f"plane {plane.shape}, field {field.shape} and centres {centers.shape} do not fit: "
            "expected (y, x), (y, x, 2) and (N, 2)."
        )
    if not len(centers):
        return CellErrors(np.empty(0), np.empty(0))
    shape = (plane.shape[0], plane.shape[1])
    blocks = _surroundings(centers, shape, nucleus_px)
    finder = plan_finder(
        shape, max_shift_px=0, nucleus_px=nucleus_px, slack_px=REACH_PX, blocks=blocks
    )
    target = prepare_target(plane, finder)
    warped = warp_image(slice_image, field)
    fit = fit_blocks(explain(prepare_slice(warped, finder), target, finder), target, finder)
    error = np.linalg.norm(fit.shift_px, axis=1)
    return CellErrors(np.where(fit.energy > 0, error, np.nan), fit.explained)


def _surroundings(centers: Float64, shape: tuple[int, int], nucleus_px: float) -> Blocks:
    """Return a window about every cell, moved inside the field at its edges."""
    side = round(NEIGHBOURHOOD * nucleus_px)
    size = np.minimum(side, shape)
    corner = np.clip(np.rint(centers - (size - 1) / 2), 0, np.array(shape) - size).astype(np.int64)
    window = np.outer(*(np.hanning(n + 2)[1:-1] for n in size)).astype(np.float32)
    return Blocks(corner, corner + (size - 1) / 2, (len(centers), 1), window)


def _contrasts_at_places(
    image: npt.NDArray[np.generic], labels: npt.NDArray[np.integer], distance_px: float
) -> tuple[npt.NDArray[np.int64], Float64]:
    """Return labels and core minus rim of the image under each, in place and at eight others.

    Labels without a core, or that leave the field or the finite pixels, are left out.
    """
    ids, *parts = _cores_and_rims(labels)
    angles = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    steps = np.rint(distance_px * np.column_stack([np.sin(angles), np.cos(angles)]))
    places = np.vstack([np.zeros((1, 2)), steps]).astype(np.int64)
    values = np.asarray(image, dtype=np.float64)
    means = np.empty((2, len(ids), len(places)))
    for part, (index, y, x) in enumerate(parts):
        size = np.bincount(index, minlength=len(ids))
        for k, (dy, dx) in enumerate(places):
            seen = _look_up(values, y + dy, x + dx)
            with np.errstate(invalid="ignore"):  # 0 / 0 of a label without a core: left out
                means[part, :, k] = np.bincount(index, seen, minlength=len(ids)) / size
    contrast = means[0] - means[1]
    whole = np.isfinite(contrast).all(axis=1)
    return ids[whole], contrast[whole]


def _look_up(values: Float64, y: Integers, x: Integers) -> Float64:
    """Return the pixels at some places; NaN outside, and where they are not finite."""
    ny, nx = values.shape
    inside = (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
    seen = values[np.where(inside, y, 0), np.where(inside, x, 0)]
    return np.where(inside & np.isfinite(seen), seen, np.nan)


def _cores_and_rims(
    labels: npt.NDArray[np.integer],
) -> tuple[Integers, tuple[Integers, ...], tuple[Integers, ...]]:
    """Return the labels, and the pixels (label, y, x) of cores and of rims.

    The rim is the edge of the label and the pixels that touch it from outside.
    """
    y, x = np.nonzero(labels)
    ids, index = np.unique(labels[y, x].astype(np.int64), return_inverse=True)
    padded = np.pad(labels, 1)
    core = np.ones(len(y), dtype=np.bool_)
    outside = []
    for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        other = padded[y + dy + 1, x + dx + 1] != labels[y, x]
        core &= ~other
        outside.append(np.column_stack([index, y + dy, x + dx])[other])
    pixels = np.column_stack([index, y, x])
    rim = np.unique(np.vstack([pixels[~core], *outside]), axis=0)
    return ids, tuple(pixels[core].T), tuple(rim.T)


def _others(values: Float64) -> Float64:
    """Return for every place the median of the other places."""
    return np.stack(
        [np.median(np.delete(values, k, axis=1), axis=1) for k in range(values.shape[1])], axis=1
    )
