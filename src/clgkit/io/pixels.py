"""What every door hands over: an `Image`, and lazy views of its pixels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from clgkit.errors import DataError

if TYPE_CHECKING:
    from clgkit.data import Pixels

LETTERS = "tzyxc"
MEANING = "t time, z plane or slice, y row, x column, c channel"

Spacing = tuple[float | None, float | None, float | None]


@dataclass(frozen=True)
class Image:
    """Pixels of a file with the meaning of their axes; nothing is read yet.

    Parameters
    ----------
    pixels
        Sliced on demand; native byte order, otherwise the dtype of the file.
    axes
        One letter per axis, of ``t z y x c``.
    source
        The file, and the dataset in it.
    voxel_um
        Spacing along z, y, x; None, also for a single axis, where the file does not say.
    rate_hz
        Frames (volumes) per second, None where the file does not say.
    channels
        Names along the axis c, as far as the file gives them.
    notes
        What the user should know: a salvaged prefix, absent chunks, absent planes.
    missing
        Functional planes (0-based) that a folder of planes does not hold.
    """

    pixels: Pixels
    axes: str
    source: str
    voxel_um: Spacing | None = None
    rate_hz: float | None = None
    channels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    missing: tuple[int, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes along each axis."""
        return tuple(self.pixels.shape)

    def read(self) -> npt.NDArray[Any]:
        """Return all pixels."""
        return np.asarray(self.pixels[(slice(None),) * len(self.shape)])


