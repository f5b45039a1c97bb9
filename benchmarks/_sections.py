"""A Cellpose network of the slices of our curriculum, and what it makes of stacks.

It sees slices of the very stacks that the shipped network learnt from, is told the diameter as
the shipped network is, and its sections are joined by our chains or by Cellpose's own rule.
It stands for Cellpose's method, so all pixels count alike in its loss, as they do there.
Training takes four minutes of a processor, once; the weights stay in ``benchmarks/results``.
"""

from functools import cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from benchmarks.harness import RESULTS
from clgkit.io.cellpose import read_cellpose_weights, write_cellpose_weights
from clgkit.segmentation import stitch_chains, stitch_like_cellpose
from clgkit.segmentation.cellpose import segment_section
from clgkit.segmentation.cellpose_network import CellposeNetwork
from clgkit.segmentation.cellpose_recipe import recipe_like
from clgkit.segmentation.cellpose_samples import AnnotatedSlice, annotate_slice
from clgkit.simulate.curriculum import draw_recipe, make_stack

UInt32: TypeAlias = npt.NDArray[np.uint32]

SEED = 20  # of models/nuclei/train.py
N_STACKS = 90
FEWEST = 5  # masks of a slice
WEIGHTS = RESULTS / "narrow-cellpose.pth"
SECTION_SHARE = 0.75
"""Mean diameter of the typical section over that of nuclei, in the slices it learnt from."""


class Sections(NamedTuple):
    """Nuclei from sections."""

    chains: UInt32
    """(Z, Y, X): joined by chains that are cut at waists."""
    parity: UInt32
    """(Z, Y, X): joined by Cellpose's rule at an overlap of 0.25."""


def curriculum_slices() -> tuple[list[AnnotatedSlice], float]:
    """Return a slice of each stack that has nuclei, and the share of a section's diameter."""
    made, shares = [], []
    for number in range(N_STACKS):
        recipe = draw_recipe(seed=SEED, number=number)
        stack = make_stack(recipe, seed=SEED, number=number)
        z = len(stack.image) // 2
        one = annotate_slice(stack.image[z], stack.labels[z])
        if one.n_masks >= FEWEST:
            made.append(one)
            shares.append(one.diameter_px * recipe.voxel_um[1] / recipe.diameter_um[1])
    return made, float(np.mean(shares))


def train() -> None:
    """Train the network and keep its weights."""
    from clgkit.segmentation.cellpose_training import (  # noqa: PLC0415  (torch is optional)
        CellposeTrainer,
        pack_weights,
        use_threads,
    )

    use_threads(1)
    slices, share = curriculum_slices()
    trainer = CellposeTrainer(slices, recipe=recipe_like("fast", most_weight=1.0))
    for progress in trainer.run():
        if progress.epoch % 20 == 0:
            print(f"epoch {progress.epoch}: loss {progress.loss:.3f}", flush=True)
    RESULTS.mkdir(exist_ok=True)
    notes = {"slices": len(slices), "section_share": share}
    write_cellpose_weights(WEIGHTS, pack_weights(trainer.network()), notes=notes)


@cache
def network() -> CellposeNetwork:
    """Return the network; trained now unless it has been."""
    if not WEIGHTS.exists():
        train()
    return CellposeNetwork(read_cellpose_weights(WEIGHTS).state)


def by_sections(
    image: npt.NDArray[Any], *, voxel_um: tuple[float, ...], diameter_um: tuple[float, ...]
) -> Sections:
    """Return what the network makes of a stack."""
    diameter_px = SECTION_SHARE * diameter_um[1] / voxel_um[1]
    planes = np.stack(
        [segment_section(plane, network(), diameter_px=diameter_px).labels for plane in image]
    )
    return Sections(stitch_chains(planes), stitch_like_cellpose(planes))


if __name__ == "__main__":
    train()
