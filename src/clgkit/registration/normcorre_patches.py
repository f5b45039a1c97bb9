"""How NoRMCorre cuts a field into patches, moves them by phases and puts them together."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import fft

Float64 = npt.NDArray[np.float64]
Slices = tuple[slice, slice]

SEAM_PX = 0.5
"""Neighbouring shifts that differ by this are tiled, not blended."""


class Patches(NamedTuple):
    """Cells along both axes and what surrounds them."""

    shape: tuple[int, int]
    cells: list[Slices]
    patches: list[Slices]


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
    return Patches(
        (len(axes[0]), len(axes[1])),
        [(y, x) for y in axes[0] for x in axes[1]],
        [(y, x) for y in wide[0] for x in wide[1]],
    )


def apply_patches(
    frame: Float64, shift: Float64, phase: Float64, fine: Patches, fill: str
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
        Within the values of the frame.
    """
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


def move_image(spectrum: npt.NDArray[np.complexfloating], shift: Float64, phase: float) -> Float64:
    """Move an image, given by its transform, around its edges."""
    y, x = (np.fft.fftfreq(n) for n in spectrum.shape)
    ramp = np.outer(np.exp(-2j * np.pi * shift[0] * y), np.exp(-2j * np.pi * shift[1] * x))
    return np.asarray(fft.ifft2(spectrum * ramp * np.exp(1j * phase)).real, dtype=np.float64)


def _move_patch(patch: Float64, shift: Float64, phase: float, fill: str) -> Float64:
    """Move one patch and deal with what enters at its border."""
    if not shift.any():
        return patch
    moved = move_image(fft.fft2(patch), shift, phase)
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
