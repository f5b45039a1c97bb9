"""Laws of scanning there and back, of dealt-out photons, and of the scheme for comparison."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from clgkit.registration import (
    NormcorreSettings,
    estimate_line_offset,
    photon_split_score,
    register_like_normcorre,
    shift_frames,
    split_photons,
)
from clgkit.registration.bidirectional import undo_line_offset
from tests.unit.registration_scene import make_field, make_scene, move

few = settings(deadline=None, max_examples=12, derandomize=True)
SHAPE = (80, 90)
FIELD, _ = make_field(SHAPE, np.random.default_rng(7))
FIELD[FIELD < 0] = 0
STILL = move(FIELD, (0, 0))
ROWS, _ = make_field((64, 90), np.random.default_rng(7))
RIGID = NormcorreSettings(grid_px=128, max_shift_px=8, iterations=1, update_template=False)


def scanned(offset_px: float) -> npt.NDArray[np.float64]:
    """Return three frames whose odd rows lie to the right."""
    frame = move(ROWS, (0, 0))
    frame[1::2] = move(ROWS, (0, offset_px))[1::2]
    noise = np.random.default_rng(0).normal(0, 0.01, (3, *frame.shape))
    return frame + noise


@few
@given(offset_px=st.floats(-3.5, 3.5))
def test_an_offset_turns_over_with_the_image(offset_px: float) -> None:
    frames = scanned(offset_px)
    straight = estimate_line_offset(frames).measured_px
    # Mirrored, odd rows lie to the left; without its first row, odd rows are even ones.
    mirrored = estimate_line_offset(frames[..., ::-1]).measured_px
    swapped = estimate_line_offset(frames[:, 1:]).measured_px

    assert straight == pytest.approx(offset_px, abs=0.1)
    assert mirrored == pytest.approx(-straight, abs=0.05)
    assert swapped == pytest.approx(-straight, abs=0.1)


@few
@given(offset_px=st.floats(-3, 3), gain=st.floats(0.1, 1e3), level=st.floats(-100, 100))
def test_an_offset_knows_no_brightness(offset_px: float, gain: float, level: float) -> None:
    frames = scanned(offset_px)
    found, other = (estimate_line_offset(f) for f in (frames, gain * frames + level))

    np.testing.assert_allclose(other.samples_px, found.samples_px, atol=0.011)  # one step
    assert other.sure == found.sure


@few
@given(offset_px=st.floats(-3, 3).filter(lambda o: abs(o) > 0.2))
def test_an_offset_undone_is_gone(offset_px: float) -> None:
    frames = scanned(offset_px)
    found = estimate_line_offset(frames)
    assert found.offset_px != 0
    undone = np.stack([undo_line_offset(frame, found.offset_px) for frame in frames])

    left = estimate_line_offset(undone[:, :, 6:-6])
    assert abs(left.measured_px) < 0.05
    np.testing.assert_array_equal(undone[:, ::2], frames[:, ::2].astype(np.float32))


@few
@given(
    gain=st.floats(0.5, 300),
    offset=st.floats(-500, 500),
    seed=st.integers(0, 99),
    photons=st.floats(0.1, 50),
)
def test_no_photon_is_lost_or_invented(
    gain: float, offset: float, seed: int, photons: float
) -> None:
    counts = np.random.default_rng(seed).poisson(photons, (2, 20, 20))
    one, other = split_photons(gain * counts + offset, gain=gain, offset=offset, seed=seed)

    np.testing.assert_array_equal(one.astype(np.int64) + other, counts)
    # Binomial, so the halves differ by the root of their sum: five standard errors.
    assert abs(one.sum() - counts.sum() / 2) <= 2.5 * np.sqrt(counts.sum()) + 1


def test_halves_of_poisson_light_have_the_variance_of_their_mean() -> None:
    counts = np.random.default_rng(0).poisson(8, (40, 30, 30))
    one, other = split_photons(counts, gain=1)

    for half in (one, other):
        # 36000 numbers: 1 % in the variance.
        assert half.var() / half.mean() == pytest.approx(1, abs=0.05)
    difference = one.astype(float) - other
    assert difference.var() == pytest.approx(one.var() + other.var(), rel=0.05)


def test_the_true_motion_scores_above_less_and_more_of_it() -> None:
    scene = make_scene(shape=(96, 96), n_frames=16, photons=10, seed=2)
    scores = []
    for share in (0.0, 0.5, 1.0, 1.5):
        shifts = -share * scene.displacement_px
        found = photon_split_score(
            scene.movie, lambda _, b, s=shifts: shift_frames(b.astype(np.float32), s), gain=20
        )
        scores.append(found.r_to_mean)

    assert np.argmax(scores) == 2
    assert scores[0] < scores[1]


def test_one_frame_has_no_halves() -> None:
    frames = np.random.default_rng(0).poisson(5, (1, 20, 20))
    found = photon_split_score(frames, lambda _, b: b.astype(np.float32), gain=1)

    assert found.r_to_mean == pytest.approx(1)
    assert np.isnan(found.r_of_halves)


@few
@given(whole=st.tuples(*2 * [st.integers(-6, 6)]))
def test_whole_motion_is_undone_without_loss(whole: tuple[int, int]) -> None:
    """Patches are moved by phases, which wrap around: whole pixels are exact inside."""
    frames = np.roll(STILL, whole, (0, 1))[np.newaxis]
    found = register_like_normcorre(frames, RIGID, template=STILL)

    np.testing.assert_allclose(found.rigid[0], np.negative(whole), atol=1e-6)
    inner = (slice(8, -8), slice(8, -8))
    # float32 of values about 1, after a transform there and back.
    np.testing.assert_allclose(found.frames[0][inner], STILL[inner], atol=1e-4)


@few
@given(shift=st.tuples(*2 * [st.integers(-5, 5)]), gain=st.sampled_from([0.125, 4.0, 64.0]))
def test_shifts_know_no_brightness(shift: tuple[int, int], gain: float) -> None:
    patches = RIGID._replace(grid_px=32, overlap_px=16, apply_overlap_px=16)
    frame = np.roll(STILL, shift, (0, 1))[np.newaxis]
    one, other = (
        register_like_normcorre(f, patches, template=STILL) for f in (frame, gain * frame)
    )
    np.testing.assert_array_equal(other.patch_shift, one.patch_shift)
    np.testing.assert_allclose(other.frames, gain * one.frames, rtol=1e-5, atol=1e-5 * gain)
    assert (np.abs(one.patch_shift - one.rigid[:, np.newaxis, np.newaxis]) <= 3 + 0.76).all()


@pytest.mark.parametrize("n_frames", [3, 5, 7])
def test_the_last_bin_is_never_one_frame(n_frames: int) -> None:
    """With bins of two an odd movie would end in a bin of one; bins grow instead."""
    rng = np.random.default_rng(1)
    frames = np.stack([STILL + rng.normal(0, 0.05, SHAPE) for _ in range(n_frames)])
    updated = RIGID._replace(update_template=True, bin_frames=2)
    found = register_like_normcorre(frames, updated, template=STILL)
    width = {3: 3, 5: 3, 7: 4}[n_frames]
    bins = [found.frames[i : i + width].mean(axis=0) for i in range(0, n_frames, width)]

    np.testing.assert_allclose(found.template, np.median(bins, axis=0), atol=1e-6)


def test_intensities_stay_within_those_of_the_frame() -> None:
    """Phases ring at bright spots; what rings beyond the frame's values is clipped."""
    spots = ndimage.gaussian_filter((np.quantile(STILL, 0.995) < STILL).astype(float), 0.5)
    frames = np.stack([move(np.pad(spots, 20), s)[:80, :90] for s in ((0.5, 0.5), (-1.5, 2.5))])
    found = register_like_normcorre(frames, RIGID._replace(grid_px=32), template=frames[0])

    for made, given_ in zip(found.frames, frames, strict=True):
        assert made.min() >= np.float32(given_.min())
        assert made.max() <= np.float32(given_.max())
