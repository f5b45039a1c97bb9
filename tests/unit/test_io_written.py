"""Whatever a door writes reads back, or nothing is left behind and a sentence says why."""

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io

from clgkit import fsio
from clgkit.data import Network
from clgkit.errors import ClgError, DataError, SettingsError, StoreError
from clgkit.io import (
    PlaneMap,
    TraceBundle,
    child,
    hdf5,
    open_image,
    read_traces,
    tables,
    write_csv,
    write_network,
    write_planemap,
    write_tiff,
    write_traces,
)

TRACE = np.random.default_rng(0).normal(size=(4, 7)).astype(np.float32)
BUNDLE = TraceBundle(
    TRACE, np.arange(12.0).reshape(4, 3), np.array([9, 2, 70_000, 5], np.uint32),
    np.array([4, 5, 6, 7], np.int64),
)  # fmt: skip
PAIR = Network(
    np.array([0, 1, 2]), np.array([1, 0], np.int32), np.array([3, 4], np.uint32),
    np.array([0.1, 0.1], np.float32), np.arange(6.0).reshape(2, 3),
)  # fmt: skip
STACK = np.arange(2 * 3 * 4, dtype=np.uint16).reshape(2, 3, 4)
WRITERS: dict[str, Callable[[Path], None]] = {
    "a.tif": lambda path: write_tiff(path, STACK, axes="zyx"),
    "a.h5": lambda path: write_traces(path, BUNDLE),
    "a.npz": lambda path: write_traces(path, BUNDLE),
    "a.mat": lambda path: write_traces(path, BUNDLE),
    "large.mat": lambda path: write_traces(path, BUNDLE, mat5_limit=0),
    "a.csv": lambda path: write_csv(path, {"a": [1, 2]}),
    "map.txt": lambda path: write_planemap(path, PlaneMap(np.array([1]), np.array([8]))),
    "a.graphml": lambda path: write_network(path, PAIR),
    "a.gt": lambda path: write_network(path, PAIR),
    "net.npz": lambda path: write_network(path, PAIR),
    "net.csv": lambda path: write_network(path, PAIR),
    "net.csv.gz": lambda path: write_network(path, PAIR),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"there is no folder .*Make it first") as caught:
        WRITERS[name](tmp_path / "absent" / name)
    assert caught.value.code == "E_PATH"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_that_may_not_be_changed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(os, "access", lambda _, mode: mode != os.W_OK)
    with pytest.raises(DataError, match="permission denied") as caught:
        WRITERS[name](tmp_path / name)
    assert caught.value.code == "E_PATH"


