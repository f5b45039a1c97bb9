"""Structural stack with less noise, and sharper where that is asked for."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from clgkit import contrast, deconvolution
from clgkit.blocks import output
from clgkit.data import VOLUME, Volume, voxel_um
from clgkit.errors import DataError, as_data_error
from clgkit.params import Params
from clgkit.workspace import Workspace

if TYPE_CHECKING:
    import xarray as xr

Float32 = npt.NDArray[np.float32]

BYTES_PER_VOXEL = 64  # of a tile at work, its copies included
WINDOW_PX = (16, 192, 192)  # of the pieces whose bright spots are compared
HALF = 0.5
NEEDED = {
    "gaussian": ("fwhm_um",),
    "two-photon": ("na", "wavelength_nm"),
    "airy": ("na", "wavelength_nm"),
    "original": ("na", "wavelength_nm"),
    "measured": ("kernel",),
}


class Deconvolve(Params):
    """Settings of :func:`deconvolve`."""

    offset: NonNegativeFloat = 0.0
    """Counts without light; subtracted first, and what falls below it becomes 0."""
    background: deconvolution.Background = "none"
    """What varies slowly and is subtracted: strong or weak, of low or high intensity."""
    iterations: PositiveInt = 120
    """Iterations of the sparse step; 1 leaves it out."""
    fidelity: PositiveFloat = 150.0
    """Weight of the data in the sparse step."""
    z_continuity: NonNegativeFloat = 1.0
    """Weight of smoothness along z; 1 treats the axes alike, 0 every slice by itself."""
    sparsity: NonNegativeFloat = 0.0
    """Weight of the sum of intensities: more removes more of what is dim (published: 6)."""
    scale: Literal["percentile", "max", "per-plane"] | PositiveFloat = "percentile"
    """What counts as bright: a percentile of the stack or of each slice, the maximum, a number."""
    percentile: Annotated[float, Field(gt=0, le=100)] = 99.9
    """Percentile that the scale is taken at."""
    headroom: PositiveFloat = 4.0
    """Factor on the percentiles: the larger the scale, the smoother the result."""
    method: Literal["none", "richardson_lucy", "landweber"] = "none"
    """How slices are sharpened after the sparse step."""
    deconvolution_iterations: NonNegativeInt = 8
    """Iterations of the sharpening; 5 to 15 for Richardson-Lucy, 30 to 50 for Landweber."""
    psf: Literal["gaussian", "two-photon", "airy", "original", "measured"] = "gaussian"
    """Point spread function of the sharpening."""
    fwhm_um: PositiveFloat | None = None
    """Lateral full width at half maximum of a Gaussian, in micrometres."""
    na: PositiveFloat | None = None
    """Numerical aperture in use."""
    wavelength_nm: PositiveFloat | None = None
    """Wavelength in nanometres: of the excitation for two photons, else of the emission."""
    kernel: tuple[tuple[float, ...], ...] | None = None
    """Measured point spread function in focus: rows of numbers, odd sides, pixels of the stack."""
    compat: Literal["none", "original"] = "none"
    """"original" follows the authors' program: maxima as scales, the whole stack in memory."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.sharpens:
            missing = [name for name in NEEDED[self.psf] if getattr(self, name) is None]
            if missing:
                raise ValueError(
                    f"method {self.method!r} with psf {self.psf!r} needs {' and '.join(missing)}"
                )
        return self

    @property
    def sharpens(self) -> bool:
        """Whether slices are deconvolved."""
        return self.method != "none" and self.deconvolution_iterations > 0

    @property
    def sparse(self) -> deconvolution.SparseHessian:
        """The sparse step."""
        return deconvolution.SparseHessian(
            iterations=self.iterations,
            fidelity=self.fidelity,
            z_continuity=self.z_continuity,
            sparsity=self.sparsity,
        )


class Deconvolved(NamedTuple):
    """What :func:`deconvolve` gives."""

    deconvolved: Volume
    denoised: Volume | None
    summary: dict[str, Any]


