"""One tilt for all planes, known better than that of one; level planes stay level."""

import numpy as np
import pytest
from scipy import ndimage

from clgkit.registration import match_common_tilt, sample_oblique

N_SLICES, SIDE, DEPTHS = 26, 192, (7.0, 13.0, 18.0)


@pytest.fixture(scope="module")
def stack() -> np.ndarray:
    """Nuclei that reach over about five slices, with noise of its own in every slice."""
    rng = np.random.default_rng(0)
    points = np.zeros((N_SLICES + 8, SIDE, SIDE))
    at = rng.integers(0, [[N_SLICES + 8], [SIDE], [SIDE]], (3, 9000))
    points[tuple(at)] = 1
    clean = ndimage.gaussian_filter(points, (1.8, 1.6, 1.6))[4:-4] * 800
    return clean + 0.05 * rng.normal(size=clean.shape)


def cut(stack: np.ndarray, spans: tuple[float, float]) -> np.ndarray:
    """Dark nuclei, as in cytosol, along three parallel planes."""
    sections = [sample_oblique(stack, position=z, span_y=spans[0], span_x=spans[1]) for z in DEPTHS]
    return -np.array(sections)


def about(stack: np.ndarray) -> list[np.ndarray]:
    return [stack[int(z) - 5 : int(z) + 6] for z in DEPTHS]


@pytest.mark.parametrize("spans", [(2.0, 0.0), (0.0, -2.0), (1.5, 1.5)])
def test_a_tilt_of_slices_across_the_field_is_recovered(
    stack: np.ndarray, spans: tuple[float, float]
) -> None:
    found = match_common_tilt(cut(stack, spans), about(stack), max_shift_px=2)

    assert found.sure
    # Half a step of the tilts that are tried, and what the noise adds.
    np.testing.assert_allclose([found.span_y, found.span_x], spans, atol=0.5)
    np.testing.assert_allclose(found.position, 5, atol=0.5)


def test_level_planes_have_no_tilt(stack: np.ndarray) -> None:
    found = match_common_tilt(cut(stack, (0, 0)), about(stack), max_shift_px=2)

    assert not found.sure
    assert (found.span_y, found.span_x) == (0, 0)
    np.testing.assert_allclose(found.position, 5, atol=0.5)


def test_blank_planes_take_no_part(stack: np.ndarray) -> None:
    planes = cut(stack, (2, 0))
    planes[1] = 0
    found = match_common_tilt(planes, about(stack), max_shift_px=2)

    assert found.sure
    assert abs(found.span_y - 2) < 0.6
    assert np.isnan(found.position).tolist() == [False, True, False]

    nothing = match_common_tilt(np.zeros_like(planes), about(stack), max_shift_px=2)
    assert not nothing.sure
    assert np.isnan(nothing.position).all()


def test_one_block_shows_no_tilt(stack: np.ndarray) -> None:
    small = [part[:, :60, :60] for part in about(stack)]
    found = match_common_tilt(cut(stack, (2, 0))[:, :60, :60], small, max_shift_px=2)

    assert (found.span_y, found.span_x, found.gain) == (0, 0, 0)


def test_nonsense_is_refused(stack: np.ndarray) -> None:
    planes = cut(stack, (0, 0))
    with pytest.raises(ValueError, match="expected planes"):
        match_common_tilt(planes[0], about(stack))
    with pytest.raises(ValueError, match="max_span"):
        match_common_tilt(planes, about(stack), max_span=np.inf)
    with pytest.raises(ValueError, match="three slices"):
        match_common_tilt(planes[:1], [stack[:2]])
