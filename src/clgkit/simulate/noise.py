"""Noise that is a function of its place: hashed texture, photons and read noise."""

from __future__ import annotations

from math import lgamma
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
UInt16 = npt.NDArray[np.uint16]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FEW_PHOTONS = 30.0
"""Below this mean, inversion is faster than rejection."""
_RECIPROCALS = 1.0 / np.maximum(np.arange(201, dtype=np.float64), 1.0)


class Sensor(NamedTuple):
    """How photons become counts."""

    gain: float
    """Counts per photon."""
    offset: float
    """Counts without light."""
    read_noise: float
    """Standard deviation of the electronic noise, counts."""


@njit(cache=True, nogil=True)
def _mix(x: np.uint64) -> np.uint64:
    """Finaliser of the SplitMix64 generator (Steele, Lea & Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@njit(cache=True, nogil=True)
def _uniform(state: np.uint64, draw: int) -> float:
    """Give number `draw` of a stream, in (0, 1)."""
    bits = _mix(state + np.uint64(draw) * GOLDEN) >> np.uint64(11)
    return (float(bits) + 0.5) * (1.0 / 9007199254740992.0)


@njit(cache=True, nogil=True)
def _knot(z: int, y: int, x: int, key: np.uint64) -> float:
    state = _mix(key + np.uint64(z) * GOLDEN)
    state = _mix(state + np.uint64(y) * GOLDEN)
    return 2.0 * _uniform(state, x) - 1.0


@njit(cache=True, nogil=True)
def lattice_noise(z: float, y: float, x: float, key: np.uint64) -> float:
    """Smooth noise in [-1, 1] at one place: random knots at whole numbers, linear between."""
    k, i, j = int(np.floor(z)), int(np.floor(y)), int(np.floor(x))
    fz, fy, fx = z - k, y - i, x - j
    total = 0.0
    for dz in range(2):
        wz = fz if dz else 1.0 - fz
        for dy in range(2):
            wy = wz * (fy if dy else 1.0 - fy)
            left = _knot(k + dz, i + dy, j, key)
            total += wy * (left + fx * (_knot(k + dz, i + dy, j + 1, key) - left))
    return total


@njit(cache=True, nogil=True)
def _few(mean: float, uniform: float) -> int:
    """Poisson number by inversion: walk up the distribution."""
    weight = np.exp(-mean)
    total = weight
    count = 0
    while uniform > total and count < 200:
        count += 1
        weight *= mean * _RECIPROCALS[count]
        total += weight
    return count


@njit(cache=True, nogil=True)
def _many(mean: float, state: np.uint64) -> int:
    """Poisson number by transformed rejection (Hörmann 1993, algorithm PTRS)."""
    b = 0.931 + 2.53 * np.sqrt(mean)
    a = -0.059 + 0.02483 * b
    inverse = 1.1239 + 1.1328 / (b - 3.4)
    limit = 0.9277 - 3.6224 / (b - 2.0)
    log_mean = np.log(mean)
    draw = 16
    while True:
        u = _uniform(state, draw) - 0.5
        v = _uniform(state, draw + 1)
        draw += 2
        s = 0.5 - abs(u)
        k = int(np.floor((2.0 * a / s + b) * u + mean + 0.43))
        if s >= 0.07 and v <= limit:
            return k
        if k < 0 or (s < 0.013 and v > s):
            continue
        density = k * log_mean - mean - lgamma(k + 1.0)
        if np.log(v * inverse / (a / (s * s) + b)) <= density:
            return k


@njit(cache=True, nogil=True)
def _counts(mean: float, state: np.uint64, sensor: Sensor) -> float:
    photons = 0
    if mean >= FEW_PHOTONS:
        photons = _many(mean, state)
    elif mean > 0.0:
        photons = _few(mean, _uniform(state, 1))
    return sensor.gain * photons + sensor.offset


@njit(cache=True, nogil=True)
def expose(expected: Float32, key: np.uint64, sensor: Sensor, out: UInt16) -> None:
    """Count photons: ``gain * Poisson(expected) + offset + Normal(0, read_noise)``, rounded.

    Parameters
    ----------
    expected : (n,)
        Photons per pixel; negative values count as 0.
    key
        Chooses the noise; pixel i takes the numbers that belong to (key, i).
    sensor
        Turns photons into counts.
    out : (n,) uint16
        Set in place; held between 0 and 65535.
    """
    n = len(expected)
    for i in range(0, n, 2):
        state = _mix(key + np.uint64(i) * GOLDEN)
        radius = sensor.read_noise * np.sqrt(-2.0 * np.log(_uniform(state, 2)))
        turn = 2.0 * np.pi * _uniform(state, 3)
        value = _counts(expected[i], state, sensor) + radius * np.cos(turn)
        out[i] = np.uint16(min(max(round(value), 0), 65535))
        if i + 1 < n:
            other = _mix(key + np.uint64(i + 1) * GOLDEN)
            value = _counts(expected[i + 1], other, sensor) + radius * np.sin(turn)
            out[i + 1] = np.uint16(min(max(round(value), 0), 65535))
