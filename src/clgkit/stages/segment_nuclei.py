"""3-D identity of every nucleus."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, PositiveFloat, model_validator

from clgkit.data import LABELS, VOLUME, Labels, Volume, voxel_um
from clgkit.errors import DataError, SettingsError, as_data_error
from clgkit.params import Params
from clgkit.segmentation.cellpose import options_like
from clgkit.segmentation.cellpose_network import CellposeNetwork
from clgkit.segmentation.chains import ChainRule
from clgkit.segmentation.network import NucleusNetwork, shipped_network
from clgkit.segmentation.network_scale import SIDE_PX, estimate_diameter
from clgkit.stages._segment_classical import ClassicalNumbers, find_classical
from clgkit.stages._segment_found import Found, summary_of, table_of
from clgkit.stages._segment_network import NetworkNumbers, find_by_network
from clgkit.stages._segment_sections import SectionNumbers, find_by_cellpose, find_imported
from clgkit.workspace import Workspace

if TYPE_CHECKING:
    import xarray as xr

CORE_PX = {"z": 64, "y": 256, "x": 256}
SLAB_PX = 16
"""Most slices that a network predicts together."""
FEW_SLICES = {"network": 3.0, "classical": 4.0}
"""Fewer slices than this across a nucleus are warned of, by method."""

Method = Literal["network", "classical", "cellpose", "import"]
Model = NucleusNetwork | CellposeNetwork
Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, lt=1)]

SECTIONS = ("cellpose", "import")
USED_BY: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(["min_probability", "min_peak"], ("network",)),
    **dict.fromkeys(["noise_factor", "peak_share", "height_share"], ("classical",)),
    "min_volume_share": ("network", "classical"),
    **dict.fromkeys(
        ["preset", "section_diameter_um", "cellprob_threshold", "flow_threshold"], ("cellpose",)
    ),
    "min_section_px": SECTIONS,
    **dict.fromkeys(["stitch", "stitch_iou"], SECTIONS),
}
CHAIN_ONLY = (
    "bridge_iou", "bridge_area_share", "waist", "waist_of_long", "long_chain", "too_long_chain",
    "min_chain_share",
)  # fmt: skip


class SegmentNuclei(Params):
    """Settings of :func:`segment_nuclei`."""

    method: Method = "network"
    """The network that comes with clgkit (or one like it, from `[model]`), the classical method,
    a Cellpose 2 or 3 network from `[model]`, or labels made elsewhere from `[labels]`."""
    diameter_um: Literal["estimated"] | PositiveFloat = 6.0
    """Lateral diameter of a nucleus in micrometres; "estimated" takes it from the stack."""
    elongation: PositiveFloat = 2.0
    """How many times longer than wide the optics make a nucleus along z."""
    min_volume_share: Share = 0.12
    """Methods network, classical: objects smaller than this share of an ellipsoid of the given
    diameter are dropped."""
    min_probability: Positive = 0.5
    """Method network: voxels of a lower probability are background."""
    min_peak: Share = 0.45
    """Method network: least depth of a seed, where the middle of a whole nucleus has 1."""
    noise_factor: PositiveFloat = 5.5
    """Method classical: a seed's response must exceed that of pure noise this many times."""
    peak_share: Share = 0.1
    """Method classical: a seed's response must exceed this share of the strong ones."""
    height_share: Positive = 0.3
    """Method classical: a nucleus ends where its brightness falls to this share of its maximum."""
    preset: Literal["default", "cellpose3", "cellpose2"] = "default"
    """Method cellpose: masks of sections as these programs make them, faults included, or as
    Cellpose 3 without its faults."""
    section_diameter_um: PositiveFloat | None = None
    """Method cellpose: mean diameter of sections (not of nuclei); that of the training, in pixels,
    if not given."""
    cellprob_threshold: Annotated[float, Field(ge=-20, le=20)] = 0.0
    """Method cellpose: pixels with higher log-odds belong to nuclei."""
    flow_threshold: Annotated[float, Field(ge=0, le=10)] = 0.4
    """Method cellpose: sections whose flows differ more from the network's are dropped; 0: none."""
    min_section_px: Annotated[int, Field(ge=0)] = 15
    """Method cellpose: smaller sections are dropped; with Cellpose's stitching, smaller nuclei."""
    stitch: Literal["chain", "cellpose"] = "chain"
    """Methods cellpose, import: how sections become nuclei, by chains that are cut at waists, or by
    Cellpose's overlap of neighbours."""
    stitch_iou: Share = 0.25
    """Least overlap (intersection over union) of neighbouring sections of one nucleus."""
    bridge_iou: PositiveFloat = 0.3
    """Chains: least overlap of sections on both sides of a missing one; above 1 none is bridged."""
    bridge_area_share: Share = 0.3
    """Chains: sections smaller than this share of the median area are not bridged."""
    waist: Share = 0.9
    """Chains: cut where the area falls below this share of the maxima on both sides."""
    waist_of_long: Share = 0.97
    """Chains: the same in chains that are long."""
    long_chain: PositiveFloat = 1.4
    """Chains: from so many usual lengths of a nucleus on a chain is long."""
    too_long_chain: PositiveFloat = 1.8
    """Chains: beyond so many usual lengths a chain is cut without any waist."""
    min_chain_share: Share = 0.12
    """Chains: nuclei smaller than this share of the median volume are dropped."""

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        """Refuse changes that would change nothing."""
        changed = [
            name for name, field in type(self).model_fields.items()
            if getattr(self, name) != field.default
        ]  # fmt: skip
        problems = [
            f"{name} belongs to method {' or '.join(USED_BY[name])}, and method is {self.method!r}"
            for name in changed
            if self.method not in USED_BY.get(name, (self.method,))
        ]
        for name in set(changed) & set(CHAIN_ONLY):
            if self.method not in SECTIONS:
                problems.append(
                    f"{name} belongs to method {' or '.join(SECTIONS)}, and method is "
                    f"{self.method!r}"
                )
            elif self.stitch != "chain":
                problems.append(f"{name} belongs to stitch 'chain', and stitch is {self.stitch!r}")
        if problems:
            raise ValueError("; ".join(sorted(problems)))
        return self

    @property
    def classical(self) -> ClassicalNumbers:
        """The settings of the classical method."""
        return ClassicalNumbers(
            self.noise_factor, self.peak_share, self.height_share, self.min_volume_share
        )

    @property
    def network(self) -> NetworkNumbers:
        """The settings of the network."""
        return NetworkNumbers(self.min_probability, self.min_peak, self.min_volume_share)

    @property
    def sections(self) -> SectionNumbers:
        """The settings of sections and of their stitching."""
        chained = self.stitch == "chain"
        options = options_like(
            self.preset,
            cellprob_threshold=self.cellprob_threshold,
            flow_threshold=self.flow_threshold,
            # Cellpose drops specks after stitching, where a nucleus is counted in voxels.
            min_size_px=self.min_section_px if chained else -1,
        )
        rule = ChainRule(
            min_iou=self.stitch_iou,
            bridge_iou=self.bridge_iou,
            bridge_area=self.bridge_area_share,
            waist=self.waist,
            waist_of_long=self.waist_of_long,
            long=self.long_chain,
            too_long=self.too_long_chain,
            min_volume=self.min_chain_share,
        )
        return SectionNumbers(
            options,
            self.section_diameter_um,
            None if chained else self.stitch_iou,
            self.min_section_px,
            rule,
            whole_stack=self.preset != "cellpose2",
        )


