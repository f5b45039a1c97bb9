"""The SUPPORT network in torch; its parameters bear the published names.

After Eom et al., Nature Methods 2023 (doi 10.1038/s41592-023-02005-8), written from a description
of the published weights.  This module needs the extra ``deep``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

try:
    import torch
    from torch import nn
except ImportError as error:
    raise ImportError(
        "a SUPPORT network needs torch: pip install clgkit[deep]", name=error.name
    ) from error

from clgkit.denoising.support_layout import SQUARE, WIDE, SupportLayout, check_state, layout_of

__all__ = [
    "SupportNet",
    "build_network",
    "new_network",
    "state_arrays",
    "threads_of",
    "threads_set",
]

SMALL = 300_000  # parameters up to which a second thread only costs


class HoleConv(nn.Module):
    """A convolution whose kernel has no centre."""

    _spot: torch.Tensor

    def __init__(self, n_in: int, n_out: int, side: int, dilation: tuple[int, int]) -> None:
        super().__init__()
        n_taps = side**2 - 1
        self.side, self.dilation = side, dilation
        self.weight = nn.Parameter(torch.empty(n_out, n_in, n_taps))
        self.bias = nn.Parameter(torch.empty(n_out))
        self.register_buffer("_spot", torch.zeros(n_out, n_in, 1))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        bound = 1 / math.sqrt(n_in * n_taps)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the features, as large as `x`; beyond its border there are zeros."""
        before, after = self.weight.chunk(2, dim=2)
        kernel = torch.cat([before, self._spot, after], dim=2)
        kernel = kernel.view(*kernel.shape[:2], self.side, self.side)
        y, x_ = self.dilation
        half = self.side // 2
        return nn.functional.conv2d(
            x,
            kernel,
            self.bias,
            padding=(half * y, half * x_),
            dilation=self.dilation,
        )


def _pointwise(*channels: int) -> nn.ModuleList:
    return nn.ModuleList(nn.Conv2d(n_in, n_out, 1) for n_in, n_out in pairwise(channels))


