"""How large a blind spot must be, from how far noise is correlated."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["BlindSpot", "choose_blind_spot"]

CORRELATED = 0.05
SIDES = (1, 3, 5)  # for noise that is independent, correlated with the next, with the next but one


class BlindSpot(NamedTuple):
    """A chosen blind spot, and what speaks for it."""

    size: tuple[int, int]
    """Along y and x, in pixels."""
    along_y: tuple[float, ...]
    """Correlation of the noise of pixels 1, 2 and 3 apart."""
    along_x: tuple[float, ...]
    is_enough: bool
    """Whether noise is independent beyond the hole."""

    def sentence(self) -> str:
        """Return what was found and chosen, for people."""
        parts = [
            f"{axis} {values[0]:.2f}, {values[1]:.2f}"
            for axis, values in (("y", self.along_y), ("x", self.along_x))
        ]
        text = (
            f"the noise of pixels 1 and 2 apart correlates, along {parts[0]} and along {parts[1]}: "
            f"blind spot of {self.size[0]} x {self.size[1]} pixels"
        )
        if self.is_enough:
            return text
        return (
            f"{text}. Noise reaches further than that, and what is shared will stay: denoise "
            "before motion correction or resampling if you can"
        )


def choose_blind_spot(correlation: npt.NDArray[np.float64]) -> BlindSpot:
    """Return the blind spot that noise with this autocorrelation needs.

    Parameters
    ----------
    correlation : (2 * n + 1, 2 * n + 1)
        Of the noise at lags along y and x, 1 in the middle, n at least 3; see
        :class:`clgkit.denoising.Noise`.

    Returns
    -------
    BlindSpot
        Along each axis 1 pixel, 3 if neighbours correlate by more than 0.05, 5 if the pixels
        after them do.

    Notes
    -----
    A network that sees a pixel whose noise is shared with the hidden one learns to predict the
    noise, at worst to copy its input.
    """
    middle = len(correlation) // 2
    if correlation.shape != (2 * middle + 1, 2 * middle + 1) or middle < len(SIDES):
        raise ValueError(
            f"an autocorrelation has an odd square shape of at least 7 x 7, not {correlation.shape}"
        )
    lags = middle + 1 + np.arange(len(SIDES))
    along_y, along_x = correlation[lags, middle], correlation[middle, lags]
    y, x = (_side(values) for values in (along_y, along_x))
    beyond = max(float(along_y[y // 2]), float(along_x[x // 2]))
    return BlindSpot((y, x), tuple(along_y.tolist()), tuple(along_x.tolist()), beyond <= CORRELATED)


def _side(values: npt.NDArray[np.float64]) -> int:
    if values[1] > CORRELATED:
        return SIDES[2]
    return SIDES[1] if values[0] > CORRELATED else SIDES[0]
