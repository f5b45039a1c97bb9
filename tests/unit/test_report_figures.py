"""Figures and captions say what the numbers say, for few, odd and missing numbers too."""

from typing import Any

import numpy as np
import pytest

from clgkit.report import drawing, images, motion, network, neurons, nuclei
from tests.unit.report_known import Caught, Known, array, cells

NAN = np.nan


@pytest.fixture
def caught(monkeypatch: pytest.MonkeyPatch) -> Caught:
    made = Caught()
    for module in (motion, network, neurons):
        monkeypatch.setattr(module, "svg", made.svg)
    return made


def moved(values: Any, **more: Any) -> Known:
    shifts = array(values, "time", "z", "axis")
    return Known({"correct_motion.shifts": shifts}, **more)


def test_the_largest_shift_and_the_limit_are_told(caught: Caught) -> None:
    values = np.zeros((4, 2, 2))
    values[2, 1, 0] = -7.25
    results = moved(values, settings={"correct_motion.max_shift_px": 15})

    text = motion.shifts(results)

    assert "The largest is 7.25 px; 15 px were allowed." in text
    y, x = caught.figures["shifts"].axes
    assert [line.get_ydata()[2] for line in y.lines] == [0, -7.25]
    assert not any(np.any(line.get_ydata()) for line in x.lines)


def test_lost_planes_have_no_line(caught: Caught) -> None:
    values = np.arange(3.0)[None, :, None] * np.ones((5, 1, 2))

    motion.shifts(moved(values, lost={1: "blank"}))

    assert [line.get_ydata()[0] for line in caught.figures["shifts"].axes[0].lines] == [0, 2]


def test_shifts_that_are_all_missing_are_drawn_as_nothing(caught: Caught) -> None:
    text = motion.shifts(moved(np.full((3, 1, 2), NAN)))

    assert "The largest is 0 px. " in text
    assert np.isnan(caught.figures["shifts"].axes[0].lines[0].get_ydata()).all()


@pytest.mark.parametrize(("n_planes", "as_pixels"), [(12, False), (13, True)])
def test_many_lines_become_pixels(caught: Caught, n_planes: int, *, as_pixels: bool) -> None:
    motion.shifts(moved(np.ones((3, n_planes, 2))))

    assert {bool(line.get_rasterized()) for line in caught.figures["shifts"].axes[0].lines} == {
        as_pixels
    }


def fitted(values: Any, bad: Any = None) -> Known:
    found = array(values, "time", "z", time=np.arange(len(values)) / 2)
    arrays = {"correct_motion.agreement": found}
    if bad is not None:
        arrays["correct_motion.bad_frames"] = array(bad, "time", "z")
    return Known(arrays)


def test_bad_frames_are_crossed_counted_and_explained(caught: Caught) -> None:
    bad = np.zeros((40, 2), np.uint8)
    bad[3] = 2  # both planes: one frame
    bad[5:30, 1] = 5

    text = motion.agreement(fitted(np.ones((40, 2)), bad))

    assert "Red crosses: 26 bad frames" in text
    crosses = caught.figures["agreement"].axes[0].lines[0]
    assert len(crosses.get_xdata()) == 27
    assert (crosses.get_xdata()[0], crosses.get_ydata()[0]) == (1.5, 0)  # frame 3 at 2 Hz
    assert '<td class="">blank</td><td class="number">1</td><td class="">3</td>' in text
    assert '<td class="">flash</td><td class="number">25</td>' in text
    assert "24 …" in text  # the first twenty are listed: 5 to 24
    assert "25 …" not in text


@pytest.mark.parametrize("bad", [None, np.zeros((4, 2), np.uint8)], ids=["unknown", "none"])
def test_without_bad_frames_there_is_no_table(caught: Caught, bad: Any) -> None:
    text = motion.agreement(fitted(np.ones((4, 2)), bad))

    assert "There are no bad frames." in text
    assert "<table" not in text
    assert not len(caught.figures["agreement"].axes[0].lines[0].get_xdata())