class SupportNet(nn.Module):
    """Predicts a frame from its neighbours in time, and from itself around a blind spot.

    Parameters
    ----------
    layout
        All sizes.

    Notes
    -----
    The largest dilation exceeds the sum of what the smaller ones reach and no layer has a centre,
    so no path leads from a pixel to itself: the hole has exactly the size of the blind spot.
    """

    def __init__(self, layout: SupportLayout) -> None:
        super().__init__()
        self.layout = layout
        entered = 0
        if layout.widths:
            self._add_unet(layout)
            entered += layout.unet_out[-1]
        if layout.channels:
            self._add_blind(layout)
            entered += layout.blind_out[-1]
        self.last_layers = _pointwise(entered, *layout.head, 1)

    def _add_unet(self, layout: SupportLayout) -> None:
        sizes = (layout.n_frames - 1, *layout.widths)
        self.enc_layers = nn.ModuleList(
            nn.Conv2d(n_in, n_out, 3, padding=1) for n_in, n_out in pairwise(sizes)
        )
        self.dec_layers = nn.ModuleList(
            nn.Conv2d(deep + n, n, 3, padding=1) for deep, n in pairwise(layout.widths[::-1])
        )
        self.unet_1_convs = _pointwise(layout.widths[0], *layout.unet_out)

    def _add_blind(self, layout: SupportLayout) -> None:
        n = layout.channels
        chains = tuple(zip((SQUARE, WIDE), layout.depths, strict=True))
        for side, depth in chains:
            scalars = (nn.Parameter(torch.ones(n if d else 1)) for d in range(depth - 1))
            setattr(self, f"scalars_{side}x{side}", nn.ParameterList(scalars))
        for side, _ in chains if layout.widths else ():
            entry = nn.Conv2d(layout.unet_out[-1], n, side, padding=side // 2)
            setattr(self, f"conv{side}x{side}", nn.ModuleList([entry]))
        for side, depth in chains:
            chain = nn.ModuleList()
            for d in range(depth):
                chain.append(HoleConv(n if d else 1, n, side, layout.dilation(side, d)))
                chain.append(nn.ReLU())
            setattr(self, f"blind_convs{side}x{side}", chain)
        kept = sum(layout.depths) if layout.keeps_all_layers else 2
        self.out_convs = nn.ModuleList()
        for part in _pointwise(n * kept, *layout.blind_out):
            self.out_convs.extend([part, nn.ReLU()])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the middle frame (B, 1, H, W) of windows (B, C, H, W)."""
        if x.shape[1] != self.layout.n_frames:
            raise ValueError(
                f"the network takes {self.layout.n_frames} frames, found {x.shape[1]} of them"
            )
        middle = self.layout.center
        parts = []
        if self.layout.widths:
            parts.append(self._unet(torch.cat([x[:, :middle], x[:, middle + 1 :]], dim=1)))
        if self.layout.channels:
            parts.append(self._blind(x[:, middle : middle + 1], parts[0] if parts else None))
        made = torch.cat(parts, dim=1)
        *inner, last = self.last_layers
        for layer in inner:
            made = layer(made).relu()
        result: torch.Tensor = last(made)
        return result

    def _unet(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for level, layer in enumerate(self.enc_layers):
            x = layer(x if level == 0 else nn.functional.max_pool2d(x, 2)).relu()
            skips.append(x)
        for layer, skip in zip(self.dec_layers, skips[-2::-1], strict=True):
            x = nn.functional.interpolate(x, size=skip.shape[-2:], mode="nearest")
            x = layer(torch.cat([x, skip], dim=1)).relu()
        for layer in self.unet_1_convs:
            x = layer(x).relu()
        return x

    def _blind(self, x: torch.Tensor, others: torch.Tensor | None) -> torch.Tensor:
        kept = []
        for side in (SQUARE, WIDE):
            layers = self._chain(side, x, others)
            kept += layers if self.layout.keeps_all_layers else layers[-1:]
        made = torch.cat(kept, dim=1)
        for layer in self.out_convs:
            made = layer(made)
        return made

    def _chain(self, side: int, x: torch.Tensor, others: torch.Tensor | None) -> list[torch.Tensor]:
        """Return the output of every layer; the raw frame is added before each but the first."""
        chain: Any = getattr(self, f"blind_convs{side}x{side}")
        scalars: Any = getattr(self, f"scalars_{side}x{side}")
        made = chain[0](x).relu()
        if others is not None:
            made = made + getattr(self, f"conv{side}x{side}")[0](others).relu()
        layers = [made]
        for layer, scalar in zip(chain[2::2], scalars, strict=True):
            made = layer(made + scalar.view(1, -1, 1, 1) * x).relu()
            layers.append(made)
        return layers


def new_network(layout: SupportLayout, *, seed: int = 0) -> SupportNet:
    """Return a network with random weights; the state of torch's generator stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SupportNet(layout)


def build_network(
    state: Mapping[str, npt.NDArray[Any]],
    *,
    sizes: Mapping[str, Any] | None = None,
    blind_spot: tuple[int, int] | None = None,
) -> SupportNet:
    """Return the network of published or own weights, ready to be run.

    Parameters
    ----------
    state
        Name → array.
    sizes
        What :meth:`SupportLayout.as_dict` gave, if it lay beside the weights; None: the shapes say.
    blind_spot
        Along y and x; needed without `sizes` where it is larger than one pixel.

    Raises
    ------
    ValueError
        If the weights are those of another network.
    """
    if sizes is None:
        shapes = {name: values.shape for name, values in state.items()}
        layout = layout_of(shapes, blind_spot=blind_spot)
    else:
        layout = SupportLayout.from_dict(sizes)
        if blind_spot is not None and blind_spot != layout.blind_spot:
            raise ValueError(
                f"the network was trained with a blind spot of {layout.blind_spot} pixels, not "
                f"{blind_spot}; leave it out"
            )
    check_state(state, layout)
    net = new_network(layout)
    tensors = {name: torch.tensor(np.asarray(values, np.float32)) for name, values in state.items()}
    net.load_state_dict(tensors)
    return net.eval()


def state_arrays(net: SupportNet) -> dict[str, npt.NDArray[Any]]:
    """Return a copy of the weights, name → float32 array."""
    return {name: value.detach().cpu().numpy().copy() for name, value in net.state_dict().items()}


def threads_of(layout: SupportLayout) -> int:
    """Return how many threads a pass should take: one for a small network.

    A larger one gets the cores that this process may use, and no more than torch was told.
    """
    if layout.n_parameters <= SMALL:
        return 1
    may_use = getattr(os, "sched_getaffinity", None)
    cores = len(may_use(0)) if may_use else os.cpu_count() or 1
    return max(1, min(cores, torch.get_num_threads()))


@contextmanager
def threads_set(n: int) -> Iterator[None]:
    """Let torch take `n` threads, for a while."""
    before = torch.get_num_threads()
    if before == n:
        yield
        return
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
