"""Sections of slices become nuclei: links to the neighbours, bridges over gaps, cuts at waists.

Two passes over the slices.  The first fills a :class:`SectionTable`, which holds numbers only;
:func:`find_chains` works on it; the second pass looks the ids of every slice up::

    table = SectionTable()
    for sections in slices:
        table.add(sections)
    chains = find_chains(table)
    labels = chains.label_block(block, first=8, before=slice_7, after=slice_12)
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit

from clgkit.segmentation.chains_cut import cut_chains
from clgkit.segmentation.overlap import as_ids, pair_counts

__all__ = ["ChainRule", "Chains", "SectionTable", "find_chains"]

Float64: TypeAlias = npt.NDArray[np.float64]
Int64: TypeAlias = npt.NDArray[np.int64]
UInt32: TypeAlias = npt.NDArray[np.uint32]
Labels: TypeAlias = npt.NDArray[np.integer[Any]]

OWN, NEIGHBOUR = 0.7, 0.15  # weights of a section's area and of those beside it
LOOKED_UP = 1 << 22  # ids up to here have a table; higher ones are sorted first


class ChainRule(NamedTuple):
    """Numbers of the rule; lengths are in sections, relative to the usual length of a nucleus."""

    min_iou: float = 0.25
    """Least overlap of sections in neighbouring slices that belong together."""
    bridge_iou: float = 0.3
    """Least overlap of sections on both sides of a missing one; above 1 nothing is bridged."""
    bridge_area: float = 0.3
    """Sections smaller than this share of the median area are not bridged."""
    waist: float = 0.9
    """A chain is cut where its area falls below this share of the maxima on both sides."""
    waist_of_long: float = 0.97
    """The same in chains that are long."""
    long: float = 1.4
    """From so many usual lengths on a chain is long."""
    too_long: float = 1.8
    """Beyond so many usual lengths a chain is cut without any waist."""
    min_volume: float = 0.12
    """Nuclei smaller than this share of the median volume are dropped."""


class Sections(NamedTuple):
    """One slice, its sections numbered 1, 2, ... in the order of their first pixels."""

    numbers: UInt32
    """(Y, X)"""
    areas: Int64
    """(n,)"""


class Overlaps(NamedTuple):
    """Sections of two slices that cover common pixels."""

    first: Int64
    second: Int64
    pixels: Int64


class SectionTable:
    """Areas and overlaps of all sections of a stack; slices are added one by one.

    A section is what bears one id in one slice.  Which id that is does not matter, nor whether
    other slices use it.  Three slices are held at a time.
    """

    def __init__(self) -> None:
        self._areas: list[Int64] = []
        self._overlaps: dict[int, list[Overlaps]] = {1: [], 2: []}
        self._recent: list[UInt32] = []
        self.starts = [0]

    def add(self, sections: Labels) -> None:
        """Take note of the next slice.

        Parameters
        ----------
        sections : (Y, X)
            0 is background.  Empty slices are legal.

        Raises
        ------
        TypeError
            If they are not whole numbers.
        ValueError
            If the slice is not two-dimensional or of another shape than the ones before, or an id
            is negative or above 2**32 - 1.
        """
        if self._recent and sections.shape != self._recent[-1].shape:
            raise ValueError(
                f"all slices have the shape of the first, {self._recent[-1].shape}; slice "
                f"{self.n_slices} has {sections.shape}"
            )
        numbers, areas = number_sections(sections)
        for gap, earlier in enumerate(reversed(self._recent), start=1):
            first, second, pixels = pair_counts(earlier, numbers)
            first += self.starts[-1 - gap] - 1
            second += self.starts[-1] - 1
            self._overlaps[gap].append(Overlaps(first, second, pixels))
        self._areas.append(areas)
        self._recent = [*self._recent, numbers][-2:]
        self.starts.append(self.starts[-1] + areas.size)

    @property
    def n_slices(self) -> int:
        """How many slices were added."""
        return len(self._areas)

    @property
    def areas(self) -> Int64:
        """(n_sections,) pixels of each section, slice after slice."""
        return np.concatenate([np.empty(0, np.int64), *self._areas])

    @property
    def slice_of(self) -> Int64:
        """(n_sections,) the slice of each section."""
        return np.repeat(np.arange(self.n_slices), np.diff(self.starts))

    def overlaps(self, gap: int) -> Overlaps:
        """Return the overlaps of sections one or two slices apart, by number of section."""
        nothing = np.empty(0, np.int64)
        parts = [Overlaps(nothing, nothing, nothing), *self._overlaps[gap]]
        return Overlaps(*(np.concatenate(column) for column in zip(*parts, strict=True)))


@dataclass(frozen=True)
class Chains:
    """The nucleus of every section of a stack.

    Parameters
    ----------
    starts : (n_slices + 1,)
        Number of the first section of each slice.
    ids : (n_sections,) uint32
        0 for sections that were dropped.
    bridges : (n_bridges, 4)
        Slice of the missing section, section before it, section after it, id.
    usual_length
        Median number of sections of a nucleus; 1 if no two sections belong together.
    """

    starts: Int64
    ids: UInt32
    bridges: Int64
    usual_length: float

    @property
    def n_labels(self) -> int:
        """How many nuclei there are; their ids are 1 to this number."""
        return int(self.ids.max(initial=0))

    def label_block(
        self,
        block: Labels,
        *,
        first: int = 0,
        before: Labels | None = None,
        after: Labels | None = None,
    ) -> UInt32:
        """Return the nuclei of some slices in a row.

        Parameters
        ----------
        block : (n, Y, X)
            The slices as they were added to the table.
        first
            Number of the first of them.
        before, after : (Y, X)
            The slices around the block; None where the stack ends.

        Returns
        -------
        (n, Y, X) uint32

        Raises
        ------
        ValueError
            If the slices are not those that were added, or one that a bridge needs is missing.
        """
        labels = np.zeros(block.shape, np.uint32)
        near: list[Sections | None] = [
            None if before is None else self._numbered(before, first - 1),
            None if len(block) == 0 else self._numbered(block[0], first),
        ]
        for k in range(len(block)):
            z = first + k
            following = block[k + 1] if k + 1 < len(block) else after
            near.append(None if following is None else self._numbered(following, z + 1))
            earlier, own, later = near[k : k + 3]
            if own is not None:
                ids = np.append(np.uint32(0), self.ids[self.starts[z] : self.starts[z + 1]])
                labels[k] = ids[own.numbers]
            self._bridge(labels[k], z, earlier, later)
            near[k] = None
        return labels

    def _numbered(self, sections: Labels, z: int) -> Sections:
        numbered = number_sections(sections)
        wanted = self.starts[z + 1] - self.starts[z] if 0 <= z < self.starts.size - 1 else 0
        if numbered.areas.size != wanted:
            raise ValueError(
                f"slice {z} has {numbered.areas.size} sections but had {wanted} when it was added; "
                "give the same slices in the second pass"
            )
        return numbered

    def _bridge(
        self, labels: UInt32, z: int, earlier: Sections | None, later: Sections | None
    ) -> None:
        """Fill missing sections with what their neighbours have in common, on background."""
        low, high = np.searchsorted(self.bridges[:, 0], [z, z + 1])
        if low == high:
            return
        if earlier is None or later is None:
            raise ValueError(
                f"slice {z} has bridged sections, which need the slices before and after it"
            )
        _, first, second, ids = self.bridges[low:high].T
        partner = np.zeros(earlier.areas.size + 1, np.uint32)
        nucleus = np.zeros(earlier.areas.size + 1, np.uint32)
        own = first - self.starts[z - 1] + 1
        partner[own] = second - self.starts[z + 1] + 1
        nucleus[own] = ids
        wanted = partner[earlier.numbers]
        where = (wanted > 0) & (wanted == later.numbers) & (labels == 0)
        labels[where] = nucleus[earlier.numbers[where]]


def find_chains(table: SectionTable, rule: ChainRule = ChainRule()) -> Chains:  # noqa: B008  (immutable)
    """Return which sections are one nucleus.

    Parameters
    ----------
    table
        All slices of the stack.
    rule
        Numbers of the rule.

    Returns
    -------
    Chains
        Ids 1, 2, ... by first slice, then by the first pixel of the first section.

    Notes
    -----
    Sections of neighbouring slices are linked if each is the other's best (ties: the one whose
    first pixel comes first).  Chains of links whose ends match over one missing slice are bridged,
    unless that makes them long.  A chain is cut where its area has a waist: stacked nuclei touch,
    and the smallest section between them joins the larger neighbour.  Areas are smoothed along
    the chain, by 0.15 of each neighbour.  Every part keeps at least two sections.
    """
    areas = table.areas.astype(np.float64)
    slice_of = table.slice_of
    links = _mutual_best(table.overlaps(1), areas, min_iou=rule.min_iou)
    chain = _chains_of(areas.size, links)
    part = cut_chains(areas, chain, slice_of, waist=rule.waist)
    usual = _usual_length(part)
    bridged = _bridges(table.overlaps(2), areas, (chain, part), rule=rule, usual=usual)
    # A bridge is one more section of the chain, as large as what its neighbours have in common.
    chain = _chains_of(areas.size, Overlaps(*map(np.append, links, bridged)))
    areas = np.append(areas, bridged.pixels)
    chain = np.append(chain, chain[bridged.first])
    slice_of = np.append(slice_of, slice_of[bridged.first] + 1)
    part = cut_chains(
        _smoothed(areas, chain, slice_of),
        chain,
        slice_of,
        waist=rule.waist,
        waist_of_long=rule.waist_of_long,
        lengths=(rule.long * usual, rule.too_long * usual),
    )
    volume = np.bincount(part, areas)
    kept = volume >= rule.min_volume * (np.median(volume) if volume.size else 0)
    ids = _numbered_by_first(part, kept, n_sections=table.areas.size)
    n = table.areas.size
    missing = np.stack([slice_of[n:], bridged.first, bridged.second, ids[n:]], axis=1)
    missing = missing[missing[:, 3] > 0]
    missing = missing[np.argsort(missing[:, 0], kind="stable")]
    return Chains(np.array(table.starts), ids[:n], missing.astype(np.int64), usual)


def number_sections(sections: Labels) -> Sections:
    """Return a slice with its sections numbered in the order of their first pixels."""
    if sections.ndim != 2:
        raise ValueError(f"a slice has two axes, y and x; found shape {sections.shape}")
    ids = as_ids(sections)
    highest = int(ids.max(initial=0))
    if highest > LOOKED_UP:
        values, place = np.unique(ids, return_inverse=True)
        shift = int(values[0] > 0)
        ids, highest = place.reshape(ids.shape).astype(np.uint32) + np.uint32(shift), values.size
    numbers, n, areas = _number(ids, np.zeros(highest + 1, np.uint32), np.zeros(highest, np.int64))
    return Sections(numbers, areas[:n])


def _mutual_best(overlaps: Overlaps, areas: Float64, *, min_iou: float) -> Overlaps:
    """Return the pairs in which each is the best of the other, and good enough."""
    first, second, pixels = overlaps
    iou = pixels / (areas[first] + areas[second] - pixels)
    best = np.zeros((2, first.size), np.bool_)
    for side, (own, other) in enumerate(((first, second), (second, first))):
        order = np.lexsort((other, -iou, own))
        best[side, order[np.diff(own[order], prepend=-1) != 0]] = True
    kept = best.all(axis=0) & (iou >= min_iou)
    return Overlaps(first[kept], second[kept], pixels[kept])


def _bridges(
    overlaps: Overlaps,
    areas: Float64,
    chains: tuple[Int64, Int64],
    *,
    rule: ChainRule,
    usual: float,
) -> Overlaps:
    """Return pairs of a chain's last section and another's first, with one missing between.

    What must not become long is the part beside the gap, up to the next clear waist.
    """
    if areas.size == 0:
        return overlaps
    chain, part = chains
    first, second, pixels = overlaps
    heads, tails = _ends(chain)
    length = np.bincount(part)[part]
    joint = length[first] + length[second] + 1
    large = areas >= rule.bridge_area * np.median(areas)
    possible = tails[first] & heads[second] & (joint <= rule.long * usual + 1)
    possible &= large[first] & large[second]
    candidates = Overlaps(first[possible], second[possible], pixels[possible])
    return _mutual_best(candidates, areas, min_iou=rule.bridge_iou)


def _ends(chain: Int64) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Tell of each section whether it is the first, and the last, of its chain."""
    order = np.argsort(chain, kind="stable")
    heads, tails = np.zeros((2, chain.size), np.bool_)
    new = np.diff(chain[order], prepend=-1) != 0
    heads[order[new]] = True
    tails[order[np.append(new[1:], True)]] = True
    return heads, tails


