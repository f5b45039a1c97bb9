"""One shift per frame: the rigid part of motion correction."""

from __future__ import annotations

import math
from importlib import import_module
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from clgkit.registration.bidirectional import undo_line_offset
from clgkit.registration.filters import MOTION_BAND_PX, difference_of_gaussians, soft_window
from clgkit.registration.spectrum import Correlator, correlate, plan_search, prepare_correlator

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

MARGIN_PX = 12.0
"""Width over which the edges of the template are faded in, at most a sixth of the field."""


LEAST_SPECTRUM = 0.01
"""Frequencies at which the filter, applied to both images, leaves less than this are skipped."""

CLEAR_SIGMAS = 3.0
"""A maximum of the correlation is clear if it exceeds the next by so many times the scatter."""

FAR_SHARE = 0.01
"""Shifts of more than this part of the field are measured again: what a transform takes round
the edges shortens them by a hundredth or so."""
NEAR_PX = 2.0
"""What a shift that is measured again may be wrong by, and more."""

SURE_PEAK = 0.4
"""A correlation that noise does not reach: a small field of like cells has rivals, but fits."""


class Judged(Protocol):
    """Shifts of frames with what tells whether they stand, rigid or piecewise."""

    @property
    def peak(self) -> Float32:
        """(T,) normalised correlation."""

    @property
    def confident(self) -> npt.NDArray[np.bool_]:
        """(T,) whether the maximum stands out."""

    @property
    def at_edge(self) -> npt.NDArray[np.bool_]:
        """(T,) whether it lies at the edge of what was searched."""


class Shifts(NamedTuple):
    """Shifts of frames and how well each frame then fits."""

    shift_px: Float32
    """(T, 2) displacement (y, x) to apply, pixels."""
    peak: Float32
    """(T,) normalised correlation at that shift, in [-1, 1]; NaN for an all-zero frame."""


class RigidShifts(NamedTuple):
    """One shift per frame."""

    shift_px: Float32
    """(T, 2) displacement (y, x) to apply, pixels; 0 where `registered` is false."""
    peak: Float32
    """(T,) normalised correlation of the filtered frame with the template; 0 as above."""
    registered: npt.NDArray[np.bool_]
    """(T,) false for a frame with nothing to compare: constant, or no finite pixel."""
    second_peak: Float32
    """(T,) the largest correlation at least 4 px away; 0 as above."""
    confident: npt.NDArray[np.bool_]
    """(T,) false where the shift may be noise, or lies at the edge of what was searched; see
    :func:`~clgkit.registration.settle.settle_shifts`."""
    at_edge: npt.NDArray[np.bool_]
    """(T,) true where the shift is the largest allowed: the true one may lie beyond, and this
    one must not be used."""


class RigidTemplate(NamedTuple):
    """A template prepared for :func:`register_rigid`; worth keeping for many blocks."""

    correlator: Correlator
    band_px: tuple[float, float]
    image: Float32
    """(Y, X) the filtered template, 0 where it has no value."""
    bad_pixels: npt.NDArray[np.bool_] | None
    near: Correlator
    """The same with a small window, for frames that were moved by whole pixels."""


class RigidMatch(NamedTuple):
    """The shift of one frame."""

    shift_px: Float64
    peak: float
    second_peak: float
    confident: bool
    at_edge: bool
    gain: float
    """Brightness of the filtered frame in units of the filtered template."""


