"""HTML that cannot be broken by what stands in files: everything is escaped unless marked."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


class Section(NamedTuple):
    """One chapter of the page."""

    anchor: str
    title: str
    body: Markup


class Card(NamedTuple):
    """One number of the headline."""

    value: str
    label: str
    note: str = ""


def escape(value: object) -> Markup:
    """Return a value as HTML text; `Markup` is left as it is."""
    return value if isinstance(value, Markup) else Markup(html.escape(str(value), quote=True))


def markup(pattern: str, /, **values: object) -> Markup:
    """Fill values into HTML; what is not `Markup` is escaped.

    Parameters
    ----------
    pattern
        HTML with ``{name}`` fields; always a literal of this package.
    **values
        Of the fields.
    """
    return Markup(pattern.format_map({name: escape(value) for name, value in values.items()}))


def join(parts: Iterable[object], between: str = "") -> Markup:
    """Join pieces; what is not `Markup` is escaped."""
    return Markup(between.join(escape(part) for part in parts))


def paragraph(text: object, kind: str = "") -> Markup:
    """Return a paragraph, of a class if one is named."""
    return markup('<p class="{kind}">{text}</p>' if kind else "<p>{text}</p>", kind=kind, text=text)


def absent(sentence: str) -> Markup:
    """Return the sentence that stands where a figure would be."""
    return paragraph(sentence, "absent")


def figure(content: Markup, caption: object, *, kind: str = "") -> Markup:
    """Return a figure with its caption."""
    return markup(
        '<figure class="{kind}">{content}<figcaption>{caption}</figcaption></figure>',
        kind=kind,
        content=content,
        caption=caption,
    )


def row(*parts: Markup) -> Markup:
    """Put pieces side by side where there is room."""
    return markup('<div class="row">{parts}</div>', parts=join(parts))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, kind: str = "") -> Markup:
    """Return a table; a column whose name ends with ``#`` holds numbers."""
    numeric = [name.endswith("#") for name in columns]
    head = join(
        markup('<th scope="col" class="{k}">{n}</th>', k="number" if is_number else "", n=name)
        for name, is_number in zip((c.rstrip("#") for c in columns), numeric, strict=True)
    )
    body = join(
        markup(
            "<tr>{cells}</tr>",
            cells=join(
                markup('<td class="{k}">{v}</td>', k="number" if is_number else "", v=value)
                for value, is_number in zip(cells, numeric, strict=True)
            ),
        )
        for cells in rows
    )
    return markup(
        '<div class="scroll"><table class="{kind}"><thead><tr>{head}</tr></thead>'
        "<tbody>{body}</tbody></table></div>",
        kind=kind,
        head=head,
        body=body,
    )


def cards(found: Iterable[Card]) -> Markup:
    """Return numbers large enough to be read first."""
    return markup(
        '<div class="cards">{cards}</div>',
        cards=join(
            markup(
                '<div class="card"><div class="value">{value}</div>'
                '<div class="label">{label}</div><div class="note">{note}</div></div>',
                **card._asdict(),
            )
            for card in found
        ),
    )


def bullets(items: Iterable[object]) -> Markup:
    """Return a list."""
    return markup("<ul>{items}</ul>", items=join(markup("<li>{i}</li>", i=item) for item in items))


def folded(title: object, body: Markup, *, is_open: bool = False) -> Markup:
    """Return a piece that opens when its title is clicked."""
    return markup(
        "<details{state}><summary>{title}</summary>{body}</details>",
        state=Markup(" open" if is_open else ""),
        title=title,
        body=body,
    )


def data(anchor: str, value: Any) -> Markup:
    """Return plain values for the script of the page."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return markup(
        '<script type="application/json" id="{anchor}">{text}</script>',
        anchor=anchor,
        text=Markup(text.replace("<", "\\u003c").replace("&", "\\u0026")),
    )


def number(value: float | None, digits: int = 3) -> str:
    """Return a number for people: whole ones with commas, others with a few digits."""
    if value is None or value != value:  # noqa: PLR0124  (only NaN differs from itself)
        return DASH
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}".replace("-", MINUS)
    if 10**digits - 0.5 <= abs(value) < 1e15:  # 1,235 and not 1.23e+03
        return f"{value:,.0f}".replace("-", MINUS)
    return f"{value:.{digits}g}".replace("-", MINUS)


def counted(n: int, noun: str, plural: str = "") -> str:
    """Return ``1 neuron`` or ``1,204 neurons``."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"
