"""What an array must look like."""

import numpy as np
import pytest
import xarray as xr

from clgkit.errors import DataError
from clgkit.schema import Schema

TRACES = Schema("table of traces", ("neuron", "time"), "f", {"time": "s"})


def traces(dtype: type = np.float32, unit: str | None = "s") -> xr.DataArray:
    attributes = {} if unit is None else {"units": unit}
    return xr.DataArray(
        np.zeros((2, 3), dtype),
        dims=("neuron", "time"),
        coords={"time": ("time", np.arange(3.0), attributes)},
    )


def test_a_right_array_has_no_problems() -> None:
    assert TRACES.problems(traces()) == []
    TRACES.check(traces())


def test_the_order_of_the_dimensions_counts() -> None:
    (problem,) = TRACES.problems(traces().transpose())

    assert problem == "its dimensions are (time, neuron), not (neuron, time)"


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        ("f", "not floating point"),
        ("iu", "not signed integer or unsigned integer"),
        ("b", "not boolean"),
    ],
)
def test_the_kinds_are_named(kinds: str, words: str) -> None:
    (problem,) = Schema("thing", ("neuron", "time"), kinds).problems(traces(complex))

    assert problem == f"its values are complex128, {words}"


@pytest.mark.parametrize(
    ("unit", "words"), [("ms", "in ms, not in s"), (None, "in no unit, not in s")]
)
def test_the_unit_is_compared(unit: str | None, words: str) -> None:
    assert TRACES.problems(traces(unit=unit)) == [f"coordinate 'time' is {words}"]


def test_a_missing_coordinate_is_named_with_its_unit() -> None:
    assert TRACES.problems(traces().drop_vars("time")) == ["it has no coordinate 'time' in s"]


def test_all_problems_stand_in_one_message() -> None:
    with pytest.raises(DataError) as caught:
        TRACES.check(xr.DataArray(np.zeros(2, int), dims=("a",)))

    assert caught.value.code == "E_SHAPE"
    assert caught.value.message.splitlines() == [
        "This is not a table of traces:",
        "  - its dimensions are (a), not (neuron, time)",
        "  - its values are int64, not floating point",
        "  - it has no coordinate 'time' in s",
    ]
