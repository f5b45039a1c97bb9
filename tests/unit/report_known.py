"""Results of a few numbers each, without a run folder, and figures caught before drawing."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from clgkit.pipeline.store import Manifest
from clgkit.report.markup import Markup
from clgkit.report.results import Results
from tests.pipeline.tiny import CHAIN


class Known(Results):
    """Results that are given."""

    def __init__(
        self,
        arrays: dict[str, xr.DataArray] | None = None,
        values: dict[str, dict[str, Any]] | None = None,
        *,
        settings: dict[str, Any] | None = None,
        lost: dict[int, str] | None = None,
        made: dict[str, Manifest] | None = None,
    ) -> None:
        self.arrays, self.plain = arrays or {}, values or {}
        self.used, self.lost, self.made = settings or {}, lost or {}, made or {}
        self.problems = []
        self.stages = list(CHAIN)
        self._found = dict.fromkeys(CHAIN)

    def array(self, source: str) -> xr.DataArray | None:
        return self.arrays.get(source)

    def values(self, source: str) -> dict[str, Any]:
        return self.plain.get(source, {})

    def setting(self, stage: str, name: str) -> Any:
        return self.used.get(f"{stage}.{name}")

    def failed_planes(self) -> dict[int, str]:
        return self.lost

    def manifests(self) -> dict[str, Manifest]:
        return self.made


@dataclass
class Caught:
    """Figures that were drawn, by name, with their texts for those who cannot see."""

    figures: dict[str, Figure] = field(default_factory=dict)
    alts: dict[str, str] = field(default_factory=dict)

    def svg(self, draw: Callable[[Figure], None], *, name: str, alt: str, **size: float) -> Markup:
        self.figures[name] = Figure(figsize=(9, size["height_in"]))
        self.alts[name] = alt
        draw(self.figures[name])
        return Markup("<svg></svg>")


def array(values: Any, *dims: str, **coords: Any) -> xr.DataArray:
    """Return an array; a coordinate without dimensions lies along the first one."""
    made = np.asarray(values)
    return xr.DataArray(made, dims=dims, coords={
        name: (name if name in dims else dims[0], np.asarray(value))
        for name, value in coords.items()
    })  # fmt: skip


def cells(text: str) -> list[list[str]]:
    """Return the cells of the first table of a page, row by row."""
    rows = text.partition("<tbody>")[2].split("<tr>")[1:]
    return [
        [cell.partition(">")[2].partition("</td>")[0] for cell in row.split("<td")[1:]]
        for row in rows
    ]
