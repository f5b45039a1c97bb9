"""TIFF, BigTIFF, ImageJ and OME-TIFF stacks: checked before the first frame, read on demand."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import tifffile

from clgkit.errors import DataError
from clgkit.io import tiffchain
from clgkit.io.pixels import Image, existing_file, native, numeric, settle_axes
from clgkit.io.sniff import TIFF_HEADS, not_an_image
from clgkit.io.tiffmeta import Layout, layout_of

MAX_PAGE_BYTES: Final = 4 << 30
MAX_RATIO: Final = 10_000
"""Largest accepted ratio of decoded to stored bytes; the largest honest one seen is 1,026."""


class Frames(NamedTuple):
    """Where the frames lie: consecutive from `start`, or one page each."""

    n_readable: int
    declared: int | None
    start: int | None
    raw: np.dtype[Any]
    problem: str | None
    alike: bool


class TiffPixels:
    """Frames of a TIFF, read when sliced.

    Parameters
    ----------
    path
        The file.
    leading
        Sizes of the axes before rows and columns.
    frame_shape
        Of one page.
    raw
        Stored dtype, with its byte order.
    start
        Position of the first byte if all frames lie one after another, else None.
    pages
        Number of the page of each frame.
    alike
        All pages are stored in the same way, which makes reading them cheaper.
    """

    def __init__(
        self,
        path: Path,
        leading: tuple[int, ...],
        frame_shape: tuple[int, ...],
        *,
        raw: np.dtype[Any],
        start: int | None,
        pages: npt.NDArray[np.int64],
        alike: bool = False,
    ) -> None:
        self.path, self.leading, self.frame_shape = path, leading, frame_shape
        self.raw, self.start, self.pages, self.alike = raw, start, pages, alike
        self._lock = threading.RLock()
        self._file: tifffile.TiffFile | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes along each axis."""
        return self.leading + self.frame_shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values, in native byte order."""
        return native(self.raw)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k not in ("_lock", "_file")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._lock = threading.RLock()
        self._file = None

    def __getitem__(self, key: tuple[slice, ...], /) -> npt.NDArray[Any]:
        if self.start is not None:
            return np.array(self._mapped(self.start)[key], dtype=self.dtype)
        n_leading = len(self.leading)
        numbers = self.pages.reshape(self.leading)[key[:n_leading]]
        inner = key[n_leading:]
        blank = np.broadcast_to(np.zeros((), self.dtype), self.frame_shape)[inner]
        made = np.empty((numbers.size, *blank.shape), self.dtype)
        for i, number in enumerate(numbers.ravel()):
            made[i] = self.frame(int(number))[inner]
        return made.reshape(numbers.shape + blank.shape)

    def _mapped(self, start: int) -> npt.NDArray[Any]:
        try:
            return np.memmap(self.path, self.raw, "r", offset=start, shape=self.shape)
        except (ValueError, OSError) as error:
            raise DataError(
                f"{self.path} has changed since it was opened ({error}). Is another program "
                "still writing it?",
                code="E_TRUNCATED",
            ) from error

    def frame(self, number: int) -> npt.NDArray[Any]:
        """Return one page, decoded.

        Raises
        ------
        DataError
            ``E_TRUNCATED``: its bytes are damaged.
        """
        try:
            with quiet(), self._lock:
                page = self._opened().pages[number]
            with quiet():
                frame = page.asarray(maxworkers=1, lock=self._lock)
            return np.asarray(frame).reshape(self.frame_shape)
        except Exception as error:
            raise DataError(
                f"{self.path}: frame {number} is damaged and cannot be decoded ({error}). "
                "Copy the file again, or read the frames before it with salvage = true.",
                code="E_TRUNCATED",
            ) from error

    def _opened(self) -> tifffile.TiffFile:
        if self._file is None:
            with quiet():
                self._file = tifffile.TiffFile(self.path, _multifile=False)
                if self.alike:
                    self._file.pages.useframes = True
                    self._file.pages.set_keyframe(0)
        return self._file

    def close(self) -> None:
        """Close the file; the next reading opens it again."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            self.close()


def open_tiff(path: Path | str, *, axes: str | None = None, salvage: bool = False) -> Image:
    """Return the pixels of a TIFF file, lazily, after its preflight.

    Parameters
    ----------
    path
        TIFF, BigTIFF, ImageJ (also one page for all frames) or OME-TIFF.
    axes
        One letter per axis; compulsory unless metadata state the axes.
    salvage
        Take the readable frames of a truncated file; the image's notes say so.

    Raises
    ------
    DataError
        ``E_NOT_IMAGE``, ``E_TRUNCATED``, ``E_SHAPE``, ``E_TIMING`` or ``E_AXES``.
    """
    path = existing_file(path)
    with path.open("rb") as file:
        if file.read(4) not in TIFF_HEADS:
            raise not_an_image(path, "a TIFF file")
    chain = tiffchain.walk(path)
    first, layout = _first_page(path, chain)
    if layout.n_images > 1:
        raise DataError(
            f"{path} holds {layout.n_images} images, and one is wanted. "
            "Save them as one file each.",
            code="E_SHAPE",
        )
    _check_looks(path, chain.pages)
    frames = _find_frames(path, chain, layout, first)
    frames, notes = _whole_or_salvaged(path, frames, first, salvage=salvage)
    return _assemble(path, frames, layout, first, axes=axes, notes=notes)


