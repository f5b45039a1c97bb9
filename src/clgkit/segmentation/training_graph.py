"""The network as torch trains it, and the ONNX file that it is shipped in.

This module needs the extra ``deep``.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

try:
    import onnx
    import torch
    from onnx import TensorProto, helper, numpy_helper
    from torch import nn
except ImportError as error:
    raise ImportError(
        "training a network needs torch and onnx: pip install clgkit[deep]", name=error.name
    ) from error

__all__ = [
    "NucleusNet",
    "answer",
    "answer_together",
    "channels_last",
    "pack_state",
    "read_onnx",
    "restore_state",
    "unpack_state",
    "write_onnx",
]

State: TypeAlias = "dict[str, torch.Tensor]"

CHANNELS, OUTPUTS = 8, 2
WIDTHS = (16, 32, 64)
EPSILON = 1e-5
OPSET = 17
BATCHES = "num_batches_tracked"
SWITCH = threading.RLock()
"""Held while the precision of convolutions, which is one for all threads, is changed."""


def _block(n_in: int, n_out: int) -> nn.Sequential:
    """Twice: convolution without bias, BatchNorm, ReLU."""
    parts: list[nn.Module] = []
    for n in (n_in, n_out):
        parts += [
            nn.Conv2d(n, n_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_out, eps=EPSILON),
            nn.ReLU(),
        ]
    return nn.Sequential(*parts)


class NucleusNet(nn.Module):
    """U-Net of three levels with added skips; 8 channels to log-odds and distance."""

    def __init__(self) -> None:
        super().__init__()
        top, mid, low = WIDTHS
        self.enter = _block(CHANNELS, top)
        self.middle = _block(top, mid)
        self.deep = _block(mid, low)
        self.narrow_deep = nn.Conv2d(low, mid, 1)
        self.join_middle = _block(mid, mid)
        self.narrow_middle = nn.Conv2d(mid, top, 1)
        self.join_enter = _block(top, top)
        self.leave = nn.Conv2d(top, OUTPUTS, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, 2, H, W); H and W are multiples of 4."""
        top = self.enter(x)
        mid = self.middle(nn.functional.max_pool2d(top, 2))
        low = self.deep(nn.functional.max_pool2d(mid, 2))
        mid = self.join_middle(mid + _twice(self.narrow_deep(low)))
        top = self.join_enter(top + _twice(self.narrow_middle(mid)))
        result: torch.Tensor = self.leave(top)
        return result


