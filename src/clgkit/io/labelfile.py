"""Labels made elsewhere: any image file, a folder of 2-D masks, Cellpose's ``_seg.npy``."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NoReturn

import numpy as np
import numpy.typing as npt

from clgkit.data import as_uint32
from clgkit.errors import DataError
from clgkit.io.images import open_image
from clgkit.io.npyfile import BROKEN
from clgkit.io.omezarr import is_zarr
from clgkit.io.pixels import Image, View, existing
from clgkit.io.sniff import kind_of

if TYPE_CHECKING:
    from clgkit.data import Pixels

ADMITTED: Final = frozenset(
    [("numpy", "ndarray"), ("numpy", "dtype")]
    + [
        (f"numpy.{core}.{module}", name)
        for core in ("core", "_core")
        for module, name in (
            ("multiarray", "_reconstruct"),
            ("multiarray", "scalar"),
            ("numeric", "_frombuffer"),
        )
    ]
)
"""All that a ``_seg.npy`` may name: what rebuilds arrays of numbers."""
MASKS: Final = (".tif", ".tiff", ".png", ".npy")
RGB: Final = (3, 4)
DEPTH: Final = {2: "yx", 3: "zyx"}


@dataclass(frozen=True)
class LabelStack:
    """Labels as they lie in a file; slices are read and checked one by one.

    Parameters
    ----------
    image
        Axes z, y, x.
    separate
        The slices were labelled one by one: an id says nothing about other slices.
    """

    image: Image
    separate: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """Sizes along z, y, x."""
        n_z, n_y, n_x = self.image.shape
        return n_z, n_y, n_x

    def plane(self, z: int) -> npt.NDArray[np.uint32]:
        """Return one slice as uint32.

        Raises
        ------
        DataError
            ``E_SHAPE``: these are no labels, and why.
        """
        everything = slice(None)
        read = self.image.pixels[(slice(z, z + 1), everything, everything)]
        try:
            return as_uint32(np.asarray(read)[0])
        except DataError as error:
            where = f"{self.image.source}, slice {z}"
            raise DataError(f"{where}: {error.message}", code=error.code) from error

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[npt.NDArray[np.uint32]]:
        return (self.plane(z) for z in range(len(self)))


@dataclass(frozen=True)
class MaskFiles:
    """2-D masks, one file per slice, as pixels with axes z, y, x."""

    paths: tuple[Path, ...]
    plane: tuple[int, int]
    dtype: np.dtype[Any] = field(default=np.dtype(np.float64))

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes along z, y, x."""
        return (len(self.paths), *self.plane)

    def __getitem__(self, key: tuple[slice, ...], /) -> npt.NDArray[Any]:
        depth, *inside = key
        chosen = self.paths[depth]
        if not chosen:
            return np.empty((0, *self.plane), self.dtype)[(slice(None), *inside)]
        return np.stack([self._read(path)[tuple(inside)] for path in chosen])

    def _read(self, path: Path) -> npt.NDArray[Any]:
        mask = _open_mask(path).read()
        if mask.shape != self.plane:
            raise DataError(
                f"{path} has shape {mask.shape}, the first mask of its folder {self.plane}; all "
                "slices of a stack have one shape.",
                code="E_SHAPE",
            )
        return mask


def open_labels(
    path: Path | str, *, axes: str | None = None, dataset: str | None = None
) -> LabelStack:
    """Return the labels of a file or folder; nothing but headers is read.

    Parameters
    ----------
    path
        TIFF, HDF5, zarr, ``.npy``, ``.npz``, PNG, a ``_seg.npy`` of Cellpose, or a folder of 2-D
        masks in natural order (``m2.tif`` before ``m10.tif``).
    axes
        One letter per axis; default ``zyx``, or ``yx`` of a single slice, unless the file states
        others.
    dataset
        Which array of an HDF5, zarr or ``.npz`` file.

    Returns
    -------
    LabelStack
        Masks of a folder are `separate`: their ids begin anew in each slice and wait for
        stitching.  What the user should know is in ``image.notes``.

    Raises
    ------
    DataError
        ``E_AXES``: this is an RGB picture or has a time axis; ``E_PATH``, ``E_NOT_IMAGE``,
        ``E_TRUNCATED`` as :func:`clgkit.io.open_image`.
    """
    path = existing(path)
    separate = path.is_dir() and not is_zarr(path)
    image = _of_folder(path) if separate else _of_file(path, axes=axes, dataset=dataset)
    image = _as_zyx(image)
    if image.shape[0] == 1:
        note = "this is a single slice; nuclei are three-dimensional, their identity is not in it"
        image = replace(image, notes=(*image.notes, note))
    return LabelStack(image, separate)


def open_volume(path: Path | str, *, dataset: str | None = None) -> Image:
    """Return an image with axes z, y, x, lazily; the same guesses about axes as for labels."""
    return _as_zyx(_of_file(existing(path), axes=None, dataset=dataset))


def read_seg(path: Path | str) -> dict[str, Any]:
    """Return masks, file name and diameter of a ``_seg.npy`` of Cellpose.

    Such a file is a pickle, which can run programs when it is opened.  Here it is read by an
    unpickler that knows arrays of numbers and nothing else.

    Returns
    -------
    dict
        ``masks`` and, if they are there, ``filename`` and ``diameter``.

    Raises
    ------
    DataError
        ``E_NOT_IMAGE``: it names anything but arrays, or holds no masks; ``E_TRUNCATED``.
    """
    path = existing(path)
    try:
        with path.open("rb") as file:
            found = _unpickled(file, path)
    except DataError:
        raise
    except (
        *BROKEN,
        pickle.UnpicklingError,
        AttributeError,
        IndexError,
        TypeError,
        MemoryError,
    ) as error:
        raise DataError(
            f"{path} is no readable _seg.npy ({error}). Save it again from Cellpose.",
            code="E_TRUNCATED",
        ) from error
    masks = found.get("masks") if isinstance(found, dict) else None
    if not isinstance(masks, np.ndarray) or masks.dtype.kind not in "biuf":
        raise DataError(
            f"{path} holds no masks; a _seg.npy of Cellpose has them under that name.",
            code="E_NOT_IMAGE",
        )
    kept: dict[str, Any] = {"masks": masks}
    if "filename" in found:
        kept["filename"] = str(found["filename"])
    diameter = found.get("diameter", found.get("est_diam"))
    if isinstance(diameter, int | float | np.number) and np.isfinite(diameter):
        kept["diameter"] = float(diameter)
    return kept


