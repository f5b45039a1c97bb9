"""Labels in place are told from labels aside, and cells off their place are named."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks._disks_and_rings import Pair, make_pair, target_errors_px
from clgkit.registration import cell_errors, register_plane, shifted_control

SIDE = 256


@pytest.fixture(scope="module", params=[True, False], ids=["rings", "disks"])
def pair(request: pytest.FixtureRequest) -> Pair:
    return make_pair(side=SIDE, rings=request.param, seed=5)


def paint(pair: Pair, aside: tuple[float, float] = (0, 0)) -> np.ndarray:
    labels = np.zeros((SIDE, SIDE), np.uint32)
    grid = np.indices((SIDE, SIDE)).transpose(1, 2, 0)
    for n, center in enumerate(pair.plane_px + aside, start=1):
        labels[np.linalg.norm(grid - center, axis=2) < 3.2] = n
    return labels


def test_labels_in_place_stand_out(pair: Pair) -> None:
    found = shifted_control(pair.plane, paint(pair))

    assert found.fraction > 0.95
    assert found.p_value == 0.001  # none of 999 random choices reaches it
    assert len(found.label) == len(found.contrast) > 0.9 * len(pair.plane_px)


def test_the_sign_of_the_contrast_is_read_from_the_image(pair: Pair) -> None:
    plain = shifted_control(pair.plane, paint(pair))
    turned = shifted_control(-pair.plane, paint(pair))

    assert plain.bright is not turned.bright
    assert plain.fraction == pytest.approx(turned.fraction, abs=0.02)  # ties count as below


def test_labels_of_another_place_are_at_chance(pair: Pair) -> None:
    found = shifted_control(pair.plane[::-1], paint(pair))

    assert found.fraction < 0.6  # sd of 180 labels at chance is 0.04
    assert found.p_value > 0.01


def test_the_control_is_the_same_each_time(pair: Pair) -> None:
    labels = paint(pair, (1.5, 0))
    first, second = (shifted_control(pair.plane, labels, permutations=50) for _ in "ab")

    assert first.p_value == second.p_value


def test_missing_pixels_leave_labels_out(pair: Pair) -> None:
    image = pair.plane.copy()
    image[:, :128] = np.nan
    labels = paint(pair)
    found = shifted_control(image, labels)

    assert 0 < len(found.label) < 0.6 * len(pair.plane_px)
    assert labels[:, :128][np.isin(labels[:, :128], found.label)].size == 0


def test_without_labels_there_is_no_number() -> None:
    found = shifted_control(np.zeros((20, 20)), np.zeros((20, 20), int))

    assert np.isnan(found.fraction)
    assert np.isnan(found.p_value)


def test_nonsense_is_refused() -> None:
    with pytest.raises(TypeError, match="integers"):
        shifted_control(np.zeros((4, 4)), np.zeros((4, 4)))
    with pytest.raises(ValueError, match="do not fit"):
        shifted_control(np.zeros((4, 5)), np.zeros((4, 4), int))
    with pytest.raises(ValueError, match="distance_px"):
        shifted_control(np.zeros((4, 4)), np.zeros((4, 4), int), distance_px=0)
    with pytest.raises(ValueError, match="do not fit"):
        cell_errors(np.eye(9), np.eye(9), np.zeros((9, 9)), np.zeros((1, 2)))


def test_cells_off_their_place_are_named(pair: Pair) -> None:
    rough = register_plane(pair.plane, pair.slice_image, refine=False)
    field = rough.field + np.where(np.arange(SIDE) > 160, 2.5, 0)[:, np.newaxis, np.newaxis]
    truth = target_errors_px(field, pair)
    found = cell_errors(pair.plane, pair.slice_image, field, pair.plane_px)

    assert np.corrcoef(found.error_px, truth)[0, 1] > 0.8
    assert (found.error_px[truth > 3] > 1.5).mean() > 0.9
    assert (found.error_px[truth < 0.5] < 1.5).mean() > 0.9
    assert ((found.explained >= 0) & (found.explained <= 1)).all()


def test_no_cells_have_no_errors(pair: Pair) -> None:
    found = cell_errors(pair.plane, pair.slice_image, np.zeros((SIDE, SIDE, 2)), np.empty((0, 2)))
    assert found.error_px.shape == found.explained.shape == (0,)