class _First(NamedTuple):
    shape: tuple[int, ...]
    axes: str
    dtype: np.dtype[Any]
    mappable: bool
    n_bytes: int


def _first_page(path: Path, chain: tiffchain.Chain) -> tuple[_First, Layout]:
    if not chain.pages:
        raise DataError(
            f"{path} is truncated: {chain.problem}, 0 frames are readable. Copy it again.",
            code="E_TRUNCATED",
        )
    try:
        with quiet(), tifffile.TiffFile(path, _multifile=False) as file:
            page = file.pages.first
            raw = np.dtype(page.dtype).newbyteorder(file.byteorder)
            shape, letters = tuple(int(n) for n in page.shape), str(page.axes)
            first = _First(
                shape, letters, raw, bool(page.is_memmappable), math.prod(shape) * raw.itemsize
            )
            layout = layout_of(str(page.description), shape, letters, _resolution(page))
    except DataError as error:
        raise DataError(f"{path}: {error}", code=error.code) from error
    except Exception as error:
        raise DataError(
            f"{path} is truncated or damaged: its first page cannot be read ({error}). "
            "Copy it again.",
            code="E_TRUNCATED",
        ) from error
    if not numeric(raw):
        raise DataError(f"{path} holds {raw.name} pixels, not real numbers.", code="E_NOT_IMAGE")
    _refuse_bomb(path, chain.pages[0], first.n_bytes)
    return first, layout


def _resolution(page: Any) -> tuple[float, float] | None:
    found = []
    for code in (283, 282):
        tag = page.tags.get(code)
        if tag is None or not isinstance(tag.value, tuple) or not tag.value[1]:
            return None
        found.append(tag.value[0] / tag.value[1])
    return found[0], found[1]


def _refuse_bomb(path: Path, page: tiffchain.Page, n_bytes: int) -> None:
    if n_bytes > MAX_PAGE_BYTES or (page.whole and n_bytes > MAX_RATIO * max(1, page.n_bytes)):
        raise DataError(
            f"{path} declares {n_bytes} bytes for one page, from {page.n_bytes} stored bytes; "
            "no microscope writes that, so it is not read.",
            code="E_NOT_IMAGE",
        )


def _check_looks(path: Path, pages: Sequence[tiffchain.Page]) -> None:
    """Refuse pages of different shape or type, naming them."""
    odd = [i for i, page in enumerate(pages) if page.look != pages[0].look and page.look[0]]
    if not odd:
        return
    listed = "".join(f"\n  - page {i} is {_look(pages[i])}" for i in odd[:10])
    more = f"\n  - and {len(odd) - 10} more" if len(odd) > 10 else ""
    raise DataError(
        f"{path} holds pages of different shape or type; page 0 is {_look(pages[0])}, "
        f"but:{listed}{more}\nSplit the file into stacks of one kind.",
        code="E_SHAPE",
    )


def _look(page: tiffchain.Page) -> str:
    height, width, samples, bits, kind = page.look
    name = {1: "unsigned", 2: "signed", 3: "float"}.get(kind, "other")
    return f"{height} x {width}, {samples} sample(s) of {bits} bits ({name})"


def _find_frames(path: Path, chain: tiffchain.Chain, layout: Layout, first: _First) -> Frames:
    pages = chain.pages
    whole = next((i for i, page in enumerate(pages) if not _sound(page, first)), len(pages))
    flat = first.mappable and pages[0].consecutive
    if layout.declared and layout.declared > 1 and len(pages) == 1 and flat:
        room = max(0, path.stat().st_size - pages[0].start) // first.n_bytes
        return Frames(
            min(layout.declared, room),
            layout.declared,
            pages[0].start,
            first.dtype,
            chain.problem,
            alike=True,
        )
    problem = chain.problem
    if whole < len(pages) and problem is None:
        problem = f"page {whole} points beyond the end of the file"
    declared = layout.declared or (len(pages) if chain.problem is None else None)
    alike = len({page.storage for page in pages}) == 1
    flat = flat and all(
        page.start == pages[0].start + i * first.n_bytes and page.consecutive
        for i, page in enumerate(pages[:whole])
    )
    return Frames(whole, declared, pages[0].start if flat else None, first.dtype, problem, alike)


