"""Open any image by its content and make it a Movie, a Volume or Labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clgkit import data
from clgkit.errors import DataError
from clgkit.io.hdf5 import open_hdf5
from clgkit.io.npyfile import open_numpy
from clgkit.io.omezarr import is_zarr, open_omezarr
from clgkit.io.pixels import Image, View, existing, existing_file, pick_channel
from clgkit.io.planefolder import open_planes
from clgkit.io.sniff import kind_of, not_an_image
from clgkit.io.tiff import open_tiff

if TYPE_CHECKING:
    import xarray as xr

    from clgkit.data import Labels, Movie, Pixels, Volume

Voxel = tuple[float, float, float]


def open_image(
    path: Path | str,
    *,
    axes: str | None = None,
    dataset: str | None = None,
    channel: int | str | None = None,
    salvage: bool = False,
    trim: bool = False,
) -> Image:
    """Return the pixels of a file or folder, lazily; the format is told by the content.

    Parameters
    ----------
    path
        TIFF (BigTIFF, ImageJ, OME), a folder of ``z_02.tif`` …, HDF5, OME-Zarr, .npy or .npz.
    axes
        One letter per axis, such as ``tzyx``; compulsory unless the file states them.
    dataset
        Which array of an HDF5, zarr or .npz file.
    channel
        Index or name; compulsory where there are several.
    salvage
        Use what is readable of a truncated TIFF.
    trim
        Use the shortest plane of a folder of planes.

    Raises
    ------
    DataError
        One sentence: what was found, what was wanted, what to do.
    """
    path = existing(path)
    image = _open(path, axes=axes, dataset=dataset, salvage=salvage, trim=trim)
    return pick_channel(image, channel)


def _open(path: Path, *, axes: str | None, dataset: str | None, salvage: bool, trim: bool) -> Image:
    if path.is_dir():
        if is_zarr(path):
            return open_omezarr(path, axes=axes, dataset=dataset)
        return open_planes(path, trim=trim, salvage=salvage)
    kind = kind_of(existing_file(path))
    if kind == "tiff":
        return open_tiff(path, axes=axes, salvage=salvage)
    if kind in ("hdf5", "mat73"):
        return open_hdf5(path, axes=axes, dataset=dataset)
    if kind in ("npy", "npz"):
        return open_numpy(path, axes=axes, dataset=dataset)
    raise not_an_image(path, "an image")


def as_movie(image: Image, *, rate_hz: float | None = None, voxel_um: Voxel | None = None) -> Movie:
    """Return the image as (time, z, y, x); a single plane gets an axis z of length 1.

    Raises
    ------
    DataError
        ``E_AXES``: it has no time axis; ``E_DATA``: voxel size or rate are not known.
    """
    if "t" not in image.axes:
        raise DataError(
            f"{image.source} has the axes {image.axes!r}; a movie needs time (t). "
            f'Is this a volume? If it is a movie of one frame, say so: axes = "t{image.axes}".',
            code="E_AXES",
        )
    image = pick_channel(image, None)
    voxel = _voxel(image, voxel_um)
    rate = rate_hz if rate_hz is not None else image.rate_hz
    if rate is None or not np.isfinite(rate) or rate <= 0:
        raise DataError(
            f"{image.source} does not say how many volumes are taken per second. "
            "Set `rate_hz`, such as rate_hz = 2.0."
        )
    return _noted(data.movie(_ordered(image, "tzyx"), rate_hz=rate, voxel_um=voxel), image)


def as_volume(image: Image, *, voxel_um: Voxel | None = None) -> Volume:
    """Return the image as (z, y, x).

    Raises
    ------
    DataError
        ``E_AXES``: it is a movie; ``E_DATA``: the voxel size is not known.
    """
    pixels = _volume_pixels(image)
    return _noted(data.volume(pixels, voxel_um=_voxel(image, voxel_um)), image)


def as_labels(image: Image, *, voxel_um: Voxel | None = None) -> Labels:
    """Return the image as (z, y, x) uint32 labels.

    Raises
    ------
    DataError
        As :func:`as_volume`, and ``E_SHAPE`` where the values are no labels.
    """
    pixels = _volume_pixels(image)
    return _noted(data.labels(pixels, voxel_um=_voxel(image, voxel_um)), image)


def read_movie(
    path: Path | str,
    *,
    axes: str | None = None,
    rate_hz: float | None = None,
    voxel_um: Voxel | None = None,
    dataset: str | None = None,
    channel: int | str | None = None,
    salvage: bool = False,
    trim: bool = False,
) -> Movie:
    """Return the movie of a file or of a folder of planes; pixels are read on demand.

    The options are those of :func:`open_image` and :func:`as_movie`.
    """
    image = open_image(
        path, axes=axes, dataset=dataset, channel=channel, salvage=salvage, trim=trim
    )
    return as_movie(image, rate_hz=rate_hz, voxel_um=voxel_um)


def read_volume(
    path: Path | str,
    *,
    axes: str | None = None,
    voxel_um: Voxel | None = None,
    dataset: str | None = None,
    channel: int | str | None = None,
    salvage: bool = False,
    trim: bool = False,
) -> Volume:
    """Return the volume of a file; pixels are read on demand.

    The options are those of :func:`open_image` and :func:`as_volume`.
    """
    image = open_image(
        path, axes=axes, dataset=dataset, channel=channel, salvage=salvage, trim=trim
    )
    return as_volume(image, voxel_um=voxel_um)


def read_labels(
    path: Path | str,
    *,
    axes: str | None = None,
    voxel_um: Voxel | None = None,
    dataset: str | None = None,
    channel: int | str | None = None,
    salvage: bool = False,
    trim: bool = False,
) -> Labels:
    """Return the labels of a file as uint32.

    The options are those of :func:`open_image` and :func:`as_labels`.
    """
    image = open_image(
        path, axes=axes, dataset=dataset, channel=channel, salvage=salvage, trim=trim
    )
    return as_labels(image, voxel_um=voxel_um)


def _volume_pixels(image: Image) -> Pixels:
    image = pick_channel(image, None)
    if "t" in image.axes:
        at = image.axes.index("t")
        if image.shape[at] != 1:
            raise DataError(
                f"{image.source} has {image.shape[at]} time points (axes {image.axes!r}); "
                "a volume has one. If the first axis is depth, set axes = 'zyx'.",
                code="E_AXES",
            )
        order = tuple(i for i in range(len(image.axes)) if i != at)
        pixels = View(image.pixels, order, ((at, 0),))
        image = replace(image, pixels=pixels, axes=image.axes.replace("t", ""))
    return _ordered(image, "zyx")


def _ordered(image: Image, wanted: str) -> Pixels:
    if image.axes == wanted:
        return image.pixels
    order = tuple(image.axes.index(k) if k in image.axes else None for k in wanted)
    return View(image.pixels, order)


def _voxel(image: Image, given: Voxel | None) -> Voxel:
    said: tuple[float | None, ...] = given or image.voxel_um or (None, None, None)
    if "z" not in image.axes and said[0] is None and None not in said[1:]:
        said = (1.0, *said[1:])
    if len(said) != 3 or any(step is None or not 0 < step < np.inf for step in said):
        raise DataError(
            f"{image.source} does not say how large a voxel is (z, y, x: {said}). "
            "Set `voxel_um`, such as voxel_um = [5.0, 0.5, 0.5]."
        )
    z, y, x = (float(step or 0) for step in said)
    return z, y, x


def _noted(array: xr.DataArray, image: Image) -> xr.DataArray:
    array.attrs["source"] = image.source
    if image.notes:
        array.attrs["notes"] = list(image.notes)
    if image.missing:
        array.attrs["missing_planes"] = list(image.missing)
    return array