def _chains_of(n_sections: int, links: Overlaps) -> Int64:
    """Return the chain of each section; a link leads to a later section, at most one from each."""
    previous = np.full(n_sections, -1, np.int64)
    previous[links.second] = links.first
    return np.asarray(_follow(previous))


def _usual_length(part: Int64) -> float:
    """Return the median number of sections of a part, single sections left out."""
    length = np.bincount(part)
    length = length[length > 1]
    return float(np.median(length)) if length.size else 1.0


def _smoothed(areas: Float64, chain: Int64, slice_of: Int64) -> Float64:
    """Mix each area with its neighbours in the chain; beyond the ends there is nothing."""
    order = np.lexsort((slice_of, chain))
    ordered = areas[order]
    linked = np.diff(chain[order]) == 0
    mixed = OWN * ordered
    mixed[1:] += NEIGHBOUR * ordered[:-1] * linked
    mixed[:-1] += NEIGHBOUR * ordered[1:] * linked
    made = np.empty_like(areas)
    made[order] = mixed
    return made


def _numbered_by_first(part: Int64, kept: npt.NDArray[np.bool_], *, n_sections: int) -> UInt32:
    """Return an id for each section, counted by the first section of each part that is kept."""
    first = np.full(kept.size, part.size, np.int64)
    np.minimum.at(first, part[:n_sections], np.arange(n_sections))
    order = np.argsort(first, kind="stable")
    order = order[kept[order]]
    ids = np.zeros(kept.size, np.uint32)
    ids[order] = np.arange(1, order.size + 1)
    return ids[part]


@njit(cache=True, nogil=True)
def _number(ids: UInt32, table: UInt32, areas: Int64) -> tuple[UInt32, int, Int64]:
    numbers = np.zeros_like(ids)
    n = 0
    for y in range(ids.shape[0]):
        for x in range(ids.shape[1]):
            own = ids[y, x]
            if own == 0:
                continue
            if table[own] == 0:
                n += 1
                table[own] = n
            numbers[y, x] = table[own]
            areas[np.int64(table[own]) - 1] += 1
    return numbers, n, areas


@njit(cache=True, nogil=True)
def _follow(previous: Int64) -> Int64:
    chain = np.empty(previous.size, np.int64)
    n = 0
    for section in range(previous.size):
        if previous[section] < 0:
            chain[section] = n
            n += 1
        else:
            chain[section] = chain[previous[section]]
    return chain
