"""Cellpose networks: ours beside Cellpose 3 on the same slice with the same weights.

The network is trained here, narrow and in a minute, on slices whose nuclei are known, and
widened to Cellpose's own widths by channels that are zero: it then computes the same at the full
cost.  Cellpose runs in an environment of its own (`peers/cellpose.txt`).
"""

import math
import os
import statistics
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from benchmarks.harness import Figure, Size, measure
from clgkit.segmentation import score_labels, stitch_chains, stitch_like_cellpose
from clgkit.segmentation.cellpose import (
    masks_of_maps,
    options_like,
    section_scale,
    segment_section,
)
from clgkit.segmentation.cellpose_dynamics import follow_flows, group_ends
from clgkit.segmentation.cellpose_flows import flows_of_masks
from clgkit.segmentation.cellpose_network import CellposeNetwork
from clgkit.segmentation.cellpose_recipe import FULL, recipe_like
from clgkit.segmentation.cellpose_samples import annotate_slice
from clgkit.segmentation.cellpose_state import CellposeLayout, wanted_shapes
from clgkit.segmentation.network import segment_network
from clgkit.simulate.curriculum import Recipe, make_stack

Stack: TypeAlias = npt.NDArray[np.generic]

FOLDER = Path(__file__).parent
SHRUNK = 0.8  # diam_mean over the diameter that is said: enlarges by 1.25
LEARNT = 20  # slices that the network of the timings has seen
UNSEEN = (3, 7, 8, 9)  # 1 and 2 are learnt from; 4, 5 and 6 have chosen the recipe


class Sections(NamedTuple):
    """Slices of a simulated stack and their true sections."""

    images: Stack
    labels: npt.NDArray[np.uint32]


class PeerRun(NamedTuple):
    """What Cellpose 3 made of slices."""

    masks: npt.NDArray[np.integer]
    cpu_s: float
    version: str


@cache
def sections(size: Size, *, seed: int) -> Sections:
    """Return the slices of a stack of nuclei of 6 um in pixels of 0.5 um."""
    side, depth = (256, 24) if size == "full" else (48, 6)
    made = make_stack(Recipe(shape_px=(depth, side, side)), seed=seed)
    return Sections(made.image, made.labels)


class Trained(NamedTuple):
    """A network, and what it cost."""

    network: CellposeNetwork
    cpu_s: float


@cache
def trained(size: Size, *, n_slices: int, n_epochs: int) -> Trained:
    """Return a narrow network after so many epochs on so many slices."""
    from clgkit.segmentation.cellpose_training import (  # noqa: PLC0415  (torch is optional)
        CellposeTrainer,
        use_threads,
    )

    use_threads(1)
    start = time.process_time()
    parts = [sections(size, seed=seed) for seed in (1, 2)]
    pairs = [pair for part in parts for pair in zip(part.images, part.labels, strict=True)]
    slices = [annotate_slice(image, labels) for image, labels in pairs[:n_slices]]
    changes: dict[str, Any] = {"crops_per_epoch": 8, "crop_px": 48} if size == "toy" else {}
    recipe = recipe_like("fast", n_epochs=n_epochs if size == "full" else 1, **changes)
    trainer = CellposeTrainer([s for s in slices if s.n_masks], recipe=recipe)
    for _ in trainer.run():
        pass
    return Trained(trainer.network(), time.process_time() - start)


def narrow(size: Size) -> CellposeNetwork:
    """Return the network of the timings."""
    return trained(size, n_slices=LEARNT, n_epochs=20).network


def widened(network: CellposeNetwork, layout: CellposeLayout) -> CellposeNetwork:
    """Return a wider network that computes the same."""
    state: dict[str, npt.NDArray[Any]] = {}
    for name, shape in wanted_shapes(layout).items():
        small = network.state[name]
        fill = 1 if "running_var" in name else 0
        state[name] = np.full(shape, fill, small.dtype)
        state[name][tuple(slice(n) for n in small.shape)] = small
    return CellposeNetwork(state)


@cache
def full(size: Size) -> CellposeNetwork:
    """Return the network of the timings at Cellpose's widths."""
    return widened(narrow(size), CellposeLayout(FULL if size == "full" else (8, 16, 32, 65)))


def unseen_slice(size: Size) -> Stack:
    """Return a slice that was not learnt from."""
    plane: Stack = sections(size, seed=3).images[sections(size, seed=3).images.shape[0] // 2]
    return plane


def peer_python() -> Path | None:
    """Return the interpreter of Cellpose's environment, if there is one."""
    root = Path(os.environ.get("CLGKIT_PEERS", FOLDER.parent / ".venv-peers"))
    found = [root / "cellpose" / part for part in ("bin/python", "Scripts/python.exe")]
    return next((path for path in found if path.exists()), None)


def run_peer(network: CellposeNetwork, slices: Stack, *, diameter_px: float) -> PeerRun | None:
    """Segment slices with Cellpose 3; None if it is not installed or fails."""
    from clgkit.segmentation.cellpose_training import pack_weights  # noqa: PLC0415  (torch)

    python = peer_python()
    if python is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        weights, source, target = (Path(folder, name) for name in ("m.pth", "in.npz", "out.npz"))
        weights.write_bytes(pack_weights(network))
        np.savez(source, slices=slices, diameter_px=diameter_px)
        command = [str(python), str(FOLDER / "peers" / "segment.py"), weights, source, target]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"cellpose failed: {done.stderr.strip().splitlines()[-1:]}")
            return None
        with np.load(target) as out:
            cpu_s = statistics.median(out["cpu_s"].tolist())
            return PeerRun(out["masks"], cpu_s, str(out["version"]))


