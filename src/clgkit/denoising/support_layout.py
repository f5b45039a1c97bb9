"""What a SUPPORT network looks like: its sizes, its parameters by name, how far it sees."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Shape", "SupportLayout", "check_state", "layout_of", "shapes_of"]

Shape: TypeAlias = tuple[int, ...]

SQUARE, WIDE = 3, 5  # sides of the kernels of the two chains
TOO_WIDE = 99


@dataclass(frozen=True)
class SupportLayout:
    """Sizes of a SUPPORT network.

    Parameters
    ----------
    n_frames
        Frames of an input; the middle one is denoised.
    widths
        Channels of the scales of the branch that sees the other frames; empty without it.
    channels
        Of the branch that sees the middle frame around a hole; 0 without it.
    depths
        Layers of its chains of 3 x 3 and of 5 x 5 convolutions.
    blind_spot
        The hole along y and x, in pixels.
    unet_out, blind_out
        Channels of the layers that end the branches.
    head
        Channels of the layers that join them, the last one (1) left out.

    Raises
    ------
    ValueError
        If a number is outside of its range.
    """

    n_frames: int = 61
    widths: Shape = (16, 32, 64, 128, 256)
    channels: int = 64
    depths: tuple[int, int] = (5, 3)
    blind_spot: tuple[int, int] = (1, 1)
    unet_out: Shape = (32, 16)
    blind_out: Shape = (32, 16)
    head: Shape = (64, 32, 16)

    def __post_init__(self) -> None:
        spots = all(side % 2 == 1 and 0 < side <= TOO_WIDE for side in self.blind_spot)
        rules = (
            (
                f"the number of frames is odd and above 0, not {self.n_frames}",
                self.n_frames % 2 == 1 and self.n_frames > 0,
            ),
            (
                f"a blind spot has two odd sides of 1 to {TOO_WIDE} pixels, not {self.blind_spot}",
                spots and len(self.blind_spot) == 2,
            ),
            (
                "a network of one frame has no other frames to see, one of more does",
                bool(self.widths) == (self.n_frames > 1),
            ),
            (
                "a network sees the middle frame, the others, or both",
                self.channels > 0 or bool(self.widths),
            ),
            (
                "every branch has at least one layer, and every layer at least one channel",
                min(*self.depths, *self.widths, *self.unet_out, *self.blind_out, 1) > 0
                and self.channels >= 0,
            ),
        )
        broken = [text for text, kept in rules if not kept]
        if broken:
            raise ValueError("; ".join(broken))

    @property
    def center(self) -> int:
        """Frames on each side of the one that is denoised."""
        return self.n_frames // 2

    @property
    def step_px(self) -> int:
        """Pixels of a cell of the coarsest scale: tiles begin at multiples of it."""
        return int(2 ** max(len(self.widths) - 1, 0))

    @property
    def halo_px(self) -> int:
        """How far the network sees, rounded up to whole cells of the coarsest scale."""
        n_scales = len(self.widths)
        others = 0
        if n_scales:  # convolutions on the way down and up, and the grid of the cells
            others = sum(2**i for i in range(n_scales)) + sum(2**i for i in range(n_scales - 1))
            others += self.step_px - 1
        middle = 0
        if self.channels:
            reaches = [
                side // 2 * sum(max(self.dilation(side, layer)) for layer in range(depth))
                for side, depth in zip((SQUARE, WIDE), self.depths, strict=True)
            ]
            middle = max(reaches)
        return -(-(others + middle) // self.step_px) * self.step_px

    @property
    def n_parameters(self) -> int:
        """Numbers that are learnt."""
        shapes = shapes_of(self).items()
        return sum(int(np.prod(shape)) for name, shape in shapes if not name.endswith("_spot"))

    def dilation(self, side: int, layer: int) -> tuple[int, int]:
        """Return the dilation along y and x of a layer of the chain with kernels of this side.

        It grows by half the blind spot in the last layer, so that the hole does.
        """
        depth = self.depths[0 if side == SQUARE else 1]
        plain = (side // 2 + 1) ** layer
        y, x = (part // 2 if layer == depth - 1 else 0 for part in self.blind_spot)
        return plain + y, plain + x

    @property
    def keeps_all_layers(self) -> bool:
        """Whether the outputs of all layers are used; only the last ones are blind to more."""
        return self.blind_spot == (1, 1)

    def as_dict(self) -> dict[str, Any]:
        """Return the sizes as JSON can hold them."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, sizes: Mapping[str, Any]) -> SupportLayout:
        """Return the layout that :meth:`as_dict` describes.

        Raises
        ------
        ValueError
            If a size is missing, unknown or not what it should be.
        """
        try:
            given: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in sizes.items()
            }
            return cls(**given)
        except TypeError as error:
            raise ValueError(f"these are no sizes of a SUPPORT network: {error}") from None


def shapes_of(layout: SupportLayout) -> dict[str, Shape]:
    """Return name → shape of all that the network keeps, in the published order."""
    made: dict[str, Shape] = {}
    if layout.widths:
        for i, (n_in, n_out) in enumerate(pairwise((layout.n_frames - 1, *layout.widths))):
            _add(made, f"enc_layers.{i}", n_out, n_in, SQUARE)
        for i, (deep, n) in enumerate(pairwise(layout.widths[::-1])):
            _add(made, f"dec_layers.{i}", n, deep + n, SQUARE)
        for i, (n_in, n_out) in enumerate(pairwise((layout.widths[0], *layout.unet_out))):
            _add(made, f"unet_1_convs.{i}", n_out, n_in, 1)
    if layout.channels:
        made |= _blind_shapes(layout)
    entered = (layout.unet_out[-1] if layout.widths else 0) + (
        layout.blind_out[-1] if layout.channels else 0
    )
    for i, (n_in, n_out) in enumerate(pairwise((entered, *layout.head, 1))):
        _add(made, f"last_layers.{i}", n_out, n_in, 1)
    return made


