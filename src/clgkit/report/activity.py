"""Traces: all neurons at a glance, some neurons in detail."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import leaves_list, linkage

from clgkit.report import sampling
from clgkit.report.drawing import BLUE, INK, MUTED, svg
from clgkit.report.markup import Markup, absent, counted, data, figure, join, markup, number
from clgkit.traces import Reason

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from clgkit.report.results import Results

NEURONS, FEWEST = 2000, 200
VALUES = 10_000_000
RASTER_ROWS, RASTER_COLUMNS = 500, 900
SHOWN = 50
SINGLE = 7
POINTS = 2000
STEPS = 40
GAP = -32768
LARGEST = 32767

Float64 = npt.NDArray[np.float64]


class Sample(NamedTuple):
    """The neurons that are read: (n, time) traces without the dead ones."""

    row: npt.NDArray[np.int64]
    dff: Float64
    denoised: Float64
    noise: Float64
    n_all: int


def read_sample(results: Results) -> Sample | None:
    """Read some neurons, in runs spread over all of them; None without traces.

    They are 2,000, or fewer where traces are long: about ten million values in all.
    """
    table = results.array("compute_dff.dff")
    if table is None:
        return None
    fitting = VALUES // max(table.sizes["time"], 1)
    chosen = sampling.spread(table.sizes["neuron"], min(NEURONS, max(FEWEST, fitting)))
    dff = sampling.rows_of(table, chosen)
    smooth = results.array("denoise_traces.denoised")
    denoised = np.full_like(dff, np.nan) if smooth is None else sampling.rows_of(smooth, chosen)
    level = results.array("compute_dff.noise")
    noise = np.full(len(dff), np.nan)
    if level is not None and len(dff):
        noise = np.concatenate([np.asarray(level.isel(neuron=run).values) for run in chosen])
    row = np.concatenate([np.arange(run.start, run.stop) for run in chosen] or [np.zeros(0, int)])
    live = np.isfinite(dff).all(axis=1) & (np.ptp(dff, axis=1) > 0 if dff.shape[1] else False)
    return Sample(row[live], dff[live], denoised[live], noise[live], table.sizes["neuron"])


def left_out(results: Results) -> Markup:
    """Say how many neurons have no trace, and why."""
    reason = results.array("compute_dff.reason")
    if reason is None:
        return Markup("")
    found = [
        f"{counted(int((reason.values == code).sum()), 'neuron')} ({code.name.lower()})".replace(
            "_", " "
        )
        for code in Reason
        if code and (reason.values == code).any()
    ]
    return absent(f"Without dF/F: {', '.join(found)}.") if found else Markup("")


def raster(results: Results, sample: Sample | None) -> Markup:
    """Draw the activity of all neurons, similar ones next to each other."""
    table = results.array("compute_dff.dff")
    if sample is None or table is None or not len(sample.dff):
        return absent("There are no traces to show.")
    order = similar_together(sample.dff)
    spread = sample.dff.std(axis=1, keepdims=True)
    rows = sampling.bin_means((sample.dff / spread)[order], RASTER_COLUMNS)
    rows = sampling.bin_means(rows.T, RASTER_ROWS).T
    low, high = (float(v) for v in np.percentile(rows, [5, 99.5]))
    high = max(high, low + 1e-6)
    steps = np.rint(np.clip((rows - low) / (high - low), 0, 1) * STEPS) / STEPS * (high - low) + low
    stop = _seconds(table)[-1] if table.sizes["time"] else 0.0
    population = sampling.bin_means(sample.dff.mean(axis=0), RASTER_COLUMNS)

    def draw(made: Figure) -> None:
        mean, panel = made.subplots(2, 1, sharex=True, height_ratios=[1, 5])
        mean.plot(np.linspace(0, stop, len(population)), population, color=BLUE)
        mean.set(ylabel="mean dF/F", title="Activity of the population")
        drawn = panel.imshow(
            steps, aspect="auto", cmap="magma", vmin=low, vmax=high,
            extent=(0, max(stop, 1e-9), len(sample.dff), 0),
        )  # fmt: skip
        panel.set(xlabel="time [s]", ylabel="neuron, ordered")
        made.colorbar(drawn, ax=panel, label="dF/F [SD of the neuron]", pad=0.01)

    part = "" if len(sample.dff) == sample.n_all else f" of {sample.n_all:,}"
    caption = (
        f"dF/F of {counted(len(sample.dff), 'neuron')}{part}, each divided by its own standard "
        "deviation; neurons with correlated traces lie together (average-linkage tree). Blocks are "
        "groups that are active together. A stripe across all neurons is motion, light or a true "
        "global event: compare its time with the shifts above."
    )
    alt = "Raster of the activity of neurons over time"
    return figure(svg(draw, name="raster", alt=alt, height_in=4.8), caption)


def similar_together(rows: Float64) -> npt.NDArray[np.int64]:
    """Return an order in which correlated rows are neighbours."""
    if len(rows) < 3:
        return np.arange(len(rows))
    unit = rows - rows.mean(axis=1, keepdims=True)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    distance = np.clip(1 - unit @ unit.T, 0, 2)[np.triu_indices(len(rows), 1)]
    return np.asarray(leaves_list(linkage(distance, "average")), np.int64)


def examples(sample: Sample) -> npt.NDArray[np.int64]:
    """Return up to 50 rows of a sample: half of them the clearest, half spread over the rest."""
    clear = signal_to_noise(sample)
    ranked = np.argsort(-clear, kind="stable")
    if len(ranked) <= SHOWN:
        return ranked
    rest = np.linspace(SHOWN // 2, len(ranked) - 1, SHOWN - SHOWN // 2).astype(int)
    return np.concatenate([ranked[: SHOWN // 2], ranked[rest]])


def signal_to_noise(sample: Sample) -> Float64:
    """Return the 99th percentile of dF/F over the noise of each neuron; 0 where it is unknown."""
    if not sample.dff.size:
        return np.zeros(len(sample.dff))
    peak = np.percentile(sample.dff, 99, axis=1)
    known = np.isfinite(sample.noise) & (sample.noise > 0)
    return np.divide(peak, sample.noise, out=np.zeros(len(peak)), where=known)


def single_traces(results: Results, sample: Sample | None) -> Markup:
    """Draw a handful of traces, as measured and denoised."""
    table = results.array("compute_dff.dff")
    if sample is None or table is None or not len(sample.dff):
        return absent("There are no traces to show.")
    listed = examples(sample)
    rows = listed[np.linspace(0, len(listed) - 1, min(SINGLE, len(listed))).astype(int)]
    clear = signal_to_noise(sample)
    names = _names(table)[sample.row]
    edges = sampling.bin_edges(sample.dff.shape[1], POINTS)
    time = _seconds(table)[edges]

    def draw(made: Figure) -> None:
        panels = np.atleast_1d(made.subplots(len(rows), 1, sharex=True))
        for panel, row in zip(panels, rows, strict=True):
            measured = sampling.bin_means(sample.dff[row], POINTS)
            panel.plot(time, measured, color=MUTED, linewidth=0.7, alpha=0.8, label="dF/F")
            if np.isfinite(sample.denoised[row]).any():
                smooth = sampling.bin_means(sample.denoised[row], POINTS)
                panel.plot(time, smooth, color=BLUE, linewidth=1.1, label="denoised")
            title = f"nucleus {names[row]}, signal to noise {clear[row]:.1f}"
            panel.margins(x=0)
            panel.set_title(title, fontweight="normal", fontsize=8, color=INK, pad=2)
        panels[0].legend(loc="upper right", ncols=2, bbox_to_anchor=(1, 1.5))
        panels[-1].set_xlabel("time [s]")
        made.supylabel("dF/F", fontsize=8.5)

    caption = (
        f"{counted(len(rows), 'neuron')} from the clearest (top) to the faintest. Transients "
        "should rise fast and fall slowly. The denoised trace should follow them without inventing "
        "events where dF/F shows none."
    )
    height = 0.6 + 0.72 * len(rows)
    return figure(svg(draw, name="traces", alt="Single traces", height_in=height), caption)


def viewer(results: Results, sample: Sample | None) -> Markup:
    """Return traces to browse through, drawn by the script of the page."""
    table = results.array("compute_dff.dff")
    if sample is None or table is None or not len(sample.dff):
        return Markup("")
    listed = examples(sample)
    clear = signal_to_noise(sample)
    names = _names(table)[sample.row]
    time = _seconds(table)
    edges = sampling.bin_edges(sample.dff.shape[1], POINTS)
    made: dict[str, Any] = {
        "step_s": float(time[edges[1]] - time[edges[0]]) if len(edges) > 1 else 1.0,
        "points": len(edges),
        "neurons": [
            {
                "label": f"nucleus {names[row]} · signal to noise {clear[row]:.1f}",
                "dff": packed(sampling.bin_means(sample.dff[row], POINTS)),
                "denoised": packed(sampling.bin_means(sample.denoised[row], POINTS)),
            }
            for row in listed
        ],
    }
    binned = len(edges) < sample.dff.shape[1]
    content = join([data("trace-data", made), _viewer_frame()])
    return figure(
        content,
        markup(
            "{n}: half of them the clearest, half spread over all others. Grey: dF/F; blue: "
            "denoised. Drag across the plot to look closer, double-click to see all.{binned}",
            n=counted(len(listed), "neuron"),
            binned=f" Frames are averaged in groups of {edges[1]}." if binned else "",
        ),
        kind="viewer",
    )


def _viewer_frame() -> Markup:
    return Markup(
        '<div class="controls"><button type="button" data-step="-1" '
        'aria-label="Previous neuron">&lsaquo;</button>'
        '<select id="trace-choice" aria-label="Neuron"></select>'
        '<button type="button" data-step="1" aria-label="Next neuron">&rsaquo;</button>'
        '<output id="trace-value"></output></div>'
        '<canvas id="trace-canvas" role="img" aria-label="dF/F of the chosen neuron over time">'
        "</canvas><noscript>Browsing needs JavaScript; the traces below do not.</noscript>"
    )


def packed(values: Float64) -> dict[str, Any]:
    """Return values as 16-bit steps between their extremes, in base64; NaN is a gap."""
    good = np.isfinite(values)
    low = float(values[good].min()) if good.any() else 0.0
    high = float(values[good].max()) if good.any() else 0.0
    step = (high - low) / LARGEST or 1.0
    steps = np.full(len(values), GAP, "<i2")
    steps[good] = np.rint((values[good] - low) / step)
    text = base64.b64encode(steps.tobytes()).decode()
    return {"low": low, "step": step, "values": text if good.any() else ""}


def _seconds(table: xr.DataArray) -> Float64:
    if "time" in table.coords:
        return np.asarray(table.coords["time"].values, np.float64)
    return np.arange(table.sizes["time"], dtype=np.float64)


def _names(table: xr.DataArray) -> npt.NDArray[Any]:
    if "nucleus" in table.coords:
        return np.asarray(table.coords["nucleus"].values)
    return np.arange(table.sizes["neuron"])


def summary(results: Results) -> Markup:
    """Say how many components were kept."""
    found = results.values("denoise_traces.summary")
    if not found:
        return Markup("")
    share = found["explained"]
    return markup(
        "<p>To denoise the traces, {n} with {v} % of the variance were kept.</p>",
        n=counted(found["n_components"], "principal component"),
        v=number(100 * share if share is not None else None),
    )
