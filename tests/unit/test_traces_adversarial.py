"""Traces, rois and components at their limits, beside slow computations."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage
from skimage.measure import regionprops
from sklearn.decomposition import PCA  # type: ignore[import-untyped]

from clgkit.traces import (
    Reason,
    compute_dff,
    denoise,
    extract,
    find_rois,
    fit_components,
    low_rank,
    measure_labels,
    merge,
    noise_std,
    plan_merge,
    sliding_median,
    windowed_median_dff,
)
from clgkit.traces.baseline import Edges
from tests.unit.test_traces_dff import dff_slowly

Floats = npt.NDArray[np.float64]


def awkward_rows(n_rows: int, n_frames: int, seed: int) -> Floats:
    """Return rows with ties, negatives, steps, spikes, ramps and constants in turn."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(0, 1, (n_rows, n_frames))
    rows[1::8] = rng.integers(-2, 3, rows[1::8].shape)
    rows[2::8] = rng.normal(100, 5, rows[2::8].shape)
    rows[3::8] = rng.normal(-100, 5, rows[3::8].shape)
    rows[4::8] = rng.exponential(size=rows[4::8].shape) ** 4
    rows[5::8] = np.sign(rows[5::8]).cumsum(axis=1)
    rows[6::8] = np.where(rng.random(rows[6::8].shape) < 0.1, 50, 7)
    rows[7::16] = np.arange(n_frames)
    rows[15::16] = 3.25
    return rows


