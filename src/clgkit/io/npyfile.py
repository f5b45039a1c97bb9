"""Numpy's own files: ``.npy`` mapped, ``.npz`` read on demand; pickles are never opened."""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from clgkit.errors import DataError
from clgkit.io.pixels import Image, existing_file, native, numeric, settle_axes
from clgkit.io.sniff import kind_of, not_an_image

BROKEN: Final = (
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
    SyntaxError,
    ValueError,
    KeyError,
    EOFError,
    OSError,
    RuntimeError,
    OverflowError,
)
"""What numpy and zipfile raise on damaged files."""


class Header(NamedTuple):
    """What a ``.npy`` stream declares; `offset` is where its values begin."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    offset: int


@dataclass(frozen=True)
class NpyPixels:
    """The array of a ``.npy`` file, mapped while it is sliced."""

    path: Path
    header: Header

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes along each axis."""
        return self.header.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values, in native byte order."""
        return native(self.header.dtype)

    def __getitem__(self, key: tuple[slice, ...], /) -> npt.NDArray[Any]:
        return np.array(map_npy(self.path, self.header)[key], dtype=self.dtype)


@dataclass(frozen=True)
class NpzPixels:
    """One array of a ``.npz``; it is unpacked at the first slice and kept in memory."""

    path: Path
    name: str
    header: Header
    _kept: list[npt.NDArray[Any]] = field(default_factory=list, repr=False, compare=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes along each axis."""
        return self.header.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values, in native byte order."""
        return native(self.header.dtype)

    def __reduce__(self) -> tuple[object, ...]:
        return (NpzPixels, (self.path, self.name, self.header))

    def __getitem__(self, key: tuple[slice, ...], /) -> npt.NDArray[Any]:
        if not self._kept:
            self._kept.append(read_npz(self.path, self.name))
        return np.array(self._kept[0][key], dtype=self.dtype)


def open_numpy(path: Path | str, *, axes: str | None = None, dataset: str | None = None) -> Image:
    """Return the array of a ``.npy`` file or one array of a ``.npz``, lazily.

    Raises
    ------
    DataError
        ``E_NOT_IMAGE``, ``E_TRUNCATED``, ``E_AXES``, or ``E_DATA`` with a list of the arrays.
    """
    path = existing_file(path)
    kind = kind_of(path)
    pixels: NpyPixels | NpzPixels
    if kind == "npy":
        pixels, source = NpyPixels(path, npy_header(path)), str(path)
    elif kind == "npz":
        headers = npz_headers(path)
        name = dataset if dataset is not None else _only_one(path, headers)
        if name not in headers:
            raise DataError(f"{path} has no array {name!r}; it holds:{listing(headers)}")
        pixels, source = NpzPixels(path, name, headers[name]), f"{path}:{name}"
    else:
        raise not_an_image(path, "a numpy file")
    if not numeric(pixels.dtype):
        raise DataError(f"{source} holds {pixels.dtype}, not numbers.", code="E_NOT_IMAGE")
    settled = settle_axes(
        source, pixels.shape, axes, None, why="a numpy file does not name its axes"
    )
    return Image(pixels, settled, source)


def npy_header(path: Path) -> Header:
    """Return the header of a ``.npy`` file after comparing it with the size of the file."""
    with path.open("rb") as file:
        header = _read_header(file, str(path))
    _refuse_objects(header, str(path))
    _check_size(header, path.stat().st_size, str(path))
    return header


def map_npy(path: Path, header: Header | None = None) -> npt.NDArray[Any]:
    """Return the array of a ``.npy`` file as a read-only map."""
    header = header or npy_header(path)
    if math.prod(header.shape) == 0:
        return np.empty(header.shape, header.dtype)
    stored = header.shape[::-1] if header.fortran else header.shape
    mapped: npt.NDArray[Any] = np.memmap(
        path, header.dtype, "r", offset=header.offset, shape=stored
    )
    return mapped.T if header.fortran else mapped


def npz_headers(path: Path) -> dict[str, Header]:
    """Return name → header of every array in a ``.npz``."""
    found: dict[str, Header] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in (name for name in archive.namelist() if name.endswith(".npy")):
                with archive.open(member) as file:
                    header = _read_header(file, f"{path}:{member[:-4]}")
                _check_size(header, archive.getinfo(member).file_size, f"{path}:{member[:-4]}")
                found[member[:-4]] = header
    except BROKEN as error:
        raise DataError(
            f"{path} is truncated or no numpy archive ({error}). Copy it again.",
            code="E_TRUNCATED",
        ) from error
    return found


def read_npz(path: Path, name: str) -> npt.NDArray[Any]:
    """Return one array of a ``.npz``; object arrays are refused by name."""
    headers = npz_headers(path)
    if name not in headers:
        raise DataError(f"{path} has no array {name!r}; it holds:{listing(headers)}")
    _refuse_objects(headers[name], f"{path}:{name}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            values: npt.NDArray[Any] = archive[name]
    except BROKEN as error:
        raise DataError(
            f"{path}: the array {name!r} is damaged ({error}). Copy the file again.",
            code="E_TRUNCATED",
        ) from error
    return values


def listing(headers: dict[str, Header]) -> str:
    """Return one line per array: name, shape, type."""
    found = [f"\n  - {name} {h.shape} {h.dtype}" for name, h in headers.items()]
    more = f"\n  - and {len(found) - 40} more" if len(found) > 40 else ""
    return "".join(found[:40]) + more or " no array"


def _only_one(path: Path, headers: dict[str, Header]) -> str:
    fit = [name for name, h in headers.items() if numeric(h.dtype) and len(h.shape) >= 2]
    if len(fit) == 1:
        return fit[0]
    raise DataError(
        f"{path} holds {len(fit)} arrays that can be an image. Choose one with `dataset`; "
        f"it holds:{listing(headers)}"
    )


def _read_header(file: IO[bytes], source: str) -> Header:
    try:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(file)
    except BROKEN as error:
        raise DataError(
            f"{source} has no readable numpy header ({error}). Copy it again.",
            code="E_TRUNCATED",
        ) from error
    return Header(tuple(shape), bool(fortran), np.dtype(dtype), file.tell())


def _check_size(header: Header, size: int, source: str) -> None:
    wanted = header.offset + math.prod(header.shape) * header.dtype.itemsize
    if min(header.shape, default=0) < 0 or (size < wanted and not header.dtype.hasobject):
        raise DataError(
            f"{source} is truncated: its header declares {wanted} bytes, it has {size}. "
            "Copy it again.",
            code="E_TRUNCATED",
        )


def _refuse_objects(header: Header, source: str) -> None:
    if header.dtype.hasobject:
        raise DataError(
            f"{source} holds Python objects (a pickle), which can run programs when opened. "
            "clgkit never opens them: save plain arrays of numbers.",
            code="E_NOT_IMAGE",
        )
