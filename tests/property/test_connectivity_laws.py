"""What may change in the traces, and what the graph then does."""

import numpy as np
import numpy.typing as npt
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from clgkit.connectivity import (
    Edges,
    correlation_histogram,
    density_threshold,
    eigenvector_of_correlation,
    percentiles,
    threshold_graph,
    unit_rows,
)
from clgkit.connectivity.correlation import Quantity

Float64 = npt.NDArray[np.float64]
SEEDS = st.integers(0, 2**32 - 1)
QUANTITIES = st.sampled_from(["absolute", "signed"])
few = settings(deadline=None, max_examples=20)


def traces_of(seed: int, threshold: float = 0.4) -> tuple[np.random.Generator, Float64]:
    """Return traces none of whose correlations lies within rounding of the threshold."""
    rng = np.random.default_rng(seed)
    n, d = rng.integers(3, 30), rng.integers(3, 40)
    traces = rng.normal(size=(n, d)) + rng.normal(size=(n, 1)) * rng.normal(size=d)
    r = np.abs(np.corrcoef(traces)[np.triu_indices(n, 1)])
    assume(np.abs(r - threshold).min() > 1e-9)
    return rng, traces


def dense(edges: Edges) -> npt.NDArray[np.bool_]:
    n = edges.indptr.size - 1
    matrix = np.zeros((n, n), np.bool_)
    matrix[np.repeat(np.arange(n), np.diff(edges.indptr)), edges.indices] = True
    return matrix


def graph(traces: Float64, threshold: float = 0.4, quantity: Quantity = "absolute") -> Edges:
    return threshold_graph(unit_rows(traces), threshold=threshold, quantity=quantity)


@few
@given(SEEDS, QUANTITIES)
def test_permuting_the_cells_permutes_the_graph(seed: int, quantity: Quantity) -> None:
    rng, traces = traces_of(seed)
    order = rng.permutation(len(traces))

    moved = dense(graph(traces[order], quantity=quantity))

    np.testing.assert_array_equal(moved, dense(graph(traces, quantity=quantity))[order][:, order])


@few
@given(SEEDS, QUANTITIES, st.sampled_from(["reversed", "shuffled"]))
def test_the_order_of_the_frames_does_not_matter(seed: int, quantity: Quantity, how: str) -> None:
    rng, traces = traces_of(seed)
    frames = np.arange(traces.shape[1])[::-1]
    if how == "shuffled":
        frames = rng.permutation(traces.shape[1])

    moved = graph(traces[:, frames], quantity=quantity)

    np.testing.assert_array_equal(dense(moved), dense(graph(traces, quantity=quantity)))


@few
@given(SEEDS)
def test_every_cell_may_have_its_own_unit_and_sign(seed: int) -> None:
    rng, traces = traces_of(seed)
    gain = np.exp(rng.normal(0, 3, (len(traces), 1)))
    sign = rng.choice([-1.0, 1.0], (len(traces), 1))

    louder = unit_rows(gain * (traces + rng.normal(0, 20, gain.shape)))
    turned = unit_rows(sign * traces)

    wanted = unit_rows(traces).rows
    np.testing.assert_allclose(louder.rows, wanted, atol=1e-12)  # an offset of up to 80 rounds
    np.testing.assert_array_equal(turned.rows, sign * wanted)
    np.testing.assert_array_equal(dense(graph(sign * traces)), dense(graph(traces)))


@few
@given(SEEDS, st.sampled_from([0.0, 0.1, -1e300, np.nan, np.inf]))
def test_dead_cells_change_nothing_but_their_number(seed: int, value: float) -> None:
    rng, traces = traces_of(seed)
    places = np.sort(rng.choice(len(traces) + 1, 2))
    spoiled = np.insert(traces, places, value, axis=0)
    live = np.ones(len(traces), np.bool_)
    live = np.insert(live, places, values=False)

    unit = unit_rows(spoiled)

    assert unit.live.tolist() == live.tolist()
    ours = dense(threshold_graph(unit, threshold=0.4))
    assert not ours[~live].any()
    np.testing.assert_array_equal(ours[live][:, live], dense(graph(traces)))
    np.testing.assert_array_equal(
        percentiles(unit, [5, 95]), percentiles(unit_rows(traces), [5, 95])
    )
    ranked = eigenvector_of_correlation(unit)
    assert not ranked[~live].any()


@few
@given(SEEDS)
def test_a_cell_counted_twice_is_joined_to_itself_and_to_the_same_cells(seed: int) -> None:
    rng, traces = traces_of(seed)
    twin = int(rng.integers(len(traces)))

    ours = dense(graph(np.vstack([traces, 3 * traces[twin] + 1])))

    assert ours[-1, twin]
    neighbours = ours[-1].copy()
    neighbours[twin] = False
    np.testing.assert_array_equal(neighbours[:-1], dense(graph(traces))[twin])


@few
@given(SEEDS, QUANTITIES, st.floats(0, 1), st.floats(0, 1))
def test_a_higher_threshold_keeps_a_part_of_the_edges(
    seed: int, quantity: Quantity, first: float, second: float
) -> None:
    _, traces = traces_of(seed)
    low, high = sorted((first, second))

    many, few_edges = (dense(graph(traces, t, quantity)) for t in (low, high))

    assert not (few_edges & ~many).any()
    assert (many == many.T).all()
    assert not many.diagonal().any()


@few
@given(SEEDS, QUANTITIES, st.floats(0, 1))
def test_percentile_density_and_histogram_agree(
    seed: int, quantity: Quantity, density: float
) -> None:
    _, traces = traces_of(seed)
    unit = unit_rows(traces)
    n_pairs = len(traces) * (len(traces) - 1) // 2
    n_kept = round(density * n_pairs)

    threshold = density_threshold(unit, density, quantity=quantity)

    edges = threshold_graph(unit, threshold=threshold, quantity=quantity, inclusive=True)
    assert edges.indices.size == 2 * n_kept
    if n_kept:
        rank = 100 * (n_pairs - n_kept) / max(n_pairs - 1, 1)
        # The percentile is interpolated at a place that 100 / (n - 1) only rounds to.
        np.testing.assert_allclose(
            percentiles(unit, rank, quantity=quantity), threshold, atol=1e-9, rtol=0
        )
    below = correlation_histogram(unit, n_bins=2)[0]  # the negative ones
    r = np.corrcoef(traces)[np.triu_indices(len(traces), 1)]
    assert abs(below - np.count_nonzero(r < 0)) <= np.count_nonzero(np.abs(r) < 1e-5)


@few
@given(SEEDS, st.integers(1, 40))
def test_the_eigenvector_follows_the_cells_and_not_the_blocks(seed: int, block: int) -> None:
    rng, traces = traces_of(seed)
    order = rng.permutation(len(traces))

    whole = eigenvector_of_correlation(unit_rows(traces))

    assert whole.min() >= 0
    np.testing.assert_allclose(whole.sum(), 1)
    # float32 blocks differ in their last digit with their shape.
    np.testing.assert_allclose(
        eigenvector_of_correlation(unit_rows(traces[order]), block=block), whole[order], atol=1e-5
    )
