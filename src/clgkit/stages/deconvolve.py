"""Structural stack with less noise, and sharper where that is asked for."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from pydantic import (
    AllowInfNan,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from clgkit import deconvolution
from clgkit.blocks import Output, output
from clgkit.data import VOLUME, Volume, voxel_um
from clgkit.errors import DataError, ResourceError, SettingsError, as_data_error
from clgkit.params import Params
from clgkit.stages._deconvolution_bead import kernel_of_bead
from clgkit.stages._deconvolution_facts import Brightness, Facts, above, look
from clgkit.stages._deconvolution_pixels import finer, on_small_pixels
from clgkit.stages._deconvolution_quality import Procedure, complaints, summarize
from clgkit.workspace import Workspace

if TYPE_CHECKING:
    import xarray as xr

Float32 = npt.NDArray[np.float32]
Row = tuple[Annotated[float, AllowInfNan(allow_inf_nan=True)], ...]  # NaN has a sentence of its own

BYTES_PER_VOXEL = 64  # of a tile at work, its copies included
ORIGINAL_BYTES = 100  # of a voxel, where the whole stack is held
SHARE = 4  # of free memory; a budget that was not given is one of them
CONVERGED_PX = 64  # core of a tile of the converged solver: never a matter of memory
CONVERGED = 1e-4  # an iteration that changes less is the last; a hundred are typical
NONE = object()
PUBLISHED: dict[str, Any] = {
    "iterations": 120,
    "fidelity": 150.0,
    "z_continuity": 1.0,
    "sparsity": 6.0,
    "headroom": 1.0,
    "method": "richardson_lucy",
    "deconvolution_iterations": 8,
}
NEEDED = {
    "gaussian": ("fwhm_um",),
    "two-photon": ("na", "wavelength_nm"),
    "airy": ("na", "wavelength_nm"),
    "original": ("na", "wavelength_nm"),
    "measured": (),
}


class Deconvolve(Params):
    """Settings of :func:`deconvolve`."""

    offset: float = 0.0
    """Counts without light; subtracted first.  Negative numbers lift a stack that goes below 0."""
    background: deconvolution.Background = "none"
    """What varies slowly and is subtracted: strong or weak, of low or high intensity."""
    oversampling: deconvolution.Oversampling = "none"
    """Makes pixels half as large along y and x: "fourier" interpolates; "zeros", in compat
    "original" only, stand between the pixels.  Not in a run, whose steps share their pixels."""
    iterations: PositiveInt = 120
    """Iterations of the sparse step; 1 leaves it out."""
    fidelity: PositiveFloat = 150.0
    """Weight of the data in the sparse step."""
    z_continuity: NonNegativeFloat = 1.0
    """Weight of smoothness along z; 1 treats the axes alike, 0 every slice by itself."""
    sparsity: NonNegativeFloat = 0.0
    """Weight of the sum of intensities: more removes more of what is dim (published: 6)."""
    solver: Literal["published", "converged"] = "published"
    """The published scheme, stopped after so many iterations, or its energy's true minimum."""
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
    kernel: tuple[Row, ...] | None = None
    """Measured point spread function in focus: rows of numbers, odd sides, pixels of the result.
    Or give the image of a bead: [psf] path in a run, --psf-file of the command."""
    compat: Literal["none", "published", "original"] = "none"
    """The published numbers instead of defaults, in this program or as the authors' own did it."""

    @model_validator(mode="before")
    @classmethod
    def _published(cls, values: Any) -> Any:
        """Put the published numbers in the place of defaults; settings files name them all."""
        if not isinstance(values, dict) or values.get("compat") not in {"published", "original"}:
            return values
        defaults = {name: cls.model_fields[name].default for name in PUBLISHED}
        given = {name: value for name, value in values.items() if value != defaults.get(name, NONE)}
        return PUBLISHED | given

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kernel is not None and not np.isfinite(np.concatenate(self.kernel)).all():
            raise ValueError("the kernel, a point spread function, holds NaN or infinity")
        if self.sharpens:
            missing = [name for name in NEEDED[self.psf] if getattr(self, name) is None]
            if missing:
                raise ValueError(
                    f"method {self.method!r} with psf {self.psf!r} needs {' and '.join(missing)}"
                )
        if self.solver == "converged" and self.compat == "original":
            raise ValueError('the authors\' program does not converge; leave out compat "original"')
        if self.oversampling == "zeros" and self.compat != "original":
            raise ValueError(
                'oversampling "zeros" leaves a comb, which only compat "original" takes away; '
                'oversampling "fourier" leaves none'
            )
        return self

    @property
    def not_in_a_run(self) -> str | None:
        """Why these settings are for a file of their own; None if a run can have them."""
        if self.oversampling == "none":
            return None
        return (
            f'deconvolve.oversampling is "{self.oversampling}", but nuclei, planes and traces of a '
            'run share the pixels of the raw stack; set it to "none", or run `clg deconvolve` and '
            "give its result as the structure of a run."
        )

    def why_not(self, *, with_bead: bool) -> str | None:
        """Return why these settings do not go with an image of a bead, or without; None if so."""
        if with_bead and self.psf != "measured":
            return (
                f'an image of a bead is used with psf = "measured" only, and psf is "{self.psf}" '
                "here; set psf, or leave out the image ([psf] path, --psf-file)."
            )
        if with_bead and self.kernel is not None:
            return (
                "both kernel and an image of a bead ([psf] path, --psf-file) say what the point "
                "spread function is; leave out one of them."
            )
        if self.sharpens and self.psf == "measured" and self.kernel is None and not with_bead:
            return (
                'psf = "measured" needs its numbers; give them as kernel, or give the image of a '
                "bead: [psf] path in a run, --psf-file of clg deconvolve."
            )
        return None

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

    @property
    def brightness(self) -> Brightness:
        """What counts as bright."""
        scale = "max" if self.compat == "original" else self.scale
        return Brightness(scale, self.percentile, self.headroom)


