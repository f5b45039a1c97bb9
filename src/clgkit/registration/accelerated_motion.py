"""Motion correction on a device, a batch of frames at a time.

The functions of `rigid`, `piecewise` and `apply` check their arguments, and call these if a
`device` other than the cpu is given.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from clgkit.registration import apply, piecewise, rigid
from clgkit.registration.accelerated import Tensor, batches, download, torch, upload
from clgkit.registration.accelerated_filters import BandPass, filter_frames, prepare_band_pass
from clgkit.registration.accelerated_patches import (
    DevicePatches,
    fit_patches,
    most_likely_fields,
    search_patches,
    upload_patches,
)
from clgkit.registration.accelerated_sampling import sample, undo_line_offsets
from clgkit.registration.accelerated_shifts import (
    DeviceCorrelator,
    Matches,
    correlate_frames,
    upload_correlator,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clgkit.registration.apply import Corrected
    from clgkit.registration.piecewise import PiecewiseShifts, PreparedPiecewise
    from clgkit.registration.rigid import RigidShifts, RigidTemplate

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.intp]


class DeviceTemplate(NamedTuple):
    """A :class:`~clgkit.registration.rigid.RigidTemplate` on a device."""

    correlator: DeviceCorrelator
    band: BandPass
    bad_pixels: Tensor | None


class DevicePrepared(NamedTuple):
    """A :class:`~clgkit.registration.piecewise.PreparedPiecewise` on a device."""

    image: Tensor
    patches: DevicePatches
    likeness: Tensor
    rows: Tensor
    columns: Tensor
    max_deviation_px: float


class Fields(NamedTuple):
    """What was found of the patches of some frames; see `piecewise.PiecewiseShifts`."""

    shift_px: Tensor
    peak: Tensor
    error_px: Tensor
    residual_px: Tensor


class Batch(NamedTuple):
    """Those of some frames that show anything."""

    numbers: Numbers
    filtered: Tensor
    valid: Tensor | None
    found: Matches


def fill_rigid(
    frames: npt.NDArray[np.generic],
    template: RigidTemplate,
    line_offset_px: float,
    out: RigidShifts,
    device: str,
) -> None:
    """Find the shift of every frame to a prepared template.

    Parameters
    ----------
    frames, template, line_offset_px
        As in :func:`clgkit.registration.rigid.register_rigid`.
    out
        Filled for the frames that show anything.
    device
        As torch names it.

    Notes
    -----
    The shifts are those of the CPU, except where two steps of the finest grid fit equally
    well but for rounding: then the other one may be found.
    """
    for batch in _register(frames, template, line_offset_px, device):
        _store(batch, out.shift_px, out)


def fill_piecewise(
    frames: npt.NDArray[np.generic],
    prepared: PreparedPiecewise,
    line_offset_px: float,
    out: PiecewiseShifts,
    device: str,
) -> None:
    """Find the shift of every patch of every frame to a prepared template.

    Parameters
    ----------
    frames, prepared, line_offset_px
        As in :func:`clgkit.registration.piecewise.register_piecewise`.
    out
        Filled for the frames that show anything.
    device
        As torch names it.
    """
    on_device = DevicePrepared(
        image=upload(prepared.rigid.image, device),
        patches=upload_patches(prepared.patches, device),
        likeness=upload(prepared.likeness, device),
        rows=upload(prepared.rows, device),
        columns=upload(prepared.columns, device),
        max_deviation_px=prepared.max_deviation_px,
    )
    for batch in _register(frames, prepared.rigid, line_offset_px, device):
        _store(batch, out.rigid, out)
        fields = _fit_fields(batch, on_device)
        t = batch.numbers
        out.patch_shift[t] = download(fields.shift_px)
        out.patch_peak[t] = download(fields.peak)
        out.patch_error_px[t] = download(fields.error_px)
        out.patch_residual_px[t] = download(fields.residual_px)


def fill_corrected(
    frames: npt.NDArray[np.generic],
    shift_px: Float64,
    field: tuple[Float32, Float32],
    line_offset_px: float,
    out: Corrected,
    *,
    device: str,
) -> None:
    """Move the content of every frame by its shifts.

    Parameters
    ----------
    frames : (T, Y, X)
        As in :func:`clgkit.registration.apply.apply_shifts`.
    shift_px : (T, ny, nx, 2)
        With ny = nx = 1 if there is one shift for each frame.
    field
        Matrices (Y, ny) and (X, nx) that make the shifts of pixels.
    line_offset_px
        Of the odd rows.
    out
        Filled for all frames.  Rounding and clipping to integers is done on the CPU.
    device
        As torch names it.
    """
    rows, columns = (upload(matrix, device) for matrix in field)
    moving = np.asarray(shift_px.any(axis=(1, 2, 3))) | bool(line_offset_px)
    target = out.frames.dtype
    for numbers, values in batches(frames, device):
        y, x = _sampling(upload(shift_px[numbers], device), rows, columns)
        moved, inside = sample(values, y, x, line_offset_px=line_offset_px)
        valid = inside & torch.isfinite(moved)
        if target.kind in "iu":
            moved = torch.where(valid, moved, _nearest(values, y, x))
        moved = torch.where(inside | (target.kind in "iu"), moved, math.nan)
        for t, image, is_valid in zip(numbers, download(moved), download(valid), strict=True):
            kept = moving[t]
            out.valid[t] = is_valid if kept else np.isfinite(frames[t])
            source = image if kept else frames[t]
            out.frames[t] = apply._cast(source, out.valid[t], target)  # noqa: SLF001  (its twin)


def _register(
    frames: npt.NDArray[np.generic], template: RigidTemplate, line_offset_px: float, device: str
) -> Iterator[Batch]:
    """Yield batches of frames, filtered, with their rigid shifts."""
    shape = (template.image.shape[0], template.image.shape[1])
    band = prepare_band_pass(shape, template.band_px, device)
    correlator, near = (upload_correlator(c, device) for c in (template.correlator, template.near))
    bad = None if template.bad_pixels is None else upload(template.bad_pixels, device)
    for numbers, values in batches(frames, device):
        lowest, highest = (
            torch.where(values.isfinite(), values, sign * math.inf) for sign in (1, -1)
        )
        some = lowest.amin((1, 2)) < highest.amax((1, 2))
        images = values if bad is None else values.masked_fill(bad, math.nan)
        if line_offset_px:
            images = undo_line_offsets(images, line_offset_px)
        filtered, valid = filter_frames(images, band)
        found = correlate_frames(filtered, correlator, valid=valid)
        found = _measured_again(found, filtered, valid, correlator.search.limit_px, near)
        some &= ~found.peak.isnan()
        kept = np.flatnonzero(download(some))
        if kept.size:
            chosen = upload(kept, device)
            yield Batch(
                numbers[kept],
                filtered[chosen],
                None if valid is None else valid[chosen],
                Matches(*(value[chosen] for value in found)),
            )


def _measured_again(
    found: Matches,
    filtered: Tensor,
    valid: Tensor | None,
    limit_px: Tensor,
    near: DeviceCorrelator,
) -> Matches:
    """Measure large shifts again; see `rigid.measure_again`."""
    far = np.flatnonzero(rigid.is_far(download(found.shift_px), filtered.shape[1:]))
    if not far.size:
        return found
    which = upload(far, filtered.device)
    whole = found.shift_px[which].round().long()
    places, insides = [], []
    for axis, n in enumerate(filtered.shape[1:]):
        place = torch.arange(n, device=whole.device) - whole[:, axis, None]
        insides.append((place >= 0) & (place < n))
        places.append(place.clamp(0, n - 1))
    index = (which[:, None, None], places[0][:, :, None], places[1][:, None, :])
    shown = insides[0][:, :, None] & insides[1][:, None, :]
    if valid is not None:
        shown &= valid[index]
    again = correlate_frames(filtered[index] * shown, near, valid=shown)
    shift_px = found.shift_px.clone()
    shift_px[which] = (whole + again.shift_px).clamp(-limit_px, limit_px)
    return found._replace(shift_px=shift_px)


def _store(batch: Batch, shift_px: Float32, out: RigidShifts | PiecewiseShifts) -> None:
    t, found = batch.numbers, batch.found
    clear = found.peak - found.second_peak > rigid.CLEAR_SIGMAS * found.background
    shift_px[t] = download(found.shift_px)
    out.peak[t] = download(found.peak)
    out.second_peak[t] = download(found.second_peak)
    out.registered[t] = True
    out.confident[t] = download(clear & ~found.at_edge)
    out.at_edge[t] = download(found.at_edge)


def _fit_fields(batch: Batch, prepared: DevicePrepared) -> Fields:
    """Search the patches, then refine them; see `piecewise._register_frame`."""
    found, limit = batch.found, prepared.max_deviation_px
    rigid_px, gain = found.shift_px[:, None, None], found.gain
    filtered = batch.filtered
    if batch.valid is not None:
        filtered = torch.where(batch.valid, filtered, _bridges(prepared.image, found))
    deviation = search_patches(filtered, prepared.patches, found.shift_px) - rigid_px
    deviation = deviation.clamp(-limit, limit)
    for _ in range(piecewise.NEWTON_STEPS):
        sampling = _sampling(rigid_px + deviation, prepared.rows, prepared.columns)
        fit = fit_patches(filtered, prepared.patches, sampling, gain)
        measured, gain = deviation + fit.step_px, fit.gain
        variance = piecewise.NOISE_FACTOR * fit.variance_px2
        field = most_likely_fields(
            measured.flatten(1, 2), variance.flatten(1, 2), prepared.likeness
        )
        deviation = field.view(measured.shape).clamp(-limit, limit)
    return Fields(
        shift_px=rigid_px + deviation,
        peak=fit.peak,
        error_px=variance.sum(-1).sqrt(),
        residual_px=(measured - deviation).norm(dim=-1),
    )


def _bridges(image: Tensor, found: Matches) -> Tensor:
    """Return the template as bright as each frame, and where its content lies there."""
    y, x = (
        (torch.arange(n, device=image.device) + found.shift_px[:, axis, None].round())
        .clamp(0, n - 1)
        .long()
        for axis, n in enumerate(image.shape)
    )
    return found.gain.float()[:, None, None] * image[y[:, :, None], x[:, None, :]]


def _sampling(shift_px: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Return where to read, relative to each pixel: y and x, to broadcast to (B, Y, X)."""
    y, x = (-shift_px).unbind(-1)
    if y.shape[1:].numel() == 1:
        return y, x
    return rows @ y.float() @ columns.T, rows @ x.float() @ columns.T


def _nearest(images: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Return the pixel of each image nearest to where each pixel reads."""
    _, height, width = images.shape
    row, column = (
        (torch.arange(n, device=images.device).view(shape) + where.double())
        .round()
        .clamp(0, n - 1)
        .long()
        for n, shape, where in ((height, (-1, 1), y), (width, (1, -1), x))
    )
    index = (row * width + column).expand(images.shape).flatten(1)
    return images.flatten(1).gather(1, index).view(images.shape)
