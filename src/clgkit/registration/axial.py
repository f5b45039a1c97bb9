"""The structural slice of every functional plane, and where in it the plane lies."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from clgkit.registration.filters import smooth
from clgkit.registration.order import assign_in_order
from clgkit.registration.response import (
    NUCLEUS_PX,
    Finder,
    Target,
    explain,
    fit_blocks,
    plan_finder,
    prepare_slice,
    prepare_target,
)
from clgkit.registration.rigid import has_structure
from clgkit.registration.warp import warp_image

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Order = Literal["rising", "falling", "free"]

STEP_WEIGHT = 0.25
"""What a slice of deviation from the expected step costs, in standard deviations of scores."""
FOUND_RATIO = 1.5
"""A found plane scores so many times what it scores upside down.  Right planes of a field of
192 px reached 2.7 and more, the same planes mirrored 1.2 at most (simulated)."""
BARRED = -1e6
"""Score of a slice that is not to be chosen: less than all others can make up for."""
CHANCE_STEP = 4
"""Every fourth slice is scored with the planes upside down."""


class PlaneScores(NamedTuple):
    """How well planes fit slices, and the shifts at which they do."""

    score: Float32
    """Multiple correlation: of the plane with its best prediction from the slice, in [0, 1];
    NaN if blank.  Images that have nothing in common reach 0.1 to 0.15."""
    shift_px: Float32
    """(..., 2) displacement (y, x), functional pixels, that lays the *slice* on the plane."""


class PlaneMatch(NamedTuple):
    """The structural slice of every functional plane."""

    slice_index: npt.NDArray[np.int64]
    """(P,) 0-based."""
    score: Float32
    """(P,) multiple correlation with the chosen slice, in [0, 1]; NaN for a plane without
    structure."""
    second_score: Float32
    """(P,) largest score at least `guard` slices away; NaN if there is none."""
    confidence: Float32
    """(P,) loss of the whole assignment, in standard deviations of a plane's scores at wrong
    slices, if this plane had to be at least `guard` slices away; infinite if impossible."""
    position: Float32
    """(P,) slice index with a fraction, by a parabola through three scores."""
    shift_px: Float32
    """(P, 2) displacement that lays the chosen slice on the plane, functional pixels."""
    scores: Float32
    """(P, Z) all scores."""
    chance: Float32
    """(P,) score without a match: median of the plane's scores, turned by 180 degrees."""
    found: npt.NDArray[np.bool_]
    """(P,) whether the score is :data:`FOUND_RATIO` times chance.  A plane that the stack does
    not show, of another fish say, has a slice too, but is not found."""


