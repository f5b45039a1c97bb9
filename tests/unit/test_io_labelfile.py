"""Labels made elsewhere: what is read, and what is refused in one sentence."""

import io
import os
import pickle
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
import zarr

from clgkit.errors import DataError
from clgkit.io.labelfile import natural_order, open_labels, open_volume, read_seg

Array = npt.NDArray[Any]


def labels(shape: tuple[int, ...] = (3, 20, 24)) -> Array:
    made = np.zeros(shape, np.uint16)
    made[..., 2:5, 3:7], made[..., 8:12, 1:4] = 7, 65_535
    return made


def write_seg(path: Path, content: object) -> Path:
    with path.open("wb") as file:
        np.save(file, np.array(content, dtype=object), allow_pickle=True)
    return path


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("bombed",))


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.tif", "a.zarr", "a_seg.npy"])
@pytest.mark.parametrize("dtype", ["uint16", "int64", "float32"])
def test_labels_of_any_format_are_read_slice_by_slice(
    tmp_path: Path, name: str, dtype: str
) -> None:
    path, values = tmp_path / name, labels().astype(dtype)
    if name == "a.npy":
        np.save(path, values)
    elif name == "a.npz":
        np.savez(path, masks=values)
    elif name == "a.tif":
        tifffile.imwrite(path, values, photometric="minisblack")
    elif name == "a.zarr":
        zarr.save_array(path, values)
    else:
        write_seg(path, {"masks": values, "filename": "a.tif", "est_diam": 12.5})

    stack = open_labels(path)

    assert (stack.shape, len(stack), stack.separate) == ((3, 20, 24), 3, False)
    for z, plane in enumerate(stack):
        assert plane.dtype == np.uint32
        np.testing.assert_array_equal(plane, values[z])


def test_a_folder_of_masks_is_read_in_natural_order(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        plane = np.full((20, 24), number, np.uint8)
        tifffile.imwrite(tmp_path / f"m{number}_masks.tif", plane)
    (tmp_path / "m11.png").write_bytes(imagecodecs.png_encode(np.full((20, 24), 11, np.uint16)))
    np.save(tmp_path / "m12.npy", np.full((20, 24), 12))
    write_seg(tmp_path / "m13_seg.npy", {"masks": np.full((20, 24), 13, np.uint16)})
    (tmp_path / "notes.txt").write_text("no mask")

    stack = open_labels(tmp_path)

    assert stack.separate
    assert [int(plane[0, 0]) for plane in stack] == [1, 2, 10, 11, 12, 13]
    everything = (slice(None),) * 3
    assert np.asarray(stack.image.pixels[everything]).shape == (6, 20, 24)
    assert np.asarray(stack.image.pixels[(slice(2, 2), *everything[1:])]).shape == (0, 20, 24)


def test_numbers_in_names_are_sorted_by_value() -> None:
    names = ["z10.tif", "z9.tif", "Z1.tif", "a2b10.tif", "a2b9.tif", "z.tif", "01.tif", "1.tif"]

    found = [path.name for path in natural_order([Path(name) for name in names])]

    assert found == [
        "01.tif", "1.tif", "a2b9.tif", "a2b10.tif", "Z1.tif", "z9.tif", "z10.tif", "z.tif",
    ]  # fmt: skip


def test_a_single_slice_is_read_and_told(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", labels((20, 24)))

    stack = open_labels(tmp_path / "a.npy")

    assert stack.shape == (1, 20, 24)
    assert "single slice" in " ".join(stack.image.notes)
    np.testing.assert_array_equal(stack.plane(0), labels((20, 24)))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (labels() + 0.5, "these have fractions or NaN"),
        (labels().astype(float) * np.nan, "these have fractions or NaN"),
        (labels().astype(np.int32) - 1, "go from -1 to"),
        (labels().astype(np.int64) << 20, r"go from 0 to 687\d+"),
    ],
)
def test_what_is_no_label_is_said_with_its_slice(
    tmp_path: Path, values: Array, sentence: str
) -> None:
    np.save(tmp_path / "a.npy", values)

    with pytest.raises(DataError, match=rf"a.npy, slice 2: Labels must .*{sentence}") as caught:
        open_labels(tmp_path / "a.npy").plane(2)

    assert caught.value.code == "E_SHAPE"


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.npy"])
def test_a_picture_in_colours_is_refused(tmp_path: Path, name: str) -> None:
    picture, path = np.zeros((40, 30, 3), np.uint8), tmp_path / name
    if name == "a.tif":
        tifffile.imwrite(path, picture, photometric="rgb")
    elif name == "a.png":
        path.write_bytes(imagecodecs.png_encode(picture))
    else:
        np.save(path, picture)

    with pytest.raises(DataError, match=r"picture in colours \(RGB, shape \(40, 30, 3\)\)"):
        open_labels(path)


