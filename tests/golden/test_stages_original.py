"""The stages in their parity settings against the outputs of the CLG programs."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from numpy.lib.npyio import NpzFile

from clgkit import data
from clgkit.connectivity import eigenvector_of_correlation, unit_rows
from clgkit.stages import function_of, params_of
from clgkit.workspace import Workspace

Golden = Callable[[str], NpzFile]
VOXEL = (1.0, 1.0, 1.0)
ULP = 1.2e-7  # one unit in the last place of float32, relative


def stage(name: str, *inputs: Any, **changes: Any) -> Any:
    params = params_of(name).parse(changes, section=name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return function_of(name)(*inputs, params=params, workspace=Workspace(executor="serial"))


@pytest.fixture
def step2(golden: Golden) -> NpzFile:
    return golden("extract")


@pytest.fixture
def step3(golden: Golden) -> NpzFile:
    return golden("traces_network")


def planes_of(file: NpzFile) -> list[tuple[int, int]]:
    """Return (plane, slice) of the planes that have a movie and a slice, both from 1."""
    labels, mapping = file["labels"], file["mapping"]
    return [
        (int(plane), int(number))
        for plane, number in mapping
        if f"movie_{plane:02d}" in file and number <= len(labels)
    ]


@pytest.fixture
def extracted(step2: NpzFile) -> Any:
    planes = planes_of(step2)
    # uint16 and float32 movies: float32 holds both without loss.
    movie = np.stack([step2[f"movie_{plane:02d}"].astype(np.float32) for plane, _ in planes], 1)
    slices = np.array([number - 1 for _, number in planes], np.int32)
    given = xr.DataArray(
        slices,
        dims=("z",),
        coords={f"shift_{axis}_px": ("z", np.full(len(slices), 3.0)) for axis in "yx"},
    )
    return stage(
        "extract_traces",
        data.movie(movie, rate_hz=1.0, voxel_um=VOXEL),
        data.labels(step2["labels"], voxel_um=VOXEL),
        given,
        compat="clg",
    )


def test_extraction_is_that_of_the_notebook(step2: NpzFile, extracted: Any) -> None:
    rois = extracted.rois

    np.testing.assert_array_equal(rois.coords["nucleus"].values, step2["raw_nucIndex"])
    np.testing.assert_array_equal(rois.coords["area_px"].values, step2["raw_area"])
    columns = [rois.coords[name].values for name in ("slice", "y_px", "x_px")]
    np.testing.assert_array_equal(np.stack(columns, axis=1), step2["raw_pos"])
    # The original divides uint16 sums in float64; float32 rounds the quotient once.
    np.testing.assert_allclose(rois.values, step2["raw_trace"], rtol=ULP)


def test_the_calibration_is_that_of_the_notebook(step2: NpzFile, extracted: Any) -> None:
    labels = data.labels(step2["labels"], voxel_um=VOXEL)

    merged = stage("merge_planes", extracted.rois, labels, weights="mean").fluorescence

    np.testing.assert_array_equal(merged.coords["nucleus"].values, step2["nucIndex"])
    position = np.stack([merged.coords[dim].values for dim in "zyx"], axis=1)
    # Voxels are 1 um: micrometres are voxel indices, but for one interpolation in float64.
    np.testing.assert_allclose(position, step2["pos"], rtol=1e-12)
    # Up to eight rounded terms are added in float32.
    np.testing.assert_allclose(merged.values, step2["trace"], rtol=8 * ULP)


def traces_of(rows: npt.NDArray[Any], rate_hz: float = 1.0) -> xr.DataArray:
    time = np.arange(rows.shape[1]) / rate_hz
    return xr.DataArray(
        rows, dims=("neuron", "time"), coords={"time": ("time", time, {"units": "s"})}
    )


@pytest.fixture
def dff(step3: NpzFile) -> xr.DataArray:
    made: xr.DataArray = stage("compute_dff", traces_of(step3["trace"]), edges="zero").dff
    return made


def test_dff_is_that_of_the_notebook(step3: NpzFile, dff: xr.DataArray) -> None:
    kept = np.flatnonzero(step3["kept"])

    # Ours is float64 inside as the original, and rounded to float32 at the end.
    np.testing.assert_array_equal(dff.values[kept], step3["dff_fs1"].astype(np.float32))
    dead = np.setdiff1d(np.arange(len(dff)), kept)
    assert dead.tolist() == [5]
    assert np.isnan(dff.values[dead]).all()


@pytest.fixture
def denoised(dff: xr.DataArray) -> Any:
    return stage("denoise_traces", dff, mean="keep")


def test_components_are_those_of_the_notebook(step3: NpzFile, denoised: Any) -> None:
    assert denoised.summary["n_components"] == int(step3["pca_n"])
    assert denoised.summary["n_left_out"] == 1
    # float32 traces went in, and half a unit of float32 in values up to 5.4 comes out.
    np.testing.assert_allclose(
        denoised.denoised.values[step3["kept"]], step3["pca95"], atol=1e-6, rtol=0
    )


def pairs_of(network: data.Network, kept: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the edges (M, 2) of the upper triangle, numbered among the rows that were kept."""
    rows = np.repeat(np.arange(network.n_nodes), np.diff(network.indptr))
    upper = rows < network.indices
    pairs = np.stack([rows[upper], network.indices[upper]], axis=1)
    return np.searchsorted(kept, pairs)


