"""Pages that show what the program itself says, and formulas drawn without a network."""

import html
import inspect
import io
from collections.abc import Iterator
from typing import Any, ClassVar

import click
import matplotlib as mpl
from docutils import nodes
from matplotlib import mathtext
from matplotlib.font_manager import FontProperties
from pydantic_core import PydanticUndefined
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from clgkit.cli.entry import app as clg
from clgkit.cli.entry import load
from clgkit.pipeline.settings import settings_model

FONT_PT = 13


class Settings(SphinxDirective):
    """The settings of a section, with defaults, from the docstrings under the fields."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the list."""
        return self.parse_text_to_nodes("\n".join(settings(self.arguments[0])))


class Commands(SphinxDirective):
    """Every command with its help and options."""

    has_content: ClassVar[bool] = False

    def run(self) -> list[nodes.Node]:
        """Return a section per command."""
        names = clg.list_commands(click.Context(clg))
        lines = (line for name in names for line in describe(load(name), f"clg {name}"))
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def settings(section: str) -> Iterator[str]:
    """Yield a definition list in Markdown."""
    kind: Any = settings_model().model_fields[section].annotation
    if not kind.model_fields:
        yield "There is nothing to set."
    for name, field in kind.model_fields.items():
        default = field.get_default(call_default_factory=True)
        value = f"{default:g}" if isinstance(default, float) else repr(default)
        shown = "required" if default is PydanticUndefined else f"default `{value}`"
        yield f"`{name}` ({shown})"
        yield f": {' '.join((field.description or '').replace('``', '`').split())}"
        yield ""


def describe(command: click.Command, words: str) -> Iterator[str]:
    """Yield a section on a command in Markdown; the help stands as it is printed."""
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from describe(inner, f"{words} {name}")
        return
    yield from (f"## {words}", "", "```text", *help_text(command), "```", "")
    for option in command.params:
        if isinstance(option, click.Option):
            yield f"`{', '.join(option.opts)}`"
            yield f": {' '.join((option.help or '').split())}"
            yield ""


def help_text(command: click.Command) -> list[str]:
    """Return usage, help and examples of a command as they are printed, without the options."""
    parts = (inspect.cleandoc(part or "") for part in (command.help, command.epilog))
    text = "\n\n".join(part.replace("\b", "").replace("\f", "").strip() for part in parts)
    usage = " ".join(command.collect_usage_pieces(click.Context(command)))
    lines = [f"clg {command.name} {usage}", "", *text.splitlines()]
    return [line for i, line in enumerate(lines) if line.strip() or lines[i - 1].strip()]


def draw(formula: str) -> str:
    """Return a formula as an SVG element in the colour of the text."""
    buffer, text = io.BytesIO(), f"${' '.join(formula.split())}$"
    with mpl.rc_context({"svg.hashsalt": "clgkit", "mathtext.fontset": "cm"}):
        mathtext.math_to_image(text, buffer, prop=FontProperties(size=FONT_PT), format="svg")
    drawn = buffer.getvalue().decode()
    drawn = drawn[drawn.index("<svg") :].replace("#000000", "currentColor")
    return drawn.replace("<svg", f'<svg aria-label="{html.escape(formula)}" role="img"', 1)


def inline_formula(writer: Any, node: nodes.Element) -> None:
    """Write a formula within a line."""
    writer.body.append(f'<span class="formula">{draw(node.astext())}</span>')
    raise nodes.SkipNode


def displayed_formula(writer: Any, node: nodes.Element) -> None:
    """Write a formula on a line of its own."""
    writer.body.append(f'<div class="formula">{draw(node.astext())}</div>')
    raise nodes.SkipNode


def drop_aliases(*arguments: Any) -> None:
    """Leave out what Python says of the fields of every named tuple."""
    lines: list[str] = arguments[-1]
    lines[:] = [line for line in lines if not line.startswith("Alias for field number")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register all of it."""
    app.add_directive("settings", Settings)
    app.add_directive("commands", Commands)
    app.add_html_math_renderer(
        "mathtext",
        inline_renderers=(inline_formula, None),
        block_renderers=(displayed_formula, None),
    )
    app.connect("autodoc-process-docstring", drop_aliases)
    return {"parallel_read_safe": True}
