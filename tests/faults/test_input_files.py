"""Damaged and misleading inputs, ids I1 to I7 and I12: right and whole, or loud."""

import itertools
import math
import os
import shutil
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile

from clgkit.errors import DataError
from clgkit.io import (
    TraceBundle,
    open_image,
    read_network,
    read_planemap,
    read_traces,
    write_traces,
)
from clgkit.io.gtfile import GtGraph, encode_gt

BAD = Path(__file__).parents[2].parent / "shared" / "data" / "badinputs"
FRAMES = np.random.default_rng(1).integers(0, 4000, (40, 24, 32)).astype(np.uint16)
LAYOUTS: dict[str, dict[str, Any]] = {
    "plain": {"metadata": None},
    "shaped": {"metadata": {"axes": "TYX"}},
    "deflate": {"metadata": {"axes": "TYX"}, "compression": "zlib"},
    "imagej": {"imagej": True, "metadata": {"axes": "TYX"}},
    "ome": {"ome": True, "metadata": {"axes": "TYX"}},
    "tiled": {"metadata": {"axes": "TYX"}, "tile": (16, 16)},
    "big-endian bigtiff": {"metadata": None, "bigtiff": True, "byteorder": ">"},
}


def bad(name: str) -> Path:
    path = BAD / name
    if not path.exists():
        pytest.skip("the public bad inputs are not at hand in ../shared/data/badinputs")
    return path


