"""Traces against the outputs of the CLG notebooks (steps 2 and 3)."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from numpy.lib.npyio import NpzFile

from clgkit.traces import (
    Reason,
    Rois,
    compute_dff,
    denoise,
    extract,
    find_rois,
    fit_components,
    low_rank,
    measure_labels,
    merge,
    plan_merge,
    windowed_median_dff,
)

Golden = Callable[[str], NpzFile]


class Extracted(NamedTuple):
    planes: list[Rois]
    slices: list[int]
    traces: npt.NDArray[np.floating]


@pytest.fixture
def step2(golden: Golden) -> NpzFile:
    return golden("extract")


@pytest.fixture
def step3(golden: Golden) -> NpzFile:
    return golden("traces_network")


def extract_all(file: NpzFile) -> Extracted:
    labels = file["labels"]
    planes, slices, traces = [], [], []
    for plane, number in file["mapping"]:  # both 1-based; some planes have no movie or slice
        if f"movie_{plane:02d}" in file and number <= len(labels):
            planes.append(find_rois(labels[number - 1]))
            slices.append(number - 1)
            traces.append(extract(file[f"movie_{plane:02d}"], planes[-1], compat=True))
    return Extracted(planes, slices, np.concatenate(traces))


def test_extraction_is_the_notebooks_bit_for_bit(step2: NpzFile) -> None:
    found = extract_all(step2)

    positions = [
        np.stack([np.full(rois.y.size, z), rois.y, rois.x], axis=1)
        for rois, z in zip(found.planes, found.slices, strict=True)
    ]
    np.testing.assert_array_equal(found.traces, step2["raw_trace"])
    np.testing.assert_array_equal(np.concatenate(positions), step2["raw_pos"])
    np.testing.assert_array_equal(
        np.concatenate([rois.nucleus for rois in found.planes]), step2["raw_nucIndex"]
    )
    np.testing.assert_array_equal(
        np.concatenate([rois.area_px for rois in found.planes]), step2["raw_area"]
    )


def test_the_default_sums_differ_from_float32_by_its_rounding(step2: NpzFile) -> None:
    rois = find_rois(step2["labels"][int(step2["mapping"][1, 1]) - 1])
    movie = step2["movie_03"]
    assert movie.dtype == np.float32

    # The original adds up to 60 float32 numbers one by one.
    np.testing.assert_allclose(extract(movie, rois), extract(movie, rois, compat=True), rtol=1e-6)


def test_merging_is_the_notebooks_bit_for_bit(step2: NpzFile) -> None:
    plan = plan_merge(step2["raw_nucIndex"], step2["raw_area"], weights="mean")

    np.testing.assert_array_equal(merge(step2["raw_trace"], plan), step2["trace"])
    np.testing.assert_array_equal(plan.nucleus, step2["nucIndex"])
    assert plan.naive_ratio == len(step2["raw_trace"]) / len(step2["trace"])
    assert plan.fair_ratio < plan.naive_ratio


def test_centroids_are_the_notebooks_bit_for_bit(step2: NpzFile) -> None:
    measured = measure_labels(enumerate(step2["labels"]))

    rows = np.searchsorted(measured.nucleus, step2["nucIndex"])
    found = np.stack([measured.z, measured.y, measured.x], axis=1)[rows]
    np.testing.assert_array_equal(measured.nucleus[rows], step2["nucIndex"])
    np.testing.assert_array_equal(found, step2["pos"])


def test_dff_at_one_hertz_is_the_originals_bit_for_bit(step3: NpzFile) -> None:
    made = compute_dff(step3["trace"][step3["kept"]], rate_hz=1.0, edges="zero")

    assert (made.long_frames, made.short_frames) == (301, 3)
    np.testing.assert_array_equal(made.dff, step3["dff_fs1"])


def test_dff_with_windows_in_frames_is_the_originals_bit_for_bit(step3: NpzFile) -> None:
    traces = step3["trace"][step3["kept"]]

    made = windowed_median_dff(traces, long_frames=101, short_frames=31, edges="zero")

    np.testing.assert_array_equal(made.dff, step3["dff_l101_s31"])
    np.testing.assert_array_equal(made.dff_noise, step3["dff_l101_s31_noise_std"])
    np.testing.assert_array_equal(made.n_floored, step3["dff_l101_s31_small_baseline"])


def test_a_row_with_nan_is_nan_as_in_the_original(step3: NpzFile) -> None:
    made = windowed_median_dff(step3["nan_in"], long_frames=101, short_frames=31, edges="zero")

    np.testing.assert_array_equal(made.dff, step3["dff_nan_l101_s31"])
    broken = np.isnan(step3["nan_in"]).any(axis=1)
    assert broken.any()
    np.testing.assert_array_equal(made.reason == Reason.NOT_FINITE, broken)


@pytest.mark.parametrize("repeats", [1, 4])
def test_components_are_the_originals(step3: NpzFile, repeats: int) -> None:
    dff = step3["dff_fs1"]  # 179 traces of 599 frames: an SVD; four times as many: eigenvectors
    components = fit_components([dff] * repeats)

    assert components.vectors.shape == (599, int(step3["pca_n"]))
    denoised = denoise(dff, components, mean="keep")
    # Half a unit of float32 in values up to 5.4.
    np.testing.assert_allclose(denoised, step3["pca95"], atol=3e-7, rtol=0)


def test_correlations_of_the_low_rank_form_are_the_originals(step3: NpzFile) -> None:
    dff = step3["dff_fs1"]

    rows = low_rank(dff, fit_components([dff]), mean="keep")

    assert rows.shape == (179, int(step3["pca_n"]) + 1)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    correlation = rows @ rows.T
    np.fill_diagonal(correlation, 0)
    # float64 in another order: 4e-15 was measured.
    np.testing.assert_allclose(correlation, step3["corr"], atol=1e-13, rtol=0)
