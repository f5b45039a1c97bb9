"""What the benchmarks of nuclei measure: pairs of slices, pairs of labels, sizes, costs."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from benchmarks import labels, nuclei_sizes, runtimes, scoring, tidy
from clgkit.segmentation import score_labels, stitch_like_cellpose

EXACT = 1e-12  # sums in another order


def test_pairs_of_slices_have_the_ids_of_a_whole_fish() -> None:
    fish = labels.Fish.of("toy")

    early, late = labels.slice_pairs("toy")

    for pair, share in ((early, 0.25), (late, 0.75)):
        z = int(share * fish.shape[0])
        np.testing.assert_array_equal(pair[0], fish.nuclei(z))
        ids = np.unique(pair[1])
        assert ids.tolist() == list(range(len(ids)))  # sections count from 1 in their slice
        np.testing.assert_array_equal(pair[1] > 0, fish.nuclei(z + 1) > 0)
    assert late[0].max() > early[0].max()


def test_the_rewritten_matrix_joins_as_cellpose_does() -> None:
    for pair in labels.slice_pairs("toy"):
        inherited = labels.stitch_dense(pair[0], pair[1], int(pair[0].max()))

        joined = stitch_like_cellpose(pair)
        _, own = np.unique(joined[0], return_inverse=True)
        for section, heir in enumerate(inherited, start=1):
            was = np.unique(pair[0][joined[0] == joined[1][pair[1] == section][0]])
            assert was.tolist() == ([heir] if heir else [])
        assert own.max() > 1


def test_a_cost_without_cellpose_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLGKIT_PEERS", str(tmp_path))
    monkeypatch.setattr(
        labels.Fish, "of", classmethod(lambda cls, _: cls.on((2, 3, 3), (20, 48, 48)))
    )

    peer = labels.peer("full")

    assert peer.name == labels.REWRITTEN
    assert peer.cpu_s > 0


def test_chains_and_the_other_rule_join_the_same_sections() -> None:
    joined = labels.joined_sections("toy")

    assert joined.chains > 0.9 > joined.parity > 0.3


def test_a_fish_of_any_grid_holds_all_its_nuclei() -> None:
    fish = labels.Fish.on((1, 3, 4), (12, 48, 64))

    drawn = np.stack([fish.nuclei(z) for z in range(12)])

    assert np.unique(drawn).tolist() == list(range(13))


def test_label_pairs_are_whole_and_differ() -> None:
    made = scoring.pairs("full")

    assert made.truth.shape == made.predicted.shape
    assert len(made.truth) == scoring.N_PAIRS
    scores = [score_labels(*pair, iou=0.5) for pair in zip(*made, strict=True)]
    for truth, predicted, score in zip(*made, scores, strict=True):
        assert score.n_truth == truth.max() > 5
        assert score.n_predicted == predicted.max() > 5
    assert min(score.ap for score in scores) < 0.2
    assert max(score.ap for score in scores) > 0.8
    strict = [score_labels(*pair, iou=0.9).ap for pair in zip(*made, strict=True)]
    assert max(strict) > 0.1  # some match at every overlap that is compared


def test_scores_of_pairs_have_a_place_each() -> None:
    made = scoring.pairs("toy")

    scores = scoring.our_scores(made, ["ap", "f1"], (0.3, 0.9))

    assert scores.shape == (2, 2, 2)
    assert scores[1, 0, 1] == score_labels(made.truth[1], made.predicted[1], iou=0.3).f1
    assert (scores[:, 0] >= scores[:, 1]).all()


def test_volume_and_spacing_know_no_voxel_size() -> None:
    grid = np.zeros((12, 60, 60), np.uint32)
    for k, (y, x) in enumerate(np.ndindex(5, 5)):
        grid[3:9, 3 + 11 * y : 13 + 11 * y, 3 + 11 * x : 13 + 11 * x] = k + 1
    flat = np.repeat(grid, 2, axis=1)

    boxes, wide = (
        nuclei_sizes.spread_of(nuclei_sizes.nuclei_of_labels(made)) for made in (grid, flat)
    )

    assert boxes is not None
    assert wide is not None
    assert boxes.volume_cv == 0
    # 11 of 10 voxels apart; a box is as large as a sphere of (6 / pi) ** (1 / 3) of its extents.
    assert boxes.spacing == pytest.approx(1.1 / np.cbrt(6 / np.pi), abs=EXACT)
    assert wide.spacing == pytest.approx(boxes.spacing, abs=EXACT)


def test_nuclei_on_a_face_are_no_measure() -> None:
    cut = np.zeros((4, 40, 40), np.uint32)
    cut[1:3, 0:4, ::4] = np.repeat(np.arange(1, 11), 1)
    cut[1:3, 10:14, 4:8] = 77

    nuclei = nuclei_sizes.nuclei_of_labels(cut)

    assert nuclei.whole.tolist() == [False] * 10 + [True]
    assert nuclei.volumes.tolist() == [8] * 10 + [32]
    assert nuclei.centers[-1].tolist() == [1.5, 11.5, 5.5]
    assert nuclei.extents[-1].tolist() == [2, 4, 4]
    assert nuclei_sizes.spread_of(nuclei) is None


def test_a_table_of_shapes_is_read_once_a_label(tmp_path: Path) -> None:
    names = ["Label", "diagnostics_Mask-original_BoundingBox", "original_shape_VoxelVolume",
             "Centroid_Z", "Centroid_Y", "Centroid_X", "BorderTouching"]  # fmt: skip
    first = ["4", "(10, 10, 9, 28, 29, 12)", "4412.0", "14", "221", "206", "0"]
    path = tmp_path / "shapes.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(
            [names, first, first, ["9", "(0, 0, 0, 5, 6, 7)", "99.0", "1", "2", "3", "1"]]
        )

    nuclei = nuclei_sizes.nuclei_of_table(path)

    assert nuclei.volumes.tolist() == [4412, 99]
    assert nuclei.extents.tolist() == [[12, 29, 28], [7, 6, 5]]
    assert nuclei.centers.tolist() == [[14, 221, 206], [1, 2, 3]]
    assert nuclei.whole.tolist() == [True, False]


def test_real_volumes_that_are_not_at_hand_are_a_row_not_met(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(nuclei_sizes, "VOLUMES", tmp_path)
    monkeypatch.setattr(nuclei_sizes, "N_STACKS", 1)
    nuclei_sizes.spreads.cache_clear()

    figure = nuclei_sizes.figure_spacing("full")

    nuclei_sizes.spreads.cache_clear()
    assert "not at hand" in figure.name
    assert not figure.met


def test_the_labels_to_tidy_have_gaps_between_ids(tmp_path: Path) -> None:
    path = tmp_path / "labels.tif"

    tidy.write_labels(path, "toy")

    ids = np.unique(tifffile.imread(path))
    assert ids.tolist() == list(range(0, 28, 3))


def test_the_command_runs_in_the_measured_process(tmp_path: Path) -> None:
    source, target = tmp_path / "labels.tif", tmp_path / "tidy.tif"
    tidy.write_labels(source, "toy")

    tidy.tidy(str(source), str(target), "--of-median", "0.12,5")

    assert np.unique(tifffile.imread(target)).tolist() == list(range(10))


def test_a_distribution_has_a_size_or_none() -> None:
    numpy = runtimes.disk_mb("numpy")

    assert numpy is not None
    assert 10 < numpy < 200
    assert runtimes.disk_mb("no-such-distribution") is None


def test_the_recipe_of_the_training_is_that_of_the_script() -> None:
    training = pytest.importorskip("benchmarks.training")
    pytest.importorskip("torch", reason="the script trains with it")
    before = dict(os.environ)

    train = training.script()

    assert dict(os.environ) == before  # a benchmark may not choose threads for its process
    assert (train.SEED, train.STEPS, train.VOLUMES, train.N_HELD_OUT) == (20, 4000, 160, 12)
    part = training.Cost(stack=1.0, step=0.5, look=2.0)
    assert training.whole_s(part) == 172 * 1.0 + 4000 * 0.5 + 40 * 2.0
