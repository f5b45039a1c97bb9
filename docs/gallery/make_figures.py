"""Draw the figures of the gallery and tell the numbers of its pages.

``python docs/gallery/make_figures.py RECORDINGS [--only NAME]``.  RECORDINGS is the folder that
holds `movies`, `volumes` and `registration`; the recordings are not part of this repository,
each page says where they come from.  Figures are written beside this file.
"""

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import click
import h5py
import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import tifffile
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from scipy import ndimage

from clgkit import data, fsio, registration
from clgkit.deconvolution.response import noise_of
from clgkit.segmentation import score_labels
from clgkit.stages.correct_motion import CorrectMotion, MotionCorrected, correct_motion
from clgkit.stages.deconvolve import Deconvolve, deconvolve
from clgkit.stages.normalize_contrast import NormalizeContrast, normalize_contrast
from clgkit.stages.segment_nuclei import SegmentNuclei, segment_nuclei

Array: TypeAlias = npt.NDArray[Any]
Numbers: TypeAlias = dict[str, str]

HERE = Path(__file__).parent
DPI = 110
QUALITY = 82
Y_COLOUR, X_COLOUR, RAW_COLOUR = "#0072b2", "#e69f00", "#8a8f96"
STYLE: Any = {"font.size": 8, "axes.titlesize": 8.5, "axes.titlelocation": "left"}
MICROMETRE = (1.0, 1.0, 1.0)


def read_movie(folder: Path, name: str) -> Array:
    """Return frames, (T, Z, Y, X)."""
    frames: Array = tifffile.imread(folder / "movies" / name)
    return frames if frames.ndim == 4 else frames[:, np.newaxis]


def corrected(frames: Array, template: Array | None = None) -> MotionCorrected:
    """Undo the motion of a movie, from a template of its own or a given one."""
    movie = data.movie(frames, rate_hz=1.0, voxel_um=MICROMETRE)
    given = None if template is None else data.volume(template, voxel_um=MICROMETRE)
    return correct_motion(movie, given, CorrectMotion())


def plot_shifts(axes: Any, shifts: Array, start: int = 0) -> None:
    """Draw the shift of whole frames over the frames."""
    frames = np.arange(start, start + len(shifts))
    for axis, (name, colour) in enumerate((("y", Y_COLOUR), ("x", X_COLOUR))):
        axes.plot(
            frames, shifts[:, axis], color=colour, linewidth=0.9, label=None if start else name
        )
    axes.axhline(0, color=RAW_COLOUR, linewidth=0.5)
    axes.set_ylabel("shift (px)")
    axes.spines[["top", "right"]].set_visible(False)


def plot_agreement(axes: Any, raw: Array, made: MotionCorrected, plane: int = 0) -> None:
    """Draw how well raw and corrected frames agree with the template."""
    template = made.template.values[plane]
    before = registration.correlation_to_template(raw[:, plane].astype(np.float32), template)
    axes.plot(before, color=RAW_COLOUR, linewidth=0.8, label="raw")
    axes.plot(made.agreement.values[:, plane], color=Y_COLOUR, linewidth=0.8, label="corrected")
    axes.set_ylabel("r to the template")
    axes.set_xlabel("frame")
    axes.legend(frameon=False, fontsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def show(
    axes: Any, image: Array, title: str = "", limits: tuple[float, float] | None = None
) -> None:
    """Draw an image in grey between two intensities, by default between its percentiles."""
    low, high = limits if limits is not None else np.nanpercentile(image, [1, 99.7])
    axes.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    axes.set_title(title)
    axes.set_axis_off()


def overlay(one: Array, other: Array) -> Array:
    """Return an image that is white where both agree, magenta or green where one is brighter."""

    def stretched(image: Array) -> Array:
        low, high = np.nanpercentile(image, [1, 99.7])
        return np.asarray(np.nan_to_num(np.clip((image - low) / (high - low), 0, 1)))

    first, second = stretched(one), stretched(other)
    return np.dstack([first, second, first])


def save(figure: Figure, name: str) -> None:
    """Write a figure as WebP."""
    FigureCanvasAgg(figure)
    drawn, packed = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI, facecolor="white")
    Image.open(drawn).convert("RGB").save(packed, "WEBP", quality=QUALITY, method=6)
    fsio.write_bytes(HERE / f"{name}.webp", packed.getvalue())


