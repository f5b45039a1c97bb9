"""Stacks that are never whole in memory, and the stage on them, for the figures of its memory."""

import tempfile
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from clgkit import data, io
from clgkit.pipeline.store import Partial
from clgkit.stages.deconvolve import Deconvolve, deconvolve
from clgkit.workspace import Workspace

Shape = tuple[int, int, int]
VOXEL_UM = (1.0, 0.4, 0.4)


class Streamed:
    """Pixels that are made when they are read."""

    dtype = np.dtype(np.uint16)

    def __init__(self, shape: Shape) -> None:
        self.shape = shape

    def __getitem__(self, key: tuple[slice, ...]) -> npt.NDArray[np.uint16]:
        z, y, x = (np.arange(*part.indices(n)) for part, n in zip(key, self.shape, strict=True))
        mixed = z[:, None, None] * 7919 + y[:, None] * 104729 + x * 1299709
        return (100 + mixed % 613).astype(np.uint16)


class Blobs(Streamed):
    """Bright blobs that wander from slice to slice, with shot noise of 100 photons."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        seeds = np.random.default_rng(0).random(shape[1:]) < 1 / 400
        light = ndimage.gaussian_filter(seeds.astype(np.float32), 3.0, mode="wrap")
        self.light = 20 + 80 * light / light.max()

    def __getitem__(self, key: tuple[slice, ...]) -> npt.NDArray[np.uint16]:
        zs = range(*key[0].indices(self.shape[0]))
        return np.stack([self.plane(z) for z in zs])[:, key[1], key[2]]

    def plane(self, z: int) -> npt.NDArray[np.uint16]:
        """Return a slice."""
        light = np.roll(self.light, (z, -z), (0, 1))
        noise = np.random.default_rng(z).standard_normal(light.shape, np.float32)
        return np.asarray(np.maximum(light + np.sqrt(light) * noise, 0), np.uint16)


def on_pattern(shape: Shape, memory_mb: float) -> None:
    """Run the stage from pixels that stream in to a store on the disk."""
    stack = data.volume(Streamed(shape), voxel_um=VOXEL_UM)
    with tempfile.TemporaryDirectory() as folder:
        run_stage(stack, Path(folder), memory_mb=memory_mb)


def on_file(path: str) -> None:
    """Run the stage from a TIFF file to a store beside it."""
    run_stage(io.read_volume(Path(path), axes="zyx", voxel_um=VOXEL_UM), Path(path).parent)


def write_blobs(path: Path, shape: Shape) -> None:
    """Write a stack of blobs slice by slice."""
    io.write_tiff(path, Blobs(shape), axes="zyx", voxel_um=VOXEL_UM)


def run_stage(stack: data.Volume, folder: Path, *, memory_mb: float | None = None) -> None:
    """Denoise and sharpen a stack with two workers; two rounds, for they change no peak."""
    params = Deconvolve(iterations=2, method="richardson_lucy", fwhm_um=1.2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about spots made of noise
        shelf = Partial(folder, "deconvolve", "key")
        deconvolve(
            stack, params=params, workspace=Workspace(workers=2, memory_mb=memory_mb, shelf=shelf)
        )
