"""Sparse deconvolution of structural stacks.

Three parts, each of use by itself.  `denoise_sparse` (settings: `SparseHessian`) makes a noisy
stack smooth without blunting its edges; it gains no resolution.  `richardson_lucy` or `landweber`
sharpen planes with a kernel of `airy_psf`, `gaussian_psf` or your own.  `estimate_background` finds
what varies slowly.  `amplitude_response` tells what the settings do to dim things, and
`deconvolve_original` follows the authors' program to the letter.
"""

from clgkit.deconvolution.background import (
    BACKGROUNDS,
    Background,
    background_coefficients,
    clip_level,
    estimate_background,
    expand_background,
)
from clgkit.deconvolution.blur import Blur
from clgkit.deconvolution.deblur import Deblur
from clgkit.deconvolution.devices import deblur_planes, denoise_scaled
from clgkit.deconvolution.landweber import landweber
from clgkit.deconvolution.original import deconvolve_original
from clgkit.deconvolution.oversampling import (
    Oversampling,
    at_samples,
    fill,
    first_pixel,
    oversample,
)
from clgkit.deconvolution.psf import (
    airy_psf,
    check_psf,
    gaussian_psf,
    original_half_width,
    original_psf,
    psf_from_image,
    two_photon_fwhm_um,
)
from clgkit.deconvolution.response import (
    AmplitudeResponse,
    Gain,
    NoiseCheck,
    amplitude_response,
    check_on_noise,
    flat_field_grain,
    measure_gain,
    noise_of,
)
from clgkit.deconvolution.richardson_lucy import richardson_lucy
from clgkit.deconvolution.sparse import Minimum, SparseHessian, minimize_sparse_hessian
from clgkit.deconvolution.volume import (
    HALO_PX,
    VOXELS,
    Denoised,
    Step,
    check_stack,
    choose_core,
    denoise_block,
    denoise_sparse,
    find_scale,
)

__all__ = [
    "BACKGROUNDS",
    "HALO_PX",
    "VOXELS",
    "AmplitudeResponse",
    "Background",
    "Blur",
    "Deblur",
    "Denoised",
    "Gain",
    "Minimum",
    "NoiseCheck",
    "Oversampling",
    "SparseHessian",
    "Step",
    "airy_psf",
    "amplitude_response",
    "at_samples",
    "background_coefficients",
    "check_on_noise",
    "check_psf",
    "check_stack",
    "choose_core",
    "clip_level",
    "deblur_planes",
    "deconvolve_original",
    "denoise_block",
    "denoise_scaled",
    "denoise_sparse",
    "estimate_background",
    "expand_background",
    "fill",
    "find_scale",
    "first_pixel",
    "flat_field_grain",
    "gaussian_psf",
    "landweber",
    "measure_gain",
    "minimize_sparse_hessian",
    "noise_of",
    "original_half_width",
    "original_psf",
    "oversample",
    "psf_from_image",
    "richardson_lucy",
    "two_photon_fwhm_um",
]
