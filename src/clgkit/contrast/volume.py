"""Local contrast normalization of a stack in a window that has depth."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numba
import numpy as np
import numpy.typing as npt

from clgkit.contrast.normalize import compare_row, mirror, scaled, slide
from clgkit.contrast.window import Window, check_plane, extremes, make_window

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Float32: TypeAlias = npt.NDArray[np.float32]
Float64: TypeAlias = npt.NDArray[np.float64]

UNKNOWN = sys.maxsize // 4  # number of slices, before the last one was seen


def normalize_slices(
    slices: Iterable[npt.NDArray[Any]],
    *,
    radius_px: tuple[int, int, int],
    limits: tuple[float, float],
    floor: float = 5e-4,
    noise_sd: float | None = None,
    device: str = "cpu",
) -> Iterator[Float32]:
    """Yield the slices of a stack, each compared with what lies around it, above and below too.

    Parameters
    ----------
    slices
        (Y, X) each, all of one shape and type, in the order of the stack.  They are read as
        they are needed; ``2 * radius + 1`` of them are kept, radius that along z.
    radius_px
        Of the neighbourhood along z, y, x: a box with sides ``2 * radius + 1``.  0 along z
        looks at single slices.
    limits
        Intensities of the stack that scale to 0 and 1; nothing is clipped.
    floor, noise_sd, device
        As in `normalize_contrast`.

    Yields
    ------
    (Y, X) float32
        Dimensionless, one for each slice; zero where the limits are equal or a window's slices
        are constant.

    Raises
    ------
    ValueError, TypeError, ImportError
        As `normalize_contrast`, or if the slices differ in shape or type.

    Notes
    -----
    The formula of `normalize_contrast`, and its mirrored edges also at the first and the last
    slice.  Sums run along z as well, so the time does not depend on the radius; for 8- and
    16-bit integers they are exact.  A part of a stack gives the same as the whole, to 1e-6,
    where its ends are as far away as the radius.  Not part of the CLG script.
    """
    make_window(np.dtype(np.uint8), radius_px, limits, floor, noise_sd)  # errors come at once
    return _Stream(slices, radius_px, device).run(limits, floor, noise_sd)


def normalize_volume(
    stack: npt.NDArray[Any],
    *,
    radius_px: tuple[int, int, int],
    floor: float = 5e-4,
    noise_sd: float | None = None,
    limits: tuple[float, float] | None = None,
    device: str = "cpu",
) -> Float32:
    """Subtract the mean of a box around every voxel and divide by the standard deviation there.

    Parameters
    ----------
    stack : (Z, Y, X)
        Intensity, arbitrary units, any real dtype.
    radius_px, floor, noise_sd, device
        As in `normalize_slices`.
    limits
        Intensities that scale to 0 and 1; None takes the extremes of the stack.

    Returns
    -------
    (Z, Y, X) float32
        Dimensionless.

    Raises
    ------
    ValueError, TypeError, ImportError
        As `normalize_slices`, or if the stack is not 3-D.
    """
    pixels = np.asarray(stack)
    if pixels.ndim != 3 or pixels.size == 0:
        raise ValueError(f"The stack has shape {pixels.shape}; (Z, Y, X) is wanted, not empty.")
    if limits is None:
        ends = [extremes(check_plane(plane)) for plane in pixels]
        limits = (min(low for low, _ in ends), max(high for _, high in ends))
    made = normalize_slices(
        pixels,
        radius_px=radius_px,
        limits=limits,
        floor=floor,
        noise_sd=noise_sd,
        device=device,
    )
    return np.stack(list(made))


class Sums(Protocol):
    """Sums along z of a window's slices, on the processor or on another device."""

    def load(self, pixels: npt.NDArray[Any]) -> Any:
        """Bring a slice there."""
        ...

    def change(self, loaded: Any, sign: int) -> None:
        """Add a slice to the sums, or take it away."""
        ...

    def compare(self, loaded: Any) -> Float32:
        """Return a slice less its local mean, over its local deviation."""
        ...


class _Slice:
    """A slice that a window still needs."""

    def __init__(self, pixels: npt.NDArray[Any], sums: Sums | None) -> None:
        self.low, self.high = extremes(pixels)
        self.loaded = None if sums is None else sums.load(pixels)


