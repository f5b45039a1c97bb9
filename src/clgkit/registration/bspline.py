"""Smooth fields made of uniform cubic B-splines on a rectangular mesh."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]


class Mesh(NamedTuple):
    """Values of the splines at the pixels of a field; a field is ``rows @ c @ columns.T``."""

    rows: Float64
    """(Y, m) values of the m splines along y."""
    columns: Float64
    """(X, n) values of the n splines along x."""


def plan_mesh(shape: tuple[int, int], knot_px: float) -> Mesh:
    """Lay a mesh of about the given knot distance over a field.

    Parameters
    ----------
    shape
        (Y, X).
    knot_px
        Wanted distance of the knots; the actual one divides the field evenly.

    Returns
    -------
    Mesh
        Of three splines more than there are intervals, along each axis.
    """
    return Mesh(*(_basis(n, max(1, round(n / knot_px))) for n in shape))


def evaluate(mesh: Mesh, coefficients: Float64) -> Float64:
    """Give the field of some coefficients.

    Parameters
    ----------
    mesh
        From :func:`plan_mesh`.
    coefficients : (m, n, 2)
        One pair per spline.

    Returns
    -------
    (Y, X, 2) float64
    """
    return np.stack([mesh.rows @ coefficients[..., k] @ mesh.columns.T for k in (0, 1)], axis=-1)


def project(mesh: Mesh, field: npt.NDArray[np.floating]) -> Float64:
    """Give the coefficients that come nearest to a field, in the mean square sense.

    Parameters
    ----------
    mesh
        From :func:`plan_mesh`.
    field : (Y, X, 2)
        Finite.

    Returns
    -------
    (m, n, 2) float64
    """
    rows, columns = (np.linalg.pinv(side) for side in mesh)
    return np.stack([rows @ field[..., k] @ columns.T for k in (0, 1)], axis=-1)


def gather(mesh: Mesh, gradient: Float64) -> Float64:
    """Give the gradient by the coefficients of a number whose gradient by the field is known.

    Parameters
    ----------
    mesh
        From :func:`plan_mesh`.
    gradient : (Y, X, 2)
        Derivative of the number by the field at every pixel.

    Returns
    -------
    (m, n, 2) float64
    """
    return np.stack([mesh.rows.T @ gradient[..., k] @ mesh.columns for k in (0, 1)], axis=-1)


def _basis(n: int, intervals: int) -> Float64:
    """Return the values (n, intervals + 3) of the splines that do not vanish on the axis."""
    position = np.arange(n) * (intervals / max(n - 1, 1))
    distance = np.abs(position[:, np.newaxis] - (np.arange(intervals + 3) - 1))
    inner = 2 / 3 - distance**2 + distance**3 / 2
    outer = np.maximum(2 - distance, 0) ** 3 / 6
    return np.asarray(np.where(distance < 1, inner, outer), dtype=np.float64)


def bending(coefficients: Float64) -> tuple[float, Float64]:
    """Give the mean square second difference of the coefficients, and its gradient.

    Parameters
    ----------
    coefficients : (m, n, 2)
        At least four along each axis, as every mesh has.

    Returns
    -------
    value : float
    gradient : (m, n, 2) float64
    """
    gradient = np.zeros_like(coefficients)
    value = 0.0
    for axis in (0, 1):
        moved = np.moveaxis(coefficients, axis, 0)
        second = moved[:-2] - 2 * moved[1:-1] + moved[2:]
        value += float(np.square(second).sum())
        out = np.moveaxis(gradient, axis, 0)
        out[:-2] += 2 * second
        out[1:-1] -= 4 * second
        out[2:] += 2 * second
    n = math.prod(coefficients.shape)
    return value / n, gradient / n
