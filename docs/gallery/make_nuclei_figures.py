"""Draw the figures of the page on nuclei: ``python docs/gallery/make_nuclei_figures.py``.

Run it in the folder of the repository.  The recordings are those of ``benchmarks/segmentation.py``;
they are not part of the repository.
"""

import io
import sys
from pathlib import Path
from typing import Any, TypeAlias

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from benchmarks import _nuclei_tables as tables  # noqa: E402  (after the path)
from benchmarks import segmentation as stacks  # noqa: E402
from clgkit import fsio  # noqa: E402
from clgkit.segmentation.annotations import annotated_slices, split_annotations  # noqa: E402
from clgkit.segmentation.fine_tuning import FineTuner, use_one_thread  # noqa: E402
from clgkit.segmentation.network import shipped_network  # noqa: E402

Array: TypeAlias = npt.NDArray[Any]

DPI = 110
QUALITY = 80
COLOURS = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#d55e00", "#cc79a7"]
FAILURES = (("plantseg 0", 55), ("plantseg 1", 30), ("gonuclear 1135", 50))
TITLES = ("image", "given labels", "network", "classical", "Cellpose net, chains")


def show(axes: Any, plane: Array, labels: Array | None, title: str) -> None:
    """Draw a slice in grey with the outlines of labels."""
    high = np.percentile(plane, 99.7)
    low = np.percentile(plane, 1)
    axes.imshow(np.clip((plane - low) / (high - low), 0, 1) ** 0.6, cmap="gray")
    if labels is not None:
        outline(axes, labels)
    axes.set_title(title, fontsize=8, loc="left")
    axes.set_axis_off()


def outline(axes: Any, labels: Array) -> None:
    """Draw the outlines of labels, along the sides of their pixels."""
    rows, columns = (np.arange(2 * n) / 2 - 0.25 for n in labels.shape)
    for label in np.unique(labels[labels > 0]):
        inside = np.kron(labels == label, np.ones((2, 2)))
        colour = COLOURS[int(label) % len(COLOURS)]
        axes.contour(columns, rows, inside, [0.5], colors=colour, linewidths=0.8)


def save(figure: Figure, name: str) -> None:
    """Write a figure as WebP."""
    FigureCanvasAgg(figure)
    drawn, packed = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI, facecolor="white")
    Image.open(drawn).convert("RGB").save(packed, "WEBP", quality=QUALITY, method=6)
    fsio.write_bytes(HERE / f"{name}.webp", packed.getvalue())


def draw_failures() -> None:
    """Show volumes in which labels and methods disagree."""
    figure = Figure(figsize=(8.4, 5.2), layout="constrained")
    for row, (name, z) in zip(figure.subplots(len(FAILURES), len(TITLES)), FAILURES, strict=True):
        case = stacks.real(name, "full")
        if case is None or case.truth is None:
            sys.exit(f"{name} is not at hand")
        found = [None, case.truth, *tables.labels_of(case)[:3]]
        for axes, title, labels in zip(row, TITLES, found, strict=True):
            show(
                axes,
                case.image[z],
                None if labels is None else labels[z],
                f"{name}, slice {z}" if labels is None else title,
            )
    save(figure, "nuclei-failures")


def draw_tuned() -> None:
    """Show what fine-tuning on eight slices does on another stack."""
    use_one_thread()
    learnt, other = (stacks.simulated(stacks.STRANGE, "full", seed=seed) for seed in (11, 12))
    if learnt.truth is None or other.truth is None:
        sys.exit("there is no truth")
    planes = {z: learnt.truth[z] for z in stacks.ANNOTATED}
    parts = split_annotations(
        annotated_slices(
            "stack",
            learnt.image,
            planes,
            voxel_um=learnt.voxel_um,
            diameter_um=learnt.diameter_um,
        )
    )
    tuner = FineTuner(
        shipped_network(),
        [part.learnt() for part in parts.learnt],
        held_out=[part.learnt() for part in parts.held_out],
    )
    for _ in tuner.run():
        pass
    found = [
        None,
        other.truth,
        stacks.by_network(other),
        stacks.by_network(other, network=tuner.network()),
    ]
    titles = ("another stack", "truth", "network as shipped", "after 8 slices")
    figure = Figure(figsize=(8.4, 2.4), layout="constrained")
    cut = (12, slice(20, 120), slice(20, 120))
    for axes, title, labels in zip(figure.subplots(1, 4), titles, found, strict=True):
        show(axes, other.image[cut], None if labels is None else labels[cut], title)
    save(figure, "nuclei-tuned")


def main() -> None:
    """Draw both figures."""
    with mpl.rc_context({"font.size": 8}):
        draw_tuned()
        draw_failures()


if __name__ == "__main__":
    main()
