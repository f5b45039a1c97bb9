"""Real and published volumes: floors of F1, and what must hold on any of them."""

from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from scipy import ndimage
from skimage.metrics import contingency_table

from clgkit.segmentation import (
    match_labels,
    overlap_table,
    relabel,
    scattered_ids,
    score_labels,
    segment_classical,
)
from clgkit.traces import measure_labels

Labels = npt.NDArray[np.integer]


class Volume(NamedTuple):
    raw: npt.NDArray[np.generic]
    truth: Labels
    voxel_um: tuple[float, float, float]
    diameter_um: tuple[float, float, float]


def at_hand(shared: Path, name: str) -> Path:
    path = shared / "data" / "volumes" / name
    if not path.exists():
        pytest.skip(f"{name} is not at hand in ../shared/data/volumes")
    return path


def load(shared: Path, name: str) -> Volume:
    def image(file: str) -> npt.NDArray[np.generic]:
        return tifffile.imread(at_hand(shared, file))

    pixels = (1.0, 1.0, 1.0)
    if name == "stardist":
        raw, truth = image("stardist_img3d.tif"), image("stardist_mask3d.tif")
        return Volume(raw, truth, pixels, (7.0, 15.0, 14.0))
    if name == "gonuclear":
        with h5py.File(at_hand(shared, "gonuclear_1135_mini.h5")) as file:
            return Volume(file["raw"][:], file["label"][:], (0.284, 0.127, 0.127), (6.0, 4.0, 4.0))
    truth = ndimage.label(image(f"{name}_nsn.tif") > 0)[0]
    size = (11.0, 17.0, 17.0) if "16" in name else (15.0, 16.0, 16.0)
    return Volume(image(f"{name}_raw.tif"), truth, pixels, size)


def segment(volume: Volume, **options: object) -> npt.NDArray[np.uint32]:
    return segment_classical(
        volume.raw, voxel_um=volume.voxel_um, diameter_um=volume.diameter_um, **options
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "n_truth", "f1", "count_error"),
    [
        # Measured .752, -.02; .694, -.19; .941 (8 of 8 and a speck), .970 (16 of 16 and a speck).
        ("stardist", 51, 0.70, 0.10),
        ("gonuclear", 54, 0.62, 0.30),
        ("qcanet_8cell", 8, 0.85, 0.26),
        ("qcanet_16cell", 16, 0.90, 0.13),
    ],
)
def test_nuclei_of_a_published_volume_are_found(
    shared: Path, name: str, n_truth: int, f1: float, count_error: float
) -> None:
    volume = load(shared, name)

    labels = segment(volume)

    score = score_labels(volume.truth, labels)
    assert score.n_truth == n_truth
    assert score.f1 >= f1
    assert abs(score.count_error) <= count_error
    assert score.under <= 0.05  # two nuclei averaged into one are worse than one missed
    assert scattered_ids(labels).size == 0
    assert np.unique(labels).tolist() == list(range(score.n_predicted + 1))


@pytest.mark.parametrize("core", [(7, 61, 57), (31, 13, 57), (10, 23, 19), (1, 61, 57)])
def test_a_real_volume_does_not_depend_on_the_tiles(
    shared: Path, core: tuple[int, int, int]
) -> None:
    volume = load(shared, "stardist")

    np.testing.assert_array_equal(segment(volume, core_px=core), segment(volume))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_mirrored_volume_has_mirrored_nuclei(shared: Path, axis: int) -> None:
    volume = load(shared, "stardist")

    mirrored = segment(volume._replace(raw=np.flip(volume.raw, axis)))

    # Only voxels of equal brightness, which raster order ranks, may change sides.
    plain = segment(volume)
    assert score_labels(np.flip(plain, axis), mirrored, iou=0.9).f1 > 0.98
    assert ((np.flip(plain, axis) > 0) != (mirrored > 0)).mean() < 1e-3


