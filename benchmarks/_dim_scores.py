"""What methods make of the dim plane; ``python -m benchmarks._dim_scores`` prints the table.

Every number is the mean over five draws of the noise on one scene: of a single draw the rms error
of correlations scatters by 0.0005, the height of peaks by 0.002.
"""

import math
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from benchmarks._dim_plane import DimPlane, make_dim_plane
from benchmarks.harness import Size

Float32: TypeAlias = npt.NDArray[np.float32]

TOY: dict[str, Any] = {"side": 48, "n_frames": 120, "n_cells": 8}
N_DRAWS = 5
N_PEAKS = 8
LIGHT = (6, 2, 0.7)
METHODS = ("raw", "gaussian", "hard cut", "low rank", "with Wiener")


class Scores(NamedTuple):
    """What a movie is worth, measured against the truth."""

    psnr_db: float
    """Range of the truth over the rms error."""
    pixel_r: float
    """Correlation over time of a pixel with its truth; of one that never changes, 0."""
    roi_r: float
    """Of the mean of a cell with its truth."""
    bias: float
    """Mean error of the correlations of pairs of cells."""
    rms: float
    peak: float
    """Height of the largest transients of cells, over that of the truth."""


def score(movie: Float32, plane: DimPlane) -> Scores:
    """Return what a movie of a plane is worth."""
    error = float(np.mean((movie - plane.truth) ** 2, dtype=np.float64))
    ours, truth = (
        np.stack([pixels[:, mask].mean(axis=1, dtype=np.float64) for mask in plane.masks])
        for pixels in (movie, plane.truth)
    )
    pairs = np.triu_indices(len(truth), 1)
    change = (np.corrcoef(ours) - np.corrcoef(truth))[pairs]
    kept = []
    for a, b in zip(ours, truth, strict=True):
        at = np.argsort(b)[-N_PEAKS:]
        kept.append((a[at] - np.median(a)).mean() / (b[at] - np.median(b)).mean())
    return Scores(
        10 * math.log10(float(np.ptp(plane.truth)) ** 2 / error),
        float(_correlations(movie, plane.truth).mean()),
        float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(ours, truth, strict=True)])),
        float(change.mean()),
        float(np.sqrt((change**2).mean())),
        float(np.mean(kept)),
    )


def _correlations(movie: Float32, truth: Float32) -> npt.NDArray[np.float64]:
    """Return the correlation over time of every pixel with its truth."""
    a, b = (pixels - pixels.mean(axis=0, dtype=np.float64) for pixels in (movie, truth))
    scale = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    products = (a * b).sum(axis=0)
    return np.asarray(np.divide(products, scale, out=np.zeros_like(products), where=scale > 0))


@cache
def scores(photons: float, size: Size) -> dict[str, Scores]:
    """Return the scores of the raw movie and of every method, the mean over draws of the noise."""
    draws = [_of_a_draw(photons, draw, size) for draw in range(N_DRAWS if size == "full" else 1)]
    return {
        name: Scores(*np.mean([made[name] for made in draws], axis=0).tolist()) for name in METHODS
    }


def _of_a_draw(photons: float, draw: int, size: Size) -> dict[str, Scores]:
    from clgkit.denoising import denoise_gaussian, denoise_lowrank  # noqa: PLC0415  (numba)

    plane = make_dim_plane(photons=photons, draw=draw, **(TOY if size == "toy" else {}))
    frames = plane.noisy
    movies = (
        frames,
        denoise_gaussian(frames),
        denoise_lowrank(frames, weak=False).denoised,
        denoise_lowrank(frames).denoised,
        denoise_lowrank(frames, smooth=True).denoised,
    )
    return {name: score(movie, plane) for name, movie in zip(METHODS, movies, strict=True)}


def rows(size: Size) -> Iterator[str]:
    """Yield the lines of a table of all methods."""
    yield "| photons | | PSNR [dB] | pixel r | roi r | bias | rms | peak |\n" + "|---" * 8 + "|"
    for photons in LIGHT:
        for name, made in scores(photons, size).items():
            bias = f"{made.bias:+.3f}".replace("-", "\N{MINUS SIGN}")
            yield (
                f"| {photons:g} | {name} | {made.psnr_db:.1f} | {made.pixel_r:.3f} "
                f"| {made.roi_r:.3f} | {bias} | {made.rms:.4f} | {made.peak:.3f} |"
            )


def main() -> None:
    """Print the table."""
    for row in rows("full"):
        print(row, flush=True)


if __name__ == "__main__":
    main()