@pytest.mark.parametrize("value", [NAN, 0.5], ids=["never measured", "always the same"])
def test_the_colours_of_agreement_always_span_a_range(caught: Caught, value: float) -> None:
    motion.agreement(fitted(np.full((4, 2), value)))

    low, high = caught.figures["agreement"].axes[0].images[0].get_clim()
    assert low < high


def test_percentiles_leave_out_what_is_missing() -> None:
    column = np.append(np.arange(101.0), [NAN, NAN])

    assert motion._percentiles(column) == (5, 50, 95)
    assert np.isnan(motion._percentiles(np.full(3, NAN))).all()


def counted(**changed: Any) -> Known:
    summary = {"n_rois_before": 1234, "n_rois": 1200, "n_neurons": 600, "naive_ratio": 2.0567,
               "fair_ratio": 2.0, "planes_per_neuron": [100, 400, 100]}  # fmt: skip
    return Known(values={"merge_planes.summary": summary | changed})


def test_the_calibration_counts_before_and_after(caught: Caught) -> None:
    text = neurons.calibration(counted())

    bars, histogram = caught.figures["calibration"].axes
    assert [bar.get_width() for bar in bars.patches] == [1234, 1200, 600]
    assert {"1,234", "1,200", "600"} <= {label.get_text() for label in bars.texts}
    assert [bar.get_height() for bar in histogram.patches] == [100, 400, 100]
    assert histogram.get_xticks().tolist() == [1, 2, 3]
    assert "<strong>2.06</strong> ROIs per neuron" in text
    assert "seen on 2 planes on average" in text
    assert caught.alts["calibration"] == "1,234 ROIs became 600 neurons"


def test_no_neuron_is_said_and_not_drawn(caught: Caught) -> None:
    assert "No neuron was found" in neurons.calibration(counted(n_neurons=0))
    assert not caught.figures


def correlated(counts: Any, threshold: float, quantity: str = "absolute") -> Known:
    r = (np.arange(len(counts)) + 0.5) * 2 / len(counts) - 1
    summary = {"threshold": threshold, "n_pairs": int(np.sum(counts)), "percentiles": {"50": 0.1}}
    return Known(
        {"build_network.histogram": array(counts, "bin", r=r)},
        {"build_network.summary": summary},
        settings={"build_network.quantity": quantity},
    )


@pytest.mark.parametrize(
    ("quantity", "joined", "lines", "name"),
    [
        ("absolute", [9, 0, 0, 7], [0.1, 0.5, -0.5], "|r|"),
        ("signed", [0, 0, 0, 7], [0.1, 0.5], "r"),
    ],
)
def test_the_pairs_joined_lie_beyond_the_threshold(
    caught: Caught, quantity: str, joined: list[int], lines: list[float], name: str
) -> None:
    text = network.correlations(correlated([9, 5, 3, 7], 0.5, quantity))

    panel = caught.figures["correlations"].axes[0]
    drawn = {patch.get_label(): patch.get_data().values for patch in panel.patches}
    assert drawn["all pairs"].tolist() == [9, 5, 3, 7]
    assert drawn["joined by an edge"].tolist() == joined
    assert [line.get_xdata()[0] for line in panel.lines] == lines
    assert f"0.5, beyond which {name} makes an edge" in text
    assert "Correlation of 24 pairs" in text


def test_no_pair_is_said(caught: Caught) -> None:
    assert "no pair of neurons" in network.correlations(correlated([0, 0], 0.5))
    assert not caught.figures


def linked(
    pairs: list[tuple[int, int]], n: int, weights: dict[tuple[int, int], float] | None = None
) -> dict[str, Any]:
    both = sorted([*pairs, *((j, i) for i, j in pairs)])
    start = np.searchsorted([i for i, _ in both], np.arange(n + 1))
    made = {"indptr": array(start, "node"), "indices": array([j for _, j in both], "edge")}
    if weights is not None:
        made["weights"] = array([weights[min(p), max(p)] for p in both], "edge")
    return {f"build_network.network.{name}": values for name, values in made.items()}


