"""Masks of a folder come in the order that a reader of their names would give them."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from clgkit.io.labelfile import natural_order

names = st.text(st.sampled_from("a1209²٣_-."), min_size=1, max_size=8)


@given(st.lists(names, unique=True, max_size=8))
def test_any_names_have_one_order(found: list[str]) -> None:
    paths = [Path(name) for name in found if name.strip(".")]

    ordered = natural_order(paths)

    assert sorted(ordered) == sorted(paths)
    assert natural_order(paths[::-1]) == ordered


@given(st.lists(st.integers(0, 10**6), unique=True, min_size=1, max_size=8))
def test_numbers_count_by_their_value(numbers: list[int]) -> None:
    paths = [Path(f"slice_{number}.tif") for number in numbers]

    assert natural_order(paths) == [Path(f"slice_{number}.tif") for number in sorted(numbers)]


def test_a_superscript_is_no_number() -> None:
    assert natural_order([Path("5²3.tif"), Path("4²3.tif")]) == [Path("4²3.tif"), Path("5²3.tif")]
