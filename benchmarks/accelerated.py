"""What a graphics processor gains over two cores, by wall clock: the same call on both.

One core is measured, and two are taken to be twice as fast.  Without such a device, or without
torch, a row of times holds the processor's seconds and is not met; the rows of differences then
compare with torch on the processor, which runs the same code.
"""

import importlib.util
import statistics
import time
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from benchmarks.harness import Figure, Size
from benchmarks.registration import MAX_SHIFT_PX, scene, template
from clgkit.contrast import normalize_volume
from clgkit.deconvolution import Deblur, SparseHessian, gaussian_psf
from clgkit.deconvolution.devices import deblur_planes, denoise_scaled
from clgkit.registration import (
    apply_shifts,
    prepare_piecewise,
    prepare_rigid,
    register_piecewise,
    register_rigid,
)

Float32: TypeAlias = npt.NDArray[np.float32]

DEVICE = "cuda"
CORES = 2
GAIN = 10.0
EQUAL = 1e-4
TORCH_ON_PROCESSOR = "cpu:0"


def device_at_hand() -> bool:
    """Return whether torch is installed and sees a device."""
    if importlib.util.find_spec("torch") is None:
        return False
    import torch  # noqa: PLC0415  (an optional extra)

    return bool(torch.cuda.is_available())


def compare(name: str, run: Callable[[str], object]) -> Figure:
    """Return the seconds of ``run(device)`` on the device beside those on two cores.

    Parameters
    ----------
    name
        Of the figure.
    run
        Called with the name of a device; returns when its result is in memory.
    """
    processor = wall_s(lambda: run("cpu")) / CORES
    if not device_at_hand():
        return Figure(
            f"{name}, processor only",
            "s",
            processor,
            peer=f"a device {DEVICE} (none at hand)",
            peer_value=None,
            target=GAIN,
        )
    device = wall_s(lambda: run(DEVICE))
    return Figure(
        f"{name} on {DEVICE}",
        "s",
        device,
        peer=f"{CORES} cores",
        peer_value=processor,
        target=GAIN,
    )


def wall_s(function: Callable[[], object], *, repeat: int = 3) -> float:
    """Return the median seconds of a call, after one to warm up."""
    function()
    samples = []
    for _ in range(repeat):
        start = time.perf_counter()
        function()
        samples.append(time.perf_counter() - start)
    return statistics.median(samples)


def make_stack(size: Size) -> npt.NDArray[np.uint16]:
    """Return shot noise, 16 bit."""
    shape = (40, 1024, 1024) if size == "full" else (6, 32, 32)
    return np.random.default_rng(0).poisson(200, shape).astype(np.uint16)


def figure_contrast_planes(size: Size) -> Figure:
    """40 slices of 1024 x 1024, radius 10, one after another."""
    stack = make_stack(size)
    return compare(
        "contrast of 40 slices of 1024²",
        lambda device: normalize_volume(
            stack, radius_px=(0, 10, 10), limits=(150, 250), device=device
        ),
    )


def figure_contrast_volume(size: Size) -> Figure:
    """40 slices of 1024 x 1024, in a window with depth."""
    stack = make_stack(size)
    return compare(
        "contrast in a volume, 40 slices of 1024²",
        lambda device: normalize_volume(
            stack, radius_px=(3, 10, 10), limits=(150, 250), device=device
        ),
    )


def figure_sparse_step(size: Size) -> Figure:
    """Sparse step on a tile of 40 x 256 x 256, 120 iterations."""
    f: Float32 = make_stack(size)[:, :256, :256].astype(np.float32) / np.float32(250)
    method = SparseHessian(iterations=120 if size == "full" else 5)
    return compare(
        "sparse step, 40 x 256², 120 iterations",
        lambda device: denoise_scaled(f, method, device=device),
    )


def figure_richardson_lucy(size: Size) -> Figure:
    """Richardson-Lucy on 8 slices of 1024 x 1024, 8 iterations."""
    planes = make_stack(size)[:8].astype(np.float32) / np.float32(250)
    deblur = Deblur(gaussian_psf(3.0, pixel_um=1.0))
    return compare(
        "Richardson-Lucy, 8 slices of 1024², 8 iterations",
        lambda device: deblur_planes(planes, deblur, device=device),
    )


