"""The low rank keeps what is more than noise, unchanged, and drops the rest."""

import numpy as np
import pytest

from clgkit.denoising import (
    Basis,
    LowRank,
    basis_of,
    denoise_gaussian,
    denoise_lowrank,
    edge_of,
    find_components,
    grid_of,
    lowrank,
    measure_noise,
    project_frames,
    rebuild_frames,
    smooth_courses,
    traces_of,
)
from clgkit.denoising.edge import marchenko_pastur
from clgkit.denoising.lowrank import (
    MISSES,
    MOST_COMPONENTS,
    decompose_blocks,
    upright,
    weak_ones,
)
from tests.unit.denoising_scene import correlated, dim_plane, white


@pytest.fixture(scope="module")
def made() -> LowRank:
    return denoise_lowrank(dim_plane().noisy)


def test_the_error_falls_far_below_that_of_a_gaussian(made: LowRank) -> None:
    plane = dim_plane()

    ours, gaussian, raw = (
        np.mean((movie - plane.truth) ** 2)
        for movie in (made.denoised, denoise_gaussian(plane.noisy), plane.noisy)
    )

    assert ours < gaussian / 4  # 6 dB; a larger plane and more frames give more
    assert ours < raw / 20


def test_peaks_and_correlations_are_kept(made: LowRank) -> None:
    plane = dim_plane()
    ours, raw, truth = (
        np.stack([movie[:, mask].mean(axis=1) for mask in plane.masks])
        for movie in (made.denoised, plane.noisy, plane.truth)
    )
    pairs = np.triu_indices(len(truth), 1)

    peak = np.mean([(a[t] - a.min()) / (b[t] - b.min())
                    for a, b in zip(ours, truth, strict=True) for t in [b.argmax()]])  # fmt: skip
    error, error_raw = (
        np.sqrt(np.mean((np.corrcoef(rows) - np.corrcoef(truth))[pairs] ** 2))
        for rows in (ours, raw)
    )

    assert peak > 0.95
    assert error < 1.1 * error_raw


@pytest.mark.parametrize("noise", [white, correlated])
def test_noise_alone_becomes_its_mean_image(noise: object) -> None:
    frames = noise(400, 88, 88)  # type: ignore[operator]

    found = denoise_lowrank(frames)

    n_empty = int((found.components.n_components == 0).sum())
    assert n_empty >= 0.99 * len(found.components.n_components)
    assert np.std(found.denoised - frames.mean(axis=0)) < 0.05 * frames.std(axis=0).mean()


@pytest.mark.parametrize("noise", [white, correlated])
def test_few_frames_make_no_signal_either(noise: object) -> None:
    found = denoise_lowrank(noise(100, 64, 64), weak=False)  # type: ignore[operator]

    assert (found.components.n_components == 0).mean() >= 0.97  # 49 blocks: one may fail


@pytest.mark.parametrize(("strength", "is_kept"), [(1.6, True), (0.25, False)])
def test_a_component_above_the_edge_is_kept_and_one_below_is_dropped(
    strength: float,
    is_kept: bool,  # noqa: FBT001  (a parameter of the test)
) -> None:
    rng = np.random.default_rng(5)
    footprint = rng.standard_normal((16, 16))  # not smooth: only its eigenvalue counts
    footprint /= np.linalg.norm(footprint)
    course = rng.standard_normal(400)
    course *= np.sqrt(strength * marchenko_pastur(400, 256)) / np.linalg.norm(course)
    signal = course[:, None, None] * footprint
    frames = rng.standard_normal((400, 16, 16)) + signal

    found = denoise_lowrank(frames)

    assert (found.components.n_components[0] > 0) == is_kept
    kept = np.sum((found.denoised - found.noise.mean) * signal) / np.sum(signal**2)
    assert kept == pytest.approx(1.0 if is_kept else 0.0, abs=0.15)


def test_weak_components_that_are_smooth_in_time_and_space_are_kept() -> None:
    rng = np.random.default_rng(6)
    y, x = np.indices((16, 16))
    footprint = np.exp(-((y - 8) ** 2 + (x - 8) ** 2) / 18)
    course = np.sin(np.arange(400) / 12)
    course *= np.sqrt(0.3 * marchenko_pastur(400, 256)) / np.linalg.norm(course)
    signal = course[:, None, None] * footprint / np.linalg.norm(footprint)
    frames = rng.standard_normal((400, 16, 16)) + signal

    assert denoise_lowrank(frames, weak=False).components.n_components[0] == 0
    assert denoise_lowrank(frames).components.n_components[0] == 1


