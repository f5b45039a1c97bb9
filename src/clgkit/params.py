"""Settings of a stage or method: frozen, complete, intolerant of misspelling."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from clgkit.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

WANTED = "Input should "


class Params(BaseModel):
    """Base of all settings.

    The docstring under a field is its documentation everywhere: in the docs, in the
    commented settings file and in ``clg settings``.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=True,
        allow_inf_nan=False,
    )

    @property
    def not_in_a_run(self) -> str | None:
        """Why a run, where stages read each other's results, cannot have these; None if it can."""
        return None

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, section: str) -> Self:
        """Return settings from plain values.

        Raises
        ------
        SettingsError
            With every problem at once; `section` is how the message names them.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            problems = "\n".join(explain(error, cls, section))
            raise SettingsError(f"These settings are not accepted:\n{problems}") from None


def explain(error: ValidationError, kind: type[BaseModel], section: str) -> list[str]:
    """Return one line per problem: the setting, the value found and what was wanted."""
    found: dict[str, list[str]] = {}
    for problem in error.errors():
        place, is_section = _place(problem["loc"], kind)
        path = ".".join([section, *place]).strip(".")
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            text = f"{path}: unknown{_suggestion(problem['loc'], kind)}"
        elif problem["type"] == "missing":
            text = f"{path}: missing; it has no default"
        elif is_section:  # settings that do not go together; the sentence names them
            text = f"{path}: {message}" if path else message
        else:
            value = problem["input"]
            found.setdefault(f"{path} = {value!r}: ", []).append(message)
            continue
        found[text] = []
    # A setting that may be one of several things has a problem for each of them.
    return [
        f"  - {start}{' or '.join(messages).replace(f' or {WANTED}', ' or ')}"
        for start, messages in found.items()
    ]


def _place(location: tuple[int | str, ...], kind: type[BaseModel]) -> tuple[list[str], bool]:
    """Return a location without the alternatives of a setting, and whether it is a section."""
    owner: Any = kind
    place: list[str] = []
    for part in location:
        is_alternative = owner is None and isinstance(part, str)
        if not is_alternative:
            place.append(str(part))
        field = owner.model_fields.get(str(part)) if owner else None
        annotation = field.annotation if field else None
        is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
        owner = annotation if is_model else None
    return place, owner is not None


def _suggestion(location: tuple[int | str, ...], kind: type[BaseModel]) -> str:
    owner: Any = kind
    for part in location[:-1]:
        field = owner.model_fields.get(str(part))
        annotation = field.annotation if field else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return ""
        owner = annotation
    close = closest(str(location[-1]), list(owner.model_fields))
    return f"; did you mean {close}?" if close else ""


def closest(word: str, known: list[str]) -> str | None:
    """Return the known word that looks most like `word`, if any does."""
    starts = [name for name in known if word and name.startswith(word)]
    matches = starts or difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return matches[0] if matches else None
