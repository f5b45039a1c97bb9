"""Numbers that tell whether motion correction helped, and what it left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from clgkit.report.drawing import svg
from clgkit.report.markup import (
    DASH,
    Markup,
    absent,
    bullets,
    counted,
    figure,
    folded,
    join,
    number,
    paragraph,
    table,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from clgkit.report.results import Results

MANY_ROWS = 16
MOST_MAPS = 12
LEAST_SCALE_PX = 0.2
ARROW = " \N{RIGHTWARDS ARROW} "
TEMPLATES = {
    "fixed": "one template per plane for the whole movie, made of its own frames",
    "running": "a template that followed the movie from bin to bin",
    "normcorre": "NoRMCorre's template, renewed after every bin",
    "reference": "the images that were given as reference, as they are",
}
MEANINGS = {
    "correlation": "of a frame with the mean of other frames, before and after. It should rise; it "
    "also rises with smoothing.",
    "crispness": "norm of the gradient of the mean image, before and after, in data units. It "
    "rewards sharp interpolation and seams too, so it never judges a correction alone.",
    "residual": "motion found once more between means of corrected frames, rms; in brackets the "
    "error that noise gives one patch. It does not see what the method is blind to.",
    "held-out": "the motion was estimated from one half of the photons and undone in the other; "
    "the correlation of that half, before and after. Fitting noise does not raise it, so it is the "
    "number to compare settings with.",
    "outliers": "frames that may not lie where they should; bad frames are not among them.",
    "bad pixels": "hot, dead or without a value; without weight in finding shifts, unless compat "
    "is on.",
}


def scanning(results: Results) -> Markup:
    """Say what frames were laid on, and what was found of the scan and its pixels."""
    summary = results.values("correct_motion.summary")
    if "planes" not in summary:
        return Markup("")
    offset, spread = summary["line_offset_px"], summary["line_offset_spread_px"]
    if offset:
        rows = (
            f"Odd rows lay {number(abs(offset))} px to the {'right' if offset > 0 else 'left'} of "
            f"even ones (spread {number(spread)} px) and were put back."
        )
    elif results.setting("correct_motion", "line_offset") == "none":
        rows = "The offset between rows scanned there and back was not looked for."
    else:
        rows = "No offset between rows scanned there and back was found for sure."
    said = [f"Frames were laid on {TEMPLATES.get(summary['template'], summary['template'])}.", rows]
    n_bad = sum(plane["n_bad_pixels"] for plane in summary["planes"])
    said.append(f"{counted(n_bad, 'bad pixel')} in all planes.")
    if summary["n_at_limit"]:
        limit = number(results.setting("correct_motion", "max_shift_px"))
        farthest = summary.get("farthest_px")
        where = f" or beyond, up to {number(farthest)} px away" if farthest else ""
        said.append(
            f"{counted(summary['n_at_limit'], 'frame')} lay at the limit of {limit} px{where}: "
            "raise max_shift_px."
        )
    seen = [plane["seen_in_all"] for plane in summary["planes"] if plane.get("seen_in_all")]
    if seen:
        said.append(
            f"All good frames show {number(100 * np.median(seen), 2)} % of the field of their "
            f"plane (median of the planes; least {number(100 * min(seen), 2)} %)."
        )
    return paragraph(" ".join(said))


def numbers(results: Results) -> Markup:
    """List the quality of every plane, with what each number means."""
    planes = results.values("correct_motion.summary").get("planes")
    if not planes:
        return absent("The quality of the motion correction was not measured.")
    lost = results.failed_planes()
    rows = [_row(plane, left_out=plane["plane"] in lost) for plane in planes]
    columns = ["plane#", "correlation#", "crispness#", "residual [px]#", "held-out#", "outliers#",
               "bad frames#", "bad pixels#", ""]  # fmt: skip
    made = table(columns, rows)
    if len(rows) > MANY_ROWS:
        made = folded(f"Quality of all {len(rows)} planes", made)
    meanings = [f"{name}: {meaning}" for name, meaning in MEANINGS.items()]
    return join([made, bullets([*meanings, *_photons(planes, lost)])])


def _row(plane: dict[str, Any], *, left_out: bool) -> list[object]:
    noise = plane["residual_noise_px"]
    residual = number(plane["residual_px"], 2)
    return [
        plane["plane"],
        _change(plane, "r", 2),
        _change(plane, "crispness", 3),
        residual if noise is None else f"{residual} ({number(noise, 2)})",
        _change(plane, "heldout", 2),
        plane["n_outliers"],
        plane["n_bad_frames"],
        plane["n_bad_pixels"],
        "left out" if left_out else "",
    ]


def _change(plane: dict[str, Any], name: str, digits: int) -> str:
    before, after = plane[f"{name}_before"], plane[f"{name}_after"]
    if before is None and after is None:
        return DASH
    return f"{number(before, digits)}{ARROW}{number(after, digits)}"


def _photons(planes: list[dict[str, Any]], lost: dict[int, str]) -> list[str]:
    """Return what one photon counts, or why there is no held-out score."""
    said = []
    kept = [plane for plane in planes if plane["plane"] not in lost]
    counted_ones = [plane for plane in kept if plane["heldout_skipped"] is None]
    if counted_ones:
        gain = np.median([plane["gain"] for plane in counted_ones])
        offset = np.median([plane["offset"] for plane in counted_ones])
        said.append(
            f"A photon counts {number(gain)} units above {number(offset)} (median of the planes; "
            "read noise is counted as light)."
        )
    reasons: dict[str, list[int]] = {}
    for plane in kept:
        if plane["heldout_skipped"] is not None:
            reasons.setdefault(plane["heldout_skipped"], []).append(plane["plane"])
    for why, which in reasons.items():
        where = "any plane" if len(which) == len(kept) else f"planes {_short(which)}"
        said.append(f"No held-out score of {where}: {why}.")
    return said


def _short(planes: list[int]) -> str:
    return ", ".join(map(str, planes[:MOST_MAPS])) + (" …" if len(planes) > MOST_MAPS else "")


def flow(results: Results) -> Markup:
    """Draw where in the field motion is left."""
    found = results.array("correct_motion.residual_flow")
    if found is None or not np.isfinite(found.values).any():
        return absent("The motion that is left was not measured.")
    values = np.asarray(found.values, np.float64)
    shown = [plane for plane in range(len(values)) if np.isfinite(values[plane]).any()]
    chosen = [shown[i] for i in np.unique(np.linspace(0, len(shown) - 1, MOST_MAPS).astype(int))]
    largest = float(np.nanmax(values))
    columns = min(6, len(chosen))
    rows = -(-len(chosen) // columns)

    def draw(made: Figure) -> None:
        panels = made.subplots(rows, columns, squeeze=False).ravel()
        for panel in panels:
            panel.set_axis_off()
        for panel, plane in zip(panels, chosen, strict=False):
            top = max(largest, LEAST_SCALE_PX)
            drawn = panel.imshow(values[plane], cmap="magma", vmin=0, vmax=top)
            panel.set_title(f"plane {plane}")
        made.colorbar(drawn, ax=list(panels), label="px rms", pad=0.01)

    caption = (
        "Motion that is left in each patch of the field after correction, root mean square over "
        f"bins of frames; the largest is {number(largest, 2)} px. Bright patches bend in a way "
        "that was not followed: try smaller grid_px, or method = piecewise."
    )
    drawn = svg(
        draw, name="flow", alt="Maps of residual motion, one per plane", height_in=0.6 + 1.5 * rows
    )
    return figure(drawn, caption)
