"""A file of the wrong kind is told in one sentence, by every command and at every place."""

from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

Clg = Callable[..., tuple[int, str, str]]
POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)
UM = ("--voxel-um", "1,1,1")
STRUCTURE = ("--structure-axes", "zyx", "--structure-voxel-um", "1,1,1")
LABELS = ("--labels-axes", "zyx", "--labels-voxel-um", "1,1,1")
BEAD = ("--method", "richardson_lucy", "--psf", "measured", "--psf-axes", "zyx")
IMAGES = {
    "deconvolve": ("deconvolve", "@", "out.tif", "--axes", "zyx"),
    "deconvolve: bead": ("deconvolve", "stack.npy", "out.tif", "--axes", "zyx", *UM, *BEAD,
                         "--psf-file", "@"),
    "normalize-contrast": ("normalize-contrast", "@", "out.tif", "--axes", "zyx"),
    "segment-nuclei": ("segment-nuclei", "@", "out.tif", "--axes", "zyx", *UM),
    "correct-motion": ("correct-motion", "@", "out.tif", "--axes", "tzyx"),
    "correct-motion: reference": ("correct-motion", "movie.npy", "out.tif", "--axes", "tzyx",
                                  "--reference", "@"),
    "apply-motion": ("apply-motion", "@", "out.tif", "--axes", "tzyx", "--shifts", "shifts.npz"),
    "apply-motion: shifts": ("apply-motion", "movie.npy", "out.tif", "--axes", "tzyx",
                             "--shifts", "@"),
    "denoise": ("denoise", "@", "out.tif", "--axes", "tzyx"),
    "denoise: shifts": ("denoise", "movie.npy", "out.tif", "--axes", "tzyx", "--shifts", "@"),
    "align-planes": ("align-planes", "@", "stack.npy", "out.txt", "--axes", "zyx", *UM,
                     *STRUCTURE),
    "align-planes: structure": ("align-planes", "stack.npy", "@", "out.txt", "--axes", "zyx", *UM,
                                *STRUCTURE),
    "align-planes: nuclear": ("align-planes", "stack.npy", "stack.npy", "out.txt", "--axes", "zyx",
                              *UM, *STRUCTURE, "--nuclear", "@"),
    "extract-traces": ("extract-traces", "@", "labels.npy", "planes.txt", "out.h5", "--axes",
                       "tzyx", "--rate-hz", "1", *UM, *LABELS),
    "extract-traces: labels": ("extract-traces", "movie.npy", "@", "planes.txt", "out.h5",
                               "--axes", "tzyx", "--rate-hz", "1", *UM, *LABELS),
    "score-labels": ("score-labels", "@", "labels.npy", "--json", "out.json"),
    "score-labels: prediction": ("score-labels", "labels.npy", "@", "--json", "out.json"),
    "tidy-labels": ("tidy-labels", "@", "out.tif"),
    "tidy-labels: held": ("tidy-labels", "@", "out.npy", "--fill"),
    "score-labels: image": ("score-labels", "labels.npy", "labels.npy", "--image", "@", "--json",
                            "out.json"),
}  # fmt: skip
BAD_IMAGES = ("empty.tif", "words.tif", "pointer.tif", "pointer.npy", "pointer.h5", "torn.tif",
              "torn.npy", "torn.h5", "folder.tif", "objects.npy", "absent.tif",
              "zeros.h5")  # fmt: skip
TRACES = {
    "merge-planes": ("merge-planes", "@", "labels.npy", "out.npz"),
    "compute-dff": ("compute-dff", "@", "out.npz", "--rate-hz", "2"),
    "denoise-traces": ("denoise-traces", "@", "out.npz"),
    "build-network": ("build-network", "@", "out.gt"),
}
BAD_TRACES = ("empty.npz", "words.tif", "pointer.npz", "torn.npz", "torn.h5", "folder.tif",
              "objects.npz", "absent.npz")  # fmt: skip
NETWORKS = {
    "measure-network": ("measure-network", "@", "out.csv"),
    "dismantle": ("dismantle", "@", "out"),
}
BAD_NETWORKS = ("empty.gt", "pointer.gt", "pointer.graphml", "torn.npz", "folder.tif", "absent.gt")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with good files, and one of every bad kind."""
    folder = tmp_path_factory.mktemp("desk")
    rng = np.random.default_rng(0)
    stack = rng.normal(100, 20, (3, 32, 32)).astype(np.float32)
    np.save(folder / "stack.npy", stack)
    np.save(folder / "movie.npy", np.stack([stack] * 6))
    np.save(folder / "labels.npy", (stack > 130).astype(np.uint16))
    (folder / "planes.txt").write_text("1-1\n")
    for name in ("empty.tif", "empty.npz", "empty.gt"):
        (folder / name).touch()
    for suffix in ("tif", "npy", "h5", "npz", "gt", "graphml"):
        (folder / f"pointer.{suffix}").write_text(POINTER)
    (folder / "words.tif").write_text("frame,plane\n0,0\n")
    (folder / "zeros.h5").write_bytes(bytes(512))
    (folder / "folder.tif").mkdir()
    tifffile.imwrite(folder / "torn.tif", rng.integers(0, 9, (6, 32, 32), np.uint16))
    np.save(folder / "torn.npy", stack)
    np.savez(folder / "torn.npz", trace=rng.normal(size=(9, 99)))
    with h5py.File(folder / "torn.h5", "w") as file:
        file["trace"] = rng.normal(size=(90, 99))
    for path in folder.glob("torn.*"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    anything = np.array([{"a": 1}], object)
    np.save(folder / "objects.npy", anything, allow_pickle=True)
    np.savez(folder / "objects.npz", trace=anything)
    return folder


def content(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.iterdir()}


def cases() -> Iterator[tuple[tuple[str, ...], str]]:
    for commands, files in (
        (IMAGES, BAD_IMAGES), (TRACES, BAD_TRACES), (NETWORKS, BAD_NETWORKS),
    ):  # fmt: skip
        for words in commands.values():
            for name in files:
                yield words, name


def label(value: object) -> str:
    if isinstance(value, str):
        return value
    everything = IMAGES | TRACES | NETWORKS
    return next(name for name, words in everything.items() if words == value)


@pytest.mark.parametrize(("words", "name"), [*cases()], ids=label)
def test_a_wrong_file_is_told_in_a_sentence_and_leaves_nothing(
    clg: Clg, desk: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], name: str
) -> None:
    monkeypatch.chdir(desk)
    before = content(desk)

    code, told, err = clg(*(name if word == "@" else word for word in words))

    assert code == 3, err
    assert err.startswith("error: ")
    assert "Traceback" not in err
    assert name.partition(".")[0] in err  # the file is named
    assert (told, content(desk)) == ("", before)
