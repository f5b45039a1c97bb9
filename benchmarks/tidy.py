"""Memory of ``clg tidy-labels`` on 301 x 512 x 512 voxels with 19,600 nuclei in a TIFF.

Rules of ids stream slice by slice; rules of shape hold the volume.  The peak is that of a process
that runs the command, interpreter and imports included.
"""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.harness import Figure, Size, peak_mb

SHAPE = {"full": (301, 512, 512), "toy": (12, 48, 48)}
GRID = {"full": (25, 28, 28), "toy": (1, 3, 3)}
VOLUME_MB = 301 * 512 * 512 * 4 / 2**20
IDS = ("--border", "drop", "--min-um3", "20", "--of-median", "0.12,5")
SHAPES = ("--fill", "--smooth", "1", "--pieces", "largest", *IDS)


def write_labels(path: Path, size: Size) -> None:
    """Write the labels of a fish, ids with gaps."""
    from benchmarks.labels import Fish  # noqa: PLC0415  (the measured process does without)
    from clgkit import io  # noqa: PLC0415

    fish = Fish.on(GRID[size], SHAPE[size])
    labels = np.stack([3 * fish.nuclei(z) for z in range(fish.shape[0])])
    io.write_tiff(path, labels, axes="zyx", voxel_um=(1.0, 0.8, 0.8))


def tidy(source: str, target: str, *rules: str) -> None:
    """Run the command in this process."""
    from clgkit.cli.tidy_labels import command  # noqa: PLC0415  (the measured process alone)

    command.main([source, target, *rules], standalone_mode=False)


def _peak(size: Size, name: str, rules: tuple[str, ...], target: float) -> Figure:
    with tempfile.TemporaryDirectory() as folder:
        source, made = (str(Path(folder, name)) for name in ("labels.tif", "tidy.tif"))
        write_labels(Path(source), size)
        peak = peak_mb(partial(tidy, source, made, *rules))
    return Figure(f"clg tidy-labels, {name}", "MB", peak, target=target)


def figure_streamed(size: Size) -> Figure:
    """Drop by border and size; slices stream."""
    return _peak(size, "ids and sizes", IDS, 400.0)


def figure_shapes(size: Size) -> Figure:
    """Fill, smooth and keep the largest piece as well: twice the volume and 200 MB."""
    return _peak(size, f"shapes, volume {VOLUME_MB:.0f} MB", SHAPES, 2 * VOLUME_MB + 200)
