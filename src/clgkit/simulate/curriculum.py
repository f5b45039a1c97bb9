"""Small stacks with known nuclei, each drawn apart, for training and testing a segmentation.

::

    stack = make_stack(draw_recipe(seed=1, number=0), seed=1, number=0)
    stack.image, stack.labels, stack.recipe.voxel_um, stack.recipe.diameter_um
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy import ndimage

from clgkit.simulate.noise import Sensor, expose, lattice_noise
from clgkit.simulate.packing import pack_spheres
from clgkit.simulate.paint import Grid, paint_labels, square_radius

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
UInt16 = npt.NDArray[np.uint16]
UInt32 = npt.NDArray[np.uint32]
Triple = tuple[float, float, float]

__all__ = ["NucleiStack", "Recipe", "draw_recipe", "make_stack"]

FULL_SCALE = 60_000
"""Brightest count that a stack may expect; clipped light teaches too small nuclei."""
SMALLEST_BLOTCH = 0.66
"""Of the diameter: background finer than nuclei cannot be told from them."""
DENSITIES = (0.0, 0.03, 0.1, 0.3, 0.6, 1.0)
DENSITY_SHARES = (0.09, 0.07, 0.08, 0.1, 0.2, 0.46)
DENSEST = 0.42
KNOT = 4
"""Voxels of a nucleus' mean size per knot of the coarse grid that says where nuclei may lie."""


@dataclass(frozen=True)
class Recipe:
    """What a stack is made of.  Lengths named ``_share`` are shares of the diameter, per axis."""

    shape_px: tuple[int, int, int] = (24, 160, 160)
    """Stack (z, y, x), voxels."""
    voxel_um: Triple = (1.0, 0.5, 0.5)
    """Voxel (z, y, x), µm."""
    diameter_um: Triple = (6.0, 6.0, 6.0)
    """Diameter that is said (z, y, x), µm."""
    size: float = 1.0
    """Mean true diameter over the one that is said."""
    size_cv: float = 0.1
    """Coefficient of variation of the diameter inside the stack."""
    roundness: float = 0.85
    """Smallest minor over major lateral axis."""
    filling: float = 0.4
    """Share of the cell layers that nuclei fill."""
    layers: float = 1.0
    """Share of the stack that is cell layer."""
    gap_share: float = 0.02
    """Distance kept between nuclei."""
    brightness_cv: float = 0.4
    """Coefficient of variation of the brightness (log-normal)."""
    texture: float = 0.3
    """Largest relative change of the light inside a nucleus, at a fifth of the diameter."""
    rim: float = 0.0
    """Light at the surface over that in the middle, minus 1."""
    blur_share: tuple[float, float] = (0.15, 0.06)
    """Standard deviation of the blur (axial, lateral)."""
    gain_sd: float = 0.2
    """Standard deviation of the logarithm of a slow gain field."""
    decay: float = 0.0
    """Logarithm of the light at the first slice over that at the last one."""
    background: float = 0.1
    """Diffuse light over that of a median nucleus."""
    background_sd: float = 0.3
    """Standard deviation of the logarithm of the diffuse light."""
    blotch_share: float = 1.5
    """Size of the blotches of the diffuse light."""
    photons: float = 20.0
    """Photons per voxel in a median nucleus."""
    read_noise: float = 0.3
    """Standard deviation of the electronic noise, photons."""
    smoothing_px: float = 0.0
    """Standard deviation of a Gaussian over the noisy counts, as filtered stacks have it."""


class NucleiStack(NamedTuple):
    """A simulated stack and its answer."""

    image: UInt16
    """(Z, Y, X): counts."""
    labels: UInt32
    """(Z, Y, X): 0 is background; ids may have gaps where a nucleus lies outside."""
    recipe: Recipe


