from __future__ import annotations

import numpy as np
import pytest

from clgkit.simulate import Fish, preset


@pytest.fixture(scope="module")
def fish() -> Fish:
    return Fish(preset("tiny", seed=3))


@pytest.fixture(scope="module")
def still() -> Fish:
    quiet = {"drift_px": 0.0, "jitter_px": 0.0, "plane_jitter_px": 0.0, "n_bursts": 0}
    return Fish(preset("tiny", seed=3, nonrigid_px=0.0, plane_offset_px=0.0, **quiet))


def test_every_array_has_the_promised_shape_and_type(fish: Fish) -> None:
    s = fish.settings
    assert fish.labels_block(3, 7).shape == (4, 128, 128)
    assert fish.labels_block(3, 7).dtype == np.uint32
    assert fish.structure_block(3, 7).dtype == np.uint16
    assert fish.movie_block(1, 4, 9).shape == (5, 64, 64)
    assert fish.movie_block(1, 4, 9).dtype == np.uint16
    assert fish.clean_block(1, 4, 9).dtype == np.float32
    assert fish.shifts_px.shape == (s.n_frames, s.n_planes, 2)
    assert fish.plane_offset_px.shape == (s.n_planes, 2)
    assert fish.fluorescence.shape == fish.spikes.shape == (s.n_neurons, s.n_frames)
    assert fish.calcium.shape == fish.spikes.shape
    assert fish.centers_um.shape == (s.n_neurons, 3)
    assert fish.module.max() < s.n_modules
    np.testing.assert_array_equal(fish.ids, np.arange(1, s.n_neurons + 1))


def test_all_blocks_together_are_the_whole(fish: Fish) -> None:
    stack = np.concatenate([counts for _, counts in fish.structure_blocks(10)])
    labels = np.concatenate([ids for _, ids in fish.label_blocks(10)])
    frames = [(plane, block.start, block.stop) for plane, block, _ in fish.movie_blocks(25)]

    assert stack.shape == labels.shape == fish.settings.shape_px
    assert frames == [(p, a, b) for p in range(3) for a, b in ((0, 25), (25, 40))]


def test_every_nucleus_is_in_the_label_volume(fish: Fish) -> None:
    labels = fish.labels_block(0, fish.settings.shape_px[0])

    np.testing.assert_array_equal(np.unique(labels), np.arange(fish.n_neurons + 1))


def test_no_nucleus_takes_voxels_from_another(fish: Fish) -> None:
    labels = fish.labels_block(0, fish.settings.shape_px[0])
    voxel = np.prod(fish.settings.voxel_um)
    painted = np.bincount(labels.ravel(), minlength=fish.n_neurons + 1)[1:] * voxel
    reach = fish._nuclei.radii_um[:, [0, 1, 1]]
    extent = (np.array(fish.settings.shape_px) - 1) * fish.settings.voxel_um
    inside = (fish.centers_um > reach) & (fish.centers_um < extent - reach)
    whole = inside.all(axis=1)

    share = painted[whole] / fish._nuclei.volumes_um3()[whole]
    # Counting voxel centres of a body of about 700 voxels is right to a few per cent.
    np.testing.assert_allclose(share, 1.0, atol=0.06)


def test_the_label_centroid_is_the_centre(fish: Fish) -> None:
    labels = fish.labels_block(0, fish.settings.shape_px[0])
    inside = np.flatnonzero(np.abs(fish.centers_um[:, 0] - 16) < 8)[:10]
    for row in inside:
        centroid = np.argwhere(labels == row + 1).mean(axis=0) * fish.settings.voxel_um
        # A tenth of a voxel: the error of a mean over voxel centres.
        np.testing.assert_allclose(centroid, fish.centers_um[row], atol=0.1)


def test_the_structure_shows_the_labels(fish: Fish) -> None:
    labels = fish.labels_block(8, 24) > 0
    counts = fish.structure_block(8, 24).astype(float)

    assert counts[labels].mean() > 3 * counts[~labels].mean() - 2 * fish.settings.offset
    assert np.corrcoef(labels.ravel(), counts.ravel())[0, 1] > 0.6


def test_functional_labels_are_the_structural_ones_at_pixel_centres(fish: Fish) -> None:
    plane = 1
    z = int(fish.slice_of_plane[plane])
    slice_ = fish.labels_block(z, z + 1)[0]
    quads = slice_.reshape(64, 2, 64, 2).transpose(0, 2, 1, 3).reshape(64, 64, 4)
    seen = fish.labels_at_plane(plane)
    unanimous = (quads == quads[..., :1]).all(axis=-1)

    np.testing.assert_array_equal(seen[unanimous], quads[..., 0][unanimous])
    assert unanimous.mean() > 0.6


