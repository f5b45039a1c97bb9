"""Scores beside those of Cellpose and StarDist, on label pairs drawn by chance.

Both programs run in environments of their own.  Definitions are matched: Cellpose counts ids up
to the highest one as objects, so all labels are without gaps, and no array is empty.
"""

import math
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from benchmarks._peers import Answer, ask
from benchmarks.harness import Figure, Size
from clgkit.segmentation import score_labels
from clgkit.segmentation.tidy import relabel

Labels: TypeAlias = npt.NDArray[np.uint32]
Float64: TypeAlias = npt.NDArray[np.float64]

N_PAIRS = 20
OVERLAPS = {"cellpose": (0.5, 0.75, 0.9), "stardist": (0.3, 0.5, 0.75, 0.9)}
"""Smallest IoU of a match; 0.3 needs an assignment."""
COUNTED = {"ap", "precision", "recall", "f1"}
EQUAL = 1e-6  # both round to float32 somewhere


class Pairs(NamedTuple):
    """Label arrays and what a method might have made of them."""

    truth: Labels
    """(pairs, Z, Y, X)"""
    predicted: Labels


def one_pair(seed: int) -> tuple[Labels, Labels]:
    """Return touching objects, and the same ones moved, merged, cut, lost and grown."""
    rng = np.random.default_rng(seed)
    shape = (6, 40, 44)
    points = rng.uniform(0, shape, (int(rng.integers(8, 40)), 3)) * (4, 1, 1)
    places = np.moveaxis(np.indices(shape), 0, -1) * (4, 1, 1)
    nearest = ((places[..., None, :] - points) ** 2).sum(-1).argmin(-1) + 1
    solid = ndimage.gaussian_filter(rng.random(shape), (1, 2, 2)) < rng.uniform(0.48, 0.52)
    truth = np.where(solid, nearest, 0)
    other = np.roll(truth, rng.integers(-1, 2, 2), (1, 2))
    new = np.arange(len(points) + 1)
    joined = rng.random(new.size) < rng.uniform(0.0, 0.3)
    new[1:][joined[1:]] = rng.integers(0, new.size, int(joined[1:].sum()))
    other = new[other]
    cut = np.isin(other, rng.choice(new, 4)) & (other > 0)
    cut[:, : shape[1] // 2] = False
    other = other + new.size * cut
    noise = rng.random(shape) < rng.choice((0.0, 0.02, 0.1))
    other[noise] = np.where(rng.random(int(noise.sum())) < 0.5, 0, nearest[noise])
    return relabel(truth.astype(np.uint32))[0], relabel(other.astype(np.uint32))[0]


@cache
def pairs(size: Size) -> Pairs:
    """Return all pairs; two at toy size."""
    made = [one_pair(seed) for seed in range(N_PAIRS if size == "full" else 2)]
    return Pairs(*(np.stack(part) for part in zip(*made, strict=True)))


def our_scores(made: Pairs, names: list[str], overlaps: tuple[float, ...]) -> Float64:
    """Return our scores of these names, (pairs, overlaps, names)."""
    scores = [
        [score_labels(truth, predicted, iou=iou) for iou in overlaps]
        for truth, predicted in zip(*made, strict=True)
    ]
    return np.array([[[getattr(s, name) for name in names] for s in row] for row in scores])


def asked(program: str, made: Pairs) -> Answer | None:
    """Return what another program says of the pairs."""
    given: dict[str, npt.NDArray[Any]] = {
        "truth": made.truth.astype(np.int32),
        "predicted": made.predicted.astype(np.int32),
        "iou": np.array(OVERLAPS[program]),
    }
    return ask(program, "score.py", program, given=given)


def _difference(program: str, size: Size) -> Figure:
    made = pairs(size)
    answer = asked(program, made) if size == "full" else None
    if answer is None:
        largest = math.nan if size == "full" else float(np.ptp(our_scores(made, ["ap"], (0.5,))))
        return Figure(f"scores beside {program} (not installed)", "1", largest, target=EQUAL)
    names = answer["names"].tolist()
    apart = np.abs(our_scores(made, names, OVERLAPS[program]) - answer["scores"])
    ambiguous = np.array(OVERLAPS[program])[:, np.newaxis] < 0.5
    apart[:, ambiguous & np.array([name not in COUNTED for name in names])] = 0.0
    label = (
        f"largest difference from {program} {answer['version']} "
        f"({', '.join(names)}; {len(made.truth)} pairs at {len(OVERLAPS[program])} overlaps)"
    )
    return Figure(label, "1", float(apart.max()), target=EQUAL)


def figure_cellpose(size: Size) -> Figure:
    """AP at 0.5, 0.75 and 0.9 beside ``cellpose.metrics.average_precision``."""
    return _difference("cellpose", size)


def figure_stardist(size: Size) -> Figure:
    """AP, precision, recall, F1, panoptic quality and matched IoU beside ``stardist.matching``."""
    return _difference("stardist", size)
