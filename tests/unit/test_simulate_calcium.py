from __future__ import annotations

import numpy as np
import pytest

from clgkit.simulate import preset
from clgkit.simulate.calcium import (
    Activity,
    calcium_of,
    make_activity,
    neuropil_waves,
    saturate,
)


@pytest.fixture(scope="module")
def activity() -> Activity:
    settings = preset("tiny", n_frames=2_000, n_modules=4)
    centers = np.random.default_rng(0).uniform(0, 150, (200, 3))
    return make_activity(settings, centers)


def test_one_spike_peaks_at_one_and_decays_with_the_time_constant() -> None:
    settings = preset("tiny", rate_hz=50.0)
    spikes = np.zeros((1, 500), dtype=np.uint8)
    spikes[0, 10] = 1

    calcium = calcium_of(settings, spikes)[0]

    assert (calcium[:10] == 0).all()
    # The grid of 20 ms may miss the peak by 10 ms.
    assert calcium.max() == pytest.approx(1.0, abs=2e-3)
    late = calcium[250] / calcium[200]
    assert late == pytest.approx(np.exp(-1 / settings.decay_s), rel=1e-3)


def test_calcium_adds_up() -> None:
    settings = preset("tiny")
    rng = np.random.default_rng(0)
    a, b = rng.poisson(0.2, (2, 3, 60)).astype(np.uint8)

    both = calcium_of(settings, a + b)

    # float32 sums of numbers up to ten
    np.testing.assert_allclose(both, calcium_of(settings, a) + calcium_of(settings, b), atol=1e-5)


def test_light_saturates() -> None:
    share = saturate(np.array([0.0, 1.0, 5.0, 1e4], dtype=np.float32))

    np.testing.assert_allclose(share, [0, 1 / 26, 0.5, 1], atol=1e-6)


def test_fluorescence_starts_at_rest_and_never_falls_below(activity: Activity) -> None:
    lowest = activity.fluorescence.min(axis=1)

    assert (lowest >= activity.rest * (1 - 1e-6)).all()  # float32
    assert activity.rest.mean() == pytest.approx(1.0, abs=0.1)


def test_neurons_of_a_module_go_together(activity: Activity) -> None:
    r = np.corrcoef(activity.fluorescence)
    same = activity.module[:, None] == activity.module
    np.fill_diagonal(same, val=False)
    other = activity.module[:, None] != activity.module

    assert r[same].mean() > 0.2
    assert abs(r[other].mean()) < 0.05


def test_modules_are_compact() -> None:
    centers = np.random.default_rng(1).uniform(0, 300, (400, 3))
    module = make_activity(preset("tiny", n_modules=5), centers).module
    spread = [np.linalg.norm(centers[module == m].std(axis=0)) for m in np.unique(module)]

    assert np.mean(spread) < 0.75 * np.linalg.norm(centers.std(axis=0))


def test_more_modules_than_neurons_are_legal() -> None:
    centers = np.random.default_rng(1).uniform(0, 30, (3, 3))
    made = make_activity(preset("tiny", n_modules=7), centers)

    assert made.spikes.shape == (3, 40)


def test_a_spike_more_changes_nothing_before_and_lowers_nothing_after() -> None:
    settings = preset("tiny", rate_hz=5.0)
    rng = np.random.default_rng(2)
    spikes = rng.poisson(0.1, (30, 100)).astype(np.uint8)
    more = spikes.copy()
    when = rng.integers(0, 100, 30)
    more[np.arange(30), when] += 1

    before, after = calcium_of(settings, spikes), calcium_of(settings, more)

    earlier = np.arange(100) < when[:, None]
    np.testing.assert_array_equal(after[earlier], before[earlier])
    assert (after >= before).all()
    assert (after[np.arange(30), when] > before[np.arange(30), when]).all()
    assert (saturate(after) >= saturate(before)).all()


def test_light_rises_with_calcium_and_never_passes_full() -> None:
    share = saturate(np.linspace(0, 500, 2_000, dtype=np.float32))

    assert (np.diff(share) >= 0).all()
    assert share.max() < 1.0


