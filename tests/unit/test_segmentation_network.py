import pickle
import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest

from clgkit.segmentation import network as module
from clgkit.segmentation import plan_tiles, relabel, scattered_ids, score_labels
from clgkit.segmentation.network import (
    NetworkMaps,
    NucleusNetwork,
    predict_nuclei,
    segment_network,
    shipped_network,
)
from clgkit.segmentation.network_grid import network_grid
from clgkit.segmentation.network_input import join_statistics, network_statistics
from clgkit.segmentation.network_objects import (
    find_network_seeds,
    grow_network_nuclei,
    network_halo_voxels,
)
from clgkit.simulate.curriculum import Recipe, make_stack
from tests.unit.segmentation_scene import VOXEL_UM, Scene, make_scene

WHERE = {"voxel_um": VOXEL_UM, "diameter_um": 6.0}
# Sizes at which every axis is resampled, by shrinking with and without averaging, and enlarged.
RESAMPLED = {"voxel_um": (0.5, 0.62, 0.4), "diameter_um": (6.0, 6.0, 6.0)}


@pytest.fixture(scope="module")
def dense() -> Scene:
    return make_scene((34, 90, 90), n_nuclei=260)


@pytest.fixture(scope="module")
def net() -> NucleusNetwork:
    return shipped_network()


def maps_of(
    volume: npt.NDArray[np.generic], net: NucleusNetwork, *, slab: int, **size: object
) -> NetworkMaps:
    shape = volume.shape
    grid = network_grid(shape, **size)  # type: ignore[arg-type]
    slabs = list(plan_tiles(shape, core=(slab, *shape[1:]), halo=(grid.halo_slices, 0, 0)))
    places = [{"grid": grid, "first_slice": s.origin[0], "core": s.inner[0]} for s in slabs]
    measured = [
        network_statistics(volume[s.padded], **p) for s, p in zip(slabs, places, strict=True)
    ]
    scaling = join_statistics(reversed(measured), grid=grid)
    parts = [
        predict_nuclei(volume[s.padded], network=net, scaling=scaling, **p)
        for s, p in zip(slabs, places, strict=True)
    ]
    inner = [(part, s.inner) for part, s in zip(parts, slabs, strict=True)]
    return NetworkMaps(
        np.concatenate([part.foreground[cut] for part, cut in inner]),
        np.concatenate([part.distance[cut] for part, cut in inner]),
    )


def test_the_shipped_file_is_small_and_needs_no_torch() -> None:
    code = (
        "import sys, numpy as np; from clgkit.segmentation.network import segment_network; "
        "segment_network(np.ones((2, 16, 16)), voxel_um=(1, .5, .5), diameter_um=6.0); "
        "assert not {'torch', 'onnx'} & set(sys.modules)"
    )

    assert len(shipped_network().weights) < 1_000_000
    subprocess.run([sys.executable, "-c", code], check=True)


def test_dense_nuclei_are_found(dense: Scene) -> None:
    found = segment_network(dense.image, **WHERE)
    score = score_labels(dense.labels, found.labels)

    # This scene is made by other rules than the curriculum.
    assert score.f1 >= 0.97
    assert abs(score.count_error) <= 0.03


def test_sparse_nuclei_are_found_one_by_one() -> None:
    scene = make_scene((40, 120, 120), n_nuclei=30, seed=3)

    score = score_labels(scene.labels, segment_network(scene.image, **WHERE).labels)

    assert score.n_predicted == 30
    assert score.true_positives >= 29


def test_nuclei_stretched_along_z_are_found_with_their_length() -> None:
    scene = make_scene((50, 96, 96), n_nuclei=150, stretch=1.9, seed=4)

    found = segment_network(scene.image, voxel_um=VOXEL_UM, diameter_um=(11.0, 6.0, 6.0))

    assert score_labels(scene.labels, found.labels).f1 >= 0.95


def test_noise_holds_no_nuclei() -> None:
    rng = np.random.default_rng(0)

    for volume in (
        rng.normal(0, 1, (20, 160, 160)),
        rng.poisson(2.0, (20, 160, 160)),
        rng.poisson(300, (20, 160, 160)).astype(np.uint16),
    ):
        assert segment_network(volume, **WHERE).labels.max() == 0