class NucleiSegmented(NamedTuple):
    """What :func:`segment_nuclei` gives."""

    labels: Labels
    seeds: Volume | None
    nuclei: xr.DataArray
    summary: dict[str, Any]


def segment_nuclei(
    structure: Volume,
    raw: Volume | None = None,
    model: Model | None = None,
    labels: Labels | None = None,
    params: SegmentNuclei = SegmentNuclei(),  # noqa: B008  (frozen)
    *,
    workspace: Workspace | None = None,
) -> NucleiSegmented:
    """Find every nucleus of a stack and give its voxels one number.

    Parameters
    ----------
    structure
        The structural stack, raw, denoised or with its contrast normalized.
    raw
        The same stack before it was denoised.  Networks read it, for they were trained on raw
        stacks.  The classical method reads `structure` and measures the noise of both, because a
        denoised stack hides its noise; the larger one counts.
    model
        A network of one's own, for the methods ``"network"`` and ``"cellpose"``.
    labels
        Labels made elsewhere, for the method ``"import"``.  With ``attrs["separate"]`` the ids of
        different slices are unrelated, and sections are joined.
    params
        Settings.
    workspace
        Where blocks run and results go.

    Returns
    -------
    NucleiSegmented
        ``labels``: uint32, 0 is background, numbers may have gaps.  ``seeds``: uint8, 1 at the
        peak of each nucleus; None where the method has none.  ``nuclei``: (nucleus, measure)
        float64, the size, confidence and flags of each, in the order of ``summary["measures"]``.
        ``summary``: counts, density, and how they were found.

    Raises
    ------
    DataError
        If `structure` is no volume, holds NaN, or a nucleus would be less than 4 or more than 40
        pixels across; if `raw` or `labels` are no volume or have another shape; if `model` is no
        network.
    SettingsError
        If the method and what was given do not go together.

    Warns
    -----
    UserWarning
        If there is no nucleus, or slices are too few or too far apart.

    Notes
    -----
    The run folder keeps the steps too: the network's maps ``foreground`` and ``distance``, and
    ``sections`` of Cellpose.
    """
    given = Given(structure, raw, model, labels)
    _check_given(given, params)
    size = _size(given.seen_by(params.method), params)
    found = _find(given, params, size, workspace or Workspace())
    nuclei = table_of(found)
    if nuclei.sizes["nucleus"] == 0:
        warnings.warn("no nucleus was found; all later results are empty", stacklevel=2)
    diameter = [float(d) for d in size["diameter_um"]] if size else None
    facts = {
        "method": params.method,
        "diameter_um": diameter,
        "is_estimated": bool(size) and params.diameter_um == "estimated",
        **summary_of(found, nuclei),
    }
    return NucleiSegmented(found.labels, found.seeds, nuclei, facts)


