"""How the movie moves: drift, jitter, twitches, bending, and the warp that shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy.ndimage import gaussian_filter1d

from clgkit.simulate.streams import Purpose, smooth_noise, stream

if TYPE_CHECKING:
    from clgkit.simulate.settings import FishSettings

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

N_MODES = 4
BURST_FRAMES = 5


class Motion(NamedTuple):
    """Displacement of the content of every frame, functional pixels, +y down, +x right."""

    rigid: Float64
    """(T, P, 2): mean over the field; the shift to apply is its negative."""
    bending: Float64
    """(T, P, 2, 4, 4): amplitudes of the cosine modes (ky, kx); the mode (0, 0) is 0."""
    offset: Float64
    """(P, 2): shift to apply to a plane, once still, to lay it on the structure."""


class Pose(NamedTuple):
    """How one frame lies on the still scene."""

    start: Float64
    """(2,): place on the canvas of what pixel (0, 0) sees before bending."""
    modes: Float64
    """(2, 4, 4): amplitudes of the bending."""
    odd_px: float
    """Displacement of odd rows to the right."""


def make_motion(settings: FishSettings) -> Motion:
    """Draw the motion of all planes.

    Returns
    -------
    Motion

    Notes
    -----
    Rigid: a random walk smoothed over 25 frames and scaled to `drift_px`, jitter smoothed
    over one frame, twitches of five frames; the same for all planes of a volume but for
    `plane_jitter_px`.  Bending: cosine modes with 1 <= ky + kx <= 3, weight 1 / (ky + kx),
    smoothed over three frames, of its own in every plane.
    """
    t, p = settings.n_frames, settings.n_planes
    common = _volume_motion(settings)
    rigid = np.empty((t, p, 2))
    bending = np.zeros((t, p, 2, N_MODES, N_MODES))
    offset = np.empty((p, 2))
    ky, kx = np.meshgrid(np.arange(N_MODES), np.arange(N_MODES), indexing="ij")
    order = ky + kx
    weight = np.where((order >= 1) & (order < N_MODES), 1 / np.maximum(order, 1), 0.0)
    # A cosine has mean square 1/2 along an axis, a constant 1; two components add.
    power = 2 * np.sum(weight**2 * np.where(ky, 0.5, 1.0) * np.where(kx, 0.5, 1.0))
    for plane in range(p):
        rng = stream(settings.seed, Purpose.PLANE_MOTION, plane)
        rigid[:, plane] = common + settings.plane_jitter_px * smooth_noise(rng, (t, 2), 1.0)
        modes = smooth_noise(rng, (t, 2, N_MODES, N_MODES), 3.0)
        bending[:, plane] = settings.nonrigid_px / np.sqrt(power) * weight * modes
        offset[plane] = rng.uniform(-settings.plane_offset_px, settings.plane_offset_px, 2)
    return Motion(rigid, bending, offset)


def _volume_motion(settings: FishSettings) -> Float64:
    """Draw the motion (T, 2) that all planes share."""
    rng = stream(settings.seed, Purpose.VOLUME_MOTION)
    t = settings.n_frames
    walk = gaussian_filter1d(np.cumsum(rng.standard_normal((t, 2)), axis=0), 25.0, axis=0)
    walk -= walk.mean(axis=0)
    drift = settings.drift_px * walk / max(float(np.abs(walk).max()), 1e-9)
    shared = np.sqrt(max(settings.jitter_px**2 - settings.plane_jitter_px**2, 0.0))
    jitter = shared * smooth_noise(rng, (t, 2), 1.0)
    bursts = np.zeros((t, 2))
    shape = np.sin(np.pi * (np.arange(BURST_FRAMES) + 1) / (BURST_FRAMES + 1))
    for _ in range(settings.n_bursts):
        start = int(rng.integers(0, max(t - BURST_FRAMES, 1)))
        size = rng.uniform(-settings.burst_px, settings.burst_px, 2)
        piece = bursts[start : start + BURST_FRAMES]
        piece += shape[: len(piece), None] * size
    return np.asarray(drift + jitter + bursts)


def cosines(n: int) -> Float64:
    """Give the modes (4, n) along an axis of n pixels; all but the first have mean 0."""
    return np.asarray(np.cos(np.pi * np.arange(N_MODES)[:, None] * (np.arange(n) + 0.5) / n))


def displacement(motion: Motion, plane: int, frame: int, shape: tuple[int, int]) -> Float64:
    """Give the displacement of the content at every pixel of one frame.

    Returns
    -------
    (Y, X, 2)
        d in ``frame(x) = still(x - d(x))``; pixels, y then x.
    """
    modes = motion.bending[frame, plane]
    bent = np.einsum("cab,ay,bx->yxc", modes, cosines(shape[0]), cosines(shape[1]))
    return np.asarray(bent + motion.rigid[frame, plane])


@njit(cache=True, nogil=True)
def _cubic(f: float, weights: Float64) -> None:
    """Set the Catmull-Rom weights of the four neighbours at fraction f."""
    g = 1.0 - f
    weights[0] = -0.5 * f * g * g
    weights[1] = 1.0 + f * f * (1.5 * f - 2.5)
    weights[2] = 1.0 + g * g * (1.5 * g - 2.5)
    weights[3] = -0.5 * g * f * f


@njit(cache=True, nogil=True)
def warp(canvas: Float32, pose: Pose, cos_y: Float64, cos_x: Float64, out: Float32) -> None:
    """Show a still scene as one frame sees it.

    Parameters
    ----------
    canvas : (H, W)
        The still scene with a margin.
    pose
        How the frame lies on the scene.
    cos_y, cos_x
        `cosines` of the frame.
    out : (Y, X)
        Set in place; cubic interpolation, places beyond the canvas take its edge.
    """
    last_y, last_x = canvas.shape[0] - 1, canvas.shape[1] - 1
    wy, wx = np.empty(4), np.empty(4)
    line = np.empty((2, cos_x.shape[0]))
    for i in range(out.shape[0]):
        for c in range(2):
            for b in range(line.shape[1]):
                line[c, b] = 0.0
                for a in range(cos_y.shape[0]):
                    line[c, b] += pose.modes[c, a, b] * cos_y[a, i]
        row = pose.odd_px if i % 2 else 0.0
        for j in range(out.shape[1]):
            y, x = pose.start[0] + i, pose.start[1] + j - row
            for b in range(line.shape[1]):
                y -= line[0, b] * cos_x[b, j]
                x -= line[1, b] * cos_x[b, j]
            y = min(max(y, 0.0), float(last_y))
            x = min(max(x, 0.0), float(last_x))
            iy, ix = int(y), int(x)
            _cubic(y - iy, wy)
            _cubic(x - ix, wx)
            out[i, j] = _sample(canvas, iy, ix, wy, wx)


@njit(cache=True, nogil=True)
def _sample(canvas: Float32, iy: int, ix: int, wy: Float64, wx: Float64) -> float:
    last_y, last_x = canvas.shape[0] - 1, canvas.shape[1] - 1
    total = 0.0
    for a in range(4):
        r = min(max(iy + a - 1, 0), last_y)
        part = 0.0
        for b in range(4):
            part += wx[b] * canvas[r, min(max(ix + b - 1, 0), last_x)]
        total += wy[a] * part
    return total
