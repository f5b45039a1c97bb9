"""OME-Zarr images: NGFF 0.4 (zarr v2) and 0.5 (zarr v3), axes from their metadata."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import zarr

from clgkit.errors import DataError
from clgkit.io.pixels import (
    Image,
    Spacing,
    existing,
    native,
    numeric,
    settle_axes,
    sliced,
    trusted_letters,
)
from clgkit.io.tiffmeta import TO_S, TO_UM

MAX_COUNTED: Final = 200_000
MARKS: Final = ("zarr.json", ".zgroup", ".zarray", ".zattrs")


@dataclass(frozen=True)
class ZarrPixels:
    """One zarr array on the disk, opened anew after pickling."""

    path: Path
    shape: tuple[int, ...]
    stored: np.dtype[Any]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values, in native byte order."""
        return native(self.stored)

    def __getitem__(self, key: tuple[slice, ...], /) -> npt.NDArray[Any]:
        try:
            values = sliced(zarr.open_array(self.path, mode="r"), key, self.shape)
        except Exception as error:
            raise DataError(
                f"{self.path}: a chunk is damaged or cannot be read ({error}). "
                "Copy the folder again.",
                code="E_TRUNCATED",
            ) from error
        return np.asarray(values, dtype=self.dtype)


def open_omezarr(path: Path | str, *, axes: str | None = None, dataset: str | None = None) -> Image:
    """Return an image (or a bare zarr array), lazily.

    Parameters
    ----------
    path
        Folder of the image or of the array.
    axes
        One letter per axis; needed for arrays without NGFF metadata.
    dataset
        Pyramid level or group inside, such as ``"0"`` or ``"labels/nuclei"``;
        default the finest level.

    Raises
    ------
    DataError
        ``E_NOT_IMAGE``, ``E_AXES``, or ``E_DATA`` with what the folder holds.
    """
    path = existing(path)
    node = _open(path)
    if isinstance(node, zarr.Group) and dataset and "/" not in dataset.strip("/"):
        level = dataset if dataset in _levels(node) else None
    else:
        level = None
    if dataset and level is None:
        path = _inside(path, dataset)
        node = _open(path)
    if isinstance(node, zarr.Array):
        return _image(path, node, axes, trusted=_dimension_names(node))
    levels = _levels(node)
    if not levels:
        raise DataError(
            f"{path} is a zarr group without an NGFF image. Name an array with `dataset`; it "
            f"holds: {', '.join(sorted(node.keys())) or 'nothing'}."
        )
    name = level or next(iter(levels))
    array_path = _inside(path, name)
    array = _open(array_path)
    if not isinstance(array, zarr.Array):
        raise DataError(f"{array_path} is no zarr array.", code="E_NOT_IMAGE")
    try:
        return _ngff_image(array_path, array, node, levels[name], axes)
    except (TypeError, AttributeError, ValueError) as error:
        raise DataError(
            f"{path} has NGFF metadata that cannot be read ({error}). Write them again, or name "
            f"the array itself, such as {array_path}, and its axes.",
            code="E_NOT_IMAGE",
        ) from error


def is_zarr(path: Path) -> bool:
    """Tell whether a folder is a zarr group or array."""
    return any((path / mark).is_file() for mark in MARKS)


def _open(path: Path) -> zarr.Group | zarr.Array[Any]:
    if not path.is_dir() or not is_zarr(path):
        raise DataError(f"{path} is not a zarr folder: it has none of {', '.join(MARKS)}.",
                        code="E_NOT_IMAGE")  # fmt: skip
    try:
        return zarr.open(path, mode="r")
    except Exception as error:
        raise DataError(
            f"{path} is a zarr folder with damaged metadata ({error}). Copy it again.",
            code="E_NOT_IMAGE",
        ) from error


def _inside(root: Path, name: str) -> Path:
    path = (root / name).resolve()
    if not path.is_relative_to(root.resolve()):
        raise DataError(f"{name!r} points outside of {root}.", code="E_PATH")
    return path


def _multiscale(group: zarr.Group) -> Mapping[str, Any]:
    attributes = dict(group.attrs)
    inner = attributes.get("ome", attributes)
    scales = inner.get("multiscales") if isinstance(inner, Mapping) else None
    if isinstance(scales, Sequence) and scales and isinstance(scales[0], Mapping):
        return scales[0]
    return {}


