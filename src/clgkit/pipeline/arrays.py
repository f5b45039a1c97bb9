"""How one labelled array lies on the disk: a zarr v3 group that viewers open as it is.

::

    <name>.zarr/            group; image arrays carry OME-NGFF 0.5 metadata
    ├── 0                   the values, zstd with checksum, empty chunks written
    └── coords/<coord>      one array per coordinate

Images are stored one plane per chunk, several frames of one plane to a shard; one block
of work owns whole shards, so no two writers ever touch the same file.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr
from yaozarrs import v05
from zarr.codecs import ZstdCodec
from zarr.storage import LocalStore

from clgkit import fsio
from clgkit.blocks import Output
from clgkit.data import lazy
from clgkit.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zarr.core.buffer import Buffer

Array = npt.NDArray[Any]
ROWS = 4096
UNITS = {"um": "micrometer", "s": "second"}


class RecordingStore(LocalStore):
    """A folder store that writes through `fsio` and remembers what it wrote.

    It shows no values: a block replaces whole chunks (or shards), whatever lies there.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.written: dict[str, fsio.Written] = {}

    async def get(self, key: str, *given: Any, **options: Any) -> Buffer | None:
        """Read metadata."""
        return None if "/c/" in key else await super().get(key, *given, **options)

    async def set(self, key: str, value: Buffer) -> None:
        """Write one key in one step."""
        path = Path(self.root) / key
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
        data = value.as_numpy_array().tobytes()
        self.written[key] = await asyncio.to_thread(fsio.write_bytes, path, data)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write one key unless it is there; groups that hold coordinates are made like this."""
        if not (Path(self.root) / key).exists():
            await self.set(key, value)


def create(folder: Path, made: Output, split: Mapping[str, int]) -> dict[str, fsio.Written]:
    """Make the group of `made` with its metadata and coordinates, without values.

    Parameters
    ----------
    folder
        The group's folder, ``<name>.zarr``.
    made
        What will be stored.
    split
        Dimension → length of the blocks that will be written.

    Returns
    -------
    dict
        File below `folder` → size and checksum.
    """
    folder.mkdir(parents=True, exist_ok=True)
    store = RecordingStore(folder)
    attributes: dict[str, Any] = {
        "clgkit": {
            "attrs": dict(made.attrs),
            "coords": {
                name: {"dims": list(dims), "attrs": dict(attrs)}
                for name, (dims, _, attrs) in made.coords.items()
            },
        }
    }
    if is_image(made):
        attributes["ome"] = _ngff(made)
    group = zarr.create_group(store, attributes=attributes, overwrite=False)
    _create(group, replace(made, name="0"), *_grid(made, split))
    for name, (dims, values, _) in made.coords.items():
        array = np.asarray(values)
        spec = Output(f"coords/{name}", dims, array.shape, array.dtype)
        stored = _create(group, spec, tuple(max(1, n) for n in array.shape), None)
        if array.size:
            stored[...] = array
    return store.written


def _create(
    group: zarr.Group, spec: Output, chunks: tuple[int, ...], shards: tuple[int, ...] | None
) -> zarr.Array[Any]:
    return group.create_array(
        spec.name,
        shape=spec.shape,
        dtype=spec.dtype,
        chunks=chunks,
        shards=shards,
        compressors=[ZstdCodec(level=1, checksum=True)],
        fill_value=spec.fill,
        dimension_names=spec.dims,
        config={"write_empty_chunks": True},
    )


def _grid(made: Output, split: Mapping[str, int]) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """Return chunk and shard lengths: a shard belongs to one block alone."""
    sizes = dict(zip(made.dims, made.shape, strict=True))
    block = {dim: max(1, min(split.get(dim, n), n)) for dim, n in sizes.items()}
    if is_image(made):
        chunk = {dim: n if dim in "yx" else 1 for dim, n in block.items()}
        shard = tuple(block.values())
        return tuple(chunk.values()), None if shard == tuple(chunk.values()) else shard
    rows = {dim: n if dim in split else min(n, ROWS) for dim, n in block.items()}
    return tuple(rows.values()), None


def is_image(made: Output) -> bool:
    """Tell whether an output is a picture that viewers can open."""
    return {"y", "x"} <= set(made.dims) <= {"time", "z", "y", "x"}


def _ngff(made: Output) -> dict[str, Any]:
    """Return OME-NGFF 0.5 metadata of an image, as plain values."""
    axes: list[Any] = []
    scale = []
    for dim in made.dims:
        coord = made.coords.get(dim)
        step = 1.0
        unit = None
        if coord is not None:
            values = np.asarray(coord[1])
            step = float(values[1] - values[0]) if len(values) > 1 else 1.0
            unit = UNITS.get(str(coord[2].get("units")))
        scale.append(step)
        if dim == "time":
            axes.append(v05.TimeAxis(name="t", unit=unit))
        elif dim in "zyx":
            axes.append(v05.SpaceAxis(name=dim, unit=unit))
        else:
            axes.append(v05.CustomAxis(name=dim))
    dataset = v05.Dataset(
        path="0", coordinateTransformations=[v05.ScaleTransformation(scale=scale)]
    )
    image = v05.Image(multiscales=[v05.Multiscale(name=made.name, axes=axes, datasets=[dataset])])
    return dict(image.model_dump(mode="json", exclude_none=True))


def write(folder: Path, region: tuple[slice, ...], values: Array) -> dict[str, fsio.Written]:
    """Write one block, which must cover whole chunks (or shards), and return its files."""
    if values.size == 0:
        return {}
    store = RecordingStore(folder)
    array = zarr.open_array(store, path="0", mode="r+")
    array[region] = values
    return store.written


class ZarrPixels:
    """The values of a stored array, read on demand; travels to worker processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._array: zarr.Array[Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Travel without the open array."""
        return {"folder": self.folder, "_array": None}

    @property
    def array(self) -> zarr.Array[Any]:
        """The open zarr array."""
        if self._array is None:
            self._array = zarr.open_array(LocalStore(self.folder, read_only=True), path="0")
        return self._array

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes along each axis."""
        return tuple(self.array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored values."""
        return np.dtype(self.array.dtype)

    def __getitem__(self, key: tuple[slice, ...]) -> Array:
        """Read a part.

        Raises
        ------
        StoreError
            If what is read is not what was written.
        """
        try:
            return np.asarray(self.array[key])
        except (RuntimeError, ValueError) as error:  # what codecs raise of a wrong checksum
            raise StoreError(
                f"{self.folder} is damaged ({error}). Mend it with `clg run --check`."
            ) from error


def load(folder: Path) -> xr.DataArray:
    """Return a stored array, labelled; its values are read when they are asked for."""
    group = zarr.open_group(LocalStore(folder, read_only=True), mode="r")
    meta: Any = group.attrs["clgkit"]
    pixels = ZarrPixels(folder)
    names = getattr(pixels.array.metadata, "dimension_names", None) or ()
    dims = tuple(str(dim) for dim in names)
    coords = {
        name: (tuple(about["dims"]), np.asarray(group[f"coords/{name}"]), about["attrs"])
        for name, about in meta["coords"].items()
    }
    data: Any = lazy(pixels) if math.prod(pixels.shape) else np.empty(pixels.shape, pixels.dtype)
    return xr.DataArray(
        xr.Variable(dims, data),
        coords=coords,
        name=folder.stem,
        attrs=dict(meta["attrs"]),
    )
