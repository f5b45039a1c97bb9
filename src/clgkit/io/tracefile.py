"""Traces of cells in the original's bundles (.h5, .mat, .npz) and in plain matrices."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.io

from clgkit import fsio
from clgkit.errors import DataError
from clgkit.io import hdf5, mat73, npyfile
from clgkit.io.child import write_in_child
from clgkit.io.pixels import existing_file, native, numeric, writable
from clgkit.io.sniff import kind_of, not_an_image

KEYS: Final = ("trace", "pos", "nucIndex", "nucArea")
MAT5_LIMIT: Final = 2 << 30


class TraceBundle(NamedTuple):
    """Traces with the place and the nucleus of each.

    Parameters
    ----------
    trace
        (N, T), dtype of the file.
    position
        (N, 3) z, y, x as stored (the original: index units); (N, 2) in some files of
        others; None if the file does not say.
    nucleus
        (N,) label of the nucleus; None if the file does not say.
    area
        (N,) pixels of the roi (ours; the original's files do not have it); None if the file
        does not say.
    """

    trace: npt.NDArray[Any]
    position: npt.NDArray[np.float64] | None = None
    nucleus: npt.NDArray[Any] | None = None
    area: npt.NDArray[Any] | None = None


def read_traces(
    path: Path | str,
    *,
    key: str | None = None,
    position_key: str | None = None,
    nucleus_key: str | None = None,
    transpose: bool = False,
) -> TraceBundle:
    """Return the traces of a file.

    Parameters
    ----------
    path
        ``.h5``, ``.mat`` (5, 7 and 7.3), ``.npz`` or ``.npy``; told by the content.
    key, position_key, nucleus_key
        Names of the variables; default ``trace``, ``pos`` and ``nucIndex`` where present.
    transpose
        The matrix is stored as (T, N).

    Raises
    ------
    DataError
        ``E_SHAPE``: they disagree in N; ``E_DATA``: with a list of the variables.
    """
    path = existing_file(path)
    source = _Source(path)
    names = source.variables
    bundled = key is None and "trace" in names
    key = "trace" if bundled else key
    if not names:
        trace = source.read("")
    elif key is None:
        raise DataError(f"{path} has no variable 'trace'; choose one with `key`:{source.listing}")
    else:
        trace = source.read(key)
    if bundled:
        position_key = position_key or ("pos" if "pos" in names else None)
        nucleus_key = nucleus_key or ("nucIndex" if "nucIndex" in names else None)
    has_area = bundled and "nucArea" in names
    bundle = TraceBundle(
        trace.T if transpose else trace,
        None if position_key is None else source.read(position_key).astype(np.float64),
        None if nucleus_key is None else _flat(source.read(nucleus_key)),
        _flat(source.read("nucArea")) if has_area else None,
    )
    _check(bundle, str(path))
    return bundle


def write_traces(path: Path | str, bundle: TraceBundle, *, mat5_limit: int = MAT5_LIMIT) -> None:
    """Write a bundle as the original does: ``trace``, ``pos``, ``nucIndex``; and ``nucArea``.

    Parameters
    ----------
    path
        Ends in ``.h5`` (gzip), ``.npz`` or ``.mat``.
    bundle
        Traces, positions, nuclei, areas.
    mat5_limit
        A ``.mat`` with an array of so many bytes becomes MATLAB 7.3, smaller ones version 5.

    Raises
    ------
    DataError
        If the bundle is inconsistent, the format cannot keep its type, or the suffix is another;
        ``E_PATH``: the folder is not there.
    ResourceError, StoreError
        If the disk is too small, or the file does not read back as it was written.
    """
    path = writable(path)
    _check(bundle, "This bundle")
    arrays = {k: np.asarray(v) for k, v in zip(KEYS, bundle, strict=True) if v is not None}
    _check_kinds(path, arrays)
    if path.suffix == ".h5":
        write_in_child(path, "hdf5", arrays)
    elif path.suffix == ".npz":
        fsio.publish(path, lambda p: _save_npz(p, arrays), lambda p: _compare(p, arrays))
    elif path.suffix == ".mat" and max(v.nbytes for v in arrays.values()) >= mat5_limit:
        write_in_child(path, "mat73", arrays)
    elif path.suffix == ".mat":
        fsio.publish(path, lambda p: _save_mat5(p, arrays), lambda p: _compare(p, arrays))
    else:
        raise DataError(f"{path.name}: traces are written as .h5, .mat or .npz.", code="E_PATH")


class _Source:
    """The variables of a file of any of the formats; none for a ``.npy``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kind = kind_of(path)
        if self.kind == "hdf5" and path.suffix == ".mat":
            self.kind = "mat73"
        if self.kind == "hdf5":
            with hdf5.opened(path) as file:
                found = hdf5.datasets(file).items()
                self.variables = {name: f"{d.shape} {d.dtype}" for name, d in found}
        elif self.kind == "mat73":
            self.variables = mat73.variables(path)
        elif self.kind == "mat5":
            self.variables = _mat5_variables(path)
        elif self.kind == "npz":
            headers = npyfile.npz_headers(path).items()
            self.variables = {name: f"{h.shape} {h.dtype}" for name, h in headers}
        elif self.kind == "npy":
            self.variables = {}
        else:
            raise not_an_image(path, "a file of traces (.h5, .mat, .npz, .npy)")

    @property
    def listing(self) -> str:
        return "".join(f"\n  - {name} {look}" for name, look in list(self.variables.items())[:60])

    def read(self, name: str) -> npt.NDArray[Any]:
        if self.kind != "npy" and name not in self.variables:
            raise DataError(f"{self.path} has no variable {name!r}; it holds:{self.listing}")
        values = self._read(name)
        if not numeric(values.dtype):
            raise DataError(f"{self.path}: {name!r} holds {values.dtype}, not numbers.")
        return values.astype(native(values.dtype), copy=False)

    def _read(self, name: str) -> npt.NDArray[Any]:
        if self.kind == "npy":
            return np.array(npyfile.map_npy(self.path))
        if self.kind == "npz":
            return npyfile.read_npz(self.path, name)
        if self.kind == "mat73":
            return mat73.read(self.path, name)
        if self.kind == "mat5":
            return _read_mat5(self.path, name, self.variables)
        with hdf5.opened(self.path) as file:
            found = hdf5.get_dataset(self.path, file, name)
            if not numeric(found.dtype):
                raise DataError(f"{self.path}: {name!r} holds {found.dtype}, not numbers.")
            return np.asarray(found[()])


def _mat5_variables(path: Path) -> dict[str, str]:
    try:
        return {name: f"{shape} {kind}" for name, shape, kind in scipy.io.whosmat(path)}
    except Exception as error:
        raise _damaged_mat(path, error) from error


def _read_mat5(path: Path, name: str, names: Mapping[str, str]) -> npt.NDArray[Any]:
    kind = names[name].rpartition(" ")[2]
    if kind in ("cell", "struct", "object", "function", "opaque", "char", "unknown"):
        raise DataError(
            f"{path}: {name!r} is a MATLAB {kind}, not a matrix of numbers. "
            "Save it as a plain matrix."
        )
    try:
        loaded = scipy.io.loadmat(path, variable_names=[name])[name]
    except Exception as error:
        raise _damaged_mat(path, error) from error
    values = np.asarray(loaded.toarray() if kind == "sparse" else loaded)
    return values.astype(bool) if kind == "logical" else values


def _damaged_mat(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path} is truncated or damaged ({error}). Copy it again.", code="E_TRUNCATED"
    )


