"""Folders of annotated slices and stacks, by the names that Cellpose uses."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from clgkit.errors import ClgError, DataError
from clgkit.io.cellpose import find_images, find_masks
from clgkit.io.labelfile import LabelStack, open_labels, open_volume
from clgkit.io.pixels import Image, existing

IMAGES: Final = (".tif", ".tiff", ".png")
MOST_DISTINCT: Final = 0.05  # of the pixels of a slice: labels have fewer different values
LEAST_ALIKE: Final = 0.3  # of the neighbours inside of labels: an image has fewer that are equal
SMALLEST_PX: Final = 16


class AnnotatedStack(NamedTuple):
    """An image and what is labelled of it."""

    name: str
    """Of the image file."""
    image: Image
    """Axes z, y, x; a slice has one of them."""
    planes: dict[int, npt.NDArray[np.uint32]]
    """Slice → labels (Y, X), of all slices that hold any."""

    @property
    def n_labels(self) -> int:
        """Different labels."""
        ids = [np.unique(plane[plane > 0]) for plane in self.planes.values()]
        return int(np.unique(np.concatenate(ids)).size) if ids else 0


class AnnotatedFolder(NamedTuple):
    """The annotated images of a folder."""

    stacks: tuple[AnnotatedStack, ...]
    dropped: tuple[str, ...]
    """One line for every image that is left out, and why."""


def read_annotated_folder(
    folder: Path | str,
    *,
    image_filter: str = "",
    mask_filter: str = "_masks",
    min_labels: int = 5,
) -> AnnotatedFolder:
    """Return the annotated slices and stacks of a folder; pixels of images are read later.

    Parameters
    ----------
    folder
        Holds images (TIFF, PNG; slices or stacks) and for ``a.tif`` the labels ``a_masks.tif``
        (or ``.tiff``, ``.png``) or ``a_seg.npy``, of the same shape.
    image_filter
        End of the names of images, without suffix: with ``_img`` the labels of ``a_img.tif`` are
        ``a_masks.tif``.
    mask_filter
        End of the names of labels, without suffix.
    min_labels
        Images with fewer labels are left out.

    Raises
    ------
    DataError
        If no image is left, two images have one name, or labels do not fit; all faults at once.
    """
    folder = existing(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is a file; give the folder that holds it.", code="E_PATH")
    stacks, dropped, faults = [], [], []
    for path in find_images(folder, image_filter, mask_filter, suffixes=IMAGES):
        stem = path.stem.removesuffix(image_filter)
        labels = find_masks(path, stem, mask_filter)
        if labels is None:
            dropped.append(f"{path.name}: there are no labels ({stem}{mask_filter}.tif)")
            continue
        try:
            stack = _read(path, labels)
        except ClgError as error:
            faults.append(error.message)
            continue
        n = stack.n_labels
        if n == 0:
            dropped.append(f"{path.name}: {labels.name} is empty, nothing is labelled")
        elif n < min_labels:
            dropped.append(f"{path.name}: it has {n} labels, fewer than {min_labels}")
        else:
            stacks.append(stack)
    if faults:
        raise DataError(f"{folder} cannot be learnt from:{_listed(faults)}", code="E_SHAPE")
    if not stacks:
        raise DataError(
            f"{folder} holds no annotated image to learn from. Wanted are images (a.tif) and "
            f"their labels (a{mask_filter}.tif or a_seg.npy) with at least {min_labels} labels "
            f"each.{_listed(dropped)}"
        )
    return AnnotatedFolder(tuple(stacks), tuple(dropped))


def _read(path: Path, labels_path: Path) -> AnnotatedStack:
    image, labels = _open_image(path), open_labels(labels_path)
    if labels.shape != image.shape:
        raise DataError(
            f"{labels_path.name} has shape {_shape(labels.shape)}, its image {path.name} "
            f"{_shape(image.shape)}; both must be alike.",
            code="E_SHAPE",
        )
    if min(image.shape[1:]) < SMALLEST_PX:
        raise DataError(
            f"{path.name} has slices of {image.shape[1]} x {image.shape[2]} pixels; they must be "
            f"at least {SMALLEST_PX} wide.",
            code="E_SHAPE",
        )
    return AnnotatedStack(path.name, image, _planes(labels, labels_path.name))


def _open_image(path: Path) -> Image:
    try:
        return open_volume(path)
    except DataError as error:
        if error.code != "E_AXES":
            raise
        raise DataError(
            f"{path.name} is no slice or stack of one channel: its axes are neither y, x nor "
            "z, y, x. Save the nuclear channel alone.",
            code="E_AXES",
        ) from error


def _planes(labels: LabelStack, name: str) -> dict[int, npt.NDArray[np.uint32]]:
    planes = {}
    for z, plane in enumerate(labels):
        if not plane.any():
            continue
        if _is_image(plane):
            raise DataError(
                f"{name} looks like an image: it has {np.unique(plane).size} different values and "
                "neighbouring pixels seldom share one. Give the labels.",
                code="E_SHAPE",
            )
        planes[z] = plane
    return planes


def _is_image(plane: npt.NDArray[np.uint32]) -> bool:
    if np.unique(plane).size > max(MOST_DISTINCT * plane.size, 2):
        return True
    inside = (plane[:, 1:] > 0) & (plane[:, :-1] > 0)
    equal = plane[:, 1:] == plane[:, :-1]
    return bool(inside.any() and equal[inside].mean() < LEAST_ALIKE)


def _shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[1:] if shape[0] == 1 else shape


def _listed(lines: list[str]) -> str:
    return "".join(f"\n  - {line}" for line in lines)
