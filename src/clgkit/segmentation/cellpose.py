"""Nuclei of slices with a Cellpose 2 or 3 network, as those programs find them.

A stack is worked on slice by slice: `stack_percentiles` of all of them first (Cellpose 3 normalizes
the stack as a whole), then :func:`segment_section` of each, then sections are stitched, and
:func:`finish_stack` puts the stitched ones in order.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from clgkit.segmentation.cellpose_dynamics import follow_flows, group_ends
from clgkit.segmentation.cellpose_flows import Rule
from clgkit.segmentation.cellpose_masks import (
    drop_poor,
    drop_too_large,
    fill_and_drop_small,
    renumber_by_raster,
)
from clgkit.segmentation.cellpose_network import CellposeNetwork
from clgkit.segmentation.cellpose_tiles import (
    Tiling,
    check_tiling,
    image_percentiles,
    normalize_channels,
    resize_bilinear,
    resize_nearest,
    run_tiled,
    scaled_shape,
)

__all__ = [
    "DEFAULTS",
    "CellposeOptions",
    "Section",
    "finish_stack",
    "masks_of_maps",
    "options_like",
    "predict_maps",
    "section_channels",
    "section_scale",
    "segment_section",
]

Float32: TypeAlias = npt.NDArray[np.float32]
UInt32: TypeAlias = npt.NDArray[np.uint32]
Preset: TypeAlias = Literal["default", "cellpose3", "cellpose2"]

LEAST_PX = 16
LARGEST = 1e37  # differences must fit in float32
N_STEPS = 200


@dataclass(frozen=True)
class CellposeOptions:
    """What decides on masks besides the network.

    Parameters
    ----------
    rule
        Which version of the program is followed where they differ.
    cellprob_threshold
        Pixels with higher log-odds belong to nuclei.
    flow_threshold
        Masks whose flows differ more from the network's are dropped; 0: none.
    min_size_px
        Smaller masks are dropped; -1: none.
    max_size_share
        Masks that cover more of the image are dropped.
    n_steps
        Steps along the flow; None: 200 at the network's scale.
    resample
        Follow flows at the image's scale instead of the network's.
    percentile
        What becomes 0 and 1.
    tiling
        How images are cut for the network.
    repeat_rank_bug
        See `fill_and_drop_small`.

    Raises
    ------
    ValueError
        If a number is outside of its range.
    """

    rule: Rule = "cellpose3"
    cellprob_threshold: float = 0.0
    flow_threshold: float = 0.4
    min_size_px: int = 15
    max_size_share: float = 0.4
    n_steps: int | None = None
    resample: bool = True
    percentile: tuple[float, float] = (1.0, 99.0)
    tiling: Tiling = field(default_factory=Tiling)
    repeat_rank_bug: bool = False

    def __post_init__(self) -> None:
        low, high = self.percentile
        ranges = (
            ("rule is cellpose3 or cellpose2", self.rule in ("cellpose3", "cellpose2")),
            ("cellprob_threshold lies in -20 to 20", -20 <= self.cellprob_threshold <= 20),
            ("flow_threshold lies in 0 to 10", 0 <= self.flow_threshold <= 10),
            ("min_size_px is -1 or more", self.min_size_px >= -1),
            ("max_size_share lies above 0 and up to 1", 0 < self.max_size_share <= 1),
            ("n_steps is at least 1", self.n_steps is None or self.n_steps >= 1),
            ("percentile rises within 0 to 100", 0 <= low < high <= 100),
        )
        broken = [text for text, kept in ranges if not kept]
        if broken:
            raise ValueError(f"{'; '.join(broken)}; found {self}")
        check_tiling(self.tiling)


DEFAULTS = CellposeOptions()


class Section(NamedTuple):
    """What :func:`segment_section` finds."""

    labels: UInt32
    """(Y, X): 0 is background; ids are 1, 2, ... ."""
    flows: Float32
    """(2, y, x): along y and x, about five times a unit vector; at the image's scale, or at the
    network's without resampling."""
    log_odds: Float32
    """(y, x): of a pixel belonging to a nucleus."""