def test_a_seg_file_gives_masks_name_and_diameter(tmp_path: Path) -> None:
    content = {
        "masks": labels(), "outlines": labels() > 3, "filename": "fish.tif", "est_diam": np.nan,
        "diameter": np.float64(17.0), "flows": [np.zeros(3), [np.zeros((2, 2))]], "ismanual": None,
    }  # fmt: skip

    found = read_seg(write_seg(tmp_path / "a_seg.npy", content))

    assert sorted(found) == ["diameter", "filename", "masks"]
    assert (found["filename"], found["diameter"]) == ("fish.tif", 17.0)
    np.testing.assert_array_equal(found["masks"], labels())


def test_a_seg_file_of_an_older_numpy_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a_seg.npy"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|O", "fortran_order": False, "shape": ()}
    )
    content = np.array({"masks": labels()}, dtype=object)
    # Protocol 3 has no frames, so a name can be exchanged for one of another length.
    pickled = pickle.dumps(content, 3).replace(b"cnumpy._core.", b"cnumpy.core.")
    path.write_bytes(header.getvalue() + pickled)

    np.testing.assert_array_equal(read_seg(path)["masks"], labels())


@pytest.mark.parametrize("content", [Bomb(), {"masks": Bomb()}, {"masks": labels(), "x": [Bomb()]}])
def test_a_seg_file_that_would_run_a_program_is_refused_by_name(
    tmp_path: Path, content: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_seg(tmp_path / "a_seg.npy", content)

    with pytest.raises(DataError, match=r"cannot be trusted: it names \w+\.mkdir") as caught:
        open_labels(path)

    assert caught.value.code == "E_NOT_IMAGE"
    assert not (tmp_path / "bombed").exists()


@pytest.mark.parametrize(
    "name", ["builtins.eval", "builtins.getattr", "numpy.load", "numpy.core.multiarray.fromstring",
             "numpy._core.multiarray.scalar.__class__", "os.system", "copyreg._reconstructor"],
)  # fmt: skip
def test_no_other_function_can_be_named(tmp_path: Path, name: str) -> None:
    module, _, function = name.rpartition(".")
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": "|O", "fortran_order": False, "shape": ()}
    )
    stream.write(b"c" + module.encode() + b"\n" + function.encode() + b"\n.")
    path = tmp_path / "a_seg.npy"
    path.write_bytes(stream.getvalue())

    with pytest.raises(DataError, match="which is no array of numbers"):
        read_seg(path)


def test_damaged_seg_files_are_refused_in_a_sentence(tmp_path: Path) -> None:
    path = write_seg(tmp_path / "a_seg.npy", {"masks": labels()})
    whole = path.read_bytes()
    for stop in (0, 5, 60, 200, len(whole) - 40):
        path.write_bytes(whole[:stop])
        with pytest.raises(DataError):
            read_seg(path)
    np.save(path, labels())
    with pytest.raises(DataError, match=r"plain array and no _seg\.npy"):
        read_seg(path)
    for content in ({"flows": 3}, {"masks": "none"}, [1, 2], {"masks": np.array(["a"])}):
        with pytest.raises(DataError, match="holds no masks"):
            read_seg(write_seg(path, content))


def test_folders_that_are_no_stack_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no masks"):
        open_labels(tmp_path)
    tifffile.imwrite(tmp_path / "a1.tif", np.zeros((20, 24), np.uint8))
    tifffile.imwrite(tmp_path / "a2.tif", np.zeros((20, 23), np.uint8))
    with pytest.raises(DataError, match=r"a2\.tif has shape \(20, 23\), the first mask"):
        open_labels(tmp_path).plane(1)
    np.save(tmp_path / "a0.npy", labels())
    with pytest.raises(DataError, match="has 3 slices; in a folder"):
        open_labels(tmp_path)


def test_axes_that_cannot_be_labels_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 3, 20, 24), np.uint8))
    with pytest.raises(DataError, match="names 3 axes"):
        open_labels(tmp_path / "a.npy")
    with pytest.raises(DataError, match="labels have z, y and x"):
        open_labels(tmp_path / "a.npy", axes="tzyx")
    with pytest.raises(DataError, match="labels have z, y"):
        open_labels(write_seg(tmp_path / "b_seg.npy", {"masks": np.zeros((2, 2, 2, 2))}))
    (tmp_path / "c.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 50)
    with pytest.raises(DataError, match="damaged PNG"):
        open_labels(tmp_path / "c.png")
    with pytest.raises(DataError, match="There is no file"):
        open_labels(tmp_path / "none.tif")


def test_a_time_axis_of_one_and_other_orders_are_put_right(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", labels().transpose(1, 0, 2)[None])

    stack = open_labels(tmp_path / "a.npy", axes="tyzx")

    assert stack.shape == (3, 20, 24)
    np.testing.assert_array_equal(stack.plane(1), labels()[1])


def test_the_image_of_labels_is_opened_with_the_same_guesses(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", labels() * 0.5)

    image = open_volume(tmp_path / "a.npy")

    assert (image.axes, image.shape) == ("zyx", (3, 20, 24))
