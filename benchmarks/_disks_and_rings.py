"""A plane and its slice with a known map between them: cells filled in one, hollow in the other."""

import math
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage, special

Floats: TypeAlias = npt.NDArray[np.float64]
Float32: TypeAlias = npt.NDArray[np.float32]

MARGIN_PX = 12
TRIES = 20_000
CELLS = 1100
RING_PX = 1.8
SIDE = 512
BEND_PX = 2.2


class Pair(NamedTuple):
    """Two images of the same cells."""

    plane: Float32
    """(Y, X) functional."""
    slice_image: Float32
    """(Y, X) structural, disks."""
    plane_px: Floats
    """(N, 2) cells that count, in the plane."""
    slice_px: Floats
    """(N, 2) the same cells in the slice."""


def make_pair(*, side: int = SIDE, rings: bool = True, seed: int = 0) -> Pair:
    """Simulate a slice and the plane that shows it, rotated, scaled, shifted and bent.

    Parameters
    ----------
    side
        Pixels along both axes; the density of cells is that of 1100 on 512 px.
    rings
        Whether the plane shows cytosol (rings of 1.8 px) or filled cells.
    seed
        Of everything random.
    """
    rng = np.random.default_rng(seed)
    cells = _place(side, rng)
    radius = rng.uniform(2.8, 3.6, len(cells))
    light = rng.lognormal(0.0, 0.3, (2, len(cells)))
    bend = np.stack(
        [ndimage.gaussian_filter(rng.normal(size=(side, side)), 70, mode="wrap") for _ in "yx"],
        axis=-1,
    )
    bend -= bend.mean(axis=(0, 1))
    bend *= BEND_PX * side / SIDE / bend.std(axis=(0, 1))
    angle, scale = math.radians(1.0), 1.01
    turn = scale * np.array(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    )
    middle = (side - 1) / 2
    moved = (cells - middle) @ turn.T + middle + [6.0, -4.0]
    moved += np.stack(
        [
            ndimage.map_coordinates(bend[..., axis], cells.T, order=1, mode="nearest")
            for axis in (0, 1)
        ],
        axis=1,
    )
    shown = rng.random((2, len(cells))) > np.array([[0.08], [0.12]])
    hollow = np.where(rings, RING_PX, 0.0)
    images = [
        _draw(side, at[there], radius[there], bright[there], ring)
        for at, there, bright, ring in (
            (cells, shown[0], light[0], 0.0),
            (moved, shown[1], light[1], float(hollow)),
        )
    ]
    slice_image, plane = (rng.poisson(60 * image + 3).astype(np.float32) for image in images)
    inside = ((moved > MARGIN_PX) & (moved < side - 1 - MARGIN_PX)).all(axis=1)
    inside &= ((cells > MARGIN_PX) & (cells < side - 1 - MARGIN_PX)).all(axis=1)
    counted = inside & shown.all(axis=0)
    return Pair(plane, slice_image, moved[counted], cells[counted])


def target_errors_px(field: npt.NDArray[np.floating], pair: Pair) -> Floats:
    """Return how far from its place in the slice the map puts each cell, pixels.

    Parameters
    ----------
    field : (Y, X, 2)
        Offset from every pixel of the plane to its place in the slice.
    pair
        The truth.
    """
    offset = np.stack(
        [
            ndimage.map_coordinates(
                np.asarray(field[..., axis], np.float64), pair.plane_px.T, order=1
            )
            for axis in (0, 1)
        ],
        axis=1,
    )
    return np.asarray(np.linalg.norm(pair.plane_px + offset - pair.slice_px, axis=1))


def _place(side: int, rng: np.random.Generator) -> Floats:
    """Return centres at least 8.5 px apart, by trial."""
    wanted = round(CELLS * (side / SIDE) ** 2)
    cells = np.empty((0, 2))
    for point in rng.uniform(0, side, (TRIES, 2)):
        if len(cells) == wanted:
            break
        if not len(cells) or np.square(cells - point).sum(axis=1).min() > 8.5**2:
            cells = np.vstack([cells, point])
    return cells


def _draw(side: int, cells: Floats, radius: Floats, light: Floats, ring_px: float) -> Floats:
    """Return disks, or rings around them, blurred by 1 px."""
    image = np.zeros((side, side))
    grid_y, grid_x = np.indices((17, 17))
    for (y, x), r, bright in zip(cells, radius, light, strict=True):
        top, left = int(y) - 8, int(x) - 8
        distance = np.hypot(grid_y + top - y, grid_x + left - x)
        cell = special.expit((r + ring_px - distance) / 0.3)
        if ring_px:
            cell -= special.expit((r - distance) / 0.3)
        y0, y1, x0, x1 = max(top, 0), min(top + 17, side), max(left, 0), min(left + 17, side)
        if y1 > y0 and x1 > x0:
            image[y0:y1, x0:x1] += bright * cell[y0 - top : y1 - top, x0 - left : x1 - left]
    return ndimage.gaussian_filter(image, 1.0)
