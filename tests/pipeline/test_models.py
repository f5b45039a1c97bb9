"""Networks and labels that a run is given: what is read, and what is refused with which words."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from clgkit import data
from clgkit.errors import DataError, MissingDependency
from clgkit.pipeline import settings
from clgkit.pipeline.models import open_model, read_nuclei
from clgkit.pipeline.runner import Run
from clgkit.segmentation.cellpose_network import CellposeNetwork
from clgkit.segmentation.network import NucleusNetwork, shipped_network
from tests.unit.cellpose_scene import TINY, random_state

WITH_TORCH = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def save(path: Path, state: Any) -> Path:
    import torch

    torch.save({name: torch.from_numpy(np.asarray(value)) for name, value in state.items()}, path)
    return path


def test_a_network_of_ours_is_opened_and_runs(tmp_path: Path) -> None:
    made = open_model(write(tmp_path / "own.onnx", shipped_network().weights))

    assert isinstance(made, NucleusNetwork)
    assert made.run(np.zeros((8, 16, 16), np.float32)).shape == (2, 16, 16)


@WITH_TORCH
def test_weights_of_cellpose_are_opened(tmp_path: Path) -> None:
    made = open_model(save(tmp_path / "cyto2_retrained", random_state(TINY)))

    assert isinstance(made, CellposeNetwork)
    assert made.diam_mean_px == 12


@WITH_TORCH
def test_a_name_that_says_more_than_the_weights_is_warned_of(tmp_path: Path) -> None:
    path = save(tmp_path / "cyto_style_off", random_state(TINY))

    with pytest.warns(UserWarning, match="style_off"):
        open_model(path)


@pytest.mark.parametrize(
    ("content", "sentence", "code"),
    [
        (b"# the weights are on the other computer\n", "it is a text file", "E_NOT_IMAGE"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "lfs pull", "E_NOT_IMAGE"),
        (b"", r"it is empty \(0 bytes\)", "E_NOT_IMAGE"),
        (b"II*\0" + bytes(40), "it is a TIFF file", "E_NOT_IMAGE"),
        (b"\x89HDF\r\n\x1a\n" + bytes(40), "it is an HDF5 file", "E_NOT_IMAGE"),
        (b"\x08\xff\xfe\x01" * 30, "is cut off", "E_TRUNCATED"),
        (shipped_network().weights[:5000], "is cut off", "E_TRUNCATED"),
    ],
)
def test_what_is_no_network_is_refused_in_a_sentence(
    tmp_path: Path, content: bytes, sentence: str, code: str
) -> None:
    path = write(tmp_path / "model", content)

    with pytest.raises(DataError, match=sentence) as caught:
        open_model(path)

    assert caught.value.code == code
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path, sentence in ((tmp_path / "no", "is not there"), (tmp_path, "is a folder")):
        with pytest.raises(DataError, match=sentence) as caught:
            open_model(path)
        assert caught.value.code == "E_PATH"


@WITH_TORCH
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"W2": np.zeros(3, np.float32)}, "a network of Cellpose 4"),
        ({"diam_mean": np.array([np.nan], np.float32)}, "holds NaN or infinity"),
        ({"foreign.weight": np.zeros(3, np.float32)}, "foreign.weight"),
    ],
)
def test_weights_that_are_wrong_are_refused(
    tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    path = save(tmp_path / "model", random_state(TINY) | change)

    with pytest.raises(DataError, match=sentence):
        open_model(path)


@WITH_TORCH
def test_truncated_weights_are_refused(tmp_path: Path) -> None:
    whole = save(tmp_path / "whole", random_state(TINY)).read_bytes()

    with pytest.raises(DataError, match="truncated") as caught:
        open_model(write(tmp_path / "half", whole[: len(whole) // 2]))

    assert caught.value.code == "E_TRUNCATED"


@WITH_TORCH
def test_without_torch_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "model", random_state(TINY))
    monkeypatch.setitem(sys.modules, "torch", None)

    with pytest.raises(MissingDependency, match=r"clgkit\[deep\]"):
        open_model(path)


def test_a_network_that_answers_nan_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "own.onnx", shipped_network().weights)
    monkeypatch.setattr(NucleusNetwork, "run", lambda *_: np.full((2, 16, 16), np.nan))

    with pytest.raises(DataError, match="NaN or infinity: the training that made it failed"):
        open_model(path)


LIKE = data.volume(np.zeros((4, 8, 9), np.uint16), voxel_um=(2.0, 0.5, 0.5))


def test_labels_take_their_voxels_from_the_stack(tmp_path: Path) -> None:
    values = np.arange(4 * 8 * 9, dtype=np.int64).reshape(4, 8, 9)
    np.save(tmp_path / "l.npy", values)

    made = read_nuclei(tmp_path / "l.npy", like=LIKE)

    assert made.dtype == np.uint32
    np.testing.assert_array_equal(made.values, values)
    np.testing.assert_array_equal(made.isel(z=slice(1, 3), y=4).values, values[1:3, 4])
    assert made.isel(z=slice(2, 2)).shape == (0, 8, 9)
    for dim in ("z", "y", "x"):
        assert made.coords[dim].identical(LIKE.coords[dim])
    assert made.attrs["separate"] is False


def test_a_folder_of_masks_is_of_separate_slices(tmp_path: Path) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    for z in range(4):
        tifffile.imwrite(folder / f"m{z + 8}.tif", np.full((8, 9), z, np.uint16))

    made = read_nuclei(folder, like=LIKE)

    assert made.attrs["separate"] is True
    assert made.values[:, 0, 0].tolist() == [0, 1, 2, 3]


def test_labels_of_another_shape_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "l.npy", np.zeros((4, 8, 8), np.uint16))

    with pytest.raises(DataError, match=r"shape \(4, 8, 8\).*the structural stack has \(4, 8, 9\)"):
        read_nuclei(tmp_path / "l.npy", like=LIKE)


def test_fractions_are_no_labels(tmp_path: Path) -> None:
    np.save(tmp_path / "l.npy", np.full((4, 8, 9), 0.5))

    with pytest.raises(DataError, match="slice 0"):
        read_nuclei(tmp_path / "l.npy", like=LIKE).load()


def test_a_run_opens_what_its_settings_name(tmp_path: Path) -> None:
    np.save(tmp_path / "stack.npy", LIKE.values)
    np.save(tmp_path / "labels.npy", np.ones((4, 8, 9), np.uint16))
    write(tmp_path / "own.onnx", shipped_network().weights)
    settings.write(
        tmp_path,
        {
            "structure": {"path": "stack.npy", "axes": "zyx", "voxel_um": [2.0, 0.5, 0.5]},
            "model": {"path": "own.onnx"},
            "labels": {"path": "labels.npy", "axes": "zyx"},
        },
    )

    raw = Run(settings.load(tmp_path)).raw

    assert isinstance(raw.model, NucleusNetwork)
    assert int(raw.labels.sum()) == 4 * 8 * 9
