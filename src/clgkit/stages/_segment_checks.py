"""What the segmentation of nuclei refuses before it starts, and what it warns of at its end."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from clgkit.data import LABELS, VOLUME, Labels, Volume, voxel_um
from clgkit.errors import DataError, SettingsError, as_data_error
from clgkit.segmentation.cellpose_network import CellposeNetwork
from clgkit.segmentation.network import NucleusNetwork
from clgkit.segmentation.network_scale import SIDE_PX, estimate_diameter
from clgkit.stages._segment_found import MEASURES, SUSPECT

if TYPE_CHECKING:
    import xarray as xr

Model = NucleusNetwork | CellposeNetwork

FEW_SLICES = {"network": 3.0, "classical": 4.0}
"""Fewer slices than this across a nucleus are warned of, by method."""
LEAST_PX = 16
"""Narrower slices are refused by every method that looks at them."""
MOST_CHANNELS = 4
"""A last axis of three or four is that of a colour image."""
GLANCE_PX = (32, 128, 128)
"""What is looked at to doubt a diameter; larger pieces cost more and say the same."""
FEWEST = 20
"""Nuclei inside of the stack from which a share of suspect ones is taken."""
MANY_SUSPECT = 0.25
"""Share of suspect nuclei that is warned of.  Stacks that suit the network have 0.01."""
OFF = 1.5
"""Ratio of the diameter that is seen and the one that is said, or its inverse, that is warned of.
On stacks that suit it is 0.8 to 1.3."""
FILLED = 0.05
"""Where nuclei fill less of the stack, its background may decide which diameter is seen."""


class Given(NamedTuple):
    """What a run has for the stage."""

    structure: Volume
    raw: Volume | None
    model: Model | None
    labels: Labels | None

    def seen_by(self, method: str) -> Volume:
        """Return the stack that a method reads."""
        return self.structure if self.raw is None or method == "classical" else self.raw


def check_given(given: Given, method: str, *, joining: set[str]) -> None:
    """Refuse what is no stack, model or labels, or does not go with the method.

    Parameters
    ----------
    given
        What a run has.
    method
        How nuclei are found.
    joining
        The settings that say how sections become nuclei and are not at their defaults.
    """
    structure, raw, model, labels = given
    VOLUME.check(structure)
    if raw is not None:
        VOLUME.check(raw)
        _check_shape(raw, structure, "raw stack", "denoised one")
    if labels is not None:
        LABELS.check(labels)
        _check_shape(labels, structure, "stack of labels", "structural one")
    if model is not None and not isinstance(model, Model):
        raise DataError(
            f"The model is no network of nuclei: found {_described(model)}, wanted what "
            "clgkit.pipeline.models.open_model returns.",
            code="E_SHAPE",
        )
    if method != "import":
        _check_width(structure)
    _check_method(given, method)
    if labels is not None and not labels.attrs.get("separate") and joining:
        raise SettingsError(
            f"{' and '.join(sorted(joining))} of segment_nuclei would change nothing: sections are "
            "joined so, and these labels are three-dimensional already. Leave that out, or give a "
            "folder with one mask per slice."
        )


def _check_shape(array: xr.DataArray, structure: Volume, name: str, like: str) -> None:
    if array.shape != structure.shape:
        raise DataError(
            f"The {name} has shape {array.shape} and the {like} {structure.shape}; give the "
            f"{name} that belongs to it.",
            code="E_SHAPE",
        )


def _check_width(structure: Volume) -> None:
    """Refuse slices in which no nucleus could be told from its surroundings."""
    width = structure.sizes["x"]
    if min(structure.sizes["y"], width) >= LEAST_PX:
        return
    colours = (
        f" An x axis of {width} looks like the channels of a colour image: give one channel."
        if 2 < width <= MOST_CHANNELS
        else " Give a larger piece, or name its axes rightly."
    )
    raise DataError(
        f"The slices of the structural stack are {structure.sizes['y']} x {width} pixels (y, x), "
        f"wanted {LEAST_PX} or more.{colours}",
        code="E_SHAPE",
    )


def _check_method(given: Given, method: str) -> None:
    """Refuse a model or labels that the method does not use, and a method without them."""
    wanted = {"network": NucleusNetwork, "cellpose": CellposeNetwork}.get(method)
    if method == "cellpose" and given.model is None:
        raise SettingsError(
            'segment_nuclei.method is "cellpose", which needs a network: fill in [model] path '
            "(on the command line --model)."
        )
    if given.model is not None and (wanted is None or not isinstance(given.model, wanted)):
        kind = "cellpose" if isinstance(given.model, CellposeNetwork) else "network"
        raise SettingsError(
            f'The model is one of method "{kind}", and segment_nuclei.method is "{method}"; '
            f'set method = "{kind}", or leave the model out.'
        )
    if (given.labels is None) == (method == "import"):
        raise SettingsError(
            'Labels and segment_nuclei.method = "import" go together: fill in [labels] path (on '
            f"the command line --labels) for that method, and leave it empty for others; it is "
            f'"{method}".'
        )


def _described(value: object) -> str:
    """Return what an object is, for a sentence."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    return type(value).__name__ + ("" if shape is None else f" of {dtype}, shape {shape}")


