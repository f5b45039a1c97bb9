"""Normalised stacks as 16-bit integers, by one map for all of them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Float32: TypeAlias = npt.NDArray[np.float32]
UInt16: TypeAlias = npt.NDArray[np.uint16]

ZERO = 32768  # the integer that stands for 0


class AffineMap(NamedTuple):
    """Says what an integer stands for: ``offset + gain * integer``."""

    offset: float
    gain: float

    def encode(self, normalized: npt.NDArray[Any]) -> UInt16:
        """Return the nearest integers.

        Raises
        ------
        ValueError
            If there are values that 0 … 65535 cannot stand for, NaN among them.
        """
        steps = np.rint((normalized.astype(np.float64) - self.offset) / self.gain)
        if not bool(((steps >= 0) & (steps <= 65535)).all()):
            raise ValueError(
                f"Values from {normalized.min():g} to {normalized.max():g} do not fit the map "
                f"from {self.offset:g} to {self.offset + 65535 * self.gain:g}."
            )
        return steps.astype(np.uint16)

    def decode(self, integers: npt.NDArray[np.uint16]) -> Float32:
        """Return what the integers stand for, to half a step (`gain`)."""
        return (self.offset + self.gain * integers.astype(np.float64)).astype(np.float32)


def affine_map(radius_px: tuple[int, int, int]) -> AffineMap:
    """Return a map that fits every normalised stack, whatever it shows.

    Parameters
    ----------
    radius_px
        Of the neighbourhood along z, y, x; 0 along z for planes.

    Returns
    -------
    AffineMap
        Zero is an integer of its own.  One step is 6.4e-4 for planes with a radius of 10.

    Notes
    -----
    One of n numbers lies at most ``sqrt(n - 1)`` standard deviations from their mean, and a floor
    only makes that less.  The map therefore needs no look at the stack, and is the same for all
    stacks with one window: their integers can be compared.
    """
    n_voxels = math.prod(2 * radius + 1 for radius in radius_px)
    gain = math.sqrt(n_voxels - 1) / (ZERO - 1)
    return AffineMap(-ZERO * gain, gain)
