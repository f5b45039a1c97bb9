"""Motion correction as NoRMCorre does it, for results that must compare with it.

Written from a description of the program and of Pnevmatikakis and Giovannucci (J Neurosci
Methods 291:83, 2017).  The recommended way is :mod:`clgkit.registration.piecewise`.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import fft

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Complex64 = npt.NDArray[np.complex64]
Slices = tuple[slice, slice]

FIRST_FRAMES = 100
"""Frames from the middle of the movie that make the first template."""
SEAM_PX = 0.5
"""Neighbouring shifts that differ by this are tiled, not blended."""


class NormcorreSettings(NamedTuple):
    """Settings of :func:`register_like_normcorre`, defaults as recommended for 512 px.

    For 1024 px the recommendation is ``grid_px=256, overlap_px=64``.
    """

    grid_px: int = 128
    """Side of the cells; at least the field: one shift for each frame."""
    overlap_px: int = 32
    """Estimating, a patch reaches this far beyond its cell on each side."""
    apply_overlap_px: int = 32
    """The same when applying."""
    least_cell_px: int = 32
    """A shorter last cell joins the one before; when estimating only."""
    finer: int = 4
    """Cells are divided by this, along both axes, for applying."""
    max_shift_px: float = 15
    """Of the whole frame, per axis."""
    max_deviation_px: float = 3
    """Of a patch from the whole frame, per axis."""
    upsampling: int = 50
    """Shifts are multiples of ``1 / upsampling`` px."""
    iterations: int = 2
    """Passes over the movie."""
    update_template: bool = True
    """Whether the median of what was corrected takes the template's place after each bin.  If
    not, a template that is given stays."""
    bin_frames: int = 200
    """Frames that see the same template; one more as long as one frame would be left over."""
    buffer_bins: int = 50
    """Bins whose means make the median."""
    fill: Literal["copy", "nan", "minimum"] = "copy"
    """What enters at the border of each patch: its next row or column, NaN, or its minimum."""


class NormcorreResult(NamedTuple):
    """A corrected movie."""

    frames: Float32
    """(T, Y, X)"""
    rigid: Float32
    """(T, 2) shift (y, x) of the whole frame, pixels."""
    patch_shift: Float32
    """(T, ny, nx, 2) shift of each patch, the rigid one included."""
    template: Float32
    """(Y, X) the last one."""


class _Patches(NamedTuple):
    """Cells along both axes and what surrounds them."""

    shape: tuple[int, int]
    cells: list[Slices]
    patches: list[Slices]


class _Target(NamedTuple):
    """A template and its transforms."""

    image: Float64
    spectrum: Complex64
    patch_spectra: list[Complex64]


def register_like_normcorre(
    frames: npt.NDArray[np.generic],
    settings: NormcorreSettings = NormcorreSettings(),  # noqa: B008  (immutable)
    *,
    template: npt.NDArray[np.generic] | None = None,
) -> NormcorreResult:
    """Correct motion patch by patch, with the template that NoRMCorre would have.

    Parameters
    ----------
    frames : (T, Y, X)
        Not negative: the modulus of the correlation is maximised, and a negative peak may
        win.  Subtract the minimum of the movie first.
    settings
        See there.
    template : (Y, X)
        The first template; made of the middle frames if not given.

    Returns
    -------
    NormcorreResult
        Of the last pass.

    Raises
    ------
    ValueError
        If the shapes do not fit, there are no frames, or a setting is out of range.

    Notes
    -----
    Frames depend on the template, and that on the bins before: the movie is done in order,
    and cutting it elsewhere gives other results.

    Each shift is the largest modulus of the correlation, on half pixels within the window and
    then on a grid of ``1 / upsampling``.  Patches are moved by a phase ramp and blended.
    Deviations: the window is evaluated by matrix products, in single precision; the offset of
    bidirectional scanning is not looked for
    (:func:`~clgkit.registration.bidirectional.estimate_line_offset`); a movie of one frame is
    no error; borders are never filled by a value from another argument.
    """
    _check(frames, settings, template)
    shape = (frames.shape[1], frames.shape[2])
    coarse = _cut(shape, settings.grid_px, settings.overlap_px, settings.least_cell_px)
    step = [settings.grid_px // (1 if settings.grid_px >= n else settings.finer) for n in shape]
    fine = _cut_axes(shape, step, settings.apply_overlap_px, 0)
    first = _first_template(frames, settings) if template is None else template
    target = _prepare(np.asarray(first, dtype=np.float64), coarse)
    n = len(frames)
    result = NormcorreResult(
        np.empty(frames.shape, dtype=np.float32),
        np.empty((n, 2), dtype=np.float32),
        np.empty((n, *coarse.shape, 2), dtype=np.float32),
        np.empty(shape, dtype=np.float32),
    )
    buffer: deque[Float64] = deque(maxlen=settings.buffer_bins)
    for _ in range(settings.iterations):
        for start in range(0, n, _bin_width(n, settings.bin_frames)):
            stop = min(start + _bin_width(n, settings.bin_frames), n)
            for t in range(start, stop):
                frame = np.asarray(frames[t], dtype=np.float64)
                rigid, shift, phase = _estimate(frame, target, coarse, settings)
                result.rigid[t], result.patch_shift[t] = rigid, shift
                result.frames[t] = _apply(frame, shift, phase, fine, settings.fill)
            if settings.update_template:
                buffer.append(_mean(result.frames[start:stop], target.image))
                target = _prepare(np.nanmedian(np.array(buffer), axis=0), coarse)
    result.template[:] = target.image
    return result


def _check(
    frames: npt.NDArray[np.generic],
    settings: NormcorreSettings,
    template: npt.NDArray[np.generic] | None,
) -> None:
    if frames.ndim != 3 or 0 in frames.shape:
        raise ValueError(f"expected frames (T, Y, X), found an array of shape {frames.shape}.")
    if template is not None and template.shape != frames.shape[1:]:
        raise ValueError(
            f"frames {frames.shape} do not fit the template {template.shape}: "
            "expected (T, Y, X) and (Y, X)."
        )
    counts = (
        settings.grid_px // settings.finer if settings.finer > 0 else 0,
        settings.upsampling,
        settings.iterations,
        settings.bin_frames,
        settings.buffer_bins,
    )
    if min(counts) < 1 or settings.fill not in {"copy", "nan", "minimum"}:
        raise ValueError(f"cells and counts must be positive and the fill known: {settings}.")


def _bin_width(n_frames: int, width: int) -> int:
    while n_frames > 1 and n_frames % width == 1:
        width += 1
    return width


def _cut(shape: tuple[int, int], grid: int, overlap: int, least: int) -> _Patches:
    return _cut_axes(shape, [grid, grid], overlap, least)


def _cut_axes(shape: tuple[int, int], grid: list[int], overlap: int, least: int) -> _Patches:
    axes = []
    for n, side in zip(shape, grid, strict=True):
        edges = [*range(0, n, side), n]
        if len(edges) > 2 and edges[-1] - edges[-2] < least:
            del edges[-2]
        axes.append([slice(a, b) for a, b in itertools.pairwise(edges)])
    wide = [
        [slice(max(c.start - overlap, 0), min(c.stop + overlap, n)) for c in axis]
        for axis, n in zip(axes, shape, strict=True)
    ]
    return _Patches(
        (len(axes[0]), len(axes[1])),
        [(y, x) for y in axes[0] for x in axes[1]],
        [(y, x) for y in wide[0] for x in wide[1]],
    )


def _prepare(image: Float64, coarse: _Patches) -> _Target:
    spectra = [_transform(image[patch]) for patch in coarse.patches]
    return _Target(image, _transform(image), spectra)


def _transform(image: Float64) -> Complex64:
    return np.asarray(fft.fft2(image), dtype=np.complex64)


def _first_template(frames: npt.NDArray[np.generic], settings: NormcorreSettings) -> Float64:
    """Return the mean of the middle frames, each laid on their median, wrapping around."""
    n, total = min(len(frames), FIRST_FRAMES), len(frames)
    first, last = math.ceil(total / 2 - n / 2 + 1) - 1, math.floor(total / 2 + n / 2)
    sample = np.asarray(frames[first:last], dtype=np.float64)
    median = _transform(np.median(sample, axis=0))
    limit = settings.max_shift_px
    mean = np.zeros(sample.shape[1:])
    for frame in sample:
        spectrum = _transform(frame)
        shift, phase = _find(median, spectrum, (-limit, limit), (-limit, limit), settings)
        mean += _move(fft.fft2(frame), shift, phase) / len(sample)
    return mean


def _estimate(
    frame: Float64, target: _Target, coarse: _Patches, settings: NormcorreSettings
) -> tuple[Float64, Float64, Float64]:
    """Return the rigid shift, the patches' shifts (ny, nx, 2) and their phases (ny, nx)."""
    limit, reach = settings.max_shift_px, settings.max_deviation_px
    rigid, phase = _find(
        target.spectrum, _transform(frame), (-limit, limit), (-limit, limit), settings
    )
    if len(coarse.cells) == 1:
        return rigid, rigid.reshape(1, 1, 2), np.full((1, 1), phase)
    shifts, phases = np.empty((len(coarse.cells), 2)), np.empty(len(coarse.cells))
    windows = [(float(r) - reach, float(r) + reach) for r in rigid]
    for i, (patch, spectrum) in enumerate(zip(coarse.patches, target.patch_spectra, strict=True)):
        moving = _transform(frame[patch])
        shifts[i], phases[i] = _find(spectrum, moving, windows[0], windows[1], settings)
    return rigid, shifts.reshape(*coarse.shape, 2), phases.reshape(coarse.shape)