@cache
def peer(size: Size) -> PeerRun | None:
    """Return what Cellpose 3 makes of the test slice with the full network, three times."""
    if size == "toy":
        return None
    network = full(size)
    thrice = np.stack([unseen_slice(size)] * 3)
    return run_peer(network, thrice, diameter_px=network.diam_mean_px * SHRUNK)


def peer_name(run: PeerRun | None) -> str:
    """Return name and version, or that there is none."""
    return "cellpose (not installed)" if run is None else f"cellpose {run.version}"


def figure_full_slice(size: Size) -> Figure:
    """One slice through the network of Cellpose's size, enlarged by 1.25."""
    network, image = full(size), unseen_slice(size)
    options = options_like("cellpose3")
    diameter = network.diam_mean_px * SHRUNK
    run = peer(size)
    (ours,) = measure(
        lambda: segment_section(image, network, diameter_px=diameter, options=options)
    )
    theirs = None if run is None else run.cpu_s
    return Figure("full network, 256² slice", "CPU s", ours, peer_name(run), theirs)


def figure_default_network(size: Size) -> Figure:
    """Find the nuclei of a stack with the default network, beside Cellpose on a slice of it."""
    stack, run = sections(size, seed=3).images, peer(size)
    (ours,) = measure(lambda: segment_network(stack, voxel_um=(1.0, 0.5, 0.5), diameter_um=6.0))
    theirs = None if run is None else run.cpu_s
    name = "default network in 3-D, a 256² slice"
    return Figure(name, "CPU s", ours / len(stack), peer_name(run), theirs, target=20)


def figure_same_objects(size: Size) -> Figure:
    """Share of the objects of Cellpose 3 that ours are, pixel by pixel."""
    network, image = full(size), unseen_slice(size)
    diameter = network.diam_mean_px * SHRUNK
    run = peer(size)
    if run is None:
        name = "share of objects equal to cellpose (not installed)"
        return Figure(
            name, "share", math.nan if size == "full" else 0.0, target=0.995, better="higher"
        )
    found = segment_section(
        image, network, diameter_px=diameter, options=options_like("cellpose3")
    ).labels
    theirs = run.masks[0]
    same = [np.array_equal(theirs == k, found == k) for k in range(1, int(theirs.max()) + 1)]
    name = f"share of {len(same)} objects equal to cellpose {run.version}"
    return Figure(name, "share", float(np.mean(same)), target=0.995, better="higher")


def figure_narrow_slice(size: Size) -> Figure:
    """One slice through the narrow network, enlarged by 1.25."""
    network, image = narrow(size), unseen_slice(size)
    diameter = network.diam_mean_px * SHRUNK
    (ours,) = measure(lambda: segment_section(image, network, diameter_px=diameter))
    return Figure("narrow network, 256² slice", "CPU s", ours, target=7 / 16)


def figure_dynamics(size: Size) -> Figure:
    """Follow the flows of a slice full of nuclei."""
    labels = sections(size, seed=3).labels[2]
    flows = (5 * flows_of_masks(labels)).astype(np.float32)
    on = labels > 0
    (ours,) = measure(lambda: group_ends(follow_flows(flows, on, n_steps=200), on))
    return Figure("dynamics, 256²", "CPU s", ours, target=0.1)


def figure_masks(size: Size) -> Figure:
    """From maps to masks: dynamics, quality of flows, holes, sizes."""
    labels = sections(size, seed=3).labels[2]
    flows = 5 * flows_of_masks(labels)
    log_odds = np.where(labels > 0, 5.0, -5.0)
    maps = np.concatenate([flows, log_odds[np.newaxis]]).astype(np.float32)
    height, width = labels.shape
    scale = section_scale(narrow(size), narrow(size).diam_mean_px, labels.shape)
    (ours,) = measure(lambda: masks_of_maps(maps, (height, width), scale=scale))
    return Figure("maps to masks, 256²", "CPU s", ours, target=0.2)


@cache
def taught(size: Size) -> Trained:
    """Return the narrow network after the whole fast recipe on 48 slices."""
    return trained(size, n_slices=48, n_epochs=120)


def figure_training_ap(size: Size) -> Figure:
    """2-D AP at 0.5, pooled over slices of other stacks, the smallest sections included."""
    network, matched, others = taught(size).network, 0, 0
    for seed in UNSEEN:
        part = sections(size, seed=seed)
        for image, labels in zip(part.images[::4], part.labels[::4], strict=True):
            score = score_labels(labels, segment_section(image, network).labels, iou=0.5)
            matched += score.true_positives
            others += score.n_truth + score.n_predicted - 2 * score.true_positives
    name = "unseen slices, narrow, fast recipe"
    return Figure(name, "AP", matched / max(matched + others, 1), target=0.8, better="higher")


def figure_training_cost(size: Size) -> Figure:
    """CPU seconds of that training."""
    return Figure("training, narrow, fast recipe", "CPU s", taught(size).cpu_s, target=300)


def figure_training_chains(size: Size) -> Figure:
    """Join the sections it finds in a dense stack; the peer is Cellpose's own rule on the same."""
    from benchmarks.segmentation import dense  # noqa: PLC0415  (opens volumes)

    case, network = dense(size), taught(size).network
    truth = np.asarray(case.truth)
    found = np.stack([segment_section(plane, network).labels for plane in case.image])
    ours, theirs = (
        score_labels(truth, join(found)).ap for join in (stitch_chains, stitch_like_cellpose)
    )
    # Both conditions in one number: at least .90, and better than the other rule.
    name = f"its chains in a dense stack, all nuclei (Cellpose's rule {theirs:.3f})"
    value = ours if ours >= theirs else 0.0
    return Figure(name, "AP at 0.5", value, target=0.9, better="higher")
