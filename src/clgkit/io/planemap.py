"""Plane maps: which structural slice shows which functional plane.

This is the only place where planes and slices count from 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from clgkit import fsio
from clgkit.errors import DataError
from clgkit.io.pixels import existing_file, writable

MAX_BYTES = 1 << 20
ADVICE = (
    'If the planes do lie so, or share a slice, say order = "free" in [align_planes] '
    "(--order free)."
)
_DASHES = "-–—−"  # noqa: RUF001  (the dashes that people paste)
_PAIR = re.compile(rf"\s*(\d{{1,9}})\s*[{_DASHES}]\s*(\d{{1,9}})\s*")


class PlaneMap(NamedTuple):
    """Functional planes and the structural slices that show them, both 0-based.

    Parameters
    ----------
    plane
        (P,) int64, ascending.
    slice
        (P,) int64, strictly monotone unless any order was allowed.
    notes
        What the user should know, such as other dashes than ``-``.
    """

    plane: npt.NDArray[np.int64]
    slice: npt.NDArray[np.int64]
    notes: tuple[str, ...] = ()


def read_planemap(
    path: Path | str,
    *,
    n_slices: int | None = None,
    n_planes: int | None = None,
    any_order: bool = False,
) -> PlaneMap:
    """Return the plane map of a text file with lines such as ``2-85`` (both from 1).

    Accepted besides: spaces, blank lines, CRLF, a byte-order mark, comments after ``#``,
    and the dashes – — − (a note says so).

    Parameters
    ----------
    path
        The file.
    n_slices, n_planes
        Sizes of the structural stack and of the movie, checked where given.
    any_order
        Whether slices may go to and fro, and one slice serve several planes.

    Raises
    ------
    DataError
        All problems at once, each with its line.
    """  # noqa: RUF002  (names the dashes that are accepted)
    path = existing_file(path)
    data = path.read_bytes() if path.stat().st_size <= MAX_BYTES else b"\xff\0"
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a plane map: it is no text, or above 1 MB.") from error
    return parse_planemap(
        lines, str(path), n_slices=n_slices, n_planes=n_planes, any_order=any_order
    )


def parse_planemap(
    lines: Iterable[str],
    source: str,
    *,
    n_slices: int | None = None,
    n_planes: int | None = None,
    any_order: bool = False,
) -> PlaneMap:
    """Return the plane map of lines of text; see :func:`read_planemap`."""
    problems: list[str] = []
    seen: dict[int, tuple[int, int]] = {}
    dashes = 0
    for number, raw in enumerate(lines, start=1):
        line = raw.partition("#")[0].strip()
        if not line:
            continue
        match = _PAIR.fullmatch(line)
        trouble = _trouble(line, match, seen, n_slices, n_planes)
        if match:
            seen.setdefault(int(match[1]), (int(match[2]), number))
        if trouble:
            problems.append(f"line {number} ({line[:60]!r}): {trouble}")
        elif match:
            dashes += "-" not in line
    if not seen and not problems:
        problems.append("it names no plane")
    planes, advice = sorted(seen), ""
    if not problems and not any_order:
        problems += _not_monotone(planes, seen)
        advice = f"\n{ADVICE}" if problems else ""
    if problems:
        listed = "".join(f"\n  - {problem}" for problem in problems)
        raise DataError(
            f"{source} is not a plane map; wanted are lines such as 2-85 "
            f"(functional plane - structural slice, both counted from 1):{listed}{advice}"
        )
    slices = np.array([seen[plane][0] for plane in planes], dtype=np.int64)
    notes = [f"{source}: {dashes} line(s) with another dash than '-' were read as such"]
    return PlaneMap(
        np.array(planes, dtype=np.int64) - 1,
        slices - 1,
        tuple(notes[:1] if dashes else ())
        + (_shared(planes, slices, source) if any_order else _uneven(planes, slices, source)),
    )


def write_planemap(path: Path | str, planemap: PlaneMap) -> None:
    """Write a plane map, counted from 1, one line per plane."""
    pairs = zip(planemap.plane.tolist(), planemap.slice.tolist(), strict=True)
    text = "".join(f"{plane + 1}-{slice_ + 1}\n" for plane, slice_ in pairs)
    fsio.write_text(writable(path), text)


def _trouble(
    line: str,
    match: re.Match[str] | None,
    seen: dict[int, tuple[int, int]],
    n_slices: int | None,
    n_planes: int | None,
) -> str | None:
    if match is None:
        return _why_no_pair(line)
    plane, slice_ = int(match[1]), int(match[2])
    if plane == 0 or slice_ == 0:
        return f"{'plane' if plane == 0 else 'slice'} 0 does not exist, both count from 1"
    if plane in seen:
        return f"plane {plane} stands already on line {seen[plane][1]}"
    if n_slices is not None and slice_ > n_slices:
        return f"slice {slice_} lies beyond the stack of {n_slices} slices"
    if n_planes is not None and plane > n_planes:
        return f"plane {plane} lies beyond the movie of {n_planes} planes"
    return None


def _why_no_pair(line: str) -> str:
    fields = [field.strip() for field in re.split(f"[{_DASHES}]", line)]
    if len(fields) == 1:
        return "it has one field, not two"
    if "" in fields:
        return "a number is absent"
    if len(fields) > 2:
        return f"it has {len(fields)} fields, not two"
    if all(field.isdecimal() for field in fields):
        return "a number has more than nine digits"
    if all(re.fullmatch(r"\d+(?:[.,]\d+)?", field) for field in fields):
        return "fractions are not planes; a fractional position belongs into the settings"
    return "these are not two whole numbers"


def _not_monotone(planes: list[int], seen: dict[int, tuple[int, int]]) -> list[str]:
    steps = np.diff([seen[plane][0] for plane in planes])
    falling = np.sum(steps < 0) > np.sum(steps > 0)
    bad = np.flatnonzero(steps >= 0 if falling else steps <= 0)
    return [
        f"line {seen[planes[i + 1]][1]}: slices must go one way; plane {planes[i]} shows slice "
        f"{seen[planes[i]][0]}, plane {planes[i + 1]} slice {seen[planes[i + 1]][0]}"
        for i in bad
    ]


def _shared(planes: list[int], slices: npt.NDArray[np.int64], source: str) -> tuple[str, ...]:
    """Name the slices that serve several planes."""
    return tuple(
        f"{source}: planes {', '.join(str(planes[i]) for i in np.flatnonzero(slices == z))} are "
        f"one slice, {z}"
        for z, count in zip(*np.unique(slices, return_counts=True), strict=True)
        if count > 1
    )


def _uneven(planes: list[int], slices: npt.NDArray[np.int64], source: str) -> tuple[str, ...]:
    """Warn where the spacing per plane is far (more than twice or under half) from the median."""
    if len(planes) < 4:
        return ()
    steps = np.abs(np.diff(slices) / np.diff(planes))
    usual = float(np.median(steps))
    odd = np.flatnonzero((steps > 2 * usual) | (steps < usual / 2))
    return tuple(
        f"{source}: from plane {planes[i]} to {planes[i + 1]} the slices advance by "
        f"{steps[i]:g} per plane, where {usual:g} is usual"
        for i in odd
    )
