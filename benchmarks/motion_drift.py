"""Motion correction where the sample does not come back: slow drift, and one jump.

The movie is `_moving_field.make_movie` with 256 x 256 pixels and 60 frames that move as a whole:
straight from one side to the other, or half of them beside the rest.  Each program makes its own
template.  Errors are rms endpoint errors after the time mean has been removed.

As NoRMCorre does it is `register_like_normcorre` of this package, moving whole frames.  Other
programs run in an environment of their own (`peers/registration.txt`).
"""

from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from benchmarks._moving_field import MovingField, make_movie, rms_error_px
from benchmarks.harness import Figure, Size
from benchmarks.registration import MAX_SHIFT_PX, PHOTONS, run_peer
from clgkit import registration
from clgkit.registration import is_sure, make_template, prepare_rigid, register_rigid

Floats: TypeAlias = npt.NDArray[np.float64]

NORMCORRE = "as NoRMCorre (clgkit)"


def drift(n_frames: int, reach_px: float) -> Floats:
    """Return a straight way from one side to the other."""
    return np.linspace(-reach_px, reach_px, n_frames)[:, np.newaxis] * [1.0, -0.5]


def step(n_frames: int, size_px: float) -> Floats:
    """Return a jump after half of the frames."""
    away = np.where(np.arange(n_frames) < n_frames // 2, -size_px / 2, size_px / 2)
    return away[:, np.newaxis] * [0.0, 1.0]


@lru_cache(maxsize=8)
def scene(size: Size, law: str, extent_px: float, photons: str) -> MovingField:
    """Return the movie, small at toy size."""
    side, n_frames = (256, 60) if size == "full" else (96, 12)
    make = {"drift": drift, "step": step}[law]
    return make_movie(
        side=side,
        n_frames=n_frames,
        photons=PHOTONS[photons],
        rigid=True,
        displacement_px=make(n_frames, extent_px),
    )


def our_error_px(made: MovingField) -> float:
    """Return our error; NaN unless every frame was surely found."""
    prepared = prepare_rigid(
        make_template(made.movie, max_shift_px=MAX_SHIFT_PX), max_shift_px=MAX_SHIFT_PX
    )
    found = register_rigid(made.movie, prepared)
    if not is_sure(found).all():
        return float("nan")
    return rms_error_px(-found.shift_px[:, np.newaxis, np.newaxis], made.shift_px)


def normcorre_error_px(made: MovingField) -> float:
    """Return the error of NoRMCorre's way with its own template, whole frames."""
    settings = registration.NormcorreSettings(
        grid_px=made.movie.shape[1], finer=1, max_shift_px=MAX_SHIFT_PX
    )
    frames = made.movie.astype(np.float32) - float(made.movie.min())
    found = registration.register_like_normcorre(frames, settings)
    return rms_error_px(-found.rigid[:, np.newaxis, np.newaxis], made.shift_px)


def beside_normcorre(size: Size, law: str, extent_px: float, photons: str = "8.8") -> Figure:
    """Compare errors; the ratio says how many times smaller ours is."""
    made = scene(size, law, extent_px, photons)
    name = f"{law} of {'±' if law == 'drift' else ''}{extent_px:g} px, {photons} photons/px"
    return Figure(name, "px rms", our_error_px(made), NORMCORRE, normcorre_error_px(made))


def beside_program(size: Size, program: str) -> Figure:
    """Compare errors at the largest drift."""
    made = scene(size, "drift", 12, "8.8")
    name, run = f"{program} (not installed)", None
    if size == "full":
        run = run_peer(program, made, rigid=True)
    value = None
    if run is not None:
        name, value = f"{program} {run.version}", rms_error_px(run.field_px, made.shift_px)
    return Figure("drift of ±12 px, 8.8 photons/px", "px rms", our_error_px(made), name, value)


def figure_drift_4(size: Size) -> Figure:
    """Drift by half a nucleus to each side."""
    return beside_normcorre(size, "drift", 4)


def figure_drift_8(size: Size) -> Figure:
    """Drift by a nucleus to each side."""
    return beside_normcorre(size, "drift", 8)


def figure_drift_12(size: Size) -> Figure:
    """Drift nearly as far as the window."""
    return beside_normcorre(size, "drift", 12)


def figure_drift_12_dim(size: Size) -> Figure:
    """Measure the same at a tenth of the photons."""
    return beside_normcorre(size, "drift", 12, "0.88")


def figure_step_10(size: Size) -> Figure:
    """Stand at two places, half of the frames at each."""
    return beside_normcorre(size, "step", 10)


def figure_step_10_dim(size: Size) -> Figure:
    """Measure the same at a tenth of the photons."""
    return beside_normcorre(size, "step", 10, "0.88")


def figure_step_22(size: Size) -> Figure:
    """Stand farther apart than the window of 15 px; the template lies between."""
    return beside_normcorre(size, "step", 22)


def figure_drift_12_suite2p(size: Size) -> Figure:
    """Whole frames, against whole-pixel shifts."""
    return beside_program(size, "suite2p")


def figure_drift_12_jnormcorre(size: Size) -> Figure:
    """Whole frames."""
    return beside_program(size, "jnormcorre")
