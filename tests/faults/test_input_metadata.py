"""Metadata that lie, and files cut or changed anywhere: the right result or a typed sentence."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clgkit.errors import DataError
from clgkit.io import open_image, read_network, read_planemap, read_traces
from clgkit.io.sniff import describe, kind_of

FRAMES = np.random.default_rng(3).integers(0, 4000, (6, 10, 12)).astype(np.uint16)
few = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])

IMAGEJ = "ImageJ=1.53f\nimages=6\nchannels=1\nslices=1\nframes=6\nhyperstack=true\nfinterval=0.5\n"
SHAPED = '{"shape": [6, 10, 12], "axes": "TYX"}'
OME = (
    '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image>'
    '<Pixels DimensionOrder="XYCZT" Type="uint16" SizeX="12" SizeY="10" SizeC="1" SizeZ="1" '
    'SizeT="6" TimeIncrement="0.5"><TiffData IFD="0" PlaneCount="6"/></Pixels></Image></OME>'
)
WORDS = st.sampled_from(
    ["0", "-1", "1", "2", "3", "7", "999", "1e9", "nan", "inf", "99999999999999999999", "", "x",
     '"', "<", "TYX", "null", "[]", "true", "=", "\n", "6"]
)  # fmt: skip


def assert_typed(error: DataError, words: str = "") -> None:
    assert error.code.startswith("E_")
    assert error.exit_code == 3
    assert words in error.message


@st.composite
def spoiled(draw: st.DrawFn, text: str) -> str:
    """Replace one to three pieces of a text by something else."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, max(len(text) - 1, 0)))
        stop = min(len(text), start + draw(st.integers(0, 4)))
        text = text[:start] + draw(WORDS) + text[stop:]
    return text


@few
@given(st.sampled_from([IMAGEJ, SHAPED, OME]).flatmap(spoiled), st.booleans())
def test_no_description_of_a_tiff_changes_its_pixels_silently(text: str, salvage: bool) -> None:  # noqa: FBT001  (drawn)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.tif"
        description = text.encode("ascii", "replace")
        tifffile.imwrite(
            path, FRAMES, description=description, metadata=None, photometric="minisblack"
        )
        try:
            image = open_image(path, axes="tyx", salvage=salvage)
        except DataError as error:
            assert_typed(error)
        else:
            read = image.read()
            whole = read.shape == FRAMES.shape
            assert whole or image.notes
            # A file may say that its pages stand in another order, but not that they are others.
            assert {frame.tobytes() for frame in read} <= {frame.tobytes() for frame in FRAMES}


