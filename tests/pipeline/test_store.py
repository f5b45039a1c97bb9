"""A result is whole when its receipt says so, and damage costs what is damaged."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from yaozarrs import validate_ome_object

from clgkit import data, fsio
from clgkit.blocks import Output, output
from clgkit.errors import DataError, StoreError
from clgkit.pipeline import arrays, nouns, store
from clgkit.pipeline.arrays import ZarrPixels
from clgkit.pipeline.store import MANIFEST, Partial, Result, Store
from clgkit.workspace import FAILED, Workspace
from tests.pipeline.tiny import litter

SHAPE = (12, 2, 6, 8)
MOVIE = data.movie(
    np.random.default_rng(0).normal(size=SHAPE).astype(np.float32),
    rate_hz=2.0,
    voxel_um=(5.0, 0.8, 0.4),
)
FACTS: dict[str, Any] = {"version": 1, "params": {"gain": 2}, "inputs": {"movie": "abc"}}


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the disk: a killed process loses nothing of what it handed over."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


class Doubled:
    """A stage that doubles a movie block by block, counts its work and can be stopped."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.blocks = 0
        self.stop_after = stop_after

    def __call__(self, block: xr.DataArray) -> Any:
        if self.blocks == self.stop_after:
            raise KeyboardInterrupt
        self.blocks += 1
        return block.values * 2, block.values.mean(axis=(2, 3))

    def run(self, folder: Path, key: str = "k") -> Partial:
        partial = Partial(folder, "double", key)
        made = [
            output("doubled", ("time", "z", "y", "x"), MOVIE),
            output("means", ("time", "z"), MOVIE),
        ]
        workspace = Workspace(executor="serial").with_shelf(partial)
        workspace.map_blocks(self, MOVIE, made, split={"z": 1, "time": 4})
        partial.save("small", xr.DataArray(np.array([1.0, np.nan]), dims="row"))
        return partial


def finished(folder: Path) -> Result:
    return Doubled().run(folder).finish(FACTS)


def interrupted(folder: Path, blocks: int = 3) -> Path:
    with pytest.raises(KeyboardInterrupt):
        Doubled(stop_after=blocks).run(folder)
    return folder / "double.partial"


def assert_whole(folder: Path) -> None:
    result = Store(folder).result("double")
    np.testing.assert_array_equal(result.array("doubled").values, MOVIE.values * 2)
    assert result.damage("full") == []
    assert result.manifest.n_nan == {"doubled": 0, "means": 0, "small": 1}
    assert not [p for p in litter(folder) if p.suffix != ".partial"]
    on_disk = {p.relative_to(result.folder).as_posix() for p in result.folder.rglob("*.zarr/**/*")
               if p.is_file() and p.name != store.METADATA}  # fmt: skip
    assert on_disk == set(result.manifest.files)


def test_a_result_reads_back_with_coordinates_units_and_receipt(tmp_path: Path) -> None:
    finished(tmp_path)

    result = Store(tmp_path).result("double")

    assert_whole(tmp_path)
    doubled = result.array("doubled")
    data.MOVIE.check(doubled)
    xr.testing.assert_identical(doubled.coords["time"], MOVIE.coords["time"])
    assert data.voxel_um(doubled) == (5.0, 0.8, 0.4)
    assert result.manifest.params == {"gain": 2}
    assert result.manifest.outputs == ["doubled", "means", "small"]


def test_existence_does_not_mean_done(tmp_path: Path) -> None:
    folder = finished(tmp_path).folder
    (folder / MANIFEST).unlink()

    assert Store(tmp_path).manifest("double") is None
    with pytest.raises(StoreError, match="no finished result"):
        Store(tmp_path).result("double")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 99}', '{"format": 1}', "\x00" * 50])
def test_a_receipt_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    folder = finished(tmp_path).folder
    (folder / MANIFEST).write_text(text)

    assert Store(tmp_path).manifest("double") is None


def test_the_receipt_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    partial = Doubled().run(tmp_path)
    seen: dict[str, Any] = {}
    write_json = fsio.write_json

    def look(path: Path, value: Any) -> fsio.Written:
        seen.update({str(path.parent / name): entry for name, entry in value["files"].items()})
        for name, (n_bytes, crc32) in seen.items():
            assert Path(name).stat().st_size == n_bytes
            assert fsio.crc32_of(Path(name)) == crc32
        return write_json(path, value)

    monkeypatch.setattr(fsio, "write_json", look)
    partial.finish(FACTS)

    assert len(seen) > 10


def test_the_same_key_continues(tmp_path: Path) -> None:
    interrupted(tmp_path, blocks=4)

    again = Doubled()
    partial = again.run(tmp_path)

    assert again.blocks == 2
    assert partial.resumed_blocks == 4
    partial.finish(FACTS)
    assert_whole(tmp_path)


def test_another_key_starts_afresh(tmp_path: Path) -> None:
    interrupted(tmp_path, blocks=4)

    again = Doubled()
    again.run(tmp_path, key="other").finish(FACTS)

    assert again.blocks == 6
    assert_whole(tmp_path)


