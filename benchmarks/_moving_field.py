"""A moving field of nuclei with known motion: the movie on which programs are compared."""

import math
from typing import NamedTuple, TypeAlias

import numba
import numpy as np
import numpy.typing as npt
from scipy import ndimage, special

Floats: TypeAlias = npt.NDArray[np.float64]
Float32: TypeAlias = npt.NDArray[np.float32]

MARGIN_PX = 24
N_NUCLEI = 900
LONG_MOVIE = 500
STEP_PX = 16
SUPPORT = 4


class MovingField(NamedTuple):
    """A movie and where its content went."""

    movie: npt.NDArray[np.int16]
    """(T, Y, X) photons times 20 plus read noise."""
    shift_px: Float32
    """(T, Y', X', 2) the true sampling field at `points_px`: content of a corrected frame at x
    lies in the frame at x plus this."""
    points_px: Floats
    """Coordinates, along both axes, at which the truth is known: every 16 px from 8."""


def make_movie(
    *,
    side: int = 512,
    n_frames: int = 200,
    photons: float = 20,
    rigid: bool = False,
    seed: int = 0,
    displacement_px: Floats | None = None,
) -> MovingField:
    """Simulate nuclei, activity, motion, blur and noise.

    Parameters
    ----------
    side
        Pixels along both axes.  The density of nuclei is that of 900 on 512 px with margins.
    n_frames
        The first frames of a movie of 500.
    photons
        Photons per unit of brightness; 20 gives about 9 a pixel, 2 gives 0.9.
    rigid
        Whether all pixels of a frame move alike.
    seed
        Of everything random.
    displacement_px : (T, 2)
        Where the whole field goes, at most 24 px from its place, in the stead of walk, jitter
        and bursts.
    """
    rng = np.random.default_rng(seed)
    canvas = side + 2 * MARGIN_PX
    background, patches, places, spiking = _nuclei(canvas, rng)
    whole, modes = _rigid_motion(rng), _smooth_motion(rng)
    if displacement_px is not None:
        whole = displacement_px
    if rigid:
        modes = np.zeros_like(modes)
    points = np.arange(STEP_PX / 2, side, STEP_PX)
    activity = np.zeros(len(spiking))
    movie = np.empty((n_frames, side, side), dtype=np.int16)
    truth = np.empty((n_frames, points.size, points.size, 2), dtype=np.float32)
    basis = _cosines((np.arange(canvas) - MARGIN_PX + 0.5) / side)
    for t in range(n_frames):
        activity = 0.93 * activity + (rng.random(len(spiking)) < 0.01)
        image = background.copy()
        for i in np.flatnonzero(activity > 1e-3):
            nucleus, (y, x) = patches[spiking[i]], places[spiking[i]]
            image[y : y + nucleus.shape[0], x : x + nucleus.shape[1]] += 1.5 * activity[i] * nucleus
        blurred = ndimage.gaussian_filter(image, 0.8).astype(np.float32)
        field = np.einsum("ky,lx,klc->yxc", basis, basis, modes[t])
        field += whole[t]
        moved = np.empty((side, side), dtype=np.float32)
        inner = field[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX].astype(np.float32)
        _warp(blurred, inner, moved)
        counts = rng.poisson(photons * moved.clip(0)) * 20 + rng.normal(0, 15, moved.shape)
        movie[t] = np.rint(counts).clip(-32768, 32767)
        truth[t] = _invert(whole[t], modes[t], points, side)
    return MovingField(movie, truth, points)


def rms_error_px(found_px: npt.NDArray[np.floating], truth_px: Float32) -> float:
    """Return the rms endpoint error after removing the time mean of every point, pixels."""
    error = np.asarray(found_px, dtype=np.float64) - truth_px
    error -= error.mean(axis=0)
    return math.sqrt(np.square(error).sum(axis=-1).mean())


