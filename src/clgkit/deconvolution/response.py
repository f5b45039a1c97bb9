"""What the settings in use do to dim things: beads of known brightness, and the stack itself."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from clgkit.deconvolution.oversampling import Oversampling, at_samples, fill, oversample
from clgkit.deconvolution.sparse import SparseHessian
from clgkit.deconvolution.volume import Step, denoise_block

if TYPE_CHECKING:
    from clgkit.deconvolution.deblur import Deblur

__all__ = [
    "AMPLITUDES",
    "AmplitudeResponse",
    "Gain",
    "NoiseCheck",
    "amplitude_response",
    "bead",
    "check_on_noise",
    "flat_field_grain",
    "measure_gain",
    "noise_of",
    "width_at_half",
]

Float32: TypeAlias = npt.NDArray[np.float32]
AMPLITUDES = (1.0, 0.5, 0.25, 0.1, 0.05)
BEAD_FWHM_PX = (2.5, 3.0, 3.0)
BEAD_SHAPE = (13, 25, 25)
CENTER = (6, 12, 12)
SMOOTHING_PX = (1.0, 2.0, 2.0)  # under which peaks are looked for
NEIGHBOURS = (5, 9, 9)
NOISES = 5.0  # a peak stands out by so many standard deviations
NOISE_LEFT = (2 * math.sqrt(math.pi)) ** -1.5 * math.prod(SMOOTHING_PX) ** -0.5  # by smoothing
DARK = 20  # percentile
FEWEST_PEAKS = 20
EMPTY_SHAPE = (12, 64, 64)


class AmplitudeResponse(NamedTuple):
    """What becomes of beads without noise, of all amplitudes in `amplitude`."""

    amplitude: Float32
    """(n,) peak of the bead over the scale of the stack."""
    denoised: Float32
    """(n,) peak after the sparse step, over the peak before."""
    deconvolved: Float32
    """(n,) peak after the whole, over the peak before."""
    lateral_px: tuple[float, float, float]
    """Full width at half maximum of the brightest bead: before, denoised, deconvolved."""
    axial_px: tuple[float, float, float]
    """The same along z."""


class Gain(NamedTuple):
    """Brightness after over brightness before, of the bright spots of a stack."""

    dim: float
    """Median over the dimmest tenth; NaN without spots."""
    bright: float
    """Median over the brightest tenth."""
    n_spots: int


class NoiseCheck(NamedTuple):
    """What was made out of an empty field: every spot in it is invented."""

    before: int
    """Spots that stand out of the noise before anything was done."""
    after: int
    """Spots of the result that stand out of that same noise."""
    believed: int
    """Spots for those who take the noise from the result, which hides it."""
    grain: tuple[float, float, float]
    """Coefficient of variation before, denoised and deconvolved."""


def bead(*, fwhm_px: tuple[float, float, float] = BEAD_FWHM_PX) -> Float32:
    """Return a Gaussian spot of height 1 in the middle of a (13, 25, 25) block."""
    axes = [np.arange(n) - c for n, c in zip(BEAD_SHAPE, CENTER, strict=True)]
    z, y, x = (np.exp(-4 * np.log(2) * (a / w) ** 2) for a, w in zip(axes, fwhm_px, strict=True))
    return np.asarray(z[:, None, None] * y[:, None] * x, np.float32)


def width_at_half(profile: npt.NDArray[np.floating]) -> float:
    """Return the full width at half maximum of a line with one peak, by linear interpolation."""
    line = np.asarray(profile, np.float64)
    peak = int(np.argmax(line))
    half = line[peak] / 2
    if half <= 0:
        return float("nan")
    return _reach(line[peak:], half) + _reach(line[peak::-1], half)


def _reach(falling: npt.NDArray[np.float64], half: float) -> float:
    below = np.flatnonzero(falling < half)
    if below.size == 0:
        return float(falling.size)
    k = int(below[0])
    return k - 1 + float((falling[k - 1] - half) / (falling[k - 1] - falling[k]))


def amplitude_response(
    method: Step | None = None,
    deblur: Deblur | None = None,
    *,
    amplitudes: tuple[float, ...] = AMPLITUDES,
    fwhm_px: tuple[float, float, float] = BEAD_FWHM_PX,
    oversampling: Oversampling = "none",
) -> AmplitudeResponse:
    """Return how bright beads come out of the settings in use, by how bright they went in.

    Parameters
    ----------
    method
        Sparse step: `SparseHessian`, or another function of a stack divided by its scale.
    deblur
        Deconvolution of planes; None if there is none.
    amplitudes
        Peaks over the scale of the stack.
    fwhm_px
        Size of the beads, z, y, x.
    oversampling
        See `oversample`; beads are oversampled first, and widths stay in the larger pixels.

    Notes
    -----
    The step is not linear: with sparsity, what is dim loses more.  Where `denoised` is much lower
    for a dim bead than for a bright one, brightness can no longer be compared.
    """
    method = method or SparseHessian()
    one = bead(fwhm_px=fwhm_px)
    gains, images = [], []
    for amplitude in amplitudes:
        made = _treated(one * np.float32(amplitude), method, deblur, 1.0, oversampling)
        gains.append([image[_peak(image)] / amplitude for image in made])
        images.append(made)
    brightest = (one, *images[int(np.argmax(amplitudes))])
    lateral, axial = zip(*map(_widths, brightest), strict=True)
    denoised, deconvolved = np.array(gains, np.float32).T
    return AmplitudeResponse(
        np.array(amplitudes, np.float32),
        denoised,
        deconvolved,
        (lateral[0], lateral[1], lateral[2]),
        (axial[0], axial[1], axial[2]),
    )


def _treated(
    image: Float32,
    method: Step,
    deblur: Deblur | None,
    scale: float,
    oversampling: Oversampling,
) -> tuple[Float32, Float32]:
    """Return an image denoised, and sharpened; oversampled if asked for."""
    fine = np.stack([oversample(plane, oversampling) for plane in image])
    smooth = denoise_block(fine, method, scale=np.full(len(fine), scale, np.float32))
    sharp = _sharpened(smooth / np.float32(scale), deblur) * np.float32(scale)
    return fill(smooth, oversampling), fill(sharp, oversampling)


def _peak(image: Float32) -> tuple[int, int, int]:
    """Return where a bead in the middle of an image, oversampled or not, is brightest."""
    z, y, x = CENTER
    n = image.shape[1] // BEAD_SHAPE[1]
    near = image[z, n * y : n * (y + 1), n * x : n * (x + 1)]
    dy, dx = divmod(int(np.argmax(near)), n)
    return z, n * y + dy, n * x + dx


def _widths(image: Float32) -> tuple[float, float]:
    """Return the width of a bead along x and z, in pixels of a bead that is not oversampled."""
    z, y, x = _peak(image)
    n = image.shape[1] // BEAD_SHAPE[1]
    return width_at_half(image[z, y]) / n, width_at_half(image[:, y, x])


def _sharpened(image: Float32, deblur: Deblur | None) -> Float32:
    """Return the deconvolved image, its edges widened to hold the kernel."""
    if deblur is None:
        return image
    ny, nx = image.shape[1:]
    my, mx = (max(0, k - n + 1) // 2 for k, n in zip(deblur.psf.shape, (ny, nx), strict=True))
    wide = np.pad(image, ((0, 0), (my, my), (mx, mx)), mode="edge")
    return deblur(wide)[:, my : my + ny, mx : mx + nx]


def flat_field_grain(
    method: Step | None = None,
    deblur: Deblur | None = None,
    *,
    photons: float = 5.0,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Return the coefficient of variation of an empty field before, denoised and deconvolved.

    The field is uniform light of so many photons; structure in the result is invented.  With
    deconvolution the grain comes back.
    """
    shape = (12, 48, 48)
    field = np.random.default_rng(seed).poisson(photons, shape).astype(np.float32)
    scale = np.full(shape[0], np.percentile(field, 99.9), np.float32)
    image = denoise_block(field, method or SparseHessian(), scale=scale)
    sharp = _sharpened(image / scale[0], deblur)
    before, after, last = (float(np.std(a) / np.mean(a)) for a in (field, image, sharp))
    return before, after, last


