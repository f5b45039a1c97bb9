"""Doors: files of others become labelled arrays, and results become files for others.

Everything is loaded on first touch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "Image": "pixels",
    "open_image": "images",
    "as_movie": "images",
    "as_volume": "images",
    "as_labels": "images",
    "read_movie": "images",
    "read_volume": "images",
    "read_labels": "images",
    "write_tiff": "tiffwrite",
    "plane_files": "planefolder",
    "PlaneMap": "planemap",
    "read_planemap": "planemap",
    "LabelStack": "labelfile",
    "open_labels": "labelfile",
    "open_volume": "labelfile",
    "write_planemap": "planemap",
    "TraceBundle": "tracefile",
    "read_traces": "tracefile",
    "write_traces": "tracefile",
    "ReadNetwork": "edges",
    "read_network": "graphfile",
    "write_network": "graphfile",
    "write_csv": "tables",
}
__all__ = sorted(_HOME)  # noqa: PLE0605  (the names above, written once)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"clgkit.io.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOME)
