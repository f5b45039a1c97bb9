"""The sparse step and the sharpening of planes, on the processor or on a device of torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from clgkit.deconvolution.sparse import SparseHessian

if TYPE_CHECKING:
    from clgkit.deconvolution.deblur import Deblur

__all__ = ["deblur_planes", "denoise_scaled"]

Float32: TypeAlias = npt.NDArray[np.float32]


def denoise_scaled(
    scaled: Float32,
    method: Callable[[Float32], npt.NDArray[np.floating]],
    *,
    device: str = "cpu",
) -> npt.NDArray[np.floating]:
    """Return the denoised stack or tile.

    Parameters
    ----------
    scaled : (Z, Y, X)
        As for `SparseHessian`.
    method
        `SparseHessian`; another function runs on the processor in any case.
    device
        ``"cpu"``, or a device as torch names it, such as ``"cuda"``; the results agree to 1e-5 of
        the maximum.

    Raises
    ------
    ValueError
        As the method does.
    ImportError
        If `device` is not the processor and torch is missing.
    """
    if device == "cpu" or not isinstance(method, SparseHessian):
        return method(scaled)
    from clgkit.deconvolution import accelerated  # noqa: PLC0415  (needs torch)

    return accelerated.sparse_hessian(scaled, method, device)


def deblur_planes(
    planes: npt.NDArray[np.generic], deblur: Deblur, *, device: str = "cpu"
) -> Float32:
    """Return the planes, each deconvolved by itself.

    Parameters
    ----------
    planes : (Z, Y, X)
        As for `Deblur`.
    deblur
        Kernel, rule and number of iterations.
    device
        As for `denoise_scaled`.

    Raises
    ------
    ValueError
        As `Deblur` does.
    ImportError
        If `device` is not the processor and torch is missing.
    """
    if device == "cpu":
        return deblur(planes)
    from clgkit.deconvolution import accelerated  # noqa: PLC0415  (needs torch)

    return accelerated.deblur_planes(planes, deblur, device)
