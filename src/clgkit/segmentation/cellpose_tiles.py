"""From an image to a network's maps: normalize, resize, pad, cut into tiles, blend."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = [
    "USUAL",
    "Tiling",
    "image_percentiles",
    "normalize_channels",
    "resize_bilinear",
    "resize_nearest",
    "run_tiled",
    "scaled_shape",
    "stack_percentiles",
    "taper",
]

Float32: TypeAlias = npt.NDArray[np.float32]
Float64: TypeAlias = npt.NDArray[np.float64]
Percentiles: TypeAlias = npt.NDArray[np.floating]

STRIDE = 16  # the padded image is a multiple of it
MARGIN = 8
MIN_RANGE = 1e-3
LARGE = 224**3  # samples from which percentiles of a stack come from a part of it
SAMPLED = (50, 224, 224)
TAPER_PX, TAPER_WIDTH_PX = 20, 7.5
LEAST_TAPER = 224
BATCH = 8
FLOW_Y, FLOW_X = 0, 1


class Tiling(NamedTuple):
    """How an image is cut for the network."""

    tile_px: int = 224
    """Side of a tile; a multiple of 16."""
    overlap: float = 0.1
    """Share of a tile that is seen twice; 0.05 to 0.5."""
    augment: bool = False
    """Half a tile of overlap and flipped neighbours: four times slower, a little smoother."""


USUAL = Tiling()


def image_percentiles(
    channels: npt.NDArray[np.generic], *, percentile: tuple[float, float] = (1.0, 99.0)
) -> Percentiles:
    """Return the two numbers (C, 2) that become 0 and 1, of each channel.

    Parameters
    ----------
    channels : (C, ...)
        Any real dtype; what follows the channels is one image or one stack.
    percentile
        Low and high.

    Notes
    -----
    Linear between samples, in float32.  Above 224**3 samples a stack (C, Z, Y, X) is thinned out
    evenly, as Cellpose 3 does.
    """
    if channels.ndim == 4 and channels[0].size > LARGE:
        steps = [max(1, n // m) for n, m in zip(channels.shape[1:], SAMPLED, strict=True)]
        channels = channels[:, :: steps[0], :: steps[1], :: steps[2]]
    flat = channels.reshape(len(channels), -1).astype(np.float32)
    result: Percentiles = np.percentile(flat, percentile, axis=1).T
    return result


def stack_percentiles(
    slices: Iterable[npt.NDArray[np.generic]],
    shape: tuple[int, int, int],
    *,
    percentile: tuple[float, float] = (1.0, 99.0),
) -> Percentiles:
    """Return `image_percentiles` of a whole stack whose slices come one after the other.

    Parameters
    ----------
    slices
        Each (C, Y, X), from the first to the last; those not needed are passed over.
    shape
        Of the stack (Z, Y, X).
    percentile
        Low and high.

    Raises
    ------
    ValueError
        If there are fewer or more slices than `shape` says.
    """
    steps = [1, 1, 1]
    if np.prod(shape, dtype=np.int64) > LARGE:
        steps = [max(1, n // m) for n, m in zip(shape, SAMPLED, strict=True)]
    kept, n_slices = [], 0
    for part in slices:
        if n_slices % steps[0] == 0:
            kept.append(part[:, :: steps[1], :: steps[2]].astype(np.float32))
        n_slices += 1
    if n_slices != shape[0]:
        raise ValueError(f"the stack has {shape[0]} slices, but {n_slices} were given")
    flat = np.stack(kept, axis=1)
    result: Percentiles = np.percentile(flat.reshape(len(flat), -1), percentile, axis=1).T
    return result


def normalize_channels(
    channels: npt.NDArray[np.generic], limits: Percentiles, *, keep_constant: bool = True
) -> Float32:
    """Return the channels with `limits` brought to 0 and 1; nothing is clipped.

    Parameters
    ----------
    channels : (C, Y, X) or (C, Z, Y, X)
        Any real dtype.
    limits : (C, 2)
        See :func:`image_percentiles`.
    keep_constant
        Leave a channel of one value as it is (Cellpose 3) instead of making it 0 (Cellpose 2).

    Returns
    -------
    float32
        A channel whose limits are less than 0.001 apart is 0.
    """
    result = channels.astype(np.float32)
    for channel, (low, high) in zip(result, limits.astype(np.float32), strict=True):
        if keep_constant and np.ptp(channel) == 0:
            continue
        if high - low > MIN_RANGE:
            channel -= low  # noqa: PLW2901  (a view of the result)
            channel /= high - low  # noqa: PLW2901
        else:
            channel[...] = 0
    return result


def scaled_shape(shape: tuple[int, ...], scale: np.float32) -> tuple[int, ...]:
    """Return the size of an image after scaling, truncated as Cellpose does."""
    return tuple(int(np.float32(n) * scale) for n in shape)


def resize_bilinear(image: Float32, shape: tuple[int, ...]) -> Float32:
    """Return an image (..., Y, X) of another size, without antialiasing.

    Notes
    -----
    Pixel centres are at half numbers and edges are repeated, as OpenCV does: positions in float64,
    weights in float32.
    """
    for axis, length in zip((-2, -1), shape, strict=True):
        n = image.shape[axis]
        if n == length:
            continue
        at = (np.arange(length) + 0.5) * (n / length) - 0.5
        low = np.floor(at).astype(np.int64)
        part = (at - low).astype(np.float32)
        part[(low < 0) | (low >= n - 1)] = 0
        low = np.clip(low, 0, n - 1)
        high = np.minimum(low + 1, n - 1)
        part = part[:, np.newaxis] if axis == -2 else part
        first, second = (np.take(image, index, axis=axis) for index in (low, high))
        image = first * (1 - part) + second * part
    return image


def resize_nearest(
    labels: npt.NDArray[np.integer], shape: tuple[int, ...]
) -> npt.NDArray[np.integer]:
    """Return labels (Y, X) of another size: pixel i is that at floor(i * old / new)."""
    index = [np.arange(m) * n // m for n, m in zip(labels.shape, shape, strict=True)]
    return labels[np.ix_(*index)]


def taper(shape: tuple[int, int]) -> Float32:
    """Return the weight of each pixel of a tile, low at its edges.

    Parameters
    ----------
    shape
        Of the tile.
    """
    n = max(LEAST_TAPER, *shape)
    far = np.abs(np.arange(n) - (n - 1) / 2)
    whole = 1 / (1 + np.exp((far - (n / 2 - TAPER_PX)) / TAPER_WIDTH_PX))
    y, x = (whole[n // 2 - m // 2 : n // 2 + m // 2 + m % 2] for m in shape)
    result: Float32 = np.outer(y, x).astype(np.float32)
    return result


def run_tiled(
    image: Float32, run: Callable[[Float32], Float32], *, tiling: Tiling = USUAL
) -> Float32:
    """Return the network's maps (3, Y, X) of a normalized image of any size.

    Parameters
    ----------
    image : (C, Y, X)
        Normalized and resized.
    run
        Maps (n, C, H, W) to (n, 3, H, W).
    tiling
        How it is cut.

    Raises
    ------
    ValueError
        If the tiling cannot be.
    """
    check_tiling(tiling)
    pads = [_pads(n) for n in image.shape[1:]]
    padded = np.pad(image, [(0, 0), *pads])
    shape = padded.shape[1:]
    if tiling.augment:
        beyond = [(0, max(0, tiling.tile_px - n)) for n in shape]
        padded = np.pad(padded, [(0, 0), *beyond])
    places = list(_places(padded.shape[1:], tiling))
    total: Float32 | None = None
    weights = np.zeros(padded.shape[1:], np.float32)
    for start in range(0, len(places), BATCH):
        part = places[start : start + BATCH]
        tiles = np.stack([_flip(padded[:, *p.box], p.flips) for p in part])
        answers = run(tiles)
        weight = taper((tiles.shape[2], tiles.shape[3]))
        if total is None:
            total = np.zeros((answers.shape[1], *padded.shape[1:]), np.float32)
        for place, answer in zip(part, answers, strict=True):
            total[:, *place.box] += _turn_back(answer, place.flips) * weight
            weights[place.box] += weight
    if total is None:
        raise ValueError("an image without pixels cannot be segmented")
    inner = tuple(slice(low, low + n) for (low, _), n in zip(pads, image.shape[1:], strict=True))
    result: Float32 = (total / weights)[:, *inner]
    return result


def check_tiling(tiling: Tiling) -> None:
    """Refuse tiles that the network or the blending cannot take."""
    if tiling.tile_px < STRIDE or tiling.tile_px % STRIDE:
        raise ValueError(
            f"tiles are a multiple of 16 pixels wide; found {tiling.tile_px}; 224 is usual"
        )
    if not 0.05 <= tiling.overlap <= 0.5:
        raise ValueError(f"tiles overlap by 0.05 to 0.5 of their side; found {tiling.overlap}")


class _Place(NamedTuple):
    box: tuple[slice, slice]
    flips: tuple[int, ...]
    """Axes of a tile (C, H, W) that are turned round before the network sees it."""


def _pads(n: int) -> tuple[int, int]:
    extra = -n % STRIDE
    return MARGIN + extra // 2, MARGIN + extra - extra // 2


def _places(shape: tuple[int, ...], tiling: Tiling) -> Iterator[_Place]:
    rows, columns = ([*_starts(n, tiling)] for n in shape)
    height, width = (min(tiling.tile_px, n) for n in shape)
    for j, y in enumerate(rows):
        for i, x in enumerate(columns):
            box = slice(y, y + height), slice(x, x + width)
            odd = ((1, i % 2), (2, j % 2)) if tiling.augment else ()
            yield _Place(box, tuple(axis for axis, turned in odd if turned))


def _starts(n: int, tiling: Tiling) -> list[int]:
    tile = tiling.tile_px
    if tiling.augment:
        count = max(2, int(np.ceil(2 * n / tile)))
    else:
        count = 1 if n <= tile else int(np.ceil((1 + 2 * tiling.overlap) * n / tile))
    starts: list[int] = np.linspace(0, max(n - tile, 0), count).astype(int).tolist()
    return starts


def _flip(tile: Float32, axes: tuple[int, ...]) -> Float32:
    return np.flip(tile, axes) if axes else tile


def _turn_back(answer: Float32, axes: tuple[int, ...]) -> Float32:
    if not axes:
        return answer
    answer = np.flip(answer, axes).copy()
    for axis in axes:
        answer[FLOW_Y if axis == 1 else FLOW_X] *= -1
    return answer
