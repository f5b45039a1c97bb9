"""What to do with frames whose shift may be noise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


def settle_shifts(shift_px: npt.NDArray[np.floating], confident: npt.NDArray[np.bool_]) -> Float32:
    """Give frames without a sure shift one from the sure frames around them.

    Parameters
    ----------
    shift_px : (T, ...)
        Shifts of all frames of a movie in order: (T, 2), or (T, ny, nx, 2) for patches.
    confident : (T,) bool
        Frames whose shift stands.

    Returns
    -------
    (T, ...) float32
        Unsure frames get the linear interpolation in time between the sure ones before and
        after, or the nearest sure one at the ends; 0 if no frame is sure.  Sure frames keep
        theirs bit by bit.  If most frames are unsure, register means of several frames instead
        (:func:`pool_frames`, :func:`spread_shifts`).

    Raises
    ------
    ValueError
        If the lengths differ.
    """
    shifts = np.asarray(shift_px, dtype=np.float32)
    sure = np.flatnonzero(confident)
    if confident.shape != shifts.shape[:1]:
        raise ValueError(
            f"found shifts of {len(shifts)} frames and confidence {confident.shape}; "
            "expected one truth value for each frame."
        )
    if not sure.size:
        return np.zeros_like(shifts)
    out = shifts.copy()
    unsure = np.flatnonzero(~confident)
    after = np.minimum(np.searchsorted(sure, unsure), len(sure) - 1)
    before = np.maximum(np.searchsorted(sure, unsure) - 1, 0)
    first, last = sure[before], sure[after]
    share = (unsure - first) / np.maximum(last - first, 1)
    share = np.clip(share, 0, 1).reshape(-1, *[1] * (shifts.ndim - 1)).astype(np.float32)
    out[unsure] = shifts[first] * (1 - share) + shifts[last] * share
    return out


def pool_frames(frames: npt.NDArray[np.generic], *, size: int) -> Float32:
    """Average consecutive frames, so that dim ones show enough to be registered.

    Parameters
    ----------
    frames : (T, Y, X)
        Any real dtype.
    size
        Frames of each mean; the last may have fewer.

    Returns
    -------
    (ceil(T / size), Y, X) float32
        Means of finite values, NaN where there are none.

    Raises
    ------
    ValueError
        If `frames` is not (T, Y, X) or `size` is below 1.
    """
    if frames.ndim != 3 or size < 1:
        raise ValueError(
            f"found frames {frames.shape} and size {size}; expected (T, Y, X) and at least 1."
        )
    out = np.empty((-(-len(frames) // size), *frames.shape[1:]), dtype=np.float32)
    for i, mean in enumerate(out):
        part = frames[i * size : (i + 1) * size]
        valid = np.isfinite(part)
        count = valid.sum(axis=0)
        total = np.where(valid, part, 0).sum(axis=0, dtype=np.float64)
        mean[:] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return out


def spread_shifts(
    shift_px: npt.NDArray[np.floating],
    confident: npt.NDArray[np.bool_],
    *,
    size: int,
    n_frames: int,
) -> Float32:
    """Give every frame a shift from those of pooled frames.

    Parameters
    ----------
    shift_px : (P, ...), confident : (P,)
        Of the means made by :func:`pool_frames`.
    size
        As there.
    n_frames
        T, of the movie.

    Returns
    -------
    (T, ...) float32
        Linear in time between the middles of the sure pools, constant before and after; 0 if
        none is sure.  Motion faster than a pool is not followed.

    Raises
    ------
    ValueError
        If the number of pools is not that of `n_frames` frames.
    """
    shifts = np.asarray(shift_px, dtype=np.float64)
    starts = np.arange(0, n_frames, size)
    if len(shifts) != len(starts) or confident.shape != (len(starts),):
        raise ValueError(
            f"found {len(shifts)} shifts; {n_frames} frames in pools of {size} have {len(starts)}."
        )
    middles = (starts + np.minimum(starts + size, n_frames) - 1) / 2
    flat = shifts.reshape(len(shifts), -1)
    out = np.zeros((n_frames, flat.shape[1]), dtype=np.float32)
    if confident.any():
        for column, values in zip(out.T, flat.T, strict=True):
            column[:] = np.interp(np.arange(n_frames), middles[confident], values[confident])
    return out.reshape(n_frames, *shifts.shape[1:])
