"""Figures as SVG that follows the colours of the page, and images as PNG."""

from __future__ import annotations

import base64
import io
import re
import struct
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from clgkit.report.markup import Markup, escape, markup

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MUTED, LINE = "#14181d", "#6a7380", "#d5dae0"
BLUE, ORANGE, GREEN, RED, SKY, PURPLE = (
    "#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7",
)  # fmt: skip
THEME = {
    INK: "currentColor",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    BLUE: "var(--blue)",
    ORANGE: "var(--orange)",
    GREEN: "var(--green)",
    RED: "var(--red)",
    SKY: "var(--sky)",
    PURPLE: "var(--purple)",
}
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "clgkit",
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.2,
    "image.interpolation": "none",
    "text.parse_math": False,
}
WIDTH_IN = 9.0
RASTER_DPI = 130


def svg(
    draw: Callable[[Figure], None],
    *,
    name: str,
    alt: str,
    height_in: float,
    width_in: float = WIDTH_IN,
) -> Markup:
    """Return a drawing as inline SVG.

    Parameters
    ----------
    draw
        Fills an empty figure.
    name
        Makes the ids inside the SVG differ from those of other figures.
    alt
        What the figure shows, for those who cannot see it.
    height_in, width_in
        Size; text is readable at nine inches to the column.
    """
    with mpl.rc_context(STYLE):
        made = Figure(figsize=(width_in, height_in), layout="constrained")
        FigureCanvasAgg(made)
        draw(made)
        _arrange(made)
        buffer = io.StringIO()
        made.savefig(buffer, format="svg", dpi=RASTER_DPI, metadata={"Date": None})
    return Markup(_adopted(buffer.getvalue(), name, alt))


def _arrange(made: Figure) -> None:
    """Lay the figure out once; saving would do it again and draw everything twice."""
    engine = made.get_layout_engine()
    if engine is not None:
        engine.execute(made)
        made.set_layout_engine("none")


def _adopted(text: str, name: str, alt: str) -> str:
    """Turn a file of matplotlib into a part of the page."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    box = re.search(r'viewBox="[^"]*"', text)
    body = text[text.index(">") + 1 :]
    body = re.sub(r'(\bid="|url\(#|xlink:href="#)', rf"\g<1>{name}-", body)
    for colour, variable in THEME.items():
        body = body.replace(colour, variable)
    view = box.group(0) if box else ""
    return (
        f'<svg class="plot" {view} role="img" aria-label="{escape(alt)}" '
        f'xmlns:xlink="http://www.w3.org/1999/xlink">{body.strip()}'
    )


def grid(axes: Axes, axis: str = "y") -> None:
    """Draw faint lines behind the data."""
    axes.grid(visible=True, axis=axis)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def png(pixels: npt.NDArray[np.uint8]) -> str:
    """Return (Y, X) grey pixels as the address of a PNG."""
    return _address(_png(pixels, colour_type=0, depth=8, extra=b""))


def mask_png(mask: npt.NDArray[np.bool_], colour: tuple[int, int, int]) -> str:
    """Return a (Y, X) mask as the address of a PNG, transparent where it is false."""
    palette = _chunk(b"PLTE", bytes([0, 0, 0, *colour])) + _chunk(b"tRNS", bytes([0, 255]))
    return _address(
        _png(np.packbits(mask, axis=1), colour_type=3, depth=1, extra=palette, width=mask.shape[1])
    )


def _png(
    rows: npt.NDArray[np.uint8],
    *,
    colour_type: int,
    depth: int,
    extra: bytes,
    width: int | None = None,
) -> bytes:
    height = len(rows)
    header = struct.pack(">IIBBBBB", width or rows.shape[1], height, depth, colour_type, 0, 0, 0)
    lines = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + extra
        + _chunk(b"IDAT", zlib.compress(lines.tobytes(), 9))
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def _address(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def image(address: str, alt: str, kind: str = "") -> Markup:
    """Return an image of the page."""
    return markup(
        '<img class="{kind}" src="{address}" alt="{alt}">', kind=kind, address=address, alt=alt
    )
