"""Arrays in an ``.npz`` file that has the same bytes whenever it is written."""

from __future__ import annotations

import zipfile
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clgkit import fsio
from clgkit.errors import DataError

UNREADABLE = (
    OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def write_npz(path: Path, **arrays: npt.NDArray[Any]) -> None:
    """Write arrays as numpy's savez_compressed does, without the time of writing."""
    fsio.publish(
        path,
        lambda temporary: _save(temporary, arrays),
        lambda temporary: np.load(temporary, allow_pickle=False).close(),
    )


def _save(temporary: Path, arrays: dict[str, npt.NDArray[Any]]) -> None:
    with zipfile.ZipFile(temporary, "w") as archive:
        for name, values in arrays.items():
            buffer = BytesIO()
            np.save(buffer, values, allow_pickle=False)
            member = zipfile.ZipInfo(f"{name}.npy")  # its date is 1980
            archive.writestr(member, buffer.getvalue(), zipfile.ZIP_DEFLATED)


def read_npz(path: Path, names: tuple[str, ...], origin: str) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of these names.

    Parameters
    ----------
    path
        The file.
    names
        All of them must be there.
    origin
        What writes such a file, for the sentence.

    Raises
    ------
    DataError
        If there is no such file, or it does not hold them.
    """
    if not path.is_file():
        raise DataError(f"There is no file {path}. {origin}", code="E_PATH")
    try:
        # np.load leaves a file open that it cannot read.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return {name: file[name] for name in names}
    except UNREADABLE as error:
        raise DataError(
            f"{path.name} does not hold the arrays {', '.join(names)}, or is damaged. {origin}",
            code="E_SHAPE",
        ) from error
