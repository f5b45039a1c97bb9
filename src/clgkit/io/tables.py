"""Tables as CSV: units in the names of the columns, nothing that a spreadsheet would run."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from clgkit import fsio
from clgkit.errors import DataError

DANGEROUS: Final = ("=", "+", "-", "@", "\t", "\r")


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
        ``E_SHAPE``: the columns differ in length.
    """
    path = Path(path)
    made = {name: np.asarray(values) for name, values in columns.items()}
    wrong = [f"{k} {v.shape}" for k, v in made.items() if v.ndim != 1]
    lengths = {len(v) for v in made.values() if v.ndim == 1}
    if wrong or len(lengths) > 1:
        looks = ", ".join(f"{name} {values.shape}" for name, values in made.items())
        raise DataError(
            f"{path.name}: the columns of a table have one value per row each; these are {looks}.",
            code="E_SHAPE",
        )
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([safe_text(name) for name in made])
    writer.writerows(zip(*(list(_cells(values)) for values in made.values()), strict=True))
    fsio.write_text(path, text.getvalue())


def safe_text(text: str) -> str:
    """Return `text`, preceded by ``'`` if a spreadsheet would take it for a formula."""
    return f"'{text}" if text.startswith(DANGEROUS) else text


def _cells(values: npt.NDArray[Any]) -> Iterator[str]:
    if values.dtype.kind == "f":
        return ("" if np.isnan(v) else np.format_float_positional(v, trim="-") for v in values)
    if values.dtype.kind in "iub":
        return (str(v) for v in values.tolist())
    return (safe_text(str(v)) for v in values.tolist())
