"""Landweber deconvolution of planes, with momentum."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from clgkit.deconvolution.blur import Blur, check_plane

__all__ = ["landweber"]

Float32: TypeAlias = npt.NDArray[np.float32]

FLOOR = np.float32(1e-6)


def landweber(
    plane: npt.NDArray[np.generic],
    psf: npt.NDArray[np.generic] | Blur,
    *,
    iterations: int = 40,
) -> Float32:
    """Return the plane as sharp as a least-squares ascent makes it.

    Parameters
    ----------
    plane, psf
        As for `richardson_lucy`.
    iterations
        30 to 50 are usual.  0 and 1 return the plane.

    Returns
    -------
    (Y, X) float32
        At least 1e-6 (from two iterations on), in the units of `plane`.

    Raises
    ------
    ValueError
        If the plane is not 2-D or holds NaN or infinity, or the kernel does not fit.

    Notes
    -----
    The momentum follows the program of Zhao et al., Nat. Biotechnol. 40:606 (2022), misplaced
    factor one half included, so that results agree with it.  There, too, the first iteration only
    prepares the momentum.
    """
    check_plane(plane, iterations)
    if iterations <= 1:
        return np.asarray(plane, np.float32).copy()
    blur = psf if isinstance(psf, Blur) else Blur(psf, (plane.shape[0], plane.shape[1]))
    data = blur.widen(plane)
    before = data
    x = data + blur.adjoint(data - blur(data))
    gamma = 1.0
    for _ in range(iterations - 1):
        new = 0.5 * math.sqrt(4 * gamma**2 + gamma**4) - gamma**2
        momentum = np.float32(-new * (1 - 1 / gamma))
        z = x + momentum * (x - before)
        y = np.fmax(z + blur.adjoint(data - blur(z)), FLOOR)
        before, x, gamma = x, y, new
    return blur.crop(x)
