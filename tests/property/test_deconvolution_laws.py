"""Laws of the deconvolution on arbitrary small stacks."""

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from clgkit.deconvolution import (
    SparseHessian,
    denoise_sparse,
    estimate_background,
    find_scale,
    gaussian_psf,
    richardson_lucy,
)

LAWS = settings(max_examples=25, deadline=None, derandomize=True)
SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(1, 9))
METHODS = st.builds(
    SparseHessian,
    iterations=st.integers(1, 12),
    fidelity=st.floats(20, 300),
    z_continuity=st.floats(0, 2),
    sparsity=st.floats(0, 10),
)


def stack(shape: tuple[int, ...], seed: int) -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return (rng.random(shape) * (rng.random(shape) < 0.7)).astype(np.float32)


@LAWS
@given(shape=SHAPES, method=METHODS, seed=st.integers(0, 99), power=st.integers(-8, 8))
def test_brightness_scales_without_rounding(
    shape: tuple[int, int, int], method: SparseHessian, seed: int, power: int
) -> None:
    f, factor = stack(shape, seed), np.float32(2.0**power)

    one, other = (denoise_sparse(image, method).image for image in (f, f * factor))

    np.testing.assert_array_equal(one * factor, other)


@LAWS
@given(shape=SHAPES, method=METHODS, seed=st.integers(0, 99))
def test_nothing_becomes_negative_or_endless(
    shape: tuple[int, int, int], method: SparseHessian, seed: int
) -> None:
    f = stack(shape, seed)

    made = denoise_sparse(f, method).image

    assert made.min() >= 0
    assert made.max() <= 1.5 * f.max() + 1e-6


@LAWS
@given(shape=SHAPES, method=METHODS, seed=st.integers(0, 99))
def test_turning_a_plane_turns_the_result(
    shape: tuple[int, int, int], method: SparseHessian, seed: int
) -> None:
    f = stack(shape, seed)

    turned = denoise_sparse(f.transpose(0, 2, 1), method).image.transpose(0, 2, 1)

    np.testing.assert_allclose(turned, denoise_sparse(f, method).image, atol=2e-6)


@LAWS
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 20), st.integers(1, 20)),
    core=st.tuples(st.integers(1, 4), st.integers(5, 20), st.integers(5, 20)),
    seed=st.integers(0, 99),
)
def test_tiles_do_not_matter(
    shape: tuple[int, int, int], core: tuple[int, int, int], seed: int
) -> None:
    f, method = stack(shape, seed), SparseHessian(iterations=8)

    tiled = denoise_sparse(f, method, core_px=core, workers=2).image

    np.testing.assert_allclose(tiled, denoise_sparse(f, method).image, atol=1e-6)


@LAWS
@given(shape=SHAPES, seed=st.integers(0, 99), percentile=st.floats(1, 100))
def test_scales_are_positive_and_within_the_stack(
    shape: tuple[int, int, int], seed: int, percentile: float
) -> None:
    f = stack(shape, seed)

    for scale in ("percentile", "per-plane", "max"):
        found = find_scale(f, scale, percentile=percentile)
        assert (found > 0).all()
        assert (found <= max(1, f.max())).all()


@LAWS
@given(n=st.integers(1, 40), m=st.integers(1, 40), level=st.floats(0.01, 1))
def test_an_even_plane_is_its_own_background_up_to_its_share(n: int, m: int, level: float) -> None:
    plane = np.full((n, m), level)

    np.testing.assert_allclose(estimate_background(plane, "strong-high"), level / 2, atol=1e-9)
    np.testing.assert_allclose(estimate_background(plane, "weak-high"), level / 2.5, atol=1e-9)


@LAWS
@given(seed=st.integers(0, 99), power=st.integers(0, 6), iterations=st.integers(1, 8))
def test_sharpening_scales_with_the_brightness(seed: int, power: int, iterations: int) -> None:
    plane = stack((12, 15), seed) + np.float32(0.01)
    psf = gaussian_psf(2.0, pixel_um=1.0)

    one, other = (
        richardson_lucy(plane * np.float32(factor), psf, iterations=iterations) / factor
        for factor in (1.0, 2.0**power)
    )

    # The floor of 1e-6 does not scale.
    np.testing.assert_allclose(one, other, atol=1e-3 * float(one.max()))