def _sound(page: tiffchain.Page, first: _First) -> bool:
    plain = page.compression == 1 and page.look[3] % 8 == 0
    return page.whole and (not plain or page.n_bytes >= first.n_bytes)


def _whole_or_salvaged(
    path: Path, frames: Frames, first: _First, *, salvage: bool
) -> tuple[Frames, tuple[str, ...]]:
    """Return the frames that can be read, or refuse a file that lacks some."""
    n_good = frames.n_readable
    if frames.start is None and n_good:
        numbers = np.arange(n_good, dtype=np.int64)
        pixels = TiffPixels(
            path,
            (n_good,),
            first.shape,
            raw=first.dtype,
            start=None,
            pages=numbers,
            alike=frames.alike,
        )
        n_good = _decodable(pixels, n_good, search=salvage)
        pixels.close()
    declared = frames.declared
    if declared is not None and n_good == frames.n_readable > declared:
        raise DataError(
            f"{path} declares {declared} frames but holds {n_good} pages. "
            "Its metadata are of another file, or it holds several stacks: "
            "save them as one file each.",
            code="E_TIMING",
        )
    if n_good == declared and frames.problem is None:
        return frames, ()
    counted = f"declared {declared} frames, " if declared is not None else ""
    why = f" ({frames.problem})" if frames.problem else ""
    message = f"{counted}{n_good} readable{why}"
    if salvage and n_good:
        return frames._replace(n_readable=n_good), (f"salvaged: {message}",)
    raise DataError(
        f"{path} is truncated: {message}. Copy it again, or read the readable frames "
        "with salvage = true.",
        code="E_TRUNCATED",
    )


def _decodable(pixels: TiffPixels, n_frames: int, *, search: bool) -> int:
    """Return how many leading frames can be used, judging by the last one (or the last good)."""
    while n_frames:
        try:
            pixels.frame(n_frames - 1)
        except DataError:
            n_frames -= 1
            if not search:
                return n_frames
        else:
            return n_frames
    return 0


def _assemble(
    path: Path,
    frames: Frames,
    layout: Layout,
    first: _First,
    *,
    axes: str | None,
    notes: tuple[str, ...],
) -> Image:
    n = frames.n_readable
    leading = layout.leading
    if leading is None or (math.prod(leading) != n and not notes):
        leading, layout = ((n,) if n > 1 else ()), layout._replace(letters=None, order=None)
    elif notes:
        leading, n = _prefix(leading, n)
    numbers = np.arange(n, dtype=np.int64)
    order = layout.order
    if order is not None:
        numbers = order[:n]
        if numbers.min() < 0 or numbers.max() >= frames.n_readable:
            raise DataError(
                f"{path} is truncated: its OME metadata name pages that it does not have.",
                code="E_TRUNCATED",
            )
    trusted = layout.letters
    if not leading and first.axes == "YX":
        trusted = "yx"
    leading, trusted = _with_single_axes(leading, axes, trusted)
    pixels = TiffPixels(
        path,
        leading,
        first.shape,
        raw=frames.raw,
        start=frames.start if order is None else None,
        pages=numbers,
        alike=frames.alike,
    )
    settled = settle_axes(str(path), pixels.shape, axes, trusted, why=layout.why)
    return Image(
        pixels,
        settled,
        str(path),
        voxel_um=layout.voxel_um,
        rate_hz=layout.rate_hz,
        channels=layout.channels,
        notes=notes,
    )


def _with_single_axes(
    leading: tuple[int, ...], given: str | None, trusted: str | None
) -> tuple[tuple[int, ...], str | None]:
    """Insert axes of length 1 where the user names them and the file has one of each.

    Metadata drop such axes: a movie of one plane written as ``tzyx`` says ``tyx``.
    """
    if given is None or trusted is None or not set(given) > set(trusted):
        return leading, trusted
    if "".join(letter for letter in given if letter in trusted) != trusted:
        return leading, trusted
    sizes = dict(zip(trusted, leading, strict=False))
    n_frame = len(trusted) - len(leading)
    if not given.endswith(trusted[-n_frame:]):
        return leading, trusted
    return tuple(sizes.get(letter, 1) for letter in given[:-n_frame]), given


def _prefix(leading: tuple[int, ...], n: int) -> tuple[tuple[int, ...], int]:
    """Return the sizes of the whole slowest steps that `n` frames fill."""
    inner = math.prod(leading[1:])
    if not leading or n < inner:
        return (n,), n
    return (n // inner, *leading[1:]), n // inner * inner


@contextmanager
def quiet() -> Iterator[None]:
    """Keep tifffile's log silent: its complaints are judged by our own preflight.

    Each use has a filter of its own, so threads do not undo each other's.
    """
    logger = logging.getLogger("tifffile")
    silence = _Silence()
    logger.addFilter(silence)
    try:
        yield
    finally:
        logger.removeFilter(silence)


class _Silence(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002  (all are silenced)
        return False