@dataclass(frozen=True)
class _Facts:
    """What the whole stack says before its blocks are worked on."""

    scale: Float32
    """(Z,)"""
    shape: tuple[int, int, int]
    coords: dict[str, npt.NDArray[np.float64]]
    bright: float
    """Scale of the background's estimate."""
    coarse: tuple[npt.NDArray[np.float64], ...] | None
    """Background coefficients of each slice."""


def deconvolve(
    structure: Volume,
    params: Deconvolve = Deconvolve(),  # noqa: B008  (frozen)
    *,
    workspace: Workspace | None = None,
) -> Deconvolved:
    """Take noise, and if asked for background and blur, out of a structural stack.

    Parameters
    ----------
    structure
        The structural stack.
    params
        Settings.
    workspace
        Where blocks run and results go.

    Returns
    -------
    Deconvolved
        ``deconvolved``: float32, in the units of `structure` above its offset.  ``denoised``: the
        same before slices were sharpened; None if they were not.  ``summary``: the scale, what the
        settings do to beads of known brightness, and the gain of bright spots of this stack.

    Raises
    ------
    DataError
        If `structure` is no volume, is the same everywhere, holds NaN or negative values; code
        ``E_PSF`` if the point spread function is none.

    Warns
    -----
    UserWarning
        If the dimmest tenth of the bright spots loses more than half of its brightness.
    """
    VOLUME.check(structure)
    workspace = workspace or Workspace()
    deblur = _deblur(structure, params)
    with as_data_error("structure"):
        facts = _look(structure, params)
    if params.compat == "original":
        made = _as_original(structure, params, deblur, workspace)
        return Deconvolved(made, None, _summary(structure, made, params, deblur, facts))
    n_z, n_y, n_x = structure.shape
    budget = 1e6 * workspace.budget_mb / workspace.n_workers / BYTES_PER_VOXEL
    core = deconvolution.choose_core((n_z, n_y, n_x), voxels=min(deconvolution.VOXELS, budget))
    (denoised,) = workspace.map_blocks(
        partial(_denoise, params=params, facts=facts),
        structure,
        [output("denoised" if deblur else "deconvolved", ("z", "y", "x"), structure)],
        split=dict(zip("zyx", core, strict=True)),
        halo=dict.fromkeys("zyx", deconvolution.HALO_PX),
    )
    summary = _summary(structure, denoised, params, deblur, facts)
    if deblur is None:
        return Deconvolved(denoised, None, summary)
    (deconvolved,) = workspace.map_blocks(
        partial(_sharpen, deblur=deblur, facts=facts),
        denoised,
        [output("deconvolved", ("z", "y", "x"), structure)],
        split={"z": None},
    )
    return Deconvolved(deconvolved, denoised, summary)


def _deblur(structure: Volume, params: Deconvolve) -> deconvolution.Deblur | None:
    """Return the sharpening, or None if slices are left as they are."""
    if not params.sharpens or params.method == "none":
        return None
    plane = (structure.sizes["y"], structure.sizes["x"])
    try:
        psf = _psf(params, voxel_um(structure)[1:], plane)
        deconvolution.check_psf(psf, plane_shape=plane)
    except ValueError as error:
        raise DataError(f"point spread function: {error}", code="E_PSF") from error
    return deconvolution.Deblur(psf, params.method, params.deconvolution_iterations)


