import numpy as np
import numpy.typing as npt
import pytest

from clgkit.connectivity import correlation, correlation_histogram, percentiles, unit_rows

Float64 = npt.NDArray[np.float64]


@pytest.fixture
def traces() -> Float64:
    rng = np.random.default_rng(0)
    return rng.normal(size=(70, 40)) + rng.normal(size=40) + 100.0


def upper(traces: Float64) -> Float64:
    return np.corrcoef(traces)[np.triu_indices(len(traces), 1)]


def test_rows_get_mean_zero_and_length_one(traces: Float64) -> None:
    rows, live = unit_rows(traces)

    assert live.all()
    np.testing.assert_allclose(rows.mean(axis=1), 0, atol=1e-15)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-15)
    assert unit_rows(traces, dtype=np.float32).rows.dtype == np.float32


@pytest.mark.parametrize("value", [0.1, 0.3, 0.0, np.nan, np.inf])
def test_constant_and_non_finite_rows_are_dead(traces: Float64, value: float) -> None:
    traces[3] = value  # the numpy variance of a constant 0.1 is not zero
    traces[5, 7] = np.nan

    rows, live = unit_rows(traces)

    assert np.flatnonzero(~live).tolist() == [3, 5]
    assert not rows[[3, 5]].any()
    assert np.isfinite(rows).all()


def test_huge_and_tiny_rows_are_scaled_without_overflow() -> None:
    base = np.array([1.0, 2.0, 4.0, 3.0])

    rows, live = unit_rows(np.stack([base, base * 1e300, base * 1e-300]))

    assert live.all()
    np.testing.assert_allclose(rows, rows[[0, 0, 0]], atol=1e-15)


def test_rows_of_a_low_rank_form_are_only_scaled() -> None:
    rows, live = unit_rows([[3.0, 4.0], [2.0, 2.0], [0.0, 0.0]], center=False)

    np.testing.assert_allclose(rows[:2], [[0.6, 0.8], [0.5**0.5, 0.5**0.5]], atol=1e-15)
    assert live.tolist() == [True, True, False]


def test_a_wrong_array_is_refused_in_one_sentence(traces: Float64) -> None:
    with pytest.raises(ValueError, match=r"shape \(40,\).*wanted a real \(N, D\)"):
        unit_rows(traces[0])
    with pytest.raises(ValueError, match="wanted float32 or float64"):
        unit_rows(traces, dtype=np.int32)
    with pytest.raises(ValueError, match="unit rows have shapes"):
        correlation_histogram(correlation.UnitRows(traces, np.ones(3, np.bool_)))


def test_the_histogram_counts_every_pair_once(traces: Float64) -> None:
    counts = correlation_histogram(unit_rows(traces), n_bins=50, block=16)

    assert counts.sum() == 70 * 69 // 2
    # No correlation lies so near an edge that float32 could move it.
    np.testing.assert_array_equal(counts, np.histogram(upper(traces), 50, (-1, 1))[0])


def test_equal_rows_stay_in_the_last_bin() -> None:
    counts = correlation_histogram(unit_rows([[1.0, 2.0, 4.0]] * 3 + [[-1.0, -2.0, -4.0]]))

    assert (counts[-1], counts[0], counts.sum()) == (3, 3, 6)


@pytest.mark.parametrize("quantity", ["signed", "absolute"])
def test_percentiles_equal_those_of_numpy(traces: Float64, quantity: correlation.Quantity) -> None:
    q = np.array([[0, 0.37, 5], [50, 99.99, 100]])
    values = upper(traces) if quantity == "signed" else np.abs(upper(traces))

    ours = percentiles(unit_rows(traces), q, quantity=quantity, block=32)

    # Both are float64; only the order of summation differs.
    np.testing.assert_allclose(ours, np.percentile(values, q), atol=1e-14, rtol=0)


def test_dead_rows_take_no_part_in_percentiles(traces: Float64) -> None:
    spoiled = np.vstack([np.full(40, 0.1), traces, np.full(40, np.nan)])

    np.testing.assert_array_equal(
        percentiles(unit_rows(spoiled), [5, 95]), percentiles(unit_rows(traces), [5, 95])
    )


def test_all_correlations_equal_give_that_percentile() -> None:
    unit = unit_rows(np.tile([1.0, 5.0, 2.0, 8.0], (6, 1)))

    np.testing.assert_allclose(percentiles(unit, [0, 50, 100]), 1, atol=1e-15)


def test_a_crowd_that_does_not_fit_into_memory_is_narrowed_down(
    traces: Float64, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = percentiles(unit_rows(traces), [0, 31, 100])
    monkeypatch.setattr(correlation, "MAX_COLLECTED", 0)

    # The search stops at a bracket of 1e-15 around values up to 1.
    np.testing.assert_allclose(
        percentiles(unit_rows(traces), [0, 31, 100]), exact, atol=1e-14, rtol=0
    )
    equal = unit_rows(np.tile([1.0, 5.0, 2.0, 8.0], (6, 1)))
    np.testing.assert_allclose(percentiles(equal, 50), 1, atol=1e-14)


def test_impossible_requests_are_refused(traces: Float64) -> None:
    with pytest.raises(ValueError, match="1 of 2 rows are live"):
        percentiles(unit_rows([[1.0, 2.0], [3.0, 3.0]]), 50)
    for q in (-1, 101, np.nan):
        with pytest.raises(ValueError, match="wanted 0 to 100"):
            percentiles(unit_rows(traces), q)
    with pytest.raises(ValueError, match="quantity is 'r'"):
        percentiles(unit_rows(traces), 50, quantity="r")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="block is 5000"):
        correlation_histogram(unit_rows(traces), block=5000)
    with pytest.raises(ValueError, match="n_bins is 0"):
        correlation_histogram(unit_rows(traces), n_bins=0)
