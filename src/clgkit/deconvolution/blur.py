"""Blurring a plane as the microscope did, by circular convolution with widened edges."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import fft

from clgkit.deconvolution.psf import check_psf

__all__ = ["Blur", "check_plane"]

Float32: TypeAlias = npt.NDArray[np.float32]

MARGIN = 6  # the plane is widened by its smaller side over this, on every side


class Blur:
    """A kernel made ready for planes of one shape.

    Parameters
    ----------
    psf : (J, K)
        Odd sides; scaled to sum 1 here.
    plane_shape
        (Y, X) of the planes.

    Raises
    ------
    ValueError
        See `check_psf`; or if the kernel is larger than the widened plane.
    """

    def __init__(self, psf: npt.NDArray[np.generic], plane_shape: tuple[int, int]) -> None:
        kernel = check_psf(psf)
        self.margin = min(plane_shape) // MARGIN
        self.shape = (plane_shape[0] + 2 * self.margin, plane_shape[1] + 2 * self.margin)
        if any(map(int.__gt__, kernel.shape, self.shape)):
            raise ValueError(
                f"The PSF has shape {kernel.shape} and the planes {plane_shape}; cut it to their "
                "size."
            )
        canvas = np.zeros(self.shape)
        canvas[: kernel.shape[0], : kernel.shape[1]] = kernel
        peak = np.unravel_index(np.argmax(kernel), kernel.shape)
        canvas = np.roll(canvas, (-int(peak[0]), -int(peak[1])), (0, 1))
        self._transfer = fft.rfft2(canvas).astype(np.complex64)

    def widen(self, plane: npt.NDArray[np.generic]) -> Float32:
        """Return the plane with its edge pixels repeated outwards."""
        return np.pad(np.asarray(plane, np.float32), self.margin, mode="edge")

    def crop(self, widened: Float32) -> Float32:
        """Return the plane without what `widen` added."""
        m = self.margin
        return widened[m : self.shape[0] - m, m : self.shape[1] - m].copy()

    def __call__(self, widened: Float32) -> Float32:
        """Return K x."""
        spectrum = fft.rfft2(widened)
        spectrum *= self._transfer
        return np.asarray(fft.irfft2(spectrum, self.shape), np.float32)

    def adjoint(self, widened: Float32) -> Float32:
        """Return K* x."""
        spectrum = fft.rfft2(widened)
        spectrum *= self._transfer.conj()
        return np.asarray(fft.irfft2(spectrum, self.shape), np.float32)


def check_plane(plane: npt.NDArray[np.generic], iterations: int) -> None:
    """Raise a `ValueError` unless the plane is 2-D and finite, and iterations at least 0."""
    if plane.ndim != 2 or plane.size == 0:
        raise ValueError(f"The plane has shape {plane.shape}; two axes (y, x) are wanted.")
    if not np.isfinite(plane).all():
        raise ValueError("The plane holds NaN or infinity; replace them before deconvolution.")
    if iterations < 0:
        raise ValueError(f"iterations is {iterations}, but 0 or more are wanted.")
