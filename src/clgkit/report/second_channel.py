"""The second channel of the functional movie, laid over the first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from clgkit.report import sampling
from clgkit.report.drawing import GREEN, PURPLE, grid, svg
from clgkit.report.images import CROP_PX, shown_plane
from clgkit.report.markup import Markup, absent, figure, number

if TYPE_CHECKING:
    import numpy.typing as npt
    import xarray as xr
    from matplotlib.figure import Figure

    from clgkit.report.results import Results

COLUMNS = 600


def second_channel(results: Results) -> Markup:
    """Draw the mean of both channels over one another, and how well their frames lie.

    A run without a second channel has nothing to show and says nothing.
    """
    nuclear = results.array("apply_motion.template")
    calcium = results.array("correct_motion.template")
    agreement = results.array("apply_motion.agreement")
    if nuclear is None or calcium is None or agreement is None:
        return Markup("")
    if not nuclear.size or nuclear.shape != calcium.shape:
        return absent("The two channels cannot be laid over one another.")
    plane = shown_plane(results, nuclear.sizes["z"])
    crop = {dim: sampling.middle(nuclear.sizes[dim], CROP_PX) for dim in ("y", "x")}
    shown = (channel.isel({"z": plane, **crop}).values for channel in (calcium, nuclear))
    overlay = overlaid(*shown)
    lines = {
        "nuclear channel": (agreement, PURPLE),
        "calcium channel": (results.array("correct_motion.agreement"), GREEN),
    }

    def draw(made: Figure) -> None:
        picture, panel = made.subplots(1, 2, width_ratios=[1, 2])
        picture.imshow(overlay)
        picture.set_axis_off()
        picture.set_title(f"Plane {plane}: calcium and nuclei")
        for name, (found, colour) in lines.items():
            if found is not None:
                panel.plot(*_over_time(found), color=colour, label=name)
        panel.set(xlabel="time [s]", ylabel="correlation", title="Agreement with the template")
        panel.margins(x=0)
        panel.legend()
        grid(panel)

    values = np.asarray(agreement.values, np.float64)
    good = values[np.isfinite(values)]
    middle = float(np.median(good)) if good.size else None
    caption = (
        f"Left: mean images of plane {plane}, the calcium channel in green and the nuclear one, "
        "moved by the shifts of the calcium channel, in magenta. Each magenta nucleus should fill "
        "the dark middle of a green ring; a common displacement means that the channels are not "
        "aligned on the microscope. Right: correlation of every frame with the mean of its "
        f"channel, averaged over planes; the median of the nuclear channel is {number(middle, 2)}. "
        "Fewer photons lower it throughout; a dip in both lines is a moment that fits badly."
        + _score(results)
    )
    drawn = svg(draw, name="second-channel", alt="Both channels, and their agreement", height_in=3)
    return figure(drawn, caption)


def _score(results: Results) -> str:
    """Return a sentence about how much better frames agree, on which nothing was estimated."""
    quality = results.array("apply_motion.quality")
    if quality is None or not np.isfinite(quality.values).any():
        return ""
    before, after = np.nanmedian(np.asarray(quality.values, np.float64), axis=0)
    return (
        " The shifts were not estimated on this channel: the correlation of its frames with the "
        f"mean of the others, over the same pixels, was {number(before, 2)} before and is "
        f"{number(after, 2)} (median of the planes)."
    )


def overlaid(green: npt.NDArray[Any], magenta: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return (Y, X, 3) colours of two images; white is where both are bright."""
    first, second = (sampling.as_grey(image, *sampling.levels(image)) for image in (green, magenta))
    return np.stack([second, first, second], axis=-1)


def _over_time(agreement: xr.DataArray) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return times and the mean over planes that were not lost, in bins."""
    values = np.asarray(agreement.values, np.float64)
    over_planes = sampling.bin_means(values, 1)[:, 0]
    n = len(over_planes)
    time = agreement.coords["time"].values if "time" in agreement.coords else np.arange(n)
    return time[sampling.bin_edges(n, COLUMNS)], sampling.bin_means(over_planes, COLUMNS)
