"""Laws of stitching: ids of sections, blocks, empty slices and the direction of z do not matter."""

from functools import cache

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from benchmarks.labels import lose_sections, packed
from clgkit.segmentation.stitch import (
    SectionTable,
    find_chains,
    stitch_chains,
    stitch_like_cellpose,
)

Labels = npt.NDArray[np.integer]
SEEDS = st.integers(0, 2**32 - 1)
few = settings(deadline=None, max_examples=8)


@cache
def poor_sections() -> Labels:
    return lose_sections(packed("toy"), 0.1)


def noise(seed: int) -> Labels:
    """Small ragged sections of random shape."""
    rng = np.random.default_rng(seed)
    light = ndimage.gaussian_filter(rng.random((7, 20, 24)), (0.7, 1, 1))
    return np.stack([ndimage.label(plane > np.quantile(light, 0.6))[0] for plane in light])


def same_partition(one: Labels, other: Labels) -> bool:
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    return np.unique(pairs[0]).size == np.unique(pairs[1]).size == pairs.shape[1]


def shuffled(seed: int, sections: Labels) -> Labels:
    rng = np.random.default_rng(seed)
    made = np.zeros(sections.shape, np.int64)
    for plane, new in zip(sections, made, strict=True):
        ids = np.unique(plane)
        fresh = rng.choice(2**32 - 1, ids.size, replace=False) + 1
        fresh[ids == 0] = 0
        new[:] = fresh[np.searchsorted(ids, plane)]
    return made


@few
@given(SEEDS)
def test_ids_of_sections_do_not_matter(seed: int) -> None:
    for sections in (poor_sections(), noise(seed)):
        np.testing.assert_array_equal(
            stitch_chains(shuffled(seed, sections)), stitch_chains(sections)
        )


@few
@given(SEEDS)
def test_every_section_has_one_nucleus_and_every_nucleus_one_section_in_a_slice(seed: int) -> None:
    sections = noise(seed)

    labels = stitch_chains(sections)

    assert np.unique(labels[labels > 0]).tolist() == list(range(1, int(labels.max()) + 1))
    for plane, found in zip(sections, labels, strict=True):
        pairs = np.unique(np.stack([plane.ravel(), found.ravel()]), axis=1)
        own = pairs[:, pairs[0] > 0]
        assert np.unique(own[0]).size == own.shape[1]  # a section is never split
        nuclei = own[1][own[1] > 0]
        assert np.unique(nuclei).size == nuclei.size  # nor are two joined


@few
@given(SEEDS)
def test_ids_count_from_the_first_slice_and_the_first_pixel(seed: int) -> None:
    labels = stitch_chains(noise(seed))

    _, first = np.unique(labels, return_index=True)
    assert (np.diff(first[1:] if not labels.ravel()[first[0]] else first) > 0).all()


@few
@given(SEEDS, st.integers(1, 8))
def test_blocks_of_any_size_give_the_same_labels(seed: int, n: int) -> None:
    sections = noise(seed)
    table = SectionTable()
    for plane in sections:
        table.add(plane)
    chains = find_chains(table)
    around = [None, *sections, None]

    parts = [
        chains.label_block(
            sections[k : k + n], first=k, before=around[k], after=around[min(k + n + 1, 8)]
        )
        for k in range(0, 7, n)
    ]

    np.testing.assert_array_equal(np.concatenate(parts), stitch_chains(sections))


@few
@given(SEEDS, st.integers(0, 4), st.integers(2, 4))
def test_empty_slices_around_a_stack_change_nothing(seed: int, before: int, after: int) -> None:
    sections = noise(seed)
    padded = np.pad(sections, ((before, after), (0, 0), (0, 0)))

    for stitch in (stitch_chains, stitch_like_cellpose):
        labels = stitch(padded)
        np.testing.assert_array_equal(labels[before:-after], stitch(sections))
        assert not labels[:before].any()


@few
@given(SEEDS)
def test_stacks_far_apart_do_not_know_each_other(seed: int) -> None:
    sections = noise(seed)
    gap = np.zeros((2, *sections.shape[1:]), sections.dtype)

    once = stitch_like_cellpose(sections)
    twice = stitch_like_cellpose(np.concatenate([sections, gap, sections]))

    assert same_partition(once, twice[:7])
    assert same_partition(once, twice[-7:])
    assert np.intersect1d(twice[:7], twice[-7:]).tolist() == [0]


def test_a_mirrored_stack_has_the_same_nuclei() -> None:
    truth = packed("toy")  # without ties: areas of packed nuclei differ

    labels, mirrored = stitch_chains(truth), stitch_chains(truth[::-1])[::-1]

    assert same_partition(labels, mirrored)
    np.testing.assert_array_equal(stitch_chains(truth[:, ::-1])[:, ::-1] > 0, labels > 0)
