"""Size and place of nuclei in a volume."""

import numpy as np
import pytest

from clgkit.traces import LabelGeometry, centroids, measure_labels


def make_volume() -> np.ndarray:
    return np.random.default_rng(4).integers(0, 30, (7, 15, 18)).astype(np.uint32) ** 5


def test_nuclei_are_measured_whole() -> None:
    volume = make_volume()  # ids up to 2**24 and beyond, with gaps

    found = measure_labels(enumerate(volume))

    assert found.nucleus.tolist() == sorted(set(volume.ravel().tolist()) - {0})
    assert found.nucleus[-1] > 2**24
    for i, nucleus in enumerate(found.nucleus):
        voxels = np.argwhere(volume == nucleus)
        assert found.voxels[i] == len(voxels)
        assert (found.z[i], found.y[i], found.x[i]) == tuple(voxels.sum(axis=0) / len(voxels))
        assert found.z_min[i] == voxels[:, 0].min()
        assert found.z_max[i] == voxels[:, 0].max()


def test_neighbouring_large_ids_stay_apart() -> None:
    volume = np.array([[[16777216, 16777217]], [[16777217, 4294967295]]], np.uint32)

    found = measure_labels(enumerate(volume))

    assert found.nucleus.tolist() == [16777216, 16777217, 4294967295]
    assert found.voxels.tolist() == [1, 2, 1]
    assert found.z.tolist() == [0, 0.5, 1]


def test_order_and_portions_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = make_volume()
    expected = measure_labels(enumerate(volume))
    monkeypatch.setattr(centroids, "PENDING_ROWS", 1)  # add up again and again

    found = measure_labels((z, volume[z]) for z in (3, 0, 6, 1, 2, 5, 4))

    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_memory_grows_with_nuclei_not_with_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(centroids, "PENDING_ROWS", 100)
    measured = LabelGeometry()
    labels = np.repeat(np.arange(1, 21, dtype=np.uint32), 3).reshape(6, 10)
    for z in range(200):
        measured.add(z, labels)
        assert measured._n_pending <= 100

    assert measured.finish().voxels.tolist() == [600] * 20


@pytest.mark.parametrize("slices", [[], [(0, np.zeros((3, 3), np.uint32))]])
def test_no_nucleus_is_legal(slices: list[tuple[int, np.ndarray]]) -> None:
    found = measure_labels(slices)

    assert all(values.shape == (0,) for values in found)


def test_slices_that_do_not_belong_are_refused() -> None:
    labels = np.ones((3, 4), np.uint32)
    measured = LabelGeometry()
    measured.add(5, labels)

    with pytest.raises(ValueError, match="Slice 5 was measured already"):
        measured.add(5, labels)
    with pytest.raises(ValueError, match=r"Slice 6 has shape \(4, 3\)"):
        measured.add(6, labels.T)
    with pytest.raises(TypeError, match="float64"):
        measured.add(7, labels.astype(float))
    assert measured.finish().voxels.tolist() == [12]
