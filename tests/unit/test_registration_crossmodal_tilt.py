"""Depth as a plane through the stack, and depth in the course of time."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from clgkit.registration import cut_labels, match_tilt, sample_oblique, z_drift

N_SLICES, SIDE = 15, 128


@pytest.fixture(scope="module")
def stack() -> np.ndarray:
    """Nuclei that reach over about five slices, with noise of its own in every slice."""
    rng = np.random.default_rng(0)
    points = np.zeros((N_SLICES + 8, SIDE, SIDE))
    at = rng.integers(0, [[N_SLICES + 8], [SIDE], [SIDE]], (3, 2600))
    points[tuple(at)] = 1
    clean = ndimage.gaussian_filter(points, (1.8, 1.6, 1.6))[4:-4] * 800
    return clean + 0.05 * rng.normal(size=clean.shape)


@pytest.mark.parametrize("spans", [(0.0, 0.0), (2.0, 0.0), (0.0, -2.0), (3.0, 1.5)])
def test_a_tilt_of_slices_across_the_field_is_recovered(
    stack: np.ndarray, spans: tuple[float, float]
) -> None:
    plane = -sample_oblique(stack, position=7.3, span_y=spans[0], span_x=spans[1])
    found = match_tilt(plane, stack, max_shift_px=4)

    np.testing.assert_allclose([found.span_y, found.span_x], spans, atol=0.6)
    assert abs(found.position - 7.3) < 0.5
    assert np.abs(found.shift_px).max() < 0.2
    assert found.score >= found.flat_score - 1e-3


def test_a_tilted_plane_fits_better_tilted(stack: np.ndarray) -> None:
    plane = sample_oblique(stack, position=7, span_y=4, span_x=0)
    found = match_tilt(plane, stack, max_shift_px=4)

    assert found.score > found.flat_score + 0.02


def test_one_block_shows_no_tilt(stack: np.ndarray) -> None:
    small = stack[:, :60, :60]
    found = match_tilt(small[6], small, max_shift_px=2)

    assert (found.span_y, found.span_x) == (0, 0)
    assert abs(found.position - 6) < 0.5


def test_one_slice_has_one_depth(stack: np.ndarray) -> None:
    found = match_tilt(stack[3], stack[3:4], max_shift_px=2)

    assert found.position == 0
    assert found.score > 0.95


def test_an_oblique_cut_reads_between_slices() -> None:
    stack = np.arange(5.0)[:, np.newaxis, np.newaxis] * np.ones((5, 3, 5))
    cut = sample_oblique(stack, position=2, span_y=1, span_x=2)

    expected = 2 + np.array([[-0.5], [0], [0.5]]) + np.array([-1, -0.5, 0, 0.5, 1])
    np.testing.assert_allclose(cut, expected, atol=1e-6)
    assert np.isnan(sample_oblique(stack, position=-1, span_y=0, span_x=0)).all()


def test_labels_are_cut_at_the_nearest_slice() -> None:
    labels = np.arange(1, 6, dtype=np.uint32)[:, np.newaxis, np.newaxis] * 70_000
    whole = np.broadcast_to(labels, (5, 3, 5))
    cut = cut_labels(whole, position=2, span_y=0, span_x=2)

    assert cut.dtype == np.uint32
    # Depths 1, 1.5, 2, 2.5, 3: halves go to the deeper slice.
    assert (cut // 70_000).tolist() == 3 * [[2, 3, 3, 4, 4]]
    assert not cut_labels(whole, position=-1, span_y=0, span_x=0).any()


def test_drift_is_followed(stack: np.ndarray) -> None:
    truth = np.array([6.0, 6.5, 7.0, 7.5, 7.0, 5.5])
    rng = np.random.default_rng(1)
    means = np.array([-sample_oblique(stack, position=z, span_y=0, span_x=0) for z in truth])
    means += 0.1 * rng.normal(size=means.shape)
    means[4] = 0
    found = z_drift(means, stack[2:12])

    assert np.isnan(found.position[4])
    seen = np.isfinite(found.position)
    assert seen.sum() == 5
    # Half slices are told from whole ones.
    np.testing.assert_allclose(found.position[seen] + 2, truth[seen], atol=0.3)
    assert found.score.shape == (6, 10)


def test_nonsense_is_refused(stack: np.ndarray) -> None:
    with pytest.raises(ValueError, match="must be an image"):
        match_tilt(np.zeros((40, 40)), stack)
    with pytest.raises(ValueError, match="max_span"):
        match_tilt(stack[0], stack, max_span=-1)
    with pytest.raises(ValueError, match="no slices"):
        match_tilt(stack[0], [])
    with pytest.raises(ValueError, match="expected a stack"):
        sample_oblique(stack[0], position=0, span_y=0, span_x=0)
    with pytest.raises(ValueError, match="expected a stack"):
        cut_labels(np.zeros((4, 4), int), position=0, span_y=0, span_x=0)
    with pytest.raises(TypeError, match="integers"):
        cut_labels(stack, position=0, span_y=0, span_x=0)
    with pytest.raises(ValueError, match="at least three slices"):
        z_drift(stack[:2], stack[:2])