def test_edges_are_read_once_and_the_strongest_come_last() -> None:
    weights = {(0, 1): 0.9, (0, 2): 0.6, (1, 3): 0.7}

    edges = network.sample_edges(Known(linked([*weights], 4, weights)))

    assert edges is not None
    assert edges.ends.tolist() == [[0, 2], [1, 3], [0, 1]]
    assert edges.weights is not None
    assert edges.weights.tolist() == [0.6, 0.7, 0.9]
    assert edges.n_all == 3


def test_edges_are_found_across_runs_of_a_large_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "RUN", 3)
    pairs = [(i, i + 1) for i in range(20)]

    edges = network.sample_edges(Known(linked(pairs, 21)))

    assert edges is not None
    assert edges.ends.tolist() == [[i, i + 1] for i in range(20)]


def placed(pairs: list[tuple[int, int]], where: Any, **degree: Any) -> Known:
    arrays = linked(pairs, len(where))
    arrays["build_network.network.position_um"] = array(where, "node", "axis")
    if degree:
        arrays["measure_network.degree"] = array(
            degree["links"], "neuron", component=degree["part"]
        )
    return Known(arrays)


def test_neurons_lie_where_they_are_and_edges_between_them(caught: Caught) -> None:
    where = [[0, 10, 100], [5, 20, 200], [9, 30, 300]]

    text = network.drawing(placed([(0, 1)], where, links=[1, 1, 0], part=[0, 0, 1]))

    degree, part = caught.figures["network"].axes[:2]
    lines = degree.collections[0].get_segments()
    assert [line.tolist() for line in lines] == [[[100, 10], [200, 20]]]  # x, y
    alone, joined = degree.collections[1:3]
    assert alone.get_offsets().tolist() == [[300, 30]]
    assert joined.get_offsets().tolist() == [[100, 10], [200, 20]]
    assert degree.yaxis_inverted()
    assert [entry.get_text() for entry in part.get_legend().get_texts()] == ["2"]
    assert "All edges are drawn." in text
    assert caught.alts["network"] == "Network of 3 neurons drawn at their positions"


def test_a_network_that_was_not_measured_is_drawn_without_colours(caught: Caught) -> None:
    network.drawing(placed([(0, 1)], np.eye(3)))

    degree, part = caught.figures["network"].axes  # and no scale of colours
    assert len(degree.collections[1].get_offsets()) == 3
    assert part.get_legend() is None


def test_what_is_drawn_of_many_edges_is_told(
    caught: Caught, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "EDGES", 2)

    text = network.drawing(placed([(0, 1), (1, 2), (0, 2)], np.eye(3)))

    assert "2 of 3 edges are drawn, chosen evenly." in text
    assert len(caught.figures["network"].axes[0].collections[0].get_segments()) == 2


def measured(density: list[float | None], **more: Any) -> Known:
    summary = {"degree_bins": [0.5, 1.5, 3.5, 7.5], "degree_density": density, "mean_degree": 0,
               "n_isolated": 4, **more}  # fmt: skip
    return Known(values={"measure_network.summary": summary})


def test_empty_bins_of_degrees_are_not_drawn(caught: Caught) -> None:
    text = network.degrees(measured([0.4, None, 0.05]))

    (line,) = caught.figures["degrees"].axes[0].lines
    np.testing.assert_allclose(line.get_xdata(), [np.sqrt(0.75), np.sqrt(3.5 * 7.5)])
    assert line.get_ydata().tolist() == [0.4, 0.05]
    assert "(4)" in text


def test_measures_that_are_undefined_are_a_dash() -> None:
    text = network.measures(measured([], transitivity=None, n_edges=12345, mean_degree=1234.4))

    assert ["transitivity", "\N{EN DASH}"] in cells(text)
    assert ["edges", "12,345"] in cells(text)
    assert ["mean degree", "1,234"] in cells(text)


def broken(curve: list[int], **changed: Any) -> Known:
    summary = {"method": "degree", "adaptive": True, "target": 0.25, "n_nodes": 8,
               "removals": len(curve) - 1, "auc": 0.321, **changed}  # fmt: skip
    return Known({"dismantle.curve": array(curve, "removed")}, {"dismantle.summary": summary})