def match_planes(
    planes: npt.NDArray[np.generic],
    slices: Iterable[npt.NDArray[np.generic]],
    *,
    pixel_ratio: tuple[float, float] = (1.0, 1.0),
    max_shift_px: float = 15,
    order: Order = "rising",
    slices_per_plane: float | None = None,
    guard: int = 3,
    nucleus_px: float = NUCLEUS_PX,
) -> PlaneMatch:
    """Find the structural slice that looks most like each functional plane.

    Parameters
    ----------
    planes : (P, y, x)
        Mean image (template) of each functional plane.
    slices : (Z, Y, X) or iterable of (Y, X)
        Structural stack in order of depth.  Read once, one slice at a time, so a lazy
        array or a generator does.
    pixel_ratio
        Structural pixels per functional pixel along (y, x); 2 for a stack of twice the
        sampling.
    max_shift_px
        Largest displacement in the plane, functional pixels.
    order
        "rising": planes lie in the order of the slices, each in its own; "falling": in
        the opposite order; "free": each plane takes its best slice.
    slices_per_plane
        Distance of neighbouring planes in slices, if known; deviations then cost a quarter
        of a standard deviation of wrong scores per slice, so that the distance decides
        where images do not.  Ignored when `order` is "free".
    guard
        Slices nearer than this to the chosen one are no rivals of it.
    nucleus_px
        Lateral diameter of a nucleus, functional pixels.

    Returns
    -------
    PlaneMatch

    Raises
    ------
    ValueError
        If shapes or settings do not fit, there are no slices, or an order is asked for
        and there are fewer slices than planes.

    Notes
    -----
    Cytosolic sensors show rings around dark nuclei, the structural channel the nuclei
    themselves, so plain correlation is best off-centre by about a nucleus radius; blobs of
    either correlate in place, but alike over eight slices, since nuclei are elongated along
    z.  Here outlines and bodies of the slice, in bands below the size of a nucleus, are mixed
    by least squares to predict the plane (:mod:`clgkit.registration.response`): sections of
    the same nuclei have outlines of the same size in their own slice only.  Blocks of twenty
    nuclei may move 2 px from the common shift, which allows rotations of about 1 degree and
    scales of 1 %.  Scores are standardised per plane by median and median deviation over the
    slices before the order is sought (:func:`~clgkit.registration.order.assign_in_order`).
    `found` compares with the same plane turned by 180 degrees, which fits nowhere.
    For tilt see :func:`~clgkit.registration.tilt.match_tilt`.
    """
    if order not in {"rising", "falling", "free"}:
        raise ValueError(f'order must be "rising", "falling" or "free", found {order!r}.')
    finder = _plan(planes, max_shift_px, nucleus_px)
    prepared = _prepare_planes(planes, finder)
    turned = _prepare_planes(planes[:, ::-1, ::-1], finder)
    columns, chances = [], []
    for z, image in enumerate(slices):
        both = prepared if z % CHANCE_STEP else [*prepared, *turned]
        column = _score_slice(image, both, finder, pixel_ratio)
        columns.append(PlaneScores(*(values[: len(planes)] for values in column)))
        if both is not prepared:
            chances.append(column.score[len(planes) :])
    if not columns:
        raise ValueError("the structural stack has no slices; expected at least one.")
    scores = np.stack([column.score for column in columns], axis=1)
    shift_px = np.stack([column.shift_px for column in columns], axis=1)
    standard, chance = _standardise(scores), _medians(np.stack(chances, axis=1))
    chosen, confidence = _assign(standard, order, slices_per_plane, guard)
    row = np.arange(len(planes))
    away = np.abs(np.arange(scores.shape[1]) - chosen[:, np.newaxis]) >= guard
    second = _largest(np.where(away, scores, np.nan))
    return PlaneMatch(
        slice_index=chosen,
        score=scores[row, chosen],
        second_score=second.astype(np.float32),
        confidence=confidence.astype(np.float32),
        position=np.array([vertex(scores[p], z) for p, z in enumerate(chosen)], np.float32),
        shift_px=shift_px[row, chosen],
        scores=scores,
        chance=chance,
        found=scores[row, chosen] >= FOUND_RATIO * chance,  # False where there is no score
    )


def choose_slices(
    scores: npt.NDArray[np.floating],
    given: npt.NDArray[np.integer],
    *,
    order: Order = "rising",
    slices_per_plane: float | None = None,
) -> npt.NDArray[np.int64]:
    """Choose the slices of all planes anew where some are known.

    Parameters
    ----------
    scores : (P, Z)
        Of :func:`match_planes`.
    given : (P,)
        The slice of a plane, -1 where it is not known.
    order, slices_per_plane
        As there.

    Returns
    -------
    (P,) int64
        Another slice than the given one where the order leaves no other choice.

    Raises
    ------
    ValueError
        If an order is asked for and there are fewer slices than planes.
    """
    standard = _standardise(np.asarray(scores, np.float32))
    barred = (given[:, np.newaxis] >= 0) & (given[:, np.newaxis] != np.arange(scores.shape[1]))
    return _assign(np.where(barred, BARRED, standard), order, slices_per_plane, guard=1)[0]


