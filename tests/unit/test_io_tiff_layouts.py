"""TIFF in all its layouts, and what ImageJ, OME and tifffile say about them."""

import itertools
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from clgkit.errors import DataError
from clgkit.io import open_image, read_movie
from clgkit.io.tiff import open_tiff, quiet
from clgkit.io.tiffmeta import MAX_FRAMES, TO_S, TO_UM, Layout, layout_of, parse_xml

FRAMES = np.random.default_rng(1).integers(0, 4000, (5, 12, 20)).astype(np.uint16)
RGB = np.random.default_rng(2).integers(0, 255, (4, 12, 20, 3)).astype(np.uint8)
GREY: dict[str, Any] = {"photometric": "minisblack", "metadata": None}


def refused(path: Path, **options: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        open_image(path, **options).read()
    assert str(path) in caught.value.message
    return caught.value


@pytest.mark.parametrize("storage", [{}, {"rowsperstrip": 5}, {"tile": (16, 16)}],
                         ids=["one strip", "strips", "tiles"])  # fmt: skip
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize(
    "compression", [None, "zlib", "lzw", "zstd", "packbits", "lzma", "predictor"]
)
def test_every_compression_layout_and_byte_order_is_read(
    tmp_path: Path, compression: str | None, byteorder: Any, storage: dict[str, Any]
) -> None:
    path = tmp_path / "a.tif"
    packed: dict[str, Any] = {"compression": compression}
    if compression == "predictor":
        packed = {"compression": "zlib", "predictor": True}
    tifffile.imwrite(path, FRAMES, byteorder=byteorder, **GREY, **storage, **packed)

    image = open_image(path, axes="tyx")

    assert image.pixels.dtype == np.uint16
    np.testing.assert_array_equal(image.read(), FRAMES)


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint8", "int16", "int32", "uint32", "int64", "uint64", "float16",
              "float32", "float64"],
)  # fmt: skip
def test_every_real_type_is_kept(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "a.tif"
    pixels = (FRAMES % 200).astype(dtype)
    tifffile.imwrite(path, pixels, **GREY)

    image = open_image(path, axes="tyx")

    assert image.pixels.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(image.read(), pixels)


def test_packed_bits_are_unpacked(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", FRAMES, bitspersample=12, **GREY)
    np.testing.assert_array_equal(open_image(tmp_path / "a.tif", axes="tyx").read(), FRAMES)


def test_complex_pixels_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", FRAMES.astype(np.complex64), **GREY)
    error = refused(tmp_path / "a.tif", axes="tyx")
    assert error.code == "E_NOT_IMAGE"
    assert "complex64 pixels, not real numbers" in error.message


@pytest.mark.parametrize(
    "pages",
    [
        [{"predictor": True}, {"predictor": False}, {"predictor": False}],
        [{"predictor": False}, {"predictor": True}, {"predictor": True}],
        [{"rowsperstrip": 12}, {"rowsperstrip": 3}, {"rowsperstrip": 5}],
        [{"tile": (16, 16)}, {}, {"tile": (16, 32)}],
        [{}, {"compression": "lzw"}, {"compression": None}],
    ],
    ids=["predictor first", "predictor later", "strips", "tiles", "compression"],
)
def test_pages_stored_in_different_ways_are_each_decoded_their_own_way(
    tmp_path: Path, pages: list[dict[str, Any]]
) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for frame, options in zip(FRAMES, pages, strict=False):
            given = {"compression": "zlib", **GREY, **options}
            writer.write(frame, contiguous=False, **given)

    np.testing.assert_array_equal(open_image(path, axes="tyx").read(), FRAMES[:3])


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("ome", [True, False], ids=["OME", "plain"])
def test_the_colours_of_rgb_are_channels(
    tmp_path: Path, planar: Any, compression: str | None, ome: Any
) -> None:
    path = tmp_path / "a.tif"
    pixels = RGB if planar == "contig" else np.ascontiguousarray(RGB.transpose(0, 3, 1, 2))
    letters = "TYXS" if planar == "contig" else "TSYX"
    tifffile.imwrite(
        path, pixels, photometric="rgb", planarconfig=planar, compression=compression, ome=ome,
        metadata={"axes": letters} if ome else None,
    )  # fmt: skip
    axes = None if ome else letters.lower().replace("s", "c")

    for channel in range(3):
        image = open_image(path, axes=axes, channel=channel)
        assert image.axes == "tyx"
        np.testing.assert_array_equal(image.read(), RGB[..., channel])
    error = refused(path, axes=axes)
    assert error.code == "E_CHANNELS"
    assert "has 3 channels (0 to 2). Choose one with `channel`" in error.message


def ome_text(
    sizes: dict[str, int], *, order: str = "XYCZT", inner: str = "", more: str = ""
) -> str:
    said = " ".join(f'Size{letter}="{sizes.get(letter, 1)}"' for letter in "CZT")
    return (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        f'<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="{order}" Type="uint16" '
        f'SizeX="20" SizeY="12" {said} {more}>{inner}</Pixels></Image></OME>'
    )


def stack(n: int) -> np.ndarray[Any, Any]:
    return np.arange(n * 240, dtype=np.uint16).reshape(n, 12, 20)


def laid_out(pages: np.ndarray[Any, Any], order: str, sizes: dict[str, int]) -> Any:
    """Give pages in an OME order as (T, Z, C, Y, X)."""
    slowest_first = order[:1:-1]
    cube = pages.reshape(*(sizes[k] for k in slowest_first), 12, 20)
    return cube.transpose(*(slowest_first.index(k) for k in "TZC"), 3, 4)


@pytest.mark.parametrize("order", ["XY" + "".join(k) for k in itertools.permutations("CZT")])
def test_every_dimension_order_of_ome_is_followed(tmp_path: Path, order: str) -> None:
    path = tmp_path / "a.ome.tif"
    sizes = {"T": 2, "Z": 3, "C": 2}
    pages = stack(12)
    tifffile.imwrite(path, pages, description=ome_text(sizes, order=order), **GREY)

    for channel in range(2):
        movie = read_movie(path, channel=channel, rate_hz=1.0, voxel_um=(1.0, 1.0, 1.0))
        np.testing.assert_array_equal(movie.values, laid_out(pages, order, sizes)[:, :, channel])


@pytest.mark.parametrize("order", ["XYCZT", "XYTZC"])
def test_pages_that_ome_puts_in_any_order_are_found(tmp_path: Path, order: str) -> None:
    path = tmp_path / "a.ome.tif"
    sizes = {"T": 2, "Z": 3, "C": 1}
    pages = stack(6)
    page_of = np.random.default_rng(5).permutation(6)
    places = list(itertools.product(range(2), range(3)))
    blocks = "".join(
        f'<TiffData FirstT="{t}" FirstZ="{z}" FirstC="0" IFD="{page}"/>'
        for (t, z), page in zip(places, page_of, strict=True)
    )
    text = ome_text(sizes, order=order, inner=blocks)
    tifffile.imwrite(path, pages, description=text, **GREY)

    movie = read_movie(path, rate_hz=1.0, voxel_um=(1.0, 1.0, 1.0))

    np.testing.assert_array_equal(movie.values, pages[page_of].reshape(2, 3, 12, 20))


@pytest.mark.parametrize(
    "inner",
    ["", "<TiffData/>", '<TiffData IFD="0"/>', '<TiffData IFD="0" PlaneCount="5"/>',
     '<TiffData IFD="0" PlaneCount="5"><UUID FileName="its old name.tif"/></TiffData>'],
)  # fmt: skip
def test_one_block_or_none_stands_for_all_pages_in_their_order(tmp_path: Path, inner: str) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, FRAMES, description=ome_text({"T": 5}, inner=inner), **GREY)
    image = open_image(path)
    assert image.axes == "tyx"
    np.testing.assert_array_equal(image.read(), FRAMES)


@pytest.mark.parametrize(
    ("inner", "code", "words"),
    [
        ('<TiffData IFD="3" PlaneCount="5"/>', "E_TRUNCATED", "name pages that it does not have"),
        ('<TiffData FirstT="9" IFD="0"/>', "E_TRUNCATED", "name pages that it does not have"),
        ('<TiffData FirstT="-1" IFD="0"/>', "E_TRUNCATED", "first page cannot be read"),
        (('<TiffData><UUID FileName="a.tif"/></TiffData><TiffData><UUID FileName="b.tif"/>'
         "</TiffData>"), "E_AXES", "a part of it lies in another file (a.tif, b.tif)"),
    ],
)  # fmt: skip
def test_ome_metadata_that_name_absent_pages_are_refused(
    tmp_path: Path, inner: str, code: str, words: str
) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, FRAMES, description=ome_text({"T": 5}, inner=inner), **GREY)
    error = refused(path)
    assert error.code == code
    assert words in error.message


