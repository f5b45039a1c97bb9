"""The sparse step against a dense reference in float64, and its laws on one block."""

import numpy as np
import numpy.typing as npt
import pytest

from clgkit.deconvolution import SparseHessian, minimize_sparse_hessian
from clgkit.deconvolution.kernels import inverse_polynomial
from tests.unit.deconvolution_scene import dense, soft

Float64 = npt.NDArray[np.float64]

# float32 sums, 120 rounds; 3e-7 was measured
TOLERANCE = 1e-5


def scene(shape: tuple[int, int, int], seed: int = 0) -> npt.NDArray[np.float32]:
    return (np.random.default_rng(seed).random(shape) ** 4).astype(np.float32)


@pytest.mark.parametrize("iterations", [1, 2, 3, 60, 120])
def test_every_iteration_is_that_of_the_dense_scheme(iterations: int) -> None:
    f, method = scene((24, 24, 24)), SparseHessian(iterations=iterations)

    difference = np.abs(method(f) - dense(f, method)).max()

    assert difference < TOLERANCE * f.max()


@pytest.mark.parametrize(
    "shape", [(7, 13, 11), (1, 9, 10), (2, 3, 5), (3, 1, 4), (5, 6, 1), (1, 1, 1), (4, 33, 3)]
)
@pytest.mark.parametrize(
    "settings", [{}, {"sparsity": 0}, {"z_continuity": 0.5}, {"z_continuity": 0, "fidelity": 40}]
)
def test_odd_sizes_and_other_weights_too(
    shape: tuple[int, int, int], settings: dict[str, float]
) -> None:
    f, method = scene(shape, 1), SparseHessian(iterations=25, **settings)

    assert np.abs(method(f) - dense(f, method)).max() < TOLERANCE * f.max()


def test_values_above_the_scale_are_treated_alike() -> None:
    f, method = 10 * scene((9, 10, 11)), SparseHessian(iterations=40)

    assert np.abs(method(f) - dense(f, method)).max() < TOLERANCE * f.max()


def test_one_iteration_returns_the_data() -> None:
    f = scene((3, 4, 5))

    np.testing.assert_array_equal(SparseHessian(iterations=1)(f), f)


def test_clipping_is_soft_thresholding() -> None:
    t = np.linspace(-4, 4, 1001)

    clipped = np.clip(t, -1, 1)

    np.testing.assert_allclose(t - soft(t), clipped, atol=1e-15)
    np.testing.assert_allclose(soft(t) - clipped, t - 2 * clipped, atol=1e-15)


def test_darkness_stays_dark() -> None:
    assert not SparseHessian()(np.zeros((4, 5, 6))).any()


def test_the_axes_are_alike_at_continuity_one() -> None:
    f = scene((12, 14, 16))

    turned = SparseHessian()(f.transpose(2, 0, 1)).transpose(1, 2, 0)

    assert np.abs(turned - SparseHessian()(f)).max() < 1e-6  # sums in another order


def test_without_continuity_planes_are_independent() -> None:
    f, method = scene((4, 20, 21)), SparseHessian(z_continuity=0)

    alone = np.concatenate([method(plane[None]) for plane in f])

    assert np.abs(alone - method(f)).max() < 1e-6  # another polynomial


@pytest.mark.parametrize("kappa", [10.0, 46.0, 150.0, 186.0, 375.0])
@pytest.mark.parametrize("c", [0.0, 0.5, 1.0])
def test_the_polynomial_is_the_inverse(kappa: float, c: float) -> None:
    made = inverse_polynomial(kappa, c)
    laplacian = np.linspace(0, 8 + 4 * c, 500)
    neighbours = 1 - laplacian / (4 + 2 * c)

    found = np.polyval(made.coefficients.astype(np.float64), neighbours)

    np.testing.assert_allclose(found * (kappa + laplacian**2), 1, atol=2e-6)  # float32 numbers


def test_hopeless_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="raise the fidelity"):
        SparseHessian(fidelity=1e-4, sparsity=0)(scene((4, 4, 4)))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"iterations": 0}, "iterations >= 1"),
        ({"fidelity": 0}, "fidelity > 0"),
        ({"sparsity": -1}, "below 0"),
        ({"z_continuity": -0.5}, "below 0"),
        ({"fidelity": float("nan")}, "finite"),
    ],
)
def test_meaningless_settings_are_refused(settings: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        SparseHessian(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(4, 5), (0, 4, 5), (2, 2, 2, 2)])
def test_something_else_than_a_stack_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="three axes"):
        SparseHessian()(np.zeros(shape))
    with pytest.raises(ValueError, match="three axes"):
        minimize_sparse_hessian(np.zeros(shape))


def energy(g: Float64, f: Float64, method: SparseHessian) -> float:
    c = np.sqrt(method.z_continuity)
    pairs = [(1, 1, 1.0), (2, 2, 1.0), (0, 0, c**2), (1, 2, 2.0), (0, 2, 2 * c), (0, 1, 2 * c)]
    total = method.fidelity / 2 * np.sum((f - g) ** 2) + method.sparsity * np.abs(g).sum()
    for first, second, weight in pairs:
        one = np.roll(g, -1, first) - g
        total += weight * np.abs(np.roll(one, -1, second) - one).sum()
    return float(total)


def test_the_minimum_is_a_minimum() -> None:
    f = scene((6, 10, 12)).astype(np.float64)
    method = SparseHessian(fidelity=20, sparsity=1)

    made = minimize_sparse_hessian(f, method, tolerance=1e-6)

    assert made.change <= 1e-6
    lowest = energy(made.image, f, method)
    assert lowest < energy(f, f, method)
    rng = np.random.default_rng(0)
    for size in (1e-4, 1e-3, 1e-2):
        moved = np.maximum(made.image + size * rng.standard_normal(f.shape), 0)
        assert energy(moved, f, method) > lowest
        assert energy(made.image * (1 + size), f, method) > lowest
        assert energy(made.image * (1 - size), f, method) > lowest


def test_more_rounds_come_closer() -> None:
    f, method = scene((3, 9, 9)).astype(np.float64), SparseHessian(fidelity=20, sparsity=1)

    def after(rounds: int) -> Float64:
        return minimize_sparse_hessian(f, method, tolerance=0, most_iterations=rounds).image

    best = after(800)
    distances = [np.abs(after(rounds) - best).max() for rounds in (20, 80, 320)]

    assert distances[0] > distances[1] > distances[2]
    assert distances[2] < 1e-2  # of data up to 1; the scheme creeps at last


def test_a_minimum_that_is_not_reached_says_so() -> None:
    made = minimize_sparse_hessian(scene((4, 5, 6)), tolerance=1e-9, most_iterations=3)

    assert made.iterations == 3
    assert made.change > 1e-9
