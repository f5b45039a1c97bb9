"""The nuclear channel of the functional movie: nuclei, moved as the calcium channel is."""

import numpy as np
import pytest

from clgkit.simulate import Fish, preset

STILL = {
    "drift_px": 0.0, "jitter_px": 0.0, "plane_jitter_px": 0.0, "n_bursts": 0, "nonrigid_px": 0.0,
    "plane_offset_px": 0.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def fish() -> Fish:
    return Fish(preset("tiny", seed=21))


@pytest.fixture(scope="module")
def still() -> Fish:
    return Fish(preset("tiny", seed=3, **STILL))


def test_the_second_channel_changes_nothing_of_the_first(fish: Fish) -> None:
    without = Fish(fish.settings)
    movie, stack = without.movie_block(2, 3, 9), without.structure_block(7, 12)

    noise = fish.nuclear_block(2, 3, 9) - fish.clean_nuclei(2)

    np.testing.assert_array_equal(fish.movie_block(2, 3, 9), movie)
    np.testing.assert_array_equal(fish.structure_block(7, 12), stack)
    other = movie - fish.clean_block(2, 3, 9)
    shared = np.corrcoef(noise.ravel(), other.ravel())[0, 1]
    # Both hold the motion, in cells that are rings in one channel and disks in the other; shared
    # noise would correlate by more than a half.
    assert abs(shared) < 0.3


def test_a_frame_does_not_depend_on_its_block_or_the_order(fish: Fish) -> None:
    whole = fish.nuclear_block(1, 0, 40)

    for start, stop in ((0, 1), (7, 19), (39, 40)):
        fish.nuclear_block(0, 0, 1)
        np.testing.assert_array_equal(fish.nuclear_block(1, start, stop), whole[start:stop])
    np.testing.assert_array_equal(Fish(fish.settings).nuclear_block(1, 5, 6), whole[5:6])
    assert whole.dtype == np.uint16
    assert whole.shape == (40, 64, 64)
    assert fish.nuclear_block(1, 40, 40).shape == (0, 64, 64)


def test_nuclei_are_bright_and_their_rings_dark(still: Fish) -> None:
    nuclear, calcium = still.clean_nuclei(1), still.clean_block(1, 0, 40).mean(axis=0)
    labels = still.labels_at_plane(1)
    table = still.cut_table(min_area_px=14)
    for n in table.nucleus[table.plane == 1]:
        inside = np.argwhere(labels == n)
        distance = np.hypot(*(np.indices(labels.shape) - inside.mean(axis=0)[:, None, None]))
        radius = np.sqrt(len(inside) / np.pi)
        core = distance < 0.5 * radius
        ring = (distance > radius) & (distance < radius + 1.2) & (labels == 0)
        assert nuclear[core].mean() > nuclear[ring].mean()

    assert np.corrcoef(nuclear.ravel(), (labels > 0).ravel())[0, 1] > 0.7
    assert np.corrcoef(nuclear.ravel(), calcium.ravel())[0, 1] < 0.7


def test_it_shows_what_the_structure_shows_at_half_the_resolution(still: Fish) -> None:
    z = int(still.slice_of_plane[1])
    bright = Fish(preset("tiny", seed=3, nucleus_photons=900.0, gain=2.0, **STILL))
    structure = bright.structure_block(z, z + 1)[0].astype(float)
    halved = structure.reshape(64, 2, 64, 2).mean(axis=(1, 3))
    inner = (slice(4, -4), slice(4, -4))  # beyond the edge of the stack there is no light

    # The noise of 900 photons in 4 pixels is 2 %; shading is that of the field, seen twice.
    seen = bright.clean_nuclei(1)
    assert np.corrcoef(halved[inner].ravel(), seen[inner].ravel())[0, 1] > 0.995


def test_the_light_does_not_change_and_the_noise_is_that_of_photons(still: Fish) -> None:
    raw = still.nuclear_block(1, 0, 40).astype(float)
    clean = still.clean_nuclei(1).astype(float)
    s = still.settings

    normal = (raw - clean) / np.sqrt(s.gain * (clean - s.offset) + s.read_noise**2)
    # 164,000 numbers: the standard error is 0.0025 for the mean and 0.4 % for the variance.
    assert abs(normal.mean()) < 0.01
    assert normal.var() == pytest.approx(1.0, abs=0.02)
    activity = raw.mean(axis=(1, 2))
    assert np.ptp(activity) < 6 * np.std(raw - clean) / 64  # means of 64 x 64 pixels


def test_it_moves_as_the_calcium_channel_does() -> None:
    quiet = {"nuclear_photons": 400.0, "gain": 2.0, "plane_offset_px": 0.0, "nonrigid_px": 0.0}
    fish = Fish(preset("tiny", seed=5, bidirectional_px=1.0, **quiet))
    clean = fish.clean_nuclei(1).astype(float)
    rows, columns = np.arange(10, 54), np.arange(10, 54)
    for t in (0, 17, 39):
        y, x = -fish.shifts_px[t, 1]  # where the content went
        source_y, source_x = rows[:, None] - y, columns[None, :] - x - (rows[:, None] % 2)
        low_y, low_x = np.floor(source_y).astype(int), np.floor(source_x).astype(int)
        part_y, part_x = source_y - low_y, source_x - low_x
        expected = sum(
            wy * wx * clean[low_y + dy, low_x + dx]
            for dy, wy in ((0, 1 - part_y), (1, part_y))
            for dx, wx in ((0, 1 - part_x), (1, part_x))
        )
        raw = fish.nuclear_block(1, t, t + 1)[0, 10:54, 10:54].astype(float)

        moved = np.corrcoef(raw.ravel(), expected.ravel())[0, 1]
        # Linear interpolation here, cubic there.
        assert moved > 0.98
        assert moved > np.corrcoef(raw.ravel(), clean[10:54, 10:54].ravel())[0, 1]


def test_photons_scale_the_light_alone(still: Fish) -> None:
    twice = Fish(
        preset("tiny", seed=3, nuclear_photons=2 * still.settings.nuclear_photons, **STILL)
    )
    offset = still.settings.offset

    np.testing.assert_allclose(
        twice.clean_nuclei(0) - offset,
        2 * (still.clean_nuclei(0) - offset),
        rtol=1e-4,  # float32 around an offset of 200
        atol=1e-2,
    )
    np.testing.assert_array_equal(twice.movie_block(0, 0, 2), still.movie_block(0, 0, 2))


def test_too_much_light_is_refused() -> None:
    with pytest.raises(ValueError, match="nuclear_photons"):
        Fish(preset("tiny", nuclear_photons=5_000.0))


@pytest.mark.parametrize(("plane", "t0", "t1"), [(3, 0, 1), (-1, 0, 1), (0, 39, 41), (0, 3, 2)])
def test_what_does_not_exist_is_refused(fish: Fish, plane: int, t0: int, t1: int) -> None:
    with pytest.raises(ValueError, match=r"does not exist|not within"):
        fish.nuclear_block(plane, t0, t1)