def natural_order(paths: Sequence[Path]) -> list[Path]:
    """Return paths sorted by name, numbers in a name by their value."""

    def key(path: Path) -> list[tuple[int, int | str]]:
        parts = re.split(r"(\d+)", path.name.lower())
        return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts if part]

    return sorted(paths, key=lambda path: (key(path), path.name))


class _Unpickler(pickle.Unpickler):
    """Reads arrays of numbers and the plain types of Python, and no other class or function."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what rebuilds an array; refuse all else by name."""
        if (module, name) not in ADMITTED:
            raise DataError(
                f"it names {module}.{name}, which is no array of numbers and may run a program; "
                "it was not opened. Save the masks as .tif or .npy instead.",
                code="E_NOT_IMAGE",
            )
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)

    def persistent_load(self, pid: Any) -> NoReturn:
        """Refuse what lies outside the file."""
        raise DataError(f"it refers to {pid!r} outside of itself.", code="E_NOT_IMAGE")


def _unpickled(file: IO[bytes], path: Path) -> Any:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        read = np.lib.format.read_array_header_2_0
    _, _, dtype = read(file)
    if not dtype.hasobject:
        raise DataError(f"{path} is a plain array and no _seg.npy of Cellpose.")
    try:
        found = _Unpickler(file).load()
    except DataError as error:
        raise DataError(f"{path} cannot be trusted: {error.message}", code=error.code) from error
    return found.item() if isinstance(found, np.ndarray) and found.size == 1 else found


def _of_file(path: Path, *, axes: str | None, dataset: str | None) -> Image:
    if path.is_file() and path.name.endswith("_seg.npy"):
        masks = read_seg(path)["masks"]
        return Image(masks, axes or DEPTH.get(masks.ndim, ""), str(path))
    if path.is_file() and kind_of(path) == "png":
        return _of_png(path)
    try:
        return open_image(path, axes=axes, dataset=dataset)
    except DataError as error:
        if axes is not None or error.code != "E_AXES":
            raise
    for guess in DEPTH.values():
        try:
            return open_image(path, axes=guess, dataset=dataset)
        except DataError as error:
            last = error
    raise last


def _of_png(path: Path) -> Image:
    import imagecodecs  # noqa: PLC0415  (a third of a second)

    try:
        pixels = np.asarray(imagecodecs.png_decode(path.read_bytes()))
    except Exception as error:
        raise DataError(
            f"{path} is a damaged PNG picture ({error}). Copy it again.", code="E_TRUNCATED"
        ) from error
    return Image(pixels, "yx" if pixels.ndim == 2 else "yxc", str(path))


def _of_folder(folder: Path) -> Image:
    paths = [
        p for p in folder.iterdir() if p.suffix.lower() in MASKS and not p.name.startswith(".")
    ]
    if not paths:
        raise DataError(
            f"{folder} holds no masks; wanted is one 2-D image per slice ({', '.join(MASKS)}).",
            code="E_NOT_IMAGE",
        )
    paths = natural_order(paths)
    first = _open_mask(paths[0])
    n_y, n_x = first.shape
    pixels = MaskFiles(tuple(paths), (n_y, n_x), np.dtype(first.pixels.dtype))
    return Image(pixels, "zyx", str(folder))


def _open_mask(path: Path) -> Image:
    image = _as_zyx(_of_file(path, axes=None, dataset=None))
    if image.shape[0] != 1:
        raise DataError(
            f"{path} has {image.shape[0]} slices; in a folder of masks each file is one slice.",
            code="E_AXES",
        )
    return replace(image, pixels=View(image.pixels, (1, 2), ((0, 0),)), axes="yx")


def _as_zyx(image: Image) -> Image:
    """Return the image with axes z, y, x; refuse colours and time."""
    _refuse_colours(image)
    sizes = dict(zip(image.axes, image.shape, strict=False))
    extra = {axis: n for axis, n in sizes.items() if axis not in "zyx" and n > 1}
    if len(sizes) != len(image.shape) or not {"y", "x"} <= sizes.keys() or extra:
        raise DataError(
            f"{image.source} has shape {image.shape} and axes {image.axes!r}; labels have z, y "
            "and x. Say what each axis is with `axes`.",
            code="E_AXES",
        )
    fixed = tuple((image.axes.index(axis), 0) for axis in sizes if axis not in "zyx")
    order = tuple(image.axes.index(axis) if axis in image.axes else None for axis in "zyx")
    pixels: Pixels = View(image.pixels, order, fixed)
    return replace(image, pixels=pixels, axes="zyx")


def _refuse_colours(image: Image) -> None:
    has_channels = "c" in image.axes and image.shape[image.axes.index("c")] in RGB
    looks_so = image.axes == "zyx" and image.shape[-1] in RGB and min(image.shape[:2]) > 16
    if has_channels or looks_so:
        raise DataError(
            f"{image.source} is a picture in colours (RGB, shape {image.shape}); labels have one "
            "number per voxel. Save the ids themselves, not their colours.",
            code="E_AXES",
        )
