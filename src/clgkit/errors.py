"""What can go wrong, as sentences.

::

    ClgError
    ├── DataError           exit 3: the input is not what it should be
    ├── SettingsError       exit 2: an option or a setting is wrong
    │   └── MissingDependency       an optional package is not installed
    ├── StoreError          exit 6: a result is incomplete or damaged
    │   └── LockedError     exit 5: another run writes to this folder
    └── ResourceError       exit 4: disk, memory or workers are short

Every message says what was found, what was wanted and what to do.  An exception
that is no `ClgError` is a bug of clgkit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar


class ClgError(Exception):
    """Base of all errors that a user can mend.

    Parameters
    ----------
    message
        One sentence or a short list: what was found, what was wanted, what to do.
    code
        Machine-readable name, such as ``E_AXES``; it appears in the log.
    """

    exit_code: ClassVar[int] = 1
    default_code: ClassVar[str] = "E_CLG"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the way back from a worker process with the code intact."""
        return (_rebuild, (type(self), self.message, self.code))


def _rebuild(kind: type[ClgError], message: str, code: str) -> ClgError:
    return kind(message, code=code)


class DataError(ClgError):
    """The input is not what it should be.

    Codes: ``E_TRUNCATED``, ``E_NOT_IMAGE``, ``E_AXES``, ``E_SHAPE``, ``E_NOISE``,
    ``E_TIMING``, ``E_CHANNELS``, ``E_PSF``, ``E_SHORT``, ``E_PATH``.
    """

    exit_code = 3
    default_code = "E_DATA"


class SettingsError(ClgError):
    """An option or a setting is wrong."""

    exit_code = 2
    default_code = "E_SETTINGS"


class MissingDependency(SettingsError):  # noqa: N818  (the name says what is missing)
    """A package of an optional extra is not installed."""

    default_code = "E_MISSING"


class StoreError(ClgError):
    """A stored result is incomplete, damaged or of another run."""

    exit_code = 6
    default_code = "E_STORE"


class LockedError(StoreError):
    """Another run writes to this folder."""

    exit_code = 5
    default_code = "E_LOCKED"


class ResourceError(ClgError):
    """Disk, memory or workers are short.

    Codes: ``E_DISK``, ``E_MEMORY``, ``E_WORKER``, ``E_DEVICE``.
    """

    exit_code = 4
    default_code = "E_RESOURCE"


@contextmanager
def as_data_error(where: str = "") -> Iterator[None]:
    """Turn the `ValueError` of an algorithm into a `DataError` that says where."""
    try:
        yield
    except ValueError as error:
        raise DataError(f"{where}: {error}" if where else str(error)) from error
