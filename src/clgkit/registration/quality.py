"""Numbers that tell whether a registration helped and whether an image is an image."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]

NOISE_LEVEL = 0.2
"""A mean image whose neighbouring pixels correlate less than this is noise, not a sample."""


def correlation_to_template(
    frames: npt.NDArray[np.generic], template: npt.NDArray[np.generic]
) -> Float32:
    """Correlate every frame with the template, over the pixels finite in both.

    Parameters
    ----------
    frames : (T, Y, X)
        Any real dtype; shifted frames with NaN borders are meant.
    template : (Y, X)
        Mean image; NaN allowed.

    Returns
    -------
    (T,) float32
        Pearson correlation; NaN where a side is constant over the common pixels, but for what
        rounding in the dtype of the frames makes of it.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    if frames.ndim != 3 or frames.shape[1:] != template.shape:
        raise ValueError(
            f"frames {frames.shape} do not fit the template {template.shape}: "
            "expected (T, Y, X) and (Y, X)."
        )
    reference = np.ascontiguousarray(template, dtype=np.float64)
    least = _least_contrast(frames.dtype)
    out = np.empty(len(frames), dtype=np.float32)
    for t, frame in enumerate(frames):
        out[t] = _pearson(np.ascontiguousarray(frame, dtype=np.float64), reference, least)
    return out


def crispness(image: npt.NDArray[np.generic]) -> float:
    """Measure how much edge an image has: the norm of its gradient.

    Parameters
    ----------
    image : (Y, X)
        Mean image; NaN is left out.

    Returns
    -------
    float
        In the unit of the image.  Compare only images made by one interpolation: it
        rewards sharp interpolators and seams, and never judges a registration alone.

    Raises
    ------
    ValueError
        If an axis has fewer than two pixels.
    """
    if image.ndim != 2 or min(image.shape) < 2:
        raise ValueError(f"expected an image of at least 2 x 2 pixels, found {image.shape}.")
    values = np.asarray(image, dtype=np.float64)
    with np.errstate(invalid="ignore"):  # infinity minus infinity is left out below
        square = sum(np.square(gradient) for gradient in np.gradient(values))
    return float(np.sqrt(np.sum(square, where=np.isfinite(square))))


def neighbour_correlation(image: npt.NDArray[np.generic]) -> float:
    """Correlate every pixel with the next one along y and along x.

    Parameters
    ----------
    image : (..., Y, X)
        Mean image or volume; pairs lie within a plane.  NaN is left out.

    Returns
    -------
    float
        0 for white noise or a constant image, near 1 for a smooth one; below
        :data:`NOISE_LEVEL` a mean image is no image of a sample.

    Raises
    ------
    ValueError
        If the array has fewer than two axes.
    """
    if image.ndim < 2:
        raise ValueError(f"expected an image (Y, X), found an array of shape {image.shape}.")
    planes = np.asarray(image, dtype=np.float64).reshape(-1, *image.shape[-2:])
    first = np.concatenate([planes[:, :-1].ravel(), planes[:, :, :-1].ravel()])
    second = np.concatenate([planes[:, 1:].ravel(), planes[:, :, 1:].ravel()])
    least = _least_contrast(image.dtype)
    value = _pearson(first[np.newaxis], second[np.newaxis], least)
    return float(value) if np.isfinite(value) else 0.0


def _least_contrast(dtype: np.dtype[np.generic]) -> float:
    """Return the spread, relative to the mean, that interpolating a constant leaves."""
    if dtype.kind != "f" or dtype.itemsize >= 8:
        return 1e-12
    return 4 * float(np.finfo(np.dtype(dtype.str)).eps)


@numba.njit(cache=True, nogil=True)
def _pearson(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], least: float) -> float:
    ny, nx = a.shape
    n, mean_a, mean_b = 0, 0.0, 0.0
    for y in range(ny):
        for x in range(nx):
            if np.isfinite(a[y, x]) and np.isfinite(b[y, x]):
                n += 1
                mean_a += a[y, x]
                mean_b += b[y, x]
    if n == 0:
        return np.nan
    mean_a, mean_b = mean_a / n, mean_b / n
    aa, bb, ab = 0.0, 0.0, 0.0
    for y in range(ny):
        for x in range(nx):
            if np.isfinite(a[y, x]) and np.isfinite(b[y, x]):
                da, db = a[y, x] - mean_a, b[y, x] - mean_b
                aa += da * da
                bb += db * db
                ab += da * db
    if aa <= n * (least * mean_a) ** 2 or bb <= n * (1e-12 * mean_b) ** 2:
        return np.nan
    return float(ab / np.sqrt(aa * bb))
