"""`clg train-cellpose` from a folder of slices to weights, and what it says on the way."""

import json
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import tifffile
from click.testing import CliRunner, Result

from clgkit.cli import train_cellpose
from clgkit.cli.train_cellpose import command
from clgkit.errors import ClgError, DataError, MissingDependency, SettingsError
from clgkit.io.cellpose import read_cellpose_weights
from clgkit.segmentation.cellpose_network import CellposeNetwork
from tests.unit.cellpose_scene import disks, write_slices

pytest.importorskip("torch", reason="training needs torch")

QUICK = {
    "widths": (2, 3, 4, 4), "diam_mean_px": 10.0, "n_epochs": 3, "crops_per_epoch": 4,
    "crop_px": 32, "check_every": 1,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the recipe `fast` faster still."""
    from clgkit.segmentation import cellpose_recipe

    real = cellpose_recipe.recipe_like
    monkeypatch.setattr(
        cellpose_recipe, "recipe_like", lambda name, **changes: real(name, **(QUICK | changes))
    )


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    return write_slices(tmp_path / "slices", 5)


def train(folder: Path, *options: Any) -> Result:
    arguments = [str(folder), *(str(option) for option in options)]
    return CliRunner().invoke(command, arguments, catch_exceptions=True)


def succeeds(folder: Path, *options: Any) -> str:
    done = train(folder, *options)
    assert done.exception is None, done.output
    return done.output


def refused(kind: type[ClgError], folder: Path, *options: Any) -> str:
    done = train(folder, *options)
    assert isinstance(done.exception, kind), repr(done.exception)
    return done.exception.message


@pytest.mark.parametrize(("device", "words"), [("nonsense", "is not known"), ("cuda:9", "device")])
def test_a_device_that_cannot_be_used_is_told(slices: Path, device: str, words: str) -> None:
    assert words in refused(ClgError, slices, "--device", device)


def test_weights_and_their_notes_are_written(slices: Path) -> None:
    said = succeeds(slices)

    assert sorted(p.name for p in slices.glob("cellpose*")) == ["cellpose.pth", "cellpose.pth.json"]
    network = CellposeNetwork(read_cellpose_weights(slices / "cellpose.pth").state)
    assert network.layout.widths == (2, 3, 4, 4)
    assert network.diam_mean_px == 10
    assert "Wrote" in said
    assert "held-out slices" in said


def test_the_notes_hold_settings_scores_and_hashes(slices: Path) -> None:
    succeeds(slices)

    notes = json.loads((slices / "cellpose.pth.json").read_text())

    assert notes["made_by"].startswith("clgkit ")
    assert notes["recipe"]["n_epochs"] == 3
    assert notes["channels"] == [0, 0]
    assert notes["pretrained"] is None
    assert [seen["epoch"] for seen in notes["history"]] == [1, 2, 3]
    assert 0 <= notes["best"]["ap"] <= 1
    assert [part["name"] for part in notes["slices"]] == [f"s{k}.tif" for k in range(5)]
    assert sum(part["held_out"] for part in notes["slices"]) == 1
    assert all(len(part["image_sha256"]) == 64 for part in notes["slices"])
    assert len({part["masks_sha256"] for part in notes["slices"]}) == 5


def test_progress_tells_loss_score_and_time_left(slices: Path) -> None:
    said = succeeds(slices)

    assert "4 slices with" in said
    assert "held out: s" in said
    lines = [line for line in said.splitlines() if line.startswith("  epoch")]
    assert len(lines) == 3
    assert lines[0].startswith("  epoch 1 of 3: loss ")
    assert "held out" in lines[0]
    assert "AP" in lines[0]
    assert lines[0].endswith(" left")
    assert "left" not in lines[2]


def test_the_same_seed_gives_the_same_file(slices: Path, tmp_path: Path) -> None:
    made = [tmp_path / name for name in ("a.pth", "b.pth", "c.pth")]
    for path, seed in zip(made, (1, 1, 2), strict=True):
        succeeds(slices, "--output", path, "--seed", seed)

    first, second, other = (read_cellpose_weights(path).state for path in made)
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])
    assert not np.array_equal(first["output.2.weight"], other["output.2.weight"])


def test_slices_left_out_are_named(slices: Path) -> None:
    (slices / "s4_masks.tif").unlink()

    said = succeeds(slices)

    assert "left out: s4.tif: there are no masks" in said
    assert json.loads((slices / "cellpose.pth.json").read_text())["left_out"]


def test_an_interrupted_training_goes_on(
    slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clgkit.segmentation.cellpose_training import CellposeTrainer

    whole, stopped = tmp_path / "whole.pth", tmp_path / "stopped.pth"
    succeeds(slices, "--output", whole)
    real = CellposeTrainer._one_epoch

    def interrupted(self: CellposeTrainer) -> float:
        if self.epoch == 2:
            raise KeyboardInterrupt
        return real(self)

    with monkeypatch.context() as patch:
        patch.setattr(CellposeTrainer, "_one_epoch", interrupted)
        assert train(slices, "--output", stopped).exit_code == 1
    assert not stopped.exists()
    assert stopped.with_name("stopped.pth.partial").exists()

    said = succeeds(slices, "--output", stopped)

    assert "going on after epoch 2" in said
    assert not stopped.with_name("stopped.pth.partial").exists()
    first, second = (read_cellpose_weights(path).state for path in (whole, stopped))
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])


def test_the_state_of_another_training_is_not_continued(slices: Path, tmp_path: Path) -> None:
    output = tmp_path / "m.pth"
    (tmp_path / "m.pth.partial").write_bytes(b"of something else")

    said = succeeds(slices, "--output", output)

    assert "starting anew" in said
    assert output.exists()


def test_weights_are_replaced_only_if_asked(slices: Path) -> None:
    (slices / "cellpose.pth").write_bytes(b"precious")

    assert "--overwrite" in refused(SettingsError, slices)
    assert (slices / "cellpose.pth").read_bytes() == b"precious"
    succeeds(slices, "--overwrite")
    assert (slices / "cellpose.pth").read_bytes() != b"precious"


def test_given_weights_are_where_it_begins(slices: Path, tmp_path: Path) -> None:
    succeeds(slices, "--epochs", 1, "--output", tmp_path / "first.pth")

    succeeds(slices, "--pretrained", tmp_path / "first.pth", "--output", tmp_path / "second.pth")

    notes = json.loads((tmp_path / "second.pth.json").read_text())
    assert len(notes["pretrained"]) == 64


def test_given_weights_keep_their_diameter(slices: Path, tmp_path: Path) -> None:
    succeeds(slices, "--epochs", 1, "--output", tmp_path / "first.pth")
    options = ("--pretrained", tmp_path / "first.pth", "--output", tmp_path / "second.pth")

    message = refused(DataError, slices, *options, "--diam-mean-px", 30)

    assert "a network keeps both" in message


def test_weights_that_are_none_are_refused(slices: Path, tmp_path: Path) -> None:
    (tmp_path / "lfs").write_text("version https://git-lfs.github.com/spec/v1\n")

    assert "Git LFS" in refused(DataError, slices, "--pretrained", tmp_path / "lfs")


@pytest.mark.parametrize(("size", "widths"), [("narrow", [8, 16, 32, 64])])
def test_widths_are_chosen_by_name(slices: Path, size: str, widths: list[int]) -> None:
    succeeds(slices, "--widths", size, "--epochs", 1)

    assert json.loads((slices / "cellpose.pth.json").read_text())["recipe"]["widths"] == widths


def test_few_slices_are_all_learnt_from(tmp_path: Path) -> None:
    said = succeeds(write_slices(tmp_path / "few", 2))

    assert "none, so the last epoch is kept" in said
    notes = json.loads((tmp_path / "few" / "cellpose.pth.json").read_text())
    assert notes["best"] == {"epoch": 3}


def test_a_training_that_stopped_early_says_so(
    slices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clgkit.segmentation.cellpose_training import CellposeTrainer

    monkeypatch.setattr(CellposeTrainer, "_held_out_loss", lambda _: 1.0)
    monkeypatch.setattr(CellposeTrainer, "_held_out_ap", lambda _: 0.5)

    said = succeeds(slices, "--patience", 1)

    assert "stopped early: no better since epoch 1" in said


def test_channels_are_picked_or_averaged() -> None:
    image = np.stack([np.full((4, 4), 10 * k, np.uint8) for k in range(1, 4)])

    picked = {
        c: train_cellpose._channels(image, c)[:, 0, 0].tolist() for c in ((0, 0), (2, 1), (3, 0))
    }

    assert picked == {(0, 0): [20, 0], (2, 1): [20, 10], (3, 0): [30, 0]}
    with pytest.raises(ValueError, match="it has 3 channels"):
        train_cellpose._channels(image, (4, 0))


@pytest.mark.parametrize("text", ["1", "a,b", "1,2,3", "-1,0"])
def test_channels_are_two_numbers(slices: Path, text: str) -> None:
    done = train(slices, "--channels", text)

    assert done.exit_code == 2
    assert "is not two channels" in done.output


def test_all_slices_that_cannot_be_learnt_from_are_named(slices: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
    tifffile.imwrite(slices / "s1.tif", noise)
    tifffile.imwrite(slices / "s2_masks.tif", disks(2, 48, 8).image)
    tifffile.imwrite(slices / "s3.tif", np.full((48, 48), 7, np.uint16))

    message = refused(DataError, slices)

    assert "s1.tif: it looks like noise" in message
    assert "s2.tif: the masks hold" in message
    assert "s3.tif: all of its pixels are equal" in message


def test_noise_is_learnt_from_if_the_user_insists(slices: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
    tifffile.imwrite(slices / "s1.tif", noise)

    succeeds(slices, "--ignore-noise")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--learning-rate", 50), "learning rate lies above 0"),
        (("--weight-decay", -1), "weight decay"),
        (("--diam-mean-px", 0), "diam_mean_px"),
    ],
)
def test_impossible_settings_are_told(slices: Path, options: Any, words: str) -> None:
    assert words in refused(SettingsError, slices, *options)


def test_there_is_no_such_folder(tmp_path: Path) -> None:
    assert "There is no file" in refused(DataError, tmp_path / "absent")


def test_the_folder_of_the_output_must_be_there(slices: Path, tmp_path: Path) -> None:
    assert "there is no folder" in refused(DataError, slices, "--output", tmp_path / "x" / "m.pth")


def test_without_torch_it_says_what_to_install(
    slices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import clgkit.segmentation

    monkeypatch.setitem(sys.modules, "clgkit.segmentation.cellpose_training", None)
    monkeypatch.delattr(clgkit.segmentation, "cellpose_training", raising=False)

    assert "pip install clgkit[deep]" in refused(MissingDependency, slices)


def test_a_loss_that_is_no_number_is_told(slices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from clgkit.segmentation import cellpose_training

    monkeypatch.setattr(
        cellpose_training, "cellpose_loss", lambda answer, *_: answer.sum() * float("nan")
    )

    assert "use a lower learning rate" in refused(DataError, slices)
    assert not (slices / "cellpose.pth").exists()


def test_every_option_is_explained_and_examples_are_shown() -> None:
    text = CliRunner().invoke(command, ["--help"]).output

    assert "clg train-cellpose" in text
    assert "FOLDER" in text
    options = [option for option in command.params if isinstance(option, click.Option)]
    assert len(options) == 19
    assert all(option.help for option in options)
