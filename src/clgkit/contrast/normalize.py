"""Local contrast normalization of one plane."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeAlias

import numba
import numpy as np
import numpy.typing as npt

Float32: TypeAlias = npt.NDArray[np.float32]
UInt16: TypeAlias = npt.NDArray[np.uint16]

BOUND = 1e5  # of a scaled pixel: brighter ones would wipe out their neighbours in the sums
COMPILED = ("uint8", "uint16", "float32", "float64")  # other types travel as float64


class _Window(NamedTuple):
    """What the kernel must know: it sums ``(pixel - low) * gain`` over a square."""

    radius: int
    low: float
    gain: float
    floor: float
    bound: float
    """Larger magnitudes are cut."""


def normalize_contrast(
    plane: npt.NDArray[Any],
    *,
    radius_px: int = 10,
    floor: float = 5e-4,
    limits: tuple[float, float] | None = None,
) -> Float32:
    r"""Subtract the local mean and divide by the local standard deviation.

    Parameters
    ----------
    plane : (Y, X)
        Intensity, arbitrary units, any real dtype.
    radius_px
        The neighbourhood is a square of side ``2 * radius_px + 1`` pixels.
    floor
        Added to the local *variance* of the plane scaled to [0, 1]; above zero.
    limits
        Intensities that scale to 0 and 1; nothing is clipped.  None takes the
        minimum and maximum of the plane, as the original does.  One pair for a
        whole stack (`percentile_limits`) keeps its planes comparable.

    Returns
    -------
    (Y, X) float32
        Dimensionless; zero where the plane is constant or the limits are equal.

    Raises
    ------
    ValueError
        If `plane` is not 2-D, is empty or holds NaN or infinity, or if an option is
        out of range.
    TypeError
        If `plane` is not made of real numbers.

    Notes
    -----
    With :math:`g` the plane scaled to [0, 1], the result is
    :math:`(g - \mu) / \sqrt{\sigma^2 + \text{floor}}`.  Edges are mirrored, the edge
    pixel repeated.  The box means are running sums in float64, so the time does not
    depend on the radius; for 8- and 16-bit integers the sums are exact.  In other planes
    a pixel more than 10^5 times brighter than the range of the limits counts as one that
    is: it leaves at most about 1e-6 in the local variance of the pixels that follow it.

    Follows ``local_normalization.py`` of the CLG framework, with the window that its
    ``half_size`` sets; there ``--radius`` only sets a padding.  Unlike there, integer
    planes never wrap.
    """
    out = np.zeros(np.shape(plane), np.float32)
    _normalize_into(out, plane, radius_px, floor, limits)
    return out


def normalize_to_uint16(
    plane: npt.NDArray[Any],
    *,
    radius_px: int = 10,
    floor: float = 5e-4,
    low: float = 0.2,
    high: float = 99.8,
) -> UInt16:
    """Normalise a plane and stretch it to 0 … 65535, exactly as the original does.

    The same as ``to_uint16(normalize_contrast(plane))``, but without a rounding to
    float32 in between, which moves some pixels in a thousand by one count.

    Parameters
    ----------
    plane : (Y, X)
        Intensity, arbitrary units, any real dtype.
    radius_px, floor
        As in `normalize_contrast`; the plane is scaled by its own limits.
    low, high
        As in `to_uint16`.

    Returns
    -------
    (Y, X) uint16
        ``process_image(do_rescale=True)`` of the CLG script; zeros where the plane is
        constant.

    Raises
    ------
    ValueError, TypeError
        As `normalize_contrast` and `to_uint16`.
    """
    out = np.zeros(np.shape(plane), np.float64)
    _normalize_into(out, plane, radius_px, floor, None)
    return to_uint16(out, low=low, high=high)


def to_uint16(normalized: npt.NDArray[Any], *, low: float = 0.2, high: float = 99.8) -> UInt16:
    """Stretch a plane between two of its own percentiles to 0 … 65535.

    Parameters
    ----------
    normalized : (Y, X)
        A plane from `normalize_contrast`, or any real plane.
    low, high
        Percentiles that become 0 and 65535; what lies beyond is clipped.

    Returns
    -------
    (Y, X) uint16
        Truncated, not rounded; zeros where the two percentiles are equal (the
        original divides by zero there).

    Raises
    ------
    ValueError
        If `normalized` is not 2-D, is empty or holds NaN or infinity, or unless
        ``0 <= low < high <= 100``.

    Notes
    -----
    The ``do_rescale`` of the CLG script.  Every plane gets its own gain: values of
    two planes cannot be compared afterwards.  As there, rounding before the truncation
    may turn the brightest value into 65534.
    """
    pixels = _checked(normalized).astype(np.float64)
    if not 0 <= low < high <= 100:
        raise ValueError(f"low and high are {low} and {high}, but 0 <= low < high <= 100.")
    if not np.isfinite(pixels).all():
        raise ValueError("The plane holds NaN or infinity: replace these pixels first.")
    dark, bright = np.percentile(pixels, [low, high])
    if dark == bright:
        return np.zeros(pixels.shape, np.uint16)
    stretched: npt.NDArray[np.float64] = (
        (np.clip(pixels, dark, bright) - dark) * 65535 / (bright - dark)
    )
    return stretched.astype(np.uint16)


def _normalize_into(
    out: npt.NDArray[Any],
    plane: npt.NDArray[Any],
    radius_px: int,
    floor: float,
    limits: tuple[float, float] | None,
) -> None:
    """Check the plane and the options, and normalise into `out`, which holds zeros."""
    pixels = _checked(plane)
    if radius_px < 1:
        raise ValueError(f"radius_px is {radius_px}, but a neighbourhood needs 1 or more.")
    if not 0 < floor < math.inf:
        raise ValueError(f"floor is {floor}, but it must be finite and above zero.")
    darkest, brightest = float(pixels.min()), float(pixels.max())
    if not (math.isfinite(darkest) and math.isfinite(brightest)):
        raise ValueError("The plane holds NaN or infinity: replace these pixels first.")
    low, high = (darkest, brightest) if limits is None else map(float, limits)
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"limits are ({low}, {high}), but must be finite and ascending.")
    if darkest == brightest or low == high:
        return
    # Small integers are summed unscaled: the sums are then exact.
    exact = np.asarray(plane).dtype.kind in "iub" and np.asarray(plane).dtype.itemsize <= 2
    gain = 1.0 if exact else 1.0 / (high - low)
    if not 0 < gain < math.inf:
        raise ValueError(f"limits ({low}, {high}) are too close or too far apart to scale by.")
    bound = math.inf if exact else BOUND
    window = _Window(int(radius_px), low, gain, floor * ((high - low) * gain) ** 2, bound)
    _normalize(pixels, window, out)


def _checked(plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the plane as a native array of a dtype that the kernel is compiled for."""
    pixels = np.asarray(plane)
    if pixels.dtype.kind not in "biuf":
        raise TypeError(f"The plane is of type {pixels.dtype}, but real numbers are wanted.")
    if pixels.ndim != 2 or pixels.size == 0:
        raise ValueError(f"The plane has shape {pixels.shape}, but (Y, X) is wanted, not empty.")
    dtype = pixels.dtype.name if pixels.dtype.name in COMPILED else "float64"
    return np.ascontiguousarray(pixels, dtype=dtype)