def _levels(group: zarr.Group) -> dict[str, Mapping[str, Any]]:
    found = _multiscale(group).get("datasets", [])
    listed = found if isinstance(found, list) else []
    levels = [level for level in listed if isinstance(level, Mapping) and "path" in level]
    return {str(level["path"]): level for level in levels}


def _ngff_image(
    path: Path,
    array: zarr.Array[Any],
    group: zarr.Group,
    level: Mapping[str, Any],
    axes: str | None,
) -> Image:
    scale = _multiscale(group)
    said = [axis if isinstance(axis, Mapping) else {"name": axis} for axis in scale.get("axes", [])]
    names = [str(axis.get("name", "")).lower() for axis in said]
    trusted = trusted_letters(names) if len(names) == array.ndim else None
    steps = _steps(scale, level, array.ndim)
    spacing: dict[str, float] = {}
    rate = None
    for axis, name, step in zip(said, names, steps, strict=False):
        unit = str(axis.get("unit", "")).lower()
        if name in ("z", "y", "x") and step > 0 and unit in TO_UM:
            spacing[name] = step * TO_UM[unit]
        if name == "t" and step > 0 and unit in TO_S:
            rate = 1 / (step * TO_S[unit])
    voxel: Spacing | None = (
        (spacing.get("z"), spacing.get("y"), spacing.get("x")) if spacing else None
    )
    return _image(
        path, array, axes, trusted=trusted, voxel_um=voxel, rate_hz=rate,
        channels=_channel_names(group),
    )  # fmt: skip


def _steps(scale: Mapping[str, Any], level: Mapping[str, Any], ndim: int) -> list[float]:
    steps = np.ones(ndim)
    for place in (level, scale):
        for change in place.get("coordinateTransformations", []):
            if change.get("type") == "scale" and len(change.get("scale", [])) == ndim:
                steps *= np.asarray(change["scale"], dtype=np.float64)
    return [float(step) for step in steps]


def _channel_names(group: zarr.Group) -> tuple[str, ...]:
    attributes: dict[str, Any] = dict(group.attrs)
    inner = attributes.get("ome", attributes)
    omero = inner.get("omero", {}) if isinstance(inner, Mapping) else {}
    channels = omero.get("channels", []) if isinstance(omero, Mapping) else []
    return tuple(str(channel.get("label", "")) for channel in channels)


def _dimension_names(array: zarr.Array[Any]) -> str | None:
    names = getattr(array.metadata, "dimension_names", None)
    return trusted_letters(names) if names and len(names) == array.ndim else None


def _image(
    path: Path,
    array: zarr.Array[Any],
    axes: str | None,
    *,
    trusted: str | None,
    voxel_um: Spacing | None = None,
    rate_hz: float | None = None,
    channels: tuple[str, ...] = (),
) -> Image:
    if not numeric(np.dtype(array.dtype)):
        raise DataError(f"{path} holds {array.dtype}, not numbers.", code="E_NOT_IMAGE")
    settled = settle_axes(
        str(path), array.shape, axes, trusted, why="no NGFF metadata that name its axes"
    )
    pixels = ZarrPixels(path, tuple(array.shape), np.dtype(array.dtype))
    notes = _absent_chunks(path, array)
    return Image(pixels, settled, str(path), voxel_um, rate_hz, channels, notes)


def _absent_chunks(path: Path, array: zarr.Array[Any]) -> tuple[str, ...]:
    """Say how many chunk files are absent; they read as the fill value, which may be right.

    Arrays of more than `MAX_COUNTED` files are not counted, which would take minutes.
    """
    shards = getattr(array, "shards", None) or array.chunks
    wanted = int(np.prod([-(-n // c) for n, c in zip(array.shape, shards, strict=True)]))
    if wanted > MAX_COUNTED:
        return ()
    there = sum(
        1
        for file in path.rglob("*")
        if re.fullmatch(r"(?:c|\d+)(?:[./]\d+)*", file.relative_to(path).as_posix())
        and file.is_file()
    )
    if there >= wanted:
        return ()
    return (
        (
            f"{wanted - there} of {wanted} chunk files are absent and read as {array.fill_value}: "
            "either they were blank, or the copy is incomplete"
        ),
    )
