"""The image of a bead as the point spread function of a stack."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from clgkit import deconvolution
from clgkit.data import voxel_um

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from clgkit.data import Volume

SAME = 1e-6  # pixels that differ by less are equally large


def kernel_of_bead(
    bead: Volume, *, pixel_um: tuple[float, float], plane: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """Return the kernel that the image of a bead shows, in pixels of the result.

    Parameters
    ----------
    bead
        Of its slices the one in focus is used.  Where its pixels are those of the result nothing
        is resampled.
    pixel_um
        Of the result, along y and x.
    plane
        Rows and columns of the result.

    Raises
    ------
    ValueError
        If the image is no point spread function.

    Warns
    -----
    UserWarning
        If the image has even sides, or is larger than the planes: what of it was taken.
    """
    y, x = (ours / theirs for ours, theirs in zip(pixel_um, voxel_um(bead)[1:], strict=True))
    is_same = max(abs(y - 1), abs(x - 1)) < SAME
    kernel = deconvolution.psf_from_image(bead.values, step_px=None if is_same else (y, x))
    rows, columns = bead.shape[1:]
    size = (rows / y, columns / x)
    what = None
    if size[0] > plane[0] or size[1] > plane[1]:
        what = f"is larger than the planes, {_times(*size)} of their pixels on {_times(*plane)}"
    elif is_same and not (rows % 2 and columns % 2):
        what = f"has even sides, {_times(rows, columns)} pixels, and so none in the middle"
    if what is not None:
        warnings.warn(
            f"the image of a bead {what}; the kernel is the {_times(*kernel.shape)} pixels around "
            "the middle of the bead",
            stacklevel=2,
        )
    return kernel


def _times(rows: float, columns: float) -> str:
    return f"{rows:.0f} x {columns:.0f}"
