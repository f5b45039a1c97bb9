"""The labels of one plane as runs."""

import numpy as np
import pytest
from skimage.measure import regionprops

from clgkit.traces import find_rois


def test_runs_lie_in_raster_order_and_break_at_row_ends() -> None:
    labels = np.array([[0, 7, 7], [7, 0, 3], [3, 3, 3]], np.uint32)

    rois = find_rois(labels)

    assert rois.nucleus.tolist() == [3, 7]
    assert rois.area_px.tolist() == [4, 3]
    assert rois.starts.tolist() == [1, 3, 5, 6]
    assert rois.stops.tolist() == [3, 4, 6, 9]
    assert rois.roi.tolist() == [1, 1, 0, 0]
    assert rois.shape == (3, 3)


def test_the_runs_cover_the_labels_and_nothing_else() -> None:
    labels = np.random.default_rng(1).integers(0, 9, (23, 31)).astype(np.int32) * 1000

    rois = find_rois(labels)

    painted = np.zeros(labels.size, np.int64)
    for start, stop, roi in zip(rois.starts, rois.stops, rois.roi, strict=True):
        painted[start:stop] = rois.nucleus[roi]
    np.testing.assert_array_equal(painted.reshape(labels.shape), labels)


def test_areas_and_centroids_are_those_of_regionprops() -> None:
    labels = np.random.default_rng(2).integers(0, 12, (40, 33))

    rois = find_rois(labels)

    expected = regionprops(labels)  # type: ignore[no-untyped-call]
    assert rois.nucleus.tolist() == [region.label for region in expected]
    assert rois.area_px.tolist() == [region.num_pixels for region in expected]
    assert list(zip(rois.y, rois.x, strict=True)) == [region.centroid for region in expected]


@pytest.mark.parametrize("shape", [(5, 6), (0, 6), (5, 0)])
def test_a_plane_without_labels_has_no_roi(shape: tuple[int, int]) -> None:
    rois = find_rois(np.zeros(shape, np.uint32))

    assert rois.nucleus.shape == rois.y.shape == rois.starts.shape == (0,)
    assert rois.nucleus.dtype == np.uint32
    assert rois.shape == shape


@pytest.mark.parametrize("dtype", ["<u4", ">u4", "i8", "u8"])
def test_ids_beyond_two_to_the_24_are_kept_apart(dtype: str) -> None:
    labels = np.array([[16777216, 16777217, 4294967295 if dtype != "i8" else 5]], dtype)

    assert find_rois(labels).nucleus.tolist() == sorted(labels[0].tolist())


def test_more_than_65535_ids_are_counted() -> None:
    labels = np.arange(70_000, dtype=np.uint32).reshape(200, 350)

    rois = find_rois(labels)

    assert rois.nucleus.size == 69_999
    assert (rois.area_px == 1).all()
    assert rois.nucleus[-1] == 69_999


def test_labels_that_are_none_are_refused() -> None:
    with pytest.raises(TypeError, match="float64"):
        find_rois(np.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"\(Y, X\) is wanted"):
        find_rois(np.zeros((2, 3, 3), np.uint32))
    with pytest.raises(ValueError, match="-1 is negative"):
        find_rois(np.array([[-1, 0]]))
    with pytest.raises(ValueError, match="4294967296 does not fit"):
        find_rois(np.array([[2**32, 0]]))
