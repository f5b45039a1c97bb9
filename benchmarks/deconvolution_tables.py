"""Whether our steps give the published tables of sparse deconvolution on simulated scenes.

Tables were made by an independent program with the published settings (120 iterations, fidelity
150, sparsity 6, eight Richardson-Lucy iterations).  Scenes: beads 3.0 px wide and 2.5 planes
long, alone or in pairs; 16 planes of nuclei on a background of 0.15.  A figure is the largest
deviation from a table, so that one number says whether all of it holds.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from benchmarks.deconvolution import PSF, PUBLISHED, make_nuclei
from benchmarks.harness import Figure, Size, peer_version
from clgkit.deconvolution import (
    Deblur,
    SparseHessian,
    amplitude_response,
    denoise_block,
    denoise_sparse,
    minimize_sparse_hessian,
)
from clgkit.deconvolution.response import bead, width_at_half

Float32: TypeAlias = npt.NDArray[np.float32]

NOTHING = SparseHessian(iterations=1)
DEFAULT = SparseHessian(sparsity=0)
SHARPEN = Deblur(PSF)
AMPLITUDES = (1.0, 0.5, 0.25, 0.1, 0.05)
SPARSE_RESPONSE = (1, 0.393, 0.111, 0.006, 0.0004)
SHARPENED_RESPONSE = (1, 0.401, 0.106, 0.0045, 0.0001)
GAIN = {
    0: (0.84, 0.72, 0.53, 0.40, 0.32),
    3: (0.79, 0.65, 0.43, 0.17, 0.05),
    6: (0.67, 0.52, 0.30, 0.04, 0.006),
    15: (0.31, 0.21, 0.06, 0.001, 0.001),
}
DIPS = {
    3: (0.03, 0.00, 0.30, 0.36),
    4: (0.42, 0.24, 0.84, 0.90),
    5: (0.65, 0.59, 0.99, 1.00),
}
WIDTHS_IN_LIGHT = (2.96, 2.93, 1.56, 1.55)


def processed(image: Float32) -> tuple[Float32, Float32, Float32, Float32]:
    """Return a stack raw, after the sparse step, after both, and after Richardson-Lucy alone.

    The maximum is the scale, as published.
    """
    scale = np.float32(image.max())
    sparse = denoise_block(image, PUBLISHED, scale=np.full(len(image), scale, np.float32))
    return image, sparse, _sharpen(sparse / scale) * scale, _sharpen(image / scale) * scale


def _sharpen(image: Float32) -> Float32:
    wide = np.pad(image, ((0, 0), (8, 8), (8, 8)), mode="edge")
    return SHARPEN(wide)[:, 8:-8, 8:-8]


def figure_response(size: Size) -> Figure:
    """Peaks of beads in one plane, relative to the brightest: fifteen numbers."""
    amplitudes = AMPLITUDES if size == "full" else AMPLITUDES[:2]
    row = np.concatenate([bead() * np.float32(amplitude) for amplitude in amplitudes], axis=2)
    z, y, x = (n // 2 for n in bead().shape)
    peaks = [image[z, y, x :: 2 * x + 1] for image in processed(row)[1:]]
    wanted = (SPARSE_RESPONSE, SHARPENED_RESPONSE, AMPLITUDES)
    worst = _largest([peak / peak[0] for peak in peaks], [w[: len(amplitudes)] for w in wanted])
    return Figure("amplitude response", "1", worst, target=0.01)


def figure_gain(size: Size) -> Figure:
    """Output over input of beads at four sparsities: twenty numbers."""
    amplitudes = AMPLITUDES if size == "full" else AMPLITUDES[:1]
    found = [
        amplitude_response(SparseHessian(sparsity=sparsity), amplitudes=amplitudes).denoised
        for sparsity in GAIN
    ]
    wanted = [row[: len(amplitudes)] for row in GAIN.values()]
    return Figure("gain by sparsity", "1", _largest(found, wanted), target=0.01)


def figure_width_alone(size: Size) -> Figure:
    """Width of a bead after Richardson-Lucy alone, across and along."""
    del size
    made = amplitude_response(NOTHING, SHARPEN, amplitudes=(1.0,))
    found = (made.lateral_px[2], made.axial_px[2])
    return Figure("bead widths, RL 8 only", "px", _largest([found], [(1.31, 2.60)]), target=0.05)


def figure_width_in_light(size: Size) -> Figure:
    """Mean widths of beads of 100 photons on a background of 0.1: four numbers.

    The known background is subtracted, and the half of the brightest of eleven pixels is crossed
    between pixels.
    """
    rng = np.random.default_rng(0)
    light = 100 * (np.pad(bead(), ((2, 2), (4, 4), (4, 4))) + 0.1)
    widths = []
    for _ in range(60 if size == "full" else 1):
        noisy = rng.poisson(light).astype(np.float32)
        z, y, x = (n // 2 for n in noisy.shape)
        lines = [image[z, y] - np.float32(10) for image in processed(noisy)]
        widths.append([width_at_half(line[x - 5 : x + 6]) for line in lines])
    found = np.mean(widths, axis=0)
    worst = _largest([found], [WIDTHS_IN_LIGHT])
    sds = [f"{sd:.2f}" for sd in np.std(widths, axis=0)]
    name = f"bead widths, 100 photons on 0.1 (sd of one bead {', '.join(sds)})"
    return Figure(name, "px", worst, target=0.05)


def figure_converged(size: Size) -> Figure:
    """How far 120 rounds of the scheme are from its energy's minimum, default settings."""
    scaled = make_nuclei((12, 64, 64) if size == "full" else (6, 12, 12), photons=30)
    scaled /= np.float32(4 * np.percentile(scaled, 99.9))
    best = minimize_sparse_hessian(scaled, DEFAULT, tolerance=1e-4)
    rounds = DEFAULT(scaled)
    nrms = float(np.sqrt(np.mean((best.image - rounds) ** 2)) / rounds.std())
    name = f"120 rounds to the minimum, which took {best.iterations} iterations"
    return Figure(name, "NRMS", nrms, target=1.0)