class Deconvolved(NamedTuple):
    """What :func:`deconvolve` gives."""

    deconvolved: Volume
    denoised: Volume | None
    summary: dict[str, Any]


def deconvolve(
    structure: Volume,
    psf: Volume | None = None,
    params: Deconvolve = Deconvolve(),  # noqa: B008  (frozen)
    *,
    workspace: Workspace | None = None,
) -> Deconvolved:
    """Take noise, and if asked for background and blur, out of a structural stack.

    Parameters
    ----------
    structure
        The structural stack.
    psf
        Image of one small bead, for ``psf="measured"`` without a kernel; any voxels, background and
        margin included.
    params
        Settings.
    workspace
        Where blocks run and results go.

    Returns
    -------
    Deconvolved
        ``deconvolved``: float32, in the units of `structure` above its offset; oversampled with
        twice as many rows and columns, and coordinates to match.  ``denoised``: the same before
        slices were sharpened; None if they were not.  ``summary``: the scale, what the settings do
        to beads of known brightness, the gain of bright spots of this stack, and the spots made of
        its noise, all in pixels of `structure`; empty for a stack that is the same everywhere.

    Raises
    ------
    DataError
        If `structure` is no volume, or holds NaN or negative values; code ``E_PSF`` if the point
        spread function is none.
    SettingsError
        If `psf` and the settings do not go together.
    ResourceError
        If the whole stack, which ``compat="original"`` needs, does not fit the memory.

    Warns
    -----
    UserWarning
        If `structure` is the same everywhere (it is returned as it is), if the dimmest tenth of
        the bright spots loses more than half of its brightness, if spots are made of noise, or if
        `psf` has even sides or is larger than the planes.
    """
    VOLUME.check(structure)
    if psf is not None:
        VOLUME.check(psf)
    if (why := params.why_not(with_bead=psf is not None)) is not None:
        raise SettingsError(f"deconvolve: {why}", code="E_PSF")
    workspace = workspace or Workspace()
    procedure = Procedure(_step(params), _deblur(structure, params, psf), params.oversampling)
    is_original = params.compat == "original"
    with as_data_error("structure"):
        facts = look(
            structure,
            params.brightness,
            offset=params.offset,
            background="none" if is_original else params.background,
        )
    if facts.is_constant:
        return _unchanged(structure, facts, params, workspace)
    if is_original:
        made, denoised = _as_original(structure, params, procedure, workspace), None
    else:
        seen = structure
        if params.oversampling != "none":
            seen = on_small_pixels(structure, facts, params.oversampling, workspace)
            facts = look(seen, params.brightness, offset=0.0, background="none")
        made, denoised = _in_tiles(seen, params, procedure, facts, workspace)
    summary = summarize(structure, made, procedure, replace(facts, offset=params.offset))
    for sentence in complaints(summary):
        warnings.warn(sentence, stacklevel=2)
    return Deconvolved(made, denoised, summary)


