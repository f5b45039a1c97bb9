"""The structural slice of every functional plane, and where in it the plane lies."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from clgkit.registration.filters import BLOB_BAND_PX, difference_of_gaussians, smooth
from clgkit.registration.order import assign_in_order
from clgkit.registration.quality import correlation_to_template
from clgkit.registration.rigid import RigidTemplate, has_structure, prepare_rigid
from clgkit.registration.spectrum import correlate
from clgkit.registration.warp import shift_frames, warp_image

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Order = Literal["rising", "falling", "free"]


class PlaneScores(NamedTuple):
    """How well planes fit slices, and the shifts at which they do."""

    score: Float32
    """Correlation of the blob images over their common pixels, in [-1, 1]; NaN if blank."""
    shift_px: Float32
    """(..., 2) displacement (y, x), functional pixels, that lays the *slice* on the plane."""


class PlaneMatch(NamedTuple):
    """The structural slice of every functional plane."""

    slice_index: npt.NDArray[np.int64]
    """(P,) 0-based."""
    score: Float32
    """(P,) correlation with the chosen slice, in [-1, 1]; NaN for a plane without structure."""
    second_score: Float32
    """(P,) largest score at least `guard` slices away; NaN if there is none."""
    confidence: Float32
    """(P,) loss of the whole assignment, in standard deviations of a plane's scores over the
    slices, if this plane had to be at least `guard` slices away; infinite if impossible."""
    position: Float32
    """(P,) slice index with a fraction, by a parabola through three scores."""
    shift_px: Float32
    """(P, 2) displacement that lays the chosen slice on the plane, functional pixels."""
    scores: Float32
    """(P, Z) all scores."""


class _Plane(NamedTuple):
    template: RigidTemplate
    blobs: Float32


def match_planes(
    planes: npt.NDArray[np.generic],
    slices: Iterable[npt.NDArray[np.generic]],
    *,
    pixel_ratio: tuple[float, float] = (1.0, 1.0),
    max_shift_px: float = 15,
    order: Order = "rising",
    slices_per_plane: float | None = None,
    guard: int = 3,
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
        Distance of neighbouring planes in slices, if known; deviations then cost one
        standard deviation of the scores per slice.  Ignored when `order` is "free".
    guard
        Slices nearer than this to the chosen one are no rivals of it.

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
    themselves: plain correlation is best off-centre by about a nucleus radius.  Both
    images pass a difference of Gaussians of 3 and 9 functional px, which makes one blob
    of either.  Each slice is resampled to functional pixels, shifted to fit, and scored by
    Pearson correlation over the common pixels.  Scores are standardised over the slices
    per plane before the order is sought (:func:`~clgkit.registration.order.assign_in_order`).
    Rotation, scale and tilt are not looked for.
    """
    if order not in {"rising", "falling", "free"}:
        raise ValueError(f'order must be "rising", "falling" or "free", found {order!r}.')
    prepared = _prepare_planes(planes, max_shift_px)
    columns = [_score_slice(image, prepared, planes.shape[1:], pixel_ratio) for image in slices]
    if not columns:
        raise ValueError("the structural stack has no slices; expected at least one.")
    scores = np.stack([column.score for column in columns], axis=1)
    shift_px = np.stack([column.shift_px for column in columns], axis=1)
    chosen, confidence = _assign(scores, order, slices_per_plane, guard)
    row = np.arange(len(planes))
    away = np.abs(np.arange(scores.shape[1]) - chosen[:, np.newaxis]) >= guard
    second = _largest(np.where(away, scores, np.nan))
    return PlaneMatch(
        slice_index=chosen,
        score=scores[row, chosen],
        second_score=second.astype(np.float32),
        confidence=confidence.astype(np.float32),
        position=np.array([_vertex(scores[p], z) for p, z in enumerate(chosen)], np.float32),
        shift_px=shift_px[row, chosen],
        scores=scores,
    )


