"""What was done: one folder per stage result, with a receipt.

::

    <run>/<stage>/MANIFEST.json     written last; the only sign that a result is whole
    <run>/<stage>/journal.jsonl     the blocks it was made of, so that one alone can be mended
    <run>/<stage>/<output>.zarr/
    <run>/<stage>.partial/          work in progress, with a journal of finished blocks

The same key continues a partial folder, another key discards it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from clgkit import fsio
from clgkit.blocks import Block, Output
from clgkit.errors import ResourceError, StoreError
from clgkit.pipeline import arrays
from clgkit.workspace import FAILED

if TYPE_CHECKING:
    import xarray as xr

FORMAT = 1
MANIFEST = "MANIFEST.json"
JOURNAL = "journal.jsonl"
METADATA = ".metadata.json"
Level = Literal["quick", "full"]
Files = dict[str, tuple[int, int]]
"""File → size and crc32."""


def digest(value: object) -> str:
    """Return the sha256 of a plain value in canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Manifest:
    """The receipt of a finished stage."""

    stage: str
    version: int
    key: str
    params: dict[str, Any]
    inputs: dict[str, str]
    outputs: list[str]
    values: dict[str, Any] = field(default_factory=dict)
    failed_planes: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    cost: dict[str, float] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    files: dict[str, tuple[int, int]] = field(default_factory=dict)
    n_nan: dict[str, int] = field(default_factory=dict)
    format: int = FORMAT


class Result:
    """A finished stage: its arrays (read on demand), plain values and receipt."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    def array(self, name: str) -> xr.DataArray:
        """Return one of the result's arrays."""
        loaded = arrays.load(self.folder / f"{name}.zarr")
        if self.manifest.failed_planes:
            loaded.attrs[FAILED] = dict(self.manifest.failed_planes)
        return loaded

    def damage(self, level: Level = "quick") -> list[str]:
        """Return a sentence per file that is missing or changed.

        Parameters
        ----------
        level
            ``"quick"`` looks at sizes, ``"full"`` reads everything and compares checksums.
        """
        found = []
        for name, (n_bytes, crc32) in self.manifest.files.items():
            path = self.folder / name
            if not path.is_file():
                found.append(f"{name} of {self.manifest.stage} is missing")
            elif path.stat().st_size != n_bytes:
                size = path.stat().st_size
                found.append(f"{name} of {self.manifest.stage} has {size} bytes, not {n_bytes}")
            elif level == "full" and fsio.crc32_of(path) != crc32:
                found.append(f"{name} of {self.manifest.stage} has changed (checksum)")
        return found


class Store:
    """The results of one run folder."""

    def __init__(self, run: Path) -> None:
        self.run = run

    def manifest(self, stage: str) -> Manifest | None:
        """Return the receipt of a stage, or None if it is not finished."""
        return _read_manifest(self.run / stage)

    def partial_key(self, stage: str) -> str | None:
        """Return the key of a stage's work in progress, or None if there is none."""
        records = fsio.Journal(self.run / f"{stage}.partial" / JOURNAL).read()
        return str(records[0].get("key")) if records else None

    def recover(self, stage: str) -> None:
        """Complete a stage whose run died between the receipt and the last renaming."""
        old = self.run / f"{stage}.old"
        if _read_manifest(self.run / f"{stage}.partial") is not None:
            _publish(self.run, stage)
        elif (self.run / stage).exists():
            fsio.remove(old)
        elif old.exists():
            old.rename(self.run / stage)

    def reopen(self, stage: str) -> None:
        """Turn a damaged result into work in progress: what is whole of it is kept."""
        partial = self.run / f"{stage}.partial"
        fsio.remove(self.run / stage / MANIFEST)
        fsio.remove(partial)
        (self.run / stage).rename(partial)

    def result(self, stage: str, *, check: bool = True) -> Result:
        """Return a finished stage.

        Parameters
        ----------
        stage
            Its name.
        check
            Make sure that no file is missing or short.

        Raises
        ------
        StoreError
            If it is not finished or files are missing.
        """
        manifest = self.manifest(stage)
        if manifest is None:
            raise StoreError(f"Stage {stage} has no finished result in {self.run}. Run `clg run`.")
        result = Result(self.run / stage, manifest)
        damage = result.damage() if check else []
        if damage:
            raise StoreError(f"The result of {stage} is damaged: {damage[0]}. Run `clg run` again.")
        return result

    def discard_partial(self, stage: str) -> None:
        """Forget a stage's work in progress."""
        fsio.remove(self.run / f"{stage}.partial")

    def partial(self, stage: str, key: str) -> Partial:
        """Return the folder of work in progress for this key, resumed or new."""
        return Partial(self.run, stage, key)


