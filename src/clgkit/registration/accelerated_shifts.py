"""One shift for each of a batch of filtered frames: the search of `spectrum` on a device."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from clgkit.registration import spectrum
from clgkit.registration.accelerated import Tensor, torch, upload

if TYPE_CHECKING:
    from clgkit.registration.spectrum import Correlator


class Grid(NamedTuple):
    """A small grid about a centre, in steps of ``1 / upsampling`` px."""

    offsets: Tensor
    row_matrix: Tensor
    column_matrix: Tensor


class DeviceSearch(NamedTuple):
    """A :class:`~clgkit.registration.spectrum.Search` on a device."""

    band_rows: Tensor
    n_columns: int
    row_frequencies: Tensor
    column_frequencies: Tensor
    limit_px: Tensor
    upsampling: int
    rows_px: Tensor
    columns_px: Tensor
    row_matrix: Tensor
    column_matrix: Tensor
    refinements: list[Grid]


class DeviceCorrelator(NamedTuple):
    """A :class:`~clgkit.registration.spectrum.Correlator` on a device."""

    search: DeviceSearch
    spectrum: Tensor
    weight: Tensor
    weight_spectrum: Tensor
    energy_spectrum: Tensor
    energy: float


class Matches(NamedTuple):
    """Where frames fit the template, and how surely; a batch of `spectrum.Match`."""

    shift_px: Tensor
    """(B, 2) float64."""
    peak: Tensor
    """(B,) float64; NaN if the frame is zero everywhere."""
    second_peak: Tensor
    """(B,) float64."""
    background: Tensor
    """(B,) float64."""
    gain: Tensor
    """(B,) float64."""
    at_edge: Tensor
    """(B,) bool."""


def upload_correlator(correlator: Correlator, device: str) -> DeviceCorrelator:
    """Bring what :func:`clgkit.registration.spectrum.prepare_correlator` made to a device."""
    search = correlator.search
    refinements = [Grid(*(upload(array, device) for array in grid)) for grid in search.refinements]
    on_device = DeviceSearch(
        band_rows=upload(search.band[0], device),
        n_columns=search.band[1],
        row_frequencies=upload(np.fft.fftfreq(search.shape[0])[search.band[0]], device),
        column_frequencies=upload(np.fft.rfftfreq(search.shape[1])[: search.band[1]], device),
        limit_px=torch.tensor(search.limit_px, dtype=torch.float64, device=device),
        upsampling=search.upsampling,
        rows_px=upload(search.rows_px, device),
        columns_px=upload(search.columns_px, device),
        row_matrix=upload(search.row_matrix, device),
        column_matrix=upload(search.column_matrix, device),
        refinements=refinements,
    )
    return DeviceCorrelator(
        search=on_device,
        spectrum=upload(correlator.spectrum, device),
        weight=upload(correlator.weight, device),
        weight_spectrum=upload(correlator.weight_spectrum, device),
        energy_spectrum=upload(correlator.energy_spectrum, device),
        energy=correlator.energy,
    )


def correlate_frames(
    frames: Tensor, correlator: DeviceCorrelator, *, valid: Tensor | None = None
) -> Matches:
    """Find the shifts of filtered frames and the normalised correlations at them.

    Parameters
    ----------
    frames : (B, Y, X) float32
        Filtered like the template, finite, 0 where not valid.
    correlator
        From :func:`upload_correlator`.
    valid : (B, Y, X) bool
        Pixels that count; all if not given.

    Returns
    -------
    Matches
        By the formulas of :func:`clgkit.registration.spectrum.correlate`.
    """
    search = correlator.search
    energy = (correlator.weight * frames * frames).sum((1, 2), dtype=torch.float64)
    norm = (energy * correlator.energy).sqrt()
    cross = _transform(frames, search).conj() * correlator.spectrum
    values = _real_product(search.row_matrix @ cross, search.column_matrix)
    steps, height = _descend(cross, values, search)
    factor = height.clamp(min=0).double() / 2
    n_columns = correlator.weight_spectrum.shape[1]
    cross[:, :, :n_columns] -= _varying(
        _transform(frames**2, search)[:, :, :n_columns],
        correlator.weight_spectrum,
        torch.where(energy > 0, factor / energy, 0),
    )
    if valid is not None:
        spectrum_of_holes = _transform(valid.float(), search)
        cross -= _varying(spectrum_of_holes, correlator.energy_spectrum, factor / correlator.energy)
    steps = torch.where(height[:, None] > 0, _climb(cross, steps, search)[0], steps)
    second, background = _rival(values / norm[:, None, None], search)
    shift_px = steps.double() / search.upsampling
    return Matches(
        shift_px=shift_px,
        peak=torch.where(norm > 0, (height / norm).clamp(-1, 1), math.nan),
        second_peak=second,
        background=background,
        gain=height.double() / correlator.energy,
        at_edge=_on_rim(shift_px, search),
    )


def _descend(cross: Tensor, values: Tensor, search: DeviceSearch) -> tuple[Tensor, Tensor]:
    """Refine the largest of the half-pixel values; return steps and value."""
    row, column = _argmax(values)
    center = torch.stack([search.rows_px[row], search.columns_px[column]], 1)
    steps = (center * search.upsampling).round().long()
    if len(search.refinements) > 1:
        steps, _, _ = _refine(cross, steps, search, search.refinements[0])
    return _climb(cross, steps, search)


def _climb(cross: Tensor, steps: Tensor, search: DeviceSearch) -> tuple[Tensor, Tensor]:
    """Follow the finest grid until the maximum lies inside it."""
    steps = steps.clone()
    height = torch.zeros(len(cross), device=cross.device)
    todo = torch.arange(len(cross), device=cross.device)
    for _ in range(spectrum.MAX_RECENTERINGS):
        steps[todo], height[todo], on_rim = _refine(
            cross[todo], steps[todo], search, search.refinements[-1]
        )
        todo = todo[on_rim]
        if not len(todo):
            break
    return steps, height


def _refine(
    cross: Tensor, steps: Tensor, search: DeviceSearch, grid: Grid
) -> tuple[Tensor, Tensor, Tensor]:
    """Move every centre to the maximum of a small grid; say whether it lies on the rim."""
    up, offsets = search.upsampling, grid.offsets
    row_waves, column_waves = (
        _waves(steps[:, axis] / up, frequencies)
        for axis, frequencies in enumerate((search.row_frequencies, search.column_frequencies))
    )
    rows = grid.row_matrix * row_waves[:, None]
    columns = grid.column_matrix * column_waves[:, None]
    value = _real_product(rows @ cross, columns.mT)
    inside = (steps[:, :, None] + offsets).abs() <= search.limit_px[:, None] * up
    value = torch.where(inside[:, 0, :, None] & inside[:, 1, None, :], value, -math.inf)
    height, best = value.flatten(1).max(1)
    index = torch.stack([best // len(offsets), best % len(offsets)], 1)
    on_rim = ((index == 0) | (index == len(offsets) - 1)).any(1)
    return steps + offsets[index], height, on_rim


def _rival(values: Tensor, search: DeviceSearch) -> tuple[Tensor, Tensor]:
    """Return the largest value away from the maximum, and the scatter there."""
    row, column = _argmax(values)
    far_y, far_x = (
        (at - at[index, None]).abs() >= spectrum.RIVAL_PX
        for at, index in ((search.rows_px, row), (search.columns_px, column))
    )
    away = far_y[:, :, None] | far_x[:, None, :]
    count = away.sum((1, 2)).clamp(min=1)
    mean = torch.where(away, values, 0).sum((1, 2)) / count
    scatter = torch.where(away, values - mean[:, None, None], 0).square().sum((1, 2)) / count
    largest = torch.where(away, values, -math.inf).amax((1, 2))
    return torch.where(away.any(2).any(1), largest, -1), scatter.sqrt()


def _argmax(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return row and column of the largest value of each map."""
    best = values.flatten(1).argmax(1)
    return best // values.shape[2], best % values.shape[2]


