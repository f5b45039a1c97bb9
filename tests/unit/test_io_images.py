"""Opening images of every format, and making them movies, volumes and labels."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import zarr

from clgkit.data import LABELS, MOVIE, VOLUME
from clgkit.errors import DataError, StoreError
from clgkit.io import (
    Image,
    as_labels,
    as_movie,
    as_volume,
    open_image,
    read_labels,
    read_movie,
    read_volume,
    write_tiff,
)
from clgkit.io.pixels import example_axes, pick_channel, settle_axes, trusted_letters

DATA = Path(__file__).parents[2].parent / "shared" / "data"
MOVIE5 = np.random.default_rng(0).integers(-50, 4000, (6, 3, 2, 10, 12)).astype(np.int16)
UM = (5.0, 0.5, 0.4)


def public(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip("the public recordings are not at hand in ../shared/data")
    return path


def ngff(path: Path, pixels: np.ndarray[Any, Any], zarr_format: Any) -> None:
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    array = group.create_array("0", shape=pixels.shape, chunks=(1, 1, 1, 10, 12), dtype="int16")
    array[:] = pixels
    names = (("t", "time", "millisecond"), ("z", "space", "micrometer"), ("c", "channel", None),
             ("y", "space", "nanometer"), ("x", "space", "micrometer"))  # fmt: skip
    axes = [{"name": n, "type": t} | ({"unit": u} if u else {}) for n, t, u in names]
    change = [{"type": "scale", "scale": [500.0, 5.0, 1.0, 500.0, 0.4]}]
    scales = [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": change}]}]
    omero = {"channels": [{"label": "GCaMP"}, {"label": "H2B"}]}
    said: dict[str, Any] = {"multiscales": scales, "omero": omero}
    group.attrs.update({"ome": {"version": "0.5", **said}} if zarr_format == 3 else said)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_ome_zarr_gives_axes_spacing_rate_and_channel_names(
    tmp_path: Path, zarr_format: int
) -> None:
    path = tmp_path / "a.ome.zarr"
    ngff(path, MOVIE5, zarr_format)

    image = open_image(path, channel="H2B")

    assert image.axes == "tzyx"
    assert image.voxel_um == UM
    assert image.rate_hz == 2.0
    assert image.notes == ()
    np.testing.assert_array_equal(image.read(), MOVIE5[:, :, 1])
    with pytest.raises(DataError, match="GCaMP, H2B"):
        open_image(path)
    with pytest.raises(DataError, match="no channel 'mRuby'"):
        open_image(path, channel="mRuby")


def test_absent_chunks_of_a_zarr_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.zarr"
    ngff(path, MOVIE5, 3)
    (path / "0" / "c" / "0" / "0" / "0" / "0" / "0").unlink()
    assert "1 of 36 chunk files are absent" in open_image(path, channel=0).notes[0]


def test_a_bare_zarr_array_needs_axes(tmp_path: Path) -> None:
    array = zarr.create_array(tmp_path / "a.zarr", shape=(4, 5, 6), chunks=(1, 5, 6), dtype="u1")
    array[:] = 7
    with pytest.raises(DataError, match="NGFF metadata"):
        open_image(tmp_path / "a.zarr")
    assert open_image(tmp_path / "a.zarr", axes="zyx").read().sum() == 7 * 120
    with pytest.raises(DataError, match="outside"):
        open_image(tmp_path / "a.zarr", dataset="../../x/y")


def test_a_movie_of_one_plane_gets_an_axis_z(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, MOVIE5[:, 0, 0])

    movie = read_movie(path, axes="tyx", rate_hz=2.0, voxel_um=UM)

    MOVIE.check(movie)
    assert movie.shape == (6, 1, 10, 12)
    np.testing.assert_array_equal(movie[2:4, :, ::3, 1].values, MOVIE5[2:4, :1, 0, ::3, 1])
    assert movie.coords["time"].values[1] == 0.5


def test_axes_in_any_order_become_time_z_y_x(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.asfortranarray(MOVIE5.transpose(4, 0, 2, 3, 1)))

    movie = read_movie(path, axes="xtcyz", rate_hz=1.0, voxel_um=UM, channel=1)

    np.testing.assert_array_equal(movie.values, MOVIE5[:, :, 1])
    np.testing.assert_array_equal(movie[1, 2, 3:5].values, MOVIE5[1, 2, 1, 3:5])


@pytest.mark.parametrize(
    ("rate", "voxel", "word"), [(None, UM, "rate_hz"), (2.0, None, "voxel_um"),
                                (0.0, UM, "rate_hz"),
                                (2.0, (0.0, 1.0, 1.0), "voxel_um")],
)  # fmt: skip
def test_rate_and_voxel_size_are_compulsory(
    tmp_path: Path, rate: float | None, voxel: Any, word: str
) -> None:
    path = tmp_path / "a.npy"
    np.save(path, MOVIE5[:, 0, 0])
    with pytest.raises(DataError, match=f"Set `{word}`"):
        read_movie(path, axes="tyx", rate_hz=rate, voxel_um=voxel)


def test_a_volume_is_no_movie_and_a_movie_no_volume(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, MOVIE5[:, 0, 0])
    with pytest.raises(DataError, match="needs time"):
        read_movie(path, axes="zyx", rate_hz=1.0, voxel_um=UM)
    with pytest.raises(DataError, match="6 time points"):
        read_volume(path, axes="tyx", voxel_um=UM)
    VOLUME.check(read_volume(path, axes="zyx", voxel_um=UM))


def test_a_single_time_point_is_a_volume(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, MOVIE5[:1, :, 0])
    volume = read_volume(path, axes="tzyx", voxel_um=UM)
    np.testing.assert_array_equal(volume.values, MOVIE5[0, :, 0])


def test_labels_become_uint32_or_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.full((2, 3, 4), 70_000, np.int64))
    labels = read_labels(path, axes="zyx", voxel_um=UM)
    LABELS.check(labels)
    assert labels.dtype == np.uint32
    assert int(labels.max()) == 70_000
    np.save(path, np.full((2, 3, 4), -1, np.int16))
    with pytest.raises(DataError, match="-1"):
        read_labels(path, axes="zyx", voxel_um=UM)


def test_an_hdf5_file_with_one_stack_needs_no_name(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["group/raw"] = MOVIE5[:, 0, 0].astype(">i2")
        file["rates"] = np.arange(5)
    image = open_image(path, axes="tyx")
    assert image.source.endswith("a.h5:group/raw")
    assert image.pixels.dtype == np.dtype(np.int16)
    np.testing.assert_array_equal(image.read(), MOVIE5[:, 0, 0])
    with h5py.File(path, "a") as file:
        file["mean"] = np.zeros((3, 3))
    with pytest.raises(DataError, match=r"group/raw \(6, 10, 12\)"):
        open_image(path, axes="tyx")
    with pytest.raises(DataError, match="no dataset 'movie'"):
        open_image(path, axes="tyx", dataset="movie")


def test_npz_arrays_are_chosen_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=MOVIE5[0, 0, 0], b=MOVIE5[:, 0, 0])
    with pytest.raises(DataError, match=r"b \(6, 10, 12\) int16"):
        open_image(path, axes="tyx")
    image = open_image(path, axes="tyx", dataset="b")
    np.testing.assert_array_equal(image.pixels[1:3, :, ::-2], MOVIE5[1:3, 0, 0, :, ::-2])


def test_images_survive_the_way_to_a_worker(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", MOVIE5[:, 0, 0], compression="zlib")
    tifffile.imwrite(tmp_path / "b.tif", MOVIE5[:, 0, 0])
    np.savez(tmp_path / "c.npz", MOVIE5[:, 0, 0])
    for path in sorted(tmp_path.iterdir()):
        image = open_image(path, axes="tyx")
        image.read()
        again = pickle.loads(pickle.dumps(image))  # noqa: S301  (made on the line itself)
        np.testing.assert_array_equal(again.read(), MOVIE5[:, 0, 0])
        movie = as_movie(again, rate_hz=1.0, voxel_um=UM)
        sent = pickle.loads(pickle.dumps(movie.isel(time=slice(1, 3))))  # noqa: S301  (as above)
        np.testing.assert_array_equal(sent.values[:, 0], MOVIE5[1:3, 0, 0])


def test_threads_share_one_file_without_mixing_frames(tmp_path: Path) -> None:
    frames = np.random.default_rng(4).integers(0, 999, (120, 40, 50)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", frames, metadata=None, compression="zlib")
    pixels = open_image(tmp_path / "a.tif", axes="tyx").pixels
    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda at: pixels[at : at + 7, :, :], range(0, 120, 7)))
    np.testing.assert_array_equal(np.concatenate(parts), frames)


def test_a_file_cut_after_it_was_opened_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write_tiff(path, MOVIE5[:, 0, 0], axes="tyx")
    image = open_image(path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match="changed since it was opened"):
        image.read()


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "float32", "float64"])
def test_a_written_tiff_reads_back_with_axes_spacing_and_rate(
    tmp_path: Path, dtype: str, compression: str | None
) -> None:
    path = tmp_path / "a.tif"
    pixels = np.abs(MOVIE5[:, :, 0]).astype(dtype)

    write_tiff(
        path, pixels, axes="tzyx", voxel_um=UM, rate_hz=2.0, dtype=dtype, compression=compression
    )

    image = open_image(path)
    assert (image.axes, image.voxel_um, image.rate_hz) == ("tzyx", UM, 2.0)
    np.testing.assert_array_equal(image.read(), np.abs(MOVIE5[:, :, 0]).astype(dtype))
    np.testing.assert_array_equal(tifffile.imread(path), image.read())
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.tif"]


def test_axes_of_length_one_may_be_named(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write_tiff(path, MOVIE5[:, :1, 0], axes="tzyx")
    assert open_image(path).axes == "tyx"
    assert open_image(path, axes="tzyx").shape == (6, 1, 10, 12)
    write_tiff(path, MOVIE5[:1, :1, 0], axes="tzyx")
    assert open_image(path, axes="tzyx").shape == (1, 1, 10, 12)


def test_labels_above_65535_are_not_written_as_uint16(tmp_path: Path) -> None:
    path = tmp_path / "labels.tif"
    labels = np.zeros((2, 4, 5), np.uint32)
    labels[1, 2, 3] = 70_000
    with pytest.raises(DataError, match=r"70000.*does not fit uint16.*uint32"):
        write_tiff(path, labels, axes="zyx", dtype="uint16")
    assert list(tmp_path.iterdir()) == []
    write_tiff(path, labels, axes="zyx")
    assert open_image(path).pixels.dtype == np.uint32
    assert open_image(path).read().max() == 70_000


def test_types_that_a_tiff_does_not_hold_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="int64"):
        write_tiff(tmp_path / "a.tif", np.zeros((2, 3, 4), np.int64), axes="zyx")
    with pytest.raises(DataError, match="rows and columns come last"):
        write_tiff(tmp_path / "a.tif", np.zeros((2, 3, 4), np.uint8), axes="yxz")
    write_tiff(tmp_path / "mask.tif", np.ones((2, 3, 4), bool), axes="zyx")
    assert open_image(tmp_path / "mask.tif").pixels.dtype == np.uint8


def test_a_tiff_that_reads_back_otherwise_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(b"old")
    original = tifffile.TiffWriter.write

    def spoiled(self: Any, data: Any, **options: Any) -> Any:
        return original(self, (frame + 1 for frame in data), **options)

    monkeypatch.setattr(tifffile.TiffWriter, "write", spoiled)
    with pytest.raises(StoreError, match="did not read back"):
        write_tiff(path, MOVIE5[:, 0, 0], axes="tyx")
    assert path.read_bytes() == b"old"


def test_imagej_hyperstacks_and_ome_orders_are_understood(tmp_path: Path) -> None:
    frames = np.abs(MOVIE5).astype(np.uint16)
    tifffile.imwrite(
        tmp_path / "ij.tif", frames, imagej=True, resolution=(2.5, 2.0),
        metadata={"axes": "TZCYX", "spacing": 5.0, "unit": "um", "finterval": 0.5},
    )  # fmt: skip
    tifffile.imwrite(tmp_path / "ome.tif", frames.swapaxes(1, 2), ome=True,
                     metadata={"axes": "TCZYX", "Channel": {"Name": ["G", "R"]}})  # fmt: skip

    ij, ome = (
        open_image(tmp_path / "ij.tif", channel=1),
        open_image(tmp_path / "ome.tif", channel="R"),
    )

    assert (ij.axes, ij.voxel_um, ij.rate_hz) == ("tzyx", UM, 2.0)
    assert ome.axes == "tzyx"
    np.testing.assert_array_equal(ij.read(), frames[:, :, 1])
    np.testing.assert_array_equal(ome.read(), frames[:, :, 1])


@pytest.mark.parametrize(
    ("name", "options", "axes", "shape", "dtype"),
    [
        ("movies/fmi2p_frames0001-0400.tif", {"axes": "tyx"}, "tyx", (400, 256, 256), "uint16"),
        ("movies/thunder_mouse2p_500x64x64.tif", {}, "tyx", (500, 64, 64), "int16"),
        ("movies/thunder_fish_lightsheet_240x2x76x87.tif", {}, "tzyx", (240, 2, 76, 87), "uint8"),
        ("movies/kenyon2p_cycle1.tif", {}, "tyx", (53, 260, 348), "uint16"),
        ("movies/kenyon2p_cycle2.tif", {}, "tyx", (53, 260, 348), "uint16"),
        ("movies/sima_example_20x128x256.tif", {"axes": "tyx"}, "tyx", (20, 128, 256), "uint16"),
        ("movies/sima_volume_10x3x64x64x2.h5", {"channel": 1}, "tzyx", (10, 3, 64, 64), "uint8"),
        ("movies/allen_movie_100x100x100.h5", {"axes": "tyx"}, "tyx", (100, 100, 100), "int16"),
        ("movies/allen_sine_dewarp_input.h5", {"axes": "tyx"}, "tyx", (5, 512, 512), "uint16"),
        ("movies/allen_792757260_100x100x100.h5", {"axes": "tyx", "dataset": "input_frames"},
         "tyx", (100, 100, 100), "int16"),
        ("volumes/gonuclear_1135_mini.h5", {"axes": "zyx", "dataset": "raw"},
         "zyx", (100, 100, 100), "uint8"),
        ("volumes/plantseg_rgb_3D_0.tiff", {}, "zyx", (75, 75, 75), "uint16"),
        ("volumes/qcanet_8cell_raw.tif", {"axes": "zyx"}, "zyx", (51, 120, 122), "uint16"),
        ("volumes/stardist_mask3d.tif", {"axes": "zyx"}, "zyx", (31, 61, 57), "uint16"),
        ("volumes/cellseg3d_c5image_nolabel.tif", {"axes": "zyx"}, "zyx", (124, 86, 94), "float32"),
        ("volumes/plantseg_lateralrootnuclei_nolabel.npz", {"axes": "tczyx"},
         "tzyx", (1, 80, 160, 160), "uint8"),
        ("badinputs/prairie_stk_zero_dates.tif", {}, "yx", (260, 348), "uint16"),
    ],
)  # fmt: skip
def test_public_recordings_open_right(
    name: str, options: dict[str, Any], axes: str, shape: tuple[int, ...], dtype: str
) -> None:
    path = public(name)
    image = open_image(path, **options)
    assert (image.axes, image.shape) == (axes, shape)
    assert image.pixels.dtype == np.dtype(dtype)
    last = image.pixels[tuple(slice(size - 1, size) for size in shape[:-2])]
    if path.suffix.startswith(".tif") and "prairie" not in name:
        np.testing.assert_array_equal(last.squeeze(), tifffile.imread(path, key=-1))


@pytest.mark.parametrize("name", ["stardist_img3d.tif", "qcanet_8cell_nsn.tif",
                                  "nucleusai_2p_H2BeGFP_labels_only.tif"])  # fmt: skip
def test_public_stacks_without_named_axes_ask_for_them(name: str) -> None:
    with pytest.raises(DataError) as caught:
        open_image(public(f"volumes/{name}"))
    assert caught.value.code == "E_AXES"


def test_spacing_of_a_public_hdf5_stack_is_used() -> None:
    volume = read_volume(public("volumes/gonuclear_1135_mini.h5"), dataset="raw", axes="zyx")
    assert volume.coords["z"].values[1] == pytest.approx(0.2837, abs=1e-4)  # as printed


def image(axes: str, *shape: int, **facts: Any) -> Image:
    return Image(np.arange(np.prod(shape), dtype=np.int32).reshape(shape), axes, "a.npy", **facts)


@pytest.mark.parametrize(
    ("make", "given", "options", "code", "words"),
    [
        (as_movie, image("zyx", 2, 3, 4), {}, "E_AXES", "has the axes 'zyx'; a movie needs time"),
        (as_movie, image("yx", 3, 4), {}, "E_AXES", "If it is a movie of one frame, say so"),
        (as_movie, image("tcyx", 2, 3, 3, 4), {}, "E_CHANNELS", "has 3 channels (0 to 2)"),
        (as_movie, image("tyx", 2, 3, 4), {"voxel_um": UM}, "E_DATA", "how many volumes are taken"),
        (
            as_movie,
            image("tyx", 2, 3, 4, voxel_um=UM),
            {"rate_hz": float("inf")},
            "E_DATA",
            "Set `rate_hz`",
        ),
        (
            as_movie,
            image("tyx", 2, 3, 4, rate_hz=-1.0),
            {"voxel_um": UM},
            "E_DATA",
            "Set `rate_hz`",
        ),
        (as_movie, image("tyx", 2, 3, 4), {"rate_hz": 1.0}, "E_DATA", "how large a voxel is"),
        (
            as_movie,
            image("tzyx", 2, 3, 4, 5, voxel_um=(None, 1.0, 1.0)),
            {"rate_hz": 1.0},
            "E_DATA",
            "(z, y, x: (None, 1.0, 1.0))",
        ),
        (
            as_movie,
            image("tzyx", 2, 3, 4, 5),
            {"rate_hz": 1.0, "voxel_um": (1.0, 1.0)},
            "E_DATA",
            "Set `voxel_um`",
        ),
        (
            as_volume,
            image("tzyx", 2, 3, 4, 5),
            {"voxel_um": UM},
            "E_AXES",
            "has 2 time points (axes 'tzyx')",
        ),
        (
            as_volume,
            image("zyx", 3, 4, 5),
            {"voxel_um": (1.0, float("nan"), 1.0)},
            "E_DATA",
            "Set `voxel_um`",
        ),
        (
            as_volume,
            image("zcyx", 3, 2, 4, 5, channels=("G", "R")),
            {"voxel_um": UM},
            "E_CHANNELS",
            "2 channels (G, R)",
        ),
        (
            as_labels,
            Image(np.full((1, 2, 2), 0.5), "zyx", "a.npy"),
            {"voxel_um": UM},
            "E_SHAPE",
            "must be whole numbers",
        ),
    ],
)
def test_images_that_cannot_be_what_is_wanted_say_why(
    make: Any, given: Image, options: dict[str, Any], code: str, words: str
) -> None:
    with pytest.raises(DataError) as caught:
        make(given, **options)
    assert caught.value.code == code
    assert words in caught.value.message


def test_a_plane_without_depth_counts_as_one_micrometre_thick() -> None:
    movie = as_movie(image("tyx", 2, 3, 4, voxel_um=(None, 0.5, 0.4), rate_hz=2.0))
    assert movie.sizes == {"time": 2, "z": 1, "y": 3, "x": 4}
    assert movie.coords["y"].values[1] == 0.5
    volume = as_volume(image("yx", 3, 4, voxel_um=(None, 0.5, 0.4)))
    assert volume.shape == (1, 3, 4)


def test_facts_of_the_file_and_of_the_user_meet_in_the_movie() -> None:
    given = image("xyt", 4, 3, 2, voxel_um=UM, rate_hz=5.0, notes=("cut",), missing=(3,))
    movie = as_movie(given, rate_hz=2.0)
    np.testing.assert_array_equal(movie.values[:, 0], given.read().transpose(2, 1, 0))
    assert movie.coords["time"].values[1] == 0.5
    assert movie.attrs == {"source": "a.npy", "notes": ["cut"], "missing_planes": [3]}


@pytest.mark.parametrize("channel", [2, "R", "2"])
def test_a_channel_is_picked_by_number_name_or_digit(channel: int | str) -> None:
    given = image("tcyx", 2, 3, 4, 5, channels=("G", "B", "R"))
    picked = pick_channel(given, channel)
    assert (picked.axes, picked.channels) == ("tyx", ("R",))
    np.testing.assert_array_equal(picked.read(), given.read()[:, 2])


@pytest.mark.parametrize("channel", [3, -1, "red", "7", "-1"])
def test_a_channel_that_is_not_there_is_refused_with_those_that_are(channel: int | str) -> None:
    with pytest.raises(DataError) as caught:
        pick_channel(image("tcyx", 2, 3, 4, 5, channels=("G", "B", "R")), channel)
    assert caught.value.code == "E_CHANNELS"
    assert "a.npy has no channel " in caught.value.message
    assert str(channel) in caught.value.message
    assert "it has 3 (G, B, R)" in caught.value.message


def test_names_that_do_not_match_the_channels_are_not_used() -> None:
    given = image("tcyx", 2, 3, 4, 5, channels=("G", "B"))
    with pytest.raises(DataError, match=r"no channel 'G'; it has 3 \(0 to 2\)"):
        pick_channel(given, "G")
    assert pick_channel(image("tcyx", 2, 1, 4, 5), None).axes == "tyx"
    assert pick_channel(image("tyx", 2, 4, 5), 0).axes == "tyx"


@pytest.mark.parametrize(
    ("axes", "words"),
    [("tq", "cannot be read"), ("tyxx", "each once"), ("tzx", "wanted are y, x"),
     ("TYXC", "names 4 axes, but"), ("", "wanted are y, x")],
)  # fmt: skip
def test_i6_axes_that_do_not_fit_are_answered_with_an_example(axes: str, words: str) -> None:
    with pytest.raises(DataError) as caught:
        settle_axes("a.npy", (5, 6, 7), axes, None, why="")
    assert caught.value.code == "E_AXES"
    assert words in caught.value.message
    assert "'tyx'" in caught.value.message


def test_capitals_are_axes_and_the_users_word_outweighs_the_files() -> None:
    assert settle_axes("a", (5, 6, 7), "ZYX", "tyx", why="") == "zyx"
    assert settle_axes("a", (5, 6, 7), None, "tyx", why="") == "tyx"
    assert [example_axes(n) for n in (2, 3, 4, 5)] == ["yx", "tyx", "tzyx", "tzcyx"]
    assert trusted_letters(("Time", "Channel", "Y", "X")) == "tcyx"
    assert trusted_letters(("Q", "Y", "X")) is None
    assert trusted_letters(("Y", "Y", "X")) is None
    assert trusted_letters(("T", "Z")) is None


def test_nothing_is_read_before_it_is_asked_for() -> None:
    asked: list[tuple[slice, ...]] = []

    class Watched:
        shape, dtype = (4, 3, 5, 6), np.dtype(np.uint16)

        def __getitem__(self, key: tuple[slice, ...]) -> Any:
            asked.append(key)
            return np.zeros(self.shape, self.dtype)[key]

    movie = as_movie(Image(Watched(), "tzyx", "a"), rate_hz=1.0, voxel_um=UM)
    part = movie.isel(time=slice(1, 3), z=2)
    assert asked == []
    assert part.values.shape == (2, 5, 6)
    ranges = [range(*part.indices(n)) for part, n in zip(asked[0], (4, 3, 5, 6), strict=True)]
    assert ranges == [range(1, 3), range(2, 3), range(5), range(6)]
    assert len(asked) == 1
