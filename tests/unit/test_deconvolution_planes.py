"""Richardson-Lucy and Landweber against their formulas, written down in float64."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from clgkit.deconvolution import Blur, Deblur, gaussian_psf, landweber, richardson_lucy

Float64 = npt.NDArray[np.float64]
Rule = Callable[..., npt.NDArray[np.float32]]

PSF = gaussian_psf(3.0, pixel_um=1.0)
TOLERANCE = 2e-5  # float32 transforms; values up to 5


class Slow:
    """Circular convolution by whole complex transforms."""

    def __init__(self, psf: Float64, shape: tuple[int, int]) -> None:
        self.margin = min(shape) // 6
        padded = (shape[0] + 2 * self.margin, shape[1] + 2 * self.margin)
        canvas = np.zeros(padded)
        middle = np.array(psf.shape) // 2
        for (j, k), value in np.ndenumerate(psf / psf.sum()):
            canvas[(j - middle[0]) % padded[0], (k - middle[1]) % padded[1]] += value
        self.transfer = np.fft.fft2(canvas)

    def widen(self, plane: npt.NDArray[np.generic]) -> Float64:
        return np.pad(plane.astype(np.float64), self.margin, mode="edge")

    def crop(self, plane: Float64) -> Float64:
        ny, nx = plane.shape
        return plane[self.margin : ny - self.margin, self.margin : nx - self.margin]

    def blur(self, plane: Float64) -> Float64:
        return np.asarray(np.fft.ifft2(np.fft.fft2(plane) * self.transfer).real)

    def back(self, plane: Float64) -> Float64:
        return np.asarray(np.fft.ifft2(np.fft.fft2(plane) * np.conj(self.transfer)).real)


def richardson_lucy_slowly(plane: Float64, iterations: int) -> Float64:
    k = Slow(PSF, (plane.shape[0], plane.shape[1]))
    d = k.widen(plane)
    y, x, v = d, np.zeros_like(d), np.zeros_like(d)
    for i in range(iterations):
        x_new = y * k.back(d / np.maximum(k.blur(y), 1e-6))
        v_new = np.maximum(x_new - y, 1e-6)
        alpha = 0.0
        if i:
            alpha = float(np.clip((v * v_new).sum() / ((v**2).sum() + 2.2e-16), 1e-6, 1))
        y = np.maximum(x_new + alpha * (x_new - x), 1e-6)
        x, v = x_new, v_new
    return k.crop(y)


def landweber_slowly(plane: Float64, iterations: int) -> Float64:
    k = Slow(PSF, (plane.shape[0], plane.shape[1]))
    d = k.widen(plane)
    x_prev, x, y, gamma = d, d + k.back(d - k.blur(d)), d, 1.0
    for _ in range(iterations - 1):
        gamma_new = 0.5 * np.sqrt(4 * gamma**2 + gamma**4) - gamma**2
        beta = -gamma_new * (1 - 1 / gamma)
        z = x + beta * (x - x_prev)
        y = np.maximum(z + k.back(d - k.blur(z)), 1e-6)
        x_prev, x, gamma = x, y, gamma_new
    return k.crop(y)


def scene(shape: tuple[int, int] = (41, 50)) -> Float64:
    rng = np.random.default_rng(0)
    light = (rng.random(shape) < 0.02) * rng.uniform(3, 9, shape) + 0.05
    return np.asarray(rng.poisson(100 * ndimage.gaussian_filter(light, 1.27)) / 100)


@pytest.mark.parametrize("iterations", [1, 2, 8])
@pytest.mark.parametrize("shape", [(41, 50), (24, 15)])
def test_richardson_lucy_is_its_formula(iterations: int, shape: tuple[int, int]) -> None:
    plane = scene(shape)

    made = richardson_lucy(plane, PSF, iterations=iterations)

    expected = richardson_lucy_slowly(plane, iterations)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, expected, atol=TOLERANCE * expected.max())


@pytest.mark.parametrize("iterations", [2, 3, 40])
def test_landweber_is_its_formula(iterations: int) -> None:
    plane = scene()

    made = landweber(plane, PSF, iterations=iterations)

    expected = landweber_slowly(plane, iterations)
    np.testing.assert_allclose(made, expected, atol=TOLERANCE * expected.max())


def test_no_iteration_changes_nothing() -> None:
    plane = scene().astype(np.float32)

    np.testing.assert_array_equal(richardson_lucy(plane, PSF, iterations=0), plane)
    np.testing.assert_array_equal(landweber(plane, PSF, iterations=0), plane)
    np.testing.assert_array_equal(landweber(plane, PSF, iterations=1), plane)


@pytest.mark.parametrize("rule", [richardson_lucy, landweber])
def test_a_blurred_spot_becomes_narrower(rule: Rule) -> None:
    spot = np.zeros((41, 41))
    spot[20, 20] = 50
    seen = ndimage.gaussian_filter(spot, 3.0 / 2.3548)

    made = rule(seen, PSF, iterations=8)

    assert made.max() > 2 * seen.max()


def test_the_light_of_an_object_inside_is_kept() -> None:
    plane = np.zeros((60, 60))
    plane[25:35, 24:33] = 1
    plane = ndimage.gaussian_filter(plane, 1.27)

    assert richardson_lucy(plane, PSF).sum() == pytest.approx(plane.sum(), rel=0.01)


def test_the_result_is_nowhere_dark() -> None:
    plane = np.zeros((30, 30))
    plane[10, 10] = 1

    for made in (richardson_lucy(plane, PSF), landweber(plane, PSF)):
        assert made.min() >= np.float32(1e-6)


def test_an_off_centre_kernel_is_taken_from_its_peak() -> None:
    shifted = np.zeros((13, 13))
    shifted[2:, 2:] = PSF[:11, :11]
    plane = scene()

    np.testing.assert_allclose(
        richardson_lucy(plane, shifted), richardson_lucy(plane, PSF), atol=1e-4
    )


def test_a_stack_is_its_planes() -> None:
    planes = np.stack([scene(), scene()[::-1]])

    for rule, function in (("richardson_lucy", richardson_lucy), ("landweber", landweber)):
        made = Deblur(PSF, rule, 5)(planes)  # type: ignore[arg-type]
        for plane, one in zip(planes, made, strict=True):
            np.testing.assert_array_equal(one, function(plane, PSF, iterations=5))


def test_a_kernel_made_ready_can_be_used_again() -> None:
    plane = scene()

    blur = Blur(PSF, (41, 50))

    np.testing.assert_array_equal(richardson_lucy(plane, blur), richardson_lucy(plane, PSF))


@pytest.mark.parametrize("rule", [richardson_lucy, landweber])
def test_impossible_planes_are_refused(rule: Rule) -> None:
    with pytest.raises(ValueError, match="two axes"):
        rule(np.ones((3, 4, 5)), PSF)
    with pytest.raises(ValueError, match="NaN"):
        rule(np.full((20, 20), np.nan), PSF)
    with pytest.raises(ValueError, match="0 or more"):
        rule(np.ones((20, 20)), PSF, iterations=-1)
