"""Mutual information of two images, and the field that makes it largest.

What two channels show of one tissue need not look alike; it is enough that one predicts the
other.  Mattes et al., IEEE Trans Med Imaging 22:120 (2003): joint histogram with a box along
the fixed image and a cubic B-spline along the moving one, so that it has a gradient.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt
from scipy import optimize

from clgkit.registration.bspline import Mesh, bending, evaluate, gather, plan_mesh, project
from clgkit.registration.filters import smooth

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

BINS = 48
CLIP = 0.002
"""Share of the pixels at either end that fall into the outermost bins."""
PADDING = 2
"""Bins beyond the ends, for the width of the spline."""


class Information(NamedTuple):
    """Mutual information and how the positions read would change it."""

    value: float
    """Nats."""
    gradient: Float32
    """(Y, X, 2) derivative by the position (y, x) read for every pixel."""


class Bins(NamedTuple):
    """An image in units of bins."""

    position: Float32
    """(Y, X) between ``PADDING`` and ``BINS - PADDING - 1``; NaN where there is no value."""


def to_bins(image: npt.NDArray[np.generic]) -> Bins:
    """Bring an image to units of bins, from its low to its high end.

    Raises
    ------
    ValueError
        If the image has no two different finite values.
    """
    values = np.asarray(image, dtype=np.float32)
    finite = values[np.isfinite(values)]
    if finite.size == 0 or finite.min() == finite.max():
        raise ValueError("the image has nothing to register: no two finite pixels differ.")
    low, high = np.quantile(finite, [CLIP, 1 - CLIP])
    if low == high:
        low, high = finite.min(), finite.max()
    scaled = (values - np.float32(low)) / np.float32(high - low)
    width = BINS - 2 * PADDING - 1
    return Bins(np.asarray(PADDING + width * np.clip(scaled, 0, 1), np.float32))


def mutual_information(fixed: Bins, moving: Bins, where: Float64) -> Information:
    """Measure how much a fixed image tells about a moving one read at given places.

    Parameters
    ----------
    fixed, moving
        From :func:`to_bins`.
    where : (Y, X, 2)
        Position in `moving` (y, x) read, linearly, for every pixel of `fixed`.  Pixels that
        read from outside, or NaN, are left out.

    Returns
    -------
    Information
        The gradient treats the pixels that take part as fixed.
    """
    value = np.empty(fixed.position.shape, dtype=np.float32)
    slope = np.empty((*value.shape, 2), dtype=np.float32)
    _read(moving.position, where, value, slope)
    joint = np.zeros((BINS, BINS))
    count = _fill(fixed.position, value, joint)
    if count == 0:
        return Information(0.0, np.zeros_like(slope))
    joint /= count
    rows, columns = joint.sum(axis=1), joint.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        surprise = np.where(joint > 0, np.log(joint / columns), 0.0)
        total = joint * (surprise - np.log(rows)[:, np.newaxis])
    _weigh(fixed.position, value, surprise / count, slope)
    return Information(float(np.nansum(total)), slope)


def refine_field(
    fixed: npt.NDArray[np.generic],
    moving: npt.NDArray[np.generic],
    matrix: Float64,
    field: npt.NDArray[np.floating],
    *,
    knot_px: float = 64.0,
    smoothing_px: tuple[float, ...] = (1.5, 1.0),
    iterations: int = 30,
    stiffness: float = 1e-4,
) -> Float64:
    """Bend a field until the mutual information of two images is largest.

    Parameters
    ----------
    fixed : (Y, X)
        The image whose pixels are asked for.
    moving : (Y', X')
        The image that is read.
    matrix : (2, 3)
        Affine map from positions in `fixed` to positions in `moving`; kept.
    field : (Y, X, 2)
        Displacement (y, x) in `fixed`, before the affine map, to start from.
    knot_px
        Distance of the knots of the splines, pixels.
    smoothing_px
        Both images are smoothed so much, level after level.
    iterations
        Of L-BFGS-B at each level.
    stiffness
        Nats per square pixel of mean square second difference of neighbouring knots.

    Returns
    -------
    (Y, X, 2) float64
        The pixel x of `fixed` reads `moving` at ``matrix @ (x + field(x), 1)``.

    Raises
    ------
    ValueError
        If an image is constant.

    Notes
    -----
    All pixels take part: on the pixel grid the splines are a product of two matrices, so
    the gradient costs little more than the histogram.
    """
    ny, nx = fixed.shape
    mesh = plan_mesh((ny, nx), knot_px)
    grid = np.stack(np.meshgrid(np.arange(ny), np.arange(nx), indexing="ij"), axis=-1)
    still = grid @ matrix[:, :2].T + matrix[:, 2]
    coefficients = project(mesh, field)
    for sigma in smoothing_px:
        images = [to_bins(_smooth_finite(image, sigma)) for image in (fixed, moving)]
        arguments = (mesh, images[0], images[1], still, matrix, stiffness)
        found = optimize.minimize(
            _cost,
            coefficients.ravel(),
            args=arguments,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": iterations, "maxcor": 10},
        )
        coefficients = found.x.reshape(coefficients.shape)
    return evaluate(mesh, coefficients)


def _cost(  # noqa: PLR0917  (scipy passes what it was given one by one)
    flat: Float64,
    mesh: Mesh,
    fixed: Bins,
    moving: Bins,
    still: Float64,
    matrix: Float64,
    stiffness: float,
) -> tuple[float, Float64]:
    coefficients = flat.reshape(mesh.rows.shape[1], mesh.columns.shape[1], 2)
    where = still + evaluate(mesh, coefficients) @ matrix[:, :2].T
    information = mutual_information(fixed, moving, where)
    gradient = gather(mesh, information.gradient @ matrix[:, :2])
    energy, force = bending(coefficients)
    return (
        stiffness * energy - information.value,
        (stiffness * force - gradient).ravel(),
    )


def _smooth_finite(image: npt.NDArray[np.generic], sigma_px: float) -> Float32:
    """Smooth; pixels that are not finite, and those beside them, stay without a value."""
    values = np.ascontiguousarray(image, dtype=np.float32)
    return smooth(values, sigma_px=sigma_px) if sigma_px > 0 else values


@numba.njit(cache=True, nogil=True)
def _read(image: Float32, where: Float64, value: Float32, slope: Float32) -> None:
    """Read linearly, value and slope; NaN outside."""
    ny, nx = image.shape
    for i in range(value.shape[0]):
        for j in range(value.shape[1]):
            y, x = where[i, j, 0], where[i, j, 1]
            if not (0 <= y < ny - 1 and 0 <= x < nx - 1):
                value[i, j] = np.nan
                continue
            top, left = int(y), int(x)
            ty, tx = np.float32(y - top), np.float32(x - left)
            a, b = image[top, left], image[top, left + 1]
            c, d = image[top + 1, left], image[top + 1, left + 1]
            upper, lower = a + tx * (b - a), c + tx * (d - c)
            value[i, j] = upper + ty * (lower - upper)
            slope[i, j, 0] = lower - upper
            slope[i, j, 1] = (b - a) + ty * ((d - c) - (b - a))


@numba.njit(cache=True, nogil=True)
def _fill(fixed: Float32, value: Float32, joint: Float64) -> int:
    """Count the pixels into the joint histogram; each weighs 1."""
    count = 0
    for i in range(value.shape[0]):
        for j in range(value.shape[1]):
            if not (np.isfinite(value[i, j]) and np.isfinite(fixed[i, j])):
                continue
            count += 1
            row = joint[int(fixed[i, j] + 0.5)]
            first = int(value[i, j]) - 1
            t = np.float64(value[i, j]) - first - 1
            s = 1 - t
            row[first] += s * s * s / 6
            row[first + 1] += 2 / 3 - t * t + t * t * t / 2
            row[first + 2] += 2 / 3 - s * s + s * s * s / 2
            row[first + 3] += t * t * t / 6
    return count


@numba.njit(cache=True, nogil=True)
def _weigh(fixed: Float32, value: Float32, surprise: Float64, slope: Float32) -> None:
    """Turn the slopes of the image into the gradient of the information."""
    for i in range(value.shape[0]):
        for j in range(value.shape[1]):
            if not (np.isfinite(value[i, j]) and np.isfinite(fixed[i, j])):
                slope[i, j] = 0
                continue
            row = surprise[int(fixed[i, j] + 0.5)]
            first = int(value[i, j]) - 1
            t = np.float64(value[i, j]) - first - 1
            s = 1 - t
            change = (
                -s * s / 2 * row[first]
                + (1.5 * t * t - 2 * t) * row[first + 1]
                + (2 * s - 1.5 * s * s) * row[first + 2]
                + t * t / 2 * row[first + 3]
            )
            slope[i, j, 0] *= change
            slope[i, j, 1] *= change


def entropy(fixed: Bins) -> float:
    """Give the entropy of an image in its bins, nats: no mutual information is larger."""
    finite = fixed.position[np.isfinite(fixed.position)]
    share = np.bincount((finite + 0.5).astype(np.int64), minlength=BINS) / max(finite.size, 1)
    return -math.fsum(p * math.log(p) for p in share if p > 0)
