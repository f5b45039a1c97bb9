"""What a simulated fish is made of: one frozen record and three presets."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from typing import Any

PUBLISHED_GAPS = (7, 7, 7, 5, 5, 6, 5, 6, 5, 6, 5, 6, 5)
"""Slices between functional planes; 75 slices in 13 gaps, as in the published plane map."""


@dataclass(frozen=True)
class FishSettings:
    """Settings of a simulated fish; every length in µm, pixel or slice as its name says.

    Raises
    ------
    ValueError
        If a setting is outside its range; one sentence names every such setting.

    Notes
    -----
    *Structure* is the stack of nuclei (z, y, x), *function* the movie of planes.  A functional
    pixel (i, j) covers the structural pixels 2i, 2i + 1 and 2j, 2j + 1, so its centre lies at
    structural (2i + 0.5, 2j + 0.5).

    Calibration.  Size: the lateral diameters of 600 manually outlined nuclei (six NucleusAI
    tables, two-photon, mouse cortex) vary with a coefficient of variation (CV) of 0.18 inside a
    volume; the same spread is cut to 4-7 µm, where zebrafish neurons lie, which leaves 0.13.
    Brightness: the logarithm of the mean intensity has there a standard deviation of 0.44
    inside a volume.  Axial stretch and gaps: the published zebrafish map has planes 5.77
    slices apart and 1.90 rois a neuron, so labels are 10-11 slices long.
    """

    seed: int = 0
    """Every random number derives from it."""
    shape_px: tuple[int, int, int] = (66, 384, 384)
    """Structural stack (z, y, x), voxels; y and x even."""
    voxel_um: tuple[float, float, float] = (1.0, 0.4, 0.4)
    """Structural voxel (z, y, x), µm; a functional pixel is twice as wide and high."""
    n_neurons: int = 1700
    """Nuclei to place."""
    filled_fraction: float = 0.40
    """Share of the cell layers that nuclei fill; it fixes how large the layers are.

    Measured on the demo: 0.38 of the layers, 0.40 of what lies 4 µm inside them."""
    nucleus_diameter_um: float = 5.2
    """Mean lateral diameter, µm."""
    diameter_cv: float = 0.18
    """Coefficient of variation of the diameter before the cut."""
    diameter_range_um: tuple[float, float] = (4.0, 7.0)
    """Smallest and largest diameter, µm."""
    axial_stretch: float = 2.2
    """Apparent axial length of a nucleus over its lateral diameter."""
    brightness_log_sd: float = 0.44
    """Standard deviation of log brightness between nuclei."""
    nucleus_photons: float = 60.0
    """Structure: photons per voxel inside a median nucleus at the surface."""
    structure_background: float = 0.08
    """Structure: diffuse light inside the brain over that of a median nucleus."""
    psf_sigma_um: tuple[float, float] = (1.0, 0.4)
    """Gaussian blur that comes on top of the stretch (axial, lateral), µm."""
    attenuation_um: float = 250.0
    """Depth at which light has fallen to 1/e, µm."""
    shading: float = 0.25
    """Light lost in the corners of the field, as a share."""

    n_planes: int = 9
    """Functional planes."""
    gaps_px: tuple[int, ...] = PUBLISHED_GAPS
    """Slices between neighbouring planes; repeated where there are more planes."""
    n_frames: int = 400
    """Frames of each plane."""
    rate_hz: float = 2.0
    """Frames of one plane per second; all planes are seen at the same moment."""
    photons: float = 14.0
    """Function: photons per pixel and frame in the cytosol of a mean neuron at rest, surface."""
    nuclear_photons: float = 8.0
    """Function, nuclear channel: photons per pixel and frame in a median nucleus, surface."""
    gain: float = 20.0
    """Counts per photon, all channels."""
    read_noise: float = 12.0
    """Standard deviation of the electronic noise, counts."""
    offset: float = 200.0
    """Counts without light."""
    cytosol_um: float = 0.9
    """Thickness of the cytosolic ring round a nucleus, µm, lateral."""
    nuclear_leak: float = 0.3
    """Indicator inside the nucleus over that of the cytosol."""
    neuropil: float = 0.8
    """Light of a neuropil region over that of a mean cytosol at rest."""

    n_modules: int = 8
    """Spatial groups of neurons with a common drive."""
    module_rate_hz: float = 0.05
    """Events of the common drive per second and module."""
    private_rate_hz: float = 0.03
    """Bursts of a neuron's own per second."""
    rise_s: float = 0.2
    """Rise time constant of GCaMP6s, s."""
    decay_s: float = 1.6
    """Decay time constant of GCaMP6s, s."""
    dff_max: float = 5.0
    """Saturated change of fluorescence over that at rest."""

    drift_px: float = 2.0
    """Largest slow displacement of the movie, functional pixels."""
    jitter_px: float = 0.5
    """Standard deviation of the fast displacement, per axis, functional pixels."""
    plane_jitter_px: float = 0.1
    """Part of it that each plane has for itself, per axis, functional pixels."""
    n_bursts: int = 3
    """Twitches of five frames."""
    burst_px: float = 3.0
    """Largest displacement of a twitch, per axis, functional pixels."""
    nonrigid_px: float = 0.3
    """Root mean square length of the bending of the field, functional pixels."""
    bidirectional_px: float = 0.0
    """Displacement of odd rows to the right, functional pixels."""
    plane_offset_px: float = 1.5
    """Largest constant misplacement of a plane on the structure, per axis, functional pixels."""

    def __post_init__(self) -> None:
        """Refuse settings that no fish can have."""
        problems = _malformed(self) or [text for broken, text in _rules(self) if broken]
        if problems:
            raise ValueError("settings of the simulated fish: " + "; ".join(problems))

    @property
    def plane_shape_px(self) -> tuple[int, int]:
        """Shape (y, x) of a functional frame."""
        return self.shape_px[1] // 2, self.shape_px[2] // 2


