"""The same fish whatever the order, the threads and the process; memory that stays bounded."""

from __future__ import annotations

import pickle
import subprocess
import sys
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from clgkit.simulate import Fish, preset

PROGRAM = """
import sys, zlib
from clgkit.simulate import Fish, preset
fish = Fish(preset("tiny", seed=21))
blocks = [fish.movie_block(2, 3, 9), fish.movie_block(0, 0, 2), fish.structure_block(7, 9),
          fish.labels_block(0, 32), fish.fluorescence, fish.shifts_px, fish.clean_block(1, 0, 2)]
print(*(zlib.crc32(block.tobytes()) for block in blocks))
"""


@pytest.fixture(scope="module")
def fish() -> Fish:
    return Fish(preset("tiny", seed=21))


def test_another_process_makes_the_same_fish_to_the_bit(fish: Fish) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )

    blocks = [
        fish.movie_block(2, 3, 9), fish.movie_block(0, 0, 2), fish.structure_block(7, 9),
        fish.labels_block(0, 32), fish.fluorescence, fish.shifts_px, fish.clean_block(1, 0, 2),
    ]  # fmt: skip
    assert done.stdout.split() == [str(zlib.crc32(block.tobytes())) for block in blocks]


def test_the_order_of_planes_and_frames_does_not_matter(fish: Fish) -> None:
    forward = {(p, t): fish.movie_block(p, t, t + 1) for p in range(3) for t in (0, 9, 39)}

    for plane, t in reversed(forward):
        np.testing.assert_array_equal(fish.movie_block(plane, t, t + 1), forward[plane, t])
        np.testing.assert_array_equal(fish.clean_block(2 - plane, t, t + 1).shape, (1, 64, 64))


def test_threads_that_share_a_fish_do_not_mix_its_planes(fish: Fish) -> None:
    wanted = [(plane, t) for t in range(0, 40, 10) for plane in range(3)]
    alone = [Fish(fish.settings).movie_block(p, t, t + 2) for p, t in wanted[:3]]

    with ThreadPoolExecutor(4) as pool:
        made = list(
            pool.map(lambda place: fish.movie_block(place[0], place[1], place[1] + 2), wanted)
        )

    for one, other in zip(alone, made, strict=False):
        np.testing.assert_array_equal(one, other)
    for (plane, t), block in zip(wanted, made, strict=True):
        np.testing.assert_array_equal(block, fish.movie_block(plane, t, t + 2))


def test_a_fish_survives_the_way_to_a_worker(fish: Fish) -> None:
    fish.movie_block(1, 0, 1)
    sent = pickle.loads(pickle.dumps(fish))  # noqa: S301  (made on the line itself)

    np.testing.assert_array_equal(sent.movie_block(1, 5, 6), fish.movie_block(1, 5, 6))
    np.testing.assert_array_equal(sent.calcium, fish.calcium)


@pytest.mark.parametrize("length", [1, 7, 40, 1_000])
def test_blocks_of_any_length_cover_everything_once(fish: Fish, length: int) -> None:
    stack = np.concatenate([counts for _, counts in fish.structure_blocks(length)])
    labels = [part for part, _ in fish.label_blocks(length)]
    movies: dict[int, list[np.ndarray]] = {0: [], 1: [], 2: []}
    for plane, part, counts in fish.movie_blocks(length):
        assert len(counts) == part.stop - part.start
        movies[plane].append(counts)

    assert [k for part in labels for k in range(part.start, part.stop)] == list(range(32))
    np.testing.assert_array_equal(stack[9:12], fish.structure_block(9, 12))
    for plane, blocks in movies.items():
        np.testing.assert_array_equal(
            np.concatenate(blocks)[30:33], fish.movie_block(plane, 30, 33)
        )


@pytest.mark.parametrize("length", [0, -5])
@pytest.mark.parametrize("name", ["structure_blocks", "label_blocks", "movie_blocks"])
def test_blocks_of_nothing_are_refused_instead_of_giving_no_movie(
    fish: Fish, name: str, length: int
) -> None:
    with pytest.raises(ValueError, match=f"a block of {length} holds nothing; ask for 1 or more"):
        list(getattr(fish, name)(length))


def test_an_empty_block_is_an_empty_array(fish: Fish) -> None:
    assert fish.labels_block(5, 5).shape == fish.structure_block(5, 5).shape == (0, 128, 128)
    assert fish.movie_block(1, 40, 40).shape == fish.clean_block(1, 0, 0).shape == (0, 64, 64)


def peak_mb(fish: Fish, n_frames: int) -> float:
    """Measure the memory that numpy takes while all movies are made and dropped."""
    tracemalloc.start()
    for _ in fish.movie_blocks(n_frames):
        pass
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return peak


def test_memory_follows_the_block_and_not_the_recording() -> None:
    fish = Fish(preset("tiny", shape_px=(32, 192, 192), n_neurons=250, n_frames=120, n_planes=2))
    block_mb = 120 * 96 * 96 * 2 / 2**20

    small, large = peak_mb(fish, 5), peak_mb(fish, 120)

    # The movies take 4.2 MB.  Beside a block there are the scene of a plane and its canvas, and
    # the loop holds the last block while the next is made.
    assert block_mb < large < small + 2 * block_mb
    assert small < 1.5 * block_mb


def test_a_stack_is_made_in_the_memory_of_a_block() -> None:
    fish = Fish(preset("tiny", shape_px=(128, 128, 128), n_neurons=400, n_frames=1))
    fish.structure_block(0, 1)
    tracemalloc.start()
    for _ in fish.structure_blocks(8):
        pass
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()

    # The stack takes 8 MB as float32.  A block of 8 slices with the halo of the blur takes 0.9 MB;
    # labels, light and two blurred copies of it exist at once.
    assert peak < 4.5
