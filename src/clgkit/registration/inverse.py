"""The way back from a slice to its plane."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

MAX_ROUNDS = 50
TOLERANCE_PX = 1e-3


def invert_map(matrix: Float64, bend: Float64, size: tuple[int, int]) -> Float32:
    """Give the pixel of a plane that every pixel of a slice comes from.

    Parameters
    ----------
    matrix : (2, 3)
        With `bend`: pixel x of the plane lies at ``matrix @ (x + bend(x), 1)``.
    bend : (y, x, 2)
        Displacement in the plane, pixels; continued beyond its edges by its edge values.
    size
        (Y, X) of the slice.

    Returns
    -------
    (Y, X, 2) float32
        Offset from the pixel of the slice to the position in the plane; NaN where that is
        outside the plane.

    Raises
    ------
    ValueError
        If the matrix cannot be inverted.

    Notes
    -----
    Fixed point to 0.001 px: ``x = matrix^-1(q) - bend(x)``.  It converges where the bending
    changes by less than a pixel per pixel, that is, where the map does not fold.
    """
    if abs(np.linalg.det(matrix[:, :2])) < 1e-12:
        raise ValueError("the map between plane and slice is flat: its matrix has no inverse.")
    back = np.linalg.inv(matrix[:, :2])
    out = np.empty((*size, 2), dtype=np.float32)
    _invert(np.column_stack([back, -back @ matrix[:, 2]]), np.ascontiguousarray(bend), out)
    return out


def read_field(field: Float64, where: npt.NDArray[np.number]) -> Float64:
    """Read a field between its pixels, linearly; beyond its edges by its edge values.

    Parameters
    ----------
    field : (Y, X, 2)
        Vectors.
    where : (..., 2)
        Positions (y, x).

    Returns
    -------
    (..., 2) float64
    """
    flat = np.ascontiguousarray(where, dtype=np.float64).reshape(-1, 2)
    out = np.empty_like(flat)
    _read_all(np.ascontiguousarray(field, dtype=np.float64), flat, out)
    return out.reshape(where.shape)


def round_trip_px(field: Float32, inverse: Float32) -> float:
    """Give the 95th percentile of the distance from a pixel of a plane to itself, there and back.

    Parameters
    ----------
    field : (y, x, 2)
        Offsets from the plane to the slice.
    inverse : (Y, X, 2)
        Offsets from the slice to the plane, NaN outside.

    Returns
    -------
    float
        Pixels of the plane; NaN if no pixel comes back.
    """
    grid = np.indices(field.shape[:2], dtype=np.float64).transpose(1, 2, 0)
    there = grid + field
    inside = ((there >= 0) & (there <= np.array(inverse.shape[:2]) - 1)).all(axis=2)
    back = there[inside] + read_field(inverse.astype(np.float64), there[inside])
    off = np.linalg.norm(back - grid[inside], axis=1)
    off = off[np.isfinite(off)]
    return float(np.quantile(off, 0.95)) if off.size else float("nan")


@numba.njit(cache=True, nogil=True)
def _read(field: Float64, y: float, x: float) -> tuple[float, float]:
    ny, nx, _ = field.shape
    y, x = min(max(y, 0.0), ny - 1.0), min(max(x, 0.0), nx - 1.0)
    top, left = min(int(y), max(ny - 2, 0)), min(int(x), max(nx - 2, 0))
    low, right = min(top + 1, ny - 1), min(left + 1, nx - 1)
    ty, tx = y - top, x - left
    a, b, c, d = (1 - ty) * (1 - tx), (1 - ty) * tx, ty * (1 - tx), ty * tx
    first = (
        a * field[top, left, 0]
        + b * field[top, right, 0]
        + c * field[low, left, 0]
        + d * field[low, right, 0]
    )
    second = (
        a * field[top, left, 1]
        + b * field[top, right, 1]
        + c * field[low, left, 1]
        + d * field[low, right, 1]
    )
    return first, second


@numba.njit(cache=True, nogil=True)
def _read_all(field: Float64, where: Float64, out: Float64) -> None:
    for i in range(len(where)):
        out[i, 0], out[i, 1] = _read(field, where[i, 0], where[i, 1])


@numba.njit(cache=True, nogil=True)
def _invert(back: Float64, bend: Float64, out: Float32) -> None:
    ny, nx, _ = bend.shape
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            start_y = back[0, 0] * i + back[0, 1] * j + back[0, 2]
            start_x = back[1, 0] * i + back[1, 1] * j + back[1, 2]
            y, x = start_y, start_x
            for _ in range(MAX_ROUNDS):
                dy, dx = _read(bend, y, x)
                change = max(abs(start_y - dy - y), abs(start_x - dx - x))
                y, x = start_y - dy, start_x - dx
                if change < TOLERANCE_PX:
                    break
            if -0.5 <= y <= ny - 0.5 and -0.5 <= x <= nx - 0.5:
                out[i, j, 0], out[i, j, 1] = y - i, x - j
            else:
                out[i, j] = np.nan