def test_a_resumed_run_keeps_the_blocks_of_the_interrupted_one(tmp_path: Path) -> None:
    interrupted(tmp_path)
    partial = Partial(tmp_path, "double", "k")
    made = [output("doubled", MOVIE.dims, MOVIE), output("means", ("time", "z"), MOVIE)]  # type: ignore[arg-type]

    assert partial.split(made, {"z": 1, "time": 7}) == {"z": 1, "time": 4}


def test_a_torn_line_of_the_journal_costs_one_block(tmp_path: Path) -> None:
    journal = interrupted(tmp_path, blocks=4) / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-15])

    again = Doubled()
    again.run(tmp_path).finish(FACTS)

    assert again.blocks == 3
    assert_whole(tmp_path)


def test_a_lost_line_of_block_sizes_starts_these_arrays_afresh(tmp_path: Path) -> None:
    journal = interrupted(tmp_path, blocks=4) / "journal.jsonl"
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join(line for line in lines if '"split"' not in line) + "\n")

    again = Doubled()
    again.run(tmp_path).finish(FACTS)

    assert again.blocks == 6
    assert_whole(tmp_path)


@pytest.mark.parametrize("damage", ["flip", "cut", "delete"])
def test_a_journalled_chunk_that_was_damaged_is_computed_again(tmp_path: Path, damage: str) -> None:
    partial = interrupted(tmp_path, blocks=4)
    hurt(partial / "doubled.zarr/0/c/1/0/0/0", damage)

    again = Doubled()
    again.run(tmp_path).finish(FACTS)

    assert again.blocks == 3
    assert_whole(tmp_path)


def test_damage_twice_counts_nothing_twice(tmp_path: Path) -> None:
    partial = interrupted(tmp_path, blocks=4)
    hurt(partial / "doubled.zarr/0/c/1/0/0/0", "flip")
    with pytest.raises(KeyboardInterrupt):
        Doubled(stop_after=1).run(tmp_path)

    assert Partial(tmp_path, "double", "k").resumed_blocks == 4


@pytest.mark.parametrize("name", ["zarr.json", "0/zarr.json", "coords/time/c/0", store.METADATA])
def test_damaged_metadata_start_the_array_afresh(tmp_path: Path, name: str) -> None:
    partial = interrupted(tmp_path, blocks=4)
    hurt(partial / "doubled.zarr" / name, "cut")

    again = Doubled()
    again.run(tmp_path).finish(FACTS)

    assert again.blocks == 6
    assert_whole(tmp_path)


