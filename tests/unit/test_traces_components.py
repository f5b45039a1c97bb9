"""Principal components of traces."""

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.decomposition import PCA  # type: ignore[import-untyped]

from clgkit.traces import Components, denoise, fit_components, low_rank
from clgkit.traces.components import Mean

Floats = npt.NDArray[np.float64]


def make_traces(n: int = 300, n_frames: int = 60, seed: int = 1) -> Floats:
    rng = np.random.default_rng(seed)
    signals = np.cumsum(rng.normal(size=(5, n_frames)), axis=1)
    made: Floats = rng.normal(size=(n, 5)) @ signals + rng.normal(2, 0.5, (n, n_frames))
    return made


@pytest.mark.parametrize("n", [20, 59, 60, 61, 300, 1500])
@pytest.mark.parametrize("variance", [0.5, 0.95, 0.999])
def test_components_are_those_of_scikit_learn(n: int, variance: float) -> None:
    traces = make_traces(n)

    found = fit_components([traces], variance=variance)

    expected = PCA(n_components=variance, svd_solver="full").fit(traces)
    assert found.n == n
    assert found.vectors.shape == (60, expected.n_components_)
    np.testing.assert_allclose(found.mean, expected.mean_, atol=1e-12)  # order of sums
    np.testing.assert_allclose(found.explained, expected.explained_variance_ratio_, rtol=1e-9)
    overlap = np.abs(np.sum(found.vectors * expected.components_.T, axis=0))
    np.testing.assert_allclose(overlap, 1, atol=1e-9)  # directions up to sign


@pytest.mark.parametrize("size", [1, 7, 100, 1024, 5000])
def test_blocks_do_not_change_a_bit(size: int) -> None:
    traces = make_traces(2500)
    whole = fit_components([traces])

    found = fit_components(traces[i : i + size] for i in range(0, len(traces), size))

    for ours, expected in zip(found, whole, strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_a_large_offset_does_not_cancel() -> None:
    traces = make_traces(500)

    found = fit_components([traces + 1e6])

    expected = fit_components([traces])
    # 1e6 leaves ten digits of the traces.
    np.testing.assert_allclose(found.explained, expected.explained, rtol=1e-8)
    np.testing.assert_allclose(found.vectors, expected.vectors, atol=1e-8)


def test_few_traces_give_what_many_give() -> None:
    traces = make_traces(30)
    few, many = fit_components([traces]), fit_components([np.tile(traces, (3, 1))])

    # The one comes from an SVD, the other from the scatter matrix.
    np.testing.assert_allclose(few.vectors, many.vectors, atol=1e-10)
    np.testing.assert_allclose(few.explained, many.explained, rtol=1e-10)


def test_the_share_must_be_exceeded() -> None:
    traces = np.diag([3.0, 1.0, 0.0, 0.0])
    traces = np.concatenate([traces, -traces])  # shares of 9 and 1 in 10

    assert fit_components([traces], variance=0.89).vectors.shape[1] == 1
    assert fit_components([traces], variance=0.91).vectors.shape[1] == 2


@pytest.mark.parametrize("mean", ["project", "keep"])
def test_low_rank_rows_correlate_as_the_denoised_traces(mean: Mean) -> None:
    traces = make_traces(80)
    components = fit_components([traces])

    rows = low_rank(traces, components, mean=mean)

    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    vectors = components.vectors
    centre = components.mean if mean == "keep" else 0.0
    denoised = (traces - centre) @ vectors @ vectors.T + centre
    # float64 in another order of products.
    np.testing.assert_allclose(rows @ rows.T, np.corrcoef(denoised), atol=1e-12)
    np.testing.assert_allclose(denoise(traces, components, mean=mean), denoised, rtol=1e-6)


def test_low_rank_rows_add_up() -> None:
    traces = make_traces(80)
    components = fit_components([traces])

    rows = low_rank(traces, components)

    pairs = low_rank(traces[:40] + traces[40:], components)
    np.testing.assert_allclose(rows[:40] + rows[40:], pairs, atol=1e-10)  # order of sums


def test_quiet_independent_neurons_make_no_clique_by_default() -> None:
    rng = np.random.default_rng(2)
    signals = np.cumsum(rng.normal(size=(3, 300)), axis=1)
    loud = np.abs(rng.normal(1, 0.3, (1000, 3))) @ signals + rng.normal(0, 1, (1000, 300))
    traces = np.concatenate([loud, rng.normal(0, 0.03, (100, 300))])
    components = fit_components([traces])

    def count_edges(mean: Mean) -> int:
        rows = low_rank(traces[1000:], components, mean=mean)
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return int(np.count_nonzero(np.triu(rows @ rows.T > 0.95, 1)))

    n_pairs = 100 * 99 // 2
    assert count_edges("keep") > 0.9 * n_pairs  # the original's false clique
    assert count_edges("project") < 0.05 * n_pairs  # chance in three dimensions


def test_equal_traces_have_no_component() -> None:
    for n in (1, 10, 200):
        traces = np.tile(np.linspace(0.1, 7, 60), (n, 1))

        found = fit_components([traces])

        assert found.vectors.shape == (60, 0)
        assert found.explained.shape == (0,)
        np.testing.assert_allclose(denoise(traces, found, mean="keep"), traces, rtol=1e-6)
        assert not denoise(traces, found).any()
        assert low_rank(traces, found).shape == (n, 0)
        assert low_rank(traces, found, mean="keep").shape == (n, 1)


def test_no_trace_to_denoise_is_legal() -> None:
    components = fit_components([make_traces()])
    nothing = np.zeros((0, 60))

    assert denoise(nothing, components).shape == (0, 60)
    assert low_rank(nothing, components).shape == (0, components.vectors.shape[1])


@pytest.mark.parametrize("variance", [0, 1, -0.5, 95])
def test_a_share_is_between_0_and_1(variance: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        fit_components([make_traces()], variance=variance)


def test_blocks_that_are_none_are_refused() -> None:
    traces = make_traces()
    broken = traces.copy()
    broken[7, 3] = np.nan

    with pytest.raises(ValueError, match="no trace"):
        fit_components([])
    with pytest.raises(ValueError, match="no trace"):
        fit_components([traces[:0]])
    with pytest.raises(ValueError, match="Trace 307 holds NaN"):
        fit_components([traces, broken])
    with pytest.raises(ValueError, match="50 frames, the first 60"):
        fit_components([traces, traces[:, :50]])
    with pytest.raises(ValueError, match=r"\(n, T\) is wanted"):
        fit_components([traces[0]])


def test_traces_of_another_length_are_refused() -> None:
    components: Components = fit_components([make_traces()])

    with pytest.raises(ValueError, match=r"\(n, 60\) is wanted"):
        denoise(np.ones((2, 59)), components)
    with pytest.raises(ValueError, match="'drop'"):
        low_rank(np.ones((2, 60)), components, mean="drop")  # type: ignore[arg-type]
