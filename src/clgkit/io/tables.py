"""Tables as CSV: units in the names of the columns, nothing that a spreadsheet would run."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from clgkit import fsio
from clgkit.errors import DataError, StoreError
from clgkit.io.pixels import writable

DANGEROUS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def write_csv(path: Path | str, columns: Mapping[str, npt.ArrayLike | Sequence[str]]) -> None:
    """Write columns of equal length as UTF-8 CSV, durably and in one step.

    Parameters
    ----------
    path
        Target.
    columns
        Name with its unit, such as ``area_px`` → (N,) numbers or texts.  Floats are written
        so that they read back exactly; NaN as an empty cell.  Text that a spreadsheet would
        take for a formula is preceded by ``'``.

    Raises
    ------
    DataError
        ``E_SHAPE``: the columns differ in length; ``E_PATH``: the folder is not there.
    StoreError
        If the file does not read back as it was written.
    """
    path = writable(path)
    made = {name: np.asarray(values) for name, values in columns.items()}
    wrong = [f"{k} {v.shape}" for k, v in made.items() if v.ndim != 1]
    lengths = {len(v) for v in made.values() if v.ndim == 1}
    if wrong or len(lengths) > 1:
        looks = ", ".join(f"{name} {values.shape}" for name, values in made.items())
        raise DataError(
            f"{path.name}: the columns of a table have one value per row each; these are {looks}.",
            code="E_SHAPE",
        )
    rows = [[safe_text(name) for name in made]]
    rows += map(list, zip(*(_cells(values) for values in made.values()), strict=True))

    def check(temporary: Path) -> None:
        with temporary.open(encoding="utf-8", newline="") as file:
            again = list(csv.reader(file))
        numbers = zip(zip(*again[1:], strict=True), made.values(), strict=False)
        if again != rows or not all(_reads_as(texts, values) for texts, values in numbers):
            raise StoreError(f"{path} did not read back as it was written. Is the disk failing?")

    fsio.publish(path, lambda temporary: _write_rows(temporary, rows), check)


def _write_rows(temporary: Path, rows: list[list[str]]) -> None:
    with temporary.open("w", encoding="utf-8", newline="") as file:
        plain = csv.writer(file, lineterminator="\n")
        quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        for row in rows:  # an unquoted \r would end the row
            (quoted if any("\r" in cell for cell in row) else plain).writerow(row)


def _reads_as(texts: Sequence[str], values: npt.NDArray[Any]) -> bool:
    """Tell whether the texts of a column of floats are exactly its values."""
    if values.dtype.kind != "f":
        return True
    again = np.array([text or "nan" for text in texts], dtype=values.dtype)
    return np.array_equal(again, values, equal_nan=True)


def safe_text(text: str) -> str:
    """Return `text`, preceded by ``'`` if a spreadsheet would take it for a formula."""
    return f"'{text}" if text.startswith(DANGEROUS) else text


def _cells(values: npt.NDArray[Any]) -> Iterator[str]:
    if values.dtype.kind == "f":
        return ("" if np.isnan(v) else np.format_float_positional(v, trim="-") for v in values)
    if values.dtype.kind in "iub":
        return (str(v) for v in values.tolist())
    return (safe_text(str(v)) for v in values.tolist())
