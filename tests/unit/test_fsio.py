"""Files are whole or not there; journals survive a torn line."""

import json
import os
import zlib
from pathlib import Path

import pytest

from clgkit import fsio


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_bytes_are_written_with_size_and_checksum(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"

    written = fsio.write_bytes(path, b"some bytes", durable=True)

    assert path.read_bytes() == b"some bytes"
    assert written == (10, zlib.crc32(b"some bytes"))
    assert names(tmp_path) == ["a.bin"]


def fail_while_writing(path: Path, error: BaseException) -> None:
    with fsio.replacing(path) as temporary:
        if path.suffix == ".zarr":
            temporary.mkdir()
        else:
            temporary.write_text("half of the n")
        raise error


def test_an_old_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    fsio.write_text(path, "old")
    descriptor = path.open("rb")

    fsio.write_text(path, "new μ")

    assert path.read_text(encoding="utf-8") == "new μ"
    with descriptor:
        assert descriptor.read() == b"old"  # a reader keeps what it opened


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_content_and_no_litter(
    tmp_path: Path, error: BaseException
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    with pytest.raises(type(error)):
        fail_while_writing(path, error)

    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_failed_rename_leaves_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "replace", fail)

    with pytest.raises(OSError, match="Input/output"):
        fsio.write_bytes(tmp_path / "a.bin", b"x")

    assert names(tmp_path) == []


def test_a_folder_can_be_replaced_and_is_cleaned_up(tmp_path: Path) -> None:
    with fsio.replacing(tmp_path / "group.zarr") as temporary:
        (temporary / "c").mkdir(parents=True)
        (temporary / "c" / "0").write_bytes(b"chunk")
    with pytest.raises(RuntimeError):
        fail_while_writing(tmp_path / "other.zarr", RuntimeError())

    assert names(tmp_path) == ["group.zarr"]
    assert (tmp_path / "group.zarr" / "c" / "0").read_bytes() == b"chunk"


def test_temporary_names_are_unique_keep_the_suffix_and_are_short_enough(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 240 + ".tif")

    first, second = fsio.temporary_name(path), fsio.temporary_name(path)

    assert first != second
    assert fsio.temporary_name(tmp_path / "a.tif").suffix == ".tif"
    assert first.name.startswith(fsio.TEMPORARY)
    assert str(os.getpid()) in first.name
    assert len(first.name) <= 255


def test_durable_writes_reach_the_disk_before_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        events.append("fsync")
        fsync(descriptor)

    def replaced(self: Path, target: Path) -> Path:
        events.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    fsio.write_bytes(tmp_path / "a", b"x", durable=True)
    durable = events.copy()
    events.clear()
    fsio.write_bytes(tmp_path / "b", b"x")

    assert durable[0] == "fsync"
    assert durable[-2:] == ["rename", "fsync"]  # the folder's, for the name
    assert events == ["rename"]


def test_json_is_readable_and_never_holds_nan(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    fsio.write_json(path, {"b": [1, 2]})
    assert json.loads(path.read_text()) == {"b": [1, 2]}
    assert path.read_text().endswith("\n")

    with pytest.raises(ValueError, match="JSON compliant"):
        fsio.write_json(path, {"b": float("nan")})

    assert json.loads(path.read_text()) == {"b": [1, 2]}


@pytest.fixture
def journal(tmp_path: Path) -> fsio.Journal:
    made = fsio.Journal(tmp_path / "journal.jsonl")
    made.append({"kind": "key", "key": "k"})
    made.append({"block": "z=0:1", "files": {"a": [3, 4]}})
    return made


def test_a_journal_gives_back_its_records(journal: fsio.Journal) -> None:
    assert journal.read() == [
        {"kind": "key", "key": "k"},
        {"block": "z=0:1", "files": {"a": [3, 4]}},
    ]


def test_no_journal_is_an_empty_one(tmp_path: Path) -> None:
    assert fsio.Journal(tmp_path / "none").read() == []


def test_a_journal_torn_anywhere_in_its_last_line_keeps_the_others(journal: fsio.Journal) -> None:
    whole = journal.path.read_bytes()
    first = whole.index(b"\n") + 1
    for length in range(first, len(whole)):
        journal.path.write_bytes(whole[:length])
        records = journal.read()
        assert records[0] == {"kind": "key", "key": "k"}
        assert len(records) == (2 if length == len(whole) - 1 else 1)


def test_a_record_after_a_torn_one_is_not_lost(journal: fsio.Journal) -> None:
    torn = journal.path.read_bytes()[:-9]
    journal.path.write_bytes(torn)

    journal.append({"block": "z=1:2"})

    assert journal.read() == [{"kind": "key", "key": "k"}, {"block": "z=1:2"}]


@pytest.mark.parametrize("litter", [b"\x00\x00\x00\n", b"\xff\xfe\n", b"[1, 2]\n", b"\n\n", b"7\n"])
def test_what_is_no_record_is_passed_over(journal: fsio.Journal, litter: bytes) -> None:
    with journal.path.open("ab") as file:
        file.write(litter)
    journal.append({"last": 1})

    assert journal.read()[-1] == {"last": 1}
    assert len(journal.read()) == 3


def test_a_checksum_is_that_of_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    content = bytes(range(256)) * 40
    path.write_bytes(content)

    assert fsio.crc32_of(path) == fsio.crc32_of(path, chunk_bytes=7) == zlib.crc32(content)
    path.write_bytes(content[:-1] + b"!")
    assert fsio.crc32_of(path) != zlib.crc32(content)


def test_removing_takes_files_folders_and_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "folder" / "deep" / "a").write_text("x")
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")

    for name in ("folder", "link", "nothing"):
        fsio.remove(tmp_path / name)

    assert names(tmp_path) == ["target"]


def test_a_file_is_published_only_if_it_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"

    fsio.publish(path, lambda p: p.write_text("good"), lambda p: p.read_text())
    with pytest.raises(ValueError, match="could not convert"):
        fsio.publish(path, lambda p: p.write_text("bad"), lambda p: float(p.read_text()))

    assert path.read_text() == "good"
    assert names(tmp_path) == ["a.txt"]


def test_a_folder_is_synced_file_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    count: list[int] = []
    monkeypatch.setattr(os, "fsync", count.append)

    fsio.sync_path(tmp_path)

    assert len(count) == 3  # two files and the folder
