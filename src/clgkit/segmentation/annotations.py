"""Annotated slices and volumes: ready to be learnt from, held out, and scored."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from clgkit.segmentation.network import NucleusNetwork, segment_network
from clgkit.segmentation.network_grid import CONTEXT, network_grid
from clgkit.segmentation.score import score_labels
from clgkit.segmentation.training_samples import LabelledStack, label_stack

__all__ = [
    "Annotation",
    "HeldOut",
    "PooledScore",
    "annotated_slices",
    "annotated_volume",
    "score_network",
    "section_diameter_um",
    "split_annotations",
]

UInt32: TypeAlias = npt.NDArray[np.uint32]
Triple: TypeAlias = tuple[float, float, float]

FEWEST_TO_SPLIT = 4
REACH = 2  # diameters: no label, and no brightness level, depends on what is further away
SHORTEST_PART = 2.5  # diameters: what is cut off a volume is at least as long


@dataclass(frozen=True)
class Annotation:
    """A volume that is labelled, or a slice of it that is."""

    name: str
    image: npt.NDArray[np.generic]
    """(Z, Y, X)"""
    labels: UInt32
    """(Z, Y, X), or (Y, X) of the one slice."""
    voxel_um: Triple
    diameter_um: Triple
    at: int | None = None
    """The slice that is labelled; None: all."""

    def learnt(self) -> LabelledStack:
        """Return it on the network's grid; of a slice only what the network sees around it."""
        size: dict[str, Any] = {"voxel_um": self.voxel_um, "diameter_um": self.diameter_um}
        if self.at is None:
            return label_stack(self.image, self.labels, **size)
        labels = np.zeros(self.image.shape, np.uint32)
        labels[self.at] = self.labels
        return _trimmed(label_stack(self.image, labels, slices=[self.at], **size))


class HeldOut(NamedTuple):
    """Annotations in two parts."""

    learnt: tuple[Annotation, ...]
    held_out: tuple[Annotation, ...]


class PooledScore(NamedTuple):
    """How well a network does on annotations, all objects together."""

    ap: float
    """TP / (TP + FP + FN) at half overlap; of slices in the plane, of volumes in space."""
    f1: float
    n_truth: int
    n_predicted: int


def annotated_volume(
    name: str,
    image: npt.NDArray[np.generic],
    labels: npt.NDArray[np.integer],
    *,
    voxel_um: Triple,
    diameter_um: Triple,
) -> Annotation:
    """Return a volume of which every slice is labelled."""
    return Annotation(name, image, labels.astype(np.uint32), voxel_um, diameter_um)


def annotated_slices(
    name: str,
    image: npt.NDArray[np.generic],
    planes: Mapping[int, npt.NDArray[np.integer]],
    *,
    voxel_um: Triple,
    diameter_um: Triple,
) -> list[Annotation]:
    """Return the labelled slices of a stack, each with as much of the stack as matters to it.

    Parameters
    ----------
    name
        Of the stack.
    image : (Z, Y, X)
        The stack, or a single slice.
    planes
        Slice → labels (Y, X).
    voxel_um, diameter_um
        (z, y, x).

    Notes
    -----
    A single slice has no neighbours; the network is shown the slice itself in their place.
    """
    if len(image) == 1:
        voxel_um = (diameter_um[0] / 6, *voxel_um[1:])
    grid = network_grid(
        (len(image), image.shape[1], image.shape[2]), voxel_um=voxel_um, diameter_um=diameter_um
    )
    reach = math.ceil(REACH * diameter_um[0] / voxel_um[0]) + grid.halo_slices
    made = []
    for z, labels in sorted(planes.items()):
        low, high = max(0, z - reach), min(len(image), z + reach + 1)
        label = name if len(image) == 1 else f"{name}, slice {z}"
        made.append(
            Annotation(
                label, image[low:high], labels.astype(np.uint32), voxel_um, diameter_um, z - low
            )
        )
    return made


