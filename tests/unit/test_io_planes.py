"""Folders with one movie per plane, and plane maps."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from clgkit.errors import DataError
from clgkit.io import (
    PlaneMap,
    open_image,
    plane_files,
    read_labels,
    read_movie,
    read_planemap,
    read_volume,
    write_planemap,
    write_tiff,
)
from clgkit.io.planefolder import open_planes

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


def test_a_slice_serves_two_planes_only_if_the_user_says_so(tmp_path: Path) -> None:
    path = tmp_path / "map.txt"
    path.write_text("1-20\n2-20\n3-9\n5-20\n")

    with pytest.raises(DataError, match="slices must go one way") as caught:
        read_planemap(path)
    assert 'say order = "free" in [align_planes] (--order free)' in caught.value.message

    found = read_planemap(path, any_order=True)
    assert found.slice.tolist() == [19, 19, 8, 19]
    assert found.notes == (f"{path}: planes 1, 2, 5 are one slice, 20",)


def test_any_order_is_no_excuse_for_a_wrong_line(tmp_path: Path) -> None:
    path = tmp_path / "map.txt"
    path.write_text("1-20\n1-21\n2-900\n")

    with pytest.raises(DataError) as caught:
        read_planemap(path, any_order=True, n_slices=84)
    assert "plane 1 stands already on line 1" in caught.value.message
    assert "slice 900 lies beyond the stack" in caught.value.message
    assert "order =" not in caught.value.message


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


UM = (6.0, 0.8, 0.8)


def test_names_are_told_by_their_number_whatever_their_case_and_folder(tmp_path: Path) -> None:
    folder = tmp_path / "Ebenen mit ä und 空"
    folder.mkdir()
    names = ["Z_02.TIF", "z_3.tiff", "denoised_z_0010.tif", "z_100.tif"]
    for at, name in enumerate(names):
        tifffile.imwrite(folder / name, PLANES[:, at], metadata=None)
    for name in ("._z_02.tif", "z_04.tif.bak", "az_05.tif", "z_-6.tif", "z_7.tif.tmp", "z_.tif"):
        (folder / name).write_bytes(b"not a plane")

    assert list(plane_files(folder)) == [1, 2, 9, 99]
    np.testing.assert_array_equal(open_image(folder).read(), PLANES)


@pytest.mark.parametrize("twins", [("z_2.tif", "z_02.tif"), ("z_02.tif", "z_02.tiff"),
                                   ("z_02.tif", "denoised_z_02.tif")])  # fmt: skip
def test_two_files_of_one_plane_are_both_named(tmp_path: Path, twins: tuple[str, str]) -> None:
    for name in twins:
        tifffile.imwrite(tmp_path / name, PLANES[:, 0])
    with pytest.raises(DataError, match="each has one file; these files break that") as caught:
        plane_files(tmp_path)
    assert caught.value.code == "E_PATH"
    assert all(name in caught.value.message for name in twins)


def test_a_folder_in_the_place_of_a_plane_is_named(tmp_path: Path) -> None:
    write(tmp_path, 1, PLANES[:, 0])
    (tmp_path / "z_02.tif").mkdir()
    with pytest.raises(DataError, match=r"z_02\.tif is a folder, not a file"):
        open_image(tmp_path)


def test_colours_are_no_plane(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "z_01.tif", np.zeros((4, 6, 7, 3), np.uint8), photometric="rgb")
    with pytest.raises(DataError) as caught:
        open_image(tmp_path)
    assert caught.value.code == "E_AXES"


def test_spacing_rate_and_gaps_of_planes_reach_the_movie(tmp_path: Path) -> None:
    for number in (2, 5):
        path = tmp_path / f"z_{number:02d}.tif"
        write_tiff(path, PLANES[:, 0], axes="tyx", voxel_um=UM, rate_hz=4.0)

    movie = read_movie(tmp_path)

    assert movie.attrs["missing_planes"] == [2, 3]
    assert movie.attrs["source"] == str(tmp_path)
    assert movie.coords["time"].values[1] == 0.25
    assert movie.coords["z"].values.tolist() == [0.0, 6.0]
    assert "notes" not in movie.attrs


@pytest.fixture
def uneven(tmp_path: Path) -> Path:
    """A folder of three planes; the second is cut in its last frame, the third has one less."""
    for plane, n_frames in ((1, 5), (2, 5), (3, 4)):
        path = tmp_path / f"z_{plane:02d}.tif"
        frames = PLANES[:n_frames, plane]
        tifffile.imwrite(path, frames, metadata=None, compression="zlib", photometric="minisblack")
    second = tmp_path / "z_02.tif"
    with tifffile.TiffFile(second) as file:
        page = file.pages[-1]
        start, size = page.dataoffsets[0], page.databytecounts[0]
    content = bytearray(second.read_bytes())
    content[start : start + size] = bytes(size)
    second.write_bytes(content)
    return tmp_path


def test_a_movie_is_salvaged_and_trimmed_on_request_and_says_so(uneven: Path) -> None:
    facts: dict[str, Any] = {"rate_hz": 1.0, "voxel_um": UM}
    for read in (open_planes, open_image):
        with pytest.raises(DataError, match="declared 5 frames, 4 readable"):
            read(uneven)
        with pytest.raises(DataError, match="different numbers of frames"):
            read(uneven, salvage=True)
    with pytest.raises(DataError, match="declared 5 frames, 4 readable"):
        read_movie(uneven, **facts)
    with pytest.raises(
        DataError, match=r"z_01\.tif: 5 frames\nUse the shortest with trim = true"
    ) as caught:
        read_movie(uneven, salvage=True, **facts)
    assert caught.value.code == "E_TIMING"

    movie = read_movie(uneven, salvage=True, trim=True, **facts)

    np.testing.assert_array_equal(movie.values, PLANES[:4, 1:4])
    notes = movie.attrs["notes"]
    assert notes[0] == "z_02.tif: salvaged: declared 5 frames, 4 readable"
    assert notes[1] == "trimmed to 4 frames; 1 of 3 planes had more"


def test_volumes_and_labels_are_salvaged_on_request(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    stack = np.arange(5 * 30 * 40, dtype=np.uint32).reshape(5, 30, 40)
    tifffile.imwrite(path, stack, metadata={"axes": "ZYX"})
    with tifffile.TiffFile(path) as file:
        start = file.series[0].dataoffset
    path.write_bytes(path.read_bytes()[: start + 3 * 4800 + 50])
    for read in (read_volume, read_labels):
        with pytest.raises(DataError, match="declared 5 frames, 3 readable"):
            read(path, axes="zyx", voxel_um=UM)
        made = read(path, axes="zyx", voxel_um=UM, salvage=True)
        np.testing.assert_array_equal(made.values, stack[:3])
        assert "3 readable" in made.attrs["notes"][0]


def test_one_time_point_of_every_plane_is_a_volume(tmp_path: Path) -> None:
    for number, n_frames in ((1, 1), (2, 2)):
        frames = PLANES[:n_frames, number] if n_frames > 1 else PLANES[0, number]
        write(tmp_path, number, frames)
    with pytest.raises(DataError, match="different numbers of frames"):
        read_volume(tmp_path, voxel_um=UM)
    np.testing.assert_array_equal(
        read_volume(tmp_path, voxel_um=UM, trim=True).values, PLANES[0, 1:3]
    )


@pytest.mark.parametrize(
    ("text", "planes", "slices"),
    [
        ("1-99999999\n", [0], [99_999_998]),
        ("\u0662-\u0668\u0665\n", [1], [84]),
        ("10-20\n9-18\n2-4\n", [1, 8, 9], [3, 17, 19]),
        ("  # nothing but a comment\n7 - 8 # and one more\n", [6], [7]),
    ],
    ids=["far away", "Arabic digits", "numbers, not texts, are sorted", "comments"],
)
def test_unusual_maps_are_read_right(
    tmp_path: Path, text: str, planes: list[int], slices: list[int]
) -> None:
    found = planemap(tmp_path, text)
    assert (found.plane.tolist(), found.slice.tolist()) == (planes, slices)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1-99999999999999999999\n", "a number has more than nine digits"),
        (f"1-{'9' * 6000}\n", "more than nine digits"),
        ("1.5-85\n", "fractions are not planes"),
        ("1,5-85\n", "fractions are not planes"),
        ("a-b\n", "these are not two whole numbers"),
        ("1:85\n", "one field, not two"),
        ("-\n", "a number is absent"),
        ("1-85\n1\u201390\n", "plane 1 stands already on line 1"),
        ("1-5\n2-6\n3-6\n", "plane 2 shows slice 6, plane 3 slice 6"),
        ("1-9\n2-8\n3-7\n4-10\n", "line 4: slices must go one way"),
        ("# only a comment\n", "it names no plane"),
    ],
)
def test_more_wrong_lines_get_a_sentence_of_bounded_length(
    tmp_path: Path, text: str, words: str
) -> None:
    message = problem(tmp_path, text)
    assert words in message
    assert "wanted are lines such as 2-85" in message
    assert len(message) < 600


def test_a_map_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no file") as caught:
        read_planemap(tmp_path / "absent.txt")
    assert caught.value.code == "E_PATH"
    with pytest.raises(DataError, match="a folder, not a file"):
        read_planemap(tmp_path)
    assert "or above 1 MB" in problem(tmp_path, "# " + "x" * (1 << 20))


@pytest.mark.parametrize(
    ("text", "notes"),
    [("1-5\n2-10\n3-15\n", 0), ("1-5\n2-10\n3-15\n4-26\n", 1), ("1-5\n3-15\n9-45\n10-50\n", 0),
     ("1-10\n2-20\n3-24\n4-34\n", 1)],
    ids=["too few to judge", "twice as far", "absent planes are counted in", "half as far"],
)  # fmt: skip
def test_only_spacing_far_from_the_usual_is_told(tmp_path: Path, text: str, notes: int) -> None:
    assert len(planemap(tmp_path, text).notes) == notes
