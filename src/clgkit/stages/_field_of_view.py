"""Whether two images show the same field."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clgkit.data import voxel_um
from clgkit.errors import DataError

if TYPE_CHECKING:
    import xarray as xr

TOLERANCE = 0.02


def check_field_of_view(function: xr.DataArray, structure: xr.DataArray) -> None:
    """Refuse a stack (or labels) whose field of view is not that of the movie.

    The stages lay the first pixels of both on each other, so the sizes along y and x, pixels
    times spacing, must agree to one functional pixel and 2 percent.

    Raises
    ------
    DataError
        ``E_SHAPE``, with both sizes in micrometres and pixels.
    """
    for axis, dim in ((1, "y"), (2, "x")):
        step = voxel_um(function)[axis]
        seen = function.sizes[dim] * step
        shown = structure.sizes[dim] * voxel_um(structure)[axis]
        if abs(seen - shown) > step + TOLERANCE * shown:
            raise DataError(
                f"The {_name(structure)} and the {_name(function)} do not show the same field: "
                f"{_size(structure)} against {_size(function)} (y x x). Take the stack of the same "
                "recording, or correct the voxel size of one of them.",
                code="E_SHAPE",
            )


def _name(array: xr.DataArray) -> str:
    return "image" if array.name is None else str(array.name)


def _size(array: xr.DataArray) -> str:
    _, y, x = voxel_um(array)
    n_y, n_x = array.sizes["y"], array.sizes["x"]
    return f"{n_y} x {n_x} px of {y:g} x {x:g} um are {n_y * y:g} x {n_x * x:g} um"
