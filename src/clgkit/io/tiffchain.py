"""The page list of a TIFF file, walked without decoding anything.

It tells what a reader of pixels cannot: where the list of pages breaks off, and which
pages point to bytes that the file does not have.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

_SIZES: Final = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8,
    13: 4, 16: 8, 17: 8, 18: 8,
}  # fmt: skip
_INTEGERS: Final = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8"}
Tags: TypeAlias = dict[int, npt.NDArray[np.uint64]]
MAX_TAGS: Final = 4096

WIDTH, HEIGHT, BITS, COMPRESSION, SAMPLES, FORMAT = 256, 257, 258, 259, 277, 339
OFFSETS, COUNTS, TILE_OFFSETS, TILE_COUNTS = 273, 279, 324, 325
FILL_ORDER, ROWS_PER_STRIP, PLANAR, PREDICTOR, TILE_WIDTH, TILE_LENGTH = (
    266,
    278,
    284,
    317,
    322,
    323,
)
_STORAGE: Final = (
    COMPRESSION, FILL_ORDER, ROWS_PER_STRIP, PLANAR, PREDICTOR, TILE_WIDTH, TILE_LENGTH
)  # fmt: skip
_WANTED: Final = frozenset(
    (WIDTH, HEIGHT, BITS, SAMPLES, FORMAT, OFFSETS, COUNTS, TILE_OFFSETS, TILE_COUNTS, *_STORAGE)
)


class Page(NamedTuple):
    """One page: its look, where its bytes lie, and whether they are all there."""

    look: tuple[int, int, int, int, int]
    """Height, width, samples per pixel, bits per sample, sample format."""
    storage: tuple[int, ...]
    """Compression, predictor, strips or tiles: what decoding its bytes needs; 0 if not said."""
    start: int
    n_bytes: int
    consecutive: bool
    whole: bool

    @property
    def compression(self) -> int:
        """TIFF's number of the compression; 1 is none."""
        return self.storage[0] or 1


class Chain(NamedTuple):
    """All pages that can be reached, and what ends the list too early (or None)."""

    pages: list[Page]
    problem: str | None


def walk(path: Path) -> Chain:
    """Return the pages of a TIFF or BigTIFF file.

    Parameters
    ----------
    path
        A file that begins with the mark of a TIFF.

    Returns
    -------
    Chain
        Broken files give the pages before the break.
    """
    with path.open("rb") as file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            return Chain([], "it is empty")
        with data:
            return _Walker(data).run()


class _Walker:
    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.size = len(data)
        self.order = "<" if data[:2] == b"II" else ">"
        self.big = data[2:4] in (b"+\0", b"\0+")
        self.word = "Q" if self.big else "I"
        self.n_word = 8 if self.big else 4
        self.n_head = 8 if self.big else 2
        self.n_entry = 20 if self.big else 12
        self.endian: Literal["little", "big"] = "little" if self.order == "<" else "big"
        self.entry = f"{self.order}HH{self.word}{self.n_word}s"

    def run(self) -> Chain:
        pages: list[Page] = []
        seen: set[int] = set()
        try:
            offset = self.number(8 if self.big else 4, self.word)
            while offset:
                if offset in seen:
                    return Chain(pages, "its list of pages runs in a circle")
                seen.add(offset)
                page, offset = self.page(offset)
                pages.append(page)
        except (struct.error, ValueError, OverflowError):
            return Chain(pages, "its list of pages breaks off")
        return Chain(pages, None if pages else "it lists no page")

    def number(self, offset: int, kind: str) -> int:
        return int(struct.unpack_from(self.order + kind, self.data, offset)[0])

    def page(self, offset: int) -> tuple[Page, int]:
        n_tags = self.number(offset, "Q" if self.big else "H")
        if not 0 < n_tags <= MAX_TAGS:
            raise ValueError(n_tags)
        first = offset + self.n_head
        following = self.number(first + n_tags * self.n_entry, self.word)
        tags: Tags = {}
        whole = True
        entries = self.data[first : first + n_tags * self.n_entry]
        for code, kind, count, value in struct.iter_unpack(self.entry, entries):
            n_bytes = _SIZES.get(kind, 1) * count
            if n_bytes > self.n_word:
                place = int.from_bytes(value, self.endian)
                whole &= place + n_bytes <= self.size
                value = self.data[place : place + n_bytes] if code in _WANTED else b""  # noqa: PLW2901  (the value lies elsewhere)
            if code in _WANTED and kind in _INTEGERS and len(value) >= n_bytes:
                stored = np.frombuffer(value, self.order + _INTEGERS[kind], count)
                tags[code] = stored.astype(np.uint64)
        return self.summary(tags, whole=whole), following

    def summary(self, tags: Tags, *, whole: bool) -> Page:
        def one(code: int, default: int) -> int:
            return int(tags[code][0]) if code in tags and len(tags[code]) else default

        look = (one(HEIGHT, 0), one(WIDTH, 0), one(SAMPLES, 1), one(BITS, 1), one(FORMAT, 1))
        storage = tuple(one(code, 0) for code in _STORAGE)
        starts = tags.get(OFFSETS, tags.get(TILE_OFFSETS))
        counts = tags.get(COUNTS, tags.get(TILE_COUNTS))
        if starts is None or counts is None or len(starts) != len(counts) or not len(starts):
            return Page(look, storage, 0, 0, consecutive=False, whole=False)
        whole &= len(starts) >= _n_segments(look, storage)
        ends = starts.astype(np.float64) + counts  # float64: a broken file may overflow uint64
        return Page(
            look,
            storage,
            int(starts[0]),
            int(counts.sum()),
            consecutive=bool(np.all(starts[1:] == (starts + counts)[:-1])) and OFFSETS in tags,
            whole=whole and bool(ends.max() <= self.size),
        )


def _n_segments(look: tuple[int, ...], storage: tuple[int, ...]) -> int:
    """Return how many strips or tiles a page of this look consists of."""
    height, width, samples = look[:3]
    _, _, rows, planar, _, tile_width, tile_length = storage
    if tile_width and tile_length:
        n_segments = -(-height // tile_length) * -(-width // tile_width)
    else:
        n_segments = -(-height // min(rows, height)) if rows and height else 1
    return n_segments * (samples if planar == 2 else 1)