def score_planes(
    planes: npt.NDArray[np.generic],
    slices: Iterable[npt.NDArray[np.generic]],
    *,
    pixel_ratio: tuple[float, float] = (1.0, 1.0),
    max_shift_px: float = 15,
    nucleus_px: float = NUCLEUS_PX,
) -> PlaneScores:
    """Score each plane against the one slice that a plane map gives it.

    Parameters
    ----------
    planes : (P, y, x)
        Mean image of each functional plane.
    slices : (P, Y, X) or iterable of (Y, X)
        The slice of each plane, in the order of the planes.
    pixel_ratio, max_shift_px, nucleus_px
        As in :func:`match_planes`.

    Returns
    -------
    PlaneScores
        ``score`` (P,) and ``shift_px`` (P, 2).

    Raises
    ------
    ValueError
        If the numbers of planes and slices differ.
    """
    finder = _plan(planes, max_shift_px, nucleus_px)
    prepared = _prepare_planes(planes, finder)
    pairs = [
        _score_slice(image, [plane], finder, pixel_ratio)
        for plane, image in _pairs(prepared, slices)
    ]
    return PlaneScores(
        np.concatenate([pair.score for pair in pairs]),
        np.concatenate([pair.shift_px for pair in pairs]),
    )


def plane_to_slice(
    shift_px: npt.NDArray[np.floating], *, pixel_ratio: tuple[float, float] = (1.0, 1.0)
) -> Float64:
    """Give the map from pixels of a plane to positions in its slice, for warping labels.

    Parameters
    ----------
    shift_px : (2,)
        Displacement that lays the slice on the plane, functional pixels.
    pixel_ratio
        Structural pixels per functional pixel along (y, x).

    Returns
    -------
    (2, 3) float64
        For :func:`~clgkit.registration.warp.warp_labels` of the slice, with the shape of
        the plane.

    Notes
    -----
    The outer edges of the first pixels of both grids coincide, not their centres.
    """
    ratio = np.asarray(pixel_ratio, dtype=np.float64)
    offset = ratio * (0.5 - np.asarray(shift_px, dtype=np.float64)) - 0.5
    return np.column_stack([np.diag(ratio), offset])


def _pairs(
    planes: list[Target | None], slices: Iterable[npt.NDArray[np.generic]]
) -> Iterable[tuple[Target | None, npt.NDArray[np.generic]]]:
    remaining = iter(slices)
    for n, plane in enumerate(planes):
        image = next(remaining, None)
        if image is None:
            raise ValueError(f"{len(planes)} planes but {n} slices; expected one slice per plane.")
        yield plane, image
    if next(remaining, None) is not None:
        raise ValueError(f"more slices than the {len(planes)} planes; expected one per plane.")


def _prepare_planes(planes: npt.NDArray[np.generic], finder: Finder) -> list[Target | None]:
    """Filter and transform every plane; None where there is nothing to see."""
    return [prepare_target(plane, finder) if has_structure(plane) else None for plane in planes]


def _plan(planes: npt.NDArray[np.generic], max_shift_px: float, nucleus_px: float) -> Finder:
    if planes.ndim != 3 or not len(planes):
        raise ValueError(f"expected planes (P, y, x), found an array of shape {planes.shape}.")
    shape = (planes.shape[1], planes.shape[2])
    return plan_finder(shape, max_shift_px=max_shift_px, nucleus_px=nucleus_px)


def _score_slice(
    image: npt.NDArray[np.generic],
    planes: list[Target | None],
    finder: Finder,
    pixel_ratio: tuple[float, float],
) -> PlaneScores:
    """Score one slice against all planes: (P,) and (P, 2)."""
    reduced = to_functional_pixels(np.asarray(image), finder.shape, pixel_ratio)
    score = np.full(len(planes), np.nan, dtype=np.float32)
    shift_px = np.zeros((len(planes), 2), dtype=np.float32)
    if not has_structure(reduced):
        return PlaneScores(score, shift_px)
    prepared = prepare_slice(reduced, finder)
    for p, plane in enumerate(planes):
        if plane is not None:
            fit = fit_blocks(explain(prepared, plane, finder), plane, finder)
            score[p], shift_px[p] = fit.score, fit.common_px
    return PlaneScores(score, shift_px)