@pytest.mark.parametrize("name", WRITERS)
def test_an_old_file_is_replaced_and_nothing_else_appears(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"ä b {name}"
    path.write_bytes(b"old")
    WRITERS[name](path)
    assert path.read_bytes() != b"old"
    assert list(tmp_path.iterdir()) == [path]
    content = path.read_bytes()
    WRITERS[name](path)
    if not name.startswith("a.mat"):  # version 5 of MATLAB files holds the time of writing
        assert path.read_bytes() == content


@pytest.mark.parametrize("name", WRITERS)
def test_a_failure_in_the_last_step_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(b"old")

    def full(path: Path) -> None:
        if path.parent == tmp_path:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(fsio, "sync_path", full)
    with pytest.raises(OSError, match="No space left"):
        WRITERS[name](path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_relative_path_is_written_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_traces("a.h5", BUNDLE)
    write_csv("b.csv", {"a": [1]})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "b.csv"]


def test_programs_in_the_working_folder_are_not_run_by_the_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("numpy.py", "json.py", "h5py.py"):
        (tmp_path / name).write_text(f"open({str(tmp_path / 'run')!r}, 'w')\nraise SystemExit(3)\n")
    monkeypatch.chdir(tmp_path)
    write_traces(tmp_path / "a.h5", BUNDLE)
    np.testing.assert_array_equal(read_traces(tmp_path / "a.h5").trace, TRACE)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("shape", [(0, 6), (1, 6), (5, 1), (1, 1), (3, 0), (0, 0)], ids=str)
@pytest.mark.parametrize(
    ("name", "options"),
    [("a.h5", {}), ("a.npz", {}), ("a.mat", {}), ("b.mat", {"mat5_limit": 0})],
)
def test_bundles_without_cells_or_frames_and_of_one_read_back(
    tmp_path: Path, name: str, options: dict[str, int], shape: tuple[int, int]
) -> None:
    n = shape[0]
    made = TraceBundle(
        np.ones(shape, np.float32), np.ones((n, 3)), np.arange(n, dtype=np.uint32),
        np.arange(n, dtype=np.int64),
    )  # fmt: skip
    write_traces(tmp_path / name, made, **options)

    for one, other in zip(read_traces(tmp_path / name), made, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


@pytest.mark.parametrize("left_out", ["position", "nucleus", "area"])
@pytest.mark.parametrize("name", ["a.npz", "a.mat"])
def test_parts_that_are_left_out_stay_out(tmp_path: Path, name: str, left_out: str) -> None:
    write_traces(tmp_path / name, BUNDLE._replace(**{left_out: None}))
    found = read_traces(tmp_path / name)
    assert [part for part in found._fields if getattr(found, part) is None] == [left_out]


KINDS = ["bool", "i1", "u2", ">i4", "i8", "u8", ">f4", "f8"]


@pytest.mark.parametrize(
    ("name", "dtype"),
    [*((name, kind) for name in ("a.npz", "a.mat") for kind in KINDS),
     ("a.h5", "bool"), ("a.h5", ">f4")],
)  # fmt: skip
def test_every_type_of_trace_is_kept(tmp_path: Path, name: str, dtype: str) -> None:
    made = TraceBundle((np.arange(6).reshape(2, 3) % 2).astype(dtype))
    write_traces(tmp_path / name, made)
    found = read_traces(tmp_path / name).trace
    assert found.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(found, made.trace)


@pytest.mark.parametrize(
    ("name", "values"),
    [("a.npz", np.ones((2, 3), complex)), ("a.h5", np.array([["a"]])),
     ("a.mat", np.ones((2, 3), np.float16)), ("a.npz", np.array([[None]]))],
)  # fmt: skip
def test_traces_that_a_format_cannot_keep_are_refused_before_writing(
    tmp_path: Path, name: str, values: Any
) -> None:
    with pytest.raises(DataError, match=r"'trace' holds .*store it as float32") as caught:
        write_traces(tmp_path / name, TraceBundle(values))
    assert caught.value.code == "E_SHAPE"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"trace": TRACE[0]}, "this has shape (7,)"),
        ({"trace": TRACE.T}, "there are 7 traces, but positions have shape (4, 3)"),
        ({"position": np.zeros((5, 3))}, "positions have shape (5, 3)"),
        ({"position": np.zeros(4)}, "positions have shape (4,)"),
        ({"nucleus": np.arange(3)}, "nuclei have shape (3,)"),
        ({"nucleus": np.zeros((4, 2))}, "nuclei have shape (4, 2)"),
        ({"area": np.arange(5)}, "areas have shape (5,)"),
        ({"nucleus": np.arange(3), "area": np.arange(9)}, "nuclei have shape (3,) and areas"),
    ],
)
def test_m5_parts_that_disagree_are_all_named(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataError) as caught:
        write_traces(tmp_path / "a.npz", BUNDLE._replace(**change))
    assert caught.value.code == "E_SHAPE"
    assert words in caught.value.message


@pytest.mark.parametrize("shape", [(2, 2), (4, 2), (1, 1, 4)], ids=str)
def test_only_a_row_or_a_column_is_a_list_of_nuclei(tmp_path: Path, shape: Any) -> None:
    np.savez(tmp_path / "a.npz", trace=TRACE, nucIndex=np.zeros(shape, int))
    with pytest.raises(DataError, match="there are 4 traces, but nuclei have shape") as caught:
        read_traces(tmp_path / "a.npz")
    assert f"nuclei have shape {shape}" in caught.value.message


