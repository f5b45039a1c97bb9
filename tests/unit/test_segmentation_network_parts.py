"""The grid, the channels, the objects and the estimate of the size, one by one."""

import numpy as np
import pytest
from scipy import ndimage

from clgkit.segmentation.network_grid import (
    NODES,
    NetworkGrid,
    combine_slices,
    network_grid,
    resample_plane,
)
from clgkit.segmentation.network_input import (
    SliceScaling,
    SliceStatistics,
    join_statistics,
    network_slices,
    network_statistics,
)
from clgkit.segmentation.network_objects import (
    DISTANCE_LEVELS,
    find_network_seeds,
    grow_network_nuclei,
    join_confidence,
    measure_confidence,
)
from clgkit.segmentation.network_scale import estimate_diameter
from tests.unit.segmentation_scene import VOXEL_UM, make_scene

WHERE = {"voxel_um": VOXEL_UM, "diameter_um": 6.0}


def balls(*centers: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Maps of perfect nuclei of 6 x 12 x 12 voxels; where they overlap, the nearer wins."""
    grids = np.ogrid[:24, :60, :60]
    radius = np.full((24, 60, 60), np.inf)
    for center in centers:
        parts = zip(grids, center, np.array(NODES) / 2, strict=True)
        radius = np.minimum(radius, np.sqrt(sum(((g - c) / h) ** 2 for g, c, h in parts)))
    distance = np.clip(1 - radius, 0, 1)
    return np.uint8(255) * (radius < 1), np.rint(distance * DISTANCE_LEVELS).astype(np.uint8)


def test_a_nucleus_is_six_by_twelve_by_twelve_nodes() -> None:
    grid = network_grid((60, 100, 100), voxel_um=(0.5, 1.0, 0.25), diameter_um=6.0)

    assert grid.step_px == (2.0, 0.5, 2.0)
    assert grid.shape == (30, 200, 50)


def test_scales_near_the_networks_own_are_left_alone() -> None:
    grid = network_grid((20, 50, 50), voxel_um=(1.05, 0.46, 0.54), diameter_um=6.0)
    plane = np.random.default_rng(0).random((50, 50)).astype(np.float32)

    assert grid.step_px == (1.0, 1.0, 1.0)
    assert resample_plane(plane, grid.forth(1), grid.forth(2)) is plane


@pytest.mark.parametrize("step", [0.4, 0.8, 1.0, 1.3, 1.9, 3.2])
def test_linear_brightness_survives_the_way_there_and_back(step: float) -> None:
    grid = NetworkGrid((64, 64, 64), (step, 1.0, 1.0))
    ramp = np.broadcast_to(np.arange(64, dtype=np.float32)[:, None, None], (64, 4, 4))
    there = grid.forth(0)
    nodes = np.stack([combine_slices(ramp, there, k, 0) for k in range(grid.shape[0])])

    back = np.stack([combine_slices(nodes, grid.back(0), k, 0) for k in range(64)])

    margin = int(4 * step) + 2  # where samples beyond the end repeat
    # A cut triangle's weights are made to add up to 1; that moves its centre a little.
    np.testing.assert_allclose(back[margin:-margin], ramp[margin:-margin], atol=0.1)


def test_shrinking_averages_the_noise() -> None:
    noise = np.random.default_rng(0).normal(size=(300, 300)).astype(np.float32)
    grid = network_grid((1, 300, 300), voxel_um=(1.0, 0.2, 0.2), diameter_um=6.0)

    small = resample_plane(noise, grid.forth(1), grid.forth(2))

    assert small.shape == (120, 120)
    assert small.std() < 0.35


def test_every_slice_of_the_grid_belongs_to_one_block() -> None:
    for step in (0.5, 1.0, 1.9, 2.7):
        grid = NetworkGrid((41, 8, 8), (step, 1.0, 1.0))
        cuts = [grid.slices_at(start, min(start + 6, 41)) for start in range(0, 41, 6)]

        assert np.concatenate([np.arange(*cut) for cut in cuts]).tolist() == list(
            range(grid.shape[0])
        )


def test_an_empty_axis_has_no_grid() -> None:
    with pytest.raises(ValueError, match="at least one voxel"):
        network_grid((4, 0, 8), **WHERE)


def test_local_scaling_is_a_gaussian_mean_and_deviation() -> None:
    plane = make_scene((8, 120, 120), n_nuclei=100).image
    grid = network_grid(plane.shape, **WHERE)
    scaling = SliceScaling(*np.zeros((3, 8)))

    shown = network_slices(plane, grid=grid, scaling=scaling, nodes=(3, 4))

    values = plane[3].astype(float)
    mean = ndimage.gaussian_filter(values, 12, mode="nearest")
    deviation = np.sqrt(ndimage.gaussian_filter(values**2, 12, mode="nearest") - mean**2)
    local = shown.local[3 - shown.first]
    inner = (slice(20, -20),) * 2
    # The coarse grid smooths a little more; edges are repeated in other units.
    expected = ((values - mean) / deviation)[inner]
    np.testing.assert_allclose(local[inner], expected, atol=0.06 * np.abs(expected).max())


def test_the_whole_slice_is_scaled_by_its_percentiles() -> None:
    volume = make_scene((8, 64, 64)).image
    grid = network_grid(volume.shape, **WHERE)
    statistics = network_statistics(volume, grid=grid)
    scaling = join_statistics([statistics], grid=grid)

    shown = network_slices(volume, grid=grid, scaling=scaling, nodes=(0, 8))

    np.testing.assert_allclose(statistics.values[2, :2], np.percentile(volume[2], [5, 99.8]))
    assert shown.stack(0).shape == (8, 64, 64)
    np.testing.assert_array_equal(shown.stack(0)[0], shown.stack(0)[3])  # the end repeats
    assert shown.whole.min() >= -1
    assert shown.whole.max() <= 3


def test_depth_dims_slowly_in_the_scaling() -> None:
    grid = NetworkGrid((30, 8, 8), (1.0, 1.0, 1.0))
    values = np.tile([[10.0, 100.0, 5.0]], (30, 1))
    values[12] = 10, 11, 0.1  # one blank slice

    scaling = join_statistics([SliceStatistics(0, values)], grid=grid)

    assert scaling.bright[12] > 90
    assert scaling.dark == pytest.approx(10)


def test_missing_statistics_are_named() -> None:
    grid = NetworkGrid((30, 8, 8), (1.0, 1.0, 1.0))

    with pytest.raises(ValueError, match="slice 4 of the network"):
        join_statistics([SliceStatistics(0, np.ones((4, 3)))], grid=grid)


def test_touching_nuclei_are_parted_in_the_middle() -> None:
    foreground, distance = balls((10, 20, 20), (10, 20, 31), (16, 31, 26))

    seeds = find_network_seeds(foreground, distance, **WHERE).places
    labels = grow_network_nuclei(
        foreground, distance, seeds, np.array([7, 8, 9], np.uint32), **WHERE
    )

    assert seeds.tolist() == [[10, 20, 20], [10, 20, 31], [16, 31, 26]]
    assert set(np.unique(labels)) == {0, 7, 8, 9}
    assert (labels > 0)[foreground > 0].all()
    assert (labels[10, 20, 15:25] == 7).all()
    assert (labels[10, 20, 27:36] == 8).all()


def test_small_and_shallow_objects_are_left_out() -> None:
    foreground, distance = balls((10, 20, 20))
    grain = np.zeros_like(foreground)
    grain[10, 40:43, 40:43] = 255

    shallow = find_network_seeds(foreground, distance // 3, **WHERE).places
    both = find_network_seeds(foreground | grain, distance | grain, **WHERE).places
    labels = grow_network_nuclei(
        foreground | grain, distance | grain, both, np.array([1, 2], np.uint32), **WHERE
    )

    assert len(shallow) == 0
    assert len(both) == 2
    assert labels[10, 20, 20] == 1
    assert labels[10, 41, 41] == 0


def grown(
    foreground: np.ndarray, distance: np.ndarray, **settings: float
) -> tuple[list[list[int]], np.ndarray]:
    """Seeds, and the nuclei that grow from them, numbered in the order of the seeds."""
    peak = {"peak": settings.pop("peak")} if "peak" in settings else {}
    seeds = find_network_seeds(foreground, distance, **WHERE, **peak).places
    ids = np.arange(1, len(seeds) + 1, dtype=np.uint32)
    labels = grow_network_nuclei(foreground, distance, seeds, ids, **WHERE, **settings)
    return seeds.tolist(), labels


def cap(axis: int, end: int, *, depth: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
    """Maps of the cap of a nucleus on a face of 24 x 60 x 60 voxels; `end` is 0 or -1.

    It is 0.07 of a nucleus, most shallow inside, and of probability 0.9.
    """
    foreground, distance = np.zeros((2, 24, 60, 60), np.uint8)
    across = [slice(10, 13), slice(30, 36), slice(30, 36)]
    for step in range(1 if axis == 0 else 2):
        place = tuple(end + step * (1 + 2 * end) if k == axis else across[k] for k in range(3))
        foreground[place] = 230
        distance[place] = (depth - 0.2 * step) * DISTANCE_LEVELS
    return foreground, distance


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("end", [0, -1])
def test_what_a_face_cuts_may_be_small_and_shallow(axis: int, end: int) -> None:
    foreground, distance = cap(axis, end)
    (seed,), labels = grown(foreground, distance)
    inside = (np.roll(part, 5 + 10 * end, axis) for part in (foreground, distance))

    assert seed[axis] == (0 if end == 0 else foreground.shape[axis] - 1)
    np.testing.assert_array_equal(labels > 0, foreground > 0)
    assert 30 <= np.count_nonzero(labels) <= 36  # a nucleus has 452
    assert not grown(*inside)[1].any()


def test_what_a_face_cuts_must_be_surely_a_nucleus() -> None:
    foreground, distance = cap(0, 0)

    def there(probability: float, threshold: float = 0.5) -> bool:
        doubtful = np.where(foreground > 0, round(255 * probability), 0).astype(np.uint8)
        return bool(grown(doubtful, distance, threshold=threshold)[1].any())

    assert [there(0.69), there(0.71)] == [False, True]
    # The limit lies two fifths of the way from the threshold to 1.
    assert [there(0.85, threshold=0.7), there(0.85, threshold=0.8)] == [True, False]


def test_specks_and_noise_at_a_face_are_left_out() -> None:
    foreground, distance = cap(0, 0)
    speck = np.zeros_like(foreground)
    speck[0, 30:32, 30:34] = 1  # 8 voxels: less than a sixth of 0.12 of a nucleus

    assert grown(foreground, distance)[1].any()
    assert not grown(foreground * speck, distance)[1].any()
    assert grown(*cap(0, 0, depth=0.2))[0] == []
    assert grown(foreground, distance, peak=0.95)[0] == []  # more is asked of faces, too
    assert not grown(foreground, distance, min_volume_share=0.6)[1].any()


def test_faces_of_a_stack_thinner_than_a_nucleus_cut_nothing() -> None:
    thick, thin = (tuple(part[:n] for part in cap(0, 0)) for n in (6, 5))

    assert grown(*thick)[1].any()
    assert not grown(*thin)[1].any()


def test_a_nucleus_reaches_no_further_than_its_size_allows() -> None:
    foreground = np.full((24, 60, 60), 255, np.uint8)
    _, distance = balls((10, 30, 30))

    seeds = find_network_seeds(foreground, distance, **WHERE).places
    labels = grow_network_nuclei(foreground, distance, seeds, np.array([1], np.uint32), **WHERE)

    z, y, _ = np.nonzero(labels)
    assert np.abs(y - 30).max() <= 0.8 * 12
    assert np.abs(z - 10).max() <= 0.8 * 6


@pytest.mark.parametrize(
    ("places", "ids", "sentence"),
    [([[1, 1, 1]], [], "as many ids"), ([[1, 1, 60]], [1], "outside of the tile")],
)
def test_wrong_seeds_are_refused(places: list[list[int]], ids: list[int], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        grow_network_nuclei(
            *balls((10, 20, 20)), np.array(places), np.array(ids, np.uint32), **WHERE
        )


def test_maps_of_two_shapes_are_refused() -> None:
    foreground, distance = balls((10, 20, 20))

    with pytest.raises(ValueError, match="one shape"):
        find_network_seeds(foreground, distance[1:], **WHERE)


def test_confidence_of_parts_is_that_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, (6, 8, 8)).astype(np.uint32)
    labels[labels == 3] = 0
    maps = rng.integers(0, 256, (2, 6, 8, 8)).astype(np.uint8)

    whole = measure_confidence(labels, *maps, n_nuclei=4)
    joined = join_confidence(
        measure_confidence(labels[part], *maps[:, part], n_nuclei=4)
        for part in (slice(0, 1), slice(1, 4), slice(4, 6))
    )

    for one, other in zip(whole, joined, strict=True):
        np.testing.assert_array_equal(one, other)
    assert whole.voxels[3] == 0
    assert np.isnan(whole.probability[3])
    assert whole.peak[1] == maps[1][labels == 1].max() / DISTANCE_LEVELS


@pytest.mark.parametrize("size", [0.7, 1.0, 1.5])
def test_the_size_of_nuclei_is_estimated(size: float) -> None:
    scene = make_scene((32, 120, 120), n_nuclei=250)
    voxel = tuple(size * v for v in VOXEL_UM)

    estimate = estimate_diameter(scene.image, voxel_um=voxel)

    # True sizes are spread by a tenth; the estimate follows the blur, too.
    assert estimate.diameter_um[1] == pytest.approx(6.0 * size, rel=0.15)
    assert estimate.diameter_um[0] == estimate.diameter_um[1]
    assert estimate.responses.shape == estimate.tried_um.shape


def test_an_elongation_is_kept_in_the_estimate() -> None:
    scene = make_scene((50, 96, 96), n_nuclei=150, stretch=1.9, seed=4)

    z, _, x = estimate_diameter(scene.image, voxel_um=VOXEL_UM, elongation=1.9).diameter_um

    assert z == pytest.approx(1.9 * x)
    assert x == pytest.approx(6.0, rel=0.15)


def test_nothing_has_no_size() -> None:
    with pytest.raises(ValueError, match="give diameter_um"):
        estimate_diameter(np.zeros((8, 50, 50)), voxel_um=VOXEL_UM)
