"""Quality numbers, on made and on real images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from clgkit.registration import (
    NOISE_LEVEL,
    correlation_to_template,
    crispness,
    neighbour_correlation,
)

DATA = Path(__file__).parents[2].parent / "shared" / "data"


def raw_volume(name: str) -> np.ndarray:
    h5py = pytest.importorskip("h5py")
    path = DATA / name
    if not path.exists():
        pytest.skip(f"the data set {name} is not here")
    with h5py.File(path) as file:
        return file["raw"][()]


def test_correlation_is_pearsons_over_common_pixels() -> None:
    rng = np.random.default_rng(0)
    template = rng.normal(50, 5, (20, 30))
    frames = (template + rng.normal(0, 5, (3, 20, 30))).astype(np.float32)
    frames[1, :4] = np.nan
    template[10, 10] = np.nan
    found = correlation_to_template(frames, template)

    for frame, r in zip(frames, found, strict=True):
        both = np.isfinite(frame) & np.isfinite(template)
        expected = np.corrcoef(frame[both], template[both])[0, 1]
        assert r == pytest.approx(expected, abs=1e-6)  # stored as float32


@pytest.mark.parametrize("value", [0, 1e6, np.nan])
def test_constant_frames_do_not_correlate(value: float) -> None:
    template = np.arange(64.0).reshape(8, 8)
    assert np.isnan(correlation_to_template(np.full((1, 8, 8), value), template)).all()


def test_frames_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit the template"):
        correlation_to_template(np.zeros((1, 8, 8)), np.zeros((8, 9)))


def test_blur_lowers_crispness() -> None:
    image = np.random.default_rng(0).normal(size=(40, 40))
    assert crispness(ndimage.gaussian_filter(image, 1)) < 0.5 * crispness(image)


def test_crispness_leaves_missing_pixels_out() -> None:
    ramp = np.tile(np.arange(10.0), (10, 1))
    assert crispness(ramp) == pytest.approx(10)
    ramp[0, 0] = np.inf
    assert 9 < crispness(ramp) < 10


def test_a_single_pixel_has_no_crispness() -> None:
    with pytest.raises(ValueError, match="at least 2 x 2"):
        crispness(np.ones((1, 1)))


def test_noise_has_no_neighbours() -> None:
    noise = np.random.default_rng(0).normal(size=(100, 100))

    assert abs(neighbour_correlation(noise)) < 0.03  # 4 / sqrt(pairs)
    assert neighbour_correlation(ndimage.gaussian_filter(noise, 2)) > 0.9
    assert neighbour_correlation(np.ones((5, 5))) == 0
    assert neighbour_correlation(np.full((5, 5), np.nan)) == 0
    with pytest.raises(ValueError, match="expected an image"):
        neighbour_correlation(np.ones(5))


def test_a_missing_border_does_not_matter() -> None:
    image = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(50, 50)), 1)
    framed = np.pad(image, 3, constant_values=np.nan)

    assert neighbour_correlation(framed) == pytest.approx(neighbour_correlation(image))


@pytest.mark.parametrize("number", [1137, 1139, 1170])
def test_wrapped_recordings_are_noise(number: int) -> None:
    raw = raw_volume(f"badinputs/gonuclear_{number}_uint8_wraparound.h5")
    assert neighbour_correlation(raw) < NOISE_LEVEL


def test_a_sound_recording_is_an_image() -> None:
    assert neighbour_correlation(raw_volume("volumes/gonuclear_1135_mini.h5")) > 0.5
