"""What the settings of a deconvolution did to bright, dim and invented things."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from clgkit import deconvolution
from clgkit.stages._deconvolution_facts import Facts, above

if TYPE_CHECKING:
    import xarray as xr

WINDOW_PX = (16, 192, 192)  # of the pieces that are compared
DEPTHS = (1, 3, 5)  # their places, sixths of the depth
HALF = 0.5
SOME = 3


class Procedure(NamedTuple):
    """What was done to every block."""

    step: deconvolution.Step
    deblur: deconvolution.Deblur | None
    oversampling: deconvolution.Oversampling = "none"


def summarize(
    structure: xr.DataArray, made: xr.DataArray, procedure: Procedure, facts: Facts
) -> dict[str, Any]:
    """Return plain numbers: scale, bead response, gain of bright spots, spots made of noise."""
    pairs = list(_pieces(structure, made, facts.offset, procedure.oversampling))
    gain = deconvolution.measure_gain(pairs)
    response = deconvolution.amplitude_response(
        procedure.step, procedure.deblur, oversampling=procedure.oversampling
    )
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
        **_on_noise([before for before, _ in pairs], procedure, facts),
    }


def complaints(summary: dict[str, Any]) -> Iterator[str]:
    """Yield a sentence for each thing that a user should know."""
    dim, bright = summary["gain_of_dim_spots"], summary["gain_of_bright_spots"]
    if dim is not None and dim < HALF:
        yield (
            f"the dimmest tenth of the bright spots keeps {dim:.0%} of its brightness "
            f"(the brightest tenth {bright:.0%}); a lower sparsity, or "
            'scale = "per-plane", keeps dim and deep nuclei'
        )
    if summary["noise_spots_after"] >= max(SOME, 2 * summary["noise_spots_before"]):
        yield (
            f"these settings make {summary['noise_spots_after']} bright spots out of an empty "
            "field with the noise of this stack; fewer deconvolution_iterations, or more headroom, "
            "make fewer"
        )


def _pieces(
    structure: xr.DataArray,
    made: xr.DataArray,
    offset: float,
    oversampling: deconvolution.Oversampling,
) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    """Yield light before and after in three pieces of the middle, at three depths."""
    window, finer = {}, {}
    times = 1 if oversampling == "none" else 2
    for dim, side in zip("yx", WINDOW_PX[1:], strict=True):
        first = max(0, (structure.sizes[dim] - side) // 2)
        window[dim] = slice(first, first + side)
        finer[dim] = slice(times * first, times * (first + side))
    n_z = structure.sizes["z"]
    starts = {max(0, min(n_z - WINDOW_PX[0], n_z * k // 6 - WINDOW_PX[0] // 2)) for k in DEPTHS}
    for start in sorted(starts):
        slices = {"z": slice(start, start + WINDOW_PX[0])}
        before = above(structure.isel(window | slices).values, offset)
        after = made.isel(finer | slices).values
        yield before, deconvolution.at_samples(after, oversampling)


def _on_noise(
    pieces: list[npt.NDArray[np.float32]], procedure: Procedure, facts: Facts
) -> dict[str, Any]:
    """Try the procedure on an empty field with the noise of the dark parts of the stack."""
    level = float(np.median([np.median(piece) for piece in pieces]))
    noise = float(np.median([deconvolution.noise_of(piece) for piece in pieces]))
    check = deconvolution.check_on_noise(
        procedure.step,
        procedure.deblur,
        level=level,
        noise=noise,
        scale=float(np.median(facts.scale)),
        oversampling=procedure.oversampling,
    )
    return {
        "dark_level": _finite(level),
        "noise_sd": _finite(noise),
        "noise_spots_before": check.before,
        "noise_spots_after": check.after,
        "noise_spots_believed": check.believed,
        "noise_grain": _rounded(check.grain),
    }


def _finite(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def _rounded(values: npt.ArrayLike) -> list[float]:
    return [round(float(value), 4) for value in np.asarray(values)]
