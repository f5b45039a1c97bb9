"""Motion correction as NoRMCorre does it, for results that must compare with it.

Written from a description of the program and of Pnevmatikakis and Giovannucci (J Neurosci
Methods 291:83, 2017).  The recommended way is :mod:`clgkit.registration.piecewise`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from clgkit.registration.normcorre_patches import Patches, apply_patches, cut_field, move_image
from clgkit.registration.normcorre_peak import Peaks, Spectra, find_peaks, transform
from clgkit.registration.rigid import has_structure
from clgkit.registration.template import RunningTemplate, plan_bins

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

FIRST_FRAMES = 100
"""Frames from the middle of the movie that make the first template."""
READ_FRAMES = 20
"""Frames in memory at a time."""


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
    patch_phase: Float32
    """(T, ny, nx) phase of the correlation of each patch there, radians."""
    template: Float32
    """(Y, X) the last one."""


class NormcorreBlock(NamedTuple):
    """Consecutive frames of a corrected movie."""

    start: int
    """The first of them, in the movie."""
    frames: Float32
    """(n, Y, X)"""
    rigid: Float32
    """(n, 2), and the next two, as in :class:`NormcorreResult`."""
    patch_shift: Float32
    patch_phase: Float32
    template: Float32
    """(Y, X) as it stands after them."""


class FrameSource(Protocol):
    """What frames are read from: an array, or one that reads slices of frames when asked."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(T, Y, X)."""

    def __getitem__(self, frames: slice, /) -> Any:
        """Return some frames, (n, Y, X)."""


class _Target(NamedTuple):
    """A template and its transforms."""

    image: Float64
    whole: Spectra
    patches: list[tuple[list[int], Spectra]]
    """Numbers and transforms of the patches of each shape."""