def figure_dips(size: Size) -> Figure:
    """Dip between two points 3, 4 and 5 px apart: twelve numbers."""
    distances = DIPS if size == "full" else {4: DIPS[4]}
    found = [[_dip(image, d) for image in processed(_two_points(d))] for d in distances]
    worst = _largest(found, list(distances.values()))
    return Figure("dip between two points", "1", worst, target=0.05)


def _two_points(distance: int) -> Float32:
    wide = np.pad(bead(), ((0, 0), (0, 0), (0, distance)))
    return np.asarray(wide + np.roll(wide, distance, axis=2), np.float32)


def _dip(image: Float32, distance: int) -> float:
    z, y, x = image.shape[0] // 2, image.shape[1] // 2, (image.shape[2] - distance) // 2
    line = image[z, y, x : x + distance + 1]
    return float(1 - line.min() / max(line[0], line[-1]))


@lru_cache(maxsize=4)
def nuclei(size: Size, photons: float) -> tuple[Float32, dict[str, Float32]]:
    """Return the scene without noise, and what the programs make of it with noise."""
    shape = (16, 192, 192) if size == "full" else (6, 24, 24)
    noisy, clean = (make_nuclei(shape, photons=n) for n in (photons, 3e5))
    raw, sparse, both, alone = processed(noisy)
    blurred = ndimage.gaussian_filter(noisy, (0.6, 1, 1))
    images = {"raw": raw, "Gaussian": blurred, "RL 8": alone}
    return clean, images | {"sparse": sparse, "sparse + RL 8": both}


def likeness(size: Size, photons: float) -> dict[str, float]:
    """Return the correlation with the scene without noise."""
    clean, images = nuclei(size, photons)
    return {
        name: float(np.corrcoef(image.ravel(), clean.ravel())[0, 1])
        for name, image in images.items()
    }


def figure_likeness_bright(size: Size) -> Figure:
    """Correlation at 30 photons, beside a Gaussian filter."""
    found = likeness(size, 30.0)
    name = f"Gaussian (0.6, 1, 1), {peer_version('scipy')}"
    return Figure("r at 30 photons", "1", found["sparse"], name, found["Gaussian"], better="higher")


def figure_contrast(size: Size) -> Figure:
    """Nuclei over the scatter of the background at 5 photons, beside a Gaussian filter."""
    clean, images = nuclei(size, 5.0)
    inside, outside = clean > 0.6 * clean.max(), clean < 0.2 * clean.max()
    values = [
        float((image[inside].mean() - image[outside].mean()) / image[outside].std())
        for image in (images["sparse"], images["Gaussian"])
    ]
    name = f"Gaussian (0.6, 1, 1), {peer_version('scipy')}"
    return Figure("contrast at 5 photons", "1", values[0], name, values[1], better="higher")


def figure_default(size: Size) -> Figure:
    """Correlation at 5 photons with our default settings, beside the published ones."""
    clean, images = nuclei(size, 5.0)
    ours = denoise_sparse(images["raw"], DEFAULT, headroom=4.0).image
    value = float(np.corrcoef(ours.ravel(), clean.ravel())[0, 1])
    published = likeness(size, 5.0)["sparse"]
    name = "r at 5 photons, default settings"
    return Figure(name, "1", value, "published settings", published, better="higher")


def _largest(found: Sequence[npt.ArrayLike], wanted: Sequence[npt.ArrayLike]) -> float:
    return float(np.abs(np.asarray(found, float) - np.asarray(wanted, float)).max())
