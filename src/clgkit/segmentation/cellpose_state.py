"""The weights of a Cellpose 2 or 3 network as arrays: its key list, its widths, what is foreign."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["CellposeLayout", "check_state", "layout_of", "wanted_shapes"]

State: TypeAlias = Mapping[str, npt.NDArray[Any]]
Shape: TypeAlias = tuple[int, ...]

OUTPUTS = 3
DIAMETERS = ("diam_mean", "diam_labels")
DEFAULT_DIAMETER_PX = 30.0
N_LISTED = 5


class CellposeLayout(NamedTuple):
    """What distinguishes one Cellpose network from another."""

    widths: tuple[int, int, int, int]
    """Channels of the four scales, finest first; Cellpose's own are 32, 64, 128, 256."""
    n_channels: int = 2
    """Channels of the image."""


def wanted_shapes(layout: CellposeLayout) -> dict[str, Shape]:
    """Return key → shape of every tensor of a network; there are 313."""
    widths = layout.widths
    shapes: dict[str, Shape] = dict.fromkeys(DIAMETERS, (1,))
    for n, (n_in, n_out) in enumerate(zip((layout.n_channels, *widths), widths, strict=False)):
        block = f"downsample.down.res_down_{n}"
        shapes |= _normed(f"{block}.proj", n_in, n_out, side=1, at=1)
        for k in range(4):
            first = n_in if k == 0 else n_out
            shapes |= _normed(f"{block}.conv.conv_{k}", first, n_out, side=3, at=2)
    for n, (n_in, n_out) in enumerate(zip((*widths[1:], widths[-1]), widths, strict=True)):
        block = f"upsample.up.res_up_{n}"
        shapes |= _normed(f"{block}.proj", n_in, n_out, side=1, at=1)
        shapes |= _normed(f"{block}.conv.conv_0", n_in, n_out, side=3, at=2)
        for k in (1, 2, 3):
            inner = f"{block}.conv.conv_{k}"
            shapes |= _normed(f"{inner}.conv", n_out, n_out, side=3, at=2)
            shapes |= {f"{inner}.full.weight": (n_out, widths[-1]), f"{inner}.full.bias": (n_out,)}
    return shapes | _normed("output", widths[0], OUTPUTS, side=1, at=2)


def _normed(name: str, n_in: int, n_out: int, *, side: int, at: int) -> dict[str, Shape]:
    """Return the tensors of a BatchNorm (number 0) and of the convolution after it."""
    norm = ("weight", "bias", "running_mean", "running_var")
    shapes: dict[str, Shape] = {f"{name}.0.{part}": (n_in,) for part in norm}
    shapes[f"{name}.0.num_batches_tracked"] = ()
    shapes[f"{name}.{at}.weight"] = (n_out, n_in, side, side)
    shapes[f"{name}.{at}.bias"] = (n_out,)
    return shapes


def check_state(state: State) -> None:
    """Refuse a state that is not exactly that of a Cellpose 2 or 3 network.

    Raises
    ------
    ValueError
        One sentence that names the tensors at fault.
    """
    _refuse_variants(state)
    wanted = wanted_shapes(layout_of(state))
    faults = list(_differences(state, wanted))
    if faults:
        more = f" and {len(faults) - N_LISTED} more" if len(faults) > N_LISTED else ""
        raise ValueError(
            f"the weights are not of a Cellpose 2 or 3 network: {', '.join(faults[:N_LISTED])}"
            f"{more}; give a file that Cellpose 2 or 3 or clgkit wrote"
        )
    sick = [name for name, value in state.items() if not np.isfinite(value).all()]
    if sick:
        raise ValueError(
            f"the weights hold NaN or infinity in {sick[0]} and {len(sick) - 1} more tensors; "
            "the training that made them failed: use an earlier file"
        )
    for name in DIAMETERS:
        if state[name][0] <= 0:
            raise ValueError(f"{name} of the weights is {state[name][0]:g}; wanted more than 0")


def _differences(state: State, wanted: Mapping[str, Shape]) -> Iterator[str]:
    for name, shape in wanted.items():
        if name not in state:
            yield f"{name} is missing"
        elif state[name].shape != shape:
            yield f"{name} is {state[name].shape} and not {shape}"
    yield from (f"{name} is foreign" for name in state if name not in wanted)


def _refuse_variants(state: State) -> None:
    """Name the relatives of the network that are not it."""
    if "W2" in state or any(name.startswith("encoder.") for name in state):
        raise ValueError(
            "the weights are of Cellpose 4 (a transformer), which this network cannot hold; give "
            "weights of Cellpose 2 or 3"
        )
    if any(".conv_down_" in name for name in state):
        raise ValueError(
            "the network was trained with residual connections off; train it again with them on"
        )
    proj = state.get("upsample.up.res_up_0.proj.1.weight")
    joined = state.get("upsample.up.res_up_0.conv.conv_1.conv.0.weight")
    if proj is not None and joined is not None and joined.shape == (2 * proj.shape[0],):
        raise ValueError(
            "the network was trained with concatenation on; train it again with it off"
        )
    output = state.get("output.2.weight")
    if output is not None and output.shape[:1] != (OUTPUTS,):
        raise ValueError(
            f"the network gives {output.shape[0]} maps, wanted {OUTPUTS} (flow in y, flow in x, "
            "log-odds); give a model for segmentation"
        )


def layout_of(state: State) -> CellposeLayout:
    """Return widths and channels, read from the shapes."""
    names = [f"downsample.down.res_down_{n}.proj.1.weight" for n in range(4)]
    lost = [name for name in names if name not in state or state[name].ndim != 4]
    if lost:
        raise ValueError(
            f"the weights are not of a Cellpose 2 or 3 network: {lost[0]} is missing or no "
            "convolution; give a file that Cellpose 2 or 3 or clgkit wrote"
        )
    a, b, c, d = (int(state[name].shape[0]) for name in names)
    return CellposeLayout((a, b, c, d), int(state[names[0]].shape[1]))
