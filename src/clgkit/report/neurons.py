"""How many neurons there are, and on how many planes each was seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clgkit.report.drawing import BLUE, GREEN, MUTED, ORANGE, svg
from clgkit.report.markup import Markup, absent, counted, figure, markup, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from clgkit.report.results import Results


def calibration(results: Results) -> Markup:
    """Draw the count before and after the planes were merged."""
    counts = results.values("merge_planes.summary")
    if not counts:
        return absent("The planes were not merged.")
    if not counts["n_neurons"]:
        return absent("No neuron was found, so there is nothing to count.")
    bars = {
        "ROIs on all planes": (counts["n_rois_before"], ORANGE),
        "ROIs merged": (counts["n_rois"], ORANGE),
        "neurons": (counts["n_neurons"], BLUE),
    }
    seen = np.asarray(counts["planes_per_neuron"], np.int64)

    def draw(made: Figure) -> None:
        panel, histogram = made.subplots(1, 2, width_ratios=[1.3, 1])
        rows = np.arange(len(bars))
        heights = [value for value, _ in bars.values()]
        drawn = panel.barh(
            rows, heights, color=[colour for _, colour in bars.values()], height=0.62
        )
        panel.bar_label(drawn, labels=[f"{h:,}" for h in heights], padding=4, weight="bold")
        panel.set_yticks(rows, list(bars))
        panel.invert_yaxis()
        panel.set_xlim(0, 1.14 * max(heights))
        panel.set_xticks([])
        panel.spines[["bottom", "left"]].set_visible(False)
        panel.tick_params(length=0)
        panel.set_title("Count before and after")
        planes = np.arange(1, len(seen) + 1)
        shown = histogram.bar(planes, seen, color=GREEN, width=0.75)
        histogram.bar_label(shown, labels=[f"{n:,}" for n in seen], color=MUTED, padding=2)
        histogram.set_xticks(planes)
        histogram.set(
            xlabel="planes that cut the nucleus", ylabel="neurons", title="Planes per neuron"
        )

    mean = float((seen * np.arange(1, len(seen) + 1)).sum() / max(seen.sum(), 1))
    caption = markup(
        "One nucleus that several planes cut gives several ROIs. Naive overcount: <strong>{naive}"
        "</strong> ROIs per neuron. Fair overcount: <strong>{fair}</strong>, with ROIs that "
        "are too small or have no trace left out beforehand. A neuron was seen on {mean} planes on "
        "average. The distance of planes and the axial length of nuclei decide this: closer "
        "planes count the same neuron more often.",
        naive=number(counts["naive_ratio"]),
        fair=number(counts["fair_ratio"]),
        mean=number(mean),
    )
    alt = (
        f"{counted(counts['n_rois_before'], 'ROI')} became {counted(counts['n_neurons'], 'neuron')}"
    )
    return figure(svg(draw, name="calibration", alt=alt, height_in=2.5), caption)