def to_functional_pixels(
    image: npt.NDArray[np.generic], shape: tuple[int, int], pixel_ratio: tuple[float, float]
) -> Float32:
    """Resample a slice to the pixels of a plane.

    Parameters
    ----------
    image : (Y, X)
        The slice; pixels that are not finite spoil their neighbours.
    shape
        (y, x) of the plane.
    pixel_ratio
        Structural pixels per functional pixel along (y, x).

    Returns
    -------
    (y, x) float32
        NaN beyond the edges of the slice.

    Raises
    ------
    ValueError
        If `image` is not 2-D or a ratio is not positive.
    """
    if image.ndim != 2:
        raise ValueError(f"expected a slice (Y, X), found an array of shape {image.shape}.")
    if not all(math.isfinite(ratio) and ratio > 0 for ratio in pixel_ratio):
        raise ValueError(f"pixel_ratio must be positive, found {pixel_ratio}.")
    plain = np.asarray(image, dtype=np.float32)
    coarsest = max(pixel_ratio)
    if coarsest > 2 and np.isfinite(plain).all():  # linear reading averages two pixels itself
        plain = smooth(np.ascontiguousarray(plain), sigma_px=0.4 * coarsest)
    mapping = plane_to_slice(np.zeros(2), pixel_ratio=pixel_ratio)
    return warp_image(plain, mapping, shape=shape)


def _assign(
    standard: Float64, order: Order, step: float | None, guard: int
) -> tuple[npt.NDArray[np.int64], Float64]:
    """Choose a slice per plane and say what moving each plane away would cost."""
    if order == "free":
        chosen, through = standard.argmax(axis=1), standard
    elif order == "rising":
        chosen, through = assign_in_order(standard, step=step, step_weight=STEP_WEIGHT)
    else:
        chosen, through = assign_in_order(standard[:, ::-1], step=step, step_weight=STEP_WEIGHT)
        chosen, through = standard.shape[1] - 1 - chosen, through[:, ::-1]
    away = np.abs(np.arange(standard.shape[1]) - chosen[:, np.newaxis]) >= guard
    best = through[np.arange(len(standard)), chosen]
    return chosen, best - np.where(away, through, -np.inf).max(axis=1)


def _standardise(scores: Float32) -> Float64:
    """Bring each plane's scores to median 0 and unit spread of most; 0 where there is none.

    Median deviations, so that the one right slice does not widen the measure of wrong ones.
    """
    out = np.zeros(scores.shape)
    for p, row in enumerate(scores.astype(np.float64)):
        known = np.isfinite(row)
        if not known.any():
            continue
        centered = row[known] - np.median(row[known])
        spread = 1.4826 * np.median(np.abs(centered))
        if spread > 0:
            out[p, known] = centered / spread
    return out


def _medians(rows: Float32) -> Float32:
    """Return the median of the finite values of each row, NaN if there is none."""
    medians = [
        np.median(row[np.isfinite(row)]) if np.isfinite(row).any() else np.nan for row in rows
    ]
    return np.array(medians, dtype=np.float32)


def _largest(rows: Float32) -> Float64:
    """Return the largest finite value of each row, NaN if there is none."""
    known = np.isfinite(rows)
    largest = np.where(known, rows, -np.inf).max(axis=1)
    return np.where(known.any(axis=1), largest, np.nan)


def vertex(row: npt.NDArray[np.floating], z: int) -> float:
    """Return where the parabola through three neighbouring scores peaks, within half a slice."""
    if not 0 < z < len(row) - 1:
        return float(z)
    before, here, after = (float(value) for value in row[z - 1 : z + 2])
    bend = before - 2 * here + after
    if not bend < 0:
        return float(z)
    return z + max(-0.5, min(0.5, 0.5 * (before - after) / bend))
