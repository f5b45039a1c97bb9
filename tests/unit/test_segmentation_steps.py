"""The steps of the classical method, beside slow ones, and volumes at their limits."""

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from clgkit.segmentation import (
    find_seeds,
    grow_nuclei,
    halo_voxels,
    plan_tiles,
    scattered_ids,
    score_labels,
    seed_statistics,
    seed_threshold,
    segment_classical,
)
from clgkit.segmentation.blobs import blob_response, noise_gain, peak_box
from tests.unit.segmentation_scene import VOXEL_UM, Scene, make_scene

WHERE = {"voxel_um": VOXEL_UM, "diameter_um": 6.0}
SIZE = np.array([6.0, 12.0, 12.0])
Floats = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene((24, 70, 74), n_nuclei=110, seed=21)


def bends(volume: npt.NDArray[np.generic]) -> Floats:
    """Return (3, Z, Y, X) scaled negative second differences of the smoothed volume."""
    sigma = 0.25 * SIZE
    smooth = ndimage.gaussian_filter(volume.astype(float), sigma, mode="reflect", truncate=3.0)
    padded = np.pad(smooth, 1, mode="edge")
    inner = [padded[1:-1, 1:-1, 1:-1]] * 3
    low = [padded[:-2, 1:-1, 1:-1], padded[1:-1, :-2, 1:-1], padded[1:-1, 1:-1, :-2]]
    high = [padded[2:, 1:-1, 1:-1], padded[1:-1, 2:, 1:-1], padded[1:-1, 1:-1, 2:]]
    made: Floats = np.stack(
        [s**2 * (2 * m - a - b) for s, m, a, b in zip(sigma, inner, low, high, strict=True)]
    )
    return made


