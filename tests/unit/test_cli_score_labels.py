import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner, Result

from clgkit.cli.score_labels import command
from clgkit.errors import DataError, SettingsError
from clgkit.segmentation.score import score_labels
from tests.unit.segmentation_scene import make_scene


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labels")
    scene = make_scene((10, 40, 44), n_nuclei=14)
    truth = scene.labels
    found = np.roll(truth, 1, axis=2)
    found[found == truth.max()] = 0
    np.save(folder / "truth.npy", truth)
    tifffile.imwrite(folder / "found.tif", found, photometric="minisblack")
    np.save(folder / "image.npy", scene.image)
    (folder / "masks").mkdir()
    for z, plane in enumerate(truth):
        _, place = np.unique(plane, return_inverse=True)
        tifffile.imwrite(folder / "masks" / f"z{z}.tif", place.reshape(plane.shape).astype("u2"))
    return folder


def run(*words: object) -> Result:
    result = CliRunner().invoke(command, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def score(folder: Path, *words: object) -> dict[str, Any]:
    run(*words, "--json", folder / "score.json")
    found: dict[str, Any] = json.loads((folder / "score.json").read_text())
    return found


def test_the_numbers_are_those_of_the_library(folder: Path) -> None:
    found = score(folder, folder / "truth.npy", folder / "found.tif")

    truth, labels = np.load(folder / "truth.npy"), tifffile.imread(folder / "found.tif")
    assert list(found["at_iou"]) == ["0.5", "0.75", "0.9"]
    for iou, numbers in found["at_iou"].items():
        assert numbers == score_labels(truth, labels, iou=float(iou))._asdict()
    assert len(found["by_depth_slices"]) == 5
    assert not {"by_brightness", "axial", "centers"} & found.keys()


def test_tables_are_printed(folder: Path) -> None:
    printed = run(folder / "truth.npy", folder / "found.tif").output

    for word in ("Matches", "All objects", "By depth slices", "precision", "count error", "0.75"):
        assert word in printed


def test_an_image_and_a_voxel_size_give_more(folder: Path) -> None:
    found = score(
        folder, folder / "truth.npy", folder / "found.tif", "--image", folder / "image.npy",
        "--voxel-um", "1,0.5,0.5", "--radius-um", 1.5, "--iou", 0.3, "--border", "ignore",
    )  # fmt: skip

    assert list(found["at_iou"]) == ["0.3"]
    kept = found["at_iou"]["0.3"]["n_truth"]
    assert 0 < kept < len(np.unique(np.load(folder / "truth.npy"))) - 1
    assert sum(group["n_truth"] for group in found["by_brightness"]) == kept
    assert found["axial"] == {"over": 0, "under": 0}
    assert found["centers"]["true_positives"] == kept - (found["at_iou"]["0.3"]["recall"] < 1)


@pytest.mark.parametrize(("rule", "least"), [("chain", 0.9), ("cellpose", 0.5)])
def test_slices_labelled_one_by_one_are_stitched_first(
    folder: Path, rule: str, least: float
) -> None:
    found = score(folder, folder / "truth.npy", folder / "masks", "--stitch", rule)

    assert found["at_iou"]["0.5"]["f1"] >= least


def test_what_the_user_should_know_is_said(folder: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "empty.npy", np.zeros((10, 40, 44), np.uint8))
    np.save(tmp_path / "plane.npy", np.ones((40, 44), np.uint8))

    apart = run(folder / "truth.npy", folder / "masks").output
    empty = run(folder / "truth.npy", tmp_path / "empty.npy").output
    plane = run(tmp_path / "plane.npy", tmp_path / "plane.npy").output

    assert "add --stitch chain" in apart
    assert "empty.npy: all voxels are background" in empty
    assert "plane.npy: this is a single slice" in plane


def test_numbers_that_json_does_not_know_become_null(folder: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "empty.npy", np.zeros((10, 40, 44), np.uint8))

    found = score(tmp_path, tmp_path / "empty.npy", folder / "truth.npy")

    assert found["at_iou"]["0.5"]["count_error"] is None
    assert found["by_depth_slices"][0]["recall"] is None


def test_what_does_not_fit_is_refused_in_a_sentence(folder: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "other.npy", np.zeros((10, 40, 43), np.uint8))
    np.save(tmp_path / "halves.npy", np.full((10, 40, 44), 0.5))
    truth, found = folder / "truth.npy", folder / "found.tif"

    with pytest.raises(DataError, match="compare labels of one volume"):
        run(truth, tmp_path / "other.npy")
    with pytest.raises(DataError, match="give the stack they belong to"):
        run(truth, found, "--image", tmp_path / "other.npy")
    with pytest.raises(DataError, match="labels: the IoU of a match lies above 0"):
        run(truth, found, "--iou", 1.5)
    with pytest.raises(SettingsError, match="--voxel-um"):
        run(truth, found, "--radius-um", 1)
    with pytest.raises(DataError, match="there is no folder"):
        run(truth, found, "--json", tmp_path / "no" / "a.json")
    with pytest.raises(DataError, match="slice 0: Labels must be whole numbers"):
        run(truth, tmp_path / "halves.npy")
