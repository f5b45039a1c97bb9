"""The windowed matrix DFT against a padded transform, and its edge cases."""

from __future__ import annotations

import math

import numpy as np
import pytest

from clgkit.registration import estimate_shifts
from clgkit.registration.filters import difference_of_gaussians
from clgkit.registration.spectrum import (
    correlate,
    find_peaks,
    plan_search,
    prepare_correlator,
)
from tests.unit.registration_scene import make_scene

UPSAMPLING = 20


def padded_argmax(cross: np.ndarray, shape: tuple[int, int], limit_px: float) -> np.ndarray:
    """Zero-pad the whole spectrum to a grid of 1/20 px; argmax inside the window."""
    ny, nx = shape
    full = np.fft.fft2(np.fft.irfft2(cross.astype(complex), s=shape))
    padded = np.zeros((ny * UPSAMPLING, nx * UPSAMPLING), dtype=complex)
    rows = np.rint(np.fft.fftfreq(ny) * ny).astype(int)
    columns = np.rint(np.fft.fftfreq(nx) * nx).astype(int)
    padded[np.ix_(rows, columns)] = full
    value = np.fft.ifft2(padded).real
    reach = int(limit_px * UPSAMPLING)
    around = np.arange(-reach, reach + 1)
    window = value[np.ix_(around, around)]
    return around[np.array(np.unravel_index(window.argmax(), window.shape))] / UPSAMPLING


@pytest.mark.parametrize("shape", [(32, 40), (33, 41), (30, 37)])
def test_window_search_finds_the_argmax_of_the_padded_transform(shape: tuple[int, int]) -> None:
    scene = make_scene(shape=shape, n_frames=6, seed=shape[0])
    images = [difference_of_gaussians(frame) for frame in scene.movie]
    cross = np.array(
        [np.fft.rfft2(images[0]) * np.fft.rfft2(image).conj() for image in images],
        dtype=np.complex64,
    )
    search = plan_search(shape, max_shift_px=6, upsampling=UPSAMPLING)
    found, _ = find_peaks(cross, search)

    expected = [padded_argmax(item, shape, 6) for item in cross]
    # One step: values of neighbouring steps differ by less than complex64 resolves.
    np.testing.assert_allclose(found, expected, atol=1.01 / UPSAMPLING)


def test_two_step_refinement_finds_the_argmax_of_the_full_fine_grid() -> None:
    scene = make_scene(shape=(64, 64), n_frames=12, photons=2)
    template = difference_of_gaussians(scene.clean)
    frames = [difference_of_gaussians(frame) for frame in scene.movie]
    spectra = np.array(
        [np.fft.rfft2(template) * np.fft.rfft2(frame).conj() for frame in frames],
        dtype=np.complex64,
    )
    search = plan_search((64, 64), max_shift_px=8, upsampling=50)
    found, value = find_peaks(spectra, search)
    half_pixel = np.rint(2 * found) / 2
    fine = np.arange(-37, 38) / 50
    for item, center, best in zip(spectra, half_pixel, value, strict=True):
        rows = np.exp(2j * np.pi * np.outer(center[0] + fine, np.fft.fftfreq(64)))
        columns = np.exp(2j * np.pi * np.outer(center[1] + fine, np.fft.rfftfreq(64)))
        weight = np.r_[1, np.full(31, 2), 1]
        full = (rows @ item @ (columns * weight).T).real / 64**2

        assert full.max() == pytest.approx(best, rel=1e-5)  # complex64 sums of 64 x 33 terms


def test_a_result_does_not_depend_on_its_batch() -> None:
    scene = make_scene(shape=(48, 50), n_frames=9)
    frames = np.array([difference_of_gaussians(frame) for frame in scene.movie])
    together = estimate_shifts(frames, frames[0])
    apart = [estimate_shifts(frames[t : t + 1], frames[0]) for t in range(9)]

    np.testing.assert_array_equal(together.shift_px, np.concatenate([s.shift_px for s in apart]))
    np.testing.assert_array_equal(together.peak, np.concatenate([s.peak for s in apart]))


def test_an_image_fits_itself_without_a_shift() -> None:
    image = difference_of_gaussians(make_scene(shape=(40, 40), n_frames=1).movie[0])
    shifts = estimate_shifts(image[np.newaxis], image)

    np.testing.assert_array_equal(shifts.shift_px, [[0, 0]])
    assert shifts.peak[0] == pytest.approx(1, abs=1e-5)  # float32 sums


def test_a_negative_peak_does_not_win() -> None:
    image = difference_of_gaussians(make_scene(shape=(64, 64), n_frames=1).movie[0])
    shifts = estimate_shifts(-image[np.newaxis], image)

    assert np.abs(shifts.shift_px).max() > 1  # the modulus would choose 0


def test_the_window_is_a_bound() -> None:
    image = difference_of_gaussians(make_scene(shape=(64, 64), n_frames=1).movie[0])
    moved = np.roll(image, (9, -9), axis=(0, 1))
    shifts = estimate_shifts(moved[np.newaxis], image, max_shift_px=4.3)

    assert np.abs(shifts.shift_px).max() <= np.float32(4.3)


@pytest.mark.parametrize("upsampling", [1, 2, 7, 10, 50])
def test_shifts_are_multiples_of_the_step(upsampling: int) -> None:
    scene = make_scene(shape=(48, 48), n_frames=3, seed=3)
    frames = np.array([difference_of_gaussians(frame) for frame in scene.movie])
    shifts = estimate_shifts(frames, difference_of_gaussians(scene.clean), upsampling=upsampling)
    steps = shifts.shift_px * upsampling

    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-4)  # float32 of shifts up to 15
    assert np.abs(shifts.shift_px + scene.displacement_px).max() < 0.6 + 0.5 / upsampling


def test_an_axis_of_one_pixel_does_not_shift() -> None:
    line = np.sin(np.arange(40) / 3, dtype=np.float32)[np.newaxis]
    found = correlate(np.roll(line, 2, axis=1), prepare_correlator(line, max_shift_px=5))

    np.testing.assert_allclose(found.shift_px, [0, -2])


def test_an_image_of_zeros_has_no_peak() -> None:
    shifts = estimate_shifts(np.zeros((1, 8, 8), np.float32), np.ones((8, 8), np.float32))

    assert math.isnan(shifts.peak[0])
    np.testing.assert_array_equal(shifts.shift_px, [[0, 0]])


@pytest.mark.parametrize(
    ("shape", "options", "match"),
    [
        ((0, 4), {"max_shift_px": 3, "upsampling": 5}, "at least one pixel"),
        ((4, 4), {"max_shift_px": -1, "upsampling": 5}, "max_shift_px"),
        ((4, 4), {"max_shift_px": math.nan, "upsampling": 5}, "max_shift_px"),
        ((4, 4), {"max_shift_px": 3, "upsampling": 0}, "upsampling"),
    ],
)
def test_nonsense_is_refused(shape: tuple[int, int], options: dict, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        plan_search(shape, **options)


def test_frames_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit the template"):
        estimate_shifts(np.zeros((1, 8, 8), np.float32), np.zeros((8, 9), np.float32))
