"""HDF5 datasets as lazy pixels, and the writing of HDF5 (in a child process, see `child`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from clgkit.errors import DataError, StoreError
from clgkit.io.pixels import (
    Image,
    Spacing,
    existing_file,
    native,
    numeric,
    settle_axes,
    sliced,
    trusted_letters,
)
from clgkit.io.sniff import kind_of, not_an_image


@dataclass(frozen=True)
class HdfPixels:
    """One dataset of an HDF5 file; the file is open only while it is sliced."""

    path: Path
    dataset: str
    shape: tuple[int, ...]
    stored: np.dtype[Any]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values, in native byte order."""
        return native(self.stored)

    def __getitem__(self, key: tuple[slice, ...], /) -> npt.NDArray[Any]:
        with opened(self.path) as file:
            values = sliced(file[self.dataset], key, self.shape)
        return np.asarray(values, dtype=self.dtype)


def open_hdf5(path: Path | str, *, axes: str | None = None, dataset: str | None = None) -> Image:
    """Return one dataset of an HDF5 file, lazily.

    Parameters
    ----------
    path
        The file.
    axes
        One letter per axis; compulsory unless the dataset has labelled dimensions.
    dataset
        Its name; may be left out where only one holds numbers in two or more dimensions.

    Raises
    ------
    DataError
        ``E_NOT_IMAGE``, ``E_TRUNCATED``, ``E_AXES``, or ``E_DATA`` with a list of the datasets.
    """
    path = existing_file(path)
    if kind_of(path) not in ("hdf5", "mat73"):
        raise not_an_image(path, "an HDF5 file")
    with opened(path) as file:
        name = dataset if dataset is not None else _only_one(path, file)
        found = get_dataset(path, file, name)
        if not numeric(found.dtype) or found.ndim < 2:
            raise DataError(
                f"{path}: dataset {name!r} has shape {found.shape} and type {found.dtype}; an "
                f"image has two or more axes of numbers. It holds:{listing(file)}",
                code="E_NOT_IMAGE",
            )
        source = f"{path}:{name}"
        settled = settle_axes(
            source, found.shape, axes, _labelled(found), why="no labels on its dimensions"
        )
        return Image(
            HdfPixels(path, name, tuple(found.shape), found.dtype),
            settled,
            source,
            voxel_um=_spacing(found),
            channels=_channel_names(found),
        )


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading, without locks; explain what is wrong with a bad one."""
    try:
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        code = "E_TRUNCATED" if "truncated" in str(error) else "E_NOT_IMAGE"
        what = "is truncated" if code == "E_TRUNCATED" else "cannot be opened as HDF5"
        raise DataError(f"{path} {what} ({error}). Copy it again.", code=code) from error
    with file:
        try:
            yield file
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            raise DataError(
                f"{path} is damaged: {error}. Copy it again.", code="E_TRUNCATED"
            ) from error


def get_dataset(path: Path, file: h5py.File, name: str) -> h5py.Dataset:
    """Return a dataset of this very file; links to other files are not followed."""
    place = ""
    for part in name.strip("/").split("/"):
        place = f"{place}/{part}"
        link = file.get(place, getlink=True) if place in file else None
        if isinstance(link, h5py.ExternalLink):
            raise DataError(
                f"{path}: {name!r} is a link to another file ({link.filename!r}); links are not "
                "followed. Open that file instead.",
                code="E_PATH",
            )
        if link is None:
            raise DataError(f"{path} has no dataset {name!r}; it holds:{listing(file)}")
    try:
        found = file[name]
    except KeyError as error:
        raise DataError(
            f"{path}: {name!r} is a link that leads nowhere; the file holds:{listing(file)}"
        ) from error
    if not isinstance(found, h5py.Dataset):
        raise DataError(f"{path}: {name!r} is a group; the file holds:{listing(file)}")
    if _is_elsewhere(found, file):
        raise DataError(
            f"{path}: the values of {name!r} lie in other files, which are not followed. "
            "Copy the dataset into one file.",
            code="E_PATH",
        )
    return found


def _is_elsewhere(dataset: h5py.Dataset, file: h5py.File) -> bool:
    """Tell whether a dataset, or its values, lie in another file, by whatever kind of link."""
    here, there = (h5py.h5o.get_info(item.id).fileno for item in (file, dataset))
    return bool(here != there or dataset.external or dataset.is_virtual)


def datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Return all datasets that lie in the file itself and whose names are text."""
    found: dict[str, h5py.Dataset] = {}

    def visit(name: str | bytes, item: object) -> None:
        if isinstance(item, h5py.Dataset) and isinstance(name, str):
            found[name] = item

    file.visititems(visit)
    return found


def listing(file: h5py.File) -> str:
    """Return one line per dataset: name, shape, type."""
    found = [f"\n  - {name} {d.shape} {d.dtype}" for name, d in datasets(file).items()]
    more = f"\n  - and {len(found) - 40} more" if len(found) > 40 else ""
    return "".join(found[:40]) + more or " no dataset"


def _only_one(path: Path, file: h5py.File) -> str:
    fit = [name for name, d in datasets(file).items() if numeric(d.dtype) and d.ndim >= 2]
    if len(fit) == 1:
        return fit[0]
    raise DataError(
        f"{path} holds {len(fit)} datasets that can be an image. Choose one with `dataset`, "
        f"such as dataset = {(fit or ['raw'])[0]!r}; the file holds:{listing(file)}"
    )


def _labelled(dataset: h5py.Dataset) -> str | None:
    labels = np.asarray(dataset.attrs.get("DIMENSION_LABELS", ())).ravel()
    return trusted_letters([_text(k) for k in labels]) if len(labels) == dataset.ndim else None


def _spacing(dataset: h5py.Dataset) -> Spacing | None:
    values = np.asarray(dataset.attrs.get("element_size_um", ())).ravel()
    if values.dtype.kind not in "iuf" or len(values) != 3:
        return None
    if not np.all((values > 0) & (values < np.inf)):
        return None
    return float(values[0]), float(values[1]), float(values[2])


def _channel_names(dataset: h5py.Dataset) -> tuple[str, ...]:
    said = dataset.attrs.get("channel_names")
    return tuple(_text(name) for name in said.ravel()) if isinstance(said, np.ndarray) else ()


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def write(temporary: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write arrays as gzip-compressed datasets and compare them with what is read back.

    Call it through :func:`clgkit.io.child.write_in_child`: on a full disk the HDF5
    library ends the process.
    """
    with h5py.File(temporary, "w") as file:
        for name, values in arrays.items():
            options = {"compression": "gzip"} if values.ndim and values.size else {}
            file.create_dataset(name, data=values, **options)
    with h5py.File(temporary, "r") as file:
        for name, values in arrays.items():
            compare(name, values, file[name][()])


def compare(name: str, written: npt.NDArray[Any], read: npt.NDArray[Any]) -> None:
    """Raise `StoreError` unless two arrays agree in shape, type and every value."""
    same = written.shape == read.shape and written.dtype == read.dtype
    if not same or not np.array_equal(written, read, equal_nan=written.dtype.kind == "f"):
        raise StoreError(f"{name!r} did not read back as it was written. Is the disk failing?")