@pytest.mark.parametrize("seed", [5, 6])
def test_blotches_larger_than_nuclei_are_none(seed: int) -> None:
    recipe = Recipe(
        shape_px=(32, 144, 144), filling=0.0, background=0.3, background_sd=0.5, blotch_share=1.5
    )

    volume = make_stack(recipe, seed=seed).image

    assert segment_network(volume, **WHERE).labels.max() == 0  # the card tells of finer ones


def test_all_nuclei_count_also_those_that_a_face_cuts() -> None:
    recipe = Recipe(shape_px=(40, 160, 160), size_cv=0.1, roundness=0.9)
    made = make_stack(recipe, seed=8)

    labels = segment_network(made.image, **WHERE).labels

    whole, inner = (score_labels(made.labels, labels, border=b) for b in ("keep", "ignore"))
    assert whole.ap >= 0.90  # a twelfth of these nuclei are slivers of less than 0.13 of one
    assert abs(whole.count_error) <= 0.06
    assert inner.ap >= 0.99
    assert abs(inner.count_error) <= 0.005


@pytest.mark.parametrize("shape", [(20, 40, 40), (1, 30, 30), (3, 1, 20), (0, 20, 20)])
def test_a_constant_volume_holds_no_nuclei(shape: tuple[int, int, int]) -> None:
    found = segment_network(np.full(shape, 1234, np.uint16), **WHERE)

    assert found.labels.shape == shape
    assert not found.labels.any()
    assert found.confidence.voxels.shape == (1,)


def test_a_single_slice_is_segmented(dense: Scene) -> None:
    found = segment_network(dense.image[17:18], **WHERE)

    assert found.labels.max() > 20


@pytest.mark.parametrize("slab", [1, 5, 34])
def test_labels_do_not_depend_on_the_slabs(dense: Scene, slab: int) -> None:
    whole = segment_network(dense.image, slab_px=16, **WHERE)

    cut = segment_network(dense.image, slab_px=slab, **WHERE)

    np.testing.assert_array_equal(cut.labels, whole.labels)
    np.testing.assert_array_equal(cut.confidence.probability, whole.confidence.probability)


@pytest.mark.parametrize("slab", [1, 9])
def test_resampled_maps_do_not_depend_on_the_slabs(
    dense: Scene, net: NucleusNetwork, slab: int
) -> None:
    whole = maps_of(dense.image, net, slab=34, **RESAMPLED)

    cut = maps_of(dense.image, net, slab=slab, **RESAMPLED)

    np.testing.assert_array_equal(cut.foreground, whole.foreground)
    np.testing.assert_array_equal(cut.distance, whole.distance)


def test_streamed_steps_give_the_labels_of_one_call(dense: Scene, net: NucleusNetwork) -> None:
    maps, shape = maps_of(dense.image, net, slab=7, **WHERE), dense.image.shape
    seeds = find_network_seeds(*maps, **WHERE).places
    ids = np.arange(1, len(seeds) + 1, dtype=np.uint32)
    labels = np.zeros(shape, np.uint32)
    for tile in plan_tiles(shape, core=(11, 40, 90), halo=network_halo_voxels(**WHERE)):
        low = np.array([part.start for part in tile.padded])
        high = np.array([part.stop for part in tile.padded])
        here = ((seeds >= low) & (seeds < high)).all(axis=1)
        cut = (part[tile.padded] for part in maps)
        grown = grow_network_nuclei(*cut, seeds[here] - low, ids[here], **WHERE)
        labels[tile.core] = grown[tile.inner]

    np.testing.assert_array_equal(
        relabel(labels).labels, segment_network(dense.image, **WHERE).labels
    )


def test_maps_are_zero_outside_of_the_core(dense: Scene, net: NucleusNetwork) -> None:
    grid = network_grid(dense.image.shape, **WHERE)
    scaling = join_statistics([network_statistics(dense.image, grid=grid)], grid=grid)

    maps = predict_nuclei(dense.image, network=net, grid=grid, scaling=scaling, core=slice(10, 20))

    assert maps.foreground.shape == dense.image.shape
    assert not maps.foreground[:10].any()
    assert not maps.distance[20:].any()
    assert maps.foreground[10:20].max() > 200


