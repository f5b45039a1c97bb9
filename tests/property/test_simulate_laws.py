from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clgkit.simulate import Fish, preset

EXAMPLES = settings(max_examples=8, deadline=None)


@pytest.fixture(scope="module")
def fish() -> Fish:
    return Fish(preset("tiny", seed=11))


@pytest.fixture(scope="module")
def stack(fish: Fish) -> tuple[np.ndarray, np.ndarray]:
    return fish.structure_block(0, 32), fish.labels_block(0, 32)


@pytest.fixture(scope="module")
def movies(fish: Fish) -> np.ndarray:
    return np.stack([fish.movie_block(p, 0, 40) for p in range(3)])


@EXAMPLES
@given(start=st.integers(0, 31), n=st.integers(1, 9))
def test_a_slice_does_not_depend_on_its_block(
    fish: Fish, stack: tuple[np.ndarray, np.ndarray], start: int, n: int
) -> None:
    stop = min(start + n, 32)

    np.testing.assert_array_equal(fish.structure_block(start, stop), stack[0][start:stop])
    np.testing.assert_array_equal(fish.labels_block(start, stop), stack[1][start:stop])


@EXAMPLES
@given(plane=st.integers(0, 2), start=st.integers(0, 39), n=st.integers(1, 12))
def test_a_frame_does_not_depend_on_its_block(
    fish: Fish, movies: np.ndarray, plane: int, start: int, n: int
) -> None:
    stop = min(start + n, 40)

    np.testing.assert_array_equal(fish.movie_block(plane, start, stop), movies[plane, start:stop])


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_a_seed_gives_one_fish(seed: int) -> None:
    one, two = Fish(preset("tiny", seed=seed)), Fish(preset("tiny", seed=seed))

    np.testing.assert_array_equal(one.fluorescence, two.fluorescence)
    np.testing.assert_array_equal(one.labels_block(9, 13), two.labels_block(9, 13))
    np.testing.assert_array_equal(one.movie_block(1, 3, 5), two.movie_block(1, 3, 5))
    other = Fish(preset("tiny", seed=seed + 1))
    assert (other.movie_block(1, 3, 5) != one.movie_block(1, 3, 5)).mean() > 0.5


@settings(max_examples=4, deadline=None)
@given(factor=st.floats(1.5, 4.0))
def test_more_photons_give_brighter_expected_counts(fish: Fish, factor: float) -> None:
    brighter = Fish(preset("tiny", seed=11, photons=fish.settings.photons * factor))
    offset = fish.settings.offset

    np.testing.assert_allclose(
        brighter.clean_block(1, 0, 4) - offset,
        (fish.clean_block(1, 0, 4) - offset) * factor,
        rtol=1e-4,  # float32 around an offset of 200
        atol=1e-2,
    )