def _step(params: Deconvolve) -> deconvolution.Step:
    if params.solver == "published":
        return params.sparse
    return partial(_converge, weights=params.sparse)


def _converge(
    scaled: Float32, *, weights: deconvolution.SparseHessian
) -> npt.NDArray[np.floating[Any]]:
    return deconvolution.minimize_sparse_hessian(scaled, weights, tolerance=CONVERGED).image


def _deblur(
    structure: Volume, params: Deconvolve, bead: Volume | None = None
) -> deconvolution.Deblur | None:
    """Return the sharpening, or None if slices are left as they are."""
    if not params.sharpens or params.method == "none":
        return None
    _, y_um, x_um = voxel_um(structure)
    n = 1 if params.oversampling == "none" else 2
    plane = (n * structure.sizes["y"], n * structure.sizes["x"])
    try:
        if bead is None:
            psf = _psf(params, (y_um / n, x_um / n), plane)
        else:
            psf = kernel_of_bead(bead, pixel_um=(y_um / n, x_um / n), plane=plane)
        deconvolution.check_psf(psf, plane_shape=plane)
    except ValueError as error:
        file = "" if bead is None else bead.attrs.get("source", "")
        raise DataError(f"{file or 'point spread function'}: {error}", code="E_PSF") from error
    return deconvolution.Deblur(psf, params.method, params.deconvolution_iterations)


