"""Laws of denoising on arbitrary small movies."""

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from clgkit.denoising import (
    Basis,
    LowRank,
    denoise_gaussian,
    denoise_lowrank,
    find_components,
    grid_of,
    judge,
    measure_noise,
    project_frames,
    rebuild_frames,
    smooth_courses,
    traces_of,
)
from clgkit.denoising.noise import QUAD, choose_frames

LAWS = settings(max_examples=12, deadline=None, derandomize=True)
SIZES = st.tuples(st.integers(8, 40), st.integers(1, 26), st.integers(1, 26))
SEEDS = st.integers(0, 999)
Frames = npt.NDArray[np.float32]


def movie(shape: tuple[int, int, int], seed: int) -> Frames:
    """Noise, a few slow signals of some pixels, and a static picture."""
    rng = np.random.default_rng(seed)
    time = np.arange(shape[0])
    made = 50 + 20 * rng.random(shape[1:]) + rng.standard_normal(shape)
    for _ in range(2):
        y, x = (int(rng.integers(n)) for n in shape[1:])
        course = 5 * np.sin(time / rng.uniform(1, 5))
        made[:, y : y + 6, x : x + 6] += course[:, None, None]
    return made.astype(np.float32)


def with_holes(shape: tuple[int, int, int], seed: int) -> Frames:
    rng = np.random.default_rng(seed + 1)
    made = movie(shape, seed)
    made[rng.random(shape) < 0.1] = np.nan
    made[:, rng.integers(shape[1])] = np.nan
    return made


@LAWS
@given(shape=SIZES, seed=SEEDS, power=st.integers(-6, 6))
def test_brightness_scales_without_rounding(
    shape: tuple[int, int, int], seed: int, power: int
) -> None:
    frames, factor = movie(shape, seed), np.float32(2.0**power)

    one, other = denoise_lowrank(frames), denoise_lowrank(frames * factor)

    np.testing.assert_array_equal(one.denoised * factor, other.denoised)
    np.testing.assert_array_equal(one.noise.sigma * factor, other.noise.sigma)
    np.testing.assert_array_equal(one.courses, other.courses)


@LAWS
@given(shape=SIZES, seed=SEEDS)
def test_what_is_missing_stays_missing_and_nothing_else_is(
    shape: tuple[int, int, int], seed: int
) -> None:
    frames = with_holes(shape, seed)

    try:
        made = denoise_lowrank(frames).denoised
    except ValueError as error:
        assert "pairs of neighbouring frames" in str(error)  # noqa: PT017  (nothing was there)
        return

    np.testing.assert_array_equal(np.isnan(made), np.isnan(frames))
    smoothed = denoise_gaussian(frames)
    np.testing.assert_array_equal(np.isnan(smoothed), np.isnan(frames))


@LAWS
@given(shape=SIZES, seed=SEEDS)
def test_the_input_is_left_alone(shape: tuple[int, int, int], seed: int) -> None:
    frames = with_holes(shape, seed) if shape[1] > 2 else movie(shape, seed)
    before = frames.copy()
    frames.flags.writeable = False

    denoise_lowrank(frames, usable=np.ones(len(frames), bool))
    denoise_gaussian(frames)

    np.testing.assert_array_equal(frames, before)


@LAWS
@given(shape=SIZES, seed=SEEDS, cut=st.integers(1, 39))
def test_projection_and_rebuilding_know_no_neighbouring_frames(
    shape: tuple[int, int, int], seed: int, cut: int
) -> None:
    frames = movie(shape, seed)
    made = denoise_lowrank(frames)
    cut = min(cut, len(frames) - 1)

    for part in (slice(0, cut), slice(cut, None)):
        courses = project_frames(frames[part], made.basis)
        np.testing.assert_array_equal(courses, made.courses[part])
        np.testing.assert_array_equal(rebuild_frames(courses, made.basis), made.denoised[part])


@LAWS
@given(shape=SIZES, seed=SEEDS)
def test_what_is_denoised_once_is_projected_on_itself(
    shape: tuple[int, int, int], seed: int
) -> None:
    made = denoise_lowrank(movie(shape, seed))
    one_block = Basis(*made.basis)
    if len(one_block.starts) > 1:
        return  # neighbouring blocks mix where they overlap

    again = project_frames(made.denoised, made.basis)

    np.testing.assert_allclose(again, made.courses, atol=1e-3)  # float32 sums of 256 products


@LAWS
@given(shape=SIZES, seed=SEEDS)
def test_tiles_of_blocks_are_those_of_the_whole(shape: tuple[int, int, int], seed: int) -> None:
    frames = movie(shape, seed)
    made = denoise_lowrank(frames)
    grid = grid_of((shape[1], shape[2]))
    n_y, n_x = len(grid.y), len(grid.x)

    for row in range(n_y):
        for column in range(n_x):
            tile = find_components(
                frames, made.noise, made.edge, grid,
                rows=slice(row, row + 1), columns=slice(column, column + 1),
            )  # fmt: skip
            for part, whole in zip(tile, made.components, strict=True):
                np.testing.assert_array_equal(part[0], whole[row * n_x + column])


