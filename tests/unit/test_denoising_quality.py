"""Quality without a truth: each measure says what it is told to say."""

import numpy as np
import pytest

from clgkit.denoising import (
    DenoisingQuality,
    denoise_gaussian,
    denoise_lowrank,
    judge,
    measure_noise,
    quality,
)
from clgkit.denoising.quality import DECAY_FRAMES, HEIGHT_SIGMA
from tests.unit.denoising_scene import correlated, dim_plane, white

# Of the reported and the true error.  The scatter of 819,200 noise values is 0.002, 4 % of the
# error of the low rank on this small plane: it is averaged over draws of the noise.
AGREEMENT = 0.1
N_DRAWS = 3


def low_rank(frames: np.ndarray) -> np.ndarray:
    return denoise_lowrank(frames).denoised


def mean_image(frames: np.ndarray) -> np.ndarray:
    return np.repeat(np.nanmean(frames, axis=0, keepdims=True), len(frames), axis=0)


def judged(frames: np.ndarray, denoise: object, **options: object) -> DenoisingQuality:
    return judge(frames, measure_noise(frames), denoise, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("photons", [6.0, 2.0])
@pytest.mark.parametrize("denoise", [low_rank, denoise_gaussian])
def test_the_held_out_error_is_the_error(photons: float, denoise: object) -> None:
    told, true = [], []
    for draw in range(N_DRAWS):
        plane, seen = dim_plane(photons, draw), []

        def watched(frames: np.ndarray, seen: list[np.ndarray] = seen) -> np.ndarray:
            seen.append(denoise(frames))  # type: ignore[operator]
            return seen[-1]

        noise = measure_noise(plane.noisy)
        told.append(judge(plane.noisy, noise, watched, reference=low_rank).heldout_excess)
        true.append(np.mean(((seen[1] - plane.truth) / noise.sigma) ** 2))

    assert np.mean(told) == pytest.approx(np.mean(true), rel=AGREEMENT)


def test_raw_has_a_held_out_error_of_two_and_nothing_removed() -> None:
    made = judged(dim_plane().noisy, np.copy, reference=low_rank)

    assert made.heldout_excess == pytest.approx(2, abs=0.05)
    assert made.residual_variance == 0
    assert made.residual_in_time == made.residual_in_space == made.residual_with_result == 0
    assert made.peak == pytest.approx(1, abs=1e-5)
    assert made.correlation_bias < 0  # noise weakens correlations


def test_the_mean_image_of_white_noise_is_nearly_perfect() -> None:
    made = judged(white(200, 40, 40), mean_image)

    assert made.heldout_excess == pytest.approx(2 / 200, abs=0.01)  # two doses over 200 frames
    assert made.residual_variance == pytest.approx(1, abs=0.03)
    assert made.residual_in_time == pytest.approx(0, abs=0.01)
    assert made.residual_in_space == pytest.approx(0, abs=0.01)
    assert made.residual_with_result == pytest.approx(0, abs=1e-6)
    assert made.peak < 0.3
    assert made.n_roi_pairs == 0  # no roi agrees with itself


def test_added_noise_is_correlated_as_that_of_the_movie_is() -> None:
    frames = correlated(200, 40, 40)

    smoothed = judged(frames, denoise_gaussian, reference=mean_image)

    # The truth is flat, so what is left of two doses of noise is all error.
    error = 2 * np.var(denoise_gaussian(frames)) / np.var(frames)
    assert smoothed.heldout_excess == pytest.approx(error, rel=0.15)


def test_the_low_rank_beats_a_gaussian_in_every_number() -> None:
    frames = dim_plane().noisy

    ours = judged(frames, low_rank)
    theirs = judged(frames, denoise_gaussian, reference=low_rank)

    assert ours.heldout_excess < theirs.heldout_excess
    assert ours.correlation_rms < theirs.correlation_rms
    assert abs(ours.residual_with_result) < abs(theirs.residual_with_result)
    assert ours.peak > 0.9 > theirs.peak


def test_a_denoiser_that_pulls_traces_together_is_found_out() -> None:
    plane = dim_plane()
    common = plane.noisy.mean(axis=(1, 2), keepdims=True)

    def pull(frames: np.ndarray) -> np.ndarray:
        shared = 6 * (frames.mean(axis=(1, 2), keepdims=True) - common.mean())
        return low_rank(frames) + shared

    honest, invented = judged(plane.noisy, low_rank), judged(plane.noisy, pull)

    assert invented.correlation_bias > honest.correlation_bias + 0.1
    assert invented.correlation_rms > 2 * honest.correlation_rms
    assert 0 <= honest.crossing <= invented.crossing <= 1


def test_lost_peaks_are_found_out() -> None:
    def flatten(frames: np.ndarray) -> np.ndarray:
        made = frames.copy()
        made[1:] = (frames[1:] + frames[:-1]) / 2
        return made

    made = judged(dim_plane().noisy, flatten)

    # Half the peak comes from the frame before, which is dark but for older transients.
    assert made.peak == pytest.approx(0.5, abs=0.02)


def test_residuals_with_structure_are_found_out() -> None:
    plane = dim_plane()

    def keep_half(frames: np.ndarray) -> np.ndarray:
        return (frames + low_rank(frames)) / 2 - (plane.truth - plane.truth.mean(axis=0)) / 2

    made = judged(plane.noisy, keep_half)

    assert made.residual_in_time > 0.01
    assert made.residual_with_result > 0.1


def test_the_same_seed_gives_the_same_numbers_and_another_one_others() -> None:
    frames = white(60, 32, 32)

    one, two, three = (judged(frames, mean_image, seed=seed) for seed in (1, 1, 2))

    np.testing.assert_equal(one, two)
    assert one.heldout_excess != three.heldout_excess
    assert one.peak == three.peak


def test_missing_pixels_and_frames_are_no_obstacle() -> None:
    frames = dim_plane().noisy.copy()
    frames[:, :3] = np.nan
    frames[20] = np.nan
    frames[::2, -1] = np.nan

    made = judged(frames, low_rank)
    whole = judged(dim_plane().noisy, low_rank)

    assert np.isfinite(made).all()
    assert made.heldout_excess == pytest.approx(whole.heldout_excess, abs=0.02)


def test_a_plane_without_noise_has_no_measures() -> None:
    frames = np.full((20, 20, 20), 4.0, np.float32)

    made = judged(frames, np.copy)

    assert np.isnan(made.heldout_excess)
    assert np.isnan(made.correlation_rms)
    assert np.isnan(made.residual_variance)
    assert np.isnan(made.peak)


def test_a_small_plane_has_no_pairs_of_rois_and_one_transient() -> None:
    made = judged(white(40, 7, 7), np.copy)

    assert np.isnan(made.correlation_bias)
    assert made.n_roi_pairs == 0
    assert made.peak == pytest.approx(1, abs=1e-5)


def test_rois_are_squares_that_are_mostly_known() -> None:
    known = np.ones((20, 33), bool)
    known[:5, :8] = False

    rois, corners = quality._squares(known)

    assert corners.tolist() == [[0, 8], [0, 16], [0, 24], [8, 0], [8, 8], [8, 16], [8, 24]]
    assert rois.sum(axis=(1, 2)).tolist() == [64] * 7


def test_injected_transients_have_the_height_that_is_said() -> None:
    frames, given = white(80, 40, 40), []
    noise = measure_noise(frames)

    def watched(pixels: np.ndarray) -> np.ndarray:
        given.append(pixels)
        return pixels.copy()

    judge(frames, noise, watched)
    light = (given[2] - frames) / np.maximum(noise.sigma, 1e-9)

    # A transient begins before the last one has gone: exp(-40 / 4) is less than 1e-4.
    assert light.max() == pytest.approx(HEIGHT_SIGMA, rel=1e-3)
    at = np.unravel_index(light.argmax(), light.shape)
    assert light[at[0] + 1, at[1], at[2]] / light[at] == pytest.approx(
        np.exp(-1 / DECAY_FRAMES), rel=1e-3
    )
