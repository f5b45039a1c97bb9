"""The blob filter of the classical method, its noise, and the sizes that follow from a nucleus."""

import math
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from clgkit.segmentation.basins import bump_response

Float32: TypeAlias = npt.NDArray[np.float32]
Int64: TypeAlias = npt.NDArray[np.int64]
Size: TypeAlias = float | tuple[float, float, float]

SEED_SIGMA = 0.25  # of the diameter: the blob filter's smoothing
TRUNCATE = 3.0  # sigmas after which a Gaussian is cut off
EDGE: Literal["nearest", "reflect"] = "reflect"  # how Gaussians see the faces of the volume
SMALLEST_PX, LARGEST_PX = 4.0, 40.0  # lateral diameters this method can see


def size_px(voxel_um: tuple[float, float, float], diameter_um: Size) -> npt.NDArray[np.float64]:
    """Return the diameter (z, y, x) in voxels, or refuse it."""
    voxel = np.asarray(voxel_um, float)
    diameter = np.asarray(diameter_um, float)
    if voxel.shape != (3,) or not (np.isfinite(voxel).all() and (voxel > 0).all()):
        raise ValueError(f"voxel_um needs three positive sizes (z, y, x) in um; found {voxel_um}")
    if diameter.shape not in {(), (3,)} or not (np.isfinite(diameter) & (diameter > 0)).all():
        raise ValueError(
            f"diameter_um needs one positive size or three (z, y, x), in um; found {diameter_um}"
        )
    size: npt.NDArray[np.float64] = diameter / voxel
    if size[1:].min() < SMALLEST_PX or size[1:].max() > LARGEST_PX:
        raise ValueError(
            f"a nucleus is {size[1]:.3g} x {size[2]:.3g} pixels across, wanted "
            f"{SMALLEST_PX:g} to {LARGEST_PX:g}; correct the voxel size or the diameter, or "
            "resample the stack"
        )
    return size


def flat_index(places: Int64, shape: tuple[int, ...]) -> Int64:
    """Return the raster index of each place (n, 3)."""
    flat: Int64 = (places[:, 0] * shape[1] + places[:, 1]) * shape[2] + places[:, 2]
    return flat


def as_tile(tile: npt.NDArray[np.generic]) -> Float32:
    """Return the values of a tile as float32, or refuse them."""
    check_tile(tile)
    return as_finite(tile)


def check_tile(tile: npt.NDArray[np.generic]) -> None:
    """Refuse what is no tile (z, y, x) of real numbers."""
    if tile.ndim != 3:
        raise ValueError(f"a tile has the axes z, y, x; found an array of shape {tile.shape}")
    if np.iscomplexobj(tile) or tile.dtype.kind not in "uifb":
        raise TypeError(f"fluorescence is a real number; found dtype {tile.dtype}")


def as_finite(part: npt.NDArray[np.generic]) -> Float32:
    """Return part of a tile as float32, or refuse it."""
    with np.errstate(over="ignore"):  # what overflows float32 is reported below
        values = part.astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError(
            "the volume holds NaN or infinity, or numbers beyond float32; replace them first"
        )
    return values


def kernel_radius(sigma: float) -> int:
    """Return where the kernel of a Gaussian ends, in voxels."""
    return int(TRUNCATE * sigma + 0.5)


def peak_box(size: npt.NDArray[np.float64]) -> Int64:
    """Return half the box in which a seed is the highest voxel."""
    return np.maximum(np.floor(size / 4), 1).astype(np.int64)


def blurred(tile: Float32, sigma: npt.NDArray[np.float64]) -> Float32:
    """Blur along every axis longer than one voxel; `sigma` (z, y, x) in voxels."""
    for axis in range(3):
        if tile.shape[axis] > 1:
            tile = ndimage.gaussian_filter1d(
                tile, sigma[axis], axis=axis, mode=EDGE, truncate=TRUNCATE
            )
    return tile


def blob_response(tile: Float32, size: npt.NDArray[np.float64]) -> Float32:
    """Return the scale-normalized negative Laplacian of Gaussian, bright blobs positive."""
    sigma = SEED_SIGMA * size
    return bump_response(blurred(tile, sigma), (sigma**2).astype(np.float32))


def noise_level(steps: Float32) -> float:
    """Return the standard deviation of a pixel from absolute differences of neighbours."""
    low = np.partition(steps, steps.size * 3 // 4)[: steps.size * 3 // 4] if steps.size else steps
    if low.size == 0:
        return 0.0
    # 0.5150 is the mean of the lower three quarters of the absolute value of a unit normal.
    return float(low.mean(dtype=np.float64)) / (0.5150 * math.sqrt(2))


def noise_gain(
    places: Int64, shape: tuple[int, ...], size: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return (n,) standard deviations of the blob response on unit white noise.

    The filter is a sum of three separable terms, so its variance is a sum of products of one
    number per axis.  Near a face it is larger: the repeated edge averages less.
    """
    moments = [_moments(places[:, axis], shape[axis], SEED_SIGMA * size[axis]) for axis in range(3)]
    variance = np.zeros(len(places))
    for bent in range(3):
        for other in range(3):
            product = np.ones(len(places))
            for axis in range(3):
                product *= moments[axis][int(axis == bent) + int(axis == other)]
            variance += product
    gain: npt.NDArray[np.float64] = np.sqrt(np.maximum(variance, 0.0))
    return gain


def _moments(at: Int64, length: int, sigma: float) -> npt.NDArray[np.float64]:
    """Return (3, n) products of one axis: smoothed twice, smoothed and bent, bent twice."""
    n = min(length, 4 * kernel_radius(sigma) + 5)
    smooth = np.eye(n)
    if n > 1:
        smooth = ndimage.gaussian_filter1d(smooth, sigma, axis=0, mode=EDGE, truncate=TRUNCATE)
    padded = np.pad(smooth, ((1, 1), (0, 0)), mode="edge")
    bend = sigma**2 * (2 * smooth - padded[:-2] - padded[2:])
    products = np.array([(smooth * smooth).sum(1), (smooth * bend).sum(1), (bend * bend).sum(1)])
    return products[:, np.minimum(np.minimum(at, length - 1 - at), n // 2)]


def centre_of(shape: tuple[int, ...]) -> Int64:
    """Return the middle voxel (1, 3) of a volume."""
    return np.array([[n // 2 for n in shape]], np.int64)


def least_bend(smooth: Float32, places: Int64, weights: Float32) -> Float32:
    """Return (n,) the smallest of the three terms of the response; edges of tissue have a low one.

    Axes of one voxel do not count.
    """
    least = np.full(len(places), np.inf, np.float32)
    last = np.array(smooth.shape) - 1
    for axis in np.flatnonzero(last):
        step = np.eye(3, dtype=np.int64)[axis]
        before, after = np.maximum(places - step, 0), np.minimum(places + step, last)
        bend = (
            2 * smooth[tuple(places.T)] - smooth[tuple(before.T)] - smooth[tuple(after.T)]
        ) * weights[axis]
        least = np.minimum(least, bend)
    return least
