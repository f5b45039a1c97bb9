"""Denoise frames with a trained SUPPORT network.

This module needs the extra ``deep``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

try:
    import torch
except ImportError as error:
    raise ImportError(
        "denoising with a SUPPORT network needs torch: pip install clgkit[deep]", name=error.name
    ) from error

from clgkit.denoising.noise import Frames, as_float
from clgkit.denoising.support_net import SupportNet, threads_set
from clgkit.denoising.support_samples import SPAN, Ends, Scale, measure_scale, neighbours_of

if TYPE_CHECKING:
    from clgkit.denoising.support_layout import SupportLayout

__all__ = ["check_length", "denoise_frames", "denoise_support"]

Float32: TypeAlias = npt.NDArray[np.float32]
Precision: TypeAlias = Literal["float32", "bfloat16"]

TILE_PX = 512
ON_GPU = 8  # frames of a pass there
DEVICE = threading.RLock()


def check_length(n_frames: int, layout: SupportLayout) -> None:
    """Raise a ValueError if a movie is shorter than what the network takes."""
    if n_frames < layout.n_frames:
        raise ValueError(
            f"the movie has {n_frames} frames, the network takes {layout.n_frames} at a time; "
            "train one of fewer frames, or take another method"
        )


def denoise_support(
    frames: Frames,
    net: SupportNet,
    *,
    scale: Scale | None = None,
    ends: Ends = "repeat",
    tile_px: int = TILE_PX,
    precision: Precision = "float32",
    threads: int = 1,
) -> Float32:
    """Return a whole plane over time, denoised by a trained network.

    Parameters
    ----------
    frames : (T, Y, X)
        Any real dtype; NaN where nothing is known.
    net
        The network, on the device where it is to run.
    scale
        What the plane is normalised by; None: its own mean and standard deviation.
    ends, tile_px, precision, threads
        See :func:`denoise_frames`.

    Returns
    -------
    (T, Y, X) float32

    Raises
    ------
    ValueError
        If the movie has fewer frames than the network takes.
    """
    check_length(frames.shape[0], net.layout)
    return denoise_frames(
        frames,
        net,
        scale=scale or measure_scale(frames),
        ends=ends,
        tile_px=tile_px,
        precision=precision,
        threads=threads,
    )


def denoise_frames(
    frames: Frames,
    net: SupportNet,
    *,
    scale: Scale,
    wanted: slice = slice(None),
    ends: Ends = "repeat",
    tile_px: int = TILE_PX,
    precision: Precision = "float32",
    threads: int = 1,
) -> Float32:
    """Return some frames of a plane, denoised by a trained network.

    Parameters
    ----------
    frames : (T, Y, X)
        A plane over time, or a block of it with `net.layout.center` more frames on either side of
        the wanted ones, fewer where the recording ends.  Any real dtype; NaN where nothing is
        known.
    net
        The network, on the device where it is to run.
    scale
        Mean and standard deviation of the whole plane: a block has to be normalised like the rest.
    wanted
        Which frames of `frames` are returned; without a step.
    ends
        What stands before the first and after the last frame: the end frame (``"repeat"``), or the
        frames before it in reverse (``"mirror"``), in which calcium rises slowly and falls fast.
    tile_px
        Larger planes are cut into tiles of this side, with as much around them as the network sees.
    precision
        ``"bfloat16"`` computes convolutions in half the bits, on a GPU; good to about 1 %.
    threads
        Of torch.  One where blocks run side by side.

    Returns
    -------
    (n, Y, X) float32
        In units of `frames`; NaN where `frames` are.  A plane without contrast comes back as it is.

    Raises
    ------
    ValueError
        If `frames` is not 3-D.

    Notes
    -----
    Neither tiles nor blocks change the result beyond rounding (1e-4 of the standard deviation).
    Below and to the right of a plane whose sides are no multiple of the coarsest scale, the mean is
    put.  The original runs overlapping patches of 64 pixels and keeps their middle; here whole
    frames are run, so there are no seams, and near the border results differ.
    """
    if len(frames.shape) != 3:
        raise ValueError(f"a plane over time has three axes (T, Y, X), not shape {frames.shape}.")
    n_frames, height, width = frames.shape
    device = next(net.parameters()).device
    first, stop, _ = wanted.indices(n_frames)
    made = np.empty((max(stop - first, 0), height, width), np.float32)
    for start in range(first, stop, SPAN):
        end = min(start + SPAN, stop)
        center = net.layout.center
        numbers = neighbours_of(start - center, end + center, n_frames, ends=ends)
        lowest = int(numbers.min())
        read = as_float(np.asarray(frames[lowest : int(numbers.max()) + 1]))
        part = made[start - first : end - first]
        part[:] = read[start - lowest : end - lowest]
        if scale.sd > 0:
            known = np.isfinite(part)
            with torch.inference_mode(), threads_set(threads), _exact(device, precision):
                passed = _pass(net, _normalised(read, scale)[numbers - lowest], tile_px, precision)
            part[known] = (passed * np.float32(scale.sd) + np.float32(scale.mean))[known]
    return made


def _normalised(read: Float32, scale: Scale) -> Float32:
    """Return frames in units of the scale; what is not known is the mean."""
    shown: Float32 = (read - np.float32(scale.mean)) / np.float32(scale.sd)
    shown[np.isnan(shown)] = 0
    return shown


@contextmanager
def _exact(device: torch.device, precision: Precision) -> Iterator[None]:
    """Keep a GPU from rounding single precision to ten bits, as it does unless told."""
    if device.type != "cuda":
        yield
        return
    with DEVICE:  # the switch is one for all threads
        before = torch.backends.cudnn.allow_tf32
        torch.backends.cudnn.allow_tf32 = precision != "float32"
        try:
            yield
        finally:
            torch.backends.cudnn.allow_tf32 = before


def _pass(net: SupportNet, shown: Float32, tile_px: int, precision: Precision) -> Float32:
    """Run frames with their neighbours (n + 2 * center, Y, X) through the network, tile by tile."""
    layout, device = net.layout, next(net.parameters()).device
    n_frames, height, width = shown.shape
    n_wanted = n_frames - layout.n_frames + 1
    step = layout.step_px
    below, right = -height % step, -width % step
    padded = torch.from_numpy(np.pad(shown, ((0, 0), (0, below), (0, right))))
    made = np.empty((n_wanted, height + below, width + right), np.float32)
    batch = ON_GPU if device.type == "cuda" else 1
    for y, around_y in _tiles(height + below, tile_px, layout):
        for x, around_x in _tiles(width + right, tile_px, layout):
            tile = padded[:, around_y, around_x].to(device)
            inside = (
                slice(y.start - around_y.start, y.stop - around_y.start),
                slice(x.start - around_x.start, x.stop - around_x.start),
            )
            for t in range(0, n_wanted, batch):
                n = min(batch, n_wanted - t)
                windows = torch.stack([tile[i : i + layout.n_frames] for i in range(t, t + n)])
                with torch.autocast(device.type, torch.bfloat16, precision == "bfloat16"):
                    answer = net(windows)
                made[t : t + n, y, x] = answer[(slice(None), 0, *inside)].float().cpu().numpy()
    return made[:, :height, :width]


def _tiles(length: int, tile_px: int, layout: SupportLayout) -> Iterator[tuple[slice, slice]]:
    """Yield the tiles along one axis, each with what the network sees around it."""
    n_cells = length // layout.step_px
    n_tiles = max(1, -(-length // max(tile_px, layout.step_px)))
    edges = [layout.step_px * (n_cells * k // n_tiles) for k in range(n_tiles + 1)]
    for start, stop in pairwise(edges):
        around = slice(max(start - layout.halo_px, 0), min(stop + layout.halo_px, length))
        yield slice(start, stop), around