def test_i14_ome_metadata_that_declare_billions_of_frames_cost_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, FRAMES, description=ome_text({"T": 4_000_000_000}), **GREY)
    error = refused(path)
    assert error.code == "E_NOT_IMAGE"
    assert f"at most {MAX_FRAMES} are read" in error.message


def test_damaged_and_empty_ome_metadata_ask_for_axes(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    for text, words in (
        (ome_text({"T": 5})[:-20], "its OME metadata are damaged"),
        ('<OME xmlns="x"><Image/></OME>', "its OME metadata describe no image"),
    ):
        tifffile.imwrite(path, FRAMES, description=text, **GREY)
        error = refused(path)
        assert error.code == "E_AXES"
        assert words in error.message
        np.testing.assert_array_equal(open_image(path, axes="zyx").read(), FRAMES)


def test_s8_entities_in_ome_metadata_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    bomb = '<!DOCTYPE OME [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><OME>&b;</OME>'
    tifffile.imwrite(path, FRAMES, description=bomb, **GREY)
    error = refused(path)
    assert error.code == "E_NOT_IMAGE"
    assert "declares XML entities" in error.message
    with pytest.raises(DataError, match="larger than 64 MB"):
        parse_xml("<OME>" + " " * (64 << 20) + "</OME>", "This text")


def layout(text: str, axes: str = "YX", per_unit: Any = (2.0, 4.0)) -> Layout:
    return layout_of(text, (12, 20) if axes == "YX" else (12, 20, 3), axes, per_unit)


@pytest.mark.parametrize(
    ("more", "voxel"),
    [
        ('PhysicalSizeZ="5" PhysicalSizeY="0.5" PhysicalSizeX="0.4"', (5.0, 0.5, 0.4)),
        (('PhysicalSizeZ="5000" PhysicalSizeZUnit="nm" PhysicalSizeY="500" PhysicalSizeYUnit="nm"'
         ' PhysicalSizeX="4e2" PhysicalSizeXUnit="nm"'), (5.0, 0.5, 0.4)),
        (('PhysicalSizeZ="0.005" PhysicalSizeZUnit="mm" PhysicalSizeX="0.0004"'
         ' PhysicalSizeXUnit="mm"'), (5.0, None, 0.4)),
        ('PhysicalSizeZ="0" PhysicalSizeY="-1" PhysicalSizeX="nan"', None),
        ('PhysicalSizeX="1" PhysicalSizeXUnit="furlong"', None),
        ("", None),
    ],
)  # fmt: skip
def test_sizes_of_ome_become_micrometres_or_stay_unknown(more: str, voxel: Any) -> None:
    assert layout(ome_text({"T": 5}, more=more)).voxel_um == pytest.approx(voxel)


@pytest.mark.parametrize(
    ("more", "rate_hz"),
    [
        ('TimeIncrement="0.5"', 2.0),
        ('TimeIncrement="500" TimeIncrementUnit="ms"', 2.0),
        ('TimeIncrement="0.5" TimeIncrementUnit="min"', 1 / 30),
        ('TimeIncrement="1" TimeIncrementUnit="fortnight"', None),
        ('TimeIncrement="0"', None),
        ('TimeIncrement="soon"', None),
        ("", None),
    ],
)
def test_increments_of_ome_become_hertz_or_stay_unknown(more: str, rate_hz: float | None) -> None:
    assert layout(ome_text({"T": 5}, more=more)).rate_hz == rate_hz


@pytest.mark.parametrize(
    ("said", "voxel"),
    [
        ("unit=um\nspacing=5", (5.0, 0.5, 0.25)),
        ("unit=micron\nspacing=-5", (5.0, 0.5, 0.25)),
        ("unit=\\u00B5m\nspacing=5", (5.0, 0.5, 0.25)),
        ("unit=nm\nspacing=5000", (5.0, 0.0005, 0.00025)),
        ("unit=mm\nspacing=0.005", (5.0, 500.0, 250.0)),
        ("unit=um\nzunit=nm\nspacing=5000", (5.0, 0.5, 0.25)),
        ("unit=um\nzunit=inch\nspacing=5", (None, 0.5, 0.25)),
        ("unit=um", (None, 0.5, 0.25)),
        ("unit=inch\nspacing=5", None),
        ("spacing=5", None),
    ],
)
def test_units_of_imagej_become_micrometres_or_stay_unknown(said: str, voxel: Any) -> None:
    found = layout(f"ImageJ=1.53f\nimages=5\nframes=5\nhyperstack=true\n{said}\n").voxel_um
    assert found == pytest.approx(voxel) if voxel else found is None


@pytest.mark.parametrize(
    ("said", "rate_hz"),
    [
        ("finterval=0.5", 2.0),
        ("finterval=500\ntunit=ms", 2.0),
        ("finterval=0.5\ntunit=min", 1 / 30),
        ("finterval=0.5\nfps=7", 2.0),
        ("fps=7", 7.0),
        ("finterval=0\nfps=7", None),
        ("finterval=2\ntunit=moon", None),
        ("finterval=abc", None),
        ("", None),
    ],
)
def test_intervals_of_imagej_become_hertz_or_stay_unknown(said: str, rate_hz: float | None) -> None:
    found = layout(f"ImageJ=1.53f\nimages=5\nframes=5\nhyperstack=true\n{said}\n").rate_hz
    assert found == rate_hz


@pytest.mark.parametrize(
    ("said", "letters", "leading", "why"),
    [
        ("images=12\nchannels=2\nslices=3\nframes=2\nhyperstack=true", "tzcyx", (2, 3, 2), ""),
        ("images=6\nslices=3\nframes=2", "tzyx", (2, 3), ""),
        ("images=6\nframes=6\nhyperstack=true", "tyx", (6,), ""),
        ("images=6\nslices=6", None, None, "a plain ImageJ stack calls every page a slice"),
        ("images=7\nslices=3\nframes=2\nhyperstack=true", None, None, "7 images, 6 counted"),
        ("min=0.0\nmax=9", None, None, "calls every page a slice"),
        ("images=many\nframes=2.5", None, None, "calls every page a slice"),
    ],
)
def test_axes_of_imagej_are_trusted_only_where_they_are_said(
    said: str, letters: str | None, leading: Any, why: str
) -> None:
    found = layout(f"ImageJ=1.53f\n{said}\n")
    assert (found.letters, found.leading) == (letters, leading)
    assert why in found.why


@pytest.mark.parametrize(
    ("text", "letters", "declared", "why"),
    [
        ('{"shape": [5, 12, 20], "axes": "TYX"}', "tyx", 5, ""),
        ('{"shape": [5, 12, 20], "axes": "QYX"}', None, 5, "do not name its axes"),
        ('{"shape": [5, 12, 20]}', None, 5, "do not name its axes"),
        ("shape=(5, 12, 20)", None, 5, "do not name its axes"),
        ('{"shape": [5, 20, 12]}', None, 5, "declare another shape, (5, 20, 12)"),
        ('{"shape": [7]}', None, None, "declare another shape"),
        ('{"shape": "large"}', None, None, "cannot be read"),
        ('{"shape": [5, 12', None, None, "cannot be read"),
        ("shape=(x)", None, 0, "declare another shape"),
        ("a thing of my own", None, None, "no metadata"),
    ],
)
def test_shaped_metadata_are_believed_where_they_fit(
    text: str, letters: str | None, declared: int | None, why: str
) -> None:
    found = layout(text)
    assert found.letters == letters
    assert (found.declared or 0) == (declared or 0)
    assert why in found.why


def test_spacing_and_rate_of_a_real_imagej_file_reach_the_movie(tmp_path: Path) -> None:
    said = {"axes": "TZYX", "spacing": 0.006, "unit": "mm", "finterval": 250.0, "tunit": "ms"}
    tifffile.imwrite(
        tmp_path / "a.tif", FRAMES.reshape(1, 5, 12, 20).repeat(2, axis=0), imagej=True,
        resolution=(2000.0, 1250.0), metadata=said,
    )  # fmt: skip

    movie = read_movie(tmp_path / "a.tif")

    assert movie.sizes == {"time": 2, "z": 5, "y": 12, "x": 20}
    for name, step in (("time", 0.25), ("z", 6.0), ("y", 0.8), ("x", 0.5)):
        assert movie.coords[name].values[1] == pytest.approx(step)


def test_one_page_is_an_image_of_rows_and_columns(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", FRAMES[0], **GREY)
    assert open_image(tmp_path / "a.tif").axes == "yx"
    assert open_image(tmp_path / "a.tif", axes="tyx").shape == (1, 12, 20)
    assert refused(tmp_path / "a.tif", axes="tyxc").code == "E_AXES"


def test_frames_are_closed_and_opened_again(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", FRAMES, compression="zlib", **GREY)
    pixels = open_tiff(tmp_path / "a.tif", axes="tyx").pixels

    first = pixels[:1, :, :]
    pixels.close()  # type: ignore[attr-defined]
    pixels.close()  # type: ignore[attr-defined]

    np.testing.assert_array_equal(pixels[:1, :, :], first)


def test_a_file_replaced_by_a_shorter_one_is_noticed_frame_by_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, FRAMES, compression="zlib", **GREY)
    image = open_image(path, axes="tyx")
    tifffile.imwrite(path, FRAMES[:2], compression="zlib", **GREY)

    with pytest.raises(DataError, match="frame 2 is damaged") as caught:
        image.read()
    assert caught.value.code == "E_TRUNCATED"


def test_silence_of_one_thread_does_not_outlast_that_of_another() -> None:
    logger = logging.getLogger("tifffile")
    before = logger.disabled, list(logger.filters)

    def use(_: int) -> None:
        for _ in range(50):
            with quiet():
                logger.error("not to be seen")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(use, range(8)))

    assert (logger.disabled, list(logger.filters)) == before


def test_nested_silence_ends_with_the_outer_one(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("tifffile")
    with quiet():
        with quiet():
            logger.error("inner")
        logger.error("between")
    logger.error("after")

    assert [record.message for record in caplog.records] == ["after"]


@pytest.mark.parametrize(
    ("axes", "shape"),
    [("tyx", (5, 12, 20)), ("tzyx", (5, 1, 12, 20)), ("ztyx", (1, 5, 12, 20)),
     ("ctzyx", (1, 5, 1, 12, 20))],
)  # fmt: skip
def test_axes_of_length_one_that_metadata_drop_may_stand_anywhere(
    tmp_path: Path, axes: str, shape: tuple[int, ...]
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", FRAMES, metadata={"axes": "TYX"})
    assert open_tiff(tmp_path / "a.tif", axes=axes).shape == shape


@pytest.mark.parametrize("axes", ["zyxt", "yxtz", "tyzx", "tzyxc"])
def test_axes_of_length_one_do_not_turn_the_others(tmp_path: Path, axes: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", FRAMES, metadata={"axes": "TYX"})
    error = refused(tmp_path / "a.tif", axes=axes)
    assert error.code == "E_AXES"
    assert "but" in error.message


@pytest.mark.parametrize(("n_frames", "n_times"), [(5, 1), (4, 1), (3, 1), (6, 2)])
def test_i12_a_cut_movie_is_salvaged_in_whole_volumes(
    tmp_path: Path, n_frames: int, n_times: int
) -> None:
    path = tmp_path / "a.tif"
    movie = stack(9).reshape(3, 3, 12, 20)
    tifffile.imwrite(path, movie, metadata={"axes": "TZYX"}, photometric="minisblack")
    with tifffile.TiffFile(path) as file:
        start = file.series[0].dataoffset
    path.write_bytes(path.read_bytes()[: start + n_frames * 480 + 7])

    image = open_image(path, salvage=True)

    np.testing.assert_array_equal(image.read(), movie[:n_times])
    assert len(image.notes) == 1
    assert f"salvaged: declared 9 frames, {n_frames} readable" in image.notes[0]


def test_i12_less_than_one_volume_is_no_movie_of_volumes(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    movie = stack(9).reshape(3, 3, 12, 20)
    tifffile.imwrite(path, movie, metadata={"axes": "TZYX"}, photometric="minisblack")
    with tifffile.TiffFile(path) as file:
        start = file.series[0].dataoffset
    path.write_bytes(path.read_bytes()[: start + 2 * 480])
    error = refused(path, salvage=True)
    assert error.code == "E_AXES"
    np.testing.assert_array_equal(open_image(path, axes="zyx", salvage=True).read(), stack(9)[:2])


def test_a_rgb_file_of_imagej_has_no_other_channels(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", RGB, imagej=True, metadata={"axes": "TYXS"})
    image = open_image(tmp_path / "a.tif", channel=1)
    assert image.axes == "tyx"
    np.testing.assert_array_equal(image.read(), RGB[..., 1])


@pytest.mark.parametrize("opener", ["open_tiff", "open_numpy"])
def test_a_door_of_one_format_names_another(tmp_path: Path, opener: str) -> None:
    from clgkit.io import npyfile, tiff

    path = tmp_path / "a.txt"
    path.write_text("a,b\n")
    open_it = {"open_tiff": tiff.open_tiff, "open_numpy": npyfile.open_numpy}[opener]
    with pytest.raises(DataError, match="it is a text file") as caught:
        open_it(path, axes="tyx")
    assert caught.value.code == "E_NOT_IMAGE"


@pytest.mark.parametrize(
    ("names", "micrometres"),
    [
        ("um µm μm micron microns micrometer micrometre", 1.0),
        ("nm nanometer nanometre", 1e-3),
        ("mm millimeter millimetre", 1e3),
        ("cm", 1e4),
        ("m meter", 1e6),
    ],
)
def test_every_known_name_of_a_length_has_its_size(names: str, micrometres: float) -> None:
    assert {TO_UM[name] for name in names.split()} == {micrometres}


@pytest.mark.parametrize(
    ("names", "seconds"),
    [("s sec second", 1.0), ("ms millisecond", 1e-3), ("us µs microsecond", 1e-6),
     ("min minute", 60.0), ("h hour", 3600.0)],
)  # fmt: skip
def test_every_known_name_of_a_time_has_its_length(names: str, seconds: float) -> None:
    assert {TO_S[name] for name in names.split()} == {seconds}
