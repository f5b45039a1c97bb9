"""The shipped network run by onnxruntime, of the core, beside torch, of the extra ``deep``.

Sizes on the disk are those of the files that an installed distribution lists, compiled Python
included.  A slice alone is timed in ``segmentation.figure_runtime``.
"""

import math
from dataclasses import replace
from functools import cache, partial
from importlib import metadata
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.harness import Figure, Size, measure, peer_version
from benchmarks.segmentation import DENSE, SHIFTS, Case, by_network, simulated
from clgkit.segmentation.network import NucleusNetwork, shipped_network

LOOKS = ("6 photons", "texture 0.6", "diameter x 1.33")
"""Stacks, beside the dense one, whose labels are compared."""


def disk_mb(distribution: str) -> float | None:
    """Return the MB of a distribution's files; None if it is not installed."""
    try:
        files = metadata.distribution(distribution).files or []
    except metadata.PackageNotFoundError:
        return None
    paths = [Path(str(file.locate())) for file in files]
    return sum(path.stat().st_size for path in paths if path.exists()) / 2**20


def figure_disk(size: Size) -> Figure:  # noqa: ARG001  (as large at both sizes)
    """Compare what both take on the disk."""
    ours, peer = disk_mb("onnxruntime"), peer_version("torch") or "torch"
    return Figure(
        "onnxruntime on the disk", "MB", math.nan if ours is None else ours, peer, disk_mb("torch")
    )


def figure_disk_of_training(size: Size) -> Figure:  # noqa: ARG001  (as large at both sizes)
    """Measure what reads and writes the file of the network in the extra ``deep``."""
    ours = disk_mb("onnx")
    return Figure("onnx on the disk", "MB", math.nan if ours is None else ours, target=50.0)


@cache
def in_torch() -> NucleusNetwork:
    """Return the shipped network, run by torch with one thread."""
    from clgkit.segmentation.fine_tuning import use_one_thread  # noqa: PLC0415  (torch is optional)
    from clgkit.segmentation.training_graph import answer, read_onnx  # noqa: PLC0415  (torch)

    use_one_thread()
    net = read_onnx(shipped_network().weights)

    class InTorch(NucleusNetwork):
        def run(self, channels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
            return answer(net, channels)

    return InTorch(shipped_network().weights)


def _stacks(size: Size) -> list[Case]:
    small = replace(DENSE, shape_px=(24, 160, 160))
    changes = [SHIFTS[name] for name in LOOKS[: None if size == "full" else 0]]
    return [simulated(replace(small, **change), size, seed=8) for change in ({}, *changes)]


def figure_segmentation(size: Size) -> Figure:
    """All steps from a dense stack to labels, one thread each."""
    case = _stacks(size)[0]
    ours, peer = measure(partial(by_network, case), partial(by_network, case, network=in_torch()))
    name = "24 x 160² voxels to nuclei"
    return Figure(name, "CPU s", ours, peer=peer_version("torch"), peer_value=peer)


def figure_labels(size: Size) -> Figure:
    """Voxels that change sides, of a million: maps are rounded to 1/255."""
    cases = _stacks(size)
    ours, peer = ([by_network(c, network=net) for c in cases] for net in (None, in_torch()))
    differ = sum(int(np.count_nonzero(a != b)) for a, b in zip(ours, peer, strict=True))
    voxels = sum(case.image.size for case in cases)
    counts = [(int(a.max()), int(b.max())) for a, b in zip(ours, peer, strict=True)]
    nuclei = sum(a for a, _ in counts)
    # Another number of nuclei would not be a rounding.
    share = 1e6 * differ / voxels if all(a == b for a, b in counts) else 1e6
    name = f"labels by onnxruntime and torch differ, {nuclei} nuclei"
    return Figure(name, "voxels per million", share, target=1.0)
