"""Folders with one movie per plane, and plane maps."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from clgkit.errors import DataError
from clgkit.io import PlaneMap, open_image, plane_files, read_planemap, write_planemap

PLANES = np.random.default_rng(0).normal(size=(5, 4, 6, 7)).astype(np.float32)


def write(folder: Path, number: int, frames: np.ndarray) -> None:  # type: ignore[type-arg]
    tifffile.imwrite(folder / f"z_{number:02d}.tif", frames, metadata=None, bigtiff=True)


def test_planes_stand_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for at, number in enumerate((2, 9, 10, 100)):
        write(tmp_path, number, PLANES[:, at])
    (tmp_path / "notes.txt").write_text("z_01.tif")

    image = open_image(tmp_path)

    assert image.axes == "tzyx"
    assert [path.name for path in plane_files(tmp_path).values()][-1] == "z_100.tif"
    assert list(plane_files(tmp_path)) == [1, 8, 9, 99]
    np.testing.assert_array_equal(image.read(), PLANES)
    read = image.pixels[1:5:2, 2:4, 3:, ::2]
    np.testing.assert_array_equal(read, PLANES[1:5:2, 2:4, 3:, ::2])


def test_absent_planes_are_named(tmp_path: Path) -> None:
    for number in (2, 3, 5):
        write(tmp_path, number, PLANES[:, 0])
    assert open_image(tmp_path).missing == (3,)


def test_the_denoised_names_of_the_original_are_read(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "denoised_z_02.tif", PLANES[:, 0], metadata=None)
    assert open_image(tmp_path).shape == (5, 1, 6, 7)


def test_one_frame_per_plane_is_a_movie_of_one_frame(tmp_path: Path) -> None:
    for number in (1, 2):
        write(tmp_path, number, PLANES[0, number])
    np.testing.assert_array_equal(open_image(tmp_path).read(), PLANES[:1, 1:3])


def test_plane_zero_and_doubled_planes_are_refused(tmp_path: Path) -> None:
    write(tmp_path, 0, PLANES[:, 0])
    write(tmp_path, 1, PLANES[:, 0])
    tifffile.imwrite(tmp_path / "z_1.tif", PLANES[:, 0])
    with pytest.raises(DataError, match=r"z_00\.tif, z_01\.tif, z_1\.tif"):
        plane_files(tmp_path)


def test_a_folder_without_planes_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="z_02") as caught:
        open_image(tmp_path)
    assert caught.value.code == "E_NOT_IMAGE"


def planemap(tmp_path: Path, text: str | bytes, **sizes: int) -> PlaneMap:
    path = tmp_path / "map.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_planemap(path, **sizes)


def problem(tmp_path: Path, text: str | bytes, **sizes: int) -> str:
    with pytest.raises(DataError) as caught:
        planemap(tmp_path, text, **sizes)
    assert caught.value.exit_code == 3
    return caught.value.message


def test_the_published_map_is_counted_from_zero_inside(tmp_path: Path) -> None:
    found = planemap(tmp_path, "2-85\n3-92\n4-99\n5-106\n6-111\n")
    assert found.plane.tolist() == [1, 2, 3, 4, 5]
    assert found.slice.tolist() == [84, 91, 98, 105, 110]
    assert found.plane.dtype == found.slice.dtype == np.int64
    assert found.notes == ()


@pytest.mark.parametrize(
    "text",
    [
        b"2-85\r\n3-92\r\n",
        b"\xef\xbb\xbf2-85\n3-92",
        "\n\n 2 - 85 \n\t3-92\n\n",
        "3-92\n2-85\n",
        "# functional-structural\n2-85  # first\n3-92\n",
    ],
    ids=["CRLF", "byte-order mark", "blanks", "any order", "comments"],
)
def test_harmless_variants_are_accepted(tmp_path: Path, text: str | bytes) -> None:
    found = planemap(tmp_path, text)
    assert (found.plane.tolist(), found.slice.tolist()) == ([1, 2], [84, 91])
    assert found.notes == ()


@pytest.mark.parametrize("dash", ["\u2013", "\u2014", "\u2212"])
def test_other_dashes_are_accepted_and_told(tmp_path: Path, dash: str) -> None:
    found = planemap(tmp_path, f"2{dash}85\n3-92\n")
    assert found.slice.tolist() == [84, 91]
    assert "1 line(s) with another dash" in found.notes[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2-85\n2-90\n", "line 2 ('2-90'): plane 2 stands already on line 1"),
        ("2-0\n", "slice 0 does not exist"),
        ("0-5\n", "plane 0 does not exist"),
        ("2-85-1\n", "3 fields, not two"),
        ("2-85.5\n", "fractions"),
        ("2-\n", "a number is absent"),
        ("2\n", "one field"),
        ("-3-5\n", "a number is absent"),
        ("FuncSlice-StructSlice\n2-85\n", "line 1 ('FuncSlice-StructSlice'): these are not two"),
        ("2-85\n3-80\n4-90\n", "slices must go one way"),
        ("2-85\n3-85\n", "slices must go one way"),
        ("", "names no plane"),
        (b"\xff\xfe\x00", "no text"),
    ],
)
def test_every_wrong_line_gets_a_sentence(tmp_path: Path, text: str | bytes, words: str) -> None:
    assert words in problem(tmp_path, text)


def test_positions_beyond_the_stack_are_refused(tmp_path: Path) -> None:
    assert "beyond the stack of 84 slices" in problem(tmp_path, "2-85\n", n_slices=84)
    assert "beyond the movie of 1 planes" in problem(tmp_path, "2-85\n", n_planes=1)
    assert planemap(tmp_path, "2-85\n", n_slices=85, n_planes=2).slice.tolist() == [84]


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    message = problem(tmp_path, "2-85\nx-1\n3-0\n2-9\n", n_slices=50)
    assert [word in message for word in ("line 1", "line 2", "line 3", "line 4")] == [True] * 4


def test_descending_slices_are_a_way_too(tmp_path: Path) -> None:
    assert planemap(tmp_path, "1-9\n2-5\n3-1\n").slice.tolist() == [8, 4, 0]


def test_uneven_spacing_is_told(tmp_path: Path) -> None:
    notes = planemap(tmp_path, "1-10\n2-15\n3-20\n4-40\n6-50\n").notes
    assert len(notes) == 1
    assert "from plane 3 to 4" in notes[0]
    assert "by 20 per plane, where 5 is usual" in notes[0]


def test_a_written_map_reads_back(tmp_path: Path) -> None:
    made = PlaneMap(np.array([1, 2, 5]), np.array([84, 91, 110]))
    write_planemap(tmp_path / "map.txt", made)
    assert (tmp_path / "map.txt").read_text() == "2-85\n3-92\n6-111\n"
    again = read_planemap(tmp_path / "map.txt")
    np.testing.assert_array_equal(again.plane, made.plane)
    np.testing.assert_array_equal(again.slice, made.slice)
