"""The raw data of a run: opened on demand, checked before the first frame, fingerprinted."""

from __future__ import annotations

import hashlib
import threading
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from clgkit import io
from clgkit.data import lazy, rate_hz, voxel_um
from clgkit.errors import DataError, SettingsError
from clgkit.pipeline.models import open_denoiser, open_model, read_bead, read_nuclei
from clgkit.pipeline.store import digest
from clgkit.registration import NOISE_LEVEL, neighbour_correlation
from clgkit.stages import EXTRA

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clgkit.data import Labels, Movie, Volume
    from clgkit.denoising.support_net import SupportNet
    from clgkit.pipeline.settings import RunSettings
    from clgkit.segmentation.cellpose_network import CellposeNetwork
    from clgkit.segmentation.network import NucleusNetwork

EDGE_BYTES = 1 << 20
SAMPLE = 25
SLICES = 8


def fingerprint(path: Path) -> str:
    """Return a digest of a file's size and its first and last MiB, or of all of a folder.

    A copied recording keeps its fingerprint; the time of change is not part of it.

    Raises
    ------
    DataError
        If there is no such file.
    """
    if path.is_dir():
        return digest({p.name: fingerprint(p) for p in sorted(path.iterdir()) if _is_data(p)})
    if not path.is_file():
        raise DataError(
            f"There is no file {path}. Correct its path in the settings file.", code="E_PATH"
        )
    size = path.stat().st_size
    content = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        content.update(file.read(EDGE_BYTES))
        if size > EDGE_BYTES:
            file.seek(max(EDGE_BYTES, size - EDGE_BYTES))
            content.update(file.read(EDGE_BYTES))
    return content.hexdigest()


def _is_data(path: Path) -> bool:
    return not path.name.startswith(".")


class RawInputs:
    """What a run reads: ``structure``, ``function``, and what it has of `clgkit.stages.EXTRA`."""

    def __init__(self, settings: RunSettings) -> None:
        self.settings = settings

    def keys(self) -> dict[str, str]:
        """Return raw input → key: the file's fingerprint and the facts given with it."""
        keys: dict[str, str] = {}
        for name in ("function", "structure", *EXTRA):
            section = self.settings[name]
            facts = section.model_dump(mode="json", exclude={"path", "ignore_noise"})
            path = self.settings.path(name)
            if name == "structure" and section.time_average:
                keys[name] = digest(["time average", keys.get("function")])
            elif path is not None:
                keys[name] = digest([fingerprint(path), facts])
        return keys

    def open(self, name: str) -> Any:
        """Return a raw input, to be read on demand."""
        return getattr(self, name)

    @cached_property
    def function(self) -> Movie:
        """The functional movie."""
        given = self.settings["function"]
        return self._movie("function", given.rate_hz, given.voxel_um)

    @cached_property
    def nuclear(self) -> Movie:
        """The functional movie's nuclear channel; it takes its facts from the movie."""
        like = self.function
        voxel = self.settings["nuclear"].voxel_um or voxel_um(like)
        movie = self._movie("nuclear", rate_hz(like), voxel)
        self._same(movie, like, "nuclear")
        return movie

    @cached_property
    def reference(self) -> Volume:
        """The fixed images to correct motion against, one per plane."""
        given, like = self.settings["reference"], self.function
        volume: Volume = io.read_volume(
            self._path("reference"),
            axes=given.axes,
            voxel_um=given.voxel_um or voxel_um(like),
            dataset=given.dataset,
            channel=given.channel,
        )
        self._same(volume, like.isel(time=0), "reference")
        return volume

    @cached_property
    def model(self) -> NucleusNetwork | CellposeNetwork:
        """The network of a file."""
        return open_model(self._path("model"))

    @cached_property
    def denoiser(self) -> SupportNet:
        """The denoising network of a file."""
        return open_denoiser(self._path("denoiser"))

    @cached_property
    def labels(self) -> Labels:
        """Labels made elsewhere, on the voxels of the structural stack."""
        given = self.settings["labels"]
        return read_nuclei(
            self._path("labels"), like=self.structure, axes=given.axes, dataset=given.dataset
        )

    @cached_property
    def psf(self) -> Volume:
        """Image of a bead."""
        given = self.settings["psf"]
        return read_bead(
            self._path("psf"),
            like=self.structure,
            axes=given.axes,
            voxel_um=given.voxel_um,
            dataset=given.dataset,
            channel=given.channel,
        )

    def _movie(self, name: str, rate: float | None, voxel: Any) -> Movie:
        given, function = self.settings[name], self.settings["function"]
        image = io.open_image(
            self._path(name),
            axes=given.axes,
            dataset=given.dataset,
            channel=given.channel,
            salvage=function.salvage,
            trim=function.trim,
        )
        movie: Movie = io.as_movie(image, rate_hz=rate, voxel_um=voxel)
        movie.coords["plane"] = ("z", planes_of(image, movie.sizes["z"]))
        return movie

    def _same(self, image: xr.DataArray, like: xr.DataArray, name: str) -> None:
        if dict(image.sizes) != dict(like.sizes):
            found, wanted = (dict(array.sizes) for array in (image, like))
            raise DataError(
                f"The {name} {self._path(name).name} has {_sizes(found)}, but the functional movie "
                f"has {_sizes(wanted)}. Correct [{name}] in the settings file.",
                code="E_SHAPE",
            )

    @cached_property
    def structure(self) -> Volume:
        """The structural stack."""
        given = self.settings["structure"]
        if given.time_average:
            if given.path:
                raise SettingsError(
                    "[structure] has a path and time_average = true. Empty the path, or set "
                    "time_average = false."
                )
            return lazy_time_average(self.function)
        volume: Volume = io.read_volume(
            self._path("structure"),
            axes=given.axes,
            voxel_um=given.voxel_um,
            dataset=given.dataset,
            channel=given.channel,
        )
        return volume

    @cached_property
    def plane_map(self) -> xr.DataArray:
        """Slice of each functional plane, as the plane map file says; -1 where it is silent."""
        mapping = io.read_planemap(
            self._path("plane_map"),
            n_slices=self.structure.sizes["z"],
            any_order=self.settings["align_planes"].order == "free",
        )
        return slices_given(mapping, self.function.coords["plane"].values)

    def _check_plane_map(self) -> None:
        if (self.plane_map.values < 0).all():
            raise DataError(
                "The plane map names none of the functional planes "
                f"{', '.join(str(plane + 1) for plane in self.function.coords['plane'].values)}.",
                code="E_SHAPE",
            )

    def _path(self, name: str) -> Path:
        path = self.settings.path(name)
        if path is None:
            raise SettingsError(
                f"The run has no {name}: fill in [{name}] path in its settings file."
            )
        return path

    def check(self) -> list[str]:
        """Look at the data before the first frame; return warnings.

        Raises
        ------
        DataError
            With what is wrong.
        """
        given = [name for name in EXTRA if name != "plane_map" and self.settings.path(name)]
        inputs = [self.open(name) for name in ("function", "structure", *given)]
        attributes = [getattr(found, "attrs", {}) for found in inputs]
        warnings = [str(note) for attrs in attributes for note in attrs.get("notes", ())]
        if self.settings.path("plane_map") is not None:
            self._check_plane_map()
        images = {
            "function": mean_plane(self.function),
            "structure": some_slices(self.structure),
        }
        for name, image in images.items():
            if not self.settings[name].ignore_noise:
                refuse_noise(image, name, remedy=f"set ignore_noise = true in [{name}]")
        return warnings