def _flat(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return (1, N), (N, 1) and MATLAB's empty (0, 0) as (N,)."""
    row = values.ndim == 2 and (1 in values.shape or values.size == 0)
    return values.reshape(-1) if row else values


def _check(bundle: TraceBundle, source: str) -> None:
    trace, position, nucleus, area = bundle
    if trace.ndim != 2:
        raise DataError(
            f"{source}: traces are a matrix (cells, frames); this has shape {trace.shape}.",
            code="E_SHAPE",
        )
    wrong = []
    if position is not None and (position.ndim != 2 or position.shape[0] != len(trace)):
        wrong.append(f"positions have shape {position.shape}")
    if nucleus is not None and nucleus.shape != (len(trace),):
        wrong.append(f"nuclei have shape {nucleus.shape}")
    if area is not None and area.shape != (len(trace),):
        wrong.append(f"areas have shape {area.shape}")
    if wrong:
        raise DataError(
            f"{source}: there are {len(trace)} traces, but {' and '.join(wrong)}. All need "
            "one row per cell; is the matrix stored as (frames, cells)? Then set transpose.",
            code="E_SHAPE",
        )


def _check_kinds(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    kept = set(mat73.CLASSES) if path.suffix == ".mat" else None
    for name, values in arrays.items():
        if not numeric(values.dtype) or (kept is not None and values.dtype.str[1:] not in kept):
            raise DataError(
                f"{path.name}: {name!r} holds {values.dtype}, which a file of traces cannot keep; "
                "store it as float32 or float64.",
                code="E_SHAPE",
            )


def _save_npz(temporary: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    with temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **dict(arrays))


def _save_mat5(temporary: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    rows = {name: mat73.at_least_2d(values) for name, values in arrays.items()}
    scipy.io.savemat(temporary, rows, appendmat=False, do_compression=True)


def _compare(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    source = _Source(path)
    for name, values in arrays.items():
        again = source.read(name)
        if again.shape != values.shape:
            again = again.reshape(values.shape) if again.size == values.size else again
        hdf5.compare(name, values.astype(native(values.dtype), copy=False), again)
