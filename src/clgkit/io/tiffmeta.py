"""What the first page of a TIFF says about the whole stack: counts, axes, spacing, rate."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from xml.etree import ElementTree as ET

import numpy as np
import numpy.typing as npt

from clgkit.errors import DataError
from clgkit.io.pixels import Spacing, trusted_letters

MAX_XML: Final = 64 << 20
MAX_FRAMES: Final = 10_000_000
_UM: Final = {"um": 1.0, "µm": 1.0, "μm": 1.0, "\\u00b5m": 1.0, "micron": 1.0, "microns": 1.0}
TO_UM: Final = _UM | {
    "micrometer": 1.0, "micrometre": 1.0, "nm": 1e-3, "nanometer": 1e-3, "nanometre": 1e-3,
    "mm": 1e3, "millimeter": 1e3, "millimetre": 1e3, "cm": 1e4, "m": 1e6, "meter": 1e6,
}  # fmt: skip
TO_S: Final = {
    "s": 1.0, "sec": 1.0, "second": 1.0, "ms": 1e-3, "millisecond": 1e-3,
    "µs": 1e-6, "us": 1e-6, "microsecond": 1e-6, "min": 60.0, "minute": 60.0,
    "h": 3600.0, "hour": 3600.0,
}  # fmt: skip


class Layout(NamedTuple):
    """What the metadata say; `leading` are the axes before rows and columns."""

    kind: str = "plain"
    leading: tuple[int, ...] | None = None
    letters: str | None = None
    declared: int | None = None
    order: npt.NDArray[np.int64] | None = None
    voxel_um: Spacing | None = None
    rate_hz: float | None = None
    channels: tuple[str, ...] = ()
    n_images: int = 1
    why: str = "no metadata that say what the pages are"


def layout_of(
    description: str,
    frame_shape: Sequence[int],
    frame_axes: str,
    pixel_per_unit: tuple[float, float] | None,
) -> Layout:
    """Return what the description of the first page says about the stack.

    Parameters
    ----------
    description
        The tag ImageDescription.
    frame_shape, frame_axes
        Of one page; axes as letters of `tifffile`, such as ``YX`` or ``YXS``.
    pixel_per_unit
        Along y, x: pixels per unit, from the tags Y- and XResolution.
    """
    text = description.lstrip("\ufeff \r\n\t")
    if text.startswith("ImageJ="):
        return _imagej(text, frame_axes, pixel_per_unit)
    if text.startswith("<") and "<OME" in text[:2000]:
        return _ome(text, frame_axes)
    if text.startswith(('{"shape"', "shape=(")):
        return _shaped(text, frame_shape)
    return Layout()


def _imagej(text: str, frame_axes: str, pixel_per_unit: tuple[float, float] | None) -> Layout:
    said = dict(
        line.split("=", 1) for line in text.splitlines() if "=" in line and not line[0].isspace()
    )
    sizes = {"t": "frames", "z": "slices", "c": "channels"}
    counts = {letter: _whole(said.get(key)) or 1 for letter, key in sizes.items()}
    if "S" in frame_axes:
        counts["c"] = 1
    product = math.prod(counts.values())
    declared = _whole(said.get("images"))
    several = [letter for letter, count in counts.items() if count > 1]
    hyperstack = said.get("hyperstack", "").strip() == "true" or len(several) > 1
    leading = tuple(counts[letter] for letter in several)
    trusted = hyperstack and product == (declared or product)
    why = (
        "its ImageJ metadata do not say so: a plain ImageJ stack calls every page a slice"
        if product == (declared or product)
        else f"its ImageJ metadata contradict each other ({declared} images, {product} counted)"
    )
    letters = "".join(several).upper() + frame_axes
    return Layout(
        kind="ImageJ",
        leading=leading if trusted else None,
        letters=trusted_letters(letters) if trusted else None,
        declared=declared or (product if product > 1 else None),
        voxel_um=_imagej_spacing(said, pixel_per_unit),
        rate_hz=_imagej_rate(said),
        why=why,
    )


def _imagej_spacing(
    said: Mapping[str, str], pixel_per_unit: tuple[float, float] | None
) -> Spacing | None:
    scale = TO_UM.get(said.get("unit", "").strip().lower())
    if scale is None:
        return None
    z = _number(said.get("spacing"))
    depth = TO_UM.get(said.get("zunit", said.get("unit", "")).strip().lower())
    y, x = pixel_per_unit or (0.0, 0.0)
    return (
        abs(z) * depth if z and depth else None,
        scale / y if y > 0 else None,
        scale / x if x > 0 else None,
    )


def _imagej_rate(said: Mapping[str, str]) -> float | None:
    interval, fps = _number(said.get("finterval")), _number(said.get("fps"))
    unit = TO_S.get(said.get("tunit", "sec").strip().lower(), None)
    if interval and interval > 0 and unit:
        return 1 / (interval * unit)
    return fps if fps and fps > 0 and "finterval" not in said else None


def _shaped(text: str, frame_shape: Sequence[int]) -> Layout:
    axes: str | None = None
    try:
        if text.startswith("{"):
            said = json.loads(text)
            shape = tuple(int(n) for n in said["shape"])
            axes = said.get("axes")
        else:
            found = re.match(r"shape=\(([\d, ]+)\)", text)
            shape = tuple(int(n) for n in found[1].split(",") if n.strip()) if found else ()
    except (ValueError, TypeError, KeyError):
        return Layout(why="its metadata cannot be read")
    frame = tuple(frame_shape)
    if len(shape) < len(frame) or shape[-len(frame) :] != frame:
        pixels = max(1, math.prod(frame))
        declared = math.prod(shape) // pixels if math.prod(shape) % pixels == 0 else None
        return Layout(declared=declared, why=f"its metadata declare another shape, {shape}")
    letters = axes if isinstance(axes, str) and len(axes) == len(shape) else ""
    return Layout(
        kind="shaped",
        leading=shape[: -len(frame)],
        letters=trusted_letters(letters),
        declared=math.prod(shape[: -len(frame)]),
        why="its metadata do not name its axes",
    )


def parse_xml(text: str, source: str) -> ET.Element:
    """Return the root of an XML text; entities and oversized texts are refused."""
    if len(text) > MAX_XML or "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise DataError(
            f"{source} declares XML entities or is larger than 64 MB; "
            "clgkit does not read such metadata.",
            code="E_NOT_IMAGE",
        )
    return ET.fromstring(text)  # noqa: S314  (entities are refused above)


def _ome(text: str, frame_axes: str) -> Layout:
    try:
        root = parse_xml(text, "The OME metadata")
    except ET.ParseError:
        return Layout(kind="OME", why="its OME metadata are damaged")
    images = [pixels for pixels in root.iter() if _local(pixels) == "Pixels"]
    if len(images) != 1:
        return Layout(kind="OME", n_images=len(images), why="its OME metadata describe no image")
    pixels = images[0]
    sizes = {letter: _whole(pixels.get(f"Size{letter.upper()}")) or 1 for letter in "tzc"}
    channels = [child for child in pixels if _local(child) == "Channel"]
    samples = sum(_whole(c.get("SamplesPerPixel")) or 1 for c in channels) or sizes["c"]
    if "S" in frame_axes and samples:
        sizes["c"] = max(1, len(channels))
    slowest_first = [
        k for k in reversed(pixels.get("DimensionOrder", "XYCZT").lower()) if k in "tzc"
    ]
    declared = math.prod(sizes.values())
    if declared > MAX_FRAMES:
        raise DataError(
            f"The OME metadata declare {declared} frames, more than any file holds "
            f"(at most {MAX_FRAMES} are read). Export it again.",
            code="E_NOT_IMAGE",
        )
    order, elsewhere = _ome_order(pixels, slowest_first, sizes)
    several = [letter for letter in slowest_first if sizes[letter] > 1]
    if elsewhere:
        return Layout(kind="OME", why=f"a part of it lies in another file ({elsewhere})")
    return Layout(
        kind="OME",
        leading=tuple(sizes[letter] for letter in several),
        letters=trusted_letters("".join(several) + frame_axes),
        declared=declared,
        order=order,
        voxel_um=_ome_spacing(pixels),
        rate_hz=_ome_rate(pixels),
        channels=tuple(c.get("Name", "") for c in channels if c.get("Name")),
        why="its OME metadata name an axis that is not known",
    )


def _ome_order(
    pixels: ET.Element, slowest_first: Sequence[str], sizes: Mapping[str, int]
) -> tuple[npt.NDArray[np.int64] | None, str | None]:
    """Return the page of each frame (None: as they come), and a foreign file if one is named."""
    shape = tuple(sizes[letter] for letter in slowest_first)
    order = np.full(math.prod(shape), -1, dtype=np.int64)
    blocks = [child for child in pixels if _local(child) == "TiffData"]
    names = {u.get("FileName") for block in blocks for u in block if u.get("FileName")}
    if len(names) > 1:
        return None, ", ".join(sorted(str(name) for name in names))
    for block in blocks:
        page = _whole(block.get("IFD")) or 0
        first = tuple(_whole(block.get(f"First{k.upper()}")) or 0 for k in slowest_first)
        if any(at >= size for at, size in zip(first, shape, strict=True)):
            return order, None
        start = int(np.ravel_multi_index(first, shape))
        alone = "IFD" in block.attrib and len(blocks) > 1
        count = _whole(block.get("PlaneCount")) or (1 if alone else len(order))
        stop = min(start + count, len(order))
        order[start:stop] = np.arange(page, page + stop - start)
    unset = bool(np.all(order < 0)) or np.array_equal(order, np.arange(len(order)))
    return (None if unset else order), None


def _ome_spacing(pixels: ET.Element) -> Spacing | None:
    steps: list[float | None] = []
    for letter in "ZYX":
        size = _number(pixels.get(f"PhysicalSize{letter}"))
        unit = TO_UM.get(pixels.get(f"PhysicalSize{letter}Unit", "µm").lower())
        steps.append(size * unit if size and size > 0 and unit else None)
    return (steps[0], steps[1], steps[2]) if any(steps) else None


def _ome_rate(pixels: ET.Element) -> float | None:
    step = _number(pixels.get("TimeIncrement"))
    unit = TO_S.get(pixels.get("TimeIncrementUnit", "s").lower())
    return 1 / (step * unit) if step and step > 0 and unit else None


def _local(element: ET.Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _whole(text: str | None) -> int | None:
    number = _number(text)
    return int(number) if number is not None and number == int(number) else None


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text is not None else None
    except ValueError:
        return None
    return number if number is not None and math.isfinite(number) else None
