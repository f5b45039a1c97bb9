"""Local contrast normalization of one plane."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numba
import numpy as np
import numpy.typing as npt

from clgkit.contrast.window import Window, check_plane, extremes, make_window

Float32: TypeAlias = npt.NDArray[np.float32]
UInt16: TypeAlias = npt.NDArray[np.uint16]


def normalize_contrast(
    plane: npt.NDArray[Any],
    *,
    radius_px: int = 10,
    floor: float = 5e-4,
    noise_sd: float | None = None,
    limits: tuple[float, float] | None = None,
    device: str = "cpu",
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
    noise_sd
        Standard deviation of the noise in the units of the plane.  If given, its square is
        added to the local variance instead of `floor`, and limits do not matter.
    limits
        Intensities that scale to 0 and 1; nothing is clipped.  None takes the
        minimum and maximum of the plane, as the original does.  One pair for a
        whole stack (`percentile_limits`) keeps its planes comparable.
    device
        ``"cpu"``, or a device of torch that has float64, such as ``"cuda"``; the results
        agree to 1e-5.

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
    ImportError
        If `device` is not the processor and torch is missing.

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
    pixels = check_plane(plane)
    own = extremes(pixels)
    window = make_window(pixels.dtype, (0, radius_px, radius_px), limits or own, floor, noise_sd)
    if window is None or own[0] == own[1]:
        return np.zeros(pixels.shape, np.float32)
    if device != "cpu":
        from clgkit.contrast import accelerated  # noqa: PLC0415  (needs torch)

        return accelerated.normalize_plane(pixels, window, device)
    out = np.empty(pixels.shape, np.float32)
    _normalize(pixels, window, out)
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
    pixels = check_plane(plane)
    radius = (0, radius_px, radius_px)
    window = make_window(pixels.dtype, radius, extremes(pixels), floor, None)
    out = np.zeros(pixels.shape, np.float64)
    if window is not None:
        _normalize(pixels, window, out)
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
    pixels = check_plane(normalized).astype(np.float64)
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


@numba.njit(cache=True, nogil=True)
def mirror(index: int, size: int) -> int:
    """Fold `index` into 0 … size - 1, repeating the edge, however far outside it lies."""
    index %= 2 * size
    return index if index < size else 2 * size - 1 - index


@numba.njit(cache=True, nogil=True)
def scaled(value: float, window: Window) -> float:
    """Return one pixel on the scale of the sums."""
    return min(max((value - window.low) * window.gain, -window.bound), window.bound)


@numba.njit(cache=True, nogil=True)
def _change(
    row: npt.NDArray[Any],
    sign: float,
    window: Window,
    sums: npt.NDArray[np.float64],
    squares: npt.NDArray[np.float64],
) -> None:
    """Add the pixels of a row to sums and squares, or take them away."""
    for x in range(row.size):
        value = scaled(row[x], window)
        sums[x] += sign * value
        squares[x] += sign * (value * value)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def compare_row(  # noqa: PLR0917  (a kernel takes no keywords)
    row: npt.NDArray[Any],
    sums: npt.NDArray[np.float64],
    squares: npt.NDArray[np.float64],
    share: float,
    window: Window,
    out: npt.NDArray[Any],
) -> None:
    """Set `out` to the row's pixels less their local mean, over the local deviation."""
    for x in range(row.size):
        local = sums[x] * share
        variance = max(squares[x] * share - local * local, 0.0)
        out[x] = (scaled(row[x], window) - local) / math.sqrt(variance + window.floor)


@numba.njit(cache=True, nogil=True)
def _normalize(pixels: npt.NDArray[Any], window: Window, out: npt.NDArray[Any]) -> None:
    """Slide column sums down the plane and a window along each row of them."""
    _, radius_y, radius_x = window.radius
    n_y, n_x = pixels.shape
    share = 1.0 / ((2 * radius_y + 1) * (2 * radius_x + 1))
    sums, squares = np.zeros(n_x), np.zeros(n_x)
    mean, square = np.empty(n_x), np.empty(n_x)
    step, step_square = np.empty(n_x), np.empty(n_x)
    for y in range(-radius_y, radius_y):
        _change(pixels[mirror(y, n_y)], 1.0, window, sums, squares)
    for y in range(n_y):
        _change(pixels[mirror(y + radius_y, n_y)], 1.0, window, sums, squares)
        slide(sums, radius_x, step, mean)
        slide(squares, radius_x, step_square, square)
        compare_row(pixels[y], mean, square, share, window, out[y])
        _change(pixels[mirror(y - radius_y, n_y)], -1.0, window, sums, squares)


@numba.njit(cache=True, nogil=True)
def slide(
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
        step[x] = columns[mirror(x + radius, size)] - columns[mirror(x - radius - 1, size)]
    for x in range(first, last):
        step[x] = columns[x + radius] - columns[x - radius - 1]
    for x in range(last, size):
        step[x] = columns[mirror(x + radius, size)] - columns[mirror(x - radius - 1, size)]
    total = 0.0
    for x in range(-radius, radius + 1):
        total += columns[mirror(x, size)]
    out[0] = total
    for x in range(1, size):
        total += step[x]
        out[x] = total