def draw_fmi2p(folder: Path) -> Numbers:
    """Show mean images and shifts of a photon-starved mouse recording."""
    raw = read_movie(folder, "fmi2p_frames0001-0400.tif")
    made = corrected(raw)
    figure = Figure(figsize=(8.4, 2.9), layout="constrained")
    axes = figure.subplot_mosaic([["a", "b", "c"], ["a", "b", "d"]], width_ratios=[1, 1, 1.5])
    before, after = (movie[:, 0].mean(axis=0) for movie in (raw, made.corrected.values))
    limits = tuple(np.percentile(before, [1, 99.7]).tolist())
    cut = np.s_[48:208, 48:208]
    show(axes["a"], before[cut], "mean of 400 frames, raw", limits)
    show(axes["b"], after[cut], "corrected", limits)
    plot_shifts(axes["c"], made.shifts.values[:, 0])
    axes["c"].legend(frameon=False, fontsize=7, ncols=2)
    plot_agreement(axes["d"], raw, made)
    save(figure, "fmi2p")
    quality = made.summary["planes"][0]
    return {key: f"{value}" for key, value in quality.items()}


def draw_kenyon2p(folder: Path) -> Numbers:
    """Show two cycles of one recording, before and after both lie on the template of the first."""
    first, second = (read_movie(folder, f"kenyon2p_cycle{n}.tif") for n in (1, 2))
    one = corrected(first)
    two = corrected(second, one.template.values)
    figure = Figure(figsize=(8.4, 2.9), layout="constrained")
    axes = figure.subplot_mosaic([["a", "b", "c"], ["a", "b", "d"]], width_ratios=[1, 1, 1.3])
    means = [movie[:, 0].mean(axis=0) for movie in (first, second)]
    laid = [made.corrected.values[:, 0].mean(axis=0) for made in (one, two)]
    cut = np.s_[20:180, 60:220]
    for key, title, pair in (("a", "raw", means), ("b", "on one template", laid)):
        axes[key].imshow(overlay(pair[0][cut], pair[1][cut]), interpolation="nearest")
        axes[key].set_title(f"cycle 1 and cycle 2, {title}")
        axes[key].set_axis_off()
    plot_shifts(axes["c"], one.shifts.values[:, 0])
    plot_shifts(axes["c"], two.shifts.values[:, 0], start=len(first) + 5)
    axes["c"].legend(frameon=False, fontsize=7, ncols=2)
    template = one.template.values[0]
    for start, raw, made in ((0, first, one), (len(first) + 5, second, two)):
        frames = np.arange(start, start + len(raw))
        before = registration.correlation_to_template(raw[:, 0].astype(np.float32), template)
        axes["d"].plot(frames, before, color=RAW_COLOUR, linewidth=0.8)
        axes["d"].plot(frames, made.agreement.values[:, 0], color=Y_COLOUR, linewidth=0.8)
    axes["d"].set_ylabel("r to the template\n(grey: raw)")
    axes["d"].set_xlabel("frame (cycle 1, cycle 2)")
    axes["d"].spines[["top", "right"]].set_visible(False)
    save(figure, "kenyon2p")
    drift = np.median(two.shifts.values[:, 0], axis=0) - np.median(one.shifts.values[:, 0], axis=0)
    return {
        "r of the two means": f"{_r(*means):.4f} -> {_r(*laid):.4f}",
        "shift of cycle 2 less that of cycle 1, y and x": np.array2string(drift, precision=2),
    }


def draw_thunder(folder: Path) -> Numbers:
    """Show a small mouse recording and two planes of a light-sheet fish."""
    mouse = read_movie(folder, "thunder_mouse2p_500x64x64.tif")
    fish = read_movie(folder, "thunder_fish_lightsheet_240x2x76x87.tif")
    figure = Figure(figsize=(8.4, 3.4), layout="constrained")
    axes = figure.subplots(2, 3, width_ratios=[1, 1, 2])
    told = {}
    for row, (name, raw) in zip(axes, (("mouse", mouse), ("fish, plane 2", fish)), strict=True):
        made, plane = corrected(raw), raw.shape[1] - 1
        before = raw[:, plane].mean(axis=0)
        limits = tuple(np.percentile(before, [1, 99.7]).tolist())
        show(row[0], before, f"{name}: mean, raw", limits)
        show(row[1], made.corrected.values[:, plane].mean(axis=0), "corrected", limits)
        plot_shifts(row[2], made.shifts.values[:, plane])
        largest = np.hypot(*made.shifts.values[:, plane].T).max()
        told[name] = f"largest shift {largest:.2f} px"
    axes[0, 2].legend(frameon=False, fontsize=7, ncols=2)
    axes[1, 2].set_xlabel("frame")
    save(figure, "thunder")
    return told


def read_volumes(folder: Path) -> dict[str, tuple[Array, tuple[float, float, float]]]:
    """Return the structural stacks and their voxels in micrometres."""
    volumes = folder / "volumes"
    with h5py.File(volumes / "gonuclear_1135_mini.h5") as file:
        ovule = np.asarray(file["raw"])
    brain = tifffile.imread(volumes / "cellseg3d_c5image_nolabel.tif")
    demo = tifffile.imread(volumes / "stardist_img3d.tif")
    return {
        "ovule": (ovule, (0.284, 0.127, 0.127)),
        "mouse brain": (brain, MICROMETRE),
        "StarDist demo": (demo, MICROMETRE),
    }


