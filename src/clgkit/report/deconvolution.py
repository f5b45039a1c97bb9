"""What the deconvolution did to the structure: pictures, bright and dim things, invented ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import NullFormatter

from clgkit.report import sampling
from clgkit.report.drawing import BLUE, GREEN, MUTED, ORANGE, RED, grid, image, png, svg
from clgkit.report.images import CROP_PX, shown_slice, slider, view_of
from clgkit.report.markup import (
    DASH,
    Markup,
    absent,
    counted,
    figure,
    join,
    markup,
    number,
    paragraph,
    row,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from clgkit.report.results import Results

HALF = 0.5
LEAST = 1e-4  # of the brightest bead: what is drawn at the bottom
STEPS = ("before", "denoised", "sharpened")


def deconvolution(results: Results) -> Markup:
    """Show what the deconvolution did; nothing where the run has none."""
    made = results.array("deconvolve.deconvolved")
    if made is None:
        return Markup("")
    summary = results.values("deconvolve.summary")
    if not summary:
        return absent("Every voxel of the stack is the same, so nothing was deconvolved.")
    return join([pictures(results, made), quality(summary)])


def pictures(results: Results, made: xr.DataArray) -> Markup:
    """Compare the stack before and after, from above and from the side."""
    raw = results.raw("structure")
    if raw is None or raw.shape != made.shape:
        return paragraph("The raw stack is not at hand to compare with the deconvolved one.")
    offset = float(results.setting("deconvolve", "offset") or 0)
    z = shown_slice(results, made.sizes["z"])
    crop = {dim: sampling.middle(made.sizes[dim], CROP_PX) for dim in ("y", "x")}
    y = made.sizes["y"] // 2
    above: dict[str, Any] = {"z": z, **crop}
    side: dict[str, Any] = {"y": y, "x": crop["x"]}
    pairs = [
        (_pixels(raw.isel(at)) - offset, _pixels(made.isel(at)), view_of(made.isel(part), *axes))
        for at, part, axes in (
            (above, crop, ("y", "x")),
            (side, {"x": crop["x"]}, ("z", "x")),
        )
    ]
    shown = [
        slider(*_on_one_scale(before, after, what), ("raw", "deconvolved"), view)
        for (before, after, view), what in zip(pairs, (f"slice {z}", "the side"), strict=True)
    ]
    seen_above = (
        f"Slice {z}, raw and deconvolved, on one grey scale. Drag the line. Noise should go and "
        "nuclei stay: spots that only the right side shows are invented, and dim nuclei that only "
        "the left side shows are lost."
    )
    seen_side = (
        f"The same from the side (xz, row {y}), depth downwards. Nothing is sharpened along z, so "
        "nuclei keep their length there."
    )
    return row(figure(shown[0], seen_above), figure(shown[1], seen_side))


def _pixels(array: xr.DataArray) -> npt.NDArray[np.float64]:
    return np.asarray(array.values, np.float64)


def _on_one_scale(
    before: npt.NDArray[np.float64], after: npt.NDArray[np.float64], what: str
) -> tuple[Markup, Markup]:
    low, high = sampling.levels(before, after)
    return (
        image(png(sampling.as_grey(before, low, high)), f"Raw stack, {what}"),
        image(png(sampling.as_grey(after, low, high)), f"Deconvolved stack, {what}"),
    )


def quality(summary: Mapping[str, Any]) -> Markup:
    """Draw what the settings do to beads, to the stack's bright spots and to an empty field."""

    def draw(made: Figure) -> None:
        beads, gains, empty = made.subplots(1, 3, width_ratios=[1.3, 1, 1])
        _draw_beads(beads, summary)
        _draw_gains(gains, summary)
        _draw_empty(empty, summary)

    dim, bright = summary["gain_of_dim_spots"], summary["gain_of_bright_spots"]
    believed = counted(summary["noise_spots_believed"], "spot")
    caption = markup(
        "<strong>Left:</strong> simulated beads without noise, by their brightness over the scale; "
        "below the grey line dim things lose more than bright ones. <strong>Middle:</strong> what "
        "the {spots} of this stack keep: the dimmest tenth {dim}, the brightest {bright}. "
        "<strong>Right:</strong> an empty field with the noise of this stack (level {level}, sd "
        "{sd}). Spots that stand out of its raw noise: {before} before and {after} after. To a "
        "program that takes the noise from the result it would show {believed}, so "
        "segment_nuclei takes it from the raw stack. Grain (sd over mean): {grain}.",
        spots=counted(summary["n_spots"], "bright spot"),
        dim=_percent(dim),
        bright=_percent(bright),
        level=number(summary["dark_level"]),
        sd=number(summary["noise_sd"]),
        before=number(summary["noise_spots_before"]),
        after=number(summary["noise_spots_after"]),
        believed=believed,
        grain=", ".join(
            f"{number(value)} {step}"
            for step, value in zip(STEPS, summary["noise_grain"], strict=True)
            if step != STEPS[2] or _is_sharpened(summary)
        ),
    )
    alt = (
        f"The dimmest tenth of bright spots keeps {_percent(dim)}, the brightest {_percent(bright)}"
    )
    return figure(svg(draw, name="deconvolution", alt=alt, height_in=2.7), caption, kind="wide")


def _percent(share: float | None) -> str:
    return DASH if share is None else f"{100 * share:.0f} %"


def _is_sharpened(summary: Mapping[str, Any]) -> bool:
    return bool(summary["bead_deconvolved"] != summary["bead_denoised"])


def _draw_beads(axes: Axes, summary: Mapping[str, Any]) -> None:
    amplitude = np.asarray(summary["bead_amplitude"], np.float64)
    axes.plot(amplitude, amplitude, color=MUTED, linewidth=0.8)
    curves = [("bead_denoised", "denoised", BLUE, "o-")]
    if _is_sharpened(summary):
        curves.append(("bead_deconvolved", "sharpened", ORANGE, "s-"))
    for key, label, colour, style in curves:
        peak = np.maximum(amplitude * np.asarray(summary[key], np.float64), LEAST)
        axes.plot(amplitude, peak, style, color=colour, markersize=4, label=label)
    axes.set(
        xscale="log", yscale="log", xlabel="peak before", ylabel="peak after",
        title="Brightness in and out",
    )  # fmt: skip
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    grid(axes, "both")
    axes.legend(loc="lower right")


def _draw_gains(axes: Axes, summary: Mapping[str, Any]) -> None:
    values = [summary["gain_of_dim_spots"], summary["gain_of_bright_spots"]]
    heights = [0.0 if value is None else value for value in values]
    colours = [RED if 0 < heights[0] < HALF else GREEN, BLUE]
    bars = axes.bar(["dimmest\ntenth", "brightest\ntenth"], heights, color=colours, width=0.6)
    axes.bar_label(bars, labels=[_percent(value) for value in values], label_type="center")
    axes.axhline(1, color=MUTED, linewidth=0.8)
    axes.set_ylim(0, 1.2 * max(1.0, *heights))
    axes.set_title("Brightness kept")


def _draw_empty(axes: Axes, summary: Mapping[str, Any]) -> None:
    keys = ("noise_spots_before", "noise_spots_after", "noise_spots_believed")
    counts = [summary[key] for key in keys]
    names = ["before", "after", "after, by\nits own noise"]
    bars = axes.bar(names, counts, color=[MUTED, BLUE, ORANGE], width=0.6)
    axes.bar_label(bars, labels=[f"{count:,}" for count in counts], padding=2)
    axes.set_ylim(0, 1.2 * max(1, *counts))
    axes.set_title("Spots in an empty field")