def figure_rigid_motion(size: Size) -> Figure:
    """200 frames of 512 x 512: one shift for each is estimated and applied."""
    movie = scene(size, "bent", "8.8").movie
    prepared = prepare_rigid(template(size, "bent", "8.8"), max_shift_px=MAX_SHIFT_PX)

    def run(device: str) -> None:
        found = register_rigid(movie, prepared, device=device)
        apply_shifts(movie, found.shift_px, dtype=np.int16, device=device)

    return compare("rigid motion, 200 frames of 512²", run)


def figure_piecewise_motion(size: Size) -> Figure:
    """Measure the same with a shift for each patch."""
    movie = scene(size, "bent", "8.8").movie
    prepared = prepare_piecewise(template(size, "bent", "8.8"), max_shift_px=MAX_SHIFT_PX)

    def run(device: str) -> None:
        found = register_piecewise(movie, prepared, device=device)
        shift_px, centers = found.patch_shift, found.centers
        apply_shifts(movie, shift_px, centers=centers, dtype=np.int16, device=device)

    return compare("piecewise motion, 200 frames of 512²", run)


def difference(name: str, run: Callable[[str], npt.NDArray[Any]], *, unit: str = "1") -> Figure:
    """Return the largest difference between the device and the processor.

    Parameters
    ----------
    name
        Of what is computed.
    run
        Called with the name of a device.
    unit
        Of the difference; "1" is the share of the largest value.
    """
    if importlib.util.find_spec("torch") is None:
        return Figure(f"{name}, difference (torch is not installed)", unit, np.nan, target=EQUAL)
    device = DEVICE if device_at_hand() else TORCH_ON_PROCESSOR
    wanted, found = (np.asarray(run(where), np.float64) for where in ("cpu", device))
    far = float(np.nanmax(np.abs(found - wanted)))
    scale = float(np.nanmax(np.abs(wanted))) if unit == "1" else 1.0
    return Figure(f"{name}, difference on {device}", unit, far / scale, target=EQUAL)


def figure_contrast_equal(size: Size) -> Figure:
    """Contrast in a volume."""
    stack = make_stack(size)[:8]
    return difference(
        "contrast in a volume",
        lambda device: normalize_volume(
            stack, radius_px=(3, 10, 10), limits=(150, 250), device=device
        ),
    )


def figure_sparse_equal(size: Size) -> Figure:
    """Sparse step, 120 iterations at full size."""
    f: Float32 = make_stack(size)[:12, :96, :96].astype(np.float32) / np.float32(250)
    method = SparseHessian(iterations=120 if size == "full" else 5)
    return difference("sparse step", lambda device: denoise_scaled(f, method, device=device))


def figure_richardson_lucy_equal(size: Size) -> Figure:
    """Richardson-Lucy, 8 iterations."""
    planes = make_stack(size)[:2, :256, :256].astype(np.float32) / np.float32(250)
    deblur = Deblur(gaussian_psf(3.0, pixel_um=1.0, half_width_px=8))
    return difference(
        "Richardson-Lucy", lambda device: deblur_planes(planes, deblur, device=device)
    )


def figure_rigid_equal(size: Size) -> Figure:
    """Shift of every frame."""
    movie = scene(size, "bent", "8.8").movie[:40]
    prepared = prepare_rigid(template(size, "bent", "8.8"), max_shift_px=MAX_SHIFT_PX)
    return difference(
        "rigid motion",
        lambda device: register_rigid(movie, prepared, device=device).shift_px,
        unit="px",
    )


def figure_piecewise_equal(size: Size) -> Figure:
    """Shift of every patch of every frame."""
    movie = scene(size, "bent", "8.8").movie[:20]
    prepared = prepare_piecewise(template(size, "bent", "8.8"), max_shift_px=MAX_SHIFT_PX)
    return difference(
        "piecewise motion",
        lambda device: register_piecewise(movie, prepared, device=device).patch_shift,
        unit="px",
    )
