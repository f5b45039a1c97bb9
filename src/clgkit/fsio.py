"""The only place that writes files: temporary name, fsync, rename, checksum.

A reader never sees half a file.  A file that exists is whole, but whether a *result*
is whole is said by its manifest alone (see :mod:`clgkit.pipeline.store`).
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

TEMPORARY = ".tmp-"
_serial = itertools.count()


class Written(NamedTuple):
    """Size and checksum of a file as it was handed to the operating system."""

    n_bytes: int
    crc32: int


def temporary_name(path: Path) -> Path:
    """Return a name beside `path` that no other writer uses and readers ignore."""
    return path.with_name(f"{TEMPORARY}{os.getpid()}-{next(_serial)}-{path.name}"[:255])


def write_bytes(
    path: Path, data: bytes | bytearray | memoryview, *, durable: bool = False
) -> Written:
    """Write `data` to `path` in one step: the old content or the new, never a mixture.

    Parameters
    ----------
    path
        Target; its folder must exist.
    data
        Content.
    durable
        Also wait until the content and its name are on the disk (fsync).

    Returns
    -------
    Written
        Size and crc32.
    """
    with replacing(path, durable=durable) as temporary, temporary.open("wb") as file:
        file.write(data)
        if durable:
            sync_file(file)
    return Written(len(data), zlib.crc32(data))


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Give a temporary path to write to; rename it to `path` if the block succeeds.

    The temporary file keeps the suffix of `path`, so libraries that look at it are
    not misled.  If the block fails nothing is left behind.
    """
    temporary = temporary_name(path)
    try:
        yield temporary
        if durable:
            sync_path(temporary)
        temporary.replace(path)
    except BaseException:
        remove(temporary)
        raise
    if durable:
        sync_folder(path.parent)


def write_text(path: Path, text: str) -> Written:
    """Write UTF-8 text, durably."""
    return write_bytes(path, text.encode(), durable=True)


def write_json(path: Path, value: object) -> Written:
    """Write `value` as indented JSON, durably."""
    return write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


class Journal:
    """Append-only list of JSON records; a torn last line is ignored on reading."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, record: object) -> None:
        """Add one record, durably."""
        line = json.dumps(record, allow_nan=False, separators=(",", ":")).encode() + b"\n"
        fresh = not self.path.exists()
        with self.path.open("ab") as file:
            if file.tell() and not self._ends_whole():
                file.write(b"\n")
            file.write(line)
            sync_file(file)
        if fresh:
            sync_folder(self.path.parent)

    def _ends_whole(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def read(self) -> list[dict[str, object]]:
        """Return every whole record, oldest first."""
        if not self.path.exists():
            return []
        records = []
        for line in self.path.read_bytes().split(b"\n"):
            with suppress(json.JSONDecodeError, UnicodeDecodeError):
                record = json.loads(line)
                if isinstance(record, dict):
                    records.append(record)
        return records


def sync_file(file: IO[bytes]) -> None:
    """Flush Python's and the system's buffers of an open file to the disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_path(path: Path) -> None:
    """Flush a closed file to the disk; a folder is flushed with all files in it."""
    if path.is_dir():
        for child in sorted(path.rglob("*")):
            if child.is_file():
                _sync(child)
        sync_folder(path)
    else:
        _sync(path)


def sync_folder(path: Path) -> None:
    """Flush the names in a folder to the disk (nothing to do on Windows)."""
    if os.name == "posix":
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def crc32_of(path: Path, *, chunk_bytes: int = 1 << 20) -> int:
    """Return the crc32 of a file, read in chunks."""
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(chunk_bytes):
            value = zlib.crc32(chunk, value)
    return value


def remove(path: Path) -> None:
    """Delete a file or a folder if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(FileNotFoundError):
            path.unlink()


def publish(path: Path, write: Callable[[Path], object], check: Callable[[Path], object]) -> None:
    """Write a file under a temporary name, read it back with `check`, then rename it."""
    with replacing(path) as temporary:
        write(temporary)
        check(temporary)