@pytest.mark.parametrize("rate_hz", [1.0, 5.0, 40.0])
def test_calcium_is_the_documented_sum_of_exponentials_at_any_rate(rate_hz: float) -> None:
    settings = preset("tiny", rate_hz=rate_hz, rise_s=0.3, decay_s=2.0)
    spikes = np.random.default_rng(4).poisson(0.2, (2, 60)).astype(np.uint8)

    # Half a frame after the spikes of a frame, in units of the highest value of one spike.
    since = (np.arange(60)[:, None] - np.arange(60)[None, :] + 0.5) / rate_hz
    kernel = np.where(since > 0, np.exp(-since / 2.0) - np.exp(-since / 0.3), 0.0)
    fine = np.arange(0, 5, 1e-4)
    peak = (np.exp(-fine / 2.0) - np.exp(-fine / 0.3)).max()
    expected = spikes @ kernel.T / peak
    np.testing.assert_allclose(calcium_of(settings, spikes), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "expected_hz"),
    [
        ({"private_rate_hz": 0.0, "module_rate_hz": 0.0}, 0.02),
        ({"private_rate_hz": 0.2, "module_rate_hz": 0.0}, 0.02 + 0.2 * 4.0),
        # An event of a second at 8 Hz; the mean coupling is 0.7 exp(0.08) + 0.03.
        ({"private_rate_hz": 0.0, "module_rate_hz": 0.2}, 0.02 + 0.2 * 8.0 * 0.79),
    ],
    ids=["background alone", "own bursts", "common drive"],
)
def test_neurons_fire_as_often_as_the_settings_say(
    changes: dict[str, float], expected_hz: float
) -> None:
    settings = preset("tiny", n_frames=4_000, n_modules=30, **changes)
    centers = np.random.default_rng(0).uniform(0, 150, (300, 3))

    made = make_activity(settings, centers)

    # 600,000 neuron-seconds; the common drive has only 30 modules x 400 events.
    assert made.spikes.mean() * settings.rate_hz == pytest.approx(expected_hz, rel=0.1)


def test_without_a_common_drive_modules_do_not_correlate() -> None:
    settings = preset("tiny", n_frames=2_000, n_modules=4, module_rate_hz=0.0)
    centers = np.random.default_rng(0).uniform(0, 150, (120, 3))
    made = make_activity(settings, centers)
    same = made.module[:, None] == made.module
    np.fill_diagonal(same, val=False)

    assert abs(np.corrcoef(made.fluorescence)[same].mean()) < 0.01


def test_three_in_ten_hardly_follow_their_module() -> None:
    settings = preset("tiny", n_frames=4_000, n_modules=1, private_rate_hz=0.0, module_rate_hz=0.3)
    centers = np.random.default_rng(0).uniform(0, 150, (400, 3))
    rates = make_activity(settings, centers).spikes.sum(axis=1)

    # Two groups a factor ten apart: 400 draws of a share of 0.3 scatter by 0.023.
    assert np.mean(rates < 0.4 * np.median(rates)) == pytest.approx(0.3, abs=0.08)


def test_one_module_holds_everybody_and_numbers_are_in_range() -> None:
    centers = np.random.default_rng(1).uniform(0, 300, (50, 3))

    assert (make_activity(preset("tiny", n_modules=1), centers).module == 0).all()
    module = make_activity(preset("tiny", n_modules=6), centers).module
    assert module.dtype == np.int32
    assert module.min() >= 0
    assert module.max() < 6


def test_spikes_of_a_frenzy_stop_at_255() -> None:
    settings = preset("tiny", private_rate_hz=500.0, n_frames=5)

    assert make_activity(settings, np.zeros((3, 3)) + np.arange(3)[:, None]).spikes.max() == 255


def test_the_neuropil_follows_the_neurons_around_it() -> None:
    settings = preset("tiny", n_frames=3_000, n_modules=2, module_rate_hz=0.1)
    centers = np.concatenate([np.zeros((60, 3)), np.full((60, 3), 100.0)])
    made = make_activity(settings, centers + np.random.default_rng(0).normal(0, 3, (120, 3)))
    near = np.array([centers[:, 0] < 50, centers[:, 0] > 50, np.zeros(120), np.zeros(120)])

    waves = neuropil_waves(settings, made, near.astype(np.float32))

    means = [made.fluorescence[near[k] > 0].mean(axis=0) for k in (0, 1)]
    r = np.corrcoef([*waves[:2], *means])
    assert waves.shape == (4, 3_000)
    assert np.abs(waves.mean(axis=1)).max() < 0.02
    assert r[0, 2] > r[0, 3] + 0.1
    assert r[1, 3] > r[1, 2] + 0.1
