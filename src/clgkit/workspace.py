"""Where blocks run and where results go.

A stage calls :meth:`Workspace.map_blocks` and never learns whether its arrays lie in
memory or on the disk, how many workers there are, or what an interrupted run had
finished already.
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures import ThreadPoolExecutor as Threads
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import xarray as xr

from clgkit.errors import DataError, ResourceError, as_data_error

Array: TypeAlias = npt.NDArray[Any]
Region: TypeAlias = tuple[slice, ...]
BlockFunction: TypeAlias = Callable[..., Any]
FAILED = "failed_planes"
BLOCK_MB = 48
COPIES = 4


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


class Sink(Protocol):
    """Where one output goes.  `pack` runs in the worker, `settle` in the parent."""

    def pack(self, region: Region, values: Array) -> Any:
        """Write a block, or hand it back to be written by the parent."""
        ...

    def settle(self, region: Region, packet: Any) -> None:
        """Take what `pack` returned."""
        ...

    def array(self, failed: Mapping[str, str]) -> xr.DataArray:
        """Return the finished array."""
        ...


class Shelf(Protocol):
    """Where the outputs of a stage go and what of them is there already."""

    def place(self, outputs: list[Output], split: dict[str, int]) -> list[Sink]:
        """Make room for `outputs`, whose blocks have the sizes of `split`."""
        ...

    def split(self, outputs: list[Output], proposed: dict[str, int]) -> dict[str, int]:
        """Return the block sizes an earlier, interrupted call used, or `proposed`."""
        ...

    def done(self, outputs: list[Output]) -> set[str]:
        """Return the labels of the blocks that are there already."""
        ...

    def commit(self, outputs: list[Output], block: Block, packets: list[Any]) -> None:
        """Remember that a block is there."""
        ...


class MemorySink:
    """An output in memory."""

    def __init__(self, made: Output) -> None:
        self.made = made
        self.values = np.full(made.shape, made.fill, made.dtype)

    def __getstate__(self) -> dict[str, Any]:
        """Travel to a worker process without the values."""
        return {"made": self.made, "values": None}

    def pack(self, region: Region, values: Array) -> Array:  # noqa: ARG002  (the protocol's)
        """Hand the block back."""
        return values

    def settle(self, region: Region, packet: Any) -> None:
        """Put the block in its place."""
        self.values[region] = packet

    def array(self, failed: Mapping[str, str]) -> xr.DataArray:
        """Return the finished array."""
        return self.made.wrap(self.values, _failures(failed))


class MemoryShelf:
    """Results in memory; nothing is kept of an interrupted call."""

    def place(self, outputs: list[Output], split: dict[str, int]) -> list[Sink]:  # noqa: ARG002
        """Allocate the outputs."""
        return [MemorySink(made) for made in outputs]

    def split(self, outputs: list[Output], proposed: dict[str, int]) -> dict[str, int]:  # noqa: ARG002
        """Return `proposed`."""
        return proposed

    def done(self, outputs: list[Output]) -> set[str]:  # noqa: ARG002
        """Return nothing."""
        return set()

    def commit(self, outputs: list[Output], block: Block, packets: list[Any]) -> None:
        """Remember nothing."""


Progress: TypeAlias = Callable[[str, int, int], None]


def _silent(label: str, done: int, total: int) -> None:
    pass


@dataclass(frozen=True)
class Workspace:
    """Decides where blocks run and where results go.

    Parameters
    ----------
    workers
        Blocks that run at the same time; None takes one per processor.
    executor
        ``"serial"``, ``"threads"``, ``"processes"`` (spawned), or any object with the
        interface of :class:`concurrent.futures.Executor`.
    memory_mb
        What all blocks in flight may take together; None takes a quarter of what is
        free now.
    shelf
        Where results go; memory by default.
    progress
        Called with a label, the number of blocks done and their total.

    None of these changes a number in a result.
    """

    workers: int | None = None
    executor: Literal["serial", "threads", "processes"] | Executor = "threads"
    memory_mb: float | None = None
    shelf: Shelf = field(default_factory=MemoryShelf)
    progress: Progress = _silent

    def with_shelf(self, shelf: Shelf) -> Workspace:
        """Return the same workspace with results going to `shelf`."""
        return replace(self, shelf=shelf)

    def map_blocks(
        self,
        function: BlockFunction,
        source: xr.DataArray | tuple[xr.DataArray, ...],
        outputs: list[Output],
        *,
        split: Mapping[str, int | None],
        halo: Mapping[str, int] | None = None,
        isolate: str | None = None,
    ) -> tuple[xr.DataArray, ...]:
        """Apply `function` to every block of `source` and collect its results.

        Parameters
        ----------
        function
            Called with one labelled block per source; returns one array per output (a
            tuple if there are several).  With ``"processes"`` it must be importable:
            use :func:`functools.partial` for constants.
        source
            One array, or several that share the dimensions that are split.
        outputs
            What is made.  Along the dimensions that are split, an output must have the
            length of the source.
        split
            Dimension → block length.  None lets the memory budget decide (for at most
            one dimension); dimensions not named stay whole.
        halo
            Dimension → neighbours read on each side; the function returns arrays of the
            padded size and the halo is cut off here.
        isolate
            A dimension along which failures stay apart: if a block raises `DataError`
            or `ValueError`, only its index along this dimension is lost (its values
            read as NaN or 0, its sentence stands in ``attrs["failed_planes"]``).

        Returns
        -------
        tuple of DataArray
            One per output.

        Raises
        ------
        ClgError
            What the function raised, or `ResourceError` when a worker died.
        """
        sources = source if isinstance(source, tuple) else (source,)
        sizes = {dim: _size(sources, dim) for dim in split}
        chosen = self.shelf.split(outputs, self._choose(sources, outputs, split, sizes))
        sinks = self.shelf.place(outputs, chosen)
        blocks = list(_blocks(sizes, chosen, halo or {}))
        done = self.shelf.done(outputs)
        todo = [block for block in blocks if block.label() not in done]
        label = ", ".join(made.name for made in outputs)
        failed: dict[str, str] = {}
        task = _Task(function, sources, tuple(outputs), tuple(sinks), isolate)
        self.progress(label, len(blocks) - len(todo), len(blocks))
        for count, (block, packets) in enumerate(self._run(task, todo), 1):
            if isinstance(packets, _Failure):
                failed[str(packets.plane)] = packets.sentence
            else:
                for sink, made, packet in zip(sinks, outputs, packets, strict=True):
                    sink.settle(_region(made, block.core), packet)
                self.shelf.commit(outputs, block, packets)
            self.progress(label, len(blocks) - len(todo) + count, len(blocks))
        return tuple(sink.array(failed) for sink in sinks)

    def _choose(
        self,
        sources: tuple[xr.DataArray, ...],
        outputs: list[Output],
        split: Mapping[str, int | None],
        sizes: Mapping[str, int],
    ) -> dict[str, int]:
        """Return the block length along each split dimension."""
        fixed = {dim: n for dim, n in split.items() if n is not None}
        free = [dim for dim, n in split.items() if n is None]
        if len(free) > 1:
            raise ValueError(f"only one dimension may be left open, not {', '.join(free)}")
        if free:
            per_step = sum(_bytes_per_step(a.sizes, a.dtype, fixed, free[0]) for a in sources)
            per_step += sum(
                _bytes_per_step(dict(zip(o.dims, o.shape, strict=True)), o.dtype, fixed, free[0])
                for o in outputs
            )
            budget = min(BLOCK_MB, self.budget_mb / self.n_workers / COPIES) * 1e6
            fixed[free[0]] = max(1, int(budget / max(per_step, 1)))
        return {dim: max(1, min(fixed[dim], sizes[dim])) for dim in split}

    @property
    def n_workers(self) -> int:
        """Number of blocks that run at the same time."""
        if self.executor == "serial":
            return 1
        return self.workers or processors()

    @property
    def budget_mb(self) -> float:
        """Megabytes that all blocks in flight may take together."""
        if self.memory_mb is not None:
            return self.memory_mb
        import psutil  # noqa: PLC0415  (only asked for when no budget was given)

        return float(psutil.virtual_memory().available) / 4e6

    def _run(self, task: _Task, blocks: list[Block]) -> Iterator[tuple[Block, Any]]:
        """Yield each block with its packets, in the order in which they finish."""
        if self.executor == "serial" or len(blocks) <= 1:
            yield from ((block, task(block)) for block in blocks)
            return
        with self._open() as executor:
            waiting: dict[Future[Any], Block] = {}
            rest = iter(blocks)
            try:
                while True:
                    for block in itertools.islice(rest, 2 * self.n_workers - len(waiting)):
                        waiting[executor.submit(task, block)] = block
                    if not waiting:
                        return
                    finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in finished:
                        yield waiting.pop(future), _result(future)
            finally:
                for future in waiting:
                    future.cancel()

    @contextmanager
    def _open(self) -> Iterator[Executor]:
        if not isinstance(self.executor, str):
            yield self.executor
        elif self.executor == "processes":
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(self.n_workers, mp_context=context) as pool:
                yield pool
        else:
            with Threads(self.n_workers) as pool:
                yield pool


def processors() -> int:
    """Return the number of processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Failure(NamedTuple):
    plane: int
    sentence: str


