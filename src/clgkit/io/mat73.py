"""MATLAB 7.3 files: HDF5 behind a 512-byte block, dimensions reversed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import numpy.typing as npt

from clgkit.errors import DataError
from clgkit.io.hdf5 import compare, get_dataset, opened

CLASSES: Final = {
    "f4": "single", "f8": "double", "b1": "logical",
    "i1": "int8", "i2": "int16", "i4": "int32", "i8": "int64",
    "u1": "uint8", "u2": "uint16", "u4": "uint32", "u8": "uint64",
}  # fmt: skip
_TEXT: Final = b"MATLAB 7.3 MAT-file, Platform: clgkit, HDF5 schema 1.00 ."


def write(temporary: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write arrays of numbers as a MATLAB 7.3 file and compare them with what is read back.

    Call it through :func:`clgkit.io.child.write_in_child`.  The file was read back with
    h5py and recognized by scipy; it was not opened in MATLAB itself.

    Raises
    ------
    DataError
        If an array holds no numbers.
    """
    with h5py.File(temporary, "w", userblock_size=512) as file:
        for name, values in arrays.items():
            _write_one(file, name, at_least_2d(values))
    with temporary.open("r+b") as raw:
        raw.write(_TEXT.ljust(116) + bytes(8) + b"\x00\x02IM")
    for name, values in arrays.items():
        compare(name, at_least_2d(values), read(temporary, name))


def _write_one(file: h5py.File, name: str, values: npt.NDArray[Any]) -> None:
    kind = values.dtype.str[1:]
    if kind not in CLASSES:
        raise DataError(f"{name!r} holds {values.dtype}, which a .mat file cannot keep.")
    if values.size == 0:
        made = file.create_dataset(name, data=np.array(values.shape, dtype=np.uint64))
        made.attrs["MATLAB_empty"] = np.uint8(1)
    else:
        stored = values.view(np.uint8) if kind == "b1" else values
        made = file.create_dataset(name, data=stored.T, compression="gzip")
    made.attrs["MATLAB_class"] = np.bytes_(CLASSES[kind])
    if kind == "b1":
        made.attrs["MATLAB_int_decode"] = np.int32(1)


def read(path: Path, name: str) -> npt.NDArray[Any]:
    """Return one variable of a MATLAB 7.3 file; cells, structs and objects are refused.

    Raises
    ------
    DataError
        If it is absent or no array of numbers or characters.
    """
    with opened(path) as file:
        found = get_dataset(path, file, name)
        kind = class_of(found)
        if kind not in (*CLASSES.values(), "char") or found.dtype.hasobject:
            raise DataError(
                f"{path}: {name!r} is a MATLAB {kind}, which clgkit does not read. "
                "Save it as a plain matrix."
            )
        if found.attrs.get("MATLAB_empty", 0):
            dtype = next((k for k, v in CLASSES.items() if v == kind), "U1")
            return np.empty(tuple(int(n) for n in found[()].ravel()), dtype)
        values = np.asarray(found[()]).T
    if kind == "logical":
        return np.ascontiguousarray(values).astype(bool)
    if kind == "char":
        rows = ["".join(map(chr, row)) for row in np.atleast_2d(values)]
        return np.array(rows)
    return np.ascontiguousarray(values)


def variables(path: Path) -> dict[str, str]:
    """Return name → shape and class, of the variables of a MATLAB 7.3 file."""
    with opened(path) as file:
        return {
            name: f"{item.shape[::-1]} {class_of(item)}"
            if isinstance(item, h5py.Dataset)
            else "a struct"
            for name, item in file.items()
            if not name.startswith("#")
        }


def class_of(dataset: h5py.Dataset) -> str:
    """Return the MATLAB class of a dataset."""
    said = dataset.attrs.get("MATLAB_class", b"")
    text = said.decode("ascii", "replace") if isinstance(said, bytes) else str(said)
    return text or CLASSES.get(dataset.dtype.str[1:], "object")


def at_least_2d(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a matrix, since MATLAB knows nothing smaller: N values become (1, N)."""
    return values.reshape(1, -1) if values.ndim < 2 else values
