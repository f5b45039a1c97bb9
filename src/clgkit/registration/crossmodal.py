"""Where every pixel of a functional plane lies in its structural slice."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from clgkit.registration.axial import plane_to_slice, to_functional_pixels
from clgkit.registration.inverse import invert_map, read_field, round_trip_px
from clgkit.registration.mutual_information import refine_field
from clgkit.registration.response import (
    CELL,
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
from clgkit.registration.smoothfield import fit_affine, spread_blocks
from clgkit.registration.warp import warp_image

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

AFFINE_ROUNDS = 2
FREE_ROUNDS = 4
FAR_PX, NEAR_PX = 5, 4
"""Blocks are looked for so far from the common shift in the first round and after it."""


class PlaneMap(NamedTuple):
    """The map between a plane and its slice, in both directions."""

    affine: Float64
    """(2, 3) from pixels (y, x, 1) of the plane to positions in the slice, without bending."""
    field: Float32
    """(y, x, 2) offset from every pixel of the plane to its position in the slice: the
    mapping for :func:`~clgkit.registration.warp.warp_labels` of the slice."""
    inverse: Float32
    """(Y, X, 2) offset from every pixel of the slice to its position in the plane: the mapping
    for :func:`~clgkit.registration.warp.warp_image` of the plane; NaN outside the plane."""
    inverse_consistency_px: float
    """95th percentile of the way from plane to slice and back, functional pixels."""
    block_center_px: Float64
    """(B, 2) centres (y, x) of the blocks of the plane, functional pixels."""
    block_residual_px: Float64
    """(B, 2) how far each block of the slice would still have to move, functional pixels."""
    block_explained: Float64
    """(B,) share of the variance of each block that the slice explains, in [0, 1]."""
    score: float
    """Multiple correlation after registration, in [0, 1]."""


class _Map(NamedTuple):
    """Pixel x of the plane lies at ``matrix @ (x + bend(x), 1)`` in the reduced slice."""

    matrix: Float64
    bend: Float64


def register_plane(
    plane: npt.NDArray[np.generic],
    slice_image: npt.NDArray[np.generic],
    *,
    pixel_ratio: tuple[float, float] = (1.0, 1.0),
    max_shift_px: float = 15,
    start_px: tuple[float, float] = (0.0, 0.0),
    refine: bool = True,
    nucleus_px: float = NUCLEUS_PX,
) -> PlaneMap:
    """Find where every pixel of a plane lies in its slice.

    Parameters
    ----------
    plane : (y, x)
        Mean image of the plane, of either channel; pixels that are not finite do not count.
    slice_image : (Y, X)
        The structural slice.
    pixel_ratio
        Structural pixels per functional pixel along (y, x).
    max_shift_px
        Largest displacement in the plane from the start, functional pixels.
    start_px
        Displacement (y, x) that roughly lays the slice on the plane, functional pixels:
        ``shift_px`` of :func:`~clgkit.registration.axial.match_planes`.
    refine
        Whether mutual information has the last word.
    nucleus_px
        Lateral diameter of a nucleus, functional pixels.

    Returns
    -------
    PlaneMap

    Raises
    ------
    ValueError
        If an image is not 2-D or shows nothing, or settings are out of range.

    Notes
    -----
    Blocks of twenty nuclei are laid where a mixture of outlines and bodies of the slice
    predicts them best (:mod:`clgkit.registration.response`), which is blind to contrast:
    rings or disks, green or red.  Two rounds fit an affine map to the blocks, four more
    bend it.  Then cubic B-splines, ten nuclei apart, maximise the mutual information
    (:mod:`clgkit.registration.mutual_information`), unless blocks are then explained worse.
    The slice is read for the pixels of the plane, the direction in which labels come to the
    movie; the way back is solved by fixed point.
    """
    shape = _check(plane)
    reduced = to_functional_pixels(np.asarray(slice_image), shape, pixel_ratio)
    if not has_structure(reduced):
        raise ValueError("the slice shows nothing where the plane lies; choose another slice.")
    first = plan_finder(shape, max_shift_px=max_shift_px, nucleus_px=nucleus_px, slack_px=FAR_PX)
    near = plan_finder(shape, max_shift_px=0, nucleus_px=nucleus_px, slack_px=NEAR_PX)
    start = plane_to_slice(np.asarray(start_px, dtype=np.float64))
    found = _Map(start, np.zeros((*shape, 2)))
    found = _turn(found, first, _fit(reduced, found, prepare_target(plane, first), first))
    target = prepare_target(plane, near)
    for _ in range(AFFINE_ROUNDS - 1):
        found = _turn(found, near, _fit(reduced, found, target, near))
    for _ in range(FREE_ROUNDS):
        found = _bend(found, near, _fit(reduced, found, target, near))
    fit = _fit(reduced, found, target, near)
    if refine:
        knot_px = CELL * nucleus_px
        bend = refine_field(plane, reduced, found.matrix, found.bend, knot_px=knot_px)
        refined = found._replace(bend=bend)
        after = _fit(reduced, refined, target, near)
        if after.in_place >= fit.in_place:
            found, fit = refined, after
    size = (slice_image.shape[0], slice_image.shape[1])
    return _report(found, fit, near, size, pixel_ratio)


def _check(plane: npt.NDArray[np.generic]) -> tuple[int, int]:
    if plane.ndim != 2 or not has_structure(plane):
        raise ValueError(
            f"the plane, an array of shape {plane.shape}, must be an image (y, x) that shows "
            "something; give the mean of the corrected movie."
        )
    return plane.shape[0], plane.shape[1]


def _positions(found: _Map) -> Float64:
    """Return the position in the reduced slice of every pixel of the plane."""
    grid = np.indices(found.bend.shape[:2]).transpose(1, 2, 0)
    return np.asarray((grid + found.bend) @ found.matrix[:, :2].T + found.matrix[:, 2])


def _fit(reduced: Float32, found: _Map, target: Target, finder: Finder) -> Fit:
    """Bring the slice to the plane by the map and see how far each block is off."""
    where = _positions(found)
    warped = warp_image(reduced, where - np.indices(where.shape[:2]).transpose(1, 2, 0))
    return fit_blocks(explain(prepare_slice(warped, finder), target, finder), target, finder)


def _turn(found: _Map, finder: Finder, fit: Fit) -> _Map:
    """Improve the affine part: blocks move by s(x), so the slice is read at x - s(x)."""
    step = fit_affine(finder.blocks.center, fit.shift_px, fit.energy)
    matrix = found.matrix.copy()
    matrix[:, :2] = found.matrix[:, :2] @ (np.eye(2) - step[:, :2])
    matrix[:, 2] = found.matrix[:, 2] - found.matrix[:, :2] @ step[:, 2]
    return found._replace(matrix=matrix)


def _bend(found: _Map, finder: Finder, fit: Fit) -> _Map:
    """Improve the bending: e(x) becomes e(x - s(x)) - s(x)."""
    step = spread_blocks(fit.shift_px, fit.energy, finder.blocks, found.bend.shape[:2])
    grid = np.indices(found.bend.shape[:2]).transpose(1, 2, 0)
    return found._replace(bend=read_field(found.bend, grid - step) - step)


def _report(
    found: _Map,
    fit: Fit,
    finder: Finder,
    size: tuple[int, int],
    pixel_ratio: tuple[float, float],
) -> PlaneMap:
    """Bring the map to structural pixels and invert it."""
    scale = plane_to_slice(np.zeros(2), pixel_ratio=pixel_ratio)
    matrix = np.column_stack(
        [scale[:, :2] @ found.matrix[:, :2], scale[:, :2] @ found.matrix[:, 2] + scale[:, 2]]
    )
    whole = _Map(matrix, found.bend)
    grid = np.indices(found.bend.shape[:2]).transpose(1, 2, 0)
    field = (_positions(whole) - grid).astype(np.float32)
    inverse = invert_map(matrix, found.bend, size)
    return PlaneMap(
        affine=matrix,
        field=field,
        inverse=inverse,
        inverse_consistency_px=round_trip_px(field, inverse),
        block_center_px=finder.blocks.center,
        block_residual_px=fit.shift_px,
        block_explained=fit.explained,
        score=fit.score,
    )
