"""How well `correct_motion` did, plane by plane, from a sample of frames read one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from clgkit import registration
from clgkit.blocks import output
from clgkit.registration.patches import plan_patches
from clgkit.stages._motion_frames import Mask, Search, centers_of, finite, move, prepare, register
from clgkit.stages._motion_photons import SENTENCES, PhotonModel, Unlike, fit_photons
from clgkit.stages._time_means import numbered

if TYPE_CHECKING:
    import xarray as xr

    from clgkit.data import Movie
    from clgkit.stages._motion_find import Fields
    from clgkit.workspace import Workspace

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.intp]

FRAMES_PER_SAMPLE = 20
COMPARED = (8, 40)
SPLIT = (6, 16)
BINS = (2, 8)
BIN_FRAMES = 5
TRIPLES = 6
FLOW_GRID_PX, FLOW_OVERLAP_PX, FLOW_REACH_PX = 64, 32, 4


class PlaneQuality(NamedTuple):
    """Numbers of one plane; NaN where they could not be measured."""

    r_before: float
    """Mean correlation of a raw frame with the mean of the others."""
    r_after: float
    """The same of corrected frames, over the same pixels."""
    crispness_before: float
    """Norm of the gradient of the mean of the raw frames, in data units."""
    crispness_after: float
    """The same of the corrected frames, over the same pixels."""
    residual_px: float
    """Motion that is left between means of successive corrected frames, rms, pixels."""
    residual_noise_px: float
    """Standard error that noise gives the measurement in one patch, pixels."""
    heldout_before: float
    """As `r_before`, of one half of the photons."""
    heldout_after: float
    """The same after the motion was undone that the other half shows."""
    gain: float
    """Data units for each photon."""
    offset: float
    """Data units without light, read noise counted as light."""
    unlike: float
    """`Unlike`: why there is no held-out score."""


def measure_planes(  # noqa: PLR0917  (all that was made)
    function: Movie,
    corrected: Movie,
    fields: Fields,
    shifts: xr.DataArray,
    search: Search,
    workspace: Workspace,
) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the numbers (z, measure) and the residual flow (z, flow_y, flow_x) of all planes."""
    centers = flow_centers((function.sizes["y"], function.sizes["x"]))
    sizes: dict[str, Any] = {"flow_y": len(centers.y), "flow_x": len(centers.x)}
    left = output("residual_flow", ("z", "flow_y", "flow_x"), function, **sizes)
    places: dict[str, Any] = {
        "flow_y": (("flow_y",), centers.y, {}),
        "flow_x": (("flow_x",), centers.x, {}),
    }
    n_numbers = len(PlaneQuality._fields)
    quality, flow = workspace.map_blocks(
        partial(measure, raw=function, corrected=corrected, search=search),
        (numbered(function), fields.template, fields.bad_pixels, fields.bad_frames, shifts),
        [
            output("quality", ("z", "measure"), function, np.float64, measure=n_numbers),
            replace(left, coords={**left.coords, **places}),
        ],
        split={"z": 1},
    )
    return quality, flow


class Plane(NamedTuple):
    """One plane, its frames read on demand."""

    raw: xr.DataArray
    """(time, y, x), lazy."""
    corrected: xr.DataArray
    template: Float32
    bad_pixels: Mask
    good: Numbers
    """Frames that show the sample."""
    shift_px: Float32
    """(T, 2)"""


def flow_centers(shape: tuple[int, int]) -> registration.Centers:
    """Return where the residual flow is measured."""
    grid = plan_patches(shape, grid_px=FLOW_GRID_PX, overlap_px=FLOW_OVERLAP_PX)
    return registration.Centers(grid.y.centers_px, grid.x.centers_px)


