"""What the neurons do: modules, spikes, calcium, fluorescence."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree

from clgkit.simulate.streams import Purpose, smooth_noise, stream

if TYPE_CHECKING:
    from clgkit.simulate.settings import FishSettings

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
UInt8 = npt.NDArray[np.uint8]

EVENT_S = 1.0
EVENT_SPIKES_HZ = 8.0
BURST_SPIKES = 4.0
BACKGROUND_HZ = 0.02
MIXING_UM = 6.0
HALF_CALCIUM = 5.0
HILL = 2.0
BRIGHTNESS_LOG_SD = 0.35


class Activity(NamedTuple):
    """What every neuron does; rows are neurons."""

    module: Int32
    """(N,): 0-based module."""
    spikes: UInt8
    """(N, T): spikes in each frame."""
    rest: Float64
    """(N,): fluorescence at rest, mean 1."""
    fluorescence: Float32
    """(N, T): noise-free fluorescence; the cytosol of a mean neuron at rest has 1."""


def make_activity(settings: FishSettings, centers_um: Float64) -> Activity:
    """Draw the spikes and the fluorescence of all neurons.

    Parameters
    ----------
    settings
        The fish.
    centers_um : (N, 3)
        Places of the nuclei, µm.

    Returns
    -------
    Activity

    Notes
    -----
    Each module has a drive of its own: events at `module_rate_hz`, each lasting about a
    second.  A neuron follows its module's drive with a strength of its own (three in ten
    hardly at all), adds bursts of its own and a few single spikes.
    """
    n = len(centers_um)
    rng = stream(settings.seed, Purpose.MODULES)
    module = _assign_modules(settings, centers_um, rng)
    coupling = rng.lognormal(0.0, 0.4, n) * np.where(rng.random(n) < 0.7, 1.0, 0.1)
    rest = rng.lognormal(-(BRIGHTNESS_LOG_SD**2) / 2, BRIGHTNESS_LOG_SD, n)
    spikes = np.empty((n, settings.n_frames), dtype=np.uint8)
    fluorescence = np.empty(spikes.shape, dtype=np.float32)
    for m in range(settings.n_modules):
        members = np.flatnonzero(module == m)
        spikes[members] = _draw_spikes(settings, m, coupling[members])
        shining = saturate(calcium_of(settings, spikes[members]))
        fluorescence[members] = rest[members, None] * (1 + settings.dff_max * shining)
    return Activity(module, spikes, rest, fluorescence)


def _assign_modules(settings: FishSettings, centers_um: Float64, rng: np.random.Generator) -> Int32:
    """Choose the nearest of `n_modules` seeds, with blurred borders."""
    n = len(centers_um)
    seeds = centers_um[rng.choice(n, settings.n_modules, replace=settings.n_modules > n)]
    for _ in range(5):
        nearest = cKDTree(seeds).query(centers_um)[1]
        for m in np.unique(nearest):
            seeds[m] = centers_um[nearest == m].mean(axis=0)
    blurred = centers_um + rng.normal(0, MIXING_UM, centers_um.shape)
    return np.asarray(cKDTree(seeds).query(blurred)[1], dtype=np.int32)


def _draw_spikes(settings: FishSettings, module: int, coupling: Float64) -> UInt8:
    """Draw the (n, T) spikes of the members of one module."""
    t, dt = settings.n_frames, 1 / settings.rate_hz
    drive = _draw_drive(settings, stream(settings.seed, Purpose.DRIVE, module))
    rng = stream(settings.seed, Purpose.SPIKES, module)
    spikes = rng.poisson(coupling[:, None] * drive + BACKGROUND_HZ * dt)
    own = rng.poisson(settings.private_rate_hz * dt, (len(coupling), t))
    spikes += rng.poisson(BURST_SPIKES * own)
    return np.minimum(spikes, 255).astype(np.uint8)


def _draw_drive(settings: FishSettings, rng: np.random.Generator) -> Float64:
    """Draw the (T,) expected spikes per frame of a neuron of coupling 1."""
    t, dt = settings.n_frames, 1 / settings.rate_hz
    duration = t * dt
    n_events = int(rng.poisson(settings.module_rate_hz * duration))
    starts = rng.uniform(0, duration, n_events)
    lengths = EVENT_S * rng.gamma(4.0, 0.25, n_events)
    sizes = rng.gamma(4.0, 0.25, n_events)
    edges = np.arange(t + 1) * dt
    drive = np.zeros(t)
    for start, length, size in zip(starts, lengths, sizes, strict=True):
        active = np.clip(edges, start, start + length)
        drive += EVENT_SPIKES_HZ * size * np.diff(active)
    return drive


def _decays(settings: FishSettings) -> tuple[float, float, float]:
    """Give the decay per frame of fall and rise, and the factor by which one spike peaks at 1."""
    slow = float(np.exp(-1 / (settings.rate_hz * settings.decay_s)))
    fast = float(np.exp(-1 / (settings.rate_hz * settings.rise_s)))
    rise, fall = settings.rise_s, settings.decay_s
    peak_at = np.log(fall / rise) * rise * fall / (fall - rise)
    peak = np.exp(-peak_at / fall) - np.exp(-peak_at / rise)
    return slow, fast, float(1 / peak)


def calcium_of(settings: FishSettings, spikes: UInt8) -> Float32:
    """Give the calcium (N, T), in units of the peak after one spike.

    Notes
    -----
    A difference of two exponentials, sampled half a frame after the spikes of a frame:
    ``exp(-t / decay_s) - exp(-t / rise_s)``.
    """
    calcium = np.empty(spikes.shape, dtype=np.float32)
    _accumulate(spikes, *_decays(settings), calcium)
    return calcium


@njit(cache=True, nogil=True)
def _accumulate(spikes: UInt8, slow: float, fast: float, scale: float, out: Float32) -> None:
    half_slow, half_fast = np.sqrt(slow), np.sqrt(fast)
    for n in range(spikes.shape[0]):
        fall, rise = 0.0, 0.0
        for t in range(spikes.shape[1]):
            fall = fall * slow + spikes[n, t] * half_slow
            rise = rise * fast + spikes[n, t] * half_fast
            out[n, t] = scale * (fall - rise)


def saturate(calcium: Float32) -> Float32:
    """Give the share of the indicator that shines: Hill, exponent 2, half at five spikes.

    Notes
    -----
    The sigmoid relation of spikes to fluorescence follows Wei et al. (2020); the two numbers
    are round ones of ours: one spike gives dF/F 0.2 at `dff_max` 5.
    """
    power = np.asarray(calcium, dtype=np.float32) ** HILL
    return np.asarray(power / (power + HALF_CALCIUM**HILL), dtype=np.float32)


def neuropil_waves(settings: FishSettings, activity: Activity, shares: Float32) -> Float64:
    """Draw slow changes of the neuropil's light.

    Parameters
    ----------
    settings, activity
        The fish and its neurons.
    shares : (W, N)
        How much each wave listens to each neuron.

    Returns
    -------
    (W, T) float64
        Relative change, mean about 0: a sixth of the neurons' mean dF/F smoothed over two
        seconds, and noise of the whole brain and of the wave smoothed over five.
    """
    rng = stream(settings.seed, Purpose.NEUROPIL)
    total = np.maximum(shares @ activity.rest, 1e-9)
    change = (shares @ activity.fluorescence) / total[:, None]
    change = gaussian_filter1d(
        change - change.mean(axis=1, keepdims=True), settings.rate_hz * 2.0, axis=1
    )
    slow = smooth_noise(rng, (settings.n_frames, len(shares) + 1), settings.rate_hz * 5.0).T
    return np.asarray(0.15 * change + 0.04 * slow[:1] + 0.02 * slow[1:])
