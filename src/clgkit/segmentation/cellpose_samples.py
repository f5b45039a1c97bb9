"""What a Cellpose network learns from: slices with flows, and crops of them turned and scaled."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit

from clgkit.segmentation.cellpose_flows import (
    Rule,
    compact_ids,
    flows_of_masks,
    mask_diameter_px,
)
from clgkit.segmentation.cellpose_tiles import image_percentiles, normalize_channels

__all__ = [
    "AnnotatedSlice",
    "Draws",
    "annotate_slice",
    "check_masks",
    "draw",
    "draw_crop",
    "mean_diameter_px",
    "pixel_weights",
]

Float32: TypeAlias = npt.NDArray[np.float32]
Float64: TypeAlias = npt.NDArray[np.float64]

LEAST_DIAMETER_PX = 5.0
SCALE_RANGE = 0.5
MOST_DISTINCT = 0.05  # share of the pixels; more distinct values are an image, not masks


@dataclass(frozen=True)
class AnnotatedSlice:
    """A slice as the network is shown it, and as it should answer."""

    image: Float32
    """(C, Y, X), normalized."""
    target: Float32
    """(3, Y, X): label, flow along y, flow along x."""
    diameter_px: float
    """Of the typical mask; 0 without masks."""
    n_masks: int


class Draws(NamedTuple):
    """Five numbers between 0 and 1 that settle a crop."""

    flip: float
    turn: float
    scale: float
    shift_x: float
    shift_y: float


def annotate_slice(
    image: npt.NDArray[np.generic],
    labels: npt.NDArray[np.integer],
    *,
    n_channels: int = 2,
    percentile: tuple[float, float] = (1.0, 99.0),
    rule: Rule = "cellpose3",
) -> AnnotatedSlice:
    """Return a slice with its masks, ready to be learnt from.

    Parameters
    ----------
    image : (Y, X) or (C, Y, X)
        Fluorescence; missing channels are 0.
    labels : (Y, X)
        Masks; 0 is background, ids may have gaps.
    n_channels
        Channels of the network.
    percentile
        What becomes 0 and 1.
    rule
        How flows of masks are found.

    Raises
    ------
    ValueError
        If the shapes differ, or the labels are no masks.
    """
    channels = image if image.ndim == 3 else image[np.newaxis]
    if channels.shape[1:] != labels.shape:
        raise ValueError(
            f"masks have the size of their image; found masks of {labels.shape} for an image of "
            f"{channels.shape[1:]}"
        )
    if len(channels) > n_channels:
        raise ValueError(
            f"the image has {len(channels)} channels, the network takes {n_channels}; choose some"
        )
    check_masks(labels)
    limits = image_percentiles(channels, percentile=percentile)
    normal = normalize_channels(channels, limits, keep_constant=rule == "cellpose3")
    normal = np.pad(normal, [(0, n_channels - len(channels)), (0, 0), (0, 0)])
    flows = flows_of_masks(labels, rule=rule).astype(np.float32)
    target = np.concatenate([compact_ids(labels)[np.newaxis].astype(np.float32), flows])
    n_masks = len(np.unique(labels[labels != 0]))
    return AnnotatedSlice(normal, target, mask_diameter_px(labels), n_masks)


def check_masks(labels: npt.NDArray[np.generic]) -> None:
    """Refuse what cannot be the masks of a slice.

    Raises
    ------
    ValueError
        One sentence.
    """
    if labels.dtype.kind not in "bui":
        raise ValueError(f"masks are whole numbers; found dtype {labels.dtype}")
    if labels.size == 0:
        raise ValueError("the masks have no pixels")
    if int(labels.min()) < 0 or int(labels.max()) > np.iinfo(np.uint32).max:
        raise ValueError(
            f"ids of masks lie between 0 and 2**32 - 1; found {labels.min()} to {labels.max()}"
        )
    n_values = len(np.unique(labels))
    if n_values > max(MOST_DISTINCT * labels.size, 2):
        raise ValueError(
            f"the masks hold {n_values} different values in {labels.size} pixels, as an image "
            "does; give the labelled masks"
        )


def mean_diameter_px(slices: Sequence[AnnotatedSlice], *, rule: Rule = "cellpose3") -> float:
    """Return `diam_labels`: the mean over slices of the diameter of the typical mask.

    Parameters
    ----------
    slices
        At least one with masks.
    rule
        Cellpose 3 counts diameters below 5 px as 5; Cellpose 2 leaves out slices without masks.
    """
    found = [part.diameter_px for part in slices]
    if rule == "cellpose3":
        return float(np.mean([max(d, LEAST_DIAMETER_PX) for d in found]))
    return float(np.mean([d for d in found if d > 0]))


def pixel_weights(part: AnnotatedSlice, *, most: float) -> Float32:
    """Return how often a pixel of each label counts, so that small sections count as large ones do.

    Parameters
    ----------
    part
        From :func:`annotate_slice`.
    most
        Highest weight.

    Returns
    -------
    (n + 1,) float32
        Area of the typical section over that of the label, within 1 and `most`; 1 for background.
        Index it with the first channel of the target.

    Notes
    -----
    Cellpose weighs all pixels alike.  Where slices cut nuclei near their poles, sections of a few
    pixels are then hardly learnt, though each is an object to whoever counts objects.
    """
    areas = np.bincount(part.target[0].astype(np.int64).ravel())
    typical = math.pi / 4 * part.diameter_px**2
    weights = np.clip(typical / np.maximum(areas, 1), 1, most).astype(np.float32)
    weights[0] = 1
    return weights


def draw(rng: np.random.Generator) -> Draws:
    """Draw one crop."""
    return Draws(*rng.random(5).tolist())


def draw_crop(
    part: AnnotatedSlice,
    draws: Draws,
    *,
    rescale: float,
    crop_px: int = 224,
    scale_range: float = SCALE_RANGE,
) -> tuple[Float32, Float32]:
    """Return a crop of a slice, turned, scaled and perhaps mirrored.

    Parameters
    ----------
    part
        From :func:`annotate_slice`.
    draws
        From :func:`draw`.
    rescale
        Diameter of the masks over that of the network; the crop is smaller by it.
    crop_px
        Side of the crop.
    scale_range
        Scales are drawn within half of it about 1.

    Returns
    -------
    (C, crop_px, crop_px), (3, crop_px, crop_px) float32
        Image and target; zero beyond the slice.
    """
    image, target = part.image, part.target
    if draws.flip > 0.5:
        image, target = image[..., ::-1], target[..., ::-1] * FLIPPED
    size = np.array(image.shape[:0:-1], np.float64)  # x, y
    angle = 2 * math.pi * draws.turn
    scale = (1 - scale_range / 2 + scale_range * draws.scale) / rescale
    free = np.maximum(0, size * scale - crop_px)
    shift = (np.array([draws.shift_x, draws.shift_y]) - 0.5) * free
    there = size / 2 - (size - crop_px) / 2 + shift
    sine, cosine = math.sin(angle), math.cos(angle)
    back = np.array([[cosine, sine], [-sine, cosine]]) / scale
    seen = np.empty((len(image), crop_px, crop_px), np.float32)
    answer = np.empty((3, crop_px, crop_px), np.float32)
    origin = size / 2 - back @ there
    _sample(np.ascontiguousarray(image), origin, back, seen)
    _sample(np.ascontiguousarray(target[1:]), origin, back, answer[1:])
    _sample_nearest(np.ascontiguousarray(target[0]), origin, back, answer[0])
    dy, dx = answer[1].copy(), answer[2].copy()
    answer[1] = dx * np.float32(sine) + dy * np.float32(cosine)
    answer[2] = dx * np.float32(cosine) - dy * np.float32(sine)
    return seen, answer


FLIPPED = np.array([1, 1, -1], np.float32)[:, np.newaxis, np.newaxis]


@njit(cache=True, nogil=True)
def _sample(source: Float32, origin: Float64, back: Float64, out: Float32) -> None:
    """Read `source` bilinearly where each pixel of `out` comes from; zero outside."""
    height, width = source.shape[1:]
    for i in range(out.shape[1]):
        for j in range(out.shape[2]):
            x = origin[0] + back[0, 0] * j + back[0, 1] * i
            y = origin[1] + back[1, 0] * j + back[1, 1] * i
            out[:, i, j] = 0
            if -1 <= x < width and -1 <= y < height:
                _add_corners(source, y, x, out[:, i, j])


@njit(cache=True, nogil=True)
def _add_corners(source: Float32, y: float, x: float, out: Float32) -> None:
    """Add the four pixels about a place by their share."""
    height, width = source.shape[1:]
    top, left = math.floor(y), math.floor(x)
    for corner in range(4):
        row, column = top + corner // 2, left + corner % 2
        if 0 <= row < height and 0 <= column < width:
            down = y - top if corner // 2 else 1 - (y - top)
            across = x - left if corner % 2 else 1 - (x - left)
            for c in range(len(source)):
                out[c] += source[c, row, column] * (down * across)


@njit(cache=True, nogil=True)
def _sample_nearest(source: Float32, origin: Float64, back: Float64, out: Float32) -> None:
    height, width = source.shape
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            column = math.floor(origin[0] + back[0, 0] * j + back[0, 1] * i + 0.5)
            row = math.floor(origin[1] + back[1, 0] * j + back[1, 1] * i + 0.5)
            inside = 0 <= row < height and 0 <= column < width
            out[i, j] = source[row, column] if inside else 0
