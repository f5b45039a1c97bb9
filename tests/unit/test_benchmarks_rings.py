"""Fourier rings of the benchmarks: on stacks whose correlation is known; clocks and fifths."""

import math

import numpy as np
import pytest

from benchmarks import deconvolution, deconvolution_nuclei
from benchmarks._fourier_rings import (
    mean_to_half_nyquist,
    of_truth,
    resolution_px,
    ring_correlation,
)

NOISE = np.random.default_rng(0).normal(size=(3, 40, 64, 64))


def test_a_stack_is_wholly_like_itself_in_other_units() -> None:
    rings = ring_correlation(NOISE[0], 7 - 3 * NOISE[0])

    assert rings.shape == (33,)
    np.testing.assert_allclose(rings, -1, atol=1e-12)


def test_stacks_that_share_nothing_do_not_correlate() -> None:
    rings = ring_correlation(NOISE[0], NOISE[1])

    # Forty planes of six or more frequencies: a spread of less than 1 / sqrt(240 / 2).
    assert np.abs(rings[1:]).max() < 0.3
    assert abs(mean_to_half_nyquist(rings)) < 0.05


def test_half_noise_is_half_a_correlation_and_halves_speak_for_the_truth() -> None:
    one, other = NOISE[0] + NOISE[1], NOISE[0] + NOISE[2]

    halves = ring_correlation(one, other)
    truth = ring_correlation(one, NOISE[0])

    assert mean_to_half_nyquist(halves) == pytest.approx(0.5, abs=0.03)
    assert mean_to_half_nyquist(truth) == pytest.approx(math.sqrt(0.5), abs=0.03)
    np.testing.assert_allclose(of_truth(halves)[2:], truth[2:], atol=0.1)


def test_resolution_is_where_what_is_common_ends() -> None:
    cut = np.fft.fft2(NOISE[0])
    cycles = 64 * np.hypot(np.fft.fftfreq(64)[:, None], np.fft.fftfreq(64))
    common = np.fft.ifft2(np.where(cycles < 16, cut, 0)).real

    rings = ring_correlation(common + 0.05 * NOISE[1], common + 0.05 * NOISE[2])

    assert resolution_px(rings) == pytest.approx(64 / 17, abs=0.3)  # the window is a ring wide
    assert resolution_px(np.ones(33)) == 2.0


def test_what_both_halves_invent_makes_them_promise_too_much() -> None:
    truth, invented = NOISE[0], np.random.default_rng(1).normal(size=NOISE[0].shape)
    one, other = (truth + invented + own for own in NOISE[1:])

    promised = mean_to_half_nyquist(of_truth(ring_correlation(one, other)))
    kept = mean_to_half_nyquist(ring_correlation(one, truth))

    assert promised == pytest.approx(math.sqrt(2 / 3), abs=0.03)
    assert kept == pytest.approx(math.sqrt(1 / 3), abs=0.03)


def test_photons_of_a_raw_stack_are_dealt_out_to_independent_halves() -> None:
    halves, truth = deconvolution.ring_correlations("toy", "raw")

    gap = mean_to_half_nyquist(of_truth(halves)) - mean_to_half_nyquist(truth)
    assert abs(gap) < 0.1  # a small scene
    row = deconvolution.rings_beside_raw("toy", "raw")
    assert row.ours == row.peer_value == mean_to_half_nyquist(truth)
    assert "by two halves" in row.name


def test_a_clock_row_says_that_it_is_one() -> None:
    row = deconvolution.figure_speed_wall("toy")

    assert "wall" in row.name
    assert row.unit == "µs/voxel"
    assert 0 < row.ours < math.inf


def test_seconds_of_the_parts_become_microseconds_of_the_whole() -> None:
    work = deconvolution.Work((2, 500, 1000), 4, lambda: None, lambda: None)

    rounds = (deconvolution.PUBLISHED.iterations - 1) / deconvolution.ROUNDS
    assert work.us_per_voxel(1.0, 0.0) == pytest.approx(4 * rounds)
    assert work.us_per_voxel(0.0, 1.0) == pytest.approx(2.0)


def test_fifths_hold_every_nucleus_once_the_dimmest_first() -> None:
    bright, dim = (deconvolution_nuclei.scene("toy", 3, photons) for photons in (60.0, 5.0))

    ids = np.concatenate(bright.fifths)
    light = [bright.raw.values[bright.truth == nucleus].mean() for nucleus in ids]
    assert len(bright.fifths) == 5
    assert set(ids) == set(np.unique(bright.truth)) - {0}
    assert light == sorted(light)
    for one, other in zip(bright.fifths, dim.fifths, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_row_of_fifths_tells_all_five() -> None:
    row = deconvolution_nuclei.fifths_beside_raw("toy", 60.0, "default")

    told = row.name.partition("all fifths ")[2].rstrip(")").split("; raw ")
    shares = [[float(share) for share in part.split(", ")] for part in told]
    assert [len(part) for part in shares] == [5, 5]
    assert row.ours == pytest.approx(shares[0][0], abs=5e-4)
    assert row.peer_value == pytest.approx(shares[1][0], abs=5e-4)
