"""Stitching and scoring of a whole fish, streamed slice by slice; the accuracy of chains.

The peer of stitching is Cellpose's ``stitch3D``, in an environment of its own.  It makes a dense
overlap matrix of every pair of slices, sections by ids so far, so its cost grows with the highest
id.  It is run on two pairs, a quarter and three quarters of a fish deep, and scaled: for a cost
that grows evenly their mean is that of all pairs.  The matrices of the second pair take 3.3 GB.
Without Cellpose its matrix is written here from its description, and the row says so.
"""

import time
from collections.abc import Iterator
from functools import cache, partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit

from benchmarks._peers import ask
from benchmarks.harness import Figure, Size, measure, peak_mb
from clgkit.segmentation.overlap import overlap_table
from clgkit.segmentation.score import Score, score_labels
from clgkit.segmentation.stitch import (
    SectionTable,
    find_chains,
    stitch_chains,
    stitch_like_cellpose,
)
from clgkit.simulate.packing import pack_spheres

Float64: TypeAlias = npt.NDArray[np.float64]
UInt32: TypeAlias = npt.NDArray[np.uint32]

BLOCK = 8  # slices looked up at once
VOXEL_UM = np.array([1.0, 0.5, 0.5])
DEEP = (0.25, 0.75)  # where the pairs of slices lie that the peer is timed on
REWRITTEN = "stitch3D's dense matrix, rewritten (no Cellpose)"


class Fish(NamedTuple):
    """Ellipsoids on a jittered grid; a slice is drawn when it is asked for."""

    shape: tuple[int, int, int]
    centers: Float64
    radii: Float64

    @classmethod
    def of(cls, size: Size) -> "Fish":
        """Return a fish of 67,600 nuclei in 301 x 1024 x 1024 voxels, or a small one."""
        if size == "toy":
            return cls.on((2, 3, 3), (20, 48, 48))
        return cls.on((25, 52, 52), (301, 1024, 1024))

    @classmethod
    def on(cls, grid: tuple[int, int, int], shape: tuple[int, int, int]) -> "Fish":
        """Return a fish with a nucleus at every place of a grid (z, y, x)."""
        rng = np.random.default_rng(0)
        pitch = np.array(shape) / grid
        places = np.moveaxis(np.indices(grid), 0, -1).reshape(-1, 3) + 0.5
        # Columns of nuclei are moved along z, so that all slices hold equally many sections.
        phase = np.tile(rng.uniform(-0.5, 0.5, grid[1] * grid[2]), grid[0])
        places[:, 0] += phase
        centers = places * pitch + rng.uniform(-1.5, 1.5, places.shape)
        radii = pitch * rng.uniform(0.38, 0.46, places.shape)
        return cls(shape, centers, radii)

    def nuclei(self, z: int) -> UInt32:
        """Return a slice with the true ids."""
        return np.asarray(_draw(z, self.shape[1:], self.centers, self.radii))

    def sections(self, z: int) -> UInt32:
        """Return a slice whose ids begin with 1 again, as of a network that knows slices only."""
        nuclei = self.nuclei(z)
        present = np.zeros(len(self.centers) + 1, np.uint32)
        present[nuclei] = 1
        present[0] = 0
        return (np.cumsum(present, dtype=np.uint32) * present)[nuclei]


class Streamed(NamedTuple):
    """CPU seconds and quality of a stack that went through slice by slice."""

    stitching_s: float
    scoring_s: float
    score: Score


@njit(cache=True, nogil=True)
def _draw(z: int, shape: tuple[int, int], centers: Float64, radii: Float64) -> UInt32:
    labels = np.zeros(shape, np.uint32)
    for k in range(len(centers)):
        rest = 1 - ((z - centers[k, 0]) / radii[k, 0]) ** 2
        if rest <= 0:
            continue
        y, x, half_y, half_x = centers[k, 1], centers[k, 2], radii[k, 1], radii[k, 2]
        for i in range(max(int(y - half_y), 0), min(int(y + half_y) + 2, shape[0])):
            for j in range(max(int(x - half_x), 0), min(int(x + half_x) + 2, shape[1])):
                if ((i - y) / half_y) ** 2 + ((j - x) / half_x) ** 2 <= rest:
                    labels[i, j] = k + 1
    return labels


def labelled_blocks(fish: Fish, spent: list[float]) -> Iterator[tuple[int, UInt32]]:
    """Yield the stitched slices in blocks; add the CPU seconds of stitching to `spent`."""
    table, n = SectionTable(), fish.shape[0]
    for z in range(n):
        sections = fish.sections(z)
        start = time.process_time()
        table.add(sections)
        spent.append(time.process_time() - start)
    start = time.process_time()
    chains = find_chains(table)
    spent.append(time.process_time() - start)
    for first in range(0, n, BLOCK):
        block = np.stack([fish.sections(z) for z in range(first, min(first + BLOCK, n))])
        before = fish.sections(first - 1) if first else None
        after = fish.sections(first + BLOCK) if first + BLOCK < n else None
        start = time.process_time()
        labels = chains.label_block(block, first=first, before=before, after=after)
        spent.append(time.process_time() - start)
        yield first, labels


