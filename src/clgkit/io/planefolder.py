"""A folder with one movie per functional plane, ``z_02.tif`` and so on, as one movie."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from clgkit.errors import DataError
from clgkit.io.pixels import Image, existing, native
from clgkit.io.tiff import open_tiff

if TYPE_CHECKING:
    from clgkit.data import Pixels

_NAME = re.compile(r"(?:denoised_)?z_(\d+)\.tiff?", re.IGNORECASE)


@dataclass(frozen=True)
class PlanesPixels:
    """(time, z, y, x) made of one (time, y, x) source per plane."""

    planes: tuple[Pixels, ...]
    n_frames: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes along time, z, y, x."""
        return (self.n_frames, len(self.planes), *self.planes[0].shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return native(self.planes[0].dtype)

    def __getitem__(self, key: tuple[slice, ...], /) -> npt.NDArray[Any]:
        times, planes, *inside = key
        start, stop, step = times.indices(self.n_frames)
        frames = slice(start, stop if stop >= 0 else None, step)
        if not range(start, stop, step):
            frames = slice(0, 0)
        chosen = range(*planes.indices(len(self.planes)))
        blank = np.broadcast_to(np.zeros((), self.dtype), self.shape)[(times, slice(0, 1), *inside)]
        made = np.empty((blank.shape[0], len(chosen), *blank.shape[2:]), self.dtype)
        for at, plane in enumerate(chosen):
            made[:, at] = self.planes[plane][(frames, *inside)]
        return made


def plane_files(folder: Path | str) -> dict[int, Path]:
    """Return functional index (0-based) → file; ``z_02.tif`` is index 1.

    Raises
    ------
    DataError
        If there is no such file, an index 0, or two files for one plane.
    """
    folder = existing(folder)
    found: dict[int, list[Path]] = {}
    for path in folder.iterdir():
        match = _NAME.fullmatch(path.name)
        if match:
            found.setdefault(int(match[1]) - 1, []).append(path)
    if not found:
        raise DataError(
            f"{folder} holds no file named like z_02.tif (one movie per plane).",
            code="E_NOT_IMAGE",
        )
    wrong = [path.name for path in found.get(-1, [])]
    wrong += [name.name for paths in found.values() if len(paths) > 1 for name in sorted(paths)]
    if wrong:
        raise DataError(
            f"{folder}: planes count from 1 and each has one file; these files break that: "
            f"{', '.join(wrong)}. Rename or remove them.",
            code="E_PATH",
        )
    return {index: found[index][0] for index in sorted(found)}


def open_planes(folder: Path | str, *, trim: bool = False, salvage: bool = False) -> Image:
    """Return the movie of a folder of planes, lazily, with axes ``tzyx``.

    Parameters
    ----------
    folder
        Holds ``z_%02d.tif``, each (time, y, x); the number is the functional index from 1.
    trim
        Use the frames of the shortest plane where their counts differ.
    salvage
        Take the readable frames of truncated files.

    Returns
    -------
    Image
        Planes in ascending order; absent ones are in `missing` (0-based), not in the pixels.

    Raises
    ------
    DataError
        ``E_SHAPE`` or ``E_TIMING``, listing the files that differ.
    """
    files = plane_files(folder)
    images = {index: open_tiff(path, axes="tyx", salvage=salvage) for index, path in files.items()}
    _check_alike(files, images)
    counts = {index: image.shape[0] for index, image in images.items()}
    notes = [f"{files[i].name}: {note}" for i, image in images.items() for note in image.notes]
    if len(set(counts.values())) > 1:
        listed = _odd(files, counts, "frames")
        if not trim:
            raise DataError(
                f"{folder}: the planes have different numbers of frames:{listed}\n"
                "Use the shortest with trim = true, or repair the files.",
                code="E_TIMING",
            )
        shortest = min(counts.values())
        longer = sum(count > shortest for count in counts.values())
        notes.append(f"trimmed to {shortest} frames; {longer} of {len(counts)} planes had more")
    missing = tuple(i for i in range(min(files), max(files) + 1) if i not in files)
    first = next(iter(images.values()))
    pixels = PlanesPixels(tuple(image.pixels for image in images.values()), min(counts.values()))
    return Image(
        pixels,
        "tzyx",
        str(folder),
        voxel_um=first.voxel_um,
        rate_hz=first.rate_hz,
        notes=tuple(notes),
        missing=missing,
    )


def _check_alike(files: Mapping[int, Path], images: Mapping[int, Image]) -> None:
    shapes = {i: f"{im.shape[1]} x {im.shape[2]} {im.pixels.dtype}" for i, im in images.items()}
    if len(set(shapes.values())) > 1:
        raise DataError(
            f"The planes differ in size or type of pixels:{_odd(files, shapes, '')}\n"
            "All planes of one movie must agree.",
            code="E_SHAPE",
        )


def _odd(files: Mapping[int, Path], values: Mapping[int, object], unit: str) -> str:
    """List the files that differ from what most of them have."""
    usual = Counter(values.values()).most_common(1)[0][0]
    lines = [f"\n  - {files[i]}: {v} {unit}".rstrip() for i, v in values.items() if v != usual]
    return f"\n  - most: {usual} {unit}".rstrip() + "".join(lines)
