"""dF/F with a running-median baseline."""

import warnings

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from clgkit.traces import Reason, compute_dff, window_frames, windowed_median_dff

Row = npt.NDArray[np.floating]


def robust_std(values: Row) -> np.floating:
    deviation = np.median(np.abs(values - np.median(values)))
    made: np.floating = values.dtype.type(1.4826) * deviation
    return made


def noise_slowly(row: Row, window: int, mode: str) -> np.floating:
    """Follow the description of the original, with numpy and scipy."""
    residual = row - ndimage.median_filter(row, window, mode=mode)
    kept = residual[residual < row.dtype.type(1.5) * np.abs(residual.min())]
    kept = kept[np.abs(kept) < row.dtype.type(2.5) * robust_std(kept)]
    return robust_std(kept)


def dff_slowly(row: Row, long: int, short: int, mode: str = "constant") -> Row:
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # the median of nothing is NaN
        noise = noise_slowly(row, 31, mode)
        baseline = ndimage.median_filter(row, long, mode=mode)
        d = (row - baseline) / np.maximum(baseline, noise)
        trend = ndimage.median_filter(d, short, mode=mode)
        made: Row = d - np.minimum(trend, row.dtype.type(2.5) * noise_slowly(d, 31, mode))
    return made


def make_rows(n_rows: int = 40, n_frames: int = 200) -> npt.NDArray[np.float64]:
    """Return noisy traces with transients."""
    rng = np.random.default_rng(9)
    spikes = rng.random((n_rows, n_frames)) < 0.02
    active = ndimage.convolve1d(spikes * 1.0, np.exp(-np.arange(31) / 4), axis=1, origin=-15)
    made: npt.NDArray[np.float64] = 500 * (1 + active) + rng.normal(0, 25, spikes.shape)
    return made


def test_the_toy_row_of_the_description() -> None:
    t = np.arange(64)
    row = 100 + (7 * t % 13) + 20.0 * (t % 29 == 5)

    made = windowed_median_dff(row[None], long_frames=41, short_frames=3, edges="zero")

    assert made.noise[0] == pytest.approx(4.4478, rel=1e-12)
    assert made.dff_noise[0] == pytest.approx(0.04196037735849058, rel=1e-12)
    assert made.n_floored[0] == 0
    assert made.baseline[0, [0, 20, 32, 63]].tolist() == [100, 106, 106, 100]
    np.testing.assert_allclose(
        made.dff[0, [0, 1, 5, 32, 34, 63]],
        [
            0.0,
            0.07,
            0.2549019607843137,
            -0.05660377358490566,
            0.12264150943396225,
            0.2803960396039604,
        ],
        rtol=1e-12,
    )
    assert made.dff[0].sum() == pytest.approx(0.5447891898140796, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("edges", ["zero", "mirror"])
def test_every_bit_is_that_of_the_description(dtype: type[np.floating], edges: str) -> None:
    rng = np.random.default_rng(10)
    rows = make_rows().astype(dtype)
    rows[1] -= 500  # crosses zero
    rows[2] = rng.integers(-3, 3, 200)
    rows[3] = rng.integers(400, 408, 200)
    rows[4] *= -1

    mode = {"zero": "constant", "mirror": "reflect"}[edges]
    for long, short in ((101, 31), (199, 1), (3, 3)):
        made = windowed_median_dff(rows, long_frames=long, short_frames=short, edges=edges)  # type: ignore[arg-type]
        expected = np.stack([dff_slowly(row, long, short, mode) for row in rows])
        assert made.dff.dtype == dtype
        known = made.reason != Reason.NO_NOISE
        np.testing.assert_array_equal(made.dff[known], expected[known])
        assert np.isnan(made.dff[~known]).all()


@pytest.mark.parametrize(
    ("rate_hz", "long", "short"),
    [
        (0.2, 61, 1),
        (0.5, 151, 1),
        (0.6, 181, 3),
        (1, 301, 3),
        (2, 601, 7),
        (3, 901, 11),
        (4.6, 1381, 15),
        (9, 2701, 31),
        (10, 3001, 33),
        (30, 9001, 101),
    ],
)
def test_windows_are_counted_in_frames_as_the_original_does(
    rate_hz: float, long: int, short: int
) -> None:
    assert window_frames(300.0, rate_hz=rate_hz) == long
    assert window_frames(10 / 3, rate_hz=rate_hz) == short


@pytest.mark.parametrize(("n_frames", "fitting"), [(600, 301), (301, 299), (300, 299), (4, 3)])
def test_windows_shrink_to_the_largest_odd_number_below_the_length(
    n_frames: int, fitting: int
) -> None:
    made = compute_dff(make_rows(3, n_frames), rate_hz=1.0)

    assert made.long_frames == fitting
    assert made.short_frames == 3


def test_three_frames_have_no_noise_to_tell() -> None:
    made = compute_dff(np.array([[1.0, 3.0, 2.0]]), rate_hz=1.0)

    assert made.reason.tolist() == [Reason.NO_NOISE]
    assert np.isnan(made.dff).all()


def test_two_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="2 frames, but dF/F needs 3"):
        compute_dff(np.ones((1, 2)), rate_hz=1.0)


