"""What the settings do to dim things: published tables, and a stack's own bright spots."""

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from clgkit.deconvolution import (
    Deblur,
    SparseHessian,
    amplitude_response,
    check_on_noise,
    denoise_sparse,
    flat_field_grain,
    gaussian_psf,
    measure_gain,
    noise_of,
)
from clgkit.deconvolution.response import AMPLITUDES, bead, width_at_half
from clgkit.segmentation import segment_classical
from tests.unit.deconvolution_scene import nuclei

DEBLUR = Deblur(gaussian_psf(3.0, pixel_um=1.0))

# The table has two decimals; its author computed it in another program.
TOLERANCE = 0.006


@pytest.mark.parametrize(
    ("sparsity", "gains"),
    [
        (0, [0.84, 0.72, 0.53, 0.40, 0.32]),
        (3, [0.79, 0.65, 0.43, 0.17, 0.05]),
        (6, [0.67, 0.52, 0.30, 0.04, 0.006]),
        (15, [0.31, 0.21, 0.06, 0.001, 0.001]),
    ],
)
def test_dim_beads_lose_more(sparsity: float, gains: list[float]) -> None:
    made = amplitude_response(SparseHessian(sparsity=sparsity))

    np.testing.assert_allclose(made.denoised, gains, atol=TOLERANCE)
    assert (np.diff(made.amplitude * made.denoised) < 0).all()  # monotone
    np.testing.assert_array_equal(made.denoised, made.deconvolved)
    assert tuple(made.amplitude.tolist()) == pytest.approx(AMPLITUDES)


def test_widths_are_those_published() -> None:
    made = amplitude_response(deblur=DEBLUR, amplitudes=(1.0,))

    assert made.lateral_px == pytest.approx((3.06, 3.11, 1.14), abs=0.05)
    assert made.axial_px == pytest.approx((2.60, 2.64, 2.47), abs=0.05)


def test_richardson_lucy_alone_is_linear() -> None:
    made = amplitude_response(SparseHessian(iterations=1), DEBLUR)

    np.testing.assert_allclose(made.deconvolved / made.deconvolved[0], 1, atol=1e-3)
    assert made.lateral_px[2] == pytest.approx(1.31, abs=0.05)
    assert made.axial_px[2] == pytest.approx(2.60, abs=0.05)


def test_the_order_of_amplitudes_does_not_matter() -> None:
    method = SparseHessian(iterations=5)

    rising, falling = (amplitude_response(method, amplitudes=a) for a in ((0.1, 1.0), (1.0, 0.1)))

    np.testing.assert_array_equal(rising.denoised[::-1], falling.denoised)
    assert rising.lateral_px == falling.lateral_px


def test_wide_kernels_meet_small_beads() -> None:
    made = amplitude_response(
        SparseHessian(iterations=2), DEBLUR._replace(psf=np.ones((65, 129))), amplitudes=(1.0,)
    )

    assert np.isfinite(made.deconvolved).all()


def test_grain_comes_back_with_richardson_lucy() -> None:
    before, denoised, deconvolved = flat_field_grain(SparseHessian(), DEBLUR, photons=5)

    assert before == pytest.approx(1 / math.sqrt(5), rel=0.05)
    assert denoised < 0.65 * before
    assert deconvolved > 1.5 * denoised


def test_little_is_invented_in_an_empty_field() -> None:
    field = np.random.default_rng(3).poisson(5, (16, 64, 64)).astype(np.float32)

    image = denoise_sparse(field, headroom=2.0).image

    # Structure in an empty field would be invented.  (Segmentation that takes its noise from the
    # difference of neighbours finds nuclei in any smoothed noise: it wants the stack's own noise.)
    assert image.std() < 0.25 * image.mean()  # 0.45 before
    assert image.max() < 2.5 * image.mean()  # 3 before
    assert np.percentile(image, 99.9) < 2 * image.mean()  # 2.6 before
    found = segment_classical(field, voxel_um=(1.0, 0.5, 0.5), diameter_um=(8.0, 4.0, 4.0))
    assert found.max() == 0


