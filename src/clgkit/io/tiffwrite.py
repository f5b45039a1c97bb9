"""Write stacks as OME-TIFF: verified, then renamed."""

from __future__ import annotations

import itertools
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import tifffile

from clgkit import fsio
from clgkit.errors import DataError, SettingsError, StoreError
from clgkit.io.pixels import settle_axes, writable
from clgkit.io.tiff import open_tiff

if TYPE_CHECKING:
    from clgkit.data import Pixels

DTYPES: Final = ("int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64")
CLASSIC_LIMIT: Final = 2_000_000_000


def write_tiff(
    path: Path | str,
    pixels: Pixels,
    *,
    axes: str,
    voxel_um: tuple[float, float, float] | None = None,
    rate_hz: float | None = None,
    dtype: npt.DTypeLike | None = None,
    compression: str | None = None,
) -> None:
    """Write pixels as an OME-TIFF, frame by frame, read it back and rename it.

    OME-TIFF is chosen over the ImageJ flavour because it keeps uint32 labels, float64
    and files above 4 GB; ImageJ opens it through Bio-Formats, napari and tifffile as it is.

    Parameters
    ----------
    path
        Target; its folder must exist.
    pixels
        Array or lazy pixels; one frame at a time is held in memory.
    axes
        One letter per axis, rows and columns last, such as ``tzyx``.
    voxel_um
        Spacing along z, y, x.
    rate_hz
        Frames per second.
    dtype
        Type to store; default that of `pixels`.  Narrowing that would change a value is refused,
        but float64 may be rounded to float32.
    compression
        None, or ``"zlib"``.

    Raises
    ------
    DataError
        If the axes, the type, or an array without pixels cannot be stored; ``E_PATH``: the folder
        is not there.
    SettingsError
        If spacing, rate or compression cannot be.
    StoreError
        If the file does not read back as it was written.
    """
    path = writable(path)
    _check_options(path, voxel_um, rate_hz, compression)
    shape = tuple(pixels.shape)
    axes = settle_axes(path.name, shape, axes, None, why="")
    if axes[-2:] != "yx":
        raise DataError(
            f"axes = {axes!r} cannot be written to {path.name}: rows and columns come last.",
            code="E_AXES",
        )
    if 0 in shape:
        raise DataError(
            f"{path.name}: a TIFF holds at least one pixel; this array has shape {shape}.",
            code="E_SHAPE",
        )
    stored = _stored_dtype(path, np.dtype(pixels.dtype), dtype)
    checksums: list[int] = []

    def frames() -> Iterator[npt.NDArray[Any]]:
        checksums.clear()
        for frame in _frames(pixels):
            made = _converted(path, frame, stored)
            checksums.append(zlib.crc32(made.data))
            yield made

    def write(temporary: Path) -> None:
        n_bytes = int(np.prod(shape, dtype=np.int64)) * stored.itemsize
        big = n_bytes > CLASSIC_LIMIT
        with tifffile.TiffWriter(temporary, bigtiff=big, ome=True) as writer:
            writer.write(
                frames(),
                shape=shape,
                dtype=stored,
                photometric="minisblack",
                compression=compression,
                metadata={**_metadata(axes, voxel_um, rate_hz), "UUID": _identity(path, shape)},
            )

    def check(temporary: Path) -> None:
        found = open_tiff(temporary, axes=axes).pixels
        again = [zlib.crc32(np.ascontiguousarray(frame).data) for frame in _frames(found)]
        if found.shape != shape or again != checksums:
            raise StoreError(f"{path} did not read back as it was written. Is the disk failing?")

    fsio.publish(path, write, check)


def _check_options(
    path: Path,
    voxel_um: tuple[float, float, float] | None,
    rate_hz: float | None,
    compression: str | None,
) -> None:
    steps = [*(voxel_um or ()), *((rate_hz,) if rate_hz is not None else ())]
    if not all(0 < step < np.inf for step in steps):
        raise SettingsError(
            f"{path.name}: spacing and rate are positive numbers, not {voxel_um} and {rate_hz}."
        )
    if compression not in (None, "zlib"):
        raise SettingsError(
            f"{path.name}: compression = {compression!r} is not written; choose None or 'zlib'."
        )


def _frames(pixels: Pixels) -> Iterator[npt.NDArray[Any]]:
    *leading, height, width = pixels.shape
    for index in itertools.product(*map(range, leading)):
        key = (*(slice(i, i + 1) for i in index), slice(None), slice(None))
        yield np.asarray(pixels[key]).reshape(height, width)


def _stored_dtype(path: Path, given: np.dtype[Any], wanted: npt.DTypeLike | None) -> np.dtype[Any]:
    stored = np.dtype(wanted if wanted is not None else given)
    if given.kind == "b" and wanted is None:
        stored = np.dtype(np.uint8)
    if stored.name not in DTYPES:
        raise DataError(
            f"{path.name}: a TIFF does not hold {stored.name}; choose a `dtype` of "
            f"{', '.join(DTYPES)}.",
            code="E_SHAPE",
        )
    return stored.newbyteorder("=")


def _converted(path: Path, frame: npt.NDArray[Any], stored: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return the frame in the stored type, or refuse to change its values."""
    if frame.dtype == stored:
        return np.ascontiguousarray(frame)
    with np.errstate(invalid="ignore", over="ignore"):
        made = frame.astype(stored)
        if stored.kind != "f":
            same = made == frame
        elif frame.dtype.kind == "f":
            same = np.isfinite(made) == np.isfinite(frame)
        else:
            same = made.astype(frame.dtype) == frame
    if not np.all(same):
        worst = frame[~same].ravel()[0]
        raise DataError(
            f"{path.name}: the value {worst} ({frame.dtype}) does not fit {stored.name}. "
            "Store labels as uint32, or choose a wider `dtype`.",
            code="E_SHAPE",
        )
    return np.ascontiguousarray(made)


def _metadata(
    axes: str, voxel_um: tuple[float, float, float] | None, rate_hz: float | None
) -> dict[str, Any]:
    said: dict[str, Any] = {"axes": axes.upper()}
    if voxel_um is not None:
        for letter, step in zip("ZYX", voxel_um, strict=True):
            said |= {f"PhysicalSize{letter}": step, f"PhysicalSize{letter}Unit": "µm"}
    if rate_hz is not None:
        said |= {"TimeIncrement": 1 / rate_hz, "TimeIncrementUnit": "s"}
    return said


def _identity(path: Path, shape: tuple[int, ...]) -> str:
    """Return an identifier that OME files must have; the same file gets the same one."""
    return f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{path.name} {shape}')}"
