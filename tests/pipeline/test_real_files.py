"""The commands on recordings and networks that others published."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from benchmarks.real_recordings import RECORDINGS, Steadied, judge, read
from clgkit import io
from clgkit.pipeline.store import Store

Clg = Callable[..., tuple[int, str, str]]
NUCLEI = ("--dataset", "raw", "--axes", "zyx", "--voxel-um", ".284,.127,.127")


@pytest.fixture
def real(shared: Path) -> Callable[[str], Path]:
    def find(name: str) -> Path:
        path = shared / "data" / name
        if not path.exists():
            pytest.skip(f"{name} is not at hand in ../shared/data")
        return path

    return find


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_contrast_of_a_plant_is_evened_out(
    tmp_path: Path, clg: Clg, real: Callable[[str], Path]
) -> None:
    code, _, err = clg(
        "normalize-contrast", real("volumes/gonuclear_1135_mini.h5"), tmp_path / "n.tif", *NUCLEI
    )

    assert (code, err) == (0, "")
    even = tifffile.imread(tmp_path / "n.tif")
    assert even.dtype == np.float32
    assert np.isfinite(even).all()


def test_nuclei_of_a_plant_are_counted(
    tmp_path: Path, clg: Clg, real: Callable[[str], Path]
) -> None:
    volume = real("volumes/gonuclear_1135_mini.h5")

    code, told, _ = clg("segment-nuclei", volume, tmp_path / "l.tif", *NUCLEI,
                        "--diameter-um", "2.6", "--elongation", "1")  # fmt: skip

    assert code == 0
    labels = tifffile.imread(tmp_path / "l.tif")
    assert labels.dtype == np.uint32
    assert f"{len(np.unique(labels)) - 1} nuclei" in told
    assert 60 < labels.max() < 200  # the outlines that came with the volume: about a hundred


@pytest.mark.parametrize(
    "name", [name for name, given in RECORDINGS.items() if not given.reference]
)
def test_a_recorded_movie_becomes_steadier(
    tmp_path: Path, clg: Clg, real: Callable[[str], Path], name: str
) -> None:
    real(f"movies/{RECORDINGS[name].file}")
    frames = read(RECORDINGS[name])[:24, -1:, :128, :128]
    tifffile.imwrite(tmp_path / "m.tif", frames[:, 0], metadata=None)

    code, _, err = clg("correct-motion", tmp_path / "m.tif", tmp_path / "out.tif", "--axes", "tyx",
                       "--shifts", tmp_path / "shifts.csv", "--template-file",
                       tmp_path / "t.tif")  # fmt: skip

    assert code == 0, err
    corrected = tifffile.imread(tmp_path / "out.tif").reshape(frames.shape)
    template = tifffile.imread(tmp_path / "t.tif").reshape(frames.shape[1:])
    table = rows(tmp_path / "shifts.csv")
    shifts = np.array([(row["shift_y_px"], row["shift_x_px"]) for row in table], np.float32)
    assert len(shifts) == frames.shape[0] * frames.shape[1]
    judged = judge(Steadied(frames, corrected, template, shifts.reshape(*frames.shape[:2], 2), ()))
    # 1e-3: what correlations of twenty frames of noise differ by on another rectangle.
    assert judged.smooth_after > judged.smooth_before - 1e-3
    # The largest shift, two pixels of patches that deviate, and two that the kernel reaches over.
    border = int(np.ceil(np.abs(shifts).max())) + 4
    assert border < 20  # of 64 to 128 pixels
    assert np.isfinite(corrected[..., border:-border, border:-border]).all()


def test_a_second_cycle_lies_on_the_template_of_the_first(
    tmp_path: Path, clg: Clg, real: Callable[[str], Path]
) -> None:
    first, second = (tmp_path / f"cycle{n}.tif" for n in (1, 2))
    for n, path in ((1, first), (2, second)):
        frames = tifffile.imread(real(f"movies/kenyon2p_cycle{n}.tif"), key=range(0, 53, 2))
        tifffile.imwrite(path, frames[:, :192, :192], metadata=None)
    template, out = tmp_path / "template.tif", [tmp_path / f"{n}.tif" for n in (1, 2)]

    assert clg("correct-motion", first, out[0], "--axes", "tyx", "--method", "rigid",
               "--template-file", template)[0] == 0  # fmt: skip
    assert clg("correct-motion", second, out[1], "--axes", "tyx", "--method", "rigid",
               "--reference", template)[0] == 0  # fmt: skip

    inner = np.s_[20:-20, 20:-20]
    raw = [tifffile.imread(path).mean(axis=0)[inner] for path in (first, second)]
    laid = [tifffile.imread(path).squeeze().mean(axis=0)[inner] for path in out]
    before, after = (np.corrcoef(*(m.ravel() for m in pair))[0, 1] for pair in (raw, laid))
    assert after > before + 0.01


def test_planes_traces_and_neurons_of_a_fish(
    tmp_path: Path, clg: Clg, real: Callable[[str], Path]
) -> None:
    movie = real("movies/thunder_fish_lightsheet_240x2x76x87.tif")
    facts = ("--voxel-um", "10,2,2", "--rate-hz", "2")
    stack, labels = tmp_path / "stack.tif", tmp_path / "labels.tif"
    mean = tifffile.imread(movie).mean(axis=0).astype(np.float32)
    io.write_tiff(stack, mean, axes="zyx", voxel_um=(10.0, 2.0, 2.0))
    before, after = tmp_path / "before.h5", tmp_path / "after.mat"
    size = ("--diameter-um", "8", "--elongation", "1")

    for words in (
        # Planes 10 um apart, indicator in the cytosol: the network finds nothing there.
        ("segment-nuclei", stack, labels, *size, "--method", "classical"),
        ("align-planes", movie, stack, tmp_path / "planes.txt", *facts),
        ("extract-traces", movie, labels, tmp_path / "planes.txt", before, *facts),
        ("merge-planes", before, labels, after),
    ):
        code, _, err = clg(*words)
        assert code == 0, err

    assert (tmp_path / "planes.txt").read_text().split() == ["1-1", "2-2"]
    rois, neurons = io.read_traces(before), io.read_traces(after)
    assert rois.trace.shape[1] == 240
    assert 10 < len(neurons.trace) <= len(rois.trace)
    assert rois.area is not None
    assert rois.area.min() > 0


def test_traces_of_a_tectum_become_a_network(
    tmp_path: Path, clg: Clg, real: Callable[[str], Path]
) -> None:
    traces = real("traces/triplett_zf_20151104-f1.mat")
    dff, denoised, graph = (tmp_path / name for name in ("dff.npz", "denoised.npz", "net.gt"))

    for words in (
        ("compute-dff", traces, dff, "--key", "activity_matrix", "--rate-hz", "2.16"),
        ("denoise-traces", dff, denoised),
        ("build-network", denoised, graph),
        ("measure-network", graph, tmp_path / "nodes.csv"),
    ):
        code, _, err = clg(*words)
        assert code == 0, err

    network = io.read_network(graph).network
    n_pairs = network.n_nodes * (network.n_nodes - 1) / 2
    assert network.n_edges == pytest.approx(n_pairs / 100, abs=1)  # the 99th percentile
    degrees = [int(row["degree"]) for row in rows(tmp_path / "nodes.csv")]
    assert sum(degrees) == 2 * network.n_edges


def test_a_public_network_is_measured_and_dismantled(
    tmp_path: Path, clg: Clg, real: Callable[[str], Path]
) -> None:
    network = real("networks/corruption.gt")

    assert clg("measure-network", network, tmp_path / "nodes.csv")[0] == 0
    code, told, _ = clg("dismantle", network, tmp_path / "out")

    assert code == 0
    assert "removals" in told
    curve = [int(row["lcc"]) for row in rows(tmp_path / "out/lcc_curve.csv")]
    assert curve[0] == len(rows(tmp_path / "nodes.csv")) == 309
    assert curve[-1] <= 31 < curve[-2]  # a tenth of the nodes, rounded up
    assert len(rows(tmp_path / "out/removed_nodes.csv")) == len(curve) - 1


def test_a_light_sheet_movie_runs_without_a_structural_stack(
    tmp_path: Path, clg: Clg, real: Callable[[str], Path]
) -> None:
    movie = real("movies/thunder_fish_lightsheet_240x2x76x87.tif")
    run = tmp_path / "run"
    assert clg("init", run, "--function", movie, "--function-axes", "tzyx", "--function-voxel-um",
               "10,2,2", "--rate-hz", "2", "--time-average")[0] == 0  # fmt: skip

    # Planes 10 um apart, no nuclear label: what the network was not trained on.
    code, _, err = clg("run", run, "--no-report", "--set", "segment_nuclei.diameter_um=8",
                       "--set", "segment_nuclei.elongation=1",
                       "--set", "segment_nuclei.method=classical")  # fmt: skip

    assert code == 0, err
    store = Store(run)
    assert store.result("align_planes").array("planes").values.tolist() == [0, 1]
    assert store.result("merge_planes").array("fluorescence").sizes["neuron"] > 10
    assert store.result("correct_motion").array("agreement").values.min() > 0.5
    assert clg("verify", run)[0] == 0
