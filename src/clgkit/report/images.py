"""Images of the data: before and after, and outlines over them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from clgkit.report import sampling
from clgkit.report.drawing import image, mask_png, png
from clgkit.report.markup import TIMES, Markup, absent, figure, join, markup, number

if TYPE_CHECKING:
    import numpy.typing as npt
    import xarray as xr

    from clgkit.report.results import Results

WHOLE_PX = 560
CROP_PX = 224
DRAWN_PX = 900
OUTLINE = (255, 176, 0)
SCALES_UM = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class View(NamedTuple):
    """A rectangle of a picture in micrometres."""

    height_um: float
    width_um: float


def contrast(results: Results) -> Markup:
    """Compare a raw slice of the structure with its even contrast."""
    normalized = results.array("normalize_contrast.normalized")
    if normalized is None:
        return absent("The contrast was not normalized, so there is nothing to compare.")
    z = shown_slice(results, normalized.sizes["z"])
    after = sampling.shrink(normalized.isel(z=z).values, WHOLE_PX)
    raw = results.raw("structure")
    view = view_of(normalized, "y", "x")
    if raw is None:
        shown = stack([_grey(after, "Slice with even contrast")], view)
        caption = f"Slice {z} with even contrast. The raw stack is not at hand to compare."
        return figure(shown, caption, kind="wide")
    before = sampling.shrink(np.asarray(raw.isel(z=z).values), WHOLE_PX)
    content = slider(
        _grey(before, f"Raw slice {z} of the structural stack"),
        _grey(after, "The same slice after contrast normalization"),
        ("raw", "even contrast"),
        view,
    )
    return figure(
        content,
        f"Structural slice {z} (of {normalized.sizes['z']}, from 0). Drag the line. Look for "
        "nuclei that are equally clear in the middle, at the rim and in the shade; bright blotches "
        "that remain mean that the window is too large."
        + _scaled(results.values("normalize_contrast.summary")),
        kind="wide",
    )


def _scaled(summary: dict[str, Any]) -> str:
    """Return what was noted about the scale of the contrast, as sentences."""
    said = ""
    if summary.get("window_px"):
        z, y, x = summary["window_px"]
        said += f" The window was {z} {TIMES} {y} {TIMES} {x} voxels (z, y, x)."
    if summary.get("low") is not None:
        low, high = number(summary["low"]), number(summary["high"])
        said += f" Raw intensities {low} and {high} became 0 and 1."
    if summary.get("gain") is not None:
        offset, gain = number(summary["offset"]), number(summary["gain"])
        said += f" It is stored as integers n, which stand for {offset} + {gain} n."
    return said


def on_plane(results: Results) -> Markup:
    """Draw the labels as they lie on a functional plane."""
    template = results.array("correct_motion.template")
    labels = results.array("extract_traces.plane_labels")
    if template is None or labels is None:
        return absent("The labels were not laid on the functional planes yet.")
    plane = shown_plane(results, template.sizes["z"])
    crop = {dim: sampling.middle(labels.sizes[dim], CROP_PX) for dim in ("y", "x")}
    content = overlay(
        template.isel({"z": plane, **crop}).values,
        labels.isel({"z": plane, **crop}).values,
        view_of(template.isel(crop), "y", "x"),
        f"Outlines of nuclei on the mean image of functional plane {plane}",
    )
    return figure(
        content,
        f"Mean image of functional plane {plane} with the nuclei of its structural slice. Where "
        "the indicator is in the cytosol, each outline should sit in the dark middle of a bright "
        "ring; a common displacement of all outlines means a wrong slice or offset.",
    )


def motion(results: Results) -> Markup:
    """Compare the mean of a few frames before and after motion correction."""
    corrected = results.array("correct_motion.corrected")
    if corrected is None:
        return absent("The motion was not corrected, so there is nothing to compare.")
    plane = shown_plane(results, corrected.sizes["z"])
    frames = sampling.frames_spread(corrected.sizes["time"])
    crop = {dim: sampling.middle(corrected.sizes[dim], CROP_PX) for dim in ("y", "x")}
    after = sampling.mean_frame(corrected, plane, frames, crop)
    view = view_of(corrected.isel(crop), "y", "x")
    raw = results.raw("function")
    if raw is None:
        shown = stack([_grey(after, f"Mean image of plane {plane} after motion correction")], view)
        caption = (
            f"Mean of {len(frames)} frames of plane {plane} after motion correction. The raw movie "
            "is not at hand to compare."
        )
        return figure(shown, caption)
    before = sampling.mean_frame(raw, plane, frames, crop)
    low, high = sampling.levels(before, after)
    content = slider(
        image(png(sampling.as_grey(before, low, high)), f"Mean of raw frames of plane {plane}"),
        image(png(sampling.as_grey(after, low, high)), "Mean of the same frames, motion undone"),
        ("raw", "motion undone"),
        view,
    )
    return figure(
        content,
        f"Mean of the same {len(frames)} frames of plane {plane}, raw and corrected, on one grey "
        "scale. Drag the line. Cells should be rounder and their rims crisper on the right; "
        "doubled rims on the right mean frames that were put in a wrong place.",
    )


def shown_plane(results: Results, n_planes: int) -> int:
    """Return the plane nearest to the middle that was not lost."""
    lost = results.failed_planes()
    usable = [plane for plane in range(n_planes) if plane not in lost]
    return min(usable or [0], key=lambda plane: abs(plane - n_planes // 2))


def shown_slice(results: Results, n_slices: int) -> int:
    """Return the slice of the plane that is shown, or the middle one."""
    planes = results.array("align_planes.planes")
    if planes is not None and planes.size:
        chosen = int(planes.values[shown_plane(results, planes.sizes["z"])])
        if 0 <= chosen < n_slices:
            return chosen
    return n_slices // 2


def view_of(array: xr.DataArray, down: str, right: str) -> View:
    """Return the size of a picture with these axes."""
    return View(_extent_um(array, down), _extent_um(array, right))


def _extent_um(array: xr.DataArray, dim: str) -> float:
    values = array.coords[dim].values if dim in array.coords else np.arange(array.sizes[dim])
    step = float(values[1] - values[0]) if len(values) > 1 else 1.0
    return max(array.sizes[dim] * step, 1e-9)


def overlay(base: npt.NDArray[Any], labels: npt.NDArray[Any], view: View, alt: str) -> Markup:
    """Return an image with outlines that can be switched off."""
    low, high = sampling.levels(np.asarray(base, np.float64))
    factor = max(1, DRAWN_PX // max(labels.shape))
    rims = mask_png(sampling.outlines(labels, factor), OUTLINE)
    layers = [image(png(sampling.as_grey(base, low, high)), alt), image(rims, "", "rims")]
    return markup(
        '{stack}<label class="toggle"><input type="checkbox" checked data-toggle="rims"> outlines'
        "</label>",
        stack=stack(layers, view),
    )


def stack(layers: list[Markup], view: View) -> Markup:
    """Lay images over one another, in true proportion, with a scale bar."""
    return markup(
        '<div class="stack" style="aspect-ratio:{w}/{h}">{layers}{bar}</div>',
        w=f"{view.width_um:.6g}",
        h=f"{view.height_um:.6g}",
        layers=join(layers),
        bar=_scale_bar(view),
    )


def slider(before: Markup, after: Markup, names: tuple[str, str], view: View) -> Markup:
    """Lay two images over one another with a line between them that can be dragged."""
    handle = markup(
        '<span class="tag left">{before}</span><span class="tag right">{after}</span>'
        '<input type="range" min="0" max="100" value="50" aria-label="Share of the picture that is '
        'shown as {before}; the rest is {after}">',
        before=names[0],
        after=names[1],
    )
    over = markup('<div class="over">{before}</div><div class="line"></div>', before=before)
    return markup('<div class="compare">{stack}</div>', stack=stack([after, over, handle], view))


def _grey(pixels: npt.NDArray[Any], alt: str) -> Markup:
    return image(png(sampling.as_grey(pixels, *sampling.levels(pixels))), alt)


def _scale_bar(view: View) -> Markup:
    fitting = [length for length in SCALES_UM if length <= 0.3 * view.width_um]
    if not fitting:
        return Markup("")
    return markup(
        '<span class="bar" style="width:{share}%">{length} µm</span>',
        share=f"{100 * fitting[-1] / view.width_um:.4g}",
        length=number(fitting[-1]),
    )


def is_crop(labels: xr.DataArray, crop: dict[str, slice]) -> bool:
    """Tell whether a crop leaves anything out."""
    return any(part.stop - part.start < labels.sizes[dim] for dim, part in crop.items())
