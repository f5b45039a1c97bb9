"""The sparse step on stacks of any size: scale, mirrored faces, tiles."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from clgkit.deconvolution.devices import denoise_scaled
from clgkit.deconvolution.sparse import SparseHessian

__all__ = [
    "HALO_PX",
    "VOXELS",
    "Denoised",
    "Scale",
    "Step",
    "check_stack",
    "choose_core",
    "denoise_block",
    "denoise_sparse",
    "find_scale",
]

Pixels: TypeAlias = npt.NDArray[Any]
Float32: TypeAlias = npt.NDArray[np.float32]
Step: TypeAlias = Callable[[Float32], npt.NDArray[np.floating]]
Scale: TypeAlias = Literal["percentile", "max", "per-plane"] | float
Faces: TypeAlias = tuple[tuple[bool, bool], tuple[bool, bool], tuple[bool, bool]]
Shape: TypeAlias = tuple[int, int, int]

HALO_PX = 16  # at which a tile differs from the whole by 2e-7 of the maximum
MIRRORED_PX = 12  # as much as keeps what wraps around below 1e-6
VOXELS = 13_500_000  # of a tile with its halo; it takes 40 bytes a voxel
MOST_PARTS = 24  # per axis, for choose_core
ALL_FACES: Faces = ((True, True), (True, True), (True, True))


class Denoised(NamedTuple):
    """What `denoise_sparse` gives."""

    image: Float32
    """(Z, Y, X), in the units of the input."""
    scale: Float32
    """(Z,), what every plane was divided by; all equal unless asked for."""


def check_stack(stack: Pixels) -> None:
    """Raise a `ValueError` unless `stack` holds real, finite numbers that are not negative."""
    if stack.dtype.kind not in "biuf":
        raise TypeError(f"The stack is of type {stack.dtype}, but real numbers are wanted.")
    if stack.size == 0:
        raise ValueError("The stack has no voxel.")
    low, high = float(stack.min()), float(stack.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("The stack holds NaN or infinity; replace them before deconvolution.")
    if low < 0:
        raise ValueError(
            f"The stack has negative values, down to {low:g}; subtract the detector's offset so "
            "that no light is 0, and set what is still negative to 0."
        )


def find_scale(
    stack: Pixels,
    scale: Scale = "percentile",
    *,
    percentile: float = 99.9,
    headroom: float = 1.0,
) -> Float32:
    """Return what each plane is divided by before the sparse step.

    Parameters
    ----------
    stack : (Z, Y, X)
        Not negative.
    scale
        ``"percentile"`` of the whole stack; ``"max"``, the original's, which one hot pixel rules;
        ``"per-plane"``, the percentile of each plane; or the value itself.
    percentile
        Which.
    headroom
        Factor on a percentile.  The larger the scale, the smoother the result; the maximum of a
        stack is often twice its 99.9th percentile.

    Returns
    -------
    (Z,) float32
        Positive.  Where a percentile is 0 the maximum of the stack is taken, and 1 if that is 0.

    Raises
    ------
    ValueError
        If the scale is unknown or not positive, or the percentile not within (0, 100].
    """
    if not 0 < percentile <= 100:
        raise ValueError(f"The percentile is {percentile}, but more than 0 and at most 100.")
    values = stack.astype(np.uint8) if stack.dtype.kind == "b" else stack
    if scale == "percentile":
        found = np.full(len(stack), headroom * np.percentile(values, percentile))
    elif scale == "per-plane":
        found = headroom * np.array([np.percentile(plane, percentile) for plane in values])
    elif scale == "max":
        found = np.zeros(len(stack))
    else:
        found = np.full(len(stack), _positive(scale))
    if not (np.isfinite(found).all() and (found >= 0).all()):
        raise ValueError(f"The scale is {scale} with headroom {headroom}; both must be positive.")
    if (found == 0).any():
        found[found == 0] = float(stack.max()) or 1.0
    return found.astype(np.float32)


def _positive(scale: object) -> float:
    if isinstance(scale, float | int) and scale > 0:
        return float(scale)
    raise ValueError(
        f"The scale is {scale!r}, not percentile, max, per-plane or a positive number."
    )


def denoise_block(
    block: Pixels,
    method: Step,
    *,
    scale: Float32,
    faces: Faces = ALL_FACES,
    device: str = "cpu",
) -> Float32:
    """Apply the sparse step to a stack or to a tile of one.

    Parameters
    ----------
    block : (Z, Y, X)
        The tile with at least `HALO_PX` neighbours where the stack goes on.
    method
        `SparseHessian`, or another function that denoises a stack divided by its scale.
    scale : (Z,)
        Of each plane, from `find_scale` of the whole stack.
    faces
        For z, y, x: whether the stack ends with the block's first and last voxel.  There the
        block is mirrored over twelve pixels, which the scheme's own wrapping then spoils instead.
    device
        See `denoise_scaled`.

    Returns
    -------
    (Z, Y, X) float32
        In the units of `block`; only what is `HALO_PX` away from inner sides is good.
    """
    widths = [
        (MIRRORED_PX * first, MIRRORED_PX * last) if n > 1 else (0, 0)
        for n, (first, last) in zip(block.shape, faces, strict=True)
    ]
    divided = np.asarray(block, np.float32) / scale[:, None, None]
    made = denoise_scaled(np.pad(divided, widths, mode="reflect"), method, device=device)
    inside = tuple(
        slice(before, before + n) for n, (before, _) in zip(block.shape, widths, strict=True)
    )
    return np.asarray(made[inside] * scale[:, None, None], np.float32)


def denoise_sparse(
    stack: Pixels,
    method: SparseHessian | None = None,
    *,
    scale: Scale = "percentile",
    percentile: float = 99.9,
    headroom: float = 1.0,
    core_px: Shape | None = None,
    workers: int = 1,
    device: str = "cpu",
) -> Denoised:
    """Return the denoised stack in its own units.

    Parameters
    ----------
    stack : (Z, Y, X)
        Intensity without offset, any real dtype, not negative.  One or two planes are legal.
    method
        Settings of the sparse step.
    scale, percentile, headroom
        See `find_scale`.
    core_px
        Size of a tile without its halo; by default such that a tile takes half a gigabyte.
    workers
        Threads.  Neither this nor `core_px` changes the result by more than 1e-6 of the maximum.
    device
        See `denoise_scaled`.

    Raises
    ------
    ValueError
        If the stack is not 3-D, or holds negative values, NaN or infinity.
    TypeError
        If the stack is not made of real numbers.

    Notes
    -----
    A departure from the original: faces are mirrored over twelve pixels, so that a bright voxel
    near one face does not appear at the opposite one, and the scale does not depend on one voxel.
    """
    if stack.ndim != 3:
        raise ValueError(f"The stack has shape {stack.shape}; three axes (z, y, x) are wanted.")
    check_stack(stack)
    step = partial(denoise_scaled, method=method or SparseHessian(), device=device)
    found = find_scale(stack, scale, percentile=percentile, headroom=headroom)
    shape = (stack.shape[0], stack.shape[1], stack.shape[2])
    made = np.empty(shape, np.float32)
    tiles = itertools.product(*map(_cuts, shape, core_px or choose_core(shape)))
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(partial(_denoise_tile, stack, step, found, made), tiles):
            pass
    return Denoised(made, found)


def choose_core(shape: Shape, *, voxels: float = VOXELS) -> Shape:
    """Return the tile size, without halo, that costs least.

    Parameters
    ----------
    shape
        Of the stack (Z, Y, X).
    voxels
        Most voxels of a tile with its halo; at least 64 a side are kept in any case.
    """
    choices = [
        [(k, math.ceil(n / k)) for k in range(1, max(1, min(MOST_PARTS, n // 64)) + 1)]
        for n in shape
    ]
    best: tuple[bool, float, Shape] | None = None
    for parts in itertools.product(*choices):
        sides = [core + _margins(core, k) for k, core in parts]
        size = math.prod(sides)
        total = size * math.prod(k for k, _ in parts)
        cores = (parts[0][1], parts[1][1], parts[2][1])
        # Tiles that do not fit come last, the smallest first.
        candidate = (size > voxels, size if size > voxels else total, cores)
        best = candidate if best is None else min(best, candidate)
    return best[2] if best else shape


def _margins(core: int, n_parts: int) -> int:
    if n_parts > 1:
        return 2 * HALO_PX
    return 2 * MIRRORED_PX if core > 1 else 0


def _cuts(n: int, core: int) -> list[slice]:
    return [slice(start, min(start + core, n)) for start in range(0, n, core)]


def _denoise_tile(
    stack: Pixels,
    method: Step,
    scale: Float32,
    made: Float32,
    core: tuple[slice, ...],
) -> None:
    padded = [
        slice(max(0, s.start - HALO_PX), min(n, s.stop + HALO_PX))
        for s, n in zip(core, stack.shape, strict=True)
    ]
    faces = [(s.start == 0, s.stop == n) for s, n in zip(padded, stack.shape, strict=True)]
    tile = denoise_block(
        stack[tuple(padded)], method, scale=scale[padded[0]], faces=(faces[0], faces[1], faces[2])
    )
    inside = tuple(
        slice(s.start - p.start, s.stop - p.start) for s, p in zip(core, padded, strict=True)
    )
    made[core] = tile[inside]