def _malformed(s: FishSettings) -> list[str]:
    """Name every setting that is no number, or not as many numbers as it should be."""
    found = []
    for field in fields(s):
        value, example = getattr(s, field.name), field.default
        several = isinstance(example, tuple)
        parts = value if isinstance(value, tuple | list) else (value,)
        length = len(example) if isinstance(example, tuple) and field.name != "gaps_px" else None
        whole = isinstance(example[0] if isinstance(example, tuple) else example, int)
        kind = Integral if whole else Real
        fits = all(isinstance(p, kind) and not isinstance(p, bool) for p in parts)
        if several != isinstance(value, tuple | list) or (length and len(parts) != length):
            wanted = f"{length} numbers" if length else "numbers" if several else "one number"
            found.append(f"{field.name} = {value!r} must be {wanted}")
        elif not fits:
            found.append(f"{field.name} = {value!r} must be {'whole' if whole else 'a number'}")
        elif not all(map(math.isfinite, parts)):
            found.append(f"{field.name} = {value!r} must be finite")
    return found


def _limits(s: FishSettings) -> list[tuple[bool, str]]:
    """Check the numbers that have one limit each."""
    at_least_zero = (
        "structure_background", "read_noise", "nuclear_leak", "neuropil", "module_rate_hz",
        "private_rate_hz", "dff_max", "drift_px", "jitter_px", "plane_jitter_px", "n_bursts",
        "burst_px", "nonrigid_px", "plane_offset_px", "brightness_log_sd", "diameter_cv", "seed",
    )  # fmt: skip
    positive = (
        "n_neurons", "nucleus_photons", "attenuation_um", "n_planes", "n_frames", "rate_hz",
        "photons", "nuclear_photons", "gain", "cytosol_um", "n_modules", "rise_s",
    )  # fmt: skip
    moving = (
        "drift_px", "jitter_px", "plane_jitter_px", "burst_px", "nonrigid_px", "bidirectional_px",
        "plane_offset_px",
    )  # fmt: skip
    field = min(s.plane_shape_px)
    below = [
        (getattr(s, n) < 0, f"{n} = {getattr(s, n)} must not be negative") for n in at_least_zero
    ]
    below += [(getattr(s, n) <= 0, f"{n} = {getattr(s, n)} must be positive") for n in positive]
    beyond = [
        (abs(getattr(s, n)) > field, f"{n} = {getattr(s, n)} must not exceed the field of {field}")
        for n in moving
    ]
    return below + beyond


