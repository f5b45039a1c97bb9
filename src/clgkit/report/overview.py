"""The top of the page: what came out, what to be careful about, how close to the truth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from clgkit.report.markup import (
    DASH,
    MINUS,
    TIMES,
    Card,
    Markup,
    absent,
    bullets,
    cards,
    counted,
    folded,
    join,
    markup,
    number,
    paragraph,
    table,
)

if TYPE_CHECKING:
    from clgkit.report.results import Results

MANY = 12


class Target(NamedTuple):
    """What a figure should be on a simulated fish."""

    key: str
    meaning: str
    low: float
    high: float

    @property
    def is_free(self) -> bool:
        """Whether any value will do: the figure is shown, not judged."""
        return self.low <= 0 and self.high == 1


TARGETS = (
    Target("count_error", "Neurons found ÷ neurons there " + MINUS + " 1", -0.05, 0.05),
    Target("overcount", "ROIs before merging ÷ neurons found", 1.5, math.inf),
    Target("nucleus_f1", "F1 of the nuclei, 3-D overlap (IoU) of at least ½", 0.9, 1.0),
    Target("shift_rms_px", "Error of the motion found, px (rms)", 0.0, 0.1),
    Target(
        "trace_correlation_median", "Correlation of a trace with the true one (median)", 0.8, 1.0
    ),
    Target("edge_precision", "Edges found that are edges of the noise-free traces", 0.0, 1.0),
    Target("edge_recall", "Edges of the noise-free traces that were found", 0.0, 1.0),
)


def headline(results: Results) -> Markup:
    """Return the one sentence this run comes to."""
    counts = results.values("merge_planes.summary")
    if not counts:
        return paragraph("The planes of this run have not been merged into neurons yet.", "lead")
    n_rois, n_neurons = int(counts["n_rois_before"]), int(counts["n_neurons"])
    if n_neurons == 0:
        return paragraph("No neuron was found. The warnings below say where to look.", "lead")
    return markup(
        '<p class="lead"><strong>{rois}</strong> {were} <strong>{neurons}</strong>. Counted plane '
        "by plane, every neuron would have been counted {ratio} times.</p>",
        rois=counted(n_rois, "ROI"),
        were="was" if n_rois == 1 else "were",
        neurons=counted(n_neurons, "neuron"),
        ratio=number(counts["naive_ratio"]),
    )


def key_figures(results: Results) -> Markup:
    """Return the cards below the headline."""
    return cards(
        [
            *_neuron_cards(results),
            *_motion_cards(results),
            *_network_cards(results),
            Card(number(n_warnings(results)), "warnings", "listed below"),
        ]
    )


def _neuron_cards(results: Results) -> list[Card]:
    counts = results.values("merge_planes.summary")
    if not counts:
        return []
    return [
        Card(number(counts["n_neurons"]), "neurons", "after 3-D calibration"),
        Card(number(counts["n_rois_before"]), "ROIs", "before: one per nucleus and plane"),
        Card(_times(counts["fair_ratio"]), "overcount", "fair: only ROIs that were merged"),
    ]


def _times(ratio: float | None) -> str:
    return number(ratio) + (TIMES if ratio is not None else "")


def _motion_cards(results: Results) -> list[Card]:
    agreement = results.array("correct_motion.agreement")
    bad = results.array("correct_motion.bad_frames")
    if agreement is None or bad is None or not agreement.size:
        return []
    values = agreement.values
    n_bad = int((bad.values > 0).any(axis=1).sum())
    middle = float(np.median(values[np.isfinite(values)])) if np.isfinite(values).any() else None
    return [
        Card(number(middle, 2), "correlation with the template", "median of all frames and planes"),
        Card(number(n_bad), "bad frames", f"of {agreement.sizes['time']:,}"),
    ]


def _network_cards(results: Results) -> list[Card]:
    built = results.values("build_network.summary")
    broken = results.values("dismantle.summary")
    found = []
    if built:
        is_absolute = results.setting("build_network", "quantity") == "absolute"
        what = "|r|" if is_absolute else "r"
        note = f"pairs with {what} beyond {number(built['threshold'])}"
        found.append(Card(number(built["n_edges"]), "edges", note))
    if broken:
        share = f"to shrink the largest component to {100 * broken['target']:g} %"
        found.append(Card(number(broken["removals"]), "removals", share))
    return found


def stage_strip(results: Results) -> Markup:
    """Return the stages in order, each with its time or the word missing."""
    made = results.manifests()
    steps = [
        markup(
            '<li class="{state}"><span class="step">{name}</span>'
            '<span class="time">{time}</span></li>',
            state="done" if name in made else "missing",
            name=name.replace("_", " "),
            time=duration(made[name].cost.get("seconds")) if name in made else "missing",
        )
        for name in results.stages
    ]
    return markup('<ol class="strip">{steps}</ol>', steps=join(steps))


def duration(seconds: float | None) -> str:
    """Return a time span for people."""
    if seconds is None:
        return DASH
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def n_warnings(results: Results) -> int:
    """Return how many sentences `warnings` shows."""
    return len(_warned(results)) + len(results.failed_planes()) + len(_broken(results))


def _warned(results: Results) -> list[tuple[str, str]]:
    return [
        (name, sentence)
        for name, manifest in results.manifests().items()
        for sentence in manifest.warnings
    ]


def _broken(results: Results) -> list[str]:
    return [*results.problems, *results.outdated()]


def warnings(results: Results) -> Markup:
    """Return everything that was noticed on the way."""
    parts: list[Markup] = []
    if _broken(results):
        parts.append(markup('<div class="alert">{l}</div>', l=bullets(_broken(results))))
    if results.missing:
        listed = ", ".join(results.missing)
        parts.append(paragraph(f"Without a result: {listed}. Their figures are left out."))
    lost = results.failed_planes()
    if lost:
        rows = [[plane, reason] for plane, reason in sorted(lost.items())]
        parts.append(paragraph(f"{counted(len(lost), 'plane')} could not be used:"))
        parts.append(table(["plane (from 0)#", "why"], rows))
    parts.append(_sentences(results))
    return join(parts)


def _sentences(results: Results) -> Markup:
    found = _warned(results)
    if not found:
        return absent("No stage had anything to warn about.")
    rows = [[name, sentence] for name, sentence in found]
    shown = table(["stage", "warning"], rows[:MANY])
    if len(rows) <= MANY:
        return shown
    more = counted(len(rows) - MANY, "more warning")
    return join([shown, folded(more, table(["stage", "warning"], rows[MANY:]))])


def compared(results: Results, truth: Mapping[str, Any]) -> Markup:
    """Return how close the result is to the known answers of a simulated fish."""
    counts = results.values("merge_planes.summary")
    if counts and any(
        key in truth and truth[key] != counts[key] for key in ("n_neurons", "n_rois_before")
    ):
        return absent("The comparison at hand belongs to another result. Run `clg demo` again.")
    rows = [
        _target_row(target, float(truth[target.key]))
        for target in TARGETS
        if isinstance(truth.get(target.key), int | float)
    ]
    there = truth.get("n_true_neurons")
    lead = paragraph(
        f"The fish is simulated, so its answers are known: {number(there)} neurons are cut by a "
        f"functional plane, {number(truth.get('n_neurons'))} were found."
        if there is not None
        else "The fish is simulated, so its answers are known."
    )
    return join([lead, table(["figure", "reached#", "wanted#", ""], rows, kind="truth")])


def _target_row(target: Target, value: float) -> list[object]:
    free = target.is_free
    if free:
        wanted, verdict = DASH, ""
    else:
        high = math.isfinite(target.high) and not (target.high == 1 and target.low > 0)
        if target.low == 0:
            wanted = f"≤ {target.high:g}"
        else:
            wanted = f"{target.low:g} … {target.high:g}" if high else f"≥ {target.low:g}"
        verdict = "met" if target.low <= value <= target.high else "missed"
    mark = markup('<span class="verdict {v}">{v}</span>', v=verdict)
    return [target.meaning, number(value), wanted.replace("-", MINUS), mark]