def score_planes(
    planes: npt.NDArray[np.generic],
    slices: Iterable[npt.NDArray[np.generic]],
    *,
    pixel_ratio: tuple[float, float] = (1.0, 1.0),
    max_shift_px: float = 15,
) -> PlaneScores:
    """Score each plane against the one slice that a plane map gives it.

    Parameters
    ----------
    planes : (P, y, x)
        Mean image of each functional plane.
    slices : (P, Y, X) or iterable of (Y, X)
        The slice of each plane, in the order of the planes.
    pixel_ratio, max_shift_px
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
    prepared = _prepare_planes(planes, max_shift_px)
    pairs = [
        _score_slice(image, [plane], planes.shape[1:], pixel_ratio)
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
    planes: list[_Plane | None], slices: Iterable[npt.NDArray[np.generic]]
) -> Iterable[tuple[_Plane | None, npt.NDArray[np.generic]]]:
    remaining = iter(slices)
    for n, plane in enumerate(planes):
        image = next(remaining, None)
        if image is None:
            raise ValueError(f"{len(planes)} planes but {n} slices; expected one slice per plane.")
        yield plane, image
    if next(remaining, None) is not None:
        raise ValueError(f"more slices than the {len(planes)} planes; expected one per plane.")


def _prepare_planes(planes: npt.NDArray[np.generic], max_shift_px: float) -> list[_Plane | None]:
    """Filter and transform every plane; None where there is nothing to see."""
    if planes.ndim != 3 or not len(planes):
        raise ValueError(f"expected planes (P, y, x), found an array of shape {planes.shape}.")
    return [
        _Plane(
            # Blobs of 3 px need no finer shifts than a tenth of a pixel.
            prepare_rigid(plane, max_shift_px=max_shift_px, upsampling=10, band_px=BLOB_BAND_PX),
            _valid_blobs(plane),
        )
        if has_structure(plane)
        else None
        for plane in planes
    ]


def _valid_blobs(image: npt.NDArray[np.generic]) -> Float32:
    """Blob image with NaN where the image has no value, so that scores leave it out."""
    blobs = difference_of_gaussians(image, band_px=BLOB_BAND_PX)
    blobs[~np.isfinite(image)] = np.nan
    return blobs


def _score_slice(
    image: npt.NDArray[np.generic],
    planes: list[_Plane | None],
    shape: tuple[int, ...],
    pixel_ratio: tuple[float, float],
) -> PlaneScores:
    """Score one slice against all planes: (P,) and (P, 2)."""
    reduced = _to_functional_pixels(np.asarray(image), (shape[0], shape[1]), pixel_ratio)
    score = np.full(len(planes), np.nan, dtype=np.float32)
    shift_px = np.zeros((len(planes), 2), dtype=np.float32)
    if not has_structure(reduced):
        return PlaneScores(score, shift_px)
    blobs = difference_of_gaussians(reduced, band_px=BLOB_BAND_PX)
    shown = np.where(np.isfinite(reduced), blobs, np.float32(np.nan))
    for p, plane in enumerate(planes):
        if plane is None:
            continue
        shift, _ = correlate(blobs, plane.template.correlator)
        moved = shift_frames(shown[np.newaxis], shift[np.newaxis])
        shift_px[p] = shift
        score[p] = correlation_to_template(moved, plane.blobs)[0]
    return PlaneScores(score, shift_px)


def _to_functional_pixels(
    image: npt.NDArray[np.generic], shape: tuple[int, int], pixel_ratio: tuple[float, float]
) -> Float32:
    """Resample a slice to the pixels of a plane; NaN beyond its edges."""
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
    scores: Float32, order: Order, step: float | None, guard: int
) -> tuple[npt.NDArray[np.int64], Float64]:
    """Choose a slice per plane and say what moving each plane away would cost."""
    standard = _standardise(scores)
    if order == "free":
        chosen, through = standard.argmax(axis=1), standard
    elif order == "rising":
        chosen, through = assign_in_order(standard, step=step)
    else:
        chosen, through = assign_in_order(standard[:, ::-1], step=step)
        chosen, through = scores.shape[1] - 1 - chosen, through[:, ::-1]
    away = np.abs(np.arange(scores.shape[1]) - chosen[:, np.newaxis]) >= guard
    best = through[np.arange(len(scores)), chosen]
    return chosen, best - np.where(away, through, -np.inf).max(axis=1)


def _standardise(scores: Float32) -> Float64:
    """Bring each plane's scores to mean 0 and standard deviation 1; 0 where there is none."""
    out = np.zeros(scores.shape)
    for p, row in enumerate(scores.astype(np.float64)):
        known = np.isfinite(row)
        if known.any() and row[known].std() > 0:
            out[p, known] = (row[known] - row[known].mean()) / row[known].std()
    return out


def _largest(rows: Float32) -> Float64:
    """Return the largest finite value of each row, NaN if there is none."""
    known = np.isfinite(rows)
    largest = np.where(known, rows, -np.inf).max(axis=1)
    return np.where(known.any(axis=1), largest, np.nan)


def _vertex(row: Float32, z: int) -> float:
    """Return where the parabola through three neighbouring scores peaks, within half a slice."""
    if not 0 < z < len(row) - 1:
        return float(z)
    before, here, after = (float(value) for value in row[z - 1 : z + 2])
    bend = before - 2 * here + after
    if not bend < 0:
        return float(z)
    return z + max(-0.5, min(0.5, 0.5 * (before - after) / bend))
