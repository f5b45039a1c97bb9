"""One shift per patch and frame: motion that bends the field."""

from __future__ import annotations

import math
from importlib import import_module
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from clgkit.registration.field import Centers, covariance, most_likely_field, spline_matrix
from clgkit.registration.filters import MOTION_BAND_PX
from clgkit.registration.matching import (
    PatchTemplate,
    fit_patches,
    prepare_patches,
    search_patches,
)
from clgkit.registration.patches import plan_patches
from clgkit.registration.rigid import (
    RigidTemplate,
    filter_frame,
    finite_pixels,
    has_structure,
    prepare_rigid,
    register_filtered,
)

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

NOISE_FACTOR = 2.0
"""Variance of a patch's error over that which white noise explains.

Photon noise is largest where slopes are, and cells that light up are no noise at all.  With 2
the scatter of the patches of a simulated rigid movie is explained at 9 and at 0.9 photons a
pixel.
"""
LENGTH_CELLS = 4.0
"""Distance over which motion changes, in cells."""
NEWTON_STEPS = 3


class PiecewiseShifts(NamedTuple):
    """One shift per frame, and one per patch of each frame."""

    rigid: Float32
    """(T, 2) shift (y, x) of the whole frame, pixels; 0 where `registered` is false."""
    patch_shift: Float32
    """(T, ny, nx, 2) shift of each patch, pixels, the rigid one included."""
    centers: Centers
    """Where the patches' shifts belong."""
    peak: Float32
    """(T,) normalised correlation of the frame with the template at the rigid shift."""
    second_peak: Float32
    """(T,) the largest one elsewhere."""
    patch_peak: Float32
    """(T, ny, nx) normalised correlation of the patch with the template's."""
    patch_error_px: Float32
    """(T, ny, nx) standard error that noise gives the patch's own measurement."""
    patch_residual_px: Float32
    """(T, ny, nx) distance from the patch's own measurement to the smooth field."""
    registered: npt.NDArray[np.bool_]
    """(T,) false for a frame with nothing to compare: constant, or no finite pixel."""
    confident: npt.NDArray[np.bool_]
    """(T,) false where the rigid shift may be noise, or lies at the edge of what was searched;
    see :func:`~clgkit.registration.settle.settle_shifts`."""
    at_edge: npt.NDArray[np.bool_]
    """(T,) true where the rigid shift is the largest allowed: the true one may lie beyond, and
    this one must not be used."""


class PreparedPiecewise(NamedTuple):
    """A template prepared for :func:`register_piecewise`; worth keeping for many blocks."""

    rigid: RigidTemplate
    patches: PatchTemplate
    centers: Centers
    likeness: Float64
    rows: Float32
    columns: Float32
    max_deviation_px: float


def prepare_piecewise(
    template: npt.NDArray[np.generic],
    *,
    grid_px: int = 64,
    overlap_px: int = 32,
    max_shift_px: float = 15,
    max_deviation_px: float = 5,
    upsampling: int = 50,
    band_px: tuple[float, float] = MOTION_BAND_PX,
    bad_pixels: npt.NDArray[np.bool_] | None = None,
) -> PreparedPiecewise:
    """Filter a template and sum up its patches once.

    Parameters
    ----------
    template : (Y, X)
        Mean image of the same field; pixels that are not finite have no weight.
    grid_px, overlap_px
        Side of the cells, and how far patches reach beyond them
        (:func:`~clgkit.registration.patches.plan_patches`).
    max_shift_px, upsampling, band_px, bad_pixels
        As in :func:`~clgkit.registration.rigid.prepare_rigid`.  Rigid shifts are multiples of
        ``1 / upsampling`` px; those of patches are not.
    max_deviation_px
        A patch may be this far from the rigid shift, per axis.

    Returns
    -------
    PreparedPiecewise

    Raises
    ------
    ValueError
        If the template is not 2-D or has no structure, or a setting is out of range.
    """
    if not (math.isfinite(max_deviation_px) and max_deviation_px >= 0):
        raise ValueError(
            f"max_deviation_px must be finite and not negative, found {max_deviation_px}."
        )
    rigid = prepare_rigid(
        template,
        max_shift_px=max_shift_px,
        upsampling=upsampling,
        band_px=band_px,
        bad_pixels=bad_pixels,
    )
    height, width = rigid.image.shape
    grid = plan_patches((height, width), grid_px=grid_px, overlap_px=overlap_px)
    centers = Centers(grid.y.centers_px, grid.x.centers_px)
    patches = prepare_patches(
        rigid.image,
        grid,
        valid=finite_pixels(template),
        max_deviation_px=max_deviation_px,
        band_px=band_px,
    )
    return PreparedPiecewise(
        rigid=rigid,
        patches=patches,
        centers=centers,
        likeness=covariance(centers, length_px=LENGTH_CELLS * grid_px),
        rows=spline_matrix(centers.y, np.arange(height)).astype(np.float32),
        columns=spline_matrix(centers.x, np.arange(width)).astype(np.float32),
        max_deviation_px=max_deviation_px,
    )


