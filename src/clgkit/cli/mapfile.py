"""How functional planes lie in the stack, in a file, so that labels can be laid on them.

``<name>_maps.npz`` holds what ``clg align-planes`` found: the slice and offset of every plane, the
position of every pixel in the stack, and what the registration left over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import numpy as np
import xarray as xr

from clgkit import io
from clgkit.cli.npz import read_npz, write_npz
from clgkit.data import voxel_um
from clgkit.errors import DataError
from clgkit.io.metaimage import write_displacement

if TYPE_CHECKING:
    import numpy.typing as npt

    from clgkit.data import Movie

PARTS = ("plane", "slice", "shift_px", "maps_px", "residual_px")
ORIGIN = "`clg align-planes template.tif stack.tif planes.txt` writes such a file, planes_maps.npz."
SHIFTS = ("shift_y_px", "shift_x_px")


class Laid(NamedTuple):
    """What :func:`clgkit.stages.extract_traces` reads about planes."""

    planes: xr.DataArray
    maps: xr.DataArray | None = None
    residual: xr.DataArray | None = None


def slices_of(
    path: Path, stack: xr.DataArray, numbers: npt.NDArray[np.int64], *, any_order: bool
) -> xr.DataArray:
    """Return the slice (z,) that a plane map gives each plane, and tell what is odd about it."""
    from clgkit.pipeline.inputs import slices_given

    mapping = io.read_planemap(path, n_slices=stack.sizes["z"], any_order=any_order)
    for note in mapping.notes:
        click.echo(f"warning: {note}", err=True)
    return slices_given(mapping, numbers)


def beside(output: Path) -> Path:
    """Return where the maps of a plane map are kept."""
    return output.with_name(f"{output.stem}_maps.npz")


def write_maps(
    path: Path,
    *,
    planes: xr.DataArray,
    maps: xr.DataArray,
    residual: xr.DataArray,
    numbers: npt.NDArray[np.int64],
) -> None:
    """Write what :func:`clgkit.stages.align_planes` found; `numbers` of the planes from 0."""
    write_npz(
        path,
        plane=np.asarray(numbers, np.int64),
        slice=np.asarray(planes.values, np.int32),
        shift_px=np.stack([planes.coords[name].values for name in SHIFTS], axis=1),
        maps_px=maps.values,
        residual_px=residual.values,
    )


def read_maps(path: Path, planes: xr.DataArray, movie: Movie) -> Laid:
    """Return what a file knows of the planes of a movie.

    Parameters
    ----------
    path
        The file.
    planes
        (z,) slice of each plane, as the plane map says.
    movie
        The functional movie.

    Raises
    ------
    DataError
        If it is no such file, is of another movie, or has other slices than the plane map.
    """
    found = read_npz(path, PARTS, ORIGIN)
    shape = tuple(movie.sizes[dim] for dim in "zyx")
    if found["maps_px"].shape != (*shape, 3) or found["residual_px"].shape != shape:
        raise DataError(
            f"{path.name} is about planes (z, y, x) of {found['maps_px'].shape[:-1]}, and the "
            f"movie has {shape}. Take the file of this recording. {ORIGIN}",
            code="E_SHAPE",
        )
    differ = np.flatnonzero(found["slice"] != planes.values)
    if len(differ):
        first = int(differ[0])
        raise DataError(
            f"{path.name} and the plane map do not agree: plane {first + 1} is slice "
            f"{int(found['slice'][first]) + 1} there and {int(planes.values[first]) + 1} here (0: "
            "none). Register the planes again, with --plane-map for those that are known.",
            code="E_SHAPE",
        )
    dims = ("z", "y", "x")
    coords = {name: ("z", found["shift_px"][:, k]) for k, name in enumerate(SHIFTS)}
    return Laid(
        planes.assign_coords(coords),
        xr.DataArray(found["maps_px"], dims=(*dims, "axis")),
        xr.DataArray(found["residual_px"], dims=dims),
    )


def displacements(
    planes: xr.DataArray,
    maps: xr.DataArray,
    structure: xr.DataArray,
    numbers: npt.NDArray[np.int64],
) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Yield the name of a file, and what writes it, for the way to the slice and back.

    Parameters
    ----------
    planes, maps
        Of :func:`clgkit.stages.align_planes`.
    structure
        The stack, or labels of its size.
    numbers
        Of the planes, from 0.
    """
    from clgkit.registration import invert_field

    there, back = (voxel_um(array)[1:] for array in (maps, structure))
    size = (structure.sizes["y"], structure.sizes["x"])
    for plane in np.flatnonzero(planes.values >= 0):
        number, chosen = int(numbers[plane]) + 1, int(planes.values[plane]) + 1

        def forward(path: Path, plane: int = int(plane)) -> None:
            field = maps.isel(z=plane).values[..., 1:]
            write_displacement(path, _um(field, there, back), pixel_um=there)

        def backward(path: Path, plane: int = int(plane)) -> None:
            field = invert_field(maps.isel(z=plane).values[..., 1:], size)
            write_displacement(path, _um(field, back, there), pixel_um=back)

        yield f"plane_{number:02d}_to_slice_{chosen:03d}.mha", forward
        yield f"slice_{chosen:03d}_to_plane_{number:02d}.mha", backward


def _um(
    field: npt.NDArray[np.floating[Any]], own_um: tuple[float, ...], other_um: tuple[float, ...]
) -> npt.NDArray[np.float64]:
    """Return offsets between pixels as ways in micrometres; first pixels lie on each other."""
    grid = np.indices(field.shape[:2]).transpose(1, 2, 0)
    return np.asarray((grid + field) * np.array(other_um) - grid * np.array(own_um), np.float64)
