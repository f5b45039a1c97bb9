"""Planes find their slices, though one shows rings and the other disks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from scipy import ndimage, special

from clgkit.registration import (
    PlaneMatch,
    match_planes,
    plane_to_slice,
    score_planes,
    warp_image,
    warp_labels,
)
from clgkit.registration.axial import choose_slices

N_SLICES, SIDE = 24, 128
TRUE_SLICES = np.array([4, 9, 13, 19])
TRUE_SHIFT_PX = np.array([[3.2, -4.5], [0.0, 0.0], [-6.3, 2.8], [1.5, 5.1]])


class Anatomy(NamedTuple):
    planes: np.ndarray
    """(P, 128, 128) rings, functional pixels."""
    stack: np.ndarray
    """(24, 256, 256) disks, structural pixels."""


def draw(
    z: float, cells: np.ndarray, *, rings: bool, scale: float, offset_px: np.ndarray
) -> np.ndarray:
    """Draw the cells cut at depth z; offsets in functional pixels, `scale` pixels per one."""
    side = int(SIDE * scale)
    image = np.full((side, side), 0.2)
    for depth, y, x, radius, light in cells:
        inner = radius**2 - (1.6 * (depth - z)) ** 2
        center = np.array([y, x]) + offset_px
        first = np.maximum((center - 8) * scale, 0).astype(int)
        last = np.maximum((center + 8) * scale, 0).astype(int)
        box = image[first[0] : last[0], first[1] : last[1]]
        if inner <= 0.5 or not box.size:
            continue
        grid = (np.indices(box.shape) + 0.5 + first[:, np.newaxis, np.newaxis]) / scale
        distance = np.hypot(grid[0] - center[0], grid[1] - center[1])
        cut = np.sqrt(inner)
        disk = special.expit((cut - distance) / 0.4)
        box += light * (special.expit((cut + 1.8 - distance) / 0.4) - disk if rings else disk)
    return ndimage.gaussian_filter(image, 0.8 * scale)


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    rng = np.random.default_rng(0)
    cells = np.column_stack(
        [
            rng.uniform(-2, N_SLICES + 2, 900),
            rng.uniform(-8, SIDE + 8, (900, 2)),
            rng.uniform(2.8, 3.6, 900),
            rng.lognormal(-0.2, 0.4, 900),
        ]
    )
    still = np.zeros(2)
    stack = np.array(
        [draw(z, cells, rings=False, scale=2, offset_px=still) for z in range(N_SLICES)]
    )
    planes = np.array(
        [
            draw(z, cells[rng.random(900) > 0.1], rings=True, scale=1, offset_px=shift)
            for z, shift in zip(TRUE_SLICES, TRUE_SHIFT_PX, strict=True)
        ]
    )
    return Anatomy(
        rng.poisson(60 * planes + 3).astype(np.uint16),
        rng.poisson(60 * stack + 3).astype(np.uint16),
    )


@pytest.mark.parametrize("order", ["rising", "free"])
def test_every_plane_finds_its_slice(anatomy: Anatomy, order: str) -> None:
    match = match_planes(anatomy.planes, iter(anatomy.stack), pixel_ratio=(2, 2), order=order)

    np.testing.assert_allclose(match.slice_index, TRUE_SLICES, atol=1)
    np.testing.assert_allclose(match.position, TRUE_SLICES, atol=1)
    # Half a nucleus radius; rings pull plain correlation off by a whole one.
    assert np.abs(match.shift_px - TRUE_SHIFT_PX).max() < 1.5
    assert (match.score > match.second_score).all()
    assert (match.confidence > 0.5).all()
    assert match.scores.shape == (4, N_SLICES)


def test_disks_are_found_as_rings_are(anatomy: Anatomy) -> None:
    red = anatomy.stack[TRUE_SLICES].reshape(4, SIDE, 2, SIDE, 2).mean(axis=(2, 4))
    match = match_planes(red, anatomy.stack, pixel_ratio=(2, 2))

    np.testing.assert_array_equal(match.slice_index, TRUE_SLICES)
    assert (match.score > 0.9).all()  # the very same pixels
    assert np.abs(match.shift_px).max() < 0.1
    assert match.found.all()


def test_planes_of_another_anatomy_are_not_found(anatomy: Anatomy) -> None:
    own = match_planes(anatomy.planes, anatomy.stack, pixel_ratio=(2, 2))
    # Mirrored, the same cells are those of another fish: nothing lies where it should.
    other = match_planes(anatomy.planes[:, ::-1], anatomy.stack, pixel_ratio=(2, 2))

    assert own.found.all()
    assert not other.found.any()
    assert own.score.min() > 1.3 * other.score.max()
    assert np.median(other.score / other.chance) < 1.3


def test_a_blank_plane_is_not_found(anatomy: Anatomy) -> None:
    planes = anatomy.planes.astype(np.float32)
    planes[2] = np.nan
    match = match_planes(planes, anatomy.stack, pixel_ratio=(2, 2))

    assert match.found.tolist() == [True, True, False, True]
    assert np.isnan(match.score[2])
    assert np.isnan(match.chance[2])


def test_pixels_without_a_value_are_left_out(anatomy: Anatomy) -> None:
    planes = anatomy.planes.astype(np.float32)
    planes[:, :20], planes[:, :, -9:] = np.nan, np.nan
    match = match_planes(planes, anatomy.stack, pixel_ratio=(2, 2))

    np.testing.assert_allclose(match.slice_index, TRUE_SLICES, atol=1)
    assert match.found.all()


def test_a_turned_and_stretched_plane_is_found(anatomy: Anatomy) -> None:
    angle = np.deg2rad(1)
    turn = 1.01 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    offset = (SIDE - 1) / 2 * (1 - turn.sum(axis=1))
    turned = [ndimage.affine_transform(p.astype(float), turn, offset) for p in anatomy.planes]
    match = match_planes(np.array(turned), anatomy.stack, pixel_ratio=(2, 2))

    np.testing.assert_allclose(match.slice_index, TRUE_SLICES, atol=1)
    assert match.found.all()


def test_a_wrong_spacing_does_not_overrule_the_images(anatomy: Anatomy) -> None:
    plain = match_planes(anatomy.planes, anatomy.stack, pixel_ratio=(2, 2))
    spaced = match_planes(anatomy.planes, anatomy.stack, pixel_ratio=(2, 2), slices_per_plane=3)

    np.testing.assert_allclose(spaced.slice_index, plain.slice_index, atol=1)


def test_a_stack_is_scored_slice_by_slice(anatomy: Anatomy) -> None:
    def scores(stack: np.ndarray) -> np.ndarray:
        return match_planes(anatomy.planes, stack, pixel_ratio=(2, 2), order="free").scores

    whole = scores(anatomy.stack)
    np.testing.assert_array_equal(scores(anatomy.stack[5:9]), whole[:, 5:9])


class Fishes(NamedTuple):
    true: np.ndarray
    own: PlaneMatch
    foreign: PlaneMatch


@pytest.fixture(scope="module")
def fishes() -> Fishes:
    from clgkit.simulate import Fish, preset

    one, other = (Fish(preset("demo", seed=seed, n_frames=40)) for seed in (7, 8))
    settings = one.settings
    rng = np.random.default_rng(0)

    def means(shown: Fish, planes: list[int]) -> np.ndarray:
        clean = np.array([shown.clean_block(p, 0, 5).mean(axis=0) for p in planes])
        variance = settings.gain * (clean - settings.offset) + settings.read_noise**2
        return clean + rng.normal(size=clean.shape) * np.sqrt(variance / 40)

    stack = one.structure_block(0, settings.shape_px[0])
    chosen = [0, 3, 4, 7, 8]
    own = match_planes(means(one, chosen), stack, pixel_ratio=(2, 2), max_shift_px=5)
    foreign = match_planes(means(other, [2, 4, 6]), stack, pixel_ratio=(2, 2), max_shift_px=5)
    return Fishes(one.slice_of_plane[chosen], own, foreign)


@pytest.mark.slow
def test_planes_of_a_simulated_fish_lie_within_a_slice(fishes: Fishes) -> None:
    off = np.abs(fishes.own.slice_index - fishes.true)

    assert off.max() <= 1
    assert (off == 0).mean() >= 0.8  # 97 % of 180 planes of five other fish
    assert fishes.own.found.all()
    assert np.abs(fishes.own.shift_px).max() < 0.5  # means are not displaced


@pytest.mark.slow
def test_planes_of_another_simulated_fish_are_not_found(fishes: Fishes) -> None:
    assert not fishes.foreign.found.any()
    assert (fishes.foreign.score < 0.6 * fishes.own.score.min()).all()


def test_planes_in_opposite_order_are_found(anatomy: Anatomy) -> None:
    match = match_planes(anatomy.planes[::-1], anatomy.stack, pixel_ratio=(2, 2), order="falling")
    np.testing.assert_allclose(match.slice_index, TRUE_SLICES[::-1], atol=1)


def test_a_known_step_helps_a_plane_without_structure(anatomy: Anatomy) -> None:
    planes = anatomy.planes.astype(np.float32)
    planes[1] = 5
    match = match_planes(planes, anatomy.stack, pixel_ratio=(2, 2), slices_per_plane=5)

    assert np.isnan(match.score[1])
    assert match.slice_index[0] < match.slice_index[1] < match.slice_index[2]
    np.testing.assert_allclose(match.slice_index, TRUE_SLICES, atol=1)


def test_a_given_map_is_scored_as_the_search_scores_it(anatomy: Anatomy) -> None:
    match = match_planes(anatomy.planes, anatomy.stack, pixel_ratio=(2, 2))
    given = score_planes(anatomy.planes, anatomy.stack[match.slice_index], pixel_ratio=(2, 2))
    wrong = score_planes(anatomy.planes, anatomy.stack[match.slice_index[::-1]], pixel_ratio=(2, 2))

    np.testing.assert_array_equal(given.score, match.score)
    np.testing.assert_array_equal(given.shift_px, match.shift_px)
    assert (wrong.score < given.score).all()


def test_labels_come_to_the_plane() -> None:
    labels = np.zeros((40, 40), np.uint32)
    labels[20:24, 10:14] = 70_000
    mapping = plane_to_slice(np.array([2.0, -1.0]), pixel_ratio=(2, 2))
    warped = warp_labels(labels, mapping, shape=(20, 20))

    # Structural pixels 20-23 are functional 10-11; moved by 2 they are 12-13.
    assert np.argwhere(warped == 70_000).tolist() == [[12, 4], [12, 5], [13, 4], [13, 5]]


def test_halving_pixels_averages_them() -> None:
    image = np.random.default_rng(0).normal(size=(8, 8))
    halved = warp_image(image, plane_to_slice(np.zeros(2), pixel_ratio=(2, 2)), shape=(4, 4))

    np.testing.assert_allclose(halved, image.reshape(4, 2, 4, 2).mean(axis=(1, 3)), atol=1e-6)


@pytest.mark.parametrize("pixel_ratio", [(1.0, 1.0), (4.0, 4.0), (1.37, 0.8)])
def test_any_pixel_ratio_is_read(anatomy: Anatomy, pixel_ratio: tuple[float, float]) -> None:
    scores = score_planes(anatomy.planes[:1], anatomy.stack[:1], pixel_ratio=pixel_ratio)
    assert np.isfinite(scores.score).all()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"order": "sideways"}, "order must be"),
        ({"pixel_ratio": (0, 1)}, "pixel_ratio must be positive"),
        ({"max_shift_px": -1}, "max_shift_px must be finite"),
        ({"nucleus_px": 0}, "nucleus_px must be a positive"),
    ],
)
def test_nonsense_is_refused(anatomy: Anatomy, options: dict, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        match_planes(anatomy.planes, anatomy.stack[:4], **options)


def test_wrong_numbers_of_slices_are_refused(anatomy: Anatomy) -> None:
    with pytest.raises(ValueError, match="cannot take"):
        match_planes(anatomy.planes, anatomy.stack[:3])
    with pytest.raises(ValueError, match="no slices"):
        match_planes(anatomy.planes, [])
    with pytest.raises(ValueError, match="one slice per plane"):
        score_planes(anatomy.planes, anatomy.stack[:3])
    with pytest.raises(ValueError, match="more slices"):
        score_planes(anatomy.planes, anatomy.stack[:5])
    with pytest.raises(ValueError, match="expected planes"):
        match_planes(anatomy.planes[0], anatomy.stack)
    with pytest.raises(ValueError, match="expected a slice"):
        score_planes(anatomy.planes[:1], anatomy.stack[np.newaxis])


def scores_of(best: list[int], n_slices: int = 12) -> np.ndarray:
    """Scores with some noise about 0.1, and 0.4 at the best slice of each plane."""
    scores = np.random.default_rng(0).normal(0.1, 0.01, (len(best), n_slices))
    scores[np.arange(len(best)), best] = 0.4
    return scores


def test_known_slices_leave_the_others_their_places() -> None:
    none = np.array([-1, -1, -1])
    assert choose_slices(scores_of([2, 5, 9]), none).tolist() == [2, 5, 9]
    assert choose_slices(scores_of([2, 5, 9]), np.array([-1, 6, -1])).tolist() == [2, 6, 9]
    squeezed = choose_slices(scores_of([2, 5, 9]), np.array([-1, 2, -1]))
    assert squeezed[0] < squeezed[1] == 2
    assert squeezed[2] == 9


def test_a_blank_plane_lies_between_its_neighbours() -> None:
    scores = scores_of([2, 5, 9])
    scores[1] = np.nan
    chosen = choose_slices(scores, np.array([2, -1, -1]), slices_per_plane=3.5)

    assert chosen[0] == 2
    assert chosen[2] == 9
    assert chosen[1] in {5, 6}


def test_without_an_order_known_slices_touch_no_other_plane() -> None:
    scores = scores_of([7, 7, 3])

    assert choose_slices(scores, np.array([-1, 1, -1]), order="free").tolist() == [7, 1, 3]
    falling = choose_slices(scores, np.array([8, -1, -1]), order="falling")
    assert falling.tolist() == [8, 7, 3]
