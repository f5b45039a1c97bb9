"""What can go wrong, as sentences with a code and an exit code."""

import pickle

import pytest

from clgkit import errors
from clgkit.errors import (
    ClgError,
    DataError,
    LockedError,
    MissingDependency,
    ResourceError,
    SettingsError,
    StoreError,
    as_data_error,
)

EVERY = [
    (ClgError, 1, "E_CLG"),
    (SettingsError, 2, "E_SETTINGS"),
    (MissingDependency, 2, "E_MISSING"),
    (DataError, 3, "E_DATA"),
    (ResourceError, 4, "E_RESOURCE"),
    (LockedError, 5, "E_LOCKED"),
    (StoreError, 6, "E_STORE"),
]


@pytest.mark.parametrize(("kind", "exit_code", "code"), EVERY)
def test_every_error_has_its_exit_code_and_its_code(
    kind: type[ClgError], exit_code: int, code: str
) -> None:
    error = kind("It is too short. Take a longer one.")

    assert error.exit_code == exit_code
    assert error.code == code
    assert str(error) == error.message == "It is too short. Take a longer one."


def test_no_error_was_forgotten() -> None:
    kinds = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, Exception)
    }

    assert kinds == {kind for kind, _, _ in EVERY}


def test_the_kinds_are_related_as_documented() -> None:
    assert issubclass(MissingDependency, SettingsError)
    assert issubclass(LockedError, StoreError)
    assert not issubclass(ClgError, ValueError)


@pytest.mark.parametrize(("kind", "exit_code", "code"), EVERY)
def test_an_error_comes_back_whole_from_a_worker(
    kind: type[ClgError], exit_code: int, code: str
) -> None:
    again = pickle.loads(pickle.dumps(kind("a sentence", code="E_SPECIAL")))  # noqa: S301  (ours)

    assert type(again) is kind
    assert (again.message, again.code) == ("a sentence", "E_SPECIAL")
    assert again.exit_code == exit_code
    assert kind("another").code == code


def test_a_value_error_of_an_algorithm_becomes_a_data_error() -> None:
    with (
        pytest.raises(DataError, match=r"^plane 3: it is blank$") as caught,
        as_data_error("plane 3"),
    ):
        raise ValueError("it is blank")

    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(DataError, match=r"^it is blank$"), as_data_error():
        raise ValueError("it is blank")


@pytest.mark.parametrize("error", [TypeError("a bug"), StoreError("damaged", code="E_X")])
def test_other_errors_pass_unchanged(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, as_data_error("somewhere"):
        raise error

    assert caught.value is error
