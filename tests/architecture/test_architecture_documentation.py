"""Every command, every setting and every public name is documented."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import click
import pytest

import clgkit
from clgkit.params import Params
from clgkit.stages import STAGES
from tests.architecture.commands import commands
from tests.architecture.sources import ROOT

OPTIONAL = ("clgkit.app", "clgkit.viewer")  # need an extra


def all_settings() -> list[type[Params]]:
    for module in pkgutil.walk_packages(clgkit.__path__, "clgkit."):
        if not module.name.startswith(OPTIONAL) and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found = {kind for kind in heirs(Params) if kind.__module__.startswith("clgkit.")}
    return sorted(found, key=lambda kind: kind.__name__)


def heirs(kind: type[Any]) -> Iterator[type[Any]]:
    for heir in kind.__subclasses__():
        yield heir
        yield from heirs(heir)


def documented() -> Iterator[str]:
    for page in (ROOT / "docs").rglob("*.md"):
        yield page.read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", all_settings(), ids=lambda kind: kind.__name__)
def test_every_setting_says_what_it_is(kind: type[Params]) -> None:
    silent = [
        name
        for name, field in kind.model_fields.items()
        if not (field.description or "").strip().endswith((".", ":"))
    ]

    assert kind.__doc__
    assert not silent or kind.__name__ == "RunSettings"


@pytest.mark.parametrize("kind", all_settings(), ids=lambda kind: kind.__name__)
def test_a_setting_with_a_unit_bears_it_in_its_name(kind: type[Params]) -> None:
    units = {
        "pixels": "_px", "micrometres": "_um", "seconds": "_s", "megabytes": "_mb", "hertz": "_hz",
    }  # fmt: skip

    for name, field in kind.model_fields.items():
        stated = re.search(r", in (\w+)\.?$", (field.description or "").split("\n")[0])
        if stated and stated[1] in units:
            assert name.endswith(units[stated[1]])


@pytest.mark.parametrize(("words", "command"), commands(), ids=str)
def test_every_command_says_what_it_does_and_shows_an_example(
    words: str, command: click.Command
) -> None:
    assert (command.help or "").strip()
    assert f"clg {words}" in f"{command.help} {command.epilog}"


@pytest.mark.parametrize(("words", "command"), commands(), ids=str)
def test_every_option_says_what_it_does(words: str, command: click.Command) -> None:
    options = [given for given in command.params if isinstance(given, click.Option)]

    assert not [given.name for given in options if not (given.help or "").strip()], words


@pytest.mark.parametrize(("words", "command"), commands(), ids=str)
def test_every_argument_is_explained_in_the_help(words: str, command: click.Command) -> None:
    arguments = [given for given in command.params if isinstance(given, click.Argument)]
    names = [given.human_readable_name for given in arguments]

    assert not [name for name in names if name not in (command.help or "")], words


@pytest.mark.parametrize("name", STAGES)
def test_the_page_of_a_stage_shows_its_settings(name: str) -> None:
    page = (ROOT / "docs" / "methods" / f"{name}.md").read_text(encoding="utf-8")

    assert f"```{{settings}} {name}\n```" in page  # the directive reads the settings class


def test_the_guide_shows_every_command() -> None:
    guide = (ROOT / "docs" / "guide" / "commands.md").read_text(encoding="utf-8")

    assert "```{commands}\n```" in guide  # the directive reads the command line


def test_every_public_name_exists_and_is_documented() -> None:
    for name in clgkit.__all__:
        assert getattr(getattr(clgkit, name), "__doc__", None), name


def test_the_docs_name_no_machine_and_no_absolute_path() -> None:
    private = re.compile(r"(?<![\w.])/(work|root|home|Users)/|/etc/")

    assert not [text[:80] for text in documented() if private.search(text)]


def test_every_decision_is_short_and_complete() -> None:
    for page in (ROOT / "docs" / "decisions").glob("[0-9]*.md"):
        text = page.read_text(encoding="utf-8")
        assert re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", page.name)
        assert len(text.splitlines()) <= 60
        for part in ("## Context", "## Decision", "## Consequence"):
            assert part in text, page.name
