"""Bringing a movie to the pixels of its slice: the other direction."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from clgkit.registration.cubic import sample_row
from clgkit.registration.inverse import invert_map

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

FAR_PX = np.float32(1e6)
"""Where pixels read that have no place in the plane: outside of any."""


def invert_field(field: npt.NDArray[np.floating], size: tuple[int, int]) -> Float32:
    """Give the pixel of a plane that every pixel of its slice comes from.

    Parameters
    ----------
    field : (y, x, 2)
        Offset from every pixel of the plane to its position in the slice, as in
        :class:`~clgkit.registration.crossmodal.PlaneMap`.
    size
        (Y, X) of the slice.

    Returns
    -------
    (Y, X, 2) float32
        Offset from the pixel of the slice to the position in the plane; NaN outside it.

    Raises
    ------
    ValueError
        If `field` is no field, is not finite or lays all pixels on one line.

    Notes
    -----
    The affine map nearest to the field is taken off; what is left is a bending, and
    :func:`~clgkit.registration.inverse.invert_map` does the rest.
    """
    if field.ndim != 3 or field.shape[2] != 2:
        raise ValueError(f"expected offsets (y, x, 2), found an array of shape {field.shape}.")
    n_bad = np.count_nonzero(~np.isfinite(field))
    if n_bad:
        raise ValueError(f"{n_bad} of {field.size} offsets are not finite; every pixel needs one.")
    grid = np.indices(field.shape[:2], dtype=np.float64).transpose(1, 2, 0)
    there = grid + field
    ones = np.concatenate([grid, np.ones((*field.shape[:2], 1))], axis=2)
    solved = np.linalg.lstsq(ones.reshape(-1, 3), there.reshape(-1, 2), rcond=None)[0]
    matrix = np.asarray(solved.T, np.float64)
    if abs(np.linalg.det(matrix[:, :2])) < 1e-12:
        raise ValueError("the map between plane and slice is flat: it has no inverse.")
    bend = (there - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T - grid
    return invert_map(matrix, bend, size)


def warp_frames(frames: npt.NDArray[np.generic], offset_px: npt.NDArray[np.floating]) -> Float32:
    """Resample frames at other places, with one cubic interpolation.

    Parameters
    ----------
    frames : (T, y, x)
        Any real dtype; computed in float32.
    offset_px : (Y, X, 2)
        From every pixel of the result to the position in the frame that is read; NaN where
        there is none.

    Returns
    -------
    (T, Y, X) float32
        NaN where the kernel reaches outside of the frame.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Notes
    -----
    Cubic convolution with a = -1/2, as in :func:`~clgkit.registration.apply.apply_shifts`.
    """
    if frames.ndim != 3 or offset_px.ndim != 3 or offset_px.shape[2] != 2:
        raise ValueError(
            f"frames {frames.shape} and offsets {offset_px.shape} do not fit: expected (T, y, x) "
            "and (Y, X, 2)."
        )
    known = np.isfinite(offset_px).all(axis=2)
    rows, columns = (
        np.where(known, offset_px[..., axis], FAR_PX).astype(np.float32) for axis in (0, 1)
    )
    out = np.empty((len(frames), *offset_px.shape[:2]), np.float32)
    for frame, moved in zip(frames, out, strict=True):
        _resample(np.ascontiguousarray(frame, np.float32), rows, columns, moved)
    return out


@numba.njit(cache=True, nogil=True)
def _resample(image: Float32, rows: Float32, columns: Float32, out: Float32) -> None:
    fill = np.full(out.shape[1], np.float32(np.nan))
    for y in range(out.shape[0]):
        sample_row(image, y, rows[y], columns[y], fill, out[y])