def test_matlab_files_of_others_keep_rows_columns_sparse_and_truth(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {
        "trace": scipy.sparse.csc_matrix(TRACE), "nucIndex": np.array([[1.0], [2], [3], [4]]),
        "names": np.array(["a", "b"], dtype=object), "who": "me", "one": {"x": 1},
        "good": TRACE > 0,
    })  # fmt: skip
    found = read_traces(path)
    assert found.nucleus is not None
    assert found.nucleus.tolist() == [1, 2, 3, 4]
    np.testing.assert_array_equal(found.trace, TRACE)
    assert read_traces(path, key="good").trace.dtype == bool
    for name, kind in (("names", "cell"), ("who", "char"), ("one", "struct")):
        with pytest.raises(DataError, match=f"'{name}' is a MATLAB {kind}, not a matrix"):
            read_traces(path, key=name)
    with pytest.raises(DataError, match=r"no variable 'F'; it holds:\n  - trace \(4, 7\) sparse"):
        read_traces(path, key="F")


def test_hdf5_traces_in_groups_and_of_texts_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["imaging/dff"] = TRACE.astype(">f8")
        file["names"] = ["a", "b"]
        file["xyz"] = np.zeros((4, 3), np.int16)
    found = read_traces(path, key="imaging/dff", position_key="xyz")
    assert found.trace.dtype == np.float64
    assert found.position is not None
    assert found.position.dtype == np.float64
    with pytest.raises(DataError, match="'names' holds object, not numbers"):
        read_traces(path, key="names")
    with pytest.raises(DataError, match="no variable 'trace'; choose one with `key`"):
        read_traces(path)


def test_the_child_reports_a_file_that_reads_back_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StoreError, match="'trace' did not read back"):
        hdf5.compare("trace", TRACE, TRACE + 1)
    with pytest.raises(StoreError, match="did not read back"):
        hdf5.compare("trace", TRACE, TRACE.astype(np.float64))
    nan = np.array([np.nan, 1.0])
    hdf5.compare("trace", nan, nan.copy())

    def dies(*_: Any, **__: Any) -> Any:
        return subprocess.CompletedProcess([], -11, "", "")

    monkeypatch.setattr(child.subprocess, "run", dies)
    with pytest.raises(StoreError, match=r"it ended with code -11\. Is the disk full\?"):
        child.write_in_child(tmp_path / "a.h5", "hdf5", {"trace": TRACE})
    assert list(tmp_path.iterdir()) == []


def test_the_job_of_the_child_ends_with_zero_or_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "0.npy", TRACE)
    job = {"form": "hdf5", "names": ["trace"], "target": "made.h5"}
    inner = tmp_path / "parts"
    inner.mkdir()
    (tmp_path / "0.npy").rename(inner / "0.npy")
    fsio.write_json(inner / "job.json", job)
    assert child.main(inner) == 0
    fsio.write_json(inner / "job.json", job | {"target": "absent/made.h5"})
    assert child.main(inner) == 1
    assert "absent/made.h5" in capsys.readouterr().err


def test_a_child_without_our_package_says_what_python_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child.sys, "executable", sys.executable)
    monkeypatch.setitem(child.WRITERS, "hdf5", "clgkit.io.nothing")  # type: ignore[misc]
    original = subprocess.run

    def isolated(command: list[str], **options: Any) -> Any:
        return original([command[0], "-S", "-c", "import clgkit_absent"], **options)

    monkeypatch.setattr(child.subprocess, "run", isolated)
    with pytest.raises(StoreError, match="No module named 'clgkit_absent'"):
        child.write_in_child(tmp_path / "a.h5", "hdf5", {"trace": TRACE})


