"""The last step as one object: which rule, with which kernel, how often."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from clgkit.deconvolution.blur import Blur
from clgkit.deconvolution.landweber import landweber
from clgkit.deconvolution.richardson_lucy import richardson_lucy

__all__ = ["Deblur"]

Float32: TypeAlias = npt.NDArray[np.float32]


class Deblur(NamedTuple):
    """Deconvolution of planes; calling it applies it to a stack."""

    psf: npt.NDArray[np.generic]
    """(J, K), odd sides."""
    rule: Literal["richardson_lucy", "landweber"] = "richardson_lucy"
    iterations: int = 8

    def __call__(self, planes: npt.NDArray[np.generic]) -> Float32:
        """Return the planes, each deconvolved by itself.

        Parameters
        ----------
        planes : (Z, Y, X)
            Not negative, divided by a typical bright value.

        Raises
        ------
        ValueError
            If they hold NaN or infinity, or the kernel does not fit.
        """
        blur = Blur(self.psf, (planes.shape[1], planes.shape[2]))
        rule = richardson_lucy if self.rule == "richardson_lucy" else landweber
        return np.stack([rule(plane, blur, iterations=self.iterations) for plane in planes])