def test_turning_the_axes_turns_the_nuclei(shared: Path) -> None:
    volume = load(shared, "qcanet_16cell")
    turned = volume._replace(
        raw=volume.raw.transpose(0, 2, 1), diameter_um=(11.0, volume.diameter_um[2], 17.0)
    )

    score = score_labels(segment(volume).transpose(0, 2, 1), segment(turned), iou=0.9)

    assert score.f1 == 1


def test_real_tissue_without_labels_is_not_filled_with_nuclei(shared: Path) -> None:
    raw = tifffile.imread(at_hand(shared, "cellseg3d_c5image_nolabel.tif"))

    labels = segment_classical(raw, voxel_um=(1.0, 1.0, 1.0), diameter_um=8.0)

    assert 300 <= labels.max() <= 700  # measured 447
    assert (labels > 0).mean() < 0.5


@pytest.mark.parametrize("name", ["stardist", "gonuclear", "qcanet_8cell"])
def test_overlaps_are_those_of_scikit_image(shared: Path, name: str) -> None:
    truth = load(shared, name).truth
    shifted = np.roll(truth, (1, 2, -1), (0, 1, 2))

    table = overlap_table(zip(truth, shifted, strict=True))

    peer = contingency_table(truth, shifted).tocoo()
    both = (peer.row > 0) & (peer.col > 0) & (peer.data > 0)
    order = np.lexsort((peer.col[both], peer.row[both]))
    np.testing.assert_array_equal(table.truth_ids[table.truth_index], peer.row[both][order])
    np.testing.assert_array_equal(table.predicted_ids[table.predicted_index], peer.col[both][order])
    np.testing.assert_array_equal(table.voxels, peer.data[both][order])
    np.testing.assert_array_equal(table.truth_sizes, np.bincount(truth.ravel())[table.truth_ids])


def test_a_published_prediction_is_scored_cell_by_cell(shared: Path) -> None:
    truth = load(shared, "qcanet_16cell").truth
    prediction = tifffile.imread(at_hand(shared, "qcanet_16cell_ws_prediction.tif"))

    matches = match_labels(truth, prediction)

    assert score_labels(truth, prediction).true_positives == 16
    for a, b, iou in zip(*matches, strict=True):
        one, other = truth == a, prediction == b
        assert iou == (one & other).sum() / (one | other).sum()
    centres = tifffile.imread(at_hand(shared, "qcanet_16cell_ndn.tif"))
    _, n_centres = ndimage.label(centres, np.ones((3, 3, 3)))
    assert n_centres == 16
    held = np.unique(prediction[(centres > 0) & (prediction > 0)])
    assert held.tolist() == sorted(matches.predicted_ids.tolist())


@pytest.mark.parametrize(
    ("name", "n_objects", "highest"),
    [("plantseg_rgb_3D_0_segm.tiff", 11, 498), ("plantseg_rgb_3D_1_segm.tiff", 7, 954),
     ("nucleusai_2p_H2BeGFP_labels_only.tif", 98, None)],
)  # fmt: skip
def test_labels_made_by_hand_are_put_in_order(
    shared: Path, name: str, n_objects: int, highest: int | None
) -> None:
    labels = tifffile.imread(at_hand(shared, name))

    compact, old_ids = relabel(labels)

    assert int(compact.max()) == n_objects
    assert highest is None or old_ids[-1] == highest
    np.testing.assert_array_equal(old_ids[compact], labels)
    assert score_labels(labels, compact).f1 == 1
    boxes = ndimage.find_objects(compact.astype(int))
    pieces = [ndimage.label(compact[box] == k)[1] for k, box in enumerate(boxes, start=1)]
    assert scattered_ids(labels).tolist() == old_ids[1:][np.array(pieces) > 1].tolist()
    measured = measure_labels(enumerate(labels))
    np.testing.assert_array_equal(measured.nucleus, old_ids[1:])
    np.testing.assert_allclose(
        np.stack([measured.z, measured.y, measured.x], axis=1),
        ndimage.center_of_mass(np.ones(labels.shape), labels, old_ids[1:]),
        rtol=1e-12,  # order of sums
    )