def measure(
    number: xr.DataArray,
    template: xr.DataArray,
    bad_pixels: xr.DataArray,
    bad_frames: xr.DataArray,
    shifts: xr.DataArray,
    *,
    raw: xr.DataArray,
    corrected: xr.DataArray,
    search: Search,
) -> tuple[Float64, Float32]:
    """Return the numbers (1, n) and the residual flow (1, ny, nx) of one plane.

    Parameters
    ----------
    number, template, bad_pixels, bad_frames, shifts
        One plane of each.
    raw, corrected
        All planes of the movies, lazy.
    search
        As for the stage.
    """
    which = int(number.values[0])
    plane = Plane(
        raw.isel(z=which),
        corrected.isel(z=which),
        template.values[0],
        bad_pixels.values[0] > 0,
        np.flatnonzero(bad_frames.values[:, 0] == registration.FrameCode.OK),
        shifts.values[:, 0],
    )
    centers = flow_centers((raw.sizes["y"], raw.sizes["x"]))
    flow = np.full((len(centers.y), len(centers.x)), np.nan, np.float32)
    numbers = dict.fromkeys(PlaneQuality._fields, np.nan) | {"unlike": float(Unlike.FEW)}
    if len(plane.good) > 1 and np.isfinite(plane.template).any():
        compared, level = compare(plane.raw, plane.corrected, plane.good, plane.bad_pixels)
        left, flow[:] = _residual(plane, flow.shape)
        numbers |= compared | left | _split(plane, level, search)
    return np.array([[numbers[name] for name in PlaneQuality._fields]]), flow[None]


def described(numbers: Float64) -> dict[str, Any]:
    """Return the numbers of one plane as plain values: None for NaN, a reason as a sentence."""
    made: dict[str, Any] = {
        name: float(value) if np.isfinite(value) else None
        for name, value in zip(PlaneQuality._fields, numbers, strict=True)
    }
    unlike = made.pop("unlike")
    why = SENTENCES.get(Unlike(int(unlike))) if unlike is not None else SENTENCES[Unlike.FEW]
    return made | {"heldout_skipped": why}


