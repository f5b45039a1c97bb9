"""Which slice every plane shows, whether it shows any, and how all planes are tilted."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypedDict

import numpy as np

from clgkit import registration
from clgkit.data import voxel_um
from clgkit.errors import DataError
from clgkit.registration.axial import FOUND_RATIO, choose_slices, vertex
from clgkit.stages._planes_place import pixel_ratio

if TYPE_CHECKING:
    import numpy.typing as npt

    from clgkit.data import Volume
    from clgkit.registration import PlaneMatch
    from clgkit.registration.axial import Order

MIN_FIELD = 19
"""Shortest side of a field, in nuclei, on which a plane of another fish can be told: 124 px of a
nucleus of 6.5 px."""
FOUND, NOT_FOUND, UNKNOWN = 1, 0, -1
BLANK = -1
"""The slice of a plane without one."""


class Seen(NamedTuple):
    """What the planes were matched with."""

    images: Volume
    """(z, y, x) mean images of the planes that can be used."""
    structure: Volume
    given: npt.NDArray[np.int32]
    """(z,) the slice where it is known, -1 elsewhere."""
    max_shift_px: float
    nucleus_px: float

    @property
    def is_wide(self) -> bool:
        """Whether the field is large enough to tell a plane from chance, and level from tilted."""
        sides = (self.images.sizes["y"], self.images.sizes["x"])
        return min(sides) >= MIN_FIELD * self.nucleus_px


class Doubt(NamedTuple):
    """Which planes might not lie in their slices, (z,) each."""

    by_score: npt.NDArray[np.bool_]
    by_confidence: npt.NDArray[np.bool_]

    @property
    def any(self) -> npt.NDArray[np.bool_]:
        """Whether anything speaks against the slice."""
        return self.by_score | self.by_confidence


class Tilted(NamedTuple):
    """Depth of every plane, and the tilt of all."""

    position: npt.NDArray[np.float64]
    """(z,) slice, with a fraction, at the middle of the field."""
    span_y: float
    span_x: float


def match(seen: Seen, *, order: Order, slices_per_plane: float | None) -> PlaneMatch:
    """Find the slices; where they are given, these, with their own score and offset.

    Planes whose slice is not given find theirs between those that are.  A plane that resembles no
    slice at all, as where one of them is blank, has none: -1.

    Raises
    ------
    DataError
        If the given slices leave no room for the other planes in their order.
    """
    structure, options = seen.structure, _options(seen)
    found = registration.match_planes(
        seen.images.values,
        (structure.isel(z=z).values for z in range(structure.sizes["z"])),
        order=order,
        slices_per_plane=slices_per_plane,
        **options,
    )
    slice_index = np.where(np.isfinite(found.scores).any(axis=1), found.slice_index, BLANK)
    wanted = _between(seen.given, found, order, slices_per_plane)
    wanted = np.where((slice_index == BLANK) & (seen.given < 0), BLANK, wanted)
    known = np.flatnonzero((seen.given >= 0) | (wanted != slice_index))
    if not len(known):
        return found._replace(slice_index=slice_index)
    scored = registration.score_planes(
        seen.images.values[known],
        (structure.isel(z=int(z)).values for z in wanted[known]),
        **options,
    )
    score, shift_px, position = found.score.copy(), found.shift_px.copy(), found.position.copy()
    slice_index[known] = wanted[known]
    score[known], shift_px[known] = scored.score, scored.shift_px
    position[known] = [vertex(found.scores[p], int(wanted[p])) for p in known]
    return found._replace(
        slice_index=slice_index,
        score=score,
        shift_px=shift_px,
        position=position,
        found=score >= FOUND_RATIO * found.chance,
    )


def _between(
    given: npt.NDArray[np.int32], found: PlaneMatch, order: Order, slices_per_plane: float | None
) -> npt.NDArray[np.int64]:
    """Return the slices of all planes, where those that are given stand."""
    known = given >= 0
    if not known.any() or known.all():
        return np.where(known, given, found.slice_index).astype(np.int64)
    if order != "free" and known.sum() > 1:  # the way the map itself goes
        order = "rising" if np.diff(given[known]).mean() > 0 else "falling"
    chosen = choose_slices(found.scores, given, order=order, slices_per_plane=slices_per_plane)
    if np.any(chosen[known] != given[known]):
        raise DataError(
            "The plane map leaves the planes that it does not name no slices of their own between "
            'those it names. Correct the map, name all planes, or set order = "free" if planes may '
            "lie in any order.",
            code="E_SHAPE",
        )
    return chosen


def doubt(found: PlaneMatch, seen: Seen, *, min_score: float, min_confidence: float) -> Doubt:
    """Say which planes score too low, or would lose too little elsewhere.

    The confidence counts where the slice was not given, in a field large enough to tell.
    """
    judged = seen.is_wide & (seen.given < 0)
    return Doubt(~(found.score >= min_score), judged & (found.confidence < min_confidence))


def verdict(found: PlaneMatch, seen: Seen) -> npt.NDArray[np.int8]:
    """Say of every plane whether the stack shows it: 1 yes, 0 no, -1 cannot be told."""
    told = np.where(found.found, FOUND, NOT_FOUND)
    nothing = ~np.isfinite(found.scores).any(axis=1)
    return np.where(seen.is_wide | nothing, told, UNKNOWN).astype(np.int8)


def find_tilt(found: PlaneMatch, seen: Seen, *, max_span: float) -> Tilted:
    """Find the common tilt of the planes that were found; none in a field too small to tell."""
    position = np.asarray(found.position, np.float64)
    n_slices, reach = seen.structure.sizes["z"], int(np.ceil(max_span / 2)) + 2
    level = Tilted(position, 0.0, 0.0)
    rows = np.flatnonzero(found.slice_index >= 0)
    if not (seen.is_wide and len(rows)) or n_slices < 3:
        return level
    first = np.clip(found.slice_index[rows] - reach, 0, n_slices - 3)
    made = registration.match_common_tilt(
        seen.images.values[rows],
        (seen.structure.isel(z=slice(int(z), int(z) + 2 * reach + 1)).values for z in first),
        max_span=max_span,
        **_options(seen),
    )
    if not made.sure:
        return level
    given = seen.given[rows] >= 0
    position[rows] = np.where(given, seen.given[rows], first + made.position)
    return Tilted(position, made.span_y, made.span_x)


class _Options(TypedDict):
    pixel_ratio: tuple[float, float]
    max_shift_px: float
    nucleus_px: float


def _options(seen: Seen) -> _Options:
    ratio = pixel_ratio(seen.images, seen.structure)
    return {
        "pixel_ratio": ratio, "max_shift_px": seen.max_shift_px, "nucleus_px": seen.nucleus_px
    }  # fmt: skip


def spacing(seen: Seen, numbers: npt.NDArray[np.int64]) -> float | None:
    """Return slices per plane, or None if planes are missing in between."""
    if len(numbers) < 2 or np.any(np.diff(numbers) != 1):
        return None
    return voxel_um(seen.images)[0] / voxel_um(seen.structure)[0]
