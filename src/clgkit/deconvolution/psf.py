"""How the microscope spreads a point, in the plane."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import special

__all__ = [
    "airy_psf",
    "check_psf",
    "gaussian_psf",
    "original_half_width",
    "original_psf",
    "two_photon_fwhm_um",
]

Float64: TypeAlias = npt.NDArray[np.float64]
Pixel: TypeAlias = float | tuple[float, float]

TAIL = 1e-4  # share of the light that a computed kernel may cut off
WIDEST_PX = 64


def check_psf(
    psf: npt.NDArray[np.generic], *, plane_shape: tuple[int, int] | None = None
) -> Float64:
    """Return a measured point spread function with sum 1.

    Parameters
    ----------
    psf : (J, K)
        Odd sides, background removed, in pixels of the plane.
    plane_shape
        Of the planes that it is going to meet.

    Raises
    ------
    ValueError
        If it is not 2-D with odd sides, holds NaN, infinity or negative values, has no light, or
        is larger than the plane.
    """
    values = np.asarray(psf, np.float64)
    if values.ndim != 2 or values.size == 0:
        raise ValueError(
            f"The PSF has shape {values.shape}; planes are deconvolved, so give its slice in focus."
        )
    if not np.isfinite(values).all():
        n_bad = int(np.count_nonzero(~np.isfinite(values)))
        raise ValueError(f"The PSF holds {n_bad} NaN or infinite of {values.size} values.")
    if not all(n % 2 for n in values.shape):
        raise ValueError(
            f"The PSF has shape {values.shape}; odd sides are wanted, so that it has a middle."
        )
    if values.min() < 0:
        raise ValueError(
            f"The PSF has negative values, down to {values.min():g}; subtract its background and "
            "set them to 0."
        )
    if values.sum() <= 0:
        raise ValueError("The PSF sums to 0; there is no light in it.")
    if plane_shape is not None and any(map(int.__gt__, values.shape, plane_shape)):
        raise ValueError(
            f"The PSF has shape {values.shape} and the planes {plane_shape}; cut it to their size."
        )
    return np.asarray(values / values.sum())


def gaussian_psf(fwhm_um: float, *, pixel_um: Pixel, half_width_px: int = WIDEST_PX) -> Float64:
    """Return a Gaussian of the given full width at half maximum.

    Parameters
    ----------
    fwhm_um
        Micrometres.
    pixel_um
        Side of a pixel, one number or (y, x).
    half_width_px
        The kernel has at most ``2 * half_width_px + 1`` pixels a side; it ends before where less
        than 1e-4 of its light would be lost.

    Returns
    -------
    (2 m + 1, 2 m + 1) float64
        Sum 1.

    Raises
    ------
    ValueError
        If a length is not positive.
    """
    _need_positive(fwhm_um=fwhm_um)
    radius = _radius_um(half_width_px, pixel_um)
    return _trimmed(np.exp(-4 * math.log(2) * (radius / fwhm_um) ** 2))


def airy_psf(
    *, wavelength_um: float, na: float, pixel_um: Pixel, half_width_px: int = WIDEST_PX
) -> Float64:
    """Return the Airy pattern, FWHM 0.515 wavelengths / NA: a wide-field image in focus.

    Parameters
    ----------
    wavelength_um
        Of the emission.
    na
        Numerical aperture.
    pixel_um, half_width_px
        As for `gaussian_psf`.
    """
    _need_positive(wavelength_um=wavelength_um, na=na)
    v = 2 * math.pi * na / wavelength_um * _radius_um(half_width_px, pixel_um)
    safe = np.where(v == 0, 1, v)
    return _trimmed(np.where(v == 0, 1, 2 * special.j1(safe) / safe) ** 2)


def two_photon_fwhm_um(*, wavelength_um: float, na: float) -> float:
    """Return the lateral FWHM of two-photon excitation, for `gaussian_psf`.

    Parameters
    ----------
    wavelength_um
        Of the excitation; emission does not set the resolution here.
    na
        Numerical aperture that the beam fills.

    Notes
    -----
    Zipfel, Williams & Webb, Nat. Biotechnol. 21:1369 (2003): the squared intensity falls to 1/e
    within 0.320 wavelengths / (sqrt(2) NA), or 0.325 / (sqrt(2) NA^0.91) above NA 0.7.
    """
    _need_positive(wavelength_um=wavelength_um, na=na)
    radius = 0.320 / na if na <= 0.7 else 0.325 / na**0.91
    return 2 * math.sqrt(math.log(2)) * radius * wavelength_um / math.sqrt(2)


def original_psf(
    *, wavelength_um: float, na: float, pixel_um: Pixel, half_width_px: int
) -> Float64:
    """Return the kernel of the authors' program, FWHM 0.644 wavelengths / NA.

    Its pupil integral lacks the factor that makes a ring's share grow with its radius, so that it
    is 25 % wider than the Airy pattern.  For comparison with the original only; not cut.
    """
    _need_positive(wavelength_um=wavelength_um, na=na)
    v = 2 * math.pi * na / wavelength_um * _radius_um(half_width_px, pixel_um)
    safe = np.where(v == 0, 1, v)
    amplitude = np.where(v == 0, 1, special.itj0y0(safe)[0] / safe)
    return np.asarray(amplitude**2 / np.sum(amplitude**2))


def original_half_width(plane_shape: tuple[int, int]) -> int:
    """Return half the kernel's side in the authors' program, by the smaller side of the plane."""
    n = min(plane_shape)
    for low, high, half in ((17, 33, 8), (33, 65, 16), (65, 129, 32)):
        if low < n < high:
            return half
    return WIDEST_PX


def _need_positive(**numbers: float) -> None:
    for name, value in numbers.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} is {value}, but a positive number is wanted.")


def _radius_um(half_width_px: int, pixel_um: Pixel) -> Float64:
    y_um, x_um = pixel_um if isinstance(pixel_um, tuple) else (pixel_um, pixel_um)
    _need_positive(pixel_um=min(y_um, x_um))
    steps = np.arange(-half_width_px, half_width_px + 1)
    return np.asarray(np.hypot(steps[:, None] * y_um, steps * x_um))


def _trimmed(kernel: Float64) -> Float64:
    """Return the middle that holds all but 1e-4 of the light, scaled to sum 1."""
    middle = kernel.shape[0] // 2
    total = kernel.sum()
    for half in range(middle):
        inside = kernel[middle - half : middle + half + 1, middle - half : middle + half + 1]
        if inside.sum() >= (1 - TAIL) * total:
            return np.asarray(inside / inside.sum())
    return np.asarray(kernel / total)