def document(pixels: np.ndarray[Any, Any]) -> dict[str, Any]:
    scale = {"type": "scale", "scale": [0.5, 1.0, 0.4]}
    axes = [{"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"]
    datasets = [{"path": "0", "coordinateTransformations": [scale]}]
    assert pixels.ndim == len(axes)
    return {"ome": {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}],
                    "omero": {"channels": [{"label": "G"}]}}}  # fmt: skip


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("zarr") / "a.ome.zarr"
    group = zarr.open_group(path, mode="w")
    group.create_array("0", shape=FRAMES.shape, chunks=(1, 10, 12), dtype="u2")[:] = FRAMES
    group.attrs.update(document(FRAMES))
    return path


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from(["", "0", "x", "../..", "tzyx"])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["name", "unit", "path", "type", "scale", "label"]), inner, max_size=2),
    max_leaves=5,
)  # fmt: skip


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List the paths to every value in a document."""
    if not isinstance(value, dict | list):
        return [at]
    items = value.items() if isinstance(value, dict) else enumerate(value)
    inner = [place for key, part in items for place in places(part, (*at, key))]
    return [at, *inner] if at else inner


@few
@given(st.data())
def test_no_ngff_metadata_end_in_anything_but_the_pixels_or_a_sentence(
    image_folder: Path, data: st.DataObject
) -> None:
    said: Any = json.loads(json.dumps(document(FRAMES)))
    *path, last = data.draw(st.sampled_from(places(said)))
    inner = said
    for key in path:
        inner = inner[key]
    inner[last] = data.draw(VALUES)
    metadata = json.loads((image_folder / "zarr.json").read_text())
    metadata["attributes"] = said
    (image_folder / "zarr.json").write_text(json.dumps(metadata))
    try:
        image = open_image(image_folder, channel=data.draw(st.sampled_from([None, 0, "G"])))
    except DataError as error:
        assert_typed(error)
    else:
        np.testing.assert_array_equal(image.read(), FRAMES)


@few
@given(st.text(alphabet="0123456789-,.# \n\r\t\u2013ab\ufeff\x0b\u2028", max_size=60))
def test_any_text_is_a_plane_map_or_gets_a_sentence(text: str) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "map.txt"
        path.write_bytes(text.encode())
        try:
            found = read_planemap(path)
        except DataError as error:
            assert_typed(error, "is not a plane map")
        else:
            steps = np.diff(found.slice)
            assert (np.diff(found.plane) > 0).all()
            assert (steps > 0).all() or (steps < 0).all()
            assert found.plane.min() >= 0


@few
@given(st.binary(max_size=80), st.sampled_from([b"", b"II*\0", b"MM\0*", b"II+\0", b"PK\3\4",
       b"\x93NUMPY\1\0", b"\x89HDF\r\n\x1a\n", b"\xe2\x9b\xbe gt", b"MATLAB 5.0 MAT", b"\x1f\x8b",
       b"MATLAB 7.3 MAT", b"<?xml", b"source,target\n", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"]),
       st.sampled_from([".tif", ".npz", ".npy", ".h5", ".mat", ".csv", ".gt", ".graphml",
                        ".csv.gz"]))  # fmt: skip
def test_any_bytes_with_any_mark_and_name_end_in_a_sentence(
    tail: bytes, mark: bytes, suffix: str
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        path.write_bytes(mark + tail)
        assert isinstance(describe(path), str)
        for read in (lambda: open_image(path, axes="yx").read(), lambda: read_traces(path),
                     lambda: read_network(path)):  # fmt: skip
            try:
                read()
            except DataError as error:
                assert_typed(error, str(path))


KINDS: dict[str, tuple[bytes, str, str]] = {
    "empty": (b"", "empty", "empty (0 bytes)"),
    "a TIFF": (b"MM\0*" + bytes(20), "tiff", "a TIFF file"),
    "HDF5 behind a user block": (bytes(1024) + b"\x89HDF\r\n\x1a\n", "hdf5", "an HDF5 file"),
    "MATLAB 5": (b"MATLAB 5.0 MAT-file", "mat5", "a MATLAB file"),
    "MATLAB 7.3": (b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n\x1a\n", "mat73", "7.3"),
    "a PDF": (b"%PDF-1.7", "pdf", "a PDF document"),
    "a PNG": (b"\x89PNG\r\n", "png", "a PNG picture"),
    "a JPEG": (b"\xff\xd8\xff\xe0", "jpeg", "a JPEG picture"),
    "xz": (b"\xfd7zXZ\0", "xz", "unpack it first"),
    "an empty archive": (b"PK\5\6" + bytes(18), "zip", "a zip archive"),
    "a web page": (b"\xef\xbb\xbf  \n<HTML><body>", "html", "a web page"),
    "XML": (b"<svg/>", "xml", "an XML text"),
    "a pickle": (b"\x80\x04\x95", "pickle", "clgkit never opens"),
    "a link": ("../daten/fü.tif".encode(), "link", "symbolic link to '../daten/fü.tif'"),
    "a link of Windows": (b"..\\data\\a.tif", "link", "copy the file that it names"),
    "text": ("größe,x\n1,2\n".encode(), "text", "a text file"),
    "text cut in a character": (("ü\n" + "x" * 1020 + "ü").encode(), "text", "a text file"),
    "noise": (bytes(range(200, 256)), "unknown", "no format that clgkit knows"),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_i5_what_a_file_is_is_told_by_its_bytes(tmp_path: Path, name: str) -> None:
    content, kind, words = KINDS[name]
    path = tmp_path / "misnamed.dat"
    path.write_bytes(content)
    assert kind_of(path) == kind
    assert words in describe(path)
    with pytest.raises(DataError, match=r"is truncated|is not an image|cannot be opened"):
        open_image(path, axes="yx")


def patched(path: Path, page: int, tag: str, value: int) -> None:
    """Change one number in the list of tags of a page."""
    with tifffile.TiffFile(path) as file:
        found = file.pages[page].tags[tag]
        at, size, order = found.valueoffset, {3: 2, 4: 4, 16: 8}[found.dtype], file.byteorder
    content = bytearray(path.read_bytes())
    content[at : at + size] = value.to_bytes(size, "little" if order == "<" else "big")
    path.write_bytes(content)


def test_i1_a_page_with_fewer_strips_than_its_rows_need_is_not_filled_with_zeros(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, FRAMES, metadata=None, compression="lzw", photometric="minisblack")
    patched(path, 4, "RowsPerStrip", 3)

    with pytest.raises(DataError, match="declared 6 frames, 4 readable") as caught:
        open_image(path, axes="tyx")

    assert caught.value.code == "E_TRUNCATED"
    salvaged = open_image(path, axes="tyx", salvage=True)
    np.testing.assert_array_equal(salvaged.read(), FRAMES[:4])
    assert caplog.records == []


@pytest.mark.parametrize(
    ("options", "tag"),
    [({"tile": (16, 16)}, "TileWidth"), ({"rowsperstrip": 5}, "RowsPerStrip")],
    ids=["tiles", "strips"],
)
def test_i1_segments_are_counted_in_every_layout(
    tmp_path: Path, options: dict[str, Any], tag: str
) -> None:
    path = tmp_path / "a.tif"
    stack = np.tile(FRAMES, (1, 3, 3))
    tifffile.imwrite(path, stack, metadata=None, photometric="minisblack", **options)
    np.testing.assert_array_equal(open_image(path, axes="tyx").read(), stack)
    patched(path, 0, tag, 1 if tag == "RowsPerStrip" else 8)
    with pytest.raises(DataError, match="0 readable"):
        open_image(path, axes="tyx")


@pytest.mark.parametrize("tag", ["StripOffsets", "StripByteCounts"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_i2_a_page_in_the_middle_that_reaches_beyond_the_file_is_found_at_once(
    tmp_path: Path, compression: str | None, tag: str
) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for frame in FRAMES:
            writer.write(frame, metadata=None, compression=compression, contiguous=False)
    patched(path, 2, tag, 60_000)
    with pytest.raises(DataError, match=r"6 frames, 2 readable \(page 2 points beyond"):
        open_image(path, axes="tyx")
    np.testing.assert_array_equal(open_image(path, axes="tyx", salvage=True).read(), FRAMES[:2])


def test_i13_offsets_beyond_every_file_end_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, FRAMES, metadata=None, bigtiff=True, photometric="minisblack")
    content = bytearray(path.read_bytes())
    content[8:16] = (2**63 + 5).to_bytes(8, "little")
    path.write_bytes(content)
    with pytest.raises(DataError, match="its list of pages breaks off, 0 frames are readable"):
        open_image(path, axes="tyx")


def test_i4_a_virtual_stack_whose_pixels_begin_beyond_its_end_has_no_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, FRAMES[0], description=IMAGEJ, metadata=None)
    patched(path, 0, "StripOffsets", 90_000)
    for salvage in (False, True):
        with pytest.raises(DataError, match="declared 6 frames, 0 readable"):
            open_image(path, salvage=salvage)


def test_names_of_hdf5_datasets_that_are_no_text_are_left_out(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = FRAMES
        file[b"caf\xe9"] = FRAMES
    np.testing.assert_array_equal(open_image(tmp_path / "a.h5", axes="tyx").read(), FRAMES)


def test_i14_a_page_that_would_swell_ten_thousand_times_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, FRAMES[0], metadata=None, compression="zlib")
    for tag, value in (("ImageWidth", 1200), ("ImageLength", 9000), ("RowsPerStrip", 9000)):
        patched(path, 0, tag, value)
    with pytest.raises(DataError, match="declares 21600000 bytes for one page, from") as caught:
        open_image(path, axes="yx")
    assert caught.value.code == "E_NOT_IMAGE"


def test_i14_a_page_above_the_limit_is_refused_however_it_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, FRAMES[0], metadata=None)
    monkeypatch.setattr("clgkit.io.tiff.MAX_PAGE_BYTES", FRAMES[0].nbytes)
    assert open_image(path).shape == (10, 12)
    monkeypatch.setattr("clgkit.io.tiff.MAX_PAGE_BYTES", FRAMES[0].nbytes - 1)
    with pytest.raises(DataError, match="declares 240 bytes for one page"):
        open_image(path)
