"""Weights and training folders of Cellpose: what is read, what is refused, what is left out."""

import builtins
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from clgkit.errors import DataError, MissingDependency, StoreError
from clgkit.io.cellpose import (
    read_cellpose_weights,
    read_training_folder,
    write_cellpose_weights,
)
from tests.unit.cellpose_scene import disks, random_state, tiny_network, write_slices

torch = pytest.importorskip("torch", reason="weights of Cellpose need torch")


def save(path: Path, state: Any, **options: Any) -> Path:
    torch.save(state, path, **options)
    return path


def tensors(state: dict[str, Any] | None = None) -> dict[str, Any]:
    given = random_state() if state is None else state
    return {name: torch.from_numpy(np.asarray(value)) for name, value in given.items()}


def refusal(path: Path, code: str = "E_NOT_IMAGE") -> str:
    with pytest.raises(DataError) as caught:
        read_cellpose_weights(path)
    assert caught.value.code == code
    assert "\n" not in caught.value.message
    assert str(path) in caught.value.message
    return caught.value.message


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_weights_come_back_as_arrays(tmp_path: Path, zipped: Any) -> None:
    path = save(tmp_path / "model", tensors(), _use_new_zipfile_serialization=zipped)

    read = read_cellpose_weights(path)

    assert read.notes == ()
    for name, value in random_state().items():
        np.testing.assert_array_equal(read.state[name], value)


def test_half_and_double_precision_become_single(tmp_path: Path) -> None:
    path = save(tmp_path / "m.pth", {"a": torch.ones(2).half(), "b": torch.ones(2).double()})

    state = read_cellpose_weights(path).state

    assert {value.dtype for value in state.values()} == {np.dtype(np.float32)}


def test_a_style_that_was_off_is_told_from_the_name(tmp_path: Path) -> None:
    path = save(tmp_path / "cellpose_residual_on_style_off_concatenation_off", tensors())

    assert "style_off" in read_cellpose_weights(path).notes[0]


@pytest.mark.parametrize(
    ("notes", "told"),
    [
        ('{"channels": [2, 1]}', True),
        ('{"channels": [0, 0]}', False),
        ('{"channels": "?"}', False),
        ("[]", False),
        ("no json", False),
    ],
)
def test_a_second_channel_that_was_learnt_from_is_told(
    tmp_path: Path, notes: str, *, told: bool
) -> None:
    path = save(tmp_path / "two.pth", tensors())
    (tmp_path / "two.pth.json").write_text(notes)

    found = read_cellpose_weights(path).notes

    assert any("trained with channel 1 beside the nuclei" in note for note in found) is told


def test_there_is_no_such_file(tmp_path: Path) -> None:
    refusal(tmp_path / "absent", "E_PATH")
    refusal(tmp_path, "E_PATH")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n", "Git LFS pointer"),
        (b"Not found\n", "a text file"),
        (b"<!doctype html><html></html>", "web page"),
        (b"", "empty"),
        (b"\x93NUMPY\x01\x00", "a numpy array"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (bytes(range(200, 256)) * 9, "no format that clgkit knows"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(content)

    assert words in refusal(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_told(tmp_path: Path, share: float) -> None:
    path = save(tmp_path / "model.pth", tensors())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])

    assert "truncated" in refusal(path, "E_TRUNCATED")


def test_a_damaged_tensor_is_told(tmp_path: Path) -> None:
    path = save(tmp_path / "model.pth", {"a": torch.arange(5000.0)})
    content = bytearray(path.read_bytes())
    content[: len(content) // 2] = bytes(len(content) // 2)
    content[:4] = b"PK\x03\x04"
    path.write_bytes(bytes(content))

    refusal(path, "E_TRUNCATED")


class Harmful:
    """Would run a program when it is unpickled."""

    def __reduce__(self) -> Any:
        return (print, ("this must never be printed",))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_nothing_in_the_file_is_executed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], zipped: Any
) -> None:
    path = save(tmp_path / "model.pth", {"a": Harmful()}, _use_new_zipfile_serialization=zipped)

    refusal(path, "E_TRUNCATED")

    assert not capsys.readouterr().out


def test_a_bare_pickle_is_not_executed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(pickle.dumps({"a": Harmful()}))

    refusal(path, "E_TRUNCATED")

    assert not capsys.readouterr().out


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, {"a": {"b": 1}}])
def test_a_file_without_a_bare_state_dict_is_refused(tmp_path: Path, content: Any) -> None:
    message = refusal(save(tmp_path / "model.pth", content), "E_DATA")

    assert "Save the state dict alone" in message


@pytest.mark.parametrize("key", ["W2", "encoder.pos_embed"])
def test_weights_of_cellpose_4_are_named(tmp_path: Path, key: str) -> None:
    assert "Cellpose 4" in refusal(save(tmp_path / "cpsam", {key: torch.zeros(3)}))


def test_weights_with_nan_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "m.pth", {"a": torch.zeros(2), "b": torch.tensor([1.0, torch.nan])})

    assert "first in b" in refusal(path, "E_DATA")


