"""Laws of running order statistics and of dF/F on real and random traces."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clgkit.traces import Reason, compute_dff, noise_std, sliding_median, sliding_rank
from tests.unit.test_traces_dff import dff_slowly

SEEDS = st.integers(0, 2**32 - 1)
few = settings(deadline=None, max_examples=25)


@few
@given(SEEDS, st.sampled_from([np.exp, np.cbrt, np.arctan, lambda x: 3 * x - 7]), st.data())
def test_any_rising_function_may_come_before_or_after_the_filter(
    seed: int, function: object, data: st.DataObject
) -> None:
    assert callable(function)
    rows = np.random.default_rng(seed).normal(size=(3, data.draw(st.integers(2, 80)))).round(1)
    window = 2 * data.draw(st.integers(0, (rows.shape[1] - 2) // 2)) + 1
    element = data.draw(st.integers(0, window - 1))

    filtered = sliding_rank(function(rows), window=window, element=element)

    np.testing.assert_array_equal(
        filtered, function(sliding_rank(rows, window=window, element=element))
    )


@few
@given(SEEDS, st.integers(1, 9), st.integers(12, 60))
def test_frames_far_away_do_not_matter(seed: int, half: int, n_frames: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(2, 2 * n_frames + 2))
    changed = rows.copy()
    changed[:, n_frames + half :] = rng.normal(50, 9, changed[:, n_frames + half :].shape)

    one, other = (sliding_median(x, window=2 * half + 1)[:, :n_frames] for x in (rows, changed))

    np.testing.assert_array_equal(one, other)


@few
@given(SEEDS, st.floats(-1e6, 1e6))
def test_an_offset_moves_the_baseline_and_leaves_the_noise(seed: int, offset: float) -> None:
    rows = np.random.default_rng(seed).normal(100, 4, (5, 90))

    # Adding 1e6 leaves ten digits of the traces.
    np.testing.assert_allclose(noise_std(rows + offset), noise_std(rows), rtol=1e-8)
    np.testing.assert_allclose(
        sliding_median(rows + offset, window=31),
        sliding_median(rows, window=31) + offset,
        atol=1e-9,
    )


@few
@given(SEEDS, st.integers(1, 7))
def test_rows_are_computed_each_by_itself(seed: int, n_rows: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(100, 5, (7, 60))
    rows[rng.integers(7)] = 5.0
    chosen = rng.integers(0, 7, n_rows)  # also twice

    made, wanted = compute_dff(rows[chosen], rate_hz=0.3), compute_dff(rows, rate_hz=0.3)

    for ours, theirs in zip(made[:6], wanted[:6], strict=True):
        np.testing.assert_array_equal(ours, np.asarray(theirs)[chosen])


@pytest.mark.parametrize(
    ("name", "rate_hz"),
    [("fissa_suite2p_F.npy", 10.0), ("fissa_suite2p_Fneu.npy", 1.0)],
)
def test_dff_of_recorded_fluorescence_is_as_described(
    shared: Path, name: str, rate_hz: float
) -> None:
    path = shared / "data" / "traces" / name
    if not path.exists():
        pytest.skip(f"{name} is not at hand in ../shared/data/traces")
    rows = np.load(path)
    assert rows.dtype == np.float32

    made = compute_dff(rows, rate_hz=rate_hz, edges="zero")

    assert (made.reason == Reason.OK).all()
    wanted = [dff_slowly(row, made.long_frames, made.short_frames) for row in rows]
    np.testing.assert_array_equal(made.dff, wanted)
    assert (made.n_floored == 0).all()
