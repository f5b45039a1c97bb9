"""`clg train-nuclei` from a folder of annotations to a network, and what it says on the way."""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner, Result

pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("onnx", reason="training needs onnx")

from clgkit.cli import entry, train_nuclei
from clgkit.cli.train_nuclei import command
from clgkit.errors import ClgError, DataError, MissingDependency, SettingsError
from clgkit.pipeline.models import open_model
from clgkit.segmentation import fine_tuning, training
from clgkit.segmentation.network import NucleusNetwork, shipped_network
from clgkit.stages.segment_nuclei import SegmentNuclei
from tests.unit.annotated_scene import scene, write_pair, write_slices
from tests.unit.segmentation_scene import make_scene

SIZE = ("--voxel-um", "1,0.5,0.5", "--elongation", "1")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make steps and looks small."""
    monkeypatch.setattr(training, "HELD_OUT_BATCHES", 1)
    real = fine_tuning.FineRecipe
    monkeypatch.setattr(fine_tuning, "FineRecipe", partial(real, crop_px=32, check_every=2))


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    return write_slices(tmp_path / "annotated")


def train(folder: Path, *options: Any) -> Result:
    arguments = [str(folder), "--steps", "4", *(str(option) for option in (*SIZE, *options))]
    return CliRunner().invoke(command, arguments, catch_exceptions=True)


def succeeds(folder: Path, *options: Any) -> str:
    done = train(folder, *options)
    assert done.exception is None, repr(done.exception)
    return done.output


def refused(kind: type[ClgError], folder: Path, *options: Any) -> str:
    done = train(folder, *options)
    assert isinstance(done.exception, kind), repr(done.exception)
    return done.exception.message


def test_the_network_opens_as_the_model_of_a_run(slices: Path) -> None:
    said = succeeds(slices)

    network = open_model(slices / "nuclei.onnx")
    assert isinstance(network, NucleusNetwork)
    assert "Wrote" in said
    assert sorted(p.name for p in slices.glob("nuclei*")) == ["nuclei.onnx", "nuclei.onnx.json"]


def test_it_tells_plan_scores_and_progress(slices: Path) -> None:
    said = succeeds(slices)

    lines = said.splitlines()
    assert lines[0].startswith("4 slices to learn from, sections of typically ")
    assert "held out: s" in lines[0]
    assert lines[1].startswith("before: AP ")
    assert lines[2].startswith("  step 2 of 4: loss ")
    assert lines[2].endswith(" left")
    assert "left" not in lines[3]
    assert lines[4].startswith("after: AP ")


def test_the_notes_hold_settings_scores_and_hashes(slices: Path) -> None:
    succeeds(slices)

    notes = json.loads((slices / "nuclei.onnx.json").read_text())
    assert notes["from"] == "shipped"
    assert notes["settings"]["seed"] == 0
    assert notes["steps"] == 4
    assert len(notes["losses"]) == 4
    assert len(notes["held_out"]) == 1
    assert len(notes["learnt"]) == 4
    assert 0 <= notes["before"]["ap"] <= 1
    assert notes["after"]["n_truth"] == notes["before"]["n_truth"]
    assert {len(image["image_sha256"]) for image in notes["images"]} == {64}
    assert [image["name"] for image in notes["images"]] == [f"s{k}.tif" for k in range(5)]


def test_the_same_seed_gives_the_same_file(slices: Path, tmp_path: Path) -> None:
    made = [tmp_path / name for name in ("a.onnx", "b.onnx")]
    for path in made:
        succeeds(slices, "--output", path, "--held-out", 0)

    assert made[0].read_bytes() == made[1].read_bytes()


def test_an_interrupted_training_goes_on(
    slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped = tmp_path / "whole.onnx", tmp_path / "stopped.onnx"
    succeeds(slices, "--output", whole)
    real = fine_tuning.FineTuner._one_step

    def interrupted(self: fine_tuning.FineTuner) -> None:
        if self.step == 3:
            raise KeyboardInterrupt
        real(self)

    with monkeypatch.context() as patch:
        patch.setattr(fine_tuning.FineTuner, "_one_step", interrupted)
        assert train(slices, "--output", stopped).exit_code == 1
    assert not stopped.exists()
    assert stopped.with_name("stopped.onnx.partial").exists()

    said = succeeds(slices, "--output", stopped)

    assert "going on after step 2" in said
    assert not stopped.with_name("stopped.onnx.partial").exists()
    assert stopped.read_bytes() == whole.read_bytes()


def test_the_state_of_another_training_is_not_continued(slices: Path, tmp_path: Path) -> None:
    output = tmp_path / "m.onnx"
    (tmp_path / "m.onnx.partial").write_bytes(b"of something else")

    assert "starting anew" in succeeds(slices, "--output", output)
    assert output.exists()


def test_images_left_out_are_named(slices: Path) -> None:
    (slices / "s4_masks.tif").unlink()

    said = succeeds(slices)

    assert "left out: s4.tif: there are no labels" in said
    assert json.loads((slices / "nuclei.onnx.json").read_text())["left_out"]


def test_a_few_slices_of_a_stack_are_learnt_from(tmp_path: Path) -> None:
    made = scene()
    labels = np.zeros_like(made.labels)
    labels[[2, 4, 6, 8]] = made.labels[[2, 4, 6, 8]]
    write_pair(tmp_path / "f", "fish", made.image, labels)

    said = succeeds(tmp_path / "f")

    assert said.startswith("3 slices to learn from")
    assert "held out: fish.tif, slice" in said


@pytest.mark.parametrize("option", [(), ("--empty-slices", "background")])
def test_a_stack_labelled_throughout_is_a_volume(tmp_path: Path, option: tuple[str, ...]) -> None:
    made = make_scene((12, 64, 80), n_nuclei=60)
    labels = made.labels.copy()
    if option:
        labels[0] = 0
    write_pair(tmp_path / "f", "fish", made.image, labels)

    said = succeeds(tmp_path / "f", *option)

    assert said.startswith("1 volume to learn from")
    assert "held out: fish.tif, a part" in said


def test_too_few_slices_to_hold_one_out_is_said(tmp_path: Path) -> None:
    said = succeeds(write_slices(tmp_path / "f", 2))

    assert "held out: nothing, so there is no score and the last weights are kept" in said
    assert "before" not in said


def test_no_gain_is_said(slices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([0.1, 0.5, 0.5])
    monkeypatch.setattr(fine_tuning, "held_out_loss", lambda *_, **__: next(looks))

    said = succeeds(slices)

    assert "does not find more" in said
    channels = np.random.default_rng(0).normal(size=(8, 32, 32)).astype(np.float32)
    made = open_model(slices / "nuclei.onnx")
    assert isinstance(made, NucleusNetwork)
    np.testing.assert_array_equal(made.run(channels), shipped_network().run(channels))


def test_an_early_stop_is_said(slices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([0.5, 0.3, 0.4, 0.4, 0.4])
    monkeypatch.setattr(fine_tuning, "held_out_loss", lambda *_, **__: next(looks))

    said = succeeds(slices, "--steps", 20, "--patience", 2)

    assert "stopped early: no better since step 2" in said


def test_a_diameter_that_does_not_fit_the_annotations_is_warned_of(slices: Path) -> None:
    said = succeeds(slices, "--diameter-um", 12)

    assert "warning: sections are 6 to 14 um across if nuclei are 12 um wide" in said


def test_a_network_of_one_s_own_is_where_it_begins(slices: Path, tmp_path: Path) -> None:
    first = tmp_path / "first.onnx"
    first.write_bytes(shipped_network().weights)

    succeeds(slices, "--from", first)

    assert len(json.loads((slices / "nuclei.onnx.json").read_text())["from"]) == 64


def test_a_network_is_replaced_only_if_asked(slices: Path) -> None:
    (slices / "nuclei.onnx").write_bytes(b"precious")

    assert "--overwrite" in refused(SettingsError, slices)
    assert (slices / "nuclei.onnx").read_bytes() == b"precious"
    succeeds(slices, "--overwrite")
    assert (slices / "nuclei.onnx").read_bytes() != b"precious"


def test_what_is_no_network_is_refused(slices: Path, tmp_path: Path) -> None:
    (tmp_path / "lfs").write_text("version https://git-lfs.github.com/spec/v1\n")

    assert "Git LFS" in refused(DataError, slices, "--from", tmp_path / "lfs")
    assert "is not there" in refused(DataError, slices, "--from", tmp_path / "nothing")


def test_a_voxel_size_that_nobody_says_is_asked_for(tmp_path: Path) -> None:
    made = scene()
    write_pair(tmp_path / "f", "fish", made.image, made.labels)

    done = CliRunner().invoke(command, [str(tmp_path / "f")])

    assert isinstance(done.exception, DataError)
    assert "give --voxel-um Z,Y,X" in done.exception.message


def test_nuclei_too_small_for_the_network_are_refused(slices: Path) -> None:
    message = refused(DataError, slices, "--diameter-um", 1)

    assert "s0.tif" in message
    assert "4" in message


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (np.full((64, 64), 7, np.uint16), "all of its pixels are equal"),
        (np.full((64, 64), np.nan, np.float32), "NaN or infinity"),
        (np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8), "looks like noise"),
    ],
)
def test_images_that_teach_nothing_are_refused(
    slices: Path, image: np.ndarray, sentence: str
) -> None:
    tifffile.imwrite(slices / "s2.tif", image)

    message = refused(DataError, slices)

    assert "s2.tif" in message
    assert sentence in message


def test_noise_is_learnt_from_if_so_wanted(slices: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    tifffile.imwrite(slices / "s2.tif", noise)

    assert "Wrote" in succeeds(slices, "--ignore-noise")


def test_without_torch_it_says_what_to_install(
    slices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_nuclei.importlib.util, "find_spec", lambda _: None)

    assert "pip install clgkit[deep]" in refused(MissingDependency, slices)


def test_nuclei_have_the_size_that_a_run_supposes() -> None:
    defaults = {option.name: option.default for option in command.params}
    stage = SegmentNuclei()

    assert defaults["diameter_um"] == stage.diameter_um
    assert defaults["elongation"] == stage.elongation


def test_the_help_imports_nothing_heavy() -> None:
    assert "torch" not in vars(sys.modules["clgkit.cli.train_nuclei"])
    assert CliRunner().invoke(command, ["--help"]).exit_code == 0


def test_segment_nuclei_takes_the_network(slices: Path, tmp_path: Path) -> None:
    succeeds(slices)
    stack = tmp_path / "stack.tif"
    tifffile.imwrite(stack, scene().image, metadata={"axes": "ZYX"})
    arguments = [
        "segment-nuclei", str(stack), str(tmp_path / "labels.tif"), "--voxel-um", "1,0.5,0.5",
        "--elongation", "1", "--model", str(slices / "nuclei.onnx"),
    ]  # fmt: skip

    done = CliRunner().invoke(entry.app, arguments)

    assert done.exception is None, done.output
    assert tifffile.imread(tmp_path / "labels.tif").max() > 20


def test_the_command_is_listed() -> None:
    assert "train-nuclei" in CliRunner().invoke(entry.app, ["--help"]).output
    assert entry.load("train-nuclei") is command


def test_a_network_of_cellpose_is_sent_to_its_own_command(
    slices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clgkit.pipeline.models.open_model", lambda _: object())

    assert "clg train-cellpose" in refused(DataError, slices, "--from", "cyto2")


def test_the_output_s_folder_must_be_there(slices: Path, tmp_path: Path) -> None:
    assert "nowhere" in refused(DataError, slices, "--output", tmp_path / "nowhere" / "my.onnx")


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    assert "nothing" in refused(DataError, tmp_path / "nothing")


def test_the_voxel_size_of_a_file_is_used(tmp_path: Path) -> None:
    made = scene()
    folder = tmp_path / "f"
    write_pair(folder, "fish", made.image, made.labels)
    tifffile.imwrite(
        folder / "fish.tif",
        made.image,
        imagej=True,
        resolution=(2, 2),
        metadata={"axes": "ZYX", "spacing": 1.0, "unit": "um"},
    )

    done = CliRunner().invoke(command, [str(folder), "--steps", "2", "--elongation", "1"])

    assert done.exception is None, repr(done.exception)
    assert "sections of typically 4.6 um" in done.output