def _psf(
    params: Deconvolve, pixel_um: tuple[float, float], plane: tuple[int, int]
) -> npt.NDArray[np.float64]:
    half = deconvolution.original_half_width(plane)
    if params.compat != "original":
        half = min(half, (min(plane) - 1) // 2)
    sides: dict[str, Any] = {"pixel_um": pixel_um, "half_width_px": half}
    if params.psf == "measured":
        try:
            return np.array(params.kernel, np.float64)
        except ValueError:
            raise ValueError("the rows of the kernel are not equally long.") from None
    if params.psf == "gaussian":
        return deconvolution.gaussian_psf(params.fwhm_um or math.nan, **sides)
    na, wavelength_um = params.na or math.nan, (params.wavelength_nm or math.nan) / 1000
    if params.psf == "two-photon":
        fwhm_um = deconvolution.two_photon_fwhm_um(na=na, wavelength_um=wavelength_um)
        return deconvolution.gaussian_psf(fwhm_um, **sides)
    formula = deconvolution.airy_psf if params.psf == "airy" else deconvolution.original_psf
    return formula(na=na, wavelength_um=wavelength_um, **sides)


def _light(values: npt.NDArray[Any], offset: float) -> Float32:
    """Return what lies above the offset."""
    light = np.asarray(values, np.float32)
    return np.maximum(light - np.float32(offset), 0) if offset else light


def _planes(structure: Volume, params: Deconvolve) -> Iterator[Float32]:
    for z in range(structure.sizes["z"]):
        yield _light(structure.isel(z=z).values, params.offset)


def _look(structure: Volume, params: Deconvolve) -> _Facts:
    """Check the stack and find its scale, slice by slice."""
    n_z, n_y, n_x = structure.shape
    counted = contrast.StackLimits()
    highest, lowest = 0.0, math.inf
    own = np.zeros(n_z)
    for z, plane in enumerate(_planes(structure, params)):
        deconvolution.check_stack(plane)
        counted.add(plane)
        highest, lowest = max(highest, float(plane.max())), min(lowest, float(plane.min()))
        own[z] = np.percentile(plane, params.percentile)
    if highest == lowest:
        raise ValueError(
            f"Every voxel is {highest:g} above the offset; there is nothing to deconvolve. Is it "
            "the right file, and the right channel?"
        )
    coords = {dim: np.asarray(structure.coords[dim].values, np.float64) for dim in "zyx"}
    bright = _scale(counted, params.percentile, highest)
    facts = _Facts(np.ones(n_z, np.float32), (n_z, n_y, n_x), coords, bright, None)
    if params.background != "none" and params.compat == "none":
        facts, counted, own, highest = _with_background(structure, params, facts)
    found = own * params.headroom
    if isinstance(params.scale, float):
        found = np.full(n_z, params.scale)
    elif params.scale == "max":
        found = np.full(n_z, highest)
    elif params.scale == "percentile":
        found = np.full(n_z, _scale(counted, params.percentile, highest) * params.headroom)
    # Where a percentile is 0 nothing but the maximum says what is bright.
    found = np.where(found > 0, found, highest or 1.0)
    return _Facts(found.astype(np.float32), facts.shape, coords, facts.bright, facts.coarse)


def _scale(counted: contrast.StackLimits, percentile: float, highest: float) -> float:
    """Return the percentile, or the maximum where it is 0."""
    return counted.limits(low=0, high=percentile).high or highest


def _with_background(
    structure: Volume, params: Deconvolve, facts: _Facts
) -> tuple[_Facts, contrast.StackLimits, npt.NDArray[np.float64], float]:
    """Estimate the background of every slice, and count what is left."""
    clip = deconvolution.clip_level(
        (plane / facts.bright for plane in _planes(structure, params)), params.background
    )
    coarse = tuple(
        deconvolution.background_coefficients(plane / facts.bright, params.background, clip=clip)
        for plane in _planes(structure, params)
    )
    facts = _Facts(facts.scale, facts.shape, facts.coords, facts.bright, coarse)
    counted, highest, own = contrast.StackLimits(), 0.0, np.zeros(facts.shape[0])
    whole = (slice(None), slice(None))
    for z, plane in enumerate(_planes(structure, params)):
        left = _without_background(plane[None], facts, z, whole)
        counted.add(left)
        highest = max(highest, float(left.max()))
        own[z] = np.percentile(left, params.percentile)
    return facts, counted, own, highest


def _without_background(
    light: Float32, facts: _Facts, first: int, window: tuple[slice, slice]
) -> Float32:
    if facts.coarse is None:
        return light
    left = np.empty_like(light)
    for k, plane in enumerate(light):
        background = deconvolution.expand_background(
            facts.coarse[first + k], facts.shape[1:], window=window
        )
        left[k] = np.maximum(plane - facts.bright * background, 0)
    return left


def _places(block: xr.DataArray, facts: _Facts) -> dict[str, slice]:
    """Return where a block lies in the stack."""
    starts = {
        dim: int(np.searchsorted(facts.coords[dim], block.coords[dim].values[0])) for dim in "zyx"
    }
    return {dim: slice(start, start + block.sizes[dim]) for dim, start in starts.items()}


def _denoise(block: xr.DataArray, *, params: Deconvolve, facts: _Facts) -> Float32:
    at = _places(block, facts)
    light = _light(block.values, params.offset)
    light = _without_background(light, facts, at["z"].start, (at["y"], at["x"]))
    z, y, x = (
        (at[dim].start == 0, at[dim].stop == n) for dim, n in zip("zyx", facts.shape, strict=True)
    )
    return deconvolution.denoise_block(
        light, params.sparse, scale=facts.scale[at["z"]], faces=(z, y, x)
    )


def _sharpen(block: xr.DataArray, *, deblur: deconvolution.Deblur, facts: _Facts) -> Float32:
    at = int(np.searchsorted(facts.coords["z"], block.coords["z"].values[0]))
    scale = facts.scale[at : at + block.sizes["z"], None, None]
    return np.asarray(deblur(block.values / scale) * scale, np.float32)


def _as_original(
    structure: Volume,
    params: Deconvolve,
    deblur: deconvolution.Deblur | None,
    workspace: Workspace,
) -> Volume:
    (made,) = workspace.map_blocks(
        partial(_follow, params=params, deblur=deblur),
        structure,
        [output("deconvolved", ("z", "y", "x"), structure)],
        split={"z": structure.sizes["z"]},
    )
    return made


def _follow(
    block: xr.DataArray, *, params: Deconvolve, deblur: deconvolution.Deblur | None
) -> Float32:
    light = _light(block.values, params.offset)
    return deconvolution.deconvolve_original(
        light, params.sparse, deblur, background=params.background
    )


def _summary(
    structure: Volume,
    made: Volume,
    params: Deconvolve,
    deblur: deconvolution.Deblur | None,
    facts: _Facts,
) -> dict[str, Any]:
    """Return what the settings did to bright and dim things; warn if dim ones are lost."""
    gain = _gain(structure, made, params)
    if gain.dim < HALF:
        warnings.warn(
            f"the dimmest tenth of the bright spots keeps {gain.dim:.0%} of its brightness "
            f"(the brightest tenth {gain.bright:.0%}); a lower sparsity, or "
            'scale = "per-plane", keeps dim and deep nuclei',
            stacklevel=3,
        )
    response = deconvolution.amplitude_response(params.sparse, deblur)
    same = bool((facts.scale == facts.scale[0]).all())
    return {
        "scale": float(facts.scale[0]) if same else facts.scale.tolist(),
        "gain_of_dim_spots": _finite(gain.dim),
        "gain_of_bright_spots": _finite(gain.bright),
        "n_spots": gain.n_spots,
        "bead_amplitude": _rounded(response.amplitude),
        "bead_denoised": _rounded(response.denoised),
        "bead_deconvolved": _rounded(response.deconvolved),
        "bead_lateral_px": _rounded(response.lateral_px),
        "bead_axial_px": _rounded(response.axial_px),
    }


def _gain(structure: Volume, made: Volume, params: Deconvolve) -> deconvolution.Gain:
    """Compare bright spots in three pieces, at a sixth, half and five sixths of the depth."""
    window = {}
    for dim, side in zip("yx", WINDOW_PX[1:], strict=True):
        first = max(0, (structure.sizes[dim] - side) // 2)
        window[dim] = slice(first, first + side)
    n_z = structure.sizes["z"]
    starts = {max(0, min(n_z - WINDOW_PX[0], n_z * k // 6 - WINDOW_PX[0] // 2)) for k in (1, 3, 5)}
    pieces = [window | {"z": slice(start, start + WINDOW_PX[0])} for start in sorted(starts)]
    return deconvolution.measure_gain(
        (_light(structure.isel(piece).values, params.offset), made.isel(piece).values)
        for piece in pieces
    )


def _finite(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def _rounded(values: npt.ArrayLike) -> list[float]:
    return [round(float(value), 4) for value in np.asarray(values)]
