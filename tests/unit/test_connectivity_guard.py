"""Decisions that float32 cannot make: pairs beside the threshold, ties, crowds."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy.sparse.linalg import eigsh

from clgkit.connectivity import (
    Edges,
    UnitRows,
    correlation,
    correlation_histogram,
    density_threshold,
    eigenvector_of_correlation,
    percentiles,
    threshold_graph,
    unit_rows,
)
from clgkit.connectivity.correlation import Quantity, guard
from clgkit.traces import denoise, fit_components, low_rank

Float64 = npt.NDArray[np.float64]
# float64 sums of products up to 1 are good to 1e-15: every one of these is decided.
DISTANCES = [-1e-7, -1e-9, -1e-12, -1e-14, 1e-14, 1e-12, 1e-9, 1e-7]


def pairs_at(r: Float64, n_columns: int, seed: int = 0) -> Float64:
    """Return rows (2 n, n_columns) of which 2 k and 2 k + 1 have the correlation r[k]."""
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(2, r.size, n_columns))
    first -= first.mean(axis=1, keepdims=True)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    for _ in range(2):  # the second time removes what the first has rounded
        second -= second.mean(axis=1, keepdims=True)
        second -= (second * first).sum(axis=1, keepdims=True) * first
        second /= np.linalg.norm(second, axis=1, keepdims=True)
    second = r[:, None] * first + np.sqrt(1 - r**2)[:, None] * second
    return np.stack([first, second], axis=1).reshape(-1, n_columns)


def partners(edges: Edges) -> npt.NDArray[np.bool_]:
    """Tell which of the rows 2 k are joined to their partner."""
    n = edges.indptr.size - 1
    rows = np.repeat(np.arange(n), np.diff(edges.indptr))
    joined = np.zeros(n // 2, np.bool_)
    joined[rows[(rows % 2 == 0) & (edges.indices == rows + 1)] // 2] = True
    return joined


def dense(edges: Edges) -> npt.NDArray[np.bool_]:
    n = edges.indptr.size - 1
    matrix = np.zeros((n, n), np.bool_)
    matrix[np.repeat(np.arange(n), np.diff(edges.indptr)), edges.indices] = True
    return matrix


@pytest.mark.parametrize("n_columns", [25, 599])
@pytest.mark.parametrize("threshold", [0.95, 0.8, 1 / 3])
@pytest.mark.parametrize("block", [3, 2048])
def test_a_pair_beside_the_threshold_is_decided_in_float64(
    n_columns: int, threshold: float, block: int
) -> None:
    # Rounding the threshold to float32 would move it by 1e-8.
    distance = np.repeat(DISTANCES, 25)
    unit = unit_rows(pairs_at(threshold + distance, n_columns))

    edges = threshold_graph(unit, threshold=threshold, block=block)

    np.testing.assert_array_equal(partners(edges), distance > 0)


@pytest.mark.parametrize("quantity", ["absolute", "signed"])
def test_negative_correlations_are_decided_as_exactly(quantity: Quantity) -> None:
    distance = np.repeat(DISTANCES, 25)
    rows = pairs_at(0.9 + distance, 25)
    rows[1::2] *= -1

    edges = threshold_graph(
        unit_rows(rows), threshold=0.9 if quantity == "absolute" else -0.9, quantity=quantity
    )

    np.testing.assert_array_equal(
        partners(edges), distance > 0 if quantity == "absolute" else distance < 0
    )


@pytest.mark.parametrize("n_columns", [1, 25, 599])
def test_no_float32_product_leaves_the_guard(n_columns: int) -> None:
    rng = np.random.default_rng(1)
    # Rows that agree in sign add up all their rounding errors.
    made = np.abs(rng.normal(size=(300, n_columns))) + rng.exponential(0.1, (300, 1))
    rows = unit_rows(made, center=False).rows
    rough = rows.astype(np.float32)

    difference = np.abs(rough @ rough.copy().T - rows @ rows.copy().T)

    assert difference.max() <= guard(n_columns)


def test_float32_rows_are_exact_for_what_they_are() -> None:
    unit = unit_rows(pairs_at(0.95 + np.repeat(DISTANCES, 9), 25), dtype=np.float32)
    wide = UnitRows(unit.rows.astype(np.float64), unit.live)

    for one, other in zip(
        threshold_graph(unit, threshold=0.95, weighted=True),
        threshold_graph(wide, threshold=0.95, weighted=True),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("threshold", "degree"),
    [(np.inf, 0), (1e300, 0), (1.0 + 1e-9, 0), (-1.0 - 1e-9, 11), (-1e300, 11), (-np.inf, 11)],
)
def test_thresholds_beyond_all_correlations_join_nothing_or_everything(
    threshold: float, degree: int
) -> None:
    unit = unit_rows(np.random.default_rng(2).normal(size=(12, 7)))

    edges = threshold_graph(unit, threshold=threshold, quantity="signed")

    assert set(np.diff(edges.indptr).tolist()) == {degree}


def test_equal_and_opposite_rows_reach_one_and_no_more() -> None:
    rows = np.random.default_rng(3).normal(size=(6, 33))
    unit = unit_rows(np.concatenate([rows, rows, -rows]))

    r = percentiles(unit, [0, 100])
    edges = threshold_graph(unit, threshold=1.0 - 1e-12, weighted=True)

    np.testing.assert_allclose(r, [-1, 1], atol=1e-15)  # one rounding of a sum of 33
    assert np.diff(edges.indptr).tolist() == [2] * 18
    assert edges.weights is not None
    assert edges.weights.max() == 1


@pytest.mark.parametrize("levels", [2, 3, 5])
@pytest.mark.parametrize("quantity", ["signed", "absolute"])
def test_percentiles_of_heavy_ties_are_those_of_numpy(levels: int, quantity: Quantity) -> None:
    rng = np.random.default_rng(4)
    rows = rng.integers(0, levels, (60, 8)).astype(np.float64)
    rows = rows[rows.min(axis=1) != rows.max(axis=1)]
    q = [0, 1e-9, 10, 25, 33.3, 50, 66.6, 75, 90, 100 - 1e-9, 100]

    ours = percentiles(unit_rows(rows), q, quantity=quantity, block=17)

    r = np.corrcoef(rows)[np.triu_indices(len(rows), 1)]
    # Equal correlations differ by their rounding, here and in numpy.
    np.testing.assert_allclose(
        ours, np.percentile(np.abs(r) if quantity == "absolute" else r, q), atol=2e-15, rtol=0
    )


def test_percentiles_at_the_edge_of_a_bin_are_those_of_float64() -> None:
    # float32 puts these pairs, all others of which are weaker, on either side of an edge.
    r = 0.5 + np.linspace(-1e-7, 1e-7, 60)
    unit = unit_rows(pairs_at(r, 599))
    last = 120 * 119 // 2 - 1

    ours = [percentiles(unit, 100 * place / last) for place in range(last - 59, last + 1)]

    # Places are rounded to 1e-12 of the distance of two neighbours; sums to 1e-15.
    np.testing.assert_allclose(ours, r, atol=3e-15, rtol=0)


@pytest.mark.parametrize("quantity", ["signed", "absolute"])
def test_a_crowd_on_the_edges_of_bins_is_narrowed_down_to_the_value(
    quantity: Quantity, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    signs = rng.permuted(np.tile([1.0] * 8 + [-1.0] * 8, (40, 1)), axis=1)
    unit = unit_rows(signs)  # every correlation is a multiple of 1/8, an edge of some bin
    q = [0, 1, 10, 25, 50, 60, 75, 99, 100]
    wanted = percentiles(unit, q, quantity=quantity)
    monkeypatch.setattr(correlation, "MAX_COLLECTED", 0)

    ours = percentiles(unit, q, quantity=quantity)

    # It stopped at the middle of a bracket of 2e-13 before.
    np.testing.assert_allclose(ours, wanted, atol=1e-15, rtol=0)


def test_the_histogram_tells_percentiles_to_one_bin() -> None:
    rng = np.random.default_rng(5)
    traces = rng.normal(size=(150, 40)) + 0.8 * rng.normal(size=(150, 1)) * rng.normal(size=40)
    counts = correlation_histogram(unit_rows(traces))

    share = np.cumsum(counts) / counts.sum()
    q = np.array([1, 20, 50, 80, 99])
    found = 2.0 * np.searchsorted(share, q / 100) / counts.size - 1

    r = np.corrcoef(traces)[np.triu_indices(150, 1)]
    above = np.percentile(r, q, method="inverted_cdf") - found
    # A bin is 1e-4 wide, and float32 may have moved a value into its neighbour.
    assert above.min() >= -guard(40)
    assert above.max() <= 1e-4 + guard(40)


def test_the_graph_of_short_coordinates_is_that_of_the_denoised_traces() -> None:
    rng = np.random.default_rng(6)
    traces = rng.normal(size=(200, 3)) @ np.cumsum(rng.normal(size=(3, 90)), axis=1)
    traces += rng.normal(0, 2, traces.shape)
    components = fit_components([traces])

    short = unit_rows(low_rank(traces, components), center=False)

    exact = np.corrcoef(traces @ components.vectors @ components.vectors.T)
    np.testing.assert_allclose(short.rows @ short.rows.T, exact, atol=1e-12)
    single = unit_rows(low_rank(traces, components), center=False, dtype=np.float32).rows
    np.testing.assert_allclose(single @ single.copy().T, exact, atol=1e-6)  # float32 rows
    np.testing.assert_allclose(np.corrcoef(denoise(traces, components)), exact, atol=1e-6)
    np.testing.assert_array_equal(
        dense(threshold_graph(short, threshold=0.95)),
        (np.abs(exact) > 0.95) & ~np.eye(200, dtype=bool),
    )


def test_the_dense_eigenvector_of_many_cells_is_that_of_arpack() -> None:
    rng = np.random.default_rng(7)
    traces = rng.normal(size=(2000, 6)) @ rng.normal(size=(6, 30)) + rng.normal(size=(2000, 30))
    unit = unit_rows(traces)

    ours = eigenvector_of_correlation(unit, block=700)

    matrix = np.abs(unit.rows @ unit.rows.copy().T)
    vector = np.abs(eigsh(matrix, k=1, which="LA", v0=np.ones(2000))[1][:, 0])
    np.testing.assert_allclose(ours, vector / vector.sum(), rtol=1e-5)  # float32 blocks


@pytest.mark.parametrize("max_iterations", [0, -3])
def test_an_eigenvector_needs_a_product(max_iterations: int) -> None:
    with pytest.raises(ValueError, match=f"max_iterations is {max_iterations}; wanted at least 1"):
        eigenvector_of_correlation(unit_rows(np.eye(3)), max_iterations=max_iterations)


def test_an_unknown_quantity_is_refused_even_where_nothing_is_kept() -> None:
    with pytest.raises(ValueError, match="quantity is 'r'"):
        density_threshold(unit_rows(np.eye(3)), 0.0, quantity="r")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="quantity is 'r'"):
        threshold_graph(unit_rows(np.eye(3)), threshold=0.5, quantity="r")  # type: ignore[arg-type]


@pytest.mark.parametrize(("n_rows", "n_pairs"), [(0, 0), (1, 0), (2, 1), (3, 3)])
def test_a_handful_of_rows_is_legal(n_rows: int, n_pairs: int) -> None:
    unit = unit_rows(np.random.default_rng(8).normal(size=(n_rows, 5)))

    assert correlation_histogram(unit).sum() == n_pairs
    assert threshold_graph(unit, threshold=-1, block=1).indices.size == 2 * n_pairs
    assert eigenvector_of_correlation(unit).sum() == pytest.approx(float(n_rows > 0))
    assert np.isfinite(density_threshold(unit, 1.0)) == (n_pairs > 0)
    if n_pairs:
        assert -1 <= percentiles(unit, 50) <= 1
    else:
        with pytest.raises(ValueError, match=f"{n_rows} of {n_rows} rows are live"):
            percentiles(unit, 50)


def test_one_frame_has_no_correlation() -> None:
    assert not unit_rows(np.arange(4.0)[:, None]).live.any()


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [("f8", 1e305), ("f8", 1e-300), ("f8", 1e-310), ("f4", 1e36), ("f4", 1e-36), (">f4", 1.0),
     (">i2", 1.0), ("u1", 1.0), ("i8", 1e15), ("f2", 1.0), ("bool", 1.0)],
)  # fmt: skip
def test_units_and_dtypes_do_not_matter(dtype: str, scale: float) -> None:
    whole = np.random.default_rng(9).integers(0, 2 if dtype == "bool" else 200, (20, 30))
    traces = (whole * scale).astype(dtype)

    unit = unit_rows(traces)

    assert unit.live.all()
    wanted = unit_rows(whole).rows
    # float32 and denormal numbers hold 7 and 14 digits of the traces, the others all.
    digits = {1e36: 1e-6, 1e-36: 1e-6, 1e-310: 1e-12}.get(scale, 1e-14)
    np.testing.assert_allclose(unit.rows, wanted, atol=digits, rtol=0)


def test_the_layout_of_the_memory_changes_no_bit_and_inputs_stay() -> None:
    traces = np.random.default_rng(10).normal(3, 1, (40, 37))
    wanted = unit_rows(traces).rows

    for given in (
        np.asfortranarray(traces),  # as MATLAB files are read
        np.repeat(traces, 3, axis=1)[:, ::3],
        traces[::-1][::-1],
        traces.astype(">f8"),
    ):
        before = given.copy()
        given.setflags(write=False)
        np.testing.assert_array_equal(unit_rows(given).rows, wanted)
        np.testing.assert_array_equal(given, before)