def test_weak_components_must_be_smooth_in_both_and_are_not_sought_for_ever() -> None:
    rng = np.random.default_rng(7)
    y, x = np.indices((8, 8))
    smooth = np.ones((8, 8)) / 8
    rough = (-1.0) ** (y + x) / 8
    slow, fast = np.sin(np.arange(200) / 9), rng.standard_normal(200)
    pixels = (slow[:, None] * smooth.ravel() + fast[:, None] * rough.ravel()).astype(np.float32)
    runs = np.ones(199, bool)

    def found(*footprints: np.ndarray, level: float = 0.0) -> list[int]:
        stacked = np.stack(footprints)
        return weak_ones(pixels, stacked, range(len(stacked)), level, runs)

    assert found(smooth, rough) == [0]
    assert found(*[rough] * (MISSES - 1), smooth) == [MISSES - 1]
    assert found(*[rough] * MISSES, smooth) == []
    assert found(smooth, level=1.0) == []
    assert weak_ones(pixels, smooth[None], range(1), 0.0, np.zeros(199, bool)) == []


def test_twice_the_light_gives_twice_the_result() -> None:
    frames = dim_plane().noisy[:, :40, :40]

    one, two = denoise_lowrank(frames), denoise_lowrank(2 * frames)

    np.testing.assert_array_equal(two.denoised, 2 * one.denoised)
    np.testing.assert_array_equal(two.components.n_components, one.components.n_components)


def test_a_shift_by_whole_blocks_commutes_inside() -> None:
    frames = dim_plane().noisy
    whole = denoise_lowrank(frames)
    part = denoise_lowrank(frames[:, 8:])

    # The floor and the edge are those of the whole plane, and equal here; the border is not.
    np.testing.assert_allclose(part.denoised[:, 16:], whole.denoised[:, 24:], rtol=1e-5)


def test_components_of_a_tile_are_those_of_the_whole(made: LowRank) -> None:
    frames, grid = dim_plane().noisy, grid_of((64, 64))
    edge = edge_of(made.noise, grid)

    tile = find_components(
        frames, made.noise, edge, grid, rows=slice(2, 5), columns=slice(1, 3)
    )  # fmt: skip

    for whole, part in zip(made.components, tile, strict=True):
        square = whole.reshape(7, 7, *whole.shape[1:])[2:5, 1:3]
        np.testing.assert_array_equal(part, square.reshape(6, *whole.shape[1:]))


def test_frames_are_projected_alike_however_many_come_together(made: LowRank) -> None:
    frames = dim_plane().noisy

    for part in (slice(0, 1), slice(3, 50), slice(199, 200)):
        courses = project_frames(frames[part], made.basis)
        np.testing.assert_array_equal(courses, made.courses[part])
        np.testing.assert_array_equal(
            rebuild_frames(courses, made.basis), made.denoised[part]
        )  # fmt: skip


def test_vectors_are_orthonormal_in_every_block(made: LowRank) -> None:
    basis = made.basis
    for block in range(len(basis.starts)):
        own = basis.vectors[basis.first[block] : basis.first[block + 1]].reshape(-1, 256)
        np.testing.assert_allclose(own @ own.T, np.eye(len(own)), atol=1e-5)  # float32
        assert (own.sum(axis=1) >= -1e-4).all()


def test_traces_of_factors_are_those_of_pixels(made: LowRank) -> None:
    masks = dim_plane().masks

    found = traces_of(masks, made.courses, made.basis)

    wanted = np.stack([made.denoised[:, mask].mean(axis=1, dtype=np.float64) for mask in masks])
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_traces_take_weights_and_leave_empty_rois_unknown(made: LowRank) -> None:
    weights = np.zeros((2, 64, 64), np.float32)
    weights[0, 10:20, 10:20] = np.linspace(0.1, 1, 100).reshape(10, 10)

    found = traces_of(weights, made.courses, made.basis)

    wanted = np.average(made.denoised.reshape(200, -1), axis=1, weights=weights[0].ravel())
    np.testing.assert_allclose(found[0], wanted, rtol=1e-5)
    assert np.isnan(found[1]).all()


