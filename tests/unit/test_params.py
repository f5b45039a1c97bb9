"""Settings: frozen, complete, intolerant of misspelling."""

from typing import Annotated, Literal, Self

import pytest
from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from clgkit.errors import SettingsError
from clgkit.params import Params, closest


class Inner(Params):
    """Settings within settings."""

    radius_px: PositiveInt = 3
    """Of the inner part."""


class Outer(Params):
    """Settings of a test."""

    max_shift_px: PositiveInt = 15
    """Larger displacements are not looked for."""
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """A share."""
    order: Literal["rising", "falling"] = "rising"
    """An order."""
    inner: Inner = Inner()
    """More settings."""


class Needy(Params):
    """Settings without a default."""

    path: str
    """Where."""


def problems(values: dict[str, object]) -> str:
    with pytest.raises(SettingsError) as caught:
        Outer.parse(values, section="outer")
    assert caught.value.exit_code == 2
    return caught.value.message


def test_values_are_taken_and_the_rest_is_default() -> None:
    made = Outer.parse({"max_shift_px": 4}, section="outer")

    assert (made.max_shift_px, made.share, made.order) == (4, 0.5, "rising")


def test_all_problems_are_told_at_once() -> None:
    message = problems({"max_shift_px": 0, "share": 2, "ordre": "rising"})

    assert message.splitlines()[0] == "These settings are not accepted:"
    assert len(message.splitlines()) == 4
    assert "outer.max_shift_px = 0: Input should be greater than 0" in message
    assert "outer.share = 2: Input should be less than 1" in message
    assert "outer.ordre: unknown; did you mean order?" in message


@pytest.mark.parametrize(
    ("name", "meant"), [("max_shift", "max_shift_px"), ("sahre", "share"), ("Order", "order")]
)
def test_a_misspelt_setting_is_recognised(name: str, meant: str) -> None:
    assert f"outer.{name}: unknown; did you mean {meant}?" in problems({name: 1})


def test_a_setting_like_no_other_is_only_unknown() -> None:
    assert problems({"qqq": 1}).endswith("outer.qqq: unknown")


def test_a_misspelt_setting_within_settings_is_recognised() -> None:
    message = problems({"inner": {"radius": 2}})

    assert "outer.inner.radius: unknown; did you mean radius_px?" in message


def test_a_missing_setting_says_that_it_has_no_default() -> None:
    with pytest.raises(SettingsError, match=r"needy\.path: missing; it has no default"):
        Needy.parse({}, section="needy")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "half", None, [0.5]])
def test_numbers_are_finite_numbers(value: object) -> None:
    assert "outer.share" in problems({"share": value})


def test_settings_are_frozen_and_can_be_compared() -> None:
    made = Outer()
    with pytest.raises(ValidationError, match="frozen"):
        made.share = 0.2  # type: ignore[misc]

    assert made == Outer()
    assert hash(made) == hash(Outer())
    assert made != Outer(share=0.2)


def test_defaults_are_checked_too() -> None:
    class Wrong(Params):
        """A default out of range."""

        count: PositiveInt = 0
        """Wrong."""

    with pytest.raises(ValidationError):
        Wrong()


def test_the_text_under_a_field_is_its_description() -> None:
    assert Outer.model_fields["max_shift_px"].description == (
        "Larger displacements are not looked for."
    )


@pytest.mark.parametrize(
    ("word", "found"),
    [("segment", "segment_nuclei"), ("corect_motion", "correct_motion"), ("zzz", None)],
)
def test_the_closest_word_is_found(word: str, found: str | None) -> None:
    assert closest(word, ["segment_nuclei", "correct_motion"]) == found


class Choosy(Params):
    """Settings that must go together."""

    size: Literal["own"] | PositiveFloat = 1.0
    """A number, or a word."""
    is_fast: bool = False
    """Whether to hurry."""

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.is_fast and self.size == "own":
            raise ValueError("is_fast needs a number as size")
        return self


class Around(Params):
    """A section around them."""

    choosy: Choosy = Choosy()
    """The section."""


@pytest.mark.parametrize(("section", "start"), [("", "  - is_fast"), ("s", "  - s: is_fast")])
def test_settings_that_do_not_go_together_get_their_own_sentence(section: str, start: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Choosy.parse({"size": "own", "is_fast": True}, section=section)

    assert caught.value.message.splitlines()[1:] == [f"{start} needs a number as size"]


def test_a_section_is_named_where_its_settings_do_not_go_together() -> None:
    with pytest.raises(SettingsError) as caught:
        Around.parse({"choosy": {"size": "own", "is_fast": True}}, section="")

    assert caught.value.message.splitlines()[1:] == ["  - choosy: is_fast needs a number as size"]


def test_a_setting_of_several_kinds_is_one_problem() -> None:
    with pytest.raises(SettingsError) as caught:
        Around.parse({"choosy": {"size": -3}}, section="")

    assert caught.value.message.splitlines()[1:] == [
        "  - choosy.size = -3: Input should be 'own' or be greater than 0"
    ]
