"""HDF5, OME-Zarr and numpy files: what is found in them, what is refused, and how it is said."""

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr

from clgkit.errors import DataError
from clgkit.io import mat73, open_image, read_movie, read_traces, read_volume
from clgkit.io.hdf5 import open_hdf5
from clgkit.io.npyfile import npz_headers, open_numpy, read_npz
from clgkit.io.omezarr import open_omezarr

FRAMES = np.random.default_rng(0).integers(-90, 90, (4, 5, 6)).astype(np.int16)
UM = (5.0, 0.5, 0.25)


def refused(open_it: Callable[..., Any], path: Path, **options: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        open_it(path, **options)
    return caught.value


def hdf5(path: Path, values: Any = FRAMES, **attributes: Any) -> Path:
    with h5py.File(path, "w") as file:
        file["raw"] = values
        file["raw"].attrs.update(attributes)
    return path


@pytest.mark.parametrize(
    ("stored", "native"),
    [(">u2", "u2"), (">f4", "f4"), (">i8", "i8"), ("<f8", "f8"), ("bool", "bool"), ("f2", "f2")],
)
def test_hdf5_types_come_in_the_byte_order_of_the_machine(
    tmp_path: Path, stored: str, native: str
) -> None:
    values = np.abs(FRAMES).astype(stored)
    image = open_image(hdf5(tmp_path / "a.h5", values), axes="tyx")

    assert image.pixels.dtype == np.dtype(native)
    assert image.read().dtype.isnative
    np.testing.assert_array_equal(image.read(), values)


def test_an_hdf5_enumeration_of_truth_values_is_bool(tmp_path: Path) -> None:
    mask = FRAMES > 0
    image = open_image(hdf5(tmp_path / "a.h5", mask), axes="tyx")
    assert image.read().dtype == bool
    np.testing.assert_array_equal(image.pixels[::-1, 1:3, ::2], mask[::-1, 1:3, ::2])


@pytest.mark.parametrize(
    ("values", "look"),
    [
        (np.array([["a", "b"]], dtype=object), "object"),
        (np.zeros((3, 4), dtype=[("x", "f4"), ("y", "f4")]), "('y', '<f4')"),
        (np.zeros((3, 4), np.complex64), "complex64"),
        (np.zeros(5), "(5,)"),
        (np.float64(3), "()"),
    ],
    ids=["texts", "records", "complex", "a row", "a number"],
)
def test_hdf5_datasets_that_are_no_images_are_refused(
    tmp_path: Path, values: Any, look: str
) -> None:
    path = hdf5(tmp_path / "a.h5", values)
    error = refused(open_hdf5, path, axes="yx", dataset="raw")
    assert error.code == "E_NOT_IMAGE"
    assert "an image has two or more axes of numbers" in error.message
    assert look in error.message
    assert "holds 0 datasets that can be an image" in refused(open_hdf5, path).message


def elsewhere(folder: Path, kind: str) -> Path:
    """Write a file whose dataset ``raw`` gets its values from another file."""
    hdf5(folder / "other.h5")
    (folder / "raw.bin").write_bytes(FRAMES.tobytes())
    path = folder / "a.h5"
    with h5py.File(path, "w") as file:
        if kind == "link":
            file["raw"] = h5py.ExternalLink("other.h5", "raw")
        elif kind == "link to a link":
            file["far"] = h5py.ExternalLink("other.h5", "raw")
            file["raw"] = h5py.SoftLink("/far")
        elif kind == "link to a group":
            file["far"] = h5py.ExternalLink("other.h5", "/")
            file["raw"] = h5py.SoftLink("/far/raw")
        elif kind == "raw bytes":
            file.create_dataset("raw", FRAMES.shape, "i2", external=[("raw.bin", 0, FRAMES.nbytes)])
        else:
            virtual = h5py.VirtualLayout(FRAMES.shape, "i2")
            virtual[:] = h5py.VirtualSource("other.h5", "raw", FRAMES.shape)
            file.create_virtual_dataset("raw", virtual)
    return path


@pytest.mark.parametrize(
    "kind", ["link", "link to a link", "link to a group", "raw bytes", "virtual"]
)
def test_no_way_out_of_an_hdf5_file_is_followed(tmp_path: Path, kind: str) -> None:
    error = refused(open_hdf5, elsewhere(tmp_path, kind), axes="tyx", dataset="raw")
    assert error.code == "E_PATH"
    assert "not followed" in error.message


def test_links_within_an_hdf5_file_are_followed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["deep/raw"] = FRAMES
        file["short"] = h5py.SoftLink("/deep/raw")
    for name in ("short", "deep/raw", "/deep/raw", "deep/raw/"):
        image = open_image(tmp_path / "a.h5", axes="tyx", dataset=name)
        np.testing.assert_array_equal(image.read(), FRAMES)


def test_names_that_an_hdf5_file_does_not_hold_are_answered_with_a_list(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for number in range(45):
            file[f"group/part {number:02d}"] = FRAMES
        file["gone"] = h5py.SoftLink("/nothing")
    message = refused(open_hdf5, path, dataset="nix").message
    assert "has no dataset 'nix'; it holds:\n  - group/part 00 (4, 5, 6) int16" in message
    assert message.endswith("and 5 more")
    assert "'group' is a group" in refused(open_hdf5, path, dataset="group").message
    assert "'gone' is a link that leads nowhere" in refused(open_hdf5, path, dataset="gone").message
    assert "holds 45 datasets that can be an image" in refused(open_hdf5, path).message


def test_labels_spacing_and_channels_of_hdf5_are_used(tmp_path: Path) -> None:
    path = hdf5(tmp_path / "a.h5", np.stack([FRAMES, FRAMES + 1]), element_size_um=UM,
                channel_names=np.array([b"GCaMP", b"H2B"]))  # fmt: skip
    with h5py.File(path, "a") as file:
        for axis, label in enumerate(("channel", "z", "y", "x")):
            file["raw"].dims[axis].label = label

    volume = read_volume(path, channel="H2B")

    np.testing.assert_array_equal(volume.values, FRAMES + 1)
    assert [volume.coords[k].values[1] for k in "zyx"] == list(UM)


@pytest.mark.parametrize("labels", ["tyx", 5, np.array([b"t", b"y"]), np.array([b"", b"y", b"x"])],
                         ids=["one text", "a number", "too few", "one empty"])  # fmt: skip
@pytest.mark.parametrize(
    "size", ["1 um", (1.0, 2.0), (1.0, -1.0, 1.0), (1.0, np.nan, 1.0), (1.0, np.inf, 1.0), True]
)
def test_strange_attributes_of_hdf5_are_not_believed(
    tmp_path: Path, labels: Any, size: Any
) -> None:
    path = hdf5(tmp_path / "a.h5", DIMENSION_LABELS=labels, element_size_um=size)
    image = open_image(path, axes="tyx")
    assert image.voxel_um is None
    assert refused(open_hdf5, path).code == "E_AXES"


def test_a_matlab_file_can_hold_an_image(tmp_path: Path) -> None:
    mat73.write(tmp_path / "a.mat", {"movie": FRAMES})
    image = open_image(tmp_path / "a.mat", axes="xyz")
    np.testing.assert_array_equal(image.read(), FRAMES.T)
    np.save(tmp_path / "b.npy", FRAMES)
    with pytest.raises(DataError, match="is not an HDF5 file: it is a numpy array"):
        open_hdf5(tmp_path / "b.npy")


AXES = [("t", "time", "second"), ("z", "space", "micrometer"), ("y", "space", "micrometer"),
        ("x", "space", "micrometer")]  # fmt: skip
MOVIE = np.random.default_rng(1).integers(0, 999, (3, 4, 8, 10)).astype(np.uint16)


def ngff(path: Path, *, zarr_format: Any = 3, ome: Any = None, **changes: Any) -> Path:
    """Write an image of two levels and one label image."""
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    names = ("t", "z", "y", "x") if zarr_format == 3 else None
    for level, pixels in enumerate((MOVIE, MOVIE[:, :, ::2, ::2])):
        made = group.create_array(
            str(level), shape=pixels.shape, chunks=(1, 1, *pixels.shape[2:]), dtype="uint16",
            dimension_names=names,
        )  # fmt: skip
        made[:] = pixels
    label = group.create_group("labels/nuclei")
    label.create_array("0", shape=(4, 8, 10), chunks=(1, 8, 10), dtype="u4")[:] = MOVIE[0]
    levels = [
        {"path": str(k), "coordinateTransformations": [
            {"type": "scale", "scale": [1.0, 5.0, 0.5 * 2**k, 0.25 * 2**k]},
            {"type": "translation", "translation": [0, 0, k, k]}]}
        for k in (0, 1)
    ]  # fmt: skip
    said = {"axes": [{"name": n, "type": t, "unit": u} for n, t, u in AXES], "datasets": levels,
            "coordinateTransformations": [{"type": "scale", "scale": [0.5, 1, 1, 1]}]}  # fmt: skip
    inner = {"version": "0.5", "multiscales": [said | changes]} if ome is None else ome
    group.attrs.update({"ome": inner} if zarr_format == 3 else inner)
    scale = {"type": "scale", "scale": [5000.0, 500.0, 250.0]}
    axes = [{"name": n, "type": "space", "unit": "nanometer"} for n in "zyx"]
    datasets = [{"path": "0", "coordinateTransformations": [scale]}]
    nested = {"multiscales": [{"axes": axes, "datasets": datasets}]}
    label.attrs.update({"ome": nested} if zarr_format == 3 else nested)
    return path


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_levels_and_labels_of_an_ome_zarr_are_found_with_their_scale(
    tmp_path: Path, zarr_format: int
) -> None:
    path = ngff(tmp_path / "a.ome.zarr", zarr_format=zarr_format)

    finest, second = open_image(path), open_image(path, dataset="1")
    label = open_image(path, dataset="labels/nuclei")

    assert (finest.axes, finest.voxel_um, finest.rate_hz) == ("tzyx", UM, 2.0)
    assert (second.axes, second.voxel_um, second.rate_hz) == ("tzyx", (5.0, 1.0, 0.5), 2.0)
    assert (label.axes, label.voxel_um) == ("zyx", UM)
    np.testing.assert_array_equal(finest.read(), MOVIE)
    np.testing.assert_array_equal(second.read(), MOVIE[:, :, ::2, ::2])
    np.testing.assert_array_equal(label.read(), MOVIE[0])
    assert read_movie(path).sizes["time"] == 3


@pytest.mark.parametrize(
    ("unit", "factor"),
    [("micrometer", 1.0), ("nanometer", 1e-3), ("millimeter", 1e3), ("micrometre", 1.0),
     ("meter", 1e6), ("parsec", None), (None, None)],
)  # fmt: skip
def test_units_of_an_ome_zarr_become_micrometres_or_stay_unknown(
    tmp_path: Path, unit: str | None, factor: float | None
) -> None:
    axes = [{"name": name, "unit": unit} for name in "tzyx"]
    image = open_image(ngff(tmp_path / "a.zarr", axes=axes))
    expected = None if factor is None else tuple(step * factor for step in UM)
    assert image.voxel_um == (pytest.approx(expected) if expected else None)
    assert image.rate_hz is None


@pytest.mark.parametrize(
    ("unit", "rate_hz"),
    [("second", 2.0), ("millisecond", 2e3), ("microsecond", 2e6), ("minute", 1 / 30),
     ("hour", 1 / 1800), ("year", None)],
)  # fmt: skip
def test_times_of_an_ome_zarr_become_hertz_or_stay_unknown(
    tmp_path: Path, unit: str, rate_hz: float | None
) -> None:
    axes = [{"name": "t", "unit": unit}, *({"name": name} for name in "zyx")]
    assert open_image(ngff(tmp_path / "a.zarr", axes=axes)).rate_hz == pytest.approx(rate_hz)


def test_names_of_axes_may_be_plain_texts_and_capitals(tmp_path: Path) -> None:
    assert open_image(ngff(tmp_path / "a.zarr", axes=list("tzyx"))).axes == "tzyx"
    capitals = [{"name": name, "unit": "micrometer"} for name in "TZYX"]
    image = open_image(ngff(tmp_path / "b.zarr", axes=capitals))
    assert (image.axes, image.voxel_um) == ("tzyx", UM)
    strange = [{"name": name} for name in "qzyx"]
    error = refused(open_omezarr, ngff(tmp_path / "c.zarr", axes=strange))
    assert error.code == "E_AXES"
    assert open_image(tmp_path / "c.zarr", axes="tzyx").axes == "tzyx"


LEVEL = {"path": "0"}
STRANGE: dict[str, Any] = {
    "axes are a number": {"axes": 5},
    "transformations are null": {"datasets": [LEVEL | {"coordinateTransformations": None}]},
    "a transformation is a text": {"datasets": [LEVEL | {"coordinateTransformations": ["x"]}]},
    "a scale is a number": {
        "datasets": [LEVEL | {"coordinateTransformations": [{"type": "scale", "scale": 5}]}]
    },
    "a scale is texts": {
        "datasets": [LEVEL | {"coordinateTransformations": [{"type": "scale", "scale": [*"abcd"]}]}]
    },
}


@pytest.mark.parametrize("case", STRANGE)
def test_ngff_metadata_of_another_shape_get_a_sentence(tmp_path: Path, case: str) -> None:
    path = ngff(tmp_path / "a.zarr", **STRANGE[case])
    error = refused(open_omezarr, path)
    assert error.code == "E_NOT_IMAGE"
    assert "has NGFF metadata that cannot be read" in error.message
    np.testing.assert_array_equal(open_image(path / "0").read(), MOVIE)


@pytest.mark.parametrize(
    "ome",
    [{"multiscales": None}, {"multiscales": [5]}, {"multiscales": [{"datasets": [7]}]},
     {"multiscales": [{"datasets": LEVEL}]}, [1, 2], "image", {}],
)  # fmt: skip
def test_a_group_without_an_image_lists_what_it_holds(tmp_path: Path, ome: Any) -> None:
    path = ngff(tmp_path / "a.zarr", ome=ome)
    error = refused(open_omezarr, path)
    assert error.code == "E_DATA"
    assert "without an NGFF image" in error.message
    assert "it holds: 0, 1, labels" in error.message


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ({"dataset": "7"}, "E_NOT_IMAGE", "is not a zarr folder"),
        ({"dataset": "labels"}, "E_DATA", "without an NGFF image"),
        ({"dataset": "../b"}, "E_PATH", "'../b' points outside of"),
        ({"dataset": "/etc"}, "E_PATH", "'/etc' points outside of"),
        ({"dataset": "away"}, "E_PATH", "'away' points outside of"),
        ({"axes": "tyx"}, "E_AXES", "names 3 axes, but"),
        ({"channel": "H2B"}, "E_CHANNELS", "no axis of channels"),
    ],
)
def test_what_an_ome_zarr_does_not_hold_is_refused(
    tmp_path: Path, options: dict[str, Any], code: str, words: str
) -> None:
    path = ngff(tmp_path / "a.zarr")
    (tmp_path / "b.zarr").mkdir()
    (path / "away").symlink_to(ngff(tmp_path / "c.zarr"))
    error = refused(open_image, path, **options)
    assert error.code == code
    assert words in error.message


