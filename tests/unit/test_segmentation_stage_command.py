"""``clg segment-nuclei``: methods, files beside the stack, and stacks that look like noise."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from clgkit import io
from clgkit.segmentation.network import shipped_network
from clgkit.stages._segment_found import MEASURES
from tests.unit.segmentation_stage_scene import FITS, same_partition, sections_of, segmented, stack
from tests.unit.segmentation_stage_scene import truth as nuclei_of_the_fish

Clg = Callable[..., tuple[int, str, str]]
SIZE = ("--diameter-um", "5.2", "--elongation", "2.2")
SHARED = Path(__file__).parents[2].parent / "shared"


@pytest.fixture
def given(tmp_path: Path) -> Path:
    io.write_tiff(tmp_path / "stack.tif", stack().values, axes="zyx", voxel_um=(1.0, 0.5, 0.5))
    return tmp_path / "stack.tif"


def test_labels_and_a_table_are_written(clg: Clg, given: Path, tmp_path: Path) -> None:
    code, told, err = clg(
        "segment-nuclei", given, tmp_path / "l.tif", *SIZE, "--nuclei", tmp_path / "n.csv"
    )

    assert code == 0, err
    wanted = segmented(stack(), **FITS)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "l.tif"), wanted.labels.values)
    with (tmp_path / "n.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["nucleus", "z", "y", "x", *MEASURES]
    assert [int(row["nucleus"]) for row in rows] == wanted.nuclei.coords["nucleus"].values.tolist()
    n, suspect = wanted.summary["n_nuclei"], wanted.summary["n_suspect"]
    assert told == f"Wrote {tmp_path / 'l.tif'}: {n} nuclei, {suspect} of them suspect.\n"


def test_a_network_of_ones_own_is_read(clg: Clg, given: Path, tmp_path: Path) -> None:
    (tmp_path / "own.onnx").write_bytes(shipped_network().weights)
    (tmp_path / "text").write_text("no weights here\n")

    good = clg("segment-nuclei", given, tmp_path / "l.tif", *SIZE, "--model", tmp_path / "own.onnx")
    bad = clg("segment-nuclei", given, tmp_path / "l.tif", *SIZE, "--model", tmp_path / "text")

    assert good[0] == 0, good[2]
    assert (bad[0], "is no network of nuclei: it is a text file" in bad[2]) == (3, True)


def test_a_folder_of_masks_is_joined(clg: Clg, given: Path, tmp_path: Path) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    for z, plane in enumerate(sections_of(nuclei_of_the_fish())):
        tifffile.imwrite(folder / f"slice{z}.tif", plane.astype(np.uint16))

    code, _, err = clg(
        "segment-nuclei", given, tmp_path / "l.npy", "--method", "import", "--labels", folder,
        "--stitch-iou", "0.1",
    )  # fmt: skip

    assert code == 0, err
    assert 30 <= len(np.unique(np.load(tmp_path / "l.npy"))) <= 50  # 40 nuclei


def test_labels_of_a_file_come_through_as_they_are(clg: Clg, given: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "own.npy", nuclei_of_the_fish())

    code, _, err = clg(
        "segment-nuclei", given, tmp_path / "l.npy", "--method", "import",
        "--labels", tmp_path / "own.npy",
    )  # fmt: skip

    assert code == 0, err
    assert same_partition(np.load(tmp_path / "l.npy"), nuclei_of_the_fish())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--method", "cellpose"), "needs a network"),
        (("--method", "import"), "fill in [labels] path"),
        (("--method", "classical", "--min-peak", "0.2"), "min_peak belongs to method network"),
        (("--method", "magic"), "method = 'magic'"),
        (("--diameter-um", "guess"), "diameter_um"),
    ],
)
def test_what_does_not_go_together_is_exit_2(
    clg: Clg, given: Path, tmp_path: Path, words: tuple[str, ...], sentence: str
) -> None:
    code, _, err = clg("segment-nuclei", given, tmp_path / "l.tif", *words)

    assert (code, sentence in err) == (2, True), err
    assert not (tmp_path / "l.tif").exists()


def noise(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).integers(0, 256, (10, 48, 48)).astype(np.uint8)
    np.save(tmp_path / "noise.npy", values)
    return tmp_path / "noise.npy"


def test_a_stack_that_looks_like_noise_is_refused_unless_forced(clg: Clg, tmp_path: Path) -> None:
    words: tuple[Any, ...] = (
        "segment-nuclei", noise(tmp_path), tmp_path / "l.npy", "--axes", "zyx",
        "--voxel-um", "1,0.5,0.5",
    )  # fmt: skip

    refused, forced = clg(*words), clg(*words, "--ignore-noise")

    assert (refused[0], "The stack looks like noise" in refused[2]) == (3, True)
    assert "add --ignore-noise" in refused[2]
    assert forced[0] == 0, forced[2]


@pytest.mark.parametrize("number", ["1137", "1139", "1170"])
def test_real_stacks_whose_values_wrapped_round_are_refused(
    clg: Clg, tmp_path: Path, number: str
) -> None:
    path = SHARED / "data" / "badinputs" / f"gonuclear_{number}_uint8_wraparound.h5"
    if not path.exists():
        pytest.skip("the wrapped volumes are not at hand")

    code, _, err = clg(
        "segment-nuclei", path, tmp_path / "l.npy", "--dataset", "raw", "--axes", "zyx",
        "--voxel-um", "0.28,0.13,0.13", "--diameter-um", "2.6", "--elongation", "1",
    )  # fmt: skip

    assert (code, "looks like noise" in err) == (3, True)
    assert not (tmp_path / "l.npy").exists()


def test_a_blank_stack_is_no_noise_but_has_no_nuclei(clg: Clg, tmp_path: Path) -> None:
    np.save(tmp_path / "blank.npy", np.full((8, 40, 40), 3, np.uint16))

    code, told, err = clg(
        "segment-nuclei", tmp_path / "blank.npy", tmp_path / "l.npy", "--axes", "zyx",
        "--voxel-um", "1,0.5,0.5",
    )  # fmt: skip

    assert (code, ": 0 nuclei" in told) == (0, True)
    assert "warning: no nucleus was found" in err


def test_nan_has_its_own_sentence(clg: Clg, tmp_path: Path) -> None:
    values = stack().values.astype(np.float32)
    values[12, 3, 4] = np.nan
    np.save(tmp_path / "nan.npy", values)

    code, _, err = clg(
        "segment-nuclei", tmp_path / "nan.npy", tmp_path / "l.npy", "--axes", "zyx",
        "--voxel-um", "1,0.5,0.5",
    )  # fmt: skip

    assert (code, "NaN or infinity" in err) == (3, True)
