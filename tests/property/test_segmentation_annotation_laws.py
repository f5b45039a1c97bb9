"""Laws of holding out, scoring and fine-tuning."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clgkit.segmentation.annotations import (
    Annotation,
    annotated_slices,
    annotated_volume,
    score_network,
    split_annotations,
)
from clgkit.segmentation.network import shipped_network
from tests.unit.segmentation_scene import VOXEL_UM, make_scene

BALL = (6.0, 6.0, 6.0)
SCENE = make_scene((10, 48, 96), n_nuclei=50)


def slice_at(z: int) -> Annotation:
    planes = {z: SCENE.labels[z]}
    return annotated_slices(f"s{z}", SCENE.image, planes, voxel_um=VOXEL_UM, diameter_um=BALL)[0]


def volume(side: int) -> Annotation:
    return annotated_volume(
        f"v{side}",
        SCENE.image[:, :, :side],
        SCENE.labels[:, :, :side],
        voxel_um=VOXEL_UM,
        diameter_um=BALL,
    )


SLICES = st.lists(st.integers(0, 9), unique=True, max_size=9).map(
    lambda chosen: [slice_at(z) for z in chosen]
)
VOLUMES = st.lists(st.integers(20, 96), unique=True, max_size=3).map(
    lambda sides: [volume(side) for side in sides]
)


@settings(deadline=None, max_examples=30)
@given(SLICES, VOLUMES, st.floats(0, 0.9), st.integers(0, 9))
def test_nothing_is_lost_and_nothing_is_learnt_that_is_held_out(
    slices: list[Annotation], volumes: list[Annotation], share: float, seed: int
) -> None:
    everything = [*slices, *volumes]

    learnt, held_out = split_annotations(everything, share=share, seed=seed)

    assert bool(learnt) == bool(everything)
    whole = {part.name.removesuffix(", a part") for part in (*learnt, *held_out)}
    assert whole == {part.name for part in everything}
    if len(everything) >= 4:
        assert len(learnt) + len(held_out) == len(everything)
        assert not {part.name for part in learnt} & {part.name for part in held_out}


@settings(deadline=None, max_examples=30)
@given(st.integers(20, 96), st.floats(0.01, 0.9))
def test_the_parts_of_a_volume_do_not_touch(side: int, share: float) -> None:
    learnt, held_out = split_annotations([volume(side)], share=share)

    assert len(learnt) == 1
    assert len(held_out) <= 1
    if held_out:
        axis = 1 if learnt[0].image.shape[2] == side else 2
        kept, seen = (part[0].image.shape[axis] for part in (learnt, held_out))
        whole = volume(side).image.shape[axis]
        assert kept + seen <= whole - 6  # half a diameter
        assert min(kept, seen) >= 30  # 2.5 diameters


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 9))
def test_what_is_shown_around_a_slice_is_what_the_stack_shows(z: int) -> None:
    one = slice_at(z)

    assert one.at is not None
    np.testing.assert_array_equal(one.image[one.at], SCENE.image[z])
    made = one.learnt()
    assert made.nodes.tolist() == [min(z, 3)]
    assert made.foreground[made.nodes[0]].any() == SCENE.labels[z].any()


@settings(deadline=None, max_examples=5)
@given(st.permutations([2, 5, 8]))
def test_the_order_of_annotations_does_not_change_the_score(order: list[int]) -> None:
    network = shipped_network()

    made = score_network(network, [slice_at(z) for z in order])

    assert made == score_network(network, [slice_at(z) for z in sorted(order)])
    assert 0 <= made.ap <= made.f1 <= 1
    assert made.ap == pytest.approx(made.f1 / (2 - made.f1))