def options_like(preset: Preset, **changes: object) -> CellposeOptions:
    """Return the options of a preset, with changes.

    Parameters
    ----------
    preset
        ``"cellpose3"`` and ``"cellpose2"`` give the masks of those programs, faults included;
        ``"default"`` follows Cellpose 3 without its fault of ranks.
    changes
        Fields of `CellposeOptions`.

    Raises
    ------
    ValueError
        If there is no such preset, or a value is outside of its range.
    """
    made = {
        "default": CellposeOptions(),
        "cellpose3": CellposeOptions(repeat_rank_bug=True),
        "cellpose2": CellposeOptions(rule="cellpose2"),
    }
    if preset not in made:
        raise ValueError(f"presets are {', '.join(made)}; found {preset!r}")
    return replace(made[preset], **changes)  # type: ignore[arg-type]


def segment_section(
    image: npt.NDArray[np.generic],
    network: CellposeNetwork,
    *,
    diameter_px: float | None = None,
    limits: npt.NDArray[np.floating] | None = None,
    options: CellposeOptions = DEFAULTS,
    device: str = "cpu",
) -> Section:
    """Return the masks of one slice.

    Parameters
    ----------
    image : (Y, X) or (C, Y, X)
        Fluorescence, any real dtype; the first channel is segmented, the second helps.
    network
        Trained weights.
    diameter_px
        Of a section, not of a whole nucleus; None: that of the training.
    limits : (C, 2)
        What becomes 0 and 1, from `stack_percentiles`; None: of this slice.
    options
        See :func:`options_like`.
    device
        As torch names it.

    Raises
    ------
    ValueError
        If the image is no plane of finite numbers of at least 16 pixels, or the diameter is not
        between 0 and its size.
    TypeError
        If it is not made of real numbers.
    ImportError
        If torch is not installed.

    Warns
    -----
    UserWarning
        If all pixels are equal; then there are no nuclei.

    Notes
    -----
    Written from the description of Cellpose (Stringer et al. 2021; Pachitariu and Stringer 2022).
    Flows are followed as its processor code does, on every device.
    """
    channels = section_channels(image, network)
    shape = (channels.shape[1], channels.shape[2])
    scale = section_scale(network, diameter_px, shape)
    if limits is None and all(np.ptp(channel) == 0 for channel in channels):
        warnings.warn("all pixels are equal, so there are no nuclei", stacklevel=2)
        empty = np.zeros(shape, np.float32)
        return Section(empty.astype(np.uint32), np.stack([empty, empty]), empty)
    maps = predict_maps(
        channels, network, scale=scale, limits=limits, options=options, device=device
    )
    labels = masks_of_maps(maps, shape, scale=scale, options=options)
    return Section(labels, maps[:2], maps[2])


def section_channels(
    image: npt.NDArray[np.generic], network: CellposeNetwork
) -> npt.NDArray[np.generic]:
    """Return the image with as many channels as the network takes; missing ones are 0.

    Raises
    ------
    ValueError, TypeError
        As :func:`segment_section`.
    """
    check_image(image)
    channels = image if image.ndim == 3 else image[np.newaxis]
    if channels.dtype.kind == "b":
        channels = channels.astype(np.uint8)
    lacking = network.layout.n_channels - len(channels)
    if lacking < 0:
        raise ValueError(
            f"the network takes {network.layout.n_channels} channels (first the one to segment, "
            f"then nuclei), the image has {len(channels)}; leave some out, or take their mean"
        )
    return np.pad(channels, [(0, lacking), (0, 0), (0, 0)])


def check_image(image: npt.NDArray[np.generic]) -> None:
    """Refuse what is no plane of real and finite numbers.

    Raises
    ------
    ValueError, TypeError
        As :func:`segment_section`.
    """
    if image.dtype.kind not in "buif":
        raise TypeError(f"a slice is made of real numbers; found dtype {image.dtype}")
    if image.ndim not in (2, 3):
        raise ValueError(
            f"a slice has the axes y, x or channel, y, x; found an array of shape {image.shape}"
        )
    if image.ndim == 3 and image.shape[-1] in (3, 4) and image.shape[0] > 4:
        raise ValueError(
            f"an array of shape {image.shape} looks like a colour picture; channels come first: "
            "give one of them, or their mean"
        )
    if min(image.shape[-2:]) < LEAST_PX:
        raise ValueError(f"a slice is at least {LEAST_PX} pixels wide; found {image.shape[-2:]}")
    if not np.isfinite(image).all():
        raise ValueError("the slice holds NaN or infinity; fill these pixels first")
    if np.abs(image.astype(np.float64)).max() > LARGEST:
        raise ValueError("the slice holds values beyond those of float32; divide it by some number")


