"""All rules of tidying in one call: their order, the counts, and what became of each id."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from clgkit.segmentation.tidy import keep_largest_pieces, relabel, separate_pieces
from clgkit.segmentation.tidy_objects import drop_pieces, object_boxes, part_pieces
from clgkit.segmentation.tidy_shape import (
    fill_holes,
    fill_objects,
    smooth_in_place,
    smooth_labels,
    split_mask,
)
from clgkit.segmentation.tidy_steps import FATES, Tidied, TidyRules, tidy_labels
from tests.unit.segmentation_scene import make_scene

UM = (1.0, 0.5, 0.5)
UInt32 = npt.NDArray[np.uint32]


def boxes(*placed: tuple[int, tuple[int, ...], tuple[int, ...]]) -> UInt32:
    """Return a volume of 12 x 20 x 20 voxels with boxes of (id, first corner, sizes)."""
    labels = np.zeros((12, 20, 20), np.uint32)
    for label, corner, sizes in placed:
        labels[tuple(slice(a, a + n) for a, n in zip(corner, sizes, strict=True))] = label
    return labels


def rows(tidied: Tidied) -> list[tuple[int, int, str]]:
    table = (tidied.old_ids.tolist(), tidied.new_ids.tolist(), tidied.fates.tolist())
    return list(zip(*table, strict=True))


def values(tidied: Tidied) -> UInt32:
    return np.stack([tidied.slices[z] for z in range(len(tidied.slices))])


@pytest.fixture(scope="module")
def scene() -> UInt32:
    """Ellipsoids with pinholes, with ids that have gaps."""
    labels = make_scene((12, 48, 52), n_nuclei=20).labels.astype(np.uint32) * 7
    labels[np.random.default_rng(0).random(labels.shape) < 0.01] = 0
    return labels


def test_without_rules_ids_become_compact_and_nothing_is_held(scene: UInt32) -> None:
    tidied = tidy_labels(scene)

    labels, old = relabel(scene)
    assert not isinstance(tidied.slices, np.ndarray)
    np.testing.assert_array_equal(values(tidied), labels)
    assert rows(tidied) == [(o, n, "kept") for n, o in enumerate(old.tolist()) if n]
    assert tidied.voxels == {}
    assert not any(tidied.objects.values())


def test_every_rule_alone_is_the_function_of_its_name(scene: UInt32) -> None:
    opened = smooth_labels(scene, iterations=2, method="opening")
    for rules, expected in (
        (TidyRules(fill=True), fill_holes(scene)),
        (TidyRules(smooth=1), smooth_labels(scene)),
        (TidyRules(smooth=2, smoothing="opening"), opened),
        (TidyRules(pieces="largest"), keep_largest_pieces(scene)),
    ):
        made = values(tidy_labels(scene, rules))

        np.testing.assert_array_equal(made, relabel(expected).labels)


def test_what_is_given_stays_as_it_is(scene: UInt32) -> None:
    before = scene.copy()

    tidy_labels(scene, TidyRules(fill=True, smooth=1, pieces="separate", border="drop"))

    np.testing.assert_array_equal(scene, before)


def test_objects_go_by_border_then_volume_then_share_of_the_median() -> None:
    labels = boxes(
        (3, (0, 2, 2), (2, 2, 2)),  # on the border, and small as well
        (9, (2, 2, 2), (2, 2, 2)),  # 8 voxels: 2 um^3
        (20, (2, 8, 2), (4, 4, 4)),  # 64
        (21, (2, 8, 8), (4, 4, 4)),  # 64
        (22, (2, 13, 13), (3, 3, 3)),  # 27
        (90, (7, 1, 1), (4, 18, 18)),  # 1296
    )
    rules = TidyRules(border="drop", min_um3=2.1, of_median=(0.5, 5))

    tidied = tidy_labels(labels, rules, voxel_um=UM)

    assert rows(tidied) == [
        (3, 0, "border"), (9, 0, "small"), (20, 1, "kept"), (21, 2, "kept"),
        (22, 0, "below median"), (90, 0, "above median"),
    ]  # fmt: skip
    assert np.unique(values(tidied), return_counts=True)[1].tolist() == [labels.size - 128, 64, 64]
    assert {f: n for f, n in tidied.objects.items() if n} == dict.fromkeys(FATES[5:], 1)


def test_merged_objects_count_as_one_of_their_whole_size() -> None:
    labels = boxes((5, (2, 2, 2), (2, 2, 2)), (6, (2, 2, 4), (2, 2, 2)), (8, (6, 6, 6), (1, 2, 2)))

    tidied = tidy_labels(labels, TidyRules(merge=((6, 5),), min_um3=4), voxel_um=UM)

    assert rows(tidied) == [(5, 1, "merged"), (6, 1, "merged"), (8, 0, "small")]
    assert tidied.objects["merged"] == 1
    np.testing.assert_array_equal(values(tidied), (labels > 0) & (labels != 8))


def test_a_merged_object_on_the_border_goes_as_a_whole() -> None:
    labels = boxes((5, (0, 2, 2), (2, 2, 2)), (6, (2, 2, 2), (2, 2, 2)), (8, (6, 6, 6), (2, 2, 2)))

    tidied = tidy_labels(labels, TidyRules(merge=((5, 6),), border="drop"))

    assert rows(tidied) == [(5, 0, "border"), (6, 0, "border"), (8, 1, "kept")]
    assert (tidied.objects["merged"], tidied.objects["border"]) == (1, 1)


def test_what_was_merged_stays_together_and_the_gap_between_is_a_hole() -> None:
    labels = boxes(
        (4, (2, 2, 2), (3, 6, 6)), (7, (6, 2, 2), (3, 6, 6)), (9, (2, 12, 12), (2, 2, 2))
    )
    labels[5, 2:8, 2:8] = 7
    labels[4:6, 4, 4] = 0  # between the two
    labels[8, 12, 12] = 9  # a speck of another

    tidied = tidy_labels(labels, TidyRules(merge=((4, 7),), fill=True, pieces="largest"))

    assert tidied.voxels == {"filled": 2, "dropped": 1}
    assert (values(tidied)[2:9, 2:8, 2:8] == 1).all()
    apart = boxes((4, (2, 2, 2), (2, 2, 2)), (7, (8, 8, 8), (1, 1, 1)))
    for pieces in ("largest", "separate"):
        made = tidy_labels(apart, TidyRules(merge=((4, 7),), pieces=pieces))
        np.testing.assert_array_equal(values(made), apart > 0)


def test_an_object_is_split_and_its_parts_get_the_last_numbers() -> None:
    labels = boxes((5, (1, 1, 1), (5, 7, 7)), (6, (8, 1, 1), (2, 2, 2)))
    labels[3, 4, 8] = 5  # a bridge
    labels[2:5, 2:7, 9:14] = 5

    tidied = tidy_labels(labels, TidyRules(split=(5,)), voxel_um=(1, 1, 1))

    made = values(tidied)
    assert rows(tidied) == [(5, 1, "split"), (5, 3, "split"), (6, 2, "kept")]
    assert tidied.objects["split"] == 1
    assert (made[1:6, 1:8, 1:8] == 1).all()  # the larger part
    assert (made[2:5, 2:7, 9:14] == 3).all()
    np.testing.assert_array_equal(made > 0, labels > 0)


def test_a_part_can_go_by_a_later_rule_and_the_other_stays() -> None:
    labels = boxes((5, (1, 1, 1), (5, 7, 7)))
    labels[3, 4, 8] = 5
    labels[2:5, 2:7, 9:14] = 5
    rules = TidyRules(split=(5,), min_um3=100)

    assert rows(tidy_labels(labels, rules, voxel_um=(1, 1, 1))) == [
        (5, 0, "small"),
        (5, 1, "split"),
    ]


def test_pieces_become_objects_of_their_own() -> None:
    labels = boxes((5, (1, 1, 1), (1, 1, 1)), (5, (1, 4, 1), (2, 2, 2)), (6, (1, 9, 1), (1, 1, 2)),
                   (5, (8, 1, 1), (1, 1, 3)))  # fmt: skip

    tidied = tidy_labels(labels, TidyRules(pieces="separate"))

    assert rows(tidied) == [(5, 1, "piece"), (5, 3, "piece"), (5, 4, "piece"), (6, 2, "kept")]
    assert tidied.objects["piece"] == 2
    made = values(tidied)
    assert (made[1, 4, 1], made[8, 1, 1], made[1, 1, 1], made[1, 9, 1]) == (1, 3, 4, 2)


def test_an_opening_cuts_a_bridge_and_pieces_follow() -> None:
    labels = boxes((2, (2, 2, 2), (5, 5, 5)), (2, (4, 4, 7), (1, 1, 3)), (2, (2, 2, 10), (5, 5, 5)),
                   (3, (9, 1, 1), (1, 8, 1)))  # fmt: skip
    rules = TidyRules(smooth=1, smoothing="opening", pieces="separate")

    tidied = tidy_labels(labels, rules)

    assert rows(tidied) == [(2, 1, "piece"), (2, 2, "piece"), (3, 0, "smoothed away")]
    assert tidied.objects["smoothed away"] == 1
    assert tidied.voxels["smoothed"] == np.count_nonzero((values(tidied) > 0) != (labels > 0))


def test_no_objects_and_no_slices_are_legal() -> None:
    everything = TidyRules(
        fill=True, smooth=1, pieces="separate", border="drop", of_median=(0.1, 5)
    )
    for shape in ((4, 5, 6), (0, 5, 6)):
        for rules in (TidyRules(), everything):
            tidied = tidy_labels(np.zeros(shape, np.uint8), rules)

            assert (tidied.old_ids.size, len(tidied.slices)) == (0, shape[0])
            assert not any([*tidied.objects.values(), *tidied.voxels.values()])


def test_the_highest_id_is_an_id() -> None:
    labels = boxes((2**32 - 1, (1, 1, 1), (2, 2, 2)), (2**32 - 2, (5, 5, 5), (2, 2, 2)))

    for rules in (TidyRules(), TidyRules(pieces="separate")):
        tidied = tidy_labels(labels, rules)
        assert rows(tidied) == [(2**32 - 2, 1, "kept"), (2**32 - 1, 2, "kept")]


def test_progress_is_told_step_by_step(scene: UInt32) -> None:
    told: list[tuple[str, int, int]] = []

    tidy_labels(scene, TidyRules(fill=True, smooth=2, pieces="largest"),
                progress=lambda *words: told.append(words))  # fmt: skip

    assert list(dict.fromkeys(step for step, _, _ in told)) == ["read", "fill", "smooth", "pieces"]
    assert all(0 <= done <= total for _, done, total in told)
    assert ("read", len(scene), len(scene)) in told


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        ({"min_um3": 3.0}, "need the size of a voxel"),
        ({"split": (5,)}, "need the size of a voxel"),
        ({"split": (5,), "n_parts": 1}, "split into 2 parts or more; found 1"),
        ({"smooth": -1}, "0 times or more; found -1"),
        ({"split": (5,), "merge": ((5, 6),)}, r"objects \[5\] are to be split and merged"),
        ({"split": (7, 5, 8)}, r"no objects \[7, 8\]; split ids that are there"),
        ({"merge": ((5, 9),)}, r"no objects \[9\]; merge ids that are there"),
        ({"split": (6,)}, "object 6 has 1 peak of distance to its surface; it cannot become 2"),
        ({"of_median": (5, 1)}, "limited from below and above"),
    ],
)
def test_rules_that_cannot_be_are_refused(rules: dict[str, Any], sentence: str) -> None:
    labels = boxes((5, (1, 1, 1), (3, 3, 3)), (6, (6, 6, 6), (1, 1, 1)))
    sized = {"voxel_um": UM} if "the size" not in sentence else {}

    with pytest.raises(ValueError, match=sentence):
        tidy_labels(labels, TidyRules(**rules), **sized)


def test_what_is_no_volume_of_labels_is_refused() -> None:
    for rules in (TidyRules(), TidyRules(fill=True)):
        with pytest.raises(ValueError, match=r"axes z, y, x; found slices of shape \(4,\)"):
            tidy_labels(np.ones((3, 4), np.uint8), rules)
        with pytest.raises(TypeError, match="whole numbers"):
            tidy_labels(np.full((3, 4, 4), 0.5), rules)
        with pytest.raises(ValueError, match="found -1"):
            tidy_labels(np.full((3, 4, 4), -1), rules)


@pytest.mark.parametrize("method", ["majority", "opening"])
@pytest.mark.parametrize("slab", [1, 3 * 48 * 52])
def test_smoothing_does_not_depend_on_the_slab(
    scene: UInt32, monkeypatch: pytest.MonkeyPatch, method: Any, slab: int
) -> None:
    whole = scene.copy()
    changed = smooth_in_place(whole, method=method)
    monkeypatch.setattr("clgkit.segmentation.tidy_shape.SLAB", slab)
    cut = scene.copy()

    assert smooth_in_place(cut, method=method) == changed == np.count_nonzero(whole != scene)
    np.testing.assert_array_equal(cut, whole)


def test_a_hole_as_wide_as_its_box_is_none() -> None:
    compact = boxes((1, (2, 2, 2), (5, 5, 5)))
    compact[2, 4, 4] = 0  # open to the face of the box
    compact[4, 4, 4] = 0

    assert fill_objects(compact, object_boxes(compact)) == 1
    assert (compact[2, 4, 4], compact[4, 4, 4]) == (0, 1)


def test_pieces_in_place_are_those_of_the_functions(scene: UInt32) -> None:
    compact, old = relabel(scene)
    kept, parted = compact.copy(), compact.copy()

    dropped = drop_pieces(kept, object_boxes(kept))
    parents = part_pieces(parted, object_boxes(parted), highest=old.size - 1)

    np.testing.assert_array_equal(old[kept], keep_largest_pieces(scene))
    assert dropped == np.count_nonzero(compact) - np.count_nonzero(kept) > 0
    again = separate_pieces(scene)
    assert sorted(again.old_ids.tolist()) == sorted([*old.tolist(), *old[parents].tolist()])
    pairs = np.unique(np.stack([parted.ravel(), again.labels.ravel()]), axis=1)
    assert pairs.shape[1] == again.old_ids.size  # one to one
    for k in np.unique(parted[parted > 0])[:20].tolist():
        assert ndimage.label(parted == k)[1] == 1


def test_boxes_of_absent_numbers_are_left_out() -> None:
    assert object_boxes(np.empty((0, 3, 3), np.uint32)) == []
    assert [number for number, _ in object_boxes(np.array([[[0, 4, 0, 2]]], np.uint32))] == [2, 4]


def test_parts_of_a_mask_come_from_the_largest_down() -> None:
    mask = (
        boxes((1, (1, 1, 1), (3, 3, 3)), (1, (1, 6, 1), (5, 5, 5)), (1, (8, 8, 10), (3, 4, 4))) > 0
    )

    parts = split_mask(mask, voxel_um=(1, 1, 1), n_parts=3)

    assert np.bincount(parts.ravel())[1:].tolist() == [125, 48, 27]
    assert split_mask(mask[:, :5, :5], voxel_um=(1, 1, 1), n_parts=4).max() == 1
