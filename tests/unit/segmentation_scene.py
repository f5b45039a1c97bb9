"""A small stack of nuclei with known labels: packed ellipsoids, blur, photons."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

VOXEL_UM = (1.0, 0.5, 0.5)


class Scene(NamedTuple):
    image: npt.NDArray[np.float32]
    labels: npt.NDArray[np.uint32]


def make_scene(
    shape: tuple[int, int, int] = (28, 96, 96),
    *,
    n_nuclei: int = 150,
    stretch: float = 1.0,
    background: float = 0.15,
    photons: float = 20.0,
    seed: int = 0,
) -> Scene:
    """Nuclei of 6 um, longer along z by `stretch`, that touch but do not overlap."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint32)
    light = np.full(shape, background, np.float32)
    placed = 0
    for _ in range(40 * n_nuclei):
        if placed == n_nuclei:
            break
        center = rng.uniform(0, shape)
        half = 3.0 * rng.uniform(0.85, 1.1, 3) * (stretch, 1, 1) / VOXEL_UM
        low = np.maximum(center - half, 0).astype(int)
        high = np.minimum(np.ceil(center + half) + 1, shape).astype(int)
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        axes = zip(np.ogrid[box], center, half, strict=True)
        distance = sum(((grid - c) / h) ** 2 for grid, c, h in axes)
        inside = distance <= 1
        if not inside.any() or labels[box][distance <= 0.9].any():
            continue
        inside &= labels[box] == 0
        placed += 1
        labels[box][inside] = placed
        light[box][inside] += rng.lognormal(0, 0.3)
    blurred = ndimage.gaussian_filter(light, (1.0, 0.8, 0.8))
    return Scene(rng.poisson(photons * blurred).astype(np.float32), labels)