def section_scale(
    network: CellposeNetwork, diameter_px: float | None, shape: Sequence[int]
) -> np.float32:
    """Return by what an image is enlarged for the network.

    Parameters
    ----------
    network
        Knows the diameter it expects.
    diameter_px
        Of sections in the image; None: that of the training.
    shape
        Of the image (Y, X).

    Raises
    ------
    ValueError
        If the diameter is not above 0 and at most the size of the image.
    """
    diameter = network.diam_labels_px if diameter_px is None else diameter_px
    if not 0 < diameter <= max(shape):
        raise ValueError(
            f"the diameter of sections lies above 0 and within the image of {tuple(shape)} pixels; "
            f"found {diameter:g}"
        )
    return np.float32(network.diam_mean_px) / np.float32(diameter)


def predict_maps(
    channels: npt.NDArray[np.generic],
    network: CellposeNetwork,
    *,
    scale: np.float32,
    limits: npt.NDArray[np.floating] | None = None,
    options: CellposeOptions = DEFAULTS,
    device: str = "cpu",
) -> Float32:
    """Return flows and log-odds (3, y, x) of a slice.

    Parameters
    ----------
    channels
        From :func:`section_channels`.
    network
        Trained weights.
    scale
        From :func:`section_scale`.
    limits, options, device
        As in :func:`segment_section`.
    """
    own = limits is None
    if limits is None:
        limits = image_percentiles(channels, percentile=options.percentile)
    elif len(limits) < len(channels):
        limits = np.pad(limits, [(0, len(channels) - len(limits)), (0, 0)])
    normal = normalize_channels(channels, limits, keep_constant=own and options.rule == "cellpose3")
    shape = normal.shape[1:]
    maps = run_tiled(
        resize_bilinear(normal, scaled_shape(shape, scale)),
        lambda tiles: network.run(tiles, device=device)[0],
        tiling=options.tiling,
    )
    return resize_bilinear(maps, shape) if options.resample else maps


def masks_of_maps(
    maps: Float32,
    shape: tuple[int, int],
    *,
    scale: np.float32,
    options: CellposeOptions = DEFAULTS,
) -> UInt32:
    """Return the masks (Y, X) that flows and log-odds describe.

    Parameters
    ----------
    maps : (3, y, x)
        From :func:`predict_maps`.
    shape
        Of the image.
    scale
        From :func:`section_scale`.
    options
        As in :func:`segment_section`.
    """
    on = maps[2] > options.cellprob_threshold
    empty = np.zeros(shape, np.uint32)
    if not on.any():
        return empty
    n_steps = options.n_steps or (int(N_STEPS / scale) if options.resample else N_STEPS)
    ends = follow_flows(maps[:2], on, n_steps=n_steps, rule=options.rule)
    members = on if options.rule == "cellpose3" else np.ones_like(on)
    labels = group_ends(ends, members, rule=options.rule)
    labels = renumber_by_raster(drop_too_large(labels, max_share=options.max_size_share))
    labels = drop_poor(labels, maps[:2], threshold=options.flow_threshold, rule=options.rule)
    if options.rule == "cellpose2":
        labels = _in_order(labels, options)
        return resize_nearest(labels, shape).astype(np.uint32)
    return _in_order(resize_nearest(labels, shape), options).astype(np.uint32)


def finish_stack(
    labels: npt.NDArray[np.integer],
    *,
    options: CellposeOptions = DEFAULTS,
) -> UInt32:
    """Return stitched masks without holes and specks, as Cellpose leaves them.

    Parameters
    ----------
    labels : (Z, Y, X)
        Stitched sections; they were found with ``min_size_px=-1`` where the rule is Cellpose 3's.
    options
        Sizes are in voxels here.
    """
    return _in_order(labels, options).astype(np.uint32)


def _in_order(labels: npt.NDArray[np.integer], options: CellposeOptions) -> npt.NDArray[np.int32]:
    return fill_and_drop_small(
        labels,
        min_size_px=options.min_size_px,
        rule=options.rule,
        repeat_rank_bug=options.repeat_rank_bug,
    )