def draw_recipe(*, seed: int, number: int, shape: Triple = (4.0, 13.4, 13.4)) -> Recipe:
    """Draw the recipe of one stack of the curriculum.

    Parameters
    ----------
    seed, number
        Choose the recipe; neighbours in number have nothing in common.
    shape
        Size of the stack (z, y, x) in diameters.
    """
    rng = _stream(seed, number, 0)
    u = rng.uniform
    native = np.array([6.0, 12.0, 12.0])  # voxels per diameter
    if rng.random() < 0.5:
        native = native * (u(0.7, 2.0), *np.repeat(u(0.85, 1.4), 2))
    stretch = u(1.3, 2.4) if rng.random() < 0.5 else 1.0
    diameter = np.array([6.0 * stretch, 6.0, 6.0])
    axial = u(0.05, 0.3) if stretch == 1 else u(0.03, 0.2)  # optics are in the stretch already
    layered = rng.random() < 0.5
    return Recipe(
        shape_px=(
            round(shape[0] * native[0]),
            round(shape[1] * native[1]),
            round(shape[2] * native[2]),
        ),
        voxel_um=_triple((diameter / native).tolist()),
        diameter_um=_triple(diameter.tolist()),
        size=u(0.65, 1.3),
        size_cv=u(0.03, 0.2),
        roundness=u(0.7, 1.0),
        filling=DENSEST * float(rng.choice(DENSITIES, p=DENSITY_SHARES)),
        layers=u(0.3, 0.9) if layered else 1.0,
        gap_share=u(0.0, 0.05),
        brightness_cv=u(0.2, 0.85),
        texture=u(0.0, 0.65),
        rim=u(-0.4, 0.4) if rng.random() < 0.5 else 0.0,
        blur_share=(axial, u(0.033, 0.14)),
        gain_sd=u(0.0, 0.5),
        decay=u(0.0, 0.5),
        background=math.exp(u(math.log(0.03), math.log(0.45))),
        background_sd=u(0.0, 0.7),
        blotch_share=math.exp(u(math.log(SMALLEST_BLOTCH), math.log(2.5))),
        photons=math.exp(u(math.log(4.0), math.log(80.0))),
        read_noise=u(0.0, 1.0),
        smoothing_px=u(0.4, 1.2) if rng.random() < 0.3 else 0.0,
    )


def make_stack(recipe: Recipe, *, seed: int, number: int = 0) -> NucleiStack:
    """Make the stack of a recipe.

    Parameters
    ----------
    recipe
        What it is made of.
    seed, number
        Choose places, brightness and noise.

    Raises
    ------
    ValueError
        If the diffuse light has blotches finer than two thirds of a nucleus, or nothing fits.
    """
    if recipe.blotch_share < SMALLEST_BLOTCH:
        raise ValueError(
            f"blotches of {recipe.blotch_share:g} diameters look like nuclei; "
            f"take {SMALLEST_BLOTCH:g} or more"
        )
    rng = _stream(seed, number, 1)
    table = _place(recipe, rng)
    size = np.array(recipe.diameter_um) / recipe.voxel_um  # voxels per diameter
    margin = np.ceil(3 * np.array(recipe.blur_share)[[0, 1, 1]] * size).astype(int)
    padded = tuple((np.array(recipe.shape_px) + 2 * margin).tolist())
    grid = Grid(-margin * np.array(recipe.voxel_um), np.array(recipe.voxel_um))
    labels = np.zeros(padded, np.uint32)
    paint_labels(labels, np.arange(len(table)), table, grid)
    light = np.zeros(padded, np.float32)
    spread = math.sqrt(math.log1p(recipe.brightness_cv**2))
    brightness = rng.lognormal(0.0, spread, len(table))
    look = (recipe.texture, recipe.rim, 0.2 * recipe.diameter_um[1], _key(rng))
    _paint(light, labels, (table, brightness), look, grid)
    inner = tuple(slice(m, n - m) for m, n in zip(margin, padded, strict=True))
    sigma = np.array(recipe.blur_share)[[0, 1, 1]] * size
    light = ndimage.gaussian_filter(light, sigma, truncate=3.0)[inner]
    light += _diffuse(recipe, rng)
    light *= np.exp(recipe.gain_sd * _smooth_field(recipe.shape_px, 4 * size, rng))
    fall = np.exp(-recipe.decay * np.linspace(0, 1, recipe.shape_px[0]))
    light *= (recipe.photons * fall[:, None, None]).astype(np.float32)
    counts = _expose(light, recipe, _key(rng))
    if recipe.smoothing_px > 0:
        smooth = ndimage.gaussian_filter(counts.astype(np.float32), recipe.smoothing_px)
        counts = np.rint(smooth).astype(np.uint16)
    return NucleiStack(counts, labels[inner].copy(), recipe)


def _stream(seed: int, number: int, part: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, number, part])))


def _key(rng: np.random.Generator) -> np.uint64:
    return np.uint64(rng.integers(0, 2**63))


def _triple(values: list[float]) -> Triple:
    z, y, x = values
    return z, y, x