def ball(shape: tuple[int, int, int], centre: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
    """Return a nucleus of 6 um."""
    grid = np.moveaxis(np.indices(shape), 0, -1)
    inside: npt.NDArray[np.bool_] = (((grid - centre) / (SIZE / 2)) ** 2).sum(-1) <= 1
    return inside


def test_the_blob_response_is_the_sum_of_three_second_differences(scene: Scene) -> None:
    ours = blob_response(scene.image, SIZE)

    # float32 sums over kernels of up to 19 voxels of about 20 counts.
    np.testing.assert_allclose(ours, bends(scene.image).sum(axis=0), atol=2e-4)


def test_seeds_are_the_peaks_within_a_quarter_diameter(scene: Scene) -> None:
    terms = bends(scene.image)
    response = terms.sum(axis=0)
    reach = 2 * peak_box(SIZE) + 1
    top = ndimage.maximum_filter(response, reach, mode="constant", cval=-np.inf)
    gain = noise_gain(np.argwhere(np.ones(response.shape)), response.shape, SIZE)
    relative = gain.reshape(response.shape) / gain.reshape(response.shape)[12, 35, 37]
    wanted = (response == top) & (response > 1.0 * relative)
    wanted &= terms.min(axis=0) > 0.05 * response

    found = find_seeds(scene.image, threshold=1.0, **WHERE)

    np.testing.assert_array_equal(found.places, np.argwhere(wanted))
    np.testing.assert_allclose(found.responses, response[wanted], atol=2e-4)


def test_the_gain_of_the_filter_is_its_noise_inside_and_at_every_face() -> None:
    rng = np.random.default_rng(0)
    shape = (9, 26, 26)
    stack = np.stack(
        [blob_response(rng.normal(size=shape).astype(np.float32), SIZE) for _ in range(1500)]
    )
    places = np.array([*itertools.product((0, 1, 4, 8), (0, 3, 13, 25), (0, 6, 25))])

    measured = stack[:, *places.T].std(axis=0)

    # 1,500 draws tell a standard deviation to 1.8 %: four times that.
    np.testing.assert_allclose(noise_gain(places, shape, SIZE), measured, rtol=0.075)


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@pytest.mark.parametrize("core", [(24, 70, 74), (7, 33, 20), (5, 70, 11)])
def test_tiles_sample_the_lattice_of_the_volume(
    scene: Scene, stride: int, core: tuple[int, int, int]
) -> None:
    tiles = plan_tiles(scene.image.shape, core=core, halo=halo_voxels(**WHERE))
    parts = [seed_statistics(scene.image[t.padded], stride=stride, where=t, **WHERE) for t in tiles]

    whole = seed_statistics(scene.image, stride=stride, **WHERE)

    for name in ("steps", "responses"):
        joined = np.sort(np.concatenate([getattr(part, name) for part in parts]))
        np.testing.assert_array_equal(joined, np.sort(getattr(whole, name)))
    assert whole.responses.size == math.prod(-(-n // stride) for n in scene.image.shape)


def test_the_threshold_is_a_multiple_of_the_noise_or_a_share_of_the_peaks() -> None:
    noise = np.random.default_rng(3).normal(50, 4, (30, 90, 90))
    statistics = [seed_statistics(noise, **WHERE)]
    options = {"shape": noise.shape, **WHERE}

    per_sigma = seed_threshold(statistics, noise_factor=1.0, peak_share=0, **options)
    share = seed_threshold(statistics, noise_factor=0, peak_share=0.5, **options)

    response = blob_response(noise.astype(np.float32), SIZE)
    inner = response[8:-8, 12:-12, 12:-12]
    assert per_sigma == pytest.approx(inner.std(), rel=0.05)  # of a correlated field
    assert share == pytest.approx(0.5 * np.percentile(response, 99.5), rel=1e-6)
    assert seed_threshold([], **options) == 0


@pytest.mark.parametrize("corner", [*itertools.product((0, 11, 23), (0, 22, 43), (0, 22, 43))])
def test_a_nucleus_at_any_face_edge_or_corner_is_one_object(corner: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(4)
    truth = ball((24, 44, 44), corner)
    image = ndimage.gaussian_filter(10 + 90.0 * truth, (1.0, 0.8, 0.8)) + rng.normal(
        0, 2, truth.shape
    )

    labels = segment_classical(image, **WHERE)

    # An eighth of a ball is just above the smallest volume.
    assert labels.max() == 1
    assert score_labels(truth.astype(np.uint8), labels, iou=0.4).true_positives == 1


@pytest.mark.parametrize("gap", [1, 2, 4, 9])
def test_stacked_nuclei_stay_two_whatever_lies_between(gap: int) -> None:
    rng = np.random.default_rng(5)
    shape = (24 + gap, 40, 40)
    truth = ball(shape, (8, 20, 20)) * 1 + ball(shape, (14 + gap, 20, 20)) * 2
    image = rng.poisson(5 + 60 * ndimage.gaussian_filter((truth > 0) * 1.0, (0.7, 0.8, 0.8)))
    image[11 : 11 + gap] = 0  # blank slices

    labels = segment_classical(image, **WHERE)

    matches = score_labels(truth, labels)
    assert (matches.n_predicted, matches.true_positives) == (2, 2)
    assert not labels[11 : 11 + gap].any()


@pytest.mark.parametrize("thin", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)])
def test_volumes_of_one_voxel_along_any_axis_are_legal(scene: Scene, thin: tuple[int, ...]) -> None:
    box = tuple(slice(12, 13) if axis in thin else slice(None) for axis in range(3))
    image = scene.image[box]
    options = {"noise_factor": 1.0, **WHERE}

    labels = segment_classical(image, **options)

    assert labels.shape == image.shape
    assert scattered_ids(labels).size == 0
    tiled = segment_classical(image, core_px=(5, 20, 20), **options)
    np.testing.assert_array_equal(tiled, labels)
    if len(thin) == 1:  # measured .82, .88, .89; sections need less volume along any axis
        assert score_labels(scene.labels[box], labels).f1 >= 0.7


def awkward(kind: str) -> npt.NDArray[np.generic]:
    rng = np.random.default_rng(6)
    smooth = ndimage.gaussian_filter(rng.normal(size=(17, 41, 43)), (1.2, 2, 2))
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    made = {
        "few levels": (8 * smooth).astype(np.uint8),
        "saturated": np.clip(smooth, 0.3, 0.6),
        "binary": smooth > 0.55,
        "below zero": -1000 + 300 * smooth,
        "specks": 100.0 * (rng.random(smooth.shape) > 0.995),
        "stripes": np.broadcast_to(np.arange(43) % 9 < 4, smooth.shape) * 7,
        "half blank": np.where(np.arange(41)[:, None] < 20, 0, smooth),
        "one bright voxel": np.pad(np.full((1, 1, 1), 9.0), ((8, 8), (20, 20), (21, 21))),
    }
    return made[kind]


KINDS = ["few levels", "saturated", "binary", "below zero", "specks", "stripes", "half blank",
         "one bright voxel"]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("core", [(17, 20, 43), (4, 41, 9), (1, 41, 43), (16, 40, 42)])
def test_ties_and_plateaus_do_not_show_the_tiles(kind: str, core: tuple[int, int, int]) -> None:
    image = awkward(kind)
    options = {"noise_factor": 0.0, "peak_share": 0.0, "min_volume_share": 0.0, **WHERE}

    whole = segment_classical(image, core_px=image.shape, **options)

    np.testing.assert_array_equal(segment_classical(image, core_px=core, **options), whole)
    assert scattered_ids(whole).size == 0
    assert (whole.max() > 0) == (kind != "stripes")  # flat along two axes: no blob


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "i2", "i4", "i8", "f2", ">f4", "f8"])
def test_any_real_dtype_and_layout_is_segmented_alike(scene: Scene, dtype: str) -> None:
    image = scene.image[:, :40, :40]  # whole numbers below 256
    wanted = segment_classical(image, **WHERE)
    strided = np.repeat(image, 2, axis=2).astype(dtype)[:, :, ::2]
    strided.setflags(write=False)
    before = strided.copy()

    for given in (strided, np.asfortranarray(strided)):
        np.testing.assert_array_equal(segment_classical(given, **WHERE), wanted)
    np.testing.assert_array_equal(strided, before)


