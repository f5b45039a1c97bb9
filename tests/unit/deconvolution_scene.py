"""Scenes for the tests of the deconvolution, and its dense reference."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from clgkit.deconvolution import SparseHessian

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


def nuclei(
    shape: tuple[int, int, int] = (16, 64, 64), photons: float = 30.0, seed: int = 0
) -> Float32:
    """Return bright balls on a background of 0.15, with shot noise."""
    rng = np.random.default_rng(seed)
    light = np.full(shape, 0.15)
    z, y, x = np.ogrid[tuple(slice(0, n) for n in shape)]
    for _ in range(int(np.prod(shape) // 2300)):
        cz, cy, cx = rng.uniform(0, shape)
        radius = rng.uniform(3.0, 4.5)
        inside = ((z - cz) * 2.2) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 < radius**2
        light[inside] = 1.0
    light = ndimage.gaussian_filter(light, (1.06, 1.02, 1.02), mode="nearest")
    return np.asarray(rng.poisson(photons * light), np.float32)


def forward(g: Float64, axis: int) -> Float64:
    """Return g[i + 1] - g[i], 0 at the last sample."""
    made = np.zeros_like(g)
    lines, out = np.moveaxis(g, axis, 0), np.moveaxis(made, axis, 0)
    out[:-1] = lines[1:] - lines[:-1]
    return made


def backward(g: Float64, axis: int) -> Float64:
    """Return g[i] - g[i - 1], 0 at the first sample."""
    made = np.zeros_like(g)
    lines, out = np.moveaxis(g, axis, 0), np.moveaxis(made, axis, 0)
    out[1:] = lines[1:] - lines[:-1]
    return made


def soft(t: Float64) -> Float64:
    return np.asarray(np.sign(t) * np.maximum(np.abs(t) - 1, 0))


def dense(f: npt.NDArray[np.generic], method: SparseHessian) -> Float64:
    """Follow the scheme to the letter: soft thresholds, whole complex transforms."""
    data = f.astype(np.float64)
    c, rho, sigma = np.sqrt(method.z_continuity), method.fidelity, method.sparsity
    ez, ey, ex = np.meshgrid(
        *(4 * np.sin(np.pi * np.arange(n) / n) ** 2 for n in f.shape), indexing="ij"
    )
    below = rho + sigma**2 + ex**2 + ey**2 + c**2 * ez**2
    below += 2 * ex * ey + 2 * c * ex * ez + 2 * c * ey * ez
    pairs = [(1, 1, 1.0), (2, 2, 1.0), (0, 0, c**2), (1, 2, 2.0), (0, 2, 2 * c), (0, 1, 2 * c)]
    b = [np.zeros_like(data) for _ in range(7)]
    g, u = data, data
    for i in range(method.iterations):
        if i:
            g = np.fft.ifftn(np.fft.fftn(u) / below).real
        u = rho * data
        for k, (first, second, weight) in enumerate(pairs):
            same = first == second
            t = (backward if same else forward)(forward(g, first), second) + b[k]
            d = soft(t)
            b[k] = t - d
            inner = (forward if same else backward)(d - b[k], first)
            u = u + weight * backward(inner, second)
        t = g + b[6]
        d = soft(t)
        b[6] = t - d
        u = u + sigma * (d - b[6])
    return np.maximum(g, 0)