def test_the_cut_table_counts_pixels_of_labels(fish: Fish) -> None:
    table = fish.cut_table(min_area_px=4)

    assert table.area_px.min() > 4
    for k in (0, len(table.nucleus) // 2, len(table.nucleus) - 1):
        seen = fish.labels_at_plane(int(table.plane[k]))
        assert (seen == table.nucleus[k]).sum() == table.area_px[k]
    assert len(fish.cut_table(min_area_px=0).nucleus) > len(table.nucleus)


def test_a_fish_without_nuclei_in_a_plane_has_an_empty_row(fish: Fish) -> None:
    table = fish.cut_table(min_area_px=10_000)

    assert table.nucleus.shape == table.plane.shape == table.area_px.shape == (0,)


def test_expected_counts_are_the_mean_of_many_noisy_frames(still: Fish) -> None:
    raw = still.movie_block(1, 0, 40).astype(float)
    clean = still.clean_block(1, 0, 40).astype(float)
    residual = raw - clean

    variance = still.settings.gain * (clean - still.settings.offset) + still.settings.read_noise**2
    normal = residual / np.sqrt(variance)
    # 164,000 numbers: the standard error is 0.0025 for the mean and 0.2 % for the variance.
    assert abs(normal.mean()) < 0.01
    assert normal.var() == pytest.approx(1.0, abs=0.02)


def test_rings_are_brighter_than_the_nuclei_they_enclose(still: Fish) -> None:
    image = still.clean_block(1, 0, 40).mean(axis=0)
    labels = still.labels_at_plane(1)
    table = still.cut_table(min_area_px=14)
    darker = 0
    chosen = table.nucleus[table.plane == 1]
    for n in chosen:
        inside = np.argwhere(labels == n)
        center = inside.mean(axis=0)
        distance = np.hypot(*(np.indices(labels.shape) - center[:, None, None]))
        radius = np.sqrt(len(inside) / np.pi)
        ring = (distance > radius) & (distance < radius + 1.2) & (labels == 0)
        darker += image[distance < 0.5 * radius].mean() < image[ring].mean()

    # A bright neighbour may outshine a ring.
    assert darker > 0.9 * len(chosen)


def test_the_trace_of_a_roi_follows_its_neuron(still: Fish) -> None:
    table = still.cut_table(min_area_px=10)
    correlations = []
    for plane in range(3):
        movie = still.clean_block(plane, 0, 40)
        labels = still.labels_at_plane(plane)
        for n in table.nucleus[table.plane == plane]:
            truth = still.fluorescence[n - 1]
            if truth.std() > 0.3:
                correlations.append(np.corrcoef(movie[:, labels == n].mean(axis=1), truth)[0, 1])

    assert np.median(correlations) > 0.9


def test_odd_rows_are_displaced_by_the_bidirectional_offset(still: Fish) -> None:
    s = still.settings
    moved = Fish(preset(
        "tiny", seed=3, nonrigid_px=0.0, plane_offset_px=0.0, drift_px=0.0, jitter_px=0.0,
        plane_jitter_px=0.0, n_bursts=0, bidirectional_px=2.0, photons=300.0,
        gain=2.0,
    ))  # fmt: skip
    clean = moved.clean_block(1, 0, 40).mean(axis=0)
    raw = moved.movie_block(1, 0, 40).mean(axis=0)

    even = np.corrcoef(raw[::2].ravel(), clean[::2].ravel())[0, 1]
    odd = np.corrcoef(raw[1::2, 2:].ravel(), clean[1::2, :-2].ravel())[0, 1]
    assert s.bidirectional_px == 0.0
    assert min(even, odd) > 0.99


def test_nothing_clips(fish: Fish) -> None:
    assert fish.structure_block(0, 32).max() < 65_535
    assert max(int(fish.movie_block(p, 0, 40).max()) for p in range(3)) < 65_535
    assert min(int(fish.movie_block(p, 0, 40).min()) for p in range(3)) > 0


def test_light_beyond_sixteen_bits_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bits hold"):
        Fish(preset("tiny", photons=5_000.0))


def test_ideal_correlation_is_that_of_the_noise_free_traces(fish: Fish) -> None:
    active = fish.ids[np.ptp(fish.fluorescence, axis=1) > 0.1][:20]

    ours = fish.ideal_correlation(active)

    traces = fish.fluorescence[active - 1].astype(np.float64)
    np.testing.assert_allclose(ours, np.corrcoef(traces), atol=1e-12)  # float64 sums of 40


def test_a_silent_neuron_has_no_correlation(fish: Fish) -> None:
    silent = fish.ids[np.ptp(fish.fluorescence, axis=1) == 0][:2]

    assert np.isnan(fish.ideal_correlation(silent)).all()


@pytest.mark.parametrize(
    "ask",
    [
        lambda f: f.labels_block(0, 33),
        lambda f: f.structure_block(-1, 3),
        lambda f: f.movie_block(0, 5, 41),
        lambda f: f.movie_block(3, 0, 1),
        lambda f: f.clean_block(-1, 0, 1),
        lambda f: f.labels_at_plane(3),
        lambda f: f.field(7, 0),
        lambda f: f.field(0, 40),
        lambda f: f.ideal_correlation([0]),
    ],
)
def test_what_does_not_exist_is_refused(fish: Fish, ask: object) -> None:
    with pytest.raises(ValueError, match=r"does not exist|not within|ids run from"):
        ask(fish)  # type: ignore[operator]
