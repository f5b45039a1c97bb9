"""3-D identity of every nucleus."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from clgkit.params import Params
from clgkit.segmentation.cellpose import options_like
from clgkit.segmentation.cellpose_network import CellposeNetwork
from clgkit.segmentation.cellpose_tiles import Tiling
from clgkit.segmentation.chains import ChainRule
from clgkit.segmentation.network import shipped_network
from clgkit.segmentation.network_objects import MIN_PEAK, MIN_PROBABILITY, MIN_VOLUME_SHARE
from clgkit.stages._segment_checks import Given, Model, check_given, size_of, warn_of_doubts
from clgkit.stages._segment_classical import ClassicalNumbers, find_classical
from clgkit.stages._segment_found import Found, summary_of, table_of
from clgkit.stages._segment_network import NetworkNumbers, find_by_network
from clgkit.stages._segment_sections import SectionNumbers, find_by_cellpose, find_imported
from clgkit.workspace import Workspace

if TYPE_CHECKING:
    import xarray as xr

    from clgkit.data import Labels, Volume

CORE_PX = {"z": 64, "y": 256, "x": 256}
SLAB_PX = 16
"""Most slices that a network predicts together."""

Method = Literal["network", "classical", "cellpose", "import"]
Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, lt=1)]

SECTIONS = ("cellpose", "import")
USED_BY: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(["min_probability", "min_peak"], ("network",)),
    **dict.fromkeys(["noise_factor", "peak_share", "height_share"], ("classical",)),
    "min_volume_share": ("network", "classical"),
    **dict.fromkeys(["preset", "section_diameter_um", "n_steps", "augment"], ("cellpose",)),
    **dict.fromkeys(["cellprob_threshold", "flow_threshold"], ("cellpose",)),
    "min_section_px": SECTIONS,
    **dict.fromkeys(["stitch", "stitch_iou"], SECTIONS),
}
CHAIN_ONLY = (
    "bridge_iou", "bridge_area_share", "waist", "waist_of_long", "long_chain", "too_long_chain",
    "min_chain_share",
)  # fmt: skip
JOINING = {"min_section_px", "stitch", "stitch_iou", *CHAIN_ONLY}
"""What makes nuclei of sections."""


class SegmentNuclei(Params):
    """Settings of :func:`segment_nuclei`."""

    method: Method = "network"
    """The network that comes with clgkit (or one like it, from `[model]`), the classical method,
    a Cellpose 2 or 3 network from `[model]`, or labels made elsewhere from `[labels]`."""
    diameter_um: Literal["estimated"] | PositiveFloat = 6.0
    """Lateral diameter of a nucleus in micrometres; "estimated" takes it from the stack."""
    elongation: PositiveFloat = 2.0
    """How many times longer than wide the optics make a nucleus along z."""
    min_volume_share: Share = MIN_VOLUME_SHARE
    """Methods network, classical: objects smaller than this share of an ellipsoid of the given
    diameter are dropped.  Of what a face of the stack cuts a sixth is enough for the network."""
    min_probability: Positive = MIN_PROBABILITY
    """Method network: voxels of a lower probability are background."""
    min_peak: Share = MIN_PEAK
    """Method network: least depth of a seed, where the middle of a whole nucleus has 1; on a face
    of the stack 0.45 of it."""
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
    n_steps: PositiveInt | None = None
    """Method cellpose: steps along the flows (its `niter`); 200 at the network's scale, if not
    given."""
    augment: bool = False
    """Method cellpose: four overlapping, flipped looks at every pixel instead of one, at four times
    the cost."""
    min_section_px: Annotated[int, Field(ge=0)] = 15
    """Method cellpose: smaller sections are dropped; with Cellpose's stitching, smaller nuclei (of
    imported sections, too)."""
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
        changed = self.changed
        problems = [
            f"{name} belongs to method {' or '.join(USED_BY[name])}, and method is {self.method!r}"
            for name in changed
            if self.method not in USED_BY.get(name, (self.method,))
        ]
        if "min_section_px" in changed and (self.method, self.stitch) == ("import", "chain"):
            problems.append(
                "min_section_px belongs to method cellpose, or to stitch 'cellpose', and method is "
                "'import' and stitch 'chain'"
            )
        for name in changed & set(CHAIN_ONLY):
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
    def changed(self) -> set[str]:
        """The settings that are not at their defaults."""
        return {
            name for name, field in type(self).model_fields.items()
            if getattr(self, name) != field.default
        }  # fmt: skip

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
            n_steps=self.n_steps,
            tiling=Tiling(augment=self.augment),
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
        If `structure` is no volume, holds NaN, is narrower than 16 pixels, or a nucleus would be
        less than 4 or more than 40 pixels across; if `raw` or `labels` are no volume or have
        another shape; if `model` is no network.
    SettingsError
        If the method and what was given do not go together.

    Warns
    -----
    UserWarning
        If there is no nucleus, slices are too few or too far apart, or many nuclei are suspect or
        look much larger or smaller than the diameter that is said.

    Notes
    -----
    The run folder keeps the steps too: the network's maps ``foreground`` and ``distance``, and
    ``sections`` of Cellpose.
    """
    given = Given(structure, raw, model, labels)
    check_given(given, params.method, joining=params.changed & JOINING)
    seen = given.seen_by(params.method)
    size = size_of(seen, params.method, lateral=params.diameter_um, elongation=params.elongation)
    found = _find(given, params, size, workspace or Workspace())
    nuclei = table_of(found)
    if nuclei.sizes["nucleus"] == 0:
        warnings.warn("no nucleus was found; all later results are empty", stacklevel=2)
    elif size:
        warn_of_doubts(seen, nuclei, size, is_estimated=params.diameter_um == "estimated")
    diameter = [float(d) for d in size["diameter_um"]] if size else None
    facts = {
        "method": params.method,
        "diameter_um": diameter,
        "is_estimated": bool(size) and params.diameter_um == "estimated",
        **summary_of(found, nuclei),
    }
    return NucleiSegmented(found.labels, found.seeds, nuclei, facts)


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