def prepare_rigid(
    template: npt.NDArray[np.generic],
    *,
    max_shift_px: float = 15,
    upsampling: int = 50,
    band_px: tuple[float, float] = MOTION_BAND_PX,
    bad_pixels: npt.NDArray[np.bool_] | None = None,
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
    bad_pixels : (Y, X) bool
        Pixels of the camera or scan that show no sample, such as hot ones: no weight, neither
        in the template nor in the frames.  They do not move, and would hold the sample still.

    Returns
    -------
    RigidTemplate

    Raises
    ------
    ValueError
        If the template is not 2-D, or has no structure to register to.
    """
    if bad_pixels is not None:
        template = without(template, bad_pixels)
    filtered = difference_of_gaussians(template, band_px=band_px)
    if not has_structure(template):
        raise ValueError(
            "the template is constant or not finite: there is nothing to register to; "
            "make it from frames that show the sample."
        )
    ny, nx = filtered.shape
    weight = soft_window((ny, nx), margin_px=min(MARGIN_PX, ny / 6, nx / 6))
    valid = finite_pixels(template)
    highest = math.sqrt(-math.log(LEAST_SPECTRUM)) / (2 * math.pi * band_px[0])
    correlator = prepare_correlator(
        filtered,
        weight=weight if valid is None else weight * valid,
        max_shift_px=max_shift_px,
        upsampling=upsampling,
        highest_frequency=highest,
    )
    search = plan_search(
        (ny, nx), max_shift_px=NEAR_PX, upsampling=upsampling, highest_frequency=highest
    )
    near = correlator._replace(search=search)
    return RigidTemplate(correlator, band_px, filtered, bad_pixels, near)


def register_rigid(
    frames: npt.NDArray[np.generic],
    template: RigidTemplate,
    *,
    line_offset_px: float = 0.0,
    device: str = "cpu",
) -> RigidShifts:
    """Find the shift of every frame to a prepared template.

    Parameters
    ----------
    frames : (T, Y, X)
        Any real dtype; pixels that are not finite have no weight.
    template
        From :func:`prepare_rigid`.
    line_offset_px
        From :func:`~clgkit.registration.bidirectional.estimate_line_offset`; undone first.
    device
        Anything but "cpu" is a device of torch, such as "cuda".  Shifts are the same to 1e-3
        px, or a step further where two steps of the rigid shift fit equally well.

    Returns
    -------
    RigidShifts
        Each frame's numbers depend on that frame and the template only, bit by bit.

    Raises
    ------
    ValueError
        If the frames do not have the shape of the template.
    ImportError
        If a device of torch is named, but torch is not installed.
    """
    shape = template.image.shape
    if frames.ndim != 3 or frames.shape[1:] != shape:
        raise ValueError(
            f"frames {frames.shape} do not fit the template {shape}: expected (T, Y, X) and (Y, X)."
        )
    n_frames = len(frames)
    shift_px = np.zeros((n_frames, 2), dtype=np.float32)
    peak, second_peak = np.zeros((2, n_frames), dtype=np.float32)
    registered, confident, at_edge = np.zeros((3, n_frames), dtype=np.bool_)
    out = RigidShifts(shift_px, peak, registered, second_peak, confident, at_edge)
    if device != "cpu":
        on_device = import_module("clgkit.registration.accelerated_motion")
        on_device.fill_rigid(frames, template, line_offset_px, out, device)
        return out
    for t, frame in enumerate(frames):
        if has_structure(frame):
            filtered, valid = filter_frame(frame, template, line_offset_px=line_offset_px)
            found = register_filtered(filtered, template, valid=valid)
            if not math.isnan(found.peak):
                shift_px[t], peak[t], second_peak[t], confident[t], at_edge[t], _ = found
                registered[t] = True
    return out


def filter_frame(
    frame: npt.NDArray[np.generic], template: RigidTemplate, *, line_offset_px: float = 0.0
) -> tuple[Float32, npt.NDArray[np.bool_] | None]:
    """Bring a frame into the form in which it is compared with the template.

    Parameters
    ----------
    frame : (Y, X)
        Any real dtype.
    template
        Tells the filter and the bad pixels.
    line_offset_px
        Of the odd rows; undone before filtering.

    Returns
    -------
    filtered : (Y, X) float32
    valid : (Y, X) bool or None
        Its finite pixels; None if all are.
    """
    if template.bad_pixels is not None:
        frame = without(frame, template.bad_pixels)
    if line_offset_px:
        frame = undo_line_offset(frame, line_offset_px)
    return difference_of_gaussians(frame, band_px=template.band_px), finite_pixels(frame)


def register_filtered(
    filtered: Float32, template: RigidTemplate, *, valid: npt.NDArray[np.bool_] | None = None
) -> RigidMatch:
    """Find the shift of one filtered frame.

    Parameters
    ----------
    filtered, valid
        From :func:`filter_frame`.
    template
        From :func:`prepare_rigid`.

    Returns
    -------
    RigidMatch
        ``peak`` is NaN if the frame shows nothing.

    Notes
    -----
    The correlation of noise with a template has many maxima of about the same height.  The
    shift is confident if its maximum exceeds the next one, 4 px or more away, by three times
    the scatter of the correlation there, and does not lie at the edge of the window: beyond it
    the correlation may rise further.  A window without room for a second maximum is trusted.
    A large shift is measured again (:func:`measure_again`).
    """
    match = correlate(filtered, template.correlator, valid=valid)
    clear = match.peak - match.second_peak > CLEAR_SIGMAS * match.background
    shift_px = match.shift_px
    if is_far(shift_px, filtered.shape):
        shift_px = measure_again(filtered, template, shift_px, valid=valid)
    return RigidMatch(
        shift_px,
        match.peak,
        match.second_peak,
        confident=bool(clear) and not match.at_edge,
        at_edge=match.at_edge,
        gain=match.gain,
    )


def is_far(shift_px: npt.NDArray[np.generic], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Tell which shifts, (..., 2), are large for the field."""
    return np.asarray((np.abs(shift_px) > FAR_SHARE * np.array(shape)).any(axis=-1))


def measure_again(
    filtered: Float32,
    template: RigidTemplate,
    shift_px: Float64,
    *,
    valid: npt.NDArray[np.bool_] | None = None,
) -> Float64:
    """Measure a large shift on the frame moved by whole pixels, nothing taken round the edges.

    Parameters
    ----------
    filtered, valid
        From :func:`filter_frame`.
    template
        From :func:`prepare_rigid`.
    shift_px : (2,)
        As found; the new one lies within 2.5 px, and in the window.

    Returns
    -------
    (2,) float64
    """
    whole = np.rint(shift_px).astype(np.int64)
    moved, shown = move_whole(filtered, valid, whole)
    found = whole + correlate(moved, template.near, valid=shown).shift_px
    limit = np.array(template.correlator.search.limit_px)
    return np.asarray(np.clip(found, -limit, limit), dtype=np.float64)


def move_whole(
    filtered: Float32, valid: npt.NDArray[np.bool_] | None, whole_px: npt.NDArray[np.int64]
) -> tuple[Float32, npt.NDArray[np.bool_]]:
    """Move a frame by whole pixels; 0 and not valid where nothing comes in."""
    moved, shown = np.zeros_like(filtered), np.zeros(filtered.shape, dtype=np.bool_)
    target, source = (
        tuple(slice(max(0, s), n + min(0, s)) for s, n in zip(shift, filtered.shape, strict=True))
        for shift in (whole_px, -whole_px)
    )
    moved[target] = filtered[source]
    shown[target] = True if valid is None else valid[source]
    return moved, shown


def is_sure(shifts: Judged) -> npt.NDArray[np.bool_]:
    """Tell which frames surely lie where their shift says.

    Parameters
    ----------
    shifts
        Of T frames.

    Returns
    -------
    (T,) bool
        True where the maximum stands out from its rivals, or is one that noise does not reach,
        and does not lie at the edge of the window.
    """
    high = shifts.peak > SURE_PEAK
    return np.asarray((shifts.confident | high) & ~shifts.at_edge, dtype=np.bool_)


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
    (:func:`clgkit.registration.spectrum.correlate`).  Shifts above a hundredth of the field are
    measured again on the frame moved by whole pixels.  An image fits itself at shift 0.
    """
    prepared = prepare_rigid(template, max_shift_px=max_shift_px, upsampling=upsampling)
    return register_rigid(frames, prepared)


def estimate_shifts(
    frames: Float32, template: Float32, *, max_shift_px: float = 15, upsampling: int = 50
) -> Shifts:
    """Find the shift that lays each filtered frame on the filtered template.

    Parameters
    ----------
    frames : (T, Y, X) float32
        Filtered and finite; their own mean should be near zero.
    template : (Y, X) float32
        Filtered alike.
    max_shift_px
        Larger displacements are not looked for, per axis.
    upsampling
        Shifts are multiples of ``1 / upsampling`` px.

    Returns
    -------
    Shifts
        ``shift_px`` (T, 2) float32 and ``peak`` (T,) float32.

    Raises
    ------
    ValueError
        If frames and template differ in shape.
    """
    if frames.ndim != 3 or frames.shape[1:] != template.shape:
        raise ValueError(
            f"frames {frames.shape} do not fit the template {template.shape}: "
            "expected (T, Y, X) and (Y, X)."
        )
    correlator = prepare_correlator(template, max_shift_px=max_shift_px, upsampling=upsampling)
    shift_px = np.zeros((len(frames), 2), dtype=np.float32)
    peak = np.zeros(len(frames), dtype=np.float32)
    for t, frame in enumerate(frames):
        match = correlate(frame, correlator)
        shift_px[t], peak[t] = match.shift_px, match.peak
    return Shifts(shift_px, peak)


def has_structure(image: npt.NDArray[np.generic]) -> bool:
    """Tell whether an image has two different finite values."""
    if image.dtype.kind not in "fc":
        return bool(image.min() != image.max())
    lowest = np.min(image, where=np.isfinite(image), initial=np.inf)
    return bool(lowest < np.max(image, where=np.isfinite(image), initial=-np.inf))


def finite_pixels(image: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_] | None:
    """Return the finite pixels, or None if all are."""
    if image.dtype.kind not in "fc":
        return None
    finite = np.isfinite(image)
    return None if finite.all() else finite


def without(image: npt.NDArray[np.generic], pixels: npt.NDArray[np.bool_]) -> Float32:
    """Return an image, (Y, X) float32, with NaN at some pixels."""
    if pixels.shape != image.shape:
        raise ValueError(f"bad pixels {pixels.shape} do not fit an image {image.shape}.")
    return np.where(pixels, np.float32(np.nan), image.astype(np.float32))