class _Stream:
    """Slices on their way through a window."""

    def __init__(
        self, slices: Iterable[npt.NDArray[Any]], radius_px: tuple[int, int, int], device: str
    ) -> None:
        self.radius_px, self.device = radius_px, device
        self._source = iter(slices)
        self._kept: dict[int, _Slice] = {}
        self._n_read, self._n = 0, UNKNOWN
        self._sums: Sums | None = None

    def run(
        self, limits: tuple[float, float], floor: float, noise_sd: float | None
    ) -> Iterator[Float32]:
        """Yield the normalised slices."""
        first = next(self._source, None)
        if first is None:
            return
        pixels = check_plane(first)
        window = make_window(pixels.dtype, self.radius_px, limits, floor, noise_sd)
        if window is not None:
            self._sums = sums_on(self.device, pixels.shape, window)
        self._look = (pixels.shape, pixels.dtype)
        self._keep(pixels)
        radius, z = self.radius_px[0], 0
        self._read_to(radius)
        for near in range(-radius, radius):
            self._change(near, 1)
        while z < self._n:
            self._read_to(z + radius)
            if z >= self._n:
                return
            self._change(z + radius, 1)
            yield self._compared(z, pixels.shape)
            self._change(z - radius, -1)
            self._kept.pop(z - radius, None)
            z += 1

    def _read_to(self, z: int) -> None:
        while self._n_read <= z and self._n == UNKNOWN:
            found = next(self._source, None)
            if found is None:
                self._n = self._n_read
                return
            pixels = check_plane(found)
            if (pixels.shape, pixels.dtype) != self._look:
                raise ValueError(
                    f"Slice {self._n_read} is {pixels.dtype} of shape {pixels.shape}, those before "
                    f"are {self._look[1]} of {self._look[0]}; all must be alike."
                )
            self._keep(pixels)

    def _keep(self, pixels: npt.NDArray[Any]) -> None:
        self._kept[self._n_read] = _Slice(pixels, self._sums)
        self._n_read += 1

    def _change(self, z: int, sign: int) -> None:
        if self._sums is not None:
            self._sums.change(self._kept[mirror(z, self._n)].loaded, sign)

    def _compared(self, z: int, shape: tuple[int, ...]) -> Float32:
        near = self._kept.values()
        low, high = min(kept.low for kept in near), max(kept.high for kept in near)
        if self._sums is None or low == high:
            return np.zeros(shape, np.float32)
        return self._sums.compare(self._kept[z].loaded)


def sums_on(device: str, shape: tuple[int, ...], window: Window) -> Sums:
    """Return empty sums for slices of this shape."""
    if device != "cpu":
        from clgkit.contrast import accelerated  # noqa: PLC0415  (needs torch)

        return accelerated.DeviceSums(shape, window, device)
    return _ProcessorSums(shape, window)


class _ProcessorSums:
    def __init__(self, shape: tuple[int, ...], window: Window) -> None:
        self.window = window
        self._sums, self._squares = np.zeros(shape), np.zeros(shape)

    def load(self, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return pixels

    def change(self, loaded: npt.NDArray[Any], sign: int) -> None:
        _change_plane(loaded, float(sign), self.window, self._sums, self._squares)

    def compare(self, loaded: npt.NDArray[Any]) -> Float32:
        out = np.empty(loaded.shape, np.float32)
        _compare_plane(loaded, self._sums, self._squares, self.window, out)
        return out


@numba.njit(cache=True, nogil=True)
def _change_plane(
    pixels: npt.NDArray[Any], sign: float, window: Window, sums: Float64, squares: Float64
) -> None:
    for y in range(pixels.shape[0]):
        for x in range(pixels.shape[1]):
            value = scaled(pixels[y, x], window)
            sums[y, x] += sign * value
            squares[y, x] += sign * (value * value)


@numba.njit(cache=True, nogil=True)
def _add_row(row: Float64, sign: float, columns: Float64) -> None:
    for x in range(row.size):
        columns[x] += sign * row[x]


@numba.njit(cache=True, nogil=True)
def _compare_plane(
    pixels: npt.NDArray[Any], sums: Float64, squares: Float64, window: Window, out: Float32
) -> None:
    """Do as `_normalize` does with a plane, from sums along z instead of pixels."""
    radius_z, radius_y, radius_x = window.radius
    n_y, n_x = pixels.shape
    share = 1.0 / ((2 * radius_z + 1) * (2 * radius_y + 1) * (2 * radius_x + 1))
    column, column_square = np.zeros(n_x), np.zeros(n_x)
    mean, square = np.empty(n_x), np.empty(n_x)
    step, step_square = np.empty(n_x), np.empty(n_x)
    for y in range(-radius_y, radius_y):
        _add_row(sums[mirror(y, n_y)], 1.0, column)
        _add_row(squares[mirror(y, n_y)], 1.0, column_square)
    for y in range(n_y):
        entering, leaving = mirror(y + radius_y, n_y), mirror(y - radius_y, n_y)
        _add_row(sums[entering], 1.0, column)
        _add_row(squares[entering], 1.0, column_square)
        slide(column, radius_x, step, mean)
        slide(column_square, radius_x, step_square, square)
        compare_row(pixels[y], mean, square, share, window, out[y])
        _add_row(sums[leaving], -1.0, column)
        _add_row(squares[leaving], -1.0, column_square)