def _blind_shapes(layout: SupportLayout) -> dict[str, Shape]:
    n = layout.channels
    made: dict[str, Shape] = {}
    chains = tuple(zip((SQUARE, WIDE), layout.depths, strict=True))
    for side, depth in chains:
        for layer in range(depth - 1):
            made[f"scalars_{side}x{side}.{layer}"] = (n if layer else 1,)
    if layout.widths:
        for side, _ in chains:
            _add(made, f"conv{side}x{side}.0", n, layout.unet_out[-1], side)
    for side, depth in chains:
        for layer in range(depth):
            name, n_in = f"blind_convs{side}x{side}.{2 * layer}", n if layer else 1
            made[f"{name}.weight"] = (n, n_in, side**2 - 1)
            made[f"{name}.bias"] = (n,)
            made[f"{name}._spot"] = (n, n_in, 1)
    kept = sum(layout.depths) if layout.keeps_all_layers else 2
    for i, (n_in, n_out) in enumerate(pairwise((n * kept, *layout.blind_out))):
        _add(made, f"out_convs.{2 * i}", n_out, n_in, 1)
    return made


def _add(made: dict[str, Shape], name: str, n_out: int, n_in: int, side: int) -> None:
    made[f"{name}.weight"] = (n_out, n_in, side, side)
    made[f"{name}.bias"] = (n_out,)


def layout_of(
    shapes: Mapping[str, Shape], *, blind_spot: tuple[int, int] | None = None
) -> SupportLayout:
    """Return the layout of a network whose parameters have these shapes.

    Parameters
    ----------
    shapes
        Name → shape, as published.
    blind_spot
        Along y and x.  Needed where it is larger than one pixel: the weights do not say how large.

    Raises
    ------
    ValueError
        If these are not the parameters of a SUPPORT network, or the blind spot contradicts them.
    """
    widths = _outputs(shapes, "enc_layers")
    channels = shapes.get("blind_convs3x3.0.weight", (0,))[0]
    head = _outputs(shapes, "last_layers")
    if not head or head[-1] != 1 or not (widths or channels):
        raise ValueError(
            "these are not the weights of a SUPPORT network: it has layers called last_layers, "
            "and enc_layers or blind_convs3x3"
        )
    depths = (
        len(_outputs(shapes, "blind_convs3x3")),
        len(_outputs(shapes, "blind_convs5x5")),
    )
    layout = SupportLayout(
        n_frames=_second(shapes, "enc_layers.0") + 1 if widths else 1,
        widths=widths,
        channels=channels,
        depths=depths if channels else SupportLayout.depths,
        blind_spot=_spot_of(shapes, channels, sum(depths), blind_spot) if channels else (1, 1),
        unet_out=_outputs(shapes, "unet_1_convs") if widths else SupportLayout.unet_out,
        blind_out=_outputs(shapes, "out_convs") if channels else SupportLayout.blind_out,
        head=head[:-1],
    )
    _check_shapes(shapes, layout)
    return layout


def check_state(state: Mapping[str, npt.NDArray[Any]], layout: SupportLayout) -> None:
    """Raise a ValueError if `state` does not fit `layout`, is not blind, or not finite."""
    _check_shapes({name: values.shape for name, values in state.items()}, layout)
    seeing = [name for name, values in state.items() if name.endswith("_spot") and values.any()]
    if seeing:
        raise ValueError(f"the network is not blind: {seeing[0]} is not zero")
    broken = [name for name, values in state.items() if not np.isfinite(values).all()]
    if broken:
        raise ValueError(
            f"the weights hold values that are no numbers ({broken[0]}); train again with a lower "
            "learning rate"
        )


def _check_shapes(shapes: Mapping[str, Shape], layout: SupportLayout) -> None:
    wanted = shapes_of(layout)
    for name in [*wanted, *(set(shapes) - set(wanted))]:
        if shapes.get(name) != wanted.get(name):
            raise ValueError(
                f"the weights do not fit a network of {layout.n_frames} frames with a blind spot "
                f"of {layout.blind_spot}: {name} has the shape {shapes.get(name, 'of nothing')}, "
                f"wanted is {wanted.get(name, 'no such layer')}"
            )


def _outputs(shapes: Mapping[str, Shape], name: str) -> Shape:
    """Return the output channels of the layers NAME.0, NAME.1 (or NAME.2) and so on."""
    pattern = re.compile(rf"{name}\.(\d+)\.weight")
    found = {int(m[1]): shape[0] for key, shape in shapes.items() if (m := pattern.fullmatch(key))}
    return tuple(found[number] for number in sorted(found))


def _second(shapes: Mapping[str, Shape], name: str) -> int:
    shape = shapes[f"{name}.weight"]
    return shape[1] if len(shape) > 1 else 0


def _spot_of(
    shapes: Mapping[str, Shape], channels: int, n_layers: int, given: tuple[int, int] | None
) -> tuple[int, int]:
    """Return the blind spot, from the given one and from how many layers are used."""
    n_used = _second(shapes, "out_convs.0") if "out_convs.0.weight" in shapes else 0
    uses_all = n_used == channels * n_layers
    if given is None and not uses_all:
        raise ValueError(
            "the blind spot of this network is larger than one pixel, and its weights do not say "
            "how large; say it, (3, 3) for most published ones"
        )
    if given is not None and n_layers != 2 and (given == (1, 1)) != uses_all:
        size = "one pixel" if uses_all else "more than one pixel"
        raise ValueError(
            f"the blind spot of this network is {size}, which {given} is not; leave it out, or "
            "say the right one"
        )
    return (1, 1) if given is None else given