def stitch_only(size: Size) -> None:
    """Stream a fish through the stitching."""
    for _ in labelled_blocks(Fish.of(size), []):
        pass


def score_only(size: Size) -> None:
    """Stream a fish through the scoring, with a prediction that is one pixel off."""
    _score(Fish.of(size))


def _score(fish: Fish) -> tuple[Score, float]:
    drawn = [0.0]

    def pairs() -> Iterator[tuple[UInt32, UInt32]]:
        for z in range(fish.shape[0]):
            start = time.process_time()
            truth = fish.nuclei(z)
            moved = np.roll(truth, 1, axis=1)
            drawn[0] += time.process_time() - start
            yield truth, moved

    start = time.process_time()
    score = score_labels(overlap_table(pairs()))
    return score, time.process_time() - start - drawn[0]


@cache
def streamed(size: Size) -> Streamed:
    """Stitch and score a fish once for all figures; kernels are compiled before."""
    if size == "full":
        streamed("toy")
    fish, spent = Fish.of(size), list[float]()
    blocks = labelled_blocks(fish, spent)
    pairs = ((fish.nuclei(z + k), x) for z, block in blocks for k, x in enumerate(block))
    stitched = score_labels(overlap_table(pairs))
    return Streamed(sum(spent), _score(fish)[1], stitched)


def stitch_dense(earlier: UInt32, later: UInt32, highest: int) -> npt.NDArray[np.int64]:
    """Return the ids that sections inherit, from a matrix of all sections by all ids so far."""
    n = int(later.max())
    pair = later.ravel().astype(np.int64) * (highest + 1) + earlier.ravel()
    overlap = np.bincount(pair, minlength=(n + 1) * (highest + 1)).reshape(n + 1, highest + 1)
    areas, areas_later = overlap.sum(axis=0, keepdims=True), overlap.sum(axis=1, keepdims=True)
    iou = (overlap / np.maximum(areas + areas_later - overlap, 1))[1:, 1:]
    iou[iou < 0.25] = 0.0
    iou[iou < iou.max(axis=0)] = 0.0
    return np.where(iou.max(axis=1) > 0, iou.argmax(axis=1) + 1, 0)


class Peer(NamedTuple):
    """What joins sections as Cellpose does, and the CPU seconds of a whole fish."""

    name: str
    cpu_s: float


def slice_pairs(size: Size) -> list[UInt32]:
    """Return two pairs of slices (2, Y, X): ids of a whole fish, then sections with their own."""
    fish = Fish.of(size)
    at = [int(share * fish.shape[0]) for share in DEEP]
    return [np.stack([fish.nuclei(z), fish.sections(z + 1)]) for z in at]


def dense_cpu_s(size: Size) -> float:
    """Return the CPU seconds of two pairs with dense matrices, in the mean."""
    calls = [
        partial(stitch_dense, pair[0], pair[1], int(pair[0].max())) for pair in slice_pairs(size)
    ]
    return sum(measure(*calls, repeat=3 if size == "full" else 1)) / len(calls)


def peer(size: Size) -> Peer:
    """Return Cellpose's cost of a fish; at toy size that of the matrix alone."""
    n_pairs = Fish.of(size).shape[0] - 1
    stacks = {f"stack_{k}": pair for k, pair in enumerate(slice_pairs(size))}
    given = {**stacks, "repeat": np.array(3)}
    answer = ask("cellpose", "stitch.py", given=given) if size == "full" else None
    if answer is None:
        return Peer(REWRITTEN, n_pairs * dense_cpu_s(size))
    cpu_s = float(np.median(answer["cpu_s"], axis=1).mean())
    return Peer(f"stitch3D of cellpose {answer['version']}, 2 pairs scaled", n_pairs * cpu_s)


class Joined(NamedTuple):
    """AP of the same sections joined by two rules."""

    chains: float
    parity: float
    """By Cellpose's own rule at an overlap of 0.25."""
    chains_uncut: float
    """Of nuclei that no face of the stack cuts."""


@cache
def joined_sections(size: Size) -> Joined:
    """Return what a Cellpose network's sections of the dense stack become.

    At toy size no network is trained; true sections, one in twenty lost, take the place.
    """
    if size == "toy":
        truth: npt.NDArray[Any] = packed("toy")
        lost = lose_sections(packed("toy"), 0.05)
        made = (stitch_chains(lost), stitch_like_cellpose(lost))
    else:
        from benchmarks._sections import by_sections  # noqa: PLC0415  (torch is optional)
        from benchmarks.segmentation import dense  # noqa: PLC0415  (opens volumes)

        case = dense("full")
        truth = np.asarray(case.truth)
        made = by_sections(case.image, voxel_um=case.voxel_um, diameter_um=case.diameter_um)
    chains, parity = (score_labels(truth, labels).ap for labels in made)
    return Joined(chains, parity, score_labels(truth, made[0], border="ignore").ap)


