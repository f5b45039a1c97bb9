"""The graph of correlations: how it was cut, how it looks, how it breaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap
from matplotlib.ticker import MaxNLocator, NullFormatter

from clgkit.report.drawing import BLUE, MUTED, ORANGE, RED, grid, svg
from clgkit.report.markup import Markup, absent, counted, figure, join, markup, number, table

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from clgkit.report.results import Results

EDGES = 4000
READ = 500
RUN = 4096
CURVE = 2000
NIGHT, DUST, FAINT = "#0e1116", "#aab4c0", "#4b5563"
BRIGHT = ("#56b4ea", "#e69f01", "#2fbf95", "#dd94bd", "#f0e442", "#f0803c", "#b9a8ff")


class Edges(NamedTuple):
    """Some edges of a graph, strongest last."""

    ends: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64] | None
    n_all: int


def correlations(results: Results) -> Markup:
    """Draw the distribution of correlations, with percentiles and the threshold."""
    found = results.array("build_network.histogram")
    built = results.values("build_network.summary")
    if found is None or not built:
        return absent("No correlations were computed.")
    counts = found.values.astype(np.float64)
    if not counts.sum():
        return absent("There is no pair of neurons to correlate.")
    r = found.coords["r"].values
    threshold = float(built["threshold"])
    absolute = results.setting("build_network", "quantity") == "absolute"
    joined = (np.abs(r) if absolute else r) > threshold
    width = float(r[1] - r[0])

    def draw(made: Figure) -> None:
        panel = made.subplots()
        edges = np.append(r - width / 2, r[-1] + width / 2)
        kept = np.where(joined, counts, 0)
        panel.stairs(counts, edges, fill=True, color=BLUE, label="all pairs")
        panel.stairs(kept, edges, fill=True, color=ORANGE, label="joined by an edge")
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter(lambda value, _: number(value))
        panel.set_ylim(0.7, 6 * counts.max())
        _percentile_lines(panel, built["percentiles"])
        for sign in (1, -1) if absolute else (1,):
            panel.axvline(sign * threshold, color=RED, linestyle="--", linewidth=1.4)
        panel.set_xlim(-1, 1)
        panel.set(
            xlabel="correlation r", ylabel="pairs of neurons", title="Correlation of all pairs"
        )
        panel.legend(loc="upper left", bbox_to_anchor=(0.08, 1))

    of_what = "|r|" if absolute else "r"
    caption = (
        f"Correlation of {number(built['n_pairs'])} pairs (logarithmic scale). Red: the threshold "
        f"{number(threshold)}, beyond which {of_what} makes an edge. Grey lines: percentiles of "
        f"{of_what}. A peak at zero with a tail on the right is usual; a peak far "
        "from zero points to motion, neuropil or light that all neurons share."
    )
    alt = f"Histogram of correlations, threshold {number(threshold)}"
    return figure(svg(draw, name="correlations", alt=alt, height_in=3.2), caption)


def _percentile_lines(panel: Axes, percentiles: dict[str, float]) -> None:
    levels = [0.98, 0.91, 0.84]
    for rank, (name, value) in enumerate(percentiles.items()):
        panel.axvline(value, color=MUTED, linewidth=0.7)
        panel.text(
            value, levels[rank % 3], f" {name} %", transform=panel.get_xaxis_transform(),
            color=MUTED, fontsize=7, va="top",
        )  # fmt: skip


def sample_edges(results: Results) -> Edges | None:
    """Read some edges: the strongest where weights are known, else ones spread at random."""
    indptr = results.array("build_network.network.indptr")
    indices = results.array("build_network.network.indices")
    if indptr is None or indices is None:
        return None
    starts = np.asarray(indptr.values, np.int64)
    weights = results.array("build_network.network.weights")
    n = len(indices)
    pieces = list(_runs(n))
    at = np.concatenate([np.arange(p.start, p.stop) for p in pieces] or [np.zeros(0, np.int64)])
    target = _read(indices, pieces, np.int64)
    source = np.searchsorted(starts, at, side="right") - 1
    once = np.flatnonzero(source < target)
    strength = None if weights is None else _read(weights, pieces, np.float64)[once]
    ends = np.column_stack([source, target])[once]
    if strength is not None:
        best = np.argsort(strength, kind="stable")[-EDGES:]
        return Edges(ends[best], strength[best], n // 2)
    if len(ends) > EDGES:
        kept = np.random.default_rng(0).choice(len(ends), EDGES, replace=False)
        ends = ends[np.sort(kept)]
    return Edges(ends, None, n // 2)


def _runs(n: int) -> list[slice]:
    """Return runs of positions, of one chunk each: all of them if they are few."""
    starts = np.arange(0, n, RUN)
    if len(starts) > READ:
        starts = starts[np.linspace(0, len(starts) - 1, READ).astype(int)]
    return [slice(int(start), min(int(start) + RUN, n)) for start in starts]


def _read(array: xr.DataArray, pieces: list[slice], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    read = [np.asarray(array[piece].values, dtype) for piece in pieces]
    return np.concatenate(read) if read else np.zeros(0, dtype)


def drawing(results: Results) -> Markup:
    """Draw the nodes where they lie in the brain, and some of the edges."""
    place = results.array("build_network.network.position_um")
    degree = results.array("measure_network.degree")
    edges = sample_edges(results)
    if edges is None or place is None or not len(place):
        return absent("There is no network to draw.")
    where = np.asarray(place.values, np.float64)
    links = np.zeros(len(where)) if degree is None else np.asarray(degree.values, np.float64)
    part = None if degree is None else degree.coords["component"].values
    ratio = float(np.ptp(where[:, 1]) + 1) / float(np.ptp(where[:, 2]) + 1)

    def draw(made: Figure) -> None:
        panels = made.subplots(1, 2)
        for panel in panels:
            panel.set_facecolor(NIGHT)
            lines = where[edges.ends][:, :, [2, 1]]
            alpha = float(np.clip(150 / max(len(lines), 1) ** 0.85, 0.08, 0.5))
            panel.add_collection(
                LineCollection(
                    list(lines), colors=DUST, alpha=alpha, linewidths=0.5, rasterized=True
                )
            )
            panel.set_aspect("equal")
            panel.invert_yaxis()
            panel.set(xlabel="x [µm]", ylabel="y [µm]")
        size = float(np.clip(9000 / len(where), 1.5, 20))
        _by_degree(panels[0], where, links, size)
        _by_component(panels[1], where, part, size)

    shown = (
        "All edges are drawn."
        if len(edges.ends) == edges.n_all
        else f"{len(edges.ends):,} of {number(edges.n_all)} edges are drawn, "
        + ("the strongest that were read." if edges.weights is not None else "chosen evenly.")
    )
    caption = (
        "Every neuron at its place, seen from above (depth is not shown). Left: the number of "
        "neighbours; neurons without any are faint. Right: the largest components. Edges that stay "
        f"within one region point to a module, or to light that neighbours share. {shown}"
    )
    alt = f"Network of {counted(len(where), 'neuron')} drawn at their positions"
    height = float(np.clip(0.45 + 3.9 * ratio, 2.2, 7))
    return figure(svg(draw, name="network", alt=alt, height_in=height), caption)


def _by_degree(panel: Axes, where: Any, links: Any, size: float) -> None:
    order = np.argsort(links, kind="stable")
    alone = order[links[order] == 0]
    joined = order[links[order] > 0]
    panel.scatter(
        where[alone, 2], where[alone, 1], s=0.6 * size, c=FAINT, linewidths=0, rasterized=True
    )
    drawn = panel.scatter(
        where[joined, 2],
        where[joined, 1],
        s=size,
        c=links[joined],
        cmap=ListedColormap(mpl.colormaps["viridis"](np.linspace(0.3, 1, 256))),
        linewidths=0,
        rasterized=True,
        zorder=2,
    )
    panel.set_title("Degree")
    if len(joined):
        panel.figure.colorbar(drawn, ax=panel, label="neighbours", shrink=0.8, pad=0.01)


def _by_component(panel: Axes, where: Any, part: Any, size: float) -> None:
    panel.set_title("Components")
    if part is None:
        return
    panel.scatter(where[:, 2], where[:, 1], s=0.6 * size, c=FAINT, linewidths=0, rasterized=True)
    sizes = np.bincount(part)
    for rank, colour in enumerate(BRIGHT):
        inside = part == rank
        if rank < len(sizes) and sizes[rank] > 1:
            panel.scatter(
                where[inside, 2],
                where[inside, 1],
                s=size,
                c=colour,
                linewidths=0,
                rasterized=True,
                zorder=2,
                label=f"{sizes[rank]:,}",
            )
    if panel.get_legend_handles_labels()[0]:
        panel.legend(title="neurons", loc="center left", bbox_to_anchor=(1, 0.5), markerscale=1.6)


def degrees(results: Results) -> Markup:
    """Draw the distribution of degrees on logarithmic scales."""
    summary = results.values("measure_network.summary")
    if not summary:
        return absent("The network was not measured.")
    edges = np.asarray(summary["degree_bins"], np.float64)
    density = np.asarray([d or 0 for d in summary["degree_density"]], np.float64)
    if not density.any():
        return absent("No neuron has a neighbour, so there are no degrees to show.")
    centre = np.sqrt(edges[1:] * edges[:-1])
    kept = density > 0

    def draw(made: Figure) -> None:
        panel = made.subplots()
        panel.loglog(centre[kept], density[kept], "o-", color=BLUE, markersize=5)
        if summary["mean_degree"] > 0:
            panel.axvline(summary["mean_degree"], color=MUTED, linestyle=":")
            panel.text(
                summary["mean_degree"], 0.97, " mean", transform=panel.get_xaxis_transform(),
                color=MUTED, fontsize=7.5, va="top",
            )  # fmt: skip
        panel.set(xlabel="degree", ylabel="share of neurons per degree", title="Degrees")
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_formatter(lambda value, _: f"{value:g}")
            axis.set_minor_formatter(NullFormatter())
        grid(panel, "both")

    caption = (
        "Density of degrees in bins that double in width, both axes logarithmic; neurons without a "
        f"neighbour ({number(summary['n_isolated'])}) are not in it. A straight line means a broad "
        "range without a typical degree; a bend at the right is the size of the groups."
    )
    return figure(
        svg(draw, name="degrees", alt="Degree distribution", height_in=3.2, width_in=4.6), caption
    )


MEASURES = {
    "n_nodes": "neurons",
    "n_edges": "edges",
    "density": "density (share of all pairs)",
    "mean_degree": "mean degree",
    "n_isolated": "neurons without a neighbour",
    "n_components": "components",
    "largest_component": "neurons in the largest component",
    "mean_clustering": "mean clustering (zeros counted)",
    "transitivity": "transitivity",
}


def measures(results: Results) -> Markup:
    """Return the measures of the whole network as a table."""
    summary = results.values("measure_network.summary")
    if not summary:
        return absent("The network was not measured.")
    rows: list[list[object]] = [
        [meaning, number(summary[key])] for key, meaning in MEASURES.items() if key in summary
    ]
    return markup(
        '<div class="measures"><h3>Measures</h3>{table}</div>',
        table=table(["measure", "value#"], rows),
    )


def dismantling(results: Results) -> Markup:
    """Draw how the largest component shrinks while neurons are removed."""
    found = results.array("dismantle.curve")
    summary = results.values("dismantle.summary")
    if found is None or not summary:
        return absent("The network was not dismantled.")
    n = max(int(summary["n_nodes"]), 1)
    curve = np.asarray(found.values, np.float64)
    if len(curve) < 2:
        return absent(
            f"The largest component holds {number(curve[0] if len(curve) else 0)} of "
            f"{counted(int(summary['n_nodes']), 'neuron')}, no more than the target of "
            f"{100 * summary['target']:g} %; nothing was removed."
        )
    removed = np.unique(np.linspace(0, len(curve) - 1, min(len(curve), CURVE)).astype(int))
    removals = summary["removals"]

    def draw(made: Figure) -> None:
        panel = made.subplots()
        panel.plot(removed, curve[removed] / n, color=BLUE, linewidth=1.6)
        panel.fill_between(removed, 0, curve[removed] / n, color=BLUE, alpha=0.15, linewidth=0)
        panel.axhline(summary["target"], color=RED, linestyle="--", linewidth=1)
        panel.annotate(
            "target", (1, summary["target"]), xycoords=("axes fraction", "data"), ha="right",
            va="bottom", color=RED, fontsize=8,
        )  # fmt: skip
        if removals is not None:
            panel.plot([removals], [curve[-1] / n], "o", color=RED, clip_on=False)
        panel.set(xlabel="neurons removed", ylabel="share of neurons in the largest component")
        panel.set_title("Largest component")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set_ylim(0, 1.08 * max(curve.max() / n, summary["target"]))
        panel.set_xlim(0, max(len(curve) - 1, 1))
        grid(panel, "both")

    ended = (
        f"{counted(int(removals), 'removal')} ({number(100 * removals / n)} % of all neurons) "
        f"reached the target of {100 * summary['target']:g} %; area under the curve "
        f"{number(summary['auc'])}."
        if removals is not None
        else "The target was not reached."
    )
    order = f"{summary['method']}, " + (
        "scored again after each" if summary["adaptive"] else "once"
    )
    caption = (
        f"Size of the largest component while neurons are removed, most important first ({order}). "
        f"{ended} At the start it holds {number(100 * curve[0] / n)} % of all neurons. A curve "
        "that falls at once hangs on a few hubs; a slow one on no neuron in particular."
    )
    return figure(svg(draw, name="dismantling", alt="Dismantling curve", height_in=3.0), caption)


def whole(results: Results) -> Markup:
    """Return all figures of the network."""
    return join(
        [
            correlations(results),
            drawing(results),
            markup('<div class="row">{a}{b}</div>', a=degrees(results), b=measures(results)),
        ]
    )
