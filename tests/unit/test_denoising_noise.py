"""Noise is measured from pairs of frames, edges from drawn noise, grids cover the plane."""

import numpy as np
import pytest

from clgkit.denoising import Edge, Grid, grid_of, measure_edge, measure_noise
from clgkit.denoising.edge import draw_noise, local_part, marchenko_pastur, moran
from clgkit.denoising.noise import LAGS, as_float, choose_frames, read_frames
from tests.unit.denoising_scene import correlated, white

# 100 pairs: the standard deviation of a measured sigma is 1 / sqrt(2 * 100).
SIGMA_SCATTER = 0.0708


class Counting:
    """Frames that note how many were read together."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels, self.shape, self.most = pixels, pixels.shape, 0

    def __getitem__(self, key: object) -> np.ndarray:
        found = self.pixels[key]  # type: ignore[index]
        self.most = max(self.most, len(found))
        return found


def test_the_noise_of_a_pixel_is_found() -> None:
    noise = measure_noise(white(200, 40, 40))

    assert noise.n_pairs == 100
    assert noise.sigma.dtype == noise.mean.dtype == np.float32
    assert np.mean(noise.sigma) == pytest.approx(2, rel=0.01)  # over 1600 pixels
    assert np.std(noise.sigma / 2) == pytest.approx(SIGMA_SCATTER, rel=0.2)
    assert np.mean(noise.mean) == pytest.approx(100, abs=0.02)
    assert noise.n_constant == 0
    assert not noise.is_correlated
    assert not noise.is_flat


def test_a_slow_signal_is_no_noise() -> None:
    frames = white(200, 20, 20)
    slow = 50 * np.sin(np.arange(200) / 30).astype(np.float32)

    noise = measure_noise(frames + slow[:, None, None])

    assert np.mean(noise.sigma) == pytest.approx(2, rel=0.15)  # it changes by 1.7 a frame at most


def test_correlation_of_neighbours_is_found_on_each_axis() -> None:
    along_x = white(128, 60, 60)
    along_x[:, :, 1:] = (along_x[:, :, 1:] + along_x[:, :, :-1]) / 2
    both = measure_noise(correlated(128, 60, 60))
    one = measure_noise(along_x)
    none = measure_noise(white(128, 60, 60))

    assert both.neighbours == pytest.approx((0.43, 0.43), abs=0.03)
    assert one.neighbours == pytest.approx((0.0, 0.5), abs=0.02)
    assert none.neighbours == pytest.approx((0, 0), abs=0.01)
    assert both.is_correlated
    assert one.is_correlated
    for noise in (both, one, none):
        assert noise.correlation[LAGS, LAGS] == 1
        np.testing.assert_allclose(noise.correlation, noise.correlation[::-1, ::-1], atol=1e-12)


@pytest.mark.parametrize("width", [2, 3])
def test_averaging_over_time_is_noticed(width: int) -> None:
    frames = white(200, 20, 20)
    averaged = np.mean([frames[k : len(frames) - width + k] for k in range(width)], axis=0)

    assert measure_noise(averaged).in_time == pytest.approx(0.5, abs=0.05)
    assert measure_noise(frames).in_time == pytest.approx(0, abs=0.02)


def test_constant_pixels_are_counted_and_do_not_blow_up() -> None:
    frames = white(40, 20, 20)
    frames[:, 3:5, 3:5] = 77.25

    noise = measure_noise(frames)

    assert noise.n_constant == 4
    assert (noise.mean[3:5, 3:5] == 77.25).all()
    floor = 1e-3 * np.median(noise.sigma)
    np.testing.assert_allclose(noise.sigma[3:5, 3:5], floor, rtol=1e-5)


def test_a_plane_that_never_changes_has_no_noise() -> None:
    noise = measure_noise(np.full((20, 18, 18), 9, np.uint16))

    assert noise.is_flat
    assert noise.n_constant == 18 * 18
    assert (noise.mean == 9).all()
    assert noise.in_time == 0


def test_missing_pixels_and_frames_are_left_out() -> None:
    frames = white(60, 20, 20)
    whole = measure_noise(frames)
    holes = frames.copy()
    holes[:, 0] = np.nan  # a row that is never seen
    holes[:40, 1] = np.nan  # one that is seen now and then
    holes[:10, 2] = np.inf
    holes[50] = np.nan  # a frame that shows nothing

    noise = measure_noise(holes)

    assert np.isnan(noise.mean[0]).all()
    assert (noise.sigma[:2] == 0).all()
    np.testing.assert_allclose(noise.mean[1], np.delete(frames, 50, 0)[40:, 1].mean(0), rtol=1e-6)
    np.testing.assert_allclose(noise.mean[2], np.delete(frames, 50, 0)[10:, 2].mean(0), rtol=1e-6)
    assert noise.n_pairs == 29
    assert np.mean(noise.sigma[3:]) == pytest.approx(np.mean(whole.sigma[3:]), rel=0.02)


def test_bad_frames_take_no_part() -> None:
    frames = white(60, 20, 20)
    usable = np.ones(60, bool)
    usable[[10, 31]] = False
    flashed = frames.copy()
    flashed[~usable] = 60000

    noise = measure_noise(flashed, usable=usable)

    assert noise.n_pairs == 28
    assert 10 not in noise.frames
    np.testing.assert_allclose(noise.mean, frames[usable].mean(axis=0), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.uint8, np.float64])
def test_integers_do_not_wrap(dtype: type) -> None:
    frames = white(60, 20, 20).round()
    wanted = measure_noise(frames)

    found = measure_noise(frames.astype(dtype))

    np.testing.assert_array_equal(found.mean, wanted.mean)
    np.testing.assert_array_equal(found.sigma, wanted.sigma)


def test_few_frames_are_read_together() -> None:
    frames = Counting(white(300, 16, 16))

    measure_noise(frames)

    assert frames.most <= 64


def test_a_long_recording_is_looked_at_in_quads_spread_over_it() -> None:
    usable = np.ones(1000, bool)
    usable[500:540] = False

    chosen = choose_frames(usable, limit=100)

    assert len(chosen) == 100
    assert usable[chosen].all()
    assert (np.diff(chosen) > 0).all()
    quads = chosen.reshape(-1, 4)
    assert (quads[:, 0] % 4 == 0).all()
    assert (np.diff(quads, axis=1) == 1).all()
    assert chosen[0] < 40
    assert chosen[-1] > 960


def test_short_recordings_are_looked_at_whole() -> None:
    usable = np.ones(100, bool)
    usable[7] = False

    np.testing.assert_array_equal(choose_frames(usable, limit=100), np.delete(np.arange(100), 7))


def test_where_every_quad_has_a_bad_frame_the_beginning_must_do() -> None:
    usable = np.arange(400) % 4 != 0

    np.testing.assert_array_equal(choose_frames(usable, limit=40), np.flatnonzero(usable)[:40])


def test_too_few_frames_are_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match=r'7 good frames; denoising needs at least 8.*"none"'):
        measure_noise(white(7, 16, 16))
    with pytest.raises(ValueError, match="2 good frames"):
        measure_noise(white(20, 16, 16), usable=np.arange(20) < 2)
    with pytest.raises(ValueError, match="only 0 pairs of neighbouring frames"):
        measure_noise(white(40, 16, 16), usable=np.arange(40) % 2 == 0)
    with pytest.raises(ValueError, match="only 0 pairs"):
        measure_noise(np.full((20, 16, 16), np.nan))


def test_what_is_no_plane_is_refused() -> None:
    with pytest.raises(ValueError, match=r"three axes \(T, Y, X\), not shape \(20, 16\)"):
        measure_noise(np.zeros((20, 16)))
    with pytest.raises(ValueError, match=r"marks for \(3,\) frames, but 20"):
        measure_noise(white(20, 16, 16), usable=np.ones(3, bool))


def test_frames_come_in_order_and_in_part() -> None:
    frames = np.arange(200)[:, None, None] * np.ones((1, 6, 8))
    chosen = np.array([3, 63, 64, 199])

    read = list(read_frames(frames, chosen, (slice(1, 3), slice(0, 5))))

    assert [numbers.tolist() for numbers, _ in read] == [[3, 63], [64], [199]]
    assert [pixels.shape for _, pixels in read] == [(2, 2, 5), (1, 2, 5), (1, 2, 5)]
    assert read[0][1][:, 0, 0].tolist() == [3, 63]


def test_what_is_not_finite_becomes_nan_and_the_input_is_left_alone() -> None:
    pixels = np.array([1.0, np.inf, -np.inf, np.nan], np.float32)

    made = as_float(pixels)

    np.testing.assert_array_equal(made, [1, np.nan, np.nan, np.nan])
    assert np.isinf(pixels[1])


def test_the_edge_of_white_noise_is_that_of_the_formula() -> None:
    assert marchenko_pastur(400, 256) == pytest.approx((20 + 16) ** 2)
    assert Edge().at(400, 256) == pytest.approx(1.05 * 36**2)
    drawn = measure_edge(measure_noise(white(400, 48, 48)).correlation, n_frames=400)
    assert 1.05 <= drawn.ratio < 1.12  # sigma comes from 200 pairs only


def test_correlated_noise_has_a_higher_edge_and_smooth_footprints() -> None:
    correlation = measure_noise(correlated(200, 60, 60)).correlation

    edge = measure_edge(correlation, n_frames=200)

    assert edge.ratio > 1.5
    assert 0.5 < edge.smoothness <= 1.05
    assert measure_edge(correlation, n_frames=200) == edge


def test_what_all_pixels_share_is_no_correlation_of_noise() -> None:
    flicker = np.random.default_rng(3).normal(0, 1, (128, 1, 1)).astype(np.float32)
    noise = measure_noise(white(128, 40, 40) + flicker)

    assert noise.neighbours == pytest.approx((0.2, 0.2), abs=0.05)
    local = local_part(noise.correlation)
    assert local[LAGS + 1, LAGS] == pytest.approx(0, abs=0.02)
    assert local[LAGS, LAGS] == pytest.approx(1)


def test_an_autocorrelation_that_falls_to_nothing_is_taken_as_it_is() -> None:
    correlation = np.zeros((2 * LAGS + 1, 2 * LAGS + 1))
    correlation[LAGS, LAGS] = 1

    assert local_part(correlation) is correlation


def test_drawn_noise_has_the_correlation_that_was_asked_for() -> None:
    correlation = measure_noise(correlated(200, 60, 60)).correlation
    drawn = draw_noise(correlation, (100, 50, 60), np.random.default_rng(1))

    assert drawn.shape == (100, 50, 60)
    assert drawn.std() == pytest.approx(1, abs=0.02)
    found = measure_noise(drawn).correlation
    np.testing.assert_allclose(found, correlation, atol=0.03)  # 50 pairs of 3000 pixels


def test_neighbours_of_a_footprint_correlate_as_moran_says() -> None:
    y, x = np.indices((16, 16))

    assert moran(np.ones((16, 16))) == pytest.approx(1)
    assert moran((-1.0) ** (y + x)) == pytest.approx(-1)
    assert moran(np.zeros((16, 16))) == 0
    assert moran(np.ones((1, 1))) == 0
    assert abs(moran(np.random.default_rng(0).standard_normal((16, 16)))) < 3 / np.sqrt(480)


@pytest.mark.parametrize("plane", [(16, 16), (17, 40), (5, 100), (128, 33), (1, 1)])
def test_blocks_cover_the_plane_and_their_weights_add_up_to_one(plane: tuple[int, int]) -> None:
    grid = grid_of(plane)
    total = np.zeros(plane)

    weights = grid.weights(plane).reshape(-1, *grid.shape)
    for (y, x), weight in zip(grid.starts, weights, strict=True):
        total[y : y + grid.shape[0], x : x + grid.shape[1]] += weight

    np.testing.assert_allclose(total, 1, rtol=1e-12)
    assert (weights > 0).all()
    assert len(grid.starts) == len(grid.y) * len(grid.x)


def test_blocks_overlap_by_half_and_the_last_ends_with_the_plane() -> None:
    grid = grid_of((40, 43))

    assert grid.y.tolist() == [0, 8, 16, 24]
    assert grid.x.tolist() == [0, 8, 16, 24, 27]
    assert isinstance(grid, Grid)
    assert grid.starts[:2].tolist() == [[0, 0], [0, 8]]
