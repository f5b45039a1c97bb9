"""Running order statistics and noise."""

import numpy as np
import pytest
from scipy import ndimage

from clgkit.traces import noise_std, sliding_median, sliding_rank
from clgkit.traces.baseline import Edges

MODES = {"mirror": "reflect", "zero": "constant"}  # scipy's names


def make_rows(n_frames: int) -> np.ndarray:
    """Return rows with ties, negatives, steps and constants."""
    rng = np.random.default_rng(n_frames)
    return np.stack(
        [
            rng.normal(size=n_frames),
            rng.integers(-3, 4, n_frames),
            rng.normal(-50, 1, n_frames),
            np.full(n_frames, 4.5),
            np.zeros(n_frames),
            np.arange(n_frames)[::-1] - n_frames / 2,
            rng.exponential(size=n_frames) ** 4,
        ]
    )


@pytest.mark.parametrize("edges", ["mirror", "zero"])
@pytest.mark.parametrize("n_frames", [2, 3, 8, 33, 64, 65])
def test_every_window_and_element_is_that_of_a_sorted_window(n_frames: int, edges: Edges) -> None:
    rows = make_rows(n_frames)
    for window in range(1, n_frames, 2):
        padded = np.pad(
            rows,
            ((0, 0), (window // 2, window // 2)),
            mode="symmetric" if edges == "mirror" else "constant",
        )
        expected = np.sort(np.lib.stride_tricks.sliding_window_view(padded, window, axis=1))
        for element in {0, window // 10, window // 2, window - 1}:
            found = sliding_rank(rows, window=window, element=element, edges=edges)
            np.testing.assert_array_equal(found, expected[:, :, element])


@pytest.mark.parametrize("edges", ["mirror", "zero"])
def test_a_long_trace_is_filtered_as_scipy_does(edges: Edges) -> None:
    rows = make_rows(1000).astype(np.float32)

    for window in (3, 31, 501, 999):
        expected = ndimage.median_filter(rows, (1, window), mode=MODES[edges])
        found = sliding_median(rows, window=window, edges=edges)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)


def test_many_rows_are_filtered_each_by_itself() -> None:
    rows = np.random.default_rng(1).integers(-9, 9, (600, 12))  # several blocks

    found = sliding_median(rows, window=5)

    np.testing.assert_array_equal(
        found[[0, 255, 256, 599]], sliding_median(rows[[0, 255, 256, 599]], window=5)
    )


def test_noise_of_white_noise_is_its_standard_deviation() -> None:
    rows = np.random.default_rng(2).normal(100, 3, (400, 599))

    # The window's share in the median and the cut tails: measured in the methods' notes.
    assert np.median(noise_std(rows, window=31)) == pytest.approx(0.94 * 3, rel=0.02)
    assert np.median(noise_std(rows, window=3)) == pytest.approx(0.20 * 3, rel=0.1)


def test_activity_is_left_out_of_the_noise() -> None:
    rows = np.random.default_rng(3).normal(100, 3, (100, 599))
    quiet = noise_std(rows)
    rows[:, ::37] += 200

    np.testing.assert_allclose(np.median(noise_std(rows)), np.median(quiet), rtol=0.05)


def test_rows_without_noise_are_nan() -> None:
    rows = np.random.default_rng(4).normal(size=(6, 64))
    rows[1] = 3.0
    rows[2, 5] = np.nan
    rows[3, 5] = np.inf
    rows[4] = np.arange(64) >= 32  # a step has no residual

    assert np.isnan(noise_std(rows)).tolist() == [False, True, True, True, True, False]
    np.testing.assert_array_equal(noise_std(rows)[[0, 5]], noise_std(rows[[0, 5]]))


def test_no_row_is_legal() -> None:
    assert noise_std(np.zeros((0, 64))).shape == (0,)
    assert sliding_median(np.zeros((0, 64)), window=3).shape == (0, 64)


@pytest.mark.parametrize("window", [0, -1, 4, 64, 65])
def test_windows_that_do_not_fit_are_refused(window: int) -> None:
    rows = np.ones((2, 64))

    with pytest.raises(ValueError, match=f"window is {window}"):
        sliding_median(rows, window=window)
    with pytest.raises(ValueError, match=f"window is {window}"):
        noise_std(rows, window=window)


def test_traces_that_are_none_are_refused() -> None:
    rows = np.ones((2, 64))

    with pytest.raises(ValueError, match="element is 5"):
        sliding_rank(rows, window=5, element=5)
    with pytest.raises(ValueError, match="edges is 'wrap'"):
        sliding_median(rows, window=5, edges="wrap")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\(N, T\) is wanted"):
        sliding_median(rows[0], window=5)
    with pytest.raises(TypeError, match="complex128"):
        sliding_median(rows.astype(complex), window=5)
    with pytest.raises(ValueError, match="NaN or infinity"):
        sliding_median(rows * np.nan, window=5)