def _nuclei(
    canvas: int, rng: np.random.Generator
) -> tuple[Floats, list[Floats], list[tuple[int, int]], npt.NDArray[np.intp]]:
    """Return the resting image, the nuclei one by one, their corners, and who spikes."""
    coarse = ndimage.gaussian_filter(rng.normal(size=(canvas, canvas)), 14)
    texture = ndimage.gaussian_filter(rng.normal(size=(canvas, canvas)), 1.5)
    image = (0.35 + 0.15 * coarse / coarse.std()) * (1 + 0.15 * texture / texture.std())
    n = round(N_NUCLEI * (canvas / 560) ** 2)
    nuclei, places = [], []
    for _ in range(n):
        y, x = rng.uniform(8, canvas - 9, 2)
        radius, light = rng.uniform(2.6, 4.2), rng.lognormal(-0.6, 0.6)
        corner = (int(y) - 8, int(x) - 8)
        grid_y, grid_x = np.indices((17, 17))
        distance = np.hypot(grid_y + corner[0] - y, grid_x + corner[1] - x)
        nuclei.append(light * special.expit((radius - distance) / 0.6))
        places.append(corner)
        image[corner[0] : corner[0] + 17, corner[1] : corner[1] + 17] += nuclei[-1]
    return image.clip(0), nuclei, places, np.flatnonzero(rng.random(n) < 0.4)


def _rigid_motion(rng: np.random.Generator) -> Floats:
    """Return a slow walk, jitter and four bursts, (500, 2) px."""
    walk = ndimage.gaussian_filter1d(rng.normal(size=(LONG_MOVIE, 2)).cumsum(axis=0), 25, axis=0)
    walk -= walk.mean(axis=0)
    walk *= 4 / np.abs(walk).max()
    jitter = ndimage.gaussian_filter1d(rng.normal(size=(LONG_MOVIE, 2)), 1, axis=0)
    motion = walk + 0.8 * jitter / jitter.std()
    for start in rng.integers(0, LONG_MOVIE - 5, 4):
        motion[start : start + 5] += rng.uniform(-3, 3, 2)
    return motion


def _smooth_motion(rng: np.random.Generator) -> Floats:
    """Return weights of cosine modes, (500, 4, 4, 2) px."""
    k = np.add.outer(np.arange(4), np.arange(4))
    weight = np.where((k >= 1) & (k <= 3), 1 / np.maximum(k, 1), 0)
    noise = ndimage.gaussian_filter1d(rng.normal(size=(LONG_MOVIE, 4, 4, 2)), 3, axis=0)
    return 0.75 * noise / noise.std() * weight[..., np.newaxis]


def _cosines(position: Floats) -> Floats:
    return np.cos(np.pi * np.multiply.outer(np.arange(4), position))


def _invert(whole: Floats, modes: Floats, points: Floats, side: int) -> Float32:
    """Solve s(x) = d(x + s(x)) by fixed-point rounds."""
    grid = np.stack(np.meshgrid(points, points, indexing="ij"), axis=-1)
    shift = np.zeros_like(grid)
    for _ in range(8):
        rows, columns = (_cosines((grid[..., i] + shift[..., i] + 0.5) / side) for i in (0, 1))
        shift = whole + np.einsum("kyx,lyx,klc->yxc", rows, columns, modes)
    return shift.astype(np.float32)


@numba.njit(cache=True, nogil=True)
def _lanczos(t: float, weights: Float32) -> None:
    total = 0.0
    for k in range(2 * SUPPORT):
        x = t - (k - SUPPORT + 1)
        if abs(x) < 1e-9:
            value = 1.0
        else:
            value = SUPPORT * np.sin(np.pi * x) * np.sin(np.pi * x / SUPPORT) / (np.pi * x) ** 2
        weights[k] = value
        total += value
    for k in range(2 * SUPPORT):
        weights[k] /= total


@numba.njit(cache=True, nogil=True)
def _warp(image: Float32, field: Float32, out: Float32) -> None:
    """Fill out(x) = image(x + margin - field(x)) by Lanczos-4; edges are repeated."""
    ny, nx = image.shape
    wy, wx = np.empty(2 * SUPPORT, np.float32), np.empty(2 * SUPPORT, np.float32)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            y, x = i + MARGIN_PX - field[i, j, 0], j + MARGIN_PX - field[i, j, 1]
            top, left = int(np.floor(y)), int(np.floor(x))
            _lanczos(y - top, wy)
            _lanczos(x - left, wx)
            value = np.float32(0)
            for a in range(2 * SUPPORT):
                row = min(max(top + a - SUPPORT + 1, 0), ny - 1)
                for b in range(2 * SUPPORT):
                    column = min(max(left + b - SUPPORT + 1, 0), nx - 1)
                    value += wy[a] * wx[b] * image[row, column]
            out[i, j] = value
