from __future__ import annotations

import numpy as np
import pytest

from clgkit.simulate.noise import Sensor, expose, lattice_noise

N = 200_000


def _counts(
    mean: float, *, gain: float = 1.0, offset: float = 0.0, read: float = 0.0
) -> np.ndarray:
    out = np.empty(N, dtype=np.uint16)
    expected = np.full(N, mean, dtype=np.float32)
    expose(expected, np.uint64(12345), Sensor(gain, offset, read), out)
    return out.astype(float)


@pytest.mark.parametrize("mean", [0.05, 1.0, 6.0, 29.0, 31.0, 400.0])
def test_photons_are_poisson(mean: float) -> None:
    counts = _counts(mean)

    # Five standard errors of mean, variance and third moment of 200,000 Poisson numbers.
    error = 5 / np.sqrt(N)
    assert counts.mean() == pytest.approx(mean, abs=error * np.sqrt(mean))
    assert counts.var() == pytest.approx(mean, abs=error * np.sqrt(mean + 2 * mean**2))
    skew = np.mean((counts - counts.mean()) ** 3) / counts.std() ** 3
    assert skew == pytest.approx(1 / np.sqrt(mean), abs=error * 3 * (1 + 1 / mean))


def test_read_noise_is_normal() -> None:
    counts = _counts(0.0, offset=500.0, read=20.0)

    # Rounding adds 1/12 to the variance.
    assert counts.mean() == pytest.approx(500.0, abs=5 * 20 / np.sqrt(N))
    assert counts.std() == pytest.approx(20.0, rel=0.01)
    inside = np.abs(counts - 500) < 20
    assert inside.mean() == pytest.approx(0.683, abs=0.025)  # whole counts: 1/20 of a sd


def test_neighbouring_pixels_are_independent() -> None:
    counts = _counts(5.0, gain=20.0, offset=100.0, read=10.0)

    for lag in (1, 2, 3):
        # Five standard errors of a correlation of 200,000 pairs.
        assert abs(np.corrcoef(counts[lag:], counts[:-lag])[0, 1]) < 0.012


def test_another_key_gives_other_noise() -> None:
    expected = np.full(1000, 5.0, dtype=np.float32)
    a, b = np.empty((2, 1000), dtype=np.uint16)
    sensor = Sensor(20.0, 100.0, 10.0)
    expose(expected, np.uint64(1), sensor, a)
    expose(expected, np.uint64(2), sensor, b)

    assert abs(np.corrcoef(a, b)[0, 1]) < 0.16  # five standard errors


def test_negative_light_is_darkness_and_the_ends_hold() -> None:
    out = np.empty(3, dtype=np.uint16)
    expected = np.array([-5.0, 0.0, 1e7], dtype=np.float32)
    expose(expected, np.uint64(1), Sensor(1.0, 7.0, 0.0), out)

    np.testing.assert_array_equal(out, [7, 7, 65_535])


def test_texture_is_continuous_and_bounded() -> None:
    key = np.uint64(99)
    line = np.array([lattice_noise(0.3, -2.7, x, key) for x in np.arange(-20, 20, 0.01)])

    assert np.abs(line).max() <= 1.0
    assert np.abs(np.diff(line)).max() < 0.021  # slope at most 2 per knot distance
    assert line.std() > 0.2
