import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from clgkit.segmentation import plan_tiles, scattered_ids
from clgkit.segmentation.network_grid import NetworkGrid
from clgkit.segmentation.network_input import join_statistics, network_slices, network_statistics
from clgkit.segmentation.network_objects import (
    find_network_seeds,
    grow_network_nuclei,
    network_halo_voxels,
)

SHAPE = (18, 40, 44)
SEEDS = st.integers(0, 2**32 - 1)


def any_maps(seed: int, roughness: float) -> tuple[np.ndarray, np.ndarray]:
    """Two maps with structure of the size of nuclei, flat pieces and noise.

    Many of their nuclei lie on a face, some of them small, shallow or doubtful.
    """
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=SHAPE), (1.2, 2, 2))
    field = field / field.std() + roughness * rng.normal(size=SHAPE)
    foreground = np.clip(128 + 90 * field, 0, 255).astype(np.uint8)
    return foreground, np.clip(120 * field, 0, 210).astype(np.uint8)


@settings(max_examples=12, deadline=None)
@given(
    seed=SEEDS,
    roughness=st.sampled_from([0.0, 0.3, 2.0]),
    core=st.tuples(st.integers(4, 18), st.integers(9, 40), st.integers(9, 44)),
    elongation=st.sampled_from([0.7, 1.0]),
)
def test_tiles_of_any_maps_give_the_labels_of_the_whole(
    seed: int, roughness: float, core: tuple[int, int, int], elongation: float
) -> None:
    maps = any_maps(seed, roughness)
    size = {"voxel_um": (1.0, 1.0, 1.0), "diameter_um": (5.0 * elongation, 5.0, 5.0)}
    places = find_network_seeds(*maps, **size).places
    ids = np.arange(1, len(places) + 1, dtype=np.uint32)
    whole = grow_network_nuclei(*maps, places, ids, **size)

    for tile in plan_tiles(SHAPE, core=core, halo=network_halo_voxels(**size)):
        low = np.array([part.start for part in tile.padded])
        high = np.array([part.stop for part in tile.padded])
        cut = [part[tile.padded] for part in maps]
        found = find_network_seeds(*cut, **size).places + low
        inner = np.array([[part.start, part.stop] for part in tile.core])
        own = found[((found >= inner[:, 0]) & (found < inner[:, 1])).all(axis=1)]
        expected = places[((places >= inner[:, 0]) & (places < inner[:, 1])).all(axis=1)]
        np.testing.assert_array_equal(own, expected)
        here = ((places >= low) & (places < high)).all(axis=1)
        grown = grow_network_nuclei(*cut, places[here] - low, ids[here], **size)
        np.testing.assert_array_equal(grown[tile.inner], whole[tile.core])


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, threshold=st.floats(0.2, 0.8))
def test_labels_lie_in_the_foreground_in_one_piece(seed: int, threshold: float) -> None:
    maps = any_maps(seed, 0.2)
    size = {"voxel_um": (1.0, 1.0, 1.0), "diameter_um": 6.0, "threshold": threshold}
    places = find_network_seeds(*maps, **size).places
    ids = np.arange(1, len(places) + 1, dtype=np.uint32)

    labels = grow_network_nuclei(*maps, places, ids, **size)

    assert (maps[0][labels > 0] > threshold * 255).all()
    assert scattered_ids(labels).size == 0
    at_seeds = labels[tuple(places.T)]
    assert ((at_seeds == ids) | (at_seeds == 0)).all()
    assert set(np.unique(labels)) - {0} == set(at_seeds) - {0}


@settings(max_examples=20, deadline=None)
@given(
    step=st.floats(0.35, 3.5),
    length=st.integers(1, 50),
    block=st.integers(1, 50),
    seed=SEEDS,
)
def test_what_the_network_sees_does_not_depend_on_the_block(
    step: float, length: int, block: int, seed: int
) -> None:
    volume = np.random.default_rng(seed).random((length, 9, 10)).astype(np.float32)
    grid = NetworkGrid(volume.shape, (step, 1.0, 1.0))
    scaling = join_statistics([network_statistics(volume, grid=grid)], grid=grid)
    whole = network_slices(volume, grid=grid, scaling=scaling, nodes=(0, grid.shape[0]))

    for start in range(0, length, block):
        stop = min(start + block, length)
        low, high = max(start - grid.halo_slices, 0), min(stop + grid.halo_slices, length)
        nodes = grid.slices_at(start, stop)
        if nodes[0] == nodes[1]:
            continue
        cut = network_slices(
            volume[low:high], grid=grid, scaling=scaling, nodes=nodes, first_slice=low
        )
        for node in range(*nodes):
            np.testing.assert_array_equal(cut.stack(node), whole.stack(node))