def test_edges_above_095_are_exactly_those_of_the_notebook(step3: NpzFile, denoised: Any) -> None:
    kept = np.flatnonzero(step3["kept"])
    for traces in (denoised.scores, denoised.denoised):
        network = stage("build_network", traces, rule="fixed", threshold=0.95).network

        np.testing.assert_array_equal(pairs_of(network, kept), step3["edges_abs095"])
        degree = stage("measure_network", network).degree.values
        np.testing.assert_array_equal(degree[kept], step3["degree"])
        assert degree[5] == 0


def test_edges_from_08_up_are_those_of_the_script(step3: NpzFile, dff: xr.DataArray) -> None:
    network = stage(
        "build_network", dff, rule="fixed", threshold=0.8, inclusive=True, weighted=True
    ).network

    np.testing.assert_array_equal(
        pairs_of(network, np.flatnonzero(step3["kept"])), step3["edges_abs08"]
    )
    rows = np.repeat(np.arange(network.n_nodes), np.diff(network.indptr))
    assert network.weights is not None
    # The traces and the weights are float32: half a unit of it each.
    np.testing.assert_allclose(
        network.weights[rows < network.indices], step3["weights_abs08"], atol=2 * ULP, rtol=0
    )


def test_percentiles_are_those_of_the_script(step3: NpzFile, dff: xr.DataArray) -> None:
    for percentile, wanted in zip((80, 85, 90, 95), step3["percentiles_80_85_90_95"], strict=True):
        built = stage("build_network", dff, percentile=percentile, quantity="signed")

        # The traces are rounded to float32.
        assert built.summary["threshold"] == pytest.approx(wanted, abs=2 * ULP)
        assert built.network.attributes["threshold"] == built.summary["threshold"]


def test_the_eigenvector_of_the_correlations_is_that_of_the_notebook(
    step3: NpzFile, denoised: Any
) -> None:
    ours = eigenvector_of_correlation(unit_rows(denoised.scores.values, center=False))

    # The original is float32 from a random start of ARPACK.
    np.testing.assert_allclose(ours[step3["kept"]], step3["eigenvector_abs_corr"], rtol=1e-5)


@pytest.mark.parametrize(
    ("key", "floor"), [("process_r30_rescaled", 5e-4), ("process_r31_b001_rescaled", 1e-3)]
)
def test_contrast_is_that_of_the_script_bit_for_bit(golden: Golden, key: str, floor: float) -> None:
    file = golden("localnorm")
    stack = data.volume(file["image"], voxel_um=VOXEL)

    made = stage("normalize_contrast", stack, compat="clg", floor=floor).normalized

    np.testing.assert_array_equal(made.values, file[key])


def test_contrast_of_single_slices_is_the_scripts_before_rescaling(golden: Golden) -> None:
    file = golden("localnorm")
    stack = data.volume(file["image"], voxel_um=VOXEL)

    made = stage("normalize_contrast", stack, scale="plane").normalized

    # One unit in the last place of float32: the original sums in another order.
    np.testing.assert_array_max_ulp(made.values, file["process_r30"].astype(np.float32), maxulp=1)