def _find(
    still: Complex64,
    moving: Complex64,
    rows: tuple[float, float],
    columns: tuple[float, float],
    settings: NormcorreSettings,
) -> tuple[Float64, float]:
    """Return the shift with the largest modulus, and the phase there."""
    product = still * np.conjugate(moving)
    half = [
        np.arange(math.ceil(2 * low), math.floor(2 * high) + 1) / 2 for low, high in (rows, columns)
    ]
    half = [
        at[np.abs(at) <= n / 2] if n > 1 else np.zeros(1)
        for at, n in zip(half, product.shape, strict=True)
    ]
    start = _largest(_correlation(product, half[0], half[1]))
    up = settings.upsampling
    center = [round(float(at[i]) * up) / up for at, i in zip(half, start, strict=True)]
    reach = math.ceil(1.5 * up) // 2
    fine = [
        c + np.arange(-reach, math.ceil(1.5 * up) - reach) / up if n > 1 else np.zeros(1)
        for c, n in zip(center, product.shape, strict=True)
    ]
    values = _correlation(product, fine[0], fine[1])
    row, column = _largest(values)
    return np.array([fine[0][row], fine[1][column]]), float(np.angle(values[row, column]))


def _correlation(product: Complex64, rows: Float64, columns: Float64) -> Complex64:
    """Evaluate the correlation at all pairs of row and column shifts."""
    y, x = (np.fft.fftfreq(n) for n in product.shape)
    left = np.exp(2j * np.pi * np.multiply.outer(rows, y)).astype(np.complex64)
    right = np.exp(2j * np.pi * np.multiply.outer(x, columns)).astype(np.complex64)
    return np.asarray(left @ product @ right, dtype=np.complex64)


