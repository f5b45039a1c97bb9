"""The answers of a simulated fish agree with one another and with its documented formulas."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import cKDTree

from clgkit.simulate import Fish, preset
from clgkit.simulate.calcium import saturate
from clgkit.simulate.settings import PUBLISHED_GAPS, plane_gaps

QUIET = {"drift_px": 0.0, "jitter_px": 0.0, "plane_jitter_px": 0.0, "n_bursts": 0}
BRIGHT = {"photons": 400.0, "gain": 1.0, "read_noise": 0.0, "offset": 50.0}
"""Little noise, so that what is seen is the scene."""
OBLONG = {"seed": 3, "shape_px": (32, 112, 144), "voxel_um": (1.0, 0.55, 0.45)}
"""Neither field nor voxel is square, so that no exchanged axis goes unnoticed."""
PLANES = range(3)


@pytest.fixture(scope="module")
def fish() -> Fish:
    return Fish(preset("tiny", **OBLONG))


@pytest.fixture(scope="module")
def labels(fish: Fish) -> np.ndarray:
    return fish.labels_block(0, fish.settings.shape_px[0])


@pytest.fixture(scope="module")
def moving() -> Fish:
    """A fish that moves and bends, seen with little noise."""
    return Fish(preset("tiny", nonrigid_px=0.8, plane_offset_px=0.0, **OBLONG, **BRIGHT))


def owner(fish: Fish, places_um: np.ndarray) -> np.ndarray:
    """Give the id of the ellipsoid around each place, from its documented shape; 0 if none."""
    nuclei = fish._nuclei
    away = places_um[:, None, :] - nuclei.centers_um[None]
    sine, cosine = np.sin(nuclei.angle), np.cos(nuclei.angle)
    along = away[..., 2] * cosine + away[..., 1] * sine
    across = away[..., 1] * cosine - away[..., 2] * sine
    square = np.stack([away[..., 0], along, across], axis=-1) / nuclei.radii_um
    inside = (square**2).sum(axis=-1) < 1
    assert inside.sum(axis=1).max() <= 1
    return np.where(inside.any(axis=1), inside.argmax(axis=1) + 1, 0)


def test_a_voxel_bears_the_id_of_the_ellipsoid_around_its_centre(
    fish: Fish, labels: np.ndarray
) -> None:
    rng = np.random.default_rng(0)
    voxels = np.stack([rng.integers(0, n, 20_000) for n in labels.shape], axis=1)

    expected = owner(fish, voxels * fish.settings.voxel_um)

    np.testing.assert_array_equal(labels[tuple(voxels.T)], expected)


def test_a_functional_pixel_bears_the_id_at_its_documented_centre(fish: Fish) -> None:
    rows, columns = np.indices(fish.settings.plane_shape_px).reshape(2, -1)
    for plane in PLANES:
        depth = np.full(rows.shape, float(fish.slice_of_plane[plane]))
        places = np.stack([depth, 2 * rows + 0.5, 2 * columns + 0.5], axis=1)

        expected = owner(fish, places * fish.settings.voxel_um)

        np.testing.assert_array_equal(fish.labels_at_plane(plane).ravel(), expected)


def test_the_cut_table_lists_every_section_once_in_order(fish: Fish) -> None:
    table = fish.cut_table(min_area_px=0)

    rows = zip(table.plane.tolist(), table.nucleus.tolist(), table.area_px.tolist(), strict=True)
    expected = []
    for plane in PLANES:
        ids, counts = np.unique(fish.labels_at_plane(plane), return_counts=True)
        expected += [(plane, i, n) for i, n in zip(ids.tolist(), counts.tolist(), strict=True) if i]
    assert list(rows) == expected
    assert table.nucleus.dtype == np.uint32
    assert table.plane.dtype == table.area_px.dtype == np.int64


def test_sections_are_where_their_nucleus_is(fish: Fish) -> None:
    table = fish.cut_table(min_area_px=0)
    depth = fish.slice_of_plane[table.plane] * fish.settings.voxel_um[0]

    half = fish._nuclei.radii_um[table.nucleus - 1, 0]
    assert (np.abs(fish.centers_um[table.nucleus - 1, 0] - depth) < half).all()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_nuclei_do_not_overlap(seed: int) -> None:
    fish = Fish(preset("tiny", seed=seed))
    squeezed = fish.centers_um / [fish.settings.axial_stretch, 1.0, 1.0]
    reach = fish._nuclei.radii_um[:, 1]

    pairs = cKDTree(squeezed).query_pairs(2 * reach.max(), output_type="ndarray")

    distance = np.linalg.norm(squeezed[pairs[:, 0]] - squeezed[pairs[:, 1]], axis=1)
    assert (distance > reach[pairs].sum(axis=1)).all()


def test_planes_lie_centred_in_the_stack_with_the_wanted_gaps(fish: Fish) -> None:
    assert np.diff(fish.slice_of_plane).tolist() == list(PUBLISHED_GAPS[:2])
    above = fish.slice_of_plane[0]
    below = fish.settings.shape_px[0] - 1 - fish.slice_of_plane[-1]
    assert 0 <= below - above <= 1


def test_gaps_are_those_published_and_repeat() -> None:
    assert sum(PUBLISHED_GAPS) == 75
    assert plane_gaps(preset("whole"))[13:26] == list(PUBLISHED_GAPS)
    assert plane_gaps(preset("tiny", gaps_px=(3, 4), n_planes=6)) == [3, 4, 3, 4, 3]


def test_fluorescence_follows_from_calcium_by_the_documented_curve(fish: Fish) -> None:
    rest = fish.fluorescence / (1 + fish.settings.dff_max * saturate(fish.calcium))

    # float32: the brightness at rest is one number per neuron to seven digits.
    np.testing.assert_allclose(rest, np.broadcast_to(rest[:, :1], rest.shape), rtol=1e-6)


def test_a_neuron_that_never_fires_never_changes(fish: Fish) -> None:
    silent = fish.spikes.sum(axis=1) == 0

    assert silent.any()
    assert (np.ptp(fish.fluorescence[silent], axis=1) == 0).all()
    assert (np.ptp(fish.fluorescence[~silent], axis=1) > 0).all()


def test_nothing_happens_before_the_first_spike(fish: Fish) -> None:
    first = np.where(fish.spikes.any(axis=1), (fish.spikes > 0).argmax(axis=1), 40)
    before = np.arange(40) < first[:, None]

    assert (fish.calcium[before] == 0).all()
    at_first = fish.calcium[first < 40, first[first < 40]]
    assert (at_first > 0).all()


def test_ideal_correlation_is_in_the_order_asked_for(fish: Fish) -> None:
    lively = fish.ids[np.ptp(fish.fluorescence, axis=1) > 0.1][:6]
    r = fish.ideal_correlation(lively)

    np.testing.assert_allclose(np.diag(r), 1.0, rtol=1e-12)  # float64
    np.testing.assert_array_equal(r, r.T)
    np.testing.assert_array_equal(fish.ideal_correlation(lively[::-1]), r[::-1, ::-1])
    assert fish.ideal_correlation([]).shape == (0, 0)


def test_the_field_explains_every_moved_pixel(moving: Fish) -> None:
    inner = np.s_[8:-8, 8:-8]
    grid = np.indices(moving.settings.plane_shape_px).astype(float)
    for plane, t in ((0, 7), (1, 21), (2, 39)):
        still = moving.clean_block(plane, t, t + 1)[0]
        frame = moving.movie_block(plane, t, t + 1)[0].astype(float)
        places = grid - np.moveaxis(moving.field(plane, t), -1, 0)
        predicted = ndimage.map_coordinates(still, places, order=3)
        # Shading stays with the field of view; across two pixels it changes by a few per mille.
        residual = (frame - predicted)[inner] / np.sqrt(predicted[inner])
        assert residual.std() < 1.3  # photon noise alone gives 1
        assert (frame - still)[inner].std() > 2 * (frame - predicted)[inner].std()


def test_the_shift_to_apply_lays_a_frame_on_the_still_plane() -> None:
    rigid = Fish(preset("tiny", seed=5, nonrigid_px=0.0, plane_offset_px=0.0, **BRIGHT))
    inner = np.s_[8:-8, 8:-8]
    t = int(np.abs(rigid.shifts_px[:, 1]).sum(axis=1).argmax())
    frame = rigid.movie_block(1, t, t + 1)[0].astype(float)
    still = rigid.clean_block(1, t, t + 1)[0]

    def agreement(shift: np.ndarray) -> float:
        moved = ndimage.shift(frame, shift, order=3)
        return float(np.corrcoef(moved[inner].ravel(), still[inner].ravel())[0, 1])

    right = agreement(rigid.shifts_px[t, 1])
    assert right > 0.98  # photon noise takes a hundredth
    assert agreement(-rigid.shifts_px[t, 1]) < right - 0.05
    assert agreement(rigid.shifts_px[t, 1] + 0.5) < right


def test_the_plane_offset_lays_a_still_plane_on_the_structure() -> None:
    fish = Fish(preset("tiny", seed=6, nonrigid_px=0.0, plane_offset_px=3.0, **QUIET, **BRIGHT))
    inner = np.s_[8:-8, 8:-8]
    for plane in PLANES:
        mean = fish.movie_block(plane, 0, 20).mean(axis=0)
        lain = ndimage.shift(mean, fish.plane_offset_px[plane], order=3)[inner]
        truth = fish.clean_block(plane, 0, 20).mean(axis=0)[inner]
        assert np.corrcoef(lain.ravel(), truth.ravel())[0, 1] > 0.99
        assert np.corrcoef(mean[inner].ravel(), truth.ravel())[0, 1] < 0.98
    assert np.abs(fish.plane_offset_px).max() <= 3.0
    assert (fish.shifts_px == 0).all()


def test_a_rigid_field_is_one_vector_and_a_bent_one_has_zero_mean_bending() -> None:
    rigid = Fish(preset("tiny", nonrigid_px=0.0))
    bent = Fish(preset("tiny", nonrigid_px=1.0))

    field = rigid.field(1, 9)
    np.testing.assert_allclose(field, np.broadcast_to(field[0, 0], field.shape), atol=1e-6)
    np.testing.assert_array_equal(rigid.shifts_px, bent.shifts_px)
    assert bent.field(1, 9).std(axis=(0, 1)).min() > 0.1


def test_odd_rows_alone_are_displaced_by_the_bidirectional_offset() -> None:
    same = {"seed": 3, "nonrigid_px": 0.0, "plane_offset_px": 0.0, **QUIET}
    straight = Fish(preset("tiny", **same)).movie_block(1, 0, 4)
    combed = Fish(preset("tiny", bidirectional_px=1.5, **same)).movie_block(1, 0, 4)

    np.testing.assert_array_equal(combed[:, ::2], straight[:, ::2])
    assert (combed[:, 1::2] != straight[:, 1::2]).mean() > 0.5


@pytest.mark.parametrize(
    ("changes", "same", "other"),
    [
        ({"photons": 30.0}, ["labels", "spikes", "shifts", "structure"], ["movie"]),
        ({"nucleus_photons": 90.0}, ["labels", "spikes", "shifts", "movie"], ["structure"]),
        ({"drift_px": 4.0}, ["labels", "spikes", "structure"], ["shifts", "movie"]),
        ({"private_rate_hz": 0.3}, ["labels", "shifts", "structure"], ["spikes", "movie"]),
        ({"n_frames": 50}, ["labels", "structure"], ["spikes", "shifts"]),
        ({"axial_stretch": 2.0}, ["shifts"], ["labels", "structure", "movie"]),
        ({"seed": 4}, [], ["labels", "spikes", "shifts", "structure", "movie", "module"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_setting_changes_what_it_is_about_and_nothing_else(
    fish: Fish, changes: dict[str, float], same: list[str], other: list[str]
) -> None:
    changed = Fish(preset("tiny", **{**OBLONG, **changes}))
    looks = {
        "labels": lambda f: f.labels_block(12, 16),
        "spikes": lambda f: f.spikes,
        "shifts": lambda f: f.shifts_px,
        "structure": lambda f: f.structure_block(12, 14),
        "movie": lambda f: f.movie_block(1, 0, 2),
        "module": lambda f: f.module,
    }

    for name in same:
        np.testing.assert_array_equal(looks[name](fish), looks[name](changed), err_msg=name)
    for name in other:
        assert not np.array_equal(looks[name](fish), looks[name](changed)), name
