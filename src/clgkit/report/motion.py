"""How well frames were put in place, and which slice every plane shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.ticker import MaxNLocator

from clgkit.registration import FrameCode
from clgkit.report import sampling
from clgkit.report.drawing import MUTED, RED, grid, svg
from clgkit.report.markup import Markup, absent, counted, figure, folded, join, number, table

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from clgkit.report.results import Results

COLUMNS = 900
MANY_ROWS = 16
MANY_LINES = 12
MANY_MARKS = 200


def shifts(results: Results) -> Markup:
    """Draw the displacement of every plane over time."""
    found = results.array("correct_motion.shifts")
    if found is None or not found.size:
        return absent("No shifts were computed.")
    values = np.asarray(found.values, np.float64)
    time = _times(found)
    planes = [p for p in range(values.shape[1]) if p not in results.failed_planes()]
    colours = mpl.colormaps["viridis"](np.linspace(0.2, 0.8, max(len(planes), 1)))

    many = len(planes) > MANY_LINES  # as pixels they take less room

    def draw(made: Figure) -> None:
        axes = made.subplots(2, 1, sharex=True)
        for axis, (panel, name) in enumerate(zip(axes, ("y (+ down)", "x (+ right)"), strict=True)):
            rows = sampling.bin_extremes(values[:, :, axis], COLUMNS)
            at = time[sampling.bin_edges(len(values), COLUMNS)]
            for colour, plane in zip(colours, planes, strict=True):
                panel.plot(at, rows[:, plane], color=colour, linewidth=0.8, rasterized=many)
            panel.set_ylabel(f"shift {name} [px]")
            panel.margins(x=0)
            grid(panel)
        axes[1].set_xlabel("time [s]")
        axes[0].set_title("Shift of every plane")

    largest = float(np.nanmax(np.abs(values), initial=0.0, where=np.isfinite(values)))
    limit = results.setting("correct_motion", "max_shift_px")
    caption = (
        "Shift applied to every frame, one line per plane (dark: first plane, light: last), in "
        f"functional pixels. The largest is {number(largest)} px"
        + (f"; {number(limit)} px were allowed. " if limit is not None else ". ")
        + "All planes should move together in slow drifts and short twitches; a line that jumps on "
        "its own, or sits at the limit, was not registered well."
    )
    return figure(
        svg(draw, name="shifts", alt="Line plots of shifts over time", height_in=3.6), caption
    )


def agreement(results: Results) -> Markup:
    """Draw the correlation of each corrected frame with its template, planes against time."""
    found = results.array("correct_motion.agreement")
    if found is None or not found.size:
        return absent("The agreement of frames with their template was not measured.")
    values = np.asarray(found.values, np.float64)
    lowest = -sampling.bin_means(-values.T, COLUMNS)
    bad = results.array("correct_motion.bad_frames")
    marks = np.zeros(values.shape, np.uint8) if bad is None else bad.values
    time = _times(found)
    low, high = _range(values)

    def draw(made: Figure) -> None:
        panel, profile = made.subplots(1, 2, width_ratios=[4, 1], sharey=True)
        step = time[1] - time[0] if len(time) > 1 else 1.0
        drawn = panel.imshow(
            lowest, aspect="auto", cmap="viridis", vmin=low, vmax=high,
            extent=(time[0], time[-1] + step, len(lowest) - 0.5, -0.5),
        )  # fmt: skip
        frame, plane = np.nonzero(marks)
        many = len(frame) > MANY_MARKS
        panel.plot(time[frame], plane, "x", color=RED, markersize=5, rasterized=many)
        panel.set(xlabel="time [s]", ylabel="plane (from 0)", title="Agreement with the template")
        panel.yaxis.set_major_locator(MaxNLocator(integer=True))
        made.colorbar(drawn, ax=panel, label="correlation", pad=0.01)
        with np.errstate(invalid="ignore"):
            _profile(profile, values)

    n_bad = int((marks > 0).any(axis=1).sum())
    bad_ones = (
        f"Red crosses: {counted(n_bad, 'bad frame')}, no part of the template and not moved."
        if n_bad
        else "There are no bad frames."
    )
    caption = (
        "Correlation of every corrected frame with the template of its plane. Dark stripes are "
        "moments that fit badly: motion along z, or tissue that changed. "
        f"{bad_ones} Right: median and 5 to 95 % of each plane."
    )
    height = 1.9 + 0.09 * min(len(lowest), 30)
    drawn = svg(draw, name="agreement", alt="Heat map of frame quality", height_in=height)
    return join([figure(drawn, caption), _bad_frames(marks)])


def _profile(panel: Axes, values: Any) -> None:
    rows = np.arange(values.shape[1])
    middle = [_percentiles(values[:, row]) for row in rows]
    panel.hlines(rows, [m[0] for m in middle], [m[2] for m in middle], color=MUTED)
    panel.plot([m[1] for m in middle], rows, "o", markersize=3.5, color=RED)
    panel.set_xlabel("correlation")


def _percentiles(column: Any) -> tuple[float, float, float]:
    good = column[np.isfinite(column)]
    if not good.size:
        return np.nan, np.nan, np.nan
    low, middle, high = np.percentile(good, [5, 50, 95])
    return float(low), float(middle), float(high)


def _bad_frames(codes: Any) -> Markup:
    rows = []
    for code in FrameCode:
        frames = np.flatnonzero((codes == code).any(axis=1))
        if code and len(frames):
            listed = ", ".join(map(str, frames[:20])) + (" …" if len(frames) > 20 else "")
            rows.append([code.name.lower().replace("_", " "), len(frames), listed])
    return table(["bad because", "frames#", "which (from 0)"], rows) if rows else Markup("")


def _times(array: xr.DataArray) -> Any:
    if "time" in array.coords:
        return np.asarray(array.coords["time"].values, np.float64)
    return np.arange(array.sizes["time"], dtype=np.float64)


def _range(values: Any) -> tuple[float, float]:
    good = values[np.isfinite(values)]
    if not good.size:
        return 0.0, 1.0
    low, high = np.percentile(good, [1, 99])
    return float(low), float(max(high, low + 1e-6))


def coverage(results: Results) -> Markup:
    """Draw which structural slice every functional plane shows, and how sure that is."""
    planes = results.array("align_planes.planes")
    scores = results.array("align_planes.scores")
    if planes is None or scores is None or not scores.size:
        return absent("The planes were not matched with the structural stack.")
    chosen = planes.values

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
        for axes in (panel, heat):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        grid(panel)
        made.colorbar(dots, ax=panel, label="correlation")
        drawn = heat.imshow(scores.values.T, aspect="auto", cmap="cividis")
        heat.plot(known, chosen[known], "o", markerfacecolor="none", color=RED, markersize=6)
        heat.set(xlabel="plane (from 0)", ylabel="slice (from 0)", title="All slices tried")
        made.colorbar(drawn, ax=heat, label="correlation")

    n_left = int((chosen < 0).sum())
    caption = (
        "Left: the structural slice that fits each functional plane best. Right: the correlation "
        "with every slice; the circles mark the choice. There should be one bright spot per plane, "
        "on a line that never turns back. A pale column means a plane that could be anywhere."
        + (f" {counted(n_left, 'plane')} without a slice." if n_left else "")
    )
    drawn = svg(draw, name="coverage", alt="Slice of every plane and scores", height_in=3.5)
    return join([figure(drawn, caption), _plane_table(results, planes)])


def _plane_table(results: Results, planes: xr.DataArray) -> Markup:
    rois = results.array("extract_traces.rois")
    count = np.zeros(planes.sizes["z"], np.int64)
    if rois is not None:
        count += np.bincount(rois.coords["plane"].values, minlength=len(count))
    lost = results.failed_planes()
    coords = {name: planes.coords[name].values for name in planes.coords}
    rows = [
        [
            plane,
            int(chosen) if chosen >= 0 else "none",
            number(coords["score"][plane], 2),
            _sure(float(coords["confidence"][plane])),
            f"{number(coords['shift_y_px'][plane], 2)}, {number(coords['shift_x_px'][plane], 2)}",
            "given" if coords["given"][plane] else "found",
            int(count[plane]),
            "left out" if plane in lost else "",
        ]
        for plane, chosen in enumerate(planes.values)
    ]
    columns = ["plane#", "slice#", "correlation#", "confidence#", "offset y, x [px]#", "slice was",
               "ROIs#", ""]  # fmt: skip
    made = table(columns, rows)
    if len(rows) <= MANY_ROWS:
        return made
    return folded(f"Table of all {len(rows)} planes", made)


def _sure(confidence: float) -> str:
    return "certain" if np.isposinf(confidence) else number(confidence, 2)