def _largest(values: Complex64) -> tuple[int, int]:
    """Return the place of the largest modulus, the first one column by column."""
    column, row = np.unravel_index(np.abs(values).T.argmax(), values.T.shape)
    return int(row), int(column)


def _move(spectrum: npt.NDArray[np.complexfloating], shift: Float64, phase: float) -> Float64:
    """Move an image, given by its transform, around its edges."""
    y, x = (np.fft.fftfreq(n) for n in spectrum.shape)
    ramp = np.outer(np.exp(-2j * np.pi * shift[0] * y), np.exp(-2j * np.pi * shift[1] * x))
    return np.asarray(fft.ifft2(spectrum * ramp * np.exp(1j * phase)).real, dtype=np.float64)


def _apply(frame: Float64, shift: Float64, phase: Float64, fine: _Patches, fill: str) -> Float64:
    """Move the fine patches and put them together."""
    rows, columns = (_bicubic(old, new) for old, new in zip(phase.shape, fine.shape, strict=True))
    shifts = np.moveaxis(rows @ np.moveaxis(shift, -1, 0) @ columns.T, 0, -1)
    phases = rows @ phase @ columns.T
    blend = all(np.abs(np.diff(shifts, axis=axis)).max(initial=0.0) < SEAM_PX for axis in (0, 1))
    total, weights = np.zeros(frame.shape), np.zeros(frame.shape)
    for i, (cell, patch) in enumerate(zip(fine.cells, fine.patches, strict=True)):
        place = divmod(i, fine.shape[1])
        moved = _move_patch(frame[patch], shifts[place], float(phases[place]), fill)
        if blend:
            weight = np.outer(*(_ramp(c, p) for c, p in zip(cell, patch, strict=True)))
            weight = np.where(np.isnan(moved), 0, weight)
            total[patch] += np.where(weight > 0, moved, 0) * weight
            weights[patch] += weight
        else:
            inner = tuple(
                slice(c.start - p.start, c.stop - p.start) for c, p in zip(cell, patch, strict=True)
            )
            total[cell], weights[cell] = moved[inner], 1
    missing = weights == 0
    out = np.where(missing, np.nan, total / np.where(missing, 1, weights))
    return np.clip(out, frame.min(), frame.max())


def _move_patch(patch: Float64, shift: Float64, phase: float, fill: str) -> Float64:
    """Move one patch and deal with what enters at its border."""
    if not shift.any():
        return patch
    moved = _move(fft.fft2(patch), shift, phase)
    for axis in (0, 1):
        size = min(math.floor(abs(shift[axis]) + 0.5), patch.shape[axis] - 1)
        if size:
            lines = np.moveaxis(moved, axis, 0)
            entering, beside = (
                (slice(0, size), size) if shift[axis] > 0 else (slice(-size, None), -size - 1)
            )
            values: Float64 | float = np.nan if fill == "nan" else float(patch.min())
            lines[entering] = lines[beside] if fill == "copy" else values
    return moved


def _ramp(cell: slice, patch: slice) -> Float64:
    """Return weights that rise to 1 towards the cell."""
    before, after = cell.start - patch.start, patch.stop - cell.stop
    left, right = (np.linspace(1 / (n + 1), 1, n) for n in (before, after))
    return np.concatenate([left, np.ones(cell.stop - cell.start), right[::-1]])


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


def _mean(frames: Float32, instead: Float64) -> Float64:
    """Return the mean of a bin; the old template where no frame has a value."""
    valid = np.isfinite(frames)
    count = valid.sum(axis=0)
    total = np.where(valid, frames, 0).sum(axis=0, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), instead)