@dataclass(frozen=True)
class _Task:
    """What a worker does with one block."""

    function: BlockFunction
    sources: tuple[xr.DataArray, ...]
    outputs: tuple[Output, ...]
    sinks: tuple[Sink, ...]
    isolate: str | None

    def __call__(self, block: Block) -> Any:
        pieces = [
            source.isel({dim: s for dim, s in block.padded.items() if dim in source.dims}).load()
            for source in self.sources
        ]
        try:
            with as_data_error(block.label()):
                made = self.function(*pieces)
        except DataError as error:
            if self.isolate is None:
                raise
            return _Failure(block.core[self.isolate].start, error.message)
        arrays = made if isinstance(made, tuple) else (made,)
        return [
            sink.pack(_region(output, block.core), _trimmed(np.asarray(values), output, block))
            for sink, output, values in zip(self.sinks, self.outputs, arrays, strict=True)
        ]


def _result(future: Future[Any]) -> Any:
    try:
        return future.result()
    except BrokenProcessPool:
        raise ResourceError(
            "A worker process died, most likely because memory ran out. Run again with fewer "
            "workers (--workers 1) or less memory per block (--memory-mb); finished blocks "
            "are kept.",
            code="E_WORKER",
        ) from None


def _size(sources: Iterable[xr.DataArray], dim: str) -> int:
    found = {source.sizes[dim] for source in sources if dim in source.dims}
    if len(found) != 1:
        raise ValueError(f"the sources do not agree on the length of {dim!r}: {sorted(found)}")
    return int(found.pop())


