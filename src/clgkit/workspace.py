"""Where blocks run and where results go.

A stage calls :meth:`Workspace.map_blocks` and never learns whether its arrays lie in
memory or on the disk, how many workers there are, or what an interrupted run had
finished already.
"""

from __future__ import annotations

import importlib.util
import itertools
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures import ThreadPoolExecutor as Threads
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
from threadpoolctl import threadpool_limits

from clgkit.blocks import (
    Array,
    Block,
    Output,
    Region,
    bytes_per_step,
    common_size,
    cut_blocks,
    region_of,
    trimmed,
)
from clgkit.errors import (
    DataError,
    MissingDependency,
    ResourceError,
    SettingsError,
    as_data_error,
)

if TYPE_CHECKING:
    import xarray as xr

BlockFunction: TypeAlias = Callable[..., Any]
FAILED = "failed_planes"
BLOCK_MB = 48
COPIES = 4


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


def _check_device(device: str) -> None:
    """Raise the error that says why a device cannot be used."""
    kind, _, number = device.partition(":")
    if kind != "cuda" or (number and not number.isdecimal()):
        raise SettingsError(
            f'The device {device!r} is not known; wanted is "cpu", "cuda" or "cuda:1".'
        )
    if importlib.util.find_spec("torch") is None:
        raise MissingDependency(
            f"The device {device!r} needs torch: pip install 'clgkit[deep]', or take the cpu."
        )
    import torch  # noqa: PLC0415  (an optional extra that takes seconds to load)

    there = torch.cuda.device_count()
    if int(number or 0) >= there:
        raise ResourceError(
            f"The device {device!r} is not there: torch finds {there} such devices. Take the cpu.",
            code="E_DEVICE",
        )


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
    device
        Where stages that can use a GPU compute: ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
    shelf
        Where results go; memory by default.
    progress
        Called with a label, the number of blocks done and their total.

    Raises
    ------
    SettingsError
        If `device` is no device; `MissingDependency` if torch is not installed.
    ResourceError
        If this machine has no such device.

    Notes
    -----
    None of these changes a number in a result, the device beyond 1e-4 of its range.
    """

    workers: int | None = None
    executor: Literal["serial", "threads", "processes"] | Executor = "threads"
    memory_mb: float | None = None
    device: str = "cpu"
    shelf: Shelf = field(default_factory=MemoryShelf)
    progress: Progress = _silent

    def __post_init__(self) -> None:
        if self.device != "cpu":
            _check_device(self.device)

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
        sizes = {dim: common_size(sources, dim) for dim in split}
        chosen = self.shelf.split(outputs, self._choose(sources, outputs, split, sizes))
        sinks = self.shelf.place(outputs, chosen)
        blocks = list(cut_blocks(sizes, chosen, halo or {}))
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
                    sink.settle(region_of(made, block.core), packet)
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
            per_step = sum(bytes_per_step(a.sizes, a.dtype, fixed, free[0]) for a in sources)
            per_step += sum(
                bytes_per_step(dict(zip(o.dims, o.shape, strict=True)), o.dtype, fixed, free[0])
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
            with ProcessPoolExecutor(self.n_workers, context, _one_thread) as pool:
                yield pool
        else:
            # Libraries that spin up threads of their own would only fight over the processors.
            with threadpool_limits(1), Threads(self.n_workers) as pool:
                yield pool


def _one_thread() -> None:
    threadpool_limits(1)


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
        try:
            pieces = [self._read(source, block) for source in self.sources]
            with as_data_error(block.label()):
                made = self.function(*pieces)
        except DataError as error:
            if self.isolate is None:
                raise
            return _Failure(block.core[self.isolate].start, error.message)
        arrays = made if isinstance(made, tuple) else (made,)
        return [
            sink.pack(region_of(output, block.core), trimmed(np.asarray(values), output, block))
            for sink, output, values in zip(self.sinks, self.outputs, arrays, strict=True)
        ]

    @staticmethod
    def _read(source: xr.DataArray, block: Block) -> xr.DataArray:
        return source.isel({d: s for d, s in block.padded.items() if d in source.dims}).load()


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


def _failures(failed: Mapping[str, str]) -> dict[str, Any]:
    return {FAILED: dict(failed)} if failed else {}


def failed_planes(array: xr.DataArray) -> dict[int, str]:
    """Return the planes that an earlier stage lost, with the reason of each."""
    return {int(plane): str(why) for plane, why in array.attrs.get(FAILED, {}).items()}
