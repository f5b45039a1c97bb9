"""A movie that was resized after it was scanned there and back is told from native rows."""

import numpy as np
import pytest
from scipy import ndimage

from clgkit.registration.bidirectional import estimate_line_offset
from clgkit.registration.zigzag import find_zigzag


def scene(offset_px: float, *, side: int = 192, seed: int = 0) -> np.ndarray:
    """Blobs whose odd rows lie to the right, with noise of a hundredth."""
    rng = np.random.default_rng(seed)
    plain = ndimage.gaussian_filter(rng.normal(size=(side, side)), 2)
    image = plain / plain.std()
    image[1::2] = ndimage.shift(image[1::2], (0, offset_px), order=3, mode="nearest")
    return np.asarray(image + rng.normal(scale=0.01, size=image.shape))


@pytest.mark.parametrize("zoom", [1.25, 1.5, 2.0, 2.4])
@pytest.mark.parametrize("offset_px", [1.0, 2.0, -3.0])
def test_enlarged_rows_repeat_after_twice_the_factor(zoom: float, offset_px: float) -> None:
    period = find_zigzag(ndimage.zoom(scene(offset_px), zoom, order=3))

    assert period is not None
    assert period == pytest.approx(2 * zoom, rel=0.02)  # of a line among 200 rows


@pytest.mark.parametrize("offset_px", [0.0, 0.5, 2.0, 4.0])
def test_native_rows_are_left_alone(offset_px: float) -> None:
    for seed in range(3):
        assert find_zigzag(scene(offset_px, seed=seed)) is None


@pytest.mark.parametrize("zoom", [0.5, 0.75, 1.25, 1.5, 2.0])
def test_a_resized_movie_without_an_offset_is_left_alone(zoom: float) -> None:
    assert find_zigzag(ndimage.zoom(scene(0.0), zoom, order=3)) is None


def test_nothing_is_said_of_blank_noisy_and_small_images() -> None:
    rng = np.random.default_rng(1)

    assert find_zigzag(np.zeros((128, 128))) is None
    assert find_zigzag(np.full((128, 128), 7.0)) is None
    assert find_zigzag(rng.normal(size=(256, 256))) is None
    assert find_zigzag(ndimage.zoom(scene(2.0, side=24), 2)) is None
    assert find_zigzag(np.ones((128, 4))) is None


def test_the_measurement_of_the_offset_says_that_rows_are_not_native() -> None:
    frames = np.stack([scene(2.0)] * 4)
    enlarged = ndimage.zoom(frames, (1, 1.5, 1.5), order=3)

    native = estimate_line_offset(frames)
    assert native.offset_px == pytest.approx(2.0, abs=0.1)
    assert native.resized_rows is None
    resized = estimate_line_offset(enlarged)
    assert resized.offset_px == 0
    assert resized.resized_rows == pytest.approx(3.0, rel=0.02)