NUMBERS = {
    "float64": np.array([0.1, -1e-30, np.nan, 1e20, -0.0, 5e-324, 1.7e308, np.inf]),
    "float32": np.array([0.1, 16_777_216, np.nan, 3.4e38, 1e-45, -np.inf, 7, 1 / 3], np.float32),
    "float16": np.array([0.1, 65_504, np.nan, 6e-8, 1, 2, 3, 4], np.float16),
    "int64": np.array([-(2**63), 2**63 - 1, 0, 1, 2, 3, 4, 5]),
    "uint64": np.array([2**64 - 1, 0, 1, 2, 3, 4, 5, 6], np.uint64),
    "bool": np.array([True, False] * 4),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_a_table_read_back_to_the_last_bit(tmp_path: Path, name: str) -> None:
    values = NUMBERS[name]
    write_csv(tmp_path / "a.csv", {"value": values, "n": np.arange(8)})
    with (tmp_path / "a.csv").open(newline="") as file:
        texts = [row["value"] for row in csv.DictReader(file)]
    if values.dtype.kind == "b":
        assert texts == [str(v) for v in values.tolist()]
    else:
        convert = float if values.dtype.kind == "f" else int
        again = np.array([convert(text or "nan") for text in texts], dtype=values.dtype)
        np.testing.assert_array_equal(again, values)
    assert texts[2] == "" or values.dtype.kind != "f"


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", '=HYPERLINK("http://x")']
)  # fmt: skip
def test_s7_no_text_of_a_table_begins_like_a_formula(tmp_path: Path, text: str) -> None:
    write_csv(tmp_path / "a.csv", {text: [text, "harmless"]})
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [[f"'{text}"], [f"'{text}"], ["harmless"]]
    assert tables.safe_text("a=1") == "a=1"


def test_texts_of_any_kind_stay_in_their_cell(tmp_path: Path) -> None:
    texts = ["a,b", 'c"d', "e\r\nf", "g\nh", " i", "", "ü\u2028", "';--"]
    write_csv(tmp_path / "a.csv", {"text": texts, "n": np.arange(8)})
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        assert [row["text"] for row in csv.DictReader(file)] == texts


@pytest.mark.parametrize(
    ("columns", "rows"),
    [({"a": [], "b": np.empty(0)}, [["a", "b"]]), ({}, [[]]), ({"a": [""]}, [["a"], [""]])],
    ids=["no rows", "no columns", "one empty cell"],
)
def test_tables_of_nothing_read_back(tmp_path: Path, columns: Any, rows: Any) -> None:
    write_csv(tmp_path / "a.csv", columns)
    with (tmp_path / "a.csv").open(newline="") as file:
        assert list(csv.reader(file)) == rows


@pytest.mark.parametrize(
    "columns", [{"a": 5, "b": [1]}, {"a": np.zeros((2, 2))}, {"a": [1], "b": []}]
)
def test_columns_have_one_value_per_row(tmp_path: Path, columns: Any) -> None:
    with pytest.raises(DataError, match="one value per row each; these are a") as caught:
        write_csv(tmp_path / "a.csv", columns)
    assert caught.value.code == "E_SHAPE"