def hurt(path: Path, damage: str) -> None:
    content = bytearray(path.read_bytes())
    if damage == "delete":
        path.unlink()
        return
    if damage == "flip":
        content[len(content) // 2] ^= 4
    path.write_bytes(content if damage == "flip" else content[:-4])


def test_what_a_killed_writer_left_is_swept_away(tmp_path: Path) -> None:
    partial = interrupted(tmp_path)
    (partial / "doubled.zarr/0/c/0/0/0/.tmp-1-2-0").write_bytes(b"half")

    Doubled().run(tmp_path).finish(FACTS)

    assert_whole(tmp_path)


def test_a_crash_between_receipt_and_renaming_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(store, "_publish", lambda *_: None)  # killed here
        finished(tmp_path)
    assert Store(tmp_path).manifest("double") is None

    Store(tmp_path).recover("double")

    assert_whole(tmp_path)
    assert not list(litter(tmp_path))


@pytest.mark.parametrize("crash", ["before the old one moves", "between", "after"])
def test_replacing_a_result_survives_a_crash_at_each_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash: str
) -> None:
    finished(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(store, "_publish", lambda *_: None)
        Doubled().run(tmp_path, key="new").finish(FACTS)
    if crash != "before the old one moves":
        (tmp_path / "double").rename(tmp_path / "double.old")
    if crash == "after":
        (tmp_path / "double.partial").rename(tmp_path / "double")

    Store(tmp_path).recover("double")

    manifest = Store(tmp_path).manifest("double")
    assert manifest is not None
    assert manifest.key == "new"
    assert_whole(tmp_path)
    assert not list(litter(tmp_path))


def test_an_old_result_comes_back_if_nothing_replaced_it(tmp_path: Path) -> None:
    finished(tmp_path).folder.rename(tmp_path / "double.old")

    Store(tmp_path).recover("double")

    assert_whole(tmp_path)


def test_one_flipped_bit_in_any_file_is_found(tmp_path: Path) -> None:
    result = finished(tmp_path)

    for name in result.manifest.files:
        path = result.folder / name
        content = path.read_bytes()
        hurt(path, "flip")
        assert result.damage("quick") == []
        assert result.damage("full") == [f"{name} of double has changed (checksum)"]
        path.write_bytes(content)


@pytest.mark.parametrize("damage", ["cut", "delete"])
def test_missing_and_short_files_are_found_at_a_glance(tmp_path: Path, damage: str) -> None:
    result = finished(tmp_path)
    hurt(result.folder / "means.zarr/0/c/0/0", damage)

    (sentence,) = result.damage()

    assert ("missing" if damage == "delete" else "bytes") in sentence
    with pytest.raises(StoreError, match="damaged"):
        Store(tmp_path).result("double")


def test_reading_a_flipped_bit_is_an_error_not_a_number(tmp_path: Path) -> None:
    result = finished(tmp_path)
    chunk = result.folder / "doubled.zarr/0/c/0/0/0/0"
    content = bytearray(chunk.read_bytes())
    content[40] ^= 1
    chunk.write_bytes(content)

    with pytest.raises(StoreError, match="clg run --check"):
        _ = result.array("doubled").values


def test_only_the_damaged_block_of_a_finished_result_is_made_again(tmp_path: Path) -> None:
    result = finished(tmp_path)
    hurt(result.folder / "doubled.zarr/0/c/2/1/0/0", "flip")

    Store(tmp_path).reopen("double")
    assert Store(tmp_path).manifest("double") is None
    again = Doubled()
    again.run(tmp_path).finish(FACTS)

    assert again.blocks == 1
    assert_whole(tmp_path)


def test_images_open_in_any_viewer_of_ome_zarr(tmp_path: Path) -> None:
    folder = finished(tmp_path).folder / "doubled.zarr"

    ome = json.loads((folder / "zarr.json").read_text())["attributes"]["ome"]
    image = validate_ome_object(ome).model_dump(mode="json", exclude_none=True)["multiscales"][0]
    units = {axis["name"]: axis["unit"] for axis in image["axes"]}
    assert units == {"t": "second", "z": "micrometer", "y": "micrometer", "x": "micrometer"}
    (scale,) = image["datasets"][0]["coordinateTransformations"]
    assert scale["scale"] == [0.5, 5.0, 0.8, 0.4]


def test_chunks_hold_one_plane_and_a_block_owns_whole_shards(tmp_path: Path) -> None:
    folder = finished(tmp_path).folder

    array = zarr.open_array(folder / "doubled.zarr", path="0", mode="r")

    assert array.chunks == (1, 1, 6, 8)
    assert array.shards == (4, 1, 6, 8)
    np.testing.assert_array_equal(array[5:7, 1], MOVIE.values[5:7, 1] * 2)
    shards = [p for p in (folder / "doubled.zarr/0/c").rglob("*") if p.is_file()]
    assert len(shards) == 6


def test_long_traces_are_stored_in_chunks_of_rows() -> None:
    made = Output("traces", ("neuron", "time"), (10_000, 300), np.dtype(np.float32))

    assert arrays._grid(made, {"time": 100}) == ((4096, 100), None)
    assert arrays._grid(made, {"neuron": 256}) == ((256, 300), None)


def test_planes_that_failed_read_as_nan_and_are_named(tmp_path: Path) -> None:
    def fail(block: xr.DataArray) -> Any:
        if block.coords["z"].values[0] > 0:
            raise DataError("nothing to see")
        return block.values

    partial = Partial(tmp_path, "double", "k")
    (made,) = (
        Workspace(executor="serial")
        .with_shelf(partial)
        .map_blocks(
            fail,
            MOVIE,
            [output("same", MOVIE.dims, MOVIE)],
            split={"z": 1},
            isolate="z",  # type: ignore[arg-type]
        )
    )
    lost = {"1": "nothing to see"}
    assert made.attrs[FAILED] == lost
    result = partial.finish(FACTS | {"failed_planes": lost})

    again = result.array("same")
    assert np.isnan(again.values[:, 1]).all()
    np.testing.assert_array_equal(again.values[:, 0], MOVIE.values[:, 0])
    assert again.attrs[FAILED] == lost


def test_empty_arrays_are_kept(tmp_path: Path) -> None:
    partial = Partial(tmp_path, "double", "k")
    partial.save("none", xr.DataArray(np.zeros((0, 5), np.float32), dims=("neuron", "time")))
    result = partial.finish(FACTS)

    assert result.array("none").shape == (0, 5)


def test_pixels_travel_to_another_process_closed(tmp_path: Path) -> None:
    pixels = ZarrPixels(finished(tmp_path).folder / "doubled.zarr")
    assert pixels.shape == SHAPE

    state = pixels.__getstate__()

    assert state == {"folder": pixels.folder, "_array": None}


def test_networks_are_stored_in_parts(tmp_path: Path) -> None:
    from clgkit.stages.build_network import build_network

    traces = np.random.default_rng(1).normal(size=(9, 30))
    made = build_network(
        xr.DataArray(traces, dims=("neuron", "time"), coords={"nucleus": ("neuron", range(3, 12))})
    )
    partial = Partial(tmp_path, "build_network", "k")
    values = nouns.save(made, partial)
    result = partial.finish(FACTS | {"values": values})

    again = nouns.load_all(result, build_network)

    assert again.summary == made.summary
    np.testing.assert_array_equal(again.network.indices, made.network.indices)
    np.testing.assert_array_equal(again.network.node_ids, np.arange(3, 12))
    assert again.network.attributes == made.network.attributes
    assert again.network.weights is None
