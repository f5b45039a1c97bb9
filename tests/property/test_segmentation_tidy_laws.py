"""What holds of tidied labels whatever the rules: the books balance, the map is true."""

from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from clgkit.segmentation.tidy import label_sizes, scattered_ids
from clgkit.segmentation.tidy_shape import fill_holes
from clgkit.segmentation.tidy_steps import FATES, Tidied, TidyRules, tidy_labels

Labels = npt.NDArray[np.int64]
SEEDS = st.integers(0, 2**32 - 1)
UM = (2.0, 0.5, 0.5)
GONE = FATES[FATES.index("smoothed away") :]
few = settings(deadline=None, max_examples=25)
SHAPES = st.fixed_dictionaries({
    "fill": st.booleans(),
    "smooth": st.integers(0, 2),
    "smoothing": st.sampled_from(["majority", "opening"]),
    "pieces": st.sampled_from(["keep", "largest", "separate"]),
})  # fmt: skip
SIZES = st.fixed_dictionaries({
    "border": st.sampled_from(["keep", "drop"]),
    "min_um3": st.sampled_from([0.0, 3.0, 20.0]),
    "of_median": st.sampled_from([(0.0, float("inf")), (0.3, 2.0)]),
})  # fmt: skip


def blobs(seed: int, shape: tuple[int, int, int] = (6, 18, 20)) -> Labels:
    """Return touching objects with holes and pieces, ids with gaps up to the highest."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 16))
    points = rng.uniform(0, shape, (n, 3))
    grid = np.moveaxis(np.indices(shape), 0, -1)
    nearest = ((grid[..., None, :] - points) ** 2).sum(-1).argmin(-1)
    ids = rng.choice(2**32 - 1, n, replace=False) + 1
    full = ndimage.gaussian_filter(rng.random(shape), 1) < 0.53
    made: Labels = np.where(full & (rng.random(shape) < 0.95), ids[nearest], 0)
    return made


def volume(tidied: Tidied) -> npt.NDArray[np.uint32]:
    return np.stack([tidied.slices[z] for z in range(len(tidied.slices))])


def groups(seed: int, labels: Labels) -> tuple[tuple[int, ...], ...]:
    """Return some ids to merge."""
    ids = np.unique(labels[labels > 0])
    chosen = np.random.default_rng(seed).permutation(ids)[: ids.size // 2].tolist()
    return (tuple(chosen[:2]), tuple(chosen[2:5])) if len(chosen) >= 4 else ()


@few
@given(SEEDS, SHAPES, SIZES, st.integers(0, 1))
def test_the_books_balance_and_the_map_is_true(
    seed: int, shapes: dict[str, Any], sizes: dict[str, Any], merging: int
) -> None:
    labels = blobs(seed)
    rules = TidyRules(merge=groups(seed, labels) if merging else (), **shapes, **sizes)

    tidied = tidy_labels(labels, rules, voxel_um=UM)

    made = volume(tidied)
    before, after = np.unique(labels[labels > 0]), np.unique(made[made > 0])
    np.testing.assert_array_equal(after, np.arange(1, after.size + 1))
    np.testing.assert_array_equal(np.unique(tidied.old_ids), before)
    np.testing.assert_array_equal(np.unique(tidied.new_ids[tidied.new_ids > 0]), after)
    more = sum(tidied.objects.get(fate, 0) for fate in ("split", "piece"))
    fewer = sum(tidied.objects.get(fate, 0) for fate in ("merged", *GONE))
    assert before.size + more - fewer == after.size
    np.testing.assert_array_equal(tidied.new_ids == 0, np.isin(tidied.fates, GONE))
    both = (made > 0) & (labels > 0)
    there = set(zip(labels[both].tolist(), made[both].tolist(), strict=True))
    if rules.smooth < 2 or rules.smoothing == "opening":
        # What one round of majorities gives up, a neighbour can gain in the next.
        assert there <= set(zip(tidied.old_ids.tolist(), tidied.new_ids.tolist(), strict=True))


@few
@given(SEEDS, SIZES, st.integers(0, 1))
def test_streamed_rules_are_those_of_the_volume(
    seed: int, sizes: dict[str, Any], merging: int
) -> None:
    labels = fill_holes(blobs(seed))  # so that filling again changes nothing
    rules = TidyRules(merge=groups(seed, labels) if merging else (), **sizes)
    held = rules._replace(fill=True)

    streamed = tidy_labels(labels, rules, voxel_um=UM)
    whole = tidy_labels(labels, held, voxel_um=UM)

    assert held.needs_volume > rules.needs_volume
    if whole.voxels["filled"] == 0:  # holes can lie between what was merged
        np.testing.assert_array_equal(volume(streamed), volume(whole))
        for ours, theirs in zip(streamed[1:5], whole[1:5], strict=True):
            np.testing.assert_array_equal(ours, theirs)


@few
@given(SEEDS, SIZES)
def test_what_is_left_obeys_the_rules(seed: int, sizes: dict[str, Any]) -> None:
    rules = TidyRules(pieces="separate", **sizes)

    tidied = tidy_labels(blobs(seed), rules, voxel_um=UM)

    made = volume(tidied)
    left = label_sizes(made)
    assert scattered_ids(made).size == 0
    assert (left.voxels * np.prod(UM) >= rules.min_um3).all()
    assert rules.border == "keep" or not left.on_border.any()
    again = tidy_labels(made, rules._replace(of_median=(0.0, float("inf"))), voxel_um=UM)
    np.testing.assert_array_equal(volume(again), made)


@few
@given(SEEDS)
def test_holes_are_background_inside_of_one_object(seed: int) -> None:
    labels = blobs(seed)
    expected = labels.copy()
    holes, n = ndimage.label(labels == 0)
    padded = np.pad(labels, 1, constant_values=-1)  # beyond the edge
    for hole in range(1, n + 1):
        ring = ndimage.binary_dilation(np.pad(holes == hole, 1)) & ~np.pad(holes == hole, 1)
        around = np.unique(padded[ring])
        if around.size == 1 and around[0] > 0:
            expected[holes == hole] = around[0]

    np.testing.assert_array_equal(fill_holes(labels, per_slice=False), expected)
