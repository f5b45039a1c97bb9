"""Slowly varying background of a plane, as the authors of the sparse step estimate it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from clgkit.deconvolution.wavelet import coarse_matrices

__all__ = [
    "BACKGROUNDS",
    "Background",
    "background_coefficients",
    "clip_level",
    "estimate_background",
    "expand_background",
]

Float64: TypeAlias = npt.NDArray[np.float64]
Background: TypeAlias = Literal[
    "strong-high", "weak-high", "strong-low", "medium-low", "weak-low", "none"
]
BACKGROUNDS: tuple[Background, ...] = get_args(Background)
"""In the order of the original's options 1 to 6."""

DIVISORS = {"strong-high": 2.0, "weak-high": 2.5}
CLIPS = {"strong-low": 1.0, "medium-low": 2.0, "weak-low": 2.5}
ROUNDS = 3


def clip_level(planes: Iterable[npt.NDArray[np.generic]], background: Background) -> float | None:
    """Return what planes are clipped at before the estimate, or None if they are not.

    Parameters
    ----------
    planes
        All planes of the stack, (Y, X) each, or one array (Z, Y, X); read only if needed.
    background
        Which background.
    """
    if background not in CLIPS:
        return None
    total, count = 0.0, 0
    for plane in planes:
        total += float(np.sum(plane, dtype=np.float64))
        count += plane.size
    return total / max(count, 1) / CLIPS[background]


def background_coefficients(
    plane: npt.NDArray[np.generic], background: Background, *, clip: float | None = None
) -> Float64:
    """Return the few numbers that hold a plane's background.

    Parameters
    ----------
    plane : (Y, X)
        Intensity divided by the bright value of the stack: the method's square root needs values
        near 1.
    background
        ``"strong-high"`` and ``"weak-high"`` estimate it on a half and 2/5 of the plane;
        ``"strong-low"``, ``"medium-low"``, ``"weak-low"`` on a copy clipped at the stack's mean, a
        half or 2/5 of it.
    clip
        Of `clip_level`.

    Returns
    -------
    (J, K) float64
        For `expand_background`.

    Raises
    ------
    ValueError
        If the background is ``"none"`` or unknown, or its clip level is missing.
    """
    if background in DIVISORS:
        rest = np.asarray(plane, np.float64) / DIVISORS[background]
    elif background in CLIPS:
        if clip is None:
            raise ValueError(f"The background {background!r} needs the clip level of the stack.")
        rest = np.minimum(np.asarray(plane, np.float64), clip)
    else:
        raise ValueError(f"There is no background to estimate for {background!r}.")
    y, x = (coarse_matrices(n) for n in rest.shape)
    entered = rest
    for _ in range(ROUNDS):
        coarse = y.synthesis @ (y.analysis @ rest @ x.analysis.T) @ x.synthesis.T
        ceiling = coarse + np.sqrt(np.abs(rest)) / 2
        rest = np.where(entered > ceiling, ceiling, rest)
    return np.asarray(y.analysis @ rest @ x.analysis.T)


def expand_background(
    coefficients: Float64,
    shape: tuple[int, int],
    *,
    window: tuple[slice, slice] = (slice(None), slice(None)),
) -> Float64:
    """Return the background of a plane of this shape, or of a window of it."""
    y, x = (coarse_matrices(n).synthesis[w] for n, w in zip(shape, window, strict=True))
    return np.asarray(y @ coefficients @ x.T)


def estimate_background(
    plane: npt.NDArray[np.generic], background: Background, *, clip: float | None = None
) -> Float64:
    """Return the slowly varying background of a plane.

    Parameters
    ----------
    plane, background, clip
        As for `background_coefficients`; the plane is left as it is.

    Returns
    -------
    (Y, X) float64
        In the units of `plane`; zero for ``"none"``.

    Notes
    -----
    Three rounds: keep the coarse part of the plane (seven levels of the db6 wavelet), and lower
    what stands out by more than half the square root of its own value.  Source: the program of
    Zhao et al., Nat. Biotechnol. 40:606 (2022).  Departure: planes of any shape; the original pads
    wide planes to a square and gets tall ones wrong.
    """
    if background == "none":
        return np.zeros(plane.shape)
    found = background_coefficients(plane, background, clip=clip)
    return expand_background(found, (plane.shape[0], plane.shape[1]))
