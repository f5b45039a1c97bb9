"""What the pages of the methods say in numbers, where no other package measures it.

dF/F is that of one trace with a known truth; components are those of independent traces, and of
quiet neurons beside active ones.
"""

from functools import cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from benchmarks.harness import Figure, Size
from clgkit.contrast import normalize_contrast
from clgkit.traces import compute_dff
from clgkit.traces.components import Components, fit_components, low_rank

Floats: TypeAlias = npt.NDArray[np.float64]

RATE_HZ = 2.0
"""That of `clg demo`."""
BASELINE = 500.0
NOISE, LITTLE_NOISE = 0.05, 0.02
"""Of the baseline."""
TORCH_ON_PROCESSOR = "cpu:0"


def quiet_traces(size: Size, noise: float) -> Floats:
    """Return traces that show nothing but a constant baseline and its noise."""
    n_traces, n_frames = (500, 1200) if size == "full" else (10, 200)
    rng = np.random.default_rng(0)
    traces: Floats = BASELINE * (1 + noise * rng.normal(size=(n_traces, n_frames)))
    return traces


def figure_edges(size: Size) -> Figure:
    """Error of the baseline in the first and the last frame, by what lies beyond them."""
    traces = quiet_traces(size, NOISE)
    made = [compute_dff(traces, rate_hz=RATE_HZ, edges=edges) for edges in ("mirror", "zero")]
    ours, peer = (
        float(np.abs(np.median(one.baseline[:, [0, -1]], axis=0) / BASELINE - 1).max())
        for one in made
    )
    name, zeros = "baseline at the ends, error", "zeros beyond the ends (original)"
    return Figure(name, "share", ours, peer=zeros, peer_value=peer, target=10)


def kept_share(size: Size, amplitude: float) -> float:
    """Return the share of the area of transients that decay in 2 s that dF/F keeps.

    A transient of 0.1 is five times as high as the noise.  What dF/F makes of the same noise
    alone is taken off.
    """
    traces = quiet_traces(size, LITTLE_NOISE)
    n_frames = traces.shape[1]
    seconds = np.arange(round(10 * RATE_HZ)) / RATE_HZ
    shape = amplitude * np.exp(-seconds / 2.0)
    transients = np.zeros(n_frames)
    for onset in range(40, n_frames - 40, 60):
        transients[onset : onset + len(shape)] = shape
    with_them, without = (
        compute_dff(one, rate_hz=RATE_HZ).dff for one in (traces + BASELINE * transients, traces)
    )
    return float((with_them - without).sum() / (transients.sum() * len(traces)))


def figure_small_transient(size: Size) -> Figure:
    """Area that is left of a small, slow transient; told, not judged."""
    share = kept_share(size, 0.1)
    name = "area kept of transients of 0.1 that decay in 2 s"
    return Figure(name, "share", share, target=0.0, better="higher")


def figure_large_transient(size: Size) -> Figure:
    """Area that is left of one ten times as large; told, not judged."""
    share = kept_share(size, 1.0)
    return Figure("the same of transients of 1.0", "share", share, target=0.0, better="higher")


def correlations(rows: Floats) -> Floats:
    """Return the correlations of all pairs, from coordinates of `low_rank`."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    every = (rows / length) @ (rows / length).T
    return np.asarray(every[np.triu_indices(len(rows), 1)])


def figure_chance(size: Size) -> Figure:
    """Spread of the correlations of independent traces on K components, times the root of K."""
    n_traces, n_frames = (1000, 400) if size == "full" else (60, 40)
    traces = np.random.default_rng(1).normal(size=(n_traces, n_frames))
    made = fit_components([traces], variance=0.5)
    n = made.vectors.shape[1]
    spread = float(correlations(low_rank(traces, made)).std() * np.sqrt(n))
    name = f"chance: sd of r, times the root of {n} components, off 1"
    return Figure(name, "1", abs(spread - 1), target=0.1)


@cache
def active_and_quiet(size: Size) -> tuple[Floats, Components]:
    """Return dF/F of quiet neurons beside as many with a common drive, and the components."""
    n_traces, n_frames = (400, 600) if size == "full" else (20, 60)
    rng = np.random.default_rng(2)
    drives = rng.gamma(0.3, 1.0, (4, n_frames))
    drives = np.apply_along_axis(np.convolve, 1, drives, np.exp(-np.arange(8) / 3))[:, :n_frames]
    active = rng.random((n_traces, 4)) @ drives
    traces = 0.02 * rng.normal(size=(2 * n_traces, n_frames))
    traces[n_traces:] += active
    return traces, fit_components([traces], variance=0.95)


def figure_quiet(size: Size) -> Figure:
    """Correlation of quiet neurons that have nothing to do with each other."""
    traces, made = active_and_quiet(size)
    quiet = traces[: len(traces) // 2]
    ours, peer = (
        abs(float(correlations(low_rank(quiet, made, mean=mean)).mean()))
        for mean in ("project", "keep")
    )
    name, kept = "mean r of unrelated quiet neurons", 'mean = "keep" (original)'
    return Figure(name, "1", ours, peer=kept, peer_value=peer, target=2)


def figure_torch(size: Size) -> Figure:
    """Largest difference of the contrast by torch, on the processor, to the default one."""
    side = 512 if size == "full" else 32
    plane = np.random.default_rng(3).gamma(2, 300, (side, side)).astype(np.float32)
    ours = normalize_contrast(plane, device=TORCH_ON_PROCESSOR)
    difference = float(np.abs(ours - normalize_contrast(plane)).max())
    return Figure("contrast by torch, difference", "1", difference, target=1e-6)
