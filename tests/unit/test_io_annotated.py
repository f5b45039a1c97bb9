"""Folders of annotated images: what is read, what is left out, what is refused."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from clgkit.errors import DataError
from clgkit.io.annotated import read_annotated_folder
from tests.unit.annotated_scene import scene, write_pair, write_seg, write_slices


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_slices(tmp_path / "annotated", 3)


def refused(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_annotated_folder(folder)
    return caught.value.message


def test_slices_are_read(folder: Path) -> None:
    found = read_annotated_folder(folder)

    assert [stack.name for stack in found.stacks] == ["s0.tif", "s1.tif", "s2.tif"]
    assert found.dropped == ()
    first = found.stacks[0]
    assert first.image.shape == (1, 64, 64)
    np.testing.assert_array_equal(first.planes[0], scene().labels[3])
    assert first.n_labels == len(np.unique(scene().labels[3])) - 1


def test_a_stack_holds_its_labelled_slices(tmp_path: Path) -> None:
    made = scene()
    labels = np.zeros_like(made.labels)
    labels[[2, 7]] = made.labels[[2, 7]]
    write_pair(tmp_path / "f", "fish", made.image, labels)

    (stack,) = read_annotated_folder(tmp_path / "f").stacks

    assert stack.image.shape == (12, 64, 64)
    assert sorted(stack.planes) == [2, 7]


def test_labels_of_cellpose_s_window_are_read(folder: Path) -> None:
    masks = scene().labels[3].astype(np.uint16)
    (folder / "s0_masks.tif").unlink()
    write_seg(folder / "s0_seg.npy", {"masks": masks, "filename": "s0.tif"})

    first = read_annotated_folder(folder).stacks[0]

    np.testing.assert_array_equal(first.planes[0], masks)


def test_a_seg_that_could_run_a_program_is_not_opened(folder: Path) -> None:
    (folder / "s0_masks.tif").unlink()
    write_seg(folder / "s0_seg.npy", {"masks": np.ones((64, 64)), "path": Path("x")})

    assert "cannot be trusted" in refused(folder)


def test_what_cellpose_derived_is_no_image(folder: Path) -> None:
    for name in ("s0_flows.tif", "s0_cp_output.png", ".hidden.tif"):
        (folder / name).write_bytes(b"anything")

    assert len(read_annotated_folder(folder).stacks) == 3


def test_filters_tell_images_from_labels(tmp_path: Path) -> None:
    made = scene()
    tifffile.imwrite(tmp_path / "a_img.tif", made.image[5])
    tifffile.imwrite(tmp_path / "a_cells.tif", made.labels[5].astype(np.uint16))
    tifffile.imwrite(tmp_path / "a_other.tif", made.image[5])

    found = read_annotated_folder(tmp_path, image_filter="_img", mask_filter="_cells")

    assert [stack.name for stack in found.stacks] == ["a_img.tif"]


def test_every_image_left_out_is_named_with_the_reason(folder: Path) -> None:
    made = scene()
    tifffile.imwrite(folder / "alone.tif", made.image[5])
    few = np.where(made.labels[5] == made.labels[5].max(), 1, 0)
    write_pair(folder, "few", made.image[5], few)
    write_pair(folder, "nothing", made.image[5], np.zeros((64, 64)))

    found = read_annotated_folder(folder)

    assert found.dropped == (
        "alone.tif: there are no labels (alone_masks.tif)",
        "few.tif: it has 1 labels, fewer than 5",
        "nothing.tif: nothing_masks.tif is empty, nothing is labelled",
    )


def test_a_folder_without_pairs_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", scene().image[5])

    message = refused(tmp_path)

    assert "no annotated image" in message
    assert "a.tif: there are no labels" in message


def test_masks_that_are_all_empty_are_refused(tmp_path: Path) -> None:
    write_pair(tmp_path / "f", "a", scene().image[5], np.zeros((64, 64)))

    assert "a_masks.tif is empty" in refused(tmp_path / "f")


def test_labels_of_another_shape_are_refused(folder: Path) -> None:
    tifffile.imwrite(folder / "s1_masks.tif", np.ones((60, 64), np.uint16))

    assert "s1_masks.tif has shape (60, 64), its image s1.tif (64, 64)" in refused(folder)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_an_image_in_place_of_labels_is_refused(folder: Path, dtype: type) -> None:
    noise = np.random.default_rng(0).integers(1, 200, (64, 64))
    tifffile.imwrite(folder / "s1_masks.tif", noise.astype(dtype))

    assert "s1_masks.tif looks like an image" in refused(folder)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (np.full((64, 64), 0.5, np.float32), "fractions"),
        (np.full((64, 64), -1, np.int16), "between 0"),
        (np.ones((64, 64, 3), np.uint8), "s1_masks.tif"),
    ],
)
def test_labels_that_are_none_are_refused(folder: Path, labels: np.ndarray, sentence: str) -> None:
    tifffile.imwrite(folder / "s1_masks.tif", labels)

    assert sentence in refused(folder)


def test_two_images_of_one_name_are_refused(folder: Path) -> None:
    (folder / "s1.png").write_bytes(b"another")

    assert "images with one name have the same masks: s1.png, s1.tif" in refused(folder)


def test_all_faults_are_told_at_once(folder: Path) -> None:
    for k in (0, 2):
        tifffile.imwrite(folder / f"s{k}_masks.tif", np.ones((60, 64), np.uint16))

    message = refused(folder)

    assert "s0_masks.tif" in message
    assert "s2_masks.tif" in message


def test_images_too_small_for_the_network_are_refused(tmp_path: Path) -> None:
    write_pair(tmp_path / "f", "a", np.ones((12, 40)), np.ones((12, 40)))

    assert "at least 16 wide" in refused(tmp_path / "f")


def test_a_picture_in_colours_is_no_channel(folder: Path) -> None:
    colours = np.dstack([scene().image[3]] * 3).astype(np.uint8)
    tifffile.imwrite(folder / "s0.tif", colours, photometric="rgb")

    assert "s0.tif is no slice or stack of one channel" in refused(folder)


def test_a_file_that_breaks_off_is_refused(folder: Path) -> None:
    whole = (folder / "s0.tif").read_bytes()
    (folder / "s0.tif").write_bytes(whole[: len(whole) // 2])

    assert "s0.tif" in refused(folder)


def test_a_file_is_no_folder(folder: Path) -> None:
    assert "is a file" in refused(folder / "s0.tif")
    assert "nowhere" in refused(folder / "nowhere")