def _sizes(sizes: Mapping[Any, int]) -> str:
    return ", ".join(f"{dim} {size}" for dim, size in sizes.items())


def planes_of(image: io.Image, n_planes: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the functional index (from 0) of each plane that an image holds."""
    numbers = np.arange(n_planes + len(image.missing))
    return np.setdiff1d(numbers, image.missing).astype(np.int64)


def slices_given(mapping: io.PlaneMap, planes: np.ndarray[Any, np.dtype[np.int64]]) -> xr.DataArray:
    """Return the slice (z,) that a plane map gives each plane, -1 where it is silent."""
    known = dict(zip(mapping.plane.tolist(), mapping.slice.tolist(), strict=True))
    slices = np.array([known.get(int(plane), -1) for plane in planes], np.int32)
    return xr.DataArray(slices, dims=("z",), name="plane_map")


def refuse_noise(image: np.ndarray[Any, Any], name: str, *, remedy: str) -> None:
    """Raise `DataError` if neighbouring pixels of an image (.., Y, X) do not agree.

    Parameters
    ----------
    image
        Pixels; a blank image, or one with NaN, is left to those who have a sentence for it.
    name
        What it is, for the sentence.
    remedy
        What to do if it is right.
    """
    if not np.isfinite(image).all() or np.ptp(image) == 0:
        return
    agreement = neighbour_correlation(image)
    if agreement < NOISE_LEVEL:
        raise DataError(
            f"The {name} looks like noise: neighbouring pixels correlate by {agreement:.3f}, and "
            f"real images reach more than {NOISE_LEVEL}. Values that were wrapped round or cast to "
            f"another type look like this. If the data are right, {remedy}.",
            code="E_NOISE",
        )


def mean_plane(movie: Movie) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the mean of some frames of the middle plane."""
    step = max(1, movie.sizes["time"] // SAMPLE)
    frames = movie.isel(z=movie.sizes["z"] // 2, time=slice(0, SAMPLE * step, step)).values
    return np.asarray(np.mean(frames, axis=0, dtype=np.float64))


def some_slices(volume: Volume) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return a few slices (n, y, x), evenly spread over a stack."""
    step = max(1, volume.sizes["z"] // SLICES)
    slices = volume.isel(z=slice(step // 2, None, step)).values
    return np.asarray(slices, np.float64)


def time_average(movie: Movie) -> Volume:
    """Return the mean over time, summed frame by frame."""
    return lazy_time_average(movie).load()


def lazy_time_average(movie: Movie) -> Volume:
    """Return the mean over time, which is made when it is first read."""
    coords = {dim: movie.coords[dim] for dim in ("z", "y", "x")}
    average = xr.Variable(("z", "y", "x"), lazy(_TimeAverage(movie)))
    return xr.DataArray(average, coords=coords, name="structure")


class _TimeAverage:
    """The mean over time as pixels, (z, y, x) float32."""

    def __init__(self, movie: Movie) -> None:
        self.movie = movie
        self.shape = tuple(movie.sizes[dim] for dim in ("z", "y", "x"))
        self.dtype = np.dtype(np.float32)
        self._lock = threading.Lock()
        self._made: np.ndarray[Any, np.dtype[np.float32]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Travel to a worker process without the lock."""
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock())

    def __getitem__(self, key: tuple[slice, ...]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return a part; all of it is made once."""
        with self._lock:
            if self._made is None:
                total = np.zeros(self.shape)
                for frame in range(self.movie.sizes["time"]):
                    total += self.movie.isel(time=frame).values
                self._made = np.asarray(total / self.movie.sizes["time"], np.float32)
        return self._made[key]
