"""All rules of tidying in one order, with the counts and the table of what became of each id.

Rules that look at sizes alone are streamed slice by slice.  Those that look at shapes hold the
volume once, as uint32, and are done in place.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from clgkit.segmentation.overlap import as_ids
from clgkit.segmentation.tidy import (
    LabelSizes,
    Renumbering,
    compact_ids,
    keep_rule,
    label_sizes,
    merge_labels,
)
from clgkit.segmentation.tidy_objects import Box, drop_pieces, object_boxes, part_pieces
from clgkit.segmentation.tidy_shape import (
    Smoothing,
    fill_objects,
    fill_sections,
    smooth_in_place,
    split_mask,
)

__all__ = ["FATES", "Fate", "Slices", "Tidied", "TidyRules", "tidy_labels"]

Int64: TypeAlias = npt.NDArray[np.int64]
Texts: TypeAlias = npt.NDArray[np.str_]
UInt32: TypeAlias = npt.NDArray[np.uint32]
Voxel: TypeAlias = tuple[float, float, float]
Progress: TypeAlias = Callable[[str, int, int], object]
Fate: TypeAlias = Literal[
    "kept", "merged", "split", "piece", "smoothed away", "border", "small", "below median",
    "above median",
]  # fmt: skip

FATES: tuple[Fate, ...] = (
    "kept", "merged", "split", "piece", "smoothed away", "border", "small", "below median",
    "above median",
)  # fmt: skip
"""What can become of an object; from "smoothed away" on it is gone."""
ANY_SIZE = (0.0, float("inf"))
UNIT = (1.0, 1.0, 1.0)
TOLD = 256  # objects between two words about progress


class Slices(Protocol):
    """The slices (Y, X) of a label volume in order; they can be read more than once."""

    def __len__(self) -> int: ...
    def __getitem__(self, z: int, /) -> npt.NDArray[Any]: ...


class TidyRules(NamedTuple):
    """What to do, in this order; nothing unless it is asked for."""

    merge: tuple[tuple[int, ...], ...] = ()
    """Ids that are one object each; groups with a common id are one group."""
    split: tuple[int, ...] = ()
    """Ids that are several objects each, split by `tidy_shape.split_label`."""
    n_parts: int = 2
    """How many parts each of `split` has."""
    fill: bool = False
    """Whether holes belong to the object around them, in sections and then in 3-D."""
    smooth: int = 0
    """How often surfaces are smoothed."""
    smoothing: Smoothing = "majority"
    """How; see `tidy_shape.smooth_labels`."""
    pieces: Literal["keep", "largest", "separate"] = "keep"
    """What becomes of the smaller pieces of an object: they stay, go, or become objects of their
    own.  What was merged stays together."""
    border: Literal["keep", "drop"] = "keep"
    """Whether objects that touch a face of the volume stay."""
    min_um3: float = 0.0
    """Objects of a smaller volume go, in um^3."""
    of_median: tuple[float, float] = ANY_SIZE
    """Objects below the first or above the second share of the median volume go; the median is of
    those that are left by the rules before."""

    @property
    def needs_volume(self) -> bool:
        """Whether shapes are looked at, so that slices cannot be streamed."""
        return bool(self.split or self.fill or self.smooth or self.pieces != "keep")

    @property
    def needs_um(self) -> bool:
        """Whether the size of a voxel matters."""
        return bool(self.split or self.min_um3)


class Tidied(NamedTuple):
    """Tidied labels, and what became of every object."""

    slices: Slices
    """The labels, with the ids 1, 2, ...: the volume (z, y, x) itself if there had to be one, else
    slices that are read and renumbered when they are asked for; uint32."""
    old_ids: UInt32
    """(k,) sorted.  Every former id stands here once, or once for each of its parts."""
    new_ids: UInt32
    """(k,) what it is now; 0 if it is gone.  Every new id stands here once, or once for each that
    was merged."""
    fates: Texts
    """(k,) one of `FATES`."""
    objects: dict[Fate, int]
    """How many objects there are fewer (by "merged" and all from "smoothed away" on) or more (by
    "split" and "piece")."""
    voxels: dict[str, int]
    """Voxels that were "filled", "smoothed" (changed) and "dropped" (smaller pieces)."""


def tidy_labels(
    slices: Slices,
    rules: TidyRules = TidyRules(),  # noqa: B008  (immutable)
    *,
    voxel_um: Voxel | None = None,
    progress: Progress | None = None,
) -> Tidied:
    """Return labels put in order by all `rules`, and what became of each id.

    Parameters
    ----------
    slices
        A volume (z, y, x), or anything that gives its slices.  Left as it is.
    rules
        What to do.
    voxel_um
        Size of a voxel along z, y, x; needed for volumes in um^3 and to split.
    progress
        Told the name of a step, how much of it is done, and of how much.

    Raises
    ------
    TypeError
        If labels are no whole numbers.
    ValueError
        If an id is negative or above 2**32 - 1, is to be split or merged and not there, or both;
        if an object cannot be split; if numbers of the rules cannot be.

    Notes
    -----
    Ids of `rules` are those of the input.  Parts and pieces get the last of the new ids; the
    largest keeps its place.
    """
    _check(rules, voxel_um)
    tell = progress or _nothing
    size = voxel_um or UNIT
    volume = _loaded(_each(slices, "read", tell), len(slices)) if rules.needs_volume else None
    sizes = label_sizes(_each(slices, "read", tell) if volume is None else volume)
    _check_split(sizes, rules)
    ledger = _Ledger(sizes.ids, rules.merge)
    if volume is None:
        _sift(_summed(sizes, ledger.now), ledger, rules, voxel_um=size)
        return _told(_Renumbered(slices, ledger.numbering), ledger, {})
    _renumber(volume, ledger.numbering)
    voxels = _mend(volume, ledger, rules, voxel_um=size, tell=tell)
    kept = _sift(label_sizes(volume), ledger, rules, voxel_um=size)
    _renumber(volume, compact_ids(kept))
    return _told(volume, ledger, voxels)


class _Renumbered:
    """Slices with other ids, looked up when they are asked for."""

    def __init__(self, slices: Slices, numbering: Renumbering) -> None:
        self.slices = slices
        self.numbering = numbering

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, z: int, /) -> UInt32:
        return self.numbering.apply(self.slices[z])


class _Ledger:
    """Rows of a former id, its present number (0: gone) and its fate.

    Only objects that were merged have several rows for one number.
    """

    def __init__(self, ids: UInt32, groups: tuple[tuple[int, ...], ...]) -> None:
        merged = merge_labels(ids, groups)
        leaders, place = np.unique(merged.new, return_inverse=True)
        self.old = merged.old
        self.now: UInt32 = (place + 1).astype(np.uint32)
        self.highest = leaders.size
        together = np.bincount(self.now)[self.now] > 1
        self.merged = set(self.now[together].tolist())
        self.fates: Texts = np.where(together, "merged", "kept").astype("U16")
        self.objects: dict[Fate, int] = {"merged": ids.size - leaders.size}

    @property
    def numbering(self) -> Renumbering:
        """The table of ids, as long as each has one number."""
        there = self.now > 0
        return Renumbering(self.old[there], self.now[there])

    def number_of(self, label: int) -> int:
        """Return the present number of a former id."""
        return int(self.now[np.searchsorted(self.old, label)])

    def add(self, parents: UInt32, fate: Fate) -> None:
        """Note that new objects, numbered on, were part of others."""
        order = np.argsort(self.now, kind="stable")
        rows = order[np.searchsorted(self.now, parents, sorter=order)]
        self.fates[rows] = fate
        numbers = np.arange(self.highest + 1, self.highest + parents.size + 1, dtype=np.uint32)
        self.old = np.append(self.old, self.old[rows])
        self.now = np.append(self.now, numbers)
        self.fates = np.append(self.fates, self.fates[rows])
        self.highest += parents.size
        self.objects[fate] = self.objects.get(fate, 0) + parents.size

    def keep(self, numbers: UInt32, fate: Fate) -> None:
        """Note that all others are gone, and why."""
        gone = (self.now > 0) & ~np.isin(self.now, numbers)
        self.objects[fate] = np.unique(self.now[gone]).size
        self.fates[gone] = fate
        self.now[gone] = 0

    def compact(self, numbers: UInt32) -> None:
        """Give those that are left the numbers 1, 2, ..."""
        place = np.searchsorted(numbers, self.now) + 1
        self.now = np.where(self.now > 0, place, 0).astype(np.uint32)


def _check(rules: TidyRules, voxel_um: Voxel | None) -> None:
    if voxel_um is None and rules.needs_um:
        raise ValueError("volumes in um^3 and splitting need the size of a voxel along z, y and x")
    if rules.n_parts < 2:
        raise ValueError(f"an object is split into 2 parts or more; found {rules.n_parts}")
    if rules.smooth < 0:
        raise ValueError(f"smoothing is done 0 times or more; found {rules.smooth}")
    both = sorted({*rules.split} & {k for group in rules.merge for k in group})
    if both:
        raise ValueError(f"objects {both[:10]} are to be split and merged; do one or the other")


def _check_split(sizes: LabelSizes, rules: TidyRules) -> None:
    absent = sorted({*rules.split} - {*sizes.ids.tolist()})
    if absent:
        raise ValueError(f"there are no objects {absent[:10]}; split ids that are there")


def _mend(
    volume: UInt32, ledger: _Ledger, rules: TidyRules, *, voxel_um: Voxel, tell: Progress
) -> dict[str, int]:
    """Apply the rules of shapes in place; return the voxels they changed."""
    boxes = object_boxes(volume) if rules.split else []
    places = dict(boxes)
    for label in dict.fromkeys(rules.split):
        _split(volume, ledger, label, places, voxel_um=voxel_um, n_parts=rules.n_parts)
    voxels = {}
    if rules.fill:
        boxes = object_boxes(volume)
        voxels["filled"] = fill_sections(volume)
        voxels["filled"] += fill_objects(volume, _watched(boxes, "fill", tell))
    if rules.smooth:
        voxels["smoothed"] = 0
    for turn in range(rules.smooth):
        tell("smooth", turn, rules.smooth)
        voxels["smoothed"] += smooth_in_place(volume, method=rules.smoothing)
    if rules.pieces != "keep":
        boxes = [box for box in object_boxes(volume) if box[0] not in ledger.merged]
        seen = _watched(boxes, "pieces", tell)
        if rules.pieces == "largest":
            voxels["dropped"] = drop_pieces(volume, seen)
        else:
            ledger.add(part_pieces(volume, seen, highest=ledger.highest), "piece")
    return voxels


def _split(
    volume: UInt32,
    ledger: _Ledger,
    label: int,
    places: dict[int, tuple[slice, ...]],
    *,
    voxel_um: Voxel,
    n_parts: int,
) -> None:
    number = ledger.number_of(label)
    inside = volume[places[number]]
    parts = split_mask(inside == number, voxel_um=voxel_um, n_parts=n_parts)
    found = int(parts.max())
    if found < n_parts:
        peaks = "1 peak" if found == 1 else f"{found} peaks"
        raise ValueError(f"object {label} has {peaks} of distance to its surface; it cannot "
                         f"become {n_parts} parts")  # fmt: skip
    smaller = parts > 1
    inside[smaller] = ledger.highest + parts[smaller] - 1
    ledger.add(np.full(n_parts - 1, number, np.uint32), "split")


def _sift(sizes: LabelSizes, ledger: _Ledger, rules: TidyRules, *, voxel_um: Voxel) -> UInt32:
    """Apply the rules of sizes, note why objects go, and return the numbers that stay."""
    low, high = rules.of_median
    limits: dict[str, Any] = {"voxel_um": voxel_um, "of_median": ANY_SIZE}
    kept = sizes.ids
    ledger.keep(kept, "smoothed away")
    steps: tuple[tuple[Fate, dict[str, Any]], ...] = (
        ("border", {"border": rules.border}),
        ("small", {"min_um3": rules.min_um3}),
        ("below median", {"of_median": (low, ANY_SIZE[1])}),
        ("above median", {"of_median": (low, high)}),
    )
    for fate, limit in steps:
        limits |= limit
        kept = keep_rule(sizes, **limits).old
        ledger.keep(kept, fate)
    ledger.compact(kept)
    return kept


def _summed(sizes: LabelSizes, numbers: UInt32) -> LabelSizes:
    """Return the sizes of objects that were merged, from those of their members."""
    index = numbers.astype(np.int64) - 1
    voxels = np.bincount(index, sizes.voxels)
    moments = [np.bincount(index, sizes.voxels * along) for along in sizes.centers.T]
    return LabelSizes(
        np.arange(1, voxels.size + 1, dtype=np.uint32),
        voxels.astype(np.int64),
        np.stack(moments, axis=1) / voxels[:, None],
        np.bincount(index, sizes.on_border) > 0,
    )


def _told(slices: Slices, ledger: _Ledger, voxels: dict[str, int]) -> Tidied:
    order = np.lexsort((ledger.now, ledger.old))
    rows = (ledger.old[order], ledger.now[order], ledger.fates[order])
    return Tidied(slices, *rows, ledger.objects, voxels)


def _loaded(planes: Iterator[npt.NDArray[Any]], n: int) -> UInt32:
    """Return a copy of all slices as one volume."""
    volume = np.empty((0, 0, 0), np.uint32)
    for z, plane in enumerate(planes):
        if z == 0:
            volume = np.empty((n, *plane.shape), np.uint32)
        volume[z] = as_ids(plane)
    return volume


def _renumber(volume: UInt32, numbering: Renumbering) -> None:
    for plane in volume:
        plane[...] = numbering.apply(plane)


def _each(slices: Slices, label: str, tell: Progress) -> Iterator[npt.NDArray[Any]]:
    for z in range(len(slices)):
        tell(label, z, len(slices))
        plane = slices[z]
        if plane.ndim != 2:
            raise ValueError(f"labels have the axes z, y, x; found slices of shape {plane.shape}")
        yield plane
    tell(label, len(slices), len(slices))


def _watched(boxes: list[Box], label: str, tell: Progress) -> Iterator[Box]:
    for k, box in enumerate(boxes):
        if k % TOLD == 0:
            tell(label, k, len(boxes))
        yield box
    tell(label, len(boxes), len(boxes))


def _nothing(*_: object) -> None:
    """Tell nobody."""
