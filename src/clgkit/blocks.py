"""What a stage fills block by block, and how it is cut into blocks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import xarray as xr

Array: TypeAlias = npt.NDArray[Any]
Region: TypeAlias = tuple[slice, ...]


@dataclass(frozen=True)
class Output:
    """An array that a stage is going to fill block by block.

    Parameters
    ----------
    name
        The result's name.
    dims, shape, dtype
        Of the whole array.
    coords
        Name → (dims, values, attributes).
    attrs
        Plain values that belong to the array.
    """

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    coords: Mapping[str, tuple[tuple[str, ...], Array, Mapping[str, Any]]] = field(
        default_factory=dict
    )
    attrs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fill(self) -> float | int | bool:
        """What an element holds that no block has written: NaN where there is NaN."""
        return math.nan if self.dtype.kind == "f" else self.dtype.type(0).item()

    def wrap(self, data: Any, attrs: Mapping[str, Any] | None = None) -> xr.DataArray:
        """Return `data` labelled as this output."""
        return xr.DataArray(
            xr.Variable(self.dims, data),
            coords={name: (d, v, dict(a)) for name, (d, v, a) in self.coords.items()},
            name=self.name,
            attrs={**self.attrs, **(attrs or {})},
        )


def output(
    name: str,
    dims: tuple[str, ...],
    source: xr.DataArray,
    dtype: npt.DTypeLike = np.float32,
    **sizes: int,
) -> Output:
    """Return an output whose dimensions and coordinates are those of `source`.

    Parameters
    ----------
    name
        The result's name.
    dims
        Its dimensions: of `source`, or new ones whose size is given in `sizes`.
    source
        Coordinates that span only `dims` are taken over.
    dtype
        Of the result.
    **sizes
        Length of each new dimension.
    """
    shape = tuple(sizes[dim] if dim in sizes else source.sizes[dim] for dim in dims)
    coords = {
        str(key): (tuple(str(d) for d in coord.dims), coord.values, dict(coord.attrs))
        for key, coord in source.coords.items()
        if set(coord.dims) <= set(dims) - set(sizes)
    }
    return Output(name, dims, shape, np.dtype(dtype), coords)


class Block(NamedTuple):
    """One piece of work: what is written (`core`) and what is read (`padded`)."""

    core: dict[str, slice]
    padded: dict[str, slice]

    def label(self) -> str:
        """Return a name such as ``z=3:4 time=0:64``."""
        return " ".join(f"{dim}={s.start}:{s.stop}" for dim, s in self.core.items())


def common_size(sources: Iterable[xr.DataArray], dim: str) -> int:
    """Return the length along `dim` that all sources which have it share."""
    found = {source.sizes[dim] for source in sources if dim in source.dims}
    if len(found) != 1:
        raise ValueError(f"the sources do not agree on the length of {dim!r}: {sorted(found)}")
    return int(found.pop())


def bytes_per_step(
    sizes: Mapping[Any, int], dtype: np.dtype[Any], fixed: Mapping[str, int], free: str
) -> int:
    """Return the bytes of one step along `free`, with blocks of the lengths in `fixed`."""
    if free not in sizes:
        return 0
    lengths = [min(n, fixed.get(str(d), n)) for d, n in sizes.items() if d != free]
    return math.prod(lengths) * dtype.itemsize


def cut_blocks(
    sizes: Mapping[str, int], split: Mapping[str, int], halo: Mapping[str, int]
) -> Iterator[Block]:
    """Yield the blocks in raster order."""
    ranges = [
        [slice(i, min(i + split[dim], n)) for i in range(0, n, split[dim])]
        for dim, n in sizes.items()
    ]
    for cores in itertools.product(*ranges):
        core = dict(zip(sizes, cores, strict=True))
        padded = {
            dim: slice(
                max(0, s.start - halo.get(dim, 0)), min(sizes[dim], s.stop + halo.get(dim, 0))
            )
            for dim, s in core.items()
        }
        yield Block(core, padded)


def region_of(made: Output, core: Mapping[str, slice]) -> Region:
    """Return where a block lies in an output."""
    return tuple(core.get(dim, slice(0, n)) for dim, n in zip(made.dims, made.shape, strict=True))


def trimmed(values: Array, made: Output, block: Block) -> Array:
    """Cut the halo off, and make sure that what is left has the promised look."""

    def inner(dim: str) -> slice:
        first = block.padded[dim].start
        return slice(block.core[dim].start - first, block.core[dim].stop - first)

    kept = values[tuple(inner(dim) if dim in block.core else slice(None) for dim in made.dims)]
    wanted = tuple(s.stop - s.start for s in region_of(made, block.core))
    if kept.shape != wanted:
        raise TypeError(
            f"block {block.label()} of {made.name} has shape {kept.shape}, not {wanted}"
        )
    return np.ascontiguousarray(kept, dtype=made.dtype)