def _on_rim(shift_px: Tensor, search: DeviceSearch) -> Tensor:
    """Tell which shifts lie within a step of their limit, along an axis that is searched."""
    searched = torch.tensor([len(at) > 1 for at in (search.rows_px, search.columns_px)])
    beyond = torch.gt(shift_px.abs(), search.limit_px - 1 / search.upsampling)
    return (beyond & searched.to(beyond.device)).any(1)


def _varying(image_spectrum: Tensor, template_spectrum: Tensor, factor: Tensor) -> Tensor:
    """Return the scaled correlation spectrum without its constant, which float32 would feel."""
    out = image_spectrum.conj() * template_spectrum * factor.float()[:, None, None]
    out[:, 0, 0] = 0
    return out


def _transform(images: Tensor, search: DeviceSearch) -> Tensor:
    """Return half spectra as far as the band goes."""
    columns = torch.fft.rfft(images, dim=2)[:, :, : search.n_columns]
    whole: Tensor = torch.fft.fft(columns, dim=1)
    return whole[:, search.band_rows]


def _waves(shift_px: Tensor, frequencies: Tensor) -> Tensor:
    """Return exp(2 pi i f s), (B, frequencies), angles in double precision."""
    angle = 2 * math.pi * torch.outer(shift_px.double(), frequencies)
    return torch.polar(torch.ones_like(angle), angle).to(torch.complex64)


def _real_product(left: Tensor, right: Tensor) -> Tensor:
    """Return the real part of a matrix product without computing the imaginary one."""
    return left.real @ right.real - left.imag @ right.imag
