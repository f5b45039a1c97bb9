"""What an array must look like; `check` reports every problem in one message."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clgkit.errors import DataError

if TYPE_CHECKING:
    import xarray as xr

KINDS = {"f": "floating point", "i": "signed integer", "u": "unsigned integer", "b": "boolean"}


@dataclass(frozen=True)
class Schema:
    """The look of one of the labelled arrays.

    Parameters
    ----------
    name
        The noun, as it appears in messages.
    dims
        Dimensions in order.
    kinds
        Accepted `numpy.dtype.kind` letters.
    units
        Coordinate name → unit it must carry, such as ``{"time": "s", "z": "um"}``.
    """

    name: str
    dims: tuple[str, ...]
    kinds: str = "fiu"
    units: dict[str, str] = field(default_factory=dict)

    def problems(self, array: xr.DataArray) -> list[str]:
        """Return one sentence for each thing that is wrong with `array`."""
        found: list[str] = []
        if array.dims != self.dims:
            found.append(f"its dimensions are {_listed(array.dims)}, not {_listed(self.dims)}")
        if array.dtype.kind not in self.kinds:
            wanted = " or ".join(KINDS[kind] for kind in self.kinds)
            found.append(f"its values are {array.dtype}, not {wanted}")
        for name, unit in self.units.items():
            if name not in array.coords:
                found.append(f"it has no coordinate {name!r} in {unit}")
            elif array.coords[name].attrs.get("units") != unit:
                given = array.coords[name].attrs.get("units", "no unit")
                found.append(f"coordinate {name!r} is in {given}, not in {unit}")
        return found

    def check(self, array: xr.DataArray) -> None:
        """Raise `DataError` with all problems of `array`, if it has any."""
        found = self.problems(array)
        if found:
            listed = "".join(f"\n  - {problem}" for problem in found)
            raise DataError(f"This is not a {self.name}:{listed}", code="E_SHAPE")


def _listed(dims: tuple[object, ...]) -> str:
    return "(" + ", ".join(str(dim) for dim in dims) + ")"
