"""Headline, cards, warnings, provenance and traces: the sentences and numbers of the page."""

import base64
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clgkit.pipeline.store import Manifest
from clgkit.report import activity, markup, overview, page, provenance
from clgkit.stages import STAGES, params_of
from clgkit.traces import Reason
from tests.pipeline.tiny import CHAIN
from tests.unit.report_known import Caught, Known, array

DASH, MINUS, TIMES = "\N{EN DASH}", "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"
NAN = np.nan


def receipt(stage: str = "dismantle", **more: Any) -> Manifest:
    params = more.pop("params", params_of(stage)().model_dump(mode="json"))
    return Manifest(stage, 1, "abcdef0123456789", params, {}, [], **more)


def merged(**changed: Any) -> dict[str, dict[str, Any]]:
    counts = {"n_rois_before": 3000, "n_neurons": 1500, "naive_ratio": 2.0, "fair_ratio": 1.9}
    return {"merge_planes.summary": counts | changed}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, "<strong>3,000 ROIs</strong> were <strong>1,500 neurons</strong>"),
        ({"n_rois_before": 1, "n_neurons": 1}, "<strong>1 ROI</strong> was <strong>1 neuron<"),
        ({"n_neurons": 0, "naive_ratio": None}, "No neuron was found."),
    ],
)
def test_the_headline_speaks_grammar(changed: dict[str, Any], told: str) -> None:
    assert told in overview.headline(Known(values=merged(**changed)))


def cards(results: Known) -> dict[str, str]:
    made = overview.key_figures(results)
    pieces = [piece.split("</div>")[:2] for piece in made.split('<div class="card">')[1:]]
    return {label.rpartition(">")[2]: value.rpartition(">")[2] for value, label in pieces}


def test_before_anything_is_done_only_warnings_are_counted() -> None:
    assert cards(Known()) == {"warnings": "0"}


def test_the_cards_show_counts_ratios_and_a_dash_for_what_is_not_known() -> None:
    values = merged(fair_ratio=None) | {
        "build_network.summary": {"n_edges": 12345, "threshold": 0.61234},
        "dismantle.summary": {"removals": None, "target": 0.05},
    }
    results = Known(values=values, lost={1: "blank"}, made={"dismantle": receipt(warnings=["a"])})

    assert cards(results) == {
        "neurons": "1,500", "ROIs": "3,000", "overcount": DASH, "edges": "12,345",
        "removals": DASH, "warnings": "2",
    }  # fmt: skip
    made = overview.key_figures(results)
    assert "pairs with r beyond 0.612" in made
    assert "to shrink the largest component to 5 %" in made


def test_the_card_of_motion_is_the_median_of_what_was_measured() -> None:
    bad = np.zeros((5, 2), np.uint8)
    bad[1:3] = 4
    results = Known({
        "correct_motion.agreement": array([[0.2, NAN]] + [[0.8, 0.9]] * 4, "time", "z"),
        "correct_motion.bad_frames": array(bad, "time", "z"),
    })  # fmt: skip

    assert cards(results)["correlation with the template"] == "0.8"
    assert cards(results)["bad frames"] == "2"
    results.arrays["correct_motion.agreement"] = array(np.full((5, 2), NAN), "time", "z")
    assert cards(results)["correlation with the template"] == DASH


def test_the_strip_shows_all_stages_in_order() -> None:
    made = overview.stage_strip(Known(made={"dismantle": receipt(cost={"seconds": 200.0})}))

    places = [made.index(f">{name.replace('_', ' ')}<") for name in CHAIN]
    assert places == sorted(places)
    assert made.count('class="missing"') == len(CHAIN) - 1
    assert '<span class="time">3 min</span>' in made


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, DASH), (0, "0.0 s"), (99.94, "99.9 s"), (100, "2 min"), (5999, "100 min"),
     (6000, "1.7 h")],
)  # fmt: skip
def test_durations_change_their_unit(seconds: float | None, text: str) -> None:
    assert overview.duration(seconds) == text


