"""How the microscope spreads a point, in the plane."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage, special

__all__ = [
    "airy_psf",
    "check_psf",
    "gaussian_psf",
    "original_half_width",
    "original_psf",
    "psf_from_image",
    "two_photon_fwhm_um",
]

Float64: TypeAlias = npt.NDArray[np.float64]
Pixel: TypeAlias = float | tuple[float, float]

TAIL = 1e-4  # share of the light that a computed kernel may cut off
MEASURED_TAIL = 0.01  # the same of a measured one, whose far ends are noise
WIDEST_PX = 64
NOISES = 3.0  # a pixel of a measured kernel stands out by so many standard deviations
LEAST_SHARE = 0.75  # of a bead's light that a kernel must hold


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


def psf_from_image(
    image: npt.NDArray[np.generic],
    *,
    step_px: tuple[float, float] | None = None,
    half_width_px: int = WIDEST_PX,
) -> Float64:
    """Return the kernel that the image of one small bead shows.

    Parameters
    ----------
    image : (Z, Y, X) or (Y, X)
        A measured point spread function; of a stack the slice with the brightest pixel is in focus.
    step_px
        Size (y, x) of the pixels to be deconvolved, in pixels of `image`.  None where it is not
        known, or the same: nothing is resampled then, only moved by a part of a pixel.
    half_width_px
        Largest half width of the kernel.

    Returns
    -------
    (J, K) float64
        Odd sides, not negative, sum 1, the middle of the bead in the middle, also of an image with
        even sides.

    Raises
    ------
    ValueError
        If the image holds NaN or infinity, has no light, or more than one bead; if more than a
        quarter of the bead's light lies beyond the kernel; or if a step is not positive.

    Notes
    -----
    Background and noise are those of the rim of the slice: its median is subtracted, and what
    stands out by less than three standard deviations becomes 0.  The kernel ends where a
    hundredth of the light would be lost.
    """
    plane = _without_rim(_in_focus(image))
    if step_px is None:
        kernel = _centred(plane, half_width_px)
    else:
        _need_positive(step_px=min(step_px))
        kernel = _resampled(plane, step_px, half_width_px) * math.prod(step_px)
    share = kernel.sum() / plane.sum()
    if share < LEAST_SHARE:
        raise ValueError(
            f"The PSF has {1 - share:.0%} of its light beyond the largest kernel, "
            f"{kernel.shape[0]} x {kernel.shape[1]} pixels around its middle; give an image with a "
            "margin around one small bead."
        )
    return check_psf(_trimmed(kernel, tail=MEASURED_TAIL))


def _in_focus(image: npt.NDArray[np.generic]) -> Float64:
    values = np.asarray(image, np.float64)
    if values.ndim not in {2, 3} or values.size == 0:
        raise ValueError(f"The PSF has shape {values.shape}; axes (z, y, x) or (y, x) are wanted.")
    if not np.isfinite(values).all():
        n_bad = int(np.count_nonzero(~np.isfinite(values)))
        raise ValueError(f"The PSF holds {n_bad} NaN or infinite of {values.size} values.")
    if values.ndim == 2:
        return values
    return np.asarray(values[int(np.argmax(values.max(axis=(1, 2))))])


def _without_rim(plane: Float64) -> Float64:
    """Return what stands out of the rim; refuse it unless that is one bead."""
    rim = np.concatenate([plane[0], plane[-1], plane[:, 0], plane[:, -1]])
    level = float(np.median(rim))
    noise = 1.4826 * float(np.median(np.abs(rim - level)))
    light = plane - level
    light[light < NOISES * noise] = 0
    if light.max() <= 0:
        raise ValueError("The PSF has no light: nothing in its focal slice is above its rim.")
    _, n_beads = ndimage.label(light > light.max() / 2)
    if n_beads > 1:
        raise ValueError(
            f"The PSF shows {n_beads} separate bright spots in its focal slice; cut the image down "
            "to one bead."
        )
    return light


def _middle(plane: Float64) -> tuple[float, float]:
    """Return where the middle of a bead is, between pixels."""
    y, x = ndimage.center_of_mass(np.maximum(plane - plane.max() / 2, 0))
    return float(y), float(x)


def _centred(plane: Float64, half_width_px: int) -> Float64:
    """Return the pixels around a bead, moved by splines so that its middle is that of a pixel."""
    middle = _middle(plane)
    y, x = (round(place) for place in middle)
    moved = ndimage.shift(plane, (y - middle[0], x - middle[1]), order=3)
    sides = (min(y, plane.shape[0] - 1 - y), min(x, plane.shape[1] - 1 - x))
    half_y, half_x = (min(side, half_width_px) for side in sides)
    return np.maximum(moved[y - half_y : y + half_y + 1, x - half_x : x + half_x + 1], 0)


def _resampled(plane: Float64, step_px: tuple[float, float], half_width_px: int) -> Float64:
    """Return the plane on coarser or finer pixels around the middle of its bead.

    A pixel is the mean of three by three places in it.
    """
    lines = []
    for place, step, n in zip(_middle(plane), step_px, plane.shape, strict=True):
        room = min(place, n - 1 - place) / step - 0.5
        half = max(0, min(half_width_px, math.floor(room)))
        lines.append(place + step * np.arange(-3 * half - 1, 3 * half + 2) / 3)
    fine = ndimage.map_coordinates(plane, np.meshgrid(*lines, indexing="ij"), order=1)
    n_y, n_x = (len(line) // 3 for line in lines)
    return np.asarray(fine.reshape(n_y, 3, n_x, 3).mean(axis=(1, 3)))


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


def _trimmed(kernel: Float64, *, tail: float = TAIL) -> Float64:
    """Return the middle that holds all but `tail` of the light, scaled to sum 1."""
    middles = [n // 2 for n in kernel.shape]
    total = kernel.sum()
    for half in range(max(middles)):
        y, x = (slice(max(0, m - half), m + half + 1) for m in middles)
        inside = kernel[y, x]
        if inside.sum() >= (1 - tail) * total:
            return np.asarray(inside / inside.sum())
    return np.asarray(kernel / total)
