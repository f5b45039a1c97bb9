"""What a whole stack says before its blocks are deconvolved: light, scale, background."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from clgkit import contrast, deconvolution

if TYPE_CHECKING:
    import xarray as xr

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Window = tuple[slice, slice]
WHOLE: Window = (slice(None), slice(None))
NO_LIGHT = float(np.finfo(np.float32).tiny)
"""Percentiles are those of bins: that of 0 is a little above it."""


class Brightness(NamedTuple):
    """What counts as bright: see the settings of the stage."""

    scale: Literal["percentile", "max", "per-plane"] | float
    percentile: float
    headroom: float


@dataclass(frozen=True)
class Facts:
    """What the blocks need to know of the whole stack."""

    offset: float
    """Counts without light."""
    shape: tuple[int, int, int]
    coords: dict[str, Float64]
    lowest: float
    highest: float
    """Least and most light of a voxel."""
    bright: float
    """Scale of the background's estimate."""
    scale: Float32
    """(Z,) what each slice is divided by."""
    coarse: tuple[Float64, ...] | None = None
    """Background coefficients of each slice."""

    @property
    def is_constant(self) -> bool:
        """Whether every voxel is the same."""
        return self.lowest == self.highest

    def places(self, block: xr.DataArray) -> dict[str, slice]:
        """Return where a block lies in the stack."""
        starts = {
            dim: int(np.argmax(self.coords[dim] == block.coords[dim].values[0])) for dim in "zyx"
        }
        return {dim: slice(start, start + block.sizes[dim]) for dim, start in starts.items()}

    def light(self, block: xr.DataArray) -> Float32:
        """Return what of a block lies above offset and background."""
        light = above(block.values, self.offset)
        if self.coarse is None:
            return light
        at = self.places(block)
        return self._without_background(light, at["z"].start, (at["y"], at["x"]))

    def _without_background(self, light: Float32, first: int, window: Window) -> Float32:
        left = np.empty_like(light)
        for k, plane in enumerate(light):
            background = deconvolution.expand_background(
                (self.coarse or ())[first + k], self.shape[1:], window=window
            )
            left[k] = np.maximum(plane - self.bright * background, 0)
        return left

    def left(self, structure: xr.DataArray) -> Iterator[Float32]:
        """Yield every slice without offset and background."""
        for z, plane in enumerate(planes(structure, self.offset)):
            if self.coarse is None:
                yield plane
            else:
                yield self._without_background(plane[None], z, WHOLE)[0]


class _Counts(NamedTuple):
    """Brightness of a stack, counted slice by slice."""

    limits: contrast.StackLimits
    own: Float64
    """(Z,) percentile of each slice."""
    lowest: float
    highest: float

    def bright(self, percentile: float) -> float:
        """Return the percentile, or the maximum where it is 0."""
        found = self.limits.limits(low=0, high=percentile).high
        return found if found > NO_LIGHT else self.highest


def above(values: npt.NDArray[Any], offset: float) -> Float32:
    """Return what lies above the offset; if it is positive, nothing falls below 0."""
    with np.errstate(over="ignore"):  # beyond float32 it becomes infinity, which is refused
        light = np.asarray(values, np.float32)
    if not offset:
        return light
    light = light - np.float32(offset)
    return np.maximum(light, 0, out=light) if offset > 0 else light


def planes(structure: xr.DataArray, offset: float) -> Iterator[Float32]:
    """Yield the light of every slice."""
    for z in range(structure.sizes["z"]):
        yield above(structure.isel(z=z).values, offset)


def look(
    structure: xr.DataArray,
    brightness: Brightness,
    *,
    offset: float,
    background: deconvolution.Background,
) -> Facts:
    """Read a stack slice by slice; check it and find its scale.

    Raises
    ------
    ValueError
        If it holds no voxel, NaN, infinity or negative light.
    """
    if structure.size == 0:
        raise ValueError("The stack has no voxel.")
    counts = _count(planes(structure, offset), brightness.percentile)
    if counts.lowest < 0:
        level = _rounded_down(counts.lowest + offset)
        raise ValueError(
            f"The stack has negative values, down to {counts.lowest:g}, but light is never less "
            f"than 0. Give the counts without light as offset, at most {level:.3g} (offset = "
            f"{level:.3g} adds {-level:.3g} to every voxel)."
        )
    n_z, n_y, n_x = structure.shape
    coords = {dim: np.asarray(structure.coords[dim].values, np.float64) for dim in "zyx"}
    facts = Facts(
        offset=offset,
        shape=(n_z, n_y, n_x),
        coords=coords,
        lowest=counts.lowest,
        highest=counts.highest,
        bright=counts.bright(brightness.percentile) or 1.0,
        scale=np.ones(n_z, np.float32),
    )
    if facts.is_constant:
        return facts
    if background != "none":
        facts = replace(facts, coarse=_background(structure, facts, background))
        counts = _count(facts.left(structure), brightness.percentile)
    return replace(facts, scale=_scale(counts, brightness))


def _rounded_down(value: float) -> float:
    """Return a number of three digits that is not above a negative one."""
    step = 10.0 ** (math.floor(math.log10(abs(value))) - 2)
    return math.floor(value / step) * step


def _count(slices: Iterator[Float32], percentile: float) -> _Counts:
    limits = contrast.StackLimits()
    own, lows, highs = [], [], []
    for plane in slices:
        lows.append(float(plane.min()))
        highs.append(float(plane.max()))
        if not (math.isfinite(lows[-1]) and math.isfinite(highs[-1])):
            raise ValueError(
                f"Slice {len(lows) - 1} holds NaN or infinity; replace them before deconvolution."
            )
        limits.add(plane)
        own.append(np.percentile(plane, percentile))
    return _Counts(limits, np.array(own, np.float64), min(lows), max(highs))


def _scale(counts: _Counts, brightness: Brightness) -> Float32:
    """Return what each slice is divided by."""
    n_z = len(counts.own)
    if isinstance(brightness.scale, float):
        found = np.full(n_z, brightness.scale)
    elif brightness.scale == "max":
        found = np.full(n_z, counts.highest)
    elif brightness.scale == "percentile":
        found = np.full(n_z, counts.bright(brightness.percentile) * brightness.headroom)
    else:
        found = counts.own * brightness.headroom
    # Where a percentile is 0 nothing but the maximum says what is bright.
    return np.where(found > 0, found, counts.highest or 1.0).astype(np.float32)


def _background(
    structure: xr.DataArray, facts: Facts, background: deconvolution.Background
) -> tuple[Float64, ...]:
    clip = deconvolution.clip_level(
        (plane / facts.bright for plane in planes(structure, facts.offset)), background
    )
    return tuple(
        deconvolution.background_coefficients(plane / facts.bright, background, clip=clip)
        for plane in planes(structure, facts.offset)
    )
