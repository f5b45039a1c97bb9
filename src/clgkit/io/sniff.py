"""What a file is, by its first bytes and not by its name."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import Final

from clgkit.errors import DataError

TIFF_HEADS: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_HDF5 = b"\x89HDF\r\n\x1a\n"
_HEADS: Final = (
    (_HDF5, "hdf5"),
    (b"\x93NUMPY", "npy"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"version https://git-lfs", "lfs"),
    (b"\xe2\x9b\xbe gt", "gt"),
    (b"MATLAB 7.3 MAT", "mat73"),
    (b"MATLAB 5.0 MAT", "mat5"),
    (b"\x1f\x8b", "gzip"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"%PDF", "pdf"),
    (b"\x89PNG", "png"),
    (b"\xff\xd8\xff", "jpeg"),
)
_NAMES: Final = {
    "tiff": "a TIFF file",
    "hdf5": "an HDF5 file",
    "npy": "a numpy array",
    "npz": "a numpy archive (.npz)",
    "zip": "a zip archive; unpack it first",
    "lfs": 'a Git LFS pointer: the file itself was never fetched; run "git lfs pull"',
    "gt": "a graph-tool network",
    "mat73": "a MATLAB 7.3 file",
    "mat5": "a MATLAB file",
    "gzip": "a gzip file; unpack it first",
    "xz": "an xz file; unpack it first",
    "zstd": "a zstd file; unpack it first",
    "pdf": "a PDF document",
    "png": "a PNG picture",
    "jpeg": "a JPEG picture",
    "empty": "empty (0 bytes)",
    "html": "a web page (HTML), probably the error page of a download",
    "pickle": "a Python pickle, which clgkit never opens because it can run programs",
    "xml": "an XML text",
    "unknown": "no format that clgkit knows",
}


def kind_of(path: Path) -> str:
    """Return a short name of the format of a file, such as ``tiff`` or ``lfs``."""
    with path.open("rb") as file:
        head = file.read(1024)
        for block in (512, 1024, 2048):
            file.seek(block)
            if not head.startswith(b"MATLAB") and file.read(8) == _HDF5:
                return "hdf5"
    if not head:
        return "empty"
    if head[:4] in TIFF_HEADS:
        return "tiff"
    for start, kind in _HEADS:
        if head.startswith(start):
            return _zip_kind(path) if kind == "zip" else kind
    return _text_kind(head)


def _zip_kind(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(26)
        n_name = int.from_bytes(file.read(2), "little")
        file.seek(30)
        first = file.read(n_name)
    return "npz" if first.endswith(b".npy") or path.suffix == ".npz" else "zip"


def _text_kind(head: bytes) -> str:
    if re.match(rb"\x80[\x02-\x05]", head):
        return "pickle"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "html"
    if start.startswith(b"<"):
        return "xml"
    try:  # the head may end within a character
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head)
    except UnicodeDecodeError:
        return "unknown"
    if len(head) < 1024 and "\n" not in text.strip() and ("/" in text or "\\" in text):
        return "link"
    return "text" if text.isprintable() or "\n" in text else "unknown"


def describe(path: Path) -> str:
    """Return what a file is, as the end of the sentence "it is …"."""
    kind = kind_of(path)
    if kind == "link":
        target = path.read_text("utf-8", errors="replace").strip()
        return f"the text of a symbolic link to {target!r}; copy the file that it names"
    if kind == "text":
        return "a text file"
    return _NAMES[kind]


def not_an_image(path: Path, wanted: str) -> DataError:
    """Return the error for a file of another kind than `wanted`."""
    return DataError(f"{path} is not {wanted}: it is {describe(path)}.", code="E_NOT_IMAGE")
