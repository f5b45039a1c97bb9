"""Everything from files is escaped; numbers and tables read well."""

import json

import pytest

from clgkit.report import markup as m

EVIL = "<img src=x onerror=alert(1)>"
ESCAPED = "&lt;img src=x onerror=alert(1)&gt;"


def test_a_value_is_escaped_and_markup_is_not() -> None:
    assert m.markup("<p>{a}{b}</p>", a=EVIL, b=m.Markup("<b>x</b>")) == f"<p>{ESCAPED}<b>x</b></p>"


def test_an_attribute_cannot_be_left() -> None:
    assert '" onload=' not in m.markup('<i class="{k}"></i>', k='" onload="alert(1)')


@pytest.mark.parametrize(
    "made",
    [
        m.paragraph(EVIL),
        m.absent(EVIL),
        m.figure(m.Markup(""), EVIL),
        m.table([EVIL], [[EVIL]]),
        m.cards([m.Card(EVIL, EVIL, EVIL)]),
        m.bullets([EVIL]),
        m.folded(EVIL, m.Markup("")),
        m.join([EVIL, "a"]),
    ],
)
def test_every_piece_escapes_what_it_is_given(made: m.Markup) -> None:
    assert "<img" not in made
    assert ESCAPED in made


def test_data_for_the_script_cannot_end_it() -> None:
    made = m.data("x", {"label": "</script><script>alert(1)</script>"})

    assert made.count("<") == 2
    text = made.partition(">")[2].rpartition("<")[0]
    assert json.loads(text) == {"label": "</script><script>alert(1)</script>"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234567, "1,234,567"),
        (-3, "\N{MINUS SIGN}3"),
        (0.87123, "0.871"),
        (-0.5, "\N{MINUS SIGN}0.5"),
        (None, "\N{EN DASH}"),
        (float("nan"), "\N{EN DASH}"),
        (float("inf"), "inf"),
        (0, "0"),
        (1e-7, "1e\N{MINUS SIGN}07"),
    ],
)
def test_numbers_are_for_people(value: float | None, text: str) -> None:
    assert m.number(value) == text


def test_nouns_agree_with_their_number() -> None:
    assert m.counted(1, "neuron") == "1 neuron"
    assert m.counted(2641, "ROI") == "2,641 ROIs"
    assert m.counted(2, "axis", "axes") == "2 axes"


def test_a_table_marks_its_columns_of_numbers() -> None:
    made = m.table(["name", "value#"], [["a", 1]])

    assert '<th scope="col" class="number">value</th>' in made
    assert '<td class="">a</td><td class="number">1</td>' in made


def test_a_folded_piece_can_start_open() -> None:
    assert m.folded("t", m.Markup("b"), is_open=True).startswith("<details open>")
    assert m.folded("t", m.Markup("b")).startswith("<details>")
