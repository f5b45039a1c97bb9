"""The page as a whole, and the key that says which results it shows."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator, Mapping
from string import Template
from typing import TYPE_CHECKING, Any

from clgkit.pipeline.store import digest
from clgkit.report import (
    activity,
    deconvolution,
    denoising,
    images,
    motion,
    motion_quality,
    network,
    neurons,
    nuclei,
    overview,
    planes,
    provenance,
)
from clgkit.report.markup import DASH, Markup, Section, escape, join, markup
from clgkit.report.results import Results
from clgkit.report.second_channel import second_channel
from clgkit.stages import EXTRA, STAGES

if TYPE_CHECKING:
    from clgkit.pipeline.runner import Run

VERSION = 2
KEY = '<meta name="clgkit-key" content="{key}">'


def build(run: Run, *, truth: Mapping[str, Any] | None = None) -> str:
    """Return the report of a run as one HTML file that needs nothing else.

    Parameters
    ----------
    run
        Its finished stages are shown; a missing one leaves a sentence in its place.
    truth
        What a simulated fish is known to hold, as in ``summary.json`` of ``clg demo``:
        numbers such as ``count_error``, ``nucleus_f1`` and ``shift_rms_px``.

    Returns
    -------
    str
        HTML.  Only the slices, frames and rows that are shown are read.
    """
    results = Results(run)
    sections = list(_sections(results, truth))
    static = importlib.resources.files("clgkit.report") / "static"
    page = Template((static / "page.html").read_text(encoding="utf-8"))
    return page.substitute(
        key=KEY.format(key=key_of(run, truth=truth)),
        name=escape(results.name),
        css=(static / "report.css").read_text(encoding="utf-8"),
        js=(static / "report.js").read_text(encoding="utf-8"),
        contents=_contents(sections),
        made=escape(_made(results)),
        headline=overview.headline(results),
        cards=overview.key_figures(results),
        strip=overview.stage_strip(results),
        sections=join(_shown(section) for section in sections),
    )


def key_of(run: Run, *, truth: Mapping[str, Any] | None = None) -> str:
    """Return a digest of all that a report shows: results, data sections, truth, version.

    Parameters
    ----------
    run, truth
        As in :func:`build`.
    """
    receipts = []
    for name in STAGES:
        manifest = run.store.manifest(name)
        if manifest is not None:
            started = manifest.provenance.get("started")
            receipts.append([name, manifest.key, started, manifest.cost, manifest.warnings])
    data = {
        name: run.settings[name].model_dump(mode="json")
        for name in ("structure", "function", *EXTRA)
    }
    known = {key: value for key, value in (truth or {}).items() if _is_plain(value)}
    return digest([VERSION, run.settings.folder.resolve().name, receipts, data, known])


def _is_plain(value: Any) -> bool:
    return value is None or (isinstance(value, str | int | float) and value == value)  # noqa: PLR0124


def _sections(results: Results, truth: Mapping[str, Any] | None) -> Iterator[Section]:
    if truth:
        yield Section("truth", "Compared with the truth", overview.compared(results, truth))
    n = overview.n_warnings(results)
    title = f"Warnings ({n})" if n else "Warnings"
    yield Section("warnings", title, overview.warnings(results))
    seen = [deconvolution.deconvolution(results), images.contrast(results)]
    yield Section("structure", "Structure", join(seen))
    yield Section("nuclei", "Nuclei", nuclei.nuclei(results))
    quality = [
        images.motion(results),
        motion.shifts(results),
        motion.agreement(results),
        motion_quality.scanning(results),
        motion_quality.numbers(results),
        motion_quality.flow(results),
        second_channel(results),
        denoising.denoising(results),
    ]
    yield Section("motion", "Motion", join(quality))
    laid = [
        planes.coverage(results),
        planes.overlay(results),
        images.on_plane(results),
        planes.control(results),
        planes.drift(results),
    ]
    yield Section("planes", "Planes", join(laid))
    yield Section("neurons", "Neurons", neurons.calibration(results))
    yield Section("activity", "Activity", _activity(results))
    yield Section("network", "Network", network.whole(results))
    yield Section("dismantling", "Dismantling", network.dismantling(results))
    how = [provenance.inputs(results), provenance.costs(results)]
    yield Section("costs", "Data and costs", join(how))
    used = [provenance.settings(results), provenance.versions(results)]
    yield Section("settings", "Settings and versions", join(used))


def _activity(results: Results) -> Markup:
    sample = activity.read_sample(results)
    parts = [
        activity.summary(results),
        activity.left_out(results),
        activity.raster(results, sample),
        activity.viewer(results, sample),
        activity.single_traces(results, sample),
    ]
    return join(parts)


def _contents(sections: list[Section]) -> Markup:
    return join(
        markup('<li><a href="#{anchor}">{title}</a></li>', anchor=s.anchor, title=s.title)
        for s in sections
    )


def _shown(section: Section) -> Markup:
    return markup('<section id="{anchor}"><h2>{title}</h2>{body}</section>', **section._asdict())


def _made(results: Results) -> str:
    """Return when and by what the newest result was made."""
    receipts = [manifest.provenance for manifest in results.manifests().values()]
    if not receipts:
        return "No stage is finished yet."
    newest = max(receipts, key=lambda found: str(found.get("started", "")))
    version = dict(newest.get("packages", {})).get("clgkit", "unknown")
    started = str(newest.get("started", DASH)).replace("T", " ")
    return f"clgkit {version} · newest result of {started}"
