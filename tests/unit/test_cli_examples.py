"""The examples that --help prints do what they say, pasted as they stand."""

import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import h5py
import numpy as np
import pytest
import zarr
from scipy import ndimage
from scipy.io import savemat

from clgkit import io
from clgkit.cli import entry
from clgkit.simulate import Fish, preset
from clgkit.stages import STAGES

Clg = Callable[..., tuple[int, str, str]]
FISH = preset("tiny", shape_px=(24, 96, 96), n_neurons=40, n_planes=2, n_frames=20)
STAGE_COMMANDS = [name.replace("_", "-") for name in STAGES]
SHOWN = [*STAGE_COMMANDS, "score-labels", "tidy-labels"]
ELSEWHERE = {
    "--run fish1": "needs a finished run; see test_cli_second_channel",
    "--weights": "needs a trained network; see test_cli_train_denoiser",
    "--model cyto2": "needs weights of Cellpose; see test_segmentation_cellpose",
    "--method support": "needs a trained network; see test_cli_train_denoiser",
    "--nuclear red.tif": "takes minutes of frames; see test_stages_z_drift",
    "--method import": "see the tests of segment_nuclei",
    "--compare": "tries every method; see test_cli_denoise",
}
QUICK = {
    "deconvolve": ("--iterations", "3"),
    "correct-motion": ("--method", "rigid"),
}
"""Put behind an example, so that it takes a second and not ten."""


def examples_of(command: str) -> Iterator[str]:
    """Yield the examples of a command; a line that ends in a backslash goes on."""
    text = (entry.load(command).epilog or "").replace("\\\n", " ")
    for line in text.splitlines():
        if line.strip().startswith("clg "):
            yield " ".join(line.split())


def every_example() -> list[tuple[str, str]]:
    return [(name, line) for name in SHOWN for line in examples_of(name)]


