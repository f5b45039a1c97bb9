"""What a command writes: whole, in its place, and never in the place of what it read."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from clgkit import fsio, io
from clgkit.cli import plain
from clgkit.errors import DataError

Clg = Callable[..., tuple[int, str, str]]
MOTION = ("--axes", "tzyx", "--method", "rigid", "--max-shift-px", "3")
STACK = ("--axes", "zyx", "--voxel-um", "1,1,1")
PLANES = (*STACK, "--structure-axes", "zyx", "--structure-voxel-um", "1,1,1", "--nucleus-um", "3",
          "--in-plane", "offset")  # fmt: skip
KEPT = b"something dear"


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, which is the current one, with a movie, a stack, labels, traces and a network."""
    rng = np.random.default_rng(0)
    stack = ndimage.gaussian_filter(rng.normal(100, 60, (4, 48, 48)), (0, 1.5, 1.5))
    stack = np.asarray(stack, np.float32)
    np.save(tmp_path / "stack.npy", stack)
    np.save(tmp_path / "template.npy", stack[1:3])
    np.save(tmp_path / "movie.npy", np.stack([stack[1:3]] * 3 + [np.roll(stack[1:3], 1, 2)] * 3))
    np.save(tmp_path / "labels.npy", np.uint16(stack > 110))
    io.write_traces(tmp_path / "t.npz", io.TraceBundle(rng.normal(size=(6, 40))))
    (tmp_path / "net.csv").write_text("source,target\n1,2\n2,3\n3,4\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def never(*_: Any, **__: Any) -> None:
    raise AssertionError("the work has begun")


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def stop_before_the_work(monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    stage = words[0].replace("-", "_")
    monkeypatch.setattr(f"clgkit.stages.{stage}.{stage}", never)


RESULTS = {
    "movie": ("correct-motion", "movie.npy", "@", *MOTION),
    "template": ("correct-motion", "movie.npy", "out.npy", *MOTION, "--template-file", "@"),
    "shifts": ("correct-motion", "movie.npy", "out.npy", *MOTION, "--shifts", "@"),
    "mean": ("apply-motion", "movie.npy", "out.npy", "--axes", "tzyx", "--shifts", "s.npz",
             "--template-file", "@"),
    "stack": ("normalize-contrast", "stack.npy", "@", "--axes", "zyx"),
    "denoised stack": ("deconvolve", "stack.npy", "out.npy", "--axes", "zyx", "--denoised", "@"),
    "labels": ("segment-nuclei", "stack.npy", "@", *STACK),
    "plane map": ("align-planes", "template.npy", "stack.npy", "@", *PLANES),
    "scores": ("align-planes", "template.npy", "stack.npy", "o.txt", *PLANES, "--scores", "@"),
    "drift": ("align-planes", "template.npy", "stack.npy", "o.txt", *PLANES, "--drift", "@"),
    "traces": ("compute-dff", "t.npz", "@", "--rate-hz", "2"),
}  # fmt: skip
COMMANDS = list(RESULTS.values())


@pytest.mark.parametrize("words", COMMANDS, ids=RESULTS)
def test_a_folder_that_is_not_there_is_told_before_the_work(
    clg: Clg, desk: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    stop_before_the_work(monkeypatch, words)
    before = content(desk)

    code, _, err = clg(*("no/where.npy" if word == "@" else word for word in words))

    assert (code, f"The folder {desk / 'no'} does not exist" in err) == (3, True)
    assert content(desk) == before


@pytest.mark.parametrize("words", COMMANDS, ids=RESULTS)
def test_a_folder_is_no_name_for_a_file(
    clg: Clg, desk: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    stop_before_the_work(monkeypatch, words)
    (desk / "there.npy").mkdir()

    code, _, err = clg(*("there.npy" if word == "@" else word for word in words))

    assert (code, err) == (
        3, "error: there.npy is a folder; give another name for the file.\n",
    )  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS, ids=RESULTS)
def test_no_result_takes_the_place_of_what_it_is_made_of(
    clg: Clg, desk: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    stop_before_the_work(monkeypatch, words)
    before = content(desk)
    source = words[1]

    code, _, err = clg(*(f"../{desk.name}/{source}" if word == "@" else word for word in words))

    assert (code, "named twice" in err) == (3, True)
    assert content(desk) == before


def test_a_link_to_the_movie_is_the_movie(clg: Clg, desk: Path) -> None:
    (desk / "link.npy").symlink_to(desk / "movie.npy")
    before = content(desk)

    code, _, err = clg("correct-motion", "movie.npy", "link.npy", *MOTION)

    assert (code, "link.npy is named twice" in err) == (3, True)
    assert content(desk) == before


def test_two_results_need_two_names(clg: Clg, desk: Path) -> None:
    code, _, err = clg("correct-motion", "movie.npy", "a.npy", *MOTION, "--template-file", "a.npy")

    assert (code, "a.npy is named twice" in err) == (3, True)
    assert not (desk / "a.npy").exists()


def test_removals_go_into_a_folder_that_may_be_there(clg: Clg, desk: Path) -> None:
    (desk / "file").write_bytes(KEPT)
    (desk / "folder").mkdir()

    refused = clg("dismantle", "net.csv", "file")
    taken = clg("dismantle", "net.csv", "folder")

    assert refused[0] == 3
    assert "file is a file; give another name for the folder" in refused[2]
    assert (desk / "file").read_bytes() == KEPT
    assert taken[0] == 0, taken[2]
    assert {p.name for p in (desk / "folder").iterdir()} == {"lcc_curve.csv", "removed_nodes.csv"}


def test_shifts_are_read_by_one_command_and_written_by_another(clg: Clg, desk: Path) -> None:
    """--shifts names a result of correct-motion, and an input of apply-motion."""
    code, _, err = clg("correct-motion", "movie.npy", "out.npy", *MOTION, "--shifts", "s.csv")
    assert code == 0, err

    again = clg("apply-motion", "movie.npy", "again.npy", "--axes", "tzyx", "--shifts",
                "out_shifts.npz")  # fmt: skip

    assert again[0] == 0, again[2]
    assert (desk / "again.npy").read_bytes() == (desk / "out.npy").read_bytes()


def test_an_older_result_is_replaced_as_a_whole(clg: Clg, desk: Path) -> None:
    (desk / "out.npy").write_bytes(KEPT)

    code, _, err = clg("normalize-contrast", "stack.npy", "out.npy", "--axes", "zyx")

    assert code == 0, err
    assert np.load(desk / "out.npy").shape == (4, 48, 48)


WRITERS = {
    "npy": ("normalize-contrast", "stack.npy", "out.npy", "--axes", "zyx"),
    "tif": ("normalize-contrast", "stack.npy", "out.tif", "--axes", "zyx"),
    "text": ("align-planes", "template.npy", "stack.npy", "out.txt", *PLANES),
    "npz": ("compute-dff", "t.npz", "out.npz", "--rate-hz", "2"),
    "h5": ("compute-dff", "t.npz", "out.h5", "--rate-hz", "2"),
    "mat": ("compute-dff", "t.npz", "out.mat", "--rate-hz", "2"),
    "gt": ("build-network", "t.npz", "out.gt"),
    "graphml": ("build-network", "t.npz", "out.graphml"),
    "csv": ("measure-network", "net.csv", "out.csv"),
    "json": ("score-labels", "labels.npy", "labels.npy", "--json", "out.json"),
    "tidied": ("tidy-labels", "labels.npy", "out.npy", "--overwrite", "--fill"),
    "map": ("tidy-labels", "labels.npy", "t.npy", "--overwrite", "--map", "out.csv"),
}


@pytest.mark.parametrize("words", WRITERS.values(), ids=WRITERS)
def test_a_crash_while_writing_leaves_the_older_result(
    clg: Clg, desk: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    name = next(word for word in words if word.startswith("out"))
    (desk / name).write_bytes(KEPT)
    replace = Path.replace

    def torn(self: Path, target: Path) -> Path:
        if Path(target).name == name:
            raise OSError(5, "Input/output error")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", torn)

    code, told, err = clg(*words)

    assert code == 4, err  # of the disk
    assert "Wrote" not in told
    assert (desk / name).read_bytes() == KEPT
    assert not [*litter(desk)]


def litter(folder: Path) -> Iterator[Path]:
    yield from folder.glob(f"{fsio.TEMPORARY}*")
    yield from folder.glob(".clg-*")


def test_scores_do_not_replace_the_labels_they_are_of(clg: Clg, desk: Path) -> None:
    before = content(desk)

    for words in (
        ("labels.npy", "labels.npy", "--json", "labels.npy"),
        ("labels.npy", "labels.npy", "--image", "stack.npy", "--json", "stack.npy"),
    ):
        code, told, err = clg("score-labels", *words)
        assert (code, told, "named twice" in err) == (3, "", True)

    assert clg("score-labels", "labels.npy", "labels.npy", "--json", ".")[0] == 3
    assert content(desk) == before


@pytest.mark.parametrize("text", ["0,1,1", "1,-1,1", "1,1,nan", "inf,1,1"])
def test_a_voxel_has_a_size(clg: Clg, desk: Path, text: str) -> None:
    code, told, err = clg("score-labels", "labels.npy", "labels.npy", "--voxel-um", text)

    assert (code, told) == (2, "")
    assert "--voxel-um has to be three positive numbers" in err
    assert desk.is_dir()


def test_a_score_is_written_with_what_was_asked_for(clg: Clg, desk: Path) -> None:
    code, told, err = clg("score-labels", "labels.npy", "labels.npy", "--json", "s.json", "--iou",
                          "0.5", "--voxel-um", "1,1,1", "--radius-um", "2")  # fmt: skip

    assert code == 0, err
    found = json.loads((desk / "s.json").read_text())
    assert (found["truth"], found["prediction"]) == ("labels.npy", "labels.npy")
    assert found["at_iou"]["0.5"]["f1"] == 1.0
    assert found["centers"]["f1"] == 1.0
    assert "Wrote s.json." in told


def test_what_stands_beside_a_new_file_stays(tmp_path: Path) -> None:
    plain.new_file(tmp_path / "a", beside=[tmp_path / "b"])
    plain.new_file(tmp_path / "new", is_folder=True)

    with pytest.raises(DataError, match="named twice"):
        plain.new_file(tmp_path / "a", beside=[tmp_path / "b", tmp_path / "c" / ".." / "a"])