def test_metadata_cannot_lead_out_of_an_ome_zarr(tmp_path: Path) -> None:
    ngff(tmp_path / "secret.zarr")
    datasets = [{"path": "../secret.zarr/0"}]
    assert refused(open_omezarr, ngff(tmp_path / "a.zarr", datasets=datasets)).code == "E_PATH"


def test_damaged_metadata_and_chunks_of_a_zarr_are_named(tmp_path: Path) -> None:
    path = ngff(tmp_path / "a.zarr")
    image = open_image(path)
    chunk = path / "0" / "c" / "1" / "2" / "0" / "0"
    chunk.write_bytes(b"no zstd")

    np.testing.assert_array_equal(image.pixels[:1, :, :, :], MOVIE[:1])
    with pytest.raises(DataError, match="a chunk is damaged") as caught:
        image.read()
    assert caught.value.code == "E_TRUNCATED"
    (path / "zarr.json").write_text('{"zarr_format": 3,')
    assert "damaged metadata" in refused(open_image, path).message
    (path / "0" / "zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "array"}))
    assert refused(open_image, path / "0").code == "E_NOT_IMAGE"


def test_texts_in_a_zarr_are_no_image(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", shape=(3, 4), dtype="M8[s]", chunks=(3, 4))
    error = refused(open_omezarr, tmp_path / "a.zarr", axes="yx")
    assert error.code == "E_NOT_IMAGE"
    assert "not numbers" in error.message


def test_many_chunks_are_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ngff(tmp_path / "a.zarr")
    (path / "0" / "c" / "0" / "0" / "0" / "0").unlink()
    assert "1 of 12 chunk files are absent" in open_image(path).notes[0]
    monkeypatch.setattr("clgkit.io.omezarr.MAX_COUNTED", 11)
    assert open_image(path).notes == ()


@pytest.mark.parametrize("shards", [None, (2, 4, 8, 10)])
def test_chunks_in_shards_are_counted_by_file(tmp_path: Path, shards: Any) -> None:
    made = zarr.create_array(
        tmp_path / "a.zarr", shape=MOVIE.shape, chunks=(1, 1, 8, 10), shards=shards, dtype="u2"
    )
    made[:2] = MOVIE[:2]
    n_files = 2 if shards else 12
    absent = 1 if shards else 4
    note = open_image(tmp_path / "a.zarr", axes="tzyx").notes[0]
    assert f"{absent} of {n_files} chunk files are absent and read as 0" in note


def test_numpy_files_that_are_no_images_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "text.npy", np.array([["a", "b"]]))
    np.save(tmp_path / "records.npy", np.zeros((2, 2), dtype=[("x", "f4")]))
    np.save(tmp_path / "number.npy", np.float32(2))
    np.savez(tmp_path / "two.npz", a=FRAMES, b=FRAMES, c=np.array(["x"]))
    np.savez(tmp_path / "none.npz", c=np.arange(4))
    for name, code, words in (
        ("text.npy", "E_NOT_IMAGE", "holds <U1, not numbers"),
        ("records.npy", "E_NOT_IMAGE", "not numbers"),
        ("number.npy", "E_AXES", "names 3 axes, but"),
        ("two.npz", "E_DATA", "holds 2 arrays that can be an image. Choose one with `dataset`"),
        ("none.npz", "E_DATA", "holds 0 arrays"),
    ):
        error = refused(open_numpy, tmp_path / name, axes="tyx")
        assert error.code == code, name
        assert words in error.message, name
    assert (
        "has no array 'z'; it holds:\n  - a (4, 5, 6) int16"
        in refused(open_numpy, tmp_path / "two.npz", axes="tyx", dataset="z").message
    )
    assert "has no array 'z'" in refused(read_npz, tmp_path / "two.npz", name="z").message
    assert open_image(tmp_path / "two.npz", axes="tyx", dataset="b").shape == FRAMES.shape


def test_an_empty_numpy_array_is_an_empty_image(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((0, 5, 6), np.uint8))
    assert open_image(tmp_path / "a.npy", axes="tyx").read().shape == (0, 5, 6)


@pytest.mark.parametrize("kind", ["header", "member", "directory", "end"])
def test_damage_in_a_numpy_archive_is_loud(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=FRAMES)
    content = bytearray(path.read_bytes())
    start = {"header": 45, "member": 200, "directory": content.rfind(b"PK\x01\x02"), "end": -4}
    for at in range(start[kind], start[kind] + (4 if kind == "end" else 8)):
        content[at] ^= 0xFF
    path.write_bytes(content)
    try:
        read = open_image(path, axes="tyx").read()
    except DataError as error:
        assert error.code in {"E_TRUNCATED", "E_DATA", "E_NOT_IMAGE"}  # noqa: PT017  (loud)
    else:
        np.testing.assert_array_equal(read, FRAMES)


def test_an_archive_that_promises_more_than_it_has_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive, archive.open("a.npy", "w") as member:
        header = {"descr": "<f4", "fortran_order": False, "shape": (10**7, 10**7)}
        np.lib.format.write_array_header_1_0(member, header)
        member.write(bytes(64))
    error = refused(npz_headers, path)
    assert error.code == "E_TRUNCATED"
    assert f"{path}:a is truncated: its header declares 400000000000" in error.message


def test_a_file_that_may_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "a.npy", FRAMES)
    monkeypatch.setattr(os, "access", lambda *_: False)
    error = refused(open_image, tmp_path / "a.npy", axes="tyx")
    assert error.code == "E_PATH"
    assert "permission denied" in error.message


