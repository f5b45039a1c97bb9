"""Masks, traces and networks that are empty, huge, odd or of another recording: M1 to M9."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

from clgkit import data, io
from clgkit.errors import DataError
from clgkit.pipeline import nouns
from clgkit.segmentation import scattered_ids
from clgkit.traces import Reason, windowed_median_dff
from tests.faults.scene import (
    RATE,
    SERIAL,
    labels_of,
    movie_of,
    planes_of,
    run_of,
    stage,
    textured,
    traces_of,
)
from tests.pipeline.tiny import CHAIN

RNG = np.random.default_rng(7)


def gradient(depth: int = 24, side: int = 48) -> npt.NDArray[np.uint16]:
    """A stack that is brighter below, with noise, and without any nucleus."""
    y = np.linspace(0, 300, side)
    noisy = 500 + y[:, None] + np.random.default_rng(0).normal(0, 30, (depth, side, side))
    return noisy.astype(np.uint16)


def blobs(places: list[tuple[int, int, int]], shape: tuple[int, int, int]) -> Any:
    """A stack of round nuclei, 6 pixels wide and 10 slices long."""
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    stack = np.full(shape, 100.0)
    for cz, cy, cx in places:
        away = ((z - cz) / 5) ** 2 + ((y - cy) / 3) ** 2 + ((x - cx) / 3) ** 2
        stack += 2000 * np.exp(-0.7 * away**2)
    return RNG.poisson(stack).astype(np.uint16)


def test_m1_a_run_without_nuclei_ends_with_0_and_a_warning(tmp_path: Path) -> None:
    run = run_of(tmp_path, textured(12, 2, 48), gradient())

    ended = subprocess.run(
        [sys.executable, "-m", "clgkit", "run", str(tmp_path), "--no-report"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert ended.returncode == 0, ended.stderr
    assert "warning: segment_nuclei: no nucleus was found" in ended.stderr
    assert "warning: build_network: the network has no edge" in ended.stderr
    assert [step.state for step in run.plan()] == ["current"] * len(CHAIN)
    fluorescence = nouns.load(run.store.result("merge_planes"), "fluorescence")
    assert fluorescence.shape == (0, 12)
    assert nouns.load(run.store.result("build_network"), "network").n_nodes == 0


def test_m1_a_blank_stack_gives_empty_results_and_says_why(tmp_path: Path) -> None:
    blank = np.full((24, 48, 48), 7, np.uint16)

    outcome = run_of(tmp_path, textured(12, 2, 48), blank).execute(SERIAL)

    assert outcome.failed == {}
    assert outcome.computed == list(CHAIN)
    assert any("resembles no slice at all" in warning for warning in outcome.warnings)
    assert any("no nucleus was found" in warning for warning in outcome.warnings)


def test_m1_a_plane_without_nuclei_is_named() -> None:
    labels = np.zeros((4, 16, 16), np.uint32)
    labels[3, 4:8, 4:8] = 5
    movie = movie_of(textured(6, 3, 16))

    made, warnings = stage("extract_traces", movie, labels_of(labels), planes_of(1, 3, -1))

    assert warnings == ["plane 0 (slice 1) has no nuclei", "plane 2 (no slice) has no nuclei"]
    assert made.rois.shape == (1, 6)
    assert made.rois.coords["plane"].values.tolist() == [1]


def test_m1_later_stages_accept_nothing_at_all() -> None:
    nothing = traces_of(np.zeros((0, 20), np.float32))

    dff = stage("compute_dff", nothing).result.dff
    denoised = stage("denoise_traces", dff).result
    network = stage("build_network", denoised.scores).result.network
    measured = stage("measure_network", network).result
    dismantled = stage("dismantle", network).result

    assert dff.shape == denoised.denoised.shape == (0, 20)
    assert denoised.summary == {"n_components": 0, "explained": 0.0, "n_left_out": 0}
    assert measured.summary["n_nodes"] == 0
    assert dismantled.order.size == 0


def test_m1_only_dead_traces_are_no_error() -> None:
    dead = traces_of(np.full((5, 20), np.nan, np.float32))

    made, warnings = stage("denoise_traces", dead)
    built, told = stage("build_network", made.scores)

    assert warnings == ["5 neurons without a trace were left out"]
    assert built.network.n_nodes == 5
    assert built.network.n_edges == 0
    assert told == ["the network has no edge; lower the threshold"]


@pytest.fixture(scope="module")
def many() -> xr.DataArray:
    """70,000 nuclei of one pixel, ids from 1; the last one is 16,777,217."""
    ids = np.arange(1, 70_001, dtype=np.uint32)
    ids[-1] = 16_777_217  # float32 would make it 16,777,216
    return labels_of(ids.reshape(1, 280, 250))


def test_m2_ids_above_16_and_24_bits_pass_through_unharmed(many: xr.DataArray) -> None:
    pixels = np.arange(70_000, dtype=np.float32).reshape(1, 1, 280, 250) * np.ones((2, 1, 1, 1))
    movie = movie_of(pixels)

    rois = stage("extract_traces", movie, many, planes_of(0)).result.rois
    merged = stage("merge_planes", rois, many, min_area_px=0).result.fluorescence

    ids = merged.coords["nucleus"].values
    assert ids.dtype == np.uint32
    assert len(np.unique(ids)) == 70_000
    assert ids[-1] == 16_777_217
    np.testing.assert_array_equal(merged.values[:, 0], np.arange(70_000))


def test_m2_labels_do_not_fit_16_bits_and_say_so(many: xr.DataArray, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not fit uint16") as caught:
        io.write_tiff(tmp_path / "labels.tif", many.values, axes="zyx", dtype=np.uint16)
    assert caught.value.code == "E_SHAPE"
    assert "uint32" in caught.value.message
    assert list(tmp_path.iterdir()) == []

    io.write_tiff(tmp_path / "labels.tif", many.values, axes="zyx")

    read = io.as_labels(io.open_image(tmp_path / "labels.tif"), voxel_um=(1, 1, 1))
    np.testing.assert_array_equal(read.values, many.values)


def test_m3_minus_one_as_background_is_refused_in_words() -> None:
    labels = np.full((2, 8, 8), -1, np.int32)
    labels[0, :4] = 3

    with pytest.raises(DataError, match=r"between 0 \(background\).*go from -1 to 3") as caught:
        labels_of(labels)

    assert caught.value.code == "E_SHAPE"


def test_m3_traces_are_keyed_by_id_whatever_gaps_and_order() -> None:
    labels = np.zeros((3, 16, 16), np.uint32)
    labels[0, 1:5, 1:5] = 900  # only on plane 0
    labels[:2, 8:12, 1:5] = 7  # on planes 0 and 1
    labels[1:, 1:5, 8:12] = 4_000_000_000  # on planes 1 and 2
    levels = {900: 10.0, 7: 20.0, 4_000_000_000: 30.0}
    movie = np.zeros((5, 3, 16, 16), np.float32)
    for nucleus, level in levels.items():
        movie[:, labels == nucleus] = level

    rois = stage("extract_traces", movie_of(movie), labels_of(labels), planes_of(0, 1, 2)).result
    merged = stage("merge_planes", rois.rois, labels_of(labels)).result.fluorescence

    assert merged.coords["nucleus"].values.tolist() == sorted(levels)
    for nucleus, trace in zip(merged.coords["nucleus"].values, merged.values, strict=True):
        assert set(trace.tolist()) == {levels[int(nucleus)]}
    assert merged.coords["n_planes"].values.tolist() == [2, 1, 2]


def test_m3_new_numbers_give_the_same_traces() -> None:
    labels = RNG.integers(0, 6, (2, 12, 12)).astype(np.uint32)
    new = np.array([0, 44, 2, 100_000, 9, 3], np.uint32)
    movie = movie_of(textured(4, 2, 12))

    first, second = (
        stage("extract_traces", movie, labels_of(made), planes_of(0, 1)).result.rois
        for made in (labels, new[labels])
    )

    first_ids, second_ids = first.coords["nucleus"].values, second.coords["nucleus"].values
    assert len(first_ids) == len(second_ids)
    for plane, nucleus, row in zip(
        first.coords["plane"].values, first_ids, first.values, strict=True
    ):
        same = (second.coords["plane"].values == plane) & (second_ids == new[nucleus])
        np.testing.assert_array_equal(second.values[same], row[None])


def test_m4_an_empty_plane_between_two_nuclei_does_not_join_them() -> None:
    places = [(8, y, x) for y in (12, 36) for x in (12, 24, 36)]
    below = [(40, y, x) for _, y, x in places]
    stack = blobs(places + below, (48, 48, 48))

    made = stage("segment_nuclei", data.volume(stack, voxel_um=(1.0, 1.0, 1.0))).result

    labels = made.labels.values
    assert made.summary["n_seeds"] == 12
    above, under = (set(np.unique(labels[part])) - {0} for part in (slice(0, 24), slice(24, 48)))
    assert len(above) == len(under) == 6
    assert not above & under
    assert scattered_ids(labels).size == 0
    assert not labels[24].any()


def test_m4_traces_on_both_sides_of_an_empty_plane_stay_apart() -> None:
    labels = np.zeros((5, 16, 16), np.uint32)
    labels[0, 4:8, 4:8], labels[4, 4:8, 4:8] = 1, 2
    movie = np.zeros((4, 3, 16, 16), np.float32)
    movie[:, 0], movie[:, 2] = 5, 9

    rois, warnings = stage("extract_traces", movie_of(movie), labels_of(labels), planes_of(0, 2, 4))
    merged = stage("merge_planes", rois.rois, labels_of(labels)).result

    assert warnings == ["plane 1 (slice 2) has no nuclei"]
    assert merged.fluorescence.coords["nucleus"].values.tolist() == [1, 2]
    assert merged.fluorescence.values[:, 0].tolist() == [5, 9]
    assert merged.summary["planes_per_neuron"] == [2]


@pytest.mark.parametrize(
    ("shape", "voxel_um"), [((2, 40, 64), (1, 1, 1)), ((2, 64, 64), (1, 1, 0.5))]
)
def test_m5_labels_of_another_field_of_view_are_refused(
    shape: tuple[int, ...], voxel_um: tuple[float, float, float]
) -> None:
    labels = labels_of(np.ones(shape, np.uint32), voxel_um)
    movie = movie_of(textured(3, 2, 64))

    with pytest.raises(DataError, match="do not show the same field") as caught:
        stage("extract_traces", movie, labels, planes_of(0, 1))

    assert caught.value.code == "E_SHAPE"
    assert "64 x 64 px of 1 x 1 um are 64 x 64 um" in caught.value.message
    size = f"{shape[1]} x {shape[2]} px of {voxel_um[1]} x {voxel_um[2]} um"
    assert size in caught.value.message


def test_m5_a_stack_of_another_field_of_view_is_refused() -> None:
    template = data.volume(textured(1, 2, 64)[0], voxel_um=(4, 2, 2), name="template")
    stack = data.volume(np.ones((8, 64, 64), np.uint16), voxel_um=(1, 1, 1))

    with pytest.raises(DataError, match="do not show the same field") as caught:
        stage("align_planes", template, stack)

    assert caught.value.code == "E_SHAPE"
    assert "128 x 128 um" in caught.value.message


@pytest.mark.parametrize("side", [127, 129, 130])
def test_m5_a_pixel_more_or_less_is_the_same_field(side: int) -> None:
    labels = labels_of(np.ones((2, side, side), np.uint32), (1, 0.5, 0.5))

    made = stage("extract_traces", movie_of(textured(3, 2, 64)), labels, planes_of(0, 1)).result

    assert made.rois.shape == (2, 3)


def test_m5_planes_of_another_recording_are_refused() -> None:
    labels = labels_of(np.ones((5, 16, 16), np.uint32))
    movie = movie_of(textured(3, 2, 16))
    for planes, words in (
        (planes_of(0, 5), "Plane 1 is slice 5, but the labels have 5 slices"),
        (planes_of(0, 1, 2), "slices for 3 planes, but the movie has 2"),
    ):
        with pytest.raises(DataError, match=words) as caught:
            stage("extract_traces", movie, labels, planes)
        assert caught.value.code == "E_SHAPE"


def test_m5_a_plane_map_of_another_recording_is_refused() -> None:
    template = data.volume(textured(1, 2, 16)[0], voxel_um=(1, 1, 1), name="template")
    stack = data.volume(np.ones((8, 16, 16), np.uint16), voxel_um=(1, 1, 1))
    for planes, words in (
        (planes_of(0, 8), "names slice 9, but the structural stack has 8 slices"),
        (planes_of(0, 1, 2), "one whole number for each of the 2 planes"),
    ):
        with pytest.raises(DataError, match=words) as caught:
            stage("align_planes", template, stack, planes)
        assert caught.value.code == "E_SHAPE"


def test_m5_a_table_of_bad_frames_of_another_recording_is_refused() -> None:
    labels = labels_of(np.ones((2, 16, 16), np.uint32))
    bad = xr.DataArray(np.zeros((7, 2), np.uint8), dims=("time", "z"))

    with pytest.raises(DataError, match="bad frames has shape"):
        stage("extract_traces", movie_of(textured(3, 2, 16)), labels, planes_of(0, 1), None, None,
              bad, skip_bad_frames=True)  # fmt: skip


def test_m5_labels_of_another_stack_do_not_hold_the_rois() -> None:
    labels = np.ones((2, 16, 16), np.uint32)
    rois = stage("extract_traces", movie_of(textured(3, 2, 16)), labels_of(labels), planes_of(0, 1))

    with pytest.raises(DataError, match="the labels are of another stack") as caught:
        stage("merge_planes", rois.result.rois, labels_of(labels + 1))

    assert caught.value.code == "E_SHAPE"


def test_m6_tiny_rois_and_rois_in_the_cropped_border_are_dropped_and_listed() -> None:
    labels = np.zeros((2, 20, 20), np.uint32)
    labels[0, 10, 10] = 1  # one pixel
    labels[0, 5:9, 5:9] = 2
    labels[:, 0:3, 0:4] = 3  # wholly in the border of plane 0 and of plane 1
    labels[0, 15:18, 0:4] = 4  # in the border of plane 0, but seen on plane 1
    labels[1, 14:18, 5:9] = 4
    pixels = textured(6, 2, 20).astype(np.float32)
    pixels[..., :4] = np.nan

    rois = stage("extract_traces", movie_of(pixels), labels_of(labels), planes_of(0, 1)).result.rois
    merged, warnings = stage("merge_planes", rois, labels_of(labels))

    assert merged.fluorescence.coords["nucleus"].values.tolist() == [2, 4]
    assert np.isfinite(merged.fluorescence.values).all()
    assert merged.fluorescence.coords["n_planes"].values.tolist() == [1, 1]
    listed = {
        (int(nucleus), int(plane)): int(why)
        for nucleus, plane, why in zip(
            merged.dropped.coords["nucleus"].values,
            merged.dropped.coords["plane"].values,
            merged.dropped.values,
            strict=True,
        )
    }
    assert listed == {(1, 0): 1, (2, 0): 0, (3, 0): 2, (4, 0): 2, (3, 1): 2, (4, 1): 0}
    assert merged.summary["n_without_trace"] == 3
    assert warnings == [
        "1 of 6 rois have 4 pixels or fewer and were left out",
        "3 of 6 rois lie where the movie shows nothing (no frame has a value) and were left out",
    ]


def test_m6_nothing_is_left_if_all_rois_lie_in_the_border() -> None:
    labels = labels_of(np.ones((1, 8, 8), np.uint32))
    rois = stage(
        "extract_traces", movie_of(np.full((4, 1, 8, 8), np.nan, np.float32)), labels, planes_of(0)
    ).result.rois

    merged = stage("merge_planes", rois, labels).result

    assert merged.fluorescence.shape == (0, 4)
    assert merged.summary["naive_ratio"] is None


def odd_traces() -> dict[str, npt.NDArray[np.float32]]:
    good = (100 + 5 * RNG.standard_normal((3, 120))).astype(np.float32)
    gap = good[0].copy()
    gap[50] = np.nan
    return {
        "good": good[0],
        "as good": good[1],
        "constant": np.full(120, 80, np.float32),
        "all nan": np.full(120, np.nan, np.float32),
        "one nan": gap,
        "zero": good[2] - np.median(good[2]),
        "negative": -good[2],
    }


def test_m7_odd_traces_have_a_reason_and_no_numbers() -> None:
    rows = odd_traces()

    made, warnings = stage("compute_dff", traces_of(np.stack(list(rows.values()))))

    reasons = dict(zip(rows, made.reason.values.tolist(), strict=True))
    assert reasons["good"] == reasons["as good"] == Reason.OK
    assert reasons["constant"] == Reason.CONSTANT
    assert reasons["all nan"] == reasons["one nan"] == Reason.NOT_FINITE
    assert reasons["negative"] == Reason.NEGATIVE_BASELINE
    assert np.isnan(made.dff.values[made.reason.values != Reason.OK]).all()
    assert np.isfinite(made.dff.values[made.reason.values == Reason.OK]).all()
    assert any("1 of 7 neurons have no dF/F (constant)" in warning for warning in warnings)
    assert any("2 of 7 neurons have no dF/F (not finite)" in warning for warning in warnings)
    assert any("interpolate_gaps" in warning for warning in warnings)


def test_m7_dead_neurons_are_isolated_and_counted() -> None:
    rows = np.stack(list(odd_traces().values()))
    rows[1] = rows[0]  # the two good ones are joined

    dff = stage("compute_dff", traces_of(rows)).result
    dead = np.flatnonzero(dff.reason.values != Reason.OK)
    denoised = stage("denoise_traces", dff.dff).result
    built = stage("build_network", denoised.scores, rule="fixed", threshold=0.9).result

    assert denoised.summary["n_left_out"] == built.summary["n_left_out"] == len(dead)
    network = built.network
    assert np.diff(network.indptr)[dead].sum() == 0
    assert 1 in network.indices[: network.indptr[1]]


def test_m7_single_gaps_are_filled_when_asked_for() -> None:
    rows = odd_traces()

    made = stage(
        "compute_dff", traces_of(np.stack([rows["one nan"], rows["all nan"]])),
        interpolate_gaps=True,
    ).result  # fmt: skip

    assert made.reason.values.tolist() == [Reason.OK, Reason.NOT_FINITE]


def test_m7_the_parity_setting_says_that_negative_baselines_keep_their_numbers() -> None:
    made, warnings = stage("compute_dff", traces_of(odd_traces()["negative"][None]), edges="zero")

    assert made.reason.values.tolist() == [Reason.NEGATIVE_BASELINE]
    assert np.isfinite(made.dff.values).all()
    assert any("keep the numbers of the original" in warning for warning in warnings)


@pytest.mark.parametrize("n_frames", [1, 2])
def test_m8_too_few_frames_are_refused(n_frames: int) -> None:
    with pytest.raises(DataError, match=f"at least 3 frames; there are {n_frames}") as caught:
        stage("compute_dff", traces_of(np.ones((2, n_frames), np.float32)))

    assert caught.value.code == "E_SHORT"


@pytest.mark.parametrize("n_frames", [3, 4, 20, 31])
def test_m8_a_window_that_does_not_fit_shrinks_with_a_warning(n_frames: int) -> None:
    rows = (100 + 5 * RNG.standard_normal((2, n_frames))).astype(np.float32)

    made, warnings = stage("compute_dff", traces_of(rows))

    used = n_frames - 1 - n_frames % 2
    assert f"longer than the movie ({n_frames} frames); {used} frames were used" in warnings[0]
    assert made.dff.shape == rows.shape


def test_m8_an_even_window_becomes_the_next_odd_one() -> None:
    rows = 100 + 5 * RNG.standard_normal((3, 200))

    made = stage(
        "compute_dff", traces_of(rows, RATE), long_window_s=20, short_window_s=2
    ).result  # 40 and 4 frames

    wanted = windowed_median_dff(rows, long_frames=41, short_frames=5)
    np.testing.assert_array_equal(made.dff.values, wanted.dff.astype(np.float32))


def test_m8_a_run_of_two_frames_says_what_is_missing(tmp_path: Path) -> None:
    run = run_of(tmp_path, textured(2, 2, 48), gradient())

    outcome = run.execute(SERIAL)

    assert {name: error.code for name, error in outcome.failed.items()} == {
        "compute_dff": "E_SHORT"
    }
    assert set(outcome.blocked) == {
        "denoise_traces", "build_network", "measure_network", "dismantle"
    }  # fmt: skip


def some_traces(n: int = 12, n_frames: int = 60) -> npt.NDArray[np.float64]:
    common = RNG.standard_normal(n_frames)
    return RNG.standard_normal((n, n_frames)) + np.linspace(0, 2, n)[:, None] * common


def test_m9_the_percentile_is_that_of_the_finite_traces() -> None:
    rows = some_traces()
    rows[3, 5], rows[8] = np.nan, 4.0
    live = np.delete(rows, (3, 8), axis=0)

    built = stage("build_network", traces_of(rows), percentile=80).result

    strengths = np.abs(np.corrcoef(live)[np.triu_indices(10, 1)])
    assert built.summary["threshold"] == pytest.approx(np.percentile(strengths, 80), abs=1e-12)
    assert built.summary["n_left_out"] == 2
    assert built.network.n_edges == np.sum(strengths > np.percentile(strengths, 80)) > 0


def test_m9_ties_are_not_joined_unless_the_threshold_is_inclusive() -> None:
    # Rows at right angles: every correlation is exactly 0.
    scores = xr.DataArray(np.eye(6), dims=("neuron", "component"))

    above, warnings = stage("build_network", scores, percentile=50)
    at = stage("build_network", scores, percentile=50, inclusive=True).result

    assert above.summary["threshold"] == at.summary["threshold"] == 0
    assert above.network.n_edges == 0
    assert warnings == ["the network has no edge; lower the threshold"]
    assert at.network.n_edges == 15


def test_m9_a_density_is_reached_and_ties_stay_together() -> None:
    rows = some_traces(20)

    built = stage("build_network", traces_of(rows), rule="density", density=0.1).result
    equal = stage(
        "build_network", xr.DataArray(np.eye(6), dims=("neuron", "component")),
        rule="density", density=0.2,
    ).result  # fmt: skip

    assert built.network.n_edges == 19
    assert equal.network.n_edges == 15


def test_m9_a_density_below_one_pair_is_an_empty_network() -> None:
    built, warnings = stage(
        "build_network", traces_of(some_traces(4)), rule="density", density=0.01
    )

    assert built.network.n_edges == 0
    assert np.isfinite(built.summary["threshold"])
    assert warnings == ["the network has no edge; lower the threshold"]


def test_m9_all_pairs_can_be_joined_but_not_beyond_the_limit() -> None:
    rows = traces_of(some_traces())

    built = stage("build_network", rows, rule="fixed", threshold=-1, quantity="signed").result

    assert built.network.n_edges == 12 * 11 // 2
    with pytest.raises(DataError, match=r"more than max_edges = 10; a threshold of .* would fit"):
        stage("build_network", rows, rule="fixed", threshold=0.0, max_edges=10)


def test_m9_negative_weights_are_kept_and_refused_where_they_have_no_meaning() -> None:
    rows = some_traces()
    rows[1] = 0.1 * rows[1] - rows[0]

    network = stage(
        "build_network", traces_of(rows), rule="fixed", threshold=-1, quantity="signed",
        weighted=True,
    ).result.network  # fmt: skip

    assert network.weights is not None
    assert network.weights.min() == pytest.approx(np.corrcoef(rows[:2])[0, 1], abs=1e-6)
    with pytest.raises(DataError, match="negative"):
        stage("measure_network", network)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_m9_a_network_of_hardly_any_neuron_is_measured(n: int) -> None:
    built, warnings = stage("build_network", traces_of(some_traces(n)))
    measured = stage("measure_network", built.network).result
    dismantled = stage("dismantle", built.network).result

    assert warnings == ["the network has no edge; lower the threshold"]
    assert measured.degree.values.tolist() == [0] * n
    assert measured.degree.coords["eigenvector_centrality"].values.tolist() == [0.0] * n
    assert dismantled.summary["n_nodes"] == n