def test_missing_values_stay_missing_and_spoil_nothing() -> None:
    plane = dim_plane()
    holes = plane.noisy.copy()
    holes[:, :2] = np.nan  # a border that is never seen
    holes[::3, :, -3:] = np.nan  # one that a third of the frames lacks
    holes[50] = np.nan  # a frame that shows nothing
    holes[80, 20:30, 20:30] = np.inf

    found = denoise_lowrank(holes).denoised

    np.testing.assert_array_equal(np.isnan(found), ~np.isfinite(holes))
    there = np.isfinite(found)
    error = np.mean((found - plane.truth)[there] ** 2)
    assert error < 1.3 * np.mean((denoise_lowrank(plane.noisy).denoised - plane.truth)[there] ** 2)


def test_coefficients_are_fitted_to_what_a_frame_shows(made: LowRank) -> None:
    clean = made.denoised[100:101]
    holes = clean.copy()
    holes[:, :, 24:32] = np.nan

    whole, part = (project_frames(pixels, made.basis) for pixels in (clean, holes))

    error = np.linalg.norm(part - whole) / np.linalg.norm(whole)
    left_out = project_frames(np.where(np.isnan(holes), made.basis.mean, holes), made.basis)
    assert error < 0.6 * np.linalg.norm(left_out - whole) / np.linalg.norm(whole)


def test_a_frame_that_shows_nothing_of_a_block_has_no_coefficients(made: LowRank) -> None:
    courses = project_frames(np.full((1, 64, 64), np.nan, np.float32), made.basis)

    assert (courses == 0).all()


def test_an_all_missing_plane_is_refused_and_an_all_missing_block_stays_missing() -> None:
    frames = dim_plane().noisy.copy()
    frames[:, :32, :32] = np.nan

    found = denoise_lowrank(frames)

    assert np.isnan(found.denoised[:, :32, :32]).all()
    assert found.components.n_components.reshape(7, 7)[0, 0] == 0


def test_bad_frames_leave_the_others_alone_and_are_projected() -> None:
    frames = dim_plane().noisy
    usable = np.ones(200, bool)
    usable[77] = False
    flashed = frames.copy()
    flashed[77] = 5000

    found = denoise_lowrank(flashed, usable=usable)
    calm = denoise_lowrank(frames, usable=usable)

    np.testing.assert_array_equal(found.denoised[usable], calm.denoised[usable])
    assert np.isfinite(found.denoised[77]).all()


def test_constant_pixels_and_planes_are_returned_unchanged() -> None:
    frames = dim_plane().noisy.copy()
    frames[:, 10:14, 10:14] = 3.5

    np.testing.assert_array_equal(denoise_lowrank(frames).denoised[:, 10:14, 10:14], 3.5)
    flat = np.full((20, 24, 24), 7, np.uint16)
    found = denoise_lowrank(flat)
    np.testing.assert_array_equal(found.denoised, flat)
    assert found.courses.shape == (20, 0)


def test_a_plane_smaller_than_a_block_is_one_block() -> None:
    frames = dim_plane().noisy[:, :7, :11]

    found = denoise_lowrank(frames)

    assert found.denoised.shape == frames.shape
    assert found.basis.starts.tolist() == [[0, 0]]
    assert found.components.footprints.shape == (1, MOST_COMPONENTS, 7, 11)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_integers_become_floats_and_do_not_wrap(dtype: type) -> None:
    frames = dim_plane().noisy[:, :32, :32].round() - (20 if dtype is np.int16 else -20)

    found = denoise_lowrank(frames.astype(dtype))

    assert found.denoised.dtype == np.float32
    np.testing.assert_array_equal(found.denoised, denoise_lowrank(frames).denoised)


def test_a_long_recording_is_fitted_on_some_frames_and_projected_whole() -> None:
    plane = dim_plane()

    found = denoise_lowrank(plane.noisy, limit=120)

    assert len(found.noise.frames) == 120
    assert found.courses.shape[0] == 200
    ours, raw = (np.mean((m - plane.truth) ** 2) for m in (found.denoised, plane.noisy))
    assert ours < raw / 15


def test_filtering_the_courses_lowers_the_error_and_flattens() -> None:
    plane = dim_plane(2.0)
    plain, smooth = (denoise_lowrank(plane.noisy, smooth=value) for value in (False, True))

    errors = [np.mean((found.denoised - plane.truth) ** 2) for found in (plain, smooth)]

    assert errors[1] < errors[0]
    assert smooth.denoised.std(axis=0).mean() < plain.denoised.std(axis=0).mean()


