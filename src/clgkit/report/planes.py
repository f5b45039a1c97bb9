"""Where every functional plane lies in the structural stack, and how sure that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.ticker import MaxNLocator

from clgkit import registration
from clgkit.report import images, sampling
from clgkit.report.drawing import BLUE, LINE, MUTED, ORANGE, RED, grid, image, png, svg
from clgkit.report.markup import (
    DASH,
    Markup,
    absent,
    counted,
    figure,
    folded,
    join,
    number,
    table,
)

if TYPE_CHECKING:
    import numpy.typing as npt
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from clgkit.report.results import Results

MANY_ROWS = 16
TILE_PX = 28
SHARE, P_VALUE = 0, 1
"""Columns of the shifted control."""
SURE_P = 0.01
FOUND = {1: "yes", 0: "no", -1: "field too small to tell"}


def coverage(results: Results) -> Markup:
    """Draw which structural slice every functional plane shows, and how sure that is."""
    planes = results.array("align_planes.planes")
    scores = results.array("align_planes.scores")
    if planes is None or scores is None or not scores.size:
        return absent("The planes were not matched with the structural stack.")
    chosen = planes.values
    given = np.flatnonzero((planes.coords["given"].values > 0) & (chosen >= 0))

    def draw(made: Figure) -> None:
        panel, heat = made.subplots(1, 2, width_ratios=[1, 1.7])
        known = np.flatnonzero(chosen >= 0)
        panel.plot(known, chosen[known], "-", color=MUTED, linewidth=0.8)
        dots = panel.scatter(
            known,
            chosen[known],
            c=planes.coords["score"].values[known],
            cmap="viridis",
            s=34,
            edgecolors=MUTED,
            linewidths=0.6,
            zorder=3,
        )
        panel.set(xlabel="plane (from 0)", ylabel="slice (from 0)", title="Slice of every plane")
        panel.set_ylim(scores.sizes["slice"] - 0.5, -0.5)
        grid(panel)
        made.colorbar(dots, ax=panel, label="correlation")
        drawn = heat.imshow(scores.values.T, aspect="auto", cmap="cividis")
        heat.plot(known, chosen[known], "o", markerfacecolor="none", color=RED, markersize=6)
        heat.plot(given, chosen[given], "s", markerfacecolor="none", color=ORANGE, markersize=10)
        heat.set(xlabel="plane (from 0)", ylabel="slice (from 0)", title="All slices tried")
        made.colorbar(drawn, ax=heat, label="correlation")
        for axes in (panel, heat):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.yaxis.set_major_locator(MaxNLocator(integer=True))

    drawn = svg(draw, name="coverage", alt="Slice of every plane and scores", height_in=3.5)
    n_left = int((chosen < 0).sum())
    caption = (
        "Left: the structural slice that fits each functional plane best. Right: the correlation "
        "with every slice; the circles mark the choice"
        + (", squares those that a plane map gave. " if len(given) else ". ")
        + "There should be one bright spot per plane, on a line that never turns back. A pale "
        "column means a plane that could be anywhere."
        + (f" {counted(n_left, 'plane')} without a slice." if n_left else "")
        + _tilted(planes)
    )
    return join([figure(drawn, caption), _table(results, planes)])


def _tilted(planes: xr.DataArray) -> str:
    """Return a sentence about the tilt, if there is any."""
    y, x = (float(_column(planes, f"tilt_{axis}_slices")[:1].sum()) for axis in "yx")
    if not y and not x:
        return ""
    return (
        f" The planes lie askew: the last row is {number(y, 2)} slices deeper than the first, the "
        f"last column {number(x, 2)}; labels were cut along them."
    )


def _column(planes: xr.DataArray, name: str) -> npt.NDArray[Any]:
    """Return a coordinate of the planes; NaN (or 0 for a tilt) where it was not noted."""
    if name in planes.coords:
        return np.asarray(planes.coords[name].values)
    return np.full(planes.sizes["z"], 0.0 if name.startswith("tilt") else np.nan)


def _table(results: Results, planes: xr.DataArray) -> Markup:
    rois = results.array("extract_traces.rois")
    count = np.zeros(planes.sizes["z"], np.int64)
    if rois is not None:
        count += np.bincount(rois.coords["plane"].values, minlength=len(count))
    lost = results.failed_planes()
    known = {
        name: _column(planes, name)
        for name in ("score", "chance", "found", "confidence", "shift_y_px", "shift_x_px",
                     "residual_px", "given")
    }  # fmt: skip
    rows = [
        [
            plane,
            int(chosen) if chosen >= 0 else "none",
            number(known["score"][plane], 2),
            number(known["chance"][plane], 2),
            FOUND.get(int(np.nan_to_num(known["found"][plane], nan=-2)), DASH),
            _sure(float(known["confidence"][plane])),
            f"{number(known['shift_y_px'][plane], 2)}, {number(known['shift_x_px'][plane], 2)}",
            number(known["residual_px"][plane], 2),
            "given" if known["given"][plane] else "found",
            int(count[plane]),
            "left out" if plane in lost else "",
        ]
        for plane, chosen in enumerate(planes.values)
    ]
    columns = ["plane#", "slice#", "correlation#", "by chance#", "in the stack", "confidence#",
               "offset y, x [px]#", "left over [px]#", "slice was", "ROIs#", ""]  # fmt: skip
    made = table(columns, rows)
    if len(rows) <= MANY_ROWS:
        return made
    return folded(f"Table of all {len(rows)} planes", made)


def _sure(confidence: float) -> str:
    return "certain" if np.isposinf(confidence) else number(confidence, 2)


def overlay(results: Results) -> Markup:
    """Lay a plane and its slice on each other in tiles, before and after registration."""
    planes, maps = results.array("align_planes.planes"), results.array("align_planes.maps")
    template, slices = results.array("correct_motion.template"), _structure(results)
    if planes is None or maps is None or template is None or slices is None:
        return absent("There is no plane to lay on its slice.")
    plane = images.shown_plane(results, planes.sizes["z"])
    chosen = int(planes.values[plane])
    if chosen < 0:
        return absent(f"Plane {plane} has no slice to be laid on.")
    crop = {dim: sampling.middle(template.sizes[dim], images.CROP_PX) for dim in ("y", "x")}
    seen = template.isel({"z": plane, **crop}).values
    start = [crop[dim].start for dim in ("y", "x")]
    offset = maps.isel({"z": plane, **crop}).values
    ratio = [slices.sizes[dim] / template.sizes[dim] for dim in ("y", "x")]
    still = registration.plane_to_slice(np.zeros(2), pixel_ratio=(ratio[0], ratio[1]))
    here = np.indices(seen.shape).transpose(1, 2, 0) + start
    before = _section(slices, np.full(seen.shape, chosen), here @ still[:, :2].T + still[:, 2])
    after = _section(slices, chosen + offset[..., 0], here + offset[..., 1:])
    shown = images.slider(
        _tiles(seen, before, f"Plane {plane} and slice {chosen} in tiles, unregistered"),
        _tiles(seen, after, "The same tiles, registered"),
        ("unregistered", "registered"),
        images.view_of(template.isel(crop), "y", "x"),
    )
    return figure(
        shown,
        f"Functional plane {plane} and structural slice {chosen} in alternating tiles. Drag the "
        "line. On the right cells and edges of the tissue should run on across the borders of the "
        "tiles; rings of the indicator should close round the nuclei of the other channel.",
    )


def _structure(results: Results) -> xr.DataArray | None:
    raw = results.raw("structure")
    return results.array("normalize_contrast.normalized") if raw is None else raw


def _section(
    slices: xr.DataArray, depth: npt.NDArray[Any], where: npt.NDArray[Any]
) -> npt.NDArray[np.float32]:
    """Read the stack at some places, each in the nearest slice; NaN outside."""
    nearest = np.floor(np.nan_to_num(depth, nan=-1, posinf=-1, neginf=-1) + 0.5).astype(np.int64)
    offset = np.asarray(where - np.indices(depth.shape).transpose(1, 2, 0), np.float64)
    made = np.full(depth.shape, np.nan, np.float32)
    for z in np.unique(nearest):
        if 0 <= z < slices.sizes["z"]:
            read = registration.warp_image(slices.isel(z=int(z)).values, offset)
            made = np.where(nearest == z, read, made)
    return made


def _tiles(first: npt.NDArray[Any], second: npt.NDArray[Any], alt: str) -> Markup:
    """Return a checkerboard of two pictures, each with grey levels of its own."""
    row, column = np.indices(first.shape) // TILE_PX
    greys = [
        sampling.as_grey(picture, *sampling.levels(np.asarray(picture, np.float64)))
        for picture in (first, second)
    ]
    return image(png(np.where((row + column) % 2 == 0, *greys)), alt)


def drift(results: Results) -> Markup:
    """Draw how far every plane drifts along z."""
    found = results.array("align_planes.z_drift")
    if found is None or not found.size:
        return absent("Drift along z was not measured (align_planes.drift_bin_s is not set).")
    values, time = np.asarray(found.values, np.float64), found.coords["time"].values
    too_far = np.flatnonzero(found.coords["exceeds"].values.any(axis=0))
    colours = mpl.colormaps["viridis"](np.linspace(0.2, 0.8, max(values.shape[1], 1)))

    def draw(made: Figure) -> None:
        panel = made.subplots()
        for plane, colour in enumerate(colours[: values.shape[1]]):
            panel.plot(time, values[:, plane], ".-", color=colour, linewidth=0.9)
        panel.axhline(0, color=LINE, zorder=0)
        panel.set(xlabel="time [s]", ylabel="depth [um]", title="Drift along z")
        grid(panel)

    judged = (
        f"{counted(len(too_far), 'plane')} ({', '.join(map(str, too_far))}) went farther than half "
        "a slice: there a trace may follow the drift instead of the activity."
        if len(too_far)
        else "No plane went farther than half a slice."
    )
    caption = (
        "Depth of every plane in the course of time, from its median, by the slices that fit the "
        f"means of bins of frames (dark: first plane, light: last). {judged}"
    )
    return figure(
        svg(draw, name="drift", alt="Line plot of depth over time", height_in=2.4), caption
    )


def control(results: Results) -> Markup:
    """Draw how the labels of every plane fare against themselves, moved aside."""
    found = results.array("extract_traces.control")
    if found is None or not found.size:
        return absent("The labels were not held against themselves, moved aside.")
    values = np.asarray(found.values, np.float64)
    tested = np.isfinite(values[:, SHARE])
    doubtful = np.flatnonzero(tested & ~(values[:, P_VALUE] < SURE_P))

    def draw(made: Figure) -> None:
        panel: Axes = made.subplots()
        plane = np.arange(len(values))
        sure = tested & (values[:, P_VALUE] < SURE_P)
        for which, colour in ((sure, BLUE), (tested & ~sure, RED)):
            panel.plot(plane[which], values[which, SHARE], "o", color=colour)
        panel.axhline(0.5, color=MUTED, linestyle="--", linewidth=0.8)
        panel.set(xlabel="plane (from 0)", ylabel="share of labels", title="Shifted control")
        panel.set(xlim=(-0.5, len(values) - 0.5), ylim=(0.4, 1.03))
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        grid(panel)

    judged = (
        f" Red: {counted(len(doubtful), 'plane')} no better than chance (p ≥ {SURE_P:g})."
        if len(doubtful)
        else ""
    )
    caption = (
        "Share of the labels of each plane that outline a cell of the mean image better than the "
        "same labels moved aside by a nucleus, in the median of eight directions. Chance is 0.5; a "
        f"plane that is registered comes close to 1.{judged}"
    )
    return figure(
        svg(draw, name="control", alt="Share of labels in place by plane", height_in=2.4), caption
    )
