"""How large nuclei are, where nobody says so."""

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from clgkit.segmentation.blobs import LARGEST_PX, SMALLEST_PX, as_tile, blob_response

__all__ = ["DiameterEstimate", "estimate_diameter"]

Float64: TypeAlias = npt.NDArray[np.float64]

STEP = 1.15  # from one diameter that is tried to the next
TOP = 1.0  # per cent of the responses that are averaged
SIDE_PX = (48, 256, 256)  # what is looked at, in the middle of the stack
CALIBRATION = 0.92  # true diameter over that of the strongest response, on simulated stacks


class DiameterEstimate(NamedTuple):
    """The diameter of nuclei as the stack shows it."""

    diameter_um: tuple[float, float, float]
    """(z, y, x)."""
    tried_um: Float64
    """(n,): lateral diameters."""
    responses: Float64
    """(n,): mean of the strongest blob responses at each."""


def estimate_diameter(
    volume: npt.NDArray[np.generic],
    *,
    voxel_um: tuple[float, float, float],
    elongation: float = 1.0,
) -> DiameterEstimate:
    """Estimate the lateral diameter of nuclei: the scale of the strongest blob response.

    Parameters
    ----------
    volume : (Z, Y, X)
        Fluorescence; the middle is looked at.
    voxel_um
        Size of a voxel (z, y, x).
    elongation
        Axial length of a nucleus over its lateral diameter.

    Raises
    ------
    ValueError
        If the strongest response is at less than 4 or more than 40 pixels across, or there
        is none.
    """
    middle = tuple(
        slice(max(0, (n - side) // 2), (n + side) // 2 if n > side else n)
        for n, side in zip(volume.shape, SIDE_PX, strict=True)
    )
    values = as_tile(volume[middle])
    voxel = np.asarray(voxel_um, float)
    count = int(np.log(LARGEST_PX / SMALLEST_PX) / np.log(STEP)) + 3
    tried_px = SMALLEST_PX / STEP * STEP ** np.arange(count)
    tried = np.asarray(tried_px * float(voxel[1:].max()), np.float64)
    responses = np.array(
        [_strength(values, np.array([elongation, 1, 1]) * d / voxel) for d in tried], np.float64
    )
    best = int(responses.argmax())
    if responses[best] <= 0 or best in {0, count - 1}:
        raise ValueError(
            f"no blob of {SMALLEST_PX:g} to {LARGEST_PX:g} pixels across stands out, so the "
            "diameter of nuclei cannot be estimated; give diameter_um"
        )
    left, middle_value, right = responses[best - 1 : best + 2]
    bend = left - 2 * middle_value + right
    offset = 0.5 * (left - right) / bend if bend < 0 else 0.0
    diameter = CALIBRATION * float(tried[best] * STEP**offset)
    return DiameterEstimate((elongation * diameter, diameter, diameter), tried, responses)


def _strength(values: npt.NDArray[np.float32], size: Float64) -> float:
    response = blob_response(values, size).ravel()
    n = max(1, int(response.size * TOP / 100))
    return float(np.partition(response, -n)[-n:].mean())