@LAWS
@given(shape=SIZES, seed=SEEDS)
def test_traces_of_factors_are_means_of_pixels(shape: tuple[int, int, int], seed: int) -> None:
    made: LowRank = denoise_lowrank(movie(shape, seed))
    masks = np.random.default_rng(seed).random((3, *shape[1:])) < 0.4
    masks[:, 0, 0] = True

    found = traces_of(masks, made.courses, made.basis)

    wanted = np.stack([made.denoised[:, m].mean(axis=1, dtype=np.float64) for m in masks])
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


@LAWS
@given(shape=SIZES, seed=SEEDS)
def test_less_is_left_than_was_there(shape: tuple[int, int, int], seed: int) -> None:
    frames = movie(shape, seed)

    made = denoise_lowrank(frames)

    assert np.isfinite(made.denoised).all()
    assert made.components.eigenvalues.min() >= 0
    scatter = ((frames - made.noise.mean) ** 2).sum()
    left = ((made.denoised - made.noise.mean) ** 2).sum()
    assert left <= 1.01 * scatter  # weights of blocks mix projections: no exact bound


@LAWS
@given(n=st.integers(1, 400), limit=st.integers(8, 200), seed=SEEDS, share=st.floats(0.0, 0.3))
def test_chosen_frames_are_good_rising_and_few(n: int, limit: int, seed: int, share: float) -> None:
    usable = np.random.default_rng(seed).random(n) >= share
    if usable.sum() < 8:
        return

    chosen = choose_frames(usable, limit=limit)

    assert usable[chosen].all()
    assert (np.diff(chosen) > 0).all()
    assert len(chosen) <= max(limit, QUAD)
    assert len(chosen) >= min(int(usable.sum()), limit // QUAD * QUAD)


@LAWS
@given(shape=SIZES, seed=SEEDS, offset=st.integers(-3000, 3000))
def test_a_constant_adds_to_the_mean_only(
    shape: tuple[int, int, int], seed: int, offset: int
) -> None:
    whole = np.round(movie(shape, seed))

    one, other = (measure_noise(frames) for frames in (whole, whole + np.float32(offset)))

    np.testing.assert_array_equal(one.sigma, other.sigma)
    np.testing.assert_allclose(other.mean, one.mean + offset, rtol=1e-6, atol=1e-3)
    assert one.n_constant == other.n_constant


@LAWS
@given(shape=SIZES, seed=SEEDS)
def test_turning_a_plane_turns_its_noise(shape: tuple[int, int, int], seed: int) -> None:
    frames = movie(shape, seed)

    one, turned = measure_noise(frames), measure_noise(np.swapaxes(frames, 1, 2))

    np.testing.assert_array_equal(one.sigma.T, turned.sigma)
    np.testing.assert_allclose(one.correlation.T, turned.correlation, atol=1e-5)  # float32 sums
    assert one.in_time == turned.in_time


@LAWS
@given(n=st.integers(1, 90), n_courses=st.integers(0, 5), seed=SEEDS)
def test_the_wiener_filter_never_adds(n: int, n_courses: int, seed: int) -> None:
    courses = np.random.default_rng(seed).normal(0, 3, (n, n_courses)).astype(np.float32)

    made = smooth_courses(courses)

    assert made.shape == courses.shape
    assert (np.square(made).sum(axis=0) <= np.square(courses).sum(axis=0) * (1 + 1e-5)).all()


@LAWS
@given(shape=SIZES, seed=SEEDS)
def test_judging_raw_frames_removes_nothing(shape: tuple[int, int, int], seed: int) -> None:
    frames = movie(shape, seed)

    made = judge(frames, measure_noise(frames), np.copy)

    assert made.residual_variance == 0
    assert abs(made.peak - 1) < 1e-4
    assert np.isfinite(made.heldout_excess)


@LAWS
@given(seed=SEEDS, shift=st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_a_gaussian_commutes_with_whole_pixels_inside(seed: int, shift: tuple[int, int]) -> None:
    frames, (y, x) = movie((20, 26, 26), seed), shift

    moved = denoise_gaussian(frames[:, y:, x:])

    reach = 4  # pixels, four standard deviations
    np.testing.assert_allclose(
        moved[:, reach:, reach:],
        denoise_gaussian(frames)[:, y + reach :, x + reach :],
        rtol=1e-6,
    )


@settings(LAWS, max_examples=4)
@given(seed=SEEDS, shift=st.tuples(st.integers(1, 7), st.integers(1, 7)))
def test_a_low_rank_commutes_with_whole_pixels_as_well_as_other_blocks_agree(
    seed: int, shift: tuple[int, int]
) -> None:
    frames, (y, x) = movie((200, 40, 40), seed), shift

    whole, moved = denoise_lowrank(frames).denoised, denoise_lowrank(frames[:, y:, x:]).denoised

    # Blocks lie elsewhere, so components differ by what little noise each of them lets through:
    # the noise has variance 1, the mean image alone carries 1 / 200 of it.
    change = moved[:, 8:-8, 8:-8] - whole[:, y + 8 : -8, x + 8 : -8]
    assert np.mean(change**2) < 0.05