@pytest.mark.parametrize(
    ("n", "more"), [(12, None), (13, "1 more warning"), (20, "8 more warnings")]
)
def test_many_warnings_are_folded_and_none_is_lost(n: int, more: str | None) -> None:
    results = Known(made={"dismantle": receipt(warnings=[f"<{i}>" for i in range(n)])})

    made = overview.warnings(results)

    assert all(f"&lt;{i}&gt;" in made for i in range(n))
    assert ("<details>" in made) == (more is not None)
    assert more is None or f"<summary>{more}</summary>" in made


def test_lost_planes_are_sorted_by_number() -> None:
    made = overview.warnings(Known(lost={10: "dark", 9: "<b>"}))

    assert "2 planes could not be used:" in made
    assert made.index("&lt;b&gt;") < made.index("dark")


def verdicts(**truth: Any) -> list[list[str]]:
    """Return the rows of the comparison without their names: reached, wanted, verdict."""
    made = overview.compared(Known(), truth).partition("<tbody>")[2]
    rows = [re.findall(r"<td[^>]*>(?:<span[^>]*>)?([^<]*)", row) for row in made.split("<tr>")[1:]]
    return [row[1:] for row in rows]


@pytest.mark.parametrize(
    ("truth", "row"),
    [
        ({"count_error": -0.05}, (f"{MINUS}0.05", f"{MINUS}0.05 … 0.05", "met")),
        ({"count_error": -0.051}, (f"{MINUS}0.051", f"{MINUS}0.05 … 0.05", "missed")),
        ({"overcount": 99}, ("99", "≥ 1.5", "met")),
        ({"nucleus_f1": 0.7}, ("0.7", "≥ 0.9", "missed")),
        ({"shift_rms_px": 0.1}, ("0.1", "≤ 0.1", "met")),
        ({"edge_recall": 0.0}, ("0", DASH, "")),
        ({"trace_correlation_median": NAN}, (DASH, "≥ 0.8", "missed")),
    ],
)
def test_targets_include_their_limits(truth: dict[str, float], row: tuple[str, ...]) -> None:
    assert verdicts(**truth) == [[*row]]


def test_what_is_no_number_is_not_judged() -> None:
    assert verdicts(count_error="good", overcount=None) == []


def test_settings_that_differ_from_the_default_are_marked_and_counted() -> None:
    usual = params_of("dismantle")().model_dump(mode="json")
    manifest = receipt(params=usual | {"target": 0.25, "adaptive": False, "old": "<i>"})

    made = provenance.settings(Known(made={"dismantle": manifest}))

    assert "<mark>3 changed</mark>" in made
    assert all(f"<mark>{value}</mark>" in made for value in ("0.25", "false", "&lt;i&gt;"))
    assert made.count("<mark>") == 4
    for field in params_of("dismantle").model_fields.values():
        assert markup.escape(field.description) in made
    assert "key abcdef012345<" in made


def test_default_settings_are_not_marked() -> None:
    assert "<mark>" not in provenance.settings(Known(made={"dismantle": receipt()}))


def test_costs_add_up_and_the_peak_is_not_a_sum() -> None:
    cost = {"seconds": 1000.0, "cpu_seconds": 3000.0, "peak_mb": 1500.0}
    less = {"seconds": 500.0, "cpu_seconds": 750.0, "peak_mb": 900.0}
    results = Known(made={
        "correct_motion": receipt("correct_motion", cost=cost,
                                  provenance={"started": "2026-01-02T03:04:05"}),
        "dismantle": receipt(cost=less), "measure_network": receipt("measure_network"),
    })  # fmt: skip

    made = provenance.costs(results)

    last = made.rpartition("<tr>")[2]
    assert all(f">{value}<" in last for value in ("all", "1,500.0", "3,750.0", "1,500"))
    assert [f"--share:{share}%" in made for share in (100, 25, 0)] == [True] * 3
    assert "2026-01-02 03:04:05" in made