RUN = [line for _, line in every_example() if not any(part in line for part in ELSEWHERE)]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every file that the examples speak of."""
    folder = tmp_path_factory.mktemp("desk")
    fish = Fish(FISH)
    green = np.stack([fish.movie_block(p, 0, FISH.n_frames) for p in range(2)], axis=1)
    stack = fish.structure_block(0, 24)
    labels = fish.labels_block(0, 24)
    movie_um, stack_um = (8.0, 0.8, 0.8), (1.0, 0.4, 0.4)
    for name in ("in", "movie", "corrected", "second_session"):
        made = stack if name == "in" else green
        axes, um = ("zyx", stack_um) if name == "in" else ("tzyx", movie_um)
        rate = {} if name == "in" else {"rate_hz": 2.0}
        io.write_tiff(folder / f"{name}.tif", made, axes=axes, voxel_um=um, **rate)
    io.write_tiff(folder / "red.tif", green, axes="tzyx", voxel_um=movie_um, rate_hz=2.0)
    means = green.mean(axis=0).astype(np.float32)
    for name in ("template", "template_of_the_first"):
        io.write_tiff(folder / f"{name}.tif", means, axes="zyx", voxel_um=movie_um)
    io.write_tiff(folder / "stack.tif", stack, axes="zyx", voxel_um=stack_um)
    for name in ("labels", "truth"):
        io.write_tiff(folder / f"{name}.tif", labels, axes="zyx", voxel_um=stack_um)
    bead = ndimage.gaussian_filter(np.pad([[[1e5]]], ((2, 2), (9, 9), (9, 9))), 1.2)
    io.write_tiff(folder / "bead.tif", bead.astype(np.uint16), axes="zyx", voxel_um=stack_um)
    io.write_planemap(folder / "planes.txt", io.PlaneMap(np.arange(2), fish.slice_of_plane))
    (folder / "folder_of_planes").mkdir()
    for plane in range(2):
        io.write_tiff(folder / "folder_of_planes" / f"z_{plane + 1}.tif", green[:, plane],
                      axes="tyx", voxel_um=movie_um, rate_hz=2.0)  # fmt: skip
    (folder / "folder_of_masks").mkdir()
    for z, plane in enumerate(labels):
        np.save(folder / "folder_of_masks" / f"z{z}.npy", plane)
    write_tables(folder)
    return folder


def prepared(desk: Path, folder: Path, line: str, clg: Clg) -> None:
    """Bring the files of one example to the current folder, and make those of earlier ones."""
    shutil.copytree(desk, folder, dirs_exist_ok=True)
    words = line.split()
    if words[1] == "deconvolve":  # slow, and content with little
        for name in ("in", "stack"):
            cut(folder / f"{name}.tif", (slice(3), slice(40), slice(40)), "zyx")
    if words[1] == "denoise":
        cut(folder / "corrected.tif", (slice(None), slice(1), slice(32), slice(32)), "tzyx")
    if words[1] == "correct-motion" and "tyx" in words:
        cut(folder / "movie.tif", (slice(None), 0), "tyx")
    if "raw" in words:
        with h5py.File(folder / "stack.h5", "w") as file:
            file["raw"] = io.open_image(folder / "stack.tif").read()
    if "labels.zarr" in words:
        values = io.open_image(folder / "labels.tif").read()
        zarr.create_array(folder / "labels.zarr", data=values)
    if any(word.endswith("_maps.npz") for word in words):
        given = ["template.tif", "stack.tif", "again.txt", "--plane-map", "planes.txt"]
        assert clg("align-planes", *given)[0] == 0
        Path("again_maps.npz").rename("planes_maps.npz")
        Path("again.txt").unlink()
    if any(word.endswith("_shifts.npz") for word in words):
        movie = "corrected.tif" if words[1] == "denoise" else "movie.tif"
        assert clg("correct-motion", movie, "out.tif", "--method", "rigid")[0] == 0
        shutil.copy("out_shifts.npz", "corrected_shifts.npz")
        Path("out.tif").unlink()


def cut(path: Path, part: tuple[slice | int, ...], axes: str) -> None:
    """Keep a part of a TIFF file."""
    rate = {"rate_hz": 2.0} if "t" in axes else {}
    values = io.open_image(path).read()[part]
    io.write_tiff(path, values, axes=axes, voxel_um=(8.0, 0.8, 0.8), **rate)


def write_tables(folder: Path) -> None:
    """Write traces and a network under all the names that examples use."""
    rng = np.random.default_rng(0)
    trace = 100 + rng.normal(size=(1, 80)).cumsum(axis=1) + rng.normal(size=(9, 80))
    ids = np.arange(1, 10)
    rois = io.TraceBundle(trace, np.ones((9, 3)), np.maximum(ids - 1, 1), np.full(9, 12))
    neurons = io.TraceBundle(trace, np.ones((9, 3)), ids)
    for name in ("CellTrace_before_calibration.h5", "before.mat"):
        io.write_traces(folder / name, rois)
    for name in ("CellTrace_after_calibration.h5", "after.h5", "dff.npz", "denoised.npz",
                 "denoised.h5"):  # fmt: skip
        io.write_traces(folder / name, neurons)
    savemat(folder / "traces.mat", {"activity_matrix": trace})
    edges = "".join(f"{i},{i % 9 + 1}\n" for i in ids)
    (folder / "net.csv").write_text(f"source,target\n{edges}")


@pytest.mark.parametrize("command", SHOWN)
def test_a_command_shows_an_example_of_itself(command: str) -> None:
    lines = list(examples_of(command))

    assert lines
    assert all(line.startswith(f"clg {command} ") for line in lines)


@pytest.mark.parametrize("command", entry.app.list_commands(click.Context(entry.app)))
def test_every_option_of_an_example_is_an_option(command: str) -> None:
    """Other commands may be shown beside the command itself."""
    for line in examples_of(command):
        words = shlex.split(line)
        known = {name for parameter in entry.load(words[1]).params
                 for name in (*parameter.opts, *parameter.secondary_opts)}  # fmt: skip

        assert {word for word in words if word.startswith("--")} <= known, line


@pytest.mark.parametrize("command", entry.app.list_commands(click.Context(entry.app)))
def test_a_long_example_can_be_pasted(command: str) -> None:
    """A shell ends a command at the end of a line, unless the line says that it goes on."""
    lines = [line.strip() for line in (entry.load(command).epilog or "").splitlines()]
    lines = [line for line in lines if line and line != "\b" and not line.startswith("Example")]

    for before, line in zip(["", *lines], lines, strict=False):
        assert line.startswith("clg ") != before.endswith("\\"), line


@pytest.mark.parametrize("line", RUN)
def test_an_example_runs_and_leaves_what_it_names(
    clg: Clg, desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    prepared(desk, tmp_path, line, clg)
    words = shlex.split(line.partition(" > ")[0])[1:]
    if words[0] in {"measure-network", "dismantle"}:
        words = ["net.csv" if word.startswith("net.") else word for word in words]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}

    code, told, err = clg(*words, *QUICK.get(words[0], ()))

    assert code == 0, err
    assert "Traceback" not in err
    fresh = {p.name for p in tmp_path.iterdir() if before.get(p) != p.stat().st_mtime_ns}
    told_of = [word for word in words if re.search(rf"Wrote {word.rstrip('/')}[.:;](\s|$)", told)]
    outputs = {Path(word).name for word in told_of}
    assert words[0] == "score-labels" or outputs
    assert outputs <= fresh
    if "--json" in words:
        assert json.loads((tmp_path / "score.json").read_text())["at_iou"]["0.5"]["f1"] == 1.0
    for option in ("--shifts", "--scores", "--drift"):
        if option in words and words[words.index(option) + 1].endswith(".csv"):
            assert words[words.index(option) + 1] in fresh