def test_a_block_without_its_halo_is_refused(dense: Scene, net: NucleusNetwork) -> None:
    grid = network_grid(dense.image.shape, **WHERE)
    scaling = join_statistics([network_statistics(dense.image, grid=grid)], grid=grid)

    with pytest.raises(ValueError, match="give a halo of 6 slices"):
        predict_nuclei(
            dense.image[10:20],
            network=net,
            grid=grid,
            scaling=scaling,
            first_slice=10,
            core=slice(2, 8),
        )


def test_a_block_answers_for_what_has_its_halo(dense: Scene, net: NucleusNetwork) -> None:
    grid = network_grid(dense.image.shape, **WHERE)
    scaling = join_statistics([network_statistics(dense.image, grid=grid)], grid=grid)
    whole = predict_nuclei(dense.image, network=net, grid=grid, scaling=scaling)

    maps = predict_nuclei(dense.image[5:30], network=net, grid=grid, scaling=scaling, first_slice=5)

    np.testing.assert_array_equal(maps.foreground[6:-6], whole.foreground[11:24])
    assert not maps.foreground[:6].any()
    assert grid.core_of(0, 34) == slice(0, 34)
    assert grid.core_of(20, 14) == slice(6, 14)


def test_wide_planes_are_cut_without_a_trace(
    net: NucleusNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = make_scene((4, 200, 150), n_nuclei=90, seed=7)
    whole = maps_of(scene.image, net, slab=4, **WHERE)

    monkeypatch.setattr(module, "WIDEST", 40)
    cut = maps_of(scene.image, net, slab=4, **WHERE)

    # Sums may run in another order in a plane of another size; a window that sees less differs.
    for ours, theirs in zip(cut, whole, strict=True):
        assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1


def test_ids_are_compact_ordered_and_of_one_piece(dense: Scene) -> None:
    labels = segment_network(dense.image, **WHERE).labels

    n = int(labels.max())
    assert labels.dtype == np.uint32
    np.testing.assert_array_equal(np.unique(labels), np.arange(n + 1))
    assert scattered_ids(labels).size == 0


def test_gain_and_offset_change_nothing_that_matters(dense: Scene) -> None:
    plain = segment_network(dense.image, **WHERE).labels

    brighter = segment_network(dense.image * 37 + 5000, **WHERE).labels

    assert score_labels(plain, brighter, iou=0.9).f1 >= 0.99  # rounding of float32


def test_confidence_tells_nuclei_from_doubt(dense: Scene) -> None:
    found = segment_network(dense.image, **WHERE)
    faint = make_scene((34, 90, 90), n_nuclei=260, photons=1.0, background=0.5)

    doubtful = segment_network(faint.image, **WHERE)

    sure = found.confidence
    assert len(sure.voxels) == found.labels.max() + 1
    np.testing.assert_array_equal(sure.voxels, np.bincount(found.labels.ravel()))
    assert (sure.probability[1:] > 0.5).all()
    assert np.median(sure.probability[1:]) > np.median(doubtful.confidence.probability[1:])
    assert np.median(sure.peak[1:]) > np.median(doubtful.confidence.peak[1:])


def test_the_network_travels_as_bytes(net: NucleusNetwork) -> None:
    channels = np.random.default_rng(0).normal(size=(8, 16, 20)).astype(np.float32)
    before = net.run(channels)

    packed = pickle.dumps(net)

    assert len(packed) < len(net.weights) + 1000
    np.testing.assert_array_equal(pickle.loads(packed).run(channels), before)  # noqa: S301  (just packed)


def test_a_foreign_file_is_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="give a file written by clgkit"):
        NucleusNetwork(b"version https://git-lfs.github.com/spec/v1").run(
            np.zeros((8, 8, 8), np.float32)
        )


@pytest.mark.parametrize(
    ("volume", "error", "sentence"),
    [
        (np.zeros((5, 5)), ValueError, "z, y, x"),
        (np.full((4, 20, 20), np.nan), ValueError, "NaN or infinity"),
        (np.zeros((4, 20, 20), complex), TypeError, "real number"),
    ],
)
def test_bad_volumes_are_refused(
    volume: npt.NDArray[np.generic], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        segment_network(volume, **WHERE)


@pytest.mark.parametrize("diameter_um", [1.9, 21.0, 0.0, float("nan")])
def test_impossible_diameters_are_refused(diameter_um: float) -> None:
    with pytest.raises(ValueError, match=r"pixels across|positive size"):
        segment_network(np.zeros((4, 20, 20)), voxel_um=VOXEL_UM, diameter_um=diameter_um)
