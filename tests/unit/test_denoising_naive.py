"""Everything that is computed in a clever way is also computed in the plain way, and agrees."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from clgkit.denoising import (
    Edge,
    denoise_gaussian,
    denoise_lowrank,
    grid_of,
    judge,
    measure_noise,
    quality,
)
from clgkit.denoising.edge import moran
from clgkit.denoising.grid import LEAST_WEIGHT
from clgkit.denoising.lowrank import decompose_blocks, upright
from clgkit.denoising.noise import LAGS
from clgkit.stages import _denoise_quality
from clgkit.stages._denoise_planes import Looked, PlaneFrames, PlaneNumbers
from tests.unit.denoising_scene import correlated, dim_plane, movie_of, white

T, Y, X = 30, 12, 14


@pytest.fixture
def holes() -> np.ndarray:
    """Frames in which a tenth is missing at random, and one pixel nearly always."""
    rng = np.random.default_rng(4)
    made = white(T, Y, X)
    made[rng.random(made.shape) < 0.1] = np.nan
    made[:20, 2, 3] = np.nan
    return made


def test_sigma_is_the_rms_of_the_differences_of_pairs(holes: np.ndarray) -> None:
    noise = measure_noise(holes)

    for y, x in np.ndindex(Y, X):
        series = holes[:, y, x]
        squares = [
            (series[2 * k + 1] - series[2 * k]) ** 2 / 2
            for k in range(T // 2)
            if math.isfinite(series[2 * k + 1] - series[2 * k])
        ]
        if np.isfinite(series).sum() < T / 2:
            assert noise.sigma[y, x] == 0
        else:
            assert noise.sigma[y, x] == pytest.approx(math.sqrt(np.mean(squares)), rel=1e-5)
        assert noise.mean[y, x] == pytest.approx(np.nanmean(series), rel=1e-6)


def test_the_autocorrelation_is_the_mean_of_products(holes: np.ndarray) -> None:
    noise = measure_noise(holes)
    part = noise.sigma > 0
    scaled = np.zeros((T // 2, Y, X))
    for k in range(T // 2):
        change = (holes[2 * k + 1] - holes[2 * k]) / math.sqrt(2)
        scaled[k, part] = np.nan_to_num(change[part] / noise.sigma[part])

    def lag(dy: int, dx: int) -> float:
        total, n = 0.0, 0
        for y in range(max(0, -dy), min(Y, Y - dy)):
            for x in range(max(0, -dx), min(X, X - dx)):
                if part[y, x] and part[y + dy, x + dx]:
                    total += (scaled[:, y, x] * scaled[:, y + dy, x + dx]).sum()
                    n += 1
        return total / n

    middle = lag(0, 0)
    for dy, dx in [(0, 1), (1, 0), (3, -2), (-5, 4), (5, 5)]:
        wanted = lag(dy, dx) / middle
        assert noise.correlation[LAGS + dy, LAGS + dx] == pytest.approx(wanted, abs=1e-6)


def test_averaging_is_measured_by_differences_of_one_and_two_frames() -> None:
    frames = white(24, 6, 6)
    pairs = [(t, t + 1) for t in range(0, 24, 2)]
    apart = [(t, t + 2) for t in range(22) if t % 4 < 2]
    near, far = (
        np.mean([(frames[b] - frames[a]) ** 2 for a, b in chosen], axis=0, dtype=np.float64)
        for chosen in (pairs, apart)
    )

    assert measure_noise(frames).in_time == pytest.approx(1 - np.median(near / far), rel=1e-4)


def test_weights_of_blocks_are_tents() -> None:
    grid = grid_of((40, 30))
    tent = np.array([1 - abs(2 * (i + 0.5) / 16 - 1) + LEAST_WEIGHT for i in range(16)])
    total = np.zeros((40, 30))
    for y, x in grid.starts:
        total[y : y + 16, x : x + 16] += np.outer(tent, tent)

    weights = grid.weights((40, 30)).reshape(-1, 16, 16)

    for (y, x), weight in zip(grid.starts, weights, strict=True):
        wanted = np.outer(tent, tent) / total[y : y + 16, x : x + 16]
        np.testing.assert_allclose(weight, wanted, rtol=1e-9)


def test_moran_is_a_mean_over_pairs_of_neighbours() -> None:
    footprint = np.random.default_rng(2).standard_normal((5, 7))
    products = [
        footprint[y, x] * footprint[y + dy, x + dx]
        for y, x in np.ndindex(5, 7)
        for dy, dx in ((0, 1), (1, 0))
        if y + dy < 5 and x + dx < 7
    ]

    assert moran(footprint) == pytest.approx(np.mean(products) / np.mean(footprint**2))


def test_the_result_is_the_weighted_sum_of_projected_blocks() -> None:
    frames = dim_plane().noisy[:, :32, :40]
    made = denoise_lowrank(frames, weak=False)
    noise, grid = made.noise, grid_of((32, 40))
    weights = grid.weights((32, 40)).reshape(-1, 16, 16)
    wanted = np.repeat(noise.mean[None], len(frames), axis=0).astype(np.float64)

    for (y, x), weight in zip(grid.starts, weights, strict=True):
        at = (slice(y, y + 16), slice(x, x + 16))
        scaled = ((frames[:, *at] - noise.mean[at]) / noise.sigma[at]).astype(np.float64)
        left, singular, right = np.linalg.svd(scaled.reshape(len(frames), -1), full_matrices=False)
        kept = singular**2 > made.edge.at(len(frames), 256)
        low = (left[:, kept] * singular[kept]) @ right[kept]
        wanted[:, *at] += low.reshape(-1, 16, 16) * noise.sigma[at] * weight

    np.testing.assert_allclose(made.denoised, wanted, rtol=1e-4, atol=1e-4)  # float32 against 64


def test_the_gaussian_is_a_product_of_three_kernels() -> None:
    frames = np.zeros((15, 15, 15), np.float32)
    frames[7, 7, 7] = 1

    made = denoise_gaussian(frames)

    def kernel(sigma: float) -> np.ndarray:
        radius = int(4 * sigma + 0.5)
        values = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
        padded = np.zeros(15)
        padded[7 - radius : 8 + radius] = values / values.sum()
        return padded

    wanted = np.einsum("t,y,x->tyx", kernel(0.7), kernel(1.0), kernel(1.0))
    np.testing.assert_allclose(made, wanted, atol=1e-7)


def test_correlations_are_corrected_by_the_covariance_of_halves() -> None:
    frames = dim_plane().noisy[:, :48, :48]
    noise = measure_noise(frames)
    result = denoise_lowrank(frames).denoised

    bias, rms, _, n_pairs = quality._correlations(frames, result, noise)

    y, x = np.indices((48, 48))
    even = (y // 2 + x // 2) % 2 == 0
    corners = [(8 * i, 8 * j) for i in range(6) for j in range(6)]

    def trace(movie: np.ndarray, corner: tuple[int, int], half: np.ndarray) -> np.ndarray:
        mask = np.zeros((48, 48), bool)
        mask[corner[0] : corner[0] + 8, corner[1] : corner[1] + 8] = True
        return movie[:, mask & half].mean(axis=1, dtype=np.float64)

    every = np.ones((48, 48), bool)
    raw = [trace(frames, c, every) for c in corners]
    clean = [trace(result, c, every) for c in corners]
    shared = [
        np.cov(trace(frames, c, even), trace(frames, c, ~even), bias=True)[0, 1] for c in corners
    ]
    change = []
    for i in range(36):
        for j in range(i):
            far = max(abs(a - b) for a, b in zip(corners[i], corners[j], strict=True)) > 8
            if far and all(shared[k] > 0.3 * np.var(raw[k]) for k in (i, j)):
                covariance = np.cov(raw[i], raw[j], bias=True)[0, 1]
                wanted = covariance / math.sqrt(shared[i] * shared[j])
                change.append(np.corrcoef(clean[i], clean[j])[0, 1] - wanted)

    assert n_pairs == len(change) > 20
    assert bias == pytest.approx(np.mean(change), abs=1e-5)
    assert rms == pytest.approx(np.sqrt(np.mean(np.square(change))), abs=1e-5)


def test_leaks_are_correlations_of_the_residual() -> None:
    frames = dim_plane().noisy[:, :24, :24]
    noise = measure_noise(frames)
    result = denoise_gaussian(frames)

    in_time, in_space, together, variance = quality._leak(frames, result, noise)

    r = ((frames - result) / noise.sigma).astype(np.float64)
    square = (r**2).sum()
    assert variance == pytest.approx((r**2).mean(), rel=1e-5)
    assert in_time == pytest.approx((r[1:] * r[:-1]).sum() / square, abs=1e-6)
    near = ((r[:, 1:] * r[:, :-1]).sum() + (r[:, :, 1:] * r[:, :, :-1]).sum()) / square / 2
    assert in_space == pytest.approx(near - np.mean(noise.neighbours), abs=1e-6)
    pixels = [
        np.corrcoef(r[:, y, x], result[:, y, x])[0, 1] for y, x in np.ndindex(24, 24)
    ]  # fmt: skip
    assert together == pytest.approx(np.mean(pixels), abs=1e-5)


def test_the_held_out_error_is_the_published_one_with_less_scatter() -> None:
    frames = dim_plane().noisy
    noise = measure_noise(frames)
    ours, published = [], []
    for seed in range(4):
        seen: list[np.ndarray] = []

        def watched(pixels: np.ndarray, seen: list[np.ndarray] = seen) -> np.ndarray:
            seen.append(pixels)
            return denoise_gaussian(pixels)

        ours.append(
            judge(frames, noise, watched, seed=seed, reference=_lowrank).heldout_excess
        )  # fmt: skip
        added = seen[1] - frames
        error = ((denoise_gaussian(seen[1]) - frames + added) / noise.sigma) ** 2
        published.append(float(error.mean()) - 2)

    assert np.std(ours) < np.std(published)
    # Sigma holds some signal, which the published number takes for noise that is missing.
    assert 0 < np.mean(ours) - np.mean(published) < 0.1


def _lowrank(frames: np.ndarray) -> np.ndarray:
    return denoise_lowrank(frames).denoised


@pytest.mark.parametrize("shape", [(60, 64), (64, 60), (8, 256)])
def test_a_device_decomposes_like_the_processor(shape: tuple[int, int]) -> None:
    pytest.importorskip("torch")
    from clgkit.denoising.accelerated import decompose_on

    blocks = np.random.default_rng(0).standard_normal((3, *shape)).astype(np.float32)

    values, vectors = decompose_blocks(blocks)
    there = decompose_on(blocks, device="cpu", n=40)

    np.testing.assert_allclose(there[0], values, rtol=1e-9, atol=1e-9)
    for ours, theirs, top in zip(vectors, there[1], values, strict=True):
        clear = top > 1e-6 * top[0]  # vectors of no length have no direction
        np.testing.assert_allclose(
            upright(theirs[clear]), upright(ours[clear]), atol=1e-6
        )  # fmt: skip


def test_a_device_gives_nothing_for_nothing() -> None:
    pytest.importorskip("torch")
    from clgkit.denoising.accelerated import decompose_on

    values, vectors = decompose_on(np.zeros((2, 10, 64), np.float32), device="cpu", n=40)

    assert values.shape == (2, 10)
    assert vectors.shape == (2, 10, 64)
    assert np.isfinite(vectors).all()


def looked_at(*planes: np.ndarray) -> Looked:
    """The noise of planes as the stage keeps it."""
    movie = movie_of(*planes)
    noises = [measure_noise(plane) for plane in planes]
    numbers = [
        PlaneNumbers(
            n.in_time, n.n_pairs, n.n_constant, *n.neighbours, *Edge(), len(n.frames), math.nan,
            math.nan,
        )
        for n in noises
    ]  # fmt: skip
    first = movie.isel(time=0, drop=True)
    return Looked(
        first.copy(data=np.stack([n.mean for n in noises])),
        first.copy(data=np.stack([n.sigma for n in noises])),
        first.copy(data=np.zeros(first.shape)).isel(x=slice(0, 1)),
        first.isel(y=0, drop=True)[:, : len(PlaneNumbers._fields)].copy(data=np.array(numbers)),
        {},
    )


def test_a_sample_is_a_part_of_the_plane_with_its_noise() -> None:
    frames = white(40, 48, 56)
    usable = np.arange(40) != 5

    sample = _denoise_quality.take_sample(
        movie_of(frames), 0, usable=usable, looked=looked_at(frames), limit=4000
    )  # fmt: skip

    y, x = sample.corner
    assert (y, x) == (8, 12)
    np.testing.assert_array_equal(sample.frames, frames[usable][:, y : y + 32, x : x + 32])
    np.testing.assert_array_equal(
        sample.noise.sigma, measure_noise(frames).sigma[y : y + 32, x : x + 32]
    )


def test_methods_are_placed_by_the_sum_of_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = white(16, 32, 32)
    scores = {  # held-out error, bias, rms, peak
        "a": (0.1, 0.0, 0.3, 1.0), "b": (0.2, 0.0, 0.1, 1.0), "c": (0.3, 0.0, 0.2, 0.5),
        "d": (math.nan, math.nan, math.nan, math.nan),
    }  # fmt: skip

    def judged(_: object, recipe: str) -> object:
        excess, bias, rms, peak = scores[recipe]
        return quality.DenoisingQuality(excess, bias, rms, 0, 0, 0, 0, 0, peak, 9)

    class Named(str):
        __slots__ = ()
        limit = 4000

    monkeypatch.setattr(_denoise_quality, "judge_sample", judged)
    table = _denoise_quality.compare_methods(
        movie_of(frames),
        movie_of(frames)[:, :, 0, 0] * 0,
        looked_at(frames),
        {name: Named(name) for name in scores},  # type: ignore[misc]
    )

    assert [row.method for row in table] == ["b", "a", "c", "d"]
    assert [row.rank for row in table] == [1, 2, 3, 4]
    assert table[0].correlation_rms == pytest.approx(0.1)


@pytest.mark.parametrize("make", [white, correlated])
def test_noise_is_added_as_it_is(make: Callable[..., np.ndarray]) -> None:
    frames = make(80, 40, 40)
    noise = measure_noise(frames)

    drawn = quality._noise_like(noise, frames, np.random.default_rng(0))

    assert drawn.shape == frames.shape
    assert drawn.std() == pytest.approx(1, abs=0.02)
    assert measure_noise(drawn).neighbours == pytest.approx(noise.neighbours, abs=0.03)


def test_the_share_of_noise_tells_signal_from_noise() -> None:
    rng = np.random.default_rng(3)
    jumps = 2 * rng.standard_normal((200, 20, 20)).astype(np.float32)  # as strong as the noise
    frames = white(200, 20, 20) + jumps
    noise = measure_noise(frames)

    share = quality._share_of_noise(frames, jumps, noise)
    all_noise = quality._share_of_noise(frames, np.zeros_like(frames), noise)

    assert share == pytest.approx(0.5, abs=0.02)
    assert all_noise == pytest.approx(1, abs=0.02)
    assert quality._share_of_noise(frames, jumps, noise._replace(n_pairs=2)) == 1


def test_positions_of_transients_keep_away_from_the_border() -> None:
    assert quality._lattice(64) == [8, 24, 40, 56]
    assert quality._lattice(12) == [6]
    assert quality._lattice(13) == [8]
    assert quality._lattice(3) == [1]


def test_a_plane_of_a_movie_is_read_as_it_lies() -> None:
    movie = movie_of(white(8, 5, 6), white(8, 5, 6, seed=1)).transpose("z", "time", "y", "x")

    frames = PlaneFrames(movie.transpose("time", "z", "y", "x"), 1)

    np.testing.assert_array_equal(frames[2:4], movie.values[1, 2:4])
