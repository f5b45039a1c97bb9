"""Deconvolution on a device of torch: here the processor, which has the same operations."""

import sys
from functools import partial

import numpy as np
import pytest

from clgkit.deconvolution import Deblur, SparseHessian, denoise_block, denoise_sparse, gaussian_psf
from clgkit.deconvolution.devices import deblur_planes, denoise_scaled
from tests.unit.deconvolution_scene import dense, nuclei

TORCH_ON_CPU = "cpu:0"
# Of the data's maximum: another way to divide by the denominator and another order of float32 sums.
# 3e-7 measured for the sparse step, 3e-6 for the sharpening, which amplifies.
SPARSE, SHARP = 2e-6, 1e-5
PSF = gaussian_psf(3.0, pixel_um=1.0)


@pytest.fixture(autouse=True)
def _torch() -> None:
    pytest.importorskip("torch", reason="the extra `deep` is not installed")


@pytest.mark.parametrize(
    "method",
    [
        SparseHessian(),
        SparseHessian(sparsity=0, z_continuity=0.3),
        SparseHessian(z_continuity=0, iterations=40),
        SparseHessian(fidelity=30, sparsity=15, iterations=40),
        SparseHessian(iterations=2),
        SparseHessian(iterations=1),
    ],
)
@pytest.mark.parametrize("shape", [(9, 24, 21), (1, 30, 33), (2, 17, 20)])
def test_the_sparse_step_is_that_of_the_processor(
    method: SparseHessian, shape: tuple[int, int, int]
) -> None:
    f = nuclei(shape, seed=3) / np.float32(20)

    ours = denoise_scaled(f, method, device=TORCH_ON_CPU)

    wanted = denoise_scaled(f, method)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, wanted, atol=SPARSE * f.max(), rtol=0)


def test_the_sparse_step_is_the_dense_scheme() -> None:
    f = nuclei((12, 20, 22), seed=4) / np.float32(20)
    method = SparseHessian(iterations=60)

    ours = denoise_scaled(f, method, device=TORCH_ON_CPU)

    wanted = dense(f, method)
    np.testing.assert_allclose(ours, wanted, atol=SPARSE * f.max(), rtol=0)


def test_tiles_on_a_device_give_the_whole() -> None:
    stack = nuclei((12, 40, 40), seed=5)
    run = partial(denoise_sparse, stack, SparseHessian(iterations=30))

    whole = run().image
    tiled = run(core_px=(12, 20, 20), workers=2, device=TORCH_ON_CPU).image

    np.testing.assert_allclose(tiled, whole, atol=SPARSE * whole.max(), rtol=0)


def test_a_method_of_ones_own_stays_on_the_processor() -> None:
    stack = nuclei((3, 8, 8))
    scale = np.full(3, 2, np.float32)

    made = denoise_block(stack, lambda scaled: scaled + 1, scale=scale, device=TORCH_ON_CPU)

    np.testing.assert_allclose(made, stack + 2, rtol=1e-6)  # a division and a product


@pytest.mark.parametrize("shape", [(5, 33, 48), (1, 12, 15)])
@pytest.mark.parametrize(
    ("rule", "iterations"),
    [
        ("richardson_lucy", 0),
        ("richardson_lucy", 1),
        ("richardson_lucy", 8),
        ("landweber", 0),
        ("landweber", 1),
        ("landweber", 2),
        ("landweber", 40),
    ],
)
def test_sharp_planes_are_those_of_the_processor(
    rule: str, iterations: int, shape: tuple[int, int, int]
) -> None:
    planes = nuclei(shape, seed=6) / np.float32(20)
    deblur = Deblur(PSF, rule, iterations)  # type: ignore[arg-type]

    ours = deblur_planes(planes, deblur, device=TORCH_ON_CPU)

    wanted = deblur_planes(planes, deblur)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, wanted, atol=SHARP * wanted.max(), rtol=0)


def test_batches_of_planes_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from clgkit.deconvolution import accelerated

    planes = nuclei((5, 24, 30), seed=7) / np.float32(20)
    deblur = Deblur(PSF)
    whole = deblur_planes(planes, deblur, device=TORCH_ON_CPU)
    monkeypatch.setattr(accelerated, "BATCH_PIXELS", 2 * 32 * 38)

    batched = deblur_planes(planes, deblur, device=TORCH_ON_CPU)

    # A transform may take another path for another number of planes.
    np.testing.assert_allclose(batched, whole, atol=SHARP * whole.max(), rtol=0)


def test_dark_and_lopsided_things_are_legal() -> None:
    kernel = np.zeros((5, 5))
    kernel[1, 3], kernel[2, 2] = 2.0, 1.0
    planes = np.zeros((2, 30, 40), np.float32)
    planes[1, 10:20, 10:25] = 3
    deblur = Deblur(kernel, iterations=5)

    ours, wanted = (deblur_planes(planes, deblur, device=d) for d in (TORCH_ON_CPU, "cpu"))

    np.testing.assert_allclose(ours, wanted, atol=SHARP * 3, rtol=0)
    assert ours.min() >= np.float32(1e-6)


def test_what_is_wrong_is_told_as_on_the_processor() -> None:
    spoiled = np.full((1, 9, 9), np.nan, np.float32)
    for device in ("cpu", TORCH_ON_CPU):
        with pytest.raises(ValueError, match="NaN or infinity"):
            deblur_planes(spoiled, Deblur(PSF), device=device)
        with pytest.raises(ValueError, match="iterations is -1"):
            deblur_planes(np.ones((1, 9, 9)), Deblur(np.ones((1, 1)), iterations=-1), device=device)
        with pytest.raises(ValueError, match="cut it"):
            deblur_planes(np.ones((1, 3, 3)), Deblur(PSF), device=device)
        with pytest.raises(ValueError, match="three axes"):
            denoise_scaled(np.ones((3, 3), np.float32), SparseHessian(), device=device)


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "clgkit.deconvolution.accelerated", raising=False)
    monkeypatch.delattr("clgkit.deconvolution.accelerated", raising=False)

    with pytest.raises(ImportError, match=r"pip install clgkit\[deep\]"):
        denoise_sparse(nuclei((1, 8, 8)), device="cuda")
    with pytest.raises(ImportError, match=r"pip install clgkit\[deep\]"):
        deblur_planes(nuclei((1, 30, 30)), Deblur(PSF), device="cuda")
