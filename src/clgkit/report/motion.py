"""How well frames were put in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.ticker import MaxNLocator

from clgkit.registration import FrameCode
from clgkit.report import sampling
from clgkit.report.drawing import MUTED, ORANGE, RED, grid, svg
from clgkit.report.markup import Markup, absent, counted, figure, join, number, table
from clgkit.stages.correct_motion import OutlierCode

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from clgkit.report.results import Results

COLUMNS = 900
MANY_LINES = 12
MANY_MARKS = 200
OUTLIERS: dict[int, str] = {
    OutlierCode.MISFIT: "it agrees with its template far less than other frames",
    OutlierCode.LIMIT: "its shift is the largest that was looked for",
    OutlierCode.UNSURE: "it shows too little; its shift is that of the frames around it",
}


def shifts(results: Results) -> Markup:
    """Draw the displacement of every plane over time."""
    found = results.array("correct_motion.shifts")
    if found is None or not found.size:
        return absent("No shifts were computed.")
    values = np.asarray(found.values, np.float64)
    time = _times(found)
    planes = [p for p in range(values.shape[1]) if p not in results.failed_planes()]
    colours = mpl.colormaps["viridis"](np.linspace(0.2, 0.8, len(planes)))

    outliers = results.array("correct_motion.outliers")
    doubtful = np.zeros(0, np.int64)
    if outliers is not None:
        doubtful = np.flatnonzero((outliers.values > 0).any(axis=1))
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
            panel.scatter(
                time[doubtful], np.zeros(len(doubtful)), marker="|", color=ORANGE, s=60, zorder=3,
                transform=panel.get_xaxis_transform(), rasterized=len(doubtful) > MANY_MARKS,
            )  # fmt: skip
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
        + (f" Ticks below: {counted(len(doubtful), 'outlier frame')}." if len(doubtful) else "")
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
    # The worst frame of a bin: in a mean a short moment would not be seen.
    lowest = np.fmin.reduceat(values.T, sampling.bin_edges(len(values), COLUMNS), axis=1)
    bad = results.array("correct_motion.bad_frames")
    marks = np.zeros(values.shape, np.uint8) if bad is None else bad.values
    outliers = results.array("correct_motion.outliers")
    doubtful = np.zeros(values.shape, np.uint8) if outliers is None else outliers.values
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
        frame, plane = np.nonzero(doubtful)
        panel.scatter(
            time[frame], plane, s=20, facecolors="none", edgecolors=ORANGE,
            rasterized=len(frame) > MANY_MARKS,
        )  # fmt: skip
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
    return join([figure(drawn, caption), _bad_frames(marks), _outliers(doubtful)])


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
    reasons = {int(code): code.name.lower().replace("_", " ") for code in FrameCode if code}
    return _listed(codes, reasons, "bad because")


def _outliers(codes: Any) -> Markup:
    return _listed(codes, OUTLIERS, "outlier because")


def _listed(codes: Any, reasons: Mapping[int, str], head: str) -> Markup:
    """List the frames with each code."""
    rows = []
    for code, why in reasons.items():
        frames = np.flatnonzero((codes == code).any(axis=1))
        if len(frames):
            listed = ", ".join(map(str, frames[:20])) + (" …" if len(frames) > 20 else "")
            rows.append([why, len(frames), listed])
    return table([head, "frames#", "which (from 0)"], rows) if rows else Markup("")


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