def refused(path: Path, **options: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        open_image(path, **options).read()
    assert str(path) in caught.value.message
    return caught.value


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    path = tmp_path / "whole.tif"
    tifffile.imwrite(path, FRAMES, metadata={"axes": "TYX"}, compression="zlib")
    return path


@pytest.mark.parametrize("layout", LAYOUTS)
def test_i1_a_truncated_file_is_never_silently_short(tmp_path: Path, layout: str) -> None:
    source, cut = tmp_path / "whole.tif", tmp_path / "cut.tif"
    tifffile.imwrite(source, FRAMES, **LAYOUTS[layout])
    content = source.read_bytes()
    np.testing.assert_array_equal(open_image(source, axes="tyx").read(), FRAMES)
    rng = np.random.default_rng(2)
    cuts = (len(content) * rng.uniform(0.0, 1.0, 30)).astype(int)
    for size in (*cuts, 0, 3, 8, 9, len(content) - 1, len(content) - 2):
        cut.write_bytes(content[:size])
        try:
            read = open_image(cut, axes="tyx").read()
        except DataError as error:
            assert error.code in {"E_TRUNCATED", "E_NOT_IMAGE"}, (size, error.message)  # noqa: PT017  (either outcome is right)
        else:
            np.testing.assert_array_equal(read, FRAMES, err_msg=f"cut at {size}")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_i1_salvage_returns_a_true_prefix_and_says_so(tmp_path: Path, layout: str) -> None:
    source, cut = tmp_path / "whole.tif", tmp_path / "cut.tif"
    tifffile.imwrite(source, FRAMES, **LAYOUTS[layout])
    content = source.read_bytes()
    for share in (0.5, 0.8, 0.999):
        cut.write_bytes(content[: int(len(content) * share)])
        try:
            image = open_image(cut, axes="tyx", salvage=True)
        except DataError as error:
            assert error.code in {"E_TRUNCATED", "E_AXES"}  # noqa: PT017  (one frame is left)
            continue
        read = image.read()
        np.testing.assert_array_equal(read, FRAMES[: len(read)])
        assert len(read) == len(FRAMES) or "readable" in image.notes[0]


def test_i1_the_message_counts_the_frames(tmp_path: Path) -> None:
    path = tmp_path / "cut.tif"
    tifffile.imwrite(path, FRAMES, metadata={"axes": "TYX"})
    with tifffile.TiffFile(path) as file:
        start = file.series[0].dataoffset
    path.write_bytes(path.read_bytes()[: start + 27 * FRAMES[0].nbytes + 5])

    error = refused(path)

    assert error.code == "E_TRUNCATED"
    assert "declared 40 frames, 27 readable" in error.message
    assert "salvage" in error.message
    image = open_image(path, salvage=True)
    assert image.shape == (27, 24, 32)
    assert "declared 40 frames, 27 readable" in image.notes[0]


def test_i1_a_truncated_hdf5_and_npy_are_refused(tmp_path: Path) -> None:
    numpy_file, hdf = tmp_path / "a.npy", tmp_path / "a.h5"
    np.save(numpy_file, FRAMES)
    with h5py.File(hdf, "w") as file:
        file["movie"] = FRAMES
    for path in (numpy_file, hdf):
        path.write_bytes(path.read_bytes()[:-1000])
        assert refused(path, axes="tyx").code == "E_TRUNCATED"


def test_i2_a_corrupt_last_frame_is_found_before_the_run(whole: Path) -> None:
    with tifffile.TiffFile(whole) as file:
        last = file.pages[-1]
        start, size = last.dataoffsets[0], last.databytecounts[0]
    content = bytearray(whole.read_bytes())
    content[start : start + size] = bytes(size)
    whole.write_bytes(content)

    error = refused(whole)

    assert error.code == "E_TRUNCATED"
    assert "declared 40 frames, 39 readable" in error.message
    salvaged = open_image(whole, salvage=True)
    np.testing.assert_array_equal(salvaged.read(), FRAMES[:39])
    assert "39 readable" in salvaged.notes[0]


def test_i2_a_corrupt_frame_in_the_middle_is_loud_when_read(whole: Path) -> None:
    with tifffile.TiffFile(whole) as file:
        page = file.pages[20]
        start, size = page.dataoffsets[0], page.databytecounts[0]
    content = bytearray(whole.read_bytes())
    content[start : start + size] = bytes(size)
    whole.write_bytes(content)

    error = refused(whole)

    assert error.code == "E_TRUNCATED"
    assert "frame 20" in error.message


def test_i3_every_frame_of_every_file_is_counted(tmp_path: Path) -> None:
    for layout, options in LAYOUTS.items():
        for n in (1, 2, 3, 40):
            path = tmp_path / f"{layout} {n}.tif"
            tifffile.imwrite(path, FRAMES[:n], photometric="minisblack", **options)
            axes = "yx" if n == 1 and layout not in {"shaped", "deflate", "tiled"} else "tyx"
            assert math.prod(open_image(path, axes=axes).shape) == FRAMES[:n].size, layout


def test_i3_frames_written_one_by_one_are_all_read(tmp_path: Path) -> None:
    path = tmp_path / "one by one.tif"
    with tifffile.TiffWriter(path) as writer:
        for frame in FRAMES[:6]:
            writer.write(frame, contiguous=False)

    try:
        read = open_image(path, axes="tyx").read()
    except DataError as error:
        assert error.code == "E_TIMING"  # noqa: PT017  (loud is right, frame 1 alone is not)
    else:
        np.testing.assert_array_equal(read, FRAMES[:6])


def test_i3_metadata_that_contradict_the_pages_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "more.tif"
    text = "ImageJ=1.53f\nimages=30\nframes=30\nhyperstack=true\n"
    tifffile.imwrite(path, FRAMES, description=text, metadata=None)

    error = refused(path, axes="tyx")

    assert error.code == "E_TIMING"
    assert "declares 30 frames" in error.message
    assert "40 pages" in error.message


def test_i3_the_published_contradiction_is_refused() -> None:
    error = refused(bad("imagej_metadata_mismatch.tif"), axes="tyx")
    assert error.code == "E_TRUNCATED"
    assert "declared 3500 frames, 1 readable" in error.message


def test_i4_an_imagej_virtual_stack_gives_all_frames(tmp_path: Path) -> None:
    path = tmp_path / "virtual.tif"
    text = "ImageJ=1.53f\nimages=40\nframes=40\nhyperstack=true\n"
    tifffile.imwrite(path, FRAMES[0], description=text, metadata=None, byteorder=">")
    with tifffile.TiffFile(path) as file:
        start = file.pages[0].dataoffsets[0]
    content = path.read_bytes()
    path.write_bytes(content[:start] + FRAMES.astype(">u2").tobytes())

    image = open_image(path)

    assert image.axes == "tyx"
    assert image.pixels.dtype == np.dtype(np.uint16)
    np.testing.assert_array_equal(image.read(), FRAMES)
    path.write_bytes(path.read_bytes()[:-100])
    assert "declared 40 frames, 39 readable" in refused(path).message


WRONG_KINDS = {
    "empty.tif": (b"", "empty"),
    "pointer.tif": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"),
    "link.h5": (b"../../training_sources/train_2D_2D.h5", "symbolic link"),
    "page.tif": (b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
    "zip.tif": (b"PK\x03\x04\x14\0\0\0\0\0" + bytes(16) + b"\x05\0\0\0a.tif", "zip archive"),
    "pickle.npy": (b"\x80\x04\x95abc", "pickle"),
    "noise.tif": (bytes(range(256)) * 4, "no format"),
}


@pytest.mark.parametrize("name", WRONG_KINDS)
def test_i5_a_file_of_another_kind_is_named_at_once(tmp_path: Path, name: str) -> None:
    content, words = WRONG_KINDS[name]
    path = tmp_path / name
    path.write_bytes(content)
    began = time.perf_counter()

    error = refused(path)

    assert time.perf_counter() - began < 1
    assert error.code == "E_NOT_IMAGE"
    assert words in error.message


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("git_lfs_pointer_named.tif.zip", "Git LFS pointer"),
        ("symlink_text_named.h5", "symbolic link"),
        ("suite2p_stat_object_array.npy", "pickle"),
        ("pickle_with_foreign_class.pkl", "pickle"),
    ],
)
def test_i5_published_wrong_kinds_are_named(name: str, words: str) -> None:
    error = refused(bad(name), axes="yx")
    assert error.code == "E_NOT_IMAGE"
    assert words in error.message