def _read_manifest(folder: Path) -> Manifest | None:
    try:
        read = json.loads((folder / MANIFEST).read_text())
        if read.get("format") != FORMAT:
            return None
        read["files"] = {name: tuple(entry) for name, entry in read["files"].items()}
        return Manifest(**read)
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return None


class Partial:
    """Work in progress of one stage; a `clgkit.workspace.Shelf`."""

    def __init__(self, run: Path, stage: str, key: str) -> None:
        self.run = run
        self.stage = stage
        self.key = key
        self.folder = run / f"{stage}.partial"
        self._journal = fsio.Journal(self.folder / JOURNAL)
        self._files: Files = {}
        self._n_nan: dict[str, int] = {}
        self._blocks: dict[str, dict[str, tuple[Files, dict[str, int]]]] = {}
        self._splits: dict[str, dict[str, int]] = {}
        self._made: list[str] = []
        self._fresh: set[str] = set()
        if self._same_key():
            self._sweep()
            self._read_journal()
        else:
            fsio.remove(self.folder)
            self.folder.mkdir(parents=True)
            self._journal.append({"kind": "key", "key": key})

    @property
    def resumed_blocks(self) -> int:
        """Number of blocks that an interrupted run had finished."""
        return sum(map(len, self._blocks.values()))

    def _same_key(self) -> bool:
        records = self._journal.read()
        return bool(records) and records[0] == {"kind": "key", "key": self.key}

    def _sweep(self) -> None:
        """Remove the files that a killed run was writing."""
        for leftover in [*self.folder.rglob(f"{fsio.TEMPORARY}*")]:
            fsio.remove(leftover)

    def _read_journal(self) -> None:
        for record in self._journal.read()[1:]:
            read: dict[str, Any] = record
            call = str(read.get("call"))
            if read.get("kind") == "split":
                self._splits[call] = dict(read["split"])
            elif read.get("kind") == "block" and self._intact(read["files"]):
                files = {name: (int(n), int(crc)) for name, (n, crc) in read["files"].items()}
                self._blocks.setdefault(call, {})[str(read["block"])] = (files, read["n_nan"])

    def _intact(self, files: Mapping[str, Any]) -> bool:
        paths = {self.folder / name: entry for name, entry in files.items()}
        return all(
            path.is_file() and path.stat().st_size == n and fsio.crc32_of(path) == crc
            for path, (n, crc) in paths.items()
        )

    def _remember(self, files: Files, n_nan: Mapping[str, int]) -> None:
        self._files.update(files)
        for name, count in n_nan.items():
            self._n_nan[name] = self._n_nan.get(name, 0) + count

    def split(self, outputs: list[Output], proposed: dict[str, int]) -> dict[str, int]:
        """Return the block sizes an interrupted run used, or `proposed`."""
        call = _call(outputs)
        if call not in self._splits:
            for made in outputs:  # arrays whose block sizes are not known cannot be continued
                fsio.remove(self._folder_of(made.name))
            self._splits[call] = proposed
            self._journal.append({"kind": "split", "call": call, "split": proposed})
        return self._splits[call]

    def place(self, outputs: list[Output], split: dict[str, int]) -> list[Any]:
        """Make the zarr groups."""
        return [self._sink(made, split) for made in outputs]

    def _folder_of(self, name: str) -> Path:
        return self.folder / f"{name}.zarr"

    def _sink(self, made: Output, split: Mapping[str, int]) -> DiskSink:
        folder = self._folder_of(made.name)
        if made.name not in self._made:
            self._made.append(made.name)
        files = self._metadata(folder)
        if files is None:
            self._fresh.add(made.name)
            fsio.remove(folder)
            files = _named(folder, self.folder, arrays.create(folder, made, split))
            fsio.write_json(folder / METADATA, files)
        self._remember(files, {})
        return DiskSink(folder, made)

    def _metadata(self, folder: Path) -> Files | None:
        """Return the files of an array that hold no values, or None if they are not whole."""
        try:
            read = json.loads((folder / METADATA).read_text())
            files = {str(name): (int(n), int(crc)) for name, (n, crc) in read.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return None
        return files if self._intact(files) else None

    def done(self, outputs: list[Output]) -> set[str]:
        """Return the blocks an interrupted run had finished."""
        call = _call(outputs)
        if self._fresh & {made.name for made in outputs}:
            self._blocks.pop(call, None)  # the values went with the metadata
        kept = self._blocks.get(call, {})
        for files, n_nan in kept.values():
            self._remember(files, n_nan)
        return set(kept)

    def commit(self, outputs: list[Output], block: Block, packets: list[Any]) -> None:
        """Journal a finished block."""
        files: Files = {}
        n_nan = {}
        for made, packet in zip(outputs, packets, strict=True):
            files |= _named(self._folder_of(made.name), self.folder, packet.files)
            n_nan[made.name] = packet.n_nan
        self._remember(files, n_nan)
        record = {"kind": "block", "call": _call(outputs), "block": block.label()}
        self._journal.append(record | {"files": files, "n_nan": n_nan})

    def save(self, name: str, array: xr.DataArray) -> None:
        """Store a small array that was made in one piece."""
        if name in self._made:
            return
        dims = tuple(str(dim) for dim in array.dims)
        coords = {
            str(key): (tuple(str(d) for d in coord.dims), coord.values, dict(coord.attrs))
            for key, coord in array.coords.items()
        }
        attrs = {k: v for k, v in array.attrs.items() if k != FAILED}
        made = Output(name, dims, array.shape, array.dtype, coords, attrs)
        sink = self._sink(made, {})
        whole = tuple(slice(0, n) for n in array.shape)
        packet = sink.pack(whole, np.ascontiguousarray(array.values))
        files = _named(self._folder_of(name), self.folder, packet.files)
        self._remember(files, {name: packet.n_nan})

    def finish(self, manifest: Mapping[str, Any]) -> Result:
        """Write the receipt, make it durable, and put the folder in its place."""
        fsio.sync_path(self.folder)
        for inside in self.folder.rglob("*/"):
            fsio.sync_folder(inside)
        whole = Manifest(
            **manifest,
            stage=self.stage,
            key=self.key,
            outputs=list(self._made),
            files=self._files,
            n_nan=self._n_nan,
        )
        fsio.write_json(self.folder / MANIFEST, asdict(whole))
        _publish(self.run, self.stage)
        return Result(self.run / self.stage, whole)


def _publish(run: Path, stage: str) -> None:
    """Put a folder whose receipt is written in its place; safe to repeat after a crash."""
    partial = run / f"{stage}.partial"
    old = run / f"{stage}.old"
    if partial.is_dir():
        if (run / stage).exists():
            fsio.remove(old)
            (run / stage).rename(old)
        partial.rename(run / stage)
        fsio.sync_folder(run)
    fsio.remove(old)


@dataclass(frozen=True)
class Packet:
    """What a worker wrote: file below the array's folder → size and checksum."""

    files: dict[str, fsio.Written]
    n_nan: int


@dataclass(frozen=True)
class DiskSink:
    """An output on the disk."""

    folder: Path
    made: Output

    def pack(self, region: tuple[slice, ...], values: arrays.Array) -> Packet:
        """Write a block."""
        try:
            files = arrays.write(self.folder, region, values)
        except OSError as error:
            raise disk_error(error, self.folder) from error
        n_nan = int(np.isnan(values).sum()) if values.dtype.kind == "f" else 0
        return Packet(files, n_nan)

    def settle(self, region: tuple[slice, ...], packet: Any) -> None:
        """Nothing is left to do."""

    def array(self, failed: Mapping[str, str]) -> xr.DataArray:
        """Return the array, to be read on demand."""
        loaded = arrays.load(self.folder)
        if failed:
            loaded.attrs[FAILED] = dict(failed)
        return loaded


def disk_error(error: OSError, path: Path) -> ResourceError:
    """Return a sentence for a read or write that the system refused."""
    return ResourceError(
        f"Reading or writing below {path} failed: {error.strerror or error}. Make room (or check "
        "the disk and its permissions) and run again; finished blocks are kept.",
        code="E_DISK",
    )


def _call(outputs: Iterable[Output]) -> str:
    return ",".join(made.name for made in outputs)


def _named(folder: Path, root: Path, files: Mapping[str, fsio.Written]) -> Files:
    inside = folder.relative_to(root).as_posix()
    return {f"{inside}/{name}": (w.n_bytes, w.crc32) for name, w in files.items()}