def _place(recipe: Recipe, rng: np.random.Generator) -> Float64:
    """Place the nuclei in and round the stack, (N, 7) as `paint_labels` reads them.

    Some centres lie outside, up to half a diameter, so that faces cut nuclei.
    """
    said, voxel = np.array(recipe.diameter_um), np.array(recipe.voxel_um)
    stretch = said[0] / said[1]
    squeeze = np.array([1 / stretch, 1.0, 1.0])  # to the space where nuclei are spheres
    mean = recipe.size * said[1]
    margin = mean / 2
    extent = np.array(recipe.shape_px) * voxel * squeeze + 2 * margin
    allowed, cell = _layers(recipe, extent, mean, rng)
    volume = float(allowed.sum()) * float(np.prod(cell))
    cube = mean**3 * (1 + 3 * recipe.size_cv**2)
    n = round(recipe.filling * volume / (math.pi / 6 * cube))
    diameters = mean * np.clip(rng.normal(1.0, recipe.size_cv, n), 0.6, 1.5)
    roundness = rng.uniform(recipe.roundness, 1.0, n)
    major, minor = diameters / 2 / np.sqrt(roundness), diameters / 2 * np.sqrt(roundness)
    gap = recipe.gap_share * mean
    packed = pack_spheres(major, allowed=allowed, cell=tuple(cell.tolist()), rng=rng, gap=gap)
    centers = (packed.centers - margin) / squeeze
    radii = np.stack([diameters / 2 * stretch, major, minor], axis=1) * packed.scale[:, None]
    return np.column_stack([centers, radii, rng.uniform(0, np.pi, n)])


def _layers(
    recipe: Recipe, extent: Float64, mean: float, rng: np.random.Generator
) -> tuple[npt.NDArray[np.bool_], Float64]:
    """Choose where centres may lie: the highest part of a smooth field; and the grid's cell."""
    counts = np.maximum(np.round(extent / mean * KNOT), 4).astype(int)
    shape = (int(counts[0]), int(counts[1]), int(counts[2]))
    if recipe.layers >= 1:
        return np.ones(shape, bool), extent / counts
    field = _smooth_field(shape, np.full(3, rng.uniform(2, 5) * KNOT), rng)
    return field > np.quantile(field, 1 - recipe.layers), extent / counts


def _smooth_field(
    shape: tuple[int, int, int], scale_px: Float64, rng: np.random.Generator
) -> Float32:
    """Draw a smooth field of mean 0 and variance 1 that varies over `scale_px`."""
    knots = rng.standard_normal(
        [max(int(n / s), 1) + 3 for n, s in zip(shape, scale_px, strict=True)]
    )
    start = rng.random(3)
    field = knots.astype(np.float32)
    for axis, (n, scale) in enumerate(zip(shape, scale_px, strict=True)):
        at = start[axis] + np.arange(n) / max(scale, n / (field.shape[axis] - 2))
        low = at.astype(int)
        part = (at - low).astype(np.float32)
        part = part * part * (3 - 2 * part)
        part = part.reshape([-1 if k == axis else 1 for k in range(3)])
        below, above = field.take(low, axis), field.take(low + 1, axis)
        field = below + part * (above - below)
    return np.asarray((field - field.mean()) / max(float(field.std()), 1e-6), np.float32)


def _diffuse(recipe: Recipe, rng: np.random.Generator) -> Float32:
    scale = recipe.blotch_share * np.array(recipe.diameter_um) / recipe.voxel_um
    bumps = _smooth_field(recipe.shape_px, scale, rng)
    return np.asarray(recipe.background * np.exp(recipe.background_sd * bumps), np.float32)


def _expose(light: Float32, recipe: Recipe, key: np.uint64) -> UInt16:
    """Count photons; the gain keeps the brightest voxel below `FULL_SCALE`."""
    offset, brightest = 100.0, float(light.max()) + 8 * math.sqrt(float(light.max())) + 1
    gain = min(20.0, (FULL_SCALE - offset) / brightest)
    sensor = Sensor(gain, offset + 6 * gain * recipe.read_noise, gain * recipe.read_noise)
    counts = np.empty(light.size, np.uint16)
    expose(np.ascontiguousarray(light).ravel(), key, sensor, counts)
    if counts.max() > FULL_SCALE + 12 * sensor.read_noise:
        raise ValueError(f"the stack reaches {counts.max()} counts, near 65535; take fewer photons")
    return counts.reshape(light.shape)


@njit(cache=True, nogil=True)
def _paint(
    light: Float32,
    labels: UInt32,
    nuclei: tuple[Float64, Float64],
    look: tuple[float, float, float, np.uint64],
    grid: Grid,
) -> None:
    """Set the light of every labelled voxel; `look`: texture, rim, grain in µm and its key."""
    table, brightness = nuclei
    texture, rim, grain_um, key = look
    origin, step = grid.origin_um, grid.step_um
    for k in range(light.shape[0]):
        z = origin[0] + k * step[0]
        for i in range(light.shape[1]):
            y = origin[1] + i * step[1]
            for j in range(light.shape[2]):
                n = np.int64(labels[k, i, j]) - 1
                if n < 0:
                    continue
                x = origin[2] + j * step[2]
                value = 1.0 + rim * square_radius(table[n], z, y, x, 0.0)
                value *= 1.0 + texture * lattice_noise(
                    z / grain_um, y / grain_um, x / grain_um, key
                )
                light[k, i, j] = brightness[n] * value
