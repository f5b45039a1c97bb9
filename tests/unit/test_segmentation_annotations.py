"""Annotated slices and volumes: what is learnt, what is held out, and the score."""

import math

import numpy as np
import pytest

from clgkit.segmentation.annotations import (
    Annotation,
    annotated_slices,
    annotated_volume,
    score_network,
    section_diameter_um,
    split_annotations,
)
from clgkit.segmentation.network import segment_network, shipped_network
from clgkit.segmentation.score import score_labels
from clgkit.segmentation.training_samples import label_stack
from tests.unit.segmentation_scene import VOXEL_UM, Scene, make_scene

BALL = (6.0, 6.0, 6.0)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene((40, 64, 72), n_nuclei=120)


def slices_of(scene: Scene, *chosen: int) -> list[Annotation]:
    planes = {z: scene.labels[z] for z in chosen}
    return annotated_slices("s.tif", scene.image, planes, voxel_um=VOXEL_UM, diameter_um=BALL)


def volume_of(scene: Scene, name: str = "v.tif") -> Annotation:
    return annotated_volume(name, scene.image, scene.labels, voxel_um=VOXEL_UM, diameter_um=BALL)


def test_a_slice_brings_its_surroundings(scene: Scene) -> None:
    first, middle = slices_of(scene, 1, 20)

    assert first.at == 1
    assert middle.at is not None
    assert len(middle.image) < len(scene.image)
    np.testing.assert_array_equal(middle.image[middle.at], scene.image[20])
    assert middle.name == "s.tif, slice 20"


def test_a_slice_is_shown_as_in_its_whole_stack(scene: Scene) -> None:
    (one,) = slices_of(scene, 20)
    whole = label_stack(scene.image, scene.labels, voxel_um=VOXEL_UM, diameter_um=6.0, slices=[20])

    made = one.learnt()

    assert len(made.local) == 7  # what the network sees of it
    node, there = int(made.nodes[0]), int(whole.nodes[0])
    np.testing.assert_array_equal(made.local, whole.local[there - 3 : there + 4])
    np.testing.assert_array_equal(made.distance[node], whole.distance[there])
    assert not made.solid


def test_at_the_end_of_a_stack_there_is_less_to_see(scene: Scene) -> None:
    made = slices_of(scene, 0)[0].learnt()

    assert len(made.local) == 4
    assert made.nodes.tolist() == [0]


def test_a_single_slice_needs_no_distance_between_slices(scene: Scene) -> None:
    far_apart = (100.0, 0.5, 0.5)

    (one,) = annotated_slices(
        "a.png", scene.image[20:21], {0: scene.labels[20]}, voxel_um=far_apart, diameter_um=BALL
    )

    assert one.name == "a.png"
    assert one.voxel_um == (1.0, 0.5, 0.5)
    assert one.learnt().foreground.any()


def test_a_volume_is_learnt_in_space(scene: Scene) -> None:
    made = volume_of(scene).learnt()

    assert made.solid
    assert len(made.nodes) == len(made.local) == 40


def test_one_of_four_is_held_out(scene: Scene) -> None:
    slices = slices_of(scene, 5, 10, 15, 20)

    learnt, held_out = split_annotations(slices)

    assert len(held_out) == 1
    assert {part.name for part in (*learnt, *held_out)} == {part.name for part in slices}


def test_something_is_always_left_to_learn_from(scene: Scene) -> None:
    learnt, held_out = split_annotations(slices_of(scene, 5, 10, 15, 20), share=0.9)

    assert (len(learnt), len(held_out)) == (1, 3)


def test_the_seed_chooses_what_is_held_out(scene: Scene) -> None:
    slices = slices_of(scene, *range(0, 40, 4))
    held = [
        tuple(part.name for part in split_annotations(slices, seed=seed).held_out)
        for seed in (0, 0, 1)
    ]

    assert held[0] == held[1]
    assert held[0] != held[2]
    assert len(held[0]) == 2