def test_a_seed_that_is_left_out_takes_only_its_own_nucleus_along(scene: Scene) -> None:
    places = find_seeds(scene.image, threshold=2.0, **WHERE).places
    ids = np.arange(1, len(places) + 1, dtype=np.uint32)
    kept = np.random.default_rng(7).random(len(places)) < 0.6
    whole = grow_nuclei(scene.image, places, ids, **WHERE)

    some = grow_nuclei(scene.image, places[kept], ids[kept], **WHERE)

    np.testing.assert_array_equal(some, np.where(np.isin(whole, ids[kept]), whole, 0))


def test_stricter_settings_only_take_away(scene: Scene) -> None:
    seeds = [find_seeds(scene.image, threshold=t, **WHERE).places for t in (0.5, 6.0, 12.0)]
    for loose, strict in itertools.pairwise(seeds):
        assert {*map(tuple, strict.tolist())} < {*map(tuple, loose.tolist())}
    places, ids = seeds[0], np.arange(1, len(seeds[0]) + 1, dtype=np.uint32)

    grown = [
        grow_nuclei(scene.image, places, ids, height_share=h, min_volume_share=0, **WHERE)
        for h in (0.2, 0.4, 0.7)
    ]

    for wide, narrow in itertools.pairwise(grown):
        np.testing.assert_array_equal(narrow[narrow > 0], wide[narrow > 0])
        assert (narrow > 0).sum() < (wide > 0).sum()


def test_a_nucleus_reaches_no_further_than_its_radius(scene: Scene) -> None:
    places = find_seeds(scene.image, threshold=2.0, **WHERE).places
    ids = np.arange(1, len(places) + 1, dtype=np.uint32)

    labels = grow_nuclei(scene.image, places, ids, **WHERE)

    at = np.argwhere(labels > 0)
    distance = (at - places[labels[labels > 0] - 1]) / (0.6 * SIZE)
    assert (distance**2).sum(axis=1).max() <= 1 + 1e-6  # float32


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"diameter_um": (6.0, 6.0)}, r"one positive size or three \(z, y, x\)"),
        ({"diameter_um": (6.0, 6.0, np.nan)}, "one positive size or three"),
        ({"diameter_um": np.inf}, "one positive size or three"),
        ({"voxel_um": (1.0, 0.5)}, "three positive sizes"),
        ({"voxel_um": (1.0, np.nan, 0.5)}, "three positive sizes"),
        ({"core_px": (5, 5, 0)}, "core of at least 1 voxel"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(options: dict[str, object], words: str) -> None:
    volume = np.zeros((5, 20, 20))

    with pytest.raises(ValueError, match=words):
        segment_classical(volume, **{**WHERE, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300, -4e38])
def test_numbers_beyond_float32_are_refused_in_the_same_sentence(value: float) -> None:
    volume = np.zeros((5, 20, 20))
    volume[2, 3, 4] = value

    for step in (
        lambda: segment_classical(volume, **WHERE),
        lambda: seed_statistics(volume, **WHERE),
        lambda: find_seeds(volume, threshold=1.0, **WHERE),
        lambda: grow_nuclei(volume, np.array([[2, 3, 4]]), np.array([1], np.uint32), **WHERE),
    ):
        with pytest.raises(ValueError, match="NaN or infinity, or numbers beyond float32"):
            step()


@pytest.mark.parametrize("shape", [(1, 1, 1), (4, 3, 50), (3, 2, 1), (0, 4, 4), (2, 0, 3)])
@pytest.mark.parametrize("core", [(1, 1, 1), (2, 2, 7), (100, 100, 100)])
def test_tiles_of_any_volume_cover_it_once_with_even_parts(
    shape: tuple[int, int, int], core: tuple[int, int, int]
) -> None:
    seen = np.zeros(shape, int)
    sizes = []

    for tile in plan_tiles(shape, core=core, halo=(0, 1, 30)):
        seen[tile.core] += 1
        sizes.append([part.stop - part.start for part in tile.core])
        for whole, part, n in zip(tile.padded, tile.inner, shape, strict=True):
            assert 0 <= whole.start <= whole.start + part.start
            assert whole.stop <= n

    assert (seen == 1).all()
    assert (np.max(sizes, axis=0) <= core).all()
    assert np.ptp(sizes, axis=0).max() <= 1
