"""The page shows what is there, says what is not, and says which results it shows."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clgkit import report
from clgkit.pipeline.arrays import ZarrPixels
from clgkit.pipeline.runner import Run
from clgkit.report import activity, images, motion, network, neurons, nuclei, overview, planes
from clgkit.report.results import Results
from clgkit.stages import STAGES
from tests.pipeline.tiny import CHAIN
from tests.unit.report_scene import Scene, write_run

EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script>"
FIGURES = {"nuclei_sheet", "nuclei_sizes", "shifts", "agreement", "flow", "coverage", "control",
           "drift", "calibration", "raster", "traces", "correlations", "network", "degrees",
           "dismantling"}  # fmt: skip
VOID = {"meta", "img", "input", "br", "path", "use", "image", "rect"}


class Reader(HTMLParser):
    """Collects tags, attributes and text; notes tags that are not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.crossed: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.crossed.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["script"], ["style"]):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return write_run(tmp_path_factory.mktemp("report") / "fish1")


@pytest.fixture(scope="module")
def page(run: Run) -> str:
    return report.build(run)


@pytest.fixture(scope="module")
def reader(page: str) -> Reader:
    return Reader(page)


def figures_of(page: str) -> set[str]:
    return set(re.findall(r'id="(\w+)-figure_1"', page))


def test_every_figure_is_there(page: str) -> None:
    assert figures_of(page) == FIGURES


def test_the_headline_is_the_calibration(reader: Reader) -> None:
    assert "36 ROIs were 12 neurons" in reader.text
    assert "counted 3 times" in reader.text


def test_tags_are_closed_in_order(reader: Reader) -> None:
    assert reader.crossed == []
    assert reader.open == []


def test_nothing_is_fetched(page: str, reader: Reader) -> None:
    sources = [a.get("src") or a.get("xlink:href") or a.get("href") for _, a in reader.tags]

    assert all(s.startswith(("data:image/png;base64,", "#")) for s in sources if s)
    assert not re.search(r"@import|url\((?!#)", page)
    policy = [a for a in reader.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert (policy[0]["content"] or "").startswith("default-src 'none'")


def test_every_picture_has_a_text(reader: Reader) -> None:
    drawings = [a for a in reader.all("svg") if "plot" in (a.get("class") or "")]

    assert len(drawings) == len(FIGURES)
    assert all(a.get("aria-label") for a in drawings)
    assert all(a.get("alt") for a in reader.all("img") if a.get("class") != "rims")


def test_the_contents_lead_to_every_section(reader: Reader) -> None:
    linked = {(a["href"] or "")[1:] for a in reader.all("a")} - {"top"}

    assert linked == {a["id"] for a in reader.all("section")}


def test_stages_costs_and_settings_are_listed(reader: Reader) -> None:
    for name in CHAIN:
        assert name.replace("_", " ") in reader.text
        assert f"[{name}]" in reader.text
    assert "27.5" in reader.text  # processor seconds of 11 stages of 2.5
    assert "40 frames" in reader.text
    assert "numpy" in reader.text
    assert "max_shift_px" in reader.text


def test_a_changed_setting_is_marked(tmp_path: Path) -> None:
    from clgkit.pipeline import settings

    write_run(tmp_path)
    changed = Run(settings.load(tmp_path, ("correct_motion.max_shift_px=4",)))
    step = next(step for step in changed.plan() if step.name == "correct_motion")
    manifest = changed.store.manifest("correct_motion")
    assert manifest is not None
    manifest.params.update(step.params)
    from clgkit.report.provenance import _settings_of

    assert "<mark>4</mark>" in _settings_of("correct_motion", manifest)


def test_the_page_bears_its_key(run: Run, page: str) -> None:
    assert f'<meta name="clgkit-key" content="{report.key_of(run)}">' in page[:400]


def test_building_twice_gives_the_same(run: Run, page: str) -> None:
    assert report.build(run) == page


def test_the_page_is_small(page: str) -> None:
    assert len(page) < 5_000_000


EMPTY = {
    "no neuron": Scene(n_neurons=0, n_edges=0),
    "no edge": Scene(n_edges=0),
    "one of all": Scene(n_neurons=1, n_planes=1, n_frames=1, n_edges=0),
    "nothing done": Scene(without=tuple(STAGES)),
    "a plane lost": Scene(n_neurons=2, n_edges=1, failed={"1": "it is blank"}),
}


@pytest.mark.parametrize("scene", EMPTY.values(), ids=EMPTY)
def test_a_run_of_any_size_has_a_report(scene: Scene, tmp_path: Path) -> None:
    reader = Reader(report.build(write_run(tmp_path, scene)))

    shown = reader.text.rpartition("Settings and versions")[0]  # settings may speak of NaN
    assert reader.crossed == []
    assert not re.search(r"\b(nan|None)\b", shown)


FIGURES_OF = {
    "normalize_contrast": images.contrast,
    "segment_nuclei": nuclei.nuclei,
    "correct_motion": motion.shifts,
    "align_planes": planes.coverage,
    "extract_traces": images.on_plane,
    "merge_planes": neurons.calibration,
    "compute_dff": lambda results: activity.raster(results, activity.read_sample(results)),
    "build_network": network.correlations,
    "measure_network": network.degrees,
    "dismantle": network.dismantling,
}


@pytest.mark.parametrize("name", FIGURES_OF)
def test_a_missing_stage_leaves_a_sentence(name: str, unfinished: dict[str, Results]) -> None:
    made = FIGURES_OF[name](unfinished["nothing"])

    assert made.startswith('<p class="absent">')


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Results]:
    folder = tmp_path_factory.mktemp("unfinished")
    scenes = {
        "nothing": Scene(without=tuple(STAGES)),
        "traces": Scene(n_neurons=6, without=("denoise_traces",)),
    }
    return {name: Results(write_run(folder / name, scene)) for name, scene in scenes.items()}


