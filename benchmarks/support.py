"""The blind-spot network: error beside a Gaussian filter's, and what training and a frame cost."""

import functools
import time
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from benchmarks._dim_plane import DimPlane, make_dim_plane
from benchmarks.harness import Figure, Size, measure
from clgkit.denoising.smoothing import denoise_gaussian
from clgkit.denoising.support_recipe import support_recipe

Float32: TypeAlias = npt.NDArray[np.float32]

PHOTONS = 6
STEPS = {"full": 400, "toy": 4}


class Trained(NamedTuple):
    """A plane, the plane denoised, and processor seconds of training and of one frame."""

    plane: DimPlane
    denoised: Float32
    training_s: float
    frame_s: float


def make_plane(size: Size) -> DimPlane:
    """Return the plane of the low rank benchmarks, 6 photons per pixel."""
    if size == "full":
        return make_dim_plane(photons=PHOTONS)
    return make_dim_plane(photons=PHOTONS, side=48, n_frames=40, n_cells=4)


@functools.cache
def trained(size: Size) -> Trained:
    """Train the small preset on a plane that it then denoises."""
    from clgkit.denoising.support import denoise_support  # noqa: PLC0415  (torch is an extra)
    from clgkit.denoising.support_training import SupportTrainer  # noqa: PLC0415

    plane = make_plane(size)
    trainer = SupportTrainer([plane.noisy], recipe=support_recipe("small", n_steps=STEPS[size]))
    began = time.process_time()
    for _ in trainer.run():
        pass
    between = time.process_time()
    denoised = denoise_support(plane.noisy, trainer.network())
    frame_s = (time.process_time() - between) / len(denoised)
    return Trained(plane, denoised, between - began, frame_s)


def psnr(frames: Float32, truth: Float32) -> float:
    """Return the range of the truth over the rms error, in dB."""
    error = np.mean((frames - truth) ** 2, dtype=np.float64)
    return float(20 * np.log10(np.ptp(truth) / np.sqrt(error)))


def figure_error(size: Size) -> Figure:
    """PSNR of `small` after 400 steps, above that of a Gaussian filter (0.7, 1, 1)."""
    made = trained(size)
    gaussian = psnr(denoise_gaussian(made.plane.noisy), made.plane.truth)
    gain = psnr(made.denoised, made.plane.truth) - gaussian
    name = f"PSNR of `small`, {STEPS[size]} steps, 6 photons, above Gaussian"
    return Figure(name, "dB", gain, target=4, better="higher")


def figure_training(size: Size) -> Figure:
    """Processor seconds of the training: `small`, 400 steps of 4 patches of 64 x 64."""
    name = f"training of `small`, {STEPS[size]} steps"
    return Figure(name, "CPU s", trained(size).training_s, target=60)


def figure_frame(size: Size) -> Figure:
    """Processor seconds of a frame of 128 x 128, `small`."""
    return Figure("frame of 128², `small`", "CPU s", trained(size).frame_s, target=0.05)


def figure_published(size: Size) -> Figure:
    """Processor seconds of a frame of 128 x 128 with the sizes of the published network."""
    from clgkit.denoising.support import denoise_frames  # noqa: PLC0415  (torch is an extra)
    from clgkit.denoising.support_net import new_network  # noqa: PLC0415
    from clgkit.denoising.support_samples import Scale  # noqa: PLC0415

    side = 128 if size == "full" else 16
    frames = np.zeros((61, side, side), np.float32)
    net = new_network(support_recipe("published").layout).eval()
    (taken,) = measure(lambda: denoise_frames(frames, net, scale=Scale(0, 1), wanted=slice(30, 31)))
    return Figure("frame of 128², published sizes", "CPU s", taken, target=0.25)
