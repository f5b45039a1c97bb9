"""The authors' whole procedure, oddities included, for comparison with published images."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from clgkit.deconvolution.background import Background, clip_level, estimate_background
from clgkit.deconvolution.oversampling import Oversampling, median_2x2, oversample
from clgkit.deconvolution.sparse import SparseHessian
from clgkit.deconvolution.volume import check_stack

if TYPE_CHECKING:
    from clgkit.deconvolution.deblur import Deblur

__all__ = ["deconvolve_original"]

Float32: TypeAlias = npt.NDArray[np.float32]
FEWEST_PLANES = 3
MIRRORED_PLANES = 2


def deconvolve_original(
    stack: npt.NDArray[np.generic],
    method: SparseHessian | None = None,
    deblur: Deblur | None = None,
    *,
    background: Background = "none",
    oversampling: Oversampling = "none",
    filtered: bool = True,
) -> Float32:
    """Return the stack as the program of Zhao et al. makes it.

    Parameters
    ----------
    stack : (Z, Y, X)
        Not negative.  All of it is held in memory ten times over.
    method
        Sparse step.
    deblur
        Deconvolution of each plane; None leaves it out.
    background
        Subtracted before.
    oversampling
        ``"zeros"`` sets a sample to every second pixel and 0 between, ``"fourier"`` interpolates;
        both double the planes' sides.
    filtered
        Whether the last step takes 2 x 2 medians, as the program does in 3-D.

    Returns
    -------
    (Z, Y, X) float32
        Scaled so that its maximum is that of `stack`; Y and X doubled if oversampled.

    Raises
    ------
    ValueError
        If the stack is not 3-D, or holds negative values, NaN or infinity.

    Notes
    -----
    Source: Zhao et al., Nat. Biotechnol. 40:606 (2022), and descriptions of their program, version
    1.0.3.  Scales are maxima, so one hot pixel dims all; only the front of the stack is mirrored,
    by two planes; the median moves the image by half a pixel.  Departures: tall planes get the
    background of their own shape, where the original mixes up coefficients; a stack of zeros gives
    zeros.
    """
    if stack.ndim != 3:
        raise ValueError(f"The stack has shape {stack.shape}; three axes (z, y, x) are wanted.")
    check_stack(stack)
    planes = stack.astype(np.float32)
    constant = np.float32(planes.max())
    if constant == 0 and oversampling == "none":
        return planes
    n = len(planes)
    if n < FEWEST_PLANES:
        planes = np.concatenate([planes, np.repeat(planes[-1:], FEWEST_PLANES - n, axis=0)])
    planes = _unit(_without_background(_unit(planes), background))
    kept = len(planes)
    front = MIRRORED_PLANES if kept > FEWEST_PLANES else 0
    planes = np.concatenate([planes[front:0:-1], planes])
    planes = np.stack([oversample(plane, oversampling) for plane in planes])
    planes = _unit((method or SparseHessian())(planes)[front : front + n])
    if deblur is not None:
        planes = _unit(deblur(planes))
    if filtered or oversampling == "zeros":
        planes = _unit(np.stack([median_2x2(plane) for plane in planes]))
    return planes * constant


def _unit(planes: Float32) -> Float32:
    highest = np.float32(planes.max())
    return planes / highest if highest > 0 else planes


def _without_background(planes: Float32, background: Background) -> Float32:
    if background == "none":
        return planes
    clip = clip_level(planes, background)
    wide = max(0, planes.shape[2] - planes.shape[1])
    made = np.empty_like(planes)
    for plane, out in zip(planes, made, strict=True):
        square = np.pad(plane, ((0, wide), (0, 0)), mode="symmetric")
        found = estimate_background(square, background, clip=clip)[: plane.shape[0]]
        out[...] = np.maximum(plane - found, 0)
    return made