def test_of_three_slices_none_is_held_out(scene: Scene) -> None:
    assert split_annotations(slices_of(scene, 5, 10, 15)).held_out == ()


def test_nothing_is_held_out_if_so_wanted(scene: Scene) -> None:
    slices = slices_of(scene, 5, 10, 15, 20)

    assert split_annotations(slices, share=0) == (tuple(slices), ())


def test_a_single_volume_is_cut_with_a_gap(scene: Scene) -> None:
    learnt, held_out = split_annotations([volume_of(scene)])

    (one,), (other,) = learnt, held_out
    assert one.image.shape == (40, 64, 72 - 30 - 6)
    assert other.image.shape == (40, 64, 30)
    np.testing.assert_array_equal(other.image, scene.image[:, :, -30:])
    np.testing.assert_array_equal(other.labels, scene.labels[:, :, -30:])


def test_the_largest_volume_is_cut(scene: Scene) -> None:
    small = Scene(scene.image[:20], scene.labels[:20])

    learnt, held_out = split_annotations([volume_of(small, "small"), volume_of(scene, "large")])

    assert [part.name for part in learnt] == ["small", "large, a part"]
    assert [part.name for part in held_out] == ["large, a part"]


def test_a_volume_too_short_to_be_cut_stays_whole(scene: Scene) -> None:
    short = Scene(scene.image[:, :40, :40], scene.labels[:, :40, :40])

    assert split_annotations([volume_of(short)]).held_out == ()


@pytest.mark.parametrize("share", [-0.1, 0.95, math.nan])
def test_a_share_outside_of_its_range_is_refused(scene: Scene, share: float) -> None:
    with pytest.raises(ValueError, match=r"lies in 0 to 0\.9"):
        split_annotations(slices_of(scene, 5), share=share)


def test_the_score_of_a_volume_is_that_of_its_labels(scene: Scene) -> None:
    one = volume_of(scene)
    found = segment_network(scene.image, voxel_um=VOXEL_UM, diameter_um=BALL).labels
    truth = score_labels(scene.labels, found)

    pooled = score_network(shipped_network(), [one])

    assert pooled.ap == pytest.approx(truth.ap)
    assert pooled.f1 == pytest.approx(truth.f1)
    assert (pooled.n_truth, pooled.n_predicted) == (truth.n_truth, truth.n_predicted)


def test_the_score_of_a_slice_is_that_in_the_whole_stack(scene: Scene) -> None:
    found = segment_network(scene.image, voxel_um=VOXEL_UM, diameter_um=BALL).labels
    truth = score_labels(scene.labels[20], found[20])

    pooled = score_network(shipped_network(), slices_of(scene, 20))

    assert pooled.ap == pytest.approx(truth.ap)
    assert pooled.n_truth == len(np.unique(scene.labels[20])) - 1


def test_scores_are_pooled(scene: Scene) -> None:
    one, other = slices_of(scene, 10, 30)
    each = [score_network(shipped_network(), [part]) for part in (one, other)]

    both = score_network(shipped_network(), [one, other])

    assert both.n_truth == sum(part.n_truth for part in each)
    assert min(p.ap for p in each) <= both.ap <= max(p.ap for p in each)


def test_nothing_found_where_nothing_is_scores_one() -> None:
    dark = Scene(np.zeros((8, 32, 32), np.float32), np.zeros((8, 32, 32), np.uint32))

    assert score_network(shipped_network(), [volume_of(dark)]) == (1.0, 1.0, 0, 0)


def test_the_diameter_of_sections_is_measured() -> None:
    labels = np.zeros((1, 40, 40), np.uint32)
    labels[0, 5:15, 5:15] = 3
    labels[0, 20:30, 20:30] = 7
    one = annotated_volume(
        "a", np.zeros(labels.shape), labels, voxel_um=(1, 0.5, 0.5), diameter_um=BALL
    )

    assert section_diameter_um([one]) == pytest.approx(2 * math.sqrt(25 / math.pi))
    assert math.isnan(section_diameter_um([]))
