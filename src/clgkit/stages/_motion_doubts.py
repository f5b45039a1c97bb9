"""What `correct_motion` says of frames whose shift was not found."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import numpy as np

from clgkit import registration
from clgkit.stages._motion_frames import OutlierCode, Search

if TYPE_CHECKING:
    import xarray as xr

    from clgkit.data import Movie
    from clgkit.stages._motion_find import Fields

DOUBTS = (OutlierCode.UNSURE, OutlierCode.LIMIT)


def check_window(function: Movie, max_shift_px: int, *, given: bool) -> None:
    """Tell of a window that was asked for and the field has no room for."""
    sides = (function.sizes["y"], function.sizes["x"])
    room = (min(side for side in sides if side > 1) - 1) // 2 if max(sides) > 1 else 0
    if given and max_shift_px > room:
        warnings.warn(
            f"max_shift_px = {max_shift_px} is more than half of frames of {sides[0]} x "
            f"{sides[1]} px; shifts are looked for up to {room} px along their shorter side",
            stacklevel=3,
        )


def farthest_px(found: Fields, outliers: xr.DataArray, search: Search) -> float | None:
    """Return the largest shift of a frame that was found beyond the limit, pixels."""
    beyond = np.abs(found.shifts.values[outliers.values == OutlierCode.LIMIT])
    largest = float(beyond.max(initial=0))
    return largest if search.normcorre is None and largest > search.max_shift_px else None


def warn_of_doubts(
    outliers: xr.DataArray, found: Fields, search: Search, farthest: float | None
) -> None:
    """Tell of frames whose shift was not found."""
    n_unsure, n_at_limit = (count_frames(outliers, code) for code in DOUBTS)
    if n_unsure:
        warnings.warn(
            f"{n_unsure} of {len(outliers)} frames show too little to be registered on some plane; "
            "their shift was taken from the frames around them",
            stacklevel=3,
        )
    if n_at_limit and farthest is not None:
        good = found.bad_frames.values == registration.FrameCode.OK
        counts = (outliers.values == OutlierCode.LIMIT).sum(axis=0)
        most = np.flatnonzero(2 * counts >= np.maximum(good.sum(axis=0), 1))
        planes = ", ".join(map(str, most[:10])) + (" …" if len(most) > 10 else "")
        warnings.warn(
            f"{n_at_limit} of {len(outliers)} frames lie at or beyond the limit of "
            f"{search.max_shift_px} px on some plane, the farthest {farthest:.0f} px from its "
            f"template; raise max_shift_px to {math.ceil(farthest) + 1}"
            + (f" (half of the frames or more on plane {planes}: not corrected)" if planes else ""),
            stacklevel=3,
        )
    elif n_at_limit:
        warnings.warn(
            f"{n_at_limit} of {len(outliers)} frames lie at the limit of {search.max_shift_px} px "
            "on some plane and may have moved farther; raise max_shift_px",
            stacklevel=3,
        )


def count_frames(outliers: xr.DataArray, code: OutlierCode) -> int:
    """Return how many frames have a code on some plane."""
    return int((outliers.values == code).any(axis=1).sum())