def test_both_products_of_a_block_give_the_same_components() -> None:
    rng = np.random.default_rng(8)
    blocks = rng.standard_normal((2, 70, 64)).astype(np.float32)

    tall, wide = decompose_blocks(blocks), decompose_blocks(np.ascontiguousarray(blocks[:, :60]))

    for (values, vectors), pixels in zip((tall, wide), (blocks, blocks[:, :60]), strict=True):
        singular = np.linalg.svd(pixels.astype(np.float64), compute_uv=False)
        n = values.shape[1]
        assert n == MOST_COMPONENTS + MISSES
        np.testing.assert_allclose(values, singular[:, :n] ** 2, rtol=1e-9)
        products = vectors @ vectors.transpose(0, 2, 1)
        np.testing.assert_allclose(products, np.broadcast_to(np.eye(n), products.shape), atol=1e-9)


def test_a_block_of_nothing_has_vectors_of_nothing() -> None:
    values, vectors = decompose_blocks(np.zeros((1, 10, 64), np.float32))

    assert (values == 0).all()
    assert np.isfinite(vectors).all()


def test_vectors_are_turned_so_that_they_are_bright() -> None:
    vectors = np.array([[1.0, -3.0], [3.0, -1.0]])

    np.testing.assert_array_equal(upright(vectors), [[-1, 3], [3, -1]])


def test_no_block_has_more_components_than_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lowrank, "MOST_COMPONENTS", 2)

    found = denoise_lowrank(dim_plane().noisy)

    assert found.components.n_components.max() == 2


def test_a_basis_of_nothing_gives_the_mean() -> None:
    noise = measure_noise(white(20, 16, 16))
    grid = grid_of((16, 16))
    components = find_components(
        white(20, 16, 16), noise, edge_of(noise, grid)._replace(ratio=99.0), grid, weak=False
    )

    basis = basis_of(components, noise.mean, noise.sigma)

    assert isinstance(basis, Basis)
    courses = project_frames(white(20, 16, 16), basis)
    np.testing.assert_array_equal(rebuild_frames(courses, basis)[0], noise.mean)


def test_a_device_gives_the_same(made: LowRank) -> None:
    pytest.importorskip("torch")

    found = denoise_lowrank(dim_plane().noisy, device="cpu:0")

    np.testing.assert_array_equal(found.components.n_components, made.components.n_components)
    np.testing.assert_allclose(found.denoised, made.denoised, rtol=1e-4)  # another LAPACK
    few = denoise_lowrank(dim_plane().noisy[:60, :24, :24], device="cpu:0")
    same = denoise_lowrank(dim_plane().noisy[:60, :24, :24])
    np.testing.assert_allclose(few.denoised, same.denoised, rtol=1e-4)


def test_a_wiener_filter_keeps_what_is_strong_and_removes_white_noise() -> None:
    rng = np.random.default_rng(9)
    slow = 20 * np.sin(np.arange(512) / 20)
    courses = np.stack([slow, 0 * slow], axis=1) + rng.standard_normal((512, 2))

    made = smooth_courses(courses.astype(np.float32))

    assert np.mean((made[:, 0] - slow) ** 2) < 0.4
    assert np.mean(made[:, 1] ** 2) < 0.2
    assert smooth_courses(np.zeros((20, 0), np.float32)).shape == (20, 0)


def test_frames_without_use_are_left_as_they_are_by_the_filter() -> None:
    courses = np.random.default_rng(0).standard_normal((60, 3)).astype(np.float32)
    usable = np.arange(60) != 30
    other = courses.copy()
    other[30] = 1e6

    made = smooth_courses(other, usable)

    assert (made[30] == 1e6).all()
    np.testing.assert_array_equal(made[usable], smooth_courses(courses[usable]))
    np.testing.assert_array_equal(smooth_courses(other, np.zeros(60, bool)), other)


def test_a_gaussian_averages_what_is_known() -> None:
    frames = np.full((12, 20, 20), 5.0)
    frames[:, :3] = np.nan
    frames[4] = np.nan
    frames[7] = 900

    made = denoise_gaussian(frames, usable=np.arange(12) != 7)

    np.testing.assert_array_equal(np.isnan(made), np.isnan(frames))
    np.testing.assert_allclose(made[np.isfinite(made)], 5, rtol=1e-6)


def test_a_gaussian_lowers_noise_by_the_square_of_its_kernel() -> None:
    made = denoise_gaussian(white(60, 40, 40))

    wanted = 2 * np.sqrt(1 / (2 * np.sqrt(np.pi)) ** 3 / 0.7)  # of continuous kernels
    assert made[5:-5, 5:-5, 5:-5].std() == pytest.approx(wanted, rel=0.1)
