"""Rows that go to and fro where no scanner put them: a movie that was resized."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Float64 = npt.NDArray[np.float64]

BAND_PX = (2.0, 8.0)
AROUND_ROWS = 9
LEAST_ROWS = 128
LOWEST, HIGHEST = 0.2, 0.5
"""Cycles per row: to and fro every other row is 0.5; rows enlarged twice have 0.25."""
LEAST_PX = 0.25
LEAST_RATIO = 60.0
"""Power of the line over the median: 90 to 18,000 in simulated movies enlarged by 1.1 to 2 whose
rows lay 0.5 to 4 px aside; where native rows, simulated or recorded, reach `LEAST_PX`, 35."""
FARTHEST_PX = 3.0


def find_zigzag(image: npt.NDArray[np.floating]) -> float | None:
    """Return after how many rows an offset between rows repeats, in a movie that was resized.

    Parameters
    ----------
    image : (Y, X)
        Mean of many frames; finite.

    Returns
    -------
    float or None
        Rows scanned there and back repeat after 2, and are not looked for.  4 is a movie that was
        enlarged twice, 3 one and a half times.  None if there is no such line, or fewer than
        128 rows: in few rows nuclei themselves may look regular.

    Notes
    -----
    The displacement of each row from the mean of the rows around it is the first-order one,
    from the gradient along the row; its spectrum over the rows has a line where it is regular.
    Averaging pairs of rows into one leaves nothing to find.
    """
    if image.shape[0] < LEAST_ROWS or image.shape[1] < 2 * BAND_PX[1]:
        return None
    moved = _displacements(np.asarray(image, np.float64))
    window = np.hanning(len(moved) + 2)[1:-1]
    spectrum = np.abs(np.fft.rfft(moved * window))
    frequency = np.fft.rfftfreq(len(moved))
    inside = (frequency >= LOWEST) & (frequency < HIGHEST - 3 / len(moved))
    line = int(np.argmax(np.where(inside, spectrum, -1.0)))
    usual = float(np.median(spectrum[inside]))
    height_px = 2 * float(spectrum[line]) / float(window.sum())
    if height_px < LEAST_PX or spectrum[line] < np.sqrt(LEAST_RATIO) * usual:
        return None
    return float(1 / frequency[line])


def _displacements(image: Float64) -> Float64:
    """Return how far each row lies to the right of the mean of those around it, pixels."""
    inner, outer = (ndimage.gaussian_filter1d(image, sigma, axis=1) for sigma in BAND_PX)
    rows = inner - outer
    around = ndimage.uniform_filter1d(rows, AROUND_ROWS, axis=0)
    slope = np.gradient(around, axis=1)
    energy = np.square(slope).sum(axis=1)
    least = 1e-3 * energy.mean() + 1e-30
    moved = -(slope * (rows - around)).sum(axis=1) / np.maximum(energy, least)
    edge = AROUND_ROWS // 2
    kept = moved[edge:-edge]
    return np.asarray(np.clip(kept - np.median(kept), -FARTHEST_PX, FARTHEST_PX))