def test_two_versions_of_a_package_name_their_stages() -> None:
    def of(numpy: str) -> dict[str, Any]:
        return {"python": "3.11", "packages": {"numpy": numpy}}

    made = provenance.versions(Known(made={
        "measure_network": receipt("measure_network", provenance=of("1.0")),
        "dismantle": receipt(provenance=of("2.0")),
    }))  # fmt: skip

    assert '<td class="">1.0</td><td class="">measure_network</td>' in made
    assert '<td class="">2.0</td><td class="">dismantle</td>' in made
    assert '<td class="">3.11</td><td class=""></td>' in made
    assert provenance.versions(Known()) == ""


def test_facts_of_the_movie_are_sizes_and_rates_for_people() -> None:
    movie = array(np.zeros((1200, 2, 3, 4), np.uint8), "time", "z", "y", "x")
    for dim, step, unit in (("time", 0.5, "s"), ("z", 6, "um"), ("y", 0.8, "um"), ("x", 0.8, "um")):
        values = np.arange(movie.sizes[dim]) * step
        movie = movie.assign_coords({dim: (dim, values, {"units": unit})})
    results = Known({"correct_motion.corrected": movie})
    given = SimpleNamespace(path="", time_average=True)
    results.run = SimpleNamespace(settings=dict.fromkeys(
        ("function", "structure", "plane_map"), given))  # type: ignore[assignment]  # fmt: skip

    made = provenance.inputs(results)

    assert f"1,200 frames {TIMES} 2 planes {TIMES} 3 {TIMES} 4 pixels" in made
    assert f"6 {TIMES} 0.8 {TIMES} 0.8 µm" in made
    assert "2 Hz, 10 min in all" in made
    assert "time average of the movie" in made
    assert "none: planes were matched by their looks" in made


def test_the_newest_result_dates_the_page() -> None:
    made = {
        "dismantle": receipt(provenance={"started": "2026-01-01T00:00:09"}),
        "measure_network": receipt("measure_network", provenance={
            "started": "2026-01-02T00:00:00", "packages": {"clgkit": "9.9"}}),
    }  # fmt: skip

    assert page._made(Known(made=made)) == "clgkit 9.9 · newest result of 2026-01-02 00:00:00"
    assert page._made(Known()) == "No stage is finished yet."


def traced(dff: Any, noise: Any = None, **more: Any) -> Known:
    values = np.asarray(dff, np.float64)
    arrays = {"compute_dff.dff": array(values, "neuron", "time", **more)}
    if noise is not None:
        arrays["compute_dff.noise"] = array(noise, "neuron")
    return Known(arrays)


def test_dead_and_missing_traces_are_not_in_the_sample() -> None:
    sample = activity.read_sample(
        traced([[1, 2, 3], [5, 5, 5], [1, NAN, 2], [3, 1, 2]], np.ones(4))
    )

    assert sample is not None
    assert sample.row.tolist() == [0, 3]
    assert sample.n_all == 4
    assert np.isnan(sample.denoised).all()


@pytest.mark.parametrize("noise", [0.0, NAN, np.inf])
def test_signal_to_unknown_noise_is_nothing(noise: float) -> None:
    sample = activity.read_sample(traced([[0, 2.0]] * 2, [noise, 1.0]))

    assert sample is not None
    clear, known = activity.signal_to_noise(sample)
    assert clear == 0
    assert known == pytest.approx(1.98)  # the 99th percentile of 0 and 2


def test_neurons_without_a_trace_are_counted_by_reason() -> None:
    codes = [Reason.OK, Reason.CONSTANT, Reason.NOT_FINITE, Reason.NOT_FINITE]
    results = Known({"compute_dff.reason": array([int(code) for code in codes], "neuron")})

    text = activity.left_out(results)

    assert "Without dF/F: 1 neuron (constant), 2 neurons (not finite)." in text
    assert activity.left_out(Known({"compute_dff.reason": array([0], "neuron")})) == ""


@pytest.fixture
def caught(monkeypatch: pytest.MonkeyPatch) -> Caught:
    made = Caught()
    monkeypatch.setattr(activity, "svg", made.svg)
    return made


