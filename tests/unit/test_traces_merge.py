"""One trace per nucleus."""

import math

import numpy as np
import pytest

from clgkit.traces import merge, plan_merge

NUCLEUS = np.array([70000, 5, 5, 9, 5, 9, 2])
AREA = np.array([30, 10, 30, 4, 30, 40, 3])
TRACES = np.arange(14, dtype=np.float64).reshape(7, 2) ** 2


def test_a_plan_says_which_rois_make_which_neuron() -> None:
    plan = plan_merge(NUCLEUS, AREA)

    assert plan.nucleus.tolist() == [5, 9, 70000]
    assert plan.nucleus.dtype == np.uint32
    assert plan.rois.tolist() == [1, 2, 4, 5, 0]
    assert plan.starts.tolist() == [0, 3, 4, 5]
    assert plan.n_planes.tolist() == [3, 1, 1]
    assert plan.area_px.tolist() == [70, 40, 30]
    assert plan.dropped.tolist() == [3, 6]
    assert plan.naive_ratio == 7 / 3
    assert plan.fair_ratio == 5 / 3


def test_area_pools_the_pixels() -> None:
    merged = merge(TRACES, plan_merge(NUCLEUS, AREA))

    expected = (10 * TRACES[1] + 30 * TRACES[2] + 30 * TRACES[4]) / 70
    np.testing.assert_allclose(merged[0], expected, rtol=1e-15)  # order of the sums
    np.testing.assert_array_equal(merged[1:], TRACES[[5, 0]])


def test_mean_weighs_planes_alike() -> None:
    merged = merge(TRACES, plan_merge(NUCLEUS, AREA, weights="mean"))

    np.testing.assert_array_equal(merged[0], (TRACES[1] + TRACES[2] + TRACES[4]) / 3)


def test_largest_takes_the_earlier_of_equal_rois() -> None:
    plan = plan_merge(NUCLEUS, AREA, weights="largest")

    np.testing.assert_array_equal(merge(TRACES, plan), TRACES[[2, 5, 0]])
    assert plan.n_planes.tolist() == [3, 1, 1]


def test_mean_adds_float32_in_float32() -> None:
    traces = np.random.default_rng(3).normal(100, 30, (3, 500)).astype(np.float32)
    plan = plan_merge(np.array([1, 1, 1]), np.array([9, 9, 9]), weights="mean")

    merged = merge(traces, plan)

    assert merged.dtype == np.float32
    np.testing.assert_array_equal(merged[0], (traces[0] + traces[1] + traces[2]) / np.float32(3))


def test_frames_without_a_number_are_left_out_of_the_mean() -> None:
    traces = np.array([[1, np.nan, np.nan], [4, 4, np.nan]])
    plan = plan_merge(np.array([8, 8]), np.array([10, 20]))

    np.testing.assert_array_equal(merge(traces, plan), [[3, 4, np.nan]])


def test_the_minimum_area_is_strict() -> None:
    assert plan_merge(NUCLEUS, AREA, min_area_px=3).dropped.tolist() == [6]
    assert plan_merge(NUCLEUS, AREA, min_area_px=0).dropped.size == 0
    assert plan_merge(NUCLEUS, AREA, min_area_px=100).nucleus.size == 0


def test_no_roi_is_legal() -> None:
    nothing = np.zeros(0, np.uint32)

    for weights in ("area", "mean", "largest"):
        plan = plan_merge(nothing, nothing, weights=weights)
        assert merge(np.zeros((0, 6), np.float32), plan).shape == (0, 6)
        assert math.isnan(plan.naive_ratio)
        assert math.isnan(plan.fair_ratio)


def test_rois_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match=r"nucleus has shape \(7,\) and area_px \(6,\)"):
        plan_merge(NUCLEUS, AREA[1:])
    with pytest.raises(ValueError, match="float64, not integers"):
        plan_merge(NUCLEUS, AREA.astype(float))
    with pytest.raises(ValueError, match="Ids lie in 0"):
        plan_merge(np.array([0]), np.array([9]))
    with pytest.raises(ValueError, match="0 pixels"):
        plan_merge(np.array([1]), np.array([0]))
    with pytest.raises(ValueError, match="'median'"):
        plan_merge(NUCLEUS, AREA, weights="median")  # type: ignore[arg-type]


def test_traces_of_other_rois_are_refused() -> None:
    plan = plan_merge(NUCLEUS, AREA)

    with pytest.raises(ValueError, match=r"\(6, 2\), but the plan has 7 rois"):
        merge(TRACES[1:], plan)
    with pytest.raises(TypeError, match="int64"):
        merge(TRACES.astype(np.int64), plan)
