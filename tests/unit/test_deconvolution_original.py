"""The authors' procedure from end to end, written down again with slow parts."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from clgkit.deconvolution import (
    BACKGROUNDS,
    Background,
    Deblur,
    SparseHessian,
    clip_level,
    deconvolve_original,
    estimate_background,
    gaussian_psf,
    richardson_lucy,
)
from tests.unit.deconvolution_scene import Float64, dense, nuclei

METHOD = SparseHessian(iterations=12)
DEBLUR = Deblur(gaussian_psf(2.0, pixel_um=1.0), iterations=3)
UPPER_LEFT = {"size": (2, 2), "mode": "constant", "cval": 0.0, "origin": (-1, -1)}
TOLERANCE = 2e-4  # of the maximum: float32, and Richardson-Lucy magnifies it


def follow(stack: npt.NDArray[np.generic], background: Background) -> Float64:
    """Do the eight steps one after another."""
    planes = [plane.astype(np.float64) for plane in stack]
    constant = max(plane.max() for plane in planes)
    while len(planes) < 3:
        planes.append(planes[-1])
    block = np.stack(planes) / constant
    block /= block.max()
    if background != "none":
        clip = clip_level(block, background)
        rows, columns = block.shape[1:]
        for k, plane in enumerate(block):
            square = np.pad(plane, ((0, max(0, columns - rows)), (0, 0)), mode="symmetric")
            block[k] = plane - estimate_background(square, background, clip=clip)[:rows]
        block = np.maximum(block, 0)
        block /= block.max()
    n = len(block)
    if n > 3:
        block = np.stack([block[2], block[1], *block])
    block = dense(block, METHOD)
    if n > 3:
        block = block[2:]
    block = block[: len(stack)]
    block = block / block.max()
    block = np.stack([richardson_lucy(p, DEBLUR.psf, iterations=3).astype(float) for p in block])
    block /= block.max()
    block = np.stack([ndimage.generic_filter(plane, np.median, **UPPER_LEFT) for plane in block])
    return np.asarray(block / block.max() * constant)


@pytest.mark.parametrize("n_planes", [1, 2, 3, 4, 20])
def test_every_number_of_planes_goes_the_whole_way(n_planes: int) -> None:
    stack = nuclei((n_planes, 30, 26))

    made = deconvolve_original(stack, METHOD, DEBLUR)

    expected = follow(stack, "none")
    assert made.shape == stack.shape
    assert made.max() == pytest.approx(stack.max())
    np.testing.assert_allclose(made, expected, atol=TOLERANCE * expected.max())


@pytest.mark.parametrize("background", BACKGROUNDS)
@pytest.mark.parametrize("shape", [(4, 30, 18), (4, 18, 30)])
def test_every_background_goes_the_whole_way(
    background: Background, shape: tuple[int, int, int]
) -> None:
    stack = nuclei(shape)
    before = stack.copy()

    made = deconvolve_original(stack, METHOD, DEBLUR, background=background)

    expected = follow(stack, background)
    np.testing.assert_allclose(made, expected, atol=TOLERANCE * expected.max())
    np.testing.assert_array_equal(stack, before)


def test_one_plane_is_the_same_as_three_equal_ones() -> None:
    stack = nuclei((1, 24, 24))

    one, three = (deconvolve_original(s, METHOD) for s in (stack, np.repeat(stack, 3, axis=0)))

    np.testing.assert_allclose(three[1], one[0], atol=1e-5 * stack.max())


def test_darkness_stays_dark() -> None:
    for kind in ("none", "zeros"):
        made = deconvolve_original(np.zeros((2, 6, 8)), METHOD, oversampling=kind)
        assert not made.any()


def test_parts_can_be_left_out() -> None:
    stack = nuclei((3, 20, 20))

    made = deconvolve_original(stack, METHOD, filtered=False)

    expected = dense(stack / stack.max(), METHOD)
    expected *= stack.max() / expected.max()
    np.testing.assert_allclose(made, expected, atol=1e-5 * stack.max())


@pytest.mark.parametrize("kind", ["zeros", "fourier"])
def test_oversampling_doubles_the_planes(kind: str) -> None:
    stack = nuclei((4, 15, 18))

    made = deconvolve_original(stack, METHOD, oversampling=kind)  # type: ignore[arg-type]

    assert made.shape == (4, 30, 36)
    assert made.max() == pytest.approx(stack.max())


def test_other_things_are_refused() -> None:
    with pytest.raises(ValueError, match="three axes"):
        deconvolve_original(np.ones((4, 5)))
    with pytest.raises(ValueError, match="subtract the"):
        deconvolve_original(-np.ones((3, 4, 5)))