def size_of(
    stack: Volume, method: str, *, lateral: float | Literal["estimated"], elongation: float
) -> dict[str, Any]:
    """Return voxel size and diameter (z, y, x) where the method needs them; warn of few slices."""
    if method not in FEW_SLICES:
        return {}
    voxel = voxel_um(stack)
    if lateral == "estimated":
        with as_data_error("structure"):
            estimate = estimate_diameter(
                _middle(stack, SIDE_PX), voxel_um=voxel, elongation=elongation
            )
        lateral = estimate.diameter_um[1]
    axial = lateral * elongation
    thick_um = stack.sizes["z"] * voxel[0]
    if stack.sizes["z"] == 1:
        warnings.warn(
            "the structural stack has one slice; nuclei are three-dimensional, and what is found "
            "here are their sections",
            stacklevel=3,
        )
    elif axial / voxel[0] < FEW_SLICES[method]:
        warnings.warn(
            f"slices are {voxel[0]:.3g} um apart, {axial / voxel[0]:.2g} to a nucleus of "
            f"{axial:.3g} um along z; many will be missed or joined below "
            f"{FEW_SLICES[method]:g}",
            stacklevel=3,
        )
    elif thick_um < lateral:
        warnings.warn(
            f"the structural stack is {thick_um:.3g} um thick ({stack.sizes['z']} slices), less "
            f"than a nucleus of {lateral:.3g} um; what is found here are parts of nuclei",
            stacklevel=3,
        )
    return {"voxel_um": voxel, "diameter_um": (axial, lateral, lateral)}


def _middle(stack: Volume, side_px: tuple[int, int, int]) -> Any:
    """Return the pixels in the middle of a stack, no more than `side_px`."""
    box = {
        dim: slice(max(0, (n - side) // 2), max(0, (n - side) // 2) + side)
        for dim, n, side in zip("zyx", stack.shape, side_px, strict=True)
    }
    return stack.isel(box).values


def warn_of_doubts(
    stack: Volume, nuclei: xr.DataArray, size: dict[str, Any], *, is_estimated: bool
) -> None:
    """Warn where voxel size or diameter are probably not what they are said to be.

    Parameters
    ----------
    stack
        What the method read.
    nuclei
        The table of nuclei.
    size
        Voxel size and diameter, as they were said.
    is_estimated
        Whether the diameter was taken from the stack, so that it need not be looked at again.
    """
    column = dict(zip(MEASURES, nuclei.values.T, strict=True))
    inner = column["on_border"] == 0
    suspect = np.any([column[name] > 0 for name in SUSPECT], axis=0) & inner
    voxel, (axial, _, lateral) = size["voxel_um"], size["diameter_um"]
    doubts = []
    if inner.sum() >= FEWEST and suspect.sum() > MANY_SUSPECT * inner.sum():
        doubts.append(f"{suspect.sum()} of the {inner.sum()} nuclei that no face cuts are suspect")
    filled = column["voxels"].sum() / max(stack.size, 1)
    if not is_estimated and filled >= FILLED:
        seen = _seen_um(stack, axial / lateral)
        if seen is not None and not 1 / OFF <= seen / lateral <= OFF:
            doubts.append(f"nuclei look {seen:.2g} um wide where {lateral:.2g} um is said")
    if doubts:
        voxels = " x ".join(f"{side:.3g}" for side in voxel)
        warnings.warn(
            f"{' and '.join(doubts)}: check the voxel size ({voxels} um, z, y, x) and the "
            f"diameter ({lateral:.3g} um); if both are right, the stack may be unlike those that "
            "the method is made for",
            stacklevel=3,
        )


def _seen_um(stack: Volume, elongation: float) -> float | None:
    """Return the lateral diameter that the middle of a stack shows, None where it shows none."""
    try:
        seen = estimate_diameter(
            _middle(stack, GLANCE_PX), voxel_um=voxel_um(stack), elongation=elongation
        )
    except ValueError:
        return None
    return seen.diameter_um[1]