def register_like_normcorre(
    frames: FrameSource,
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
        Of the last pass: the whole movie in memory.  :func:`iterate_like_normcorre` gives it
        in blocks.

    Raises
    ------
    ValueError
        If the shapes do not fit, there are no frames, a frame is finite in part only, no frame
        in the middle can make a template, or a setting is out of range.

    Notes
    -----
    Frames depend on the template, and that on the bins before: the movie is done in order,
    and cutting it elsewhere gives other results.

    Each shift is the largest modulus of the correlation, on half pixels within the window and
    then on a grid of ``1 / upsampling``.  Patches are moved by a phase ramp and blended.
    Deviations: the window is evaluated by matrix products, in single precision but for the
    means, and so are frames moved, and means of bins kept; the offset of bidirectional scanning
    is not looked for
    (:func:`~clgkit.registration.bidirectional.estimate_line_offset`); a movie of one frame is
    no error; a frame that is constant or has no finite pixel is not moved, and takes no part in
    the first template; borders are never filled by a value from another argument.
    """
    _check(frames, settings, template)
    coarse, _ = _plan((frames.shape[1], frames.shape[2]), settings)
    n = frames.shape[0]
    result = NormcorreResult(
        np.empty(frames.shape, dtype=np.float32),
        np.empty((n, 2), dtype=np.float32),
        np.empty((n, *coarse.shape, 2), dtype=np.float32),
        np.empty((n, *coarse.shape), dtype=np.float32),
        np.empty(frames.shape[1:], dtype=np.float32),
    )
    for start, *parts, now in iterate_like_normcorre(frames, settings, template=template):
        for whole, part in zip(result, parts, strict=False):
            whole[start : start + len(part)] = part
        result.template[:] = now
    return result


def iterate_like_normcorre(
    frames: FrameSource,
    settings: NormcorreSettings = NormcorreSettings(),  # noqa: B008  (immutable)
    *,
    template: npt.NDArray[np.generic] | None = None,
) -> Iterator[NormcorreBlock]:
    """Give block by block what :func:`register_like_normcorre` gives, bit by bit.

    Parameters
    ----------
    frames : (T, Y, X)
        An array, or anything with a shape that reads slices of frames when asked for them, such
        as a memory map or an array of xarray or zarr.  It is read once for each pass.
    settings, template
        As there.

    Returns
    -------
    Iterator of NormcorreBlock
        At most 20 frames of the last pass each, in order.  The passes before give nothing.

    Raises
    ------
    ValueError
        As there.

    Notes
    -----
    Memory: the means of at most `buffer_bins` bins and, for the first template, 100 frames.
    """
    _check(frames, settings, template)
    return _iterate(frames, settings, template)


def _iterate(
    frames: FrameSource, settings: NormcorreSettings, template: npt.NDArray[np.generic] | None
) -> Iterator[NormcorreBlock]:
    coarse, fine = _plan((frames.shape[1], frames.shape[2]), settings)
    first = _first_template(frames, settings) if template is None else template
    target = _prepare(np.asarray(first, dtype=np.float64), coarse)
    running = RunningTemplate(target.image, buffer_bins=settings.buffer_bins, keep_first=False)
    bins = plan_bins(frames.shape[0], bin_frames=settings.bin_frames)
    for left, place in itertools.product(reversed(range(settings.iterations)), bins):
        for start in range(place.start, place.stop, READ_FRAMES):
            stop = min(start + READ_FRAMES, place.stop)
            moving = _read(frames, slice(start, stop))
            found = [_estimate(frame, target, coarse, settings) for frame in moving]
            rigid, shift, phase = (np.array(part, np.float32) for part in zip(*found, strict=True))
            corrected = _apply_all(moving, shift, phase, fine, settings)
            if settings.update_template:
                running.add(corrected)
            if settings.update_template and stop == place.stop:
                target = _prepare(running.finish_bin().astype(np.float64), coarse)
            if not left:
                now = target.image.astype(np.float32)
                yield NormcorreBlock(start, corrected, rigid, shift, phase, now)


def apply_like_normcorre(
    frames: npt.NDArray[np.generic],
    patch_shift: npt.NDArray[np.floating],
    patch_phase: npt.NDArray[np.floating],
    settings: NormcorreSettings = NormcorreSettings(),  # noqa: B008  (immutable)
) -> Float32:
    """Move frames by stored shifts, patch by patch as NoRMCorre does.

    Parameters
    ----------
    frames : (T, Y, X)
        The movie of which the shifts were found, or another with as many frames.
    patch_shift : (T, ny, nx, 2)
    patch_phase : (T, ny, nx)
        From :func:`register_like_normcorre`, of the same frames.
    settings
        The same.

    Returns
    -------
    (T, Y, X) float32
        Of the movie itself, bit by bit what was found with the shifts.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    _check(frames, settings, None)
    coarse, fine = _plan((frames.shape[1], frames.shape[2]), settings)
    wanted = (len(frames), *coarse.shape)
    if patch_shift.shape != (*wanted, 2) or patch_phase.shape != wanted:
        raise ValueError(
            f"found shifts {patch_shift.shape} and phases {patch_phase.shape}; "
            f"frames {frames.shape} and these settings need {(*wanted, 2)} and {wanted}."
        )
    return _apply_all(frames, patch_shift, patch_phase, fine, settings)


def _check(
    frames: FrameSource, settings: NormcorreSettings, template: npt.NDArray[np.generic] | None
) -> None:
    shape = tuple(frames.shape)
    if len(shape) != 3 or 0 in shape:
        raise ValueError(f"expected frames (T, Y, X), found an array of shape {shape}.")
    if template is not None and template.shape != shape[1:]:
        raise ValueError(
            f"frames {shape} do not fit the template {template.shape}: "
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
    lengths = (
        settings.overlap_px,
        settings.apply_overlap_px,
        settings.least_cell_px,
        settings.max_shift_px,
        settings.max_deviation_px,
    )
    if not all(0 <= length < math.inf for length in lengths):
        raise ValueError(f"overlaps, limits and the least cell must be 0 or more: {settings}.")


def _plan(shape: tuple[int, int], settings: NormcorreSettings) -> tuple[Patches, Patches]:
    """Return the patches for estimating and those for applying."""
    step = [settings.grid_px // (1 if settings.grid_px >= n else settings.finer) for n in shape]
    return (
        cut_field(shape, [settings.grid_px] * 2, settings.overlap_px, settings.least_cell_px),
        cut_field(shape, step, settings.apply_overlap_px, 0),
    )


def _read(frames: FrameSource, place: slice) -> npt.NDArray[np.generic]:
    moving = np.asarray(frames[place])
    for t, frame in enumerate(moving, place.start):
        n_finite = np.count_nonzero(np.isfinite(frame))
        if 0 < n_finite < frame.size:
            raise ValueError(
                f"frame {t} has {frame.size - n_finite} pixels that are not finite, and this "
                "method needs all of a frame; fill or crop them, or use another method."
            )
    return moving


def _prepare(image: Float64, coarse: Patches) -> _Target:
    shapes = [image[patch].shape for patch in coarse.patches]
    groups = [[i for i, s in enumerate(shapes) if s == shape] for shape in dict.fromkeys(shapes)]
    patches = [(group, transform(_cut(image, coarse, group))) for group in groups]
    return _Target(image, transform(image[np.newaxis]), patches)


def _cut(image: npt.NDArray[np.generic], coarse: Patches, numbers: list[int]) -> npt.NDArray[Any]:
    return np.stack([image[coarse.patches[i]] for i in numbers])


def _first_template(frames: FrameSource, settings: NormcorreSettings) -> Float64:
    """Return the mean of the middle frames, each laid on their median, wrapping around."""
    total = frames.shape[0]
    n = min(total, FIRST_FRAMES)
    first, last = math.ceil(total / 2 - n / 2 + 1) - 1, math.floor(total / 2 + n / 2)
    read = _read(frames, slice(first, last))
    sample = read[[has_structure(frame) for frame in read]]
    if not len(sample):
        raise ValueError(
            f"the {n} frames in the middle are constant or not finite and make no template; "
            "give one."
        )
    rows = [np.median(sample[:, y].astype(np.float64), axis=0) for y in range(sample.shape[1])]
    median = transform(np.stack(rows)[np.newaxis])
    mean = np.zeros(sample.shape[1:])
    for frame in sample:
        found = _find(median, frame[np.newaxis], (0, 0), settings.max_shift_px, settings)
        mean += move_image(frame, found.shift[0], float(found.phase[0])) / len(sample)
    return mean


def _estimate(
    frame: npt.NDArray[np.generic], target: _Target, coarse: Patches, settings: NormcorreSettings
) -> tuple[Float64, Float64, Float64]:
    """Return the rigid shift, the patches' shifts (ny, nx, 2) and their phases (ny, nx)."""
    if not has_structure(frame):
        return np.zeros(2), np.zeros((*coarse.shape, 2)), np.zeros(coarse.shape)
    whole = _find(target.whole, frame[np.newaxis], (0, 0), settings.max_shift_px, settings)
    rigid = whole.shift[0]
    if len(coarse.cells) == 1:
        return rigid, whole.shift.reshape(1, 1, 2), whole.phase.reshape(1, 1)
    shifts, phases = np.empty((len(coarse.cells), 2)), np.empty(len(coarse.cells))
    for numbers, still in target.patches:
        moving = _cut(frame, coarse, numbers)
        found = _find(still, moving, tuple(rigid), settings.max_deviation_px, settings)
        shifts[numbers], phases[numbers] = found
    return rigid, shifts.reshape(*coarse.shape, 2), phases.reshape(coarse.shape)


def _find(
    still: Spectra,
    images: npt.NDArray[np.generic],
    center: tuple[float, ...],
    reach: float,
    settings: NormcorreSettings,
) -> Peaks:
    """Find the shifts of images (n, Y, X) within a square window."""
    rows, columns = ((float(c) - reach, float(c) + reach) for c in center)
    return find_peaks(still, transform(images), rows, columns, upsampling=settings.upsampling)


def _apply_all(
    frames: npt.NDArray[np.generic],
    shift: npt.NDArray[np.floating],
    phase: npt.NDArray[np.floating],
    fine: Patches,
    settings: NormcorreSettings,
) -> Float32:
    out = np.empty(frames.shape, dtype=np.float32)
    for t, frame in enumerate(frames):
        one, other = (part[t].astype(np.float64) for part in (shift, phase))
        out[t] = apply_patches(frame, one, other, fine, settings.fill)
    return out