def _psf(
    params: Deconvolve, pixel_um: tuple[float, float], plane: tuple[int, int]
) -> npt.NDArray[np.float64]:
    if params.compat != "original":
        half = min(deconvolution.original_half_width(plane), (min(plane) - 1) // 2)
    else:  # the authors' program looks at the stack as it came
        n = 1 if params.oversampling == "none" else 2
        half = deconvolution.original_half_width((plane[0] // n, plane[1] // n))
    sides: dict[str, Any] = {"pixel_um": pixel_um, "half_width_px": half}
    if params.psf == "measured" and params.kernel is not None:
        if len({len(row) for row in params.kernel}) > 1:
            raise ValueError("the rows of the kernel are not equally long.")
        return np.array(params.kernel, np.float64)
    if params.psf == "gaussian":
        return deconvolution.gaussian_psf(params.fwhm_um or math.nan, **sides)
    na, wavelength_um = params.na or math.nan, (params.wavelength_nm or math.nan) / 1000
    if params.psf == "two-photon":
        fwhm_um = deconvolution.two_photon_fwhm_um(na=na, wavelength_um=wavelength_um)
        return deconvolution.gaussian_psf(fwhm_um, **sides)
    formula = deconvolution.airy_psf if params.psf == "airy" else deconvolution.original_psf
    return formula(na=na, wavelength_um=wavelength_um, **sides)


def _made_of(structure: Volume, params: Deconvolve) -> Output:
    is_filtered = params.compat == "original"
    return finer("deconvolved", structure, params.oversampling, is_filtered=is_filtered)


def _repeat(block: xr.DataArray, *, facts: Facts, times: int) -> Float32:
    return facts.light(block).repeat(times, axis=1).repeat(times, axis=2)


def _unchanged(
    structure: Volume, facts: Facts, params: Deconvolve, workspace: Workspace
) -> Deconvolved:
    """Return a stack that is the same everywhere as it is, above its offset."""
    warnings.warn(
        f"every voxel of the stack is {facts.highest:g} above the offset, so it is returned as it "
        "is; is it the right file, and the right channel?",
        stacklevel=3,
    )
    times = 1 if params.oversampling == "none" else 2
    (made,) = workspace.map_blocks(
        partial(_repeat, facts=facts, times=times),
        structure,
        [_made_of(structure, params)],
        split={"z": None},
    )
    return Deconvolved(made, None, {})


def _in_tiles(
    structure: Volume,
    params: Deconvolve,
    procedure: Procedure,
    facts: Facts,
    workspace: Workspace,
) -> tuple[Volume, Volume | None]:
    """Return the stack, and the stack before it was sharpened if it was."""
    deblur = procedure.deblur
    (denoised,) = workspace.map_blocks(
        partial(_denoise, step=procedure.step, facts=facts, device=workspace.device),
        structure,
        [output("denoised" if deblur else "deconvolved", ("z", "y", "x"), structure)],
        split=dict(zip("zyx", _core(params, facts, workspace), strict=True)),
        halo=dict.fromkeys("zyx", deconvolution.HALO_PX),
    )
    if deblur is None:
        return denoised, None
    (sharp,) = workspace.map_blocks(
        partial(_sharpen, deblur=deblur, facts=facts, device=workspace.device),
        denoised,
        [output("deconvolved", ("z", "y", "x"), structure)],
        split={"z": None},
    )
    return sharp, denoised


def _core(params: Deconvolve, facts: Facts, workspace: Workspace) -> tuple[int, ...]:
    """Return the size of a tile without its halo."""
    if params.solver == "converged":
        return (CONVERGED_PX, CONVERGED_PX, CONVERGED_PX)
    budget = 1e6 * workspace.budget_mb / workspace.n_workers / BYTES_PER_VOXEL
    return deconvolution.choose_core(facts.shape, voxels=min(deconvolution.VOXELS, budget))


def _denoise(
    block: xr.DataArray, *, step: deconvolution.Step, facts: Facts, device: str
) -> Float32:
    at = facts.places(block)
    z, y, x = (
        (at[dim].start == 0, at[dim].stop == n) for dim, n in zip("zyx", facts.shape, strict=True)
    )
    return deconvolution.denoise_block(
        facts.light(block), step, scale=facts.scale[at["z"]], faces=(z, y, x), device=device
    )


def _sharpen(
    block: xr.DataArray, *, deblur: deconvolution.Deblur, facts: Facts, device: str
) -> Float32:
    scale = facts.scale[facts.places(block)["z"], None, None]
    sharp = deconvolution.deblur_planes(block.values / scale, deblur, device=device)
    return np.asarray(sharp * scale, np.float32)


def _as_original(
    structure: Volume, params: Deconvolve, procedure: Procedure, workspace: Workspace
) -> Volume:
    """Return what the authors' program makes of the whole stack, in one block."""
    times = 1 if params.oversampling == "none" else 4
    needed_mb = times * structure.size * ORIGINAL_BYTES / 1e6
    free_mb = workspace.memory_mb or SHARE * workspace.budget_mb
    if needed_mb > free_mb:
        raise ResourceError(
            f'compat = "original" holds the whole stack in memory: about {needed_mb:,.0f} MB, and '
            f'there are {free_mb:,.0f}. Cut the stack, or take compat = "published", which works '
            "in tiles.",
            code="E_MEMORY",
        )
    (made,) = workspace.map_blocks(
        partial(_follow, params=params, deblur=procedure.deblur),
        structure,
        [_made_of(structure, params)],
        split={"z": structure.sizes["z"]},
    )
    return made


def _follow(
    block: xr.DataArray, *, params: Deconvolve, deblur: deconvolution.Deblur | None
) -> Float32:
    return deconvolution.deconvolve_original(
        above(block.values, params.offset),
        params.sparse,
        deblur,
        background=params.background,
        oversampling=params.oversampling,
    )
