"""A smooth field through the shifts of patches, and what noise leaves of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import interpolate

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


class Centers(NamedTuple):
    """Where the shifts of a grid of patches belong, pixels."""

    y: Float64
    """(ny,)"""
    x: Float64
    """(nx,)"""


def field_at(
    patch_shift: npt.NDArray[np.floating], centers: Centers, shape: tuple[int, int]
) -> Float32:
    """Give every pixel the shift that the patches around it have.

    Parameters
    ----------
    patch_shift : (..., ny, nx, 2)
        Shift (y, x) of each patch.
    centers
        Of the patches, rising along both axes.
    shape
        (Y, X) of the field.

    Returns
    -------
    (..., Y, X, 2) float32
        A cubic spline on the true centres, so that a linear field stays linear though
        centres are uneven; beyond the outermost centres the value there.

    Raises
    ------
    ValueError
        If shifts and centres do not fit.
    """
    grid = (len(centers.y), len(centers.x), 2)
    if patch_shift.shape[-3:] != grid:
        raise ValueError(
            f"patch shifts {patch_shift.shape} do not fit {grid[0]} x {grid[1]} centres: "
            "expected (..., ny, nx, 2)."
        )
    rows, columns = (spline_matrix(at, np.arange(n)) for at, n in zip(centers, shape, strict=True))
    components = np.moveaxis(np.asarray(patch_shift, dtype=np.float64), -1, 0)
    return np.moveaxis(rows @ components @ columns.T, 0, -1).astype(np.float32)


def spline_matrix(
    centers_px: npt.NDArray[np.floating], positions_px: npt.NDArray[np.number]
) -> Float64:
    """Give the weights with which values at centres make values at positions.

    Parameters
    ----------
    centers_px : (n,)
        Rising.
    positions_px : (m,)

    Returns
    -------
    (m, n) float64
        Each row sums to 1.  One centre: constant; two or three: the polynomial through them.
    """
    centers = np.asarray(centers_px, dtype=np.float64)
    positions = np.clip(np.asarray(positions_px, dtype=np.float64), centers[0], centers[-1])
    if len(centers) == 1:
        return np.ones((len(positions), 1))
    values = np.eye(len(centers))
    if len(centers) < 4:
        polynomial = interpolate.BarycentricInterpolator(centers, values)
        return np.asarray(polynomial(positions), dtype=np.float64)
    spline = interpolate.CubicSpline(centers, values, bc_type="not-a-knot")
    return np.asarray(spline(positions), dtype=np.float64)


def covariance(centers: Centers, *, length_px: float) -> Float64:
    """Say how alike the shifts of two patches are expected to be.

    Parameters
    ----------
    centers
        Of the patches.
    length_px
        Over this distance the correlation falls to about a half.

    Returns
    -------
    (ny * nx, ny * nx) float64
        1 on the diagonal.

    Notes
    -----
    Matérn covariance of order 3/2: fields with one continuous derivative.
    """
    places = np.stack(np.meshgrid(*centers, indexing="ij"), axis=-1).reshape(-1, 2)
    distance = np.linalg.norm(places[:, np.newaxis] - places, axis=-1)
    scaled = np.sqrt(3) * distance / length_px
    return np.asarray((1 + scaled) * np.exp(-scaled), dtype=np.float64)


def most_likely_field(
    found: Float64, noise_variance: Float64, likeness: Float64, *, least_px: float = 0.02
) -> Float64:
    """Weigh what patches show against how smooth fields are.

    Parameters
    ----------
    found : (n, 2)
        Deviation of each patch from the rigid shift, as measured, pixels.
    noise_variance : (n, 2)
        Variance of the error of each, px²; infinite for a patch that shows nothing.
    likeness : (n, n)
        From :func:`covariance`.
    least_px
        Standard deviation of the field that is always allowed for.

    Returns
    -------
    (n, 2) float64
        The mean of a Gaussian process given the measurements.  Its variance is that by
        which the measurements scatter more than their noise, so that the deviations of a
        frame that moved rigidly shrink to 0.
    """
    variance = _excess_variance(found, noise_variance, least_px**2)
    prior = variance * likeness
    out = np.empty_like(found)
    for axis in range(2):
        total = prior + np.diag(np.minimum(noise_variance[:, axis], 1e6))
        out[:, axis] = prior @ np.linalg.solve(total, found[:, axis])
    return out


def _excess_variance(found: Float64, noise_variance: Float64, least: float) -> float:
    """Return the variance of the field, each patch weighted by how well it knows it."""
    noise = np.minimum(noise_variance, 1e6)
    excess = found**2 - noise
    variance = max(float(np.median(found**2)), least)
    for _ in range(4):
        weight = (variance + noise) ** -2
        variance = max(float((weight * excess).sum() / weight.sum()), least)
    return variance