@pytest.mark.parametrize("photons", [5, 30])
def test_denoising_beats_the_gaussian_of_the_same_width(photons: float) -> None:
    shape = (10, 64, 64)
    noisy, clean = nuclei(shape, photons=photons), nuclei(shape, photons=3e5)

    def likeness(image: npt.NDArray[np.float32]) -> float:
        return float(np.corrcoef(image.ravel(), clean.ravel())[0, 1])

    blurred = ndimage.gaussian_filter(noisy, (0.6, 1, 1))  # widens beads as much

    assert likeness(denoise_sparse(noisy, headroom=3.0).image) > likeness(blurred)


def test_two_halves_of_the_photons_agree_better_after_denoising() -> None:
    rng = np.random.default_rng(0)
    whole = nuclei((10, 48, 48), photons=20).astype(np.int64)
    half = rng.binomial(whole, 0.5)

    raw = np.corrcoef(half.ravel(), (whole - half).ravel())[0, 1]
    one, two = (denoise_sparse(part).image.ravel() for part in (half, whole - half))

    assert np.corrcoef(one, two)[0, 1] > raw + 0.05
    # Each half also predicts the other's raw photons better than the raw half does.
    assert np.corrcoef(one, (whole - half).ravel())[0, 1] > raw


def test_a_width_is_measured_between_samples() -> None:
    assert width_at_half(np.array([0.0, 0, 1, 0, 0])) == pytest.approx(1.0)
    assert width_at_half(np.array([0.0, 1, 2, 1, 0])) == pytest.approx(2.0)
    assert width_at_half(bead()[6, 12]) == pytest.approx(3.06, abs=0.01)
    assert math.isnan(width_at_half(np.zeros(5)))
    assert width_at_half(np.ones(4)) == 5  # it never falls


def test_gain_is_measured_at_bright_spots() -> None:
    rng = np.random.default_rng(0)
    before = np.zeros((8, 96, 96), np.float32)
    heights = np.linspace(20, 100, 36)
    for height, (y, x) in zip(heights, np.ndindex(6, 6), strict=True):
        before[4, 8 + 16 * y, 8 + 16 * x] = 200 * height
    before = ndimage.gaussian_filter(before, 1.2) + rng.random(before.shape).astype(np.float32)
    after = np.where(before > np.quantile(before[before > 40], 0.5), before, before / 4)

    made = measure_gain([(before, after)])

    assert made.n_spots == 36
    assert made.dim < made.bright
    doubled = measure_gain([(before, 2 * before)])
    assert doubled.dim == pytest.approx(2, rel=1e-3)
    assert doubled.bright == pytest.approx(2, rel=1e-3)


def test_without_spots_there_is_no_gain() -> None:
    field = np.random.default_rng(0).random((4, 20, 20))

    made = measure_gain([(field, field)])

    assert math.isnan(made.dim)
    assert made.n_spots < 20


def test_noise_is_measured_from_neighbours() -> None:
    rng = np.random.default_rng(0)
    slope = np.arange(64) * 0.5

    noise = noise_of((rng.normal(100, 7, (8, 64, 64)) + slope).astype(np.float32))

    assert noise == pytest.approx(7, rel=0.02)
    assert noise_of(np.ones((1, 4, 1), np.float32)) == 0


def test_nothing_stands_out_of_the_raw_noise_of_an_empty_field() -> None:
    made = check_on_noise(SparseHessian(iterations=40, sparsity=0), level=5, noise=2.2, scale=48)

    # Five times the noise, with the rim of a field of five thousand independent places.
    assert made.before <= 10
    assert made.after <= made.before
    assert made.believed > 20  # and all of them are invented
    assert made.grain[0] == pytest.approx(2.2 / 5, rel=0.05)
    assert made.grain[1] == made.grain[2] < 0.3 * made.grain[0]


def test_sharpening_brings_grain_back_and_is_counted() -> None:
    settings = {"level": 5.0, "noise": 2.2, "scale": 12.0}

    calm = check_on_noise(SparseHessian(iterations=40), **settings)
    sharp = check_on_noise(SparseHessian(iterations=40), DEBLUR, **settings)

    assert sharp.grain[:2] == calm.grain[:2]
    assert sharp.grain[2] > 1.5 * sharp.grain[1]


def test_without_noise_or_light_nothing_is_invented() -> None:
    step = SparseHessian(iterations=2)

    assert check_on_noise(step, level=5, noise=0, scale=20)[:3] == (0, 0, 0)
    assert check_on_noise(step, level=0, noise=0, scale=1) == (0, 0, 0, (0.0, 0.0, 0.0))