@pytest.mark.parametrize(("n_frames", "long", "short"), [(32, 31, 3), (33, 31, 31), (64, 63, 1)])
@pytest.mark.parametrize("edges", ["zero", "mirror"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_short_awkward_rows_are_computed_as_described(
    n_frames: int, long: int, short: int, edges: Edges, dtype: type[np.floating]
) -> None:
    rows = awkward_rows(70, n_frames, seed=1).astype(dtype)

    made = windowed_median_dff(rows, long_frames=long, short_frames=short, edges=edges)

    mode = {"zero": "constant", "mirror": "reflect"}[edges]
    alive = np.flatnonzero((made.reason != Reason.NO_NOISE) & (made.reason != Reason.CONSTANT))
    assert alive.size > 40
    np.testing.assert_array_equal(
        made.dff[alive], np.stack([dff_slowly(rows[k], long, short, mode) for k in alive])
    )
    dead = np.setdiff1d(np.arange(len(rows)), alive)
    assert np.isnan(made.dff[dead]).all()
    assert (made.reason[15::16] == Reason.CONSTANT).all()


@pytest.mark.parametrize(
    ("dtype", "scale", "digits"),
    [("f8", 1e300, 1e-12), ("f8", 1e-300, 1e-12), ("f4", 1e35, 2e-5), ("f4", 1e-35, 2e-5),
     (">f4", 1.0, 2e-5), (">f8", 1.0, 0.0)],
)  # fmt: skip
def test_units_of_fluorescence_do_not_matter(dtype: str, scale: float, digits: float) -> None:
    rows = np.random.default_rng(2).normal(100, 3, (10, 200))

    made = compute_dff((rows * scale).astype(dtype), rate_hz=1.0)

    assert not made.reason.any()
    # float32 holds 7 digits of F, of which dF/F is the last five.
    np.testing.assert_allclose(made.dff, compute_dff(rows, rate_hz=1.0).dff, atol=digits, rtol=0)
    np.testing.assert_allclose(
        noise_std((rows * scale).astype(dtype)) / scale, noise_std(rows), rtol=1e-4
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("frame", [0, 100, 199])
def test_one_frame_that_is_no_number_spoils_its_row_only(bad: float, frame: int) -> None:
    rows = np.random.default_rng(3).normal(100, 3, (300, 200))  # more than one block
    spoiled = rows.copy()
    spoiled[[0, 257], frame] = bad

    made, wanted = (compute_dff(x, rate_hz=1.0) for x in (spoiled, rows))

    others = np.setdiff1d(np.arange(300), [0, 257])
    assert made.reason[[0, 257]].tolist() == [Reason.NOT_FINITE] * 2
    assert np.isnan(made.dff[[0, 257]]).all()
    for ours, theirs in zip(made[:6], wanted[:6], strict=True):
        np.testing.assert_array_equal(np.asarray(ours)[others], np.asarray(theirs)[others])


@pytest.mark.parametrize(
    ("events_per_s", "size", "low", "high"),
    # Measured 1.000, 1.024, 1.152: what activity lifts the median, no window takes back.
    [(0.0, 0.0, 0.999, 1.001), (0.02, 1.0, 1.0, 1.035), (0.1, 0.5, 1.05, 1.2)],
)
def test_the_baseline_of_active_traces_is_lifted_by_a_known_share(
    events_per_s: float, size: float, low: float, high: float
) -> None:
    rng = np.random.default_rng(4)
    events = rng.random((150, 699)) < events_per_s
    active = ndimage.convolve1d(events * size, np.exp(-np.arange(61) / 4), axis=1, origin=-30)
    rows = 500 * (1 + active[:, 50:649]) + rng.normal(0, 25, (150, 599))

    baseline = compute_dff(rows, rate_hz=1.0).baseline.mean(axis=0) / 500

    assert low < baseline.mean() < high
    # At both ends as in the middle: zeros outside would pull them to .87.
    assert np.abs(baseline[[0, -1]] / baseline.mean() - 1).max() < 0.02


@pytest.mark.parametrize("layout", ["fortran", "strided", "big-endian", "read-only"])
def test_the_layout_of_traces_changes_no_bit_and_inputs_stay(layout: str) -> None:
    rows = np.random.default_rng(5).normal(100, 5, (30, 90))
    given = {
        "fortran": np.asfortranarray(rows),
        "strided": np.repeat(rows, 2, axis=1)[:, ::2],
        "big-endian": rows.astype(">f8"),
        "read-only": rows.copy(),
    }[layout]
    before = given.copy()
    given.setflags(write=False)
    components = fit_components([rows])
    plan = plan_merge(np.repeat([1, 2, 3], 10), np.arange(30) + 5)

    for use in (
        lambda x: sliding_median(x, window=9),
        noise_std,
        lambda x: compute_dff(x, rate_hz=0.3).dff,
        lambda x: fit_components([x]).vectors,
        lambda x: denoise(x, components),
        lambda x: low_rank(x, components, mean="keep"),
        lambda x: merge(x, plan),
    ):
        np.testing.assert_array_equal(use(given), use(rows))
    np.testing.assert_array_equal(given, before)


@pytest.mark.parametrize("weights", ["area", "mean", "largest"])
def test_merging_is_a_weighted_mean_of_what_each_frame_has(weights: str) -> None:
    rng = np.random.default_rng(6)
    nucleus, area = rng.integers(1, 12, 60), rng.integers(1, 40, 60)
    traces = rng.normal(100, 20, (60, 25))
    traces[rng.random(traces.shape) < 0.2] = np.nan

    plan = plan_merge(nucleus, area, weights=weights, min_area_px=6)  # type: ignore[arg-type]

    kept = area > 6
    assert plan.nucleus.tolist() == np.unique(nucleus[kept]).tolist()
    assert plan.fair_ratio == kept.sum() / plan.nucleus.size
    for row, name in zip(merge(traces, plan), plan.nucleus, strict=True):
        own = np.flatnonzero(kept & (nucleus == name))
        share = {"area": area[own], "mean": np.ones(own.size)}.get(weights)
        if share is None:
            share = np.arange(own.size) == np.argmax(area[own])
        masked = np.ma.masked_invalid(traces[own][share > 0])
        wanted = np.ma.average(masked, axis=0, weights=share[share > 0]).filled(np.nan)
        np.testing.assert_allclose(row, wanted, rtol=1e-13)  # order of sums


def test_plans_take_lists_and_small_integers() -> None:
    assert plan_merge([], []).nucleus.size == 0
    small = np.array([200, 200], np.uint8)
    assert plan_merge(small, small).area_px.tolist() == [400]
    assert plan_merge(np.array([2**32 - 1]), [5]).nucleus.tolist() == [2**32 - 1]
    with pytest.raises(ValueError, match="Ids lie in"):
        plan_merge(np.array([2**32]), [5])
    with pytest.raises(ValueError, match="not integers"):
        plan_merge([1.0], [5])


@pytest.mark.parametrize("seed", range(4))
def test_a_movie_with_another_gain_and_offset_has_traces_with_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rois = find_rois(rng.integers(0, 9, (21, 17)) * 1000)
    movie = rng.integers(0, 1000, (6, 21, 17))

    plain = extract(movie, rois)

    # Sums of whole numbers are exact; the mean is rounded to float32 once.
    np.testing.assert_allclose(extract(4 * movie + 100, rois), 4 * plain + 100, rtol=3e-7)
    np.testing.assert_array_equal(extract(movie[::-1], rois), plain[:, ::-1])
    flipped = find_rois(np.flip(np.zeros((21, 17), int)))
    assert extract(movie, flipped).shape == (0, 6)
    painted = np.zeros(movie.shape)
    for k, (start, stop) in enumerate(zip(rois.starts, rois.stops, strict=True)):
        painted.reshape(6, -1)[:, start:stop] = plain[rois.roi[k]][:, None]
    np.testing.assert_array_equal(extract(painted, rois), plain)


@pytest.mark.parametrize("dtype", ["u1", ">u2", "i4", ">u4", "i8", "u8"])
def test_nuclei_of_a_volume_are_those_of_regionprops(dtype: str) -> None:
    labels = np.random.default_rng(7).integers(0, 60, (6, 14, 15))
    labels[:, 0, 0] = 200  # a column through all slices

    found = measure_labels(enumerate(labels.astype(dtype)))

    wanted = regionprops(labels)  # type: ignore[no-untyped-call]
    assert found.nucleus.tolist() == [region.label for region in wanted]
    assert found.voxels.tolist() == [region.num_pixels for region in wanted]
    np.testing.assert_array_equal(
        np.stack([found.z, found.y, found.x], axis=1), [region.centroid for region in wanted]
    )
    assert found.z_min.tolist() == [region.bbox[0] for region in wanted]
    assert (found.z_max + 1).tolist() == [region.bbox[3] for region in wanted]


@pytest.mark.parametrize(
    "labels",
    [np.zeros((2, 3), bool), np.zeros((2, 3)), np.zeros((2, 3), complex), np.array([["a"]])],
    ids=["bool", "float", "complex", "text"],
)
def test_labels_that_are_no_integers_are_refused(labels: npt.NDArray[np.generic]) -> None:
    with pytest.raises(TypeError, match=r"The labels are of type .*, but integers are wanted"):
        find_rois(labels)
    with pytest.raises(TypeError, match=r"The labels are of type .*, but integers are wanted"):
        measure_labels([(0, labels)])


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.zeros(3, int), r"shape \(3,\), but \(Y, X\)"),
        (np.zeros((1, 2, 3), int), r"shape \(1, 2, 3\), but \(Y, X\)"),
        (np.array([[-4, 2]]), "label -4 is negative"),
        (np.array([[2**32, 2]]), "label 4294967296 does not fit uint32"),
        (np.array([[2**63, 2]], np.uint64), "does not fit uint32"),
    ],
)
def test_planes_that_are_none_are_refused(labels: npt.NDArray[np.int64], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        find_rois(labels)


@pytest.mark.parametrize("variance", [0.90, 0.95, 0.99])
@pytest.mark.parametrize("n", [40, 400])
def test_as_many_components_as_scikit_learn_keeps(n: int, variance: float) -> None:
    rng = np.random.default_rng(8)
    traces = rng.normal(size=(n, 30)) * np.exp(-np.arange(30) / 6) @ rng.normal(size=(30, 80))

    found = fit_components([traces], variance=variance)

    peer = PCA(n_components=variance, svd_solver="full").fit(traces)
    assert found.vectors.shape[1] == peer.n_components_
    assert found.explained.sum() > variance >= found.explained[:-1].sum()


@pytest.mark.parametrize("n", [30, 300])
def test_components_are_an_orthonormal_base_that_keeps_what_it_kept(n: int) -> None:
    rng = np.random.default_rng(9)
    traces = rng.normal(size=(n, 4)) @ rng.normal(size=(4, 60)) + rng.normal(0, 0.3, (n, 60))

    found = fit_components([traces])

    k = found.vectors.shape[1]
    np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(k), atol=1e-12)
    assert (np.diff(found.explained) <= 0).all()
    assert (found.vectors[np.abs(found.vectors).argmax(axis=0), np.arange(k)] > 0).all()
    for mean in ("project", "keep"):
        once = denoise(traces, found, mean=mean)  # type: ignore[arg-type]
        twice = denoise(once, found, mean=mean)  # type: ignore[arg-type]
        np.testing.assert_allclose(twice, once, atol=1e-5)  # float32 between
    order = rng.permutation(n)
    moved = fit_components([traces[order]])
    np.testing.assert_allclose(moved.vectors, found.vectors, atol=1e-9)
    louder = fit_components([1e6 * traces])
    np.testing.assert_allclose(louder.vectors, found.vectors, atol=1e-9)
    np.testing.assert_allclose(louder.explained, found.explained, rtol=1e-9)


def test_a_neuron_alone_is_its_own_mean() -> None:
    trace = np.random.default_rng(10).normal(size=(1, 25))

    found = fit_components([trace])

    assert (found.n, found.vectors.shape) == (1, (25, 0))
    np.testing.assert_allclose(denoise(trace, found, mean="keep"), trace, rtol=1e-6)
