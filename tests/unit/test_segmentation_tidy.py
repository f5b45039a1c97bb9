import numpy as np
import pytest

from clgkit.segmentation import plan_tiles, relabel, remove_small, scattered_ids


def test_ids_become_compact_in_their_order_and_the_old_ones_are_told() -> None:
    labels = np.array([[0, 16_777_217, 5], [2**32 - 1, 5, 0]], np.uint32)

    compact, old_ids = relabel(labels)

    assert compact.dtype == np.uint32
    np.testing.assert_array_equal(compact, [[0, 2, 1], [3, 1, 0]])
    np.testing.assert_array_equal(old_ids, [0, 5, 16_777_217, 2**32 - 1])
    np.testing.assert_array_equal(old_ids[compact], labels)


def test_a_volume_without_background_keeps_zero_free() -> None:
    compact, old_ids = relabel(np.array([7, 7, 9]))

    assert (compact.tolist(), old_ids.tolist()) == ([1, 1, 2], [0, 7, 9])


def test_large_volumes_are_looked_up_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.random.default_rng(0).integers(0, 50, (5, 6, 7)) * 3
    whole = relabel(labels)
    monkeypatch.setattr("clgkit.segmentation.tidy.CHUNK", 8)

    for ours, expected in zip(relabel(labels), whole, strict=True):
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("labels", [np.zeros((3, 4), np.uint8), np.zeros((0, 4), np.int64)])
def test_no_objects_are_legal(labels: np.ndarray) -> None:
    assert relabel(labels).old_ids.tolist() == [0]
    assert remove_small(labels, min_voxels=3).shape == labels.shape
    assert scattered_ids(labels).size == 0


def test_small_objects_go_and_the_other_ids_stay() -> None:
    labels = np.array([0, 9, 9, 9, 4, 4, 7], np.uint32)

    assert remove_small(labels, min_voxels=2).tolist() == [0, 9, 9, 9, 4, 4, 0]
    assert remove_small(labels, min_voxels=3).tolist() == [0, 9, 9, 9, 0, 0, 0]


def test_objects_in_pieces_are_named() -> None:
    labels = np.zeros((3, 4, 4), np.uint32)
    labels[0, 0, 0] = labels[2, 0, 0] = 70_000  # an empty slice between
    labels[0, 1, 1] = labels[1, 2, 2] = 8  # only a corner in common
    labels[:, 3, 3] = 9

    assert scattered_ids(labels).tolist() == [8, 70_000]


def test_labels_that_are_none_are_refused() -> None:
    with pytest.raises(TypeError, match="whole numbers"):
        relabel(np.zeros(3))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="found -1"):
        relabel(np.array([-1, 2]))
    with pytest.raises(ValueError, match=r"2\*\*32 - 1"):
        remove_small(np.array([2**32]), min_voxels=1)


def test_tiles_cover_a_volume_once_and_know_their_place() -> None:
    shape = (10, 7, 23)
    volume = np.arange(10 * 7 * 23).reshape(shape)
    seen = np.zeros(shape, int)

    for tile in plan_tiles(shape, core=(4, 7, 10), halo=(2, 3, 5)):
        seen[tile.core] += 1
        padded = volume[tile.padded]
        np.testing.assert_array_equal(padded[tile.inner], volume[tile.core])
        assert padded.flat[0] == volume[tile.origin]

    assert (seen == 1).all()


def test_tiles_without_a_core_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 voxel"):
        list(plan_tiles((5, 5, 5), core=(5, 0, 5), halo=(1, 1, 1)))
