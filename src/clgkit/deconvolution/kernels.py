"""The two sweeps of the sparse-Hessian scheme over a block that lies in memory.

`shrink_and_collect` does the seven differences, soft thresholds and adjoints of one iteration in
one pass; `solve` divides by the scheme's periodic denominator without a Fourier transform.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit
from numpy.polynomial import chebyshev

__all__ = [
    "Polynomial",
    "Weights",
    "Work",
    "inverse_polynomial",
    "make_work",
    "shrink_and_collect",
    "solve",
]

Float32: TypeAlias = npt.NDArray[np.float32]

YY, XX, ZZ, XY, XZ, YZ, SELF = range(7)  # first axis of the array of multipliers
ONE, TWO = np.float32(1), np.float32(2)
TOLERANCE = 2e-7  # relative error of the polynomial; a float32 has 1.2e-7
MOST_TERMS = 100


class Weights(NamedTuple):
    """Weights of the terms."""

    fidelity: np.float32
    sparsity: np.float32
    z: np.float32
    """Of the zz term; the mixed terms along z carry twice its square root."""
    z_mixed: np.float32


class Work(NamedTuple):
    """Residuals that later rows and planes still need: ring buffers of rows and of planes."""

    row: Float32
    own: Float32
    xx: Float32
    yy: Float32
    xy: Float32
    xz: Float32
    yz: Float32
    zz: Float32


class Polynomial(NamedTuple):
    """1 / (kappa + L^2), L the discrete Laplacian, as a polynomial in the sum of neighbours."""

    coefficients: Float32
    """Highest power first."""
    lateral: np.float32
    """Weight of each of the four neighbours along y and x."""
    axial: np.float32
    """Weight of each of the two neighbours along z."""


def make_work(shape: tuple[int, ...]) -> Work:
    """Return zeroed buffers for blocks of this (Z, Y, X) shape."""
    _, ny, nx = shape
    rows = [np.zeros((3, nx), np.float32) for _ in range(4)]
    planes = [np.zeros((n, ny, nx), np.float32) for n in (2, 2, 3)]
    return Work(np.zeros(nx, np.float32), *rows, *planes)


def inverse_polynomial(kappa: float, c: float) -> Polynomial:
    """Return the polynomial that divides by ``kappa + L**2``, to 2e-7.

    Parameters
    ----------
    kappa
        Positive.
    c
        Weight of the z axis in L; 0 where there is one plane.

    Notes
    -----
    The scheme's denominator is a square: with L = e_y + e_x + c e_z it is kappa + L^2, and L is
    the (negative) discrete Laplacian, 0 <= L <= 2h, h = 4 + 2c.  With S = 1 - L/h, the weighted
    mean of the neighbours, -1 <= S <= 1, and a Chebyshev series in S converges like 5^-n at the
    usual settings: ten local sweeps replace two Fourier transforms.

    Raises
    ------
    ValueError
        If kappa is so small that 100 terms do not reach the tolerance.
    """
    h = 4 + 2 * c
    s = np.cos(np.linspace(0, np.pi, 2001))

    def exact(x: Any) -> Any:
        return 1 / (kappa + (h * (1 - x)) ** 2)

    for n in range(1, MOST_TERMS):
        series: npt.NDArray[np.float64] = chebyshev.chebinterpolate(exact, n)
        if np.abs(chebyshev.chebval(s, series) / exact(s) - 1).max() < TOLERANCE:
            powers = chebyshev.cheb2poly(series)[::-1].astype(np.float32)
            return Polynomial(powers, np.float32(1 / h), np.float32(c / h))
    raise ValueError(
        f"fidelity + sparsity² is {kappa:g}, too little beside the smoothness; raise the fidelity."
    )


@njit(cache=True, nogil=True)
def _clip_second(before: Float32, here: Float32, after: Float32, b: Float32, e: Float32) -> None:
    for x in range(here.size):
        t = ((after[x] - here[x]) + (before[x] - here[x])) + b[x]
        kept = min(max(t, -ONE), ONE)
        b[x] = kept
        e[x] = t - kept - kept


@njit(cache=True, nogil=True)
def _clip_along(row: Float32, b: Float32, e: Float32) -> None:
    last = row.size - 1
    for x in range(1, last):
        t = ((row[x + 1] - row[x]) + (row[x - 1] - row[x])) + b[x]
        kept = min(max(t, -ONE), ONE)
        b[x] = kept
        e[x] = t - kept - kept
    if last > 0:
        t = (row[last - 1] - row[last]) + b[last]
        kept = min(max(t, -ONE), ONE)
        b[last] = kept
        e[last] = t - kept - kept


@njit(cache=True, nogil=True)
def _clip_mixed(row: Float32, other: Float32, b: Float32, e: Float32) -> None:
    for x in range(row.size - 1):
        t = ((other[x + 1] - other[x]) - (row[x + 1] - row[x])) + b[x]
        kept = min(max(t, -ONE), ONE)
        b[x] = kept
        e[x] = t - kept - kept


@njit(cache=True, nogil=True)
def _difference(row: Float32, next_y: Float32, next_z: Float32, both: Float32, q: Float32) -> None:
    for x in range(row.size):
        q[x] = (both[x] - next_z[x]) - (next_y[x] - row[x])


@njit(cache=True, nogil=True)
def _clip_plain(q: Float32, b: Float32, e: Float32) -> None:
    for x in range(q.size):
        t = q[x] + b[x]
        kept = min(max(t, -ONE), ONE)
        b[x] = kept
        e[x] = t - kept - kept


@njit(cache=True, nogil=True)
def _shrink_row(g: Float32, b: Float32, work: Work, z: int, y: int) -> None:
    """Do t = D g + b, b = clip(t), e = t - 2 b for the seven terms of one row.

    The neighbour after the last sample is the last sample itself, which makes the forward
    difference 0 there; second differences at the first sample stay 0.
    """
    next_z, next_y = min(z + 1, g.shape[0] - 1), min(y + 1, g.shape[1] - 1)
    row, ring = g[z, y], y % 3
    _clip_along(row, b[XX, z, y], work.xx[ring])
    _clip_mixed(row, g[z, next_y], b[XY, z, y], work.xy[ring])
    _clip_mixed(row, g[next_z, y], b[XZ, z, y], work.xz[z % 2, y])
    _clip_plain(row, b[SELF, z, y], work.own[ring])
    _difference(row, g[z, next_y], g[next_z, y], g[next_z, next_y], work.row)
    _clip_plain(work.row, b[YZ, z, y], work.yz[z % 2, y])
    if y > 0:
        _clip_second(g[z, y - 1], row, g[z, next_y], b[YY, z, y], work.yy[ring])
    else:
        work.yy[ring] = 0
    if z > 0:
        _clip_second(g[z - 1, y], row, g[next_z, y], b[ZZ, z, y], work.zz[z % 3, y])
    else:
        work.zz[0, y] = 0


@njit(cache=True, nogil=True)
def _collect_along(f: Float32, own: Float32, xx: Float32, weights: Weights, u: Float32) -> None:
    last = f.size - 1
    for x in range(1, last):
        bend = (xx[x + 1] - xx[x]) + (xx[x - 1] - xx[x])
        u[x] = weights.fidelity * f[x] + weights.sparsity * own[x] + bend
    u[0] = weights.fidelity * f[0] + weights.sparsity * own[0]
    if last > 0:
        u[last] = weights.fidelity * f[last] + weights.sparsity * own[last]
        u[last] += xx[last - 1] - xx[last]


@njit(cache=True, nogil=True)
def _add_second(before: Float32, here: Float32, after: Float32, w: np.float32, u: Float32) -> None:
    for x in range(here.size):
        u[x] += w * ((after[x] - here[x]) + (before[x] - here[x]))


@njit(cache=True, nogil=True)
def _add_mixed(here: Float32, before: Float32, w: np.float32, u: Float32) -> None:
    for x in range(1, here.size):
        u[x] += w * ((here[x] - here[x - 1]) - (before[x] - before[x - 1]))


@njit(cache=True, nogil=True)
def _add_difference(here: Float32, before: Float32, y: int, w: np.float32, u: Float32) -> None:
    row, above, behind, both = here[y], here[y - 1], before[y], before[y - 1]
    for x in range(u.size):
        u[x] += w * ((row[x] - above[x]) - (behind[x] - both[x]))


@njit(cache=True, nogil=True)
def _collect_row(  # noqa: PLR0917  (a kernel takes no keywords)
    f: Float32, u: Float32, work: Work, weights: Weights, z: int, y: int
) -> None:
    """Do u = fidelity f + sum of w D* e of one row, but for the zz term."""
    out, ring = u[z, y], y % 3
    _collect_along(f[z, y], work.own[ring], work.xx[ring], weights, out)
    if y > 0:
        before, after = (y - 1) % 3, min(y + 1, f.shape[1] - 1) % 3
        _add_second(work.yy[before], work.yy[ring], work.yy[after], ONE, out)
        _add_mixed(work.xy[ring], work.xy[before], TWO, out)
    if z > 0:
        here, behind = z % 2, (z + 1) % 2
        _add_mixed(work.xz[here, y], work.xz[behind, y], weights.z_mixed, out)
        if y > 0:
            _add_difference(work.yz[here], work.yz[behind], y, weights.z_mixed, out)


@njit(cache=True, nogil=True)
def shrink_and_collect(  # noqa: PLR0917  (a kernel takes no keywords)
    g: Float32, f: Float32, b: Float32, u: Float32, weights: Weights, work: Work
) -> None:
    """Update the multipliers `b` and gather `u`, the right side of the next solve.

    Parameters
    ----------
    g, f : (Z, Y, X)
        Estimate and data.
    b : (7, Z, Y, X)
        Multipliers; changed in place.
    u : (Z, Y, X)
        Set in place.
    weights
        Of the terms.
    work
        Buffers of `make_work`; what they hold does not matter.
    """
    nz, ny, _ = g.shape
    for z in range(nz):
        for y in range(ny):
            _shrink_row(g, b, work, z, y)
            if y > 0:
                _collect_row(f, u, work, weights, z, y - 1)
        _collect_row(f, u, work, weights, z, ny - 1)
        if z > 1:
            _collect_z(u[z - 1], work.zz, z - 1, z, weights.z)
    if nz > 1:
        _collect_z(u[nz - 1], work.zz, nz - 1, nz - 1, weights.z)


@njit(cache=True, nogil=True)
def _collect_z(u: Float32, zz: Float32, z: int, after: int, w: np.float32) -> None:
    for y in range(u.shape[0]):
        _add_second(zz[(z - 1) % 3, y], zz[z % 3, y], zz[after % 3, y], w, u[y])


@njit(cache=True, nogil=True)
def _close(framed: Float32) -> None:
    """Fill the frame of a plane with its opposite sides."""
    ny, nx = framed.shape
    for y in range(1, ny - 1):
        framed[y, 0] = framed[y, nx - 2]
        framed[y, nx - 1] = framed[y, 1]
    framed[0] = framed[ny - 2]
    framed[ny - 1] = framed[1]


@njit(cache=True, nogil=True)
def _start(u: Float32, a: np.float32, framed: Float32) -> None:
    n = u.shape[1]
    for y in range(u.shape[0]):
        source, target = u[y], framed[y + 1, 1 : n + 1]
        for x in range(n):
            target[x] = a * source[x]
    _close(framed)


@njit(cache=True, nogil=True)
def _step_row(
    u: Float32,
    row: Float32,
    around: tuple[Float32, ...],
    weights: tuple[np.float32, ...],
    o: Float32,
) -> None:
    a, lateral, axial = weights
    up, down, back, front = around
    for x in range(u.size):
        beside = (row[x] + row[x + 2]) + (up[x] + down[x])
        o[x] = a * u[x] + axial * (back[x] + front[x]) + lateral * beside


@njit(cache=True, nogil=True)
def _step(  # noqa: PLR0917  (a kernel takes no keywords)
    u: Float32, ring: Float32, z: int, weights: tuple[np.float32, ...], out: Float32, frame: int
) -> None:
    """Do out = a u + S v for one plane, v in the frames of `ring`; `out` has a frame or none."""
    n = u.shape[1]
    before, here, after = ring[(z - 1) % 3], ring[z % 3], ring[(z + 1) % 3]
    for y in range(u.shape[0]):
        up, down = here[y, 1 : n + 1], here[y + 2, 1 : n + 1]
        back, front = before[y + 1, 1 : n + 1], after[y + 1, 1 : n + 1]
        target = out[y + frame, frame : frame + n]
        _step_row(u[y], here[y + 1], (up, down, back, front), weights, target)


@njit(cache=True, nogil=True)
def solve(u: Float32, polynomial: Polynomial, rings: Float32, g: Float32) -> None:
    """Set `g` to the polynomial of the periodic Laplacian, applied to `u`.

    Horner's rule; power k of plane z follows power k - 1 of plane z + 1 at once, so that only
    three planes of each power are kept.

    Parameters
    ----------
    u, g : (Z, Y, X)
        Right side, and solution set in place.
    polynomial
        Of `inverse_polynomial`.
    rings : (number of coefficients - 1, 3, Y + 2, X + 2)
        Buffer; finite.
    """
    a, n, nz = polynomial.coefficients, polynomial.coefficients.size - 1, u.shape[0]
    flat = polynomial.axial == 0
    extra = 0 if flat else n
    for step in range(-extra, nz + n):
        if not flat or step < nz:
            _start(u[step % nz], a[0], rings[0, step % 3])
        for k in range(1, n + 1):
            z = step - k
            past = extra * (n - k) // n
            if z < -past or z >= nz + past:
                continue
            weights = (a[k], polynomial.lateral, polynomial.axial)
            if k == n:
                _step(u[z], rings[n - 1], z, weights, g[z], 0)
            else:
                _step(u[z % nz], rings[k - 1], z, weights, rings[k, z % 3], 1)
                _close(rings[k, z % 3])
