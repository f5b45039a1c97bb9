"""Band-pass filters for estimating shifts; they never touch the data that are kept."""

from __future__ import annotations

import math

import numba
import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]

MOTION_BAND_PX = (1.0, 8.0)
"""Inner and outer sigma for frames of one channel against each other."""

BLOB_BAND_PX = (3.0, 9.0)
"""Inner and outer sigma that turn a ring around a dark nucleus into a blob."""

TRUNCATE = 4.0
BIN = 4
LEAST_COARSE_SIGMA_PX = 6.0


def _spline(distance: npt.NDArray[np.float64]) -> Float32:
    """Return the cubic B-spline at distances counted in bins."""
    d = np.abs(distance)
    value = np.where(d < 1, 4 - 6 * d**2 + 3 * d**3, np.maximum(2 - d, 0) ** 3) / 6
    return np.ascontiguousarray(value, dtype=np.float32)


BIN_WEIGHTS = _spline((np.arange(4 * BIN) - 2 * BIN + 0.5) / BIN) / np.float32(BIN)
"""How much the pixels from six before a bin to six behind it count in it."""

PLACE_WEIGHTS = _spline(
    np.array(
        [
            [(p + 0.5) / BIN - (0.5 + k - (1 if p >= BIN // 2 else 2)) for k in range(4)]
            for p in range(BIN)
        ]
    )
)
"""How much four bins count at each of the four places in a bin."""


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
    Edges are mirrored (the edge pixel is repeated) and kernels end at four sigma.  Fields
    smaller than the kernel are mirrored as often as needed.  If both sides are multiples of
    4 and the outer sigma is 6 px or more, that Gaussian is made on every fourth pixel,
    between cubic B-splines that belong to its variance: its kernel then deviates from a
    Gaussian by less than 0.2 % of its height.
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
    out = smooth(plain, sigma_px=inner)
    if outer < LEAST_COARSE_SIGMA_PX or any(n % BIN for n in plain.shape):
        out -= smooth(plain, sigma_px=outer)
    else:
        _subtract_smooth(plain, outer, out)
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


def _subtract_smooth(image: Float32, sigma_px: float, out: Float32) -> None:
    """Subtract the smooth image, made on bins, from `out`."""
    variance = sigma_px**2 - 2 * BIN**2 / 3  # of the splines there and back
    coarse = np.empty([-(-n // BIN) for n in image.shape], dtype=np.float32)
    _bin(image, BIN_WEIGHTS, coarse)
    coarse = smooth(coarse, sigma_px=math.sqrt(variance) / BIN)
    wide = np.empty((coarse.shape[0], image.shape[1]), dtype=np.float32)
    _widen(coarse, PLACE_WEIGHTS, wide)
    _subtract_coarse(wide, PLACE_WEIGHTS, out)


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
    with np.errstate(invalid="ignore", over="ignore"):  # infinities of both signs make NaN
        total = float(values.sum(dtype=np.float64))
    if math.isfinite(total):
        return values - np.float32(total / max(values.size, 1)), None
    valid = np.isfinite(values)
    if not valid.any():
        return np.zeros_like(values), valid
    mean = values[valid].mean(dtype=np.float64)
    return np.where(valid, values - np.float32(mean), np.float32(0)), valid


def _half_kernel(sigma_px: float) -> Float32:
    """Return the central weight and those to one side; the whole kernel sums to 1."""
    radius = int(TRUNCATE * sigma_px + 0.5)
    weights = np.exp(-0.5 * (np.arange(radius + 1) / sigma_px) ** 2)
    return np.asarray(weights / (2 * weights.sum() - weights[0]), dtype=np.float32)


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
def _bin(image: Float32, weights: Float32, out: Float32) -> None:
    """Fill `out` with weighted means about every fourth pixel along both axes."""
    ny, nx = image.shape
    reach = (weights.size - BIN) // 2
    line = np.empty(BIN * out.shape[1] + 2 * reach, dtype=np.float32)
    for y in range(out.shape[0]):
        line[:] = 0
        middle = line[reach : reach + nx]
        for k in range(0, weights.size, 4):
            first = BIN * y - reach + k
            a, b = image[_mirror(first, ny)], image[_mirror(first + 1, ny)]
            c, d = image[_mirror(first + 2, ny)], image[_mirror(first + 3, ny)]
            w = weights[k : k + 4]
            for x in range(nx):
                middle[x] += (w[0] * a[x] + w[1] * b[x]) + (w[2] * c[x] + w[3] * d[x])
        for x in range(reach):
            line[x] = middle[_mirror(x - reach, nx)]
        for x in range(reach + nx, line.size):
            line[x] = middle[_mirror(x - reach, nx)]
        for x in range(out.shape[1]):
            total = np.float32(0)
            for k in range(weights.size):
                total += weights[k] * line[BIN * x + k]
            out[y, x] = total


@numba.njit(cache=True, nogil=True)
def _widen(coarse: Float32, weights: Float32, out: Float32) -> None:
    """Fill `out` from bins along x; `weights` holds those of four bins at each place."""
    n = coarse.shape[1]
    padded = np.empty(n + 4, dtype=np.float32)
    for y in range(coarse.shape[0]):
        for x in range(-2, n + 2):
            padded[x + 2] = coarse[y, _mirror(x, n)]
        for x in range(out.shape[1]):
            i, place = x // BIN, x % BIN
            first = i + (1 if place >= BIN // 2 else 0)
            w = weights[place]
            out[y, x] = (w[0] * padded[first] + w[1] * padded[first + 1]) + (
                w[2] * padded[first + 2] + w[3] * padded[first + 3]
            )


@numba.njit(cache=True, nogil=True)
def _subtract_coarse(wide: Float32, weights: Float32, out: Float32) -> None:
    """Subtract from `out` what bins along y, already of full width, make of each row."""
    n = wide.shape[0]
    for y in range(out.shape[0]):
        i, place = y // BIN, y % BIN
        first = i - (1 if place >= BIN // 2 else 2)
        w, row = weights[place], out[y]
        a, b = wide[_mirror(first, n)], wide[_mirror(first + 1, n)]
        c, d = wide[_mirror(first + 2, n)], wide[_mirror(first + 3, n)]
        for x in range(row.size):
            row[x] -= (w[0] * a[x] + w[1] * b[x]) + (w[2] * c[x] + w[3] * d[x])
