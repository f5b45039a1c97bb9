"""A fish as files, and the comparison with the truth, on cases small enough to count by hand."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from clgkit.cli import demo, fishfiles, truth
from clgkit.cli.export import FORMATS
from clgkit.data import Network
from clgkit.pipeline.store import Store
from clgkit.report.overview import TARGETS
from clgkit.simulate import preset

Clg = Callable[..., tuple[int, str, str]]
FISH = preset("tiny", shape_px=(24, 48, 48), n_neurons=10, n_planes=2, n_frames=6)
PIXELS = np.arange(11 * 4 * 5, dtype=np.uint16).reshape(11, 4, 5)
KEYS = {
    "all": (slice(None), slice(None), slice(None)),
    "over two blocks": (slice(2, 7), slice(1, 3), slice(None)),
    "the last, shorter block": (slice(9, None),),
    "backwards": (slice(None, None, -1), slice(0, 2)),
    "every third": (slice(1, None, 3), slice(None, None, 2)),
    "nothing": (slice(5, 5), slice(None), slice(0, 1)),
    "beyond the end": (slice(8, 99), slice(-2, None)),
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("length", [1, 4, 11, 50])
def test_pixels_made_in_blocks_slice_like_an_array(key: tuple[slice, ...], length: int) -> None:
    made = fishfiles.Blocks(lambda a, b: PIXELS[a:b], PIXELS.shape, PIXELS.dtype, length)

    part = made[key]

    assert part.dtype == PIXELS.dtype
    np.testing.assert_array_equal(part, PIXELS[key])


def test_each_block_is_made_once_on_the_way_through() -> None:
    made: list[tuple[int, int]] = []

    def make(start: int, stop: int) -> np.ndarray:
        made.append((start, stop))
        return PIXELS[start:stop]

    blocks = fishfiles.Blocks(make, PIXELS.shape, PIXELS.dtype, 4)
    for index in range(11):
        blocks[slice(index, index + 1), slice(None)]

    assert made == [(0, 4), (4, 8), (8, 11)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    assert fishfiles.write_fish(folder, FISH, lambda *_: None)
    return folder


def test_a_fish_with_another_setting_is_another_fish(written: Path) -> None:
    assert fishfiles.is_written(written, FISH)
    assert not fishfiles.is_written(written, preset("tiny", seed=1))


@pytest.mark.parametrize("text", ["", "[]", '{"settings": 1}', '{"files": 3, "settings": {}}'])
def test_a_receipt_that_cannot_be_read_is_no_fish(tmp_path: Path, text: str) -> None:
    (tmp_path / fishfiles.RECEIPT).write_text(text)

    assert not fishfiles.is_written(tmp_path, FISH)


def test_a_short_file_is_noticed(written: Path) -> None:
    path = written / fishfiles.PLANES
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:-1])
        assert not fishfiles.is_written(written, FISH)
    finally:
        path.write_bytes(whole)


def test_progress_counts_every_file_once(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    fishfiles.write_fish(tmp_path, FISH, lambda *what: told.append(what))

    receipt = json.loads((tmp_path / fishfiles.RECEIPT).read_text())
    assert [done for _, done, _ in told] == [0, 1, 2, 3, 4, 5]
    assert {total for _, _, total in told} == {5}
    # Two planes, structure, labels; the last step writes traces and plane map.
    assert len(receipt["files"]) == 6


def graph(n: int, pairs: list[tuple[int, int]], ids: list[int]) -> Network:
    adjacency = np.zeros((n, n), bool)
    for i, j in pairs:
        adjacency[i, j] = adjacency[j, i] = True
    return Network(
        indptr=np.concatenate([[0], np.cumsum(adjacency.sum(axis=1))]).astype(np.int64),
        indices=np.nonzero(adjacency)[1].astype(np.int32),
        node_ids=np.array(ids, np.uint32),
    )


IDEAL = graph(3, [(0, 1), (1, 2)], [10, 20, 30])
SAME = {1: 10, 2: 20, 3: 30}
EDGES = {
    "all right": ([(0, 1), (1, 2)], SAME, 1.0, 1.0),
    "one missed": ([(0, 1)], SAME, 1.0, 0.5),
    "one too many": ([(0, 1), (1, 2), (0, 2)], SAME, 2 / 3, 1.0),
    "a neuron that does not exist": ([(0, 1), (1, 2)], {1: 10, 2: 20}, 0.5, 0.5),
    "names exchanged": ([(0, 1), (0, 2)], {1: 20, 2: 10, 3: 30}, 1.0, 1.0),
    "one neuron found twice": ([(0, 1), (1, 2)], {1: 10, 2: 20, 3: 10}, 0.5, 0.5),
    "nothing found": ([], SAME, 0.0, 0.0),
}


@pytest.mark.parametrize("case", EDGES.values(), ids=EDGES)
def test_edges_are_compared_by_the_names_of_their_ends(case: Any) -> None:
    pairs, true_of, precision, recall = case

    found = truth._edges(graph(3, pairs, [1, 2, 3]), IDEAL, true_of)

    assert found == pytest.approx((precision, recall))


def traces(rows: list[list[float]], ids: list[int]) -> xr.DataArray:
    return xr.DataArray(
        np.array(rows, np.float32).reshape(len(ids), 4),
        dims=("neuron", "time"),
        coords={"nucleus": ("neuron", ids)},
    )


NAN = math.nan
CORRELATIONS = {
    "the same shape": ([[10, 30, 20, 40]], [5], 1.0),
    "upside down": ([[4, 2, 3, 1]], [5], -1.0),
    "a gap is left out": ([[1, 3, NAN, 4]], [5], 1.0),
    "too few frames": ([[1, 3, NAN, NAN]], [5], 0.0),
    "a dead trace": ([[7, 7, 7, 7]], [5], 0.0),
    "a neuron nobody knows": ([[1, 3, 2, 4]], [6], 0.0),
    "the median of three": ([[1, 3, 2, 4], [4, 2, 3, 1], [2, 6, 4, 8]], [5, 5, 5], 1.0),
    "none": ([], [], 0.0),
}


@pytest.mark.parametrize("case", CORRELATIONS.values(), ids=CORRELATIONS)
def test_traces_are_compared_with_those_of_the_true_nucleus(case: Any) -> None:
    rows, ids, expected = case
    found = traces(rows, ids)
    known = {"fluorescence": np.array([[9, 9, 9, 9], [1, 3, 2, 4]], np.float32)}

    assert truth._trace_correlation(found, known, {5: 2}) == pytest.approx(expected)


class Made:
    """A run of which some results are known."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **values: Any) -> None:
        self.store = self
        monkeypatch.setattr(truth.nouns, "load", lambda _, name: xr.DataArray(values[name]))

    def result(self, stage: str) -> str:
        return stage


