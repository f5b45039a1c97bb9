"""Laws of traces."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from clgkit.traces import (
    compute_dff,
    extract,
    find_rois,
    measure_labels,
    merge,
    plan_merge,
    sliding_rank,
)

SEEDS = st.integers(0, 2**32 - 1)
LABELS = arrays.arrays(
    np.uint32,
    arrays.array_shapes(min_dims=3, max_dims=3, max_side=6),
    elements=st.sampled_from([0, 0, 1, 2, 70_000, 2**24 + 1]),
)


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.integers(1, 9), st.sampled_from(["u2", "f4"]), st.sampled_from(["plain", "clg"]))
def test_cutting_the_frames_into_blocks_changes_no_bit(
    seed: int, size: int, dtype: str, arithmetic: str
) -> None:
    rng = np.random.default_rng(seed)
    frames = rng.uniform(0, 1000, (9, 12, 13)).astype(dtype)
    rois = find_rois(rng.integers(0, 8, (12, 13)))
    compat = arithmetic == "clg"

    blocks = [extract(frames[i : i + size], rois, compat=compat) for i in range(0, 9, size)]

    np.testing.assert_array_equal(
        np.concatenate(blocks, axis=1), extract(frames, rois, compat=compat)
    )


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_area_weights_give_the_mean_of_the_pooled_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, (3, 8, 9))
    movie = rng.uniform(0, 1000, (5, 3, 8, 9))
    planes = [find_rois(plane) for plane in labels]
    traces = np.concatenate([extract(movie[:, z], rois) for z, rois in enumerate(planes)])

    plan = plan_merge(
        np.concatenate([rois.nucleus for rois in planes]),
        np.concatenate([rois.area_px for rois in planes]),
        min_area_px=0,
    )

    pooled = [movie[:, labels == nucleus].mean(axis=1) for nucleus in plan.nucleus]
    np.testing.assert_allclose(merge(traces, plan), pooled, rtol=3e-7)  # float32 traces


@settings(max_examples=25, deadline=None)
@given(LABELS)
def test_a_volume_is_the_sum_of_its_slices(labels: np.ndarray) -> None:
    measured = measure_labels(enumerate(labels))

    planes = [find_rois(plane) for plane in labels]
    assert measured.voxels.sum() == sum(rois.area_px.sum() for rois in planes)
    assert measured.voxels.sum() == np.count_nonzero(labels)
    assert (measured.z_min <= measured.z).all()
    assert (measured.z <= measured.z_max).all()
    assert (np.diff(measured.nucleus.astype(np.int64)) > 0).all()


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(2, 150), st.data())
def test_ranks_are_ordered_and_turn_with_the_trace(
    seed: int, n_frames: int, data: st.DataObject
) -> None:
    rows = np.random.default_rng(seed).integers(-20, 20, (3, n_frames))
    window = 2 * data.draw(st.integers(0, (n_frames - 2) // 2)) + 1
    element = data.draw(st.integers(0, window - 1))

    found = sliding_rank(rows, window=window, element=element)

    lowest = sliding_rank(rows, window=window, element=0)
    highest = sliding_rank(rows, window=window, element=window - 1)
    assert (lowest <= found).all()
    assert (found <= highest).all()
    np.testing.assert_array_equal(
        sliding_rank(rows[:, ::-1], window=window, element=element), found[:, ::-1]
    )
    np.testing.assert_array_equal(
        sliding_rank(-rows, window=window, element=window - 1 - element), -found
    )


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.sampled_from([0.25, 2.0, 1024.0]), st.sampled_from(["mirror", "zero"]))
def test_dff_knows_neither_gain_nor_the_direction_of_time(
    seed: int, gain: float, edges: str
) -> None:
    rows = np.random.default_rng(seed).normal(500, 30, (4, 120))

    made = compute_dff(rows, rate_hz=0.2, edges=edges)  # type: ignore[arg-type]

    # Powers of two and a turned order change no rounding.
    louder = compute_dff(gain * rows, rate_hz=0.2, edges=edges)  # type: ignore[arg-type]
    turned = compute_dff(rows[:, ::-1], rate_hz=0.2, edges=edges)  # type: ignore[arg-type]
    np.testing.assert_array_equal(louder.dff, made.dff)
    np.testing.assert_array_equal(turned.dff, made.dff[:, ::-1])
    np.testing.assert_array_equal(louder.noise, gain * made.noise)