@cache
def packed(size: Size) -> UInt32:
    """Return 48 x 256 x 256 voxels of 3,050 nuclei of 6 um that fill 40 %."""
    shape, n = ((48, 256, 256), 3050) if size == "full" else ((24, 64, 64), 90)
    rng = np.random.default_rng(0)
    extent = np.array(shape) * VOXEL_UM
    radii = 2.92 * rng.uniform(0.9, 1.1, n)
    cells = np.ones(tuple((extent / 2).astype(int)), np.bool_)
    made = pack_spheres(radii, allowed=cells, cell=(2.0, 2.0, 2.0), rng=rng)
    labels = np.zeros(shape, np.uint32)
    for k, (center, radius) in enumerate(zip(made.centers, radii * made.scale, strict=True)):
        low = np.maximum((center - radius) / VOXEL_UM, 0).astype(int)
        high = np.minimum((center + radius) / VOXEL_UM + 2, shape).astype(int)
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        axes: Any = zip(np.ogrid[box], VOXEL_UM, center, strict=True)
        distance = sum(((index + 0.5) * step - c) ** 2 for index, step, c in axes)
        labels[box][distance <= radius**2] = k + 1
    return labels


def lose_sections(labels: UInt32, share: float) -> UInt32:
    """Return the stack without some sections, drawn by chance."""
    rng = np.random.default_rng(1)
    kept = labels.copy()
    for plane in kept:
        ids = np.unique(plane)
        plane[np.isin(plane, ids[rng.random(ids.size) < share])] = 0
    return kept


def _accuracy(size: Size, share: float, target: float) -> Figure:
    truth = packed(size)
    ap = score_labels(truth, stitch_chains(lose_sections(truth, share))).ap
    name = f"chains of true sections, {share:.0%} lost"
    return Figure(name, "AP at 0.5", ap, target=target, better="higher")


def figure_chains(size: Size) -> Figure:
    """Stitch the true sections of a densely packed stack."""
    return _accuracy(size, 0.0, 1.0)


def figure_chains_lost_5(size: Size) -> Figure:
    """Do the same with one section in twenty lost."""
    return _accuracy(size, 0.05, 0.976)


def figure_chains_lost_10(size: Size) -> Figure:
    """Do the same with one section in ten lost."""
    return _accuracy(size, 0.1, 0.911)


def figure_stitch(size: Size) -> Figure:
    """CPU time of both passes and the table work, without drawing the slices."""
    return Figure("stitch 67,600 nuclei", "CPU s", streamed(size).stitching_s, target=20)


def figure_stitch_quality(size: Size) -> Figure:
    """Compare the stitched fish with the one that was drawn."""
    ap = streamed(size).score.ap
    return Figure("stitch 67,600 nuclei", "AP at 0.5", ap, target=0.999, better="higher")


def figure_stitch_memory(size: Size) -> Figure:
    """Peak memory of a process that stitches a fish, slice by slice."""
    return Figure("stitch, peak memory", "MB", peak_mb(partial(stitch_only, size)), target=500)


def figure_stitch_beside_dense(size: Size) -> Figure:
    """Time the whole fish beside the dense overlap matrices of stitch3D, scaled from two pairs."""
    ours, theirs = streamed(size).stitching_s, peer(size)
    return Figure("stitch", "CPU s", ours, theirs.name, theirs.cpu_s, target=60)


def figure_cellpose_sections(size: Size) -> Figure:
    """Join the sections that a Cellpose network finds in a dense stack."""
    ap = joined_sections(size).chains
    name = "chains of a Cellpose network, all nuclei"
    return Figure(name, "AP at 0.5", ap, target=0.9, better="higher")


def figure_cellpose_sections_uncut(size: Size) -> Figure:
    """Look at the nuclei that no face of the stack cuts."""
    ap = joined_sections(size).chains_uncut
    name = "the same, nuclei that no face cuts"
    return Figure(name, "AP at 0.5", ap, target=0.9, better="higher")


def figure_cellpose_sections_beside(size: Size) -> Figure:
    """Join the same sections by Cellpose's own rule."""
    ours, theirs, _ = joined_sections(size)
    name, rule = "all nuclei, by two rules", "Cellpose's rule, threshold 0.25"
    return Figure(name, "AP at 0.5", ours, rule, theirs, better="higher")


def figure_score(size: Size) -> Figure:
    """CPU time of the overlap table and all scores of a fish."""
    return Figure("score 67,600 nuclei", "CPU s", streamed(size).scoring_s, target=60)


def figure_score_memory(size: Size) -> Figure:
    """Peak memory of a process that scores a fish, slice by slice."""
    return Figure("score, peak memory", "MB", peak_mb(partial(score_only, size)), target=1000)
