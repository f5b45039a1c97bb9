"""Where a frame lies that does not fit the template inside the window."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import fft

from clgkit.registration.rigid import (
    CLEAR_SIGMAS,
    RigidMatch,
    RigidShifts,
    RigidTemplate,
    filter_frame,
    has_structure,
    move_whole,
)
from clgkit.registration.spectrum import RIVAL_PX, Correlator, correlate

Float32 = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


def look_farther(
    frames: npt.NDArray[np.generic], template: RigidTemplate, *, line_offset_px: float = 0.0
) -> RigidShifts:
    """Find the shift of every frame to a template, up to half the field.

    Parameters
    ----------
    frames : (T, Y, X)
        Any real dtype; pixels that are not finite have no weight.
    template
        From :func:`~clgkit.registration.rigid.prepare_rigid`; its window does not count.
    line_offset_px
        Of odd rows; undone first.

    Returns
    -------
    RigidShifts
        ``at_edge`` is false throughout.  ``peak`` is smaller by the part of the frame that
        leaves the field.

    Notes
    -----
    The correlation at all whole-pixel shifts comes from one transform of the field.  A maximum
    counts as confident if it exceeds the next, 4 px or more away, by three times the scatter
    there: of noise it practically never does.  The frame is then moved by whole pixels, and the
    rest of the shift is found as in :func:`~clgkit.registration.rigid.register_rigid`.
    """
    n = len(frames)
    shift_px = np.zeros((n, 2), dtype=np.float32)
    peak, second_peak = np.zeros((2, n), dtype=np.float32)
    registered, confident, at_edge = np.zeros((3, n), dtype=np.bool_)
    near = template.near
    spectrum = fft.rfft2(template.image * near.weight)
    for t, frame in enumerate(frames):
        if not has_structure(frame):
            continue
        filtered, valid = filter_frame(frame, template, line_offset_px=line_offset_px)
        norm = math.sqrt(_energy(filtered, near) * near.energy)
        if norm > 0:
            values = fft.irfft2(np.conjugate(fft.rfft2(filtered)) * spectrum, s=filtered.shape)
            found = _find(filtered, valid, np.asarray(values / norm, dtype=np.float32), near)
            shift_px[t], peak[t], second_peak[t], confident[t], at_edge[t], _ = found
            registered[t] = True
    return RigidShifts(shift_px, peak, registered, second_peak, confident, at_edge)


def _find(filtered: Float32, valid: Mask | None, values: Float32, near: Correlator) -> RigidMatch:
    """Return the shift of a frame, given its correlation at every whole shift, (Y, X)."""
    at = np.unravel_index(values.argmax(), values.shape)
    distance = [np.abs(np.arange(n) - i) for i, n in zip(at, values.shape, strict=True)]
    far = [np.minimum(d, n - d) >= RIVAL_PX for d, n in zip(distance, values.shape, strict=True)]
    others = values[np.logical_or.outer(*far)]
    second, scatter = (float(others.max()), float(others.std())) if others.size else (-1.0, 0.0)
    half = np.array(values.shape) // 2
    whole = (np.array(at) + half) % values.shape - half
    moved, shown = move_whole(filtered, valid, whole)
    match = correlate(moved, near, valid=shown)
    return RigidMatch(
        whole + match.shift_px,
        float(np.nan_to_num(match.peak)),
        second,
        confident=bool(values[at] - second > CLEAR_SIGMAS * scatter),
        at_edge=False,
        gain=match.gain,
    )


def _energy(image: Float32, near: Correlator) -> float:
    return float(np.vdot(image * image, near.weight))
