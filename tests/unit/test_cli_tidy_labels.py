"""``clg tidy-labels``: options, files in and out, the map of ids, what is refused."""

import csv
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from clgkit import io
from clgkit.cli import tidy_labels as module
from clgkit.pipeline.store import Store
from clgkit.segmentation.tidy import relabel
from clgkit.segmentation.tidy_steps import FATES, TidyRules, tidy_labels
from tests.unit.segmentation_scene import make_scene

Clg = Callable[..., tuple[int, str, str]]
UM = ("--voxel-um", "1,0.5,0.5")
pytestmark = pytest.mark.usefixtures("desk")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, which is the current one, with labels of 12 x 40 x 44 voxels."""
    labels = make_scene((12, 40, 44), n_nuclei=14).labels.astype(np.uint32) * 3
    labels[5, 20, ::9] = 0
    io.write_tiff(tmp_path / "labels.tif", labels, axes="zyx", voxel_um=(1.0, 0.5, 0.5))
    np.save(tmp_path / "labels.npy", labels)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(path: str) -> list[tuple[int, int, str]]:
    with Path(path).open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["old_id", "new_id", "fate"]
    return [(int(old), int(new), fate) for old, new, fate in rows]


def two_and_a_speck(path: str = "balls.npy") -> np.ndarray:
    """Save an object with a waist (4), two that touch (7, 8), a speck (90), one on the border."""
    labels = np.zeros((12, 24, 40), np.uint16)
    labels[2:9, 2:9, 2:9] = labels[3:8, 3:8, 12:17] = labels[5, 5, 9:12] = 4
    labels[2:9, 12:16, 2:9] = 7
    labels[2:9, 16:20, 2:9] = 8
    labels[5, 14, 5] = 0
    labels[3:5, 14:16, 20:22] = 90
    labels[0:4, 14:18, 30:34] = 91
    np.save(path, labels)
    return labels


def test_ids_become_compact_and_the_map_lies_beside(clg: Clg, desk: Path) -> None:
    code, told, err = clg("tidy-labels", "labels.tif", "tidy.tif")

    labels, old = relabel(np.load(desk / "labels.npy"))
    image = io.open_image("tidy.tif")
    assert (code, err) == (0, "")
    assert told == (
        f"labels.tif: {old.size - 1} nuclei -> {old.size - 1}.\n"
        "Wrote tidy.tif; what became of each id is in tidy.ids.csv.\n"
    )
    np.testing.assert_array_equal(image.read(), labels)
    assert (image.pixels.dtype, image.voxel_um) == (np.uint32, (1.0, 0.5, 0.5))
    assert table("tidy.ids.csv") == [(o, n, "kept") for n, o in enumerate(old.tolist()) if n]


def test_all_rules_together_are_those_of_the_library(clg: Clg) -> None:
    code, _, err = clg("tidy-labels", "labels.tif", "tidy.npy", "--fill", "--smooth", "2",
                       "--smooth-by", "opening", "--pieces", "largest", "--border", "drop",
                       "--min-um3", "20", "--of-median", "0.5,3", "--map", "ids.csv")  # fmt: skip

    rules = TidyRules(fill=True, smooth=2, smoothing="opening", pieces="largest", border="drop",
                      min_um3=20, of_median=(0.5, 3))  # fmt: skip
    expected = tidy_labels(np.load("labels.npy"), rules, voxel_um=(1.0, 0.5, 0.5))
    made = np.load("tidy.npy")
    assert (code, err, made.dtype) == (0, "", np.uint32)
    np.testing.assert_array_equal(made, expected.slices)
    rows = zip(expected.old_ids, expected.new_ids, expected.fates, strict=True)
    assert table("ids.csv") == [(int(old), int(new), str(fate)) for old, new, fate in rows]
    assert not Path("tidy.ids.csv").exists()


def test_the_summary_counts_by_rule(clg: Clg) -> None:
    labels = two_and_a_speck()

    code, told, err = clg("tidy-labels", "balls.npy", "tidy.tif", *UM, "--merge", "7,8", "--split",
                          "4", "--fill", "--border", "drop", "--min-um3", "3")  # fmt: skip

    assert (code, err) == (0, "")
    assert told.splitlines()[:2] == [
        (
            "balls.npy: 5 nuclei -> 3: 1 merged into others, 1 more by splitting, 1 on the "
            "border, 1 smaller than 3 um^3."
        ),
        "Voxels: 1 of holes filled.",
    ]
    assert table("tidy.ids.csv") == [
        (4, 1, "split"), (4, 3, "split"), (7, 2, "merged"), (8, 2, "merged"), (90, 0, "small"),
        (91, 0, "border"),
    ]  # fmt: skip
    made = io.open_image("tidy.tif").read()
    np.testing.assert_array_equal(made == 2, np.pad(np.ones((7, 8, 7), bool), (
        (2, 3), (12, 4), (2, 31))))  # fmt: skip
    np.testing.assert_array_equal((made == 1) | (made == 3), labels == 4)


def test_every_fate_of_an_object_has_words(clg: Clg) -> None:
    two_and_a_speck()

    told = [
        clg("tidy-labels", "balls.npy", "tidy.npy", "--overwrite", *words)[1].splitlines()
        for words in (
            ("--of-median", "0.5,1.5"),
            ("--smooth", "1", "--smooth-by", "opening", "--pieces", "separate"),
            ("--smooth", "1", "--smooth-by", "opening", "--pieces", "largest"),
        )
    ]

    assert told[0][0] == (
        "balls.npy: 5 nuclei -> 2: 2 below 0.5 of the median, 1 above 1.5 times the median."
    )
    assert "1 more by separating pieces, 1 smoothed away" in told[1][0]
    assert told[2][1].endswith("of smaller pieces dropped.")
    assert set(FATES) - {"kept"} == set(module.TEXTS)


def test_a_dry_run_says_all_and_writes_nothing(clg: Clg, desk: Path) -> None:
    before = {path.name: path.read_bytes() for path in desk.iterdir()}
    words = ("--border", "drop", "--fill")

    code, told, err = clg("tidy-labels", "labels.tif", "labels.npy", *words, "--dry-run")

    assert (code, err) == (0, "")
    assert {path.name: path.read_bytes() for path in desk.iterdir()} == before
    said = clg("tidy-labels", "labels.tif", "tidy.tif", *words)[1]
    assert told.splitlines()[:-1] == said.splitlines()[:-1]
    assert told.endswith("Nothing was written (--dry-run).\n")


def test_results_that_are_there_stay_unless_they_may_go(clg: Clg) -> None:
    Path("tidy.tif").write_bytes(b"something dear")
    Path("other.ids.csv").write_text("dear too")

    for output, name in (("tidy.tif", "tidy.tif"), ("other.tif", "other.ids.csv")):
        code, told, err = clg("tidy-labels", "labels.tif", output)
        assert (code, told) == (2, "")
        assert err == f"error: {name} is there already. Replace it with --overwrite.\n"
    assert Path("tidy.tif").read_bytes() == b"something dear"
    assert not Path("other.tif").exists()

    assert clg("tidy-labels", "labels.tif", "tidy.tif", "--overwrite")[0] == 0
    assert io.open_image("tidy.tif").shape == (12, 40, 44)


def test_the_labels_themselves_are_never_replaced(clg: Clg, desk: Path) -> None:
    (desk / "link.tif").symlink_to("labels.tif")
    (desk / "masks").mkdir()
    np.save(desk / "masks" / "z0.npy", np.ones((4, 5), np.uint8))
    before = Path("labels.tif").read_bytes()

    for words, sentence in (
        (("labels.tif", "labels.tif"), "labels.tif is named twice"),
        (("labels.tif", "link.tif"), "link.tif is named twice"),
        (("labels.tif", "t.tif", "--map", "labels.tif"), "labels.tif is named twice"),
        (("labels.tif", "t.npy", "--map", "t.npy"), "t.npy is named twice"),
        (("masks", "masks/z0.npy"), "masks/z0.npy would lie among the masks of masks"),
        (("labels.tif", "no/t.tif"), "there is no folder no"),
        (("labels.tif", "t.zarr"), "written as .tif or .npy"),
    ):
        code, told, err = clg("tidy-labels", *words, "--overwrite")
        assert (code, told, sentence in err) == (3, "", True), err

    assert Path("labels.tif").read_bytes() == before
    assert np.load("masks/z0.npy").shape == (4, 5)


@pytest.mark.parametrize("kind", ["npy", "npz", "zarr", "folder", "_seg.npy", "floats"])
def test_labels_are_read_from_whatever_holds_them(clg: Clg, kind: str) -> None:
    labels = np.load("labels.npy").astype(np.uint16)
    name = {"folder": "masks", "_seg.npy": "a_seg.npy"}.get(kind, f"a.{kind}")
    words: tuple[str, ...] = ()
    if kind == "npz":
        np.savez(name, nuclei=labels, other=labels[0])
        words = ("--dataset", "nuclei")
    elif kind == "zarr":
        zarr.create_array(name, data=labels)
    elif kind == "folder":
        Path(name).mkdir()
        for z, plane in enumerate(labels):
            tifffile.imwrite(f"masks/z{z}.tif", plane)
    elif kind == "_seg.npy":
        np.save(name, np.array({"masks": labels}, object), allow_pickle=True)
    else:
        name = "a.npy"
        np.save(name, labels.astype(np.float32) if kind == "floats" else labels)

    code, _, err = clg("tidy-labels", name, "tidy.npy", *words)

    assert code == 0, err
    np.testing.assert_array_equal(np.load("tidy.npy"), relabel(labels).labels)
    assert ("--method import" in err) == (kind == "folder")


def test_axes_that_no_file_says_can_be_said(clg: Clg) -> None:
    labels = np.load("labels.npy")
    np.save("turned.npy", labels.transpose(1, 2, 0))

    assert clg("tidy-labels", "turned.npy", "tidy.npy", "--axes", "yxz")[0] == 0

    np.testing.assert_array_equal(np.load("tidy.npy"), relabel(labels).labels)


def test_a_voxel_size_that_nobody_says_is_not_made_up(clg: Clg) -> None:
    assert clg("tidy-labels", "labels.npy", "tidy.tif", "--of-median", "0.1,9")[0] == 0
    assert io.open_image("tidy.tif").voxel_um in (None, (None, None, None))

    for option, value in (("--min-um3", "5"), ("--split", "3")):
        code, told, err = clg("tidy-labels", "labels.npy", "other.tif", option, value)
        assert (code, told) == (2, "")
        assert err == (
            f"error: {option} needs the size of a voxel, and labels.npy does not say it: "
            "--voxel-um Z,Y,X.\n"
        )


BAD = {
    "fractions": (np.full((3, 4, 5), 0.5), "bad.npy, slice 0: Labels must be whole numbers"),
    "negative": (np.full((3, 4, 5), -2), "bad.npy, slice 0: Labels must lie between 0"),
    "too high": (np.full((3, 4, 5), 2**32), "go from 4294967296 to 4294967296"),
    "empty": (np.zeros((3, 4, 5), np.uint8), "all voxels are background, there is no object"),
    "rgb": (np.ones((20, 20, 3), np.uint8), "is a picture in colours"),
}


@pytest.mark.parametrize(("values", "sentence"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("words", [(), ("--fill",)], ids=["streamed", "held"])
def test_what_is_no_labels_is_told_in_a_sentence(
    clg: Clg, values: np.ndarray, sentence: str, words: tuple[str, ...]
) -> None:
    np.save("bad.npy", values)

    code, told, err = clg("tidy-labels", "bad.npy", "tidy.npy", *words)

    assert (code, told) == (3, "")
    assert err.startswith("error: ")
    assert sentence in err
    assert err.count("\n") == 1
    assert not Path("tidy.npy").exists()


def test_a_single_slice_is_warned_of_and_an_empty_result_too(clg: Clg) -> None:
    np.save("plane.npy", np.ones((6, 7), np.uint8))

    code, told, err = clg("tidy-labels", "plane.npy", "tidy.npy", "--border", "drop")

    assert (code, told.splitlines()[0]) == (0, "plane.npy: 1 nucleus -> 0: 1 on the border.")
    assert "this is a single slice" in err
    assert "no nucleus is left" in err
    assert not np.load("tidy.npy").any()


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("--split", "1,3"), 3, "labels.tif: there are no objects [1]; split ids"),
        (("--merge", "3,4"), 3, "labels.tif: there are no objects [4]; merge ids"),
        (("--merge", "3,6", "--split", "6"), 3, "objects [6] are to be split and merged"),
        (("--merge", "3"), 2, "'3' is not 2 ids or more"),
        (("--merge", "3,3"), 2, "'3,3' is not 2 ids or more"),
        (("--split", "0"), 2, "0 is background"),
        (("--split", "a,b"), 2, "'a,b' is not a list of ids such as 3,4"),
        (("--split", "3", "--parts", "1"), 2, "--parts"),
        (("--parts", "3"), 2, "--parts says how many parts the ids of --split have"),
        (("--smooth-by", "opening"), 2, "say how often: --smooth 1"),
        (("--smooth", "-1"), 2, "--smooth"),
        (("--of-median", "5,1"), 2, "'5,1' is not two rising shares"),
        (("--of-median", "nan,2"), 2, "is not two rising shares"),
        (("--of-median", "3"), 2, "is not two rising shares"),
        (("--min-um3", "0"), 2, "--min-um3"),
        (("--min-um3", "nan"), 2, "--min-um3 has to be a volume"),
        (("--voxel-um", "0,1,1"), 2, "--voxel-um has to be three positive numbers"),
    ],
)
def test_options_that_cannot_be_are_told(
    clg: Clg, words: tuple[str, ...], code: int, sentence: str
) -> None:
    found, told, err = clg("tidy-labels", "labels.tif", "tidy.tif", *words)

    assert (found, told) == (code, "")
    assert sentence in err
    assert not Path("tidy.tif").exists()


def test_a_speck_cannot_be_split(clg: Clg) -> None:
    two_and_a_speck()

    code, _, err = clg("tidy-labels", "balls.npy", "tidy.tif", *UM, "--split", "90", "--parts", "9")

    assert (code, "object 90 has" in err, "cannot become 9 parts" in err) == (3, True, True)


def test_tidied_labels_are_the_nuclei_of_a_run(clg: Clg, fish: Path) -> None:
    """As the guide says it: the file under [labels], the method "import"."""
    truth = fish / "truth" / "labels.tif"
    tidied = fish / "tidy.tif"
    assert clg("tidy-labels", truth, tidied, "--border", "drop", "--fill", "--smooth", "1")[0] == 0
    settings = fish / "run.toml"
    text = settings.read_text().replace("[labels]\n", '[labels]\npath = "tidy.tif"\n')
    text = text.replace('method = "network"', 'method = "import"')
    settings.write_text(text)
    assert tomllib.loads(text)["labels"]["path"] == "tidy.tif"

    code, _, err = clg("run", fish, "--until", "segment_nuclei", "--executor", "serial")

    assert code == 0, err
    made = Store(fish).result("segment_nuclei").array("labels").values
    np.testing.assert_array_equal(made, io.open_image(tidied).read())
    assert made.max() > 20