def test_an_image_whose_level_is_a_group_is_refused(tmp_path: Path) -> None:
    path = ngff(tmp_path / "a.zarr", datasets=[{"path": "labels"}])
    error = refused(open_omezarr, path)
    assert error.code == "E_NOT_IMAGE"
    assert "labels is no zarr array" in error.message


def test_hdf5_files_called_mat_have_matlabs_reversed_dimensions(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file["trace"] = FRAMES[0].T
        file["group/inner"] = FRAMES[0]
    np.testing.assert_array_equal(read_traces(tmp_path / "a.mat").trace, FRAMES[0])
    with pytest.raises(DataError, match="'F'; it holds:\n  - group a struct"):
        read_traces(tmp_path / "a.mat", key="F")


def test_matlab_files_of_7_3_hold_texts_and_refuse_what_they_cannot(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'a' holds complex128, which a \.mat file cannot keep"):
        mat73.write(tmp_path / "a.mat", {"a": np.zeros(3, complex)})
    mat73.write(tmp_path / "b.mat", {"trace": FRAMES[0]})
    with h5py.File(tmp_path / "b.mat", "a") as file:
        empty = file.create_dataset("nothing", data=np.array([0, 7], np.uint64))
        empty.attrs.update({"MATLAB_empty": np.uint8(1), "MATLAB_class": np.bytes_("char")})
        odd = file.create_dataset("odd", data=np.zeros(3))
        odd.attrs["MATLAB_class"] = np.bytes_("containers.Map")
    assert mat73.read(tmp_path / "b.mat", "nothing").shape == (0, 7)
    for name, kind in (("nothing", "holds <U1"), ("odd", "is a MATLAB containers.Map")):
        with pytest.raises(DataError, match=kind):
            read_traces(tmp_path / "b.mat", key=name)


@pytest.mark.parametrize("name", ["a.npz", "a.npy"])
def test_arrays_of_objects_are_named_and_never_opened(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    evil = np.array([[print, {}], [1, 2]], dtype=object)
    np.savez(path, evil) if name.endswith("npz") else np.save(path, evil)
    error = refused(open_numpy, path, axes="yx", **({"dataset": "arr_0"} if "npz" in name else {}))
    assert error.code == "E_NOT_IMAGE"
    assert "object" in error.message.lower()


def test_a_public_name_that_does_not_exist_is_an_attribute_error() -> None:
    from clgkit import io

    assert set(dir(io)) == set(io.__all__)
    assert all(callable(getattr(io, name)) for name in io.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'read_anything'"):
        _ = io.read_anything
