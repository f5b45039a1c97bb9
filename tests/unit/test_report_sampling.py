"""Less is read and drawn, and it shows the same."""

import numpy as np
import pytest
import xarray as xr

from clgkit.report import sampling


@pytest.mark.parametrize("n", [0, 1, 7, 1999, 2000, 2001, 60_000])
def test_rows_are_spread_over_all_without_repeats(n: int) -> None:
    runs = sampling.spread(n, 2000)

    rows = np.concatenate([np.arange(run.start, run.stop) for run in runs] or [np.zeros(0, int)])
    assert len(rows) == min(n, 2000)
    assert len(np.unique(rows)) == len(rows)
    if n:
        assert rows[0] == 0
        assert rows[-1] == n - 1


def test_rows_are_read_in_runs() -> None:
    table = xr.DataArray(np.arange(20.0).reshape(10, 2), dims=("neuron", "time"))

    read = sampling.rows_of(table, [slice(0, 2), slice(8, 10)])

    np.testing.assert_array_equal(read[:, 0], [0, 2, 16, 18])
    assert sampling.rows_of(table, []).shape == (0, 2)


def test_bins_average_what_is_finite() -> None:
    made = sampling.bin_means(np.array([[1.0, 3.0, np.nan, 5.0, np.nan, np.nan, 7.0]]), 4)

    np.testing.assert_array_equal(made, [[2.0, 5.0, np.nan, 7.0]])


def test_few_values_stay_as_they_are() -> None:
    rows = np.arange(6.0).reshape(2, 3)

    np.testing.assert_array_equal(sampling.bin_means(rows, 10), rows)
    np.testing.assert_array_equal(sampling.bin_extremes(rows, 10), rows)


def test_a_twitch_survives_thinning() -> None:
    shifts = np.zeros((1000, 1))
    shifts[437] = -6.0

    made = sampling.bin_extremes(shifts, 50)

    assert len(made) == 50
    assert made.min() == -6.0


def test_nothing_thins_to_nothing() -> None:
    assert sampling.bin_means(np.zeros((2, 0)), 10).shape == (2, 0)
    assert sampling.frames_spread(0) == []


def test_an_image_shrinks_in_proportion() -> None:
    image = np.kron(np.array([[0.0, 1.0], [2.0, 3.0]]), np.ones((50, 100)))

    made = sampling.shrink(image, 50)

    assert made.shape == (25, 50)
    assert made[0, 0] == 0.0
    assert made[-1, -1] == 3.0
    assert made.mean() == pytest.approx(image.mean())


def test_the_middle_lies_inside() -> None:
    assert sampling.middle(10, 4) == slice(3, 7)
    assert sampling.middle(3, 4) == slice(0, 3)


def test_frames_are_spread_from_first_to_last() -> None:
    assert sampling.frames_spread(3) == [0, 1, 2]
    frames = sampling.frames_spread(5400)
    assert len(frames) == 25
    assert frames[0] == 0
    assert frames[-1] == 5399


def test_a_mean_image_leaves_out_what_no_frame_shows() -> None:
    movie = np.array([[[[1.0, np.nan, np.nan]]], [[[3.0, 4.0, np.nan]]]])
    labelled = xr.DataArray(movie, dims=("time", "z", "y", "x"))

    made = sampling.mean_frame(labelled, 0, [0, 1], {"x": slice(0, 3)})

    np.testing.assert_array_equal(made, [[2.0, 4.0, np.nan]])


def test_grey_goes_from_black_to_white() -> None:
    grey = sampling.as_grey(np.array([[0.0, 1.0, 2.0, np.nan, 9.0]]), 0.0, 2.0)

    assert grey.dtype == np.uint8
    assert grey[0].tolist()[::2] == [0, 255, 255]
    assert grey[0, 3] == 0


def test_levels_of_constant_or_missing_pixels_are_usable() -> None:
    for image in (np.full((4, 4), 7.0), np.full((4, 4), np.nan), np.zeros((0, 4))):
        assert sampling.as_grey(image, *sampling.levels(image)).shape == image.shape


def test_outlines_enclose_labels_and_part_neighbours() -> None:
    labels = np.zeros((8, 8), np.uint32)
    labels[2:6, 2:4] = 1
    labels[2:6, 4:6] = 2

    rim = sampling.outlines(labels, 1)

    assert not rim[labels == 0].any()
    assert rim[2:6, 3].all()
    assert rim[2:6, 4].all()
    assert sampling.outlines(labels, 3).shape == (24, 24)
    # Enlarged, the rim is one pixel wide: the inside of a label three times as large is free.
    assert not sampling.outlines(labels, 3)[8, 8]
