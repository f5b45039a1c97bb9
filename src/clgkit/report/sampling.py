"""Fewer numbers that show the same: bins over time, rows spread over a table, image crops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import xarray as xr

Floats = npt.NDArray[np.floating[Any]]
Float64 = npt.NDArray[np.float64]


def spread(n: int, most: int) -> list[slice]:
    """Return up to eight runs of indices, spread evenly over `n`, `most` in all."""
    if n <= most:
        return [slice(0, n)] if n else []
    n_runs = 8
    length = most // n_runs
    starts = np.linspace(0, n - length, n_runs).astype(int)
    return [slice(int(start), int(start) + length) for start in starts]


def rows_of(table: xr.DataArray, chosen: list[slice]) -> Float64:
    """Read runs of rows of a (neuron, …) array."""
    read = [np.asarray(table.isel(neuron=run).values, np.float64) for run in chosen]
    return np.concatenate(read) if read else np.zeros((0, table.shape[1]))


def bin_edges(n: int, most: int) -> npt.NDArray[np.int64]:
    """Return where the bins of `n` values start, at most `most` of them."""
    size = max(1, -(-n // max(most, 1)))
    return np.arange(0, n, size, dtype=np.int64)


def bin_means(rows: Floats, most: int) -> Float64:
    """Average neighbours along the last axis until at most `most` are left."""
    starts = bin_edges(rows.shape[-1], most)
    values = np.asarray(rows, np.float64)
    good = np.isfinite(values)
    total = np.add.reduceat(np.where(good, values, 0.0), starts, axis=-1)
    count = np.add.reduceat(good.astype(np.int64), starts, axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):  # a bin without a value is NaN
        return np.asarray(total / count)


def bin_extremes(rows: Floats, most: int) -> Float64:
    """Keep of each bin along the first axis the value farthest from the column's median."""
    values = np.asarray(rows, np.float64)
    starts = bin_edges(len(values), most)
    if len(starts) == len(values):
        return values
    filled = np.where(np.isfinite(values), values, 0.0)
    far = np.abs(filled - np.median(filled, axis=0))
    stops = [*starts[1:], len(values)]
    columns = np.arange(values.shape[1])
    picked = [
        filled[start:stop][far[start:stop].argmax(axis=0), columns]
        for start, stop in zip(starts, stops, strict=True)
    ]
    return np.stack(picked)


def shrink(image: Floats, most: int) -> Float64:
    """Average blocks of pixels until neither side is longer than `most`."""
    size = max(1, -(-max(image.shape) // most))
    if size == 1:
        return np.asarray(image, np.float64)
    return bin_means(bin_means(image, -(-image.shape[1] // size)).T, -(-image.shape[0] // size)).T


def middle(n: int, most: int) -> slice:
    """Return the middle `most` of `n` indices."""
    start = max(0, (n - most) // 2)
    return slice(start, min(n, start + most))


def frames_spread(n: int, most: int = 25) -> list[int]:
    """Return up to `most` frames spread evenly over `n`."""
    return sorted({int(frame) for frame in np.linspace(0, n - 1, min(n, most))}) if n else []


def mean_frame(
    movie: xr.DataArray, plane: int, frames: list[int], crop: dict[str, slice]
) -> Float64:
    """Average some frames of a plane, one at a time; NaN where none shows anything."""
    total: Any = 0.0
    count: Any = 0
    for frame in frames:
        image = np.asarray(movie.isel({"time": frame, "z": plane, **crop}).values, np.float64)
        good = np.isfinite(image)
        total = total + np.where(good, image, 0.0)
        count = count + good
    with np.errstate(invalid="ignore", divide="ignore"):  # pixels no frame shows become NaN
        return np.asarray(total / count)


def as_grey(image: Floats, low: float, high: float) -> npt.NDArray[np.uint8]:
    """Scale to 0 … 255 between two levels, in 64 steps that compress well; NaN is black."""
    span = high - low if high > low else 1.0
    scaled = np.clip((np.nan_to_num(np.asarray(image, np.float64), nan=low) - low) / span, 0, 1)
    return (np.rint(scaled * 63) * (255 / 63)).astype(np.uint8)


def levels(*images: Floats) -> tuple[float, float]:
    """Return the grey levels that show these images best together."""
    values = np.concatenate([image[np.isfinite(image)] for image in images])
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, [0.5, 99.7])
    return float(low), float(high)


def outlines(labels: npt.NDArray[np.integer[Any]], factor: int) -> npt.NDArray[np.bool_]:
    """Return the rims of labels, one pixel wide after enlarging by `factor`."""
    large = np.repeat(np.repeat(labels, factor, axis=0), factor, axis=1)
    rim = np.zeros(large.shape, bool)
    for axis in (0, 1):
        differs = np.diff(large, axis=axis) != 0
        pads: list[tuple[int, int]] = [(0, 0), (0, 0)]
        for pad in ((0, 1), (1, 0)):
            pads[axis] = pad
            rim |= np.pad(differs, pads)
    return rim & (large > 0)
