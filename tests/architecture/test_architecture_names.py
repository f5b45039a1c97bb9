"""One name everywhere: stage = module = function = settings = command = docs page."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from clgkit.params import Params
from clgkit.stages import EXTRA, STAGES
from tests.architecture.commands import commands
from tests.architecture.sources import PACKAGE, ROOT

EVERY_STAGE = pytest.mark.parametrize("name", STAGES)


def camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def stage(name: str) -> Callable[..., Any]:
    function = getattr(importlib.import_module(f"clgkit.stages.{name}"), name)
    assert callable(function)
    return function  # type: ignore[no-any-return]


def settings(name: str) -> type[Params]:
    kind = getattr(importlib.import_module(f"clgkit.stages.{name}"), camel(name))
    assert issubclass(kind, Params)
    return kind  # type: ignore[no-any-return]


@EVERY_STAGE
def test_the_module_holds_a_function_of_its_name(name: str) -> None:
    assert stage(name).__name__ == name
    assert stage(name).__module__ == f"clgkit.stages.{name}"


def test_every_module_of_the_stages_is_in_the_table_of_contents() -> None:
    modules = {path.stem for path in (PACKAGE / "stages").glob("*.py")}

    public = {module for module in modules if not module.startswith("_")}

    assert public == set(STAGES)


@EVERY_STAGE
def test_the_settings_bear_the_name(name: str) -> None:
    assert settings(name).__name__ == camel(name)


@EVERY_STAGE
def test_the_settings_file_has_a_section_of_the_name(name: str) -> None:
    from clgkit.pipeline.settings import settings_model

    assert settings_model().model_fields[name].annotation is settings(name)


@EVERY_STAGE
def test_the_command_bears_the_name(name: str) -> None:
    assert name.replace("_", "-") in dict(commands())


@EVERY_STAGE
def test_the_docs_have_a_page_of_the_name(name: str) -> None:
    assert (ROOT / "docs" / "methods" / f"{name}.md").is_file()


@EVERY_STAGE
def test_the_signature_is_that_of_a_stage(name: str) -> None:
    parameters = inspect.signature(stage(name)).parameters

    assert list(parameters)[-2:] == ["params", "workspace"]
    assert parameters["params"].default == settings(name)()
    assert parameters["workspace"].kind is inspect.Parameter.KEYWORD_ONLY
    assert parameters["workspace"].default is None


@EVERY_STAGE
def test_the_inputs_are_those_of_the_table(name: str) -> None:
    inputs = list(inspect.signature(stage(name)).parameters)[:-2]

    assert inputs == list(STAGES[name].inputs)


@EVERY_STAGE
def test_an_input_comes_from_an_earlier_stage_or_from_outside(name: str) -> None:
    earlier = list(STAGES)[: list(STAGES).index(name)]
    raw = {"structure", "function", *EXTRA}

    for argument in STAGES[name].inputs:
        for source in STAGES[name].sources(argument):
            assert source.origin in (earlier if source.field else raw)


@EVERY_STAGE
def test_the_result_is_a_named_tuple(name: str) -> None:
    returned = inspect.signature(stage(name)).return_annotation
    module = importlib.import_module(f"clgkit.stages.{name}")

    kind = getattr(module, returned) if isinstance(returned, str) else returned

    assert issubclass(kind, tuple)
    assert kind._fields


@EVERY_STAGE
def test_another_stage_finds_the_field_it_names(name: str) -> None:
    stages = STAGES[name]
    sources = [source for argument in stages.inputs for source in stages.sources(argument)]
    for origin, field in (source for source in sources if source.field):
        module = importlib.import_module(f"clgkit.stages.{origin}")
        returned = inspect.signature(stage(origin)).return_annotation
        kind = getattr(module, returned) if isinstance(returned, str) else returned

        assert field in kind._fields
