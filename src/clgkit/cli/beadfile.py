"""The image of a bead as the point spread function of ``clg deconvolve``."""

from __future__ import annotations

from typing import Any

from clgkit import io
from clgkit.errors import DataError

ANY_UM = (1.0, 1.0, 1.0)


def read_kernel(
    bead: io.Image, stack: io.Image, *, given: dict[str, Any], oversampled: bool, name: str
) -> tuple[tuple[float, ...], ...]:
    """Return the rows of the kernel that the image of a bead shows, in pixels of the result.

    Parameters
    ----------
    bead, stack
        Of a bead and of what is deconvolved.  Where the voxel size of one is not known, the bead
        is taken to have the pixels of the stack.
    given
        Options of the command: ``voxel`` and ``psf_voxel`` say what the files do not.
    oversampled
        Whether the pixels of the result are half as large as those of the stack.
    name
        Of the file, for the sentence of an error.

    Raises
    ------
    DataError
        With code ``E_PSF`` if the image is no point spread function.
    """
    from clgkit.deconvolution import psf_from_image

    ours, theirs = _pixel_um(stack, given["voxel"]), _pixel_um(bead, given["psf_voxel"])
    step = (ours[0] / theirs[0], ours[1] / theirs[1]) if ours and theirs else None
    if oversampled:
        y, x = step or (1.0, 1.0)
        step = (y / 2, x / 2)
    try:
        kernel = psf_from_image(io.as_volume(bead, voxel_um=ANY_UM).values, step_px=step)
    except ValueError as error:
        raise DataError(f"{name}: {error}", code="E_PSF") from error
    return tuple(map(tuple, kernel.tolist()))


def _pixel_um(image: io.Image, given: Any) -> tuple[float, float] | None:
    """Return the size of a pixel along y and x, or None where nothing says it."""
    _, y, x = given or image.voxel_um or (None, None, None)
    return None if y is None or x is None else (y, x)