def test_dismantling_is_told_in_shares(caught: Caught) -> None:
    text = network.dismantling(broken([6, 4, 2]))

    assert "2 removals (25 % of all neurons) reached the target of 25 %" in text
    assert "area under the curve 0.321" in text
    assert "At the start it holds 75 % of all neurons" in text
    curve, target, end = caught.figures["dismantling"].axes[0].lines
    assert curve.get_ydata().tolist() == [0.75, 0.5, 0.25]
    assert target.get_ydata()[0] == 0.25
    assert (end.get_xdata()[0], end.get_ydata()[0]) == (2, 0.25)


@pytest.mark.parametrize(
    ("changed", "told"),
    [({"removals": None}, "The target was not reached."), ({"adaptive": False}, "(degree, once)"),
     ({"removals": 1}, "1 removal (12.5 %")],
)  # fmt: skip
def test_how_the_dismantling_went_is_told(
    caught: Caught, changed: dict[str, Any], told: str
) -> None:
    assert told in network.dismantling(broken([6, 4], **changed))
    assert len(caught.figures["dismantling"].axes[0].lines) == (
        2 if None in changed.values() else 3
    )


@pytest.mark.parametrize(("curve", "held"), [([2], "holds 2 of 8"), ([], "holds 0 of 8")])
def test_a_network_in_pieces_already_is_said(caught: Caught, curve: list[int], held: str) -> None:
    text = network.dismantling(broken(curve))

    assert held in text
    assert "nothing was removed" in text
    assert not caught.figures


def test_a_long_curve_is_thinned_with_both_ends(
    caught: Caught, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "CURVE", 10)

    network.dismantling(broken(list(range(500, 0, -1))))

    removed = caught.figures["dismantling"].axes[0].lines[0].get_xdata()
    assert (len(removed), removed[0], removed[-1]) == (10, 0, 499)


def test_the_plane_shown_is_the_middle_one_that_was_not_lost() -> None:
    assert images.shown_plane(Known(), 5) == 2
    assert images.shown_plane(Known(lost={2: "", 1: ""}), 5) == 3
    assert images.shown_plane(Known(lost={0: "", 1: ""}), 2) == 0


@pytest.mark.parametrize(("chosen", "shown"), [([1, 4, 7], 4), ([1, -1, 7], 5), ([1, 99, 7], 5)])
def test_the_slice_shown_is_that_of_the_plane_shown(chosen: list[int], shown: int) -> None:
    assert images.shown_slice(Known({"align_planes.planes": array(chosen, "z")}), 10) == shown


@pytest.mark.parametrize(
    ("width_um", "length", "share"),
    [(100, "20", "20"), (1e4, "1,000", "10"), (4, "1", "25"), (3, None, None)],
)
def test_a_scale_bar_is_round_and_less_than_a_third(
    width_um: float, length: str | None, share: str | None
) -> None:
    bar = images._scale_bar(images.View(50, width_um))

    assert bar == (f'<span class="bar" style="width:{share}%">{length} µm</span>' if length else "")


def test_a_picture_has_the_proportions_of_the_tissue() -> None:
    volume = array(np.zeros((4, 10)), "z", "x", z=np.arange(4) * 3.0, x=np.arange(10) * 0.4)

    view = images.view_of(volume, "z", "x")

    assert view == pytest.approx((12, 4))
    assert 'style="aspect-ratio:4/12"' in images.stack([], view)


def test_nuclei_without_a_label_leave_a_sentence() -> None:
    empty = array(np.zeros((0, 4, 4), np.uint32), "z", "y", "x")
    results = Known({"segment_nuclei.labels": empty, "normalize_contrast.normalized": empty})

    assert "There are no nuclei to show." in nuclei.nuclei(results)


def test_colours_of_the_night_sky_do_not_follow_the_page() -> None:
    # Dots are pixels, their legend is SVG: a colour of the theme would change in one alone.
    assert not set(network.BRIGHT) & set(drawing.THEME)
