"""The band-pass of `filters` for batches of frames, as products with matrices."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from clgkit.registration import filters
from clgkit.registration.accelerated import Tensor, torch, upload

if TYPE_CHECKING:
    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]


INNER, OUTER, AROUND = range(3)


class BandPass(NamedTuple):
    """Matrices that smooth frames with the inner sigma, and with the outer one.

    The third is like the second, but never made on bins; for missing pixels.
    """

    y: Tensor
    """(3, Y, Y)"""
    x: Tensor
    """(3, X, X)"""


def prepare_band_pass(
    shape: tuple[int, int], band_px: tuple[float, float], device: str
) -> BandPass:
    """Bring the matrices of a difference of Gaussians to a device.

    Parameters
    ----------
    shape
        (Y, X) of the frames.
    band_px
        Inner and outer sigma.
    device
        As torch names it.

    Returns
    -------
    BandPass
        The filter of :func:`clgkit.registration.filters.difference_of_gaussians`: it is linear
        along each axis.
    """
    width = 1 if any(n % filters.BIN for n in shape) else filters.BIN
    return BandPass(*(upload(_matrices(n, band_px, width), device) for n in shape))


def filter_frames(frames: Tensor, band: BandPass) -> tuple[Tensor, Tensor | None]:
    """Keep structure between two sizes.

    Parameters
    ----------
    frames : (B, Y, X) float32
        Pixels that are not finite have no weight.
    band
        From :func:`prepare_band_pass`.

    Returns
    -------
    filtered : (B, Y, X) float32
        0 at pixels without weight.
    valid : (B, Y, X) bool or None
        The finite pixels; None if all are.
    """
    valid = torch.isfinite(frames)
    if valid.all():
        plain = frames - frames.mean((1, 2), keepdim=True, dtype=torch.float64).float()
        return _smooth(plain, band, INNER) - _smooth(plain, band, OUTER), None
    plain = torch.where(valid, frames - _mean(frames, valid), 0)
    plain = torch.where(valid, plain, _smooth_valid(plain, valid, band))
    return (_smooth(plain, band, INNER) - _smooth(plain, band, OUTER)) * valid, valid


def _smooth(images: Tensor, band: BandPass, which: int) -> Tensor:
    return band.y[which] @ images @ band.x[which].T


def _smooth_valid(images: Tensor, valid: Tensor, band: BandPass) -> Tensor:
    """Return the mean of the valid pixels around every pixel."""
    weight, total = (_smooth(part, band, AROUND) for part in (valid.float(), images))
    near = weight > 1e-6  # below this the quotient is rounding noise
    return torch.where(near, total / torch.where(near, weight, 1), _mean(images, valid))


def _mean(images: Tensor, valid: Tensor) -> Tensor:
    """Return the mean of the valid pixels of each image, (B, 1, 1) float32."""
    total = torch.where(valid, images, 0).sum((1, 2), keepdim=True, dtype=torch.float64)
    return (total / valid.sum((1, 2), keepdim=True).clamp(min=1)).float()


@lru_cache(maxsize=8)
def _matrices(n: int, band_px: tuple[float, float], width: int) -> Float32:
    """Return the matrices for an axis of length n, (3, n, n).

    Each column is what the filter makes of a line of light across an image of some width, on
    which it decides whether to work on bins.
    """
    made = []
    for line in np.eye(n, dtype=np.float32):
        image = np.tile(line[:, np.newaxis], width)
        inner = filters.smooth(image, sigma_px=band_px[0])
        outer = inner - filters.difference_of_gaussians(image, band_px=band_px)
        around = filters.smooth(image, sigma_px=band_px[1])
        made.append([inner[:, 0], outer[:, 0], around[:, 0]])
    return np.asarray(np.stack(made, axis=-1))