def channels_last(net: NucleusNet) -> NucleusNet:
    """Lay out the weights as convolutions like them best: a third faster on a processor."""
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def answer(net: NucleusNet, channels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return what torch makes of one slice (8, H, W): log-odds and distance (2, H, W)."""
    net.eval()
    made: npt.NDArray[np.float32] = answer_together(net, channels[np.newaxis])[0]
    return made


def answer_together(net: NucleusNet, channels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return log-odds and distance (n, 2, H, W) of slices (n, 8, H, W).

    Notes
    -----
    It runs where the weights are.  GPUs would round single precision to ten bits; they may not,
    so that a nucleus does not depend on the device.
    """
    device = net.leave.weight.device
    with torch.no_grad(), _whole_precision(device):
        made: npt.NDArray[np.float32] = net(torch.from_numpy(channels).to(device)).cpu().numpy()
    return made


@contextmanager
def _whole_precision(device: torch.device) -> Iterator[None]:
    """Keep a GPU from rounding what it multiplies."""
    if device.type != "cuda":
        yield
        return
    with SWITCH:
        before = torch.backends.cudnn.allow_tf32
        torch.backends.cudnn.allow_tf32 = False
        try:
            yield
        finally:
            torch.backends.cudnn.allow_tf32 = before


def _twice(x: torch.Tensor) -> torch.Tensor:
    return nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


class _Graph:
    """Nodes and tensors of the ONNX graph, in the order they run."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: dict[str, onnx.TensorProto] = {}

    def tensor(self, name: str, value: npt.NDArray[Any] | None = None) -> str:
        """Add a tensor of the state, or a constant."""
        if value is None:
            value = self.state[name].detach().cpu().numpy()
        self.tensors[name] = numpy_helper.from_array(value, name)
        return name

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node and return the name of its result."""
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def convolve(self, x: str, name: str, *, side: int, bias: bool = False) -> str:
        """Add a convolution of the state."""
        inputs = [x, self.tensor(f"{name}.weight")]
        if bias:
            inputs.append(self.tensor(f"{name}.bias"))
        return self.add(
            "Conv", inputs, f"{name}:out", kernel_shape=[side, side], pads=[side // 2] * 4
        )

    def block(self, x: str, name: str) -> str:
        """Add twice a convolution, BatchNorm and ReLU."""
        for first in (0, 3):
            x = self.convolve(x, f"{name}.{first}", side=3)
            norm = f"{name}.{first + 1}"
            parts = ("weight", "bias", "running_mean", "running_var")
            inputs = [x, *(self.tensor(f"{norm}.{part}") for part in parts)]
            x = self.add("BatchNormalization", inputs, f"{norm}:out", epsilon=EPSILON)
            x = self.add("Relu", [x], f"{norm}:relu")
        return x

    def halve(self, x: str, name: str) -> str:
        """Add a max-pool of 2 x 2."""
        return self.add("MaxPool", [x], name, kernel_shape=[2, 2], strides=[2, 2])

    def twice(self, x: str, name: str) -> str:
        """Add a bilinear enlargement."""
        scales = self.tensor("scales", np.array([1, 1, 2, 2], np.float32))
        return self.add(
            "Resize",
            [x, "", scales],
            name,
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        )


def write_onnx(net: NucleusNet, *, notes: dict[str, str] | None = None) -> bytes:
    """Return the network as an ONNX file; its tensors are those of the state, by name.

    Parameters
    ----------
    net
        What was trained.
    notes
        Kept in the file's metadata.
    """
    graph = _Graph(net.state_dict())
    top = graph.block("image", "enter")
    mid = graph.block(graph.halve(top, "pool_middle"), "middle")
    low = graph.block(graph.halve(mid, "pool_deep"), "deep")
    up = graph.twice(graph.convolve(low, "narrow_deep", side=1, bias=True), "up_middle")
    mid = graph.block(graph.add("Add", [mid, up], "sum_middle"), "join_middle")
    up = graph.twice(graph.convolve(mid, "narrow_middle", side=1, bias=True), "up_enter")
    top = graph.block(graph.add("Add", [top, up], "sum_enter"), "join_enter")
    graph.add("Identity", [graph.convolve(top, "leave", side=1, bias=True)], "maps")
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, "height", "width"])
        for name, channels in (("image", CHANNELS), ("maps", OUTPUTS))
    ]
    made = helper.make_graph(
        graph.nodes, "nuclei", ends[:1], ends[1:], initializer=list(graph.tensors.values())
    )
    model = helper.make_model(
        made, producer_name="clgkit", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8
    )
    batches = int(net.state_dict()[f"enter.1.{BATCHES}"])
    helper.set_model_props(model, {**(notes or {}), BATCHES: str(batches)})
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def read_onnx(weights: bytes) -> NucleusNet:
    """Return the network of an ONNX file that :func:`write_onnx` made.

    Raises
    ------
    ValueError
        If the file is none, or its tensors are not exactly those of the network.
    """
    try:
        model = onnx.load_from_string(weights)
    except Exception as error:
        raise ValueError(
            f"the {len(weights)} bytes of weights are no ONNX file; give one written by clgkit"
        ) from error
    net = NucleusNet()
    wanted = net.state_dict()
    found = {t.name: torch.tensor(numpy_helper.to_array(t)) for t in model.graph.initializer}
    found.pop("scales", None)
    notes = {note.key: note.value for note in model.metadata_props}
    for name in wanted:
        if name.endswith(BATCHES):
            found[name] = torch.tensor(int(notes.get(BATCHES, "0")))
    different = sorted(
        name
        for name in wanted.keys() | found.keys()
        if name not in wanted or name not in found or wanted[name].shape != found[name].shape
    )
    if different:
        raise ValueError(
            f"the weights are of another network: {', '.join(different[:5])} "
            f"({len(different)} tensors differ); give a file written by clgkit"
        )
    net.load_state_dict(found)
    return net


def pack_state(
    net: NucleusNet, optimizer: torch.optim.Optimizer, numbers: dict[str, npt.NDArray[Any]]
) -> bytes:
    """Return the tensors of a training and some numbers as the bytes of an npz file."""
    arrays = {f"net/{name}": tensor.numpy() for name, tensor in net.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        arrays |= {f"optimizer/{index}/{name}": value.numpy() for name, value in moments.items()}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays, **numbers)
    return buffer.getvalue()


def unpack_state(packed: bytes) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays that :func:`pack_state` packed.

    Raises
    ------
    ValueError
        If the bytes are of something else.
    """
    try:
        with np.load(io.BytesIO(packed)) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(
            f"the {len(packed)} bytes are no state of a training; start anew"
        ) from error


def restore_state(
    arrays: dict[str, npt.NDArray[Any]], net: NucleusNet, optimizer: torch.optim.Optimizer
) -> None:
    """Set the tensors that :func:`unpack_state` returned."""
    net.load_state_dict({name: torch.tensor(arrays[f"net/{name}"]) for name in net.state_dict()})
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name in [name for name in arrays if name.startswith("optimizer/")]:
        _, index, part = name.split("/")
        moments.setdefault(int(index), {})[part] = torch.tensor(arrays[name])
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
