"""What the denoising did to the movie: a frame, traces, eigenvalues, and four numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from clgkit.report import sampling
from clgkit.report.drawing import BLUE, MUTED, ORANGE, grid, image, png, svg
from clgkit.report.images import CROP_PX, WHOLE_PX, shown_plane, slider, stack, view_of
from clgkit.report.markup import (
    DASH,
    Markup,
    absent,
    figure,
    join,
    markup,
    number,
    paragraph,
    row,
    table,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from clgkit.report.results import Results

N_TRACES = 3
ROI_PX = 8
MOST_FRAMES = 400
RESIDUAL_SIGMAS = 4.0
RESIDUAL_VARIANCE = (0.5, 1.5)
LIVELY_FRAMES = 25
SHOWN_EIGENVALUES = 12
LINES: dict[str, str] = {
    "heldout_excess": "held-out error [noise variance]",
    "correlation_bias": "change of correlations, mean",
    "correlation_rms": "change of correlations, rms",
    "crossing": "strongest pairs made by denoising",
    "residual_with_result": "correlation of what was removed with what was left",
    "peak": "height kept of injected transients",
}


def denoising(results: Results) -> Markup:
    """Show what the denoising did; nothing where the run has none."""
    summary = results.values("denoise.summary")
    if not summary:
        return Markup("")
    return join([pictures(results), traces(results), spectrum(results), numbers(summary)])


def pictures(results: Results) -> Markup:
    """Compare one frame before and after, and show what was removed, of it and of all frames."""
    before, after = _pair(results)
    if before is None or after is None:
        told = paragraph("The denoised movie is kept as factors, so no frame of it is shown.")
        return join([told, residual_map(results)])
    plane, frame = shown_plane(results, after.sizes["z"]), after.sizes["time"] // 2
    crop = {dim: sampling.middle(after.sizes[dim], CROP_PX) for dim in ("y", "x")}
    at: dict[str, Any] = {"time": frame, "z": plane, **crop}
    first, second = (np.asarray(movie.isel(at).values, np.float64) for movie in (before, after))
    view = view_of(after.isel(crop), "y", "x")
    low, high = sampling.levels(first, second)
    sigma = results.array("denoise.sigma")
    scale = 1.0 if sigma is None else np.asarray(sigma.isel({"z": plane, **crop}).values)
    with np.errstate(invalid="ignore", divide="ignore"):  # a pixel without noise
        removed = np.where(np.asarray(scale) > 0, (first - second) / scale, 0)
    shown = slider(
        image(png(sampling.as_grey(first, low, high)), f"Frame {frame} before denoising"),
        image(png(sampling.as_grey(second, low, high)), f"Frame {frame} denoised"),
        ("before", "denoised"),
        view,
    )
    grey = sampling.as_grey(removed, -RESIDUAL_SIGMAS, RESIDUAL_SIGMAS)
    residual = stack([image(png(grey), f"What was removed from frame {frame}")], view)
    return row(
        figure(
            shown,
            f"Frame {frame} of plane {plane}, before and after, on one grey scale. Drag the line.",
        ),
        figure(
            residual,
            f"What was removed, from {number(-RESIDUAL_SIGMAS)} to {number(RESIDUAL_SIGMAS)} "
            "standard deviations of the noise. It should be grain: an outline of cells in it is "
            "signal that was lost.",
        ),
        residual_map(results),
    )


def residual_map(results: Results) -> Markup:
    """Show a whole plane: what was removed from all frames, over the noise."""
    found = results.array("denoise.residual_variance")
    if found is None:
        return Markup("")
    plane = shown_plane(results, found.sizes["z"])
    values = np.asarray(found.isel(z=plane).values, np.float64)
    low, high = RESIDUAL_VARIANCE
    grey = sampling.as_grey(sampling.shrink(values, WHOLE_PX), low, high)
    known = values[np.isfinite(values)]
    share = f"{np.mean(known > high):.2%}" if known.size else DASH
    return figure(
        stack(
            [image(png(grey), f"Residual of plane {plane} over its noise")],
            view_of(found, "y", "x"),
        ),
        f"What was removed from all frames of plane {plane}, squared and over that of the noise, "
        f"from {number(low)} (black) to {number(high)} (white). It should be an even grey (1): "
        f"bright cells are signal that was lost. {share} of the pixels exceed the scale.",
    )


def _pair(results: Results) -> tuple[xr.DataArray | None, xr.DataArray | None]:
    before, after = (
        results.array(name) for name in ("correct_motion.corrected", "denoise.denoised")
    )
    if before is None or after is None or before.shape != after.shape or not after.size:
        return None, None
    return before, after


def traces(results: Results) -> Markup:
    """Draw three traces before and after."""
    before, after = _pair(results)
    if before is None or after is None:
        return Markup("")
    plane = shown_plane(results, after.sizes["z"])
    frames = slice(0, MOST_FRAMES)
    places = _places(results, plane, after)
    pairs = [
        tuple(_trace(movie.isel(time=frames, z=plane), place) for movie in (before, after))
        for place in places
    ]
    time = np.asarray(after.coords["time"].values[frames], np.float64)

    def draw(made: Figure) -> None:
        panels = made.subplots(len(pairs), 1, sharex=True, squeeze=False)[:, 0]
        for panel, (raw, clean), (y, x) in zip(panels, pairs, places, strict=True):
            panel.plot(time, raw, color=MUTED, linewidth=0.8, label="before")
            panel.plot(time, clean, color=BLUE, label="denoised")
            panel.set_ylabel(f"row {y}, col. {x}")
            panel.margins(x=0)
            grid(panel)
        panels[0].set_title(f"Squares of {ROI_PX} x {ROI_PX} pixels of plane {plane}")
        panels[0].legend(loc="upper right", ncols=2)
        panels[-1].set_xlabel("time [s]")

    drawn = svg(draw, name="denoised", alt="Traces before and after denoising", height_in=3.6)
    return figure(
        drawn,
        "Mean over small squares where the movie changes most. Transients should keep their "
        "height and their onset. A mean over a hundred pixels gains little from denoising above "
        "two photons per pixel: the network is best built from the movie before it.",
    )


def _places(results: Results, plane: int, movie: xr.DataArray) -> list[tuple[int, int]]:
    """Return the corners of the squares with most components, or where most happens."""
    ranks = results.array("denoise.n_components")
    size = tuple(movie.sizes[dim] for dim in ("y", "x"))
    offset = ROI_PX // 2
    if ranks is None:
        values, offset = _liveliness(movie.isel(z=plane)), 0
    else:
        values = np.asarray(ranks.isel(z=plane).values)
    chosen = np.argsort(-values, axis=None, kind="stable")[:N_TRACES]
    blocks = np.stack(np.unravel_index(chosen, values.shape), axis=1)
    return [
        (min(ROI_PX * int(y) + offset, max(0, size[0] - ROI_PX)),
         min(ROI_PX * int(x) + offset, max(0, size[1] - ROI_PX)))
        for y, x in blocks
    ]  # fmt: skip


def _liveliness(plane: xr.DataArray) -> npt.NDArray[np.float64]:
    """Return how much the mean of each square changes, over frames spread over the recording."""
    sides = [max(1, plane.sizes[dim] // ROI_PX) for dim in ("y", "x")]
    means = []
    for frame in sampling.frames_spread(plane.sizes["time"], LIVELY_FRAMES):
        pixels = np.nan_to_num(np.asarray(plane.isel(time=frame).values, np.float64))
        squares = pixels[: sides[0] * ROI_PX, : sides[1] * ROI_PX]
        rows, columns = (max(1, n // side) for n, side in zip(squares.shape, sides, strict=True))
        means.append(squares.reshape(sides[0], rows, sides[1], columns).mean(axis=(1, 3)))
    return np.asarray(np.std(means, axis=0))


def _trace(plane: xr.DataArray, place: tuple[int, int]) -> npt.NDArray[np.float64]:
    y, x = place
    square = plane.isel(y=slice(y, y + ROI_PX), x=slice(x, x + ROI_PX))
    values = np.asarray(square.values, np.float64)
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):  # a frame that shows nothing of it
        return np.asarray(np.where(known, values, 0).sum(axis=(1, 2)) / known.sum(axis=(1, 2)))


def spectrum(results: Results) -> Markup:
    """Draw the eigenvalues of all blocks over the edge of noise, and the ranks."""
    found = results.array("denoise.eigenvalues")
    ranks = results.array("denoise.n_components")
    if found is None or ranks is None:
        return Markup("")
    plane = shown_plane(results, found.sizes["z"])
    values = np.asarray(found.isel(z=plane, order=slice(0, SHOWN_EIGENVALUES)).values, np.float64)
    values = values.reshape(-1, values.shape[-1])
    counts = np.bincount(np.asarray(ranks.isel(z=plane).values).ravel())

    def draw(made: Figure) -> None:
        left, right = made.subplots(1, 2, width_ratios=[2, 1])
        _draw_eigenvalues(left, values)
        right.bar(np.arange(len(counts)), counts, color=BLUE)
        right.set(xlabel="components of a block", ylabel="blocks", title="Rank")
        grid(right)

    drawn = svg(draw, name="eigenvalues", alt="Eigenvalues over the edge of noise", height_in=2.7)
    empty = int(counts[0]) if len(counts) else 0
    return figure(
        drawn,
        f"Left: the largest eigenvalues of all {int(counts.sum()):,} blocks of plane {plane}, over "
        "the edge of noise (orange): what lies below it is dropped unless it is smooth in time "
        f"and space. Right: components kept; {empty:,} blocks have none and became their mean.",
    )


def _draw_eigenvalues(panel: Axes, values: npt.NDArray[np.float64]) -> None:
    order = np.arange(1, values.shape[1] + 1)
    low, middle, high = np.percentile(values, [5, 50, 95], axis=0)
    panel.fill_between(order, low, high, color=BLUE, alpha=0.25, linewidth=0)
    panel.plot(order, middle, "o-", color=BLUE, markersize=3.5)
    panel.axhline(1, color=ORANGE)
    panel.set(xlabel="number", ylabel="eigenvalue / edge", title="Median and 5 to 95 % of blocks")
    if middle.min() > 0:
        panel.set_yscale("log")
    grid(panel)


def numbers(summary: Mapping[str, Any]) -> Markup:
    """List the measures of every plane, and say what they should be."""
    planes = summary.get("planes", [])
    if not planes:
        return absent("The movie was too short to be judged.")
    rows = [[plane["plane"], *(number(plane[name]) for name in LINES)] for plane in planes]
    worst = [p["peak"] for p in planes if p["peak"] is not None]
    told = (
        markup(
            "<strong>Method {method}.</strong> Measured without a truth, on a part of every plane. "
            "The held-out error is 2 for the raw movie and 0 for a perfect one. Correlations are "
            "compared with raw ones corrected for noise: a denoiser that pulls neighbours together "
            "raises them, and puts pairs among the strongest tenth that were not there. What was "
            "removed should not resemble what was left (0). Injected transients should keep their "
            "height (1{lowest}).",
            method=str(summary.get("method", DASH)),
            lowest=f"; here at least {number(min(worst), 2)}" if worst else "",
        ),
    )
    return join([*told, table(["plane#", *LINES.values()], rows)])
