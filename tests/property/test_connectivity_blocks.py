"""Laws of the correlation graph for any traces and any block size."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from clgkit.connectivity import correlation_histogram, percentiles, threshold_graph, unit_rows


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(2, 40),
    d=st.integers(2, 50),
    block=st.integers(1, 50),
    threshold=st.floats(0, 1),
)
def test_a_pair_is_an_edge_exactly_when_float64_says_so(
    seed: int, n: int, d: int, block: int, threshold: float
) -> None:
    rng = np.random.default_rng(seed)
    unit = unit_rows(rng.normal(size=(n, d)))

    edges = threshold_graph(unit, threshold=threshold, block=block)

    r = np.abs(unit.rows @ unit.rows.copy().T)[np.triu_indices(n, 1)]
    undecided = np.abs(r - threshold) < 1e-14  # the order of summation decides these
    n_sure = np.count_nonzero((r > threshold) & ~undecided)
    assert n_sure <= edges.indices.size // 2 <= n_sure + np.count_nonzero(undecided)
    assert correlation_histogram(unit, block=block).sum() == n * (n - 1) // 2


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 30), q=st.floats(0, 100))
def test_percentiles_equal_those_of_numpy_for_any_scale(seed: int, n: int, q: float) -> None:
    rng = np.random.default_rng(seed)
    traces = rng.normal(size=(n, 12)).round(1)

    ours = percentiles(unit_rows(traces * 37.0 + 5.0), q, block=7)

    values = np.corrcoef(traces)[np.triu_indices(n, 1)]
    # Shifting and scaling rounds the traces: a few units of 1e-16, relative to an offset of 5.
    np.testing.assert_allclose(ours, np.percentile(values, q), atol=1e-12, rtol=0)
