"""How the numbers came about: data, settings, versions, and what each stage cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clgkit.data import rate_hz, voxel_um
from clgkit.report.markup import DASH, TIMES, Markup, absent, folded, join, markup, number, table
from clgkit.report.overview import duration
from clgkit.stages import STAGES, params_of

if TYPE_CHECKING:
    import xarray as xr

    from clgkit.pipeline.store import Manifest
    from clgkit.report.results import Results


def inputs(results: Results) -> Markup:
    """Return the facts of the data as a table."""
    rows = [
        *_facts("functional movie", "function", results.array("correct_motion.corrected"), results),
        *_facts("structural stack", "structure", _structure(results), results),
    ]
    path = results.run.settings["plane_map"].path
    rows.append(["plane map", path or "none: planes were matched by their looks"])
    return table(["", ""], rows, kind="facts")


def _structure(results: Results) -> xr.DataArray | None:
    normalized = results.array("normalize_contrast.normalized")
    return results.array("segment_nuclei.labels") if normalized is None else normalized


def _facts(
    name: str, section: str, array: xr.DataArray | None, results: Results
) -> list[list[object]]:
    given = results.run.settings[section]
    path = given.path or (
        "time average of the movie" if getattr(given, "time_average", 0) else DASH
    )
    rows: list[list[object]] = [[f"{name}, file", path]]
    if array is None:
        return rows
    names = {"time": "frames", "z": "planes" if "time" in array.dims else "slices"}
    sizes = f" {TIMES} ".join(
        f"{array.sizes[dim]:,} {names.get(dim, '')}".strip() for dim in map(str, array.dims)
    )
    rows.append([f"{name}, size", f"{sizes} pixels"])
    spacing = f" {TIMES} ".join(number(step) for step in voxel_um(array))
    rows.append([f"{name}, voxel z {TIMES} y {TIMES} x", f"{spacing} µm"])
    if "time" in array.dims:
        n = array.sizes["time"]
        rate = rate_hz(array)
        rows.append([f"{name}, rate", f"{number(rate)} Hz, {duration(n / rate)} in all"])
    return rows


def costs(results: Results) -> Markup:
    """Return what each stage took."""
    made = results.manifests()
    if not made:
        return absent("No stage is finished.")
    most = max((m.cost.get("cpu_seconds", 0.0) for m in made.values()), default=0.0) or 1.0
    rows: list[list[object]] = [
        [
            name,
            str(m.provenance.get("started", DASH)).replace("T", " "),
            f"{m.cost.get('seconds', 0):,.1f}",
            _bar(m.cost.get("cpu_seconds", 0.0), most),
            f"{m.cost.get('peak_mb', 0):,.0f}",
        ]
        for name, m in made.items()
    ]
    total = [sum(m.cost.get(key, 0.0) for m in made.values()) for key in ("seconds", "cpu_seconds")]
    peak = max(m.cost.get("peak_mb", 0.0) for m in made.values())
    rows.append(["all", "", f"{total[0]:,.1f}", f"{total[1]:,.1f}", f"{peak:,.0f}"])
    return table(["stage", "started", "seconds#", "processor s#", "peak MB#"], rows, kind="costs")


def _bar(value: float, most: float) -> Markup:
    return markup(
        '<span class="meter" style="--share:{share}%">{value}</span>',
        share=f"{100 * value / most:.3g}",
        value=f"{value:,.1f}",
    )


def settings(results: Results) -> Markup:
    """Return the settings every result was made with; changed ones are marked."""
    made = results.manifests()
    return join(_settings_of(name, manifest) for name, manifest in made.items())


def _settings_of(name: str, manifest: Manifest) -> Markup:
    kind = params_of(name)
    usual: dict[str, Any] = kind().model_dump(mode="json")
    rows: list[list[object]] = []
    n_changed = 0
    for key, value in manifest.params.items():
        field = kind.model_fields.get(key)
        changed = key not in usual or usual[key] != value
        n_changed += changed
        mark = markup("<mark>{v}</mark>", v=_plain(value)) if changed else _plain(value)
        rows.append([markup("<code>{k}</code>", k=key), mark, (field and field.description) or ""])
    title = markup(
        "<code>[{name}]</code> {summary}{changed}",
        name=name,
        summary=STAGES[name].summary,
        changed=markup(" <mark>{n} changed</mark>", n=n_changed) if n_changed else "",
    )
    facts = f"version {manifest.version} of the stage, key {manifest.key[:12]}"
    body = join([table(["setting", "value", "meaning"], rows), markup("<p>{f}</p>", f=facts)])
    return folded(title, body)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)


def versions(results: Results) -> Markup:
    """Return the versions of everything that computed."""
    found: dict[str, dict[str, list[str]]] = {}
    for name, manifest in results.manifests().items():
        packages = dict(manifest.provenance.get("packages", {}))
        packages["python"] = manifest.provenance.get("python", "unknown")
        for package, version in packages.items():
            found.setdefault(package, {}).setdefault(str(version), []).append(name)
    rows: list[list[object]] = []
    for package, used in found.items():
        for version, stages in used.items():
            rows.append([package, version, "" if len(used) == 1 else ", ".join(stages)])
    if not rows:
        return Markup("")
    return folded("Versions", table(["package", "version", "used by"], rows))
