"""The five nouns that flow between stages: Movie, Volume, Labels, Neurons, Network.

The first four are xarray containers, the last a frozen dataclass.  Axes are always
(time, z, y, x), 0-based; ``z``, ``y``, ``x`` are in micrometres, ``time`` in seconds.
Pixels may lie on the disk: slicing such an array reads only what is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from clgkit.errors import DataError
from clgkit.schema import Schema

if TYPE_CHECKING:
    from collections.abc import Mapping

Movie: TypeAlias = xr.DataArray
Volume: TypeAlias = xr.DataArray
Labels: TypeAlias = xr.DataArray
Neurons: TypeAlias = xr.Dataset

UM = {"z": "um", "y": "um", "x": "um"}
MOVIE = Schema("movie", ("time", "z", "y", "x"), "fiu", {"time": "s", **UM})
VOLUME = Schema("volume", ("z", "y", "x"), "fiu", UM)
LABELS = Schema("label volume", ("z", "y", "x"), "u", UM)


class Pixels(Protocol):
    """Anything that can be sliced without being read whole."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes along each axis."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored values."""

    def __getitem__(self, key: tuple[slice, ...], /) -> npt.NDArray[Any]: ...


class _Lazy(BackendArray):
    """Adapter that lets xarray slice `Pixels` without reading them whole."""

    def __init__(self, pixels: Pixels) -> None:
        self.pixels = pixels
        self.shape = tuple(pixels.shape)
        self.dtype = np.dtype(pixels.dtype)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> npt.NDArray[Any]:
        made: npt.NDArray[Any] = indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._read
        )
        return made

    def _read(self, key: tuple[int | slice, ...]) -> npt.NDArray[Any]:
        slices = tuple(slice(k, k + 1) if isinstance(k, int | np.integer) else k for k in key)
        kept = tuple(0 if isinstance(k, int | np.integer) else slice(None) for k in key)
        return np.asarray(self.pixels[slices])[kept]


def lazy(pixels: Pixels) -> indexing.LazilyIndexedArray:
    """Wrap `pixels` so that an xarray container slices them on demand."""
    return indexing.LazilyIndexedArray(_Lazy(pixels))


def coordinates(
    dims: tuple[str, ...],
    shape: tuple[int, ...],
    *,
    voxel_um: tuple[float, float, float] | None = None,
    rate_hz: float | None = None,
) -> dict[str, tuple[str, npt.NDArray[np.float64], dict[str, str]]]:
    """Return evenly spaced coordinates with units for an array of these dimensions.

    Parameters
    ----------
    dims, shape
        Of the array.
    voxel_um
        Spacing along z, y, x.
    rate_hz
        Frames (volumes) per second.
    """
    steps: dict[str, tuple[float, str]] = {}
    if voxel_um is not None:
        steps |= {dim: (step, "um") for dim, step in zip("zyx", voxel_um, strict=True)}
    if rate_hz is not None:
        steps["time"] = (1 / rate_hz, "s")
    return {
        dim: (dim, np.arange(size, dtype=np.float64) * steps[dim][0], {"units": steps[dim][1]})
        for dim, size in zip(dims, shape, strict=True)
        if dim in steps
    }


def movie(
    pixels: Pixels, *, rate_hz: float, voxel_um: tuple[float, float, float], name: str = "function"
) -> Movie:
    """Label (time, z, y, x) pixels as a movie; nothing is read."""
    return _labelled(pixels, MOVIE.dims, name, voxel_um=voxel_um, rate_hz=rate_hz)


def volume(
    pixels: Pixels, *, voxel_um: tuple[float, float, float], name: str = "structure"
) -> Volume:
    """Label (z, y, x) pixels as a volume; nothing is read."""
    return _labelled(pixels, VOLUME.dims, name, voxel_um=voxel_um)


def labels(pixels: Pixels, *, voxel_um: tuple[float, float, float], name: str = "labels") -> Labels:
    """Label (z, y, x) whole numbers as nuclei; they become uint32 without loss.

    Raises
    ------
    DataError
        If the values are negative, fractional, or do not fit 32 bits.
    """
    if np.dtype(pixels.dtype) != np.uint32:
        pixels = as_uint32(np.asarray(pixels[(slice(None),) * len(pixels.shape)]))
    return _labelled(pixels, LABELS.dims, name, voxel_um=voxel_um)


def as_uint32(values: npt.NDArray[Any]) -> npt.NDArray[np.uint32]:
    """Return label ids as uint32, or say why that would change them."""
    if values.dtype.kind == "b":
        return values.astype(np.uint32)
    if values.dtype.kind not in "iuf":
        raise DataError(f"Labels must be whole numbers; these are {values.dtype}.", code="E_SHAPE")
    if values.size == 0:
        return values.astype(np.uint32)
    if values.dtype.kind == "f" and not np.array_equal(values, np.round(values)):
        raise DataError(
            "Labels must be whole numbers; these have fractions or NaN. "
            "Is this an image instead of its labels?",
            code="E_SHAPE",
        )
    low, high = values.min(), values.max()
    if low < 0 or high > np.iinfo(np.uint32).max:
        raise DataError(
            f"Labels must lie between 0 (background) and 4294967295; these go from {low} to "
            f"{high}. Relabel them, with 0 as background.",
            code="E_SHAPE",
        )
    return values.astype(np.uint32)


def _labelled(
    pixels: Pixels,
    dims: tuple[str, ...],
    name: str,
    *,
    voxel_um: tuple[float, float, float],
    rate_hz: float | None = None,
) -> xr.DataArray:
    shape = tuple(pixels.shape)
    if len(shape) != len(dims):
        raise DataError(
            f"A {name} has the axes {', '.join(dims)}; this array has shape {shape}.",
            code="E_AXES",
        )
    data: Any = pixels if isinstance(pixels, np.ndarray) else lazy(pixels)
    coords = coordinates(dims, shape, voxel_um=voxel_um, rate_hz=rate_hz)
    variable = xr.Variable(dims, data)
    return xr.DataArray(variable, coords=coords, name=name)


def voxel_um(array: xr.DataArray) -> tuple[float, float, float]:
    """Return the spacing along z, y, x; a single plane counts as 1 um thick."""
    spacing = tuple(_step(array, dim) for dim in "zyx")
    return spacing[0], spacing[1], spacing[2]


def rate_hz(array: xr.DataArray | xr.Dataset) -> float:
    """Return frames per second; a single frame counts as 1 Hz."""
    return 1 / _step(array, "time")


def _step(array: xr.DataArray | xr.Dataset, dim: str) -> float:
    values = array.coords[dim].values
    return float(values[1] - values[0]) if len(values) > 1 else 1.0


@dataclass(frozen=True)
class Network:
    """An undirected graph over neurons.

    Parameters
    ----------
    indptr, indices
        CSR adjacency, (N + 1,) int64 and (E,) int32; symmetric, without self-loops,
        indices sorted within each row.
    weights
        (E,) float32, or None for an unweighted graph.
    node_ids
        (N,) uint32, the nucleus of each node (or its number in a graph file).
    position_um
        (N, 3) float64, z, y, x; None where unknown.
    attributes
        How it was made: ``rule``, ``threshold``, ``quantity``, …
    """

    indptr: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int32]
    node_ids: npt.NDArray[np.uint32]
    weights: npt.NDArray[np.float32] | None = None
    position_um: npt.NDArray[np.float64] | None = None
    attributes: Mapping[str, str | int | float | bool] = field(default_factory=dict)

    @property
    def n_nodes(self) -> int:
        """Number of nodes, isolated ones included."""
        return len(self.indptr) - 1

    @property
    def n_edges(self) -> int:
        """Number of undirected edges."""
        return len(self.indices) // 2

    def check(self) -> None:
        """Raise `DataError` with all that is wrong, if anything is."""
        found = self._shape_problems() or self._graph_problems()
        if found:
            listed = "".join(f"\n  - {problem}" for problem in found)
            raise DataError(f"This is not a network:{listed}", code="E_SHAPE")

    def _shape_problems(self) -> list[str]:
        n, e = self.n_nodes, len(self.indices)
        found = []
        if len(self.indptr) == 0 or self.indptr[0] != 0 or self.indptr[-1] != e:
            found.append("row pointers do not match the number of edges")
        elif np.any(np.diff(self.indptr) < 0):
            found.append("row pointers go backwards")
        if e and (self.indices.min() < 0 or self.indices.max() >= n):
            found.append(f"an edge names a node outside 0 … {n - 1}")
        if len(self.node_ids) != n:
            found.append(f"{len(self.node_ids)} node ids for {n} nodes")
        if self.weights is not None and len(self.weights) != e:
            found.append(f"{len(self.weights)} weights for {e} directed edges")
        if self.position_um is not None and self.position_um.shape != (n, 3):
            found.append(f"positions have shape {self.position_um.shape}, not ({n}, 3)")
        return found

    def _graph_problems(self) -> list[str]:
        rows = np.repeat(np.arange(self.n_nodes), np.diff(self.indptr))
        forward = rows * np.int64(self.n_nodes) + self.indices
        backward = self.indices * np.int64(self.n_nodes) + rows
        found = []
        if np.any(rows == self.indices):
            found.append("it has self-loops")
        if np.any(np.diff(forward) <= 0):
            found.append("neighbours are not sorted, or an edge stands twice")
        if not np.array_equal(np.sort(forward), np.sort(backward)):
            found.append("it is not symmetric")
        return found