def compare(
    raw: xr.DataArray, corrected: xr.DataArray, good: Numbers, bad_pixels: Mask
) -> tuple[dict[str, float], Float32]:
    """Return agreement and crispness before and after, and the mean of the raw frames.

    Parameters
    ----------
    raw, corrected
        (time, y, x) of one plane, lazy.
    good
        Two or more frames that show the sample.
    bad_pixels : (Y, X)
        Left out.
    """
    frames = _spread(good, _clipped(len(good) // FRAMES_PER_SAMPLE, COMPARED))
    level = _mean(_frames(raw, frames))
    after = _mean(_frames(corrected, frames), everywhere=True)
    shown = np.isfinite(after) & np.isfinite(level) & ~bad_pixels
    numbers = {}
    for name, movie, mean in (("before", raw, level), ("after", corrected, after)):
        masked = np.where(shown, mean, np.nan)
        numbers[f"r_{name}"] = _agreement(_frames(movie, frames), masked, len(frames))
        numbers[f"crispness_{name}"] = registration.crispness(masked) if shown.any() else np.nan
    return numbers, level


def _residual(plane: Plane, shape: tuple[int, ...]) -> tuple[dict[str, float], Float32]:
    """Return the motion that is left, and its rms in every patch (ny, nx)."""
    nothing = {"residual_px": np.nan, "residual_noise_px": np.nan}
    n_bins = _clipped(len(plane.good) // (5 * BIN_FRAMES), BINS)
    length = min(BIN_FRAMES, len(plane.good) // n_bins)
    starts = _spread(np.arange(len(plane.good) - length + 1), n_bins)
    means = [_mean(_frames(plane.corrected, plane.good[at : at + length])) for at in starts]
    if len(means) < 2:
        return nothing, np.full(shape, np.nan, np.float32)
    prepared = registration.prepare_piecewise(
        plane.template,
        grid_px=FLOW_GRID_PX,
        overlap_px=FLOW_OVERLAP_PX,
        max_shift_px=FLOW_REACH_PX,
        max_deviation_px=FLOW_REACH_PX,
    )
    flow = registration.residual_flow(np.array(means), prepared, bin_frames=1)
    left = flow.patch_shift - flow.patch_shift.mean(axis=0)
    error = flow.error_px[np.isfinite(flow.error_px)]
    noise = float(np.sqrt(np.square(error).mean())) if error.size else np.nan
    each = np.sqrt(np.square(left).sum(axis=-1).mean(axis=0))
    return {"residual_px": flow.rms_px, "residual_noise_px": noise}, each.astype(np.float32)


def _split(plane: Plane, level: Float32, search: Search) -> dict[str, float]:
    """Return what photons that had no part in the estimate say, or why they cannot."""
    model = fit_photons(_triples(plane), level, plane.bad_pixels)
    fitted = {"gain": model.gain, "offset": model.offset, "unlike": float(model.unlike)}
    if model.unlike != Unlike.PHOTONS:
        return fitted
    step = len(plane.good) / _clipped(len(plane.good) // (2 * FRAMES_PER_SAMPLE), SPLIT)
    frames = plane.good[np.unique(np.arange(0, len(plane.good) - 0.5, max(step, 1)).astype(int))]
    prepared = prepare(plane.template, plane.bad_pixels, search)
    centers = centers_of(plane.template.shape, search)
    held_out, moved = [], []
    for number, frame in zip(frames, _frames(plane.raw, frames), strict=True):
        seen, other = _dealt(frame, plane.bad_pixels, model, seed=int(number))
        found = register(seen[None], prepared, search)
        held_out.append(other)
        moved.append(move(other[None], found.patch_px, found.phase, centers, search)[0])
    after = _mean(moved, everywhere=True)
    shown = np.isfinite(after)
    before = np.where(shown, _mean(held_out), np.nan)
    return fitted | {
        "heldout_before": _agreement(held_out, before, len(frames)),
        "heldout_after": _agreement(moved, after, len(frames)),
    }


def _dealt(
    frame: Float32, bad_pixels: Mask, model: PhotonModel, *, seed: int
) -> tuple[Float32, Float32]:
    """Deal the photons of one frame out to two; NaN where they cannot be counted."""
    missing = bad_pixels | ~np.isfinite(frame)
    halves = registration.split_photons(
        np.where(missing, model.offset, frame)[None],
        gain=model.gain,
        offset=model.offset,
        seed=seed,
    )
    first, second = (np.where(missing, np.float32(np.nan), half[0]) for half in halves)
    return first.astype(np.float32), second.astype(np.float32)


def _triples(plane: Plane) -> Iterator[tuple[Float32, Float32, Float32]]:
    """Give good frames that follow each other, where the motion between them is least."""
    good = set(plane.good.tolist())
    starts = [t for t in plane.good.tolist() if {t + 1, t + 2} <= good]
    candidates = [starts[i] for i in _spread(np.arange(len(starts)), 4 * TRIPLES)]
    moved = [np.abs(np.diff(plane.shift_px[t : t + 3], axis=0)).sum() for t in candidates]
    for i in np.argsort(moved, kind="stable")[:TRIPLES]:
        t = candidates[i]
        first, second, third = _frames(plane.raw, [t, t + 1, t + 2])
        yield first, second, third


def _frames(movie: xr.DataArray, numbers: Iterable[int]) -> Iterator[Float32]:
    """Read frames one by one; infinity becomes NaN."""
    for number in numbers:
        yield finite(movie.isel(time=int(number)).values.astype(np.float32))


def _mean(frames: Iterable[Float32], *, everywhere: bool = False) -> Float32:
    """Return the mean of finite values; NaN where there are none, or not in all frames."""
    total: Any = 0.0
    count: Any = 0
    n = 0
    for frame in frames:
        valid = np.isfinite(frame)
        total = total + np.where(valid, frame, 0.0).astype(np.float64)
        count = count + valid
        n += 1
    with np.errstate(invalid="ignore", divide="ignore"):  # pixels no frame shows become NaN
        mean = np.asarray(total / count, np.float32)
    return np.where(count == n, mean, np.float32(np.nan)) if everywhere else mean


def _agreement(frames: Iterable[Float32], mean: Float32, n: int) -> float:
    """Return the mean correlation of each of `n` frames with the mean of the others.

    With itself in the mean, a frame of noise would agree with it.
    """
    found = [
        registration.correlation_to_template(frame[None], (n * mean - frame) / (n - 1))[0]
        for frame in frames
    ]
    return float(np.mean(found)) if n > 1 else np.nan


def _spread(numbers: Numbers, n: int) -> Numbers:
    """Choose up to `n`, evenly."""
    if not len(numbers):
        return numbers
    return numbers[registration.choose_frames(len(numbers), n=n)]


def _clipped(n: int, limits: tuple[int, int]) -> int:
    return max(limits[0], min(limits[1], n))