@pytest.mark.parametrize("n_pages", [2, 3, 5, 40])
@pytest.mark.parametrize(
    "options",
    [
        {"metadata": None},
        {"metadata": {}},
        {"description": "ImageJ=1.48v\nmin=0.0\n", "metadata": None},
    ],
    ids=["plain", "QYX", "IYX"],
)
def test_i6_axes_are_never_guessed(tmp_path: Path, n_pages: int, options: dict[str, Any]) -> None:
    path = tmp_path / "what.tif"
    tifffile.imwrite(path, FRAMES[:n_pages], photometric="minisblack", **options)

    error = refused(path)

    assert error.code == "E_AXES"
    assert f"({n_pages}, 24, 32)" in error.message
    assert "axes = 'tyx'" in error.message
    assert open_image(path, axes="zyx").axes == "zyx"


def test_i6_a_plain_imagej_stack_calls_everything_a_slice(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    text = "ImageJ=1.53f\nimages=40\nslices=40\nloop=false\n"
    tifffile.imwrite(path, FRAMES, description=text, metadata=None)
    assert refused(path).code == "E_AXES"


@pytest.mark.parametrize("axes", ["tyxz", "yx", "tty", "tqx", "txx"])
def test_i6_axes_that_cannot_be_are_refused(whole: Path, axes: str) -> None:
    assert refused(whole, axes=axes).code == "E_AXES"


def test_i7_mixed_pages_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "mixed.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(FRAMES[0], metadata=None)
        writer.write(FRAMES[1].astype(np.float32), metadata=None)
        writer.write(FRAMES[2].T.copy(), metadata=None)

    error = refused(path, axes="tyx")

    assert error.code == "E_SHAPE"
    assert "page 1" in error.message
    assert "page 2 is 32 x 24" in error.message


def test_i7_planes_that_differ_are_listed(tmp_path: Path) -> None:
    for plane in (1, 2, 3):
        tifffile.imwrite(tmp_path / f"z_{plane:02d}.tif", FRAMES)
    tifffile.imwrite(tmp_path / "z_04.tif", FRAMES.swapaxes(1, 2))
    tifffile.imwrite(tmp_path / "z_05.tif", FRAMES.astype(np.float32))

    with pytest.raises(DataError) as caught:
        open_image(tmp_path)

    assert caught.value.code == "E_SHAPE"
    assert "z_04.tif: 32 x 24" in caught.value.message
    assert "z_05.tif: 24 x 32 float32" in caught.value.message
    assert "z_02.tif" not in caught.value.message


def test_i12_planes_of_an_aborted_volume_are_listed_or_trimmed(tmp_path: Path) -> None:
    for plane, n_frames in ((1, 40), (2, 40), (3, 39)):
        tifffile.imwrite(tmp_path / f"z_{plane:02d}.tif", FRAMES[:n_frames])

    error = refused(tmp_path)

    assert error.code == "E_TIMING"
    assert "z_03.tif: 39 frames" in error.message
    assert "most: 40 frames" in error.message
    assert "trim" in error.message
    trimmed = open_image(tmp_path, trim=True)
    assert trimmed.shape == (39, 3, 24, 32)
    assert "trimmed to 39 frames" in trimmed.notes[0]


def test_i14_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "bomb.tif"
    tifffile.imwrite(path, FRAMES[0], metadata=None, compression="zlib")
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            tag = file.pages[0].tags[name]
            width = 2 if tag.dtype == 3 else 4
            value = 60_000 if width == 2 else 100_000
            content[tag.valueoffset : tag.valueoffset + width] = value.to_bytes(width, "little")
    path.write_bytes(content)

    error = refused(path, axes="yx")

    assert error.code == "E_NOT_IMAGE"
    assert "bytes for one page" in error.message


def test_a_circle_of_pages_ends(tmp_path: Path) -> None:
    path = tmp_path / "circle.tif"
    tifffile.imwrite(path, FRAMES[:2], metadata=None)
    with tifffile.TiffFile(path) as file:
        first, second = (page.offset for page in file.pages)
        n_tags = len(file.pages[1].tags)
    content = bytearray(path.read_bytes())
    place = second + 2 + 12 * n_tags
    content[place : place + 4] = first.to_bytes(4, "little")
    path.write_bytes(content)
    assert "circle" in refused(path, axes="tyx").message


def test_flipped_bytes_never_crash(whole: Path, tmp_path: Path) -> None:
    content = whole.read_bytes()
    rng = np.random.default_rng(3)
    path = tmp_path / "flipped.tif"
    for _ in range(60):
        damaged = bytearray(content)
        for at in rng.integers(0, len(content), 4):
            damaged[at] ^= 1 << rng.integers(0, 8)
        path.write_bytes(damaged)
        try:
            open_image(path, axes="tyx").read()
        except DataError as error:
            assert error.code.startswith("E_")  # noqa: PT017  (either outcome is right)


@pytest.mark.parametrize("name", ["a.h5", "a.npz", "a.mat", "b.mat", "a.npy", "a.gt"])
def test_damaged_traces_and_networks_never_crash(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    rng = np.random.default_rng(5)
    bundle = TraceBundle(FRAMES[0].astype(np.float32), rng.normal(size=(24, 3)), np.arange(24))
    if name == "a.npy":
        np.save(path, bundle.trace)
    elif name == "a.gt":
        ends = rng.integers(0, 300, (2, 900))
        maps = {"k": np.arange(300), "s": np.array(["ab"] * 300)}
        path.write_bytes(encode_gt(GtGraph(300, False, *ends, maps, {})))  # noqa: FBT003  (undirected)
    else:
        write_traces(path, bundle, mat5_limit=0 if name == "b.mat" else 1 << 30)
    content = path.read_bytes()
    for turn in range(60):
        damaged = bytearray(content[: rng.integers(0, len(content))] if turn % 2 else content)
        for at in rng.integers(0, max(len(damaged), 1), 3 * (turn % 2 == 0)):
            damaged[at] = rng.integers(0, 256)
        path.write_bytes(damaged)
        try:
            (read_network if name == "a.gt" else read_traces)(path)
        except DataError as error:
            assert error.code.startswith("E_")  # noqa: PT017  (either outcome is right)


def test_a_reader_leaves_its_input_and_its_folder_alone(whole: Path) -> None:
    before = whole.read_bytes(), sorted(whole.parent.iterdir())
    open_image(whole).read()
    assert (whole.read_bytes(), sorted(whole.parent.iterdir())) == before


def test_several_stacks_in_one_file_are_refused(tmp_path: Path) -> None:
    for name, code in (("two.ome.tif", "E_SHAPE"), ("two.tif", "E_TIMING")):
        with tifffile.TiffWriter(tmp_path / name) as writer:
            for _ in range(2):
                writer.write(FRAMES[:4], photometric="minisblack")
        error = refused(tmp_path / name, axes="tyx")
        assert error.code == code
        assert "one file each" in error.message


def test_folders_and_pipes_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe, not a file"):
        open_image(tmp_path / "pipe")
    for read in (read_traces, read_planemap, read_network):
        with pytest.raises(DataError, match="a folder, not a file"):
            read(tmp_path)


def test_s1_object_arrays_in_bundles_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "evil.npz"
    np.savez(path, trace=np.array([{}, print], dtype=object))
    with pytest.raises(DataError, match=r"trace.*never opens"):
        read_traces(path)


def test_external_links_of_hdf5_are_not_followed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["movie"] = FRAMES
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["raw"] = h5py.ExternalLink("other.h5", "movie")
    error = refused(tmp_path / "link.h5", dataset="raw", axes="tyx")
    assert error.code == "E_PATH"
    assert "other.h5" in error.message


def test_names_with_spaces_and_unicode_work(whole: Path) -> None:
    for name in ("a b.tif", "tête ß.tif", "UPPER.TIF", "no suffix"):
        path = whole.with_name(name)
        shutil.copy(whole, path)
        np.testing.assert_array_equal(open_image(path).read(), FRAMES)


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.tif", tmp_path / ("x" * 300)):
        assert refused(path).code == "E_PATH"
    assert len(list(itertools.islice(tmp_path.iterdir(), 1))) == 0