def split_annotations(
    annotations: Sequence[Annotation], *, share: float = 0.2, seed: int = 0
) -> HeldOut:
    """Hold some annotations out.

    Parameters
    ----------
    annotations
        Slices, volumes or both.
    share
        Share of them that is held out; 0: none.
    seed
        Chooses them.

    Notes
    -----
    At least one of four, and never all.  Of fewer, the largest volume is cut along its longer
    lateral axis, with half a diameter between the two parts; without a volume that is long enough
    none is held out.

    Raises
    ------
    ValueError
        If the share is not in 0 to 0.9.
    """
    if not 0 <= share <= 0.9:
        raise ValueError(f"the held-out share lies in 0 to 0.9; found {share:g}")
    n = len(annotations)
    if share == 0:
        return HeldOut(tuple(annotations), ())
    if n < FEWEST_TO_SPLIT:
        return _cut_largest(annotations, share)
    n_held = min(max(1, round(share * n)), n - 1)
    held = set(np.random.default_rng([seed, n]).permutation(n)[:n_held].tolist())
    return HeldOut(
        tuple(a for k, a in enumerate(annotations) if k not in held),
        tuple(a for k, a in enumerate(annotations) if k in held),
    )


def _cut_largest(annotations: Sequence[Annotation], share: float) -> HeldOut:
    volumes = [k for k, a in enumerate(annotations) if a.at is None]
    if not volumes:
        return HeldOut(tuple(annotations), ())
    chosen = max(volumes, key=lambda k: annotations[k].image.size)
    whole = annotations[chosen]
    axis = 1 if whole.image.shape[1] >= whole.image.shape[2] else 2
    length = whole.image.shape[axis]
    diameter = whole.diameter_um[axis] / whole.voxel_um[axis]
    held = max(round(share * length), math.ceil(SHORTEST_PART * diameter))
    gap = math.ceil(diameter / 2)
    if length - held - gap < SHORTEST_PART * diameter:
        return HeldOut(tuple(annotations), ())

    def part(start: int, stop: int) -> Annotation:
        box = [slice(None)] * 3
        box[axis] = slice(start, stop)
        image, labels = whole.image[tuple(box)], whole.labels[tuple(box)]
        return replace(whole, name=f"{whole.name}, a part", image=image, labels=labels)

    rest = [a for k, a in enumerate(annotations) if k != chosen]
    return HeldOut((*rest, part(0, length - held - gap)), (part(length - held, length),))


def score_network(network: NucleusNetwork, annotations: Sequence[Annotation]) -> PooledScore:
    """Return how well a network finds what is annotated."""
    hits = n_truth = n_predicted = 0
    for one in annotations:
        found = segment_network(
            one.image, voxel_um=one.voxel_um, diameter_um=one.diameter_um, network=network
        ).labels
        seen = found if one.at is None else found[one.at]
        score = score_labels(one.labels, seen)
        hits += score.true_positives
        n_truth += score.n_truth
        n_predicted += score.n_predicted
    total = n_truth + n_predicted
    if total == 0:
        return PooledScore(1.0, 1.0, 0, 0)
    return PooledScore(hits / (total - hits), 2 * hits / total, n_truth, n_predicted)


def section_diameter_um(annotations: Sequence[Annotation]) -> float:
    """Return the lateral diameter of the typical section that is labelled; NaN without any."""
    areas: list[float] = []
    for one in annotations:
        pixel = one.voxel_um[1] * one.voxel_um[2]
        for plane in one.labels.reshape(-1, *one.labels.shape[-2:]):
            counts = np.unique(plane[plane > 0], return_counts=True)[1]
            areas += (counts * pixel).tolist()
    return 2 * math.sqrt(float(np.median(areas)) / math.pi) if areas else math.nan


def _trimmed(stack: LabelledStack) -> LabelledStack:
    """Return a stack with one labelled slice without those that the network does not see."""
    node = int(stack.nodes[0])
    low, high = max(0, node - CONTEXT), min(len(stack.local), node + CONTEXT + 1)
    return LabelledStack(
        stack.local[low:high],
        stack.whole[low:high],
        stack.foreground[low:high],
        stack.distance[low:high],
        stack.nodes - low,
        solid=False,
    )