def register_piecewise(
    frames: npt.NDArray[np.generic],
    prepared: PreparedPiecewise,
    *,
    line_offset_px: float = 0.0,
    device: str = "cpu",
) -> PiecewiseShifts:
    """Find the shift of every patch of every frame to a prepared template.

    Parameters
    ----------
    frames : (T, Y, X)
        Any real dtype; pixels that are not finite have no weight.
    prepared
        From :func:`prepare_piecewise`.
    line_offset_px
        From :func:`~clgkit.registration.bidirectional.estimate_line_offset`; undone first.
    device
        Anything but "cpu" is a device of torch, such as "cuda".  Shifts are the same to 1e-3
        px, or a step further where two steps of the rigid shift fit equally well.

    Returns
    -------
    PiecewiseShifts
        Each frame's numbers depend on that frame and the template only, bit by bit.

    Raises
    ------
    ValueError
        If the frames do not have the shape of the template.
    ImportError
        If a device of torch is named, but torch is not installed.

    Notes
    -----
    Frame and template pass a difference of Gaussians.  The rigid shift comes from the whole
    frame.  Patches are searched about it at half the resolution
    (:func:`~clgkit.registration.matching.search_patches`); then three times the frame is read
    through the field and each patch measures what is left
    (:func:`~clgkit.registration.matching.fit_patches`), so that bending within a patch is
    followed too.  Each time measurements and smoothness are weighed by their variances
    (:func:`~clgkit.registration.field.most_likely_field`): a frame that moved rigidly gets
    nearly one shift, a dim patch that of its neighbours.

    Other programs evaluate a correlation for each patch on a grid of fractions of a pixel and
    smooth alike everywhere.
    """
    image = prepared.rigid.image
    if frames.ndim != 3 or frames.shape[1:] != image.shape:
        raise ValueError(
            f"frames {frames.shape} do not fit the template {image.shape}: "
            "expected (T, Y, X) and (Y, X)."
        )
    n, grid = len(frames), prepared.patches.grid.shape
    out = PiecewiseShifts(
        rigid=np.zeros((n, 2), dtype=np.float32),
        patch_shift=np.zeros((n, *grid, 2), dtype=np.float32),
        centers=prepared.centers,
        peak=np.zeros(n, dtype=np.float32),
        second_peak=np.zeros(n, dtype=np.float32),
        patch_peak=np.zeros((n, *grid), dtype=np.float32),
        patch_error_px=np.full((n, *grid), np.inf, dtype=np.float32),
        patch_residual_px=np.zeros((n, *grid), dtype=np.float32),
        registered=np.zeros(n, dtype=np.bool_),
        confident=np.zeros(n, dtype=np.bool_),
        at_edge=np.zeros(n, dtype=np.bool_),
    )
    if device != "cpu":
        on_device = import_module("clgkit.registration.accelerated_motion")
        on_device.fill_piecewise(frames, prepared, line_offset_px, out, device)
        return out
    for t, frame in enumerate(frames):
        if has_structure(frame):
            _register_frame(frame, prepared, line_offset_px, out, t)
    return out


def _register_frame(
    frame: npt.NDArray[np.generic],
    prepared: PreparedPiecewise,
    line_offset_px: float,
    out: PiecewiseShifts,
    t: int,
) -> None:
    filtered, valid = filter_frame(frame, prepared.rigid, line_offset_px=line_offset_px)
    found = register_filtered(filtered, prepared.rigid, valid=valid)
    if math.isnan(found.peak):
        return
    out.rigid[t], out.peak[t], out.second_peak[t] = found.shift_px, found.peak, found.second_peak
    out.registered[t], out.confident[t], out.at_edge[t] = True, found.confident, found.at_edge
    gain = found.gain
    if valid is not None:
        still = np.float32(gain) * prepared.rigid.image
        filtered = _bridge(filtered, valid, still, found.shift_px)
    limit = prepared.max_deviation_px
    deviation = search_patches(filtered, prepared.patches, found.shift_px) - found.shift_px
    deviation = np.clip(deviation, -limit, limit)
    for _ in range(NEWTON_STEPS):
        sampling = _sampling(found.shift_px + deviation, prepared)
        fit = fit_patches(filtered, prepared.patches, sampling, gain)
        measured, variance, gain = (
            deviation + fit.step_px,
            NOISE_FACTOR * fit.variance_px2,
            fit.gain,
        )
        deviation = most_likely_field(
            measured.reshape(-1, 2), variance.reshape(-1, 2), prepared.likeness
        ).reshape(measured.shape)
        deviation = np.clip(deviation, -limit, limit)
    out.patch_shift[t] = found.shift_px + deviation
    out.patch_peak[t] = fit.peak
    out.patch_error_px[t] = np.sqrt(variance.sum(axis=-1))
    out.patch_residual_px[t] = np.linalg.norm(measured - deviation, axis=-1)


def _sampling(shift_px: Float64, prepared: PreparedPiecewise) -> tuple[Float32, Float32]:
    """Return where to read, relative to each pixel: y and x."""
    shift = np.asarray(-shift_px, dtype=np.float32)
    y, x = (prepared.rows @ shift[..., axis] @ prepared.columns.T for axis in (0, 1))
    return np.asarray(y, dtype=np.float32), np.asarray(x, dtype=np.float32)


def _bridge(
    filtered: Float32, valid: npt.NDArray[np.bool_], image: Float32, shift_px: Float64
) -> Float32:
    """Put the template where a frame has no pixels: there it neither pulls nor pushes."""
    y, x = (
        np.clip(np.arange(n) + round(float(s)), 0, n - 1)
        for n, s in zip(image.shape, shift_px, strict=True)
    )
    return np.where(valid, filtered, image[np.ix_(y, x)])