def test_without_torch_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "model.pth", tensors())
    real = builtins.__import__

    def without(name: str, *given: Any, **named: Any) -> Any:
        if name == "torch":
            raise ImportError(name=name)
        return real(name, *given, **named)

    monkeypatch.setattr(builtins, "__import__", without)

    with pytest.raises(MissingDependency, match=r"pip install clgkit\[deep\]"):
        read_cellpose_weights(path)


def test_written_weights_read_back_and_notes_lie_beside(tmp_path: Path) -> None:
    from clgkit.segmentation.cellpose_training import pack_weights

    network = tiny_network()
    path = tmp_path / "mine.pth"

    write_cellpose_weights(path, pack_weights(network), notes={"scores": [1, 2]})

    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.pth", "mine.pth.json"]
    assert json.loads((tmp_path / "mine.pth.json").read_text()) == {"scores": [1, 2]}
    for name, value in read_cellpose_weights(path).state.items():
        np.testing.assert_array_equal(value, network.state[name])


def test_weights_that_do_not_read_back_are_not_left(tmp_path: Path) -> None:
    path = tmp_path / "mine.pth"
    path.write_bytes(b"the old one")

    with pytest.raises(StoreError, match="not written whole"):
        write_cellpose_weights(path, b"PK\x03\x04 half a file")

    assert path.read_bytes() == b"the old one"
    assert len(list(tmp_path.iterdir())) == 1


def test_weights_cannot_be_written_into_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder"):
        write_cellpose_weights(tmp_path / "absent" / "m.pth", b"")


def test_slices_come_in_natural_order_with_their_masks(tmp_path: Path) -> None:
    write_slices(tmp_path, 11)

    read = read_training_folder(tmp_path)

    assert [pair.name for pair in read.pairs] == [f"s{k}.tif" for k in range(11)]
    assert read.dropped == ()
    for k, pair in enumerate(read.pairs):
        image, labels = disks(k, 48, 8)
        np.testing.assert_array_equal(pair.image, image[np.newaxis])
        np.testing.assert_array_equal(pair.labels, labels)
        assert pair.labels.dtype == np.uint32


def test_what_cellpose_derived_is_no_image(tmp_path: Path) -> None:
    write_slices(tmp_path, 1)
    for end in ("_flows", "_flows_0", "_flows_1", "_flows_2", "_cellprob", "_cp_output"):
        tifffile.imwrite(tmp_path / f"s0{end}.tif", np.zeros((48, 48), np.float32))
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / ".s9.tif").write_bytes(b"")

    read = read_training_folder(tmp_path)

    assert [pair.name for pair in read.pairs] == ["s0.tif"]
    assert read.dropped == ()


def test_stale_flows_are_passed_over(tmp_path: Path) -> None:
    """Cellpose prefers `s0_flows.tif` to masks that were corrected since."""
    write_slices(tmp_path, 1)
    stale = np.zeros((4, 48, 48), np.float32)
    stale[0, :5, :5] = 77
    tifffile.imwrite(tmp_path / "s0_flows.tif", stale, photometric="minisblack")

    (pair,) = read_training_folder(tmp_path).pairs

    np.testing.assert_array_equal(pair.labels, disks(0, 48, 8).labels)


@pytest.mark.parametrize("suffix", [".tif", ".tiff", ".png"])
def test_masks_may_have_any_of_three_formats(tmp_path: Path, suffix: str) -> None:
    import imagecodecs

    image, labels = disks(0, 48, 8)
    tifffile.imwrite(tmp_path / "a.tiff", image)
    path = tmp_path / f"a_masks{suffix}"
    if suffix == ".png":
        path.write_bytes(imagecodecs.png_encode(labels.astype(np.uint16)))
    else:
        tifffile.imwrite(path, labels.astype(np.uint16))

    (pair,) = read_training_folder(tmp_path).pairs

    np.testing.assert_array_equal(pair.labels, labels)


def test_masks_may_lie_in_a_seg_file(tmp_path: Path) -> None:
    image, labels = disks(0, 48, 8)
    tifffile.imwrite(tmp_path / "a.tif", image)
    seg: Any = {"masks": labels.astype(np.uint16), "filename": "a.tif", "est_diam": 10.0}
    np.save(tmp_path / "a_seg.npy", seg)

    (pair,) = read_training_folder(tmp_path).pairs

    np.testing.assert_array_equal(pair.labels, labels)


def test_a_seg_file_with_foreign_classes_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_slices(tmp_path, 1)
    (tmp_path / "s0_masks.tif").unlink()
    harmful: Any = {"masks": Harmful()}
    np.save(tmp_path / "s0_seg.npy", harmful)

    with pytest.raises(DataError, match=r"s0_seg\.npy cannot be trusted"):
        read_training_folder(tmp_path)
    assert not capsys.readouterr().out


