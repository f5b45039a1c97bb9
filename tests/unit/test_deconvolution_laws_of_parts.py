"""The parts of the deconvolution, each by a law that it must keep."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from clgkit.deconvolution import (
    Blur,
    Deblur,
    SparseHessian,
    airy_psf,
    denoise_sparse,
    estimate_background,
    gaussian_psf,
    landweber,
    richardson_lucy,
)
from clgkit.deconvolution.background import background_coefficients, clip_level, expand_background
from clgkit.deconvolution.kernels import inverse_polynomial, solve
from clgkit.deconvolution.original import median_2x2
from clgkit.deconvolution.psf import original_psf, two_photon_fwhm_um
from clgkit.deconvolution.response import measure_gain, width_at_half
from clgkit.deconvolution.sparse import minimize_sparse_hessian
from clgkit.deconvolution.volume import HALO_PX, choose_core, denoise_block, find_scale
from clgkit.deconvolution.wavelet import coarse_matrices, daubechies_filter
from tests.unit.deconvolution_scene import nuclei

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
PSF = gaussian_psf(3.0, pixel_um=1.0)
FAST = SparseHessian(iterations=12)


def lopsided() -> Float64:
    """Return a kernel without symmetry whose peak is in its middle."""
    kernel = np.random.default_rng(0).random((5, 7))
    kernel[2, 3] = 2
    return kernel


@pytest.fixture(scope="module")
def plane() -> Float64:
    rng = np.random.default_rng(0)
    light = (rng.random((40, 46)) < 0.03) * rng.uniform(3, 9, (40, 46)) + 0.1
    return np.asarray(rng.poisson(200 * ndimage.gaussian_filter(light, 1.3)) / 200)


@pytest.mark.parametrize("shape", [(30, 41), (12, 9)])
def test_a_blur_is_a_convolution_with_its_kernel(shape: tuple[int, int]) -> None:
    blur = Blur(lopsided(), shape)
    x = np.random.default_rng(1).random(blur.shape).astype(np.float32)
    expected = ndimage.convolve(x.astype(float), lopsided() / lopsided().sum(), mode="wrap")

    np.testing.assert_allclose(blur(x), expected, atol=1e-6)  # float32 transforms
    np.testing.assert_array_equal(blur.crop(blur.widen(x[: shape[0], : shape[1]])).shape, shape)


@pytest.mark.parametrize("shape", [(30, 41), (12, 9)])
def test_the_adjoint_is_adjoint(shape: tuple[int, int]) -> None:
    blur = Blur(lopsided(), shape)
    x, y = np.random.default_rng(1).normal(size=(2, *blur.shape)).astype(np.float32)

    forth = np.sum(blur(x) * y, dtype=np.float64)
    assert forth == pytest.approx(np.sum(x * blur.adjoint(y), dtype=np.float64), rel=1e-4)


def test_widening_repeats_the_edge_and_cropping_takes_it_off(plane: Float64) -> None:
    blur = Blur(PSF, (40, 46))
    wide = blur.widen(plane)

    np.testing.assert_array_equal(blur.crop(wide), plane.astype(np.float32))
    np.testing.assert_array_equal(wide[0], wide[blur.margin])


@pytest.mark.parametrize("rule", [richardson_lucy, landweber])
@pytest.mark.parametrize("spread", [1.0, 9.0], ids=["even", "lopsided"])
def test_the_object_is_what_blurs_to_the_data(rule: object, spread: float) -> None:
    """A tail on one side alone tells the kernel from its mirror image."""
    kernel = PSF.copy()
    kernel[:, kernel.shape[1] // 2 + 1 :] *= spread ** (np.arange(1, len(PSF) // 2 + 1) / 4)
    truth = np.full((60, 64), 0.1)
    truth[20:24, 30:33] = truth[36, 20] = truth[40, 42] = 4
    blur = Blur(kernel, (60, 64))
    data = blur.crop(blur(blur.widen(truth)))
    left, off = [], []
    for iterations in (0, 4, 16, 64):
        made = rule(data, blur, iterations=iterations)  # type: ignore[operator]
        left.append(np.linalg.norm(blur.crop(blur(blur.widen(made))) - data))
        off.append(np.linalg.norm(made - truth))

    assert left[0] > left[1] > left[2] > left[3]
    assert off[0] > off[1] > off[2] > off[3]


@pytest.mark.parametrize("rule", ["richardson_lucy", "landweber"])
def test_turned_planes_give_turned_results(rule: str, plane: Float64) -> None:
    turned = Deblur(lopsided().T, rule)(plane.T[np.newaxis])[0]  # type: ignore[arg-type]
    straight = Deblur(lopsided(), rule)(plane[np.newaxis])[0]  # type: ignore[arg-type]

    np.testing.assert_allclose(turned.T, straight, atol=2e-4 * plane.max())


def test_moving_a_spot_moves_its_image() -> None:
    planes = np.full((3, 60, 60), 0.1)
    for image, (y, x) in zip(planes, ((24, 25), (27, 30), (33, 34)), strict=True):
        image[y, x] = 40
        image[:] = ndimage.gaussian_filter(image, 1.27)
    made = Deblur(PSF)(planes)

    first = made[0, 14:35, 15:36]
    np.testing.assert_allclose(made[1, 17:38, 20:41], first, atol=1e-3)
    np.testing.assert_allclose(made[2, 23:44, 24:45], first, atol=1e-3)


def test_richardson_lucy_conserves_the_light_of_what_lies_inside() -> None:
    scene = np.zeros((48, 48))
    scene[20:27, 18:30] = 1
    blurred = ndimage.gaussian_filter(scene, 1.27) + 0.01

    made = richardson_lucy(blurred, PSF, iterations=10)
    assert made.sum() == pytest.approx(blurred.sum(), rel=0.01)


@pytest.mark.parametrize(
    "psf",
    [
        gaussian_psf(2.7, pixel_um=0.9),
        airy_psf(wavelength_um=0.52, na=0.8, pixel_um=0.2),
        original_psf(wavelength_um=0.52, na=0.8, pixel_um=0.2, half_width_px=8),
    ],
    ids=["gaussian", "airy", "original"],
)
def test_kernels_look_the_same_from_all_sides(psf: Float64) -> None:
    assert psf.sum() == pytest.approx(1)
    for other in (psf.T, psf[::-1], psf[:, ::-1]):
        np.testing.assert_allclose(other, psf, atol=1e-15)


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_only_ratios_of_lengths_count(factor: float) -> None:
    airy = [airy_psf(wavelength_um=0.5 * f, na=0.9, pixel_um=0.2 * f) for f in (1, factor)]
    gauss = [gaussian_psf(1.1 * f, pixel_um=(0.3 * f, 0.4 * f)) for f in (1, factor)]

    for one, other in (airy, gauss):
        np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-15)
    wide = two_photon_fwhm_um(wavelength_um=0.92 * factor, na=0.8)
    assert wide == pytest.approx(factor * two_photon_fwhm_um(wavelength_um=0.92, na=0.8))


def test_the_airy_pattern_is_dark_at_the_first_zero_of_the_bessel_function() -> None:
    # 0.61 wavelengths / NA, here ten pixels.
    psf = airy_psf(wavelength_um=1.0, na=0.6098, pixel_um=0.1, half_width_px=20)
    line = psf[psf.shape[0] // 2, psf.shape[1] // 2 :]

    assert line[10] < 1e-6 * line[0]
    assert line[9] > line[10] < line[11]


@pytest.mark.parametrize("fwhm", [2.0, 3.3, 7.0])
def test_a_width_is_that_of_the_line_drawn(fwhm: float) -> None:
    x = np.arange(-20, 21)
    line = np.maximum(1 - np.abs(x) / fwhm, 0)  # straight flanks, which interpolation meets

    assert width_at_half(line) == pytest.approx(fwhm)
    assert width_at_half(5 * line) == pytest.approx(fwhm)
    assert math.isnan(width_at_half(np.zeros(9)))


@pytest.mark.parametrize("kappa", [40.0, 186.0, 1000.0])
@pytest.mark.parametrize("shape", [(5, 8, 9), (1, 8, 9)])
def test_solving_undoes_the_denominator(kappa: float, shape: tuple[int, int, int]) -> None:
    c = 1.0 if shape[0] > 1 else 0.0
    polynomial = inverse_polynomial(kappa, c)
    u = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    rings = np.zeros((polynomial.coefficients.size - 1, 3, shape[1] + 2, shape[2] + 2), np.float32)
    g = np.empty_like(u)
    solve(u, polynomial, rings, g)

    def laplacian(v: Float64) -> Float64:
        weights = (c, 1.0, 1.0)
        beside = [np.roll(v, 1, a) + np.roll(v, -1, a) - 2 * v for a in range(3)]
        return -sum(w * b for w, b in zip(weights, beside, strict=True))

    back = kappa * g + laplacian(laplacian(g.astype(np.float64)))
    np.testing.assert_allclose(back, u, atol=1e-5)


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3)))[1:])
def test_no_axis_is_special_at_continuity_one(axes: tuple[int, int, int]) -> None:
    f = np.random.default_rng(2).random((6, 9, 11)).astype(np.float32)

    np.testing.assert_allclose(FAST(f.transpose(axes)), FAST(f).transpose(axes), atol=2e-6)


@pytest.mark.parametrize("move", [(0, 0, 3), (0, -2, 1), (2, 1, -4)])
def test_a_nucleus_far_from_the_faces_is_treated_alike_anywhere(move: tuple[int, int, int]) -> None:
    f = np.zeros((37, 40, 40), np.float32)
    f[18, 20, 20] = 30
    f = ndimage.gaussian_filter(f, 1.2)
    one, other = FAST(f), FAST(np.roll(f, move, (0, 1, 2)))

    inner = (slice(8, -8),) * 3
    np.testing.assert_allclose(other[inner], np.roll(one, move, (0, 1, 2))[inner], atol=1e-6)


@pytest.mark.parametrize("power", [-5, 7])
@pytest.mark.parametrize("scale", ["percentile", "max", "per-plane"])
def test_units_are_only_units(scale: str, power: int) -> None:
    stack = nuclei((4, 24, 26))
    one, other = (
        denoise_sparse(s, FAST, scale=scale)  # type: ignore[arg-type]
        for s in (stack, stack * np.float32(2.0**power))
    )
    np.testing.assert_array_equal(other.image, one.image * np.float32(2.0**power))
    np.testing.assert_array_equal(other.scale, one.scale * np.float32(2.0**power))


@pytest.mark.parametrize("core", [(3, 17, 11), (100, 7, 40), (1, 40, 19)])
def test_awkward_tiles_give_the_whole(core: tuple[int, int, int]) -> None:
    stack = nuclei((7, 41, 37))
    whole = denoise_sparse(stack, FAST, core_px=(7, 41, 37))
    tiled = denoise_sparse(stack, FAST, core_px=core, workers=2)

    np.testing.assert_array_equal(tiled.scale, whole.scale)
    np.testing.assert_allclose(tiled.image, whole.image, atol=1e-6 * stack.max())


def test_a_tile_inside_needs_its_halo_and_no_more() -> None:
    stack = nuclei((5, 60, 60))
    scale = find_scale(stack)
    whole = denoise_block(stack, FAST, scale=scale)
    part = denoise_block(
        stack[:, 4:, :50], FAST, scale=scale, faces=((True, True), (False, True), (True, False))
    )
    good = (slice(None), slice(4 + HALO_PX, None), slice(0, 50 - HALO_PX))

    made = part[:, HALO_PX:, : 50 - HALO_PX]
    np.testing.assert_allclose(made, whole[good], atol=1e-6 * stack.max())


@pytest.mark.parametrize("shape", [(1, 1, 1), (9, 300, 700), (200, 200, 200), (3, 5000, 64)])
def test_cores_cover_the_stack_in_parts_of_like_size(shape: tuple[int, int, int]) -> None:
    core = choose_core(shape, voxels=2e6)
    parts = [math.ceil(n / c) for n, c in zip(shape, core, strict=True)]

    assert all(1 <= c <= n for n, c in zip(shape, core, strict=True))
    # The last part is not a sliver: the parts differ by less than their number.
    assert all(c * k - n < k for n, c, k in zip(shape, core, parts, strict=True))


def test_less_weight_of_the_data_makes_a_smoother_minimum() -> None:
    f = np.random.default_rng(1).random((4, 10, 11))
    rough = [
        np.abs(
            np.diff(
                minimize_sparse_hessian(
                    f, SparseHessian(fidelity=w, sparsity=0), most_iterations=200
                ).image,
                n=2,
            )
        ).sum()
        for w in (20, 80, 320)
    ]
    assert rough[0] < rough[1] < rough[2]


@pytest.mark.parametrize("n_moments", [1, 2, 4, 6])
def test_daubechies_filters_are_orthonormal_and_blind_to_polynomials(n_moments: int) -> None:
    taps = np.array(daubechies_filter(n_moments))
    shifted = np.correlate(taps, taps, "full")[len(taps) - 1 :: 2]

    np.testing.assert_allclose(shifted, np.eye(n_moments)[0], atol=1e-9)
    assert taps.sum() == pytest.approx(math.sqrt(2))
    wavelet = taps[::-1] * (-1) ** np.arange(2 * n_moments)
    for power in range(n_moments):
        # Roots of degree six are found to 1e-10; powers grow to 1e5.
        assert wavelet @ np.arange(2 * n_moments) ** power == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("n", [5, 16, 37])
@pytest.mark.parametrize("levels", [1, 3])
def test_lines_that_are_coarse_already_are_kept(n: int, levels: int) -> None:
    coarse = coarse_matrices(n, levels=levels)
    straight = np.full(n, 3.0)

    np.testing.assert_allclose(coarse.synthesis @ (coarse.analysis @ straight), straight, rtol=1e-8)


def test_stronger_backgrounds_take_off_more() -> None:
    y, x = np.ogrid[:60, :70]
    plane = 0.6 + 0.2 * np.cos(y / 40) * np.cos(x / 50)
    plane[::12, ::12] += 1
    high = [estimate_background(plane, b).mean() for b in ("strong-high", "weak-high")]
    low = [
        estimate_background(plane, b, clip=clip_level([plane], b)).mean()
        for b in ("strong-low", "medium-low", "weak-low")
    ]
    assert high[0] > high[1] > 0
    assert low[0] > low[1] > low[2] > 0
    assert clip_level([plane], "strong-high") is None


@pytest.mark.parametrize("shape", [(40, 25), (17, 90)])
def test_a_window_of_a_background_may_be_opened_anywhere(shape: tuple[int, int]) -> None:
    plane = np.random.default_rng(0).random(shape)
    held = background_coefficients(plane, "weak-high")
    window = (slice(5, 14), slice(10, None, 2))

    whole = expand_background(held, shape)
    np.testing.assert_allclose(expand_background(held, shape, window=window), whole[window])
    assert held.size < plane.size


def test_medians_of_four_forget_single_pixels_and_keep_steps() -> None:
    step = np.zeros((8, 8), np.float32)
    step[:, 4:] = 2
    hot = step.copy()
    hot[3, 1] = 900

    # The middle of two and two is their mean: the pixel before the step.
    np.testing.assert_array_equal(median_2x2(hot)[:-1, :-1], median_2x2(step)[:-1, :-1])
    np.testing.assert_array_equal(median_2x2(step)[0], [0, 0, 0, 1, 2, 2, 2, 1])


def test_a_gain_is_measured_by_brightness_and_ignores_an_offset() -> None:
    rng = np.random.default_rng(0)
    stack = np.full((20, 90, 90), 5.0, np.float32)
    for at in rng.integers([[4], [6], [6]], [[16], [84], [84]], (3, 60)).T:
        stack[tuple(at)] += rng.uniform(2000, 9000)
    stack = ndimage.gaussian_filter(stack, 1) + rng.normal(0, 0.1, stack.shape)
    found = measure_gain([(stack[:10], 0.7 * stack[:10] + 3), (stack[10:], 0.7 * stack[10:] + 3)])

    assert found.n_spots >= 20
    np.testing.assert_allclose([found.dim, found.bright], 0.7, rtol=1e-3)
