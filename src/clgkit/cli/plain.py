"""One command per stage, on plain files and without a run folder."""

from __future__ import annotations

import importlib
import tempfile
import tomllib
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clgkit.cli.options import RESOURCES, resources, workspace
from clgkit.errors import DataError
from clgkit.stages import STAGES, params_of

if TYPE_CHECKING:
    from clgkit.params import Params
    from clgkit.workspace import Workspace

FILES = click.Path(path_type=Path)
MOTION = ("apply_motion",)
NUCLEI = ("segment_nuclei",)
DENOISE = ("denoise",)
TABLES = ("merge_planes", "compute_dff", "denoise_traces")
NETWORKS = ("build_network", "measure_network", "dismantle")
WRITTEN = ("output", "template_file", "denoised", "scores", "drift", "nuclei")
"""Arguments of commands that name a result, as does ``shifts`` of one of them."""


def command(stage: str) -> click.Command:
    """Return the command of a stage."""
    families = {"networks": NETWORKS, "tables": TABLES, "motion": MOTION, "denoise": DENOISE}
    families |= {"nuclei": NUCLEI}
    family = next((name for name, stages in families.items() if stage in stages), "images")
    module = importlib.import_module(f"clgkit.cli.plain_{family}")
    made: click.Command = getattr(module, stage)
    return made


def stage_command(stage: str, examples: str) -> Callable[[Callable[..., None]], click.Command]:
    """Make a command of a function: add the stage's settings as options, and examples.

    The function gets ``params`` (the stage's settings) besides its own arguments, and
    ``scratch``, a workspace that keeps results in a temporary folder beside the output.
    """
    kind = params_of(stage)
    # What chooses between results of other stages means nothing where files are given.
    chosen = STAGES[stage].chosen_by.values()
    fields = {name: field for name, field in kind.model_fields.items() if name not in chosen}
    pasted = examples.strip().replace("\n    ", " \\\n    ")  # as a shell goes on
    lines = "\n".join(f"    {line}" for line in pasted.splitlines())

    def decorate(function: Callable[..., None]) -> click.Command:
        def call(**given: Any) -> None:
            values = {name: given.pop(name) for name in fields}
            limits = {name: given.pop(name) for name in RESOURCES}
            params = parse(kind, values)
            check_written(stage, given)
            with scratch(given["output"], limits) as place, told():
                function(params=params, workspace=place, **given)

        call.__doc__ = function.__doc__
        call.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
        for name, field in reversed(fields.items()):
            call = _setting(name, field)(call)
        made = click.command(
            stage.replace("_", "-"),
            epilog=f"\b\nExamples:\n{lines}",
            short_help=STAGES[stage].summary,
        )
        return made(resources(call))

    return decorate


def _setting(name: str, field: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    flag = f"--{name.replace('_', '-')}"
    text = (field.description or "").replace("\n", " ")
    shown = "" if field.default is None else f"  [default: {_shown(field.default)}]"
    if field.annotation is bool:
        option = click.option(f"{flag}/--no-{flag[2:]}", name, default=None, help=text + shown)
    else:
        option = click.option(flag, name, metavar=_metavar(field.annotation), help=text + shown)
    return option


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value}"


def _metavar(annotation: Any) -> str:
    choices = getattr(annotation, "__args__", ())
    if choices and all(isinstance(choice, str) for choice in choices):
        return "[" + "|".join(choices) + "]"
    return {int: "INTEGER", float: "NUMBER", str: "TEXT"}.get(annotation, "VALUE")


def parse(kind: type[Params], values: dict[str, Any]) -> Params:
    """Return settings from the texts of the command line; what was not given is default."""
    given = {name: _plain(value) for name, value in values.items() if value is not None}
    return kind.parse(given, section="")


def _plain(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return value


def check_written(stage: str, given: dict[str, Any]) -> None:
    """Refuse names that results cannot have, before the work and not after.

    A result must not take the place of what it is made of, nor that of another result.
    """
    paths = {name: value for name, value in given.items() if isinstance(value, Path)}
    results = {*WRITTEN, "shifts"} if stage == "correct_motion" else {*WRITTEN}
    for name in sorted(results & paths.keys()):
        path = paths.pop(name)
        new_file(path, beside=paths.values(), is_folder=stage == "dismantle")


def new_file(path: Path, *, beside: Iterable[Path] = (), is_folder: bool = False) -> None:
    """Raise `DataError` if a result cannot be written to a path.

    Parameters
    ----------
    path
        Of the result.
    beside
        Other files of the command, which must stay.
    is_folder
        The result is a folder.
    """
    parent = path.resolve().parent
    if not parent.is_dir():
        raise DataError(f"The folder {parent} does not exist; make it first.", code="E_PATH")
    if path.exists() and path.is_dir() != is_folder:
        found, wanted = ("file", "folder") if is_folder else ("folder", "file")
        raise DataError(f"{path} is a {found}; give another name for the {wanted}.", code="E_PATH")
    if path.resolve() in {other.resolve() for other in beside}:
        raise DataError(
            f"{path} is named twice, and what is there would be lost; give the result another "
            "name.",
            code="E_PATH",
        )


@contextmanager
def scratch(output: Path, limits: dict[str, Any]) -> Iterator[Workspace]:
    """Give a workspace whose results lie in a temporary folder beside `output`."""
    from clgkit.pipeline.store import Partial

    parent = output.resolve().parent
    with tempfile.TemporaryDirectory(prefix=".clg-", dir=parent) as folder:
        yield workspace(**limits).with_shelf(Partial(Path(folder), "scratch", "plain"))


@contextmanager
def told() -> Iterator[None]:
    """Print warnings of a stage as lines."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", category=UserWarning)
        yield
    for warning in caught:
        click.echo(f"warning: {warning.message}", err=True)