def test_the_raster_is_scaled_by_each_neuron_and_timed_in_seconds(caught: Caught) -> None:
    wave = np.sin(np.arange(50.0))
    results = traced([wave, 1000 * wave, -wave], time=np.arange(50) / 2, nucleus=[7, 8, 9])

    text = activity.raster(results, activity.read_sample(results))

    shown = caught.figures["raster"].axes[1].images[0]
    rows = shown.get_array()
    assert rows.shape == (3, 50)
    assert (np.ptp(rows, axis=1) > 0.9 * np.ptp(rows)).all()  # none is too faint to be seen
    # Two that differ in scale alone look alike and lie side by side.
    assert sum(bool(np.allclose(a, b)) for a, b in zip(rows[1:], rows[:-1], strict=True)) == 1
    assert shown.get_extent() == pytest.approx([0, 24.5, 3, 0])
    assert "dF/F of 3 neurons, each" in text


def test_single_traces_go_from_clear_to_faint_and_bear_their_names(caught: Caught) -> None:
    dff = np.array([[0.0, 1], [0, 9], [0, 4]])
    results = traced(dff, np.ones(3), nucleus=[70, 80, 90])

    activity.single_traces(results, activity.read_sample(results))

    panels = caught.figures["traces"].axes
    assert [panel.get_title(loc="center").split(",")[0] for panel in panels] == [
        "nucleus 80", "nucleus 90", "nucleus 70",
    ]  # fmt: skip
    assert [len(panel.lines) for panel in panels] == [1, 1, 1]  # no denoised trace


def test_the_viewer_averages_long_traces_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "POINTS", 10)
    results = traced(np.arange(30.0)[None], np.ones(1), time=np.arange(30) / 2, nucleus=["<b>"])

    text = activity.viewer(results, activity.read_sample(results))

    found = json.loads(text.partition('id="trace-data">')[2].partition("</script>")[0])
    assert (found["points"], found["step_s"]) == (10, 1.5)
    (neuron,) = found["neurons"]
    assert neuron["label"].startswith("nucleus <b> · ")
    steps = np.frombuffer(base64.b64decode(neuron["dff"]["values"]), "<i2")
    assert neuron["dff"]["low"] + steps[-1] * neuron["dff"]["step"] == pytest.approx(28)
    assert "averaged in groups of 3." in text


def test_no_trace_is_said_once_per_figure(caught: Caught) -> None:
    results = traced(np.ones((3, 4)))
    sample = activity.read_sample(results)

    assert "no traces" in activity.raster(results, sample)
    assert "no traces" in activity.single_traces(results, sample)
    assert activity.viewer(results, sample) == ""
    assert not caught.figures


@pytest.mark.parametrize(
    ("n", "share", "told"),
    [
        (1, 0.5, "1 principal component with 50 %"),
        (3, None, f"3 principal components with {DASH}"),
    ],
)
def test_components_are_counted(n: int, share: float | None, told: str) -> None:
    values = {"denoise_traces.summary": {"n_components": n, "explained": share}}

    assert told in activity.summary(Known(values=values))


@pytest.mark.parametrize(
    ("value", "text"),
    [(999.4, "999"), (999.6, "1,000"), (1234.5678, "1,235"), (-98765.4, f"{MINUS}98,765"),
     (1e15 + 0.5, "1e+15"), (0.00012345, "0.000123")],
)  # fmt: skip
def test_large_numbers_are_written_out(value: float, text: str) -> None:
    assert markup.number(value) == text


def test_a_page_of_nothing_has_all_sections_in_order(tmp_path: Path) -> None:
    from clgkit.report.results import Results
    from tests.unit.report_scene import Scene, write_run

    nothing = Results(write_run(tmp_path, Scene(without=tuple(STAGES))))

    assert [section.anchor for section in page._sections(nothing, None)] == [
        "warnings", "structure", "nuclei", "motion", "planes", "neurons", "activity", "network",
        "dismantling", "costs", "settings",
    ]  # fmt: skip
    assert next(page._sections(nothing, {"count_error": 0})).anchor == "truth"