def _bytes_per_step(
    sizes: Mapping[Any, int], dtype: np.dtype[Any], fixed: Mapping[str, int], free: str
) -> int:
    if free not in sizes:
        return 0
    lengths = [min(n, fixed.get(str(d), n)) for d, n in sizes.items() if d != free]
    return math.prod(lengths) * dtype.itemsize


def _blocks(
    sizes: Mapping[str, int], split: Mapping[str, int], halo: Mapping[str, int]
) -> Iterator[Block]:
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


def _region(made: Output, core: Mapping[str, slice]) -> Region:
    return tuple(core.get(dim, slice(0, n)) for dim, n in zip(made.dims, made.shape, strict=True))


def _trimmed(values: Array, made: Output, block: Block) -> Array:
    """Cut the halo off, and make sure that what is left has the promised look."""
    cut = tuple(
        slice(
            block.core[dim].start - block.padded[dim].start,
            block.core[dim].stop - block.padded[dim].start,
        )
        if dim in block.core
        else slice(None)
        for dim in made.dims
    )
    kept = values[cut]
    wanted = tuple(s.stop - s.start for s in _region(made, block.core))
    if kept.shape != wanted:
        raise TypeError(
            f"block {block.label()} of {made.name} has shape {kept.shape}, not {wanted}"
        )
    return np.ascontiguousarray(kept, dtype=made.dtype)


def _failures(failed: Mapping[str, str]) -> dict[str, Any]:
    return {FAILED: dict(failed)} if failed else {}


def failed_planes(array: xr.DataArray) -> dict[int, str]:
    """Return the planes that an earlier stage lost, with the reason of each."""
    return {int(plane): str(why) for plane, why in array.attrs.get(FAILED, {}).items()}