def _rules(s: FishSettings) -> list[tuple[bool, str]]:
    low, high = s.diameter_range_um
    span = sum(plane_gaps(s)) + 1 if s.gaps_px else 0
    return [
        *_limits(s),
        (
            s.cytosol_um > s.nucleus_diameter_um,
            f"cytosol_um = {s.cytosol_um} must not exceed nucleus_diameter_um",
        ),
        (
            s.module_rate_hz > s.rate_hz,
            f"module_rate_hz = {s.module_rate_hz} must not exceed rate_hz = {s.rate_hz}",
        ),
        (min(s.shape_px) < 16, f"shape_px = {s.shape_px} must be at least 16 along every axis"),
        (any(n % 2 for n in s.shape_px[1:]), f"shape_px = {s.shape_px} must be even in y and x"),
        (min(s.voxel_um) <= 0, f"voxel_um = {s.voxel_um} must be positive"),
        (
            not 0 < s.filled_fraction <= 0.45,
            f"filled_fraction = {s.filled_fraction} must be in (0, 0.45]",
        ),
        (
            not 0 < low <= s.nucleus_diameter_um <= high,
            "nucleus_diameter_um must be in diameter_range_um",
        ),
        (s.axial_stretch < 1, f"axial_stretch = {s.axial_stretch} must be at least 1"),
        (min(s.psf_sigma_um) < 0, f"psf_sigma_um = {s.psf_sigma_um} must not be negative"),
        (not 0 <= s.shading < 1, f"shading = {s.shading} must be in [0, 1)"),
        (s.offset < 5 * s.read_noise, "offset must be at least five times read_noise"),
        (s.decay_s <= s.rise_s, f"decay_s = {s.decay_s} must exceed rise_s = {s.rise_s}"),
        (
            not s.gaps_px or min(s.gaps_px, default=0) < 1,
            f"gaps_px = {s.gaps_px} must be at least 1",
        ),
        (span > s.shape_px[0], f"the planes span {span} slices and the stack has {s.shape_px[0]}"),
    ]


def plane_gaps(settings: FishSettings) -> list[int]:
    """Slices between each plane and the next, `n_planes` - 1 numbers."""
    pattern = settings.gaps_px
    return [pattern[k % len(pattern)] for k in range(settings.n_planes - 1)]


_PRESETS: dict[str, dict[str, Any]] = {
    "demo": {"nonrigid_px": 0.1},
    "tiny": {
        "shape_px": (32, 128, 128),
        "voxel_um": (1.0, 0.5, 0.5),
        "n_neurons": 140,
        "n_planes": 3,
        "n_frames": 40,
        "n_modules": 3,
        "n_bursts": 1,
        "nonrigid_px": 0.1,
    },
    "whole": {
        "shape_px": (301, 1024, 1024),
        "voxel_um": (1.0, 0.5, 0.5),
        "n_neurons": 67_000,
        "n_planes": 28,
        "n_frames": 600,
        "rate_hz": 1.0,
        "n_modules": 40,
        "drift_px": 4.0,
        "jitter_px": 0.8,
        "n_bursts": 6,
        "burst_px": 5.0,
    },
}


def preset(name: str, **changes: Any) -> FishSettings:
    """Give the settings of a named fish, with changes.

    Parameters
    ----------
    name
        ``"demo"`` (1,700 neurons, of which its 9 planes cut about 1,480; 400 frames of
        192 x 192), ``"tiny"`` (140 neurons, 3 planes, 40 frames of 64 x 64, for tests) or
        ``"whole"`` (67,000 neurons, structure 301 x 1024 x 1024, 28 planes, 600 frames of
        512 x 512).
    **changes
        Fields of `FishSettings`.

    Raises
    ------
    ValueError
        If there is no such preset, or a setting is outside its range.
    TypeError
        If a change is no field of `FishSettings`.
    """
    if name not in _PRESETS:
        raise ValueError(f"no preset is called {name!r}; choose one of {', '.join(_PRESETS)}")
    return replace(FishSettings(**_PRESETS[name]), **changes)