def check_on_noise(
    method: Step | None = None,
    deblur: Deblur | None = None,
    *,
    level: float,
    noise: float,
    scale: float,
    shape: tuple[int, int, int] = EMPTY_SHAPE,
    seed: int = 0,
    oversampling: Oversampling = "none",
) -> NoiseCheck:
    """Return what the settings make out of an empty field with the noise of a stack.

    Parameters
    ----------
    method, deblur
        As for `amplitude_response`.
    level, noise
        Brightness of the field and standard deviation of a voxel, as in the dark parts of the
        stack; what falls below 0 becomes 0.
    scale
        Of the stack, see `find_scale`.
    shape, seed
        Of the field.
    oversampling
        See `oversample`; the result is looked at on the field's own pixels.

    Returns
    -------
    NoiseCheck
        Spots are those of `measure_gain`.
    """
    draws = np.random.default_rng(seed).normal(level, noise, shape)
    field = np.maximum(draws, 0).astype(np.float32)
    made = _treated(field, method or SparseHessian(), deblur, scale, oversampling)
    image, last = (at_samples(fine, oversampling) for fine in made)
    own = noise_of(field)
    grain = [float(a.std() / a.mean()) if a.any() else 0.0 for a in (field, image, last)]
    return NoiseCheck(
        _count_spots(field, own),
        _count_spots(last, own),
        _count_spots(last, noise_of(last)),
        (grain[0], grain[1], grain[2]),
    )


