"""A network that trains in a blink, and a small movie for it."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from clgkit.denoising.support_layout import SupportLayout
from clgkit.denoising.support_recipe import SupportRecipe

Float32: TypeAlias = npt.NDArray[np.float32]


def tiny_layout(**changes: Any) -> SupportLayout:
    """Return a network of 3 frames, two scales and a few channels."""
    sizes: dict[str, Any] = {
        "n_frames": 3, "widths": (4, 6), "channels": 4, "depths": (3, 2),
        "unet_out": (6, 4), "blind_out": (6, 4), "head": (8, 4),
    }  # fmt: skip
    return SupportLayout(**(sizes | changes))


def tiny_recipe(**changes: Any) -> SupportRecipe:
    """Return a training of a few steps."""
    settings: dict[str, Any] = {
        "layout": tiny_layout(), "n_steps": 6, "batch_size": 2, "patch_px": 16, "check_every": 2,
        "n_held_out": 3, "learning_rate": 5e-3,
    }  # fmt: skip
    return SupportRecipe(**(settings | changes))


def make_movie(
    *, n_frames: int = 30, side: int = 24, noise: float = 1.0, blur_px: float = 0, seed: int = 0
) -> Float32:
    """Return a smooth movie with noise, which `blur_px` correlates between neighbours."""
    rng = np.random.default_rng(seed)
    signal = gaussian_filter(rng.standard_normal((n_frames, side, side)), (10, 3, 3))
    signal *= 2 / signal.std()
    grain = rng.standard_normal(signal.shape)
    if blur_px:
        grain = gaussian_filter(grain, (0, blur_px, blur_px))
        grain /= grain.std()
    return (100 + 5 * (signal + noise * grain)).astype(np.float32)
