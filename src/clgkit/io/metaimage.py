"""Displacement fields as MetaImage files (``.mha``), which ITK, ANTs, elastix and Slicer read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clgkit import fsio
from clgkit.errors import DataError

HEADER = """\
ObjectType = Image
NDims = 2
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = False
TransformMatrix = 1 0 0 1
Offset = 0 0
ElementSpacing = {x_um!r} {y_um!r}
DimSize = {n_x} {n_y}
ElementNumberOfChannels = 2
ElementType = MET_FLOAT
ElementDataFile = LOCAL
"""


def write_displacement(
    path: Path, displacement_um: npt.NDArray[np.floating[Any]], *, pixel_um: tuple[float, float]
) -> None:
    """Write where the pixels of an image lie in another one.

    Parameters
    ----------
    path
        The file, ``.mha``.
    displacement_um : (Y, X, 2)
        From every pixel to its place in the other image, along y and x, in micrometres.  Both
        images have the middle of their first pixel at 0, 0.  NaN is written as it is.
    pixel_um
        Size of a pixel of the first image along y and x.

    Raises
    ------
    DataError
        If `displacement_um` is no field of displacements in a plane.
    """
    if displacement_um.ndim != 3 or displacement_um.shape[2] != 2:
        raise DataError(
            f"Displacements have shape (y, x, 2); found {displacement_um.shape}. Take one plane.",
            code="E_SHAPE",
        )
    n_y, n_x, _ = displacement_um.shape
    y_um, x_um = (float(size) for size in pixel_um)
    head = HEADER.format(n_y=n_y, n_x=n_x, y_um=y_um, x_um=x_um).encode("ascii")
    # The format wants x before y.
    body = np.ascontiguousarray(displacement_um[..., ::-1], "<f4").tobytes()
    fsio.publish(
        path,
        lambda temporary: temporary.write_bytes(head + body),
        lambda temporary: _check(temporary, len(head) + len(body)),
    )


def _check(path: Path, size: int) -> None:
    found = path.stat().st_size
    if found != size:
        raise OSError(f"{path.name} has {found} bytes, {size} were written")