def test_a_common_offset_of_a_plane_is_no_error_of_motion(monkeypatch: pytest.MonkeyPatch) -> None:
    true = np.random.default_rng(0).normal(size=(6, 2, 2))
    run: Any = Made(monkeypatch, shifts=true + np.array([[3.0, -1.0], [0.0, 8.0]]))

    assert truth._shift_error(run, {"shifts_px": true}) == pytest.approx(0, abs=1e-12)  # rounding


def test_the_error_of_motion_is_a_length(monkeypatch: pytest.MonkeyPatch) -> None:
    shifts = np.zeros((2, 1, 2))
    shifts[0, 0] = 3, 4
    shifts[1, 0] = -3, -4
    run: Any = Made(monkeypatch, shifts=shifts)

    assert truth._shift_error(run, {"shifts_px": np.zeros((2, 1, 2))}) == pytest.approx(5)


def test_the_worst_plane_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    run: Any = Made(monkeypatch, planes=np.array([4, 9, 12]))

    assert truth._plane_error(run, {"slice_of_plane": np.array([4, 11, 11])}) == 2


def test_the_demo_shows_what_missed_its_target(capsys: pytest.CaptureFixture[str]) -> None:
    summary: dict[str, Any] = {target.key: 0.9 for target in TARGETS}
    summary |= {"n_rois_before": 36, "n_neurons": 12, "n_true_neurons": 13, "count_error": -0.077}
    summary["stages"] = {"dismantle": {"seconds": 1.26, "cpu_seconds": 2, "peak_mb": 99.6}}

    demo.show(summary)

    told = capsys.readouterr().out
    assert "36 rois on all planes were 12 neurons; 13 were there." in told
    lines = {target.key: next(line for line in told.splitlines() if target.meaning in line)
             for target in TARGETS}  # fmt: skip
    assert "NO" in lines["overcount"]
    assert ">= 1.5" in lines["overcount"]
    assert "NO" in lines["shift_rms_px"]
    assert "NO" in lines["count_error"]
    assert "yes" in lines["nucleus_f1"]
    assert not {"yes", "NO"} & set(lines["edge_recall"].split())  # shown, not judged
    cost = next(line for line in told.splitlines() if "dismantle" in line)
    assert {"1.3", "2.0", "100"} < set(cost.split())


@pytest.mark.parametrize("stored", ["", "[]", '{"key": "of another run"}'])
def test_a_summary_of_another_run_is_made_again(
    finished: Path, monkeypatch: pytest.MonkeyPatch, stored: str
) -> None:
    from clgkit.pipeline import settings
    from clgkit.pipeline.runner import Run

    (finished / demo.SUMMARY).write_text(stored)
    monkeypatch.setattr(truth, "compare", lambda *_: {"figure": 1.0})
    run = Run(settings.load(finished))

    first = demo.summarize(run, finished)
    monkeypatch.setattr(truth, "compare", lambda *_: {"figure": 2.0})

    assert first["figure"] == 1.0
    assert demo.summarize(run, finished) == first


def test_the_table_of_neurons_agrees_with_the_results(
    clg: Clg, finished: Path, tmp_path: Path
) -> None:
    assert clg("export", finished, "--to", tmp_path / "x", "--format", "csv")[0] == 0

    with (tmp_path / "x/neurons.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    store = Store(finished)
    merged = store.result("merge_planes").array("fluorescence")
    degree = store.result("measure_network").array("degree")
    assert [int(row["nucleus"]) for row in rows] == merged.coords["nucleus"].values.tolist()
    assert [int(row["degree"]) for row in rows] == degree.values.tolist()
    assert [int(row["n_planes"]) for row in rows] == merged.coords["n_planes"].values.tolist()
    np.testing.assert_allclose([float(row["z_um"]) for row in rows], merged.coords["z"].values)
    assert {row["dff"] for row in rows} <= {"ok", "constant", "not_finite", "no_noise",
                                            "negative_baseline"}  # fmt: skip


@pytest.mark.parametrize("ending", FORMATS)
def test_each_format_can_be_had_alone(
    clg: Clg, finished: Path, tmp_path: Path, ending: str
) -> None:
    assert clg("export", finished, "--to", tmp_path / "x", "--format", ending)[0] == 0

    assert {path.suffix for path in (tmp_path / "x").iterdir()} == {f".{ending}"}


def test_an_export_of_nothing_names_all_that_is_missing(clg: Clg, fish: Path) -> None:
    code, told, err = clg("export", fish)

    assert (code, told) == (6, "")
    for stage in ("extract_traces", "merge_planes", "build_network", "dismantle"):
        assert f"Stage {stage} has no finished result" in err
