"""Cellpose's residual network in torch, by its published layout; a state fits key by key.

This module needs the extra ``deep``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

try:
    import torch
    from torch import nn
except ImportError as error:
    raise ImportError(
        "a Cellpose network needs torch: pip install clgkit[deep]", name=error.name
    ) from error

from clgkit.segmentation.cellpose_state import DEFAULT_DIAMETER_PX, OUTPUTS, CellposeLayout

__all__ = ["CellposeNet", "build", "channels_last", "forward", "state_arrays"]

Float32: TypeAlias = npt.NDArray[np.float32]

EPSILON = 1e-5


def _normed(n_in: int, n_out: int) -> nn.Sequential:
    """BatchNorm, ReLU, 3 x 3 convolution."""
    return nn.Sequential(
        nn.BatchNorm2d(n_in, eps=EPSILON),
        nn.ReLU(inplace=True),
        nn.Conv2d(n_in, n_out, 3, padding=1),
    )


def _projection(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(n_in, eps=EPSILON), nn.Conv2d(n_in, n_out, 1))


class _Down(nn.Module):
    """Four convolutions and a projection, at one scale."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.proj = _projection(n_in, n_out)
        self.conv = nn.Sequential()
        for k in range(4):
            self.conv.add_module(f"conv_{k}", _normed(n_out if k else n_in, n_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the features of this scale."""
        first, second, third, fourth = self.conv
        x = self.proj(x) + second(first(x))
        result: torch.Tensor = x + fourth(third(x))
        return result


class _Styled(nn.Module):
    """A convolution of the sum of features and a style."""

    def __init__(self, n: int, n_style: int) -> None:
        super().__init__()
        self.conv = _normed(n, n)
        self.full = nn.Linear(n_style, n)

    def forward(self, x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        """Return the convolution of both."""
        result: torch.Tensor = self.conv(x + self.full(style)[:, :, None, None])
        return result


class _Up(nn.Module):
    """Joins what comes from below with the features of the same scale."""

    def __init__(self, n_in: int, n_out: int, n_style: int) -> None:
        super().__init__()
        self.proj = _projection(n_in, n_out)
        self.conv = nn.Sequential()
        self.conv.add_module("conv_0", _normed(n_in, n_out))
        for k in (1, 2, 3):
            self.conv.add_module(f"conv_{k}", _Styled(n_out, n_style))

    def forward(self, x: torch.Tensor, skip: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        """Return the joined features."""
        enter, first, second, third = self.conv
        x = self.proj(x) + first(enter(x) + skip, style)
        result: torch.Tensor = x + third(second(x, style), style)
        return result


class CellposeNet(nn.Module):
    """The network of Cellpose 2 and 3; its parameters bear Cellpose's names.

    Parameters
    ----------
    layout
        Widths and channels.
    diam_mean_px, diam_labels_px
        Kept in the state; the network does not use them.
    momentum
        Of BatchNorm, in training.
    """

    def __init__(
        self,
        layout: CellposeLayout,
        *,
        diam_mean_px: float = DEFAULT_DIAMETER_PX,
        diam_labels_px: float = DEFAULT_DIAMETER_PX,
        momentum: float = 0.05,
    ) -> None:
        super().__init__()
        widths, n_channels = layout
        self.diam_mean = nn.Parameter(torch.full((1,), diam_mean_px), requires_grad=False)
        self.diam_labels = nn.Parameter(torch.full((1,), diam_labels_px), requires_grad=False)
        self.downsample = nn.ModuleDict({"down": nn.Sequential()})
        self.upsample = nn.ModuleDict({"up": nn.Sequential()})
        for n, (n_in, n_out) in enumerate(zip((n_channels, *widths), widths, strict=False)):
            self.downsample["down"].add_module(f"res_down_{n}", _Down(n_in, n_out))
        for n, (n_in, n_out) in enumerate(zip((*widths[1:], widths[-1]), widths, strict=True)):
            self.upsample["up"].add_module(f"res_up_{n}", _Up(n_in, n_out, widths[-1]))
        self.output = nn.Sequential(
            nn.BatchNorm2d(widths[0], eps=EPSILON),
            nn.ReLU(inplace=True),
            nn.Conv2d(widths[0], OUTPUTS, 1),
        )
        for part in self.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.momentum = momentum

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return flows with log-odds (n, 3, H, W) and style (n, widest)."""
        skips = []
        for n, down in enumerate(self.downsample["down"].children()):
            x = down(x if n == 0 else nn.functional.max_pool2d(x, 2))
            skips.append(x)
        style = x.mean(dim=(2, 3))
        style = style / (style**2).sum(dim=1, keepdim=True).sqrt()
        for n, up in reversed(list(enumerate(self.upsample["up"].children()))):
            if n < len(skips) - 1:
                x = nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = up(x, skips[n], style)
        return self.output(x), style


def build(state: Mapping[str, npt.NDArray[np.generic]], layout: CellposeLayout) -> CellposeNet:
    """Return the network that a checked state describes, ready to be run.

    Parameters
    ----------
    state
        Name → array, from a `CellposeNetwork`.
    layout
        Its layout.
    """
    net = CellposeNet(layout)
    net.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
    return channels_last(net).eval()


def channels_last(net: CellposeNet) -> CellposeNet:
    """Lay out the weights as convolutions like them best on a processor."""
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def forward(net: CellposeNet, tiles: Float32, device: str) -> tuple[Float32, Float32]:
    """Return flows with log-odds (n, 3, H, W) and style (n, widest) of tiles, as arrays."""
    with torch.inference_mode():
        shown = torch.from_numpy(np.ascontiguousarray(tiles)).to(device)
        maps, style = net(shown.to(memory_format=torch.channels_last))
    return maps.cpu().numpy(), style.cpu().numpy()


def state_arrays(net: CellposeNet) -> dict[str, npt.NDArray[np.generic]]:
    """Return a copy of the network's state as arrays."""
    return {
        name: np.array(value.cpu().numpy(), order="C") for name, value in net.state_dict().items()
    }
