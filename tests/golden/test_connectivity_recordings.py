"""Correlations of real zebrafish recordings, beside numpy."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import scipy.io

from clgkit.connectivity import density_threshold, percentiles, threshold_graph, unit_rows
from clgkit.graph import connected_components

Float64 = npt.NDArray[np.float64]


def at_hand(shared: Path, name: str) -> Path:
    path = shared / "data" / "traces" / name
    if not path.exists():
        pytest.skip(f"{name} is not at hand in ../shared/data/traces")
    return path


@pytest.fixture
def regions(shared: Path) -> Float64:
    """Return 70 brain regions x 892 frames (Légaré et al., doi 10.5683/SP3/IIVGOB)."""
    made: Float64 = np.load(at_hand(shared, "legare_timeseries_regions_fish6.npy"))
    return made


@pytest.fixture
def tectum(shared: Path) -> Float64:
    """Return 114 tectal cells x 4,245 frames (Triplett et al. 2018)."""
    path = at_hand(shared, "triplett_zf_20151104-f1.mat")
    made: Float64 = scipy.io.loadmat(path)["activity_matrix"]
    return made


def test_constant_regions_are_named_and_the_rest_has_known_percentiles(regions: Float64) -> None:
    unit = unit_rows(regions)

    assert np.flatnonzero(~unit.live).tolist() == [17, 34, 49]
    # Stated to three digits.
    np.testing.assert_allclose(
        percentiles(unit, [5, 50, 80, 95]), [-0.011, 0.359, 0.634, 0.824], atol=5e-4, rtol=0
    )
    r = np.corrcoef(regions[unit.live])[np.triu_indices(67, 1)]
    # Both are float64; only the order of summation differs.
    np.testing.assert_allclose(
        percentiles(unit, [5, 50, 80, 95]), np.percentile(r, [5, 50, 80, 95]), atol=1e-14, rtol=0
    )


@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.8])
def test_edges_of_a_recording_are_those_of_numpy(tectum: Float64, threshold: float) -> None:
    edges = threshold_graph(unit_rows(tectum), threshold=threshold, block=50)

    r = np.abs(np.corrcoef(tectum))
    np.fill_diagonal(r, 0)
    assert np.abs(r - threshold).min() > 1e-12  # no pair hangs on the order of summation
    rows, columns = np.nonzero(r > threshold)
    np.testing.assert_array_equal(np.repeat(np.arange(114), np.diff(edges.indptr)), rows)
    np.testing.assert_array_equal(edges.indices, columns)


def test_the_strongest_tenth_of_the_pairs_is_a_tenth(tectum: Float64) -> None:
    unit = unit_rows(tectum)

    edges = threshold_graph(unit, threshold=density_threshold(unit, 0.1), inclusive=True)

    assert edges.indices.size // 2 == round(0.1 * 114 * 113 / 2)
    assert connected_components(edges.indptr, edges.indices).size[0] > 57  # measured 114
