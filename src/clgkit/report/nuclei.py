"""The nuclei that were found: outlines, sizes, density, how sure each is, and which are suspect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from clgkit.report import sampling
from clgkit.report.drawing import BLUE, ORANGE, RED, grid, svg
from clgkit.report.images import CROP_PX, OUTLINE, is_crop, overlay, shown_slice, view_of
from clgkit.report.markup import (
    Markup,
    absent,
    counted,
    figure,
    folded,
    join,
    number,
    paragraph,
    row,
    table,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from clgkit.report.results import Results

    Columns = Mapping[str, npt.NDArray[np.float64]]

SUSPECT = (213, 94, 0)
DEPTHS = (1 / 8, 3 / 8, 5 / 8, 7 / 8)
SHEET_PX = 144
ENLARGED = 3
WORST = 20
BINS = 40
LEAST_BIN_UM = 4.0
REASONS = {"small": "too small", "large": "too large", "unsure": "low confidence"}


def nuclei(results: Results) -> Markup:
    """Show the nuclei in pictures and numbers."""
    labels = results.array("segment_nuclei.labels")
    base = _base(results)
    if labels is None or base is None or not labels.size:
        return absent("There are no nuclei to show.")
    found = columns_of(results)
    parts = [outlined(results, labels, base), sheet(labels, base, suspects(found))]
    if found and found["nucleus"].size:
        parts += [distributions(results, labels, found), flagged(results, found)]
    return join(parts)


def _base(results: Results) -> xr.DataArray | None:
    """Return the pictures that outlines are drawn on."""
    base = results.array("normalize_contrast.normalized")
    return results.raw("structure") if base is None else base


def columns_of(results: Results) -> Columns:
    """Return the table of nuclei by column, the labels and their places too; empty if missing."""
    made = results.array("segment_nuclei.nuclei")
    names = results.values("segment_nuclei.summary").get("measures", [])
    if made is None or len(names) != made.shape[-1]:
        return {}
    values = np.asarray(made.values, np.float64)
    places = {name: made.coords[name].values for name in ("nucleus", "z", "y", "x")}
    return places | {name: values[:, k] for k, name in enumerate(names)}


def suspects(found: Columns) -> npt.NDArray[np.int64]:
    """Return the labels that are too small, too large, or of low confidence."""
    if not found:
        return np.empty(0, np.int64)
    marked = np.any([found[name] > 0 for name in REASONS], axis=0)
    return found["nucleus"][marked].astype(np.int64)


def outlined(results: Results, labels: xr.DataArray, base: xr.DataArray) -> Markup:
    """Draw the outlines on the structure, from above and from the side."""
    z = shown_slice(results, labels.sizes["z"])
    crop = {dim: sampling.middle(labels.sizes[dim], CROP_PX) for dim in ("y", "x")}
    y = labels.sizes["y"] // 2
    above = overlay(
        np.asarray(base.isel({"z": z, **crop}).values),
        labels.isel({"z": z, **crop}).values,
        view_of(base.isel(crop), "y", "x"),
        f"Outlines of nuclei on structural slice {z}",
    )
    side = overlay(
        np.asarray(base.isel(y=y, x=crop["x"]).values),
        labels.isel(y=y, x=crop["x"]).values,
        view_of(base.isel(x=crop["x"]), "z", "x"),
        "Outlines of nuclei on a section from the side",
    )
    part = "the middle of the field" if is_crop(labels, crop) else "the whole field"
    n_shown = int(np.count_nonzero(np.unique(labels.isel({"z": z, **crop}).values)))
    seen_above = (
        f"Slice {z}, {part}: {counted(n_shown, 'nucleus', 'nuclei')}. Every nucleus should have "
        "one outline; two nuclei in one outline, or one in two, change the count of neurons."
    )
    seen_side = (
        f"The same from the side (xz, row {y}); depth runs downwards, in true proportion. Nuclei "
        "look longer along z because of the optics; they should not be cut in two or chained."
    )
    return row(figure(above, seen_above), figure(side, seen_side))


def sheet(labels: xr.DataArray, base: xr.DataArray, marked: npt.NDArray[np.int64]) -> Markup:
    """Draw small overlays at several depths and rows; suspect nuclei have another colour."""
    crop = {dim: sampling.middle(labels.sizes[dim], SHEET_PX) for dim in ("y", "x")}
    slices = [int(share * labels.sizes["z"]) for share in DEPTHS]
    rows = [int(share * labels.sizes["y"]) for share in DEPTHS]
    cuts: list[list[tuple[str, dict[str, Any]]]] = [
        [(f"slice {z}", {"z": z, **crop}) for z in slices],
        [(f"row {y} (xz)", {"y": y, "x": crop["x"]}) for y in rows],
    ]
    above, side = (view_of(base.isel(crop), *dims) for dims in (("y", "x"), ("z", "x")))
    heights = [max(0.15, view.height_um / view.width_um) for view in (above, side)]

    def draw(made: Figure) -> None:
        panels = made.subplots(2, len(DEPTHS), height_ratios=heights, squeeze=False)
        for line, of_line, view in zip(panels, cuts, (above, side), strict=True):
            for panel, (title, cut) in zip(line, of_line, strict=True):
                extent = (0, view.width_um, view.height_um, 0)
                picture = painted(base.isel(cut).values, labels.isel(cut).values, marked)
                panel.imshow(picture, extent=extent, aspect="equal")
                panel.set(title=title, xticks=[], yticks=[])

    caption = (
        f"The middle of the field at {len(DEPTHS)} depths, and from the side at {len(DEPTHS)} "
        f"rows; {number(above.width_um)} µm wide, in true proportion. Suspect nuclei are in red, "
        "all others in yellow. Look for depths at which nuclei are missed or joined."
    )
    drawn = svg(
        draw,
        name="nuclei_sheet",
        alt="Outlines of nuclei at several depths, from above and from the side",
        height_in=0.9 + 2.1 * sum(heights),
    )
    return figure(drawn, caption)


def painted(
    base: npt.NDArray[Any], labels: npt.NDArray[np.integer[Any]], marked: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint8]:
    """Return (Y, X, 3) colours: the image in grey with the rims of labels."""
    pixels = np.asarray(base, np.float64)
    grey = sampling.as_grey(pixels, *sampling.levels(pixels))
    large, ids = (np.repeat(np.repeat(a, ENLARGED, 0), ENLARGED, 1) for a in (grey, labels))
    rims = sampling.outlines(labels, ENLARGED)
    colours = np.stack([large] * 3, axis=-1)
    colours[rims] = OUTLINE
    colours[rims & np.isin(ids, marked)] = SUSPECT
    return colours


def distributions(results: Results, labels: xr.DataArray, found: Columns) -> Markup:
    """Draw how sizes, density and confidence are distributed."""
    summary = results.values("segment_nuclei.summary")
    sure = {
        name: found[name][np.isfinite(found[name])] for name in ("probability", "peak")
    }  # fmt: skip
    shown = [name for name, values in sure.items() if values.size]

    def draw(made: Figure) -> None:
        panels = made.subplots(1, 2 + len(shown), squeeze=False)[0]
        _draw_sizes(panels[0], found)
        _draw_density(panels[1], labels, found)
        for panel, name in zip(panels[2:], shown, strict=True):
            edges = np.linspace(0, max(1.0, float(sure[name].max())), BINS).tolist()
            panel.hist(sure[name], bins=edges, color=BLUE)
            panel.set(title=LABELLED[name], xlabel=AXES[name], ylabel="nuclei")
            grid(panel)

    drawn = svg(
        draw, name="nuclei_sizes", alt="Distributions of volume, density, confidence", height_in=2.6
    )
    return figure(drawn, _said(summary, known=bool(shown)))


LABELLED = {"probability": "Probability", "peak": "Depth of the middle"}
AXES = {"probability": "mean foreground probability", "peak": "1 is a whole nucleus"}


def _said(summary: Mapping[str, Any], *, known: bool) -> str:
    diameter = summary.get("diameter_um")
    how = f"Method {summary.get('method')}"
    if diameter:
        estimated = "estimated" if summary.get("is_estimated") else "given"
        how += f", for nuclei of {number(diameter[2])} µm ({number(diameter[0])} µm along z)"
        how += f", a diameter that was {estimated}"
    said = (
        f"{how}: {counted(summary['n_nuclei'], 'nucleus', 'nuclei')}, "
        f"{number(summary.get('density_per_1e6_um3'))} in 10⁶ µm³ of the stack, of which they fill "
        f"{number(100 * (summary.get('filled_share') or 0), 2)} %; the median volume is "
        f"{number(summary.get('median_volume_um3'))} µm³. The dashed lines are 0.12 and 5 times "
        "that. A second hump at half or twice the median means nuclei cut in two or joined."
    )
    if known:
        said += (
            " Confidence is the network's own opinion, not a measured error: many nuclei of low "
            "confidence mean that the stack is unlike those it was trained on."
        )
    return said


def _draw_sizes(panel: Axes, found: Columns) -> None:
    volume = found["volume_um3"]
    usual = float(np.median(volume))
    low, high = min(float(volume.min()), 0.1 * usual), max(float(volume.max()), 6 * usual)
    panel.hist(volume, bins=np.geomspace(low, high, BINS).tolist(), color=BLUE)
    panel.axvline(usual, color=ORANGE)
    for share in (0.12, 5):
        panel.axvline(share * usual, color=RED, linestyle="--")
    panel.set(title="Volume", xlabel="µm³", ylabel="nuclei", xscale="log")
    panel.xaxis.set_major_formatter("{x:g}")
    panel.xaxis.set_minor_formatter("")
    grid(panel)


def _draw_density(panel: Axes, labels: xr.DataArray, found: Columns) -> None:
    """Draw nuclei per million cubic micrometres along depth, by the centres."""
    view = {dim: view_of(labels, "z", dim).width_um for dim in ("y", "x")}
    depth = view_of(labels, "z", "x").height_um
    first = float(labels.coords["z"].values[0]) if "z" in labels.coords else 0.0
    n_bins = int(np.clip(depth / LEAST_BIN_UM, 1, BINS))
    edges = first + np.linspace(0, depth, n_bins + 1)
    counts = np.histogram(found["z"], edges)[0]
    slab_um3 = depth / n_bins * view["y"] * view["x"]
    panel.stairs(1e6 * counts / slab_um3, edges, color=BLUE)
    panel.set(title="Density", xlabel="z [µm]", ylabel="nuclei in 10⁶ µm³", ylim=(0, None))
    grid(panel)


def flagged(results: Results, found: Columns) -> Markup:
    """Count the suspect nuclei, and list the worst."""
    counts = results.values("segment_nuclei.summary").get("flagged", {})
    n_border = counts.get("on_border", 0)
    said = [f"{number(counts.get(name, 0))} {why}" for name, why in REASONS.items()]
    touching = f"{counted(n_border, 'nucleus touches', 'nuclei touch')} a face of the stack."
    marked = np.flatnonzero(np.any([found[name] > 0 for name in REASONS], axis=0))
    if not marked.size:
        return paragraph(f"No nucleus is suspect by its size or confidence. {touching}")
    order = marked[np.argsort(-badness(found)[marked], kind="stable")][:WORST]
    columns = (
        "Nucleus#", "z [µm]#", "y [µm]#", "x [µm]#", "Volume [µm³]#", "Probability#", "Middle#",
        "Why",
    )  # fmt: skip
    rows = [_row(found, k) for k in order]
    title = (
        f"{counted(marked.size, 'suspect nucleus', 'suspect nuclei')}: {', '.join(said)}. "
        f"{touching} The worst {len(rows)}:"
    )
    return folded(title, table(columns, rows), is_open=marked.size <= WORST)


def badness(found: Columns) -> npt.NDArray[np.float64]:
    """Return how far each nucleus is from what it should be: in its size and its confidence."""
    volume = found["volume_um3"]
    away = np.abs(np.log(volume / np.median(volume)))
    doubt = np.maximum(1 - found["probability"], 1 - found["peak"])
    return np.asarray(away + np.nan_to_num(doubt), np.float64)


def _row(found: Columns, k: int) -> list[object]:
    why = [text for name, text in REASONS.items() if found[name][k] > 0]
    if found["on_border"][k] > 0:
        why.append("on the border")
    places = [number(float(found[dim][k])) for dim in "zyx"]
    measured = [
        number(float(found[name][k]), 2) for name in ("volume_um3", "probability", "peak")
    ]  # fmt: skip
    return [str(int(found["nucleus"][k])), *places, *measured, ", ".join(why)]