@pytest.mark.parametrize("spoil", ["cell", "row", "precision"])
def test_a_table_that_reads_back_otherwise_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("old")
    original = tables._write_rows

    def spoiled(temporary: Path, rows: list[list[str]]) -> None:
        original(temporary, rows[:-1] if spoil == "row" else [*rows[:-1], ["9"]])

    if spoil == "precision":
        monkeypatch.setattr(tables, "_cells", lambda values: (f"{v:.3f}" for v in values))
    else:
        monkeypatch.setattr(tables, "_write_rows", spoiled)
    with pytest.raises(StoreError, match="did not read back as it was written"):
        write_csv(path, {"a": np.array([0.1, 1 / 3])})
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("pixels", "dtype", "words"),
    [
        (np.full((2, 3, 4), np.nan, np.float32), "uint16", "the value nan (float32)"),
        (np.full((2, 3, 4), np.inf), "float32", None),
        (np.full((2, 3, 4), 1e300), "float32", "the value 1e+300 (float64)"),
        (np.full((2, 3, 4), 2**53 + 1), "float64", "the value 9007199254740993 (int64)"),
        (np.full((2, 3, 4), 2**24 + 1, np.int32), "float32", "the value 16777217 (int32)"),
        (np.full((2, 3, 4), -1, np.int16), "uint16", "the value -1 (int16)"),
        (np.full((2, 3, 4), 0.5, np.float32), "int16", "the value 0.5 (float32)"),
        (np.full((2, 3, 4), 300.0), "uint8", "the value 300.0 (float64)"),
        (np.full((2, 3, 4), 70_000, np.int64), "uint32", None),
        (np.full((2, 3, 4), np.nan), "float32", None),
        (np.full((2, 3, 4), 0.1), "float32", None),
        (np.full((2, 3, 4), 7.0), "uint8", None),
    ],
)
def test_i8_values_change_type_without_loss_or_not_at_all(
    tmp_path: Path, pixels: Any, dtype: str, words: str | None
) -> None:
    path = tmp_path / "a.tif"
    if words is None:
        write_tiff(path, pixels, axes="zyx", dtype=dtype)
        np.testing.assert_array_equal(open_image(path).read(), pixels.astype(dtype))
        return
    with pytest.raises(DataError, match=f"does not fit {dtype}") as caught:
        write_tiff(path, pixels, axes="zyx", dtype=dtype)
    assert words in caught.value.message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("pixels", "options", "kind", "words"),
    [
        (np.zeros((0, 3, 4), np.uint8), {}, DataError, "this array has shape (0, 3, 4)"),
        (STACK, {"compression": "lzw"}, SettingsError, "choose None or 'zlib'"),
        (STACK, {"voxel_um": (1.0, 0.0, 1.0)}, SettingsError, "are positive numbers, not (1.0, 0"),
        (STACK, {"rate_hz": 0.0}, SettingsError, "positive numbers"),
        (STACK, {"rate_hz": float("nan")}, SettingsError, "positive numbers"),
        (STACK, {"axes": "yx"}, DataError, "names 2 axes, but a.tif has 3"),
        (STACK, {"axes": "zy"}, DataError, "wanted are y, x and any of t"),
        (STACK, {"axes": "yxz"}, DataError, "rows and columns come last"),
        (STACK.astype(complex), {}, DataError, "does not hold complex128"),
        (STACK, {"dtype": "float16"}, DataError, "does not hold float16; choose a `dtype` of int8"),
    ],
)
def test_what_cannot_be_a_tiff_is_refused_before_writing(
    tmp_path: Path, pixels: Any, options: dict[str, Any], kind: type[ClgError], words: str
) -> None:
    with pytest.raises(kind) as caught:
        write_tiff(tmp_path / "a.tif", pixels, **{"axes": "zyx", **options})
    assert words in caught.value.message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("axes", ["yx", "tyx", "czyx", "tczyx", "ctzyx", "ztcyx", "zctyx"])
def test_axes_in_any_order_are_written_and_read_back(tmp_path: Path, axes: str) -> None:
    shape = (*range(2, len(axes)), 5, 6)
    pixels = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    write_tiff(tmp_path / "a.tif", pixels, axes=axes)
    channels = range(shape[axes.index("c")]) if "c" in axes else [None]
    for channel in channels:
        image = open_image(tmp_path / "a.tif", channel=channel)
        wanted = pixels if channel is None else pixels.take(channel, axis=axes.index("c"))
        assert image.axes == axes.replace("c", "")
        np.testing.assert_array_equal(image.read(), wanted)


def test_lazy_pixels_are_written_a_frame_at_a_time(tmp_path: Path) -> None:
    asked: list[tuple[slice, ...]] = []

    class Lazy:
        shape, dtype = STACK.shape, STACK.dtype

        def __getitem__(self, key: tuple[slice, ...]) -> Any:
            asked.append(key)
            return STACK[key]

    write_tiff(tmp_path / "a.tif", Lazy(), axes="tyx")
    assert [key[0] for key in asked] == [slice(0, 1), slice(1, 2)]
    np.testing.assert_array_equal(open_image(tmp_path / "a.tif").read(), STACK)