def test_images_may_be_pictures_with_channels(tmp_path: Path) -> None:
    import imagecodecs

    image, labels = disks(0, 48, 8)
    colour = np.stack([image % 256, image // 2, image * 0], axis=-1).astype(np.uint8)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(colour))
    tifffile.imwrite(tmp_path / "b.tif", colour.transpose(2, 0, 1)[:2])
    tifffile.imwrite(tmp_path / "c.tif", colour, photometric="rgb")
    for name in "abc":
        tifffile.imwrite(tmp_path / f"{name}_masks.tif", labels.astype(np.uint16))

    pairs = read_training_folder(tmp_path).pairs

    assert [pair.image.shape for pair in pairs] == [(3, 48, 48), (2, 48, 48), (3, 48, 48)]
    np.testing.assert_array_equal(pairs[0].image, pairs[2].image)
    np.testing.assert_array_equal(pairs[1].image, pairs[0].image[:2])


def test_filters_choose_images_and_masks(tmp_path: Path) -> None:
    image, labels = disks(0, 48, 8)
    tifffile.imwrite(tmp_path / "a_img.tif", image)
    tifffile.imwrite(tmp_path / "a_other.tif", image)
    tifffile.imwrite(tmp_path / "a_cells.tif", labels.astype(np.uint16))

    read = read_training_folder(tmp_path, image_filter="_img", mask_filter="_cells")

    assert [pair.name for pair in read.pairs] == ["a_img.tif"]


def test_every_image_left_out_is_named_with_the_reason(tmp_path: Path) -> None:
    write_slices(tmp_path, 3)
    (tmp_path / "s1_masks.tif").unlink()
    tifffile.imwrite(tmp_path / "s2_masks.tif", np.eye(48, dtype=np.uint16))

    read = read_training_folder(tmp_path)

    assert [pair.name for pair in read.pairs] == ["s0.tif"]
    assert read.dropped == (
        "s1.tif: there are no masks (s1_masks.tif)",
        "s2.tif: it has 1 masks, fewer than 5",
    )


def test_masks_with_gaps_between_ids_are_counted_once_each(tmp_path: Path) -> None:
    write_slices(tmp_path, 1)
    labels = disks(0, 48, 8).labels * 1000
    tifffile.imwrite(tmp_path / "s0_masks.tif", labels.astype(np.uint16))

    (pair,) = read_training_folder(tmp_path).pairs

    assert pair.labels.max() == labels.max()


def folder_refusal(folder: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read_training_folder(folder, **options)
    return caught.value.message


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    assert "holds no annotated slice" in folder_refusal(tmp_path)
    assert "Check the path" in folder_refusal(tmp_path / "absent")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"")

    assert "is a file" in folder_refusal(tmp_path / "a.tif")


def test_masks_that_are_all_empty_or_few_are_told(tmp_path: Path) -> None:
    write_slices(tmp_path, 2)
    for k in range(2):
        tifffile.imwrite(tmp_path / f"s{k}_masks.tif", np.zeros((48, 48), np.uint16))

    message = folder_refusal(tmp_path)

    assert "s0.tif: it has 0 masks, fewer than 5" in message
    assert "s1.tif: it has 0 masks, fewer than 5" in message
    assert read_training_folder(write_slices(tmp_path / "b", 1), min_masks=1).pairs


def test_two_images_of_one_name_are_told(tmp_path: Path) -> None:
    write_slices(tmp_path, 1)
    tifffile.imwrite(tmp_path / "s0.tiff", disks(1, 48, 8).image)

    message = folder_refusal(tmp_path)

    assert "s0.tif" in message
    assert "s0.tiff" in message


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    write_slices(tmp_path, 6)
    tifffile.imwrite(tmp_path / "s0_masks.tif", np.zeros((48, 50), np.uint16))
    tifffile.imwrite(tmp_path / "s1_masks.tif", np.full((48, 48), 0.5, np.float32))
    tifffile.imwrite(tmp_path / "s2_masks.tif", np.full((48, 48), -1, np.int16))
    tifffile.imwrite(tmp_path / "s3.tif", np.full((48, 48), np.nan, np.float32))
    tifffile.imwrite(tmp_path / "s4.tif", np.zeros((9, 48, 48), np.uint16))
    (tmp_path / "s5.tif").write_bytes((tmp_path / "s5.tif").read_bytes()[:100])

    message = folder_refusal(tmp_path)

    lines = message.splitlines()
    assert len(lines) == 7
    for line, words in zip(
        lines[1:],
        ["has shape (48, 50)", "fractions", "lie between 0", "NaN", "Save each slice", "s5.tif"],
        strict=True,
    ):
        assert words in line


def test_a_picture_that_is_damaged_is_told(tmp_path: Path) -> None:
    write_slices(tmp_path, 1)
    (tmp_path / "z.png").write_bytes(b"\x89PNG\r\n\x1a\n half")
    tifffile.imwrite(tmp_path / "z_masks.tif", disks(0, 48, 8).labels.astype(np.uint16))

    assert "z.png is a damaged picture" in folder_refusal(tmp_path)
