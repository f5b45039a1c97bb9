"""Small recordings with known nuclei, and how they go through stages and runs."""

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from clgkit import data, io
from clgkit.pipeline import settings
from clgkit.pipeline.runner import Run
from clgkit.stages import function_of, params_of
from clgkit.workspace import Workspace

SERIAL = Workspace(executor="serial")
VOXEL = (1.0, 1.0, 1.0)
RATE = 2.0


class Said(NamedTuple):
    """What a stage returned, and what it warned of."""

    result: Any
    warnings: list[str]


def stage(name: str, *inputs: Any, **changes: Any) -> Said:
    """Run one stage with some settings changed."""
    params = params_of(name).parse(changes, section=name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        result = function_of(name)(*inputs, params=params, workspace=SERIAL)
    return Said(result, [str(warning.message) for warning in caught])


def movie_of(
    pixels: npt.NDArray[Any], voxel_um: tuple[float, float, float] = VOXEL
) -> xr.DataArray:
    return data.movie(pixels, rate_hz=RATE, voxel_um=voxel_um)


def labels_of(
    pixels: npt.NDArray[Any], voxel_um: tuple[float, float, float] = VOXEL
) -> xr.DataArray:
    return data.labels(pixels, voxel_um=voxel_um)


def planes_of(*slices: int) -> xr.DataArray:
    """The slice of each plane, as `align_planes` gives it, without offsets."""
    return xr.DataArray(np.array(slices, np.int32), dims=("z",), name="planes")


def traces_of(rows: npt.NDArray[Any], rate_hz: float = RATE) -> xr.DataArray:
    """Traces (neuron, time) whose nuclei are 1, 2, …"""
    n, n_frames = rows.shape
    coords: dict[str, Any] = {
        "nucleus": ("neuron", np.arange(1, n + 1, dtype=np.uint32)),
        "time": ("time", np.arange(n_frames) / rate_hz, {"units": "s"}),
    }
    return xr.DataArray(rows, dims=("neuron", "time"), coords=coords)


def textured(n_frames: int, n_planes: int, side: int, seed: int = 0) -> npt.NDArray[np.uint16]:
    """A still movie (T, P, Y, X) of blobs with a little noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    still = np.full((n_planes, side, side), 200.0)
    for plane in range(n_planes):
        for cy, cx in rng.uniform(3, side - 3, (side * side // 60, 2)):
            still[plane] += 900 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 5)
    noisy = still + rng.normal(0, 12, (n_frames, n_planes, side, side))
    return noisy.astype(np.uint16)


def run_of(
    folder: Path, movie: npt.NDArray[Any], stack: npt.NDArray[Any], **sections: dict[str, Any]
) -> Run:
    """A run folder with these raw data; the run is not started."""
    io.write_tiff(folder / "movie.tif", movie, axes="tzyx", voxel_um=VOXEL, rate_hz=RATE)
    io.write_tiff(folder / "stack.tif", stack, axes="zyx", voxel_um=VOXEL)
    for name, path in (("function", "movie.tif"), ("structure", "stack.tif")):
        sections[name] = {"path": path} | sections.get(name, {})
    settings.write(folder, sections)
    return Run(settings.load(folder))
