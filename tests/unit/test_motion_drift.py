"""Samples that drift, jump and wander: the template is sharp and in the middle."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from clgkit.registration import (
    crispness,
    frames_alike,
    is_sure,
    look_farther,
    make_template,
    prepare_piecewise,
    prepare_rigid,
    register_piecewise,
    register_rigid,
    shift_frames,
)
from clgkit.registration.alike import closest_group
from clgkit.registration.template import find_middle
from tests.unit.drift_scene import (
    BRIGHT,
    DIM,
    SIDE,
    drift,
    errors_px,
    film,
    scattered,
    step,
    still,
    walk,
)
from tests.unit.registration_scene import move

Floats = npt.NDArray[np.float64]

LAWS = {
    "drift 4": drift(4), "drift 8": drift(8), "drift 12": drift(12), "drift 20": drift(20),
    "step 10": step(10), "step 22": step(22), "a minority": step(22, 24), "walk": walk(10),
    "scattered": scattered(10), "still": drift(0),
}  # fmt: skip
INNER = (slice(16, -16), slice(16, -16))
# Pixels rms on 96 x 96 px: photon noise alone gives 0.05 and 0.16; the median as a template
# gave 1 to 16 where frames lie more than 8 px apart.
LIMITS = {BRIGHT: 0.08, DIM: 0.25}


@pytest.mark.parametrize("photons", [BRIGHT, DIM], ids=["bright", "dim"])
@pytest.mark.parametrize("law", LAWS)
def test_every_frame_within_the_window_is_found(law: str, photons: float) -> None:
    displacement = LAWS[law]
    frames = film(displacement, photons)
    template = make_template(frames)

    found = register_rigid(frames, prepare_rigid(template))
    sure = is_sure(found)

    error = errors_px(found.shift_px[sure], displacement[sure])
    assert np.sqrt(np.square(error).mean()) < LIMITS[photons]
    # The drift of 20 px leaves the window of 15 px on both sides: 29 of 40 frames lie within.
    assert sure.sum() == (29 if law == "drift 20" else 40)


@pytest.mark.parametrize("law", ["drift 12", "step 10", "walk"])
def test_the_template_is_as_sharp_as_a_still_sample(law: str) -> None:
    moved = make_template(film(LAWS[law]))
    resting = make_template(film(LAWS["still"]))

    # Interpolation smooths the noise of the mean, and single pixels.
    assert crispness(moved[INNER]) > 0.85 * crispness(resting[INNER])
    assert crispness(film(LAWS[law]).mean(axis=0)[INNER]) < 0.75 * crispness(resting[INNER])


def test_frames_that_resemble_each_other_are_neighbours_in_a_drift() -> None:
    chosen = frames_alike(film(drift(12)))

    assert 2 <= len(chosen) <= 8  # 0.6 px from frame to frame
    assert np.ptp(chosen) == len(chosen) - 1


def test_all_frames_of_a_still_sample_are_alike() -> None:
    assert len(frames_alike(film(drift(0)))) > 30
    assert len(frames_alike(film(drift(0), DIM))) > 30


@pytest.mark.parametrize("photons", [BRIGHT, DIM], ids=["bright", "dim"])
def test_the_larger_of_two_groups_is_taken(photons: float) -> None:
    chosen = frames_alike(film(step(10, 15), photons))

    assert chosen.min() >= 15
    assert len(chosen) > 20


def test_where_nothing_is_alike_one_frame_begins() -> None:
    frames = film(step(20, 1, 2))

    assert len(frames_alike(frames)) == 1
    found = register_rigid(frames, prepare_rigid(make_template(frames)))
    np.testing.assert_allclose(np.ptp(found.shift_px, axis=0), [0, 20], atol=0.2)  # px
    assert frames_alike(frames[:1]).tolist() == [0]


def test_only_so_many_frames_are_compared_and_small_fields_at_full_size() -> None:
    frames = film(drift(0, 10))[:, :40, :51]

    chosen = frames_alike(np.concatenate([frames] * 21))

    assert np.isin(chosen, np.arange(0, 210, 2)).all()
    assert len(chosen) > 20  # copies of a frame share its noise


def test_pixels_that_are_not_finite_have_no_part_in_likeness() -> None:
    frames = film(step(10, 15))
    frames[:, 20:30] = np.nan
    frames[::3, 60, 40] = np.inf

    assert frames_alike(frames).min() >= 15


def test_a_group_is_chosen_by_the_agreement_of_its_mean() -> None:
    likeness = np.full((7, 7), 0.1)
    likeness[:4, :4], likeness[4:, 4:] = 0.6, 0.62
    members, clear = closest_group(likeness)

    # Four at 0.6 or three at 0.62: mean likeness over the norm of the mean of the group.
    by_hand = {n: g / np.sqrt((1 + (n - 1) * g) / n) for n, g in ((4, 0.6), (3, 0.62))}
    assert by_hand[4] / by_hand[3] == pytest.approx(0.999, abs=0.001)
    assert sorted(members) == [0, 1, 2, 3]
    assert clear == pytest.approx(0.6 * np.sqrt(6))
    assert sorted(closest_group(np.full((5, 5), 0.3))[0]) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="at least two"):
        closest_group(np.ones((1, 1)))


@pytest.mark.parametrize(
    ("places", "reach", "middle"),
    [
        ([0, 0, 0, 0, 1, 1, 2], 10, 0),  # all within reach of the median
        ([0] * 19 + [30], 10, 0),  # one far frame does not move it
        ([0] * 6 + [16] * 4, 10, 7),  # 16 - 0.9 * 10: holds both
        ([0] * 6 + [-16] * 4, 10, -7),
        ([0] * 6 + [40] * 4, 10, 0),  # no place holds both: the most frames
        ([0] * 4 + [40] * 6, 10, 40),
        (list(range(-20, 21)), 15, -0.5),  # many places hold as many: the one in the middle
    ],
)
def test_the_template_lies_where_it_reaches_most(
    places: list[float], reach: float, middle: float
) -> None:
    shifts = np.column_stack([np.zeros(len(places)), places])

    np.testing.assert_allclose(find_middle(shifts, reach_px=reach), [0, middle], atol=1e-6)


def test_a_shift_is_the_same_however_large_it_is() -> None:
    """What a transform takes round the edges shortened shifts of 12 px by 0.1 px."""
    displacement = drift(14, 29)
    frames = film(displacement)
    clean = BRIGHT * move(still(), (0, 0))
    for shift_px in (
        register_rigid(frames, prepare_rigid(clean, max_shift_px=16)).shift_px,
        register_piecewise(frames, prepare_piecewise(clean, grid_px=48, max_shift_px=16)).rigid,
    ):
        error = shift_px + displacement
        slopes = [np.polyfit(displacement[:, k], error[:, k], 1)[0] for k in (0, 1)]
        # 0.05 px of noise in 29 frames over 28 px is 0.001; on y and half the way, x, it was
        # 0.015 without measuring again.
        np.testing.assert_allclose(slopes, 0, atol=0.005)


def test_frames_are_found_as_far_as_half_the_field() -> None:
    displacement = np.array([[0, 0], [22, -22], [-23, 5], [3.4, -7.7]])
    frames = np.concatenate([film(displacement), np.zeros((1, SIDE, SIDE), np.float32)])
    frames[1, 30:40, 50:60] = np.nan
    prepared = prepare_rigid(BRIGHT * move(still(), (0, 0)), max_shift_px=2)

    found = look_farther(frames, prepared)

    np.testing.assert_allclose(found.shift_px[:4], -displacement, atol=0.2)  # px
    assert found.confident.tolist() == [True] * 4 + [False]
    assert found.registered.tolist() == [True] * 4 + [False]
    assert not found.at_edge.any()
    far = np.roll(frames[0], (41, -38), axis=(0, 1))  # the last that are nearer this way round
    np.testing.assert_allclose(
        look_farther(far[np.newaxis], prepared).shift_px, [[-41, 38]], atol=0.3
    )


def test_noise_is_found_nowhere() -> None:
    noise = np.random.default_rng(0).poisson(3, (60, SIDE, SIDE)).astype(np.float32)
    prepared = prepare_rigid(BRIGHT * move(still(), (0, 0)))

    assert not is_sure(look_farther(noise, prepared)).any()


def test_odd_rows_are_put_back_before_looking() -> None:
    frames = film(np.array([[0.0, 20.0]]))
    frames[:, 1::2] = np.roll(frames[:, 1::2], 2, axis=2)
    prepared = prepare_rigid(BRIGHT * move(still(), (0, 0)))

    found = look_farther(frames, prepared, line_offset_px=2)

    np.testing.assert_allclose(found.shift_px, [[0, -20]], atol=0.2)
    assert found.peak > look_farther(frames, prepared).peak


def test_frames_of_another_place_do_not_spoil_the_template() -> None:
    """Six still frames are more alike than any six of a drift, but hold few of the others."""
    frames = film(drift(8))
    strange = film(drift(0, 6), seed=3)
    template = make_template(np.concatenate([frames, strange]))

    found = register_rigid(frames, prepare_rigid(template))
    assert is_sure(found).all()
    assert errors_px(found.shift_px, drift(8)).max() < 0.2  # pixels
    alone = make_template(frames)
    assert crispness(template[INNER]) == pytest.approx(crispness(alone[INNER]), rel=0.03)


def test_pixels_that_only_far_frames_show_come_from_them() -> None:
    frames = film(step(22, 24))
    shown = shift_frames(frames[:1], np.array([[0.0, 8.0]]))[0]

    template = make_template(frames)

    assert np.isnan(shown[:, :7]).all()  # where the template lies, the majority shows nothing here
    seen = register_rigid(frames, prepare_rigid(template)).shift_px[:, 1]
    assert np.ptp(np.round(seen)) == 22
    assert np.isfinite(template).all()
