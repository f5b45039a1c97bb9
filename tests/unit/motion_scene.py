"""Small movies of two planes that move by known shifts, and the stage that undoes them."""

from __future__ import annotations

import warnings
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from clgkit import data
from clgkit.stages.correct_motion import CorrectMotion, MotionCorrected, correct_motion
from clgkit.workspace import Workspace

if TYPE_CHECKING:
    import xarray as xr

SERIAL = Workspace(executor="serial")
SIDE, MARGIN = 64, 20
GAIN, OFFSET = 8.0, 100.0


class Moving(NamedTuple):
    """A movie and the shifts that undo its motion."""

    movie: xr.DataArray
    shifts: npt.NDArray[np.int64]


@cache
def moving(n_frames: int = 32, n_planes: int = 2, largest: int = 3, seed: int = 0) -> Moving:
    """Cells in photon noise, moved by whole pixels."""
    rng = np.random.default_rng(seed)
    wide = SIDE + 2 * MARGIN
    still = np.zeros((n_planes, wide, wide))
    for plane in range(n_planes):
        spots = rng.uniform(0, wide, (170, 2)).astype(int)
        still[plane, spots[:, 0], spots[:, 1]] = rng.uniform(150, 500, len(spots))
    still = 4 + ndimage.gaussian_filter(still, (0, 2, 2), mode="wrap")
    moves = rng.integers(-largest, largest + 1, (n_frames, 2))
    moves[0] = 0
    frames = [
        still[:, MARGIN - y : MARGIN - y + SIDE, MARGIN - x : MARGIN - x + SIDE] for y, x in moves
    ]
    counts = rng.poisson(np.stack(frames)) * GAIN + OFFSET + rng.normal(0, 3, (n_frames, 1, 1, 1))
    return Moving(movie_of(counts.astype(np.uint16)), -moves)


def movie_of(pixels: npt.NDArray[Any]) -> xr.DataArray:
    return data.movie(pixels, rate_hz=2.0, voxel_um=(5.0, 1.0, 1.0))


def volume_of(pixels: npt.NDArray[Any]) -> xr.DataArray:
    return data.volume(pixels, voxel_um=(5.0, 1.0, 1.0), name="reference")


def corrected(
    movie: xr.DataArray,
    reference: xr.DataArray | None = None,
    workspace: Workspace = SERIAL,
    **changes: Any,
) -> tuple[MotionCorrected, list[str]]:
    """Run the stage; return what it gave and what it warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        params = CorrectMotion(**changes)
        made = correct_motion(movie, reference, params, workspace=workspace)
    return made, [str(warning.message) for warning in caught]


def error_px(made: MotionCorrected, shifts: npt.NDArray[np.int64]) -> float:
    """Return the largest error of a shift, up to the place of the template."""
    error = made.shifts.values - shifts[:, None]
    return float(np.abs(error - np.median(error, axis=0)).max())