@numba.njit(cache=True, nogil=True)
def _mirror(index: int, size: int) -> int:
    """Fold `index` into 0 … size - 1, repeating the edge, however far outside it lies."""
    index %= 2 * size
    return index if index < size else 2 * size - 1 - index


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _normalize(pixels: npt.NDArray[Any], window: _Window, out: npt.NDArray[Any]) -> None:
    """Slide column sums down the plane and a window along each row of them."""
    radius, low, gain, floor, bound = window
    n_y, n_x = pixels.shape
    side = 2 * radius + 1
    share = 1.0 / (side * side)
    sums, squares = np.zeros(n_x), np.zeros(n_x)
    mean, square = np.empty(n_x), np.empty(n_x)
    step, step_square = np.empty(n_x), np.empty(n_x)
    for y in range(-radius, radius):
        row = pixels[_mirror(y, n_y)]
        for x in range(n_x):
            value = min(max((row[x] - low) * gain, -bound), bound)
            sums[x] += value
            squares[x] += value * value
    for y in range(n_y):
        entering = pixels[_mirror(y + radius, n_y)]
        for x in range(n_x):
            value = min(max((entering[x] - low) * gain, -bound), bound)
            sums[x] += value
            squares[x] += value * value
        _slide(sums, radius, step, mean)
        _slide(squares, radius, step_square, square)
        row = pixels[y]
        for x in range(n_x):
            local = mean[x] * share
            variance = max(square[x] * share - local * local, 0.0)
            value = min(max((row[x] - low) * gain, -bound), bound)
            out[y, x] = (value - local) / math.sqrt(variance + floor)
        leaving = pixels[_mirror(y - radius, n_y)]
        for x in range(n_x):
            value = min(max((leaving[x] - low) * gain, -bound), bound)
            sums[x] -= value
            squares[x] -= value * value


@numba.njit(cache=True, nogil=True)
def _slide(
    columns: npt.NDArray[np.float64],
    radius: int,
    step: npt.NDArray[np.float64],
    out: npt.NDArray[np.float64],
) -> None:
    """Put the sum of `columns` over a mirrored window round each position into `out`."""
    size = columns.size
    first = min(radius + 1, size)
    last = max(size - radius, first)
    for x in range(1, first):
        step[x] = columns[_mirror(x + radius, size)] - columns[_mirror(x - radius - 1, size)]
    for x in range(first, last):
        step[x] = columns[x + radius] - columns[x - radius - 1]
    for x in range(last, size):
        step[x] = columns[_mirror(x + radius, size)] - columns[_mirror(x - radius - 1, size)]
    total = 0.0
    for x in range(-radius, radius + 1):
        total += columns[_mirror(x, size)]
    out[0] = total
    for x in range(1, size):
        total += step[x]
        out[x] = total
