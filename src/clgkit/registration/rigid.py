"""One shift per frame: the rigid part of motion correction."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from clgkit.registration.filters import MOTION_BAND_PX, difference_of_gaussians, soft_window
from clgkit.registration.spectrum import Correlator, correlate, prepare_correlator

Float32 = npt.NDArray[np.float32]

MARGIN_PX = 12.0
"""Width over which the edges of the template are faded in, at most a sixth of the field."""


class RigidShifts(NamedTuple):
    """One shift per frame."""

    shift_px: Float32
    """(T, 2) displacement (y, x) to apply, pixels; 0 where `registered` is false."""
    peak: Float32
    """(T,) normalised correlation of the filtered frame with the template; 0 as above."""
    registered: npt.NDArray[np.bool_]
    """(T,) false for a frame with nothing to compare: constant, or no finite pixel."""


class RigidTemplate(NamedTuple):
    """A template prepared for :func:`register_rigid`; worth keeping for many blocks."""

    correlator: Correlator
    band_px: tuple[float, float]


def prepare_rigid(
    template: npt.NDArray[np.generic],
    *,
    max_shift_px: float = 15,
    upsampling: int = 50,
    band_px: tuple[float, float] = MOTION_BAND_PX,
) -> RigidTemplate:
    """Filter and transform a template once.

    Parameters
    ----------
    template : (Y, X)
        Mean image of the same field; pixels that are not finite have no weight.
    max_shift_px
        Larger displacements are not looked for, per axis; at most just under half the
        field.
    upsampling
        Shifts are multiples of ``1 / upsampling`` px.
    band_px
        Inner and outer sigma of the difference of Gaussians.

    Returns
    -------
    RigidTemplate

    Raises
    ------
    ValueError
        If the template is not 2-D, or has no structure to register to.
    """
    filtered = difference_of_gaussians(template, band_px=band_px)
    if not has_structure(template):
        raise ValueError(
            "the template is constant or not finite: there is nothing to register to; "
            "make it from frames that show the sample."
        )
    ny, nx = filtered.shape
    weight = soft_window((ny, nx), margin_px=min(MARGIN_PX, ny / 6, nx / 6))
    valid = _valid(template)
    correlator = prepare_correlator(
        filtered,
        weight=weight if valid is None else weight * valid,
        max_shift_px=max_shift_px,
        upsampling=upsampling,
    )
    return RigidTemplate(correlator, band_px)


def register_rigid(frames: npt.NDArray[np.generic], template: RigidTemplate) -> RigidShifts:
    """Find the shift of every frame to a prepared template.

    Parameters
    ----------
    frames : (T, Y, X)
        Any real dtype; pixels that are not finite have no weight.
    template
        From :func:`prepare_rigid`.

    Returns
    -------
    RigidShifts
        Each frame's numbers depend on that frame and the template only, bit by bit.

    Raises
    ------
    ValueError
        If the frames do not have the shape of the template.
    """
    shape = template.correlator.search.shape
    if frames.ndim != 3 or frames.shape[1:] != shape:
        raise ValueError(
            f"frames {frames.shape} do not fit the template {shape}: expected (T, Y, X) and (Y, X)."
        )
    n_frames = len(frames)
    shift_px = np.zeros((n_frames, 2), dtype=np.float32)
    peak = np.zeros(n_frames, dtype=np.float32)
    registered = np.zeros(n_frames, dtype=np.bool_)
    for t, frame in enumerate(frames):
        if has_structure(frame):
            filtered = difference_of_gaussians(frame, band_px=template.band_px)
            valid = _valid(frame)
            shift_px[t], peak[t] = correlate(filtered, template.correlator, valid=valid)
            registered[t] = True
    return RigidShifts(shift_px, peak, registered)


def estimate_rigid(
    frames: npt.NDArray[np.generic],
    template: npt.NDArray[np.generic],
    *,
    max_shift_px: float = 15,
    upsampling: int = 50,
) -> RigidShifts:
    """Find the shift that lays each frame on the template.

    Parameters
    ----------
    frames : (T, Y, X)
        Any real dtype, negative values allowed; one frame is enough.
    template : (Y, X)
        From :func:`~clgkit.registration.template.make_template`, or any image that looks
        like the frames.
    max_shift_px, upsampling
        As in :func:`prepare_rigid`.

    Returns
    -------
    RigidShifts
        A frame that is constant or has no finite pixel gets shift 0, peak 0 and
        ``registered`` false.  Frames that are bad in comparison with the movie (flash,
        dark, saturated) are found by :func:`~clgkit.registration.frames.find_bad_frames`.

    Raises
    ------
    ValueError
        If the shapes do not fit or the template has no structure.

    Notes
    -----
    Frame and template pass a difference of Gaussians (1 and 8 px).  The template, not the
    frame, is faded in over 12 px at the edges.  The largest correlation, corrected to that
    of the normalised one, is found to ``1 / upsampling`` px
    (:func:`clgkit.registration.spectrum.correlate`).  An image fits itself at shift 0.
    """
    prepared = prepare_rigid(template, max_shift_px=max_shift_px, upsampling=upsampling)
    return register_rigid(frames, prepared)


def has_structure(image: npt.NDArray[np.generic]) -> bool:
    """Tell whether an image has two different finite values."""
    if image.dtype.kind not in "fc":
        return bool(image.min() != image.max())
    lowest = np.min(image, where=np.isfinite(image), initial=np.inf)
    return bool(lowest < np.max(image, where=np.isfinite(image), initial=-np.inf))


def _valid(image: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_] | None:
    """Return the finite pixels, or None if all are."""
    finite = np.isfinite(image)
    return None if finite.all() else finite