def draw_contrast(folder: Path) -> Numbers:
    """Show slices across and along z before and after contrast normalization."""
    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    axes = figure.subplots(2, 5)
    told = {}
    for row, name in zip(axes, ("ovule", "mouse brain"), strict=True):
        stack, voxel = read_volumes(folder)[name]
        volume = data.volume(stack, voxel_um=voxel)
        small, large = (
            normalize_contrast(volume, NormalizeContrast(radius_px=radius)).normalized.values
            for radius in (10, 30)
        )
        z, y = stack.shape[0] // 2, stack.shape[1] // 2
        show(row[0], stack[z], f"{name}, raw")
        show(row[1], small[z], "radius 10 px")
        show(row[2], large[z], "radius 30 px")
        for side, title, image in ((row[3], "along z, raw", stack), (row[4], "radius 10", small)):
            show(side, image[:, y], title)
            side.set_aspect(voxel[0] / voxel[2])
        bright = [np.percentile(image, 99, axis=(1, 2)) for image in (stack, small, large)]
        spread = [f"{float(values.std() / values.mean()):.2f}" for values in bright]
        told[name] = f"99th percentile of slices, CV raw, radius 10, 30: {', '.join(spread)}"
    save(figure, "contrast")
    return told


def draw_deconvolution(folder: Path) -> Numbers:
    """Show a slice of each stack: raw, denoised, and as published."""
    figure = Figure(figsize=(6.4, 6.6), layout="constrained")
    axes = figure.subplots(3, 3)
    told = {}
    for row, (name, (stack, voxel)) in zip(axes, read_volumes(folder).items(), strict=True):
        volume = data.volume(stack, voxel_um=voxel)
        lowest = float(min(stack.min(), 0))
        smooth = deconvolve(volume, params=Deconvolve(offset=lowest)).deconvolved.values
        published = Deconvolve(offset=lowest, compat="published", fwhm_um=3 * voxel[2])
        sharp = deconvolve(volume, params=published).deconvolved.values
        z = stack.shape[0] // 2
        titles = (f"{name}, raw", "denoised (default)", "published: sparse, RL 8")
        images = (stack.astype(np.float32) - lowest, smooth, sharp)
        for side, title, image in zip(row, titles, images, strict=True):
            show(side, image[z], title)
        grain = ", ".join(f"{noise_of(image) / image.mean():.3f}" for image in images)
        peak = [float(np.percentile(image, 99.9)) for image in images]
        told[name] = f"noise over mean, raw, denoised, published: {grain}"
        told[name] += f"; 99.9th percentile x {peak[1] / peak[0]:.2f}, {peak[2] / peak[0]:.2f}"
    save(figure, "deconvolution")
    return told


def draw_photons(folder: Path) -> Numbers:
    """Show a real stack at five photons, denoised, beside the stack itself."""
    stack, voxel = read_volumes(folder)["ovule"]
    smooth = ndimage.gaussian_filter(stack.astype(np.float32), 0.6)
    light = 5 * smooth / np.percentile(smooth, 99)
    noisy = np.random.default_rng(0).poisson(light).astype(np.float32)
    made = deconvolve(data.volume(noisy, voxel_um=voxel)).deconvolved.values
    blurred = ndimage.gaussian_filter(noisy, (0.6, 1, 1))
    figure = Figure(figsize=(8.4, 2.4), layout="constrained")
    titles = ("the stack", "5 photons", "Gaussian (0.6, 1, 1)", "denoised (default)")
    images = (light, noisy, blurred, made)
    for side, title, image in zip(figure.subplots(1, 4), titles, images, strict=True):
        show(side, image[50], title)
    save(figure, "photons")
    return {
        title: f"r to the stack {_r(image, light):.3f}"
        for title, image in zip(titles, images, strict=True)
    }


def tell_nuclei(folder: Path) -> Numbers:
    """F1 of nuclei found in labelled stacks, raw, denoised and normalized."""
    volumes = folder / "volumes"
    with h5py.File(volumes / "gonuclear_1135_mini.h5") as file:
        ovule = np.asarray(file["label"]).astype(np.uint32)
    demo = tifffile.imread(volumes / "stardist_mask3d.tif").astype(np.uint32)
    told = {}
    for name, truth, diameter in (("ovule", ovule, 3.5), ("StarDist demo", demo, 10.0)):
        stack, voxel = read_volumes(folder)[name]
        volume = data.volume(stack, voxel_um=voxel)
        seen = {"raw": volume, "denoised": deconvolve(volume).deconvolved}
        for radius in (10, 30):
            even = normalize_contrast(volume, NormalizeContrast(radius_px=radius))
            seen[f"radius {radius}"] = even.normalized
        for method in ("network", "classical"):
            settings = SegmentNuclei(method=method, diameter_um=diameter, elongation=1.0)
            scores = []
            for key, image in seen.items():
                noise_from = volume if key == "denoised" else None
                labels = segment_nuclei(image, noise_from, params=settings).labels.values
                score = score_labels(truth, labels)
                scores.append(f"{key} {score.f1:.2f} ({score.n_predicted} of {score.n_truth})")
            told[f"{name}, {method}"] = ", ".join(scores)
    return told