def test_rows_that_cannot_be_computed_are_nan_and_say_why() -> None:
    rows = make_rows(8)
    rows[1] = 0
    rows[2] = 7.25
    rows[3, 10] = np.nan
    rows[4] = np.nan
    rows[5, 10] = np.inf
    rows[6] -= 700
    rows[7] = 100 + (np.arange(200) >= 100)

    made = compute_dff(rows, rate_hz=1.0)

    assert [Reason(code) for code in made.reason] == [
        Reason.OK,
        Reason.CONSTANT,
        Reason.CONSTANT,
        Reason.NOT_FINITE,
        Reason.NOT_FINITE,
        Reason.NOT_FINITE,
        Reason.NEGATIVE_BASELINE,
        Reason.NO_NOISE,
    ]
    assert np.isfinite(made.dff[0]).all()
    assert np.isnan(made.dff[1:]).all()
    np.testing.assert_array_equal(made.dff[:1], compute_dff(rows[:1], rate_hz=1.0).dff)


def test_parity_keeps_the_numbers_of_a_negative_baseline() -> None:
    rows = make_rows(1) - 700

    made = compute_dff(rows, rate_hz=1.0, edges="zero")

    assert made.reason.tolist() == [Reason.NEGATIVE_BASELINE]
    assert np.isfinite(made.dff).all()
    assert made.n_floored.tolist() == [200]


def test_a_baseline_near_zero_is_divided_by_the_noise() -> None:
    rows = np.random.default_rng(11).normal(0.2, 1.0, (20, 400))

    made = compute_dff(rows, rate_hz=0.2)

    assert made.n_floored.min() > 0
    # One frame is at most a few standard deviations, and the noise is one.
    assert np.nanmax(np.abs(made.dff)) < 8


def test_mirrored_edges_find_the_baseline_at_both_ends() -> None:
    rows = np.random.default_rng(12).normal(500, 25, (150, 599))

    found, original = (
        compute_dff(rows, rate_hz=1.0, edges=edges).baseline.mean(axis=0) / 500
        for edges in ("mirror", "zero")
    )

    assert np.abs(found - 1).max() < 0.01
    assert original[0] < 0.9  # zeros outside pull it down: why they are not the default


def test_integers_are_read_as_numbers() -> None:
    rows = make_rows(3).astype(np.uint16)

    made = compute_dff(rows, rate_hz=1.0)

    assert made.dff.dtype == np.float64
    np.testing.assert_array_equal(made.dff, compute_dff(rows.astype(float), rate_hz=1.0).dff)


def test_no_trace_is_legal() -> None:
    made = compute_dff(np.zeros((0, 50), np.float32), rate_hz=1.0)

    assert made.dff.shape == made.baseline.shape == (0, 50)
    assert made.noise.shape == made.reason.shape == (0,)


@pytest.mark.parametrize("rate_hz", [0, -1, np.nan, np.inf])
def test_a_rate_is_compulsory(rate_hz: float) -> None:
    with pytest.raises(ValueError, match="above zero"):
        compute_dff(make_rows(2), rate_hz=rate_hz)


@pytest.mark.parametrize("name", ["long_frames", "short_frames", "noise_frames"])
def test_a_window_in_frames_that_does_not_fit_is_named(name: str) -> None:
    windows = {"long_frames": 31, "short_frames": 3, "noise_frames": 31, name: 200}

    with pytest.raises(ValueError, match=f"{name} is 200"):
        windowed_median_dff(make_rows(2), **windows)  # type: ignore[arg-type]