@dataclass(frozen=True)
class View:
    """Pixels with axes in another order, dropped at an index, or inserted.

    Parameters
    ----------
    pixels
        The source.
    order
        For each axis of the view the axis of the source; None inserts one of length 1.
    fixed
        Pairs (axis of the source, index) of the axes that are dropped.
    """

    pixels: Pixels
    order: tuple[int | None, ...]
    fixed: tuple[tuple[int, int], ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes along each axis."""
        return tuple(1 if axis is None else self.pixels.shape[axis] for axis in self.order)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return np.dtype(self.pixels.dtype)

    def __getitem__(self, key: tuple[slice, ...], /) -> npt.NDArray[Any]:
        wanted = [slice(None)] * len(self.pixels.shape)
        for axis, part in zip(self.order, key, strict=False):
            if axis is not None:
                wanted[axis] = part
        for axis, index in self.fixed:
            wanted[axis] = slice(index, index + 1)
        read = np.asarray(self.pixels[tuple(wanted)])
        kept = [axis for axis in self.order if axis is not None]
        dropped = [axis for axis, _ in self.fixed]
        moved = read.transpose(kept + dropped).reshape([read.shape[axis] for axis in kept])
        sizes = iter(moved.shape)
        whole = moved.reshape([1 if axis is None else next(sizes) for axis in self.order])
        inserted = tuple(
            part if axis is None else slice(None)
            for axis, part in zip(self.order, key, strict=False)
        )
        return whole[inserted]


def sliced(source: Any, key: tuple[slice, ...], shape: Sequence[int]) -> npt.NDArray[Any]:
    """Return ``source[key]`` of a source (HDF5, zarr) that knows no negative steps.

    Parameters
    ----------
    source
        Anything that takes slices with positive steps.
    key
        One slice per axis; the last ones may be left out.
    shape
        Of the source.
    """
    forward, turn = [], []
    for part, size in zip(key, shape, strict=False):
        indices = range(*part.indices(size))
        backward = indices.step < 0
        if backward:
            indices = indices[::-1]
        forward.append(slice(indices.start, max(indices.start, indices.stop), indices.step))
        turn.append(slice(None, None, -1 if backward else 1))
    return np.asarray(source[tuple(forward)])[tuple(turn)]


def settle_axes(
    source: str, shape: Sequence[int], given: str | None, trusted: str | None, *, why: str
) -> str:
    """Return the axes of an array: those given, else those the file vouches for.

    Parameters
    ----------
    source
        Named in messages.
    shape
        Of the whole array.
    given
        Set by the user.
    trusted
        Set by metadata that state them, or None.
    why
        Half a sentence: why the file does not settle them.

    Raises
    ------
    DataError
        ``E_AXES``: nobody says what the axes are, or what is said cannot be.
    """
    if given is None and trusted is None:
        raise DataError(
            f"{source} has shape {_sizes(shape)} and {why}. Say what each axis is, in order, "
            f"such as axes = {example_axes(len(shape))!r} ({MEANING}).",
            code="E_AXES",
        )
    axes = (given if given is not None else trusted or "").lower()
    strange = sorted(set(axes) - set(LETTERS))
    if strange or len(set(axes)) != len(axes) or not {"y", "x"} <= set(axes):
        raise DataError(
            f"axes = {axes!r} cannot be read for {source}: wanted are y, x and any of t, z, c, "
            f"each once ({MEANING}), such as {example_axes(len(shape))!r}.",
            code="E_AXES",
        )
    if len(axes) != len(shape):
        raise DataError(
            f"axes = {axes!r} names {len(axes)} axes, but {source} has {len(shape)}: its shape is "
            f"{_sizes(shape)}. Name each of them, such as {example_axes(len(shape))!r}.",
            code="E_AXES",
        )
    return axes


def example_axes(n_axes: int) -> str:
    """Return a plausible setting for an array of so many axes, for messages."""
    return {2: "yx", 3: "tyx", 4: "tzyx"}.get(n_axes, "tzcyx")


def trusted_letters(letters: Sequence[str]) -> str | None:
    """Return our axes for names such as ``("T", "Z", "Y", "X")``, None if one is unknown."""
    names = {"time": "t", "frame": "t", "channel": "c", "s": "c"} | {k: k for k in LETTERS}
    found = [names.get(str(letter).lower()) for letter in letters]
    axes = "".join(letter for letter in found if letter)
    whole = len(axes) == len(letters) == len(set(axes)) and {"y", "x"} <= set(axes)
    return axes if whole else None


def pick_channel(image: Image, channel: int | str | None) -> Image:
    """Return the image of one channel; the axis c is gone.

    Raises
    ------
    DataError
        ``E_CHANNELS``: there are several and none is chosen, or the chosen one is not there.
    """
    if "c" not in image.axes:
        if channel in (None, 0):
            return image
        raise DataError(
            f"{image.source} has no axis of channels (axes {image.axes!r}), "
            f"so channel {channel!r} cannot be picked. Leave `channel` out.",
            code="E_CHANNELS",
        )
    axis = image.axes.index("c")
    index = _channel_index(image, image.shape[axis], channel)
    order = tuple(i for i in range(len(image.axes)) if i != axis)
    return replace(
        image,
        pixels=View(image.pixels, order, ((axis, index),)),
        axes=image.axes.replace("c", ""),
        channels=image.channels[index : index + 1],
    )


def _channel_index(image: Image, n_channels: int, channel: int | str | None) -> int:
    if channel is None and n_channels == 1:
        return 0
    known = image.channels if len(image.channels) == n_channels else ()
    names = ", ".join(known) or f"0 to {n_channels - 1}"
    if channel is None:
        raise DataError(
            f"{image.source} has {n_channels} channels ({names}). Choose one with `channel`.",
            code="E_CHANNELS",
        )
    if isinstance(channel, str) and channel in known:
        return known.index(channel)
    if isinstance(channel, str) and channel.isdigit():
        channel = int(channel)
    if isinstance(channel, int) and 0 <= channel < n_channels:
        return channel
    raise DataError(
        f"{image.source} has no channel {channel!r}; it has {n_channels} ({names}).",
        code="E_CHANNELS",
    )


def native(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """Return the dtype in the byte order of this machine."""
    return np.dtype(dtype).newbyteorder("=")


def numeric(dtype: np.dtype[Any]) -> bool:
    """Tell whether values are real numbers or truth values."""
    return dtype.kind in "biuf"


def existing(path: Path | str) -> Path:
    """Return `path` as a Path, or say that nothing is there."""
    path = Path(path)
    try:
        found = path.exists()
    except OSError as error:
        raise DataError(f"{path} cannot be reached: {error.strerror}.", code="E_PATH") from error
    if not found:
        raise DataError(f"There is no file {path}. Check the path.", code="E_PATH")
    return path


def existing_file(path: Path | str) -> Path:
    """Return `path` as a Path, or say why it cannot be read as a file."""
    path = existing(path)
    if not path.is_file():
        what = "a folder" if path.is_dir() else "a device or a pipe"
        raise DataError(f"{path} is {what}, not a file.", code="E_PATH")
    if not os.access(path, os.R_OK):
        raise DataError(f"{path} may not be read: permission denied.", code="E_PATH")
    return path


def writable(path: Path | str) -> Path:
    """Return `path` as a Path, or say why no file can be written there."""
    path = Path(path)
    if not path.parent.is_dir():
        raise DataError(
            f"{path} cannot be written: there is no folder {path.parent}. Make it first.",
            code="E_PATH",
        )
    if not os.access(path.parent, os.W_OK):
        raise DataError(
            f"{path} cannot be written: the folder may not be changed (permission denied). "
            "Choose another.",
            code="E_PATH",
        )
    return path


def _sizes(shape: Sequence[int]) -> str:
    return "(" + ", ".join(str(int(n)) for n in shape) + ")"