def draw_planes(folder: Path) -> Numbers:
    """Show a real picture under a known map, and two fish that are not the same."""
    pictures = folder / "registration"
    nuclei = tifffile.imread(pictures / "optofish_nuc_MIP_Anatomy-8bit.tif").astype(np.float32)
    cytosol = tifffile.imread(pictures / "optofish_cyto_MIP_Anatomy-8bit-scaled.tif")
    part = np.s_[200:840, 20:660]
    plane, foreign = nuclei[part], cytosol.astype(np.float32)[part]
    known, bent = _bend(nuclei, part)
    light = np.random.default_rng(0).poisson(np.sqrt(bent) * 6).astype(np.float32)
    own = registration.register_plane(plane, light, nucleus_px=12.0)
    other = registration.register_plane(plane, foreign, nucleus_px=12.0)
    inner = np.s_[40:-40, 40:-40]
    figure = Figure(figsize=(8.4, 2.9), layout="constrained")
    pairs = (
        ("bent by a known map", light),
        ("found", _read_through(light, own.field)),
        ("another fish, found", _read_through(foreign, other.field)),
    )
    for side, (title, image) in zip(figure.subplots(1, 3), pairs, strict=True):
        side.imshow(overlay(plane[inner], image[inner]), interpolation="nearest")
        side.set_title(title)
        side.set_axis_off()
    save(figure, "planes")
    error = np.hypot(*np.moveaxis(own.field - known, -1, 0))[inner]
    start = np.hypot(*np.moveaxis(known, -1, 0))[inner]
    return {
        "error": f"median {np.median(error):.2f} px, 95 % {np.percentile(error, 95):.2f} px",
        "moved by": f"median {np.median(start):.2f} px",
        "explained, itself": f"{np.nanmedian(own.block_explained):.3f}",
        "explained, another fish": f"{np.nanmedian(other.block_explained):.3f}",
    }


def _bend(image: Array, part: tuple[slice, slice]) -> tuple[Array, Array]:
    """Return a field (y, x, 2) and the picture in which `part` is found through it."""
    ny, nx = (window.stop - window.start for window in part)
    y, x = np.indices((ny, nx), dtype=np.float64)
    v, u = y / ny - 0.5, x / nx - 0.5

    def offset(v: Array, u: Array) -> Array:
        bend = [2 * np.sin(2 * np.pi * u), 2 * np.cos(2 * np.pi * v)]
        return np.stack([4.0 + 11 * u + bend[0], -3.0 - 11 * v + bend[1]], axis=-1)

    field = offset(v, u)
    back = field.copy()
    for _ in range(20):
        back = offset((y - back[..., 0]) / ny - 0.5, (x - back[..., 1]) / nx - 0.5)
    places = [y - back[..., 0] + part[0].start, x - back[..., 1] + part[1].start]
    return field, ndimage.map_coordinates(image, places, order=1)


def _read_through(image: Array, field: Array) -> Array:
    y, x = np.indices(image.shape)
    return np.asarray(
        ndimage.map_coordinates(image, [y + field[..., 0], x + field[..., 1]], order=1)
    )


def _r(one: Array, other: Array) -> float:
    known = np.isfinite(one) & np.isfinite(other)
    return float(np.corrcoef(one[known], other[known])[0, 1])


FIGURES: dict[str, Callable[[Path], Numbers]] = {
    "fmi2p": draw_fmi2p,
    "kenyon2p": draw_kenyon2p,
    "thunder": draw_thunder,
    "contrast": draw_contrast,
    "deconvolution": draw_deconvolution,
    "photons": draw_photons,
    "nuclei": tell_nuclei,
    "planes": draw_planes,
}


@click.command()
@click.argument("recordings", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--only", type=click.Choice(sorted(FIGURES)), help="One figure instead of all.")
def main(recordings: Path, only: str | None) -> None:
    """Draw the figures from the folder RECORDINGS."""
    for name in [only] if only else FIGURES:
        with mpl.rc_context(STYLE), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            numbers = FIGURES[name](recordings)
        click.echo(name)
        for key, value in numbers.items():
            click.echo(f"  {key}: {value}")
        for warning in caught:
            click.echo(f"  warned: {warning.message}")


if __name__ == "__main__":
    main()
