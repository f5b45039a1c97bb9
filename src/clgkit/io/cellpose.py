"""Files of Cellpose 2 and 3: network weights, and folders of annotated slices."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from clgkit import fsio
from clgkit.data import as_uint32
from clgkit.errors import ClgError, DataError, MissingDependency, StoreError
from clgkit.io.labelfile import natural_order, read_seg
from clgkit.io.pixels import Image, existing, existing_file, writable
from clgkit.io.sniff import describe, kind_of
from clgkit.io.tiff import open_tiff

IMAGES: Final = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
MASKS: Final = (".tif", ".tiff", ".png")
SEG: Final = "_seg.npy"
DERIVED: Final = ("_masks", "_flows", "_flows_0", "_flows_1", "_flows_2", "_cellprob", "_cp_output")
MOST_CHANNELS: Final = 4

State = dict[str, npt.NDArray[Any]]


class CellposeWeights(NamedTuple):
    """A file of network weights."""

    state: State
    """Key → values; which keys there must be is known to `segmentation.CellposeNetwork`."""
    notes: tuple[str, ...]
    """What the user should know."""


class TrainingPair(NamedTuple):
    """An annotated slice."""

    name: str
    """Of the image file."""
    image: npt.NDArray[Any]
    """(C, Y, X) or (Y, X), as stored."""
    labels: npt.NDArray[np.uint32]
    """(Y, X)"""


class TrainingFolder(NamedTuple):
    """The annotated slices of a folder."""

    pairs: tuple[TrainingPair, ...]
    dropped: tuple[str, ...]
    """One line for every image that is left out, and why."""


def read_cellpose_weights(path: Path | str) -> CellposeWeights:
    """Return the weights that Cellpose 2 or 3 or clgkit saved.

    Nothing in the file is executed: it is read by torch's reader of plain tensors.

    Raises
    ------
    DataError
        ``E_PATH``, ``E_NOT_IMAGE`` (a Git LFS pointer, a text, any other file, Cellpose 4),
        ``E_TRUNCATED``, or ``E_DATA`` (objects besides tensors, NaN).
    MissingDependency
        torch is not installed.
    """
    path = existing_file(path)
    kind = kind_of(path)
    if kind not in ("zip", "pickle"):
        raise DataError(
            f"{path} holds no network weights: it is {describe(path)}. "
            "Give the file that Cellpose 2 or 3 saved.",
            code="E_NOT_IMAGE",
        )
    if kind == "zip" and not zipfile.is_zipfile(path):
        raise DataError(f"{path} is truncated. Copy it again.", code="E_TRUNCATED")
    tensors = _load(path)
    state = {name: value.numpy() for name, value in tensors.items()}
    if "W2" in state or any(name.startswith("encoder.") for name in state):
        raise DataError(
            f"{path} is a network of Cellpose 4 (a transformer). Give weights of Cellpose 2 or 3.",
            code="E_NOT_IMAGE",
        )
    sick = [name for name, value in state.items() if not np.isfinite(value).all()]
    if sick:
        raise DataError(
            f"{path} holds NaN or infinity, first in {sick[0]}: the training that made it failed. "
            "Use an earlier file."
        )
    return CellposeWeights(state, tuple(_doubts(path)))


def _doubts(path: Path) -> Iterator[str]:
    """Yield what weights cannot tell and their name, or the notes beside them, do."""
    if "style_off" in path.name:
        yield f'{path.name} says "style_off"; weights do not tell, so the style is used'
    try:
        notes = json.loads(path.with_name(f"{path.name}.json").read_text(encoding="utf-8"))
        second = int(notes["channels"][1])
    except (OSError, ValueError, LookupError, TypeError):
        return
    if second:
        yield (
            f"{path.name}.json says that {path.name} was trained with channel {second} beside the "
            "nuclei; a stack has one channel, so the other one is taken to be dark"
        )


def _load(path: Path) -> dict[str, Any]:
    """Return the tensors of a file of torch, on the processor."""
    try:
        import torch  # noqa: PLC0415  (optional, and slow to import)
    except ImportError as error:
        raise MissingDependency(
            "Weights of Cellpose need torch. Install it: pip install clgkit[deep]"
        ) from error
    try:
        found = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:
        first = str(error).strip().splitlines()[0]
        raise DataError(
            f"{path} cannot be read as network weights ({first[:120]}). It is damaged, or holds "
            "more than tensors; copy it again, or save the state dict alone.",
            code="E_TRUNCATED",
        ) from error
    if not isinstance(found, Mapping) or not found:
        raise DataError(
            f"{path} holds no state dict but {type(found).__name__}. Save the state dict alone."
        )
    foreign = [str(name) for name, value in found.items() if not isinstance(value, torch.Tensor)]
    if foreign:
        raise DataError(
            f"{path} holds more than tensors, such as {foreign[0]!r}. Save the state dict alone."
        )
    return {
        str(name): value.detach().float() if value.is_floating_point() else value.detach()
        for name, value in found.items()
    }


def write_cellpose_weights(
    path: Path | str, packed: bytes, *, notes: Mapping[str, Any] | None = None
) -> None:
    """Write weights, read them back, and write what is known of them beside as JSON.

    Parameters
    ----------
    path
        Target; its folder must exist.  The notes go to the same name with ``.json`` added.
    packed
        What `segmentation.cellpose_training.pack_weights` gives.
    notes
        Anything that JSON can hold.

    Raises
    ------
    DataError
        ``E_PATH``: the folder is not there.
    StoreError
        The file did not read back as it was written.
    """
    path = writable(path)

    def write(temporary: Path) -> None:
        fsio.write_bytes(temporary, packed)

    def check(temporary: Path) -> None:
        try:
            read_cellpose_weights(temporary)
        except DataError as error:
            raise StoreError(f"{path} was not written whole ({error.message}).") from error

    fsio.publish(path, write, check)
    if notes is not None:
        fsio.write_json(path.with_name(f"{path.name}.json"), notes)


def read_training_folder(
    folder: Path | str,
    *,
    image_filter: str = "",
    mask_filter: str = "_masks",
    min_masks: int = 5,
) -> TrainingFolder:
    """Return the annotated slices of a folder, by Cellpose's conventions.

    Parameters
    ----------
    folder
        Holds slices (PNG, JPEG, TIFF) and, for ``a.tif``, masks ``a_masks.tif`` (or ``.tiff``,
        ``.png``) or ``a_seg.npy``.  Files that Cellpose derived are passed over, also
        ``a_flows.tif``: flows are computed from the masks, so that corrected masks count.
    image_filter
        End of the names of images, without suffix: with ``_img`` the masks of ``a_img.tif`` are
        ``a_masks.tif``.
    mask_filter
        End of the names of masks, without suffix.
    min_masks
        Images with fewer masks are left out.

    Raises
    ------
    DataError
        If no image is left, two images have one name, or masks do not fit; all faults at once.
    """
    folder = existing(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is a file; give the folder that holds it.", code="E_PATH")
    images = find_images(folder, image_filter, mask_filter)
    pairs, dropped, faults = [], [], []
    for path in images:
        stem = path.stem.removesuffix(image_filter)
        masks = find_masks(path, stem, mask_filter)
        if masks is None:
            dropped.append(f"{path.name}: there are no masks ({stem}{mask_filter}.tif)")
            continue
        try:
            pair = _read_pair(path, masks)
        except ClgError as error:
            faults.append(error.message)
            continue
        n_masks = np.unique(pair.labels[pair.labels != 0]).size
        if n_masks < min_masks:
            dropped.append(f"{path.name}: it has {n_masks} masks, fewer than {min_masks}")
        else:
            pairs.append(pair)
    if faults:
        raise DataError(f"{folder} cannot be learnt from:{_listed(faults)}", code="E_SHAPE")
    if not pairs:
        raise DataError(
            f"{folder} holds no annotated slice to learn from. Wanted are images (a.tif) and "
            f"their masks (a{mask_filter}.tif or a_seg.npy) with at least {min_masks} masks "
            f"each.{_listed(dropped)}"
        )
    return TrainingFolder(tuple(pairs), tuple(dropped))


def find_images(
    folder: Path, image_filter: str, mask_filter: str, *, suffixes: Sequence[str] = IMAGES
) -> list[Path]:
    """Return the images of a folder in natural order; refuse two of one name."""
    derived = tuple({*DERIVED, mask_filter})
    found = [
        path
        for path in natural_order([p for p in folder.iterdir() if p.suffix.lower() in suffixes])
        if not path.name.startswith(".")
        and not path.stem.endswith(derived)
        and path.stem.endswith(image_filter)
    ]
    counts = Counter(path.stem for path in found)
    twice = [path.name for path in found if counts[path.stem] > 1]
    if twice:
        raise DataError(
            f"{folder}: images with one name have the same masks: {', '.join(twice)}. Rename or "
            "remove them.",
            code="E_PATH",
        )
    return found


def find_masks(image: Path, stem: str, mask_filter: str) -> Path | None:
    """Return the file with the masks of an image, or None if there is none."""
    names = [f"{stem}{mask_filter}{suffix}" for suffix in MASKS]
    candidates = [image.with_name(name) for name in (*names, f"{stem}{SEG}", f"{image.stem}{SEG}")]
    return next((path for path in candidates if path.is_file()), None)


def _read_pair(path: Path, masks: Path) -> TrainingPair:
    image = _read_pixels(path)
    if image.ndim == 2:
        image = image[np.newaxis]
    if image.dtype.kind == "b":
        image = image.astype(np.uint8)
    if not np.isfinite(image).all():
        raise DataError(f"{path.name} holds NaN or infinity; fill these pixels first.")
    found = read_seg(masks)["masks"] if masks.name.endswith(SEG) else _read_pixels(masks)
    found = np.asarray(found)
    if found.shape != image.shape[1:]:
        raise DataError(
            f"{masks.name} has shape {found.shape}, its image {path.name} {image.shape[1:]}; both "
            "must be alike.",
            code="E_SHAPE",
        )
    try:
        labels = as_uint32(found)
    except DataError as error:
        raise DataError(f"{masks.name}: {error.message}", code=error.code) from error
    return TrainingPair(path.name, image, labels)


def _read_pixels(path: Path) -> npt.NDArray[Any]:
    """Return the pixels of one plane (Y, X), or of its channels (C, Y, X)."""
    kind = kind_of(existing_file(path))
    if kind in ("png", "jpeg"):
        pixels = _read_picture(path, kind)
        axes = "yxc"[: pixels.ndim]
    else:
        image = _open_tiff(path)
        pixels, axes = image.read(), image.axes
    sizes = dict(zip(axes, pixels.shape, strict=True))
    deep = {axis: n for axis, n in sizes.items() if axis in "tz" and n > 1}
    if deep or sizes.get("c", 1) > MOST_CHANNELS:
        raise DataError(
            f"{path.name} has shape {pixels.shape} (axes {axes}); wanted is one slice, or its "
            "channels. Save each slice as a file.",
            code="E_AXES",
        )
    order = [axes.index(axis) for axis in "tzcyx" if axis in axes]
    plane = (sizes["y"], sizes["x"])
    n_channels = sizes.get("c", 1)
    return pixels.transpose(order).reshape(plane if n_channels == 1 else (n_channels, *plane))


def _open_tiff(path: Path) -> Image:
    """Open a TIFF; where it does not name its axes, it is a plane or has channels."""
    last = None
    for axes in (None, "yx", "cyx", "yxc"):
        try:
            image = open_tiff(path, axes=axes)
        except DataError as error:
            if error.code != "E_AXES":
                raise
            last = last or error
        else:
            if axes != "cyx" or image.shape[0] <= MOST_CHANNELS or image.shape[2] > MOST_CHANNELS:
                return image
    raise last or DataError(f"{path} has no readable axes.", code="E_AXES")


def _read_picture(path: Path, kind: str) -> npt.NDArray[Any]:
    import imagecodecs  # noqa: PLC0415  (a third of a second)

    decode = imagecodecs.png_decode if kind == "png" else imagecodecs.jpeg_decode
    try:
        return np.asarray(decode(path.read_bytes()))
    except Exception as error:
        raise DataError(
            f"{path} is a damaged picture ({error}). Copy it again.", code="E_TRUNCATED"
        ) from error


def _listed(lines: Sequence[str]) -> str:
    return "".join(f"\n  - {line}" for line in lines)
