"""Band-pass filters for estimating shifts; they never touch the data that are kept."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]

MOTION_BAND_PX = (1.0, 8.0)
"""Inner and outer sigma for frames of one channel against each other."""

BLOB_BAND_PX = (3.0, 9.0)
"""Inner and outer sigma that turn a ring around a dark nucleus into a blob."""

TRUNCATE = 4.0


def difference_of_gaussians(
    image: npt.NDArray[np.generic], *, band_px: tuple[float, float] = MOTION_BAND_PX
) -> Float32:
    """Keep structure between two sizes: Gaussian of the inner minus that of the outer sigma.

    Parameters
    ----------
    image : (Y, X)
        Intensity, any real dtype.  Pixels that are not finite have no weight: they are
        replaced by the mean of their finite neighbours before filtering and are zero
        in the result.
    band_px
        Inner and outer standard deviation in pixels.

    Returns
    -------
    (Y, X) float32
        Mean about zero; all zero if no pixel is finite or all finite ones are equal.

    Raises
    ------
    ValueError
        If `image` is not 2-D or the band is not ``0 < inner < outer``.

    Notes
    -----
    Edges are mirrored (the edge pixel is repeated) and kernels end at four sigma.
    Fields smaller than the kernel are mirrored as often as needed.
    """
    inner, outer = band_px
    if not 0 < inner < outer:
        raise ValueError(f"band_px must be (inner, outer) with 0 < inner < outer, found {band_px}.")
    if image.ndim != 2:
        raise ValueError(f"expected one image (Y, X), found an array of shape {image.shape}.")
    plain, valid = _center(image)
    if valid is not None:
        fill = smooth_valid(plain, valid, sigma_px=outer)
        plain = np.where(valid, plain, fill)
    out = np.empty_like(plain)
    _band_pass(plain, _half_kernel(inner), _half_kernel(outer), out)
    if valid is not None:
        out *= valid
    return out


def smooth(image: Float32, *, sigma_px: float) -> Float32:
    """Smooth a finite image with a Gaussian; edges are mirrored.

    Parameters
    ----------
    image : (Y, X) float32
        Finite.
    sigma_px
        Standard deviation in pixels; the kernel ends at four of them.

    Returns
    -------
    (Y, X) float32
    """
    kernel = _half_kernel(sigma_px)
    columns, out = np.empty_like(image), np.empty_like(image)
    _smooth_columns(image, kernel, columns)
    _smooth_rows(columns, kernel, out)
    return out


def smooth_valid(image: Float32, valid: npt.NDArray[np.bool_], *, sigma_px: float) -> Float32:
    """Give the Gaussian mean of the valid pixels around every pixel.

    Parameters
    ----------
    image : (Y, X) float32
        Finite; values where `valid` is false are ignored.
    valid : (Y, X) bool
        Pixels that count.
    sigma_px
        Standard deviation in pixels.

    Returns
    -------
    (Y, X) float32
        The mean of all valid pixels where none lies within the kernel; 0 if there are none.
    """
    if not valid.any():
        return np.zeros_like(image)
    weight = smooth(valid.astype(np.float32), sigma_px=sigma_px)
    total = smooth(np.where(valid, image, np.float32(0)), sigma_px=sigma_px)
    near = weight > 1e-6  # below this the quotient is rounding noise
    out = np.full_like(image, image[valid].mean(dtype=np.float64))
    np.divide(total, weight, out=out, where=near)
    return out


def soft_window(shape: tuple[int, int], *, margin_px: float) -> Float32:
    """Give weights that rise as a raised cosine from the edges to 1 over a margin.

    Parameters
    ----------
    shape
        (Y, X).
    margin_px
        Width of the rise in pixels, at most half the axis; 0 gives ones.

    Returns
    -------
    (Y, X) float32
        In (0, 1].
    """
    rows, columns = (_ramp(n, margin_px) for n in shape)
    return np.outer(rows, columns).astype(np.float32)


def _ramp(n: int, margin_px: float) -> npt.NDArray[np.float64]:
    margin = min(margin_px, n / 2)
    distance = np.minimum(np.arange(n), np.arange(n)[::-1]) + 0.5
    if margin <= 0:
        return np.ones(n)
    rise = np.clip(distance / margin, 0, 1)
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * rise), dtype=np.float64)


def _center(
    image: npt.NDArray[np.generic],
) -> tuple[Float32, npt.NDArray[np.bool_] | None]:
    """Subtract the mean of finite pixels, so that float32 keeps small structure on offsets."""
    values = np.ascontiguousarray(image, dtype=np.float32)
    total, count = _finite_sum(values)
    if count == 0:
        return np.zeros_like(values), np.zeros(values.shape, dtype=np.bool_)
    centered = values - np.float32(total / count)
    if count == values.size:
        return centered, None
    valid = np.isfinite(values)
    return np.where(valid, centered, np.float32(0)), valid


def _half_kernel(sigma_px: float) -> Float32:
    """Return the central weight and those to one side; the whole kernel sums to 1."""
    radius = int(TRUNCATE * sigma_px + 0.5)
    weights = np.exp(-0.5 * (np.arange(radius + 1) / sigma_px) ** 2)
    return np.asarray(weights / (2 * weights.sum() - weights[0]), dtype=np.float32)


@numba.njit(cache=True, nogil=True)
def _finite_sum(image: Float32) -> tuple[float, int]:
    total, count = 0.0, 0
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            if np.isfinite(image[y, x]):
                total += image[y, x]
                count += 1
    return total, count


@numba.njit(cache=True, nogil=True)
def _mirror(index: int, n: int) -> int:
    index %= 2 * n
    return index if index < n else 2 * n - 1 - index


@numba.njit(cache=True, nogil=True)
def _smooth_columns(image: Float32, kernel: Float32, out: Float32) -> None:
    """Filter along axis 0, whole rows at a time so that the inner loop is vectorised."""
    ny, nx = image.shape
    for y in range(ny):
        row, center = out[y], image[y]
        for x in range(nx):
            row[x] = kernel[0] * center[x]
        for k in range(1, kernel.size):
            above, below, weight = image[_mirror(y - k, ny)], image[_mirror(y + k, ny)], kernel[k]
            for x in range(nx):
                row[x] += weight * (above[x] + below[x])


@numba.njit(cache=True, nogil=True)
def _smooth_line(line: Float32, kernel: Float32, padded: Float32, out: Float32) -> None:
    n, radius = line.size, kernel.size - 1
    for x in range(radius):
        padded[x] = line[_mirror(x - radius, n)]
        padded[radius + n + x] = line[_mirror(n + x, n)]
    padded[radius : radius + n] = line
    center = padded[radius : radius + n]
    for x in range(n):
        out[x] = kernel[0] * center[x]
    for k in range(1, radius + 1):
        left, right, weight = padded[radius - k :], padded[radius + k :], kernel[k]
        for x in range(n):
            out[x] += weight * (left[x] + right[x])


@numba.njit(cache=True, nogil=True)
def _smooth_rows(image: Float32, kernel: Float32, out: Float32) -> None:
    padded = np.empty(image.shape[1] + 2 * (kernel.size - 1), dtype=np.float32)
    for y in range(image.shape[0]):
        _smooth_line(image[y], kernel, padded, out[y])


@numba.njit(cache=True, nogil=True)
def _band_pass(image: Float32, inner: Float32, outer: Float32, out: Float32) -> None:
    columns = np.empty_like(image)
    coarse = np.empty_like(image)
    _smooth_columns(image, outer, columns)
    _smooth_rows(columns, outer, coarse)
    _smooth_columns(image, inner, columns)
    _smooth_rows(columns, inner, out)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            out[y, x] -= coarse[y, x]
