"""How NoRMCorre cuts a field into patches, moves them by phases and puts them together."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from scipy import fft

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Complex64 = npt.NDArray[np.complex64]
Complex128 = npt.NDArray[np.complex128]
Slices = tuple[slice, slice]
Corners = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
Weights = tuple[Float32, Float32]

SEAM_PX = 0.5
"""Neighbouring shifts that differ by this are tiled, not blended."""
ROWS_TOGETHER = 4
"""Rows of patches whose transforms are held at a time: more do not stay in the cache."""


class Run(NamedTuple):
    """Successive patches along one axis, equally long and equally far from each other."""

    numbers: slice
    """Of the patches, among those of the axis."""
    windows: slice
    """Their first pixels."""
    length: int
    starts: npt.NDArray[np.int64]
    """(n,) the same."""
    ramps: Float32
    """(n, length) weights of their pixels when blended; those of a pixel add up to 1."""
    steps: Float32
    """(n, length) the same when tiled: 1 in the cell, else 0."""


class Patches(NamedTuple):
    """Cells along both axes and what surrounds them."""

    shape: tuple[int, int]
    cells: list[Slices]
    patches: list[Slices]
    runs: tuple[list[Run], list[Run]]
    """The patches along y and along x."""


def cut_field(shape: tuple[int, int], grid: list[int], overlap: int, least: int) -> Patches:
    """Cut a field into cells of some sides, y and x, and extend each to a patch.

    Parameters
    ----------
    shape
        (Y, X) of the field.
    grid, overlap
        Sides of a cell, and how far a patch reaches beyond it, clipped to the field.
    least
        A shorter last cell joins the one before.

    Returns
    -------
    Patches
    """
    cells = [_cut(n, side, least) for n, side in zip(shape, grid, strict=True)]
    patches = [
        [slice(max(cell.start - overlap, 0), min(cell.stop + overlap, n)) for cell in axis]
        for axis, n in zip(cells, shape, strict=True)
    ]
    return Patches(
        (len(cells[0]), len(cells[1])),
        list(itertools.product(cells[0], cells[1])),
        list(itertools.product(patches[0], patches[1])),
        (
            _runs(cells[0], patches[0], most=ROWS_TOGETHER),
            _runs(cells[1], patches[1], most=len(cells[1])),
        ),
    )


def _cut(n: int, side: int, least: int) -> list[slice]:
    edges = [*range(0, n, side), n]
    if len(edges) > 2 and edges[-1] - edges[-2] < least:
        del edges[-2]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def _runs(cells: list[slice], patches: list[slice], *, most: int) -> list[Run]:
    """Gather the patches of one axis that can be moved together."""
    ramps = [_ramp(cell, patch) for cell, patch in zip(cells, patches, strict=True)]
    total = np.zeros(cells[-1].stop)
    for patch, ramp in zip(patches, ramps, strict=True):
        total[patch] += ramp
    runs, first = [], 0
    while first < len(patches):
        inside = slice(first, first + min(_n_alike(patches[first:]), most))
        starts = np.array([patch.start for patch in patches[inside]])
        length = patches[first].stop - patches[first].start
        step = int(starts[1] - starts[0]) if len(starts) > 1 else 1
        steps = np.zeros((len(starts), length), np.float32)
        for row, cell, patch in zip(steps, cells[inside], patches[inside], strict=True):
            row[cell.start - patch.start : cell.stop - patch.start] = 1
        shares = [r / total[p] for r, p in zip(ramps[inside], patches[inside], strict=True)]
        windows = slice(int(starts[0]), int(starts[-1]) + 1, step)
        runs.append(Run(inside, windows, length, starts, np.array(shares, np.float32), steps))
        first = inside.stop
    return runs


def _n_alike(patches: list[slice]) -> int:
    """Return how many patches are as long as the first and as far apart as the first two."""
    lengths = [patch.stop - patch.start for patch in patches]
    apart = [b.start - a.start for a, b in itertools.pairwise(patches)]
    alike = (
        length == lengths[0] and step == apart[0] > 0
        for length, step in zip(lengths[1:], apart, strict=True)
    )
    return 1 + len(list(itertools.takewhile(bool, alike)))


def _ramp(cell: slice, patch: slice) -> Float64:
    """Return weights that rise to 1 towards the cell."""
    before, after = cell.start - patch.start, patch.stop - cell.stop
    left, right = (np.linspace(1 / (n + 1), 1, n) for n in (before, after))
    return np.concatenate([left, np.ones(cell.stop - cell.start), right[::-1]])


def apply_patches(
    frame: npt.NDArray[Any], shift: Float64, phase: Float64, fine: Patches, fill: str
) -> Float64:
    """Move patches and put them together.

    Parameters
    ----------
    frame : (Y, X)
    shift : (ny, nx, 2), phase : (ny, nx)
        Of the patches that were compared; resized to those that are moved.
    fine
        The patches that are moved.
    fill
        "copy", "nan" or "minimum": what enters at the border of a patch.

    Returns
    -------
    (Y, X) float64
        Within the values of the frame; NaN if one of them is NaN.

    Notes
    -----
    A frame is moved in single precision after its mean has been subtracted.  All patches
    between the same rows share one transform along y.
    """
    rows, columns = (_bicubic(old, new) for old, new in zip(phase.shape, fine.shape, strict=True))
    shifts = np.moveaxis(rows @ np.moveaxis(shift, -1, 0) @ columns.T, 0, -1)
    phases = np.where(shifts.any(axis=-1), rows @ phase @ columns.T, 0)
    pixels = frame.astype(np.float64)
    if not shifts.any():
        return pixels
    blend = all(np.abs(np.diff(shifts, axis=axis)).max(initial=0.0) < SEAM_PX for axis in (0, 1))
    mean = float(pixels.mean())
    rest = (pixels - mean).astype(np.float32)
    out, weights = np.zeros((2, *frame.shape), np.float32)
    for y in fine.runs[0]:
        strips = sliding_window_view(rest, y.length, axis=0)[y.windows].transpose(0, 2, 1)
        spectra = fft.rfft(strips, axis=1)
        for x in fine.runs[1]:
            # In one layout, for which the kernels are compiled.
            by, turned = (np.ascontiguousarray(a[y.numbers, x.numbers]) for a in (shifts, phases))
            moved = _move_together(spectra, by, turned, y, x)
            # A mean is moved like anything else: by the cosine of the phase.
            level = (mean * (np.cos(turned) - 1)).astype(np.float32)
            if fill == "copy":
                _repeat(moved, _entering(by, y, x))
            else:
                lowest = sliding_window_view(strips, x.length, axis=2)[:, :, x.windows].min((1, 3))
                value = lowest - level if fill == "minimum" else np.full_like(level, np.nan)
                _set(moved, _entering(by, y, x), value)
            corners = (y.starts, x.starts)
            shares = (y.ramps, x.ramps) if blend else (y.steps, x.steps)
            if fill == "nan":
                shown = np.isfinite(moved)
                _add(shown.astype(np.float32), corners, shares, 0 * level, weights)
                moved = np.where(shown, moved + level[:, None, :, None], np.float32(0))
                level *= 0
            _add(moved, corners, shares, level, out)
    if fill == "nan":
        with np.errstate(invalid="ignore", divide="ignore"):
            out /= weights
    return np.asarray(
        np.clip(out.astype(np.float64) + mean, pixels.min(), pixels.max()), np.float64
    )


def _move_together(spectra: Complex64, shifts: Float64, phases: Float64, y: Run, x: Run) -> Float32:
    """Return patches (n, length, m, length), moved; `spectra` are of strips, along y."""
    windows = sliding_window_view(spectra, x.length, axis=2)[:, :, x.windows]
    waves = np.asarray(fft.fft(windows, axis=-1), np.complex64)
    _turn(waves, shifts, phases, y.length)
    waves = fft.ifft(waves, axis=-1, overwrite_x=True)
    return np.asarray(fft.irfft(waves, n=y.length, axis=1, overwrite_x=True), np.float32)


@numba.njit(cache=True, nogil=True)
def _turn(waves: Complex64, shifts: Float64, phases: Float64, length: int) -> None:
    """Multiply transforms (n, length // 2 + 1, m, X) by what moves the real part of the images.

    That is a ramp of phases times the cosine of the phase, but for the highest frequency of an
    even axis: it has no counterpart, and its real part is that of ramp and phase together.
    """
    n_rows, n_columns = waves.shape[1], waves.shape[3]
    down, right = np.empty(n_rows, np.complex128), np.empty(n_columns, np.complex128)
    edge, across = np.empty(n_rows, np.complex64), np.empty(n_columns, np.complex64)
    for i in range(waves.shape[0]):
        for j in range(waves.shape[2]):
            _fill_ramp(down, shifts[i, j, 0] / length, n_rows)
            _fill_ramp(right, shifts[i, j, 1] / n_columns, (n_columns + 1) // 2)
            turn = np.exp(1j * phases[i, j])
            highest = n_columns // 2
            edge[:] = down * (right[highest] * turn).real
            factor = down * turn.real
            if length % 2 == 0:
                last = np.conj(down[-1])
                factor[-1] = (last * turn).real
                edge[-1] = (last * right[highest] * turn).real
            across[:] = right
            for k in range(n_rows):
                row, weight, kept = waves[i, k, j], np.complex64(factor[k]), waves[i, k, j, highest]
                for l in range(n_columns):  # noqa: E741  (a frequency, as k is)
                    row[l] *= weight * across[l]
                if n_columns % 2 == 0:
                    row[highest] = kept * edge[k]


@numba.njit(cache=True, nogil=True)
def _fill_ramp(ramp: Complex128, cycles: float, n_positive: int) -> None:
    """Fill a ramp over frequencies; those after the positive ones are negative."""
    step = np.exp(-2j * np.pi * cycles)
    ramp[0] = 1
    for k in range(1, n_positive):
        ramp[k] = ramp[k - 1] * step
    if n_positive < len(ramp):
        n = len(ramp)
        middle = ramp[n_positive - 1] * step
        for k in range(n_positive, n):
            ramp[k] = np.conj(ramp[n - k] if n - k < n_positive else middle)


def move_image(image: npt.NDArray[np.generic], shift: Float64, phase: float) -> Float64:
    """Move an image around its edges."""
    spectrum = fft.fft2(image.astype(np.float64))
    y, x = (np.fft.fftfreq(n) for n in spectrum.shape)
    ramp = np.outer(np.exp(-2j * np.pi * shift[0] * y), np.exp(-2j * np.pi * shift[1] * x))
    return np.asarray(fft.ifft2(spectrum * ramp * np.exp(1j * phase)).real, dtype=np.float64)


def _entering(shifts: Float64, y: Run, x: Run) -> npt.NDArray[np.int64]:
    """Return how many rows and columns enter; negative ones at the end of the axis."""
    count = np.minimum(np.floor(np.abs(shifts) + 0.5), (y.length - 1, x.length - 1))
    return np.asarray(np.copysign(count, shifts), np.int64)


@numba.njit(cache=True, nogil=True)
def _repeat(moved: Float32, entering: npt.NDArray[np.int64]) -> None:
    """Put the nearest row or column that was there in the place of those that enter."""
    n_rows, n_columns = moved.shape[1], moved.shape[3]
    for i in range(moved.shape[0]):
        for j in range(moved.shape[2]):
            n = entering[i, j, 0]
            for k in range(max(n, 0)):
                moved[i, k, j] = moved[i, n, j]
            for k in range(max(-n, 0)):
                moved[i, n_rows - 1 - k, j] = moved[i, n_rows - 1 + n, j]
            n = entering[i, j, 1]
            if n > 0:
                for k in range(n_rows):
                    moved[i, k, j, :n] = moved[i, k, j, n]
            elif n < 0:
                for k in range(n_rows):
                    moved[i, k, j, n_columns + n :] = moved[i, k, j, n_columns - 1 + n]


@numba.njit(cache=True, nogil=True)
def _set(moved: Float32, entering: npt.NDArray[np.int64], value: Float32) -> None:
    """Give the rows and columns that enter a value, one for each patch."""
    for i in range(moved.shape[0]):
        for j in range(moved.shape[2]):
            for k in range(moved.shape[1]):
                n = entering[i, j, 0]
                if k < n or k >= moved.shape[1] + min(n, 0):
                    moved[i, k, j] = value[i, j]
                n = entering[i, j, 1]
                moved[i, k, j, : max(n, 0)] = value[i, j]
                moved[i, k, j, moved.shape[3] + min(n, 0) :] = value[i, j]


@numba.njit(cache=True, nogil=True)
def _add(moved: Float32, corners: Corners, weights: Weights, level: Float32, out: Float32) -> None:
    """Add patches, times their weights down and across, where they lie."""
    (top, left), (down, across), length = corners, weights, moved.shape[3]
    for i in range(moved.shape[0]):
        for k in range(moved.shape[1]):
            weight = down[i, k]
            if weight == 0:
                continue
            for j in range(moved.shape[2]):
                row, added, share = moved[i, k, j], level[i, j], across[j]
                target = out[top[i] + k, left[j] : left[j] + length]
                for l in range(length):  # noqa: E741  (a place, as k is)
                    target[l] += weight * share[l] * (row[l] + added)


@lru_cache(maxsize=64)
def _bicubic(n_old: int, n_new: int) -> Float64:
    """Return the weights of cubic resizing (a = -1/2), centres aligned and edges mirrored."""
    scale = n_old / n_new
    position = (np.arange(n_new) + 0.5) * scale - 0.5
    matrix = np.zeros((n_new, n_old))
    for new, at in enumerate(position):
        taps = math.floor(at) + np.arange(-1, 3)
        d = np.abs(at - taps)
        near = 1.5 * d**3 - 2.5 * d**2 + 1
        far = -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
        weights = np.where(d <= 1, near, np.where(d <= 2, far, 0))
        period = taps % (2 * n_old)
        mirrored = np.where(period < n_old, period, 2 * n_old - 1 - period)
        np.add.at(matrix[new], mirrored, weights / weights.sum())
    return matrix