def _count_spots(image: Float32, noise: float) -> int:
    smooth = _smoothed(image)
    return int(_spots(smooth, float(np.percentile(smooth, DARK)), noise).sum())


def _spots(smooth: Float32, level: float, noise: float) -> npt.NDArray[np.bool_]:
    """Return where peaks of a smoothed piece stand out of noise."""
    tall = smooth > level + NOISES * NOISE_LEFT * noise
    return np.asarray((smooth == ndimage.maximum_filter(smooth, NEIGHBOURS)) & tall)


def measure_gain(
    pieces: Iterable[tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]]],
) -> Gain:
    """Compare the bright spots of some pieces of a stack with what became of them.

    Parameters
    ----------
    pieces
        Pairs (before, after) of (Z, Y, X) arrays in the same units.

    Returns
    -------
    Gain
        Spots are peaks of the smoothed piece that stand out of the noise; both sides are smoothed
        alike, and what is dark (the 20th percentile) is taken off.  NaN if there are fewer than 20.
    """
    heights, gains = [], []
    for before, after in pieces:
        old, new = (_smoothed(image) for image in (before, after))
        level, new_level = (float(np.percentile(image, DARK)) for image in (old, new))
        peaks = _spots(old, level, noise_of(before))
        heights.append((old[peaks] - level).astype(np.float64))
        gains.append((new[peaks] - new_level) / heights[-1])
    height, gain = np.concatenate(heights), np.concatenate(gains)
    if height.size < FEWEST_PEAKS:
        return Gain(float("nan"), float("nan"), int(height.size))
    low, high = np.percentile(height, [10, 90])
    return Gain(
        float(np.median(gain[height <= low])),
        float(np.median(gain[height >= high])),
        int(height.size),
    )


def noise_of(image: npt.NDArray[Any]) -> float:
    """Return the standard deviation of a voxel's noise, from neighbours along x."""
    steps = np.abs(np.diff(np.asarray(image, np.float32), axis=-1))
    return 1.4826 * float(np.median(steps)) / math.sqrt(2) if steps.size else 0.0


def _smoothed(image: npt.NDArray[np.generic]) -> Float32:
    smooth: Float32 = ndimage.gaussian_filter(np.asarray(image, np.float32), SMOOTHING_PX)
    return smooth
