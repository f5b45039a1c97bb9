from __future__ import annotations

import numpy as np
import pytest

from clgkit.simulate import preset
from clgkit.simulate.calcium import Activity, calcium_of, make_activity, saturate


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