def test_what_is_missing_is_listed(unfinished: dict[str, Results]) -> None:
    listed = overview.warnings(unfinished["traces"])

    assert "Without a result: denoise_traces." in listed
    assert "have not been merged" in overview.headline(unfinished["nothing"])


def test_traces_are_shown_before_they_are_denoised(unfinished: dict[str, Results]) -> None:
    results = unfinished["traces"]
    sample = activity.read_sample(results)
    assert sample is not None

    assert np.isnan(sample.denoised).all()
    assert "</svg>" in activity.single_traces(results, sample)
    assert '"values":""' in activity.viewer(results, sample)


def test_a_damaged_result_is_said_and_not_shown(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    next((tmp_path / "dismantle" / "curve.zarr").rglob("c/*")).write_bytes(b"")
    results = Results(run)

    assert "damaged" in overview.warnings(results)
    assert "was not dismantled" in network.dismantling(results)


def test_a_result_of_older_inputs_is_pointed_out(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    assert Results(run).outdated() == []
    built = run.store.manifest("build_network")
    assert built is not None

    path = tmp_path / "build_network" / "MANIFEST.json"
    path.write_text(path.read_text().replace(built.key, "0" * 64))

    sentence = "dismantle was computed from an earlier result of build_network"
    assert sentence in overview.warnings(Results(run))


def test_raw_data_that_are_gone_leave_a_sentence(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    (tmp_path / "function.npy").unlink()
    (tmp_path / "structure.npy").unlink()

    assert "The raw movie is not at hand" in images.motion(Results(run))
    assert "The raw stack is not at hand" in images.contrast(Results(run))


def test_the_strongest_edges_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "EDGES", 5)
    weighted = Results(write_run(tmp_path / "a", Scene(weighted=True)))
    plain = Results(write_run(tmp_path / "b", Scene()))

    strongest, some = network.sample_edges(weighted), network.sample_edges(plain)

    assert strongest is not None
    assert strongest.weights is not None
    weights = weighted.array("build_network.network.weights")
    assert weights is not None
    assert strongest.weights.min() >= np.median(weights.values)
    assert some is not None
    assert some.weights is None
    for edges in (strongest, some):
        assert edges.n_all == 20
        assert edges.ends.shape == (5, 2)
        assert (edges.ends[:, 0] < edges.ends[:, 1]).all()


@pytest.mark.parametrize("n", [0, 1, 5000, 100_000_000])
def test_edges_of_a_huge_graph_are_read_in_part(n: int) -> None:
    runs = network._runs(n)

    assert len(runs) <= network.READ
    assert sum(run.stop - run.start for run in runs) <= network.READ * network.RUN
    if n:
        assert runs[0].start == 0
        assert runs[-1].stop == n


def test_what_stands_in_files_is_escaped(tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>"
    scene = Scene(warnings=(EVIL,), failed={"0": EVIL}, function_file=f"{name}.npy")
    run = write_run(tmp_path / name, scene)
    truth: dict[str, Any] = {"n_true_neurons": 10, "count_error": 0.1, EVIL: EVIL}

    reader = Reader(report.build(run, truth=truth))

    assert len(reader.all("script")) == 2  # the data and the code of the page
    assert not [a for _, a in reader.tags if any(key.startswith("on") for key in a)]
    assert reader.text.count("onerror=alert(1)") >= 4
    assert EVIL in reader.text


def test_the_truth_is_compared_where_it_is_known(run: Run) -> None:
    truth = dict.fromkeys((target.key for target in overview.TARGETS), 0.9)
    truth |= {"n_true_neurons": 13, "n_neurons": 12, "n_rois_before": 36, "count_error": -0.077}

    text = Reader(overview.compared(Results(run), truth)).text

    assert "13 neurons are cut by a functional plane, 12 were found" in text
    assert text.count("missed") == 3  # a neuron too few, too little overcount, too much motion
    assert text.count("met") == 2


def test_a_truth_of_another_result_is_not_shown(run: Run) -> None:
    truth = {"n_neurons": 99, "n_rois_before": 36, "count_error": 0.5}

    made = overview.compared(Results(run), truth)

    assert "belongs to another result" in made
    assert "verdict" not in made


def test_the_key_follows_results_and_truth(tmp_path: Path) -> None:
    run = write_run(tmp_path, Scene(n_neurons=3, n_frames=5))
    key = report.key_of(run)

    assert report.key_of(run) == key
    assert report.key_of(run, truth={"count_error": 0.1}) != key
    (tmp_path / "dismantle" / "MANIFEST.json").unlink()
    assert report.key_of(run) != key


def test_a_movie_is_read_frame_by_frame(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[str, int]] = []
    original = ZarrPixels.__getitem__

    def watched(self: ZarrPixels, key: tuple[slice, ...]) -> Any:
        values = original(self, key)
        read.append((self.folder.stem, values.size))
        return values

    monkeypatch.setattr(ZarrPixels, "__getitem__", watched)
    for show in (images.motion, images.contrast, nuclei.nuclei, images.on_plane):
        show(Results(run))

    of_movie = [size for name, size in read if name == "corrected"]
    assert 0 < len(of_movie) <= 25
    assert max(of_movie) <= 16 * 16
    assert max(size for name, size in read if name in {"normalized", "labels"}) <= 32 * 32


def test_traces_are_packed_within_a_step() -> None:
    values = np.array([0.0, 1.5, np.nan, -2.0])

    made = activity.packed(values)

    steps = np.frombuffer(base64.b64decode(made["values"]), "<i2").astype(float)
    steps[steps == activity.GAP] = np.nan
    np.testing.assert_allclose(
        made["low"] + steps * made["step"],
        values,
        atol=made["step"] / 2,  # a value is rounded to the nearest step
    )
    assert activity.packed(np.full(3, np.nan))["values"] == ""
    assert activity.packed(np.zeros(3))["step"] == 1.0


def test_fewer_of_long_traces_are_read(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "VALUES", 8 * 40)
    monkeypatch.setattr(activity, "FEWEST", 1)

    sample = activity.read_sample(Results(run))

    assert sample is not None
    assert sample.dff.shape == (8, 40)
    assert sample.n_all == 12
    assert f"8 neurons of {sample.n_all}" in activity.raster(Results(run), sample)


def test_similar_traces_lie_together() -> None:
    rng = np.random.default_rng(0)
    group = np.tile([0, 1, 2], 10)
    rows = rng.normal(size=(3, 200))[group] + 0.3 * rng.normal(size=(30, 200))

    order = activity.similar_together(rows)

    assert sorted(order) == list(range(30))
    assert (np.diff(group[order]) != 0).sum() == 2


def test_examples_are_the_clearest_and_some_of_all_others() -> None:
    rows = np.arange(300)
    dff = np.zeros((300, 4))
    dff[:, 0] = rows
    sample = activity.Sample(rows, dff, dff, np.ones(300), 300)

    listed = activity.examples(sample)

    assert len(listed) == 50
    assert len(set(listed.tolist())) == 50
    assert listed[:25].tolist() == list(range(299, 274, -1))
    assert listed[-1] == 0
