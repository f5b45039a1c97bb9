import numpy as np
import pytest
from scipy import ndimage

from clgkit.segmentation.training_samples import (
    LabelledStack,
    distance_target,
    draw_batch,
    label_stack,
)
from tests.unit.segmentation_scene import VOXEL_UM, Scene, make_scene

SIZE = {"voxel_um": VOXEL_UM, "diameter_um": 6.0}


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene((14, 110, 130), n_nuclei=130)


@pytest.fixture(scope="module")
def stack(scene: Scene) -> LabelledStack:
    return label_stack(scene.image, scene.labels, **SIZE)


def test_the_distance_is_one_in_the_middle_of_every_nucleus(scene: Scene) -> None:
    distance = distance_target(scene.labels)

    highest = ndimage.maximum(distance, scene.labels, np.unique(scene.labels)[1:])
    np.testing.assert_allclose(highest, 1.0)
    assert not distance[scene.labels == 0].any()
    assert (distance[scene.labels > 0] > 0).all()


def test_the_distance_is_measured_in_diameters_along_each_axis() -> None:
    labels = np.zeros((9, 30, 30), np.uint8)
    labels[2:7, 10:20, 10:20] = 3  # 5 slices of 1/6 diameter, 10 columns of 1/12

    distance = distance_target(labels)

    # From the middle 3 slices up, half a diameter; 5 columns sideways, 5/12: that is nearer.
    assert distance[4, 14, 14] == 1.0
    assert distance[4, 14, 10] == pytest.approx(1 / 5)
    assert distance[2, 14, 14] == pytest.approx((1 / 6) / (5 / 12))


def test_a_face_of_the_stack_is_no_surface() -> None:
    labels = np.zeros((6, 20, 20), np.uint8)
    labels[:, :, :5] = 1

    assert (distance_target(labels)[:, :, 0] == 1).all()
    assert (distance_target(np.ones((3, 4, 4), np.uint8)) == 1).all()


def test_ids_do_not_matter_to_the_distance(scene: Scene) -> None:
    renamed = np.where(scene.labels > 0, 7_000_000 - 3 * scene.labels.astype(np.int64), 0)

    np.testing.assert_array_equal(distance_target(renamed), distance_target(scene.labels))


def test_a_stack_is_brought_to_the_grid(scene: Scene) -> None:
    stack = label_stack(scene.image, scene.labels, voxel_um=(0.5, 0.5, 0.25), diameter_um=6.0)

    assert stack.local.shape == stack.foreground.shape == (7, 110, 65)
    assert stack.solid
    share = stack.foreground.mean()
    assert share == pytest.approx((scene.labels > 0).mean(), abs=0.02)


def test_single_slices_teach_the_distance_in_the_plane(scene: Scene) -> None:
    only = np.zeros_like(scene.labels)
    only[[3, 9]] = scene.labels[[3, 9]]

    stack = label_stack(scene.image, only, slices=[3, 9], **SIZE)

    assert stack.nodes.tolist() == [3, 9]
    assert not stack.solid
    assert not stack.distance[4].any()
    inside = stack.distance[9][stack.foreground[9]]
    assert (inside > 0).all()
    assert inside.max() > 200  # nearly whole at the widest sections
    np.testing.assert_array_equal(stack.foreground[9], scene.labels[9] > 0)


@pytest.mark.parametrize(
    ("slices", "sentence"), [([], "0 to 13"), ([14], "0 to 13"), ([-1], "0 to 13")]
)
def test_slices_that_do_not_exist_are_refused(
    scene: Scene, slices: list[int], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        label_stack(scene.image, scene.labels, slices=slices, **SIZE)


def test_shapes_that_differ_are_refused(scene: Scene) -> None:
    with pytest.raises(ValueError, match="one shape"):
        label_stack(scene.image, scene.labels[1:], **SIZE)


def test_a_batch_is_drawn_from_its_generator_alone(stack: LabelledStack) -> None:
    one, same, other = (draw_batch([stack], np.random.default_rng(seed)) for seed in (1, 1, 2))

    np.testing.assert_array_equal(one.channels, same.channels)
    assert not np.array_equal(one.channels, other.channels)
    assert one.channels.shape == (8, 8, 96, 96)
    assert one.channels.dtype == np.float32
    assert one.foreground.shape == one.distance.shape == (8, 96, 96)


def test_answers_follow_the_turns_of_the_crop(stack: LabelledStack) -> None:
    batch = draw_batch([stack], np.random.default_rng(3), n_crops=16)

    for channels, foreground in zip(batch.channels, batch.foreground, strict=True):
        inside = foreground > 0
        assert channels[3][inside].mean() > channels[3][~inside].mean() + 0.5
        assert ((batch.distance > 0) <= (batch.foreground > 0)).all()


def test_a_crop_without_augmentation_is_a_piece_of_the_stack(stack: LabelledStack) -> None:
    batch = draw_batch([stack], np.random.default_rng(0), n_crops=1, augment=False)

    centre = batch.channels[0, 3]
    views = np.lib.stride_tricks.sliding_window_view(stack.local, (96, 96), axis=(1, 2))
    first = views[..., 0, 0].astype(np.float32)
    places = np.argwhere(first == centre[0, 0])
    assert sum(np.array_equal(views[tuple(place)], centre) for place in places) == 1


def test_a_stack_smaller_than_a_crop_repeats_its_edge() -> None:
    small = make_scene((5, 40, 50), n_nuclei=10)
    stack = label_stack(small.image, small.labels, **SIZE)

    batch = draw_batch([stack], np.random.default_rng(0), augment=False)

    np.testing.assert_array_equal(batch.foreground[0, 40:], batch.foreground[0, [39] * 56])
