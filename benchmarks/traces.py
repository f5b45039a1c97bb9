"""Extraction and dF/F beside the original's way of doing them."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.ndimage import median_filter

from benchmarks.harness import Figure, Size, measure, peer_version
from clgkit.traces import compute_dff, extract, find_rois

Floats: TypeAlias = npt.NDArray[np.floating]
Frames: TypeAlias = npt.NDArray[np.uint16]
Labels: TypeAlias = npt.NDArray[np.uint32]


def make_plane(size: Size) -> tuple[Frames, Labels]:
    """Return frames and labels of one plane: discs of 37 pixels.

    Full size is 599 x 1024 x 1024 with 2,500 labels; as uint16 the frames take 1.25 GB.
    """
    n_frames, side, spacing = (599, 1024, 20) if size == "full" else (20, 80, 20)
    rng = np.random.default_rng(0)
    y, x = np.indices((side, side))
    inside = (y % spacing - 8) ** 2 + (x % spacing - 8) ** 2 < 12
    cell_y, cell_x = y // spacing, x // spacing
    n_cells = side // spacing - (1 if size == "full" else 0)
    inside &= (cell_y < n_cells) & (cell_x < n_cells)
    labels = np.where(inside, 1 + cell_y * n_cells + cell_x, 0).astype(np.uint32)
    noise = rng.integers(100, 4000, (8, side, side), dtype=np.uint16)
    frames = np.empty((n_frames, side, side), np.uint16)
    for t in range(n_frames):
        np.add(noise[t % 8], t, out=frames[t], casting="unsafe")
    return frames, labels


def extract_label_by_label(frames: Frames, labels: Labels) -> Floats:
    """Search the plane for every label, and average the pixels that are found."""
    names = np.unique(labels)
    pixels = frames.reshape(len(frames), labels.size)
    places = (np.flatnonzero(labels == name) for name in names[names > 0])
    return np.stack([pixels[:, place].mean(axis=1) for place in places])


def make_traces(size: Size) -> npt.NDArray[np.float64]:
    """Return fluorescence with sparse transients: 2,000 traces of 599 frames."""
    n_traces, n_frames = (2000, 599) if size == "full" else (20, 100)
    rng = np.random.default_rng(1)
    transient = np.exp(-np.arange(40) / 8)
    spikes = (rng.random((n_traces, n_frames)) < 0.01) * 1.0
    active = np.apply_along_axis(np.convolve, 1, spikes, transient)[:, :n_frames]
    traces: npt.NDArray[np.float64] = 500 * (1 + active) + rng.normal(0, 25, spikes.shape)
    return traces


def robust_std(values: Floats) -> float:
    """Return 1.4826 times the median absolute deviation."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def noise_with_scipy(row: Floats) -> float:
    """Follow the description of the noise estimate."""
    residual = row - median_filter(row, 31, mode="reflect")
    kept = residual[residual < 1.5 * np.abs(residual.min())]
    return robust_std(kept[np.abs(kept) < 2.5 * robust_std(kept)])


def dff_with_scipy(traces: Floats, long_frames: int, short_frames: int) -> Floats:
    """Follow the description of the windowed-median dF/F, row by row."""
    made = np.empty_like(traces)
    for out, row in zip(made, traces, strict=True):
        baseline = median_filter(row, long_frames, mode="reflect")
        d = (row - baseline) / np.maximum(baseline, noise_with_scipy(row))
        trend = median_filter(d, short_frames, mode="reflect")
        out[:] = d - np.minimum(trend, 2.5 * noise_with_scipy(d))
    return made


def figure_extract(size: Size) -> Figure:
    """One plane with 2,500 labels, finding the runs included."""
    frames, labels = make_plane(size)
    ours, peer = measure(
        lambda: extract(frames, find_rois(labels)),
        lambda: extract_label_by_label(frames, labels),
    )
    name = f"notebook's search per label, {peer_version('numpy')}"
    return Figure("extract 599 x 1024² uint16", "CPU s", ours, name, peer, target=8)


def figure_extract_difference(size: Size) -> Figure:
    """Largest difference of the exact mode to the search per label."""
    frames, labels = make_plane(size)
    ours = extract(frames, find_rois(labels), compat=True)
    difference = float(np.abs(ours - extract_label_by_label(frames, labels)).max())
    return Figure("extract, difference", "counts", difference, target=0.0)


def figure_dff(size: Size) -> Figure:
    """2,000 traces at 1 Hz: windows of 301, 31 and 3 frames."""
    traces = make_traces(size)
    windows = compute_dff(traces[:2], rate_hz=1.0)
    ours, peer = measure(
        lambda: compute_dff(traces, rate_hz=1.0),
        lambda: dff_with_scipy(traces, windows.long_frames, windows.short_frames),
    )
    name = f"median_filter, {peer_version('scipy')}"
    return Figure("dF/F 2,000 x 599", "CPU s", ours, name, peer, target=3)


def figure_dff_difference(size: Size) -> Figure:
    """Largest difference to the filters of scipy."""
    traces = make_traces(size)[:200]
    made = compute_dff(traces, rate_hz=1.0)
    expected = dff_with_scipy(traces, made.long_frames, made.short_frames)
    difference = float(np.abs(made.dff - expected).max())
    return Figure("dF/F, difference", "1", difference, target=0.0)
