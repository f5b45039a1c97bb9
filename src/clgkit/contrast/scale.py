"""One brightness scale for a whole stack, found in one pass."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

LOWEST = -(1 << 15)  # of int16
N_INTEGERS = (1 << 16) - LOWEST  # int16 and uint16 share one histogram
DROPPED_BITS = 10  # of the 32 of a float32: sign, 8 of exponent and 13 of mantissa stay
SIGN = np.uint32(1 << 31)


class Limits(NamedTuple):
    """Two intensities, in the units of the planes."""

    low: float
    high: float


class StackLimits:
    """Counts the intensities of a stack plane by plane and tells their percentiles.

    Planes may come in any order and any portions: the counts, hence the limits, are
    the same.  8- and 16-bit integers are counted one by one (0.8 MB), and percentiles
    are exact.  Any other real dtype is counted in bins of float32 numbers that agree
    in sign, exponent and 13 bits of mantissa (34 MB): a percentile is then within
    2**-13 (1.3e-4) of the magnitude of the value itself.
    """

    def __init__(self) -> None:
        self.n_pixels = 0
        self._exact = True
        self._counts: npt.NDArray[np.int64] = np.zeros(0, np.int64)

    def add(self, plane: npt.NDArray[Any]) -> None:
        """Count the pixels of one plane, or of any array.

        Raises
        ------
        TypeError
            If the plane is not real, or is counted in another way than those before.
        ValueError
            If the plane holds NaN, or infinity within float32.
        """
        pixels = np.asarray(plane).ravel()
        dtype = pixels.dtype
        if dtype.kind not in "biuf":
            raise TypeError(f"The plane is of type {dtype}, but real numbers are wanted.")
        exact = dtype.kind in "biu" and dtype.itemsize <= 2
        if self.n_pixels and exact != self._exact:
            raise TypeError(f"A plane of type {dtype} cannot join the planes of another kind.")
        if not pixels.size:
            return
        self._exact = exact
        counts = _count_integers(pixels) if exact else _count_floats(pixels)
        self._counts = counts if not self._counts.size else self._counts + counts
        self.n_pixels += pixels.size

    def merge(self, other: StackLimits) -> None:
        """Take over the counts of `other`, for example from another worker."""
        if not other.n_pixels:
            return
        if self.n_pixels and other._exact != self._exact:
            raise TypeError("Integer and float planes cannot share one histogram.")
        self._exact = other._exact
        counts = other._counts
        self._counts = self._counts + counts if self._counts.size else counts.copy()
        self.n_pixels += other.n_pixels

    def limits(self, *, low: float = 0.2, high: float = 99.8) -> Limits:
        """Return the percentiles `low` and `high` of all pixels counted so far.

        Raises
        ------
        ValueError
            If nothing was counted, or unless ``0 <= low < high <= 100``.
        """
        if not 0 <= low < high <= 100:
            raise ValueError(f"low and high are {low} and {high}, but 0 <= low < high <= 100.")
        if not self.n_pixels:
            raise ValueError("No pixel was counted: percentiles need at least one plane.")
        upto = np.cumsum(self._counts)
        return Limits(self._percentile(upto, low), self._percentile(upto, high))

    def _percentile(self, upto: npt.NDArray[np.int64], percent: float) -> float:
        position = (self.n_pixels - 1) * percent / 100
        below = math.floor(position)
        value = self._element(upto, below)
        if position == below:
            return value
        return value + (self._element(upto, below + 1) - value) * (position - below)

    def _element(self, upto: npt.NDArray[np.int64], index: int) -> float:
        """Return the pixel at `index` of all pixels sorted; for floats, its bin's middle."""
        found = int(np.searchsorted(upto, index, side="right"))
        return float(found + LOWEST) if self._exact else _middle(found)


def percentile_limits(
    planes: Iterable[npt.NDArray[Any]], *, low: float = 0.2, high: float = 99.8
) -> Limits:
    """Find two percentiles of all pixels of a stack in one pass.

    Parameters
    ----------
    planes
        Planes (Y, X) of one stack, read one at a time; any real dtype.
    low, high
        Percentiles, 0 to 100.

    Returns
    -------
    Limits
        ``low`` and ``high``, the `limits` of `normalize_contrast`.  Equal to
        ``numpy.percentile`` of the whole stack for 8- and 16-bit integers; within
        2**-13 of the value for other types (see `StackLimits`).  They depend neither
        on the order of the planes nor on how the stack is cut.

    Raises
    ------
    ValueError
        If there is no pixel, a NaN or an infinity, or a percentile out of range.
    TypeError
        If the planes are not real, or integer and float planes are mixed.
    """
    counted = StackLimits()
    for plane in planes:
        counted.add(plane)
    return counted.limits(low=low, high=high)


def _count_integers(pixels: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    if pixels.dtype.kind == "i":
        return np.bincount(pixels.astype(np.int32) - LOWEST, minlength=N_INTEGERS)
    counts = np.zeros(N_INTEGERS, np.int64)
    counts[-LOWEST:] = np.bincount(pixels, minlength=N_INTEGERS + LOWEST)
    return counts


def _count_floats(pixels: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    with np.errstate(over="ignore"):  # what overflows float32 is reported below
        values = pixels.astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError("The plane holds NaN, infinity or numbers beyond float32.")
    bits = values.view(np.uint32)
    # As unsigned integers these keys are ordered like the numbers.
    keys = np.where(bits & SIGN, ~bits, bits | SIGN) >> DROPPED_BITS
    return np.bincount(keys, minlength=1 << (32 - DROPPED_BITS))


def _middle(key: int) -> float:
    """Return the number in the middle of the bin `key` of `_count_floats`."""
    bits = (key << DROPPED_BITS) + (1 << (DROPPED_BITS - 1))
    if bits >> 31:
        return float(np.uint32(bits ^ int(SIGN)).view(np.float32))
    return float(np.uint32(bits ^ 0xFFFFFFFF).view(np.float32))
