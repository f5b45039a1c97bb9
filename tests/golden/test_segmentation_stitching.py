"""Stitching beside Cellpose 3.1.1.3, run unchanged."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.lib.npyio import NpzFile

from clgkit.segmentation.stitch import stitch_chains, stitch_like_cellpose

Golden = Callable[[str], NpzFile]


@pytest.mark.parametrize(("key", "threshold"), [("010", 0.1), ("025", 0.25), ("050", 0.5)])
def test_the_rule_of_cellpose_gives_its_ids(golden: Golden, key: str, threshold: float) -> None:
    stored = golden("cellpose3")

    ours = stitch_like_cellpose(stored["stitch_in"], threshold=threshold)

    assert ours.dtype == np.uint32
    np.testing.assert_array_equal(ours, stored[f"stitch_out_{key}"])


def test_sections_of_equal_overlap_share_an_id_there_and_not_in_chains(golden: Golden) -> None:
    stored = golden("cellpose3")

    ours = stitch_like_cellpose(stored["stitch_tie_in"])

    np.testing.assert_array_equal(ours, stored["stitch_tie_out_025"])
    assert np.unique(ours[ours > 0]).size == 1
    chains = stitch_chains(stored["stitch_tie_in"])
    assert all(np.unique(chains[z]).size == np.unique(stored["stitch_tie_in"][z]).size
               for z in range(3) if (chains[z] > 0).any())  # fmt: skip


def test_no_id_is_used_again_after_an_empty_slice(golden: Golden) -> None:
    stored = golden("cellpose3")
    sections, original = stored["stitch_gap_in"], stored["stitch_gap_original_025"]

    ours = stitch_like_cellpose(sections)

    assert not ours[1].any()
    assert np.intersect1d(original[0], original[2]).size > 1  # the fault
    assert np.intersect1d(ours[0], ours[2]).tolist() == [0]
    # The partition of the slices that belong together is the original's.
    pairs = np.unique(np.stack([ours[2:].ravel(), original[2:].ravel()]), axis=1)
    assert np.unique(pairs[0]).size == np.unique(pairs[1]).size == pairs.shape[1]


def test_chains_look_over_the_empty_slice(golden: Golden) -> None:
    labels = stitch_chains(golden("cellpose3")["stitch_gap_in"])

    assert np.intersect1d(labels[0], labels[2]).size > 1
    assert labels[1].any()