class Given(NamedTuple):
    """What a run has for the stage."""

    structure: Volume
    raw: Volume | None
    model: Model | None
    labels: Labels | None

    def seen_by(self, method: str) -> Volume:
        """Return the stack that a method reads."""
        return self.structure if self.raw is None or method == "classical" else self.raw


def _find(given: Given, params: SegmentNuclei, size: dict[str, Any], workspace: Workspace) -> Found:
    """Return what the chosen method finds."""
    tiled: dict[str, Any] = {"size": size, "core": dict(CORE_PX), "workspace": workspace}
    seen = given.seen_by(params.method)
    if params.method == "classical":
        return find_classical(seen, given.raw, params.classical, **tiled)
    if given.labels is not None:
        return find_imported(given.labels, params.sections, workspace=workspace)
    if isinstance(given.model, CellposeNetwork):
        return find_by_cellpose(seen, given.model, params.sections, workspace=workspace)
    network = given.model or shipped_network()
    return find_by_network(seen, network, params.network, slab_px=SLAB_PX, **tiled)


def _size(stack: Volume, params: SegmentNuclei) -> dict[str, Any]:
    """Return voxel size and diameter (z, y, x) where the method needs them; warn of few slices."""
    if params.method not in FEW_SLICES:
        return {}
    voxel = voxel_um(stack)
    lateral = params.diameter_um
    if lateral == "estimated":
        middle = {
            dim: slice(max(0, (n - side) // 2), max(0, (n - side) // 2) + side)
            for dim, n, side in zip("zyx", stack.shape, SIDE_PX, strict=True)
        }
        with as_data_error("structure"):
            estimate = estimate_diameter(
                stack.isel(middle).values, voxel_um=voxel, elongation=params.elongation
            )
        lateral = estimate.diameter_um[1]
    axial = lateral * params.elongation
    if stack.sizes["z"] == 1:
        warnings.warn(
            "the structural stack has one slice; nuclei are three-dimensional, and what is found "
            "here are their sections",
            stacklevel=3,
        )
    elif axial / voxel[0] < FEW_SLICES[params.method]:
        warnings.warn(
            f"slices are {voxel[0]:.3g} um apart, {axial / voxel[0]:.2g} to a nucleus of "
            f"{axial:.3g} um along z; many will be missed or joined below "
            f"{FEW_SLICES[params.method]:g}",
            stacklevel=3,
        )
    return {"voxel_um": voxel, "diameter_um": (axial, lateral, lateral)}


def _check_shape(array: xr.DataArray, structure: Volume, name: str, like: str) -> None:
    if array.shape != structure.shape:
        raise DataError(
            f"The {name} has shape {array.shape} and the {like} {structure.shape}; give the "
            f"{name} that belongs to it.",
            code="E_SHAPE",
        )


def _check_given(given: Given, params: SegmentNuclei) -> None:
    """Refuse what is no stack, model or labels, or does not go with the method."""
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
    method = params.method
    wanted = {"network": NucleusNetwork, "cellpose": CellposeNetwork}.get(method)
    if method == "cellpose" and model is None:
        raise SettingsError(
            'segment_nuclei.method is "cellpose", which needs a network: fill in [model] path '
            "(on the command line --model)."
        )
    if model is not None and (wanted is None or not isinstance(model, wanted)):
        kind = "cellpose" if isinstance(model, CellposeNetwork) else "network"
        raise SettingsError(
            f'The model is one of method "{kind}", and segment_nuclei.method is "{method}"; '
            f'set method = "{kind}", or leave the model out.'
        )
    if (labels is None) == (method == "import"):
        raise SettingsError(
            'Labels and segment_nuclei.method = "import" go together: fill in [labels] path (on '
            f"the command line --labels) for that method, and leave it empty for others; it is "
            f'"{method}".'
        )


def _described(value: object) -> str:
    """Return what an object is, for a sentence."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    return type(value).__name__ + ("" if shape is None else f" of {dtype}, shape {shape}")
