"""Bundles of traces, plain matrices, the child that writes HDF5, and tables."""

import csv
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io

from clgkit.errors import DataError, ResourceError, StoreError
from clgkit.io import TraceBundle, child, mat73, read_traces, write_csv, write_traces

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "traces"
RNG = np.random.default_rng(0)
BUNDLE = TraceBundle(
    RNG.normal(size=(30, 50)).astype(np.float32),
    RNG.normal(size=(30, 3)),
    np.arange(65_530, 65_560, dtype=np.uint32),
)


def public(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip("the public traces are not at hand in ../shared/data")
    return path


def assert_same(ours: TraceBundle, theirs: TraceBundle) -> None:
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert one.dtype == other.dtype


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.h5", {}), ("a.npz", {}), ("a.mat", {}), ("b.mat", {"mat5_limit": 0})],
)
def test_a_bundle_reads_back_as_written(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    write_traces(tmp_path / name, BUNDLE, **options)
    assert_same(read_traces(tmp_path / name), BUNDLE)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_bundles_look_like_those_of_the_original(tmp_path: Path) -> None:
    for name in ("a.h5", "a.mat"):
        write_traces(tmp_path / name, BUNDLE)
    with h5py.File(tmp_path / "a.h5") as file:
        assert set(file) == {"trace", "pos", "nucIndex"}
        assert file["trace"].compression == "gzip"
        assert file["nucIndex"].shape == (30,)
    loaded = scipy.io.loadmat(tmp_path / "a.mat")
    assert loaded["nucIndex"].shape == (1, 30)
    assert loaded["trace"].dtype == np.float32


def test_large_bundles_become_matlab_7_3(tmp_path: Path) -> None:
    write_traces(tmp_path / "a.mat", BUNDLE, mat5_limit=100)
    head = (tmp_path / "a.mat").read_bytes()[:512]
    assert head.startswith(b"MATLAB 7.3 MAT-file")
    assert head[124:128] == b"\x00\x02IM"
    assert scipy.io.matlab.matfile_version(tmp_path / "a.mat") == (2, 0)
    with h5py.File(tmp_path / "a.mat") as file:  # a foreign reader sees reversed dimensions
        assert file["trace"].shape == (50, 30)
        assert file["trace"].attrs["MATLAB_class"] == b"single"


def test_matlab_7_3_keeps_empty_logical_and_every_type(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    arrays = {kind: np.ones((2, 3), kind) for kind in mat73.CLASSES}
    arrays |= {"none": np.zeros((0, 4), np.float32), "line": np.arange(5.0)}
    mat73.write(path, arrays)
    for name, values in arrays.items():
        found = mat73.read(path, name)
        assert found.dtype == values.dtype
        np.testing.assert_array_equal(found, mat73.at_least_2d(values))


def test_matlab_7_3_cells_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    mat73.write(path, {"trace": np.ones((2, 3))})
    with h5py.File(path, "a") as file:
        made = file.create_dataset("names", (2,), dtype=h5py.ref_dtype)
        made.attrs["MATLAB_class"] = np.bytes_("cell")
        text = file.create_dataset("unit", data=np.array([[100], [70]], np.uint16))
        text.attrs["MATLAB_class"] = np.bytes_("char")
    with pytest.raises(DataError, match="'names' is a MATLAB cell"):
        read_traces(path, key="names")
    assert mat73.read(path, "unit").tolist() == ["dF"]


def test_parts_that_disagree_in_n_are_refused(tmp_path: Path) -> None:
    wrong = BUNDLE._replace(nucleus=np.arange(29))
    with pytest.raises(DataError, match=r"30 traces, but nuclei have shape \(29,\)") as caught:
        write_traces(tmp_path / "a.npz", wrong)
    assert caught.value.code == "E_SHAPE"
    np.savez(tmp_path / "b.npz", trace=BUNDLE.trace, pos=np.zeros((76, 3)))
    with pytest.raises(DataError, match=r"positions have shape \(76, 3\)"):
        read_traces(tmp_path / "b.npz")


def test_the_row_of_nuclei_of_matlab_is_accepted(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", trace=BUNDLE.trace, nucIndex=np.arange(30)[None])
    found = read_traces(tmp_path / "a.npz")
    assert found.nucleus is not None
    assert found.nucleus.shape == (30,)
    assert found.position is None


def test_plain_matrices_are_read_by_key(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", BUNDLE.trace.T)
    np.testing.assert_array_equal(
        read_traces(tmp_path / "a.npy", transpose=True).trace, BUNDLE.trace
    )
    np.savez(tmp_path / "a.npz", F=BUNDLE.trace.astype(">f4"), time=np.arange(50))
    with pytest.raises(DataError, match=r"choose one with `key`:\n  - F \(30, 50\)"):
        read_traces(tmp_path / "a.npz")
    found = read_traces(tmp_path / "a.npz", key="F")
    assert found.trace.dtype == np.float32
    assert found.nucleus is None
    with pytest.raises(DataError, match="no variable 'G'"):
        read_traces(tmp_path / "a.npz", key="G")
    with pytest.raises(DataError, match=r"shape \(50,\)"):
        read_traces(tmp_path / "a.npz", key="time")


def test_a_public_recording_from_matlab_is_read() -> None:
    path = public("triplett_zf_20151104-f1.mat")
    found = read_traces(path, key="activity_matrix", position_key="cell_coordinates")
    assert found.trace.shape == (114, 4245)
    assert found.position is not None
    assert found.position.shape == (114, 2)
    with pytest.raises(DataError, match=r"activity_matrix \(114, 4245\) double"):
        read_traces(path)
    with pytest.raises(DataError, match="MATLAB cell"):
        read_traces(path, key="detected_assemblies")


def test_other_files_and_suffixes_get_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1,2\n3,4\n")
    with pytest.raises(DataError, match="a text file"):
        read_traces(tmp_path / "a.csv")
    with pytest.raises(DataError, match=r"\.h5, \.mat or \.npz"):
        write_traces(tmp_path / "a.csv", BUNDLE)
    write_traces(tmp_path / "a.mat", BUNDLE)
    content = (tmp_path / "a.mat").read_bytes()
    (tmp_path / "a.mat").write_bytes(content[:2000])
    with pytest.raises(DataError, match="truncated"):
        read_traces(tmp_path / "a.mat")


def test_a_dying_child_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(b"old")
    monkeypatch.setattr(child.sys, "executable", "/bin/false")
    with pytest.raises(StoreError, match="was not written"):
        write_traces(path, BUNDLE)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_child_that_cannot_write_says_why(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot keep"):
        child.write_in_child(tmp_path / "a.mat", "mat73", {"z": np.zeros(3, complex)})
    assert os.listdir(tmp_path) == []  # noqa: PTH208  (names only)


def test_a_full_disk_is_noticed_before_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type(child.shutil.disk_usage(tmp_path))
    monkeypatch.setattr(child.shutil, "disk_usage", lambda _: usage(10, 0, 10))
    with pytest.raises(ResourceError, match="10 are free") as caught:
        write_traces(tmp_path / "a.h5", BUNDLE)
    assert caught.value.code == "E_DISK"


def test_a_table_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "cells.csv"
    values = np.array([0.1, 1e-30, np.nan, 1e20], np.float64)
    write_csv(path, {"nucleus": np.array([1, 2, 3, 4_294_967_295]), "z_um": values,
                     "name": ["a", "b, c", 'd"e', ""]})  # fmt: skip
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["nucleus"]) for row in rows] == [1, 2, 3, 4_294_967_295]
    assert [float(row["z_um"] or "nan") for row in rows[:2]] == [0.1, 1e-30]
    assert rows[2]["z_um"] == ""
    assert rows[2]["name"] == 'd"e'


def test_s7_text_that_looks_like_a_formula_is_defused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_csv(path, {"=name": ["=cmd|' /C calc'!A0", "+1", "-1", "@x", "fine"], "dz_um": [-1] * 5})
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0][0] == "'=name"
    assert [row[0][:2] for row in rows[1:]] == ["'=", "'+", "'-", "'@", "fi"]
    assert rows[1][1] == "-1"


def test_columns_of_different_length_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a \(2,\), b \(3,\)"):
        write_csv(tmp_path / "a.csv", {"a": [1, 2], "b": [1, 2, 3]})


@pytest.mark.parametrize("name", ["a.h5", "a.mat", "a.npz"])
def test_areas_travel_with_the_traces(tmp_path: Path, name: str) -> None:
    bundle = BUNDLE._replace(area=np.arange(5, 35, dtype=np.int64))

    write_traces(tmp_path / name, bundle)

    assert_same(read_traces(tmp_path / name), bundle)
    with pytest.raises(DataError, match=r"areas have shape \(3,\)"):
        write_traces(tmp_path / name, BUNDLE._replace(area=np.ones(3)))
